/* bench/load/peer.h: one connection of the load generator. What it sends and expects back is its pattern. */
#ifndef BENCH_LOAD_PEER_H
#define BENCH_LOAD_PEER_H

#include <stdbool.h>
#include <stdint.h>

struct peer {
    int      fd;
    uint32_t index;
    uint32_t events; /* what epoll watches for */
    bool     ended;  /* the server has sent its last byte */
    uint64_t sent;
    uint64_t received;
};

struct peers {
    int          epoll_fd;
    uint32_t     count;
    struct peer *items;
};

/* Connects count peers to 127.0.0.1:port, all watched for EPOLLIN; dies if that is not done in time. small_window: see
 * common/window.h. */
void peers_open(struct peers *peers, uint32_t count, uint16_t port, bool small_window);

/* Ends every connection by a reset, so that no port stays in TIME_WAIT. */
void peers_close(struct peers *peers);

/* Sends up to length bytes of the pattern; returns how many the socket took. */
uint64_t peer_send(struct peer *peer, uint64_t length);

/* Receives up to length bytes and checks each; returns how many. Sets ended at the end of the stream. */
uint64_t peer_receive(struct peer *peer, uint64_t length);

/* Changes what epoll watches for. */
void peer_watch(const struct peers *peers, struct peer *peer, uint32_t events);

#endif
