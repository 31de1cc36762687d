/* tests/net/couple.h: a connection whose two ends are both streams of the loop. */
#ifndef RINGLOOP_TESTS_NET_COUPLE_H
#define RINGLOOP_TESTS_NET_COUPLE_H

#include "tests/net/net_test.h"

struct couple {
    struct end a, b;
};

/* Zeroes the couple; number gives its flows. Neither end reads yet. */
void couple_open(struct loop *loop, struct couple *couple, int kind, uint32_t number);

/* Closes the ends that are not closed, and runs until both are. */
void couple_close(struct loop *loop, struct couple *couple);

#endif
