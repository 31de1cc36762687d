/* tests/foreign/visitors.h: an echo server on ringloop, and threads with blocking sockets that visit one. */
#ifndef RINGLOOP_TESTS_FOREIGN_VISITORS_H
#define RINGLOOP_TESTS_FOREIGN_VISITORS_H

#include "tests/support/test.h"

#include <pthread.h>

enum { VISITORS = 8, VISITOR_ROUNDS = 200, VISITOR_BYTES = 3000 };

/* Each connects, has its bytes echoed again and again, and checks them. */
struct visitors {
    uint16_t  port;
    pthread_t threads[VISITORS];
};
void visitors_start(struct visitors *visitors, uint16_t port);
void visitors_join(struct visitors *visitors);

/* Closes its listener once all visitors have come and gone. */
struct echo {
    struct loop_listener listener;
    uint32_t             accepted, closed;
    uint64_t             bytes;
};
uint16_t echo_start(struct echo *echo, struct loop *loop); /* the port */

#endif
