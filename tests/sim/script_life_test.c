/* tests/sim/script_life_test.c: operations over a scripted ring, where time stands still: timers, deadlines,
 * multishots, the end of the loop, the work pool. */
#include "tests/sim/script_world.h"

#include <poll.h>
#include <semaphore.h>
#include <time.h>

/* ---- time */

struct timed {
    struct loop_timer timer;
    uint64_t          deadline, start;
};
static uint64_t timed_deadline, timed_start, timed_count;

static void timed_fire(struct loop_timer *timer)
{
    struct timed *timed = timer->data;

    ck_assert_msg(timed->deadline > timed_deadline || (timed->deadline == timed_deadline && timed->start > timed_start),
                  "%" PRIu64 " came after %" PRIu64, timed->deadline, timed_deadline);
    ck_assert_uint_eq(loop_now(loop), timed->deadline); /* the clock moves by waits alone: exactly then */
    timed_deadline = timed->deadline;
    timed_start = timed->start;
    timed_count++;
}

/* Goal: order and exact times over all levels of the wheel. Method: 3000 timers between a nanosecond and 200 years. */
START_TEST(timers_over_centuries)
{
    enum { COUNT = 3000 };
    static struct timed timers[COUNT];
    uint64_t            random = test_env("TEST_SEED", 3) + (uint64_t)_i;

    printf("script: seed %" PRIu64 "\n", random);
    for (uint64_t i = 0; i < COUNT; i++) {
        unsigned bits = (unsigned)(test_random(&random) % 63);

        timers[i].timer.data = &timers[i];
        timers[i].deadline = loop_now(loop) + 1 + (test_random(&random) & ((UINT64_C(1) << bits) - 1));
        timers[i].start = i;
        ck_assert_int_eq(loop_timer_start_at(loop, &timers[i].timer, timers[i].deadline, 0, timed_fire), 0);
    }
    test_run(loop);
    ck_assert_uint_eq(timed_count, COUNT);
}
END_TEST

struct period {
    struct loop_timer timer;
    uint64_t          start;
    uint32_t          count;
};

static void period_fire(struct loop_timer *timer)
{
    struct period *period = timer->data;

    period->count++;
    ck_assert_uint_eq(loop_now(loop), period->start + period->count * (10 * LOOP_MILLISECOND + 1));
    if (period->count == 1000)
        loop_timer_stop(timer);
}

/* Goal: repeating does not drift. Method: 1000 periods, each fires exactly at its multiple. */
START_TEST(repeats_exactly)
{
    struct period period = {.start = loop_now(loop)};

    period.timer.data = &period;
    ck_assert_int_eq(
        loop_timer_start(loop, &period.timer, 10 * LOOP_MILLISECOND + 1, 10 * LOOP_MILLISECOND + 1, period_fire), 0);
    test_run(loop);
    ck_assert_uint_eq(period.count, 1000);
}
END_TEST

/* Goal: with no submit deadline the clock is read a bounded number of times a turn, whatever happens in it. Method: a
 * clock that counts its readings. */
START_TEST(clock_readings)
{
    uint64_t before, few, many;

    script.clock_step_ns = 1;
    before = script.now_ns;
    ck_assert_int_gt(loop_nop(loop, NULL, NULL, NULL), 0);
    test_turns(loop, 1);
    few = script.now_ns - before;
    before = script.now_ns;
    for (int i = 0; i < 8; i++)
        ck_assert_int_gt(loop_nop(loop, NULL, NULL, NULL), 0);
    test_turns(loop, 1);
    many = script.now_ns - before;
    ck_assert_msg(many <= few, "%" PRIu64 " readings for one nop, %" PRIu64 " for eight", few, many);
    script.clock_step_ns = 0;
}
END_TEST

/* ---- deadlines and cancels */

/* Goal: what a deadline makes of each possible end. Method: the cancel request is answered by hand, in either order, or
 * not at all. */
START_TEST(deadline_ends)
{
    static const struct {
        int32_t  cancel, res, told;
        uint32_t flags;
        bool     cancel_first;
    } table[] = {
        {0, -ECANCELED, -ETIMEDOUT, LOOP_TIMED_OUT, true},
        {0, -ECANCELED, -ETIMEDOUT, LOOP_TIMED_OUT, false},
        {0, -EINTR, -ETIMEDOUT, LOOP_TIMED_OUT, true},
        {0, -512, -ETIMEDOUT, LOOP_TIMED_OUT, true},
        {0, 5, 5, LOOP_TIMED_OUT, true},
        {-EALREADY, 7, 7, LOOP_TIMED_OUT, true},
        {-EALREADY, -ECANCELED, -ETIMEDOUT, LOOP_TIMED_OUT, true},
        {-ENOENT, -ECONNRESET, -ECONNRESET, LOOP_TIMED_OUT, false},
    };

    script.manual = true;
    for (size_t i = 0; i < TEST_COUNT(table); i++) {
        struct test_log      log = {0};
        struct io_uring_sqe *cancel;

        start_recv(&log, LOOP_TERMS(.timeout_ns = LOOP_SECOND));
        test_turns(loop, 1);
        script.now_ns += LOOP_SECOND - 1;
        test_turns(loop, 1);
        ck_assert_uint_eq(script_count(IORING_OP_ASYNC_CANCEL), 0); /* never early */
        script.now_ns += 1;
        test_turns(loop, 2);
        cancel = script_find(IORING_OP_ASYNC_CANCEL, 0);
        ck_assert_ptr_nonnull(cancel);
        ck_assert_uint_eq(cancel->addr, recv_sqe(0)->user_data);
        ck_assert_uint_eq(log.count, 0);
        if (table[i].cancel_first) {
            script_complete(cancel, table[i].cancel, 0);
            test_turns(loop, 1);
            ck_assert_uint_eq(log.count, 0);
        }
        script_complete(recv_sqe(0), table[i].res, 0);
        test_turns(loop, 1);
        if (!table[i].cancel_first) {
            script_complete(script_find(IORING_OP_ASYNC_CANCEL, 0), table[i].cancel, 0);
            test_turns(loop, 1);
        }
        ck_assert_uint_eq(log.count, 1);
        ck_assert_msg(log.last.res == table[i].told, "case %zu: res %d", i, log.last.res);
        ck_assert_msg((log.last.flags & ~table[i].flags) == 0, "case %zu: flags %#x", i, log.last.flags);
        if (log.last.res == -ETIMEDOUT || log.last.res >= 0)
            ck_assert_uint_eq(log.last.flags, table[i].flags);
        ck_assert_uint_eq(script_count(IORING_OP_ASYNC_CANCEL), 0);
    }
    ck_assert_uint_eq(test_stats(loop).deadlines_passed, TEST_COUNT(table));
    ck_assert_uint_eq(test_stats(loop).cqes_stale, 0);
    script.manual = false;
}
END_TEST

/* Goal: a cancel by the user comes before a deadline that passes afterwards: the end is his. Method: cancel, then let
 * the deadline pass, then the end comes. */
START_TEST(cancel_then_deadline)
{
    struct test_log log = {0};
    loop_id         id;

    script.manual = true;
    id = start_recv(&log, LOOP_TERMS(.timeout_ns = LOOP_SECOND));
    test_turns(loop, 1);
    ck_assert_int_eq(loop_cancel(loop, id), 0);
    test_turns(loop, 1);
    script.now_ns += LOOP_SECOND;
    test_turns(loop, 2);
    ck_assert_uint_eq(script_count(IORING_OP_ASYNC_CANCEL), 1); /* one request is enough */
    script_complete(script_find(IORING_OP_ASYNC_CANCEL, 0), 0, 0);
    script_complete(recv_sqe(0), -ECANCELED, 0);
    test_turns(loop, 1);
    test_log_is(&log, -ECANCELED);
    ck_assert_uint_eq(test_stats(loop).deadlines_passed, 0);
    script.manual = false;
}
END_TEST

/* Goal: a cancel that misses is asked for again soon, whatever was cancelled before it. Method: operations one after
 * the other; each cancel misses once, the retry hits; the time to the retry must not grow from one to the next. */
START_TEST(retries_start_anew)
{
    script.manual = true;
    for (int i = 0; i < 8; i++) {
        struct test_log log = {0};
        uint64_t        begin;
        loop_id         id = start_recv(&log, NULL);

        test_turns(loop, 1);
        ck_assert_int_eq(loop_cancel(loop, id), 0);
        test_turns(loop, 1);
        script_complete(script_find(IORING_OP_ASYNC_CANCEL, 0), -EALREADY, 0);
        test_turns(loop, 1);
        begin = script.now_ns;
        while (script_count(IORING_OP_ASYNC_CANCEL) == 0) {
            script.now_ns += LOOP_MILLISECOND / 2;
            test_turns(loop, 2);
        }
        ck_assert_uint_le(script.now_ns - begin, 3 * LOOP_MILLISECOND);
        script_complete(script_find(IORING_OP_ASYNC_CANCEL, 0), 0, 0);
        script_complete(recv_sqe(0), -ECANCELED, 0);
        test_turns(loop, 1);
        test_log_is(&log, -ECANCELED);
        script.now_ns += LOOP_SECOND; /* and long after */
        test_turns(loop, 2);
    }
    script.manual = false;
}
END_TEST

/* Goal: a linked timeout is the SQE behind its operation, and all orders of their completions give one callback.
 * Method: look at the SQEs; the kernel's orders, the reverse, and a completion that never comes. */
START_TEST(linked_timeout)
{
    static const struct {
        int32_t timeout; /* 0: no completion */
        int32_t res, told;
        bool    timeout_first;
    } table[] = {
        {-ETIME, -ECANCELED, -ETIMEDOUT, true},
        {-ETIME, 3, 3, true},
        {-ECANCELED, 4, 4, false},
        {-ECANCELED, -ECONNRESET, -ECONNRESET, false},
        {0, 5, 5, false},
        {-ENOENT, 6, 6, false},
        {-EALREADY, 7, 7, true}, /* from here on: fired, but a worker had it; futexes and children give 1 */
        {-EALREADY, -512, -ETIMEDOUT, true},
        {1, -ECANCELED, -ETIMEDOUT, true},
        {-ETIME, -ECANCELED, -ETIMEDOUT, false}, /* old kernels tell the operation's end first */
        {-ETIME, 8, 8, false},
    };

    test_loop_free(loop);
    script.features &= ~(unsigned)IORING_FEAT_MIN_TIMEOUT; /* an old one */
    loop = test_loop_new(NULL);
    script.manual = true;
    for (size_t i = 0; i < TEST_COUNT(table); i++) {
        struct test_log                 log = {0};
        struct io_uring_sqe            *timeout;
        const struct __kernel_timespec *timespec;

        start_recv(&log, LOOP_TERMS(.timeout_ns = 3 * LOOP_SECOND + 5, .flags = LOOP_LINKED_TIMEOUT));
        test_turns(loop, 1);
        timeout = script_find(IORING_OP_LINK_TIMEOUT, 0);
        ck_assert_ptr_eq(timeout, recv_sqe(0) + 1);
        ck_assert_uint_ne(recv_sqe(0)->flags & IOSQE_IO_LINK, 0);
        ck_assert_uint_eq(timeout->flags & (IOSQE_IO_LINK | IOSQE_IO_HARDLINK), 0);
        timespec = (const struct __kernel_timespec *)(uintptr_t)timeout->addr;
        ck_assert_int_eq(timespec->tv_sec, 3);
        ck_assert_int_eq(timespec->tv_nsec, 5);
        if (table[i].timeout_first)
            script_complete(timeout, table[i].timeout, 0);
        script_complete(recv_sqe(0), table[i].res, 0);
        if (!table[i].timeout_first && table[i].timeout != 0)
            script_complete(script_find(IORING_OP_LINK_TIMEOUT, 0), table[i].timeout, 0);
        script.pending_count = table[i].timeout == 0 ? script.pending_count - 1 : script.pending_count;
        test_turns(loop, 1);
        ck_assert_uint_eq(log.count, 1);
        ck_assert_msg(log.last.res == table[i].told, "case %zu: res %d", i, log.last.res);
        ck_assert_uint_eq((log.last.flags & LOOP_TIMED_OUT) != 0, table[i].timeout_first || table[i].timeout == -ETIME);
    }
    ck_assert_uint_eq(test_stats(loop).cqes_stale, 0);
    script.manual = false;
}
END_TEST

/* Goal: chains stay whole and unbroken in the SQ, the last link open. Method: look at the flags of what was submitted.
 */
START_TEST(chain_flags)
{
    script.manual = true;
    for (uint32_t hard = 0; hard < 2; hard++) {
        struct test_log log[4] = {0};
        unsigned        first = script.pending_count;

        for (int i = 0; i < 6; i++) /* little room is left in the SQ of 8 */
            ck_assert_int_gt(loop_nop(loop, NULL, NULL, NULL), 0);
        ck_assert_int_eq(loop_chain_begin(loop, 4, hard == 1 ? LOOP_CHAIN_HARD : 0), 0);
        for (int i = 0; i < 4; i++)
            start_recv(&log[i], NULL);
        ck_assert_int_eq(loop_chain_end(loop), 0);
        test_turns(loop, 2);
        ck_assert_uint_eq(script.pending_count - first, 10);
        for (unsigned i = 0; i < 10; i++) {
            unsigned flags = script.pending[first + i].flags & (IOSQE_IO_LINK | IOSQE_IO_HARDLINK);

            if (i < 6 || i == 9)
                ck_assert_uint_eq(flags, 0);
            else
                ck_assert_uint_eq(flags, hard == 1 ? IOSQE_IO_HARDLINK : IOSQE_IO_LINK);
        }
        for (int i = 0; i < 6; i++)
            script_complete(script_find(IORING_OP_NOP, 0), 0, 0);
        for (int i = 0; i < 4; i++)
            script_complete(recv_sqe(0), 1, 0);
        test_turns(loop, 2);
        for (int i = 0; i < 4; i++)
            test_log_is(&log[i], 1);
    }
    script.manual = false;
}
END_TEST

/* ---- multishots */

static struct io_uring_sqe *armed(void)
{
    struct io_uring_sqe *sqe = script_find(IORING_OP_RECV, 0);

    ck_assert_ptr_nonnull(sqe);
    ck_assert_uint_ne(sqe->ioprio & IORING_RECV_MULTISHOT, 0);
    ck_assert_uint_ne(sqe->flags & IOSQE_BUFFER_SELECT, 0);
    return sqe;
}

/* Goal: what the kernel ends for reasons of its own goes on unseen. Method: the last piece comes without F_MORE; then
 * -ENOBUFS though there are buffers; then the end of the stream. */
START_TEST(receive_rearms)
{
    struct test_log log = {0};

    ck_assert_int_gt(loop_recv_multishot(loop, 5, 0, 0, test_log_cb, &log, NULL), 0);
    test_turns(loop, 1);
    script_complete(armed(), 3, script_buffer(0, "abc", 3) | IORING_CQE_F_MORE);
    script_complete(armed(), 3, script_buffer(0, "def", 3));
    test_turns(loop, 1);
    ck_assert_uint_eq(log.count, 2);
    ck_assert_uint_ne(log.last.flags & LOOP_MORE, 0);
    test_turns(loop, 1);
    ck_assert_uint_eq(test_stats(loop).rearms, 1);
    script_complete(armed(), -ENOBUFS, 0);
    test_turns(loop, 2);
    ck_assert_uint_eq(log.count, 2);
    ck_assert_uint_eq(test_stats(loop).rearms, 2);
    script_complete(armed(), 3, script_buffer(0, "ghi", 3) | IORING_CQE_F_MORE | IORING_CQE_F_SOCK_NONEMPTY);
    test_turns(loop, 1);
    ck_assert_uint_ne(log.last.flags & LOOP_SOCK_NONEMPTY, 0);
    script_complete(armed(), 0, 0);
    test_turns(loop, 1);
    ck_assert_uint_eq(log.finals, 1);
    ck_assert_int_eq(log.last.res, 0);
    ck_assert_mem_eq(log.data, "abcdefghi", 9);
    ck_assert_ptr_null(script_find(IORING_OP_RECV, 0));
}
END_TEST

/* Goal: the same for accept, descriptors delivered always. Method: a descriptor without F_MORE; then one on top of a
 * cancel. */
START_TEST(accept_rearms)
{
    struct test_log log = {0};
    loop_id         id = loop_accept_multishot(loop, 5, 0, test_log_cb, &log, NULL);

    test_turns(loop, 1);
    script_complete(script_find(IORING_OP_ACCEPT, 0), 100, IORING_CQE_F_MORE);
    script_complete(script_find(IORING_OP_ACCEPT, 0), 101, 0);
    test_turns(loop, 2);
    ck_assert_uint_eq(log.count, 2);
    ck_assert_uint_eq(log.finals, 0);
    ck_assert_uint_eq(test_stats(loop).rearms, 1);
    script.manual = true;
    ck_assert_int_eq(loop_cancel(loop, id), 0);
    test_turns(loop, 1);
    script_complete(script_find(IORING_OP_ACCEPT, 0), 102, 0); /* the last came in the same moment */
    script_complete(script_find(IORING_OP_ASYNC_CANCEL, 0), -ENOENT, 0);
    test_turns(loop, 2);
    ck_assert_uint_eq(log.finals, 1);
    ck_assert_int_eq(log.results[2].res, 102);
    ck_assert_uint_le(log.count, 4);
    ck_assert_ptr_null(script_find(IORING_OP_ACCEPT, 0)); /* not armed again */
    script.manual = false;
}
END_TEST

/* Goal: a multishot cancelled in the very callback after which it would be armed again is not. Method: data without
 * F_MORE. */
static void cancel_self(struct loop *of, const struct loop_result *result, void *arg)
{
    test_log_cb(of, result, arg);
    if (result->flags & LOOP_MORE)
        ck_assert_int_eq(loop_cancel(of, result->id), 0);
}

START_TEST(cancelled_before_the_rearm)
{
    struct test_log log = {0};

    ck_assert_int_gt(loop_recv_multishot(loop, 5, 0, 0, cancel_self, &log, NULL), 0);
    test_turns(loop, 1);
    script_complete(armed(), 3, script_buffer(0, "abc", 3));
    test_turns(loop, 3);
    ck_assert_uint_eq(log.finals, 1);
    ck_assert_int_eq(log.last.res, -ECANCELED);
    ck_assert_ptr_null(script_find(IORING_OP_RECV, 0));
}
END_TEST

/* Goal: a deadline that passes while a multishot rests between two arms ends it once. Method: no buffer is left; the
 * deadline comes while it probes, and while it is parked. */
START_TEST(deadline_without_buffers)
{
    struct test_log log = {0}, keeper = {0};

    ck_assert_int_gt(loop_recv_multishot(loop, 6, 0, 0, test_log_cb, &keeper, NULL), 0);
    test_turns(loop, 1);
    for (int i = 0; i < 4; i++)
        ck_assert_uint_ne(script_buffer(0, "x", 1), 0); /* the kernel has them all, completions on their way */
    ck_assert_uint_eq(script_buffer(0, "x", 1), 0);
    ck_assert_int_gt(loop_recv_multishot(loop, 5, 0, 0, test_log_cb, &log, LOOP_TERMS(.timeout_ns = LOOP_SECOND)), 0);
    test_turns(loop, 1);
    ck_assert_uint_eq(script_count(IORING_OP_RECV), 2);
    script_complete(script_find(IORING_OP_RECV, 1), -ENOBUFS, 0);
    test_turns(loop, 2);
    ck_assert_uint_eq(log.count, 0);
    script.now_ns += LOOP_SECOND;
    test_turns(loop, 3);
    ck_assert_uint_eq(log.count, 1);
    ck_assert_int_eq(log.last.res, -ETIMEDOUT);
    ck_assert_uint_eq(log.last.flags, LOOP_TIMED_OUT);
    script_complete(script_find(IORING_OP_RECV, 0), 0, 0);
    test_turns(loop, 1);
    ck_assert_uint_eq(keeper.finals, 1);
}
END_TEST

/* ---- destroying */

static unsigned destroy_waits;

static void answer_late(void *arg)
{
    (void)arg;
    if (++destroy_waits == 5)
        for (struct io_uring_sqe *sqe; (sqe = script_find(IORING_OP_RECV, 0)) != NULL;)
            script_complete(sqe, destroy_waits % 2 == 0 ? 1 : -ECANCELED, 0);
}

/* Goal: destroy waits until the kernel has let go of everything. Method: nothing is answered until the fifth wait. */
START_TEST(destroy_waits_for_the_kernel)
{
    struct test_log log[10] = {0};

    script.manual = true;
    for (size_t i = 0; i < TEST_COUNT(log); i++)
        start_recv(&log[i], NULL);
    test_turns(loop, 1);
    script.on_wait = answer_late;
    test_loop_drop(loop);
    ck_assert_uint_ge(destroy_waits, 5);
    for (size_t i = 0; i < TEST_COUNT(log); i++)
        test_log_is(&log[i], -ECANCELED);
    script.manual = false;
    script.on_wait = NULL;
    loop = test_loop_new(NULL);
}
END_TEST

/* Goal: errors of the enters of a destroy do no harm. Method: each, a few times. */
START_TEST(destroy_with_errors)
{
    static const int errors[] = {-EINTR, -EAGAIN, -EBUSY, -ENOMEM};
    struct test_log  log[20] = {0};

    for (size_t i = 0; i < TEST_COUNT(log); i++)
        start_recv(&log[i], NULL);
    if (_i % 2 == 0)
        test_turns(loop, 1);
    for (size_t i = 0; i < TEST_COUNT(errors); i++)
        for (int n = 0; n < 3; n++)
            script_plan((struct script_enter){.result = errors[i]});
    test_loop_drop(loop);
    for (size_t i = 0; i < TEST_COUNT(log); i++)
        test_log_is(&log[i], -ECANCELED);
    loop = test_loop_new(NULL);
}
END_TEST

/* Goal: a stop that nobody has run out does not make destroy spin. Method: nothing is answered until the fifth wait;
 * counts the enters until then. */
START_TEST(destroy_after_stop)
{
    struct test_log log = {0};
    unsigned        enters;

    script.manual = true;
    start_recv(&log, NULL);
    test_turns(loop, 1);
    script.on_wait = answer_late;
    loop_stop(loop);
    enters = script.enters;
    test_loop_drop(loop);
    test_log_is(&log, -ECANCELED);
    ck_assert_uint_eq(destroy_waits, 5);
    ck_assert_uint_le(script.enters - enters, 12);
    script.manual = false;
    script.on_wait = NULL;
    loop = test_loop_new(NULL);
}
END_TEST

/* ---- the work pool: its threads are real, and there are only so many */

/* Waits until a thread of the pool wakes the loop. */
static void wait_for_wake(void *arg)
{
    struct io_uring_sqe *sqe = script_find(IORING_OP_POLL_ADD, 0);
    struct pollfd        wake;
    uint64_t             count;

    (void)arg;
    ck_assert_ptr_nonnull(sqe);
    wake = (struct pollfd){.fd = sqe->fd, .events = POLLIN};
    ck_assert_int_eq(poll(&wake, 1, 20000), 1);
    ck_assert_int_eq(read(wake.fd, &count, sizeof(count)), sizeof(count));
    script_complete(sqe, POLLIN, IORING_CQE_F_MORE);
}

struct still {
    sem_t           *sem;
    _Atomic uint32_t entered;
};

static int32_t still_fn(void *arg)
{
    struct still   *still = arg;
    struct timespec end;

    still->entered++;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += 20;
    while (sem_timedwait(still->sem, &end) != 0)
        if (errno != EINTR)
            abort();
    return 1;
}

static int32_t at_once_fn(void *arg)
{
    (void)arg;
    return 2;
}

static void wait_entered(const struct still *still, uint32_t count)
{
    for (int i = 0; i < 200000 && still->entered < count; i++)
        test_sleep(100 * LOOP_MICROSECOND);
    ck_assert_uint_eq(still->entered, count);
}

static void still_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    (void)of, (void)arg;
    ck_assert_int_eq(result->res, 1);
}

static void count_result(struct loop *of, const struct loop_result *result, void *arg)
{
    (void)of;
    ck_assert_int_eq(result->res, 2);
    ++*(uint32_t *)arg;
}

/* Goal: where no thread can be started, the call says so and leaves nothing behind; later it may work. */
START_TEST(no_thread)
{
    struct test_log log = {0};

    script.on_wait = wait_for_wake;
    script.threads_most = 0;
    for (unsigned i = 1; i <= 3; i++) {
        ck_assert_int_eq(loop_work(loop, LOOP_WORK_DEFAULT, at_once_fn, test_log_cb, &log, NULL), -EAGAIN);
        ck_assert_uint_eq(script.threads_refused, i);
    }
    ck_assert(!loop_alive(loop));
    ck_assert_uint_eq(test_stats(loop).ops_started, 0);
    ck_assert_uint_eq(test_stats(loop).work_waiting, 0);
    script.threads_most = 1;
    ck_assert_int_gt(loop_work(loop, LOOP_WORK_SLOW, at_once_fn, test_log_cb, &log, NULL), 0);
    test_run(loop);
    test_log_is(&log, 2);
}
END_TEST

/* Goal: with fewer threads than wanted all items run; the slow class still leaves one to the others; and once a turn
 * more are tried for. Method: two of four threads can be had; items that stand still. */
START_TEST(few_threads)
{
    struct loop_stats stats;
    struct still      files = {0}, slow = {0};
    uint32_t          calls = 0;
    sem_t             sem;

    ck_assert_int_eq(sem_init(&sem, 0, 0), 0);
    files.sem = slow.sem = &sem;
    script.on_wait = wait_for_wake;
    script.threads_most = 2;
    for (int i = 0; i < 5; i++)
        ck_assert_int_gt(loop_work(loop, LOOP_WORK_DEFAULT, still_fn, still_cb, &files, NULL), 0);
    wait_entered(&files, 2);
    ck_assert_uint_eq(script.threads_refused, 1); /* once a turn */
    test_turns(loop, 1);
    ck_assert_int_gt(loop_work(loop, LOOP_WORK_URGENT, still_fn, still_cb, &files, NULL), 0);
    ck_assert_uint_eq(script.threads_refused, 2);
    for (int i = 0; i < 6; i++)
        ck_assert_int_eq(sem_post(&sem), 0);
    test_run(loop);
    ck_assert_uint_eq(files.entered, 6);

    for (int i = 0; i < 3; i++)
        ck_assert_int_gt(loop_work(loop, LOOP_WORK_SLOW, still_fn, still_cb, &slow, NULL), 0);
    wait_entered(&slow, 1);
    ck_assert_int_gt(loop_work(loop, LOOP_WORK_DEFAULT, at_once_fn, count_result, &calls, NULL), 0);
    while (calls == 0)
        ck_assert_int_eq(loop_run(loop, LOOP_RUN_ONCE), 1);
    ck_assert_uint_eq(slow.entered, 1);

    script.threads_most = 4; /* now there are more, and the slow class has its two */
    test_turns(loop, 1);
    ck_assert_int_gt(loop_work(loop, LOOP_WORK_URGENT, still_fn, still_cb, &files, NULL), 0);
    ck_assert_int_gt(loop_work(loop, LOOP_WORK_URGENT, still_fn, still_cb, &files, NULL), 0);
    ck_assert_int_gt(loop_work(loop, LOOP_WORK_DEFAULT, at_once_fn, count_result, &calls, NULL), 0);
    wait_entered(&files, 8);
    wait_entered(&slow, 2);
    ck_assert_uint_eq(calls, 1);
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(sem_post(&sem), 0);
    test_run(loop);
    ck_assert_uint_eq(slow.entered, 3);
    stats = test_stats(loop);
    ck_assert_uint_eq(calls, 2);
    ck_assert_uint_eq(stats.ops_finished, 13);
    ck_assert_uint_eq(stats.work_threads, 4);
    sem_destroy(&sem);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("script_life");
    TCase *tcase = test_case_without_ring(suite, "time");

    tcase_add_checked_fixture(tcase, loop_setup, loop_teardown);
    tcase_add_loop_test(tcase, timers_over_centuries, 0, 3);
    tcase_add_test(tcase, repeats_exactly);
    tcase_add_test(tcase, clock_readings);

    tcase = test_case_without_ring(suite, "deadlines");
    tcase_add_checked_fixture(tcase, loop_setup, loop_teardown);
    tcase_add_test(tcase, deadline_ends);
    tcase_add_test(tcase, cancel_then_deadline);
    tcase_add_test(tcase, retries_start_anew);
    tcase_add_test(tcase, linked_timeout);
    tcase_add_test(tcase, chain_flags);

    tcase = test_case_without_ring(suite, "multishots");
    tcase_add_checked_fixture(tcase, loop_setup, loop_teardown);
    tcase_add_test(tcase, receive_rearms);
    tcase_add_test(tcase, accept_rearms);
    tcase_add_test(tcase, cancelled_before_the_rearm);
    tcase_add_test(tcase, deadline_without_buffers);

    tcase = test_case_without_ring(suite, "destroying");
    tcase_add_checked_fixture(tcase, loop_setup, loop_teardown);
    tcase_add_test(tcase, destroy_waits_for_the_kernel);
    tcase_add_test(tcase, destroy_after_stop);
    tcase_add_loop_test(tcase, destroy_with_errors, 0, 2);

    tcase = test_case_without_ring(suite, "work");
    tcase_add_checked_fixture(tcase, loop_setup, loop_teardown);
    tcase_add_test(tcase, no_thread);
    tcase_add_test(tcase, few_threads);
    return suite;
}
