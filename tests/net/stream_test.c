/* tests/net/stream_test.c: streams: opening and reading. Buffers are in stream_buffer_test.c, writing in
 * stream_write_test.c. */
#include "tests/net/net_test.h"

#include <netinet/tcp.h>

/* Goal: what the peer sends arrives byte for byte, in order. Method: 3 MiB of a pattern, in pieces as they fit the
 * socket. */
START_TEST(data_arrives)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;

    link_open(loop, &link, _i, 1, NULL);
    end_read_start(&link.end);
    pump_until(loop, peer_feed(&link.peer, 3 << 20) && link.end.read_bytes == 3 << 20);
    settle(loop);
    ck_assert_uint_eq(link.end.read_bytes, 3 << 20);
    ck_assert_uint_eq(link.end.read_ends, 0);
    ck_assert_uint_eq(test_stats(loop).buffers_lent, 0);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* Goal: data that was there before reading began is read, however small the pieces. Method: 100 single bytes with turns
 * between, the first half before the start. */
START_TEST(small_pieces)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;

    link_open(loop, &link, _i, 1, NULL);
    for (uint64_t sent = 1; sent <= 100; sent++) {
        if (sent == 50)
            end_read_start(&link.end);
        ck_assert(peer_feed(&link.peer, sent));
        if (sent < 50)
            test_turns(loop, 1);
        else
            run_until(loop, link.end.read_bytes == sent);
    }
    ck_assert_uint_ge(link.end.reads, 50);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* Goal: the end of the peer's half is told once, after all data, and writing goes on. Method: the peer shuts down, then
 * reads our answer. */
START_TEST(end_then_writing)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;

    link_open(loop, &link, _i, 1, NULL);
    end_read_start(&link.end);
    ck_assert(peer_feed(&link.peer, 1000));
    ck_assert_int_eq(shutdown(link.peer.fd, SHUT_WR), 0);
    run_until(loop, link.end.read_ends == 1);
    ck_assert_int_eq(link.end.read_error, 0);
    ck_assert_uint_eq(link.end.read_bytes, 1000);

    ck_assert_int_eq(CALL(loop_stream_read_start(&link.end.stream, end_read_cb)), -ENOTCONN);
    ck_assert_int_eq(end_write(&link.end, 100000, 0), 0);
    pump_until(loop, (peer_drain(&link.peer, SIZE_MAX), link.peer.read_bytes == 100000));
    run_until(loop, link.end.writes_done == 1);
    settle(loop);
    ck_assert_uint_eq(link.end.read_ends, 1);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* Goal: a reset is told once, as -ECONNRESET, and ends reading. Method: the peer closes with unread data, and tcp sends
 * RST. */
START_TEST(reset_by_peer)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;

    link_open(loop, &link, _i, 1, NULL);
    end_read_start(&link.end);
    ck_assert_int_eq(end_write(&link.end, 10, 0), 0);
    run_until(loop, link.end.writes_done == 1);
    ck_assert_uint_eq(link.end.read_ends, 0);
    net_reset(link.peer.fd);
    link.peer.fd = -1;
    run_until(loop, link.end.read_ends == 1);
    ck_assert_int_eq(link.end.read_error, -ECONNRESET);
    ck_assert_int_eq(CALL(loop_stream_read_start(&link.end.stream, end_read_cb)), -ENOTCONN);
    settle(loop);
    ck_assert_uint_eq(link.end.read_ends, 1);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* ---- pause and resume */

static bool stopped;

static void stopping_read_cb(struct loop_stream *stream, const struct loop_result *result)
{
    ck_assert_msg(!stopped, "read callback after read_stop");
    end_read_cb(stream, result);
    ck_assert_int_eq(CALL(loop_stream_read_stop(stream)), 0);
    stopped = true;
}

static void restart(struct end *end)
{
    stopped = false;
    ck_assert_int_eq(CALL(loop_stream_read_start(&end->stream, stopping_read_cb)), 0);
}

/* Goal: after a stop inside the callback no other comes, however much is under way, and nothing is lost. Method: every
 * callback stops; started again after some turns, until 256 KiB and the end have come. */
START_TEST(stop_inside_the_callback)
{
    struct loop_options options = {.buffer_size = 4096};
    struct loop        *loop = test_loop_new(&options);
    struct link         link;
    bool                fed = false;

    link_open(loop, &link, _i, 1, NULL);
    restart(&link.end);
    while (link.end.read_ends == 0) {
        if (!fed && peer_feed(&link.peer, 256 << 10)) {
            ck_assert_int_eq(shutdown(link.peer.fd, SHUT_WR), 0);
            fed = true;
        }
        pump_until(loop, stopped);
        test_turns(loop, 3);
        if (link.end.read_ends == 0)
            restart(&link.end);
    }
    ck_assert(fed);
    ck_assert_uint_eq(link.end.read_bytes, 256 << 10);
    ck_assert_uint_ge(link.end.reads, 64);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

static void bouncing_read_cb(struct loop_stream *stream, const struct loop_result *result)
{
    end_read_cb(stream, result);
    if (result->res <= 0)
        return;
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(CALL(loop_stream_read_stop(stream)), 0);
        ck_assert_int_eq(CALL(loop_stream_read_stop(stream)), 0); /* idempotent */
        ck_assert_int_eq(CALL(loop_stream_read_start(stream, bouncing_read_cb)), 0);
    }
}

/* Goal: stop and start in one callback lose and double nothing. Method: every callback does it several times, over 1
 * MiB. */
START_TEST(stop_and_start_in_one_callback)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;

    link_open(loop, &link, _i, 1, NULL);
    ck_assert_int_eq(CALL(loop_stream_read_start(&link.end.stream, bouncing_read_cb)), 0);
    pump_until(loop, peer_feed(&link.peer, 1 << 20) && link.end.read_bytes == 1 << 20);
    ck_assert_int_eq(shutdown(link.peer.fd, SHUT_WR), 0);
    run_until(loop, link.end.read_ends == 1);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* Goal: the same from outside callbacks, with data under way at every stage. Method: random sizes, stops and turns;
 * while stopped nothing may come; in the end everything has come in order. RINGLOOP_SEED repeats a run. */
START_TEST(stop_outside)
{
    struct loop_options options = {.buffer_size = 512, .buffer_count = 64};
    struct loop        *loop = test_loop_new(&options);
    uint64_t            state = test_env("RINGLOOP_SEED", 7) + (uint64_t)_i, total = 0;
    struct link         link;

    link_open(loop, &link, _i, 1, NULL);
    for (int round = 0; round < 2000; round++) {
        uint64_t read_before;

        end_read_start(&link.end);
        test_turns(loop, (uint32_t)(test_random(&state) % 3));
        if (peer_feed(&link.peer, total))
            total += test_random(&state) % 3000;
        peer_feed(&link.peer, total);
        test_turns(loop, (uint32_t)(test_random(&state) % 2));
        ck_assert_int_eq(CALL(loop_stream_read_stop(&link.end.stream)), 0);
        read_before = link.end.read_bytes;
        test_turns(loop, (uint32_t)(test_random(&state) % 3));
        ck_assert_uint_eq(link.end.read_bytes, read_before);
    }
    settle(loop);
    end_read_start(&link.end);
    pump_until(loop, peer_feed(&link.peer, total) && link.end.read_bytes == total);
    ck_assert_uint_gt(total, 1000000);
    settle(loop);
    ck_assert_uint_eq(test_stats(loop).buffers_lent, 0);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* Goal: a stream stopped with received data in hand gives all of it up at close, and may be closed without ever going
 * on. Method: data is under way when it is stopped, from outside (i even) or in the first callback, with more received
 * behind it; then turns, then close. */
START_TEST(close_while_stopped)
{
    struct loop_options options = {.buffer_size = 1024};
    struct loop        *loop = test_loop_new(&options);
    struct link         link;

    link_open(loop, &link, _i / 2, 1, NULL);
    restart(&link.end);
    test_turns(loop, 2);
    ck_assert(peer_feed(&link.peer, 20000));
    if (_i % 2 == 0)
        ck_assert_int_eq(CALL(loop_stream_read_stop(&link.end.stream)), 0);
    else
        run_until(loop, stopped);
    settle(loop);
    ck_assert_uint_eq(link.end.reads, (unsigned)_i % 2);
    link_close(loop, &link);
    ck_assert_uint_eq(link.end.reads, (unsigned)_i % 2);
    ck_assert_uint_eq(test_stats(loop).buffers_lent, 0);
    test_loop_free(loop);
}
END_TEST

/* Goal: the end and a reset that came while stopped are told after the start, behind the data. Method: data and then
 * the end while stopped. */
START_TEST(end_while_stopped)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;

    link_open(loop, &link, _i, 1, NULL);
    end_read_start(&link.end);
    test_turns(loop, 2);
    ck_assert(peer_feed(&link.peer, 1000));
    ck_assert_int_eq(CALL(loop_stream_read_stop(&link.end.stream)), 0);
    ck_assert_int_eq(shutdown(link.peer.fd, SHUT_WR), 0);
    settle(loop);
    ck_assert_uint_eq(link.end.reads + link.end.read_ends, 0);
    end_read_start(&link.end);
    run_until(loop, link.end.read_ends == 1);
    ck_assert_uint_eq(link.end.read_bytes, 1000);
    ck_assert_int_eq(link.end.read_error, 0);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

static uint32_t first_reads;

static void first_read_cb(struct loop_stream *stream, const struct loop_result *result)
{
    first_reads++;
    end_read_cb(stream, result);
}

/* Goal: starting twice is no error and reads nothing twice; the later callback counts. Method: starts with one, then
 * another. */
START_TEST(start_twice)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;

    link_open(loop, &link, _i, 1, NULL);
    ck_assert_int_eq(CALL(loop_stream_read_start(&link.end.stream, first_read_cb)), 0);
    ck_assert_int_eq(CALL(loop_stream_read_start(&link.end.stream, first_read_cb)), 0);
    ck_assert(peer_feed(&link.peer, 5000));
    run_until(loop, link.end.read_bytes == 5000);
    ck_assert_uint_gt(first_reads, 0);
    first_reads = 0;
    end_read_start(&link.end);
    ck_assert(peer_feed(&link.peer, 10000));
    run_until(loop, link.end.read_bytes == 10000);
    ck_assert_uint_eq(first_reads, 0);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* ---- opening */

/* Goal: descriptors that can't be a stream are refused and stay the caller's. Method: each kind of them. */
START_TEST(open_refuses)
{
    struct loop               *loop = test_loop_new(NULL);
    struct loop_stream         stream = {0};
    struct loop_stream_options bad_flags = {.flags = 1u << 31};
    int                        fds[2], datagram = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    ck_assert_int_ge(datagram, 0);
    test_pipe(fds);
    ck_assert_int_eq(loop_stream_open(loop, &stream, -1, NULL), -EBADF);
    ck_assert_int_eq(loop_stream_open(loop, &stream, 4000, NULL), -EBADF);
    ck_assert_int_eq(loop_stream_open(loop, &stream, LOOP_FIXED(fds[0]), NULL), -EBADF);
    ck_assert_int_eq(loop_stream_open(loop, &stream, datagram, NULL), -EINVAL);
    test_close(datagram);
    test_close(fds[0]);
    test_close(fds[1]);
    test_socketpair(fds);
    ck_assert_int_eq(loop_stream_open(loop, &stream, fds[0], &bad_flags), -EINVAL);
    ck_assert_int_eq(loop_stream_fd(&stream), -EBADF);
    ck_assert(!loop_alive(loop));
    test_close(fds[0]);
    test_close(fds[1]);
    test_loop_free(loop);
}
END_TEST

/* Goal: what a stream tells of itself. Method: before, while and after it is open; addresses against what the kernel
 * says. */
START_TEST(accessors)
{
    struct loop        *loop = test_loop_new(NULL);
    struct link         link;
    struct loop_address mine, theirs, kernel = {.size = sizeof(kernel.storage)};
    struct loop_stream  again = {0};
    int                 fd;

    link_open(loop, &link, NET_TCP4, 1, NULL);
    fd = loop_stream_fd(&link.end.stream);
    ck_assert_ptr_eq(loop_stream_loop(&link.end.stream), loop);
    ck_assert(!loop_stream_closing(&link.end.stream));
    ck_assert_uint_eq(loop_stream_queued(&link.end.stream), 0);
    ck_assert_int_eq(loop_stream_open(loop, &link.end.stream, fd, NULL), -EBUSY);
    ck_assert_int_eq(loop_stream_local_address(&link.end.stream, &mine), 0);
    ck_assert_int_eq(loop_stream_peer_address(&link.end.stream, &theirs), 0);
    ck_assert_int_eq(getsockname(link.peer.fd, (struct sockaddr *)&kernel.storage, &kernel.size), 0);
    ck_assert_uint_eq(kernel.size, theirs.size);
    ck_assert(memcmp(&kernel.storage, &theirs.storage, theirs.size) == 0);
    kernel.size = sizeof(kernel.storage);
    ck_assert_int_eq(getpeername(link.peer.fd, (struct sockaddr *)&kernel.storage, &kernel.size), 0);
    ck_assert_uint_eq(kernel.size, mine.size);
    ck_assert(memcmp(&kernel.storage, &mine.storage, mine.size) == 0);

    ck_assert_int_eq(loop_stream_fd(&again), -EBADF);
    ck_assert_uint_eq(loop_stream_queued(&again), 0);
    ck_assert(!loop_stream_closing(&again));
    ck_assert_int_lt(loop_stream_local_address(&again, &mine), 0);
    ck_assert_int_lt(loop_stream_peer_address(&again, &mine), 0);

    end_close(&link.end);
    ck_assert_int_eq(loop_stream_open(loop, &link.end.stream, fd, NULL), -EBUSY);
    ck_assert_int_eq(CALL(loop_stream_read_start(&link.end.stream, end_read_cb)), -EINVAL);
    ck_assert_int_eq(end_write(&link.end, 1, 0), -EINVAL);
    ck_assert_int_eq(CALL(loop_stream_shutdown(&link.end.stream, NULL)), -EINVAL);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* Goal: TCP_NODELAY is set where asked for, and only there. Method: asks the kernel; on a unix socket the flag has no
 * effect. */
START_TEST(nodelay)
{
    for (int kind = NET_TCP4; kind <= NET_UNIX; kind++) {
        for (uint32_t flags = 0; flags <= LOOP_STREAM_NODELAY; flags += LOOP_STREAM_NODELAY) {
            struct loop_stream_options options = {.flags = flags};
            struct loop               *loop = test_loop_new(NULL);
            struct link                link;
            int                        value = -1;
            socklen_t                  size = sizeof(value);

            link_open(loop, &link, kind, 1, &options);
            if (kind == NET_TCP4) {
                ck_assert_int_eq(getsockopt(loop_stream_fd(&link.end.stream), IPPROTO_TCP, TCP_NODELAY, &value, &size),
                                 0);
                ck_assert_int_eq(value != 0, flags != 0);
            }
            link_close(loop, &link);
            test_loop_free(loop);
        }
    }
}
END_TEST

/* Goal: an open stream keeps the loop alive, also without reading, unless unref'd, also with reading; a write counts in
 * any case. Method: what loop_run and loop_alive say. */
START_TEST(keeping_the_loop_alive)
{
    struct loop_stream_options unref = {.flags = LOOP_STREAM_UNREF};
    struct loop               *loop = test_loop_new(NULL);
    struct link                link;

    link_open(loop, &link, _i, 1, NULL);
    ck_assert(loop_alive(loop));
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_NOWAIT), 1);
    end_read_start(&link.end);
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_NOWAIT), 1);
    link_close(loop, &link);
    ck_assert(!loop_alive(loop));

    link_open(loop, &link, _i, 1, &unref);
    ck_assert(!loop_alive(loop));
    test_run(loop);
    end_read_start(&link.end);
    test_run(loop);
    ck_assert(peer_feed(&link.peer, 10));
    pump_until(loop, link.end.read_bytes == 10);
    test_run(loop);
    end_close(&link.end);
    ck_assert(loop_alive(loop)); /* until it is closed */
    test_run(loop);
    ck_assert_uint_eq(link.end.closes, 1);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* ---- objects that are not open */

static int use_read_start(void *arg)
{
    return loop_stream_read_start(arg, end_read_cb);
}

static int use_write(void *arg)
{
    return loop_stream_write(arg, "x", 1, NULL, NULL, NULL);
}

static int use_shutdown(void *arg)
{
    return loop_stream_shutdown(arg, NULL);
}

static int use_fd(void *arg)
{
    return loop_stream_fd(arg);
}

/* Goal: calls on a stream never opened, or after its close callback, are answered by their errno, or end the process
 * with a message that names the call; they never do anything. Method: each in a child. */
START_TEST(use_when_not_open)
{
    static const struct {
        int (*call)(void *arg);
        int         error;
        const char *text;
    } cases[] = {
        {use_read_start, -EINVAL, "loop_stream_read_start"},
        {use_write, -EINVAL, "loop_stream_write"},
        {use_shutdown, -EINVAL, "loop_stream_shutdown"},
        {use_fd, -EBADF, "loop_stream_fd"},
    };
    struct loop       *loop = test_loop_new(NULL);
    struct loop_stream zeroed = {0};
    struct link        link;

    link_open(loop, &link, NET_UNIX, 1, NULL);
    link_close(loop, &link);
    for (size_t i = 0; i < TEST_COUNT(cases); i++) {
        ck_assert_int_eq(cases[i].call(&zeroed), cases[i].error);
        expect_error_or_abort(cases[i].call, &link.end.stream, cases[i].error, cases[i].text);
    }
    test_loop_free(loop);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("net/stream");
    TCase *tcase = test_case(suite, "reading");
    int    kinds = net_kinds();

    tcase_add_loop_test(tcase, data_arrives, 0, kinds);
    tcase_add_loop_test(tcase, small_pieces, 0, kinds);
    tcase_add_loop_test(tcase, end_then_writing, 0, kinds);
    tcase_add_loop_test(tcase, reset_by_peer, 0, kinds);
    tcase = test_case(suite, "pause");
    tcase_add_loop_test(tcase, stop_inside_the_callback, 0, kinds);
    tcase_add_loop_test(tcase, stop_and_start_in_one_callback, 0, kinds);
    tcase_add_loop_test(tcase, stop_outside, 0, kinds);
    tcase_add_loop_test(tcase, close_while_stopped, 0, 2 * kinds);
    tcase_add_loop_test(tcase, end_while_stopped, 0, kinds);
    tcase_add_loop_test(tcase, start_twice, 0, kinds);
    tcase = test_case(suite, "opening");
    tcase_add_test(tcase, open_refuses);
    tcase_add_test(tcase, accessors);
    tcase_add_test(tcase, nodelay);
    tcase_add_loop_test(tcase, keeping_the_loop_alive, 0, kinds);
    tcase_add_test(tcase, use_when_not_open);
    return suite;
}
