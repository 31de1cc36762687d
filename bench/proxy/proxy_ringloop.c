/* TCP proxy on ringloop: each connection has two streams, and what one receives is forwarded to the other. */
#include <errno.h>
#include <ringloop.h>
#include <signal.h>
#include <stdlib.h>

#include "common/cli.h"
#include "common/server.h"

struct connection {
    struct loop_stream client, backend;
    int                directions; /* that are over */
    int                open;       /* streams */
};

static struct server_stats  stats;
static struct loop         *loop;
static struct loop_listener listener;
static struct loop_address  backend_address;

static void on_closed(struct loop_stream *stream)
{
    struct connection *connection = stream->data;

    if (--connection->open == 0)
        free(connection);
}

static void finish(struct connection *connection)
{
    loop_stream_close(&connection->client, on_closed);
    loop_stream_close(&connection->backend, on_closed);
}

static void on_forwarded(struct loop_stream *from, struct loop_stream *to, int error, uint64_t bytes, void *arg)
{
    struct connection *connection = arg;

    (void)from, (void)to;
    stats.bytes += bytes;
    if (error < 0 || ++connection->directions == 2)
        finish(connection);
}

static void on_connect(struct loop_stream *backend, int error)
{
    struct connection *connection = backend->data;

    if (error < 0) {
        finish(connection);
        return;
    }
    must(loop_stream_forward(&connection->client, backend, NULL, on_forwarded, connection), "loop_stream_forward");
    must(loop_stream_forward(backend, &connection->client, NULL, on_forwarded, connection), "loop_stream_forward");
}

static void on_connection(struct loop_listener *from, int result)
{
    struct loop_stream_options options = {.flags = LOOP_STREAM_NODELAY, .on_close = on_closed};
    struct connection         *connection;

    must(result, "accept");
    connection = calloc(1, sizeof(*connection));
    if (connection == NULL)
        die("no memory for a connection");
    connection->client.data = connection->backend.data = connection;
    connection->open = 2;
    must(loop_stream_connect(loop, &connection->backend, &backend_address, &options, on_connect),
         "loop_stream_connect");
    server_window(loop_stream_fd(&connection->backend)); /* the connect leaves at the end of the turn */
    options.flags = 0;                                   /* inherited from the listener */
    options.listener = from;
    must(loop_stream_open(loop, &connection->client, result, &options), "loop_stream_open");
    stats.connections++;
}

static void on_signal(int number)
{
    (void)number;
    loop_stop(loop);
}

int main(int argc, char **argv)
{
    struct server_options              options = server_init(argc, argv);
    const struct loop_tcp_options      tcp = {.flags = LOOP_TCP_NODELAY};
    const struct loop_listener_options listener_options = {.backlog = SERVER_BACKLOG, .tcp = &tcp};
    struct loop_address                address;
    struct loop_stats                  loop_counters;

    must(loop_create(&loop, NULL), "loop_create");
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    must(loop_address_parse(&address, "127.0.0.1", options.port), "loop_address_parse");
    must(loop_address_parse(&backend_address, "127.0.0.1", options.backend), "loop_address_parse");
    must(loop_listener_start(loop, &listener, &address, &listener_options, on_connection), "loop_listener_start");
    server_ready(loop_listener_fd(&listener));
    must(loop_run(loop, LOOP_RUN_DEFAULT), "loop_run");
    loop_stats_get(loop, &loop_counters);
    stats.starved = loop_counters.buffers_parked;
    stats.buffers_held = loop_counters.buffers_lent;
    must(loop_destroy(loop), "loop_destroy");
    server_stats_print(&options, &stats);
    return 0;
}
