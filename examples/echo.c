/* echo.c: sends back what it receives: echo [PORT] (default 7777; end it with Ctrl-C).
 *
 * Nothing is copied: each received buffer is handed to the write, which gives it back when its bytes have left. A peer
 * that does not take them is not read from meanwhile; the stream sees to that. */
#include <ringloop.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { UNSENT_BYTES_MAX = 256 * 1024 }; /* with more unsent, the stream does not read from its peer */

static void on_closed(struct loop_stream *stream)
{
    free(stream);
}

static void on_shut_down(struct loop_stream *stream, int error)
{
    (void)error;
    loop_stream_close(stream, NULL);
}

static void on_read(struct loop_stream *stream, const struct loop_result *result)
{
    struct loop_write_terms terms = {.release = result->buffer};

    if (result->res > 0 && loop_stream_write(stream, result->data, (size_t)result->res, NULL, NULL, &terms) == 0)
        return;
    if (result->res == 0 && loop_stream_shutdown(stream, on_shut_down) == 0)
        return; /* the peer is done; so are we, once everything has been sent back */
    loop_stream_close(stream, NULL);
}

static void on_accept(struct loop_listener *listener, int fd)
{
    const struct loop_stream_options options = {
        .write_high = UNSENT_BYTES_MAX, .on_close = on_closed, .listener = listener};
    struct loop        *loop = loop_listener_loop(listener);
    struct loop_stream *stream;

    if (fd < 0) /* e.g. -EMFILE: the listener goes on by itself when a descriptor is free again */
        return;
    stream = calloc(1, sizeof *stream);
    if (!stream || loop_stream_open(loop, stream, fd, &options) < 0) {
        loop_close(loop, fd, NULL, NULL, NULL);
        free(stream);
        return;
    }
    if (loop_stream_read_start(stream, on_read) < 0)
        loop_stream_close(stream, NULL);
}

static struct loop *running; /* for the signal handler: loop_stop() may be called there */

static void on_stop_signal(int number)
{
    (void)number;
    loop_stop(running);
}

int main(int argc, char **argv)
{
    static const struct loop_tcp_options      tcp = {.flags = LOOP_TCP_NODELAY};
    static const struct loop_listener_options options = {.tcp = &tcp};
    unsigned long                             port = argc > 1 ? strtoul(argv[1], NULL, 10) : 7777;
    struct loop_listener                      listener = {0};
    struct loop_address                       address;
    struct loop                              *loop;
    int                                       r = loop_create(&loop, NULL);

    if (r < 0) {
        fprintf(stderr, "echo: %s: %s\n", strerror(-r), loop_obstacle_text(loop_obstacle(r)));
        return 1;
    }
    running = loop;
    signal(SIGINT, on_stop_signal);
    signal(SIGTERM, on_stop_signal);
    r = loop_address_parse(&address, "127.0.0.1", (uint16_t)port);
    if (r == 0)
        r = loop_listener_start(loop, &listener, &address, &options, on_accept);
    if (r == 0)
        r = loop_listener_address(&listener, &address);
    if (r == 0) {
        printf("ready %u\n", loop_address_port(&address));
        fflush(stdout);
        loop_run(loop, LOOP_RUN_DEFAULT);
    } else {
        fprintf(stderr, "echo: %s\n", strerror(-r));
    }
    loop_destroy(loop);
    return r < 0;
}
