/* bench/common/server.h: what the servers under test share: command line, listening socket, life line, statistics.
 *
 * SERVER [--port N] [--backend N [--small-window]] [--stats]
 * Listens on 127.0.0.1 (port 0 or none: any), prints "ready PORT" and serves until SIGTERM or SIGINT, then exits with
 * 0. With --stats the last line on stdout is one JSON object. What differs between the servers is only the loop. */
#ifndef BENCH_COMMON_SERVER_H
#define BENCH_COMMON_SERVER_H

#include <stdbool.h>
#include <stdint.h>

enum {
    SERVER_BACKLOG = 4096,
    SERVER_READ_BYTES = 64 * 1024,     /* the one read buffer of a readiness server, shared by its connections */
    SERVER_READS_MAX = 32,             /* reads in a row from one connection, before it is the others' turn */
    SERVER_UNSENT_MAX = 1024 * 1024,   /* more than this unsent on a connection: stop reading from it … */
    SERVER_UNSENT_RESUME = 512 * 1024, /* … until it is down to this */
};

struct server_options {
    uint16_t port;
    uint16_t backend; /* of a proxy: the port on 127.0.0.1 that it connects to */
    bool     stats;
};

struct server_stats {
    uint64_t connections;  /* accepted */
    uint64_t bytes;        /* received; an echo server sends the same */
    uint64_t receives;     /* reads, or receive completions, with data */
    uint64_t sends;        /* successful writes, or send completions */
    uint64_t pauses;       /* times reading stopped because of unsent bytes */
    uint64_t starved;      /* times no receive buffer was left; always 0 where the server has one of its own */
    uint64_t buffers_held; /* buffers with received bytes in them at the end */
};

/* Reads the command line (dies on a wrong one), ignores SIGPIPE, raises the limit of descriptors to the hard one. */
struct server_options server_init(int argc, char **argv);

/* A nonblocking listening socket; what it accepts inherits TCP_NODELAY. */
int server_listen(const struct server_options *options);

/* For a proxy's sockets that are going to connect: does what --small-window asks for, see common/window.h. */
void server_window(int fd);

/* Says "ready PORT" for a listening socket. */
void server_ready(int listener);

/* A signalfd for SIGTERM and SIGINT, which are blocked from then on. */
int server_signal_fd(void);

/* The JSON line, if asked for. */
void server_stats_print(const struct server_options *options, const struct server_stats *stats);

#endif
