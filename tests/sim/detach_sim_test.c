/* tests/sim/detach_sim_test.c: detaching over a scripted ring: what the kernel does not find, has with a worker, has no
 * room to tell, or has been shown only; and what the SQEs taken back look like. */
#include "tests/sim/script_ring.h"
#include "tests/support/test.h"

static struct loop *loop;
static char         bytes[64];

enum { FD = 2005, OTHER = 2006 }; /* not those of the loop itself */

static void setup_with(uint32_t flags)
{
    script_reset();
    loop = test_loop_new(&(struct loop_options){.sq_entries = 8, .cq_entries = 8, .flags = flags});
    test_turns(loop, 1);
}

static void setup(void)
{
    setup_with(0);
}

static void teardown(void)
{
    script.hidden_opcode = 0;
    script.worker_opcode = 0;
    test_loop_free(loop);
    ck_assert_uint_eq(script.rings_open, 0);
}

static void start_read(struct test_log *log)
{
    ck_assert_int_gt(loop_read(loop, FD, bytes, 10, 0, test_log_cb, log, NULL), 0);
    test_turns(loop, 1);
}

/* Goal: the usual way asks once, does not wait, and dispatches nothing. Method: a recv. */
START_TEST(usual)
{
    struct test_log log = {0};

    ck_assert_int_gt(loop_recv(loop, FD, bytes, 10, 0, test_log_cb, &log, NULL), 0);
    test_turns(loop, 1);
    script.sync_cancels = script.waits = 0;
    ck_assert_int_eq(loop_detach(loop, FD), 1);
    ck_assert_uint_eq(script.waits, 0);
    ck_assert_uint_eq(script.sync_cancels, 1);
    ck_assert_uint_eq(script_ready(), 1);
    ck_assert_uint_eq(log.count, 0);
    test_run(loop);
    test_log_is(&log, -ECANCELED);
}
END_TEST

/* Goal: what the kernel does not find and has not completed is not taken for gone. Method: a read that no cancel finds:
 * -EBUSY when patience is over, the real result later, and then nothing is left. */
START_TEST(not_found)
{
    struct test_log log = {0};
    uint64_t        before_ns = script.now_ns;

    start_read(&log);
    script.hidden_opcode = IORING_OP_READ;
    ck_assert_int_eq(loop_detach(loop, FD), -EBUSY);
    ck_assert_uint_ge(script.now_ns - before_ns, 100000000);
    ck_assert_uint_lt(script.now_ns - before_ns, 200000000);
    ck_assert_uint_eq(log.count, 0);
    ck_assert_int_eq(loop_detach(loop, FD), -EBUSY);
    script_complete(script_find(IORING_OP_READ, 0), 5, 0);
    ck_assert_int_eq(loop_detach(loop, FD), 0); /* asked to end before */
    ck_assert_uint_eq(log.count, 0);
    test_run(loop);
    test_log_is(&log, 5);
}
END_TEST

static void complete_read(void *arg)
{
    int32_t *res = arg;

    if (script_find(IORING_OP_READ, 0) != NULL)
        script_complete(script_find(IORING_OP_READ, 0), *res, 0);
}

/* Goal: what comes while it waits is enough. Method: the same read completes during the first wait: with data, or as a
 * worker that was interrupted. */
START_TEST(completes_meanwhile)
{
    struct test_log log = {0};
    int32_t         res = _i == 0 ? 5 : -512;

    start_read(&log);
    if (_i == 0)
        script.hidden_opcode = IORING_OP_READ;
    else
        script.worker_opcode = IORING_OP_READ;
    script.on_wait = complete_read;
    script.on_wait_arg = &res;
    ck_assert_int_eq(loop_detach(loop, FD), 1);
    ck_assert_uint_eq(log.count, 0);
    script.on_wait = NULL;
    test_run(loop);
    test_log_is(&log, _i == 0 ? 5 : -ECANCELED);
}
END_TEST

/* Goal: a worker that does not let go is -EBUSY, also of an operation without a context. Method: a read with a context,
 * a direct one. */
static void direct_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    (void)of;
    *(int32_t *)arg = result->res;
}

START_TEST(worker_holds_on)
{
    int32_t         told = 1;
    struct test_log log = {0};
    int             handler = loop_handler_register(loop, direct_cb, &told, 0);

    if (_i == 0)
        start_read(&log);
    else
        ck_assert_int_gt(loop_read(loop, FD, bytes, 10, 0, LOOP_HANDLER(handler), LOOP_VALUE(7), NULL), 0);
    test_turns(loop, 1);
    script.worker_opcode = IORING_OP_READ;
    ck_assert_int_eq(loop_detach(loop, FD), -EBUSY);
    script.worker_opcode = 0;
    script_complete(script_find(IORING_OP_READ, 0), 5, 0);
    ck_assert_int_eq(loop_detach(loop, FD), 0);
    test_run(loop);
    ck_assert_int_eq(_i == 0 ? log.last.res : told, 5);
}
END_TEST

/* Goal: a completion that stands in the CQ already is proof. Method: a read that no cancel finds, completed before. */
START_TEST(completed_before)
{
    struct test_log log = {0};

    start_read(&log);
    script.hidden_opcode = IORING_OP_READ;
    script_complete(script_find(IORING_OP_READ, 0), 5, 0);
    script.waits = 0;
    ck_assert_int_eq(loop_detach(loop, FD), 1);
    ck_assert_uint_eq(script.waits, 0);
    test_run(loop);
    test_log_is(&log, 5);
}
END_TEST

/* Goal: a completion that was dispatched, of an operation that goes on under its id, is no proof. Method: a read into a
 * lent buffer ends for want of one, and is started again; then no cancel finds it. */
START_TEST(started_again)
{
    struct test_log log = {0};

    ck_assert_int_gt(loop_read(loop, FD, NULL, 0, 0, test_log_cb, &log, LOOP_TERMS(.flags = LOOP_LEND)), 0);
    test_turns(loop, 1);
    script_complete(script_find(IORING_OP_READ, 0), -ENOBUFS, 0);
    test_turns(loop, 2);
    ck_assert_uint_eq(script_count(IORING_OP_READ), 1);
    script.hidden_opcode = IORING_OP_READ;
    ck_assert_int_eq(loop_detach(loop, FD), -EBUSY);
    script_complete(script_find(IORING_OP_READ, 0), 0, 0);
    test_run(loop);
    test_log_is(&log, 0);
}
END_TEST

/* Goal: with no room in the CQ the kernel's word is enough for what it finds, but not for a read. Method: more receives
 * than the CQ holds; then the same with a read behind them, which no cancel finds. */
START_TEST(overflow)
{
    enum { COUNT = 20 };
    static struct test_log logs[COUNT + 1];

    for (int i = 0; i < COUNT; i++)
        ck_assert_int_gt(loop_recv(loop, FD, bytes, 1, 0, test_log_cb, &logs[i], NULL), 0);
    test_turns(loop, 1);
    if (_i == 1) {
        start_read(&logs[COUNT]);
        script.hidden_opcode = IORING_OP_READ;
    }
    ck_assert_int_eq(loop_detach(loop, FD), _i == 0 ? COUNT : -EBUSY);
    ck_assert_uint_gt(script_overflown(), 0);
    ck_assert_uint_eq(logs[0].count, 0);
    if (_i == 1)
        script_complete(script_find(IORING_OP_READ, 0), 0, 0);
    test_run(loop);
    for (int i = 0; i < COUNT; i++)
        test_log_is(&logs[i], -ECANCELED);
}
END_TEST

/* Goal: a splice is found by what it reads from, which the kernel can't. Method: both ends. */
START_TEST(both_ends)
{
    struct test_log log = {0};

    ck_assert_int_gt(loop_splice(loop, FD, LOOP_AT_POSITION, OTHER, LOOP_AT_POSITION, 10, 0, test_log_cb, &log, NULL),
                     0);
    test_turns(loop, (uint32_t)_i / 2);
    ck_assert_int_eq(loop_detach(loop, _i % 2 == 0 ? FD : OTHER), 1);
    ck_assert_ptr_null(script_find(IORING_OP_SPLICE, 0));
    test_run(loop);
    test_log_is(&log, -ECANCELED);
}
END_TEST

/* Goal: a kernel that refuses the call does not make us lie. Method: every synchronous cancel gives -EINVAL: -EBUSY,
 * and the operation ends as after loop_cancel(). */
START_TEST(refused)
{
    struct test_log log = {0};

    ck_assert_int_gt(loop_recv(loop, FD, bytes, 10, 0, test_log_cb, &log, NULL), 0);
    test_turns(loop, 1);
    script.refused_register = IORING_REGISTER_SYNC_CANCEL;
    script.refused_register_error = -EINVAL;
    ck_assert_int_eq(loop_detach(loop, FD), -EBUSY);
    test_run(loop);
    test_log_is(&log, -ECANCELED);
}
END_TEST

/* Goal: with SQPOLL what was shown is the kernel's: waited for, then found. Method: its thread is slow. */
static void thread_works(void *arg)
{
    (void)arg;
    script_sqpoll(UINT32_MAX);
}

START_TEST(sqpoll)
{
    struct test_log log = {0};

    teardown();
    setup_with(LOOP_MODE_SQPOLL);
    ck_assert_int_gt(loop_poll_add_multishot(loop, FD, 1, 0, test_log_cb, &log, NULL), 0);
    ck_assert_int_ge(loop_submit(loop), 0); /* shown */
    ck_assert_uint_eq(script_count(IORING_OP_POLL_ADD), 0);
    script.on_wait = thread_works;
    ck_assert_int_eq(loop_detach(loop, FD), 1);
    for (unsigned n = 0; n < script_count(IORING_OP_POLL_ADD); n++)
        ck_assert_int_ne(script_find(IORING_OP_POLL_ADD, n)->fd, FD);
    script.on_wait = NULL;
    script.sqpoll_works = true;
    test_run(loop);
    test_log_is(&log, -ECANCELED);
}
END_TEST

/* Goal: what is taken back does nothing, silently, and only that. Method: by hand, an SQ with ours between others; what
 * the kernel gets. _i: SQEs of 128 bytes. */
START_TEST(blank)
{
    struct test_log logs[3] = {0};

    teardown();
    setup_with(_i == 0 ? 0 : LOOP_MODE_SQE128);
    script.manual = true;
    ck_assert_int_gt(loop_recv(loop, OTHER, bytes, 1, 0, test_log_cb, &logs[0], NULL), 0);
    ck_assert_int_gt(loop_send(loop, FD, bytes, 1, 0, test_log_cb, &logs[1], NULL), 0);
    ck_assert_int_gt(loop_recv(loop, OTHER, bytes, 1, 0, test_log_cb, &logs[2], NULL), 0);
    ck_assert_int_eq(loop_detach(loop, FD), 1);
    ck_assert_int_ge(loop_submit(loop), 0);
    ck_assert_ptr_null(script_find(IORING_OP_SEND, 0));
    ck_assert_uint_eq(script_count(IORING_OP_RECV), 2);
    ck_assert_uint_eq(script_count(IORING_OP_NOP), 1);
    ck_assert_uint_eq(script_find(IORING_OP_NOP, 0)->flags, IOSQE_CQE_SKIP_SUCCESS);
    script_complete(script_find(IORING_OP_NOP, 0), -ECANCELED, 0); /* as in a chain that was broken before it */
    for (int i = 0; i < 2; i++)
        script_complete(script_find(IORING_OP_RECV, 0), 1, 0);
    script.manual = false;
    test_run(loop);
    test_log_is(&logs[0], 1);
    test_log_is(&logs[1], -ECANCELED);
    test_log_is(&logs[2], 1);
    ck_assert_uint_eq(test_stats(loop).cqes_stale, 0);
}
END_TEST

/* Goal: chains stay whole. Method: the second of four goes, soft or hard, with a linked timeout; what the kernel gets.
 */
START_TEST(chain)
{
    bool                    hard = _i == 1;
    struct test_log         logs[4] = {0};
    const struct loop_terms deadline = {.timeout_ns = 1000000};

    teardown();
    script_reset();
    loop = test_loop_new(&(struct loop_options){.sq_entries = 32});
    test_turns(loop, 1);
    script.manual = true;
    ck_assert_int_eq(loop_chain_begin(loop, 4, hard ? LOOP_CHAIN_HARD : 0), 0);
    for (int i = 0; i < 4; i++)
        ck_assert_int_gt(loop_send(loop, i == 1 ? FD : OTHER, bytes, 1, 0, test_log_cb, &logs[i], &deadline), 0);
    ck_assert_int_eq(loop_chain_end(loop), 0);
    ck_assert_int_eq(loop_detach(loop, FD), hard ? 1 : 3);
    ck_assert_int_ge(loop_submit(loop), 0);
    ck_assert_uint_eq(script_count(IORING_OP_SEND), hard ? 3 : 1);
    ck_assert_uint_eq(script_count(IORING_OP_LINK_TIMEOUT), hard ? 3 : 1);
    ck_assert_uint_eq(script_count(IORING_OP_NOP), hard ? 2 : 6);
    for (unsigned n = 0; n < script_count(IORING_OP_NOP); n++)
        ck_assert_uint_eq(script_find(IORING_OP_NOP, n)->flags & (IOSQE_IO_LINK | IOSQE_IO_HARDLINK),
                          hard ? IOSQE_IO_HARDLINK : 0);
    while (script_find(IORING_OP_NOP, 0) != NULL)
        script_complete(script_find(IORING_OP_NOP, 0), 0, 0);
    while (script_find(IORING_OP_LINK_TIMEOUT, 0) != NULL)
        script_complete(script_find(IORING_OP_LINK_TIMEOUT, 0), -ECANCELED, 0);
    while (script_find(IORING_OP_SEND, 0) != NULL)
        script_complete(script_find(IORING_OP_SEND, 0), 1, 0);
    script.manual = false;
    test_run(loop);
    for (int i = 0; i < 4; i++)
        test_log_is(&logs[i], i == 0 || (hard && i != 1) ? 1 : -ECANCELED);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("detach_sim");
    TCase *tests = test_case_without_ring(suite, "detach");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, usual);
    tcase_add_test(tests, not_found);
    tcase_add_loop_test(tests, completes_meanwhile, 0, 2);
    tcase_add_loop_test(tests, worker_holds_on, 0, 2);
    tcase_add_test(tests, completed_before);
    tcase_add_test(tests, started_again);
    tcase_add_loop_test(tests, overflow, 0, 2);
    tcase_add_loop_test(tests, both_ends, 0, 4);
    tcase_add_test(tests, refused);
    tcase_add_test(tests, sqpoll);
    tcase_add_loop_test(tests, blank, 0, 2);
    tcase_add_loop_test(tests, chain, 0, 2);
    return suite;
}
