/* loop/shared.c: shared loops: other threads start and cancel operations.
 *
 * Nothing of the loop is shared but what is in here: contexts that other threads take and fill in, and a queue of what
 * they ask for. The loop's thread goes through the queue before it waits; it alone touches the SQ, the wheel and all
 * the rest. So its own operations cost what they cost on any loop, and no lock is held while a callback runs. What a
 * thread has started or cancelled comes in the order of its calls. */
#include "loop/loop_private.h"

#include <errno.h>

struct asked {
    struct context_extended *start; /* NULL: cancel id */
    loop_id                  id;
};

struct asked_list {
    struct asked *asked;
    uint32_t      count, room;
};

struct shared {
    pthread_mutex_t      lock;
    struct context_slabs slabs; /* under lock */
    uint64_t             bytes;
    struct asked_list    waiting; /* filled by any thread, under lock; its count is also looked at without */
    uint64_t             full;
    struct loop_stats    stats; /* as they were when the queue was last gone through; under lock */
    bool                 closed;

    /* The loop's alone. */
    struct asked_list running; /* changes places with waiting */
    uint32_t          running_head;
    struct context   *freed; /* to go back under the lock */
    struct loop_task  again;
    bool              stuck; /* for want of memory, until again has run */
};

static void try_again(struct loop *loop, struct loop_task *task)
{
    struct shared *shared = container_of(task, struct shared, again);

    shared->stuck = false;
    shared_queue_adopt(loop);
}

int shared_init(struct loop *loop)
{
    struct shared *shared = memory_resize(loop, NULL, sizeof(*shared));
    int            r;

    if (shared == NULL)
        return -ENOMEM;
    memset(shared, 0, sizeof(*shared));
    r = -pthread_mutex_init(&shared->lock, NULL);
    if (r < 0) {
        memory_free(loop, shared);
        return r;
    }
    shared->again.run = try_again;
    loop->shared = shared;
    loop->pool.shared = shared;
    return 0;
}

void shared_destroy(struct loop *loop)
{
    struct shared *shared = loop->shared;

    if (shared == NULL)
        return;
    context_slabs_destroy(loop, &shared->slabs);
    memory_free(loop, shared->waiting.asked);
    memory_free(loop, shared->running.asked);
    pthread_mutex_destroy(&shared->lock);
    memory_free(loop, shared);
}

void shared_close(struct loop *loop)
{
    if (loop->shared == NULL)
        return;
    pthread_mutex_lock(&loop->shared->lock);
    loop->shared->closed = true;
    pthread_mutex_unlock(&loop->shared->lock);
}

static uint32_t waiting_count(const struct shared *shared)
{
    return __atomic_load_n(&shared->waiting.count, __ATOMIC_SEQ_CST);
}

static uint32_t running_count(const struct shared *shared)
{
    return shared->running.count - shared->running_head;
}

bool shared_queue_filled(const struct shared *shared)
{
    return running_count(shared) > 0 || waiting_count(shared) > 0;
}

static bool has_room(const struct loop *loop)
{
    return loop_ops_in_flight(loop) < loop->options.ops_max && !loop->shared->stuck;
}

bool shared_queue_at_hand(const struct loop *loop)
{
    return shared_queue_filled(loop->shared) && has_room(loop);
}

/* ---- other threads */

int shared_take(struct loop *loop, struct context_extended **ret_extended)
{
    struct shared  *shared = loop->shared;
    struct context *context;
    int             r = 0;

    pthread_mutex_lock(&shared->lock);
    if (shared->closed) {
        r = -ECANCELED;
    } else if (shared->waiting.count >= loop->options.ops_max) {
        shared->full++;
        r = -ENOBUFS;
    } else if (shared->slabs.free == NULL) {
        r = context_slab_add(loop, &shared->slabs, UD_EXTENDED, CONTEXT_SHARED_SLOT, &shared->bytes);
    }
    if (r == 0) {
        context = shared->slabs.free;
        shared->slabs.free = context->arg;
        *ret_extended = context_extended(context);
    }
    pthread_mutex_unlock(&shared->lock);
    return r;
}

void shared_give_back(struct loop *loop, struct context_extended *extended)
{
    struct shared *shared = loop->shared;

    memory_free(loop, extended->heap);
    extended->heap = NULL;
    extended->message = false;
    pthread_mutex_lock(&shared->lock);
    extended->base.arg = shared->slabs.free;
    shared->slabs.free = &extended->base;
    pthread_mutex_unlock(&shared->lock);
}

static int push(struct loop *loop, struct asked asked)
{
    struct asked_list *list = &loop->shared->waiting;

    if (loop->shared->closed)
        return -ECANCELED;
    if (list->count == list->room) {
        uint32_t      room = list->room == 0 ? 64 : 2 * list->room;
        struct asked *memory = memory_resize(loop, list->asked, room * sizeof(memory[0]));

        if (memory == NULL)
            return -ENOMEM;
        list->asked = memory;
        list->room = room;
    }
    list->asked[list->count] = asked;
    __atomic_store_n(&list->count, list->count + 1, __ATOMIC_SEQ_CST);
    return 0;
}

static int ask(struct loop *loop, struct asked asked)
{
    int r;

    pthread_mutex_lock(&loop->shared->lock);
    r = push(loop, asked);
    pthread_mutex_unlock(&loop->shared->lock);
    if (r == 0)
        wake_if_asleep(loop);
    return r;
}

int shared_send(struct loop *loop, struct context_extended *extended)
{
    return ask(loop, (struct asked){.start = extended});
}

int shared_cancel(struct loop *loop, loop_id id)
{
    return ask(loop, (struct asked){.id = id});
}

uint64_t shared_bytes(struct shared *shared)
{
    uint64_t bytes;

    pthread_mutex_lock(&shared->lock);
    bytes = shared->bytes;
    pthread_mutex_unlock(&shared->lock);
    return bytes;
}

void shared_stats(struct shared *shared, struct loop_stats *ret_stats)
{
    pthread_mutex_lock(&shared->lock);
    *ret_stats = shared->stats;
    pthread_mutex_unlock(&shared->lock);
}

/* ---- the loop's thread */

struct context *shared_context(struct shared *shared, uint32_t slot)
{
    struct context *context = NULL;

    slot &= ~(uint32_t)CONTEXT_SHARED_SLOT;
    pthread_mutex_lock(&shared->lock); /* for the table, which may grow */
    if ((slot >> CONTEXT_SLAB_SHIFT) < shared->slabs.slab_count)
        context = context_in_slab(&shared->slabs, slot, sizeof(struct context_extended));
    pthread_mutex_unlock(&shared->lock);
    return context;
}

void shared_free(struct loop *loop, struct context *context)
{
    context->arg = loop->shared->freed;
    loop->shared->freed = context;
}

static void give_back_freed(struct shared *shared)
{
    while (shared->freed != NULL) {
        struct context *context = shared->freed;

        shared->freed = context->arg;
        context->arg = shared->slabs.free;
        shared->slabs.free = context;
    }
}

/* What waits becomes what is run through. */
static void fetch(struct loop *loop)
{
    struct shared    *shared = loop->shared;
    struct loop_stats stats;

    stats_fill(loop, &stats);
    pthread_mutex_lock(&shared->lock);
    give_back_freed(shared);
    loop->stats.ops_full += shared->full;
    shared->full = 0;
    stats.context_bytes += shared->bytes;
    shared->stats = stats;
    if (running_count(shared) == 0) {
        struct asked_list list = shared->running;

        shared->running = shared->waiting;
        shared->running_head = 0;
        shared->waiting.asked = list.asked;
        shared->waiting.room = list.room;
        __atomic_store_n(&shared->waiting.count, 0, __ATOMIC_SEQ_CST);
    }
    pthread_mutex_unlock(&shared->lock);
}

void shared_queue_adopt(struct loop *loop)
{
    struct shared *shared = loop->shared;

    fetch(loop);
    while (running_count(shared) > 0) {
        struct asked asked = shared->running.asked[shared->running_head];

        if (asked.start != NULL && !has_room(loop))
            break;
        if (asked.start != NULL ? !op_adopt(loop, asked.start) : cancel_id(loop, asked.id) == -ENOMEM) {
            shared->stuck = true;
            loop_task_retry(loop, &shared->again);
            break;
        }
        shared->running_head++;
    }
}
