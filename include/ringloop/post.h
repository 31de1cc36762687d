/* ringloop/post.h: reaching a loop from other threads. Every function here may be called from any thread, as long as
 * the loop exists: end those threads, or otherwise make sure, before loop_destroy(). */
#ifndef RINGLOOP_POST_H
#define RINGLOOP_POST_H

#include <ringloop/types.h>

LOOP_BEGIN_DECLS

typedef void loop_post_cb(struct loop *loop, void *arg);

/* Queues cb(loop, arg) to run on the loop's thread. Posts of one thread run in their order and none is lost or merged;
 * posts made inside a posted callback run in the next turn. A queued post keeps the loop alive. The loop is woken by a
 * system call only if it sleeps. Not for signal handlers: loop_async_send() is. Calls the loop's allocator on the
 * posting thread, once for 64 posts at most; after that the memory is used again. Returns 0, or -EINVAL (no cb),
 * -ENOBUFS (loop_options.posts_max are waiting), -ENOMEM, -ECANCELED (the loop is being destroyed). */
LOOP_API LOOP_MUST_USE int loop_post(struct loop *loop, loop_post_cb *cb, void *arg);

/* Makes a sleeping loop take a turn; does nothing else. Async-signal-safe. */
LOOP_API void loop_wake(struct loop *loop);

LOOP_END_DECLS

#endif
