/* loop/submit.c: the submit policy: the one place that decides when to enter the kernel, and counts why.
 *
 * SQEs go straight into the SQ. Where it has no room, or the ring is not enabled yet, they queue in the backlog, in
 * order, and as long as that holds anything all later ones queue behind it. SQEs linked to each other always reach the
 * kernel in one submission. */
#include "loop/op_start.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static size_t sqe_bytes(const struct loop *loop)
{
    return sizeof(struct io_uring_sqe) << loop->ring.sqe_shift;
}

int sqe_queue_reserve(struct loop *loop, struct sqe_queue *queue, uint32_t count)
{
    struct io_uring_sqe *sqes;
    uint32_t             room = queue->room == 0 ? 64 : queue->room;

    if (queue->head > 0 && (queue->count == 0 || queue->head + queue->count + count > queue->room)) {
        memmove(queue->sqes, sqe_queue_at(loop, queue, 0), queue->count * sqe_bytes(loop));
        queue->head = 0;
    }
    if (queue->count + count <= queue->room)
        return 0;
    while (room < queue->count + count)
        room *= 2;
    sqes = memory_resize(loop, queue->sqes, room * sqe_bytes(loop));
    if (sqes == NULL)
        return -ENOMEM;
    queue->sqes = sqes;
    queue->room = room;
    return 0;
}

struct io_uring_sqe *sqe_queue_next(struct loop *loop, struct sqe_queue *queue)
{
    struct io_uring_sqe *sqe;

    if (sqe_queue_reserve(loop, queue, 1) < 0)
        return NULL;
    sqe = sqe_queue_at(loop, queue, queue->count++);
    if (loop->ring.sqe_shift != 0)
        memset(sqe + 1, 0, sizeof(*sqe));
    return sqe;
}

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* Whether what is started now goes into the SQ, as far as that has room. */
static bool goes_to_sq(const struct loop *loop)
{
    return !loop->chain_open && !loop->destroying && !loop->moving && loop->backlog.count == 0;
}

/* Modes in which SQEs must not be written without looking, or not as many. */
static __attribute__((noinline, cold)) uint32_t special_room(const struct loop *loop, uint32_t room)
{
    if (loop->ring.sqe_shift != 0 || loop->mode.restricted)
        return 0;
    return least(room, ring_free(&loop->ring)); /* SQPOLL: what was sent may still be in the way */
}

void submit_room_update(struct loop *loop)
{
    uint32_t unsent = ring_unsent(&loop->ring), room;

    loop->sqe_room = 0;
    if (!goes_to_sq(loop) || unsent >= loop->batch)
        return;
    ring_wrap(&loop->ring);
    /* The last of a batch takes the long way, which submits it. */
    room = least(loop->batch - unsent - 1, (uint32_t)(loop->ring.sqes_end - loop->ring.sqe_next));
    if (unlikely(loop->room_is_special))
        room = special_room(loop, room);
    loop->sqe_room = (int32_t)least(room, loop->options.ops_max - loop_ops_in_flight(loop));
}

/* With SQE_MIXED: in the backlog its two halves count one each. */
static bool is_wide(const struct loop *loop, const struct io_uring_sqe *sqe)
{
    return ring_has(&loop->ring, IORING_SETUP_SQE_MIXED) && op_is_made_wide(sqe->opcode);
}

/* The SQEs at the front of the backlog that must not be parted: one, or a whole chain. */
static uint32_t backlog_run(const struct loop *loop)
{
    const struct sqe_queue *queue = &loop->backlog;
    uint32_t                count = 1;

    if (is_wide(loop, sqe_queue_at(loop, queue, 0)))
        return 2;
    while (count < queue->count &&
           (sqe_queue_at(loop, queue, count - 1)->flags & (IOSQE_IO_LINK | IOSQE_IO_HARDLINK)) != 0)
        count++;
    return count;
}

/* Copies SQEs into the SQ, which has room for them. */
static void put(struct loop *loop, const struct io_uring_sqe *sqes, uint32_t count)
{
    if (is_wide(loop, sqes)) {
        memcpy(ring_next_wide_sqe(&loop->ring), sqes, 2 * sizeof(sqes[0]));
        return;
    }
    for (uint32_t i = 0; i < count; i++)
        memcpy(ring_next_sqe(&loop->ring), sqes + ((size_t)i << loop->ring.sqe_shift), sqe_bytes(loop));
}

/* Moves what fits into the SQ. Returns whether anything moved. */
static bool backlog_move(struct loop *loop)
{
    struct sqe_queue *queue = &loop->backlog;
    bool              moved = false;

    while (queue->count > 0 && !loop->moving) {
        const struct io_uring_sqe *first = sqe_queue_at(loop, queue, 0);
        uint32_t                   run = backlog_run(loop);

        if ((is_wide(loop, first) ? ring_wide_places(&loop->ring) : run) > ring_free(&loop->ring))
            break;
        put(loop, first, run);
        queue->head += run;
        queue->count -= run;
        moved = true;
    }
    return moved;
}

static void count_enter(struct loop *loop, enum submit_reason reason)
{
    loop->stats.enters++;
    switch (reason) {
    case SUBMIT_BATCH_FULL: loop->stats.enters_batch_full++; return;
    case SUBMIT_DEADLINE: loop->stats.enters_deadline++; return;
    case SUBMIT_WAIT: loop->stats.enters_wait++; return;
    case SUBMIT_SQ_FULL: loop->stats.enters_sq_full++; return;
    case SUBMIT_ASKED: loop->stats.enters_asked++; return;
    }
}

/* Errors after which the loop cannot keep its contract. */
static void check_fatal(int r)
{
    if (r == -ETIME || r == -EINTR || r == -EAGAIN || r == -EBUSY || r == -ENOMEM)
        return;
    if (r == -EEXIST)
        check_misuse("io_uring_enter", "the loop is used on a thread that does not own it");
    if (r == -EBADR)
        check_misuse("io_uring_enter", "the kernel had no memory for completions and has lost some (EBADR)");
    fprintf(stderr, "ringloop: io_uring_enter failed: %s\n", strerror(-r));
    check_misuse("io_uring_enter", "the ring is of no use any more; was its descriptor closed?");
}

static void count_overflow(struct loop *loop)
{
    loop->stats.cq_overflows++;
    mode_overflown(loop);
    observe_error(loop, &(struct loop_error){.event = LOOP_ERROR_OVERFLOW, .value = loop->stats.cq_overflows});
}

static int enter(struct loop *loop, enum submit_reason reason, const struct ring_wait *wait)
{
    unsigned before = ring_unsent(&loop->ring);
    int      r;

    if (wait != NULL && (ring_sq_flags(&loop->ring) & IORING_SQ_CQ_OVERFLOW) != 0)
        count_overflow(loop); /* this call flushes it */
    if (loop_observed(loop))
        observe_submit(loop, reason);
    r = ring_enter(&loop->ring, wait);
    if (!loop->ring.left_out)
        count_enter(loop, reason);
    if (unlikely(r < 0)) {
        check_fatal(r);
        observe_enter_failed(loop, r, before);
    }
    loop->stats.sqes_submitted += before - ring_unsent(&loop->ring);
    loop->pending_since = 0;
    return r;
}

int submit_now(struct loop *loop, enum submit_reason reason)
{
    uint64_t before = loop->stats.sqes_submitted;
    int      r = 0;

    if (!loop->ring.enabled || loop->moving)
        return -EAGAIN;
    backlog_move(loop);
    while (ring_unsent(&loop->ring) > 0) {
        r = enter(loop, reason, NULL);
        if (r <= 0)
            break;
        backlog_move(loop);
    }
    submit_room_update(loop);
    return r < 0 && r != -EINTR ? r : (int)(loop->stats.sqes_submitted - before);
}

/* If that is more than the SQ holds, all but the last lot go first. Returns whether it is empty. */
static bool backlog_sent(struct loop *loop)
{
    backlog_move(loop);
    if (loop->backlog.count > 0)
        (void)submit_now(loop, SUBMIT_SQ_FULL);
    if (loop->backlog.count > 0 && ring_has(&loop->ring, IORING_SETUP_SQPOLL)) {
        int r = ring_wait_for_room(&loop->ring);

        if (r < 0)
            check_fatal(r);
    }
    return loop->backlog.count == 0;
}

int submit_and_wait(struct loop *loop, struct ring_wait *wait)
{
    int r;

    if (unlikely(loop->backlog.count > 0) && !backlog_sent(loop))
        wait->count = 0;
    r = enter(loop, SUBMIT_WAIT, wait);
    submit_room_update(loop);
    return r;
}

void submit_room_gone(struct loop *loop)
{
    if (goes_to_sq(loop) && loop->ring.enabled && ring_unsent(&loop->ring) >= loop->batch)
        (void)submit_now(loop, loop->policy.batch != 0 ? SUBMIT_BATCH_FULL : SUBMIT_SQ_FULL);
    else
        submit_room_update(loop);
}

struct io_uring_sqe *submit_sqe_slowly(struct loop *loop, bool unchained)
{
    if (loop->chain_open && !unchained)
        return sqe_queue_next(loop, &loop->chain);
    if (goes_to_sq(loop)) {
        if (ring_unsent(&loop->ring) >= loop->batch || ring_free(&loop->ring) == 0)
            (void)submit_now(loop, SUBMIT_SQ_FULL);
        loop->sqe_room = -1; /* to be looked at anew when it is filled */
        if (ring_free(&loop->ring) > 0)
            return ring_next_sqe(&loop->ring);
    }
    loop->stats.sqes_backlogged++;
    return sqe_queue_next(loop, &loop->backlog);
}

struct io_uring_sqe *submit_wide_sqe(struct loop *loop, bool unchained)
{
    uint32_t at = loop->backlog.count;

    if (loop->ring.sqe_shift != 0)
        return submit_sqe(loop, unchained);
    if (goes_to_sq(loop)) {
        if (ring_unsent(&loop->ring) >= loop->batch || ring_free(&loop->ring) < ring_wide_places(&loop->ring))
            (void)submit_now(loop, SUBMIT_SQ_FULL);
        loop->sqe_room = -1;
        if (ring_free(&loop->ring) >= ring_wide_places(&loop->ring))
            return ring_next_wide_sqe(&loop->ring);
    }
    if (sqe_queue_reserve(loop, &loop->backlog, 2) < 0)
        return NULL;
    loop->stats.sqes_backlogged++;
    loop->backlog.count += 2;
    return sqe_queue_at(loop, &loop->backlog, at);
}

int submit_block(struct loop *loop, const struct io_uring_sqe *sqes, uint32_t count)
{
    if (loop->backlog.count == 0 && ring_free(&loop->ring) < count)
        (void)submit_now(loop, SUBMIT_SQ_FULL);
    if (loop->backlog.count == 0 && ring_free(&loop->ring) >= count && !loop->moving) {
        put(loop, sqes, count);
        submit_room_update(loop);
        if (ring_unsent(&loop->ring) >= loop->batch)
            (void)submit_now(loop, loop->policy.batch != 0 ? SUBMIT_BATCH_FULL : SUBMIT_SQ_FULL);
        return 0;
    }
    if (sqe_queue_reserve(loop, &loop->backlog, count) < 0)
        return -ENOMEM;
    memcpy(sqe_queue_at(loop, &loop->backlog, loop->backlog.count), sqes, count * sqe_bytes(loop));
    loop->backlog.count += count;
    loop->stats.sqes_backlogged += count;
    submit_room_update(loop);
    return 0;
}

void submit_deadline_check(struct loop *loop)
{
    uint64_t now_ns;

    if (ring_unsent(&loop->ring) == 0 && loop->backlog.count == 0)
        return;
    now_ns = sys_clock_ns();
    if (loop->pending_since == 0)
        loop->pending_since = now_ns;
    else if (now_ns - loop->pending_since >= loop->policy.deadline_ns)
        (void)submit_now(loop, SUBMIT_DEADLINE);
}

int loop_submit(struct loop *loop)
{
    op_check_thread(loop, __func__);
    if (shared_elsewhere(loop)) {
        wake_if_asleep(loop); /* the loop's thread submits */
        return 0;
    }
    if (loop->chain_open)
        return -EBUSY;
    return submit_now(loop, SUBMIT_ASKED);
}

void submit_batch_update(struct loop *loop)
{
    uint32_t batch = loop->policy.batch;

    loop->batch = batch == 0 || batch > loop->ring.sq_entries ? loop->ring.sq_entries : batch;
    submit_room_update(loop);
}

int loop_submit_policy_set(struct loop *loop, const struct loop_submit_policy *policy)
{
    loop_check_owner(loop, __func__);
    if (policy == NULL || policy->min_wait_batch > loop->ring.cq_entries)
        return -EINVAL;
    loop->policy = *policy;
    submit_batch_update(loop);
    return 0;
}
