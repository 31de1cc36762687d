/* tests/net/stream_fds_test.c: descriptors sent and received over unix sockets. */
#include "tests/net/net_test.h"

#include <fcntl.h>
#include <ringloop/unix.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

enum { FDS_MAX = LOOP_WRITE_FDS_MAX };

static const struct loop_stream_options with_fds = {.flags = LOOP_STREAM_FDS};

/* ---- descriptors one can tell from each other */

/* A file that holds its number. */
static int numbered(uint32_t number)
{
    int fd = memfd_create("ringloop", MFD_CLOEXEC);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(pwrite(fd, &number, sizeof(number), 0), sizeof(number));
    return fd;
}

static uint32_t number_of(int fd)
{
    uint32_t number = 0;

    ck_assert_int_eq(pread(fd, &number, sizeof(number), 0), sizeof(number));
    return number;
}

/* Takes the stream's next one, which must be that. */
static void take(struct loop_stream *stream, uint32_t number)
{
    int fd = loop_stream_take_fd(stream);

    ck_assert_msg(fd >= 0, "descriptor %u: %s", number, error_text(fd));
    ck_assert_uint_eq(number_of(fd), number);
    ck_assert_int_ne(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
    test_close(fd);
}

/* ---- a peer with descriptors */

/* Sends bytes of its pattern with new descriptors of numbers first, first + 1, ... */
static void peer_send(struct peer *peer, size_t size, uint32_t first, uint32_t count)
{
    char          space[CMSG_SPACE(sizeof(int) * FDS_MAX)] __attribute__((aligned(8))) = {0};
    uint8_t       bytes[4096];
    struct iovec  iov = {.iov_base = bytes, .iov_len = size};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    int           fds[FDS_MAX];

    pattern_fill(peer->write_flow, peer->write_bytes, bytes, size);
    for (uint32_t i = 0; i < count; i++)
        fds[i] = numbered(first + i);
    if (count > 0) {
        msg.msg_control = space;
        msg.msg_controllen = CMSG_SPACE(count * sizeof(int));
        *CMSG_FIRSTHDR(&msg) = (struct cmsghdr){
            .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(count * sizeof(int))};
        memcpy(CMSG_DATA(CMSG_FIRSTHDR(&msg)), fds, count * sizeof(int));
    }
    ck_assert_int_eq(sendmsg(peer->fd, &msg, 0), (ssize_t)size);
    peer->write_bytes += size;
    for (uint32_t i = 0; i < count; i++)
        test_close(fds[i]);
}

/* Reads at most size bytes, and the descriptors with them, which must be numbers first, first + 1, ... Returns their
 * number. */
static uint32_t peer_receive(struct peer *peer, size_t size, uint32_t first)
{
    char          space[CMSG_SPACE(sizeof(int) * FDS_MAX)] __attribute__((aligned(8))) = {0};
    uint8_t       bytes[65536];
    struct iovec  iov = {.iov_base = bytes, .iov_len = size < sizeof(bytes) ? size : sizeof(bytes)};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof(space)};
    ssize_t       n = recvmsg(peer->fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    uint32_t      count = 0;

    if (n < 0 && errno == EAGAIN)
        return 0;
    ck_assert_int_ge(n, 0);
    ck_assert_int_eq(msg.msg_flags & MSG_CTRUNC, 0);
    peer->ended = n == 0;
    pattern_check(peer->read_flow, peer->read_bytes, bytes, (size_t)n);
    peer->read_bytes += (uint64_t)n;
    if (CMSG_FIRSTHDR(&msg) != NULL) {
        count = (uint32_t)((CMSG_FIRSTHDR(&msg)->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        for (uint32_t i = 0; i < count; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)) + i * sizeof(fd), sizeof(fd));
            ck_assert_uint_eq(number_of(fd), first + i);
            test_close(fd);
        }
    }
    return count;
}

/* ---- writes with descriptors */

static void written(struct loop_stream *stream, int error, size_t bytes, void *arg)
{
    struct end *end = end_of(stream);

    callback_enter();
    ck_assert_uint_eq((uintptr_t)arg, end->writes_done);
    end->writes_done++;
    end->taken_bytes += bytes;
    if (error < 0) {
        end->writes_failed++;
        end->write_error = error;
    }
}

/* The next size bytes of the pattern, copied, with these. */
static int write_fds(struct end *end, size_t size, const int *fds, uint32_t count, uint32_t flags)
{
    struct loop_write_terms terms = {.flags = LOOP_WRITE_COPY | flags, .fds = fds, .fd_count = count};
    uint8_t                *bytes = malloc(size);
    int                     r;

    pattern_fill(end->write_flow, end->write_bytes, bytes, size);
    r = CALL(loop_stream_write(&end->stream, bytes, size, written, (void *)(uintptr_t)end->writes_started, &terms));
    if (r == 0) {
        end->writes_started++;
        end->write_bytes += size;
    }
    free(bytes);
    return r;
}

/* With new ones, which the write closes. */
static void write_numbered(struct end *end, size_t size, uint32_t first, uint32_t count)
{
    int fds[FDS_MAX];

    for (uint32_t i = 0; i < count; i++)
        fds[i] = numbered(first + i);
    ck_assert_int_eq(write_fds(end, size, fds, count, LOOP_WRITE_CLOSE_FDS), 0);
}

/* ---- sending */

/* Goal: descriptors come with the first byte of their write, and with no other; in order. Method: writes with and
 * without them in one turn; a peer that reads write by write. */
START_TEST(sent_with_their_bytes)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;

    link_open(loop, &link, NET_UNIX, 1, NULL);
    write_numbered(&link.end, 100, 0, 0);
    write_numbered(&link.end, 50, 10, 1);
    write_numbered(&link.end, 20000, 0, 0);
    write_numbered(&link.end, 1, 20, 3);
    write_numbered(&link.end, 700, 30, FDS_MAX);
    write_numbered(&link.end, 700, 0, 0);
    run_until(loop, link.end.writes_done == 6);
    ck_assert_uint_eq(link.end.writes_failed, 0);
    ck_assert_uint_eq(link.end.taken_bytes, link.end.write_bytes);
    ck_assert_uint_eq(peer_receive(&link.peer, 99, 0), 0);
    ck_assert_uint_eq(peer_receive(&link.peer, 1, 0), 0);
    ck_assert_uint_eq(peer_receive(&link.peer, 1, 10), 1);
    ck_assert_uint_eq(peer_receive(&link.peer, 49, 0), 0);
    ck_assert_uint_eq(peer_receive(&link.peer, 20000, 0), 0);
    ck_assert_uint_eq(link.peer.read_bytes, 20150);
    ck_assert_uint_eq(peer_receive(&link.peer, 65536, 20), 3); /* ends with its message */
    ck_assert_uint_eq(link.peer.read_bytes, 20151);
    ck_assert_uint_eq(peer_receive(&link.peer, 65536, 30), FDS_MAX);
    ck_assert_uint_eq(link.peer.read_bytes, 20851);
    ck_assert_uint_eq(peer_receive(&link.peer, 65536, 0), 0);
    ck_assert_uint_eq(link.peer.read_bytes, 21551);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* Goal: a long write that leaves in many pieces brings its descriptors once. Method: 2 MB, a slow reader, small socket
 * buffers; other writes before and behind. */
START_TEST(long_writes)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;
    uint32_t     count = 0;

    link_open(loop, &link, NET_UNIX, 1, NULL);
    net_buffers(loop_stream_fd(&link.end.stream), 8192);
    write_numbered(&link.end, 100000, 0, 0);
    write_numbered(&link.end, 2000000, 5, 2);
    write_numbered(&link.end, 100000, 0, 0);
    pump_until(loop, (count += peer_receive(&link.peer, 10000, 5), link.peer.read_bytes == 2200000));
    ck_assert_uint_eq(count, 2);
    run_until(loop, link.end.writes_done == 3);
    ck_assert_uint_eq(link.end.writes_failed, 0);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* Goal: the numbers are copied, the descriptors borrowed until the callback, and then still open. Method: the array is
 * overwritten; the same descriptor in many writes. */
START_TEST(borrowed_descriptors)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;
    int          file = numbered(77);

    link_open(loop, &link, NET_UNIX, 1, NULL);
    for (int i = 0; i < 50; i++) {
        int fds[2] = {file, file};

        ck_assert_int_eq(write_fds(&link.end, 10, fds, 1, 0), 0);
        fds[0] = fds[1] = -1;
    }
    run_until(loop, link.end.writes_done == 50);
    ck_assert_uint_eq(number_of(file), 77);
    for (int i = 0; i < 50; i++)
        ck_assert_uint_eq(peer_receive(&link.peer, 10, 77), 1);
    test_close(file);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* Goal: what can't be sent is refused at the call, and nothing is taken. Method: each case. */
START_TEST(refused_writes)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link, tcp;
    int          fds[FDS_MAX + 1];

    for (int i = 0; i <= FDS_MAX; i++)
        fds[i] = 0;
    link_open(loop, &link, NET_UNIX, 1, NULL);
    link_open(loop, &tcp, NET_TCP4, 2, NULL);
    ck_assert_int_eq(write_fds(&link.end, 1, fds, FDS_MAX + 1, 0), -EINVAL);
    ck_assert_int_eq(write_fds(&link.end, 1, NULL, 1, 0), -EINVAL);
    ck_assert_int_eq(write_fds(&link.end, 0, fds, 1, 0), -EINVAL);
    ck_assert_int_eq(write_fds(&tcp.end, 1, fds, 1, 0), -EINVAL);
    fds[1] = -1;
    ck_assert_int_eq(write_fds(&link.end, 1, fds, 2, 0), -EBADF);
    fds[1] = numbered(1);
    test_memory.fail_from = test_memory.calls + 1;
    ck_assert_int_eq(write_fds(&link.end, 1, fds + 1, 1, LOOP_WRITE_CLOSE_FDS), -ENOMEM);
    test_memory.fail_from = 0;
    ck_assert_uint_eq(number_of(fds[1]), 1);
    test_close(fds[1]);
    ck_assert_uint_eq(loop_stream_queued(&link.end.stream), 0);
    link_close(loop, &link);
    link_close(loop, &tcp);
    test_loop_free(loop);
}
END_TEST

/* Goal: descriptors that were given are closed also when they don't get away. Method: the peer gone; a close with the
 * write queued; a write behind one that fails. The fixture counts descriptors. */
START_TEST(closed_when_not_sent)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;
    int          dead = 3999;

    link_open(loop, &link, NET_UNIX, 1, NULL);
    switch (_i) {
    case 0:
        test_close(link.peer.fd);
        link.peer.fd = -1;
        write_numbered(&link.end, 10, 1, 3);
        break;
    case 1:
        write_numbered(&link.end, 10000000, 1, 3);
        write_numbered(&link.end, 10, 4, 3);
        settle(loop);
        break;
    case 2:
        ck_assert_int_eq(write_fds(&link.end, 10, &dead, 1, 0), 0);
        write_numbered(&link.end, 10, 4, 3);
        run_until(loop, link.end.writes_done == 2);
        ck_assert_int_eq(link.end.write_error, -EBADF);
        break;
    default: write_numbered(&link.end, 10, 1, 3); break;
    }
    if (_i == 0) {
        run_until(loop, link.end.writes_done == 1);
        ck_assert_int_eq(link.end.write_error, -EPIPE);
    }
    loop_stream_close(&link.end.stream, end_close_cb);
    run_until(loop, link.end.closes == 1);
    ck_assert_uint_eq(link.end.writes_done, link.end.writes_started);
    if (link.peer.fd >= 0)
        test_close(link.peer.fd);
    test_loop_free(loop);
}
END_TEST

/* ---- receiving */

/* Goal: descriptors wait in their order and can be taken before the bytes they came with are read; the bytes are exact.
 * Method: messages with and without; taken in the read callback. */
static uint32_t taken_before;

static void taking_read_cb(struct loop_stream *stream, const struct loop_result *result)
{
    struct end *end = end_of(stream);

    end_read_cb(stream, result);
    if (result->res > 0)
        ck_assert_ptr_eq(loop_buffer_data(loop_stream_loop(stream), result->buffer, NULL), result->data);
    while (loop_stream_fds_waiting(stream) > 0)
        take(stream, taken_before++);
    ck_assert_int_eq(loop_stream_take_fd(stream), -EAGAIN);
    /* the peer's bytes of message n end at 10 * (n + 1): all up to there have brought theirs */
    ck_assert_uint_ge(taken_before, (uint32_t)(end->read_bytes / 10));
}

START_TEST(received_before_their_bytes)
{
    struct loop_options options = {.buffer_size = _i == 0 ? 0 : 512};
    struct loop        *loop = test_loop_new(&options);
    struct link         link;

    link_open(loop, &link, NET_UNIX, 1, &with_fds);
    ck_assert_int_eq(CALL(loop_stream_read_start(&link.end.stream, taking_read_cb)), 0);
    taken_before = 0;
    for (uint32_t i = 0; i < 100; i++) {
        peer_send(&link.peer, 10, i, 1);
        if (i % 7 == 0)
            test_turns(loop, 2);
    }
    run_until(loop, link.end.read_bytes == 1000);
    ck_assert_uint_eq(taken_before, 100);
    ck_assert_int_eq(shutdown(link.peer.fd, SHUT_WR), 0);
    run_until(loop, link.end.read_ends == 1);
    ck_assert_int_eq(link.end.read_error, 0);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* Goal: what comes while reading is stopped waits too; what nobody takes is closed. Method: stops, keeps a buffer,
 * starts, closes with some left. */
START_TEST(received_while_stopped)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;

    link_open(loop, &link, NET_UNIX, 1, &with_fds);
    end_read_start(&link.end);
    test_turns(loop, 2);
    peer_send(&link.peer, 1000, 0, 2);
    ck_assert_int_eq(CALL(loop_stream_read_stop(&link.end.stream)), 0);
    peer_send(&link.peer, 1000, 2, 100);
    settle(loop);
    ck_assert_uint_eq(link.end.reads, 0);
    end_read_start(&link.end);
    run_until(loop, link.end.read_bytes == 2000);
    ck_assert_uint_eq(loop_stream_fds_waiting(&link.end.stream), 102);
    take(&link.end.stream, 0);
    take(&link.end.stream, 1);
    take(&link.end.stream, 2);
    end_close(&link.end);
    ck_assert_int_eq(loop_stream_take_fd(&link.end.stream), -EINVAL);
    run_until(loop, link.end.closes == 1);
    ck_assert_int_eq(loop_stream_take_fd(&link.end.stream), -EINVAL);
    ck_assert_uint_eq(loop_stream_fds_waiting(&link.end.stream), 0);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* Goal: a stream that did not ask for descriptors gets none, and none leak. Method: with and without a close in
 * between; the fixture counts. */
START_TEST(not_asked_for)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;

    link_open(loop, &link, NET_UNIX, 1, NULL);
    end_read_start(&link.end);
    for (uint32_t i = 0; i < 20; i++)
        peer_send(&link.peer, 100, i, 5);
    run_until(loop, link.end.read_bytes == 2000);
    ck_assert_int_eq(loop_stream_take_fd(&link.end.stream), -EAGAIN);
    peer_send(&link.peer, 100, 0, 5);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* Goal: only unix sockets can be asked for them. Method: tcp, opened and connected; a pipe. */
START_TEST(refused_options)
{
    struct loop        *loop = test_loop_new(NULL);
    struct loop_stream  stream = {0};
    struct loop_address address = net_parse("127.0.0.1", 9);
    int                 fds[2];

    net_pair(NET_TCP4, fds);
    ck_assert_int_eq(loop_stream_open(loop, &stream, fds[0], &with_fds), -EINVAL);
    ck_assert_int_eq(loop_stream_connect(loop, &stream, &address, &with_fds, NULL), -EINVAL);
    test_close(fds[0]);
    test_close(fds[1]);
    test_pipe(fds);
    ck_assert_int_eq(loop_stream_open(loop, &stream, fds[0], &with_fds), -EINVAL);
    test_close(fds[0]);
    test_close(fds[1]);
    ck_assert(!loop_alive(loop));
    test_loop_free(loop);
}
END_TEST

/* Goal: beyond the limit descriptors are closed, which is told in their place and counted; it goes on afterwards.
 * Method: a limit of 4, messages of 3. */
START_TEST(limit)
{
    const struct loop_stream_options options = {.flags = LOOP_STREAM_FDS, .fds_max = 4};
    struct loop                     *loop = test_loop_new(NULL);
    struct link                      link;

    link_open(loop, &link, NET_UNIX, 1, &options);
    end_read_start(&link.end);
    for (uint32_t i = 0; i < 12; i += 3)
        peer_send(&link.peer, 10, i, 3);
    run_until(loop, link.end.read_bytes == 40);
    ck_assert_uint_eq(test_stats(loop).fds_dropped, 8);
    ck_assert_uint_eq(loop_stream_fds_waiting(&link.end.stream), 5);
    for (uint32_t i = 0; i < 4; i++)
        take(&link.end.stream, i);
    peer_send(&link.peer, 10, 12, 3);
    run_until(loop, link.end.read_bytes == 50);
    ck_assert_int_eq(loop_stream_take_fd(&link.end.stream), -ENOBUFS);
    for (uint32_t i = 12; i < 15; i++)
        take(&link.end.stream, i);
    ck_assert_int_eq(loop_stream_take_fd(&link.end.stream), -EAGAIN);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* Goal: descriptors for which the process has no room are told. Method: a limit of the process. */
START_TEST(no_room_in_the_process)
{
    struct loop  *loop = test_loop_new(NULL);
    struct rlimit before, tight;
    struct link   link;
    int           probes[2];

    link_open(loop, &link, NET_UNIX, 1, &with_fds);
    end_read_start(&link.end);
    test_turns(loop, 2);
    peer_send(&link.peer, 10, 0, 5);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    for (int i = 0; i < 2; i++) /* the next two numbers */
        probes[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    test_close(probes[0]);
    test_close(probes[1]);
    tight = before;
    tight.rlim_cur = (rlim_t)probes[1] + 1;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &tight), 0);
    run_until(loop, link.end.read_bytes == 10);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    take(&link.end.stream, 0);
    take(&link.end.stream, 1);
    ck_assert_int_eq(loop_stream_take_fd(&link.end.stream), -EMFILE);
    ck_assert_int_eq(loop_stream_take_fd(&link.end.stream), -EAGAIN);
    peer_send(&link.peer, 10, 9, 1);
    run_until(loop, link.end.read_bytes == 20);
    take(&link.end.stream, 9);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* Goal: without memory they are closed, and it is told. Method: the allocator fails while more come than have room. */
START_TEST(no_memory)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;

    link_open(loop, &link, NET_UNIX, 1, &with_fds);
    end_read_start(&link.end);
    peer_send(&link.peer, 10, 0, 10);
    run_until(loop, link.end.read_bytes == 10);
    peer_send(&link.peer, 10, 10, 20);
    test_memory.fail_from = test_memory.calls + 1;
    run_until(loop, link.end.read_bytes == 20);
    test_memory.fail_from = 0;
    for (uint32_t i = 0; i < 15; i++)
        take(&link.end.stream, i);
    ck_assert_int_eq(loop_stream_take_fd(&link.end.stream), -ENOBUFS);
    ck_assert_uint_eq(test_stats(loop).fds_dropped, 15);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* ---- reading by request */

static struct {
    uint32_t count;
    int      error;
    size_t   bytes;
} asked;

static void asked_cb(struct loop_stream *stream, int error, size_t bytes, void *arg)
{
    (void)stream;
    (void)arg;
    callback_enter();
    asked.count++;
    asked.error = error;
    asked.bytes = bytes;
}

/* Runs until the request that has been started with r has ended so. */
static void answered(struct loop *loop, int r, int error, size_t bytes)
{
    ck_assert_int_eq(r, 0);
    run_until(loop, asked.count > 0);
    ck_assert_uint_eq(asked.count, 1);
    ck_assert_int_eq(asked.error, error);
    ck_assert_uint_eq(asked.bytes, bytes);
    asked.count = 0;
}

/* Goal: descriptors come also where bytes are read by request, and at once. Method: a header of exactly so many bytes,
 * a line, a deadline, a plain try; each with descriptors. */
START_TEST(requests)
{
    const struct loop_request_terms brief = {.timeout_ns = 5 * LOOP_MILLISECOND};
    struct loop                    *loop = test_loop_new(NULL);
    struct link                     link;
    struct loop_stream             *stream = &link.end.stream;
    char                            data[256];

    link_open(loop, &link, NET_UNIX, 1, &with_fds);
    answered(loop, CALL(loop_stream_read(stream, data, 64, asked_cb, NULL, &brief)), -ETIMEDOUT, 0);
    peer_send(&link.peer, 4, 0, 1);
    peer_send(&link.peer, 60, 1, 2);
    answered(loop, CALL(loop_stream_read_exactly(stream, data, 60, asked_cb, NULL, NULL)), 0, 60);
    pattern_check(link.end.read_flow, 0, data, 60);
    for (uint32_t i = 0; i < 3; i++)
        take(stream, i);
    answered(loop, CALL(loop_stream_read_exactly(stream, data, 60, asked_cb, NULL, &brief)), -ETIMEDOUT, 4);
    pattern_check(link.end.read_flow, 60, data, 4);
    ck_assert_int_eq(loop_stream_try_read(stream, data, 64), -EAGAIN);
    peer_send(&link.peer, 100, 3, 3);
    ck_assert_int_eq(loop_stream_try_read(stream, data, 256), 100);
    pattern_check(link.end.read_flow, 64, data, 100);
    for (uint32_t i = 3; i < 6; i++)
        take(stream, i);
    ck_assert_int_eq(CALL(loop_stream_read_until(stream, data, 100, "0123456789", 10, asked_cb, NULL, NULL)), 0);
    settle(loop);
    peer_send(&link.peer, 50, 6, 1);
    settle(loop);
    peer_send(&link.peer, 70, 7, 1);
    answered(loop, 0, -EMSGSIZE, 100);
    pattern_check(link.end.read_flow, 164, data, 100);
    take(stream, 6);
    take(stream, 7);
    link.end.read_bytes = 264;
    end_read_start(&link.end);
    run_until(loop, link.end.read_bytes == 284);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* ---- both ends */

static uint64_t soak_state;
static uint32_t soak_sent, soak_taken;

static void soak_read_cb(struct loop_stream *stream, const struct loop_result *result)
{
    end_read_cb(stream, result);
    while (loop_stream_fds_waiting(stream) > 0)
        take(stream, soak_taken++);
}

/* Goal: any mixture of writes, with and without descriptors, arrives byte for byte and one by one. Method: two streams,
 * random sizes, reading stopped now and then. */
START_TEST(soak)
{
    struct loop *loop = test_loop_new(NULL);
    struct end   a = {.write_flow = 1}, b = {.read_flow = 1};

    ck_assert_int_eq(loop_stream_pair(loop, &a.stream, &b.stream, &with_fds), 0);
    soak_state = test_env("TEST_SEED", 42) + (uint64_t)_i;
    soak_sent = soak_taken = 0;
    ck_assert_int_eq(CALL(loop_stream_read_start(&b.stream, soak_read_cb)), 0);
    for (int i = 0; i < 500; i++) {
        uint64_t random = test_random(&soak_state);
        uint32_t count = random % 3 == 0 ? (uint32_t)(random >> 8) % 9 : 0;

        write_numbered(&a, 1 + (random >> 16) % (random % 16 == 0 ? 200000 : 2000), soak_sent, count);
        soak_sent += count;
        if (random % 5 == 0)
            test_turns(loop, (uint32_t)(random >> 40) % 4);
        if (random % 11 == 0)
            ck_assert_int_eq(CALL(loop_stream_read_stop(&b.stream)), 0);
        if (random % 11 == 1)
            ck_assert_int_eq(CALL(loop_stream_read_start(&b.stream, soak_read_cb)), 0);
    }
    ck_assert_int_eq(CALL(loop_stream_read_start(&b.stream, soak_read_cb)), 0);
    ck_assert_int_eq(CALL(loop_stream_shutdown(&a.stream, NULL)), 0);
    run_until(loop, b.read_ends == 1);
    ck_assert_uint_eq(b.read_bytes, a.write_bytes);
    ck_assert_uint_eq(soak_taken, soak_sent);
    ck_assert_uint_eq(a.writes_failed, 0);
    end_close(&a);
    end_close(&b);
    run_until(loop, a.closes == 1 && b.closes == 1);
    test_loop_free(loop);
}
END_TEST

/* Goal: connections can be passed on: a stream is opened on what came. Method: a tcp connection sent through a pair,
 * served by the receiver; the sender's copy is closed by the write. */
START_TEST(passed_connection)
{
    struct loop *loop = test_loop_new(NULL);
    struct end   a = {.write_flow = 1}, b = {.read_flow = 1}, served = {.write_flow = 5};
    struct peer  client = {.read_flow = 5};
    int          fds[2], fd;

    ck_assert_int_eq(loop_stream_pair(loop, &a.stream, &b.stream, &with_fds), 0);
    net_pair(NET_TCP4, fds);
    client.fd = fds[1];
    end_read_start(&b);
    ck_assert_int_eq(write_fds(&a, 1, fds, 1, LOOP_WRITE_CLOSE_FDS), 0);
    run_until(loop, b.read_bytes == 1);
    fd = loop_stream_take_fd(&b.stream);
    ck_assert_int_ge(fd, 0);
    end_open(loop, &served, fd, NULL);
    ck_assert_int_eq(end_write(&served, 5000, 0), 0);
    run_until(loop, served.writes_done == 1);
    end_close(&served);
    end_close(&a);
    end_close(&b);
    run_until(loop, a.closes + b.closes + served.closes == 3);
    peer_finish(&client);
    ck_assert_uint_eq(client.read_bytes, 5000);
    ck_assert_int_eq(client.error, 0);
    test_close(client.fd);
    test_loop_free(loop);
}
END_TEST

/* Goal: loop_destroy() leaves no descriptor open. Method: some queued, some waiting, some on their way. */
START_TEST(destroy)
{
    struct loop *loop = test_loop_new(NULL);
    struct end   a = {.write_flow = 1}, b = {.read_flow = 1};

    ck_assert_int_eq(loop_stream_pair(loop, &a.stream, &b.stream, &with_fds), 0);
    end_read_start(&b);
    write_numbered(&a, 10, 0, 10);
    run_until(loop, b.read_bytes == 10);
    ck_assert_int_eq(CALL(loop_stream_read_stop(&b.stream)), 0);
    settle(loop);
    write_numbered(&a, 10000000, 10, 10);
    write_numbered(&a, 10, 20, 10);
    settle(loop);
    test_loop_drop(loop);
    ck_assert_uint_eq(a.writes_done, 3);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("net/stream_fds");
    TCase *tcase = test_case(suite, "sending");

    tcase_add_test(tcase, sent_with_their_bytes);
    tcase_add_test(tcase, long_writes);
    tcase_add_test(tcase, borrowed_descriptors);
    tcase_add_test(tcase, refused_writes);
    tcase_add_loop_test(tcase, closed_when_not_sent, 0, 4);
    tcase = test_case(suite, "receiving");
    tcase_add_loop_test(tcase, received_before_their_bytes, 0, 2);
    tcase_add_test(tcase, received_while_stopped);
    tcase_add_test(tcase, not_asked_for);
    tcase_add_test(tcase, refused_options);
    tcase_add_test(tcase, limit);
    tcase_add_test(tcase, no_room_in_the_process);
    tcase_add_test(tcase, no_memory);
    tcase = test_case(suite, "requests");
    tcase_add_test(tcase, requests);
    tcase = test_case(suite, "both");
    tcase_add_loop_test(tcase, soak, 0, 4);
    tcase_add_test(tcase, passed_connection);
    tcase_add_test(tcase, destroy);
    return suite;
}
