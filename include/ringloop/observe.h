/* ringloop/observe.h: looking into a running loop: levels, counters by opcode, an error hook, a trace.
 *
 * Loop thread only, but for what says otherwise. What stands here costs operations nothing as long as it is not used.
 * The counters of the whole loop are struct loop_stats in loop.h; the probes for bpftrace and perf are described in
 * docs/observing.md. */
#ifndef RINGLOOP_OBSERVE_H
#define RINGLOOP_OBSERVE_H

#include <ringloop/types.h>

#include <stdbool.h>

LOOP_BEGIN_DECLS

/* ---- levels */

/* SQEs that the SQ has room for just now. More may be started: they queue behind it. */
LOOP_API uint32_t loop_sq_space(const struct loop *loop);

/* SQEs that the kernel has not taken yet: those in the SQ, and those that found no room in it. */
LOOP_API uint32_t loop_sq_pending(const struct loop *loop);

/* Completions in the CQ that the loop has not taken yet. */
LOOP_API uint32_t loop_cq_pending(const struct loop *loop);

/* The ring's descriptor, the loop's own: to name it as the target of loop_msg_ring() and loop_msg_ring_fd() (op_poll.h)
 * or of another ring's IORING_OP_MSG_RING, and to find it in /proc/PID/fdinfo. A message's user_data is LOOP_MESSAGE(),
 * or that of a foreign completion (op.h). Never close it, enter it or register with it. poll(2) on it sees nothing
 * until the loop enters the kernel. */
LOOP_API int loop_ring_fd(const struct loop *loop);

/* The context pool. Contexts are never given back before loop_destroy(). */
struct loop_pool_stats {
    uint32_t plain; /* contexts made, by size: used and free ones */
    uint32_t plain_used;
    uint32_t extended;
    uint32_t extended_used;
    uint32_t direct; /* operations in flight without a context: those of direct mode */
    uint32_t parked; /* of the used: multishots that wait for a buffer */
    uint32_t paused; /* multishots that rest because they were told to */
    uint32_t held;   /* operations behind a barrier */
    uint64_t bytes;
};

/* Looks at every context: dear with many operations. */
LOOP_API void loop_pool_stats_get(const struct loop *loop, struct loop_pool_stats *ret_stats);

/* ---- time */

/* From now on the time spent waiting is measured (or no longer). It takes one more look at the clock for each wait,
 * which is why it has to be asked for. Any number of times. */
LOOP_API void loop_idle_measure(struct loop *loop, bool on);

/* ns since loop_idle_measure() that the loop was in the kernel with nothing to do, a wait that is going on included:
 * calls of io_uring_enter(2) that were ready to wait, with what the kernel did in them. Any thread. */
LOOP_API uint64_t loop_idle_ns(const struct loop *loop);

/* ---- operations by opcode */

struct loop_op_stats {
    uint64_t started;
    uint64_t failed;    /* ended with an error, but for the next two; -ETIME of a timeout is none */
    uint64_t canceled;  /* ended with -ECANCELED */
    uint64_t timed_out; /* ended with LOOP_TIMED_OUT, some of them with a count */
    uint64_t in_flight; /* level; operations of direct mode are not seen */
};

/* Operations with this opcode (IORING_OP_*), those of streams and listeners included; what the loop starts for itself
 * (cancels, linked timeouts, its wake poll) and foreign SQEs are not. A multishot is one operation. Looks at every
 * context for in_flight. Returns 0, or -EINVAL for opcodes of 128 and above. */
LOOP_API int loop_op_stats_get(const struct loop *loop, unsigned opcode, struct loop_op_stats *ret_stats);

/* The name of an opcode as in IORING_OP_*, in lower case: "recv". "unknown" for those newer than the library; never
 * NULL. A static string. Any thread. */
LOOP_API const char *loop_op_name(unsigned opcode);

/* ---- errors that no callback tells */

enum loop_error_event {
    LOOP_ERROR_SILENT,    /* an operation without a callback failed: id, opcode, error */
    LOOP_ERROR_ENTER,     /* io_uring_enter(2) failed with error and will be tried again; value: SQEs it was to take */
    LOOP_ERROR_OVERFLOW,  /* the CQ was full, the kernel keeps completions elsewhere; value: loop_stats.cq_overflows */
    LOOP_ERROR_STALE,     /* a completion whose operation has ended, dropped: id is its user_data, value its res */
    LOOP_ERROR_UNCLAIMED, /* a foreign completion while nobody is registered: value is its user_data, error its res if
                             negative */
    LOOP_ERROR_CANCEL,    /* the kernel does not end an operation although asked again and again: id, opcode; value:
                             ns until it is asked next */
    LOOP_ERROR_REARM,     /* no memory to arm a multishot again: id, opcode, error; its final callback tells it, too */
    LOOP_ERROR_WAKE,      /* no memory to arm the wake: other threads may wait up to 10 ms for the loop */
    LOOP_ERROR_CLOCK,     /* no descriptor to watch the wall clock by, error says why: wall timers look once a minute */
};

struct loop_error {
    enum loop_error_event event;
    int32_t               error;  /* negative errno, or 0 */
    uint32_t              count;  /* times in a row that event, error, opcode and id were these; value: of the last */
    uint32_t              opcode; /* of an operation; else 0 */
    loop_id               id;     /* of an operation, no longer valid if it has ended; else 0 */
    uint64_t              value;
};

/* Called on the loop's thread, between the callbacks of operations, at the start of the turn after the event (or when
 * the loop is left); never from inside a call. May do what any callback may do. error is lent. At most 16 different
 * events are kept until then: further ones are counted in loop_stats.errors_untold. Ends LOOP_RUN_ONCE as any callback.
 */
typedef void loop_error_cb(struct loop *loop, const struct loop_error *error, void *arg);

/* cb(loop, error, arg) is told from now on, in place of the one before; NULL, the default: nobody, and what was not
 * told yet is dropped. */
LOOP_API void loop_error_hook_set(struct loop *loop, loop_error_cb *cb, void *arg);

/* A few words for logs; a static string, never NULL. Any thread. */
LOOP_API const char *loop_error_text(enum loop_error_event event);

/* ---- trace */

/* One line of text, without a newline, zero-terminated, size bytes; lent. Called at once, also from inside calls that
 * submit: so it must not use the loop. */
typedef void loop_trace_cb(struct loop *loop, const char *line, size_t size, void *arg);

/* cb gets a line for each SQE when it is shown to the kernel, and for each completion before it is acted on; NULL:
 * none. For finding errors: it makes everything slower. Without changing a program: RINGLOOP_TRACE=stderr, or
 * RINGLOOP_TRACE=FILE to append to, is looked at by loop_create(), but not in setuid programs. */
LOOP_API void loop_trace_set(struct loop *loop, loop_trace_cb *cb, void *arg);

/* Such a cb: writes the lines to arg, a FILE *. */
LOOP_API void loop_trace_to_file(struct loop *loop, const char *line, size_t size, void *arg);

LOOP_END_DECLS

#endif
