/* ringloop/async.h: handles that wake a loop and call back there, from any thread and from signal handlers. Sends are
 * merged: loop_post() is for what must not be.
 *
 * Life: zeroed > loop_async_open > (sends, callbacks) > loop_async_close > close callback; then it may be opened anew.
 * Loop thread only, but for loop_async_send(). A send costs the same however many handles the loop has, and so does a
 * turn of the loop. (loop_async_cancel() has nothing to do with these: it is the kernel's operation, see op_poll.h.) */
#ifndef RINGLOOP_ASYNC_H
#define RINGLOOP_ASYNC_H

#include <ringloop/types.h>

#include <stdbool.h>

LOOP_BEGIN_DECLS

struct loop_async;
typedef void loop_async_cb(struct loop_async *async);
typedef void loop_async_close_cb(struct loop_async *async);

enum loop_async_flags {
    /* The open handle does not keep the loop alive, nor does a send: where nothing else does, a run ends, or does not
     * begin, without its callback, which the next turn makes up for. */
    LOOP_ASYNC_UNREF = 1u << 0,
};

/* { 0 }, or NULL, is valid and the default. */
struct loop_async_options {
    uint32_t flags                LOOP_ZERO; /* enum loop_async_flags; unknown bits give -EINVAL */
    uint32_t reserved             LOOP_ZERO;
    loop_async_close_cb *on_close LOOP_NONE; /* for loop_destroy(), and closes without a callback of their own */
};

/* Embed it, zeroed; reach yours from the callback with container_of, or through data. */
struct loop_async {
    void *data; /* yours; the library never reads it */
    struct loop_async_private {
        struct loop_object   object;
        struct loop_task     task;
        struct loop_async   *next; /* of those that were sent */
        loop_async_cb       *cb;
        loop_async_close_cb *on_close;
        uint32_t             state; /* atomic */
        bool                 ref, closing, taken;
    } priv;
};

/* Opens the handle: from now on sends call cb, NULL: they only make the loop take a turn. Borrows async until its close
 * callback; copies the options. Returns 0, -EINVAL, -EBUSY (already open), -ECANCELED (the loop is being destroyed). */
LOOP_API LOOP_MUST_USE int loop_async_open(struct loop *loop, struct loop_async *async,
                                           const struct loop_async_options *options, loop_async_cb *cb);

/* Makes the loop call back: at least once after the last send, once for all sends before that callback; what this
 * thread wrote before a send is seen by the callback. Handles are called in the order of their first sends; a send in a
 * callback counts for the next turn. The loop is woken by a system call only if it sleeps. Any thread;
 * async-signal-safe: no lock, no memory, errno stays as it is.
 *
 * Sends that race with the close do no harm and may make no callback; when the close callback is called they must have
 * returned: end those threads, or let them know, before the close. Returns 0, or -ECANCELED while it is closing,
 * -EINVAL if it is not open. */
LOOP_API int loop_async_send(struct loop_async *async);

/* No cb comes after it. on_close (NULL: the one of the options) is called last and once, in the next turn, or a bit
 * later if a send is just going on. Closing a closing handle does nothing. */
LOOP_API void loop_async_close(struct loop_async *async, loop_async_close_cb *on_close);

/* Whether the open handle keeps the loop alive (default: it does). A closing one always does. */
LOOP_API void loop_async_ref(struct loop_async *async);
LOOP_API void loop_async_unref(struct loop_async *async);
LOOP_API bool loop_async_has_ref(const struct loop_async *async);

LOOP_API bool         loop_async_closing(const struct loop_async *async);
LOOP_API struct loop *loop_async_loop(const struct loop_async *async); /* NULL if not in use */

LOOP_END_DECLS

#endif
