/* tests/loop/op_rows_slot.c: operations that open into slots of the registered files, and sockets by kind. */
#include "tests/loop/op_world.h"

enum { SIZE = 32, AT = 100 };

static const char text[SIZE + 1] = "what goes through the socket....";

loop_id start_socket_direct(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    return loop_socket_direct(world->loop, how == BAD ? 4000 : AF_INET, SOCK_STREAM, 0, world->slot_empty, cb, arg,
                              terms);
}

loop_id start_socket_of_kind(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    (void)how;
    return loop_socket_of_kind(world->loop, LOOP_UNIX_STREAM, 0, cb, arg, terms);
}

loop_id start_socket_of_kind_direct(struct world *world, enum how how, loop_cb *cb, void *arg,
                                    const struct loop_terms *terms)
{
    (void)how;
    return loop_socket_of_kind_direct(world->loop, LOOP_TCP4, 0, world->slot_empty, cb, arg, terms);
}

void look_stream_socket(struct world *world, int32_t res)
{
    int       domain = 0;
    socklen_t size = sizeof(domain);

    (void)world;
    ck_assert_int_eq(getsockopt(res, SOL_SOCKET, SO_DOMAIN, &domain, &size), 0);
    ck_assert_int_eq(domain, AF_UNIX);
    ck_assert_int_eq(fcntl(res, F_GETFD), FD_CLOEXEC);
}

static int32_t recv_from_slot(struct world *world)
{
    return world_result(world, loop_recv(world->loop, world->slot_empty, world->bytes[0], SIZE, MSG_DONTWAIT,
                                         test_log_cb, &world->log, NULL));
}

/* A stream socket that is not connected. */
void look_socket_slot(struct world *world, int32_t res)
{
    (void)res;
    ck_assert_int_eq(recv_from_slot(world), -ENOTCONN);
}

/* The peer has sent before it was accepted. */
loop_id start_accept_direct(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    uint16_t port;
    int      fd;

    if (how == BAD)
        fd = world_fd(world, socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    else
        fd = world_fd(world, test_tcp_listener(&port, 8));
    if (how == GOOD)
        test_write(world_fd(world, test_tcp_connect(port)), text, SIZE);
    return loop_accept_direct(world->loop, fd, NULL, NULL, SOCK_NONBLOCK, world->slot_empty, cb, arg, terms);
}

void look_accepted_slot(struct world *world, int32_t res)
{
    (void)res;
    ck_assert_int_eq(recv_from_slot(world), SIZE);
    ck_assert_mem_eq(world->bytes[0], text, SIZE);
}

static const char *path(struct world *world, enum how how)
{
    return strcpy(world->args.path, how == BAD ? "missing" : "file");
}

loop_id start_openat_direct(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    return loop_openat_direct(world->loop, world->directory, path(world, how), O_RDONLY, 0, world->slot_empty, cb, arg,
                              terms);
}

loop_id start_openat2_direct(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    world->args.how = (struct open_how){.flags = O_RDONLY, .resolve = RESOLVE_BENEATH};
    return loop_openat2_direct(world->loop, world->directory, path(world, how), &world->args.how,
                               sizeof(world->args.how), world->slot_empty, cb, arg, terms);
}

void look_opened_slot(struct world *world, int32_t res)
{
    (void)res;
    ck_assert_int_eq(world_result(world, loop_read(world->loop, world->slot_empty, world->bytes[0], SIZE, AT,
                                                   test_log_cb, &world->log, NULL)),
                     SIZE);
    for (size_t i = 0; i < SIZE; i++)
        ck_assert_int_eq(world->bytes[0][i], world_byte(AT + i));
}

/* Into both own slots. */
loop_id start_pipe_direct(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    return loop_pipe_direct(world->loop, world->fd, how == BAD ? O_TRUNC : 0, world->slot_empty, cb, arg, terms);
}

void look_pipe_slots(struct world *world, int32_t res)
{
    (void)res;
    ck_assert_int_eq(world->fd[0], world->slot_empty);
    ck_assert_int_eq(world->fd[1], world->slot_empty + 1);
    ck_assert_int_eq(
        world_result(world, loop_write(world->loop, world->fd[1], text, SIZE, 0, test_log_cb, &world->log, NULL)),
        SIZE);
    ck_assert_int_eq(world_result(world, loop_read(world->loop, world->fd[0], world->bytes[0], SIZE, 0, test_log_cb,
                                                   &world->log, NULL)),
                     SIZE);
    ck_assert_mem_eq(world->bytes[0], text, SIZE);
}
