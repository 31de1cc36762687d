/* tests/loop/op_rows_device.c: commands, SQEs of 128 bytes, SQEs of one's own. */
#include "tests/loop/op_world.h"

#include <linux/sockios.h>

enum { SIZE = 32 };

/* A socket with SIZE bytes to be read; the bad one is a file, which has no commands. */
static int target(struct world *world, enum how how)
{
    char bytes[SIZE] = "";
    int  pair[2];

    if (how == BAD)
        return world->file;
    world_tcp_pair(world, pair);
    test_write(pair[1], bytes, SIZE);
    ck_assert_int_eq(recv(pair[0], bytes, SIZE, MSG_PEEK | MSG_WAITALL), SIZE);
    return pair[0];
}

static const struct loop_uring_command *command(struct world *world)
{
    world->args.command = (struct loop_uring_command){.cmd_op = SOCKET_URING_OP_SIOCINQ};
    return &world->args.command;
}

loop_id start_uring_cmd(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    return loop_uring_cmd(world->loop, target(world, how), command(world), cb, arg, terms);
}

loop_id start_uring_cmd128(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    return loop_uring_cmd128(world->loop, target(world, how), command(world), cb, arg, terms);
}

loop_id start_nop128(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    (void)how;
    return loop_nop128(world->loop, cb, arg, terms);
}

/* A read of one's own; of the bad one the descriptor is none. */
static const struct io_uring_sqe *raw_read(struct world *world, enum how how)
{
    int fds[2] = {world->file, -1};

    if (how == BLOCK)
        world_pipe(world, fds);
    memset(world->args.sqes, 0, sizeof(world->args.sqes));
    world->args.sqes[0] = (struct io_uring_sqe){
        .opcode = IORING_OP_READ,
        .fd = how == BAD ? 3999 : fds[0],
        .addr = (uint64_t)(uintptr_t)world->bytes[0],
        .len = SIZE,
        .off = how == BLOCK ? 0 : 100,
    };
    return world->args.sqes;
}

loop_id start_raw(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    return loop_raw(world->loop, raw_read(world, how), cb, arg, terms);
}

loop_id start_raw128(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    return loop_raw128(world->loop, raw_read(world, how), cb, arg, terms);
}
