/* tests/loop/post_test.c: reaching a loop from other threads and signal handlers. */
#include "tests/support/test.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>

static struct loop *loop;

static void setup(void)
{
    loop = test_loop_new(&(struct loop_options){.sq_entries = 64});
}

static void teardown(void)
{
    test_loop_free(loop);
}

/* Goal: a post keeps the loop alive, runs once, on the loop's thread, not inside the call. */
START_TEST(one)
{
    uint32_t count = 0;

    ck_assert_int_eq(loop_post(loop, NULL, NULL), -EINVAL);
    ck_assert(!loop_alive(loop));
    ck_assert_int_eq(loop_post(loop, test_count_post, &count), 0);
    ck_assert_uint_eq(count, 0);
    ck_assert(loop_alive(loop));
    test_run(loop);
    ck_assert_uint_eq(count, 1);
    ck_assert_uint_eq(test_stats(loop).posts, 1);
    ck_assert_uint_eq(test_stats(loop).wakes, 0); /* nobody slept */
}
END_TEST

/* Goal: all posts of all threads come, in order per thread. Method: threads post numbers as fast as they can while the
 * loop runs. */
enum { THREADS = 4 };

struct stream_of_posts {
    pthread_t thread;
    uint32_t  count;
    uint32_t  next; /* of the loop's thread */
    uint32_t  number;
};

struct numbered {
    struct stream_of_posts *stream;
    uint32_t                number;
};

static void numbered_cb(struct loop *of, void *arg)
{
    struct numbered        *numbered = arg;
    struct stream_of_posts *stream = numbered->stream;

    (void)of;
    if (numbered->number != stream->next)
        ck_abort_msg("thread %u: %u came, %u expected", stream->number, numbered->number, stream->next);
    stream->next++;
    free(numbered);
}

static void *poster(void *arg)
{
    struct stream_of_posts *stream = arg;

    for (uint32_t i = 0; i < stream->count; i++) {
        struct numbered *numbered = malloc(sizeof(*numbered));

        numbered->stream = stream;
        numbered->number = i;
        if (loop_post(loop, numbered_cb, numbered) != 0)
            abort();
        if (i % 1024 == 0)
            sched_yield(); /* let it fall asleep now and then */
    }
    return NULL;
}

static void keep_running(struct loop_timer *timer)
{
    (void)timer;
}

START_TEST(from_threads)
{
    static struct stream_of_posts streams[THREADS];
    struct loop_timer             timer = {0};
    uint32_t                      count = (uint32_t)test_env("TEST_POSTS", 100000);
    struct loop_stats             stats;
    bool                          all = false;

    ck_assert_int_eq(loop_timer_start(loop, &timer, 50 * LOOP_MILLISECOND, 50 * LOOP_MILLISECOND, keep_running), 0);
    test_turns(loop, 1);
    for (uint32_t i = 0; i < THREADS; i++) {
        streams[i].count = count;
        streams[i].number = i;
        ck_assert_int_eq(pthread_create(&streams[i].thread, NULL, poster, &streams[i]), 0);
    }
    while (!all) {
        (void)loop_run(loop, LOOP_RUN_ONCE);
        all = true;
        for (uint32_t i = 0; i < THREADS; i++)
            all = all && streams[i].next == count;
    }
    for (uint32_t i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_join(streams[i].thread, NULL), 0);
    loop_timer_stop(&timer);
    test_run(loop);
    stats = test_stats(loop);
    ck_assert_uint_eq(stats.posts, (uint64_t)THREADS * count);
    ck_assert_uint_eq(stats.posts_full, 0);
    ck_assert_uint_lt(stats.wakes, stats.posts); /* most came while it was awake */
    printf("post: %" PRIu64 " posts, %" PRIu64 " wakes, %" PRIu64 " turns\n", stats.posts, stats.wakes, stats.turns);
}
END_TEST

/* Goal: a post to a sleeping loop always wakes it, without a timer to help. Method: 2000 times to and fro: the thread
 * posts only when the last has come. */
static _Atomic uint32_t ping_seen;

static void ping_cb(struct loop *of, void *arg)
{
    (void)of, (void)arg;
    ping_seen++;
}

static void ping_last(struct loop *of, void *arg)
{
    (void)arg;
    loop_stop(of);
}

static void *pinger(void *arg)
{
    (void)arg;
    for (uint32_t i = 0; i < 2000; i++) {
        if (loop_post(loop, ping_cb, NULL) != 0)
            abort();
        while (ping_seen <= i)
            sched_yield();
        if (i % 100 == 0)
            test_sleep(LOOP_MILLISECOND); /* surely asleep */
    }
    if (loop_post(loop, ping_last, NULL) != 0)
        abort();
    return NULL;
}

START_TEST(wakes_a_sleeper)
{
    struct test_log log = {0};
    pthread_t       thread;
    int             fds[2];
    char            byte;
    loop_id         id;

    test_socketpair(fds);
    id = loop_recv(loop, fds[0], &byte, 1, 0, test_log_cb, &log, NULL);
    test_turns(loop, 1);
    ck_assert_int_eq(pthread_create(&thread, NULL, pinger, NULL), 0);
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_DEFAULT), 1);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    ck_assert_uint_eq(ping_seen, 2000);
    ck_assert_uint_ge(test_stats(loop).wakes, 1);
    ck_assert_uint_le(test_stats(loop).wakes, 2001);
    ck_assert_int_eq(loop_cancel(loop, id), 0);
    test_run(loop);
    test_close(fds[0]);
    test_close(fds[1]);
}
END_TEST

/* Goal: posts made by a posted callback run in the next turn. Method: turn numbers compared. */
struct nested {
    uint32_t depth;
    uint64_t turn;
};

static void nested_cb(struct loop *of, void *arg)
{
    struct nested *nested = arg;
    uint64_t       turn = test_stats(of).turns;

    ck_assert_uint_gt(turn, nested->turn);
    nested->turn = turn;
    if (nested->depth-- > 1)
        ck_assert_int_eq(loop_post(of, nested_cb, nested), 0);
}

START_TEST(posts_in_posts)
{
    struct nested nested = {.depth = 20};

    ck_assert_int_eq(loop_post(loop, nested_cb, &nested), 0);
    for (uint32_t i = 0; i < 19; i++) {
        ck_assert_int_eq(loop_run(loop, LOOP_RUN_NOWAIT), 1);
        ck_assert_uint_eq(nested.depth, 19 - i);
    }
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_ONCE), 0);
    ck_assert_uint_eq(nested.depth, 0);
    ck_assert_uint_eq(test_stats(loop).wakes, 0);
}
END_TEST

/* Goal: at posts_max posts are refused and counted, and there is room again after a turn. */
START_TEST(full)
{
    struct loop *small = test_loop_new(&(struct loop_options){.sq_entries = 8, .posts_max = 10});
    uint32_t     count = 0;

    for (uint32_t round = 1; round <= 2; round++) {
        for (int i = 0; i < 10; i++)
            ck_assert_int_eq(loop_post(small, test_count_post, &count), 0);
        ck_assert_int_eq(loop_post(small, test_count_post, &count), -ENOBUFS);
        ck_assert_uint_eq(test_stats(small).posts_full, round);
        test_run(small);
        ck_assert_uint_eq(count, 10 * round);
    }
    test_loop_free(small);
}
END_TEST

/* Goal: without memory a post is refused, not lost. */
START_TEST(no_memory)
{
    uint32_t count = 0, accepted = 0;
    int      r = 0;

    test_memory.fail_from = test_memory.calls + 1;
    for (int i = 0; i < 10000 && r == 0; i++) {
        r = loop_post(loop, test_count_post, &count);
        accepted += r == 0;
    }
    ck_assert_msg(r == 0 || r == -ENOMEM, "answered %d", r);
    test_run(loop);
    test_memory.fail_from = 0;
    ck_assert_uint_eq(count, accepted);
    ck_assert_int_eq(loop_post(loop, test_count_post, &count), 0);
    test_run(loop);
    ck_assert_uint_eq(count, accepted + 1);
}
END_TEST

/* Goal: loop_wake ends a sleep, from a thread or a signal handler of another thread. Method: a silent loop runs one
 * turn; wakes come until that is over. */
static atomic_bool woken;

static void on_signal(int number)
{
    (void)number;
    loop_wake(loop);
}

static void *waker(void *arg)
{
    while (!woken) {
        test_sleep(LOOP_MILLISECOND);
        if (*(int *)arg == 0)
            loop_wake(loop);
        else
            raise(SIGUSR1); /* the handler runs in this thread */
    }
    return NULL;
}

START_TEST(wake)
{
    struct test_log log = {0};
    pthread_t       thread;
    int             fds[2], how = _i;
    char            byte;
    loop_id         id;

    signal(SIGUSR1, on_signal);
    test_socketpair(fds);
    id = loop_recv(loop, fds[0], &byte, 1, 0, test_log_cb, &log, NULL);
    test_turns(loop, 1);
    loop_wake(loop); /* awake: nothing happens */
    ck_assert_int_eq(pthread_create(&thread, NULL, waker, &how), 0);
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(loop_run(loop, LOOP_RUN_ONCE), 1);
    woken = true;
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    ck_assert_uint_eq(log.count, 0);
    ck_assert_uint_ge(test_stats(loop).wakes, 1);
    ck_assert_int_eq(loop_cancel(loop, id), 0);
    test_run(loop);
    test_close(fds[0]);
    test_close(fds[1]);
}
END_TEST

/* Goal: signals that interrupt the loop's own wait do no harm. Method: a thread sends them to it while a byte is on its
 * way. */
struct pest {
    pthread_t target;
    int       fd;
};

static void *pest_thread(void *arg)
{
    struct pest *pest = arg;

    for (int i = 0; i < 50; i++) {
        pthread_kill(pest->target, SIGUSR2);
        test_sleep(100 * LOOP_MICROSECOND);
    }
    test_write(pest->fd, "x", 1);
    return NULL;
}

static void on_nothing(int number)
{
    (void)number;
}

START_TEST(interrupted)
{
    struct test_log log = {0};
    struct pest     pest = {.target = pthread_self()};
    pthread_t       thread;
    int             fds[2];
    char            byte;

    signal(SIGUSR2, on_nothing);
    test_socketpair(fds);
    pest.fd = fds[1];
    ck_assert_int_gt(loop_recv(loop, fds[0], &byte, 1, 0, test_log_cb, &log, NULL), 0);
    test_turns(loop, 1);
    ck_assert_int_eq(pthread_create(&thread, NULL, pest_thread, &pest), 0);
    test_run(loop);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    test_log_is(&log, 1);
    test_close(fds[0]);
    test_close(fds[1]);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("post");
    TCase *tcase = test_case(suite, "post");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, one);
    tcase_add_test(tcase, from_threads);
    tcase_add_test(tcase, wakes_a_sleeper);
    tcase_add_test(tcase, posts_in_posts);
    tcase_add_test(tcase, full);
    tcase_add_test(tcase, no_memory);
    tcase_add_loop_test(tcase, wake, 0, 2);
    tcase_add_test(tcase, interrupted);
    return suite;
}
