/* tests/net/door.h: a listener that keeps what it accepts. */
#ifndef RINGLOOP_TESTS_NET_DOOR_H
#define RINGLOOP_TESTS_NET_DOOR_H

#include "tests/net/net_test.h"

enum { DOOR_ACCEPTED_MAX = 1000 };

struct door {
    struct loop_listener listener;
    int                  fds[DOOR_ACCEPTED_MAX];
    uint32_t             accepted;
    uint32_t             errors;
    int                  error; /* the last */
    uint32_t             closes;
    struct loop_address  address; /* where it listens */
};

/* Zeroes the door, and starts it; the first at an address of the kind, without options. */
void door_open(struct loop *loop, struct door *door, int kind);
void door_open_at(struct loop *loop, struct door *door, const struct loop_address *address,
                  const struct loop_listener_options *options, loop_listener_cb *on_accept);

/* Closes the listener, unless it is closed, runs until that has happened, and closes the descriptors. */
void door_close(struct loop *loop, struct door *door);

struct door           *door_of(struct loop_listener *listener);
loop_listener_cb       door_accept_cb;
loop_listener_close_cb door_close_cb;

#endif
