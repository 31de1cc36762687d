/* tests/loop/detach_test.c: taking a descriptor out of the loop: at once, of every kind of operation, losing nothing.
 */
#include "tests/loop/detach_world.h"

#include <liburing.h>
#include <sys/eventfd.h>
#include <sys/uio.h>

/* ---- every kind */

static struct test_log log_of;
static struct iovec    iov = {&byte, 1};
static struct msghdr   message = {.msg_iov = &iov, .msg_iovlen = 1};
static int             pipe_fds[2];

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

Suite *test_suite(void)
{
    Suite *suite = suite_create("detach");
    TCase *tests = test_case(suite, "kinds");

    tcase_add_checked_fixture(tests, setup, pair_teardown);
    tcase_add_loop_test(tests, each_kind, 0, 2 * KINDS);
    tcase_add_test(tests, unsent_never_sent);
    tcase_add_test(tests, nothing_there);
    tcase_add_loop_test(tests, others_untouched, 0, 3);
    tcase_add_test(tests, pipe_and_eventfd);
    tcase_add_test(tests, connecting);
    tcase_add_loop_test(tests, chained, 0, 4);

    tests = test_case(suite, "handing_over");
    tcase_add_checked_fixture(tests, setup, pair_teardown);
    tcase_add_loop_test(tests, bytes_go_on, 0, 2);
    tcase_add_test(tests, inside_callback);
    tcase_add_test(tests, own_callback);
    tcase_add_test(tests, parked);
    tcase_add_loop_test(tests, starved, 0, 10);
    tcase_add_loop_test(tests, held_message, 0, 4);
    tcase_add_loop_test(tests, listener_taken_over, 0, 2);
    return suite;
}
