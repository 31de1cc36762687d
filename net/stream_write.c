/* net/stream_write.c: writing: a queue in order, of which as much as is sensible leaves in one send; one send at a
 * time.
 *
 * Small writes are copied, and a lent buffer that held them goes back at once: so a group of large buffers is not used
 * up by small messages. */
#include "net/stream_private.h"
#include "net/write_queue.h"

#include <errno.h>
#include <ringloop/write.h>

int stream_write_allowed(const struct loop_stream *stream)
{
    enum stream_state state = stream_state(stream);

    if (state == STREAM_CLOSED || state == STREAM_CLOSING || stream_is(stream, STREAM_LEAVING))
        return -EINVAL;
    return stream_is(stream, STREAM_SHUT) || stream_is(stream, STREAM_WRITE_FAILED) ? -EPIPE : 0;
}

static int check_write(const struct loop_stream *stream, const struct loop_write_terms *terms, size_t size)
{
    int r = stream_write_allowed(stream);

    if (size == 0 || (terms->flags & ~(uint32_t)(LOOP_WRITE_COPY | LOOP_WRITE_CLOSE_FDS)) != 0 ||
        (terms->release != 0 && buffer_check_giving(stream->priv.object.loop, terms->release) < 0))
        return -EINVAL;
    if (r < 0)
        return r;
    if ((uint64_t)stream->priv.write_bytes + size > stream->priv.write_bytes_max) {
        stream->priv.object.loop->stats.writes_full++;
        return -ENOBUFS;
    }
    return terms->fd_count > 0 ? stream_fds_check(stream, terms) : 0;
}

/* One that points to the user's bytes. */
static void lend_bytes(struct loop_stream *stream, struct stream_write *write, loop_buffer release)
{
    const struct stream_more *more = stream->priv.more;

    write_loan(write)->stream = stream;
    if (release != 0) {
        buffer_hand_over(stream->priv.object.loop, release);
        write->release = release;
        stream_hold(stream, write);
    } else if (more != NULL && more->zero_copy_min != 0 && write->size >= more->zero_copy_min &&
               (write->flags & WRITE_FDS) == 0) {
        write->flags |= WRITE_ZERO_COPY;
    }
}

bool stream_write_wants_out(const struct loop_stream *stream)
{
    const struct stream_write *first = stream->priv.write_first;

    if (stream->priv.write_id != 0)
        return true;
    return first != NULL && first->done < first->size && (first->done > 0 || !stream_is(stream, STREAM_CORKED));
}

void stream_write_queue(struct loop_stream *stream, struct stream_write *write)
{
    if (stream->priv.write_first == NULL) {
        stream->priv.write_first = write;
        if (stream_has_deadlines(stream))
            stream_deadline_wanted(stream, LOOP_STREAM_WRITE);
    } else {
        stream->priv.write_last->next = write;
    }
    stream->priv.write_last = write;
    stream->priv.write_bytes += (uint32_t)write->size;
    if (stream->priv.write_id == 0 || stream->priv.write_bytes > stream->priv.write_high)
        stream_work(stream);
}

int loop_stream_writev(struct loop_stream *stream, const struct iovec *iov, size_t iov_count, loop_stream_write_cb *cb,
                       void *arg, const struct loop_write_terms *terms)
{
    static const struct loop_write_terms defaults;
    struct loop                         *loop = stream->priv.object.loop;
    struct stream_write                 *write;
    size_t                               size;
    int                                  r;

    if (stream_state(stream) == STREAM_CLOSED || iov == NULL || iov_count > WRITE_IOV_MAX)
        return -EINVAL;
    loop_check_owner(loop, __func__);
    if (terms == NULL)
        terms = &defaults;
    size = write_iov_size(iov, iov_count);
    r = check_write(stream, terms, size);
    if (r < 0)
        return r;
    write = write_new(loop, iov, iov_count, size, (terms->flags & LOOP_WRITE_COPY) != 0);
    if (write == NULL)
        return -ENOMEM;
    write->cb = cb;
    write->arg = arg;
    if (terms->fd_count > 0 && stream_fds_attach(stream, write, terms) < 0) {
        write_free(loop, write);
        return -ENOMEM;
    }
    if (unlikely((write->flags & WRITE_LOAN) != 0))
        lend_bytes(stream, write, terms->release);
    else if (terms->release != 0)
        (void)loop_buffer_return(loop, terms->release); /* the bytes of a copied write need it no more */
    stream_write_queue(stream, write);
    return 0;
}

int loop_stream_write(struct loop_stream *stream, const void *data, size_t size, loop_stream_write_cb *cb, void *arg,
                      const struct loop_write_terms *terms)
{
    return loop_stream_writev(stream, &(struct iovec){.iov_base = (void *)(uintptr_t)data, .iov_len = size}, 1, cb, arg,
                              terms);
}

size_t loop_stream_queued(const struct loop_stream *stream)
{
    return (size_t)stream->priv.write_bytes;
}

void stream_write_tell(struct loop_stream *stream, struct stream_write *write, int error)
{
    struct loop          *loop = stream->priv.object.loop;
    loop_stream_write_cb *cb = write->cb;
    void                 *arg = write->arg;
    size_t                bytes = write->done;
    loop_buffer           release = write->release;

    if (release != 0)
        hold_list_remove(&write_loan(write)->hold);
    if (stream_is(stream, STREAM_SENDS_FDS))
        stream_fds_written(stream, write);
    write_free(loop, write);
    if (cb != NULL)
        cb(stream, error, bytes, arg);
    if (release != 0)
        buffer_release(loop, release);
}

/* It is out of the queue: tells its end, unless operations of its own, or writes before it, are to be waited for. */
static void write_done(struct loop_stream *stream, struct stream_write *write, int error)
{
    stream->priv.write_bytes -= (uint32_t)(write->size - write->done);
    if (unlikely(stream->priv.more != NULL) && stream_write_waits(stream, write, error))
        return;
    stream_write_tell(stream, write, error);
}

/* Takes the first write from the queue and tells its end. */
static void first_done(struct loop_stream *stream, int error)
{
    struct stream_write *write = stream->priv.write_first;

    stream->priv.write_first = write->next;
    if (write->next == NULL)
        stream->priv.write_last = NULL;
    write_done(stream, write, error);
}

/* Those asked to end, of which the kernel has nothing, and nothing has left. Returns the first, linked in their order.
 */
static struct stream_write *cancelled_take(struct loop_stream *stream, bool *ret_later)
{
    struct stream_write **from = &stream->priv.write_first, *before = NULL, *write, *first = NULL, **to = &first;

    while ((write = *from) != NULL) {
        bool taken = (write->flags & WRITE_CANCELED) != 0 && write->done == 0 && !stream_has_in_flight(stream, write);

        if ((write->flags & WRITE_CANCELED) != 0 && write->done > 0)
            write->flags &= (uint8_t)~WRITE_CANCELED; /* goes on */
        *ret_later |= !taken && (write->flags & WRITE_CANCELED) != 0;
        if (taken) {
            *from = write->next;
            *to = write;
            to = &write->next;
        } else {
            before = write;
            from = &write->next;
        }
    }
    *to = NULL;
    stream->priv.write_last = before;
    return first;
}

static void cancel_work(struct loop_stream *stream)
{
    bool                 later = false;
    struct stream_write *write = cancelled_take(stream, &later), *next;

    if (later)
        stream_send_stop(stream);
    else
        stream_unset(stream, STREAM_CANCELS);
    for (; write != NULL; write = next) {
        next = write->next;
        write_done(stream, write, -ECANCELED);
    }
}

void stream_write_fail(struct loop_stream *stream, int error)
{
    while (stream->priv.write_first != NULL)
        first_done(stream, error);
}

/* All that could be read of the file has left: whether that is its end. */
static bool file_is_done(struct loop_stream *stream, struct stream_write *write)
{
    if (!write_file_read(write))
        return false;
    first_done(stream, write_file(write)->error);
    return true;
}

/* Shares the bytes out over the writes, whose callbacks may do anything, also close; then the rest of the queue waits
 * for that. */
static void count_sent(struct loop_stream *stream, size_t bytes)
{
    while (bytes > 0) {
        struct stream_write *write = stream->priv.write_first;
        size_t               left = write->size - write->done;

        if (bytes < left) {
            stream->priv.write_bytes -= (uint32_t)bytes;
            write_advance(write, bytes);
            return;
        }
        bytes -= left;
        stream->priv.write_bytes -= (uint32_t)left;
        if (unlikely((write->flags & WRITE_FILE) != 0)) {
            write_advance(write, left);
            CHECK(file_is_done(stream, write) || bytes == 0);
            continue;
        }
        write->done = write->size;
        first_done(stream, 0);
    }
}

static void fail(struct loop_stream *stream, int error)
{
    stream_set(stream, STREAM_WRITE_FAILED);
    stream->priv.write_error = error;
    stream_work(stream); /* it is full no more; somebody may wait for that */
    stream_write_fail(stream, error);
    stream_forward_sent(stream);
}

void stream_write_break(struct loop_stream *stream, int error)
{
    if (stream_is(stream, STREAM_WRITE_FAILED))
        return;
    if (stream->priv.write_id == 0) {
        fail(stream, error);
        return;
    }
    stream_set(stream, STREAM_WRITE_FAILED); /* told when the send has come back */
    stream->priv.write_error = error;
}

/* Whether the first write was to leave by zero-copy, which is not to be: then it leaves plainly. */
static bool zero_copy_refused(struct loop_stream *stream, int error)
{
    struct stream_write *write = stream->priv.write_first;

    if (write == NULL || (write->flags & WRITE_ZERO_COPY) == 0 || (error != -EOPNOTSUPP && error != -ENOMEM))
        return false;
    write->flags &= (uint8_t)~WRITE_ZERO_COPY;
    if (error != -ENOMEM)
        stream->priv.more->zero_copy_min = 0;
    return true;
}

static void sent_nothing(struct loop_stream *stream, int error)
{
    bool closing = stream_state(stream) == STREAM_CLOSING;

    if (stream_is(stream, STREAM_WRITE_FAILED) && !closing)
        stream_write_fail(stream, stream->priv.write_error);
    else if (!closing && error != -ECANCELED && !zero_copy_refused(stream, error)) {
        if (stream_error_passes(error)) {
            loop_task_retry(stream->priv.object.loop, &stream->priv.task);
            return;
        }
        fail(stream, error);
    }
    stream_work(stream); /* -ECANCELED: it was only asked how far it was */
    stream_forward_sent(stream);
}

void stream_sent(struct loop_stream *stream, int32_t res)
{
    bool failed = stream_is(stream, STREAM_WRITE_FAILED);

    if (unlikely(res < 0)) {
        sent_nothing(stream, res);
        return;
    }
    if (res > 0) {
        stream_note_sent(stream);
        count_sent(stream, (size_t)res);
    }
    if (unlikely(failed) && stream_state(stream) != STREAM_CLOSING)
        stream_write_fail(stream, stream->priv.write_error);
    if (stream->priv.write_first != NULL ||
        (stream->priv.state & (uint32_t)(STREAM_SHUT | STREAM_LEAVING | STREAM_WRITE_RARE)) != 0 ||
        stream_state(stream) == STREAM_CLOSING)
        stream_work(stream);
    stream_forward_sent(stream);
}

void stream_tell_shutdown(struct loop_stream *stream, int error)
{
    loop_stream_event_cb *cb = stream->priv.on_event;

    if (!stream_is(stream, STREAM_SHUT) || stream_is(stream, STREAM_SHUT_DONE))
        return;
    stream_set(stream, STREAM_SHUT_DONE);
    stream->priv.on_event = NULL;
    if (cb != NULL)
        cb(stream, error);
}

static void shutdown_now(struct loop_stream *stream)
{
    stream_tell_shutdown(stream, stream_is(stream, STREAM_WRITE_FAILED) ? stream->priv.write_error
                                                                        : stream->priv.transport->shutdown(stream));
}

/* What few streams have to see to before they send. */
static __attribute__((noinline)) void work_rare(struct loop_stream *stream)
{
    if (stream->priv.write_id == 0)
        stream_unset(stream, STREAM_SEND_STOPPED);
    if (stream_is(stream, STREAM_RECLAIM) && stream->priv.write_id == 0)
        stream_reclaim_work(stream);
    if (stream_is(stream, STREAM_CANCELS))
        cancel_work(stream);
    if (stream_state(stream) != STREAM_CLOSING)
        stream_water_work(stream);
}

/* Files whose end turned out when nothing of them was left to send. */
static bool files_done(struct loop_stream *stream)
{
    struct stream_write *write;

    while ((write = stream->priv.write_first) != NULL && (write->flags & WRITE_FILE) != 0 &&
           write->size == write->done && file_is_done(stream, write))
        ;
    return stream_state(stream) == STREAM_OPEN;
}

static int send_first(struct loop_stream *stream, struct iovec *iov)
{
    const struct loop_stream_transport *transport = stream->priv.transport;
    struct stream_write                *file = NULL, *first = stream->priv.write_first;
    size_t count = write_gather(first, iov, (uint32_t)stream->priv.object.loop->stats.turns | 1, &file);
    int    r = 0;

    if (unlikely(file != NULL)) {
        if (stream->priv.more->file == NULL)
            stream->priv.more->file = file;
        r = stream_file_pump(stream);
        if (r < 0 || count == 0)
            return r;
    }
    if (unlikely((first->flags & WRITE_ZERO_COPY) != 0) && transport->send_zero_copy != NULL &&
        first->pending < UINT16_MAX)
        return transport->send_zero_copy(stream, first, iov, count);
    if (unlikely((first->flags & WRITE_FDS) != 0))
        return stream_fds_send(stream, iov, count);
    return transport->send(stream, iov, count);
}

static void shutdown_if_asked(struct loop_stream *stream)
{
    if (stream_is(stream, STREAM_SHUT) && !stream_is(stream, STREAM_SHUT_DONE) &&
        (stream->priv.more == NULL || stream->priv.more->waiting_first == NULL))
        shutdown_now(stream);
}

/* What has left in part goes on, and nothing behind it. */
static bool cork_lets(struct loop_stream *stream)
{
    struct stream_write *first = stream->priv.write_first;

    if (first == NULL || first->done == 0)
        return false;
    first->flags |= WRITE_LAST;
    return true;
}

void stream_write_work(struct loop_stream *stream)
{
    struct iovec iov[WRITE_SEND_PIECES];
    int          r;

    if (unlikely(stream->priv.write_bytes > stream->priv.write_high || (stream->priv.state & STREAM_WRITE_RARE) != 0))
        work_rare(stream);
    if (stream_state(stream) != STREAM_OPEN || stream->priv.write_id != 0)
        return;
    if (unlikely(stream_is(stream, STREAM_WRITE_FAILED)) && stream->priv.write_first != NULL) {
        fail(stream, stream->priv.write_error); /* while it waited for room, nothing being sent */
        return;
    }
    if (unlikely(stream->priv.more != NULL && stream->priv.more->files > 0) && !files_done(stream))
        return;
    if (unlikely(stream_is(stream, STREAM_CORKED)) && !cork_lets(stream))
        return;
    if (stream->priv.write_first == NULL) {
        stream_forward_sent(stream);
        shutdown_if_asked(stream);
        return;
    }
    r = send_first(stream, iov);
    if (likely(r >= 0))
        return;
    if (zero_copy_refused(stream, r))
        stream_work(stream);
    else if (stream_error_passes(r)) /* at the limit of operations, or without memory */
        loop_task_retry(stream->priv.object.loop, &stream->priv.task);
    else
        fail(stream, r);
}

int loop_stream_shutdown(struct loop_stream *stream, loop_stream_event_cb *cb)
{
    enum stream_state state = stream_state(stream);

    if (state == STREAM_CLOSED || state == STREAM_CLOSING || stream_is(stream, STREAM_LEAVING))
        return -EINVAL;
    loop_check_owner(stream->priv.object.loop, __func__);
    if (state == STREAM_CONNECTING || stream_is(stream, STREAM_SHUT) ||
        (stream_is(stream, STREAM_WRITE_FAILED) && stream->priv.write_error == -ENOTCONN))
        return -ENOTCONN;
    stream_set(stream, STREAM_SHUT);
    (void)loop_stream_uncork(stream);
    stream->priv.on_event = cb;
    stream_work(stream);
    return 0;
}
