/* loop/zero_copy.c: the two completions of a zero-copy send.
 *
 *   in flight --result, more to come--> RESULT_SEEN --notification--> final callback
 *   in flight --result, nothing to come--> both callbacks
 *   in flight --notification--> RELEASE_SEEN --result--> both callbacks
 *
 * The kernel notifies also after most errors: what tells is F_MORE, not the result. */
#include "loop/loop_private.h"

/* With the first of the two, deadline and chain are over: their place is free for what has to be remembered. */
static void first_seen(struct loop *loop, struct context *context)
{
    if ((context->flags & CONTEXT_DEADLINE) != 0)
        wheel_cancel(&loop->wheel, &context->deadline);
    if ((context->flags & CONTEXT_CHAINED) != 0 && context->chain_next != 0)
        cancel_link_begun(loop, context->chain_next);
    context->flags &= (uint16_t) ~(CONTEXT_DEADLINE | CONTEXT_CHAINED | CONTEXT_LINKED | CONTEXT_CANCEL_OWED);
    context->zero_copy = (struct context_zero_copy){0};
}

static void tell_result(struct loop *loop, struct context *context, int32_t res)
{
    context->flags |= CONTEXT_RESULT_SEEN;
    context->zero_copy.res = res;
    if (context->cb != NULL) /* an error that nobody is told is counted once, at the end */
        op_result(loop, context, &(struct loop_result){.res = res});
}

static void tell_release(struct loop *loop, struct context *context)
{
    uint32_t copied = context->zero_copy.copied ? LOOP_COPIED : 0;

    op_finish(loop, context, &(struct loop_result){.res = context->zero_copy.res, .flags = LOOP_RELEASED | copied});
}

void zero_copy_complete(struct loop *loop, struct context *context, const struct completion *completion)
{
    bool     notification = (completion->flags & IORING_CQE_F_NOTIF) != 0;
    uint16_t seen = notification ? CONTEXT_RELEASE_SEEN : CONTEXT_RESULT_SEEN;

    if ((context->flags & seen) != 0) {
        loop->stats.cqes_stale++;
        return;
    }
    if ((context->flags & (CONTEXT_RESULT_SEEN | CONTEXT_RELEASE_SEEN)) == 0)
        first_seen(loop, context);
    if (notification) {
        context->flags |= CONTEXT_RELEASE_SEEN;
        context->zero_copy.copied = (zero_copy_released(completion) & LOOP_COPIED) != 0;
        if ((context->flags & CONTEXT_RESULT_SEEN) != 0)
            tell_release(loop, context);
        return;
    }
    tell_result(loop, context, completion->res);
    if ((context->flags & CONTEXT_RELEASE_SEEN) != 0 || (completion->flags & IORING_CQE_F_MORE) == 0)
        tell_release(loop, context);
}

/* It ended before the kernel had it: who waits for two callbacks gets two. */
void zero_copy_settled(struct loop *loop, struct context *context)
{
    int32_t res = context->settled.res;

    if ((context->flags & CONTEXT_RESULT_SEEN) != 0) { /* told already: it was the ring that has gone */
        context->zero_copy = (struct context_zero_copy){.res = res};
        tell_release(loop, context);
        return;
    }
    context->flags &= (uint16_t) ~(CONTEXT_CHAINED | CONTEXT_LINKED);
    context->zero_copy = (struct context_zero_copy){0};
    tell_result(loop, context, res);
    tell_release(loop, context);
}
