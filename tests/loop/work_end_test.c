/* tests/loop/work_end_test.c: how work items end other than by themselves: cancels, deadlines, limits, the end of the
 * loop, want of memory. */
#include "tests/loop/work_jobs.h"

#include <pthread.h>

/* One thread, which stands still until the gate is opened: what is queued behind it does not begin. */
static struct gate gate;
static struct job  holder;

static void hold_thread(struct loop_options options)
{
    options.work.threads_max = 1;
    make_loop(options);
    gate_init(&gate);
    holder.gate = &gate;
    holder.res = 9;
    job_start(&holder, LOOP_WORK_DEFAULT, NULL);
    wait_until(&gate.entered, 1);
}

static void open_gate(struct loop_timer *timer)
{
    (void)timer;
    gate_let(&gate, 1);
}

/* ---- cancels */

/* Goal: an item that has not begun never runs; its callback comes, not inside the call, while the thread is held. */
START_TEST(cancel_before)
{
    struct job jobs[3];
    loop_id    ids[3];

    memset(jobs, 0, sizeof(jobs));
    hold_thread((struct loop_options){0});
    for (int i = 0; i < 3; i++)
        ids[i] =
            job_start(&jobs[i], (enum loop_work_class)i, i == 1 ? LOOP_TERMS(.timeout_ns = 3600 * LOOP_SECOND) : NULL);
    ck_assert_int_eq(loop_cancel(loop, ids[1]), 0);
    ck_assert_int_eq(loop_cancel(loop, ids[1]), 0);
    ck_assert_int_eq(loop_cancel(loop, ids[0]), 0);
    ck_assert_uint_eq(jobs[1].log.count, 0);
    ck_assert_uint_eq(test_stats(loop).work_waiting, 1);
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_ONCE), 1);
    job_is(&jobs[0], -ECANCELED, 0, 0);
    job_is(&jobs[1], -ECANCELED, 0, 0);
    ck_assert_int_eq(loop_cancel(loop, ids[1]), -ENOENT);
    ck_assert_uint_eq(holder.log.count, 0);
    gate_let(&gate, 1);
    test_run(loop);
    job_is(&holder, 9, 0, 1);
    job_is(&jobs[2], 0, 0, 1);
    ck_assert_uint_eq(test_stats(loop).cancels, 0); /* nothing to ask of the kernel */
}
END_TEST

/* Goal: a running item goes on and its real result comes; so does one that has run and waits to be told. */
START_TEST(cancel_running)
{
    struct job job = {.res = 6};
    loop_id    id;

    hold_thread((struct loop_options){0});
    ck_assert_int_eq(loop_cancel(loop, holder.log.last.id), -ENOENT); /* 0 names nothing */
    id = job_start(&job, LOOP_WORK_DEFAULT, NULL);
    gate_let(&gate, 1);
    wait_until(&runs, 2);
    ck_assert_int_eq(loop_cancel(loop, id), 0);
    test_run(loop);
    job_is(&holder, 9, 0, 1);
    job_is(&job, 6, 0, 1);
    ck_assert_int_eq(loop_cancel(loop, id), -ENOENT);

    memset(&holder.log, 0, sizeof(holder.log));
    holder.res = -EINTR; /* what a cancelled operation of the kernel's may say; here it is the function's own */
    id = job_start(&holder, LOOP_WORK_DEFAULT, NULL);
    wait_until(&gate.entered, 2);
    ck_assert_int_eq(loop_cancel(loop, id), 0);
    ck_assert_int_eq(loop_cancel(loop, id), 0);
    test_turns(loop, 3);
    ck_assert_uint_eq(holder.log.count, 0);
    gate_let(&gate, 1);
    test_run(loop);
    job_is(&holder, -EINTR, 0, 2);
}
END_TEST

/* Goal: a callback may cancel any item: one still queued, one that is told in the same turn after it. */
struct canceller {
    struct job victims[8];
    loop_id    ids[8];
    uint32_t   calls;
};

static void cancel_all_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    struct canceller *canceller = arg;

    ck_assert_int_eq(result->res, 0);
    canceller->calls++;
    for (int i = 0; i < 8; i++)
        ck_assert_int_eq(loop_cancel(of, canceller->ids[i]), 0);
}

static int32_t nothing_fn(void *arg)
{
    (void)arg;
    return 0;
}

START_TEST(cancel_in_callback)
{
    static struct canceller canceller;
    uint32_t                ran = 0;

    hold_thread((struct loop_options){0});
    ck_assert_int_gt(loop_work(loop, LOOP_WORK_URGENT, nothing_fn, cancel_all_cb, &canceller, NULL), 0);
    for (int i = 0; i < 8; i++) {
        canceller.victims[i].res = 4;
        canceller.victims[i].gate = i == 4 ? &gate : NULL; /* those behind it have not begun when it is told */
        canceller.ids[i] = job_start(&canceller.victims[i], LOOP_WORK_DEFAULT, NULL);
    }
    gate_let(&gate, 1);
    wait_until(&gate.entered, 2);
    test_run_until(loop, &canceller.calls, 1);
    gate_let(&gate, 1);
    test_run(loop);
    for (int i = 0; i < 8; i++)
        job_is(&canceller.victims[i], i <= 4 ? 4 : -ECANCELED, 0, i <= 4);
    for (int i = 0; i < 8; i++)
        ran += canceller.victims[i].runs;
    ck_assert_uint_eq(ran, 5);
}
END_TEST

/* ---- deadlines */

/* Goal: a deadline keeps an item that has not begun from running; one that runs comes with its result and the flag, one
 * in time without. Method: a timer behind the deadlines opens the gate. */
START_TEST(deadlines)
{
    struct loop_timer timer = {0};
    struct job        late = {0}, in_time = {.res = 8}, running = {.gate = &gate, .res = -ECANCELED};

    hold_thread((struct loop_options){0});
    job_start(&late, LOOP_WORK_DEFAULT, LOOP_TERMS(.timeout_ns = 5 * LOOP_MILLISECOND));
    job_start(&in_time, LOOP_WORK_DEFAULT, LOOP_TERMS(.timeout_ns = 3600 * LOOP_SECOND));
    ck_assert_int_eq(loop_timer_start(loop, &timer, 10 * LOOP_MILLISECOND, 0, open_gate), 0);
    test_run(loop);
    job_is(&late, -ETIMEDOUT, LOOP_TIMED_OUT, 0);
    job_is(&in_time, 8, 0, 1);
    job_is(&holder, 9, 0, 1);
    ck_assert_uint_eq(test_stats(loop).deadlines_passed, 1);

    job_start(&running, LOOP_WORK_SLOW, LOOP_TERMS(.timeout_ns = 5 * LOOP_MILLISECOND));
    wait_until(&gate.entered, 2);
    ck_assert_int_eq(loop_timer_start(loop, &timer, 10 * LOOP_MILLISECOND, 0, open_gate), 0);
    test_run(loop);
    job_is(&running, -ECANCELED, LOOP_TIMED_OUT, 1); /* its own result, not made -ETIMEDOUT */
    ck_assert_uint_eq(test_stats(loop).deadlines_passed, 2);
}
END_TEST

/* ---- limits */

/* Goal: at queue_max items are refused and counted; those that run do not count; there is room when one has begun or
 * been cancelled. */
START_TEST(queue_full)
{
    struct job jobs[5];
    loop_id    id = 0;

    memset(jobs, 0, sizeof(jobs));
    hold_thread((struct loop_options){.work.queue_max = 3});
    for (int i = 0; i < 3; i++)
        id = job_start(&jobs[i], (enum loop_work_class)i, NULL);
    for (uint32_t i = 1; i <= 3; i++) {
        ck_assert_int_eq(loop_work(loop, LOOP_WORK_URGENT, job_fn, test_log_cb, &jobs[3], NULL), -ENOBUFS);
        ck_assert_uint_eq(test_stats(loop).work_full, i);
    }
    ck_assert_uint_eq(test_stats(loop).ops_in_flight, 4);
    ck_assert_int_eq(loop_cancel(loop, id), 0);
    job_start(&jobs[3], LOOP_WORK_DEFAULT, NULL);
    ck_assert_int_eq(loop_work(loop, LOOP_WORK_DEFAULT, job_fn, test_log_cb, &jobs[4], NULL), -ENOBUFS);
    gate_let(&gate, 1);
    test_run(loop);
    for (int i = 0; i < 4; i++)
        job_is(&jobs[i], i == 2 ? -ECANCELED : 0, 0, i != 2);
    ck_assert_uint_eq(jobs[4].runs, 0);
    ck_assert_uint_eq(test_stats(loop).work_full, 4);
    ck_assert_uint_eq(test_stats(loop).ops_full, 0);
}
END_TEST

/* Goal: work counts among the operations in flight, and its callback finds room for the next. */
static void again_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    uint32_t *calls = arg;

    ck_assert_int_eq(result->res, 0);
    if (++*calls < 10)
        ck_assert_int_gt(loop_work(of, LOOP_WORK_DEFAULT, nothing_fn, again_cb, calls, NULL), 0);
}

START_TEST(ops_full)
{
    struct job job = {0};
    uint32_t   calls = 0;

    hold_thread((struct loop_options){.ops_max = 2});
    ck_assert_int_gt(loop_work(loop, LOOP_WORK_DEFAULT, nothing_fn, again_cb, &calls, NULL), 0);
    ck_assert_int_eq(loop_work(loop, LOOP_WORK_DEFAULT, job_fn, test_log_cb, &job, NULL), -ENOBUFS);
    ck_assert_int_eq(loop_nop(loop, test_log_cb, &job.log, NULL), -ENOBUFS);
    ck_assert_uint_eq(test_stats(loop).ops_full, 2);
    ck_assert_uint_eq(test_stats(loop).work_full, 0);
    gate_let(&gate, 1);
    test_run(loop);
    ck_assert_uint_eq(calls, 10);
    ck_assert_uint_eq(job.runs, 0);
}
END_TEST

/* Goal: work keeps the loop alive, but not with LOOP_BACKGROUND. */
START_TEST(alive)
{
    struct job background = {0};

    hold_thread((struct loop_options){0});
    ck_assert(loop_alive(loop));
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_NOWAIT), 1);
    gate_let(&gate, 1);
    test_run(loop);
    background.gate = &gate;
    job_start(&background, LOOP_WORK_SLOW, LOOP_TERMS(.flags = LOOP_BACKGROUND));
    wait_until(&gate.entered, 2);
    ck_assert(!loop_alive(loop));
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_DEFAULT), 0);
    ck_assert_uint_eq(background.log.count, 0);
    gate_let(&gate, 1);
    for (int i = 0; i < 20000 && background.log.count == 0; i++) {
        test_turns(loop, 1);
        test_sleep(100 * LOOP_MICROSECOND);
    }
    job_is(&background, 0, 0, 1);
}
END_TEST

/* ---- the end of the loop */

static uint32_t refused;

static void again_refused_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    test_log_cb(of, result, arg);
    ck_assert_int_eq(loop_work(of, LOOP_WORK_DEFAULT, nothing_fn, NULL, NULL, NULL), -ECANCELED);
    refused++;
}

static void *open_later(void *arg)
{
    (void)arg;
    test_sleep(30 * LOOP_MILLISECOND);
    gate_let(&gate, 2);
    return NULL;
}

/* Goal: loop_destroy takes back what has not begun and waits for what runs; all callbacks come, and can start nothing
 * more. Method: two threads held until the destroying has begun; the loop was run before, or never. */
START_TEST(destroy)
{
    struct loop_options options = {.sq_entries = 64, .work.threads_max = 2};
    struct loop        *mine = test_loop_new(&options);
    struct job          running[2], queued[20];
    pthread_t           thread;

    gate_init(&gate);
    memset(running, 0, sizeof(running));
    memset(queued, 0, sizeof(queued));
    if (_i == 1)
        test_turns(mine, 1);
    for (int i = 0; i < 2; i++) {
        running[i] = (struct job){.gate = &gate, .res = 40 + i};
        ck_assert_int_gt(loop_work(mine, LOOP_WORK_DEFAULT, job_fn, again_refused_cb, &running[i], NULL), 0);
    }
    wait_until(&gate.entered, 2);
    for (int i = 0; i < 20; i++)
        ck_assert_int_gt(loop_work(mine, (enum loop_work_class)(i % 3), job_fn, again_refused_cb, &queued[i],
                                   i % 2 == 0 ? LOOP_TERMS(.timeout_ns = 3600 * LOOP_SECOND) : NULL),
                         0);
    ck_assert_int_eq(pthread_create(&thread, NULL, open_later, NULL), 0);
    test_loop_drop(mine);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    job_is(&running[0], 40, 0, 1);
    job_is(&running[1], 41, 0, 1);
    for (int i = 0; i < 20; i++)
        job_is(&queued[i], -ECANCELED, 0, 0);
    ck_assert_uint_eq(refused, 22);
    ck_assert_uint_eq(gate.left, 2);
}
END_TEST

/* Goal: a loop may be destroyed with threads at rest, also by another thread when its own has ended; and with results
 * that nobody has fetched. */
static void *run_and_end(void *arg)
{
    for (int i = 0; i < 8; i++)
        if (loop_work(arg, LOOP_WORK_DEFAULT, nothing_fn, NULL, NULL, NULL) < 0)
            abort();
    if (loop_run(arg, LOOP_RUN_DEFAULT) != 0)
        abort();
    return NULL;
}

START_TEST(destroy_at_rest)
{
    struct loop *mine = test_loop_new(NULL);
    struct job   jobs[8];
    pthread_t    thread;

    ck_assert_int_eq(pthread_create(&thread, NULL, run_and_end, mine), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    test_loop_free(mine);

    mine = test_loop_new(NULL);
    memset(jobs, 0, sizeof(jobs));
    for (int i = 0; i < 8; i++)
        ck_assert_int_gt(loop_work(mine, LOOP_WORK_DEFAULT, job_fn, test_log_cb, &jobs[i], NULL), 0);
    wait_until(&runs, 8);
    test_loop_drop(mine);
    for (int i = 0; i < 8; i++)
        job_is(&jobs[i], 0, 0, 1);
}
END_TEST

/* ---- misuse, memory, everything at random */

static void *work_elsewhere(void *arg)
{
    (void)loop_work(arg, LOOP_WORK_DEFAULT, nothing_fn, NULL, NULL, NULL);
    return NULL;
}

static void wrong_thread(void *arg)
{
    struct loop *mine = test_loop_new(NULL);
    pthread_t    thread;

    (void)arg;
    test_turns(mine, 1);
    (void)pthread_create(&thread, NULL, work_elsewhere, mine);
    (void)pthread_join(thread, NULL);
}

START_TEST(misuse)
{
    test_expect_abort(wrong_thread, NULL, "loop_work(): called on a thread that does not own the loop");
}
END_TEST

/* Goal: without memory a start fails with -ENOMEM and leaves nothing behind; what has started is run and told without
 * any. Method: each allocation of a run fails in turn, and all that follow it. */
static uint32_t start_some(struct job *jobs, int count)
{
    uint32_t failed = 0;

    for (int i = 0; i < count; i++) {
        loop_id id = loop_work(loop, (enum loop_work_class)(i % 3), job_fn, test_log_cb, &jobs[i],
                               LOOP_TERMS(.timeout_ns = 3600 * LOOP_SECOND, .data = "abc", .data_size = 4));

        if (id > 0)
            continue;
        ck_assert_int_eq(id, -ENOMEM);
        jobs[i].log.finals = UINT32_MAX; /* a callback would fail the test */
        failed++;
    }
    return failed;
}

START_TEST(no_memory)
{
    enum { COUNT = 200, ROUNDS = 50 }; /* more than two slabs */
    bool     had_failures = false;
    uint64_t nth;

    for (nth = 1; nth <= ROUNDS; nth++) {
        static struct job jobs[COUNT];
        uint32_t          failed;

        memset(jobs, 0, sizeof(jobs));
        make_loop((struct loop_options){0});
        test_turns(loop, 1);
        test_memory.failed = 0;
        if (_i == 0)
            test_memory.fail_at = test_memory.calls + nth;
        else
            test_memory.fail_from = test_memory.calls + nth;
        failed = start_some(jobs, COUNT);
        ck_assert_uint_eq(test_stats(loop).ops_in_flight, COUNT - failed);
        test_run(loop);
        had_failures |= failed > 0;
        for (int i = 0; i < COUNT; i++)
            if (jobs[i].log.finals == UINT32_MAX)
                ck_assert_uint_eq(jobs[i].runs, 0);
            else
                job_is(&jobs[i], 0, 0, 1);
        test_memory.fail_at = test_memory.fail_from = 0;
        if (test_memory.failed == 0)
            break;
    }
    ck_assert(had_failures);
    ck_assert_uint_gt(nth, 4); /* pool, table, slabs */
    ck_assert_uint_lt(nth, ROUNDS);
}
END_TEST

/* Goal: whatever is started, cancelled and timed out when: each item is told once, has run at most once, and not at all
 * if it was taken back. Method: random starts, cancels and turns. */
struct random_item {
    loop_id          id;
    _Atomic uint32_t runs;
    uint32_t         told;
    uint32_t         sleep_us;
};

enum { RANDOM_ITEMS = 256 };
static struct random_item items[RANDOM_ITEMS];
static uint64_t           taken_back, told_ok;

static int32_t random_fn(void *arg)
{
    struct random_item *item = arg;

    item->runs++;
    if (item->sleep_us > 0)
        test_sleep(item->sleep_us * LOOP_MICROSECOND);
    return 1;
}

static void random_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    struct random_item *item = arg;
    bool                back = result->res == -ECANCELED || result->res == -ETIMEDOUT;

    (void)of;
    if (item->told++ != 0 || result->id != item->id || item->runs != (back ? 0 : 1) || (!back && result->res != 1) ||
        (result->res == -ETIMEDOUT && result->flags != LOOP_TIMED_OUT))
        ck_abort_msg("told %u, runs %u, res %d, flags %#x", item->told, (unsigned)item->runs, result->res,
                     result->flags);
    taken_back += back;
    told_ok += !back;
    item->id = 0;
}

static void random_start(struct random_item *item, uint64_t dice)
{
    struct loop_terms terms = {.timeout_ns = dice % 5 == 0 ? 1 + dice % 300000 : 0};

    item->runs = 0;
    item->told = 0;
    item->sleep_us = dice % 7 == 0 ? (uint32_t)(dice % 200) : 0;
    item->id = loop_work(loop, (enum loop_work_class)(dice / 7 % 3), random_fn, random_cb, item,
                         dice % 11 == 0 ? NULL : &terms);
    ck_assert(item->id > 0 || item->id == -ENOBUFS);
    if (item->id < 0)
        item->id = 0;
}

START_TEST(random_items)
{
    uint64_t seed = test_env("TEST_SEED", 1 + (uint64_t)_i), state = seed;
    uint32_t steps = (uint32_t)test_env("TEST_STEPS", 30000);

    make_loop((struct loop_options){.work = {.threads_max = 1 + (uint32_t)_i * 3, .queue_max = 200}});
    for (uint32_t step = 0; step < steps; step++) {
        uint64_t            dice = test_random(&state);
        struct random_item *item = &items[dice % RANDOM_ITEMS];

        dice /= RANDOM_ITEMS;
        if (item->id == 0)
            random_start(item, dice);
        else if (dice % 3 == 0 && loop_cancel(loop, item->id) != 0)
            ck_abort_msg("seed %" PRIu64 ": an item in flight could not be cancelled", seed);
        if (dice / 3 % 16 == 0)
            test_turns(loop, 1);
    }
    test_run(loop);
    for (int i = 0; i < RANDOM_ITEMS; i++)
        ck_assert_int_eq(items[i].id, 0);
    ck_assert_uint_gt(told_ok, 0);
    ck_assert_uint_gt(taken_back, 0);
    printf("work: %" PRIu64 " ran, %" PRIu64 " taken back, %" PRIu64 " refused\n", told_ok, taken_back,
           test_stats(loop).work_full);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("work_end");
    TCase *tcase = test_case(suite, "work_end");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, cancel_before);
    tcase_add_test(tcase, cancel_running);
    tcase_add_test(tcase, cancel_in_callback);
    tcase_add_test(tcase, deadlines);
    tcase_add_test(tcase, queue_full);
    tcase_add_test(tcase, ops_full);
    tcase_add_test(tcase, alive);
    tcase_add_loop_test(tcase, destroy, 0, 2);
    tcase_add_test(tcase, destroy_at_rest);
    tcase_add_test(tcase, misuse);
    tcase_add_loop_test(tcase, no_memory, 0, 2);
    tcase_add_loop_test(tcase, random_items, 0, 3);
    return suite;
}
