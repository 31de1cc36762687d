/* ringloop/mode.h: what can be asked of a loop's ring while it runs; what is asked when it is made stands in
 * loop_options. Loop thread only. docs/modes.md tells what it is all good for.
 *
 * -EOPNOTSUPP from any of these: the kernel, or the way this ring was set up, cannot do it. -EACCES: the loop has
 * restrictions. Other errors are the kernel's. */
#ifndef RINGLOOP_MODE_H
#define RINGLOOP_MODE_H

#include <ringloop/types.h>

#include <stdbool.h>

LOOP_BEGIN_DECLS

/* Gives the ring other sizes, rounded up to powers of two; 0 leaves one as it is. What is queued and in flight stays.
 * Also inside callbacks. Kernel 6.13, DEFER_TASKRUN only. Returns 0, -EINVAL (limits as in loop_options), -EBUSY (a
 * chain is open, or SQEs wait for room), -EAGAIN (before the first run), -EOVERFLOW (completions that wait would not
 * fit), -ENOMEM. */
LOOP_API int loop_ring_resize(struct loop *loop, uint32_t sq_entries, uint32_t cq_entries);

/* NAPI busy polling: before it sleeps, a wait polls the network devices of its sockets for up to busy_poll_us (the
 * kernel takes at most 10 ms); prefer: their interrupts are put off meanwhile (net.core and device settings
 * permitting). Kernel 6.9, not with IOPOLL. Copies napi; ret_before (may be NULL) gets what was set before. */
struct loop_napi {
    uint32_t busy_poll_us;
    bool     prefer;
};
LOOP_API int loop_napi_set(struct loop *loop, const struct loop_napi *napi, struct loop_napi *ret_before);
LOOP_API int loop_napi_clear(struct loop *loop, struct loop_napi *ret_before);

/* The most kernel workers for what ends soon (bounded: files) and for what may not (unbounded: sockets, pipes,
 * devices). 0 leaves a limit as it is; so two zeros ask. The outputs, which may be NULL, are the limits before. They
 * are the thread's, and so common to all its rings. -EAGAIN before the first run. */
LOOP_API int loop_iowq_workers_set(struct loop *loop, uint32_t bounded_max, uint32_t unbounded_max,
                                   uint32_t *ret_bounded, uint32_t *ret_unbounded);

/* The CPUs on which kernel workers of this thread may run: a mask as sched_setaffinity(2) takes it, copied. -EAGAIN
 * before the first run. */
LOOP_API int loop_iowq_affinity_set(struct loop *loop, const void *cpus, size_t bytes);
LOOP_API int loop_iowq_affinity_clear(struct loop *loop);

/* Keeps the calling thread's credentials as they are now (user, groups, capabilities), for operations with
 * loop_terms.personality. Returns an id > 0. Unregistering does not touch operations in flight. */
LOOP_API int loop_personality_register(struct loop *loop);
LOOP_API int loop_personality_unregister(struct loop *loop, int personality);

LOOP_END_DECLS

#endif
