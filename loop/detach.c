/* loop/detach.c: taking a descriptor out of the loop, there and then.
 *
 * What has not been submitted is taken back (withdraw.c), what the loop itself holds ends there. The rest the kernel
 * has, and is told to cancel by a call that answers at once; task work that ends requests runs when the ring is
 * entered. Their completions stay in the CQ, to be dispatched in their turn. Operations without a context can only be
 * found by their file, for which the kernel goes through all its requests: that is left out where there are none.
 *
 * How it is known that nothing is left: the kernel finds no request any more, neither waiting nor with a worker, and
 * this twice, with task work run in between, where a request can be on its way from the one to the other. And of every
 * one-shot the completion is there, since disks, links whose turn has not come and, with SQPOLL, workers are where the
 * kernel does not look. */
#include "loop/loop_private.h"

#include <errno.h>
#include <ringloop/fixed.h>

enum { CLEAN_ROUNDS = 2, ROUNDS_AT_ONCE = 3, ROUNDS_MAX = 100000, TASK_WORK_MAX = 1024, IDS_MAX = 32 };
enum { ANY_FD = -2 }; /* instead of a descriptor: all there is */

static const uint64_t patience_ns = 100000000, wait_first_ns = 20000, wait_last_ns = 1000000;

struct detach {
    struct loop *loop;
    int          fd;
    bool         by_file; /* there may be some without a context */
    bool         all;     /* of those, to be asked for all at once */
    unsigned     cq_seen; /* completions up to there have been looked at */
    unsigned     round, left;
    uint64_t     wait_ns, end_ns;
    unsigned     ids_count;    /* more than IDS_MAX: they have to be looked for */
    uint64_t     ids[IDS_MAX]; /* of the operations that are meant */
};

/* ---- which operations */

static bool names(struct context *context, int fd)
{
    if (context->fd == fd && opcode_names_descriptor(context->opcode))
        return true;
    return context_is_extended(context) && context->kind == CONTEXT_ONE_SHOT &&
           sqe_names(&context_extended(context)->sqe, fd);
}

static uint64_t next_in_chain(const struct context *context)
{
    return (context->flags & CONTEXT_CHAINED) != 0 ? context->chain_next : 0;
}

/* A link whose turn has not come can't be cancelled, only what it waits for. */
static bool leads_to(const struct loop *loop, const struct context *context, int fd)
{
    struct context *link = NULL;

    for (uint64_t next = next_in_chain(context); next != 0; next = next_in_chain(link)) {
        link = context_find(&loop->pool, next);
        if (link == NULL || link->state != CONTEXT_ACTIVE)
            return false;
        if (names(link, fd))
            return true;
    }
    return false;
}

static bool is_meant(const struct loop *loop, struct context *context, int fd)
{
    return context->state != CONTEXT_WORKING && (fd == ANY_FD || names(context, fd) || leads_to(loop, context, fd));
}

/* The next of them from *cursor on; NULL at the end. */
static struct context *next_meant(const struct detach *detach, uint64_t *cursor)
{
    struct context *context;

    if (detach->ids_count <= IDS_MAX)
        return *cursor < detach->ids_count ? context_find(&detach->loop->pool, detach->ids[(*cursor)++]) : NULL;
    do
        context = context_walk(&detach->loop->pool, cursor);
    while (context != NULL && !is_meant(detach->loop, context, detach->fd));
    return context;
}

/* ---- what the kernel still has */

static bool in_kernel(const struct context *context)
{
    return (context->state == CONTEXT_ACTIVE || context->state == CONTEXT_PROBING) &&
           (context->flags & (CONTEXT_RESULT_SEEN | CONTEXT_COMPLETED)) == 0;
}

/* Such wait for readiness, where they are found. */
static bool waits_for_readiness(uint8_t opcode)
{
    switch (opcode) {
    case IORING_OP_POLL_ADD:
    case IORING_OP_ACCEPT:
    case IORING_OP_CONNECT:
    case IORING_OP_SEND:
    case IORING_OP_RECV:
    case IORING_OP_SENDMSG:
    case IORING_OP_RECVMSG:
    case IORING_OP_SEND_ZC:
    case IORING_OP_SENDMSG_ZC:
    case IORING_OP_RECV_ZC:
    case IORING_OP_EPOLL_WAIT:
    case IORING_OP_READ_MULTISHOT: return true;
    default: return false;
    }
}

/* Whether one completion of it is the last: what is armed again under the same id has many. */
static bool has_last_completion(const struct context *context)
{
    switch ((enum context_kind)context->kind) {
    case CONTEXT_ONE_SHOT:
    case CONTEXT_RAW:
    case CONTEXT_ZERO_COPY: return true;
    case CONTEXT_LENDING: return context->opcode == IORING_OP_READ;
    case CONTEXT_WORK:
    case CONTEXT_RECV_ZC:
    case CONTEXT_ACCEPT:
    case CONTEXT_RECV:
    case CONTEXT_RECVMSG:
    case CONTEXT_READ:
    case CONTEXT_POLL:
    case CONTEXT_POLL_LEVEL:
    case CONTEXT_TIMEOUT: return false;
    }
    return false;
}

static void note_completion(struct loop *loop, uint64_t user_data, int32_t res, uint32_t cqe_flags)
{
    struct context *context;

    if (user_data_mode(user_data) == UD_DIRECT || user_data_mode(user_data) == UD_FOREIGN)
        return;
    context = context_find(&loop->pool, user_data);
    if (context == NULL || !in_kernel(context) || !has_last_completion(context))
        return;
    if (context->kind == CONTEXT_ZERO_COPY ? (cqe_flags & IORING_CQE_F_NOTIF) != 0 /* the file is of the other */
                                           : (cqe_flags & IORING_CQE_F_MORE) != 0)
        return;
    if (context->kind == CONTEXT_LENDING && res == -ENOBUFS)
        return; /* it may be armed again */
    context->flags |= CONTEXT_COMPLETED;
}

/* From inside a callback, some have been copied and not dispatched. Those dispatched before have retired ids. */
static void look_at_batch(struct loop *loop)
{
    for (unsigned i = 0; i < DISPATCH_BATCH; i++)
        note_completion(loop, loop->completions[i].user_data, loop->completions[i].res, loop->completions[i].flags);
}

static void look_at_cq(struct detach *detach)
{
    const struct io_uring_cq *cq = &detach->loop->ring.uring.cq;
    unsigned                  tail = __atomic_load_n(cq->ktail, __ATOMIC_ACQUIRE);

    while ((int)(tail - detach->cq_seen) > 0) {
        const struct io_uring_cqe *cqe =
            &cq->cqes[(size_t)(detach->cq_seen & cq->ring_mask) << detach->loop->ring.cqe_shift];

        detach->cq_seen += detach->loop->ring.cqe_shift == 0 && (cqe->flags & IORING_CQE_F_32) != 0 ? 2 : 1;
        if ((cqe->flags & IORING_CQE_F_SKIP) == 0)
            note_completion(detach->loop, cqe->user_data, cqe->res, cqe->flags);
    }
}

/* One-shots that the kernel may still have. Where the CQ has no room for completions, its word must do for what it does
 * find. */
static unsigned count_left(const struct detach *detach)
{
    const struct ring *ring = &detach->loop->ring;
    bool               overflown = (ring_sq_flags(ring) & IORING_SQ_CQ_OVERFLOW) != 0;
    uint64_t           cursor = 0;
    unsigned           count = 0;
    struct context    *context;

    while ((context = next_meant(detach, &cursor)) != NULL)
        count += in_kernel(context) && has_last_completion(context) &&
                 !(overflown && waits_for_readiness(context->opcode) && (context->flags & CONTEXT_WAITING) == 0);
    if (ring_has(ring, IORING_SETUP_SQPOLL)) /* shown to the kernel's thread, which has not looked yet */
        count += ring_pending(ring);
    return count;
}

/* ---- asking it */

/* 0 or a count: found and cancelled. -ENOENT. -ETIME: a worker has it, and has been told. */
static int cancel_now(const struct detach *detach, unsigned flags, uint64_t user_data)
{
    struct io_uring_sync_cancel_reg sync = {.addr = user_data, .fd = -1, .flags = flags};

    if ((flags & IORING_ASYNC_CANCEL_FD) != 0) {
        sync.fd = detach->fd & ~LOOP_FIXED_FLAG;
        sync.flags |= (detach->fd & LOOP_FIXED_FLAG) != 0 ? IORING_ASYNC_CANCEL_FD_FIXED : 0;
    }
    return seam_ring_register(detach->loop->ring.uring.ring_fd, IORING_REGISTER_SYNC_CANCEL, &sync, 1);
}

/* Those with a worker do not count where all are asked for at once. -EBADF: it is closed already. */
static bool found_by_file(struct detach *detach)
{
    int r;

    if (detach->fd == ANY_FD) {
        r = cancel_now(detach, IORING_ASYNC_CANCEL_ANY, 0);
        return r != 0 && r != -ENOENT;
    }
    if (detach->all) {
        detach->all = false;
        return cancel_now(detach, IORING_ASYNC_CANCEL_FD | IORING_ASYNC_CANCEL_ALL, 0) != -EBADF;
    }
    r = cancel_now(detach, IORING_ASYNC_CANCEL_FD, 0);
    detach->all = r == 0;
    return r != -ENOENT && r != -EBADF;
}

static bool found_by_id(const struct detach *detach)
{
    uint64_t        cursor = 0;
    bool            found = false;
    struct context *context;

    while ((context = next_meant(detach, &cursor)) != NULL)
        if (in_kernel(context))
            found |= cancel_now(detach, 0, context->id) != -ENOENT;
    return found;
}

/* ---- waiting for it */

static void run_task_work(struct loop *loop)
{
    unsigned count = 0;

    do
        (void)submit_and_wait(loop, &(struct ring_wait){.count = 0});
    while ((ring_sq_flags(&loop->ring) & IORING_SQ_TASKRUN) != 0 && ++count < TASK_WORK_MAX);
}

/* Until one completion more is there; that may be anybody's. Polled I/O ends by being looked at. */
static void wait_a_bit(struct detach *detach)
{
    struct loop     *loop = detach->loop;
    struct ring_wait wait = {.timeout_ns = detach->wait_ns};
    unsigned         ready = ring_ready(&loop->ring);

    if (ready < loop->ring.cq_entries && !ring_has(&loop->ring, IORING_SETUP_IOPOLL))
        wait.count = ready + 1;
    (void)submit_and_wait(loop, &wait);
    detach->wait_ns = detach->wait_ns * 2 < wait_last_ns ? detach->wait_ns * 2 : wait_last_ns;
}

static bool patience_is_over(struct detach *detach)
{
    if (detach->round <= ROUNDS_AT_ONCE)
        return false;
    if (detach->end_ns == 0) {
        detach->end_ns = ns_add(sys_clock_ns(), patience_ns);
        return false;
    }
    return detach->round > ROUNDS_MAX || sys_clock_ns() >= detach->end_ns;
}

/* Asks again for what could not be found or stopped, as after loop_cancel(). */
static void keep_asking(const struct detach *detach)
{
    uint64_t        cursor = 0;
    struct context *context;

    while ((context = next_meant(detach, &cursor)) != NULL)
        if (in_kernel(context))
            cancel_in_kernel(detach->loop, context);
}

/* As long as there are fewer each time, it goes on. */
static unsigned count_progress(struct detach *detach)
{
    unsigned left = count_left(detach);

    if (left < detach->left)
        detach->end_ns = 0;
    detach->left = left;
    return left;
}

static int end_in_kernel(struct detach *detach)
{
    bool     sqpoll = ring_has(&detach->loop->ring, IORING_SETUP_SQPOLL);
    unsigned clean = 0;

    look_at_batch(detach->loop);
    for (;; detach->round++) {
        bool found = detach->by_file && found_by_file(detach);

        look_at_cq(detach);
        found |= found_by_id(detach);
        clean = count_progress(detach) > 0 || found ? 0 : clean + 1;
        if (clean == CLEAN_ROUNDS)
            return 0;
        if (patience_is_over(detach)) {
            keep_asking(detach);
            return -EBUSY;
        }
        if (sqpoll && detach->round == ROUNDS_AT_ONCE) /* what its workers have only its own thread finds */
            keep_asking(detach);
        if (clean == 0 && detach->round >= ROUNDS_AT_ONCE)
            wait_a_bit(detach);
        run_task_work(detach->loop);
    }
}

/* ---- the call */

/* With SQPOLL the kernel's thread may let go of a file just after it has shown the completion, but it does so under the
 * lock that a call takes which looks for the file: so there it is always looked for. */
static int end_in_loop(struct detach *detach)
{
    struct loop    *loop = detach->loop;
    uint64_t        slot = 0;
    uint32_t        contexts = 0;
    int             count = 0;
    struct context *context;

    for (; (context = context_walk(&loop->pool, &slot)) != NULL; contexts++) {
        if (!is_meant(loop, context, detach->fd))
            continue;
        count += cancel_mark(loop, context);
        if (in_kernel(context) && detach->ids_count++ < IDS_MAX)
            detach->ids[detach->ids_count - 1] = context->id;
    }
    detach->by_file =
        ring_has(&loop->ring, IORING_SETUP_SQPOLL) || loop->foreign_used || loop_ops_in_flight(loop) > contexts;
    return count;
}

static int detach_all(struct loop *loop, int fd)
{
    struct detach detach = {
        .loop = loop, .fd = fd, .all = true, .cq_seen = *loop->ring.uring.cq.khead, .wait_ns = wait_first_ns};
    int count, r;

    if (fd < 0)
        return -EBADF;
    shared_adopt(loop);
    if (shared_waiting(loop))
        return -EBUSY;
    count = withdraw_fd(loop, fd);
    if (count < 0)
        return count;
    count += end_in_loop(&detach);
    if (!loop->ring.enabled || (detach.ids_count == 0 && !detach.by_file))
        return count;
    r = end_in_kernel(&detach);
    return r < 0 ? r : count;
}

int detach_everything(struct loop *loop)
{
    struct detach detach = {
        .loop = loop, .fd = ANY_FD, .cq_seen = *loop->ring.uring.cq.khead, .wait_ns = wait_first_ns};
    uint64_t        slot = 0;
    uint32_t        contexts = 0;
    struct context *context;

    for (; (context = context_walk(&loop->pool, &slot)) != NULL; contexts++)
        if (in_kernel(context) && detach.ids_count++ < IDS_MAX)
            detach.ids[detach.ids_count - 1] = context->id;
    detach.by_file = loop->foreign_used || loop_ops_in_flight(loop) > contexts;
    return detach.ids_count == 0 && !detach.by_file ? 0 : end_in_kernel(&detach);
}

int loop_detach(struct loop *loop, int fd)
{
    uint64_t        slot = 0;
    struct context *context;
    int             other;

    loop_check_owner(loop, __func__);
    other = loop_file_lookup(loop, fd); /* by which a file object may read and write */
    while ((context = context_walk(&loop->pool, &slot)) != NULL)
        if ((context->flags & CONTEXT_OBJECT) != 0 &&
            (is_meant(loop, context, fd) || (other >= 0 && is_meant(loop, context, other))))
            return -EPERM;
    return detach_all(loop, fd);
}
