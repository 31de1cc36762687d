/* ringloop/work.h: the work pool: blocking functions run on threads of the loop's own, their results come back by
 * callback on the loop's thread. For what the kernel has no operation for: name resolution, libraries that block, long
 * computations.
 *
 * Every loop has a pool of its own, made by its first work item. Threads start as they are needed, up to
 * loop_options.work.threads_max, and end with the loop. They are named "ringloop-work", have the system's default stack
 * and all signals blocked but those of their own faults (SIGSEGV and the like). What threads inherit they have from the
 * loop's: one that is bound to a CPU binds them to that CPU, too. After fork(2) the child has none. */
#ifndef RINGLOOP_WORK_H
#define RINGLOOP_WORK_H

#include <ringloop/types.h>

LOOP_BEGIN_DECLS

/* Each class has a queue of its own, first in, first out, and a limit of threads that it may hold at a time
 * (loop_options.work), so that one that waits long leaves threads to the others. A free thread takes the first urgent
 * item; else, of the classes below their limits, the item that was started first. */
enum loop_work_class {
    LOOP_WORK_DEFAULT, /* files, computations: what ends by itself before long. May hold all threads */
    LOOP_WORK_SLOW,    /* what waits for others, perhaps for long: name resolution, remote files. Half of the threads */
    LOOP_WORK_URGENT,  /* goes before the others, so keep it rare and short. May hold all threads */
};

/* Runs on a thread of the pool, later or at once. Returns what becomes result->res: 0 or more, or a negative errno. Of
 * the loop it may use only what any thread may call, e.g. loop_post(). */
typedef int32_t loop_work_fn(void *arg);

/* Starts an operation that calls fn(arg) on a thread of the pool, and then cb(loop, result, arg) with what it returned.
 * Loop thread only. An operation like those of op.h: it counts in ops_max, keeps the loop alive, and ends in exactly
 * one callback; cb may be NULL, but no LOOP_HANDLER(). Before the first loop_run() fn may run already, cb does not.
 * Results of one class on one thread come in the order of start; otherwise in no promised order. Items that never ran
 * end when they were cancelled or timed out, before others that were started earlier.
 *
 * loop_cancel(), the deadline of the terms and loop_destroy() keep fn from being called if it has not begun: the result
 * is -ECANCELED, or -ETIMEDOUT with LOOP_TIMED_OUT. Once begun it cannot be stopped: the callback comes after it has
 * returned, with its real result, and LOOP_TIMED_OUT if the deadline had passed. loop_destroy() waits for it.
 *
 * Borrows what arg points to until the callback. Returns the id, or as in op.h, and
 *   -EINVAL   no fn, an unknown class; flags in the terms other than LOOP_BACKGROUND, LOOP_EXTENDED and
 *             LOOP_UNCHAINED, without which it is refused inside a chain, too
 *   -ENOBUFS  also: loop_options.work.queue_max items are waiting (counted in loop_stats.work_full)
 *   -EAGAIN   no thread could be started, and there is none yet; with some the loop makes do */
LOOP_API loop_id loop_work(struct loop *loop, enum loop_work_class work_class, loop_work_fn *fn, loop_cb *cb, void *arg,
                           const struct loop_terms *terms);

LOOP_END_DECLS

#endif
