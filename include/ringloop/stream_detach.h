/* ringloop/stream_detach.h: streams that give up their descriptor, and go on elsewhere: in your own code, on another
 * loop, in another thread. Nothing received gets lost on the way. */
#ifndef RINGLOOP_STREAM_DETACH_H
#define RINGLOOP_STREAM_DETACH_H

#include <ringloop/loop.h>
#include <ringloop/stream.h>

LOOP_BEGIN_DECLS

/* What is left of a stream: yours from the callback on. Take what you want from it, writing -1 where a descriptor
 * stood, and end it by loop_detached_drop(); or attach it. May be passed to any thread. */
struct loop_detached {
    int      fd;       /* no request holds it any more */
    void    *data;     /* received, not read yet */
    size_t   size;     /* of data */
    int     *fds;      /* received (unix.h), not taken yet; as loop_stream_take_fd() gives them */
    uint32_t fd_count; /* of fds */
    int      end;      /* what stands behind data: 0: the end of the stream; negative: an error; 1: more */
    struct loop_detached_private {
        struct loop_allocator allocator;
        void (*take)(struct loop *loop, int error, struct loop_detached *detached, void *arg);
        void    *arg;
        uint32_t state;
        int      write_error;
    } priv;
};

/* error 0: the stream's last callback: its memory is yours, and so is detached. Otherwise detached is NULL: -ECANCELED:
 * the stream was closed meanwhile, its close callback follows; -ENOMEM: the stream is open as before, not reading. */
typedef void loop_stream_detach_cb(struct loop_stream *stream, int error, struct loop_detached *detached);

/* Gives the descriptor up: stops reading, cancels a read request (request.h), lets all queued writes and a shutdown
 * come to their end, with their callbacks, waits until the kernel is done with the descriptor, then calls cb. Until
 * then no read callback comes, and reads, writes and shutdowns are refused (-EINVAL). A peer that does not read holds
 * it up: look at loop_stream_queued() before, or close. Returns 0; -EINVAL (not open, closing, no cb), -ENOTCONN (not
 * connected yet), -EBUSY (asked before, or being forwarded), -EBADF (the write end of a pipe that was shut down),
 * -ENOMEM. */
LOOP_API LOOP_MUST_USE int loop_stream_detach(struct loop_stream *stream, loop_stream_detach_cb *cb);

/* loop_stream_open() with what was detached, which it takes: what was received is read first, then what comes. After an
 * end or a shutdown the new stream is where the old one was. Returns what loop_stream_open() does, -EBADF without a
 * descriptor, or -ENOMEM. */
LOOP_API LOOP_MUST_USE int loop_stream_attach(struct loop *loop, struct loop_stream *stream,
                                              struct loop_detached             *detached,
                                              const struct loop_stream_options *options);

/* Closes the descriptors still in it, and frees it. NULL is fine. Any thread. */
LOOP_API void loop_detached_drop(struct loop_detached *detached);

/* error 0: called on the thread of loop, the target: detached is yours, and so is the memory of the stream it was, so
 * that it may be attached to that. The target may be in loop_destroy(), which closes what is attached in there.
 * Otherwise on the thread of the source, which loop is then: -ECANCELED or -ENOMEM with detached NULL, as in
 * loop_stream_detach_cb; or why it could not be posted (loop_post()), with detached, and the stream's memory is yours.
 */
typedef void loop_stream_take_cb(struct loop *loop, int error, struct loop_detached *detached, void *arg);

/* Detaches, then passes it on to another loop (or the same) by loop_post(), where take is called: once in any case. The
 * target must exist until then. Several from one thread arrive in the order in which they were detached. Returns what
 * loop_stream_detach() does. */
LOOP_API LOOP_MUST_USE int loop_stream_hand_over(struct loop_stream *stream, struct loop *target,
                                                 loop_stream_take_cb *take, void *arg);

LOOP_END_DECLS

#endif
