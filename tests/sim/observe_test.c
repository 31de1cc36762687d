/* tests/sim/observe_test.c: what goes wrong in a ring is counted and told to the error hook; time spent waiting is
 * exact.
 */
#include "tests/sim/script_ring.h"
#include "tests/support/test.h"

enum { ERRORS_MAX = 64 };

static struct loop *loop;
static char         buffer[64];

static struct {
    struct loop_error errors[ERRORS_MAX];
    uint32_t          count;
    bool              forbidden; /* inside a call that must not call back */
} seen;

static void hook(struct loop *of, const struct loop_error *error, void *arg)
{
    ck_assert_ptr_eq(of, loop);
    ck_assert_ptr_eq(arg, &seen);
    ck_assert(!seen.forbidden);
    ck_assert_uint_lt(seen.count, ERRORS_MAX);
    ck_assert_uint_ge(error->count, 1);
    ck_assert_str_ne(loop_error_text(error->event), "unknown");
    seen.errors[seen.count++] = *error;
}

static void setup(void)
{
    script_reset();
    memset(&seen, 0, sizeof(seen));
    loop =
        test_loop_new(&(struct loop_options){.sq_entries = 8, .cq_entries = 8, .buffer_size = 64, .buffer_count = 4});
    test_turns(loop, 1);
    loop_error_hook_set(loop, hook, &seen);
}

static void teardown(void)
{
    test_loop_free(loop);
    ck_assert_uint_eq(script.rings_open, 0);
}

static loop_id start_recv(loop_cb *cb, void *arg)
{
    loop_id id = loop_recv(loop, 5, buffer, sizeof(buffer), 0, cb, arg, NULL);

    ck_assert_int_gt(id, 0);
    return id;
}

/* Goal: every enter that fails is counted and told once, with its errno; ends of waits are not. Method: each error
 * before the work, twice, seen by a start that submits: so the hook must not come at once. */
START_TEST(enter_errors)
{
    static const int errors[] = {-EAGAIN, -EBUSY, -ENOMEM, -EINTR, -ETIME};
    bool             told = _i < 3;
    struct test_log  log[8] = {0};

    for (int i = 0; i < 2; i++)
        script_plan((struct script_enter){.result = errors[_i]});
    seen.forbidden = true;
    for (size_t i = 0; i < TEST_COUNT(log); i++)
        ck_assert_int_gt(loop_nop(loop, test_log_cb, &log[i], NULL), 0); /* the last submits: the SQ is full */
    (void)loop_submit(loop);
    seen.forbidden = false;
    ck_assert_uint_eq(seen.count, 0);
    ck_assert_uint_eq(script.plan_count, 0);
    test_run(loop);
    for (size_t i = 0; i < TEST_COUNT(log); i++)
        test_log_is(&log[i], 0);
    ck_assert_uint_eq(test_stats(loop).enters_failed, told ? 2 : 0);
    ck_assert_uint_eq(seen.count, told ? 1 : 0);
    if (told) {
        ck_assert_int_eq(seen.errors[0].event, LOOP_ERROR_ENTER);
        ck_assert_int_eq(seen.errors[0].error, errors[_i]);
        ck_assert_uint_eq(seen.errors[0].count, 2);
        ck_assert_uint_eq(seen.errors[0].value, 8);
    }
}
END_TEST

/* Goal: an overflown CQ is told. Method: 20 completions into a CQ of 8. */
START_TEST(overflow)
{
    static struct test_log logs[20];

    for (size_t i = 0; i < TEST_COUNT(logs); i++)
        start_recv(test_log_cb, &logs[i]);
    test_turns(loop, 1);
    while (script_find(IORING_OP_RECV, 0) != NULL)
        script_complete(script_find(IORING_OP_RECV, 0), 1, 0);
    ck_assert_uint_eq(script_overflown(), TEST_COUNT(logs) - 8);
    test_turns(loop, 10);
    ck_assert_uint_ge(seen.count, 1);
    for (uint32_t i = 0; i < seen.count; i++)
        ck_assert_int_eq(seen.errors[i].event, LOOP_ERROR_OVERFLOW);
    ck_assert_uint_eq(seen.errors[seen.count - 1].value, test_stats(loop).cq_overflows);
    for (size_t i = 0; i < TEST_COUNT(logs); i++)
        test_log_is(&logs[i], 1);
}
END_TEST

/* Goal: completions of nobody are told apart: of the past, of a foreign owner that is not there. */
START_TEST(stale_and_unclaimed)
{
    struct test_log log = {0};
    loop_id         id = start_recv(test_log_cb, &log);

    test_turns(loop, 1);
    script_complete(script_find(IORING_OP_RECV, 0), 3, 0);
    test_turns(loop, 1);
    test_log_is(&log, 3);
    script_cqe((uint64_t)id, -EIO, 0);
    script_cqe((uint64_t)id, -EIO, 0);
    script_cqe(UINT64_C(0x1230000000000) | LOOP_FOREIGN, -EPIPE, 0);
    test_turns(loop, 2);
    ck_assert_uint_eq(seen.count, 2);
    ck_assert_int_eq(seen.errors[0].event, LOOP_ERROR_STALE);
    ck_assert_int_eq(seen.errors[0].id, id);
    ck_assert_int_eq((int64_t)seen.errors[0].value, -EIO);
    ck_assert_uint_eq(seen.errors[0].count, 2);
    ck_assert_int_eq(seen.errors[1].event, LOOP_ERROR_UNCLAIMED);
    ck_assert_uint_eq(seen.errors[1].value, UINT64_C(0x1230000000000) | LOOP_FOREIGN);
    ck_assert_int_eq(seen.errors[1].error, -EPIPE);
    ck_assert_uint_eq(test_stats(loop).cqes_stale, 2);
    ck_assert_uint_eq(test_stats(loop).cqes_unclaimed, 1);
}
END_TEST

/* Goal: an operation without a callback that fails is told with id and opcode; one that is cancelled, too. */
START_TEST(silent)
{
    loop_id first = start_recv(NULL, NULL), second = start_recv(NULL, NULL);

    test_turns(loop, 1);
    script_complete(script_find(IORING_OP_RECV, 0), -ECONNRESET, 0);
    ck_assert_int_eq(loop_cancel(loop, second), 0);
    test_turns(loop, 3);
    ck_assert_uint_eq(seen.count, 2);
    ck_assert_int_eq(seen.errors[0].event, LOOP_ERROR_SILENT);
    ck_assert_int_eq(seen.errors[0].error, -ECONNRESET);
    ck_assert_int_eq(seen.errors[0].id, first);
    ck_assert_uint_eq(seen.errors[0].opcode, IORING_OP_RECV);
    ck_assert_int_eq(seen.errors[1].error, -ECANCELED);
    ck_assert_int_eq(seen.errors[1].id, second);
    ck_assert_uint_eq(test_stats(loop).silent_errors, 2);
}
END_TEST

/* Goal: an operation that the kernel does not end is told once while it is asked again and again. Method: all cancels
 * miss, for two seconds of the clock. */
START_TEST(cancel_misses)
{
    struct test_log log = {0};
    loop_id         id = start_recv(test_log_cb, &log);
    uint32_t        asked = 0;

    script.manual = true;
    test_turns(loop, 1);
    ck_assert_int_eq(loop_cancel(loop, id), 0);
    for (int i = 0; i < 200; i++) {
        struct io_uring_sqe *sqe = script_find(IORING_OP_ASYNC_CANCEL, 0);

        if (sqe != NULL) {
            script_complete(sqe, -EALREADY, 0);
            asked++;
        }
        script.now_ns += 10 * LOOP_MILLISECOND;
        test_turns(loop, 1);
    }
    ck_assert_uint_ge(asked, 10);
    ck_assert_uint_eq(seen.count, 1);
    ck_assert_int_eq(seen.errors[0].event, LOOP_ERROR_CANCEL);
    ck_assert_int_eq(seen.errors[0].id, id);
    ck_assert_uint_eq(seen.errors[0].opcode, IORING_OP_RECV);
    ck_assert_uint_eq(seen.errors[0].value, 64 * LOOP_MILLISECOND);
    script_complete(script_find(IORING_OP_RECV, 0), -ECANCELED, 0);
    script.manual = false;
    test_turns(loop, 2);
    test_log_is(&log, -ECANCELED);
}
END_TEST

/* Goal: a multishot for whose next arming there is no memory is told, before its final callback. Method: the SQ is full
 * and not taken, the queue behind it can't grow. */
START_TEST(rearm_without_memory)
{
    static struct test_log logs[8];
    struct test_log        log = {0};
    loop_id                id = loop_accept_multishot(loop, 7, 0, test_log_cb, &log, NULL);

    ck_assert_int_gt(id, 0);
    test_turns(loop, 1);
    for (int i = 0; i < 6; i++)
        script_plan((struct script_enter){.result = -EBUSY});
    for (size_t i = 0; i < TEST_COUNT(logs); i++)
        ck_assert_int_gt(loop_nop(loop, test_log_cb, &logs[i], NULL), 0);
    script_complete(script_find(IORING_OP_ACCEPT, 0), 1000, 0);
    test_memory.fail_from = test_memory.calls + 1;
    test_turns(loop, 1);
    test_memory.fail_from = 0;
    script.plan_count = 0;
    test_turns(loop, 3);
    for (uint32_t i = 0; i < seen.count; i++)
        if (seen.errors[i].event == LOOP_ERROR_REARM) {
            ck_assert_int_eq(seen.errors[i].id, id);
            ck_assert_uint_eq(seen.errors[i].opcode, IORING_OP_ACCEPT);
            ck_assert_int_eq(seen.errors[i].error, -ENOMEM);
            ck_assert_uint_eq(log.finals, 1);
            ck_assert_int_eq(log.last.res, -ENOMEM);
            for (size_t n = 0; n < TEST_COUNT(logs); n++)
                test_log_is(&logs[n], 0);
            return;
        }
    ck_abort_msg("not told; %u other events", seen.count);
}
END_TEST

/* Goal: events beyond what is kept are counted; after the hook is taken away nobody is told, and counters go on. */
START_TEST(too_many)
{
    test_loop_free(loop);
    loop = test_loop_new(&(struct loop_options){.sq_entries = 8, .cq_entries = 64});
    loop_error_hook_set(loop, hook, &seen);
    test_turns(loop, 1);
    for (uint64_t i = 0; i < 20; i++) {
        script_cqe(i << 8 | LOOP_FOREIGN, 0, 0);
        script_cqe(UINT64_C(1) << 40 | i << 31 | 1, 0, 0);
    }
    test_turns(loop, 2);
    ck_assert_uint_eq(seen.count, 16);
    ck_assert_uint_eq(test_stats(loop).errors_untold, 24);
    ck_assert_uint_eq(test_stats(loop).cqes_stale, 20);
    ck_assert_uint_eq(test_stats(loop).cqes_unclaimed, 20);

    seen.count = 0;
    script_cqe(LOOP_FOREIGN, 0, 0);
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_NOWAIT), 0);
    loop_error_hook_set(loop, NULL, NULL);
    script_cqe(LOOP_FOREIGN, 0, 0);
    test_turns(loop, 3);
    ck_assert_uint_eq(seen.count, 1);
    ck_assert_uint_eq(test_stats(loop).cqes_unclaimed, 22);
}
END_TEST

/* Goal: the hook may do what callbacks may: start operations, replace itself, stop. */
static void replacing_hook(struct loop *of, const struct loop_error *error, void *arg)
{
    (void)error;
    ck_assert_int_gt(loop_nop(of, test_log_cb, arg, NULL), 0);
    loop_error_hook_set(of, NULL, NULL);
    loop_stop(of);
}

START_TEST(hook_may_do_anything)
{
    struct test_log log = {0};

    loop_error_hook_set(loop, replacing_hook, &log);
    script_cqe(LOOP_FOREIGN, 0, 0);
    script_cqe(LOOP_FOREIGN | 1 << 8, 0, 0);
    test_turns(loop, 3);
    test_log_is(&log, 0);
}
END_TEST

/* Goal: an event of the loop's last moments is told by loop_destroy(). */
static void complete_twice(void *arg)
{
    uint64_t user_data = script_find(IORING_OP_RECV, 0)->user_data;

    (void)arg;
    script.on_wait = NULL;
    script_cqe(LOOP_FOREIGN, 0, 0);
    script_complete(script_find(IORING_OP_RECV, 0), -ECANCELED, 0);
    script_cqe(user_data, 0, 0);
}

START_TEST(told_when_destroyed)
{
    struct test_log log = {0};

    start_recv(test_log_cb, &log);
    script.manual = true;
    test_turns(loop, 1);
    script.on_wait = complete_twice;
    test_loop_drop(loop);
    test_log_is(&log, -ECANCELED);
    ck_assert_uint_eq(seen.count, 2);
    ck_assert_int_eq(seen.errors[0].event, LOOP_ERROR_UNCLAIMED);
    ck_assert_int_eq(seen.errors[1].event, LOOP_ERROR_STALE);
    script_reset();
    loop = test_loop_new(NULL); /* for the fixture */
}
END_TEST

/* Goal: the kernel's own counters of what was lost are shown. */
START_TEST(kernel_counters)
{
    ck_assert_uint_eq(test_stats(loop).cqes_lost, 0);
    ck_assert_uint_eq(test_stats(loop).sqes_dropped, 0);
    script_count_losses(5, 7);
    ck_assert_uint_eq(test_stats(loop).cqes_lost, 5);
    ck_assert_uint_eq(test_stats(loop).sqes_dropped, 7);
}
END_TEST

/* Goal: the time of waits is measured exactly, and only where it was asked for. Method: timers; the clock stands still
 * but in waits, which take until their timeout; callbacks move it, too. */
static void busy(struct loop_timer *timer)
{
    (void)timer;
    script.now_ns += 3 * LOOP_MILLISECOND;
}

START_TEST(idle_time)
{
    struct loop_timer timer = {0};

    ck_assert_int_eq(loop_timer_start(loop, &timer, 50 * LOOP_MILLISECOND, 0, busy), 0);
    test_run(loop);
    ck_assert_uint_eq(loop_idle_ns(loop), 0);
    loop_idle_measure(loop, true);
    for (int i = 0; i < 4; i++) {
        uint64_t before_ns = loop_idle_ns(loop), now_ns = script.now_ns;

        ck_assert_int_eq(loop_timer_start(loop, &timer, 50 * LOOP_MILLISECOND, 0, busy), 0);
        test_run(loop);
        ck_assert_uint_eq(script.now_ns - now_ns - 3 * LOOP_MILLISECOND, loop_idle_ns(loop) - before_ns);
        ck_assert_uint_ge(loop_idle_ns(loop) - before_ns, 50 * LOOP_MILLISECOND);
    }
    ck_assert_uint_eq(test_stats(loop).idle_ns, loop_idle_ns(loop));
    loop_idle_measure(loop, false);
    ck_assert_int_eq(loop_timer_start(loop, &timer, 50 * LOOP_MILLISECOND, 0, busy), 0);
    test_run(loop);
    ck_assert_uint_eq(test_stats(loop).idle_ns, loop_idle_ns(loop));
    ck_assert_uint_lt(loop_idle_ns(loop), 5 * 50 * LOOP_MILLISECOND);
}
END_TEST

/* Goal: a trace names stale completions, and lines that are too long do not overflow. */
static char last_line[512];

static void note_line(struct loop *of, const char *line, size_t size, void *arg)
{
    (void)of;
    (void)arg;
    ck_assert_uint_eq(strlen(line), size);
    ck_assert_uint_lt(size, sizeof(last_line));
    memcpy(last_line, line, size + 1);
}

START_TEST(trace_of_anything)
{
    struct io_uring_sqe sqe;

    loop_error_hook_set(loop, NULL, NULL);
    loop_trace_set(loop, note_line, NULL);
    script_cqe(UINT64_C(5) << 31 | 9 << 2 | 1, -EIO, IORING_CQE_F_MORE | IORING_CQE_F_BUFFER | 77u << 16);
    test_turns(loop, 1);
#ifdef __GLIBC__
    ck_assert_str_eq(last_line, "cqe stale ud=indirect:slot=9:gen=5 res=-5(EIO) flags=MORE|BUFFER:77");
#endif
    script_cqe(UINT64_C(5) << 31 | 9 << 2 | 2, INT32_MIN, UINT32_MAX & ~UINT32_C(1));
    test_turns(loop, 1);
    ck_assert_str_eq(last_line, "cqe stale ud=extended:slot=9:gen=5 res=-2147483648 "
                                "flags=MORE|SOCK_NONEMPTY|NOTIF|BUF_MORE|SKIP|0xffffffc0");
    script_cqe(UINT64_MAX, 4, 0);
    test_turns(loop, 1);
    ck_assert_str_eq(last_line, "cqe foreign ud=foreign:0xffffffffffffffff res=4");
    memset(&sqe, 0xff, sizeof(sqe));
    sqe.flags = 0;
    ck_assert_int_eq(loop_foreign_submit(loop, &sqe), 0);
    script.manual = true;
    test_turns(loop, 1);
    ck_assert_int_eq(strncmp(last_line, "sqe unknown fd=-1 addr=0xffff", 29), 0);
    ck_assert_ptr_nonnull(strstr(last_line, "ud=foreign:0xffffffffffffffff"));
    script.manual = false;
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("observe");
    TCase *tcase = test_case_without_ring(suite, "observe");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, enter_errors, 0, 5);
    tcase_add_test(tcase, overflow);
    tcase_add_test(tcase, stale_and_unclaimed);
    tcase_add_test(tcase, silent);
    tcase_add_test(tcase, cancel_misses);
    tcase_add_test(tcase, rearm_without_memory);
    tcase_add_test(tcase, too_many);
    tcase_add_test(tcase, hook_may_do_anything);
    tcase_add_test(tcase, told_when_destroyed);
    tcase_add_test(tcase, kernel_counters);
    tcase_add_test(tcase, idle_time);
    tcase_add_test(tcase, trace_of_anything);
    return suite;
}
