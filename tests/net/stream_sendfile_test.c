/* tests/net/stream_sendfile_test.c: stretches of files among the writes of a stream. */
#include "tests/net/net_test.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum { KIB = 1024, MIB = 1 << 20 };

/* A file in memory that holds the bytes of the flow from 0 on. */
static int file_of(uint64_t flow, size_t size)
{
    static uint8_t bytes[4 * MIB];
    int            fd = memfd_create("stream_sendfile", MFD_CLOEXEC);

    ck_assert_int_ge(fd, 0);
    ck_assert_uint_le(size, sizeof(bytes));
    pattern_fill(flow, 0, bytes, size);
    ck_assert_int_eq(pwrite(fd, bytes, size, 0), (ssize_t)size);
    return fd;
}

struct sent {
    uint32_t calls;
    int      error;
    size_t   bytes;
    uint32_t order;
};
static uint32_t ordered;

static void sent_cb(struct loop_stream *stream, int error, size_t bytes, void *arg)
{
    struct sent *sent = arg;

    (void)stream;
    callback_enter();
    ck_assert_uint_eq(sent->calls, 0);
    *sent = (struct sent){.calls = 1, .error = error, .bytes = bytes, .order = ++ordered};
}

static void must_sendfile(struct end *end, int fd, int64_t offset, uint64_t count, struct sent *sent)
{
    *sent = (struct sent){0};
    ck_assert_int_eq(CALL(loop_stream_sendfile(&end->stream, fd, offset, count, sent_cb, sent, NULL)), 0);
}

static void sent_is(const struct sent *sent, int error, size_t bytes)
{
    ck_assert_uint_eq(sent->calls, 1);
    ck_assert_msg(sent->error == error, "%s", error_text(sent->error));
    ck_assert_uint_eq(sent->bytes, bytes);
}

/* Goal: every size arrives whole, once, with its count: exact, and up to the end of the file. */
START_TEST(every_size)
{
    static const size_t sizes[] = {1, 100, 4096, 65535, 65536, 65537, 131072, 200000, 4 * MIB};
    struct loop        *loop = test_loop_new(NULL);
    struct link         link;

    for (size_t i = 0; i < 2 * TEST_COUNT(sizes); i++) {
        size_t      size = sizes[i / 2];
        int         fd;
        struct sent sent;

        link_open(loop, &link, _i, 1, NULL);
        fd = file_of(link.peer.read_flow, size);
        must_sendfile(&link.end, fd, 0, i % 2 == 0 ? size : UINT64_MAX, &sent);
        ck_assert_uint_eq(loop_stream_queued(&link.end.stream), 0);
        pump_until(loop, (peer_drain(&link.peer, SIZE_MAX), link.peer.read_bytes == size));
        run_until(loop, sent.calls == 1);
        sent_is(&sent, 0, size);
        ck_assert_uint_eq(loop_stream_queued(&link.end.stream), 0);
        ck_assert_int_eq(lseek(fd, 0, SEEK_CUR), 0); /* its position is its own */
        link_close(loop, &link);
        test_close(fd);
    }
    test_loop_free(loop);
}
END_TEST

/* Goal: files and writes keep their order, offsets and positions are obeyed, callbacks come in order. Method: a random
 * mixture of writes and stretches of one file that together are the pattern; a slow peer. */
START_TEST(order)
{
    enum { COUNT = 120 };
    static struct sent sents[COUNT];
    struct loop       *loop = test_loop_new(NULL);
    uint64_t           state = test_env("RINGLOOP_SEED", 41) + (uint64_t)_i, offset = 0;
    struct link        link;
    static uint8_t     bytes[4 * MIB];
    int                fd;

    link_open(loop, &link, _i, 1, NULL);
    net_buffers(loop_stream_fd(&link.end.stream), 16384);
    fd = file_of(link.peer.read_flow, 4 * MIB);
    pattern_fill(link.peer.read_flow, 0, bytes, sizeof(bytes));
    for (uint32_t i = 0; i < COUNT; i++) {
        size_t size = 1 + test_random(&state) % (test_random(&state) % 8 == 0 ? 150000 : 5000);

        if (test_random(&state) % 2 == 0) {
            must_sendfile(&link.end, fd, (int64_t)offset, size, &sents[i]);
        } else {
            sents[i] = (struct sent){0};
            must_write(&link.end, bytes + offset, size, sent_cb, &sents[i], NULL);
        }
        offset += size;
        if (test_random(&state) % 3 == 0)
            pump_once(loop);
        peer_drain(&link.peer, test_random(&state) % 30000);
    }
    ck_assert_uint_le(offset, sizeof(bytes));
    pump_until(loop, (peer_drain(&link.peer, 60000), link.peer.read_bytes == offset));
    run_until(loop, sents[COUNT - 1].calls == 1);
    for (uint32_t i = 0; i < COUNT; i++) {
        ck_assert_uint_eq(sents[i].calls, 1);
        ck_assert_int_eq(sents[i].error, 0);
        ck_assert_uint_eq(sents[i].order, i + 1);
    }
    link_close(loop, &link);
    test_close(fd);
    test_loop_free(loop);
}
END_TEST

/* Goal: from the position, which moves; a registered file; a file shorter than count; all of it behind the end. */
START_TEST(positions_and_ends)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;
    struct sent  first, second, third, fourth;
    int          fd, slot;

    link_open(loop, &link, _i, 1, NULL);
    fd = file_of(link.peer.read_flow, 100000);
    ck_assert_int_eq(loop_files_init(loop, NULL), 0);
    slot = loop_file_register(loop, fd);
    ck_assert_int_ge(slot, 0);
    must_sendfile(&link.end, fd, LOOP_AT_POSITION, 1000, &first);
    run_until(loop, first.calls == 1);
    ck_assert_int_eq(lseek(fd, 0, SEEK_CUR), 1000);
    must_sendfile(&link.end, slot, 1000, 4000, &second);
    must_sendfile(&link.end, fd, 5000, 1000000, &third);
    must_sendfile(&link.end, fd, 100000, 10, &fourth);
    pump_until(loop, (peer_drain(&link.peer, SIZE_MAX), link.peer.read_bytes == 100000));
    run_until(loop, fourth.calls == 1);
    sent_is(&first, 0, 1000);
    sent_is(&second, 0, 4000);
    sent_is(&third, 0, 95000);
    sent_is(&fourth, 0, 0);
    ck_assert_int_eq(loop_file_unregister(loop, slot), 0);
    link_close(loop, &link);
    test_close(fd);
    test_loop_free(loop);
}
END_TEST

static void closing_cb(struct loop_stream *stream, int error, size_t bytes, void *arg)
{
    sent_cb(stream, error, bytes, arg);
    loop_stream_close(stream, end_close_cb);
}

/* Goal: an error of reading is told with what had left, before anything behind it leaves. Method: a directory, a
 * write-only descriptor, a file that is cut meanwhile; _i % 2: the callback closes, and nothing behind has come. */
START_TEST(reading_fails)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;
    struct sent  before = {0}, file = {0}, behind = {0};
    char         path[] = "/tmp/ringloop-sendfile-XXXXXX";
    int          fd, errors[] = {-EISDIR, -EBADF};

    fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    test_close(fd);
    fd = _i / 2 == 0 ? open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : open(path, O_WRONLY | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    unlink(path);
    link_open(loop, &link, NET_TCP4, 1, NULL);
    link.end.write_bytes = 0;
    must_write(&link.end, "abc", 3, sent_cb, &before, NULL);
    ck_assert_int_eq(
        CALL(loop_stream_sendfile(&link.end.stream, fd, 0, 1000, _i % 2 == 0 ? sent_cb : closing_cb, &file, NULL)), 0);
    must_write(&link.end, "def", 3, sent_cb, &behind, NULL);
    run_until(loop, behind.calls == 1);
    sent_is(&before, 0, 3);
    sent_is(&file, errors[_i / 2], 0);
    sent_is(&behind, _i % 2 == 0 ? 0 : -ECANCELED, _i % 2 == 0 ? 3 : 0);
    if (_i % 2 == 1)
        run_until(loop, link.end.closes == 1);
    else
        link_close(loop, &link);
    {
        char got[8] = "";

        if (link.peer.fd >= 0) {
            ck_assert_int_eq(recv(link.peer.fd, got, sizeof(got), MSG_DONTWAIT), 3);
            test_close(link.peer.fd);
        }
    }
    test_close(fd);
    test_loop_free(loop);
}
END_TEST

/* Goal: a file that has left in part when its stream is corked goes on to its end, and nothing behind it. Method: a
 * peer takes the first bytes, then the cork; the rest. */
START_TEST(corked_in_the_middle)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;
    struct sent  sent;
    int          fd;

    link_open(loop, &link, _i, 1, NULL);
    fd = file_of(link.peer.read_flow, 4 * MIB);
    must_sendfile(&link.end, fd, 0, 4 * MIB, &sent);
    link.end.write_bytes = 4 * MIB; /* what is behind goes on with the pattern */
    ck_assert_int_eq(end_write(&link.end, 1000, 0), 0);
    pump_until(loop, (peer_drain(&link.peer, 1000), link.peer.read_bytes > 0));
    ck_assert_int_eq(CALL(loop_stream_cork(&link.end.stream)), 0);
    pump_until(loop, (peer_drain(&link.peer, SIZE_MAX), sent.calls == 1));
    sent_is(&sent, 0, 4 * MIB);
    settle(loop);
    (void)peer_drain(&link.peer, SIZE_MAX);
    ck_assert_uint_eq(link.peer.read_bytes, 4 * MIB);
    ck_assert_int_eq(CALL(loop_stream_uncork(&link.end.stream)), 0);
    pump_until(loop, (peer_drain(&link.peer, SIZE_MAX), link.peer.read_bytes == 4 * MIB + 1000));
    run_until(loop, link.end.writes_done == 1);
    link_close(loop, &link);
    test_close(fd);
    test_loop_free(loop);
}
END_TEST

/* Goal: cancelled before anything has left, a file ends with 0 bytes; later it goes on; what is behind arrives. A read
 * of a pipe with nothing in it is waited for by nobody. Method: a pipe at the head, files behind. */
START_TEST(cancel)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;
    struct sent  pipe_sent, file_sent, last;
    int          fds[2], fd;

    link_open(loop, &link, _i, 1, NULL);
    fd = file_of(link.peer.read_flow, 3 * MIB);
    test_pipe(fds);
    must_sendfile(&link.end, fds[0], LOOP_AT_POSITION, 100, &pipe_sent);
    must_sendfile(&link.end, fd, 0, 10, &file_sent);
    settle(loop);
    ck_assert_uint_eq(pipe_sent.calls + file_sent.calls, 0);
    ck_assert_int_eq(CALL(loop_stream_write_cancel_all(&link.end.stream)), 2);
    run_until(loop, pipe_sent.calls == 1 && file_sent.calls == 1);
    sent_is(&pipe_sent, -ECANCELED, 0);
    sent_is(&file_sent, -ECANCELED, 0);
    must_sendfile(&link.end, fd, 0, 3 * MIB, &file_sent);
    pump_until(loop, (peer_drain(&link.peer, 1000), link.peer.read_bytes > 0));
    settle(loop);
    must_sendfile(&link.end, fd, 0, 5, &last);
    ck_assert_int_eq(CALL(loop_stream_write_cancel_all(&link.end.stream)), 1);
    pump_until(loop, (peer_drain(&link.peer, SIZE_MAX), link.peer.read_bytes == 3 * MIB));
    run_until(loop, file_sent.calls == 1 && last.calls == 1);
    sent_is(&file_sent, 0, 3 * MIB);
    sent_is(&last, -ECANCELED, 0);
    link_close(loop, &link);
    test_close(fds[0]);
    test_close(fds[1]);
    test_close(fd);
    test_loop_free(loop);
}
END_TEST

/* Goal: a close, a reset, a peer that resets, and loop_destroy() end it at any moment, once, with true bytes; what was
 * behind it ends in order. Method: a big file to a slow peer, ended after some turns; and one that waits for a pipe. */
START_TEST(ends)
{
    for (uint32_t turns = 0; turns < 12; turns++) {
        for (int from_pipe = 0; from_pipe < 2; from_pipe++) {
            struct loop *loop = test_loop_new(NULL);
            struct link  link;
            struct sent  file, behind = {0};
            int          fds[2], fd;

            ordered = 0;
            link_open(loop, &link, NET_TCP4, 1, NULL);
            fd = file_of(link.peer.read_flow, 4 * MIB);
            test_pipe(fds);
            must_sendfile(&link.end, fd, 0, from_pipe ? 70000 : 4 * MIB, &file);
            if (from_pipe)
                must_sendfile(&link.end, fds[0], LOOP_AT_POSITION, 100, &behind);
            else
                must_write(&link.end, "x", 1, sent_cb, &behind, NULL);
            for (uint32_t i = 0; i < turns; i++)
                pump_once(loop);
            switch (_i) {
            case 0: end_close(&link.end); break;
            case 1: loop_stream_reset(&link.end.stream, end_close_cb); break;
            case 2:
                net_reset(link.peer.fd);
                link.peer.fd = -1;
                break;
            }
            if (_i == 3) {
                test_loop_drop(loop);
                test_close(link.peer.fd);
            } else {
                if (_i == 2 && from_pipe) { /* nothing is sent: nobody notices but one who writes */
                    settle(loop);
                    end_close(&link.end);
                }
                run_until(loop, behind.calls == 1);
                link_close(loop, &link);
                test_loop_free(loop);
            }
            ck_assert_uint_eq(file.calls, 1);
            ck_assert_uint_eq(behind.calls, 1);
            ck_assert_uint_lt(file.order, behind.order);
            ck_assert(file.error <= 0 && (file.error == 0) == (file.bytes == (from_pipe ? 70000 : 4 * MIB)));
            ck_assert_uint_eq(behind.bytes, 0);
            test_close(fds[0]);
            test_close(fds[1]);
            test_close(fd);
        }
    }
}
END_TEST

/* Goal: senseless arguments are refused; so many at a time and no more; a shutdown waits for a file. */
START_TEST(arguments_and_limits)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;
    struct sent  sent = {0};
    uint32_t     count = 0;
    int          fd, r;

    link_open(loop, &link, _i, 1, NULL);
    fd = file_of(link.peer.read_flow, 100000);
    ck_assert_int_eq(loop_stream_sendfile(&link.end.stream, -1, 0, 1, NULL, NULL, NULL), -EBADF);
    ck_assert_int_eq(loop_stream_sendfile(&link.end.stream, fd, 0, 0, NULL, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_stream_sendfile(&link.end.stream, fd, -2, 1, NULL, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_stream_sendfile(&link.end.stream, fd, 0, 1, NULL, NULL,
                                          &(struct loop_write_terms){.flags = LOOP_WRITE_COPY}),
                     -EINVAL);
    ck_assert_int_eq(loop_stream_cork(&link.end.stream), 0);
    while ((r = loop_stream_sendfile(&link.end.stream, fd, count, 1, NULL, NULL, NULL)) == 0)
        count++;
    ck_assert_int_eq(r, -ENOBUFS);
    ck_assert_uint_eq(count, 1024);
    ck_assert_int_eq(loop_stream_uncork(&link.end.stream), 0);
    pump_until(loop, (peer_drain(&link.peer, SIZE_MAX), link.peer.read_bytes == 1024));
    run_until(loop, loop_stream_queued(&link.end.stream) == 0);
    must_sendfile(&link.end, fd, 1024, UINT64_MAX, &sent);
    ck_assert_int_eq(CALL(loop_stream_shutdown(&link.end.stream, end_shutdown_cb)), 0);
    ck_assert_int_eq(loop_stream_sendfile(&link.end.stream, fd, 0, 1, NULL, NULL, NULL), -EPIPE);
    pump_until(loop, (peer_drain(&link.peer, SIZE_MAX), link.peer.ended));
    run_until(loop, link.end.shutdowns == 1);
    sent_is(&sent, 0, 100000 - 1024);
    link_close(loop, &link);
    ck_assert_int_eq(loop_stream_sendfile(&link.end.stream, fd, 0, 1, NULL, NULL, NULL), -EINVAL);
    test_close(fd);
    test_loop_free(loop);
}
END_TEST

/* Goal: where memory runs out a file is refused, or waits and goes on: none is lost or cut. Method: each allocation in
 * turn fails. */
START_TEST(allocations_fail)
{
    for (uint64_t nth = 1;; nth++) {
        struct loop *loop = test_loop_new(NULL);
        struct link  link;
        struct sent  sent = {0};
        uint64_t     failed = test_memory.failed;
        int          fd, r;

        ck_assert_uint_lt(nth, 100);
        link_open(loop, &link, NET_UNIX, 1, NULL);
        fd = file_of(link.peer.read_flow, 300000);
        test_memory.fail_at = test_memory.calls + nth;
        r = CALL(loop_stream_sendfile(&link.end.stream, fd, 0, 300000, sent_cb, &sent, NULL));
        if (r == 0) {
            pump_until(loop, (peer_drain(&link.peer, SIZE_MAX), sent.calls == 1));
            sent_is(&sent, 0, 300000);
        } else {
            ck_assert_int_eq(r, -ENOMEM);
        }
        test_memory.fail_at = 0;
        link_close(loop, &link);
        test_close(fd);
        test_loop_free(loop);
        if (test_memory.failed == failed)
            break;
    }
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("net/stream_sendfile");
    TCase *tcase = test_case(suite, "files");
    int    kinds = net_kinds();

    tcase_add_loop_test(tcase, every_size, 0, kinds);
    tcase_add_loop_test(tcase, order, 0, kinds);
    tcase_add_loop_test(tcase, positions_and_ends, 0, kinds);
    tcase_add_loop_test(tcase, reading_fails, 0, 4);
    tcase_add_loop_test(tcase, cancel, 0, kinds);
    tcase_add_loop_test(tcase, corked_in_the_middle, 0, kinds);
    tcase_add_loop_test(tcase, ends, 0, 4);
    tcase_add_loop_test(tcase, arguments_and_limits, 0, kinds);
    tcase_add_test(tcase, allocations_fail);
    return suite;
}
