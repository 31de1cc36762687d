/* ringloop/tcp.h: the options of TCP sockets, for listeners and streams, and for descriptors of your own. Any thread.
 */
#ifndef RINGLOOP_TCP_H
#define RINGLOOP_TCP_H

#include <ringloop/types.h>

LOOP_BEGIN_DECLS

enum loop_tcp_flags {
    LOOP_TCP_NODELAY = 1u << 0,      /* small segments leave at once */
    LOOP_TCP_DELAY = 1u << 1,        /* they wait to be joined: the system's default, over what was inherited */
    LOOP_TCP_QUICKACK = 1u << 2,     /* acknowledges at once until the kernel falls back; not inherited */
    LOOP_TCP_KEEPALIVE = 1u << 3,    /* SO_KEEPALIVE; implied by any of the three values */
    LOOP_TCP_NO_KEEPALIVE = 1u << 4, /* off, also where the values are set */
};

enum { LOOP_TCP_CONGESTION_MAX = 16 }; /* bytes of a name, its end included */

/* What is zero is left as it is: all-zero sets nothing. Unknown flags, and a flag with its opposite, are -EINVAL. */
struct loop_tcp_options {
    uint32_t flags                LOOP_ZERO;             /* enum loop_tcp_flags */
    uint32_t keepalive_idle_s     LOOP_ZERO;             /* silence before the first probe; at most 32767 */
    uint32_t keepalive_interval_s LOOP_ZERO;             /* between probes; at most 32767 */
    uint32_t keepalive_count      LOOP_ZERO;             /* lost probes that end it with -ETIMEDOUT; at most 127 */
    uint32_t user_timeout_ms      LOOP_ZERO;             /* sent data not acknowledged so long: -ETIMEDOUT */
    uint32_t send_buffer_bytes    LOOP_ZERO;             /* SO_SNDBUF; the kernel bounds it, and tunes it no more */
    uint32_t receive_buffer_bytes LOOP_ZERO;             /* SO_RCVBUF; the same */
    uint32_t notsent_lowat_bytes  LOOP_ZERO;             /* writable only while less than this is unsent */
    char congestion[LOOP_TCP_CONGESTION_MAX] LOOP_EMPTY; /* algorithm, "cubic", "bbr"; empty: leave it */
};

/* Sets them. On unix sockets the buffers count, and the rest has no effect. Set on a listening socket, before the
 * connections come, all but QUICKACK are inherited by each of them and cost it no system call. Returns 0, -EINVAL, or
 * what setsockopt(2) gave, e.g. -ENOENT (no such algorithm), -EBADF, -ENOTSOCK; what came before that is set then. */
LOOP_API LOOP_MUST_USE int loop_tcp_set(int fd, const struct loop_tcp_options *options);

/* What is in force, in the same terms: one flag of each pair is set, and the buffers are half of what the kernel keeps,
 * since it doubles what it is given. On other sockets all but the buffers is zero. Returns 0, or what getsockopt(2)
 * gave. */
LOOP_API LOOP_MUST_USE int loop_tcp_get(int fd, struct loop_tcp_options *ret_options);

LOOP_END_DECLS

#endif
