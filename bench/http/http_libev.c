/* http_libev.c: the HTTP server of examples/http.c on libev: the same sessions, another loop.
 * Replies are sent at once; a watcher for writability runs only while the socket does not take them. */
#include "http_session.h"

#include <errno.h>
#include <ev.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define container_of(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

struct server {
    struct ev_loop     *loop;
    ev_io               listener;
    ev_timer            tick;
    ev_signal           terminate, interrupt;
    struct http_service service;
    char                read_buffer[HTTP_READ_BYTES];
};

struct connection {
    ev_io               readable;
    ev_io               writable;
    struct http_session session;
    bool                input_ended;
    bool                shut_down;
};

static struct server server;

/* ---- connections */

static void connection_close(struct connection *connection)
{
    ev_io_stop(server.loop, &connection->readable);
    ev_io_stop(server.loop, &connection->writable);
    close(connection->readable.fd);
    http_session_close(&connection->session);
    free(connection);
    ev_io_start(server.loop, &server.listener); /* in case it rests for want of descriptors */
}

/* Sends once; the watcher for writability is for what is left then. Returns false if the connection is lost. */
static bool connection_send(struct connection *connection)
{
    struct iovec  segments[HTTP_SEGMENTS_MAX];
    struct msghdr message = {.msg_iov = segments};
    ssize_t       sent;

    message.msg_iovlen = http_session_segments(&connection->session, segments);
    sent = sendmsg(connection->writable.fd, &message, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EINTR)
        return false;
    if (sent > 0)
        http_session_sent(&connection->session, (size_t)sent);
    if (http_session_next(&connection->session) == HTTP_NEXT_SEND)
        ev_io_start(server.loop, &connection->writable);
    return true;
}

static void connection_read_or_pause(struct connection *connection)
{
    if (http_session_wants_input(&connection->session) && !connection->input_ended)
        ev_io_start(server.loop, &connection->readable);
    else
        ev_io_stop(server.loop, &connection->readable);
}

/* The connection may be gone after this. */
static void connection_go_on(struct connection *connection)
{
    bool must_send = http_session_next(&connection->session) == HTTP_NEXT_SEND;

    if (must_send && !ev_is_active(&connection->writable) && !connection_send(connection)) {
        connection_close(connection);
        return;
    }
    switch (http_session_next(&connection->session)) {
    case HTTP_NEXT_WAIT:
    case HTTP_NEXT_SEND: break;
    case HTTP_NEXT_SHUTDOWN:
        if (!connection->shut_down)
            shutdown(connection->readable.fd, SHUT_WR);
        connection->shut_down = true;
        break;
    case HTTP_NEXT_CLOSE: connection_close(connection); return;
    }
    connection_read_or_pause(connection);
}

static void on_readable(struct ev_loop *loop, ev_io *watcher, int events)
{
    struct connection *connection = container_of(watcher, struct connection, readable);
    ssize_t            size = recv(watcher->fd, server.read_buffer, sizeof server.read_buffer, 0);

    (void)loop;
    (void)events;
    if (size < 0) {
        if (errno != EAGAIN && errno != EINTR)
            connection_close(connection);
        return;
    }
    if (size > 0) {
        http_session_receive(&connection->session, server.read_buffer, (size_t)size);
    } else {
        connection->input_ended = true;
        http_session_end(&connection->session);
    }
    connection_go_on(connection);
}

static void on_writable(struct ev_loop *loop, ev_io *watcher, int events)
{
    struct connection *connection = container_of(watcher, struct connection, writable);

    (void)events;
    ev_io_stop(loop, watcher);
    connection_go_on(connection);
}

static void on_timeout(struct http_session *session)
{
    connection_go_on(container_of(session, struct connection, session));
}

/* ---- the server */

static void connection_open(int fd)
{
    struct connection *connection = calloc(1, sizeof *connection);

    if (!connection) {
        close(fd);
        return;
    }
    ev_io_init(&connection->readable, on_readable, fd, EV_READ);
    ev_io_init(&connection->writable, on_writable, fd, EV_WRITE);
    http_session_open(&connection->session, &server.service);
    ev_io_start(server.loop, &connection->readable);
}

/* TCP_NODELAY is inherited from the listening socket. */
static void on_acceptable(struct ev_loop *loop, ev_io *watcher, int events)
{
    (void)events;
    for (;;) {
        int fd = accept4(watcher->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            connection_open(fd);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            ev_io_stop(loop, watcher); /* until a connection is closed, or the next tick */
        if (errno != EINTR && errno != ECONNABORTED)
            return;
    }
}

static void on_tick(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)timer;
    (void)events;
    http_service_tick(&server.service);
    ev_io_start(loop, &server.listener);
}

static void on_signal(struct ev_loop *loop, ev_signal *watcher, int events)
{
    (void)watcher;
    (void)events;
    ev_break(loop, EVBREAK_ALL);
}

/* Returns the listening socket, or -1. */
static int listen_on(const struct http_options *options)
{
    int on = 1;
    int fd = socket(options->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0 ||
        bind(fd, (const struct sockaddr *)&options->address, options->address_size) < 0 || listen(fd, SOMAXCONN) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void announce(int fd)
{
    struct sockaddr_storage address = {0};
    socklen_t               size = sizeof address;

    if (getsockname(fd, (struct sockaddr *)&address, &size) == 0)
        http_announce(ntohs(((struct sockaddr_in *)&address)->sin_port)); /* at the same place in sockaddr_in6 */
}

static void serve(int fd)
{
    ev_io_init(&server.listener, on_acceptable, fd, EV_READ);
    ev_timer_init(&server.tick, on_tick, HTTP_TICK_MS / 1000.0, HTTP_TICK_MS / 1000.0);
    ev_signal_init(&server.terminate, on_signal, SIGTERM);
    ev_signal_init(&server.interrupt, on_signal, SIGINT);
    ev_io_start(server.loop, &server.listener);
    ev_timer_start(server.loop, &server.tick);
    ev_signal_start(server.loop, &server.terminate);
    ev_signal_start(server.loop, &server.interrupt);
    announce(fd);
    ev_run(server.loop, 0);
    while (server.service.sessions)
        connection_close(container_of(server.service.sessions, struct connection, session));
    ev_loop_destroy(server.loop);
    close(fd);
}

int main(int argc, char **argv)
{
    struct http_options options;
    int                 fd;

    http_options_parse(&options, argc, argv);
    http_prepare_process();
    if (http_service_open(&server.service, &options, "libev", on_timeout) < 0)
        return 1;
    server.loop = ev_default_loop(EVFLAG_AUTO);
    fd = listen_on(&options);
    if (server.loop && fd >= 0)
        serve(fd);
    else
        fprintf(stderr, "cannot listen: %s\n", strerror(errno));
    http_service_close(&server.service);
    return server.loop && fd >= 0 ? 0 : 1;
}
