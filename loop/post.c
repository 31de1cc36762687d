/* loop/post.c: functions handed to the loop by other threads.
 *
 * A list of blocks under a lock of one word; the loop takes the whole list once a turn. A post costs one locked
 * instruction: glibc's mutex takes another to unlock, and a third would be needed before looking whether the loop
 * sleeps. Here the lock also orders that: the loop says that it is about to sleep, and then looks for posts under the
 * lock. If a thread has had the lock before, the loop sees its post and stays awake; if it gets it after, it sees that
 * the loop sleeps, because it got the lock from it.
 *
 * The lock is held for a few instructions, never while memory is asked for. Whoever finds it taken spins a little, as
 * long as its holder may be at work on another CPU; then it gives its own CPU away; then it sleeps, so that a holder of
 * lower real-time priority gets on. */
#include "loop/loop_private.h"

#include <errno.h>
#include <string.h>

enum {
    BLOCK_POSTS = 64,
    BLOCKS_KEPT_MAX = 64, /* of the blocks that the loop has run through in one turn */
    SPINS_MAX = 64,
    LINE = 64, /* of the cache */
};

struct post {
    loop_post_cb *cb;
    void         *arg;
};

struct post_block {
    struct post_block *next;
    struct post        posts[BLOCK_POSTS];
};

struct post_queue {
    /* Under the lock, in a cache line of their own. */
    uint32_t           locked;              /* atomic */
    uint32_t           count;               /* atomic: posts that wait. A list begins with a fresh block */
    uint32_t           limit;               /* 0 when closed */
    bool               closed;              /* the loop is being destroyed */
    struct post_block *first, *last;        /* as many blocks as count needs */
    struct post_block *spare;               /* empty blocks */
    uint64_t           full;                /* atomic: posts refused */
    char               line_end[LINE - 48]; /* what follows is of the loop's thread */

    uint64_t           taken;
    struct post_block *done; /* blocks that it has run through */
};

/* ---- the lock */

static inline void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

static inline bool try_lock(struct post_queue *queue)
{
    return __atomic_exchange_n(&queue->locked, 1, __ATOMIC_ACQUIRE) == 0;
}

static __attribute__((noinline, cold)) void lock_slowly(struct post_queue *queue)
{
    uint32_t attempt = 0;

    do {
        while (__atomic_load_n(&queue->locked, __ATOMIC_RELAXED) != 0) {
            if (attempt < SPINS_MAX)
                relax();
            else
                sys_back_off(attempt - SPINS_MAX);
            attempt++;
        }
    } while (!try_lock(queue));
}

static inline void lock(struct post_queue *queue)
{
    if (unlikely(!try_lock(queue)))
        lock_slowly(queue);
}

static inline void unlock(struct post_queue *queue)
{
    __atomic_store_n(&queue->locked, 0, __ATOMIC_RELEASE);
}

/* ---- life */

int post_queue_init(struct loop *loop, uint32_t limit)
{
    struct post_queue *queue = memory_new_aligned(loop, LINE, sizeof(*queue));

    if (queue == NULL)
        return -ENOMEM;
    memset(queue, 0, sizeof(*queue));
    queue->limit = limit;
    loop->posts = queue;
    loop->posts_waiting = &queue->count;
    return 0;
}

static void blocks_free(struct loop *loop, struct post_block *block)
{
    while (block != NULL) {
        struct post_block *next = block->next;

        memory_free(loop, block);
        block = next;
    }
}

void post_queue_destroy(struct loop *loop)
{
    struct post_queue *queue = loop->posts;

    blocks_free(loop, queue->first);
    blocks_free(loop, queue->spare);
    blocks_free(loop, queue->done);
    memory_free_aligned(loop, queue);
}

void post_queue_lock(struct loop *loop, bool locked)
{
    if (locked)
        lock(loop->posts);
    else
        unlock(loop->posts);
}

void post_queue_forked(struct loop *loop)
{
    struct post_queue *queue = loop->posts;

    if (queue->last != NULL) {
        queue->last->next = queue->spare;
        queue->spare = queue->first;
    }
    queue->first = NULL;
    queue->last = NULL;
    __atomic_store_n(&queue->count, 0, __ATOMIC_RELAXED);
}

uint64_t post_bytes_max(uint32_t limit)
{
    /* As many may be run through while others wait; each list has one block that is not full. */
    uint64_t blocks = 2 * (((uint64_t)limit + BLOCK_POSTS - 1) / BLOCK_POSTS);

    return sizeof(struct post_queue) + 2 * LINE + blocks * sizeof(struct post_block);
}

void post_stats(const struct loop *loop, struct loop_stats *ret_stats)
{
    const struct post_queue *queue = loop->posts;

    ret_stats->posts = queue->taken + __atomic_load_n(&queue->count, __ATOMIC_RELAXED);
    ret_stats->posts_full = __atomic_load_n(&queue->full, __ATOMIC_RELAXED);
}

/* ---- posting: any thread */

/* A block that the loop's thread has read is in the cache of its CPU. Each post would wait for a line of it, as the
 * next one's lock waits for all stores; asked for one block ahead they come side by side. */
static inline void fetch_ahead(const struct post_block *block)
{
    (void)block;
#if defined(__x86_64__)
    for (size_t i = 0; block != NULL && i < sizeof(*block); i += LINE)
        __asm__ volatile("prefetchw %0" : : "m"(((const char *)block)[i]));
#endif
}

static void link_spare(struct post_queue *queue)
{
    struct post_block *block = queue->spare;

    queue->spare = block->next;
    block->next = NULL;
    if (queue->last == NULL)
        queue->first = block;
    else
        queue->last->next = block;
    queue->last = block;
    fetch_ahead(queue->spare);
}

/* Under the lock, which it gives back if there is no room for one more post. */
static __attribute__((noinline)) int make_room(struct loop *loop, struct post_queue *queue)
{
    int r;

    while (!queue->closed && queue->count < queue->limit) {
        struct post_block *block;

        if (queue->count % BLOCK_POSTS != 0) /* another thread was faster */
            return 0;
        if (queue->spare != NULL) {
            link_spare(queue);
            return 0;
        }
        unlock(queue);
        block = memory_resize(loop, NULL, sizeof(*block));
        if (block == NULL)
            return -ENOMEM;
        lock(queue);
        block->next = queue->spare;
        queue->spare = block;
    }
    r = queue->closed ? -ECANCELED : -ENOBUFS;
    if (r == -ENOBUFS)
        __atomic_store_n(&queue->full, queue->full + 1, __ATOMIC_RELAXED);
    unlock(queue);
    return r;
}

/* Under the lock, with room; gives the lock back. Returns whether the loop sleeps, which the lock orders: see above. */
static inline bool append(struct loop *loop, struct post_queue *queue, loop_post_cb *cb, void *arg)
{
    struct post *post = &queue->last->posts[queue->count % BLOCK_POSTS];
    bool         asleep;

    post->cb = cb;
    post->arg = arg;
    __atomic_store_n(&queue->count, queue->count + 1, __ATOMIC_RELAXED);
    asleep = __atomic_load_n(&loop->sleeping, __ATOMIC_RELAXED) != 0;
    unlock(queue);
    return asleep;
}

static __attribute__((noinline)) int post_slowly(struct loop *loop, loop_post_cb *cb, void *arg, bool locked)
{
    struct post_queue *queue = loop->posts;
    int                r;

    if (!locked)
        lock_slowly(queue);
    r = make_room(loop, queue);
    if (r == 0 && append(loop, queue, cb, arg))
        wake_if_asleep(loop);
    return r;
}

static __attribute__((noinline)) int woken(struct loop *loop)
{
    wake_if_asleep(loop);
    return 0;
}

/* No call but last ones, so that no register has to be saved. */
int loop_post(struct loop *loop, loop_post_cb *cb, void *arg)
{
    struct post_queue *queue = loop->posts;

    if (unlikely(cb == NULL))
        return -EINVAL;
    if (unlikely(!try_lock(queue)))
        return post_slowly(loop, cb, arg, false);
    if (unlikely(queue->count % BLOCK_POSTS == 0 || queue->count >= queue->limit))
        return post_slowly(loop, cb, arg, true);
    if (unlikely(append(loop, queue, cb, arg)))
        return woken(loop);
    return 0;
}

/* ---- the loop's thread */

bool post_waiting_before_sleep(const struct loop *loop)
{
    struct post_queue *queue = loop->posts;
    bool               waiting;

    lock(queue);
    waiting = queue->count > 0;
    unlock(queue);
    return waiting;
}

/* Those that were done go back by the way. */
static struct post_block *take(struct post_queue *queue, uint32_t *ret_count)
{
    struct post_block *first, *done_last = queue->done;

    while (done_last != NULL && done_last->next != NULL)
        done_last = done_last->next;
    lock(queue);
    first = queue->first;
    *ret_count = queue->count;
    if (done_last != NULL) {
        done_last->next = queue->spare;
        queue->spare = queue->done;
    }
    queue->first = NULL;
    queue->last = NULL;
    __atomic_store_n(&queue->count, 0, __ATOMIC_RELAXED);
    unlock(queue);
    queue->done = NULL;
    queue->taken += *ret_count;
    return first;
}

/* Keeps some for the next posts. */
static void give_back(struct loop *loop, struct post_block *blocks)
{
    struct post_block **end = &blocks;

    for (uint32_t i = 0; i < BLOCKS_KEPT_MAX && *end != NULL; i++)
        end = &(*end)->next;
    blocks_free(loop, *end);
    *end = NULL;
    loop->posts->done = blocks;
}

void post_run_slowly(struct loop *loop)
{
    struct post_block *blocks, *block;
    uint32_t           count;

    blocks = take(loop->posts, &count);
    loop->happened = true;
    loop->stats.callbacks += count;
    for (block = blocks; count > 0; block = block->next) {
        uint32_t in_block = count < BLOCK_POSTS ? count : BLOCK_POSTS;

        for (uint32_t i = 0; i < in_block; i++)
            block->posts[i].cb(loop, block->posts[i].arg);
        count -= in_block;
    }
    give_back(loop, blocks);
}

void post_close(struct loop *loop)
{
    lock(loop->posts);
    loop->posts->closed = true;
    loop->posts->limit = 0;
    unlock(loop->posts);
}
