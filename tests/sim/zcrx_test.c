/* tests/sim/zcrx_test.c: the whole life of a zero-copy receive over the scripted ring: no hardware here can run it. */
#include "loop/loop_private.h"
#include "tests/sim/script_ring.h"
#include "tests/support/test.h"

enum { MORE = IORING_CQE_F_MORE, AREA_BYTES = 1 << 20, FD = 5 };

static const struct loop_zcrx_options options = {
    .interface_index = 3, .queue = 7, .refill_entries = 4, .area_bytes = AREA_BYTES};

static struct loop     *loop;
static struct loop_zcrx zcrx;
static uint32_t         stopped_calls;

static void stopped(struct loop_zcrx *z)
{
    ck_assert_ptr_eq(z, &zcrx);
    ck_assert_int_eq(loop_zcrx_state_get(z), LOOP_ZCRX_STOPPED);
    stopped_calls++;
}

/* What a receive's callback was told, and what it does. */
static struct seen {
    uint32_t    pieces, finals;
    const char *data;
    int32_t     res; /* the last */
    uint32_t    flags;
    bool        keep, stop, cancel;
} seen;

static void received(struct loop *l, const struct loop_result *result, void *arg)
{
    struct seen *s = arg;

    ck_assert_uint_eq(s->finals, 0);
    ck_assert_uint_eq(result->buffer, 0);
    s->data = result->data;
    s->res = result->res;
    s->flags = result->flags;
    if ((result->flags & LOOP_MORE) == 0) {
        ck_assert_ptr_null(result->data);
        s->finals++;
        return;
    }
    ck_assert_ptr_nonnull(result->data);
    s->pieces++;
    if (s->keep) {
        ck_assert_int_eq(loop_zcrx_keep(&zcrx), 0);
        ck_assert_int_eq(loop_zcrx_keep(&zcrx), -EINVAL);
    }
    if (s->stop)
        ck_assert_int_eq(loop_zcrx_stop(&zcrx), 0);
    if (s->cancel)
        ck_assert_int_eq(loop_cancel(l, result->id), 0);
}

static void loop_new(unsigned setup_flags)
{
    script_reset();
    script.setup_flags_added = setup_flags;
    loop = test_loop_new(&(struct loop_options){.sq_entries = 8, .cq_entries = 64});
    test_turns(loop, 1);
}

static void setup(void)
{
    loop_new(IORING_SETUP_CQE_MIXED);
    memset(&seen, 0, sizeof(seen));
    memset(&zcrx, 0, sizeof(zcrx));
    stopped_calls = 0;
}

static void teardown(void)
{
    test_loop_free(loop);
    ck_assert_uint_eq(script.rings_open, 0);
}

static void open_it(void)
{
    ck_assert_int_eq(loop_zcrx_state_get(&zcrx), LOOP_ZCRX_IDLE);
    ck_assert_int_eq(loop_zcrx_start(loop, &zcrx, &options, stopped), 0);
    ck_assert_int_eq(loop_zcrx_state_get(&zcrx), LOOP_ZCRX_ACTIVE);
}

static loop_id receive(const struct loop_terms *terms)
{
    loop_id id = loop_recv_zc(loop, &zcrx, FD, received, &seen, terms);

    ck_assert_int_gt(id, 0);
    test_turns(loop, 1);
    return id;
}

static char *area(uint64_t offset)
{
    return (char *)(uintptr_t)script.zcrx_area.addr + offset;
}

/* A completion with the 16 bytes behind it. */
static void arrive(loop_id id, int32_t res, uint32_t flags, uint64_t offset)
{
    const uint64_t extra[2] = {script.zcrx_area.rq_area_token | offset, 0};

    script_cqe32((uint64_t)id, res, flags, extra);
    test_turns(loop, 1);
}

static void refilled(uint64_t offset, uint32_t size)
{
    struct io_uring_zcrx_rqe entry;

    ck_assert(script_refill(&entry));
    ck_assert_uint_eq(entry.off, script.zcrx_area.rq_area_token | offset);
    ck_assert_uint_eq(entry.len, size);
}

static void nothing_refilled(void)
{
    struct io_uring_zcrx_rqe entry;

    ck_assert(!script_refill(&entry));
}

static struct loop_zcrx_stats stats(void)
{
    struct loop_zcrx_stats s;

    loop_zcrx_stats_get(&zcrx, &s);
    return s;
}

static void stop_and_end(void)
{
    ck_assert_int_eq(loop_zcrx_stop(&zcrx), 0);
    ck_assert_uint_eq(stopped_calls, 0);
    test_turns(loop, 3);
    ck_assert_uint_eq(stopped_calls, 1);
    ck_assert(!loop_alive(loop));
}

/* Goal: registration and receive say to the kernel what they should; a piece is lent and goes back; the end of the
 * stream ends the receive; the stop ends it all. */
START_TEST(whole_life)
{
    struct io_uring_sqe *sqe;
    loop_id              id;

    open_it();
    ck_assert_uint_eq(script.zcrx.if_idx, 3);
    ck_assert_uint_eq(script.zcrx.if_rxq, 7);
    ck_assert_uint_eq(script.zcrx.rq_entries, 4);
    ck_assert_uint_eq(script.zcrx_area.len, AREA_BYTES);
    ck_assert(!loop_alive(loop));
    id = receive(NULL);
    ck_assert(loop_alive(loop));
    sqe = script_find(IORING_OP_RECV_ZC, 0);
    ck_assert_ptr_nonnull(sqe);
    ck_assert_int_eq(sqe->fd, FD);
    ck_assert_uint_eq(sqe->ioprio, IORING_RECV_MULTISHOT);
    ck_assert_uint_eq(sqe->file_index, 5); /* the id that the ring gave */
    ck_assert_uint_eq(sqe->addr | sqe->off | sqe->len | sqe->addr3 | sqe->msg_flags, 0);
    for (uint64_t i = 0; i < 10; i++) {
        arrive(id, (int32_t)(100 + i), MORE, i * 4096 + 64);
        ck_assert_uint_eq(seen.pieces, i + 1);
        ck_assert_ptr_eq(seen.data, area(i * 4096 + 64));
        ck_assert_int_eq(seen.res, (int32_t)(100 + i));
        ck_assert_uint_eq(seen.flags, LOOP_MORE);
        refilled(i * 4096 + 64, (uint32_t)(100 + i));
    }
    ck_assert_int_eq(loop_zcrx_keep(&zcrx), -EINVAL); /* not in a callback */
    script_complete(script_find(IORING_OP_RECV_ZC, 0), 0, 0);
    test_turns(loop, 1);
    ck_assert_uint_eq(seen.finals, 1);
    ck_assert_int_eq(seen.res, 0);
    nothing_refilled();
    ck_assert_uint_eq(stats().pieces, 10);
    ck_assert_uint_eq(stats().bytes, 1045);
    ck_assert_uint_eq(stats().pieces_out, 0);
    stop_and_end();
    ck_assert_int_eq(loop_zcrx_stop(&zcrx), -EINVAL);
    ck_assert_int_eq(loop_zcrx_return(&zcrx, area(0), 1), -EINVAL);
    ck_assert_uint_eq(stats().pieces, 0);
    ck_assert_uint_eq(test_stats(loop).cqes_stale, 0);
}
END_TEST

/* Goal: each state is passed, and what it allows. Method: two receives, two kept pieces. */
START_TEST(states)
{
    loop_id ids[2];

    open_it();
    ck_assert_int_eq(loop_zcrx_start(loop, &zcrx, &options, stopped), -EBUSY);
    script.manual = true;
    ids[0] = receive(NULL);
    ids[1] = receive(NULL);
    seen.keep = true;
    arrive(ids[0], 10, MORE, 0);
    arrive(ids[1], 20, MORE, 4096);
    nothing_refilled();
    ck_assert_uint_eq(stats().pieces_out, 2);
    ck_assert_int_eq(loop_zcrx_stop(&zcrx), 0);
    ck_assert_int_eq(loop_zcrx_stop(&zcrx), 0);
    ck_assert_int_eq(loop_zcrx_state_get(&zcrx), LOOP_ZCRX_STOPPING);
    ck_assert_int_eq(loop_recv_zc(loop, &zcrx, FD, received, &seen, NULL), -ESHUTDOWN);
    ck_assert_int_eq(loop_zcrx_start(loop, &zcrx, &options, stopped), -EBUSY);
    test_turns(loop, 1);
    ck_assert_uint_eq(script_count(IORING_OP_ASYNC_CANCEL), 2);
    arrive(ids[0], 30, MORE, 8192); /* was on its way */
    ck_assert_uint_eq(seen.pieces, 3);
    script_complete(script_find(IORING_OP_RECV_ZC, 0), -ECANCELED, 0);
    test_turns(loop, 1);
    ck_assert_int_eq(loop_zcrx_state_get(&zcrx), LOOP_ZCRX_STOPPING);
    ck_assert_uint_eq(seen.finals, 1);
    seen.finals = 0;
    script_complete(script_find(IORING_OP_RECV_ZC, 0), -ECANCELED, 0);
    test_turns(loop, 1);
    ck_assert_uint_eq(seen.finals, 1);
    ck_assert_int_eq(loop_zcrx_state_get(&zcrx), LOOP_ZCRX_RETIRING);
    ck_assert(loop_alive(loop));
    ck_assert_int_eq(loop_zcrx_return(&zcrx, area(4096), 20), 0);
    ck_assert_int_eq(loop_zcrx_return(&zcrx, area(0), 10), 0);
    test_turns(loop, 2);
    ck_assert_int_eq(loop_zcrx_state_get(&zcrx), LOOP_ZCRX_RETIRING);
    ck_assert_uint_eq(stopped_calls, 0);
    ck_assert_int_eq(loop_zcrx_return(&zcrx, area(8192), 30), 0);
    ck_assert_uint_eq(stopped_calls, 0); /* never from inside */
    test_turns(loop, 1);
    ck_assert_uint_eq(stopped_calls, 1);
    ck_assert(!loop_alive(loop));
    refilled(4096, 20);
    refilled(0, 10);
    refilled(8192, 30);
    nothing_refilled();
    script.pending_count = 0;
    /* The structure is free for another queue. */
    ck_assert_int_eq(loop_zcrx_start(loop, &zcrx, &options, NULL), 0);
    ck_assert_int_eq(loop_zcrx_stop(&zcrx), 0);
    test_turns(loop, 1);
    ck_assert_int_eq(loop_zcrx_state_get(&zcrx), LOOP_ZCRX_STOPPED);
    ck_assert_uint_eq(stopped_calls, 1);
}
END_TEST

/* Goal: a stop from inside the callback of a piece: the piece still goes back, or is waited for. */
START_TEST(stop_inside)
{
    loop_id id;

    open_it();
    id = receive(NULL);
    seen.stop = true;
    seen.keep = _i == 1;
    arrive(id, 10, MORE, 0);
    test_turns(loop, 3);
    ck_assert_uint_eq(seen.finals, 1);
    ck_assert_int_eq(seen.res, -ECANCELED);
    if (_i == 1) {
        ck_assert_int_eq(loop_zcrx_state_get(&zcrx), LOOP_ZCRX_RETIRING);
        ck_assert_int_eq(loop_zcrx_return(&zcrx, area(0), 10), 0);
        test_turns(loop, 1);
    }
    ck_assert_uint_eq(stopped_calls, 1);
    refilled(0, 10);
}
END_TEST

/* Goal: every obstacle has its errno, and leaves nothing. */
START_TEST(obstacles)
{
    static const struct {
        int kernel, told;
    } table[] = {
        {-EPERM, -EPERM},   {-ENODEV, -ENODEV}, {-EOPNOTSUPP, -EPROTONOSUPPORT}, {-EINVAL, -EINVAL}, {-ENOMEM, -ENOMEM},
        {-EEXIST, -EEXIST}, {-ERANGE, -ERANGE},
    };
    uint64_t blocks = test_memory.blocks;

    for (size_t i = 0; i < TEST_COUNT(table); i++) {
        script.zcrx_error = table[i].kernel;
        ck_assert_int_eq(loop_zcrx_start(loop, &zcrx, &options, stopped), table[i].told);
        ck_assert_int_eq(loop_zcrx_state_get(&zcrx), LOOP_ZCRX_IDLE);
        ck_assert_uint_eq(test_memory.blocks, blocks);
    }
    test_loop_free(loop);
    loop_new(0);
    ck_assert_int_eq(loop_zcrx_start(loop, &zcrx, &options, stopped), -EOPNOTSUPP);
    test_loop_free(loop);
    script_reset();
    script.refused_flags = IORING_SETUP_DEFER_TASKRUN;
    script.setup_flags_added = IORING_SETUP_CQE32;
    loop = test_loop_new(NULL);
    ck_assert_int_eq(loop_zcrx_start(loop, &zcrx, &options, stopped), -EBADFD);
    test_loop_free(loop);
    script_reset();
    script.opcode_last = IORING_OP_RECV_ZC - 1;
    script.setup_flags_added = IORING_SETUP_CQE32;
    loop = test_loop_new(NULL);
    ck_assert_int_eq(loop_zcrx_start(loop, &zcrx, &options, stopped), -ENOSYS);
}
END_TEST

/* Goal: options that make no sense are refused; the least and the defaults work, with memory of the caller's, too. */
START_TEST(options_checked)
{
    static _Alignas(65536) char    memory[65536];
    const struct loop_zcrx_options bad[] = {
        {.area_bytes = 65536},
        {.interface_index = 1},
        {.interface_index = 1, .area_bytes = 65537},
        {.interface_index = 1, .area_bytes = UINT64_C(1) << 48},
        {.interface_index = 1, .area_bytes = 65536, .refill_entries = 3},
        {.interface_index = 1, .area_bytes = 65536, .refill_entries = 65536},
        {.interface_index = 1, .area_bytes = 65536, .reserved = 1},
        {.interface_index = 1, .area_bytes = 4096, .area = memory + 16},
    };

    for (size_t i = 0; i < TEST_COUNT(bad); i++)
        ck_assert_int_eq(loop_zcrx_start(loop, &zcrx, &bad[i], stopped), -EINVAL);
    ck_assert_int_eq(loop_zcrx_start(loop, &zcrx, NULL, stopped), -EINVAL);
    ck_assert_int_eq(loop_zcrx_start(loop, NULL, &options, stopped), -EINVAL);
    ck_assert_int_eq(
        loop_zcrx_start(loop, &zcrx,
                        &(struct loop_zcrx_options){.interface_index = 1, .area_bytes = 65536, .area = memory},
                        stopped),
        0);
    ck_assert_uint_eq(script.zcrx_area.addr, (uintptr_t)memory);
    ck_assert_uint_eq(script.zcrx.rq_entries, 4096);
    stop_and_end();
}
END_TEST

/* Goal: when the refill ring is full pieces wait, and get there in order. Method: a ring of four. */
START_TEST(refill_full)
{
    loop_id id;

    open_it();
    id = receive(NULL);
    for (uint64_t i = 0; i < 200; i++)
        arrive(id, 8, MORE, i * 64);
    ck_assert_uint_eq(stats().pieces_waiting, 196);
    ck_assert_uint_eq(stats().pieces_out, 0);
    for (uint64_t i = 0; i < 200; i++) {
        refilled(i * 64, 8);
        if (i % 4 == 3 && i < 196)
            arrive(id, 8, MORE, (200 + i / 4) * 64); /* moves others along */
    }
    ck_assert_uint_eq(stats().pieces_waiting, 49); /* those that came meanwhile */
    nothing_refilled();
    arrive(id, 8, MORE, 300 * 64);
    for (uint64_t i = 0; i < 4; i++)
        refilled((200 + i) * 64, 8);
    nothing_refilled();
    ck_assert_uint_eq(stats().pieces_lost, 0);
    ck_assert_int_eq(loop_cancel(loop, id), 0);
    test_turns(loop, 2);
    stop_and_end();
}
END_TEST

/* Goal: without memory to wait in, a piece is counted as lost, and nothing else happens. */
START_TEST(refill_without_memory)
{
    loop_id id;

    open_it();
    id = receive(NULL);
    for (uint64_t i = 0; i < 4; i++)
        arrive(id, 8, MORE, i * 64);
    test_memory.fail_from = test_memory.calls + 1;
    arrive(id, 8, MORE, 4096);
    test_memory.fail_from = 0;
    ck_assert_uint_eq(stats().pieces_lost, 1);
    ck_assert_uint_eq(stats().pieces_out, 0);
    ck_assert_int_eq(loop_cancel(loop, id), 0);
    test_turns(loop, 2);
    stop_and_end();
}
END_TEST

/* Goal: what the kernel ends for a full CQ is armed again, with the same id and SQE; not after a cancel. */
START_TEST(armed_again)
{
    struct io_uring_sqe first;
    loop_id             id;

    open_it();
    id = receive(NULL);
    first = *script_find(IORING_OP_RECV_ZC, 0);
    script_complete(script_find(IORING_OP_RECV_ZC, 0), -ENOSPC, 0);
    test_turns(loop, 2);
    ck_assert_uint_eq(seen.finals + seen.pieces, 0);
    ck_assert_uint_eq(stats().rearms, 1);
    ck_assert_int_eq(memcmp(&first, script_find(IORING_OP_RECV_ZC, 0), sizeof(first)), 0);

    script.pending_count = 0;
    arrive(id, 8, 0, 64); /* data, and ended */
    test_turns(loop, 1);
    ck_assert_uint_eq(seen.pieces, 1);
    ck_assert_uint_eq(seen.flags, LOOP_MORE);
    ck_assert_uint_eq(stats().rearms, 2);
    ck_assert_uint_eq(script_count(IORING_OP_RECV_ZC), 1);
    refilled(64, 8);

    script.pending_count = 0;
    seen.cancel = true; /* while it rests */
    arrive(id, 8, 0, 128);
    test_turns(loop, 1);
    ck_assert_uint_eq(seen.finals, 1);
    ck_assert_int_eq(seen.res, -ECANCELED);
    ck_assert_uint_eq(script_count(IORING_OP_RECV_ZC), 0);

    memset(&seen, 0, sizeof(seen));
    script.manual = true;
    id = receive(NULL);
    ck_assert_int_eq(loop_cancel(loop, id), 0);
    test_turns(loop, 1);
    script_complete(script_find(IORING_OP_RECV_ZC, 0), -ENOSPC, 0);
    test_turns(loop, 1);
    ck_assert_uint_eq(seen.finals, 1);
    script.pending_count = 0;
    script.manual = false;
    stop_and_end();
}
END_TEST

/* Goal: a completion that names no place in the area is refused, and its receive ended. Method: outside, across the
 * end, without the 16 bytes; with more to come, and without. */
START_TEST(pieces_refused)
{
    loop_id id;

    open_it();
    id = receive(NULL);
    arrive(id, 8, MORE, AREA_BYTES - 4);
    test_turns(loop, 2);
    ck_assert_uint_eq(seen.pieces, 0);
    ck_assert_uint_eq(seen.finals, 1);
    ck_assert_int_eq(seen.res, -ECANCELED);
    seen.finals = 0;
    id = receive(NULL);
    script.pending_count = 0;
    arrive(id, 8, 0, UINT64_C(1) << 40);
    ck_assert_uint_eq(seen.finals, 1);
    ck_assert_int_eq(seen.res, -EPROTO);
    seen.finals = 0;
    (void)receive(NULL);
    script_complete(script_find(IORING_OP_RECV_ZC, 0), 8, 0);
    test_turns(loop, 1);
    ck_assert_int_eq(seen.res, -EPROTO);
    ck_assert_uint_eq(stats().pieces_refused, 3);
    ck_assert_uint_eq(stats().pieces_out, 0);
    nothing_refilled();
    stop_and_end();
}
END_TEST

/* Goal: deadline, errors and bad arguments of a receive. */
START_TEST(receives)
{
    static const uint32_t never[] = {LOOP_ASYNC, LOOP_LEND, LOOP_LINKED_TIMEOUT, LOOP_POLL_FIRST};

    open_it();
    (void)receive(LOOP_TERMS(.timeout_ns = 10 * LOOP_MILLISECOND));
    script.now_ns += 20 * LOOP_MILLISECOND;
    test_turns(loop, 3);
    ck_assert_uint_eq(seen.finals, 1);
    ck_assert_int_eq(seen.res, -ETIMEDOUT);
    ck_assert_uint_eq(seen.flags, LOOP_TIMED_OUT);
    seen.finals = 0;
    (void)receive(NULL);
    script_complete(script_find(IORING_OP_RECV_ZC, 0), -ENOMEM, 0);
    test_turns(loop, 1);
    ck_assert_int_eq(seen.res, -ENOMEM);
    ck_assert_uint_eq(stats().rearms, 0);
    ck_assert_int_eq(loop_recv_zc(loop, &zcrx, -1, received, &seen, NULL), -EBADF);
    ck_assert_int_eq(loop_recv_zc(loop, NULL, FD, received, &seen, NULL), -EINVAL);
    for (size_t i = 0; i < TEST_COUNT(never); i++)
        ck_assert_int_eq(loop_recv_zc(loop, &zcrx, FD, received, &seen, LOOP_TERMS(.flags = never[i])), -EINVAL);
    ck_assert_int_eq(
        loop_recv_zc(loop, &zcrx, FD, LOOP_HANDLER(loop_handler_register(loop, received, NULL, 0)), NULL, NULL),
        -EINVAL);
    ck_assert_int_eq(loop_chain_begin(loop, 1, 0), 0);
    ck_assert_int_eq(loop_recv_zc(loop, &zcrx, FD, received, &seen, NULL), -EINVAL);
    ck_assert_int_eq(loop_chain_end(loop), -EINVAL);
    ck_assert_int_eq(loop_zcrx_return(&zcrx, area(0), 8), -EINVAL); /* none is out */
    stop_and_end();
}
END_TEST

/* Goal: a barrier does not wait for a receive; one that is held back by a barrier can be cancelled. */
START_TEST(barriers)
{
    struct test_log barrier = {0}, nop = {0};
    loop_id         id, held;

    open_it();
    id = receive(NULL);
    ck_assert_int_gt(loop_barrier(loop, test_log_cb, &barrier), 0);
    test_turns(loop, 2);
    test_log_is(&barrier, 0);
    ck_assert_int_eq(loop_cancel(loop, id), 0);
    test_turns(loop, 2);
    ck_assert_uint_eq(seen.finals, 1);
    seen.finals = 0;
    script.manual = true;
    ck_assert_int_gt(loop_nop(loop, test_log_cb, &nop, NULL), 0);
    held = receive(LOOP_TERMS(.flags = LOOP_BARRIER));
    ck_assert_uint_eq(script_count(IORING_OP_RECV_ZC), 0);
    ck_assert_int_eq(loop_cancel(loop, held), 0);
    test_turns(loop, 2);
    ck_assert_uint_eq(seen.finals, 1);
    ck_assert_int_eq(seen.res, -ECANCELED);
    script_complete(script_find(IORING_OP_NOP, 0), 0, 0);
    test_turns(loop, 1);
    test_log_is(&nop, 0);
    stop_and_end();
}
END_TEST

/* Goal: a piece that cannot be one is refused. */
START_TEST(returns_checked)
{
    char    elsewhere;
    loop_id id;

    open_it();
    id = receive(NULL);
    seen.keep = true;
    arrive(id, 8, MORE, 0);
    ck_assert_int_eq(loop_zcrx_return(&zcrx, &elsewhere, 8), -EINVAL);
    ck_assert_int_eq(loop_zcrx_return(&zcrx, area(0), 0), -EINVAL);
    ck_assert_int_eq(loop_zcrx_return(&zcrx, area(AREA_BYTES - 4), 8), -EINVAL);
    ck_assert_int_eq(loop_zcrx_return(&zcrx, area(0), 8), 0);
    ck_assert_int_eq(loop_zcrx_return(&zcrx, area(0), 8), -EINVAL);
    refilled(0, 8);
    ck_assert_int_eq(loop_cancel(loop, id), 0);
    test_turns(loop, 2);
    stop_and_end();
}
END_TEST

/* Goal: loop_destroy() ends it without waiting for pieces the user has. _i 1: it was being stopped already. */
START_TEST(destroyed)
{
    loop_id id;

    open_it();
    id = receive(NULL);
    seen.keep = true;
    arrive(id, 8, MORE, 0);
    if (_i == 1) {
        ck_assert_int_eq(loop_zcrx_stop(&zcrx), 0);
        test_turns(loop, 2);
        ck_assert_int_eq(loop_zcrx_state_get(&zcrx), LOOP_ZCRX_RETIRING);
    }
    test_loop_drop(loop);
    ck_assert_uint_eq(stopped_calls, 1);
    ck_assert_uint_eq(seen.finals, 1);
    loop_new(0);
}
END_TEST

/* Goal: without memory the start fails and leaves nothing. Method: each allocation fails once. */
START_TEST(start_without_memory)
{
    int r;

    for (uint64_t nth = 1;; nth++) {
        uint64_t blocks = test_memory.blocks;

        ck_assert_uint_lt(nth, 10);
        test_memory.fail_at = test_memory.calls + nth;
        r = loop_zcrx_start(loop, &zcrx, &options, stopped);
        if (r == 0)
            break;
        ck_assert_int_eq(r, -ENOMEM);
        ck_assert_uint_eq(test_memory.blocks, blocks);
    }
    test_memory.fail_at = 0;
    ck_assert_uint_eq(test_memory.failed, 3);
    stop_and_end();
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("zcrx");
    TCase *tcase = test_case_without_ring(suite, "zcrx");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, whole_life);
    tcase_add_test(tcase, states);
    tcase_add_loop_test(tcase, stop_inside, 0, 2);
    tcase_add_test(tcase, obstacles);
    tcase_add_test(tcase, options_checked);
    tcase_add_test(tcase, refill_full);
    tcase_add_test(tcase, refill_without_memory);
    tcase_add_test(tcase, armed_again);
    tcase_add_test(tcase, pieces_refused);
    tcase_add_test(tcase, receives);
    tcase_add_test(tcase, returns_checked);
    tcase_add_test(tcase, barriers);
    tcase_add_loop_test(tcase, destroyed, 0, 2);
    tcase_add_test(tcase, start_without_memory);
    return suite;
}
