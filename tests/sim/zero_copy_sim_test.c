/* tests/sim/zero_copy_sim_test.c: zero-copy sends and fan-out over the scripted ring: completions in every order. */
#include "loop/loop_private.h"
#include "tests/sim/script_ring.h"
#include "tests/support/test.h"

static struct loop *loop;
static char         bytes[4096];

enum { MORE = IORING_CQE_F_MORE, NOTIF = IORING_CQE_F_NOTIF };

/* What the two callbacks of a zero-copy send said. */
struct twice {
    uint32_t           count;
    struct loop_result results[2];
};

static void twice_cb(struct loop *l, const struct loop_result *result, void *arg)
{
    struct twice *twice = arg;

    (void)l;
    ck_assert_uint_lt(twice->count, 2);
    twice->results[twice->count++] = *result;
}

static void twice_is(const struct twice *twice, int32_t res, uint32_t both, uint32_t second)
{
    ck_assert_uint_eq(twice->count, 2);
    ck_assert_int_eq(twice->results[0].res, res);
    ck_assert_int_eq(twice->results[1].res, res);
    ck_assert_uint_eq(twice->results[0].flags, LOOP_MORE | both);
    ck_assert_uint_eq(twice->results[1].flags, LOOP_RELEASED | both | second);
}

static void setup(void)
{
    script_reset();
    loop = test_loop_new(&(struct loop_options){.sq_entries = 8, .cq_entries = 64});
    test_turns(loop, 1);
}

static void teardown(void)
{
    test_loop_free(loop);
    ck_assert_uint_eq(script.rings_open, 0);
}

static loop_id start(struct twice *twice, const struct loop_terms *terms)
{
    loop_id id = loop_send_zc(loop, 5, bytes, 1000, 0, twice_cb, twice, terms);

    ck_assert_int_gt(id, 0);
    test_turns(loop, 1);
    return id;
}

static struct io_uring_sqe *sent(unsigned n)
{
    struct io_uring_sqe *sqe = script_find(IORING_OP_SEND_ZC, n);

    ck_assert_ptr_nonnull(sqe);
    return sqe;
}

/* Goal: whatever the order of the two completions, or if there is but one, two callbacks come in the order promised.
 * Method: a table of completions, and after which of them how many callbacks have come. */
START_TEST(orders)
{
    static const struct {
        struct {
            int32_t  res;
            uint32_t flags, calls; /* callbacks so far */
        } cqes[2];
        int32_t  res;
        uint32_t second; /* flags of the second callback */
    } table[] = {
        {{{1000, MORE, 1}, {0, NOTIF, 2}}, 1000, 0},
        {{{1000, MORE, 1}, {INT32_MIN, NOTIF, 2}}, 1000, LOOP_COPIED},
        {{{-EPIPE, MORE, 1}, {0, NOTIF, 2}}, -EPIPE, 0},
        {{{-EINVAL, 0, 2}}, -EINVAL, 0},
        {{{-512, MORE, 1}, {0, NOTIF, 2}}, -EINTR, 0},
        {{{0, NOTIF | MORE, 0}, {1000, MORE, 2}}, 1000, 0},
        {{{INT32_MIN, NOTIF | MORE, 0}, {1000, 0, 2}}, 1000, LOOP_COPIED},
        {{{0, NOTIF | MORE, 0}, {-EPIPE, 0, 2}}, -EPIPE, 0},
    };
    static const struct loop_terms terms[] = {
        {0},
        {.timeout_ns = 50 * LOOP_MILLISECOND},
        {.flags = LOOP_EXTENDED},
        {.flags = LOOP_LINKED_TIMEOUT, .timeout_ns = 50 * LOOP_MILLISECOND},
        {.flags = LOOP_BACKGROUND},
    };

    for (size_t i = 0; i < TEST_COUNT(table); i++) {
        struct twice twice = {0};
        loop_id      id = start(&twice, &terms[_i]);

        for (int c = 0; c < 2 && (table[i].cqes[c].flags | (uint32_t)table[i].cqes[c].res) != 0; c++) {
            script_cqe((uint64_t)id, table[i].cqes[c].res, table[i].cqes[c].flags);
            test_turns(loop, 1);
            ck_assert_msg(twice.count == table[i].cqes[c].calls, "case %zu: %u callbacks after %d", i, twice.count, c);
            script.now_ns += LOOP_SECOND; /* past the deadline: it concerns the result only */
            test_turns(loop, 1);
        }
        script.pending_count = 0;
        twice_is(&twice, table[i].res, 0, table[i].second);
        ck_assert_int_eq(loop_cancel(loop, id), -ENOENT);
    }
    ck_assert_uint_eq(test_stats(loop).cqes_stale, 0);
    ck_assert_uint_eq(test_stats(loop).deadlines_passed, 0);
    ck_assert_uint_eq(test_stats(loop).cancels, 0);
    ck_assert(!loop_alive(loop));
}
END_TEST

/* Goal: one that waits for its notification cannot be asked to end, and is not counted as if it could. */
START_TEST(many_are_cancelled)
{
    struct twice twice = {0};
    loop_id      id = start(&twice, NULL);

    script_cqe((uint64_t)id, 1000, MORE);
    test_turns(loop, 1);
    ck_assert_uint_eq(twice.count, 1);
    ck_assert_int_eq(loop_cancel_all(loop), 0);
    ck_assert_int_eq(loop_cancel_fd(loop, 5), 0);
    ck_assert_int_eq(loop_cancel(loop, id), 0);
    script_cqe((uint64_t)id, 0, NOTIF);
    test_turns(loop, 1);
    twice_is(&twice, 1000, 0, 0);
    script.pending_count = 0;
}
END_TEST

/* Goal: what comes twice is stale. Method: a second result, a second notification early and late. */
START_TEST(duplicates)
{
    struct twice twice = {0};
    loop_id      id = start(&twice, NULL);

    script_cqe((uint64_t)id, 1000, MORE);
    script_cqe((uint64_t)id, 7, MORE);
    test_turns(loop, 1);
    ck_assert_uint_eq(test_stats(loop).cqes_stale, 1);
    ck_assert_uint_eq(twice.count, 1);
    script_cqe((uint64_t)id, 0, NOTIF);
    script_cqe((uint64_t)id, 0, NOTIF);
    test_turns(loop, 1);
    twice_is(&twice, 1000, 0, 0);
    ck_assert_uint_eq(test_stats(loop).cqes_stale, 2);
    ck_assert_uint_eq(test_stats(loop).ops_in_flight, 0);

    twice.count = 0;
    id = start(&twice, NULL);
    script_cqe((uint64_t)id, 0, NOTIF);
    script_cqe((uint64_t)id, 0, NOTIF);
    test_turns(loop, 1);
    ck_assert_uint_eq(test_stats(loop).cqes_stale, 3);
    ck_assert_uint_eq(twice.count, 0);
    script_cqe((uint64_t)id, 9, MORE);
    test_turns(loop, 1);
    twice_is(&twice, 9, 0, 0);
    script.pending_count = 0;
}
END_TEST

/* Goal: a cancel ends what has no result, and does nothing afterwards: no request is sent, none repeated. Method: in
 * each state; the second time while a request that missed is owed. */
START_TEST(cancel_in_each_state)
{
    struct twice twice = {0};
    loop_id      id = start(&twice, NULL);

    ck_assert_int_eq(loop_cancel(loop, id), 0); /* the script ends it: without a notification */
    test_turns(loop, 2);
    twice_is(&twice, -ECANCELED, 0, 0);
    ck_assert_int_eq(loop_cancel(loop, id), -ENOENT);

    for (int order = 0; order < 2; order++) {
        uint64_t cancels;

        memset(&twice, 0, sizeof(twice));
        script.manual = true;
        id = start(&twice, NULL);
        ck_assert_int_eq(loop_cancel(loop, id), 0);
        for (int i = 0; i < 2; i++) { /* the first one, and the one sent at once */
            test_turns(loop, 1);
            script_complete(script_find(IORING_OP_ASYNC_CANCEL, 0), -ENOENT, 0);
            test_turns(loop, 1);
        }
        cancels = test_stats(loop).cancels;
        if (order == 0)
            script_cqe((uint64_t)id, 1000, MORE);
        else
            script_cqe((uint64_t)id, 0, NOTIF);
        test_turns(loop, 1);
        ck_assert_uint_eq(twice.count, order == 0 ? 1 : 0);
        for (int i = 0; i < 20; i++) {
            script.now_ns += 100 * LOOP_MILLISECOND;
            test_turns(loop, 1);
        }
        ck_assert_int_eq(loop_cancel(loop, id), 0);
        test_turns(loop, 2);
        ck_assert_uint_eq(test_stats(loop).cancels, cancels);
        ck_assert_uint_eq(script_count(IORING_OP_ASYNC_CANCEL), 0);
        if (order == 0)
            script_cqe((uint64_t)id, 0, NOTIF);
        else
            script_cqe((uint64_t)id, 1000, MORE);
        test_turns(loop, 1);
        twice_is(&twice, 1000, 0, 0);
        script.pending_count = 0;
    }
}
END_TEST

/* Goal: a request that misses since the result has just come is not sent again. */
START_TEST(cancel_misses)
{
    struct twice twice = {0};
    loop_id      id;

    script.manual = true;
    id = start(&twice, NULL);
    ck_assert_int_eq(loop_cancel(loop, id), 0);
    test_turns(loop, 1);
    script_cqe((uint64_t)id, 1000, MORE);
    script_complete(script_find(IORING_OP_ASYNC_CANCEL, 0), -ENOENT, 0);
    for (int i = 0; i < 10; i++) {
        test_turns(loop, 1);
        script.now_ns += LOOP_SECOND;
    }
    ck_assert_uint_eq(test_stats(loop).cancels, 1);
    script_cqe((uint64_t)id, 0, NOTIF);
    test_turns(loop, 1);
    twice_is(&twice, 1000, 0, 0);
    script.pending_count = 0;
}
END_TEST

/* Goal: a deadline that passes before the result is told with both. */
START_TEST(deadline)
{
    struct twice twice = {0};

    start(&twice, LOOP_TERMS(.timeout_ns = 10 * LOOP_MILLISECOND));
    script.now_ns += 20 * LOOP_MILLISECOND;
    test_turns(loop, 3);
    twice_is(&twice, -ETIMEDOUT, LOOP_TIMED_OUT, 0);
    ck_assert_uint_eq(test_stats(loop).deadlines_passed, 1);
}
END_TEST

/* Goal: the end of a send that never reached the kernel is told twice, too. Method: settled as by what holds it back.
 */
START_TEST(settled)
{
    struct twice twice = {0};
    loop_id      id = start(&twice, NULL);

    dispatch_settle(loop, context_find(&loop->pool, (uint64_t)id), -ECANCELED, 0);
    ck_assert_uint_eq(twice.count, 0);
    test_turns(loop, 1);
    twice_is(&twice, -ECANCELED, 0, 0);
    script.pending_count = 0;
}
END_TEST

/* Goal: the link behind a zero-copy send is begun by its result, not by its release. Method: the link was cancelled
 * while it waited; the request goes out with the result. */
START_TEST(link_begun_by_result)
{
    for (int order = 0; order < 2; order++) {
        struct twice    twice = {0};
        struct test_log next = {0};
        loop_id         id, link;
        uint64_t        cancels;

        script.manual = true;
        ck_assert_int_eq(loop_chain_begin(loop, 2, 0), 0);
        id = loop_send_zc(loop, 5, bytes, 10, 0, twice_cb, &twice, NULL);
        link = loop_recv(loop, 5, bytes, 10, 0, test_log_cb, &next, NULL);
        ck_assert_int_eq(loop_chain_end(loop), 0);
        test_turns(loop, 1);
        ck_assert_int_eq(loop_cancel(loop, link), 0);
        test_turns(loop, 1);
        while (script_find(IORING_OP_ASYNC_CANCEL, 0) != NULL)
            script_complete(script_find(IORING_OP_ASYNC_CANCEL, 0), -ENOENT, 0);
        test_turns(loop, 2);
        cancels = test_stats(loop).cancels;
        ck_assert_uint_eq(script_count(IORING_OP_ASYNC_CANCEL), 0);
        script_cqe((uint64_t)id, order == 0 ? 10 : 0, order == 0 ? MORE : NOTIF);
        test_turns(loop, 2);
        ck_assert_uint_eq(test_stats(loop).cancels, cancels + 1);
        script_complete(script_find(IORING_OP_RECV, 0), -ECANCELED, 0);
        script_cqe((uint64_t)id, order == 0 ? 0 : 10, order == 0 ? NOTIF : 0);
        test_turns(loop, 2);
        twice_is(&twice, 10, 0, 0);
        test_log_is(&next, -ECANCELED);
        script.pending_count = 0;
    }
}
END_TEST

/* Goal: the SQEs say what they should; where the kernel may not know how to report, it is not asked to. */
START_TEST(sqes)
{
    struct iovec         iov = {bytes, 10};
    struct msghdr        msg = {.msg_iov = &iov, .msg_iovlen = 1};
    struct sockaddr_in   address = test_localhost(1234);
    struct twice         twice[3] = {{0}, {0}, {0}};
    struct io_uring_sqe *sqe;

    ck_assert_int_gt(loop_send_zc_fixed(loop, LOOP_FIXED(3), bytes, 10, MSG_MORE, 9, twice_cb, &twice[0],
                                        LOOP_TERMS(.flags = LOOP_POLL_FIRST)),
                     0);
    ck_assert_int_gt(loop_sendmsg_zc(loop, 5, &msg, 0, twice_cb, &twice[1], NULL), 0);
    ck_assert_int_gt(
        loop_sendto_zc(loop, 5, bytes, 10, 0, (struct sockaddr *)&address, sizeof(address), twice_cb, &twice[2], NULL),
        0);
    msg.msg_iovlen = 0;
    memset(&address, 0, sizeof(address));
    test_turns(loop, 1);
    sqe = sent(0);
    ck_assert_int_eq(sqe->fd, 3);
    ck_assert_uint_eq(sqe->flags, IOSQE_FIXED_FILE);
    ck_assert_uint_eq(sqe->ioprio,
                      IORING_RECVSEND_POLL_FIRST | IORING_RECVSEND_FIXED_BUF | IORING_SEND_ZC_REPORT_USAGE);
    ck_assert_uint_eq(sqe->buf_index, 9);
    ck_assert_uint_eq(sqe->msg_flags, MSG_WAITALL | MSG_NOSIGNAL | MSG_MORE);
    sqe = sent(1);
    ck_assert_uint_eq(sqe->addr_len, sizeof(address));
    ck_assert_int_eq(((struct sockaddr_in *)(uintptr_t)sqe->addr2)->sin_port, test_localhost(1234).sin_port);
    sqe = script_find(IORING_OP_SENDMSG_ZC, 0);
    ck_assert_ptr_nonnull(sqe);
    ck_assert_uint_eq(((struct msghdr *)(uintptr_t)sqe->addr)->msg_iovlen, 1);
    for (int i = 0; i < 2; i++)
        script_complete(sent(0), 10, 0);
    script_complete(script_find(IORING_OP_SENDMSG_ZC, 0), 10, 0);
    test_turns(loop, 1);
    for (int i = 0; i < 3; i++)
        twice_is(&twice[i], 10, 0, 0);
    test_loop_free(loop);

    script_reset();
    script.features &= ~(unsigned)IORING_FEAT_REG_REG_RING;
    loop = test_loop_new(NULL);
    memset(twice, 0, sizeof(twice));
    start(&twice[0], NULL);
    ck_assert_uint_eq(sent(0)->ioprio, 0);
    script_complete(sent(0), 1000, 0);
    test_turns(loop, 1);
    twice_is(&twice[0], 1000, 0, 0);
    test_loop_free(loop);

    script_reset();
    script.opcode_last = IORING_OP_SEND_ZC - 1;
    loop = test_loop_new(NULL);
    ck_assert_int_eq(loop_send_zc(loop, 5, bytes, 1, 0, twice_cb, &twice[0], NULL), -EOPNOTSUPP);
}
END_TEST

static uint64_t waited_id;
static uint32_t waits_left;

static void notify_late(void *arg)
{
    (void)arg;
    if (waits_left > 0 && --waits_left == 0)
        script_cqe(waited_id, 0, NOTIF);
}

/* Goal: the loop's end waits for the notification. Method: it comes in the fifth wait. */
START_TEST(destroy_waits)
{
    struct twice twice = {0};

    waited_id = (uint64_t)start(&twice, NULL);
    script_cqe(waited_id, 1000, MORE);
    test_turns(loop, 1);
    script.pending_count = 0;
    waits_left = 5;
    script.on_wait = notify_late;
    test_loop_drop(loop);
    ck_assert_uint_eq(waits_left, 0);
    twice_is(&twice, 1000, 0, 0);
    script_reset();
    loop = test_loop_new(NULL);
}
END_TEST

/* ---- direct mode */

static uint32_t           direct_count;
static struct loop_result direct_results[4];

static void direct_cb(struct loop *l, const struct loop_result *result, void *arg)
{
    (void)l;
    (void)arg;
    ck_assert_uint_lt(direct_count, TEST_COUNT(direct_results));
    direct_results[direct_count++] = *result;
}

/* Goal: as the kernel gives them, but that the notification's result is no number. */
START_TEST(direct)
{
    int     handler = loop_handler_register(loop, direct_cb, NULL, 0);
    loop_id id = loop_send_zc(loop, 5, bytes, 10, 0, LOOP_HANDLER(handler), LOOP_VALUE(3), NULL);

    ck_assert_int_gt(id, 0);
    test_turns(loop, 1);
    script_cqe((uint64_t)id, 10, MORE);
    script_complete(sent(0), INT32_MIN, NOTIF);
    test_turns(loop, 1);
    ck_assert_uint_eq(direct_count, 2);
    ck_assert_int_eq(direct_results[0].res, 10);
    ck_assert_uint_eq(direct_results[0].flags, LOOP_MORE);
    ck_assert_int_eq(direct_results[1].res, 0);
    ck_assert_uint_eq(direct_results[1].flags, LOOP_RELEASED | LOOP_COPIED);
    ck_assert_uint_eq(direct_results[1].value, 3);
    ck_assert_uint_eq(test_stats(loop).ops_in_flight, 0);
}
END_TEST

/* ---- fan-out */

static struct loop_fanout        fanout;
static struct loop_fanout_result fanned;
static uint32_t                  fanned_calls;

static void fanned_out(struct loop_fanout *f, const struct loop_fanout_result *result)
{
    (void)f;
    fanned = *result;
    fanned_calls++;
}

/* Goal: AUTO copies what zero-copy refuses, waits for every release, and reports what was what. Method: of four targets
 * one is refused for want of memory, one has its release late, one is short. */
START_TEST(fanout_zero_copy)
{
    static const int fds[] = {5, 6, 7, 8};
    static char      much[LOOP_FANOUT_ZERO_COPY_BYTES];
    int32_t          results[4] = {0};
    const int32_t    size = sizeof(much);
    uint64_t         late;

    ck_assert_int_eq(loop_fanout_send(loop, &fanout, fds, 4, much, sizeof(much),
                                      &(struct loop_fanout_options){.results = results}, fanned_out),
                     0);
    test_turns(loop, 1);
    ck_assert_uint_eq(script_count(IORING_OP_SEND_ZC), 4);
    script_complete(sent(0), -ENOMEM, 0);
    late = sent(0)->user_data;
    script_complete(sent(0), size, 0 | MORE);
    script_cqe(sent(1)->user_data, 100, MORE);
    script_complete(sent(1), 0, NOTIF);
    script_cqe(sent(1)->user_data, size, MORE);
    script_complete(sent(1), INT32_MIN, NOTIF);
    test_turns(loop, 2);
    ck_assert_uint_eq(script_count(IORING_OP_SEND), 1);
    ck_assert_int_eq(script_find(IORING_OP_SEND, 0)->fd, 5);
    script_complete(script_find(IORING_OP_SEND, 0), size, 0);
    test_turns(loop, 1);
    ck_assert_uint_eq(fanned_calls, 0);
    ck_assert_int_eq(loop_fanout_cancel(&fanout), 0); /* nothing is left that could be cancelled */
    test_turns(loop, 2);
    ck_assert_uint_eq(test_stats(loop).cancels, 0);
    script_cqe(late, 0, NOTIF);
    test_turns(loop, 1);
    ck_assert_uint_eq(fanned_calls, 1);
    ck_assert_uint_eq(fanned.succeeded, 3);
    ck_assert_uint_eq(fanned.failed, 1);
    ck_assert_uint_eq(fanned.zero_copy, 3);
    ck_assert_uint_eq(fanned.copied, 1);
    ck_assert_int_eq(fanned.error, -EIO);
    ck_assert_int_eq(results[2], 100);
    ck_assert_uint_eq(fanned.bytes, 3 * (uint64_t)size + 100);
    script.pending_count = 0;
}
END_TEST

/* Goal: when zero-copy is used, and what the SQEs say. Method: sizes, counts, registered buffers, kernels. */
START_TEST(fanout_chooses)
{
    static const struct {
        size_t   size;
        uint32_t count, mode, flags;
        uint8_t  opcode;
    } table[] = {
        {LOOP_FANOUT_ZERO_COPY_BYTES - 1, 4, LOOP_FANOUT_AUTO, 0, IORING_OP_SEND},
        {LOOP_FANOUT_ZERO_COPY_BYTES, 4, LOOP_FANOUT_AUTO, 0, IORING_OP_SEND_ZC},
        {LOOP_FANOUT_ZERO_COPY_BYTES, LOOP_FANOUT_ZERO_COPY_TARGETS - 1, LOOP_FANOUT_AUTO, 0, IORING_OP_SEND},
        {LOOP_FANOUT_FIXED_BYTES, 4, LOOP_FANOUT_AUTO, LOOP_FANOUT_FIXED, IORING_OP_SEND_ZC},
        {LOOP_FANOUT_FIXED_BYTES - 1, 4, LOOP_FANOUT_AUTO, LOOP_FANOUT_FIXED, IORING_OP_SEND},
        {1, 1, LOOP_FANOUT_ZERO_COPY, 0, IORING_OP_SEND_ZC},
        {LOOP_FANOUT_ZERO_COPY_BYTES, 4, LOOP_FANOUT_COPY, 0, IORING_OP_SEND},
    };
    static const int fds[] = {5, 6, 7, 8};
    static char      much[LOOP_FANOUT_ZERO_COPY_BYTES];

    for (size_t i = 0; i < TEST_COUNT(table); i++) {
        const struct loop_fanout_options options = {.mode = table[i].mode, .flags = table[i].flags, .buf_index = 3};

        ck_assert_int_eq(
            loop_fanout_send(loop, &fanout, fds, table[i].count, much, table[i].size, &options, fanned_out), 0);
        test_turns(loop, 1);
        ck_assert_msg(script_count(table[i].opcode) == table[i].count, "case %zu", i);
        if (table[i].opcode == IORING_OP_SEND_ZC && table[i].flags != 0) {
            ck_assert_uint_eq(sent(0)->buf_index, 3);
            ck_assert_uint_ne(sent(0)->ioprio & IORING_RECVSEND_FIXED_BUF, 0);
        }
        while (script_count(table[i].opcode) > 0)
            script_complete(script_find(table[i].opcode, 0), (int32_t)table[i].size, 0);
        test_turns(loop, 1);
        ck_assert_uint_eq(fanned_calls, i + 1);
        ck_assert_uint_eq(fanned.succeeded, table[i].count);
    }
    test_loop_free(loop);
    script_reset();
    script.opcode_last = IORING_OP_SEND_ZC - 1;
    loop = test_loop_new(NULL);
    ck_assert_int_eq(loop_fanout_send(loop, &fanout, fds, 4, much, sizeof(much),
                                      &(struct loop_fanout_options){.mode = LOOP_FANOUT_ZERO_COPY}, fanned_out),
                     -EOPNOTSUPP);
    ck_assert_int_eq(loop_fanout_send(loop, &fanout, fds, 4, much, sizeof(much), NULL, fanned_out), 0);
    test_turns(loop, 1);
    ck_assert_uint_eq(script_count(IORING_OP_SEND), 4);
    while (script_count(IORING_OP_SEND) > 0)
        script_complete(script_find(IORING_OP_SEND, 0), sizeof(much), 0);
    test_turns(loop, 1);
}
END_TEST

/* Goal: AUTO learns from what the kernel says: after a round that was copied it copies for a while, then tries again.
 */
START_TEST(fanout_learns)
{
    static const int fds[] = {5, 6, 7};
    static char      much[LOOP_FANOUT_ZERO_COPY_BYTES];
    const int32_t    size = sizeof(much);

    for (uint32_t round = 0; round < 3 * (LOOP_FANOUT_COPY_ROUNDS + 1); round++) {
        bool fresh = round % (LOOP_FANOUT_COPY_ROUNDS + 1) == 0;

        ck_assert_int_eq(loop_fanout_send(loop, &fanout, fds, 3, much, sizeof(much), NULL, fanned_out), 0);
        test_turns(loop, 1);
        ck_assert_msg(script_count(fresh ? IORING_OP_SEND_ZC : IORING_OP_SEND) == 3, "round %u", round);
        for (uint32_t i = 0; i < 3; i++) { /* of three, two were copied */
            struct io_uring_sqe *sqe = script_find(fresh ? IORING_OP_SEND_ZC : IORING_OP_SEND, 0);

            if (fresh)
                script_cqe(sqe->user_data, size, MORE);
            script_complete(sqe, fresh ? (i == 0 ? 0 : INT32_MIN) : size, fresh ? NOTIF : 0);
        }
        test_turns(loop, 1);
        ck_assert_uint_eq(fanned_calls, round + 1);
        ck_assert_uint_eq(fanned.copied, fresh ? 2 : 0);
    }
    ck_assert_int_eq(loop_fanout_send(loop, &fanout, fds, 3, much, sizeof(much),
                                      &(struct loop_fanout_options){.mode = LOOP_FANOUT_ZERO_COPY}, fanned_out),
                     0);
    test_turns(loop, 1);
    ck_assert_uint_eq(script_count(IORING_OP_SEND_ZC), 3);
    while (script_count(IORING_OP_SEND_ZC) > 0)
        script_complete(sent(0), size, 0);
    test_turns(loop, 1);
}
END_TEST

/* Goal: a file that takes a part is gone on with at the right place; a file that takes nothing more ends it. Method: 3
 * and 5 of 8 bytes; 3 and 0. From a registered buffer the same. */
START_TEST(fanout_file_parts)
{
    const struct loop_fanout_file    files[] = {{.fd = 5, .offset = 100}, {.fd = 6, .offset = LOOP_AT_POSITION}};
    const struct loop_fanout_options options = {.flags = _i == 0 ? 0 : LOOP_FANOUT_FIXED, .buf_index = 4};
    const uint8_t                    opcode = _i == 0 ? IORING_OP_WRITE : IORING_OP_WRITE_FIXED;

    ck_assert_int_eq(loop_fanout_write(loop, &fanout, files, 2, bytes, 8, &options, fanned_out), 0);
    test_turns(loop, 1);
    ck_assert_uint_eq(script_find(opcode, 0)->buf_index, _i == 0 ? 0 : 4);
    ck_assert_uint_eq(script_find(opcode, 0)->off, 100);
    script_complete(script_find(opcode, 0), 3, 0);
    script_complete(script_find(opcode, 0), 3, 0);
    test_turns(loop, 2);
    ck_assert_uint_eq(script_count(opcode), 2);
    ck_assert_uint_eq(script_find(opcode, 0)->off, 103);
    ck_assert_uint_eq(script_find(opcode, 0)->len, 5);
    ck_assert_uint_eq(script_find(opcode, 0)->addr, (uintptr_t)bytes + 3);
    ck_assert_uint_eq(script_find(opcode, 1)->off, UINT64_MAX);
    script_complete(script_find(opcode, 0), 5, 0);
    script_complete(script_find(opcode, 0), 0, 0);
    test_turns(loop, 1);
    ck_assert_uint_eq(fanned_calls, 1);
    ck_assert_uint_eq(fanned.succeeded, 1);
    ck_assert_uint_eq(fanned.bytes, 11);
    ck_assert_int_eq(fanned.error, -EIO);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("zero_copy_sim");
    TCase *tcase = test_case_without_ring(suite, "zero_copy");
    TCase *fan = test_case_without_ring(suite, "fanout");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, orders, 0, 5);
    tcase_add_test(tcase, duplicates);
    tcase_add_test(tcase, cancel_in_each_state);
    tcase_add_test(tcase, cancel_misses);
    tcase_add_test(tcase, deadline);
    tcase_add_test(tcase, many_are_cancelled);
    tcase_add_test(tcase, settled);
    tcase_add_test(tcase, link_begun_by_result);
    tcase_add_test(tcase, sqes);
    tcase_add_test(tcase, destroy_waits);
    tcase_add_test(tcase, direct);
    tcase_add_checked_fixture(fan, setup, teardown);
    tcase_add_test(fan, fanout_zero_copy);
    tcase_add_test(fan, fanout_chooses);
    tcase_add_test(fan, fanout_learns);
    tcase_add_loop_test(fan, fanout_file_parts, 0, 2);
    return suite;
}
