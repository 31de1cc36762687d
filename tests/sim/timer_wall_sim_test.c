/* tests/sim/timer_wall_sim_test.c: timers by a wall clock that the test sets forward and back: the core over a scripted
 * ring. */
#include "tests/sim/timer_wall_sim.h"

#include <poll.h>

/* ---- the clock stands as it is */

/* Goal: it fires at its nanosecond, in one wait, and the watch alone keeps nothing alive. Method: one timer of an hour;
 * the scripted clock moves to the end of the timeout. */
START_TEST(at_its_time)
{
    struct probe probe = {0};
    unsigned     waits;

    probe_start(&probe, 3600 * LOOP_SECOND, 0);
    ck_assert_uint_eq(loop_timer_due_in(&probe.timer), 3600 * LOOP_SECOND);
    ck_assert(loop_timer_active(&probe.timer));
    ck_assert(loop_alive(loop));
    turn();
    waits = script.waits;
    test_run(loop);
    ck_assert_uint_eq(probe.count, 1);
    ck_assert_uint_eq(probe.fired, probe.due);
    ck_assert_uint_eq(script.waits, waits + 1);
    ck_assert(!loop_timer_active(&probe.timer));
    ck_assert(!loop_alive(loop));
    ck_assert_ptr_nonnull(script_watch());
    ck_assert_uint_eq(test_stats(loop).ops_in_flight, 0);
}
END_TEST

/* Goal: never early, where each look at the clock takes time. Method: the clock moves on by 7 ns at each look. */
START_TEST(never_early)
{
    struct probe probe = {0};

    script.clock_step_ns = 7;
    for (uint64_t i = 1; i <= 200; i++) {
        probe_start(&probe, i * 13, 0);
        test_run_until(loop, &probe.count, (uint32_t)i);
    }
}
END_TEST

/* Goal: plain and wall timers of one turn come in the order of their times, equal ones in order of start. Method: times
 * interleaved by hand, all due at once. */
START_TEST(order_among_plain_ones)
{
    static const struct {
        bool     wall;
        uint64_t after, number;
    } table[] = {
        {true, 50, 5},  {false, 10, 1}, {true, 20, 2},  {false, 30, 3}, {true, 40, 4},
        {false, 60, 6}, {true, 70, 7},  {false, 80, 9}, {true, 70, 8},  {false, 90, 10},
    };
    struct probe probes[TEST_COUNT(table)] = {0};

    turn();
    for (size_t i = 0; i < TEST_COUNT(table); i++) {
        if (table[i].wall) {
            probe_start(&probes[i], table[i].after, 0);
        } else {
            probes[i].due = wall_clock() + table[i].after;
            ck_assert_int_eq(loop_timer_start(loop, &probes[i].timer, table[i].after, 0, probe_fire), 0);
        }
    }
    sleep_and_turn(100);
    for (size_t i = 0; i < TEST_COUNT(table); i++)
        ck_assert_msg(probes[i].number == table[i].number, "%zu came as number %" PRIu64, i, probes[i].number);
}
END_TEST

/* ---- the clock is set */

/* Goal: set forward past its time a timer fires at the next chance; short of it, as much sooner. */
START_TEST(forward)
{
    struct probe past = {0}, later = {0};

    probe_start(&past, 3600 * LOOP_SECOND, 0);
    probe_start(&later, 7200 * LOOP_SECOND, 0);
    turn();
    script_clock_set(5400 * (int64_t)LOOP_SECOND);
    turn();
    ck_assert_uint_eq(past.count, 1);
    ck_assert_uint_eq(later.count, 0);
    ck_assert_uint_eq(loop_timer_due_in(&later.timer), 1800 * LOOP_SECOND);
    ck_assert_uint_eq(test_stats(loop).clock_sets, 1);
    ck_assert_ptr_nonnull(script_watch()); /* armed again */
    test_run(loop);
    ck_assert_uint_eq(later.fired, later.due);
}
END_TEST

static void set_forward(void *arg)
{
    (void)arg;
    script.on_wait = NULL;
    script.now_ns += LOOP_SECOND;
    script_clock_set(3600 * (int64_t)LOOP_SECOND);
}

/* Goal: a clock that is set while the loop sleeps wakes it. Method: set it from inside the wait. */
START_TEST(set_during_a_wait)
{
    struct probe probe = {0};
    uint64_t     start = script.now_ns;

    probe_start(&probe, 3600 * LOOP_SECOND, 0);
    turn();
    script.on_wait = set_forward;
    test_run(loop);
    ck_assert_uint_eq(probe.count, 1);
    ck_assert_uint_eq(script.now_ns - start, LOOP_SECOND);
}
END_TEST

/* Goal: set back, a timer waits for its time. Method: with the notice of the watch, and without: then it is found when
 * the time that was reckoned comes. */
START_TEST(back)
{
    struct probe probe = {0};
    uint64_t     start = script.now_ns;

    probe_start(&probe, 60 * LOOP_SECOND, 0);
    turn();
    if (_i == 0)
        script_clock_set(-3600 * (int64_t)LOOP_SECOND);
    else
        script.wall_ahead_ns -= 3600 * LOOP_SECOND;
    turn();
    ck_assert_uint_eq(probe.count, 0);
    ck_assert_uint_eq(loop_timer_due_in(&probe.timer), 3660 * LOOP_SECOND);
    test_run(loop);
    ck_assert_uint_eq(probe.count, 1);
    ck_assert_uint_eq(probe.fired, probe.due);
    ck_assert_uint_eq(script.now_ns - start, 3660 * LOOP_SECOND);
}
END_TEST

/* Goal: after any number of settings timers are where the clock stands at last. Method: back and forward, twenty times;
 * new timers in between. */
START_TEST(set_again_and_again)
{
    struct probe first = {0}, between[20] = {0};

    probe_start(&first, 100 * LOOP_SECOND, 0);
    for (size_t i = 0; i < TEST_COUNT(between); i++) {
        turn();
        script_clock_set((i % 2 == 0 ? -1 : 1) * (int64_t)((i + 1) * 3 * LOOP_SECOND));
        probe_start(&between[i], (i + 1) * LOOP_SECOND, 0);
    }
    turn();
    ck_assert_uint_eq(test_stats(loop).clock_sets, TEST_COUNT(between));
    test_run(loop);
    ck_assert_uint_eq(first.count, 1);
    for (size_t i = 0; i < TEST_COUNT(between); i++)
        ck_assert_uint_eq(between[i].count, 1);
    ck_assert_uint_eq(fired, 1 + TEST_COUNT(between));
}
END_TEST

/* Goal: timers match a sorted model while the clock jumps. Method: 200 timers, by seed started, stopped, restarted as
 * plain ones; the clock is set by up to ten seconds each way; every firing must be due and the first of the model, and
 * after a turn nothing may be due any more. */
enum { MANY = 200, STEPS = 4000 };

static struct many {
    struct loop_timer timers[MANY];
    uint64_t          due[MANY], order[MANY]; /* order 0: not started by the wall clock */
    uint64_t          last_order, seed, last_due, last_fired_order, turn;
} many;

static void many_fire(struct loop_timer *timer)
{
    size_t i = (size_t)(timer - many.timers);

    ck_assert_uint_ne(many.order[i], 0);
    ck_assert_uint_le(many.due[i], wall_clock());
    if (many.turn == test_stats(loop).turns)
        ck_assert(many.due[i] > many.last_due ||
                  (many.due[i] == many.last_due && many.order[i] > many.last_fired_order));
    many.turn = test_stats(loop).turns;
    many.last_due = many.due[i];
    many.last_fired_order = many.order[i];
    many.order[i] = 0;
    fired++;
}

static void plain_fire(struct loop_timer *timer)
{
    ck_assert_uint_eq(many.order[timer - many.timers], 0);
}

static void many_step(void)
{
    size_t   i = test_random(&many.seed) % MANY;
    uint64_t after = test_random(&many.seed) % 64 * 100 * LOOP_MILLISECOND; /* many are equal */

    many.order[i] = 0;
    switch (test_random(&many.seed) % 4) {
    case 0: loop_timer_stop(&many.timers[i]); return;
    case 1: ck_assert_int_eq(loop_timer_start(loop, &many.timers[i], after, 0, plain_fire), 0); return;
    default: break;
    }
    many.due[i] = wall_clock() / LOOP_SECOND * LOOP_SECOND + after;
    many.order[i] = ++many.last_order;
    ck_assert_int_eq(loop_timer_start_wall(loop, &many.timers[i], many.due[i], 0, many_fire), 0);
}

START_TEST(many_and_jumps)
{
    many.seed = test_env("TEST_SEED", 5) + (uint64_t)_i;
    printf("timer_wall_sim: seed %" PRIu64 "\n", many.seed);
    for (int step = 0; step < STEPS; step++) {
        many_step();
        script.now_ns += test_random(&many.seed) % (50 * LOOP_MILLISECOND);
        if (test_random(&many.seed) % 16 == 0)
            script_clock_set((int64_t)(test_random(&many.seed) % (20 * LOOP_SECOND)) - 10 * (int64_t)LOOP_SECOND);
        if (test_random(&many.seed) % 4 != 0)
            continue;
        turn();
        for (size_t i = 0; i < MANY; i++)
            ck_assert(many.order[i] == 0 || many.due[i] > wall_clock());
    }
    ck_assert_uint_gt(fired, STEPS / 20);
    test_run(loop);
    for (size_t i = 0; i < MANY; i++)
        ck_assert_uint_eq(many.order[i], 0);
}
END_TEST

/* ---- repeating */

/* Goal: a repeating timer stays on its times, and those missed make one callback. Method: a period of 10 s; late by
 * half a period, by three and a half, and a clock set forward by a hundred. */
START_TEST(repeat_coalesces)
{
    struct probe probe = {0};
    uint64_t     first;

    probe_start(&probe, 10 * LOOP_SECOND, 10 * LOOP_SECOND);
    first = probe.due;
    sleep_and_turn(10 * LOOP_SECOND);
    ck_assert_uint_eq(probe.count, 1);
    sleep_and_turn(15 * LOOP_SECOND);
    ck_assert_uint_eq(probe.count, 2);
    ck_assert_uint_eq(loop_timer_due_in(&probe.timer), 5 * LOOP_SECOND);
    sleep_and_turn(35 * LOOP_SECOND);
    ck_assert_uint_eq(probe.count, 3);
    ck_assert_uint_eq(loop_timer_due_in(&probe.timer), 10 * LOOP_SECOND);
    script_clock_set(1003 * (int64_t)LOOP_SECOND);
    turn();
    ck_assert_uint_eq(probe.count, 4);
    turn();
    ck_assert_uint_eq(probe.count, 4);
    ck_assert_uint_eq(loop_timer_due_in(&probe.timer), 7 * LOOP_SECOND);
    ck_assert_uint_eq((wall_clock() + loop_timer_due_in(&probe.timer) - first) % (10 * LOOP_SECOND), 0);
    loop_timer_stop(&probe.timer);
}
END_TEST

/* Goal: set back by less than a period no time comes twice; by more, it goes on at its next time; and one that has
 * never fired waits for its first. */
START_TEST(repeat_set_back)
{
    struct probe probe = {0}, fresh = {0};

    probe_start(&probe, 10 * LOOP_SECOND, 10 * LOOP_SECOND);
    probe_start(&fresh, 3600 * LOOP_SECOND, 10 * LOOP_SECOND);
    sleep_and_turn(10 * LOOP_SECOND);
    ck_assert_uint_eq(probe.count, 1);
    probe.due += 10 * LOOP_SECOND;
    script_clock_set(-9 * (int64_t)LOOP_SECOND);
    turn();
    ck_assert_uint_eq(loop_timer_due_in(&probe.timer), 19 * LOOP_SECOND);
    sleep_and_turn(19 * LOOP_SECOND);
    ck_assert_uint_eq(probe.count, 2);
    ck_assert_uint_eq(probe.fired, probe.due);

    probe.due = 0; /* earlier ones may come again */
    script_clock_set(-1004 * (int64_t)LOOP_SECOND);
    turn();
    ck_assert_uint_eq(probe.count, 2);
    ck_assert_uint_eq(loop_timer_due_in(&probe.timer), 4 * LOOP_SECOND);
    sleep_and_turn(4 * LOOP_SECOND);
    ck_assert_uint_eq(probe.count, 3);
    ck_assert_uint_eq(fresh.count, 0);
    ck_assert_uint_eq(loop_timer_due_in(&fresh.timer), fresh.due - wall_clock());
    loop_timer_stop(&probe.timer);
    loop_timer_stop(&fresh.timer);
}
END_TEST

static struct probe other;

static void set_back_fire(struct loop_timer *timer)
{
    probe_fire(timer);
    if (fired > 1)
        return;
    script_clock_set(-100 * (int64_t)LOOP_SECOND);
    if (!loop_timer_active(&other.timer))
        probe_start(&other, LOOP_SECOND, 0); /* looks at the clock while others are about to fire */
}

/* Goal: a clock that is set inside a callback spoils nothing: those that were due at that time fire, repeating ones go
 * on. Method: two that are due at once, the first sets the clock back. */
START_TEST(set_in_a_callback)
{
    struct probe one = {0}, two = {0};

    other = (struct probe){0};
    one.due = wall_clock() + LOOP_SECOND;
    two.due = 0; /* by the time it fires the clock has been set back */
    ck_assert_int_eq(loop_timer_start_wall(loop, &one.timer, one.due, 10 * LOOP_SECOND, set_back_fire), 0);
    ck_assert_int_eq(loop_timer_start_wall(loop, &two.timer, one.due, 10 * LOOP_SECOND, set_back_fire), 0);
    turn();
    sleep_and_turn(LOOP_SECOND);
    ck_assert_uint_eq(one.count, 1);
    ck_assert_uint_eq(two.count, 1);
    turn();
    ck_assert_uint_eq(fired, 2);
    one.due = 0;
    ck_assert_uint_le(loop_timer_due_in(&one.timer), 20 * LOOP_SECOND);
    ck_assert_uint_le(loop_timer_due_in(&two.timer), 20 * LOOP_SECOND);
    test_run_until(loop, &other.count, 1);
    test_run_until(loop, &one.count, 2);
    test_run_until(loop, &two.count, 2);
    loop_timer_stop(&one.timer);
    loop_timer_stop(&two.timer);
}
END_TEST

static struct probe together[3];

static void together_fire(struct loop_timer *timer)
{
    uint64_t step = script.clock_step_ns;

    ck_assert_ptr_eq(timer, &together[fired % 3].timer);
    probe_fire(timer);
    script.clock_step_ns = 0;
    if (fired % 3 == 0) /* all have been started again */
        ck_assert_uint_eq(loop_timer_due_in(timer), loop_timer_due_in(&together[1].timer));
    script.clock_step_ns = step;
    if (fired == 60)
        for (size_t i = 0; i < TEST_COUNT(together); i++)
            loop_timer_stop(&together[i].timer);
}

/* Goal: equal repeating timers stay together and in order, however long their callbacks take. Method: the clock moves
 * on at each look, so that a period ends between the restarts of two of them. */
START_TEST(equal_ones_stay_together)
{
    uint64_t at = wall_clock() + 5000;

    for (size_t i = 0; i < TEST_COUNT(together); i++)
        ck_assert_int_eq(loop_timer_start_wall(loop, &together[i].timer, at, 1000, together_fire), 0);
    script.clock_step_ns = 90 + 61 * (uint64_t)_i;
    test_run(loop);
    ck_assert_uint_eq(fired, 60);
}
END_TEST

/* ---- callbacks that do things */

static struct pair {
    struct loop_timer first, second;
    uint32_t          fired;
    uint64_t          turn;
} pair;

static void stop_the_other(struct loop_timer *timer)
{
    pair.fired++;
    loop_timer_stop(timer == &pair.first ? &pair.second : &pair.first);
    loop_timer_stop(timer);
}

/* Goal: a callback stops another one that is due, and itself. Method: two repeating ones, due at once by a jump. */
START_TEST(stop_in_a_callback)
{
    uint64_t at = wall_clock() + 3600 * LOOP_SECOND;

    ck_assert_int_eq(loop_timer_start_wall(loop, &pair.first, at, 1, stop_the_other), 0);
    ck_assert_int_eq(loop_timer_start_wall(loop, &pair.second, at, 1, stop_the_other), 0);
    turn();
    script_clock_set(2 * 3600 * (int64_t)LOOP_SECOND);
    turn();
    ck_assert_uint_eq(pair.fired, 1);
    ck_assert(!loop_timer_active(&pair.first));
    ck_assert(!loop_timer_active(&pair.second));
    ck_assert(!loop_alive(loop));
}
END_TEST

/* Goal: a stopped one costs no wake. Method: a wall timer of an hour, stopped, beside a plain one of two; the waits are
 * counted. */
START_TEST(stopped)
{
    struct probe probe = {0}, plain = {0};
    unsigned     waits;

    probe_start(&probe, 3600 * LOOP_SECOND, 1);
    ck_assert_int_eq(loop_timer_start(loop, &plain.timer, 7200 * LOOP_SECOND, 0, probe_fire), 0);
    turn();
    loop_timer_stop(&probe.timer);
    waits = script.waits;
    test_run(loop);
    ck_assert_uint_eq(plain.count, 1);
    ck_assert_uint_eq(probe.count, 0);
    ck_assert_uint_eq(script.waits, waits + 1);
}
END_TEST

static void restart_past(struct loop_timer *timer)
{
    if (pair.fired++ > 0)
        ck_assert_uint_gt(test_stats(loop).turns, pair.turn);
    pair.turn = test_stats(loop).turns;
    if (pair.fired < 20)
        ck_assert_int_eq(loop_timer_start_wall(loop, timer, 1, 0, restart_past), 0);
}

static void start_past_one(struct loop_timer *timer)
{
    (void)timer;
    pair.turn = test_stats(loop).turns;
    pair.fired = 1;
    ck_assert_int_eq(loop_timer_start_wall(loop, &pair.first, 0, 0, restart_past), 0);
}

/* Goal: what a timer's callback starts in the past fires in the next turn, whichever clock the callback's timer has.
 * Method: turn numbers compared; a wall timer is due behind the plain one, so that the clock is looked at. */
START_TEST(past_in_a_callback)
{
    struct loop_timer plain = {0};
    struct probe      behind = {0};

    ck_assert_int_eq(loop_timer_start(loop, &plain, 10, 0, start_past_one), 0);
    probe_start(&behind, 20, 0);
    script.now_ns += 100;
    test_run(loop);
    ck_assert_uint_eq(pair.fired, 20);
    ck_assert_uint_eq(behind.count, 1);
}
END_TEST

/* ---- without memory, and the end */

/* Goal: without memory the start fails and leaves all as it was, a timer that was active included. Method: fail each
 * allocation in turn; a failure that can wait is made good later. */
START_TEST(no_memory)
{
    struct probe probe = {0};
    int          r = -ENOMEM;

    ck_assert_int_eq(loop_timer_start(loop, &probe.timer, LOOP_SECOND, 0, probe_fire), 0);
    test_memory.fail_at = test_memory.calls + 1;
    r = loop_timer_start_wall(loop, &probe.timer, wall_clock(), 0, probe_fire);
    test_memory.fail_at = 0;
    ck_assert_int_eq(r, -ENOMEM);
    ck_assert(loop_timer_active(&probe.timer));
    ck_assert_int_eq(script.watch_fd, -1);
    test_run(loop);
    ck_assert_uint_eq(probe.count, 1);
}
END_TEST

static void no_fire(struct loop_timer *timer)
{
    (void)timer;
    ck_abort_msg("a stopped timer fired");
}

/* Goal: the end of the loop with wall timers, due or not, and a notice on its way; before the first turn, too. */
START_TEST(destroyed)
{
    struct loop_timer timers[3] = {0};

    for (size_t i = 0; i < TEST_COUNT(timers); i++)
        ck_assert_int_eq(loop_timer_start_wall(loop, &timers[i], wall_clock() + i * 3600 * LOOP_SECOND + 1, i, no_fire),
                         0);
    if (_i == 1)
        turn();
    if (_i == 1)
        script_clock_set(2 * 3600 * (int64_t)LOOP_SECOND);
    test_loop_drop(loop);
    for (size_t i = 0; i < TEST_COUNT(timers); i++)
        ck_assert(!loop_timer_active(&timers[i]));
    loop = test_loop_new(NULL);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("timer_wall_sim");
    TCase *tcase = test_case_without_ring(suite, "timer_wall_sim");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, at_its_time);
    tcase_add_test(tcase, never_early);
    tcase_add_test(tcase, order_among_plain_ones);
    tcase_add_test(tcase, forward);
    tcase_add_test(tcase, set_during_a_wait);
    tcase_add_loop_test(tcase, back, 0, 2);
    tcase_add_test(tcase, set_again_and_again);
    tcase_add_loop_test(tcase, many_and_jumps, 0, 4);
    tcase_add_test(tcase, repeat_coalesces);
    tcase_add_test(tcase, repeat_set_back);
    tcase_add_test(tcase, set_in_a_callback);
    tcase_add_loop_test(tcase, equal_ones_stay_together, 0, 12);
    tcase_add_test(tcase, stop_in_a_callback);
    tcase_add_test(tcase, stopped);
    tcase_add_test(tcase, past_in_a_callback);
    tcase_add_test(tcase, no_memory);
    tcase_add_loop_test(tcase, destroyed, 0, 2);
    return suite;
}
