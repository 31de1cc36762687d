/* tests/loop/op_rows_zero_copy.c: zero-copy sends and receives, and sends with an address. */
#include "tests/loop/op_world.h"

enum { SIZE = 32 };

/* What look_sent() expects. */
static const char text[SIZE + 1] = "what goes through the socket....";

/* What to send on, since unix sockets have no zero-copy; its peer in fd[1]. */
static int sender(struct world *world, enum how how)
{
    int pair[2];

    if (how == BAD)
        return world->file;
    if (how == BLOCK)
        return world_connecting_tcp(world);
    world_tcp_pair(world, pair);
    world->fd[1] = pair[1];
    return pair[0];
}

/* In the registered buffer; the bad one is memory that does not belong to it. */
static char *fixed_memory(struct world *world, enum how how)
{
    return memcpy(how == BAD ? world->bytes[0] : world->fixed_memory, text, SIZE);
}

/* What is bad of the fixed ones is their memory. */
static int fixed_sender(struct world *world, enum how how)
{
    return sender(world, how == BAD ? GOOD : how);
}

static const struct msghdr *message(struct world *world, char *bytes)
{
    for (unsigned i = 0; i < 8; i++)
        world->args.iov[i] = (struct iovec){bytes + i * SIZE / 8, SIZE / 8};
    world->args.msg = (struct msghdr){.msg_iov = world->args.iov, .msg_iovlen = 8};
    return &world->args.msg;
}

loop_id start_send_zc(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    return loop_send_zc(world->loop, sender(world, how), text, SIZE, 0, cb, arg, terms);
}

loop_id start_send_zc_fixed(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    return loop_send_zc_fixed(world->loop, fixed_sender(world, how), fixed_memory(world, how), SIZE, 0,
                              world->fixed_index, cb, arg, terms);
}

loop_id start_sendmsg_zc(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    return loop_sendmsg_zc(world->loop, sender(world, how), message(world, memcpy(world->bytes[0], text, SIZE)), 0, cb,
                           arg, terms);
}

loop_id start_sendmsg_zc_fixed(struct world *world, enum how how, loop_cb *cb, void *arg,
                               const struct loop_terms *terms)
{
    return loop_sendmsg_zc_fixed(world->loop, fixed_sender(world, how), message(world, fixed_memory(world, how)), 0,
                                 world->fixed_index, cb, arg, terms);
}

/* A datagram socket that is not connected; the other one, at the address, in fd[1]. */
static int datagram_sender(struct world *world, enum how how)
{
    struct sockaddr_in local = test_localhost(0);
    socklen_t          size = sizeof(local);

    world->fd[1] = world_fd(world, socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ck_assert_int_eq(bind(world->fd[1], (struct sockaddr *)&local, size), 0);
    ck_assert_int_eq(getsockname(world->fd[1], (struct sockaddr *)&local, &size), 0);
    memcpy(&world->args.address, &local, size);
    return how == BAD ? world->file : world_fd(world, socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
}

loop_id start_sendto(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    int fd = datagram_sender(world, how);

    return loop_sendto(world->loop, fd, text, SIZE, 0, (struct sockaddr *)&world->args.address,
                       sizeof(struct sockaddr_in), cb, arg, terms);
}

loop_id start_sendto_zc(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    int fd = datagram_sender(world, how);

    return loop_sendto_zc(world->loop, fd, text, SIZE, 0, (struct sockaddr *)&world->args.address,
                          sizeof(struct sockaddr_in), cb, arg, terms);
}

/* Through a queue that was not started, which takes a network card. */
loop_id start_recv_zc(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    static struct loop_zcrx zcrx;

    (void)how;
    return loop_recv_zc(world->loop, &zcrx, sender(world, GOOD), cb, arg, terms);
}
