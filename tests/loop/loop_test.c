/* tests/loop/loop_test.c: life of a loop: options, run modes, stop. */
#include "tests/support/test.h"

#include <liburing.h>
#include <pthread.h>
#include <signal.h>
#include <sys/time.h>

/* ---- creating */

/* Goal: NULL and all-zero options mean the documented defaults. Method: features of such loops. */
START_TEST(defaults)
{
    const struct loop_options   zero = {0};
    const struct loop_features *features;
    struct loop                *loop, *with_realloc = NULL;

    ck_assert_int_eq(loop_create(&with_realloc, NULL), 0);
    ck_assert_uint_eq(loop_features_get(with_realloc)->sq_entries, 256);
    ck_assert_int_eq(loop_destroy(with_realloc), 0);

    loop = test_loop_new(&zero);
    features = loop_features_get(loop);
    ck_assert_uint_eq(features->sq_entries, 256);
    ck_assert_uint_eq(features->cq_entries, 16 * 256);
    ck_assert_uint_ge(features->opcode_last, IORING_OP_SENDMSG_ZC);
    ck_assert_uint_ne(features->kernel_features & IORING_FEAT_NODROP, 0);
    ck_assert_int_eq(features->single_issuer, (features->setup_flags & IORING_SETUP_SINGLE_ISSUER) != 0);
    ck_assert_int_eq(features->defer_taskrun, (features->setup_flags & IORING_SETUP_DEFER_TASKRUN) != 0);
    ck_assert_int_eq(features->min_wait, (features->kernel_features & IORING_FEAT_MIN_TIMEOUT) != 0);
    ck_assert(!loop_alive(loop));
    test_turns(loop, 1);
    ck_assert(loop_features_get(loop)->registered_ring);
    test_loop_free(loop);
}
END_TEST

/* Goal: sizes are rounded and clamped as documented. Method: a table of asked and obtained. */
START_TEST(sizes)
{
    static const struct {
        uint32_t sq, cq, sq_got, cq_got;
    } table[] = {
        {1, 0, 8, 128},   {8, 0, 8, 128},     {9, 0, 16, 256}, {64, 0, 64, 1024},      {100, 0, 128, 2048},
        {64, 64, 64, 64}, {64, 100, 64, 128}, {8, 8, 8, 8},    {8192, 0, 8192, 65536}, {64, 65536, 64, 65536},
    };

    for (size_t i = 0; i < TEST_COUNT(table); i++) {
        const struct loop_options   options = {.sq_entries = table[i].sq, .cq_entries = table[i].cq};
        struct loop                *loop = test_loop_new(&options);
        const struct loop_features *features = loop_features_get(loop);

        ck_assert_msg(features->sq_entries == table[i].sq_got && features->cq_entries == table[i].cq_got,
                      "asked for %u/%u, got %u/%u", table[i].sq, table[i].cq, features->sq_entries,
                      features->cq_entries);
        test_loop_free(loop);
    }
}
END_TEST

/* Goal: bad options are refused, and nothing is touched or left. Method: a table. */
START_TEST(bad_options)
{
    static const struct loop_options table[] = {
        {.reserved = 1},       {.sq_entries = 32769},      {.sq_entries = UINT32_MAX},
        {.cq_entries = 65537}, {.cq_entries = UINT32_MAX}, {.sq_entries = 64, .cq_entries = 32},
        {.buffer_count = 3},   {.buffer_count = 65536},    {.flags = 1u << 31},
    };

    for (size_t i = 0; i < TEST_COUNT(table); i++) {
        struct loop_options options = table[i];
        struct loop        *loop = (struct loop *)&options;

        options.allocator = test_allocator();
        ck_assert_msg(loop_create(&loop, &options) == -EINVAL, "options %zu were accepted", i);
        ck_assert_ptr_eq(loop, (struct loop *)&options);
        ck_assert_uint_eq(test_memory.blocks, 0);
    }
}
END_TEST

/* Goal: a new loop counts nothing, and the version is the one of the headers. */
START_TEST(new_loop_is_quiet)
{
    struct loop      *loop = test_loop_new(NULL);
    struct loop_stats stats = test_stats(loop);

    ck_assert_uint_eq(stats.ops_started + stats.ops_finished + stats.ops_in_flight + stats.callbacks, 0);
    ck_assert_uint_eq(stats.turns + stats.enters + stats.cqes + stats.posts + stats.wakes + stats.timers_fired, 0);
    ck_assert_uint_gt(loop_now(loop), 0);
    ck_assert_uint_le(loop_now(loop), test_clock());
    ck_assert_str_eq(loop_version(), LOOP_VERSION_STRING);
    test_loop_free(loop);
}
END_TEST

/* Goal: fifty small loops live side by side. Method: an operation, a post and a timer on each, run in turn. */
START_TEST(fifty_small_loops)
{
    const struct loop_options options = {.sq_entries = 64, .buffer_count = 4, .buffer_size = 512};
    static struct loop       *loops[50];
    static struct test_log    logs[50];
    static struct loop_timer  timers[50];
    uint32_t                  posts = 0, fired = 0;

    for (size_t i = 0; i < TEST_COUNT(loops); i++) {
        loops[i] = test_loop_new(&options);
        timers[i].data = &fired;
        ck_assert_int_gt(loop_nop(loops[i], test_log_cb, &logs[i], NULL), 0);
        ck_assert_int_eq(loop_post(loops[i], test_count_post, &posts), 0);
        ck_assert_int_eq(loop_timer_start(loops[i], &timers[i], LOOP_MILLISECOND, 0, test_count_timer), 0);
    }
    for (size_t i = 0; i < TEST_COUNT(loops); i++)
        test_run(loops[i]);
    for (size_t i = 0; i < TEST_COUNT(loops); i++) {
        test_log_is(&logs[i], 0);
        test_loop_free(loops[i]);
    }
    ck_assert_uint_eq(posts, 50);
    ck_assert_uint_eq(fired, 50);
}
END_TEST

/* ---- running */

/* Goal: the three modes return what they promise. Method: nothing, something pending, something done. */
START_TEST(run_modes)
{
    struct loop    *loop = test_loop_new(NULL);
    struct test_log nop = {0}, recv_log = {0};
    int             fds[2];
    char            byte;

    test_socketpair(fds);
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_DEFAULT), 0);
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_ONCE), 0); /* nothing can happen: does not wait */
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_NOWAIT), 0);

    ck_assert_int_gt(loop_recv(loop, fds[0], &byte, 1, 0, test_log_cb, &recv_log, NULL), 0);
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_NOWAIT), 1);
    ck_assert_uint_eq(recv_log.count, 0);

    ck_assert_int_gt(loop_nop(loop, test_log_cb, &nop, NULL), 0);
    ck_assert_uint_eq(nop.count, 0);
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_ONCE), 1);
    test_log_is(&nop, 0);

    test_write(fds[1], "x", 1);
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_DEFAULT), 0);
    test_log_is(&recv_log, 1);
    ck_assert_uint_ge(test_stats(loop).turns, 4);
    test_loop_free(loop);
    test_close(fds[0]);
    test_close(fds[1]);
}
END_TEST

/* Goal: what keeps a loop alive. Method: each kind alone, and the kinds that must not. */
START_TEST(alive)
{
    struct loop      *loop = test_loop_new(NULL);
    struct test_log   log = {0}, background = {0};
    struct loop_timer timer = {0};
    uint32_t          count = 0;
    int               fds[2];
    char              byte;

    test_socketpair(fds);
    ck_assert_int_gt(loop_nop(loop, test_log_cb, &log, NULL), 0);
    ck_assert(loop_alive(loop));
    test_run(loop);

    ck_assert_int_eq(loop_post(loop, test_count_post, &count), 0);
    ck_assert(loop_alive(loop));
    test_run(loop);
    ck_assert_uint_eq(count, 1);

    timer.data = &count;
    ck_assert_int_eq(loop_timer_start(loop, &timer, 3600 * LOOP_SECOND, 0, test_count_timer), 0);
    ck_assert(loop_alive(loop));
    loop_timer_unref(&timer);
    ck_assert(!loop_alive(loop));
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_DEFAULT), 0);
    loop_timer_ref(&timer);
    ck_assert(loop_alive(loop));
    loop_timer_stop(&timer);
    ck_assert(!loop_alive(loop));

    ck_assert_int_gt(
        loop_recv(loop, fds[0], &byte, 1, 0, test_log_cb, &background, LOOP_TERMS(.flags = LOOP_BACKGROUND)), 0);
    ck_assert(!loop_alive(loop));
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_DEFAULT), 0);
    ck_assert_uint_eq(background.count, 0);
    ck_assert_uint_eq(test_stats(loop).ops_in_flight, 1);
    test_write(fds[1], "x", 1); /* all the same it is served while the loop runs */
    ck_assert_int_gt(loop_recv(loop, fds[1], &byte, 1, 0, NULL, NULL, LOOP_TERMS(.timeout_ns = LOOP_SECOND / 50)), 0);
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_DEFAULT), 0);
    test_log_is(&background, 1);
    test_loop_free(loop);
    test_close(fds[0]);
    test_close(fds[1]);
}
END_TEST

/* Goal: one turn goes completions, posts, due timers. Method: note the order in which one of each comes in the first
 * turn. */
struct order {
    char     text[16];
    uint32_t length;
};

static void order_note(struct order *order, char c)
{
    ck_assert_uint_lt(order->length, sizeof(order->text) - 1);
    order->text[order->length++] = c;
}

static void order_op(struct loop *loop, const struct loop_result *result, void *arg)
{
    (void)loop;
    ck_assert_int_eq(result->res, 0);
    order_note(arg, 'o');
}

static void order_post(struct loop *loop, void *arg)
{
    (void)loop;
    order_note(arg, 'p');
}

static void order_timer(struct loop_timer *timer)
{
    order_note(timer->data, 't');
}

START_TEST(order_of_a_turn)
{
    struct loop      *loop = test_loop_new(NULL);
    struct order      order = {0};
    struct loop_timer timer = {.data = &order};

    ck_assert_int_eq(loop_timer_start(loop, &timer, 0, 0, order_timer), 0);
    ck_assert_int_eq(loop_post(loop, order_post, &order), 0);
    ck_assert_int_gt(loop_nop(loop, order_op, &order, NULL), 0);
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_ONCE), 0);
    ck_assert_str_eq(order.text, "opt");
    ck_assert_uint_eq(test_stats(loop).turns, 1);
    test_loop_free(loop);
}
END_TEST

/* Goal: the cached time stands still within a turn, but for loop_update_time. Method: two reads with a sleep between.
 */
static void time_cb(struct loop *loop, const struct loop_result *result, void *arg)
{
    uint64_t now = loop_now(loop);

    (void)result;
    test_sleep(2 * LOOP_MILLISECOND);
    ck_assert_uint_eq(loop_now(loop), now);
    loop_update_time(loop);
    ck_assert_uint_ge(loop_now(loop), now + 2 * LOOP_MILLISECOND);
    ck_assert_uint_le(loop_now(loop), test_clock());
    ++*(uint32_t *)arg;
}

START_TEST(cached_time)
{
    struct loop *loop = test_loop_new(NULL);
    uint32_t     calls = 0;
    uint64_t     before = test_clock();

    ck_assert_int_gt(loop_nop(loop, time_cb, &calls, NULL), 0);
    test_run(loop);
    ck_assert_uint_eq(calls, 1);
    ck_assert_uint_ge(loop_now(loop), before);
    test_loop_free(loop);
}
END_TEST

/* Goal: loop_dispatch takes completions and posts but no timers, and waits although posts and stops came before.
 * Method: a nop beside a due timer and a post; then how often it returns early. */
START_TEST(dispatch)
{
    struct loop      *loop = test_loop_new(NULL);
    struct test_log   log = {0};
    uint32_t          others = 0;
    struct loop_timer timer = {.data = &others};
    uint64_t          begin, turns;

    ck_assert_int_eq(loop_dispatch(loop, 0), 0);
    ck_assert_int_eq(loop_timer_start(loop, &timer, 0, 0, test_count_timer), 0);
    ck_assert_int_eq(loop_post(loop, test_count_post, &others), 0);
    ck_assert_int_gt(loop_nop(loop, test_log_cb, &log, NULL), 0);
    ck_assert_int_eq(loop_dispatch(loop, UINT64_MAX), 1);
    test_log_is(&log, 0);
    ck_assert_uint_eq(others, 1);
    test_run(loop);
    ck_assert_uint_eq(others, 2);
    loop_stop(loop);
    ck_assert_int_eq(loop_dispatch(loop, UINT64_MAX), 0);
    begin = test_clock();
    turns = test_stats(loop).enters;
    while (test_clock() < begin + 5 * LOOP_MILLISECOND) /* a wait may end early with nothing */
        ck_assert_int_eq(loop_dispatch(loop, 5 * LOOP_MILLISECOND), 0);
    ck_assert_uint_lt(test_stats(loop).enters, turns + 20);
    test_loop_free(loop);
}
END_TEST

/* Goal: loop_submit says how many SQEs went, and refuses where it can't. Method: before the first run, in a chain, in a
 * callback. */
static void submit_cb(struct loop *loop, const struct loop_result *result, void *arg)
{
    struct test_log *log = arg;

    (void)result;
    ck_assert_int_eq(loop_submit(loop), 0);
    for (int i = 0; i < 3; i++)
        ck_assert_int_gt(loop_nop(loop, test_log_cb, &log[i], NULL), 0);
    ck_assert_int_eq(loop_submit(loop), 3);
    ck_assert_int_eq(loop_chain_begin(loop, 2, 0), 0);
    ck_assert_int_eq(loop_submit(loop), -EBUSY);
    ck_assert_int_eq(loop_chain_end(loop), 0);
}

START_TEST(submit)
{
    struct loop    *loop = test_loop_new(NULL);
    struct test_log logs[3] = {0};

    ck_assert_int_gt(loop_nop(loop, submit_cb, logs, NULL), 0);
    ck_assert_int_eq(loop_submit(loop), -EAGAIN);
    test_run(loop);
    for (int i = 0; i < 3; i++)
        test_log_is(&logs[i], 0);
    ck_assert_uint_ge(test_stats(loop).enters_asked, 1);
    test_loop_free(loop);
}
END_TEST

/* Goal: running, dispatching and destroying from inside any callback is refused. Method: try it in each kind. */
static void reenter(struct loop *loop)
{
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_NOWAIT), -EBUSY);
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_DEFAULT), -EBUSY);
    ck_assert_int_eq(loop_dispatch(loop, 0), -EBUSY);
    ck_assert_int_eq(loop_destroy(loop), -EBUSY);
}

static void reenter_op(struct loop *loop, const struct loop_result *result, void *arg)
{
    (void)result;
    reenter(loop);
    ++*(uint32_t *)arg;
}

static void reenter_post(struct loop *loop, void *arg)
{
    reenter(loop);
    ++*(uint32_t *)arg;
}

struct reenter_timer {
    struct loop_timer timer;
    struct loop      *loop;
    uint32_t         *count;
};

static void reenter_timer(struct loop_timer *timer)
{
    struct reenter_timer *mine = timer->data;

    reenter(mine->loop);
    ++*mine->count;
}

static void reenter_foreign(struct loop *loop, uint64_t user_data, int32_t res, uint32_t flags, void *arg)
{
    (void)user_data, (void)res, (void)flags;
    reenter(loop);
    ++*(uint32_t *)arg;
}

static void reenter_multishot(struct loop *loop, const struct loop_result *result, void *arg)
{
    reenter(loop);
    ++*(uint32_t *)arg;
    if (result->flags & LOOP_MORE)
        ck_assert_int_eq(loop_cancel(loop, result->id), 0);
}

START_TEST(reentering_is_refused)
{
    struct loop         *loop = test_loop_new(NULL);
    uint32_t             count = 0, received = 0;
    struct reenter_timer timer = {.loop = loop, .count = &count};
    struct io_uring_sqe  sqe;
    int                  fds[2];
    char                 byte;

    test_socketpair(fds);
    timer.timer.data = &timer;
    memset(&sqe, 0, sizeof(sqe));
    io_uring_prep_nop(&sqe);
    sqe.user_data = 4 | LOOP_FOREIGN;
    loop_foreign_set(loop, reenter_foreign, &count);
    ck_assert_int_eq(loop_foreign_submit(loop, &sqe), 0);
    ck_assert_int_gt(loop_nop(loop, reenter_op, &count, NULL), 0);
    ck_assert_int_eq(loop_post(loop, reenter_post, &count), 0);
    ck_assert_int_eq(loop_timer_start(loop, &timer.timer, 0, 0, reenter_timer), 0);
    test_write(fds[1], "x", 1);
    ck_assert_int_gt(loop_recv_multishot(loop, fds[0], 0, 0, reenter_multishot, &received, NULL), 0);
    test_run(loop);
    ck_assert_uint_eq(count, 4);
    ck_assert_uint_eq(received, 2);

    ck_assert_int_gt(loop_recv(loop, fds[0], &byte, 1, 0, reenter_op, &count, NULL), 0);
    test_loop_drop(loop); /* and in the callbacks of loop_destroy */
    ck_assert_uint_eq(count, 5);
    test_close(fds[0]);
    test_close(fds[1]);
}
END_TEST

/* ---- stopping */

static void stop_op(struct loop *loop, const struct loop_result *result, void *arg)
{
    (void)result;
    ++*(uint32_t *)arg;
    loop_stop(loop);
}

/* Goal: stop ends the run after the turn in progress, once, and the loop runs on later. Method: a nop that stops,
 * beside a recv. */
START_TEST(stop_from_a_callback)
{
    struct loop    *loop = test_loop_new(NULL);
    struct test_log log = {0};
    uint32_t        calls = 0;
    int             fds[2];
    char            byte;

    test_socketpair(fds);
    ck_assert_int_gt(loop_recv(loop, fds[0], &byte, 1, 0, test_log_cb, &log, NULL), 0);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_gt(loop_nop(loop, stop_op, &calls, NULL), 0);
        ck_assert_int_eq(loop_run(loop, LOOP_RUN_DEFAULT), 1);
        ck_assert_uint_eq(calls, (uint32_t)i + 1);
    }
    test_write(fds[1], "x", 1);
    test_run(loop);
    test_log_is(&log, 1);
    test_loop_free(loop);
    test_close(fds[0]);
    test_close(fds[1]);
}
END_TEST

/* Goal: a stop before the run makes that run, and only that, return at once. Method: stop, then run twice with a recv
 * that is ready. */
START_TEST(stop_before_the_run)
{
    struct loop    *loop = test_loop_new(NULL);
    struct test_log log = {0};
    int             fds[2];
    char            byte;

    test_socketpair(fds);
    ck_assert_int_gt(loop_recv(loop, fds[0], &byte, 1, 0, test_log_cb, &log, NULL), 0);
    loop_stop(loop);
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_DEFAULT), 1);
    ck_assert_uint_eq(log.count, 0);
    loop_stop(loop);
    loop_stop(loop); /* twice is once */
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_ONCE), 1);
    test_write(fds[1], "x", 1);
    test_run(loop);
    test_log_is(&log, 1);
    test_loop_free(loop);
    test_close(fds[0]);
    test_close(fds[1]);
}
END_TEST

static struct loop *stopped_by_signal;

static void stop_signal(int number)
{
    (void)number;
    loop_stop(stopped_by_signal);
}

static void raise_signal(struct loop_timer *timer)
{
    (void)timer;
    raise(SIGUSR1);
}

/* Goal: loop_stop may be called in a signal handler, of the loop's own thread too. Method: an interval timer signals
 * while the loop sleeps; then a callback raises the signal. */
START_TEST(stop_from_a_signal_handler)
{
    const struct itimerval soon = {.it_value.tv_usec = 2000};
    struct loop           *loop = test_loop_new(NULL);
    struct loop_timer      timer = {0}, far = {0};

    stopped_by_signal = loop;
    signal(SIGUSR1, stop_signal);
    signal(SIGALRM, stop_signal);
    ck_assert_int_eq(loop_timer_start(loop, &far, 1000 * LOOP_SECOND, 0, raise_signal), 0);
    ck_assert_int_eq(setitimer(ITIMER_REAL, &soon, NULL), 0);
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_DEFAULT), 1);
    ck_assert_int_eq(loop_timer_start(loop, &timer, LOOP_MILLISECOND, 0, raise_signal), 0);
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_DEFAULT), 1);
    ck_assert(!loop_timer_active(&timer));
    loop_timer_stop(&far);
    test_loop_free(loop);
}
END_TEST

static void *stop_thread(void *arg)
{
    test_sleep(5 * LOOP_MILLISECOND); /* most likely it sleeps by then; right in either case */
    loop_stop(arg);
    return NULL;
}

/* Goal: stop from another thread ends a wait. Method: a silent recv, fifty times. */
START_TEST(stop_from_a_thread)
{
    struct loop    *loop = test_loop_new(NULL);
    struct test_log log = {0};
    pthread_t       thread;
    int             fds[2];
    char            byte;

    test_socketpair(fds);
    ck_assert_int_gt(loop_recv(loop, fds[0], &byte, 1, 0, test_log_cb, &log, NULL), 0);
    for (int i = 0; i < 50; i++) {
        ck_assert_int_eq(pthread_create(&thread, NULL, stop_thread, loop), 0);
        ck_assert_int_eq(loop_run(loop, LOOP_RUN_DEFAULT), 1);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
    }
    ck_assert_uint_eq(log.count, 0);
    test_loop_drop(loop);
    test_log_is(&log, -ECANCELED);
    test_close(fds[0]);
    test_close(fds[1]);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("loop");
    TCase *tcase = test_case(suite, "create");

    tcase_add_test(tcase, defaults);
    tcase_add_test(tcase, sizes);
    tcase_add_test(tcase, bad_options);
    tcase_add_test(tcase, new_loop_is_quiet);
    tcase_add_test(tcase, fifty_small_loops);

    tcase = test_case(suite, "run");
    tcase_add_test(tcase, run_modes);
    tcase_add_test(tcase, alive);
    tcase_add_test(tcase, order_of_a_turn);
    tcase_add_test(tcase, cached_time);
    tcase_add_test(tcase, dispatch);
    tcase_add_test(tcase, submit);
    tcase_add_test(tcase, reentering_is_refused);

    tcase = test_case(suite, "stop");
    tcase_add_test(tcase, stop_from_a_callback);
    tcase_add_test(tcase, stop_before_the_run);
    tcase_add_test(tcase, stop_from_a_thread);
    tcase_add_test(tcase, stop_from_a_signal_handler);
    return suite;
}
