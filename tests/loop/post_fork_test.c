/* tests/loop/post_fork_test.c: the queues that other threads fill, in a child after fork(2), where none of these
 * threads exists and one of them may have been in the midst of it. Internal: a loop of its own for the child is another
 * story. */
#include "loop/loop_private.h"
#include "tests/support/test.h"

#include <pthread.h>
#include <ringloop/async.h>
#include <sched.h>

static struct loop *loop;
static atomic_bool  enough;
static uint64_t     next_number;

static void came(struct loop *of, void *arg)
{
    (void)of;
    if ((uintptr_t)arg != next_number)
        abort();
    next_number++;
}

static void *post_on_and_on(void *arg)
{
    (void)arg;
    for (uint64_t i = 0; !enough;) {
        int r = loop_post(loop, came, (void *)(uintptr_t)i);

        if (r == 0)
            i++;
        else if (r != -ENOBUFS)
            abort();
        else
            sched_yield();
    }
    return NULL;
}

/* In the child: the lock can be had, nothing waits, and the queue works. */
static void use_in_child(void *arg)
{
    (void)arg;
    TEST_TRUE_IN_CHILD(!post_waiting(loop));
    next_number = 0;
    for (uint64_t round = 0; round < 3; round++) {
        for (uint64_t i = 0; i < 500; i++)
            TEST_TRUE_IN_CHILD(loop_post(loop, came, (void *)(uintptr_t)(next_number + i)) == 0);
        post_run(loop);
    }
    TEST_TRUE_IN_CHILD(next_number == 1500);
}

/* Goal: whatever a thread was doing in loop_post() when the process forked, the child's queue is whole. Method: fork
 * again and again while a thread posts. */
START_TEST(fork_while_posting)
{
    pthread_t thread;

    loop = test_loop_new(&(struct loop_options){.sq_entries = 8, .posts_max = 1000});
    ck_assert_int_eq(pthread_create(&thread, NULL, post_on_and_on, NULL), 0);
    for (int round = 0; round < 300; round++) {
        test_in_child(use_in_child, NULL);
        post_run(loop);
    }
    enough = true;
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    test_loop_drop(loop);
}
END_TEST

static void count(struct loop_async *async)
{
    ++*(uint32_t *)async->data;
}

static void rehome(struct loop_async *async, bool forked)
{
    async->priv.object.object_class->rehome(&async->priv.object, forked);
}

/* Goal: a handle whose sender is gone before it has pushed it is called all the same, once, and can be sent anew; one
 * that was pushed is not called twice. Method: SENT is set by hand, as such a sender would have. */
START_TEST(async_sender_gone)
{
    enum { OPEN = 1, SENT = 2 };
    uint32_t          lost_count = 0, sent_count = 0, idle_count = 0;
    struct loop_async lost = {.data = &lost_count}, sent = {.data = &sent_count}, idle = {.data = &idle_count};

    loop = test_loop_new(NULL);
    ck_assert_int_eq(loop_async_open(loop, &lost, NULL, count), 0);
    ck_assert_int_eq(loop_async_open(loop, &sent, NULL, count), 0);
    ck_assert_int_eq(loop_async_open(loop, &idle, NULL, count), 0);
    ck_assert_uint_eq(lost.priv.state, OPEN);
    lost.priv.state |= SENT;
    ck_assert_int_eq(loop_async_send(&sent), 0);
    ck_assert_int_eq(loop_async_send(&lost), 0);
    rehome(&lost, false); /* another thread: the sender goes on there */
    async_run(loop);
    ck_assert_uint_eq(lost_count + sent_count, 1);
    ck_assert_int_eq(loop_async_send(&sent), 0);
    rehome(&lost, true);
    rehome(&sent, true);
    rehome(&idle, true);
    async_run(loop);
    async_run(loop);
    ck_assert_uint_eq(lost_count, 1);
    ck_assert_uint_eq(sent_count, 2);
    ck_assert_uint_eq(idle_count, 0);
    ck_assert_int_eq(loop_async_send(&lost), 0);
    async_run(loop);
    ck_assert_uint_eq(lost_count, 2);
    lost.priv.state |= SENT; /* and with a close that waits for it */
    loop_async_close(&lost, NULL);
    rehome(&lost, true);
    test_turns(loop, 2);
    ck_assert_ptr_null(loop_async_loop(&lost));
    ck_assert_uint_eq(lost_count, 2);
    loop_async_close(&sent, NULL);
    loop_async_close(&idle, NULL);
    test_run(loop);
    test_loop_free(loop);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("post_fork");
    TCase *tcase = test_case(suite, "post_fork");

    tcase_add_test(tcase, fork_while_posting);
    tcase_add_test(tcase, async_sender_gone);
    return suite;
}
