/* tests/net/stream_destroy_test.c: streams that are open when their loop is destroyed. */
#include "tests/net/net_test.h"

static void destroyed_close_cb(struct loop_stream *stream)
{
    struct loop_stream another = {0};

    end_close_cb(stream);
    ck_assert_int_eq(loop_stream_open(loop_stream_loop(stream), &another, end_of(stream)->read_error, NULL),
                     -ECANCELED);
}

/* Goal: destroying the loop closes every stream with all its callbacks in order. Method: 100 streams: idle, reading,
 * with writes in flight, shut down, already closing; i 1: before the first turn. What the close callbacks try to start
 * is refused. */
START_TEST(destroy_with_open_streams)
{
    enum { COUNT = 100 };
    struct loop_stream_options options = {.on_close = destroyed_close_cb};
    static struct link         links[COUNT];
    struct loop               *loop = test_loop_new(NULL);

    for (uint32_t i = 0; i < COUNT; i++) {
        struct end *end = &links[i].end;

        link_open(loop, &links[i], (int)i % NET_TCP6, i, &options);
        end->read_error = links[i].peer.fd; /* a descriptor to try to open */
        if (i % 3 > 0)
            end_read_start(end);
        if (i % 5 > 2) {
            net_buffers(loop_stream_fd(&end->stream), 16384);
            ck_assert_int_eq(end_write(end, 1 << 20, 0), 0);
        }
        if (i % 7 > 3)
            ck_assert_int_eq(CALL(loop_stream_shutdown(&end->stream, end_shutdown_cb)), 0);
    }
    if (_i == 0)
        settle(loop);
    for (uint32_t i = 0; i < COUNT; i += 10)
        loop_stream_close(&links[i].end.stream, NULL);
    test_loop_drop(loop);
    for (uint32_t i = 0; i < COUNT; i++) {
        struct end *end = &links[i].end;

        ck_assert_uint_eq(end->closes, 1);
        ck_assert_uint_eq(end->writes_done, end->writes_started);
        if (i % 7 > 3)
            ck_assert_uint_eq(end->shutdowns, 1);
        test_close(links[i].peer.fd);
    }
}
END_TEST

/* Goal: the same of streams that are connecting. Method: to a listener whose backlog is full; i 1: before the first
 * turn. */
START_TEST(destroy_while_connecting)
{
    struct loop_stream_options options = {.on_close = end_close_cb};
    struct loop               *loop = test_loop_new(NULL);
    struct loop_address        address;
    int        listener = net_listen(NET_TCP4, 0, &address), error, filler = net_dial_start(&address, &error);
    struct end end = {.name = "a"};

    test_sleep(LOOP_MILLISECOND);
    end_connect(loop, &end, &address, &options);
    ck_assert_int_eq(end_write(&end, 10, 0), 0);
    if (_i == 0)
        settle(loop);
    notes_are("");
    test_loop_drop(loop);
    notes_are("a connect ECANCELED; a write 0 ECANCELED; a close");
    test_close(filler);
    test_close(listener);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("net/stream_destroy");
    TCase *tcase = test_case(suite, "destroy");

    tcase_add_loop_test(tcase, destroy_with_open_streams, 0, 2);
    tcase_add_loop_test(tcase, destroy_while_connecting, 0, 2);
    return suite;
}
