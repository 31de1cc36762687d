/* bench/common/byte_queue.h: bytes that could not be written yet, in order, in one growing piece of memory. */
#ifndef BENCH_COMMON_BYTE_QUEUE_H
#define BENCH_COMMON_BYTE_QUEUE_H

#include <stddef.h>
#include <stdint.h>

/* All zero is an empty queue; it owns no memory until the first append, and keeps it until byte_queue_free. */
struct byte_queue {
    uint8_t *memory;
    size_t   head, tail, capacity; /* the bytes are memory[head] up to memory[tail] */
};

static inline size_t byte_queue_length(const struct byte_queue *queue)
{
    return queue->tail - queue->head;
}

/* Copies length bytes to the end. Dies without memory: the caller bounds the length. */
void byte_queue_append(struct byte_queue *queue, const void *bytes, size_t length);

/* Drops length bytes, which must be there, from the front. */
void byte_queue_consume(struct byte_queue *queue, size_t length);

void byte_queue_free(struct byte_queue *queue);

#endif
