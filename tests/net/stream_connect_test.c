/* tests/net/stream_connect_test.c: streams: connecting. */
#include "tests/net/net_test.h"

/* A listener that accepts no more: whoever connects to it waits. Its backlog is filled by filler sockets. */
struct full_listener {
    struct loop_address address;
    int                 fd;
    int                 fillers[4];
};

static void full_listener_open(struct full_listener *full, int kind)
{
    full->fd = net_listen(kind, 0, &full->address);
    for (size_t i = 0; i < TEST_COUNT(full->fillers); i++) {
        int error;

        full->fillers[i] = net_dial_start(&full->address, &error);
        ck_assert(error == 0 || error == -EINPROGRESS || error == -EAGAIN);
    }
    test_sleep(5 * LOOP_MILLISECOND);
}

static void full_listener_close(struct full_listener *full)
{
    for (size_t i = 0; i < TEST_COUNT(full->fillers); i++)
        test_close(full->fillers[i]);
    test_close(full->fd);
}

/* Goal: a connection is made, told once and never inside the call, and carries data both ways; its addresses are those
 * the kernel knows. Method: to a plain listener; writes are made before it stands and must come after the connect
 * callback. */
START_TEST(success)
{
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address address, mine;
    int                 listener = net_listen(_i, 10, &address);
    struct end          end = {.name = "a", .write_flow = 1, .read_flow = 2};
    struct peer         peer = {.read_flow = 1, .write_flow = 2};

    end_connect(loop, &end, &address, NULL);
    ck_assert(loop_alive(loop));
    ck_assert_int_eq(CALL(loop_stream_read_start(&end.stream, end_read_cb)), -ENOTCONN);
    ck_assert_int_eq(CALL(loop_stream_shutdown(&end.stream, end_shutdown_cb)), -ENOTCONN);
    ck_assert_int_eq(CALL(loop_stream_connect(loop, &end.stream, &address, NULL, end_connect_cb)), -EBUSY);
    ck_assert_int_eq(end_write(&end, 1000, 0), 0);
    ck_assert_int_eq(end_write(&end, 1, 0), 0);
    ck_assert_uint_eq(loop_stream_queued(&end.stream), 1001);
    run_until(loop, end.writes_done == 2);
    notes_are("a connect ok; a write 0 ok; a write 1 ok");
    peer.fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    ck_assert_int_ge(peer.fd, 0);
    pump_until(loop, (peer_drain(&peer, SIZE_MAX), peer.read_bytes == 1001));
    end_read_start(&end);
    ck_assert(peer_feed(&peer, 2000));
    run_until(loop, end.read_bytes == 2000);
    ck_assert_int_eq(loop_stream_peer_address(&end.stream, &mine), 0);
    ck_assert_uint_eq(mine.size, address.size);
    ck_assert(memcmp(&mine.storage, &address.storage, address.size) == 0);
    end_close(&end);
    run_until(loop, end.closes == 1);
    test_close(peer.fd);
    test_close(listener);
    test_loop_free(loop);
}
END_TEST

static void reading_connect_cb(struct loop_stream *stream, int error)
{
    struct end *end = end_of(stream);

    end_connect_cb(stream, error);
    ck_assert_int_eq(error, 0);
    end_read_start(end);
    ck_assert_int_eq(end_write(end, 10, 0), 0);
    ck_assert_int_eq(CALL(loop_stream_shutdown(stream, end_shutdown_cb)), 0);
}

/* Goal: reading, writing and shutting down may all begin in the connect callback. Method: does so; the peer answers
 * after the end it saw. */
START_TEST(all_from_the_connect_callback)
{
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address address;
    int                 listener = net_listen(_i, 10, &address);
    struct end          end = {.name = "a", .write_flow = 1, .read_flow = 2};
    struct peer         peer = {.read_flow = 1, .write_flow = 2};

    ck_assert_int_eq(CALL(loop_stream_connect(loop, &end.stream, &address, NULL, reading_connect_cb)), 0);
    run_until(loop, end.shutdowns == 1);
    peer.fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    ck_assert_int_ge(peer.fd, 0);
    peer_finish(&peer);
    ck_assert_uint_eq(peer.read_bytes, 10);
    ck_assert_int_eq(peer.error, 0);
    ck_assert(peer_feed(&peer, 100));
    test_close(peer.fd);
    run_until(loop, end.read_ends == 1);
    ck_assert_uint_eq(end.read_bytes, 100);
    end_close(&end);
    run_until(loop, end.closes == 1);
    notes_are("a connect ok; a write 0 ok; a shutdown ok; a end ok; a close");
    test_close(listener);
    test_loop_free(loop);
}
END_TEST

/* Goal: where nobody listens, the connect callback has the errno; writes made before it end with -ECANCELED behind it;
 * the stream still is to be closed. Method: an address bound, but not listening, and a unix path that does not exist.
 */
START_TEST(refused)
{
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address address;
    struct end          end = {.name = "a"};
    int                 fd = -1;

    if (_i == NET_KINDS) {
        address = net_parse("unix:/nowhere/at/all", 0);
    } else {
        address = net_address(_i);
        fd = socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ck_assert_int_eq(bind(fd, (const struct sockaddr *)&address.storage, address.size), 0);
        address.size = sizeof(address.storage);
        ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address.storage, &address.size), 0);
    }
    end_connect(loop, &end, &address, NULL);
    ck_assert_int_eq(end_write(&end, 10, 0), 0);
    ck_assert_int_eq(end_write(&end, 100000, LOOP_WRITE_COPY), 0);
    run_until(loop, end.connects == 1);
    run_until(loop, end.writes_done == 2);
    notes_are(_i == NET_KINDS ? "a connect ENOENT; a write 0 ECANCELED; a write 1 ECANCELED"
                              : "a connect ECONNREFUSED; a write 0 ECANCELED; a write 1 ECANCELED");
    ck_assert_uint_eq(end.taken_bytes, 0);
    ck_assert_uint_eq(loop_stream_queued(&end.stream), 0);
    ck_assert_int_eq(CALL(loop_stream_read_start(&end.stream, end_read_cb)), -ENOTCONN);
    ck_assert_int_eq(CALL(loop_stream_shutdown(&end.stream, end_shutdown_cb)), -ENOTCONN);
    settle(loop);
    ck_assert_uint_eq(end.closes, 0);
    end_close(&end);
    run_until(loop, end.closes == 1);
    notes_are("a close");
    if (fd >= 0)
        test_close(fd);
    test_loop_free(loop);
}
END_TEST

/* Goal: a connection that does not come about in time ends with -ETIMEDOUT, never early. Method: a listener with a full
 * backlog. The loop waits meanwhile and does not spin. */
START_TEST(timeout)
{
    struct loop_stream_options options = {.connect_timeout_ns = 100 * LOOP_MILLISECOND};
    struct loop               *loop = test_loop_new(NULL);
    struct full_listener       full;
    struct end                 end = {.name = "a"};
    uint64_t                   began;

    full_listener_open(&full, _i);
    began = test_clock();
    end_connect(loop, &end, &full.address, &options);
    ck_assert_int_eq(end_write(&end, 10, 0), 0);
    run_until(loop, end.connects == 1);
    ck_assert_uint_ge(test_clock() - began, options.connect_timeout_ns);
    run_until(loop, end.writes_done == 1);
    notes_are("a connect ETIMEDOUT; a write 0 ECANCELED");
    ck_assert_uint_lt(test_stats(loop).turns, 100);
    end_close(&end);
    run_until(loop, end.closes == 1);
    notes_are("a close");
    full_listener_close(&full);
    test_loop_free(loop);
}
END_TEST

/* Goal: a deadline that was not needed leaves nothing behind. Method: connects with one of an hour, closes, and lets
 * the loop run out. */
START_TEST(timeout_not_needed)
{
    struct loop_stream_options options = {.connect_timeout_ns = 3600 * LOOP_SECOND};
    struct loop               *loop = test_loop_new(NULL);
    struct loop_address        address;
    int                        listener = net_listen(_i, 10, &address);
    struct end                 end = {0};

    end_connect(loop, &end, &address, &options);
    run_until(loop, end.connects == 1);
    ck_assert_int_eq(end.connect_error, 0);
    end_close(&end);
    test_run(loop);
    ck_assert_uint_eq(end.closes, 1);
    test_close(listener);
    test_loop_free(loop);
}
END_TEST

/* Goal: closing while connecting ends all of it in order: connect, writes, close. Method: to a full backlog, after some
 * turns; i odd: by reset. */
START_TEST(close_while_connecting)
{
    struct loop         *loop = test_loop_new(NULL);
    struct full_listener full;
    struct end           end = {.name = "a"};

    full_listener_open(&full, _i / 2);
    end_connect(loop, &end, &full.address, NULL);
    ck_assert_int_eq(end_write(&end, 10, 0), 0);
    ck_assert_int_eq(end_write(&end, 100000, 0), 0);
    settle(loop);
    notes_are("");
    if (_i % 2 == 0)
        loop_stream_close(&end.stream, end_close_cb);
    else
        loop_stream_reset(&end.stream, end_close_cb);
    notes_are("");
    run_until(loop, end.closes == 1);
    notes_are("a connect ECANCELED; a write 0 ECANCELED; a write 1 ECANCELED; a close");
    full_listener_close(&full);
    test_loop_free(loop);
}
END_TEST

/* Goal: the same before the first turn, with a listener that would accept. Method: closes right behind the call; the
 * connection may have come about, then the connect callback says so, but each comes once and in order. */
START_TEST(close_right_after_connect)
{
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address address;
    int                 listener = net_listen(_i, 10, &address);
    struct end          end = {0};

    end_connect(loop, &end, &address, NULL);
    ck_assert_int_eq(end_write(&end, 10, 0), 0);
    end_close(&end);
    test_run(loop);
    ck_assert_uint_eq(end.connects, 1);
    ck_assert(end.connect_error == -ECANCELED || end.connect_error == 0);
    ck_assert_uint_eq(end.writes_done, 1);
    ck_assert_int_eq(end.write_error, -ECANCELED);
    ck_assert_uint_eq(end.closes, 1);
    test_close(listener);
    test_loop_free(loop);
}
END_TEST

static void closing_connect_cb(struct loop_stream *stream, int error)
{
    end_connect_cb(stream, error);
    end_close(end_of(stream));
}

/* Goal: closing inside the connect callback, of success and of failure. Method: with a write queued, which ends with
 * -ECANCELED behind it. */
START_TEST(close_inside_the_connect_callback)
{
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address address;
    int                 listener = net_listen(_i, 10, &address);

    for (int listening = 1; listening >= 0; listening--) {
        struct end end = {.name = "a"};

        if (!listening)
            test_close(listener);
        ck_assert_int_eq(CALL(loop_stream_connect(loop, &end.stream, &address, NULL, closing_connect_cb)), 0);
        ck_assert_int_eq(end_write(&end, 10, 0), 0);
        run_until(loop, end.closes == 1);
        notes_are(listening ? "a connect ok; a write 0 ECANCELED; a close"
                            : "a connect ECONNREFUSED; a write 0 ECANCELED; a close");
    }
    test_loop_free(loop);
}
END_TEST

/* Goal: senseless arguments and addresses are refused by the call, which leaves nothing behind. Method: each of them.
 */
START_TEST(bad_arguments)
{
    struct loop_stream_options bad_flags = {.flags = 1u << 31};
    struct loop_address        address = net_parse("127.0.0.1", 1), unknown = address, short_one = address;
    struct loop               *loop = test_loop_new(NULL);
    struct end                 end = {.name = "a"};

    unknown.storage.ss_family = 200;
    short_one.size = 3;
    ck_assert_int_eq(CALL(loop_stream_connect(loop, &end.stream, &address, &bad_flags, end_connect_cb)), -EINVAL);
    ck_assert_int_lt(CALL(loop_stream_connect(loop, &end.stream, &unknown, NULL, end_connect_cb)), 0);
    if (CALL(loop_stream_connect(loop, &end.stream, &short_one, NULL, end_connect_cb)) == 0) {
        run_until(loop, end.connects == 1);
        notes_are("a connect EINVAL");
        end_close(&end);
        run_until(loop, end.closes == 1);
        notes_are("a close");
    }
    settle(loop);
    notes_are("");
    ck_assert(!loop_alive(loop));
    test_loop_free(loop);
}
END_TEST

/* Goal: many at a time. Method: 200 streams connect at once, write, and are closed, half of them before they are
 * accepted. */
START_TEST(many)
{
    enum { COUNT = 200 };
    struct loop        *loop = test_loop_new(NULL);
    static struct end   ends[COUNT];
    struct loop_address address;
    int                 listener = net_listen(_i, COUNT, &address), accepted[COUNT];

    for (uint32_t i = 0; i < COUNT; i++) {
        end_connect(loop, &ends[i], &address, NULL);
        ck_assert_int_eq(end_write(&ends[i], 100, 0), 0);
    }
    for (uint32_t i = 0; i < COUNT; i++) {
        run_until(loop, ends[i].writes_done == 1);
        ck_assert_int_eq(ends[i].connect_error, 0);
        if (i % 2 == 0)
            end_close(&ends[i]);
    }
    for (uint32_t i = 0; i < COUNT; i++)
        accepted[i] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    for (uint32_t i = 0; i < COUNT; i++) {
        ck_assert_int_ge(accepted[i], 0);
        test_close(accepted[i]);
        if (i % 2 == 1)
            end_close(&ends[i]);
    }
    test_run(loop);
    for (uint32_t i = 0; i < COUNT; i++) {
        ck_assert_uint_eq(ends[i].connects, 1);
        ck_assert_uint_eq(ends[i].closes, 1);
        ck_assert_uint_eq(ends[i].writes_failed, 0);
    }
    test_close(listener);
    test_loop_free(loop);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("net/stream_connect");
    TCase *tcase = test_case(suite, "success");
    int    kinds = net_kinds();

    tcase_add_loop_test(tcase, success, 0, kinds);
    tcase_add_loop_test(tcase, all_from_the_connect_callback, 0, kinds);
    tcase_add_loop_test(tcase, timeout_not_needed, 0, kinds);
    tcase_add_loop_test(tcase, many, 0, kinds);
    tcase = test_case(suite, "failure");
    tcase_add_loop_test(tcase, refused, 0, kinds);
    tcase_add_loop_test(tcase, refused, NET_KINDS, NET_KINDS + 1);
    tcase_add_loop_test(tcase, timeout, 0, kinds);
    tcase_add_test(tcase, bad_arguments);
    tcase = test_case(suite, "closing");
    tcase_add_loop_test(tcase, close_while_connecting, 0, 2 * kinds);
    tcase_add_loop_test(tcase, close_right_after_connect, 0, kinds);
    tcase_add_loop_test(tcase, close_inside_the_connect_callback, 0, kinds);
    return suite;
}
