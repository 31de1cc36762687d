/* tests/loop/multishot_kinds_test.c: multishots that poll and tick; rings that overflow, and the end of the loop, with
 * all kinds. */
#include "tests/loop/multishot_world.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

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

enum { MANY = 12 };

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
    TCase *tcase = test_case(suite, "poll");

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
    tcase_add_loop_test(tcase, overflow_pipes, 0, 3);
    tcase_add_test(tcase, overflow_ticks);

    tcase = test_case(suite, "destroy");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, destroy_all, 0, 3);
    return suite;
}
