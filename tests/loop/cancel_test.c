/* tests/loop/cancel_test.c: asking operations to end, at every moment of their lives. */
#include "tests/loop/pair_world.h"

#include <fcntl.h>

/* Goal: what names no operation is -ENOENT. Method: nothing, errors, garbage. */
START_TEST(unknown_ids)
{
    static const loop_id ids[] = {0, -1, -EINVAL, INT64_MIN, INT64_MAX, 1, 2, 3, 5, 6, (loop_id)1 << 40};

    for (size_t i = 0; i < TEST_COUNT(ids); i++)
        ck_assert_int_eq(loop_cancel(loop, ids[i]), -ENOENT);
    test_turns(loop, 1);
    for (size_t i = 0; i < TEST_COUNT(ids); i++)
        ck_assert_int_eq(loop_cancel(loop, ids[i]), -ENOENT);
    ck_assert_uint_eq(test_stats(loop).cancels, 0);
}
END_TEST

/* Goal: a pending operation ends with -ECANCELED, once, not inside the call, and twice asking is once. Method: a silent
 * recv, cancelled after _i turns: 0 is before it was ever submitted. */
START_TEST(pending)
{
    struct test_log log = {0};
    char            byte;
    loop_id         id = loop_recv(loop, pair[0], &byte, 1, 0, test_log_cb, &log, NULL);

    test_turns(loop, (uint32_t)_i);
    ck_assert_int_eq(loop_cancel(loop, id), 0);
    ck_assert_int_eq(loop_cancel(loop, id), 0);
    ck_assert_uint_eq(log.count, 0);
    ck_assert(loop_alive(loop));
    test_run(loop);
    test_log_is(&log, -ECANCELED);
    ck_assert_int_eq(log.last.id, id);
    ck_assert_int_eq(loop_cancel(loop, id), -ENOENT);
    ck_assert_uint_le(test_stats(loop).cancels, 1);
    ck_assert_uint_eq(test_stats(loop).cqes_stale, 0);
}
END_TEST

/* Goal: an operation that has ended is -ENOENT, and its id does not hit a successor in the same slot. Method: nops,
 * then a recv. */
START_TEST(ended)
{
    struct test_log log[2] = {0};
    char            byte;
    loop_id         id = loop_nop(loop, test_log_cb, &log[0], NULL), next;

    test_run(loop);
    ck_assert_int_eq(loop_cancel(loop, id), -ENOENT);
    next = loop_recv(loop, pair[0], &byte, 1, 0, test_log_cb, &log[1], NULL);
    ck_assert_int_eq(loop_cancel(loop, id), -ENOENT);
    test_turns(loop, 2);
    ck_assert_uint_eq(log[1].count, 0);
    ck_assert_int_eq(loop_cancel(loop, next), 0);
    test_run(loop);
    test_log_is(&log[1], -ECANCELED);
}
END_TEST

/* Goal: cancelled too late, an operation ends with its real result. Method: data is there, or a nop; cancel before the
 * turn that submits. */
START_TEST(too_late_or_not)
{
    struct test_log log[2] = {0};
    char            byte = 0;
    loop_id         recv_id, nop_id;

    test_write(pair[1], "x", 1);
    recv_id = loop_recv(loop, pair[0], &byte, 1, 0, test_log_cb, &log[0], NULL);
    nop_id = loop_nop(loop, test_log_cb, &log[1], NULL);
    ck_assert_int_eq(loop_cancel(loop, recv_id), 0);
    ck_assert_int_eq(loop_cancel(loop, nop_id), 0);
    test_run(loop);
    ck_assert_uint_eq(log[0].count, 1);
    ck_assert_uint_eq(log[1].count, 1);
    ck_assert_msg(log[1].last.res == 0 || log[1].last.res == -ECANCELED, "res %d", log[1].last.res);
    if (log[0].last.res == -ECANCELED)
        ck_assert_int_eq(read(pair[0], &byte, 1), 1); /* then the byte is not lost */
    else
        ck_assert_int_eq(log[0].last.res, 1);
    ck_assert_int_eq(byte, 'x');
}
END_TEST

/* Goal: only the one named ends. Method: 200 recvs, every third cancelled; the others get a byte each. */
START_TEST(one_of_many)
{
    enum { COUNT = 200 };
    static struct test_log logs[COUNT];
    static loop_id         ids[COUNT];
    static char            bytes[COUNT];
    uint32_t               cancelled = 0;
    char                   block[COUNT];

    for (int i = 0; i < COUNT; i++)
        ids[i] = loop_recv(loop, pair[0], &bytes[i], 1, 0, test_log_cb, &logs[i], NULL);
    test_turns(loop, 1);
    for (int i = 0; i < COUNT; i += 3, cancelled++)
        ck_assert_int_eq(loop_cancel(loop, ids[i]), 0);
    while (test_stats(loop).ops_in_flight > COUNT - cancelled)
        (void)loop_run(loop, LOOP_RUN_ONCE);
    for (int i = 0; i < COUNT; i++)
        if (i % 3 == 0)
            test_log_is(&logs[i], -ECANCELED);
        else
            ck_assert_uint_eq(logs[i].count, 0);
    memset(block, 'x', sizeof(block));
    test_write(pair[1], block, COUNT - cancelled);
    test_run(loop);
    for (int i = 0; i < COUNT; i++)
        if (i % 3 != 0)
            test_log_is(&logs[i], 1);
    ck_assert_uint_eq(test_stats(loop).cancels, cancelled);
}
END_TEST

/* Goal: a final callback may cancel others, those with results already in the CQ included. Method: ten recvs become
 * ready together; the first callback cancels all the rest. */
struct massacre {
    loop_id  ids[10];
    uint32_t count, cancelled;
};

static void massacre_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    struct massacre *massacre = arg;

    ck_assert_msg(result->res == 1 || result->res == -ECANCELED, "res %d", result->res);
    massacre->cancelled += result->res == -ECANCELED;
    if (massacre->count++ > 0)
        return;
    for (size_t i = 0; i < TEST_COUNT(massacre->ids); i++)
        ck_assert_int_eq(loop_cancel(of, massacre->ids[i]), massacre->ids[i] == result->id ? -ENOENT : 0);
}

START_TEST(from_another_callback)
{
    struct massacre massacre = {0};
    char            bytes[10], rest[10];

    for (size_t i = 0; i < 10; i++)
        massacre.ids[i] = loop_recv(loop, pair[0], &bytes[i], 1, 0, massacre_cb, &massacre, NULL);
    test_turns(loop, 1);
    test_write(pair[1], "0123456789", (size_t)_i);
    test_run(loop);
    ck_assert_uint_eq(massacre.count, 10);
    if (massacre.cancelled > 10 - (uint32_t)_i) /* what the cancelled did not read is still there */
        test_read(pair[0], rest, massacre.cancelled - (10 - (uint32_t)_i));
}
END_TEST

/* Goal: a multishot may be cancelled from inside its own callback; it still ends once. Method: cancel at the first
 * piece, more pieces there. */
static void self_cancel(struct loop *of, const struct loop_result *result, void *arg)
{
    struct test_log *log = arg;

    test_log_cb(of, result, log);
    if (result->flags & LOOP_MORE) {
        ck_assert_int_eq(loop_cancel(of, result->id), 0);
        ck_assert_int_eq(loop_cancel(of, result->id), 0);
    }
}

START_TEST(multishot_from_inside)
{
    struct test_log log = {0};

    if (_i == 0)
        test_write(pair[1], "first", 5);
    ck_assert_int_gt(loop_recv_multishot(loop, pair[0], 0, 0, self_cancel, &log, NULL), 0);
    if (_i == 1) {
        test_turns(loop, 2);
        ck_assert_uint_eq(log.count, 0);
        test_write(pair[1], "first", 5);
    }
    test_run(loop);
    ck_assert_uint_eq(log.finals, 1);
    ck_assert_int_eq(log.last.res, -ECANCELED);
    ck_assert_mem_eq(log.data, "first", 5);
}
END_TEST

/* Goal: no connection is lost between accept and cancel. Method: connect and cancel in every order; count what was
 * delivered and what is still in the backlog. */
static void take_fd(struct loop *of, const struct loop_result *result, void *arg)
{
    (void)of;
    if (result->res >= 0) {
        ++*(uint32_t *)arg;
        test_close(result->res);
    } else {
        ck_assert_int_eq(result->res, -ECANCELED);
    }
}

START_TEST(descriptor_despite_cancel)
{
    uint16_t port;
    int      listener = test_tcp_listener(&port, 16), fd, client;
    uint32_t delivered = 0, waiting = 0, connected = 0;

    ck_assert_int_eq(fcntl(listener, F_SETFL, O_NONBLOCK), 0);
    for (int i = 0; i < 60; i++) {
        loop_id id;

        client = -1;
        if (i % 3 == 0)
            client = test_tcp_connect(port);
        id = i % 2 == 0 ? loop_accept(loop, listener, NULL, NULL, 0, take_fd, &delivered, NULL)
                        : loop_accept_multishot(loop, listener, 0, take_fd, &delivered, NULL);
        ck_assert_int_gt(id, 0);
        if (i % 4 >= 2)
            test_turns(loop, 1);
        if (i % 3 == 1)
            client = test_tcp_connect(port);
        (void)loop_cancel(loop, id); /* -ENOENT if it has ended already */
        if (i % 3 == 2)
            client = test_tcp_connect(port);
        test_run(loop);
        connected++;
        test_close(client);
        while ((fd = accept(listener, NULL, NULL)) >= 0) {
            waiting++;
            test_close(fd);
        }
    }
    ck_assert_uint_eq(delivered + waiting, connected);
    test_close(listener);
}
END_TEST

/* Goal: every kind of long operation can be cancelled. Method: accept, connect with a full backlog, send into a full
 * socket. */
START_TEST(kinds)
{
    uint16_t           port;
    int                listener = test_tcp_listener(&port, 16);
    struct test_log    log[3] = {0};
    char              *bytes = calloc(1, 8 << 20);
    struct sockaddr_in address;
    socklen_t          size = sizeof(address);
    loop_id            id[3];

    id[0] = loop_accept(loop, listener, (struct sockaddr *)&address, &size, 0, test_log_cb, &log[0], NULL);
    id[1] = loop_send(loop, pair[0], bytes, 8 << 20, 0, test_log_cb, &log[1], NULL);
    id[2] = loop_recv(loop, pair[0], bytes, 5, MSG_WAITALL, test_log_cb, &log[2],
                      LOOP_TERMS(.timeout_ns = LOOP_SECOND * 100));
    test_write(pair[1], "abc", 3);
    test_turns(loop, 3);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(loop_cancel(loop, id[i]), 0);
    test_run(loop);
    test_log_is(&log[0], -ECANCELED);
    ck_assert_uint_eq(log[1].count, 1);
    ck_assert_int_gt(log[1].last.res, 0); /* a count reached before is reported as such */
    ck_assert_int_lt(log[1].last.res, 8 << 20);
    test_log_is(&log[2], 3);
    free(bytes);
    test_close(listener);
}
END_TEST

/* Goal: a cancel among more SQEs than the SQ holds works. Method: an SQ of 8 full of nops, all recvs cancelled from a
 * callback. */
struct crowd {
    loop_id  ids[100];
    uint32_t ended;
};

static void crowd_ended(struct loop *of, const struct loop_result *result, void *arg)
{
    (void)of;
    ck_assert_int_eq(result->res, -ECANCELED);
    ((struct crowd *)arg)->ended++;
}

static void crowd_cancel(struct loop *of, const struct loop_result *result, void *arg)
{
    struct crowd *crowd = arg;

    (void)result;
    for (size_t i = 0; i < TEST_COUNT(crowd->ids); i++) {
        ck_assert_int_gt(loop_nop(of, NULL, NULL, NULL), 0);
        ck_assert_int_eq(loop_cancel(of, crowd->ids[i]), 0);
    }
}

START_TEST(with_a_full_queue)
{
    struct loop *small = test_loop_new(&(struct loop_options){.sq_entries = 8});
    struct crowd crowd = {0};
    char         byte;

    for (size_t i = 0; i < TEST_COUNT(crowd.ids); i++)
        crowd.ids[i] = loop_recv(small, pair[0], &byte, 1, 0, crowd_ended, &crowd, NULL);
    if (_i == 0) {
        test_turns(small, 1);
        ck_assert_int_gt(loop_nop(small, crowd_cancel, &crowd, NULL), 0);
    } else { /* not even submitted */
        crowd_cancel(small, NULL, &crowd);
    }
    test_run(small);
    ck_assert_uint_eq(crowd.ended, TEST_COUNT(crowd.ids));
    test_loop_free(small);
}
END_TEST

/* Goal: a cancel that finds its operation in the hands of a kernel worker is not lost. Method: recvs that a worker
 * begins, cancelled at various moments after; no data ever comes, so one that is lost never ends. */
START_TEST(with_a_worker)
{
    for (uint64_t i = 0; i < 2000; i++) {
        struct test_log log = {0};
        char            byte;
        loop_id         id = loop_recv(loop, pair[0], &byte, 1, 0, test_log_cb, &log, LOOP_TERMS(.flags = LOOP_ASYNC));
        uint64_t        begin;

        test_turns(loop, 1);
        begin = test_clock();
        while (test_clock() < begin + i % 60 * LOOP_MICROSECOND)
            ;
        ck_assert_int_eq(loop_cancel(loop, id), 0);
        test_run(loop);
        test_log_is(&log, -ECANCELED);
    }
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("cancel");
    TCase *tcase = test_case(suite, "cancel");

    tcase_add_checked_fixture(tcase, pair_setup, pair_teardown);
    tcase_add_test(tcase, unknown_ids);
    tcase_add_loop_test(tcase, pending, 0, 3);
    tcase_add_test(tcase, ended);
    tcase_add_test(tcase, too_late_or_not);
    tcase_add_test(tcase, one_of_many);
    tcase_add_loop_test(tcase, from_another_callback, 1, 11);
    tcase_add_loop_test(tcase, multishot_from_inside, 0, 2);
    tcase_add_test(tcase, descriptor_despite_cancel);
    tcase_add_test(tcase, kinds);
    tcase_add_loop_test(tcase, with_a_full_queue, 0, 2);
    tcase_add_test(tcase, with_a_worker);
    return suite;
}
