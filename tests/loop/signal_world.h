/* tests/loop/signal_world.h: what tests of signals share: watchers that note what they are told. */
#ifndef RINGLOOP_TESTS_LOOP_SIGNAL_WORLD_H
#define RINGLOOP_TESTS_LOOP_SIGNAL_WORLD_H

#include "tests/support/test.h"

#include <pthread.h>
#include <signal.h>

/* What an object was told. */
struct watcher {
    struct loop_signal      signal;
    uint32_t                calls;
    uint64_t                count;
    struct loop_signal_info last;
    char                   *order; /* NULL: not noted */
    char                    letter;
};

/* Callbacks of watchers. */
loop_signal_cb watcher_noted;
loop_signal_cb watcher_never;

void watcher_start(struct loop *loop, struct watcher *watcher, int signum, uint32_t flags, loop_signal_cb *cb);

/* Of this process, just now. */
struct sigaction disposition(int signum);

#endif
