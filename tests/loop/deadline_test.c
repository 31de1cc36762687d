/* tests/loop/deadline_test.c: deadlines of operations, kept by the loop's timers (_i = 0) or by the kernel (_i = 1). */
#include "tests/loop/pair_world.h"

#include <fcntl.h>

static const uint32_t flags[2] = {0, LOOP_LINKED_TIMEOUT};
enum { BOTH = 2 };

static void log_is_timed_out(const struct test_log *log, int32_t res)
{
    ck_assert_uint_eq(log->count, 1);
    ck_assert_msg(log->last.res == res, "res is %d, not %d", log->last.res, res);
    ck_assert_msg(log->last.flags & LOOP_TIMED_OUT, "flags are %#x", log->last.flags);
}

/* Goal: a deadline ends the operation with -ETIMEDOUT and the flag, never early. Method: a silent recv; in the second
 * round started when the loop has run before. */
START_TEST(expires)
{
    for (int round = 0; round < 2; round++) {
        struct test_log log = {0};
        char            byte;
        uint64_t        begin = loop_now(loop);

        ck_assert_int_gt(loop_recv(loop, pair[0], &byte, 1, 0, test_log_cb, &log,
                                   LOOP_TERMS(.timeout_ns = 20 * LOOP_MILLISECOND, .flags = flags[_i])),
                         0);
        test_run(loop);
        log_is_timed_out(&log, -ETIMEDOUT);
        ck_assert_uint_ge(test_clock(), begin + 20 * LOOP_MILLISECOND);
    }
    ck_assert_uint_eq(test_stats(loop).deadlines_passed, 2);
    ck_assert_uint_eq(test_stats(loop).cqes_stale, 0);
    if (_i == 0)
        ck_assert_uint_eq(test_stats(loop).cancels, 2);
}
END_TEST

/* Goal: a deadline that is not reached changes nothing. Method: data that is there, data that comes, a nop; times up to
 * the greatest. */
START_TEST(does_not_expire)
{
    static const uint64_t timeouts[] = {3600 * LOOP_SECOND, 10 * 365 * 86400 * LOOP_SECOND, INT64_MAX, UINT64_MAX - 1,
                                        UINT64_MAX};

    for (size_t i = 0; i < TEST_COUNT(timeouts); i++) {
        struct test_log log[3] = {0};
        char            bytes[2];

        test_write(pair[1], "x", 1);
        ck_assert_int_gt(loop_recv(loop, pair[0], &bytes[0], 1, 0, test_log_cb, &log[0],
                                   LOOP_TERMS(.timeout_ns = timeouts[i], .flags = flags[_i])),
                         0);
        ck_assert_int_gt(
            loop_nop(loop, test_log_cb, &log[1], LOOP_TERMS(.timeout_ns = timeouts[i], .flags = flags[_i])), 0);
        test_run(loop);
        ck_assert_int_gt(loop_recv(loop, pair[0], &bytes[1], 1, 0, test_log_cb, &log[2],
                                   LOOP_TERMS(.timeout_ns = timeouts[i], .flags = flags[_i])),
                         0);
        test_turns(loop, 2);
        ck_assert_uint_eq(log[2].count, 0);
        test_write(pair[1], "y", 1);
        test_run(loop);
        test_log_is(&log[0], 1);
        test_log_is(&log[1], 0);
        test_log_is(&log[2], 1);
    }
    ck_assert_uint_eq(test_stats(loop).deadlines_passed, 0);
    ck_assert_uint_eq(test_stats(loop).cancels, 0);
    ck_assert_uint_eq(test_stats(loop).cqes_stale, 0);
}
END_TEST

/* Goal: ended by the user, an operation with a deadline has not timed out. Method: cancel it. */
START_TEST(cancelled_first)
{
    struct test_log log = {0};
    char            byte;
    loop_id         id = loop_recv(loop, pair[0], &byte, 1, 0, test_log_cb, &log,
                                   LOOP_TERMS(.timeout_ns = 3600 * LOOP_SECOND, .flags = flags[_i]));

    test_turns(loop, 1);
    ck_assert_int_eq(loop_cancel(loop, id), 0);
    test_run(loop);
    test_log_is(&log, -ECANCELED);
    ck_assert_uint_eq(test_stats(loop).deadlines_passed, 0);
}
END_TEST

/* Goal: what was done until the deadline is reported, with the flag. Method: a send into a socket nobody reads, and a
 * MSG_WAITALL recv. */
START_TEST(partial_counts)
{
    enum { BYTES = 8 << 20 };
    struct test_log log[2] = {0};
    char           *bytes = calloc(1, BYTES), text[8];
    int             other[2];

    test_socketpair(other);
    test_write(other[1], "abc", 3);
    ck_assert_int_gt(loop_send(loop, pair[0], bytes, BYTES, 0, test_log_cb, &log[0],
                               LOOP_TERMS(.timeout_ns = 20 * LOOP_MILLISECOND, .flags = flags[_i])),
                     0);
    ck_assert_int_gt(loop_recv(loop, other[0], text, sizeof(text), MSG_WAITALL, test_log_cb, &log[1],
                               LOOP_TERMS(.timeout_ns = 20 * LOOP_MILLISECOND, .flags = flags[_i])),
                     0);
    test_run(loop);
    ck_assert_uint_eq(log[0].count, 1);
    ck_assert_int_gt(log[0].last.res, 0);
    ck_assert_int_lt(log[0].last.res, BYTES);
    ck_assert_msg(log[0].last.flags & LOOP_TIMED_OUT, "the flag is missing");
    log_is_timed_out(&log[1], 3);
    free(bytes);
    test_close(other[0]);
    test_close(other[1]);
}
END_TEST

/* Goal: a connect that is not answered times out. Method: a listener whose backlog is full. */
START_TEST(connect_to_a_full_backlog)
{
    uint16_t           port;
    int                listener = test_tcp_listener(&port, 0), fillers[8], fd;
    struct sockaddr_in address = test_localhost(port);
    struct test_log    log = {0};

    for (size_t i = 0; i < TEST_COUNT(fillers); i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)connect(fillers[i], (const struct sockaddr *)&address, sizeof(address));
    }
    test_sleep(10 * LOOP_MILLISECOND);
    fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_gt(loop_connect(loop, fd, (const struct sockaddr *)&address, sizeof(address), test_log_cb, &log,
                                  LOOP_TERMS(.timeout_ns = 50 * LOOP_MILLISECOND, .flags = flags[_i])),
                     0);
    test_run(loop);
    log_is_timed_out(&log, -ETIMEDOUT);
    test_close(fd);
    for (size_t i = 0; i < TEST_COUNT(fillers); i++)
        test_close(fillers[i]);
    test_close(listener);
}
END_TEST

/* Goal: the deadline of a multishot covers the whole subscription. Method: pieces come before it; cut off all the same.
 */
START_TEST(multishot)
{
    struct test_log log = {0};

    ck_assert_int_gt(loop_recv_multishot(loop, pair[0], 0, 0, test_log_cb, &log,
                                         LOOP_TERMS(.timeout_ns = 100 * LOOP_MILLISECOND, .flags = flags[_i])),
                     0);
    test_write(pair[1], "abc", 3);
    test_run(loop);
    ck_assert_uint_eq(log.finals, 1);
    ck_assert_int_eq(log.last.res, -ETIMEDOUT);
    ck_assert_uint_ne(log.last.flags & LOOP_TIMED_OUT, 0);
    ck_assert_uint_le(log.bytes, 3);
    if (log.count == 1)
        test_read(pair[0], (char[3]){0}, 3); /* a very slow machine */
}
END_TEST

/* Goal: of many deadlines none is forgotten. Method: 500 recvs, deadlines descending. */
struct many {
    uint32_t count;
};

static void many_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    struct many *many = arg;

    (void)of;
    ck_assert_int_eq(result->res, -ETIMEDOUT);
    ck_assert_uint_eq(result->flags, LOOP_TIMED_OUT);
    many->count++;
}

START_TEST(many_deadlines)
{
    struct many many = {0};
    char        byte;

    for (uint64_t i = 0; i < 500; i++)
        ck_assert_int_gt(loop_recv(loop, pair[0], &byte, 1, 0, many_cb, &many,
                                   LOOP_TERMS(.timeout_ns = (500 - i) * 20 * LOOP_MICROSECOND + 1, .flags = flags[_i])),
                         0);
    test_run(loop);
    ck_assert_uint_eq(many.count, 500);
    ck_assert_uint_eq(test_stats(loop).deadlines_passed, 500);
}
END_TEST

/* Goal: result and deadline at the same time give one callback with one of both. Method: data written right at the
 * deadline. */
START_TEST(race)
{
    uint32_t received = 0;

    for (int i = 0; i < 100; i++) {
        struct test_log log = {0};
        char            byte;

        ck_assert_int_gt(loop_recv(loop, pair[0], &byte, 1, 0, test_log_cb, &log,
                                   LOOP_TERMS(.timeout_ns = LOOP_MILLISECOND, .flags = flags[_i])),
                         0);
        test_turns(loop, 1);
        test_sleep(LOOP_MILLISECOND - 100 * LOOP_MICROSECOND);
        test_write(pair[1], "x", 1);
        test_run(loop);
        ck_assert_uint_eq(log.count, 1);
        ck_assert_msg(log.last.res == 1 || (log.last.res == -ETIMEDOUT && (log.last.flags & LOOP_TIMED_OUT)),
                      "res %d, flags %#x", log.last.res, log.last.flags);
        if (log.last.res == 1)
            received++;
        else
            test_read(pair[0], &byte, 1); /* it is not lost */
    }
    printf("deadline: %u of 100 won\n", received);
    ck_assert_uint_eq(test_stats(loop).cqes_stale, 0);
}
END_TEST

/* Goal: the successor of an operation does not inherit its deadline. Method: a recv that ends, then one without a
 * deadline in its slot. */
START_TEST(not_inherited)
{
    struct test_log log[2] = {0};
    char            byte;

    test_write(pair[1], "x", 1);
    ck_assert_int_gt(loop_recv(loop, pair[0], &byte, 1, 0, test_log_cb, &log[0],
                               LOOP_TERMS(.timeout_ns = 5 * LOOP_MILLISECOND, .flags = flags[_i])),
                     0);
    test_run_until(loop, &log[0].count, 1);
    ck_assert_int_eq(log[0].last.res, 1);
    ck_assert_int_gt(loop_recv(loop, pair[0], &byte, 1, 0, test_log_cb, &log[1], NULL), 0);
    test_sleep(10 * LOOP_MILLISECOND);
    test_turns(loop, 5);
    ck_assert_uint_eq(log[1].count, 0);
    test_write(pair[1], "y", 1);
    test_run(loop);
    test_log_is(&log[1], 1);
}
END_TEST

/* Keeps its buffers, up to two. */
struct keeper {
    struct test_log log;
    loop_buffer     kept[2];
    uint32_t        count;
};

static void keeper_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    struct keeper *keeper = arg;

    test_log_cb(of, result, &keeper->log);
    if ((result->flags & LOOP_BUFFER) == 0)
        return;
    ck_assert_uint_lt(keeper->count, TEST_COUNT(keeper->kept));
    ck_assert_int_eq(loop_buffer_keep(of, result->buffer), 0);
    keeper->kept[keeper->count++] = result->buffer;
}

/* Goal: the deadline of a multishot outlives its re-arming, and the wait for a buffer. Method: a group of one buffer,
 * which is kept; more data, so that the multishot waits for it; returned once (_i / 2 = 1) or never. No data after
 * that: without its deadline it would never end. */
START_TEST(multishot_armed_again)
{
    struct loop  *small = test_loop_new(&(struct loop_options){.buffer_count = 1, .buffer_size = 64});
    struct keeper keeper = {0};
    uint64_t      begin = test_clock();

    ck_assert_int_gt(loop_recv_multishot(small, pair[0], 0, 0, keeper_cb, &keeper,
                                         LOOP_TERMS(.timeout_ns = 100 * LOOP_MILLISECOND, .flags = flags[_i % 2])),
                     0);
    test_write(pair[1], "a", 1);
    test_run_until(small, &keeper.log.count, 1);
    test_write(pair[1], "b", 1);
    test_turns(small, 3);
    if (_i / 2 == 1 && keeper.count > 0) {
        ck_assert_int_eq(loop_buffer_return(small, keeper.kept[--keeper.count]), 0);
        test_run_until(small, &keeper.log.count, 2);
    }
    test_run(small);
    ck_assert_uint_ge(test_clock(), begin + 100 * LOOP_MILLISECOND);
    ck_assert_uint_eq(keeper.log.finals, 1);
    ck_assert_int_eq(keeper.log.last.res, -ETIMEDOUT);
    ck_assert_uint_eq(keeper.log.last.flags, LOOP_TIMED_OUT);
    while (keeper.count > 0)
        ck_assert_int_eq(loop_buffer_return(small, keeper.kept[--keeper.count]), 0);
    test_loop_free(small);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("deadline");
    TCase *tcase = test_case(suite, "deadline");

    tcase_add_checked_fixture(tcase, pair_setup, pair_teardown);
    tcase_add_loop_test(tcase, expires, 0, BOTH);
    tcase_add_loop_test(tcase, does_not_expire, 0, BOTH);
    tcase_add_loop_test(tcase, cancelled_first, 0, BOTH);
    tcase_add_loop_test(tcase, partial_counts, 0, BOTH);
    tcase_add_loop_test(tcase, connect_to_a_full_backlog, 0, BOTH);
    tcase_add_loop_test(tcase, multishot, 0, BOTH);
    tcase_add_loop_test(tcase, multishot_armed_again, 0, 2 * BOTH);
    tcase_add_loop_test(tcase, many_deadlines, 0, BOTH);
    tcase_add_loop_test(tcase, race, 0, BOTH);
    tcase_add_loop_test(tcase, not_inherited, 0, BOTH);
    return suite;
}
