/* loop/post.c: functions handed to the loop by other threads.
 *
 * Two arrays: one fills under a lock while the loop runs through the other; they change places once a turn, so that a
 * burst of posts costs the loop one locking. */
#include "loop/loop_private.h"

#include <errno.h>

int post_queue_init(struct loop *loop, uint32_t limit)
{
    loop->posts.limit = limit;
    return -pthread_mutex_init(&loop->posts.lock, NULL);
}

void post_queue_destroy(struct loop *loop)
{
    memory_free(loop, loop->posts.waiting);
    memory_free(loop, loop->posts.running);
    pthread_mutex_destroy(&loop->posts.lock);
}

void post_queue_lock(struct loop *loop, bool lock)
{
    if (lock)
        pthread_mutex_lock(&loop->posts.lock);
    else
        pthread_mutex_unlock(&loop->posts.lock);
}

void post_queue_forked(struct loop *loop)
{
    __atomic_store_n(&loop->posts.waiting_count, 0, __ATOMIC_SEQ_CST);
}

bool post_waiting(const struct loop *loop)
{
    return __atomic_load_n(&loop->posts.waiting_count, __ATOMIC_SEQ_CST) > 0;
}

static int push(struct loop *loop, loop_post_cb *cb, void *arg)
{
    struct post_queue *queue = &loop->posts;
    uint32_t           count = queue->waiting_count;

    if (queue->closed)
        return -ECANCELED;
    if (count == queue->limit) {
        __atomic_store_n(&queue->full, queue->full + 1, __ATOMIC_RELAXED);
        return -ENOBUFS;
    }
    if (count == queue->waiting_room) {
        uint32_t     room = count == 0 ? 64 : 2 * count;
        struct post *posts = memory_resize(loop, queue->waiting, (size_t)room * sizeof(posts[0]));

        if (posts == NULL)
            return -ENOMEM;
        queue->waiting = posts;
        queue->waiting_room = room;
    }
    queue->waiting[count] = (struct post){.cb = cb, .arg = arg};
    __atomic_store_n(&queue->count, queue->count + 1, __ATOMIC_RELAXED);
    __atomic_store_n(&queue->waiting_count, count + 1, __ATOMIC_SEQ_CST);
    return 0;
}

int loop_post(struct loop *loop, loop_post_cb *cb, void *arg)
{
    int r;

    if (cb == NULL)
        return -EINVAL;
    pthread_mutex_lock(&loop->posts.lock);
    r = push(loop, cb, arg);
    pthread_mutex_unlock(&loop->posts.lock);
    if (r == 0)
        wake_if_asleep(loop);
    return r;
}

void post_run(struct loop *loop)
{
    struct post_queue *queue = &loop->posts;
    struct post       *posts;
    uint32_t           count, room;

    if (!post_waiting(loop))
        return;
    pthread_mutex_lock(&queue->lock);
    posts = queue->waiting;
    room = queue->waiting_room;
    count = queue->waiting_count;
    queue->waiting = queue->running;
    queue->waiting_room = queue->running_room;
    queue->running = posts;
    queue->running_room = room;
    __atomic_store_n(&queue->waiting_count, 0, __ATOMIC_SEQ_CST);
    pthread_mutex_unlock(&queue->lock);
    loop->happened = true;
    for (uint32_t i = 0; i < count; i++) {
        loop->stats.callbacks++;
        posts[i].cb(loop, posts[i].arg);
    }
}

void post_close(struct loop *loop)
{
    pthread_mutex_lock(&loop->posts.lock);
    loop->posts.closed = true;
    pthread_mutex_unlock(&loop->posts.lock);
}
