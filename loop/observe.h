/* loop/observe.h: what a loop keeps for those who look at it, and what its modules tell them.
 *
 * A trace or a probe is looked for once for each enter and each batch of completions, never for each operation. */
#ifndef RINGLOOP_LOOP_OBSERVE_H
#define RINGLOOP_LOOP_OBSERVE_H

#include "loop/base.h"
#include "loop/probe.h"
#include "loop/ring.h"

#include <ringloop/observe.h>
#include <ringloop/types.h>

enum { ERRORS_QUEUED_MAX = 16, OBSERVED_OPCODES = 128 };

struct op_failures {
    uint64_t failed, canceled, timed_out;
};

struct observer {
    struct op_failures failures[OBSERVED_OPCODES];
    void              *trace_arg; /* its callback is among what is looked at often */
    int                trace_fd;  /* of RINGLOOP_TRACE; -1: none */
    bool               trace_fd_ours;
    loop_error_cb     *error_cb;
    void              *error_arg;
    struct loop_task   error_task;
    struct loop_error  errors[ERRORS_QUEUED_MAX]; /* not told yet */
    uint32_t           errors_count;
    uint64_t           idle_ns;       /* atomic; without the present wait */
    uint64_t           idle_since_ns; /* atomic; when the present wait began, 0: none */
};

struct loop_stats;

void observe_init(struct loop *loop);
void observe_destroy(struct loop *loop);

/* An operation has ended otherwise than by success. told: it has a callback. */
void observe_failure(struct loop *loop, uint8_t opcode, const struct loop_result *result, bool told);

/* Something for the error hook: copies it, with a count of its own. */
void observe_error(struct loop *loop, const struct loop_error *error);
void observe_stale(struct loop *loop, const struct completion *completion);
void observe_enter_failed(struct loop *loop, int error, uint32_t sqes);

/* Before the SQ is published, and before a completion is acted on: for a trace or a probe. */
void observe_submit(struct loop *loop, unsigned reason);
void observe_completion(struct loop *loop, const struct completion *completion);

/* A wait of which it is measured how long it takes begins, or has ended. */
void observe_wait_begin(struct loop *loop, uint64_t now_ns);
void observe_wait_end(struct loop *loop, uint64_t now_ns);

/* The part of the statistics that is kept here. */
void observe_stats_add(const struct loop *loop, struct loop_stats *stats);

/* trace.c */
void trace_sqe(struct loop *loop, const struct io_uring_sqe *sqe);
void trace_completion(struct loop *loop, const struct completion *completion);
void trace_from_environment(struct loop *loop);

#endif
