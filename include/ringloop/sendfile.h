/* ringloop/sendfile.h: sends a stretch of a file to a socket, pipe or other file. Loop thread only.
 *
 * Life: zeroed > loop_sendfile() > its callback; then it may be used again. The file is read ahead by one piece while
 * the one before is sent, through two buffers of 64 KiB each that are held only while it lasts. (The ring's splice
 * would block a worker of the kernel for each slow peer, and for what is in the page cache costs more than the copy.)
 *
 * Nothing else should be sending on the socket meanwhile. For that of a stream (loop_stream_fd()): begin when the
 * callback of its last write has been called, write nothing to it until the transfer's, and close it after that. */
#ifndef RINGLOOP_SENDFILE_H
#define RINGLOOP_SENDFILE_H

#include <ringloop/timer.h>
#include <ringloop/types.h>

#include <stdbool.h>

LOOP_BEGIN_DECLS

struct loop_transfer;

/* sent: the bytes that have left, also with an error. error: 0 when all of count, or all up to the end of the file,
 * have; -ECANCELED; -ETIMEDOUT; else what reading or sending gave. */
typedef void loop_sendfile_cb(struct loop_transfer *transfer, uint64_t sent, int error);

/* Embed it, zeroed; reach yours from the callback with container_of, or through data. */
struct loop_transfer {
    void *data; /* yours; the library never reads it */
    struct loop_transfer_private {
        struct loop      *loop; /* NULL: not in use */
        struct loop_timer deadline;
        loop_sendfile_cb *cb;
        char             *memory;           /* both pieces */
        loop_id           read_id, send_id; /* in flight; 0: none */
        int64_t           offset;           /* of what is to be read next */
        uint64_t          left;             /* to be read */
        uint64_t          sent;
        uint32_t          filled[2]; /* bytes in each piece; 0: free */
        uint32_t          sent_of_piece;
        uint8_t           reading, sending; /* the piece that is next */
        bool              plain_write;      /* the target is no socket */
        bool              ended;            /* nothing is started any more */
        int               in_fd, out_fd, error;
        uint32_t          forks; /* of the loop at the start */
    } priv;
};

struct loop_sendfile_options {
    uint64_t timeout_ns LOOP_ZERO; /* for the whole; 0: none */
    uint32_t flags      LOOP_ZERO; /* none yet: must be 0 */
    uint32_t reserved   LOOP_ZERO;
};

/* Sends count bytes (UINT64_MAX: up to the end) of in_fd from offset on (LOOP_AT_POSITION: from its position, which
 * moves) to out_fd. Borrows transfer until cb; options may be NULL. Both descriptors may be LOOP_FIXED(slot), and must
 * stay open until cb. Returns 0, -EBADF, -EINVAL (also for a count of 0), -EBUSY (in use already), -ENOMEM, or as
 * operations do. */
LOOP_API LOOP_MUST_USE int loop_sendfile(struct loop *loop, struct loop_transfer *transfer, int out_fd, int in_fd,
                                         int64_t offset, uint64_t count, const struct loop_sendfile_options *options,
                                         loop_sendfile_cb *cb);

/* Asks that it end; cb still comes once. Does nothing if it is not in use. */
LOOP_API void loop_sendfile_cancel(struct loop_transfer *transfer);

LOOP_END_DECLS

#endif
