/* Echo server on libuv: a shared read buffer, uv_try_write at once, and one copied uv_write for what the socket does
 * not take. libuv queues further writes of the connection by itself. */
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "common/uv_server.h"

struct connection {
    uv_tcp_t tcp; /* first: the handle's address is the connection's */
    bool     paused;
    bool     ended; /* the peer has sent its last byte */
};

/* What could not be written at once. */
struct rest {
    uv_write_t write;
    uint8_t    bytes[];
};

static struct server_stats stats;
static char                read_buffer[SERVER_READ_BYTES];

static void on_closed(uv_handle_t *handle)
{
    free(handle);
}

static void connection_close(uv_stream_t *stream)
{
    if (!uv_is_closing((const uv_handle_t *)stream))
        uv_close((uv_handle_t *)stream, on_closed);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    (void)handle, (void)suggested;
    *buffer = uv_buf_init(read_buffer, sizeof(read_buffer));
}

static void on_read(uv_stream_t *stream, ssize_t length, const uv_buf_t *buffer);

static void on_written(uv_write_t *write, int status)
{
    uv_stream_t       *stream = write->handle;
    struct connection *connection = (struct connection *)(void *)stream;

    free(write); /* first in struct rest */
    if (status < 0) {
        connection_close(stream);
        return;
    }
    stats.sends++;
    if (connection->paused && uv_stream_get_write_queue_size(stream) <= SERVER_UNSENT_RESUME) {
        connection->paused = false;
        uv_must(uv_read_start(stream, on_alloc, on_read), "uv_read_start");
    }
    if (connection->ended && uv_stream_get_write_queue_size(stream) == 0)
        connection_close(stream);
}

/* Queues a copy of what uv_try_write left. */
static void write_rest(uv_stream_t *stream, const char *bytes, size_t length)
{
    struct rest *rest = malloc(sizeof(*rest) + length);
    uv_buf_t     buffer;

    if (rest == NULL)
        die("no memory for unsent bytes");
    memcpy(rest->bytes, bytes, length);
    buffer = uv_buf_init((char *)rest->bytes, (unsigned int)length);
    uv_must(uv_write(&rest->write, stream, &buffer, 1, on_written), "uv_write");
}

static void echo(uv_stream_t *stream, char *bytes, size_t length)
{
    struct connection *connection = (struct connection *)(void *)stream;
    uv_buf_t           buffer = uv_buf_init(bytes, (unsigned int)length);
    int                sent = uv_try_write(stream, &buffer, 1);

    if (sent < 0 && sent != UV_EAGAIN) {
        connection_close(stream);
        return;
    }
    if (sent >= 0)
        stats.sends++;
    else
        sent = 0;
    if ((size_t)sent == length)
        return;
    write_rest(stream, bytes + sent, length - (size_t)sent);
    if (uv_stream_get_write_queue_size(stream) > SERVER_UNSENT_MAX) {
        uv_read_stop(stream);
        connection->paused = true;
        stats.pauses++;
    }
}

static void on_read(uv_stream_t *stream, ssize_t length, const uv_buf_t *buffer)
{
    struct connection *connection = (struct connection *)(void *)stream;

    if (length > 0) {
        stats.receives++;
        stats.bytes += (uint64_t)length;
        echo(stream, buffer->base, (size_t)length);
    } else if (length == UV_EOF) {
        connection->ended = true;
        if (uv_stream_get_write_queue_size(stream) == 0)
            connection_close(stream);
    } else if (length < 0) {
        connection_close(stream);
    }
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct connection *connection;

    uv_must(status, "connection");
    connection = calloc(1, sizeof(*connection));
    if (connection == NULL)
        die("no memory for a connection");
    uv_must(uv_tcp_init(listener->loop, &connection->tcp), "uv_tcp_init");
    uv_must(uv_accept(listener, (uv_stream_t *)&connection->tcp), "uv_accept");
    uv_must(uv_read_start((uv_stream_t *)&connection->tcp, on_alloc, on_read), "uv_read_start");
    stats.connections++;
}

int main(int argc, char **argv)
{
    struct server_options options = server_init(argc, argv);
    int                   fd = server_listen(&options);
    uv_loop_t            *loop = uv_default_loop();
    uv_tcp_t              listener;

    uv_server_listen(loop, &listener, fd, on_connection);
    uv_server_run(loop, fd);
    server_stats_print(&options, &stats);
    return 0;
}
