/* tests/net/stream_seam_test.c: parts of a stream together that have tests of their own: files and corks, deadlines of
 * pipes. */
#include "tests/net/net_test.h"

#include <fcntl.h>
#include <ringloop/unix.h>
#include <ringloop/write.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum { KIB = 1024, MIB = 1 << 20 };

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
    tcase_add_loop_test(test_case(suite, "cork_in_a_file"), cork_in_a_file, 0, NET_KINDS);
    tcase_add_loop_test(test_case(suite, "cork_before_a_file"), cork_before_a_file, 0, NET_KINDS);
    tcase_add_test(test_case(suite, "file_with_descriptors"), file_with_descriptors);
    tcase_add_loop_test(test_case(suite, "pipe_times_out"), pipe_times_out, 0, 4);
    return suite;
}
