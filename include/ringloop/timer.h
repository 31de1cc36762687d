/* ringloop/timer.h: timers. Loop thread only. Life: zeroed > start > (fires) > stop; may be started again.
 *
 * Timers are kept in user space, with nanoseconds, and fire in the exact order of (deadline, start). They count
 * from loop_now(); outside of callbacks the start of a timer refreshes that first. A timer started by a timer's
 * callback with delay 0 fires in the next turn. Never early. Those by the wall clock keep that order among themselves,
 * and stand among the others of the same turn where their time would be on the other clock. */
#ifndef RINGLOOP_TIMER_H
#define RINGLOOP_TIMER_H

#include <ringloop/types.h>

#include <stdbool.h>

LOOP_BEGIN_DECLS

struct loop_timer;
typedef void loop_timer_cb(struct loop_timer *timer);

struct loop_timer_node {
    struct loop_timer_node *next, *prev;
    uint64_t                deadline_ns;
    uint64_t                order;
};

/* Embed it, zeroed; reach yours from the callback with container_of, or through data. */
struct loop_timer {
    void *data; /* yours; the library never reads it */
    struct loop_timer_private {
        struct loop_timer_node node;
        struct loop           *loop;
        loop_timer_cb         *cb;
        uint64_t               repeat_ns;
    } priv;
};

/* Starts the timer, or starts it anew: cb once after delay_ns, then every repeat_ns (0: never again). A repeating
 * timer is started again before its callback, from its last deadline, or from now if it is a whole period late. Borrows
 * timer until it is stopped or has fired for the last time. Returns 0, or -EINVAL (no cb), -ECANCELED (the loop is
 * being destroyed). */
LOOP_API int loop_timer_start(struct loop *loop, struct loop_timer *timer, uint64_t delay_ns, uint64_t repeat_ns,
                              loop_timer_cb *cb);

/* The same at an absolute CLOCK_MONOTONIC time in ns; a past one is due at once. */
LOOP_API int loop_timer_start_at(struct loop *loop, struct loop_timer *timer, uint64_t deadline_ns, uint64_t repeat_ns,
                                 loop_timer_cb *cb);

/* The same by the wall clock: when CLOCK_REALTIME shows wall_ns (since 1970) or later; a past time is due at once. If
 * the clock is set, or the machine sleeps, it follows: set forward past its time it fires soon, set back it waits.
 *
 * Repeating, it fires at wall_ns and then at each whole number of periods after it, on the wall clock; times that were
 * missed because of a clock set forward, sleep or a busy loop make one callback. If the clock is set back by less than
 * a period, no time is told twice: the next is the one that stood. If by more, times come again: it is never silent for
 * more than two periods.
 *
 * The first on a loop takes 17 KiB and a descriptor, kept until the loop ends, by which the loop learns that the clock
 * was set. Without the descriptor (see LOOP_ERROR_CLOCK) it looks once a minute, and is so much late at most. Returns
 * as above, and -ENOMEM; a timer that was active still is then. */
LOOP_API int loop_timer_start_wall(struct loop *loop, struct loop_timer *timer, uint64_t wall_ns, uint64_t repeat_ns,
                                   loop_timer_cb *cb);

/* Starts a repeating timer that was started before anew, from now, by the same clock. Returns 0, -EINVAL if it never
 * was or does not repeat, or as the start did. */
LOOP_API int loop_timer_again(struct loop_timer *timer);

/* Changes the period (0: never again), from the next time that it fires on, or that loop_timer_again() starts it.
 * Inside its callback a repeating timer has been started with the old one already; one-shots have ended, and need
 * loop_timer_again(). A start sets it anew. */
LOOP_API void     loop_timer_repeat_set(struct loop_timer *timer, uint64_t repeat_ns);
LOOP_API uint64_t loop_timer_repeat(const struct loop_timer *timer);

/* No callback comes after it; the memory is yours. Stopping a stopped or zeroed timer does nothing. */
LOOP_API void loop_timer_stop(struct loop_timer *timer);

/* The loop that it was last started on; NULL before the first time. */
LOOP_API struct loop *loop_timer_loop(const struct loop_timer *timer);

LOOP_API bool loop_timer_active(const struct loop_timer *timer);

/* Nanoseconds from loop_now() until it fires, by the wall clock from what that shows now; 0 if due or not active. */
LOOP_API uint64_t loop_timer_due_in(const struct loop_timer *timer);

/* Whether the timer keeps the loop alive while active (default: it does). Before or after the start. */
LOOP_API void loop_timer_ref(struct loop_timer *timer);
LOOP_API void loop_timer_unref(struct loop_timer *timer);
LOOP_API bool loop_timer_has_ref(const struct loop_timer *timer);

LOOP_END_DECLS

#endif
