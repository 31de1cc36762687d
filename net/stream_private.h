/* net/stream_private.h: the parts of a stream: state, transport, reading, writing.
 *
 *   CLOSED --open--> OPEN --close--> CLOSING --nothing is in flight any more--> CLOSED
 *   CLOSED --connect--> CONNECTING --connected, or not--> OPEN; CONNECTING --close--> CLOSING
 *   OPEN --detach (STREAM_LEAVING)--> the same until nothing is queued nor in flight --> CLOSED
 *
 * All that a call of the user asks for is done by the stream's task, once before the loop waits; so no callback comes
 * from inside a call, and writes of one turn leave together. */
#ifndef RINGLOOP_NET_STREAM_PRIVATE_H
#define RINGLOOP_NET_STREAM_PRIVATE_H

#include <errno.h>
#include <ringloop/stream_detach.h>

#include "loop/loop_private.h"

enum stream_state {
    STREAM_CLOSED,
    STREAM_CONNECTING,
    STREAM_OPEN,
    STREAM_CLOSING,
    STREAM_STATE_MASK = 3,

    STREAM_UNREF = 1 << 4,
    STREAM_READING = 1 << 5,       /* the user wants data */
    STREAM_READ_CANCELED = 1 << 6, /* the receive in flight has been told to end */
    STREAM_READ_ENDED = 1 << 7,    /* read_end says how; perhaps not told yet */
    STREAM_END_TOLD = 1 << 8,
    STREAM_SHUT = 1 << 9,            /* no more writes are taken */
    STREAM_SHUT_DONE = 1 << 10,      /* its callback has been called */
    STREAM_WRITE_FAILED = 1 << 11,   /* write_error says how */
    STREAM_RESET = 1 << 12,          /* close with RST */
    STREAM_WAS_CONNECTING = 1 << 13, /* when it was closed: its connect callback is still owed */
    STREAM_REQUEST_READS = 1 << 14,  /* read_id is the receive of a request */
    STREAM_CORKED = 1 << 20,
    STREAM_FULL = 1 << 21,         /* more than write_high was queued, and has not come down to write_low */
    STREAM_READ_ON = 1 << 22,      /* go on reading then */
    STREAM_SEND_STOPPED = 1 << 23, /* the send in flight, or just ended, was told to end */
    STREAM_CANCELS = 1 << 24,      /* writes are to be cancelled */
    STREAM_RECLAIM = 1 << 25,      /* buffers of writes are to be copied when the send has ended */
    STREAM_KEEP_FD = 1 << 15,      /* the descriptor is not closed at close */
    STREAM_SENDS_FDS = 1 << 16,    /* a write with descriptors is queued */
    STREAM_LEAVING = 1 << 17,      /* being detached: goes as soon as nothing is in flight */
    STREAM_WRITE_ASYNC = 1 << 18,  /* a pipe that would raise SIGPIPE: workers write */
};

struct fd_write;

/* Descriptors that came: a ring; negative errno where some are missing. */
struct stream_inbox {
    int     *fds;
    uint32_t first, count, room, limit;
};

/* Set by loop_stream_detach() or loop_stream_hand_over(). */
struct stream_leave {
    loop_stream_detach_cb *on_detached;
    loop_stream_take_cb   *take;
    void                  *arg;
    struct loop           *target;
    bool                   was_unref;
};

enum { STREAM_WRITE_RARE = STREAM_FULL | STREAM_SEND_STOPPED | STREAM_CANCELS | STREAM_RECLAIM };

struct stream_search;

/* What only some streams need, made when it is first needed. */
struct stream_more {
    struct stream_search    *search;               /* while it is being connected by name */
    struct stream_request   *request;              /* NULL before the first */
    struct stream_deadlines *deadlines;            /* NULL: none */
    struct stream_forward   *forward;              /* what it receives goes to another; NULL: not */
    struct stream_forward   *forwarded;            /* what another receives goes to it */
    uint64_t                 received_ns, sent_ns; /* with deadlines: when there was something last */
    loop_stream_water_cb    *on_water;
    uint32_t                 write_low;     /* 0: the default */
    uint32_t                 zero_copy_min; /* 0: never */
    uint32_t                 busy;          /* operations of writes besides the send: reads of files, notifications */
    uint32_t                 files;         /* queued sendfiles */
    struct stream_write     *file;          /* the one whose file is being read */
    struct stream_write *waiting_first, *waiting_last; /* out of the queue; the callback waits for those operations */
    struct stream_inbox  inbox;
    struct fd_write     *fd_first, *fd_last; /* descriptors of queued writes, in their order */
    struct stream_leave  leave;
    uint64_t             receive_ns; /* what the receive of a request may take; 0: no deadline */
};

/* How a stream reaches its peer. TLS goes between this and the socket. */
struct loop_stream_transport {
    /* Starts to receive: stream_received() for each piece, with LOOP_MORE but for the last. */
    int (*read_start)(struct loop_stream *stream);
    /* Asks that receiving end, or the receive of a request. */
    void (*read_stop)(struct loop_stream *stream);
    /* Receives once: stream_request_received(). At most size bytes; data NULL: into a lent buffer. timeout_ns 0: no
     * deadline. */
    int (*receive)(struct loop_stream *stream, void *data, size_t size, uint64_t timeout_ns);
    /* The same without data: a positive result says that there are some, or the end. */
    int (*wait_readable)(struct loop_stream *stream, uint64_t timeout_ns);
    /* Takes what is there, now. -EAGAIN: nothing. */
    ssize_t (*try_receive)(struct loop_stream *stream, void *data, size_t size);
    /* Sends of the pieces, in order, what fits; copies the array; stream_sent() once. write_id is the operation. */
    int (*send)(struct loop_stream *stream, struct iovec *iov, size_t count);
    /* The same of one write, whose memory is only free after stream_released(); NULL: no such way. */
    int (*send_zero_copy)(struct loop_stream *stream, struct stream_write *write, struct iovec *iov, size_t count);
    /* Sends what can be sent now; returns how much, -EAGAIN or another errno. */
    int (*try_send)(struct loop_stream *stream, const struct iovec *iov, size_t count);
    /* Ends our half, now. */
    int (*shutdown)(struct loop_stream *stream);
    /* Asks what is in flight to end. */
    void (*cancel)(struct loop_stream *stream);
    /* Nothing is in flight any more but notifications: lets go of the descriptor. */
    void (*close)(struct loop_stream *stream);
};

extern const struct loop_stream_transport stream_socket_transport;
extern const struct loop_stream_transport stream_fds_transport; /* the same, that receives descriptors */

static inline enum stream_state stream_state(const struct loop_stream *stream)
{
    return (enum stream_state)(stream->priv.state & STREAM_STATE_MASK);
}

static inline bool stream_is(const struct loop_stream *stream, enum stream_state flag)
{
    return (stream->priv.state & (uint32_t)flag) != 0;
}

static inline void stream_set(struct loop_stream *stream, enum stream_state flag)
{
    stream->priv.state |= (uint32_t)flag;
}

static inline void stream_unset(struct loop_stream *stream, enum stream_state flag)
{
    stream->priv.state &= ~(uint32_t)flag;
}

/* Errors after which the same is tried again later. */
static inline bool stream_error_passes(int error)
{
    return error == -EAGAIN || error == -EINTR || error == -ENOBUFS || error == -ENOMEM || error == -ERESTART;
}

static inline void stream_work(struct loop_stream *stream)
{
    loop_task_add(stream->priv.object.loop, &stream->priv.task);
}

/* Whether received data goes to the callback now: the user wants it, and our own peer takes what it leads to. */
static inline bool stream_reads(const struct loop_stream *stream)
{
    return (stream->priv.state & (STREAM_READING | STREAM_FULL)) == STREAM_READING ||
           (stream->priv.state & (STREAM_READING | STREAM_READ_ON)) == (STREAM_READING | STREAM_READ_ON);
}

static inline bool stream_busy(const struct loop_stream *stream)
{
    return stream->priv.more != NULL && stream->priv.more->busy > 0;
}

/* stream.c */
struct stream_more *stream_more(struct loop_stream *stream);   /* makes it; NULL without memory */
void                stream_forget(struct loop_stream *stream); /* it is closed now; its descriptor is the caller's */

void stream_break(struct loop_stream *stream, int error); /* as if the connection had failed so */

/* Connecting, in two steps: what is allowed, with nothing open yet (0 or an errno); and from now on. write_id says that
 * it is in flight. */
int  stream_prepare(struct loop *loop, struct loop_stream *stream, int fd, const struct loop_stream_options *options);
void stream_connecting(struct loop_stream *stream, loop_stream_event_cb *on_connect);
int  stream_socket_options(int fd, const struct loop_stream_options *options); /* those that are the socket's */

/* stream.c: events from the transport */
void stream_connected(struct loop_stream *stream, int error);

/* stream_deadline.c */
void stream_deadline_wanted(struct loop_stream *stream, uint32_t which); /* from now on: read, or write */
void stream_deadline_drop(struct loop_stream *stream);

/* These three cost a look where there are no deadlines. */
static inline bool stream_has_deadlines(const struct loop_stream *stream)
{
    return unlikely(stream->priv.more != NULL) && stream->priv.more->deadlines != NULL;
}

static inline void stream_note_received(struct loop_stream *stream)
{
    if (stream_has_deadlines(stream))
        stream->priv.more->received_ns = stream->priv.object.loop->now_ns;
}

static inline void stream_note_sent(struct loop_stream *stream)
{
    if (stream_has_deadlines(stream))
        stream->priv.more->sent_ns = stream->priv.object.loop->now_ns;
}

/* stream_read.c */
void   stream_received(struct loop_stream *stream, const struct loop_result *result);
void   stream_read_work(struct loop_stream *stream);             /* its part of the task */
void   stream_read_drop(struct loop_stream *stream);             /* at close: gives back what was not read */
void   stream_read_ended(struct loop_stream *stream, int error); /* notes how; tells nobody */
/* The stash: what was received and is not wanted yet. Keeps a result's bytes but the first skip. */
void   stream_stash_add(struct loop_stream *stream, const struct loop_result *result, uint32_t skip);
size_t stream_stash_look(const struct loop_stream *stream, const char **ret_data); /* its first bytes; 0: empty */
void   stream_stash_skip(struct loop_stream *stream, size_t size);                 /* of those */

/* stream_forward.c */
void stream_forward_work(struct loop_stream *from); /* instead of stream_read_work() */
void stream_forward_sent(struct loop_stream *to);   /* nothing is queued nor in flight, or it has failed */
void stream_forward_drop(struct loop_stream *stream);
void stream_forward_forked(struct loop_stream *from); /* this is a child: it ends */

static inline bool stream_forwards(const struct loop_stream *stream)
{
    return unlikely(stream->priv.more != NULL) && stream->priv.more->forward != NULL;
}

/* stream_request.c */
bool stream_request_waits(const struct loop_stream *stream);
void stream_request_received(struct loop_stream *stream, const struct loop_result *result);
void stream_request_work(struct loop_stream *stream);
void stream_request_drop(struct loop_stream *stream); /* at close: tells it */

/* stream_write.c */
void stream_sent(struct loop_stream *stream, int32_t res);
void stream_write_work(struct loop_stream *stream);
void stream_write_break(struct loop_stream *stream, int error);   /* from now on nothing is sent */
void stream_write_fail(struct loop_stream *stream, int error);    /* ends all writes, in order, with their callbacks */
void stream_tell_shutdown(struct loop_stream *stream, int error); /* if somebody asked for one, and does not know yet */
/* Puts it at the end of the queue. */
void stream_write_queue(struct loop_stream *stream, struct stream_write *write);
/* 0, -EINVAL or -EPIPE. */
int  stream_write_allowed(const struct loop_stream *stream);

/* Whether it is the peer that a send waits for: not a cork, nor a file. */
bool stream_write_wants_out(const struct loop_stream *stream);

/* Tells its end and frees it. */
void stream_write_tell(struct loop_stream *stream, struct stream_write *write, int error);

/* stream_write_control.c */
bool stream_has_in_flight(const struct loop_stream *stream, const struct stream_write *write);
void stream_send_stop(struct loop_stream *stream);
void stream_water_work(struct loop_stream *stream); /* tells who wants to know; may lead to anything */

/* stream_write_wait.c: writes that have left, or failed, and wait for the rest of the kernel's. */
bool stream_write_waits(struct loop_stream *stream, struct stream_write *write,
                        int error); /* false: nothing to wait for */
/* An operation of its own has started, or ended. */
void stream_write_busy(struct loop_stream *stream, struct stream_write *write);
void stream_released(struct loop_stream *stream, struct stream_write *write);

/* stream_reclaim.c */
void stream_hold(struct loop_stream *stream, struct stream_write *write); /* it has taken a buffer */
void stream_reclaim_work(struct loop_stream *stream);

/* stream_sendfile.c: reads ahead; -ENOBUFS, -ENOMEM: try again. */
int  stream_file_pump(struct loop_stream *stream);
void stream_file_stop(struct loop_stream *stream);

/* stream_stash: what was received and not read yet, for who hands it on. put: 0 or -ENOMEM, with some of it put. */
size_t stream_stash_size(const struct loop_stream *stream);
void   stream_stash_take(struct loop_stream *stream, char *to);
int    stream_stash_put(struct loop_stream *stream, const char *data, size_t size);

/* stream_socket.c: fits all descriptors that can be polled; and what is in flight as read_id and write_id. */
int  stream_wait_readable(struct loop_stream *stream, uint64_t timeout_ns);
void stream_cancel_read(struct loop_stream *stream);
void stream_cancel_both(struct loop_stream *stream);

/* stream_read.c: for transports that receive into lent buffers only: what came may be for a request, which one result
 * is enough for. */
void stream_request_fed(struct loop_stream *stream, const struct loop_result *result);

/* stream_file.c: the transport for a descriptor that is no socket, or an error; what it cannot do, as state. */
int stream_file_check(int fd, const struct loop_stream_transport **ret_transport, uint32_t *ret_state);

/* stream_unix.c: descriptors. */
struct stream_write;
int     stream_fds_open(struct loop_stream *stream, uint32_t limit); /* it shall receive some: 0 or errno */
int     stream_fds_read_start(struct loop_stream *stream);
int     stream_fds_receive(struct loop_stream *stream, void *data, size_t size, uint64_t timeout_ns);
ssize_t stream_fds_try_receive(struct loop_stream *stream, void *data, size_t size);
int     stream_fds_put(struct loop_stream *stream, const int *fds, uint32_t count); /* 0 or -ENOMEM: none */
int     stream_fds_check(const struct loop_stream *stream, const struct loop_write_terms *terms);
int     stream_fds_attach(struct loop_stream *stream, struct stream_write *write, const struct loop_write_terms *terms);
int     stream_fds_send(struct loop_stream *stream, struct iovec *iov, size_t count);
void    stream_fds_written(struct loop_stream *stream, const struct stream_write *write); /* it is over */
void    stream_fds_drop(struct loop_stream *stream);

/* stream_detach.c */
void stream_leave_work(struct loop_stream *stream); /* its part of the task */
void stream_leave_tell(struct loop_stream *stream, int error);

#endif
