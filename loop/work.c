/* loop/work.c: the work pool: operations that are functions, run on threads.
 *
 * One lock guards queues, counts and the list of items done. Only the loop's thread queues, and starts and ends
 * threads. Items are parts of extended contexts, so that neither to run nor to deliver one needs memory. */
#include "loop/op_start.h"

#include <string.h>

enum {
    THREADS_DEFAULT = 4,
    THREADS_MOST = 1024,
    QUEUE_DEFAULT = 1 << 20,
    QUEUE_MOST = 1 << 28,
    CLASSES = LOOP_WORK_URGENT + 1,
    TERMS_FLAGS_WORK = LOOP_BACKGROUND | LOOP_EXTENDED | LOOP_UNCHAINED,
};

enum item_state {
    ITEM_QUEUED,
    ITEM_RUNNING,
    ITEM_OVER, /* among those done, or taken out of its queue */
};

struct work_queue {
    struct work_item items;
    uint32_t         waiting, running;
    uint32_t         threads_max;
};

struct work_pool {
    pthread_mutex_t   lock;
    pthread_cond_t    called; /* calling, or ending */
    struct loop      *loop;
    struct work_queue queues[CLASSES];
    struct work_item  done;
    int               done_waiting; /* atomic: done is not empty */
    uint64_t          order;
    uint32_t          waiting, waiting_max;
    uint32_t          in_flight; /* of the loop's thread */
    uint64_t          full;
    uint32_t          idle;    /* threads that wait and have not been called */
    bool              calling; /* one has been called and has not noticed yet */
    uint32_t          threads_count, threads_max;
    bool              thread_failed; /* the last time that one was to be started, */
    uint64_t          failed_turn;   /* which was in this turn */
    bool              held; /* in a child, until its objects have let go of what is the parent's: no item begins */
    bool              ending;
    pthread_t         threads[];
};

static uint32_t or_default(uint32_t value, uint32_t otherwise)
{
    return value == 0 ? otherwise : value;
}

int work_options_complete(struct loop_work_options *options)
{
    options->threads_max = or_default(options->threads_max, THREADS_DEFAULT);
    options->queue_max = or_default(options->queue_max, QUEUE_DEFAULT);
    options->default_threads_max = or_default(options->default_threads_max, options->threads_max);
    options->slow_threads_max = or_default(options->slow_threads_max, (options->threads_max + 1) / 2);
    options->urgent_threads_max = or_default(options->urgent_threads_max, options->threads_max);
    if (options->threads_max > THREADS_MOST || options->default_threads_max > THREADS_MOST ||
        options->slow_threads_max > THREADS_MOST || options->urgent_threads_max > THREADS_MOST ||
        options->queue_max > QUEUE_MOST || options->reserved != 0)
        return -EINVAL;
    return 0;
}

/* ---- queues: under the lock */

/* Where threads could not be started, a class that was to leave some to the others still does. */
static uint32_t threads_for(const struct work_pool *pool, const struct work_queue *queue)
{
    if (pool->thread_failed && queue->threads_max < pool->threads_max && queue->threads_max >= pool->threads_count)
        return pool->threads_count > 1 ? pool->threads_count - 1 : 1;
    return queue->threads_max;
}

/* The first item of the class if it may begin. */
static struct work_item *first(struct work_pool *pool, enum loop_work_class work_class)
{
    struct work_queue *queue = &pool->queues[work_class];

    if (item_list_empty(&queue->items) || queue->running >= threads_for(pool, queue))
        return NULL;
    return queue->items.next;
}

static void take_out(struct work_pool *pool, struct work_item *item)
{
    item_list_remove(item);
    pool->queues[item->work_class].waiting--;
    pool->waiting--;
}

/* The item that a free thread runs next; NULL if none may begin. */
static struct work_item *next(struct work_pool *pool)
{
    struct work_item *item = first(pool, LOOP_WORK_URGENT), *slow;

    if (item == NULL) {
        item = first(pool, LOOP_WORK_DEFAULT);
        slow = first(pool, LOOP_WORK_SLOW);
        if (item == NULL || (slow != NULL && slow->order < item->order))
            item = slow;
    }
    return pool->ending || pool->held ? NULL : item;
}

static struct work_item *take(struct work_pool *pool)
{
    struct work_item *item = next(pool);

    if (item == NULL)
        return NULL;
    take_out(pool, item);
    pool->queues[item->work_class].running++;
    item->state = ITEM_RUNNING;
    return item;
}

/* Returns whether the loop has to be told: it knows of those that were done before and not fetched yet. */
static bool finish(struct work_pool *pool, struct work_item *item)
{
    bool tell = item_list_empty(&pool->done);

    pool->queues[item->work_class].running--;
    item->state = ITEM_OVER;
    item_list_append(&pool->done, item);
    __atomic_store_n(&pool->done_waiting, 1, __ATOMIC_SEQ_CST);
    return tell;
}

/* ---- threads */

/* Where an item may begin and a thread waits, one is being called: whoever queues an item sees to that, and whoever
 * takes one sees to it for the next. So a burst of items wakes the threads one by one, at the cost of one system call
 * each, and not one for each item. Returns whether to signal, after unlocking. */
static bool call_thread(struct work_pool *pool)
{
    if (pool->idle == 0 || pool->calling || next(pool) == NULL)
        return false;
    pool->idle--;
    pool->calling = true;
    return true;
}

static struct work_item *wait_for_item(struct work_pool *pool)
{
    struct work_item *item = NULL;

    while (item == NULL && !pool->ending) {
        pool->idle++;
        while (!pool->calling && !pool->ending)
            pthread_cond_wait(&pool->called, &pool->lock);
        if (!pool->calling)
            pool->idle--;
        pool->calling = false;
        item = take(pool);
    }
    return item;
}

static void *worker(void *arg)
{
    struct work_pool *pool = arg;
    struct work_item *item = NULL;
    bool              tell, call;

    sys_thread_name("ringloop-work");
    for (;;) {
        pthread_mutex_lock(&pool->lock);
        tell = item != NULL && finish(pool, item);
        item = take(pool);
        if (item == NULL && !tell)
            item = wait_for_item(pool);
        call = call_thread(pool);
        pthread_mutex_unlock(&pool->lock);
        if (call)
            pthread_cond_signal(&pool->called);
        if (tell)
            wake_if_asleep(pool->loop);
        else if (item == NULL)
            return NULL; /* the pool ends */
        if (item != NULL)
            item->res = item->fn(item->arg);
    }
}

static int pool_create(struct loop *loop)
{
    const struct loop_work_options *options = &loop->options.work;
    struct work_pool               *pool;
    int                             r;

    pool = memory_resize(loop, NULL, sizeof(*pool) + options->threads_max * sizeof(pool->threads[0]));
    if (pool == NULL)
        return -ENOMEM;
    memset(pool, 0, sizeof(*pool));
    pool->loop = loop;
    pool->threads_max = options->threads_max;
    pool->waiting_max = options->queue_max;
    pool->queues[LOOP_WORK_DEFAULT].threads_max = options->default_threads_max;
    pool->queues[LOOP_WORK_SLOW].threads_max = options->slow_threads_max;
    pool->queues[LOOP_WORK_URGENT].threads_max = options->urgent_threads_max;
    for (int i = 0; i < CLASSES; i++)
        item_list_init(&pool->queues[i].items);
    item_list_init(&pool->done);
    r = -pthread_mutex_init(&pool->lock, NULL);
    if (r < 0)
        goto fail_memory;
    r = -pthread_cond_init(&pool->called, NULL);
    if (r < 0)
        goto fail_lock;
    loop->work = pool;
    return 0;
fail_lock:
    pthread_mutex_destroy(&pool->lock);
fail_memory:
    memory_free(loop, pool);
    return r;
}

void work_pool_destroy(struct loop *loop)
{
    struct work_pool *pool = loop->work;

    if (pool == NULL)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->ending = true;
    pthread_mutex_unlock(&pool->lock);
    pthread_cond_broadcast(&pool->called);
    for (uint32_t i = 0; i < pool->threads_count; i++)
        (void)sys_thread_join(pool->threads[i]);
    pthread_cond_destroy(&pool->called);
    pthread_mutex_destroy(&pool->lock);
    memory_free(loop, pool);
    loop->work = NULL;
}

/* ---- queueing: the loop's thread */

/* Whether one more item of the class would not wait for others of it. */
static bool would_begin(const struct work_pool *pool, const struct work_queue *queue)
{
    return queue->running + queue->waiting < threads_for(pool, queue);
}

/* How many threads would be at work now if there were enough. One that is between two items counts as free: it looks
 * for the next before it waits. */
static uint32_t threads_of_use(const struct work_pool *pool)
{
    uint32_t count = 0;

    for (int i = 0; i < CLASSES; i++) {
        const struct work_queue *queue = &pool->queues[i];
        uint32_t                 limit = threads_for(pool, queue), all = queue->running + queue->waiting;

        count += all < limit ? all : limit > queue->running ? limit : queue->running;
    }
    return count;
}

/* 0 also if it could not be started but there are others. */
static int start_thread(struct work_pool *pool)
{
    int r = sys_thread_start(&pool->threads[pool->threads_count], worker, pool);

    pthread_mutex_lock(&pool->lock);
    pool->thread_failed = r < 0;
    pool->failed_turn = pool->loop->stats.turns; /* once a turn is often enough to fail */
    pool->threads_count += r == 0;
    pthread_mutex_unlock(&pool->lock);
    return pool->threads_count > 0 ? 0 : r;
}

/* Room in the queue, and a thread if one more is of use. */
static int prepare(struct work_pool *pool, enum loop_work_class work_class)
{
    bool full, wanted;

    pthread_mutex_lock(&pool->lock);
    full = pool->waiting == pool->waiting_max;
    pool->full += full;
    wanted = pool->threads_count == 0 ||
             (pool->threads_count < pool->threads_max && would_begin(pool, &pool->queues[work_class]) &&
              pool->threads_count <= threads_of_use(pool) &&
              !(pool->thread_failed && pool->failed_turn == pool->loop->stats.turns));
    pthread_mutex_unlock(&pool->lock);
    if (full)
        return -ENOBUFS;
    return wanted ? start_thread(pool) : 0;
}

static void queue(struct work_pool *pool, struct work_item *item)
{
    struct work_queue *queue = &pool->queues[item->work_class];
    bool               call;

    pthread_mutex_lock(&pool->lock);
    item->order = ++pool->order;
    item->state = ITEM_QUEUED;
    item_list_append(&queue->items, item);
    queue->waiting++;
    pool->waiting++;
    call = call_thread(pool);
    pthread_mutex_unlock(&pool->lock);
    if (call)
        pthread_cond_signal(&pool->called);
}

/* ---- operations */

static const struct loop_terms terms_default;

static int check_terms(struct loop *loop, const struct loop_terms *terms)
{
    if ((terms->flags & ~(uint32_t)TERMS_FLAGS_WORK) != 0 || terms->data_size > LOOP_EXTRA_BYTES_MAX ||
        (terms->data_size > 0 && terms->data == NULL) || (loop->chain_open && (terms->flags & LOOP_UNCHAINED) == 0))
        return -EINVAL;
    return terms->release != 0 ? buffer_check_giving(loop, terms->release) : 0;
}

static void fill_context(struct loop *loop, struct context_extended *extended, const struct loop_terms *terms)
{
    struct context *context = &extended->base;

    context->state = CONTEXT_WORKING;
    context->kind = CONTEXT_WORK;
    context->flags = 0;
    context->opcode = OPCODE_NONE;
    context->fd = -1;
    extended->release = terms->release;
    extended->extra_size = (uint16_t)terms->data_size;
    if (terms->data_size > 0)
        memcpy(extended->extra, terms->data, terms->data_size);
    if (terms->release != 0)
        buffer_hand_over(loop, terms->release);
    if ((terms->flags & LOOP_BACKGROUND) != 0) {
        context->flags |= CONTEXT_BACKGROUND;
        loop->background++;
    }
    if (terms->timeout_ns != 0) {
        context->flags |= CONTEXT_DEADLINE;
        context->deadline.deadline_ns = ns_add(loop_time(loop), terms->timeout_ns);
        wheel_start(&loop->wheel, &context->deadline, WHEEL_OP);
    }
}

static loop_id start(struct loop *loop, enum loop_work_class work_class, struct work_item model, loop_cb *cb,
                     const struct loop_terms *terms)
{
    struct context_extended *extended;
    int                      r;

    if (loop->destroying)
        return -ECANCELED;
    if (model.fn == NULL || (unsigned)work_class >= CLASSES || (cb != NULL && !op_cb_is_plain(cb)))
        return -EINVAL;
    r = check_terms(loop, terms);
    if (r < 0)
        return r;
    if (loop_ops_in_flight(loop) == loop->options.ops_max) {
        loop->stats.ops_full++;
        return -ENOBUFS;
    }
    if (loop->work == NULL)
        r = pool_create(loop);
    if (r == 0)
        r = prepare(loop->work, work_class);
    if (r < 0)
        return r;
    extended = context_new_extended(loop);
    if (extended == NULL)
        return -ENOMEM;
    extended->base.cb = cb;
    extended->base.arg = model.arg;
    extended->work = model;
    extended->work.work_class = (uint8_t)work_class;
    fill_context(loop, extended, terms);
    submit_count_in(loop);
    loop->ops_by_opcode[OPCODE_NONE]++;
    loop->work->in_flight++;
    queue(loop->work, &extended->work);
    return (loop_id)extended->base.id;
}

loop_id work_start(struct loop *loop, const char *call, enum loop_work_class work_class, loop_work_fn *fn, loop_cb *cb,
                   void *arg, int *stop, const struct loop_terms *terms)
{
    struct work_item model = {.fn = fn, .arg = arg, .stop = stop};
    loop_id          id;

    loop_check_owner(loop, call);
    id = start(loop, work_class, model, cb, terms == NULL ? &terms_default : terms);
    return id < 0 ? op_refuse(loop, call, terms, (int)id) : id;
}

loop_id loop_work(struct loop *loop, enum loop_work_class work_class, loop_work_fn *fn, loop_cb *cb, void *arg,
                  const struct loop_terms *terms)
{
    return work_start(loop, __func__, work_class, fn, cb, arg, NULL, terms);
}

/* What has begun ends by itself: with its result, or, if it looks at the word, with what stands there first. */
static void ask_to_stop(struct context *context, int *stop)
{
    int none = 0, error = (context->flags & CONTEXT_EXPIRED) != 0 ? -ETIMEDOUT : -ECANCELED;

    if (stop != NULL)
        (void)__atomic_compare_exchange_n(stop, &none, error, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

bool work_cancel(struct loop *loop, struct context *context)
{
    struct work_pool *pool = loop->work;
    struct work_item *item = &context_extended(context)->work;
    bool              queued;

    pthread_mutex_lock(&pool->lock);
    queued = item->state == ITEM_QUEUED;
    if (queued) {
        take_out(pool, item);
        item->state = ITEM_OVER;
    }
    pthread_mutex_unlock(&pool->lock);
    if (!queued) {
        ask_to_stop(context, item->stop);
        return false; /* its result will come */
    }
    pool->in_flight--;
    context->flags |= CONTEXT_CANCELED;
    dispatch_settle(loop, context, -ECANCELED, 0);
    return true;
}

static void deliver(struct loop *loop, struct work_item *item)
{
    struct context    *context = &container_of(item, struct context_extended, work)->base;
    struct loop_result result = {.res = item->res};

    /* The function's result stands as it is: op_finish() must not judge it as the kernel's answer to a cancel. */
    if ((context->flags & CONTEXT_EXPIRED) != 0) {
        context->flags ^= CONTEXT_EXPIRED;
        if (item->stop == NULL || *item->stop != -ECANCELED) /* that was first */
            result.flags = LOOP_TIMED_OUT;
    }
    loop->work->in_flight--;
    op_finish(loop, context, &result);
}

uint32_t work_in_flight(const struct loop *loop)
{
    return loop->work == NULL ? 0 : loop->work->in_flight;
}

bool work_has_results(const struct loop *loop)
{
    return __atomic_load_n(&loop->work->done_waiting, __ATOMIC_SEQ_CST) != 0;
}

/* Only those that are there now: what callbacks start comes in a later turn, however short it is. */
void work_run_slowly(struct loop *loop)
{
    struct work_item done, *item;

    item_list_init(&done);
    pthread_mutex_lock(&loop->work->lock);
    item_list_move(&loop->work->done, &done);
    __atomic_store_n(&loop->work->done_waiting, 0, __ATOMIC_SEQ_CST);
    pthread_mutex_unlock(&loop->work->lock);
    loop->happened = true;
    while ((item = item_list_pop(&done)) != NULL)
        deliver(loop, item);
}

/* ---- fork(2) and new rings */

void work_lock(struct loop *loop, bool lock)
{
    if (loop->work == NULL)
        return;
    if (lock)
        pthread_mutex_lock(&loop->work->lock);
    else
        pthread_mutex_unlock(&loop->work->lock);
}

/* Threads that waited are not there: what they waited on is made anew. */
void work_forked(struct loop *loop)
{
    struct work_pool *pool = loop->work;

    if (pool == NULL)
        return;
    (void)pthread_mutex_init(&pool->lock, NULL);
    (void)pthread_cond_init(&pool->called, NULL);
    pool->threads_count = pool->idle = 0;
    pool->calling = pool->thread_failed = false;
    pool->held = true;
}

/* What ran in the parent is of no use here. */
static void end_running(struct loop *loop, struct context *context)
{
    struct work_item *item = &context_extended(context)->work;

    if (context->state != CONTEXT_WORKING || item->state != ITEM_RUNNING)
        return;
    item->state = ITEM_OVER;
    loop->work->queues[item->work_class].running--;
    loop->work->in_flight--;
    dispatch_settle(loop, context, (context->flags & CONTEXT_OBJECT) != 0 ? -ERESTART : -ECANCELED, 0);
}

/* As many as those that wait can use. */
static uint32_t threads_wanted(struct work_pool *pool)
{
    uint32_t count;

    pthread_mutex_lock(&pool->lock);
    count = pool->waiting == 0 ? 0 : threads_of_use(pool);
    if (count > pool->threads_max)
        count = pool->threads_max;
    count = count > pool->threads_count ? count - pool->threads_count : 0;
    pthread_mutex_unlock(&pool->lock);
    return count;
}

int work_rehome(struct loop *loop)
{
    struct work_pool *pool = loop->work;
    uint64_t          slot = 0;
    struct context   *context;
    int               r = 0;

    if (pool == NULL)
        return 0;
    while ((context = context_walk(&loop->pool, &slot)) != NULL)
        end_running(loop, context);
    for (uint32_t count = threads_wanted(pool); count > 0 && r == 0; count--)
        r = start_thread(pool);
    return r;
}

void work_release(struct loop *loop)
{
    struct work_pool *pool = loop->work;
    bool              call;

    if (pool == NULL)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->held = false;
    call = call_thread(pool);
    pthread_mutex_unlock(&pool->lock);
    if (call)
        pthread_cond_signal(&pool->called);
}

void work_stats(const struct loop *loop, struct loop_stats *stats)
{
    struct work_pool *pool = loop->work;

    if (pool == NULL)
        return;
    pthread_mutex_lock(&pool->lock);
    stats->work_waiting = pool->waiting;
    stats->work_threads = pool->threads_count;
    stats->work_full = pool->full;
    pthread_mutex_unlock(&pool->lock);
}
