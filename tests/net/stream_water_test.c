/* tests/net/stream_water_test.c: high and low water, and reading that rests in between. */
#include "tests/net/net_test.h"

static struct loop_stream *told_stream;
static bool                told_last;
static uint32_t            told_full, told_low;

static void water_cb(struct loop_stream *stream, bool full)
{
    callback_enter();
    ck_assert(!loop_stream_closing(stream));
    ck_assert(told_full + told_low == 0 || full != told_last); /* they take turns */
    told_stream = stream;
    told_last = full;
    told_full += full;
    told_low += !full;
}

/* Goal: told once above the high mark, once at the low one, not between, not from inside a call. Method: writes of 100
 * bytes while corked, then drained. */
START_TEST(told_once_each)
{
    struct loop_stream_options options = {.write_high = 1000, .write_low = 300, .on_water = water_cb};
    struct loop               *loop = test_loop_new(NULL);
    struct link                link;

    link_open(loop, &link, _i, 1, &options);
    for (uint32_t round = 1; round <= 3; round++) {
        ck_assert_int_eq(loop_stream_cork(&link.end.stream), 0);
        for (int i = 0; i < 10; i++)
            ck_assert_int_eq(end_write(&link.end, 100, 0), 0);
        settle(loop);
        ck_assert_uint_eq(told_full, round - 1); /* high itself is not more than high */
        ck_assert_int_eq(end_write(&link.end, 1, 0), 0);
        ck_assert_uint_eq(told_full, round - 1);
        settle(loop);
        ck_assert_uint_eq(told_full, round);
        for (int i = 0; i < 10; i++)
            ck_assert_int_eq(end_write(&link.end, 100, 0), 0);
        settle(loop);
        ck_assert_uint_eq(told_full, round);
        ck_assert_uint_eq(told_low, round - 1);
        ck_assert_int_eq(loop_stream_uncork(&link.end.stream), 0);
        run_until(loop, told_low == round);
        ck_assert_ptr_eq(told_stream, &link.end.stream);
        pump_until(loop, (peer_drain(&link.peer, SIZE_MAX), link.peer.read_bytes == link.end.write_bytes));
    }
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* Goal: low is told when what is queued has come down to it exactly, also by a cancel. Method: full while corked; then
 * some are cancelled: above the mark nothing is told, at it, it is. */
START_TEST(low_by_cancel)
{
    struct loop_stream_options options = {.write_high = 1000, .write_low = 300, .on_water = water_cb};
    struct loop               *loop = test_loop_new(NULL);
    struct link                link;
    char                       bytes[800] = "";

    link_open(loop, &link, _i, 1, &options);
    ck_assert_int_eq(loop_stream_cork(&link.end.stream), 0);
    must_write(&link.end, bytes, 300, NULL, "stay", NULL);
    must_write(&link.end, bytes, 1, NULL, "one", NULL);
    must_write(&link.end, bytes, 800, NULL, "many", NULL);
    run_until(loop, told_full == 1);
    ck_assert_int_eq(loop_stream_write_cancel(&link.end.stream, "many"), 1);
    settle(loop);
    ck_assert_uint_eq(loop_stream_queued(&link.end.stream), 301);
    ck_assert_uint_eq(told_low, 0);
    ck_assert_int_eq(loop_stream_write_cancel(&link.end.stream, "one"), 1);
    run_until(loop, told_low == 1);
    link_close(loop, &link);
    ck_assert_uint_eq(told_full + told_low, 2); /* none by the close */
    test_loop_free(loop);
}
END_TEST

/* Goal: marks that make no sense are refused, and the descriptor stays the caller's; without memory too. */
START_TEST(marks_refused)
{
    struct loop *loop = test_loop_new(NULL);
    struct end   end = {0};
    int          fds[2];

    net_pair(_i, fds);
    ck_assert_int_eq(
        loop_stream_open(loop, &end.stream, fds[0], &(struct loop_stream_options){.write_high = 10, .write_low = 11}),
        -EINVAL);
    ck_assert_int_eq(loop_stream_open(loop, &end.stream, fds[0],
                                      &(struct loop_stream_options){.write_bytes_max = 100, .write_low = 51}),
                     -EINVAL);
    test_memory.fail_at = test_memory.calls + 1;
    ck_assert_int_eq(loop_stream_open(loop, &end.stream, fds[0], &(struct loop_stream_options){.on_water = water_cb}),
                     -ENOMEM);
    test_memory.fail_at = 0;
    end_open(loop, &end, fds[0], &(struct loop_stream_options){.write_high = 10, .write_low = 10});
    end_close(&end);
    run_until(loop, end.closes == 1);
    test_close(fds[1]);
    test_loop_free(loop);
}
END_TEST

enum act { ACT_WRITE, ACT_CANCEL, ACT_CLOSE, ACT_RESET, ACT_SHUTDOWN, ACTS };
static int      act;
static uint32_t acted;

static void acting_cb(struct loop_stream *stream, bool full)
{
    struct end *end = end_of(stream);

    callback_enter();
    if (acted++ > 20)
        return;
    switch (act) {
    case ACT_WRITE: ck_assert_int_eq(end_write(end, full ? 10 : 2000, 0), 0); break;
    case ACT_CANCEL: ck_assert_int_ge(loop_stream_write_cancel_all(stream), 0); break;
    case ACT_CLOSE: loop_stream_close(stream, end_close_cb); break;
    case ACT_RESET: loop_stream_reset(stream, end_close_cb); break;
    case ACT_SHUTDOWN: (void)loop_stream_shutdown(stream, end_shutdown_cb); break;
    }
}

/* Goal: the callback may do anything. Method: each act at high and low water, with a peer that reads. */
START_TEST(inside_the_callback)
{
    struct loop_stream_options options = {.write_high = 1000, .write_low = 300, .on_water = acting_cb};
    struct loop               *loop = test_loop_new(NULL);
    struct link                link;

    act = _i;
    link_open(loop, &link, NET_TCP4, 1, &options);
    ck_assert_int_eq(end_write(&link.end, 2000, 0), 0);
    pump_until(loop, (act == ACT_CANCEL ? (void)0 : (void)peer_drain(&link.peer, SIZE_MAX),
                      acted >= (act == ACT_WRITE ? 20 : 1) && link.end.writes_done == link.end.writes_started &&
                          (act != ACT_SHUTDOWN || link.end.shutdowns == 1)));
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* ---- reading rests */

static uint32_t            echoes;
static loop_stream_read_cb echo_read;

static void echo_read(struct loop_stream *stream, const struct loop_result *result)
{
    callback_enter();
    echoes++;
    if (result->res > 0)
        ck_assert_int_eq(loop_stream_write(stream, result->data, (size_t)result->res, NULL, NULL,
                                           &(struct loop_write_terms){.release = result->buffer}),
                         0);
}

/* Goal: a server that echoes to a peer that sends and does not read holds a bounded amount, without a line of its own;
 * when the peer reads all comes, and its end too. With LOOP_STREAM_READ_ON it reads on until the hard limit. Method:
 * the peer sends 8 MiB as far as that goes, then reads; checks every byte. */
START_TEST(echo_to_a_peer_that_does_not_read)
{
    enum { HIGH = 65536, TOTAL = 32 << 20, SLACK = 1 << 20 };
    struct loop_stream_options options = {.write_high = HIGH, .on_water = water_cb};
    struct loop               *loop = test_loop_new(NULL);
    struct link                link;
    uint64_t                   before;

    link_open(loop, &link, _i, 1, &options);
    link.peer.read_flow = link.peer.write_flow;
    ck_assert_int_eq(loop_stream_read_start(&link.end.stream, echo_read), 0);
    pump_until(loop, (peer_feed(&link.peer, TOTAL), told_full == 1));
    settle(loop);
    before = echoes;
    ck_assert_uint_lt(loop_stream_queued(&link.end.stream), HIGH + SLACK);
    for (int i = 0; i < 50; i++) {
        peer_feed(&link.peer, TOTAL);
        pump_once(loop);
    }
    ck_assert_uint_eq(echoes, before);
    ck_assert_uint_lt(link.peer.write_bytes, TOTAL);
    pump_until(loop, (peer_feed(&link.peer, TOTAL), peer_drain(&link.peer, SIZE_MAX), link.peer.read_bytes == TOTAL));
    run_until(loop, told_full == told_low);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

START_TEST(reads_on_if_told_to)
{
    enum { TOTAL = 4 << 20 };
    struct loop_stream_options options = {.write_high = 1000, .flags = LOOP_STREAM_READ_ON};
    struct loop               *loop = test_loop_new(NULL);
    struct link                link;

    link_open(loop, &link, _i, 1, &options);
    link.peer.read_flow = link.peer.write_flow;
    ck_assert_int_eq(loop_stream_read_start(&link.end.stream, echo_read), 0);
    pump_until(loop, peer_feed(&link.peer, TOTAL));
    pump_until(loop, (peer_drain(&link.peer, SIZE_MAX), link.peer.read_bytes == TOTAL));
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* Goal: the user's own stop and start stay what they are while reading rests: a stop is kept over low water, a start
 * while full takes effect at low water and never before; the end that came meanwhile is told then. Method: corked and
 * full; data and the end arrive. */
START_TEST(stop_and_start_while_full)
{
    struct loop_stream_options options = {.write_high = 1000, .write_low = 10, .on_water = water_cb};
    struct loop               *loop = test_loop_new(NULL);
    struct link                link;

    link_open(loop, &link, _i, 1, &options);
    end_read_start(&link.end);
    test_turns(loop, 2);
    ck_assert_int_eq(loop_stream_cork(&link.end.stream), 0);
    ck_assert_int_eq(end_write(&link.end, 2000, 0), 0);
    run_until(loop, told_full == 1);
    ck_assert(peer_feed(&link.peer, 5000));
    ck_assert_int_eq(shutdown(link.peer.fd, SHUT_WR), 0);
    settle(loop);
    ck_assert_uint_eq(link.end.reads, 0);
    ck_assert_int_eq(CALL(loop_stream_read_stop(&link.end.stream)), 0);
    ck_assert_int_eq(loop_stream_uncork(&link.end.stream), 0);
    run_until(loop, told_low == 1);
    settle(loop);
    ck_assert_uint_eq(link.end.reads, 0); /* stopped by the user */
    ck_assert_int_eq(loop_stream_cork(&link.end.stream), 0);
    ck_assert_int_eq(end_write(&link.end, 2000, 0), 0);
    run_until(loop, told_full == 2);
    ck_assert_int_eq(CALL(loop_stream_read_start(&link.end.stream, end_read_cb)), 0);
    settle(loop);
    ck_assert_uint_eq(link.end.reads + link.end.read_ends, 0); /* still full */
    ck_assert_int_eq(loop_stream_uncork(&link.end.stream), 0);
    run_until(loop, link.end.read_ends == 1);
    ck_assert_uint_eq(link.end.read_bytes, 5000);
    ck_assert_int_eq(link.end.read_error, 0);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

static uint32_t passed;

static void deadline_cb(struct loop_stream *stream, uint32_t which)
{
    (void)stream;
    callback_enter();
    passed |= which;
}

/* Goal: while reading rests because the stream is full, its read deadline rests too; afterwards it counts. */
START_TEST(read_deadline_while_full)
{
    struct loop_stream_options options = {.write_high = 1000, .on_water = water_cb};
    struct loop               *loop = test_loop_new(NULL);
    struct link                link;

    link_open(loop, &link, _i, 1, &options);
    end_read_start(&link.end);
    ck_assert_int_eq(loop_stream_cork(&link.end.stream), 0);
    ck_assert_int_eq(end_write(&link.end, 2000, 0), 0);
    run_until(loop, told_full == 1);
    ck_assert_int_eq(
        loop_stream_deadlines_set(&link.end.stream,
                                  &(struct loop_stream_deadlines){.read_ns = 10 * LOOP_MILLISECOND, .cb = deadline_cb}),
        0);
    (void)run_for(loop, 60 * LOOP_MILLISECOND);
    ck_assert_uint_eq(passed, 0);
    ck_assert_int_eq(loop_stream_uncork(&link.end.stream), 0);
    run_until(loop, passed == LOOP_STREAM_READ);
    ck_assert_uint_eq(told_low, 1);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* Goal: a full stream whose peer resets is not stuck: its writes fail, then its reading goes on and ends. */
START_TEST(reset_while_full)
{
    struct loop_stream_options options = {.write_high = 1000, .on_water = water_cb};
    struct loop               *loop = test_loop_new(NULL);
    struct link                link;

    link_open(loop, &link, _i, 1, &options);
    end_read_start(&link.end);
    ck_assert_int_eq(end_write(&link.end, 16 << 20, 0), 0);
    run_until(loop, told_full == 1);
    settle(loop);
    net_reset(link.peer.fd);
    link.peer.fd = -1;
    run_until(loop, link.end.writes_done == 1 && link.end.read_ends == 1);
    ck_assert_uint_eq(told_low, 1);
    ck_assert_int_lt(link.end.write_error, 0);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("net/stream_water");
    TCase *tcase = test_case(suite, "marks");
    int    kinds = net_kinds();

    tcase_add_loop_test(tcase, told_once_each, 0, kinds);
    tcase_add_loop_test(tcase, low_by_cancel, 0, kinds);
    tcase_add_loop_test(tcase, marks_refused, 0, kinds);
    tcase_add_loop_test(tcase, inside_the_callback, 0, ACTS);
    tcase = test_case(suite, "reading");
    tcase_add_loop_test(tcase, echo_to_a_peer_that_does_not_read, 0, kinds);
    tcase_add_loop_test(tcase, reads_on_if_told_to, 0, kinds);
    tcase_add_loop_test(tcase, stop_and_start_while_full, 0, kinds);
    tcase_add_loop_test(tcase, read_deadline_while_full, 0, kinds);
    tcase_add_loop_test(tcase, reset_while_full, 0, kinds);
    return suite;
}
