/* tests/sim/script_test.c: what the kernel can't be made to do, and time that stands still: the core over a scripted
 * ring. */
#include "tests/sim/script_ring.h"
#include "tests/support/test.h"

#include <poll.h>
#include <semaphore.h>
#include <time.h>

static struct loop *loop;
static char         buffer[4096];

static void setup(void)
{
    script_reset();
}

static void loop_setup(void)
{
    script_reset();
    loop =
        test_loop_new(&(struct loop_options){.sq_entries = 8, .cq_entries = 8, .buffer_size = 64, .buffer_count = 4});
    test_turns(loop, 1);
}

static void loop_teardown(void)
{
    test_loop_free(loop);
    ck_assert_uint_eq(script.rings_open, 0);
}

static loop_id start_recv(struct test_log *log, const struct loop_terms *terms)
{
    loop_id id = loop_recv(loop, 5, buffer, sizeof(buffer), 0, test_log_cb, log, terms);

    ck_assert_int_gt(id, 0);
    return id;
}

static struct io_uring_sqe *recv_sqe(unsigned n)
{
    struct io_uring_sqe *sqe = script_find(IORING_OP_RECV, n);

    ck_assert_ptr_nonnull(sqe);
    return sqe;
}

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
    };

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
        ck_assert_uint_eq((log.last.flags & LOOP_TIMED_OUT) != 0, table[i].timeout_first);
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
    Suite *suite = suite_create("script");
    TCase *tcase = test_case_without_ring(suite, "set-up");

    tcase_add_checked_fixture(tcase, setup, NULL);
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

    tcase = test_case_without_ring(suite, "time");
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
