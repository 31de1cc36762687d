/* loop/op_socket.c: socket operations, and nop and close. */
#include "loop/op_copy.h"

#include <limits.h>
#include <string.h>

loop_id loop_nop(struct loop *loop, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    return op_start(loop, __func__, (struct op_sqe){.opcode = IORING_OP_NOP, .fd = -1}, cb, arg, terms);
}

loop_id loop_socket(struct loop *loop, int domain, int type, int protocol, loop_cb *cb, void *arg,
                    const struct loop_terms *terms)
{
    return op_start(loop, __func__,
                    (struct op_sqe){.opcode = IORING_OP_SOCKET,
                                    .fd = domain,
                                    .off = (uint64_t)(unsigned)(type | SOCK_CLOEXEC),
                                    .len = (unsigned)protocol},
                    cb, arg, terms);
}

/* Connect and bind: the address is copied, and its size stands in the same place. */
static loop_id start_with_address(struct loop *loop, const char *call, uint8_t opcode, int fd,
                                  const struct sockaddr *addr, socklen_t addrlen, loop_cb *cb, void *arg,
                                  const struct loop_terms *terms)
{
    struct io_uring_sqe sqe = {.opcode = opcode, .addr2 = addrlen};
    struct op_piece     piece = {addr, addrlen, OP_MEMBER(addr)};

    if (fd < 0)
        return op_refuse(loop, call, terms, -EBADF);
    if (addr == NULL || addrlen == 0 || addrlen > CONTEXT_NAME_BYTES)
        return op_refuse(loop, call, terms, -EINVAL);
    op_sqe_set_fd(&sqe, fd);
    return op_start_copied(loop, call, &sqe, &piece, 1, 0, cb, arg, terms);
}

loop_id loop_connect(struct loop *loop, int fd, const struct sockaddr *addr, socklen_t addrlen, loop_cb *cb, void *arg,
                     const struct loop_terms *terms)
{
    return start_with_address(loop, __func__, IORING_OP_CONNECT, fd, addr, addrlen, cb, arg, terms);
}

loop_id loop_bind(struct loop *loop, int fd, const struct sockaddr *addr, socklen_t addrlen, loop_cb *cb, void *arg,
                  const struct loop_terms *terms)
{
    return start_with_address(loop, __func__, IORING_OP_BIND, fd, addr, addrlen, cb, arg, terms);
}

loop_id loop_listen(struct loop *loop, int fd, int backlog, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    struct io_uring_sqe sqe = {.opcode = IORING_OP_LISTEN, .len = (unsigned)backlog};

    if (fd < 0)
        return op_refuse(loop, __func__, terms, -EBADF);
    if (backlog < 0)
        return op_refuse(loop, __func__, terms, -EINVAL);
    op_sqe_set_fd(&sqe, fd);
    return op_start_sqe(loop, __func__, &sqe, cb, arg, terms);
}

loop_id loop_accept(struct loop *loop, int fd, struct sockaddr *addr, socklen_t *addrlen, int flags, loop_cb *cb,
                    void *arg, const struct loop_terms *terms)
{
    if ((addr != NULL && addrlen == NULL) || (flags & ~(SOCK_NONBLOCK | SOCK_CLOEXEC)) != 0)
        return op_refuse(loop, __func__, terms, -EINVAL);
    return op_start_on_fd(loop, __func__, fd,
                          (struct op_sqe){.opcode = IORING_OP_ACCEPT,
                                          .addr = (uint64_t)(uintptr_t)addr,
                                          .off = (uint64_t)(uintptr_t)addrlen,
                                          .op_flags = (unsigned)(flags | SOCK_CLOEXEC)},
                          cb, arg, terms);
}

loop_id loop_shutdown(struct loop *loop, int fd, int how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    if (how != SHUT_RD && how != SHUT_WR && how != SHUT_RDWR)
        return op_refuse(loop, __func__, terms, -EINVAL);
    return op_start_on_fd(loop, __func__, fd, (struct op_sqe){.opcode = IORING_OP_SHUTDOWN, .len = (unsigned)how}, cb,
                          arg, terms);
}

/* The slot of a fixed file stands in its own field, counted from 1. */
static loop_id close_slot(struct loop *loop, const char *call, int fd, loop_cb *cb, void *arg,
                          const struct loop_terms *terms)
{
    struct io_uring_sqe sqe = {.opcode = IORING_OP_CLOSE, .file_index = (unsigned)(fd & ~LOOP_FIXED_FLAG) + 1};

    return op_start_sqe(loop, call, &sqe, cb, arg, terms);
}

loop_id loop_close(struct loop *loop, int fd, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    if (fd < 0)
        return op_refuse(loop, __func__, terms, -EBADF);
    if (unlikely((fd & LOOP_FIXED_FLAG) != 0))
        return close_slot(loop, __func__, fd, cb, arg, terms);
    return op_start(loop, __func__, (struct op_sqe){.opcode = IORING_OP_CLOSE, .fd = fd}, cb, arg, terms);
}

loop_id loop_send(struct loop *loop, int fd, const void *buf, size_t size, int flags, loop_cb *cb, void *arg,
                  const struct loop_terms *terms)
{
    if (unlikely(op_check_transfer(buf, size, terms) < 0))
        return op_refuse(loop, __func__, terms, -EINVAL);
    return op_start_on_fd(loop, __func__, fd,
                          (struct op_sqe){.opcode = IORING_OP_SEND,
                                          .addr = (uint64_t)(uintptr_t)buf,
                                          .len = (unsigned)size,
                                          .op_flags = (unsigned)(flags | MSG_WAITALL | MSG_NOSIGNAL)},
                          cb, arg, terms);
}

loop_id loop_sendto(struct loop *loop, int fd, const void *buf, size_t size, int flags, const struct sockaddr *addr,
                    socklen_t addrlen, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    struct io_uring_sqe sqe = {
        .opcode = IORING_OP_SEND,
        .addr = (uint64_t)(uintptr_t)buf,
        .len = (unsigned)size,
        .msg_flags = (unsigned)(flags | MSG_WAITALL | MSG_NOSIGNAL),
        .addr_len = (uint16_t)addrlen,
    };
    struct op_piece piece = {addr, addrlen, OP_MEMBER(addr2)};

    if (fd < 0)
        return op_refuse(loop, __func__, terms, -EBADF);
    if (op_check_transfer(buf, size, NULL) < 0 || addr == NULL || addrlen == 0 || addrlen > CONTEXT_NAME_BYTES)
        return op_refuse(loop, __func__, terms, -EINVAL);
    op_sqe_set_fd(&sqe, fd);
    return op_start_copied(loop, __func__, &sqe, &piece, 1, 0, cb, arg, terms);
}

loop_id loop_recv(struct loop *loop, int fd, void *buf, size_t size, int flags, loop_cb *cb, void *arg,
                  const struct loop_terms *terms)
{
    if (unlikely(op_check_transfer(buf, size, terms) < 0))
        return op_refuse(loop, __func__, terms, -EINVAL);
    return op_start_on_fd(loop, __func__, fd,
                          (struct op_sqe){.opcode = IORING_OP_RECV,
                                          .addr = (uint64_t)(uintptr_t)buf,
                                          .len = (unsigned)size,
                                          .op_flags = (unsigned)flags},
                          cb, arg, terms);
}

enum { CONTROL_BYTES_MAX = 1 << 20 }; /* far more than the kernel takes (net.core.optmem_max) */

/* Copies header, name, control and iovec array: into the context where they fit, else into one block beside it. */
int op_prepare_message(struct loop *loop, struct context_extended *extended, struct io_uring_sqe *sqe,
                       const void *source)
{
    const struct msghdr *msg = source;
    size_t               iov_bytes = msg->msg_iovlen * sizeof(struct iovec);
    size_t               iov_beside = msg->msg_iovlen <= CONTEXT_IOV_INLINE ? 0 : iov_bytes;
    size_t               control_bytes = msg->msg_control == NULL ? 0 : msg->msg_controllen;
    size_t               name_bytes = msg->msg_name == NULL ? 0 : msg->msg_namelen;
    char                *beside = NULL;

    if (iov_beside + control_bytes + name_bytes > 0) {
        beside = memory_resize(loop, NULL, iov_beside + control_bytes + name_bytes);
        if (beside == NULL)
            return -ENOMEM;
        extended->heap = beside;
    }
    extended->msg = *msg;
    extended->msg.msg_iov = iov_beside == 0 ? extended->iov : (struct iovec *)(void *)beside;
    if (iov_bytes > 0)
        memcpy(extended->msg.msg_iov, msg->msg_iov, iov_bytes);
    extended->msg.msg_control = control_bytes == 0 ? NULL : beside + iov_beside;
    extended->msg.msg_controllen = control_bytes;
    if (control_bytes > 0)
        memcpy(extended->msg.msg_control, msg->msg_control, control_bytes);
    extended->msg.msg_name = name_bytes == 0 ? NULL : beside + iov_beside + control_bytes;
    if (name_bytes > 0)
        memcpy(extended->msg.msg_name, msg->msg_name, name_bytes);
    sqe->addr = (uint64_t)(uintptr_t)&extended->msg;
    return 0;
}

int op_check_message(const struct msghdr *msg)
{
    if (msg == NULL || msg->msg_iovlen > IOV_MAX || (msg->msg_iov == NULL && msg->msg_iovlen > 0) ||
        (msg->msg_name != NULL && msg->msg_namelen > CONTEXT_NAME_BYTES) ||
        (msg->msg_control != NULL && msg->msg_controllen > CONTROL_BYTES_MAX))
        return -EINVAL;
    return 0;
}

loop_id loop_sendmsg(struct loop *loop, int fd, const struct msghdr *msg, int flags, loop_cb *cb, void *arg,
                     const struct loop_terms *terms)
{
    struct op_request request = {
        .sqe = {.opcode = IORING_OP_SENDMSG, .len = 1, .msg_flags = (unsigned)(flags | MSG_WAITALL | MSG_NOSIGNAL)},
        .kind = CONTEXT_ONE_SHOT,
        .cb = cb,
        .arg = arg,
        .terms = terms,
        .prepare = op_prepare_message,
        .source = msg,
    };

    op_check_thread(loop, __func__);
    if (fd < 0)
        return op_refuse(loop, __func__, terms, -EBADF);
    if (op_check_message(msg) < 0)
        return op_refuse(loop, __func__, terms, -EINVAL);
    op_sqe_set_fd(&request.sqe, fd);
    return op_start_request(loop, __func__, &request);
}

loop_id op_send_some(struct loop *loop, int fd, const struct iovec *iov, size_t count, loop_cb *cb, void *arg)
{
    const struct msghdr msg = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = count};
    struct op_request   request = {
          .sqe = {.opcode = IORING_OP_SENDMSG, .len = 1, .msg_flags = MSG_NOSIGNAL},
          .kind = CONTEXT_ONE_SHOT,
          .cb = cb,
          .arg = arg,
          .prepare = op_prepare_message,
          .source = &msg,
    };

    if (count == 1)
        return op_start_on_fd(loop, __func__, fd,
                              (struct op_sqe){.opcode = IORING_OP_SEND,
                                              .addr = (uint64_t)(uintptr_t)iov->iov_base,
                                              .len = (unsigned)iov->iov_len,
                                              .op_flags = MSG_NOSIGNAL},
                              cb, arg, NULL);
    op_sqe_set_fd(&request.sqe, fd);
    return op_start_request(loop, __func__, &request);
}

/* Header and iovec array are copied; name and control data are written by the kernel, straight to the caller's. */
static int prepare_received_message(struct loop *loop, struct context_extended *extended, struct io_uring_sqe *sqe,
                                    const void *source)
{
    const struct msghdr *msg = source;
    size_t               iov_bytes = msg->msg_iovlen * sizeof(struct iovec);

    extended->msg = *msg;
    extended->msg.msg_iov = extended->iov;
    if (msg->msg_iovlen > CONTEXT_IOV_INLINE) {
        extended->heap = memory_resize(loop, NULL, iov_bytes);
        if (extended->heap == NULL)
            return -ENOMEM;
        extended->msg.msg_iov = extended->heap;
    }
    if (iov_bytes > 0)
        memcpy(extended->msg.msg_iov, msg->msg_iov, iov_bytes);
    extended->message = true;
    sqe->addr = (uint64_t)(uintptr_t)&extended->msg;
    return 0;
}

loop_id loop_recvmsg(struct loop *loop, int fd, const struct msghdr *msg, int flags, loop_cb *cb, void *arg,
                     const struct loop_terms *terms)
{
    struct op_request request = {
        .sqe = {.opcode = IORING_OP_RECVMSG, .len = 1, .msg_flags = (unsigned)flags},
        .kind = CONTEXT_ONE_SHOT,
        .cb = cb,
        .arg = arg,
        .terms = terms,
        .prepare = prepare_received_message,
        .source = msg,
    };

    if (fd < 0)
        return op_refuse(loop, __func__, terms, -EBADF);
    if (msg == NULL || msg->msg_iovlen > IOV_MAX || (msg->msg_iov == NULL && msg->msg_iovlen > 0))
        return op_refuse(loop, __func__, terms, -EINVAL);
    op_sqe_set_fd(&request.sqe, fd);
    return op_start_request(loop, __func__, &request);
}
