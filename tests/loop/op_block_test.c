/* tests/loop/op_block_test.c: what ends operations that wait: deadlines, cancels, the end of the loop. For each row of
 * the table that can wait. */
#include "tests/loop/op_world.h"

static struct world *world;

/* Of the cases that tests are run for: all rows, so that a row's number is the same everywhere. */
static const struct row *row_setup(int i)
{
    if (!(rows[i].flags & BLOCKS))
        return NULL;
    world = world_for(&rows[i], &(struct loop_options){.sq_entries = 16});
    return world != NULL ? &rows[i] : NULL;
}

/* Long enough for a worker to have begun. */
static void let_it_wait(const struct row *row, const struct test_log *log)
{
    for (int i = 0; i < 5; i++) {
        test_turns(world->loop, 1);
        test_sleep((row->flags & ON_WORKER) ? 2 * LOOP_MILLISECOND : LOOP_MICROSECOND);
    }
    ck_assert_msg(log->count == 0, "%s did not wait, res %d", row->name, log->last.res);
}

/* ---- deadlines */

static const struct {
    uint32_t flags;
    bool     chained;
} deadline_table[] = {
    {0, false}, {LOOP_LINKED_TIMEOUT, false}, {LOOP_ASYNC, false}, {LOOP_ASYNC | LOOP_LINKED_TIMEOUT, false}, {0, true},
};

/* Goal: a deadline ends each of them with -ETIMEDOUT and says so. Method: kept by the loop, by the kernel, with a
 * worker waiting, in a chain. */
START_TEST(deadline)
{
    for (size_t i = 0; i < TEST_COUNT(deadline_table); i++) {
        const struct row *row = row_setup(_i);
        struct test_log   log = {0}, behind = {0};
        struct loop_terms terms = {.timeout_ns = 3 * LOOP_MILLISECOND, .flags = deadline_table[i].flags};

        if (row == NULL)
            return;
        if ((deadline_table[i].chained && (row->flags & ON_WORKER)) || /* see docs/operations.md */
            ((row->flags & MULTISHOT) != 0 && (deadline_table[i].chained || (terms.flags & LOOP_ASYNC) != 0))) {
            world_free(world);
            continue;
        }
        if (deadline_table[i].chained)
            ck_assert_int_eq(loop_chain_begin(world->loop, 2, 0), 0);
        world_start_logged(world, row, BLOCK, &log, &terms);
        if (deadline_table[i].chained) {
            ck_assert_int_gt(loop_nop(world->loop, test_log_cb, &behind, NULL), 0);
            ck_assert_int_eq(loop_chain_end(world->loop), 0);
        }
        memset(&terms, 0xff, sizeof(terms));
        world_finish(world, row, BLOCK, &log);
        test_run(world->loop);
        world_expect(world, row, &log, -ETIMEDOUT, LOOP_TIMED_OUT);
        ck_assert_uint_eq(test_stats(world->loop).deadlines_passed, 1);
        if (deadline_table[i].chained && !(row->flags & CANCEL_GOES_ON))
            test_log_is(&behind, -ECANCELED);
        else if (deadline_table[i].chained)
            ck_assert(behind.last.res == 0 || behind.last.res == -ECANCELED);
        world_free(world);
    }
}
END_TEST

/* ---- cancels */

enum when { UNRUN, SAME_TURN, WAITING, WHENS };

/* Goal: a cancel ends each of them once, with -ECANCELED, whenever it comes. Method: before the loop has run; in the
 * turn of the start; when it waits; each also with a deadline far away, and on a worker. */
START_TEST(canceled)
{
    static const struct loop_terms terms[] = {
        {.flags = 0},
        {.timeout_ns = 3600 * LOOP_SECOND},
        {.timeout_ns = 3600 * LOOP_SECOND, .flags = LOOP_LINKED_TIMEOUT},
        {.flags = LOOP_ASYNC},
    };

    for (enum when when = UNRUN; when < WHENS; when++) {
        for (size_t i = 0; i < TEST_COUNT(terms); i++) {
            const struct row *row = row_setup(_i);
            struct test_log   log = {0};
            loop_id           id;

            if (row == NULL)
                return;
            if ((row->flags & MULTISHOT) != 0 && (terms[i].flags & LOOP_ASYNC) != 0) {
                world_free(world);
                continue;
            }
            if (when != UNRUN)
                test_turns(world->loop, 1);
            id = world_start_logged(world, row, BLOCK, &log, &terms[i]);
            if (when == WAITING)
                let_it_wait(row, &log);
            ck_assert_int_eq(loop_cancel(world->loop, id), 0);
            ck_assert_int_eq(loop_cancel(world->loop, id), 0);
            ck_assert_uint_eq(log.count, 0);
            world_finish(world, row, BLOCK, &log);
            test_run(world->loop);
            world_expect(world, row, &log, -ECANCELED, 0);
            ck_assert_int_eq(loop_cancel(world->loop, id), -ENOENT);
            world_free(world);
        }
    }
}
END_TEST

/* Goal: a link whose turn has not come can be cancelled as well. Method: one that waits in front, and is let go. */
START_TEST(canceled_behind)
{
    const struct row *row = row_setup(_i);
    struct test_log   log = {0}, front = {0};
    char              byte;
    int               pair[2];
    loop_id           id;

    if (row == NULL)
        return;
    if (row->flags & MULTISHOT) { /* refused in chains */
        world_free(world);
        return;
    }
    world_pair(world, pair);
    ck_assert_int_eq(loop_chain_begin(world->loop, 2, 0), 0);
    ck_assert_int_gt(loop_recv(world->loop, pair[0], &byte, 1, 0, test_log_cb, &front, NULL), 0);
    id = world_start_logged(world, row, BLOCK, &log, NULL);
    ck_assert_int_eq(loop_chain_end(world->loop), 0);
    test_turns(world->loop, 3);
    ck_assert_int_eq(loop_cancel(world->loop, id), 0);
    test_turns(world->loop, 3);
    test_write(pair[1], "x", 1);
    world_finish(world, row, BLOCK, &log);
    test_run(world->loop);
    test_log_is(&front, 1);
    world_expect(world, row, &log, -ECANCELED, 0);
    world_free(world);
}
END_TEST

/* ---- the end of the loop */

static void start_again(struct loop *loop, const struct loop_result *result, void *arg)
{
    const struct row *row = arg;

    (void)loop;
    ck_assert_int_eq(result->res, -ECANCELED);
    if (result->flags & LOOP_MORE)
        return;
    world->other_count++;
    for (enum how how = GOOD; how <= BLOCK; how++) {
        if ((how == BAD && row->bad == 0) || (row->flags & MAKES_HELPER))
            continue;
        ck_assert_int_eq(world_start(world, row, how, test_log_cb, NULL, NULL), -ECANCELED);
    }
}

/* Goal: what is in flight does not keep loop_run() from returning if it is in the background, and ends with the loop,
 * once; nothing can be started then. Method: destroy with two waiting; their callbacks start the like again. */
START_TEST(destroyed)
{
    const struct row *row = row_setup(_i);
    struct test_log   log = {0};

    if (row == NULL)
        return;
    world_start_logged(world, row, BLOCK, &log, LOOP_TERMS(.flags = LOOP_BACKGROUND));
    test_run(world->loop);
    let_it_wait(row, &log);
    if (!(row->flags & ON_WORKER) && row->opcode != IORING_OP_WAITID)
        ck_assert_int_gt(world_start(world, row, BLOCK, start_again, (void *)(uintptr_t)row, NULL), 0);
    world_drop_loop(world);
    world_expect(world, row, &log, -ECANCELED, 0);
    ck_assert_uint_eq(world->other_count, (row->flags & ON_WORKER) || row->opcode == IORING_OP_WAITID ? 0 : 1);
    world_free(world);
}
END_TEST

/* One end, with the real result or the early end's, and nothing between that there should not be. */
static void check_race(const struct row *row, const struct test_log *log, bool had_deadline)
{
    const struct loop_result *first = &log->results[0], *last = &log->last;
    bool                      twice = log->count == 2, multishot = (row->flags & MULTISHOT) != 0;
    bool                      early = last->res == -ECANCELED || last->res == -ETIMEDOUT;
    bool                      good;

    ck_assert_uint_eq(log->finals, 1);
    ck_assert_msg((row->flags & RELEASES) != 0 ? twice : log->count == 1 || (multishot && twice), "%s: %u callbacks",
                  row->name, log->count);
    good = (!multishot || twice) && world_takes(world, row->good, first->res);
    ck_assert_msg(early || good, "%s: %d", row->name, last->res);
    ck_assert(!multishot || early || last->res == 0);
    ck_assert(multishot || first->res == last->res);
    ck_assert(last->res != -ETIMEDOUT || ((last->flags & LOOP_TIMED_OUT) != 0 && had_deadline));
    memcpy(world->lent, log->data, sizeof(world->lent));
    if (good && row->look != NULL && (row->flags & MAKES_HELPER) == 0)
        row->look(world, first->res);
    if (early && row->opcode == IORING_OP_CLOSE && fcntl(world->fd[0], F_GETFD) < 0)
        ck_abort_msg("closed, and told as cancelled");
}

/* Goal: nothing is lost or told twice between a deadline, a cancel and an operation's own end, in workers too. Method:
 * the case that ends by itself, of every row, with a cancel at different times and a short deadline: one end, with
 * the real result, whose effect is there, or the early end's. */
START_TEST(races)
{
    for (int round = 0; round < 8; round++) {
        const struct row *row = &rows[_i];
        struct test_log   log = {0};
        loop_id           id;

        if (row->flags & OWN_CHAIN)
            return;
        world = world_for(row, &(struct loop_options){.sq_entries = 16});
        if (world == NULL)
            return;
        id = world_start_logged(world, row, GOOD, &log, LOOP_TERMS(.timeout_ns = round & 4 ? LOOP_MILLISECOND : 0));
        if (round & 1)
            (void)loop_run(world->loop, LOOP_RUN_NOWAIT);
        if (round & 2)
            (void)loop_cancel(world->loop, id); /* it may have ended */
        for (int i = 0; i < 2000 && log.finals == 0; i++) {
            test_turns(world->loop, 1);
            if (row->nudge != NULL)
                row->nudge(world, 0);
            if ((row->flags & ENDLESS) != 0 && log.count > 0)
                (void)loop_cancel(world->loop, id);
            test_sleep(50 * LOOP_MICROSECOND);
        }
        (void)loop_cancel_all(world->loop); /* its helper, if it did not come to that */
        test_run(world->loop);
        check_race(row, &log, (round & 4) != 0);
        world_free(world);
    }
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("op_block");
    TCase *tcase = test_case(suite, "block");

    tcase_add_loop_test(tcase, deadline, 0, ROWS);
    tcase_add_loop_test(tcase, canceled, 0, ROWS);
    tcase_add_loop_test(tcase, canceled_behind, 0, ROWS);
    tcase_add_loop_test(tcase, destroyed, 0, ROWS);
    tcase_add_loop_test(tcase, races, 0, ROWS);
    return suite;
}
