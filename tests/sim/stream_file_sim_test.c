/* tests/sim/stream_file_sim_test.c: streams over pipes and terminals on a scripted ring: old kernels, and answers that
 * the real one gives seldom. */
#include "net/stream_private.h"
#include "tests/sim/script_ring.h"
#include "tests/support/test.h"

#include <fcntl.h>
#include <poll.h>

enum { NO_SIGNAL = 0x100 }; /* RWF_NOSIGNAL */

static struct loop       *loop;
static struct loop_stream stream;
static int                fds[2];
static uint32_t           reads, ends, writes, closes;
static int                write_error;
static char               text[64];
static size_t             text_size;

static void make(unsigned opcode_last, int end)
{
    script_reset();
    if (opcode_last != 0)
        script.opcode_last = opcode_last;
    loop = test_loop_new(&(struct loop_options){.buffer_size = 64, .buffer_count = 4});
    test_pipe(fds);
    memset(&stream, 0, sizeof(stream));
    ck_assert_int_eq(loop_stream_open(loop, &stream, fds[end], NULL), 0);
}

static void closed(struct loop_stream *of)
{
    (void)of;
    closes++;
}

static void finish(int other)
{
    loop_stream_close(&stream, closed);
    test_turns(loop, 4);
    ck_assert_uint_eq(closes, 1);
    test_close(fds[other]);
    test_loop_free(loop);
}

static void read_cb(struct loop_stream *of, const struct loop_result *result)
{
    (void)of;
    if (result->res > 0) {
        reads++;
        memcpy(text + text_size, result->data, (size_t)result->res);
        text_size += (size_t)result->res;
    } else {
        ck_assert_int_eq(result->res, 0);
        ends++;
    }
}

static void written(struct loop_stream *of, int error, size_t bytes, void *arg)
{
    (void)of;
    (void)bytes;
    (void)arg;
    writes++;
    write_error = error;
}

/* The SQE of the opcode on this descriptor, which must be there. */
static struct io_uring_sqe *pending(uint8_t opcode, int fd)
{
    struct io_uring_sqe *sqe;

    test_turns(loop, 2);
    for (unsigned i = 0; (sqe = script_find(opcode, i)) != NULL; i++)
        if (sqe->fd == fd)
            return sqe;
    ck_abort_msg("no SQE with opcode %u", opcode);
}

/* Goal: where the kernel cannot suppress SIGPIPE workers write, from the first refusal on. Method: an answer as before
 * Linux 6.18, then a success and another write. */
START_TEST(no_signal_unknown)
{
    struct io_uring_sqe *sqe;

    make(0, 1);
    ck_assert_int_eq(loop_stream_write(&stream, "abc", 3, written, NULL, NULL), 0);
    sqe = pending(IORING_OP_WRITEV, fds[1]);
    ck_assert_int_eq(sqe->rw_flags, NO_SIGNAL);
    ck_assert_int_eq(sqe->flags & IOSQE_ASYNC, 0);
    script_complete(sqe, -EOPNOTSUPP, 0);
    for (uint32_t i = 1; i <= 2; i++) {
        sqe = pending(IORING_OP_WRITEV, fds[1]);
        ck_assert_int_eq(sqe->rw_flags, 0);
        ck_assert_int_ne(sqe->flags & IOSQE_ASYNC, 0);
        script_complete(sqe, 3, 0);
        test_turns(loop, 2);
        ck_assert_uint_eq(writes, i);
        ck_assert_int_eq(write_error, 0);
        if (i == 1)
            ck_assert_int_eq(loop_stream_write(&stream, "def", 3, written, NULL, NULL), 0);
    }
    finish(0);
}
END_TEST

/* Goal: a full pipe in non-blocking mode is polled, not tried again and again; nothing else is sent meanwhile. Method:
 * -EAGAIN; a close while it is polled (_i = 1). */
START_TEST(full)
{
    struct io_uring_sqe *sqe;

    make(0, 1);
    ck_assert_int_eq(loop_stream_write(&stream, "abc", 3, written, NULL, NULL), 0);
    script_complete(pending(IORING_OP_WRITEV, fds[1]), -EAGAIN, 0);
    sqe = pending(IORING_OP_POLL_ADD, fds[1]);
    ck_assert_uint_eq(sqe->poll32_events, POLLOUT);
    test_turns(loop, 5);
    ck_assert_uint_eq(script_count(IORING_OP_WRITEV), 0);
    if (_i == 0) {
        script_complete(sqe, POLLOUT, 0);
        script_complete(pending(IORING_OP_WRITEV, fds[1]), 1, 0);
        script_complete(pending(IORING_OP_WRITEV, fds[1]), 2, 0);
        test_turns(loop, 2);
        ck_assert_uint_eq(writes, 1);
        ck_assert_int_eq(write_error, 0);
    }
    finish(0);
    ck_assert_uint_eq(writes, 1);
    ck_assert_int_eq(write_error, _i == 0 ? 0 : -ECANCELED);
}
END_TEST

/* Goal: a write that takes nothing is an error, not a loop. Method: 0. */
START_TEST(nothing_taken)
{
    make(0, 1);
    ck_assert_int_eq(loop_stream_write(&stream, "abc", 3, written, NULL, NULL), 0);
    script_complete(pending(IORING_OP_WRITEV, fds[1]), 0, 0);
    test_turns(loop, 2);
    ck_assert_uint_eq(writes, 1);
    ck_assert_int_eq(write_error, -EIO);
    finish(0);
}
END_TEST

/* Goal: pipes are read without multishots, as before Linux 6.7: a poll first, so that no buffer is held; answers that
 * are none are tried again; what comes after a stop waits. Method: polls and reads answered one by one. */
START_TEST(no_multishot_reads)
{
    struct io_uring_sqe *sqe;

    make(IORING_OP_SENDMSG_ZC, 0);
    ck_assert_int_eq(loop_stream_read_start(&stream, read_cb), 0);
    script_complete(pending(IORING_OP_POLL_ADD, fds[0]), POLLIN, 0);
    script_complete(pending(IORING_OP_READ, fds[0]), -EAGAIN, 0); /* another reader was faster */
    script_complete(pending(IORING_OP_POLL_ADD, fds[0]), POLLIN, 0);
    sqe = pending(IORING_OP_READ, fds[0]);
    script_complete(sqe, 3, script_buffer(0, "abc", 3));
    test_turns(loop, 2);
    ck_assert_uint_eq(reads, 1);
    script_complete(pending(IORING_OP_POLL_ADD, fds[0]), POLLIN, 0);
    sqe = pending(IORING_OP_READ, fds[0]);
    ck_assert_int_eq(loop_stream_read_stop(&stream), 0);
    script_complete(sqe, 3, script_buffer(0, "def", 3));
    test_turns(loop, 3);
    ck_assert_uint_eq(reads, 1);
    ck_assert_int_eq(loop_stream_read_start(&stream, read_cb), 0);
    script_complete(pending(IORING_OP_POLL_ADD, fds[0]), POLLHUP, 0);
    ck_assert_mem_eq(text, "abcdef", 6);
    script_complete(pending(IORING_OP_READ, fds[0]), 0, 0);
    test_turns(loop, 2);
    ck_assert_uint_eq(ends, 1);
    finish(1);
}
END_TEST

/* Goal: a full pipe in non-blocking mode that is to end does not wait for room. Method: its connection fails as by a
 * deadline, while it is polled (_i = 0), while the write is in flight that finds it full (1); or that is cancelled (2).
 */
START_TEST(full_and_ended)
{
    struct io_uring_sqe *sqe;

    make(0, 1);
    ck_assert_int_eq(loop_stream_write(&stream, "abc", 3, written, NULL, NULL), 0);
    sqe = pending(IORING_OP_WRITEV, fds[1]);
    if (_i == 0) {
        script_complete(sqe, -EAGAIN, 0);
        sqe = pending(IORING_OP_POLL_ADD, fds[1]);
    }
    if (_i == 2)
        ck_assert_int_eq(loop_stream_write_cancel_all(&stream), 1);
    else
        stream_break(&stream, -ETIMEDOUT);
    ck_assert_uint_eq(writes, 0);
    script_complete(sqe, _i == 0 ? -ECANCELED : -EAGAIN, 0);
    for (int turns = 0; writes == 0 && turns < 100; turns++)
        test_turns(loop, 1);
    ck_assert_uint_eq(writes, 1);
    ck_assert_int_eq(write_error, _i == 2 ? -ECANCELED : -ETIMEDOUT);
    finish(0);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("sim/stream_file");
    TCase *tcase = test_case_without_ring(suite, "writing");

    tcase_add_test(tcase, no_signal_unknown);
    tcase_add_loop_test(tcase, full, 0, 2);
    tcase_add_loop_test(tcase, full_and_ended, 0, 3);
    tcase_add_test(tcase, nothing_taken);
    tcase = test_case_without_ring(suite, "reading");
    tcase_add_test(tcase, no_multishot_reads);
    return suite;
}
