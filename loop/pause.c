/* loop/pause.c: letting multishots rest. */
#include "loop/multishot.h"

#include <errno.h>

/* 0, or why it cannot be paused. */
static int find(struct loop *loop, loop_id id, struct context **ret_context)
{
    struct context *context;

    if (id <= 0 || user_data_mode((uint64_t)id) == UD_FOREIGN)
        return -ENOENT;
    if (user_data_mode((uint64_t)id) == UD_DIRECT)
        return -EINVAL;
    context = context_find(&loop->pool, (uint64_t)id);
    if (context == NULL)
        return -ENOENT;
    if (!context_is_multishot(context))
        return -EINVAL;
    if (context->state == CONTEXT_HELD)
        return -EBUSY;
    *ret_context = context;
    return 0;
}

/* The kernel has it: is asked to end it. The probe of a message that is held is over at once, and pauses then. */
static void pause_active(struct loop *loop, struct context *context)
{
    if (multishot_shall_pause(context))
        return;
    context->flags |= CONTEXT_PAUSING;
    context->flags &= (uint16_t)~CONTEXT_RESUMING;
    if (!multishot_holds_message(context))
        cancel_in_kernel(loop, context);
}

int loop_pause(struct loop *loop, loop_id id)
{
    struct context *context = NULL;
    int             r;

    loop_check_owner(loop, __func__);
    r = find(loop, id, &context);
    if (r < 0 || (context->flags & CONTEXT_CANCELED) != 0)
        return r;
    switch ((enum context_state)context->state) {
    case CONTEXT_ACTIVE:
    case CONTEXT_PROBING: pause_active(loop, context); return 0;
    case CONTEXT_RESTING: /* inside its callback; it will not be armed again */
        context->flags |= CONTEXT_PAUSING;
        context->flags &= (uint16_t)~CONTEXT_RESUMING;
        return 0;
    case CONTEXT_PARKED:
        buffer_unpark(loop, context);
        multishot_pause(context);
        return 0;
    case CONTEXT_PAUSED:
    case CONTEXT_SETTLED: return 0;
    case CONTEXT_HELD:
    case CONTEXT_WORKING:
    case CONTEXT_FREE: break;
    }
    check_failed("a context that was found is in use", __FILE__, __LINE__);
}

int loop_resume(struct loop *loop, loop_id id)
{
    struct context *context = NULL;
    int             r;

    loop_check_owner(loop, __func__);
    r = find(loop, id, &context);
    if (r < 0 || (context->flags & CONTEXT_CANCELED) != 0)
        return r;
    if (context->state == CONTEXT_PAUSED)
        multishot_again(loop, context, false);
    else if ((context->flags & CONTEXT_PAUSING) != 0)
        context->flags |= CONTEXT_RESUMING; /* armed again when the kernel has ended it, if it still does */
    return 0;
}
