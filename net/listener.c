/* net/listener.c: listening sockets: one multishot accept, armed again after errors.
 *
 *   OPEN --no descriptors--> RESTING --one was closed, or 100 ms--> OPEN
 *   OPEN, RESTING --pause--> PAUSED --resume--> OPEN
 *   any --close--> CLOSING --the accept has ended--> CLOSED */
#include <ringloop/listener.h>

#include "loop/loop_private.h"
#include "net/socket.h"

#include <errno.h>
#include <netinet/in.h>

enum listener_state { LISTENER_CLOSED, LISTENER_OPEN, LISTENER_RESTING, LISTENER_PAUSED, LISTENER_CLOSING };

static const uint64_t rest_ns = 100 * LOOP_MILLISECOND;
static const uint32_t flags_all = LOOP_LISTENER_REUSEPORT | LOOP_LISTENER_V6ONLY | LOOP_LISTENER_UNREF;

static loop_cb accepted;

static int arm(struct loop_listener *listener)
{
    loop_id id;

    if (listener->priv.accept_id != 0)
        return 0; /* being cancelled: it is armed again when that is through */
    id = loop_accept_multishot(listener->priv.object.loop, listener->priv.fd, 0, accepted, listener,
                               LOOP_TERMS(.flags = LOOP_BACKGROUND | LOOP_UNCHAINED));
    if (id < 0)
        return (int)id;
    listener->priv.accept_id = op_of_object(listener->priv.object.loop, id);
    return 0;
}

static void stop_waiting(struct loop_listener *listener)
{
    loop_timer_stop(&listener->priv.retry);
    if (task_list_linked(&listener->priv.task))
        task_list_remove(&listener->priv.task);
}

static void finish_close(struct loop_listener *listener)
{
    struct loop *loop = listener->priv.object.loop;

    stop_waiting(listener);
    sys_close(listener->priv.fd);
    listener->priv.fd = -1;
    listener->priv.state = LISTENER_CLOSED;
    object_gone(&listener->priv.object, listener->priv.ref);
    starved_feed(loop);
    if (listener->priv.on_close != NULL)
        listener->priv.on_close(listener);
}

static void retry_due(struct loop_timer *timer);

static void rest(struct loop_listener *listener)
{
    struct loop *loop = listener->priv.object.loop;

    listener->priv.state = LISTENER_RESTING;
    starved_add(loop, &listener->priv.task);
    loop_timer_unref(&listener->priv.retry);
    (void)loop_timer_start(loop, &listener->priv.retry, rest_ns, 0, retry_due);
}

static void go_on(struct loop_listener *listener)
{
    stop_waiting(listener);
    listener->priv.state = LISTENER_OPEN;
    if (arm(listener) < 0)
        rest(listener);
}

static void retry_due(struct loop_timer *timer)
{
    go_on(container_of(timer, struct loop_listener, priv.retry));
}

static void run_task(struct loop *loop, struct loop_task *task)
{
    struct loop_listener *listener = container_of(task, struct loop_listener, priv.task);

    (void)loop;
    if (listener->priv.state == LISTENER_CLOSING)
        finish_close(listener);
    else if (listener->priv.state == LISTENER_OPEN || listener->priv.state == LISTENER_RESTING)
        go_on(listener);
}

static bool is_shortage(int error)
{
    return error == -EMFILE || error == -ENFILE || error == -ENOMEM || error == -ENOBUFS;
}

/* Errors that the next attempt would meet again: the socket is not what it was. */
static bool is_lasting(int error)
{
    return error == -EBADF || error == -EINVAL || error == -ENOTSOCK || error == -EOPNOTSUPP;
}

/* The accept has ended with an error. A shortage is reported when it begins, not at each attempt. */
static void failed(struct loop_listener *listener, int error)
{
    bool report = !is_shortage(error) || !listener->priv.starved;

    if (is_shortage(error)) {
        listener->priv.starved = true;
        rest(listener);
    } else if (is_lasting(error)) {
        listener->priv.state = LISTENER_PAUSED;
    } else {
        go_on(listener);
    }
    if (report)
        listener->priv.on_accept(listener, error);
}

static void accepted(struct loop *loop, const struct loop_result *result, void *arg)
{
    struct loop_listener *listener = arg;
    bool                  final = (result->flags & LOOP_MORE) == 0;

    (void)loop;
    if (final)
        listener->priv.accept_id = 0;
    if (listener->priv.state == LISTENER_CLOSING) {
        if (result->res >= 0)
            sys_close(result->res);
        if (final)
            finish_close(listener);
        return;
    }
    if (result->res >= 0) {
        listener->priv.starved = false;
        if (final && listener->priv.state == LISTENER_OPEN)
            go_on(listener);
        listener->priv.on_accept(listener, result->res);
    } else if (result->res == -ECANCELED) {
        if (listener->priv.state == LISTENER_OPEN) /* paused and resumed meanwhile */
            go_on(listener);
    } else {
        failed(listener, result->res);
    }
}

static void close_object(struct loop_object *object)
{
    loop_listener_close(container_of(object, struct loop_listener, priv.object), NULL);
}

static const struct loop_object_class listener_class = {.name = "listener", .close = close_object};

static int set_options(int fd, int family, uint32_t flags)
{
    int r = 0;

    if (family == AF_INET || family == AF_INET6)
        r = socket_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (r == 0 && family == AF_INET6)
        r = socket_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, (flags & LOOP_LISTENER_V6ONLY) != 0);
    if (r == 0 && (flags & LOOP_LISTENER_REUSEPORT) != 0)
        r = socket_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    return r;
}

static int open_socket(const struct loop_address *address, const struct loop_listener_options *options)
{
    int fd = socket_stream(address);
    int r;

    if (fd < 0)
        return fd;
    r = set_options(fd, address->storage.ss_family, options->flags);
    if (r == 0)
        r = sys_bind(fd, (const struct sockaddr *)&address->storage, address->size);
    if (r == 0)
        r = sys_listen(fd, options->backlog == 0 ? SOMAXCONN : options->backlog);
    if (r < 0) {
        sys_close(fd);
        return r;
    }
    return fd;
}

int loop_listener_start(struct loop *loop, struct loop_listener *listener, const struct loop_address *address,
                        const struct loop_listener_options *options, loop_listener_cb *on_accept)
{
    static const struct loop_listener_options defaults;
    int                                       r;

    loop_check_owner(loop, __func__);
    if (options == NULL)
        options = &defaults;
    if (on_accept == NULL || !socket_address_valid(address) || (options->flags & ~flags_all) != 0 ||
        options->backlog < 0)
        return -EINVAL;
    if (listener->priv.state != LISTENER_CLOSED)
        return -EBUSY;
    if (loop->destroying)
        return -ECANCELED;
    r = open_socket(address, options);
    if (r < 0)
        return r;
    listener->priv = (struct loop_listener_private){
        .task.run = run_task,
        .on_accept = on_accept,
        .on_close = options->on_close,
        .fd = r,
        .state = LISTENER_OPEN,
        .ref = (options->flags & LOOP_LISTENER_UNREF) == 0,
        .object.loop = loop,
    };
    loop_task_add(loop, &listener->priv.task); /* so that a pause before the next turn holds */
    object_open(loop, &listener->priv.object, &listener_class, listener->priv.ref);
    return 0;
}

static bool is_open(const struct loop_listener *listener)
{
    return listener->priv.state != LISTENER_CLOSED && listener->priv.state != LISTENER_CLOSING;
}

int loop_listener_pause(struct loop_listener *listener)
{
    if (!is_open(listener))
        return -EINVAL;
    loop_check_owner(listener->priv.object.loop, __func__);
    stop_waiting(listener);
    listener->priv.state = LISTENER_PAUSED;
    if (listener->priv.accept_id != 0)
        return loop_cancel(listener->priv.object.loop, listener->priv.accept_id);
    return 0;
}

int loop_listener_resume(struct loop_listener *listener)
{
    if (!is_open(listener))
        return -EINVAL;
    loop_check_owner(listener->priv.object.loop, __func__);
    if (listener->priv.state != LISTENER_PAUSED)
        return 0;
    listener->priv.state = LISTENER_OPEN;
    loop_task_add(listener->priv.object.loop, &listener->priv.task);
    return 0;
}

void loop_listener_close(struct loop_listener *listener, loop_listener_close_cb *on_close)
{
    struct loop *loop = listener->priv.object.loop;

    if (!is_open(listener))
        return;
    loop_check_owner(loop, __func__);
    stop_waiting(listener);
    listener->priv.state = LISTENER_CLOSING;
    if (on_close != NULL)
        listener->priv.on_close = on_close;
    if (!listener->priv.ref)
        object_hold(&listener->priv.object);
    listener->priv.ref = true;
    if (listener->priv.accept_id != 0)
        (void)loop_cancel(loop, listener->priv.accept_id);
    else
        loop_task_add(loop, &listener->priv.task);
}

int loop_listener_address(const struct loop_listener *listener, struct loop_address *ret_address)
{
    return is_open(listener) ? socket_local_address(listener->priv.fd, ret_address) : -EINVAL;
}

struct loop *loop_listener_loop(const struct loop_listener *listener)
{
    return listener->priv.state == LISTENER_CLOSED ? NULL : listener->priv.object.loop;
}

int loop_listener_fd(const struct loop_listener *listener)
{
    return is_open(listener) ? listener->priv.fd : -EBADF;
}
