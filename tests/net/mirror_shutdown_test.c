/* tests/net/mirror_shutdown_test.c: shutting down, as users of libuv know it; docs/scenarios.md lists what each
 * mirrors. */
#include "tests/net/couple.h"

enum { MIB = 1 << 20 };

/* Goal: a shutdown followed by a close: its callback comes before the close's, with success or -ECANCELED, and the peer
 * gets all that was told as sent, then the end. Method: a write, a shutdown, and the close after i / kinds turns. */
START_TEST(close_behind_shutdown)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;

    link_open(loop, &link, _i % NET_KINDS, 1, NULL);
    ck_assert_int_eq(end_write(&link.end, 10, 0), 0);
    ck_assert_int_eq(CALL(loop_stream_shutdown(&link.end.stream, end_shutdown_cb)), 0);
    test_turns(loop, (uint32_t)(_i / NET_KINDS));
    end_close(&link.end);
    run_until(loop, link.end.closes == 1);
    ck_assert_uint_eq(link.end.shutdowns, 1);
    ck_assert(link.end.shutdown_error == 0 || link.end.shutdown_error == -ECANCELED);
    peer_finish(&link.peer);
    ck_assert_int_eq(link.peer.error, 0);
    ck_assert_uint_eq(link.peer.read_bytes, link.end.taken_bytes);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* Goal: the end of the peer, that follows our shutdown, closes nothing: the stream stays until it is closed. Method: a
 * byte is echoed and both halves end; then 30 ms nothing happens; the close comes from a test that lives on. */
START_TEST(no_close_by_itself)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;

    link_open(loop, &link, _i, 1, NULL);
    link.end.name = "a";
    end_read_start(&link.end);
    ck_assert_int_eq(end_write(&link.end, 1, 0), 0);
    ck_assert_int_eq(CALL(loop_stream_shutdown(&link.end.stream, end_shutdown_cb)), 0);
    run_until(loop, link.end.shutdowns == 1);
    notes_are("a write 0 ok; a shutdown ok");
    peer_finish(&link.peer);
    ck_assert_uint_eq(link.peer.read_bytes, 1);
    ck_assert(peer_feed(&link.peer, 1));
    ck_assert_int_eq(shutdown(link.peer.fd, SHUT_WR), 0);
    run_until(loop, link.end.read_ends == 1);
    notes_are("a end ok");
    ck_assert_uint_eq(link.end.read_bytes, 1);
    run_for(loop, 30 * LOOP_MILLISECOND);
    ck_assert(loop_alive(loop));
    ck_assert_int_ge(loop_stream_fd(&link.end.stream), 0);
    notes_are("");
    end_close(&link.end);
    run_until(loop, link.end.closes == 1);
    notes_are("a close");
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

static void at_the_end_read_cb(struct loop_stream *stream, const struct loop_result *result)
{
    end_read_cb(stream, result);
    if (result->res == 0)
        end_close(end_of(stream));
}

/* Goal: both ends may shut down at the same time: each has its shutdown told, then gets the other's end. Method: two
 * streams of one loop, i odd: with much written before; each closes at the other's end. */
START_TEST(both_at_once)
{
    struct loop  *loop = test_loop_new(NULL);
    size_t        size = _i % 2 == 0 ? 1 : 3 * MIB;
    struct couple couple;
    struct end   *ends[] = {&couple.a, &couple.b};

    couple_open(loop, &couple, _i / 2, 1);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(CALL(loop_stream_read_start(&ends[i]->stream, at_the_end_read_cb)), 0);
        ck_assert_int_eq(end_write(ends[i], size, 0), 0);
        ck_assert_int_eq(CALL(loop_stream_shutdown(&ends[i]->stream, end_shutdown_cb)), 0);
    }
    for (int i = 0; i < 2; i++) {
        run_until(loop, ends[i]->closes == 1);
        ck_assert_uint_eq(ends[i]->read_ends, 1);
        ck_assert_int_eq(ends[i]->read_error, 0);
    }
    /* Who closes first at the other's end may find its own writes not taken yet. */
    ck_assert(couple.a.shutdown_error == 0 || couple.b.shutdown_error == 0);
    ck_assert_uint_eq(couple.a.writes_done + couple.b.writes_done, 2);
    ck_assert_uint_eq(couple.a.shutdowns + couple.b.shutdowns, 2);
    test_loop_free(loop);
}
END_TEST

static void again_shutdown_cb(struct loop_stream *stream, int error)
{
    end_shutdown_cb(stream, error);
    ck_assert_int_eq(CALL(loop_stream_shutdown(stream, end_shutdown_cb)), -ENOTCONN);
    ck_assert_int_eq(end_write(end_of(stream), 1, 0), -EPIPE);
}

static void shutting_connect_cb(struct loop_stream *stream, int error)
{
    end_connect_cb(stream, error);
    ck_assert_int_eq(CALL(loop_stream_shutdown(stream, again_shutdown_cb)), 0);
    ck_assert_int_eq(CALL(loop_stream_shutdown(stream, end_shutdown_cb)), -ENOTCONN);
    ck_assert_int_eq(end_write(end_of(stream), 1, 0), -EPIPE);
}

/* Goal: one shutdown for each connection: the second is refused, before the first is done and after it, and so are
 * writes; reading is not. Method: from the connect callback, and again from the shutdown's. */
START_TEST(twice)
{
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address address;
    int                 listener = net_listen(_i, 10, &address);
    struct end          end = {.name = "a", .read_flow = 2};
    struct peer         peer = {.write_flow = 2};

    ck_assert_int_eq(CALL(loop_stream_connect(loop, &end.stream, &address, NULL, shutting_connect_cb)), 0);
    run_until(loop, end.shutdowns == 1);
    notes_are("a connect ok; a shutdown ok");
    peer.fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    ck_assert_int_ge(peer.fd, 0);
    end_read_start(&end);
    ck_assert(peer_feed(&peer, 5000));
    run_until(loop, end.read_bytes == 5000);
    end_close(&end);
    run_until(loop, end.closes == 1);
    notes_are("a close");
    test_close(peer.fd);
    test_close(listener);
    test_loop_free(loop);
}
END_TEST

/* Goal: a shutdown of a connection that is gone has its callback, with an error or none, and hangs on nothing. Method:
 * the peer has (i % 3) 0: closed, 1: reset, 2: closed with data unread at its end; with a write queued before. */
START_TEST(of_a_lost_connection)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;

    link_open(loop, &link, _i / 3, 1, NULL);
    if (_i % 3 == 2) {
        ck_assert_int_eq(end_write(&link.end, 10, 0), 0);
        run_until(loop, link.end.writes_done == 1);
    }
    if (_i % 3 == 1)
        net_reset(link.peer.fd);
    else
        test_close(link.peer.fd);
    link.peer.fd = -1;
    ck_assert_int_eq(end_write(&link.end, 1000, 0), 0);
    ck_assert_int_eq(CALL(loop_stream_shutdown(&link.end.stream, end_shutdown_cb)), 0);
    run_until(loop, link.end.shutdowns == 1);
    ck_assert_uint_eq(link.end.writes_done, link.end.writes_started);
    if (link.end.writes_failed > 0)
        ck_assert_int_lt(link.end.shutdown_error, 0);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* Goal: a shutdown waits for a write that is stuck, however long, and is done as soon as that is through. Method: 10
 * MiB to a peer that does not read for a while; the shutdown is not told before its last byte was taken. */
START_TEST(waits_for_a_stuck_write)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;

    link_open(loop, &link, _i, 1, NULL);
    link.end.name = "a";
    ck_assert_int_eq(end_write(&link.end, 10 * MIB, 0), 0);
    ck_assert_int_eq(CALL(loop_stream_shutdown(&link.end.stream, end_shutdown_cb)), 0);
    settle(loop);
    notes_are("");
    ck_assert(loop_alive(loop));
    pump_until(loop, (peer_drain(&link.peer, MIB), link.peer.ended));
    ck_assert_uint_eq(link.peer.read_bytes, 10 * MIB);
    run_until(loop, link.end.shutdowns == 1);
    notes_are("a write 0 ok; a shutdown ok");
    link.end.name = NULL;
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("net/mirror_shutdown");
    TCase *tcase = test_case(suite, "order");
    int    kinds = net_kinds();

    for (int turns = 0; turns < 3; turns++)
        tcase_add_loop_test(tcase, close_behind_shutdown, turns * NET_KINDS, turns * NET_KINDS + kinds);
    tcase_add_loop_test(tcase, no_close_by_itself, 0, kinds);
    tcase_add_loop_test(tcase, both_at_once, 0, 2 * kinds);
    tcase_add_loop_test(tcase, twice, 0, kinds);
    tcase_add_loop_test(tcase, waits_for_a_stuck_write, 0, kinds);
    tcase = test_case(suite, "lost");
    tcase_add_loop_test(tcase, of_a_lost_connection, 0, 3 * kinds);
    return suite;
}
