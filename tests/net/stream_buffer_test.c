/* tests/net/stream_buffer_test.c: the buffers streams read into: lent, kept, released by writes, and used up. */
#include "tests/net/net_test.h"

enum { SMALL_BUFFER = 1024, SMALL_COUNT = 4, KEPT_MAX = 16 };

static const struct loop_options small_group = {.buffer_size = SMALL_BUFFER, .buffer_count = SMALL_COUNT};

/* A link whose end keeps what it reads. */
struct keeper {
    struct link link;
    loop_buffer kept[KEPT_MAX];
    size_t      sizes[KEPT_MAX];
    uint32_t    count;
};

static void keeping_read_cb(struct loop_stream *stream, const struct loop_result *result)
{
    struct end    *end = end_of(stream);
    struct keeper *keeper = end->arg;

    end_read_cb(stream, result);
    if (result->res <= 0)
        return;
    ck_assert_uint_lt(keeper->count, KEPT_MAX);
    ck_assert_int_eq(loop_buffer_keep(loop_stream_loop(stream), result->buffer), 0);
    keeper->sizes[keeper->count] = (size_t)result->res;
    keeper->kept[keeper->count++] = result->buffer;
    if (end->name != NULL)
        note("%s data", end->name);
}

static void keeper_open(struct loop *loop, struct keeper *keeper, int kind, uint32_t number, const char *name)
{
    *keeper = (struct keeper){0};
    link_open(loop, &keeper->link, kind, number, NULL);
    keeper->link.end.name = name;
    keeper->link.end.arg = keeper;
    ck_assert_int_eq(CALL(loop_stream_read_start(&keeper->link.end.stream, keeping_read_cb)), 0);
    test_turns(loop, 2);
}

static void keeper_return(struct loop *loop, struct keeper *keeper)
{
    ck_assert_uint_gt(keeper->count, 0);
    ck_assert_int_eq(CALL(loop_buffer_return(loop, keeper->kept[--keeper->count])), 0);
}

static void keeper_close(struct loop *loop, struct keeper *keeper)
{
    while (keeper->count > 0)
        keeper_return(loop, keeper);
    keeper->link.end.name = NULL;
    link_close(loop, &keeper->link);
}

/* Fills the keeper until it has the whole small group. */
static void keeper_exhaust(struct loop *loop, struct keeper *keeper)
{
    ck_assert(peer_feed(&keeper->link.peer, SMALL_BUFFER * SMALL_COUNT));
    run_until(loop, keeper->count == SMALL_COUNT);
    settle(loop);
    ck_assert_uint_eq(test_stats(loop).buffers_lent, SMALL_COUNT);
}

/* ---- lending and keeping */

/* Goal: idle connections hold no buffer. Method: 200 reading streams, before and after data has gone through each. */
START_TEST(idle_holds_no_buffer)
{
    enum { COUNT = 200 };
    struct loop       *loop = test_loop_new(NULL);
    static struct link links[COUNT];

    for (uint32_t i = 0; i < COUNT; i++) {
        link_open(loop, &links[i], _i, i, NULL);
        end_read_start(&links[i].end);
    }
    settle(loop);
    ck_assert_uint_eq(test_stats(loop).buffers_lent, 0);
    for (uint32_t i = 0; i < COUNT; i++)
        ck_assert(peer_feed(&links[i].peer, 5000));
    for (uint32_t i = 0; i < COUNT; i++)
        run_until(loop, links[i].end.read_bytes == 5000);
    ck_assert_uint_eq(test_stats(loop).buffers_lent, 0);
    for (uint32_t i = 0; i < COUNT; i++)
        link_close(loop, &links[i]);
    test_loop_free(loop);
}
END_TEST

/* Goal: a kept buffer keeps its bytes until it is returned, and is counted. Method: keeps some, lets more data pass
 * through the group several times, then looks at the bytes; returning twice, and keeping outside of the callback, are
 * refused. */
START_TEST(keep_and_return_later)
{
    struct loop  *loop = test_loop_new(&small_group);
    struct keeper keeper;
    struct link   other;
    uint64_t      offset = 0;

    keeper_open(loop, &keeper, _i, 1, NULL);
    link_open(loop, &other, _i, 2, NULL);
    end_read_start(&other.end);
    ck_assert(peer_feed(&keeper.link.peer, 700));
    run_until(loop, keeper.count == 1);
    ck_assert(peer_feed(&keeper.link.peer, 1100));
    run_until(loop, keeper.link.end.read_bytes == 1100);
    ck_assert_uint_eq(test_stats(loop).buffers_lent, keeper.count);

    pump_until(loop, peer_feed(&other.peer, 100000) && other.end.read_bytes == 100000);
    ck_assert_uint_eq(test_stats(loop).buffers_lent, keeper.count);
    for (uint32_t i = 0; i < keeper.count; i++) {
        size_t size = 0;
        void  *data = loop_buffer_data(loop, keeper.kept[i], &size);

        ck_assert_ptr_nonnull(data);
        ck_assert_uint_eq(size, SMALL_BUFFER);
        pattern_check(keeper.link.end.read_flow, offset, data, keeper.sizes[i]);
        offset += keeper.sizes[i];
    }
    ck_assert_uint_eq(offset, 1100);
    while (keeper.count > 0) {
        loop_buffer buffer = keeper.kept[keeper.count - 1];

        ck_assert_int_eq(loop_buffer_keep(loop, buffer), -EINVAL);
        keeper_return(loop, &keeper);
        ck_assert_int_eq(loop_buffer_return(loop, buffer), -EINVAL);
        ck_assert_ptr_null(loop_buffer_data(loop, buffer, NULL));
        ck_assert_uint_eq(test_stats(loop).buffers_lent, keeper.count);
    }
    ck_assert_int_eq(loop_buffer_return(loop, 0), -EINVAL);
    ck_assert_int_eq(loop_buffer_return(loop, UINT32_MAX), -EINVAL);
    ck_assert_int_eq(loop_buffer_keep(loop, UINT32_MAX), -EINVAL);
    keeper_close(loop, &keeper);
    link_close(loop, &other);
    test_loop_free(loop);
}
END_TEST

static void returning_read_cb(struct loop_stream *stream, const struct loop_result *result)
{
    struct loop *loop = loop_stream_loop(stream);

    end_read_cb(stream, result);
    if (result->res <= 0)
        return;
    ck_assert_int_eq(loop_buffer_return(loop, result->buffer), 0);
    ck_assert_int_eq(loop_buffer_return(loop, result->buffer), -EINVAL);
}

/* Goal: a lent buffer may go back before its callback ends, and then does not go back twice. Method: each does, while
 * the data makes many rounds through a small group. */
START_TEST(return_inside_the_callback)
{
    struct loop *loop = test_loop_new(&small_group);
    struct link  link;

    link_open(loop, &link, _i, 1, NULL);
    ck_assert_int_eq(CALL(loop_stream_read_start(&link.end.stream, returning_read_cb)), 0);
    pump_until(loop, peer_feed(&link.peer, 300000) && link.end.read_bytes == 300000);
    ck_assert_uint_eq(test_stats(loop).buffers_lent, 0);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* ---- release by writes */

static void echoed_cb(struct loop_stream *stream, int error, size_t bytes, void *arg)
{
    struct end *end = end_of(stream);

    (void)arg;
    callback_enter();
    ck_assert_int_eq(error, 0);
    ck_assert_uint_gt(bytes, 0);
    end->taken_bytes += bytes;
    end->writes_done++;
}

static void echo_read_cb(struct loop_stream *stream, const struct loop_result *result)
{
    struct end *end = end_of(stream);

    end_read_cb(stream, result);
    if (result->res <= 0)
        return;
    must_write(end, result->data, (size_t)result->res, echoed_cb, NULL,
               &(const struct loop_write_terms){.release = result->buffer});
    end->writes_started++;
    end->write_bytes += (uint64_t)result->res;
}

/* Goal: a lent buffer handed to a write is sent unharmed, and goes back when its bytes have left. Method: echoes 2 MiB
 * through a group of four buffers to a peer that checks them. */
START_TEST(echo_by_release)
{
    enum { TOTAL = 2 << 20 };
    struct loop *loop = test_loop_new(&small_group);
    struct link  link;

    link_open(loop, &link, _i, 1, NULL);
    link.peer.read_flow = link.peer.write_flow;
    ck_assert_int_eq(CALL(loop_stream_read_start(&link.end.stream, echo_read_cb)), 0);
    pump_until(loop, (peer_feed(&link.peer, TOTAL), peer_drain(&link.peer, SIZE_MAX), link.peer.read_bytes == TOTAL));
    run_until(loop, link.end.writes_done == link.end.writes_started);
    ck_assert_uint_eq(link.end.taken_bytes, TOTAL);
    ck_assert_uint_eq(test_stats(loop).buffers_lent, 0);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* Goal: the same for kept buffers, later, on another stream; a write that fails to start leaves the buffer with its
 * owner; one cut short by closing gives it back. Method: keeps four; each meets one of these. */
START_TEST(release_of_kept_buffers)
{
    struct loop            *loop = test_loop_new(&small_group);
    struct loop_write_terms terms = {0};
    struct keeper           keeper;
    struct link             other;
    size_t                  room;

    keeper_open(loop, &keeper, _i, 1, NULL);
    link_open(loop, &other, _i, 2, NULL);
    other.peer.read_flow = keeper.link.end.read_flow;
    keeper_exhaust(loop, &keeper);

    for (uint32_t i = 0; i < 2; i++) {
        terms.release = keeper.kept[i];
        must_write(&other.end, loop_buffer_data(loop, keeper.kept[i], &room), keeper.sizes[i], echoed_cb, NULL, &terms);
        other.end.writes_started++;
    }
    pump_until(loop, (peer_drain(&other.peer, SIZE_MAX), other.peer.read_bytes == keeper.sizes[0] + keeper.sizes[1]));
    run_until(loop, other.end.writes_done == 2);
    ck_assert_uint_eq(test_stats(loop).buffers_lent, 2);
    ck_assert_int_eq(loop_buffer_return(loop, keeper.kept[0]), -EINVAL);

    ck_assert_int_eq(CALL(loop_stream_shutdown(&other.end.stream, NULL)), 0);
    terms.release = keeper.kept[2];
    ck_assert_int_eq(CALL(loop_stream_write(&other.end.stream, loop_buffer_data(loop, keeper.kept[2], &room),
                                            keeper.sizes[2], echoed_cb, NULL, &terms)),
                     -EPIPE);
    ck_assert_uint_eq(test_stats(loop).buffers_lent, 2);
    pattern_check(keeper.link.end.read_flow, keeper.sizes[0] + keeper.sizes[1],
                  loop_buffer_data(loop, keeper.kept[2], &room), keeper.sizes[2]);

    must_write(&keeper.link.end, loop_buffer_data(loop, keeper.kept[2], &room), keeper.sizes[2], NULL, NULL, &terms);
    end_close(&keeper.link.end);
    run_until(loop, keeper.link.end.closes == 1);
    ck_assert_uint_eq(test_stats(loop).buffers_lent, 1);
    ck_assert_int_eq(loop_buffer_return(loop, keeper.kept[3]), 0);
    keeper.count = 0;
    keeper_close(loop, &keeper);
    link_close(loop, &other);
    test_loop_free(loop);
}
END_TEST

static void closing_read_cb(struct loop_stream *stream, const struct loop_result *result)
{
    struct end *end = end_of(stream);
    uint64_t    offset = end->read_bytes;

    end_read_cb(stream, result);
    ck_assert_int_gt(result->res, 0);
    end_close(end);
    pattern_check(end->read_flow, offset, result->data, (size_t)result->res); /* still lent */
}

/* Goal: closing in the read callback: the buffer stays valid in it, no other read callback comes, all buffers are back.
 * Method: with more data under way. */
START_TEST(close_inside_the_read_callback)
{
    struct loop *loop = test_loop_new(&small_group);
    struct link  link;

    link_open(loop, &link, _i, 1, NULL);
    ck_assert_int_eq(CALL(loop_stream_read_start(&link.end.stream, closing_read_cb)), 0);
    ck_assert(peer_feed(&link.peer, SMALL_BUFFER * SMALL_COUNT * 2));
    run_until(loop, link.end.closes == 1);
    ck_assert_uint_eq(link.end.reads, 1);
    ck_assert_uint_eq(link.end.read_ends, 0);
    ck_assert_uint_eq(test_stats(loop).buffers_lent, 0);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* ---- an empty group */

/* Goal: streams that found the group empty go on in the order they stopped, as soon as one buffer returns. Method: the
 * first keeps all four; the rest get data one after the other; each buffer given back serves the next. With i 1 the
 * first has more data too, and so is the first in the queue. */
START_TEST(parked_go_on_in_order)
{
    static const char *const names[] = {"a", "b", "c", "d", "e"};
    struct loop             *loop = test_loop_new(&small_group);
    struct keeper            keepers[TEST_COUNT(names)];
    uint32_t                 first = _i == 1 ? 0 : 1;

    for (uint32_t i = 0; i < TEST_COUNT(names); i++)
        keeper_open(loop, &keepers[i], NET_TCP4, i, names[i]);
    keeper_exhaust(loop, &keepers[0]);
    notes_are("a data; a data; a data; a data");
    for (uint32_t i = first; i < TEST_COUNT(names); i++) {
        ck_assert(peer_feed(&keepers[i].link.peer, keepers[i].link.peer.write_bytes + 10));
        settle(loop);
    }
    notes_are("");
    ck_assert_uint_ge(test_stats(loop).buffers_parked, 4);
    for (uint32_t n = 0; n < SMALL_COUNT; n++) {
        struct link *served = &keepers[first + n].link;
        char         expected[16];

        ck_assert_int_eq(CALL(loop_buffer_return(loop, keepers[0].kept[n])), 0);
        run_until(loop, served->end.read_bytes == served->peer.write_bytes);
        settle(loop);
        snprintf(expected, sizeof(expected), "%s data", served->end.name);
        notes_are(expected);
    }
    keepers[0].count -= SMALL_COUNT;
    keepers[0].kept[0] = keepers[0].kept[SMALL_COUNT]; /* what it read last, with i 1 */
    if (_i == 1) {
        keeper_return(loop, &keepers[0]);
        run_until(loop, keepers[4].link.end.read_bytes == 10);
        notes_are("e data");
    }
    for (uint32_t i = 0; i < TEST_COUNT(names); i++)
        keeper_close(loop, &keepers[i]);
    test_loop_free(loop);
}
END_TEST

/* Goal: an empty group hides neither the end of a stream nor a reset, where no data stands before them; where data
 * does, it comes first. Method: with all buffers kept, one peer ends, one resets, one sends and ends. */
START_TEST(end_and_reset_with_an_empty_group)
{
    struct loop  *loop = test_loop_new(&small_group);
    struct keeper hog, ending, resetting, talking;

    keeper_open(loop, &hog, NET_TCP4, 0, NULL);
    keeper_open(loop, &ending, NET_TCP4, 1, NULL);
    keeper_open(loop, &resetting, NET_TCP4, 2, NULL);
    keeper_open(loop, &talking, NET_TCP4, 3, NULL);
    keeper_exhaust(loop, &hog);

    ck_assert_int_eq(shutdown(ending.link.peer.fd, SHUT_WR), 0);
    run_until(loop, ending.link.end.read_ends == 1);
    ck_assert_int_eq(ending.link.end.read_error, 0);
    net_reset(resetting.link.peer.fd);
    resetting.link.peer.fd = -1;
    run_until(loop, resetting.link.end.read_ends == 1);
    ck_assert_int_eq(resetting.link.end.read_error, -ECONNRESET);

    ck_assert(peer_feed(&talking.link.peer, 10));
    ck_assert_int_eq(shutdown(talking.link.peer.fd, SHUT_WR), 0);
    ck_assert_int_eq(shutdown(hog.link.peer.fd, SHUT_WR), 0);
    run_until(loop, hog.link.end.read_ends == 1); /* has nothing before its end any more */
    settle(loop);
    ck_assert_uint_eq(talking.count + talking.link.end.read_ends, 0);
    keeper_return(loop, &hog);
    run_until(loop, talking.link.end.read_ends == 1);
    ck_assert_uint_eq(talking.link.end.read_bytes, 10);
    ck_assert_int_eq(talking.link.end.read_error, 0);

    keeper_close(loop, &hog);
    keeper_close(loop, &ending);
    keeper_close(loop, &resetting);
    keeper_close(loop, &talking);
    test_loop_free(loop);
}
END_TEST

/* Goal: a reset behind data is told behind it, also when the stream waited for a buffer in between. Method: data, then
 * RST, while all buffers are kept; then one returns. */
START_TEST(reset_behind_data_with_an_empty_group)
{
    struct loop  *loop = test_loop_new(&small_group);
    struct keeper hog, talking;

    keeper_open(loop, &hog, NET_TCP4, 0, NULL);
    keeper_open(loop, &talking, NET_TCP4, 1, NULL);
    keeper_exhaust(loop, &hog);
    ck_assert(peer_feed(&talking.link.peer, 10));
    settle(loop);
    net_reset(talking.link.peer.fd);
    talking.link.peer.fd = -1;
    settle(loop);
    ck_assert_uint_le(talking.link.end.read_ends, 1); /* tcp may tell the reset first and forget the data */
    keeper_return(loop, &hog);
    run_until(loop, talking.link.end.read_ends == 1);
    ck_assert_int_eq(talking.link.end.read_error, -ECONNRESET);
    ck_assert(talking.link.end.read_bytes == 0 || talking.link.end.read_bytes == 10);
    keeper_close(loop, &hog);
    keeper_close(loop, &talking);
    test_loop_free(loop);
}
END_TEST

/* Goal: a stream that waits for a buffer can be stopped, started and closed like any other, and does not stop those
 * behind it in the queue. Method: three wait; the first is closed, the second stopped and later started, the third must
 * get the buffer. */
START_TEST(stop_and_close_while_parked)
{
    struct loop  *loop = test_loop_new(&small_group);
    struct keeper hog, closed, halted, third;

    keeper_open(loop, &hog, NET_TCP4, 0, NULL);
    keeper_open(loop, &closed, NET_TCP4, 1, NULL);
    keeper_open(loop, &halted, NET_TCP4, 2, NULL);
    keeper_open(loop, &third, NET_TCP4, 3, NULL);
    keeper_exhaust(loop, &hog);
    ck_assert(peer_feed(&closed.link.peer, 10));
    settle(loop);
    ck_assert(peer_feed(&halted.link.peer, 10));
    settle(loop);
    ck_assert(peer_feed(&third.link.peer, 10));
    settle(loop);
    ck_assert_int_eq(CALL(loop_stream_read_stop(&halted.link.end.stream)), 0);
    end_close(&closed.link.end);
    run_until(loop, closed.link.end.closes == 1);
    ck_assert_uint_eq(third.count, 0);

    keeper_return(loop, &hog);
    run_until(loop, third.count == 1);
    settle(loop);
    ck_assert_uint_eq(halted.count + closed.count, 0);
    ck_assert_int_eq(CALL(loop_stream_read_start(&halted.link.end.stream, keeping_read_cb)), 0);
    settle(loop);
    ck_assert_uint_eq(halted.count, 0); /* the third keeps it */
    keeper_return(loop, &third);
    run_until(loop, halted.count == 1);

    keeper_close(loop, &hog);
    keeper_close(loop, &closed);
    keeper_close(loop, &halted);
    keeper_close(loop, &third);
    test_loop_free(loop);
}
END_TEST

struct borrower {
    struct loop_timer timer;
    struct link       link;
    loop_buffer       kept[SMALL_COUNT];
    uint32_t          count;
};

static void borrower_timer_cb(struct loop_timer *timer)
{
    struct borrower *borrower = timer->data;

    while (borrower->count > 0)
        ck_assert_int_eq(
            loop_buffer_return(loop_stream_loop(&borrower->link.end.stream), borrower->kept[--borrower->count]), 0);
}

static void borrower_read_cb(struct loop_stream *stream, const struct loop_result *result)
{
    struct borrower *borrower = end_of(stream)->arg;
    struct loop     *loop = loop_stream_loop(stream);

    end_read_cb(stream, result);
    if (result->res <= 0)
        return;
    ck_assert_uint_lt(borrower->count, SMALL_COUNT);
    ck_assert_int_eq(loop_buffer_keep(loop, result->buffer), 0);
    borrower->kept[borrower->count++] = result->buffer;
    if (!loop_timer_active(&borrower->timer))
        ck_assert_int_eq(loop_timer_start(loop, &borrower->timer, LOOP_MILLISECOND / 10, 0, borrower_timer_cb), 0);
}

/* Goal: many streams share too few buffers, and all get to their end. Method: eight streams keep each buffer for a
 * while; a pattern and its end through each. */
START_TEST(many_share_few)
{
    enum { COUNT = 8, TOTAL = 40000 };
    struct loop           *loop = test_loop_new(&small_group);
    static struct borrower borrowers[COUNT];
    uint32_t               ended = 0;

    for (uint32_t i = 0; i < COUNT; i++) {
        link_open(loop, &borrowers[i].link, _i, i, NULL);
        borrowers[i].link.end.arg = &borrowers[i];
        borrowers[i].timer.data = &borrowers[i];
        ck_assert_int_eq(CALL(loop_stream_read_start(&borrowers[i].link.end.stream, borrower_read_cb)), 0);
    }
    while (ended < COUNT) {
        bool all_ended = true;

        for (uint32_t i = ended; i < COUNT; i++) {
            struct peer *peer = &borrowers[i].link.peer;

            if (!peer->ended && peer_feed(peer, TOTAL)) {
                ck_assert_int_eq(shutdown(peer->fd, SHUT_WR), 0);
                peer->ended = true;
            }
            if (borrowers[i].link.end.read_ends == 0)
                all_ended = false;
            else if (all_ended)
                ended = i + 1;
        }
        pump_once(loop);
    }
    for (uint32_t i = 0; i < COUNT; i++) {
        ck_assert_uint_eq(borrowers[i].link.end.read_bytes, TOTAL);
        ck_assert_int_eq(borrowers[i].link.end.read_error, 0);
        run_until(loop, borrowers[i].count == 0);
        link_close(loop, &borrowers[i].link);
    }
    ck_assert_uint_gt(test_stats(loop).buffers_parked, 0);
    test_loop_free(loop);
}
END_TEST

/* Goal: streams that are stopped with data under way do not take the group from those that read. Method: as many
 * stopped streams as there are buffers, each with much data sent before the stop; another reads on. */
START_TEST(stopped_streams_leave_the_group)
{
    struct loop *loop = test_loop_new(&small_group);
    struct link  stopped[SMALL_COUNT], other;

    for (uint32_t i = 0; i < SMALL_COUNT; i++) {
        link_open(loop, &stopped[i], _i, i, NULL);
        end_read_start(&stopped[i].end);
        test_turns(loop, 2);
        ck_assert(peer_feed(&stopped[i].peer, SMALL_BUFFER * SMALL_COUNT));
        ck_assert_int_eq(CALL(loop_stream_read_stop(&stopped[i].end.stream)), 0);
    }
    settle(loop);
    link_open(loop, &other, _i, SMALL_COUNT, NULL);
    end_read_start(&other.end);
    pump_until(loop, peer_feed(&other.peer, 100000) && other.end.read_bytes == 100000);
    for (uint32_t i = 0; i < SMALL_COUNT; i++) {
        ck_assert_uint_eq(stopped[i].end.read_bytes, 0);
        end_read_start(&stopped[i].end);
        run_until(loop, stopped[i].end.read_bytes == SMALL_BUFFER * SMALL_COUNT);
        link_close(loop, &stopped[i]);
    }
    link_close(loop, &other);
    test_loop_free(loop);
}
END_TEST

/* Goal: closing and destroying with kept buffers is safe; the loop takes them with it. Method: destroys with buffers
 * kept and streams waiting. */
START_TEST(destroy_with_kept_and_parked)
{
    struct loop  *loop = test_loop_new(&small_group);
    struct keeper hog, waiting;

    keeper_open(loop, &hog, NET_TCP4, 0, NULL);
    keeper_open(loop, &waiting, NET_TCP4, 1, NULL);
    keeper_exhaust(loop, &hog);
    ck_assert(peer_feed(&waiting.link.peer, 10));
    settle(loop);
    test_loop_drop(loop);
    ck_assert_uint_eq(waiting.count, 0);
    test_close(hog.link.peer.fd);
    test_close(waiting.link.peer.fd);
}
END_TEST

/* ---- what has come before a pause took effect */

static void pausing_read_cb(struct loop_stream *stream, const struct loop_result *result)
{
    ck_assert_uint_eq(end_of(stream)->reads, 0); /* none after the stop */
    end_read_cb(stream, result);
    ck_assert_int_eq(loop_stream_read_stop(stream), 0);
}

/* Much data is there before the end first reads, so that several pieces are received at once; the first stops it. */
static void flooded_open(struct loop *loop, struct link *link, int kind, uint32_t number, uint64_t bytes)
{
    link_open(loop, link, kind, number, NULL);
    ck_assert(peer_feed(&link->peer, bytes));
    ck_assert_int_eq(CALL(loop_stream_read_start(&link->end.stream, pausing_read_cb)), 0);
    run_until(loop, link->end.reads == 1);
    settle(loop);
    ck_assert_uint_eq(link->end.reads, 1);
    ck_assert_uint_gt(test_stats(loop).buffers_lent, 0); /* or there is nothing to test */
}

enum { FLOOD = 32 * SMALL_BUFFER };

/* Goal: a paused stream does not hold the group, and what it has received is complete and in order after the pause.
 * Method: one is flooded and pauses; another reads on through the same four buffers; then the first goes on. */
START_TEST(paused_holds_no_buffers)
{
    struct loop *loop = test_loop_new(&small_group);
    struct link  flooded, other;

    flooded_open(loop, &flooded, _i, 1, FLOOD);
    link_open(loop, &other, _i, 2, NULL);
    end_read_start(&other.end);
    pump_until(loop, peer_feed(&other.peer, 100000) && other.end.read_bytes == 100000);
    ck_assert_uint_eq(flooded.end.reads, 1);
    ck_assert_int_eq(CALL(loop_stream_read_start(&flooded.end.stream, end_read_cb)), 0);
    run_until(loop, flooded.end.read_bytes == FLOOD);
    ck_assert_uint_eq(test_stats(loop).buffers_lent, 0);
    link_close(loop, &flooded);
    link_close(loop, &other);
    test_loop_free(loop);
}
END_TEST

/* Goal: buffers of data that has waited for the end of a pause can be kept, returned and released like any other.
 * Method: after the pause the stream keeps all that had come, and pauses again; half is returned in another order, half
 * goes to the peer by writes with release, which sees the bytes it has sent. */
static void keeping_three_read_cb(struct loop_stream *stream, const struct loop_result *result)
{
    struct keeper *keeper = end_of(stream)->arg;

    keeping_read_cb(stream, result);
    if (keeper->count == 3)
        ck_assert_int_eq(loop_stream_read_stop(stream), 0);
}

START_TEST(paused_data_is_kept_and_released)
{
    struct loop  *loop = test_loop_new(&small_group);
    struct keeper keeper = {0};
    struct link  *link = &keeper.link;
    uint64_t      offset = SMALL_BUFFER;

    flooded_open(loop, link, _i, 1, FLOOD);
    link->end.arg = &keeper;
    ck_assert_uint_eq(link->end.read_bytes, offset);
    ck_assert_int_eq(CALL(loop_stream_read_start(&link->end.stream, keeping_three_read_cb)), 0);
    run_until(loop, keeper.count == 3);
    settle(loop);
    for (uint32_t i = 0; i < 3; i++) {
        size_t size = 0;
        void  *data = loop_buffer_data(loop, keeper.kept[i], &size);

        ck_assert_ptr_nonnull(data);
        ck_assert_uint_ge(size, keeper.sizes[i]);
        pattern_check(link->end.read_flow, offset, data, keeper.sizes[i]);
        offset += keeper.sizes[i];
        ck_assert_int_eq(loop_buffer_keep(loop, keeper.kept[i]), -EINVAL);
    }
    ck_assert_int_eq(CALL(loop_buffer_return(loop, keeper.kept[1])), 0);
    ck_assert_int_eq(loop_buffer_return(loop, keeper.kept[1]), -EINVAL);
    ck_assert_ptr_null(loop_buffer_data(loop, keeper.kept[1], NULL));
    link->peer.read_flow = link->end.read_flow; /* its own bytes come back: the first of what was kept, then the last */
    link->peer.read_bytes = SMALL_BUFFER;
    must_write(&link->end, loop_buffer_data(loop, keeper.kept[0], NULL), keeper.sizes[0], NULL, NULL,
               &(const struct loop_write_terms){.release = keeper.kept[0]});
    pump_until(loop, (peer_drain(&link->peer, SIZE_MAX), link->peer.read_bytes == SMALL_BUFFER + keeper.sizes[0]));
    settle(loop);
    ck_assert_ptr_null(loop_buffer_data(loop, keeper.kept[0], NULL));
    ck_assert_int_eq(loop_buffer_return(loop, keeper.kept[0]), -EINVAL);
    link->peer.read_bytes = offset - keeper.sizes[2];
    ck_assert_int_gt(loop_send(loop, loop_stream_fd(&link->end.stream), loop_buffer_data(loop, keeper.kept[2], NULL),
                               keeper.sizes[2], 0, NULL, NULL, LOOP_TERMS(.release = keeper.kept[2])),
                     0);
    pump_until(loop, (peer_drain(&link->peer, SIZE_MAX), link->peer.read_bytes == offset));
    settle(loop);
    ck_assert_ptr_null(loop_buffer_data(loop, keeper.kept[2], NULL));
    link->end.arg = NULL;
    ck_assert_int_eq(CALL(loop_stream_read_start(&link->end.stream, end_read_cb)), 0);
    run_until(loop, link->end.read_bytes == FLOOD);
    ck_assert_uint_eq(test_stats(loop).buffers_lent, 0);
    link_close(loop, link);
    test_loop_free(loop);
}
END_TEST

/* Goal: closing, or destroying, with data that waits for the end of a pause gives all memory back. Method: a flooded,
 * paused stream; _i 0: close, 1: destroy, 2: destroy while some of it is kept. The fixture counts. */
START_TEST(paused_data_at_the_end)
{
    struct loop  *loop = test_loop_new(&small_group);
    struct keeper keeper = {0};

    flooded_open(loop, &keeper.link, NET_TCP4, 1, FLOOD);
    if (_i == 2) {
        keeper.link.end.arg = &keeper;
        ck_assert_int_eq(CALL(loop_stream_read_start(&keeper.link.end.stream, keeping_three_read_cb)), 0);
        run_until(loop, keeper.count == 3);
        settle(loop);
    }
    if (_i == 0) {
        link_close(loop, &keeper.link);
        ck_assert_uint_eq(test_stats(loop).buffers_lent, 0);
        test_loop_free(loop);
    } else {
        test_loop_drop(loop);
        test_close(keeper.link.peer.fd);
    }
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("net/stream_buffer");
    TCase *tcase = test_case(suite, "lending");
    int    kinds = net_kinds();

    tcase_add_loop_test(tcase, idle_holds_no_buffer, 0, kinds);
    tcase_add_loop_test(tcase, keep_and_return_later, 0, kinds);
    tcase_add_loop_test(tcase, return_inside_the_callback, 0, kinds);
    tcase_add_loop_test(tcase, echo_by_release, 0, kinds);
    tcase_add_loop_test(tcase, release_of_kept_buffers, 0, kinds);
    tcase_add_loop_test(tcase, close_inside_the_read_callback, 0, kinds);
    tcase = test_case(suite, "empty group");
    tcase_add_loop_test(tcase, parked_go_on_in_order, 0, 2);
    tcase_add_test(tcase, end_and_reset_with_an_empty_group);
    tcase_add_test(tcase, reset_behind_data_with_an_empty_group);
    tcase_add_test(tcase, stop_and_close_while_parked);
    tcase_add_loop_test(tcase, many_share_few, 0, kinds);
    tcase_add_loop_test(tcase, stopped_streams_leave_the_group, 0, kinds);
    tcase_add_test(tcase, destroy_with_kept_and_parked);
    tcase = test_case(suite, "paused");
    tcase_add_loop_test(tcase, paused_holds_no_buffers, 0, kinds);
    tcase_add_loop_test(tcase, paused_data_is_kept_and_released, 0, kinds);
    tcase_add_loop_test(tcase, paused_data_at_the_end, 0, 3);
    return suite;
}
