/* net/stream_socket.c: the plain transport: a connected socket, one multishot receive, one send at a time. */
#include "net/stream_private.h"
#include "net/write_queue.h"

#include <errno.h>
#include <poll.h>
#include <ringloop/op_poll.h>
#include <ringloop/zero_copy.h>

static void receive_done(struct loop *loop, const struct loop_result *result, void *arg)
{
    struct loop_stream *stream = arg;

    (void)loop;
    if ((result->flags & LOOP_MORE) == 0)
        stream->priv.read_id = 0;
    stream_received(stream, result);
}

static int socket_read_start(struct loop_stream *stream)
{
    loop_id id = loop_recv_multishot(stream->priv.object.loop, stream->priv.fd, LOOP_GROUP_DEFAULT, 0, receive_done,
                                     stream, LOOP_TERMS(.flags = LOOP_BACKGROUND | LOOP_UNCHAINED));

    if (id < 0)
        return (int)id;
    stream->priv.read_id = op_of_object(stream->priv.object.loop, id);
    return 0;
}

void stream_cancel_read(struct loop_stream *stream)
{
    (void)loop_cancel(stream->priv.object.loop, stream->priv.read_id);
}

static void request_done(struct loop *loop, const struct loop_result *result, void *arg)
{
    struct loop_stream *stream = arg;

    (void)loop;
    stream->priv.read_id = 0;
    stream_unset(stream, STREAM_REQUEST_READS);
    stream_request_received(stream, result);
}

static int request_started(struct loop_stream *stream, loop_id id)
{
    if (id < 0)
        return (int)id;
    stream->priv.read_id = op_of_object(stream->priv.object.loop, id);
    stream_set(stream, STREAM_REQUEST_READS);
    return 0;
}

static int socket_receive(struct loop_stream *stream, void *data, size_t size, uint64_t timeout_ns)
{
    const struct loop_terms terms = {
        .timeout_ns = timeout_ns,
        .flags = LOOP_BACKGROUND | LOOP_UNCHAINED | (data == NULL ? LOOP_LEND : 0),
        .group = data == NULL ? LOOP_GROUP_DEFAULT : 0,
    };

    return request_started(
        stream, loop_recv(stream->priv.object.loop, stream->priv.fd, data, size, 0, request_done, stream, &terms));
}

int stream_wait_readable(struct loop_stream *stream, uint64_t timeout_ns)
{
    const struct loop_terms terms = {.timeout_ns = timeout_ns, .flags = LOOP_BACKGROUND | LOOP_UNCHAINED};

    return request_started(stream, loop_poll_add(stream->priv.object.loop, stream->priv.fd, POLLIN | POLLRDHUP,
                                                 request_done, stream, &terms));
}

static ssize_t socket_try_receive(struct loop_stream *stream, void *data, size_t size)
{
    return sys_recv(stream->priv.fd, data, size, MSG_DONTWAIT);
}

static void send_done(struct loop *loop, const struct loop_result *result, void *arg)
{
    struct loop_stream *stream = arg;

    (void)loop;
    stream->priv.write_id = 0;
    stream_sent(stream, result->res);
}

static int socket_send(struct loop_stream *stream, struct iovec *iov, size_t count)
{
    struct loop *loop = stream->priv.object.loop;
    loop_id      id = op_send_some(loop, stream->priv.fd, iov, count, send_done, stream);

    if (id < 0)
        return (int)id;
    stream->priv.write_id = op_of_object(loop, id);
    return 0;
}

static void zero_copy_done(struct loop *loop, const struct loop_result *result, void *arg)
{
    struct stream_write *write = arg;
    struct loop_stream  *stream = write_loan(write)->stream;

    (void)loop;
    if ((result->flags & LOOP_MORE) == 0) {
        stream_released(stream, write);
        return;
    }
    stream->priv.write_id = 0;
    stream_sent(stream, result->res);
}

static int socket_send_zero_copy(struct loop_stream *stream, struct stream_write *write, struct iovec *iov,
                                 size_t count)
{
    struct loop            *loop = stream->priv.object.loop;
    const struct msghdr     msg = {.msg_iov = iov, .msg_iovlen = count};
    const struct loop_terms terms = {.flags = LOOP_UNCHAINED};
    loop_id                 id;

    if (count == 1)
        id = loop_send_zc(loop, stream->priv.fd, iov[0].iov_base, iov[0].iov_len, 0, zero_copy_done, write, &terms);
    else
        id = loop_sendmsg_zc(loop, stream->priv.fd, &msg, 0, zero_copy_done, write, &terms);
    if (id < 0)
        return (int)id;
    stream->priv.write_id = op_of_object(loop, id);
    stream_write_busy(stream, write);
    return 0;
}

static int socket_try_send(struct loop_stream *stream, const struct iovec *iov, size_t count)
{
    const struct msghdr msg = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = count};

    return sys_sendmsg(stream->priv.fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static int socket_shutdown(struct loop_stream *stream)
{
    return sys_shutdown(stream->priv.fd, SHUT_WR); /* the ring would hand it to a worker: ten times dearer */
}

void stream_cancel_both(struct loop_stream *stream)
{
    struct loop *loop = stream->priv.object.loop;

    if (stream->priv.read_id != 0)
        (void)loop_cancel(loop, stream->priv.read_id);
    if (stream->priv.write_id != 0)
        (void)loop_cancel(loop, stream->priv.write_id);
}

static void socket_close(struct loop_stream *stream)
{
    struct linger at_once = {.l_onoff = 1, .l_linger = 0};

    if (stream_is(stream, STREAM_KEEP_FD))
        return;
    if (stream_is(stream, STREAM_RESET))
        (void)sys_setsockopt(stream->priv.fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    sys_close(stream->priv.fd);
    stream->priv.fd = -1;
    starved_feed(stream->priv.object.loop);
}

const struct loop_stream_transport stream_socket_transport = {
    .read_start = socket_read_start,
    .read_stop = stream_cancel_read,
    .receive = socket_receive,
    .wait_readable = stream_wait_readable,
    .try_receive = socket_try_receive,
    .send = socket_send,
    .send_zero_copy = socket_send_zero_copy,
    .try_send = socket_try_send,
    .shutdown = socket_shutdown,
    .cancel = stream_cancel_both,
    .close = socket_close,
};

const struct loop_stream_transport stream_fds_transport = {
    .read_start = stream_fds_read_start,
    .read_stop = stream_cancel_read,
    .receive = stream_fds_receive,
    .wait_readable = stream_wait_readable,
    .try_receive = stream_fds_try_receive,
    .send = socket_send,
    .shutdown = socket_shutdown,
    .cancel = stream_cancel_both,
    .close = socket_close,
};
