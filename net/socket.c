/* net/socket.c: plain system calls on sockets. */
#include "net/socket.h"

#include "loop/seam_sys.h"

#include <stddef.h>

int socket_stream(const struct loop_address *address)
{
    return sys_socket(address->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

int socket_option(int fd, int level, int name, int value)
{
    return sys_setsockopt(fd, level, name, &value, sizeof(value));
}

bool socket_address_valid(const struct loop_address *address)
{
    return address != NULL && address->size >= sizeof(sa_family_t) && address->size <= sizeof(address->storage);
}

typedef int name_call(int fd, struct sockaddr *addr, socklen_t *size);

static int get_name(int fd, name_call *call, struct loop_address *ret_address)
{
    struct loop_address address = {.size = sizeof(address.storage)};
    int                 r = call(fd, (struct sockaddr *)&address.storage, &address.size);

    if (r == 0)
        *ret_address = address;
    return r;
}

int socket_local_address(int fd, struct loop_address *ret_address)
{
    return get_name(fd, sys_getsockname, ret_address);
}

int socket_peer_address(int fd, struct loop_address *ret_address)
{
    return get_name(fd, sys_getpeername, ret_address);
}
