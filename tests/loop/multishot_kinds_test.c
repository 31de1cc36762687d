/* tests/loop/multishot_kinds_test.c: multishots that receive messages, read, poll and tick: data, ends, errors, groups
 * that run empty, rings that overflow. */
#include "tests/support/test.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/uio.h>

static struct loop *loop;

enum { BUFFER_SIZE = 256, BUFFERS = 4, TURNS_MOST = 20000 };

static void setup(void)
{
    loop = test_loop_new(&(struct loop_options){.sq_entries = 64, .buffer_size = BUFFER_SIZE, .buffer_count = BUFFERS});
}

static void teardown(void)
{
    test_loop_free(loop);
}

/* A loop whose CQ overflows all the time. */
static void tiny_setup(void)
{
    loop = test_loop_new(
        &(struct loop_options){.sq_entries = 8, .cq_entries = 8, .buffer_size = BUFFER_SIZE, .buffer_count = 64});
}

/* Runs turns until the condition holds, and not for ever. */
#define UNTIL(condition)                                                                                               \
    do {                                                                                                               \
        uint32_t turns = 0;                                                                                            \
        while (!(condition)) {                                                                                         \
            ck_assert_msg(turns++ < TURNS_MOST, "it never came: " #condition);                                         \
            test_turns(loop, 1);                                                                                       \
            test_sleep(20 * LOOP_MICROSECOND);                                                                         \
        }                                                                                                              \
    } while (0)

/* ---- messages */

/* What was received, each message with its size; test_log_cb takes no empty ones. */
struct inbox {
    uint32_t count, finals;
    int32_t  last;
    uint32_t last_flags;
    struct {
        int32_t            size;
        int                flags;
        socklen_t          namelen;
        struct sockaddr_in sender;
        int                pid; /* of SCM_CREDENTIALS; 0: none */
        char               data[BUFFER_SIZE];
    } messages[16];
    loop_buffer keep[16]; /* with keeps */
    bool        keeps;
};

static void take_control(struct inbox *inbox, uint32_t i, struct msghdr header)
{
    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(&header); cmsg != NULL; cmsg = CMSG_NXTHDR(&header, cmsg)) {
        struct ucred credentials;

        ck_assert_uint_eq((uintptr_t)cmsg % _Alignof(struct cmsghdr), 0);
        if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_CREDENTIALS)
            continue;
        memcpy(&credentials, CMSG_DATA(cmsg), sizeof(credentials));
        inbox->messages[i].pid = credentials.pid;
    }
}

static void message_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    struct inbox        *inbox = arg;
    const struct msghdr *header = result->message;
    uint32_t             i = inbox->count;

    ck_assert_uint_eq(inbox->finals, 0);
    inbox->last = result->res;
    inbox->last_flags = result->flags;
    inbox->finals += (result->flags & LOOP_MORE) == 0;
    if ((result->flags & LOOP_BUFFER) == 0) {
        ck_assert_ptr_null(header);
        ck_assert_uint_eq(result->flags & LOOP_MORE, 0);
        return;
    }
    ck_assert_uint_lt(i, TEST_COUNT(inbox->messages));
    ck_assert_ptr_nonnull(header);
    ck_assert_int_ge(result->res, 0);
    ck_assert_uint_eq(header->msg_iovlen, 1);
    ck_assert_ptr_eq(header->msg_iov->iov_base, result->data);
    ck_assert_uint_eq(header->msg_iov->iov_len, (size_t)result->res);
    inbox->messages[i].size = result->res;
    inbox->messages[i].flags = header->msg_flags;
    inbox->messages[i].namelen = header->msg_namelen;
    if (header->msg_namelen >= sizeof(struct sockaddr_in))
        memcpy(&inbox->messages[i].sender, header->msg_name, sizeof(struct sockaddr_in));
    memcpy(inbox->messages[i].data, result->data, (size_t)result->res);
    take_control(inbox, i, *header);
    if (inbox->keeps) {
        ck_assert_int_eq(loop_buffer_keep(of, result->buffer), 0);
        inbox->keep[i] = result->buffer;
    }
    inbox->count++;
}

static loop_id receive(int fd, const struct msghdr *msg, struct inbox *inbox)
{
    loop_id id = loop_recvmsg_multishot(loop, fd, msg, LOOP_GROUP_DEFAULT, 0, message_cb, inbox, NULL);

    ck_assert_int_gt(id, 0);
    return id;
}

static int udp(struct sockaddr_in *ret_address)
{
    int       fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    socklen_t size = sizeof(*ret_address);

    *ret_address = test_localhost(0);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)ret_address, size), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)ret_address, &size), 0);
    return fd;
}

static void datagram_pair(int ret_fds[2])
{
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ret_fds), 0);
}

static void close_both(const int fds[2])
{
    test_close(fds[0]);
    test_close(fds[1]);
}

static void cancel_and_wait(loop_id id, const uint32_t *finals)
{
    ck_assert_int_eq(loop_cancel(loop, id), 0);
    UNTIL(*finals == 1);
}

/* Goal: each datagram is one result, with its sender; empty ones too. Method: udp, sizes 0 among others. */
START_TEST(datagrams_with_senders)
{
    static const int   sizes[] = {5, 0, 100, 0, 0, 1};
    struct sockaddr_in to, from;
    int                fd = udp(&to), sender = udp(&from);
    struct inbox       inbox = {0};
    char               bytes[100];
    loop_id            id = receive(fd, &(struct msghdr){.msg_namelen = sizeof(from)}, &inbox);

    memset(bytes, 'd', sizeof(bytes));
    for (uint32_t i = 0; i < TEST_COUNT(sizes); i++) {
        ck_assert_int_eq(sendto(sender, bytes, (size_t)sizes[i], 0, (struct sockaddr *)&to, sizeof(to)), sizes[i]);
        if (_i == 0)
            test_run_until(loop, &inbox.count, i + 1);
    }
    test_run_until(loop, &inbox.count, TEST_COUNT(sizes));
    for (uint32_t i = 0; i < TEST_COUNT(sizes); i++) {
        ck_assert_int_eq(inbox.messages[i].size, sizes[i]);
        ck_assert_mem_eq(inbox.messages[i].data, bytes, (size_t)sizes[i]);
        ck_assert_uint_eq(inbox.messages[i].namelen, sizeof(from));
        ck_assert_uint_eq(inbox.messages[i].sender.sin_port, from.sin_port);
        ck_assert_int_eq(inbox.messages[i].flags, 0);
    }
    ck_assert_uint_eq(test_stats(loop).buffers_lent, 0);
    cancel_and_wait(id, &inbox.finals);
    ck_assert_int_eq(inbox.last, -ECANCELED);
    ck_assert_uint_eq(inbox.last_flags, 0);
    test_close(fd);
    test_close(sender);
}
END_TEST

/* Goal: datagrams without a sender are the same; empty ones are no end, and come at once. Method: unix sockets, with
 * (_i = 1) and without room for a name; all there before, or one by one (_i = 2). */
START_TEST(datagrams_without_senders)
{
    static const int sizes[] = {3, 0, 7, 0, 0, 2, 0};
    struct inbox     inbox = {0};
    int              fds[2];
    loop_id          id = 0;

    datagram_pair(fds);
    if (_i == 2)
        id = receive(fds[0], NULL, &inbox);
    for (uint32_t i = 0; i < TEST_COUNT(sizes); i++) {
        ck_assert_int_eq(send(fds[1], "1234567", (size_t)sizes[i], 0), sizes[i]);
        if (_i == 2)
            test_run_until(loop, &inbox.count, i + 1);
    }
    if (_i < 2)
        id = receive(fds[0], &(struct msghdr){.msg_namelen = _i == 1 ? 20 : 0}, &inbox);
    test_run_until(loop, &inbox.count, TEST_COUNT(sizes));
    for (uint32_t i = 0; i < TEST_COUNT(sizes); i++)
        ck_assert_int_eq(inbox.messages[i].size, sizes[i]);
    test_turns(loop, 3);
    ck_assert_uint_eq(inbox.finals, 0);
    ck_assert_uint_eq(test_stats(loop).buffers_lent, 0);
    cancel_and_wait(id, &inbox.finals);
    ck_assert_int_eq(inbox.last, -ECANCELED);
    close_both(fds);
}
END_TEST

/* Goal: a stream ends with 0 and without a buffer; so do packets in a row. Method: unix stream, tcp, seqpacket: data,
 * close. */
START_TEST(stream_end)
{
    struct inbox inbox = {0};
    int          fds[2];

    if (_i == 0)
        test_socketpair(fds);
    else if (_i == 1)
        test_tcp_pair(fds);
    else
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
    receive(fds[0], &(struct msghdr){.msg_namelen = 16, .msg_controllen = 32}, &inbox);
    test_write(fds[1], "hello", 5);
    test_run_until(loop, &inbox.count, 1);
    ck_assert_int_eq(inbox.messages[0].size, 5);
    ck_assert_mem_eq(inbox.messages[0].data, "hello", 5);
    test_write(fds[1], "bye", 3);
    test_close(fds[1]);
    test_run(loop);
    ck_assert_uint_eq(inbox.count, 2);
    ck_assert_uint_eq(inbox.finals, 1);
    ck_assert_int_eq(inbox.last, 0);
    ck_assert_uint_eq(inbox.last_flags & LOOP_BUFFER, 0);
    test_close(fds[0]);
}
END_TEST

/* Goal: control data arrives, whatever the size of the name in front of it. Method: credentials, with room for names of
 * 0, 13 and 110 bytes. */
START_TEST(control_data)
{
    static const socklen_t names[] = {0, 13, 110};
    struct msghdr          room = {.msg_namelen = names[_i], .msg_controllen = CMSG_SPACE(sizeof(struct ucred))};
    struct inbox           inbox = {0};
    int                    fds[2], on = 1;
    loop_id                id;

    datagram_pair(fds);
    ck_assert_int_eq(setsockopt(fds[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)), 0);
    id = receive(fds[0], &room, &inbox);
    memset(&room, 0xee, sizeof(room)); /* it was copied */
    for (uint32_t i = 0; i < 3; i++) {
        test_write(fds[1], "data", 4);
        test_run_until(loop, &inbox.count, i + 1);
        ck_assert_int_eq(inbox.messages[i].size, 4);
        ck_assert_mem_eq(inbox.messages[i].data, "data", 4);
        ck_assert_int_eq(inbox.messages[i].pid, getpid());
    }
    cancel_and_wait(id, &inbox.finals);
    close_both(fds);
}
END_TEST

/* Goal: what does not fit is cut and said so, of data and of control data. */
START_TEST(truncated)
{
    struct inbox inbox = {0};
    char         bytes[BUFFER_SIZE * 2];
    int          fds[2], on = 1;
    loop_id      id;

    datagram_pair(fds);
    ck_assert_int_eq(setsockopt(fds[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)), 0);
    memset(bytes, 't', sizeof(bytes));
    id = receive(fds[0], &(struct msghdr){.msg_namelen = 16, .msg_controllen = 16}, &inbox);
    test_write(fds[1], bytes, sizeof(bytes));
    test_run_until(loop, &inbox.count, 1);
    ck_assert_int_eq(inbox.messages[0].size, BUFFER_SIZE - 16 - 16 - 16);
    ck_assert_int_eq(inbox.messages[0].flags & (MSG_TRUNC | MSG_CTRUNC), MSG_TRUNC | MSG_CTRUNC);
    test_write(fds[1], "x", 1);
    test_run_until(loop, &inbox.count, 2);
    ck_assert_int_eq(inbox.messages[1].flags & MSG_TRUNC, 0);
    cancel_and_wait(id, &inbox.finals);
    close_both(fds);
}
END_TEST

/* Goal: arguments that make no sense are refused; what does not fit into a buffer ends it. */
START_TEST(message_failures)
{
    const struct msghdr name = {.msg_namelen = 129}, control = {.msg_controllen = (1 << 20) + 1},
                        large = {.msg_controllen = BUFFER_SIZE};
    struct inbox inbox = {0}, pipe_inbox = {0};
    int          fds[2], pipes[2], handler = loop_handler_register(loop, message_cb, &inbox, 0);

    datagram_pair(fds);
    test_pipe(pipes);
    ck_assert_int_eq(loop_recvmsg_multishot(loop, -1, NULL, 0, 0, message_cb, &inbox, NULL), -EBADF);
    ck_assert_int_eq(loop_recvmsg_multishot(loop, fds[0], &name, 0, 0, message_cb, &inbox, NULL), -EINVAL);
    ck_assert_int_eq(loop_recvmsg_multishot(loop, fds[0], &control, 0, 0, message_cb, &inbox, NULL), -EINVAL);
    ck_assert_int_eq(loop_recvmsg_multishot(loop, fds[0], NULL, 9, 0, message_cb, &inbox, NULL), -EINVAL);
    ck_assert_int_eq(
        loop_recvmsg_multishot(loop, fds[0], NULL, 0, 0, message_cb, &inbox, LOOP_TERMS(.flags = LOOP_ASYNC)), -EINVAL);
    ck_assert_int_eq(loop_recvmsg_multishot(loop, fds[0], NULL, 0, 0, LOOP_HANDLER(handler), NULL, NULL), -EINVAL);
    receive(fds[0], &large, &inbox);
    receive(pipes[0], NULL, &pipe_inbox);
    test_run(loop);
    ck_assert_int_eq(inbox.last, -EFAULT);
    ck_assert_int_eq(pipe_inbox.last, -ENOTSOCK);
    ck_assert_uint_eq(inbox.count + pipe_inbox.count, 0);
    ck_assert_uint_eq(inbox.finals + pipe_inbox.finals, 2);
    close_both(fds);
    close_both(pipes);
}
END_TEST

/* ---- an empty group */

/* Takes all buffers out of the group. */
static void empty_group(struct inbox *keeper, int fds[2])
{
    memset(keeper, 0, sizeof(*keeper));
    keeper->keeps = true;
    datagram_pair(fds);
    receive(fds[0], NULL, keeper);
    for (uint32_t i = 1; i <= BUFFERS; i++) {
        test_write(fds[1], "k", 1);
        test_run_until(loop, &keeper->count, i);
    }
    ck_assert_uint_eq(test_stats(loop).buffers_lent, BUFFERS);
}

static void return_one(struct inbox *keeper)
{
    ck_assert_int_eq(loop_buffer_return(loop, keeper->keep[--keeper->count]), 0);
}

/* Ends everything that goes on. */
static void finish(struct inbox *keeper, int fds[2])
{
    while (keeper->count > 0)
        return_one(keeper);
    test_loop_drop(loop);
    ck_assert_uint_eq(keeper->finals, 1);
    close_both(fds);
    setup();
}

/* Goal: while the group is empty datagrams wait, empty ones as well, and nothing ends. Method: the first to come is
 * empty (_i = 0) or not; then buffers return. */
START_TEST(datagrams_wait_for_buffers)
{
    struct inbox keeper, inbox = {0};
    int          fds[2], pair[2];
    uint64_t     parked;

    datagram_pair(pair);
    empty_group(&keeper, fds);
    parked = test_stats(loop).buffers_parked;
    receive(pair[0], NULL, &inbox);
    test_turns(loop, 3);
    ck_assert_int_eq(send(pair[1], "x", (size_t)_i, 0), _i);
    ck_assert_int_eq(send(pair[1], "", 0, 0), 0);
    ck_assert_int_eq(send(pair[1], "yz", 2, 0), 2);
    UNTIL(test_stats(loop).buffers_parked > parked);
    test_turns(loop, 3);
    ck_assert_uint_eq(inbox.count + inbox.finals, 0);
    return_one(&keeper);
    test_run_until(loop, &inbox.count, 3);
    ck_assert_int_eq(inbox.messages[0].size, _i);
    ck_assert_int_eq(inbox.messages[1].size, 0);
    ck_assert_int_eq(inbox.messages[2].size, 2);
    finish(&keeper, fds);
    ck_assert_int_eq(inbox.last, -ECANCELED);
    close_both(pair);
}
END_TEST

/* Goal: ends are seen through an empty group, if no data stands in front of them. Method: messages from a stream; reads
 * from a pipe and from a socket; armed before the group ran empty (_i = 0) or after. */
START_TEST(ends_through_an_empty_group)
{
    struct inbox    keeper, inbox = {0};
    struct test_log piped = {0}, socketed = {0}, behind = {0};
    int             fds[2], stream[2], pipes[2], pair[2], others[2];

    test_socketpair(stream);
    test_socketpair(pair);
    test_pipe(pipes);
    test_pipe(others);
    for (int round = 0; round < 2; round++) {
        if (round == _i) {
            receive(stream[0], NULL, &inbox);
            ck_assert_int_gt(loop_read_multishot(loop, pipes[0], 0, test_log_cb, &piped, NULL), 0);
            ck_assert_int_gt(loop_read_multishot(loop, pair[0], 0, test_log_cb, &socketed, NULL), 0);
            ck_assert_int_gt(loop_read_multishot(loop, others[0], 0, test_log_cb, &behind, NULL), 0);
            test_turns(loop, 2);
        }
        if (round == 0)
            empty_group(&keeper, fds);
    }
    test_write(others[1], "last", 4);
    test_close(others[1]);
    test_turns(loop, 5);
    ck_assert_uint_eq(inbox.finals + piped.count + socketed.count, 0);
    test_close(stream[1]);
    UNTIL(inbox.finals == 1);
    ck_assert_int_eq(inbox.last, 0);
    ck_assert_uint_eq(inbox.count, 0);
    test_close(pipes[1]);
    UNTIL(piped.count == 1);
    test_log_is(&piped, 0);
    test_close(pair[1]);
    UNTIL(socketed.count == 1);
    test_log_is(&socketed, 0);
    test_turns(loop, 3);
    ck_assert_uint_eq(behind.count, 0);
    return_one(&keeper);
    UNTIL(behind.finals == 1);
    ck_assert_uint_eq(behind.count, 2);
    ck_assert_mem_eq(behind.data, "last", 4);
    ck_assert_int_eq(behind.last.res, 0);
    finish(&keeper, fds);
    test_close(stream[0]);
    test_close(pipes[0]);
    test_close(pair[0]);
    test_close(others[0]);
}
END_TEST

static void nothing(struct loop_timer *timer)
{
    (void)timer;
}

/* Goal: reads that wait for a buffer, or for data without a buffer, cost nothing, and go on when buffers return; they
 * can be cancelled, and time out. Method: count enters while a timer runs. */
START_TEST(reads_without_buffers)
{
    struct inbox      keeper;
    struct test_log   log[4] = {0};
    struct loop_timer timer = {0};
    struct loop_stats before;
    int               fds[2], pipes[4][2];
    loop_id           ids[4];

    empty_group(&keeper, fds);
    for (int i = 0; i < 4; i++) { /* 0: with data, 1: idle, 2: idle with a deadline, 3: with data, with a deadline */
        test_pipe(pipes[i]);
        ids[i] = loop_read_multishot(loop, pipes[i][0], 0, test_log_cb, &log[i],
                                     LOOP_TERMS(.timeout_ns = i < 2 ? 0 : 50 * LOOP_MILLISECOND));
        ck_assert_int_gt(ids[i], 0);
    }
    test_turns(loop, 5);
    test_write(pipes[0][1], "abc", 3);
    test_write(pipes[3][1], "abc", 3);
    UNTIL(test_stats(loop).buffers_parked >= 2);
    test_turns(loop, 5);
    before = test_stats(loop);
    loop_timer_unref(&timer);
    ck_assert_int_eq(loop_timer_start(loop, &timer, 30 * LOOP_MILLISECOND, 0, nothing), 0);
    for (uint32_t turns = 0; loop_timer_active(&timer) && turns < 100; turns++)
        ck_assert_int_ge(loop_run(loop, LOOP_RUN_ONCE), 0);
    ck_assert_uint_lt(test_stats(loop).enters - before.enters, 20);
    ck_assert_uint_eq(log[0].count + log[1].count, 0);
    UNTIL(log[2].count == 1 && log[3].count == 1);
    ck_assert_int_eq(log[2].last.res, -ETIMEDOUT);
    ck_assert_int_eq(log[3].last.res, -ETIMEDOUT);
    cancel_and_wait(ids[1], &log[1].finals);
    test_log_is(&log[1], -ECANCELED);
    return_one(&keeper);
    test_run_until(loop, &log[0].count, 1);
    ck_assert_mem_eq(log[0].data, "abc", 3);
    finish(&keeper, fds);
    ck_assert_int_eq(log[0].last.res, -ECANCELED);
    for (int i = 0; i < 4; i++)
        close_both(pipes[i]);
}
END_TEST

/* ---- reading */

static bool no_reads(void)
{
    if (test_has_opcode(loop, 49)) /* IORING_OP_READ_MULTISHOT */
        return false;
    test_skip("this kernel has no multishot read");
    return true;
}

/* Goal: pieces come one by one, the end last. Method: a pipe; what is more than a buffer comes in pieces. */
START_TEST(read_pipe)
{
    struct test_log log = {0};
    char            block[BUFFER_SIZE * 3 + 1];
    int             fds[2];

    if (no_reads())
        return;
    memset(block, 'r', sizeof(block));
    test_pipe(fds);
    ck_assert_int_gt(loop_read_multishot(loop, fds[0], 0, test_log_cb, &log, NULL), 0);
    for (uint32_t i = 1; i <= 3; i++) {
        test_write(fds[1], "abc", 3);
        test_run_until(loop, &log.count, i);
        ck_assert_int_eq(log.last.res, 3);
        ck_assert_uint_eq(log.last.flags, LOOP_MORE | LOOP_BUFFER);
    }
    test_write(fds[1], block, sizeof(block));
    test_close(fds[1]);
    test_run(loop);
    ck_assert_uint_eq(log.bytes, 9 + sizeof(block));
    ck_assert_uint_ge(log.count, 3 + 4 + 1);
    ck_assert_int_eq(log.last.res, 0);
    ck_assert_uint_eq(log.last.flags, 0);
    test_close(fds[0]);
}
END_TEST

/* Goal: counters of an eventfd; cancel, also before anything came. */
START_TEST(read_eventfd)
{
    struct test_log log = {0};
    int             fd = eventfd(0, EFD_CLOEXEC);
    uint64_t        value = 7, seen;
    loop_id         id;

    if (no_reads()) {
        test_close(fd);
        return;
    }
    id = loop_read_multishot(loop, fd, 0, test_log_cb, &log, NULL);
    ck_assert_int_gt(id, 0);
    for (uint32_t i = 0; i < 3 && _i == 1; i++) {
        test_write(fd, &value, sizeof(value));
        test_run_until(loop, &log.count, i + 1);
        memcpy(&seen, log.data + 8 * i, sizeof(seen));
        ck_assert_uint_eq(seen, value++);
    }
    cancel_and_wait(id, &log.finals);
    ck_assert_int_eq(log.last.res, -ECANCELED);
    test_close(fd);
}
END_TEST

/* Goal: bytes of a terminal; its other side gone. Method: a pseudo-terminal's master, non-blocking, or else the kernel
 * does not see that; with (_i = 0) and without buffers. */
START_TEST(read_terminal)
{
    struct inbox    keeper;
    struct test_log log = {0};
    int             master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK), terminal, fds[2];

    if (no_reads() || master < 0) {
        test_skip("there are no pseudo-terminals");
        if (master >= 0)
            test_close(master);
        return;
    }
    ck_assert_int_eq(grantpt(master), 0);
    ck_assert_int_eq(unlockpt(master), 0);
    terminal = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
    ck_assert_int_ge(terminal, 0);
    ck_assert_int_gt(loop_read_multishot(loop, master, 0, test_log_cb, &log, NULL), 0);
    test_write(terminal, "hi", 2);
    test_run_until(loop, &log.count, 1);
    ck_assert_mem_eq(log.data, "hi", 2);
    if (_i == 1)
        empty_group(&keeper, fds);
    test_close(terminal);
    UNTIL(log.finals == 1);
    ck_assert_int_eq(log.last.res, _i == 0 ? -EIO : 0);
    ck_assert_uint_eq(log.count, 2);
    if (_i == 1)
        finish(&keeper, fds);
    test_close(master);
}
END_TEST

static void count_direct(struct loop *of, const struct loop_result *result, void *arg)
{
    struct test_log *log = arg;

    (void)of;
    ck_assert_uint_eq(result->value, 55);
    log->count++;
    log->last = *result;
    log->bytes += (result->flags & LOOP_BUFFER) != 0 ? (uint64_t)result->res : 0;
    log->finals += (result->flags & LOOP_MORE) == 0;
}

/* Goal: failures of arguments at once, of the file as the final callback; a handler may read. */
START_TEST(read_failures_and_direct)
{
    struct test_log log[2] = {0}, direct = {0};
    int             fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), fds[2];
    int             handler = loop_handler_register(loop, count_direct, &direct, LOOP_GROUP_DEFAULT);

    test_pipe(fds);
    ck_assert_int_eq(loop_read_multishot(loop, -1, 0, test_log_cb, &log[0], NULL), -EBADF);
    if (!no_reads()) {
        ck_assert_int_eq(loop_read_multishot(loop, fds[0], 9, test_log_cb, &log[0], NULL), -EINVAL);
        ck_assert_int_eq(
            loop_read_multishot(loop, fds[0], 0, test_log_cb, &log[0], LOOP_TERMS(.flags = LOOP_POLL_FIRST)), -EINVAL);
        ck_assert_int_gt(loop_read_multishot(loop, fd, 0, test_log_cb, &log[0], NULL), 0);
        ck_assert_int_gt(loop_read_multishot(loop, 3999, 0, test_log_cb, &log[1], NULL), 0);
        ck_assert_int_gt(loop_read_multishot(loop, fds[0], 0, LOOP_HANDLER(handler), LOOP_VALUE(55), NULL), 0);
        test_write(fds[1], "four", 4);
        test_run_until(loop, &direct.count, 1);
        test_close(fds[1]);
        test_run(loop);
        test_log_is(&log[0], -EBADFD);
        test_log_is(&log[1], -EBADF);
        ck_assert_uint_eq(direct.bytes, 4);
        ck_assert_uint_eq(direct.finals, 1);
    } else {
        test_close(fds[1]);
    }
    test_close(fds[0]);
    test_close(fd);
}
END_TEST

/* ---- polling */

/* Goal: a result for each arrival, none in between; a hang-up is one. Method: write without reading. */
START_TEST(poll_edge)
{
    struct test_log log = {0};
    int             fds[2];
    loop_id         id;

    test_pipe(fds);
    id = loop_poll_add_multishot(loop, fds[0], POLLIN, 0, test_log_cb, &log, NULL);
    ck_assert_int_gt(id, 0);
    test_turns(loop, 3);
    for (uint32_t i = 1; i <= 3; i++) {
        test_write(fds[1], "x", 1);
        test_run_until(loop, &log.count, i);
        ck_assert_int_eq(log.last.res, POLLIN);
        ck_assert_uint_eq(log.last.flags, LOOP_MORE);
        test_turns(loop, 5);
        ck_assert_uint_eq(log.count, i);
    }
    test_close(fds[1]);
    test_run_until(loop, &log.count, 4);
    ck_assert_int_eq(log.last.res, POLLIN | POLLHUP);
    ck_assert_uint_eq(log.finals, 0);
    cancel_and_wait(id, &log.finals);
    ck_assert_int_eq(log.last.res, -ECANCELED);
    test_close(fds[0]);
}
END_TEST

/* Goal: level-triggered it comes in each turn while there is something, and not after; nothing else starves. Method:
 * leave data unread while a timer, a receive and another level poll go on. */
START_TEST(poll_level)
{
    struct test_log   log = {0}, other = {0}, received = {0};
    struct loop_timer timer = {0};
    int               fds[2], second[2], pair[2];
    uint32_t          count;
    char              byte;
    loop_id           id, other_id;

    test_pipe(fds);
    test_pipe(second);
    test_socketpair(pair);
    id = loop_poll_add_multishot(loop, fds[0], POLLIN, LOOP_POLL_LEVEL, test_log_cb, &log, NULL);
    other_id = loop_poll_add_multishot(loop, second[0], POLLIN, LOOP_POLL_LEVEL, test_log_cb, &other, NULL);
    ck_assert(id > 0 && other_id > 0);
    ck_assert_int_gt(loop_recv_multishot(loop, pair[0], 0, 0, test_log_cb, &received, NULL), 0);
    test_turns(loop, 3);
    ck_assert_uint_eq(log.count, 0);
    test_write(fds[1], "x", 1);
    test_write(second[1], "x", 1);
    ck_assert_int_eq(loop_timer_start(loop, &timer, LOOP_MILLISECOND, 0, nothing), 0);
    UNTIL(log.count >= 20 && other.count >= 20 && !loop_timer_active(&timer));
    ck_assert_int_le((int)log.count - (int)other.count, 2);
    ck_assert_int_le((int)other.count - (int)log.count, 2);
    ck_assert_uint_eq(log.finals, 0);
    ck_assert_int_eq(log.last.res, POLLIN);
    for (uint32_t i = 1; i <= 3; i++) {
        test_write(pair[1], "abc", 3);
        test_run_until(loop, &received.count, i);
    }
    test_read(fds[0], &byte, 1);
    test_turns(loop, 3); /* what was polled before still comes */
    count = log.count;
    UNTIL(other.count > 60);
    ck_assert_uint_eq(log.count, count);
    test_write(fds[1], "x", 1);
    test_run_until(loop, &log.count, count + 3);
    cancel_and_wait(id, &log.finals);
    cancel_and_wait(other_id, &other.finals);
    test_close(pair[1]);
    test_run(loop);
    ck_assert(log.last.res == -ECANCELED || log.last.res == POLLIN); /* what came first */
    test_close(pair[0]);
    close_both(fds);
    close_both(second);
}
END_TEST

static void cancel_self(struct loop *of, const struct loop_result *result, void *arg)
{
    test_log_cb(of, result, arg);
    if ((result->flags & LOOP_MORE) != 0)
        ck_assert_int_eq(loop_cancel(of, result->id), 0);
}

/* Goal: bad arguments; errors; a deadline; ends in its own callback; direct mode. */
START_TEST(poll_rest)
{
    struct test_log log[4] = {0}, direct = {0};
    int             fds[2], handler = loop_handler_register(loop, count_direct, &direct, 0);
    loop_id         id;

    test_pipe(fds);
    ck_assert_int_eq(loop_poll_add_multishot(loop, -1, POLLIN, 0, test_log_cb, &log[0], NULL), -EBADF);
    ck_assert_int_eq(loop_poll_add_multishot(loop, fds[0], POLLIN, 2, test_log_cb, &log[0], NULL), -EINVAL);
    ck_assert_int_eq(loop_poll_add_multishot(loop, fds[0], EPOLLET, 0, test_log_cb, &log[0], NULL), -EINVAL);
    ck_assert_int_eq(loop_poll_add_multishot(loop, fds[0], EPOLLONESHOT, 0, test_log_cb, &log[0], NULL), -EINVAL);
    ck_assert_int_eq(
        loop_poll_add_multishot(loop, fds[0], POLLIN, LOOP_POLL_LEVEL, LOOP_HANDLER(handler), LOOP_VALUE(55), NULL),
        -EINVAL);
    ck_assert_int_gt(loop_poll_add_multishot(loop, 3999, POLLIN, 0, test_log_cb, &log[0], NULL), 0);
    ck_assert_int_gt(loop_poll_add_multishot(loop, 3999, POLLIN, LOOP_POLL_LEVEL, test_log_cb, &log[1], NULL), 0);
    ck_assert_int_gt(loop_poll_add_multishot(loop, fds[0], POLLIN, _i == 0 ? 0 : LOOP_POLL_LEVEL, test_log_cb, &log[2],
                                             LOOP_TERMS(.timeout_ns = 2 * LOOP_MILLISECOND)),
                     0);
    test_run(loop);
    test_log_is(&log[0], -EBADF);
    test_log_is(&log[1], -EBADF);
    ck_assert_int_eq(log[2].last.res, -ETIMEDOUT);
    ck_assert_uint_eq(log[2].count, 1);
    ck_assert_int_gt(
        loop_poll_add_multishot(loop, fds[0], POLLIN, _i == 0 ? 0 : LOOP_POLL_LEVEL, cancel_self, &log[3], NULL), 0);
    id = loop_poll_add_multishot(loop, fds[0], POLLIN, 0, LOOP_HANDLER(handler), LOOP_VALUE(55), NULL);
    ck_assert_int_gt(id, 0);
    test_write(fds[1], "x", 1);
    test_run_until(loop, &direct.count, 1);
    ck_assert_int_eq(direct.last.res, POLLIN);
    ck_assert_uint_ne(direct.last.flags & LOOP_MORE, 0);
    ck_assert_int_eq(loop_cancel(loop, id), 0);
    test_run(loop);
    ck_assert_int_eq(direct.last.res, -ECANCELED);
    ck_assert_uint_eq(direct.finals, 1);
    ck_assert_uint_eq(log[3].count, 2);
    ck_assert_int_eq(log[3].last.res, -ECANCELED);
    close_both(fds);
}
END_TEST

/* ---- ticking */

/* Goal: count expiries, the last is final; without a count until it is cancelled; each a success. */
START_TEST(ticks)
{
    static const uint32_t flags[] = {0, LOOP_TIMEOUT_BOOTTIME, LOOP_TIMEOUT_REALTIME};
    struct test_log       log = {0}, once = {0}, endless = {0}, late = {0};
    loop_id               id;

    ck_assert_int_gt(loop_timeout_multishot(loop, LOOP_MILLISECOND, 5, flags[_i], test_log_cb, &log, NULL), 0);
    ck_assert_int_gt(loop_timeout_multishot(loop, LOOP_MILLISECOND, 1, flags[_i], test_log_cb, &once, NULL), 0);
    id = loop_timeout_multishot(loop, LOOP_MILLISECOND / 4, 0, flags[_i], test_log_cb, &endless, NULL);
    ck_assert_int_gt(id, 0);
    ck_assert_int_gt(loop_timeout_multishot(loop, 10 * LOOP_SECOND, 0, flags[_i], test_log_cb, &late,
                                            LOOP_TERMS(.timeout_ns = LOOP_MILLISECOND)),
                     0);
    test_run_until(loop, &endless.count, 10);
    cancel_and_wait(id, &endless.finals);
    test_run(loop);
    ck_assert_int_eq(endless.last.res, -ECANCELED);
    ck_assert_uint_eq(late.count, 1);
    ck_assert_int_eq(late.last.res, -ETIMEDOUT);
    test_log_is(&once, 0);
    ck_assert_uint_eq(log.count, 5);
    for (uint32_t i = 0; i < 5; i++) {
        ck_assert_int_eq(log.results[i].res, 0);
        ck_assert_uint_eq(log.results[i].flags, i < 4 ? LOOP_MORE : 0);
    }
}
END_TEST

START_TEST(tick_failures)
{
    struct test_log log = {0};
    int             handler = loop_handler_register(loop, count_direct, &log, 0);

    ck_assert_int_eq(loop_timeout_multishot(loop, 0, 1, 0, test_log_cb, &log, NULL), -EINVAL);
    ck_assert_int_eq(loop_timeout_multishot(loop, 1, 1, LOOP_TIMEOUT_ABSOLUTE, test_log_cb, &log, NULL), -EINVAL);
    ck_assert_int_eq(
        loop_timeout_multishot(loop, 1, 1, LOOP_TIMEOUT_BOOTTIME | LOOP_TIMEOUT_REALTIME, test_log_cb, &log, NULL),
        -EINVAL);
    ck_assert_int_eq(loop_timeout_multishot(loop, 1, 1, 64, test_log_cb, &log, NULL), -EINVAL);
    ck_assert_int_eq(loop_timeout_multishot(loop, 1, 1, 0, LOOP_HANDLER(handler), NULL, NULL), -EINVAL);
    ck_assert_uint_eq(log.count, 0);
}
END_TEST

/* ---- overflow: nothing is lost where the CQ is full all the time */

enum { MANY = 12, DATAGRAMS = 60 };

struct numbered {
    uint32_t next, finals; /* the number of the next datagram */
};

static void numbered_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    struct numbered *numbered = arg;
    uint32_t         number;

    (void)of;
    numbered->finals += (result->flags & LOOP_MORE) == 0;
    if ((result->flags & LOOP_BUFFER) == 0)
        return;
    ck_assert_int_eq(result->res, numbered->next % 5 == 4 ? 0 : (int)sizeof(number));
    if (result->res > 0) {
        memcpy(&number, result->data, sizeof(number));
        ck_assert_uint_eq(number, numbered->next);
    }
    numbered->next++;
}

/* Goal: no datagram is lost or out of order. Method: many sockets at once, every fifth datagram empty. */
START_TEST(overflow_messages)
{
    struct sockaddr_in addresses[MANY], from;
    struct numbered    numbered[MANY] = {0};
    int                fds[MANY], sender = udp(&from);
    loop_id            ids[MANY];

    for (int i = 0; i < MANY; i++) {
        fds[i] = udp(&addresses[i]);
        ids[i] = loop_recvmsg_multishot(loop, fds[i], &(struct msghdr){.msg_namelen = i % 2 == 0 ? 16 : 0}, 0, 0,
                                        numbered_cb, &numbered[i], NULL);
        ck_assert_int_gt(ids[i], 0);
    }
    test_turns(loop, 2);
    for (uint32_t n = 0; n < DATAGRAMS; n++)
        for (int i = 0; i < MANY; i++)
            ck_assert_int_ge(sendto(sender, &n, n % 5 == 4 ? 0 : sizeof(n), 0, (struct sockaddr *)&addresses[i],
                                    sizeof(addresses[i])),
                             0);
    for (int i = 0; i < MANY; i++)
        test_run_until(loop, &numbered[i].next, DATAGRAMS);
    ck_assert_uint_gt(test_stats(loop).cq_overflows, 0);
    for (int i = 0; i < MANY; i++) {
        cancel_and_wait(ids[i], &numbered[i].finals);
        ck_assert_uint_eq(numbered[i].next, DATAGRAMS);
        test_close(fds[i]);
    }
    test_close(sender);
}
END_TEST

struct bytes {
    uint64_t count;
    uint32_t finals;
    int      fd;
};

static unsigned char byte_at(uint64_t offset)
{
    return (unsigned char)(offset * 7 + offset / 251);
}

static void take_bytes(struct bytes *bytes, const unsigned char *data, size_t size)
{
    for (size_t i = 0; i < size; i++, bytes->count++)
        if (data[i] != byte_at(bytes->count))
            ck_abort_msg("byte %" PRIu64 " is wrong", bytes->count);
}

static void bytes_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    struct bytes *bytes = arg;

    (void)of;
    ck_assert_uint_eq(bytes->finals, 0);
    if ((result->flags & LOOP_BUFFER) != 0)
        take_bytes(bytes, result->data, (size_t)result->res);
    bytes->finals += (result->flags & LOOP_MORE) == 0;
}

/* Polled: reads all there is, as edge-triggered users must, or 100 bytes. */
static void ready_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    struct bytes *bytes = arg;
    unsigned char data[1000];
    ssize_t       r = 1;

    (void)of;
    ck_assert_uint_eq(bytes->finals, 0);
    bytes->finals += (result->flags & LOOP_MORE) == 0;
    for (uint32_t i = 0; i < 1000 && bytes->finals == 0; i++) {
        r = read(bytes->fd, data, sizeof(data));
        if (r < 0)
            return;
        take_bytes(bytes, data, (size_t)r);
    }
}

static void ready_level_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    struct bytes *bytes = arg;
    unsigned char data[1000];
    ssize_t       r;

    (void)of;
    ck_assert_uint_eq(bytes->finals, 0);
    bytes->finals += (result->flags & LOOP_MORE) == 0;
    if (bytes->finals == 0 && (r = read(bytes->fd, data, sizeof(data))) > 0)
        take_bytes(bytes, data, (size_t)r);
}

enum { READS, POLLS, LEVELS };

static loop_id start(int kind, int fd, struct bytes *bytes)
{
    switch (kind) {
    case READS: return loop_read_multishot(loop, fd, 0, bytes_cb, bytes, NULL);
    case POLLS: return loop_poll_add_multishot(loop, fd, POLLIN, 0, ready_cb, bytes, NULL);
    default: return loop_poll_add_multishot(loop, fd, POLLIN, LOOP_POLL_LEVEL, ready_level_cb, bytes, NULL);
    }
}

/* Goal: no byte is lost and no edge missed. Method: many pipes, filled before and again and again. _i: the kind. */
START_TEST(overflow_pipes)
{
    struct bytes  bytes[MANY] = {0};
    int           fds[MANY][2];
    loop_id       ids[MANY];
    unsigned char block[4000];
    uint64_t      sent = 0;

    if (_i == READS && no_reads())
        return;
    for (int i = 0; i < MANY; i++) {
        test_pipe(fds[i]);
        ck_assert_int_eq(fcntl(fds[i][0], F_SETFL, O_NONBLOCK), 0);
        bytes[i].fd = fds[i][0];
        ids[i] = start(_i, fds[i][0], &bytes[i]);
        ck_assert_int_gt(ids[i], 0);
    }
    for (int round = 0; round < 15; round++) {
        for (uint64_t i = 0; i < sizeof(block); i++)
            block[i] = byte_at(sent + i);
        for (int i = 0; i < MANY; i++)
            test_write(fds[i][1], block, sizeof(block));
        sent += sizeof(block);
        if (round % 5 == 4) {
            for (int i = 0; i < MANY; i++)
                UNTIL(bytes[i].count == sent);
        } else {
            test_turns(loop, 1);
        }
    }
    ck_assert_uint_gt(test_stats(loop).cq_overflows, 0);
    for (int i = 0; i < MANY; i++) {
        test_close(fds[i][1]);
        if (_i != READS)
            ck_assert_int_eq(loop_cancel(loop, ids[i]), 0);
    }
    test_run(loop);
    for (int i = 0; i < MANY; i++) {
        ck_assert_uint_eq(bytes[i].finals, 1);
        ck_assert_uint_eq(bytes[i].count, sent);
        test_close(fds[i][0]);
    }
}
END_TEST

/* Goal: timeouts expire as often as they were told, neither more nor less. Method: many with different counts at the
 * same time, and turns that take long. */
START_TEST(overflow_ticks)
{
    struct test_log logs[40] = {0};

    for (uint32_t i = 0; i < 40; i++)
        ck_assert_int_gt(
            loop_timeout_multishot(loop, 200 * LOOP_MICROSECOND, 1 + i % 20, 0, test_log_cb, &logs[i], NULL), 0);
    for (uint32_t turn = 0; turn < 2000 && loop_alive(loop); turn++) {
        test_sleep(LOOP_MILLISECOND);
        test_turns(loop, 1);
    }
    test_run(loop);
    ck_assert_uint_gt(test_stats(loop).cq_overflows, 0);
    ck_assert_uint_gt(test_stats(loop).rearms, 0);
    for (uint32_t i = 0; i < 40; i++) {
        ck_assert_uint_eq(logs[i].count, 1 + i % 20);
        ck_assert_uint_eq(logs[i].finals, 1);
        ck_assert_int_eq(logs[i].last.res, 0);
    }
}
END_TEST

/* ---- the end of the loop */

/* Goal: loop_destroy() ends all kinds, once each. Method: idle, and with something on its way. */
START_TEST(destroy_all)
{
    struct inbox    inbox = {0};
    struct test_log log[5] = {0};
    int             datagrams[2], pipes[2], pair[2];
    bool            reads = test_has_opcode(loop, 49);

    datagram_pair(datagrams);
    test_pipe(pipes);
    test_socketpair(pair);
    receive(datagrams[0], NULL, &inbox);
    if (reads)
        ck_assert_int_gt(loop_read_multishot(loop, pipes[0], 0, test_log_cb, &log[0], NULL), 0);
    ck_assert_int_gt(loop_poll_add_multishot(loop, pair[0], POLLIN, 0, test_log_cb, &log[1], NULL), 0);
    ck_assert_int_gt(loop_poll_add_multishot(loop, pair[0], POLLIN, LOOP_POLL_LEVEL, test_log_cb, &log[2], NULL), 0);
    ck_assert_int_gt(loop_timeout_multishot(loop, LOOP_MILLISECOND, 0, 0, test_log_cb, &log[3], NULL), 0);
    ck_assert_int_gt(loop_recv_multishot(loop, pair[1], 0, 0, test_log_cb, &log[4], NULL), 0);
    if (_i > 0)
        test_turns(loop, 2);
    if (_i > 1) {
        ck_assert_int_eq(send(datagrams[1], "", 0, 0), 0);
        test_write(pipes[1], "x", 1);
        test_write(pair[1], "x", 1);
        test_sleep(2 * LOOP_MILLISECOND);
    }
    test_loop_drop(loop);
    ck_assert_uint_eq(inbox.finals, 1);
    for (int i = reads ? 0 : 1; i < 5; i++)
        ck_assert_uint_eq(log[i].finals, 1);
    setup();
    close_both(datagrams);
    close_both(pipes);
    close_both(pair);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("multishot kinds");
    TCase *tcase = test_case(suite, "messages");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, datagrams_with_senders, 0, 2);
    tcase_add_loop_test(tcase, datagrams_without_senders, 0, 3);
    tcase_add_loop_test(tcase, stream_end, 0, 3);
    tcase_add_loop_test(tcase, control_data, 0, 3);
    tcase_add_test(tcase, truncated);
    tcase_add_test(tcase, message_failures);

    tcase = test_case(suite, "empty group");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, datagrams_wait_for_buffers, 0, 2);
    tcase_add_loop_test(tcase, ends_through_an_empty_group, 0, 2);
    tcase_add_test(tcase, reads_without_buffers);

    tcase = test_case(suite, "read");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, read_pipe);
    tcase_add_loop_test(tcase, read_eventfd, 0, 2);
    tcase_add_loop_test(tcase, read_terminal, 0, 2);
    tcase_add_test(tcase, read_failures_and_direct);

    tcase = test_case(suite, "poll");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, poll_edge);
    tcase_add_test(tcase, poll_level);
    tcase_add_loop_test(tcase, poll_rest, 0, 2);

    tcase = test_case(suite, "ticks");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, ticks, 0, 3);
    tcase_add_test(tcase, tick_failures);

    tcase = test_case(suite, "overflow");
    tcase_add_checked_fixture(tcase, tiny_setup, teardown);
    tcase_add_test(tcase, overflow_messages);
    tcase_add_loop_test(tcase, overflow_pipes, 0, 3);
    tcase_add_test(tcase, overflow_ticks);

    tcase = test_case(suite, "destroy");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, destroy_all, 0, 3);
    return suite;
}
