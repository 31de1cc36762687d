/* net/stream.c: streams: life, connecting, closing, and what one asks of them. */
#include "net/stream_private.h"

#include "net/socket.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <ringloop/op_poll.h>
#include <unistd.h>

enum { WRITE_BYTES_DEFAULT = 64 << 20 };
static const uint32_t write_bytes_most = UINT32_MAX - (1 << 20);
static const uint32_t flags_all =
    LOOP_STREAM_NODELAY | LOOP_STREAM_UNREF | LOOP_STREAM_READ_ON | LOOP_STREAM_KEEP_FD | LOOP_STREAM_FDS;

static void set_state(struct loop_stream *stream, enum stream_state to)
{
    static const uint8_t next[] = {
        [STREAM_CLOSED] = 1u << STREAM_CONNECTING | 1u << STREAM_OPEN,
        [STREAM_CONNECTING] = 1u << STREAM_OPEN | 1u << STREAM_CLOSING,
        [STREAM_OPEN] = 1u << STREAM_CLOSING | 1u << STREAM_CLOSED,
        [STREAM_CLOSING] = 1u << STREAM_CLOSED,
    };

    CHECK((next[stream_state(stream)] & 1u << to) != 0);
    stream->priv.state = (stream->priv.state & ~(uint32_t)STREAM_STATE_MASK) | (uint32_t)to;
}

static void tell_connected(struct loop_stream *stream, int error)
{
    loop_stream_event_cb *cb = stream->priv.on_event;

    stream->priv.on_event = NULL;
    if (cb != NULL)
        cb(stream, error);
}

struct stream_more *stream_more(struct loop_stream *stream)
{
    if (stream->priv.more == NULL) {
        struct stream_more *more = memory_resize(stream->priv.object.loop, NULL, sizeof(*more));

        if (more != NULL)
            *more = (struct stream_more){0};
        stream->priv.more = more;
    }
    return stream->priv.more;
}

static void more_free(struct loop_stream *stream)
{
    if (stream->priv.more == NULL)
        return;
    stream_deadline_drop(stream);
    stream_fds_drop(stream);
    memory_free(stream->priv.object.loop, stream->priv.more->request);
    memory_free(stream->priv.object.loop, stream->priv.more);
    stream->priv.more = NULL;
}

void stream_break(struct loop_stream *stream, int error)
{
    if (!stream_is(stream, STREAM_READ_ENDED))
        stream_read_ended(stream, error);
    stream->priv.transport->cancel(stream);
    stream_work(stream);
    stream_write_break(stream, error);
}

void stream_forget(struct loop_stream *stream)
{
    stream_read_drop(stream);
    more_free(stream);
    loop_listener_ticket_release(stream->priv.ticket);
    stream->priv.ticket = NULL;
    if (task_list_linked(&stream->priv.task))
        task_list_remove(&stream->priv.task);
    object_gone(&stream->priv.object, !stream_is(stream, STREAM_UNREF));
    set_state(stream, STREAM_CLOSED);
}

/* Everything that was promised a callback gets it, in the order that the header states. */
static void finish_close(struct loop_stream *stream)
{
    if (stream_is(stream, STREAM_WAS_CONNECTING))
        tell_connected(stream, -ECANCELED);
    stream_request_drop(stream);
    stream_forward_drop(stream);
    stream_write_fail(stream, -ECANCELED);
    stream_tell_shutdown(stream, -ECANCELED);
    if (stream_is(stream, STREAM_LEAVING))
        stream_leave_tell(stream, -ECANCELED);
    if (stream->priv.fd >= 0)
        stream->priv.transport->close(stream);
    stream_forget(stream);
    if (stream->priv.on_close != NULL)
        stream->priv.on_close(stream);
}

/* The descriptor goes first where notifications are waited for: with a reset that is what makes them come. */
static void close_now(struct loop_stream *stream)
{
    if (!stream_busy(stream))
        finish_close(stream);
    else if (stream->priv.fd >= 0)
        stream->priv.transport->close(stream);
}

static void run_task(struct loop *loop, struct loop_task *task)
{
    struct loop_stream *stream = container_of(task, struct loop_stream, priv.task);

    (void)loop;
    if (stream_state(stream) != STREAM_CLOSING)
        stream_write_work(stream);
    if (stream_state(stream) != STREAM_CLOSING && stream_forwards(stream))
        stream_forward_work(stream);
    else if (stream_state(stream) != STREAM_CLOSING)
        stream_read_work(stream);
    if (stream_is(stream, STREAM_LEAVING) && stream_state(stream) == STREAM_OPEN)
        stream_leave_work(stream);
    else if (stream_state(stream) == STREAM_CLOSING && stream->priv.read_id == 0 && stream->priv.write_id == 0)
        close_now(stream);
}

void stream_connected(struct loop_stream *stream, int error)
{
    if (stream_state(stream) == STREAM_CLOSING) {
        stream_work(stream);
        return;
    }
    set_state(stream, STREAM_OPEN);
    if (error < 0) {
        stream_set(stream, STREAM_WRITE_FAILED);
        stream_set(stream, STREAM_END_TOLD);
        stream->priv.write_error = -ENOTCONN;
    }
    tell_connected(stream, error);
    if (error < 0)
        stream_write_fail(stream, -ECANCELED);
    stream_work(stream);
}

static int connect_on(struct loop_stream *stream);

/* It goes on connecting without anybody asking; this is how it turned out. */
static void connect_looked(struct loop *loop, const struct loop_result *result, void *arg)
{
    struct loop_stream *stream = arg;
    int                 error = 0;
    socklen_t           size = sizeof(error);

    (void)loop;
    stream->priv.write_id = 0;
    if (result->res == -ERESTART && connect_on(stream) == 0)
        return;
    if (result->res >= 0)
        (void)sys_getsockopt(stream->priv.fd, SOL_SOCKET, SO_ERROR, &error, &size);
    stream_connected(stream, result->res < 0 ? result->res : -error);
}

/* The loop has a new ring: a connect cannot be asked for twice, but looked for. */
static int connect_on(struct loop_stream *stream)
{
    struct loop *loop = stream->priv.object.loop;
    loop_id      id =
        loop_poll_add(loop, stream->priv.fd, POLLOUT, connect_looked, stream, LOOP_TERMS(.flags = LOOP_UNCHAINED));

    if (id > 0)
        stream->priv.write_id = op_of_object(loop, id);
    return id < 0 ? (int)id : 0;
}

static void connect_done(struct loop *loop, const struct loop_result *result, void *arg)
{
    struct loop_stream *stream = arg;

    (void)loop;
    stream->priv.write_id = 0;
    if (result->res == -ERESTART && connect_on(stream) == 0)
        return;
    stream_connected(stream, result->res);
}

static void close_object(struct loop_object *object)
{
    loop_stream_close(container_of(object, struct loop_stream, priv.object), NULL);
}

/* The parent sends what is queued, and moves what is being spliced. */
static void rehome_object(struct loop_object *object, bool forked)
{
    struct loop_stream *stream = container_of(object, struct loop_stream, priv.object);

    if (!forked)
        return;
    if (stream_forwards(stream))
        stream_forward_forked(stream);
    if (stream->priv.write_first == NULL || stream_is(stream, STREAM_WRITE_FAILED))
        return;
    stream_set(stream, STREAM_WRITE_FAILED); /* told by the task, or when the send has come back */
    stream->priv.write_error = -EOWNERDEAD;
    stream_work(stream);
}

static void describe(const struct loop_object *object, struct loop_walk_item *item)
{
    const struct loop_stream *stream = container_of(object, struct loop_stream, priv.object);

    item->fd = stream->priv.fd;
    item->closing = loop_stream_closing(stream);
    item->ref = loop_stream_has_ref(stream);
    item->active = stream_state(stream) == STREAM_CONNECTING || stream->priv.read_id != 0 ||
                   stream->priv.write_id != 0 || stream->priv.write_first != NULL || stream_is(stream, STREAM_READING);
}

static void let_go(struct loop_object *object)
{
    struct loop_stream *stream = container_of(object, struct loop_stream, priv.object);

    if (stream->priv.fd >= 0 && !stream_is(stream, STREAM_KEEP_FD))
        sys_close(stream->priv.fd);
}

static const struct loop_object_class stream_class = {
    .name = "stream", .close = close_object, .rehome = rehome_object, .let_go = let_go, .describe = describe};

static int check_options(const struct loop_stream *stream, const struct loop *loop,
                         const struct loop_stream_options *options)
{
    if ((options->flags & ~flags_all) != 0)
        return -EINVAL;
    if (stream_state(stream) != STREAM_CLOSED)
        return -EBUSY;
    return loop->destroying ? -ECANCELED : 0;
}

static const struct loop_stream_options defaults;

/* What has been read of a file comes on top. */
static uint32_t bytes_max(const struct loop_stream_options *options)
{
    if (options->write_bytes_max == 0)
        return WRITE_BYTES_DEFAULT;
    return options->write_bytes_max < write_bytes_most ? options->write_bytes_max : write_bytes_most;
}

static uint32_t high_mark(const struct loop_stream *stream, const struct loop_stream_options *options)
{
    return options->write_high != 0 ? options->write_high : stream->priv.write_bytes_max / 4;
}

static int init_more(struct loop_stream *stream, const struct loop_stream_options *options)
{
    struct stream_more *more;

    if (options->write_low == 0 && options->on_water == NULL && options->zero_copy_min == 0)
        return 0;
    if (options->write_low > stream->priv.write_high)
        return -EINVAL;
    more = stream_more(stream);
    if (more == NULL)
        return -ENOMEM;
    more->on_water = options->on_water;
    more->write_low = options->write_low;
    more->zero_copy_min = options->zero_copy_min;
    return 0;
}

static uint32_t state_of(const struct loop_stream_options *options)
{
    return ((options->flags & LOOP_STREAM_UNREF) != 0 ? STREAM_UNREF : 0u) |
           ((options->flags & LOOP_STREAM_READ_ON) != 0 ? STREAM_READ_ON : 0u) |
           ((options->flags & LOOP_STREAM_KEEP_FD) != 0 ? STREAM_KEEP_FD : 0u);
}

/* A failure leaves the stream zeroed and the descriptor to the caller. */
static int init(struct loop *loop, struct loop_stream *stream, int fd, const struct loop_stream_options *options)
{
    int r;

    stream->priv = (struct loop_stream_private){
        .object.loop = loop,
        .task.run = run_task,
        .transport = &stream_socket_transport,
        .on_close = options->on_close,
        .write_bytes_max = bytes_max(options),
        .state = state_of(options),
        .fd = fd,
    };
    stream->priv.write_high = high_mark(stream, options);
    r = init_more(stream, options);
    if (r == 0 && (options->flags & LOOP_STREAM_FDS) != 0)
        r = stream_fds_open(stream, options->fds_max);
    if (r < 0) {
        more_free(stream);
        stream->priv = (struct loop_stream_private){0};
    }
    return r;
}

int stream_socket_options(int fd, const struct loop_stream_options *options)
{
    if ((options->flags & LOOP_STREAM_NODELAY) != 0)
        (void)socket_option(fd, IPPROTO_TCP, TCP_NODELAY, 1); /* no effect where it is not tcp */
    return options->tcp == NULL ? 0 : loop_tcp_set(fd, options->tcp);
}

int stream_prepare(struct loop *loop, struct loop_stream *stream, int fd, const struct loop_stream_options *options)
{
    int r;

    if (options == NULL)
        options = &defaults;
    if (options->listener != NULL || (options->flags & LOOP_STREAM_FDS) != 0) /* names are not of unix sockets */
        return -EINVAL;
    r = check_options(stream, loop, options);
    return r < 0 ? r : init(loop, stream, fd, options);
}

void stream_connecting(struct loop_stream *stream, loop_stream_event_cb *on_connect)
{
    set_state(stream, STREAM_CONNECTING);
    stream->priv.on_event = on_connect;
    object_open(stream->priv.object.loop, &stream->priv.object, &stream_class, !stream_is(stream, STREAM_UNREF));
}

/* How to reach what stands behind a descriptor. */
static int find_transport(int fd, const struct loop_stream_transport **ret_transport, uint32_t *ret_state)
{
    int       r, type = 0;
    socklen_t size = sizeof(type);

    r = sys_getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size);
    if (r == -ENOTSOCK)
        return stream_file_check(fd, ret_transport, ret_state);
    return r == 0 && type != SOCK_STREAM ? -EINVAL : r;
}

int loop_stream_open(struct loop *loop, struct loop_stream *stream, int fd, const struct loop_stream_options *options)
{
    const struct loop_stream_transport *transport = NULL;
    uint32_t                            state = 0;
    int                                 r;

    loop_check_owner(loop, __func__);
    if (options == NULL)
        options = &defaults;
    if (fd < 0)
        return -EBADF;
    r = check_options(stream, loop, options);
    if (r == 0 && options->listener == NULL)
        r = find_transport(fd, &transport, &state);
    if (r == 0)
        r = stream_socket_options(fd, options);
    if (r < 0)
        return r;
    r = init(loop, stream, fd, options);
    if (r < 0)
        return r;
    stream->priv.state |= state;
    if (transport != NULL)
        stream->priv.transport = transport;
    if (options->listener != NULL)
        stream->priv.ticket = loop_listener_ticket_take(options->listener);
    else if (fd <= STDERR_FILENO)
        stream_set(stream, STREAM_KEEP_FD);
    set_state(stream, STREAM_OPEN);
    object_open(loop, &stream->priv.object, &stream_class, !stream_is(stream, STREAM_UNREF));
    return 0;
}

int loop_stream_connect(struct loop *loop, struct loop_stream *stream, const struct loop_address *address,
                        const struct loop_stream_options *options, loop_stream_event_cb *on_connect)
{
    loop_id id;
    int     fd, r;

    loop_check_owner(loop, __func__);
    if (options == NULL)
        options = &defaults;
    if (!socket_address_valid(address) || options->listener != NULL)
        return -EINVAL;
    r = check_options(stream, loop, options);
    if (r < 0)
        return r;
    fd = socket_stream(address);
    if (fd < 0)
        return fd;
    r = stream_socket_options(fd, options);
    if (r == 0)
        r = init(loop, stream, fd, options);
    if (r < 0)
        goto fail_fd;
    id = loop_connect(loop, fd, (const struct sockaddr *)&address->storage, address->size, connect_done, stream,
                      LOOP_TERMS(.timeout_ns = options->connect_timeout_ns, .flags = LOOP_UNCHAINED));
    if (id < 0) {
        r = (int)id;
        goto fail_fd;
    }
    stream->priv.write_id = op_of_object(loop, id); /* nothing is sent before */
    stream_connecting(stream, on_connect);
    return 0;
fail_fd:
    more_free(stream);
    sys_close(fd);
    stream->priv = (struct loop_stream_private){0}; /* closed, as it was */
    return r;
}

void loop_stream_close(struct loop_stream *stream, loop_stream_close_cb *on_close)
{
    enum stream_state state = stream_state(stream);

    if (state == STREAM_CLOSED || state == STREAM_CLOSING)
        return;
    loop_check_owner(stream->priv.object.loop, __func__);
    set_state(stream, STREAM_CLOSING);
    if (state == STREAM_CONNECTING)
        stream_set(stream, STREAM_WAS_CONNECTING);
    if (on_close != NULL)
        stream->priv.on_close = on_close;
    if (stream_is(stream, STREAM_UNREF)) {
        object_hold(&stream->priv.object);
        stream_unset(stream, STREAM_UNREF);
    }
    if (task_list_linked(&stream->priv.task)) /* perhaps among those that wait for room */
        task_list_remove(&stream->priv.task);
    stream->priv.transport->cancel(stream);
    stream_file_stop(stream);
    if (stream->priv.read_id == 0 && stream->priv.write_id == 0)
        stream_work(stream);
}

void loop_stream_reset(struct loop_stream *stream, loop_stream_close_cb *on_close)
{
    if (stream_state(stream) == STREAM_OPEN)
        stream_set(stream, STREAM_RESET);
    loop_stream_close(stream, on_close);
}

static bool is_open(const struct loop_stream *stream)
{
    return stream_state(stream) == STREAM_OPEN || stream_state(stream) == STREAM_CONNECTING;
}

bool loop_stream_closing(const struct loop_stream *stream)
{
    return stream_state(stream) == STREAM_CLOSING;
}

int loop_stream_fd(const struct loop_stream *stream)
{
    return is_open(stream) && stream->priv.fd >= 0 ? stream->priv.fd : -EBADF;
}

struct loop *loop_stream_loop(const struct loop_stream *stream)
{
    return stream->priv.object.loop;
}

static void set_ref(struct loop_stream *stream, const char *call, bool ref)
{
    bool *later = stream_is(stream, STREAM_LEAVING) ? &stream->priv.more->leave.was_unref : NULL;
    bool  now = !stream_is(stream, STREAM_UNREF);

    if (!is_open(stream))
        return;
    if (later != NULL) { /* until it has left, it keeps the loop alive */
        *later = !ref;
        return;
    }
    object_ref_set(&stream->priv.object, call, &now, ref);
    if (now)
        stream_unset(stream, STREAM_UNREF);
    else
        stream_set(stream, STREAM_UNREF);
}

void loop_stream_ref(struct loop_stream *stream)
{
    set_ref(stream, __func__, true);
}

void loop_stream_unref(struct loop_stream *stream)
{
    set_ref(stream, __func__, false);
}

bool loop_stream_has_ref(const struct loop_stream *stream)
{
    return stream_state(stream) != STREAM_CLOSED && !stream_is(stream, STREAM_UNREF);
}

int loop_stream_local_address(const struct loop_stream *stream, struct loop_address *ret_address)
{
    return is_open(stream) ? socket_local_address(stream->priv.fd, ret_address) : -EINVAL;
}

int loop_stream_peer_address(const struct loop_stream *stream, struct loop_address *ret_address)
{
    return is_open(stream) ? socket_peer_address(stream->priv.fd, ret_address) : -EINVAL;
}
