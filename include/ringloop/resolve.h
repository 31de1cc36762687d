/* ringloop/resolve.h: host names to addresses and back, without blocking the loop. Loop thread only.
 *
 * Life: zeroed > loop_resolve_start or loop_resolve_name > callback; then it may be started anew, also in the callback.
 *
 * Two backends do it, and give the same results. c-ares, where the library was built with it: the loop itself talks to
 * the DNS servers, any number of look-ups at a time. And the system's getaddrinfo(3) and getnameinfo(3), on the loop's
 * work pool, at most as many at a time as its slow class has threads: for what /etc/nsswitch.conf lists beside files
 * and dns, such as mDNS or LDAP. See docs/names.md.
 *
 * Errors of callbacks, whichever backend (of an EAI_* or ARES_* that stands nowhere else: -EIO):
 *   -ENOENT      there is no such name                          EAI_NONAME; ENOTFOUND, ENONAME
 *   -ENODATA     it has no address of that family               EAI_NODATA, EAI_ADDRFAMILY; ENODATA
 *   -EAGAIN      no server could answer just now: try later     EAI_AGAIN; ESERVFAIL, ETIMEOUT, ECONNREFUSED
 *   -EPROTO      a server refuses, or answers nonsense          EAI_FAIL; EREFUSED, EFORMERR, ENOTIMP, EBADRESP
 *   -ESRCH       there is no such service                       EAI_SERVICE; ESERVICE
 *   -EINVAL      no name that could be looked up                EAI_BADFLAGS; EBADNAME, EBADQUERY, EBADSTR
 *   -EAFNOSUPPORT                                               EAI_FAMILY, EAI_SOCKTYPE; EBADFAMILY
 *   -EOVERFLOW   a name of more than 1024 bytes came back       EAI_OVERFLOW
 *   -ENOMEM                                                     EAI_MEMORY; ENOMEM
 *   -ECANCELED   loop_resolve_cancel(), loop_destroy()
 *   -ETIMEDOUT   loop_resolve_options.timeout_ns has passed
 *   others       what a system call said                        EAI_SYSTEM */
#ifndef RINGLOOP_RESOLVE_H
#define RINGLOOP_RESOLVE_H

#include <ringloop/address.h>
#include <ringloop/timer.h>
#include <ringloop/types.h>

LOOP_BEGIN_DECLS

struct loop_resolve;
struct resolve_query;

/* error: 0, or as above. addresses: lent, count of them, at least 1 without an error, else NULL and 0; in the order in
 * which they should be tried (RFC 6724), none twice. */
typedef void loop_resolve_cb(struct loop_resolve *request, int error, const struct loop_address *addresses,
                             size_t count);

/* host, service: lent; NULL with an error. */
typedef void loop_resolve_name_cb(struct loop_resolve *request, int error, const char *host, const char *service);

enum loop_resolve_flags {
    LOOP_RESOLVE_SYSTEM = 1u << 0,    /* by getaddrinfo(3) or getnameinfo(3), even where c-ares is there */
    LOOP_RESOLVE_NUMERIC = 1u << 1,   /* nothing is looked up: the host is an address, or is told as one */
    LOOP_RESOLVE_PASSIVE = 1u << 2,   /* to listen at: without a host all addresses, not those of this machine alone */
    LOOP_RESOLVE_CANONICAL = 1u << 3, /* loop_resolve_canonical() has the name that the host's aliases lead to */
    LOOP_RESOLVE_DATAGRAM = 1u << 4,  /* names of services are those of udp, not of tcp */
    LOOP_RESOLVE_SERVICE_NAME = 1u << 5,  /* loop_resolve_name(): the service's name, if it has one, not its number */
    LOOP_RESOLVE_NAME_REQUIRED = 1u << 6, /* loop_resolve_name(): without a name -ENOENT, instead of the address */
};

enum {
    LOOP_RESOLVES_MAX = 4096,         /* look-ups in flight on a loop, with those given up that the backend still has */
    LOOP_RESOLVE_ADDRESSES_MAX = 256, /* of one host; more are left out */
    LOOP_RESOLVE_SERVERS_MAX = 8      /* lists of servers in use on a loop at a time */
};

/* { 0 }, or NULL, is valid and the default. */
struct loop_resolve_options {
    uint32_t flags      LOOP_ZERO; /* enum loop_resolve_flags; unknown bits give -EINVAL */
    int family          LOOP_ZERO; /* AF_INET, AF_INET6; 0: both */
    uint64_t timeout_ns LOOP_ZERO; /* 0: until the backend gives up, which may take it a minute */
    /* DNS servers to ask instead of those of /etc/resolv.conf: "192.0.2.1:5353,[2001:db8::1]:53". Copied. With c-ares
     * only, else -EOPNOTSUPP. */
    const char *servers LOOP_NONE;
};

struct loop_resolve {
    void *data; /* yours; the library never reads it */
    struct loop_resolve_private {
        struct loop_object    object;
        struct loop_task      task;
        struct loop_timer     deadline;
        struct resolve_query *query; /* the look-up and its outcome; NULL: given up */
        loop_resolve_cb      *on_addresses;
        loop_resolve_name_cb *on_name;
        int                   error;
        uint32_t              state;
    } priv;
};

/* Looks up the addresses of host, with the port of service. host: a name, or an address as loop_address_parse() takes
 * it (no unix one), or NULL for this machine (LOOP_RESOLVE_PASSIVE). service: a number, or a name of /etc/services, or
 * NULL for port 0. Both are copied. Addresses and numbers are not looked up anywhere, but the callback still comes
 * later. Borrows request until the callback, which comes once. It keeps the loop alive.
 *
 * Returns 0, or calls back never:
 *   -EINVAL        no cb, unknown flags; no name or address at all: empty, too long, or, as an old way to write
 *                  addresses that others may take for something else, with a number at its end ("127.1", "0x7f.1");
 *                  also servers that can't be understood
 *   -EILSEQ        not ASCII: names in other scripts are to be given in their ASCII form (xn--...)
 *   -ENODEV        an address with the scope of an interface that is not there
 *   -EAFNOSUPPORT  an unknown family, or host is an address of the other one
 *   -EOPNOTSUPP    servers without c-ares
 *   -EBUSY         request is in use
 *   -ENOBUFS       LOOP_RESOLVES_MAX are in flight (counted in loop_stats.resolves_full); LOOP_RESOLVE_SERVERS_MAX
 *                  other lists of servers are in use; or as loop_work()
 *   -ECANCELED     the loop is being destroyed
 *   -ENOMEM, -EAGAIN (no thread could be started) */
LOOP_API LOOP_MUST_USE int loop_resolve_start(struct loop *loop, struct loop_resolve *request, const char *host,
                                              const char *service, const struct loop_resolve_options *options,
                                              loop_resolve_cb *cb);

/* Looks up the name of an IPv4 or IPv6 address, else -EAFNOSUPPORT; copied. Without a name, or with c-ares also if no
 * server could answer (it does not tell), the host is the address as text. The service is the port as a number, unless
 * LOOP_RESOLVE_SERVICE_NAME is set. family, LOOP_RESOLVE_PASSIVE and LOOP_RESOLVE_CANONICAL give -EINVAL. All else as
 * above. */
LOOP_API LOOP_MUST_USE int loop_resolve_name(struct loop *loop, struct loop_resolve *request,
                                             const struct loop_address         *address,
                                             const struct loop_resolve_options *options, loop_resolve_name_cb *cb);

/* The callback comes with -ECANCELED, in the next turn, whatever the backend is doing: what a server or a thread still
 * brings is thrown away. Returns 0, or -ENOENT if it is not in progress. */
LOOP_API int loop_resolve_cancel(struct loop_resolve *request);

/* Inside a callback of a loop_resolve_start() with LOOP_RESOLVE_CANONICAL: the name, lent; else NULL. */
LOOP_API const char *loop_resolve_canonical(const struct loop_resolve *request);

/* The loop that it was last started on; NULL before the first time. */
LOOP_API struct loop *loop_resolve_loop(const struct loop_resolve *request);

/* What looks names up when LOOP_RESOLVE_SYSTEM is not set: "c-ares 1.18.1" or "system"; a static string. Any thread. */
LOOP_API const char *loop_resolve_backend(void);

LOOP_END_DECLS

#endif
