/* net/stream_write.c: writing: a queue in order, of which as much as is sensible leaves in one send; one send at a
 * time.
 *
 * Small writes are copied, and a lent buffer that held them goes back at once: so a group of large buffers is not used
 * up by small messages. */
#include "net/stream_private.h"
#include "net/write_queue.h"

#include <errno.h>

static int check_write(const struct loop_stream *stream, const struct loop_write_terms *terms, size_t size)
{
    enum stream_state state = stream_state(stream);

    if (state == STREAM_CLOSED || state == STREAM_CLOSING || size == 0 ||
        (terms->flags & ~(uint32_t)LOOP_WRITE_COPY) != 0 ||
        (terms->release != 0 && buffer_check_giving(stream->priv.object.loop, terms->release) < 0))
        return -EINVAL;
    if (stream_is(stream, STREAM_SHUT) || stream_is(stream, STREAM_WRITE_FAILED))
        return -EPIPE;
    if (stream->priv.write_bytes + size > stream->priv.write_bytes_max)
        return -ENOBUFS;
    return 0;
}

/* The bytes of a copied write need their buffer no more: it goes back now. */
static void take_release(struct loop *loop, struct stream_write *write, loop_buffer release)
{
    if (release == 0)
        return;
    if (write->iov->iov_base == write->bytes) {
        (void)loop_buffer_return(loop, release);
    } else {
        buffer_hand_over(loop, release);
        write->release = release;
    }
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
    take_release(loop, write, terms->release);
    if (stream->priv.write_first == NULL) {
        stream->priv.write_first = write;
        if (stream_has_deadlines(stream))
            stream_deadline_wanted(stream, LOOP_STREAM_WRITE);
    } else {
        stream->priv.write_last->next = write;
    }
    stream->priv.write_last = write;
    stream->priv.write_bytes += size;
    if (stream->priv.write_id == 0)
        stream_work(stream);
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

/* Takes the first write from the queue and tells its end. */
static void first_done(struct loop_stream *stream, int error)
{
    struct loop          *loop = stream->priv.object.loop;
    struct stream_write  *write = stream->priv.write_first;
    loop_stream_write_cb *cb = write->cb;
    void                 *arg = write->arg;
    size_t                bytes = write->done;
    loop_buffer           release = write->release;

    stream->priv.write_first = write->next;
    if (write->next == NULL)
        stream->priv.write_last = NULL;
    stream->priv.write_bytes -= write->size - bytes;
    write_free(loop, write);
    if (cb != NULL)
        cb(stream, error, bytes, arg);
    if (release != 0)
        buffer_release(loop, release);
}

void stream_write_fail(struct loop_stream *stream, int error)
{
    while (stream->priv.write_first != NULL)
        first_done(stream, error);
}

/* Shares the bytes out over the writes, whose callbacks may do anything, also close; then the rest of the queue waits
 * for that. */
static void count_sent(struct loop_stream *stream, size_t bytes)
{
    while (bytes > 0) {
        struct stream_write *write = stream->priv.write_first;
        size_t               left = write->size - write->done;

        if (bytes < left) {
            stream->priv.write_bytes -= bytes;
            write_advance(write, bytes);
            return;
        }
        bytes -= left;
        stream->priv.write_bytes -= left;
        write->done = write->size;
        first_done(stream, 0);
    }
}

static void fail(struct loop_stream *stream, int error)
{
    stream_set(stream, STREAM_WRITE_FAILED);
    stream->priv.write_error = error;
    stream_write_fail(stream, error);
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

static bool is_passing(int error)
{
    return error == -EAGAIN || error == -EINTR || error == -ENOBUFS || error == -ENOMEM;
}

void stream_sent(struct loop_stream *stream, int32_t res)
{
    bool failed = stream_is(stream, STREAM_WRITE_FAILED), closing = stream_state(stream) == STREAM_CLOSING;

    if (res < 0 && is_passing(res) && !failed && !closing) {
        loop_task_retry(stream->priv.object.loop, &stream->priv.task);
        return;
    }
    if (res == -ECANCELED && !failed && !closing) { /* only asked how far it was */
        stream_work(stream);
        return;
    }
    if (res > 0) {
        stream_note_sent(stream);
        count_sent(stream, (size_t)res);
    }
    if (failed && stream_state(stream) != STREAM_CLOSING)
        stream_write_fail(stream, stream->priv.write_error);
    else if (!closing && res < 0)
        fail(stream, res);
    if (stream->priv.write_first != NULL || stream_is(stream, STREAM_SHUT) || stream_state(stream) == STREAM_CLOSING)
        stream_work(stream);
    else
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

void stream_write_work(struct loop_stream *stream)
{
    struct iovec iov[WRITE_SEND_PIECES];
    int          r;

    if (stream_state(stream) != STREAM_OPEN || stream->priv.write_id != 0)
        return;
    if (stream->priv.write_first == NULL) {
        if (stream_is(stream, STREAM_SHUT) && !stream_is(stream, STREAM_SHUT_DONE))
            shutdown_now(stream);
        return;
    }
    r = stream->priv.transport->send(stream, iov, write_gather(stream->priv.write_first, iov));
    if (r < 0 && is_passing(r))
        loop_task_retry(stream->priv.object.loop,
                        &stream->priv.task); /* at the limit of operations, or without memory */
    else if (r < 0)
        fail(stream, r);
}

int loop_stream_shutdown(struct loop_stream *stream, loop_stream_event_cb *cb)
{
    enum stream_state state = stream_state(stream);

    if (state == STREAM_CLOSED || state == STREAM_CLOSING)
        return -EINVAL;
    loop_check_owner(stream->priv.object.loop, __func__);
    if (state == STREAM_CONNECTING || stream_is(stream, STREAM_SHUT) ||
        (stream_is(stream, STREAM_WRITE_FAILED) && stream->priv.write_error == -ENOTCONN))
        return -ENOTCONN;
    stream_set(stream, STREAM_SHUT);
    stream->priv.on_event = cb;
    stream_work(stream);
    return 0;
}
