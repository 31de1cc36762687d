/* net/stream_detach.c: streams that give their descriptor up, and those that go on with one.
 *
 * A stream that leaves neither reads nor takes writes any more. When nothing is queued nor in flight, all that is left
 * of it is put into one block of memory, which no loop has a share in: it knows the allocator it came from. */
#include "net/stream_private.h"

#include <errno.h>
#include <ringloop/request.h>
#include <ringloop/unix.h>
#include <ringloop/write.h>
#include <string.h>

/* What the next stream must know of this one. */
static const uint32_t state_kept =
    STREAM_READ_ENDED | STREAM_END_TOLD | STREAM_SHUT | STREAM_SHUT_DONE | STREAM_WRITE_FAILED | STREAM_WRITE_ASYNC;

void loop_detached_drop(struct loop_detached *detached)
{
    if (detached == NULL)
        return;
    if (detached->fd >= 0)
        sys_close(detached->fd);
    for (uint32_t i = 0; i < detached->fd_count; i++)
        if (detached->fds[i] >= 0)
            sys_close(detached->fds[i]);
    (void)detached->priv.allocator.resize(detached->priv.allocator.arg, detached, 0);
}

/* NULL without memory; then nothing is changed. */
static struct loop_detached *collect(struct loop_stream *stream)
{
    struct loop          *loop = stream->priv.object.loop;
    uint32_t              fd_count = loop_stream_fds_waiting(stream);
    size_t                size = stream_stash_size(stream);
    struct loop_detached *detached = memory_resize(loop, NULL, sizeof(*detached) + fd_count * sizeof(int) + size);

    if (detached == NULL)
        return NULL;
    *detached = (struct loop_detached){
        .fd = stream->priv.fd,
        .fds = (int *)(void *)(detached + 1),
        .fd_count = fd_count,
        .size = size,
        .end = stream_is(stream, STREAM_READ_ENDED) ? stream->priv.read_end : 1,
        .priv = {.allocator = loop->allocator,
                 .state = stream->priv.state & state_kept,
                 .write_error = stream->priv.write_error},
    };
    detached->data = detached->fds + fd_count;
    for (uint32_t i = 0; i < fd_count; i++)
        detached->fds[i] = loop_stream_take_fd(stream);
    stream_stash_take(stream, detached->data);
    return detached;
}

static void run_take(struct loop *loop, void *arg)
{
    struct loop_detached *detached = arg;

    detached->priv.take(loop, 0, detached, detached->priv.arg);
}

/* The stream is no more. */
static void tell(struct loop *loop, struct loop_stream *stream, const struct stream_leave *leave, int error,
                 struct loop_detached *detached)
{
    if (leave->on_detached != NULL) {
        leave->on_detached(stream, error, detached);
        return;
    }
    if (detached != NULL) {
        detached->priv.take = leave->take;
        detached->priv.arg = leave->arg;
        error = loop_post(leave->target, run_take, detached);
    }
    if (error < 0)
        leave->take(loop, error, detached, leave->arg);
}

void stream_leave_tell(struct loop_stream *stream, int error)
{
    const struct stream_leave leave = stream->priv.more->leave;

    stream_unset(stream, STREAM_LEAVING);
    if (error != -ECANCELED && leave.was_unref) {
        object_release(&stream->priv.object);
        stream_set(stream, STREAM_UNREF);
    }
    tell(stream->priv.object.loop, stream, &leave, error, NULL);
}

static bool is_busy(const struct loop_stream *stream)
{
    return stream->priv.read_id != 0 || stream->priv.write_id != 0 || stream->priv.write_first != NULL ||
           stream_busy(stream) || stream_request_waits(stream) ||
           (stream_is(stream, STREAM_SHUT) && !stream_is(stream, STREAM_SHUT_DONE));
}

void stream_leave_work(struct loop_stream *stream)
{
    struct loop              *loop = stream->priv.object.loop;
    const struct stream_leave leave = stream->priv.more->leave;
    struct loop_detached     *detached;

    if (is_busy(stream))
        return;
    detached = collect(stream);
    if (detached == NULL) {
        stream_leave_tell(stream, -ENOMEM);
        return;
    }
    stream_forget(stream);
    tell(loop, stream, &leave, 0, detached);
}

static int leave(struct loop_stream *stream, const struct stream_leave *how)
{
    enum stream_state   state = stream_state(stream);
    struct stream_more *more;

    if (state == STREAM_CLOSED || state == STREAM_CLOSING)
        return -EINVAL;
    if (state == STREAM_CONNECTING)
        return -ENOTCONN;
    if (stream_is(stream, STREAM_LEAVING) || stream_forwards(stream) ||
        (stream->priv.more != NULL && stream->priv.more->forwarded != NULL))
        return -EBUSY;
    if (stream->priv.fd < 0)
        return -EBADF;
    more = stream_more(stream);
    if (more == NULL)
        return -ENOMEM;
    more->leave = *how;
    more->leave.was_unref = stream_is(stream, STREAM_UNREF);
    if (more->leave.was_unref) {
        object_hold(&stream->priv.object);
        stream_unset(stream, STREAM_UNREF);
    }
    stream_set(stream, STREAM_LEAVING);
    stream_unset(stream, STREAM_READING);
    (void)loop_stream_uncork(stream);
    (void)loop_stream_read_cancel(stream);
    stream_work(stream);
    return 0;
}

int loop_stream_detach(struct loop_stream *stream, loop_stream_detach_cb *cb)
{
    if (stream_state(stream) == STREAM_CLOSED || cb == NULL)
        return -EINVAL;
    loop_check_owner(stream->priv.object.loop, __func__);
    return leave(stream, &(struct stream_leave){.on_detached = cb});
}

int loop_stream_hand_over(struct loop_stream *stream, struct loop *target, loop_stream_take_cb *take, void *arg)
{
    if (stream_state(stream) == STREAM_CLOSED || target == NULL || take == NULL)
        return -EINVAL;
    loop_check_owner(stream->priv.object.loop, __func__);
    return leave(stream, &(struct stream_leave){.take = take, .arg = arg, .target = target});
}

int loop_stream_attach(struct loop *loop, struct loop_stream *stream, struct loop_detached *detached,
                       const struct loop_stream_options *options)
{
    int r;

    if (detached == NULL)
        return -EINVAL;
    r = loop_stream_open(loop, stream, detached->fd, options);
    if (r < 0)
        return r;
    if (stream_stash_put(stream, detached->data, detached->size) < 0 ||
        (detached->fd_count > 0 && stream_fds_put(stream, detached->fds, detached->fd_count) < 0)) {
        stream_forget(stream);
        return -ENOMEM;
    }
    stream->priv.state |= detached->priv.state;
    stream->priv.read_end = detached->end > 0 ? 0 : detached->end;
    stream->priv.write_error = detached->priv.write_error;
    detached->fd = -1;
    detached->fd_count = 0;
    loop_detached_drop(detached);
    return 0;
}
