/* bench/udp/udp_server.h: the socket of the UDP echo servers; the rest they share is in common/server.h. */
#ifndef BENCH_UDP_UDP_SERVER_H
#define BENCH_UDP_UDP_SERVER_H

#include "common/server.h"

enum {
    UDP_SIZE_MAX = 1400,         /* of a datagram */
    UDP_SOCKET_BUFFER = 4 << 20, /* asked for; the system may give less */
};

/* A nonblocking socket, bound to 127.0.0.1. */
int udp_server_socket(const struct server_options *options);

#endif
