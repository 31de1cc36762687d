/* tests/loop/shared_test.c: shared loops: other threads start and cancel operations. */
#include "tests/support/test.h"

#include <pthread.h>
#include <sched.h>

enum { THREADS = 8, NOPS = 100000, SENDS = 2000, CANCELS = 500, WINDOW = 256, BUSY_TURNS_MAX = 50000000 };

static struct loop *loop;

static void setup(void)
{
    loop = test_loop_new(&(struct loop_options){.sq_entries = 64, .flags = LOOP_MODE_SHARED});
    ck_assert_uint_eq(loop_features_get(loop)->modes, LOOP_MODE_SHARED);
}

static void teardown(void)
{
    test_loop_free(loop);
}

struct worker {
    pthread_t        thread;
    _Atomic uint32_t done;   /* final callbacks */
    _Atomic uint32_t failed; /* those with an error */
    _Atomic bool     ended;
    int              fds[2];
    pthread_t        callbacks_on; /* the thread that calls back */
};

static void never(struct loop_timer *timer)
{
    (void)timer;
    ck_abort_msg("an hour has passed");
}

static void ended(struct loop *of, void *arg)
{
    (void)of;
    ++*(uint32_t *)arg;
}

/* Runs the loop until count threads have said, by a post of ended(), that they are done, and nothing is left. */
static void run_workers(void *(*work)(void *worker), struct worker *workers, uint32_t count, uint32_t *ended_count)
{
    struct loop_timer keep = {0};

    ck_assert_int_eq(loop_timer_start(loop, &keep, 3600 * LOOP_SECOND, 0, never), 0);
    for (uint32_t i = 0; i < count; i++)
        ck_assert_int_eq(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    test_run_until(loop, ended_count, count);
    for (uint32_t i = 0; i < count; i++)
        ck_assert_int_eq(pthread_join(workers[i].thread, NULL), 0);
    loop_timer_stop(&keep);
    test_run(loop);
}

static uint32_t ended_count;

static void say_ended(void)
{
    ck_assert_int_eq(loop_post(loop, ended, &ended_count), 0);
}

static void worker_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    struct worker *worker = arg;

    (void)of;
    worker->callbacks_on = pthread_self();
    if (result->res < 0)
        atomic_fetch_add(&worker->failed, 1);
    atomic_fetch_add(&worker->done, 1);
}

static void wait_until_done(struct worker *worker, uint32_t count)
{
    for (uint32_t i = 0; atomic_load(&worker->done) < count; i++) {
        ck_assert_uint_lt(i, BUSY_TURNS_MAX);
        sched_yield();
    }
}

static void *start_nops(void *arg)
{
    struct worker *worker = arg;

    for (uint32_t i = 0; i < NOPS; i++) {
        ck_assert_int_gt(loop_nop(loop, worker_cb, worker, NULL), 0);
        if (i >= WINDOW)
            wait_until_done(worker, i - WINDOW);
    }
    say_ended();
    return NULL;
}

/* Goal: any number of threads may start operations; each ends once, on the loop's thread. */
START_TEST(nops)
{
    static struct worker workers[THREADS];

    run_workers(start_nops, workers, THREADS, &ended_count);
    for (uint32_t i = 0; i < THREADS; i++) {
        ck_assert_uint_eq(workers[i].done, NOPS);
        ck_assert_uint_eq(workers[i].failed, 0);
        ck_assert(pthread_equal(workers[i].callbacks_on, pthread_self()));
    }
    ck_assert_uint_eq(test_stats(loop).ops_started, (uint64_t)THREADS * NOPS);
}
END_TEST

/* Goal: the same on rings of other kinds. */
START_TEST(other_modes)
{
    static const uint32_t modes[] = {LOOP_MODE_SQPOLL, LOOP_MODE_SQE128 | LOOP_MODE_CQE32, LOOP_MODE_IOPOLL};
    static struct worker  workers[2];

    test_loop_free(loop);
    loop = test_loop_new(&(struct loop_options){.sq_entries = 16, .flags = LOOP_MODE_SHARED | modes[_i]});
    run_workers(start_nops, workers, 2, &ended_count);
    for (uint32_t i = 0; i < 2; i++) {
        ck_assert_uint_eq(workers[i].done, NOPS);
        ck_assert_uint_eq(workers[i].failed, 0);
    }
}
END_TEST

/* Each send's memory, header and iovec array are gone when the call has returned, but for the byte itself. */
static void *start_sends(void *arg)
{
    struct worker *worker = arg;
    static uint8_t bytes[256];
    uint8_t        got;

    for (uint32_t i = 0; i < SENDS; i++) {
        struct iovec  iov[6] = {{.iov_base = &bytes[i % 256], .iov_len = 1}};
        struct msghdr msg = {.msg_iov = iov, .msg_iovlen = i % 2 == 0 ? 1 : 6};

        __atomic_store_n(&bytes[i % 256], (uint8_t)(i % 256), __ATOMIC_RELAXED);
        ck_assert_int_gt(loop_sendmsg(loop, worker->fds[0], &msg, 0, worker_cb, worker,
                                      LOOP_TERMS(.timeout_ns = 3600 * LOOP_SECOND)),
                         0);
        memset(iov, 0xff, sizeof(iov));
        memset(&msg, 0xff, sizeof(msg));
        test_read(worker->fds[1], &got, 1);
        ck_assert_uint_eq(got, i % 256);
        wait_until_done(worker, i + 1); /* one send at a time */
    }
    say_ended();
    return NULL;
}

/* Goal: what calls promise to copy is copied on the calling thread. */
START_TEST(sends)
{
    static struct worker workers[THREADS];

    for (uint32_t i = 0; i < THREADS; i++)
        test_socketpair(workers[i].fds);
    run_workers(start_sends, workers, THREADS, &ended_count);
    for (uint32_t i = 0; i < THREADS; i++) {
        ck_assert_uint_eq(workers[i].done, SENDS);
        ck_assert_uint_eq(workers[i].failed, 0);
        test_close(workers[i].fds[0]);
        test_close(workers[i].fds[1]);
    }
}
END_TEST

static void canceled_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    (void)of;
    ck_assert_int_eq(result->res, -ECANCELED);
    ck_assert_int_eq(result->flags & LOOP_MORE, 0);
    atomic_fetch_add(&((struct worker *)arg)->done, 1);
}

static void *start_and_cancel(void *arg)
{
    struct worker *worker = arg;
    static char    byte;

    for (uint32_t i = 0; i < CANCELS; i++) {
        loop_id id = loop_recv(loop, worker->fds[0], &byte, 1, 0, canceled_cb, worker, NULL);

        ck_assert_int_gt(id, 0);
        if (i % 3 == 0)
            sched_yield();
        ck_assert_int_eq(loop_cancel(loop, id), 0);
        wait_until_done(worker, i + 1);
        ck_assert_int_eq(loop_cancel(loop, id), 0); /* from here it can't be known */
    }
    ck_assert_int_eq(loop_cancel(loop, 0), -ENOENT);
    ck_assert_int_eq(loop_cancel(loop, -1), -ENOENT);
    say_ended();
    return NULL;
}

/* Goal: a cancel comes after the start of the same thread, whatever the loop does meanwhile. */
START_TEST(cancels)
{
    static struct worker workers[THREADS];

    for (uint32_t i = 0; i < THREADS; i++)
        test_socketpair(workers[i].fds);
    run_workers(start_and_cancel, workers, THREADS, &ended_count);
    for (uint32_t i = 0; i < THREADS; i++) {
        ck_assert_uint_eq(workers[i].done, CANCELS);
        test_close(workers[i].fds[0]);
        test_close(workers[i].fds[1]);
    }
}
END_TEST

/* ---- one call each, made by a thread that ends before the test goes on */

static void *call_thread(void *arg)
{
    void (**call)(void) = arg;

    (*call)();
    return NULL;
}

static void elsewhere(void (*call)(void))
{
    pthread_t thread;

    ck_assert_int_eq(pthread_create(&thread, NULL, call_thread, &call), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
}

static struct test_log logs[4];

struct tally {
    uint32_t count;
    int32_t  last; /* result */
};
static struct tally tally;

static void tally_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    (void)of;
    ((struct tally *)arg)->count++;
    ((struct tally *)arg)->last = result->res;
}

static int     pair[2];
static loop_id ids[4];
static char    bytes[16];

static void call_with_terms(void)
{
    char data[] = "0123456789";

    ids[0] = loop_nop(loop, test_log_cb, &logs[0], LOOP_TERMS(.data = data, .data_size = sizeof(data)));
    memset(data, 0xff, sizeof(data));
    ids[1] = loop_recv(loop, pair[0], bytes, 1, 0, test_log_cb, &logs[1], LOOP_TERMS(.timeout_ns = LOOP_MILLISECOND));
    ids[2] = loop_recv(loop, pair[0], bytes, 1, 0, test_log_cb, &logs[2],
                       LOOP_TERMS(.timeout_ns = LOOP_MILLISECOND, .flags = LOOP_LINKED_TIMEOUT));
    ids[3] = loop_recv(loop, pair[0], NULL, 8, 0, test_log_cb, &logs[3],
                       LOOP_TERMS(.timeout_ns = LOOP_MILLISECOND, .flags = LOOP_LEND));
}

/* Goal: terms hold as on the loop's own thread: data, deadlines of both kinds, lent buffers. */
START_TEST(terms)
{
    test_socketpair(pair);
    logs[0].extra_size = 11;
    if (_i == 0)
        test_turns(loop, 1); /* else before the first run */
    elsewhere(call_with_terms);
    for (uint32_t i = 0; i < 4; i++)
        ck_assert_int_gt(ids[i], 0);
    ck_assert(loop_alive(loop));
    test_run(loop);
    test_log_is(&logs[0], 0);
    ck_assert_str_eq(logs[0].extra, "0123456789");
    for (uint32_t i = 1; i < 4; i++) {
        ck_assert_uint_eq(logs[i].count, 1);
        ck_assert_int_eq(logs[i].last.res, -ETIMEDOUT);
        ck_assert_uint_eq(logs[i].last.flags, LOOP_TIMED_OUT);
    }
    test_close(pair[0]);
    test_close(pair[1]);
}
END_TEST

static void call_bad(void)
{
    ck_assert_int_eq(loop_nop(loop, NULL, NULL, LOOP_TERMS(.flags = 1u << 31)), -EINVAL);
    ck_assert_int_eq(loop_nop(loop, NULL, NULL, LOOP_TERMS(.release = 77)), -EINVAL);
    ck_assert_int_eq(loop_nop(loop, NULL, NULL, LOOP_TERMS(.data_size = 1)), -EINVAL);
    ck_assert_int_eq(loop_send(loop, -1, NULL, 0, 0, NULL, NULL, NULL), -EBADF);
    ck_assert_int_eq(loop_nop(loop, LOOP_HANDLER(1), LOOP_VALUE(1), NULL), -EINVAL); /* not registered */
    ck_assert_int_eq(loop_submit(loop), 0);
}

/* Goal: what is wrong is refused at once, as ever. */
START_TEST(refused)
{
    test_turns(loop, 1);
    elsewhere(call_bad);
    ck_assert(!loop_alive(loop));
}
END_TEST

static void direct_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    (void)of;
    ck_assert_int_eq(result->res, 0);
    *(uint64_t *)arg += result->value;
}

static void call_direct(void)
{
    for (uint64_t i = 1; i <= 100; i++)
        ck_assert_int_gt(loop_nop(loop, LOOP_HANDLER(1), LOOP_VALUE(i), NULL), 0);
}

/* Goal: direct mode. */
START_TEST(direct)
{
    uint64_t sum = 0;

    ck_assert_int_eq(loop_handler_register(loop, direct_cb, &sum, 0), 1);
    test_turns(loop, 1);
    elsewhere(call_direct);
    test_run(loop);
    ck_assert_uint_eq(sum, 5050);
}
END_TEST

static void call_many(void)
{
    for (uint32_t i = 0; i < 8; i++)
        ck_assert_int_gt(loop_nop(loop, tally_cb, &tally, NULL), 0);
    ck_assert_int_eq(loop_nop(loop, NULL, NULL, NULL), -ENOBUFS);
}

/* Goal: no more wait than ops_max; while as many are in flight the rest waits, and the loop sleeps. */
START_TEST(limit)
{
    struct test_log reads[8] = {{0}};
    uint64_t        turns;

    test_loop_free(loop);
    loop = test_loop_new(&(struct loop_options){.ops_max = 8, .flags = LOOP_MODE_SHARED});
    memset(logs, 0, sizeof(logs));
    test_socketpair(pair);
    test_turns(loop, 1);
    for (uint32_t i = 0; i < 8; i++)
        ck_assert_int_gt(loop_recv(loop, pair[0], bytes, 1, 0, test_log_cb, &reads[i], NULL), 0);
    elsewhere(call_many);
    test_turns(loop, 3);
    ck_assert_uint_eq(tally.count, 0);
    turns = test_stats(loop).turns;
    ck_assert_int_eq(loop_dispatch(loop, 20 * LOOP_MILLISECOND), 0);
    ck_assert_uint_le(test_stats(loop).turns, turns + 1);
    test_write(pair[1], "12345678", 8);
    test_run(loop);
    ck_assert_uint_eq(tally.count, 8);
    ck_assert_uint_eq(test_stats(loop).ops_full, 1);
    test_close(pair[0]);
    test_close(pair[1]);
}
END_TEST

static void call_nop(void)
{
    ck_assert_int_gt(loop_nop(loop, tally_cb, &tally, NULL), 0);
}

static void waits_for_thread(struct loop *of, const struct loop_result *result, void *arg)
{
    (void)of;
    (void)result;
    elsewhere(call_nop);
    ck_assert_int_eq(loop_chain_begin(loop, 2, 0), 0);
    ck_assert_int_gt(loop_nop(loop, test_log_cb, &logs[1], NULL), 0);
    elsewhere(call_nop);
    ck_assert_int_gt(loop_nop(loop, test_log_cb, &logs[2], NULL), 0);
    ck_assert_int_eq(loop_chain_end(loop), 0);
    ++*(uint32_t *)arg;
}

/* Goal: nothing is locked while a callback runs, and an open chain stays its owner's. */
START_TEST(from_callback)
{
    uint32_t count = 0;

    memset(logs, 0, sizeof(logs));
    ck_assert_int_gt(loop_nop(loop, waits_for_thread, &count, NULL), 0);
    test_run(loop);
    ck_assert_uint_eq(count, 1);
    ck_assert_uint_eq(tally.count, 2);
    test_log_is(&logs[1], 0);
    test_log_is(&logs[2], 0);
}
END_TEST

static void call_recv(void)
{
    ids[0] = loop_recv(loop, pair[0], bytes, 1, 0, test_log_cb, &logs[0], NULL);
}

static void cancel_posted(struct loop *of, void *arg)
{
    (void)arg;
    elsewhere(call_recv);
    ck_assert_int_eq(loop_cancel(of, ids[0]), 0); /* still in the queue */
    ck_assert_uint_eq(logs[0].count, 0);
}

/* Goal: the loop's thread can cancel what another has started a moment ago. */
START_TEST(owner_cancels)
{
    memset(logs, 0, sizeof(logs));
    test_socketpair(pair);
    ck_assert_int_eq(loop_post(loop, cancel_posted, NULL), 0);
    test_run(loop);
    test_log_is(&logs[0], -ECANCELED);
    ck_assert_int_eq(loop_cancel(loop, ids[0]), -ENOENT);
    test_close(pair[0]);
    test_close(pair[1]);
}
END_TEST

static void call_multishot(void)
{
    ids[0] = loop_recv_multishot(loop, pair[0], LOOP_GROUP_DEFAULT, 0, test_log_cb, &logs[0], NULL);
    ids[1] = loop_recv_multishot(loop, pair[0], 9, 0, test_log_cb, &logs[1], NULL); /* no such group */
}

/* Goal: multishots; an error that only the loop's thread can find comes as the result. */
START_TEST(multishot)
{
    memset(logs, 0, sizeof(logs));
    test_socketpair(pair);
    test_turns(loop, 1);
    elsewhere(call_multishot);
    ck_assert_int_gt(ids[0], 0);
    ck_assert_int_gt(ids[1], 0);
    test_write(pair[1], "abc", 3);
    test_run_until(loop, &logs[0].count, 1);
    ck_assert_uint_eq(logs[0].bytes, 3);
    test_close(pair[1]);
    test_run(loop);
    ck_assert_uint_eq(logs[0].finals, 1);
    ck_assert_int_eq(logs[0].last.res, 0);
    test_log_is(&logs[1], -EINVAL);
    test_close(pair[0]);
}
END_TEST

static void call_barrier(void)
{
    ids[1] = loop_nop(loop, test_log_cb, &logs[1], LOOP_TERMS(.flags = LOOP_BARRIER));
}

/* Goal: a barrier from another thread waits for what was started before it. */
START_TEST(barrier)
{
    memset(logs, 0, sizeof(logs));
    test_socketpair(pair);
    test_turns(loop, 1);
    elsewhere(call_recv);
    elsewhere(call_barrier);
    test_turns(loop, 3);
    ck_assert_uint_eq(logs[1].count, 0);
    test_write(pair[1], "x", 1);
    test_run(loop);
    test_log_is(&logs[0], 1);
    test_log_is(&logs[1], 0);
    test_close(pair[0]);
    test_close(pair[1]);
}
END_TEST

static void call_eight(void)
{
    for (uint32_t i = 0; i < 8; i++)
        ck_assert_int_gt(loop_recv(loop, pair[0], bytes, 1, 0, tally_cb, &tally, NULL), 0);
}

/* Goal: what waits in the queue when the loop is destroyed ends as everything does. Method: before the first run and
 * after it. */
START_TEST(destroy)
{
    memset(logs, 0, sizeof(logs));
    test_socketpair(pair);
    if (_i == 1)
        test_turns(loop, 1);
    elsewhere(call_eight);
    test_loop_drop(loop);
    ck_assert_uint_eq(tally.count, 8);
    ck_assert_int_eq(tally.last, -ECANCELED);
    test_close(pair[0]);
    test_close(pair[1]);
    loop = test_loop_new(NULL);
}
END_TEST

static void call_without_memory(void)
{
    struct iovec  iov[6] = {{0}};
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 6};

    ids[0] = loop_sendmsg(loop, pair[0], &msg, 0, test_log_cb, &logs[0], NULL);
}

/* Goal: want of memory is an errno of the start, and leaves nothing. Method: each allocation fails once. */
START_TEST(no_memory)
{
    uint32_t refused_count = 0;

    test_socketpair(pair);
    test_turns(loop, 1);
    for (uint64_t nth = 1; nth < 50; nth++) {
        memset(logs, 0, sizeof(logs));
        test_memory.fail_at = test_memory.calls + nth;
        test_memory.failed = 0;
        elsewhere(call_without_memory);
        test_run(loop);
        test_memory.fail_at = 0;
        if (ids[0] == -ENOMEM)
            refused_count++;
        else
            ck_assert_uint_eq(logs[0].finals, 1);
        if (test_memory.failed == 0)
            break;
    }
    ck_assert_uint_eq(test_memory.failed, 0);
    ck_assert_uint_ge(refused_count, 2);
    test_close(pair[0]);
    test_close(pair[1]);
}
END_TEST

static void call_barrier_with_deadline(void)
{
    ids[1] = loop_nop(loop, test_log_cb, &logs[1], LOOP_TERMS(.flags = LOOP_BARRIER, .timeout_ns = LOOP_SECOND));
}

/* Goal: a barrier with a deadline, for which the loop has no memory when it adopts it, ends so and leaves nothing. */
START_TEST(barrier_without_memory)
{
    test_turns(loop, 1);
    elsewhere(call_barrier_with_deadline);
    ck_assert_int_gt(ids[1], 0);
    test_memory.fail_from = test_memory.calls + 1;
    test_turns(loop, 1);
    test_memory.fail_from = 0;
    test_run(loop);
    test_log_is(&logs[1], -ENOMEM);
}
END_TEST

/* Goal: a registered file that another thread has closed is not found any more, once the loop knows of it. */
static int slot;

static void call_close(void)
{
    ids[1] = loop_close(loop, slot, test_log_cb, &logs[1], NULL);
}

START_TEST(close_of_a_registered_file)
{
    test_socketpair(pair);
    ck_assert_int_eq(loop_files_init(loop, NULL), 0);
    slot = loop_file_register(loop, pair[0]);
    ck_assert_int_gt(slot, 0);
    test_turns(loop, 1);
    elsewhere(call_close);
    test_run(loop);
    test_log_is(&logs[1], 0);
    ck_assert_int_eq(loop_file_lookup(loop, pair[0]), -ENOENT);
    test_close(pair[0]);
    test_close(pair[1]);
}
END_TEST

static struct loop_stats stats_seen;

static void call_stats(void)
{
    loop_stats_get(loop, &stats_seen);
}

/* Goal: other threads see the statistics as they were at the last turn. */
START_TEST(stats)
{
    memset(logs, 0, sizeof(logs));
    elsewhere(call_nop);
    test_run(loop);
    test_turns(loop, 1);
    elsewhere(call_stats);
    ck_assert_uint_eq(stats_seen.ops_started, 1);
    ck_assert_uint_eq(stats_seen.ops_finished, 1);
    ck_assert_uint_ge(stats_seen.turns, 1);
}
END_TEST

static void call_timer(void)
{
    static struct loop_timer timer;

    (void)loop_timer_start(loop, &timer, 1, 0, never);
}

static void start_timer_elsewhere(void *arg)
{
    (void)arg;
    loop = test_loop_new(&(struct loop_options){.flags = LOOP_MODE_SHARED}); /* a ring of this process */
    test_turns(loop, 1);
    elsewhere(call_timer);
}

static void call_chain(void)
{
    if (loop_chain_begin(loop, 1, 0) == 0)
        (void)loop_chain_end(loop);
}

static void open_chain_elsewhere(void *arg)
{
    (void)arg;
    loop = test_loop_new(&(struct loop_options){.flags = LOOP_MODE_SHARED});
    test_turns(loop, 1);
    elsewhere(call_chain);
}

static void nop_on_private_loop(void *arg)
{
    (void)arg;
    loop = test_loop_new(NULL);
    test_turns(loop, 1);
    elsewhere(call_nop);
}

/* Goal: all other calls on a wrong thread still abort, and so does everything on a loop that is not shared. */
START_TEST(misuse)
{
    test_expect_abort(start_timer_elsewhere, NULL, "loop_timer_start");
    test_expect_abort(open_chain_elsewhere, NULL, "loop_chain_begin");
    test_expect_abort(nop_on_private_loop, NULL, "loop_nop");
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("shared");
    TCase *tcase = test_case(suite, "shared");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, nops);
    tcase_add_loop_test(tcase, other_modes, 0, 3);
    tcase_add_test(tcase, sends);
    tcase_add_test(tcase, cancels);
    tcase_add_loop_test(tcase, terms, 0, 2);
    tcase_add_test(tcase, refused);
    tcase_add_test(tcase, direct);
    tcase_add_test(tcase, limit);
    tcase_add_test(tcase, from_callback);
    tcase_add_test(tcase, owner_cancels);
    tcase_add_test(tcase, multishot);
    tcase_add_test(tcase, barrier);
    tcase_add_loop_test(tcase, destroy, 0, 2);
    tcase_add_test(tcase, no_memory);
    tcase_add_test(tcase, barrier_without_memory);
    tcase_add_test(tcase, close_of_a_registered_file);
    tcase_add_test(tcase, stats);
    tcase_add_test(tcase, misuse);
    return suite;
}
