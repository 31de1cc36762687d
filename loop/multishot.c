/* loop/multishot.c: multishots: operations that the loop keeps alive.
 *
 * The kernel ends a multishot also for reasons that are not the user's: a full CQ, fairness, no buffer. Then it is
 * armed again. One that finds no buffer cannot see the end of the stream or an error either; so it probes
 * (multishot_probe.c).
 *
 *   ACTIVE --no buffer, or others come first--> PROBING --nothing to read--> ACTIVE (waiting for readiness first)
 *                                               PROBING --data--> PARKED --a buffer came back--> ACTIVE
 *                                               PROBING --end, error--> its final callback
 *   any of them --paused--> PAUSED --resumed--> ACTIVE */
#include "loop/multishot.h"

#include "loop/op_start.h"

#include <string.h>

enum { RESTART_FIRST = -512, RESTART_LAST = -516 }; /* restart codes, which leak out of what is cancelled */

/* So many results the kernel gives in one go (MULTISHOT_MAX_RETRY). It goes on by way of its poll, and then does not
 * look again when it has all there was: of an end (unix) or reset that was there as well it never tells. Measured
 * on 6.18. */
enum { RUN_LONG = 32 };

/* What the end of a completion without IORING_CQE_F_MORE means. */
enum verdict {
    GOES_WELL,      /* a result like those before: armed again after its callback */
    UNCLEAR,        /* a message without bytes: an empty datagram, or the end of a stream */
    WANTS_BUFFER,   /* no buffer was there, or it has to leave those there are to others */
    GOES_ON_SILENT, /* ended for a reason of ours: nobody is told */
    IS_OVER,
};

static struct io_uring_sqe armed_sqe(struct context *context)
{
    const struct context_arm *arm = context_arm(context);

    if (context_is_extended(context)) {
        struct io_uring_sqe sqe = context_extended(context)->sqe;

        if (context->kind == CONTEXT_TIMEOUT && (sqe.timeout_flags & IORING_TIMEOUT_MULTISHOT) == 0)
            sqe.off = 0; /* of single timeouts it counts completions */
        return sqe;
    }
    return (struct io_uring_sqe){
        .opcode = context->opcode,
        .fd = context->fd & ~LOOP_FIXED_FLAG,
        .flags = arm->sqe_flags,
        .ioprio = arm->ioprio,
        .off = context->kind == CONTEXT_READ ? UINT64_MAX : 0,
        .len = arm->len,
        .msg_flags = arm->op_flags,
        .buf_group = arm->group,
        .user_data = context->id,
    };
}

void multishot_place(struct loop *loop, struct context *context, const struct io_uring_sqe *model,
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

/* Cancels that are still under way stand before it in the SQ: they will not find it. */
static void forget_pause(struct context *context)
{
    context->flags &= (uint16_t) ~(CONTEXT_PAUSING | CONTEXT_RESUMING | CONTEXT_CANCEL_OWED);
}

void multishot_arm(struct loop *loop, struct context *context, bool poll_first)
{
    struct io_uring_sqe sqe = armed_sqe(context);

    if (poll_first)
        sqe.ioprio |= IORING_RECVSEND_POLL_FIRST;
    if (context->kind != CONTEXT_POLL_LEVEL)
        loop->stats.rearms++;
    forget_pause(context);
    context_arm(context)->fed = false;
    context_arm(context)->run = 0;
    context_arm(context)->standing_back = false;
    multishot_place(loop, context, &sqe, CONTEXT_ACTIVE);
}

void multishot_poll_for(struct loop *loop, loop_id id, uint32_t mask)
{
    struct context *context = context_find(&loop->pool, (uint64_t)id);

    if (context == NULL || (context->kind != CONTEXT_POLL && context->kind != CONTEXT_POLL_LEVEL) ||
        context->state == CONTEXT_SETTLED)
        return;
    context_arm(context)->op_flags = mask;
    if (context_is_extended(context))
        context_extended(context)->sqe.poll32_events = mask;
}

void multishot_pause(struct context *context)
{
    forget_pause(context);
    context->state = CONTEXT_PAUSED;
}

void multishot_go_on(struct loop *loop, struct context *context, bool poll_first)
{
    if ((context->flags & CONTEXT_CANCELED) != 0)
        dispatch_settle(loop, context, -ECANCELED, 0);
    else if (multishot_shall_pause(context))
        multishot_pause(context);
    else
        multishot_arm(loop, context, poll_first);
}

static bool takes_buffers(const struct context *context)
{
    return context->kind == CONTEXT_RECV || context->kind == CONTEXT_RECVMSG || context->kind == CONTEXT_READ;
}

void multishot_receive_again(struct loop *loop, struct context *context, bool starved)
{
    enum buffer_turn turn = buffer_turn(loop, context, starved);

    if (turn == BUFFER_TURN_ARM)
        multishot_arm(loop, context, false);
    else if (context->kind == CONTEXT_LENDING && context->opcode == IORING_OP_READ) /* files are always ready */
        multishot_arm_or_park(loop, context);
    else
        multishot_probe(loop, context, turn == BUFFER_TURN_WATCH);
}

void multishot_again(struct loop *loop, struct context *context, bool starved)
{
    if (takes_buffers(context) && (context->flags & CONTEXT_CANCELED) == 0 && !multishot_shall_pause(context))
        multishot_receive_again(loop, context, starved);
    else
        multishot_go_on(loop, context, false);
}

bool multishot_was_stopped(int32_t res)
{
    return res == -ECANCELED || res == -EINTR || (res <= RESTART_FIRST && res >= RESTART_LAST);
}

/* The message and its parts lie in the buffer, one behind the other; the parts have the room that was asked for. */
void multishot_unpack(struct context *context, struct multishot_message *message, struct loop_result *result)
{
    const struct msghdr        *room = &context_extended(context)->msg;
    char                       *name = (char *)result->data + sizeof(struct io_uring_recvmsg_out);
    char                       *control = name + room->msg_namelen;
    char                       *payload = control + room->msg_controllen;
    struct io_uring_recvmsg_out out;

    memcpy(&out, result->data, sizeof(out)); /* it need not be aligned */
    result->res -= (int32_t)(payload - (char *)result->data);
    result->data = payload;
    message->payload = (struct iovec){payload, (size_t)result->res};
    message->header = (struct msghdr){
        .msg_namelen = out.namelen < room->msg_namelen ? out.namelen : room->msg_namelen,
        .msg_controllen = out.controllen < room->msg_controllen ? out.controllen : room->msg_controllen,
        .msg_iov = &message->payload,
        .msg_iovlen = 1,
        .msg_flags = (int)out.flags,
    };
    if (message->header.msg_namelen > 0)
        message->header.msg_name = name;
    if (message->header.msg_controllen > 0)
        message->header.msg_control = control;
    result->message = &message->header;
}

/* The kernel is done with it although nothing was wrong: the callback is told of more to come, and so it shall be. A
 * bundle ends where the group does. */
void multishot_rest(struct loop *loop, struct context *context, struct loop_result *result)
{
    context->state = CONTEXT_RESTING;
    op_more(loop, context, result);
    multishot_again(loop, context,
                    takes_buffers(context) && (context_arm(context)->ioprio & IORING_RECVSEND_BUNDLE) != 0);
}

/* An expiry is a success. The count of those to come stands in the saved SQE; 0: no end of them. */
static enum verdict judge_timeout(struct context *context, struct loop_result *result)
{
    struct io_uring_sqe *sqe = &context_extended(context)->sqe;

    if (result->res == -EINVAL && (sqe->timeout_flags & IORING_TIMEOUT_MULTISHOT) != 0) {
        sqe->timeout_flags &= ~IORING_TIMEOUT_MULTISHOT; /* before kernel 6.4: single ones, then */
        return GOES_ON_SILENT;
    }
    if (result->res != -ETIME)
        return IS_OVER;
    result->res = 0;
    if (sqe->off == 1)
        return IS_OVER;
    sqe->off -= sqe->off > 0;
    return GOES_WELL;
}

static enum verdict judge_received(const struct context *context, const struct loop_result *result)
{
    if (result->res == -ENOBUFS)
        return WANTS_BUFFER;
    if (result->res > 0)
        return GOES_WELL;
    if (context->kind != CONTEXT_RECVMSG || (result->flags & LOOP_BUFFER) == 0)
        return IS_OVER;
    return result->message->msg_name == NULL ? UNCLEAR : GOES_WELL; /* only datagrams have senders */
}

static enum verdict judge(struct context *context, struct loop_result *result)
{
    if (multishot_was_stopped(result->res) && (context->flags & CONTEXT_CANCELED) == 0) {
        if ((context->flags & CONTEXT_PAUSING) != 0)
            return GOES_ON_SILENT;
        if (context_arm(context)->standing_back)
            return WANTS_BUFFER;
    }
    switch ((enum context_kind)context->kind) {
    case CONTEXT_RECV:
    case CONTEXT_RECVMSG:
    case CONTEXT_READ: return judge_received(context, result);
    case CONTEXT_ACCEPT:
    case CONTEXT_POLL:
    case CONTEXT_POLL_LEVEL: return result->res >= 0 ? GOES_WELL : IS_OVER;
    case CONTEXT_TIMEOUT: return judge_timeout(context, result);
    case CONTEXT_ONE_SHOT:
    case CONTEXT_LENDING:
    case CONTEXT_RAW:
    case CONTEXT_WORK:
    case CONTEXT_RECV_ZC:
    case CONTEXT_ZERO_COPY: break;
    }
    check_failed("it is a multishot", __FILE__, __LINE__);
}

/* The user has asked for its end. What is no data for certain is not told as such. */
static void finish_cancelled(struct loop *loop, struct context *context, enum verdict verdict,
                             struct loop_result *result)
{
    if (verdict == UNCLEAR) {
        buffer_callback_done(loop, result->buffer);
        *result = (struct loop_result){.res = -ECANCELED};
    }
    if (verdict == GOES_ON_SILENT)
        result->res = -ECANCELED;
    op_finish(loop, context, result);
}

/* Whether this is the last of a long run. */
static bool ends_long_run(struct context_arm *arm, uint32_t flags)
{
    bool was_long = arm->run == RUN_LONG;

    if ((flags & IORING_CQE_F_SOCK_NONEMPTY) == 0)
        arm->run = 0;
    else if (!was_long)
        arm->run++;
    return was_long && arm->run == 0;
}

/* What may be hidden behind a long run is seen by one that is armed anew. */
static void look_behind_run(struct loop *loop, struct context *context, uint32_t flags)
{
    struct context_arm *arm = context_arm(context);

    if (ends_long_run(arm, flags) && !arm->standing_back && (context->flags & CONTEXT_CANCELED) == 0) {
        cancel_rest(loop, context);
        arm->fed = false;
    }
}

void multishot_complete(struct loop *loop, struct context *context, const struct completion *completion)
{
    struct loop_result       result = {.res = completion->res};
    struct multishot_message message;
    enum verdict             verdict;

    if (context->state == CONTEXT_PROBING) {
        multishot_probe_completed(loop, context, completion->res);
        return;
    }
    if ((completion->flags & IORING_CQE_F_SOCK_NONEMPTY) != 0)
        result.flags |= LOOP_SOCK_NONEMPTY;
    if ((completion->flags & IORING_CQE_F_BUFFER) != 0) {
        struct context_arm *arm = context_arm(context);

        arm->fed = true;
        buffer_received(loop, arm->group, completion, &result);
    }
    if (context->kind == CONTEXT_RECVMSG && (result.flags & LOOP_BUFFER) != 0)
        multishot_unpack(context, &message, &result);
    if ((completion->flags & IORING_CQE_F_MORE) != 0) {
        if (context->kind == CONTEXT_TIMEOUT)
            (void)judge_timeout(context, &result);
        if (context->kind == CONTEXT_RECV)
            look_behind_run(loop, context, completion->flags);
        op_more(loop, context, &result);
        return;
    }
    verdict = judge(context, &result);
    if ((context->flags & CONTEXT_CANCELED) != 0) {
        finish_cancelled(loop, context, verdict, &result);
        return;
    }
    switch (verdict) {
    case GOES_WELL: multishot_rest(loop, context, &result); return;
    case UNCLEAR: multishot_probe_message(loop, context, &result); return;
    case WANTS_BUFFER: multishot_again(loop, context, true); return;
    case GOES_ON_SILENT: multishot_again(loop, context, false); return;
    case IS_OVER: op_finish(loop, context, &result); return;
    }
}
