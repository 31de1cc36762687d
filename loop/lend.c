/* loop/lend.c: one-shot operations with buffers of a group: receives and reads with LOOP_LEND, bundles.
 *
 * A receive that finds the group empty waits for its turn as multishots do. In a chain, or with a linked timeout, it
 * cannot: there the kernel has ended what belongs to it. */
#include "loop/bundle.h"

#include <errno.h>

static bool may_wait(const struct context *context)
{
    return (context->flags & (CONTEXT_CHAINED | CONTEXT_LINKED | CONTEXT_CANCELED | CONTEXT_EXPIRED)) == 0;
}

void lend_complete(struct loop *loop, struct context *context, const struct completion *completion)
{
    struct loop_result result = {.res = completion->res};

    if (context->state == CONTEXT_PROBING) {
        multishot_complete(loop, context, completion);
        return;
    }
    if (context->opcode == IORING_OP_SEND) {
        bundle_sent(loop, context, completion);
        return;
    }
    if ((completion->flags & IORING_CQE_F_SOCK_NONEMPTY) != 0)
        result.flags |= LOOP_SOCK_NONEMPTY;
    if ((completion->flags & IORING_CQE_F_BUFFER) != 0)
        buffer_received(loop, context_arm(context)->group, completion, &result);
    if (result.res == -ENOBUFS && may_wait(context))
        multishot_receive_again(loop, context, true);
    else
        op_finish(loop, context, &result);
}
