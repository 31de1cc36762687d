/* tests/loop/op_rows_socket.c: operations on sockets, and nop and close. */
#include "tests/loop/op_world.h"

enum { SIZE = 32 };

static const char text[SIZE + 1] = "what goes through the socket....";

loop_id start_nop(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    (void)how;
    return loop_nop(world->loop, cb, arg, terms);
}

loop_id start_socket(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    return loop_socket(world->loop, how == BAD ? 4000 : AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0, cb, arg, terms);
}

void look_socket(struct world *world, int32_t res)
{
    int       domain = 0;
    socklen_t size = sizeof(domain);

    (void)world;
    ck_assert_int_eq(getsockopt(res, SOL_SOCKET, SO_DOMAIN, &domain, &size), 0);
    ck_assert_int_eq(domain, AF_INET);
    ck_assert_int_eq(fcntl(res, F_GETFD), FD_CLOEXEC);
    ck_assert_int_ne(fcntl(res, F_GETFL) & O_NONBLOCK, 0);
}

static int new_socket(struct world *world)
{
    return world_fd(world, socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

static int new_listener(struct world *world, uint16_t *ret_port, int backlog)
{
    return world_fd(world, test_tcp_listener(ret_port, backlog));
}

static const struct sockaddr *address(struct world *world, uint16_t port)
{
    struct sockaddr_in local = test_localhost(port);

    memcpy(&world->args.address, &local, sizeof(local));
    return (const struct sockaddr *)&world->args.address;
}

/* The bad one wants a port that is taken. */
loop_id start_bind(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    uint16_t port = 0;

    if (how == BAD)
        new_listener(world, &port, 1);
    world->fd[0] = new_socket(world);
    return loop_bind(world->loop, world->fd[0], address(world, port), sizeof(struct sockaddr_in), cb, arg, terms);
}

void look_bound(struct world *world, int32_t res)
{
    struct sockaddr_in local = {0};
    socklen_t          size = sizeof(local);

    (void)res;
    ck_assert_int_eq(getsockname(world->fd[0], (struct sockaddr *)&local, &size), 0);
    ck_assert_uint_eq(local.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
    ck_assert_uint_ne(local.sin_port, 0);
}

loop_id start_listen(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    int pair[2];

    world_pair(world, pair);
    world->fd[0] = how == BAD ? pair[0] : new_socket(world);
    return loop_listen(world->loop, world->fd[0], 3, cb, arg, terms);
}

void look_listening(struct world *world, int32_t res)
{
    int       listening = 0;
    socklen_t size = sizeof(listening);

    (void)res;
    ck_assert_int_eq(getsockopt(world->fd[0], SOL_SOCKET, SO_ACCEPTCONN, &listening, &size), 0);
    ck_assert_int_eq(listening, 1);
}

/* The bad one finds nobody; the one that blocks, a listener whose queue is full. */
loop_id start_connect(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    uint16_t port;
    int      listener = new_listener(world, &port, how == BLOCK ? 0 : 8);

    if (how == BAD) {
        world_fd_gone(world, listener);
        test_close(listener);
    }
    if (how == BLOCK)
        world_fd(world, test_tcp_connect(port));
    world->fd[0] = new_socket(world);
    return loop_connect(world->loop, world->fd[0], address(world, port), sizeof(struct sockaddr_in), cb, arg, terms);
}

void look_connected(struct world *world, int32_t res)
{
    struct sockaddr_in peer;
    socklen_t          size = sizeof(peer);

    (void)res;
    ck_assert_int_eq(getpeername(world->fd[0], (struct sockaddr *)&peer, &size), 0);
}

loop_id start_accept(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    uint16_t port;
    int      listener = how == BAD ? new_socket(world) : new_listener(world, &port, 8);

    if (how == GOOD)
        world_fd(world, test_tcp_connect(port));
    return loop_accept(world->loop, listener, NULL, NULL, SOCK_NONBLOCK, cb, arg, terms);
}

loop_id start_shutdown(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    int pair[2];

    world_pair(world, pair);
    world->fd[0] = pair[1];
    return loop_shutdown(world->loop, how == BAD ? new_socket(world) : pair[0], SHUT_WR, cb, arg, terms);
}

void look_shutdown(struct world *world, int32_t res)
{
    char byte;

    (void)res;
    ck_assert_int_eq(recv(world->fd[0], &byte, 1, MSG_DONTWAIT), 0);
}

loop_id start_close(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    if (how == GOOD)
        world->fd[0] = world_fd(world, fcntl(world->file, F_DUPFD_CLOEXEC, 500));
    return loop_close(world->loop, how == BAD ? 3999 : world->fd[0], cb, arg, terms);
}

void look_closed(struct world *world, int32_t res)
{
    (void)res;
    ck_assert_int_eq(fcntl(world->fd[0], F_GETFD), -1);
    ck_assert_int_eq(errno, EBADF);
    world_fd_gone(world, world->fd[0]);
}

/* What to send on; its peer in fd[1]. */
static int sender(struct world *world, enum how how)
{
    int pair[2];

    if (how == BAD)
        return world->file;
    if (how == BLOCK)
        return world_full_socket(world);
    world_pair(world, pair);
    world->fd[1] = pair[1];
    return pair[0];
}

/* What to receive from. */
static int receiver(struct world *world, enum how how)
{
    int pair[2];

    if (how == BAD)
        return world->file;
    world_pair(world, pair);
    if (how == GOOD)
        test_write(pair[1], text, SIZE);
    return pair[0];
}

loop_id start_send(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    return loop_send(world->loop, sender(world, how), text, SIZE, 0, cb, arg, terms);
}

loop_id start_recv(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    return loop_recv(world->loop, receiver(world, how), world->bytes[0], SIZE, 0, cb, arg, terms);
}

/* More parts than the context has room for. */
static const struct msghdr *message(struct world *world)
{
    for (unsigned i = 0; i < 8; i++)
        world->args.iov[i] = (struct iovec){world->bytes[0] + i * SIZE / 8, SIZE / 8};
    world->args.msg = (struct msghdr){.msg_iov = world->args.iov, .msg_iovlen = 8};
    return &world->args.msg;
}

loop_id start_sendmsg(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    memcpy(world->bytes[0], text, SIZE);
    return loop_sendmsg(world->loop, sender(world, how), message(world), 0, cb, arg, terms);
}

loop_id start_recvmsg(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    return loop_recvmsg(world->loop, receiver(world, how), message(world), 0, cb, arg, terms);
}

void look_sent(struct world *world, int32_t res)
{
    char bytes[SIZE];

    (void)res;
    test_read(world->fd[1], bytes, SIZE);
    ck_assert_mem_eq(bytes, text, SIZE);
}

void look_received(struct world *world, int32_t res)
{
    (void)res;
    ck_assert_mem_eq(world->bytes[0], text, SIZE);
}
