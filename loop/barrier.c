/* loop/barrier.c: operations held back until all one-shot operations started before them have ended.
 *
 * The kernel's own drain (IOSQE_IO_DRAIN) stands still for ever behind a multishot; so the loop holds the operation
 * back itself. Each barrier knows by id whom it waits for: those carry a mark, and tell when they end. */
#include "loop/loop_private.h"

#include <errno.h>

struct barrier {
    struct barrier          *next, *prev;
    struct context_extended *held;
    uint32_t                 waits; /* of those named by ids, not ended yet */
    uint32_t                 count;
    uint64_t                 ids[]; /* in the order of context_walk() */
};
LIST_DEFINE(barrier, struct barrier)

/* Objects look after their own; what may complete often has no end to wait for. */
static bool is_waited_for(const struct context *context)
{
    return !context_is_multishot(context) && context->kind != CONTEXT_RAW && context->kind != CONTEXT_RECV_ZC &&
           (context->flags & CONTEXT_OBJECT) == 0;
}

static uint32_t collect(struct loop *loop, const struct context *held, uint64_t *ids)
{
    uint64_t        slot = 0;
    uint32_t        count = 0;
    struct context *context;

    while ((context = context_walk(&loop->pool, &slot)) != NULL) {
        if (context == held || !is_waited_for(context))
            continue;
        if (ids != NULL) {
            ids[count] = context->id;
            context->flags |= CONTEXT_BARRED;
        }
        count++;
    }
    return count;
}

int barrier_hold(struct loop *loop, struct context_extended *held)
{
    uint32_t        count = collect(loop, &held->base, NULL);
    struct barrier *barrier = memory_resize(loop, NULL, sizeof(*barrier) + count * sizeof(barrier->ids[0]));

    if (barrier == NULL)
        return -ENOMEM;
    *barrier = (struct barrier){.held = held, .waits = count, .count = count};
    (void)collect(loop, &held->base, barrier->ids);
    held->base.state = CONTEXT_HELD;
    if (loop->barriers == NULL) {
        barrier_list_init(barrier);
        loop->barriers = barrier;
    } else {
        barrier_list_append(loop->barriers, barrier);
    }
    if (count == 0)
        barrier_ended(loop, 0);
    return 0;
}

static void unlink_barrier(struct loop *loop, struct barrier *barrier)
{
    struct barrier *next = barrier->next == barrier ? NULL : barrier->next;

    if (loop->barriers == barrier)
        loop->barriers = next;
    barrier_list_remove(barrier);
    memory_free(loop, barrier);
}

/* Its turn has come. */
static void release(struct loop *loop, struct barrier *barrier)
{
    struct context      *context = &barrier->held->base;
    struct io_uring_sqe *sqe = submit_sqe(loop, true);

    if (sqe == NULL) {
        dispatch_settle(loop, context, -ENOMEM, 0);
    } else {
        *sqe = barrier->held->sqe;
        context->state = CONTEXT_ACTIVE;
        submit_sqe_done(loop);
    }
    unlink_barrier(loop, barrier);
}

/* The order in which context_walk() comes by. */
static uint64_t rank(uint64_t id)
{
    return (uint64_t)user_data_mode(id) << UD_SLOT_BITS | user_data_slot(id);
}

static bool names(const struct barrier *barrier, uint64_t id)
{
    uint32_t low = 0, high = barrier->count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (rank(barrier->ids[middle]) < rank(id))
            low = middle + 1;
        else
            high = middle;
    }
    return low < barrier->count && barrier->ids[low] == id;
}

void barrier_ended(struct loop *loop, uint64_t id)
{
    struct barrier *barrier = loop->barriers, *next;
    bool            last = barrier == NULL;

    for (; !last; barrier = next) {
        next = barrier->next;
        last = next == loop->barriers;
        if (id != 0 && names(barrier, id))
            barrier->waits--;
        if (barrier->waits == 0)
            release(loop, barrier);
    }
}

void barrier_withdraw(struct loop *loop, struct context *context)
{
    struct barrier *barrier = loop->barriers;

    while (&barrier->held->base != context)
        barrier = barrier->next;
    unlink_barrier(loop, barrier);
}
