/* tests/loop/op_rows_fixed.c: registered files and buffers, options of sockets. */
#include "tests/loop/op_world.h"

enum { AT = 100, SIZE = 32 };

/* What look_written() expects, and what goes through sockets. */
static const char text[SIZE + 1] = "what goes through the socket....";
static const char written[SIZE + 1] = "0123456789abcdefghijklmnopqrstuv";

/* Of the buffer; the bad one is memory that does not belong to it. */
static char *memory(struct world *world, enum how how)
{
    return how == BAD ? world->bytes[0] : world->fixed_memory;
}

static int source(struct world *world, enum how how)
{
    int fds[2];

    if (how != BLOCK)
        return world->file;
    world_pipe(world, fds);
    return fds[0];
}

static int target(struct world *world, enum how how)
{
    return how == BLOCK ? world_full_pipe(world) : world->file;
}

static const struct iovec *vector(struct world *world, enum how how)
{
    for (unsigned i = 0; i < 4; i++)
        world->args.iov[i] = (struct iovec){memory(world, how) + i * SIZE / 4, SIZE / 4};
    return world->args.iov;
}

loop_id start_read_fixed(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    return loop_read_fixed(world->loop, source(world, how), memory(world, how), SIZE, how == BLOCK ? 0 : AT,
                           world->fixed_index, cb, arg, terms);
}

loop_id start_readv_fixed(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    return loop_readv_fixed(world->loop, source(world, how), vector(world, how), 4, how == BLOCK ? 0 : AT, 0,
                            world->fixed_index, cb, arg, terms);
}

void look_read_fixed(struct world *world, int32_t res)
{
    (void)res;
    for (size_t i = 0; i < SIZE; i++)
        ck_assert_int_eq(world->fixed_memory[i], world_byte(AT + i));
}

loop_id start_write_fixed(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    memcpy(world->fixed_memory, written, SIZE);
    return loop_write_fixed(world->loop, target(world, how), memory(world, how), SIZE, how == BLOCK ? 0 : AT,
                            world->fixed_index, cb, arg, terms);
}

loop_id start_writev_fixed(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    memcpy(world->fixed_memory, written, SIZE);
    return loop_writev_fixed(world->loop, target(world, how), vector(world, how), 4, how == BLOCK ? 0 : AT, 0,
                             world->fixed_index, cb, arg, terms);
}

/* ---- slots */

loop_id start_files_update(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    world->args.fds[0] = how == BAD ? 3999 : world->file;
    return loop_files_update(world->loop, world->args.fds, 1, world->slot_empty, cb, arg, terms);
}

/* The file can be used by its slot. */
void look_updated(struct world *world, int32_t res)
{
    (void)res;
    ck_assert_int_eq(world_result(world, loop_read(world->loop, world->slot_empty, world->bytes[0], SIZE, 0,
                                                   test_log_cb, &world->log, NULL)),
                     SIZE);
    ck_assert_int_eq(world->bytes[0][5], world_byte(5));
}

loop_id start_fixed_fd_install(struct world *world, enum how how, loop_cb *cb, void *arg,
                               const struct loop_terms *terms)
{
    return loop_fixed_fd_install(world->loop, how == BAD ? world->slot_empty : world->slot, 0, cb, arg, terms);
}

/* ---- sockets */

static int option_socket(struct world *world, enum how how)
{
    world->fd[0] = how == BAD ? world->file : world_fd(world, socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    return world->fd[0];
}

loop_id start_setsockopt(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    world->args.fds[0] = 1;
    return loop_setsockopt(world->loop, option_socket(world, how), SOL_SOCKET, SO_KEEPALIVE, &world->args.fds[0],
                           sizeof(int), cb, arg, terms);
}

void look_option_set(struct world *world, int32_t res)
{
    int       value = 0;
    socklen_t size = sizeof(value);

    (void)res;
    ck_assert_int_eq(getsockopt(world->fd[0], SOL_SOCKET, SO_KEEPALIVE, &value, &size), 0);
    ck_assert_int_eq(value, 1);
}

loop_id start_getsockopt(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    return loop_getsockopt(world->loop, option_socket(world, how), SOL_SOCKET, SO_RCVBUF, world->bytes[0], sizeof(int),
                           cb, arg, terms);
}

void look_option(struct world *world, int32_t res)
{
    int       value = 0;
    socklen_t size = sizeof(value);

    ck_assert_int_eq(getsockopt(world->fd[0], SOL_SOCKET, SO_RCVBUF, &value, &size), 0);
    ck_assert_int_eq(res, (int32_t)size);
    ck_assert_mem_eq(world->bytes[0], &value, sizeof(value));
}

loop_id start_socket_inq(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    int pair[2] = {world->file, -1};

    if (how != BAD) {
        test_tcp_pair(pair);
        world_fd(world, pair[0]);
        test_write(world_fd(world, pair[1]), text, SIZE);
        ck_assert_int_eq(recv(pair[0], world->bytes[0], SIZE, MSG_PEEK | MSG_WAITALL), SIZE);
    }
    return loop_socket_inq(world->loop, pair[0], cb, arg, terms);
}

loop_id start_socket_outq(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    return loop_socket_outq(world->loop, how == BAD ? world->file : option_socket(world, how), cb, arg, terms);
}
