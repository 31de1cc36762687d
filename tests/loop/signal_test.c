/* tests/loop/signal_test.c: signals: who is told, how often, and what becomes of the disposition. Threads and forks are
 * in signal_thread_test.c. */
#include "tests/loop/signal_world.h"

#include <sys/time.h>
#include <sys/wait.h>

static void noted_and_stopped(struct loop_signal *signal, const struct loop_signal_info *info)
{
    watcher_noted(signal, info);
    loop_signal_stop(signal);
}

static volatile sig_atomic_t handled;

static void user_handler(int signum)
{
    (void)signum;
    handled++;
}

/* ---- the calls */

/* Goal: what makes no sense is refused, and changes no disposition. */
START_TEST(bad_arguments)
{
    static const int refused[] = {0, -1, 65, 1000, SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
    struct loop     *loop = test_loop_new(NULL);
    struct loop_signal signal = {0};

    for (size_t i = 0; i < TEST_COUNT(refused); i++)
        ck_assert_int_eq(loop_signal_start(loop, &signal, refused[i], 0, watcher_never), -EINVAL);
    ck_assert_int_eq(loop_signal_start(loop, &signal, SIGUSR1, 2, watcher_never), -EINVAL);
    ck_assert_int_eq(loop_signal_start(loop, &signal, SIGUSR1, 0, NULL), -EINVAL);
    ck_assert_int_eq(loop_signal_start(loop, &signal, 32, 0, watcher_never), -EINVAL); /* the C library's own */
    ck_assert(disposition(SIGUSR1).sa_handler == SIG_DFL);
    ck_assert(!loop_signal_active(&signal));
    ck_assert_ptr_null(loop_signal_loop(&signal));
    loop_signal_stop(&signal);
    ck_assert(!loop_alive(loop));
    test_loop_free(loop);
}
END_TEST

/* Goal: without memory a start fails, and nothing is left; a started one that cannot be started anew goes on. */
START_TEST(no_memory)
{
    struct loop   *loop = test_loop_new(NULL);
    struct watcher watcher = {.signal = {0}};

    watcher.signal.data = &watcher;
    test_memory.fail_from = test_memory.calls + 1;
    ck_assert_int_eq(loop_signal_start(loop, &watcher.signal, SIGUSR1, 0, watcher_noted), -ENOMEM);
    ck_assert(disposition(SIGUSR1).sa_handler == SIG_DFL);
    test_memory.fail_from = 0;
    watcher_start(loop, &watcher, SIGUSR1, 0, noted_and_stopped);
    ck_assert_int_eq(loop_signal_start(loop, &watcher.signal, 32, 0, watcher_noted), -EINVAL);
    ck_assert_int_eq(loop_signal_number(&watcher.signal), SIGUSR1);
    raise(SIGUSR1);
    test_run(loop);
    ck_assert_uint_eq(watcher.calls, 1);
    test_loop_free(loop);
}
END_TEST

/* Goal: a signal is told each time, with its sender, until the stop; only active ones keep the loop alive. */
START_TEST(told)
{
    struct loop   *loop = test_loop_new(NULL);
    struct watcher watcher = {.signal = {0}};

    watcher_start(loop, &watcher, SIGUSR1, 0, watcher_noted);
    ck_assert(loop_alive(loop));
    ck_assert(loop_signal_active(&watcher.signal));
    ck_assert_ptr_eq(loop_signal_loop(&watcher.signal), loop);
    for (uint32_t i = 1; i <= 5; i++) {
        ck_assert_int_eq(kill(getpid(), SIGUSR1), 0);
        test_run_until(loop, &watcher.calls, i);
        ck_assert_uint_eq(watcher.count, i);
        ck_assert_int_eq(watcher.last.signum, SIGUSR1);
        ck_assert_int_eq(watcher.last.pid, getpid());
        ck_assert_uint_eq(watcher.last.uid, getuid());
    }
    loop_signal_stop(&watcher.signal);
    loop_signal_stop(&watcher.signal);
    ck_assert_int_eq(loop_signal_number(&watcher.signal), 0);
    test_run(loop);
    test_loop_free(loop);
}
END_TEST

/* Goal: what came before the first run is told; loop_dispatch() tells, too. */
START_TEST(before_the_first_run)
{
    struct loop   *loop = test_loop_new(NULL);
    struct watcher watcher = {.signal = {0}};

    watcher_start(loop, &watcher, SIGUSR1, 0, watcher_noted);
    raise(SIGUSR1);
    raise(SIGUSR1);
    test_turns(loop, 1);
    ck_assert_uint_eq(watcher.calls, 1);
    ck_assert_uint_eq(watcher.count, 2);
    raise(SIGUSR1);
    ck_assert_int_ge(loop_dispatch(loop, UINT64_MAX), 0);
    ck_assert_uint_eq(watcher.calls, 2);
    loop_signal_stop(&watcher.signal);
    test_loop_free(loop);
}
END_TEST

/* Goal: the sender is told: another process; nobody for a timer of the kernel's. */
START_TEST(senders)
{
    struct loop           *loop = test_loop_new(NULL);
    struct watcher         watcher = {.signal = {0}}, alarmed = {.signal = {0}};
    const struct itimerval soon = {.it_value.tv_usec = 1000};
    pid_t                  pid;

    watcher_start(loop, &watcher, SIGUSR2, LOOP_SIGNAL_ONCE, watcher_noted);
    pid = fork();
    if (pid == 0) {
        kill(getppid(), SIGUSR2);
        _exit(0);
    }
    test_run(loop);
    ck_assert_int_eq(watcher.last.pid, pid);
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
    watcher_start(loop, &alarmed, SIGALRM, LOOP_SIGNAL_ONCE, watcher_noted);
    alarmed.last.pid = -1;
    ck_assert_int_eq(setitimer(ITIMER_REAL, &soon, NULL), 0);
    test_run(loop);
    ck_assert_int_eq(alarmed.last.pid, 0);
    test_loop_free(loop);
}
END_TEST

/* Goal: one-shots and others beside each other: each one-shot is told once, the others each time, in the order of
 * start. Method: signals that are sent while others are told. */
START_TEST(mixed)
{
    char           order[64] = "";
    struct loop   *loop = test_loop_new(NULL);
    struct watcher watchers[4] = {{.signal = {0}}};

    for (int i = 0; i < 4; i++) {
        watchers[i].order = order;
        watchers[i].letter = (char)('a' + i);
        watcher_start(loop, &watchers[i], i == 3 ? SIGUSR2 : SIGUSR1, i == 1 ? LOOP_SIGNAL_ONCE : 0, watcher_noted);
    }
    raise(SIGUSR1);
    test_turns(loop, 2);
    ck_assert_str_eq(order, "abc");
    ck_assert(!loop_signal_active(&watchers[1].signal));
    raise(SIGUSR2);
    raise(SIGUSR1);
    raise(SIGUSR1);
    test_turns(loop, 2);
    ck_assert_str_eq(order, "abcacd");
    ck_assert_uint_eq(watchers[0].count, 3);
    ck_assert_uint_eq(watchers[1].count, 1);
    ck_assert_uint_eq(watchers[3].count, 1);
    for (int i = 0; i < 4; i++)
        loop_signal_stop(&watchers[i].signal);
    test_loop_free(loop);
}
END_TEST

static struct watcher *victim;

static void stops_the_victim(struct loop_signal *signal, const struct loop_signal_info *info)
{
    watcher_noted(signal, info);
    loop_signal_stop(&victim->signal);
}

static void starts_the_victim(struct loop_signal *signal, const struct loop_signal_info *info)
{
    watcher_noted(signal, info);
    watcher_start(loop_signal_loop(signal), victim, SIGUSR1, 0, watcher_noted);
    raise(SIGUSR1); /* one that it is to be told */
}

static void freed(struct loop_signal *signal, const struct loop_signal_info *info)
{
    uint32_t *calls = signal->data;

    ck_assert_int_eq(info->signum, SIGUSR1);
    ++*calls;
    free(signal);
}

/* Goal: callbacks may stop, start and free: a stopped one is not told what has arrived, a started one only what came
 * after that. */
START_TEST(inside_callbacks)
{
    struct loop        *loop = test_loop_new(NULL);
    struct watcher      first = {.signal = {0}}, second = {.signal = {0}};
    struct loop_signal *heap = calloc(1, sizeof(*heap));
    uint32_t            freed_calls = 0;

    victim = &second;
    watcher_start(loop, &first, SIGUSR1, 0, stops_the_victim);
    watcher_start(loop, &second, SIGUSR1, 0, watcher_never);
    raise(SIGUSR1);
    test_turns(loop, 2);
    ck_assert_uint_eq(first.calls, 1);
    ck_assert(!loop_signal_active(&second.signal));
    watcher_start(loop, &first, SIGUSR1, LOOP_SIGNAL_ONCE, starts_the_victim);
    raise(SIGUSR1);
    test_run_until(loop, &second.calls, 1);
    ck_assert_uint_eq(second.count, 1);
    ck_assert_uint_eq(first.calls, 2);
    heap->data = &freed_calls;
    ck_assert_int_eq(loop_signal_start(loop, heap, SIGUSR1, LOOP_SIGNAL_ONCE, freed), 0);
    raise(SIGUSR1);
    test_run_until(loop, &freed_calls, 1);
    loop_signal_stop(&second.signal);
    test_loop_free(loop);
}
END_TEST

/* Goal: an unreferenced one does not keep the loop alive, and is told all the same. */
START_TEST(unreferenced)
{
    struct loop   *loop = test_loop_new(NULL);
    struct watcher watcher = {.signal = {0}};

    loop_signal_unref(&watcher.signal);
    watcher_start(loop, &watcher, SIGUSR1, 0, watcher_noted);
    ck_assert(!loop_alive(loop));
    loop_signal_ref(&watcher.signal);
    ck_assert(loop_alive(loop));
    ck_assert(loop_signal_has_ref(&watcher.signal));
    loop_signal_unref(&watcher.signal);
    loop_signal_unref(&watcher.signal);
    ck_assert(!loop_alive(loop));
    raise(SIGUSR1);
    test_turns(loop, 1);
    ck_assert_uint_eq(watcher.calls, 1);
    loop_signal_stop(&watcher.signal);
    loop_signal_ref(&watcher.signal);
    ck_assert(!loop_alive(loop));
    test_loop_free(loop);
}
END_TEST

struct turn_order {
    char              text[16];
    struct loop_timer timer;
};

static void nop_noted(struct loop *loop, const struct loop_result *result, void *arg)
{
    (void)loop;
    (void)result;
    strcat(arg, "o");
}

static void post_noted(struct loop *loop, void *arg)
{
    (void)loop;
    strcat(arg, "p");
}

static void timer_noted(struct loop_timer *timer)
{
    strcat(timer->data, "t");
}

/* Goal: within a turn signals come after completions and posts, and before timers. */
START_TEST(order_in_a_turn)
{
    struct loop      *loop = test_loop_new(NULL);
    struct turn_order order = {.timer = {0}};
    struct watcher    watcher = {.signal = {0}, .order = order.text, .letter = 's'};

    order.timer.data = order.text;
    watcher_start(loop, &watcher, SIGUSR1, 0, watcher_noted);
    ck_assert_int_eq(loop_timer_start(loop, &order.timer, 0, 0, timer_noted), 0);
    raise(SIGUSR1);
    ck_assert_int_eq(loop_post(loop, post_noted, order.text), 0);
    ck_assert_int_gt(loop_nop(loop, nop_noted, order.text, NULL), 0);
    test_turns(loop, 1);
    ck_assert_str_eq(order.text, "opst");
    loop_signal_stop(&watcher.signal);
    test_loop_free(loop);
}
END_TEST

/* ---- the disposition */

/* Goal: what was there before the first comes back with the last stop; what somebody installs meanwhile stays. Method:
 * a handler, ignored, default; loops that stop in the same and in the other order. */
START_TEST(restored)
{
    struct loop   *loops[2] = {test_loop_new(NULL), test_loop_new(NULL)};
    struct watcher watchers[2] = {{.signal = {0}}};

    for (int i = 0; i < 6; i++) {
        void (*before)(int) = i / 2 == 0 ? user_handler : i / 2 == 1 ? SIG_IGN : SIG_DFL;

        signal(SIGUSR1, before);
        watcher_start(loops[0], &watchers[0], SIGUSR1, 0, watcher_noted);
        watcher_start(loops[1], &watchers[1], SIGUSR1, 0, watcher_noted);
        ck_assert_int_ne((disposition(SIGUSR1).sa_flags & SA_RESTART), 0);
        loop_signal_stop(&watchers[i % 2].signal);
        ck_assert(disposition(SIGUSR1).sa_handler != before);
        loop_signal_stop(&watchers[1 - i % 2].signal);
        ck_assert(disposition(SIGUSR1).sa_handler == before);
    }
    watcher_start(loops[0], &watchers[0], SIGUSR1, 0, watcher_noted);
    signal(SIGUSR1, user_handler);
    loop_signal_stop(&watchers[0].signal);
    ck_assert(disposition(SIGUSR1).sa_handler == user_handler);
    signal(SIGUSR1, SIG_DFL);
    test_loop_free(loops[0]);
    test_loop_free(loops[1]);
}
END_TEST

/* Goal: what comes before the start and after the stop goes where it went before, and is never told. */
START_TEST(between_stop_and_start)
{
    struct loop   *loop = test_loop_new(NULL);
    struct watcher watcher = {.signal = {0}}, other = {.signal = {0}};

    handled = 0;
    signal(SIGUSR1, user_handler);
    raise(SIGUSR1);
    for (uint32_t i = 1; i <= 3; i++) {
        watcher_start(loop, &watcher, SIGUSR1, 0, watcher_noted);
        raise(SIGUSR1);
        test_turns(loop, 1);
        raise(SIGUSR1); /* arrives, and is dropped by the stop */
        loop_signal_stop(&watcher.signal);
        raise(SIGUSR1);
        test_turns(loop, 1);
        ck_assert_uint_eq(watcher.count, i);
        ck_assert_int_eq(handled, 1 + (int)i);
    }
    watcher_start(loop, &watcher, SIGUSR1, 0, watcher_noted);
    raise(SIGUSR1);
    watcher_start(loop, &other, SIGUSR1, 0, watcher_never); /* this one came too early for it */
    test_turns(loop, 1);
    ck_assert_uint_eq(watcher.count, 4);
    loop_signal_stop(&watcher.signal);
    loop_signal_stop(&other.signal);
    signal(SIGUSR1, SIG_DFL);
    test_loop_free(loop);
}
END_TEST

/* Goal: loop_destroy() stops what is active, without a callback, and puts the disposition back. */
START_TEST(destroyed)
{
    struct loop   *loop = test_loop_new(NULL);
    struct watcher watchers[3] = {{.signal = {0}}};

    for (int i = 0; i < 3; i++)
        watcher_start(loop, &watchers[i], i == 2 ? SIGUSR2 : SIGUSR1, 0, watcher_never);
    raise(SIGUSR1);
    test_loop_drop(loop);
    for (int i = 0; i < 3; i++)
        ck_assert(!loop_signal_active(&watchers[i].signal));
    ck_assert(disposition(SIGUSR1).sa_handler == SIG_DFL);
    ck_assert(disposition(SIGUSR2).sa_handler == SIG_DFL);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("signal");
    TCase *tcase = test_case(suite, "calls");

    tcase_add_test(tcase, bad_arguments);
    tcase_add_test(tcase, no_memory);
    tcase_add_test(tcase, told);
    tcase_add_test(tcase, before_the_first_run);
    tcase_add_test(tcase, senders);
    tcase_add_test(tcase, mixed);
    tcase_add_test(tcase, inside_callbacks);
    tcase_add_test(tcase, unreferenced);
    tcase_add_test(tcase, order_in_a_turn);

    tcase = test_case(suite, "disposition");
    tcase_add_test(tcase, restored);
    tcase_add_test(tcase, between_stop_and_start);
    tcase_add_test(tcase, destroyed);
    return suite;
}
