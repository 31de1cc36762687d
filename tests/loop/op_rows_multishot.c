/* tests/loop/op_rows_multishot.c: operations that go on. The good ones have one result; then comes the end of what they
 * read from, or of their count, or else they are cancelled. */
#include "tests/loop/op_world.h"

#include <sys/eventfd.h>

enum { SIZE = 32 };

static const char text[SIZE + 1] = "what goes through the socket....";

/* The bad one does not listen. */
static int listener(struct world *world, enum how how)
{
    uint16_t port;
    int      fd;

    if (how == BAD)
        return world_fd(world, socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    fd = world_fd(world, test_tcp_listener(&port, 8));
    if (how == GOOD)
        world_fd(world, test_tcp_connect(port));
    return fd;
}

loop_id start_accept_multishot(struct world *world, enum how how, loop_cb *cb, void *arg,
                               const struct loop_terms *terms)
{
    return loop_accept_multishot(world->loop, listener(world, how), SOCK_NONBLOCK, cb, arg, terms);
}

loop_id start_accept_multishot_direct(struct world *world, enum how how, loop_cb *cb, void *arg,
                                      const struct loop_terms *terms)
{
    return loop_accept_multishot_direct(world->loop, listener(world, how), 0, cb, arg, terms);
}

/* A stream that ends behind the text, or has none and no end yet. */
static int stream(struct world *world, enum how how, bool is_pipe)
{
    int fds[2];

    if (how == BAD)
        return world->file;
    if (is_pipe)
        world_pipe(world, fds);
    else
        world_pair(world, fds);
    if (how == GOOD) {
        test_write(fds[1], text, SIZE);
        world_fd_gone(world, fds[1]);
        test_close(fds[1]);
    }
    return fds[0];
}

loop_id start_recv_multishot(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    return loop_recv_multishot(world->loop, stream(world, how, false), LOOP_GROUP_DEFAULT, 0, cb, arg, terms);
}

loop_id start_recvmsg_multishot(struct world *world, enum how how, loop_cb *cb, void *arg,
                                const struct loop_terms *terms)
{
    world->args.msg = (struct msghdr){.msg_namelen = 16};
    return loop_recvmsg_multishot(world->loop, stream(world, how, false), &world->args.msg, LOOP_GROUP_DEFAULT, 0, cb,
                                  arg, terms);
}

loop_id start_read_multishot(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    return loop_read_multishot(world->loop, stream(world, how, true), LOOP_GROUP_DEFAULT, cb, arg, terms);
}

void look_lent(struct world *world, int32_t res)
{
    (void)res;
    ck_assert_mem_eq(world->lent, text, SIZE);
}

loop_id start_poll_add_multishot(struct world *world, enum how how, loop_cb *cb, void *arg,
                                 const struct loop_terms *terms)
{
    int fd = how == BAD ? 3999 : world_fd(world, eventfd(how == GOOD, EFD_CLOEXEC));

    return loop_poll_add_multishot(world->loop, fd, POLLIN, 0, cb, arg, terms);
}

loop_id start_timeout_multishot(struct world *world, enum how how, loop_cb *cb, void *arg,
                                const struct loop_terms *terms)
{
    return loop_timeout_multishot(world->loop, how == BLOCK ? 3600 * LOOP_SECOND : LOOP_MILLISECOND, 2, 0, cb, arg,
                                  terms);
}
