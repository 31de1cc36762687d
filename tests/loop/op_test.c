/* tests/loop/op_test.c: each operation: success, failure, bad arguments; terms; direct mode; limits; order. */
#include "tests/support/test.h"

#include <fcntl.h>
#include <liburing.h>
#include <netinet/tcp.h>
#include <sys/uio.h>
#include <sys/un.h>

static struct loop *loop;
static int          pair[2];

static void setup(void)
{
    loop = test_loop_new(&(struct loop_options){.sq_entries = 64});
    test_socketpair(pair);
}

static void teardown(void)
{
    test_loop_free(loop);
    test_close(pair[0]);
    test_close(pair[1]);
}

/* Runs the operation just started, which must call back once, from inside the run only. */
static int32_t finish(loop_id id, struct test_log *log)
{
    ck_assert_msg(id > 0, "refused: %s", strerror((int)-id));
    ck_assert_uint_eq(log->count, 0);
    test_run(loop);
    ck_assert_uint_eq(log->count, 1);
    ck_assert_uint_eq(log->finals, 1);
    ck_assert_int_eq(log->last.id, id);
    ck_assert_uint_eq(log->last.value, 0);
    ck_assert_uint_eq(log->last.flags & ~(uint32_t)LOOP_SOCK_NONEMPTY, 0);
    return log->last.res;
}

static void no_callback(struct loop *of, const struct loop_result *result, void *arg)
{
    (void)of, (void)arg;
    ck_abort_msg("a call that was refused called back, res %d", result->res);
}

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
        ck_assert_int_eq(loop_listen(loop, fd, 1, no_callback, NULL, NULL), -EOPNOTSUPP);
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

/* Nothing of what was refused may be left or call back. */
static void nothing_started(void)
{
    ck_assert(!loop_alive(loop));
    test_run(loop);
    ck_assert_uint_eq(test_stats(loop).ops_started, 0);
    ck_assert_uint_eq(test_stats(loop).silent_errors, 0);
}

/* Goal: a negative descriptor is -EBADF at once. Method: every call that takes one. */
START_TEST(negative_descriptor)
{
    if (kernel_has((enum start)_i) && takes_descriptor((enum start)_i)) {
        ck_assert_int_eq(start((enum start)_i, -1, no_callback, NULL, NULL), -EBADF);
        ck_assert_int_eq(start((enum start)_i, -12345, no_callback, NULL, NULL), -EBADF);
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
        ck_assert_int_eq(start((enum start)_i, pair[0], no_callback, NULL, LOOP_TERMS(.flags = 1u << 31)), -EINVAL);
        ck_assert_int_eq(start((enum start)_i, pair[0], no_callback, NULL, LOOP_TERMS(.flags = 1u << 6)), -EINVAL);
        ck_assert_int_eq(
            start((enum start)_i, pair[0], no_callback, NULL, LOOP_TERMS(.data = data, .data_size = sizeof(data))),
            -EINVAL);
        ck_assert_int_eq(start((enum start)_i, pair[0], no_callback, NULL, LOOP_TERMS(.data = NULL, .data_size = 4)),
                         -EINVAL);
        ck_assert_int_eq(start((enum start)_i, pair[0], no_callback, NULL, LOOP_TERMS(.release = 12345)), -EINVAL);
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
        ck_assert_int_eq(loop_bind(loop, pair[0], NULL, sizeof(address), no_callback, NULL, NULL), -EINVAL);
        ck_assert_int_eq(loop_bind(loop, pair[0], any, sizeof(struct sockaddr_storage) + 1, no_callback, NULL, NULL),
                         -EINVAL);
    }
    ck_assert_int_eq(loop_connect(loop, pair[0], NULL, sizeof(address), no_callback, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_connect(loop, pair[0], any, sizeof(struct sockaddr_storage) + 1, no_callback, NULL, NULL),
                     -EINVAL);
    ck_assert_int_eq(loop_sendmsg(loop, pair[0], NULL, 0, no_callback, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_sendmsg(loop, pair[0], &too_many, 0, no_callback, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_sendmsg(loop, pair[0], &too_much, 0, no_callback, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_recv_multishot(loop, pair[0], 77, 0, no_callback, NULL, NULL), -EINVAL); /* no such group */
    ck_assert_int_eq(loop_raw(loop, NULL, no_callback, NULL, NULL), -EINVAL);
    memset(&sqe, 0, sizeof(sqe));
    sqe.opcode = 250;
    ck_assert_int_eq(loop_raw(loop, &sqe, no_callback, NULL, NULL), -EOPNOTSUPP);
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

/* ---- callbacks and terms */

/* Goal: without a callback an operation works and its failure is counted. */
START_TEST(no_callback_given)
{
    char byte;

    ck_assert_int_gt(loop_nop(loop, NULL, NULL, NULL), 0);
    ck_assert_int_gt(loop_send(loop, pair[0], "x", 1, 0, NULL, NULL, NULL), 0);
    ck_assert_int_gt(loop_nop(loop, NULL, NULL, LOOP_TERMS(.data = "x", .data_size = 1)), 0);
    test_run(loop);
    test_read(pair[1], &byte, 1);
    ck_assert_uint_eq(test_stats(loop).silent_errors, 0);
    ck_assert_int_gt(loop_recv(loop, 3999, &byte, 1, 0, NULL, NULL, NULL), 0);
    test_run(loop);
    ck_assert_uint_eq(test_stats(loop).silent_errors, 1);
    ck_assert_uint_eq(test_stats(loop).ops_finished, 4);
    ck_assert_uint_eq(test_stats(loop).callbacks, 0);
}
END_TEST

/* Goal: every byte of terms.data reaches the callback, copied at the call. Method: sizes up to the limit. */
START_TEST(extra)
{
    static const uint32_t sizes[] = {1, 8, 63, LOOP_EXTRA_BYTES_MAX};

    for (size_t s = 0; s < TEST_COUNT(sizes); s++) {
        struct test_log log = {.extra_size = sizes[s]};
        char            data[LOOP_EXTRA_BYTES_MAX];
        loop_id         id;

        for (size_t i = 0; i < sizeof(data); i++)
            data[i] = (char)(i + s);
        id = loop_nop(loop, test_log_cb, &log, LOOP_TERMS(.data = data, .data_size = sizes[s]));
        memset(data, 0xee, sizeof(data));
        ck_assert_int_eq(finish(id, &log), 0);
        ck_assert_uint_eq(log.extras, 1);
        for (size_t i = 0; i < sizes[s]; i++)
            ck_assert_int_eq(log.extra[i], (char)(i + s));
    }
    {
        struct test_log log = {0};

        ck_assert_int_eq(finish(loop_nop(loop, test_log_cb, &log, LOOP_TERMS(.flags = LOOP_EXTENDED)), &log), 0);
        ck_assert_uint_eq(log.extras, 0); /* NULL without data */
    }
}
END_TEST

/* Goal: extra is lent to the callback even when that starts successors. Method: start a few with other data before
 * reading it. */
static void extra_successor(struct loop *of, const struct loop_result *result, void *arg)
{
    uint32_t *left = arg;
    char      expected[LOOP_EXTRA_BYTES_MAX], next[LOOP_EXTRA_BYTES_MAX];

    memset(expected, (int)(*left & 0x7f), sizeof(expected));
    if (--*left > 0) {
        memset(next, (int)(*left & 0x7f), sizeof(next));
        ck_assert_int_gt(loop_nop(of, extra_successor, left, LOOP_TERMS(.data = next, .data_size = sizeof(next))), 0);
    }
    ck_assert_mem_eq(result->extra, expected, sizeof(expected));
}

START_TEST(extra_is_lent)
{
    uint32_t left = 500;
    char     data[LOOP_EXTRA_BYTES_MAX];

    memset(data, (int)(left & 0x7f), sizeof(data));
    ck_assert_int_gt(loop_nop(loop, extra_successor, &left, LOOP_TERMS(.data = data, .data_size = sizeof(data))), 0);
    test_run(loop);
    ck_assert_uint_eq(left, 0);
}
END_TEST

/* Goal: LOOP_POLL_FIRST and LOOP_ASYNC change nothing in the result. Method: data that is there, and data that comes
 * later. */
START_TEST(hints)
{
    static const uint32_t flags[] = {LOOP_POLL_FIRST, LOOP_ASYNC, LOOP_EXTENDED, LOOP_POLL_FIRST | LOOP_EXTENDED};
    char                  byte = 0;

    for (size_t i = 0; i < TEST_COUNT(flags); i++) {
        struct test_log log[2] = {0};

        test_write(pair[1], "a", 1);
        ck_assert_int_eq(
            finish(loop_recv(loop, pair[0], &byte, 1, 0, test_log_cb, &log[0], LOOP_TERMS(.flags = flags[i])), &log[0]),
            1);
        ck_assert_int_eq(byte, 'a');
        ck_assert_int_gt(loop_recv(loop, pair[0], &byte, 1, 0, test_log_cb, &log[1], LOOP_TERMS(.flags = flags[i])), 0);
        test_turns(loop, 2);
        ck_assert_uint_eq(log[1].count, 0);
        test_write(pair[1], "b", 1);
        test_run(loop);
        test_log_is(&log[1], 1);
        ck_assert_int_eq(byte, 'b');
    }
}
END_TEST

/* ---- direct mode */

struct direct {
    uint32_t count;
    uint64_t values[8];
    int32_t  results[8];
};

static void direct_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    struct direct *direct = arg;

    (void)of;
    ck_assert_int_gt(result->id, 0);
    ck_assert_ptr_null(result->extra);
    ck_assert_uint_lt(direct->count, TEST_COUNT(direct->values));
    direct->results[direct->count] = result->res;
    direct->values[direct->count++] = result->value;
}

/* Goal: a handler gets the value of each operation back, whatever it is. Method: 0, 1, the greatest; nops, send, recv.
 */
START_TEST(direct_values)
{
    static const uint64_t values[] = {0, 1, 0x123456789a, LOOP_VALUE_MAX};
    struct direct         direct = {0};
    int                   n = loop_handler_register(loop, direct_cb, &direct, LOOP_GROUP_DEFAULT);
    char                  byte = 0;
    uint64_t              pool;

    ck_assert_int_gt(n, 0);
    ck_assert_int_le(n, LOOP_HANDLERS_MAX);
    pool = test_stats(loop).context_bytes;
    for (size_t i = 0; i < TEST_COUNT(values); i++)
        ck_assert_int_gt(loop_nop(loop, LOOP_HANDLER(n), LOOP_VALUE(values[i]), NULL), 0);
    ck_assert_uint_eq(direct.count, 0);
    ck_assert(loop_alive(loop));
    test_run(loop);
    ck_assert_uint_eq(direct.count, TEST_COUNT(values));
    for (size_t i = 0; i < TEST_COUNT(values); i++) {
        ck_assert_uint_eq(direct.values[i], values[i]);
        ck_assert_int_eq(direct.results[i], 0);
    }
    ck_assert_uint_eq(test_stats(loop).context_bytes, pool); /* no context was used */
    ck_assert_int_gt(loop_send(loop, pair[0], "x", 1, 0, LOOP_HANDLER(n), LOOP_VALUE(7), NULL), 0);
    test_run(loop);
    ck_assert_int_gt(loop_recv(loop, pair[1], &byte, 1, 0, LOOP_HANDLER(n), LOOP_VALUE(8), NULL), 0);
    test_run(loop);
    ck_assert_uint_eq(direct.count, TEST_COUNT(values) + 2);
    ck_assert_uint_eq(direct.values[4] * 10 + direct.values[5], 78);
    ck_assert_int_eq(direct.results[4] * 10 + direct.results[5], 11);
    ck_assert_int_eq(byte, 'x');
    ck_assert_uint_eq(test_stats(loop).cqes_stale, 0);
}
END_TEST

/* Goal: what direct mode can't do is refused. Method: a value too large, unregistered handlers, terms. */
START_TEST(direct_refused)
{
    struct direct direct = {0};
    int           n = loop_handler_register(loop, direct_cb, &direct, LOOP_GROUP_DEFAULT);

    ck_assert_int_gt(n, 0);
    ck_assert_int_eq(loop_nop(loop, LOOP_HANDLER(n), LOOP_VALUE(LOOP_VALUE_MAX + 1), NULL), -EINVAL);
    ck_assert_int_eq(loop_nop(loop, LOOP_HANDLER(n), LOOP_VALUE(UINT64_MAX), NULL), -EINVAL);
    ck_assert_int_eq(loop_nop(loop, LOOP_HANDLER(n + 1), LOOP_VALUE(1), NULL), -EINVAL);
    ck_assert_int_eq(loop_nop(loop, LOOP_HANDLER(LOOP_HANDLERS_MAX), LOOP_VALUE(1), NULL), -EINVAL);
    ck_assert_int_eq(loop_nop(loop, LOOP_HANDLER(LOOP_HANDLERS_MAX + 1), LOOP_VALUE(1), NULL), -EINVAL);
    ck_assert_int_eq(loop_nop(loop, LOOP_HANDLER(255), LOOP_VALUE(1), NULL), -EINVAL);
    ck_assert_int_eq(loop_nop(loop, LOOP_HANDLER(n), LOOP_VALUE(1), LOOP_TERMS(.timeout_ns = LOOP_SECOND)), -EINVAL);
    ck_assert_int_eq(loop_nop(loop, LOOP_HANDLER(n), LOOP_VALUE(1), LOOP_TERMS(.data = "x", .data_size = 1)), -EINVAL);
    ck_assert_int_eq(loop_recv(loop, -1, &direct, 1, 0, LOOP_HANDLER(n), LOOP_VALUE(1), NULL), -EBADF);
    ck_assert_int_eq(loop_handler_register(loop, NULL, NULL, LOOP_GROUP_DEFAULT), -EINVAL);
    nothing_started();
    ck_assert_uint_eq(direct.count, 0);
}
END_TEST

/* Goal: there are exactly LOOP_HANDLERS_MAX handlers, each with its own argument. */
START_TEST(direct_handlers)
{
    static struct direct direct[LOOP_HANDLERS_MAX];

    for (int i = 0; i < LOOP_HANDLERS_MAX; i++)
        ck_assert_int_eq(loop_handler_register(loop, direct_cb, &direct[i], LOOP_GROUP_DEFAULT), i + 1);
    ck_assert_int_eq(loop_handler_register(loop, direct_cb, NULL, LOOP_GROUP_DEFAULT), -ENFILE);
    ck_assert_uint_eq(test_stats(loop).handlers_full, 1);
    for (int i = 0; i < LOOP_HANDLERS_MAX; i++)
        ck_assert_int_gt(loop_nop(loop, LOOP_HANDLER(i + 1), LOOP_VALUE((uint64_t)i + 1000), NULL), 0);
    test_run(loop);
    for (uint32_t i = 0; i < LOOP_HANDLERS_MAX; i++) {
        ck_assert_uint_eq(direct[i].count, 1);
        ck_assert_uint_eq(direct[i].values[0], i + 1000);
    }
}
END_TEST

/* Goal: a direct operation can be cancelled by its id, and ends with -ECANCELED; so it does by loop_destroy. */
START_TEST(direct_cancel)
{
    struct direct direct = {0};
    int           n = loop_handler_register(loop, direct_cb, &direct, LOOP_GROUP_DEFAULT);
    char          bytes[2];
    loop_id       id = loop_recv(loop, pair[0], &bytes[0], 1, 0, LOOP_HANDLER(n), LOOP_VALUE(5), NULL);

    ck_assert_int_gt(id, 0);
    test_turns(loop, 1);
    ck_assert_int_eq(loop_cancel(loop, id), 0);
    ck_assert_uint_eq(direct.count, 0);
    test_run(loop);
    ck_assert_uint_eq(direct.count, 1);
    ck_assert_int_eq(direct.results[0], -ECANCELED);
    ck_assert_int_gt(loop_recv(loop, pair[0], &bytes[1], 1, 0, LOOP_HANDLER(n), LOOP_VALUE(6), NULL), 0);
    test_turns(loop, 1);
    test_loop_drop(loop);
    ck_assert_uint_eq(direct.count, 2);
    ck_assert_int_eq(direct.results[1], -ECANCELED);
    loop = test_loop_new(NULL); /* for the teardown */
}
END_TEST

/* Goal: direct operations count against ops_max as all others do. Method: two silent recvs of two, then more of either
 * kind. */
START_TEST(direct_limit)
{
    struct loop  *small = test_loop_new(&(struct loop_options){.ops_max = 2, .sq_entries = 8});
    struct direct direct = {0};
    int           n = loop_handler_register(small, direct_cb, &direct, LOOP_GROUP_DEFAULT);
    char          bytes[2];

    ck_assert_int_gt(loop_recv(small, pair[0], &bytes[0], 1, 0, LOOP_HANDLER(n), LOOP_VALUE(1), NULL), 0);
    ck_assert_int_gt(loop_recv(small, pair[0], &bytes[1], 1, 0, LOOP_HANDLER(n), LOOP_VALUE(2), NULL), 0);
    ck_assert_int_eq(loop_nop(small, LOOP_HANDLER(n), LOOP_VALUE(3), NULL), -ENOBUFS);
    ck_assert_int_eq(loop_nop(small, no_callback, NULL, NULL), -ENOBUFS);
    ck_assert_uint_eq(test_stats(small).ops_full, 2);
    ck_assert_uint_eq(test_stats(small).ops_in_flight, 2);
    test_write(pair[1], "xy", 2);
    test_run(small);
    ck_assert_uint_eq(direct.count, 2);
    test_loop_free(small);
}
END_TEST

/* ---- limits and order */

struct successor {
    uint32_t left, full;
    uint32_t flags;
};

static void successor_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    struct successor *successor = arg;

    ck_assert_int_eq(result->res, 0);
    if (successor->left == 0)
        return;
    successor->left--;
    ck_assert_int_gt(loop_nop(of, successor_cb, successor, LOOP_TERMS(.flags = successor->flags)), 0);
    if (successor->left > 4) { /* all four are in flight again */
        ck_assert_int_eq(loop_nop(of, no_callback, NULL, NULL), -ENOBUFS);
        successor->full++;
    }
}

/* Goal: at ops_max starts are refused and counted, but a final callback always has room for one. Method: four nops that
 * restart themselves 4000 times, plain and extended. */
START_TEST(full_pool)
{
    struct loop     *small = test_loop_new(&(struct loop_options){.ops_max = 4, .sq_entries = 8});
    struct successor successor = {.left = 4000, .flags = _i == 0 ? 0 : LOOP_EXTENDED};

    for (int i = 0; i < 4; i++)
        ck_assert_int_gt(loop_nop(small, successor_cb, &successor, LOOP_TERMS(.flags = successor.flags)), 0);
    ck_assert_int_eq(loop_nop(small, no_callback, NULL, NULL), -ENOBUFS);
    ck_assert_uint_eq(test_stats(small).ops_full, 1);
    ck_assert_uint_eq(test_stats(small).ops_in_flight, 4);
    test_run(small);
    ck_assert_uint_eq(successor.left, 0);
    ck_assert_uint_eq(test_stats(small).ops_full, 1 + successor.full);
    ck_assert_uint_eq(test_stats(small).ops_started, 4 + 4000);
    test_loop_free(small);
}
END_TEST

/* Goal: a successor of a final callback needs no new memory, whatever its kind. Method: no allocation succeeds any
 * more. */
struct starved {
    uint32_t flags, left;
};

static void starved_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    struct starved *starved = arg;

    (void)result;
    if (starved->left-- > 0)
        ck_assert_int_gt(loop_nop(of, starved_cb, starved, LOOP_TERMS(.flags = starved->flags)), 0);
    else
        starved->left = 0;
}

START_TEST(successor_without_memory)
{
    struct starved starved = {.flags = _i == 0 ? 0 : LOOP_EXTENDED, .left = 50};

    test_turns(loop, 1);
    ck_assert_int_gt(loop_nop(loop, starved_cb, &starved, LOOP_TERMS(.flags = starved.flags)), 0);
    test_memory.fail_from = test_memory.calls + 1;
    test_run(loop);
    test_memory.fail_from = 0;
    ck_assert_uint_eq(starved.left, 0);
    ck_assert_uint_eq(test_stats(loop).ops_started, 51);
}
END_TEST

struct sequence {
    uint32_t expected;
    uint32_t started, limit;
};

static void sequence_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    struct sequence *sequence = arg;
    uint32_t         number;

    (void)of;
    ck_assert_int_eq(result->res, 0);
    memcpy(&number, result->extra, sizeof(number));
    ck_assert_uint_eq(number, sequence->expected);
    sequence->expected++;
}

static void sequence_start(struct loop *of, struct sequence *sequence, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t number = sequence->started++;

        ck_assert_int_gt(loop_nop(of, sequence_cb, sequence, LOOP_TERMS(.data = &number, .data_size = sizeof(number))),
                         0);
    }
}

static void sequence_burst(struct loop *of, const struct loop_result *result, void *arg)
{
    (void)result;
    sequence_start(of, arg, 1000);
}

/* Goal: more operations than the SQ holds are all done, in the order started. Method: an SQ of 8; 1000 nops before the
 * first run, and 1000 from a callback; a CQ of 8 as well (_i = 1). */
START_TEST(more_than_the_sq)
{
    struct loop      *small = test_loop_new(&(struct loop_options){.sq_entries = 8, .cq_entries = _i == 0 ? 0 : 8});
    struct sequence   sequence = {0};
    struct loop_stats stats;

    sequence_start(small, &sequence, 1000);
    ck_assert_uint_gt(test_stats(small).sqes_backlogged, 0);
    test_run(small);
    ck_assert_uint_eq(sequence.expected, 1000);
    ck_assert_int_gt(loop_nop(small, sequence_burst, &sequence, NULL), 0);
    test_run(small);
    ck_assert_uint_eq(sequence.expected, 2000);
    stats = test_stats(small);
    ck_assert_uint_eq(stats.ops_finished, 2001);
    ck_assert_uint_ge(stats.sqes_submitted, 2001);
    ck_assert_uint_eq(stats.cqes_stale, 0);
    test_loop_free(small);
}
END_TEST

struct writer {
    int      fd;
    uint32_t numbers[2000], started, written;
};

static void writer_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    (void)of;
    ck_assert_int_eq(result->res, sizeof(uint32_t));
    ((struct writer *)arg)->written++;
}

static void writer_start(struct loop *of, struct writer *writer, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct io_uring_sqe sqe;

        memset(&sqe, 0, sizeof(sqe));
        writer->numbers[writer->started] = writer->started;
        io_uring_prep_write(&sqe, writer->fd, &writer->numbers[writer->started++], sizeof(uint32_t), (uint64_t)-1);
        ck_assert_int_gt(loop_raw(of, &sqe, writer_cb, writer, NULL), 0);
    }
}

static void writer_burst(struct loop *of, const struct loop_result *result, void *arg)
{
    (void)result;
    writer_start(of, arg, 1000);
}

/* Goal: the kernel gets the operations in the order started. Method: 2000 numbers into a pipe through an SQ of 8, read
 * back. */
START_TEST(order_of_effects)
{
    static struct writer writer;
    struct loop         *small = test_loop_new(&(struct loop_options){.sq_entries = 8});
    int                  pipes[2];
    uint32_t             number;

    test_pipe(pipes);
    writer.fd = pipes[1];
    writer_start(small, &writer, 1000);
    test_run(small);
    ck_assert_int_gt(loop_nop(small, writer_burst, &writer, NULL), 0);
    test_run(small);
    ck_assert_uint_eq(writer.written, 2000);
    for (uint32_t i = 0; i < 2000; i++) {
        test_read(pipes[0], &number, sizeof(number));
        ck_assert_uint_eq(number, i);
    }
    test_loop_free(small);
    test_close(pipes[0]);
    test_close(pipes[1]);
}
END_TEST

/* Goal: thousands of operations at once work, and their contexts stay within bounds. Method: 5000 recvs, then one send
 * for each. */
START_TEST(many_in_flight)
{
    enum { COUNT = 5000 };
    static char      bytes[COUNT];
    struct test_log *logs = calloc(COUNT, sizeof(*logs));

    for (int i = 0; i < COUNT; i++)
        ck_assert_int_gt(loop_recv(loop, pair[0], &bytes[i], 1, 0, test_log_cb, &logs[i], NULL), 0);
    test_turns(loop, 1);
    ck_assert_uint_eq(test_stats(loop).ops_in_flight, COUNT);
    ck_assert_uint_ge(test_stats(loop).context_bytes, COUNT * 64);
    for (int i = 0; i < COUNT; i += 100) {
        char block[100];

        memset(block, 1, sizeof(block));
        test_write(pair[1], block, sizeof(block));
        test_turns(loop, 1);
    }
    test_run(loop);
    for (int i = 0; i < COUNT; i++) {
        test_log_is(&logs[i], 1);
        ck_assert_int_eq(bytes[i], 1);
    }
    free(logs);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("op");
    TCase *tcase = test_case(suite, "operations");

    tcase_add_checked_fixture(tcase, setup, teardown);
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
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, negative_descriptor, 0, STARTS);
    tcase_add_loop_test(tcase, bad_terms, 0, STARTS);
    tcase_add_test(tcase, bad_values);
    tcase_add_test(tcase, bad_values_either_way);

    tcase = test_case(suite, "terms");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, no_callback_given);
    tcase_add_test(tcase, extra);
    tcase_add_test(tcase, extra_is_lent);
    tcase_add_test(tcase, hints);

    tcase = test_case(suite, "direct");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, direct_values);
    tcase_add_test(tcase, direct_refused);
    tcase_add_test(tcase, direct_handlers);
    tcase_add_test(tcase, direct_cancel);
    tcase_add_test(tcase, direct_limit);

    tcase = test_case(suite, "limits");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, full_pool, 0, 2);
    tcase_add_loop_test(tcase, successor_without_memory, 0, 2);
    tcase_add_loop_test(tcase, more_than_the_sq, 0, 2);
    tcase_add_test(tcase, order_of_effects);
    tcase_add_test(tcase, many_in_flight);
    return suite;
}
