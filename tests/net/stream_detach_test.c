/* tests/net/stream_detach_test.c: streams that give up their descriptor, go on elsewhere, or on another loop. */
#include "tests/net/net_test.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <ringloop/stream_detach.h>
#include <ringloop/unix.h>

/* Small buffers, so that what comes in one turn comes in pieces. */
static const struct loop_options small_buffers = {.buffer_size = 512};

static void stopping_read_cb(struct loop_stream *stream, const struct loop_result *result)
{
    end_read_cb(stream, result);
    ck_assert_int_eq(loop_stream_read_stop(stream), 0);
}

/* Reads one piece; others are received and not read. */
static void read_a_piece(struct loop *loop, struct link *link, size_t size)
{
    ck_assert_int_eq(CALL(loop_stream_read_start(&link->end.stream, stopping_read_cb)), 0);
    test_turns(loop, 2);
    ck_assert(peer_feed(&link->peer, size));
    run_until(loop, link->end.reads == 1);
    ck_assert_uint_lt(link->end.read_bytes, size);
}

/* ---- what a detach has told */

static struct {
    uint32_t              count;
    int                   error;
    struct loop_detached *what;
} told;

static void detached_cb(struct loop_stream *stream, int error, struct loop_detached *what)
{
    struct end *end = end_of(stream);

    callback_enter();
    ck_assert_uint_eq(end->closes, 0);
    ck_assert_uint_eq(end->writes_done, end->writes_started);
    told.count++;
    told.error = error;
    told.what = what;
    ck_assert_int_eq(what != NULL, error == 0);
    if (end->name != NULL)
        note("%s detach %s", end->name, error_text(error));
    if (error == 0)
        memset(stream, 0xdd, sizeof(*stream)); /* ours again */
}

static void detach(struct end *end)
{
    told.count = 0;
    ck_assert_int_eq(CALL(loop_stream_detach(&end->stream, detached_cb)), 0);
}

/* Takes the descriptor out of what was told; fails unless that has just these bytes of the flow and this end. */
static int taken(uint64_t flow, uint64_t offset, size_t size, int end)
{
    int fd = told.what->fd;

    ck_assert_uint_eq(told.count, 1);
    ck_assert_int_eq(told.error, 0);
    ck_assert_int_ge(fd, 0);
    ck_assert_uint_eq(told.what->size, size);
    pattern_check(flow, offset, told.what->data, size);
    ck_assert_int_eq(told.what->end, end);
    told.what->fd = -1;
    loop_detached_drop(told.what);
    told.what = NULL;
    return fd;
}

/* ---- detaching */

/* Goal: no request holds the descriptor any more: bytes that come now are for others, a close is one at once. Method: a
 * reading stream (idle, or after data) is detached; plain calls on its descriptor. */
START_TEST(nothing_holds_it)
{
    struct loop  *loop = test_loop_new(NULL);
    struct link   link;
    struct pollfd pollfd = {.events = POLLIN};
    char          byte = 0;
    int           fd;

    link_open(loop, &link, _i / 2, 1, NULL);
    end_read_start(&link.end);
    test_turns(loop, 2);
    if (_i % 2 == 1) {
        ck_assert(peer_feed(&link.peer, 1000));
        run_until(loop, link.end.read_bytes == 1000);
    }
    detach(&link.end);
    run_until(loop, told.count == 1);
    ck_assert(!loop_alive(loop));
    fd = taken(link.end.read_flow, 1000, 0, 1);
    ck_assert_int_eq(send(link.peer.fd, "x", 1, 0), 1);
    settle(loop);
    test_read(fd, &byte, 1);
    ck_assert_int_eq(byte, 'x');
    test_close(fd);
    pollfd.fd = link.peer.fd;
    ck_assert_int_eq(poll(&pollfd, 1, 0), 1); /* the end is there, without a turn of the loop */
    ck_assert_int_eq(recv(link.peer.fd, &byte, 1, MSG_DONTWAIT), 0);
    test_close(link.peer.fd);
    test_loop_free(loop);
}
END_TEST

/* Goal: what was received and not read comes along, also the end behind it. Method: reading is stopped after the first
 * of many pieces; the rest is in what was detached, or else in the socket. */
START_TEST(received_comes_along)
{
    struct loop *loop = test_loop_new(&small_buffers);
    struct link  link;
    uint8_t      rest[65536];
    size_t       size, ahead;
    int          fd;

    link_open(loop, &link, _i, 1, NULL);
    read_a_piece(loop, &link, 30000);
    ck_assert_int_eq(shutdown(link.peer.fd, SHUT_WR), 0);
    detach(&link.end);
    run_until(loop, told.count == 1);
    ahead = link.end.read_bytes;
    size = told.what->size;
    ck_assert_uint_gt(size, 0);
    ck_assert_uint_eq(link.end.reads, 1);
    fd = taken(link.end.read_flow, ahead, size, ahead + size == 30000 ? told.what->end : 1);
    for (size += ahead; size < 30000;) { /* what the stop left in the socket */
        ssize_t n = recv(fd, rest, sizeof(rest), 0);

        ck_assert_int_gt(n, 0);
        pattern_check(link.end.read_flow, size, rest, (size_t)n);
        size += (size_t)n;
    }
    ck_assert_uint_eq(size, 30000);
    ck_assert_int_eq(recv(fd, rest, sizeof(rest), 0), 0);
    test_close(fd);
    test_close(link.peer.fd);
    test_loop_free(loop);
}
END_TEST

/* Goal: queued writes and a shutdown come to their end first, with their callbacks in order. Method: more than the
 * socket takes; calls meanwhile are refused. */
START_TEST(writes_leave_first)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;
    int          fd;

    link_open(loop, &link, _i / 2, 1, NULL);
    link.end.name = "s";
    net_buffers(loop_stream_fd(&link.end.stream), 16384);
    ck_assert_int_eq(end_write(&link.end, 1000000, 0), 0);
    ck_assert_int_eq(end_write(&link.end, 10, 0), 0);
    if (_i % 2 == 1)
        ck_assert_int_eq(CALL(loop_stream_shutdown(&link.end.stream, end_shutdown_cb)), 0);
    detach(&link.end);
    settle(loop);
    ck_assert_uint_eq(told.count, 0);
    ck_assert_int_eq(end_write(&link.end, 1, 0), -EINVAL);
    ck_assert_int_eq(loop_stream_read_start(&link.end.stream, end_read_cb), -EINVAL);
    ck_assert_int_eq(loop_stream_shutdown(&link.end.stream, NULL), -EINVAL);
    ck_assert_int_eq(loop_stream_detach(&link.end.stream, detached_cb), -EBUSY);
    pump_until(loop, (peer_drain(&link.peer, SIZE_MAX), told.count == 1));
    notes_are(_i % 2 == 1 ? "s write 0 ok; s write 1 ok; s shutdown ok; s detach ok"
                          : "s write 0 ok; s write 1 ok; s detach ok");
    fd = taken(link.end.read_flow, 0, 0, 1);
    test_close(fd);
    peer_finish(&link.peer);
    ck_assert_uint_eq(link.peer.read_bytes, 1000010);
    test_close(link.peer.fd);
    test_loop_free(loop);
}
END_TEST

/* Goal: a write that fails meanwhile ends the wait. Method: the peer resets. */
START_TEST(writes_fail)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;

    link_open(loop, &link, NET_TCP4, 1, NULL);
    ck_assert_int_eq(end_write(&link.end, 50000000, 0), 0);
    detach(&link.end);
    settle(loop);
    ck_assert_uint_eq(told.count, 0);
    net_reset(link.peer.fd);
    run_until(loop, told.count == 1);
    ck_assert(link.end.write_error == -ECONNRESET || link.end.write_error == -EPIPE);
    test_close(taken(link.end.read_flow, 0, 0, 1));
    test_loop_free(loop);
}
END_TEST

/* Goal: a close meanwhile wins: the detach is told before the close. Method: close, reset and loop_destroy() while a
 * write waits. */
START_TEST(closed_meanwhile)
{
    const struct loop_stream_options options = {.on_close = end_close_cb};
    struct loop                     *loop = test_loop_new(NULL);
    struct link                      link;

    link_open(loop, &link, NET_TCP4, 1, &options);
    link.end.name = "s";
    end_read_start(&link.end);
    ck_assert_int_eq(end_write(&link.end, 50000000, 0), 0);
    detach(&link.end);
    if (_i % 2 == 1)
        settle(loop);
    if (_i / 2 == 0)
        end_close(&link.end);
    else if (_i / 2 == 1)
        loop_stream_reset(&link.end.stream, end_close_cb);
    if (_i / 2 < 2) {
        run_until(loop, link.end.closes == 1);
        test_loop_free(loop);
    } else {
        test_loop_drop(loop);
    }
    notes_are("s write 0 ECANCELED; s detach ECANCELED; s close");
    test_close(link.peer.fd);
}
END_TEST

/* Goal: calls that make no sense. Method: each. */
START_TEST(refusals)
{
    struct loop        *loop = test_loop_new(NULL);
    struct loop_stream  zeroed = {0};
    struct loop_address address;
    struct end          end = {0};
    int                 listener = net_listen(NET_TCP4, 1, &address);

    ck_assert_int_eq(loop_stream_detach(&zeroed, detached_cb), -EINVAL);
    ck_assert_int_eq(loop_stream_hand_over(&zeroed, loop, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_stream_attach(loop, &zeroed, NULL, NULL), -EINVAL);
    end_connect(loop, &end, &address, NULL);
    ck_assert_int_eq(loop_stream_detach(&end.stream, NULL), -EINVAL);
    ck_assert_int_eq(loop_stream_detach(&end.stream, detached_cb), -ENOTCONN);
    run_until(loop, end.connects == 1);
    end_close(&end);
    ck_assert_int_eq(loop_stream_detach(&end.stream, detached_cb), -EINVAL);
    run_until(loop, end.closes == 1);
    ck_assert_int_eq(loop_stream_detach(&end.stream, detached_cb), -EINVAL);
    loop_detached_drop(NULL);
    test_close(listener);
    test_loop_free(loop);
}
END_TEST

/* Goal: without memory the stream stays as it was, and its data with it. Method: the allocator fails when all has
 * ended; then reads, then again. */
START_TEST(no_memory)
{
    struct loop *loop = test_loop_new(&small_buffers);
    struct link  link;

    link_open(loop, &link, NET_UNIX, 1, NULL);
    read_a_piece(loop, &link, 5000);
    settle(loop);
    detach(&link.end);
    test_memory.fail_from = test_memory.calls + 1;
    run_until(loop, told.count == 1);
    test_memory.fail_from = 0;
    ck_assert_int_eq(told.error, -ENOMEM);
    ck_assert_int_eq(end_write(&link.end, 100, 0), 0);
    end_read_start(&link.end);
    run_until(loop, link.end.read_bytes == 5000 && link.end.writes_done == 1);
    detach(&link.end);
    run_until(loop, told.count == 1);
    test_close(taken(link.end.read_flow, 5000, 0, 1));
    test_close(link.peer.fd);
    test_loop_free(loop);
}
END_TEST

static uint32_t asked;

static void asked_cb(struct loop_stream *stream, int error, size_t bytes, void *arg)
{
    (void)stream;
    (void)arg;
    callback_enter();
    ck_assert_uint_eq(told.count, 0);
    note("request %s %zu", error_text(error), bytes);
    asked++;
}

/* Goal: a read request is cancelled, with the bytes it has got; the rest comes along. Method: one for more than there
 * is, and one up to a delimiter, with more behind. */
START_TEST(request_waits)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;
    uint8_t      data[300];

    link_open(loop, &link, _i, 1, NULL);
    ck_assert_int_eq(CALL(loop_stream_read_exactly(&link.end.stream, data, 300, asked_cb, NULL, NULL)), 0);
    settle(loop);
    ck_assert(peer_feed(&link.peer, 200));
    settle(loop);
    detach(&link.end);
    ck_assert_int_eq(loop_stream_read(&link.end.stream, data, 300, asked_cb, NULL, NULL), -EINVAL);
    run_until(loop, told.count == 1);
    notes_are("request ECANCELED 200");
    pattern_check(link.end.read_flow, 0, data, 200);
    test_close(taken(link.end.read_flow, 200, 0, 1));
    test_close(link.peer.fd);
    link_open(loop, &link, _i, 1, NULL);
    ck_assert(peer_feed(&link.peer, 200));
    asked = told.count = 0;
    ck_assert_int_eq(CALL(loop_stream_read_until(&link.end.stream, data, 150, "0123456789", 10, asked_cb, NULL, NULL)),
                     0);
    run_until(loop, asked == 1);
    notes_are("request EMSGSIZE 150");
    pattern_fill(link.end.read_flow, 151, data, 3);
    asked = 0;
    ck_assert(peer_feed(&link.peer, 5000));
    ck_assert_int_eq(CALL(loop_stream_read_until(&link.end.stream, data + 10, 20, data, 3, asked_cb, NULL, NULL)), 0);
    run_until(loop, asked == 1);
    notes_are("request ok 4");
    detach(&link.end);
    run_until(loop, told.count == 1);
    ck_assert_uint_le(told.what->size, 4846);
    test_close(taken(link.end.read_flow, 154, told.what->size, 1));
    test_close(link.peer.fd);
    test_loop_free(loop);
}
END_TEST

/* ---- attaching */

static void forward_detached(struct loop_stream *stream, int error, struct loop_detached *what)
{
    callback_enter();
    ck_assert_int_eq(error, 0);
    ck_assert_int_eq(loop_stream_attach(loop_stream_loop(stream), stream, what, NULL), 0);
    told.count++;
}

/* Goal: it goes on where it stood: received bytes first, descriptors too, the end once, a shutdown lasts. Method: the
 * same stream, detached and attached inside the callback again and again while the peer sends. */
START_TEST(goes_on)
{
    struct loop *loop = test_loop_new(&small_buffers);
    struct link  link;

    link_open(loop, &link, _i, 1, NULL);
    told.count = 0;
    for (uint32_t i = 1; i <= 50; i++) {
        end_read_start(&link.end);
        if (i % 2 == 0)
            test_turns(loop, 2);
        ck_assert(peer_feed(&link.peer, i * 3000));
        if (i % 3 == 0)
            ck_assert_int_eq(CALL(loop_stream_read_stop(&link.end.stream)), 0);
        if (i % 5 == 0)
            settle(loop);
        ck_assert_int_eq(end_write(&link.end, 1000, 0), 0);
        ck_assert_int_eq(CALL(loop_stream_detach(&link.end.stream, forward_detached)), 0);
        run_until(loop, told.count == i);
    }
    ck_assert_int_eq(CALL(loop_stream_shutdown(&link.end.stream, end_shutdown_cb)), 0);
    run_until(loop, link.end.shutdowns == 1);
    ck_assert_int_eq(shutdown(link.peer.fd, SHUT_WR), 0);
    ck_assert_int_eq(CALL(loop_stream_detach(&link.end.stream, forward_detached)), 0);
    run_until(loop, told.count == 51);
    ck_assert_int_eq(end_write(&link.end, 1, 0), -EPIPE);
    end_read_start(&link.end);
    run_until(loop, link.end.read_ends == 1);
    ck_assert_uint_eq(link.end.read_bytes, 150000);
    ck_assert_int_eq(CALL(loop_stream_detach(&link.end.stream, forward_detached)), 0);
    run_until(loop, told.count == 52);
    ck_assert_int_eq(loop_stream_read_start(&link.end.stream, end_read_cb), -ENOTCONN);
    peer_finish(&link.peer);
    ck_assert_uint_eq(link.peer.read_bytes, 50000);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* Goal: received descriptors go along, with the word that some are missing. Method: five, of which three have room; one
 * is taken before. */
START_TEST(descriptors_go_along)
{
    const struct loop_stream_options options = {.flags = LOOP_STREAM_FDS, .fds_max = 3};
    const int                        fds[5] = {1, 1, 1, 1, 1};
    struct loop                     *loop = test_loop_new(NULL);
    struct end                       a = {0}, b = {.read_flow = 1};
    uint8_t                          byte;

    pattern_fill(1, 0, &byte, 1);
    ck_assert_int_eq(loop_stream_pair(loop, &a.stream, &b.stream, &options), 0);
    end_read_start(&b);
    must_write(&a, &byte, 1, NULL, NULL, &(const struct loop_write_terms){.fds = fds, .fd_count = 5});
    run_until(loop, b.read_bytes == 1);
    test_close(loop_stream_take_fd(&b.stream));
    detach(&b);
    run_until(loop, told.count == 1);
    ck_assert_uint_eq(told.what->fd_count, 3);
    ck_assert_int_eq(told.what->fds[2], -ENOBUFS);
    if (_i == 0) {
        memset(&b.stream, 0, sizeof(b.stream));
        ck_assert_int_eq(loop_stream_attach(loop, &b.stream, told.what, &options), 0);
        test_close(loop_stream_take_fd(&b.stream));
        test_close(loop_stream_take_fd(&b.stream));
        ck_assert_int_eq(loop_stream_take_fd(&b.stream), -ENOBUFS);
        ck_assert_int_eq(loop_stream_take_fd(&b.stream), -EAGAIN);
        loop_stream_close(&b.stream, NULL);
    } else {
        loop_detached_drop(told.what);
    }
    end_close(&a);
    run_until(loop, a.closes == 1 && !loop_alive(loop));
    test_loop_free(loop);
}
END_TEST

/* Goal: what can't be attached stays the caller's. Method: no memory at each call of it, a stream in use, no
 * descriptor; then it is dropped with all that is in it. */
START_TEST(attach_refused)
{
    struct loop       *loop = test_loop_new(&small_buffers);
    struct link        link;
    struct loop_stream next = {0};
    int                fd;

    link_open(loop, &link, NET_UNIX, 1, NULL);
    read_a_piece(loop, &link, 5000);
    detach(&link.end);
    run_until(loop, told.count == 1);
    test_memory.fail_from = test_memory.calls + 1;
    ck_assert_int_eq(loop_stream_attach(loop, &next, told.what, NULL), -ENOMEM);
    test_memory.fail_from = 0;
    fd = told.what->fd;
    told.what->fd = -1;
    ck_assert_int_eq(loop_stream_attach(loop, &next, told.what, NULL), -EBADF);
    told.what->fd = fd;
    ck_assert(!loop_alive(loop));
    loop_detached_drop(told.what);
    ck_assert(peer_drain(&link.peer, SIZE_MAX));
    test_close(link.peer.fd);
    test_loop_free(loop);
}
END_TEST

/* Goal: pipes and terminals too. Method: a pipe is read, detached, attached, read on. */
START_TEST(pipes_go_on)
{
    struct loop *loop = test_loop_new(NULL);
    struct end   end = {.read_flow = 1};
    uint8_t      bytes[2000];
    int          fds[2];

    test_pipe(fds);
    pattern_fill(1, 0, bytes, sizeof(bytes));
    end_open(loop, &end, fds[0], NULL);
    end_read_start(&end);
    test_write(fds[1], bytes, 1000);
    run_until(loop, end.read_bytes == 1000);
    told.count = 0;
    ck_assert_int_eq(CALL(loop_stream_detach(&end.stream, forward_detached)), 0);
    test_write(fds[1], bytes + 1000, 1000);
    run_until(loop, told.count == 1);
    test_close(fds[1]);
    end_read_start(&end);
    run_until(loop, end.read_ends == 1);
    ck_assert_uint_eq(end.read_bytes, 2000);
    end_close(&end);
    run_until(loop, end.closes == 1);
    test_loop_free(loop);
}
END_TEST

/* ---- handing over */

static void take_failed(struct loop *loop, int error, struct loop_detached *what, void *arg)
{
    struct end *end = arg;

    callback_enter();
    told.count++;
    told.error = error;
    told.what = what;
    if (end->name != NULL)
        note("%s take %s %s", end->name, error_text(error), what != NULL ? "with it" : "without");
    (void)loop;
}

static void nothing_posted(struct loop *loop, void *arg)
{
    (void)loop;
    (void)arg;
}

/* Goal: one that can't be handed over is told on the source, once, and leaks nothing. Method: the target's queue is
 * full; a close meanwhile. */
START_TEST(not_handed_over)
{
    const struct loop_options options = {.posts_max = 1};
    struct loop              *loop = test_loop_new(NULL), *target = test_loop_new(&options);
    struct link               link;

    link_open(loop, &link, NET_UNIX, 1, NULL);
    link.end.name = "s";
    told.count = 0;
    if (_i == 0) {
        ck_assert_int_eq(loop_post(target, nothing_posted, NULL), 0);
    } else {
        ck_assert_int_eq(end_write(&link.end, 10000000, 0), 0);
    }
    ck_assert_int_eq(CALL(loop_stream_hand_over(&link.end.stream, target, take_failed, &link.end)), 0);
    ck_assert_uint_eq(told.count, 0);
    if (_i == 1) {
        settle(loop);
        end_close(&link.end);
    }
    run_until(loop, told.count == 1);
    if (_i == 0) {
        notes_are("s take ENOBUFS with it");
        ck_assert_int_eq(told.error, -ENOBUFS);
        told.error = 0;
        test_close(taken(link.end.read_flow, 0, 0, 1));
        test_close(link.peer.fd);
    } else {
        notes_are("s write 0 ECANCELED; s take ECANCELED without; s close");
        link_close(loop, &link);
    }
    test_loop_drop(target);
    test_loop_free(loop);
}
END_TEST

static void take_at_the_end(struct loop *loop, int error, struct loop_detached *what, void *arg)
{
    const struct loop_stream_options options = {.on_close = end_close_cb};
    struct end                      *end = arg;

    ck_assert_int_eq(error, 0);
    ck_assert_int_eq(loop_stream_attach(loop, &end->stream, what, &options), 0);
    told.count++;
}

/* Goal: a target that is being destroyed takes it all the same, and closes what is attached then. Method: handed over,
 * then destroyed, the source before that or after. */
START_TEST(target_is_destroyed)
{
    struct loop *loop = test_loop_new(NULL), *target = test_loop_new(NULL);
    struct link  link;

    link_open(loop, &link, NET_UNIX, 1, NULL);
    told.count = 0;
    ck_assert_int_eq(CALL(loop_stream_hand_over(&link.end.stream, target, take_at_the_end, &link.end)), 0);
    test_run(loop);
    ck_assert(!loop_alive(loop));
    if (_i == 1)
        test_loop_free(loop); /* what was detached needs it no more */
    test_loop_drop(target);
    ck_assert_uint_eq(told.count, 1);
    ck_assert_uint_eq(link.end.closes, 1);
    ck_assert(peer_drain(&link.peer, SIZE_MAX));
    test_close(link.peer.fd);
    if (_i == 0)
        test_loop_free(loop);
}
END_TEST

/* Goal: without memory the stream stays as it was, unreferenced too. Method: the allocator fails when it should be
 * posted, then not. */
START_TEST(hand_over_without_memory)
{
    const struct loop_stream_options options = {.flags = LOOP_STREAM_UNREF};
    struct loop                     *loop = test_loop_new(NULL), *target = test_loop_new(NULL);
    struct link                      link;

    link_open(loop, &link, NET_UNIX, 1, &options);
    told.count = 0;
    ck_assert(!loop_alive(loop));
    ck_assert_int_eq(CALL(loop_stream_hand_over(&link.end.stream, target, take_failed, &link.end)), 0);
    ck_assert(loop_alive(loop));
    test_memory.fail_from = test_memory.calls + 1;
    test_run(loop);
    test_memory.fail_from = 0;
    ck_assert_uint_eq(told.count, 1);
    ck_assert_int_eq(told.error, -ENOMEM);
    ck_assert_ptr_null(told.what);
    ck_assert(!loop_alive(loop));
    end_read_start(&link.end);
    ck_assert(peer_feed(&link.peer, 100));
    pump_until(loop, link.end.read_bytes == 100);
    ck_assert_int_eq(CALL(loop_stream_hand_over(&link.end.stream, target, take_failed, &link.end)), 0);
    test_run(loop);
    test_run(target);
    ck_assert_uint_eq(told.count, 2);
    ck_assert_int_eq(told.error, 0);
    loop_detached_drop(told.what);
    ck_assert(peer_drain(&link.peer, SIZE_MAX));
    test_close(link.peer.fd);
    test_loop_free(target);
    test_loop_free(loop);
}
END_TEST

/* ---- two loops in two threads */

enum { TRAVELLERS = 8, HOPS = 400, TRAVEL_AHEAD = 65536 };

struct traveller {
    struct end    end;
    struct loop **loops;
    atomic_uint   hops;
    uint64_t      state;
    uint32_t      at; /* which loop it is on */
};

static atomic_uint  travellers_left;
static struct loop *travel_loops[2];

static void travel_read_cb(struct loop_stream *stream, const struct loop_result *result);

static void travel_closed(struct loop_stream *stream)
{
    (void)stream;
    if (atomic_fetch_sub(&travellers_left, 1) == 1) {
        loop_stop(travel_loops[0]);
        loop_stop(travel_loops[1]);
    }
}

static void travel_shut(struct loop_stream *stream, int error)
{
    ck_assert_int_eq(error, 0);
    loop_stream_close(stream, travel_closed);
}

static void travel_written(struct loop_stream *stream, int error, size_t bytes, void *arg)
{
    struct end *end = end_of(stream);

    (void)arg;
    ck_assert_int_eq(error, 0);
    end->taken_bytes += bytes;
}

static void arrive(struct loop *loop, int error, struct loop_detached *what, void *arg)
{
    struct traveller *traveller = arg;

    ck_assert_int_eq(error, 0);
    traveller->at ^= 1;
    ck_assert_ptr_eq(loop, traveller->loops[traveller->at]);
    atomic_fetch_add(&traveller->hops, 1);
    ck_assert_int_eq(loop_stream_attach(loop, &traveller->end.stream, what, NULL), 0);
    ck_assert_int_eq(loop_stream_read_start(&traveller->end.stream, travel_read_cb), 0);
}

/* Echoes what it reads, and goes to the other loop every now and then. */
static void travel_read_cb(struct loop_stream *stream, const struct loop_result *result)
{
    struct end       *end = end_of(stream);
    struct traveller *traveller = end->arg;

    ck_assert_int_ge(result->res, 0);
    if (result->res == 0) {
        ck_assert_int_eq(loop_stream_shutdown(stream, travel_shut), 0);
        return;
    }
    pattern_check(end->read_flow, end->read_bytes, result->data, (size_t)result->res);
    end->read_bytes += (uint64_t)result->res;
    ck_assert_int_eq(loop_stream_write(stream, result->data, (size_t)result->res, travel_written, NULL,
                                       &(const struct loop_write_terms){.release = result->buffer}),
                     0);
    if (test_random(&traveller->state) % 4 != 0)
        ck_assert_int_eq(loop_stream_hand_over(stream, traveller->loops[traveller->at ^ 1], arrive, traveller), 0);
}

static void *run_loop(void *arg)
{
    while (atomic_load(&travellers_left) > 0)
        ck_assert_int_ge(loop_run(arg, LOOP_RUN_DEFAULT), 0);
    return NULL;
}

static void stay(struct loop_timer *timer)
{
    (void)timer;
}

/* Goal: handing over is byte exact while the peer sends. Method: echoing streams that hop between two loops in two
 * threads, some thousand times, whose peers send in bits and check what comes back. */
START_TEST(travelling)
{
    static struct traveller travellers[TRAVELLERS];
    struct peer             peers[TRAVELLERS];
    struct loop            *loops[2] = {test_loop_new(NULL), test_loop_new(NULL)};
    struct loop_timer       keep[2] = {{0}, {0}};
    pthread_t               threads[2];
    uint64_t                until = test_clock() + RUN_LIMIT;
    uint32_t                ended = 0;
    bool                    shut[TRAVELLERS] = {false};

    atomic_store(&travellers_left, TRAVELLERS);
    memcpy(travel_loops, loops, sizeof(loops));
    for (uint32_t i = 0; i < TRAVELLERS; i++) {
        int fds[2];

        net_pair(i % 2 == 0 ? NET_UNIX : NET_TCP4, fds);
        peers[i] = (struct peer){.fd = fds[1], .read_flow = i, .write_flow = i};
        travellers[i] = (struct traveller){.end = {.read_flow = i}, .loops = travel_loops, .state = i};
        travellers[i].end.arg = &travellers[i];
        ck_assert_int_eq(loop_stream_open(loops[0], &travellers[i].end.stream, fds[0], NULL), 0);
        ck_assert_int_eq(loop_stream_read_start(&travellers[i].end.stream, travel_read_cb), 0);
    }
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(loop_timer_start(loops[i], &keep[i], LOOP_SECOND, LOOP_SECOND, stay), 0);
        ck_assert_int_eq(pthread_create(&threads[i], NULL, run_loop, loops[i]), 0);
    }
    while (ended < TRAVELLERS) {
        ck_assert_msg(test_clock() < until, "%u of the travellers have not come home", TRAVELLERS - ended);
        ended = 0;
        for (uint32_t i = 0; i < TRAVELLERS; i++) {
            struct peer *peer = &peers[i];

            if (!shut[i] && atomic_load(&travellers[i].hops) >= HOPS) {
                ck_assert_int_eq(shutdown(peer->fd, SHUT_WR), 0);
                shut[i] = true;
            }
            if (!shut[i] && peer->write_bytes < peer->read_bytes + TRAVEL_AHEAD)
                (void)peer_feed(peer, peer->write_bytes + 700);
            ended += peer_drain(peer, SIZE_MAX);
        }
        test_sleep(20000);
    }
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    for (uint32_t i = 0; i < TRAVELLERS; i++) {
        ck_assert_uint_eq(peers[i].read_bytes, peers[i].write_bytes);
        ck_assert_int_eq(peers[i].error, 0);
        ck_assert_uint_ge(travellers[i].hops, HOPS);
        test_close(peers[i].fd);
    }
    for (int i = 0; i < 2; i++)
        test_loop_drop(loops[i]);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("net/stream_detach");
    TCase *tcase = test_case(suite, "detach");
    int    kinds = net_kinds();

    tcase_add_loop_test(tcase, nothing_holds_it, 0, 2 * kinds);
    tcase_add_loop_test(tcase, received_comes_along, 0, kinds);
    tcase_add_loop_test(tcase, writes_leave_first, 0, 2 * kinds);
    tcase_add_test(tcase, writes_fail);
    tcase_add_loop_test(tcase, closed_meanwhile, 0, 6);
    tcase_add_test(tcase, refusals);
    tcase_add_test(tcase, no_memory);
    tcase_add_loop_test(tcase, request_waits, 0, kinds);
    tcase = test_case(suite, "attach");
    tcase_add_loop_test(tcase, goes_on, 0, kinds);
    tcase_add_loop_test(tcase, descriptors_go_along, 0, 2);
    tcase_add_test(tcase, attach_refused);
    tcase_add_test(tcase, pipes_go_on);
    tcase = test_case(suite, "hand over");
    tcase_add_loop_test(tcase, not_handed_over, 0, 2);
    tcase_add_loop_test(tcase, target_is_destroyed, 0, 2);
    tcase_add_test(tcase, hand_over_without_memory);
    tcase = test_case(suite, "travelling");
    tcase_add_test(tcase, travelling);
    return suite;
}
