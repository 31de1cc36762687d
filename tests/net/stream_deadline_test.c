/* tests/net/stream_deadline_test.c: idle, read and write deadlines of streams. No test says how long anything takes:
 * only that deadlines come when nothing moves, do not come while something does, and are told to the right one. */
#include "tests/net/net_test.h"

#include <ringloop/forward.h>
#include <ringloop/request.h>

enum { PERIOD_NS = 30 * 1000000 };

static struct {
    uint32_t calls, which;
    uint64_t last_ns;     /* when bytes moved, or the stream was opened; 0: not known */
    uint64_t longest_gap; /* between two such moments */
    bool     close;
} told;

static void told_cb(struct loop_stream *stream, uint32_t which)
{
    callback_enter();
    ck_assert_uint_ne(which, 0);
    ck_assert_uint_ge(test_clock(), told.last_ns + PERIOD_NS); /* never early */
    told.calls++;
    told.which |= which;
    if (told.close)
        loop_stream_close(stream, end_close_cb);
}

static void moved(void)
{
    static uint64_t before_ns;
    uint64_t        now_ns = test_clock();

    if (told.longest_gap != 0 && now_ns - before_ns > told.longest_gap)
        told.longest_gap = now_ns - before_ns;
    told.longest_gap = told.longest_gap == 0 ? 1 : told.longest_gap;
    before_ns = now_ns;
    told.last_ns = now_ns;
}

static void begin(struct link *link, const struct loop_stream_deadlines *deadlines)
{
    memset(&told, 0, sizeof(told));
    told.last_ns = test_clock();
    ck_assert_int_eq(CALL(loop_stream_deadlines_set(&link->end.stream, deadlines)), 0);
}

static const struct loop_stream_deadlines idle = {.idle_ns = PERIOD_NS, .cb = told_cb};
static const struct loop_stream_deadlines reads = {.read_ns = PERIOD_NS, .cb = told_cb};
static const struct loop_stream_deadlines writes = {.write_ns = PERIOD_NS, .cb = told_cb};

/* Goal: a silent stream is told again and again, until the deadlines are taken away; and it may be closed in the
 * callback. */
START_TEST(idle_is_told)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;

    link_open(loop, &link, _i, 1, NULL);
    begin(&link, &idle);
    run_until(loop, told.calls == 2);
    ck_assert_uint_eq(told.which, LOOP_STREAM_IDLE);
    ck_assert_int_eq(CALL(loop_stream_deadlines_set(&link.end.stream, NULL)), 0);
    (void)run_for(loop, 2 * PERIOD_NS);
    ck_assert_uint_eq(told.calls, 2);
    begin(&link, &idle);
    told.close = true;
    run_until(loop, link.end.closes == 1);
    ck_assert_uint_eq(told.calls, 1);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* Goal: bytes in either direction are life. Method: one byte to and fro, many times, over several periods. Should the
 * machine stand still for a period, nothing is claimed. */
START_TEST(life_is_seen)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;
    uint64_t     until;

    link_open(loop, &link, _i % net_kinds(), 1, NULL);
    end_read_start(&link.end);
    begin(&link, &idle);
    until = test_clock() + 4 * PERIOD_NS;
    for (uint64_t n = 1; test_clock() < until; n++) {
        if (_i >= net_kinds()) {
            ck_assert(peer_feed(&link.peer, n));
            run_until(loop, link.end.read_bytes == n);
        } else {
            ck_assert_int_eq(end_write(&link.end, 1, 0), 0);
            run_until(loop, link.end.writes_done == n);
            (void)peer_drain(&link.peer, SIZE_MAX);
        }
        moved();
        test_sleep(PERIOD_NS / 10);
    }
    if (told.longest_gap < PERIOD_NS / 4)
        ck_assert_uint_eq(told.calls, 0);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

static void wish_cb(struct loop_stream *stream, int error, size_t bytes, void *arg)
{
    (void)stream;
    (void)bytes;
    callback_enter();
    *(int *)arg = error;
}

/* Goal: the read deadline counts only while something is to be read: by callback or by request. */
START_TEST(read_only_while_reading)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;
    int          result = 1;
    char         data[8];

    link_open(loop, &link, _i, 1, NULL);
    begin(&link, &reads);
    (void)run_for(loop, 3 * PERIOD_NS);
    ck_assert_uint_eq(told.calls, 0);
    told.last_ns = test_clock();
    end_read_start(&link.end);
    run_until(loop, told.calls == 1);
    ck_assert_uint_eq(told.which, LOOP_STREAM_READ);
    ck_assert_int_eq(CALL(loop_stream_read_stop(&link.end.stream)), 0);
    settle(loop);
    told.calls = 0;
    (void)run_for(loop, 3 * PERIOD_NS);
    ck_assert_uint_eq(told.calls, 0);
    told.last_ns = test_clock();
    ck_assert_int_eq(CALL(loop_stream_read_exactly(&link.end.stream, data, 8, wish_cb, &result, NULL)), 0);
    run_until(loop, told.calls == 1);
    ck_assert_int_eq(result, 1);
    link_close(loop, &link);
    ck_assert_int_eq(result, -ECANCELED);
    test_loop_free(loop);
}
END_TEST

/* Goal: the write deadline counts only while something is to be sent and the peer takes nothing. Method: nothing
 * queued; then more than the socket holds, with a peer that does not read; then one that reads now and then. */
START_TEST(write_while_blocked)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;
    uint64_t     until;

    link_open(loop, &link, _i, 1, NULL);
    net_buffers(link.peer.fd, 200000); /* with less, tcp probes so seldom that it stands still for a period */
    net_buffers(loop_stream_fd(&link.end.stream), 200000);
    begin(&link, &writes);
    (void)run_for(loop, 3 * PERIOD_NS);
    ck_assert_uint_eq(told.calls, 0);
    told.last_ns = test_clock();
    ck_assert_int_eq(end_write(&link.end, 8 << 20, 0), 0);
    run_until(loop, told.calls == 1);
    ck_assert_uint_eq(told.which, LOOP_STREAM_WRITE);
    told.calls = 0;
    told.longest_gap = 0;
    until = test_clock() + 5 * PERIOD_NS;
    while (test_clock() < until && link.end.writes_done == 0) {
        (void)peer_drain(&link.peer, 100000);
        moved();
        told.last_ns = 0; /* when ours have moved is not known */
        (void)run_for(loop, PERIOD_NS / 10);
    }
    if (told.longest_gap < PERIOD_NS / 4)
        ck_assert_uint_eq(told.calls, 0);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* Goal: without a callback of its own the stream ends like a broken connection: the reader and the writes are told
 * -ETIMEDOUT, once each, and later calls are refused. */
START_TEST(without_callback)
{
    static const struct loop_stream_deadlines plain = {.idle_ns = PERIOD_NS};
    struct loop                              *loop = test_loop_new(NULL);
    struct link                               link;

    link_open(loop, &link, _i, 1, NULL);
    net_buffers(link.peer.fd, 200000); /* with less, tcp probes so seldom that it stands still for a period */
    net_buffers(loop_stream_fd(&link.end.stream), 200000);
    ck_assert_int_eq(CALL(loop_stream_deadlines_set(&link.end.stream, &plain)), 0);
    end_read_start(&link.end);
    ck_assert_int_eq(end_write(&link.end, 8 << 20, 0), 0);
    ck_assert_int_eq(end_write(&link.end, 1000, 0), 0);
    run_until(loop, link.end.read_ends == 1 && link.end.writes_failed == 2);
    ck_assert_int_eq(link.end.read_error, -ETIMEDOUT);
    ck_assert_int_eq(link.end.write_error, -ETIMEDOUT);
    ck_assert_uint_gt(link.end.taken_bytes, 0); /* what had left is told truly */
    ck_assert_int_eq(end_write(&link.end, 10, 0), -EPIPE);
    ck_assert_int_eq(CALL(loop_stream_read_start(&link.end.stream, end_read_cb)), -ENOTCONN);
    (void)run_for(loop, 2 * PERIOD_NS);
    ck_assert_uint_eq(link.end.read_ends, 1);
    link_close(loop, &link);
    ck_assert_uint_eq(link.end.writes_failed, 2);
    test_loop_free(loop);
}
END_TEST

/* Goal: the same for a request that waits, and a shutdown that waits for a blocked write. */
START_TEST(without_callback_request)
{
    static const struct loop_stream_deadlines plain = {.read_ns = PERIOD_NS, .write_ns = PERIOD_NS};
    struct loop                              *loop = test_loop_new(NULL);
    struct link                               link;
    int                                       result = 1;
    char                                      data[8];

    link_open(loop, &link, _i, 1, NULL);
    net_buffers(link.peer.fd, 200000); /* with less, tcp probes so seldom that it stands still for a period */
    net_buffers(loop_stream_fd(&link.end.stream), 200000);
    ck_assert_int_eq(CALL(loop_stream_deadlines_set(&link.end.stream, &plain)), 0);
    ck_assert_int_eq(CALL(loop_stream_read_exactly(&link.end.stream, data, 8, wish_cb, &result, NULL)), 0);
    ck_assert_int_eq(end_write(&link.end, 8 << 20, 0), 0);
    ck_assert_int_eq(CALL(loop_stream_shutdown(&link.end.stream, end_shutdown_cb)), 0);
    run_until(loop, result != 1 && link.end.shutdowns == 1);
    ck_assert_int_eq(result, -ETIMEDOUT);
    ck_assert_int_eq(link.end.write_error, -ETIMEDOUT);
    ck_assert_int_eq(link.end.shutdown_error, -ETIMEDOUT);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* Goal: bytes taken by loop_stream_try_read() are life, too. */
START_TEST(try_read_is_life)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;
    uint64_t     until;

    link_open(loop, &link, _i, 1, NULL);
    begin(&link, &idle);
    until = test_clock() + 4 * PERIOD_NS;
    for (uint64_t n = 1; test_clock() < until; n++) {
        char byte;

        ck_assert(peer_feed(&link.peer, n));
        pump_until(loop, loop_stream_try_read(&link.end.stream, &byte, 1) == 1);
        moved();
        test_turns(loop, 1);
        test_sleep(PERIOD_NS / 10);
    }
    if (told.longest_gap < PERIOD_NS / 2)
        ck_assert_uint_eq(told.calls, 0);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

static void ignore_forwarded(struct loop_stream *from, struct loop_stream *to, int error, uint64_t bytes, void *arg)
{
    (void)from;
    (void)to;
    (void)error;
    (void)bytes;
    (void)arg;
}

/* Goal: what begins to forward begins to read: not before is a period counted. Method: most of a period passes first.
 */
START_TEST(read_from_forward_on)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link, to;

    link_open(loop, &link, _i, 1, NULL);
    link_open(loop, &to, _i, 2, NULL);
    begin(&link, &reads);
    run_for(loop, PERIOD_NS * 4 / 5);
    told.last_ns = test_clock();
    ck_assert_int_eq(CALL(loop_stream_forward(&link.end.stream, &to.end.stream, NULL, ignore_forwarded, NULL)), 0);
    run_until(loop, told.calls == 1);
    link_close(loop, &link);
    link_close(loop, &to);
    test_loop_free(loop);
}
END_TEST

/* Goal: deadlines do not keep the loop alive, are refused where there is no stream, and survive want of memory. */
START_TEST(edges)
{
    struct loop       *loop = test_loop_new(NULL);
    struct loop_stream closed = {0};
    struct link        link;

    link_open(loop, &link, NET_UNIX, 1, &(const struct loop_stream_options){.flags = LOOP_STREAM_UNREF});
    ck_assert_int_eq(loop_stream_deadlines_set(&closed, &idle), -EINVAL);
    test_memory.fail_at = test_memory.calls + 1;
    ck_assert_int_eq(loop_stream_deadlines_set(&link.end.stream, &idle), -ENOMEM);
    test_memory.fail_at = test_memory.calls + 2;
    ck_assert_int_eq(loop_stream_deadlines_set(&link.end.stream, &idle), -ENOMEM);
    begin(&link, &idle);
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_DEFAULT), 0); /* returns, since nothing keeps it */
    link_close(loop, &link);
    ck_assert_int_eq(loop_stream_deadlines_set(&link.end.stream, &idle), -EINVAL);
    test_loop_free(loop);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("net/stream_deadline");
    TCase *tcase = test_case(suite, "deadlines");
    int    kinds = net_kinds();

    tcase_add_loop_test(tcase, idle_is_told, 0, kinds);
    tcase_add_loop_test(tcase, life_is_seen, 0, 2 * kinds);
    tcase_add_loop_test(tcase, read_only_while_reading, 0, kinds);
    tcase_add_loop_test(tcase, write_while_blocked, 0, kinds);
    tcase_add_loop_test(tcase, without_callback, 0, kinds);
    tcase_add_loop_test(tcase, without_callback_request, 0, kinds);
    tcase_add_loop_test(tcase, try_read_is_life, 0, net_kinds());
    tcase_add_loop_test(tcase, read_from_forward_on, 0, net_kinds());
    tcase_add_test(tcase, edges);
    return suite;
}
