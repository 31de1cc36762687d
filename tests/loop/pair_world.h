/* tests/loop/pair_world.h: a loop, two connected sockets, and an operation that ends by itself. Included once by each
 * program. */
#ifndef RINGLOOP_TESTS_LOOP_PAIR_WORLD_H
#define RINGLOOP_TESTS_LOOP_PAIR_WORLD_H

#include "tests/support/test.h"

static struct loop *loop;
static int          pair[2] = {-1, -1}; /* -1: closed by the test, or never made */

static inline void pair_open(const struct loop_options *options)
{
    loop = test_loop_new(options);
    test_socketpair(pair);
}

static inline void pair_setup(void)
{
    pair_open(&(struct loop_options){.sq_entries = 64});
}

static inline void pair_teardown(void)
{
    test_loop_free(loop);
    for (int i = 0; i < 2; i++)
        if (pair[i] >= 0)
            test_close(pair[i]);
}

/* Runs the operation just started, which must call back once, from inside the run only. */
static inline int32_t finish(loop_id id, struct test_log *log)
{
    ck_assert_msg(id > 0, "refused: %s", strerror((int)-id));
    ck_assert_uint_eq(log->count, 0);
    test_run(loop);
    ck_assert_uint_eq(log->count, 1);
    ck_assert_uint_eq(log->finals, 1);
    ck_assert_int_eq(log->last.id, id);
    ck_assert_uint_eq(log->last.value, 0);
    ck_assert_uint_eq(log->last.flags & ~(uint32_t)LOOP_SOCK_NONEMPTY,
                      log->last.res == -ETIMEDOUT ? LOOP_TIMED_OUT : 0);
    return log->last.res;
}

/* For calls that are refused. */
static inline void not_called(struct loop *of, const struct loop_result *result, void *arg)
{
    (void)of, (void)arg;
    ck_abort_msg("a call that was refused called back, res %d", result->res);
}

/* Nothing of what was refused may be left or call back. */
static inline void nothing_started(void)
{
    ck_assert(!loop_alive(loop));
    test_run(loop);
    ck_assert_uint_eq(test_stats(loop).ops_started, 0);
    ck_assert_uint_eq(test_stats(loop).silent_errors, 0);
}

#endif
