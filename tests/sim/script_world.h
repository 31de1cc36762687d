/* tests/sim/script_world.h: a loop over the scripted ring, and a receive on it. Included once by each program. */
#ifndef RINGLOOP_TESTS_SIM_SCRIPT_WORLD_H
#define RINGLOOP_TESTS_SIM_SCRIPT_WORLD_H

#include "tests/sim/script_ring.h"
#include "tests/support/test.h"

static struct loop *loop;
static char         buffer[4096];

static inline void loop_setup(void)
{
    script_reset();
    loop =
        test_loop_new(&(struct loop_options){.sq_entries = 8, .cq_entries = 8, .buffer_size = 64, .buffer_count = 4});
    test_turns(loop, 1);
}

static inline void loop_teardown(void)
{
    test_loop_free(loop);
    ck_assert_uint_eq(script.rings_open, 0);
}

static inline loop_id start_recv(struct test_log *log, const struct loop_terms *terms)
{
    loop_id id = loop_recv(loop, 5, buffer, sizeof(buffer), 0, test_log_cb, log, terms);

    ck_assert_int_gt(id, 0);
    return id;
}

static inline struct io_uring_sqe *recv_sqe(unsigned n)
{
    struct io_uring_sqe *sqe = script_find(IORING_OP_RECV, n);

    ck_assert_ptr_nonnull(sqe);
    return sqe;
}

#endif
