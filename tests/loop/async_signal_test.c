/* tests/loop/async_signal_test.c: loop_async_send(), loop_wake() and loop_stop() in signal handlers, at high rates. */
#include "tests/support/test.h"

#include <pthread.h>
#include <signal.h>
#include <sys/time.h>

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
enum { SIGNALS = 500 };
#else
enum { SIGNALS = 5000 };
#endif

/* The race detector holds a signal back until the thread makes a call that it knows, which io_uring_enter is not: so
 * there the next signal must come by itself. */
#if defined(__SANITIZE_THREAD__)
enum { REPEAT_US = 2000 };
#else
enum { REPEAT_US = 0 };
#endif

static struct loop      *loop;
static struct loop_async async;
static _Atomic uint32_t  handled; /* by the handler */
static uint32_t          seen;    /* of these, by the callback */
static atomic_bool       enough;
static atomic_bool       errno_changed;

static void on_async(struct loop_async *of)
{
    (void)of;
    seen = handled;
}

static void setup(void)
{
    loop = test_loop_new(&(struct loop_options){.sq_entries = 64});
    ck_assert_int_eq(loop_async_open(loop, &async, NULL, on_async), 0);
}

static void teardown(void)
{
    loop_async_close(&async, NULL);
    test_run(loop);
    test_loop_free(loop);
}

static void handle(int number, void (*handler)(int number))
{
    struct sigaction action = {.sa_handler = handler};

    ck_assert_int_eq(sigaction(number, &action, NULL), 0);
}

static void on_signal_send(int number)
{
    int saved = errno;

    (void)number;
    errno = ENOTTY;
    handled++;
    if (loop_async_send(&async) != 0)
        abort();
    if (errno != ENOTTY)
        errno_changed = true;
    errno = saved;
}

/* Goal: after the last signal there is a callback, whatever the loop was doing when it came; nothing else wakes it.
 * Method: an interval timer signals the loop's own thread: asleep, in callbacks, between the last look and the sleep.
 */
START_TEST(interval_timer)
{
    struct itimerval interval = {.it_interval.tv_usec = 30, .it_value.tv_usec = 30}, none = {0};

    handle(SIGALRM, on_signal_send);
    ck_assert_int_eq(setitimer(ITIMER_REAL, &interval, NULL), 0);
    while (seen < SIGNALS)
        ck_assert_int_eq(loop_run(loop, LOOP_RUN_ONCE), 1);
    ck_assert_int_eq(setitimer(ITIMER_REAL, &none, NULL), 0);
    while (seen < handled) /* what came since */
        ck_assert_int_eq(loop_run(loop, LOOP_RUN_ONCE), 1);
    ck_assert(!errno_changed);
}
END_TEST

/* Goal: a handler may interrupt a send of the same thread, to the same handle or to others. Method: this thread sends
 * and runs turns without rest while another one sends it signals; both kinds of sends are seen. */
struct pest {
    pthread_t target;
    int       number;
};

static void *pest_thread(void *arg)
{
    const struct pest *pest = arg;

    while (!enough) {
        pthread_kill(pest->target, pest->number);
        test_sleep(10 * LOOP_MICROSECOND);
    }
    return NULL;
}

static void count(struct loop_async *of)
{
    ++*(uint32_t *)of->data;
}

START_TEST(interrupted_sends)
{
    enum { OTHERS = 50 };
    struct pest       pest = {.target = pthread_self(), .number = SIGUSR1};
    struct loop_async others[OTHERS] = {0};
    uint32_t          calls[OTHERS] = {0}, rounds = 0;
    pthread_t         thread;

    handle(SIGUSR1, on_signal_send);
    for (int i = 0; i < OTHERS; i++) {
        others[i].data = &calls[i];
        ck_assert_int_eq(loop_async_open(loop, &others[i], NULL, count), 0);
    }
    ck_assert_int_eq(pthread_create(&thread, NULL, pest_thread, &pest), 0);
    for (; seen < SIGNALS; rounds++) {
        for (int i = 0; i < OTHERS; i++)
            ck_assert_int_eq(loop_async_send(&others[i]), 0);
        ck_assert_int_eq(loop_async_send(&async), 0);
        ck_assert_int_eq(loop_run(loop, LOOP_RUN_NOWAIT), 1);
    }
    enough = true;
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    test_turns(loop, 1);
    ck_assert_uint_eq(seen, handled);
    ck_assert(!errno_changed);
    for (int i = 0; i < OTHERS; i++) {
        ck_assert_uint_eq(calls[i], rounds); /* once for each turn */
        loop_async_close(&others[i], NULL);
    }
    test_turns(loop, 1);
}
END_TEST

/* Goal: the same for a thread of the program's that is interrupted while it sends, beside the loop's thread asleep. */
static void *send_and_be_interrupted(void *arg)
{
    (void)arg;
    while (!enough) {
        if (loop_async_send(&async) != 0)
            abort();
    }
    return NULL;
}

START_TEST(interrupted_thread)
{
    struct pest pest = {.number = SIGUSR1};
    pthread_t   threads[2];

    handle(SIGUSR1, on_signal_send);
    ck_assert_int_eq(pthread_create(&threads[0], NULL, send_and_be_interrupted, NULL), 0);
    pest.target = threads[0];
    ck_assert_int_eq(pthread_create(&threads[1], NULL, pest_thread, &pest), 0);
    while (seen < SIGNALS)
        ck_assert_int_eq(loop_run(loop, LOOP_RUN_ONCE), 1);
    enough = true;
    ck_assert_int_eq(pthread_join(threads[1], NULL), 0);
    ck_assert_int_eq(pthread_join(threads[0], NULL), 0);
    test_turns(loop, 1);
    ck_assert_uint_eq(seen, handled);
}
END_TEST

/* Goal: loop_stop() in a handler ends each run, once, and none is lost. Method: a handler stops, and counts; after each
 * run it has been called since the last. */
static void on_signal_stop(int number)
{
    (void)number;
    handled++;
    loop_stop(loop);
}

START_TEST(stops)
{
    struct itimerval interval = {.it_interval.tv_usec = REPEAT_US}, none = {0};

    handle(SIGALRM, on_signal_stop);
    for (uint32_t i = 0; i < SIGNALS / 5; i++) {
        interval.it_value.tv_usec = 1 + (int)(i % 100);
        ck_assert_int_eq(setitimer(ITIMER_REAL, &interval, NULL), 0);
        ck_assert_int_eq(loop_run(loop, LOOP_RUN_DEFAULT), 1);
        ck_assert(REPEAT_US > 0 || handled == i + 1);
    }
    ck_assert_int_eq(setitimer(ITIMER_REAL, &none, NULL), 0);
}
END_TEST

/* Goal: loop_wake() in a handler makes the loop take a turn each time, whatever it was doing; none is lost. */
static void on_signal_wake(int number)
{
    (void)number;
    handled++;
    loop_wake(loop);
}

START_TEST(wakes)
{
    struct itimerval interval = {.it_interval.tv_usec = REPEAT_US}, none = {0};

    handle(SIGALRM, on_signal_wake);
    for (uint32_t i = 0; i < SIGNALS / 5; i++) {
        interval.it_value.tv_usec = 1 + (int)(i % 100);
        ck_assert_int_eq(setitimer(ITIMER_REAL, &interval, NULL), 0);
        do
            ck_assert_int_eq(loop_run(loop, LOOP_RUN_ONCE), 1);
        while (handled <= i); /* one wake may end two turns: by what it says, and by its system call */
    }
    ck_assert_int_eq(setitimer(ITIMER_REAL, &none, NULL), 0);
}
END_TEST

/* Goal: loop_stop() and loop_wake() from threads all at once: no run is left asleep. */
static void *stop_now_and_then(void *arg)
{
    const bool *stop = arg;

    while (!enough) {
        if (*stop)
            loop_stop(loop);
        else
            loop_wake(loop);
        test_sleep(20 * LOOP_MICROSECOND);
    }
    return NULL;
}

START_TEST(stops_and_wakes_from_threads)
{
    static const bool kinds[] = {true, false, true};
    pthread_t         threads[TEST_COUNT(kinds)];

    for (size_t i = 0; i < TEST_COUNT(kinds); i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, stop_now_and_then, (void *)(uintptr_t)&kinds[i]), 0);
    for (uint32_t i = 0; i < SIGNALS / 5; i++)
        ck_assert_int_eq(loop_run(loop, LOOP_RUN_DEFAULT), 1);
    enough = true;
    for (size_t i = 0; i < TEST_COUNT(kinds); i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    (void)loop_run(loop, LOOP_RUN_NOWAIT); /* takes a stop that is left */
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("async_signal");
    TCase *tcase = test_case(suite, "async_signal");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, interval_timer);
    tcase_add_test(tcase, interrupted_sends);
    tcase_add_test(tcase, interrupted_thread);
    tcase_add_test(tcase, stops);
    tcase_add_test(tcase, wakes);
    tcase_add_test(tcase, stops_and_wakes_from_threads);
    return suite;
}
