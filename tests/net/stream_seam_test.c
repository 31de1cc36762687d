/* tests/net/stream_seam_test.c: parts of a stream together that have tests of their own: forwarding to a stream that is
 * full, corked or timed out, files and corks, deadlines of pipes. */
#include "tests/net/net_test.h"

#include <fcntl.h>
#include <ringloop/forward.h>
#include <ringloop/stream_detach.h>
#include <ringloop/unix.h>
#include <ringloop/write.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum { KIB = 1024, MIB = 1 << 20 };

/* Two connections; what the first peer sends shall arrive at the second. */
struct path {
    struct loop *loop;
    struct link  in, out;
    uint32_t     ends;
    int          error;
    uint64_t     bytes;
};

static void ended(struct loop_stream *from, struct loop_stream *to, int error, uint64_t bytes, void *arg)
{
    struct path *path = arg;

    (void)from;
    (void)to;
    callback_enter();
    path->ends++;
    path->error = error;
    path->bytes = bytes;
}

static void path_open(struct path *path, const struct loop_stream_options *out)
{
    memset(path, 0, sizeof(*path));
    path->loop = test_loop_new(NULL);
    link_open(path->loop, &path->in, NET_TCP4, 1, NULL);
    link_open(path->loop, &path->out, NET_TCP4, 2, out);
    path->out.peer.read_flow = path->in.peer.write_flow;
    path->out.end.write_flow = path->in.peer.write_flow;
}

static void path_forward(struct path *path, bool copy)
{
    const struct loop_forward_options options = {.flags = copy ? LOOP_FORWARD_COPY : 0};

    ck_assert_int_eq(CALL(loop_stream_forward(&path->in.end.stream, &path->out.end.stream, &options, ended, path)), 0);
}

static void path_close(struct path *path)
{
    link_close(path->loop, &path->in);
    link_close(path->loop, &path->out);
    ck_assert_uint_eq(test_stats(path->loop).buffers_lent, 0);
    test_loop_free(path->loop);
}

static bool flows(struct path *path, uint64_t total)
{
    (void)peer_feed(&path->in.peer, total);
    (void)peer_drain(&path->out.peer, SIZE_MAX);
    return path->out.peer.read_bytes == total;
}

/* The next size bytes of the flow are written by hand to the second stream. */
static void write_between(struct path *path, size_t size)
{
    path->out.end.write_bytes = path->in.peer.write_bytes;
    ck_assert_int_eq(end_write(&path->out.end, size, 0), 0);
    path->in.peer.write_bytes += size;
}

static bool in_flow(struct path *path, bool flowing)
{
    return !flowing || flows(path, 4 * MIB);
}

/* Goal: forwarding goes on when what was written by hand has left, full or not. Method: a write of more than may be
 * queued, and of more or less than the high mark, before forwarding or in full flow (by splice). */
START_TEST(forward_after_writes)
{
    struct loop_stream_options options = {.write_high = (_i & 1) == 0 ? 64 * KIB : 0};
    bool                       flowing = (_i & 2) != 0, copy = (_i & 4) != 0;
    struct path                path;
    uint64_t                   total;

    path_open(&path, &options);
    if (flowing) {
        path_forward(&path, copy);
        pump_until(path.loop, in_flow(&path, flowing));
    }
    write_between(&path, 8 * MIB);
    if (!flowing)
        path_forward(&path, copy);
    total = path.in.peer.write_bytes + 100000;
    (void)peer_feed(&path.in.peer, total);
    settle(path.loop);
    ck_assert_uint_eq(path.out.end.writes_done, 0);
    pump_until(path.loop, flows(&path, total));
    ck_assert_int_eq(shutdown(path.in.peer.fd, SHUT_WR), 0);
    run_until(path.loop, path.ends == 1);
    ck_assert_int_eq(path.error, 0);
    path_close(&path);
}
END_TEST

/* Goal: forwarding goes on when what was written by hand is cancelled, or a file among it ends early. Method: these
 * stand in the queue of a corked stream, or of one whose file is empty. */
START_TEST(forward_after_cancels)
{
    struct path path;
    int         fd = memfd_create("stream_seam", MFD_CLOEXEC);

    path_open(&path, NULL);
    path_forward(&path, false);
    pump_until(path.loop, flows(&path, 4 * MIB));
    if (_i == 0) {
        ck_assert_int_eq(CALL(loop_stream_cork(&path.out.end.stream)), 0);
        ck_assert_int_eq(end_write(&path.out.end, 100000, 0), 0);
    } else {
        ck_assert_int_eq(CALL(loop_stream_sendfile(&path.out.end.stream, fd, 0, 10, NULL, NULL, NULL)), 0);
        ck_assert_int_eq(CALL(loop_stream_cork(&path.out.end.stream)), 0);
    }
    (void)peer_feed(&path.in.peer, 4 * MIB + 1000);
    settle(path.loop);
    if (_i == 0)
        ck_assert_int_eq(CALL(loop_stream_write_cancel_all(&path.out.end.stream)), 1);
    ck_assert_int_eq(CALL(loop_stream_uncork(&path.out.end.stream)), 0);
    pump_until(path.loop, flows(&path, 4 * MIB + 1000));
    path_close(&path);
    test_close(fd);
}
END_TEST

/* Goal: a stream that takes few bytes slows forwarding down, but does not end it. Method: room for less than a buffer,
 * and a peer that reads little at a time. */
START_TEST(forward_into_little_room)
{
    struct loop_stream_options options = {.write_bytes_max = 1000};
    struct path                path;
    uint64_t                   total = 300000;

    path_open(&path, &options);
    net_buffers(loop_stream_fd(&path.out.end.stream), 16384);
    path_forward(&path, _i == 1);
    pump_until(path.loop,
               (peer_feed(&path.in.peer, total), peer_drain(&path.out.peer, 5000), path.out.peer.read_bytes == total));
    ck_assert_uint_eq(path.ends, 0);
    ck_assert_int_eq(shutdown(path.in.peer.fd, SHUT_WR), 0);
    run_until(path.loop, path.ends == 1);
    ck_assert_int_eq(path.error, 0);
    ck_assert_uint_eq(path.bytes, total);
    path_close(&path);
}
END_TEST

/* Goal: nothing leaves a corked stream, also not of what is forwarded to it. */
START_TEST(forward_corked)
{
    struct path path;

    path_open(&path, NULL);
    path_forward(&path, _i == 1);
    pump_until(path.loop, flows(&path, 4 * MIB));
    ck_assert_int_eq(CALL(loop_stream_cork(&path.out.end.stream)), 0);
    (void)peer_feed(&path.in.peer, 5 * MIB);
    (void)run_for(path.loop, 20 * LOOP_MILLISECOND);
    (void)peer_drain(&path.out.peer, SIZE_MAX);
    ck_assert_uint_eq(path.out.peer.read_bytes, 4 * MIB);
    ck_assert_int_eq(CALL(loop_stream_uncork(&path.out.end.stream)), 0);
    pump_until(path.loop, flows(&path, 5 * MIB));
    path_close(&path);
}
END_TEST

/* Goal: what cannot be passed on can be read. Method: the second stream is shut down by hand. */
START_TEST(forward_refused)
{
    struct path path;

    path_open(&path, NULL);
    path_forward(&path, true);
    pump_until(path.loop, flows(&path, 1000));
    ck_assert_int_eq(CALL(loop_stream_shutdown(&path.out.end.stream, end_shutdown_cb)), 0);
    run_until(path.loop, path.out.end.shutdowns == 1);
    ck_assert(peer_feed(&path.in.peer, 3000));
    run_until(path.loop, path.ends == 1);
    ck_assert_int_eq(path.error, -EPIPE);
    ck_assert_uint_eq(path.bytes, 1000);
    path.in.end.read_bytes = 1000;
    end_read_start(&path.in.end);
    run_until(path.loop, path.in.end.read_bytes == 3000);
    path_close(&path);
}
END_TEST

/* Goal: a write deadline of the stream forwarded to ends that, whether copied or spliced. */
START_TEST(forward_times_out)
{
    static const struct loop_stream_deadlines deadlines = {.write_ns = 50 * LOOP_MILLISECOND};
    struct path                               path;

    path_open(&path, NULL);
    path_forward(&path, _i == 1);
    pump_until(path.loop, flows(&path, 4 * MIB));
    ck_assert_int_eq(CALL(loop_stream_deadlines_set(&path.out.end.stream, &deadlines)), 0);
    pump_until(path.loop, (peer_feed(&path.in.peer, 64 * MIB), path.ends == 1));
    ck_assert_msg(path.error == -ETIMEDOUT, "%s", error_text(path.error));
    path_close(&path);
}
END_TEST

/* ---- files and corks */

static int file_of(uint64_t flow, uint64_t offset, size_t size)
{
    static uint8_t bytes[4 * MIB];
    int            fd = memfd_create("stream_seam", MFD_CLOEXEC);

    ck_assert_uint_le(size, sizeof(bytes));
    pattern_fill(flow, offset, bytes, size);
    ck_assert_int_eq(write(fd, bytes, size), (ssize_t)size);
    return fd;
}

static void file_cb(struct loop_stream *stream, int error, size_t bytes, void *arg)
{
    (void)stream;
    callback_enter();
    ck_assert_int_eq(error, 0);
    ck_assert_uint_eq(bytes, 4 * MIB);
    ++*(uint32_t *)arg;
}

static void drain_to(struct loop *loop, struct link *link, uint64_t bytes)
{
    pump_until(loop,
               (peer_drain(&link->peer, (size_t)(bytes - link->peer.read_bytes)), link->peer.read_bytes == bytes));
}

/* Goal: a file of which something has left goes on when corked, and what is behind it waits. */
START_TEST(cork_in_a_file)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;
    uint32_t     sent = 0;
    int          fd;

    link_open(loop, &link, _i, 1, NULL);
    net_buffers(loop_stream_fd(&link.end.stream), 16384);
    fd = file_of(link.peer.read_flow, 0, 4 * MIB);
    ck_assert_int_eq(CALL(loop_stream_sendfile(&link.end.stream, fd, 0, 4 * MIB, file_cb, &sent, NULL)), 0);
    link.end.write_bytes = 4 * MIB;
    ck_assert_int_eq(end_write(&link.end, 1000, 0), 0);
    drain_to(loop, &link, 300000);
    ck_assert_int_eq(CALL(loop_stream_cork(&link.end.stream)), 0);
    drain_to(loop, &link, 4 * MIB);
    run_until(loop, sent == 1);
    settle(loop);
    (void)peer_drain(&link.peer, SIZE_MAX);
    ck_assert_uint_eq(link.peer.read_bytes, 4 * MIB);
    ck_assert_int_eq(CALL(loop_stream_uncork(&link.end.stream)), 0);
    drain_to(loop, &link, 4 * MIB + 1000);
    link_close(loop, &link);
    test_loop_free(loop);
    test_close(fd);
}
END_TEST

/* Goal: a write of which something has left goes on when corked, though a file is behind it; that waits. */
START_TEST(cork_before_a_file)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;
    uint32_t     sent = 0;
    int          fd;

    link_open(loop, &link, _i, 1, NULL);
    net_buffers(loop_stream_fd(&link.end.stream), 16384);
    ck_assert_int_eq(end_write(&link.end, 8 * MIB, 0), 0);
    fd = file_of(link.peer.read_flow, 8 * MIB, 4 * MIB);
    ck_assert_int_eq(CALL(loop_stream_sendfile(&link.end.stream, fd, 0, 4 * MIB, file_cb, &sent, NULL)), 0);
    drain_to(loop, &link, 300000);
    ck_assert_int_eq(CALL(loop_stream_cork(&link.end.stream)), 0);
    drain_to(loop, &link, 8 * MIB);
    settle(loop);
    (void)peer_drain(&link.peer, SIZE_MAX);
    ck_assert_uint_eq(link.peer.read_bytes, 8 * MIB);
    ck_assert_int_eq(CALL(loop_stream_uncork(&link.end.stream)), 0);
    drain_to(loop, &link, 12 * MIB);
    run_until(loop, sent == 1);
    link_close(loop, &link);
    test_loop_free(loop);
    test_close(fd);
}
END_TEST

/* Goal: a file takes no descriptors along. */
START_TEST(file_with_descriptors)
{
    const int                     number = STDERR_FILENO;
    const struct loop_write_terms with = {.fds = &number, .fd_count = 1};
    struct loop                  *loop = test_loop_new(NULL);
    struct link                   link;

    link_open(loop, &link, NET_UNIX, 1, NULL);
    ck_assert_int_eq(CALL(loop_stream_sendfile(&link.end.stream, number, 0, 1, NULL, NULL, &with)), -EINVAL);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* ---- deadlines */

static uint32_t late;

static void late_cb(struct loop_stream *stream, uint32_t which)
{
    (void)stream;
    callback_enter();
    ck_assert_uint_eq(which, LOOP_STREAM_WRITE);
    late++;
}

/* Goal: a write deadline is about the peer: it rests while a cork, or a file that has nothing to read yet, holds the
 * writes back; afterwards it comes, with a peer that does not read. Method: the file is a pipe. */
START_TEST(deadline_rests)
{
    static const struct loop_stream_deadlines deadlines = {.write_ns = 30 * LOOP_MILLISECOND, .cb = late_cb};
    struct loop                              *loop = test_loop_new(NULL);
    struct link                               link;
    int                                       fds[2];

    test_pipe(fds);
    link_open(loop, &link, NET_UNIX, 1, NULL);
    late = 0;
    ck_assert_int_eq(CALL(loop_stream_deadlines_set(&link.end.stream, &deadlines)), 0);
    if (_i == 0)
        ck_assert_int_eq(CALL(loop_stream_cork(&link.end.stream)), 0);
    else
        ck_assert_int_eq(CALL(loop_stream_sendfile(&link.end.stream, fds[0], LOOP_AT_POSITION, 4, NULL, NULL, NULL)),
                         0);
    ck_assert_int_eq(end_write(&link.end, 8 * MIB, 0), 0);
    (void)run_for(loop, 100 * LOOP_MILLISECOND);
    ck_assert_uint_eq(late, 0);
    if (_i == 0)
        ck_assert_int_eq(CALL(loop_stream_uncork(&link.end.stream)), 0);
    else
        ck_assert_int_eq((int)write(fds[1], "file", 4), 4);
    run_until(loop, late == 2);
    link_close(loop, &link);
    test_loop_free(loop);
    test_close(fds[0]);
    test_close(fds[1]);
}
END_TEST

static void detached_cb(struct loop_stream *stream, int error, struct loop_detached *detached)
{
    (void)stream;
    callback_enter();
    ck_assert_int_eq(error, 0);
    loop_detached_drop(detached);
    late++;
}

/* Goal: what leaves cannot be corked, so that it does leave. */
START_TEST(cork_and_detach)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;

    link_open(loop, &link, NET_UNIX, 1, NULL);
    ck_assert_int_eq(end_write(&link.end, 100000, 0), 0);
    ck_assert_int_eq(CALL(loop_stream_detach(&link.end.stream, detached_cb)), 0);
    ck_assert_int_eq(CALL(loop_stream_cork(&link.end.stream)), -EINVAL);
    late = 0;
    pump_until(loop, (peer_drain(&link.peer, SIZE_MAX), late == 1));
    ck_assert_uint_eq(link.end.taken_bytes, 100000);
    test_close(link.peer.fd);
    test_loop_free(loop);
}
END_TEST

/* ---- pipes */

/* Bit 0: the writer's end in non-blocking mode; bit 1: a FIFO with a name, where the kernel leaves waiting to us. */
static void make_pipe(int kind, int ret_fds[2])
{
    char path[64];

    if ((kind & 2) == 0) {
        test_pipe(ret_fds);
    } else {
        snprintf(path, sizeof(path), "/tmp/ringloop-seam-%d", (int)getpid());
        ck_assert_int_eq(mkfifo(path, 0600), 0);
        ret_fds[0] = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        ret_fds[1] = open(path, O_WRONLY | O_CLOEXEC);
        ck_assert_int_ge(ret_fds[0], 0);
        ck_assert_int_ge(ret_fds[1], 0);
        unlink(path);
    }
    if ((kind & 1) != 0)
        ck_assert_int_eq(fcntl(ret_fds[1], F_SETFL, fcntl(ret_fds[1], F_GETFL) | O_NONBLOCK), 0);
}

/* Goal: a pipe that nobody reads ends by its write deadline, in blocking mode or not. */
START_TEST(pipe_times_out)
{
    static const struct loop_stream_deadlines deadlines = {.write_ns = 30 * LOOP_MILLISECOND};
    struct loop                              *loop = test_loop_new(NULL);
    struct end                                end = {.write_flow = 1};
    int                                       fds[2];

    make_pipe(_i, fds);
    end_open(loop, &end, fds[1], NULL);
    ck_assert_int_eq(CALL(loop_stream_deadlines_set(&end.stream, &deadlines)), 0);
    ck_assert_int_eq(end_write(&end, MIB, 0), 0);
    ck_assert_int_eq(end_write(&end, MIB, 0), 0);
    run_until(loop, end.writes_done == 2);
    ck_assert_msg(end.write_error == -ETIMEDOUT, "%s", error_text(end.write_error));
    end_close(&end);
    run_until(loop, end.closes == 1);
    test_close(fds[0]);
    test_loop_free(loop);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("net/stream_seam");
    tcase_add_loop_test(test_case(suite, "forward_after_writes"), forward_after_writes, 0, 8);
    tcase_add_loop_test(test_case(suite, "forward_after_cancels"), forward_after_cancels, 0, 2);
    tcase_add_loop_test(test_case(suite, "forward_into_little_room"), forward_into_little_room, 0, 2);
    tcase_add_loop_test(test_case(suite, "forward_corked"), forward_corked, 0, 2);
    tcase_add_test(test_case(suite, "forward_refused"), forward_refused);
    tcase_add_loop_test(test_case(suite, "forward_times_out"), forward_times_out, 0, 2);
    tcase_add_loop_test(test_case(suite, "cork_in_a_file"), cork_in_a_file, 0, NET_KINDS);
    tcase_add_loop_test(test_case(suite, "cork_before_a_file"), cork_before_a_file, 0, NET_KINDS);
    tcase_add_test(test_case(suite, "file_with_descriptors"), file_with_descriptors);
    tcase_add_loop_test(test_case(suite, "deadline_rests"), deadline_rests, 0, 2);
    tcase_add_test(test_case(suite, "cork_and_detach"), cork_and_detach);
    tcase_add_loop_test(test_case(suite, "pipe_times_out"), pipe_times_out, 0, 4);
    return suite;
}
