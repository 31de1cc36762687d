/* tests/net/mirror_close_test.c: closing and resetting, as users of libuv know it; docs/scenarios.md lists what each
 * mirrors. */
#include "tests/net/couple.h"
#include "tests/net/door.h"

#include <fcntl.h>
#include <poll.h>

/* ---- reset */

/* The error that the peer's socket has, once it has one. */
static int peer_error(struct peer *peer)
{
    struct pollfd pollfd = {.fd = peer->fd, .events = POLLIN};
    int           error = 0;
    socklen_t     size = sizeof(error);

    ck_assert_int_ge(poll(&pollfd, 1, 10000), 1);
    ck_assert_int_eq(getsockopt(peer->fd, SOL_SOCKET, SO_ERROR, &error, &size), 0);
    return -error;
}

enum reset_after { RESET_AT_ONCE, RESET_AFTER_SHUTDOWN, RESET_AFTER_SOCKET_SHUTDOWN, RESET_AFTER_WRITE, RESETS };

/* Goal: a reset is always possible, also behind a shutdown of ours or of the socket itself, and with writes queued; tcp
 * tells the peer. Method: i: the cases of enum reset_after, over 127.0.0.1 and ::1; what the peer's socket says: a peer
 * that has seen our end gets EPIPE. */
START_TEST(reset_after)
{
    enum reset_after after = (enum reset_after)(_i % RESETS);
    int              kind = _i / RESETS == 0 ? NET_TCP4 : NET_TCP6;
    struct loop     *loop = test_loop_new(NULL);
    struct link      link;

    link_open(loop, &link, kind, 1, NULL);
    link.end.name = "a";
    end_read_start(&link.end);
    switch (after) {
    case RESET_AFTER_SHUTDOWN:
        ck_assert_int_eq(CALL(loop_stream_shutdown(&link.end.stream, end_shutdown_cb)), 0);
        run_until(loop, link.end.shutdowns == 1);
        notes_are("a shutdown ok");
        break;
    case RESET_AFTER_SOCKET_SHUTDOWN:
        ck_assert_int_eq(shutdown(loop_stream_fd(&link.end.stream), SHUT_RDWR), 0);
        run_until(loop, link.end.read_ends == 1);
        notes_are("a end ok");
        break;
    case RESET_AFTER_WRITE:
        ck_assert_int_eq(end_write(&link.end, 8 << 20, 0), 0);
        settle(loop);
        break;
    case RESET_AT_ONCE:
    case RESETS: break;
    }
    loop_stream_reset(&link.end.stream, end_close_cb);
    ck_assert_int_eq(CALL(loop_stream_shutdown(&link.end.stream, end_shutdown_cb)), -EINVAL);
    run_until(loop, link.end.closes == 1);
    notes_are(after == RESET_AFTER_WRITE ? "a write 0 ECANCELED; a close" : "a close");
    ck_assert_int_eq(peer_error(&link.peer),
                     after == RESET_AT_ONCE || after == RESET_AFTER_WRITE ? -ECONNRESET : -EPIPE);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* Goal: the same for a shutdown that waits behind writes: it ends with -ECANCELED, then the close. Method: 8 MiB that
 * are stuck, a shutdown, a reset; a connection that the loop's listener accepted. */
START_TEST(reset_with_a_shutdown_waiting)
{
    struct loop *loop = test_loop_new(NULL);
    struct end   end = {.name = "a"};
    struct peer  peer = {0};
    struct door  door;

    door_open(loop, &door, _i);
    peer.fd = net_dial(&door.address);
    run_until(loop, door.accepted == 1);
    door.accepted = 0;
    end_open(loop, &end, door.fds[0], NULL);
    ck_assert_int_eq(end_write(&end, 8 << 20, 0), 0);
    ck_assert_int_eq(CALL(loop_stream_shutdown(&end.stream, end_shutdown_cb)), 0);
    settle(loop);
    notes_are("");
    loop_stream_reset(&end.stream, end_close_cb);
    run_until(loop, end.closes == 1);
    notes_are("a write 0 ECANCELED; a shutdown ECANCELED; a close");
    peer_finish(&peer);
    ck_assert_int_eq(peer.error, _i == NET_UNIX ? 0 : -ECONNRESET);
    test_close(peer.fd);
    door_close(loop, &door);
    test_run(loop);
    test_loop_free(loop);
}
END_TEST

/* ---- descriptors used again */

struct reuse {
    struct loop        *loop;
    struct couple       couples[2];
    struct loop_address nobody;
    struct end          check;
    uint32_t            reads;
};

static void reusing_read_cb(struct loop_stream *stream, const struct loop_result *result)
{
    struct reuse *reuse = end_of(stream)->arg;
    struct end   *other = stream == &reuse->couples[0].a.stream ? &reuse->couples[1].a : &reuse->couples[0].a;

    end_read_cb(stream, result);
    ck_assert_int_eq(CALL(loop_stream_read_stop(stream)), 0);
    ck_assert_uint_eq(reuse->reads++, 0);
    end_close(other);
    end_connect(reuse->loop, &reuse->check, &reuse->nobody, NULL);
}

/* Goal: what a closed stream still had coming never reaches another stream, whatever number its descriptor has. Method:
 * both streams have a byte; the first to be told closes the other in its callback and starts to connect to nobody,
 * which must fail, and not be told the other's news. */
START_TEST(news_of_a_closed_stream)
{
    struct loop *loop = test_loop_new(NULL);
    struct reuse reuse = {.loop = loop, .check = {.name = "check"}};

    test_close(net_listen(_i, 1, &reuse.nobody));
    for (uint32_t i = 0; i < 2; i++) {
        couple_open(loop, &reuse.couples[i], _i, i);
        reuse.couples[i].a.arg = &reuse;
        ck_assert_int_eq(end_write(&reuse.couples[i].b, 1, 0), 0);
        ck_assert_int_eq(CALL(loop_stream_read_start(&reuse.couples[i].a.stream, reusing_read_cb)), 0);
    }
    run_until(loop, reuse.check.connects == 1);
    notes_are("check connect ECONNREFUSED");
    ck_assert_uint_eq(reuse.reads, 1);
    end_close(&reuse.check);
    for (uint32_t i = 0; i < 2; i++)
        couple_close(loop, &reuse.couples[i]);
    run_until(loop, reuse.check.closes == 1);
    notes_are("check close");
    test_loop_free(loop);
}
END_TEST

static int next_fd;

static void reopening_close_cb(struct loop_stream *stream)
{
    struct end  *end = end_of(stream);
    struct loop *loop = loop_stream_loop(stream);
    int          fd = fcntl(next_fd, F_DUPFD_CLOEXEC, 0);

    end_close_cb(stream);
    test_close(next_fd);
    *end = (struct end){.arg = end->arg};
    ck_assert_int_eq(fd, (int)(intptr_t)end->arg); /* the number of the descriptor just closed */
    end_open(loop, end, fd, NULL);
    end_read_start(end);
}

/* Goal: a socket that lives on in a duplicate brings nothing to a stream that was closed, nor to the one that has its
 * number now. Method: a duplicate of the stream's descriptor is kept; the stream is closed while it reads, and another
 * socket opened under the same number; then the first peer sends and ends. */
START_TEST(duplicate_lives_on)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;
    struct peer  old, fresh = {.write_flow = 0};
    int          fds[2], copy;

    link_open(loop, &link, _i, 1, NULL);
    end_read_start(&link.end);
    settle(loop);
    old = link.peer;
    link.end.arg = (void *)(intptr_t)loop_stream_fd(&link.end.stream);
    copy = fcntl(loop_stream_fd(&link.end.stream), F_DUPFD_CLOEXEC, 0);
    ck_assert_int_ge(copy, 0);
    net_pair(_i, fds);
    next_fd = fds[0];
    fresh.fd = fds[1];
    loop_stream_close(&link.end.stream, reopening_close_cb);
    run_until(loop, link.end.closes == 0 && !loop_stream_closing(&link.end.stream));
    ck_assert(peer_feed(&old, 1000));
    ck_assert_int_eq(shutdown(old.fd, SHUT_RDWR), 0);
    ck_assert_uint_lt(run_for(loop, 30 * LOOP_MILLISECOND), 5);
    ck_assert_uint_eq(link.end.reads + link.end.read_ends, 0);
    ck_assert(peer_feed(&fresh, 500)); /* of flow 0, as the new end expects */
    run_until(loop, link.end.read_bytes == 500);
    test_close(copy);
    test_close(old.fd);
    link.peer = fresh;
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* ---- much at once */

/* Goal: a close behind many writes ends each of them once, in order, before it. Method: 500 writes in the turn in which
 * the connection comes about, and the close (i odd: before it does). */
START_TEST(close_behind_many_writes)
{
    enum { WRITES = 500 };
    struct loop *loop = test_loop_new(NULL);
    struct end   end = {0};
    struct door  door;

    door_open(loop, &door, _i / 2);
    end_connect(loop, &end, &door.address, NULL);
    if (_i % 2 == 0)
        run_until(loop, end.connects == 1);
    for (int i = 0; i < WRITES; i++)
        ck_assert_int_eq(end_write(&end, 1000, 0), 0);
    end_close(&end);
    run_until(loop, end.closes == 1);
    ck_assert_uint_eq(end.connects, 1);
    ck_assert_uint_eq(end.writes_done, WRITES);
    ck_assert_uint_eq(end.writes_failed, WRITES);
    ck_assert_int_eq(end.write_error, -ECANCELED);
    ck_assert_uint_eq(loop_stream_queued(&end.stream), 0);
    door_close(loop, &door);
    test_run(loop);
    test_loop_free(loop);
}
END_TEST

/* Goal: streams opened and closed within one turn, never used, each have their close callback, and cost nothing that
 * stays. Method: 1000 of them on duplicates of one socket, every third reading, every fifth writing. */
START_TEST(open_and_close_at_once)
{
    enum { COUNT = 1000 };
    static struct end ends[COUNT];
    struct loop      *loop = test_loop_new(NULL);
    int               fds[2];

    net_pair(_i, fds);
    for (int round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < COUNT; i++) {
            int fd = fcntl(fds[0], F_DUPFD_CLOEXEC, 0);

            ck_assert_int_ge(fd, 0);
            ends[i] = (struct end){0};
            end_open(loop, &ends[i], fd, NULL);
            if (i % 3 == 0)
                end_read_start(&ends[i]);
            if (i % 5 == 0)
                ck_assert_int_eq(end_write(&ends[i], 100, 0), 0);
            end_close(&ends[i]);
        }
        for (uint32_t i = 0; i < COUNT; i++) {
            run_until(loop, ends[i].closes == 1);
            ck_assert_uint_eq(ends[i].reads + ends[i].read_ends, 0);
        }
    }
    test_close(fds[0]);
    test_close(fds[1]);
    test_run(loop);
    test_loop_free(loop);
}
END_TEST

static void stopping_timer_cb(struct loop_timer *timer)
{
    struct link *link = timer->data;

    ck_assert_uint_eq(link->end.read_ends, 0);
    ck_assert_int_eq(CALL(loop_stream_read_stop(&link->end.stream)), 0);
    end_close(&link->end);
}

/* Goal: a client that gives up waiting for an answer: a timer stops reading and closes; no read callback comes after
 * it, also if the peer has answered in this very turn; the peer sees the end. Method: i odd: the answer is there before
 * the timer is due. */
START_TEST(gives_up_waiting)
{
    struct loop      *loop = test_loop_new(NULL);
    struct loop_timer timer = {0};
    struct link       link;

    link_open(loop, &link, _i / 2, 1, NULL);
    end_read_start(&link.end);
    settle(loop);
    timer.data = &link;
    ck_assert_int_eq(loop_timer_start(loop, &timer, 10 * LOOP_MILLISECOND, 0, stopping_timer_cb), 0);
    if (_i % 2 == 1) {
        test_sleep(12 * LOOP_MILLISECOND);
        ck_assert(peer_feed(&link.peer, 100));
    }
    run_until(loop, link.end.closes == 1);
    ck_assert_uint_eq(link.end.read_ends, 0);
    peer_finish(&link.peer);
    ck_assert_uint_eq(link.peer.read_bytes, 0);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("net/mirror_close");
    TCase *tcase = test_case(suite, "reset");
    int    kinds = net_kinds();

    tcase_add_loop_test(tcase, reset_after, 0, RESETS * (kinds == NET_KINDS ? 2 : 1));
    tcase_add_loop_test(tcase, reset_with_a_shutdown_waiting, 0, kinds);
    tcase = test_case(suite, "numbers");
    tcase_add_loop_test(tcase, news_of_a_closed_stream, 0, kinds);
    tcase_add_loop_test(tcase, duplicate_lives_on, 0, kinds);
    tcase = test_case(suite, "much at once");
    tcase_add_loop_test(tcase, close_behind_many_writes, 0, 2 * kinds);
    tcase_add_loop_test(tcase, open_and_close_at_once, 0, kinds);
    tcase_add_loop_test(tcase, gives_up_waiting, 0, 2 * kinds);
    return suite;
}
