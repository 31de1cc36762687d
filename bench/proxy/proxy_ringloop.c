/* TCP proxy on ringloop, as a user of its streams writes it: each connection has two streams, and what one receives is
 * handed to the other's write. A side is not read from while much is unsent on the other. */
#include <errno.h>
#include <ringloop.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>

#include "common/cli.h"
#include "common/server.h"

struct side {
    struct loop_stream stream; /* first: the stream's address is the side's */
    struct side       *other;
    bool               open;
    bool               paused; /* it is not read from, because of what is unsent on the other */
    bool               shut;   /* everything was sent to it, and our half is ended */
};

struct connection {
    struct side client, backend;
};

static struct server_stats stats;
static struct loop        *loop;
static struct loop_address backend_address;

static void must(int result, const char *what)
{
    if (result < 0)
        die_errno(-result, "%s", what);
}

static struct connection *connection_of(struct side *side)
{
    return side->stream.data;
}

static void on_closed(struct loop_stream *stream)
{
    struct side *side = (struct side *)(void *)stream;

    side->open = false;
    if (!side->other->open)
        free(connection_of(side));
}

static void fail(struct side *side)
{
    loop_stream_reset(&side->stream, on_closed);
    loop_stream_reset(&side->other->stream, on_closed);
}

static void on_shut_down(struct loop_stream *stream, int error)
{
    struct side *side = (struct side *)(void *)stream;

    side->shut = true;
    if (error < 0) {
        fail(side);
    } else if (side->other->shut) {
        loop_stream_close(&side->stream, on_closed);
        loop_stream_close(&side->other->stream, on_closed);
    }
}

static void on_read(struct loop_stream *stream, const struct loop_result *result);

/* The stream is the one written to. */
static void on_written(struct loop_stream *stream, int error, size_t bytes, void *arg)
{
    struct side *from = ((struct side *)(void *)stream)->other;

    (void)bytes, (void)arg;
    if (error != 0) {
        fail(from);
        return;
    }
    stats.sends++;
    if (from->paused && loop_stream_queued(stream) <= SERVER_UNSENT_RESUME) {
        from->paused = false;
        must(loop_stream_read_start(&from->stream, on_read), "loop_stream_read_start");
    }
}

static void on_read(struct loop_stream *stream, const struct loop_result *result)
{
    const struct loop_write_terms terms = {.release = result->buffer};
    struct side                  *side = (struct side *)(void *)stream;
    struct loop_stream           *to = &side->other->stream;
    int                           r = result->res;

    if (r > 0) {
        stats.receives++;
        stats.bytes += (uint64_t)r;
        r = loop_stream_write(to, result->data, (size_t)r, on_written, NULL, &terms);
    } else if (r == 0) {
        r = loop_stream_shutdown(to, on_shut_down);
    }
    if (r < 0) {
        fail(side);
    } else if (loop_stream_queued(to) > SERVER_UNSENT_MAX && result->res > 0) {
        side->paused = true;
        stats.pauses++;
        must(loop_stream_read_stop(stream), "loop_stream_read_stop");
    }
}

static void on_connect(struct loop_stream *stream, int error)
{
    struct side *backend = (struct side *)(void *)stream;

    if (error < 0) {
        if (error != -ECANCELED)
            fail(backend);
        return;
    }
    must(loop_stream_read_start(stream, on_read), "loop_stream_read_start");
    must(loop_stream_read_start(&backend->other->stream, on_read), "loop_stream_read_start");
}

static void on_connection(struct loop_listener *listener, int result)
{
    const struct loop_stream_options options = {.flags = LOOP_STREAM_NODELAY, .on_close = on_closed};
    struct connection               *connection;

    (void)listener;
    must(result, "accept");
    connection = calloc(1, sizeof(*connection));
    if (connection == NULL)
        die("no memory for a connection");
    connection->client = (struct side){.stream.data = connection, .other = &connection->backend, .open = true};
    connection->backend = (struct side){.stream.data = connection, .other = &connection->client, .open = true};
    must(loop_stream_open(loop, &connection->client.stream, result, &options), "loop_stream_open");
    must(loop_stream_connect(loop, &connection->backend.stream, &backend_address, &options, on_connect),
         "loop_stream_connect");
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
    const struct loop_listener_options listener_options = {.backlog = SERVER_BACKLOG};
    struct loop_listener               listener = {0};
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
