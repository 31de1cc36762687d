/* loop/op_wait.c: operations that wait for other threads and processes. */
#include "loop/op_copy.h"

#include <linux/futex.h>
#include <ringloop/op_wait.h>

enum { FUTEX_WAITERS_MAX = 128 };

static loop_id start_futex(struct loop *loop, const char *call, uint8_t opcode, uint32_t *futex, uint64_t value,
                           uint64_t mask, uint32_t flags, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    struct io_uring_sqe sqe = {
        .opcode = opcode,
        .fd = (int)flags, /* there is no descriptor, and the flags stand in its place */
        .off = value,
        .addr = (uint64_t)(uintptr_t)futex,
        .addr3 = mask,
    };

    if (futex == NULL)
        return op_refuse(loop, call, terms, -EINVAL);
    return op_start_sqe(loop, call, &sqe, cb, arg, terms);
}

loop_id loop_futex_wait(struct loop *loop, uint32_t *futex, uint64_t value, uint64_t mask, uint32_t flags, loop_cb *cb,
                        void *arg, const struct loop_terms *terms)
{
    return start_futex(loop, __func__, IORING_OP_FUTEX_WAIT, futex, value, mask, flags, cb, arg, terms);
}

loop_id loop_futex_wake(struct loop *loop, uint32_t *futex, uint64_t mask, int count, uint32_t flags, loop_cb *cb,
                        void *arg, const struct loop_terms *terms)
{
    if (count < 0)
        return op_refuse(loop, __func__, terms, -EINVAL);
    return start_futex(loop, __func__, IORING_OP_FUTEX_WAKE, futex, (uint64_t)count, mask, flags, cb, arg, terms);
}

loop_id loop_futex_waitv(struct loop *loop, const struct futex_waitv *waiters, uint32_t count, loop_cb *cb, void *arg,
                         const struct loop_terms *terms)
{
    struct io_uring_sqe sqe = {.opcode = IORING_OP_FUTEX_WAITV, .len = count};
    struct op_piece     piece = {waiters, count * sizeof(waiters[0]), OP_MEMBER(addr)};

    if (waiters == NULL || count == 0 || count > FUTEX_WAITERS_MAX)
        return op_refuse(loop, __func__, terms, -EINVAL);
    return op_start_copied(loop, __func__, &sqe, &piece, 1, 0, cb, arg, terms);
}

loop_id loop_waitid(struct loop *loop, int idtype, unsigned id, void *info, int options, loop_cb *cb, void *arg,
                    const struct loop_terms *terms)
{
    struct io_uring_sqe sqe = {
        .opcode = IORING_OP_WAITID,
        .fd = (int)id, /* again no descriptor */
        .addr2 = (uint64_t)(uintptr_t)info,
        .len = (unsigned)idtype,
        .file_index = (unsigned)options,
    };

    return op_start_sqe(loop, __func__, &sqe, cb, arg, terms);
}
