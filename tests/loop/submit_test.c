/* tests/loop/submit_test.c: when SQEs go to the kernel, and why. */
#include "tests/support/test.h"

#include <pthread.h>

static struct loop *loop;

static struct loop *loop_with(struct loop_submit_policy policy, uint32_t sq_entries)
{
    return test_loop_new(&(struct loop_options){.sq_entries = sq_entries, .submit = policy});
}

/* The reasons are all there are. */
static void reasons_sum_up(struct loop_stats stats)
{
    ck_assert_uint_eq(stats.enters, stats.enters_batch_full + stats.enters_deadline + stats.enters_wait +
                                        stats.enters_sq_full + stats.enters_asked);
}

struct burst {
    uint32_t count; /* to start in the callback */
    uint32_t ended;
    uint64_t entered; /* while starting them */
};

static void burst_ended(struct loop *of, const struct loop_result *result, void *arg)
{
    (void)of;
    ck_assert_int_eq(result->res, 0);
    ((struct burst *)arg)->ended++;
}

static void burst_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    struct burst *burst = arg;
    uint64_t      before = test_stats(of).enters;

    (void)result;
    for (uint32_t i = 0; i < burst->count; i++)
        ck_assert_int_gt(loop_nop(of, burst_ended, burst, NULL), 0);
    burst->entered = test_stats(of).enters - before;
}

static void burst_run(struct burst *burst)
{
    ck_assert_int_gt(loop_nop(loop, burst_cb, burst, NULL), 0);
    test_run(loop);
    ck_assert_uint_eq(burst->ended, burst->count);
    reasons_sum_up(test_stats(loop));
}

/* Goal: by default what a turn gathers goes with the wait, in one call. Method: 100 nops in a callback. */
START_TEST(about_to_wait)
{
    struct burst      burst = {.count = 100};
    struct loop_stats stats;

    loop = loop_with((struct loop_submit_policy){0}, 256);
    burst_run(&burst);
    stats = test_stats(loop);
    ck_assert_uint_eq(burst.entered, 0);
    ck_assert_uint_eq(stats.enters_batch_full + stats.enters_deadline + stats.enters_sq_full + stats.enters_asked, 0);
    ck_assert_uint_ge(stats.enters_wait, 2);
    ck_assert_uint_le(stats.enters, stats.turns + 2); /* a turn costs one, the first may cost some set-up */
    ck_assert_uint_ge(stats.sqes_submitted, 101);
    test_loop_free(loop);
}
END_TEST

/* Goal: a full batch goes at once. Method: batches of 4, 10 nops: two full ones; the rest with the wait. */
START_TEST(batch_full)
{
    struct burst burst = {.count = 10};

    loop = loop_with((struct loop_submit_policy){.batch = 4}, 256);
    test_turns(loop, 1);
    burst_run(&burst);
    ck_assert_uint_eq(burst.entered, 2);
    ck_assert_uint_eq(test_stats(loop).enters_batch_full, 2);
    ck_assert_uint_eq(test_stats(loop).enters_deadline + test_stats(loop).enters_asked, 0);
    test_loop_free(loop);
}
END_TEST

/* Goal: the policy changes at run time. Method: the same burst under batch 4, none, 1; bad ones change nothing. */
START_TEST(changed)
{
    static const uint32_t batches[] = {4, 0, 1}, expected[] = {2, 0, 8};

    loop = loop_with((struct loop_submit_policy){0}, 256);
    test_turns(loop, 1);
    for (size_t i = 0; i < TEST_COUNT(batches); i++) {
        struct burst burst = {.count = 8};

        ck_assert_int_eq(loop_submit_policy_set(loop, &(struct loop_submit_policy){.batch = batches[i]}), 0);
        burst_run(&burst);
        ck_assert_msg(burst.entered == expected[i], "batch %u: %" PRIu64 " enters", batches[i], burst.entered);
    }
    test_loop_free(loop);
}
END_TEST

/* Goal: a full SQ is submitted, and nothing is lost. Method: 100 nops and an SQ of 8. */
START_TEST(sq_full)
{
    struct burst      burst = {.count = 100};
    struct loop_stats stats;

    loop = loop_with((struct loop_submit_policy){0}, 8);
    test_turns(loop, 1);
    burst_run(&burst);
    stats = test_stats(loop);
    ck_assert_uint_ge(burst.entered, 100 / 8 - 1);
    ck_assert_uint_gt(stats.enters_sq_full + stats.enters_batch_full, 0);
    ck_assert_uint_ge(stats.sqes_submitted, 101);
    test_loop_free(loop);
}
END_TEST

static void chain_in_callback(struct loop *of, const struct loop_result *result, void *arg)
{
    struct burst *burst = arg;

    (void)result;
    for (int i = 0; i < 6; i++)
        ck_assert_int_gt(loop_nop(of, burst_ended, burst, NULL), 0);
    ck_assert_int_eq(loop_chain_begin(of, 4, 0), 0);
    for (int i = 0; i < 4; i++)
        ck_assert_int_gt(loop_nop(of, burst_ended, burst, NULL), 0);
    ck_assert_int_eq(loop_chain_end(of), 0);
}

/* Goal: a full SQ is told from a full batch. Method: a chain that does not fit behind six others in an SQ of 8. */
START_TEST(sq_full_for_a_chain)
{
    struct burst burst = {0};

    loop = loop_with((struct loop_submit_policy){0}, 8);
    test_turns(loop, 1);
    ck_assert_int_gt(loop_nop(loop, chain_in_callback, &burst, NULL), 0);
    test_run(loop);
    ck_assert_uint_eq(burst.ended, 10);
    ck_assert_uint_ge(test_stats(loop).enters_sq_full, 1);
    reasons_sum_up(test_stats(loop));
    test_loop_free(loop);
}
END_TEST

/* Goal: with a deadline, SQEs leave while callbacks still run; without one they don't. Method: 1000 completions in a
 * turn, each starting a nop, under a deadline of 1 ns. */
static void chatty(struct loop *of, const struct loop_result *result, void *arg)
{
    (void)result;
    ck_assert_int_gt(loop_nop(of, burst_ended, arg, NULL), 0);
}

START_TEST(deadline)
{
    struct burst burst = {0};

    loop = loop_with((struct loop_submit_policy){.deadline_ns = _i == 0 ? 0 : 1}, 2048);
    test_turns(loop, 1);
    for (int i = 0; i < 1000; i++)
        ck_assert_int_gt(loop_nop(loop, chatty, &burst, NULL), 0);
    test_run(loop);
    ck_assert_uint_eq(burst.ended, 1000);
    if (_i == 0)
        ck_assert_uint_eq(test_stats(loop).enters_deadline, 0);
    else
        ck_assert_uint_ge(test_stats(loop).enters_deadline, 1);
    reasons_sum_up(test_stats(loop));
    test_loop_free(loop);
}
END_TEST

/* Goal: loop_submit enters once, and is counted. Method: three nops, asked for; asked again with nothing queued. */
static void asking(struct loop *of, const struct loop_result *result, void *arg)
{
    struct burst *burst = arg;

    (void)result;
    for (int i = 0; i < 3; i++)
        ck_assert_int_gt(loop_nop(of, burst_ended, burst, NULL), 0);
    ck_assert_int_eq(loop_submit(of), 3);
    ck_assert_int_eq(loop_submit(of), 0);
    ck_assert_uint_eq(burst->ended, 0);
}

START_TEST(asked)
{
    struct burst burst = {0};

    loop = loop_with((struct loop_submit_policy){0}, 64);
    ck_assert_int_gt(loop_nop(loop, asking, &burst, NULL), 0);
    test_run(loop);
    ck_assert_uint_eq(burst.ended, 3);
    ck_assert_uint_ge(test_stats(loop).enters_asked, 1);
    ck_assert_uint_le(test_stats(loop).enters_asked, 2);
    reasons_sum_up(test_stats(loop));
    test_loop_free(loop);
}
END_TEST

/* Goal: a wait goes on for min_wait_ns while there are fewer than min_wait_batch completions. Method: one is there at
 * once. */
START_TEST(min_wait)
{
    struct test_log log[2] = {0};
    int             fds[2];
    char            bytes[2];
    uint64_t        begin;

    loop = loop_with((struct loop_submit_policy){.min_wait_ns = 30 * LOOP_MILLISECOND, .min_wait_batch = 64}, 64);
    if (!loop_features_get(loop)->min_wait) {
        test_skip("min_wait: the kernel lacks it");
        test_loop_free(loop);
        return;
    }
    test_turns(loop, 1);
    test_socketpair(fds);
    ck_assert_int_gt(loop_recv(loop, fds[0], &bytes[0], 1, 0, test_log_cb, &log[0], NULL), 0);
    ck_assert_int_gt(loop_recv(loop, fds[1], &bytes[1], 1, 0, test_log_cb, &log[1], NULL), 0);
    test_turns(loop, 1);
    begin = test_clock();
    test_write(fds[1], "x", 1);
    test_run_until(loop, &log[0].count, 1);
    ck_assert_uint_ge(test_clock(), begin + 30 * LOOP_MILLISECOND);
    test_write(fds[0], "x", 1);
    test_run(loop);
    test_log_is(&log[1], 1);
    test_loop_free(loop);
    test_close(fds[0]);
    test_close(fds[1]);
}
END_TEST

/* Goal: min_wait with a batch that comes does not hold the wait for ever. Method: an hour of min_wait, a batch of 2,
 * two nops. */
START_TEST(min_wait_batch)
{
    struct burst burst = {.count = 2};

    loop = loop_with((struct loop_submit_policy){.min_wait_ns = LOOP_SECOND, .min_wait_batch = 2}, 64);
    burst_run(&burst);
    test_loop_free(loop);
}
END_TEST

/* Goal: turns that wait for nothing enter no more than needed, and NOWAIT turns never wait. Method: 100 turns with a
 * silent recv. */
START_TEST(idle_turns)
{
    struct test_log   log = {0};
    struct loop_stats stats;
    int               fds[2];
    char              byte;
    loop_id           id;

    test_socketpair(fds);
    loop = loop_with((struct loop_submit_policy){0}, 64);
    id = loop_recv(loop, fds[0], &byte, 1, 0, test_log_cb, &log, NULL);
    test_turns(loop, 100);
    stats = test_stats(loop);
    ck_assert_uint_eq(stats.turns, 100);
    ck_assert_uint_le(stats.enters, 102);
    ck_assert_uint_le(stats.sqes_submitted, 2); /* the recv, and what wakes the loop */
    ck_assert_int_eq(loop_cancel(loop, id), 0);
    test_run(loop);
    test_loop_free(loop);
    test_close(fds[0]);
    test_close(fds[1]);
}
END_TEST

static void stop_post(struct loop *of, void *arg)
{
    ++*(uint32_t *)arg;
    loop_stop(of);
}

static uint32_t posted;

static void *post_main(void *arg)
{
    test_sleep(20 * LOOP_MILLISECOND); /* it sleeps by then, most likely */
    ck_assert_int_eq(loop_post(arg, stop_post, &posted), 0);
    return NULL;
}

/* Goal: a batch of completions to wait for, but no time to do so, holds nothing up. Method: min_wait_batch alone; one
 * recv gets its byte; a post of another thread is seen while a recv is silent. */
START_TEST(min_wait_batch_alone)
{
    struct test_log log[2] = {0};
    pthread_t       thread;
    int             fds[2];
    char            byte;
    loop_id         id;

    loop = loop_with((struct loop_submit_policy){.min_wait_batch = 4}, 64);
    test_socketpair(fds);
    ck_assert_int_gt(loop_recv(loop, fds[0], &byte, 1, 0, test_log_cb, &log[0], NULL), 0);
    test_turns(loop, 1);
    test_write(fds[1], "x", 1);
    test_run(loop);
    test_log_is(&log[0], 1);

    id = loop_recv(loop, fds[0], &byte, 1, 0, test_log_cb, &log[1], NULL);
    ck_assert_int_eq(pthread_create(&thread, NULL, post_main, loop), 0);
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_DEFAULT), 1);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    ck_assert_uint_eq(posted, 1);
    ck_assert_int_eq(loop_cancel(loop, id), 0);
    test_run(loop);
    test_log_is(&log[1], -ECANCELED);
    test_loop_free(loop);
    test_close(fds[0]);
    test_close(fds[1]);
}
END_TEST

static void stop_timer(struct loop_timer *timer)
{
    loop_stop(timer->data);
}

/* Goal: a minimum wait ends with the next timer. Method: 1000 s of it and a timer of 5 ms, without and with a batch to
 * wait for, beside a silent recv: the run ends. */
START_TEST(min_wait_until_a_timer)
{
    struct test_log   log = {0};
    struct loop_timer timer = {0};
    int               fds[2];
    char              byte;
    loop_id           id;

    loop = loop_with((struct loop_submit_policy){.min_wait_ns = 1000 * LOOP_SECOND, .min_wait_batch = _i == 0 ? 0 : 4},
                     64);
    timer.data = loop;
    test_socketpair(fds);
    id = loop_recv(loop, fds[0], &byte, 1, 0, test_log_cb, &log, NULL);
    ck_assert_int_eq(loop_timer_start(loop, &timer, 5 * LOOP_MILLISECOND, 0, stop_timer), 0);
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_DEFAULT), 1);
    ck_assert_uint_eq(test_stats(loop).timers_fired, 1);
    ck_assert_int_eq(loop_cancel(loop, id), 0);
    test_turns(loop, 3);
    test_log_is(&log, -ECANCELED);
    test_loop_free(loop);
    test_close(fds[0]);
    test_close(fds[1]);
}
END_TEST

/* Goal: a short minimum wait does not make an idle loop turn. Method: 50 us of it, a silent recv, and 20 ms until
 * something happens: a timer (_i = 0) or a post; counts turns. */
START_TEST(min_wait_idle)
{
    struct test_log   log = {0};
    struct loop_timer timer = {0};
    pthread_t         thread;
    int               fds[2];
    char              byte;
    loop_id           id;

    loop = loop_with((struct loop_submit_policy){.min_wait_ns = 50 * LOOP_MICROSECOND, .min_wait_batch = 4}, 64);
    timer.data = loop;
    test_socketpair(fds);
    id = loop_recv(loop, fds[0], &byte, 1, 0, test_log_cb, &log, NULL);
    if (_i == 0)
        ck_assert_int_eq(loop_timer_start(loop, &timer, 20 * LOOP_MILLISECOND, 0, stop_timer), 0);
    else
        ck_assert_int_eq(pthread_create(&thread, NULL, post_main, loop), 0);
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_DEFAULT), 1);
    if (_i == 1)
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
    ck_assert_uint_le(test_stats(loop).turns, 10);
    ck_assert_int_eq(loop_cancel(loop, id), 0);
    test_run(loop);
    test_log_is(&log, -ECANCELED);
    test_loop_free(loop);
    test_close(fds[0]);
    test_close(fds[1]);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("submit");
    TCase *tcase = test_case(suite, "submit");

    tcase_add_test(tcase, about_to_wait);
    tcase_add_test(tcase, batch_full);
    tcase_add_test(tcase, changed);
    tcase_add_test(tcase, sq_full);
    tcase_add_test(tcase, sq_full_for_a_chain);
    tcase_add_loop_test(tcase, deadline, 0, 2);
    tcase_add_test(tcase, asked);
    tcase_add_test(tcase, min_wait);
    tcase_add_test(tcase, min_wait_batch);
    tcase_add_test(tcase, min_wait_batch_alone);
    tcase_add_loop_test(tcase, min_wait_until_a_timer, 0, 2);
    tcase_add_loop_test(tcase, min_wait_idle, 0, 2);
    tcase_add_test(tcase, idle_turns);
    return suite;
}
