/* tests/loop/hook_test.c: hooks: starting, stopping, order, what keeps the loop alive. */
#include "tests/support/test.h"

#include <pthread.h>

enum { MANY = 500 };

struct counter {
    uint32_t calls, stop_after; /* 0: never */
};

static void count(struct loop_hook *hook)
{
    struct counter *counter = hook->data;

    if (++counter->calls == counter->stop_after)
        loop_hook_stop(hook);
}

static void start(struct loop *loop, struct loop_hook *hook, enum loop_hook_kind kind, loop_hook_cb *cb)
{
    ck_assert_int_eq(loop_hook_start(loop, hook, kind, cb), 0);
    ck_assert(loop_hook_active(hook));
    ck_assert_ptr_eq(loop_hook_loop(hook), loop);
}

/* Goal: bad arguments are refused, and nothing happens. */
START_TEST(arguments)
{
    struct loop     *loop = test_loop_new(NULL);
    struct loop_hook hook = {0};

    ck_assert_int_eq(loop_hook_start(loop, &hook, LOOP_HOOK_CHECK, NULL), -EINVAL);
    ck_assert_int_eq(loop_hook_start(loop, &hook, (enum loop_hook_kind)5, count), -EINVAL);
    ck_assert_int_eq(loop_hook_start(loop, &hook, (enum loop_hook_kind) - 1, count), -EINVAL);
    ck_assert(!loop_hook_active(&hook));
    ck_assert_ptr_null(loop_hook_loop(&hook));
    ck_assert(loop_hook_has_ref(&hook));
    loop_hook_stop(&hook);
    ck_assert(!loop_alive(loop));
    test_loop_free(loop);
}
END_TEST

/* Goal: each kind alone, with a ref, keeps the loop alive until it is stopped; only idle hooks keep it from waiting.
 * Method: a hook that stops itself when it was called three times; beside it for prepare and check, a repeating timer
 * gives the loop turns. */
static void tick(struct loop_timer *timer)
{
    (void)timer;
}

START_TEST(keeps_alive)
{
    struct loop      *loop = test_loop_new(NULL);
    struct counter    counter = {.stop_after = 3};
    struct loop_hook  hook = {.data = &counter};
    struct loop_timer timer = {0};

    start(loop, &hook, (enum loop_hook_kind)_i, count);
    ck_assert(loop_alive(loop));
    if (_i != LOOP_HOOK_IDLE) {
        loop_timer_unref(&timer);
        ck_assert_int_eq(loop_timer_start(loop, &timer, LOOP_MILLISECOND, LOOP_MILLISECOND, tick), 0);
    }
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_DEFAULT), 0);
    ck_assert_uint_eq(counter.calls, 3);
    ck_assert(!loop_hook_active(&hook));
    loop_timer_stop(&timer);
    test_loop_free(loop);
}
END_TEST

/* Goal: without a ref it does not, and is called all the same while the loop runs. Method: unref before the start, and
 * after it; a run returns at once; then a nop keeps it for a turn. */
START_TEST(without_ref)
{
    struct loop     *loop = test_loop_new(NULL);
    struct counter   counter = {0};
    struct loop_hook hook = {.data = &counter};
    struct test_log  log = {0};

    loop_hook_unref(&hook);
    loop_hook_unref(&hook);
    ck_assert(!loop_hook_has_ref(&hook));
    start(loop, &hook, (enum loop_hook_kind)_i, count);
    ck_assert(!loop_alive(loop));
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_DEFAULT), 0);
    ck_assert_uint_eq(counter.calls, 0);
    loop_hook_ref(&hook);
    ck_assert(loop_alive(loop));
    loop_hook_unref(&hook);
    ck_assert(!loop_alive(loop));
    ck_assert_int_gt(loop_nop(loop, test_log_cb, &log, NULL), 0);
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_DEFAULT), 0);
    ck_assert_uint_eq(counter.calls, 1);
    loop_hook_stop(&hook);
    loop_hook_ref(&hook);
    ck_assert(!loop_alive(loop));
    test_loop_free(loop);
}
END_TEST

/* Goal: a hook that lets go of its ref in its callback ends the run in that turn. */
static void let_go(struct loop_hook *hook)
{
    count(hook);
    loop_hook_unref(hook);
}

START_TEST(unref_in_the_callback)
{
    struct loop     *loop = test_loop_new(NULL);
    struct counter   counter = {0};
    struct loop_hook hook = {.data = &counter};

    start(loop, &hook, LOOP_HOOK_PREPARE, let_go);
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_DEFAULT), 0);
    ck_assert_uint_eq(counter.calls, 1);
    loop_hook_stop(&hook);
    test_loop_free(loop);
}
END_TEST

/* Goal: hooks of one kind are called in the order of their start; a restart goes behind, also if it is another kind;
 * what is started by a hook of its kind comes in the next turn, and in the order of starts for good. */
struct order {
    char              text[32];
    uint32_t          length;
    struct loop_hook *late;
};

struct named {
    struct loop_hook hook;
    struct order    *order;
    char             name;
};

static void note(struct loop_hook *hook)
{
    struct named *named = hook->data;

    ck_assert_uint_lt(named->order->length, sizeof(named->order->text) - 1);
    named->order->text[named->order->length++] = named->name;
}

static void note_and_start(struct loop_hook *hook)
{
    struct named *named = hook->data;

    note(hook);
    if (named->order->late != NULL)
        start(loop_hook_loop(hook), named->order->late, (enum loop_hook_kind)hook->priv.kind, note);
    named->order->late = NULL;
}

static void turn_is(struct loop *loop, struct order *order, const char *text)
{
    memset(order->text, 0, sizeof(order->text));
    order->length = 0;
    test_turns(loop, 1);
    ck_assert_str_eq(order->text, text);
}

START_TEST(in_order_of_start)
{
    enum loop_hook_kind kind = (enum loop_hook_kind)_i, other = (enum loop_hook_kind)((_i + 1) % 3);
    struct loop        *loop = test_loop_new(NULL);
    struct order        order = {0};
    struct named        hooks[4];

    for (size_t i = 0; i < 4; i++)
        hooks[i] = (struct named){.hook.data = &hooks[i], .order = &order, .name = (char)('a' + i)};
    order.late = &hooks[3].hook;
    start(loop, &hooks[0].hook, kind, note_and_start);
    start(loop, &hooks[1].hook, kind, note);
    start(loop, &hooks[2].hook, kind, note);
    turn_is(loop, &order, "abc");
    turn_is(loop, &order, "abcd");
    start(loop, &hooks[1].hook, kind, note);
    turn_is(loop, &order, "acdb");
    start(loop, &hooks[0].hook, other, note);
    turn_is(loop, &order, kind == LOOP_HOOK_CHECK ? "acdb" : "cdba");
    loop_hook_stop(&hooks[0].hook);
    loop_hook_stop(&hooks[2].hook);
    turn_is(loop, &order, "db");
    test_loop_drop(loop);
}
END_TEST

/* Goal: a hook may restart itself, and is still called once a turn. */
static void restart(struct loop_hook *hook)
{
    count(hook);
    start(loop_hook_loop(hook), hook, LOOP_HOOK_CHECK, restart);
}

START_TEST(restarts_itself)
{
    struct loop     *loop = test_loop_new(NULL);
    struct counter   counter = {0};
    struct loop_hook hook = {.data = &counter};

    start(loop, &hook, LOOP_HOOK_CHECK, restart);
    test_turns(loop, 5);
    ck_assert_uint_eq(counter.calls, 5);
    test_loop_drop(loop);
}
END_TEST

/* Goal: a hook that stops the one behind it is followed by the one after that. Method: poison it. */
static void stop_next(struct loop_hook *hook)
{
    struct loop_hook *next = hook->data;

    loop_hook_stop(next);
    memset(next, 0xa5, sizeof(*next));
}

START_TEST(stops_the_next)
{
    struct loop     *loop = test_loop_new(NULL);
    struct counter   counter = {0}, last = {0};
    struct loop_hook hooks[3] = {{.data = &hooks[1]}, {.data = &counter}, {.data = &last}};

    start(loop, &hooks[0], (enum loop_hook_kind)_i, stop_next);
    start(loop, &hooks[1], (enum loop_hook_kind)_i, count);
    start(loop, &hooks[2], (enum loop_hook_kind)_i, count);
    test_turns(loop, 1);
    ck_assert_uint_eq(counter.calls, 0);
    ck_assert_uint_eq(last.calls, 1);
    loop_hook_stop(&hooks[0]);
    loop_hook_stop(&hooks[2]);
    ck_assert(!loop_alive(loop));
    test_loop_free(loop);
}
END_TEST

/* Goal: hooks may stop, free and start each other in the midst of a round. Method: many hooks of each kind; each stops
 * a random one and starts another; one that is stopped is poisoned. */
struct crowd {
    struct loop      *loop;
    uint64_t          seed;
    uint32_t          calls;
    struct loop_hook *hooks[MANY];
};

static void meddle(struct loop_hook *hook);

static void renew(struct crowd *crowd, size_t i)
{
    if (crowd->hooks[i] != NULL) {
        loop_hook_stop(crowd->hooks[i]);
        memset(crowd->hooks[i], 0xa5, sizeof(*crowd->hooks[i]));
        free(crowd->hooks[i]);
    }
    crowd->hooks[i] = calloc(1, sizeof(*crowd->hooks[i]));
    ck_assert_ptr_nonnull(crowd->hooks[i]);
    crowd->hooks[i]->data = crowd;
    start(crowd->loop, crowd->hooks[i], (enum loop_hook_kind)(test_random(&crowd->seed) % 3), meddle);
}

static void meddle(struct loop_hook *hook)
{
    struct crowd *crowd = hook->data;

    crowd->calls++;
    renew(crowd, test_random(&crowd->seed) % MANY);
}

START_TEST(stop_each_other)
{
    struct crowd crowd = {.loop = test_loop_new(NULL), .seed = test_env("TEST_SEED", 7)};
    uint32_t     before;

    for (size_t i = 0; i < MANY; i++)
        renew(&crowd, i);
    for (int turn = 0; turn < 20; turn++) {
        before = crowd.calls;
        test_turns(crowd.loop, 1);
        ck_assert_uint_gt(crowd.calls, before);
        ck_assert_uint_le(crowd.calls - before, MANY * 3);
    }
    for (size_t i = 0; i < MANY; i++) {
        loop_hook_stop(crowd.hooks[i]);
        free(crowd.hooks[i]);
    }
    ck_assert(!loop_alive(crowd.loop));
    test_loop_free(crowd.loop);
}
END_TEST

/* Goal: an idle hook does not starve the others. Method: timer, prepare and check beside it; each comes as often as
 * turns or periods do; LOOP_RUN_ONCE with an idle hook is one turn. */
static void end_all(struct loop_timer *timer)
{
    loop_stop(loop_timer_loop(timer));
}

START_TEST(idle_starves_nobody)
{
    struct loop      *loop = test_loop_new(NULL);
    struct counter    idle = {0}, prepare = {0}, check = {0};
    struct loop_hook  hooks[3] = {{.data = &prepare}, {.data = &check}, {.data = &idle}};
    struct loop_timer timer = {0};

    for (int i = 0; i < 3; i++)
        start(loop, &hooks[i], (enum loop_hook_kind)i, count);
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_ONCE), 1);
    ck_assert_uint_eq(idle.calls, 1);
    ck_assert_int_eq(loop_timer_start(loop, &timer, 5 * LOOP_MILLISECOND, 0, end_all), 0);
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_DEFAULT), 1);
    ck_assert_uint_gt(idle.calls, 2);
    ck_assert_uint_eq(prepare.calls, idle.calls);
    ck_assert_uint_eq(check.calls, idle.calls);
    test_loop_drop(loop);
}
END_TEST

/* Goal: hooks can't be started while the loop is destroyed, and are not called then. Method: an operation whose final
 * callback tries. */
static void try_start(struct loop *loop, const struct loop_result *result, void *arg)
{
    struct loop_hook *hook = arg;

    ck_assert_int_eq(result->res, -ECANCELED);
    ck_assert_int_eq(loop_hook_start(loop, hook, LOOP_HOOK_IDLE, count), -ECANCELED);
}

START_TEST(destroy)
{
    struct loop     *loop = test_loop_new(NULL);
    struct counter   counter = {0};
    struct loop_hook hook = {.data = &counter}, other = {0};
    int              fds[2];
    char             byte;

    test_socketpair(fds);
    start(loop, &hook, LOOP_HOOK_PREPARE, count);
    ck_assert_int_gt(loop_recv(loop, fds[0], &byte, 1, 0, try_start, &other, NULL), 0);
    test_loop_drop(loop);
    ck_assert_uint_eq(counter.calls, 0);
    ck_assert(!loop_hook_active(&hook));
    test_close(fds[0]);
    test_close(fds[1]);
}
END_TEST

/* Goal: a chain left open by a hook is found. */
static void open_chain(struct loop_hook *hook)
{
    if (loop_chain_begin(loop_hook_loop(hook), 2, 0) < 0)
        loop_hook_stop(hook);
}

static void run_with_chain(void *arg)
{
    struct loop     *loop = NULL;
    struct loop_hook hook = {0};

    (void)arg;
    if (loop_create(&loop, NULL) == 0 && loop_hook_start(loop, &hook, LOOP_HOOK_PREPARE, open_chain) == 0)
        (void)loop_run(loop, LOOP_RUN_NOWAIT);
}

START_TEST(chain_left_open)
{
    test_expect_abort(run_with_chain, NULL, "the chain was not ended");
}
END_TEST

/* ---- in children, and at the end */

struct story {
    char text[16]; /* a letter for each call */
};

static void tell(struct story *story, char letter)
{
    size_t length = strlen(story->text);

    if (length + 1 < sizeof(story->text))
        story->text[length] = letter;
}

static void note_fork(struct loop_hook *hook)
{
    tell(hook->data, 'f');
}

static void note_idle(struct loop_hook *hook)
{
    tell(hook->data, 'i');
    loop_hook_stop(hook);
}

static void note_operation(struct loop *loop, const struct loop_result *result, void *arg)
{
    (void)loop;
    tell(arg, result->res == -ECANCELED ? 'o' : '?');
}

struct copied {
    struct loop  *loop;
    struct story *story;
};

static void fork_hooks_in_child(void *arg)
{
    struct loop     *loop = ((struct copied *)arg)->loop;
    struct story    *story = ((struct copied *)arg)->story;
    struct loop_hook late = {.data = story}, idle = {.data = story};

    TEST_TRUE_IN_CHILD(loop_fork(loop) == 0);
    TEST_TRUE_IN_CHILD(story->text[0] == '\0');
    TEST_TRUE_IN_CHILD(loop_hook_start(loop, &late, LOOP_HOOK_FORK, note_fork) == 0); /* came too late for this one */
    TEST_TRUE_IN_CHILD(loop_hook_start(loop, &idle, LOOP_HOOK_IDLE, note_idle) == 0);
    TEST_TRUE_IN_CHILD(loop_dispatch(loop, 0) >= 0 && strcmp(story->text, "o") == 0); /* knows no hooks */
    TEST_TRUE_IN_CHILD(loop_run(loop, LOOP_RUN_NOWAIT) == 0 && strcmp(story->text, "offi") == 0);
    TEST_TRUE_IN_CHILD(loop_run(loop, LOOP_RUN_DEFAULT) == 0 && strcmp(story->text, "offi") == 0);
    TEST_TRUE_IN_CHILD(loop_destroy(loop) == 0 && strcmp(story->text, "offi") == 0);
    TEST_TRUE_IN_CHILD(test_memory.blocks == 0);
}

/* Goal: fork hooks run once in a child, before all else of the first run, also if nothing keeps the loop alive; in the
 * parent, and after a move to another thread, they do not. */
START_TEST(fork_hooks)
{
    struct loop     *loop = test_loop_new(NULL);
    struct story     story = {{0}};
    struct loop_hook hooks[2] = {{.data = &story}, {.data = &story}};
    int              fds[2];
    char             byte;

    test_socketpair(fds);
    for (int i = 0; i < 2; i++)
        start(loop, &hooks[i], LOOP_HOOK_FORK, note_fork);
    ck_assert(!loop_alive(loop));
    ck_assert(!loop_hook_has_ref(&hooks[0]));
    ck_assert_int_gt(loop_recv(loop, fds[0], &byte, 1, 0, note_operation, &story, LOOP_TERMS(.flags = LOOP_BACKGROUND)),
                     0);
    test_turns(loop, 2);
    test_in_child(fork_hooks_in_child, &(struct copied){loop, &story});
    test_turns(loop, 2);
    ck_assert_int_eq(loop_disown(loop), 0);
    test_turns(loop, 2);
    ck_assert_str_eq(story.text, "o");
    for (int i = 0; i < 2; i++)
        loop_hook_stop(&hooks[i]);
    test_loop_free(loop);
    test_close(fds[0]);
    test_close(fds[1]);
}
END_TEST

/* Goal: taking refs off and on does not matter to those that never hold the loop. */
START_TEST(never_hold)
{
    struct loop     *loop = test_loop_new(NULL);
    struct counter   counter = {0};
    struct loop_hook hook = {.data = &counter};

    start(loop, &hook, (enum loop_hook_kind)_i, count);
    loop_hook_unref(&hook);
    ck_assert(!loop_alive(loop));
    loop_hook_ref(&hook);
    ck_assert(!loop_alive(loop));
    start(loop, &hook, LOOP_HOOK_CHECK, count);
    ck_assert(loop_alive(loop));
    start(loop, &hook, (enum loop_hook_kind)_i, count);
    ck_assert(!loop_alive(loop));
    loop_hook_stop(&hook);
    ck_assert(loop_hook_has_ref(&hook));
    ck_assert_uint_eq(counter.calls, 0);
    test_loop_free(loop);
}
END_TEST

static uint32_t         cleanup_ends;
static struct loop_hook cleanup_more;

static void end_cb(struct loop *loop, const struct loop_result *result, void *arg)
{
    (void)loop;
    (void)arg;
    ck_assert_int_eq(result->res, -ECANCELED);
    cleanup_ends++;
}

static void clean_up(struct loop_hook *hook)
{
    struct loop *loop = loop_hook_loop(hook);

    tell(hook->data, 'c');
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_NOWAIT), -EBUSY);
    ck_assert_int_eq(loop_destroy(loop), -EBUSY);
    ck_assert_int_gt(loop_timeout(loop, LOOP_SECOND, 0, 0, end_cb, NULL, NULL), 0); /* ends at once */
    cleanup_more.data = hook->data;
    start(loop, &cleanup_more, LOOP_HOOK_CLEANUP, clean_up); /* too late: is not called */
    loop_hook_stop(hook);
}

static void note_post(struct loop *loop, void *arg)
{
    (void)loop;
    tell(arg, 'p');
}

static void *destroy_on_thread(void *arg)
{
    test_loop_drop(arg);
    return NULL;
}

static void *one_turn(void *arg)
{
    test_turns(arg, 1);
    return NULL;
}

static void on_thread(void *(*run)(void *arg), struct loop *loop)
{
    pthread_t thread;

    ck_assert_int_eq(pthread_create(&thread, NULL, run, loop), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
}

static void let_go_in_child(void *arg)
{
    struct copied *copied = arg;

    TEST_TRUE_IN_CHILD(loop_destroy(copied->loop) == 0);
    TEST_TRUE_IN_CHILD(copied->story->text[0] == '\0' && test_memory.blocks == 0);
}

/* Goal: cleanup hooks run once, before anything is ended, whether the loop ran or not, and on whatever thread may
 * destroy it; a child that only lets go of it does not call them. Method: what is in flight and a post come after. */
START_TEST(cleanup_hooks)
{
    struct loop     *loop = test_loop_new(NULL);
    struct story     story = {{0}};
    struct loop_hook hooks[2] = {{.data = &story}, {.data = &story}};

    cleanup_ends = 0;
    for (int i = 0; i < 2; i++)
        start(loop, &hooks[i], LOOP_HOOK_CLEANUP, clean_up);
    ck_assert(!loop_alive(loop));
    if (_i == 1)
        test_turns(loop, 1);
    if (_i == 2) /* its thread has ended when the loop is destroyed on this one */
        on_thread(one_turn, loop);
    test_in_child(let_go_in_child, &(struct copied){loop, &story});
    ck_assert_int_eq(loop_post(loop, note_post, &story), 0);
    if (_i == 3)
        on_thread(destroy_on_thread, loop); /* nobody's */
    else
        test_loop_drop(loop);
    ck_assert_str_eq(story.text, "ccp");
    ck_assert_uint_eq(cleanup_ends, 2);
    ck_assert(!loop_hook_active(&hooks[0]) && !loop_hook_active(&cleanup_more));
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("hook");
    TCase *tcase = test_case(suite, "hook");

    tcase_add_test(tcase, arguments);
    tcase_add_loop_test(tcase, keeps_alive, 0, 3);
    tcase_add_loop_test(tcase, without_ref, 0, 3);
    tcase_add_test(tcase, unref_in_the_callback);
    tcase_add_loop_test(tcase, in_order_of_start, 0, 3);
    tcase_add_test(tcase, restarts_itself);
    tcase_add_loop_test(tcase, stops_the_next, 0, 3);
    tcase_add_test(tcase, stop_each_other);
    tcase_add_test(tcase, idle_starves_nobody);
    tcase_add_test(tcase, destroy);
    tcase_add_test(tcase, chain_left_open);
    tcase_add_test(tcase, fork_hooks);
    tcase_add_loop_test(tcase, never_hold, LOOP_HOOK_FORK, LOOP_HOOK_CLEANUP + 1);
    tcase_add_loop_test(tcase, cleanup_hooks, 0, 4);
    return suite;
}
