/* loop/probe.h: USDT probes: places that bpftrace, perf and SystemTap find by name.
 *
 * All share one semaphore, which the kernel raises while any of them is attached to; so one look tells whether there is
 * anybody to call them for. Built in if the build found sys/sdt.h; else nobody ever is. */
#ifndef RINGLOOP_LOOP_PROBE_H
#define RINGLOOP_LOOP_PROBE_H

#include "loop/base.h"

#include <ringloop/types.h>
#include <stdbool.h>

struct completion;
struct io_uring_sqe;

#ifdef RINGLOOP_PROBES
extern __attribute__((visibility("hidden"))) volatile unsigned short ringloop_probes_semaphore;

static inline bool probes_attached(void)
{
    return unlikely(ringloop_probes_semaphore != 0);
}
#else
static inline bool probes_attached(void)
{
    return false;
}
#endif

/* count: SQEs the kernel is offered; reason: enum submit_reason. */
void probe_submit(const struct loop *loop, unsigned count, unsigned reason);
void probe_sqe(const struct loop *loop, const struct io_uring_sqe *sqe);
void probe_completion(const struct loop *loop, const struct completion *completion);
void probe_callback_begin(const struct loop *loop, loop_id id, int32_t res);
void probe_callback_end(const struct loop *loop, loop_id id, int32_t res);

#endif
