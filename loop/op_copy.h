/* loop/op_copy.h: operations with memory that the kernel reads when the SQE is submitted, which is later than the call:
 * paths, names, iovec arrays, small structures. It is copied into the operation's extended context, or, where that has
 * no room, into one block that is freed with it. */
#ifndef RINGLOOP_LOOP_OP_COPY_H
#define RINGLOOP_LOOP_OP_COPY_H

#include "loop/op_start.h"

/* One piece, and the member of the SQE that shall point to the copy. */
struct op_piece {
    const void *data;
    size_t      size;
    size_t      member; /* OP_MEMBER() */
};

struct op_pieces {
    const struct op_piece *pieces;
    size_t                 count;
};

#define OP_MEMBER(member) offsetof(struct io_uring_sqe, member)

/* The place for the copies: lasts until the context is freed. To be asked for once; NULL without memory. */
void *op_storage(struct loop *loop, struct context_extended *extended, size_t size);

/* A path or a name as a piece; -EINVAL for NULL, -ENAMETOOLONG beyond PATH_MAX. */
int op_piece_text(struct op_piece *ret_piece, const char *text, size_t member);

/* The prepare of a request whose source is a struct op_pieces. */
op_prepare op_prepare_pieces;

/* Starts a one-shot operation with pieces copied; flags as in struct op_request. */
loop_id op_start_copied(struct loop *loop, const char *call, const struct io_uring_sqe *sqe,
                        const struct op_piece *pieces, size_t count, uint16_t flags, loop_cb *cb, void *arg,
                        const struct loop_terms *terms);

/* Reads and writes with an iovec array; the SQE has opcode, offset and flags. */
loop_id op_start_vector(struct loop *loop, const char *call, struct io_uring_sqe *sqe, int fd, const struct iovec *iov,
                        int count, loop_cb *cb, void *arg, const struct loop_terms *terms);

#endif
