/* ringloop/socket.h: sockets by kind, their options by the ring, and what the system says of TCP fast open.
 *
 * Starting calls as in op.h: loop thread only; an id > 0, or a negative errno and no callback. */
#ifndef RINGLOOP_SOCKET_H
#define RINGLOOP_SOCKET_H

#include <ringloop/types.h>

LOOP_BEGIN_DECLS

enum loop_socket_kind {
    LOOP_TCP4,
    LOOP_TCP6,
    LOOP_UDP4,
    LOOP_UDP6,
    LOOP_UDPLITE4,
    LOOP_UDPLITE6,
    LOOP_SCTP4, /* one-to-one style */
    LOOP_SCTP6,
    LOOP_UNIX_STREAM,
    LOOP_UNIX_DGRAM,
    LOOP_UNIX_SEQPACKET,
    LOOP_RAW4,
    LOOP_RAW6,
};

/* What socket(2) takes for a kind. protocol: of the raw kinds (IPPROTO_*, 0 to 255); 0 for all others. Returns 0, or
 * -EINVAL. Any thread. */
LOOP_API int loop_socket_kind_parts(enum loop_socket_kind kind, int protocol, int *ret_domain, int *ret_type,
                                    int *ret_protocol);

/* loop_socket() and loop_socket_direct() (fixed.h) of a kind. res is what socket(2) answers: -EPROTONOSUPPORT for what
 * the kernel lacks (SCTP without its module, UDP-Lite where it was left out), -EPERM for raw sockets without
 * CAP_NET_RAW, -EAFNOSUPPORT without IPv6. */
LOOP_API loop_id loop_socket_of_kind(struct loop *loop, enum loop_socket_kind kind, int protocol, loop_cb *cb,
                                     void *arg, const struct loop_terms *terms);
LOOP_API loop_id loop_socket_of_kind_direct(struct loop *loop, enum loop_socket_kind kind, int protocol, int slot,
                                            loop_cb *cb, void *arg, const struct loop_terms *terms);

/* setsockopt(2) and getsockopt(2) in the order of the ring, and the only way for LOOP_FIXED. Kernel 6.7; before, and
 * for what is no socket, res is -EOPNOTSUPP. The value to set is copied, at most 1 MiB. The value to get is borrowed;
 * res is its size in bytes. Kernels so far get options of SOL_SOCKET only: res is -EOPNOTSUPP for other levels. */
LOOP_API loop_id loop_setsockopt(struct loop *loop, int fd, int level, int name, const void *value, uint32_t size,
                                 loop_cb *cb, void *arg, const struct loop_terms *terms);
LOOP_API loop_id loop_getsockopt(struct loop *loop, int fd, int level, int name, void *value, uint32_t size,
                                 loop_cb *cb, void *arg, const struct loop_terms *terms);

/* SIOCINQ and SIOCOUTQ of ioctl(2): res is the number of bytes to be read (UDP: of the first datagram), or not yet sent
 * and acknowledged. Kernel 6.5; before, and for sockets other than TCP, UDP and raw, res is -EOPNOTSUPP. */
LOOP_API loop_id loop_socket_inq(struct loop *loop, int fd, loop_cb *cb, void *arg, const struct loop_terms *terms);
LOOP_API loop_id loop_socket_outq(struct loop *loop, int fd, loop_cb *cb, void *arg, const struct loop_terms *terms);

/* TCP fast open, as the sysctl net.ipv4.tcp_fastopen allows it. */
enum loop_tcp_fastopen_bits {
    LOOP_TCP_FASTOPEN_CLIENT = 1u << 0, /* data with the SYN of a connect */
    LOOP_TCP_FASTOPEN_SERVER = 1u << 1, /* data with the SYN is accepted, where TCP_FASTOPEN is set */
};

/* Reads the sysctl; other bits of it are left out. Returns 0, or the errno of reading it. Any thread. */
LOOP_API int loop_tcp_fastopen(uint32_t *ret_bits);

/* What bits mean and what to change; a static string. Any thread. */
LOOP_API const char *loop_tcp_fastopen_text(uint32_t bits);

LOOP_END_DECLS

#endif
