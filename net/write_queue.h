/* net/write_queue.h: a write that waits in a stream's queue, and what is done to one. */
#ifndef RINGLOOP_NET_WRITE_QUEUE_H
#define RINGLOOP_NET_WRITE_QUEUE_H

#include <ringloop/stream.h>

#include "loop/loop_private.h"

enum {
    WRITE_SEND_PIECES = 64, /* in one send */
    WRITE_IOV_MAX = 1024,   /* in one write */
};

struct stream_write {
    struct stream_write  *next;
    struct iovec         *iov; /* what is left of it: iov_count pieces, size - done bytes */
    size_t                size, done;
    loop_stream_write_cb *cb;
    void                 *arg;
    loop_buffer           release;
    uint32_t              iov_count;
    struct iovec          piece; /* iov of a write of one piece */
    bool                  big;   /* not a block */
    _Alignas(16) char bytes[];
};

/* The bytes in all pieces; 0 if they are none, too many, or not all there. */
size_t write_iov_size(const struct iovec *iov, size_t count);

/* With the data in it (always if it is small), or pointing to it. NULL without memory. */
struct stream_write *write_new(struct loop *loop, const struct iovec *iov, size_t count, size_t size, bool copy);
void                 write_free(struct loop *loop, struct stream_write *write);

/* Skips what has been sent of it. */
void write_advance(struct stream_write *write, size_t bytes);

/* What leaves next, of first and those behind it: at most WRITE_SEND_PIECES pieces. Returns their number. */
size_t write_gather(const struct stream_write *first, struct iovec *iov);

#endif
