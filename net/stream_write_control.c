/* net/stream_write_control.c: what else is asked of a stream's queue: cork, try, cancel; and the water marks. */
#include "net/stream_private.h"
#include "net/write_queue.h"

#include <errno.h>
#include <ringloop/write.h>

/* ---- cork */

int loop_stream_cork(struct loop_stream *stream)
{
    enum stream_state state = stream_state(stream);

    if (state == STREAM_CLOSED || state == STREAM_CLOSING || stream_is(stream, STREAM_LEAVING))
        return -EINVAL;
    loop_check_owner(stream->priv.object.loop, __func__);
    if (stream_is(stream, STREAM_SHUT))
        return -EPIPE;
    stream_set(stream, STREAM_CORKED);
    return 0;
}

int loop_stream_uncork(struct loop_stream *stream)
{
    enum stream_state state = stream_state(stream);

    if (state == STREAM_CLOSED || state == STREAM_CLOSING)
        return -EINVAL;
    loop_check_owner(stream->priv.object.loop, __func__);
    if (stream_is(stream, STREAM_CORKED) && stream_has_deadlines(stream))
        stream_deadline_wanted(stream, LOOP_STREAM_WRITE);
    stream_unset(stream, STREAM_CORKED);
    stream_work(stream);
    return 0;
}

/* ---- try */

int loop_stream_try_writev(struct loop_stream *stream, const struct iovec *iov, size_t iov_count)
{
    int r;

    if (stream_state(stream) == STREAM_CLOSED || iov == NULL || iov_count > WRITE_IOV_MAX)
        return -EINVAL;
    loop_check_owner(stream->priv.object.loop, __func__);
    if (write_iov_size(iov, iov_count) == 0)
        return -EINVAL;
    r = stream_write_allowed(stream);
    if (r < 0)
        return r;
    if (stream_state(stream) != STREAM_OPEN || stream_is(stream, STREAM_CORKED) || stream->priv.write_first != NULL ||
        stream->priv.write_id != 0 || (stream->priv.more != NULL && stream->priv.more->forwarded != NULL))
        return -EAGAIN;
    return stream->priv.transport->try_send(stream, iov, iov_count);
}

int loop_stream_try_write(struct loop_stream *stream, const void *data, size_t size)
{
    return loop_stream_try_writev(stream, &(struct iovec){.iov_base = (void *)(uintptr_t)data, .iov_len = size}, 1);
}

/* ---- cancel */

bool stream_has_in_flight(const struct loop_stream *stream, const struct stream_write *write)
{
    return stream->priv.write_id != 0 && write->turn != 0;
}

void stream_send_stop(struct loop_stream *stream)
{
    if (stream->priv.write_id == 0 || stream_is(stream, STREAM_SEND_STOPPED))
        return;
    stream_set(stream, STREAM_SEND_STOPPED);
    (void)loop_cancel(stream->priv.object.loop, stream->priv.write_id);
}

static int cancel(struct loop_stream *stream, const char *call, bool all, const void *arg)
{
    enum stream_state state = stream_state(stream);
    int               count = 0;

    if (state == STREAM_CLOSED || state == STREAM_CLOSING)
        return -EINVAL;
    loop_check_owner(stream->priv.object.loop, call);
    for (struct stream_write *write = stream->priv.write_first; write != NULL; write = write->next) {
        if (write->done > 0 || (write->flags & WRITE_CANCELED) != 0 || (!all && write->arg != arg))
            continue;
        write->flags |= WRITE_CANCELED;
        count++;
    }
    if (count > 0) {
        stream_set(stream, STREAM_CANCELS);
        stream_work(stream);
    }
    return count;
}

int loop_stream_write_cancel(struct loop_stream *stream, const void *arg)
{
    return cancel(stream, __func__, false, arg);
}

int loop_stream_write_cancel_all(struct loop_stream *stream)
{
    return cancel(stream, __func__, true, NULL);
}

/* ---- water marks */

static uint32_t low_mark(const struct loop_stream *stream)
{
    const struct stream_more *more = stream->priv.more;

    return more == NULL || more->write_low == 0 ? stream->priv.write_high / 4 : more->write_low;
}

static void tell_water(struct loop_stream *stream, bool full)
{
    const struct stream_more *more = stream->priv.more;

    if (more != NULL && more->on_water != NULL)
        more->on_water(stream, full);
}

void stream_water_work(struct loop_stream *stream)
{
    if (!stream_is(stream, STREAM_FULL) && stream->priv.write_bytes > stream->priv.write_high) {
        stream_set(stream, STREAM_FULL);
        tell_water(stream, true);
    } else if (stream_is(stream, STREAM_FULL) && stream->priv.write_bytes <= low_mark(stream)) {
        stream_unset(stream, STREAM_FULL);
        tell_water(stream, false);
    }
}
