/* http_output.h: what a connection has still to send: a queue of (pointer, length) segments.
 *
 * Heads and short texts are written into blocks of the queue's own; long bodies are only pointed to. Blocks come from
 * a store shared by all connections and return to it as soon as they are sent, so an idle connection holds none. */
#ifndef HTTP_OUTPUT_H
#define HTTP_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

enum {
    HTTP_BLOCK_SEGMENTS_MAX = 32,
    HTTP_BLOCK_TEXT_BYTES = 7 * 1024,
    HTTP_STORE_BLOCKS_MAX = 64, /* unused blocks that are kept for the next reply */
};

struct http_block {
    struct http_block *next;
    uint32_t           segments_count;
    uint32_t           segments_sent;
    uint32_t           text_used;
    struct iovec       segments[HTTP_BLOCK_SEGMENTS_MAX];
    char               text[HTTP_BLOCK_TEXT_BYTES];
};

struct http_block_store {
    struct http_block *unused;
    uint32_t           unused_count;
};

struct http_output {
    struct http_block *first, *last;
    uint64_t           unsent_bytes;
};

/* Returns room for size bytes of text, at most HTTP_BLOCK_TEXT_BYTES, or NULL if memory is short. What was written
 * there becomes part of the queue with http_output_add_text. */
char *http_output_room(struct http_output *output, struct http_block_store *store, size_t size);
void  http_output_add_text(struct http_output *output, size_t size);

/* Queues bytes that stay where they are, and must until they are sent. Returns false if memory is short. */
bool http_output_add_reference(struct http_output *output, struct http_block_store *store, const char *bytes,
                               size_t size);

/* Fills segments[] with what comes next, at most bytes_max bytes, and returns their number; they are valid until
 * http_output_sent. */
unsigned http_output_next(const struct http_output *output, struct iovec *segments, unsigned segments_max,
                          size_t bytes_max);

/* The first size bytes have been sent. */
void http_output_sent(struct http_output *output, struct http_block_store *store, size_t size);

void http_output_clear(struct http_output *output, struct http_block_store *store);
void http_block_store_clear(struct http_block_store *store);

#endif
