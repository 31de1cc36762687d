/* loop/op_file.c: operations on open files. */
#include "loop/op_copy.h"

#include <fcntl.h>
#include <limits.h>
#include <ringloop/op_file.h>
#include <sys/uio.h>

static bool offset_valid(int64_t offset)
{
    return offset >= LOOP_AT_POSITION;
}

loop_id loop_read(struct loop *loop, int fd, void *buf, size_t size, int64_t offset, loop_cb *cb, void *arg,
                  const struct loop_terms *terms)
{
    if (unlikely(op_check_transfer(buf, size, terms) < 0 || !offset_valid(offset)))
        return op_refuse(loop, __func__, terms, -EINVAL);
    return op_start_on_fd(
        loop, __func__, fd,
        (struct op_sqe){
            .opcode = IORING_OP_READ, .off = (uint64_t)offset, .addr = (uint64_t)(uintptr_t)buf, .len = (unsigned)size},
        cb, arg, terms);
}

loop_id loop_write(struct loop *loop, int fd, const void *buf, size_t size, int64_t offset, loop_cb *cb, void *arg,
                   const struct loop_terms *terms)
{
    if (unlikely(op_check_transfer(buf, size, NULL) < 0 || !offset_valid(offset)))
        return op_refuse(loop, __func__, terms, -EINVAL);
    return op_start_on_fd(loop, __func__, fd,
                          (struct op_sqe){.opcode = IORING_OP_WRITE,
                                          .off = (uint64_t)offset,
                                          .addr = (uint64_t)(uintptr_t)buf,
                                          .len = (unsigned)size},
                          cb, arg, terms);
}

loop_id loop_readv(struct loop *loop, int fd, const struct iovec *iov, int count, int64_t offset, int flags,
                   loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    struct io_uring_sqe sqe = {.opcode = IORING_OP_READV, .off = (uint64_t)offset, .rw_flags = flags};

    return op_start_vector(loop, __func__, &sqe, fd, iov, count, cb, arg, terms);
}

loop_id loop_writev(struct loop *loop, int fd, const struct iovec *iov, int count, int64_t offset, int flags,
                    loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    struct io_uring_sqe sqe = {.opcode = IORING_OP_WRITEV, .off = (uint64_t)offset, .rw_flags = flags};

    return op_start_vector(loop, __func__, &sqe, fd, iov, count, cb, arg, terms);
}

loop_id loop_fsync(struct loop *loop, int fd, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    return op_start_on_fd(loop, __func__, fd, (struct op_sqe){.opcode = IORING_OP_FSYNC}, cb, arg, terms);
}

loop_id loop_fdatasync(struct loop *loop, int fd, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    return op_start_on_fd(loop, __func__, fd,
                          (struct op_sqe){.opcode = IORING_OP_FSYNC, .op_flags = IORING_FSYNC_DATASYNC}, cb, arg,
                          terms);
}

loop_id loop_sync_file_range(struct loop *loop, int fd, int64_t offset, size_t size, unsigned flags, loop_cb *cb,
                             void *arg, const struct loop_terms *terms)
{
    if (offset < 0 || size > UINT32_MAX)
        return op_refuse(loop, __func__, terms, -EINVAL);
    return op_start_on_fd(
        loop, __func__, fd,
        (struct op_sqe){
            .opcode = IORING_OP_SYNC_FILE_RANGE, .off = (uint64_t)offset, .len = (unsigned)size, .op_flags = flags},
        cb, arg, terms);
}

loop_id loop_fallocate(struct loop *loop, int fd, int mode, int64_t offset, int64_t size, loop_cb *cb, void *arg,
                       const struct loop_terms *terms)
{
    if (offset < 0 || size <= 0)
        return op_refuse(loop, __func__, terms, -EINVAL);
    return op_start_on_fd(
        loop, __func__, fd,
        (struct op_sqe){
            .opcode = IORING_OP_FALLOCATE, .off = (uint64_t)offset, .addr = (uint64_t)size, .len = (unsigned)mode},
        cb, arg, terms);
}

loop_id loop_ftruncate(struct loop *loop, int fd, int64_t size, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    struct io_uring_sqe sqe = {.opcode = IORING_OP_FTRUNCATE, .off = (uint64_t)size};

    if (fd < 0)
        return op_refuse(loop, __func__, terms, -EBADF);
    if (size < 0)
        return op_refuse(loop, __func__, terms, -EINVAL);
    op_sqe_set_fd(&sqe, fd);
    return op_start_sqe(loop, __func__, &sqe, cb, arg, terms);
}

/* Kernels before 6.11, which brought bind, would take the lower 32 bits for the size. */
static bool advice_size_valid(const struct loop *loop, uint64_t size)
{
    return size <= UINT32_MAX || ring_knows(&loop->ring, IORING_OP_BIND);
}

loop_id loop_fadvise(struct loop *loop, int fd, int64_t offset, int64_t size, int advice, loop_cb *cb, void *arg,
                     const struct loop_terms *terms)
{
    loop_check_owner(loop, __func__);
    if (offset < 0 || size < 0 || !advice_size_valid(loop, (uint64_t)size))
        return op_refuse(loop, __func__, terms, -EINVAL);
    /* Kernels before 6.11 look at len, and refuse an SQE with addr; later ones look at addr first. */
    return op_start_on_fd(loop, __func__, fd,
                          (struct op_sqe){.opcode = IORING_OP_FADVISE,
                                          .off = (uint64_t)offset,
                                          .addr = size > UINT32_MAX ? (uint64_t)size : 0,
                                          .len = size > UINT32_MAX ? 0 : (unsigned)size,
                                          .op_flags = (unsigned)advice},
                          cb, arg, terms);
}

loop_id loop_madvise(struct loop *loop, void *memory, size_t size, int advice, loop_cb *cb, void *arg,
                     const struct loop_terms *terms)
{
    loop_check_owner(loop, __func__);
    if (!advice_size_valid(loop, size))
        return op_refuse(loop, __func__, terms, -EINVAL);
    /* As above: len for the older, off for the newer, but only where it must be. */
    return op_start(loop, __func__,
                    (struct op_sqe){.opcode = IORING_OP_MADVISE,
                                    .fd = -1,
                                    .off = size > UINT32_MAX ? size : 0,
                                    .addr = (uint64_t)(uintptr_t)memory,
                                    .len = size > UINT32_MAX ? 0 : (unsigned)size,
                                    .op_flags = (unsigned)advice},
                    cb, arg, terms);
}

/* Its context keeps the SQE, so that it is found by what it reads from. */
static int keep_sqe(struct loop *loop, struct context_extended *extended, struct io_uring_sqe *sqe, const void *source)
{
    (void)loop;
    (void)extended;
    (void)sqe;
    (void)source;
    return 0;
}

/* Splice and tee: the descriptor to read from stands where others have a slot. */
static loop_id start_splice(struct loop *loop, const char *call, uint8_t opcode, int fd_in, int64_t offset_in,
                            int fd_out, int64_t offset_out, size_t size, unsigned flags, loop_cb *cb, void *arg,
                            const struct loop_terms *terms)
{
    struct op_request request = {
        .sqe = {.opcode = opcode,
                .off = (uint64_t)offset_out,
                .splice_off_in = (uint64_t)offset_in,
                .len = (unsigned)size,
                .splice_flags = flags,
                .splice_fd_in = fd_in & ~LOOP_FIXED_FLAG},
        .kind = CONTEXT_ONE_SHOT,
        .cb = cb,
        .arg = arg,
        .terms = terms,
        .prepare = cb == NULL || op_cb_is_plain(cb) ? keep_sqe : NULL,
    };

    if (fd_in < 0 || fd_out < 0)
        return op_refuse(loop, call, terms, -EBADF);
    if (size > INT_MAX || !offset_valid(offset_in) || !offset_valid(offset_out) || (flags & SPLICE_F_FD_IN_FIXED) != 0)
        return op_refuse(loop, call, terms, -EINVAL);
    if ((fd_in & LOOP_FIXED_FLAG) != 0)
        request.sqe.splice_flags |= SPLICE_F_FD_IN_FIXED;
    op_sqe_set_fd(&request.sqe, fd_out);
    return op_start_request(loop, call, &request);
}

loop_id loop_splice(struct loop *loop, int fd_in, int64_t offset_in, int fd_out, int64_t offset_out, size_t size,
                    unsigned flags, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    return start_splice(loop, __func__, IORING_OP_SPLICE, fd_in, offset_in, fd_out, offset_out, size, flags, cb, arg,
                        terms);
}

loop_id loop_tee(struct loop *loop, int fd_in, int fd_out, size_t size, unsigned flags, loop_cb *cb, void *arg,
                 const struct loop_terms *terms)
{
    return start_splice(loop, __func__, IORING_OP_TEE, fd_in, 0, fd_out, 0, size, flags, cb, arg, terms);
}

loop_id loop_pipe(struct loop *loop, int fds[2], int flags, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    struct io_uring_sqe sqe = {
        .opcode = IORING_OP_PIPE,
        .addr = (uint64_t)(uintptr_t)fds,
        .pipe_flags = (unsigned)(flags | O_CLOEXEC),
    };

    if (fds == NULL)
        return op_refuse(loop, __func__, terms, -EINVAL);
    return op_start_sqe(loop, __func__, &sqe, cb, arg, terms);
}
