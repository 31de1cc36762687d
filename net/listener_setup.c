/* net/listener_setup.c: the way to a socket that listens, by plain system calls: they happen once, do not block, and
 * their errors belong to the call. Socket files; binding that is tried again. */
#include "net/listener_private.h"
#include "net/socket.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>

static const uint64_t first_delay_ns = LOOP_MILLISECOND;
static const uint64_t delay_max_ns = 64 * LOOP_MILLISECOND;

/* ---- socket files */

struct path {
    char text[sizeof(((struct sockaddr_un *)NULL)->sun_path) + 1];
};

/* Whether the address names a file: no abstract name, no other family. */
static bool path_of(const struct loop_address *address, struct path *ret_path)
{
    const size_t offset = offsetof(struct sockaddr_un, sun_path);
    size_t       size;

    if (address->storage.ss_family != AF_UNIX || address->size <= offset)
        return false;
    size = address->size - offset;
    if (size >= sizeof(ret_path->text))
        size = sizeof(ret_path->text) - 1;
    memcpy(ret_path->text, (const char *)&address->storage + offset, size);
    ret_path->text[size] = '\0';
    return ret_path->text[0] != '\0';
}

/* Removes the socket of one who has died: nobody answers there. Whatever else is there, bind says. */
static void remove_stale(const struct loop_address *address, const struct path *path)
{
    struct sys_file file;
    int             fd, r;

    if (sys_file(path->text, &file) < 0 || !S_ISSOCK(file.mode))
        return;
    fd = sys_socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return;
    r = sys_connect(fd, (const struct sockaddr *)&address->storage, address->size);
    sys_close(fd);
    if (r == -ECONNREFUSED)
        (void)sys_unlink(path->text);
}

void listener_file_remove(struct loop_listener *listener)
{
    struct loop_address address;
    struct sys_file     file;
    struct path         path;

    if (listener->priv.file_inode == 0)
        return;
    if (socket_local_address(listener->priv.fd, &address) == 0 && path_of(&address, &path) &&
        sys_file(path.text, &file) == 0 && file.device == listener->priv.file_device &&
        file.inode == listener->priv.file_inode)
        (void)sys_unlink(path.text);
    listener->priv.file_inode = 0;
}

/* ---- steps */

static int set_options(int fd, int family, const struct loop_listener_options *options)
{
    bool is_ip = family == AF_INET || family == AF_INET6;
    int  r = 0;

    if (is_ip)
        r = socket_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (r == 0 && family == AF_INET6)
        r = socket_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, (options->flags & LOOP_LISTENER_V6ONLY) != 0);
    if (r == 0 && is_ip && (options->flags & LOOP_LISTENER_REUSEPORT) != 0)
        r = socket_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (r == 0 && is_ip && options->fastopen_queue != 0)
        r = socket_option(fd, IPPROTO_TCP, TCP_FASTOPEN, (int)options->fastopen_queue);
    if (r == 0 && is_ip && options->defer_accept_s != 0)
        r = socket_option(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, (int)options->defer_accept_s);
    if (r == 0 && options->tcp != NULL)
        r = loop_tcp_set(fd, options->tcp);
    return r;
}

/* A socket file gets its permissions before anybody can connect: that takes the listen. */
static int bind_address(struct loop_listener *listener, int fd, const struct loop_address *address,
                        const struct loop_listener_options *options)
{
    struct sys_file file;
    struct path     path;
    bool            is_file = path_of(address, &path);
    int             r;

    if (is_file && (options->flags & LOOP_LISTENER_UNLINK) != 0)
        remove_stale(address, &path);
    r = sys_bind(fd, (const struct sockaddr *)&address->storage, address->size);
    if (r < 0 || !is_file)
        return r;
    if (sys_file(path.text, &file) == 0) {
        listener->priv.file_device = file.device;
        listener->priv.file_inode = file.inode;
    }
    return options->unix_mode == 0 ? 0 : sys_chmod(path.text, options->unix_mode);
}

static int do_step(struct loop_listener *listener, enum loop_listener_step step, int fd,
                   const struct loop_address *address, const struct loop_listener_options *options)
{
    switch (step) {
    case LOOP_LISTENER_MADE: return 0;
    case LOOP_LISTENER_SET: return set_options(fd, address->storage.ss_family, options);
    case LOOP_LISTENER_BOUND: return bind_address(listener, fd, address, options);
    case LOOP_LISTENER_LISTENING: return sys_listen(fd, (int)listener->priv.backlog);
    }
    check_failed("a step of the set-up", __FILE__, __LINE__);
}

int listener_socket(struct loop_listener *listener, const struct loop_address *address,
                    const struct loop_listener_options *options)
{
    int fd = socket_stream(address);
    int r = 0;

    if (fd < 0)
        return fd;
    for (int step = LOOP_LISTENER_MADE; r >= 0 && step <= LOOP_LISTENER_LISTENING; step++) {
        r = do_step(listener, (enum loop_listener_step)step, fd, address, options);
        if (r >= 0 && options->on_step != NULL)
            r = options->on_step(listener, (enum loop_listener_step)step, fd);
    }
    if (r >= 0) {
        if ((options->flags & LOOP_LISTENER_UNLINK) == 0)
            listener->priv.file_inode = 0;
        return fd;
    }
    listener->priv.fd = fd;
    listener_file_remove(listener);
    listener->priv.fd = -1;
    sys_close(fd);
    return r;
}

/* ---- binding that is tried again */

static void setup_free(struct loop_listener *listener)
{
    memory_free(listener->priv.object.loop, listener->priv.setup);
    listener->priv.setup = NULL;
}

void listener_bind_told(struct loop_listener *listener, int error)
{
    loop_listener_event_cb *on_listening = listener->priv.setup->options.on_listening;

    setup_free(listener);
    on_listening(listener, error);
}

static void again_due(struct loop_timer *timer)
{
    listener_bind_again(container_of(timer, struct loop_listener, priv.timer));
}

/* Whether there is time for another attempt. */
static bool try_later(struct loop_listener *listener)
{
    struct loop_listener_setup *setup = listener->priv.setup;
    struct loop                *loop = listener->priv.object.loop;
    uint64_t                    now_ns = loop_time(loop), due_ns = ns_add(now_ns, setup->delay_ns);

    if (now_ns >= setup->until_ns)
        return false;
    timer_of_object(&listener->priv.timer);
    (void)loop_timer_start_at(loop, &listener->priv.timer, due_ns < setup->until_ns ? due_ns : setup->until_ns, 0,
                              again_due);
    setup->delay_ns = 2 * setup->delay_ns < delay_max_ns ? 2 * setup->delay_ns : delay_max_ns;
    return true;
}

int listener_bind(struct loop_listener *listener, const struct loop_address *address,
                  const struct loop_listener_options *options)
{
    struct loop                *loop = listener->priv.object.loop;
    struct loop_listener_setup *setup = memory_resize(loop, NULL, sizeof(*setup));
    int                         r;

    if (setup == NULL)
        return -ENOMEM;
    *setup = (struct loop_listener_setup){
        .address = *address,
        .options = *options,
        .until_ns = ns_add(loop_time(loop), options->bind_retry_ns),
        .delay_ns = first_delay_ns,
    };
    if (options->tcp != NULL) {
        setup->tcp = *options->tcp;
        setup->options.tcp = &setup->tcp;
    }
    listener->priv.setup = setup;
    r = listener_socket(listener, address, &setup->options);
    if (r >= 0) {
        listener->priv.fd = r;
        return 0; /* the task tells */
    }
    if (r == -EADDRINUSE && try_later(listener)) {
        listener->priv.state = LISTENER_BINDING;
        return 0;
    }
    setup_free(listener);
    return r;
}

void listener_bind_again(struct loop_listener *listener)
{
    int r = listener_socket(listener, &listener->priv.setup->address, &listener->priv.setup->options);

    if (r >= 0)
        listener->priv.fd = r; /* closed with the listener, if a hook has done so */
    if (listener->priv.state != LISTENER_BINDING || (r == -EADDRINUSE && try_later(listener)))
        return;
    listener->priv.state = r >= 0 ? LISTENER_OPEN : LISTENER_FAILED;
    listener_work(listener);
    listener_bind_told(listener, r >= 0 ? 0 : r);
}
