/* loop/op_zero_copy.c: starting zero-copy sends. */
#include "loop/op_copy.h"

#include <limits.h>
#include <ringloop/zero_copy.h>
#include <string.h>

/* Whether the kernel can say that it copied: since 6.2, which shows in nothing; since 6.3 in this feature. */
static uint16_t report_usage(const struct loop *loop)
{
    return (loop->ring.features & IORING_FEAT_REG_REG_RING) != 0 ? IORING_SEND_ZC_REPORT_USAGE : 0;
}

static int check_transfer(const void *buf, size_t size)
{
    return (buf == NULL && size > 0) || size > INT_MAX ? -EINVAL : 0;
}

static struct op_request send_request(uint8_t opcode, int fd, int flags, loop_cb *cb, void *arg,
                                      const struct loop_terms *terms)
{
    struct op_sqe model = op_on_fd((struct op_sqe){0}, fd);

    return (struct op_request){
        .sqe = {.opcode = opcode,
                .flags = model.flags,
                .fd = model.fd,
                .msg_flags = (unsigned)(flags | MSG_WAITALL | MSG_NOSIGNAL)},
        .kind = CONTEXT_ZERO_COPY,
        .cb = cb,
        .arg = arg,
        .terms = terms,
    };
}

/* Returns error, or else -EINVAL for what can't be an index. */
static int use_fixed(struct op_request *request, int index, int error)
{
    request->sqe.ioprio |= IORING_RECVSEND_FIXED_BUF;
    request->sqe.buf_index = (uint16_t)index;
    return error == 0 && (index < 0 || index > UINT16_MAX) ? -EINVAL : error;
}

static loop_id start(struct loop *loop, const char *call, int fd, struct op_request *request, int error)
{
    if (fd < 0)
        return op_refuse(loop, call, request->terms, -EBADF);
    if (error < 0)
        return op_refuse(loop, call, request->terms, error);
    op_check_thread(loop, call);
    request->sqe.ioprio |= report_usage(loop);
    return op_start_request(loop, call, request);
}

static struct op_request bytes_request(int fd, const void *buf, size_t size, int flags, loop_cb *cb, void *arg,
                                       const struct loop_terms *terms)
{
    struct op_request request = send_request(IORING_OP_SEND_ZC, fd, flags, cb, arg, terms);

    request.sqe.addr = (uint64_t)(uintptr_t)buf;
    request.sqe.len = (unsigned)size;
    return request;
}

loop_id loop_send_zc(struct loop *loop, int fd, const void *buf, size_t size, int flags, loop_cb *cb, void *arg,
                     const struct loop_terms *terms)
{
    struct op_request request = bytes_request(fd, buf, size, flags, cb, arg, terms);

    return start(loop, __func__, fd, &request, check_transfer(buf, size));
}

loop_id loop_send_zc_fixed(struct loop *loop, int fd, const void *buf, size_t size, int flags, int index, loop_cb *cb,
                           void *arg, const struct loop_terms *terms)
{
    struct op_request request = bytes_request(fd, buf, size, flags, cb, arg, terms);

    return start(loop, __func__, fd, &request, use_fixed(&request, index, check_transfer(buf, size)));
}

loop_id loop_sendto_zc(struct loop *loop, int fd, const void *buf, size_t size, int flags, const struct sockaddr *addr,
                       socklen_t addrlen, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    struct op_request      request = bytes_request(fd, buf, size, flags, cb, arg, terms);
    const struct op_piece  piece = {addr, addrlen, OP_MEMBER(addr2)};
    const struct op_pieces pieces = {&piece, 1};
    bool                   bad = addr == NULL || addrlen == 0 || addrlen > CONTEXT_NAME_BYTES;

    request.sqe.addr_len = (uint16_t)addrlen;
    request.prepare = op_prepare_pieces;
    request.source = &pieces;
    return start(loop, __func__, fd, &request, bad ? -EINVAL : check_transfer(buf, size));
}

static struct op_request message_request(int fd, const struct msghdr *msg, int flags, loop_cb *cb, void *arg,
                                         const struct loop_terms *terms)
{
    struct op_request request = send_request(IORING_OP_SENDMSG_ZC, fd, flags, cb, arg, terms);

    request.sqe.len = 1;
    request.prepare = op_prepare_message;
    request.source = msg;
    return request;
}

loop_id loop_sendmsg_zc(struct loop *loop, int fd, const struct msghdr *msg, int flags, loop_cb *cb, void *arg,
                        const struct loop_terms *terms)
{
    struct op_request request = message_request(fd, msg, flags, cb, arg, terms);

    return start(loop, __func__, fd, &request, op_check_message(msg));
}

loop_id loop_sendmsg_zc_fixed(struct loop *loop, int fd, const struct msghdr *msg, int flags, int index, loop_cb *cb,
                              void *arg, const struct loop_terms *terms)
{
    struct op_request request = message_request(fd, msg, flags, cb, arg, terms);

    return start(loop, __func__, fd, &request, use_fixed(&request, index, op_check_message(msg)));
}
