/* tests/sim/file_sim_test.c: file objects on a scripted ring: short transfers, errors in the midst, what a sync waits
 * for, failures of syncs, no room for operations, closes. */
#include "fs/file_private.h"
#include "tests/sim/script_ring.h"
#include "tests/support/test.h"

#include <fcntl.h>
#include <sys/mman.h>

enum { SIZE = 100, CALLS = 12 };

static struct loop     *loop;
static struct loop_file file;
static uint32_t         calls[CALLS], closes;
static int              errors[CALLS], close_error, fd;
static uint64_t         counts[CALLS];
static char             bytes[SIZE];

static void make_with(const struct loop_file_options *options, const struct loop_options *loop_options)
{
    script_reset();
    loop = test_loop_new(loop_options);
    fd = memfd_create("file", MFD_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(loop_file_adopt(loop, &file, fd, options), 0);
}

static void make(uint32_t flags)
{
    make_with(&(struct loop_file_options){.flags = flags}, NULL);
}

static void note(struct loop_file *of, int error, uint64_t count, void *arg)
{
    uintptr_t i = (uintptr_t)arg;

    (void)of;
    calls[i]++;
    errors[i] = error;
    counts[i] = count;
}

static void closed(struct loop_file *of, int error)
{
    (void)of;
    closes++;
    close_error = error;
}

static void told(uintptr_t i, int error, uint64_t count)
{
    ck_assert_msg(calls[i] == 1, "operation %zu was told %u times", (size_t)i, calls[i]);
    ck_assert_int_eq(errors[i], error);
    ck_assert_uint_eq(counts[i], count);
}

static void read_at(uintptr_t i, int64_t offset)
{
    ck_assert_int_eq(loop_file_read(&file, bytes, SIZE, offset, 0, note, (void *)i), 0);
}

static void write_at(uintptr_t i, int64_t offset)
{
    ck_assert_int_eq(loop_file_write(&file, bytes, SIZE, offset, 0, note, (void *)i), 0);
}

static void sync_it(uintptr_t i)
{
    ck_assert_int_eq(loop_file_sync(&file, note, (void *)i), 0);
}

static uint32_t in_flight(uint8_t opcode)
{
    test_turns(loop, 2);
    return script_count(opcode);
}

/* Answers the n-th of this kind in flight. */
static struct io_uring_sqe answer(uint8_t opcode, unsigned n, int32_t res)
{
    struct io_uring_sqe *sqe, seen;

    test_turns(loop, 2);
    sqe = script_find(opcode, n);
    ck_assert_ptr_nonnull(sqe);
    seen = *sqe;
    script_complete(sqe, res, 0);
    test_turns(loop, 2);
    return seen;
}

static void finish(int error)
{
    loop_file_close(&file, closed);
    answer(IORING_OP_CLOSE, 0, 0);
    ck_assert_int_eq(close(fd), 0);
    ck_assert_uint_eq(closes, 1);
    ck_assert_int_eq(close_error, error);
    test_loop_free(loop);
}

/* Goal: short transfers go on where they have ended; an error in the midst comes with what was moved; a write of
 * nothing ends. Method: writes and reads, answered by hand; signals in between. */
START_TEST(parts)
{
    struct io_uring_sqe seen;

    make(0);
    write_at(0, 1000);
    answer(IORING_OP_WRITE, 0, 40);
    answer(IORING_OP_WRITE, 0, -EINTR);
    seen = answer(IORING_OP_WRITE, 0, 10);
    ck_assert_uint_eq(seen.off, 1040);
    ck_assert_uint_eq(seen.len, 60);
    ck_assert_uint_eq(seen.addr, (uintptr_t)bytes + 40);
    ck_assert_uint_eq(calls[0], 0);
    answer(IORING_OP_WRITE, 0, -ENOSPC);
    told(0, -ENOSPC, 50);
    write_at(1, 0);
    answer(IORING_OP_WRITE, 0, 99);
    answer(IORING_OP_WRITE, 0, 0);
    told(1, -EIO, 99);
    read_at(2, 0);
    answer(IORING_OP_READ, 0, 99);
    answer(IORING_OP_READ, 0, 0);
    told(2, 0, 99);
    read_at(3, 0);
    answer(IORING_OP_READ, 0, 1);
    answer(IORING_OP_READ, 0, -EIO);
    told(3, -EIO, 1);
    finish(0);
}
END_TEST

/* Goal: what is cancelled between two parts goes no further, with the true count. Method: a cancel that comes too late
 * for the part in flight. */
START_TEST(cancelled_between_parts)
{
    make(0);
    script.manual = true;
    write_at(0, 0);
    ck_assert_uint_eq(in_flight(IORING_OP_WRITE), 1);
    ck_assert_int_eq(loop_file_cancel(&file, (void *)0), 1);
    ck_assert_int_eq(loop_file_cancel(&file, (void *)0), 0);
    answer(IORING_OP_WRITE, 0, 70);
    told(0, -ECANCELED, 70);
    write_at(1, 0);
    ck_assert_uint_eq(in_flight(IORING_OP_WRITE), 1);
    ck_assert_int_eq(loop_file_cancel_all(&file), 1);
    answer(IORING_OP_WRITE, 0, SIZE); /* it was done all the same */
    told(1, 0, SIZE);
    while (script_count(IORING_OP_ASYNC_CANCEL) > 0)
        answer(IORING_OP_ASYNC_CANCEL, 0, -ENOENT);
    script.manual = false;
    finish(0);
}
END_TEST

/* Goal: a sync begins when the writes before it have ended, not later, and those that come meanwhile share the next.
 * Method: writes before, between and after, answered out of order; one that fails, one that is cancelled in the queue.
 */
START_TEST(syncs_cover_what_was_before)
{
    make(0);
    write_at(0, 0);
    write_at(1, LOOP_FILE_POSITION);
    write_at(2, LOOP_FILE_POSITION); /* queued */
    sync_it(3);
    write_at(4, 500);
    ck_assert_uint_eq(in_flight(IORING_OP_FSYNC), 0);
    answer(IORING_OP_WRITE, 0, -EIO);
    ck_assert_uint_eq(in_flight(IORING_OP_FSYNC), 0);
    ck_assert_int_eq(loop_file_cancel(&file, (void *)2), 1);
    ck_assert_uint_eq(in_flight(IORING_OP_FSYNC), 0);
    told(2, -ECANCELED, 0);
    answer(IORING_OP_WRITE, 0, SIZE);
    told(1, 0, SIZE);
    ck_assert_uint_eq(in_flight(IORING_OP_FSYNC), 1); /* although the last write is in flight */
    sync_it(5);
    sync_it(6);
    answer(IORING_OP_WRITE, 0, SIZE);
    ck_assert_uint_eq(in_flight(IORING_OP_FSYNC), 1);
    answer(IORING_OP_FSYNC, 0, 0);
    told(3, 0, 0);
    ck_assert_uint_eq(calls[5] + calls[6], 0);
    ck_assert_uint_eq(in_flight(IORING_OP_FSYNC), 1);
    answer(IORING_OP_FSYNC, 0, -EINTR);
    answer(IORING_OP_FSYNC, 0, 0);
    told(5, 0, 0);
    told(6, 0, 0);
    finish(0);
}
END_TEST

/* Goal: a failed sync is told to all later ones and to the close, and none is tried any more; also one that failed
 * after all who waited for it had been cancelled. Method: -EIO once. */
START_TEST(failed_sync_is_remembered)
{
    make(LOOP_FILE_SYNC_EACH | LOOP_FILE_SYNC_CLOSE);
    write_at(0, 0);
    answer(IORING_OP_WRITE, 0, SIZE);
    ck_assert_uint_eq(in_flight(IORING_OP_FSYNC), 1);
    if (_i == 1) {
        ck_assert_int_eq(loop_file_cancel_all(&file), 1);
        test_turns(loop, 2);
        told(0, -ECANCELED, SIZE);
    }
    answer(IORING_OP_FSYNC, 0, -EIO);
    told(0, _i == 1 ? -ECANCELED : -EIO, SIZE);
    ck_assert_int_eq(loop_file_sync_error(&file), -EIO);
    sync_it(1);
    ck_assert_uint_eq(calls[1], 0);
    write_at(2, 0);
    answer(IORING_OP_WRITE, 0, SIZE);
    told(1, -EIO, 0);
    told(2, -EIO, SIZE);
    ck_assert_uint_eq(in_flight(IORING_OP_FSYNC), 0);
    finish(-EIO);
}
END_TEST

/* Goal: a sync that a close cancels, and that fails all the same, is told by the close. Method: answers by hand. */
START_TEST(close_tells_a_late_failure)
{
    make(0);
    script.manual = true;
    sync_it(0);
    ck_assert_uint_eq(in_flight(IORING_OP_FSYNC), 1);
    loop_file_close(&file, closed);
    test_turns(loop, 2);
    told(0, -ECANCELED, 0);
    ck_assert_uint_eq(in_flight(IORING_OP_CLOSE), 0);
    answer(IORING_OP_FSYNC, 0, -EIO);
    while (script_count(IORING_OP_ASYNC_CANCEL) > 0)
        answer(IORING_OP_ASYNC_CANCEL, 0, -EALREADY);
    script.manual = false;
    finish(-EIO);
}
END_TEST

/* Goal: a close whose operations end without having begun is done by the plain calls. Method: -ECANCELED to both. */
START_TEST(close_not_begun)
{
    make(LOOP_FILE_SYNC_CLOSE);
    write_at(0, 0);
    answer(IORING_OP_WRITE, 0, SIZE);
    loop_file_close(&file, closed);
    answer(IORING_OP_FSYNC, 0, -ECANCELED);
    ck_assert_uint_eq(closes, 0);
    answer(IORING_OP_CLOSE, 0, -ECANCELED);
    ck_assert_uint_eq(closes, 1);
    ck_assert_int_eq(close_error, 0);
    ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
    test_loop_free(loop);
}
END_TEST

/* Goal: without room for operations a call is refused, and what waits for its turn, or for a sync, waits on. Method: a
 * loop of two operations, taken by others in the midst. */
START_TEST(no_room)
{
    struct test_log logs[2] = {0};

    make_with(NULL, &(struct loop_options){.ops_max = 2});
    script.manual = true;
    write_at(0, LOOP_FILE_POSITION);
    write_at(1, LOOP_FILE_POSITION);
    sync_it(2);
    ck_assert_int_gt(loop_nop(loop, test_log_cb, &logs[0], NULL), 0);
    ck_assert_int_eq(loop_file_read(&file, bytes, SIZE, 0, 0, note, (void *)9), -ENOBUFS);
    answer(IORING_OP_WRITE, 0, 60); /* goes on in the place it has left */
    ck_assert_int_eq(loop_file_read(&file, bytes, SIZE, 0, 0, note, (void *)9), -ENOBUFS);
    answer(IORING_OP_WRITE, 0, 40);
    told(0, 0, SIZE);
    ck_assert_uint_eq(in_flight(IORING_OP_WRITE), 1);
    answer(IORING_OP_WRITE, 0, SIZE);
    ck_assert_uint_eq(in_flight(IORING_OP_FSYNC), 1);
    ck_assert_int_eq(loop_file_write(&file, bytes, SIZE, 0, 0, note, (void *)9), -ENOBUFS);
    sync_it(3);
    answer(IORING_OP_FSYNC, 0, 0);
    answer(IORING_OP_NOP, 0, 0);
    answer(IORING_OP_FSYNC, 0, 0);
    told(1, 0, SIZE);
    told(2, 0, 0);
    told(3, 0, 0);
    ck_assert_uint_eq(calls[9], 0);
    script.manual = false;
    finish(0);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("sim/file");
    TCase *tc = test_case_without_ring(suite, "file");

    tcase_add_test(tc, parts);
    tcase_add_test(tc, cancelled_between_parts);
    tcase_add_test(tc, syncs_cover_what_was_before);
    tcase_add_loop_test(tc, failed_sync_is_remembered, 0, 2);
    tcase_add_test(tc, close_tells_a_late_failure);
    tcase_add_test(tc, close_not_begun);
    tcase_add_test(tc, no_room);
    return suite;
}
