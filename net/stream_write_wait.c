/* net/stream_write_wait.c: writes that are out of the queue, but have operations of their own in flight: notifications
 * of zero-copy sends, a read of their file.
 *
 * Their callbacks come when these have ended, in the order of the writes: so later ones wait with them. Cancelled ones
 * wait for nobody else. */
#include "net/stream_private.h"
#include "net/write_queue.h"

#include <errno.h>

static void append(struct stream_more *more, struct stream_write *write, int error)
{
    write->next = NULL;
    write->error = error;
    write->flags |= WRITE_ENDED;
    if (more->waiting_first == NULL)
        more->waiting_first = write;
    else
        more->waiting_last->next = write;
    more->waiting_last = write;
}

static void file_ends(struct loop_stream *stream, struct stream_write *write)
{
    stream->priv.more->files--;
    if (stream->priv.more->file == write)
        stream->priv.more->file = NULL;
    if (write_file(write)->read_id != 0)
        (void)loop_cancel(stream->priv.object.loop, write_file(write)->read_id);
}

bool stream_write_waits(struct loop_stream *stream, struct stream_write *write, int error)
{
    struct stream_more *more = stream->priv.more;
    struct loop        *loop = stream->priv.object.loop;

    if ((write->flags & WRITE_FILE) != 0)
        file_ends(stream, write);
    if (error != -ECANCELED)
        write->flags &= (uint8_t)~WRITE_CANCELED;
    if (write->pending == 0 && (more->waiting_first == NULL || (write->flags & WRITE_CANCELED) != 0))
        return false;
    append(more, write, error);
    if (write->release != 0) { /* its bytes have left, or will not: only its callback has to wait */
        hold_list_remove(&write_loan(write)->hold);
        buffer_release(loop, write->release);
        write->release = 0;
    }
    return true;
}

void stream_write_busy(struct loop_stream *stream, struct stream_write *write)
{
    stream->priv.more->busy++;
    write->pending++;
}

/* The next whose turn has come, taken out. */
static struct stream_write *ready_take(struct stream_more *more)
{
    struct stream_write **from = &more->waiting_first, *before = NULL, *write;

    for (bool in_turn = true; (write = *from) != NULL; before = write, from = &write->next) {
        if (write->pending == 0 && (in_turn || (write->flags & WRITE_CANCELED) != 0)) {
            *from = write->next;
            if (write->next == NULL)
                more->waiting_last = before;
            return write;
        }
        in_turn = in_turn && (write->flags & WRITE_CANCELED) != 0;
    }
    return NULL;
}

void stream_released(struct loop_stream *stream, struct stream_write *write)
{
    struct stream_more *more = stream->priv.more;

    more->busy--;
    if (--write->pending > 0)
        return;
    while ((write = ready_take(more)) != NULL)
        stream_write_tell(stream, write, write->error);
    if (more->waiting_first == NULL) /* a shutdown, a close may have waited for it */
        stream_work(stream);
}
