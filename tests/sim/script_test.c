/* tests/sim/script_test.c: what the kernel can't be made to do: set-up, completions and entering over a scripted ring.
 */
#include "tests/sim/script_world.h"

/* ---- set-up */

/* Goal: what a kernel refuses is left out step by step. Method: refuse flags; look at what was asked for and what is
 * reported. */
START_TEST(setup_falls_back)
{
    static const struct {
        unsigned refused;
        bool     single_issuer, defer_taskrun;
    } table[] = {
        {0, true, true},
        {IORING_SETUP_DEFER_TASKRUN, true, false},
        {IORING_SETUP_SINGLE_ISSUER, false, false},
        {IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, false, false},
    };

    for (size_t i = 0; i < TEST_COUNT(table); i++) {
        struct test_log log = {0};

        script_reset();
        script.refused_flags = table[i].refused;
        loop = test_loop_new(NULL);
        ck_assert_int_eq(loop_features_get(loop)->single_issuer, table[i].single_issuer);
        ck_assert_int_eq(loop_features_get(loop)->defer_taskrun, table[i].defer_taskrun);
        ck_assert_uint_eq(loop_features_get(loop)->setup_flags & table[i].refused, 0);
        ck_assert_uint_eq(script.setups[0].entries, 256);
        ck_assert_uint_ne(script.setups[0].flags & IORING_SETUP_R_DISABLED, 0); /* any thread may run it first */
        ck_assert_int_gt(loop_nop(loop, test_log_cb, &log, NULL), 0);
        test_run(loop);
        test_log_is(&log, 0);
        test_loop_free(loop);
        ck_assert_uint_eq(script.rings_open, 0);
    }
    script_reset();
    script.refused_flags = IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_COOP_TASKRUN;
    loop = NULL;
    ck_assert_int_eq(loop_create(&loop, &(struct loop_options){.allocator = test_allocator()}), -EINVAL);
    ck_assert_ptr_null(loop);
    ck_assert_int_eq(loop_obstacle(-EINVAL), LOOP_OBSTACLE_OLD_KERNEL);
}
END_TEST

/* Goal: where memory for the ring is short, a smaller one is taken. Method: rings above 32 entries get -ENOMEM; then
 * all do. */
START_TEST(setup_halves)
{
    struct test_log log = {0};

    script.entries_most = 32;
    loop = test_loop_new(&(struct loop_options){.sq_entries = 1024});
    ck_assert_uint_eq(loop_features_get(loop)->sq_entries, 32);
    ck_assert_uint_ge(loop_features_get(loop)->cq_entries, 32);
    ck_assert_uint_eq(script.setups_count, 6);
    for (int i = 0; i < 100; i++)
        ck_assert_int_gt(loop_nop(loop, i == 99 ? test_log_cb : NULL, &log, NULL), 0);
    test_run(loop);
    test_log_is(&log, 0);
    test_loop_free(loop);

    script_reset();
    script.entries_most = 4;
    loop = NULL;
    ck_assert_int_eq(loop_create(&loop, &(struct loop_options){.allocator = test_allocator()}), -ENOMEM);
    ck_assert_ptr_null(loop);
    ck_assert_uint_eq(script.rings_open, 0);
}
END_TEST

/* Goal: an error of set-up is handed on as it is, and leaves nothing. */
START_TEST(setup_errors)
{
    static const int errors[] = {-ENOSYS, -EPERM, -EACCES, -EMFILE, -ENFILE, -ENOMEM, -EOPNOTSUPP};

    for (size_t i = 0; i < TEST_COUNT(errors); i++) {
        script_reset();
        script.setup_error = errors[i];
        loop = NULL;
        ck_assert_int_eq(loop_create(&loop, &(struct loop_options){.allocator = test_allocator()}), errors[i]);
        ck_assert_ptr_null(loop);
        ck_assert_uint_eq(test_memory.blocks, 0);
    }
}
END_TEST

/* Goal: a kernel without a feature that contracts rest on is refused as too old. Method: take each away. */
START_TEST(features_needed)
{
    static const unsigned needed[] = {IORING_FEAT_NODROP, IORING_FEAT_SUBMIT_STABLE, IORING_FEAT_FAST_POLL,
                                      IORING_FEAT_EXT_ARG, IORING_FEAT_CQE_SKIP};

    for (size_t i = 0; i < TEST_COUNT(needed); i++) {
        int r;

        script_reset();
        script.features &= ~needed[i];
        r = loop_create(&loop, &(struct loop_options){.allocator = test_allocator()});
        ck_assert_int_lt(r, 0);
        ck_assert_int_eq(loop_obstacle(r), LOOP_OBSTACLE_OLD_KERNEL);
        ck_assert_uint_eq(script.rings_open, 0);
        ck_assert_uint_eq(test_memory.blocks, 0);
    }
    script_reset();
    script.features &= ~(unsigned)IORING_FEAT_MIN_TIMEOUT; /* this one is not */
    loop = test_loop_new(NULL);
    ck_assert(!loop_features_get(loop)->min_wait);
    test_loop_free(loop);
}
END_TEST

/* Goal: the ring descriptor need not be registered. */
START_TEST(setup_without_registered_ring)
{
    struct test_log log = {0};

    script.register_fds_error = -EINVAL;
    loop = test_loop_new(NULL);
    ck_assert_int_gt(loop_nop(loop, test_log_cb, &log, NULL), 0);
    test_run(loop);
    test_log_is(&log, 0);
    ck_assert(!loop_features_get(loop)->registered_ring);
    test_loop_free(loop);
}
END_TEST

/* Goal: obstacles are told apart. Method: a table of errors and sysctl values. */
START_TEST(obstacles)
{
    static const char disabled[] = "/proc/sys/kernel/io_uring_disabled";
    static const struct {
        int                error;
        long               disabled; /* -1: there is no such file */
        enum loop_obstacle obstacle;
    } table[] = {
        {0, 0, LOOP_OBSTACLE_NONE},
        {-ENOENT, 0, LOOP_OBSTACLE_NONE},
        {-ECONNREFUSED, -1, LOOP_OBSTACLE_NONE},
        {-ENOSYS, -1, LOOP_OBSTACLE_NO_KERNEL},
        {-EINVAL, 0, LOOP_OBSTACLE_OLD_KERNEL},
        {-EPERM, 2, LOOP_OBSTACLE_SYSCTL},
        {-EPERM, 1, LOOP_OBSTACLE_SYSCTL},
        {-EPERM, 0, LOOP_OBSTACLE_FILTER},
        {-EPERM, -1, LOOP_OBSTACLE_FILTER},
        {-EACCES, 0, LOOP_OBSTACLE_FILTER},
        {-ENOMEM, 0, LOOP_OBSTACLE_MEMLOCK},
        {-EMFILE, 0, LOOP_OBSTACLE_FILES},
        {-ENFILE, 0, LOOP_OBSTACLE_FILES},
    };

    for (size_t i = 0; i < TEST_COUNT(table); i++) {
        script_reset();
        if (table[i].disabled >= 0)
            script.files[0] = (struct script_file){.path = disabled, .number = table[i].disabled};
        ck_assert_msg(loop_obstacle(table[i].error) == table[i].obstacle, "case %zu: %d", i,
                      (int)loop_obstacle(table[i].error));
    }
    for (int a = LOOP_OBSTACLE_NONE; a <= LOOP_OBSTACLE_FILES; a++) {
        const char *text = loop_obstacle_text((enum loop_obstacle)a);

        ck_assert_ptr_eq(loop_obstacle_text((enum loop_obstacle)a), text); /* static */
        ck_assert_uint_ge(strlen(text), 10);
        for (int b = LOOP_OBSTACLE_NONE; b < a; b++)
            ck_assert_str_ne(text, loop_obstacle_text((enum loop_obstacle)b));
    }
    ck_assert_ptr_nonnull(loop_obstacle_text((enum loop_obstacle)99));
}
END_TEST

/* Goal: an operation that the kernel lacks is refused before submission. Method: a kernel that ends before bind. */
START_TEST(opcode_missing)
{
    struct sockaddr_in address = test_localhost(1);

    script.opcode_last = IORING_OP_SENDMSG_ZC;
    loop = test_loop_new(NULL);
    ck_assert_uint_eq(loop_features_get(loop)->opcode_last, IORING_OP_SENDMSG_ZC);
    ck_assert_int_eq(loop_bind(loop, 5, (struct sockaddr *)&address, sizeof(address), test_log_cb, NULL, NULL),
                     -EOPNOTSUPP);
    ck_assert_int_eq(loop_listen(loop, 5, 1, test_log_cb, NULL, NULL), -EOPNOTSUPP);
    test_run(loop);
    ck_assert_uint_eq(script.taken - script_count(IORING_OP_POLL_ADD) - script_count(IORING_OP_READ), 0);
    test_loop_free(loop);
}
END_TEST

/* Goal: a buffer group that can't be registered is an error of the call that needed it. */
START_TEST(group_refused)
{
    struct test_log log = {0};

    script.register_error = -ENOMEM;
    loop = test_loop_new(NULL);
    ck_assert_int_eq(loop_recv_multishot(loop, 5, 0, 0, test_log_cb, &log, NULL), -ENOMEM);
    ck_assert(!loop_alive(loop));
    script.register_error = 0;
    test_loop_free(loop);
}
END_TEST

/* ---- completions */

/* Goal: a second completion of an ended operation is dropped and counted. Method: the same CQE twice in one turn, and
 * once more later. */
START_TEST(duplicate)
{
    struct test_log log = {0};
    uint64_t        user_data;

    start_recv(&log, NULL);
    test_turns(loop, 1);
    user_data = recv_sqe(0)->user_data;
    script_complete(recv_sqe(0), 3, 0);
    script_cqe(user_data, 4, 0);
    test_turns(loop, 1);
    test_log_is(&log, 3);
    ck_assert_uint_eq(test_stats(loop).cqes_stale, 1);
    script_cqe(user_data, 5, IORING_CQE_F_MORE);
    test_turns(loop, 1);
    test_log_is(&log, 3);
    ck_assert_uint_eq(test_stats(loop).cqes_stale, 2);
}
END_TEST

/* Goal: a stale completion does not reach the successor in its slot. Method: end one, start others, post the first's
 * CQE again; plain and extended contexts. */
START_TEST(stale)
{
    const struct loop_terms *terms = _i == 0 ? NULL : LOOP_TERMS(.flags = LOOP_EXTENDED);
    struct test_log          log[4] = {0};
    uint64_t                 old;

    start_recv(&log[0], terms);
    test_turns(loop, 1);
    old = recv_sqe(0)->user_data;
    script_complete(recv_sqe(0), 1, 0);
    test_turns(loop, 1);
    test_log_is(&log[0], 1);
    for (int i = 1; i < 4; i++)
        start_recv(&log[i], terms);
    test_turns(loop, 1);
    script_cqe(old, 2, 0);
    test_turns(loop, 1);
    for (int i = 1; i < 4; i++)
        ck_assert_uint_eq(log[i].count, 0);
    ck_assert_uint_eq(test_stats(loop).cqes_stale, 1);
    for (int i = 1; i < 4; i++)
        script_complete(recv_sqe(0), i, 0);
    test_turns(loop, 1);
    for (int i = 1; i < 4; i++)
        test_log_is(&log[i], i);
}
END_TEST

/* Goal: generations do not repeat soon. Method: one slot used 70 000 times, all completions of the first come again in
 * between. */
START_TEST(generations)
{
    struct test_log log = {0};
    uint64_t        first = 0;
    uint32_t        count = 0;

    for (uint32_t i = 0; i < 70000; i++) {
        log = (struct test_log){0};
        start_recv(&log, NULL);
        test_turns(loop, 1);
        if (i == 0)
            first = recv_sqe(0)->user_data;
        else if (recv_sqe(0)->user_data == first)
            ck_abort_msg("a generation came again after %u", i);
        script_cqe(first, 77, 0);
        if (i > 0)
            count++;
        else
            script.pending_count--; /* that was its completion */
        test_turns(loop, 1);
        if (i > 0) {
            if (log.count != 0)
                ck_abort_msg("a stale completion arrived in round %u", i);
            script_complete(recv_sqe(0), 1, 0);
            test_turns(loop, 1);
        }
        ck_assert_uint_eq(log.count, 1);
    }
    ck_assert_uint_eq(test_stats(loop).cqes_stale, count);
}
END_TEST

/* Goal: completions that nobody can have asked for are dropped and counted. Method: slots, handlers and modes that
 * never were. */
START_TEST(unknown)
{
    static const uint64_t values[] = {1,
                                      2,
                                      5,
                                      6,
                                      0xffff0001,
                                      0xffff0002,
                                      UINT64_MAX - 2,
                                      UINT64_MAX - 1,
                                      0,
                                      0x200,
                                      (uint64_t)7 << 2,
                                      (uint64_t)LOOP_HANDLERS_MAX << 2};
    struct test_log       log = {0};

    for (size_t i = 0; i < TEST_COUNT(values); i++) {
        script_cqe(values[i], 1, i % 2 == 0 ? 0 : IORING_CQE_F_MORE);
        test_turns(loop, 1);
        ck_assert_msg(test_stats(loop).cqes_stale == i + 1, "user_data %#" PRIx64 " was not counted", values[i]);
    }
    start_recv(&log, NULL); /* no harm was done */
    test_turns(loop, 1);
    script_complete(recv_sqe(0), 1, 0);
    test_turns(loop, 1);
    test_log_is(&log, 1);
    script_cqe(3, 1, 0);
    test_turns(loop, 1);
    ck_assert_uint_eq(test_stats(loop).cqes_unclaimed, 1);
    ck_assert_uint_eq(test_stats(loop).cqes_stale, TEST_COUNT(values));
}
END_TEST

/* Goal: completions are called back in the order of the CQ, whatever the order of the starts. Method: six recvs
 * completed backwards. */
static uint32_t order_next;

static void order_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    (void)of, (void)arg;
    ck_assert_uint_eq((uint32_t)result->res, order_next);
    order_next++;
}

START_TEST(reversed)
{
    for (int i = 0; i < 6; i++)
        ck_assert_int_gt(loop_recv(loop, i, buffer, 1, 0, order_cb, NULL, NULL), 0);
    test_turns(loop, 1);
    for (int32_t i = 0; i < 6; i++)
        script_complete(recv_sqe(5 - (unsigned)i), i, 0);
    test_turns(loop, 1);
    ck_assert_uint_eq(order_next, 6);
}
END_TEST

/* Goal: an overflown CQ loses nothing and is counted. Method: 50 completions into a CQ of 8, without (_i = 0) and with
 * a wait. */
static void complete_all(void *arg)
{
    (void)arg;
    while (script_find(IORING_OP_RECV, 0) != NULL)
        script_complete(recv_sqe(0), 1, 0);
}

START_TEST(overflow)
{
    static struct test_log logs[50];

    for (size_t i = 0; i < TEST_COUNT(logs); i++)
        start_recv(&logs[i], NULL);
    test_turns(loop, 1);
    ck_assert_uint_eq(script_count(IORING_OP_RECV), TEST_COUNT(logs));
    if (_i == 0) {
        complete_all(NULL);
        ck_assert_uint_eq(script_overflown(), TEST_COUNT(logs) - 8);
        test_turns(loop, 10);
        ck_assert(!loop_alive(loop));
    } else {
        script.on_wait = complete_all;
        test_run(loop);
    }
    for (size_t i = 0; i < TEST_COUNT(logs); i++)
        test_log_is(&logs[i], 1);
    ck_assert_uint_ge(test_stats(loop).cq_overflows, 1);
    ck_assert_uint_eq(test_stats(loop).cqes_stale, 0);
}
END_TEST

/* Goal: restart codes that leak out of the kernel become -EINTR; others stay. */
START_TEST(restart_codes)
{
    static const struct {
        int32_t res, told;
    } table[] = {{-512, -EINTR},   {-513, -EINTR}, {-514, -EINTR}, {-516, -EINTR},
                 {-EINTR, -EINTR}, {-511, -511},   {-517, -517},   {-ECANCELED, -ECANCELED}};

    for (size_t i = 0; i < TEST_COUNT(table); i++) {
        struct test_log log[2] = {0};

        start_recv(&log[0], NULL);
        start_recv(&log[1], LOOP_TERMS(.data = "x", .data_size = 1));
        test_turns(loop, 1);
        script_complete(recv_sqe(0), table[i].res, 0);
        script_complete(recv_sqe(0), table[i].res, 0);
        test_turns(loop, 1);
        test_log_is(&log[0], table[i].told);
        test_log_is(&log[1], table[i].told);
    }
}
END_TEST

static void direct_note(struct loop *of, const struct loop_result *result, void *arg)
{
    (void)of;
    ck_assert_uint_eq(result->value, 9);
    *(uint32_t *)arg = result->flags;
}

/* Goal: the kernel's hint that there is more reaches every kind of receive. Method: the flag on plain, extended and
 * direct ones, and none without it. */
START_TEST(more_to_read)
{
    for (uint32_t hint = 0; hint < 2; hint++) {
        uint32_t        cqe_flags = hint == 1 ? IORING_CQE_F_SOCK_NONEMPTY : 0;
        uint32_t        expected = hint == 1 ? LOOP_SOCK_NONEMPTY : 0, direct = 77;
        struct test_log log[2] = {0};
        int             n = loop_handler_register(loop, direct_note, &direct, LOOP_GROUP_DEFAULT);

        start_recv(&log[0], NULL);
        start_recv(&log[1], LOOP_TERMS(.flags = LOOP_EXTENDED));
        ck_assert_int_gt(loop_recv(loop, 5, buffer, 1, 0, LOOP_HANDLER(n), LOOP_VALUE(9), NULL), 0);
        test_turns(loop, 1);
        for (int i = 0; i < 3; i++)
            script_complete(recv_sqe(0), 1, cqe_flags);
        test_turns(loop, 1);
        ck_assert_uint_eq(log[0].last.flags, expected);
        ck_assert_uint_eq(log[1].last.flags, expected);
        ck_assert_uint_eq(direct, expected);
    }
}
END_TEST

/* Goal: hints reach the kernel. Method: look at the SQEs of each kind. */
START_TEST(hints)
{
    static const uint32_t flags[] = {0, LOOP_POLL_FIRST, LOOP_ASYNC, LOOP_POLL_FIRST | LOOP_ASYNC | LOOP_EXTENDED};

    script.manual = true;
    for (size_t i = 0; i < TEST_COUNT(flags); i++) {
        bool                poll_first = (flags[i] & LOOP_POLL_FIRST) != 0, async = (flags[i] & LOOP_ASYNC) != 0;
        struct test_log     log[3] = {0};
        struct io_uring_sqe sqe[3];

        start_recv(&log[0], LOOP_TERMS(.flags = flags[i]));
        ck_assert_int_gt(loop_send(loop, 5, buffer, 7, MSG_MORE, test_log_cb, &log[1], LOOP_TERMS(.flags = flags[i])),
                         0);
        ck_assert_int_gt(
            loop_accept(loop, 5, NULL, NULL, SOCK_NONBLOCK, test_log_cb, &log[2], LOOP_TERMS(.flags = flags[i])), 0);
        test_turns(loop, 1);
        sqe[0] = *recv_sqe(0);
        sqe[1] = *script_find(IORING_OP_SEND, 0);
        sqe[2] = *script_find(IORING_OP_ACCEPT, 0);
        ck_assert_int_eq((sqe[0].ioprio & IORING_RECVSEND_POLL_FIRST) != 0, poll_first);
        ck_assert_int_eq((sqe[1].ioprio & IORING_RECVSEND_POLL_FIRST) != 0, poll_first);
        ck_assert_int_eq((sqe[2].ioprio & IORING_ACCEPT_POLL_FIRST) != 0, poll_first);
        for (int k = 0; k < 3; k++) {
            ck_assert_int_eq((sqe[k].flags & IOSQE_ASYNC) != 0, async);
            ck_assert_int_eq(sqe[k].fd, 5);
        }
        ck_assert_uint_eq(sqe[0].addr, (uint64_t)(uintptr_t)buffer);
        ck_assert_uint_eq(sqe[0].len, sizeof(buffer));
        ck_assert_uint_eq(sqe[1].len, 7);
        ck_assert_uint_eq(sqe[1].msg_flags & (MSG_MORE | MSG_WAITALL), MSG_MORE | MSG_WAITALL);
        ck_assert_uint_eq(sqe[2].accept_flags, SOCK_NONBLOCK | SOCK_CLOEXEC);
        script_complete(script_find(IORING_OP_ACCEPT, 0), -ECONNABORTED, 0);
        script_complete(script_find(IORING_OP_SEND, 0), 7, 0);
        script_complete(recv_sqe(0), 0, 0);
        test_turns(loop, 1);
        test_log_is(&log[0], 0);
        test_log_is(&log[1], 7);
        test_log_is(&log[2], -ECONNABORTED);
    }
    script.manual = false;
}
END_TEST

/* Goal: fixed files are named by slot and flag. Method: look at the SQE. */
START_TEST(fixed_files)
{
    struct test_log log = {0};

    ck_assert_int_gt(loop_recv(loop, LOOP_FIXED(12), buffer, 1, 0, test_log_cb, &log, NULL), 0);
    test_turns(loop, 1);
    ck_assert_int_eq(recv_sqe(0)->fd, 12);
    ck_assert_uint_ne(recv_sqe(0)->flags & IOSQE_FIXED_FILE, 0);
    script_complete(recv_sqe(0), 1, 0);
    test_turns(loop, 1);
    test_log_is(&log, 1);
}
END_TEST

/* ---- entering */

/* Goal: no error of an enter that passes loses or repeats an SQE. Method: each error before the work, a few times. */
START_TEST(enter_errors)
{
    static const int errors[] = {-EINTR, -EAGAIN, -EBUSY, -ENOMEM, -ETIME};
    struct test_log  log[5] = {0};
    unsigned         taken = script.taken;

    for (int i = 0; i < 3; i++)
        script_plan((struct script_enter){.result = errors[_i]});
    for (size_t i = 0; i < TEST_COUNT(log); i++)
        ck_assert_int_gt(loop_nop(loop, test_log_cb, &log[i], NULL), 0);
    test_run(loop);
    for (size_t i = 0; i < TEST_COUNT(log); i++)
        test_log_is(&log[i], 0);
    ck_assert_uint_eq(script.taken - taken, TEST_COUNT(log));
    ck_assert_uint_eq(test_stats(loop).sqes_submitted, script.taken);
    ck_assert_uint_eq(test_stats(loop).enters, script.enters);
}
END_TEST

/* Goal: the same while more is queued than the SQ holds, from a callback. Method: 100 nops and errors in between. */
struct burst {
    uint32_t ended;
};

static void burst_ended(struct loop *of, const struct loop_result *result, void *arg)
{
    (void)of;
    ck_assert_int_eq(result->res, 0);
    ck_assert_uint_eq(*(const uint32_t *)result->extra, ((struct burst *)arg)->ended);
    ((struct burst *)arg)->ended++;
}

static void burst_start(struct loop *of, const struct loop_result *result, void *arg)
{
    (void)result;
    for (uint32_t i = 0; i < 100; i++)
        ck_assert_int_gt(loop_nop(of, burst_ended, arg, LOOP_TERMS(.data = &i, .data_size = sizeof(i))), 0);
}

START_TEST(enter_errors_with_a_full_queue)
{
    static const int errors[] = {-EINTR, -EAGAIN, -EBUSY, -ENOMEM, -ETIME};
    struct burst     burst = {0};

    ck_assert_int_gt(loop_nop(loop, burst_start, &burst, NULL), 0);
    script_plan((struct script_enter){0});
    for (int i = 0; i < 6; i++) {
        script_plan((struct script_enter){.result = errors[_i]});
        script_plan((struct script_enter){.limited = true, .take = 3});
    }
    test_run(loop);
    ck_assert_uint_eq(burst.ended, 100);
    ck_assert_uint_eq(test_stats(loop).sqes_submitted, script.taken);
}
END_TEST

/* Goal: SQEs that the kernel has not taken are offered again, in order. Method: it takes 0, 1, 2 ... of eight. */
START_TEST(partial_submits)
{
    struct burst burst = {0};

    for (unsigned take = 0; take < 8; take++)
        script_plan((struct script_enter){.limited = true, .take = take});
    for (uint32_t i = 0; i < 40; i++)
        ck_assert_int_gt(loop_nop(loop, burst_ended, &burst, LOOP_TERMS(.data = &i, .data_size = sizeof(i))), 0);
    test_run(loop);
    ck_assert_uint_eq(burst.ended, 40);
    ck_assert_uint_eq(test_stats(loop).sqes_submitted, script.taken);
}
END_TEST

static void finish_recv(void *arg)
{
    (void)arg;
    script_complete(recv_sqe(0), 1, 0);
}

/* Goal: waits that end with nothing are looked through and counted. Method: three of them, before a timer and before a
 * result. */
static uint64_t fired_at;

static void note_time(struct loop_timer *timer)
{
    (void)timer;
    fired_at = loop_now(loop);
}

START_TEST(early_waits)
{
    struct loop_timer timer = {0};
    struct test_log   log = {0};
    uint64_t          begin = script.now_ns;

    for (int i = 0; i < 3; i++)
        script_plan((struct script_enter){.early = true});
    if (_i == 0) {
        ck_assert_int_eq(loop_timer_start(loop, &timer, LOOP_SECOND, 0, note_time), 0);
        test_run(loop);
        ck_assert_uint_eq(fired_at, begin + LOOP_SECOND);
    } else {
        start_recv(&log, NULL);
        script.on_wait = finish_recv;
        test_run(loop);
        test_log_is(&log, 1);
    }
    ck_assert_uint_eq(test_stats(loop).waits_early, 3);
}
END_TEST

/* Goal: task work that the kernel announces is fetched also by turns that do not wait. */
START_TEST(announced_work)
{
    struct test_log log = {0};
    unsigned        enters;

    start_recv(&log, NULL);
    test_turns(loop, 1);
    enters = script.enters;
    test_turns(loop, 1);
    script_taskrun();
    test_turns(loop, 1);
    ck_assert_uint_gt(script.enters, enters);
    ck_assert_uint_ne(script.last_flags & IORING_ENTER_GETEVENTS, 0);
    ck_assert_uint_eq(script.last_min_complete, 0);
    script_complete(recv_sqe(0), 1, 0);
    test_turns(loop, 1);
    test_log_is(&log, 1);
}
END_TEST

/* Goal: a turn that submits and waits is one enter. Method: count them around a nop and a recv. */
START_TEST(one_enter_a_turn)
{
    struct test_log log = {0};
    unsigned        enters = script.enters;

    start_recv(&log, NULL);
    script.on_wait = finish_recv;
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_ONCE), 0);
    test_log_is(&log, 1);
    ck_assert_uint_eq(script.enters - enters, 1);
    ck_assert_uint_ge(script.last_min_complete, 1);
    ck_assert_uint_eq(script.last_timeout_ns, UINT64_MAX);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("script");
    TCase *tcase = test_case_without_ring(suite, "set-up");

    tcase_add_checked_fixture(tcase, script_reset, NULL);
    tcase_add_test(tcase, setup_falls_back);
    tcase_add_test(tcase, setup_halves);
    tcase_add_test(tcase, setup_errors);
    tcase_add_test(tcase, features_needed);
    tcase_add_test(tcase, setup_without_registered_ring);
    tcase_add_test(tcase, obstacles);
    tcase_add_test(tcase, opcode_missing);
    tcase_add_test(tcase, group_refused);

    tcase = test_case_without_ring(suite, "completions");
    tcase_add_checked_fixture(tcase, loop_setup, loop_teardown);
    tcase_add_test(tcase, duplicate);
    tcase_add_loop_test(tcase, stale, 0, 2);
    tcase_add_test(tcase, generations);
    tcase_add_test(tcase, unknown);
    tcase_add_test(tcase, reversed);
    tcase_add_loop_test(tcase, overflow, 0, 2);
    tcase_add_test(tcase, restart_codes);
    tcase_add_test(tcase, more_to_read);
    tcase_add_test(tcase, hints);
    tcase_add_test(tcase, fixed_files);

    tcase = test_case_without_ring(suite, "entering");
    tcase_add_checked_fixture(tcase, loop_setup, loop_teardown);
    tcase_add_loop_test(tcase, enter_errors, 0, 5);
    tcase_add_loop_test(tcase, enter_errors_with_a_full_queue, 0, 5);
    tcase_add_test(tcase, partial_submits);
    tcase_add_loop_test(tcase, early_waits, 0, 2);
    tcase_add_test(tcase, announced_work);
    tcase_add_test(tcase, one_enter_a_turn);
    return suite;
}
