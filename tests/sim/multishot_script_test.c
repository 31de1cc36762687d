/* tests/sim/multishot_script_test.c: multishots over a scripted ring: ends without a cause, cancels that miss, probes
 * and their answers, old kernels. */
#include "tests/sim/script_ring.h"
#include "tests/support/test.h"

#include <poll.h>

static struct loop *loop;

enum { BUFFERS = 4, FD = 2005, KEEPER_FD = 2006 }; /* not those of the loop itself */

#define RDHUP 0x2000

static void setup(void)
{
    script_reset();
    loop = test_loop_new(
        &(struct loop_options){.sq_entries = 8, .cq_entries = 8, .buffer_size = 64, .buffer_count = BUFFERS});
    test_turns(loop, 1);
}

static void teardown(void)
{
    test_loop_free(loop);
    ck_assert_uint_eq(script.rings_open, 0);
}

static void must(int r)
{
    ck_assert_int_eq(r, 0);
}

/* ---- each kind */

enum kind { ACCEPT, RECV, RECVMSG, READ, EDGE, LEVEL, TICK, KINDS };

static const uint8_t opcodes[KINDS] = {IORING_OP_ACCEPT,         IORING_OP_RECV,     IORING_OP_RECVMSG,
                                       IORING_OP_READ_MULTISHOT, IORING_OP_POLL_ADD, IORING_OP_POLL_ADD,
                                       IORING_OP_TIMEOUT};

/* What was told; test_log_cb takes no messages without bytes. */
struct told {
    uint32_t count, finals, buffers;
    int32_t  last;
    uint32_t last_flags;
};

static void told_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    struct told *told = arg;

    (void)of;
    ck_assert_uint_eq(told->finals, 0);
    told->count++;
    told->last = result->res;
    told->last_flags = result->flags;
    told->finals += (result->flags & LOOP_MORE) == 0;
    told->buffers += (result->flags & LOOP_BUFFER) != 0;
}

static loop_id start_on(enum kind kind, int fd, struct told *told, const struct loop_terms *terms)
{
    switch (kind) {
    case ACCEPT: return loop_accept_multishot(loop, fd, 0, told_cb, told, terms);
    case RECV: return loop_recv_multishot(loop, fd, 0, 0, told_cb, told, terms);
    case RECVMSG: return loop_recvmsg_multishot(loop, fd, NULL, 0, 0, told_cb, told, terms);
    case READ: return loop_read_multishot(loop, fd, 0, told_cb, told, terms);
    case EDGE: return loop_poll_add_multishot(loop, fd, POLLIN, 0, told_cb, told, terms);
    case LEVEL: return loop_poll_add_multishot(loop, fd, POLLIN, LOOP_POLL_LEVEL, told_cb, told, terms);
    case TICK: return loop_timeout_multishot(loop, LOOP_SECOND, 0, 0, told_cb, told, terms);
    case KINDS: break;
    }
    ck_abort_msg("no such kind");
}

static loop_id start(enum kind kind, struct told *told, const struct loop_terms *terms)
{
    loop_id id = start_on(kind, FD, told, terms);

    ck_assert_int_gt(id, 0);
    test_turns(loop, 1);
    return id;
}

/* The n-th, but for the loop's own poll, for being woken. */
static struct io_uring_sqe *find(uint8_t opcode, unsigned n)
{
    struct io_uring_sqe *sqe;

    for (unsigned i = 0; (sqe = script_find(opcode, i)) != NULL; i++)
        if ((opcode != IORING_OP_POLL_ADD || sqe->fd == FD) && n-- == 0)
            return sqe;
    return NULL;
}

static struct io_uring_sqe *pending(uint8_t opcode)
{
    struct io_uring_sqe *sqe = find(opcode, 0);

    ck_assert_msg(sqe != NULL, "no SQE with opcode %u", opcode);
    return sqe;
}

static struct io_uring_sqe *pending_update(void)
{
    struct io_uring_sqe *sqe = script_find(IORING_OP_POLL_REMOVE, 0);

    ck_assert_ptr_nonnull(sqe);
    return sqe;
}

static bool none(uint8_t opcode)
{
    return find(opcode, 0) == NULL;
}

/* A result of the kind, as the kernel would give it. */
static void result(enum kind kind, uint32_t flags)
{
    char    message[17] = {0};
    int32_t res = 1;

    if (kind == RECV || kind == READ)
        flags |= script_buffer(0, "x", 1);
    if (kind == RECVMSG) {
        flags |= script_buffer(0, message, sizeof(message));
        res = sizeof(message);
    }
    if (kind == TICK)
        res = -ETIME;
    script_complete(pending(opcodes[kind]), res, flags);
}

/* Goal: what the kernel has ended without a cause is armed again, just as it was, after the callback has been told of
 * more. Method: a result without F_MORE; contexts plain, with a deadline, with credentials (_i: kind, and which). */
START_TEST(armed_again)
{
    static const struct loop_terms terms[] = {{0}, {.timeout_ns = 1000 * LOOP_SECOND}, {.personality = 7}};
    enum kind                      kind = (enum kind)(_i / 3);
    struct told                    told = {0};
    struct io_uring_sqe            first;
    loop_id                        id = start(kind, &told, &terms[_i % 3]);

    first = *pending(opcodes[kind]);
    ck_assert_uint_eq(first.personality, terms[_i % 3].personality);
    for (uint32_t i = 1; i <= 3; i++) {
        result(kind, 0);
        test_turns(loop, 2);
        ck_assert_uint_eq(told.count, i);
        ck_assert_uint_ne(told.last_flags & LOOP_MORE, 0);
        ck_assert_int_eq(told.last, kind == TICK ? 0 : 1);
        ck_assert_mem_eq(pending(opcodes[kind]), &first, sizeof(first));
        ck_assert_ptr_null(find(opcodes[kind], 1));
        ck_assert_uint_eq(test_stats(loop).rearms, kind == LEVEL ? 0 : i);
    }
    if (kind != LEVEL) {
        result(kind, IORING_CQE_F_MORE);
        test_turns(loop, 2);
        ck_assert_uint_eq(told.count, 4);
    }
    must(loop_cancel(loop, id));
    test_turns(loop, 2);
    ck_assert_uint_eq(told.finals, 1);
    ck_assert_int_eq(told.last, -ECANCELED);
    ck_assert(none(opcodes[kind]));
}
END_TEST

/* Goal: what a multishot poll was told to wait for instead still holds when it is armed again. Method: an update, then
 * an end without a cause; while the kernel has it, and while it is paused; with and without a deadline. */
START_TEST(updated_poll)
{
    enum kind   kind = _i % 2 == 0 ? EDGE : LEVEL;
    struct told told = {0};
    loop_id     id = start(kind, &told, LOOP_TERMS(.timeout_ns = _i / 2 % 2 == 0 ? 0 : 1000 * LOOP_SECOND));
    bool        paused = _i / 4 == 1;

    if (paused)
        must(loop_pause(loop, id));
    test_turns(loop, 2);
    ck_assert_int_gt(loop_poll_update(loop, id, POLLOUT, NULL, NULL, NULL), 0);
    test_turns(loop, 1);
    script_complete(pending_update(), paused ? -ENOENT : 0, 0);
    if (paused)
        must(loop_resume(loop, id));
    else
        result(kind, 0);
    test_turns(loop, 2);
    ck_assert_uint_eq(pending(IORING_OP_POLL_ADD)->poll32_events, POLLOUT);
    must(loop_cancel(loop, id));
    test_turns(loop, 2);
    ck_assert_uint_eq(told.finals, 1);
}
END_TEST

/* Goal: an error ends it, and so does 0 where it means an end. Method: each kind. */
START_TEST(errors_end)
{
    enum kind   kind = (enum kind)_i;
    struct told told = {0}, end = {0};

    start(kind, &told, NULL);
    script_complete(pending(opcodes[kind]), -EIO, 0);
    test_turns(loop, 2);
    ck_assert_uint_eq(told.count, 1);
    ck_assert_uint_eq(told.finals, 1);
    ck_assert_int_eq(told.last, -EIO);
    if (kind == RECV || kind == RECVMSG || kind == READ) {
        start(kind, &end, NULL);
        script_complete(pending(opcodes[kind]), 0, 0);
        test_turns(loop, 2);
        ck_assert_uint_eq(end.finals, 1);
        ck_assert_int_eq(end.last, 0);
    }
    ck_assert(none(opcodes[kind]));
}
END_TEST

/* Goal: a last result on top of a cancel is told, and not armed again; a deadline's too. */
START_TEST(result_on_top_of_a_cancel)
{
    enum kind   kind = (enum kind)_i;
    struct told told = {0};
    loop_id     id = start(kind, &told, NULL);

    script.manual = true;
    must(loop_cancel(loop, id));
    test_turns(loop, 1);
    result(kind, 0);
    script_complete(pending(IORING_OP_ASYNC_CANCEL), -ENOENT, 0);
    test_turns(loop, 3);
    ck_assert_uint_eq(told.finals, 1);
    ck_assert_uint_eq(told.count, 1);
    ck_assert_int_eq(told.last, kind == TICK ? 0 : 1);
    ck_assert(none(opcodes[kind]));
    script.manual = false;
}
END_TEST

/* Goal: a kernel without the opcode is told at once. */
START_TEST(opcode_missing)
{
    struct told              told = {0};
    struct loop_subscription subscription = {0};

    test_loop_drop(loop);
    script_reset();
    script.opcode_last = IORING_OP_READ_MULTISHOT - 1;
    loop = test_loop_new(NULL);
    ck_assert_int_eq(start_on(READ, FD, &told, NULL), -EOPNOTSUPP);
    ck_assert_int_eq(loop_subscribe_read(loop, &subscription, FD, 0, (loop_step_cb *)(uintptr_t)4096,
                                         (loop_stop_cb *)(uintptr_t)4096, NULL),
                     -EOPNOTSUPP);
    ck_assert_int_eq(loop_subscription_id(&subscription), 0);
    ck_assert_uint_eq(test_stats(loop).ops_in_flight, 0);
}
END_TEST

/* ---- ticks */

/* Goal: a timeout that is armed again goes on with the expiries that are left. Method: five, of which the second and
 * third end it in the kernel. */
START_TEST(ticks_left)
{
    struct told told = {0};

    ck_assert_int_gt(loop_timeout_multishot(loop, 2500 * LOOP_MILLISECOND, 5, 0, told_cb, &told, NULL), 0);
    test_turns(loop, 1);
    for (uint32_t i = 1; i <= 5; i++) {
        const struct io_uring_sqe      *sqe = pending(IORING_OP_TIMEOUT);
        const struct __kernel_timespec *interval = (const struct __kernel_timespec *)(uintptr_t)sqe->addr;

        ck_assert_uint_eq(sqe->off, i == 1 || i == 2 ? 5 : i == 3 ? 3 : 2);
        ck_assert_uint_eq(sqe->timeout_flags, IORING_TIMEOUT_MULTISHOT);
        ck_assert_int_eq(interval->tv_sec, 2);
        ck_assert_int_eq(interval->tv_nsec, 500000000);
        ck_assert_uint_eq(told.finals, 0);
        script_complete(pending(IORING_OP_TIMEOUT), -ETIME, i == 1 || i == 4 ? IORING_CQE_F_MORE : 0);
        test_turns(loop, 2);
        ck_assert_uint_eq(told.count, i);
        ck_assert_int_eq(told.last, 0);
    }
    ck_assert_uint_eq(told.finals, 1);
    ck_assert(none(IORING_OP_TIMEOUT));
}
END_TEST

/* Goal: a kernel without multishot timeouts is given single ones, which count no completions. Method: -EINVAL at first;
 * once more, and it is an error. */
START_TEST(ticks_before_6_4)
{
    struct told told = {0};

    ck_assert_int_gt(loop_timeout_multishot(loop, LOOP_SECOND, _i == 0 ? 3 : 0, 0, told_cb, &told, NULL), 0);
    test_turns(loop, 1);
    script_complete(pending(IORING_OP_TIMEOUT), -EINVAL, 0);
    test_turns(loop, 2);
    ck_assert_uint_eq(told.count, 0);
    for (uint32_t i = 1; i <= 3; i++) {
        ck_assert_uint_eq(pending(IORING_OP_TIMEOUT)->off, 0);
        ck_assert_uint_eq(pending(IORING_OP_TIMEOUT)->timeout_flags, 0);
        script_complete(pending(IORING_OP_TIMEOUT), -ETIME, 0);
        test_turns(loop, 2);
        ck_assert_uint_eq(told.count, i);
        ck_assert_int_eq(told.last, 0);
        ck_assert_uint_eq(told.finals, _i == 0 && i == 3);
    }
    if (_i == 1) {
        script_complete(pending(IORING_OP_TIMEOUT), -EINVAL, 0);
        test_turns(loop, 2);
        ck_assert_uint_eq(told.finals, 1);
        ck_assert_int_eq(told.last, -EINVAL);
    }
    ck_assert(none(IORING_OP_TIMEOUT));
}
END_TEST

/* ---- pause */

static void complete_cancel(int32_t res)
{
    script_complete(pending(IORING_OP_ASYNC_CANCEL), res, 0);
    test_turns(loop, 2);
}

/* Goal: the kernel is asked again as long as it does not find it. Method: -ENOENT twice, -EALREADY; then it ends. */
START_TEST(pause_misses)
{
    enum kind   kind = (enum kind)_i;
    struct told told = {0};
    loop_id     id = start(kind, &told, NULL);

    script.manual = true;
    must(loop_pause(loop, id));
    test_turns(loop, 1);
    complete_cancel(-ENOENT);
    complete_cancel(-ENOENT); /* asked again at once */
    ck_assert(none(IORING_OP_ASYNC_CANCEL));
    script.now_ns += LOOP_SECOND;
    test_turns(loop, 2);
    complete_cancel(-EALREADY); /* and later */
    script.now_ns += LOOP_SECOND;
    test_turns(loop, 2);
    script_complete(pending(opcodes[kind]), _i % 2 == 0 ? -ECANCELED : -512, 0);
    complete_cancel(0);
    ck_assert_uint_eq(told.count, 0);
    script.now_ns += LOOP_SECOND;
    test_turns(loop, 2);
    ck_assert_uint_eq(script.pending_count, 1); /* only the loop's own poll, for being woken */
    must(loop_resume(loop, id));
    test_turns(loop, 1);
    result(kind, 0);
    test_turns(loop, 2);
    ck_assert_uint_eq(told.count, 1);
    script.manual = false;
    must(loop_cancel(loop, id));
    test_turns(loop, 2);
    ck_assert_int_eq(told.last, -ECANCELED);
}
END_TEST

/* Goal: resumed while the kernel is still asked to end it, it goes on: whether the kernel ends it or misses it; and it
 * can be paused again. */
START_TEST(resume_under_way)
{
    enum kind   kind = (enum kind)(_i / 2);
    bool        missed = _i % 2 == 1;
    struct told told = {0};
    loop_id     id = start(kind, &told, NULL);

    script.manual = true;
    must(loop_pause(loop, id));
    test_turns(loop, 1);
    must(loop_resume(loop, id));
    test_turns(loop, 1);
    if (!missed)
        script_complete(pending(opcodes[kind]), -ECANCELED, 0);
    complete_cancel(missed ? -ENOENT : 0);
    ck_assert(none(IORING_OP_ASYNC_CANCEL));
    ck_assert(!none(opcodes[kind]) && find(opcodes[kind], 1) == NULL);
    ck_assert_uint_eq(told.count, 0);
    must(loop_pause(loop, id));
    test_turns(loop, 1);
    script_complete(pending(opcodes[kind]), -ECANCELED, 0);
    complete_cancel(0);
    ck_assert_uint_eq(told.count, 0);
    script.manual = false;
    must(loop_cancel(loop, id));
    test_turns(loop, 2);
    ck_assert_uint_eq(told.finals, 1);
}
END_TEST

/* Goal: who has been paused and resumed can be ended by others again: what they cancel is not taken for a pause. */
START_TEST(ended_by_others)
{
    struct told told = {0};
    loop_id     id = start((enum kind)_i, &told, NULL);

    must(loop_pause(loop, id));
    test_turns(loop, 2);
    must(loop_resume(loop, id));
    must(loop_pause(loop, id));
    must(loop_resume(loop, id));
    test_turns(loop, 3);
    ck_assert_uint_eq(told.count, 0);
    script_complete(pending(opcodes[_i]), -ECANCELED, 0); /* by loop_async_cancel() */
    test_turns(loop, 2);
    ck_assert_uint_eq(told.finals, 1);
    ck_assert_int_eq(told.last, -ECANCELED);
}
END_TEST

/* Goal: results that came before the pause took effect are told, an end or an error as the final one; then the cancel
 * misses and is forgotten. */
START_TEST(pause_too_late)
{
    enum kind   kind = (enum kind)_i;
    struct told told = {0}, broken = {0};
    loop_id     id = start(kind, &told, NULL);

    script.manual = true;
    must(loop_pause(loop, id));
    test_turns(loop, 1);
    if (kind != LEVEL)
        result(kind, IORING_CQE_F_MORE);
    result(kind, 0);
    complete_cancel(-ENOENT);
    ck_assert_uint_eq(told.count, kind == LEVEL ? 1 : 2);
    ck_assert_uint_eq(told.finals, 0);
    ck_assert_uint_ne(told.last_flags & LOOP_MORE, 0);
    ck_assert_uint_eq(script.pending_count, 1);
    must(loop_resume(loop, id));
    test_turns(loop, 1);
    must(loop_pause(loop, id));
    test_turns(loop, 1);
    script_complete(pending(opcodes[kind]), -EIO, 0);
    complete_cancel(-ENOENT);
    ck_assert_uint_eq(told.finals, 1);
    ck_assert_int_eq(told.last, -EIO);
    script.manual = false;
    id = start(kind, &broken, NULL);
    must(loop_pause(loop, id));
    must(loop_cancel(loop, id));
    test_turns(loop, 2);
    ck_assert_uint_eq(broken.finals, 1);
    ck_assert_int_eq(broken.last, -ECANCELED);
}
END_TEST

/* ---- probes */

struct keeper {
    loop_buffer kept[BUFFERS];
    uint32_t    count, finals;
};

static void keep_cb(struct loop *of, const struct loop_result *received, void *arg)
{
    struct keeper *keeper = arg;

    if ((received->flags & LOOP_BUFFER) != 0) {
        must(loop_buffer_keep(of, received->buffer));
        keeper->kept[keeper->count++] = received->buffer;
    }
    keeper->finals += (received->flags & LOOP_MORE) == 0;
}

/* Takes all buffers out; the keeper's receive has ended. */
static void empty_group(struct keeper *keeper)
{
    *keeper = (struct keeper){.count = 0};
    ck_assert_int_gt(loop_recv_multishot(loop, KEEPER_FD, 0, 0, keep_cb, keeper, NULL), 0);
    test_turns(loop, 1);
    for (int i = 0; i < BUFFERS; i++)
        script_complete(pending(IORING_OP_RECV), 1, script_buffer(0, "k", 1) | IORING_CQE_F_MORE);
    script_complete(pending(IORING_OP_RECV), 0, 0);
    test_turns(loop, 2);
    ck_assert_uint_eq(keeper->count, BUFFERS);
    ck_assert_uint_eq(keeper->finals, 1);
}

static void return_one(struct keeper *keeper)
{
    must(loop_buffer_return(loop, keeper->kept[--keeper->count]));
    test_turns(loop, 2);
}

static void return_all(struct keeper *keeper)
{
    while (keeper->count > 0)
        return_one(keeper);
}

static void answer(uint8_t opcode, int32_t res)
{
    script_complete(pending(opcode), res, 0);
    test_turns(loop, 2);
}

/* What a read asks, one answer after the other, 0 ends the list; and how it ends. */
enum outcome { FINAL, ARMED, PARKED, POLLED };

static const struct {
    int32_t      poll, peek;
    enum outcome outcome;
    int32_t      res;
    bool         home; /* a buffer is home by the answer to the poll */
} reads[] = {
    {POLLIN, -ENOTSOCK, PARKED, 0, false},
    {POLLIN, 1, PARKED, 0, false},
    {POLLIN | POLLHUP, -ENOTSOCK, PARKED, 0, false},
    {POLLIN | POLLHUP | RDHUP, 0, FINAL, 0, false},
    {POLLIN, -ECONNRESET, FINAL, -ECONNRESET, false},
    {POLLIN, -EAGAIN, POLLED, 0, false},
    {POLLHUP, -ENOTSOCK, FINAL, 0, false},
    {POLLHUP, -ENOTCONN, FINAL, -ENOTCONN, false},
    {POLLHUP, 1, PARKED, 0, false},
    {POLLERR, -ENOTSOCK, FINAL, -EIO, false},
    {POLLERR, -EPIPE, FINAL, -EPIPE, false},
    {POLLERR, -EAGAIN, FINAL, -EIO, false},
    {-EBADF, 0, FINAL, -EBADF, false},
    {POLLIN, 0, ARMED, 0, true},
    {POLLHUP, 0, ARMED, 0, true},
};

/* Goal: a read without a buffer finds out what stands next, and takes nothing. Method: the table, on a plain descriptor
 * and a registered file. */
START_TEST(read_probes)
{
    struct told   told = {0};
    struct keeper keeper;
    bool          fixed = _i % 2 == 1;
    int           row = _i / 2;
    loop_id       id;

    empty_group(&keeper);
    id = start_on(READ, fixed ? LOOP_FIXED(FD) : FD, &told, NULL);
    ck_assert_int_gt(id, 0);
    test_turns(loop, 1);
    answer(IORING_OP_READ_MULTISHOT, -ENOBUFS);
    ck_assert_uint_eq(pending(IORING_OP_POLL_ADD)->flags, fixed ? IOSQE_FIXED_FILE : 0);
    ck_assert_uint_eq(pending(IORING_OP_POLL_ADD)->len, 0);
    if (reads[row].home)
        return_one(&keeper);
    answer(IORING_OP_POLL_ADD, reads[row].poll);
    if (reads[row].poll >= 0 && !reads[row].home) {
        ck_assert_uint_eq(pending(IORING_OP_RECV)->msg_flags, MSG_PEEK | MSG_DONTWAIT);
        ck_assert_uint_eq(pending(IORING_OP_RECV)->flags, fixed ? IOSQE_FIXED_FILE : 0);
        answer(IORING_OP_RECV, reads[row].peek);
    }
    ck_assert_uint_eq(told.finals, reads[row].outcome == FINAL);
    ck_assert_uint_eq(test_stats(loop).buffers_parked, reads[row].outcome == PARKED);
    if (reads[row].outcome == FINAL)
        ck_assert_int_eq(told.last, reads[row].res);
    if (reads[row].outcome == POLLED) {
        ck_assert_int_eq(pending(IORING_OP_POLL_ADD)->fd, FD);
        must(loop_cancel(loop, id));
    }
    if (reads[row].outcome == PARKED) {
        ck_assert(none(IORING_OP_READ_MULTISHOT));
        return_one(&keeper);
    }
    if (reads[row].outcome == ARMED || reads[row].outcome == PARKED) {
        result(READ, 0);
        test_turns(loop, 2);
        ck_assert_uint_eq(told.count, 1);
        must(loop_cancel(loop, id));
    }
    test_turns(loop, 2);
    ck_assert_uint_eq(told.finals, 1);
    return_all(&keeper);
}
END_TEST

/* Goal: messages without a buffer: a peek of 0 is an end only if the other side has gone. */
START_TEST(message_probes)
{
    struct told   told = {0};
    struct keeper keeper;
    loop_id       id;

    empty_group(&keeper);
    id = start(RECVMSG, &told, NULL);
    answer(IORING_OP_RECVMSG, -ENOBUFS);
    ck_assert_uint_eq(pending(IORING_OP_RECV)->msg_flags, MSG_PEEK | MSG_DONTWAIT);
    answer(IORING_OP_RECV, -EAGAIN);
    ck_assert_uint_eq(pending(IORING_OP_RECV)->msg_flags, MSG_PEEK); /* waits */
    answer(IORING_OP_RECV, 0);
    ck_assert_uint_eq(pending(IORING_OP_POLL_ADD)->poll32_events, POLLIN | RDHUP);
    if (_i < 2) {
        answer(IORING_OP_POLL_ADD, _i == 0 ? POLLIN | RDHUP : -EIO);
        ck_assert_uint_eq(told.finals, 1);
        ck_assert_int_eq(told.last, _i == 0 ? 0 : -EIO);
    } else {
        answer(IORING_OP_POLL_ADD, POLLIN); /* an empty datagram */
        ck_assert_uint_eq(told.count, 0);
        ck_assert_uint_eq(test_stats(loop).buffers_parked, 1);
        return_one(&keeper);
        ck_assert_uint_eq(pending(IORING_OP_RECVMSG)->ioprio & IORING_RECVSEND_POLL_FIRST, 0);
        must(loop_cancel(loop, id));
        test_turns(loop, 2);
    }
    return_all(&keeper);
}
END_TEST

/* Goal: probes can be cancelled, paused and time out. Method: _i % 3: which; _i / 3: a read that polls, a receive that
 * peeks. */
START_TEST(probes_end)
{
    enum kind     kind = _i / 3 == 0 ? READ : RECV;
    uint8_t       opcode = kind == READ ? IORING_OP_POLL_ADD : IORING_OP_RECV;
    struct told   told = {0};
    struct keeper keeper;
    loop_id       id;

    empty_group(&keeper);
    id = start(kind, &told, LOOP_TERMS(.timeout_ns = _i % 3 == 2 ? LOOP_SECOND : 0));
    answer(opcodes[kind], -ENOBUFS);
    ck_assert_ptr_nonnull(pending(opcode));
    if (_i % 3 == 0) {
        must(loop_cancel(loop, id));
    } else if (_i % 3 == 1) {
        must(loop_pause(loop, id));
        test_turns(loop, 3);
        ck_assert_uint_eq(told.count, 0);
        ck_assert_uint_eq(script.pending_count, 1);
        return_all(&keeper);
        must(loop_resume(loop, id));
        test_turns(loop, 1);
        result(kind, 0);
        test_turns(loop, 1);
        ck_assert_uint_eq(told.count, 1);
        must(loop_cancel(loop, id));
    } else {
        script.now_ns += LOOP_SECOND;
    }
    test_turns(loop, 3);
    ck_assert_uint_eq(told.finals, 1);
    ck_assert_int_eq(told.last, _i % 3 == 2 ? -ETIMEDOUT : -ECANCELED);
    return_all(&keeper);
}
END_TEST

/* ---- messages without bytes */

static void receive_nothing(void)
{
    const char header[16] = {0};

    script_complete(pending(IORING_OP_RECVMSG), sizeof(header), script_buffer(0, header, sizeof(header)));
    test_turns(loop, 2);
}

static const struct {
    int32_t  peek, poll; /* poll: asked after a peek of 0 */
    uint32_t told, finals;
    int32_t  last;
} empties[] = {
    {-EAGAIN, 0, 1, 0, 0},          {1, 0, 1, 0, 0},
    {0, POLLIN, 1, 0, 0},           {0, POLLIN | RDHUP, 1, 1, 0},
    {0, POLLIN | POLLHUP, 1, 1, 0}, {-ECONNREFUSED, 0, 2, 1, -ECONNREFUSED},
    {0, -EIO, 2, 1, -EIO},
};

/* Goal: a message without bytes and without a sender is a datagram, or the end of a stream; an error behind it is not
 * lost. Method: the table. */
START_TEST(empty_messages)
{
    struct told told = {0};
    loop_id     id = start(RECVMSG, &told, NULL);
    bool        end = empties[_i].told == 1 && empties[_i].finals == 1;

    receive_nothing();
    ck_assert_uint_eq(told.count, 0);
    answer(IORING_OP_RECV, empties[_i].peek);
    if (empties[_i].peek == 0)
        answer(IORING_OP_POLL_ADD, empties[_i].poll);
    test_turns(loop, 2);
    ck_assert_uint_eq(told.count, empties[_i].told);
    ck_assert_uint_eq(told.buffers, end ? 0 : 1);
    ck_assert_uint_eq(told.finals, empties[_i].finals);
    ck_assert_int_eq(told.last, empties[_i].last);
    ck_assert_uint_eq(test_stats(loop).buffers_lent, 0);
    if (told.finals == 0) {
        ck_assert_ptr_nonnull(pending(IORING_OP_RECVMSG));
        must(loop_cancel(loop, id));
        test_turns(loop, 2);
        ck_assert_int_eq(told.last, -ECANCELED);
    }
}
END_TEST

/* Goal: while it is unclear what it was, a cancel drops it, a pause keeps it, and the end of the loop leaves nothing.
 */
START_TEST(empty_message_meanwhile)
{
    struct told told = {0};
    loop_id     id = start(RECVMSG, &told, NULL);

    receive_nothing();
    script.manual = true;
    if (_i == 0) {
        must(loop_cancel(loop, id));
        test_turns(loop, 1);
        answer(IORING_OP_RECV, -EAGAIN);
        complete_cancel(-ENOENT);
        ck_assert_uint_eq(told.count, 1);
        ck_assert_int_eq(told.last, -ECANCELED);
    } else if (_i == 1) {
        must(loop_pause(loop, id));
        test_turns(loop, 1);
        ck_assert(none(IORING_OP_ASYNC_CANCEL));
        answer(IORING_OP_RECV, -EAGAIN);
        ck_assert_uint_eq(told.count, 1);
        ck_assert_int_eq(told.last, 0);
        ck_assert_uint_eq(told.buffers, 1);
        ck_assert_uint_eq(script.pending_count, 1);
        must(loop_resume(loop, id));
        test_turns(loop, 1);
        ck_assert_ptr_nonnull(pending(IORING_OP_RECVMSG));
        script.manual = false;
        must(loop_cancel(loop, id));
        test_turns(loop, 2);
    } else if (_i == 2) {
        must(loop_pause(loop, id));
        must(loop_resume(loop, id));
        answer(IORING_OP_RECV, 3);
        ck_assert_uint_eq(told.count, 1);
        ck_assert_ptr_nonnull(pending(IORING_OP_RECVMSG));
        script.manual = false;
        must(loop_cancel(loop, id));
        test_turns(loop, 2);
    } else {
        script.manual = false;
        test_loop_drop(loop);
        ck_assert_uint_eq(told.finals, 1);
        setup();
    }
    ck_assert_uint_eq(told.finals, 1);
    ck_assert_uint_eq(test_stats(loop).buffers_lent, 0);
    script.manual = false;
}
END_TEST

/* Goal: a pause that strikes the question about a message without bytes ends nothing: the message is told, then it
 * rests. Method: a pause misses the receive, which ends with such a message; its repetition meets the question. */
START_TEST(pause_strikes_question)
{
    struct told told = {0};
    loop_id     id = start(RECVMSG, &told, NULL);

    script.manual = true;
    must(loop_pause(loop, id));
    test_turns(loop, 1);
    receive_nothing();
    complete_cancel(-ENOENT); /* asked again at once */
    answer(IORING_OP_RECV, 0);
    complete_cancel(-ENOENT); /* and later */
    answer(IORING_OP_POLL_ADD, -ECANCELED);
    ck_assert_uint_eq(told.count, 1);
    ck_assert_uint_eq(told.finals, 0);
    ck_assert_uint_eq(told.buffers, 1);
    ck_assert_int_eq(told.last, 0);
    must(loop_resume(loop, id));
    test_turns(loop, 1);
    ck_assert_ptr_nonnull(pending(IORING_OP_RECVMSG));
    script.manual = false;
    must(loop_cancel(loop, id));
    test_turns(loop, 2);
    ck_assert_uint_eq(told.finals, 1);
    ck_assert_uint_eq(test_stats(loop).buffers_lent, 0);
}
END_TEST

/* ---- no memory */

/* Fills the SQ, of which the kernel takes nothing for a while. */
static void fill(struct loop *of, const struct loop_result *nop, void *arg)
{
    (void)arg;
    (void)nop;
    for (int i = 0; i < 8; i++)
        script_plan((struct script_enter){.limited = true, .take = 0});
    for (int i = 0; i < 8; i++)
        ck_assert_int_gt(loop_nop(of, NULL, NULL, NULL), 0);
    test_memory.fail_from = test_memory.calls + 1;
}

/* Goal: without memory to ask or to arm again it ends with -ENOMEM, and the buffer goes home. Method: the SQ is full
 * and there is no memory for a backlog. _i: at the first question about a message, at the second, at arming again. */
START_TEST(no_memory)
{
    const char  header[16] = {0};
    struct told told = {0};
    loop_id     id = start(_i < 2 ? RECVMSG : RECV, &told, NULL);

    if (_i == 1)
        receive_nothing();
    script.manual = true;
    ck_assert_int_gt(loop_nop(loop, fill, NULL, NULL), 0);
    test_turns(loop, 1);
    script_complete(pending(IORING_OP_NOP), 0, 0);
    if (_i == 0)
        script_complete(pending(IORING_OP_RECVMSG), sizeof(header), script_buffer(0, header, sizeof(header)));
    else if (_i == 1)
        script_complete(pending(IORING_OP_RECV), 0, 0);
    else
        script_complete(pending(IORING_OP_RECV), 1, script_buffer(0, "x", 1));
    test_turns(loop, 1);
    test_memory.fail_from = 0;
    script.plan_count = 0;
    script.manual = false;
    test_turns(loop, 3);
    while (!none(IORING_OP_NOP))
        script_complete(pending(IORING_OP_NOP), 0, 0);
    test_turns(loop, 3);
    ck_assert_uint_eq(told.finals, 1);
    ck_assert_int_eq(told.last, -ENOMEM);
    ck_assert_uint_eq(told.count, _i < 2 ? 1 : 2);
    ck_assert_uint_eq(test_stats(loop).buffers_lent, 0);
    ck_assert_int_eq(loop_cancel(loop, id), -ENOENT);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("multishot script");
    TCase *tcase = test_case_without_ring(suite, "kinds");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, armed_again, 0, KINDS * 3);
    tcase_add_loop_test(tcase, updated_poll, 0, 8);
    tcase_add_loop_test(tcase, errors_end, 0, KINDS);
    tcase_add_loop_test(tcase, result_on_top_of_a_cancel, 0, KINDS);
    tcase_add_test(tcase, opcode_missing);
    tcase_add_test(tcase, ticks_left);
    tcase_add_loop_test(tcase, ticks_before_6_4, 0, 2);

    tcase = test_case_without_ring(suite, "pause");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, pause_misses, 0, KINDS);
    tcase_add_loop_test(tcase, resume_under_way, 0, KINDS * 2);
    tcase_add_loop_test(tcase, ended_by_others, 0, KINDS);
    tcase_add_loop_test(tcase, pause_too_late, 0, KINDS);

    tcase = test_case_without_ring(suite, "probes");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, read_probes, 0, 2 * (int)TEST_COUNT(reads));
    tcase_add_loop_test(tcase, message_probes, 0, 3);
    tcase_add_loop_test(tcase, probes_end, 0, 6);
    tcase_add_loop_test(tcase, empty_messages, 0, (int)TEST_COUNT(empties));
    tcase_add_loop_test(tcase, empty_message_meanwhile, 0, 4);
    tcase_add_test(tcase, pause_strikes_question);
    tcase_add_loop_test(tcase, no_memory, 0, 3);
    return suite;
}
