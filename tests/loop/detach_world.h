/* tests/loop/detach_world.h: what tests of descriptors that are taken out of the loop share.
 *
 * That nothing holds the file any more is told by the other side: it sees the end as soon as the descriptor is closed,
 * while the loop does not run. */
#ifndef RINGLOOP_TESTS_LOOP_DETACH_WORLD_H
#define RINGLOOP_TESTS_LOOP_DETACH_WORLD_H

#include "tests/loop/pair_world.h"

#include <poll.h>

static char byte, megabyte[1 << 20];

static inline void setup(void)
{
    pair_open(&(struct loop_options){.sq_entries = 64, .buffer_size = 64, .buffer_count = 4});
}

static inline void close_at(int *fd)
{
    if (*fd >= 0)
        test_close(*fd);
    *fd = -1;
}

/* What the other side of a closed file sees without any waiting. */
static inline bool sees_end(int fd)
{
    struct pollfd ask = {.fd = fd, .events = POLLIN | POLLRDHUP};

    ck_assert_int_ge(poll(&ask, 1, 0), 0);
    return (ask.revents & (POLLHUP | POLLRDHUP | POLLERR)) != 0;
}

/* A worker that gets no processor for long is -EBUSY: it is asked again, and then what was asked is not counted. */
static inline int detach_patiently(int fd, int expected)
{
    int answer = loop_detach(loop, fd);

    for (int tries = 0; answer == -EBUSY && tries < 100; tries++) {
        answer = loop_detach(loop, fd);
        if (answer == 0)
            return expected;
    }
    return answer;
}

#endif
