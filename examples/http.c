/* http.c: an HTTP/1.1 server on ringloop: http --port 8080 --root examples/site
 *
 * http_session.h knows HTTP; this file knows the loop. A connection is a stream and a session: what the stream reads
 * goes into the session, what the session has to say goes into the stream, and http_session_next() tells what to do.
 * One write is in flight at a time; replies that become ready meanwhile leave together with the next one. */
#include "http_session.h"

#include <ringloop.h>

#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define container_of(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

struct server {
    struct loop         *loop;
    struct loop_listener listener;
    struct loop_timer    tick;
    struct http_service  service;
};

struct connection {
    struct loop_stream  stream;
    struct http_session session;
    bool                sending;
};

/* ---- connections */

static void connection_go_on(struct connection *connection);

static void on_closed(struct loop_stream *stream)
{
    struct connection *connection = container_of(stream, struct connection, stream);

    http_session_close(&connection->session);
    free(connection);
}

static void connection_close(struct connection *connection)
{
    loop_stream_close(&connection->stream, on_closed);
}

/* The peer's bytes are lent for the time of this call; the session needs them no longer than that. */
static void on_read(struct loop_stream *stream, const struct loop_result *result)
{
    struct connection *connection = container_of(stream, struct connection, stream);

    if (result->res < 0) {
        connection_close(connection);
        return;
    }
    if (result->res > 0)
        http_session_receive(&connection->session, result->data, (size_t)result->res);
    else
        http_session_end(&connection->session);
    connection_go_on(connection);
}

static void on_sent(struct loop_stream *stream, int error, size_t bytes, void *arg)
{
    struct connection *connection = container_of(stream, struct connection, stream);

    (void)arg;
    connection->sending = false;
    if (error != 0) {
        connection_close(connection);
        return;
    }
    http_session_sent(&connection->session, bytes);
    connection_go_on(connection);
}

/* The segments are borrowed until on_sent: the session keeps them until it is told that they have left. */
static void connection_send(struct connection *connection)
{
    struct iovec segments[HTTP_SEGMENTS_MAX];
    unsigned     count = http_session_segments(&connection->session, segments);

    if (loop_stream_writev(&connection->stream, segments, count, on_sent, NULL, NULL) < 0)
        connection_close(connection);
    else
        connection->sending = true;
}

static void connection_go_on(struct connection *connection)
{
    switch (http_session_next(&connection->session)) {
    case HTTP_NEXT_WAIT: break;
    case HTTP_NEXT_SEND:
        if (!connection->sending)
            connection_send(connection);
        break;
    case HTTP_NEXT_SHUTDOWN: loop_stream_shutdown(&connection->stream, NULL); break; /* refused the second time */
    case HTTP_NEXT_CLOSE: connection_close(connection); return;
    }
    if (http_session_wants_input(&connection->session))
        loop_stream_read_start(&connection->stream, on_read); /* refused after the peer's end; then all is read */
    else
        loop_stream_read_stop(&connection->stream); /* who does not take his replies must wait with his requests */
}

static void on_timeout(struct http_session *session)
{
    connection_go_on(container_of(session, struct connection, session));
}

/* ---- the server */

static void on_accept(struct loop_listener *listener, int fd)
{
    const struct loop_stream_options options = {.on_close = on_closed, .listener = listener};
    struct server                   *server = container_of(listener, struct server, listener);
    struct connection               *connection;

    if (fd < 0) /* e.g. -EMFILE: the listener waits until a descriptor is free again */
        return;
    connection = calloc(1, sizeof *connection);
    if (!connection || loop_stream_open(server->loop, &connection->stream, fd, &options) < 0) {
        loop_close(server->loop, fd, NULL, NULL, NULL);
        free(connection);
        return;
    }
    http_session_open(&connection->session, &server->service);
    connection_go_on(connection);
}

static void on_tick(struct loop_timer *timer)
{
    http_service_tick(&container_of(timer, struct server, tick)->service);
}

static int server_start(struct server *server, const struct http_options *options)
{
    static const struct loop_tcp_options      tcp = {.flags = LOOP_TCP_NODELAY}; /* connections inherit it */
    static const struct loop_listener_options listening = {.tcp = &tcp};
    const uint64_t                            tick_ns = HTTP_TICK_MS * LOOP_MILLISECOND;
    struct loop_address                       address = {options->address, options->address_size};
    int r = loop_listener_start(server->loop, &server->listener, &address, &listening, on_accept);

    if (r == 0)
        r = loop_timer_start(server->loop, &server->tick, tick_ns, tick_ns, on_tick);
    if (r == 0)
        r = loop_listener_address(&server->listener, &address);
    if (r == 0)
        http_announce(loop_address_port(&address));
    return r;
}

/* ---- the process */

static struct loop *running; /* for the signal handler: loop_stop() may be called there */

static void on_stop_signal(int number)
{
    (void)number;
    loop_stop(running);
}

static int serve(struct server *server, const struct http_options *options)
{
    int r = loop_create(&server->loop, NULL);

    if (r < 0) {
        fprintf(stderr, "no loop: %s\n%s\n", strerror(-r), loop_obstacle_text(loop_obstacle(r)));
        return r;
    }
    running = server->loop;
    signal(SIGINT, on_stop_signal);
    signal(SIGTERM, on_stop_signal);
    r = server_start(server, options);
    if (r == 0)
        r = loop_run(server->loop, LOOP_RUN_DEFAULT); /* until loop_stop() */
    if (r < 0)
        fprintf(stderr, "cannot serve: %s\n", strerror(-r));
    loop_destroy(server->loop); /* closes everything; each connection gets its on_closed */
    return r;
}

int main(int argc, char **argv)
{
    static struct server server;
    struct http_options  options;
    int                  r;

    http_options_parse(&options, argc, argv);
    http_prepare_process();
    if (http_service_open(&server.service, &options, "ringloop", on_timeout) < 0)
        return 1;
    r = serve(&server, &options);
    http_service_close(&server.service);
    return r < 0;
}
