/* tests/loop/signal_thread_test.c: signals with loops in many threads, and in children of fork(2). */
#include "tests/loop/signal_world.h"

enum { ROUNDS_MAX = 200000 };

static _Atomic int firing;

static void *fire(void *arg)
{
    int signum = *(int *)arg;

    for (uint32_t i = 0; i < ROUNDS_MAX && firing != 0; i++)
        kill(getpid(), signum);
    return NULL;
}

/* Goal: a start of an active one changes signal and callback, and no moment is without a handler. Method: signals that
 * would end the process, from another thread all the time. */
START_TEST(started_anew)
{
    int            signum = SIGUSR1;
    struct loop   *loop = test_loop_new(NULL);
    struct watcher watcher = {.signal = {0}};
    pthread_t      thread;

    watcher_start(loop, &watcher, SIGUSR1, 0, watcher_noted);
    firing = 1;
    ck_assert_int_eq(pthread_create(&thread, NULL, fire, &signum), 0);
    for (int i = 0; i < 2000; i++)
        watcher_start(loop, &watcher, SIGUSR1, 0, watcher_noted);
    test_run_until(loop, &watcher.calls, 3);
    firing = 0;
    pthread_join(thread, NULL);
    watcher_start(loop, &watcher, SIGUSR2, 0, watcher_noted);
    ck_assert(disposition(SIGUSR1).sa_handler == SIG_DFL);
    ck_assert_int_eq(loop_signal_number(&watcher.signal), SIGUSR2);
    loop_signal_stop(&watcher.signal);
    test_loop_free(loop);
}
END_TEST

/* One of several loops, each in its thread. */
struct runner {
    pthread_t      thread;
    struct loop   *loop;
    struct watcher watcher;
    uint64_t       wanted;
    bool           blocks; /* its thread blocks the signal */
    int            signum;
};

static void counted(struct loop_signal *signal, const struct loop_signal_info *info)
{
    struct watcher *watcher = signal->data;
    struct runner  *runner = (struct runner *)(void *)((char *)watcher - offsetof(struct runner, watcher));

    watcher_noted(signal, info);
    if (watcher->count >= runner->wanted)
        loop_signal_stop(signal);
}

static void *run_runner(void *arg)
{
    struct runner *runner = arg;
    sigset_t       set;

    sigemptyset(&set);
    sigaddset(&set, runner->signum);
    if (runner->blocks)
        pthread_sigmask(SIG_BLOCK, &set, NULL);
    ck_assert_int_ge(loop_run(runner->loop, LOOP_RUN_DEFAULT), 0);
    return NULL;
}

static void runner_start(struct runner *runner, int signum, uint64_t wanted)
{
    runner->loop = test_loop_new(NULL);
    runner->wanted = wanted;
    runner->signum = signum;
    watcher_start(runner->loop, &runner->watcher, signum, 0, counted);
    ck_assert_int_eq(pthread_create(&runner->thread, NULL, run_runner, runner), 0);
}

static void queue_signal(int signum)
{
    for (uint32_t i = 0; sigqueue(getpid(), signum, (union sigval){0}) != 0; i++) {
        ck_assert_msg(errno == EAGAIN && i < ROUNDS_MAX, "%s", strerror(errno));
        test_sleep(10 * LOOP_MICROSECOND); /* the user's limit of queued signals */
    }
}

/* Goal: of realtime signals, which the kernel queues, each is counted, by every loop. Method: 4 loops in threads, 5000
 * signals; a loop goes on until it has counted all, so a lost one would hang. Half of the loops' threads block it. */
START_TEST(many_loops)
{
    enum { LOOPS = 4, SIGNALS = 5000 };
    struct runner  runners[LOOPS] = {{.loop = NULL}};
    struct loop   *loop;
    struct watcher keeper = {.signal = {0}}; /* so that the last signals find a handler */

#ifdef __SANITIZE_THREAD__
    test_skip("the sanitizer's own handler merges signals");
    return;
#endif
    loop = test_loop_new(NULL);
    watcher_start(loop, &keeper, SIGRTMIN + 3, 0, watcher_noted);
    for (int i = 0; i < LOOPS; i++) {
        runners[i].blocks = i % 2 == 0;
        runner_start(&runners[i], SIGRTMIN + 3, SIGNALS);
    }
    for (int i = 0; i < SIGNALS; i++)
        queue_signal(SIGRTMIN + 3);
    for (int i = 0; i < LOOPS; i++) {
        pthread_join(runners[i].thread, NULL);
        ck_assert_uint_eq(runners[i].watcher.count, SIGNALS);
        test_loop_drop(runners[i].loop);
    }
    test_turns(loop, 1);
    ck_assert_uint_eq(keeper.count, SIGNALS);
    loop_signal_stop(&keeper.signal);
    test_loop_free(loop);
}
END_TEST

enum { ANSWERS = 500 };
static _Atomic uint32_t answered;

static void answers(struct loop_signal *signal, const struct loop_signal_info *info)
{
    watcher_noted(signal, info);
    if (answered + 1 == ANSWERS)
        loop_signal_stop(signal); /* before it is answered: a further one would find nobody */
    answered++;
}

/* Goal: a loop that sleeps is woken by each signal. Method: the next is sent when the last was told; the loop's thread
 * blocks the signal, or not. */
START_TEST(wakes_a_sleeper)
{
    for (int blocks = 0; blocks < 2; blocks++) {
        struct runner runner = {.blocks = blocks != 0, .signum = SIGUSR1};

        answered = 0;
        runner.loop = test_loop_new(NULL);
        watcher_start(runner.loop, &runner.watcher, SIGUSR1, 0, answers);
        ck_assert_int_eq(pthread_create(&runner.thread, NULL, run_runner, &runner), 0);
        for (uint32_t i = 1; i <= ANSWERS; i++) {
            if (i % 100 == 1)
                test_sleep(LOOP_MILLISECOND); /* it sleeps by now */
            kill(getpid(), SIGUSR1);
            for (uint32_t j = 0; answered < i; j++) {
                ck_assert_uint_lt(j, ROUNDS_MAX);
                test_sleep(20 * LOOP_MICROSECOND);
            }
        }
        pthread_join(runner.thread, NULL);
        ck_assert_uint_eq(runner.watcher.count, ANSWERS);
        test_loop_drop(runner.loop);
    }
}
END_TEST

static void *make_and_destroy(void *arg)
{
    int signum = *(int *)arg;

    for (int i = 0; i < 150; i++) {
        struct loop   *loop = test_loop_new(NULL);
        struct watcher watchers[2] = {{.signal = {0}}};

        watcher_start(loop, &watchers[0], signum, 0, watcher_noted);
        watcher_start(loop, &watchers[1], signum, LOOP_SIGNAL_ONCE, watcher_noted);
        if (i % 3 > 0)
            ck_assert_int_ge(loop_run(loop, LOOP_RUN_NOWAIT), 0);
        if (i % 3 == 2)
            loop_signal_stop(&watchers[0].signal);
        test_loop_drop(loop);
    }
    return NULL;
}

/* Goal: loops come and go while handlers run on other threads. Method: two threads make and destroy loops, one sends as
 * fast as it can; sanitizers and the count of blocks see what goes wrong. */
START_TEST(destroyed_under_fire)
{
    int            signum = SIGUSR1;
    struct loop   *loop = test_loop_new(NULL);
    struct watcher keeper = {.signal = {0}};
    pthread_t      threads[2], firer;

    watcher_start(loop, &keeper, signum, 0, watcher_noted);
    firing = 1;
    ck_assert_int_eq(pthread_create(&firer, NULL, fire, &signum), 0);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, make_and_destroy, &signum), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    firing = 0;
    pthread_join(firer, NULL);
    raise(signum);
    test_turns(loop, 1);
    ck_assert_uint_gt(keeper.count, 0);
    loop_signal_stop(&keeper.signal);
    test_loop_free(loop);
}
END_TEST

/* ---- fork */

static void counted_quietly(struct loop_signal *signal, const struct loop_signal_info *info)
{
    struct watcher *watcher = signal->data;

    watcher->count += info->count;
    watcher->last = *info;
}

/* Memory that is never freed: a thread of the parent may have held a lock of malloc(3)'s, and sanitizers do not see to
 * that.
 */
static void *arena_resize(void *arg, void *memory, size_t size)
{
    static char   arena[8 << 20] __attribute__((aligned(64)));
    static size_t used;
    size_t       *block = (size_t *)(void *)(arena + used);

    (void)arg;
    if (size == 0 || used + size + 64 > sizeof(arena))
        return NULL;
    used += (size + 64 + 63) & ~(size_t)63;
    *block = size;
    if (memory != NULL) {
        size_t old = *(size_t *)(void *)((char *)memory - 64);

        memcpy((char *)block + 64, memory, old < size ? old : size);
    }
    return (char *)block + 64;
}

/* Without libcheck, of which the same is true. */
static void child_of_test(void *arg)
{
    const struct loop_options options = {.allocator = {.resize = arena_resize}};
    struct loop              *loop;
    struct watcher            watcher = {.signal = {0}};

    (void)arg;
    raise(SIGUSR1); /* the copy of the parent's loop must not wake the parent's */
    TEST_TRUE_IN_CHILD(loop_create(&loop, &options) == 0);
    watcher.signal.data = &watcher;
    TEST_TRUE_IN_CHILD(loop_signal_start(loop, &watcher.signal, SIGUSR1, LOOP_SIGNAL_ONCE, counted_quietly) == 0);
    kill(getpid(), SIGUSR1);
    TEST_TRUE_IN_CHILD(loop_run(loop, LOOP_RUN_DEFAULT) == 0);
    TEST_TRUE_IN_CHILD(watcher.count == 1 && watcher.last.pid == getpid());
    loop_destroy(loop);
}

/* Goal: what a forked child gets is the child's: its own loop tells it, and the parent's is not even woken. */
START_TEST(forked)
{
    struct loop   *loop = test_loop_new(NULL);
    struct watcher watcher = {.signal = {0}};
    uint64_t       wakes;

    watcher_start(loop, &watcher, SIGUSR1, 0, watcher_noted);
    test_turns(loop, 2);
    wakes = test_stats(loop).wakes;
    test_in_child(child_of_test, NULL);
    test_turns(loop, 2);
    ck_assert_uint_eq(watcher.calls, 0);
    ck_assert_uint_eq(test_stats(loop).wakes, wakes);
    raise(SIGUSR1);
    test_turns(loop, 1);
    ck_assert_uint_eq(watcher.calls, 1);
    loop_signal_stop(&watcher.signal);
    test_loop_free(loop);
}
END_TEST

static void goes_on(void *arg)
{
    struct watcher *watcher = arg;
    struct loop    *loop = loop_signal_loop(&watcher->signal);

    raise(SIGUSR1); /* counted, though the loop is still the parent's */
    TEST_TRUE_IN_CHILD(loop_fork(loop) == 0);
    test_turns(loop, 1);
    TEST_TRUE_IN_CHILD(watcher->count == 1);
    kill(getpid(), SIGUSR1);
    test_run_until(loop, &watcher->calls, 2);
    TEST_TRUE_IN_CHILD(watcher->count == 2 && watcher->last.pid == getpid());
}

static void closes(void *arg)
{
    struct watcher *watcher = arg;
    struct loop    *loop = loop_signal_loop(&watcher->signal);

    TEST_TRUE_IN_CHILD(loop_fork(loop) == 0);
    raise(SIGUSR1);
    loop_signal_stop(&watcher->signal);
    test_turns(loop, 1);
    TEST_TRUE_IN_CHILD(watcher->count == 0 && disposition(SIGUSR1).sa_handler == SIG_IGN);
    loop_destroy(loop);
}

static void lets_go(void *arg)
{
    struct watcher *watcher = arg;

    loop_destroy(loop_signal_loop(&watcher->signal));
    TEST_TRUE_IN_CHILD(disposition(SIGUSR1).sa_handler == SIG_IGN);
}

/* Goal: in a child the loop goes on with its signals, those of the child: none that the parent got, none is lost. There
 * they can be stopped, and the loop be left, and the disposition is as before. The parent is not concerned. */
START_TEST(loop_goes_on_in_child)
{
    void (*const children[])(void *) = {goes_on, closes, lets_go};

    for (size_t i = 0; i < TEST_COUNT(children); i++) {
        struct loop   *loop = test_loop_new(NULL);
        struct watcher watcher = {.signal = {0}};

        signal(SIGUSR1, SIG_IGN);
        watcher_start(loop, &watcher, SIGUSR1, 0, watcher_noted);
        test_turns(loop, 1);
        raise(SIGUSR1); /* stands to be told when the child is made */
        test_in_child(children[i], &watcher);
        test_turns(loop, 2);
        ck_assert_uint_eq(watcher.count, 1);
        raise(SIGUSR1);
        test_turns(loop, 1);
        ck_assert_uint_eq(watcher.count, 2);
        loop_signal_stop(&watcher.signal);
        test_loop_free(loop);
    }
    signal(SIGUSR1, SIG_DFL);
}
END_TEST

/* Goal: a loop that another thread takes over has its signals there, those that arrived on the way as well. */
START_TEST(loop_moves)
{
    struct runner runner = {.wanted = 3, .signum = SIGUSR1};

    runner.loop = test_loop_new(NULL);
    watcher_start(runner.loop, &runner.watcher, SIGUSR1, 0, counted);
    raise(SIGUSR1);
    test_turns(runner.loop, 1);
    ck_assert_uint_eq(runner.watcher.count, 1);
    raise(SIGUSR1);
    ck_assert_int_eq(loop_disown(runner.loop), 0);
    ck_assert_int_eq(pthread_create(&runner.thread, NULL, run_runner, &runner), 0);
    kill(getpid(), SIGUSR1);
    pthread_join(runner.thread, NULL);
    ck_assert_uint_eq(runner.watcher.count, 3);
    test_loop_drop(runner.loop);
}
END_TEST

/* Goal: fork(2) while handlers run and signals are watched and stopped on other threads. Method: the child could hang
 * in a lock, or for want of the end of a handler that was the parent's. */
START_TEST(forks_under_fire)
{
    int            signum = SIGUSR1;
    struct loop   *loop;
    struct watcher keeper = {.signal = {0}};
    pthread_t      maker, firer;

    TEST_FORKS_WITH_THREADS;
    loop = test_loop_new(NULL);
    watcher_start(loop, &keeper, signum, 0, watcher_noted);
    firing = 1;
    ck_assert_int_eq(pthread_create(&firer, NULL, fire, &signum), 0);
    ck_assert_int_eq(pthread_create(&maker, NULL, make_and_destroy, &signum), 0);
    for (int i = 0; i < 30; i++)
        test_in_child(child_of_test, NULL);
    firing = 0;
    pthread_join(firer, NULL);
    pthread_join(maker, NULL);
    loop_signal_stop(&keeper.signal);
    test_loop_free(loop);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("signal_thread");
    TCase *tcase = test_case(suite, "threads");

    tcase_add_test(tcase, started_anew);
    tcase_add_test(tcase, many_loops);
    tcase_add_test(tcase, wakes_a_sleeper);
    tcase_add_test(tcase, destroyed_under_fire);

    tcase = test_case(suite, "fork");
    tcase_add_test(tcase, forked);
    tcase_add_test(tcase, loop_goes_on_in_child);
    tcase_add_test(tcase, loop_moves);
    tcase_add_test(tcase, forks_under_fire);
    return suite;
}
