/* tests/loop/op_terms_test.c: terms, direct mode, limits and order of operations. */
#include "tests/loop/pair_world.h"

#include <liburing.h>

/* ---- callbacks and terms */

/* Goal: without a callback an operation works and its failure is counted. */
START_TEST(no_callback_given)
{
    char byte;

    ck_assert_int_gt(loop_nop(loop, NULL, NULL, NULL), 0);
    ck_assert_int_gt(loop_send(loop, pair[0], "x", 1, 0, NULL, NULL, NULL), 0);
    ck_assert_int_gt(loop_nop(loop, NULL, NULL, LOOP_TERMS(.data = "x", .data_size = 1)), 0);
    test_run(loop);
    test_read(pair[1], &byte, 1);
    ck_assert_uint_eq(test_stats(loop).silent_errors, 0);
    ck_assert_int_gt(loop_recv(loop, 3999, &byte, 1, 0, NULL, NULL, NULL), 0);
    test_run(loop);
    ck_assert_uint_eq(test_stats(loop).silent_errors, 1);
    ck_assert_uint_eq(test_stats(loop).ops_finished, 4);
    ck_assert_uint_eq(test_stats(loop).callbacks, 0);
}
END_TEST

/* Goal: every byte of terms.data reaches the callback, copied at the call. Method: sizes up to the limit. */
START_TEST(extra)
{
    static const uint32_t sizes[] = {1, 8, 63, LOOP_EXTRA_BYTES_MAX};

    for (size_t s = 0; s < TEST_COUNT(sizes); s++) {
        struct test_log log = {.extra_size = sizes[s]};
        char            data[LOOP_EXTRA_BYTES_MAX];
        loop_id         id;

        for (size_t i = 0; i < sizeof(data); i++)
            data[i] = (char)(i + s);
        id = loop_nop(loop, test_log_cb, &log, LOOP_TERMS(.data = data, .data_size = sizes[s]));
        memset(data, 0xee, sizeof(data));
        ck_assert_int_eq(finish(id, &log), 0);
        ck_assert_uint_eq(log.extras, 1);
        for (size_t i = 0; i < sizes[s]; i++)
            ck_assert_int_eq(log.extra[i], (char)(i + s));
    }
    {
        struct test_log log = {0};

        ck_assert_int_eq(finish(loop_nop(loop, test_log_cb, &log, LOOP_TERMS(.flags = LOOP_EXTENDED)), &log), 0);
        ck_assert_uint_eq(log.extras, 0); /* NULL without data */
    }
}
END_TEST

/* Goal: extra is lent to the callback even when that starts successors. Method: start a few with other data before
 * reading it. */
static void extra_successor(struct loop *of, const struct loop_result *result, void *arg)
{
    uint32_t *left = arg;
    char      expected[LOOP_EXTRA_BYTES_MAX], next[LOOP_EXTRA_BYTES_MAX];

    memset(expected, (int)(*left & 0x7f), sizeof(expected));
    if (--*left > 0) {
        memset(next, (int)(*left & 0x7f), sizeof(next));
        ck_assert_int_gt(loop_nop(of, extra_successor, left, LOOP_TERMS(.data = next, .data_size = sizeof(next))), 0);
    }
    ck_assert_mem_eq(result->extra, expected, sizeof(expected));
}

START_TEST(extra_is_lent)
{
    uint32_t left = 500;
    char     data[LOOP_EXTRA_BYTES_MAX];

    memset(data, (int)(left & 0x7f), sizeof(data));
    ck_assert_int_gt(loop_nop(loop, extra_successor, &left, LOOP_TERMS(.data = data, .data_size = sizeof(data))), 0);
    test_run(loop);
    ck_assert_uint_eq(left, 0);
}
END_TEST

/* Goal: LOOP_POLL_FIRST and LOOP_ASYNC change nothing in the result. Method: data that is there, and data that comes
 * later. */
START_TEST(hints)
{
    static const uint32_t flags[] = {LOOP_POLL_FIRST, LOOP_ASYNC, LOOP_EXTENDED, LOOP_POLL_FIRST | LOOP_EXTENDED};
    char                  byte = 0;

    for (size_t i = 0; i < TEST_COUNT(flags); i++) {
        struct test_log log[2] = {0};

        test_write(pair[1], "a", 1);
        ck_assert_int_eq(
            finish(loop_recv(loop, pair[0], &byte, 1, 0, test_log_cb, &log[0], LOOP_TERMS(.flags = flags[i])), &log[0]),
            1);
        ck_assert_int_eq(byte, 'a');
        ck_assert_int_gt(loop_recv(loop, pair[0], &byte, 1, 0, test_log_cb, &log[1], LOOP_TERMS(.flags = flags[i])), 0);
        test_turns(loop, 2);
        ck_assert_uint_eq(log[1].count, 0);
        test_write(pair[1], "b", 1);
        test_run(loop);
        test_log_is(&log[1], 1);
        ck_assert_int_eq(byte, 'b');
    }
}
END_TEST

/* ---- direct mode */

struct direct {
    uint32_t count;
    uint64_t values[8];
    int32_t  results[8];
};

static void direct_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    struct direct *direct = arg;

    (void)of;
    ck_assert_int_gt(result->id, 0);
    ck_assert_ptr_null(result->extra);
    ck_assert_uint_lt(direct->count, TEST_COUNT(direct->values));
    direct->results[direct->count] = result->res;
    direct->values[direct->count++] = result->value;
}

/* Goal: a handler gets the value of each operation back, whatever it is. Method: 0, 1, the greatest; nops, send, recv.
 */
START_TEST(direct_values)
{
    static const uint64_t values[] = {0, 1, 0x123456789a, LOOP_VALUE_MAX};
    struct direct         direct = {0};
    int                   n = loop_handler_register(loop, direct_cb, &direct, LOOP_GROUP_DEFAULT);
    char                  byte = 0;
    uint64_t              pool;

    ck_assert_int_gt(n, 0);
    ck_assert_int_le(n, LOOP_HANDLERS_MAX);
    pool = test_stats(loop).context_bytes;
    for (size_t i = 0; i < TEST_COUNT(values); i++)
        ck_assert_int_gt(loop_nop(loop, LOOP_HANDLER(n), LOOP_VALUE(values[i]), NULL), 0);
    ck_assert_uint_eq(direct.count, 0);
    ck_assert(loop_alive(loop));
    test_run(loop);
    ck_assert_uint_eq(direct.count, TEST_COUNT(values));
    for (size_t i = 0; i < TEST_COUNT(values); i++) {
        ck_assert_uint_eq(direct.values[i], values[i]);
        ck_assert_int_eq(direct.results[i], 0);
    }
    ck_assert_uint_eq(test_stats(loop).context_bytes, pool); /* no context was used */
    ck_assert_int_gt(loop_send(loop, pair[0], "x", 1, 0, LOOP_HANDLER(n), LOOP_VALUE(7), NULL), 0);
    test_run(loop);
    ck_assert_int_gt(loop_recv(loop, pair[1], &byte, 1, 0, LOOP_HANDLER(n), LOOP_VALUE(8), NULL), 0);
    test_run(loop);
    ck_assert_uint_eq(direct.count, TEST_COUNT(values) + 2);
    ck_assert_uint_eq(direct.values[4] * 10 + direct.values[5], 78);
    ck_assert_int_eq(direct.results[4] * 10 + direct.results[5], 11);
    ck_assert_int_eq(byte, 'x');
    ck_assert_uint_eq(test_stats(loop).cqes_stale, 0);
}
END_TEST

/* Goal: what direct mode can't do is refused. Method: a value too large, unregistered handlers, terms. */
START_TEST(direct_refused)
{
    struct direct direct = {0};
    int           n = loop_handler_register(loop, direct_cb, &direct, LOOP_GROUP_DEFAULT);

    ck_assert_int_gt(n, 0);
    ck_assert_int_eq(loop_nop(loop, LOOP_HANDLER(n), LOOP_VALUE(LOOP_VALUE_MAX + 1), NULL), -EINVAL);
    ck_assert_int_eq(loop_nop(loop, LOOP_HANDLER(n), LOOP_VALUE(UINT64_MAX), NULL), -EINVAL);
    ck_assert_int_eq(loop_nop(loop, LOOP_HANDLER(n + 1), LOOP_VALUE(1), NULL), -EINVAL);
    ck_assert_int_eq(loop_nop(loop, LOOP_HANDLER(LOOP_HANDLERS_MAX), LOOP_VALUE(1), NULL), -EINVAL);
    ck_assert_int_eq(loop_nop(loop, LOOP_HANDLER(LOOP_HANDLERS_MAX + 1), LOOP_VALUE(1), NULL), -EINVAL);
    ck_assert_int_eq(loop_nop(loop, LOOP_HANDLER(255), LOOP_VALUE(1), NULL), -EINVAL);
    ck_assert_int_eq(loop_nop(loop, LOOP_HANDLER(n), LOOP_VALUE(1), LOOP_TERMS(.timeout_ns = LOOP_SECOND)), -EINVAL);
    ck_assert_int_eq(loop_nop(loop, LOOP_HANDLER(n), LOOP_VALUE(1), LOOP_TERMS(.data = "x", .data_size = 1)), -EINVAL);
    ck_assert_int_eq(loop_recv(loop, -1, &direct, 1, 0, LOOP_HANDLER(n), LOOP_VALUE(1), NULL), -EBADF);
    ck_assert_int_eq(loop_handler_register(loop, NULL, NULL, LOOP_GROUP_DEFAULT), -EINVAL);
    nothing_started();
    ck_assert_uint_eq(direct.count, 0);
}
END_TEST

/* Goal: there are exactly LOOP_HANDLERS_MAX handlers, each with its own argument. */
START_TEST(direct_handlers)
{
    static struct direct direct[LOOP_HANDLERS_MAX];

    for (int i = 0; i < LOOP_HANDLERS_MAX; i++)
        ck_assert_int_eq(loop_handler_register(loop, direct_cb, &direct[i], LOOP_GROUP_DEFAULT), i + 1);
    ck_assert_int_eq(loop_handler_register(loop, direct_cb, NULL, LOOP_GROUP_DEFAULT), -ENFILE);
    ck_assert_uint_eq(test_stats(loop).handlers_full, 1);
    for (int i = 0; i < LOOP_HANDLERS_MAX; i++)
        ck_assert_int_gt(loop_nop(loop, LOOP_HANDLER(i + 1), LOOP_VALUE((uint64_t)i + 1000), NULL), 0);
    test_run(loop);
    for (uint32_t i = 0; i < LOOP_HANDLERS_MAX; i++) {
        ck_assert_uint_eq(direct[i].count, 1);
        ck_assert_uint_eq(direct[i].values[0], i + 1000);
    }
}
END_TEST

/* Goal: a direct operation can be cancelled by its id, and ends with -ECANCELED; so it does by loop_destroy. */
START_TEST(direct_cancel)
{
    struct direct direct = {0};
    int           n = loop_handler_register(loop, direct_cb, &direct, LOOP_GROUP_DEFAULT);
    char          bytes[2];
    loop_id       id = loop_recv(loop, pair[0], &bytes[0], 1, 0, LOOP_HANDLER(n), LOOP_VALUE(5), NULL);

    ck_assert_int_gt(id, 0);
    test_turns(loop, 1);
    ck_assert_int_eq(loop_cancel(loop, id), 0);
    ck_assert_uint_eq(direct.count, 0);
    test_run(loop);
    ck_assert_uint_eq(direct.count, 1);
    ck_assert_int_eq(direct.results[0], -ECANCELED);
    ck_assert_int_gt(loop_recv(loop, pair[0], &bytes[1], 1, 0, LOOP_HANDLER(n), LOOP_VALUE(6), NULL), 0);
    test_turns(loop, 1);
    test_loop_drop(loop);
    ck_assert_uint_eq(direct.count, 2);
    ck_assert_int_eq(direct.results[1], -ECANCELED);
    loop = test_loop_new(NULL); /* for the teardown */
}
END_TEST

/* Goal: direct operations count against ops_max as all others do. Method: two silent recvs of two, then more of either
 * kind. */
START_TEST(direct_limit)
{
    struct loop  *small = test_loop_new(&(struct loop_options){.ops_max = 2, .sq_entries = 8});
    struct direct direct = {0};
    int           n = loop_handler_register(small, direct_cb, &direct, LOOP_GROUP_DEFAULT);
    char          bytes[2];

    ck_assert_int_gt(loop_recv(small, pair[0], &bytes[0], 1, 0, LOOP_HANDLER(n), LOOP_VALUE(1), NULL), 0);
    ck_assert_int_gt(loop_recv(small, pair[0], &bytes[1], 1, 0, LOOP_HANDLER(n), LOOP_VALUE(2), NULL), 0);
    ck_assert_int_eq(loop_nop(small, LOOP_HANDLER(n), LOOP_VALUE(3), NULL), -ENOBUFS);
    ck_assert_int_eq(loop_nop(small, not_called, NULL, NULL), -ENOBUFS);
    ck_assert_uint_eq(test_stats(small).ops_full, 2);
    ck_assert_uint_eq(test_stats(small).ops_in_flight, 2);
    test_write(pair[1], "xy", 2);
    test_run(small);
    ck_assert_uint_eq(direct.count, 2);
    test_loop_free(small);
}
END_TEST

/* ---- limits and order */

struct successor {
    uint32_t left, full;
    uint32_t flags;
};

static void successor_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    struct successor *successor = arg;

    ck_assert_int_eq(result->res, 0);
    if (successor->left == 0)
        return;
    successor->left--;
    ck_assert_int_gt(loop_nop(of, successor_cb, successor, LOOP_TERMS(.flags = successor->flags)), 0);
    if (successor->left > 4) { /* all four are in flight again */
        ck_assert_int_eq(loop_nop(of, not_called, NULL, NULL), -ENOBUFS);
        successor->full++;
    }
}

/* Goal: at ops_max starts are refused and counted, but a final callback always has room for one. Method: four nops that
 * restart themselves 4000 times, plain and extended. */
START_TEST(full_pool)
{
    struct loop     *small = test_loop_new(&(struct loop_options){.ops_max = 4, .sq_entries = 8});
    struct successor successor = {.left = 4000, .flags = _i == 0 ? 0 : LOOP_EXTENDED};

    for (int i = 0; i < 4; i++)
        ck_assert_int_gt(loop_nop(small, successor_cb, &successor, LOOP_TERMS(.flags = successor.flags)), 0);
    ck_assert_int_eq(loop_nop(small, not_called, NULL, NULL), -ENOBUFS);
    ck_assert_uint_eq(test_stats(small).ops_full, 1);
    ck_assert_uint_eq(test_stats(small).ops_in_flight, 4);
    test_run(small);
    ck_assert_uint_eq(successor.left, 0);
    ck_assert_uint_eq(test_stats(small).ops_full, 1 + successor.full);
    ck_assert_uint_eq(test_stats(small).ops_started, 4 + 4000);
    test_loop_free(small);
}
END_TEST

/* Goal: a successor of a final callback needs no new memory, whatever its kind. Method: no allocation succeeds any
 * more. */
struct starved {
    uint32_t flags, left;
};

static void starved_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    struct starved *starved = arg;

    (void)result;
    if (starved->left-- > 0)
        ck_assert_int_gt(loop_nop(of, starved_cb, starved, LOOP_TERMS(.flags = starved->flags)), 0);
    else
        starved->left = 0;
}

START_TEST(successor_without_memory)
{
    struct starved starved = {.flags = _i == 0 ? 0 : LOOP_EXTENDED, .left = 50};

    test_turns(loop, 1);
    ck_assert_int_gt(loop_nop(loop, starved_cb, &starved, LOOP_TERMS(.flags = starved.flags)), 0);
    test_memory.fail_from = test_memory.calls + 1;
    test_run(loop);
    test_memory.fail_from = 0;
    ck_assert_uint_eq(starved.left, 0);
    ck_assert_uint_eq(test_stats(loop).ops_started, 51);
}
END_TEST

struct sequence {
    uint32_t expected;
    uint32_t started, limit;
};

static void sequence_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    struct sequence *sequence = arg;
    uint32_t         number;

    (void)of;
    ck_assert_int_eq(result->res, 0);
    memcpy(&number, result->extra, sizeof(number));
    ck_assert_uint_eq(number, sequence->expected);
    sequence->expected++;
}

static void sequence_start(struct loop *of, struct sequence *sequence, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t number = sequence->started++;

        ck_assert_int_gt(loop_nop(of, sequence_cb, sequence, LOOP_TERMS(.data = &number, .data_size = sizeof(number))),
                         0);
    }
}

static void sequence_burst(struct loop *of, const struct loop_result *result, void *arg)
{
    (void)result;
    sequence_start(of, arg, 1000);
}

/* Goal: more operations than the SQ holds are all done, in the order started. Method: an SQ of 8; 1000 nops before the
 * first run, and 1000 from a callback; a CQ of 8 as well (_i = 1). */
START_TEST(more_than_the_sq)
{
    struct loop      *small = test_loop_new(&(struct loop_options){.sq_entries = 8, .cq_entries = _i == 0 ? 0 : 8});
    struct sequence   sequence = {0};
    struct loop_stats stats;

    sequence_start(small, &sequence, 1000);
    ck_assert_uint_gt(test_stats(small).sqes_backlogged, 0);
    test_run(small);
    ck_assert_uint_eq(sequence.expected, 1000);
    ck_assert_int_gt(loop_nop(small, sequence_burst, &sequence, NULL), 0);
    test_run(small);
    ck_assert_uint_eq(sequence.expected, 2000);
    stats = test_stats(small);
    ck_assert_uint_eq(stats.ops_finished, 2001);
    ck_assert_uint_ge(stats.sqes_submitted, 2001);
    ck_assert_uint_eq(stats.cqes_stale, 0);
    test_loop_free(small);
}
END_TEST

struct writer {
    int      fd;
    uint32_t numbers[2000], started, written;
};

static void writer_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    (void)of;
    ck_assert_int_eq(result->res, sizeof(uint32_t));
    ((struct writer *)arg)->written++;
}

static void writer_start(struct loop *of, struct writer *writer, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct io_uring_sqe sqe;

        memset(&sqe, 0, sizeof(sqe));
        writer->numbers[writer->started] = writer->started;
        io_uring_prep_write(&sqe, writer->fd, &writer->numbers[writer->started++], sizeof(uint32_t), (uint64_t)-1);
        ck_assert_int_gt(loop_raw(of, &sqe, writer_cb, writer, NULL), 0);
    }
}

static void writer_burst(struct loop *of, const struct loop_result *result, void *arg)
{
    (void)result;
    writer_start(of, arg, 1000);
}

/* Goal: the kernel gets the operations in the order started. Method: 2000 numbers through an SQ of 8 into a socket,
 * which takes them at once (fds of old kernels make them wait first), read back. */
START_TEST(order_of_effects)
{
    static struct writer writer;
    struct loop         *small = test_loop_new(&(struct loop_options){.sq_entries = 8});
    int                  fds[2];
    uint32_t             number;

    test_tcp_pair(fds);
    writer.fd = fds[1];
    writer_start(small, &writer, 1000);
    test_run(small);
    ck_assert_int_gt(loop_nop(small, writer_burst, &writer, NULL), 0);
    test_run(small);
    ck_assert_uint_eq(writer.written, 2000);
    for (uint32_t i = 0; i < 2000; i++) {
        test_read(fds[0], &number, sizeof(number));
        ck_assert_uint_eq(number, i);
    }
    test_loop_free(small);
    test_close(fds[0]);
    test_close(fds[1]);
}
END_TEST

/* Goal: thousands of operations at once work, and their contexts stay within bounds. Method: 5000 recvs, then one send
 * for each. */
START_TEST(many_in_flight)
{
    enum { COUNT = 5000 };
    static char      bytes[COUNT];
    struct test_log *logs = calloc(COUNT, sizeof(*logs));

    for (int i = 0; i < COUNT; i++)
        ck_assert_int_gt(loop_recv(loop, pair[0], &bytes[i], 1, 0, test_log_cb, &logs[i], NULL), 0);
    test_turns(loop, 1);
    ck_assert_uint_eq(test_stats(loop).ops_in_flight, COUNT);
    ck_assert_uint_ge(test_stats(loop).context_bytes, COUNT * 64);
    for (int i = 0; i < COUNT; i += 100) {
        char block[100];

        memset(block, 1, sizeof(block));
        test_write(pair[1], block, sizeof(block));
        test_turns(loop, 1);
    }
    test_run(loop);
    for (int i = 0; i < COUNT; i++) {
        test_log_is(&logs[i], 1);
        ck_assert_int_eq(bytes[i], 1);
    }
    free(logs);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("op_terms");
    TCase *tcase = test_case(suite, "terms");

    tcase_add_checked_fixture(tcase, pair_setup, pair_teardown);
    tcase_add_test(tcase, no_callback_given);
    tcase_add_test(tcase, extra);
    tcase_add_test(tcase, extra_is_lent);
    tcase_add_test(tcase, hints);

    tcase = test_case(suite, "direct");
    tcase_add_checked_fixture(tcase, pair_setup, pair_teardown);
    tcase_add_test(tcase, direct_values);
    tcase_add_test(tcase, direct_refused);
    tcase_add_test(tcase, direct_handlers);
    tcase_add_test(tcase, direct_cancel);
    tcase_add_test(tcase, direct_limit);

    tcase = test_case(suite, "limits");
    tcase_add_checked_fixture(tcase, pair_setup, pair_teardown);
    tcase_add_loop_test(tcase, full_pool, 0, 2);
    tcase_add_loop_test(tcase, successor_without_memory, 0, 2);
    tcase_add_loop_test(tcase, more_than_the_sq, 0, 2);
    tcase_add_test(tcase, order_of_effects);
    tcase_add_test(tcase, many_in_flight);
    return suite;
}
