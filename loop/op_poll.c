/* loop/op_poll.c: operations on readiness and time, and on other operations. */
#include "loop/op_copy.h"

#include <ringloop/fixed.h>
#include <ringloop/op_poll.h>
#include <string.h>
#include <sys/epoll.h>

loop_id loop_poll_add(struct loop *loop, int fd, uint32_t events, loop_cb *cb, void *arg,
                      const struct loop_terms *terms)
{
    return op_start_on_fd(loop, __func__, fd,
                          (struct op_sqe){.opcode = IORING_OP_POLL_ADD, .op_flags = op_poll_mask(events)}, cb, arg,
                          terms);
}

loop_id loop_poll_remove(struct loop *loop, loop_id id, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    struct io_uring_sqe sqe = {.opcode = IORING_OP_POLL_REMOVE, .fd = -1, .addr = (uint64_t)id};

    if (id <= 0)
        return op_refuse(loop, __func__, terms, -EINVAL);
    return op_start_sqe(loop, __func__, &sqe, cb, arg, terms);
}

loop_id loop_poll_update(struct loop *loop, loop_id id, uint32_t events, loop_cb *cb, void *arg,
                         const struct loop_terms *terms)
{
    struct io_uring_sqe sqe = {
        .opcode = IORING_OP_POLL_REMOVE,
        .fd = -1,
        .addr = (uint64_t)id,
        .len = IORING_POLL_UPDATE_EVENTS,
        .poll32_events = op_poll_mask(events),
    };
    loop_id update;

    if (id <= 0)
        return op_refuse(loop, __func__, terms, -EINVAL);
    update = op_start_sqe(loop, __func__, &sqe, cb, arg, terms);
    if (update > 0 && !shared_elsewhere(loop)) /* there the contexts are not ours to touch */
        multishot_poll_for(loop, id, sqe.poll32_events);
    return update;
}

/* ---- timeouts */

int op_timeout_flags(uint32_t flags, uint32_t *ret_flags)
{
    const uint32_t clocks = LOOP_TIMEOUT_BOOTTIME | LOOP_TIMEOUT_REALTIME;

    if ((flags & ~(clocks | LOOP_TIMEOUT_ABSOLUTE)) != 0 || (flags & clocks) == clocks)
        return -EINVAL;
    *ret_flags = ((flags & LOOP_TIMEOUT_ABSOLUTE) != 0 ? IORING_TIMEOUT_ABS : 0) |
                 ((flags & LOOP_TIMEOUT_BOOTTIME) != 0 ? IORING_TIMEOUT_BOOTTIME : 0) |
                 ((flags & LOOP_TIMEOUT_REALTIME) != 0 ? IORING_TIMEOUT_REALTIME : 0);
    return 0;
}

/* The timespec is copied and pointed to by the member given. */
static loop_id start_timeout(struct loop *loop, const char *call, struct io_uring_sqe *sqe, size_t member,
                             uint64_t timeout_ns, uint32_t flags, loop_cb *cb, void *arg,
                             const struct loop_terms *terms)
{
    struct __kernel_timespec time = ring_timespec(timeout_ns);
    struct op_piece          piece = {&time, sizeof(time), member};
    uint32_t                 kernel_flags = 0;

    if (op_timeout_flags(flags, &kernel_flags) < 0)
        return op_refuse(loop, call, terms, -EINVAL);
    sqe->fd = -1;
    sqe->timeout_flags |= kernel_flags;
    return op_start_copied(loop, call, sqe, &piece, 1, 0, cb, arg, terms);
}

loop_id loop_timeout(struct loop *loop, uint64_t timeout_ns, uint32_t count, uint32_t flags, loop_cb *cb, void *arg,
                     const struct loop_terms *terms)
{
    struct io_uring_sqe sqe = {.opcode = IORING_OP_TIMEOUT, .len = 1, .off = count};

    return start_timeout(loop, __func__, &sqe, OP_MEMBER(addr), timeout_ns, flags, cb, arg, terms);
}

loop_id loop_timeout_remove(struct loop *loop, loop_id id, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    struct io_uring_sqe sqe = {.opcode = IORING_OP_TIMEOUT_REMOVE, .fd = -1, .addr = (uint64_t)id};

    if (id <= 0)
        return op_refuse(loop, __func__, terms, -EINVAL);
    return op_start_sqe(loop, __func__, &sqe, cb, arg, terms);
}

loop_id loop_timeout_update(struct loop *loop, loop_id id, uint64_t timeout_ns, uint32_t flags, loop_cb *cb, void *arg,
                            const struct loop_terms *terms)
{
    struct io_uring_sqe sqe = {
        .opcode = IORING_OP_TIMEOUT_REMOVE,
        .addr = (uint64_t)id,
        .timeout_flags = IORING_TIMEOUT_UPDATE,
    };

    if (id <= 0)
        return op_refuse(loop, __func__, terms, -EINVAL);
    return start_timeout(loop, __func__, &sqe, OP_MEMBER(addr2), timeout_ns, flags, cb, arg, terms);
}

/* Whether what stands last in the open chain may be given a linked timeout. */
static bool chain_takes_timeout(const struct loop *loop)
{
    return loop->chain_open && loop->chain.count > 0 &&
           sqe_queue_at(loop, &loop->chain, loop->chain.count - 1)->opcode != IORING_OP_LINK_TIMEOUT;
}

static bool only_data(const struct loop_terms *terms)
{
    return terms == NULL ||
           (terms->timeout_ns == 0 && terms->flags == 0 && terms->release == 0 && terms->personality == 0);
}

loop_id loop_link_timeout(struct loop *loop, uint64_t timeout_ns, uint32_t flags, loop_cb *cb, void *arg,
                          const struct loop_terms *terms)
{
    struct io_uring_sqe sqe = {.opcode = IORING_OP_LINK_TIMEOUT, .len = 1};

    loop_check_owner(loop, __func__);
    if (!chain_takes_timeout(loop) || !only_data(terms))
        return op_refuse(loop, __func__, terms, -EINVAL);
    return start_timeout(loop, __func__, &sqe, OP_MEMBER(addr), timeout_ns, flags, cb, arg, terms);
}

/* ---- other operations */

/* Of matching by opcode older kernels say nothing, and match something else; none of them has futexes. */
static bool knows_cancel_by_opcode(const struct loop *loop)
{
    return ring_knows(&loop->ring, IORING_OP_FUTEX_WAIT);
}

_Static_assert(LOOP_MATCH_ALL == IORING_ASYNC_CANCEL_ALL && LOOP_MATCH_FD == IORING_ASYNC_CANCEL_FD &&
                   LOOP_MATCH_ANY == IORING_ASYNC_CANCEL_ANY && LOOP_MATCH_ID == IORING_ASYNC_CANCEL_USERDATA &&
                   LOOP_MATCH_OPCODE == IORING_ASYNC_CANCEL_OP,
               "passed on as they are");

static int check_match(const struct loop *loop, const struct loop_match *match)
{
    const uint32_t all = LOOP_MATCH_ALL | LOOP_MATCH_FD | LOOP_MATCH_ANY | LOOP_MATCH_ID | LOOP_MATCH_OPCODE;

    if (match == NULL || (match->flags & ~all) != 0 || match->reserved != 0 ||
        ((match->flags & LOOP_MATCH_ANY) != 0 && (match->flags & ~(uint32_t)(LOOP_MATCH_ALL | LOOP_MATCH_ANY)) != 0))
        return -EINVAL;
    if ((match->flags & LOOP_MATCH_OPCODE) != 0 && match->opcode > UINT8_MAX) /* the kernel would cut it off */
        return -EINVAL;
    if ((match->flags & LOOP_MATCH_FD) != 0 && match->fd < 0)
        return -EBADF;
    if ((match->flags & (LOOP_MATCH_OPCODE | LOOP_MATCH_ID)) != 0 && !knows_cancel_by_opcode(loop))
        return -EOPNOTSUPP;
    return 0;
}

loop_id loop_async_cancel(struct loop *loop, const struct loop_match *match, loop_cb *cb, void *arg,
                          const struct loop_terms *terms)
{
    struct io_uring_sqe sqe = {.opcode = IORING_OP_ASYNC_CANCEL, .fd = -1};
    int                 r;

    op_check_thread(loop, __func__);
    r = check_match(loop, match);
    if (r < 0)
        return op_refuse(loop, __func__, terms, r);
    sqe.addr = match->id;
    sqe.cancel_flags = match->flags;
    if ((match->flags & LOOP_MATCH_OPCODE) != 0)
        sqe.len = match->opcode;
    if ((match->flags & LOOP_MATCH_FD) != 0) {
        sqe.fd = match->fd & ~LOOP_FIXED_FLAG;
        if ((match->fd & LOOP_FIXED_FLAG) != 0)
            sqe.cancel_flags |= IORING_ASYNC_CANCEL_FD_FIXED;
    }
    return op_start_sqe(loop, __func__, &sqe, cb, arg, terms);
}

/* ---- epoll */

loop_id loop_epoll_ctl(struct loop *loop, int epfd, int op, int fd, const struct epoll_event *event, loop_cb *cb,
                       void *arg, const struct loop_terms *terms)
{
    struct io_uring_sqe sqe = {
        .opcode = IORING_OP_EPOLL_CTL,
        .fd = epfd,
        .off = (uint64_t)(unsigned)fd,
        .len = (unsigned)op,
    };
    struct op_piece piece = {event, sizeof(*event), OP_MEMBER(addr)};

    if (epfd < 0 || fd < 0 || (epfd & LOOP_FIXED_FLAG) != 0 || (fd & LOOP_FIXED_FLAG) != 0)
        return op_refuse(loop, __func__, terms, -EBADF);
    if (event == NULL && op != EPOLL_CTL_DEL)
        return op_refuse(loop, __func__, terms, -EINVAL);
    return op_start_copied(loop, __func__, &sqe, &piece, event == NULL ? 0 : 1, 0, cb, arg, terms);
}

loop_id loop_epoll_wait(struct loop *loop, int epfd, struct epoll_event *events, int maxevents, loop_cb *cb, void *arg,
                        const struct loop_terms *terms)
{
    struct io_uring_sqe sqe = {
        .opcode = IORING_OP_EPOLL_WAIT,
        .addr = (uint64_t)(uintptr_t)events,
        .len = (unsigned)maxevents,
    };

    if (epfd < 0)
        return op_refuse(loop, __func__, terms, -EBADF);
    if (events == NULL || maxevents <= 0)
        return op_refuse(loop, __func__, terms, -EINVAL);
    op_sqe_set_fd(&sqe, epfd);
    return op_start_sqe(loop, __func__, &sqe, cb, arg, terms);
}

/* ---- other rings */

_Static_assert(LOOP_MESSAGE(1, 2) == ((UINT64_C(2) << UD_MESSAGE_SHIFT | 1) << UD_VALUE_SHIFT |
                                      (uint64_t)HANDLER_MESSAGE << UD_HANDLER_SHIFT | UD_DIRECT),
               "public and private notation of messages agree");

loop_id loop_msg_ring(struct loop *loop, int ring_fd, int32_t res, uint64_t data, loop_cb *cb, void *arg,
                      const struct loop_terms *terms)
{
    struct io_uring_sqe sqe = {
        .opcode = IORING_OP_MSG_RING,
        .fd = ring_fd,
        .off = data,
        .addr = IORING_MSG_DATA,
        .len = (unsigned)res,
    };

    if (ring_fd < 0 || (ring_fd & LOOP_FIXED_FLAG) != 0)
        return op_refuse(loop, __func__, terms, -EBADF);
    return op_start_sqe(loop, __func__, &sqe, cb, arg, terms);
}

loop_id loop_msg_ring_fd(struct loop *loop, int ring_fd, int source, int target, uint64_t data, loop_cb *cb, void *arg,
                         const struct loop_terms *terms)
{
    struct io_uring_sqe sqe = {
        .opcode = IORING_OP_MSG_RING,
        .fd = ring_fd,
        .off = data,
        .addr = IORING_MSG_SEND_FD,
        .addr3 = (unsigned)(source & ~LOOP_FIXED_FLAG),
        .file_index = target == LOOP_SLOT_AUTO ? IORING_FILE_INDEX_ALLOC : (unsigned)(target & ~LOOP_FIXED_FLAG) + 1,
    };

    if (ring_fd < 0 || (ring_fd & LOOP_FIXED_FLAG) != 0 || source < 0)
        return op_refuse(loop, __func__, terms, -EBADF);
    if ((source & LOOP_FIXED_FLAG) == 0 || target < LOOP_SLOT_AUTO)
        return op_refuse(loop, __func__, terms, -EINVAL);
    return op_start_sqe(loop, __func__, &sqe, cb, arg, terms);
}
