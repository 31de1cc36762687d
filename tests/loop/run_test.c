/* tests/loop/run_test.c: run modes, stopping, nested runs, and the cached time: what users of libuv rely on. */
#include "tests/support/test.h"

#include <poll.h>

enum { TURNS = 64 };

struct counter {
    struct loop *loop;
    uint32_t     calls, others;
    uint64_t     at_ns;
};

static void count_timer(struct loop_timer *timer)
{
    struct counter *counter = timer->data;

    counter->calls++;
    counter->at_ns = test_clock();
    ck_assert_uint_ge(counter->at_ns, timer->priv.node.deadline_ns - timer->priv.repeat_ns);
}

static void count_hook(struct loop_hook *hook)
{
    ((struct counter *)hook->data)->calls++;
}

static void count_and_end(struct loop_hook *hook)
{
    count_hook(hook);
    if (((struct counter *)hook->data)->calls == TURNS)
        loop_hook_stop(hook);
}

/* Goal: LOOP_RUN_ONCE is one turn where an idle hook is active. Method: it stops itself at the 64th. */
START_TEST(once_after_once)
{
    struct loop     *loop = test_loop_new(NULL);
    struct counter   counter = {0};
    struct loop_hook idle = {.data = &counter};

    ck_assert_int_eq(loop_hook_start(loop, &idle, LOOP_HOOK_IDLE, count_and_end), 0);
    for (uint32_t i = 1; i <= TURNS; i++) {
        ck_assert_int_eq(loop_run(loop, LOOP_RUN_ONCE), i < TURNS);
        ck_assert_uint_eq(counter.calls, i);
    }
    test_loop_free(loop);
}
END_TEST

/* Goal: LOOP_RUN_NOWAIT does not wait for a timer, and says that something is left. */
START_TEST(nowait)
{
    struct loop      *loop = test_loop_new(NULL);
    struct counter    counter = {0};
    struct loop_timer timer = {.data = &counter};

    ck_assert_int_eq(loop_timer_start(loop, &timer, 3600 * LOOP_SECOND, 0, count_timer), 0);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(loop_run(loop, LOOP_RUN_NOWAIT), 1);
    ck_assert_uint_eq(counter.calls, 0);
    loop_timer_stop(&timer);
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_NOWAIT), 0);
    test_loop_free(loop);
}
END_TEST

/* Goal: an unknown mode is refused. */
START_TEST(unknown_mode)
{
    struct loop *loop = test_loop_new(NULL);

    ck_assert_int_eq(loop_run(loop, (enum loop_run_mode)3), -EINVAL);
    ck_assert_int_eq(loop_run(loop, (enum loop_run_mode) - 1), -EINVAL);
    test_loop_free(loop);
}
END_TEST

/* Goal: LOOP_RUN_ONCE waits for a timer and calls it: at once (delay 0), after a while, and never early; a repeating
 * one once a turn, also by LOOP_RUN_NOWAIT. */
START_TEST(timers_once)
{
    struct loop      *loop = test_loop_new(NULL);
    struct counter    counter = {0};
    struct loop_timer timer = {.data = &counter};

    ck_assert_int_eq(loop_timer_start(loop, &timer, 0, 0, count_timer), 0);
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_ONCE), 0);
    ck_assert_uint_eq(counter.calls, 1);
    ck_assert_int_eq(loop_timer_start(loop, &timer, LOOP_MILLISECOND, 0, count_timer), 0);
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_ONCE), 0);
    ck_assert_uint_eq(counter.calls, 2);
    ck_assert_int_eq(loop_timer_start(loop, &timer, LOOP_MILLISECOND, LOOP_MILLISECOND, count_timer), 0);
    test_sleep(5 * LOOP_MILLISECOND);
    ck_assert_int_eq(loop_run(loop, _i == 0 ? LOOP_RUN_ONCE : LOOP_RUN_NOWAIT), 1);
    ck_assert_uint_eq(counter.calls, 3);
    loop_timer_stop(&timer);
    test_loop_free(loop);
}
END_TEST

/* Goal: a due timer without a ref does not fire where nothing keeps the loop alive. */
START_TEST(unref_timer_does_not_run)
{
    struct loop      *loop = test_loop_new(NULL);
    struct counter    counter = {0};
    struct loop_timer timer = {.data = &counter};

    loop_timer_unref(&timer);
    ck_assert_int_eq(loop_timer_start(loop, &timer, 0, 0, count_timer), 0);
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_DEFAULT), 0);
    ck_assert_uint_eq(counter.calls, 0);
    loop_timer_stop(&timer);
    test_loop_free(loop);
}
END_TEST

/* Goal: a timer of no delay fires in the turn in which a check hook has started it, in the same as a prepare hook has,
 * and in the next as a timer has. */
struct starter {
    struct counter    counter;
    struct loop_timer timer;
    uint64_t          turn, fired_turn;
};

static void fired(struct loop_timer *timer)
{
    struct starter *starter = timer->data;

    starter->fired_turn = test_stats(loop_timer_loop(timer)).turns;
    loop_stop(loop_timer_loop(timer));
}

static void start_zero(struct loop *loop, struct starter *starter)
{
    starter->turn = test_stats(loop).turns;
    starter->timer.data = starter;
    ck_assert_int_eq(loop_timer_start(loop, &starter->timer, 0, 0, fired), 0);
}

static void start_from_hook(struct loop_hook *hook)
{
    start_zero(loop_hook_loop(hook), hook->data);
    loop_hook_stop(hook);
}

static void start_from_timer(struct loop_timer *timer)
{
    start_zero(loop_timer_loop(timer), timer->data);
}

START_TEST(timer_from_hooks)
{
    struct loop      *loop = test_loop_new(NULL);
    struct starter    starter = {0};
    struct loop_hook  hook = {.data = &starter};
    struct loop_timer first = {.data = &starter};
    struct test_log   log = {0};

    ck_assert_int_gt(loop_nop(loop, test_log_cb, &log, NULL), 0); /* so that the first turn does not wait */
    if (_i < 3)
        ck_assert_int_eq(loop_hook_start(loop, &hook, (enum loop_hook_kind)_i, start_from_hook), 0);
    else
        ck_assert_int_eq(loop_timer_start(loop, &first, 0, 0, start_from_timer), 0);
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_DEFAULT), 0);
    ck_assert_uint_gt(starter.turn, 0);
    ck_assert_uint_eq(starter.fired_turn, starter.turn + (_i == 3));
    test_loop_free(loop);
}
END_TEST

/* ---- stopping */

/* Goal: after a stop the turn goes on to its end, and the loop can be run again. Method: a prepare hook stops; the
 * timer due in that turn still fires, and the run does not wait for another. */
static void stop_in_hook(struct loop_hook *hook)
{
    count_hook(hook);
    loop_stop(loop_hook_loop(hook));
}

START_TEST(stop_in_the_turn)
{
    struct loop      *loop = test_loop_new(NULL);
    struct counter    hooks = {0}, timers = {0};
    struct loop_hook  hook = {.data = &hooks};
    struct loop_timer due = {.data = &timers}, far = {.data = &timers};

    ck_assert_int_eq(loop_hook_start(loop, &hook, (enum loop_hook_kind)_i, stop_in_hook), 0);
    ck_assert_int_eq(loop_timer_start(loop, &far, 3600 * LOOP_SECOND, 0, count_timer), 0);
    for (uint32_t i = 1; i <= 3; i++) {
        ck_assert_int_eq(loop_timer_start(loop, &due, 0, 0, count_timer), 0);
        ck_assert_int_eq(loop_run(loop, LOOP_RUN_DEFAULT), 1);
        ck_assert_uint_eq(hooks.calls, i);
        ck_assert_uint_eq(timers.calls, i);
    }
    test_loop_drop(loop);
}
END_TEST

/* Goal: a stop before a run makes that run do nothing, whatever its mode; the next does what it should. */
START_TEST(stop_before)
{
    struct loop     *loop = test_loop_new(NULL);
    struct counter   counter = {0};
    struct loop_hook hook = {.data = &counter};

    ck_assert_int_eq(loop_hook_start(loop, &hook, LOOP_HOOK_IDLE, count_hook), 0);
    loop_stop(loop);
    ck_assert_int_eq(loop_run(loop, (enum loop_run_mode)_i), 1);
    ck_assert_uint_eq(counter.calls, 0);
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_NOWAIT), 1);
    ck_assert_uint_eq(counter.calls, 1);
    test_loop_drop(loop);
}
END_TEST

/* ---- nested runs */

static void reenter(struct counter *counter, struct loop *loop)
{
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_NOWAIT), -EBUSY);
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_DEFAULT), -EBUSY);
    ck_assert_int_eq(loop_dispatch(loop, 0), -EBUSY);
    ck_assert_int_eq(loop_destroy(loop), -EBUSY);
    counter->calls++;
}

static void reenter_hook(struct loop_hook *hook)
{
    reenter(hook->data, loop_hook_loop(hook));
    loop_hook_stop(hook);
}

static void reenter_post(struct loop *loop, void *arg)
{
    reenter(arg, loop);
}

static void reenter_op(struct loop *loop, const struct loop_result *result, void *arg)
{
    (void)result;
    reenter(arg, loop);
}

static void reenter_walk(struct loop *loop, const struct loop_walk_item *item, void *arg)
{
    (void)item;
    reenter(arg, loop);
}

static int32_t work(void *arg)
{
    (void)arg;
    return 0;
}

/* Goal: a run from any callback is refused with -EBUSY. Method: hooks, a post, a result of work, a walk outside of
 * runs. Others: loop_test. */
START_TEST(nested)
{
    struct loop     *loop = test_loop_new(NULL);
    struct counter   counter = {0};
    struct loop_hook hooks[3] = {{.data = &counter}, {.data = &counter}, {.data = &counter}};

    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(loop_hook_start(loop, &hooks[i], (enum loop_hook_kind)i, reenter_hook), 0);
    ck_assert_int_eq(loop_post(loop, reenter_post, &counter), 0);
    ck_assert_int_gt(loop_work(loop, LOOP_WORK_DEFAULT, work, reenter_op, &counter, NULL), 0);
    test_run(loop);
    ck_assert_uint_eq(counter.calls, 5);
    ck_assert_int_eq(loop_hook_start(loop, &hooks[0], LOOP_HOOK_CHECK, reenter_hook), 0);
    ck_assert_int_eq(loop_walk(loop, reenter_walk, &counter), 0);
    ck_assert_uint_eq(counter.calls, 6);
    loop_hook_stop(&hooks[0]);
    test_loop_free(loop);
}
END_TEST

/* ---- time */

/* Goal: inside callbacks the time stands still, and timers count from it, until loop_update_time(); loop_clock() goes
 * on. Method: a callback that takes a while starts two timers of the same delay. */
struct slow {
    struct loop_timer before, after;
    uint64_t          begin;
};

static void be_slow(struct loop *loop, const struct loop_result *result, void *arg)
{
    struct slow *slow = arg;
    uint64_t     now = loop_now(loop), clock = loop_clock();

    (void)result;
    test_sleep(5 * LOOP_MILLISECOND);
    ck_assert_uint_eq(loop_now(loop), now);
    ck_assert_uint_ge(loop_clock(), clock + 5 * LOOP_MILLISECOND);
    ck_assert_int_eq(loop_timer_start(loop, &slow->before, LOOP_SECOND, 0, count_timer), 0);
    ck_assert_uint_eq(loop_timer_due_in(&slow->before), LOOP_SECOND);
    loop_update_time(loop);
    ck_assert_uint_ge(loop_now(loop), now + 5 * LOOP_MILLISECOND);
    ck_assert_int_eq(loop_timer_start(loop, &slow->after, LOOP_SECOND, 0, count_timer), 0);
    ck_assert_uint_eq(slow->before.priv.node.deadline_ns, now + LOOP_SECOND);
    ck_assert_uint_ge(slow->after.priv.node.deadline_ns, now + LOOP_SECOND + 5 * LOOP_MILLISECOND);
}

START_TEST(time_in_callbacks)
{
    struct loop *loop = test_loop_new(NULL);
    struct slow  slow = {0};

    ck_assert_int_gt(loop_nop(loop, be_slow, &slow, NULL), 0);
    test_turns(loop, 1);
    ck_assert(loop_timer_active(&slow.after));
    loop_timer_stop(&slow.before);
    loop_timer_stop(&slow.after);
    test_loop_free(loop);
}
END_TEST

/* Goal: outside of callbacks a timer counts from the real time. Method: a start long after the last turn. */
START_TEST(time_outside)
{
    struct loop      *loop = test_loop_new(NULL);
    struct loop_timer timer = {0};
    uint64_t          now;

    test_turns(loop, 1);
    test_sleep(5 * LOOP_MILLISECOND);
    now = test_clock();
    ck_assert_int_eq(loop_timer_start(loop, &timer, LOOP_SECOND, 0, count_timer), 0);
    ck_assert_uint_ge(timer.priv.node.deadline_ns, now + LOOP_SECOND);
    ck_assert_uint_ge(loop_now(loop), now);
    loop_timer_stop(&timer);
    test_loop_free(loop);
}
END_TEST

/* ---- refs of operations */

/* Goal: loop_op_unref() and loop_op_ref() do what LOOP_BACKGROUND does at the start, at any time. Method: a poll,
 * one-shot (_i = 0), multishot, with a deadline, and a receive started with LOOP_BACKGROUND; then it ends as usual. */
static loop_id start_op(struct loop *loop, int kind, int fd, struct test_log *log)
{
    static char byte;

    switch (kind) {
    case 0: return loop_poll_add(loop, fd, POLLIN, test_log_cb, log, NULL);
    case 1: return loop_poll_add_multishot(loop, fd, POLLIN, 0, test_log_cb, log, NULL);
    case 2: return loop_poll_add(loop, fd, POLLIN, test_log_cb, log, LOOP_TERMS(.timeout_ns = 3600 * LOOP_SECOND));
    default: return loop_recv(loop, fd, &byte, 1, 0, test_log_cb, log, LOOP_TERMS(.flags = LOOP_BACKGROUND));
    }
}

START_TEST(refs_of_operations)
{
    struct loop    *loop = test_loop_new(NULL);
    struct test_log log = {0};
    loop_id         id;
    int             fds[2];

    test_socketpair(fds);
    id = start_op(loop, _i, fds[0], &log);
    ck_assert_int_gt(id, 0);
    ck_assert(loop_alive(loop) == (_i != 3));
    ck_assert_int_eq(loop_op_unref(loop, id), 0);
    ck_assert_int_eq(loop_op_unref(loop, id), 0);
    ck_assert(!loop_alive(loop));
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_DEFAULT), 0);
    ck_assert_int_eq(loop_op_ref(loop, id), 0);
    ck_assert(loop_alive(loop));
    ck_assert_int_eq(loop_op_unref(loop, id), 0);
    test_write(fds[1], "x", 1);
    for (int i = 0; i < 100000 && log.count == 0; i++)
        (void)loop_run(loop, LOOP_RUN_NOWAIT);
    if (log.finals == 0)
        ck_assert_int_eq(loop_cancel(loop, id), 0);
    for (int i = 0; i < 100000 && log.finals == 0; i++)
        (void)loop_run(loop, LOOP_RUN_NOWAIT);
    ck_assert_int_eq(loop_op_ref(loop, id), -ENOENT);
    ck_assert_int_eq(loop_op_unref(loop, id), -ENOENT);
    ck_assert_int_eq(loop_op_unref(loop, 0), -ENOENT);
    ck_assert_int_eq(loop_op_unref(loop, -EINVAL), -ENOENT);
    ck_assert(!loop_alive(loop));
    log = (struct test_log){0};
    ck_assert_int_gt(start_op(loop, 0, fds[0], &log), 0); /* the counts are as they were */
    ck_assert(loop_alive(loop));
    test_loop_drop(loop);
    test_close(fds[0]);
    test_close(fds[1]);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("run");
    TCase *tcase = test_case(suite, "run");

    tcase_add_test(tcase, once_after_once);
    tcase_add_test(tcase, nowait);
    tcase_add_test(tcase, unknown_mode);
    tcase_add_loop_test(tcase, timers_once, 0, 2);
    tcase_add_test(tcase, unref_timer_does_not_run);
    tcase_add_loop_test(tcase, timer_from_hooks, 0, 4);
    tcase_add_loop_test(tcase, stop_in_the_turn, 0, 3);
    tcase_add_loop_test(tcase, stop_before, 0, 3);
    tcase_add_test(tcase, nested);

    tcase = test_case(suite, "time");
    tcase_add_test(tcase, time_in_callbacks);
    tcase_add_test(tcase, time_outside);

    tcase = test_case(suite, "ref");
    tcase_add_loop_test(tcase, refs_of_operations, 0, 4);
    return suite;
}
