/* http_output.c: a queue of segments to send, in blocks. */
#include "http_output.h"

#include <stdlib.h>

static struct http_block *block_take(struct http_block_store *store)
{
    struct http_block *block = store->unused;

    if (block) {
        store->unused = block->next;
        store->unused_count--;
    } else {
        block = malloc(sizeof *block);
        if (!block)
            return NULL;
    }
    block->next = NULL;
    block->segments_count = 0;
    block->segments_sent = 0;
    block->text_used = 0;
    return block;
}

static void block_give_back(struct http_block_store *store, struct http_block *block)
{
    if (store->unused_count == HTTP_STORE_BLOCKS_MAX) {
        free(block);
        return;
    }
    block->next = store->unused;
    store->unused = block;
    store->unused_count++;
}

static bool append_block(struct http_output *output, struct http_block_store *store)
{
    struct http_block *block = block_take(store);

    if (!block)
        return false;
    if (output->last)
        output->last->next = block;
    else
        output->first = block;
    output->last = block;
    return true;
}

static bool last_block_has_room(const struct http_output *output, size_t text_size)
{
    const struct http_block *block = output->last;

    return block && block->segments_count < HTTP_BLOCK_SEGMENTS_MAX &&
           HTTP_BLOCK_TEXT_BYTES - block->text_used >= text_size;
}

char *http_output_room(struct http_output *output, struct http_block_store *store, size_t size)
{
    if (size > HTTP_BLOCK_TEXT_BYTES)
        return NULL;
    if (!last_block_has_room(output, size) && !append_block(output, store))
        return NULL;
    return output->last->text + output->last->text_used;
}

static void add_segment(struct http_output *output, const char *bytes, size_t size)
{
    struct http_block *block = output->last;

    block->segments[block->segments_count++] = (struct iovec){(void *)(uintptr_t)bytes, size};
    output->unsent_bytes += size;
}

void http_output_add_text(struct http_output *output, size_t size)
{
    struct http_block *block = output->last;
    char              *text = block->text + block->text_used;
    struct iovec      *before = NULL;

    block->text_used += (uint32_t)size;
    if (block->segments_count > block->segments_sent)
        before = &block->segments[block->segments_count - 1];
    if (before && (char *)before->iov_base + before->iov_len == text) { /* right behind the text before it */
        before->iov_len += size;
        output->unsent_bytes += size;
    } else {
        add_segment(output, text, size);
    }
}

bool http_output_add_reference(struct http_output *output, struct http_block_store *store, const char *bytes,
                               size_t size)
{
    if (!last_block_has_room(output, 0) && !append_block(output, store))
        return false;
    add_segment(output, bytes, size);
    return true;
}

unsigned http_output_next(const struct http_output *output, struct iovec *segments, unsigned segments_max,
                          size_t bytes_max)
{
    unsigned count = 0;

    for (const struct http_block *block = output->first; block; block = block->next) {
        for (uint32_t i = block->segments_sent; i < block->segments_count; i++) {
            if (count == segments_max || bytes_max == 0)
                return count;
            segments[count] = block->segments[i];
            if (segments[count].iov_len > bytes_max)
                segments[count].iov_len = bytes_max;
            bytes_max -= segments[count].iov_len;
            count++;
        }
    }
    return count;
}

/* Takes the first block out of the queue: all of it has been sent. */
static void drop_first_block(struct http_output *output, struct http_block_store *store)
{
    struct http_block *block = output->first;

    output->first = block->next;
    if (!output->first)
        output->last = NULL;
    block_give_back(store, block);
}

void http_output_sent(struct http_output *output, struct http_block_store *store, size_t size)
{
    output->unsent_bytes -= size;
    while (size > 0) {
        struct http_block *block = output->first;
        struct iovec      *segment = &block->segments[block->segments_sent];

        if (size < segment->iov_len) {
            segment->iov_base = (char *)segment->iov_base + size;
            segment->iov_len -= size;
            return;
        }
        size -= segment->iov_len;
        if (++block->segments_sent == block->segments_count)
            drop_first_block(output, store);
    }
}

void http_output_clear(struct http_output *output, struct http_block_store *store)
{
    while (output->first)
        drop_first_block(output, store);
    output->unsent_bytes = 0;
}

void http_block_store_clear(struct http_block_store *store)
{
    while (store->unused) {
        struct http_block *block = store->unused;
        store->unused = block->next;
        free(block);
    }
    store->unused_count = 0;
}
