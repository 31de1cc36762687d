/* ringloop/address.h: socket addresses: parse, make, format. Any thread; nothing here blocks or looks names up. */
#ifndef RINGLOOP_ADDRESS_H
#define RINGLOOP_ADDRESS_H

#include <ringloop/types.h>

#include <sys/socket.h>

LOOP_BEGIN_DECLS

enum { LOOP_ADDRESS_TEXT_MAX = 160 }; /* bytes that the text of any address needs, its end included */

struct loop_address {
    struct sockaddr_storage storage;
    socklen_t               size;
};

/* Parses "192.0.2.1", "::1", "fe80::1%eth0" (scope by name or number), with port; or "unix:/path", "unix:@abstract"
 * (port is ignored). Returns 0, -EINVAL, -ENAMETOOLONG (unix path), -ENODEV (no such scope). */
LOOP_API LOOP_MUST_USE int loop_address_parse(struct loop_address *ret_address, const char *text, uint16_t port);

/* Writes "192.0.2.1:80", "[::1]:80", "unix:/path" or "unix:@abstract" with its end. Returns the length without the end,
 * -EINVAL (unknown family or size), or -ENOSPC. */
LOOP_API int loop_address_format(const struct loop_address *address, char *text, size_t text_size);

/* The port of an IPv4 or IPv6 address, else 0. */
LOOP_API uint16_t loop_address_port(const struct loop_address *address);

LOOP_END_DECLS

#endif
