/* tests/net/hard_reset_test.c: a connection ends by force, in each state that a stream can be in. */
#include "tests/net/net_test.h"

#include <poll.h>

enum { MIB = 1 << 20, TURNS_MAX = 4 };

/* ---- the states */

enum state {
    STATE_FRESH,           /* open, nothing was asked for */
    STATE_IDLE,            /* reads, and there is nothing */
    STATE_BUSY,            /* reads what comes in */
    STATE_UNREAD,          /* data waits in the socket, nobody reads */
    STATE_PAUSED,          /* read stop after a start */
    STATE_PAUSED_DATA,     /* the same with data received behind it */
    STATE_BLOCKED,         /* a send is stuck, others wait behind it */
    STATE_BLOCKED_READING, /* the same, and it reads */
    STATE_SHUTTING,        /* a shutdown waits behind a send that is stuck */
    STATE_SHUT,            /* our half has ended, reading goes on */
    STATE_SHUT_SILENT,     /* our half has ended, and it does not read */
    STATE_PEER_ENDED,      /* the peer's half has ended, and was told */
    STATE_PEER_ENDED_BLOCKED,
    STATE_PEER_ENDED_UNTOLD, /* the same while paused */
    STATE_BOTH_ENDED,
    STATES
};

static bool state_reads(enum state state)
{
    return state == STATE_IDLE || state == STATE_BUSY || state == STATE_BLOCKED_READING || state == STATE_SHUT;
}

static bool state_is_blocked(enum state state)
{
    return state == STATE_BLOCKED || state == STATE_BLOCKED_READING || state == STATE_SHUTTING ||
           state == STATE_PEER_ENDED_BLOCKED;
}

static void stop_reading(struct loop *loop, struct end *end)
{
    settle(loop);
    ck_assert_int_eq(CALL(loop_stream_read_stop(&end->stream)), 0);
}

static void shut(struct loop *loop, struct end *end)
{
    ck_assert_int_eq(CALL(loop_stream_shutdown(&end->stream, end_shutdown_cb)), 0);
    run_until(loop, end->shutdowns == 1);
}

static void peer_ends(struct loop *loop, struct link *link)
{
    end_read_start(&link->end);
    ck_assert_int_eq(shutdown(link->peer.fd, SHUT_WR), 0);
    run_until(loop, link->end.read_ends == 1);
}

static void block(struct loop *loop, struct end *end)
{
    ck_assert_int_eq(end_write(end, 8 * MIB, 0), 0);
    ck_assert_int_eq(end_write(end, 100, 0), 0);
    ck_assert_int_eq(end_write(end, 100000, LOOP_WRITE_COPY), 0);
    settle(loop);
    ck_assert_uint_eq(end->writes_done, 0);
}

static void state_enter(struct loop *loop, struct link *link, enum state state)
{
    struct end *end = &link->end;

    switch (state) {
    case STATE_FRESH:
    case STATES: break;
    case STATE_IDLE: end_read_start(end); break;
    case STATE_BUSY:
        end_read_start(end);
        peer_feed(&link->peer, 300000);
        break;
    case STATE_UNREAD: peer_feed(&link->peer, 1000); break;
    case STATE_PAUSED:
        end_read_start(end);
        stop_reading(loop, end);
        break;
    case STATE_PAUSED_DATA:
        end_read_start(end);
        settle(loop);
        peer_feed(&link->peer, 50000);
        ck_assert_int_eq(CALL(loop_stream_read_stop(&end->stream)), 0);
        settle(loop);
        break;
    case STATE_BLOCKED: block(loop, end); break;
    case STATE_BLOCKED_READING:
        end_read_start(end);
        block(loop, end);
        break;
    case STATE_SHUTTING:
        block(loop, end);
        ck_assert_int_eq(CALL(loop_stream_shutdown(&end->stream, end_shutdown_cb)), 0);
        break;
    case STATE_SHUT:
        end_read_start(end);
        shut(loop, end);
        break;
    case STATE_SHUT_SILENT: shut(loop, end); break;
    case STATE_PEER_ENDED: peer_ends(loop, link); break;
    case STATE_PEER_ENDED_BLOCKED:
        peer_ends(loop, link);
        block(loop, end);
        break;
    case STATE_PEER_ENDED_UNTOLD:
        end_read_start(end);
        stop_reading(loop, end);
        ck_assert_int_eq(shutdown(link->peer.fd, SHUT_WR), 0);
        break;
    case STATE_BOTH_ENDED:
        peer_ends(loop, link);
        shut(loop, end);
        break;
    }
}

/* ---- by the peer */

/* Whatever it was doing: nothing is owed any more but the close, and the loop sleeps. */
static void nothing_owed(struct loop *loop, struct end *end)
{
    ck_assert_uint_eq(end->writes_done, end->writes_started);
    ck_assert_uint_eq(loop_stream_queued(&end->stream), 0);
    ck_assert_uint_lt(run_for(loop, 20 * LOOP_MILLISECOND), 6);
    ck_assert_uint_eq(end->closes, 0);
    ck_assert_uint_eq(test_stats(loop).buffers_lent, 0);
}

/* Goal: in whatever state a peer resets, what is under way ends with an error, once; who reads is told, who does not is
 * told when reading starts; nothing spins, hangs or closes by itself. Method: each state of enum state; the peer
 * resets; the callbacks; then reading is started where it was not, and the stream closed. */
START_TEST(peer_resets)
{
    enum state   state = (enum state)(_i % STATES);
    struct loop *loop = test_loop_new(NULL);
    struct link  link;
    struct end  *end = &link.end;
    bool         told;
    int          r;

    link_open(loop, &link, _i / STATES == 0 ? NET_TCP4 : NET_TCP6, 1, NULL);
    state_enter(loop, &link, state);
    told = end->read_ends == 1;
    net_reset(link.peer.fd);
    link.peer.fd = -1;
    if (state_is_blocked(state)) {
        run_until(loop, end->writes_done == 3);
        ck_assert_uint_eq(end->writes_failed, 3);
        ck_assert(end->write_error == -ECONNRESET || end->write_error == -EPIPE);
    }
    if (state == STATE_SHUTTING) {
        run_until(loop, end->shutdowns == 1);
        ck_assert_int_lt(end->shutdown_error, 0);
    }
    if (state_reads(state)) {
        run_until(loop, end->read_ends == 1);
        ck_assert_int_lt(end->read_error, state == STATE_BLOCKED_READING ? 1 : 0); /* the send may take the error */
    }
    nothing_owed(loop, end);
    if (!state_reads(state) && !told) {
        ck_assert_uint_eq(end->read_ends, 0);
        r = CALL(loop_stream_read_start(&end->stream, end_read_cb));
        ck_assert_int_eq(r, 0);
        run_until(loop, end->read_ends == 1);
    }
    if (!told && !state_is_blocked(state))
        ck_assert_int_eq(end->read_error, state == STATE_PEER_ENDED_UNTOLD ? end->read_error : -ECONNRESET);
    nothing_owed(loop, end);
    link_close(loop, &link);
    ck_assert_uint_eq(end->read_ends, 1);
    test_loop_free(loop);
}
END_TEST

/* Goal: a reset is never told as an end: who reads until the end must not take what came before a reset for all.
 * Method: a send is stuck when the reset comes, so that it may be the one that the kernel tells; i 0: reading then, 1:
 * reading starts when the writes have failed. */
START_TEST(reset_is_no_end)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;
    struct end  *end = &link.end;

    link_open(loop, &link, NET_TCP4, 1, NULL);
    if (_i == 0)
        end_read_start(end);
    ck_assert(peer_feed(&link.peer, 1000));
    block(loop, end);
    net_reset(link.peer.fd);
    link.peer.fd = -1;
    run_until(loop, end->writes_done == 3);
    if (_i == 1)
        end_read_start(end);
    run_until(loop, end->read_ends == 1);
    ck_assert_str_eq(error_text(end->read_error), "ECONNRESET");
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* Goal: an end behind more data than the kernel's multishot gives in one go is seen. Method: small buffers; the peer
 * sends many of them and then vanishes, tcp by a reset; then reading starts, or goes on after a stop (odd i). */
START_TEST(end_behind_much)
{
    static const uint32_t counts[] = {31, 33, 40, 64, 100};
    struct loop          *loop = test_loop_new(&(struct loop_options){.buffer_size = 1024});
    struct link           link;
    struct end           *end = &link.end;
    uint64_t              size = counts[_i / 4] * 1024u + (uint32_t)_i % 3;
    int                   kind = _i / 2 % 2 == 0 ? NET_UNIX : NET_TCP4;

    link_open(loop, &link, kind, 1, NULL);
    if (_i % 2 != 0) {
        end_read_start(end);
        stop_reading(loop, end);
        settle(loop);
    }
    pump_until(loop, peer_feed(&link.peer, size));
    net_reset(link.peer.fd);
    link.peer.fd = -1;
    end_read_start(end);
    run_until(loop, end->read_ends == 1);
    ck_assert_str_eq(error_text(end->read_error), kind == NET_UNIX ? "ok" : "ECONNRESET");
    if (kind == NET_UNIX)
        ck_assert_uint_eq(end->read_bytes, size);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* Goal: and an end that came before a reset stays an end: the peer has sent all. Method: the peer sends, shuts down,
 * and resets while a send of ours is stuck; reading starts behind that (i 1) or goes on meanwhile. */
START_TEST(end_before_a_reset)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;
    struct end  *end = &link.end;

    link_open(loop, &link, NET_TCP4, 1, NULL);
    if (_i == 0)
        end_read_start(end);
    block(loop, end);
    ck_assert(peer_feed(&link.peer, 1000));
    ck_assert_int_eq(shutdown(link.peer.fd, SHUT_WR), 0);
    net_reset(link.peer.fd);
    link.peer.fd = -1;
    run_until(loop, end->writes_done == 3);
    if (_i == 1)
        end_read_start(end);
    run_until(loop, end->read_ends == 1);
    ck_assert_uint_eq(end->read_bytes, 1000);
    ck_assert_str_eq(error_text(end->read_error), "ok");
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* Goal: a peer that just closes, in whatever state, ends all in the same way; the bytes of ours that it has not read
 * make it a reset. Method: each state of enum state, over tcp and unix. */
START_TEST(peer_closes)
{
    enum state   state = (enum state)(_i % STATES);
    int          kind = _i / STATES;
    struct loop *loop = test_loop_new(NULL);
    struct link  link;
    struct end  *end = &link.end;

    link_open(loop, &link, kind, 1, NULL);
    state_enter(loop, &link, state);
    test_close(link.peer.fd);
    link.peer.fd = -1;
    if (state_is_blocked(state)) {
        run_until(loop, end->writes_done == 3);
        ck_assert_uint_eq(end->writes_failed, 3);
    }
    if (state == STATE_SHUTTING)
        run_until(loop, end->shutdowns == 1);
    if (end->read_ends == 0 && !state_reads(state)) {
        nothing_owed(loop, end);
        end_read_start(end);
    }
    run_until(loop, end->read_ends == 1);
    if (!state_is_blocked(state))
        ck_assert_str_eq(error_text(end->read_error), "ok");
    else if (kind == NET_UNIX && state != STATE_PEER_ENDED_BLOCKED)
        ck_assert_str_eq(error_text(end->read_error), "ECONNRESET");
    ck_assert_uint_le(end->read_bytes, link.peer.write_bytes);
    if (end->read_error == 0)
        ck_assert_uint_eq(end->read_bytes, link.peer.write_bytes);
    nothing_owed(loop, end);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* Goal: a reset and a close of ours that meet are one close. Method: each state; the peer resets, then after 0 to 3
 * turns the stream is closed or reset; callbacks in order and once, which those of an end check. */
START_TEST(peer_resets_while_we_close)
{
    struct loop *loop = test_loop_new(NULL);

    for (int turns = 0; turns < TURNS_MAX; turns++) {
        for (int by_reset = 0; by_reset < 2; by_reset++) {
            struct link link;

            link_open(loop, &link, NET_TCP4, 1, NULL);
            state_enter(loop, &link, (enum state)_i);
            net_reset(link.peer.fd);
            link.peer.fd = -1;
            test_turns(loop, (uint32_t)turns);
            if (by_reset)
                loop_stream_reset(&link.end.stream, end_close_cb);
            else
                end_close(&link.end);
            run_until(loop, link.end.closes == 1);
            ck_assert_uint_eq(link.end.writes_done, link.end.writes_started);
            ck_assert_uint_eq(link.end.shutdowns, _i == STATE_SHUTTING || _i == STATE_SHUT || _i == STATE_SHUT_SILENT ||
                                                      _i == STATE_BOTH_ENDED);
            ck_assert_uint_eq(test_stats(loop).buffers_lent, 0);
        }
    }
    ck_assert_uint_eq(test_stats(loop).ops_in_flight, 0);
    test_loop_free(loop);
}
END_TEST

/* ---- by us */

/* Goal: a close or a reset in whatever state ends all within the loop's own means, without any help of the peer, and
 * the peer is told. Method: each state and kind of socket, i odd by reset; the peer does nothing until the close
 * callback; then it reads what is left, which is no more than what was told as taken. */
START_TEST(we_end_it)
{
    bool         by_reset = _i % 2 == 1;
    enum state   state = (enum state)(_i / 2 % STATES);
    int          kind = _i / 2 / STATES;
    struct loop *loop = test_loop_new(NULL);
    struct link  link;
    bool         told;

    link_open(loop, &link, kind, 1, NULL);
    state_enter(loop, &link, state);
    told = link.end.read_ends == 1;
    if (by_reset)
        loop_stream_reset(&link.end.stream, end_close_cb);
    else
        end_close(&link.end);
    run_until(loop, link.end.closes == 1);
    ck_assert_uint_eq(link.end.read_ends, told);
    ck_assert_uint_eq(link.end.writes_done, link.end.writes_started);
    if (state_is_blocked(state)) {
        ck_assert_uint_eq(link.end.writes_failed, 3);
        ck_assert_int_eq(link.end.write_error, -ECANCELED);
    }
    if (state == STATE_SHUTTING)
        ck_assert_int_eq(link.end.shutdown_error, -ECANCELED);
    peer_finish(&link.peer);
    ck_assert_uint_le(link.peer.read_bytes, link.end.taken_bytes);
    if (by_reset && kind != NET_UNIX && state != STATE_SHUT && state != STATE_SHUT_SILENT && state != STATE_BOTH_ENDED)
        ck_assert_int_eq(link.peer.error, -ECONNRESET);
    if (!by_reset && (state == STATE_FRESH || state == STATE_IDLE || state == STATE_PAUSED))
        ck_assert_int_eq(link.peer.error, 0);
    if (!by_reset && kind == NET_UNIX)
        ck_assert_uint_eq(link.peer.read_bytes, link.end.taken_bytes);
    ck_assert_uint_eq(test_stats(loop).buffers_lent, 0);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* ---- requests */

struct wish {
    uint32_t calls;
    int      error;
    size_t   bytes;
    char     data[4096];
};

static void wish_cb(struct loop_stream *stream, int error, size_t bytes, void *arg)
{
    struct wish *wish = arg;

    (void)stream;
    callback_enter();
    wish->calls++;
    wish->error = error;
    wish->bytes = bytes;
}

enum request { REQUEST_READ, REQUEST_EXACTLY, REQUEST_UNTIL, REQUEST_READY, REQUESTS };

static int request(struct link *link, enum request which, struct wish *wish)
{
    struct loop_stream *stream = &link->end.stream;

    switch (which) {
    case REQUEST_READ: return CALL(loop_stream_read(stream, wish->data, 4096, wish_cb, wish, NULL));
    case REQUEST_EXACTLY: return CALL(loop_stream_read_exactly(stream, wish->data, 4096, wish_cb, wish, NULL));
    case REQUEST_UNTIL: return CALL(loop_stream_read_until(stream, wish->data, 4096, "\n\n\n", 3, wish_cb, wish, NULL));
    case REQUEST_READY:
    case REQUESTS: break;
    }
    return CALL(loop_stream_read_ready(stream, wish_cb, wish, NULL));
}

/* What a read at once says, if it is an error or the end. */
static int try_error(struct end *end)
{
    char    data[4096];
    ssize_t got = loop_stream_try_read(&end->stream, data, sizeof(data));

    if (got == 0)
        return -ENODATA;
    return got < 0 && got != -EAGAIN ? (int)got : 0;
}

/* Goal: a reset ends a request of any kind with its errno, also where a part of it has come before; it is never
 * -ENODATA, which says that the peer has sent all. Method: each kind, i / REQUESTS: 0 with nothing before, 1 with a
 * part that is in before the reset comes, 2 with a part right before it. */
START_TEST(request_meets_a_reset)
{
    enum request which = (enum request)(_i % REQUESTS);
    int          part = _i / REQUESTS;
    struct loop *loop = test_loop_new(NULL);
    struct wish  wish = {0};
    struct link  link;

    link_open(loop, &link, NET_TCP4, 1, NULL);
    ck_assert_int_eq(request(&link, which, &wish), 0);
    settle(loop);
    if (part > 0)
        ck_assert(peer_feed(&link.peer, 100));
    if (part == 1)
        settle(loop);
    net_reset(link.peer.fd);
    link.peer.fd = -1;
    for (uint32_t n = 0; wish.error == 0; n++) {
        ck_assert_uint_lt(n, 3);
        if (n > 0) {
            wish = (struct wish){0};
            ck_assert_int_eq(request(&link, which, &wish), 0);
        }
        run_until(loop, wish.calls == 1);
        if (which == REQUEST_READY && wish.error == 0)
            wish.error = try_error(&link.end);
    }
    ck_assert_str_eq(error_text(wish.error), "ECONNRESET");
    if (part > 0 && (which == REQUEST_EXACTLY || which == REQUEST_UNTIL))
        ck_assert_uint_eq(wish.bytes, 100);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* ---- while connecting */

static void reading_connect_cb(struct loop_stream *stream, int error)
{
    end_connect_cb(stream, error);
    if (error == 0)
        end_read_start(end_of(stream));
}

/* Goal: a connection that ends as soon as it stands, or before, gives its callbacks in order, with any timing. Method:
 * 200 times: connects and writes to a listener whose owner accepts and resets at once, or closes the listener with the
 * connection in its backlog, which resets it too; reading starts in the connect callback. */
START_TEST(reset_while_connecting)
{
    struct loop *loop = test_loop_new(NULL);
    uint64_t     random = test_env("RINGLOOP_SEED", 5) + (uint64_t)_i;

    for (int round = 0; round < 200; round++) {
        struct loop_address address;
        struct end          end = {.write_flow = 1};
        int                 listener = net_listen(_i, 4, &address);

        ck_assert_int_eq(CALL(loop_stream_connect(loop, &end.stream, &address, NULL, reading_connect_cb)), 0);
        ck_assert_int_eq(end_write(&end, test_random(&random) % 2 == 0 ? 10 : 8 * MIB, LOOP_WRITE_COPY), 0);
        test_turns(loop, (uint32_t)(test_random(&random) % 3));
        if (test_random(&random) % 2 == 0 && poll(&(struct pollfd){.fd = listener, .events = POLLIN}, 1, 0) == 1)
            net_reset(accept4(listener, NULL, NULL, SOCK_CLOEXEC));
        test_close(listener);
        run_until(loop, end.connects == 1 && end.writes_done == 1);
        if (end.connect_error == 0)
            run_until(loop, end.read_ends == 1);
        else
            ck_assert_int_eq(end.write_error, -ECANCELED);
        end_close(&end);
        run_until(loop, end.closes == 1);
    }
    test_run(loop);
    test_loop_free(loop);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("net/hard_reset");
    TCase *tcase = test_case(suite, "by the peer");
    int    kinds = net_kinds();

    tcase_add_loop_test(tcase, peer_resets, 0, kinds == NET_KINDS ? 2 * STATES : STATES);
    tcase_add_loop_test(tcase, reset_is_no_end, 0, 2);
    tcase_add_loop_test(tcase, end_before_a_reset, 0, 2);
    tcase_add_loop_test(tcase, end_behind_much, 0, 20);
    tcase_add_loop_test(tcase, peer_closes, 0, 2 * STATES);
    tcase_add_loop_test(tcase, peer_resets_while_we_close, 0, STATES);
    tcase = test_case(suite, "by us");
    tcase_add_loop_test(tcase, we_end_it, 0, 2 * STATES * kinds);
    tcase = test_case(suite, "requests");
    tcase_add_loop_test(tcase, request_meets_a_reset, 0, 3 * REQUESTS);
    tcase = test_case(suite, "connecting");
    tcase_add_loop_test(tcase, reset_while_connecting, 0, kinds);
    return suite;
}
