/* net/resolve_private.h: a look-up, and what its backends are asked.
 *
 * A query outlives a request that was given up: the backend then ends it for nobody. So nothing has to be waited for.
 */
#ifndef RINGLOOP_NET_RESOLVE_PRIVATE_H
#define RINGLOOP_NET_RESOLVE_PRIVATE_H

#include "loop/loop_private.h"

#include <netdb.h>
#include <ringloop/resolve.h>

enum { RESOLVE_HOST_BYTES = NI_MAXHOST, RESOLVE_SERVICE_BYTES = NI_MAXSERV };

struct ares_server;

/* Of a loop: made by its first request, freed when the loop has ended. */
struct resolver {
    struct loop_attachment attachment;
    struct loop           *loop;
    uint32_t               queries;
    struct resolve_query  *telling; /* whose callback runs; NULL: none */
    struct ares_server    *servers; /* resolve_ares.c */
};

struct resolve_query {
    struct loop_resolve *request; /* NULL: given up */
    struct resolver     *resolver;
    struct ares_server  *server;    /* that has it; NULL: none */
    loop_id              work;      /* of a thread; 0: none */
    bool                 busy;      /* a backend has it, and ends it */
    bool                 with_host; /* what the thread does */
    bool                 counted;   /* in resolver->queries */
    bool                 reverse;
    bool                 service_known; /* service is a number; or, reverse, the text is there */
    uint32_t             flags;
    int                  family;
    struct loop_address  address;   /* reverse: what to look up; else the port alone counts */
    struct addrinfo     *list;      /* what a thread has found */
    struct loop_address *addresses; /* the outcome; canonical lies behind them */
    size_t               count;
    const char          *canonical;
    char                *host;    /* of the program's, or NULL; reverse: the outcome, in RESOLVE_HOST_BYTES */
    char                *service; /* the same, in RESOLVE_SERVICE_BYTES */
    char                 text[];
};

/* resolve_check.c: 0, or the errno for the program. A service that is a number gives the port: 1. */
int resolve_check_host(const char *host, const struct loop_resolve_options *options);
int resolve_check_service(const char *service, uint16_t *ret_port);

/* resolve.c: the outcome. */

/* Room for the addresses and the canonical name (may be NULL): 0 or -ENOMEM. They are added one by one; what is neither
 * IPv4 nor IPv6, or is there already, is left out. */
int  resolve_addresses_begin(struct resolve_query *query, size_t count_max, const char *canonical);
void resolve_addresses_add(struct resolve_query *query, const struct sockaddr *sockaddr, size_t size);

/* A backend has done with it. Frees it if nobody wants it any more. error: 0 or why. */
void resolve_query_end(struct resolve_query *query, int error);

/* The service is known, now to the host. 0, or why it cannot begin; then the query has not ended. */
int resolve_host_start(struct resolve_query *query);

/* resolve_system.c: by a thread of the pool: what is not known of the service, and with_host the host. 0, or why it
 * cannot. */
int resolve_system_start(struct resolve_query *query, bool with_host);

/* resolve_ares.c: by c-ares, which asks the DNS servers given, or those of the system if NULL. choose: 0 or why it
 * cannot; the query's service must be known when it starts, which cannot fail. */
int         resolve_ares_choose(struct resolve_query *query, const char *servers);
void        resolve_ares_start(struct resolve_query *query);
void        resolve_ares_leave(struct resolve_query *query);  /* its request has been given up, or is told */
void        resolve_ares_forget(struct resolve_query *query); /* it is freed */
void        resolve_ares_forked(struct resolver *resolver);   /* in a child, with no query left */
void        resolve_ares_free(struct resolver *resolver);
const char *resolve_ares_version(void);

#endif
