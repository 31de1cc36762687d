/* ringloop/write.h: what streams offer besides loop_stream_write(): cork, try, cancel, sendfile. Loop thread only.
 *
 * All of them keep the order of the queue, and callbacks come as those of writes (stream.h): once, never from inside a
 * call, in their order; only those of cancelled writes come before others that still wait. On a stream that is not
 * open, or is closing, each returns -EINVAL.
 *
 * Zero-copy (zero_copy_min of the options): writes of at least so many bytes that are borrowed, not copied, and that
 * give no buffer, are sent from where they lie. The callback then comes when the kernel has let go of the memory: for
 * tcp when the peer has acknowledged the bytes, or the connection is gone. The next send does not wait for that, only
 * callbacks do. Where the socket or the memory limit forbids it (zero_copy.h) the bytes leave by plain sends. A close
 * callback waits for it too: with a peer that does not read, loop_stream_reset() ends that at once.
 *
 * Buffers: a write that holds a lent buffer (terms->release) does not hold it for ever: when the buffers of its group
 * get few, those of writes whose stream is blocked, oldest first, are copied to the heap and given back. */
#ifndef RINGLOOP_WRITE_H
#define RINGLOOP_WRITE_H

#include <ringloop/stream.h>

LOOP_BEGIN_DECLS

/* From now on nothing more leaves: writes gather, over turns, until loop_stream_uncork() or loop_stream_shutdown().
 * A write that has left in part goes on. The hard limit and the water marks count. Does not nest. Returns 0, also when
 * corked or uncorked already; cork: -EPIPE after a shutdown, -EINVAL while being detached. A write deadline rests
 * meanwhile. */
LOOP_API int loop_stream_cork(struct loop_stream *stream);
LOOP_API int loop_stream_uncork(struct loop_stream *stream);

/* Sends what the socket takes at once, by a system call, and keeps nothing of it. Returns the bytes taken, which may be
 * fewer than size; -EAGAIN if it takes none, and wherever a write would have to wait: before the connection stands,
 * when corked, while anything is queued or in flight, while it is forwarded to, always on terminals and files, on pipes
 * before Linux 6.18; -EINVAL (size 0, or 2 GiB and more), -EPIPE (as loop_stream_write()), or what send(2) gave; the
 * stream stays as it is. */
LOOP_API LOOP_MUST_USE int loop_stream_try_write(struct loop_stream *stream, const void *data, size_t size);
LOOP_API LOOP_MUST_USE int loop_stream_try_writev(struct loop_stream *stream, const struct iovec *iov,
                                                  size_t iov_count);

/* Asks that the writes made with this arg, or all, end with -ECANCELED and 0 bytes, as far as nothing of them has left.
 * One that has left in part goes on: the peer could not tell where the next begins. Whether anything has left of those
 * in the send in flight is known when that has ended, which this makes it do; so some of those asked may still end
 * well. Until its callback the bytes of each are borrowed. Returns the number of writes that were asked. */
LOOP_API int loop_stream_write_cancel(struct loop_stream *stream, const void *arg);
LOOP_API int loop_stream_write_cancel_all(struct loop_stream *stream);

/* Queues count bytes (UINT64_MAX: up to the end) of a file, from offset on (LOOP_AT_POSITION: from its position, which
 * moves), behind all earlier writes; later ones wait behind it. Borrows file_fd (LOOP_FIXED(slot) or not) until cb,
 * which comes once: error 0 when all of count, or all up to the end of the file, has left (then bytes may be less than
 * count); else what reading gave, when that read before has left, or as with writes. cb comes before anything behind
 * leaves, unless all of count has left. The file is read ahead into at most 128 KiB, which loop_stream_queued() counts;
 * the rest counts nowhere. terms: NULL or all zero. Returns 0, -EBADF, -EINVAL (also for a count of 0), -EPIPE (as
 * writes), -ENOBUFS (1024 are queued on this stream), -ENOMEM. */
LOOP_API LOOP_MUST_USE int loop_stream_sendfile(struct loop_stream *stream, int file_fd, int64_t offset, uint64_t count,
                                                loop_stream_write_cb *cb, void *arg,
                                                const struct loop_write_terms *terms);

LOOP_END_DECLS

#endif
