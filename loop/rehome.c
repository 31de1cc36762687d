/* loop/rehome.c: giving a loop a new ring: in a child of fork(2), or for another thread.
 *
 * What an operation is stands in its context, not in the ring: multishots are armed again from there. Of a one-shot it
 * is not known whether the old ring has done it; so it ends. Objects are told -ERESTART where it does no harm to do it
 * once more, and -EOWNERDEAD where it might be done twice. */
#include "loop/rehome.h"

#include "loop/multishot.h"
#include "loop/op_start.h"

#include <errno.h>
#include <string.h>

/* Nothing that others can see happens a second time. */
static bool may_be_repeated(uint8_t opcode)
{
    switch (opcode) {
    case IORING_OP_NOP:
    case IORING_OP_READ:
    case IORING_OP_READV:
    case IORING_OP_READ_FIXED:
    case IORING_OP_RECV:
    case IORING_OP_RECVMSG:
    case IORING_OP_ACCEPT:
    case IORING_OP_POLL_ADD:
    case IORING_OP_TIMEOUT:
    case IORING_OP_OPENAT:
    case IORING_OP_OPENAT2:
    case IORING_OP_STATX:
    case IORING_OP_FSYNC:
    case IORING_OP_EPOLL_WAIT:
    case IORING_OP_WAITID:
    case IORING_OP_FUTEX_WAIT: return true;
    default: return false;
    }
}

static int32_t end_of(const struct context *context)
{
    if ((context->flags & CONTEXT_OBJECT) == 0 || (context->flags & (CONTEXT_CANCELED | CONTEXT_EXPIRED)) != 0)
        return -ECANCELED;
    return may_be_repeated(context->opcode) ? -ERESTART : -EOWNERDEAD;
}

/* The old ring had it, and nothing more will be heard of that. */
static void context_rehome(struct loop *loop, struct context *context)
{
    context->flags &= (uint16_t) ~(CONTEXT_CANCEL_OWED | CONTEXT_COMPLETED);
    if (context->state != CONTEXT_ACTIVE && context->state != CONTEXT_PROBING)
        return;
    if (multishot_holds_message(context)) {
        multishot_probe_again(loop, context);
    } else if (context_is_multishot(context)) {
        multishot_go_on(loop, context, false);
    } else {
        int32_t res = (context->flags & CONTEXT_RESULT_SEEN) != 0 ? context->zero_copy.res : end_of(context);

        context->flags &= (uint16_t) ~(CONTEXT_CHAINED | CONTEXT_WAITING);
        dispatch_settle(loop, context, res, 0);
    }
}

/* ---- taking leave of the old ring */

/* What is marked so goes on when the kernel has ended it, now or, if it does not let go of all, later: multishots by
 * themselves, those of objects by what these are told. */
static bool goes_on(struct context *context)
{
    if ((context->flags & (CONTEXT_CANCELED | CONTEXT_PAUSING)) != 0 ||
        (context->state != CONTEXT_ACTIVE && context->state != CONTEXT_PROBING))
        return false;
    return context_is_multishot(context) ? !multishot_holds_message(context) : (context->flags & CONTEXT_OBJECT) != 0;
}

static void contexts_prepare(struct loop *loop)
{
    uint64_t        slot = 0;
    struct context *context;

    while ((context = context_walk(&loop->pool, &slot)) != NULL)
        if (goes_on(context))
            context->flags |= CONTEXT_PAUSING | CONTEXT_RESUMING;
}

static bool notifications_owed(struct loop *loop)
{
    uint64_t        slot = 0;
    struct context *context;

    while ((context = context_walk(&loop->pool, &slot)) != NULL)
        if (context->kind == CONTEXT_ZERO_COPY && (context->flags & CONTEXT_RESULT_SEEN) != 0 &&
            context->state == CONTEXT_ACTIVE)
            return true;
    return false;
}

static void dispatch_rest(struct loop *loop)
{
    loop->moving = true;
    submit_room_update(loop);
    while (dispatch_completions(loop) > 0)
        ;
}

int rehome_take_back(struct loop *loop)
{
    int r;

    loop->running = true;
    (void)submit_now(loop, SUBMIT_ASKED);
    contexts_prepare(loop);
    r = loop->backlog.count > 0 ? -EBUSY : detach_everything(loop);
    if (r == 0)
        dispatch_rest(loop);
    if (r == 0 && notifications_owed(loop)) {
        loop->moving = false;
        submit_room_update(loop);
        r = -EBUSY;
    }
    loop->running = false;
    return r;
}

/* What stands in the SQ goes before what stands in the backlog. */
static int sq_to_backlog(struct loop *loop)
{
    struct ring      *ring = &loop->ring;
    struct sqe_queue *queue = &loop->backlog;
    unsigned          tail = ring_tail(ring), count = ring_unsent(ring);
    size_t            bytes = sizeof(struct io_uring_sqe) << ring->sqe_shift;
    int               r = sqe_queue_reserve(loop, queue, count);

    if (r < 0)
        return r;
    if (queue->count > 0)
        memmove(sqe_queue_at(loop, queue, count), sqe_queue_at(loop, queue, 0), queue->count * bytes);
    for (unsigned i = 0; i < count; i++)
        memcpy(sqe_queue_at(loop, queue, i),
               &ring->sqes[(size_t)((tail - count + i) & (ring->sq_entries - 1)) << ring->sqe_shift], bytes);
    queue->count += count;
    ring->sqe_next = ring->sqes;
    ring->sq_tail_round = tail - count; /* nothing is unsent */
    return 0;
}

int rehome_collect(struct loop *loop)
{
    int r = sq_to_backlog(loop);

    if (r < 0)
        return r;
    loop->ring.enabled = false; /* it must not be entered any more */
    loop->running = true;
    contexts_prepare(loop);
    dispatch_rest(loop);
    loop->running = false;
    return 0;
}

/* ---- the new one */

static int ring_replace(struct loop *loop, bool forked)
{
    struct ring_options      options = mode_ring_options(&loop->options);
    struct completion_extra *extras = loop->ring.extras;
    int                      r;

    options.sq_entries = loop->ring.sq_entries;
    options.cq_entries = loop->ring.cq_entries;
    if (forked)
        ring_abandon(&loop->ring);
    else
        ring_close(&loop->ring, loop->ring.enabled); /* else the place of the registered ring was another thread's */
    r = ring_open(&loop->ring, &options);
    loop->ring.extras = extras;
    if (r < 0) {
        loop->ring.uring.ring_fd = -1;
        loop->ring.sq_entries = options.sq_entries;
        loop->ring.cq_entries = options.cq_entries;
    }
    return r;
}

/* What the ring has to know. */
static int ring_furnish(struct loop *loop, bool forked)
{
    int r = wake_rehome(loop, forked);

    if (r == 0)
        r = backend_rehome(loop, forked);
    if (r == 0)
        r = mode_rehome(loop);
    if (r == 0)
        r = buffer_groups_rehome(loop);
    if (r == 0)
        r = fixed_files_rehome(loop);
    if (r == 0)
        r = fixed_buffers_rehome(loop);
    return r == 0 && forked ? work_rehome(loop) : r;
}

/* In the backlog, where the second of the two places of a wide one says nothing. */
static uint32_t places_of(const struct loop *loop, const struct io_uring_sqe *sqe)
{
    return ring_has(&loop->ring, IORING_SETUP_SQE_MIXED) && op_is_made_wide(sqe->opcode) ? 2 : 1;
}

/* Those that are carried over in the backlog were never given to the old ring. */
static void spare_backlog(struct loop *loop)
{
    uint64_t        slot = 0;
    struct context *context;

    while ((context = context_walk(&loop->pool, &slot)) != NULL)
        context->flags |= CONTEXT_COMPLETED;
    for (uint32_t i = 0; i < loop->backlog.count; i += places_of(loop, sqe_queue_at(loop, &loop->backlog, i))) {
        uint64_t user_data = sqe_queue_at(loop, &loop->backlog, i)->user_data;

        context = user_data_mode(user_data) == UD_INDIRECT || user_data_mode(user_data) == UD_EXTENDED
                      ? context_find(&loop->pool, user_data)
                      : NULL;
        if (context != NULL)
            context->flags &= (uint16_t)~CONTEXT_COMPLETED;
    }
}

/* Operations without a context: of those that the old ring had, nobody will tell. */
static uint32_t count_direct(struct loop *loop)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < loop->backlog.count; i += places_of(loop, sqe_queue_at(loop, &loop->backlog, i))) {
        uint64_t user_data = sqe_queue_at(loop, &loop->backlog, i)->user_data;

        count += user_data_mode(user_data) == UD_DIRECT && user_data_handler(user_data) - 1 < LOOP_HANDLERS_MAX;
    }
    return count;
}

static void contexts_rehome(struct loop *loop, bool forked)
{
    uint64_t        slot = 0;
    uint32_t        count = count_direct(loop);
    struct context *context;

    if (!forked)
        spare_backlog(loop);
    for (; (context = context_walk(&loop->pool, &slot)) != NULL; count++)
        if (forked || (context->flags & CONTEXT_COMPLETED) != 0)
            context_rehome(loop, context);
    loop->ops_in_flight = (int32_t)count;
}

int rehome(struct loop *loop, bool forked)
{
    int r;

    __atomic_store_n(&loop->owner, loop_this_thread(), __ATOMIC_RELAXED);
    r = ring_replace(loop, forked);
    if (r == 0) {
        r = ring_furnish(loop, forked);
        if (r < 0)
            ring_close(&loop->ring, true);
    }
    if (r < 0) {
        __atomic_store_n(&loop->owner, &loop_homeless, __ATOMIC_RELAXED);
        return r;
    }
    if (forked) {
        loop->backlog.count = loop->chain.count = 0;
        loop->chain_open = false;
    }
    loop->moving = false;
    loop->pending_since = 0;
    submit_batch_update(loop);
    contexts_rehome(loop, forked);
    wall_rehome(loop, forked);
    polls_rehome(loop, forked);
    if (forked)
        pipes_destroy(loop); /* what parent and child both put in would get mixed */
    objects_rehome(loop, forked);
    if (loop->resolver != NULL && loop->resolver->rehome != NULL)
        loop->resolver->rehome(loop, loop->resolver, forked);
    if (loop->notifier != NULL)
        loop->notifier->rehome(loop, loop->notifier, forked);
    work_release(loop);
    if (forked) {
        loop->forks++;
        hooks_forked(loop);
    }
    loop_features_fill(loop);
    submit_room_update(loop);
    loop->forked = false;
    __atomic_store_n(&loop->owner, NULL, __ATOMIC_RELAXED);
    return 0;
}
