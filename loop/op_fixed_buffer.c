/* loop/op_fixed_buffer.c: reading and writing registered buffers. */
#include "loop/fixed.h"
#include "loop/op_start.h"

#include <limits.h>
#include <string.h>

static int check_place(int fd, int index)
{
    if (fd < 0)
        return -EBADF;
    return index < 0 || index > UINT16_MAX ? -EINVAL : 0;
}

static inline __attribute__((always_inline)) loop_id start_plain(struct loop *loop, const char *call, uint8_t opcode,
                                                                 int fd, const void *buf, size_t size, uint64_t offset,
                                                                 int index, loop_cb *cb, void *arg,
                                                                 const struct loop_terms *terms)
{
    int r = check_place(fd, index);

    if (r == 0 && (buf == NULL || size > INT_MAX))
        r = -EINVAL;
    if (unlikely(r < 0))
        return op_refuse(loop, call, terms, r);
    return op_start(loop, call,
                    op_on_fd((struct op_sqe){.opcode = opcode,
                                             .off = offset,
                                             .addr = (uint64_t)(uintptr_t)buf,
                                             .len = (unsigned)size,
                                             .buf_group = (uint16_t)index}, /* the same field of the SQE */
                             fd),
                    cb, arg, terms);
}

loop_id loop_read_fixed(struct loop *loop, int fd, void *buf, size_t size, uint64_t offset, int index, loop_cb *cb,
                        void *arg, const struct loop_terms *terms)
{
    return start_plain(loop, __func__, IORING_OP_READ_FIXED, fd, buf, size, offset, index, cb, arg, terms);
}

loop_id loop_write_fixed(struct loop *loop, int fd, const void *buf, size_t size, uint64_t offset, int index,
                         loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    return start_plain(loop, __func__, IORING_OP_WRITE_FIXED, fd, buf, size, offset, index, cb, arg, terms);
}

struct iov_source {
    const struct iovec *iov;
    uint32_t            count;
};

static int prepare_iov(struct loop *loop, struct context_extended *extended, struct io_uring_sqe *sqe,
                       const void *source)
{
    const struct iov_source *from = source;
    struct iovec            *copy = extended->iov;

    if (from->count > CONTEXT_IOV_INLINE) {
        copy = memory_resize(loop, NULL, from->count * sizeof(copy[0]));
        if (copy == NULL)
            return -ENOMEM;
        extended->heap = copy;
    }
    if (from->count > 0)
        memcpy(copy, from->iov, from->count * sizeof(copy[0]));
    sqe->addr = (uint64_t)(uintptr_t)copy;
    return 0;
}

static loop_id start_vector(struct loop *loop, const char *call, uint8_t opcode, int fd, uint64_t offset, int index,
                            struct iov_source source, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    struct op_request request = {
        .sqe = {.opcode = opcode, .off = offset, .len = source.count, .buf_index = (uint16_t)index},
        .kind = CONTEXT_ONE_SHOT,
        .cb = cb,
        .arg = arg,
        .terms = terms,
        .prepare = prepare_iov,
        .source = &source,
    };
    int r = check_place(fd, index);

    if (r == 0 && ((source.iov == NULL && source.count > 0) || source.count > IOV_MAX))
        r = -EINVAL;
    if (r < 0)
        return op_refuse(loop, call, terms, r);
    op_set_fd(&request, fd);
    return op_start_request(loop, call, &request);
}

loop_id loop_readv_fixed(struct loop *loop, int fd, const struct iovec *iov, uint32_t count, uint64_t offset, int index,
                         loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    return start_vector(loop, __func__, IORING_OP_READV_FIXED, fd, offset, index, (struct iov_source){iov, count}, cb,
                        arg, terms);
}

loop_id loop_writev_fixed(struct loop *loop, int fd, const struct iovec *iov, uint32_t count, uint64_t offset,
                          int index, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    return start_vector(loop, __func__, IORING_OP_WRITEV_FIXED, fd, offset, index, (struct iov_source){iov, count}, cb,
                        arg, terms);
}
