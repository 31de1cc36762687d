/* bench/proxy/move.h: bytes from socket to socket by splice(2), through a pipe, without copying them. */
#ifndef BENCH_PROXY_MOVE_H
#define BENCH_PROXY_MOVE_H

#include <stdint.h>

/* All zero is a new one. Pipes come from a pool: it holds one only while bytes are in it. */
struct move {
    int      pipe[2];
    uint64_t piped; /* bytes in the pipe */
    uint64_t moved; /* bytes that have arrived at the target, since the beginning */
};

enum move_result { MOVE_SOURCE_EMPTY, MOVE_TARGET_FULL, MOVE_ENOUGH, MOVE_ENDED, MOVE_BROKEN };

/* Moves what there is, until enough has been moved for now. Both sockets must be nonblocking (for splice from a socket
 * no flag of the call does), and SIGPIPE ignored. */
enum move_result move_bytes(struct move *move, int from, int to);

/* Gives up the pipe, if there is one, and the bytes in it. */
void move_end(struct move *move);

#endif
