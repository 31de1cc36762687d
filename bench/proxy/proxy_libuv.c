/* TCP proxy on libuv: a shared read buffer, uv_try_write to the other side at once, and one copied uv_write for what
 * the socket does not take. */
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/uv_server.h"

struct side {
    uv_tcp_t      tcp; /* first: the handle's address is the side's */
    struct side  *other;
    uv_shutdown_t shutdown;
    bool          open;
    bool          paused; /* it is not read from, because of what is unsent on the other */
    bool          shut;   /* everything was sent to it, and our half is ended */
};

struct connection {
    struct side  client, backend;
    uv_connect_t connect;
};

/* What could not be written at once. */
struct rest {
    uv_write_t write;
    uint8_t    bytes[];
};

static struct server_stats stats;
static struct sockaddr_in  backend_address;
static char                read_buffer[SERVER_READ_BYTES];

static uv_stream_t *stream_of(struct side *side)
{
    return (uv_stream_t *)&side->tcp;
}

static void on_closed(uv_handle_t *handle)
{
    struct side *side = (struct side *)(void *)handle;

    side->open = false;
    if (!side->other->open)
        free(handle->data);
}

static void side_close(struct side *side)
{
    if (!uv_is_closing((uv_handle_t *)&side->tcp))
        uv_close((uv_handle_t *)&side->tcp, on_closed);
}

static void both_close(struct side *side)
{
    side_close(side);
    side_close(side->other);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    (void)handle, (void)suggested;
    *buffer = uv_buf_init(read_buffer, sizeof(read_buffer));
}

static void on_read(uv_stream_t *stream, ssize_t length, const uv_buf_t *buffer);

/* The stream is the one written to. */
static void on_written(uv_write_t *write, int status)
{
    struct side *from = ((struct side *)(void *)write->handle)->other;
    size_t       unsent = uv_stream_get_write_queue_size(write->handle);

    free(write); /* first in struct rest */
    if (status < 0) {
        both_close(from);
        return;
    }
    stats.sends++;
    if (from->paused && unsent <= SERVER_UNSENT_RESUME) {
        from->paused = false;
        uv_must(uv_read_start(stream_of(from), on_alloc, on_read), "uv_read_start");
    }
}

/* Queues a copy of what uv_try_write left. */
static void write_rest(uv_stream_t *to, const char *bytes, size_t length)
{
    struct rest *rest = malloc(sizeof(*rest) + length);
    uv_buf_t     buffer;

    if (rest == NULL)
        die("no memory for unsent bytes");
    memcpy(rest->bytes, bytes, length);
    buffer = uv_buf_init((char *)rest->bytes, (unsigned int)length);
    uv_must(uv_write(&rest->write, to, &buffer, 1, on_written), "uv_write");
}

static void forward(struct side *from, char *bytes, size_t length)
{
    uv_stream_t *to = stream_of(from->other);
    uv_buf_t     buffer = uv_buf_init(bytes, (unsigned int)length);
    int          sent = uv_try_write(to, &buffer, 1);

    if (sent < 0 && sent != UV_EAGAIN) {
        both_close(from);
        return;
    }
    if (sent >= 0)
        stats.sends++;
    else
        sent = 0;
    if ((size_t)sent == length)
        return;
    write_rest(to, bytes + sent, length - (size_t)sent);
    if (uv_stream_get_write_queue_size(to) > SERVER_UNSENT_MAX) {
        uv_read_stop(stream_of(from));
        from->paused = true;
        stats.pauses++;
    }
}

static void on_shut_down(uv_shutdown_t *shutdown, int status)
{
    struct side *side = (struct side *)(void *)shutdown->handle;

    side->shut = true;
    if (status < 0 || side->other->shut)
        both_close(side);
}

static void on_read(uv_stream_t *stream, ssize_t length, const uv_buf_t *buffer)
{
    struct side *side = (struct side *)(void *)stream;

    if (length > 0) {
        stats.receives++;
        stats.bytes += (uint64_t)length;
        forward(side, buffer->base, (size_t)length);
    } else if (length == UV_EOF) {
        uv_read_stop(stream);
        if (uv_shutdown(&side->other->shutdown, stream_of(side->other), on_shut_down) < 0)
            both_close(side);
    } else if (length < 0) {
        both_close(side);
    }
}

static void on_connect(uv_connect_t *connect, int status)
{
    struct side *backend = (struct side *)(void *)connect->handle;

    if (status < 0) {
        both_close(backend);
        return;
    }
    uv_must(uv_tcp_nodelay(&backend->tcp, 1), "uv_tcp_nodelay");
    uv_must(uv_read_start(stream_of(backend), on_alloc, on_read), "uv_read_start");
    uv_must(uv_read_start(stream_of(backend->other), on_alloc, on_read), "uv_read_start");
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct connection *connection;
    uv_os_fd_t         fd;

    uv_must(status, "connection");
    connection = calloc(1, sizeof(*connection));
    if (connection == NULL)
        die("no memory for a connection");
    connection->client = (struct side){.other = &connection->backend, .open = true};
    connection->backend = (struct side){.other = &connection->client, .open = true};
    uv_must(uv_tcp_init(listener->loop, &connection->client.tcp), "uv_tcp_init");
    uv_must(uv_tcp_init_ex(listener->loop, &connection->backend.tcp, AF_INET), "uv_tcp_init_ex");
    uv_must(uv_fileno((uv_handle_t *)&connection->backend.tcp, &fd), "uv_fileno");
    server_window(fd);
    connection->client.tcp.data = connection->backend.tcp.data = connection;
    uv_must(uv_accept(listener, stream_of(&connection->client)), "uv_accept");
    uv_must(uv_tcp_connect(&connection->connect, &connection->backend.tcp, (const struct sockaddr *)&backend_address,
                           on_connect),
            "uv_tcp_connect");
    stats.connections++;
}

int main(int argc, char **argv)
{
    struct server_options options = server_init(argc, argv);
    int                   fd = server_listen(&options);
    uv_loop_t            *loop = uv_default_loop();
    uv_tcp_t              listener;

    uv_must(uv_ip4_addr("127.0.0.1", options.backend, &backend_address), "uv_ip4_addr");
    uv_server_listen(loop, &listener, fd, on_connection);
    uv_server_run(loop, fd);
    server_stats_print(&options, &stats);
    return 0;
}
