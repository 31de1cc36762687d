/* tests/net/stream_reclaim_test.c: buffers given to writes whose peers do not read come home when others need them. */
#include "tests/net/net_test.h"

/* Echoes with the buffer itself; the bytes are those of the peer's pattern. */
static void echo_read(struct loop_stream *stream, const struct loop_result *result)
{
    end_read_cb(stream, result);
    if (result->res > 0)
        ck_assert_int_eq(loop_stream_write(stream, result->data, (size_t)result->res, NULL, NULL,
                                           &(struct loop_write_terms){.release = result->buffer}),
                         0);
}

static void echo_open(struct loop *loop, struct link *link, int kind, uint32_t number,
                      const struct loop_stream_options *options)
{
    link_open(loop, link, kind, number, options);
    link->peer.read_flow = link->peer.write_flow;
    ck_assert_int_eq(loop_stream_read_start(&link->end.stream, echo_read), 0);
}

/* The same to one that takes little before it is full. */
static void narrow_open(struct loop *loop, struct link *link, int kind, uint32_t number)
{
    int bytes = 16384;

    echo_open(loop, link, kind, number, NULL);
    ck_assert_int_eq(setsockopt(loop_stream_fd(&link->end.stream), SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)), 0);
}

/* The peer sends as long as that goes, and reads nothing. */
static void flood(struct loop *loop, struct link *links, uint32_t count, uint64_t total)
{
    for (int idle = 0; idle < 5; idle++) {
        for (uint32_t i = 0; i < count; i++) {
            uint64_t before = links[i].peer.write_bytes;

            peer_feed(&links[i].peer, total);
            if (links[i].peer.write_bytes != before)
                idle = 0;
        }
        (void)run_for(loop, 30 * LOOP_MILLISECOND);
    }
}

static void echoes_all(struct loop *loop, struct link *link, uint64_t total)
{
    pump_until(loop,
               (peer_feed(&link->peer, total), peer_drain(&link->peer, SIZE_MAX), link->peer.read_bytes == total));
}

/* Goal: 300 peers that send and do not read cannot take the default group from another connection; when they read after
 * all, each gets every byte. Method: floods; an echo of a MiB on another; then all are drained. */
START_TEST(three_hundred_do_not_read)
{
    enum { COUNT = 300, TOTAL = 200000 };
    static struct link links[COUNT];
    struct loop       *loop = test_loop_new(NULL);
    struct link        other;

    for (uint32_t i = 0; i < COUNT; i++)
        narrow_open(loop, &links[i], _i, i + 1);
    flood(loop, links, COUNT, TOTAL);
    ck_assert_uint_le(test_stats(loop).buffers_lent, 256);
    echo_open(loop, &other, _i, 0, NULL);
    echoes_all(loop, &other, 1 << 20);
    ck_assert_uint_gt(test_stats(loop).buffers_reclaimed, 0);
    link_close(loop, &other);
    for (uint32_t i = 0; i < COUNT; i++)
        echoes_all(loop, &links[i], TOTAL);
    run_until(loop, test_stats(loop).buffers_lent == 0);
    for (uint32_t i = 0; i < COUNT; i++)
        link_close(loop, &links[i]);
    test_loop_free(loop);
}
END_TEST

static const struct loop_options small_group = {.buffer_count = 8, .buffer_size = 2048};

/* Goal: the same with a group of eight, where a receive waits for a buffer all the time. */
START_TEST(small)
{
    enum { COUNT = 12, TOTAL = 300000 };
    static struct link links[COUNT];
    struct loop       *loop = test_loop_new(&small_group);
    struct link        other;

    for (uint32_t i = 0; i < COUNT; i++)
        narrow_open(loop, &links[i], _i, i + 1);
    flood(loop, links, COUNT, TOTAL);
    echo_open(loop, &other, _i, 0, NULL);
    echoes_all(loop, &other, 100000);
    for (uint32_t i = 0; i < COUNT; i++)
        echoes_all(loop, &links[i], TOTAL);
    ck_assert_uint_gt(test_stats(loop).buffers_reclaimed, 0);
    for (uint32_t i = 0; i < COUNT; i++)
        link_close(loop, &links[i]);
    link_close(loop, &other);
    test_loop_free(loop);
}
END_TEST

/* ---- buffers of one connection given to writes of another */

struct giver {
    struct link link;
    struct end *to; /* NULL: keeps nothing */
    uint32_t    done;
    int         error;
};

static void given_cb(struct loop_stream *stream, int error, size_t bytes, void *arg)
{
    struct giver *giver = arg;

    (void)stream;
    (void)bytes;
    callback_enter();
    giver->done++;
    giver->error = error;
}

static void giving_read(struct loop_stream *stream, const struct loop_result *result)
{
    struct giver *giver = end_of(stream)->arg;

    end_read_cb(stream, result);
    if (result->res > 0)
        ck_assert_int_eq(loop_stream_write(&giver->to->stream, result->data, (size_t)result->res, given_cb, giver,
                                           &(struct loop_write_terms){.release = result->buffer}),
                         0);
}

static void giver_open(struct loop *loop, struct giver *giver, int kind, struct end *to)
{
    *giver = (struct giver){.to = to};
    link_open(loop, &giver->link, kind, 7, NULL);
    giver->link.end.arg = giver;
    ck_assert_int_eq(loop_stream_read_start(&giver->link.end.stream, giving_read), 0);
}

/* Goal: writes of a corked stream, and of one that is not connected yet, give their buffers back too. Method: seven of
 * eight buffers go to such a stream; another reads; afterwards all arrives. _i 0: corked, 1: connecting. */
START_TEST(cannot_leave_yet)
{
    struct loop        *loop = test_loop_new(&small_group);
    struct loop_address address;
    int                 listener = net_listen(NET_TCP4, 4, &address);
    struct link         to = {.peer = {.read_flow = 15}};
    struct giver        giver;
    uint32_t            given = 7 * 2048;

    end_connect(loop, &to.end, &address, NULL);
    if (_i == 0) {
        test_turns(loop, 1);
        run_until(loop, to.end.connects == 1);
        ck_assert_int_eq(loop_stream_cork(&to.end.stream), 0);
    }
    giver_open(loop, &giver, NET_UNIX, &to.end);
    ck_assert(peer_feed(&giver.link.peer, given));
    if (_i == 1) { /* the connect is started by the first turn: give before it has been told */
        run_until(loop, giver.link.end.read_bytes == given);
    }
    settle(loop);
    ck_assert(peer_feed(&giver.link.peer, 10 * given));
    pump_until(loop, giver.link.end.read_bytes == 10 * given);
    if (_i == 0)
        ck_assert_uint_ge(test_stats(loop).buffers_reclaimed, 60);
    to.peer.fd = accept(listener, NULL, NULL);
    ck_assert_int_eq(loop_stream_uncork(&to.end.stream), 0);
    pump_until(loop, (peer_drain(&to.peer, SIZE_MAX), to.peer.read_bytes == 10 * given));
    ck_assert_int_eq(giver.error, 0);
    link_close(loop, &giver.link);
    link_close(loop, &to);
    test_close(listener);
    test_loop_free(loop);
}
END_TEST

/* Goal: without memory for the copy nothing is lost, and it is tried again. Method: allocations fail while the group is
 * empty, then not any more. */
START_TEST(no_memory_for_a_while)
{
    struct loop *loop = test_loop_new(&small_group);
    struct link  to;
    struct giver giver;
    uint64_t     before;

    link_open(loop, &to, _i, 1, NULL);
    to.peer.read_flow = 15;
    net_buffers(loop_stream_fd(&to.end.stream), 4096);
    ck_assert_int_eq(loop_stream_cork(&to.end.stream), 0);
    for (int i = 0; i < 40; i++) /* blocks for what follows */
        must_write(&to.end, "", 1, NULL, NULL, NULL);
    ck_assert_int_eq(loop_stream_write_cancel_all(&to.end.stream), 40);
    giver_open(loop, &giver, _i, &to.end);
    ck_assert(peer_feed(&giver.link.peer, 2048));
    run_until(loop, giver.link.end.read_bytes == 2048);
    settle(loop); /* all else that needs memory has had it */
    before = test_stats(loop).buffers_reclaimed;
    ck_assert(peer_feed(&giver.link.peer, 2048 * 20));
    for (int i = 0; i < 200 && test_stats(loop).buffers_parked == 0; i++) {
        test_memory.fail_from = test_memory.calls + 1;
        (void)loop_run(loop, LOOP_RUN_NOWAIT);
    }
    test_memory.fail_from = 0;
    pump_until(loop, giver.link.end.read_bytes == 2048 * 20);
    ck_assert_uint_gt(test_stats(loop).buffers_reclaimed, before);
    ck_assert_int_eq(loop_stream_uncork(&to.end.stream), 0);
    pump_until(loop, (peer_drain(&to.peer, SIZE_MAX), to.peer.read_bytes == 2048 * 20));
    link_close(loop, &giver.link);
    link_close(loop, &to);
    test_loop_free(loop);
}
END_TEST

/* Goal: streams that lose their buffers can be closed, reset, cancelled, and the loop destroyed at any time. Method:
 * floods, then each. The fixture counts. */
START_TEST(ends)
{
    enum { COUNT = 12 };
    static struct link links[COUNT];
    struct loop       *loop = test_loop_new(&small_group);

    for (uint32_t i = 0; i < COUNT; i++)
        narrow_open(loop, &links[i], i % 3 == 2 ? NET_UNIX : NET_TCP4, i + 1);
    for (uint32_t turn = 0; turn < 40; turn++) {
        for (uint32_t i = 0; i < COUNT; i++)
            if (links[i].end.closes == 0 && !loop_stream_closing(&links[i].end.stream))
                peer_feed(&links[i].peer, 300000);
        test_turns(loop, 1);
        if (turn < 10 || turn % 3 != 0)
            continue;
        switch (_i) {
        case 0: loop_stream_close(&links[turn % COUNT].end.stream, end_close_cb); break;
        case 1: loop_stream_reset(&links[turn % COUNT].end.stream, end_close_cb); break;
        case 2: (void)loop_stream_write_cancel_all(&links[turn % COUNT].end.stream); break;
        }
    }
    if (_i == 3) {
        test_loop_drop(loop);
    } else {
        for (uint32_t i = 0; i < COUNT; i++)
            if (links[i].end.closes == 0 && !loop_stream_closing(&links[i].end.stream))
                loop_stream_close(&links[i].end.stream, end_close_cb);
        for (uint32_t i = 0; i < COUNT; i++)
            run_until(loop, links[i].end.closes == 1);
        test_loop_free(loop);
    }
    for (uint32_t i = 0; i < COUNT; i++)
        test_close(links[i].peer.fd);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("net/stream_reclaim");
    TCase *tcase = test_case(suite, "blocked");
    int    kinds = net_kinds();

    tcase_add_loop_test(tcase, three_hundred_do_not_read, 0, kinds);
    tcase_add_loop_test(tcase, small, 0, kinds);
    tcase_add_loop_test(tcase, cannot_leave_yet, 0, 2);
    tcase_add_loop_test(tcase, no_memory_for_a_while, 0, kinds);
    tcase_add_loop_test(tcase, ends, 0, 4);
    return suite;
}
