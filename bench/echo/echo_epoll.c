/* Echo server on bare epoll: level-triggered, reads into a shared buffer, written back at once. What the
 * socket does not take waits in a queue of the connection for EPOLLOUT. */
#include <sys/epoll.h>

#include "echo/readiness.h"

enum { EVENTS_MAX = 1024 };

struct connection {
    struct echo echo;
    uint32_t    events; /* what epoll watches for */
};

static int epoll_fd;

static void connection_close(struct connection *connection)
{
    close(connection->echo.fd); /* leaves the epoll set with it */
    byte_queue_free(&connection->echo.unsent);
    free(connection);
}

static void connection_watch(struct connection *connection)
{
    uint32_t           events = 0;
    struct epoll_event event;

    if (connection->echo.reading)
        events |= EPOLLIN;
    if (byte_queue_length(&connection->echo.unsent) != 0)
        events |= EPOLLOUT;
    if (events == connection->events)
        return;
    event = (struct epoll_event){.events = events, .data.ptr = connection};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, connection->echo.fd, &event) != 0)
        die_errno(errno, "epoll_ctl");
    connection->events = events;
}

static void connection_event(struct connection *connection, uint32_t events)
{
    bool alive = true;

    if ((events & EPOLLOUT) != 0)
        alive = echo_writable(&connection->echo);
    if (alive && connection->echo.reading && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
        alive = echo_readable(&connection->echo);
    else if ((events & EPOLLERR) != 0)
        alive = false; /* reset while reading was paused */
    if (!alive || echo_is_over(&connection->echo))
        connection_close(connection);
    else
        connection_watch(connection);
}

static void accept_all(int listener)
{
    for (;;) {
        struct connection *connection;
        struct epoll_event event;
        int                fd = echo_accept(listener);

        if (fd < 0)
            return;
        connection = calloc(1, sizeof(*connection));
        if (connection == NULL)
            die("no memory for a connection");
        connection->echo.fd = fd;
        connection->echo.reading = true;
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
