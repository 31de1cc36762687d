/* tests/net/stream_zero_copy_test.c: borrowed writes that leave by zero-copy; over unix sockets the fallback. */
#include "tests/net/net_test.h"

#include <ringloop/opcode.h>

enum { MIB = 1 << 20, LEAST = 5000 };

static const struct loop_stream_options options = {.zero_copy_min = LEAST};

static uint64_t zero_copy_sends(const struct loop *loop)
{
    struct loop_op_stats one = {0}, many = {0};

    ck_assert_int_eq(loop_op_stats_get(loop, LOOP_OP_SEND_ZC, &one), 0);
    ck_assert_int_eq(loop_op_stats_get(loop, LOOP_OP_SENDMSG_ZC, &many), 0);
    return one.started + many.started;
}

static void everything_comes(struct loop *loop, struct link *link)
{
    pump_until(loop, (peer_drain(&link->peer, SIZE_MAX), link->peer.read_bytes == link->end.write_bytes));
    run_until(loop, link->end.writes_done == link->end.writes_started);
    ck_assert_uint_eq(link->end.writes_failed, 0);
    ck_assert_uint_eq(loop_stream_queued(&link->end.stream), 0);
}

/* Goal: only borrowed writes of at least the size given leave so, all arrive whole and come back once. Method: sizes
 * around the mark, borrowed, copied and in pieces; counts the operations. Over unix sockets the first falls back, and
 * the rest is not tried. */
START_TEST(which_and_whole)
{
    static const struct {
        size_t   size;
        uint32_t flags, sends;
    } cases[] = {
        {LEAST - 1, 0, 0}, {LEAST, 0, 1}, {LEAST, LOOP_WRITE_COPY, 0}, {MIB, 0, 1}, {MIB + 1, 0, 2}, {4 * MIB, 0, 4},
    };
    struct loop *loop = test_loop_new(NULL);
    struct link  link;

    link_open(loop, &link, _i, 1, &options);
    for (size_t i = 0; i < TEST_COUNT(cases); i++) {
        uint64_t before = zero_copy_sends(loop);

        ck_assert_int_eq(end_write(&link.end, cases[i].size, cases[i].flags), 0);
        everything_comes(loop, &link);
        if (_i == NET_UNIX)
            ck_assert_uint_le(zero_copy_sends(loop), 1);
        else
            ck_assert_uint_ge(zero_copy_sends(loop) - before, cases[i].sends);
        if (cases[i].sends == 0)
            ck_assert_uint_eq(zero_copy_sends(loop), before);
    }
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* Goal: in any mixture bytes and callbacks keep their order. Method: random sizes and flags, a slow peer.
 * RINGLOOP_SEED repeats a run. */
START_TEST(order)
{
    struct loop *loop = test_loop_new(NULL);
    uint64_t     state = test_env("RINGLOOP_SEED", 51) + (uint64_t)_i;
    struct link  link;

    link_open(loop, &link, _i, 1, &options);
    while (link.end.writes_started < 400) {
        for (uint64_t burst = test_random(&state) % 10; burst > 0; burst--) {
            size_t size = 1 + test_random(&state) % (test_random(&state) % 3 == 0 ? 60000 : 3000);

            ck_assert_int_eq(end_write(&link.end, size, (uint32_t)(test_random(&state) % 2)), 0);
        }
        test_turns(loop, (uint32_t)(test_random(&state) % 3));
        peer_drain(&link.peer, test_random(&state) % 100000);
    }
    everything_comes(loop, &link);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* Goal: a shutdown comes after all callbacks. */
START_TEST(shut_down)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;

    link_open(loop, &link, _i, 1, &options);
    ck_assert_int_eq(end_write(&link.end, 3 * MIB, 0), 0);
    ck_assert_int_eq(end_write(&link.end, 10, 0), 0);
    ck_assert_int_eq(CALL(loop_stream_shutdown(&link.end.stream, end_shutdown_cb)), 0);
    pump_until(loop, (peer_drain(&link.peer, SIZE_MAX), link.peer.ended));
    run_until(loop, link.end.shutdowns == 1); /* which checks that the writes are done */
    ck_assert_int_eq(link.end.shutdown_error, 0);
    ck_assert_uint_eq(link.peer.read_bytes, 3 * MIB + 10);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* Goal: with a peer that does not read, a reset ends everything at once; a close when the peer has read. Method: _i %
 * 2: reset or close; after some turns. */
START_TEST(ends_with_a_peer_that_does_not_read)
{
    for (uint32_t turns = 0; turns < 12; turns++) {
        struct loop *loop = test_loop_new(NULL);
        struct link  link;

        link_open(loop, &link, _i / 2 == 0 ? NET_TCP4 : NET_UNIX, 1, &options);
        for (int i = 0; i < 4; i++)
            ck_assert_int_eq(end_write(&link.end, 3 * MIB, 0), 0);
        for (uint32_t i = 0; i < turns; i++)
            pump_once(loop);
        if (_i % 2 == 0) {
            loop_stream_reset(&link.end.stream, end_close_cb);
            run_until(loop, link.end.closes == 1);
        } else {
            loop_stream_close(&link.end.stream, end_close_cb);
            pump_until(loop, (peer_drain(&link.peer, SIZE_MAX), link.end.closes == 1));
        }
        ck_assert_uint_eq(link.end.writes_done, 4);
        link_close(loop, &link);
        test_loop_free(loop);
    }
}
END_TEST

/* Goal: a peer that resets, or a loop that is destroyed: each write ends once. Method: _i 0: reset, 1: destroy when the
 * peer has read. */
START_TEST(ends_otherwise)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;

    link_open(loop, &link, NET_TCP4, 1, &options);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(end_write(&link.end, 3 * MIB, 0), 0);
    settle(loop);
    if (_i == 0) {
        net_reset(link.peer.fd);
        link.peer.fd = -1;
        run_until(loop, link.end.writes_done == 4);
        ck_assert_int_lt(link.end.write_error, 0);
        link_close(loop, &link);
        test_loop_free(loop);
        return;
    }
    pump_until(loop, (peer_drain(&link.peer, SIZE_MAX), link.end.writes_done >= 2));
    net_reset(link.peer.fd);
    test_loop_drop(loop);
    ck_assert_uint_eq(link.end.writes_done, 4);
}
END_TEST

/* Goal: what has not left can be cancelled, and the first comes whole. */
START_TEST(cancel)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;
    static char  bytes[8 * MIB];

    link_open(loop, &link, _i, 1, &options);
    must_write(&link.end, bytes, sizeof(bytes), note_write_cb, "big", NULL);
    must_write(&link.end, bytes, LEAST, note_write_cb, "second", NULL);
    must_write(&link.end, bytes, 1, note_write_cb, "third", NULL);
    settle(loop);
    ck_assert_int_eq(CALL(loop_stream_write_cancel(&link.end.stream, "second")), 1);
    settle(loop);
    notes_are("write second ECANCELED 0");
    for (uint64_t sum = 0; sum < sizeof(bytes) + 1;) {
        static char got[65536];
        ssize_t     n = recv(link.peer.fd, got, sizeof(got), MSG_DONTWAIT);

        sum += n > 0 ? (uint64_t)n : 0;
        if (n <= 0)
            pump_once(loop);
    }
    run_until(loop, loop_stream_queued(&link.end.stream) == 0);
    settle(loop);
    notes_are("write big ok 8388608; write third ok 1");
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("net/stream_zero_copy");
    TCase *tcase = test_case(suite, "zero-copy");
    int    kinds = net_kinds();

    tcase_add_loop_test(tcase, which_and_whole, 0, kinds);
    tcase_add_loop_test(tcase, order, 0, kinds);
    tcase_add_loop_test(tcase, shut_down, 0, kinds);
    tcase_add_loop_test(tcase, ends_with_a_peer_that_does_not_read, 0, 4);
    tcase_add_loop_test(tcase, ends_otherwise, 0, 2);
    tcase_add_loop_test(tcase, cancel, 0, kinds);
    return suite;
}
