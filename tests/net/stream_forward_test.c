/* tests/net/stream_forward_test.c: what one stream receives goes to another: byte for byte, by copy and by splice, with
 * the end, errors, stops, limits and peers that do not read. */
#include "tests/net/net_test.h"

#include <ringloop/forward.h>
#include <ringloop/request.h>

/* Two connections; what the first peer sends shall arrive at the second. */
struct path {
    struct loop *loop;
    struct link  in, out;
    uint32_t     ends;
    int          error;
    uint64_t     bytes;
    bool         close; /* both, in the callback */
};

static void ended(struct loop_stream *from, struct loop_stream *to, int error, uint64_t bytes, void *arg)
{
    struct path *path = arg;

    callback_enter();
    ck_assert_ptr_eq(from, &path->in.end.stream);
    ck_assert_ptr_eq(to, &path->out.end.stream);
    path->ends++;
    path->error = error;
    path->bytes = bytes;
    if (path->close) {
        loop_stream_close(from, end_close_cb);
        loop_stream_close(to, end_close_cb);
    }
}

static void path_open(struct path *path, int in_kind, int out_kind)
{
    memset(path, 0, sizeof(*path));
    path->loop = test_loop_new(NULL);
    link_open(path->loop, &path->in, in_kind, 1, NULL);
    link_open(path->loop, &path->out, out_kind, 2, NULL);
    path->out.peer.read_flow = path->in.peer.write_flow;
}

static int forward(struct path *path, const struct loop_forward_options *options)
{
    return CALL(loop_stream_forward(&path->in.end.stream, &path->out.end.stream, options, ended, path));
}

static void path_close(struct path *path)
{
    link_close(path->loop, &path->in);
    link_close(path->loop, &path->out);
    ck_assert_uint_eq(test_stats(path->loop).buffers_lent, 0);
    test_loop_free(path->loop);
}

/* Feeds up to total and drains at the other end. Returns whether all has arrived. */
static bool flows(struct path *path, uint64_t total)
{
    (void)peer_feed(&path->in.peer, total);
    (void)peer_drain(&path->out.peer, SIZE_MAX);
    return path->out.peer.read_bytes == total;
}

static const struct loop_forward_options by_copy = {.flags = LOOP_FORWARD_COPY};

/* All kinds to all kinds, with and without splice. */
#define WAYS (NET_KINDS * NET_KINDS * 2)
static void way_open(struct path *path, int way)
{
    path_open(path, way % NET_KINDS, way / NET_KINDS % NET_KINDS);
}
static const struct loop_forward_options *way_options(int way)
{
    return way >= NET_KINDS * NET_KINDS ? &by_copy : NULL;
}

/* Goal: every byte arrives in order, the end is passed on, the count is true, and then both are the user's again.
 * Method: 8 MiB of a pattern; then the other direction is written. */
START_TEST(all_arrives)
{
    struct path path;

    way_open(&path, _i);
    ck_assert_int_eq(forward(&path, way_options(_i)), 0);
    ck_assert_int_eq(forward(&path, NULL), -EBUSY);
    ck_assert_int_eq(CALL(loop_stream_read_start(&path.in.end.stream, end_read_cb)), -EBUSY);
    pump_until(path.loop, flows(&path, 8 << 20));
    ck_assert_uint_eq(path.ends, 0);
    ck_assert_int_eq(shutdown(path.in.peer.fd, SHUT_WR), 0);
    run_until(path.loop, path.ends == 1);
    ck_assert_int_eq(path.error, 0);
    ck_assert_uint_eq(path.bytes, 8 << 20);
    peer_finish(&path.out.peer);
    ck_assert_int_eq(path.out.peer.error, 0);
    ck_assert_int_eq(CALL(loop_stream_read_start(&path.in.end.stream, end_read_cb)), -ENOTCONN);
    ck_assert_int_eq(end_write(&path.in.end, 1000, 0), 0);
    ck_assert_int_eq(end_write(&path.out.end, 1000, 0), -EPIPE);
    pump_until(path.loop, (peer_drain(&path.in.peer, SIZE_MAX), path.in.peer.read_bytes == 1000));
    settle(path.loop);
    ck_assert_uint_eq(path.ends, 1);
    path_close(&path);
}
END_TEST

/* Goal: with a peer that does not read, that of the source is held back, and little is held in between. Method: as
 * much is fed as goes, until nothing goes any more; then it is drained, and all arrives. */
START_TEST(held_back)
{
    struct path path;
    uint64_t    before, total = 64 << 20, still = 0;

    way_open(&path, _i);
    net_buffers(path.in.peer.fd, 200000);
    net_buffers(path.out.peer.fd, 200000);
    net_buffers(loop_stream_fd(&path.in.end.stream), 200000);
    net_buffers(loop_stream_fd(&path.out.end.stream), 200000);
    ck_assert_int_eq(forward(&path, way_options(_i)), 0);
    while (still < 50) {
        before = path.in.peer.write_bytes;
        ck_assert(!peer_feed(&path.in.peer, total));
        pump_once(path.loop);
        still = path.in.peer.write_bytes == before ? still + 1 : 0;
    }
    ck_assert_uint_lt(path.in.peer.write_bytes, 8 << 20);
    ck_assert_uint_le(loop_stream_queued(&path.out.end.stream), 2 * 262144);
    total = path.in.peer.write_bytes + 100000;
    pump_until(path.loop, flows(&path, total));
    ck_assert_int_eq(shutdown(path.in.peer.fd, SHUT_WR), 0);
    run_until(path.loop, path.ends == 1);
    ck_assert_uint_eq(path.bytes, total);
    path_close(&path);
}
END_TEST

/* Goal: so many bytes and no more; the rest is read by other means. Method: a limit in the middle of a flow, reached by
 * small pieces or by a flood; the rest by request. */
START_TEST(limit)
{
    struct loop_forward_options options = {.bytes_max = (_i & 1) == 0 ? 3000 : 3000000,
                                           .flags = (_i & 2) == 0 ? 0 : LOOP_FORWARD_COPY};
    struct path                 path;

    path_open(&path, _i / 4, NET_TCP4);
    ck_assert_int_eq(forward(&path, &options), 0);
    while (path.ends == 0) {
        (void)peer_feed(&path.in.peer, options.bytes_max + 100000);
        pump_once(path.loop);
        (void)peer_drain(&path.out.peer, SIZE_MAX);
    }
    ck_assert_int_eq(path.error, 0);
    ck_assert_uint_eq(path.bytes, options.bytes_max);
    pump_until(path.loop, (peer_drain(&path.out.peer, SIZE_MAX), path.out.peer.read_bytes == options.bytes_max));
    path.in.end.read_bytes = options.bytes_max;
    end_read_start(&path.in.end);
    pump_until(path.loop, peer_feed(&path.in.peer, options.bytes_max + 100000) &&
                              path.in.end.read_bytes == options.bytes_max + 100000);
    ck_assert_int_eq(end_write(&path.out.end, 10, 0), 0);
    path_close(&path);
}
END_TEST

/* Goal: an early end is told, and not passed on with a limit. */
START_TEST(ended_before_the_limit)
{
    struct loop_forward_options options = {.bytes_max = 5000};
    struct path                 path;

    path_open(&path, _i, NET_UNIX);
    ck_assert_int_eq(forward(&path, &options), 0);
    pump_until(path.loop, flows(&path, 4000));
    ck_assert_int_eq(shutdown(path.in.peer.fd, SHUT_WR), 0);
    run_until(path.loop, path.ends == 1);
    ck_assert_int_eq(path.error, -ENODATA);
    ck_assert_uint_eq(path.bytes, 4000);
    ck_assert_int_eq(end_write(&path.out.end, 10, 0), 0);
    path_close(&path);
}
END_TEST

/* Goal: an end that comes right behind the last byte of a limit is not swallowed: whoever reads next is told. Method:
 * both are there before the forwarding starts. */
START_TEST(end_behind_the_limit)
{
    struct loop_forward_options options = {.bytes_max = 3000, .flags = _i % 2 == 0 ? 0 : LOOP_FORWARD_COPY};
    struct path                 path;

    path_open(&path, _i / 2, NET_TCP4);
    ck_assert(peer_feed(&path.in.peer, 3000));
    ck_assert_int_eq(shutdown(path.in.peer.fd, SHUT_WR), 0);
    ck_assert_int_eq(forward(&path, &options), 0);
    run_until(path.loop, path.ends == 1);
    ck_assert_int_eq(path.error, 0);
    settle(path.loop);
    end_read_start(&path.in.end);
    run_until(path.loop, path.in.end.read_ends == 1);
    ck_assert_int_eq(path.in.end.read_error, 0);
    path_close(&path);
}
END_TEST

/* Goal: a queue that is full of other writes holds the forwarding back only as long as it is full. Method: the target's
 * peer does not read until both wait. */
START_TEST(others_fill_the_queue)
{
    const struct loop_forward_options options = {.queued_max = 100000, .flags = LOOP_FORWARD_COPY};
    static char                       bytes[65536];
    uint64_t                          arrived = 0, total = 8 << 20;
    struct path                       path;

    path_open(&path, _i, _i);
    ck_assert_int_eq(end_write(&path.out.end, total, 0), 0);
    ck_assert_int_eq(forward(&path, &options), 0);
    ck_assert(peer_feed(&path.in.peer, 5000));
    settle(path.loop);
    ck_assert_uint_ge(loop_stream_queued(&path.out.end.stream), options.queued_max);
    while (arrived < total + 5000) {
        ssize_t n = recv(path.out.peer.fd, bytes, sizeof(bytes), MSG_DONTWAIT);

        arrived += n > 0 ? (uint64_t)n : 0;
        if (n <= 0)
            pump_once(path.loop);
    }
    path_close(&path);
}
END_TEST

static void narrow(struct path *path)
{
    net_buffers(path->in.peer.fd, 200000);
    net_buffers(path->out.peer.fd, 200000);
    net_buffers(loop_stream_fd(&path->in.end.stream), 200000);
    net_buffers(loop_stream_fd(&path->out.end.stream), 200000);
}

/* As much as goes. */
static void fill(struct path *path)
{
    uint64_t before, still = 0;

    while (still < 20) {
        before = path->in.peer.write_bytes;
        (void)peer_feed(&path->in.peer, 64 << 20);
        pump_once(path->loop);
        still = path->in.peer.write_bytes == before ? still + 1 : 0;
    }
}

/* Into the state where bytes are spliced, and the target takes no more. */
static void block(struct path *path)
{
    pump_until(path->loop, flows(path, 4 << 20));
    fill(path);
}

/* Goal: a target that somebody else shuts down ends the forwarding. Method: in the turn of a write, whose end the
 * forwarding waits for. */
START_TEST(shut_down_by_others)
{
    struct path path;

    way_open(&path, _i);
    ck_assert_int_eq(forward(&path, way_options(_i)), 0);
    pump_until(path.loop, flows(&path, 4 << 20));
    settle(path.loop);
    ck_assert_int_eq(end_write(&path.out.end, 10, 0), 0);
    ck_assert_int_eq(CALL(loop_stream_shutdown(&path.out.end.stream, end_shutdown_cb)), 0);
    (void)peer_feed(&path.in.peer, 5 << 20);
    pump_until(path.loop, path.ends == 1);
    ck_assert_int_eq(path.error, -EPIPE);
    path_close(&path);
}
END_TEST

/* Goal: when the target's write deadline breaks it off, nothing follows the gap: writes that waited end with the same
 * error, and so does the forwarding. */
START_TEST(target_times_out)
{
    const struct loop_stream_deadlines deadlines = {.write_ns = 20 * LOOP_MILLISECOND};
    struct path                        path;

    way_open(&path, _i % WAYS);
    narrow(&path);
    ck_assert_int_eq(forward(&path, way_options(_i % WAYS)), 0);
    block(&path);
    ck_assert_int_eq(CALL(loop_stream_deadlines_set(&path.out.end.stream, &deadlines)), 0);
    if (_i >= WAYS)
        ck_assert_int_eq(end_write(&path.out.end, 1 << 20, 0), 0);
    run_until(path.loop, path.ends == 1 && path.out.end.writes_done == (_i >= WAYS ? 1 : 0));
    ck_assert_int_eq(path.error, -ETIMEDOUT);
    ck_assert_int_eq(path.out.end.write_error, _i >= WAYS ? -ETIMEDOUT : 0);
    path_close(&path);
}
END_TEST

/* Goal: the same while nothing is to be sent: somebody has to be told. */
START_TEST(idle_target_times_out)
{
    const struct loop_stream_deadlines deadlines = {.idle_ns = 20 * LOOP_MILLISECOND};
    struct path                        path;

    way_open(&path, _i);
    ck_assert_int_eq(CALL(loop_stream_deadlines_set(&path.out.end.stream, &deadlines)), 0);
    ck_assert_int_eq(forward(&path, way_options(_i)), 0);
    run_until(path.loop, path.ends == 1);
    ck_assert_int_eq(path.error, -ETIMEDOUT);
    path_close(&path);
}
END_TEST

static void drain(struct loop_timer *timer)
{
    struct path *path = timer->data;

    (void)peer_drain(&path->out.peer, 100000);
}

/* Goal: what is being moved keeps a loop of unreferenced streams alive, as sends do; waiting for more does not. Method:
 * the target is blocked, and only a timer of the run takes bytes from it. Again where all had gone through after all:
 * on a busy machine bytes may stand in the kernel for a while as if nothing went any more. */
START_TEST(unreferenced)
{
    const struct loop_stream_options options = {.flags = LOOP_STREAM_UNREF};
    struct path                      path = {.loop = test_loop_new(NULL)};
    struct loop_timer                timer = {.data = &path};
    uint64_t                         before;

    link_open(path.loop, &path.in, _i % NET_KINDS, 1, &options);
    link_open(path.loop, &path.out, _i / NET_KINDS % NET_KINDS, 2, &options);
    path.out.peer.read_flow = path.in.peer.write_flow;
    narrow(&path);
    ck_assert_int_eq(forward(&path, way_options(_i)), 0);
    block(&path);
    loop_timer_unref(&timer);
    before = path.out.peer.read_bytes;
    for (uint32_t i = 0; path.out.peer.read_bytes == before && i < 20; i++) {
        fill(&path);
        ck_assert_int_eq(loop_timer_start(path.loop, &timer, LOOP_MILLISECOND, LOOP_MILLISECOND, drain), 0);
        ck_assert_int_ge(loop_run(path.loop, LOOP_RUN_DEFAULT), 0);
        loop_timer_stop(&timer);
    }
    ck_assert_uint_gt(path.out.peer.read_bytes, before);
    pump_until(path.loop, (peer_drain(&path.out.peer, SIZE_MAX), path.out.peer.read_bytes == path.in.peer.write_bytes));
    path_close(&path);
}
END_TEST

/* Goal: what was received before goes first. Method: a line is read by request, the rest stands in the stash. */
START_TEST(stash_first)
{
    struct path path;
    uint32_t    i;
    char        data[16];
    ssize_t     r = -EAGAIN;

    path_open(&path, _i, NET_UNIX);
    end_read_start(&path.in.end);
    ck_assert_int_eq(CALL(loop_stream_read_stop(&path.in.end.stream)), 0);
    ck_assert(peer_feed(&path.in.peer, 3000));
    for (i = 0; r == -EAGAIN && i < 1000; i++) {
        test_turns(path.loop, 1);
        r = loop_stream_try_read(&path.in.end.stream, data, sizeof(data));
    }
    ck_assert_int_eq((int)r, sizeof(data));
    path.out.peer.read_bytes = sizeof(data);
    ck_assert_int_eq(forward(&path, NULL), 0);
    pump_until(path.loop, flows(&path, 5000));
    path_close(&path);
}
END_TEST

/* Goal: a stop loses nothing. Method: stopped in full flow; what has not arrived is read by callback and counted. */
START_TEST(stop)
{
    struct path path;
    uint64_t    total = 16 << 20;

    way_open(&path, _i);
    ck_assert_int_eq(CALL(loop_stream_forward_stop(&path.in.end.stream)), -EINVAL);
    ck_assert_int_eq(forward(&path, way_options(_i)), 0);
    pump_until(path.loop, flows(&path, 4 << 20));
    (void)peer_feed(&path.in.peer, total);
    ck_assert_int_eq(CALL(loop_stream_forward_stop(&path.in.end.stream)), 0);
    pump_until(path.loop, (peer_drain(&path.out.peer, SIZE_MAX), path.ends == 1));
    ck_assert_int_eq(path.error, -ECANCELED);
    pump_until(path.loop, (peer_drain(&path.out.peer, SIZE_MAX), path.out.peer.read_bytes == path.bytes));
    path.in.end.read_bytes = path.bytes;
    end_read_start(&path.in.end);
    total = path.in.peer.write_bytes;
    pump_until(path.loop, path.in.end.read_bytes == total);
    settle(path.loop);
    ck_assert_uint_eq(path.out.peer.read_bytes, path.bytes);
    path_close(&path);
}
END_TEST

/* Goal: a reset on either side ends it once, with an errno of the connection. Method: in full flow; the callback closes
 * both. */
START_TEST(reset)
{
    struct path path;

    way_open(&path, _i % WAYS);
    path.close = true;
    ck_assert_int_eq(forward(&path, way_options(_i % WAYS)), 0);
    pump_until(path.loop, flows(&path, 2 << 20));
    (void)peer_feed(&path.in.peer, 64 << 20);
    pump_once(path.loop);
    if (_i < WAYS) {
        ck_assert_int_eq(end_write(&path.in.end, 10, 0), 0); /* unread by the peer: unix resets then, too */
        run_until(path.loop, path.in.end.writes_done == 1);
        net_reset(path.in.peer.fd);
        path.in.peer.fd = -1;
    } else {
        net_reset(path.out.peer.fd);
        path.out.peer.fd = -1;
    }
    while (path.ends == 0) {
        if (path.out.peer.fd >= 0)
            (void)peer_drain(&path.out.peer, SIZE_MAX);
        else
            (void)peer_feed(&path.in.peer, 64 << 20); /* a reset shows when something is written */
        pump_once(path.loop);
    }
    ck_assert(path.error == -ECONNRESET || path.error == -EPIPE);
    run_until(path.loop, path.in.end.closes == 1 && path.out.end.closes == 1);
    path_close(&path);
}
END_TEST

/* Goal: closing either stream, or both, at any moment ends it once with -ECANCELED before the close callback. Method:
 * in the turn of the start, in full flow, and blocked. */
START_TEST(closed)
{
    int         way = _i % WAYS, which = _i / WAYS % 3, moment = _i / WAYS / 3;
    struct path path;

    way_open(&path, way);
    ck_assert_int_eq(forward(&path, way_options(way)), 0);
    if (moment == 1)
        pump_until(path.loop, flows(&path, 2 << 20));
    for (int i = 0; moment > 0 && i < 20; i++) {
        (void)peer_feed(&path.in.peer, 64 << 20);
        pump_once(path.loop);
    }
    if (which != 1)
        loop_stream_close(&path.in.end.stream, end_close_cb);
    if (which != 0)
        loop_stream_close(&path.out.end.stream, end_close_cb);
    ck_assert_uint_eq(path.ends, 0);
    run_until(path.loop, path.in.end.closes + path.out.end.closes == (which == 2 ? 2 : 1));
    ck_assert_uint_eq(path.ends, 1);
    ck_assert_int_eq(path.error, -ECANCELED);
    path_close(&path);
}
END_TEST

/* Goal: a whole proxy: both directions at once, the ends passed on one after the other, in ten lines. */
static void proxied(struct loop_stream *from, struct loop_stream *to, int error, uint64_t bytes, void *arg)
{
    uint32_t *ends = arg;

    (void)bytes;
    callback_enter();
    ck_assert_int_eq(error, 0);
    if (++*ends == 2) {
        loop_stream_close(from, end_close_cb);
        loop_stream_close(to, end_close_cb);
    }
}

START_TEST(proxy)
{
    struct path path;
    uint32_t    ends = 0;

    way_open(&path, _i);
    path.in.peer.read_flow = path.out.peer.write_flow;
    ck_assert_int_eq(
        CALL(loop_stream_forward(&path.in.end.stream, &path.out.end.stream, way_options(_i), proxied, &ends)), 0);
    ck_assert_int_eq(
        CALL(loop_stream_forward(&path.out.end.stream, &path.in.end.stream, way_options(_i), proxied, &ends)), 0);
    pump_until(path.loop, ((void)peer_feed(&path.out.peer, 3 << 20), (void)peer_drain(&path.in.peer, SIZE_MAX),
                           flows(&path, 5 << 20) && path.in.peer.read_bytes == 3 << 20));
    ck_assert_int_eq(shutdown(path.in.peer.fd, SHUT_WR), 0);
    run_until(path.loop, ends == 1);
    peer_finish(&path.out.peer);
    pump_until(path.loop, ((void)peer_feed(&path.out.peer, 4 << 20), (void)peer_drain(&path.in.peer, SIZE_MAX),
                           path.in.peer.read_bytes == 4 << 20));
    ck_assert_int_eq(shutdown(path.out.peer.fd, SHUT_WR), 0);
    run_until(path.loop, path.in.end.closes == 1 && path.out.end.closes == 1);
    peer_finish(&path.in.peer);
    path_close(&path);
}
END_TEST

/* Goal: bad values give their errno and start nothing. */
START_TEST(refusals)
{
    struct loop_forward_options flagged = {.flags = 1u << 30};
    struct loop_stream          closed_stream = {0};
    struct path                 path;

    path_open(&path, NET_TCP4, NET_TCP4);
    ck_assert_int_eq(loop_stream_forward(&path.in.end.stream, &path.in.end.stream, NULL, ended, &path), -EINVAL);
    ck_assert_int_eq(loop_stream_forward(&path.in.end.stream, &closed_stream, NULL, ended, &path), -EINVAL);
    ck_assert_int_eq(loop_stream_forward(&closed_stream, &path.in.end.stream, NULL, ended, &path), -EINVAL);
    ck_assert_int_eq(loop_stream_forward(&path.in.end.stream, &path.out.end.stream, NULL, NULL, &path), -EINVAL);
    ck_assert_int_eq(forward(&path, &flagged), -EINVAL);
    end_read_start(&path.in.end);
    ck_assert_int_eq(forward(&path, NULL), -EBUSY);
    ck_assert_int_eq(CALL(loop_stream_read_stop(&path.in.end.stream)), 0);
    ck_assert_int_eq(CALL(loop_stream_shutdown(&path.out.end.stream, NULL)), 0);
    ck_assert_int_eq(forward(&path, NULL), -EPIPE);
    settle(path.loop);
    ck_assert_uint_eq(path.ends, 0);
    path_close(&path);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("net/stream_forward");
    tcase_add_loop_test(test_case(suite, "all_arrives"), all_arrives, 0, WAYS);
    tcase_add_loop_test(test_case(suite, "held_back"), held_back, 0, WAYS);
    tcase_add_loop_test(test_case(suite, "limit"), limit, 0, 4 * NET_KINDS);
    tcase_add_loop_test(test_case(suite, "ended_before_the_limit"), ended_before_the_limit, 0, NET_KINDS);
    tcase_add_loop_test(test_case(suite, "end_behind_the_limit"), end_behind_the_limit, 0, 2 * NET_KINDS);
    tcase_add_loop_test(test_case(suite, "others_fill_the_queue"), others_fill_the_queue, 0, NET_KINDS);
    tcase_add_loop_test(test_case(suite, "shut_down_by_others"), shut_down_by_others, 0, WAYS);
    tcase_add_loop_test(test_case(suite, "target_times_out"), target_times_out, 0, 2 * WAYS);
    tcase_add_loop_test(test_case(suite, "idle_target_times_out"), idle_target_times_out, 0, WAYS);
    tcase_add_loop_test(test_case(suite, "unreferenced"), unreferenced, 0, WAYS);
    tcase_add_loop_test(test_case(suite, "stash_first"), stash_first, 0, NET_KINDS);
    tcase_add_loop_test(test_case(suite, "stop"), stop, 0, WAYS);
    tcase_add_loop_test(test_case(suite, "reset"), reset, 0, 2 * WAYS);
    tcase_add_loop_test(test_case(suite, "closed"), closed, 0, 9 * WAYS);
    tcase_add_loop_test(test_case(suite, "proxy"), proxy, 0, WAYS);
    tcase_add_test(test_case(suite, "refusals"), refusals);
    return suite;
}
