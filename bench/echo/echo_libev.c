/* Echo server on libev: one io watcher a connection, reads into a shared buffer, written back at once. What
 * the socket does not take waits in a queue of the connection for EV_WRITE. */
#include <errno.h>
#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/byte_queue.h"
#include "common/cli.h"
#include "common/server.h"

struct connection {
    ev_io             io;      /* first: the watcher's address is the connection's */
    bool              reading; /* neither paused nor at the end of input */
    bool              ended;   /* the peer has sent its last byte */
    struct byte_queue unsent;
};

static struct server_stats stats;
static uint8_t             read_buffer[SERVER_READ_BYTES];

static void connection_close(struct ev_loop *loop, struct connection *connection)
{
    ev_io_stop(loop, &connection->io);
    close(connection->io.fd);
    byte_queue_free(&connection->unsent);
    free(connection);
}

static void connection_watch(struct ev_loop *loop, struct connection *connection)
{
    int events = 0;

    if (connection->reading)
        events |= EV_READ;
    if (byte_queue_length(&connection->unsent) != 0)
        events |= EV_WRITE;
    if (events == (connection->io.events & (EV_READ | EV_WRITE)))
        return;
    ev_io_stop(loop, &connection->io);
    ev_io_set(&connection->io, connection->io.fd, events);
    ev_io_start(loop, &connection->io);
}

/* Sends as much as the socket takes; false: the connection is broken. */
static bool connection_send(struct connection *connection, const uint8_t *bytes, size_t length, size_t *ret_sent)
{
    ssize_t sent = write(connection->io.fd, bytes, length);

    *ret_sent = 0;
    if (sent < 0)
        return errno == EAGAIN || errno == EINTR;
    stats.sends++;
    *ret_sent = (size_t)sent;
    return true;
}

/* One read, echoed; false: the connection is broken. */
static bool connection_read(struct connection *connection, bool *ret_more)
{
    ssize_t received = read(connection->io.fd, read_buffer, sizeof(read_buffer));
    size_t  length, sent = 0;

    *ret_more = false;
    if (received < 0)
        return errno == EAGAIN || errno == EINTR;
    if (received == 0) {
        connection->ended = true;
        connection->reading = false;
        return true;
    }
    length = (size_t)received;
    stats.receives++;
    stats.bytes += length;
    if (byte_queue_length(&connection->unsent) == 0 && !connection_send(connection, read_buffer, length, &sent))
        return false;
    if (sent != length)
        byte_queue_append(&connection->unsent, read_buffer + sent, length - sent);
    if (byte_queue_length(&connection->unsent) > SERVER_UNSENT_MAX) {
        connection->reading = false;
        stats.pauses++;
    }
    *ret_more = length == sizeof(read_buffer) && connection->reading;
    return true;
}

/* Reads on while the buffer gets full, as libuv does; a short read has emptied the socket. */
static bool connection_readable(struct connection *connection)
{
    bool more = true;

    for (int i = 0; more && i < SERVER_READS_MAX; i++) {
        if (!connection_read(connection, &more))
            return false;
    }
    return true;
}

static bool connection_writable(struct connection *connection)
{
    struct byte_queue *unsent = &connection->unsent;
    size_t             sent;

    if (!connection_send(connection, unsent->memory + unsent->head, byte_queue_length(unsent), &sent))
        return false;
    byte_queue_consume(unsent, sent);
    if (!connection->reading && !connection->ended && byte_queue_length(unsent) <= SERVER_UNSENT_RESUME)
        connection->reading = true;
    return true;
}

static void on_connection(struct ev_loop *loop, ev_io *io, int events)
{
    struct connection *connection = (struct connection *)(void *)io;
    bool               alive = true;

    if ((events & EV_WRITE) != 0 && byte_queue_length(&connection->unsent) != 0)
        alive = connection_writable(connection);
    if (alive && connection->reading && (events & EV_READ) != 0)
        alive = connection_readable(connection);
    if (!alive || (connection->ended && byte_queue_length(&connection->unsent) == 0))
        connection_close(loop, connection);
    else
        connection_watch(loop, connection);
}

static void on_listener(struct ev_loop *loop, ev_io *io, int events)
{
    (void)events;
    for (;;) {
        struct connection *connection;
        int                fd = accept4(io->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd < 0 && (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED))
            return;
        if (fd < 0)
            die_errno(errno, "accept");
        connection = calloc(1, sizeof(*connection));
        if (connection == NULL)
            die("no memory for a connection");
        connection->reading = true;
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
