/* tests/sim/timer_wall_sim.h: timers by a wall clock over the scripted ring, for the tests that share them. */
#ifndef RINGLOOP_TESTS_SIM_TIMER_WALL_SIM_H
#define RINGLOOP_TESTS_SIM_TIMER_WALL_SIM_H

#include "tests/sim/script_ring.h"
#include "tests/support/test.h"

static struct loop *loop;

static inline void setup(void)
{
    script_reset();
    loop = test_loop_new(&(struct loop_options){.sq_entries = 8, .cq_entries = 64});
}

static inline void teardown(void)
{
    test_loop_free(loop);
    ck_assert_uint_eq(script.rings_open, 0);
}

static inline uint64_t wall_clock(void)
{
    return script.now_ns + script.wall_ahead_ns;
}

/* A turn at the present time of the script. */
static inline void turn(void)
{
    test_turns(loop, 1);
}

static inline void sleep_and_turn(uint64_t ns)
{
    script.now_ns += ns;
    turn();
}

struct probe {
    struct loop_timer timer;
    uint64_t          due;    /* wall time */
    uint64_t          fired;  /* wall time of the last */
    uint64_t          number; /* of the last, among all */
    uint32_t          count;
};

static uint64_t fired;

static inline void probe_fire(struct loop_timer *timer)
{
    struct probe *probe = (struct probe *)timer; /* its first member */

    ck_assert_msg(wall_clock() >= probe->due, "%" PRIu64 " ns early", probe->due - wall_clock());
    probe->fired = wall_clock();
    probe->number = ++fired;
    probe->count++;
}

static inline void probe_start(struct probe *probe, uint64_t after_ns, uint64_t repeat_ns)
{
    probe->due = wall_clock() + after_ns;
    ck_assert_int_eq(loop_timer_start_wall(loop, &probe->timer, probe->due, repeat_ns, probe_fire), 0);
}

#endif
