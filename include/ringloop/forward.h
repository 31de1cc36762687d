/* ringloop/forward.h: moving what one stream receives to another: proxies, tunnels, uploads. Loop thread only. */
#ifndef RINGLOOP_FORWARD_H
#define RINGLOOP_FORWARD_H

#include <ringloop/stream.h>
#include <ringloop/types.h>

LOOP_BEGIN_DECLS

enum loop_forward_flags {
    LOOP_FORWARD_NO_SHUTDOWN = 1u << 0, /* the end of from's peer is not passed on: to may be written to afterwards */
    LOOP_FORWARD_COPY = 1u << 1,        /* never by splice(2) */
};

struct loop_forward_options {
    uint64_t bytes_max  LOOP_ZERO; /* 0: all up to the end; else so many, and then from can be read on */
    uint32_t queued_max LOOP_ZERO; /* bytes that may wait in to; 0: 256 KiB */
    uint32_t flags      LOOP_ZERO; /* enum loop_forward_flags; unknown bits give -EINVAL */
};

/* Called once. bytes: how many the kernel has taken for to. error:
 *   0           all that was asked for has been moved, and to has been shut down if from has ended
 *   -ENODATA    from ended before bytes_max
 *   -ECANCELED  loop_stream_forward_stop(), or one of the streams is being closed; or loop_stream_write_cancel_all(to):
 *               then what waited in to is lost
 *   others      what reading from or writing to gave; the two can be told apart by the streams' own state: close both
 * Both streams stay open, and are yours to close. */
typedef void loop_forward_cb(struct loop_stream *from, struct loop_stream *to, int error, uint64_t bytes, void *arg);

/* Moves bytes from one stream to another, in order, until the end, and passes that on (half-close). Reads no further
 * while queued_max bytes wait in to: the peer of from is held back as soon as that of to does not read, and memory is
 * bounded. Two of them, one in each direction, make a proxy.
 *
 * While it lasts from cannot be read otherwise (-EBUSY); what is written to to meanwhile goes between the pieces, and a
 * cork of to holds both back. Descriptors (unix.h) are not moved: they wait in from. Much data between two sockets goes
 * through a pipe by splice(2), which copies nothing: up to 1 MiB more waits in the kernel then, which
 * loop_stream_queued() does not show, and both sockets are made O_NONBLOCK for good. options may be NULL; cb may not.
 * Returns 0 or a negative errno and never calls back: -EINVAL (the same stream; one not open, or closing; two loops),
 * -ENOTCONN (from or to not yet connected, from ended), -EPIPE (to was shut down, or has failed), -EBUSY (from is being
 * read, or to is forwarded to already), -ENOMEM. */
LOOP_API LOOP_MUST_USE int loop_stream_forward(struct loop_stream *from, struct loop_stream *to,
                                               const struct loop_forward_options *options, loop_forward_cb *cb,
                                               void *arg);

/* Asks that it end; cb comes with -ECANCELED. What has been read from from is written to to still, so that nothing is
 * lost. Returns 0, or -EINVAL if from is not being forwarded. */
LOOP_API int loop_stream_forward_stop(struct loop_stream *from);

LOOP_END_DECLS

#endif
