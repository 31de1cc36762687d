/* bench/common/window.h: for connections that are to be filled up in both directions. Set before the connect.
 *
 * A kernel that has no room left in a receive buffer takes back part of the window that it has offered, and Linux since
 * 6.17 then drops whatever begins beyond, acknowledgements too, until the receiver reads on. If that waits for its own
 * bytes to be acknowledged, as in echo servers and proxies, the connection stands still for ever. A peer whose own
 * window is not scaled is spared: its acknowledgements begin within the window it knows of to the byte, and not only to
 * one unit of the scale. */
#ifndef BENCH_COMMON_WINDOW_H
#define BENCH_COMMON_WINDOW_H

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "common/cli.h"

enum { WINDOW_UNSCALED = 65535 };

static inline void window_unscaled(int fd)
{
    int bytes = WINDOW_UNSCALED;

    if (setsockopt(fd, IPPROTO_TCP, TCP_WINDOW_CLAMP, &bytes, sizeof(bytes)) != 0)
        die_errno(errno, "TCP_WINDOW_CLAMP");
}

#endif
