/* loop/cancel.c: asking the kernel to end operations: for loop_cancel(), for deadlines, for the end of the loop.
 *
 * A cancel request that works posts no CQE; one that misses does, to a handler of ours. A miss (ENOENT) means that the operation has
 * ended, or is a link of a chain whose turn has not come, or, seldom, is just between two attempts in the kernel, where it cannot be
 * found. In the last case it is asked for again at once, and for a link when its turn comes. */
#include "loop/loop_private.h"

#include <errno.h>

enum { RETRY_NS = 1000000 };

static int send_cancel(struct loop *loop, uint64_t user_data, uint32_t flags)
{
    struct io_uring_sqe *sqe = submit_sqe(loop, true);

    if (sqe == NULL)
        return -ENOMEM;
    *sqe = (struct io_uring_sqe){
        .opcode = IORING_OP_ASYNC_CANCEL,
        .fd = -1,
        .flags = IOSQE_CQE_SKIP_SUCCESS,
        .addr = user_data,
        .cancel_flags = flags,
        .user_data = user_data_direct(IORING_OP_ASYNC_CANCEL, HANDLER_CANCEL, user_data_to_value(user_data)),
    };
    loop->stats.cancels++;
    submit_sqe_done(loop);
    return 0;
}

int cancel_context(struct loop *loop, struct context *context)
{
    int r;

    if ((context->flags & CONTEXT_CANCELED) != 0)
        return 0;
    switch ((enum context_state)context->state) {
    case CONTEXT_ACTIVE:
    case CONTEXT_PROBING:
        r = send_cancel(loop, context->id, 0);
        if (r < 0)
            return r;
        context->flags |= CONTEXT_CANCELED;
        return 0;
    case CONTEXT_RESTING: /* inside its callback; it will not be armed again */
        context->flags |= CONTEXT_CANCELED;
        return 0;
    case CONTEXT_PARKED:
        context->flags |= CONTEXT_CANCELED;
        buffer_unpark(loop, context);
        dispatch_settle(loop, context, -ECANCELED, 0);
        return 0;
    case CONTEXT_SETTLED: return 0;
    case CONTEXT_FREE: break;
    }
    check_failed("a context in use is not free", __FILE__, __LINE__);
}

void cancel_all_contexts(struct loop *loop)
{
    uint64_t        slot = 0;
    struct context *context;

    while ((context = context_walk(&loop->pool, &slot)) != NULL)
        (void)cancel_context(loop, context);
}

/* Scans all requests of the ring, which for many is slow: only for what cannot be named. */
void cancel_any(struct loop *loop)
{
    (void)send_cancel(loop, 0, IORING_ASYNC_CANCEL_ANY);
}

static bool can_be_found(const struct context *context)
{
    return (context->state == CONTEXT_ACTIVE || context->state == CONTEXT_PROBING) &&
           (context->flags & CONTEXT_WAITING) == 0;
}

void cancel_completed(struct loop *loop, const struct completion *completion)
{
    struct context *context = context_find_value(&loop->pool, user_data_value(completion->user_data));

    if (completion->res == -ENOENT && context != NULL && (context->flags & CONTEXT_CANCELED) != 0 &&
        can_be_found(context))
        (void)send_cancel(loop, context->id, 0);
}

void cancel_link_begun(struct loop *loop, uint64_t id)
{
    struct context *context = context_find(&loop->pool, id);

    if (context == NULL)
        return;
    context->flags &= (uint8_t)~CONTEXT_WAITING;
    if (context->state == CONTEXT_ACTIVE && (context->flags & CONTEXT_CANCELED) != 0)
        (void)send_cancel(loop, id, 0);
}

void cancel_deadline_passed(struct loop *loop, struct loop_timer_node *node)
{
    struct context *context = container_of(node, struct context, deadline);

    context->flags &= (uint8_t)~CONTEXT_DEADLINE;
    if (cancel_context(loop, context) < 0) { /* no memory just now */
        context->deadline.deadline_ns = ns_add(loop->now_ns, RETRY_NS);
        context->flags |= CONTEXT_DEADLINE;
        wheel_start(&loop->wheel, &context->deadline, WHEEL_OP);
        return;
    }
    context->flags |= CONTEXT_EXPIRED;
    loop->stats.deadlines_passed++;
}

/* The kernel's timer came first: its CQE stands before that of the operation. */
void linked_timeout_completed(struct loop *loop, const struct completion *completion)
{
    struct context *context = context_find_value(&loop->pool, user_data_value(completion->user_data));

    if (completion->res != -ETIME || context == NULL || (context->flags & CONTEXT_LINKED) == 0)
        return;
    context->flags |= CONTEXT_EXPIRED;
    loop->stats.deadlines_passed++;
}

int loop_cancel(struct loop *loop, loop_id id)
{
    struct context *context;

    loop_check_owner(loop, __func__);
    if (id <= 0)
        return -ENOENT;
    switch (user_data_mode((uint64_t)id)) {
    case UD_INDIRECT:
    case UD_EXTENDED:
        context = context_find(&loop->pool, (uint64_t)id);
        return context == NULL ? -ENOENT : cancel_context(loop, context);
    case UD_DIRECT:
        if (user_data_handler((uint64_t)id) - 1 >= LOOP_HANDLERS_MAX)
            return -ENOENT;
        return send_cancel(loop, (uint64_t)id, 0);
    case UD_FOREIGN: return -ENOENT; /* no call has returned such an id */
    }
    return -ENOENT;
}
