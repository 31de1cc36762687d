/* tests/loop/lend_test.c: one-shot receives and reads into lent buffers: LOOP_LEND. */
#include "tests/loop/pair_world.h"

#include <fcntl.h>

enum { SIZE = 64, BUFFERS = 2 };

static void setup(void)
{
    pair_open(&(struct loop_options){.sq_entries = 64, .buffer_size = SIZE, .buffer_count = BUFFERS});
}

static loop_id lend(int fd, size_t size, loop_cb *cb, void *arg)
{
    return loop_recv(loop, fd, NULL, size, 0, cb, arg, LOOP_TERMS(.flags = LOOP_LEND));
}

static struct loop_buffer_group_stats group_stats(void)
{
    struct loop_buffer_group_stats stats;

    ck_assert_int_eq(loop_buffer_group_stats_get(loop, LOOP_GROUP_DEFAULT, &stats), 0);
    return stats;
}

/* Goal: the data comes in a buffer, as much as asked for, or as the buffer holds; it is lent for the callback. */
START_TEST(receives)
{
    static const struct {
        size_t  asked;
        int32_t res;
    } table[] = {{0, SIZE}, {10, 10}, {SIZE, SIZE}, {1000, SIZE}};
    char bytes[100];

    memset(bytes, 'a', sizeof(bytes));
    for (size_t i = 0; i < TEST_COUNT(table); i++) {
        struct test_log log = {0};
        char            rest[100];

        ck_assert_int_gt(lend(pair[0], table[i].asked, test_log_cb, &log), 0);
        test_write(pair[1], bytes, sizeof(bytes));
        test_run(loop);
        ck_assert_uint_eq(log.finals, 1);
        ck_assert_int_eq(log.last.res, table[i].res);
        ck_assert_uint_ne(log.last.flags & LOOP_BUFFER, 0);
        ck_assert_mem_eq(log.data, bytes, (size_t)table[i].res);
        ck_assert_uint_eq(test_stats(loop).buffers_lent, 0);
        test_read(pair[0], rest, sizeof(bytes) - (size_t)table[i].res);
    }
}
END_TEST

/* Goal: an idle one holds no buffer; the end of the stream brings none. */
START_TEST(idle_and_end)
{
    struct test_log logs[5] = {0};

    for (size_t i = 0; i < TEST_COUNT(logs); i++)
        ck_assert_int_gt(lend(pair[0], 0, test_log_cb, &logs[i]), 0);
    test_turns(loop, 3);
    ck_assert_uint_eq(group_stats().home, BUFFERS);
    ck_assert_uint_eq(test_stats(loop).buffers_lent, 0);
    test_close(pair[1]);
    pair[1] = -1;
    test_run(loop);
    for (size_t i = 0; i < TEST_COUNT(logs); i++)
        test_log_is(&logs[i], 0);
    ck_assert_uint_eq(group_stats().home, BUFFERS);
}
END_TEST

static void hoard(struct loop *of, const struct loop_result *result, void *arg)
{
    loop_buffer *buffer = arg;

    ck_assert_uint_ne(result->flags & LOOP_BUFFER, 0);
    ck_assert_int_eq(loop_buffer_keep(of, result->buffer), 0);
    *buffer = result->buffer;
}

static void take_all(loop_buffer buffers[BUFFERS])
{
    for (uint32_t i = 0; i < BUFFERS; i++) {
        ck_assert_int_gt(lend(pair[0], 0, hoard, &buffers[i]), 0);
        test_write(pair[1], "x", 1);
        test_run(loop);
    }
    ck_assert_uint_eq(group_stats().home, 0);
}

struct order {
    uint32_t count;
    char     bytes[16];
};

static void in_order(struct loop *of, const struct loop_result *result, void *arg)
{
    struct order *order = arg;

    if ((result->flags & LOOP_BUFFER) != 0)
        order->bytes[order->count++] = *(char *)result->data;
    if ((result->flags & LOOP_MORE) != 0)
        ck_assert_int_eq(loop_cancel(of, result->id), 0);
}

/* Goal: with the group empty they wait, multishots and one-shots alike, and go on in the order they came as buffers
 * come back one by one. */
START_TEST(waits_in_order)
{
    enum { OTHERS = 6 };
    loop_buffer  held[BUFFERS];
    struct order order = {0};
    int          others[OTHERS][2];

    take_all(held);
    for (uint32_t i = 0; i < OTHERS; i++) {
        char    byte = (char)('0' + i);
        loop_id id;

        test_socketpair(others[i]);
        test_write(others[i][1], &byte, 1);
        id = i % 2 == 0 ? lend(others[i][0], 0, in_order, &order)
                        : loop_recv_multishot(loop, others[i][0], LOOP_GROUP_DEFAULT, 0, in_order, &order, NULL);
        ck_assert_int_gt(id, 0);
        test_turns(loop, 5);
        ck_assert_uint_eq(group_stats().parked, i + 1);
    }
    ck_assert_uint_eq(order.count, 0);
    ck_assert_int_eq(loop_buffer_return(loop, held[0]), 0);
    test_run(loop);
    ck_assert_uint_eq(order.count, OTHERS);
    ck_assert_mem_eq(order.bytes, "012345", OTHERS);
    ck_assert_int_eq(loop_buffer_return(loop, held[1]), 0);
    for (uint32_t i = 0; i < OTHERS; i++) {
        test_close(others[i][0]);
        test_close(others[i][1]);
    }
}
END_TEST

/* Goal: while the group is empty the end of a stream comes through, and so do a cancel and a deadline; nothing to read
 * is waited for. */
START_TEST(empty_group)
{
    loop_buffer     held[BUFFERS];
    struct test_log end = {0}, canceled = {0}, late = {0}, idle = {0};
    int             others[4][2];
    loop_id         id;

    take_all(held);
    for (int i = 0; i < 4; i++)
        test_socketpair(others[i]);
    shutdown(others[0][1], SHUT_WR);
    ck_assert_int_gt(lend(others[0][0], 0, test_log_cb, &end), 0);
    test_run(loop);
    test_log_is(&end, 0);
    test_write(others[1][1], "x", 1);
    id = lend(others[1][0], 0, test_log_cb, &canceled);
    test_turns(loop, 5);
    ck_assert_uint_eq(group_stats().parked, 1);
    ck_assert_int_eq(loop_cancel(loop, id), 0);
    test_run(loop);
    test_log_is(&canceled, -ECANCELED);
    test_write(others[2][1], "x", 1);
    ck_assert_int_gt(loop_recv(loop, others[2][0], NULL, 0, 0, test_log_cb, &late,
                               LOOP_TERMS(.flags = LOOP_LEND, .timeout_ns = 5 * LOOP_MILLISECOND)),
                     0);
    test_run(loop);
    ck_assert_uint_eq(late.finals, 1);
    ck_assert_int_eq(late.last.res, -ETIMEDOUT);
    ck_assert_uint_ne(late.last.flags & LOOP_TIMED_OUT, 0);
    ck_assert_int_gt(lend(others[3][0], 0, test_log_cb, &idle), 0);
    test_turns(loop, 5);
    ck_assert_uint_eq(idle.count, 0);
    ck_assert_int_eq(loop_buffer_return(loop, held[0]), 0);
    test_write(others[3][1], "y", 1);
    test_run(loop);
    ck_assert_int_eq(idle.last.res, 1);
    ck_assert_int_eq(idle.data[0], 'y');
    ck_assert_int_eq(loop_buffer_return(loop, held[1]), 0);
    for (int i = 0; i < 4; i++) {
        test_close(others[i][0]);
        test_close(others[i][1]);
    }
}
END_TEST

/* Goal: in a chain, and with a linked timeout, an empty group is an error: what hangs on it has ended. */
START_TEST(cannot_wait)
{
    loop_buffer     held[BUFFERS];
    struct test_log chained = {0}, next = {0}, timed = {0};

    take_all(held);
    test_write(pair[1], "x", 1);
    ck_assert_int_eq(loop_chain_begin(loop, 2, 0), 0);
    ck_assert_int_gt(lend(pair[0], 0, test_log_cb, &chained), 0);
    ck_assert_int_gt(loop_nop(loop, test_log_cb, &next, NULL), 0);
    ck_assert_int_eq(loop_chain_end(loop), 0);
    test_run(loop);
    test_log_is(&chained, -ENOBUFS);
    test_log_is(&next, -ECANCELED);
    ck_assert_int_gt(loop_recv(loop, pair[0], NULL, 0, 0, test_log_cb, &timed,
                               LOOP_TERMS(.flags = LOOP_LEND | LOOP_LINKED_TIMEOUT, .timeout_ns = LOOP_SECOND)),
                     0);
    test_run(loop);
    test_log_is(&timed, -ENOBUFS);
    for (uint32_t i = 0; i < BUFFERS; i++)
        ck_assert_int_eq(loop_buffer_return(loop, held[i]), 0);
}
END_TEST

/* Goal: bad uses are refused. */
START_TEST(refused)
{
    char byte;

    ck_assert_int_eq(loop_recv(loop, pair[0], &byte, 1, 0, NULL, NULL, LOOP_TERMS(.flags = LOOP_LEND)), -EINVAL);
    ck_assert_int_eq(loop_recv(loop, pair[0], NULL, 1, 0, NULL, NULL, LOOP_TERMS(.flags = LOOP_LEND, .group = 9)),
                     -EINVAL);
    ck_assert_int_eq(loop_recv(loop, pair[0], NULL, 1, 0, NULL, NULL, LOOP_TERMS(.flags = LOOP_LEND, .group = 64)),
                     -EINVAL);
    ck_assert_int_eq(loop_nop(loop, NULL, NULL, LOOP_TERMS(.flags = LOOP_LEND)), -EINVAL);
    ck_assert_int_eq(loop_send(loop, pair[0], NULL, 0, 0, NULL, NULL, LOOP_TERMS(.flags = LOOP_LEND)), -EINVAL);
}
END_TEST

/* ---- reading */

static loop_id lend_read(int fd, size_t size, int64_t offset, loop_cb *cb, void *arg)
{
    return loop_read(loop, fd, NULL, size, offset, cb, arg, LOOP_TERMS(.flags = LOOP_LEND));
}

/* Goal: files are read at their offsets into lent buffers; at the end the buffer that the kernel has taken for nothing
 * comes home. Method: a file of three buffers and a bit, each piece and the end more often than there are buffers. */
START_TEST(reads_a_file)
{
    enum { BYTES = 3 * SIZE + 10 };
    char path[] = "/tmp/ringloop-lend-XXXXXX", bytes[BYTES];
    int  fd = mkostemp(path, O_CLOEXEC);

    ck_assert_int_ge(fd, 0);
    unlink(path);
    for (uint32_t i = 0; i < BYTES; i++)
        bytes[i] = (char)(i * 7);
    test_write(fd, bytes, BYTES);
    for (uint32_t i = 0; i < 4 * BUFFERS; i++) {
        uint32_t        at = i % 5 * SIZE, left = at < BYTES ? BYTES - at : 0;
        struct test_log log = {0};

        ck_assert_int_gt(lend_read(fd, 0, at, test_log_cb, &log), 0);
        test_run(loop);
        if (left == 0) {
            test_log_is(&log, 0);
        } else {
            ck_assert_int_eq(log.last.res, (int32_t)(left < SIZE ? left : SIZE));
            ck_assert_mem_eq(log.data, bytes + at, (size_t)log.last.res);
        }
        ck_assert_uint_eq(group_stats().home, BUFFERS);
        ck_assert_uint_eq(test_stats(loop).buffers_lent, 0);
    }
    test_close(fd);
}
END_TEST

/* Goal: a read that finds the group empty waits and then reads at its offset; at the end of a pipe no buffer is lost.
 */
START_TEST(reads_wait)
{
    loop_buffer     held[BUFFERS];
    struct test_log log = {0}, end[2 * BUFFERS] = {0};
    char            path[] = "/tmp/ringloop-lend-XXXXXX";
    int             fds[2], fd = mkostemp(path, O_CLOEXEC);

    ck_assert_int_ge(fd, 0);
    unlink(path);
    test_write(fd, "0123456789", 10);
    take_all(held);
    ck_assert_int_gt(lend_read(fd, 3, 4, test_log_cb, &log), 0);
    test_turns(loop, 5);
    ck_assert_uint_eq(log.count, 0);
    ck_assert_uint_eq(group_stats().parked, 1);
    ck_assert_int_eq(loop_buffer_return(loop, held[0]), 0);
    test_run(loop);
    ck_assert_int_eq(log.last.res, 3);
    ck_assert_mem_eq(log.data, "456", 3);
    ck_assert_int_eq(loop_buffer_return(loop, held[1]), 0);
    test_close(fd);

    test_pipe(fds);
    test_close(fds[1]);
    for (size_t i = 0; i < TEST_COUNT(end); i++) {
        ck_assert_int_gt(lend_read(fds[0], 0, 0, test_log_cb, &end[i]), 0);
        test_run(loop);
        test_log_is(&end[i], 0);
        ck_assert_uint_eq(group_stats().home, BUFFERS);
    }
    test_close(fds[0]);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("lend");
    TCase *tcase = test_case(suite, "lend");

    tcase_add_checked_fixture(tcase, setup, pair_teardown);
    tcase_add_test(tcase, receives);
    tcase_add_test(tcase, idle_and_end);
    tcase_add_test(tcase, waits_in_order);
    tcase_add_test(tcase, empty_group);
    tcase_add_test(tcase, cannot_wait);
    tcase_add_test(tcase, refused);
    tcase_add_test(tcase, reads_a_file);
    tcase_add_test(tcase, reads_wait);
    return suite;
}
