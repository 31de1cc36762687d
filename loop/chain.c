/* loop/chain.c: chains: operations that the kernel runs one after the other, whole or not at all.
 *
 * Their SQEs gather in a queue of their own and move to the SQ together; so nothing else can get between them, and to
 * drop them costs nothing. */
#include "loop/fixed.h"
#include "loop/op_start.h"

int loop_chain_begin(struct loop *loop, uint32_t ops_max, uint32_t flags)
{
    int r;

    loop_check_owner(loop, __func__);
    if (ops_max == 0 || (flags & ~(uint32_t)LOOP_CHAIN_HARD) != 0)
        return -EINVAL;
    if (loop->chain_open)
        return -EBUSY;
    if (loop->destroying)
        return -ECANCELED;
    if (ops_max > loop->ring.sq_entries / 2) { /* each may bring a linked timeout */
        loop->stats.chains_full++;
        return -E2BIG;
    }
    if (ops_max > loop->options.ops_max - loop_ops_in_flight(loop)) {
        loop->stats.ops_full++;
        return -ENOBUFS;
    }
    r = context_reserve(loop, ops_max);
    if (r == 0)
        r = sqe_queue_reserve(loop, &loop->chain, 2 * ops_max);
    if (r < 0)
        return r;
    loop->chain_open = true;
    loop->chain_flags = flags;
    loop->chain_max = ops_max;
    loop->chain_ops = 0;
    loop->chain_error = 0;
    submit_room_update(loop);
    return 0;
}

static struct context *chain_context(struct loop *loop, uint32_t i)
{
    const struct io_uring_sqe *sqe = sqe_queue_at(loop, &loop->chain, i);

    return user_data_mode(sqe->user_data) == UD_DIRECT ? NULL /* our linked timeout */
                                                       : context_find(&loop->pool, sqe->user_data);
}

/* As if they had never been started; buffers they were given are still their caller's. */
static void drop(struct loop *loop)
{
    for (uint32_t i = 0; i < loop->chain.count; i++) {
        struct context *context = chain_context(loop, i);

        if (context == NULL)
            continue;
        if (context_is_extended(context) && context_extended(context)->release != 0)
            buffer_hand_back(loop, context_extended(context)->release);
        if ((context->flags & CONTEXT_BARRED) != 0)
            barrier_ended(loop, context->id);
        context_retire(context);
        context_free(loop, context);
        loop->ops_in_flight--;
        loop->ops_by_opcode[context->opcode]--;
    }
}

/* Each knows its successor, for a cancel that came before the successor was begun. */
static void link_contexts(struct loop *loop)
{
    struct context *before = NULL;

    for (uint32_t i = 0; i < loop->chain.count; i++) {
        struct context *context = chain_context(loop, i);

        if (context == NULL)
            continue;
        if (before != NULL) {
            before->chain_next = context->id;
            context->flags |= CONTEXT_WAITING;
        }
        before = context;
    }
}

int loop_chain_end(struct loop *loop)
{
    uint64_t first = 0;
    int      r;

    loop_check_owner(loop, __func__);
    if (!loop->chain_open)
        return -EINVAL;
    loop->chain_open = false;
    submit_room_update(loop);
    r = loop->chain_error;
    if (r == 0 && loop->chain.count > 0) {
        struct io_uring_sqe *last = sqe_queue_at(loop, &loop->chain, loop->chain.count - 1);

        last->flags &= (uint8_t) ~(IOSQE_IO_LINK | IOSQE_IO_HARDLINK);
        first = sqe_queue_at(loop, &loop->chain, 0)->user_data;
        link_contexts(loop);
        r = submit_block(loop, sqe_queue_at(loop, &loop->chain, 0), loop->chain.count);
    }
    if (r < 0)
        drop(loop);
    for (uint32_t i = 0; r == 0 && i < loop->chain.count; i++)
        fixed_files_note(loop, sqe_queue_at(loop, &loop->chain, i));
    loop->chain.head = 0;
    loop->chain.count = 0;
    if (r == 0 && first != 0)
        cancel_link_begun(loop, first); /* asked for while its SQE was still here */
    return r;
}
