/* loop/multishot.h: what the parts of the machine of multishots offer each other; the rest is in loop_private.h. */
#ifndef RINGLOOP_LOOP_MULTISHOT_H
#define RINGLOOP_LOOP_MULTISHOT_H

#include "loop/loop_private.h"

#include <sys/uio.h>

/* A received message, put together for its callback. */
struct multishot_message {
    struct msghdr header;
    struct iovec  payload;
};

/* multishot.c */

/* Hands an SQE of the operation to the kernel; settles it without memory for that. */
void multishot_place(struct loop *loop, struct context *context, const struct io_uring_sqe *model,
                     enum context_state state);

/* Tells a result while the kernel does not have the operation, then goes on. */
void multishot_rest(struct loop *loop, struct context *context, struct loop_result *result);

/* Arms it again, unless the user has asked for its end or for a rest. */
void multishot_go_on(struct loop *loop, struct context *context, bool poll_first);
/* The same, but one that takes buffers may have to leave them to others first. */
void multishot_again(struct loop *loop, struct context *context, bool starved);
void multishot_pause(struct context *context);

/* Turns a buffer as filled by the kernel into a message. result holds all of the buffer, then only the payload. */
void multishot_unpack(struct context *context, struct multishot_message *message, struct loop_result *result);

/* Whether res is what a cancel leaves behind. */
bool multishot_was_stopped(int32_t res);

static inline bool multishot_shall_pause(const struct context *context)
{
    return (context->flags & (CONTEXT_PAUSING | CONTEXT_RESUMING)) == CONTEXT_PAUSING;
}

/* multishot_probe.c */

/* There was no buffer, or others come first. wait: until there is something to receive. */
void multishot_probe(struct loop *loop, struct context *context, bool wait);
/* There is something to receive. */
void multishot_arm_or_park(struct loop *loop, struct context *context);
/* result is a message without bytes: keeps it until it is known what it means. */
void multishot_probe_message(struct loop *loop, struct context *context, const struct loop_result *result);
void multishot_probe_completed(struct loop *loop, struct context *context, int32_t res);
/* On a new ring: asks once more what it was asking. */
void multishot_probe_again(struct loop *loop, struct context *context);
/* A probe about a message that came: it is over at once, and must not be cancelled. */
bool multishot_holds_message(struct context *context);

#endif
