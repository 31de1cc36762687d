/* tests/loop/loop_end_test.c: the end of a loop whatever is going on, calls from the wrong thread, memory that fails.
 */
#include "tests/support/test.h"

#include <liburing.h>
#include <pthread.h>

enum { MANY = 20 };

/* ---- destroying */

START_TEST(destroy_null)
{
    ck_assert_int_eq(loop_destroy(NULL), 0);
}
END_TEST

static void never_timer(struct loop_timer *timer)
{
    (void)timer;
    ck_abort_msg("a timer fired in loop_destroy");
}

static void closed_listener(struct loop_listener *listener)
{
    ++*(uint32_t *)listener->data;
}

static void closed_stream(struct loop_stream *stream)
{
    ++*(uint32_t *)stream->data;
}

static void accept_nothing(struct loop_listener *listener, int result)
{
    (void)listener;
    ck_abort_msg("accepted %d", result);
}

static void at_most_once(struct loop *loop, void *arg)
{
    (void)loop;
    ck_assert_uint_eq(++*(uint32_t *)arg, 1);
}

/* Goal: destroy ends all there is: one final -ECANCELED for each operation, one close callback for each object, none
 * for timers. Method: everything pending at once, with (_i = 1) and without (_i = 0) a run before. */
START_TEST(destroy_with_all_pending)
{
    struct loop         *loop = test_loop_new(NULL);
    struct test_log      recvs[MANY] = {0}, deadline = {0}, linked = {0}, multishot = {0}, accepts = {0};
    struct test_log      accept_log = {0}, background = {0};
    char                 bytes[MANY], byte[3];
    uint32_t             closed = 0, posted = 0;
    struct loop_timer    timer = {0};
    struct loop_listener listener = {.data = &closed};
    struct loop_stream   stream = {.data = &closed};
    struct loop_address  address;
    uint16_t             port;
    int                  fds[2], other[2], tcp = test_tcp_listener(&port, 4);

    test_socketpair(fds);
    test_socketpair(other);
    for (int i = 0; i < MANY; i++)
        ck_assert_int_gt(loop_recv(loop, fds[0], &bytes[i], 1, 0, test_log_cb, &recvs[i], NULL), 0);
    ck_assert_int_gt(
        loop_recv(loop, fds[1], &byte[0], 1, 0, test_log_cb, &deadline, LOOP_TERMS(.timeout_ns = LOOP_SECOND * 3600)),
        0);
    ck_assert_int_gt(loop_recv(loop, fds[1], &byte[1], 1, 0, test_log_cb, &linked,
                               LOOP_TERMS(.timeout_ns = LOOP_SECOND * 3600, .flags = LOOP_LINKED_TIMEOUT)),
                     0);
    ck_assert_int_gt(
        loop_recv(loop, fds[1], &byte[2], 1, 0, test_log_cb, &background, LOOP_TERMS(.flags = LOOP_BACKGROUND)), 0);
    ck_assert_int_gt(loop_recv_multishot(loop, other[0], LOOP_GROUP_DEFAULT, 0, test_log_cb, &multishot, NULL), 0);
    ck_assert_int_gt(loop_accept_multishot(loop, tcp, 0, test_log_cb, &accepts, NULL), 0);
    ck_assert_int_gt(loop_accept(loop, tcp, NULL, NULL, 0, test_log_cb, &accept_log, NULL), 0);
    ck_assert_int_eq(loop_timer_start(loop, &timer, LOOP_SECOND * 3600, LOOP_SECOND, never_timer), 0);
    ck_assert_int_eq(loop_address_parse(&address, "127.0.0.1", 0), 0);
    ck_assert_int_eq(loop_listener_start(loop, &listener, &address,
                                         &(struct loop_listener_options){.on_close = closed_listener}, accept_nothing),
                     0);
    ck_assert_int_eq(
        loop_stream_open(loop, &stream, other[1], &(struct loop_stream_options){.on_close = closed_stream}), 0);
    if (_i == 1)
        test_turns(loop, 3);
    ck_assert_int_eq(loop_post(loop, at_most_once, &posted), 0);
    test_loop_drop(loop);
    for (int i = 0; i < MANY; i++)
        test_log_is(&recvs[i], -ECANCELED);
    test_log_is(&deadline, -ECANCELED);
    test_log_is(&linked, -ECANCELED);
    test_log_is(&background, -ECANCELED);
    ck_assert_uint_eq(multishot.finals,
                      1); /* the stream at the other end closes at the same time: the end may come first */
    ck_assert_msg(multishot.last.res == -ECANCELED || multishot.last.res == 0, "res %d", multishot.last.res);
    test_log_is(&accepts, -ECANCELED);
    test_log_is(&accept_log, -ECANCELED);
    ck_assert_uint_eq(closed, 2);
    ck_assert(!loop_timer_active(&timer));
    test_close(fds[0]);
    test_close(fds[1]);
    test_close(other[0]);
    test_close(tcp);
}
END_TEST

/* Goal: work still only queued, or completed and not yet called back, ends too. Method: more nops than the SQ holds,
 * never run; or run and stopped in the first callback. */
static void nop_finished(struct loop *loop, const struct loop_result *result, void *arg)
{
    (void)loop;
    ck_assert_msg(result->res == 0 || result->res == -ECANCELED, "res %d", result->res);
    ck_assert_uint_eq(result->flags, 0);
    ++*(uint32_t *)arg;
}

static void stop_op(struct loop *loop, const struct loop_result *result, void *arg)
{
    (void)result;
    (void)arg;
    loop_stop(loop);
}

START_TEST(destroy_with_queued_operations)
{
    const struct loop_options options = {.sq_entries = 8};
    struct loop              *loop = test_loop_new(&options);
    uint32_t                  count = 0;

    if (_i == 1)
        test_turns(loop, 1);
    if (_i == 2)
        ck_assert_int_gt(loop_nop(loop, stop_op, NULL, NULL), 0);
    for (int i = 0; i < 100; i++)
        ck_assert_int_gt(loop_nop(loop, nop_finished, &count, NULL), 0);
    if (_i == 2)
        (void)loop_run(loop, LOOP_RUN_DEFAULT);
    test_loop_drop(loop);
    ck_assert_uint_eq(count, 100);
}
END_TEST

struct late {
    struct loop_timer    timer;
    struct loop_listener listener;
    struct loop_stream   stream;
    int                  fd;
    uint32_t             calls;
};

static void late_cb(struct loop *loop, const struct loop_result *result, void *arg)
{
    struct late             *late = arg;
    const struct sockaddr_in localhost = test_localhost(1);
    struct loop_address      address;
    char                     byte = 'x';
    struct iovec             iov = {.iov_base = &byte, .iov_len = 1};
    const struct msghdr      msg = {.msg_iov = &iov, .msg_iovlen = 1};
    struct io_uring_sqe      sqe;

    ck_assert_int_eq(result->res, -ECANCELED);
    late->calls++;
    memset(&sqe, 0, sizeof(sqe));
    io_uring_prep_nop(&sqe);
    ck_assert_int_eq(loop_nop(loop, late_cb, late, NULL), -ECANCELED);
    ck_assert_int_eq(loop_socket(loop, AF_INET, SOCK_STREAM, 0, late_cb, late, NULL), -ECANCELED);
    ck_assert_int_eq(loop_recv(loop, late->fd, &byte, 1, 0, late_cb, late, NULL), -ECANCELED);
    ck_assert_int_eq(loop_send(loop, late->fd, &byte, 1, 0, late_cb, late, NULL), -ECANCELED);
    ck_assert_int_eq(loop_sendmsg(loop, late->fd, &msg, 0, late_cb, late, NULL), -ECANCELED);
    ck_assert_int_eq(
        loop_connect(loop, late->fd, (const struct sockaddr *)&localhost, sizeof(localhost), late_cb, late, NULL),
        -ECANCELED);
    ck_assert_int_eq(loop_accept(loop, late->fd, NULL, NULL, 0, late_cb, late, NULL), -ECANCELED);
    ck_assert_int_eq(loop_recv_multishot(loop, late->fd, 0, 0, late_cb, late, NULL), -ECANCELED);
    ck_assert_int_eq(loop_accept_multishot(loop, late->fd, 0, late_cb, late, NULL), -ECANCELED);
    ck_assert_int_eq(loop_shutdown(loop, late->fd, SHUT_RD, late_cb, late, NULL), -ECANCELED);
    ck_assert_int_eq(loop_close(loop, late->fd, late_cb, late, NULL), -ECANCELED);
    ck_assert_int_eq(loop_raw(loop, &sqe, late_cb, late, NULL), -ECANCELED);
    ck_assert_int_eq(loop_post(loop, at_most_once, &late->calls), -ECANCELED);
    ck_assert_int_eq(loop_timer_start(loop, &late->timer, 0, 0, never_timer), -ECANCELED);
    ck_assert_int_eq(loop_timer_start_at(loop, &late->timer, 0, 0, never_timer), -ECANCELED);
    ck_assert_int_eq(loop_address_parse(&address, "127.0.0.1", 0), 0);
    ck_assert_int_eq(loop_listener_start(loop, &late->listener, &address, NULL, accept_nothing), -ECANCELED);
    ck_assert_int_eq(loop_stream_open(loop, &late->stream, late->fd, NULL), -ECANCELED);
}

/* Goal: nothing new starts while the loop is being destroyed. Method: the last callbacks try everything. */
START_TEST(nothing_starts_during_destroy)
{
    struct loop *loop = test_loop_new(NULL);
    struct late  late = {0};
    int          fds[2];
    char         byte;

    test_socketpair(fds);
    late.fd = fds[0];
    ck_assert_int_gt(loop_recv(loop, fds[0], &byte, 1, 0, late_cb, &late, NULL), 0);
    ck_assert_int_gt(loop_recv(loop, fds[1], &byte, 1, 0, late_cb, &late, NULL), 0);
    if (_i == 1)
        test_turns(loop, 1);
    test_loop_drop(loop);
    ck_assert_uint_eq(late.calls, 2);
    test_close(fds[0]);
    test_close(fds[1]);
}
END_TEST

/* ---- threads */

struct mover {
    struct loop    *loop;
    struct test_log log;
};

static void *mover_thread(void *arg)
{
    struct mover *mover = arg;

    (void)loop_run(mover->loop, LOOP_RUN_DEFAULT);
    return NULL;
}

/* Goal: one thread may make the loop and start operations, another run it, a third (here the first) destroy it when
 * idle. Method: so. */
START_TEST(made_here_run_there)
{
    struct mover mover = {.loop = test_loop_new(NULL)};
    pthread_t    thread;

    ck_assert_int_gt(loop_nop(mover.loop, test_log_cb, &mover.log, NULL), 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, mover_thread, &mover), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    test_log_is(&mover.log, 0);
    ck_assert_int_eq(loop_destroy(mover.loop), 0);
}
END_TEST

struct wrong {
    const char *call;
    void (*make)(struct loop *loop);
};

static void wrong_nop(struct loop *loop)
{
    (void)loop_nop(loop, NULL, NULL, NULL);
}
static void wrong_socket(struct loop *loop)
{
    (void)loop_socket(loop, AF_INET, SOCK_STREAM, 0, NULL, NULL, NULL);
}
static void wrong_recv(struct loop *loop)
{
    (void)loop_recv(loop, 0, loop, 1, 0, NULL, NULL, NULL);
}
static void wrong_send(struct loop *loop)
{
    (void)loop_send(loop, 0, loop, 1, 0, NULL, NULL, NULL);
}
static void wrong_accept(struct loop *loop)
{
    (void)loop_accept(loop, 0, NULL, NULL, 0, NULL, NULL, NULL);
}
static void wrong_close(struct loop *loop)
{
    (void)loop_close(loop, 1000, NULL, NULL, NULL);
}
static void wrong_multishot(struct loop *loop)
{
    (void)loop_recv_multishot(loop, 0, 0, 0, NULL, NULL, NULL);
}
static void wrong_cancel(struct loop *loop)
{
    (void)loop_cancel(loop, 1);
}
static void wrong_run(struct loop *loop)
{
    (void)loop_run(loop, LOOP_RUN_NOWAIT);
}
static void wrong_dispatch(struct loop *loop)
{
    (void)loop_dispatch(loop, 0);
}
static void wrong_submit(struct loop *loop)
{
    (void)loop_submit(loop);
}
static void wrong_policy(struct loop *loop)
{
    (void)loop_submit_policy_set(loop, &(struct loop_submit_policy){.batch = 4});
}
static void wrong_chain(struct loop *loop)
{
    if (loop_chain_begin(loop, 2, 0) != 0)
        _exit(1);
}
static void wrong_handler(struct loop *loop)
{
    (void)loop_handler_register(loop, test_log_cb, NULL, 0);
}
static void wrong_timer(struct loop *loop)
{
    static struct loop_timer timer;

    (void)loop_timer_start(loop, &timer, 0, 0, test_count_timer);
}
static struct loop_timer wrong_kept_timer; /* started by the loop's own thread */

static void wrong_unref(struct loop *loop)
{
    (void)loop;
    loop_timer_unref(&wrong_kept_timer);
}
static void wrong_buffer(struct loop *loop)
{
    (void)loop_buffer_return(loop, 1);
}
static void wrong_listener(struct loop *loop)
{
    static struct loop_listener listener;
    struct loop_address         address = {.size = 0};

    if (loop_address_parse(&address, "127.0.0.1", 0) != 0 ||
        loop_listener_start(loop, &listener, &address, NULL, accept_nothing) != 0)
        _exit(1);
}

static const struct wrong wrong_calls[] = {
    {"loop_nop", wrong_nop},
    {"loop_socket", wrong_socket},
    {"loop_recv", wrong_recv},
    {"loop_send", wrong_send},
    {"loop_accept", wrong_accept},
    {"loop_close", wrong_close},
    {"loop_recv_multishot", wrong_multishot},
    {"loop_cancel", wrong_cancel},
    {"loop_run", wrong_run},
    {"loop_dispatch", wrong_dispatch},
    {"loop_submit", wrong_submit},
    {"loop_submit_policy_set", wrong_policy},
    {"loop_chain_begin", wrong_chain},
    {"loop_handler_register", wrong_handler},
    {"loop_timer_start", wrong_timer},
    {"loop_timer_unref", wrong_unref},
    {"loop_buffer_return", wrong_buffer},
    {"loop_listener_start", wrong_listener},
};

struct wrong_arg {
    struct loop        *loop;
    const struct wrong *wrong;
};

static void *wrong_thread(void *arg)
{
    struct wrong_arg *mine = arg;

    mine->wrong->make(mine->loop);
    return NULL;
}

static void wrong_scenario(void *arg)
{
    struct wrong_arg mine = {.loop = test_loop_new(NULL), .wrong = arg};
    pthread_t        thread;

    test_turns(mine.loop, 1);
    if (loop_timer_start(mine.loop, &wrong_kept_timer, LOOP_SECOND, 0, test_count_timer) != 0)
        _exit(1);
    pthread_create(&thread, NULL, wrong_thread, &mine);
    pthread_join(thread, NULL);
}

/* Goal: a call on the wrong thread aborts with its own name. Method: each call on a second thread, in a child. */
START_TEST(wrong_thread_aborts)
{
    const struct wrong *wrong = &wrong_calls[_i];

    test_expect_abort(wrong_scenario, (void *)(uintptr_t)wrong, wrong->call);
}
END_TEST

/* ---- memory */

static void sweep_started(int64_t r)
{
    ck_assert_msg(r >= 0 || r == -ENOMEM || r == -ENOBUFS, "a call failed with %d (%s)", (int)r, strerror((int)-r));
}

static void sweep_result(struct loop *loop, const struct loop_result *result, void *arg)
{
    (void)loop;
    ck_assert_msg(result->res >= 0 || result->res == -ENOMEM || result->res == -ENOBUFS || result->res == -ECANCELED ||
                      result->res == -ETIMEDOUT,
                  "an operation ended with %d", result->res);
    if (!(result->flags & LOOP_MORE))
        --*(int *)arg;
    else
        ck_assert_int_eq(loop_cancel(loop, result->id), 0);
}

static void sweep_post(struct loop *loop, void *arg)
{
    (void)loop;
    --*(int *)arg;
}

static void sweep_timer(struct loop_timer *timer)
{
    --*(int *)timer->data;
}

static void sweep_accept(struct loop_listener *listener, int result)
{
    (void)listener;
    if (result >= 0)
        close(result);
}

static void sweep_closed(struct loop_listener *listener)
{
    --*(int *)listener->data;
}

/* Everything that may take memory, tolerant of -ENOMEM; pending goes up with each success and down with each end. */
static void sweep_scenario(void)
{
    const struct loop_options options = {
        .allocator = test_allocator(), .sq_entries = 8, .buffer_count = 8, .buffer_size = 512};
    struct loop         *loop = NULL;
    struct loop_address  address;
    int                  pending = 0, fds[2], copy;
    struct loop_timer    timer = {.data = &pending};
    struct loop_listener listener = {.data = &pending};
    struct loop_stream   stream = {0};
    char                 bytes[4];
    struct iovec         iov[40];
    const struct msghdr  msg = {.msg_iov = iov, .msg_iovlen = TEST_COUNT(iov)};
    int64_t              r = loop_create(&loop, &options);

    if (r < 0) {
        ck_assert_int_eq(r, -ENOMEM);
        ck_assert_ptr_null(loop);
        return;
    }
    test_socketpair(fds);
    for (size_t i = 0; i < TEST_COUNT(iov); i++)
        iov[i] = (struct iovec){.iov_base = (void *)(uintptr_t) "x", .iov_len = 1};
#define SWEEP(call) (r = (call), sweep_started(r), pending += r >= 0)
    for (int i = 0; i < 100; i++) /* more than a slab of contexts, more than the SQ */
        SWEEP(loop_nop(loop, sweep_result, &pending, NULL));
    for (int i = 0; i < 70; i++)
        SWEEP(loop_nop(loop, sweep_result, &pending, LOOP_TERMS(.data = "abcd", .data_size = 4)));
    SWEEP(loop_nop(loop, sweep_result, &pending, LOOP_TERMS(.timeout_ns = LOOP_SECOND)));
    SWEEP(loop_sendmsg(loop, fds[1], &msg, 0, sweep_result, &pending, NULL));
    SWEEP(loop_recv_multishot(loop, fds[0], 0, 0, sweep_result, &pending, NULL));
    test_write(fds[1], "x", 1); /* for the multishot, even if the sendmsg has failed: its callback cancels it */
    SWEEP(loop_recv(loop, fds[1], bytes, 1, 0, sweep_result, &pending, LOOP_TERMS(.timeout_ns = LOOP_MILLISECOND)));
    SWEEP(loop_post(loop, sweep_post, &pending));
    SWEEP(loop_timer_start(loop, &timer, LOOP_MILLISECOND, 0, sweep_timer));
#undef SWEEP
    r = loop_handler_register(loop, sweep_result, &pending, 0);
    sweep_started(r);
    r = loop_chain_begin(loop, 3, 0);
    sweep_started(r);
    if (r == 0) {
        int started = 0;

        for (int i = 0; i < 3; i++) {
            r = loop_nop(loop, sweep_result, &pending, NULL);
            sweep_started(r);
            started += r > 0;
        }
        r = loop_chain_end(loop);
        sweep_started(r);
        if (r == 0)
            pending += started;
    }
    ck_assert_int_eq(loop_address_parse(&address, "127.0.0.1", 0), 0);
    r = loop_listener_start(loop, &listener, &address, &(struct loop_listener_options){.on_close = sweep_closed},
                            sweep_accept);
    sweep_started(r);
    if (r == 0) {
        pending++;
        loop_listener_close(&listener, NULL);
    }
    copy = dup(fds[1]);
    r = loop_stream_open(loop, &stream, copy, NULL);
    sweep_started(r);
    if (r == 0) {
        r = loop_stream_write(&stream, "hello", 5, NULL, NULL, NULL);
        sweep_started(r);
        loop_stream_close(&stream, NULL);
    } else {
        test_close(copy);
    }
    ck_assert_int_ge(loop_run(loop, LOOP_RUN_DEFAULT), 0);
    test_loop_drop(loop);
    ck_assert_int_eq(pending, 0);
    test_close(fds[0]);
    test_close(fds[1]);
}

/* Goal: any single failed allocation gives a clean error, no crash, no leak. Method: fail the n-th until a run meets no
 * failure. */
START_TEST(allocation_sweep)
{
    uint64_t n;

    for (n = 1; n < 10000; n++) {
        test_memory.calls = 0;
        test_memory.failed = 0;
        test_memory.fail_at = n;
        sweep_scenario();
        ck_assert_msg(test_memory.blocks == 0, "allocation %" PRIu64 " failed: %" PRIu64 " blocks leaked", n,
                      (uint64_t)test_memory.blocks);
        if (test_memory.failed == 0)
            break;
    }
    ck_assert_uint_gt(n, 3);
    ck_assert_uint_lt(n, 10000);
}
END_TEST

/* Goal: the same when memory stays away. Method: fail all allocations from the n-th on. */
START_TEST(allocation_sweep_for_good)
{
    uint64_t n;

    for (n = 1; n < 10000; n++) {
        test_memory.calls = 0;
        test_memory.failed = 0;
        test_memory.fail_from = n;
        sweep_scenario();
        ck_assert_msg(test_memory.blocks == 0, "from allocation %" PRIu64 " on: %" PRIu64 " blocks leaked", n,
                      (uint64_t)test_memory.blocks);
        if (test_memory.failed == 0)
            break;
    }
    ck_assert_uint_lt(n, 10000);
}
END_TEST

/* Before 6.4 there are single timeouts only. */
static void start_ticking(struct loop *loop, bool multishot)
{
    static struct __kernel_timespec timespec = {.tv_nsec = 1000000};
    struct io_uring_sqe             sqe = {0};

    io_uring_prep_timeout(&sqe, &timespec, 0, multishot ? IORING_TIMEOUT_MULTISHOT : 0);
    sqe.user_data = LOOP_FOREIGN;
    (void)loop_foreign_submit(loop, &sqe);
}

static void tick(struct loop *loop, uint64_t user_data, int32_t res, uint32_t flags, void *arg)
{
    (void)user_data;
    ++*(uint32_t *)arg;
    if ((flags & IORING_CQE_F_MORE) == 0 && res != -ECANCELED)
        start_ticking(loop, false);
}

static void count_result(struct loop *loop, const struct loop_result *result, void *arg)
{
    (void)loop;
    *(uint32_t *)arg += (result->flags & LOOP_MORE) == 0;
}

struct chatter {
    int          fd;
    _Atomic bool quit;
};

static void *chatter_main(void *arg)
{
    struct chatter *chatter = arg;

    while (!chatter->quit) {
        (void)send(chatter->fd, "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
        test_sleep(LOOP_MILLISECOND);
    }
    return NULL;
}

/* Goal: completions that keep coming do not keep destroy from ending operations without a context. Method: a receive in
 * direct mode; every millisecond a foreign timeout ticks (_i = 0: a silent recv), or the peer sends (_i = 1: a
 * multishot). */
START_TEST(destroy_under_traffic)
{
    struct loop   *loop = test_loop_new(NULL);
    uint32_t       ticks = 0, finals = 0;
    int            handler = loop_handler_register(loop, count_result, &finals, LOOP_GROUP_DEFAULT), fds[2];
    struct chatter chatter = {0};
    pthread_t      thread;
    char           byte;

    test_socketpair(fds);
    chatter.fd = fds[1];
    loop_foreign_set(loop, tick, &ticks);
    if (_i == 0) {
        start_ticking(loop, true);
        ck_assert_int_gt(loop_recv(loop, fds[0], &byte, 1, 0, LOOP_HANDLER(handler), LOOP_VALUE(1), NULL), 0);
        test_run_until(loop, &ticks, 2);
    } else {
        ck_assert_int_gt(loop_recv_multishot(loop, fds[0], 0, 0, LOOP_HANDLER(handler), LOOP_VALUE(1), NULL), 0);
        ck_assert_int_eq(pthread_create(&thread, NULL, chatter_main, &chatter), 0);
        while (test_stats(loop).callbacks < 2)
            ck_assert_int_eq(loop_run(loop, LOOP_RUN_ONCE), 1);
    }
    test_loop_drop(loop);
    ck_assert_uint_eq(finals, 1);
    if (_i == 1) {
        chatter.quit = true;
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
    }
    test_close(fds[0]);
    test_close(fds[1]);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("loop_end");
    TCase *tcase = test_case(suite, "destroy");

    tcase_add_test(tcase, destroy_null);
    tcase_add_loop_test(tcase, destroy_with_all_pending, 0, 2);
    tcase_add_loop_test(tcase, destroy_with_queued_operations, 0, 3);
    tcase_add_loop_test(tcase, nothing_starts_during_destroy, 0, 2);
    tcase_add_loop_test(tcase, destroy_under_traffic, 0, 2);

    tcase = test_case(suite, "threads");
    tcase_add_test(tcase, made_here_run_there);
    tcase_add_loop_test(tcase, wrong_thread_aborts, 0, (int)TEST_COUNT(wrong_calls));

    tcase = test_case(suite, "memory");
    tcase_add_test(tcase, allocation_sweep);
    tcase_add_test(tcase, allocation_sweep_for_good);
    return suite;
}
