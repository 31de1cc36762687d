/* A linear buffer: the bytes slide down only when at least as much is free below them, so each is moved O(1) times. */
#include "common/byte_queue.h"

#include <stdlib.h>
#include <string.h>

#include "common/cli.h"

enum { CAPACITY_MIN = 64 * 1024 };

static void make_room(struct byte_queue *queue, size_t length)
{
    size_t used = byte_queue_length(queue);
    size_t capacity = queue->capacity != 0 ? queue->capacity : CAPACITY_MIN;

    if (queue->head >= used && used + length <= queue->capacity) {
        memcpy(queue->memory, queue->memory + queue->head, used);
        queue->head = 0;
        queue->tail = used;
        return;
    }
    while (capacity < queue->tail + length)
        capacity *= 2;
    queue->memory = realloc(queue->memory, capacity);
    if (queue->memory == NULL)
        die("no memory for %zu unsent bytes", capacity);
    queue->capacity = capacity;
}

void byte_queue_append(struct byte_queue *queue, const void *bytes, size_t length)
{
    if (queue->tail + length > queue->capacity)
        make_room(queue, length);
    memcpy(queue->memory + queue->tail, bytes, length);
    queue->tail += length;
}

void byte_queue_consume(struct byte_queue *queue, size_t length)
{
    queue->head += length;
    if (queue->head == queue->tail)
        queue->head = queue->tail = 0;
}

void byte_queue_free(struct byte_queue *queue)
{
    free(queue->memory);
    *queue = (struct byte_queue){0};
}
