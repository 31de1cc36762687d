/* net/write_queue.h: a write that waits in a stream's queue, and what is done to one. */
#ifndef RINGLOOP_NET_WRITE_QUEUE_H
#define RINGLOOP_NET_WRITE_QUEUE_H

#include <ringloop/stream.h>

#include "loop/loop_private.h"

enum {
    WRITE_SEND_PIECES = 64, /* in one send */
    WRITE_IOV_MAX = 1024,   /* in one write */
};

enum write_flags {
    WRITE_BIG = 1 << 0,       /* not a block */
    WRITE_LOAN = 1 << 1,      /* its bytes are not its own: struct write_loan stands in it */
    WRITE_ZERO_COPY = 1 << 2, /* leaves alone, from where it lies */
    WRITE_FILE = 1 << 3,      /* of a file: struct write_file */
    WRITE_CANCELED = 1 << 4,  /* asked to end, if nothing has left */
    WRITE_ENDED = 1 << 5,     /* out of the queue; its callback waits */
    WRITE_FDS = 1 << 6,       /* descriptors go with it */
    WRITE_LAST = 1 << 7,      /* before a cork */
    WRITE_ALONE = WRITE_ZERO_COPY | WRITE_FDS | WRITE_LAST,
};

struct stream_write {
    struct stream_write  *next;
    struct iovec         *iov; /* what is left of it: iov_count pieces, size - done bytes */
    size_t                size, done;
    loop_stream_write_cb *cb;
    void                 *arg;
    loop_buffer           release;
    union {
        uint32_t iov_count;
        int      error; /* of one that has ended and waits */
    };
    struct iovec piece;   /* iov of a write of one piece */
    uint32_t     turn;    /* when pieces of it were last part of a send; 0: never */
    uint16_t     pending; /* operations of its own in flight: notifications, a read of its file */
    uint8_t      flags;   /* enum write_flags */
    _Alignas(16) char bytes[];
};
_Static_assert(sizeof(struct stream_write) == 80, "what is left of a block is for bytes");

/* At the beginning of the bytes of a write that has none of its own. */
struct write_loan {
    struct loop_hold    hold; /* among those that hold a buffer */
    struct loop_stream *stream;
    char               *heap; /* bytes copied later; NULL: none */
};

struct write_file {
    struct write_loan loan;
    struct iovec      pieces[2];
    char             *memory; /* of both; NULL: not read yet */
    size_t            piece_bytes;
    uint64_t          left; /* to be read */
    int64_t           offset;
    loop_id           read_id; /* in flight; 0: none */
    int               fd, error;
    bool              reading; /* into the second piece */
    bool              short_of_count;
};

static inline struct write_loan *write_loan(struct stream_write *write)
{
    return (struct write_loan *)(void *)write->bytes;
}

static inline struct stream_write *write_of_loan(struct write_loan *loan)
{
    return (struct stream_write *)(void *)((char *)loan - offsetof(struct stream_write, bytes));
}

static inline struct write_file *write_file(struct stream_write *write)
{
    return (struct write_file *)(void *)write->bytes;
}

/* Nothing more will be read of the file. */
static inline bool write_file_read(struct stream_write *write)
{
    return write_file(write)->left == 0 && write_file(write)->read_id == 0;
}

/* The bytes in all pieces; 0 if they are none, too many, or not all there. */
size_t write_iov_size(const struct iovec *iov, size_t count);

/* With the data in it (always if it is small), or pointing to it. NULL without memory. */
struct stream_write *write_new(struct loop *loop, const struct iovec *iov, size_t count, size_t size, bool copy);
struct stream_write *write_new_file(struct loop *loop);
void                 write_free(struct loop *loop, struct stream_write *write);

/* Copies what is left of it, so that it needs neither its buffer nor the user's memory. false without memory. */
bool write_copy_out(struct loop *loop, struct stream_write *write);

/* Skips what has been sent of it: not more than there is. */
void write_advance(struct stream_write *write, size_t bytes);

/* What leaves next, of first and those behind it: at most WRITE_SEND_PIECES pieces. Returns their number. *ret_file:
 * where it stopped for want of bytes of a file, else unchanged. */
size_t write_gather(struct stream_write *first, struct iovec *iov, uint32_t turn, struct stream_write **ret_file);

#endif
