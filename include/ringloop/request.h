/* ringloop/request.h: reading from streams by request: so much, at most so much, or up to a delimiter. Loop thread
 * only.
 *
 * One request at a time on a stream, and none while it is read by loop_stream_read_start(). What was received but not
 * asked for, e.g. behind a delimiter, waits in the stream for the next request, or for loop_stream_read_start(). A
 * stream without a request is not read at all. */
#ifndef RINGLOOP_REQUEST_H
#define RINGLOOP_REQUEST_H

#include <ringloop/stream.h>
#include <ringloop/types.h>

#include <sys/types.h>

LOOP_BEGIN_DECLS

/* Called once for each request, from the loop. bytes: how many lie in your memory; true in every case, and taken from
 * the stream. error:
 *   0            what was asked for is there
 *   -ENODATA     the peer ended its half before that; writing may go on
 *   -EMSGSIZE    no delimiter among the first size bytes, which are all there
 *   -ETIMEDOUT   the deadline passed first; the stream can be read on
 *   -ECANCELED   loop_stream_read_cancel(), or the stream is being closed
 *   others       the connection's, e.g. -ECONNRESET
 * After -ENODATA and the connection's errors nothing more can be read. */
typedef void loop_stream_request_cb(struct loop_stream *stream, int error, size_t bytes, void *arg);

struct loop_request_terms {
    uint64_t timeout_ns LOOP_ZERO; /* for the whole request; 0: none */
    uint32_t flags      LOOP_ZERO; /* none yet: must be 0 */
    uint32_t reserved   LOOP_ZERO;
};

enum { LOOP_DELIMITER_BYTES_MAX = 16 };

/* All of these borrow data until cb (bytes of it beyond those told may have been written to), copy the rest, and return
 * 0, or a negative errno and never call back: -EINVAL (no memory, size or cb; closing or not open), -EBUSY (a request
 * is waiting, or reading has been started), -ENOTCONN (before the connection stands, or after the end or an error was
 * told), -ENOBUFS at the limit of operations, -ENOMEM. terms may be NULL. */

/* What there is, at least one byte, at most size. */
LOOP_API LOOP_MUST_USE int loop_stream_read(struct loop_stream *stream, void *data, size_t size,
                                            loop_stream_request_cb *cb, void *arg,
                                            const struct loop_request_terms *terms);

/* Exactly size bytes. */
LOOP_API LOOP_MUST_USE int loop_stream_read_exactly(struct loop_stream *stream, void *data, size_t size,
                                                    loop_stream_request_cb *cb, void *arg,
                                                    const struct loop_request_terms *terms);

/* All up to the first delimiter, and that too; at most size bytes. Copies the delimiter, of 1 to
 * LOOP_DELIMITER_BYTES_MAX bytes (else -EINVAL). */
LOOP_API LOOP_MUST_USE int loop_stream_read_until(struct loop_stream *stream, void *data, size_t size,
                                                  const void *delimiter, size_t delimiter_size,
                                                  loop_stream_request_cb *cb, void *arg,
                                                  const struct loop_request_terms *terms);

/* Nothing yet: waits until there is something to read, or the end or an error is; then cb with 0 bytes, and 0. For
 * memory that is only found then: read on with loop_stream_try_read(). */
LOOP_API LOOP_MUST_USE int loop_stream_read_ready(struct loop_stream *stream, loop_stream_request_cb *cb, void *arg,
                                                  const struct loop_request_terms *terms);

/* Reads what is there at once, without waiting: one plain system call. Returns the bytes, 0 at the end, -EAGAIN when
 * there is nothing just now, or as above. Terminals, and pipes that cannot be told not to wait, give only what was
 * received before, else -EAGAIN. */
LOOP_API ssize_t loop_stream_try_read(struct loop_stream *stream, void *data, size_t size);

/* Asks that the waiting request end, with -ECANCELED and what it has got, unless it is complete by then. Returns 0,
 * also if there is none, or -EINVAL (closing or not open). */
LOOP_API int loop_stream_read_cancel(struct loop_stream *stream);

LOOP_END_DECLS

#endif
