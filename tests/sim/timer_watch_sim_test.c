/* tests/sim/timer_watch_sim_test.c: how the wall clock is watched, and what if it cannot be: the core over a scripted
 * ring. */
#include "tests/sim/timer_wall_sim.h"

#include <poll.h>

/* Goal: without a descriptor the clock is looked at once a minute, the hook is told, and it is tried again. Method: the
 * watch fails with -EMFILE; the clock is set unseen; then descriptors are there again. */
static uint32_t errors;

static void on_error(struct loop *on_loop, const struct loop_error *error, void *arg)
{
    (void)on_loop;
    (void)arg;
    ck_assert_int_eq(error->event, LOOP_ERROR_CLOCK);
    ck_assert_int_eq(error->error, -EMFILE);
    ck_assert_str_ne(loop_error_text(error->event), "unknown");
    errors++;
}

START_TEST(unwatched)
{
    struct probe probe = {0}, later = {0};
    uint64_t     start = script.now_ns;

    script.watch_error = -EMFILE;
    loop_error_hook_set(loop, on_error, NULL);
    probe_start(&probe, 3600 * LOOP_SECOND, 0);
    probe_start(&later, 7200 * LOOP_SECOND, 0);
    turn();
    ck_assert_uint_ge(errors, 1);
    script.wall_ahead_ns += 4000 * LOOP_SECOND; /* nobody is told */
    test_run_until(loop, &probe.count, 1);
    ck_assert_uint_le(script.now_ns - start, 60 * LOOP_SECOND);
    ck_assert_ptr_null(script_watch());
    script.watch_error = 0;
    sleep_and_turn(60 * LOOP_SECOND);
    turn();
    ck_assert_ptr_nonnull(script_watch());
    script_clock_set(4000 * (int64_t)LOOP_SECOND);
    turn();
    ck_assert_uint_eq(later.count, 1);
}
END_TEST

/* Goal: a poll of the watch that somebody cancels, or that fails, is armed again; false notices do no harm. */
START_TEST(watch_is_armed_again)
{
    static const int results[] = {-ECANCELED, -ENOMEM, POLLIN};
    struct probe     probe = {0};

    probe_start(&probe, 3600 * LOOP_SECOND, 0);
    turn();
    for (size_t i = 0; i < TEST_COUNT(results); i++) {
        script_complete(script_watch(), results[i], 0);
        for (int n = 0; n < 3; n++)
            sleep_and_turn(10 * LOOP_MILLISECOND);
        ck_assert_ptr_nonnull(script_watch());
        ck_assert_uint_eq(test_stats(loop).clock_sets, 0);
    }
    ck_assert_int_eq(loop_cancel_all(loop), 0);
    ck_assert_int_eq(loop_cancel_fd(loop, script.watch_fd), 0);
    turn();
    ck_assert_ptr_nonnull(script_watch());
    ck_assert_uint_eq(probe.count, 0);
    script_clock_set(3600 * (int64_t)LOOP_SECOND);
    turn();
    ck_assert_uint_eq(probe.count, 1);
}
END_TEST

static void on_refusal(struct loop *on_loop, const struct loop_error *error, void *arg)
{
    (void)on_loop;
    (void)arg;
    ck_assert_int_eq(error->event, LOOP_ERROR_CLOCK);
    ck_assert_int_eq(error->error, -EINVAL);
    errors++;
}

/* Goal: where the ring takes no polls, the clock is looked at once a minute. Method: the poll ends with -EINVAL each
 * time. */
START_TEST(ring_takes_no_polls)
{
    struct probe probe = {0};
    uint64_t     start = script.now_ns;

    loop_error_hook_set(loop, on_refusal, NULL);
    probe_start(&probe, 3600 * LOOP_SECOND, 0);
    turn();
    script_complete(script_watch(), -EINVAL, 0);
    turn();
    turn();
    ck_assert_uint_eq(errors, 1);
    ck_assert_ptr_null(script_watch());
    script.wall_ahead_ns += 3600 * LOOP_SECOND;
    test_run_until(loop, &probe.count, 1);
    ck_assert_uint_le(script.now_ns - start, 60 * LOOP_SECOND);
}
END_TEST

/* Goal: completions of the watch that belong to none are stale. Method: one before the first wall timer, and two for
 * one poll. */
START_TEST(stale_notices)
{
    struct probe probe = {0};
    uint64_t     user_data;

    probe_start(&probe, LOOP_SECOND, 0);
    turn();
    user_data = script_watch()->user_data;
    script_clock_set(0);
    script_cqe(user_data, POLLIN, 0);
    script_cqe(user_data, POLLIN, 0);
    turn();
    turn();
    ck_assert_uint_eq(script_count(IORING_OP_POLL_ADD), 2); /* the wake's, and one for the watch */
    test_run(loop);
    test_loop_free(loop);
    loop = test_loop_new(NULL);
    turn();
    script_cqe(user_data, POLLIN, 0);
    turn();
    ck_assert_uint_eq(test_stats(loop).cqes_stale, 1);
}
END_TEST

/* Goal: no memory for the poll of the watch: it is armed as soon as there is some. Method: the SQ is full and the
 * kernel takes nothing, so that the poll needs the backlog. */
START_TEST(no_room_for_the_watch)
{
    struct probe probe = {0};

    turn();
    for (int i = 0; i < 7; i++)
        ck_assert_int_gt(loop_nop(loop, NULL, NULL, NULL), 0);
    script_plan((struct script_enter){.limited = true, .take = 0});
    ck_assert_int_gt(loop_nop(loop, NULL, NULL, NULL), 0);
    script_plan((struct script_enter){.limited = true, .take = 0});
    test_memory.fail_at = test_memory.calls + 2; /* the first is for what wall timers need */
    probe_start(&probe, 3600 * LOOP_SECOND, 0);
    ck_assert_uint_eq(test_memory.failed, 1);
    test_memory.fail_at = 0;
    for (int i = 0; i < 3; i++)
        sleep_and_turn(10 * LOOP_MILLISECOND);
    ck_assert_ptr_nonnull(script_watch());
    script_clock_set(3600 * (int64_t)LOOP_SECOND);
    turn();
    ck_assert_uint_eq(probe.count, 1);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("timer_watch_sim");
    TCase *tcase = test_case_without_ring(suite, "watch");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, unwatched);
    tcase_add_test(tcase, watch_is_armed_again);
    tcase_add_test(tcase, ring_takes_no_polls);
    tcase_add_test(tcase, stale_notices);
    tcase_add_test(tcase, no_room_for_the_watch);
    return suite;
}
