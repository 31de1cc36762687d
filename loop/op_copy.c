/* loop/op_copy.c: copies of what the kernel reads at submission. */
#include "loop/op_copy.h"

#include <limits.h>
#include <ringloop/op_file.h>
#include <string.h>
#include <sys/uio.h>

void *op_storage(struct loop *loop, struct context_extended *extended, size_t size)
{
    if (size <= sizeof(extended->storage))
        return extended->storage;
    extended->heap = memory_resize(loop, NULL, size);
    return extended->heap;
}

int op_piece_text(struct op_piece *ret_piece, const char *text, size_t member)
{
    size_t size;

    if (text == NULL)
        return -EINVAL;
    size = strnlen(text, PATH_MAX) + 1;
    if (size > PATH_MAX)
        return -ENAMETOOLONG;
    *ret_piece = (struct op_piece){text, size, member};
    return 0;
}

/* Each begins where any type may. */
static size_t rounded(size_t size)
{
    return (size + 7) & ~(size_t)7;
}

int op_prepare_pieces(struct loop *loop, struct context_extended *extended, struct io_uring_sqe *sqe,
                      const void *source)
{
    const struct op_pieces *pieces = source;
    size_t                  size = 0;
    char                   *place;

    for (size_t i = 0; i < pieces->count; i++)
        size += rounded(pieces->pieces[i].size);
    place = op_storage(loop, extended, size);
    if (place == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < pieces->count; i++) {
        const struct op_piece *piece = &pieces->pieces[i];
        uint64_t               address = (uint64_t)(uintptr_t)place;

        if (piece->size > 0)
            memcpy(place, piece->data, piece->size);
        memcpy((char *)sqe + piece->member, &address, sizeof(address));
        place += rounded(piece->size);
    }
    return 0;
}

loop_id op_start_copied(struct loop *loop, const char *call, const struct io_uring_sqe *sqe,
                        const struct op_piece *pieces, size_t count, uint16_t flags, loop_cb *cb, void *arg,
                        const struct loop_terms *terms)
{
    const struct op_pieces source = {pieces, count};
    struct op_request      request = {
             .sqe = *sqe,
             .kind = CONTEXT_ONE_SHOT,
             .cb = cb,
             .arg = arg,
             .terms = terms,
             .prepare = op_prepare_pieces,
             .source = &source,
             .flags = flags,
    };

    return op_start_request(loop, call, &request);
}

loop_id op_start_vector(struct loop *loop, const char *call, struct io_uring_sqe *sqe, int fd, const struct iovec *iov,
                        int count, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    struct op_piece piece = {iov, (size_t)count * sizeof(iov[0]), OP_MEMBER(addr)};

    if (fd < 0)
        return op_refuse(loop, call, terms, -EBADF);
    if (count < 0 || count > IOV_MAX || (iov == NULL && count > 0) || (int64_t)sqe->off < LOOP_AT_POSITION)
        return op_refuse(loop, call, terms, -EINVAL);
    sqe->len = (unsigned)count;
    op_sqe_set_fd(sqe, fd);
    return op_start_copied(loop, call, sqe, &piece, 1, 0, cb, arg, terms);
}
