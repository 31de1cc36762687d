/* tests/sim/mode_sim_test.c: modes on the scripted ring: what this kernel does not have, or does not do on demand. */
#include "tests/sim/script_ring.h"
#include "tests/support/test.h"

enum { SIX_EIGHTEEN = IORING_OP_PIPE }; /* the last opcode of 6.18 */

static void setup(void)
{
    script_reset();
}

static struct loop *loop_of(struct loop_options options)
{
    struct loop *loop = NULL;

    options.allocator = test_allocator();
    ck_assert_int_eq(loop_create(&loop, &options), 0);
    return loop;
}

static int error_of(struct loop_options options)
{
    struct loop *loop = NULL;
    int          r;

    options.allocator = test_allocator();
    r = loop_create(&loop, &options);
    ck_assert(r < 0 && loop == NULL);
    ck_assert_uint_eq(test_memory.blocks, 0);
    ck_assert_uint_eq(script.rings_open, 0);
    return r;
}

static void count_cb(struct loop *loop, const struct loop_result *result, void *arg)
{
    (void)loop;
    ck_assert_int_eq(result->res, 0);
    ++*(uint32_t *)arg;
}

/* ---- what is refused */

/* Goal: a mode that the kernel lacks is -EOPNOTSUPP, never silently left out. Method: a kernel that refuses the flag,
 * or lacks the feature, or the call. */
START_TEST(lacking)
{
    static const struct {
        uint32_t mode;
        unsigned refused;
    } table[] = {
        {LOOP_MODE_IOPOLL | LOOP_MODE_HYBRID_IOPOLL, IORING_SETUP_HYBRID_IOPOLL},
        {LOOP_MODE_SQE_MIXED, IORING_SETUP_SQE_MIXED},
        {LOOP_MODE_CQE_MIXED, IORING_SETUP_CQE_MIXED},
        {LOOP_MODE_CQ_GROWS, IORING_SETUP_DEFER_TASKRUN},
        {LOOP_MODE_NO_IOWAIT, 0},
    };

    for (size_t i = 0; i < TEST_COUNT(table); i++) {
        script_reset();
        script.refused_flags = table[i].refused;
        ck_assert_msg(error_of((struct loop_options){.flags = table[i].mode}) == -EOPNOTSUPP, "mode %zu", i);
    }
    script_reset();
    script.resize_error = -EINVAL; /* not known */
    ck_assert_int_eq(error_of((struct loop_options){.flags = LOOP_MODE_CQ_GROWS}), -EOPNOTSUPP);
    ck_assert_int_eq(error_of((struct loop_options){.modes = {.napi_busy_poll_us = 1}}), -EOPNOTSUPP);
    script_reset();
    script.refused_flags = IORING_SETUP_SQPOLL | IORING_SETUP_SQE128;
    ck_assert_int_eq(error_of((struct loop_options){.flags = LOOP_MODE_SQPOLL}), -EINVAL);
    ck_assert_int_eq(error_of((struct loop_options){.flags = LOOP_MODE_SQE128}), -EINVAL); /* 6.1 has them all */
    script.setup_error = -EPERM;
    ck_assert_int_eq(error_of((struct loop_options){.flags = LOOP_MODE_IOPOLL}), -EPERM);
}
END_TEST

/* Goal: each mode asks for its flags, and falls back only in what is no mode. */
START_TEST(flags)
{
    struct loop *loop;

    script.refused_flags = IORING_SETUP_SINGLE_ISSUER;
    loop = loop_of((struct loop_options){.flags = LOOP_MODE_SQPOLL | LOOP_MODE_SQPOLL_CPU | LOOP_MODE_CQE32});
    ck_assert_uint_eq(script.setups_count, 2);
    ck_assert_uint_eq(script.setups[1].flags & ~(unsigned)(IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP),
                      IORING_SETUP_SQPOLL | IORING_SETUP_SQ_AFF | IORING_SETUP_CQE32 | IORING_SETUP_SUBMIT_ALL |
                          IORING_SETUP_R_DISABLED);
    test_loop_free(loop);
}
END_TEST

/* Goal: a kernel that knows fewer registrations gets the shorter list of them. */
START_TEST(restrictions)
{
    static const uint8_t           nop = LOOP_OP_NOP;
    const struct loop_restrictions list = {.opcodes = &nop, .opcodes_count = 1};
    struct loop                   *loop = loop_of((struct loop_options){.modes = {.restrictions = &list}});
    unsigned                       all = script.restrictions;

    test_loop_free(loop);
    script.restrictions_most = all - 1;
    loop = loop_of((struct loop_options){.modes = {.restrictions = &list}});
    ck_assert_uint_lt(script.restrictions, all);
    ck_assert_uint_gt(script.restrictions, 0);
    test_loop_free(loop);
    script.restrictions_most = 0;
    ck_assert_int_eq(error_of((struct loop_options){.modes = {.restrictions = &list}}), -EINVAL);
}
END_TEST

/* ---- SQEs of 128 bytes */

static struct io_uring_sqe numbered_raw(uint64_t number)
{
    return (struct io_uring_sqe){.opcode = IORING_OP_URING_CMD128, .fd = 1, .addr = number};
}

static void check_wide(struct loop *loop, uint64_t number)
{
    struct io_uring_sqe *sqe = script_find(IORING_OP_URING_CMD128, 0);

    ck_assert_ptr_nonnull(sqe);
    ck_assert_uint_eq(sqe->addr, number);
    ck_assert_uint_eq(script.last_half.addr3, number);
    script_complete(sqe, 0, 0);
    test_turns(loop, 1);
}

/* Goal: with SQEs of both sizes the long ones stand in two places that are never parted by the end of the SQ, wherever
 * they come, among short ones; both halves arrive. */
START_TEST(mixed_sqes)
{
    struct loop *loop = loop_of((struct loop_options){.sq_entries = 8, .flags = LOOP_MODE_SQE_MIXED});
    uint32_t     count = 0;

    test_turns(loop, 1);
    for (uint32_t i = 1; i <= 200; i++) {
        struct io_uring_sqe sqes[2] = {numbered_raw(i), {.addr3 = i}};

        for (uint32_t n = 0; n < i % 5; n++)
            ck_assert_int_gt(loop_nop(loop, count_cb, &count, NULL), 0);
        ck_assert_int_gt(loop_raw128(loop, sqes, count_cb, &count, NULL), 0);
        for (uint32_t n = 0; n < i % 3; n++)
            ck_assert_int_gt(loop_nop(loop, count_cb, &count, NULL), 0);
        test_turns(loop, 1);
        check_wide(loop, i);
    }
    ck_assert_uint_eq(count, 200 + 400 + 201);
    test_loop_free(loop);
}
END_TEST

/* Goal: the same through the backlog, and a full SQ. */
START_TEST(mixed_sqes_backlog)
{
    struct loop        *loop = loop_of((struct loop_options){.sq_entries = 8, .flags = LOOP_MODE_SQE_MIXED});
    uint32_t            count = 0;
    struct io_uring_sqe sqes[2] = {numbered_raw(1), {.addr3 = 1}};

    for (uint32_t i = 0; i < 30; i++) { /* before the first run: nothing is taken */
        ck_assert_int_gt(loop_nop(loop, count_cb, &count, NULL), 0);
        ck_assert_int_gt(loop_raw128(loop, sqes, count_cb, &count, NULL), 0);
    }
    test_turns(loop, 10);
    ck_assert_uint_eq(count, 30);
    ck_assert_uint_eq(script_count(IORING_OP_URING_CMD128), 30);
    for (uint32_t i = 0; i < 30; i++)
        ck_assert_int_gt(loop_raw128(loop, sqes, count_cb, &count, NULL), 0);
    test_turns(loop, 2);
    for (uint32_t i = 0; i < 60; i++)
        check_wide(loop, 1);
    ck_assert_uint_eq(count, 90);
    test_loop_free(loop);
}
END_TEST

/* Goal: what would part the two halves is refused; on a kernel without such opcodes all of it is. */
START_TEST(mixed_sqes_refused)
{
    struct loop                    *loop = loop_of((struct loop_options){.flags = LOOP_MODE_SQE_MIXED});
    struct io_uring_sqe             wide = numbered_raw(1), narrow[2] = {{.opcode = IORING_OP_NOP}};
    const struct loop_uring_command command = {.cmd_op = 1};

    ck_assert_int_eq(loop_raw(loop, &wide, NULL, NULL, NULL), -EINVAL);
    wide.user_data = LOOP_FOREIGN;
    ck_assert_int_eq(loop_foreign_submit(loop, &wide), -EINVAL);
    ck_assert_int_eq(loop_raw128(loop, narrow, NULL, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_nop128(loop, NULL, NULL, LOOP_TERMS(.timeout_ns = 1, .flags = LOOP_LINKED_TIMEOUT)), -EINVAL);
    ck_assert_int_eq(loop_chain_begin(loop, 1, 0), 0);
    ck_assert_int_eq(loop_nop128(loop, NULL, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_chain_end(loop), -EINVAL);
    test_loop_free(loop);
    script_reset();
    script.opcode_last = SIX_EIGHTEEN;
    loop = loop_of((struct loop_options){.flags = LOOP_MODE_SQE128});
    ck_assert_int_eq(loop_nop128(loop, NULL, NULL, NULL), -EOPNOTSUPP);
    ck_assert_int_eq(loop_uring_cmd128(loop, 1, &command, NULL, NULL, NULL), -EOPNOTSUPP);
    test_loop_free(loop);
}
END_TEST

/* Goal: nops and commands of 128 bytes; all 80 bytes of a command arrive. Method: on both kinds of ring. */
START_TEST(commands128)
{
    uint8_t                   bytes[80];
    struct loop_uring_command command = {.cmd_op = 5, .len = 6, .command = bytes, .command_size = sizeof(bytes)};
    struct loop *loop = loop_of((struct loop_options){.flags = _i == 0 ? LOOP_MODE_SQE_MIXED : LOOP_MODE_SQE128});
    struct io_uring_sqe *sqe;
    uint32_t             count = 0;

    for (uint32_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)i;
    test_turns(loop, 1); /* the wake poll is armed */
    ck_assert_int_gt(loop_nop128(loop, count_cb, &count, NULL), 0);
    ck_assert_int_gt(loop_uring_cmd128(loop, LOOP_FIXED(3), &command, count_cb, &count, NULL), 0);
    memset(bytes, 0xff, sizeof(bytes));
    test_turns(loop, 1);
    sqe = script_find(IORING_OP_URING_CMD128, 0);
    ck_assert_ptr_nonnull(sqe);
    ck_assert_uint_eq(sqe->cmd_op, 5);
    ck_assert_uint_eq(sqe->len, 6);
    ck_assert_int_eq(sqe->fd, 3);
    ck_assert_uint_eq(sqe->flags, IOSQE_FIXED_FILE);
    for (uint32_t i = 0; i < 16; i++)
        ck_assert_uint_eq(((uint8_t *)&sqe->addr3)[i], i);
    for (uint32_t i = 0; i < 64; i++)
        ck_assert_uint_eq(((uint8_t *)&script.last_half)[i], 16 + i);
    script_complete(sqe, 0, 0);
    script_complete(script_find(IORING_OP_NOP128, 0), 0, 0);
    test_run(loop);
    ck_assert_uint_eq(count, 2);
    test_loop_free(loop);
}
END_TEST

/* ---- CQEs of 32 bytes */

/* Goal: of both sizes, with fillers at the end of the CQ, through many rounds; a stale one is dropped whole. */
struct words {
    uint64_t sum;
    uint32_t count, wide;
};

static void words_cb(struct loop *loop, const struct loop_result *result, void *arg)
{
    struct words *words = arg;

    (void)loop;
    words->count++;
    if ((result->flags & LOOP_CQE32) == 0)
        return;
    words->wide++;
    words->sum += ((uint64_t *)result->data)[0] * 2 + ((uint64_t *)result->data)[1];
}

START_TEST(mixed_cqes)
{
    struct loop        *loop = loop_of((struct loop_options){
               .sq_entries = 8, .cq_entries = 16, .flags = _i == 0 ? LOOP_MODE_CQE_MIXED : LOOP_MODE_CQE32});
    struct words        words = {0};
    struct io_uring_sqe raw = {.opcode = IORING_OP_NOP, .fd = -1};
    uint32_t            plain = 0;

    script.manual = true;
    for (uint32_t i = 0; i < 100; i++) {
        const uint64_t extra[2] = {i, 1};

        ck_assert_int_gt(loop_raw(loop, &raw, words_cb, &words, NULL), 0);
        for (uint32_t n = 0; n < i % 4; n++)
            ck_assert_int_gt(loop_nop(loop, count_cb, &plain, NULL), 0);
        test_turns(loop, 1);
        script_cqe32(script.pending[0].user_data, 0, IORING_CQE_F_MORE, extra);
        script_cqe32(0x7777777700000005, 0, 0, extra); /* stale */
        while (script.pending_count > 0)
            script_complete(&script.pending[0], 0, 0);
        test_turns(loop, 1);
    }
    ck_assert_uint_eq(words.count, 200);
    ck_assert_uint_eq(words.wide, _i == 0 ? 100 : 200);
    ck_assert(_i == 1 || words.sum == 4950 * 2 + 100);
    ck_assert_uint_eq(plain, 150);
    ck_assert_uint_eq(test_stats(loop).cqes_stale, 100);
    test_loop_free(loop);
}
END_TEST

/* ---- SQPOLL */

/* Goal: no call while the kernel's thread is awake and nothing is waited for; a wake when it sleeps. */
START_TEST(sqpoll_calls)
{
    struct loop *loop = loop_of((struct loop_options){.sq_entries = 8, .flags = LOOP_MODE_SQPOLL});
    uint32_t     count = 0;
    unsigned     enters;

    test_turns(loop, 1);
    enters = script.enters;
    ck_assert_int_gt(loop_nop(loop, count_cb, &count, NULL), 0);
    ck_assert_int_eq(loop_submit(loop), 1);
    ck_assert_uint_eq(script.enters, enters);
    ck_assert_uint_eq(test_stats(loop).enters, enters);
    script_sqpoll(1);
    script_sqpoll_sleeps();
    ck_assert_int_gt(loop_nop(loop, count_cb, &count, NULL), 0);
    ck_assert_int_eq(loop_submit(loop), 1);
    ck_assert_uint_eq(script.enters, enters + 1);
    ck_assert_uint_ne(script.last_flags & IORING_ENTER_SQ_WAKEUP, 0);
    script.sqpoll_works = true;
    test_run(loop);
    ck_assert_uint_eq(count, 2);
    test_loop_free(loop);
}
END_TEST

/* Goal: while the thread does not get on, more queue behind the SQ, chains whole; the loop waits for room instead of
 * turning; nothing is lost or parted. */
START_TEST(sqpoll_full)
{
    struct loop *loop = loop_of((struct loop_options){.sq_entries = 8, .flags = LOOP_MODE_SQPOLL});
    uint32_t     count = 0;
    uint64_t     turns;

    test_turns(loop, 1);
    for (uint32_t i = 0; i < 20; i++)
        ck_assert_int_gt(loop_nop(loop, count_cb, &count, NULL), 0);
    ck_assert_int_eq(loop_chain_begin(loop, 4, 0), 0);
    for (uint32_t i = 0; i < 4; i++)
        ck_assert_int_gt(loop_nop(loop, count_cb, &count, NULL), 0);
    ck_assert_int_eq(loop_chain_end(loop), 0);
    ck_assert_uint_ge(test_stats(loop).sqes_backlogged, 12);
    script.sqpoll_works = true;
    turns = test_stats(loop).turns;
    test_run(loop);
    ck_assert_uint_eq(count, 24);
    ck_assert_uint_le(test_stats(loop).turns - turns, 24);
    test_loop_free(loop);
}
END_TEST

/* ---- sizes */

/* Goal: SQEs that the kernel has not taken move along, completions too; a refusal changes nothing. */
START_TEST(resize)
{
    struct loop *loop = loop_of((struct loop_options){.sq_entries = 8, .cq_entries = 8});
    uint32_t     count = 0;

    test_turns(loop, 1);
    for (uint32_t i = 0; i < 13; i++) { /* somewhere in the middle */
        ck_assert_int_gt(loop_nop(loop, count_cb, &count, NULL), 0);
        test_run(loop);
    }
    for (uint32_t i = 0; i < 5; i++)
        ck_assert_int_gt(loop_nop(loop, count_cb, &count, NULL), 0);
    script_plan((struct script_enter){.limited = true, .take = 2});
    script_plan((struct script_enter){.result = -EAGAIN});
    script.resize_error = -EOVERFLOW;
    ck_assert_int_eq(loop_ring_resize(loop, 32, 64), -EOVERFLOW);
    script.resize_error = -EINVAL;
    script_plan((struct script_enter){.result = -EAGAIN});
    ck_assert_int_eq(loop_ring_resize(loop, 32, 64), -EOPNOTSUPP);
    script.resize_error = 0;
    script_plan((struct script_enter){.result = -EAGAIN});
    ck_assert_int_eq(loop_ring_resize(loop, 32, 64), 0);
    ck_assert_uint_eq(script.resizes, 1);
    for (uint32_t i = 0; i < 25; i++) /* more than there was room for before */
        ck_assert_int_gt(loop_nop(loop, count_cb, &count, NULL), 0);
    test_run(loop);
    ck_assert_uint_eq(count, 13 + 5 + 25);
    test_loop_free(loop);
}
END_TEST

/* ---- spinning */

static uint32_t spun;

static void never(void *arg)
{
    (void)arg;
    spun++;
}

/* Goal: the loop looks for as long as it was told before it sleeps, and then sleeps. Method: a clock that goes on by a
 * microsecond at each look. */
START_TEST(spins)
{
    struct loop *loop = loop_of((struct loop_options){.modes = {.spin_ns = 100 * LOOP_MICROSECOND}});
    uint64_t     begin_ns;

    test_turns(loop, 1);
    script.clock_step_ns = LOOP_MICROSECOND;
    script.on_wait = never;
    begin_ns = script.now_ns;
    ck_assert_int_eq(loop_dispatch(loop, LOOP_MILLISECOND), 0);
    ck_assert_uint_eq(spun, 1);
    ck_assert_uint_ge(script.now_ns - begin_ns, LOOP_MILLISECOND - 10 * LOOP_MICROSECOND);
    ck_assert_uint_le(script.last_timeout_ns, 901 * LOOP_MICROSECOND);
    test_loop_free(loop);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("mode_sim");
    TCase *tcase = test_case_without_ring(suite, "mode_sim");

    tcase_add_checked_fixture(tcase, setup, NULL);
    tcase_add_test(tcase, lacking);
    tcase_add_test(tcase, flags);
    tcase_add_test(tcase, restrictions);
    tcase_add_test(tcase, mixed_sqes);
    tcase_add_test(tcase, mixed_sqes_backlog);
    tcase_add_test(tcase, mixed_sqes_refused);
    tcase_add_loop_test(tcase, commands128, 0, 2);
    tcase_add_loop_test(tcase, mixed_cqes, 0, 2);
    tcase_add_test(tcase, sqpoll_calls);
    tcase_add_test(tcase, sqpoll_full);
    tcase_add_test(tcase, resize);
    tcase_add_test(tcase, spins);
    return suite;
}
