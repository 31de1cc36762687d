/* ringloop/stream.h: byte streams over connected sockets (tcp, unix), pipes, terminals and files. Loop thread only.
 *
 * Life: zeroed > loop_stream_open or loop_stream_connect > read, write, shutdown > loop_stream_close > close callback.
 *
 * Callbacks never come from inside a call. At close they come in this order: connect, a read request, forwarding,
 * writes in their order, shutdown, a detach, close; each once, the close callback last; then the memory is yours again.
 * Reading by callback ends silently at close.
 *
 * Descriptors over unix sockets: unix.h. A stream gives its descriptor up, or goes to another loop: stream_detach.h. */
#ifndef RINGLOOP_STREAM_H
#define RINGLOOP_STREAM_H

#include <ringloop/address.h>
#include <ringloop/listener.h>
#include <ringloop/tcp.h>
#include <ringloop/types.h>

#include <stdbool.h>
#include <sys/uio.h>

LOOP_BEGIN_DECLS

struct loop_stream;

/* result->res > 0: that many bytes at result->data, in the lent result->buffer; 0: the peer has ended its half (writing
 * may go on); negative: an error. After 0 or an error reading has ended and is not called again. */
typedef void loop_stream_read_cb(struct loop_stream *stream, const struct loop_result *result);

/* error: 0, or negative errno (-ECANCELED: closed before). bytes: how many of this write the kernel took; less than
 * asked only with an error. */
typedef void loop_stream_write_cb(struct loop_stream *stream, int error, size_t bytes, void *arg);

typedef void loop_stream_event_cb(struct loop_stream *stream, int error); /* connect, shutdown */
typedef void loop_stream_close_cb(struct loop_stream *stream);

/* full: more than write_high bytes are queued; told once, then again with false when they have come down to write_low.
 * Not after a close. */
typedef void loop_stream_water_cb(struct loop_stream *stream, bool full);

enum loop_stream_flags {
    LOOP_STREAM_NODELAY = 1u << 0, /* TCP_NODELAY; on other sockets no effect */
    LOOP_STREAM_UNREF = 1u << 1,   /* while open, only its sends in flight keep the loop alive */
    LOOP_STREAM_READ_ON = 1u << 2, /* go on reading while it is full; else reading rests from write_high to write_low */
    LOOP_STREAM_KEEP_FD = 1u << 3, /* the descriptor stays open at close, and is yours again in the close callback */
    LOOP_STREAM_FDS = 1u << 4,     /* unix sockets: receives descriptors, see unix.h; others give -EINVAL */
};

struct loop_stream_options {
    uint32_t flags                     LOOP_ZERO; /* enum loop_stream_flags; unknown bits give -EINVAL */
    uint32_t write_bytes_max           LOOP_ZERO; /* 0: 64 MiB; more bytes queued than this: -ENOBUFS */
    uint64_t connect_timeout_ns        LOOP_ZERO; /* 0: the system's */
    loop_stream_close_cb *on_close     LOOP_NONE; /* for loop_destroy(), and closes without a callback of their own */
    /* Set on the socket, copied; loop_stream_open() and loop_stream_connect() fail if they cannot be. Connections of a
     * listener inherit those of loop_listener_options.tcp, at no cost. */
    const struct loop_tcp_options *tcp LOOP_NONE;
    /* For loop_stream_open(): fd came from this listener. The stream gives its room in connections_max back when it has
     * closed, also after the listener has; and fd needs no check. */
    struct loop_listener *listener     LOOP_NONE;
    uint32_t write_high                LOOP_ZERO; /* 0: a quarter of write_bytes_max */
    uint32_t write_low                 LOOP_ZERO; /* 0: a quarter of write_high; more than that: -EINVAL */
    loop_stream_water_cb *on_water     LOOP_NONE;
    uint32_t zero_copy_min LOOP_ZERO; /* borrowed writes of so many bytes leave by zero-copy (write.h); 0: none */
    uint32_t fds_max       LOOP_ZERO; /* with LOOP_STREAM_FDS: as many may wait to be taken; 0: 256 */
};

enum loop_write_flags {
    LOOP_WRITE_COPY = 1u << 0,      /* copies the bytes; else borrows them until the write's callback */
    LOOP_WRITE_CLOSE_FDS = 1u << 8, /* takes fds: closes them when the write is over, sent or not */
};

struct loop_write_terms {
    uint32_t flags      LOOP_ZERO; /* enum loop_write_flags; unknown bits give -EINVAL */
    loop_buffer release LOOP_ZERO; /* takes this lent or kept buffer of the bytes: it goes back when they have left */
    const int *fds      LOOP_NONE; /* unix sockets: descriptors to send with the first byte, see unix.h */
    uint32_t fd_count   LOOP_ZERO; /* at most LOOP_WRITE_FDS_MAX */
};

struct stream_write;

struct loop_stream {
    void *data; /* yours; the library never reads it */
    struct loop_stream_private {
        struct loop_object                  object;
        struct loop_task                    task; /* what is to be done before the loop waits */
        const struct loop_stream_transport *transport;
        struct loop_listener_ticket        *ticket; /* of the listener's limit; NULL: none */
        struct stream_more                 *more;   /* what few streams need; NULL: none of it */
        loop_stream_read_cb                *on_read;
        loop_stream_event_cb               *on_event; /* of the connect, afterwards of the shutdown */
        loop_stream_close_cb               *on_close;
        struct stream_write                *write_first, *write_last;
        loop_id                             read_id, write_id; /* in flight; 0: none */
        uint32_t                            write_bytes;       /* accepted and not yet taken by the kernel */
        uint32_t                            write_high;        /* more are too many */
        uint32_t                            write_bytes_max;
        loop_buffer                         stash_first, stash_last; /* received and not wanted yet */
        uint32_t                            stash_skip;              /* of the first: read already */
        int                                 read_end;                /* how reading ended: 0 or negative errno */
        int                                 write_error;
        int                                 fd;
        uint32_t                            state; /* with flags */
    } priv;
};

/* Takes fd: a socket of stream type, as from a listener, a pipe or FIFO, a terminal or other character device, or a
 * regular file, which is read and written where it stands. Blocking or not is all the same, and its flags are not
 * changed, but by forward.h: they may be shared with other processes. What it cannot do is refused: reading with
 * -ENOTCONN, writing with -EPIPE. A socket need not be connected yet: while it connects, reading and writing wait;
 * where nobody has connected it they fail. 0, 1 and 2 are not closed by loop_stream_close(). Borrows stream until its
 * close callback. Returns 0, -EINVAL (anything else), -EBADF (also registered files), -EBUSY (already open), -ENOMEM,
 * -ECANCELED (the loop is being destroyed). docs/unix.md has more on each kind. */
LOOP_API LOOP_MUST_USE int loop_stream_open(struct loop *loop, struct loop_stream *stream, int fd,
                                            const struct loop_stream_options *options);

/* Makes a socket and connects it; on_connect comes once, with 0 or the negative errno (-ETIMEDOUT after
 * connect_timeout_ns). Writes made before that are sent after it; if it fails they end with -ECANCELED. After a failure
 * the stream is still to be closed. Returns 0, -EINVAL, -EBUSY, -ECANCELED, -ENOMEM, or what socket(2) gave. */
LOOP_API LOOP_MUST_USE int loop_stream_connect(struct loop *loop, struct loop_stream *stream,
                                               const struct loop_address        *address,
                                               const struct loop_stream_options *options,
                                               loop_stream_event_cb             *on_connect);

/* The same for a host of any number of addresses, of which the first that answers is taken; host and service as
 * loop_resolve_start() takes them. dial (may be NULL): how they are looked up and tried, see dial.h; its timeout_ns is
 * replaced by a connect_timeout_ns that is not 0. Until it is connected the stream has no descriptor. Returns also what
 * loop_dial_name() returns; on_connect also gets its errors. */
struct loop_dial_options;
LOOP_API LOOP_MUST_USE int loop_stream_connect_name(struct loop *loop, struct loop_stream *stream, const char *host,
                                                    const char *service, const struct loop_dial_options *dial,
                                                    const struct loop_stream_options *options,
                                                    loop_stream_event_cb             *on_connect);

/* Starts, or after a stop resumes, reading; on_read (not NULL) replaces an earlier one. Returns 0, also when reading
 * already; -ENOTCONN before the connection stands or after the end or an error was read, -EBUSY while a request of
 * request.h is waiting or it is being forwarded, -EINVAL if not open or closing, -ENOBUFS at the limit of operations,
 * -ENOMEM. */
LOOP_API int loop_stream_read_start(struct loop_stream *stream, loop_stream_read_cb *on_read);

/* Pauses reading: no read callback comes after it until reading is started again; nothing is lost. Idempotent. 0,
 * -EBUSY while it is being forwarded, -EINVAL. */
LOOP_API int loop_stream_read_stop(struct loop_stream *stream);

/* Queues bytes behind all earlier writes; those of one turn leave in one vectored send. cb (may be NULL) comes once.
 * terms may be NULL. Small writes are copied in any case. Returns 0, or a negative errno and never calls back: -EINVAL
 * (size 0, or 2 GiB and more, closing, not open), -EPIPE (after shutdown, or a write has failed), -ENOBUFS
 * (write_bytes_max), -ENOMEM. On failure terms->release is still yours. */
LOOP_API LOOP_MUST_USE int loop_stream_write(struct loop_stream *stream, const void *data, size_t size,
                                             loop_stream_write_cb *cb, void *arg, const struct loop_write_terms *terms);

/* The same for several pieces as one write; copies the array (at most 1024 entries). */
LOOP_API LOOP_MUST_USE int loop_stream_writev(struct loop_stream *stream, const struct iovec *iov, size_t iov_count,
                                              loop_stream_write_cb *cb, void *arg,
                                              const struct loop_write_terms *terms);

/* Ends our half (shutdown(2), SHUT_WR) once all queued writes have left, then calls cb (may be NULL). Uncorks. A pipe's
 * write end is closed then, unless the descriptor is to be kept; terminals and files only take no more writes. Returns
 * 0, -ENOTCONN when not connected or shut down before, -EINVAL if closing or not open. */
LOOP_API int loop_stream_shutdown(struct loop_stream *stream, loop_stream_event_cb *cb);

enum loop_stream_deadline {
    LOOP_STREAM_IDLE = 1u << 0,  /* nothing was received, and the peer took nothing */
    LOOP_STREAM_READ = 1u << 1,  /* nothing was received, though reading is started or a request waits */
    LOOP_STREAM_WRITE = 1u << 2, /* the peer took nothing, though there is something to be sent, and no cork */
};

/* which: one or more of enum loop_stream_deadline. Told again after another period, unless you close the stream. */
typedef void loop_stream_deadline_cb(struct loop_stream *stream, uint32_t which);

struct loop_stream_deadlines {
    uint64_t idle_ns            LOOP_ZERO; /* each 0: none */
    uint64_t read_ns            LOOP_ZERO;
    uint64_t write_ns           LOOP_ZERO;
    loop_stream_deadline_cb *cb LOOP_NONE; /* NULL: the stream ends as if its connection had failed with -ETIMEDOUT */
};

/* Replaces the stream's deadlines by copies of these (NULL: none), whose periods begin anew. Each byte restarts a
 * period at no cost: one timer per stream looks when it may be over. Never early; up to one period late while a single
 * large write or request moves on slowly. Returns 0, -EINVAL (not open or closing), -ENOMEM. */
LOOP_API LOOP_MUST_USE int loop_stream_deadlines_set(struct loop_stream                 *stream,
                                                     const struct loop_stream_deadlines *deadlines);

/* Cancels what is in flight, waits for the kernel to let go, closes the descriptor, then calls on_close (NULL: the one
 * of the options). Writes that have not left, those of this turn among them, are dropped with -ECANCELED: where they
 * shall leave, close in the callback of a loop_stream_shutdown(). Closing a closing stream does nothing: the first
 * close callback counts. loop_stream_reset() does the same and makes tcp send RST instead of FIN. */
LOOP_API void loop_stream_close(struct loop_stream *stream, loop_stream_close_cb *on_close);
LOOP_API void loop_stream_reset(struct loop_stream *stream, loop_stream_close_cb *on_close);

/* Bytes accepted by writes and not yet taken by the kernel; of a sendfile those that were read. */
LOOP_API size_t loop_stream_queued(const struct loop_stream *stream);

/* Whether the stream keeps the loop alive while it is open (default: it does, but with LOOP_STREAM_UNREF); its sends in
 * flight always do, and so does a closing one. No effect if not open. */
LOOP_API void loop_stream_ref(struct loop_stream *stream);
LOOP_API void loop_stream_unref(struct loop_stream *stream);
LOOP_API bool loop_stream_has_ref(const struct loop_stream *stream);

LOOP_API bool         loop_stream_closing(const struct loop_stream *stream);
LOOP_API int          loop_stream_fd(const struct loop_stream *stream); /* -EBADF if not open */
LOOP_API struct loop *loop_stream_loop(const struct loop_stream *stream);
LOOP_API int          loop_stream_local_address(const struct loop_stream *stream, struct loop_address *ret_address);
LOOP_API int          loop_stream_peer_address(const struct loop_stream *stream, struct loop_address *ret_address);

LOOP_END_DECLS

#endif
