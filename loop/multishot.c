/* loop/multishot.c: subscriptions: operations that the loop keeps alive.
 *
 * The kernel ends a multishot also for reasons that are not the user's: a full CQ, fairness, no buffer. Then it is
 * armed again. A receive that finds no buffer cannot see the end of the stream or an error either; so it probes: it
 * peeks at one byte.
 *
 *   ACTIVE --no buffer--> PROBING --nothing to read--> ACTIVE (waiting for readiness first)
 *                         PROBING --data--> PARKED --a buffer came back--> ACTIVE
 *                         PROBING --end, error--> its final callback */
#include "loop/loop_private.h"

#include <errno.h>

static struct io_uring_sqe armed_sqe(struct context *context)
{
    const struct context_arm *arm = context_arm(context);

    if (context_is_extended(context))
        return context_extended(context)->sqe;
    return (struct io_uring_sqe){
        .opcode = context->opcode,
        .fd = context->fd & ~LOOP_FIXED_FLAG,
        .flags = arm->sqe_flags,
        .ioprio = arm->ioprio,
        .len = arm->len,
        .msg_flags = arm->op_flags,
        .buf_group = arm->group,
        .user_data = context->id,
    };
}

static void place(struct loop *loop, struct context *context, const struct io_uring_sqe *model,
                  enum context_state state)
{
    struct io_uring_sqe *sqe = submit_sqe(loop, true);

    if (sqe == NULL) {
        dispatch_settle(loop, context, -ENOMEM, 0);
        return;
    }
    *sqe = *model;
    context->state = state & 15;
    submit_sqe_done(loop);
}

void multishot_arm(struct loop *loop, struct context *context, bool poll_first)
{
    struct io_uring_sqe sqe = armed_sqe(context);

    if (poll_first)
        sqe.ioprio |= IORING_RECVSEND_POLL_FIRST;
    loop->stats.rearms++;
    place(loop, context, &sqe, CONTEXT_ACTIVE);
}

static void probe(struct loop *loop, struct context *context)
{
    const struct context_arm *arm = context_arm(context);
    struct io_uring_sqe       sqe = {
              .opcode = IORING_OP_RECV,
              .fd = context->fd & ~LOOP_FIXED_FLAG,
              .flags = (uint8_t)(arm->sqe_flags & IOSQE_FIXED_FILE),
              .addr = (uint64_t)(uintptr_t)loop->scratch,
              .len = 1,
              .msg_flags = MSG_PEEK | MSG_DONTWAIT,
              .user_data = context->id,
    };

    place(loop, context, &sqe, CONTEXT_PROBING);
}

static void finish(struct loop *loop, struct context *context, int32_t res)
{
    op_finish(loop, context, &(struct loop_result){.res = res});
}

static void probe_completed(struct loop *loop, struct context *context, int32_t res)
{
    if ((context->flags & CONTEXT_CANCELED) != 0)
        finish(loop, context, -ECANCELED);
    else if (res == -EAGAIN)
        multishot_arm(loop, context, true);
    else if (res <= 0)
        finish(loop, context, res);
    else if (buffer_at_hand(loop, context_arm(context)->group))
        multishot_arm(loop, context, false);
    else
        buffer_park(loop, context);
}

/* The kernel is done with it although nothing was wrong: the callback is told of more to come, and so it shall be. */
static void rest(struct loop *loop, struct context *context, struct loop_result *result)
{
    context->state = CONTEXT_RESTING;
    op_more(loop, context, result);
    if ((context->flags & CONTEXT_CANCELED) != 0)
        dispatch_settle(loop, context, -ECANCELED, 0);
    else
        multishot_arm(loop, context, false);
}

void multishot_complete(struct loop *loop, struct context *context, const struct completion *completion)
{
    struct loop_result result = {.res = completion->res};
    bool               receives = context->kind == CONTEXT_RECV;

    if (context->state == CONTEXT_PROBING) {
        probe_completed(loop, context, completion->res);
        return;
    }
    if ((completion->flags & IORING_CQE_F_SOCK_NONEMPTY) != 0)
        result.flags |= LOOP_SOCK_NONEMPTY;
    if ((completion->flags & IORING_CQE_F_BUFFER) != 0 && completion->res >= 0)
        buffer_received(loop, context_arm(context)->group, completion, &result);
    if ((completion->flags & IORING_CQE_F_MORE) != 0)
        op_more(loop, context, &result);
    else if ((context->flags & CONTEXT_CANCELED) != 0)
        op_finish(loop, context, &result);
    else if (receives && result.res == -ENOBUFS) {
        if (buffer_at_hand(loop, context_arm(context)->group))
            multishot_arm(loop, context, false);
        else
            probe(loop, context);
    } else if (result.res > 0 || (result.res == 0 && !receives))
        rest(loop, context, &result);
    else
        op_finish(loop, context, &result);
}
