/* bench/post/queue.h: how programs hand numbers to a loop that can only be woken: an array under a mutex, which the
 * loop's thread exchanges for an empty one. The best of its kind: no allocation for each, one locking for a batch. */
#ifndef BENCH_POST_QUEUE_H
#define BENCH_POST_QUEUE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum { QUEUE_MAX = 1 << 20 }; /* as loop_options.posts_max */

struct queue {
    pthread_mutex_t lock;
    uint64_t       *waiting, *running;
    uint32_t        count, waiting_room, running_room;
};

/* false: full. */
bool queue_push(struct queue *queue, uint64_t number);

/* Calls came(number) for each; returns whether one of these has returned true. */
bool queue_run(struct queue *queue, bool (*came)(uint64_t number));

#endif
