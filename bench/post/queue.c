/* A queue of numbers under a mutex. */
#include "post/queue.h"

#include <stdlib.h>

#include "common/cli.h"

bool queue_push(struct queue *queue, uint64_t number)
{
    bool full;

    pthread_mutex_lock(&queue->lock);
    full = queue->count == QUEUE_MAX;
    if (!full && queue->count == queue->waiting_room) {
        queue->waiting_room = queue->count == 0 ? 64 : 2 * queue->count;
        queue->waiting = realloc(queue->waiting, queue->waiting_room * sizeof(queue->waiting[0]));
        if (queue->waiting == NULL)
            die("no memory for %u numbers", queue->waiting_room);
    }
    if (!full)
        queue->waiting[queue->count++] = number;
    pthread_mutex_unlock(&queue->lock);
    return !full;
}

bool queue_run(struct queue *queue, bool (*came)(uint64_t number))
{
    uint64_t *numbers;
    uint32_t  count, room;
    bool      last = false;

    pthread_mutex_lock(&queue->lock);
    numbers = queue->waiting;
    room = queue->waiting_room;
    count = queue->count;
    queue->waiting = queue->running;
    queue->waiting_room = queue->running_room;
    queue->running = numbers;
    queue->running_room = room;
    queue->count = 0;
    pthread_mutex_unlock(&queue->lock);
    for (uint32_t i = 0; i < count; i++)
        last = came(numbers[i]) || last;
    return last;
}
