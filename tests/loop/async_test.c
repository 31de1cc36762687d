/* tests/loop/async_test.c: handles for merged wake-ups, sent by threads. */
#include "tests/support/test.h"

#include <pthread.h>
#include <sched.h>

static struct loop *loop;

static void setup(void)
{
    loop = test_loop_new(&(struct loop_options){.sq_entries = 64});
}

static void teardown(void)
{
    test_loop_free(loop);
}

struct handle {
    struct loop_async async;
    uint32_t          calls, closes;
    uint64_t          last_turn;
};

static struct handle *handle_of(struct loop_async *async)
{
    return async->data;
}

static void on_call(struct loop_async *async)
{
    ck_assert(!loop_async_closing(async));
    handle_of(async)->calls++;
    handle_of(async)->last_turn = test_stats(loop).turns;
}

static void on_close(struct loop_async *async)
{
    ck_assert_ptr_null(loop_async_loop(async));
    ck_assert(!loop_async_closing(async));
    handle_of(async)->closes++;
}

static void handle_open(struct handle *handle, loop_async_cb *cb)
{
    handle->async.data = handle;
    ck_assert_int_eq(loop_async_open(loop, &handle->async, &(struct loop_async_options){.on_close = on_close}, cb), 0);
}

static void handle_close(struct handle *handle)
{
    loop_async_close(&handle->async, NULL);
    test_run(loop);
    ck_assert_uint_eq(handle->closes, 1);
}

/* Goal: a life: open keeps the loop alive, sends are merged, nothing is called inside a call, the close callback comes
 * last and once, and then it can be opened anew. */
START_TEST(life)
{
    for (int round = 0; round < 2; round++) {
        static struct handle handle;

        handle.calls = handle.closes = 0;
        ck_assert(!loop_alive(loop));
        handle_open(&handle, on_call);
        ck_assert_ptr_eq(loop_async_loop(&handle.async), loop);
        ck_assert(loop_alive(loop));
        test_turns(loop, 2);
        ck_assert_uint_eq(handle.calls, 0);
        for (int i = 0; i < 3; i++)
            ck_assert_int_eq(loop_async_send(&handle.async), 0);
        ck_assert_uint_eq(handle.calls, 0);
        ck_assert_int_eq(loop_run(loop, LOOP_RUN_ONCE), 1);
        ck_assert_uint_eq(handle.calls, 1);
        test_turns(loop, 2);
        ck_assert_uint_eq(handle.calls, 1);
        ck_assert_uint_eq(test_stats(loop).wakes, 0);
        loop_async_close(&handle.async, NULL);
        ck_assert(loop_async_closing(&handle.async));
        ck_assert_int_eq(loop_async_send(&handle.async), -ECANCELED);
        loop_async_close(&handle.async, NULL);
        ck_assert_uint_eq(handle.closes, 0);
        test_run(loop);
        ck_assert_uint_eq(handle.calls, 1);
        ck_assert_uint_eq(handle.closes, 1);
        ck_assert_int_eq(loop_async_send(&handle.async), -EINVAL);
    }
}
END_TEST

/* Goal: bad arguments are refused; calls on what is not open do nothing. */
START_TEST(arguments)
{
    struct loop_async async = {0};

    ck_assert_int_eq(loop_async_send(&async), -EINVAL);
    loop_async_close(&async, NULL);
    loop_async_ref(&async);
    loop_async_unref(&async);
    ck_assert(!loop_async_has_ref(&async));
    ck_assert(!loop_async_closing(&async));
    ck_assert_ptr_null(loop_async_loop(&async));
    ck_assert_int_eq(loop_async_open(loop, &async, &(struct loop_async_options){.flags = 2}, NULL), -EINVAL);
    ck_assert_int_eq(loop_async_open(loop, &async, &(struct loop_async_options){.reserved = 1}, NULL), -EINVAL);
    ck_assert(!loop_alive(loop));
    ck_assert_int_eq(loop_async_open(loop, &async, NULL, NULL), 0);
    ck_assert_int_eq(loop_async_open(loop, &async, NULL, NULL), -EBUSY);
    loop_async_close(&async, NULL);
    ck_assert_int_eq(loop_async_open(loop, &async, NULL, NULL), -EBUSY);
    test_run(loop);
}
END_TEST

/* Goal: unref'd, by the flag or later, it does not keep the loop alive; it is called all the same; closing it does. */
START_TEST(unref)
{
    struct handle handle = {.async.data = &handle};

    ck_assert_int_eq(
        loop_async_open(loop, &handle.async, &(struct loop_async_options){.flags = LOOP_ASYNC_UNREF}, on_call), 0);
    ck_assert(!loop_async_has_ref(&handle.async));
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_DEFAULT), 0);
    ck_assert_int_eq(loop_async_send(&handle.async), 0);
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_DEFAULT), 0); /* nothing keeps it alive, not the send either */
    ck_assert_uint_eq(handle.calls, 0);
    test_turns(loop, 1);
    ck_assert_uint_eq(handle.calls, 1);
    loop_async_ref(&handle.async);
    loop_async_ref(&handle.async);
    ck_assert(loop_async_has_ref(&handle.async));
    ck_assert(loop_alive(loop));
    loop_async_unref(&handle.async);
    ck_assert(!loop_alive(loop));
    loop_async_close(&handle.async, on_close);
    ck_assert(loop_alive(loop));
    loop_async_unref(&handle.async);
    ck_assert(loop_alive(loop));
    test_run(loop);
    ck_assert_uint_eq(handle.closes, 1);
}
END_TEST

/* Goal: with no callback a send makes the loop take a turn, from another thread too. */
static void *send_one(void *arg)
{
    test_sleep(5 * LOOP_MILLISECOND);
    if (loop_async_send(arg) != 0)
        abort();
    return NULL;
}

START_TEST(no_callback)
{
    struct handle handle = {0};
    pthread_t     thread;

    handle_open(&handle, NULL);
    for (int i = 0; i < 5; i++) {
        ck_assert_int_eq(pthread_create(&thread, NULL, send_one, &handle.async), 0);
        ck_assert_int_eq(loop_run(loop, LOOP_RUN_ONCE), 1);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
    }
    handle_close(&handle);
}
END_TEST

/* Goal: handles are called in the order of their first sends; a send in a callback counts for the next turn. */
static struct handle chain[10];
static uint32_t      chain_next;

static void on_chain(struct loop_async *async)
{
    size_t index = (size_t)(handle_of(async) - chain);

    ck_assert_uint_eq(index, (chain_next++ * 3) % 10);
    on_call(async);
    if (handle_of(async)->calls == 1)
        ck_assert_int_eq(loop_async_send(async), 0);
}

START_TEST(order)
{
    for (size_t i = 0; i < 10; i++)
        handle_open(&chain[i], on_chain);
    for (size_t i = 0; i < 10; i++) {
        ck_assert_int_eq(loop_async_send(&chain[(i * 3) % 10].async), 0);
        ck_assert_int_eq(loop_async_send(&chain[0].async), 0); /* sent already */
    }
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_ONCE), 1);
    ck_assert_uint_eq(chain_next, 10);
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_ONCE), 1);
    ck_assert_uint_eq(chain_next, 20);
    test_turns(loop, 2);
    ck_assert_uint_eq(chain_next, 20);
    for (size_t i = 0; i < 10; i++)
        loop_async_close(&chain[i].async, NULL);
    test_run(loop);
}
END_TEST

/* ---- threads */

enum {
    THREADS = 4,
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
    SENDS = 20000,
#else
    SENDS = 300000,
#endif
};

struct teller {
    struct handle      handle;
    pthread_t          thread;
    _Atomic uint32_t   written;
    uint32_t           seen; /* of the loop's thread */
    struct loop_async *shared;
    struct teller     *tellers;
    bool               pauses;
    _Atomic uint32_t   plain_ready;
    uint32_t           plain; /* not atomic: handed over by the last send */
};

static void on_told(struct loop_async *async)
{
    struct teller *teller = (struct teller *)handle_of(async);

    on_call(async);
    teller->seen = atomic_load_explicit(&teller->written, memory_order_relaxed);
}

static void *tell(void *arg)
{
    struct teller *teller = arg;
    uint64_t       random = (uintptr_t)arg;

    for (uint32_t i = 1; i <= SENDS; i++) {
        atomic_store_explicit(&teller->written, i, memory_order_relaxed); /* the send is what orders it */
        if (loop_async_send(&teller->handle.async) != 0)
            abort();
        if (test_random(&random) % 1000 == 0)
            test_sleep(test_random(&random) % (100 * LOOP_MICROSECOND));
    }
    return NULL;
}

/* Goal: after the last send there is a callback that sees what was written before it, without a timer to help: else
 * this sleeps for ever. Method: threads count up in plain stores and send after each. */
START_TEST(last_one_counts)
{
    static struct teller tellers[THREADS];
    bool                 all = false;

    for (int i = 0; i < THREADS; i++) {
        handle_open(&tellers[i].handle, on_told);
        ck_assert_int_eq(pthread_create(&tellers[i].thread, NULL, tell, &tellers[i]), 0);
    }
    while (!all) {
        ck_assert_int_eq(loop_run(loop, LOOP_RUN_ONCE), 1);
        all = true;
        for (int i = 0; i < THREADS; i++)
            all = all && tellers[i].seen == SENDS;
    }
    for (int i = 0; i < THREADS; i++) {
        ck_assert_int_eq(pthread_join(tellers[i].thread, NULL), 0);
        ck_assert_uint_le(tellers[i].handle.calls, SENDS);
        loop_async_close(&tellers[i].handle.async, NULL);
    }
    test_run(loop);
}
END_TEST

/* Goal: several threads on one handle, all merged, the last send of each seen. */
static struct handle    common;
static _Atomic uint32_t common_sum;
static uint32_t         common_seen;

static void on_common(struct loop_async *async)
{
    on_call(async);
    common_seen = atomic_load_explicit(&common_sum, memory_order_relaxed);
}

static void *add_and_send(void *arg)
{
    (void)arg;
    for (uint32_t i = 0; i < SENDS; i++) {
        atomic_fetch_add_explicit(&common_sum, 1, memory_order_relaxed);
        if (loop_async_send(&common.async) != 0)
            abort();
    }
    return NULL;
}

START_TEST(one_for_all)
{
    pthread_t threads[THREADS];

    handle_open(&common, on_common);
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, add_and_send, NULL), 0);
    while (common_seen < THREADS * SENDS)
        ck_assert_int_eq(loop_run(loop, LOOP_RUN_ONCE), 1);
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    printf("async: %u sends, %u calls, %" PRIu64 " wakes\n", THREADS * SENDS, common.calls, test_stats(loop).wakes);
    handle_close(&common);
}
END_TEST

/* Goal: plain memory may be handed over by a send: the callback sees it (for the race detector). */
static struct teller giver;

static void on_given(struct loop_async *async)
{
    on_call(async);
    ck_assert_uint_eq(giver.plain, giver.handle.calls);
    atomic_store_explicit(&giver.plain_ready, giver.plain, memory_order_release);
}

static void *give(void *arg)
{
    (void)arg;
    for (uint32_t i = 1; i <= 500; i++) {
        giver.plain = i;
        if (loop_async_send(&giver.handle.async) != 0)
            abort();
        while (atomic_load_explicit(&giver.plain_ready, memory_order_acquire) != i)
            sched_yield();
    }
    return NULL;
}

START_TEST(hands_memory_over)
{
    handle_open(&giver.handle, on_given);
    ck_assert_int_eq(pthread_create(&giver.thread, NULL, give, NULL), 0);
    test_run_until(loop, &giver.handle.calls, 500);
    ck_assert_int_eq(pthread_join(giver.thread, NULL), 0);
    handle_close(&giver.handle);
}
END_TEST

/* Goal: of very many handles those that were sent are called, and no others. Method: two threads send at random, and
 * note what. */
enum { MANY = 20000 };

struct crowd {
    struct handle handles[MANY];
    atomic_bool   sent[MANY];
    atomic_uint   done;
};

static void *send_at_random(void *arg)
{
    struct crowd *all = arg;
    uint64_t      random = (uintptr_t)&random;

    for (int i = 0; i < MANY; i++) {
        size_t index = test_random(&random) % (MANY / 2) * 2; /* even ones */

        all->sent[index] = true;
        if (loop_async_send(&all->handles[index].async) != 0)
            abort();
    }
    all->done++;
    return NULL;
}

START_TEST(very_many)
{
    struct crowd *crowd = calloc(1, sizeof(*crowd));
    pthread_t     threads[2];

    for (int i = 0; i < MANY; i++)
        handle_open(&crowd->handles[i], on_call);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, send_at_random, crowd), 0);
    while (crowd->done < 2)
        (void)loop_run(loop, LOOP_RUN_NOWAIT);
    test_turns(loop, 1);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    for (int i = 0; i < MANY; i++) {
        ck_assert_int_eq(crowd->handles[i].calls > 0, crowd->sent[i]);
        loop_async_close(&crowd->handles[i].async, NULL);
    }
    test_run(loop);
    for (int i = 0; i < MANY; i++)
        ck_assert_uint_eq(crowd->handles[i].closes, 1);
    free(crowd);
}
END_TEST

/* ---- closing */

static void free_it(struct loop_async *async)
{
    free(async->data);
}

static void close_both(struct loop_async *async)
{
    struct handle *other = handle_of(async) + 1;

    on_call(async);
    ck_assert_int_eq(loop_async_send(async), 0); /* sent at the close: no call comes of it */
    loop_async_close(async, free_it);
    loop_async_close(&other->async, on_close);
}

/* Goal: a callback may close itself, and another handle that was sent and would be next; nothing of a handle is touched
 * after its close callback. Method: the memory of both is freed in there. */
START_TEST(close_in_callback)
{
    for (int i = 0; i < 20; i++) {
        struct handle *pair = calloc(2, sizeof(*pair));

        handle_open(&pair[0], close_both);
        handle_open(&pair[1], on_call);
        ck_assert_int_eq(loop_async_send(&pair[0].async), 0);
        if (i % 2 == 0)
            ck_assert_int_eq(loop_async_send(&pair[1].async), 0);
        test_run(loop);
    }
}
END_TEST

/* Goal: a close of what was sent and not yet called: no call, one close callback. */
START_TEST(close_after_send)
{
    struct handle handle = {0};

    handle_open(&handle, on_call);
    ck_assert_int_eq(loop_async_send(&handle.async), 0);
    handle_close(&handle);
    ck_assert_uint_eq(handle.calls, 0);
}
END_TEST

/* Goal: a close while threads send: they are told, one close callback, no call after the close. */
static void *send_until_refused(void *arg)
{
    struct handle *handle = arg;
    int            r;

    while ((r = loop_async_send(&handle->async)) == 0) {
    }
    return (void *)(intptr_t)r;
}

START_TEST(close_while_sending)
{
    uint64_t random = test_env("TEST_SEED", 3);

    for (int round = 0; round < 100; round++) {
        struct handle handle = {0};
        pthread_t     threads[2];
        void         *r;

        handle_open(&handle, on_call);
        for (int i = 0; i < 2; i++)
            ck_assert_int_eq(pthread_create(&threads[i], NULL, send_until_refused, &handle), 0);
        for (uint64_t i = 0; i < test_random(&random) % 20; i++)
            ck_assert_int_eq(loop_run(loop, LOOP_RUN_ONCE), 1);
        loop_async_close(&handle.async, NULL);
        for (int i = 0; i < 2; i++) {
            ck_assert_int_eq(pthread_join(threads[i], &r), 0);
            ck_assert_int_eq((intptr_t)r, -ECANCELED);
        }
        test_run(loop);
        ck_assert_uint_eq(handle.closes, 1);
    }
}
END_TEST

/* Goal: destroy closes what is open, sent or not, and nothing can be opened then. */
static void open_another(struct loop_async *async)
{
    static struct loop_async another;

    ck_assert_int_eq(loop_async_open(loop, &another, NULL, NULL), -ECANCELED);
    on_close(async);
}

START_TEST(destroy)
{
    struct handle handles[4] = {0};
    struct loop  *kept = loop;

    for (int i = 0; i < 4; i++)
        handle_open(&handles[i], on_call);
    test_turns(loop, 1);
    ck_assert_int_eq(loop_async_send(&handles[1].async), 0);
    ck_assert_int_eq(loop_async_send(&handles[2].async), 0);
    loop_async_close(&handles[2].async, open_another);
    loop_async_close(&handles[3].async, NULL);
    test_loop_drop(kept);
    for (int i = 0; i < 4; i++) {
        ck_assert_uint_eq(handles[i].calls, 0);
        ck_assert_uint_eq(handles[i].closes, 1);
    }
    loop = test_loop_new(NULL);
}
END_TEST

/* ---- every way to run the loop */

START_TEST(dispatch)
{
    struct handle handle = {0};

    handle_open(&handle, on_call);
    ck_assert_int_eq(loop_async_send(&handle.async), 0);
    ck_assert_int_eq(loop_dispatch(loop, UINT64_MAX), 0);
    ck_assert_uint_eq(handle.calls, 1);
    handle_close(&handle);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("async");
    TCase *tcase = test_case(suite, "async");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, life);
    tcase_add_test(tcase, arguments);
    tcase_add_test(tcase, unref);
    tcase_add_test(tcase, no_callback);
    tcase_add_test(tcase, order);
    tcase_add_test(tcase, last_one_counts);
    tcase_add_test(tcase, one_for_all);
    tcase_add_test(tcase, hands_memory_over);
    tcase_add_test(tcase, very_many);
    tcase_add_test(tcase, close_in_callback);
    tcase_add_test(tcase, close_after_send);
    tcase_add_test(tcase, close_while_sending);
    tcase_add_test(tcase, destroy);
    tcase_add_test(tcase, dispatch);
    return suite;
}
