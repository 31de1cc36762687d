/* tests/loop/op_table_test.c: what holds for each row of the table of all operations (op_rows.c). */
#include "tests/loop/op_world.h"

#include <net/if.h>
#include <pthread.h>

static struct world *world;

static const struct row *row_setup(int i)
{
    world = world_for(&rows[i], &(struct loop_options){.sq_entries = 16});
    return world != NULL ? &rows[i] : NULL;
}

static void expect_good(const struct row *row, const struct test_log *log)
{
    world_expect(world, row, log, row->good, 0);
    if (row->look != NULL)
        row->look(world, log->results[0].res);
}

static void *start_elsewhere(void *arg)
{
    const struct row *row = arg;

    if (row->flags & OWN_CHAIN)
        loop_link_timeout(world->loop, 1, 0, NULL, NULL, NULL);
    else
        world_start(world, row, row->bad != 0 ? BAD : GOOD, NULL, NULL, NULL);
    return NULL;
}

static void use_elsewhere(void *arg)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, start_elsewhere, arg) == 0)
        pthread_join(thread, NULL);
}

/* ---- the table itself */

/* Goal: no opcode is left untested. Method: every one of the installed header has a row, or is known to have none. */
START_TEST(complete)
{
    bool found[IORING_OP_LAST] = {false};

    for (size_t i = 0; i < ROWS; i++)
        found[rows[i].opcode] = true;
    for (const uint8_t *opcode = rows_legacy; *opcode != IORING_OP_LAST; opcode++) {
        ck_assert(!found[*opcode]);
        found[*opcode] = true;
    }
    for (unsigned opcode = 0; opcode < IORING_OP_LAST; opcode++)
        ck_assert_msg(found[opcode], "opcode %u has no row", opcode);
}
END_TEST

/* ---- what can't be tried here */

/* Goal: what the kernel lacks is refused at once. The rest of the tests pass over it. */
START_TEST(unknown)
{
    const struct row *row = &rows[_i];

    world = world_with(row, &(struct loop_options){.sq_entries = 16});
    if (!test_has_opcode(world->loop, row->opcode) && (row->flags & REFUSED) == 0) {
        ck_assert_msg((row->flags & FROM_6_1) == 0, "%s: this kernel should have it", row->name);
        printf("%s: this kernel lacks opcode %u (kernel %s)\n", row->name, row->opcode, row->kernel);
        world_refused(world, world_start(world, row, GOOD, world_never, NULL, NULL), -EOPNOTSUPP);
    }
    world_free(world);
}
END_TEST

/* Goal: what needs hardware says so. Method: zero-copy receive: with no queue, and each obstacle to one over loopback.
 * All else is tested on a scripted ring. */
START_TEST(no_hardware)
{
    static const uint32_t modes[] = {0, LOOP_MODE_CQE32};
    const struct row     *row = &rows[_i];
    struct loop_zcrx      zcrx = {0};

    if ((row->flags & REFUSED) == 0)
        return;
    for (size_t i = 0; i < TEST_COUNT(modes); i++) {
        struct loop_zcrx_options options = {.interface_index = if_nametoindex("lo"), .area_bytes = 65536};
        char                     text[80];
        int                      r;

        world = world_new(&(struct loop_options){.flags = modes[i]});
        world_refused(world, world_start(world, row, GOOD, world_never, NULL, NULL), row->good);
        ck_assert_int_eq(loop_chain_begin(world->loop, 2, 0), 0);
        ck_assert_int_eq(world_start(world, row, GOOD, world_never, NULL, NULL), -EINVAL);
        ck_assert_int_eq(loop_chain_end(world->loop), -EINVAL);
        test_turns(world->loop, 1);
        r = loop_zcrx_start(world->loop, &zcrx, &options, NULL);
        if (!test_has_opcode(world->loop, IORING_OP_RECV_ZC))
            ck_assert_int_eq(r, -ENOSYS);
        else if (modes[i] == 0)
            ck_assert_int_eq(r, -EOPNOTSUPP);
        else
            ck_assert_msg(r == -EPERM || r == -EPROTONOSUPPORT, "%d", r);
        ck_assert_int_eq(loop_zcrx_state_get(&zcrx), LOOP_ZCRX_IDLE);
        snprintf(text, sizeof(text), "%s(): called on a thread that does not own the loop", row->name);
        test_expect_abort(use_elsewhere, (void *)(uintptr_t)row, text);
        world_free(world);
    }
}
END_TEST

/* ---- results */

/* Goal: a success does what the system call does. Method: the plain case; a look at what the system says of it. Before
 * the first run, and in a loop that has run. */
START_TEST(success)
{
    for (int runs = 0; runs < 2; runs++) {
        const struct row *row = row_setup(_i);
        struct test_log   log = {0};

        if (row == NULL)
            return;
        test_turns(world->loop, (uint32_t)runs);
        world_start_logged(world, row, GOOD, &log, NULL);
        world_finish(world, row, GOOD, &log);
        expect_good(row, &log);
        world_free(world);
    }
}
END_TEST

/* Goal: a failure is told with the errno of the system call, and leaves nothing open. */
START_TEST(failure)
{
    const struct row *row = row_setup(_i);
    struct test_log   log = {0};

    if (row == NULL)
        return;
    if (row->bad != 0) {
        world_start_logged(world, row, BAD, &log, NULL);
        world_finish(world, row, BAD, &log);
        world_expect(world, row, &log, row->bad, 0);
    }
    world_free(world);
}
END_TEST

/* Goal: without a callback an operation runs all the same, but for those whose result would be lost, descriptors above
 * all: these are refused, also in a chain; failures are counted. */
START_TEST(silent)
{
    const struct row *row = row_setup(_i);

    if (row == NULL)
        return;
    if ((row->flags & (NEEDS_CB | OWN_CHAIN | ENDLESS)) == 0 && row->nudge == NULL) {
        ck_assert_int_gt(world_start(world, row, GOOD, NULL, NULL, NULL), 0);
        test_run(world->loop);
        if (row->look != NULL && (row->flags & LENDS) == 0)
            row->look(world, row->good);
        ck_assert_uint_eq(test_stats(world->loop).silent_errors, row->good < 0);
    }
    if (row->flags & NEEDS_CB) {
        ck_assert_int_eq(world_start(world, row, GOOD, NULL, NULL, NULL), -EINVAL);
        ck_assert_int_eq(loop_chain_begin(world->loop, 2, 0), 0);
        ck_assert_int_eq(world_start(world, row, GOOD, NULL, NULL, NULL), -EINVAL);
        ck_assert_int_eq(loop_chain_end(world->loop), -EINVAL);
        ck_assert_uint_eq(test_stats(world->loop).ops_in_flight, 0);
    } else if (row->bad != 0) {
        uint64_t before = test_stats(world->loop).silent_errors;

        ck_assert_int_gt(world_start(world, row, BAD, NULL, NULL, NULL), 0);
        test_run(world->loop);
        ck_assert_uint_eq(test_stats(world->loop).silent_errors, before + 1);
    }
    world_free(world);
}
END_TEST

/* ---- terms */

static const struct loop_terms term_table[] = {
    {.flags = LOOP_EXTENDED},
    {.data = "some data", .data_size = 10},
    {.timeout_ns = 3600 * LOOP_SECOND},
    {.timeout_ns = 3600 * LOOP_SECOND, .flags = LOOP_LINKED_TIMEOUT},
    {.flags = LOOP_ASYNC},
    {.flags = LOOP_UNCHAINED, .personality = 0},
    {.flags = LOOP_BARRIER, .timeout_ns = 3600 * LOOP_SECOND},
    {.timeout_ns = 3600 * LOOP_SECOND, .flags = LOOP_LINKED_TIMEOUT | LOOP_ASYNC, .data = "some data", .data_size = 10},
};

static void must_not_come(struct loop *loop, const struct loop_result *result, void *arg)
{
    (void)loop;
    ck_abort_msg("%s: a callback for what did not start, res %d", (const char *)arg, result->res);
}

/* Fails unless the start was refused with error and left nothing in flight. */
static void expect_refused(const struct row *row, const struct loop_terms *terms, int error)
{
    uint64_t in_flight = test_stats(world->loop).ops_in_flight;
    loop_id  id =
        world_start(world, row, row->bad != 0 ? BAD : GOOD, must_not_come, (void *)(uintptr_t)row->name, terms);

    ck_assert_msg(id == error, "%s gave %" PRId64 ", not %d", row->name, id, error);
    ck_assert_uint_eq(test_stats(world->loop).ops_in_flight, in_flight);
}

/* Terms that the row does not take. */
static bool refuses(const struct row *row, const struct loop_terms *terms)
{
    return ((row->flags & MULTISHOT) != 0 && (terms->flags & LOOP_ASYNC) != 0) ||
           ((row->flags & WIDE) != 0 && (terms->flags & LOOP_BARRIER) != 0);
}

/* Goal: terms do not change the result. Method: each kind of term, success and failure; terms are overwritten after
 * the call. */
START_TEST(with_terms)
{
    for (size_t i = 0; i < TEST_COUNT(term_table); i++) {
        for (enum how how = GOOD; how <= BAD; how++) {
            const struct row *row = row_setup(_i);
            struct loop_terms mine = term_table[i];
            struct test_log   log = {.extra_size = mine.data_size};
            char              data[10] = "some data";

            if (row == NULL)
                return;
            if ((how == BAD && row->bad == 0) || (row->flags & OWN_CHAIN) ||
                ((row->flags & MAKES_HELPER) && (mine.flags & LOOP_BARRIER))) { /* that helper would be waited for */
                world_free(world);
                continue;
            }
            if (refuses(row, &mine)) {
                expect_refused(row, &mine, -EINVAL);
                world_free(world);
                continue;
            }
            if (mine.data != NULL)
                mine.data = data;
            world_start_logged(world, row, how, &log, &mine);
            memset(&mine, 0xff, sizeof(mine));
            memset(data, 0xff, sizeof(data));
            world_finish(world, row, how, &log);
            if (how == GOOD)
                expect_good(row, &log);
            else
                world_expect(world, row, &log, row->bad, 0);
            ck_assert_uint_eq(log.extras, log.extra_size > 0 ? log.count : 0);
            if (log.extra_size > 0)
                ck_assert_str_eq(log.extra, "some data");
            world_free(world);
        }
    }
}
END_TEST

/* Goal: terms that make no sense are refused at once. */
START_TEST(terms_refused)
{
    const struct row       *row = row_setup(_i);
    const struct loop_terms bad[] = {
        {.flags = UINT32_C(1) << 31},
        {.flags = LOOP_LEND, .group = 60000},
        {.data = "x", .data_size = LOOP_EXTRA_BYTES_MAX + 1},
        {.data = NULL, .data_size = 1},
        {.release = 12345},
        {.flags = LOOP_POLL_FIRST},
    };

    if (row == NULL)
        return;
    for (size_t i = 0; i < TEST_COUNT(bad) && !(row->flags & OWN_CHAIN); i++)
        if (bad[i].flags != LOOP_POLL_FIRST || !(row->flags & TAKES_POLL_FIRST))
            expect_refused(row, &bad[i], -EINVAL);
    test_run(world->loop);
    world_free(world);
}
END_TEST

/* Goal: the limit of operations holds for all. Method: one in flight, one allowed. */
START_TEST(limit)
{
    struct loop_options options = {.sq_entries = 16, .ops_max = 1};
    struct test_log     log = {0};

    world = world_for(&rows[_i], &options);
    if (world == NULL)
        return;
    if (!(rows[_i].flags & OWN_CHAIN)) {
        ck_assert_int_gt(loop_nop(world->loop, test_log_cb, &log, NULL), 0);
        expect_refused(&rows[_i], NULL, -ENOBUFS);
        test_run(world->loop);
        test_log_is(&log, 0);
    }
    world_free(world);
}
END_TEST

/* ---- direct mode */

struct direct {
    uint32_t count, finals;
    int32_t  res; /* of the first */
    uint64_t value;
};

static void direct_cb(struct loop *loop, const struct loop_result *result, void *arg)
{
    struct direct *direct = arg;

    (void)loop;
    if (direct->count++ == 0) {
        direct->res = result->res;
        if (result->flags & LOOP_BUFFER)
            memcpy(world->lent, result->data, (size_t)result->res);
    }
    direct->finals += (result->flags & LOOP_MORE) == 0;
    direct->value = result->value;
}

static void run_direct(const struct row *row, const struct direct *direct)
{
    loop_id id = world_start(world, row, GOOD, LOOP_HANDLER(1), LOOP_VALUE(4711), NULL);
    bool    canceled = (row->flags & ENDLESS) == 0;

    ck_assert_int_gt(id, 0);
    for (int i = 0; i < 20000 && (direct->finals == 0 || loop_alive(world->loop)); i++) {
        test_turns(world->loop, 1);
        if (row->nudge != NULL)
            row->nudge(world, 0);
        if (!canceled && direct->count > 0) {
            ck_assert_int_eq(loop_cancel(world->loop, id), 0);
            canceled = true;
        }
        test_sleep(50 * LOOP_MICROSECOND);
    }
    ck_assert_uint_eq(direct->finals, 1);
    ck_assert_uint_eq(direct->count, row->flags & (MULTISHOT | RELEASES) ? 2 : 1);
    ck_assert_uint_eq(direct->value, 4711);
    ck_assert_msg(world_takes(world, row->good, direct->res), "%s: %d", row->name, direct->res);
}

/* Goal: direct mode works where nothing is copied, and is refused where something is. */
START_TEST(direct_mode)
{
    const struct row *row = row_setup(_i);
    struct direct     direct = {0};

    if (row == NULL)
        return;
    ck_assert_int_eq(loop_handler_register(world->loop, direct_cb, &direct, LOOP_GROUP_DEFAULT), 1);
    if (row->flags & COPIES) {
        loop_id id = world_start(world, row, row->bad != 0 ? BAD : GOOD, LOOP_HANDLER(1), LOOP_VALUE(4711), NULL);

        ck_assert_msg(id == -EINVAL, "%s gave %" PRId64, row->name, id);
        test_run(world->loop);
        ck_assert_uint_eq(direct.count, 0);
    } else {
        run_direct(row, &direct);
        if (row->look != NULL)
            row->look(world, direct.res);
    }
    world_free(world);
}
END_TEST

/* ---- chains */

/* What became of the nops before and behind the operation. */
static void around_is(const struct row *row, enum how how, int flags, const struct test_log around[2])
{
    bool early = how == BAD && (row->flags & FAILS_EARLY) != 0;
    bool failed = how == BAD || (row->flags & BREAKS_CHAIN) != 0;

    test_log_is(&around[0], early ? -ECANCELED : 0);
    if (early || (flags == 0 && failed && !(row->flags & GOES_ON)))
        test_log_is(&around[1], -ECANCELED);
    else if (flags == 0 && failed && around[1].last.res == -ECANCELED)
        printf("%s: its failure ends a chain in this kernel\n", row->name);
    else
        test_log_is(&around[1], 0);
}

/* Goal: each works in the middle of a chain; its failure ends a soft one and no hard one. Method: nop, operation,
 * nop. */
START_TEST(chained)
{
    for (int flags = 0; flags <= LOOP_CHAIN_HARD; flags += LOOP_CHAIN_HARD) {
        for (enum how how = GOOD; how <= BAD; how++) {
            const struct row *row = row_setup(_i);
            struct test_log   log = {0}, around[2] = {{0}, {0}};

            if (row == NULL)
                return;
            if ((how == BAD && row->bad == 0) || (row->flags & (OWN_CHAIN | MULTISHOT))) {
                world_free(world);
                continue;
            }
            ck_assert_int_eq(loop_chain_begin(world->loop, 4, (uint32_t)flags), 0);
            ck_assert_int_gt(loop_nop(world->loop, test_log_cb, &around[0], NULL), 0);
            world_start_logged(world, row, how, &log, NULL);
            ck_assert_int_gt(loop_nop(world->loop, test_log_cb, &around[1], NULL), 0);
            ck_assert_int_eq(loop_chain_end(world->loop), 0);
            world_finish(world, row, how, &log);
            test_run(world->loop);
            if (how == GOOD)
                expect_good(row, &log);
            else
                world_expect(world, row, &log, row->bad, 0);
            around_is(row, how, flags, around);
            world_free(world);
        }
    }
}
END_TEST

/* Goal: what is refused inside a chain drops the chain. Method: bad terms; multishots, with any. */
START_TEST(chain_dropped)
{
    const struct row *row = row_setup(_i);

    if (row == NULL)
        return;
    if (!(row->flags & OWN_CHAIN)) {
        ck_assert_int_eq(loop_chain_begin(world->loop, 4, 0), 0);
        ck_assert_int_gt(loop_nop(world->loop, must_not_come, (void *)(uintptr_t)row->name, NULL), 0);
        expect_refused(row, (row->flags & MULTISHOT) != 0 ? NULL : LOOP_TERMS(.flags = LOOP_BACKGROUND), -EINVAL);
        ck_assert_int_eq(loop_chain_end(world->loop), -EINVAL);
        test_run(world->loop);
    }
    world_free(world);
}
END_TEST

/* ---- wrong threads */

/* Goal: the wrong thread ends the process with the name of the call. */
START_TEST(wrong_thread)
{
    const struct row *row = row_setup(_i);
    char              text[80];

    if (row == NULL)
        return;
    test_turns(world->loop, 1);
    snprintf(text, sizeof(text), "%s(): called on a thread that does not own the loop", row->name);
    test_expect_abort(use_elsewhere, (void *)(uintptr_t)row, text);
    world_free(world);
}
END_TEST

/* ---- memory */

/* Goal: without memory an operation does not start and leaves nothing; with it, it works. Method: each allocation fails
 * in turn. */
START_TEST(no_memory)
{
    bool failed = true;

    for (uint64_t n = 1; failed; n++) {
        const struct row *row = row_setup(_i);
        struct test_log   log = {0};
        loop_id           id;

        if (row == NULL)
            return;
        if ((row->flags & (OWN_CHAIN | MAKES_HELPER)) || row->opcode == IORING_OP_MSG_RING) {
            world_free(world); /* others start before it, whose memory is not meant */
            return;
        }
        ck_assert_uint_lt(n, 50);
        test_memory.failed = 0;
        log.releases = (row->flags & RELEASES) != 0;
        test_memory.fail_at = test_memory.calls + n;
        id = world_start(world, row, GOOD, test_log_cb, &log, LOOP_TERMS(.data = "x", .data_size = 1));
        failed = test_memory.failed > 0;
        test_memory.fail_at = 0;
        if (id > 0) {
            world_finish(world, row, GOOD, &log);
            expect_good(row, &log);
        } else {
            ck_assert_msg(failed && id == -ENOMEM, "%s gave %" PRId64, row->name, id);
            test_run(world->loop);
            ck_assert_uint_eq(log.count, 0);
        }
        ck_assert_msg(n > 1 || failed, "%s asked for no memory at all", row->name);
        world_free(world);
    }
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("op_table");
    TCase *tcase = test_case(suite, "table");

    tcase_add_test(tcase, complete);
    tcase_add_loop_test(tcase, unknown, 0, ROWS);
    tcase_add_loop_test(tcase, no_hardware, 0, ROWS);

    tcase = test_case(suite, "results");
    tcase_add_loop_test(tcase, success, 0, ROWS);
    tcase_add_loop_test(tcase, failure, 0, ROWS);
    tcase_add_loop_test(tcase, silent, 0, ROWS);

    tcase = test_case(suite, "terms");
    tcase_add_loop_test(tcase, with_terms, 0, ROWS);
    tcase_add_loop_test(tcase, terms_refused, 0, ROWS);
    tcase_add_loop_test(tcase, limit, 0, ROWS);

    tcase = test_case(suite, "modes");
    tcase_add_loop_test(tcase, direct_mode, 0, ROWS);
    tcase_add_loop_test(tcase, chained, 0, ROWS);
    tcase_add_loop_test(tcase, chain_dropped, 0, ROWS);
    tcase_add_loop_test(tcase, wrong_thread, 0, ROWS);
    tcase_add_loop_test(tcase, no_memory, 0, ROWS);
    return suite;
}
