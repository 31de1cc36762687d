/* loop/socket_option.c: sockets by kind, their options by the ring, TCP fast open. */
#include "loop/fixed.h"
#include "loop/op_copy.h"

#include <limits.h>
#include <netinet/in.h>
#include <ringloop/socket.h>
#include <string.h>

enum { OPTION_BYTES_MAX = 1 << 20 };

/* ---- kinds */

struct kind {
    int domain, type, protocol;
};

static const struct kind kinds[] = {
    [LOOP_TCP4] = {AF_INET, SOCK_STREAM, IPPROTO_TCP},
    [LOOP_TCP6] = {AF_INET6, SOCK_STREAM, IPPROTO_TCP},
    [LOOP_UDP4] = {AF_INET, SOCK_DGRAM, IPPROTO_UDP},
    [LOOP_UDP6] = {AF_INET6, SOCK_DGRAM, IPPROTO_UDP},
    [LOOP_UDPLITE4] = {AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE},
    [LOOP_UDPLITE6] = {AF_INET6, SOCK_DGRAM, IPPROTO_UDPLITE},
    [LOOP_SCTP4] = {AF_INET, SOCK_STREAM, IPPROTO_SCTP},
    [LOOP_SCTP6] = {AF_INET6, SOCK_STREAM, IPPROTO_SCTP},
    [LOOP_UNIX_STREAM] = {AF_UNIX, SOCK_STREAM, 0},
    [LOOP_UNIX_DGRAM] = {AF_UNIX, SOCK_DGRAM, 0},
    [LOOP_UNIX_SEQPACKET] = {AF_UNIX, SOCK_SEQPACKET, 0},
    [LOOP_RAW4] = {AF_INET, SOCK_RAW, 0},
    [LOOP_RAW6] = {AF_INET6, SOCK_RAW, 0},
};

int loop_socket_kind_parts(enum loop_socket_kind kind, int protocol, int *ret_domain, int *ret_type, int *ret_protocol)
{
    const struct kind *parts;

    if ((unsigned)kind >= ARRAY_COUNT(kinds) || protocol < 0 || protocol > UINT8_MAX)
        return -EINVAL;
    parts = &kinds[kind];
    if (parts->type != SOCK_RAW && protocol != 0)
        return -EINVAL;
    *ret_domain = parts->domain;
    *ret_type = parts->type;
    *ret_protocol = parts->type == SOCK_RAW ? protocol : parts->protocol;
    return 0;
}

loop_id loop_socket_of_kind(struct loop *loop, enum loop_socket_kind kind, int protocol, loop_cb *cb, void *arg,
                            const struct loop_terms *terms)
{
    struct kind parts;

    op_check_thread(loop, __func__);
    if (loop_socket_kind_parts(kind, protocol, &parts.domain, &parts.type, &parts.protocol) < 0)
        return op_refuse(loop, __func__, terms, -EINVAL);
    return loop_socket(loop, parts.domain, parts.type, parts.protocol, cb, arg, terms);
}

loop_id loop_socket_of_kind_direct(struct loop *loop, enum loop_socket_kind kind, int protocol, int slot, loop_cb *cb,
                                   void *arg, const struct loop_terms *terms)
{
    struct kind parts;

    op_check_thread(loop, __func__);
    if (loop_socket_kind_parts(kind, protocol, &parts.domain, &parts.type, &parts.protocol) < 0)
        return op_refuse(loop, __func__, terms, -EINVAL);
    return loop_socket_direct(loop, parts.domain, parts.type, parts.protocol, slot, cb, arg, terms);
}

/* ---- options */

static loop_id start_command(struct loop *loop, const char *call, int fd, struct op_request *request)
{
    if (fd < 0)
        return op_refuse(loop, call, request->terms, -EBADF);
    request->sqe.opcode = IORING_OP_URING_CMD;
    request->kind = CONTEXT_ONE_SHOT;
    op_sqe_set_fd(&request->sqe, fd);
    return op_start_request(loop, call, request);
}

loop_id loop_setsockopt(struct loop *loop, int fd, int level, int name, const void *value, uint32_t size, loop_cb *cb,
                        void *arg, const struct loop_terms *terms)
{
    struct op_piece   piece = {value, size, OP_MEMBER(optval)};
    struct op_request request = {
        .sqe = {.cmd_op = SOCKET_URING_OP_SETSOCKOPT,
                .level = (unsigned)level,
                .optname = (unsigned)name,
                .optlen = size},
        .cb = cb,
        .arg = arg,
        .terms = terms,
        .prepare = op_prepare_pieces,
        .source = &(struct op_pieces){&piece, 1},
    };

    if ((value == NULL && size > 0) || size > OPTION_BYTES_MAX)
        return op_refuse(loop, __func__, terms, -EINVAL);
    return start_command(loop, __func__, fd, &request);
}

loop_id loop_getsockopt(struct loop *loop, int fd, int level, int name, void *value, uint32_t size, loop_cb *cb,
                        void *arg, const struct loop_terms *terms)
{
    struct op_request request = {
        .sqe = {.cmd_op = SOCKET_URING_OP_GETSOCKOPT,
                .level = (unsigned)level,
                .optname = (unsigned)name,
                .optlen = size,
                .optval = (uint64_t)(uintptr_t)value},
        .cb = cb,
        .arg = arg,
        .terms = terms,
    };

    if ((value == NULL && size > 0) || size > INT_MAX)
        return op_refuse(loop, __func__, terms, -EINVAL);
    return start_command(loop, __func__, fd, &request);
}

loop_id loop_socket_inq(struct loop *loop, int fd, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    struct op_request request = {.sqe = {.cmd_op = SOCKET_URING_OP_SIOCINQ}, .cb = cb, .arg = arg, .terms = terms};

    return start_command(loop, __func__, fd, &request);
}

loop_id loop_socket_outq(struct loop *loop, int fd, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    struct op_request request = {.sqe = {.cmd_op = SOCKET_URING_OP_SIOCOUTQ}, .cb = cb, .arg = arg, .terms = terms};

    return start_command(loop, __func__, fd, &request);
}

/* ---- TCP fast open */

int loop_tcp_fastopen(uint32_t *ret_bits)
{
    long number;
    int  r = sys_read_number("/proc/sys/net/ipv4/tcp_fastopen", &number);

    if (r < 0)
        return r;
    *ret_bits = (uint32_t)number & (LOOP_TCP_FASTOPEN_CLIENT | LOOP_TCP_FASTOPEN_SERVER);
    return 0;
}

const char *loop_tcp_fastopen_text(uint32_t bits)
{
    switch (bits & (LOOP_TCP_FASTOPEN_CLIENT | LOOP_TCP_FASTOPEN_SERVER)) {
    case LOOP_TCP_FASTOPEN_CLIENT:
        return "TCP fast open is on for clients only. For servers set the sysctl net.ipv4.tcp_fastopen to 3.";
    case LOOP_TCP_FASTOPEN_SERVER:
        return "TCP fast open is on for servers only. For clients set the sysctl net.ipv4.tcp_fastopen to 3.";
    case LOOP_TCP_FASTOPEN_CLIENT | LOOP_TCP_FASTOPEN_SERVER: return "TCP fast open is on for clients and servers.";
    default: return "TCP fast open is off. Set the sysctl net.ipv4.tcp_fastopen: 1 clients, 2 servers, 3 both.";
    }
}
