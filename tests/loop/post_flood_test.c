/* tests/loop/post_flood_test.c: many posts from many threads: none lost, none merged, none out of order.
 *
 * TEST_POSTS=n  posts of each thread; else a million, a fortieth of it under sanitizers */
#include "tests/support/test.h"

#include <pthread.h>
#include <sched.h>

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
enum { POSTS_DEFAULT = 25000 };
#else
enum { POSTS_DEFAULT = 1000000 };
#endif
enum { THREADS = 8, THREAD_SHIFT = 32 };

struct sender {
    pthread_t thread;
    uint32_t  number, count;
    uint32_t  pause; /* at most so many posts, then a pause that lets the loop sleep; 0: none */
    uint32_t  next;  /* of the loop's thread: the number that must come */
    uint64_t  refused;
};

static struct loop  *loop;
static struct sender senders[THREADS];

static void came(struct loop *of, void *arg)
{
    uint64_t       word = (uint64_t)(uintptr_t)arg;
    struct sender *sender = &senders[word >> THREAD_SHIFT];

    (void)of;
    if ((uint32_t)word != sender->next)
        ck_abort_msg("thread %u: %u came, %u expected", sender->number, (uint32_t)word, sender->next);
    sender->next++;
}

static void *send_all(void *arg)
{
    struct sender *sender = arg;
    uint64_t       random = sender->number;
    uint32_t       burst = 0;

    for (uint32_t i = 0; i < sender->count; i++) {
        void *word = (void *)(uintptr_t)((uint64_t)sender->number << THREAD_SHIFT | i);
        int   r;

        while ((r = loop_post(loop, came, word)) == -ENOBUFS) {
            sender->refused++;
            sched_yield();
        }
        if (r != 0)
            abort();
        if (sender->pause > 0 && burst-- == 0) {
            burst = (uint32_t)(test_random(&random) % sender->pause);
            test_sleep(test_random(&random) % (200 * LOOP_MICROSECOND));
        }
    }
    return NULL;
}

/* Nothing but posts wakes the loop: one wake lost, and it sleeps for ever. */
static void flood(const struct loop_options *options, uint32_t count, uint32_t pause)
{
    struct loop_async alive = {0};
    struct loop_stats stats;
    uint64_t          refused = 0;
    bool              all = false;

    loop = test_loop_new(options);
    ck_assert_int_eq(loop_async_open(loop, &alive, NULL, NULL), 0);
    for (uint32_t i = 0; i < THREADS; i++) {
        senders[i] = (struct sender){.number = i, .count = count, .pause = pause};
        ck_assert_int_eq(pthread_create(&senders[i].thread, NULL, send_all, &senders[i]), 0);
    }
    while (!all) {
        ck_assert_int_eq(loop_run(loop, LOOP_RUN_ONCE), 1);
        all = true;
        for (uint32_t i = 0; i < THREADS; i++)
            all = all && senders[i].next == count;
    }
    for (uint32_t i = 0; i < THREADS; i++) {
        ck_assert_int_eq(pthread_join(senders[i].thread, NULL), 0);
        refused += senders[i].refused;
    }
    stats = test_stats(loop);
    ck_assert_uint_eq(stats.posts, (uint64_t)THREADS * count);
    ck_assert_uint_eq(stats.posts_full, refused);
    loop_async_close(&alive, NULL);
    test_run(loop);
    for (uint32_t i = 0; i < THREADS; i++)
        ck_assert_uint_eq(senders[i].next, count); /* none twice */
    test_loop_free(loop);
    printf("post: %" PRIu64 " posts, %" PRIu64 " refused, %" PRIu64 " wakes, %" PRIu64 " turns\n", stats.posts, refused,
           stats.wakes, stats.turns);
}

/* Goal: eight threads, a million posts each, in order per thread, as fast as they can. */
START_TEST(eight_millions)
{
    flood(&(struct loop_options){.sq_entries = 64}, (uint32_t)test_env("TEST_POSTS", POSTS_DEFAULT), 0);
}
END_TEST

/* Goal: the same at a limit that is met all the time: what is refused is told, what is accepted comes. Limits: on both
 * sides of a block's size, and one. */
START_TEST(at_the_limit)
{
    static const uint32_t limits[] = {1, 63, 64, 65, 1000};

    flood(&(struct loop_options){.sq_entries = 64, .posts_max = limits[_i]},
          (uint32_t)test_env("TEST_POSTS", POSTS_DEFAULT) / 200, 0);
}
END_TEST

/* Goal: no wake is lost while the loop falls asleep and wakes up all the time. Method: short bursts and pauses. */
START_TEST(while_it_sleeps_and_wakes)
{
    flood(&(struct loop_options){.sq_entries = 64}, 3000, 20);
}
END_TEST

/* ---- one thread */

static uint32_t counted;

static void count(struct loop *of, void *arg)
{
    (void)of;
    ck_assert_uint_eq((uintptr_t)arg, counted);
    counted++;
}

/* Goal: any number of posts in one turn comes in order. Method: numbers around the sizes of blocks, twice. */
START_TEST(around_blocks)
{
    static const uint32_t counts[] = {1, 2, 63, 64, 65, 127, 128, 129, 4095, 4096, 4097, 10000};

    loop = test_loop_new(NULL);
    for (size_t i = 0; i < 2 * TEST_COUNT(counts); i++) {
        uint32_t wanted = counts[i % TEST_COUNT(counts)];

        counted = 0;
        for (uint32_t j = 0; j < wanted; j++)
            ck_assert_int_eq(loop_post(loop, count, (void *)(uintptr_t)j), 0);
        test_turns(loop, 1);
        ck_assert_uint_eq(counted, wanted);
        ck_assert(!loop_alive(loop));
    }
    test_loop_free(loop);
}
END_TEST

/* Goal: the memory of a burst goes back after it, but for some that is kept; small numbers of posts then take none. */
START_TEST(memory_goes_back)
{
    uint64_t bytes, calls;

    loop = test_loop_new(NULL);
    test_turns(loop, 1);
    bytes = test_memory.bytes;
    for (int round = 0; round < 3; round++) {
        counted = 0;
        for (uint32_t i = 0; i < 200000; i++)
            ck_assert_int_eq(loop_post(loop, count, (void *)(uintptr_t)i), 0);
        ck_assert_uint_gt(test_memory.bytes, bytes + 200000 * 16);
        test_run(loop);
        ck_assert_uint_lt(test_memory.bytes, bytes + 300000);
    }
    calls = test_memory.calls;
    for (int round = 0; round < 1000; round++) {
        counted = 0;
        for (uint32_t i = 0; i < 100; i++)
            ck_assert_int_eq(loop_post(loop, count, (void *)(uintptr_t)i), 0);
        test_run(loop);
    }
    ck_assert_uint_eq(test_memory.calls, calls);
    test_loop_free(loop);
}
END_TEST

/* Goal: destroy runs what waits, and what those posts post; only after that posts are refused. */
static uint32_t depth;
static int      refusal;

static void post_on(struct loop *of, void *arg)
{
    (void)arg;
    depth++;
    refusal = loop_post(of, post_on, NULL);
}

START_TEST(destroy_runs_them)
{
    loop = test_loop_new(NULL);
    counted = 0;
    for (uint32_t i = 0; i < 1000; i++)
        ck_assert_int_eq(loop_post(loop, count, (void *)(uintptr_t)i), 0);
    ck_assert_int_eq(loop_post(loop, post_on, NULL), 0);
    test_loop_drop(loop);
    ck_assert_uint_eq(counted, 1000);
    ck_assert_uint_eq(depth, 2);
    ck_assert_int_eq(refusal, -ECANCELED);
}
END_TEST

/* Goal: threads that post until the moment they are told, right before the destroy: all of theirs have run after it. */
static atomic_bool   enough;
static atomic_uint   ran;
static const uint8_t dummy;

static void count_run(struct loop *of, void *arg)
{
    (void)of;
    ck_assert_ptr_eq(arg, &dummy);
    ran++;
}

static void *post_until_told(void *arg)
{
    uint32_t *posted = arg;

    while (!enough) {
        int r = loop_post(loop, count_run, (void *)(uintptr_t)&dummy);

        if (r == 0)
            ++*posted;
        else if (r == -ENOBUFS)
            sched_yield();
        else
            abort();
    }
    return NULL;
}

START_TEST(destroy_after_threads)
{
    for (int round = 0; round < 20; round++) {
        pthread_t threads[2];
        uint32_t  posted[2] = {0};

        loop = test_loop_new(&(struct loop_options){.sq_entries = 8, .posts_max = 1000});
        enough = false;
        ran = 0;
        for (int i = 0; i < 2; i++)
            ck_assert_int_eq(pthread_create(&threads[i], NULL, post_until_told, &posted[i]), 0);
        for (int i = 0; i < 20; i++)
            (void)loop_run(loop, LOOP_RUN_NOWAIT);
        enough = true;
        for (int i = 0; i < 2; i++)
            ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
        test_loop_drop(loop);
        ck_assert_uint_eq(ran, posted[0] + posted[1]);
    }
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("post_flood");
    TCase *tcase = test_case(suite, "flood");

    tcase_add_test(tcase, eight_millions);
    tcase_add_loop_test(tcase, at_the_limit, 0, 5);
    tcase_add_test(tcase, while_it_sleeps_and_wakes);
    tcase_add_test(tcase, around_blocks);
    tcase_add_test(tcase, memory_goes_back);
    tcase_add_test(tcase, destroy_runs_them);
    tcase_add_test(tcase, destroy_after_threads);
    return suite;
}
