/* net/listener.c: listening sockets: start, pause, close. */
#include "net/listener_private.h"
#include "net/socket.h"

#include <errno.h>

static const uint32_t flags_all =
    LOOP_LISTENER_REUSEPORT | LOOP_LISTENER_V6ONLY | LOOP_LISTENER_UNREF | LOOP_LISTENER_PEER | LOOP_LISTENER_UNLINK;
static const uint32_t adopt_flags = LOOP_LISTENER_UNREF | LOOP_LISTENER_PEER;
static const uint32_t mode_bits = 07777;

static const struct loop_listener_options defaults;

void listener_ended(struct loop_listener *listener)
{
    struct loop *loop = listener->priv.object.loop;

    listener_stop_waiting(listener);
    listener_drop(listener);
    if (listener->priv.setup != NULL)
        listener_bind_told(listener, -ECANCELED);
    if (listener->priv.fd >= 0) {
        listener_file_remove(listener);
        sys_close(listener->priv.fd);
        listener->priv.fd = -1;
    }
    listener_count_close(listener);
    listener->priv.state = LISTENER_CLOSED;
    object_gone(&listener->priv.object, listener->priv.ref);
    starved_feed(loop);
    if (listener->priv.on_close != NULL)
        listener->priv.on_close(listener);
}

static void run_task(struct loop *loop, struct loop_task *task)
{
    struct loop_listener *listener = container_of(task, struct loop_listener, priv.task);

    (void)loop;
    if (listener->priv.state == LISTENER_CLOSING && !listener_in_flight(listener)) {
        listener_ended(listener);
        return;
    }
    if (listener->priv.state == LISTENER_OPEN && listener->priv.setup != NULL)
        listener_bind_told(listener, 0);
    if (listener->priv.state == LISTENER_OPEN)
        listener_go_on(listener);
}

static void close_object(struct loop_object *object)
{
    loop_listener_close(container_of(object, struct loop_listener, priv.object), NULL);
}

/* Connections that wait to be delivered, and the file of a unix socket, are the parent's. */
static void rehome_object(struct loop_object *object, bool forked)
{
    struct loop_listener *listener = container_of(object, struct loop_listener, priv.object);

    if (!forked)
        return;
    listener_drop_held(listener);
    listener->priv.file_inode = 0;
}

static void describe(const struct loop_object *object, struct loop_walk_item *item)
{
    const struct loop_listener *listener = container_of(object, struct loop_listener, priv.object);

    item->fd = listener->priv.fd;
    item->closing = loop_listener_closing(listener);
    item->ref = loop_listener_has_ref(listener);
    item->active = !listener->priv.paused && listener->priv.state != LISTENER_FAILED;
}

static void let_go(struct loop_object *object)
{
    struct loop_listener *listener = container_of(object, struct loop_listener, priv.object);

    listener_drop_held(listener);
    if (listener->priv.fd >= 0)
        sys_close(listener->priv.fd);
}

static const struct loop_object_class listener_class = {
    .name = "listener", .close = close_object, .rehome = rehome_object, .let_go = let_go, .describe = describe};

/* What start and adopt have in common, before there is a socket. */
static int begin(struct loop *loop, struct loop_listener *listener, const struct loop_listener_options *options,
                 loop_listener_cb *on_accept)
{
    if (listener->priv.state != LISTENER_CLOSED)
        return -EBUSY;
    if (loop->destroying)
        return -ECANCELED;
    listener->priv = (struct loop_listener_private){
        .task.run = run_task,
        .on_accept = on_accept,
        .on_close = options->on_close,
        .connections_max = options->connections_max,
        .backlog = options->backlog == 0 ? SOMAXCONN : (uint32_t)options->backlog,
        .flags = options->flags,
        .fd = -1,
        .delivered = -1,
        .ref = (options->flags & LOOP_LISTENER_UNREF) == 0,
        .object.loop = loop,
    };
    if (listener_count_open(loop, listener) < 0)
        return -ENOMEM;
    listener->priv.state = LISTENER_STARTING;
    return 0;
}

static int finish(struct loop_listener *listener, int r)
{
    struct loop *loop = listener->priv.object.loop;

    if (r < 0) {
        listener_count_close(listener);
        listener->priv.state = LISTENER_CLOSED;
        return r;
    }
    if (listener->priv.state == LISTENER_STARTING) {
        listener->priv.state = LISTENER_OPEN;
        listener_work(listener); /* so that a pause before the next turn holds */
    }
    object_open(loop, &listener->priv.object, &listener_class, listener->priv.ref);
    return 0;
}

int loop_listener_start(struct loop *loop, struct loop_listener *listener, const struct loop_address *address,
                        const struct loop_listener_options *options, loop_listener_cb *on_accept)
{
    int r;

    loop_check_owner(loop, __func__);
    if (options == NULL)
        options = &defaults;
    if (on_accept == NULL || !socket_address_valid(address) || (options->flags & ~flags_all) != 0 ||
        options->backlog < 0 || options->fastopen_queue > INT32_MAX || options->defer_accept_s > INT32_MAX ||
        (options->unix_mode & ~mode_bits) != 0 || (options->bind_retry_ns != 0 && options->on_listening == NULL))
        return -EINVAL;
    r = begin(loop, listener, options, on_accept);
    if (r < 0)
        return r;
    if (options->bind_retry_ns != 0) {
        r = listener_bind(listener, address, options);
    } else {
        r = listener_socket(listener, address, options);
        if (r >= 0)
            listener->priv.fd = r;
    }
    return finish(listener, r);
}

static int check_listening(int fd)
{
    int       listening = 0;
    socklen_t size = sizeof(listening);
    int       r = sys_getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size);

    if (r < 0)
        return r;
    return listening != 0 ? 0 : -EINVAL;
}

int loop_listener_adopt(struct loop *loop, struct loop_listener *listener, int fd,
                        const struct loop_listener_options *options, loop_listener_cb *on_accept)
{
    int r;

    loop_check_owner(loop, __func__);
    if (options == NULL)
        options = &defaults;
    if (on_accept == NULL || (options->flags & ~adopt_flags) != 0 || options->backlog != 0 ||
        options->fastopen_queue != 0 || options->defer_accept_s != 0 || options->unix_mode != 0 ||
        options->bind_retry_ns != 0 || options->on_step != NULL)
        return -EINVAL;
    r = begin(loop, listener, options, on_accept);
    if (r < 0)
        return r;
    r = check_listening(fd);
    if (r == 0 && options->tcp != NULL)
        r = loop_tcp_set(fd, options->tcp);
    if (r == 0)
        listener->priv.fd = fd;
    return finish(listener, r);
}

int loop_listener_pause(struct loop_listener *listener)
{
    if (!listener_is_open(listener))
        return -EINVAL;
    loop_check_owner(listener->priv.object.loop, __func__);
    listener->priv.paused = true;
    if (listener->priv.resting)
        listener_stop_waiting(listener);
    listener_stop_accepts(listener);
    return 0;
}

int loop_listener_resume(struct loop_listener *listener)
{
    if (!listener_is_open(listener))
        return -EINVAL;
    loop_check_owner(listener->priv.object.loop, __func__);
    if (listener->priv.paused)
        listener_work(listener);
    listener->priv.paused = false;
    return 0;
}

void loop_listener_close(struct loop_listener *listener, loop_listener_close_cb *on_close)
{
    if (!listener_is_open(listener))
        return;
    loop_check_owner(listener->priv.object.loop, __func__);
    listener_stop_waiting(listener);
    listener->priv.state = LISTENER_CLOSING;
    if (on_close != NULL)
        listener->priv.on_close = on_close;
    if (!listener->priv.ref)
        object_hold(&listener->priv.object);
    listener->priv.ref = true;
    listener_stop_accepts(listener);
    if (!listener_in_flight(listener))
        listener_work(listener);
}

int loop_listener_address(const struct loop_listener *listener, struct loop_address *ret_address)
{
    if (!listener_is_open(listener) || listener->priv.fd < 0)
        return -EINVAL;
    return socket_local_address(listener->priv.fd, ret_address);
}

int loop_listener_peer(const struct loop_listener *listener, struct loop_address *ret_address)
{
    if (!listener_is_open(listener) || listener->priv.delivered < 0)
        return -EINVAL;
    if (listener->priv.peer == NULL)
        return socket_peer_address(listener->priv.delivered, ret_address);
    *ret_address = *listener->priv.peer;
    return 0;
}

bool loop_listener_closing(const struct loop_listener *listener)
{
    return listener->priv.state == LISTENER_CLOSING;
}

void loop_listener_ref(struct loop_listener *listener)
{
    if (listener_is_open(listener))
        object_ref_set(&listener->priv.object, __func__, &listener->priv.ref, true);
}

void loop_listener_unref(struct loop_listener *listener)
{
    if (listener_is_open(listener))
        object_ref_set(&listener->priv.object, __func__, &listener->priv.ref, false);
}

bool loop_listener_has_ref(const struct loop_listener *listener)
{
    return listener->priv.state != LISTENER_CLOSED && listener->priv.ref;
}

struct loop *loop_listener_loop(const struct loop_listener *listener)
{
    return listener->priv.state == LISTENER_CLOSED ? NULL : listener->priv.object.loop;
}

int loop_listener_fd(const struct loop_listener *listener)
{
    return listener_is_open(listener) && listener->priv.fd >= 0 ? listener->priv.fd : -EBADF;
}
