/* loop/memory.c: memory through the loop's allocator. */
#include "loop/memory.h"

#include "loop/loop_private.h"

#include <stdint.h>
#include <string.h>

void *memory_resize(struct loop *loop, void *memory, size_t size)
{
    return loop->allocator.resize(loop->allocator.arg, memory, size);
}

void memory_free(struct loop *loop, void *memory)
{
    if (memory != NULL)
        (void)loop->allocator.resize(loop->allocator.arg, memory, 0);
}

/* The block that was really got is noted right before the memory given out. */
void *memory_new_aligned(struct loop *loop, size_t align, size_t size)
{
    char *block = memory_resize(loop, NULL, size + align + sizeof(void *));
    char *memory;

    if (block == NULL)
        return NULL;
    memory = (char *)(((uintptr_t)block + sizeof(void *) + align - 1) & ~(uintptr_t)(align - 1));
    memcpy(memory - sizeof(void *), &block, sizeof(void *));
    return memory;
}

void memory_free_aligned(struct loop *loop, void *memory)
{
    void *block;

    if (memory == NULL)
        return;
    memcpy(&block, (char *)memory - sizeof(void *), sizeof(void *));
    memory_free(loop, block);
}

struct block {
    struct block *next;
};

enum { BLOCKS_KEPT_MAX = 1024 };

void *block_new(struct loop *loop)
{
    struct block *block = loop->blocks;

    if (block == NULL)
        return memory_resize(loop, NULL, BLOCK_BYTES);
    loop->blocks = block->next;
    loop->blocks_count--;
    return block;
}

void block_free(struct loop *loop, void *memory)
{
    struct block *block = memory;

    if (loop->blocks_count == BLOCKS_KEPT_MAX) {
        memory_free(loop, memory);
        return;
    }
    block->next = loop->blocks;
    loop->blocks = block;
    loop->blocks_count++;
}

void blocks_destroy(struct loop *loop)
{
    while (loop->blocks != NULL) {
        struct block *block = loop->blocks;

        loop->blocks = block->next;
        memory_free(loop, block);
    }
}
