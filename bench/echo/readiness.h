/* bench/echo/readiness.h: the echo servers that wait for readiness: reads into a shared buffer, written back at once;
 * what the socket does not take waits in a queue of the connection. Included once by each program. */
#ifndef BENCH_ECHO_READINESS_H
#define BENCH_ECHO_READINESS_H

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/byte_queue.h"
#include "common/cli.h"
#include "common/server.h"

struct echo {
    int               fd;
    bool              reading; /* neither paused nor at the end of input */
    bool              ended;   /* the peer has sent its last byte */
    struct byte_queue unsent;
};

static struct server_stats stats;
static uint8_t             read_buffer[SERVER_READ_BYTES];

/* A connection that waits, or -1. */
static inline int echo_accept(int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd < 0 && errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
        die_errno(errno, "accept");
    return fd;
}

/* Sends as much as the socket takes; false: the connection is broken. */
static inline bool echo_send(struct echo *echo, const uint8_t *bytes, size_t length, size_t *ret_sent)
{
    ssize_t sent = write(echo->fd, bytes, length);

    *ret_sent = 0;
    if (sent < 0)
        return errno == EAGAIN || errno == EINTR;
    stats.sends++;
    *ret_sent = (size_t)sent;
    return true;
}

/* One read, echoed; false: the connection is broken. */
static inline bool echo_read(struct echo *echo, bool *ret_more)
{
    ssize_t received = read(echo->fd, read_buffer, sizeof(read_buffer));
    size_t  length, sent = 0;

    *ret_more = false;
    if (received < 0)
        return errno == EAGAIN || errno == EINTR;
    if (received == 0) {
        echo->ended = true;
        echo->reading = false;
        return true;
    }
    length = (size_t)received;
    stats.receives++;
    stats.bytes += length;
    if (byte_queue_length(&echo->unsent) == 0 && !echo_send(echo, read_buffer, length, &sent))
        return false;
    if (sent != length)
        byte_queue_append(&echo->unsent, read_buffer + sent, length - sent);
    if (byte_queue_length(&echo->unsent) > SERVER_UNSENT_MAX) {
        echo->reading = false;
        stats.pauses++;
    }
    *ret_more = length == sizeof(read_buffer) && echo->reading;
    return true;
}

/* Reads on while the buffer gets full, as libuv does; a short read has emptied the socket. */
static inline bool echo_readable(struct echo *echo)
{
    bool more = true;

    for (int i = 0; more && i < SERVER_READS_MAX; i++) {
        if (!echo_read(echo, &more))
            return false;
    }
    return true;
}

static inline bool echo_writable(struct echo *echo)
{
    struct byte_queue *unsent = &echo->unsent;
    size_t             sent;

    if (!echo_send(echo, unsent->memory + unsent->head, byte_queue_length(unsent), &sent))
        return false;
    byte_queue_consume(unsent, sent);
    if (!echo->reading && !echo->ended && byte_queue_length(unsent) <= SERVER_UNSENT_RESUME)
        echo->reading = true;
    return true;
}

/* Nothing comes or goes any more. */
static inline bool echo_is_over(const struct echo *echo)
{
    return echo->ended && byte_queue_length(&echo->unsent) == 0;
}

#endif
