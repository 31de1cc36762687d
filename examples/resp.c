/* resp.c: a key-value server for redis-cli, redis-benchmark and other clients of Redis: resp [PORT] (default 6379; end
 * it with Ctrl-C). This file is what the event loop does; resp_*.c are shared with the servers it is compared with.
 *
 * Requests are carried out where they were received. What one read asked for is answered by one write. A client that
 * does not take its replies is not read from, and its requests wait. */
#include "resp_session.h"

#include <ringloop.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    COPY_MAX = 32 << 10,            /* replies up to here are copied by the write; larger ones are given to it */
    UNSENT_MAX = RESP_OUTPUT_ENOUGH /* with more unsent, a client is not read from */
};

struct client {
    struct loop_stream  stream; /* first: the stream's address is the client's */
    struct resp_session session;
    bool                waits; /* requests of it, until its replies have left */
};

struct expiry {
    struct loop_timer  timer; /* first */
    struct resp_entry *entry;
};

static struct loop       *loop;
static struct resp_store *store;

static loop_stream_read_cb on_read;

static uint64_t now_ms(void *arg)
{
    (void)arg;
    return loop_now(loop) / LOOP_MILLISECOND;
}

static void on_expiry(struct loop_timer *timer)
{
    resp_store_expire(store, ((struct expiry *)timer)->entry);
    free(timer);
}

static void *expiry_start(void *arg, struct resp_entry *entry, uint64_t delay_ms)
{
    struct expiry *expiry = calloc(1, sizeof *expiry);

    (void)arg;
    if (expiry == NULL)
        return NULL;
    expiry->entry = entry;
    if (loop_timer_start(loop, &expiry->timer, delay_ms * LOOP_MILLISECOND, 0, on_expiry) == 0)
        return expiry;
    free(expiry);
    return NULL;
}

static void expiry_stop(void *arg, void *timer)
{
    (void)arg;
    loop_timer_stop(timer);
    free(timer);
}

static void on_closed(struct loop_stream *stream)
{
    resp_session_end(&((struct client *)stream)->session);
    free(stream);
}

static void on_shut_down(struct loop_stream *stream, int error)
{
    (void)error;
    loop_stream_close(stream, on_closed);
}

/* Closes when everything is sent. */
static void end(struct client *client)
{
    loop_stream_read_stop(&client->stream);
    client->waits = false;
    if (loop_stream_shutdown(&client->stream, on_shut_down) < 0)
        loop_stream_close(&client->stream, on_closed);
}

static void serve(struct client *client, const void *bytes, size_t size);

static void on_written(struct loop_stream *stream, int error, size_t bytes, void *arg)
{
    struct client *client = (struct client *)stream;

    (void)bytes;
    free(arg);
    if (error != 0)
        loop_stream_close(stream, on_closed);
    else if (client->waits && loop_stream_queued(stream) <= UNSENT_MAX / 2)
        serve(client, NULL, 0);
}

/* Large replies go as they are, and their memory is freed when they have left. */
static int reply(struct client *client, struct resp_output *output)
{
    static const struct loop_write_terms copied = {.flags = LOOP_WRITE_COPY};
    bool                                 copy = output->size <= COPY_MAX;
    int r = loop_stream_write(&client->stream, output->bytes, output->size, on_written, copy ? NULL : output->bytes,
                              copy ? &copied : NULL);

    output->size = 0;
    if (r == 0 && !copy)
        *output = (struct resp_output){0};
    return r;
}

static void serve(struct client *client, const void *bytes, size_t size)
{
    static struct resp_output output;
    enum resp_state           state = resp_session_receive(&client->session, store, bytes, size, &output);

    if (output.failed || (output.size > 0 && reply(client, &output) < 0)) {
        resp_output_free(&output);
        loop_stream_close(&client->stream, on_closed);
        return;
    }
    client->waits = state == RESP_FULL || loop_stream_queued(&client->stream) > UNSENT_MAX;
    if (state == RESP_END)
        end(client);
    else if (client->waits)
        loop_stream_read_stop(&client->stream);
    else
        loop_stream_read_start(&client->stream, on_read); /* nothing changes if it is being read already */
}

static void on_read(struct loop_stream *stream, const struct loop_result *result)
{
    if (result->res > 0)
        serve((struct client *)stream, result->data, (size_t)result->res);
    else if (result->res == 0)
        end((struct client *)stream);
    else
        loop_stream_close(stream, on_closed);
}

static void on_accept(struct loop_listener *listener, int fd)
{
    static const struct loop_stream_options options = {.flags = LOOP_STREAM_NODELAY, .on_close = on_closed};
    struct client                          *client;

    (void)listener;
    if (fd < 0) /* e.g. -EMFILE: the listener goes on by itself when a descriptor is free again */
        return;
    client = calloc(1, sizeof *client);
    if (client == NULL || loop_stream_open(loop, &client->stream, fd, &options) < 0) {
        loop_close(loop, fd, NULL, NULL, NULL);
        free(client);
        return;
    }
    if (loop_stream_read_start(&client->stream, on_read) < 0)
        loop_stream_close(&client->stream, on_closed);
}

static void on_signal(int number)
{
    (void)number;
    loop_stop(loop);
}

int main(int argc, char **argv)
{
    const struct resp_clock clock = {.now_ms = now_ms, .timer_start = expiry_start, .timer_stop = expiry_stop};
    struct loop_listener    listener = {0};
    struct loop_address     address;
    int                     r = loop_create(&loop, NULL);

    store = resp_store_new(&clock);
    if (r < 0 || store == NULL) {
        fprintf(stderr, "resp: %s: %s\n", strerror(-r), loop_obstacle_text(loop_obstacle(r)));
        return 1;
    }
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    r = loop_address_parse(&address, "127.0.0.1", (uint16_t)(argc > 1 ? strtoul(argv[1], NULL, 10) : 6379));
    if (r == 0)
        r = loop_listener_start(loop, &listener, &address, NULL, on_accept);
    if (r == 0)
        r = loop_listener_address(&listener, &address);
    if (r == 0) {
        printf("ready %u\n", loop_address_port(&address));
        fflush(stdout);
        r = loop_run(loop, LOOP_RUN_DEFAULT);
    }
    if (r < 0)
        fprintf(stderr, "resp: %s\n", strerror(-r));
    resp_store_free(store); /* stops its timers */
    loop_destroy(loop);
    return r < 0;
}
