/* loop/op_multishot.c: starting multishots. */
#include "loop/op_start.h"

#include <ringloop/op_poll.h>
#include <sys/epoll.h>

/* More is no use: the kernel takes less (net.core.optmem_max), and it has to fit into a buffer. */
enum { ROOM_FOR_CONTROL_MAX = 1 << 20, NAME_ALIGN = 16 };

static loop_id start_on(struct loop *loop, const char *call, struct op_request *request, int fd)
{
    if (fd < 0)
        return op_refuse(loop, call, request->terms, -EBADF);
    op_sqe_set_fd(&request->sqe, fd);
    return op_start_request(loop, call, request);
}

loop_id loop_accept_multishot(struct loop *loop, int fd, int flags, loop_cb *cb, void *arg,
                              const struct loop_terms *terms)
{
    struct op_request request = {
        .sqe = {.opcode = IORING_OP_ACCEPT,
                .ioprio = IORING_ACCEPT_MULTISHOT,
                .accept_flags = (unsigned)(flags | SOCK_CLOEXEC)},
        .kind = CONTEXT_ACCEPT,
        .cb = cb,
        .arg = arg,
        .terms = terms,
    };

    if ((flags & ~(SOCK_NONBLOCK | SOCK_CLOEXEC)) != 0)
        return op_refuse(loop, __func__, terms, -EINVAL);
    return start_on(loop, __func__, &request, fd);
}

loop_id loop_recv_multishot(struct loop *loop, int fd, uint16_t group, int flags, loop_cb *cb, void *arg,
                            const struct loop_terms *terms)
{
    struct op_request request = {
        .sqe = {.opcode = IORING_OP_RECV,
                .ioprio = IORING_RECV_MULTISHOT,
                .flags = IOSQE_BUFFER_SELECT,
                .buf_group = group,
                .msg_flags = (unsigned)flags},
        .kind = CONTEXT_RECV,
        .cb = cb,
        .arg = arg,
        .terms = terms,
    };

    return start_on(loop, __func__, &request, fd);
}

/* What the kernel reads of it, also each time it is armed again: how much room there shall be. */
static int prepare_room(struct loop *loop, struct context_extended *extended, struct io_uring_sqe *sqe,
                        const void *source)
{
    const struct msghdr *room = source;

    (void)loop;
    extended->msg = *room;
    sqe->addr = (uint64_t)(uintptr_t)&extended->msg;
    return 0;
}

loop_id loop_recvmsg_multishot(struct loop *loop, int fd, const struct msghdr *msg, uint16_t group, int flags,
                               loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    struct msghdr     room = {.msg_namelen = 0};
    struct op_request request = {
        .sqe = {.opcode = IORING_OP_RECVMSG,
                .ioprio = IORING_RECV_MULTISHOT,
                .flags = IOSQE_BUFFER_SELECT,
                .buf_group = group,
                .len = 1,
                .msg_flags = (unsigned)flags},
        .kind = CONTEXT_RECVMSG,
        .cb = cb,
        .arg = arg,
        .terms = terms,
        .prepare = prepare_room,
        .source = &room,
    };

    if (msg != NULL && (msg->msg_namelen > CONTEXT_NAME_BYTES || msg->msg_controllen > ROOM_FOR_CONTROL_MAX))
        return op_refuse(loop, __func__, terms, -EINVAL);
    if (msg != NULL) { /* rounded, so that what stands behind the name is aligned like the buffer */
        room.msg_namelen = (msg->msg_namelen + NAME_ALIGN - 1) & ~(socklen_t)(NAME_ALIGN - 1);
        room.msg_controllen = msg->msg_controllen;
    }
    return start_on(loop, __func__, &request, fd);
}

loop_id loop_read_multishot(struct loop *loop, int fd, uint16_t group, loop_cb *cb, void *arg,
                            const struct loop_terms *terms)
{
    struct op_request request = {
        .sqe = {.opcode = IORING_OP_READ_MULTISHOT,
                .off = UINT64_MAX, /* the file's own position */
                .flags = IOSQE_BUFFER_SELECT,
                .buf_group = group},
        .kind = CONTEXT_READ,
        .cb = cb,
        .arg = arg,
        .terms = terms,
    };

    return start_on(loop, __func__, &request, fd);
}

loop_id loop_poll_add_multishot(struct loop *loop, int fd, uint32_t events, uint32_t flags, loop_cb *cb, void *arg,
                                const struct loop_terms *terms)
{
    const bool        level = (flags & LOOP_POLL_LEVEL) != 0;
    struct op_request request = {
        .sqe = {.opcode = IORING_OP_POLL_ADD,
                .len = level ? 0 : IORING_POLL_ADD_MULTI,
                .poll32_events = op_poll_mask(events)},
        .kind = level ? CONTEXT_POLL_LEVEL : CONTEXT_POLL,
        .cb = cb,
        .arg = arg,
        .terms = terms,
    };

    if ((flags & ~(uint32_t)LOOP_POLL_LEVEL) != 0 || (events & (EPOLLET | EPOLLONESHOT)) != 0 ||
        (level && cb != NULL && !op_cb_is_plain(cb))) /* nobody would arm it again */
        return op_refuse(loop, __func__, terms, -EINVAL);
    return start_on(loop, __func__, &request, fd);
}

static int prepare_interval(struct loop *loop, struct context_extended *extended, struct io_uring_sqe *sqe,
                            const void *source)
{
    const uint64_t *interval_ns = source;

    (void)loop;
    extended->timespec = ring_timespec(*interval_ns);
    sqe->addr = (uint64_t)(uintptr_t)&extended->timespec;
    return 0;
}

loop_id loop_timeout_multishot(struct loop *loop, uint64_t interval_ns, uint32_t count, uint32_t flags, loop_cb *cb,
                               void *arg, const struct loop_terms *terms)
{
    uint32_t          clock = 0;
    struct op_request request = {
        .sqe = {.opcode = IORING_OP_TIMEOUT, .fd = -1, .len = 1, .off = count},
        .kind = CONTEXT_TIMEOUT,
        .cb = cb,
        .arg = arg,
        .terms = terms,
        .prepare = prepare_interval,
        .source = &interval_ns,
    };

    if (interval_ns < LOOP_TIMEOUT_INTERVAL_LEAST || (flags & LOOP_TIMEOUT_ABSOLUTE) != 0 ||
        op_timeout_flags(flags, &clock) < 0)
        return op_refuse(loop, __func__, terms, -EINVAL);
    request.sqe.timeout_flags = IORING_TIMEOUT_MULTISHOT | clock;
    return op_start_request(loop, __func__, &request);
}
