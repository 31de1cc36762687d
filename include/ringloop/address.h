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

/* The same for what loop_address_format() writes, and what stands in configurations: "192.0.2.1:80", "[::1]:80",
 * "[fe80::1%eth0]:80"; port is for texts without one: "192.0.2.1", "::1", "[::1]", "unix:/path". An IPv6 address with a
 * port needs the brackets: "::1:80" is an address. Host names are for resolve.h. */
LOOP_API LOOP_MUST_USE int loop_address_parse_port(struct loop_address *ret_address, const char *text, uint16_t port);

/* Writes "192.0.2.1:80", "[::1]:80", "unix:/path" or "unix:@abstract" with its end. Returns the length without the end,
 * -EINVAL (unknown family or size), or -ENOSPC. */
LOOP_API int loop_address_format(const struct loop_address *address, char *text, size_t text_size);

/* The same without the port: "192.0.2.1", "fe80::1%eth0", "unix:/path": what loop_address_parse() takes. */
LOOP_API int loop_address_format_host(const struct loop_address *address, char *text, size_t text_size);

/* The port of an IPv4 or IPv6 address, else 0. Setting it returns 0, -EAFNOSUPPORT (neither of them), -EINVAL. */
LOOP_API uint16_t loop_address_port(const struct loop_address *address);
LOOP_API int      loop_address_port_set(struct loop_address *address, uint16_t port);

/* Orders addresses: by family, then address, scope and port; unix ones by name. Less than, equal to, or greater than 0.
 * Flow labels and bytes that say nothing do not count. "::ffff:192.0.2.1" and "192.0.2.1" differ. */
LOOP_API int loop_address_compare(const struct loop_address *a, const struct loop_address *b);

LOOP_END_DECLS

#endif
