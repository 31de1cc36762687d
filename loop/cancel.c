/* loop/cancel.c: asking the kernel to end operations: for loop_cancel(), for deadlines, for the end of the loop.
 *
 * A cancel request that works posts no CQE; one that misses does, to a handler of ours. ENOENT means that the operation
 * has ended, or is a link of a chain whose turn has not come, or is just where the kernel does not look: between two
 * attempts, in a driver, or waiting for a notification. EALREADY means that a worker has it, which may stop or not. For
 * a link we ask again when its turn comes; in the other cases once at once, and then, as long as the operation is
 * there, every now and then. The same if there was no memory to ask. */
#include "loop/loop_private.h"

#include <errno.h>

static const uint64_t retry_first_ns = 1000000, retry_last_ns = 64000000;

/* The value of a cancel's user_data: which operation it is for, and above that which attempt it is. */
enum attempt { FIRST, AT_ONCE, LATER, ATTEMPT_SHIFT = 44 };

static int send_cancel(struct loop *loop, uint64_t user_data, uint32_t flags, uint64_t value)
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
        .user_data = user_data_direct(IORING_OP_ASYNC_CANCEL, HANDLER_CANCEL, value),
    };
    loop->stats.cancels++;
    submit_sqe_done(loop);
    return 0;
}

/* Once for a row of repetitions: it has been asked for some 64 ms by now. */
static void tell_of_misses(struct loop *loop, const struct context *context, uint64_t delay_ns)
{
    observe_error(loop, &(struct loop_error){.event = LOOP_ERROR_CANCEL,
                                             .opcode = context->opcode,
                                             .id = (loop_id)context->id,
                                             .value = delay_ns});
}

/* Later, then; and each time later than the time before. */
static void owe(struct loop *loop, struct context *context, enum attempt missed)
{
    uint64_t delay_ns = retry_first_ns;

    context->flags |= CONTEXT_CANCEL_OWED;
    if (loop->cancel_retry.next != NULL || loop->destroying)
        return;
    if (missed == LATER)
        delay_ns = loop->cancel_delay_ns * 2 < retry_last_ns ? loop->cancel_delay_ns * 2 : retry_last_ns;
    if (delay_ns == retry_last_ns && loop->cancel_delay_ns < retry_last_ns)
        tell_of_misses(loop, context, delay_ns);
    loop->cancel_delay_ns = delay_ns;
    loop->cancel_retry.deadline_ns = ns_add(loop_time(loop), delay_ns);
    wheel_start(&loop->wheel, &loop->cancel_retry, WHEEL_CANCEL);
}

static void ask(struct loop *loop, struct context *context, enum attempt attempt)
{
    uint64_t value = user_data_to_value(context->id) | (uint64_t)attempt << ATTEMPT_SHIFT;

    context->flags &= (uint16_t)~CONTEXT_CANCEL_OWED;
    if (send_cancel(loop, context->id, 0, value) < 0)
        owe(loop, context, attempt);
}

static bool can_be_found(const struct context *context)
{
    return (context->state == CONTEXT_ACTIVE || context->state == CONTEXT_PROBING) &&
           (context->flags & (CONTEXT_WAITING | CONTEXT_RESULT_SEEN | CONTEXT_RELEASE_SEEN)) == 0;
}

/* For good, or to let it rest. */
static bool shall_end(const struct context *context)
{
    const unsigned pausing = CONTEXT_PAUSING | CONTEXT_RESUMING;

    return (context->flags & CONTEXT_CANCELED) != 0 || (context->flags & pausing) == CONTEXT_PAUSING;
}

void cancel_retry_due(struct loop *loop)
{
    uint64_t        slot = 0;
    struct context *context;

    while ((context = context_walk(&loop->pool, &slot)) != NULL)
        if ((context->flags & CONTEXT_CANCEL_OWED) != 0 && shall_end(context) && can_be_found(context))
            ask(loop, context, LATER);
}

/* Asked once, and once more: if it goes on all the same, there will be another reason to ask. */
void cancel_rest(struct loop *loop, struct context *context)
{
    uint64_t value = user_data_to_value(context->id) | (uint64_t)FIRST << ATTEMPT_SHIFT;

    context_arm(context)->standing_back = send_cancel(loop, context->id, 0, value) == 0;
}

static void rest_missed(struct loop *loop, struct context *context, enum attempt missed)
{
    uint64_t value = user_data_to_value(context->id) | (uint64_t)AT_ONCE << ATTEMPT_SHIFT;

    if (context->state == CONTEXT_ACTIVE && context_is_multishot(context) && context_arm(context)->standing_back)
        context_arm(context)->standing_back = missed == FIRST && send_cancel(loop, context->id, 0, value) == 0;
}

void cancel_completed(struct loop *loop, const struct completion *completion)
{
    uint64_t        value = user_data_value(completion->user_data);
    enum attempt    missed = (enum attempt)(value >> ATTEMPT_SHIFT);
    struct context *context = value == 0 ? NULL : context_find_value(&loop->pool, user_data_to_value(value));

    if (context == NULL || !can_be_found(context) || loop->destroying)
        return;
    if (!shall_end(context)) {
        rest_missed(loop, context, missed);
        return;
    }
    if (completion->res == -ENOENT && missed == FIRST)
        ask(loop, context, AT_ONCE);
    else
        owe(loop, context, missed);
}

bool cancel_mark(struct loop *loop, struct context *context)
{
    if ((context->flags & CONTEXT_CANCELED) != 0)
        return false;
    switch ((enum context_state)context->state) {
    case CONTEXT_ACTIVE:
    case CONTEXT_PROBING:
        if ((context->flags & (CONTEXT_RESULT_SEEN | CONTEXT_RELEASE_SEEN)) != 0)
            return false; /* nothing ends a notification */
        context->flags |= CONTEXT_CANCELED;
        return true;
    case CONTEXT_RESTING: /* inside its callback; it will not be armed again */
        context->flags |= CONTEXT_CANCELED;
        return true;
    case CONTEXT_PARKED:
        context->flags |= CONTEXT_CANCELED;
        buffer_unpark(loop, context);
        dispatch_settle(loop, context, -ECANCELED, 0);
        return true;
    case CONTEXT_PAUSED:
        context->flags |= CONTEXT_CANCELED;
        dispatch_settle(loop, context, -ECANCELED, 0);
        return true;
    case CONTEXT_HELD:
        context->flags |= CONTEXT_CANCELED;
        barrier_withdraw(loop, context);
        dispatch_settle(loop, context, -ECANCELED, 0);
        return true;
    case CONTEXT_SETTLED: return false;
    case CONTEXT_WORKING: return work_cancel(loop, context);
    case CONTEXT_FREE: break;
    }
    check_failed("a context in use is not free", __FILE__, __LINE__);
}

bool cancel_context(struct loop *loop, struct context *context)
{
    if (!cancel_mark(loop, context))
        return false;
    if (context->state == CONTEXT_ACTIVE || context->state == CONTEXT_PROBING)
        ask(loop, context, FIRST);
    return true;
}

void cancel_in_kernel(struct loop *loop, struct context *context)
{
    ask(loop, context, FIRST);
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
    (void)send_cancel(loop, 0, IORING_ASYNC_CANCEL_ANY, 0);
}

void cancel_link_begun(struct loop *loop, uint64_t id)
{
    struct context *context = context_find(&loop->pool, id);

    if (context == NULL)
        return;
    context->flags &= (uint16_t)~CONTEXT_WAITING;
    if (can_be_found(context) && (context->flags & CONTEXT_CANCELED) != 0)
        ask(loop, context, FIRST);
}

void cancel_deadline_passed(struct loop *loop, struct loop_timer_node *node)
{
    struct context *context = container_of(node, struct context, deadline);

    context->flags &= (uint16_t)~CONTEXT_DEADLINE;
    if ((context->flags & CONTEXT_CANCELED) != 0)
        return; /* that was first */
    if ((context->flags & CONTEXT_EXPIRED) == 0)
        loop->stats.deadlines_passed++;
    context->flags |= CONTEXT_EXPIRED;
    (void)cancel_context(loop, context);
}

/* Unless the operation ended first (ECANCELED) the kernel's timer has fired, and then its CQE stands before that of the
 * operation, but for old kernels: see linked_timeout_look(). ETIME, or 1 for a futex or a child: it has cancelled the
 * operation. EALREADY, ENOENT: a worker has it, or it was not found, as with a cancel: then it is for us to ask again.
 */
void linked_timeout_completed(struct loop *loop, const struct completion *completion)
{
    struct context *context = context_find_value(&loop->pool, user_data_value(completion->user_data));

    if (completion->res == -ECANCELED || context == NULL || (context->flags & CONTEXT_LINKED) == 0 ||
        (context->flags & (CONTEXT_CANCELED | CONTEXT_EXPIRED)) != 0)
        return;
    context->flags |= CONTEXT_EXPIRED;
    loop->stats.deadlines_passed++;
    if (completion->res == -EALREADY || completion->res == -ENOENT)
        (void)cancel_context(loop, context);
}

static bool is_its_timer_fired(const struct context *context, uint64_t user_data, int32_t res)
{
    return user_data ==
               user_data_direct(IORING_OP_LINK_TIMEOUT, HANDLER_LINKED_TIMEOUT, user_data_to_value(context->id)) &&
           (res == -ETIME || res == 1);
}

/* Old kernels (6.1, not 6.12) tell the end of the operation first, and right after it, in the same enter, that the
 * timer has ended it: that stands behind the completion, in the batch or still in the CQ. Left-overs in the batch have
 * other ids.
 */
void linked_timeout_look(struct loop *loop, struct context *context, const struct completion *completion)
{
    const struct io_uring_cq *cq = &loop->ring.uring.cq;
    unsigned                  tail = __atomic_load_n(cq->ktail, __ATOMIC_ACQUIRE);
    bool                      fired = false;

    while (!fired && ++completion < loop->completions + DISPATCH_BATCH)
        fired = is_its_timer_fired(context, completion->user_data, completion->res);
    for (unsigned head = *cq->khead; !fired && head != tail; head++) {
        const struct io_uring_cqe *cqe = &cq->cqes[(size_t)(head & cq->ring_mask) << loop->ring.cqe_shift];

        fired = is_its_timer_fired(context, cqe->user_data, cqe->res);
    }
    if (!fired)
        return;
    context->flags |= CONTEXT_EXPIRED;
    loop->stats.deadlines_passed++;
}

int cancel_id(struct loop *loop, loop_id id)
{
    struct context *context;

    switch (user_data_mode((uint64_t)id)) {
    case UD_INDIRECT:
    case UD_EXTENDED:
        context = context_find(&loop->pool, (uint64_t)id);
        if (context == NULL)
            return -ENOENT;
        (void)cancel_context(loop, context);
        return 0;
    case UD_DIRECT:
        if (user_data_handler((uint64_t)id) - 1 >= LOOP_HANDLERS_MAX)
            return -ENOENT;
        return send_cancel(loop, (uint64_t)id, 0, 0);
    case UD_FOREIGN: return -ENOENT; /* no call has returned such an id */
    }
    return -ENOENT;
}

int loop_cancel(struct loop *loop, loop_id id)
{
    op_check_thread(loop, __func__);
    if (id <= 0)
        return -ENOENT;
    if (shared_elsewhere(loop))
        return user_data_mode((uint64_t)id) == UD_FOREIGN ? -ENOENT : shared_cancel(loop, id);
    if (shared_waiting(loop))
        shared_adopt(loop); /* it may stand in the queue */
    return cancel_id(loop, id);
}

/* ---- many at once */

/* Of the others the SQE's fd is something else, or nothing. */
bool opcode_names_descriptor(uint8_t opcode)
{
    switch (opcode) {
    case IORING_OP_NOP:
    case IORING_OP_TIMEOUT:
    case IORING_OP_TIMEOUT_REMOVE:
    case IORING_OP_LINK_TIMEOUT:
    case IORING_OP_POLL_REMOVE:
    case IORING_OP_MADVISE:
    case IORING_OP_FILES_UPDATE:
    case IORING_OP_PROVIDE_BUFFERS:
    case IORING_OP_REMOVE_BUFFERS:
    case IORING_OP_SOCKET:
    case IORING_OP_PIPE:
    case IORING_OP_SETXATTR:
    case IORING_OP_GETXATTR:
    case IORING_OP_WAITID:
    case IORING_OP_FUTEX_WAIT:
    case IORING_OP_FUTEX_WAKE:
    case IORING_OP_FUTEX_WAITV: return false;
    default: return true;
    }
}

struct many {
    int fd;     /* -1: any */
    int opcode; /* -1: any */
};

static bool is_meant(const struct context *context, struct many many)
{
    if ((context->flags & CONTEXT_OBJECT) != 0)
        return false;
    if (many.opcode >= 0 && context->opcode != many.opcode)
        return false;
    return many.fd < 0 || (context->fd == many.fd && opcode_names_descriptor(context->opcode));
}

static int cancel_many(struct loop *loop, struct many many)
{
    uint64_t        slot = 0;
    int             count = 0;
    struct context *context;

    while ((context = context_walk(&loop->pool, &slot)) != NULL)
        if (is_meant(context, many))
            count += cancel_context(loop, context);
    return count;
}

int loop_cancel_fd(struct loop *loop, int fd)
{
    loop_check_owner(loop, __func__);
    return fd < 0 ? -EBADF : cancel_many(loop, (struct many){.fd = fd, .opcode = -1});
}

int loop_cancel_opcode(struct loop *loop, unsigned opcode)
{
    loop_check_owner(loop, __func__);
    return opcode >= OPCODES_MAX ? -EINVAL : cancel_many(loop, (struct many){.fd = -1, .opcode = (int)opcode});
}

int loop_cancel_all(struct loop *loop)
{
    loop_check_owner(loop, __func__);
    return cancel_many(loop, (struct many){.fd = -1, .opcode = -1});
}
