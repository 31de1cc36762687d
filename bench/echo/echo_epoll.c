/* Echo server on bare epoll: level-triggered, reads into a shared buffer, written back at once. What the
 * socket does not take waits in a queue of the connection for EPOLLOUT. */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/byte_queue.h"
#include "common/cli.h"
#include "common/server.h"

enum { EVENTS_MAX = 1024 };

struct connection {
    int               fd;
    uint32_t          events;  /* what epoll watches for */
    bool              reading; /* neither paused nor at the end of input */
    bool              ended;   /* the peer has sent its last byte */
    struct byte_queue unsent;
};

static struct server_stats stats;
static int                 epoll_fd;
static uint8_t             read_buffer[SERVER_READ_BYTES];

static void connection_close(struct connection *connection)
{
    close(connection->fd); /* leaves the epoll set with it */
    byte_queue_free(&connection->unsent);
    free(connection);
}

static void connection_watch(struct connection *connection)
{
    uint32_t           events = 0;
    struct epoll_event event;

    if (connection->reading)
        events |= EPOLLIN;
    if (byte_queue_length(&connection->unsent) != 0)
        events |= EPOLLOUT;
    if (events == connection->events)
        return;
    event = (struct epoll_event){.events = events, .data.ptr = connection};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, connection->fd, &event) != 0)
        die_errno(errno, "epoll_ctl");
    connection->events = events;
}

/* Sends as much as the socket takes; false: the connection is broken. */
static bool connection_send(struct connection *connection, const uint8_t *bytes, size_t length, size_t *ret_sent)
{
    ssize_t sent = write(connection->fd, bytes, length);

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
    ssize_t received = read(connection->fd, read_buffer, sizeof(read_buffer));
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

static void connection_event(struct connection *connection, uint32_t events)
{
    bool alive = true;

    if ((events & EPOLLOUT) != 0)
        alive = connection_writable(connection);
    if (alive && connection->reading && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
        alive = connection_readable(connection);
    else if ((events & EPOLLERR) != 0)
        alive = false; /* reset while reading was paused */
    if (!alive || (connection->ended && byte_queue_length(&connection->unsent) == 0))
        connection_close(connection);
    else
        connection_watch(connection);
}

static void accept_all(int listener)
{
    for (;;) {
        struct connection *connection;
        struct epoll_event event;
        int                fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd < 0 && (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED))
            return;
        if (fd < 0)
            die_errno(errno, "accept");
        connection = calloc(1, sizeof(*connection));
        if (connection == NULL)
            die("no memory for a connection");
        connection->fd = fd;
        connection->reading = true;
        connection->events = EPOLLIN;
        event = (struct epoll_event){.events = EPOLLIN, .data.ptr = connection};
        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
            die_errno(errno, "epoll_ctl");
        stats.connections++;
    }
}

static void watch(int fd, void *tag)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = tag};

    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
        die_errno(errno, "epoll_ctl");
}

int main(int argc, char **argv)
{
    static struct epoll_event events[EVENTS_MAX];
    struct server_options     options = server_init(argc, argv);
    int                       listener = server_listen(&options);
    int                       signal_fd = server_signal_fd();
    bool                      running = true;

    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0)
        die_errno(errno, "epoll_create1");
    watch(listener, &listener);
    watch(signal_fd, &signal_fd);
    server_ready(listener);
    while (running) {
        int count = epoll_wait(epoll_fd, events, EVENTS_MAX, -1);

        if (count < 0 && errno != EINTR)
            die_errno(errno, "epoll_wait");
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr == &listener)
                accept_all(listener);
            else if (events[i].data.ptr == &signal_fd)
                running = false;
            else
                connection_event(events[i].data.ptr, events[i].events);
        }
    }
    server_stats_print(&options, &stats);
    return 0;
}
