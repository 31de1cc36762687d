/* loop/multishot_probe.c: asking the kernel what a multishot cannot see by itself.
 *
 * Without a buffer a receive or a read sees neither the end nor an error. And a message without bytes is an empty
 * datagram, or what the kernel makes of the end of a stream. Nothing is ever taken from the file by these questions:
 *
 *   peek      a receive of one byte with MSG_PEEK: sockets only
 *   watch     a peek that waits
 *   hangup    a poll of what is readable already: has the other side gone?
 *   ready     a poll that waits; for reads, which cannot be told to wait for readiness first
 *
 * Files that are no sockets tell of their end by POLLHUP without POLLIN: nothing left to read, and nobody to write. */
#include "loop/multishot.h"
#include "loop/op_start.h"

#include <poll.h>

#ifndef POLLRDHUP
#define POLLRDHUP 0x2000
#endif

enum probe {
    PROBE_PEEK,
    PROBE_WATCH,
    PROBE_HANGUP,      /* the peek saw no bytes: an end, or again an empty datagram */
    PROBE_READY,       /* of a read */
    PROBE_PEEK_READY,  /* it is readable */
    PROBE_PEEK_HANGUP, /* it is not, and never will be */
    PROBE_PEEK_ERROR,  /* it is neither */
    PROBE_HOLDING = 8, /* with a peek or a hangup: arm->held is what it is about */
};

static void ask(struct loop *loop, struct context *context, unsigned probe, struct io_uring_sqe sqe)
{
    struct context_arm *arm = context_arm(context);

    arm->probe = probe & 15;
    sqe.fd = context->fd & ~LOOP_FIXED_FLAG;
    sqe.flags = (uint8_t)(arm->sqe_flags & IOSQE_FIXED_FILE);
    sqe.user_data = context->id;
    multishot_place(loop, context, &sqe, CONTEXT_PROBING);
}

static void peek(struct loop *loop, struct context *context, unsigned probe, unsigned flags)
{
    ask(loop, context, probe,
        (struct io_uring_sqe){
            .opcode = IORING_OP_RECV,
            .addr = (uint64_t)(uintptr_t)loop->scratch,
            .len = 1,
            .msg_flags = MSG_PEEK | flags,
        });
}

static void poll_for(struct loop *loop, struct context *context, unsigned probe)
{
    ask(loop, context, probe,
        (struct io_uring_sqe){
            .opcode = IORING_OP_POLL_ADD,
            .poll32_events = op_poll_mask(POLLIN | POLLRDHUP),
        });
}

void multishot_probe(struct loop *loop, struct context *context, bool wait)
{
    if (context->kind == CONTEXT_READ)
        poll_for(loop, context, PROBE_READY);
    else
        peek(loop, context, wait ? PROBE_WATCH : PROBE_PEEK, wait ? 0 : MSG_DONTWAIT);
}

static void finish(struct loop *loop, struct context *context, int32_t res)
{
    op_finish(loop, context, &(struct loop_result){.res = res});
}

void multishot_arm_or_park(struct loop *loop, struct context *context)
{
    if (multishot_shall_pause(context) || buffer_is_due(loop, context))
        multishot_go_on(loop, context, false);
    else
        buffer_park(loop, context);
}

/* ---- messages without bytes */

/* There was no memory to ask. */
static void drop_if_settled(struct loop *loop, struct context *context)
{
    if (context->state == CONTEXT_SETTLED)
        buffer_callback_done(loop, context_arm(context)->held.buffer);
}

void multishot_probe_message(struct loop *loop, struct context *context, const struct loop_result *result)
{
    const struct msghdr *room = &context_extended(context)->msg;
    struct context_arm  *arm = context_arm(context);

    arm->held.data =
        (char *)result->data - room->msg_controllen - room->msg_namelen - sizeof(struct io_uring_recvmsg_out);
    arm->held.buffer = result->buffer;
    arm->held.flags = result->flags;
    peek(loop, context, PROBE_PEEK | PROBE_HOLDING, MSG_DONTWAIT);
    drop_if_settled(loop, context);
}

void multishot_probe_again(struct loop *loop, struct context *context)
{
    peek(loop, context, PROBE_PEEK | PROBE_HOLDING, MSG_DONTWAIT);
    drop_if_settled(loop, context);
}

bool multishot_holds_message(struct context *context)
{
    return context->state == CONTEXT_PROBING && (context_arm(context)->probe & PROBE_HOLDING) != 0;
}

/* It was an empty datagram. error: what stands behind it. */
static void tell_held(struct loop *loop, struct context *context, int32_t error)
{
    const struct context_arm *arm = context_arm(context);
    const struct msghdr      *room = &context_extended(context)->msg;
    struct multishot_message  message;
    struct loop_result        result = {
               .res = (int32_t)(sizeof(struct io_uring_recvmsg_out) + room->msg_namelen + room->msg_controllen),
               .flags = arm->held.flags,
               .data = arm->held.data,
               .buffer = arm->held.buffer,
    };

    multishot_unpack(context, &message, &result);
    if (error == 0) {
        multishot_rest(loop, context, &result);
        return;
    }
    context->state = CONTEXT_RESTING;
    op_more(loop, context, &result);
    dispatch_settle(loop, context, error, 0);
}

static void drop_held(struct loop *loop, struct context *context, int32_t res)
{
    buffer_callback_done(loop, context_arm(context)->held.buffer);
    finish(loop, context, res);
}

/* By a cancel that was sent before the message came, and repeated. */
static bool stopped_to_pause(const struct context *context, int32_t res)
{
    return (context->flags & CONTEXT_PAUSING) != 0 && multishot_was_stopped(res);
}

static void holding_completed(struct loop *loop, struct context *context, unsigned probe, int32_t res)
{
    if ((context->flags & CONTEXT_CANCELED) != 0)
        drop_held(loop, context, -ECANCELED);
    else if (probe == PROBE_PEEK && res == 0) {
        poll_for(loop, context, PROBE_HANGUP | PROBE_HOLDING);
        drop_if_settled(loop, context);
    } else if (probe == PROBE_HANGUP && res > 0 && (res & (POLLRDHUP | POLLHUP)) != 0)
        drop_held(loop, context, 0);
    else
        tell_held(loop, context, res < 0 && res != -EAGAIN && !stopped_to_pause(context, res) ? res : 0);
}

/* ---- no buffer */

/* Where nothing is, the peek waits for what comes, and not the multishot with POLL_FIRST: that is told of one event
 * only and, when it has read the data there is, never sees the reset or the end (unix) that came with it. */
static void peeked(struct loop *loop, struct context *context, enum probe probe, int32_t res)
{
    if (res == -EAGAIN && probe == PROBE_PEEK && !multishot_shall_pause(context))
        multishot_probe(loop, context, true);
    else if (res == -EAGAIN)
        multishot_go_on(loop, context, true);
    else if (res == 0 && context->kind == CONTEXT_RECVMSG)
        poll_for(loop, context, PROBE_HANGUP);
    else if (res <= 0)
        finish(loop, context, res);
    else
        multishot_arm_or_park(loop, context);
}

static void readable(struct loop *loop, struct context *context, int32_t res)
{
    if (res < 0)
        finish(loop, context, res);
    else if (multishot_shall_pause(context) || buffer_is_due(loop, context))
        multishot_go_on(loop, context, false);
    else if ((res & POLLIN) != 0)
        peek(loop, context, PROBE_PEEK_READY, MSG_DONTWAIT);
    else
        peek(loop, context, (res & POLLHUP) != 0 ? PROBE_PEEK_HANGUP : PROBE_PEEK_ERROR, MSG_DONTWAIT);
}

/* A read's file is polled, and its peek says -ENOTSOCK or the truth. */
static void peeked_for_read(struct loop *loop, struct context *context, enum probe probe, int32_t res)
{
    if (res > 0 || (res == -ENOTSOCK && probe == PROBE_PEEK_READY))
        multishot_arm_or_park(loop, context);
    else if (res == -EAGAIN && probe == PROBE_PEEK_READY)
        poll_for(loop, context, PROBE_READY); /* another reader was faster */
    else if (res == -EAGAIN || res == -ENOTSOCK)
        finish(loop, context, probe == PROBE_PEEK_HANGUP ? 0 : -EIO);
    else
        finish(loop, context, res);
}

void multishot_probe_completed(struct loop *loop, struct context *context, int32_t res)
{
    unsigned probe = context_arm(context)->probe;

    if ((probe & PROBE_HOLDING) != 0) {
        holding_completed(loop, context, probe & ~(unsigned)PROBE_HOLDING, res);
        return;
    }
    if ((context->flags & CONTEXT_CANCELED) != 0) {
        finish(loop, context, -ECANCELED);
        return;
    }
    if (stopped_to_pause(context, res)) {
        multishot_again(loop, context, false);
        return;
    }
    switch ((enum probe)probe) {
    case PROBE_PEEK:
    case PROBE_WATCH: peeked(loop, context, (enum probe)probe, res); return;
    case PROBE_HANGUP:
        if (res < 0 || (res & (POLLRDHUP | POLLHUP)) != 0)
            finish(loop, context, res < 0 ? res : 0);
        else
            multishot_arm_or_park(loop, context);
        return;
    case PROBE_READY: readable(loop, context, res); return;
    case PROBE_PEEK_READY:
    case PROBE_PEEK_HANGUP:
    case PROBE_PEEK_ERROR: peeked_for_read(loop, context, (enum probe)probe, res); return;
    case PROBE_HOLDING: break;
    }
    check_failed("a probe has asked something", __FILE__, __LINE__);
}
