/* ringloop/unix.h: what only unix sockets can: descriptors sent along with bytes, who the peer is, pairs.
 *
 * Sending: loop_write_terms.fds and .fd_count. The numbers are copied by the call; the descriptors must stay open until
 * the write's callback, unless the stream takes them by LOOP_WRITE_CLOSE_FDS. They travel with the first byte of that
 * write, which leaves alone: never with bytes of another. The call gives -EINVAL if the socket is no unix socket, or
 * for more than LOOP_WRITE_FDS_MAX; -EBADF for negative numbers; then they stay yours. One that is not open when it
 * should leave, and too many on their way (-ETOOMANYREFS, unix(7)), are errors of the write, which end writing.
 *
 * Receiving: streams opened with LOOP_STREAM_FDS. Descriptors wait in the stream, in the order they came, until taken;
 * they can be taken before the read callback for the bytes they came with. To others the kernel does not deliver any.
 * Those not taken are closed at close. All are close-on-exec. */
#ifndef RINGLOOP_UNIX_H
#define RINGLOOP_UNIX_H

#include <ringloop/stream.h>

#include <sys/types.h>

LOOP_BEGIN_DECLS

enum { LOOP_WRITE_FDS_MAX = 253, LOOP_STREAM_FDS_DEFAULT = 256 };

/* The next descriptor, which is yours now. -EAGAIN: none waits. -EINVAL: not open, or closing. What got lost is told in
 * its place, once for all that stood there: -ENOBUFS: more waited than loop_stream_options.fds_max (counted in
 * loop_stats.fds_dropped), or there was no memory; they were closed. -EMFILE: the kernel could not deliver all of a
 * message (MSG_CTRUNC): this process has no room for more descriptors, or a security module was against it. */
LOOP_API int loop_stream_take_fd(struct loop_stream *stream);

/* How often loop_stream_take_fd() will give something else than -EAGAIN. */
LOOP_API uint32_t loop_stream_fds_waiting(const struct loop_stream *stream);

/* Two streams that are connected with each other (socketpair(2)), both with these options. Returns 0 or what
 * loop_stream_open() and socketpair(2) give; then neither is open. */
LOOP_API LOOP_MUST_USE int loop_stream_pair(struct loop *loop, struct loop_stream *a, struct loop_stream *b,
                                            const struct loop_stream_options *options);

/* Who was at the other end of a connected unix socket when it connected, or listened (SO_PEERCRED). Returns 0, -EBADF,
 * -ENOTSOCK, -ENODATA if nobody was, as with all other sockets. Any thread. */
struct loop_credentials {
    pid_t pid; /* the process may have ended, and the number be another's: see the next call */
    uid_t uid;
    gid_t gid;
};
LOOP_API int loop_unix_credentials(int fd, struct loop_credentials *ret_credentials);

/* A pidfd of that process (SO_PEERPIDFD), close-on-exec, yours: it names nobody else. As above, and -EOPNOTSUPP before
 * kernel 6.5; -ESRCH or -EINVAL if it has ended. Any thread. */
LOOP_API int loop_unix_pidfd(int fd);

LOOP_END_DECLS

#endif
