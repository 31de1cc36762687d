/* tests/loop/detach_test.c: taking a descriptor out of the loop: at once, of every kind of operation, losing nothing.
 *
 * That nothing holds the file any more is told by the other side: it sees the end as soon as the descriptor is closed,
 * while the loop does not run. */
#include "tests/support/test.h"

#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/uio.h>

static struct loop *loop;
static int          pair[2];

static void setup(void)
{
    loop = test_loop_new(&(struct loop_options){.sq_entries = 64, .buffer_size = 64, .buffer_count = 4});
    test_socketpair(pair);
}

static void close_at(int *fd)
{
    if (*fd >= 0)
        test_close(*fd);
    *fd = -1;
}

static void teardown(void)
{
    test_loop_free(loop);
    close_at(&pair[0]);
    close_at(&pair[1]);
}

/* What the other side of a closed file sees without any waiting. */
static bool sees_end(int fd)
{
    struct pollfd ask = {.fd = fd, .events = POLLIN | POLLRDHUP};

    ck_assert_int_ge(poll(&ask, 1, 0), 0);
    return (ask.revents & (POLLHUP | POLLRDHUP | POLLERR)) != 0;
}

/* A worker that gets no processor for long is -EBUSY: it is asked again, and then what was asked is not counted. */
static int detach_patiently(int fd, int expected)
{
    int answer = loop_detach(loop, fd);

    for (int tries = 0; answer == -EBUSY && tries < 100; tries++) {
        answer = loop_detach(loop, fd);
        if (answer == 0)
            return expected;
    }
    return answer;
}

/* ---- every kind */

static struct test_log log_of;
static char            byte, megabyte[1 << 20];
static struct iovec    iov = {&byte, 1};
static struct msghdr   message = {.msg_iov = &iov, .msg_iovlen = 1};
static int             pipe_fds[2];
static uint32_t        foreign_count;
static int32_t         foreign_res;

#define END test_log_cb, &log_of, NULL

static loop_id start_recv(int fd)
{
    return loop_recv(loop, fd, &byte, 1, 0, END);
}

static loop_id start_recv_deadline(int fd)
{
    return loop_recv(loop, fd, &byte, 1, 0, test_log_cb, &log_of, LOOP_TERMS(.timeout_ns = UINT64_C(60000000000)));
}

static loop_id start_recv_linked(int fd)
{
    return loop_recv(loop, fd, &byte, 1, 0, test_log_cb, &log_of,
                     LOOP_TERMS(.timeout_ns = UINT64_C(60000000000), .flags = LOOP_LINKED_TIMEOUT));
}

static loop_id start_recv_worker(int fd)
{
    return loop_recv(loop, fd, &byte, 1, 0, test_log_cb, &log_of, LOOP_TERMS(.flags = LOOP_ASYNC));
}

static loop_id start_recv_lent(int fd)
{
    return loop_recv(loop, fd, NULL, 0, 0, test_log_cb, &log_of, LOOP_TERMS(.flags = LOOP_LEND));
}

static loop_id start_recvmsg(int fd)
{
    return loop_recvmsg(loop, fd, &message, 0, END);
}

static loop_id start_read(int fd)
{
    return loop_read(loop, fd, &byte, 1, LOOP_AT_POSITION, END);
}

static loop_id start_poll(int fd)
{
    return loop_poll_add(loop, fd, POLLIN, END);
}

static loop_id start_send(int fd)
{
    ck_assert_int_eq(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    while (write(fd, megabyte, sizeof(megabyte)) > 0)
        continue;
    ck_assert_int_eq(fcntl(fd, F_SETFL, 0), 0);
    return loop_send(loop, fd, megabyte, sizeof(megabyte), 0, END);
}

static loop_id start_recv_multishot(int fd)
{
    return loop_recv_multishot(loop, fd, 0, 0, END);
}

static loop_id start_poll_multishot(int fd)
{
    return loop_poll_add_multishot(loop, fd, POLLIN, 0, END);
}

static loop_id start_poll_level(int fd)
{
    return loop_poll_add_multishot(loop, fd, POLLIN, LOOP_POLL_LEVEL, END);
}

static loop_id start_paused(int fd)
{
    loop_id id = loop_recv_multishot(loop, fd, 0, 0, END);

    ck_assert_int_eq(loop_pause(loop, id), 0);
    return id;
}

static loop_id start_raw(int fd)
{
    struct io_uring_sqe sqe = {0};

    io_uring_prep_recv(&sqe, fd, &byte, 1, 0);
    return loop_raw(loop, &sqe, END);
}

static loop_id start_splice_in(int fd)
{
    return loop_splice(loop, fd, LOOP_AT_POSITION, pipe_fds[1], LOOP_AT_POSITION, 10, 0, END);
}

static loop_id start_splice_out(int fd)
{
    return loop_splice(loop, pipe_fds[0], LOOP_AT_POSITION, fd, LOOP_AT_POSITION, 10, 0, END);
}

static loop_id start_barrier(int fd)
{
    ck_assert_int_gt(loop_recv(loop, pipe_fds[0], &byte, 1, 0, NULL, NULL, NULL), 0); /* ends at once, not a socket */
    return loop_recv(loop, fd, &byte, 1, 0, test_log_cb, &log_of, LOOP_TERMS(.flags = LOOP_BARRIER));
}

static loop_id start_shutdown(int fd)
{
    return loop_shutdown(loop, fd, SHUT_WR, END);
}

static const struct kind {
    const char *name;
    loop_id (*start)(int fd);
    bool may_succeed; /* it may have ended by itself */
} kinds[] = {
    {"recv", start_recv, false},
    {"recv with a deadline", start_recv_deadline, false},
    {"recv with a linked timeout", start_recv_linked, false},
    {"recv with a worker", start_recv_worker, false},
    {"recv of a group", start_recv_lent, false},
    {"recvmsg", start_recvmsg, false},
    {"read", start_read, false},
    {"poll", start_poll, false},
    {"send", start_send, false},
    {"recv_multishot", start_recv_multishot, false},
    {"poll_multishot", start_poll_multishot, false},
    {"poll_level", start_poll_level, false},
    {"paused", start_paused, false},
    {"raw", start_raw, false},
    {"splice from", start_splice_in, false},
    {"splice to", start_splice_out, false},
    {"barrier", start_barrier, false},
    {"shutdown", start_shutdown, true},
};
enum { KINDS = TEST_COUNT(kinds) };

static void end_of_kind(const struct kind *kind, uint32_t turns, int expected)
{
    int answer;

    test_turns(loop, turns);
    if (turns > 0)
        test_sleep(2000000); /* for a worker to take it */
    answer = detach_patiently(pair[0], expected);
    ck_assert_msg(answer == expected || kind->may_succeed, "%s: %d", kind->name, answer);
    ck_assert_uint_eq(log_of.count, (uint32_t)(kind->may_succeed ? log_of.count : 0));
    close_at(&pair[0]);
    ck_assert_msg(sees_end(pair[1]), "%s after %u turns: the file is held", kind->name, turns);
    test_run(loop);
    ck_assert_uint_eq(log_of.finals, 1);
    ck_assert_msg(log_of.last.res == -ECANCELED || kind->may_succeed, "%s: %d", kind->name, log_of.last.res);
    ck_assert_uint_eq(log_of.last.flags & LOOP_TIMED_OUT, 0);
}

/* Goal: an operation of every kind ends, in the SQ as well as in the kernel, and the other side sees the close at once.
 * Method: each kind alone; detach without and with turns before. */
START_TEST(each_kind)
{
    const struct kind *kind = &kinds[_i / 2];

    test_pipe(pipe_fds);
    log_of = (struct test_log){0};
    ck_assert_int_gt(kind->start(pair[0]), 0);
    end_of_kind(kind, _i % 2 == 0 ? 0 : 3, 1);
    ck_assert_uint_eq(test_stats(loop).cqes_stale, 0);
    test_close(pipe_fds[0]);
    test_close(pipe_fds[1]);
}
END_TEST

/* Goal: what was only queued never reaches the kernel. Method: sends in the SQ, one with a linked timeout, one in the
 * backlog behind a full SQ; detach; the peer reads nothing, whatever the loop does. */
START_TEST(unsent_never_sent)
{
    enum { COUNT = 100 };
    static struct test_log logs[COUNT];
    struct loop           *small = test_loop_new(&(struct loop_options){.sq_entries = 16});
    char                   got;

    for (size_t i = 0; i < COUNT; i++)
        ck_assert_int_gt(
            loop_send(small, pair[0], "x", 1, 0, test_log_cb, &logs[i],
                      i % 3 == 0 ? LOOP_TERMS(.timeout_ns = 1000000000, .flags = LOOP_LINKED_TIMEOUT) : NULL),
            0);
    ck_assert_int_eq(loop_detach(small, pair[0]), COUNT);
    ck_assert_int_eq(loop_detach(small, pair[0]), 0);
    test_run(small);
    for (size_t i = 0; i < COUNT; i++)
        test_log_is(&logs[i], -ECANCELED);
    ck_assert_int_eq(recv(pair[1], &got, 1, MSG_DONTWAIT), -1);
    ck_assert_uint_eq(test_stats(small).cqes_stale, 0);
    test_loop_free(small);
}
END_TEST

/* Goal: numbers that are none, and files without operations. Method: negative, closed, open, timers beside it. */
START_TEST(nothing_there)
{
    int fds[2];

    ck_assert_int_eq(loop_detach(loop, -1), -EBADF);
    test_pipe(fds);
    test_close(fds[0]);
    for (uint32_t turns = 0; turns < 2; turns++) {
        ck_assert_int_eq(loop_detach(loop, fds[0]), 0);
        ck_assert_int_eq(loop_detach(loop, fds[1]), 0);
        ck_assert_int_eq(loop_detach(loop, 100000), 0);
        ck_assert_int_eq(loop_detach(loop, LOOP_FIXED(3)), 0);
        test_turns(loop, 1);
    }
    test_close(fds[1]);
}
END_TEST

static void fired_cb(struct loop_timer *timer)
{
    (*(uint32_t *)timer->data)++;
}

/* Goal: others go on. Method: a recv on another socket, a timer, a timeout of the kernel; each still does its work. */
START_TEST(others_untouched)
{
    struct test_log   logs[3] = {0};
    uint32_t          fired = 0;
    struct loop_timer timer = {.data = &fired};
    int               other[2];
    char              bytes[2];

    test_socketpair(other);
    ck_assert_int_gt(loop_recv(loop, pair[0], &bytes[0], 1, 0, test_log_cb, &logs[0], NULL), 0);
    ck_assert_int_gt(loop_recv(loop, other[0], &bytes[1], 1, 0, test_log_cb, &logs[1], NULL), 0);
    ck_assert_int_gt(loop_timeout(loop, 5000000, 0, 0, test_log_cb, &logs[2], NULL), 0);
    ck_assert_int_eq(loop_timer_start(loop, &timer, 1000000, 0, fired_cb), 0);
    test_turns(loop, (uint32_t)_i);
    ck_assert_int_eq(loop_detach(loop, pair[0]), 1);
    ck_assert_int_eq(loop_detach(loop, pair[0]), 0);
    test_write(other[1], "y", 1);
    test_run(loop);
    test_log_is(&logs[0], -ECANCELED);
    test_log_is(&logs[1], 1);
    ck_assert_int_eq(bytes[1], 'y');
    ck_assert_int_eq(logs[2].last.res, -ETIME);
    ck_assert_uint_eq(fired, 1);
    test_close(other[0]);
    test_close(other[1]);
}
END_TEST

/* ---- handing over */

/* Goal: every byte comes once, in order: to the old loop's callbacks, then to the new reader. Method: a stream of
 * numbers; a multishot (_i: a plain recv) reads some of it; detach in the middle; read(2) reads on. */
START_TEST(bytes_go_on)
{
    struct test_log log = {0};
    char            bytes[128], rest[256], buffer[64];
    ssize_t         size, had = 0;

    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (char)i;
    if (_i == 0)
        ck_assert_int_gt(loop_recv_multishot(loop, pair[0], 0, 0, test_log_cb, &log, NULL), 0);
    else
        ck_assert_int_gt(loop_recv(loop, pair[0], buffer, sizeof(buffer), 0, test_log_cb, &log, NULL), 0);
    test_turns(loop, 1);
    test_write(pair[1], bytes, 40);
    if (_i != 0)
        (void)loop_submit(loop);
    ck_assert_int_eq(loop_detach(loop, pair[0]), 1);
    ck_assert_uint_eq(log.count, 0);
    test_write(pair[1], bytes + 40, 88);
    size = recv(pair[0], rest, sizeof(rest), MSG_DONTWAIT);
    ck_assert_int_gt(size, 0);
    test_run(loop);
    ck_assert_uint_eq(log.finals, 1);
    had = _i == 0 ? (ssize_t)log.bytes : log.last.res > 0 ? log.last.res : 0;
    ck_assert_int_eq(had + size, sizeof(bytes));
    ck_assert_mem_eq(_i == 0 ? log.data : buffer, bytes, (size_t)had);
    ck_assert_mem_eq(rest, bytes + had, (size_t)size);
}
END_TEST

/* Goal: what has completed is not lost. Method: a multishot's completions stand in the CQ, undispatched, when a
 * callback of another operation detaches. */
struct inside {
    int      fd, answer;
    uint32_t calls;
};

static void detach_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    struct inside *inside = arg;

    (void)result;
    if (inside->calls++ == 0)
        inside->answer = loop_detach(of, inside->fd);
}

START_TEST(inside_callback)
{
    struct inside   inside = {.fd = pair[0]};
    struct test_log logs[3] = {0};
    char            bytes[3];

    ck_assert_int_gt(loop_nop(loop, detach_cb, &inside, NULL), 0); /* completes first */
    for (int i = 0; i < 3; i++)
        ck_assert_int_gt(loop_recv(loop, pair[0], &bytes[i], 1, 0, test_log_cb, &logs[i], NULL), 0);
    test_write(pair[1], "ab", 2);
    test_run(loop);
    ck_assert_uint_eq(inside.calls, 1);
    ck_assert_int_eq(inside.answer, 3); /* the completions of two have been copied by then */
    test_log_is(&logs[0], 1);
    test_log_is(&logs[1], 1);
    test_log_is(&logs[2], -ECANCELED);
    ck_assert_mem_eq(bytes, "ab", 2);
}
END_TEST

/* Goal: the callback of a multishot may detach its own descriptor: it is not armed again, and no byte is missing.
 * Method: as said, with more data coming. */
static void own_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    struct inside *inside = arg;

    inside->calls++;
    if ((result->flags & LOOP_MORE) != 0)
        inside->answer += loop_detach(of, inside->fd);
    else
        ck_assert_int_eq(result->res, -ECANCELED);
}

START_TEST(own_callback)
{
    struct inside inside = {.fd = pair[0]};
    char          bytes[4];

    ck_assert_int_gt(loop_recv_multishot(loop, pair[0], 0, 0, own_cb, &inside, NULL), 0);
    test_turns(loop, 1);
    test_write(pair[1], "ab", 2);
    test_run(loop);
    ck_assert_uint_eq(inside.calls, 2);
    ck_assert_int_eq(inside.answer, 1);
    test_write(pair[1], "cd", 2);
    test_turns(loop, 3);
    ck_assert_int_eq(recv(pair[0], bytes, 4, MSG_DONTWAIT), 2);
    ck_assert_mem_eq(bytes, "cd", 2);
}
END_TEST

/* Goal: a parked receive, which has no buffer, ends. Method: four buffers, all kept; data waits; it stays for others.
 */
static loop_buffer kept[8];
static uint32_t    kept_count, keep_finals;

static void keep_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    (void)arg;
    keep_finals += (result->flags & LOOP_MORE) == 0;
    if (result->buffer != 0) {
        ck_assert_int_eq(loop_buffer_keep(of, result->buffer), 0);
        kept[kept_count++] = result->buffer;
    }
}

START_TEST(parked)
{
    char chunk[64 * 6] = {0}, rest[sizeof(chunk)];

    ck_assert_int_gt(loop_recv_multishot(loop, pair[0], 0, 0, keep_cb, NULL, NULL), 0);
    test_write(pair[1], chunk, sizeof(chunk));
    test_turns(loop, 10);
    ck_assert_uint_eq(kept_count, 4);
    ck_assert_int_eq(loop_detach(loop, pair[0]), 1);
    ck_assert_int_eq(recv(pair[0], rest, sizeof(rest), MSG_DONTWAIT), 128);
    ck_assert_uint_eq(keep_finals, 0);
    for (uint32_t i = 0; i < kept_count; i++)
        loop_buffer_return(loop, kept[i]);
    test_run(loop);
    ck_assert_uint_eq(keep_finals, 1);
}
END_TEST

/* Goal: a receive without a buffer, which asks the kernel what there is, ends at every moment of that, and no byte is
 * lost. Method: as much data as there are buffers, all kept; detach after _i looks at the kernel; the rest is read. */
START_TEST(starved)
{
    char chunk[64 * 4] = {0}, rest[10];

    ck_assert_int_gt(loop_recv_multishot(loop, pair[0], 0, 0, keep_cb, NULL, NULL), 0);
    test_write(pair[1], chunk, sizeof(chunk));
    test_turns(loop, 1 + (uint32_t)_i / 2);
    if (_i % 2 == 1)
        (void)loop_submit(loop);
    ck_assert_int_eq(loop_detach(loop, pair[0]), 1);
    test_write(pair[1], chunk, sizeof(rest));
    ck_assert_int_ge(recv(pair[0], rest, sizeof(rest), MSG_DONTWAIT), (int)sizeof(rest));
    close_at(&pair[0]);
    ck_assert(sees_end(pair[1]));
    test_run(loop);
    ck_assert_uint_eq(keep_finals, 1);
    for (uint32_t i = 0; i < kept_count; i++)
        loop_buffer_return(loop, kept[i]);
}
END_TEST

/* Goal: the buffer of a message that is held while the kernel is asked what it means goes back. Method: an empty
 * datagram without a sender; a post detaches in the turn that has put the question into the SQ (_i: or later). */
static void detach_post_cb(struct loop *of, void *arg)
{
    struct inside *inside = arg;

    inside->answer = loop_detach(of, inside->fd);
}

/* The log takes no messages without bytes. */
static void ends_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    uint32_t *finals = arg;

    (void)of;
    if ((result->flags & LOOP_MORE) != 0)
        return;
    ck_assert_int_eq(result->res, -ECANCELED);
    (*finals)++;
}

START_TEST(held_message)
{
    uint32_t      finals = 0;
    int           fds[2];
    struct inside inside = {.answer = -1};

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
    inside.fd = fds[0];
    ck_assert_int_gt(loop_recvmsg_multishot(loop, fds[0], &(struct msghdr){0}, 0, 0, ends_cb, &finals, NULL), 0);
    test_turns(loop, 1);
    ck_assert_int_eq(send(fds[1], "", 0, 0), 0);
    for (int i = 0; i < _i; i++)
        test_turns(loop, 1);
    ck_assert_int_eq(loop_post(loop, detach_post_cb, &inside), 0);
    test_turns(loop, 1);
    ck_assert_int_eq(inside.answer, 1);
    test_close(fds[0]);
    ck_assert(sees_end(fds[1]));
    test_run(loop);
    ck_assert_uint_eq(finals, 1);
    ck_assert_uint_eq(test_stats(loop).buffers_lent, 0);
    test_close(fds[1]);
}
END_TEST

/* Goal: another loop takes a listener over, and every connection after that. Method: a multishot accept (_i: a plain
 * one), detached; a second loop accepts on the same number. */
START_TEST(listener_taken_over)
{
    struct loop    *second = test_loop_new(NULL);
    struct test_log logs[2] = {0};
    uint16_t        port = 0;
    int             listener = test_tcp_listener(&port, 16), clients[4];

    if (_i == 0)
        ck_assert_int_gt(loop_accept_multishot(loop, listener, 0, test_log_cb, &logs[0], NULL), 0);
    else
        ck_assert_int_gt(loop_accept(loop, listener, NULL, NULL, 0, test_log_cb, &logs[0], NULL), 0);
    test_turns(loop, 2);
    ck_assert_int_eq(loop_detach(loop, listener), 1);
    ck_assert_int_gt(loop_accept_multishot(second, listener, 0, test_log_cb, &logs[1], NULL), 0);
    for (int i = 0; i < 4; i++)
        clients[i] = test_tcp_connect(port);
    while (logs[1].count < 4)
        (void)loop_run(second, LOOP_RUN_ONCE);
    test_run(loop);
    test_log_is(&logs[0], -ECANCELED);
    for (uint32_t i = 0; i < 4; i++) {
        test_close(logs[1].results[i].res);
        test_close(clients[i]);
    }
    ck_assert_int_eq(loop_detach(second, listener), 1);
    test_close(listener);
    test_run(second);
    test_loop_free(second);
}
END_TEST

/* Goal: a connect that hangs ends. Method: a listener whose backlog is full. */
START_TEST(connecting)
{
    enum { FILLERS = 8 };
    struct test_log    log = {0};
    uint16_t           port = 0;
    int                listener = test_tcp_listener(&port, 0), fillers[FILLERS], fd;
    struct sockaddr_in address = test_localhost(port);

    for (int i = 0; i < FILLERS; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)connect(fillers[i], (struct sockaddr *)&address, sizeof(address));
    }
    fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_gt(loop_connect(loop, fd, (struct sockaddr *)&address, sizeof(address), test_log_cb, &log, NULL), 0);
    test_turns(loop, 2);
    ck_assert_uint_eq(log.count, 0);
    ck_assert_int_eq(loop_detach(loop, fd), 1);
    test_close(fd);
    test_run(loop);
    test_log_is(&log, -ECANCELED);
    for (int i = 0; i < FILLERS; i++)
        test_close(fillers[i]);
    test_close(listener);
}
END_TEST

/* Goal: a pipe's writer gets EPIPE, and an eventfd's counter stays. Method: reads of both. */
START_TEST(pipe_and_eventfd)
{
    struct test_log logs[2] = {0};
    uint64_t        numbers[2];
    int             fds[2], event = eventfd(0, EFD_CLOEXEC);

    test_pipe(fds);
    ck_assert_int_gt(loop_read(loop, fds[0], &numbers[0], 8, LOOP_AT_POSITION, test_log_cb, &logs[0], NULL), 0);
    ck_assert_int_gt(loop_read(loop, event, &numbers[1], 8, LOOP_AT_POSITION, test_log_cb, &logs[1], NULL), 0);
    test_turns(loop, 2);
    ck_assert_int_eq(loop_detach(loop, fds[0]), 1);
    ck_assert_int_eq(loop_detach(loop, event), 1);
    test_close(fds[0]);
    ck_assert(sees_end(fds[1]));
    ck_assert_int_eq(eventfd_write(event, 7), 0);
    test_run(loop);
    test_log_is(&logs[0], -ECANCELED);
    test_log_is(&logs[1], -ECANCELED);
    ck_assert_int_eq(read(event, &numbers[1], 8), 8);
    ck_assert_uint_eq(numbers[1], 7);
    test_close(event);
    test_close(fds[1]);
}
END_TEST

/* ---- chains */

/* Goal: a link whose turn has not come ends, and with it what it waits for; hard links too. Method: a recv on another
 * socket, then a send on ours, then a nop; _i: soft or hard, submitted or not. */
START_TEST(chained)
{
    bool            hard = (_i & 1) != 0, submitted = (_i & 2) != 0;
    struct test_log logs[3] = {0};
    int             other[2], count;
    char            got;

    test_socketpair(other);
    test_turns(loop, 1);
    ck_assert_int_eq(loop_chain_begin(loop, 3, hard ? LOOP_CHAIN_HARD : 0), 0);
    ck_assert_int_gt(loop_recv(loop, other[0], &byte, 1, 0, test_log_cb, &logs[0], NULL), 0);
    ck_assert_int_gt(
        loop_send(loop, pair[0], "x", 1, 0, test_log_cb, &logs[1], LOOP_TERMS(.timeout_ns = UINT64_C(60000000000))), 0);
    ck_assert_int_gt(loop_nop(loop, test_log_cb, &logs[2], NULL), 0);
    ck_assert_int_eq(loop_detach(loop, pair[0]), -EBUSY); /* open */
    ck_assert_int_eq(loop_detach(loop, pair[1]), 0);
    ck_assert_int_eq(loop_chain_end(loop), 0);
    test_turns(loop, submitted ? 2 : 0);
    count = loop_detach(loop, pair[0]);
    close_at(&pair[0]);
    test_write(other[1], "y", 1);
    test_run(loop);
    ck_assert_int_eq(count, submitted ? 2 : hard ? 1 : 2);
    ck_assert_int_eq(logs[0].last.res, submitted ? -ECANCELED : 1);
    ck_assert_int_eq(logs[2].last.res, hard ? 0 : -ECANCELED);
    for (int i = 0; i < 3; i++)
        ck_assert_uint_eq(logs[i].finals, 1);
    if (!(hard && submitted)) { /* there it has run, before the call returned */
        ck_assert_int_eq(logs[1].last.res, -ECANCELED);
        ck_assert_int_eq(recv(pair[1], &got, 1, MSG_DONTWAIT), 0);
    }
    ck_assert(sees_end(pair[1]));
    test_close(other[0]);
    test_close(other[1]);
}
END_TEST

/* ---- direct mode, foreign SQEs, slots, objects */

static void direct_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    uint32_t *count = arg;

    (void)of;
    ck_assert_int_eq(result->res, -ECANCELED);
    ck_assert_uint_eq(result->value, 7);
    (*count)++;
}

static void foreign_cb(struct loop *of, uint64_t user_data, int32_t res, uint32_t flags, void *arg)
{
    (void)of;
    (void)arg;
    (void)flags;
    ck_assert_uint_eq(user_data, 40 | LOOP_FOREIGN);
    foreign_count++;
    foreign_res = res;
}

/* Goal: those without a context end as well, each once. Method: direct or foreign receives (_i), before and after they
 * are submitted. */
START_TEST(without_context)
{
    uint32_t            direct = _i % 2 == 0 ? 2 : 0, count = 0;
    int                 handler = loop_handler_register(loop, direct_cb, &count, 0);
    struct io_uring_sqe sqe = {0};

    foreign_count = 0;
    loop_foreign_set(loop, foreign_cb, NULL);
    for (uint32_t i = 0; i < direct; i++)
        ck_assert_int_gt(loop_recv(loop, pair[0], &byte, 1, 0, LOOP_HANDLER(handler), LOOP_VALUE(7), NULL), 0);
    io_uring_prep_recv(&sqe, pair[0], &byte, 1, 0);
    sqe.user_data = 40 | LOOP_FOREIGN;
    if (direct == 0)
        ck_assert_int_eq(loop_foreign_submit(loop, &sqe), 0);
    test_turns(loop, (uint32_t)_i / 2);
    ck_assert_int_eq(loop_detach(loop, pair[0]), 0); /* not counted */
    ck_assert_uint_eq(count + foreign_count, 0);
    close_at(&pair[0]);
    ck_assert(sees_end(pair[1]));
    test_run(loop);
    test_turns(loop, 1);
    ck_assert_uint_eq(count, direct);
    ck_assert_uint_eq(foreign_count, direct == 0);
    ck_assert_int_eq(foreign_res, direct == 0 ? -ECANCELED : 0);
}
END_TEST

/* Goal: without memory for those nothing happens. Method: every allocation fails. */
START_TEST(no_memory)
{
    uint32_t count = 0;
    int      handler = loop_handler_register(loop, direct_cb, &count, 0);

    ck_assert_int_gt(loop_recv(loop, pair[0], &byte, 1, 0, LOOP_HANDLER(handler), LOOP_VALUE(7), NULL), 0);
    test_memory.fail_from = test_memory.calls + 1;
    ck_assert_int_eq(loop_detach(loop, pair[0]), -ENOMEM);
    test_memory.fail_from = 0;
    ck_assert_int_eq(loop_detach(loop, pair[0]), 0);
    test_run(loop);
    ck_assert_uint_eq(count, 1);
}
END_TEST

/* Goal: a slot is a descriptor like any other. Method: a recv on LOOP_FIXED(); the slot stays. */
START_TEST(slot)
{
    struct test_log log = {0};
    int             at;

    ck_assert_int_eq(loop_files_init(loop, &(struct loop_files_options){.own = 8}), 0);
    at = loop_file_register(loop, pair[0]);
    ck_assert_int_ge(at, 0);
    ck_assert_int_gt(loop_recv(loop, at, &byte, 1, 0, test_log_cb, &log, NULL), 0);
    test_turns(loop, (uint32_t)_i);
    ck_assert_int_eq(loop_detach(loop, at), 1);
    test_write(pair[1], "z", 1);
    test_run(loop);
    test_log_is(&log, -ECANCELED);
    ck_assert_int_eq(recv(pair[0], &byte, 1, MSG_DONTWAIT), 1);
    ck_assert_int_eq(loop_file_unregister(loop, at), 0);
}
END_TEST

static void sent_cb(struct loop_transfer *transfer, uint64_t sent, int error)
{
    (void)transfer;
    (void)sent;
    ck_assert_int_eq(error, -ECANCELED);
}

/* Goal: what belongs to an object is refused. Method: a transfer that waits for its source. */
START_TEST(object)
{
    struct loop_transfer transfer = {0};
    int                  fds[2];

    test_pipe(fds);
    ck_assert_int_eq(loop_sendfile(loop, &transfer, pair[0], fds[0], LOOP_AT_POSITION, 10, NULL, sent_cb), 0);
    test_turns(loop, 2);
    ck_assert_int_eq(loop_detach(loop, fds[0]), -EPERM);
    ck_assert_int_eq(loop_detach(loop, pair[0]), 0);
    loop_sendfile_cancel(&transfer);
    test_run(loop);
    test_close(fds[0]);
    test_close(fds[1]);
}
END_TEST

/* Goal: a notification that is still to come holds no file. Method: a zero-copy send over TCP to a peer that does not
 * read; after detach and close the peer gets what was sent, then the end. */
START_TEST(zero_copy)
{
    struct test_log log = {.releases = true};
    uint64_t        got = 0;
    ssize_t         size;
    int             tcp[2];

    test_tcp_pair(tcp);
    ck_assert_int_gt(loop_send_zc(loop, tcp[0], megabyte, sizeof(megabyte), 0, test_log_cb, &log, NULL), 0);
    test_turns(loop, (uint32_t)_i);
    ck_assert_int_ge(loop_detach(loop, tcp[0]), 0);
    test_close(tcp[0]);
    while ((size = read(tcp[1], megabyte, sizeof(megabyte))) > 0)
        got += (uint64_t)size;
    ck_assert_int_eq(size, 0);
    test_run(loop);
    ck_assert_uint_eq(log.finals, 1);
    ck_assert_int_eq(log.last.res, got > 0 ? (int)got : -ECANCELED);
    test_close(tcp[1]);
}
END_TEST

/* Goal: the pieces of a bundle that was not sent are still in their group. Method: detached while it is queued; sent
 * after that. */
START_TEST(bundle)
{
    struct test_log log[2] = {0};
    char            got[8];
    int             group =
        loop_buffer_group_create(loop, &(struct loop_buffer_group_options){.count = 4, .flags = LOOP_GROUP_OUTGOING});

    ck_assert_int_gt(group, 0);
    ck_assert_int_eq(loop_buffer_group_add(loop, (uint16_t)group, "abc", 3), 0);
    if (loop_send_bundle(loop, pair[0], (uint16_t)group, 0, test_log_cb, &log[0], NULL) == -EOPNOTSUPP) {
        test_skip("no bundles on this kernel");
        return;
    }
    ck_assert_int_eq(loop_detach(loop, pair[0]), 1);
    test_run(loop);
    test_log_is(&log[0], -ECANCELED);
    ck_assert_int_gt(loop_send_bundle(loop, pair[0], (uint16_t)group, 0, test_log_cb, &log[1], NULL), 0);
    test_run(loop);
    ck_assert_int_eq(log[1].last.res, 3);
    ck_assert_int_eq(read(pair[1], got, sizeof(got)), 3);
    ck_assert_int_eq(loop_buffer_group_destroy(loop, (uint16_t)group), 0);
}
END_TEST

/* ---- many, modes, random */

/* Goal: a thousand end, also if the CQ has no room for their completions. Method: receives and polls on one socket;
 * _i: a small CQ. */
START_TEST(thousand)
{
    enum { COUNT = 1000 };
    static struct test_log logs[COUNT];
    struct loop           *many =
        test_loop_new(&(struct loop_options){.sq_entries = 64, .cq_entries = _i == 0 ? 4096 : 64, .ops_max = 2000});
    static char bytes[COUNT];

    for (int i = 0; i < COUNT; i++)
        ck_assert_int_gt(i % 2 == 0 ? loop_recv(many, pair[0], &bytes[i], 1, 0, test_log_cb, &logs[i], NULL)
                                    : loop_poll_add(many, pair[0], POLLIN, test_log_cb, &logs[i], NULL),
                         0);
    test_turns(many, 1);
    ck_assert_int_eq(loop_detach(many, pair[0]), COUNT);
    close_at(&pair[0]);
    ck_assert(sees_end(pair[1]));
    test_run(many);
    for (int i = 0; i < COUNT; i++)
        test_log_is(&logs[i], -ECANCELED);
    test_loop_free(many);
}
END_TEST

static void run_mode(uint32_t flags)
{
    struct loop_options options = {.sq_entries = 16, .flags = flags, .allocator = test_allocator()};
    struct test_log     logs[2] = {0};
    struct loop        *other = NULL;
    char                bytes[2];

    if (loop_create(&other, &options) < 0) {
        test_skip("this kernel, or this user, has no such mode");
        return;
    }
    ck_assert_int_gt(loop_recv(other, pair[0], &bytes[0], 1, 0, test_log_cb, &logs[0], NULL), 0);
    ck_assert_int_gt(loop_poll_add_multishot(other, pair[0], POLLIN, 0, test_log_cb, &logs[1], NULL), 0);
    test_turns(other, 2);
    ck_assert_int_eq(loop_detach(other, pair[0]), 2);
    close_at(&pair[0]);
    ck_assert(sees_end(pair[1]));
    test_run(other);
    ck_assert_int_eq(logs[0].last.res, -ECANCELED);
    ck_assert_int_eq(logs[1].last.res, -ECANCELED);
    test_loop_free(other);
}

/* Goal: the same in other modes of the ring. Method: SQPOLL, shared. */
START_TEST(modes)
{
    static const uint32_t flags[] = {LOOP_MODE_SQPOLL, LOOP_MODE_SHARED};

    run_mode(flags[_i]);
}
END_TEST

struct helper {
    struct loop     *shared;
    struct test_log *log;
};

static void *start_elsewhere(void *arg)
{
    const struct helper *helper = arg;

    ck_assert_int_gt(loop_recv(helper->shared, pair[0], &byte, 1, 0, test_log_cb, helper->log, NULL), 0);
    return NULL;
}

/* Goal: what another thread has started and the loop has not seen yet ends too. Method: a thread starts a recv, and
 * ends before the loop runs. */
START_TEST(shared_queue)
{
    struct test_log log = {0};
    struct helper   helper = {test_loop_new(&(struct loop_options){.flags = LOOP_MODE_SHARED}), &log};
    pthread_t       thread;

    test_turns(helper.shared, 1);
    ck_assert_int_eq(pthread_create(&thread, NULL, start_elsewhere, &helper), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    ck_assert_int_eq(loop_detach(helper.shared, pair[0]), 1);
    close_at(&pair[0]);
    ck_assert(sees_end(pair[1]));
    test_run(helper.shared);
    test_log_is(&log, -ECANCELED);
    test_loop_free(helper.shared);
}
END_TEST

/* Goal: reads of a regular file end in some way, and the answer is true. Method: reads with a worker, of a file; -EBUSY
 * may be answered, then it is asked again. */
START_TEST(regular_file)
{
    enum { READS = 32 };
    static struct test_log logs[READS];
    static char            data[READS][65536];
    char                   name[] = "/var/tmp/ringloop-detach-XXXXXX";
    int                    fd = mkstemp(name), answer;

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(unlink(name), 0);
    test_write(fd, megabyte, sizeof(megabyte));
    for (size_t i = 0; i < READS; i++)
        ck_assert_int_gt(
            loop_read(loop, fd, data[i], sizeof(data[i]), 0, test_log_cb, &logs[i], LOOP_TERMS(.flags = LOOP_ASYNC)),
            0);
    (void)loop_submit(loop);
    test_turns(loop, 1);
    for (int tries = 0; (answer = loop_detach(loop, fd)) == -EBUSY && tries < 1000; tries++)
        test_turns(loop, 1);
    ck_assert_int_ge(answer, 0);
    test_close(fd);
    test_run(loop);
    for (size_t i = 0; i < READS; i++) {
        ck_assert_uint_eq(logs[i].finals, 1);
        ck_assert_msg(logs[i].last.res == sizeof(data[i]) || logs[i].last.res == -ECANCELED, "%d", logs[i].last.res);
    }
}
END_TEST

/* Goal: the same on a ring of polled operations, whose waits do not end by time. Method: a direct read of a file. */
START_TEST(polled)
{
    static _Alignas(4096) char block[4096];
    struct loop_options        options = {.flags = LOOP_MODE_IOPOLL, .allocator = test_allocator()};
    char                       name[] = "/var/tmp/ringloop-detach-XXXXXX";
    struct test_log            log = {0};
    struct loop               *other = NULL;
    int                        plain = mkstemp(name), fd = open(name, O_RDWR | O_DIRECT | O_CLOEXEC), answer;

    ck_assert_int_ge(plain, 0);
    ck_assert_int_eq(unlink(name), 0);
    test_write(plain, block, sizeof(block));
    test_close(plain);
    if (fd < 0 || loop_create(&other, &options) < 0) {
        test_skip("no O_DIRECT in /var/tmp, or no polled rings");
        return;
    }
    ck_assert_int_gt(loop_read(other, fd, block, sizeof(block), 0, test_log_cb, &log, NULL), 0);
    if (_i > 0)
        test_turns(other, 1);
    for (int tries = 0; (answer = loop_detach(other, fd)) == -EBUSY && tries < 1000; tries++)
        test_turns(other, 1);
    ck_assert_int_ge(answer, 0);
    test_close(fd);
    test_run(other);
    ck_assert_uint_eq(log.finals, 1);
    test_loop_free(other);
}
END_TEST

/* What a socket of the random test has: how many operations, and how many bytes of its stream have been read. */
enum { SOCKETS = 6, STEPS = 3000, OPS = 4000 };

struct model {
    int             fds[2];
    uint64_t        written, read;
    struct test_log logs[2];
};

struct random_op {
    struct model *model;
    char          byte;
    bool          ended, detached;
};

static struct random_op ops[OPS];
static uint32_t         ops_count, ops_ended;

static void random_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    struct random_op *op = arg;

    (void)of;
    ck_assert(!op->ended);
    ck_assert_msg(result->res == 1 || result->res == -ECANCELED, "res %d", result->res);
    ck_assert(result->res == 1 || op->detached); /* others are not hit */
    op->model->read += result->res == 1;
    op->ended = true;
    ops_ended++;
}

static uint32_t mark_detached(const struct model *model)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < ops_count; i++)
        if (ops[i].model == model && !ops[i].ended && !ops[i].detached) {
            ops[i].detached = true;
            count++;
        }
    return count;
}

/* Reads the rest without the loop: with what the callbacks told and will tell, every byte is there once. */
static void close_model(struct model *model)
{
    int     expected = (int)mark_detached(model);
    char    bytes[256];
    ssize_t size;

    ck_assert_int_eq(detach_patiently(model->fds[0], expected), expected);
    while ((size = recv(model->fds[0], bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
        model->read += (uint64_t)size;
    test_close(model->fds[0]);
    ck_assert(sees_end(model->fds[1]));
    test_close(model->fds[1]);
    for (uint32_t i = 0; i < 100 && model->read != model->written; i++)
        test_turns(loop, 1);
    ck_assert_uint_eq(model->read, model->written);
    test_socketpair(model->fds); /* the same numbers */
    model->written = model->read = 0;
}

static void random_step(struct model *model, uint64_t number)
{
    switch (number % 8) {
    case 0:
    case 1:
    case 2:
        if (ops_count == OPS || test_stats(loop).ops_in_flight > 500)
            return;
        ops[ops_count] = (struct random_op){.model = model};
        ck_assert_int_gt(loop_recv(loop, model->fds[0], &ops[ops_count].byte, 1, 0, random_cb, &ops[ops_count],
                                   LOOP_TERMS(.flags = number / 8 % 8 == 0 ? LOOP_ASYNC : 0)),
                         0);
        ops_count++;
        return;
    case 3:
    case 4:
        test_write(model->fds[1], "x", 1);
        model->written++;
        return;
    case 5: (void)loop_submit(loop); return;
    case 6: test_turns(loop, 1); return;
    case 7:
        if (number / 8 % 4 == 0)
            close_model(model);
        return;
    }
}

/* Goal: in any order of events, what is detached ends, nothing else does, no byte is lost or doubled. Method: receives
 * on a few sockets, writes, turns, detaches with close and reuse of the number, against a model. */
START_TEST(random_order)
{
    uint64_t     state = test_env("TEST_SEED", (uint64_t)_i + 1);
    struct model models[SOCKETS] = {0};

    ops_count = ops_ended = 0;
    for (size_t i = 0; i < SOCKETS; i++)
        test_socketpair(models[i].fds);
    for (int i = 0; i < STEPS; i++) {
        uint64_t number = test_random(&state);

        random_step(&models[number % SOCKETS], number / SOCKETS);
    }
    for (size_t i = 0; i < SOCKETS; i++) {
        close_model(&models[i]);
        test_close(models[i].fds[0]);
        test_close(models[i].fds[1]);
    }
    test_run(loop);
    ck_assert_uint_eq(ops_ended, ops_count);
    ck_assert_uint_eq(test_stats(loop).cqes_stale, 0);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("detach");
    TCase *tests = test_case(suite, "kinds");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, each_kind, 0, 2 * KINDS);
    tcase_add_test(tests, unsent_never_sent);
    tcase_add_test(tests, nothing_there);
    tcase_add_loop_test(tests, others_untouched, 0, 3);
    tcase_add_test(tests, pipe_and_eventfd);
    tcase_add_test(tests, connecting);
    tcase_add_loop_test(tests, chained, 0, 4);
    tests = test_case(suite, "handing_over");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, bytes_go_on, 0, 2);
    tcase_add_test(tests, inside_callback);
    tcase_add_test(tests, own_callback);
    tcase_add_test(tests, parked);
    tcase_add_loop_test(tests, starved, 0, 10);
    tcase_add_loop_test(tests, held_message, 0, 4);
    tcase_add_loop_test(tests, listener_taken_over, 0, 2);
    tests = test_case(suite, "rest");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, without_context, 0, 6);
    tcase_add_test(tests, bundle);
    tcase_add_test(tests, no_memory);
    tcase_add_loop_test(tests, slot, 0, 3);
    tcase_add_test(tests, object);
    tcase_add_loop_test(tests, zero_copy, 0, 3);
    tcase_add_loop_test(tests, thousand, 0, 2);
    tcase_add_loop_test(tests, modes, 0, 2);
    tcase_add_test(tests, shared_queue);
    tcase_add_test(tests, regular_file);
    tcase_add_loop_test(tests, polled, 0, 2);
    tcase_add_loop_test(tests, random_order, 0, 8);
    return suite;
}
