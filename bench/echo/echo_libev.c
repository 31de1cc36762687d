/* Echo server on libev: one io watcher a connection, reads into a shared buffer, written back at once. What
 * the socket does not take waits in a queue of the connection for EV_WRITE. */
#include <ev.h>

#include "echo/readiness.h"

struct connection {
    ev_io       io; /* first: the watcher's address is the connection's */
    struct echo echo;
};

static void connection_close(struct ev_loop *loop, struct connection *connection)
{
    ev_io_stop(loop, &connection->io);
    close(connection->io.fd);
    byte_queue_free(&connection->echo.unsent);
    free(connection);
}

static void connection_watch(struct ev_loop *loop, struct connection *connection)
{
    int events = 0;

    if (connection->echo.reading)
        events |= EV_READ;
    if (byte_queue_length(&connection->echo.unsent) != 0)
        events |= EV_WRITE;
    if (events == (connection->io.events & (EV_READ | EV_WRITE)))
        return;
    ev_io_stop(loop, &connection->io);
    ev_io_set(&connection->io, connection->io.fd, events);
    ev_io_start(loop, &connection->io);
}

static void on_connection(struct ev_loop *loop, ev_io *io, int events)
{
    struct connection *connection = (struct connection *)(void *)io;
    bool               alive = true;

    if ((events & EV_WRITE) != 0 && byte_queue_length(&connection->echo.unsent) != 0)
        alive = echo_writable(&connection->echo);
    if (alive && connection->echo.reading && (events & EV_READ) != 0)
        alive = echo_readable(&connection->echo);
    if (!alive || echo_is_over(&connection->echo))
        connection_close(loop, connection);
    else
        connection_watch(loop, connection);
}

static void on_listener(struct ev_loop *loop, ev_io *io, int events)
{
    (void)events;
    for (;;) {
        struct connection *connection;
        int                fd = echo_accept(io->fd);

        if (fd < 0)
            return;
        connection = calloc(1, sizeof(*connection));
        if (connection == NULL)
            die("no memory for a connection");
        connection->echo = (struct echo){.fd = fd, .reading = true};
        ev_io_init(&connection->io, on_connection, fd, EV_READ);
        ev_io_start(loop, &connection->io);
        stats.connections++;
    }
}

static void on_signal(struct ev_loop *loop, ev_signal *signal, int events)
{
    (void)signal, (void)events;
    ev_break(loop, EVBREAK_ALL);
}

int main(int argc, char **argv)
{
    struct server_options options = server_init(argc, argv);
    int                   listener = server_listen(&options);
    struct ev_loop       *loop = ev_default_loop(EVBACKEND_EPOLL | EVFLAG_NOENV);
    ev_io                 listener_io;
    ev_signal             terminate, interrupt;

    if (loop == NULL)
        die("ev_default_loop failed");
    ev_io_init(&listener_io, on_listener, listener, EV_READ);
    ev_io_start(loop, &listener_io);
    ev_signal_init(&terminate, on_signal, SIGTERM);
    ev_signal_start(loop, &terminate);
    ev_signal_init(&interrupt, on_signal, SIGINT);
    ev_signal_start(loop, &interrupt);
    server_ready(listener);
    ev_run(loop, 0);
    server_stats_print(&options, &stats);
    return 0;
}
