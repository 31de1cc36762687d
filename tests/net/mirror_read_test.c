/* tests/net/mirror_read_test.c: reading, as users of libuv know it; docs/scenarios.md lists what each mirrors. */
#include "tests/net/couple.h"

/* ---- ping-pong */

enum { PING_ROUNDS = 1000, PING_BYTES = 5 };

struct player {
    struct end end;
    uint32_t   rounds;
    bool       serves; /* and ends it */
    bool       in_pieces;
};

static void player_hit(struct player *player)
{
    struct end  *end = &player->end;
    char         bytes[PING_BYTES];
    struct iovec iov[2] = {{.iov_base = bytes, .iov_len = 2}, {.iov_base = bytes + 2, .iov_len = PING_BYTES - 2}};

    pattern_fill(end->write_flow, end->write_bytes, bytes, PING_BYTES);
    end->write_bytes += PING_BYTES;
    if (player->in_pieces)
        ck_assert_int_eq(CALL(loop_stream_writev(&end->stream, iov, 2, NULL, NULL, NULL)), 0);
    else
        must_write(end, bytes, PING_BYTES, NULL, NULL, NULL);
}

static void player_read_cb(struct loop_stream *stream, const struct loop_result *result)
{
    struct player *player = end_of(stream)->arg;

    end_read_cb(stream, result);
    if (result->res == 0) {
        end_close(&player->end);
        return;
    }
    for (; player->rounds < player->end.read_bytes / PING_BYTES; player->rounds++) {
        if (!player->serves || player->rounds + 1 < PING_ROUNDS)
            player_hit(player);
        else
            ck_assert_int_eq(CALL(loop_stream_shutdown(stream, end_shutdown_cb)), 0);
    }
}

/* Goal: messages go to and fro, each made in the read callback of the one before, however they are cut up. Method: 1000
 * rounds of five bytes between two streams of one loop, as one piece or two (i odd); the end closes both. */
START_TEST(ping_pong)
{
    struct loop  *loop = test_loop_new(NULL);
    struct player players[2] = {{.serves = true, .in_pieces = _i % 2 == 1}, {.in_pieces = _i % 2 == 1}};
    int           fds[2];

    net_pair(_i / 2, fds);
    for (uint64_t i = 0; i < 2; i++) {
        players[i].end.write_flow = i;
        players[i].end.read_flow = 1 - i;
        players[i].end.arg = &players[i];
        end_open(loop, &players[i].end, fds[i], NULL);
        ck_assert_int_eq(CALL(loop_stream_read_start(&players[i].end.stream, player_read_cb)), 0);
    }
    player_hit(&players[0]);
    test_run(loop);
    for (int i = 0; i < 2; i++) {
        ck_assert_uint_eq(players[i].rounds, PING_ROUNDS);
        ck_assert_uint_eq(players[i].end.closes, 1);
        ck_assert_int_eq(players[i].end.read_error, 0);
    }
    test_loop_free(loop);
}
END_TEST

/* ---- not reading */

/* Goal: data, an end or a reset that nobody reads makes the loop do nothing: it sleeps. Nothing is lost, and the end
 * comes behind the data when reading starts. Method: i / 3: 0 never started, 1 stopped after a start, 2 stopped in the
 * first callback; turns are counted over 50 ms. */
START_TEST(nobody_reads)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;
    uint64_t     fed = 1;

    link_open(loop, &link, _i % 3, 1, NULL);
    if (_i / 3 > 0)
        end_read_start(&link.end);
    if (_i / 3 == 2) {
        ck_assert(peer_feed(&link.peer, fed++));
        run_until(loop, link.end.reads == 1);
    }
    settle(loop);
    if (_i / 3 > 0)
        ck_assert_int_eq(CALL(loop_stream_read_stop(&link.end.stream)), 0);
    settle(loop);
    ck_assert(peer_feed(&link.peer, fed));
    ck_assert_uint_lt(run_for(loop, 50 * LOOP_MILLISECOND), 5);
    fed += 20000;
    ck_assert(peer_feed(&link.peer, fed));
    ck_assert_int_eq(shutdown(link.peer.fd, SHUT_WR), 0);
    ck_assert_uint_lt(run_for(loop, 50 * LOOP_MILLISECOND), 5);
    ck_assert_uint_eq(link.end.reads, _i / 3 == 2);
    ck_assert_uint_eq(link.end.read_ends, 0);
    end_read_start(&link.end);
    run_until(loop, link.end.read_ends == 1);
    ck_assert_uint_eq(link.end.read_bytes, fed);
    ck_assert_int_eq(link.end.read_error, 0);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* Goal: the same for a reset: it wakes nobody who does not read, is told to who starts later, and is no obstacle to a
 * close. Method: reset before any start; i odd: closed without ever reading. */
START_TEST(reset_that_nobody_reads)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;

    link_open(loop, &link, _i / 2, 1, NULL);
    ck_assert_int_eq(end_write(&link.end, 10, 0), 0);
    run_until(loop, link.end.writes_done == 1);
    net_reset(link.peer.fd);
    link.peer.fd = -1;
    ck_assert_uint_lt(run_for(loop, 50 * LOOP_MILLISECOND), 5);
    if (_i % 2 == 0) {
        end_read_start(&link.end);
        run_until(loop, link.end.read_ends == 1);
        ck_assert_int_eq(link.end.read_error, -ECONNRESET);
    }
    link_close(loop, &link);
    ck_assert_uint_eq(link.end.read_ends, _i % 2 == 0);
    test_loop_free(loop);
}
END_TEST

/* Goal: an end that was told does not come again and again: the loop sleeps, although the socket stays readable for
 * ever. Method: turns are counted after the end; writing to the half-open connection goes on meanwhile. */
START_TEST(quiet_after_the_end)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;

    link_open(loop, &link, _i, 1, NULL);
    end_read_start(&link.end);
    ck_assert_int_eq(shutdown(link.peer.fd, SHUT_WR), 0);
    run_until(loop, link.end.read_ends == 1);
    ck_assert_uint_lt(run_for(loop, 50 * LOOP_MILLISECOND), 5);
    for (uint64_t i = 1; i <= 100; i++) {
        ck_assert_int_eq(end_write(&link.end, 1000, 0), 0);
        pump_until(loop, (peer_drain(&link.peer, SIZE_MAX), link.peer.read_bytes == i * 1000));
    }
    ck_assert_int_eq(CALL(loop_stream_shutdown(&link.end.stream, end_shutdown_cb)), 0);
    run_until(loop, link.end.shutdowns == 1);
    peer_finish(&link.peer);
    ck_assert_int_eq(link.peer.error, 0);
    ck_assert_uint_lt(run_for(loop, 50 * LOOP_MILLISECOND), 5); /* both halves are over: POLLHUP, for ever */
    ck_assert_uint_eq(link.end.read_ends, 1);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* ---- stopping and starting */

static void second_read_cb(struct loop_stream *stream, const struct loop_result *result)
{
    end_read_cb(stream, result);
    if (result->res > 0)
        note("second");
}

static void switching_read_cb(struct loop_stream *stream, const struct loop_result *result)
{
    struct end *end = end_of(stream);

    end_read_cb(stream, result);
    note("first");
    ck_assert_int_eq(end_write(end, 8, 0), 0);
    ck_assert_int_eq(CALL(loop_stream_read_stop(stream)), 0);
    ck_assert_int_eq(CALL(loop_stream_read_start(stream, second_read_cb)), 0);
}

/* Goal: a stop and a start with another callback, inside a read callback that also writes, to a peer that is about to
 * close: the second callback gets the rest and the end. Method: notes. */
START_TEST(other_callback_from_inside)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;

    link_open(loop, &link, _i, 1, NULL);
    link.end.name = "a";
    ck_assert_int_eq(CALL(loop_stream_read_start(&link.end.stream, switching_read_cb)), 0);
    ck_assert(peer_feed(&link.peer, 10));
    run_until(loop, link.end.writes_done == 1);
    ck_assert(peer_feed(&link.peer, 20));
    run_until(loop, link.end.read_bytes == 20);
    peer_drain(&link.peer, SIZE_MAX);
    ck_assert_uint_eq(link.peer.read_bytes, 8);
    test_close(link.peer.fd);
    link.peer.fd = -1;
    run_until(loop, link.end.read_ends == 1);
    notes_are("first; a write 0 ok; second; a end ok");
    link.end.name = NULL;
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

static void one_read_cb(struct loop_stream *stream, const struct loop_result *result)
{
    struct end *end = end_of(stream);

    end_read_cb(stream, result);
    ck_assert_uint_eq(end->reads, 1);
    ck_assert_int_eq(CALL(loop_stream_read_stop(stream)), 0);
}

/* Goal: what follows a stop waits, its end included, and comes in order after the start. Method: a byte; the callback
 * stops; then, with the peer closed, another start gives the rest and the end. */
START_TEST(one_then_the_end)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;

    link_open(loop, &link, _i, 1, NULL);
    link.end.name = "a";
    ck_assert_int_eq(CALL(loop_stream_read_start(&link.end.stream, one_read_cb)), 0);
    ck_assert(peer_feed(&link.peer, 1));
    run_until(loop, link.end.reads == 1);
    ck_assert(peer_feed(&link.peer, 5));
    test_close(link.peer.fd);
    link.peer.fd = -1;
    settle(loop);
    ck_assert_uint_eq(link.end.read_bytes, 1);
    notes_are("");
    end_read_start(&link.end);
    run_until(loop, link.end.read_ends == 1);
    ck_assert_uint_eq(link.end.read_bytes, 5);
    notes_are("a end ok");
    link.end.name = NULL;
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

static void stopping_write_cb(struct loop_stream *stream, int error, size_t bytes, void *arg)
{
    struct end *end = end_of(stream);

    note_write_cb(stream, error, bytes, arg);
    ck_assert_int_eq(CALL(loop_stream_read_stop(stream)), 0);
    end_close(end);
}

/* Goal: reading may be stopped in a write callback, with data for the reader in the same turn, and then closed: no read
 * callback comes. Method: the peer has answered before the write's end is told. */
START_TEST(write_callback_stops_reading)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;

    link_open(loop, &link, _i, 1, NULL);
    link.end.name = "a";
    end_read_start(&link.end);
    settle(loop);
    must_write(&link.end, "x", 1, stopping_write_cb, "0", NULL);
    ck_assert(peer_feed(&link.peer, 1000));
    run_until(loop, link.end.closes == 1);
    ck_assert_uint_le(link.end.reads, 1); /* the answer may stand before the write's end */
    notes_are("write 0 ok 1; a close");
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* ---- errors */

static void failing_read_cb(struct loop_stream *stream, const struct loop_result *result)
{
    struct end *end = end_of(stream);

    end_read_cb(stream, result);
    if (result->res > 0)
        return;
    ck_assert_int_eq(result->res, -ECONNRESET);
    ck_assert_int_eq(CALL(loop_stream_read_start(stream, end_read_cb)), -ENOTCONN);
    ck_assert_int_eq(CALL(loop_stream_read_stop(stream)), 0);
    ck_assert(end_write(end, 10, 0) == 0);
    ck_assert_int_eq(CALL(loop_stream_shutdown(stream, end_shutdown_cb)), 0);
}

/* Goal: after a reset nothing hangs: what is asked for inside the read callback that tells it ends with an error, once,
 * and the close ends all. Method: a write and a shutdown from inside; their errors. */
START_TEST(use_after_a_reset)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;

    link_open(loop, &link, _i, 1, NULL);
    ck_assert_int_eq(end_write(&link.end, 10, 0), 0);
    run_until(loop, link.end.writes_done == 1);
    ck_assert_int_eq(CALL(loop_stream_read_start(&link.end.stream, failing_read_cb)), 0);
    net_reset(link.peer.fd);
    link.peer.fd = -1;
    run_until(loop, link.end.shutdowns == 1);
    ck_assert_int_eq(link.end.read_error, -ECONNRESET);
    ck_assert_int_eq(link.end.write_error, -EPIPE);
    ck_assert_int_lt(link.end.shutdown_error, 0);
    ck_assert_int_eq(end_write(&link.end, 10, 0), -EPIPE);
    ck_assert_int_eq(loop_stream_local_address(&link.end.stream, &(struct loop_address){0}), 0);
    ck_assert_int_ge(loop_stream_fd(&link.end.stream), 0);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* ---- urgent data */

/* Goal: urgent data of a peer disturbs nothing: the bytes around it arrive in order, the loop does not spin on it, and
 * reading goes on to the end. Method: tcp: an urgent byte between two parts, 20 times, with and without turns between;
 * it does not stand in the stream, since SO_OOBINLINE is off. */
START_TEST(urgent_data)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;
    uint64_t     turns;

    link_open(loop, &link, _i, 1, NULL);
    end_read_start(&link.end);
    for (uint64_t i = 1; i <= 20; i++) {
        ck_assert(peer_feed(&link.peer, i * 1000 - 500));
        ck_assert_int_eq(send(link.peer.fd, "!", 1, MSG_OOB | MSG_NOSIGNAL), 1);
        if (i % 2 == 0) {
            settle(loop);
            turns = run_for(loop, 10 * LOOP_MILLISECOND);
            ck_assert_uint_lt(turns, 20);
        }
        ck_assert(peer_feed(&link.peer, i * 1000));
        run_until(loop, link.end.read_bytes == i * 1000); /* an urgent byte that is overtaken would become data */
    }
    ck_assert_int_eq(shutdown(link.peer.fd, SHUT_WR), 0);
    run_until(loop, link.end.read_ends == 1);
    ck_assert_uint_eq(link.end.read_bytes, 20000);
    ck_assert_int_eq(link.end.read_error, 0);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("net/mirror_read");
    TCase *tcase = test_case(suite, "ping-pong");
    int    kinds = net_kinds();

    tcase_add_loop_test(tcase, ping_pong, 0, 2 * kinds);
    tcase = test_case(suite, "not reading");
    tcase_add_loop_test(tcase, nobody_reads, 0, kinds == NET_KINDS ? 9 : 0);
    tcase_add_loop_test(tcase, reset_that_nobody_reads, 0, 2);
    tcase_add_loop_test(tcase, quiet_after_the_end, 0, kinds);
    tcase = test_case(suite, "stop and start");
    tcase_add_loop_test(tcase, other_callback_from_inside, 0, kinds);
    tcase_add_loop_test(tcase, one_then_the_end, 0, kinds);
    tcase_add_loop_test(tcase, write_callback_stops_reading, 0, kinds);
    tcase = test_case(suite, "errors");
    tcase_add_loop_test(tcase, use_after_a_reset, 0, 1);
    tcase = test_case(suite, "urgent data");
    tcase_add_loop_test(tcase, urgent_data, 0, 1);
    tcase_add_loop_test(tcase, urgent_data, NET_TCP6, kinds);
    return suite;
}
