/* loop/op_fixed_buffer.c: reading and writing registered buffers. */
#include "loop/fixed.h"
#include "loop/op_copy.h"

#include <limits.h>
#include <ringloop/op_file.h>

static int check_place(int fd, int64_t offset, int index)
{
    if (fd < 0)
        return -EBADF;
    return offset < LOOP_AT_POSITION || index < 0 || index > UINT16_MAX ? -EINVAL : 0;
}

static inline __attribute__((always_inline)) loop_id start_plain(struct loop *loop, const char *call, uint8_t opcode,
                                                                 int fd, const void *buf, size_t size, int64_t offset,
                                                                 int index, loop_cb *cb, void *arg,
                                                                 const struct loop_terms *terms)
{
    int r = check_place(fd, offset, index);

    if (r == 0 && (buf == NULL || size > INT_MAX))
        r = -EINVAL;
    if (unlikely(r < 0))
        return op_refuse(loop, call, terms, r);
    return op_start(loop, call,
                    op_on_fd((struct op_sqe){.opcode = opcode,
                                             .off = (uint64_t)offset,
                                             .addr = (uint64_t)(uintptr_t)buf,
                                             .len = (unsigned)size,
                                             .buf_group = (uint16_t)index}, /* the same field of the SQE */
                             fd),
                    cb, arg, terms);
}

loop_id loop_read_fixed(struct loop *loop, int fd, void *buf, size_t size, int64_t offset, int index, loop_cb *cb,
                        void *arg, const struct loop_terms *terms)
{
    return start_plain(loop, __func__, IORING_OP_READ_FIXED, fd, buf, size, offset, index, cb, arg, terms);
}

loop_id loop_write_fixed(struct loop *loop, int fd, const void *buf, size_t size, int64_t offset, int index,
                         loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    return start_plain(loop, __func__, IORING_OP_WRITE_FIXED, fd, buf, size, offset, index, cb, arg, terms);
}

static loop_id start_vector(struct loop *loop, const char *call, uint8_t opcode, int fd, const struct iovec *iov,
                            int count, int64_t offset, int flags, int index, loop_cb *cb, void *arg,
                            const struct loop_terms *terms)
{
    struct io_uring_sqe sqe = {
        .opcode = opcode,
        .off = (uint64_t)offset,
        .rw_flags = flags,
        .buf_index = (uint16_t)index,
    };
    int r = check_place(fd, offset, index);

    if (r < 0)
        return op_refuse(loop, call, terms, r);
    return op_start_vector(loop, call, &sqe, fd, iov, count, cb, arg, terms);
}

loop_id loop_readv_fixed(struct loop *loop, int fd, const struct iovec *iov, int count, int64_t offset, int flags,
                         int index, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    return start_vector(loop, __func__, IORING_OP_READV_FIXED, fd, iov, count, offset, flags, index, cb, arg, terms);
}

loop_id loop_writev_fixed(struct loop *loop, int fd, const struct iovec *iov, int count, int64_t offset, int flags,
                          int index, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    return start_vector(loop, __func__, IORING_OP_WRITEV_FIXED, fd, iov, count, offset, flags, index, cb, arg, terms);
}
