/* ringloop/hooks.h: functions that the loop calls at fixed places of every turn, or of its life. Loop thread only.
 *
 * Idle and prepare hooks run at the begin of a turn of loop_run(), before what objects have gathered is sent and the
 * loop waits: what they start or write leaves with the call that waits. Check hooks run after completions, results of
 * work, posts, signals and async handles, before due timers. loop_dispatch() runs none: it has no order of its own. The
 * whole turn is in loop.h. Hooks of one kind run in the order of their start.
 *
 * Fork hooks run in a child of fork(2), at the begin of the first loop_run() after loop_fork(), before anything else,
 * also if nothing keeps the loop alive: for what a layer has to make anew there. They do not run after a move to
 * another thread, where nothing is shared or lost. Cleanup hooks run once, from inside loop_destroy() on the loop's
 * thread, before anything is ended or closed: for a layer that has to give things back while the loop still stands.
 * What they start ends at once; loop_run() and loop_destroy() are -EBUSY. They do not run in a child that lets go of
 * the parent's loop without loop_fork().
 *
 * Life: zeroed > start > stop; may be started again. A loop without hooks pays one comparison for each place. */
#ifndef RINGLOOP_HOOKS_H
#define RINGLOOP_HOOKS_H

#include <ringloop/types.h>

#include <stdbool.h>

LOOP_BEGIN_DECLS

enum loop_hook_kind {
    LOOP_HOOK_PREPARE, /* before the loop waits */
    LOOP_HOOK_CHECK,   /* after it has waited, and what came by it was told */
    LOOP_HOOK_IDLE,    /* once a turn, before those that prepare; while one is active the loop does not wait */
    LOOP_HOOK_FORK,    /* in a child, first of all; called if it was started before loop_fork() */
    LOOP_HOOK_CLEANUP, /* at the begin of loop_destroy(); called if it was started before that */
};

struct loop_hook;
typedef void loop_hook_cb(struct loop_hook *hook);

struct loop_hook_node {
    struct loop_hook_node *next, *prev;
};

/* Embed it, zeroed; reach yours from the callback with container_of, or through data. */
struct loop_hook {
    void *data; /* yours; the library never reads it */
    struct loop_hook_private {
        struct loop_hook_node node;
        struct loop          *loop;
        loop_hook_cb         *cb;
        uint64_t              order;
        uint8_t               kind;
        bool                  unref;
    } priv;
};

/* Starts the hook, or starts it anew, behind all others of its kind. One that is started by a hook of the same kind is
 * first called in the next turn. Borrows hook until it is stopped, by you or by loop_destroy(), which calls only those
 * that clean up. Returns 0, -EINVAL (no cb, an unknown kind), -ECANCELED (the loop is being destroyed). */
LOOP_API int loop_hook_start(struct loop *loop, struct loop_hook *hook, enum loop_hook_kind kind, loop_hook_cb *cb);

/* It is not called any more, not in this turn either; the memory is yours, also inside its own callback. Stopping a
 * stopped or zeroed hook does nothing. */
LOOP_API void loop_hook_stop(struct loop_hook *hook);

LOOP_API bool         loop_hook_active(const struct loop_hook *hook);
LOOP_API struct loop *loop_hook_loop(const struct loop_hook *hook); /* it was last started on; NULL before */

/* Whether the hook keeps the loop alive while active (default: it does). Before or after the start. Idle hooks keep the
 * loop from waiting in any case. Fork and cleanup hooks never keep the loop alive: while active they have no ref. */
LOOP_API void loop_hook_ref(struct loop_hook *hook);
LOOP_API void loop_hook_unref(struct loop_hook *hook);
LOOP_API bool loop_hook_has_ref(const struct loop_hook *hook);

LOOP_END_DECLS

#endif
