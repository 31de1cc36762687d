/* loop/observe.c: levels, counters of what is rare, the error hook. */
#include "loop/observe.h"

#include "loop/loop_private.h"

#include <errno.h>
#include <string.h>

_Static_assert((int)OBSERVED_OPCODES == (int)OPCODES_MAX, "counters for all opcodes that are counted");

/* ---- error hook */

static void errors_tell(struct loop *loop, struct loop_task *task)
{
    struct observer  *observer = &loop->observer;
    struct loop_error errors[ERRORS_QUEUED_MAX];
    uint32_t          count = observer->errors_count;

    (void)task;
    memcpy(errors, observer->errors, count * sizeof(errors[0]));
    observer->errors_count = 0;
    for (uint32_t i = 0; i < count && observer->error_cb != NULL; i++) {
        loop->stats.callbacks++;
        observer->error_cb(loop, &errors[i], observer->error_arg);
    }
}

static bool is_same(const struct loop_error *a, const struct loop_error *b)
{
    return a->event == b->event && a->error == b->error && a->opcode == b->opcode &&
           (a->id == b->id ||
            a->event == LOOP_ERROR_SILENT); /* of which there may be many, each of another operation */
}

void observe_error(struct loop *loop, const struct loop_error *error)
{
    struct observer   *observer = &loop->observer;
    struct loop_error *last = observer->errors_count == 0 ? NULL : &observer->errors[observer->errors_count - 1];
    uint32_t           count = 1;

    if (observer->error_cb == NULL)
        return;
    if (last != NULL && is_same(last, error)) {
        count = last->count + 1;
    } else if (observer->errors_count == ERRORS_QUEUED_MAX) {
        loop->stats.errors_untold++;
        return;
    } else {
        last = &observer->errors[observer->errors_count++];
    }
    *last = *error;
    last->count = count;
    loop_task_add(loop, &observer->error_task);
}

void loop_error_hook_set(struct loop *loop, loop_error_cb *cb, void *arg)
{
    loop_check_owner(loop, __func__);
    loop->observer.error_cb = cb;
    loop->observer.error_arg = arg;
    if (cb == NULL)
        loop->observer.errors_count = 0;
}

const char *loop_error_text(enum loop_error_event event)
{
    switch (event) {
    case LOOP_ERROR_SILENT: return "an operation without a callback failed";
    case LOOP_ERROR_ENTER: return "io_uring_enter() failed and is tried again";
    case LOOP_ERROR_OVERFLOW: return "the CQ was full";
    case LOOP_ERROR_STALE: return "a completion of no operation in flight was dropped";
    case LOOP_ERROR_UNCLAIMED: return "a foreign completion was dropped, nobody is registered";
    case LOOP_ERROR_CANCEL: return "an operation does not end although it was cancelled";
    case LOOP_ERROR_REARM: return "no memory to arm a multishot again";
    case LOOP_ERROR_WAKE: return "no memory to arm the wake";
    case LOOP_ERROR_CLOCK: return "the wall clock cannot be watched";
    }
    return "unknown";
}

void observe_failure(struct loop *loop, uint8_t opcode, const struct loop_result *result, bool told)
{
    struct op_failures *failures = &loop->observer.failures[opcode % OBSERVED_OPCODES];

    if (opcode == IORING_OP_TIMEOUT && result->res == -ETIME)
        return; /* what it is for */
    if ((result->flags & LOOP_TIMED_OUT) != 0)
        failures->timed_out++;
    else if (result->res == -ECANCELED)
        failures->canceled++;
    else
        failures->failed++;
    if (!told && result->res < 0)
        observe_error(loop, &(struct loop_error){
                                .event = LOOP_ERROR_SILENT, .error = result->res, .opcode = opcode, .id = result->id});
}

void observe_stale(struct loop *loop, const struct completion *completion)
{
    loop->stats.cqes_stale++;
    observe_error(loop, &(struct loop_error){
                            .event = LOOP_ERROR_STALE,
                            .id = (loop_id)completion->user_data,
                            .value = (uint64_t)(int64_t)completion->res,
                        });
}

void observe_enter_failed(struct loop *loop, int error, uint32_t sqes)
{
    if (error == -ETIME || error == -EINTR) /* the end of a wait, nothing wrong */
        return;
    loop->stats.enters_failed++;
    observe_error(loop, &(struct loop_error){.event = LOOP_ERROR_ENTER, .error = error, .value = sqes});
}

/* ---- trace and probes */

void observe_submit(struct loop *loop, unsigned reason)
{
    const struct ring *ring = &loop->ring;
    unsigned           tail = ring_tail(ring);

    for (unsigned i = *ring->uring.sq.ktail; i != tail; i++) {
        const struct io_uring_sqe *sqe = &ring->sqes[i & (ring->sq_entries - 1)];

        if (loop->trace_cb != NULL)
            trace_sqe(loop, sqe);
        probe_sqe(loop, sqe);
    }
    probe_submit(loop, ring_pending(ring), reason);
}

void observe_completion(struct loop *loop, const struct completion *completion)
{
    if (loop->trace_cb != NULL)
        trace_completion(loop, completion);
    probe_completion(loop, completion);
}

/* ---- idle time */

void observe_wait_begin(struct loop *loop, uint64_t now_ns)
{
    __atomic_store_n(&loop->observer.idle_since_ns, now_ns, __ATOMIC_RELAXED);
}

/* In this order, so that who looks in between sees too little for a moment, and not what has not been. */
void observe_wait_end(struct loop *loop, uint64_t now_ns)
{
    struct observer *observer = &loop->observer;
    uint64_t         since_ns = observer->idle_since_ns;

    if (since_ns == 0)
        return;
    __atomic_store_n(&observer->idle_since_ns, 0, __ATOMIC_RELEASE);
    __atomic_store_n(&observer->idle_ns, observer->idle_ns + (now_ns - since_ns), __ATOMIC_RELEASE);
}

void loop_idle_measure(struct loop *loop, bool on)
{
    loop_check_owner(loop, __func__);
    loop->idle_measured = on;
}

uint64_t loop_idle_ns(const struct loop *loop)
{
    uint64_t idle_ns = __atomic_load_n(&loop->observer.idle_ns, __ATOMIC_ACQUIRE);
    uint64_t since_ns = __atomic_load_n(&loop->observer.idle_since_ns, __ATOMIC_ACQUIRE);
    uint64_t now_ns = since_ns == 0 ? 0 : sys_clock_ns();

    return now_ns > since_ns ? idle_ns + (now_ns - since_ns) : idle_ns;
}

/* ---- levels and counters */

uint32_t loop_sq_space(const struct loop *loop)
{
    loop_check_owner(loop, __func__);
    return loop->ring.sq_entries - ring_pending(&loop->ring);
}

uint32_t loop_sq_pending(const struct loop *loop)
{
    loop_check_owner(loop, __func__);
    return ring_pending(&loop->ring) + loop->backlog.count;
}

uint32_t loop_cq_pending(const struct loop *loop)
{
    loop_check_owner(loop, __func__);
    return ring_ready(&loop->ring);
}

int loop_ring_fd(const struct loop *loop)
{
    loop_check_owner(loop, __func__);
    return loop->ring.uring.ring_fd;
}

void loop_pool_stats_get(const struct loop *loop, struct loop_pool_stats *ret_stats)
{
    const struct context_pool *pool = &loop->pool;
    struct loop_pool_stats     stats = {
            .plain = pool->plain.slab_count << CONTEXT_SLAB_SHIFT,
            .extended = pool->extended.slab_count << CONTEXT_SLAB_SHIFT,
            .bytes = pool->bytes,
    };
    const struct context *context;
    uint64_t              slot = 0;

    loop_check_owner(loop, __func__);
    while ((context = context_walk(pool, &slot)) != NULL) {
        if (context_is_extended(context))
            stats.extended_used++;
        else
            stats.plain_used++;
        stats.parked += context->state == CONTEXT_PARKED;
        stats.paused += context->state == CONTEXT_PAUSED;
        stats.held += context->state == CONTEXT_HELD;
    }
    stats.direct = loop_ops_in_flight(loop) - stats.plain_used - stats.extended_used;
    *ret_stats = stats;
}

int loop_op_stats_get(const struct loop *loop, unsigned opcode, struct loop_op_stats *ret_stats)
{
    const struct op_failures *failures;
    const struct context     *context;
    struct loop_op_stats      stats = {0};
    uint64_t                  slot = 0;

    loop_check_owner(loop, __func__);
    if (opcode >= OBSERVED_OPCODES)
        return -EINVAL;
    failures = &loop->observer.failures[opcode];
    stats.started = loop->ops_by_opcode[opcode];
    stats.failed = failures->failed;
    stats.canceled = failures->canceled;
    stats.timed_out = failures->timed_out;
    while ((context = context_walk(&loop->pool, &slot)) != NULL)
        stats.in_flight += context->opcode == opcode;
    *ret_stats = stats;
    return 0;
}

void observe_stats_add(const struct loop *loop, struct loop_stats *stats)
{
    for (unsigned i = 0; i < OBSERVED_OPCODES; i++) {
        stats->ops_failed += loop->observer.failures[i].failed;
        stats->ops_canceled += loop->observer.failures[i].canceled;
        stats->ops_timed_out += loop->observer.failures[i].timed_out;
    }
    if (stats->ops_in_flight > stats->ops_in_flight_max)
        stats->ops_in_flight_max = stats->ops_in_flight;
    stats->idle_ns = loop_idle_ns(loop);
    stats->cqes_lost = __atomic_load_n(loop->ring.uring.cq.koverflow, __ATOMIC_RELAXED);
    stats->sqes_dropped = __atomic_load_n(loop->ring.uring.sq.kdropped, __ATOMIC_RELAXED);
}

/* ---- life */

void observe_init(struct loop *loop)
{
    loop->observer.error_task.run = errors_tell;
    loop->observer.trace_fd = -1;
    trace_from_environment(loop);
}

void observe_destroy(struct loop *loop)
{
    if (loop->observer.trace_fd_ours)
        sys_close(loop->observer.trace_fd);
}
