/* ringloop/zero_copy.h: sends that leave the bytes where they are until the network has taken them.
 *
 * Loop thread only. Errors of a call as in op.h. An operation calls back exactly twice:
 *   1. with LOOP_MORE: res is the result, bytes or a negative errno, as of send(2). The memory is not free yet.
 *   2. the final one, with LOOP_RELEASED: the kernel has let go of the memory; res is the result once more.
 * LOOP_COPIED: it had copied the bytes after all (kernel 6.3; loopback always does), so that a plain send would be
 * cheaper; after an error it says nothing. Memory is borrowed until the second, and terms.release goes back after it:
 * also where the kernel took nothing.
 *
 * For tcp the second comes when the peer has acknowledged the bytes, or the connection is reset: it may take seconds,
 * or as long as the peer does not read. Start the next send after the first. loop_cancel() and deadlines concern the
 * result only: after that a cancel returns 0 and has no effect. loop_destroy() waits for the second, too: a peer that
 * reads nothing holds it up. What lets go at once is a reset: SO_LINGER with 0 seconds and close(2).
 *
 * Results besides those of send(2): -EOPNOTSUPP: the socket cannot do it (AF_UNIX); -ENOMEM: the bytes do not fit into
 * RLIMIT_MEMLOCK, against which they count until the second callback unless the loop was made with CAP_IPC_LOCK. A
 * plain send does in both cases; nothing has been sent.
 *
 * The kernel sends all of it as far as it goes (MSG_WAITALL), and SIGPIPE is never raised. In a chain the next
 * operation begins after the result. In direct mode loop_send_zc() calls the handler with LOOP_MORE and the result,
 * then with LOOP_RELEASED and res 0; or once, if the kernel took nothing. */
#ifndef RINGLOOP_ZERO_COPY_H
#define RINGLOOP_ZERO_COPY_H

#include <ringloop/types.h>

#include <sys/socket.h>

LOOP_BEGIN_DECLS

/* send(2), and sendto(2) for sockets that are not connected; copies addr, borrows buf. */
LOOP_API loop_id loop_send_zc(struct loop *loop, int fd, const void *buf, size_t size, int flags, loop_cb *cb,
                              void *arg, const struct loop_terms *terms);
LOOP_API loop_id loop_sendto_zc(struct loop *loop, int fd, const void *buf, size_t size, int flags,
                                const struct sockaddr *addr, socklen_t addrlen, loop_cb *cb, void *arg,
                                const struct loop_terms *terms);

/* sendmsg(2): copies what loop_sendmsg() copies, borrows the data. */
LOOP_API loop_id loop_sendmsg_zc(struct loop *loop, int fd, const struct msghdr *msg, int flags, loop_cb *cb, void *arg,
                                 const struct loop_terms *terms);

/* The same from the registered buffer of that index (fixed.h), within which all the data must lie (else the result is
 * -EFAULT): its pages are pinned and counted already. A slot without a buffer: -EFAULT. Of the message, kernel 6.15;
 * before that the result is -EINVAL. */
LOOP_API loop_id loop_send_zc_fixed(struct loop *loop, int fd, const void *buf, size_t size, int flags, int index,
                                    loop_cb *cb, void *arg, const struct loop_terms *terms);
LOOP_API loop_id loop_sendmsg_zc_fixed(struct loop *loop, int fd, const struct msghdr *msg, int flags, int index,
                                       loop_cb *cb, void *arg, const struct loop_terms *terms);

LOOP_END_DECLS

#endif
