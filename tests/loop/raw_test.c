/* tests/loop/raw_test.c: SQEs filled in by the user: raw (the loop's callback) and foreign (user_data of its own). */
#include "tests/loop/pair_world.h"

#include <liburing.h>
#include <poll.h>

static void setup(void)
{
    pair_open(&(struct loop_options){.sq_entries = 16});
}

static struct io_uring_sqe sqe_nop(void)
{
    struct io_uring_sqe sqe;

    memset(&sqe, 0, sizeof(sqe));
    io_uring_prep_nop(&sqe);
    return sqe;
}

/* Goal: a raw SQE is copied, but for its user_data, and calls back as any operation. Method: write and read;
 * overwritten after the call. */
START_TEST(raw)
{
    struct test_log     log[2] = {0};
    struct io_uring_sqe sqe = sqe_nop();
    char                text[8] = "";
    loop_id             id;

    log[0].extra_size = 4;
    io_uring_prep_write(&sqe, pair[0], "hello", 5, 0);
    sqe.user_data = 0xdeadbeef;
    id = loop_raw(loop, &sqe, test_log_cb, &log[0], LOOP_TERMS(.data = "raw", .data_size = 4));
    ck_assert_int_gt(id, 0);
    memset(&sqe, 0xff, sizeof(sqe));
    test_run(loop);
    test_log_is(&log[0], 5);
    ck_assert_str_eq(log[0].extra, "raw");
    ck_assert_int_eq(log[0].last.id, id);
    sqe = sqe_nop();
    io_uring_prep_read(&sqe, pair[1], text, sizeof(text), 0);
    ck_assert_int_gt(loop_raw(loop, &sqe, test_log_cb, &log[1], NULL), 0);
    test_run(loop);
    test_log_is(&log[1], 5);
    ck_assert_str_eq(text, "hello");
    ck_assert_uint_eq(test_stats(loop).foreign_cqes, 0);
}
END_TEST

/* Goal: a raw multishot comes with LOOP_MORE and ends once. Method: a poll multishot, cancelled. */
START_TEST(raw_multishot)
{
    struct test_log     log = {0};
    struct io_uring_sqe sqe = sqe_nop();
    loop_id             id;
    char                byte;

    io_uring_prep_poll_multishot(&sqe, pair[0], POLLIN);
    id = loop_raw(loop, &sqe, test_log_cb, &log, NULL);
    ck_assert_int_gt(id, 0);
    for (uint32_t i = 1; i <= 3; i++) {
        test_write(pair[1], "x", 1);
        test_run_until(loop, &log.count, i);
        ck_assert_int_ne(log.last.res & POLLIN, 0);
        ck_assert_uint_ne(log.last.flags & LOOP_MORE, 0);
        test_read(pair[0], &byte, 1);
    }
    ck_assert_int_eq(loop_cancel(loop, id), 0);
    test_run(loop);
    ck_assert_uint_eq(log.finals, 1);
    ck_assert_int_eq(log.last.res, -ECANCELED);
}
END_TEST

/* Goal: a raw operation takes deadlines and chains as others do. */
START_TEST(raw_terms)
{
    struct test_log     log[3] = {0};
    struct io_uring_sqe sqe = sqe_nop();
    char                byte;

    io_uring_prep_read(&sqe, pair[0], &byte, 1, 0);
    ck_assert_int_gt(loop_raw(loop, &sqe, test_log_cb, &log[0], LOOP_TERMS(.timeout_ns = 5 * LOOP_MILLISECOND)), 0);
    test_run(loop);
    ck_assert_int_eq(log[0].last.res, -ETIMEDOUT);
    ck_assert_uint_eq(log[0].last.flags, LOOP_TIMED_OUT);

    ck_assert_int_eq(loop_chain_begin(loop, 2, 0), 0);
    io_uring_prep_read(&sqe, 3999, &byte, 1, 0);
    ck_assert_int_gt(loop_raw(loop, &sqe, test_log_cb, &log[1], NULL), 0);
    sqe = sqe_nop();
    ck_assert_int_gt(loop_raw(loop, &sqe, test_log_cb, &log[2], NULL), 0);
    ck_assert_int_eq(loop_chain_end(loop), 0);
    test_run(loop);
    test_log_is(&log[1], -EBADF);
    test_log_is(&log[2], -ECANCELED);
}
END_TEST

struct foreign {
    uint64_t user_data[128];
    int32_t  res[128];
    uint32_t flags[128];
    uint32_t count;
};

static void foreign_cb(struct loop *of, uint64_t user_data, int32_t res, uint32_t flags, void *arg)
{
    struct foreign *foreign = arg;

    (void)of;
    ck_assert_uint_lt(foreign->count, TEST_COUNT(foreign->res));
    foreign->user_data[foreign->count] = user_data;
    foreign->res[foreign->count] = res;
    foreign->flags[foreign->count++] = flags;
}

/* Goal: foreign completions come with their own user_data, result and flags. Method: any values with the two bits set;
 * a failing one. */
START_TEST(foreign_results)
{
    static const uint64_t values[] = {3, 7, 0x123456789abcdeff, UINT64_MAX};
    struct foreign        foreign = {0};
    struct io_uring_sqe   sqe = sqe_nop();
    char                  byte;

    loop_foreign_set(loop, foreign_cb, &foreign);
    for (size_t i = 0; i < TEST_COUNT(values); i++) {
        sqe.user_data = values[i];
        ck_assert_int_eq(loop_foreign_submit(loop, &sqe), 0);
    }
    io_uring_prep_read(&sqe, 3999, &byte, 1, 0);
    sqe.user_data = 11;
    ck_assert_int_eq(loop_foreign_submit(loop, &sqe), 0);
    memset(&sqe, 0xff, sizeof(sqe)); /* it was copied */
    ck_assert_uint_eq(foreign.count, 0);
    ck_assert(!loop_alive(loop));
    while (foreign.count < TEST_COUNT(values) + 1)
        test_turns(loop, 1);
    ck_assert_uint_eq(foreign.count, TEST_COUNT(values) + 1);
    for (uint32_t i = 0, next = 0; i < foreign.count; i++) { /* old kernels tell failures first */
        if (foreign.user_data[i] == 11) {
            ck_assert_int_eq(foreign.res[i], -EBADF);
            continue;
        }
        ck_assert_uint_lt(next, TEST_COUNT(values));
        ck_assert_uint_eq(foreign.user_data[i], values[next++]);
        ck_assert_int_eq(foreign.res[i], 0);
    }
    ck_assert_uint_eq(test_stats(loop).foreign_cqes, TEST_COUNT(values) + 1);
    ck_assert_uint_eq(test_stats(loop).cqes_unclaimed, 0);
    ck_assert_uint_eq(test_stats(loop).ops_started, 0);
}
END_TEST

/* Goal: bad foreign SQEs are refused; unclaimed completions are counted. */
START_TEST(foreign_misuse)
{
    struct foreign      foreign = {0};
    struct io_uring_sqe sqe = sqe_nop();

    loop_foreign_set(loop, foreign_cb, &foreign);
    for (uint64_t low = 0; low < 3; low++) {
        sqe.user_data = 0x1000 | low;
        ck_assert_int_eq(loop_foreign_submit(loop, &sqe), -EINVAL);
    }
    ck_assert_int_eq(loop_foreign_submit(loop, NULL), -EINVAL);
    loop_foreign_set(loop, NULL, NULL);
    sqe.user_data = 3;
    ck_assert_int_eq(loop_foreign_submit(loop, &sqe), 0);
    while (test_stats(loop).cqes_unclaimed == 0)
        test_turns(loop, 1);
    ck_assert_uint_eq(test_stats(loop).cqes_unclaimed, 1);
    ck_assert_uint_eq(foreign.count, 0);
}
END_TEST

/* Goal: more foreign SQEs than the SQ holds all go, in order. Method: 100 nops through 16 entries. */
START_TEST(foreign_many)
{
    struct foreign      foreign = {0};
    struct io_uring_sqe sqe = sqe_nop();

    loop_foreign_set(loop, foreign_cb, &foreign);
    for (uint64_t i = 0; i < 100; i++) {
        sqe.user_data = i << 2 | LOOP_FOREIGN;
        ck_assert_int_eq(loop_foreign_submit(loop, &sqe), 0);
    }
    while (foreign.count < 100)
        test_turns(loop, 1);
    for (uint64_t i = 0; i < 100; i++)
        ck_assert_uint_eq(foreign.user_data[i], i << 2 | LOOP_FOREIGN);
}
END_TEST

/* Goal: a pending foreign operation holds up neither the loop's end nor its destruction. Method: a poll that never
 * comes. */
START_TEST(foreign_pending)
{
    struct foreign      foreign = {0};
    struct io_uring_sqe sqe = sqe_nop();

    loop_foreign_set(loop, foreign_cb, &foreign);
    io_uring_prep_poll_add(&sqe, pair[0], POLLIN);
    sqe.user_data = 7;
    ck_assert_int_eq(loop_foreign_submit(loop, &sqe), 0);
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_DEFAULT), 0);
    test_turns(loop, 2);
    ck_assert_uint_eq(foreign.count, 0);
    test_loop_drop(loop);
    loop = test_loop_new(NULL);
}
END_TEST

/* Goal: flags that would make an operation never end, or take the loop's buffers, are refused, and nothing is left
 * behind. Method: each alone, raw and foreign, while a recv is pending; a group of the user's own is not refused. */
START_TEST(refused_flags)
{
    static const struct {
        uint8_t  flags;
        uint16_t group;
        bool     foreign_too;
    } table[] = {
        {IOSQE_CQE_SKIP_SUCCESS, 0, false},
        {IOSQE_IO_DRAIN, 0, true},
        {IOSQE_IO_LINK, 0, true},
        {IOSQE_IO_HARDLINK, 0, true},
        {IOSQE_BUFFER_SELECT, LOOP_GROUP_DEFAULT, true},
        {IOSQE_BUFFER_SELECT, 1, true},
        {IOSQE_BUFFER_SELECT, LOOP_GROUPS_OWN - 1, true},
    };
    struct test_log log[2] = {0};
    char            byte;
    loop_id         id = loop_recv(loop, pair[0], &byte, 1, 0, test_log_cb, &log[0], NULL);

    test_turns(loop, 1);
    for (size_t i = 0; i < TEST_COUNT(table); i++) {
        struct io_uring_sqe sqe = sqe_nop();

        sqe.flags = table[i].flags;
        sqe.buf_group = table[i].group;
        sqe.user_data = LOOP_FOREIGN;
        ck_assert_msg(loop_raw(loop, &sqe, test_log_cb, &log[1], NULL) == -EINVAL, "raw, case %zu", i);
        if (table[i].foreign_too)
            ck_assert_msg(loop_foreign_submit(loop, &sqe) == -EINVAL, "foreign, case %zu", i);
    }
    ck_assert_uint_eq(test_stats(loop).ops_in_flight, 1);
    ck_assert_int_eq(loop_cancel(loop, id), 0);
    test_run(loop);
    test_log_is(&log[0], -ECANCELED);

    struct io_uring_sqe sqe = sqe_nop();

    io_uring_prep_recv(&sqe, pair[0], NULL, 1, 0);
    sqe.flags = IOSQE_BUFFER_SELECT;
    sqe.buf_group = LOOP_GROUPS_OWN;
    test_write(pair[1], "x", 1);
    ck_assert_int_gt(loop_raw(loop, &sqe, test_log_cb, &log[1], NULL), 0);
    test_run(loop);
    test_log_is(&log[1], -ENOBUFS); /* nobody has made it */
}
END_TEST

static void ended_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    (void)of;
    if ((result->flags & LOOP_MORE) == 0)
        ++*(uint32_t *)arg;
}

static void stop_timer(struct loop_timer *timer)
{
    loop_stop(timer->data);
}

/* Goal: a cancel that the kernel cannot find is asked for again, but not in a busy loop. Method: a zero-copy send whose
 * notification waits for the peer to read; counts cancels and turns for a while; then the peer reads. */
START_TEST(cancel_that_misses)
{
    enum { BYTES = 8 << 20, MOST = 40 };
    struct io_uring_sqe sqe = sqe_nop();
    struct loop_timer   timer = {.data = loop};
    struct loop_stats   before, after;
    char               *bytes;
    uint32_t            ended = 0;
    int                 tcp[2];
    loop_id             id;

    if (!test_has_opcode(loop, IORING_OP_SEND_ZC)) {
        test_skip("cancel_that_misses: the kernel lacks IORING_OP_SEND_ZC");
        return;
    }
    bytes = calloc(1, BYTES);
    ck_assert_ptr_nonnull(bytes);
    test_tcp_pair(tcp);
    io_uring_prep_send_zc(&sqe, tcp[0], bytes, BYTES, MSG_NOSIGNAL, 0);
    id = loop_raw(loop, &sqe, ended_cb, &ended, NULL);
    ck_assert_int_gt(id, 0);
    ck_assert_int_eq(loop_timer_start(loop, &timer, 10 * LOOP_MILLISECOND, 0, stop_timer), 0);
    (void)loop_run(loop, LOOP_RUN_DEFAULT);
    ck_assert_uint_eq(ended, 0);
    before = test_stats(loop);
    ck_assert_int_eq(loop_cancel(loop, id), 0);
    ck_assert_int_eq(loop_timer_start(loop, &timer, 200 * LOOP_MILLISECOND, 0, stop_timer), 0);
    (void)loop_run(loop, LOOP_RUN_DEFAULT);
    after = test_stats(loop);
    ck_assert_uint_ge(after.cancels, before.cancels + 1);
    ck_assert_uint_le(after.cancels, before.cancels + MOST);
    ck_assert_uint_le(after.turns, before.turns + 2 * MOST);
    loop_timer_stop(&timer);
    while (ended == 0) {
        char rest[65536];

        (void)recv(tcp[1], rest, sizeof(rest), MSG_DONTWAIT);
        test_turns(loop, 1);
    }
    test_run(loop);
    ck_assert_uint_eq(ended, 1);
    test_close(tcp[0]);
    test_close(tcp[1]);
    free(bytes);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("raw");
    TCase *tcase = test_case(suite, "raw");

    tcase_add_checked_fixture(tcase, setup, pair_teardown);
    tcase_add_test(tcase, raw);
    tcase_add_test(tcase, raw_multishot);
    tcase_add_test(tcase, raw_terms);
    tcase_add_test(tcase, foreign_results);
    tcase_add_test(tcase, foreign_misuse);
    tcase_add_test(tcase, foreign_many);
    tcase_add_test(tcase, foreign_pending);
    tcase_add_test(tcase, refused_flags);
    tcase_add_test(tcase, cancel_that_misses);
    return suite;
}
