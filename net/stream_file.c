/* net/stream_file.c: transports for what is no socket: pipes, terminals, regular files.
 *
 * No write or read may hold up the loop. Pipes look at the kernel's wish not to wait; terminals and other devices do
 * not: a write to a full one waits although it was ready, so workers do that. A worker that reads takes its buffer
 * before there is anything to read; so a poll comes first. The file's own flags stay as they are: others share it. */
#include "net/stream_private.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <ringloop/op_file.h>
#include <ringloop/op_poll.h>
#include <sys/stat.h>

static const struct loop_stream_transport over_pipe, over_fifo, over_terminal;
static const struct loop_stream_transport over_regular;

#ifndef RWF_NOSIGNAL
#define RWF_NOSIGNAL 0x100 /* Linux 6.18: no SIGPIPE */
#endif

/* The kernel reads a blocking pipe on and on only where it can be told not to wait: of others it never sees the end. */
static const struct loop_stream_transport *find_pipe(int fd, int flags)
{
    if ((flags & O_ACCMODE) != O_WRONLY && (flags & O_NONBLOCK) == 0 && sys_pipe_nowait(fd) < 0)
        return &over_fifo;
    return &over_pipe;
}

int stream_file_check(int fd, const struct loop_stream_transport **ret_transport, uint32_t *ret_state)
{
    const struct loop_stream_transport *transport;
    mode_t                              mode = 0;
    int                                 flags = sys_file_flags(fd), r;

    if (flags < 0)
        return flags;
    if ((flags & O_PATH) != 0)
        return -EBADF;
    r = sys_file_mode(fd, &mode);
    if (r < 0)
        return r;
    if (S_ISFIFO(mode))
        transport = find_pipe(fd, flags);
    else if (S_ISCHR(mode))
        transport = &over_terminal;
    else if (S_ISREG(mode))
        transport = &over_regular;
    else
        return -EINVAL;
    *ret_transport = transport;
    if ((flags & O_ACCMODE) == O_RDONLY)
        *ret_state |= STREAM_SHUT | STREAM_SHUT_DONE;
    else if ((flags & O_ACCMODE) == O_WRONLY)
        *ret_state |= STREAM_READ_ENDED | STREAM_END_TOLD;
    return 0;
}

/* ---- reading */

/* It ended without a result: is tried again if anybody still wants that. */
static void read_again(struct loop_stream *stream)
{
    stream_request_fed(stream, &(struct loop_result){.res = -ECANCELED});
}

static void read_done(struct loop *loop, const struct loop_result *result, void *arg)
{
    struct loop_stream *stream = arg;

    (void)loop;
    if ((result->flags & LOOP_MORE) == 0)
        stream->priv.read_id = 0;
    if (result->res == -EAGAIN || result->res == -EINTR ||
        result->res == -ERESTART) /* another reader was faster; a signal; a new ring */
        read_again(stream);
    else
        stream_request_fed(stream, result);
}

static int reading(struct loop_stream *stream, loop_id id)
{
    if (id < 0)
        return (int)id;
    stream->priv.read_id = op_of_object(stream->priv.object.loop, id);
    return 0;
}

/* Of the request that it is for, if it is for one. */
static uint64_t timeout_of(const struct loop_stream *stream)
{
    return stream_request_waits(stream) ? stream->priv.more->receive_ns : 0;
}

static int read_once(struct loop_stream *stream, uint32_t flags)
{
    struct loop *loop = stream->priv.object.loop;

    return reading(stream, loop_read(loop, stream->priv.fd, NULL, 0, LOOP_AT_POSITION, read_done, stream,
                                     LOOP_TERMS(.timeout_ns = timeout_of(stream),
                                                .flags = LOOP_BACKGROUND | LOOP_UNCHAINED | LOOP_LEND | flags)));
}

static void readable(struct loop *loop, const struct loop_result *result, void *arg)
{
    struct loop_stream *stream = arg;
    bool                wanted = stream_state(stream) == STREAM_OPEN && !stream_is(stream, STREAM_READ_CANCELED);

    stream->priv.read_id = 0;
    if (result->res < 0 && result->res != -ERESTART)
        stream_request_fed(stream, result);
    else if (!wanted || result->res < 0)
        read_again(stream);
    else if (read_once(stream, LOOP_ASYNC) < 0) { /* at the limit of operations, or without memory */
        stream_unset(stream, STREAM_REQUEST_READS);
        loop_task_retry(loop, &stream->priv.task);
    }
}

static int polled_read_start(struct loop_stream *stream)
{
    return reading(
        stream, loop_poll_add(stream->priv.object.loop, stream->priv.fd, POLLIN, readable, stream,
                              LOOP_TERMS(.timeout_ns = timeout_of(stream), .flags = LOOP_BACKGROUND | LOOP_UNCHAINED)));
}

static int pipe_read_start(struct loop_stream *stream)
{
    struct loop *loop = stream->priv.object.loop;

    if (!ring_knows(&loop->ring, IORING_OP_READ_MULTISHOT))
        return polled_read_start(stream);
    return reading(stream, loop_read_multishot(loop, stream->priv.fd, LOOP_GROUP_DEFAULT, read_done, stream,
                                               LOOP_TERMS(.timeout_ns = timeout_of(stream),
                                                          .flags = LOOP_BACKGROUND | LOOP_UNCHAINED)));
}

static int regular_read_start(struct loop_stream *stream)
{
    return read_once(stream, 0);
}

/* Into lent buffers here too. */
static int file_receive(struct loop_stream *stream, void *data, size_t size, uint64_t timeout_ns)
{
    int r;

    (void)data;
    (void)size;
    stream->priv.more->receive_ns = timeout_ns;
    r = stream->priv.transport->read_start(stream);
    if (r == 0)
        stream_set(stream, STREAM_REQUEST_READS);
    return r;
}

static ssize_t file_try_receive(struct loop_stream *stream, void *data, size_t size)
{
    return sys_read_now(stream->priv.fd, data, size);
}

/* Nothing can be read of it without perhaps waiting. */
static ssize_t terminal_try_receive(struct loop_stream *stream, void *data, size_t size)
{
    (void)stream;
    (void)data;
    (void)size;
    return -EAGAIN;
}

/* ---- writing */

static void writable(struct loop *loop, const struct loop_result *result, void *arg)
{
    struct loop_stream *stream = arg;

    (void)loop;
    (void)result;
    stream->priv.write_id = 0;
    stream_work(stream);
}

/* The file is in non-blocking mode, and full. */
static void wait_for_room(struct loop_stream *stream)
{
    struct loop *loop = stream->priv.object.loop;
    loop_id id = loop_poll_add(loop, stream->priv.fd, POLLOUT, writable, stream, LOOP_TERMS(.flags = LOOP_UNCHAINED));

    if (id < 0)
        loop_task_retry(loop, &stream->priv.task);
    else
        stream->priv.write_id = op_of_object(loop, id);
}

static int pipe_shutdown(struct loop_stream *stream);

static void write_done(struct loop *loop, const struct loop_result *result, void *arg)
{
    struct loop_stream *stream = arg;
    bool                closing = stream_state(stream) == STREAM_CLOSING;
    bool                goes_on = !closing && (stream->priv.state & (STREAM_WRITE_FAILED | STREAM_SEND_STOPPED)) == 0;

    (void)loop;
    stream->priv.write_id = 0;
    if (result->res == -EAGAIN && goes_on) {
        wait_for_room(stream);
    } else if (result->res == -EOPNOTSUPP && !closing && stream->priv.transport->shutdown == pipe_shutdown &&
               !stream_is(stream, STREAM_WRITE_ASYNC)) { /* before Linux 6.18 */
        stream_set(stream, STREAM_WRITE_ASYNC);
        stream_work(stream);
    } else {
        stream_sent(stream, result->res == 0 ? -EIO : result->res);
    }
}

static int start_write(struct loop_stream *stream, struct iovec *iov, size_t count, int flags, uint32_t terms_flags)
{
    loop_id id = loop_writev(stream->priv.object.loop, stream->priv.fd, iov, (int)count, LOOP_AT_POSITION, flags,
                             write_done, stream, LOOP_TERMS(.flags = LOOP_UNCHAINED | terms_flags));

    if (id < 0)
        return (int)id;
    stream->priv.write_id = op_of_object(stream->priv.object.loop, id);
    return 0;
}

/* SIGPIPE would go to the thread that writes: a worker does not mind. */
static int pipe_send(struct loop_stream *stream, struct iovec *iov, size_t count)
{
    if (stream_is(stream, STREAM_WRITE_ASYNC))
        return start_write(stream, iov, count, 0, LOOP_ASYNC);
    return start_write(stream, iov, count, RWF_NOSIGNAL, 0);
}

static int terminal_send(struct loop_stream *stream, struct iovec *iov, size_t count)
{
    return start_write(stream, iov, count, 0, LOOP_ASYNC);
}

static int regular_send(struct loop_stream *stream, struct iovec *iov, size_t count)
{
    return start_write(stream, iov, count, 0, 0);
}

static int pipe_try_send(struct loop_stream *stream, const struct iovec *iov, size_t count)
{
    return (int)sys_write_now(stream->priv.fd, iov, count);
}

/* Nothing can be written to it without perhaps waiting. */
static int file_try_send(struct loop_stream *stream, const struct iovec *iov, size_t count)
{
    (void)stream;
    (void)iov;
    (void)count;
    return -EAGAIN;
}

/* ---- ending */

static void file_close(struct loop_stream *stream)
{
    if (stream->priv.fd < 0 || stream_is(stream, STREAM_KEEP_FD))
        return;
    sys_close(stream->priv.fd);
    stream->priv.fd = -1;
    starved_feed(stream->priv.object.loop);
}

/* A reader only sees the end when nobody has the pipe open for writing. */
static int pipe_shutdown(struct loop_stream *stream)
{
    if ((sys_file_flags(stream->priv.fd) & O_ACCMODE) == O_WRONLY)
        file_close(stream);
    return 0;
}

static int file_shutdown(struct loop_stream *stream)
{
    (void)stream;
    return 0;
}

static const struct loop_stream_transport over_pipe = {
    .read_start = pipe_read_start,
    .read_stop = stream_cancel_read,
    .receive = file_receive,
    .wait_readable = stream_wait_readable,
    .try_receive = file_try_receive,
    .send = pipe_send,
    .try_send = pipe_try_send,
    .shutdown = pipe_shutdown,
    .cancel = stream_cancel_both,
    .close = file_close,
};

static const struct loop_stream_transport over_fifo = {
    .read_start = polled_read_start,
    .read_stop = stream_cancel_read,
    .receive = file_receive,
    .wait_readable = stream_wait_readable,
    .try_receive = file_try_receive,
    .send = pipe_send,
    .try_send = pipe_try_send,
    .shutdown = pipe_shutdown,
    .cancel = stream_cancel_both,
    .close = file_close,
};

static const struct loop_stream_transport over_terminal = {
    .read_start = polled_read_start,
    .read_stop = stream_cancel_read,
    .receive = file_receive,
    .wait_readable = stream_wait_readable,
    .try_receive = terminal_try_receive,
    .send = terminal_send,
    .try_send = file_try_send,
    .shutdown = file_shutdown,
    .cancel = stream_cancel_both,
    .close = file_close,
};

static const struct loop_stream_transport over_regular = {
    .read_start = regular_read_start,
    .read_stop = stream_cancel_read,
    .receive = file_receive,
    .wait_readable = stream_wait_readable,
    .try_receive = file_try_receive,
    .send = regular_send,
    .try_send = file_try_send,
    .shutdown = file_shutdown,
    .cancel = stream_cancel_both,
    .close = file_close,
};
