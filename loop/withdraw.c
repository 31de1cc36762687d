/* loop/withdraw.c: taking back what the kernel has not been given yet.
 *
 * Its SQE stays where it is, as one that does nothing and tells nobody; so nothing moves, and chains stay whole. Of a
 * soft chain everything behind goes too, as if the operation had failed in the kernel. The operation ends as one that
 * never reached the kernel. Those without a context are noted in a list of their own, for want of a place. */
#include "loop/multishot.h"
#include "loop/op_start.h"

#include <fcntl.h>

/* Ends of operations without a context: direct and foreign ones. */
struct withdrawn {
    struct loop_task task;
    uint32_t         count;
    uint64_t         user_data[];
};

struct withdrawal {
    struct loop      *loop;
    struct withdrawn *withdrawn; /* NULL: they are only counted */
    uint32_t          without_context;
    int               fd, ended;
    bool              dying; /* a soft chain is broken before this SQE */
    bool              gone;  /* what this SQE is linked to has been taken back */
};

static const uint8_t links = IOSQE_IO_LINK | IOSQE_IO_HARDLINK;

/* The two that read from a second descriptor. */
static bool reads_from(const struct io_uring_sqe *sqe, int fd)
{
    int from = sqe->splice_fd_in;

    if (sqe->opcode != IORING_OP_SPLICE && sqe->opcode != IORING_OP_TEE)
        return false;
    return fd == ((sqe->splice_flags & SPLICE_F_FD_IN_FIXED) != 0 ? LOOP_FIXED(from) : from);
}

bool sqe_names(const struct io_uring_sqe *sqe, int fd)
{
    if (sqe->opcode == IORING_OP_CLOSE && sqe->file_index != 0)
        return fd == LOOP_FIXED((int)sqe->file_index - 1);
    return opcode_names_descriptor(sqe->opcode) && (op_fd_of(sqe->fd, sqe->flags) == fd || reads_from(sqe, fd));
}

/* The library's own, which are nobody's operations. */
static bool is_own(const struct io_uring_sqe *sqe)
{
    return user_data_mode(sqe->user_data) == UD_DIRECT && user_data_handler(sqe->user_data) > LOOP_HANDLERS_MAX;
}

static bool is_to_go(const struct withdrawal *withdrawal, const struct io_uring_sqe *sqe)
{
    if (withdrawal->dying || (!is_own(sqe) && sqe_names(sqe, withdrawal->fd)))
        return true;
    return withdrawal->gone && is_own(sqe) && sqe->opcode == IORING_OP_LINK_TIMEOUT;
}

/* Its place in the union is needed for what comes, and its chain goes on without it. */
static void settle(struct withdrawal *withdrawal, struct context *context)
{
    struct loop *loop = withdrawal->loop;
    uint64_t     next = (context->flags & CONTEXT_CHAINED) != 0 ? context->chain_next : 0;
    bool         holds = multishot_holds_message(context);

    withdrawal->ended += (context->flags & CONTEXT_CANCELED) == 0;
    context->flags |= CONTEXT_CANCELED;
    context->flags &= (uint16_t) ~(CONTEXT_CHAINED | CONTEXT_WAITING);
    dispatch_settle(loop, context, -ECANCELED, 0);
    if (holds)
        buffer_callback_done(loop, context_arm(context)->held.buffer);
    if (next != 0)
        cancel_link_begun(loop, next);
}

/* One that does nothing, of the same size. */
static void blank(struct io_uring_sqe *sqe, bool linked)
{
    *sqe = (struct io_uring_sqe){
        .opcode = op_is_made_wide(sqe->opcode) ? IORING_OP_NOP128 : IORING_OP_NOP,
        .fd = -1,
        .flags = IOSQE_CQE_SKIP_SUCCESS | (linked ? sqe->flags & links : 0),
        .user_data = user_data_direct(IORING_OP_ASYNC_CANCEL, HANDLER_CANCEL, 0),
    };
}

static void take_back(struct withdrawal *withdrawal, struct io_uring_sqe *sqe)
{
    bool direct = user_data_mode(sqe->user_data) == UD_DIRECT || user_data_mode(sqe->user_data) == UD_FOREIGN;
    struct context *context = direct ? NULL : context_find(&withdrawal->loop->pool, sqe->user_data);

    if (withdrawal->withdrawn == NULL) {
        withdrawal->without_context += direct && !is_own(sqe);
        return;
    }
    if (context != NULL)
        settle(withdrawal, context);
    else if (direct && !is_own(sqe))
        withdrawal->withdrawn->user_data[withdrawal->withdrawn->count++] = sqe->user_data;
    blank(sqe, !withdrawal->dying);
}

static void look_at(struct withdrawal *withdrawal, struct io_uring_sqe *sqe)
{
    uint8_t flags = sqe->flags;
    bool    goes = is_to_go(withdrawal, sqe);

    withdrawal->dying |= goes && (flags & IOSQE_IO_LINK) != 0;
    if (goes)
        take_back(withdrawal, sqe);
    withdrawal->gone = goes && (flags & links) != 0;
    withdrawal->dying = withdrawal->dying && (flags & links) != 0;
}

/* With SQE_MIXED a wide one takes two places. */
static unsigned places(const struct loop *loop, const struct io_uring_sqe *sqe)
{
    return ring_has(&loop->ring, IORING_SETUP_SQE_MIXED) && op_is_made_wide(sqe->opcode) ? 2 : 1;
}

/* What stands in the SQ unsent, then what stands behind it. */
static void go_over(struct withdrawal *withdrawal)
{
    struct loop *loop = withdrawal->loop;
    struct ring *ring = &loop->ring;
    unsigned     tail = ring_tail(ring), i = tail - ring_unsent(ring);

    while (i != tail) {
        struct io_uring_sqe *sqe = &ring->sqes[(size_t)(i & (ring->sq_entries - 1)) << ring->sqe_shift];

        i += places(loop, sqe);
        look_at(withdrawal, sqe);
    }
    for (i = 0; i < loop->backlog.count;) {
        struct io_uring_sqe *sqe = sqe_queue_at(loop, &loop->backlog, i);

        i += places(loop, sqe);
        look_at(withdrawal, sqe);
    }
}

static void tell(struct loop *loop, struct loop_task *task)
{
    struct withdrawn *withdrawn = container_of(task, struct withdrawn, task);

    for (uint32_t i = 0; i < withdrawn->count; i++)
        dispatch_withdrawn(loop, withdrawn->user_data[i]);
    memory_free(loop, withdrawn);
}

static bool open_chain_names(const struct loop *loop, int fd)
{
    for (uint32_t i = 0; i < loop->chain.count; i++)
        if (sqe_names(sqe_queue_at(loop, &loop->chain, i), fd))
            return true;
    return false;
}

int withdraw_fd(struct loop *loop, int fd)
{
    struct withdrawal withdrawal = {.loop = loop, .fd = fd};
    struct withdrawn  none = {.count = 0}, *list = &none;

    if (open_chain_names(loop, fd))
        return -EBUSY;
    go_over(&withdrawal);
    if (withdrawal.without_context > 0) {
        list = memory_resize(loop, NULL, sizeof(*list) + withdrawal.without_context * sizeof(list->user_data[0]));
        if (list == NULL)
            return -ENOMEM;
        *list = (struct withdrawn){.task.run = tell};
        loop_task_add(loop, &list->task);
    }
    withdrawal.withdrawn = list;
    go_over(&withdrawal);
    return withdrawal.ended;
}
