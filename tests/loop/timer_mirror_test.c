/* tests/loop/timer_mirror_test.c: what libuv's tests ask of timers, and is not in timer_test; and very many of them. */
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

struct counted {
    struct loop_timer timer;
    uint32_t          calls;
};

static void on_timer(struct loop_timer *timer)
{
    struct counted *counted = timer->data;

    counted->calls++;
}

static void start(struct counted *counted, uint64_t delay_ns, uint64_t repeat_ns)
{
    counted->timer.data = counted;
    ck_assert_int_eq(loop_timer_start(loop, &counted->timer, delay_ns, repeat_ns, on_timer), 0);
}

/* Goal: LOOP_RUN_ONCE fires what is due in one turn, also the second time. */
START_TEST(run_once)
{
    struct counted counted = {0};

    start(&counted, 0, 0);
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_ONCE), 0);
    ck_assert_uint_eq(counted.calls, 1);
    start(&counted, LOOP_MILLISECOND, 0);
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_ONCE), 0);
    ck_assert_uint_eq(counted.calls, 2);
}
END_TEST

/* Goal: a repeating timer that is due several times over is called once in a turn. Method: a long sleep before the run,
 * and in the callback. */
static void slow(struct loop_timer *timer)
{
    on_timer(timer);
    test_sleep(5 * LOOP_MILLISECOND);
}

START_TEST(no_double_call)
{
    static const enum loop_run_mode modes[] = {LOOP_RUN_ONCE, LOOP_RUN_NOWAIT};
    struct counted                  counted = {.timer.data = &counted};

    ck_assert_int_eq(loop_timer_start(loop, &counted.timer, LOOP_MILLISECOND, LOOP_MILLISECOND, slow), 0);
    for (uint32_t i = 1; i <= 5; i++) {
        test_sleep(5 * LOOP_MILLISECOND);
        ck_assert_int_eq(loop_run(loop, modes[_i]), 1);
        ck_assert_uint_eq(counted.calls, i);
    }
    loop_timer_stop(&counted.timer);
}
END_TEST

/* Goal: a timer that does not keep the loop alive does not run in a run that has nothing else to do. */
START_TEST(no_run_on_unref)
{
    struct counted counted = {0};

    start(&counted, 0, 0);
    loop_timer_unref(&counted.timer);
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_DEFAULT), 0);
    ck_assert_uint_eq(counted.calls, 0);
    loop_timer_stop(&counted.timer);
}
END_TEST

/* Goal: periods beyond all bounds. Method: a timer due at once with the greatest period fires once, and stands for ever
 * after; loop_timer_again() with it, too. */
START_TEST(huge_repeat)
{
    struct counted huge = {0}, near = {0};

    start(&huge, 0, UINT64_MAX);
    start(&near, 2 * LOOP_MILLISECOND, LOOP_MILLISECOND);
    while (near.calls < 5)
        ck_assert_int_eq(loop_run(loop, LOOP_RUN_ONCE), 1);
    ck_assert_uint_eq(huge.calls, 1);
    ck_assert(loop_timer_active(&huge.timer));
    ck_assert_int_eq(loop_timer_again(&huge.timer), 0);
    test_turns(loop, 3);
    ck_assert_uint_eq(huge.calls, 1);
    loop_timer_stop(&huge.timer);
    loop_timer_stop(&near.timer);
}
END_TEST

/* Goal: what is started and stopped again in one turn leaves nothing, whatever was done to it in between; what stands
 * at the end of the turn counts. Method: random starts, restarts and stops in a callback; then all that stand fire. */
enum { BUSY = 200 };
static struct counted busy[BUSY];
static bool           stands[BUSY];

static void be_busy(struct loop_timer *timer)
{
    uint64_t *random = timer->data;

    for (int i = 0; i < 5000; i++) {
        size_t index = test_random(random) % BUSY;

        stands[index] = test_random(random) % 3 != 0;
        if (stands[index])
            start(&busy[index], test_random(random) % (20 * LOOP_MILLISECOND), 0);
        else
            loop_timer_stop(&busy[index].timer);
        ck_assert(loop_timer_active(&busy[index].timer) == stands[index]);
    }
}

START_TEST(busy_turn)
{
    uint64_t          random = test_env("TEST_SEED", 5) + (uint64_t)_i;
    struct loop_timer starter = {.data = &random};

    printf("timer: seed %" PRIu64 "\n", random);
    ck_assert_int_eq(loop_timer_start(loop, &starter, 0, 0, be_busy), 0);
    test_run(loop);
    for (size_t i = 0; i < BUSY; i++)
        ck_assert_uint_eq(busy[i].calls, stands[i]);
}
END_TEST

/* Goal: a million timers take no memory but their own; they are stopped, or fire, each once. */
enum { MILLION = 1000000 };

static void start_million(struct loop_timer *timer)
{
    struct counted *million = timer->data;
    uint64_t        random = 1;

    for (uint32_t i = 0; i < MILLION; i++)
        start(&million[i], test_random(&random) % (50 * LOOP_MILLISECOND), 0);
    for (uint32_t i = 0; i < MILLION; i += 2)
        loop_timer_stop(&million[(uint64_t)i * 7919 % MILLION].timer); /* the even ones, scattered */
}

START_TEST(million)
{
    struct counted   *timers = calloc(MILLION, sizeof(*timers));
    struct loop_timer starter = {.data = timers};
    uint64_t          calls;

    test_turns(loop, 1);
    calls = test_memory.calls;
    ck_assert_int_eq(loop_timer_start(loop, &starter, 0, 0, start_million), 0);
    test_run(loop);
    ck_assert_uint_eq(test_memory.calls, calls);
    for (uint32_t i = 0; i < MILLION; i++)
        ck_assert_uint_eq(timers[i].calls, i % 2);
    free(timers);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("timer_mirror");
    TCase *tcase = test_case(suite, "timer_mirror");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, run_once);
    tcase_add_loop_test(tcase, no_double_call, 0, 2);
    tcase_add_test(tcase, no_run_on_unref);
    tcase_add_test(tcase, huge_repeat);
    tcase_add_loop_test(tcase, busy_turn, 0, 5);
    tcase_add_test(tcase, million);
    return suite;
}
