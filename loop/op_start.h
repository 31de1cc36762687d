/* loop/op_start.h: how every operation starts: the short way, inlined, and the long way for all that is rare. */
#ifndef RINGLOOP_LOOP_OP_START_H
#define RINGLOOP_LOOP_OP_START_H

#include "loop/loop_private.h"

#include <endian.h>
#include <errno.h>
#include <limits.h>

/* Copies memory that the kernel reads at submission into the extended context and points the SQE to it. For a shared
 * loop on any thread: it may use the allocator, and nothing else of the loop. */
typedef int op_prepare(struct loop *loop, struct context_extended *extended, struct io_uring_sqe *sqe,
                       const void *source);

/* What an operation puts into its SQE: plain members, so that the compiler keeps them in registers. */
struct op_sqe {
    uint8_t  opcode;
    uint8_t  flags;
    uint16_t ioprio;
    int32_t  fd;
    uint64_t off;
    uint64_t addr;
    uint32_t len;
    uint32_t op_flags;
    uint16_t buf_group;
    uint32_t file_index;
    uint16_t context_flags; /* enum context_flags that its context begins with; nothing for direct mode */
};

struct op_request {
    struct io_uring_sqe      sqe; /* without user_data */
    enum context_kind        kind;
    loop_cb                 *cb;
    void                    *arg;
    const struct loop_terms *terms;
    op_prepare              *prepare; /* NULL: nothing to copy */
    const void              *source;
    uint16_t                 flags; /* more of enum context_flags; CONTEXT_FIXED_RESULT makes it extended */
    bool                     wide;  /* an SQE of 128 bytes: prepare puts its second half into the context's storage */
};

/* The long way: terms, direct mode, chains, extended contexts, a full SQ or pool. */
loop_id op_start_request(struct loop *loop, const char *call, struct op_request *request);

/* The same for what began on the short way. */
__attribute__((noinline, cold)) loop_id op_start_long(struct loop *loop, const char *call, const struct op_sqe *model,
                                                      loop_cb *cb, void *arg, const struct loop_terms *terms);

/* op_socket.c: a message to be sent: 0 or -EINVAL; and its copy: header, name, control and iovec array. */
int        op_check_message(const struct msghdr *msg);
op_prepare op_prepare_message;

/* An argument was refused: an open chain must know. */
loop_id op_refuse(struct loop *loop, const char *call, const struct loop_terms *terms, int error);

/* op_raw.c: whether a user's SQE has no flags that would break something. */
bool op_raw_is_fine(const struct io_uring_sqe *sqe);

/* Whether the opcode always stands in 128 bytes. */
static inline bool op_is_made_wide(unsigned opcode)
{
    return opcode == IORING_OP_NOP128 || opcode == IORING_OP_URING_CMD128;
}

static inline bool op_cb_is_plain(loop_cb *cb)
{
    return (uintptr_t)cb >= 4096; /* no function lives in the first page; handlers are numbered there */
}

static inline void op_write_sqe(struct io_uring_sqe *sqe, struct op_sqe model, uint64_t user_data)
{
    sqe->opcode = model.opcode;
    sqe->flags = model.flags;
    sqe->ioprio = model.ioprio;
    sqe->fd = model.fd;
    sqe->off = model.off;
    sqe->addr = model.addr;
    sqe->len = model.len;
    sqe->rw_flags = (int)model.op_flags;
    sqe->user_data = user_data;
    sqe->buf_group = model.buf_group;
    sqe->personality = 0;
    sqe->file_index = model.file_index;
    sqe->addr3 = 0;
    sqe->__pad2[0] = 0;
}

/* Whether cb and arg are a registered handler and a value that fits. */
static inline unsigned op_handler_number(loop_cb *cb)
{
    return (unsigned)((uintptr_t)cb >> 2);
}

/* Of what is not plain, and so is a small number. */
static inline bool op_cb_is_handler(const struct loop *loop, loop_cb *cb, const void *arg)
{
    return (uint32_t)(uintptr_t)cb - 4 < loop->handlers_end && (uintptr_t)arg <= LOOP_VALUE_MAX;
}

/* The descriptor of an SQE in our notation. */
static inline int op_fd_of(int fd, uint8_t sqe_flags)
{
    return (sqe_flags & IOSQE_FIXED_FILE) == 0 ? fd : LOOP_FIXED(fd);
}

/* Nothing of it is out of line but what is rare: about fifty instructions. */
static inline __attribute__((always_inline)) loop_id op_start(struct loop *loop, const char *call, struct op_sqe model,
                                                              loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    struct context *context;
    uint64_t        user_data;

    if (unlikely(loop_owner(loop) != loop_this_thread() || terms != NULL))
        goto rare;
    if (op_cb_is_plain(cb)) {
        context = loop->pool.plain.free;
        if (unlikely(context == NULL || --loop->sqe_room < 0))
            goto rare;
        loop->pool.plain.free = context->arg;
        context->brief = context_brief_of(model.opcode, op_fd_of(model.fd, model.flags)) | (uint64_t)model.context_flags
                                                                                               << BRIEF_FLAGS;
        context->cb = cb;
        context->arg = arg;
        user_data = context->id;
    } else if (op_cb_is_handler(loop, cb, arg) && (model.flags & IOSQE_BUFFER_SELECT) == 0) {
        if (unlikely(--loop->sqe_room < 0))
            goto rare;
        user_data = user_data_direct(model.opcode, op_handler_number(cb), (uintptr_t)arg);
    } else {
        goto rare;
    }
    loop->ops_in_flight++;
    loop->ops_by_opcode[model.opcode]++;
    op_write_sqe(loop->ring.sqe_next++, model, user_data);
    return (loop_id)user_data;
rare : {
    struct op_sqe copy = model; /* what has an address, so that the model itself need not be in memory */

    return op_start_long(loop, call, &copy, cb, arg, terms);
}
}

/* The rare ones: an operation without anything to copy, of which the kernel may know nothing. */
loop_id op_start_sqe(struct loop *loop, const char *call, const struct io_uring_sqe *sqe, loop_cb *cb, void *arg,
                     const struct loop_terms *terms);

/* enum loop_timeout_flags as the kernel writes them: 0 or -EINVAL. */
int op_timeout_flags(uint32_t flags, uint32_t *ret_flags);

/* Writes the descriptor, in either notation. */
static inline struct op_sqe op_on_fd(struct op_sqe model, int fd)
{
    model.fd = fd;
    if (unlikely((fd & LOOP_FIXED_FLAG) != 0)) {
        model.fd = fd & ~LOOP_FIXED_FLAG;
        model.flags |= IOSQE_FIXED_FILE;
    }
    return model;
}

static inline void op_sqe_set_fd(struct io_uring_sqe *sqe, int fd)
{
    sqe->fd = fd & ~LOOP_FIXED_FLAG;
    if ((fd & LOOP_FIXED_FLAG) != 0)
        sqe->flags |= IOSQE_FIXED_FILE;
}

/* What names a descriptor and needs nothing copied. */
static inline __attribute__((always_inline)) loop_id op_start_on_fd(struct loop *loop, const char *call, int fd,
                                                                    struct op_sqe model, loop_cb *cb, void *arg,
                                                                    const struct loop_terms *terms)
{
    if (unlikely(fd < 0))
        return op_refuse(loop, call, terms, -EBADF);
    return op_start(loop, call, op_on_fd(model, fd), cb, arg, terms);
}

/* The kernel reads the halves of a poll's mask the other way round on big-endian machines. */
static inline uint32_t op_poll_mask(uint32_t events)
{
#if __BYTE_ORDER == __BIG_ENDIAN
    return events << 16 | events >> 16;
#else
    return events;
#endif
}

/* Whether a transfer's memory makes sense; the kernel counts in int. */
static inline int op_check_transfer(const void *buf, size_t size, const struct loop_terms *terms)
{
    if (size > INT_MAX)
        return -EINVAL;
    return buf == NULL && size > 0 && (terms == NULL || (terms->flags & LOOP_LEND) == 0) ? -EINVAL : 0;
}

#endif
