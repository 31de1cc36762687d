/* tests/loop/timer_test.c: timers through the public calls, in real time. */
#include "tests/support/test.h"

static struct loop *loop;

static void setup(void)
{
    loop = test_loop_new(&(struct loop_options){.sq_entries = 64});
}

static void teardown(void)
{
    test_loop_free(loop);
}

static void no_fire(struct loop_timer *timer)
{
    (void)timer;
    ck_abort_msg("a stopped timer fired");
}

struct probe {
    struct loop_timer timer;
    uint64_t          deadline, order, fired_at;
    uint32_t          count;
};

static void probe_fire(struct loop_timer *timer)
{
    struct probe *probe = timer->data;

    ck_assert_uint_ge(loop_now(loop), probe->deadline); /* never early */
    ck_assert_uint_ge(test_clock(), probe->deadline);
    probe->fired_at = loop_now(loop);
    probe->count++;
}

static void probe_start(struct probe *probe, uint64_t delay_ns, uint64_t repeat_ns)
{
    probe->timer.data = probe;
    probe->deadline = loop_now(loop) + delay_ns;
    ck_assert_int_eq(loop_timer_start(loop, &probe->timer, delay_ns, repeat_ns, probe_fire), 0);
}

/* Goal: 20 000 timers fire in the exact order of (deadline, start). Method: random deadlines over 50 ms, many equal,
 * checked in the callbacks. */
static uint64_t last_deadline, last_order, ordered;

static void ordered_fire(struct loop_timer *timer)
{
    struct probe *probe = timer->data;

    probe_fire(timer);
    ck_assert_msg(probe->deadline > last_deadline || (probe->deadline == last_deadline && probe->order > last_order),
                  "%" PRIu64 " came after %" PRIu64, probe->deadline, last_deadline);
    last_deadline = probe->deadline;
    last_order = probe->order;
    ordered++;
}

START_TEST(exact_order)
{
    enum { COUNT = 20000 };
    struct probe *probes = calloc(COUNT, sizeof(*probes));
    uint64_t      random = test_env("TEST_SEED", 7), base = loop_now(loop);

    printf("timer: seed %" PRIu64 "\n", random);
    for (uint64_t i = 0; i < COUNT; i++) {
        probes[i].timer.data = &probes[i];
        probes[i].order = i;
        probes[i].deadline = base + test_random(&random) % (50 * LOOP_MILLISECOND);
        if (i % 4 == 0)
            probes[i].deadline -= (probes[i].deadline - base) % LOOP_MILLISECOND; /* many are equal */
        ck_assert_int_eq(loop_timer_start_at(loop, &probes[i].timer, probes[i].deadline, 0, ordered_fire), 0);
    }
    test_run(loop);
    ck_assert_uint_eq(ordered, COUNT);
    ck_assert_uint_eq(test_stats(loop).timers_fired, COUNT);
    free(probes);
}
END_TEST

/* Goal: order and life match a sorted model under random starts, restarts, stops and callbacks that do the same.
 * Method: 300 timers, 5000 operations by seed, half of them from callbacks; each firing must be the first of the model.
 */
enum { MODEL = 300, MODEL_OPERATIONS = 5000 };

static struct model {
    struct loop_timer timers[MODEL];
    uint64_t          deadlines[MODEL], orders[MODEL]; /* order 0: not started */
    uint64_t          order, random, operations, fired;
} model;

static void model_fire(struct loop_timer *timer);

static void model_step(void)
{
    size_t   i = test_random(&model.random) % MODEL;
    uint64_t delay = test_random(&model.random) %
                     (test_random(&model.random) % 4 == 0 ? 20 * LOOP_MILLISECOND : 50 * LOOP_MICROSECOND);

    if (model.operations >= MODEL_OPERATIONS)
        return;
    model.operations++;
    switch (test_random(&model.random) % 4) {
    case 0:
        loop_timer_stop(&model.timers[i]);
        model.orders[i] = 0;
        return;
    case 1: { /* absolute, perhaps past */
        uint64_t at = loop_now(loop) - delay / 2;

        ck_assert_int_eq(loop_timer_start_at(loop, &model.timers[i], at, 0, model_fire), 0);
        model.deadlines[i] = at;
        break;
    }
    default:
        ck_assert_int_eq(loop_timer_start(loop, &model.timers[i], delay, 0, model_fire), 0);
        model.deadlines[i] = loop_now(loop) + delay;
        break;
    }
    model.orders[i] = ++model.order;
    ck_assert(loop_timer_active(&model.timers[i]));
}

/* A timer that was started in this batch of callbacks comes in the next turn, whatever its deadline: the batch is what
 * was started up to now. */
static uint64_t batch_now, batch_order;

static void model_fire(struct loop_timer *timer)
{
    size_t mine = (size_t)(timer - model.timers), first = MODEL;

    if (loop_now(loop) != batch_now) {
        batch_now = loop_now(loop);
        batch_order = model.order;
    }
    for (size_t i = 0; i < MODEL; i++) {
        if (model.orders[i] == 0 || model.orders[i] > batch_order)
            continue;
        if (first == MODEL || model.deadlines[i] < model.deadlines[first] ||
            (model.deadlines[i] == model.deadlines[first] && model.orders[i] < model.orders[first]))
            first = i;
    }
    ck_assert_msg(model.orders[mine] != 0, "timer %zu fired though it is stopped", mine);
    ck_assert_msg(mine == first || model.orders[mine] > batch_order, "timer %zu fired, %zu was the first", mine, first);
    ck_assert_uint_le(model.deadlines[mine], loop_now(loop));
    ck_assert(!loop_timer_active(timer));
    model.orders[mine] = 0;
    model.fired++;
    if (test_random(&model.random) % 2 == 0)
        model_step();
}

START_TEST(matches_a_model)
{
    model.random = test_env("TEST_SEED", 11) + (uint64_t)_i;
    printf("timer: seed %" PRIu64 "\n", model.random);
    while (model.operations < MODEL_OPERATIONS) {
        for (int i = 0; i < 20; i++)
            model_step();
        test_turns(loop, 1);
    }
    test_run(loop);
    for (size_t i = 0; i < MODEL; i++)
        ck_assert_uint_eq(model.orders[i], 0);
    ck_assert_uint_gt(model.fired, MODEL_OPERATIONS / 10);
    ck_assert_uint_eq(model.fired, test_stats(loop).timers_fired);
}
END_TEST

/* Goal: nanoseconds count. Method: deadlines 1 ns apart, started in the opposite order. */
struct numbered {
    struct loop_timer timer;
    uint64_t          number;
};
static uint64_t numbered_next;

static void numbered_fire(struct loop_timer *timer)
{
    ck_assert_uint_eq(((struct numbered *)timer->data)->number, numbered_next);
    numbered_next++;
}

START_TEST(nanoseconds)
{
    static struct numbered timers[3000];
    uint64_t               base = loop_now(loop) + LOOP_MILLISECOND;

    for (uint64_t i = TEST_COUNT(timers); i-- > 0;) {
        timers[i].timer.data = &timers[i];
        timers[i].number = i;
        ck_assert_int_eq(loop_timer_start_at(loop, &timers[i].timer, base + i, 0, numbered_fire), 0);
    }
    test_run(loop);
    ck_assert_uint_eq(numbered_next, TEST_COUNT(timers));
}
END_TEST

/* Goal: equal deadlines fire in the order of their starts, restarts counting anew. Method: ten, the third started
 * again. */
START_TEST(equal_deadlines)
{
    static const uint64_t  expected[10] = {0, 1, 3, 4, 5, 6, 7, 8, 9, 2};
    static struct numbered timers[10];
    uint64_t               at = loop_now(loop) + LOOP_MILLISECOND;

    for (size_t i = 0; i < 10; i++) {
        timers[expected[i]].number = i;
        timers[i].timer.data = &timers[i];
        ck_assert_int_eq(loop_timer_start_at(loop, &timers[i].timer, at, 0, numbered_fire), 0);
    }
    ck_assert_int_eq(loop_timer_start_at(loop, &timers[2].timer, at, 0, numbered_fire), 0);
    test_run(loop);
    ck_assert_uint_eq(numbered_next, 10);
}
END_TEST

/* Goal: one-shots fire once, never early, and are inactive then. Method: delays from 0 to 20 ms one after the other. */
START_TEST(one_shot)
{
    static const uint64_t delays[] = {
        0, 1, 999, 1024, 65536, LOOP_MILLISECOND, 5 * LOOP_MILLISECOND, 20 * LOOP_MILLISECOND};

    for (size_t i = 0; i < TEST_COUNT(delays); i++) {
        struct probe probe = {0};

        probe_start(&probe, delays[i], 0);
        ck_assert(loop_timer_active(&probe.timer));
        ck_assert_uint_eq(loop_timer_due_in(&probe.timer), delays[i]);
        test_run(loop);
        ck_assert_uint_eq(probe.count, 1);
        ck_assert(!loop_timer_active(&probe.timer));
        ck_assert_uint_eq(loop_timer_due_in(&probe.timer), 0);
    }
}
END_TEST

struct repeat {
    struct loop_timer timer;
    uint64_t          start, period;
    uint32_t          count, limit;
};

static void repeat_fire(struct loop_timer *timer)
{
    struct repeat *repeat = timer->data;

    repeat->count++;
    ck_assert(loop_timer_active(timer)); /* started again before its callback */
    ck_assert_uint_ge(loop_now(loop), repeat->start + repeat->count * repeat->period);
    ck_assert_uint_le(loop_timer_due_in(timer), repeat->period);
    if (repeat->count == repeat->limit)
        loop_timer_stop(timer);
}

/* Goal: a repeating timer fires at each period, never early, until it is stopped, also in its own callback. */
START_TEST(repeats)
{
    struct repeat repeat = {.start = loop_now(loop), .period = LOOP_MILLISECOND, .limit = 10};

    repeat.timer.data = &repeat;
    ck_assert_int_eq(loop_timer_start(loop, &repeat.timer, repeat.period, repeat.period, repeat_fire), 0);
    test_run(loop);
    ck_assert_uint_eq(repeat.count, 10);
    ck_assert(!loop_timer_active(&repeat.timer));
}
END_TEST

/* Goal: the next deadline counts from the last, or from now if a whole period was missed. Method: a callback that
 * sleeps past three periods, and one that sleeps half a period. */
struct late {
    struct loop_timer timer;
    uint64_t          deadline, period;
    uint32_t          count;
};

static void late_fire(struct loop_timer *timer)
{
    struct late *late = timer->data;
    uint64_t     now = loop_now(loop);

    ck_assert_uint_ge(now, late->deadline);
    if (now - late->deadline < late->period)
        late->deadline += late->period;
    else
        late->deadline = now + late->period;
    ck_assert_uint_eq(loop_timer_due_in(timer), late->deadline - now);
    late->count++;
    if (late->count == 2)
        test_sleep(3 * late->period + late->period / 2);
    else if (late->count == 4)
        test_sleep(late->period / 2);
    else if (late->count == 8)
        loop_timer_stop(timer);
}

START_TEST(repeats_when_late)
{
    struct late late = {.period = 4 * LOOP_MILLISECOND};

    late.timer.data = &late;
    ck_assert_int_eq(loop_timer_start(loop, &late.timer, 4 * LOOP_MILLISECOND, late.period, late_fire), 0);
    late.deadline = loop_now(loop) + 4 * LOOP_MILLISECOND;
    test_run(loop);
    ck_assert_uint_eq(late.count, 8);
}
END_TEST

/* Goal: again counts from now, and refuses what does not repeat. */
START_TEST(again)
{
    struct probe      probe = {0};
    struct loop_timer zeroed = {0};

    ck_assert_int_eq(loop_timer_again(&zeroed), -EINVAL);
    probe_start(&probe, LOOP_SECOND, 0);
    ck_assert_int_eq(loop_timer_again(&probe.timer), -EINVAL);
    loop_timer_stop(&probe.timer);

    probe_start(&probe, LOOP_MILLISECOND, 3600 * LOOP_SECOND);
    test_run_until(loop, &probe.count, 1);
    test_sleep(LOOP_MILLISECOND);
    loop_update_time(loop);
    ck_assert_uint_lt(loop_timer_due_in(&probe.timer), 3600 * LOOP_SECOND);
    ck_assert_int_eq(loop_timer_again(&probe.timer), 0);
    ck_assert_uint_eq(loop_timer_due_in(&probe.timer), 3600 * LOOP_SECOND);
    loop_timer_stop(&probe.timer);
    ck_assert_int_eq(loop_timer_again(&probe.timer), 0); /* also when stopped: it was started before */
    ck_assert(loop_timer_active(&probe.timer));
    loop_timer_stop(&probe.timer);
}
END_TEST

/* Goal: bad arguments, and harmless ones. */
START_TEST(arguments)
{
    struct loop_timer timer = {0};

    loop_timer_stop(&timer);
    ck_assert(!loop_timer_active(&timer));
    ck_assert_uint_eq(loop_timer_due_in(&timer), 0);
    ck_assert_int_eq(loop_timer_start(loop, &timer, 0, 0, NULL), -EINVAL);
    ck_assert_int_eq(loop_timer_start_at(loop, &timer, 0, 0, NULL), -EINVAL);
    ck_assert(!loop_timer_active(&timer));
    ck_assert(!loop_alive(loop));
    ck_assert_int_eq(loop_timer_start(loop, &timer, 0, 0, no_fire), 0);
    loop_timer_stop(&timer);
    loop_timer_stop(&timer);
    test_turns(loop, 2);
    test_run(loop);
}
END_TEST

/* Goal: unref before the start counts too, and a restart keeps it. */
START_TEST(unref)
{
    struct probe probe = {0};

    loop_timer_unref(&probe.timer);
    probe_start(&probe, LOOP_MILLISECOND, 0);
    ck_assert(!loop_alive(loop));
    probe_start(&probe, 2 * LOOP_MILLISECOND, 0);
    ck_assert(!loop_alive(loop));
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_DEFAULT), 0);
    ck_assert_uint_eq(probe.count, 0);
    loop_timer_unref(&probe.timer); /* twice is once */
    loop_timer_ref(&probe.timer);
    ck_assert(loop_alive(loop));
    loop_timer_ref(&probe.timer);
    test_run(loop);
    ck_assert_uint_eq(probe.count, 1);
    loop_timer_unref(&probe.timer);
    ck_assert(!loop_alive(loop));
    probe_start(&probe, 0, 0);
    test_turns(loop, 1); /* it fires all the same while the loop runs */
    ck_assert_uint_eq(probe.count, 2);
}
END_TEST

struct pair {
    struct loop_timer first, second;
    uint32_t          fired;
    uint32_t          turn;
};

static void stop_other(struct loop_timer *timer)
{
    struct pair *pair = timer->data;

    pair->fired++;
    loop_timer_stop(timer == &pair->first ? &pair->second : &pair->first);
}

/* Goal: a callback may stop another timer that is due in the same turn. Method: two equal deadlines, each stops the
 * other. */
START_TEST(stop_of_a_due_one)
{
    struct pair pair = {0};

    pair.first.data = pair.second.data = &pair;
    ck_assert_int_eq(loop_timer_start(loop, &pair.first, 0, 0, stop_other), 0);
    ck_assert_int_eq(loop_timer_start(loop, &pair.second, 0, 0, stop_other), 0);
    test_run(loop);
    ck_assert_uint_eq(pair.fired, 1);
    ck_assert(!loop_timer_active(&pair.second));
}
END_TEST

static void free_both(struct loop_timer *timer)
{
    struct loop_timer *other = timer->data;

    loop_timer_stop(other);
    free(other);
    free(timer);
}

/* Goal: nothing of a timer is read after its last callback, or after its stop. Method: a callback frees itself and a
 * due neighbour. */
START_TEST(freed_in_the_callback)
{
    for (int i = 0; i < 10; i++) {
        struct loop_timer *first = calloc(1, sizeof(*first)), *second = calloc(1, sizeof(*second));

        first->data = second;
        second->data = first;
        ck_assert_int_eq(loop_timer_start(loop, first, 0, 0, free_both), 0);
        ck_assert_int_eq(loop_timer_start(loop, second, i % 2 == 0 ? 0 : LOOP_SECOND, LOOP_SECOND, free_both), 0);
        test_run(loop);
    }
}
END_TEST

static void restart_zero(struct loop_timer *timer)
{
    struct pair      *pair = timer->data;
    struct loop_stats stats = test_stats(loop);

    if (pair->fired++ > 0)
        ck_assert_uint_gt(stats.turns, pair->turn); /* never twice in a turn */
    pair->turn = (uint32_t)stats.turns;
    if (pair->fired < 50)
        ck_assert_int_eq(loop_timer_start(loop, timer, 0, 0, restart_zero), 0);
}

/* Goal: delay 0 from a callback means the next turn. Method: a timer that restarts itself fifty times, turn numbers
 * compared. */
START_TEST(zero_delay_in_a_callback)
{
    struct pair pair = {0};

    pair.first.data = &pair;
    ck_assert_int_eq(loop_timer_start(loop, &pair.first, 0, 0, restart_zero), 0);
    test_run(loop);
    ck_assert_uint_eq(pair.fired, 50);
}
END_TEST

static void start_past(struct loop_timer *timer)
{
    struct pair *pair = timer->data;

    pair->turn = (uint32_t)test_stats(loop).turns;
    ck_assert_int_eq(loop_timer_start_at(loop, &pair->second, 1, 0, stop_other), 0); /* the past, from a callback */
    ck_assert_uint_eq(loop_timer_due_in(&pair->second), 0);
}

/* Goal: a time in the past is due at once, in the next turn when asked for in a callback. */
START_TEST(past)
{
    struct pair  pair = {0};
    struct probe probe = {0};

    probe.timer.data = &probe;
    ck_assert_int_eq(loop_timer_start_at(loop, &probe.timer, 0, 0, probe_fire), 0);
    ck_assert_uint_eq(loop_timer_due_in(&probe.timer), 0);
    ck_assert(loop_timer_active(&probe.timer));
    test_turns(loop, 1);
    ck_assert_uint_eq(probe.count, 1);

    pair.first.data = pair.second.data = &pair;
    ck_assert_int_eq(loop_timer_start(loop, &pair.first, 0, 0, start_past), 0);
    test_turns(loop, 1);
    ck_assert_uint_eq(pair.fired, 0);
    test_turns(loop, 1);
    ck_assert_uint_eq(pair.fired, 1);
}
END_TEST

/* Goal: the far future is no overflow. Method: years, and the greatest values, beside a near timer; all stand still. */
START_TEST(far_future)
{
    static const uint64_t delays[] = {
        86400 * LOOP_SECOND, 365 * 86400 * LOOP_SECOND, 500ull * 365 * 86400 * LOOP_SECOND, INT64_MAX, UINT64_MAX - 1,
        UINT64_MAX};
    struct loop_timer timers[2 * TEST_COUNT(delays)] = {0};
    struct probe      probe = {0};

    for (size_t i = 0; i < TEST_COUNT(delays); i++) {
        ck_assert_int_eq(loop_timer_start(loop, &timers[2 * i], delays[i], 0, no_fire), 0);
        ck_assert_uint_gt(loop_timer_due_in(&timers[2 * i]), 86399 * LOOP_SECOND);
        ck_assert_int_eq(loop_timer_start_at(loop, &timers[2 * i + 1], delays[i], delays[i], no_fire), 0);
        if (delays[i] < loop_now(loop))
            loop_timer_stop(&timers[2 * i + 1]); /* a machine that is up for days */
    }
    probe_start(&probe, LOOP_MILLISECOND, 0);
    test_run_until(loop, &probe.count, 1);
    for (size_t i = 0; i < TEST_COUNT(timers); i++)
        loop_timer_stop(&timers[i]);
    test_run(loop);
}
END_TEST

/* Goal: a restart replaces the earlier start. Method: later, then sooner; the callback of the last start counts. */
START_TEST(restart)
{
    struct probe probe = {0};

    ck_assert_int_eq(loop_timer_start(loop, &probe.timer, 0, 0, no_fire), 0);
    probe_start(&probe, 5 * LOOP_MILLISECOND, 0);
    test_run(loop);
    ck_assert_uint_eq(probe.count, 1);
    ck_assert_int_eq(loop_timer_start(loop, &probe.timer, 3600 * LOOP_SECOND, 0, no_fire), 0);
    probe_start(&probe, LOOP_MILLISECOND, 0);
    test_run(loop);
    ck_assert_uint_eq(probe.count, 2);
}
END_TEST

/* Goal: a timer ends a wait for other things. Method: a silent recv beside it. */
START_TEST(beside_a_wait)
{
    struct probe    probe = {0};
    struct test_log log = {0};
    int             fds[2];
    char            byte;
    loop_id         id;

    test_socketpair(fds);
    id = loop_recv(loop, fds[0], &byte, 1, 0, test_log_cb, &log, NULL);
    for (uint32_t i = 1; i <= 20; i++) {
        probe_start(&probe, i * 200 * LOOP_MICROSECOND, 0);
        test_run_until(loop, &probe.count, i);
    }
    ck_assert_uint_eq(log.count, 0);
    ck_assert_int_eq(loop_cancel(loop, id), 0);
    test_run(loop);
    test_log_is(&log, -ECANCELED);
    test_close(fds[0]);
    test_close(fds[1]);
}
END_TEST

/* Goal: a callback finds its loop, and what the program has put there. Method: both, from a timer. */
static void look_around(struct loop_timer *timer)
{
    *(struct loop **)timer->data = loop_timer_loop(timer);
    *(int *)loop_data(loop_timer_loop(timer)) += 1;
}

START_TEST(finds_its_loop)
{
    struct loop      *other = test_loop_new(NULL), *seen = NULL;
    struct loop_timer timer = {.data = &seen};
    int               count = 0;

    ck_assert_ptr_null(loop_data(other));
    ck_assert_ptr_null(loop_timer_loop(&timer));
    loop_data_set(other, &count);
    ck_assert_int_eq(loop_timer_start(other, &timer, 0, 0, look_around), 0);
    test_run(other);
    ck_assert_ptr_eq(seen, other);
    ck_assert_int_eq(count, 1);
    test_loop_free(other);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("timer");
    TCase *tcase = test_case(suite, "timer");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, exact_order);
    tcase_add_loop_test(tcase, matches_a_model, 0, 3);
    tcase_add_test(tcase, nanoseconds);
    tcase_add_test(tcase, equal_deadlines);
    tcase_add_test(tcase, one_shot);
    tcase_add_test(tcase, repeats);
    tcase_add_test(tcase, repeats_when_late);
    tcase_add_test(tcase, again);
    tcase_add_test(tcase, arguments);
    tcase_add_test(tcase, unref);
    tcase_add_test(tcase, stop_of_a_due_one);
    tcase_add_test(tcase, freed_in_the_callback);
    tcase_add_test(tcase, zero_delay_in_a_callback);
    tcase_add_test(tcase, past);
    tcase_add_test(tcase, far_future);
    tcase_add_test(tcase, restart);
    tcase_add_test(tcase, beside_a_wait);
    tcase_add_test(tcase, finds_its_loop);
    return suite;
}
