/* tests/loop/stats_test.c: levels and counters of loops at work, on the real kernel. What goes wrong is in
 * tests/sim/observe_test.c. */
#include "tests/loop/pair_world.h"

#include <fcntl.h>
#include <liburing.h>
#include <pthread.h>

static char buffer[4096];

static void setup(void)
{
    pair_open(&(struct loop_options){.sq_entries = 16, .buffer_size = 64, .buffer_count = 2});
    test_turns(loop, 1);
}

static struct loop_op_stats stats_of(unsigned opcode)
{
    struct loop_op_stats stats;

    ck_assert_int_eq(loop_op_stats_get(loop, opcode, &stats), 0);
    return stats;
}

static struct loop_pool_stats pool_stats(void)
{
    struct loop_pool_stats stats;

    loop_pool_stats_get(loop, &stats);
    return stats;
}

static void ignore(struct loop *of, const struct loop_result *result, void *arg)
{
    (void)of;
    (void)result;
    (void)arg;
}

/* Goal: room and fill of the rings are what was put into them. Method: three nops, before and after they are sent; more
 * than the SQ holds, before a chain is ended and after. */
START_TEST(levels)
{
    struct test_log log[3] = {0};

    ck_assert_uint_eq(loop_sq_space(loop), 16);
    ck_assert_uint_eq(loop_sq_pending(loop), 0);
    ck_assert_uint_eq(loop_cq_pending(loop), 0);
    for (uint32_t i = 0; i < 3; i++) {
        ck_assert_int_gt(loop_nop(loop, test_log_cb, &log[i], NULL), 0);
        ck_assert_uint_eq(loop_sq_pending(loop), i + 1);
        ck_assert_uint_eq(loop_sq_space(loop), 16 - (i + 1));
    }
    ck_assert_int_eq(loop_submit(loop), 3);
    ck_assert_uint_eq(loop_sq_pending(loop), 0);
    ck_assert_uint_eq(loop_sq_space(loop), 16);
    ck_assert_uint_eq(loop_cq_pending(loop), 3);
    test_run(loop);
    ck_assert_uint_eq(loop_cq_pending(loop), 0);
    for (size_t i = 0; i < TEST_COUNT(log); i++)
        test_log_is(&log[i], 0);
}
END_TEST

/* Goal: before the first run, too, all that was started is pending. Method: more than the SQ holds. */
START_TEST(levels_before_the_first_run)
{
    struct loop *fresh = test_loop_new(&(struct loop_options){.sq_entries = 8});

    for (int i = 0; i < 20; i++)
        ck_assert_int_gt(loop_nop(fresh, NULL, NULL, NULL), 0);
    ck_assert_uint_eq(loop_sq_pending(fresh), 20);
    ck_assert_uint_eq(test_stats(fresh).ops_in_flight, 20);
    test_run(fresh);
    ck_assert_uint_eq(loop_sq_pending(fresh), 0);
    ck_assert_uint_eq(test_stats(fresh).ops_in_flight_max, 20);
    test_loop_free(fresh);
}
END_TEST

/* Goal: the ring's descriptor is one that another ring can send messages to. */
struct message {
    uint32_t count;
    uint64_t user_data;
    int32_t  res;
};

static void message_arrived(struct loop *of, uint64_t user_data, int32_t res, uint32_t flags, void *arg)
{
    struct message *message = arg;

    (void)of;
    (void)flags;
    message->count++;
    message->user_data = user_data;
    message->res = res;
}

START_TEST(ring_fd)
{
    struct loop        *sender = test_loop_new(NULL);
    struct test_log     log = {0};
    struct message      message = {0};
    struct io_uring_sqe sqe;
    uint64_t            user_data = 77 << 2 | LOOP_FOREIGN;

    ck_assert_int_ge(fcntl(loop_ring_fd(loop), F_GETFD), 0);
    ck_assert_int_ne(loop_ring_fd(loop), loop_ring_fd(sender));
    loop_foreign_set(loop, message_arrived, &message);
    memset(&sqe, 0, sizeof(sqe));
    io_uring_prep_msg_ring(&sqe, loop_ring_fd(loop), 4711, user_data, 0);
    ck_assert_int_gt(loop_raw(sender, &sqe, test_log_cb, &log, NULL), 0);
    test_run(sender);
    ck_assert_uint_eq(log.finals, 1);
    ck_assert_int_eq(log.last.res, 0);
    for (int i = 0; i < 1000 && message.count == 0; i++) {
        test_turns(loop, 1);
        test_sleep(LOOP_MILLISECOND);
    }
    ck_assert_uint_eq(message.count, 1);
    ck_assert_uint_eq(message.user_data, user_data);
    ck_assert_int_eq(message.res, 4711);
    test_loop_free(sender);
}
END_TEST

/* Goal: used contexts are counted by kind, and operations without one. */
START_TEST(pool)
{
    struct test_log log[4] = {0};
    int             handler = loop_handler_register(loop, ignore, NULL, 0);
    loop_id         ids[4];

    ck_assert_int_gt(handler, 0);
    ck_assert_uint_eq(pool_stats().plain_used + pool_stats().extended_used + pool_stats().direct, 0);
    for (int i = 0; i < 4; i++) {
        ids[i] = loop_recv(loop, pair[0], buffer, 1, 0, test_log_cb, &log[i],
                           i == 0 ? LOOP_TERMS(.flags = LOOP_EXTENDED) : NULL);
        ck_assert_int_gt(ids[i], 0);
    }
    ck_assert_int_gt(loop_nop(loop, LOOP_HANDLER(handler), LOOP_VALUE(1), NULL), 0);
    ck_assert_uint_eq(pool_stats().plain_used, 3);
    ck_assert_uint_eq(pool_stats().extended_used, 1);
    ck_assert_uint_eq(pool_stats().direct, 1);
    ck_assert_uint_ge(pool_stats().plain, 3);
    ck_assert_uint_ge(pool_stats().extended, 1);
    ck_assert_uint_eq(pool_stats().bytes, test_stats(loop).context_bytes);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(loop_cancel(loop, ids[i]), 0);
    test_run(loop);
    ck_assert_uint_eq(pool_stats().plain_used + pool_stats().extended_used + pool_stats().direct, 0);
    ck_assert_uint_ge(pool_stats().plain, 3);
}
END_TEST

/* Goal: a multishot that waits for a buffer is seen to. Method: both buffers are filled and kept. */
static void keep_buffer(struct loop *of, const struct loop_result *result, void *arg)
{
    loop_buffer *kept = arg;

    if (result->buffer == 0)
        return;
    while (*kept != 0)
        kept++;
    *kept = result->buffer;
    ck_assert_int_eq(loop_buffer_keep(of, result->buffer), 0);
}

START_TEST(parked)
{
    loop_buffer kept[8] = {0};
    loop_id     id = loop_recv_multishot(loop, pair[0], 0, 0, keep_buffer, kept, NULL);

    ck_assert_int_gt(id, 0);
    test_write(pair[1], buffer, 2 * 64 + 10);
    for (int i = 0; i < 1000 && pool_stats().parked == 0; i++) {
        test_turns(loop, 1);
        test_sleep(LOOP_MILLISECOND);
    }
    ck_assert_uint_eq(pool_stats().parked, 1);
    ck_assert_uint_eq(pool_stats().plain_used, 1);
    ck_assert_int_eq(loop_cancel(loop, id), 0);
    test_run(loop);
    ck_assert_uint_eq(pool_stats().parked, 0);
    for (int i = 0; kept[i] != 0; i++)
        loop_buffer_return(loop, kept[i]);
}
END_TEST

/* Goal: how operations end is counted by opcode, apart from each other and from successes. Method: of each kind a
 * different number, also in direct mode and without a callback. */
START_TEST(by_opcode)
{
    int     handler = loop_handler_register(loop, ignore, NULL, 0);
    int     closed = 1000; /* a descriptor that is not open */
    loop_id ids[4];

    for (int i = 0; i < 2; i++)
        ck_assert_int_gt(loop_nop(loop, ignore, NULL, NULL), 0);
    for (int i = 0; i < 3; i++) /* failures */
        ck_assert_int_gt(loop_send(loop, closed, buffer, 1, 0,
                                   i == 0   ? ignore
                                   : i == 1 ? LOOP_HANDLER(handler)
                                            : NULL,
                                   NULL, NULL),
                         0);
    for (int i = 0; i < 4; i++) { /* cancelled */
        ids[i] = loop_recv(loop, pair[0], buffer, 1, 0, i == 3 ? LOOP_HANDLER(handler) : ignore, NULL, NULL);
        ck_assert_int_gt(ids[i], 0);
    }
    for (int i = 0; i < 5; i++) /* timed out */
        ck_assert_int_gt(loop_recv(loop, pair[0], buffer, 1, 0, ignore, NULL, LOOP_TERMS(.timeout_ns = 1)), 0);
    ck_assert_uint_eq(stats_of(IORING_OP_RECV).in_flight, 8); /* one is direct */
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(loop_cancel(loop, ids[i]), 0);
    test_run(loop);

    ck_assert_uint_eq(stats_of(IORING_OP_NOP).started, 2);
    ck_assert_uint_eq(stats_of(IORING_OP_NOP).failed, 0);
    ck_assert_uint_eq(stats_of(IORING_OP_SEND).started, 3);
    ck_assert_uint_eq(stats_of(IORING_OP_SEND).failed, 3);
    ck_assert_uint_eq(stats_of(IORING_OP_SEND).canceled, 0);
    ck_assert_uint_eq(stats_of(IORING_OP_RECV).started, 9);
    ck_assert_uint_eq(stats_of(IORING_OP_RECV).failed, 0);
    ck_assert_uint_eq(stats_of(IORING_OP_RECV).canceled, 4);
    ck_assert_uint_eq(stats_of(IORING_OP_RECV).timed_out, 5);
    ck_assert_uint_eq(stats_of(IORING_OP_RECV).in_flight, 0);
    ck_assert_uint_eq(stats_of(IORING_OP_ASYNC_CANCEL).started, 0);
    ck_assert_uint_eq(test_stats(loop).ops_failed, 3);
    ck_assert_uint_eq(test_stats(loop).ops_canceled, 4);
    ck_assert_uint_eq(test_stats(loop).ops_timed_out, 5);
    ck_assert_uint_eq(test_stats(loop).ops_finished, 14);
    ck_assert_uint_eq(test_stats(loop).silent_errors, 1);
}
END_TEST

/* Goal: the end of a timeout is no failure. */
START_TEST(timeouts)
{
    struct __kernel_timespec delay = {.tv_nsec = 1000};
    struct io_uring_sqe      sqe;
    struct test_log          log = {0};

    memset(&sqe, 0, sizeof(sqe));
    io_uring_prep_timeout(&sqe, &delay, 0, 0);
    ck_assert_int_gt(loop_raw(loop, &sqe, test_log_cb, &log, NULL), 0);
    test_run(loop);
    test_log_is(&log, -ETIME);
    ck_assert_uint_eq(stats_of(IORING_OP_TIMEOUT).started, 1);
    ck_assert_uint_eq(stats_of(IORING_OP_TIMEOUT).failed, 0);
}
END_TEST

/* Goal: opcodes that are not counted are refused, and the output is left alone. */
START_TEST(bad_opcode)
{
    struct loop_op_stats stats = {.started = 5};

    ck_assert_int_eq(loop_op_stats_get(loop, 128, &stats), -EINVAL);
    ck_assert_int_eq(loop_op_stats_get(loop, UINT32_MAX, &stats), -EINVAL);
    ck_assert_uint_eq(stats.started, 5);
    ck_assert_int_eq(loop_op_stats_get(loop, 127, &stats), 0);
    ck_assert_uint_eq(stats.started, 0);
}
END_TEST

/* Goal: names stand at their numbers. */
START_TEST(names)
{
    static const struct {
        unsigned    opcode;
        const char *name;
    } table[] = {
        {IORING_OP_NOP, "nop"},
        {IORING_OP_FSYNC, "fsync"},
        {IORING_OP_POLL_ADD, "poll_add"},
        {IORING_OP_RECVMSG, "recvmsg"},
        {IORING_OP_ASYNC_CANCEL, "async_cancel"},
        {IORING_OP_LINK_TIMEOUT, "link_timeout"},
        {IORING_OP_CLOSE, "close"},
        {IORING_OP_RECV, "recv"},
        {IORING_OP_SPLICE, "splice"},
        {IORING_OP_SHUTDOWN, "shutdown"},
        {IORING_OP_LINKAT, "linkat"},
        {IORING_OP_MSG_RING, "msg_ring"},
        {IORING_OP_SOCKET, "socket"},
        {IORING_OP_SENDMSG_ZC, "sendmsg_zc"},
        {IORING_OP_READ_MULTISHOT, "read_multishot"},
        {IORING_OP_FUTEX_WAITV, "futex_waitv"},
        {IORING_OP_FIXED_FD_INSTALL, "fixed_fd_install"},
        {IORING_OP_LISTEN, "listen"},
        {200, "unknown"},
        {UINT32_MAX, "unknown"},
    };

    for (size_t i = 0; i < TEST_COUNT(table); i++)
        ck_assert_str_eq(loop_op_name(table[i].opcode), table[i].name);
    for (unsigned opcode = 0; opcode < IORING_OP_LAST; opcode++)
        ck_assert_str_ne(loop_op_name(opcode), "unknown");
}
END_TEST

/* Goal: the time of waits can be seen from another thread while the loop waits. Method: a thread looks until it is more
 * than nothing, then stops the loop. */
static void *watch(void *arg)
{
    for (int i = 0; i < 5000 && loop_idle_ns(arg) == 0; i++)
        test_sleep(LOOP_MILLISECOND);
    loop_stop(arg);
    return NULL;
}

START_TEST(idle_time)
{
    struct test_log log = {0};
    loop_id         id = loop_recv(loop, pair[0], buffer, 1, 0, test_log_cb, &log, NULL);
    pthread_t       thread;

    ck_assert_int_gt(id, 0);
    ck_assert_uint_eq(loop_idle_ns(loop), 0);
    loop_idle_measure(loop, true);
    ck_assert_int_eq(pthread_create(&thread, NULL, watch, loop), 0);
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_DEFAULT), 1);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    ck_assert_uint_gt(loop_idle_ns(loop), 0);
    ck_assert_uint_eq(loop_idle_ns(loop), test_stats(loop).idle_ns);
    loop_idle_measure(loop, false);
    ck_assert_int_eq(loop_cancel(loop, id), 0);
    test_run(loop);
}
END_TEST

/* Goal: the error hook is told of operations nobody else is told of, and only then. */
static void count_silent(struct loop *of, const struct loop_error *error, void *arg)
{
    (void)of;
    ck_assert_int_eq(error->event, LOOP_ERROR_SILENT);
    ck_assert_int_eq(error->error, -EBADF);
    ck_assert_uint_eq(error->opcode, IORING_OP_SEND);
    (*(uint32_t *)arg)++;
}

START_TEST(error_hook)
{
    struct test_log log = {0};
    uint32_t        count = 0;

    loop_error_hook_set(loop, count_silent, &count);
    ck_assert_int_gt(loop_send(loop, 1000, buffer, 1, 0, test_log_cb, &log, NULL), 0);
    ck_assert_int_gt(loop_send(loop, 1000, buffer, 1, 0, NULL, NULL, NULL), 0);
    ck_assert_int_gt(loop_nop(loop, NULL, NULL, NULL), 0);
    test_run(loop);
    test_log_is(&log, -EBADF);
    ck_assert_uint_eq(count, 1);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("stats");
    TCase *tcase = test_case(suite, "stats");

    tcase_add_checked_fixture(tcase, setup, pair_teardown);
    tcase_add_test(tcase, levels);
    tcase_add_test(tcase, levels_before_the_first_run);
    tcase_add_test(tcase, ring_fd);
    tcase_add_test(tcase, pool);
    tcase_add_test(tcase, parked);
    tcase_add_test(tcase, by_opcode);
    tcase_add_test(tcase, timeouts);
    tcase_add_test(tcase, bad_opcode);
    tcase_add_test(tcase, names);
    tcase_add_test(tcase, idle_time);
    tcase_add_test(tcase, error_hook);
    return suite;
}
