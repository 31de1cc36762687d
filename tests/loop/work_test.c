/* tests/loop/work_test.c: the work pool: functions on threads, results on the loop's. */
#include "tests/loop/work_jobs.h"

#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>

/* ---- results */

/* Goal: what the function returns comes to the callback, after the call, in the loop's run, with the copy of the
 * caller's data; before the first run as well. */
START_TEST(results)
{
    static const int32_t values[] = {0, 1, INT32_MAX, -EIO, -EINTR, -ENOBUFS, -ECANCELED, INT32_MIN};

    for (int round = 0; round < 2; round++) {
        struct job jobs[TEST_COUNT(values)];

        memset(jobs, 0, sizeof(jobs));
        for (size_t i = 0; i < TEST_COUNT(values); i++) {
            jobs[i].res = values[i];
            jobs[i].log.extra_size = 4;
            job_start(&jobs[i], LOOP_WORK_DEFAULT, LOOP_TERMS(.data = "abc", .data_size = 4));
        }
        wait_until(&runs, (uint32_t)((size_t)(round + 1) * TEST_COUNT(values)));
        ck_assert_uint_eq(jobs[0].log.count, 0);
        ck_assert(loop_alive(loop));
        test_run(loop);
        for (size_t i = 0; i < TEST_COUNT(values); i++) {
            job_is(&jobs[i], values[i], 0, 1);
            ck_assert_uint_eq(jobs[i].log.extras, 1);
            ck_assert_str_eq(jobs[i].log.extra, "abc");
        }
    }
    ck_assert_uint_le(test_stats(loop).work_threads, 4);
}
END_TEST

/* Goal: the threads are others than the loop's, have their name, and leave signals to other threads, but for those of
 * their own faults. */
struct look {
    pthread_t thread;
    char      name[16];
    sigset_t  mask;
};

static int32_t look_fn(void *arg)
{
    struct look *look = arg;

    look->thread = pthread_self();
    prctl(PR_GET_NAME, look->name);
    pthread_sigmask(SIG_SETMASK, NULL, &look->mask);
    return 0;
}

static void look_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    struct look *look = arg;

    ck_assert_ptr_eq(of, loop);
    ck_assert_int_eq(result->res, 0);
    ck_assert(!pthread_equal(look->thread, pthread_self()));
    look->thread = pthread_self();
}

START_TEST(foreign_threads)
{
    static const int blocked[] = {SIGINT, SIGTERM, SIGCHLD, SIGUSR1, SIGPIPE, SIGALRM};
    struct look      look = {0};
    sigset_t         mine;

    ck_assert_int_gt(loop_work(loop, LOOP_WORK_SLOW, look_fn, look_cb, &look, NULL), 0);
    test_run(loop);
    ck_assert(pthread_equal(look.thread, pthread_self()));
    ck_assert_str_eq(look.name, "ringloop-work");
    pthread_sigmask(SIG_SETMASK, NULL, &mine);
    for (size_t i = 0; i < TEST_COUNT(blocked); i++) {
        ck_assert_int_eq(sigismember(&look.mask, blocked[i]), 1);
        ck_assert_int_eq(sigismember(&mine, blocked[i]), 0);
    }
    ck_assert_int_eq(sigismember(&look.mask, SIGSEGV), 0);
    ck_assert_int_eq(sigismember(&look.mask, SIGBUS), 0);
}
END_TEST

/* Goal: bad arguments are refused, and leave nothing behind: no thread, no operation. */
START_TEST(arguments)
{
    static const uint32_t refused[] = {LOOP_LINKED_TIMEOUT, LOOP_POLL_FIRST, LOOP_ASYNC, 1u << 31};
    struct test_log       log = {0};
    struct job            job = {.res = 3};

    ck_assert_int_eq(loop_work(loop, LOOP_WORK_DEFAULT, NULL, test_log_cb, &log, NULL), -EINVAL);
    ck_assert_int_eq(loop_work(loop, (enum loop_work_class)3, job_fn, test_log_cb, &job, NULL), -EINVAL);
    ck_assert_int_eq(loop_work(loop, (enum loop_work_class)259, job_fn, test_log_cb, &job, NULL), -EINVAL);
    ck_assert_int_eq(loop_work(loop, LOOP_WORK_DEFAULT, job_fn, LOOP_HANDLER(1), &job, NULL), -EINVAL);
    for (size_t i = 0; i < TEST_COUNT(refused); i++)
        ck_assert_int_eq(loop_work(loop, LOOP_WORK_DEFAULT, job_fn, test_log_cb, &job, LOOP_TERMS(.flags = refused[i])),
                         -EINVAL);
    ck_assert_int_eq(loop_work(loop, LOOP_WORK_DEFAULT, job_fn, test_log_cb, &job, LOOP_TERMS(.data_size = 1)),
                     -EINVAL);
    ck_assert_int_eq(
        loop_work(loop, LOOP_WORK_DEFAULT, job_fn, test_log_cb, &job, LOOP_TERMS(.data = "", .data_size = 65)),
        -EINVAL);
    ck_assert_int_eq(loop_work(loop, LOOP_WORK_DEFAULT, job_fn, test_log_cb, &job, LOOP_TERMS(.release = 77)), -EINVAL);
    ck_assert(!loop_alive(loop));
    ck_assert_uint_eq(test_stats(loop).work_threads, 0);
    job_start(&job, LOOP_WORK_URGENT, LOOP_TERMS(.flags = LOOP_EXTENDED));
    test_run(loop);
    job_is(&job, 3, 0, 1);
}
END_TEST

/* Goal: the options have limits. */
START_TEST(bad_options)
{
    static const struct loop_work_options bad[] = {
        {.threads_max = 1025},        {.default_threads_max = 1025},          {.slow_threads_max = 1025},
        {.urgent_threads_max = 1025}, {.queue_max = (UINT32_C(1) << 28) + 1}, {.reserved = 1},
    };
    struct loop *other = NULL;

    for (size_t i = 0; i < TEST_COUNT(bad); i++)
        ck_assert_int_eq(loop_create(&other, &(struct loop_options){.work = bad[i]}), -EINVAL);
    ck_assert_ptr_null(other);
}
END_TEST

/* Goal: without a callback the function runs all the same; its error is counted. */
START_TEST(silent)
{
    struct job job = {.res = -EIO};

    ck_assert_int_gt(loop_work(loop, LOOP_WORK_DEFAULT, job_fn, NULL, &job, NULL), 0);
    test_run(loop);
    ck_assert_uint_eq(job.runs, 1);
    ck_assert_uint_eq(test_stats(loop).silent_errors, 1);
}
END_TEST

/* Goal: work is no link of a chain: refused in an open one, which then fails; not so with LOOP_UNCHAINED. */
START_TEST(chains)
{
    struct test_log nop = {0};
    struct job      job = {.res = 1};

    ck_assert_int_eq(loop_chain_begin(loop, 2, 0), 0);
    ck_assert_int_gt(loop_nop(loop, test_log_cb, &nop, NULL), 0);
    ck_assert_int_eq(loop_work(loop, LOOP_WORK_DEFAULT, job_fn, test_log_cb, &job, NULL), -EINVAL);
    ck_assert_int_eq(loop_chain_end(loop), -EINVAL);
    ck_assert(!loop_alive(loop));
    ck_assert_int_eq(loop_chain_begin(loop, 2, 0), 0);
    ck_assert_int_gt(loop_nop(loop, test_log_cb, &nop, NULL), 0);
    job_start(&job, LOOP_WORK_DEFAULT, LOOP_TERMS(.flags = LOOP_UNCHAINED));
    ck_assert_int_eq(loop_chain_end(loop), 0);
    test_run(loop);
    test_log_is(&nop, 0);
    job_is(&job, 1, 0, 1);
}
END_TEST

/* Goal: a buffer handed to a work item is out, and its data stays, until after its callback. Method: a received buffer
 * is looked at by a function that is held up. */
struct hash {
    struct gate gate;
    const char *data;
    uint32_t    started, told;
};

static int32_t hash_fn(void *arg)
{
    struct hash *hash = arg;

    pass_gate(&hash->gate);
    return hash->data[0] + hash->data[1];
}

static void hash_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    struct hash *hash = arg;

    ck_assert_int_eq(result->res, 'a' + 'b');
    ck_assert_uint_eq(test_stats(of).buffers_lent, 1);
    hash->told++;
}

static void hash_received(struct loop *of, const struct loop_result *result, void *arg)
{
    struct hash *hash = arg;

    if ((result->flags & LOOP_BUFFER) == 0)
        return;
    hash->data = result->data;
    ck_assert_int_gt(loop_work(of, LOOP_WORK_DEFAULT, hash_fn, hash_cb, hash, LOOP_TERMS(.release = result->buffer)),
                     0);
    hash->started++;
}

START_TEST(takes_a_buffer)
{
    struct hash hash = {0};
    int         fds[2];

    gate_init(&hash.gate);
    test_socketpair(fds);
    test_write(fds[1], "ab", 2);
    ck_assert_int_gt(loop_recv_multishot(loop, fds[0], LOOP_GROUP_DEFAULT, 0, hash_received, &hash, NULL), 0);
    test_run_until(loop, &hash.started, 1);
    test_close(fds[1]);
    test_turns(loop, 3);
    ck_assert_uint_eq(test_stats(loop).buffers_lent, 1);
    gate_let(&hash.gate, 1);
    test_run(loop);
    ck_assert_uint_eq(hash.told, 1);
    ck_assert_uint_eq(test_stats(loop).buffers_lent, 0);
    test_close(fds[0]);
    sem_destroy(&hash.gate.sem);
}
END_TEST

/* ---- threads and classes */

/* Goal: no thread before it is needed, none more than needed, none more than the limit. Method: one at a time; then
 * blocked ones. */
START_TEST(threads_as_needed)
{
    struct job  one[50], many[10];
    struct gate gate;

    gate_init(&gate);
    memset(one, 0, sizeof(one));
    memset(many, 0, sizeof(many));
    make_loop((struct loop_options){.work = {.threads_max = 6}});
    ck_assert_uint_eq(test_stats(loop).work_threads, 0);
    for (size_t i = 0; i < TEST_COUNT(one); i++) {
        job_start(&one[i], LOOP_WORK_DEFAULT, NULL);
        test_run(loop);
    }
    ck_assert_uint_eq(test_stats(loop).work_threads, 1);
    for (uint32_t i = 0; i < TEST_COUNT(many); i++) {
        many[i].gate = &gate;
        job_start(&many[i], LOOP_WORK_DEFAULT, NULL);
    }
    wait_until(&gate.entered, 6);
    ck_assert_uint_eq(test_stats(loop).work_threads, 6);
    ck_assert_uint_eq(test_stats(loop).work_waiting, 4);
    gate_let(&gate, 10);
    test_run(loop);
    ck_assert_uint_eq(gate.entered, 10);
    ck_assert_uint_eq(test_stats(loop).work_threads, 6);
    ck_assert_uint_eq(test_stats(loop).work_waiting, 0);
    sem_destroy(&gate.sem);
}
END_TEST

/* Goal: as many resting threads are called as there are items for them, whatever they were about. Method: again and
 * again all threads have to stand at the gate at once, and nothing else is queued that would call another. */
START_TEST(all_called)
{
    enum { ROUNDS = 300, THREADS = 4 };
    struct gate gate;

    gate_init(&gate);
    for (uint32_t round = 1; round <= ROUNDS; round++) {
        struct job jobs[THREADS];

        memset(jobs, 0, sizeof(jobs));
        for (int i = 0; i < THREADS; i++) {
            jobs[i].gate = &gate;
            job_start(&jobs[i], i % 2 == 0 ? LOOP_WORK_SLOW : LOOP_WORK_DEFAULT, NULL);
        }
        wait_until(&gate.entered, round * THREADS);
        gate_let(&gate, THREADS);
        test_run(loop);
        if (round % 3 == 0)
            test_sleep(100 * LOOP_MICROSECOND); /* all at rest, perhaps */
    }
    ck_assert_uint_eq(test_stats(loop).work_threads, THREADS);
    sem_destroy(&gate.sem);
}
END_TEST

static uint32_t delivered[1024], delivered_count;

static void deliver_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    (void)of, (void)arg;
    ck_assert_uint_lt(delivered_count, TEST_COUNT(delivered));
    delivered[delivered_count++] = (uint32_t)result->res;
}

/* Goal: one class on one thread runs and delivers in order of start. */
START_TEST(order)
{
    enum { COUNT = 1000 };
    static struct job jobs[COUNT];

    make_loop((struct loop_options){.work = {.threads_max = 1}});
    for (int32_t i = 0; i < COUNT; i++) {
        jobs[i].res = i;
        ck_assert_int_gt(loop_work(loop, LOOP_WORK_SLOW, job_fn, deliver_cb, &jobs[i], NULL), 0);
    }
    test_run(loop);
    ck_assert_uint_eq(test_stats(loop).work_threads, 1);
    ck_assert_uint_eq(delivered_count, COUNT);
    for (uint32_t i = 0; i < COUNT; i++) {
        ck_assert_uint_eq(delivered[i], i);
        ck_assert_uint_eq(jobs[i].ticket, i + 1);
    }
}
END_TEST

/* Goal: urgent ones first, the others in order of start. Method: one thread, held while they are queued. */
START_TEST(urgent_first)
{
    struct job  holder = {0}, d1 = {0}, s1 = {0}, d2 = {0}, u1 = {0}, u2 = {0}, s2 = {0};
    struct gate gate;

    gate_init(&gate);
    make_loop((struct loop_options){.work = {.threads_max = 1}});
    holder.gate = &gate;
    job_start(&holder, LOOP_WORK_DEFAULT, NULL);
    wait_until(&gate.entered, 1);
    job_start(&d1, LOOP_WORK_DEFAULT, NULL);
    job_start(&s1, LOOP_WORK_SLOW, NULL);
    job_start(&s2, LOOP_WORK_SLOW, NULL);
    job_start(&u1, LOOP_WORK_URGENT, NULL);
    job_start(&d2, LOOP_WORK_DEFAULT, NULL);
    job_start(&u2, LOOP_WORK_URGENT, NULL);
    gate_let(&gate, 1);
    test_run(loop);
    ck_assert_uint_eq(u1.ticket, 2);
    ck_assert_uint_eq(u2.ticket, 3);
    ck_assert_uint_eq(d1.ticket, 4);
    ck_assert_uint_eq(s1.ticket, 5);
    ck_assert_uint_eq(s2.ticket, 6);
    ck_assert_uint_eq(d2.ticket, 7);
    sem_destroy(&gate.sem);
}
END_TEST

/* Goal: a class that is blocked leaves threads to the others, and goes on within its limit when it can. Method: each
 * class in turn is filled with items that stand still, while the others run many; limits by default and asked for. */
static const struct {
    enum loop_work_class     blocked, free;
    uint32_t                 threads; /* that the blocked class gets */
    struct loop_work_options options;
} limits[] = {
    {LOOP_WORK_SLOW, LOOP_WORK_DEFAULT, 2, {0}},
    {LOOP_WORK_SLOW, LOOP_WORK_URGENT, 3, {.threads_max = 5}},
    {LOOP_WORK_SLOW, LOOP_WORK_DEFAULT, 1, {.threads_max = 8, .slow_threads_max = 1}},
    {LOOP_WORK_DEFAULT, LOOP_WORK_URGENT, 3, {.default_threads_max = 3}},
    {LOOP_WORK_URGENT, LOOP_WORK_DEFAULT, 1, {.threads_max = 2, .urgent_threads_max = 1}},
};

START_TEST(classes)
{
    enum { BLOCKED = 12, FREE = 300 };
    static struct job blocked[BLOCKED], others[FREE];
    struct gate       gate;
    uint32_t          threads = limits[_i].threads;

    gate_init(&gate);
    make_loop((struct loop_options){.work = limits[_i].options});
    for (int i = 0; i < BLOCKED; i++) {
        blocked[i].gate = &gate;
        job_start(&blocked[i], limits[_i].blocked, NULL);
    }
    wait_until(&gate.entered, threads);
    for (int i = 0; i < FREE; i++)
        job_start(&others[i], limits[_i].free, NULL);
    for (int turn = 0; turn < 10000 && others[FREE - 1].log.count == 0; turn++)
        ck_assert_int_eq(loop_run(loop, LOOP_RUN_ONCE), 1);
    for (int turn = 0; turn < 10000 && test_stats(loop).ops_in_flight > BLOCKED; turn++)
        ck_assert_int_eq(loop_run(loop, LOOP_RUN_ONCE), 1);
    for (int i = 0; i < FREE; i++)
        job_is(&others[i], 0, 0, 1);
    ck_assert_uint_eq(gate.entered, threads);
    ck_assert_uint_eq(test_stats(loop).work_waiting, BLOCKED - threads);
    for (uint32_t i = 1; i <= BLOCKED - threads; i++) { /* one goes out, one comes in */
        gate_let(&gate, 1);
        wait_until(&gate.entered, threads + i);
        ck_assert_uint_eq(gate.entered, threads + i);
    }
    gate_let(&gate, threads);
    test_run(loop);
    for (int i = 0; i < BLOCKED; i++)
        job_is(&blocked[i], 0, 0, 1);
    sem_destroy(&gate.sem);
}
END_TEST

/* Goal: with two classes blocked at once all threads are held; each thread that gets free takes what may run. */
START_TEST(mixed_classes)
{
    struct job  slow[6], files[6];
    struct gate slow_gate, file_gate;

    gate_init(&slow_gate);
    gate_init(&file_gate);
    memset(slow, 0, sizeof(slow));
    memset(files, 0, sizeof(files));
    for (int i = 0; i < 6; i++) {
        slow[i].gate = &slow_gate;
        job_start(&slow[i], LOOP_WORK_SLOW, NULL);
        files[i].gate = &file_gate;
        job_start(&files[i], LOOP_WORK_DEFAULT, NULL);
    }
    wait_until(&slow_gate.entered, 2);
    wait_until(&file_gate.entered, 2);
    gate_let(&file_gate, 6); /* the files end on their two threads */
    wait_until(&file_gate.left, 6);
    ck_assert_uint_eq(slow_gate.entered, 2);
    gate_let(&slow_gate, 6);
    test_run(loop);
    for (int i = 0; i < 6; i++) {
        job_is(&slow[i], 0, 0, 1);
        job_is(&files[i], 0, 0, 1);
    }
    sem_destroy(&slow_gate.sem);
    sem_destroy(&file_gate.sem);
}
END_TEST

/* ---- many */

/* Goal: of very many items on several threads each runs once and is told once; the loop is woken no more than once for
 * each turn. */
static _Atomic uint8_t *marks;
static uint32_t         told;

static int32_t mark_fn(void *arg)
{
    return ++marks[(uintptr_t)arg];
}

static void mark_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    (void)of;
    if (result->res != 1 || marks[(uintptr_t)arg] != 1)
        ck_abort_msg("item %zu: %d", (size_t)(uintptr_t)arg, result->res);
    marks[(uintptr_t)arg] = 2;
    told++;
}

START_TEST(many)
{
    uint32_t          count = (uint32_t)test_env("TEST_WORK", 100000);
    struct loop_stats stats;
    uint64_t          begin = test_clock();

    make_loop((struct loop_options){.work = {.threads_max = 8}});
    marks = calloc(count, sizeof(marks[0]));
    for (uint32_t i = 0; i < count; i++) {
        if (loop_work(loop, (enum loop_work_class)(i % 3), mark_fn, mark_cb, (void *)(uintptr_t)i, NULL) < 0)
            ck_abort_msg("loop_work failed");
        if (i % 1000 == 999)
            test_turns(loop, 1);
    }
    test_run(loop);
    ck_assert_uint_eq(told, count);
    for (uint32_t i = 0; i < count; i++)
        if (marks[i] != 2)
            ck_abort_msg("item %u: %u", i, marks[i]);
    free(marks);
    stats = test_stats(loop);
    ck_assert_uint_eq(stats.ops_finished, count);
    ck_assert_uint_le(stats.wakes, stats.turns);
    printf("work: %u items, %" PRIu64 " ns each, %" PRIu64 " wakes, %" PRIu64 " turns\n", count,
           (test_clock() - begin) / count, stats.wakes, stats.turns);
}
END_TEST

/* Goal: callbacks start more, and no wake is lost on the way: nothing else would end the loop's sleep. */
struct relay {
    uint32_t left, calls;
};

static int32_t nothing_fn(void *arg)
{
    (void)arg;
    return 0;
}

static void relay_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    struct relay *relay = arg;

    ck_assert_int_eq(result->res, 0);
    relay->calls++;
    if (relay->left > 0) {
        relay->left--;
        if (loop_work(of, (enum loop_work_class)(relay->left % 3), nothing_fn, relay_cb, relay, NULL) < 0)
            ck_abort_msg("loop_work failed");
    }
}

START_TEST(from_callbacks)
{
    struct relay relays[3] = {{.left = 3000}, {.left = 3000}, {.left = 3000}};
    int          count = _i == 0 ? 1 : 3;

    for (int i = 0; i < count; i++)
        ck_assert_int_gt(loop_work(loop, LOOP_WORK_DEFAULT, nothing_fn, relay_cb, &relays[i], NULL), 0);
    test_run(loop);
    for (int i = 0; i < count; i++)
        ck_assert_uint_eq(relays[i].calls, 3001);
}
END_TEST

/* Goal: a function may post; both come. */
static uint32_t posted;

static void posted_cb(struct loop *of, void *arg)
{
    (void)of, (void)arg;
    posted++;
}

static int32_t post_fn(void *arg)
{
    (void)arg;
    return loop_post(loop, posted_cb, NULL);
}

START_TEST(posts)
{
    struct test_log logs[100];

    memset(logs, 0, sizeof(logs));
    for (size_t i = 0; i < TEST_COUNT(logs); i++)
        ck_assert_int_gt(loop_work(loop, LOOP_WORK_DEFAULT, post_fn, test_log_cb, &logs[i], NULL), 0);
    test_run(loop);
    for (size_t i = 0; i < TEST_COUNT(logs); i++)
        test_log_is(&logs[i], 0);
    ck_assert_uint_eq(posted, 100);
}
END_TEST

/* Goal: every way to run the loop delivers results. */
START_TEST(run_modes)
{
    struct job jobs[3];

    memset(jobs, 0, sizeof(jobs));
    job_start(&jobs[0], LOOP_WORK_DEFAULT, NULL);
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_ONCE), 0);
    job_is(&jobs[0], 0, 0, 1);
    job_start(&jobs[1], LOOP_WORK_DEFAULT, NULL);
    for (int i = 0; i < 20000 && jobs[1].log.count == 0; i++) {
        test_turns(loop, 1);
        test_sleep(100 * LOOP_MICROSECOND);
    }
    job_is(&jobs[1], 0, 0, 1);
    job_start(&jobs[2], LOOP_WORK_DEFAULT, NULL);
    for (int i = 0; i < 20 && jobs[2].log.count == 0; i++)
        ck_assert_int_ge(loop_dispatch(loop, LOOP_SECOND), 0);
    job_is(&jobs[2], 0, 0, 1);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("work");
    TCase *tcase = test_case(suite, "work");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, results);
    tcase_add_test(tcase, foreign_threads);
    tcase_add_test(tcase, arguments);
    tcase_add_test(tcase, bad_options);
    tcase_add_test(tcase, silent);
    tcase_add_test(tcase, chains);
    tcase_add_test(tcase, takes_a_buffer);
    tcase_add_test(tcase, threads_as_needed);
    tcase_add_test(tcase, all_called);
    tcase_add_test(tcase, order);
    tcase_add_test(tcase, urgent_first);
    tcase_add_loop_test(tcase, classes, 0, (int)TEST_COUNT(limits));
    tcase_add_test(tcase, mixed_classes);
    tcase_add_test(tcase, many);
    tcase_add_loop_test(tcase, from_callbacks, 0, 2);
    tcase_add_test(tcase, posts);
    tcase_add_test(tcase, run_modes);
    return suite;
}
