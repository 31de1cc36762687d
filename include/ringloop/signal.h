/* ringloop/signal.h: signals told on the loop's thread. Loop thread only. Life: zeroed > start > (callbacks) > stop;
 * may be started again.
 *
 * Any number of objects, loops and threads may watch the same signal: all of them are told. The first in the process
 * installs a handler (SA_RESTART) and keeps the disposition that was there, the last to stop puts that back. No thread
 * needs to block anything, but one at least must not block the signal: the kernel delivers it there, and the loop is
 * woken. While it is watched, a handler that was there before is not called.
 *
 * Nothing is lost: every delivery is counted, for each loop, and there is no queue that could be full. What the kernel
 * itself merges, a standard signal that is sent while it is pending, was one delivery; realtime signals are queued, and
 * each counts. Deliveries before the start and after the stop are none of the object's. */
#ifndef RINGLOOP_SIGNAL_H
#define RINGLOOP_SIGNAL_H

#include <ringloop/types.h>

#include <stdbool.h>
#include <sys/types.h>

LOOP_BEGIN_DECLS

struct loop_signal;

/* Lent to the callback. */
struct loop_signal_info {
    int      signum;
    int      reserved;
    uint64_t count; /* deliveries since the start or the last callback: 1 or more */
    pid_t    pid;   /* who sent the last of them; 0: the kernel, a timer and the like. May have ended by now */
    uid_t    uid;
};

/* Called in the turn after the delivery, after completions, results of work and posts, before async handles and timers;
 * objects of a loop in the order of their start. May do anything, also stop this or others. */
typedef void loop_signal_cb(struct loop_signal *signal, const struct loop_signal_info *info);

enum loop_signal_flags {
    LOOP_SIGNAL_ONCE = 1u << 0, /* is stopped before its first callback, and may be freed in there */
};

struct loop_signal_node {
    struct loop_signal_node *next, *prev;
};

/* Embed it, zeroed; reach yours from the callback with container_of, or through data. */
struct loop_signal {
    void *data; /* yours; the library never reads it */
    struct loop_signal_private {
        struct loop_object      object;
        struct loop_signal_node node;
        loop_signal_cb         *cb;
        uint64_t                seen; /* of the deliveries */
        uint32_t                flags;
        uint8_t                 signum; /* 0: not active */
        bool                    unref;
    } priv;
};

/* Watches signum from now on; one that is active is started anew, be it for another signal, without a gap between.
 * Borrows signal until it is stopped, or called with LOOP_SIGNAL_ONCE. Keeps the loop alive unless loop_signal_unref().
 * Returns 0, or
 *   -EINVAL     no cb, unknown flags, no such signal; SIGKILL and SIGSTOP, which nobody catches; SIGSEGV, SIGBUS,
 *               SIGFPE, SIGILL, SIGTRAP and SIGSYS, which stand for a fault of the thread that a callback cannot mend
 *   -ECANCELED  the loop is being destroyed
 *   -ENOMEM     the first on a loop takes 1.5 KiB, kept until the loop ends */
LOOP_API int loop_signal_start(struct loop *loop, struct loop_signal *signal, int signum, uint32_t flags,
                               loop_signal_cb *cb);

/* No callback comes after it, also for signals that have arrived; the memory is yours. If nobody in the process watches
 * the signal any more, its disposition is what it was before the first did, unless somebody has changed it since:
 * a further signal may end the process. Stopping a stopped or zeroed one does nothing; loop_destroy() stops all. */
LOOP_API void loop_signal_stop(struct loop_signal *signal);

LOOP_API bool         loop_signal_active(const struct loop_signal *signal);
LOOP_API int          loop_signal_number(const struct loop_signal *signal); /* 0 if not active */
LOOP_API struct loop *loop_signal_loop(const struct loop_signal *signal);   /* that it was last started on, or NULL */

/* Whether it keeps the loop alive while active (default: it does). Before or after the start. */
LOOP_API void loop_signal_ref(struct loop_signal *signal);
LOOP_API void loop_signal_unref(struct loop_signal *signal);
LOOP_API bool loop_signal_has_ref(const struct loop_signal *signal);

LOOP_END_DECLS

#endif
