/* Connections of the load generator: nonblocking sockets in one epoll set; data.ptr of an event is the peer. */
#include "load/peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cli.h"
#include "common/window.h"
#include "load/pattern.h"

static void peer_connect(struct peer *peer, uint16_t port, bool small_window)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    int on = 1;

    peer->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);
    if (peer->fd < 0)
        die_errno(errno, "socket of connection %u", peer->index);
    if (setsockopt(peer->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0)
        die_errno(errno, "TCP_NODELAY");
    if (small_window)
        window_unscaled(peer->fd);
    if (connect(peer->fd, (const struct sockaddr *)&address, sizeof(address)) != 0)
        die_errno(errno, "connection %u to port %u", peer->index, port);
}

void peers_open(struct peers *peers, uint32_t count, uint16_t port, bool small_window)
{
    pattern_init();
    peers->count = count;
    peers->items = calloc(count, sizeof(*peers->items));
    if (peers->items == NULL)
        die("no memory for %u connections", count);
    peers->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (peers->epoll_fd < 0)
        die_errno(errno, "epoll_create1");
    for (uint32_t i = 0; i < count; i++) {
        struct peer       *peer = &peers->items[i];
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = peer};

        peer->index = i;
        peer->events = EPOLLIN;
        peer_connect(peer, port, small_window);
        if (epoll_ctl(peers->epoll_fd, EPOLL_CTL_ADD, peer->fd, &event) != 0)
            die_errno(errno, "epoll_ctl");
    }
}

void peers_close(struct peers *peers)
{
    const struct linger reset = {.l_onoff = 1, .l_linger = 0};

    for (uint32_t i = 0; i < peers->count; i++) {
        if (setsockopt(peers->items[i].fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)) != 0)
            die_errno(errno, "SO_LINGER");
        close(peers->items[i].fd);
    }
    close(peers->epoll_fd);
    free(peers->items);
}

uint64_t peer_send(struct peer *peer, uint64_t length)
{
    uint64_t start = peer->sent;

    while (length != 0) {
        size_t  chunk = length < PATTERN_CHUNK_MAX ? (size_t)length : PATTERN_CHUNK_MAX;
        ssize_t sent = send(peer->fd, pattern_at(peer->index, peer->sent), chunk, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (sent < 0 && errno == EAGAIN)
            break;
        if (sent < 0)
            die_errno(errno, "send on connection %u at byte %" PRIu64, peer->index, peer->sent);
        peer->sent += (uint64_t)sent;
        length -= (uint64_t)sent;
        if ((size_t)sent < chunk)
            break; /* the socket is full; EPOLLOUT will come */
    }
    return peer->sent - start;
}

__attribute__((noreturn)) static void die_wrong_byte(const struct peer *peer, const uint8_t *bytes,
                                                     const uint8_t *expected)
{
    uint32_t i = 0;

    while (bytes[i] == expected[i])
        i++;
    die("connection %u: byte %" PRIu64 " is 0x%02x, not 0x%02x", peer->index, peer->received + i, bytes[i],
        expected[i]);
}

uint64_t peer_receive(struct peer *peer, uint64_t length)
{
    static uint8_t bytes[PATTERN_CHUNK_MAX];
    size_t         chunk = length < sizeof(bytes) ? (size_t)length : sizeof(bytes);
    ssize_t        received = recv(peer->fd, bytes, chunk, MSG_DONTWAIT);
    const uint8_t *expected = pattern_at(peer->index, peer->received);

    if (received < 0 && errno == EAGAIN)
        return 0;
    if (received < 0)
        die_errno(errno, "receive on connection %u at byte %" PRIu64, peer->index, peer->received);
    if (received == 0)
        peer->ended = true;
    if (peer->received + (uint64_t)received > peer->sent)
        die("connection %u: %zd bytes at byte %" PRIu64 ", but only %" PRIu64 " were sent", peer->index, received,
            peer->received, peer->sent);
    if (memcmp(bytes, expected, (size_t)received) != 0)
        die_wrong_byte(peer, bytes, expected);
    peer->received += (uint64_t)received;
    return (uint64_t)received;
}

void peer_watch(const struct peers *peers, struct peer *peer, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = peer};

    if (peer->events == events)
        return;
    if (epoll_ctl(peers->epoll_fd, EPOLL_CTL_MOD, peer->fd, &event) != 0)
        die_errno(errno, "epoll_ctl");
    peer->events = events;
}
