/* net/socket.h: what listeners and streams do with sockets by plain system calls. Negative errno. */
#ifndef RINGLOOP_NET_SOCKET_H
#define RINGLOOP_NET_SOCKET_H

#include <ringloop/address.h>
#include <stdbool.h>

/* A stream socket of the address's family, close-on-exec. */
int socket_stream(const struct loop_address *address);

/* An integer option. */
int socket_option(int fd, int level, int name, int value);

bool socket_address_valid(const struct loop_address *address);

int socket_local_address(int fd, struct loop_address *ret_address);
int socket_peer_address(int fd, struct loop_address *ret_address);

#endif
