/* tests/net/name_server.h: a small DNS server on a thread of its own, at 127.0.0.1 over udp and tcp, and a place where
 * the system's library asks it too.
 *
 * What it answers is said by the first label of the name, whatever follows:
 *   both        A 192.0.2.1, AAAA 2001:db8::1
 *   four, six   the one, and nothing of the other kind
 *   none        nothing of either kind
 *   alias       CNAME both.test
 *   many        60 A addresses, which by udp are too many: truncated
 *   loop4, loop6, loopback    A 127.0.0.1, AAAA ::1, both
 *   servfail, refused         with that error
 *   garbage     half of an answer
 *   silent      nothing is answered
 *   held...     as both, but not before it is let; held4..., held6...: the one of the kind is held alone
 *   held...loop...  the same with 127.0.0.1 and ::1
 *   mixed       A 192.0.2.1, AAAA with SERVFAIL
 *   all others  no such name
 * Reverse: 192.0.2.1 and 2001:db8::1 are both.test; 192.0.2.66 SERVFAIL. */
#ifndef RINGLOOP_TESTS_NET_NAME_SERVER_H
#define RINGLOOP_TESTS_NET_NAME_SERVER_H

#include "tests/net/net_test.h"

#include <pthread.h>

enum { NAME_SERVER_HELD_MAX = 8192, NAME_SERVER_TCP_MAX = 8 };

struct name_question {
    uint8_t            bytes[300];
    size_t             size;
    struct sockaddr_in from;
};

struct name_server {
    pthread_t             thread;
    int                   udp, tcp, stop;
    int                   connections[NAME_SERVER_TCP_MAX];
    char                  servers[32]; /* for loop_resolve_options */
    _Atomic uint32_t      asked, asked_by_tcp, held_count;
    _Atomic bool          let; /* held answers leave from now on */
    struct name_question *held;
};

/* port 0: any that is free. */
void name_server_open(struct name_server *server, uint16_t port);
void name_server_close(struct name_server *server);
void name_server_let(struct name_server *server);

/* From now on this process has a network of its own, in which /etc/resolv.conf names 127.0.0.1 and /etc/hosts knows
 * "filehost" as 192.0.2.99, alone. False where this system does not allow that. */
bool name_world(void);

#endif
