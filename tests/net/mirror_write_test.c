/* tests/net/mirror_write_test.c: writing, as users of libuv know it; docs/scenarios.md lists what each mirrors. */
#include "tests/net/couple.h"

#include <signal.h>

enum { MIB = 1 << 20 };

/* ---- much */

static void counting_write_cb(struct loop_stream *stream, int error, size_t bytes, void *arg)
{
    struct end *end = end_of(stream);

    (void)arg;
    callback_enter();
    ck_assert_int_eq(error, 0);
    end->writes_done++;
    end->taken_bytes += bytes;
}

/* Goal: a lot in pieces of uneven sizes goes one way while as much comes back, byte for byte. Method: eight writes of
 * 600 pieces each, all queued in one turn, from both ends of a connection in one loop; then both shut down. */
START_TEST(a_lot_both_ways)
{
    enum { WRITES = 8, PIECES = 600, PIECE_MAX = 1777 };
    struct loop  *loop = test_loop_new(NULL);
    struct couple couple;
    struct end   *ends[] = {&couple.a, &couple.b};
    char         *memory[2];
    uint64_t      total = 0;

    couple_open(loop, &couple, _i, 1);
    for (int e = 0; e < 2; e++) {
        struct end *end = ends[e];

        memory[e] = malloc((size_t)WRITES * PIECES * PIECE_MAX);
        ck_assert_ptr_nonnull(memory[e]);
        pattern_fill(end->write_flow, 0, memory[e], (size_t)WRITES * PIECES * PIECE_MAX);
        end_read_start(end);
        for (uint32_t w = 0; w < WRITES; w++) {
            struct iovec iov[PIECES];

            for (uint32_t i = 0; i < PIECES; i++) {
                iov[i] = (struct iovec){.iov_base = memory[e] + end->write_bytes, .iov_len = (i * 7 + w) % PIECE_MAX};
                end->write_bytes += iov[i].iov_len;
            }
            ck_assert_int_eq(CALL(loop_stream_writev(&end->stream, iov, PIECES, counting_write_cb, NULL, NULL)), 0);
            end->writes_started++;
        }
        total = end->write_bytes;
        ck_assert_uint_eq(loop_stream_queued(&end->stream), total);
        ck_assert_int_eq(CALL(loop_stream_shutdown(&end->stream, end_shutdown_cb)), 0);
    }
    for (int e = 0; e < 2; e++) {
        run_until(loop, ends[e]->shutdowns == 1 && ends[e]->read_ends == 1);
        ck_assert_uint_eq(ends[e]->taken_bytes, total);
        ck_assert_uint_eq(ends[e]->read_bytes, total);
        ck_assert_int_eq(ends[e]->shutdown_error, 0);
        ck_assert_int_eq(ends[e]->read_error, 0);
        free(memory[e]);
    }
    couple_close(loop, &couple);
    test_loop_free(loop);
}
END_TEST

/* Goal: a small write behind a big one that is stuck waits for it, is counted to the byte, and follows at once when the
 * big one is through. Method: 10 MiB to a peer that does not read, then a byte; counts; then the peer reads. */
START_TEST(small_behind_big)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;
    size_t       before;

    link_open(loop, &link, _i, 1, NULL);
    link.end.name = "a";
    ck_assert_int_eq(end_write(&link.end, 10 * MIB, 0), 0);
    settle(loop);
    before = loop_stream_queued(&link.end.stream);
    ck_assert_uint_gt(before, 0);
    ck_assert_int_eq(end_write(&link.end, 1, 0), 0);
    ck_assert_uint_eq(loop_stream_queued(&link.end.stream), before + 1);
    settle(loop);
    notes_are("");
    ck_assert_uint_gt(loop_stream_queued(&link.end.stream), 1);
    pump_until(loop, (peer_drain(&link.peer, SIZE_MAX), link.peer.read_bytes == 10 * MIB + 1));
    run_until(loop, link.end.writes_done == 2);
    notes_are("a write 0 ok; a write 1 ok");
    ck_assert_uint_eq(loop_stream_queued(&link.end.stream), 0);
    link.end.name = NULL;
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* Goal: a hundred queued writes come back in their order, whatever becomes of them: the first with success, and after a
 * close the rest with -ECANCELED, none twice. Method: a peer that reads a part; end_write's callback checks the order.
 */
START_TEST(queue_in_order)
{
    enum { COUNT = 100 };
    struct loop *loop = test_loop_new(NULL);
    struct link  link;

    link_open(loop, &link, _i, 1, NULL);
    net_buffers(loop_stream_fd(&link.end.stream), 65536);
    net_buffers(link.peer.fd, 65536);
    for (int i = 0; i < COUNT; i++)
        ck_assert_int_eq(end_write(&link.end, 40000, i % 2 == 0 ? LOOP_WRITE_COPY : 0), 0);
    pump_until(loop, (peer_drain(&link.peer, 40000), link.end.writes_done > 10));
    ck_assert_uint_eq(link.end.writes_failed, 0);
    ck_assert_uint_lt(link.end.writes_done, COUNT);
    end_close(&link.end);
    run_until(loop, link.end.closes == 1);
    ck_assert_uint_eq(link.end.writes_done, COUNT);
    ck_assert_uint_gt(link.end.writes_failed, 0);
    ck_assert_int_eq(link.end.write_error, -ECANCELED);
    peer_finish(&link.peer);
    ck_assert_uint_le(link.peer.read_bytes, link.end.taken_bytes);
    if (_i == NET_UNIX)
        ck_assert_uint_eq(link.peer.read_bytes, link.end.taken_bytes);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* ---- writing without end */

struct pourer {
    struct link       link;
    struct loop_timer timer;
    bool              shut;
};

static void pour_cb(struct loop_stream *stream, int error, size_t bytes, void *arg)
{
    struct pourer *pourer = arg;
    struct end    *end = &pourer->link.end;
    char           block[512];
    int            r;

    callback_enter();
    ck_assert_int_eq(error, 0);
    ck_assert(bytes == sizeof(block) || end->writes_started == 0);
    end->writes_done += end->writes_started > 0;
    pattern_fill(end->write_flow, end->write_bytes, block, sizeof(block));
    r = CALL(loop_stream_write(stream, block, sizeof(block), pour_cb, pourer,
                               &(const struct loop_write_terms){.flags = LOOP_WRITE_COPY}));
    ck_assert_int_eq(r, pourer->shut ? -EPIPE : 0);
    if (r < 0)
        return;
    end->writes_started++;
    end->write_bytes += sizeof(block);
}

static void pour_timer_cb(struct loop_timer *timer)
{
    struct pourer *pourer = timer->data;

    ck_assert_int_eq(CALL(loop_stream_shutdown(&pourer->link.end.stream, end_shutdown_cb)), 0);
    pourer->shut = true;
}

/* Goal: a stream that always has another write, made in the callback of the last, starves nobody: timers fire, and a
 * shutdown from one ends it; all that was accepted arrives before the end. Method: a timer shuts down after 20 ms; the
 * peer reads as fast as it can. */
START_TEST(shutdown_ends_the_flow)
{
    struct loop  *loop = test_loop_new(NULL);
    struct pourer pourer = {0};
    struct end   *end = &pourer.link.end;

    link_open(loop, &pourer.link, _i, 1, NULL);
    pourer.timer.data = &pourer;
    ck_assert_int_eq(loop_timer_start(loop, &pourer.timer, 20 * LOOP_MILLISECOND, 0, pour_timer_cb), 0);
    pour_cb(&end->stream, 0, 0, &pourer);
    pump_until(loop, (peer_drain(&pourer.link.peer, SIZE_MAX), end->shutdowns == 1));
    ck_assert_int_eq(end->shutdown_error, 0);
    peer_finish(&pourer.link.peer);
    ck_assert_int_eq(pourer.link.peer.error, 0);
    ck_assert_uint_eq(pourer.link.peer.read_bytes, end->write_bytes);
    ck_assert_uint_gt(end->writes_done, 1);
    link_close(loop, &pourer.link);
    test_loop_free(loop);
}
END_TEST

/* ---- failure */

/* Goal: a socket that was shut down behind the stream's back is like one whose peer has gone: reading gets the end,
 * writes -EPIPE, a shutdown its result, without SIGPIPE. Method: i / kinds: shutdown(2) of writing, of reading, of
 * both, on the stream's descriptor. */
START_TEST(shut_behind_its_back)
{
    static const int hows[] = {SHUT_WR, SHUT_RD, SHUT_RDWR};
    int              how = hows[_i / NET_KINDS];
    struct loop     *loop = test_loop_new(NULL);
    struct link      link;
    struct sigaction action;

    ck_assert_int_eq(sigaction(SIGPIPE, NULL, &action), 0);
    ck_assert(action.sa_handler == SIG_DFL);
    link_open(loop, &link, _i % NET_KINDS, 1, NULL);
    end_read_start(&link.end);
    settle(loop);
    ck_assert_int_eq(shutdown(loop_stream_fd(&link.end.stream), how), 0);
    if (how != SHUT_WR) {
        run_until(loop, link.end.read_ends == 1);
        ck_assert_int_eq(link.end.read_error, 0);
    }
    ck_assert_int_eq(end_write(&link.end, 1000, 0), 0);
    run_until(loop, link.end.writes_done == 1);
    ck_assert_int_eq(link.end.write_error, how == SHUT_RD ? 0 : -EPIPE);
    ck_assert_int_eq(CALL(loop_stream_shutdown(&link.end.stream, end_shutdown_cb)), 0);
    run_until(loop, link.end.shutdowns == 1);
    ck_assert_int_eq(link.end.shutdown_error, how == SHUT_RD ? 0 : -EPIPE);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* Goal: writes to a connection that the peer resets end by themselves, although nobody reads. Method: 4 MiB queued and
 * stuck; the peer resets; the write ends with an error, once, and the loop sleeps again. */
START_TEST(stuck_write_meets_a_reset)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;

    link_open(loop, &link, _i, 1, NULL);
    ck_assert_int_eq(end_write(&link.end, 10 * MIB, 0), 0);
    ck_assert_int_eq(end_write(&link.end, 100, 0), 0);
    settle(loop);
    ck_assert_uint_eq(link.end.writes_done, 0);
    net_reset(link.peer.fd);
    link.peer.fd = -1;
    run_until(loop, link.end.writes_done == 2);
    ck_assert_uint_eq(link.end.writes_failed, 2);
    ck_assert(link.end.write_error == -ECONNRESET || link.end.write_error == -EPIPE);
    ck_assert_uint_lt(run_for(loop, 30 * LOOP_MILLISECOND), 5);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

static void closing_write_cb(struct loop_stream *stream, int error, size_t bytes, void *arg)
{
    note_write_cb(stream, error, bytes, arg);
    if (!loop_stream_closing(stream))
        end_close(end_of(stream));
}

/* Goal: writes made before a connection that fails end behind the connect callback, also when the first of them closes
 * the stream. Method: two writes towards nobody; notes. */
START_TEST(write_before_a_refusal)
{
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address nobody;
    struct end          end = {.name = "a"};

    test_close(net_listen(_i, 1, &nobody));
    end_connect(loop, &end, &nobody, NULL);
    must_write(&end, "TEST", 4, closing_write_cb, "0", NULL);
    must_write(&end, "TEST", 4, closing_write_cb, "1", NULL);
    run_until(loop, end.closes == 1);
    notes_are("a connect ECONNREFUSED; write 0 ECANCELED 0; write 1 ECANCELED 0; a close");
    test_loop_free(loop);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("net/mirror_write");
    TCase *tcase = test_case(suite, "much");
    int    kinds = net_kinds();

    tcase_add_loop_test(tcase, a_lot_both_ways, 0, kinds);
    tcase_add_loop_test(tcase, small_behind_big, 0, kinds);
    tcase_add_loop_test(tcase, queue_in_order, 0, kinds);
    tcase_add_loop_test(tcase, shutdown_ends_the_flow, 0, kinds);
    tcase = test_case(suite, "failure");
    for (int how = 0; how < 3; how++)
        tcase_add_loop_test(tcase, shut_behind_its_back, how * NET_KINDS, how * NET_KINDS + kinds);
    tcase_add_loop_test(tcase, stuck_write_meets_a_reset, 0, kinds);
    tcase_add_loop_test(tcase, write_before_a_refusal, 0, kinds);
    return suite;
}
