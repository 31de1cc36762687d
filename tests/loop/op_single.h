/* tests/loop/op_single.h: a world, and single operations in it. Included once by each program. */
#ifndef RINGLOOP_TESTS_LOOP_OP_SINGLE_H
#define RINGLOOP_TESTS_LOOP_OP_SINGLE_H

#include "tests/loop/op_world.h"

static struct world *world;
static struct loop  *loop;

static inline void setup(void)
{
    world = world_new(NULL);
    loop = world->loop;
}

static inline void teardown(void)
{
    world_free(world);
}

#define LOGGED test_log_cb, &world->log, NULL
#define NEVER  world_never, NULL, NULL

static inline int32_t result(loop_id id)
{
    return world_result(world, id);
}

static inline void refused(loop_id id, int error)
{
    world_refused(world, id, error);
}

static inline loop_id started(loop_id id)
{
    ck_assert_msg(id > 0, "did not start: %s", strerror((int)-id));
    return id;
}

#endif
