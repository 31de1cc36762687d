/* tests/sim/writer_sim_test.c: the merging writer on a scripted ring: short writes, errors in the midst, passing
 * errors, what is in flight together, and what a loop with a new ring does. */
#include "fs/writer_private.h"
#include "tests/sim/script_ring.h"
#include "tests/support/test.h"

#include <fcntl.h>
#include <sys/mman.h>

enum { SIZE = 100, WRITES = 16 };

static struct loop       *loop;
static struct loop_writer writer;
static uint32_t           calls[WRITES], closes, turn, turns_of[WRITES];
static int                errors[WRITES];
static size_t             counts[WRITES];
static char               bytes[WRITES * SIZE];
static int                fd;

static void make_with(const struct loop_writer_options *options, const struct loop_options *loop_options)
{
    script_reset();
    loop = test_loop_new(loop_options);
    fd = memfd_create("writer", MFD_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(loop_writer_open(loop, &writer, fd, options), 0);
}

static void make(const struct loop_writer_options *options)
{
    make_with(options, NULL);
}

static void written(struct loop_writer *by, int error, size_t count, void *arg)
{
    uintptr_t i = (uintptr_t)arg;

    (void)by;
    calls[i]++;
    turns_of[i] = ++turn;
    errors[i] = error;
    counts[i] = count;
}

static void put_at(uintptr_t i, int64_t offset)
{
    ck_assert_int_eq(loop_writer_write(&writer, bytes + i * SIZE, SIZE, offset, written, (void *)i, NULL), 0);
}

static void put(uintptr_t i)
{
    put_at(i, (int64_t)i * SIZE);
}

static void told(uintptr_t i, int error, size_t count)
{
    ck_assert_msg(calls[i] == 1, "write %zu was told %u times", (size_t)i, calls[i]);
    ck_assert_int_eq(errors[i], error);
    ck_assert_uint_eq(counts[i], count);
}

static void not_told(uintptr_t from, uintptr_t to)
{
    for (uintptr_t i = from; i < to; i++)
        ck_assert_uint_eq(calls[i], 0);
}

/* The n-th vectored write in flight, of this place and these pieces. */
static struct io_uring_sqe *vector(unsigned n, uint64_t offset, unsigned pieces)
{
    struct io_uring_sqe *sqe;

    test_turns(loop, 2);
    sqe = script_find(IORING_OP_WRITEV, n);
    ck_assert_ptr_nonnull(sqe);
    ck_assert_int_eq(sqe->fd, fd);
    ck_assert_uint_eq(sqe->off, offset);
    ck_assert_uint_eq(sqe->len, pieces);
    return sqe;
}

static struct io_uring_sqe *single(unsigned n, uint64_t offset, unsigned size)
{
    struct io_uring_sqe *sqe;

    test_turns(loop, 2);
    sqe = script_find(IORING_OP_WRITE, n);
    ck_assert_ptr_nonnull(sqe);
    ck_assert_uint_eq(sqe->off, offset);
    ck_assert_uint_eq(sqe->len, size);
    return sqe;
}

static unsigned in_flight(void)
{
    test_turns(loop, 2);
    return script_count(IORING_OP_WRITE) + script_count(IORING_OP_WRITEV);
}

static void answer(struct io_uring_sqe *sqe, int32_t res)
{
    script_complete(sqe, res, 0);
    test_turns(loop, 2);
}

static void closed(struct loop_writer *by)
{
    (void)by;
    closes++;
}

static void finish(void)
{
    loop_writer_close(&writer, closed);
    test_turns(loop, 2);
    ck_assert_uint_eq(closes, 0);
    ck_assert_uint_eq(script_count(IORING_OP_CLOSE), 1);
    ck_assert_int_eq(close(fd), 0);
    answer(script_find(IORING_OP_CLOSE, 0), 0);
    ck_assert_uint_eq(closes, 1);
    test_loop_free(loop);
}

/* Goal: after a short count the rest leaves from there on; those that have landed are told. Method: two and a half of
 * four; then the rest byte by byte. */
START_TEST(short_count)
{
    struct io_uring_sqe *sqe;
    const struct iovec  *iov;

    make(NULL);
    for (uintptr_t i = 0; i < 4; i++)
        put(i);
    answer(vector(0, 0, 4), 250);
    told(0, 0, SIZE);
    told(1, 0, SIZE);
    not_told(2, 4);
    sqe = vector(0, 250, 2);
    iov = (const struct iovec *)(uintptr_t)sqe->addr;
    ck_assert_ptr_eq(iov[0].iov_base, bytes + 250);
    ck_assert_uint_eq(iov[0].iov_len, 50);
    ck_assert_ptr_eq(iov[1].iov_base, bytes + 300);
    answer(sqe, 49);
    not_told(2, 4);
    answer(vector(0, 299, 2), 1);
    told(2, 0, SIZE);
    for (unsigned i = 0; i < SIZE; i++)
        answer(single(0, 300 + i, SIZE - i), 1);
    told(3, 0, SIZE);
    finish();
}
END_TEST

/* Goal: an error hits the write whose bytes it is about, the others go on. Method: after two and a half of five an
 * error of all that is left; the third fails for itself, the fourth lands, the fifth fails in part, or with 0. */
START_TEST(error_in_the_midst)
{
    make(NULL);
    for (uintptr_t i = 0; i < 5; i++)
        put(i);
    answer(vector(0, 0, 5), 250);
    answer(vector(0, 250, 3), -ENOSPC);
    not_told(2, 5);
    ck_assert_uint_eq(in_flight(), 1);
    answer(single(0, 250, 50), -ENOSPC);
    told(2, -ENOSPC, 50);
    not_told(3, 5);
    answer(single(0, 300, SIZE), SIZE);
    told(3, 0, SIZE);
    answer(single(0, 400, SIZE), 30);
    answer(single(0, 430, SIZE - 30), _i == 0 ? -EIO : 0);
    told(4, -EIO, 30);
    ck_assert_uint_eq(in_flight(), 0);
    finish();
}
END_TEST

/* Goal: errors that pass are no errors. Method: -EINTR and -EAGAIN, at the beginning and after a part. */
START_TEST(passing_errors)
{
    make(NULL);
    for (uintptr_t i = 0; i < 3; i++)
        put(i);
    answer(vector(0, 0, 3), -EINTR);
    answer(vector(0, 0, 3), -EAGAIN);
    answer(vector(0, 0, 3), 120);
    answer(vector(0, 120, 2), -EAGAIN);
    not_told(1, 3);
    answer(vector(0, 120, 2), 180);
    for (uintptr_t i = 0; i < 3; i++)
        told(i, 0, SIZE);
    finish();
}
END_TEST

/* Goal: runs that are apart are in flight together, at most runs_max; what overlaps waits, in order. Method: four apart
 * with room for three; then three over each other. */
START_TEST(together)
{
    make(&(struct loop_writer_options){.runs_max = 3});
    for (uintptr_t i = 0; i < 4; i++)
        put_at(i, (int64_t)i * 1000);
    ck_assert_uint_eq(in_flight(), 3);
    answer(single(1, 1000, SIZE), SIZE);
    told(1, 0, SIZE);
    ck_assert_uint_eq(in_flight(), 3);
    answer(single(2, 3000, SIZE), SIZE);
    answer(single(1, 2000, SIZE), SIZE);
    answer(single(0, 0, SIZE), SIZE);
    put_at(4, 50);
    put_at(5, 0);
    put_at(6, 120);
    put_at(7, 5000);
    ck_assert_uint_eq(in_flight(), 1); /* the first of those that overlap; the others wait behind it */
    answer(single(0, 50, SIZE), SIZE);
    ck_assert_uint_eq(in_flight(), 3);
    answer(single(0, 0, SIZE), SIZE);
    answer(single(0, 120, SIZE), SIZE);
    answer(single(0, 5000, SIZE), SIZE);
    ck_assert_uint_eq(turn, 8);
    finish();
}
END_TEST

/* Goal: what comes next to a run in flight gathers until that is back; over one in flight, too. Method: a write a turn.
 */
START_TEST(gathering)
{
    make(NULL);
    put(0);
    ck_assert_uint_eq(in_flight(), 1);
    for (uintptr_t i = 1; i < 6; i++) {
        put(i);
        ck_assert_uint_eq(in_flight(), 1);
    }
    put_at(6, 0);
    ck_assert_uint_eq(in_flight(), 1);
    answer(single(0, 0, SIZE), SIZE);
    answer(vector(0, 0, 6), 6 * SIZE);
    for (uintptr_t i = 0; i < 7; i++)
        told(i, 0, SIZE);
    finish();
}
END_TEST

/* Goal: a deadline is kept to the nanosecond, and counts from the first write. Method: the clock of the script. */
START_TEST(deadline)
{
    uint64_t began;

    make(&(struct loop_writer_options){.deadline_ns = 1000000});
    test_turns(loop, 1);
    began = script.now_ns;
    put(0);
    test_turns(loop, 2);
    script.now_ns = began + 500000;
    test_turns(loop, 1);
    put(1);
    script.now_ns = began + 999999;
    ck_assert_uint_eq(in_flight(), 0);
    script.now_ns = began + 1000000;
    answer(vector(0, 0, 2), 2 * SIZE);
    put(2); /* the next waits anew */
    ck_assert_uint_eq(in_flight(), 0);
    script.now_ns += 1000000;
    answer(single(0, 200, SIZE), SIZE);
    told(2, 0, SIZE);
    finish();
}
END_TEST

/* Goal: a sync begins when what was queued before has landed; those asked for meanwhile share the next. Method: answers
 * by hand, one of them passing. */
START_TEST(syncs)
{
    make(NULL);
    put(0);
    ck_assert_int_eq(loop_writer_sync(&writer, written, (void *)1), 0);
    ck_assert_uint_eq(in_flight(), 1);
    ck_assert_uint_eq(script_count(IORING_OP_FSYNC), 0);
    answer(single(0, 0, SIZE), SIZE);
    told(0, 0, SIZE);
    ck_assert_uint_eq(script_count(IORING_OP_FSYNC), 1);
    ck_assert_uint_eq(script_find(IORING_OP_FSYNC, 0)->fsync_flags, IORING_FSYNC_DATASYNC);
    put(2);
    ck_assert_int_eq(loop_writer_sync(&writer, written, (void *)3), 0);
    put(4);
    ck_assert_int_eq(loop_writer_sync(&writer, written, (void *)5), 0);
    answer(single(0, 200, SIZE), SIZE); /* while the first sync is at work */
    answer(single(0, 400, SIZE), SIZE);
    ck_assert_uint_eq(script_count(IORING_OP_FSYNC), 1);
    answer(script_find(IORING_OP_FSYNC, 0), -EINTR);
    not_told(1, 2);
    answer(script_find(IORING_OP_FSYNC, 0), 0);
    told(1, 0, 0);
    test_turns(loop, 2);
    if (calls[3] == 0) { /* those that came before it was repeated went with it */
        ck_assert_uint_eq(script_count(IORING_OP_FSYNC), 1);
        answer(script_find(IORING_OP_FSYNC, 0), 0);
    }
    ck_assert_uint_eq(calls[3], 1);
    ck_assert_uint_eq(calls[5], 1);
    finish();
}
END_TEST

/* Goal: with LOOP_WRITER_SYNC no write is told before its sync. Method: a batch in two runs; what comes meanwhile. */
START_TEST(synced)
{
    make(&(struct loop_writer_options){.flags = LOOP_WRITER_SYNC});
    put(0);
    put(1);
    put(5);
    answer(vector(0, 0, 2), 2 * SIZE);
    ck_assert_uint_eq(script_count(IORING_OP_FSYNC), 0); /* of the whole batch */
    put(7);
    answer(single(0, 500, SIZE), SIZE);
    not_told(0, 8);
    ck_assert_uint_eq(script_count(IORING_OP_FSYNC), 1);
    answer(single(0, 700, SIZE), SIZE); /* it came too late for that sync, and needs its own */
    answer(script_find(IORING_OP_FSYNC, 0), 0);
    told(0, 0, SIZE);
    told(1, 0, SIZE);
    told(5, 0, SIZE);
    not_told(7, 8);
    answer(script_find(IORING_OP_FSYNC, 0), 0);
    told(7, 0, SIZE);
    finish();
}
END_TEST

/* Goal: a sync that has failed is never followed by one that hides it: those who come later are told, too, and none is
 * tried. Method: writes that want one, with true counts; wishes that come before, meanwhile and later. */
START_TEST(failed_sync_is_remembered)
{
    make(&(struct loop_writer_options){.flags = _i == 0 ? LOOP_WRITER_SYNC : 0});
    put(0);
    ck_assert_int_eq(loop_writer_sync(&writer, written, (void *)1), 0);
    answer(single(0, 0, SIZE), SIZE);
    ck_assert_uint_eq(script_count(IORING_OP_FSYNC), 1);
    put(2);
    ck_assert_int_eq(loop_writer_sync(&writer, written, (void *)3), 0);
    answer(single(0, 200, SIZE), SIZE);
    answer(script_find(IORING_OP_FSYNC, 0), -EIO);
    test_turns(loop, 2);
    put(4);
    answer(single(0, 400, SIZE), SIZE);
    ck_assert_int_eq(loop_writer_sync(&writer, written, (void *)5), 0);
    not_told(5, 6);
    test_turns(loop, 2);
    for (uintptr_t i = 0; i < 6; i++)
        told(i, _i == 0 || i % 2 == 1 ? -EIO : 0, i % 2 == 0 ? SIZE : 0);
    ck_assert_uint_eq(script_count(IORING_OP_FSYNC), 0);
    finish();
}
END_TEST

/* Goal: a failed write is told by the next sync, to all who share it, and by no other. Method: an error, then two
 * wishes, then one more. */
START_TEST(sync_knows_failures)
{
    make(NULL);
    put(0);
    ck_assert_int_eq(loop_writer_sync(&writer, written, (void *)1), 0);
    ck_assert_int_eq(loop_writer_sync(&writer, written, (void *)2), 0);
    answer(single(0, 0, SIZE), -EIO);
    told(0, -EIO, 0);
    answer(script_find(IORING_OP_FSYNC, 0), 0);
    told(1, -EIO, 0);
    told(2, -EIO, 0);
    ck_assert_int_eq(loop_writer_sync(&writer, written, (void *)3), 0);
    test_turns(loop, 2);
    answer(script_find(IORING_OP_FSYNC, 0), 0);
    told(3, 0, 0);
    finish();
}
END_TEST

/* Goal: without room for operations writes wait, and none is lost. Method: a loop of two operations, taken by others.
 */
START_TEST(no_room)
{
    struct test_log logs[2] = {0};

    make_with(NULL, &(struct loop_options){.ops_max = 2});
    script.manual = true;
    for (unsigned i = 0; i < 2; i++)
        ck_assert_int_gt(loop_nop(loop, test_log_cb, &logs[i], NULL), 0);
    put(0);
    put(3);
    ck_assert_int_eq(loop_writer_sync(&writer, written, (void *)4), 0);
    ck_assert_uint_eq(in_flight(), 0);
    answer(script_find(IORING_OP_NOP, 0), 0);
    ck_assert_uint_eq(in_flight(), 1);
    answer(script_find(IORING_OP_NOP, 0), 0);
    answer(single(0, 0, SIZE), SIZE);
    answer(single(0, 300, SIZE), SIZE);
    answer(script_find(IORING_OP_FSYNC, 0), 0);
    told(0, 0, SIZE);
    told(3, 0, SIZE);
    told(4, 0, 0);
    script.manual = false;
    finish();
}
END_TEST

/* Goal: a loop with a new ring writes again what was in flight; where that might append twice it ends. Method:
 * -ERESTART, which says that nothing was done, and -EOWNERDEAD; with _i = 1 appending. */
START_TEST(restarted)
{
    make(&(struct loop_writer_options){.flags = _i == 0 ? 0 : LOOP_WRITER_APPEND});
    for (uintptr_t i = 0; i < 3; i++)
        put_at(i, LOOP_AT_POSITION);
    answer(vector(0, 0, 3), -ERESTART);
    not_told(0, 3);
    answer(vector(0, 0, 3), -EOWNERDEAD);
    if (_i == 0) {
        not_told(0, 3);
        answer(vector(0, 0, 3), 3 * SIZE);
    }
    for (uintptr_t i = 0; i < 3; i++)
        told(i, _i == 0 ? 0 : -EOWNERDEAD, _i == 0 ? SIZE : 0);
    ck_assert_int_eq(loop_writer_sync(&writer, written, (void *)3), 0);
    test_turns(loop, 2);
    answer(script_find(IORING_OP_FSYNC, 0), -ERESTART);
    answer(script_find(IORING_OP_FSYNC, 0), 0);
    told(3, 0, 0);
    loop_writer_close(&writer, closed);
    test_turns(loop, 2);
    answer(script_find(IORING_OP_CLOSE, 0), -ERESTART);
    ck_assert_uint_eq(closes, 0);
    finish();
}
END_TEST

/* Goal: in a child what was queued or in flight ends, for the parent writes it; what comes later is written. Method:
 * the call that loop_fork() makes. */
START_TEST(child)
{
    struct loop_object *object = &writer.priv.object;

    make(&(struct loop_writer_options){.runs_max = 1});
    put(0);
    put(4); /* in the batch */
    ck_assert_uint_eq(in_flight(), 1);
    put(1);
    put(8);
    object->object_class->rehome(object, true);
    not_told(0, 9);
    answer(single(0, 0, SIZE), -EOWNERDEAD);
    told(0, -EOWNERDEAD, 0);
    told(1, -EOWNERDEAD, 0);
    told(4, -EOWNERDEAD, 0);
    told(8, -EOWNERDEAD, 0);
    put(2);
    answer(single(0, 200, SIZE), -EOWNERDEAD); /* of a new ring's own: nobody else writes it */
    answer(single(0, 200, SIZE), SIZE);
    told(2, 0, SIZE);
    finish();
}
END_TEST

/* Goal: a close ends what it has to, in order: writes, sync, descriptor. Method: answers by hand. */
START_TEST(close_in_order)
{
    make(NULL);
    put(0);
    ck_assert_int_eq(loop_writer_sync(&writer, written, (void *)1), 0);
    loop_writer_close(&writer, closed);
    ck_assert_uint_eq(in_flight(), 1);
    ck_assert_uint_eq(script_count(IORING_OP_CLOSE), 0);
    answer(single(0, 0, SIZE), SIZE);
    ck_assert_uint_eq(script_count(IORING_OP_CLOSE), 0);
    answer(script_find(IORING_OP_FSYNC, 0), 0);
    told(1, 0, 0);
    finish();
}
END_TEST

/* Goal: the descriptor is closed by the call where the operation has not done it: at the end of the loop (0), and in a
 * child, where the parent's has closed the parent's (1). Method: answers by hand. */
START_TEST(close_not_begun)
{
    make(NULL);
    loop_writer_close(&writer, closed);
    test_turns(loop, 2);
    ck_assert_uint_eq(script_count(IORING_OP_CLOSE), 1);
    if (_i == 1)
        writer.priv.object.object_class->rehome(&writer.priv.object, true);
    answer(script_find(IORING_OP_CLOSE, 0), _i == 0 ? -ECANCELED : -EOWNERDEAD);
    ck_assert_uint_eq(closes, 1);
    ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
    test_loop_free(loop);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("sim/writer");
    TCase *tc = test_case_without_ring(suite, "writer");

    tcase_add_test(tc, short_count);
    tcase_add_loop_test(tc, error_in_the_midst, 0, 2);
    tcase_add_test(tc, passing_errors);
    tcase_add_test(tc, together);
    tcase_add_test(tc, gathering);
    tcase_add_test(tc, deadline);
    tcase_add_test(tc, syncs);
    tcase_add_test(tc, synced);
    tcase_add_loop_test(tc, failed_sync_is_remembered, 0, 2);
    tcase_add_test(tc, sync_knows_failures);
    tcase_add_test(tc, no_room);
    tcase_add_loop_test(tc, restarted, 0, 2);
    tcase_add_test(tc, child);
    tcase_add_test(tc, close_in_order);
    tcase_add_loop_test(tc, close_not_begun, 0, 2);
    return suite;
}
