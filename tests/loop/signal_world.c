/* tests/loop/signal_world.c: what tests of signals share. */
#include "tests/loop/signal_world.h"

void watcher_noted(struct loop_signal *signal, const struct loop_signal_info *info)
{
    struct watcher *watcher = signal->data;

    ck_assert_uint_gt(info->count, 0);
    watcher->calls++;
    watcher->count += info->count;
    watcher->last = *info;
    if (watcher->order != NULL)
        watcher->order[strlen(watcher->order)] = watcher->letter;
}

void watcher_never(struct loop_signal *signal, const struct loop_signal_info *info)
{
    ck_abort_msg("signal %d for a watcher of %d", info->signum, loop_signal_number(signal));
}

void watcher_start(struct loop *loop, struct watcher *watcher, int signum, uint32_t flags, loop_signal_cb *cb)
{
    watcher->signal.data = watcher;
    ck_assert_int_eq(loop_signal_start(loop, &watcher->signal, signum, flags, cb), 0);
}

struct sigaction disposition(int signum)
{
    struct sigaction action;

    ck_assert_int_eq(sigaction(signum, NULL, &action), 0);
    return action;
}
