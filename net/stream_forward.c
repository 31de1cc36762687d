/* net/stream_forward.c: what one stream receives goes to another.
 *
 *   COPYING --64 KiB within a turn, between sockets--> CHANGING --nothing is in between any more--> SPLICING
 *   SPLICING --little comes, several times--> COPYING
 *
 * Copying: lent buffers go straight into the other's write queue; reading stops while much waits there. Splicing: bytes
 * are moved through a pipe by system calls when the ring says that a socket is ready; they are not copied, but each
 * turn costs more, so it is for much data. A pipe is held only while a splice is under way or bytes are in it. */
#include <ringloop/forward.h>
#include <ringloop/op_poll.h>

#include "net/stream_private.h"

#include <errno.h>
#include <poll.h>

enum {
    QUEUED_DEFAULT = 262144,
    BULK_BYTES = 65536,   /* so much within a turn is much */
    LITTLE_BYTES = 16384, /* less in one go is little */
    LITTLE_TIMES = 8,
    SPLICE_BYTES = 1 << 20,
    ROUNDS_MAX = 4, /* then others have their turn */
};

enum forward_state { COPYING, CHANGING, SPLICING };

struct stream_forward {
    struct loop_stream *from, *to; /* NULL: it is over, only its writes keep it */
    loop_forward_cb    *cb;
    void               *arg;
    uint64_t            bytes; /* taken for to */
    uint64_t            left;  /* to be read still */
    uint32_t            queued_max, flags;
    uint32_t            writes; /* in the queue of to */
    uint32_t            in_pipe, little;
    struct pipe         pipe;
    enum forward_state  state;
    bool                limited, pipe_held, stopping, shutting;
    bool                to_ready; /* said the kernel */
    bool                held;     /* goes on when to has sent what others wrote */
    bool                forked;   /* it is the parent's */
};

static void pipe_let_go(struct loop *loop, struct stream_forward *forward)
{
    if (forward->pipe_held)
        pipe_give(loop, &forward->pipe, forward->in_pipe == 0);
    forward->pipe_held = false;
}

/* Whether this tells that from has ended; if not, whoever reads it next has to be told. */
static bool tells_end(const struct stream_forward *forward, int error)
{
    if (!stream_is(forward->from, STREAM_READ_ENDED) || forward->from->priv.stash_first != 0)
        return false;
    return error == 0 ? !forward->limited : error == -ENODATA || error == forward->from->priv.read_end;
}

/* The streams are the user's again, who is then told. */
static void finish(struct stream_forward *forward, int error)
{
    struct loop_stream *from = forward->from, *to = forward->to;
    struct loop        *loop = from->priv.object.loop;
    loop_forward_cb    *cb = forward->cb;
    void               *arg = forward->arg;
    uint64_t            bytes = forward->bytes;

    pipe_let_go(loop, forward);
    from->priv.more->forward = NULL;
    to->priv.more->forwarded = NULL;
    stream_unset(from, STREAM_READING);
    stream_unset(from, STREAM_END_TOLD);
    if (tells_end(forward, error))
        stream_set(from, STREAM_END_TOLD);
    if (from->priv.read_id != 0 && stream_state(from) == STREAM_OPEN) {
        stream_set(from, STREAM_READ_CANCELED);
        from->priv.transport->read_stop(from);
    }
    if (forward->in_pipe > 0 && to->priv.write_id != 0 && stream_state(to) == STREAM_OPEN)
        (void)loop_cancel(loop, to->priv.write_id); /* the wait for room; a send would just be tried again */
    forward->from = NULL;
    forward->to = NULL;
    if (forward->writes == 0)
        memory_free(loop, forward);
    cb(from, to, error, bytes, arg);
}

/* What the pipe holds is the parent's, too. */
void stream_forward_forked(struct loop_stream *from)
{
    struct stream_forward *forward = from->priv.more->forward;

    if (forward->pipe_held)
        pipe_give(from->priv.object.loop, &forward->pipe, false);
    forward->pipe_held = false;
    forward->in_pipe = 0;
    forward->forked = true;
    stream_work(from);
}

/* ---- copying */

static void written(struct loop_stream *to, int error, size_t bytes, void *arg)
{
    struct stream_forward *forward = arg;

    forward->writes--;
    forward->bytes += bytes;
    if (forward->from == NULL) {
        if (forward->writes == 0)
            memory_free(to->priv.object.loop, forward);
    } else if (error < 0) {
        finish(forward, error);
    } else {
        stream_work(forward->from);
    }
}

/* Queues a piece. The buffer it lies in goes along. */
static int pass_on(struct stream_forward *forward, const void *data, size_t size, loop_buffer release)
{
    const struct loop_write_terms terms = {.release = release, .flags = release == 0 ? LOOP_WRITE_COPY : 0};
    int                           r;

    r = loop_stream_write(forward->to, data, size, written, forward, &terms);
    if (r == 0) {
        forward->writes++;
        forward->left -= size;
    }
    return r;
}

/* What to takes by a write. */
static size_t room(const struct stream_forward *forward)
{
    const struct loop_stream *to = forward->to;
    size_t                    queued = loop_stream_queued(to);

    return queued < to->priv.write_bytes_max ? to->priv.write_bytes_max - queued : 0;
}

static bool much_waits(const struct stream_forward *forward)
{
    return loop_stream_queued(forward->to) >= forward->queued_max || room(forward) == 0;
}

/* It changes flags of the descriptor, which are not ours where it is to be kept. */
static bool can_splice(const struct loop_stream *stream)
{
    return stream->priv.transport == &stream_socket_transport && !stream_is(stream, STREAM_KEEP_FD);
}

static bool may_splice(const struct stream_forward *forward)
{
    return (forward->flags & LOOP_FORWARD_COPY) == 0 && can_splice(forward->from) && can_splice(forward->to);
}

static void received(struct loop_stream *from, const struct loop_result *result)
{
    struct stream_forward *forward = from->priv.more->forward;
    size_t                 size = result->res > 0 ? (size_t)result->res : 0;
    int                    r = 0;

    if (stream_state(forward->to) == STREAM_CLOSING) /* its close ends this in its turn */
        size = 0;
    if (size > forward->left)
        size = (size_t)forward->left;
    if (size > room(forward))
        size = 0; /* waits in the stash */
    if (size > 0)
        r = pass_on(forward, result->data, size, size == (size_t)result->res ? result->buffer : 0);
    if (r < 0) {
        stream_stash_add(from, result, 0);
        finish(forward, r);
        return;
    }
    if (result->res > 0 && size < (size_t)result->res)
        stream_stash_add(from, result, (uint32_t)size);
    if (forward->state == COPYING && loop_stream_queued(forward->to) >= BULK_BYTES && may_splice(forward))
        forward->state = CHANGING;
    if (forward->left == 0 || forward->state != COPYING || much_waits(forward) || from->priv.stash_first != 0)
        stream_unset(from, STREAM_READING);
    stream_work(from);
}

/* What was received before the forwarding, or after a pause, goes first. */
static int pass_on_stash(struct stream_forward *forward)
{
    const char *data;
    size_t      size;

    while (forward->left > 0 && !much_waits(forward) && (size = stream_stash_look(forward->from, &data)) > 0) {
        int r;

        if (size > forward->left)
            size = (size_t)forward->left;
        if (size > room(forward))
            size = room(forward);
        r = pass_on(forward, data, size, 0);
        if (r < 0)
            return r;
        stream_stash_skip(forward->from, size);
    }
    return 0;
}

/* ---- splicing */

static void from_ready(struct loop *loop, const struct loop_result *result, void *arg)
{
    struct loop_stream *from = arg;

    (void)loop;
    (void)result; /* what there is shows when it is tried */
    from->priv.read_id = 0;
    stream_unset(from, STREAM_READ_CANCELED);
    stream_work(from);
}

static void to_ready(struct loop *loop, const struct loop_result *result, void *arg)
{
    struct loop_stream    *to = arg;
    struct stream_forward *forward = to->priv.more->forwarded;

    (void)loop;
    to->priv.write_id = 0;
    stream_work(to); /* what was written to it meanwhile goes first */
    if (forward == NULL)
        return;
    forward->to_ready = result->res > 0; /* not if a deadline only asked */
    stream_work(forward->from);
}

static void wait_for(struct loop_stream *stream, uint32_t events, loop_cb *cb, loop_id *ret_id, uint32_t flags)
{
    struct loop *loop = stream->priv.object.loop;
    loop_id id = loop_poll_add(loop, stream->priv.fd, events, cb, stream, LOOP_TERMS(.flags = flags | LOOP_UNCHAINED));

    if (id > 0)
        *ret_id = op_of_object(loop, id);
}

static void wait_for_data(struct loop_stream *from)
{
    if (stream_has_deadlines(from))
        stream_deadline_wanted(from, LOOP_STREAM_READ);
    wait_for(from, POLLIN | POLLRDHUP, from_ready, &from->priv.read_id, LOOP_BACKGROUND);
}

/* A send in flight, in all but name. */
static void wait_for_room(struct loop_stream *to)
{
    wait_for(to, POLLOUT, to_ready, &to->priv.write_id, 0);
}

/* Fills the pipe. Returns false if nothing has come. */
static bool splice_in(struct stream_forward *forward)
{
    struct loop_stream *from = forward->from;
    size_t              size = forward->left < SPLICE_BYTES ? (size_t)forward->left : SPLICE_BYTES;
    ssize_t             r = sys_splice_in(from->priv.fd, forward->pipe.fds[1], size);

    if (r > 0) {
        forward->in_pipe = (uint32_t)r;
        forward->left -= (uint64_t)r;
        stream_note_received(from);
        if (stream_has_deadlines(forward->to))
            stream_deadline_wanted(forward->to, LOOP_STREAM_WRITE);
    } else if (r != -EAGAIN && r != -EINTR) {
        stream_read_ended(from, (int)r);
    }
    return r > 0;
}

/* Empties the pipe, as far as the socket takes it. 0, -EAGAIN, or an error. */
static int splice_out(struct stream_forward *forward)
{
    while (forward->in_pipe > 0) {
        ssize_t r = sys_splice_out(forward->pipe.fds[0], forward->to->priv.fd, forward->in_pipe);

        if (r <= 0)
            return r == -EINTR || r == 0 ? -EAGAIN : (int)r;
        forward->in_pipe -= (uint32_t)r;
        forward->bytes += (uint64_t)r;
        stream_note_sent(forward->to);
    }
    return 0;
}

static bool nothing_more(const struct stream_forward *forward)
{
    return forward->left == 0 || stream_is(forward->from, STREAM_READ_ENDED);
}

/* 0: wait for from; -EAGAIN: for to; or an error. */
static int splice_some(struct stream_forward *forward)
{
    uint64_t before = forward->bytes;
    int      r = splice_out(forward);

    for (int round = 0; r == 0 && round < ROUNDS_MAX && !nothing_more(forward); round++) {
        if (!splice_in(forward))
            break;
        r = splice_out(forward);
        if (forward->bytes - before < BULK_BYTES) /* probably all there was */
            break;
    }
    forward->little = forward->bytes - before < LITTLE_BYTES ? forward->little + 1 : 0;
    return r;
}

/* Returns an error that ends it, or 0. */
static int splice_work(struct stream_forward *forward)
{
    struct loop_stream *from = forward->from, *to = forward->to;
    struct loop        *loop = from->priv.object.loop;
    uint64_t            before = forward->bytes;
    int                 r;

    forward->held = to->priv.write_id != 0 || to->priv.write_first != NULL || stream_is(to, STREAM_CORKED);
    if (from->priv.read_id != 0 || forward->held)
        return 0;
    if (stream_is(to, STREAM_WRITE_FAILED) || stream_is(to, STREAM_SHUT))
        return stream_is(to, STREAM_SHUT) ? -EPIPE : to->priv.write_error;
    if (!forward->pipe_held && pipe_take(loop, &forward->pipe) < 0) {
        forward->flags |= LOOP_FORWARD_COPY; /* no descriptors: it goes on without a pipe */
        forward->state = COPYING;
        stream_work(from);
        return 0;
    }
    forward->pipe_held = true;
    r = splice_some(forward);
    if (forward->in_pipe == 0)
        pipe_let_go(loop, forward);
    if (r < 0 && r != -EAGAIN)
        return r;
    if (r == 0 && nothing_more(forward))
        return 0;
    if (r == 0 && forward->little >= LITTLE_TIMES) {
        forward->state = COPYING;
        forward->little = 0;
        stream_work(from);
        return 0;
    }
    if (r == 0)
        wait_for_data(from);
    else if (forward->bytes != before || !forward->to_ready)
        wait_for_room(to);
    /* else a socket that is ready and takes nothing, short of memory: it is asked again later, not at once */
    forward->to_ready = false;
    if (r == 0 ? from->priv.read_id == 0 : to->priv.write_id == 0)
        loop_task_retry(loop, &from->priv.task); /* at the limit of operations, or without memory */
    return 0;
}

/* ---- both */

static void shut_down(struct loop_stream *to, int error)
{
    struct stream_more *more = to->priv.more;

    if (more != NULL && more->forwarded != NULL)
        finish(more->forwarded, error);
}

/* All has been read and taken. */
static void end(struct stream_forward *forward)
{
    struct loop_stream *from = forward->from;
    bool                ended = stream_is(from, STREAM_READ_ENDED) && from->priv.stash_first == 0;
    int                 r = 0;

    if (forward->stopping)
        r = -ECANCELED;
    else if (forward->left > 0 && ended && from->priv.read_end < 0)
        r = from->priv.read_end;
    else if (forward->left > 0 && forward->limited)
        r = -ENODATA;
    if (r == 0 && !forward->limited && (forward->flags & LOOP_FORWARD_NO_SHUTDOWN) == 0) {
        forward->shutting = true;
        r = loop_stream_shutdown(forward->to, shut_down);
        if (r == 0)
            return; /* its callback is the end */
        r = r == -ENOTCONN ? -EPIPE : r;
    }
    finish(forward, r);
}

static void read_on(struct loop_stream *from)
{
    if (stream_has_deadlines(from) && !stream_is(from, STREAM_READING))
        stream_deadline_wanted(from, LOOP_STREAM_READ);
    stream_set(from, STREAM_READING);
}

static int copy_work(struct stream_forward *forward)
{
    struct loop_stream *from = forward->from;
    int                 r = pass_on_stash(forward);

    if (r < 0)
        return r;
    if (forward->state == COPYING && !nothing_more(forward) && from->priv.stash_first == 0 &&
        loop_stream_queued(forward->to) <= forward->queued_max / 2)
        read_on(from);
    else if (forward->state != COPYING || forward->left == 0 || much_waits(forward))
        stream_unset(from, STREAM_READING);
    forward->held = !stream_is(from, STREAM_READING) && loop_stream_queued(forward->to) > 0;
    stream_read_work(from);
    return 0;
}

void stream_forward_work(struct loop_stream *from)
{
    struct stream_forward *forward = from->priv.more->forward;
    struct loop_stream    *to = forward->to;
    int                    r = 0;

    if (stream_state(from) != STREAM_OPEN || stream_state(to) != STREAM_OPEN || forward->shutting)
        return;
    if (forward->forked)
        r = -EOWNERDEAD;
    else if (stream_is(to, STREAM_WRITE_FAILED) && forward->writes == 0) /* else those will tell */
        r = to->priv.write_error;
    else if (forward->state != SPLICING)
        r = copy_work(forward);
    if (r == 0 && from->priv.more->forward != forward)
        return; /* it was ended by a callback */
    if (forward->state == CHANGING && from->priv.read_id == 0 && from->priv.stash_first == 0 && forward->writes == 0) {
        /* SPLICE_F_NONBLOCK is about the pipe: a socket has to know by itself. */
        bool set = sys_nonblocking_set(from->priv.fd) >= 0 && sys_nonblocking_set(to->priv.fd) >= 0;

        forward->state = set ? SPLICING : COPYING;
    }
    if (r == 0 && forward->state == SPLICING)
        r = splice_work(forward);
    if (r < 0)
        finish(forward, r);
    else if (forward->writes == 0 && forward->in_pipe == 0 &&
             (forward->left == 0 || (stream_is(from, STREAM_READ_ENDED) && from->priv.stash_first == 0)))
        end(forward);
}

void stream_forward_sent(struct loop_stream *to)
{
    struct stream_forward *forward = to->priv.more == NULL ? NULL : to->priv.more->forwarded;

    if (forward == NULL || !(forward->held || stream_is(to, STREAM_WRITE_FAILED)))
        return;
    forward->held = false;
    stream_work(forward->from);
}

void stream_forward_drop(struct loop_stream *stream)
{
    struct stream_more *more = stream->priv.more;

    if (more != NULL && more->forward != NULL)
        finish(more->forward, -ECANCELED);
    if (more != NULL && more->forwarded != NULL)
        finish(more->forwarded, -ECANCELED);
}

/* ---- calls */

static int check(const struct loop_stream *from, const struct loop_stream *to)
{
    if (stream_state(from) == STREAM_CLOSING || stream_state(to) == STREAM_CLOSING || stream_is(from, STREAM_LEAVING) ||
        stream_is(to, STREAM_LEAVING))
        return -EINVAL;
    if (stream_is(from, STREAM_READING) || stream_request_waits(from) || stream_forwards(from) ||
        (to->priv.more != NULL && to->priv.more->forwarded != NULL))
        return -EBUSY;
    if (stream_state(from) == STREAM_CONNECTING || stream_state(to) == STREAM_CONNECTING ||
        stream_is(from, STREAM_END_TOLD))
        return -ENOTCONN;
    if (stream_is(to, STREAM_SHUT) || stream_is(to, STREAM_WRITE_FAILED))
        return -EPIPE;
    return 0;
}

int loop_stream_forward(struct loop_stream *from, struct loop_stream *to, const struct loop_forward_options *options,
                        loop_forward_cb *cb, void *arg)
{
    static const struct loop_forward_options defaults;
    struct loop                             *loop = from->priv.object.loop;
    struct stream_forward                   *forward;
    int                                      r;

    if (options == NULL)
        options = &defaults;
    if (from == to || cb == NULL || stream_state(from) == STREAM_CLOSED || stream_state(to) == STREAM_CLOSED ||
        loop != to->priv.object.loop ||
        (options->flags & ~(uint32_t)(LOOP_FORWARD_NO_SHUTDOWN | LOOP_FORWARD_COPY)) != 0)
        return -EINVAL;
    loop_check_owner(loop, __func__);
    r = check(from, to);
    if (r < 0)
        return r;
    if (stream_more(from) == NULL || stream_more(to) == NULL ||
        (forward = memory_resize(loop, NULL, sizeof(*forward))) == NULL)
        return -ENOMEM;
    *forward = (struct stream_forward){
        .from = from,
        .to = to,
        .cb = cb,
        .arg = arg,
        .flags = options->flags,
        .limited = options->bytes_max != 0,
        .left = options->bytes_max == 0 ? UINT64_MAX : options->bytes_max,
        .queued_max = options->queued_max == 0 ? QUEUED_DEFAULT : options->queued_max,
    };
    from->priv.more->forward = forward;
    from->priv.on_read = received;
    to->priv.more->forwarded = forward;
    stream_work(from);
    return 0;
}

int loop_stream_forward_stop(struct loop_stream *from)
{
    struct stream_forward *forward;

    if (stream_state(from) == STREAM_CLOSED || from->priv.more == NULL || from->priv.more->forward == NULL)
        return -EINVAL;
    loop_check_owner(from->priv.object.loop, __func__);
    forward = from->priv.more->forward;
    forward->stopping = true;
    forward->left = 0;
    stream_work(from);
    return 0;
}
