/* loop/memory.h: all memory of a loop, through its allocator. NULL when there is none. */
#ifndef RINGLOOP_LOOP_MEMORY_H
#define RINGLOOP_LOOP_MEMORY_H

#include <ringloop/loop.h>
#include <stddef.h>

void *memory_resize(struct loop *loop, void *memory, size_t size);
void  memory_free(struct loop *loop, void *memory);

/* align: a power of two, at least the size of a pointer. */
void *memory_new_aligned(struct loop *loop, size_t align, size_t size);
void  memory_free_aligned(struct loop *loop, void *memory);

/* Blocks of BLOCK_BYTES: some that were freed are kept for the next. */
enum { BLOCK_BYTES = 512 };
void *block_new(struct loop *loop);
void  block_free(struct loop *loop, void *block);
void  blocks_destroy(struct loop *loop);

#endif
