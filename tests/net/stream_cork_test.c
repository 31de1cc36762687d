/* tests/net/stream_cork_test.c: cork and uncork; and writes that are only tried. */
#include "tests/net/net_test.h"

/* What is there arrives in turns: nothing must come. */
static void nothing_comes(struct loop *loop, struct link *link)
{
    uint64_t before = link->peer.read_bytes;

    settle(loop);
    peer_drain(&link->peer, SIZE_MAX);
    ck_assert_uint_eq(link->peer.read_bytes, before);
}

static void everything_comes(struct loop *loop, struct link *link)
{
    pump_until(loop, (peer_drain(&link->peer, SIZE_MAX), link->peer.read_bytes == link->end.write_bytes));
    run_until(loop, link->end.writes_done == link->end.writes_started);
}

/* Goal: a corked stream gathers over turns, and after the uncork all leaves in one send; twice is as once. Method: 20
 * writes in 20 turns; counts what goes to the kernel. */
START_TEST(gathers_over_turns)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;
    uint64_t     before;

    link_open(loop, &link, _i, 1, NULL);
    for (int round = 0; round < 3; round++) {
        ck_assert_int_eq(CALL(loop_stream_cork(&link.end.stream)), 0);
        ck_assert_int_eq(CALL(loop_stream_cork(&link.end.stream)), 0);
        for (uint32_t i = 0; i < 20; i++) {
            ck_assert_int_eq(end_write(&link.end, 100 + i * 50, i % 2), 0);
            test_turns(loop, 1);
        }
        nothing_comes(loop, &link);
        ck_assert_uint_eq(loop_stream_queued(&link.end.stream), 20 * 100 + 190 * 50);
        ck_assert_uint_eq(link.end.writes_done, (unsigned)round * 20);
        before = test_stats(loop).sqes_submitted;
        ck_assert_int_eq(CALL(loop_stream_uncork(&link.end.stream)), 0);
        ck_assert_int_eq(CALL(loop_stream_uncork(&link.end.stream)), 0);
        everything_comes(loop, &link);
        ck_assert_uint_le(test_stats(loop).sqes_submitted - before, 2);
    }
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* Goal: limits count while corked, a shutdown uncorks, and after it there is nothing to cork. */
START_TEST(limit_and_shutdown)
{
    struct loop_stream_options options = {.write_bytes_max = 1000};
    struct loop               *loop = test_loop_new(NULL);
    struct link                link;

    link_open(loop, &link, _i, 1, &options);
    ck_assert_int_eq(CALL(loop_stream_cork(&link.end.stream)), 0);
    ck_assert_int_eq(end_write(&link.end, 600, 0), 0);
    test_turns(loop, 2);
    ck_assert_int_eq(end_write(&link.end, 401, 0), -ENOBUFS);
    ck_assert_int_eq(end_write(&link.end, 400, 0), 0);
    nothing_comes(loop, &link);
    ck_assert_int_eq(CALL(loop_stream_shutdown(&link.end.stream, end_shutdown_cb)), 0);
    ck_assert_int_eq(CALL(loop_stream_cork(&link.end.stream)), -EPIPE);
    run_until(loop, link.end.shutdowns == 1);
    peer_finish(&link.peer);
    ck_assert_uint_eq(link.peer.read_bytes, 1000);
    ck_assert_int_eq(link.end.shutdown_error, 0);
    link_close(loop, &link);
    ck_assert_int_eq(CALL(loop_stream_cork(&link.end.stream)), -EINVAL);
    ck_assert_int_eq(CALL(loop_stream_uncork(&link.end.stream)), -EINVAL);
    test_loop_free(loop);
}
END_TEST

/* Goal: what the kernel has when a stream is corked goes on, what is behind stays. Method: a write that a peer takes
 * slowly, then the cork, then another. */
START_TEST(cork_behind_a_send)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;

    link_open(loop, &link, _i, 1, NULL);
    net_buffers(loop_stream_fd(&link.end.stream), 4096);
    ck_assert_int_eq(end_write(&link.end, 500000, 0), 0);
    settle(loop);
    ck_assert_int_eq(CALL(loop_stream_cork(&link.end.stream)), 0);
    ck_assert_int_eq(end_write(&link.end, 500, 0), 0);
    pump_until(loop, (peer_drain(&link.peer, SIZE_MAX), link.peer.read_bytes == 500000));
    run_until(loop, link.end.writes_done == 1);
    nothing_comes(loop, &link);
    ck_assert_int_eq(CALL(loop_stream_uncork(&link.end.stream)), 0);
    everything_comes(loop, &link);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* Goal: a stream may be corked before it is connected, and closed corked. Method: connects corked, writes; _i 0: a
 * close ends the writes with -ECANCELED, 1: uncorked they arrive. */
START_TEST(cork_while_connecting)
{
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address address;
    int                 listener = net_listen(NET_TCP4, 1, &address);
    struct link         link = {.end = {.write_flow = 2}, .peer = {.read_flow = 2}};

    end_connect(loop, &link.end, &address, NULL);
    ck_assert_int_eq(CALL(loop_stream_cork(&link.end.stream)), 0);
    ck_assert_int_eq(end_write(&link.end, 5000, 0), 0);
    test_turns(loop, 1);
    link.peer.fd = accept(listener, NULL, NULL);
    run_until(loop, link.end.connects == 1);
    nothing_comes(loop, &link);
    if (_i == 1) {
        ck_assert_int_eq(CALL(loop_stream_uncork(&link.end.stream)), 0);
        everything_comes(loop, &link);
    }
    link_close(loop, &link);
    ck_assert_uint_eq(link.end.writes_done, 1);
    ck_assert_int_eq(link.end.write_error, _i == 1 ? 0 : -ECANCELED);
    test_close(listener);
    test_loop_free(loop);
}
END_TEST

static void corking_cb(struct loop_stream *stream, int error, size_t bytes, void *arg)
{
    note_write_cb(stream, error, bytes, arg);
    if (strcmp(arg, "first") == 0)
        ck_assert_int_eq(loop_stream_cork(stream), 0);
}

/* Goal: a cork inside a write's callback holds what is queued behind, if the kernel does not have it yet. */
START_TEST(cork_from_write_callback)
{
    static char  bytes[2] = {'a', 'b'};
    char         got[3] = "";
    struct loop *loop = test_loop_new(NULL);
    struct link  link;

    link_open(loop, &link, _i, 1, NULL);
    must_write(&link.end, bytes, 1, corking_cb, "first", NULL);
    run_until(loop, loop_stream_queued(&link.end.stream) == 0);
    must_write(&link.end, bytes + 1, 1, corking_cb, "second", NULL);
    settle(loop);
    notes_are("write first ok 1");
    ck_assert_int_eq(CALL(loop_stream_uncork(&link.end.stream)), 0);
    run_until(loop, loop_stream_queued(&link.end.stream) == 0);
    notes_are("write second ok 1");
    test_read(link.peer.fd, got, 2);
    ck_assert_str_eq(got, "ab");
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* ---- try */

/* The next bytes of the end's pattern. Returns what the library did. */
static int end_try(struct end *end, size_t size)
{
    static uint8_t bytes[1 << 20];
    int            r;

    ck_assert_uint_le(size, sizeof(bytes));
    pattern_fill(end->write_flow, end->write_bytes, bytes, size);
    r = CALL(loop_stream_try_write(&end->stream, bytes, size));
    memset(bytes, 0xdd, size); /* nothing of it is kept */
    if (r > 0)
        end->write_bytes += (uint64_t)r;
    return r;
}

/* Goal: what is tried leaves at once, without a turn; a full socket takes a part, then nothing; then queued writes go
 * before. Method: tries until -EAGAIN, queues, tries, drains. */
START_TEST(try_until_full)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;
    int          r;

    link_open(loop, &link, _i, 1, NULL);
    ck_assert_int_eq(end_try(&link.end, 100), 100);
    pump_until(loop, (peer_drain(&link.peer, SIZE_MAX), link.peer.read_bytes == 100));
    for (int i = 0; (r = end_try(&link.end, 1 << 20)) > 0; i++)
        ck_assert_int_lt(i, 1000);
    ck_assert_int_eq(r, -EAGAIN);
    ck_assert_uint_eq(loop_stream_queued(&link.end.stream), 0);
    ck_assert_int_eq(end_write(&link.end, 1000, 0), 0);
    peer_drain(&link.peer, SIZE_MAX);
    ck_assert_int_eq(end_try(&link.end, 1), -EAGAIN); /* not before the queued one */
    everything_comes(loop, &link);
    ck_assert_int_eq(end_try(&link.end, 1), 1);
    ck_assert_int_eq(CALL(loop_stream_cork(&link.end.stream)), 0);
    ck_assert_int_eq(end_try(&link.end, 1), -EAGAIN);
    ck_assert_int_eq(CALL(loop_stream_uncork(&link.end.stream)), 0);
    ck_assert_int_eq(end_try(&link.end, 1), 1);
    everything_comes(loop, &link);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* Goal: tries and writes in any mixture keep their order. Method: 2000 of random size, a peer that reads at random.
 * RINGLOOP_SEED repeats a run. */
START_TEST(try_keeps_the_order)
{
    struct loop *loop = test_loop_new(NULL);
    uint64_t     state = test_env("RINGLOOP_SEED", 21) + (uint64_t)_i;
    struct link  link;
    uint32_t     taken = 0;

    link_open(loop, &link, _i, 1, NULL);
    net_buffers(loop_stream_fd(&link.end.stream), 4096);
    for (int i = 0; i < 2000; i++) {
        size_t size = 1 + test_random(&state) % 3000;

        if (test_random(&state) % 2 == 0)
            ck_assert_int_eq(end_write(&link.end, size, 0), 0);
        else
            taken += end_try(&link.end, size) > 0;
        test_turns(loop, (uint32_t)(test_random(&state) % 3));
        peer_drain(&link.peer, test_random(&state) % 9000);
    }
    everything_comes(loop, &link);
    ck_assert_uint_gt(taken, 0);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* Goal: several pieces may be tried, and senseless arguments are refused. */
START_TEST(try_arguments)
{
    static char  bytes[3] = "abc";
    struct iovec iov[1025], big[2] = {{bytes, INT32_MAX}, {bytes, 1}};
    struct loop *loop = test_loop_new(NULL);
    struct link  link;
    char         got[4] = "";

    link_open(loop, &link, _i, 1, NULL);
    for (size_t i = 0; i < TEST_COUNT(iov); i++)
        iov[i] = (struct iovec){bytes + i % 3, 1};
    ck_assert_int_eq(CALL(loop_stream_try_writev(&link.end.stream, iov, 3)), 3);
    ck_assert_int_eq(CALL(loop_stream_try_writev(&link.end.stream, iov, 0)), -EINVAL);
    ck_assert_int_eq(CALL(loop_stream_try_writev(&link.end.stream, iov, 1025)), -EINVAL);
    ck_assert_int_eq(CALL(loop_stream_try_writev(&link.end.stream, NULL, 1)), -EINVAL);
    ck_assert_int_eq(CALL(loop_stream_try_writev(&link.end.stream, big, 2)), -EINVAL);
    ck_assert_int_eq(CALL(loop_stream_try_write(&link.end.stream, bytes, 0)), -EINVAL);
    ck_assert_int_eq(CALL(loop_stream_try_write(&link.end.stream, NULL, 1)), -EINVAL);
    test_read(link.peer.fd, got, 3);
    ck_assert_str_eq(got, "abc");
    ck_assert_int_eq(CALL(loop_stream_shutdown(&link.end.stream, end_shutdown_cb)), 0);
    ck_assert_int_eq(CALL(loop_stream_try_write(&link.end.stream, bytes, 1)), -EPIPE);
    run_until(loop, link.end.shutdowns == 1);
    ck_assert_int_eq(CALL(loop_stream_try_write(&link.end.stream, bytes, 1)), -EPIPE);
    link_close(loop, &link);
    ck_assert_int_eq(CALL(loop_stream_try_write(&link.end.stream, bytes, 1)), -EINVAL);
    test_loop_free(loop);
}
END_TEST

/* Goal: before the connection stands nothing is taken; when the peer is gone the errno says so, without SIGPIPE. */
START_TEST(try_without_a_peer)
{
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address address;
    int                 listener = net_listen(_i, 1, &address), fd, r;
    struct end          end = {.write_flow = 2};

    end_connect(loop, &end, &address, NULL);
    ck_assert_int_eq(end_try(&end, 1), -EAGAIN);
    run_until(loop, end.connects == 1);
    fd = accept(listener, NULL, NULL);
    ck_assert_int_eq(end_try(&end, 1), 1);
    net_reset(fd);
    for (int i = 0; (r = end_try(&end, 1)) == 1; i++) {
        ck_assert_int_lt(i, 100);
        settle(loop);
    }
    ck_assert_msg(r == -ECONNRESET || r == -EPIPE, "%s", error_text(r));
    end_close(&end);
    run_until(loop, end.closes == 1);
    test_close(listener);
    test_loop_free(loop);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("net/stream_cork");
    TCase *tcase = test_case(suite, "cork");
    int    kinds = net_kinds();

    tcase_add_loop_test(tcase, gathers_over_turns, 0, kinds);
    tcase_add_loop_test(tcase, limit_and_shutdown, 0, kinds);
    tcase_add_loop_test(tcase, cork_behind_a_send, 0, kinds);
    tcase_add_loop_test(tcase, cork_while_connecting, 0, 2);
    tcase_add_loop_test(tcase, cork_from_write_callback, 0, kinds);
    tcase = test_case(suite, "try");
    tcase_add_loop_test(tcase, try_until_full, 0, kinds);
    tcase_add_loop_test(tcase, try_keeps_the_order, 0, kinds);
    tcase_add_loop_test(tcase, try_arguments, 0, kinds);
    tcase_add_loop_test(tcase, try_without_a_peer, 0, kinds);
    return suite;
}
