/* Echo server on ringloop, as a user of its streams writes it: default options, public headers only. Received buffers
 * are handed to the write, which gives them back when the bytes have left. */
#include <errno.h>
#include <ringloop.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/cli.h"
#include "common/server.h"

struct connection {
    struct loop_stream stream; /* first: the stream's address is the connection's */
    bool               paused;
};

static struct server_stats stats;
static int                 signal_sockets[2]; /* written by the signal handler, read by the loop */

static void on_closed(struct loop_stream *stream)
{
    free(stream);
}

static void on_shutdown(struct loop_stream *stream, int error)
{
    (void)error; /* a failure means that the peer has gone; either way this is the end */
    loop_stream_close(stream, on_closed);
}

static void on_read(struct loop_stream *stream, const struct loop_result *result);

static void on_written(struct loop_stream *stream, int error, size_t bytes, void *arg)
{
    struct connection *connection = (struct connection *)(void *)stream;

    (void)bytes, (void)arg;
    if (error != 0) {
        loop_stream_close(stream, on_closed); /* harmless if this error is that it closes already */
        return;
    }
    stats.sends++;
    if (connection->paused && loop_stream_queued(stream) <= SERVER_UNSENT_RESUME) {
        connection->paused = false;
        must(loop_stream_read_start(stream, on_read), "loop_stream_read_start");
    }
}

static void echo(struct loop_stream *stream, const struct loop_result *result)
{
    const struct loop_write_terms terms = {.release = result->buffer};
    struct connection            *connection = (struct connection *)(void *)stream;
    size_t                        size = (size_t)result->res;

    stats.receives++;
    stats.bytes += size;
    if (loop_stream_write(stream, result->data, size, on_written, NULL, &terms) < 0) {
        loop_stream_close(stream, on_closed);
        return;
    }
    if (loop_stream_queued(stream) > SERVER_UNSENT_MAX) {
        must(loop_stream_read_stop(stream), "loop_stream_read_stop");
        connection->paused = true;
        stats.pauses++;
    }
}

static void on_read(struct loop_stream *stream, const struct loop_result *result)
{
    if (result->res > 0)
        echo(stream, result);
    else if (result->res == 0 && loop_stream_shutdown(stream, on_shutdown) == 0)
        return; /* closed when all is written */
    else
        loop_stream_close(stream, on_closed);
}

static void on_connection(struct loop_listener *listener, int result)
{
    const struct loop_stream_options options = {.on_close = on_closed, .listener = listener};
    struct connection               *connection;

    must(result, "accept");
    connection = calloc(1, sizeof(*connection));
    if (connection == NULL)
        die("no memory for a connection");
    must(loop_stream_open(listener->data, &connection->stream, result, &options), "loop_stream_open");
    must(loop_stream_read_start(&connection->stream, on_read), "loop_stream_read_start");
    stats.connections++;
}

static void on_signal(int number)
{
    int  saved = errno;
    char byte = (char)number;

    send(signal_sockets[1], &byte, 1, MSG_DONTWAIT); /* a full socket holds a signal already */
    errno = saved;
}

static void on_signal_byte(struct loop *loop, const struct loop_result *result, void *arg)
{
    (void)arg;
    if (result->res > 0)
        loop_stop(loop);
}

static void stop_on_signals(struct loop *loop)
{
    static char      byte;
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, signal_sockets) != 0)
        die_errno(errno, "socketpair");
    if (loop_recv(loop, signal_sockets[0], &byte, 1, 0, on_signal_byte, NULL, NULL) < 0)
        die("loop_recv failed");
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
}

int main(int argc, char **argv)
{
    struct server_options              options = server_init(argc, argv);
    const struct loop_tcp_options      tcp = {.flags = LOOP_TCP_NODELAY}; /* inherited by the connections */
    const struct loop_listener_options listener_options = {.backlog = SERVER_BACKLOG, .tcp = &tcp};
    struct loop_listener               listener = {0};
    struct loop_address                address;
    struct loop_stats                  loop_counters;
    struct loop                       *loop;

    must(loop_create(&loop, NULL), "loop_create");
    listener.data = loop;
    must(loop_address_parse(&address, "127.0.0.1", options.port), "loop_address_parse");
    must(loop_listener_start(loop, &listener, &address, &listener_options, on_connection), "loop_listener_start");
    stop_on_signals(loop);
    server_ready(loop_listener_fd(&listener));
    must(loop_run(loop, LOOP_RUN_DEFAULT), "loop_run");
    loop_stats_get(loop, &loop_counters);
    stats.starved = loop_counters.buffers_parked;
    stats.buffers_held = loop_counters.buffers_lent;
    must(loop_destroy(loop), "loop_destroy");
    server_stats_print(&options, &stats);
    return 0;
}
