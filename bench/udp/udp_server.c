/* The socket of the UDP echo servers. */
#include "udp/udp_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "common/cli.h"

int udp_server_socket(const struct server_options *options)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(options->port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    int bytes = UDP_SOCKET_BUFFER;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_UDP);

    if (fd < 0)
        die_errno(errno, "socket");
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)) != 0)
        die_errno(errno, "socket buffers");
    if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) != 0)
        die_errno(errno, "bind to 127.0.0.1:%u", options->port);
    return fd;
}
