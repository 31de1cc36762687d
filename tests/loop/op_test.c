/* tests/loop/op_test.c: each operation: success, failure, what is refused. */
#include "tests/loop/pair_world.h"

#include <fcntl.h>
#include <liburing.h>
#include <sys/uio.h>

/* ---- each operation */

/* Goal: a nop ends with 0, and is counted. */
START_TEST(nop)
{
    struct test_log   log = {0};
    struct loop_stats stats;

    ck_assert_int_eq(finish(loop_nop(loop, test_log_cb, &log, NULL), &log), 0);
    stats = test_stats(loop);
    ck_assert_uint_eq(stats.ops_started, 1);
    ck_assert_uint_eq(stats.ops_finished, 1);
    ck_assert_uint_eq(stats.callbacks, 1);
    ck_assert_uint_ge(stats.cqes, 1);
    ck_assert_uint_eq(stats.cqes_stale, 0);
}
END_TEST

/* Goal: ids name one operation each, and are not used again soon. Method: 1000 nops. */
START_TEST(ids_differ)
{
    static loop_id ids[1000];

    for (size_t i = 0; i < TEST_COUNT(ids); i++) {
        struct test_log log = {0};

        ids[i] = loop_nop(loop, test_log_cb, &log, NULL);
        ck_assert_int_gt(ids[i], 0);
        for (size_t before = 0; before < i; before++)
            if (ids[i] == ids[before]) /* without a check that is noted each time */
                ck_abort_msg("%" PRId64 " came twice", ids[i]);
        test_run(loop);
    }
}
END_TEST

/* Goal: loop_socket gives a descriptor with close-on-exec, or the errno of socket(2). */
START_TEST(socket_op)
{
    struct test_log log = {0};
    int       fd = finish(loop_socket(loop, AF_INET, SOCK_STREAM, IPPROTO_TCP, test_log_cb, &log, NULL), &log), type;
    socklen_t size = sizeof(type);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
    ck_assert_int_eq(getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size), 0);
    ck_assert_int_eq(type, SOCK_STREAM);
    test_close(fd);
    log = (struct test_log){0};
    ck_assert_int_eq(finish(loop_socket(loop, 9999, SOCK_STREAM, 0, test_log_cb, &log, NULL), &log), -EAFNOSUPPORT);
}
END_TEST

static loop_id bind_port(int fd, uint16_t port, struct test_log *log)
{
    struct sockaddr_in address = test_localhost(port);
    loop_id id = loop_bind(loop, fd, (const struct sockaddr *)&address, sizeof(address), test_log_cb, log, NULL);

    memset(&address, 0xff, sizeof(address)); /* it was copied */
    return id;
}

/* Goal: bind and listen do what the system calls do, also in their errors. Method: a port, the same again, a taken
 * port, a datagram socket. */
START_TEST(bind_listen)
{
    struct test_log    log[6] = {0};
    int                fd = socket(AF_INET, SOCK_STREAM, 0), second = socket(AF_INET, SOCK_STREAM, 0);
    int                datagram = socket(AF_INET, SOCK_DGRAM, 0), client;
    struct sockaddr_in address;
    socklen_t          size = sizeof(address);

    if (!test_has_opcode(loop, IORING_OP_LISTEN)) {
        ck_assert_int_eq(bind_port(fd, 0, &log[0]), -EOPNOTSUPP);
        ck_assert_int_eq(loop_listen(loop, fd, 1, not_called, NULL, NULL), -EOPNOTSUPP);
        test_skip("loop_bind and loop_listen: the kernel lacks them");
    } else {
        ck_assert_int_eq(finish(bind_port(fd, 0, &log[0]), &log[0]), 0);
        ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &size), 0);
        ck_assert_uint_eq(address.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
        ck_assert_int_eq(finish(bind_port(fd, 0, &log[1]), &log[1]), -EINVAL);
        ck_assert_int_eq(finish(loop_listen(loop, fd, 3, test_log_cb, &log[2], NULL), &log[2]), 0);
        client = test_tcp_connect(ntohs(address.sin_port));
        test_close(client);
        ck_assert_int_eq(finish(bind_port(second, ntohs(address.sin_port), &log[3]), &log[3]), -EADDRINUSE);
        ck_assert_int_eq(finish(loop_listen(loop, datagram, 3, test_log_cb, &log[4], NULL), &log[4]), -EOPNOTSUPP);
    }
    test_close(fd);
    test_close(second);
    test_close(datagram);
}
END_TEST

/* Goal: connect to a listener, to nobody; the address is copied. Method: overwrite it after the call. */
START_TEST(connect_op)
{
    uint16_t           port, closed_port;
    int                listener = test_tcp_listener(&port, 4), fd = socket(AF_INET, SOCK_STREAM, 0), peer;
    struct sockaddr_in address = test_localhost(port);
    struct test_log    log[3] = {0};
    loop_id id = loop_connect(loop, fd, (const struct sockaddr *)&address, sizeof(address), test_log_cb, &log[0], NULL);

    memset(&address, 0xff, sizeof(address));
    ck_assert_int_eq(finish(id, &log[0]), 0);
    peer = accept(listener, NULL, NULL);
    ck_assert_int_ge(peer, 0);
    address = test_localhost(port);
    ck_assert_int_eq(
        finish(loop_connect(loop, fd, (const struct sockaddr *)&address, sizeof(address), test_log_cb, &log[1], NULL),
               &log[1]),
        -EISCONN);
    test_close(fd);
    test_close(peer);

    test_close(test_tcp_listener(&closed_port, 1));
    address = test_localhost(closed_port);
    fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(
        finish(loop_connect(loop, fd, (const struct sockaddr *)&address, sizeof(address), test_log_cb, &log[2], NULL),
               &log[2]),
        -ECONNREFUSED);
    test_close(fd);
    test_close(listener);
}
END_TEST

/* Goal: accept gives a close-on-exec descriptor and the peer's address, or the errno of accept4(2). */
START_TEST(accept_op)
{
    uint16_t           port;
    int                listener = test_tcp_listener(&port, 4), client = test_tcp_connect(port), fd;
    struct sockaddr_in address = {0}, local;
    socklen_t          size = sizeof(address), local_size = sizeof(local);
    struct test_log    log[3] = {0};

    fd = finish(
        loop_accept(loop, listener, (struct sockaddr *)&address, &size, SOCK_NONBLOCK, test_log_cb, &log[0], NULL),
        &log[0]);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
    ck_assert_int_ne(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
    ck_assert_uint_eq(size, sizeof(address));
    ck_assert_int_eq(getsockname(client, (struct sockaddr *)&local, &local_size), 0);
    ck_assert_uint_eq(address.sin_port, local.sin_port);
    test_close(fd);
    test_close(client);

    client = test_tcp_connect(port);
    fd = finish(loop_accept(loop, listener, NULL, NULL, 0, test_log_cb, &log[1], NULL), &log[1]);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
    test_close(fd);
    test_close(client);

    ck_assert_int_eq(finish(loop_accept(loop, pair[0], NULL, NULL, 0, test_log_cb, &log[2], NULL), &log[2]), -EINVAL);
    test_close(listener);
}
END_TEST

/* Goal: send and recv give the counts of the system calls, with their flags. Method: both ways, peek, end of stream, 0
 * bytes. */
START_TEST(send_recv)
{
    struct test_log log[8] = {0};
    char            text[16] = "";

    ck_assert_int_eq(finish(loop_send(loop, pair[0], "hello", 5, 0, test_log_cb, &log[0], NULL), &log[0]), 5);
    ck_assert_int_eq(finish(loop_recv(loop, pair[1], text, 2, MSG_PEEK, test_log_cb, &log[1], NULL), &log[1]), 2);
    ck_assert_int_eq(finish(loop_recv(loop, pair[1], text, sizeof(text), 0, test_log_cb, &log[2], NULL), &log[2]), 5);
    ck_assert_str_eq(text, "hello");
    ck_assert_int_eq(shutdown(pair[0], SHUT_WR), 0);
    ck_assert_int_eq(finish(loop_recv(loop, pair[1], text, sizeof(text), 0, test_log_cb, &log[3], NULL), &log[3]), 0);
    ck_assert_int_eq(finish(loop_send(loop, pair[0], "x", 1, 0, test_log_cb, &log[4], NULL), &log[4]),
                     -EPIPE); /* and no SIGPIPE */
}
END_TEST

/* Goal: typical failures come as results. Method: not connected, not a socket, not open. */
START_TEST(send_recv_fail)
{
    struct test_log log[6] = {0};
    char            byte = 'x';
    int             fd = socket(AF_INET, SOCK_STREAM, 0), pipes[2];

    test_pipe(pipes);
    ck_assert_int_eq(finish(loop_recv(loop, fd, &byte, 1, 0, test_log_cb, &log[0], NULL), &log[0]), -ENOTCONN);
    ck_assert_int_eq(finish(loop_send(loop, fd, &byte, 1, 0, test_log_cb, &log[1], NULL), &log[1]), -EPIPE);
    ck_assert_int_eq(finish(loop_recv(loop, pipes[0], &byte, 1, 0, test_log_cb, &log[2], NULL), &log[2]), -ENOTSOCK);
    ck_assert_int_eq(finish(loop_send(loop, pipes[1], &byte, 1, 0, test_log_cb, &log[3], NULL), &log[3]), -ENOTSOCK);
    ck_assert_int_eq(finish(loop_recv(loop, 3999, &byte, 1, 0, test_log_cb, &log[4], NULL), &log[4]), -EBADF);
    ck_assert_int_eq(finish(loop_recv(loop, LOOP_FIXED(3), &byte, 1, 0, test_log_cb, &log[5], NULL), &log[5]), -EBADF);
    test_close(fd);
    test_close(pipes[0]);
    test_close(pipes[1]);
}
END_TEST

/* Goal: a send goes out whole, however slow the reader. Method: 4 MiB through a socketpair, read by an operation that
 * restarts itself. */
struct sink {
    int      fd;
    char     buffer[65536];
    uint64_t bytes, sum;
};

static void sink_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    struct sink *sink = arg;

    ck_assert_int_ge(result->res, 0);
    if (result->res == 0)
        return;
    for (int32_t i = 0; i < result->res; i++)
        sink->sum = sink->sum * 31 + (unsigned char)sink->buffer[i];
    sink->bytes += (uint64_t)result->res;
    ck_assert_int_gt(loop_recv(of, sink->fd, sink->buffer, sizeof(sink->buffer), 0, sink_cb, sink, NULL), 0);
}

static void shut_after(struct loop *of, const struct loop_result *result, void *arg)
{
    (void)of, (void)result;
    ck_assert_int_eq(shutdown(*(int *)arg, SHUT_WR), 0);
}

START_TEST(send_is_whole)
{
    enum { BYTES = 4 << 20 };
    static struct sink sink;
    struct test_log    log = {0};
    char              *bytes = malloc(BYTES);
    uint64_t           sum = 0;

    for (size_t i = 0; i < BYTES; i++) {
        bytes[i] = (char)(i * 7 + i / 4096);
        sum = sum * 31 + (unsigned char)bytes[i];
    }
    sink.fd = pair[1];
    ck_assert_int_gt(loop_send(loop, pair[0], bytes, BYTES, 0, test_log_cb, &log, NULL), 0);
    ck_assert_int_gt(loop_recv(loop, sink.fd, sink.buffer, sizeof(sink.buffer), 0, sink_cb, &sink, NULL), 0);
    test_run_until(loop, &log.count, 1);
    test_log_is(&log, BYTES);
    shut_after(loop, NULL, &pair[0]);
    test_run(loop);
    ck_assert_uint_eq(sink.bytes, BYTES);
    ck_assert_uint_eq(sink.sum, sum);
    free(bytes);
}
END_TEST

/* Goal: MSG_WAITALL waits for all. Method: the bytes come in two pieces. */
START_TEST(recv_waitall)
{
    struct test_log log = {0};
    char            text[6] = "";

    ck_assert_int_gt(loop_recv(loop, pair[0], text, 5, MSG_WAITALL, test_log_cb, &log, NULL), 0);
    test_write(pair[1], "he", 2);
    test_turns(loop, 3);
    ck_assert_uint_eq(log.count, 0);
    test_write(pair[1], "llo", 3);
    test_run(loop);
    test_log_is(&log, 5);
    ck_assert_str_eq(text, "hello");
}
END_TEST

/* Goal: sendmsg copies header, name, control and iovecs. Method: overwrite all before the run; pass a descriptor, with
 * many iovecs. */
static void sendmsg_with(size_t iov_count)
{
    struct test_log log = {0};
    char            letters[26], got[2048];
    struct iovec   *iov = calloc(iov_count, sizeof(*iov));
    union {
        char           bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control, received;
    struct msghdr msg = {
        .msg_iov = iov, .msg_iovlen = iov_count, .msg_control = &control, .msg_controllen = sizeof(control)};
    struct msghdr   in;
    struct iovec    in_iov = {.iov_base = got, .iov_len = sizeof(got)};
    struct cmsghdr *cmsg;
    int             fd;
    loop_id         id;

    for (size_t i = 0; i < sizeof(letters); i++)
        letters[i] = (char)('a' + i);
    for (size_t i = 0; i < iov_count; i++)
        iov[i] = (struct iovec){.iov_base = &letters[i % 26], .iov_len = 1};
    memset(&control, 0, sizeof(control));
    cmsg = CMSG_FIRSTHDR(&msg);
    cmsg->cmsg_level = SOL_SOCKET;
    cmsg->cmsg_type = SCM_RIGHTS;
    cmsg->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(cmsg), &pair[0], sizeof(int));
    id = loop_sendmsg(loop, pair[0], &msg, 0, test_log_cb, &log, NULL);
    memset(&msg, 0xee, sizeof(msg));
    memset(&control, 0xee, sizeof(control));
    memset(iov, 0xee, iov_count * sizeof(*iov));
    free(iov);
    ck_assert_int_eq(finish(id, &log), (int)iov_count);

    memset(&in, 0, sizeof(in));
    in.msg_iov = &in_iov;
    in.msg_iovlen = 1;
    in.msg_control = &received;
    in.msg_controllen = sizeof(received);
    ck_assert_int_eq(recvmsg(pair[1], &in, MSG_CMSG_CLOEXEC), (ssize_t)iov_count);
    for (size_t i = 0; i < iov_count; i++)
        ck_assert_int_eq(got[i], (char)('a' + i % 26));
    cmsg = CMSG_FIRSTHDR(&in);
    ck_assert_ptr_nonnull(cmsg);
    ck_assert_int_eq(cmsg->cmsg_type, SCM_RIGHTS);
    memcpy(&fd, CMSG_DATA(cmsg), sizeof(fd));
    test_close(fd);
}

START_TEST(sendmsg_copies)
{
    static const size_t counts[] = {1, 2, 4, 5, 100, 1024};

    sendmsg_with(counts[_i]);
}
END_TEST

/* Goal: the name of a datagram is copied. Method: overwrite it before the run. */
START_TEST(sendmsg_name)
{
    int                in = socket(AF_INET, SOCK_DGRAM, 0), out = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in address = test_localhost(0);
    socklen_t          size = sizeof(address);
    struct test_log    log = {0};
    char               text[8] = "";
    struct iovec       iov = {.iov_base = (void *)(uintptr_t) "ping", .iov_len = 4};
    struct msghdr      msg = {.msg_name = &address, .msg_namelen = size, .msg_iov = &iov, .msg_iovlen = 1};
    loop_id            id;

    ck_assert_int_eq(bind(in, (const struct sockaddr *)&address, size), 0);
    ck_assert_int_eq(getsockname(in, (struct sockaddr *)&address, &size), 0);
    id = loop_sendmsg(loop, out, &msg, 0, test_log_cb, &log, LOOP_TERMS(.data = "extra", .data_size = 6));
    memset(&address, 0xee, sizeof(address));
    log.extra_size = 6;
    ck_assert_int_eq(finish(id, &log), 4);
    ck_assert_str_eq(log.extra, "extra");
    ck_assert_int_eq(recv(in, text, sizeof(text), 0), 4);
    ck_assert_str_eq(text, "ping");
    test_close(in);
    test_close(out);
}
END_TEST

/* Goal: shutdown ends our half, and fails where shutdown(2) does. */
START_TEST(shutdown_op)
{
    struct test_log log[3] = {0};
    char            byte;
    int             fd = socket(AF_INET, SOCK_STREAM, 0);

    ck_assert_int_eq(finish(loop_shutdown(loop, pair[0], SHUT_WR, test_log_cb, &log[0], NULL), &log[0]), 0);
    ck_assert_int_eq(read(pair[1], &byte, 1), 0);
    test_write(pair[1], "x", 1);
    ck_assert_int_eq(read(pair[0], &byte, 1), 1);
    ck_assert_int_eq(finish(loop_shutdown(loop, fd, SHUT_RDWR, test_log_cb, &log[1], NULL), &log[1]), -ENOTCONN);
    test_close(fd);
}
END_TEST

/* Goal: close closes. Method: the descriptor is gone and the peer sees the end; a number that is not open gives -EBADF.
 */
START_TEST(close_op)
{
    struct test_log log[2] = {0};
    int             fds[2];
    char            byte;

    test_socketpair(fds);
    ck_assert_int_eq(finish(loop_close(loop, fds[0], test_log_cb, &log[0], NULL), &log[0]), 0);
    ck_assert_int_eq(fcntl(fds[0], F_GETFD), -1);
    ck_assert_int_eq(read(fds[1], &byte, 1), 0);
    ck_assert_int_eq(finish(loop_close(loop, fds[0], test_log_cb, &log[1], NULL), &log[1]), -EBADF);
    test_close(fds[1]);
}
END_TEST

/* ---- what is refused */

enum start {
    NOP,
    SOCKET,
    BIND,
    LISTEN,
    CONNECT,
    ACCEPT,
    SHUTDOWN,
    CLOSE,
    SEND,
    RECV,
    SENDMSG,
    ACCEPT_MULTISHOT,
    RECV_MULTISHOT,
    RAW,
    STARTS
};

/* Starts the operation with valid arguments but fd and terms. */
static loop_id start(enum start what, int fd, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    static char                byte = 'x';
    static struct sockaddr_in  address;
    static struct iovec        iov;
    static struct msghdr       msg;
    static struct io_uring_sqe sqe;
    const struct sockaddr     *any = (const struct sockaddr *)&address;

    address = test_localhost(0);
    iov = (struct iovec){.iov_base = &byte, .iov_len = 1};
    msg = (struct msghdr){.msg_iov = &iov, .msg_iovlen = 1};
    switch (what) {
    case NOP: return loop_nop(loop, cb, arg, terms);
    case SOCKET: return loop_socket(loop, AF_INET, SOCK_STREAM, 0, cb, arg, terms);
    case BIND: return loop_bind(loop, fd, any, sizeof(address), cb, arg, terms);
    case LISTEN: return loop_listen(loop, fd, 1, cb, arg, terms);
    case CONNECT: return loop_connect(loop, fd, any, sizeof(address), cb, arg, terms);
    case ACCEPT: return loop_accept(loop, fd, NULL, NULL, 0, cb, arg, terms);
    case SHUTDOWN: return loop_shutdown(loop, fd, SHUT_WR, cb, arg, terms);
    case CLOSE: return loop_close(loop, fd, cb, arg, terms);
    case SEND: return loop_send(loop, fd, &byte, 1, 0, cb, arg, terms);
    case RECV: return loop_recv(loop, fd, &byte, 1, 0, cb, arg, terms);
    case SENDMSG: return loop_sendmsg(loop, fd, &msg, 0, cb, arg, terms);
    case ACCEPT_MULTISHOT: return loop_accept_multishot(loop, fd, 0, cb, arg, terms);
    case RECV_MULTISHOT: return loop_recv_multishot(loop, fd, LOOP_GROUP_DEFAULT, 0, cb, arg, terms);
    case RAW:
        memset(&sqe, 0, sizeof(sqe));
        io_uring_prep_nop(&sqe);
        return loop_raw(loop, &sqe, cb, arg, terms);
    case STARTS: break;
    }
    abort();
}

static bool takes_descriptor(enum start what)
{
    return what != NOP && what != SOCKET && what != RAW;
}

static bool kernel_has(enum start what)
{
    return (what != BIND && what != LISTEN) || test_has_opcode(loop, IORING_OP_LISTEN);
}

/* Goal: a negative descriptor is -EBADF at once. Method: every call that takes one. */
START_TEST(negative_descriptor)
{
    if (kernel_has((enum start)_i) && takes_descriptor((enum start)_i)) {
        ck_assert_int_eq(start((enum start)_i, -1, not_called, NULL, NULL), -EBADF);
        ck_assert_int_eq(start((enum start)_i, -12345, not_called, NULL, NULL), -EBADF);
        ck_assert_int_eq(start((enum start)_i, -1, NULL, NULL, NULL), -EBADF);
    }
    nothing_started();
}
END_TEST

/* Goal: terms that make no sense are -EINVAL at once. Method: each with every call. */
START_TEST(bad_terms)
{
    static const char data[LOOP_EXTRA_BYTES_MAX + 1];

    if (kernel_has((enum start)_i)) {
        ck_assert_int_eq(start((enum start)_i, pair[0], not_called, NULL, LOOP_TERMS(.flags = 1u << 31)), -EINVAL);
        ck_assert_int_eq(start((enum start)_i, pair[0], not_called, NULL, LOOP_TERMS(.flags = 1u << 6)), -EINVAL);
        ck_assert_int_eq(
            start((enum start)_i, pair[0], not_called, NULL, LOOP_TERMS(.data = data, .data_size = sizeof(data))),
            -EINVAL);
        ck_assert_int_eq(start((enum start)_i, pair[0], not_called, NULL, LOOP_TERMS(.data = NULL, .data_size = 4)),
                         -EINVAL);
        ck_assert_int_eq(start((enum start)_i, pair[0], not_called, NULL, LOOP_TERMS(.release = 12345)), -EINVAL);
    }
    nothing_started();
}
END_TEST

/* Goal: values that make no sense are refused at once, or by the system call; never a crash. Method: the clear ones
 * must be -EINVAL at once. */
START_TEST(bad_values)
{
    struct sockaddr_in  address = test_localhost(0);
    struct sockaddr    *any = (struct sockaddr *)&address;
    static struct iovec iov[1025];
    const struct msghdr too_much = {.msg_control = &address, .msg_controllen = SIZE_MAX};
    const struct msghdr too_many = {.msg_iov = iov, .msg_iovlen = TEST_COUNT(iov)};
    struct io_uring_sqe sqe;

    if (test_has_opcode(loop, IORING_OP_BIND)) {
        ck_assert_int_eq(loop_bind(loop, pair[0], NULL, sizeof(address), not_called, NULL, NULL), -EINVAL);
        ck_assert_int_eq(loop_bind(loop, pair[0], any, sizeof(struct sockaddr_storage) + 1, not_called, NULL, NULL),
                         -EINVAL);
    }
    ck_assert_int_eq(loop_connect(loop, pair[0], NULL, sizeof(address), not_called, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_connect(loop, pair[0], any, sizeof(struct sockaddr_storage) + 1, not_called, NULL, NULL),
                     -EINVAL);
    ck_assert_int_eq(loop_sendmsg(loop, pair[0], NULL, 0, not_called, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_sendmsg(loop, pair[0], &too_many, 0, not_called, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_sendmsg(loop, pair[0], &too_much, 0, not_called, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_recv_multishot(loop, pair[0], 77, 0, not_called, NULL, NULL), -EINVAL); /* no such group */
    ck_assert_int_eq(loop_raw(loop, NULL, not_called, NULL, NULL), -EINVAL);
    memset(&sqe, 0, sizeof(sqe));
    sqe.opcode = 250;
    ck_assert_int_eq(loop_raw(loop, &sqe, not_called, NULL, NULL), -EOPNOTSUPP);
    nothing_started();
}
END_TEST

static void either_error(loop_id id, struct test_log *log)
{
    if (id > 0) {
        test_run(loop);
        ck_assert_uint_eq(log->finals, 1);
        id = log->last.res;
    }
    ck_assert_msg(id == -EINVAL || id == -EFAULT || id == -ESOCKTNOSUPPORT || id == -EOPNOTSUPP, "the answer was %d",
                  (int)id);
    ck_assert_uint_le(log->count, 1);
}

/* Goal: values that only the system call knows to be bad end in an error, here or there. */
START_TEST(bad_values_either_way)
{
    struct test_log log[8] = {0};
    uint16_t        port;
    int             listener = test_tcp_listener(&port, 1), client = test_tcp_connect(port);

    either_error(loop_socket(loop, AF_INET, 999, 0, test_log_cb, &log[0], NULL), &log[0]);
    either_error(loop_accept(loop, listener, NULL, NULL, 1, test_log_cb, &log[1], NULL), &log[1]);
    either_error(loop_shutdown(loop, pair[0], 99, test_log_cb, &log[2], NULL), &log[2]);
    either_error(loop_send(loop, pair[0], NULL, 5, 0, test_log_cb, &log[3], NULL), &log[3]);
    test_write(pair[1], "x", 1);
    either_error(loop_recv(loop, pair[0], NULL, 5, 0, test_log_cb, &log[4], NULL), &log[4]);
    either_error(loop_accept_multishot(loop, listener, 1, test_log_cb, &log[5], NULL), &log[5]);
    test_close(client);
    test_close(listener);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("op");
    TCase *tcase = test_case(suite, "operations");

    tcase_add_checked_fixture(tcase, pair_setup, pair_teardown);
    tcase_add_test(tcase, nop);
    tcase_add_test(tcase, ids_differ);
    tcase_add_test(tcase, socket_op);
    tcase_add_test(tcase, bind_listen);
    tcase_add_test(tcase, connect_op);
    tcase_add_test(tcase, accept_op);
    tcase_add_test(tcase, send_recv);
    tcase_add_test(tcase, send_recv_fail);
    tcase_add_test(tcase, send_is_whole);
    tcase_add_test(tcase, recv_waitall);
    tcase_add_loop_test(tcase, sendmsg_copies, 0, 6);
    tcase_add_test(tcase, sendmsg_name);
    tcase_add_test(tcase, shutdown_op);
    tcase_add_test(tcase, close_op);

    tcase = test_case(suite, "refused");
    tcase_add_checked_fixture(tcase, pair_setup, pair_teardown);
    tcase_add_loop_test(tcase, negative_descriptor, 0, STARTS);
    tcase_add_loop_test(tcase, bad_terms, 0, STARTS);
    tcase_add_test(tcase, bad_values);
    tcase_add_test(tcase, bad_values_either_way);
    return suite;
}
