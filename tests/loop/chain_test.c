/* tests/loop/chain_test.c: operations that run one after the other. */
#include "tests/loop/pair_world.h"

#include <liburing.h>

static void setup(void)
{
    pair_open(&(struct loop_options){.sq_entries = 16});
}

static loop_id chain_nop(struct test_log *log)
{
    return loop_nop(loop, test_log_cb, log, NULL);
}

/* An operation that fails: receiving from what is not a socket. */
static loop_id chain_failure(struct test_log *log)
{
    static char byte;

    return loop_recv(loop, 3999, &byte, 1, 0, test_log_cb, log, NULL);
}

/* Goal: a chain runs in order. Method: recv of what the send before it sent, then a shutdown; before the first run and
 * later. */
START_TEST(whole)
{
    for (int round = 0; round < 2; round++) {
        struct test_log log[4] = {0};
        char            text[8] = "";

        ck_assert_int_eq(loop_chain_begin(loop, 4, 0), 0);
        ck_assert_int_gt(loop_send(loop, pair[0], "ab", 2, 0, test_log_cb, &log[0], NULL), 0);
        ck_assert_int_gt(loop_recv(loop, pair[1], text, 2, MSG_WAITALL, test_log_cb, &log[1], NULL), 0);
        ck_assert_int_gt(loop_send(loop, pair[1], text, 2, 0, test_log_cb, &log[2], NULL), 0); /* what it received */
        ck_assert_int_gt(loop_recv(loop, pair[0], text + 4, 2, 0, test_log_cb, &log[3], NULL), 0);
        ck_assert_int_eq(loop_chain_end(loop), 0);
        ck_assert_uint_eq(log[0].count, 0);
        test_run(loop);
        for (size_t i = 0; i < TEST_COUNT(log); i++)
            test_log_is(&log[i], 2);
        ck_assert_mem_eq(text + 4, "ab", 2);
    }
}
END_TEST

/* Goal: each waits for the one before, across a wait. Method: a recv that is silent at first, a send behind it. */
START_TEST(waits)
{
    struct test_log log[2] = {0};
    char            byte;

    ck_assert_int_eq(loop_chain_begin(loop, 2, 0), 0);
    ck_assert_int_gt(loop_recv(loop, pair[0], &byte, 1, 0, test_log_cb, &log[0], NULL), 0);
    ck_assert_int_gt(loop_send(loop, pair[0], "z", 1, 0, test_log_cb, &log[1], NULL), 0);
    ck_assert_int_eq(loop_chain_end(loop), 0);
    test_turns(loop, 3);
    ck_assert_int_eq(recv(pair[1], &byte, 1, MSG_DONTWAIT), -1);
    test_write(pair[1], "x", 1);
    test_run(loop);
    test_log_is(&log[0], 1);
    test_log_is(&log[1], 1);
    ck_assert_int_eq(recv(pair[1], &byte, 1, MSG_DONTWAIT), 1);
    ck_assert_int_eq(byte, 'z');
}
END_TEST

/* Goal: a failure cancels the rest of a soft chain, and nothing of a hard one. Method: the second of four fails. */
START_TEST(failure)
{
    struct test_log log[5] = {0};

    ck_assert_int_eq(loop_chain_begin(loop, 4, _i == 0 ? 0 : LOOP_CHAIN_HARD), 0);
    ck_assert_int_gt(chain_nop(&log[0]), 0);
    ck_assert_int_gt(chain_failure(&log[1]), 0);
    ck_assert_int_gt(chain_nop(&log[2]), 0);
    ck_assert_int_gt(chain_nop(&log[3]), 0);
    ck_assert_int_eq(loop_chain_end(loop), 0);
    ck_assert_int_gt(chain_nop(&log[4]), 0); /* behind it, not in it */
    test_run(loop);
    test_log_is(&log[0], 0);
    test_log_is(&log[1], -EBADF);
    test_log_is(&log[2], _i == 0 ? -ECANCELED : 0);
    test_log_is(&log[3], _i == 0 ? -ECANCELED : 0);
    test_log_is(&log[4], 0);
}
END_TEST

/* Goal: two chains one behind the other are two. Method: the first fails, the second must not care. */
START_TEST(two_chains)
{
    struct test_log log[4] = {0};

    ck_assert_int_eq(loop_chain_begin(loop, 2, 0), 0);
    ck_assert_int_gt(chain_failure(&log[0]), 0);
    ck_assert_int_gt(chain_nop(&log[1]), 0);
    ck_assert_int_eq(loop_chain_end(loop), 0);
    ck_assert_int_eq(loop_chain_begin(loop, 2, 0), 0);
    ck_assert_int_gt(chain_nop(&log[2]), 0);
    ck_assert_int_gt(chain_nop(&log[3]), 0);
    ck_assert_int_eq(loop_chain_end(loop), 0);
    test_run(loop);
    test_log_is(&log[0], -EBADF);
    test_log_is(&log[1], -ECANCELED);
    test_log_is(&log[2], 0);
    test_log_is(&log[3], 0);
}
END_TEST

/* Goal: if one fails to start nothing of the chain happens, and the first error is told. Method: a bad descriptor at
 * each place; the loop and a next chain work afterwards. */
START_TEST(dropped_whole)
{
    for (int bad = 0; bad < 3; bad++) {
        struct test_log log[2] = {0};
        uint64_t        started;

        ck_assert_int_eq(loop_chain_begin(loop, 3, 0), 0);
        for (int i = 0; i < 3; i++) {
            loop_id id = i == bad ? loop_recv(loop, -1, log, 1, 0, not_called, NULL, NULL)
                                  : loop_send(loop, pair[0], "x", 1, 0, not_called, NULL, NULL);

            if (i == bad)
                ck_assert_int_eq(id, -EBADF);
        }
        ck_assert_int_eq(loop_chain_end(loop), -EBADF);
        ck_assert(!loop_alive(loop));
        test_run(loop);
        ck_assert_uint_eq(test_stats(loop).ops_in_flight, 0);
        started = test_stats(loop).ops_started;
        ck_assert_uint_eq(started, test_stats(loop).ops_finished);
        ck_assert_int_eq(recv(pair[1], log, 1, MSG_DONTWAIT), -1);

        ck_assert_int_eq(loop_chain_begin(loop, 2, 0), 0);
        ck_assert_int_gt(chain_nop(&log[0]), 0);
        ck_assert_int_gt(chain_nop(&log[1]), 0);
        ck_assert_int_eq(loop_chain_end(loop), 0);
        test_run(loop);
        test_log_is(&log[0], 0);
        test_log_is(&log[1], 0);
    }
}
END_TEST

/* Goal: ids of a dropped chain name nothing. Method: cancel them. */
START_TEST(dropped_ids)
{
    loop_id id;

    ck_assert_int_eq(loop_chain_begin(loop, 2, 0), 0);
    id = loop_nop(loop, not_called, NULL, NULL);
    ck_assert_int_gt(id, 0);
    ck_assert_int_eq(loop_recv(loop, -1, &id, 1, 0, not_called, NULL, NULL), -EBADF);
    ck_assert_int_eq(loop_chain_end(loop), -EBADF);
    ck_assert_int_eq(loop_cancel(loop, id), -ENOENT);
    test_run(loop);
}
END_TEST

/* Goal: a dropped chain gives all its operations back, a timeout of the user's own among them. Method: a raw
 * LINK_TIMEOUT in it; nothing is in flight afterwards, and its id names nothing. */
START_TEST(dropped_with_a_raw_timeout)
{
    struct __kernel_timespec timespec = {.tv_sec = 1};
    struct io_uring_sqe      sqe;
    loop_id                  id;

    memset(&sqe, 0, sizeof(sqe));
    io_uring_prep_link_timeout(&sqe, &timespec, 0);
    ck_assert_int_eq(loop_chain_begin(loop, 4, 0), 0);
    ck_assert_int_gt(loop_nop(loop, not_called, NULL, NULL), 0);
    id = loop_raw(loop, &sqe, not_called, NULL, NULL);
    ck_assert_int_gt(id, 0);
    ck_assert_int_gt(loop_nop(loop, not_called, NULL, LOOP_TERMS(.timeout_ns = LOOP_SECOND)), 0);
    ck_assert_int_eq(loop_recv(loop, -1, &id, 1, 0, not_called, NULL, NULL), -EBADF);
    ck_assert_int_eq(loop_chain_end(loop), -EBADF);
    ck_assert_uint_eq(test_stats(loop).ops_in_flight, 0);
    ck_assert(!loop_alive(loop));
    ck_assert_int_eq(loop_cancel(loop, id), -ENOENT);
    test_run(loop);
}
END_TEST

/* Goal: the errors of begin and end. */
START_TEST(misuse)
{
    struct test_log log = {0};

    ck_assert_int_eq(loop_chain_end(loop), -EINVAL);
    ck_assert_int_eq(loop_chain_begin(loop, 9, 0), -E2BIG);
    ck_assert_int_eq(loop_chain_begin(loop, UINT32_MAX, 0), -E2BIG);
    ck_assert_uint_eq(test_stats(loop).chains_full, 2);
    ck_assert_int_eq(loop_chain_begin(loop, 2, 1u << 5), -EINVAL);
    ck_assert_int_eq(loop_chain_end(loop), -EINVAL); /* none of them opened one */
    ck_assert_int_eq(loop_chain_begin(loop, 8, 0), 0);
    ck_assert_int_eq(loop_chain_begin(loop, 2, 0), -EBUSY);
    ck_assert_int_eq(loop_submit(loop), -EBUSY);
    for (int i = 0; i < 7; i++)
        ck_assert_int_gt(loop_nop(loop, NULL, NULL, NULL), 0);
    ck_assert_int_gt(chain_nop(&log), 0);
    ck_assert_int_eq(loop_chain_end(loop), 0);
    ck_assert_int_eq(loop_chain_end(loop), -EINVAL);
    test_run(loop);
    test_log_is(&log, 0);
    ck_assert_int_eq(loop_chain_begin(loop, 1, 0), 0);
    ck_assert_int_eq(loop_chain_end(loop), 0); /* empty */
    test_run(loop);
}
END_TEST

/* Goal: more operations than reserved are refused, and the chain with them. */
START_TEST(more_than_reserved)
{
    int64_t r;

    ck_assert_int_eq(loop_chain_begin(loop, 2, 0), 0);
    ck_assert_int_gt(loop_nop(loop, not_called, NULL, NULL), 0);
    ck_assert_int_gt(loop_nop(loop, not_called, NULL, NULL), 0);
    r = loop_nop(loop, not_called, NULL, NULL);
    ck_assert_int_lt(r, 0);
    ck_assert_int_eq(loop_chain_end(loop), r);
    test_run(loop);
}
END_TEST

/* Goal: what can't be in a chain is refused there, and drops it. Method: direct mode, multishots, background. */
START_TEST(refused_inside)
{
    int n = loop_handler_register(loop, not_called, NULL, LOOP_GROUP_DEFAULT);

    for (int i = 0; i < 4; i++) {
        loop_id id = 0;

        ck_assert_int_eq(loop_chain_begin(loop, 3, 0), 0);
        ck_assert_int_gt(loop_nop(loop, not_called, NULL, NULL), 0);
        switch (i) {
        case 0: id = loop_nop(loop, LOOP_HANDLER(n), LOOP_VALUE(1), NULL); break;
        case 1: id = loop_recv_multishot(loop, pair[0], 0, 0, not_called, NULL, NULL); break;
        case 2: id = loop_accept_multishot(loop, pair[0], 0, not_called, NULL, NULL); break;
        case 3: id = loop_nop(loop, not_called, NULL, LOOP_TERMS(.flags = LOOP_BACKGROUND)); break;
        }
        ck_assert_msg(id == -EINVAL, "case %d: %d", i, (int)id);
        ck_assert_int_eq(loop_chain_end(loop), -EINVAL);
        test_run(loop);
    }
}
END_TEST

/* Goal: LOOP_UNCHAINED stays out of the chain. Method: it lives on when the chain is dropped, and is not cancelled when
 * it fails. */
START_TEST(unchained)
{
    struct test_log log[5] = {0};

    ck_assert_int_eq(loop_chain_begin(loop, 2, 0), 0);
    ck_assert_int_gt(loop_nop(loop, not_called, NULL, NULL), 0);
    ck_assert_int_gt(loop_nop(loop, test_log_cb, &log[0], LOOP_TERMS(.flags = LOOP_UNCHAINED)), 0);
    ck_assert_int_eq(loop_recv(loop, -1, log, 1, 0, not_called, NULL, NULL), -EBADF);
    ck_assert_int_eq(loop_chain_end(loop), -EBADF);
    test_run(loop);
    test_log_is(&log[0], 0);

    ck_assert_int_eq(loop_chain_begin(loop, 3, 0), 0);
    ck_assert_int_gt(chain_failure(&log[1]), 0);
    ck_assert_int_gt(loop_nop(loop, test_log_cb, &log[2], LOOP_TERMS(.flags = LOOP_UNCHAINED)), 0);
    ck_assert_int_gt(chain_nop(&log[3]), 0);
    ck_assert_int_gt(loop_nop(loop, test_log_cb, &log[4], LOOP_TERMS(.flags = LOOP_UNCHAINED)), 0);
    ck_assert_int_eq(loop_chain_end(loop), 0);
    test_run(loop);
    test_log_is(&log[1], -EBADF);
    test_log_is(&log[2], 0);
    test_log_is(&log[3], -ECANCELED);
    test_log_is(&log[4], 0);
}
END_TEST

/* Goal: a call outside the chain that is refused does not spoil it. Method: LOOP_UNCHAINED calls refused for a
 * descriptor or an argument, between the operations of a chain. */
START_TEST(unchained_refused)
{
    struct test_log     log[2] = {0};
    struct io_uring_sqe sqe;

    memset(&sqe, 0, sizeof(sqe));
    sqe.opcode = IORING_OP_NOP;
    sqe.flags = IOSQE_IO_LINK;
    ck_assert_int_eq(loop_chain_begin(loop, 2, 0), 0);
    ck_assert_int_gt(chain_nop(&log[0]), 0);
    ck_assert_int_eq(loop_recv(loop, -1, log, 1, 0, not_called, NULL, LOOP_TERMS(.flags = LOOP_UNCHAINED)), -EBADF);
    ck_assert_int_eq(loop_close(loop, -1, not_called, NULL, LOOP_TERMS(.flags = LOOP_UNCHAINED)), -EBADF);
    ck_assert_int_eq(loop_recv_multishot(loop, -1, 0, 0, not_called, NULL, LOOP_TERMS(.flags = LOOP_UNCHAINED)),
                     -EBADF);
    ck_assert_int_eq(loop_shutdown(loop, pair[0], 99, not_called, NULL, LOOP_TERMS(.flags = LOOP_UNCHAINED)), -EINVAL);
    ck_assert_int_eq(loop_raw(loop, &sqe, not_called, NULL, LOOP_TERMS(.flags = LOOP_UNCHAINED)), -EINVAL);
    ck_assert_int_gt(chain_nop(&log[1]), 0);
    ck_assert_int_eq(loop_chain_end(loop), 0);
    test_run(loop);
    test_log_is(&log[0], 0);
    test_log_is(&log[1], 0);
}
END_TEST

/* Goal: a deadline inside a chain ends its operation, and the rest as any failure does. Method: a silent recv in soft
 * and hard chains. */
START_TEST(deadline)
{
    struct test_log log[3] = {0};
    char            byte;
    uint64_t        begin = test_clock();

    ck_assert_int_eq(loop_chain_begin(loop, 3, _i == 0 ? 0 : LOOP_CHAIN_HARD), 0);
    ck_assert_int_gt(loop_nop(loop, test_log_cb, &log[0], LOOP_TERMS(.timeout_ns = 3600 * LOOP_SECOND)), 0);
    ck_assert_int_gt(
        loop_recv(loop, pair[0], &byte, 1, 0, test_log_cb, &log[1], LOOP_TERMS(.timeout_ns = 20 * LOOP_MILLISECOND)),
        0);
    ck_assert_int_gt(chain_nop(&log[2]), 0);
    ck_assert_int_eq(loop_chain_end(loop), 0);
    test_run(loop);
    ck_assert_uint_ge(test_clock(), begin + 20 * LOOP_MILLISECOND);
    test_log_is(&log[0], 0);
    ck_assert_uint_eq(log[1].count, 1);
    ck_assert_int_eq(log[1].last.res, -ETIMEDOUT);
    ck_assert_uint_eq(log[1].last.flags, LOOP_TIMED_OUT);
    test_log_is(&log[2], _i == 0 ? -ECANCELED : 0);
    ck_assert_uint_eq(test_stats(loop).deadlines_passed, 1);
}
END_TEST

/* Goal: operations with deadlines fill a chain of the greatest size. Method: SQ/2 nops with a deadline each: SQ SQEs.
 */
START_TEST(greatest_with_deadlines)
{
    struct test_log log[8] = {0};

    ck_assert_int_gt(loop_nop(loop, NULL, NULL, NULL), 0); /* and some of the SQ is taken */
    ck_assert_int_eq(loop_chain_begin(loop, 8, 0), 0);
    for (int i = 0; i < 8; i++)
        ck_assert_int_gt(loop_nop(loop, test_log_cb, &log[i], LOOP_TERMS(.timeout_ns = LOOP_SECOND)), 0);
    ck_assert_int_eq(loop_chain_end(loop), 0);
    test_run(loop);
    for (int i = 0; i < 8; i++)
        test_log_is(&log[i], 0);
}
END_TEST

/* Goal: a chain is never torn by a full SQ. Method: _i other SQEs before it, before the first run or in a callback; the
 * second fails, so a torn chain would let the rest run. */
struct tear {
    struct test_log log[8];
    int             before;
};

static void tear_start(struct tear *tear)
{
    for (int i = 0; i < tear->before; i++)
        ck_assert_int_gt(loop_nop(loop, NULL, NULL, NULL), 0);
    ck_assert_int_eq(loop_chain_begin(loop, 8, 0), 0);
    for (int i = 0; i < 8; i++)
        ck_assert_int_gt(i == 1 ? chain_failure(&tear->log[i]) : chain_nop(&tear->log[i]), 0);
    ck_assert_int_eq(loop_chain_end(loop), 0);
    for (int i = 0; i < tear->before; i++)
        ck_assert_int_gt(loop_nop(loop, NULL, NULL, NULL), 0);
}

static void tear_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    (void)of, (void)result;
    tear_start(arg);
}

START_TEST(not_torn)
{
    for (int round = 0; round < 2; round++) {
        static struct tear tear;

        memset(&tear, 0, sizeof(tear));
        tear.before = _i;
        if (round == 0)
            tear_start(&tear);
        else
            ck_assert_int_gt(loop_nop(loop, tear_cb, &tear, NULL), 0);
        test_run(loop);
        test_log_is(&tear.log[0], 0);
        test_log_is(&tear.log[1], -EBADF);
        for (int i = 2; i < 8; i++)
            test_log_is(&tear.log[i], -ECANCELED);
    }
}
END_TEST

/* Goal: an operation of a chain can be cancelled, which ends the rest. Method: cancel the silent recv at its head,
 * before or after a turn. */
START_TEST(cancel_inside)
{
    struct test_log log[2] = {0};
    char            byte;
    loop_id         id;

    ck_assert_int_eq(loop_chain_begin(loop, 2, 0), 0);
    id = loop_recv(loop, pair[0], &byte, 1, 0, test_log_cb, &log[0], NULL);
    ck_assert_int_gt(chain_nop(&log[1]), 0);
    ck_assert_int_eq(loop_chain_end(loop), 0);
    test_turns(loop, (uint32_t)_i);
    ck_assert_int_eq(loop_cancel(loop, id), 0);
    test_run(loop);
    test_log_is(&log[0], -ECANCELED);
    test_log_is(&log[1], -ECANCELED);
}
END_TEST

static void leave_open(struct loop *of, const struct loop_result *result, void *arg)
{
    (void)result, (void)arg;
    if (loop_chain_begin(of, 2, 0) != 0)
        _exit(1);
}

static void open_in_callback(void *arg)
{
    struct loop *of = test_loop_new(NULL);

    (void)arg;
    (void)loop_nop(of, leave_open, NULL, NULL);
    (void)loop_run(of, LOOP_RUN_DEFAULT);
}

static void open_before_run(void *arg)
{
    struct loop *of = test_loop_new(NULL);

    (void)arg;
    leave_open(of, NULL, NULL);
    (void)loop_run(of, LOOP_RUN_NOWAIT);
}

static void leave_open_at_close(struct loop_stream *stream)
{
    leave_open(loop_stream_loop(stream), NULL, NULL);
}

static void open_in_close_callback(void *arg)
{
    struct loop       *of = test_loop_new(NULL);
    struct loop_stream stream = {0};
    int                fds[2], pending[2];
    char               byte;

    (void)arg;
    test_socketpair(fds);
    test_socketpair(pending);
    (void)loop_recv(of, pending[0], &byte, 1, 0, NULL, NULL, NULL);
    if (loop_stream_open(of, &stream, fds[0], NULL) != 0)
        _exit(1);
    loop_stream_close(&stream, leave_open_at_close);
    (void)loop_run(of, LOOP_RUN_DEFAULT);
}

/* Goal: a chain left open aborts with a message that says so. Method: from a callback, before a run, and from a
 * stream's close callback, in a child. */
START_TEST(left_open_aborts)
{
    static void (*const scenarios[])(void *arg) = {open_in_callback, open_before_run, open_in_close_callback};

    test_expect_abort(scenarios[_i], NULL, "chain");
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("chain");
    TCase *tcase = test_case(suite, "chain");

    tcase_add_checked_fixture(tcase, setup, pair_teardown);
    tcase_add_test(tcase, whole);
    tcase_add_test(tcase, waits);
    tcase_add_loop_test(tcase, failure, 0, 2);
    tcase_add_test(tcase, two_chains);
    tcase_add_test(tcase, dropped_whole);
    tcase_add_test(tcase, dropped_ids);
    tcase_add_test(tcase, dropped_with_a_raw_timeout);
    tcase_add_test(tcase, misuse);
    tcase_add_test(tcase, more_than_reserved);
    tcase_add_test(tcase, refused_inside);
    tcase_add_test(tcase, unchained);
    tcase_add_test(tcase, unchained_refused);
    tcase_add_loop_test(tcase, deadline, 0, 2);
    tcase_add_test(tcase, greatest_with_deadlines);
    tcase_add_loop_test(tcase, not_torn, 0, 16);
    tcase_add_loop_test(tcase, cancel_inside, 0, 2);

    tcase =
        test_case(suite, "open"); /* without a loop in the parent: valgrind does not see that rings are not inherited */
    tcase_add_loop_test(tcase, left_open_aborts, 0, 3);
    return suite;
}
