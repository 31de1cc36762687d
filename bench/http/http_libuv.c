/* http_libuv.c: the HTTP server of examples/http.c on libuv: the same sessions, another loop.
 * Replies are tried at once (uv_try_write); what the socket does not take goes into a write request. */
#include "http_session.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

#define container_of(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

struct server {
    uv_loop_t           loop;
    uv_tcp_t            listener;
    uv_timer_t          tick;
    uv_signal_t         terminate, interrupt;
    struct http_service service;
    char                read_buffer[HTTP_READ_BYTES]; /* one for all: libuv allocates, reads and hands over in one go */
};

struct connection {
    uv_tcp_t            tcp;
    uv_write_t          write;
    uv_shutdown_t       shutdown;
    struct http_session session;
    size_t              sending_bytes; /* of the write in flight, or 0 */
    bool                reading;
    bool                input_ended;
    bool                shut_down;
};

static struct server server;

/* ---- connections */

static void connection_go_on(struct connection *connection);

static void on_closed(uv_handle_t *handle)
{
    struct connection *connection = container_of(handle, struct connection, tcp);

    http_session_close(&connection->session);
    free(connection);
}

static void connection_close(struct connection *connection)
{
    uv_handle_t *handle = (uv_handle_t *)&connection->tcp;

    if (!uv_is_closing(handle))
        uv_close(handle, on_closed);
}

static void on_allocate(uv_handle_t *handle, size_t suggested_size, uv_buf_t *ret_buffer)
{
    (void)handle;
    (void)suggested_size;
    *ret_buffer = uv_buf_init(server.read_buffer, sizeof server.read_buffer);
}

static void on_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *buffer)
{
    struct connection *connection = container_of(stream, struct connection, tcp);

    if (size == 0)
        return;
    if (size < 0 && size != UV_EOF) {
        connection_close(connection);
        return;
    }
    if (size > 0) {
        http_session_receive(&connection->session, buffer->base, (size_t)size);
    } else {
        connection->input_ended = true;
        http_session_end(&connection->session);
    }
    connection_go_on(connection);
}

static void on_written(uv_write_t *write, int status)
{
    struct connection *connection = container_of(write, struct connection, write);
    size_t             bytes = connection->sending_bytes;

    connection->sending_bytes = 0;
    if (status < 0) {
        connection_close(connection);
        return;
    }
    http_session_sent(&connection->session, bytes);
    connection_go_on(connection);
}

static unsigned connection_buffers(const struct connection *connection, uv_buf_t *buffers, size_t *ret_bytes)
{
    struct iovec segments[HTTP_SEGMENTS_MAX];
    unsigned     count = http_session_segments(&connection->session, segments);

    *ret_bytes = 0;
    for (unsigned i = 0; i < count; i++) {
        buffers[i] = uv_buf_init(segments[i].iov_base, (unsigned)segments[i].iov_len);
        *ret_bytes += segments[i].iov_len;
    }
    return count;
}

static void connection_write(struct connection *connection, const uv_buf_t *buffers, unsigned count, size_t bytes)
{
    if (uv_write(&connection->write, (uv_stream_t *)&connection->tcp, buffers, count, on_written) < 0)
        connection_close(connection);
    else
        connection->sending_bytes = bytes;
}

static void connection_send(struct connection *connection)
{
    uv_buf_t buffers[HTTP_SEGMENTS_MAX];
    size_t   bytes;
    unsigned count = connection_buffers(connection, buffers, &bytes);
    int      sent = uv_try_write((uv_stream_t *)&connection->tcp, buffers, count);

    if (sent < 0 && sent != UV_EAGAIN) {
        connection_close(connection);
        return;
    }
    if (sent > 0)
        http_session_sent(&connection->session, (size_t)sent);
    if (http_session_next(&connection->session) != HTTP_NEXT_SEND)
        return;
    count = connection_buffers(connection, buffers, &bytes);
    connection_write(connection, buffers, count, bytes);
}

static void connection_shutdown(struct connection *connection)
{
    connection->shut_down = true;
    if (uv_shutdown(&connection->shutdown, (uv_stream_t *)&connection->tcp, NULL) < 0)
        connection_close(connection);
}

static void connection_read_or_pause(struct connection *connection)
{
    uv_stream_t *stream = (uv_stream_t *)&connection->tcp;
    bool         wanted = http_session_wants_input(&connection->session) && !connection->input_ended;

    if (wanted == connection->reading || uv_is_closing((uv_handle_t *)stream))
        return;
    connection->reading = wanted;
    if (!wanted)
        uv_read_stop(stream);
    else if (uv_read_start(stream, on_allocate, on_read) < 0)
        connection_close(connection);
}

static void connection_go_on(struct connection *connection)
{
    if (connection->sending_bytes == 0 && http_session_next(&connection->session) == HTTP_NEXT_SEND)
        connection_send(connection);
    switch (http_session_next(&connection->session)) {
    case HTTP_NEXT_WAIT:
    case HTTP_NEXT_SEND: break;
    case HTTP_NEXT_SHUTDOWN:
        if (!connection->shut_down)
            connection_shutdown(connection);
        break;
    case HTTP_NEXT_CLOSE: connection_close(connection); return;
    }
    connection_read_or_pause(connection);
}

static void on_timeout(struct http_session *session)
{
    connection_go_on(container_of(session, struct connection, session));
}

/* ---- the server */

/* Without descriptors libuv itself accepts and closes what waits, so that it does not spin. */
static void on_connection(uv_stream_t *listener, int status)
{
    struct connection *connection;

    if (status < 0)
        return;
    connection = calloc(1, sizeof *connection);
    if (!connection)
        return; /* libuv stops listening until the connection is accepted: memory is out anyway */
    uv_tcp_init(&server.loop, &connection->tcp);
    http_session_open(&connection->session, &server.service);
    if (uv_accept(listener, (uv_stream_t *)&connection->tcp) < 0) {
        connection_close(connection);
        return;
    }
    uv_tcp_nodelay(&connection->tcp, 1);
    connection_read_or_pause(connection);
}

static void on_tick(uv_timer_t *timer)
{
    (void)timer;
    http_service_tick(&server.service);
}

static void close_handle(uv_handle_t *handle, void *arg)
{
    (void)arg;
    if (uv_is_closing(handle))
        return;
    if (handle->type == UV_TCP && handle != (uv_handle_t *)&server.listener)
        uv_close(handle, on_closed);
    else
        uv_close(handle, NULL);
}

static void on_signal(uv_signal_t *signal, int number)
{
    (void)signal;
    (void)number;
    uv_walk(&server.loop, close_handle, NULL);
}

static int announce(void)
{
    struct sockaddr_storage address = {0};
    int                     size = sizeof address;
    int                     r = uv_tcp_getsockname(&server.listener, (struct sockaddr *)&address, &size);

    if (r == 0)
        http_announce(ntohs(((struct sockaddr_in *)&address)->sin_port)); /* at the same place in sockaddr_in6 */
    return r;
}

static int server_start(const struct http_options *options)
{
    int r;

    uv_tcp_init(&server.loop, &server.listener);
    uv_timer_init(&server.loop, &server.tick);
    uv_signal_init(&server.loop, &server.terminate);
    uv_signal_init(&server.loop, &server.interrupt);
    uv_timer_start(&server.tick, on_tick, HTTP_TICK_MS, HTTP_TICK_MS);
    uv_signal_start(&server.terminate, on_signal, SIGTERM);
    uv_signal_start(&server.interrupt, on_signal, SIGINT);
    r = uv_tcp_bind(&server.listener, (const struct sockaddr *)&options->address, 0);
    if (r == 0)
        r = uv_listen((uv_stream_t *)&server.listener, SOMAXCONN, on_connection);
    if (r == 0)
        r = announce();
    if (r < 0)
        uv_walk(&server.loop, close_handle, NULL);
    return r;
}

int main(int argc, char **argv)
{
    struct http_options options;
    int                 r;

    http_options_parse(&options, argc, argv);
    http_prepare_process();
    if (http_service_open(&server.service, &options, "libuv", on_timeout) < 0)
        return 1;
    r = uv_loop_init(&server.loop);
    if (r == 0) {
        r = server_start(&options);
        uv_run(&server.loop, UV_RUN_DEFAULT);
        uv_loop_close(&server.loop);
    }
    if (r < 0)
        fprintf(stderr, "cannot listen: %s\n", uv_strerror(r));
    http_service_close(&server.service);
    return r == 0 ? 0 : 1;
}
