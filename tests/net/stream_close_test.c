/* tests/net/stream_close_test.c: streams: shutting down and closing. */
#include "tests/net/net_test.h"

#include <fcntl.h>
#include <poll.h>

enum { MIB = 1 << 20 };

static void must_shutdown(struct end *end)
{
    ck_assert_int_eq(CALL(loop_stream_shutdown(&end->stream, end_shutdown_cb)), 0);
}

/* ---- shutdown */

/* Goal: our half ends once all queued writes have left; the peer sees all bytes, then the end. Method: 2 MiB in several
 * writes, then shutdown in the same turn; later writes are refused. */
START_TEST(shutdown_behind_writes)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;

    link_open(loop, &link, _i, 1, NULL);
    net_buffers(loop_stream_fd(&link.end.stream), 65536);
    link.end.name = "a";
    ck_assert_int_eq(end_write(&link.end, MIB, 0), 0);
    ck_assert_int_eq(end_write(&link.end, 1, 0), 0);
    ck_assert_int_eq(end_write(&link.end, MIB, LOOP_WRITE_COPY), 0);
    must_shutdown(&link.end);
    ck_assert_int_eq(end_write(&link.end, 1, 0), -EPIPE);
    ck_assert_int_eq(CALL(loop_stream_shutdown(&link.end.stream, end_shutdown_cb)), -ENOTCONN);
    settle(loop);
    ck_assert_uint_eq(link.end.shutdowns, 0);
    pump_until(loop, peer_drain(&link.peer, 100000));
    ck_assert_int_eq(link.peer.error, 0);
    ck_assert_uint_eq(link.peer.read_bytes, 2 * MIB + 1);
    run_until(loop, link.end.shutdowns == 1);
    notes_are("a write 0 ok; a write 1 ok; a write 2 ok; a shutdown ok");
    ck_assert_int_eq(end_write(&link.end, 1, 0), -EPIPE);
    ck_assert_int_eq(CALL(loop_stream_shutdown(&link.end.stream, end_shutdown_cb)), -ENOTCONN);
    link_close(loop, &link);
    notes_are("a close");
    test_loop_free(loop);
}
END_TEST

/* Goal: without writes the shutdown is told too, but not inside the call, and needs no callback. Method: i 1: without.
 */
START_TEST(shutdown_alone)
{
    for (int kind = 0; kind < NET_TCP6; kind++) {
        struct loop *loop = test_loop_new(NULL);
        struct link  link;

        link_open(loop, &link, kind, 1, NULL);
        ck_assert_int_eq(CALL(loop_stream_shutdown(&link.end.stream, _i == 0 ? end_shutdown_cb : NULL)), 0);
        ck_assert_uint_eq(link.end.shutdowns, 0);
        pump_until(loop, peer_drain(&link.peer, 1));
        ck_assert_int_eq(link.peer.error, 0);
        run_until(loop, link.end.shutdowns == (_i == 0));
        ck_assert_int_eq(link.end.shutdown_error, 0);
        link_close(loop, &link);
        test_loop_free(loop);
    }
}
END_TEST

/* Goal: after our half has ended, what the peer goes on sending is read, and its end. Method: the peer sends 300 KiB
 * after it saw our end. */
START_TEST(reading_after_shutdown)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;

    link_open(loop, &link, _i, 1, NULL);
    end_read_start(&link.end);
    ck_assert_int_eq(end_write(&link.end, 100, 0), 0);
    must_shutdown(&link.end);
    pump_until(loop, peer_drain(&link.peer, SIZE_MAX));
    ck_assert_uint_eq(link.peer.read_bytes, 100);
    pump_until(loop, peer_feed(&link.peer, 300 << 10) && link.end.read_bytes == 300 << 10);
    ck_assert_uint_eq(link.end.read_ends, 0);
    ck_assert_int_eq(shutdown(link.peer.fd, SHUT_WR), 0);
    run_until(loop, link.end.read_ends == 1);
    ck_assert_int_eq(link.end.read_error, 0);
    ck_assert_uint_eq(link.end.shutdowns, 1);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* Goal: closing before the queued writes have left ends writes and shutdown with -ECANCELED, in order. Method: a peer
 * that does not read. */
START_TEST(close_before_shutdown_is_done)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;

    link_open(loop, &link, _i, 1, NULL);
    net_buffers(loop_stream_fd(&link.end.stream), 4096);
    link.end.name = "a";
    end_read_start(&link.end);
    ck_assert_int_eq(end_write(&link.end, 8 * MIB, 0), 0);
    ck_assert_int_eq(end_write(&link.end, 10, 0), 0);
    ck_assert_int_eq(end_write(&link.end, 10000, LOOP_WRITE_COPY), 0);
    must_shutdown(&link.end);
    settle(loop);
    notes_are("");
    end_close(&link.end);
    notes_are("");
    run_until(loop, link.end.closes == 1);
    notes_are("a write 0 ECANCELED; a write 1 ECANCELED; a write 2 ECANCELED; a shutdown ECANCELED; a close");
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* ---- close */

/* Goal: the counts of writes cut short by close are true: the peer gets exactly these bytes, then the end. Method:
 * closes with writes in flight to a peer that reads at different paces; sums up. */
START_TEST(counts_at_close_are_true)
{
    for (uint32_t turns = 0; turns < 12; turns++) {
        struct loop *loop = test_loop_new(NULL);
        struct link  link;

        link_open(loop, &link, _i, 1, NULL);
        net_buffers(loop_stream_fd(&link.end.stream), 16384);
        for (int i = 0; i < 3; i++)
            ck_assert_int_eq(end_write(&link.end, 100000, 0), 0);
        ck_assert_int_eq(end_write(&link.end, 8 * MIB, 0), 0);
        ck_assert_int_eq(end_write(&link.end, 100, 0), 0);
        for (uint32_t i = 0; i < turns; i++) {
            test_turns(loop, 1);
            peer_drain(&link.peer, 50000);
        }
        end_close(&link.end);
        run_until(loop, link.end.closes == 1);
        peer_finish(&link.peer);
        ck_assert_int_eq(link.peer.error, 0);
        ck_assert_uint_eq(link.peer.read_bytes, link.end.taken_bytes);
        ck_assert_uint_gt(link.end.writes_failed, 0);
        ck_assert_int_eq(link.end.write_error, -ECANCELED);
        link_close(loop, &link);
        test_loop_free(loop);
    }
}
END_TEST

/* Goal: writes of the turn in which the stream is closed come back once, with what is true of them. Method: writes and
 * closes at once, with no turn in between; what has come back as sent the peer gets. */
START_TEST(close_right_after_write)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;

    link_open(loop, &link, _i, 1, NULL);
    test_turns(loop, 2);
    ck_assert_int_eq(end_write(&link.end, 100, 0), 0);
    ck_assert_int_eq(end_write(&link.end, 100000, 0), 0);
    end_close(&link.end);
    ck_assert_int_eq(end_write(&link.end, 1, 0), -EINVAL);
    test_run(loop);
    ck_assert_uint_eq(link.end.writes_done, 2);
    ck_assert_uint_eq(link.end.closes, 1);
    peer_finish(&link.peer);
    ck_assert_uint_eq(link.peer.read_bytes, link.end.taken_bytes);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

static uint32_t later_closes;

static void later_close_cb(struct loop_stream *stream)
{
    (void)stream;
    later_closes++;
}

/* Goal: closing twice, or resetting what is closing, does nothing; the first callback counts. Method: does all of it
 * before a turn, and again after one. */
START_TEST(close_twice)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;

    link_open(loop, &link, _i, 1, NULL);
    end_read_start(&link.end);
    ck_assert_int_eq(end_write(&link.end, 8 * MIB, 0), 0);
    test_turns(loop, 3);
    end_close(&link.end);
    for (int i = 0; i < 3; i++) {
        loop_stream_close(&link.end.stream, later_close_cb);
        loop_stream_reset(&link.end.stream, later_close_cb);
        loop_stream_close(&link.end.stream, NULL);
        if (link.end.closes == 0)
            test_turns(loop, 1);
        if (link.end.closes > 0)
            break;
    }
    run_until(loop, link.end.closes == 1);
    ck_assert_uint_eq(later_closes, 0);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

static int checked_fd;

static void fd_is_closed_cb(struct loop_stream *stream)
{
    end_close_cb(stream);
    errno = 0;
    ck_assert_int_eq(fcntl(checked_fd, F_GETFD), -1);
    ck_assert_int_eq(errno, EBADF);
}

/* Goal: in the close callback the descriptor is closed and the peer sees the end at once, with nothing more of the
 * loop's doing. Method: asks for both; with a read pending, as requests in flight would hold the socket open. */
START_TEST(closed_means_closed)
{
    struct loop  *loop = test_loop_new(NULL);
    struct link   link;
    struct pollfd pollfd = {.events = POLLIN};
    uint8_t       byte;

    link_open(loop, &link, _i, 1, NULL);
    end_read_start(&link.end);
    settle(loop);
    checked_fd = loop_stream_fd(&link.end.stream);
    pollfd.fd = link.peer.fd;
    ck_assert_int_eq(poll(&pollfd, 1, 0), 0);
    loop_stream_close(&link.end.stream, fd_is_closed_cb);
    run_until(loop, link.end.closes == 1);
    ck_assert_int_eq(poll(&pollfd, 1, 1000), 1);
    ck_assert_int_eq(recv(link.peer.fd, &byte, 1, 0), 0);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* Goal: reset sends RST: the peer gets -ECONNRESET, whatever is in flight. Method: i bit 0: with a large write, bit 1:
 * over ::1; and by close, the same peer gets the end. */
START_TEST(reset)
{
    for (int by_reset = 1; by_reset >= 0; by_reset--) {
        struct loop *loop = test_loop_new(NULL);
        struct link  link;

        link_open(loop, &link, _i / 2 == 0 ? NET_TCP4 : NET_TCP6, 1, NULL);
        end_read_start(&link.end);
        if (_i % 2 == 1)
            ck_assert_int_eq(end_write(&link.end, 16 * MIB, 0), 0);
        settle(loop);
        if (by_reset)
            loop_stream_reset(&link.end.stream, end_close_cb);
        else
            loop_stream_close(&link.end.stream, end_close_cb);
        run_until(loop, link.end.closes == 1);
        peer_finish(&link.peer);
        ck_assert_int_eq(link.peer.error, by_reset ? -ECONNRESET : 0);
        ck_assert_uint_le(link.peer.read_bytes, link.end.taken_bytes);
        link_close(loop, &link);
        test_loop_free(loop);
    }
}
END_TEST

/* Goal: a stream closes at any moment of receiving and sending, without any help of its peer, and gives back all its
 * buffers. Method: 400 times, both ways under way, a random number of turns, then close; the group is so small that
 * receives also stop for want of a buffer; the peer does nothing from the close on. RINGLOOP_SEED repeats a run. */
START_TEST(close_at_any_moment)
{
    struct loop_options options = {.buffer_size = 512, .buffer_count = 2};
    struct loop        *loop = test_loop_new(&options);
    uint64_t            state = test_env("RINGLOOP_SEED", 17) + (uint64_t)_i;

    for (int round = 0; round < 400; round++) {
        struct link links[2];

        for (uint32_t i = 0; i < TEST_COUNT(links); i++) {
            link_open(loop, &links[i], _i, i, NULL);
            net_buffers(loop_stream_fd(&links[i].end.stream), 4096);
            end_read_start(&links[i].end);
            if (test_random(&state) % 2 == 0)
                ck_assert_int_eq(end_write(&links[i].end, 100000, LOOP_WRITE_COPY), 0);
        }
        for (uint64_t turns = test_random(&state) % 6; turns > 0; turns--) {
            for (uint32_t i = 0; i < TEST_COUNT(links); i++) {
                peer_feed(&links[i].peer, links[i].peer.write_bytes + test_random(&state) % 3000);
                peer_drain(&links[i].peer, test_random(&state) % 20000);
            }
            test_turns(loop, 1);
        }
        for (uint32_t i = 0; i < TEST_COUNT(links); i++)
            end_close(&links[i].end);
        for (uint32_t i = 0; i < TEST_COUNT(links); i++)
            link_close(loop, &links[i]);
        ck_assert_uint_eq(test_stats(loop).buffers_lent, 0);
    }
    test_loop_free(loop);
}
END_TEST

/* ---- close from inside callbacks */

enum close_place {
    PLACE_READ,
    PLACE_END,
    PLACE_WRITE,
    PLACE_SHUTDOWN,
    PLACE_TIMER,
    PLACE_POST,
    PLACE_OTHERS_CLOSE,
    PLACES
};

static void place_read_cb(struct loop_stream *stream, const struct loop_result *result)
{
    end_read_cb(stream, result);
    end_close(end_of(stream));
}

static void place_write_cb(struct loop_stream *stream, int error, size_t bytes, void *arg)
{
    note_write_cb(stream, error, bytes, arg);
    if (!loop_stream_closing(stream))
        end_close(end_of(stream));
}

static void place_shutdown_cb(struct loop_stream *stream, int error)
{
    end_shutdown_cb(stream, error);
    end_close(end_of(stream));
}

static void place_timer_cb(struct loop_timer *timer)
{
    end_close(timer->data);
}

static void place_post_cb(struct loop *loop, void *arg)
{
    (void)loop;
    end_close(arg);
}

static void place_close_cb(struct loop_stream *stream)
{
    struct end *other = end_of(stream)->arg;

    end_close_cb(stream);
    if (!loop_stream_closing(&other->stream))
        end_close(other);
}

/* Goal: a stream may be closed inside any callback, with other things under way. Method: the places of enum
 * close_place; two writes and data to read, so that each has something left to end. */
START_TEST(close_inside)
{
    enum close_place  place = (enum close_place)(_i % PLACES);
    int               kind = _i / PLACES;
    struct loop      *loop = test_loop_new(NULL);
    struct loop_timer timer = {0};
    struct link       link, other;
    static uint8_t    bytes[100000];

    link_open(loop, &link, kind, 1, NULL);
    link_open(loop, &other, kind, 2, NULL);
    link.end.name = "a";
    other.end.arg = &link.end;
    timer.data = &link.end;
    end_read_start(&other.end);
    switch (place) {
    case PLACE_READ:
    case PLACE_END:
        if (place == PLACE_READ)
            ck_assert(peer_feed(&link.peer, 50000));
        else
            ck_assert_int_eq(shutdown(link.peer.fd, SHUT_WR), 0);
        ck_assert_int_eq(CALL(loop_stream_read_start(&link.end.stream, place_read_cb)), 0);
        break;
    case PLACE_WRITE:
        end_read_start(&link.end);
        must_write(&link.end, bytes, 1, place_write_cb, "0", NULL);
        must_write(&link.end, bytes, 1, note_write_cb, "1", NULL);
        break;
    case PLACE_SHUTDOWN:
        end_read_start(&link.end);
        must_write(&link.end, bytes, 1, note_write_cb, "0", NULL);
        ck_assert_int_eq(CALL(loop_stream_shutdown(&link.end.stream, place_shutdown_cb)), 0);
        break;
    case PLACE_TIMER: ck_assert_int_eq(loop_timer_start(loop, &timer, LOOP_MILLISECOND, 0, place_timer_cb), 0); break;
    case PLACE_POST: ck_assert_int_eq(loop_post(loop, place_post_cb, &link.end), 0); break;
    case PLACE_OTHERS_CLOSE: loop_stream_close(&other.end.stream, place_close_cb); break;
    case PLACES: break;
    }
    run_until(loop, link.end.closes == 1);
    switch (place) {
    case PLACE_END: notes_are("a end ok; a close"); break;
    case PLACE_WRITE: notes_are("write 0 ok 1; write 1 ok 1; a close"); break; /* both had left in one send */
    case PLACE_SHUTDOWN: notes_are("write 0 ok 1; a shutdown ok; a close"); break;
    case PLACE_READ:
    case PLACE_TIMER:
    case PLACE_POST:
    case PLACE_OTHERS_CLOSE:
    case PLACES: notes_are("a close"); break;
    }
    ck_assert_uint_le(link.end.reads, 1);
    link_close(loop, &link);
    link_close(loop, &other);
    test_loop_free(loop);
}
END_TEST

enum { CROWD = 30 };
static struct link crowd[CROWD];

static void close_all_read_cb(struct loop_stream *stream, const struct loop_result *result)
{
    end_read_cb(stream, result);
    for (int i = 0; i < CROWD; i++)
        end_close(&crowd[i].end);
}

/* Goal: one callback may close all streams, its own and those whose results are next in line. Method: all have data at
 * once; the first callback closes every one, in order and (i 1) after writes. */
START_TEST(one_closes_all)
{
    struct loop *loop = test_loop_new(NULL);
    uint32_t     reads = 0;

    for (uint32_t i = 0; i < CROWD; i++) {
        link_open(loop, &crowd[i], (int)i % NET_TCP6, i, NULL);
        ck_assert_int_eq(CALL(loop_stream_read_start(&crowd[i].end.stream, close_all_read_cb)), 0);
    }
    settle(loop);
    for (uint32_t i = 0; i < CROWD; i++) {
        ck_assert(peer_feed(&crowd[i].peer, 20000));
        if (_i == 1)
            ck_assert_int_eq(end_write(&crowd[i].end, 100000, 0), 0);
    }
    for (uint32_t i = 0; i < CROWD; i++)
        run_until(loop, crowd[i].end.closes == 1);
    for (uint32_t i = 0; i < CROWD; i++) {
        reads += crowd[i].end.reads;
        link_close(loop, &crowd[i]);
    }
    ck_assert_uint_eq(reads, 1);
    test_loop_free(loop);
}
END_TEST

static int reopen_fd;

static void reopening_close_cb(struct loop_stream *stream)
{
    struct end  *end = end_of(stream);
    struct loop *loop = loop_stream_loop(stream);

    end_close_cb(stream);
    memset(stream, 0, sizeof(*stream));
    if (reopen_fd >= 0) {
        end_open(loop, end, reopen_fd, NULL);
        end->closes = 0;
        end->read_bytes = 0;
        end_read_start(end);
        reopen_fd = -1;
    }
}

static void freeing_close_cb(struct loop_stream *stream)
{
    struct end *end = end_of(stream);
    uint32_t   *freed = end->arg;

    end_close_cb(stream);
    ++*freed;
    memset(end, 0xee, sizeof(*end));
    free(end);
}

/* Goal: in the close callback the memory is the caller's again. Method: one wipes it and opens another connection in it
 * at once; others free it, which the sanitizer watches. */
START_TEST(memory_is_free_in_the_close_callback)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;
    uint32_t     freed = 0;
    int          fds[2];

    link_open(loop, &link, NET_UNIX, 1, NULL);
    net_pair(NET_TCP4, fds);
    reopen_fd = fds[0];
    end_read_start(&link.end);
    ck_assert_int_eq(end_write(&link.end, 1000, 0), 0);
    loop_stream_close(&link.end.stream, reopening_close_cb);
    run_until(loop, reopen_fd < 0);
    test_close(link.peer.fd);
    link.peer = (struct peer){.fd = fds[1], .write_flow = link.end.read_flow};
    ck_assert(peer_feed(&link.peer, 5000));
    run_until(loop, link.end.read_bytes == 5000);
    link_close(loop, &link);

    for (uint32_t i = 0; i < 20; i++) {
        struct end *end = calloc(1, sizeof(*end));

        ck_assert_ptr_nonnull(end);
        net_pair((int)i % NET_TCP6, fds);
        end->arg = &freed;
        end_open(loop, end, fds[0], NULL);
        end_read_start(end);
        ck_assert_int_eq(end_write(end, 2 * MIB, 0), 0);
        test_turns(loop, i % 4);
        test_write(fds[1], "x", i % 2);
        loop_stream_close(&end->stream, freeing_close_cb);
        test_turns(loop, i % 3);
        test_close(fds[1]);
    }
    test_run(loop);
    ck_assert_uint_eq(freed, 20);
    test_loop_free(loop);
}
END_TEST

/* Goal: a stream closed without a callback uses the one of its options; one without any is closed all the same. Method:
 * counts; the fixture sees the descriptors. */
START_TEST(close_without_callback)
{
    struct loop_stream_options options = {.on_close = end_close_cb};
    struct loop               *loop = test_loop_new(NULL);
    struct link                with, without;

    link_open(loop, &with, NET_TCP4, 1, &options);
    link_open(loop, &without, NET_TCP4, 2, NULL);
    end_read_start(&without.end);
    loop_stream_close(&with.end.stream, NULL);
    loop_stream_reset(&without.end.stream, NULL);
    test_run(loop);
    ck_assert_uint_eq(with.end.closes, 1);
    ck_assert_uint_eq(without.end.closes, 0);
    test_close(with.peer.fd);
    peer_finish(&without.peer);
    ck_assert_int_eq(without.peer.error, -ECONNRESET);
    test_close(without.peer.fd);
    test_loop_free(loop);
}
END_TEST

/* Goal: what is closed while there is no memory is closed once there is. Method: 100 reading streams and an SQ of 8, an
 * open chain, so that cancels have to be stored; allocations fail during the closes and for _i turns after; none may be
 * needed from outside to go on. */
START_TEST(close_without_memory)
{
    enum { COUNT = 100 };
    const struct loop_options options = {.sq_entries = 8};
    struct loop              *loop = test_loop_new(&options);
    static struct link        links[COUNT];
    uint32_t                  closed = 0;

    test_turns(loop, 1); /* so that the receives need no storing: there must be no room from them */
    for (uint32_t i = 0; i < COUNT; i++) {
        link_open(loop, &links[i], NET_UNIX, i, NULL);
        end_read_start(&links[i].end);
    }
    settle(loop);
    ck_assert_int_eq(loop_chain_begin(loop, 1, 0), 0);
    test_memory.fail_from = 1;
    for (uint32_t i = 0; i < COUNT; i++)
        end_close(&links[i].end);
    ck_assert_int_eq(loop_chain_end(loop), 0);
    test_turns(loop, (uint32_t)_i);
    test_memory.fail_from = 0;
    test_run(loop);
    for (uint32_t i = 0; i < COUNT; i++)
        closed += links[i].end.closes;
    ck_assert_uint_eq(closed, COUNT);
    for (uint32_t i = 0; i < COUNT; i++)
        link_close(loop, &links[i]);
    test_loop_free(loop);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("net/stream_close");
    TCase *tcase = test_case(suite, "shutdown");
    int    kinds = net_kinds();

    tcase_add_loop_test(tcase, shutdown_behind_writes, 0, kinds);
    tcase_add_loop_test(tcase, shutdown_alone, 0, 2);
    tcase_add_loop_test(tcase, reading_after_shutdown, 0, kinds);
    tcase_add_loop_test(tcase, close_before_shutdown_is_done, 0, kinds);
    tcase = test_case(suite, "close");
    tcase_add_loop_test(tcase, counts_at_close_are_true, 0, kinds);
    tcase_add_loop_test(tcase, close_right_after_write, 0, kinds);
    tcase_add_loop_test(tcase, close_twice, 0, kinds);
    tcase_add_loop_test(tcase, closed_means_closed, 0, kinds);
    tcase_add_loop_test(tcase, reset, 0, kinds == NET_KINDS ? 4 : 2);
    tcase_add_loop_test(tcase, close_at_any_moment, 0, kinds);
    tcase_add_test(tcase, close_without_callback);
    tcase_add_loop_test(tcase, close_without_memory, 0, 3);
    tcase = test_case(suite, "inside callbacks");
    tcase_add_loop_test(tcase, close_inside, 0, PLACES * kinds);
    tcase_add_loop_test(tcase, one_closes_all, 0, 2);
    tcase_add_test(tcase, memory_is_free_in_the_close_callback);
    return suite;
}
