/* tests/loop/restriction_test.c: loops that are locked to some operations. */
#include "tests/support/test.h"

#include <liburing.h>

static const uint8_t            opcodes[] = {LOOP_OP_NOP,     LOOP_OP_RECV,   LOOP_OP_SEND,
                                             LOOP_OP_SENDMSG, LOOP_OP_ACCEPT, LOOP_OP_CONNECT};
static struct loop_restrictions list = {.opcodes = opcodes, .opcodes_count = TEST_COUNT(opcodes)};
static struct loop             *loop;

static void setup(void)
{
    loop = test_loop_new(&(struct loop_options){.sq_entries = 16, .modes = {.restrictions = &list}});
    ck_assert(loop_features_get(loop)->restricted);
}

static void teardown(void)
{
    test_loop_free(loop);
}

static void count_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    (void)of;
    ck_assert_int_eq(result->res, 0);
    ++*(uint32_t *)arg;
}

/* Goal: what is not in the list fails at once, before the first run and after it, in every way to start it; a chain
 * with it is dropped. */
START_TEST(forbidden)
{
    struct io_uring_sqe raw = {.opcode = IORING_OP_SOCKET}, foreign = {.opcode = IORING_OP_SOCKET, .user_data = 3};
    uint32_t            count = 0;

    if (_i == 1)
        test_turns(loop, 1);
    ck_assert_int_eq(loop_handler_register(loop, count_cb, &count, 0), 1);
    ck_assert_int_eq(loop_socket(loop, AF_UNIX, SOCK_STREAM, 0, count_cb, &count, NULL), -EACCES);
    ck_assert_int_eq(loop_socket(loop, AF_UNIX, SOCK_STREAM, 0, count_cb, &count, LOOP_TERMS(.timeout_ns = 1)),
                     -EACCES);
    ck_assert_int_eq(loop_socket(loop, AF_UNIX, SOCK_STREAM, 0, LOOP_HANDLER(1), NULL, NULL), -EACCES);
    ck_assert_int_eq(loop_poll_add(loop, 0, 1, count_cb, &count, NULL), -EACCES); /* the loop itself may */
    ck_assert_int_eq(loop_raw(loop, &raw, count_cb, &count, NULL), -EACCES);
    ck_assert_int_eq(loop_foreign_submit(loop, &foreign), -EACCES);
    ck_assert_int_eq(loop_chain_begin(loop, 2, 0), 0);
    ck_assert_int_gt(loop_nop(loop, count_cb, &count, NULL), 0);
    ck_assert_int_eq(loop_socket(loop, AF_UNIX, SOCK_STREAM, 0, count_cb, &count, NULL), -EACCES);
    ck_assert_int_eq(loop_chain_end(loop), -EACCES);
    test_run(loop);
    ck_assert_uint_eq(count, 0);
}
END_TEST

/* Goal: from the first run on the kernel itself refuses what would widen the rights: new credentials. */
START_TEST(forbidden_calls)
{
    int id = loop_personality_register(loop);

    ck_assert_int_gt(id, 0); /* not yet enabled */
    test_turns(loop, 1);
    ck_assert_int_eq(loop_personality_register(loop), -EACCES);
    ck_assert_int_eq(loop_personality_unregister(loop, id), 0);
}
END_TEST

/* Goal: what is in the list works in all its forms, with what the loop needs for it: wakes, cancels, deadlines, linked
 * timeouts, buffers, multishots. */
START_TEST(allowed)
{
    struct test_log late = {0}, linked = {0}, canceled = {0}, stream = {0};
    static char     byte;
    uint32_t        count = 0;
    loop_id         id;
    int             fds[2];

    test_socketpair(fds);
    for (uint32_t i = 0; i < 100; i++)
        ck_assert_int_gt(loop_nop(loop, count_cb, &count, NULL), 0);
    ck_assert_int_gt(
        loop_recv(loop, fds[0], &byte, 1, 0, test_log_cb, &late, LOOP_TERMS(.timeout_ns = LOOP_MILLISECOND)), 0);
    ck_assert_int_gt(loop_recv(loop, fds[0], &byte, 1, 0, test_log_cb, &linked,
                               LOOP_TERMS(.timeout_ns = LOOP_MILLISECOND, .flags = LOOP_LINKED_TIMEOUT)),
                     0);
    id = loop_recv(loop, fds[0], &byte, 1, 0, test_log_cb, &canceled, NULL);
    test_turns(loop, 1);
    ck_assert_int_eq(loop_cancel(loop, id), 0);
    test_run(loop);
    ck_assert_uint_eq(count, 100);
    ck_assert_int_eq(late.last.res, -ETIMEDOUT);
    ck_assert_int_eq(linked.last.res, -ETIMEDOUT);
    ck_assert_int_eq(canceled.last.res, -ECANCELED);
    ck_assert_int_gt(loop_recv_multishot(loop, fds[0], LOOP_GROUP_DEFAULT, 0, test_log_cb, &stream, NULL), 0);
    test_write(fds[1], "abc", 3);
    test_run_until(loop, &stream.count, 1);
    test_close(fds[1]);
    test_run(loop);
    ck_assert_uint_eq(stream.bytes, 3);
    test_close(fds[0]);
}
END_TEST

static void close_cb(struct loop_stream *stream)
{
    ++*(uint32_t *)stream->data;
}

static void read_cb(struct loop_stream *stream, const struct loop_result *result)
{
    ck_assert_int_eq(result->res, 5);
    loop_stream_close(stream, close_cb);
}

static void wrote_cb(struct loop_stream *stream, int error, size_t bytes, void *arg)
{
    ck_assert_int_eq(error, 0);
    ck_assert_uint_eq(bytes, 5);
    ++*(uint32_t *)arg;
    loop_stream_close(stream, close_cb);
}

/* Goal: streams on a list that has what they need. */
START_TEST(streams)
{
    struct loop_stream one = {0}, other = {0};
    uint32_t           closed = 0, wrote = 0;
    int                fds[2];

    one.data = other.data = &closed;
    test_socketpair(fds);
    ck_assert_int_eq(loop_stream_open(loop, &one, fds[0], NULL), 0);
    ck_assert_int_eq(loop_stream_open(loop, &other, fds[1], NULL), 0);
    ck_assert_int_eq(loop_stream_read_start(&one, read_cb), 0);
    ck_assert_int_eq(loop_stream_write(&other, "hello", 5, wrote_cb, &wrote, NULL), 0);
    test_run(loop);
    ck_assert_uint_eq(closed, 2);
    ck_assert_uint_eq(wrote, 1);
}
END_TEST

/* Goal: an empty list allows nothing; the list is copied; bad ones are refused. */
START_TEST(lists)
{
    uint8_t                  one[] = {LOOP_OP_NOP, LOOP_OP_NOP, 255};
    struct loop_restrictions own = {.opcodes = one, .opcodes_count = 3}, none = {0}, bad = {.reserved = 1};
    struct loop_options      options = {.modes = {.restrictions = &own}, .allocator = test_allocator()};
    struct loop             *other = NULL;
    uint32_t                 count = 0;

    ck_assert_int_eq(loop_create(&other, &options), 0);
    memset(one, 77, sizeof(one));
    memset(&own, 77, sizeof(own));
    ck_assert_int_gt(loop_nop(other, count_cb, &count, NULL), 0);
    test_run(other);
    ck_assert_uint_eq(count, 1);
    ck_assert_int_eq(loop_close(other, 1000, NULL, NULL, NULL), -EACCES);
    test_loop_free(other);
    options.modes.restrictions = &none;
    ck_assert_int_eq(loop_create(&other, &options), 0);
    ck_assert_int_eq(loop_nop(other, count_cb, &count, NULL), -EACCES);
    test_loop_free(other);
    options.modes.restrictions = &bad;
    ck_assert_int_eq(loop_create(&other, &options), -EINVAL);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("restriction");
    TCase *tcase = test_case(suite, "restriction");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, forbidden, 0, 2);
    tcase_add_test(tcase, forbidden_calls);
    tcase_add_test(tcase, allowed);
    tcase_add_test(tcase, streams);
    tcase_add_test(tcase, lists);
    return suite;
}
