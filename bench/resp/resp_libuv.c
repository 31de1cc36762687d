/* The RESP server of examples/resp.c on libuv: a shared read buffer, all requests in it carried out, uv_try_write of
 * the replies at once, and the memory of what the socket does not take given to one uv_write. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>

#include "common/uv_server.h"
#include "resp_session.h"

enum { UNSENT_MAX = RESP_OUTPUT_ENOUGH };

struct client {
    uv_tcp_t            tcp; /* first: the handle's address is the client's */
    uv_shutdown_t       shutdown;
    struct resp_session session;
    bool                waits; /* requests of it, until its replies have left */
    bool                ended; /* nothing more is read; it is closed when its replies have left */
};

struct pending {
    uv_write_t write; /* first */
    char      *bytes;
};

struct expiry {
    uv_timer_t         timer; /* first */
    struct resp_entry *entry;
};

static struct resp_store  *store;
static uv_loop_t          *loop;
static struct server_stats stats;
static char                read_buffer[SERVER_READ_BYTES];

static uint64_t now_ms(void *arg)
{
    (void)arg;
    return uv_now(loop);
}

static void on_expiry_closed(uv_handle_t *handle)
{
    free(handle);
}

static void expiry_stop(void *arg, void *timer)
{
    (void)arg;
    uv_close(timer, on_expiry_closed);
}

static void on_expiry(uv_timer_t *timer)
{
    resp_store_expire(store, ((struct expiry *)(void *)timer)->entry);
    expiry_stop(NULL, timer);
}

static void *expiry_start(void *arg, struct resp_entry *entry, uint64_t delay_ms)
{
    struct expiry *expiry = calloc(1, sizeof(*expiry));

    (void)arg;
    if (expiry == NULL)
        return NULL;
    expiry->entry = entry;
    uv_must(uv_timer_init(loop, &expiry->timer), "uv_timer_init");
    uv_must(uv_timer_start(&expiry->timer, on_expiry, delay_ms, 0), "uv_timer_start");
    return expiry;
}

static void on_closed(uv_handle_t *handle)
{
    resp_session_end(&((struct client *)(void *)handle)->session);
    free(handle);
}

static void client_close(struct client *client)
{
    if (!uv_is_closing((const uv_handle_t *)&client->tcp))
        uv_close((uv_handle_t *)&client->tcp, on_closed);
}

static size_t unsent(const struct client *client)
{
    return uv_stream_get_write_queue_size((const uv_stream_t *)&client->tcp);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    (void)handle, (void)suggested;
    *buffer = uv_buf_init(read_buffer, sizeof(read_buffer));
}

static void serve(struct client *client, const void *bytes, size_t size);

static void on_written(uv_write_t *write, int status)
{
    struct client *client = (struct client *)(void *)write->handle;

    free(((struct pending *)(void *)write)->bytes);
    free(write);
    if (status < 0)
        client_close(client);
    else if (client->waits && unsent(client) <= UNSENT_MAX / 2)
        serve(client, NULL, 0);
}

/* The rest, from offset on, in the memory of output. */
static void write_rest(struct client *client, struct resp_output *output, size_t offset)
{
    struct pending *pending = malloc(sizeof(*pending));
    uv_buf_t        buffer = uv_buf_init(output->bytes + offset, (unsigned int)(output->size - offset));

    if (pending == NULL)
        die("no memory for unsent replies");
    pending->bytes = output->bytes;
    *output = (struct resp_output){0};
    uv_must(uv_write(&pending->write, (uv_stream_t *)&client->tcp, &buffer, 1, on_written), "uv_write");
}

/* False: the connection is broken. */
static bool reply(struct client *client, struct resp_output *output)
{
    uv_buf_t buffer = uv_buf_init(output->bytes, (unsigned int)output->size);
    int      sent = output->size == 0 ? 0 : uv_try_write((uv_stream_t *)&client->tcp, &buffer, 1);

    if (sent < 0 && sent != UV_EAGAIN)
        return false;
    stats.sends++;
    if (sent < 0)
        sent = 0;
    if ((size_t)sent < output->size)
        write_rest(client, output, (size_t)sent);
    output->size = 0;
    return true;
}

static void on_shut_down(uv_shutdown_t *shutdown, int status)
{
    (void)status;
    client_close((struct client *)(void *)shutdown->handle);
}

static void end(struct client *client)
{
    if (client->ended || uv_is_closing((const uv_handle_t *)&client->tcp))
        return;
    client->ended = true;
    client->waits = false;
    uv_read_stop((uv_stream_t *)&client->tcp);
    if (uv_shutdown(&client->shutdown, (uv_stream_t *)&client->tcp, on_shut_down) < 0)
        client_close(client);
}

static void on_read(uv_stream_t *stream, ssize_t length, const uv_buf_t *buffer);

static void serve(struct client *client, const void *bytes, size_t size)
{
    static struct resp_output output;
    enum resp_state           state = resp_session_receive(&client->session, store, bytes, size, &output);

    if (output.failed || !reply(client, &output)) {
        resp_output_free(&output);
        client_close(client);
        return;
    }
    if (state == RESP_END) {
        end(client);
        return;
    }
    if (state == RESP_FULL && unsent(client) == 0) { /* all of it was taken at once */
        serve(client, NULL, 0);
        return;
    }
    if (state == RESP_FULL || unsent(client) > UNSENT_MAX) {
        stats.pauses++;
        client->waits = true;
        uv_read_stop((uv_stream_t *)&client->tcp);
    } else if (client->waits) {
        client->waits = false;
        uv_must(uv_read_start((uv_stream_t *)&client->tcp, on_alloc, on_read), "uv_read_start");
    }
}

static void on_read(uv_stream_t *stream, ssize_t length, const uv_buf_t *buffer)
{
    struct client *client = (struct client *)(void *)stream;

    if (length > 0) {
        stats.receives++;
        stats.bytes += (uint64_t)length;
        serve(client, buffer->base, (size_t)length);
    } else if (length == UV_EOF) {
        end(client);
    } else if (length < 0) {
        client_close(client);
    }
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct client *client;

    uv_must(status, "connection");
    client = calloc(1, sizeof(*client));
    if (client == NULL)
        die("no memory for a client");
    uv_must(uv_tcp_init(loop, &client->tcp), "uv_tcp_init");
    uv_must(uv_accept(listener, (uv_stream_t *)&client->tcp), "uv_accept");
    uv_must(uv_read_start((uv_stream_t *)&client->tcp, on_alloc, on_read), "uv_read_start");
    stats.connections++;
}

int main(int argc, char **argv)
{
    const struct resp_clock clock = {.now_ms = now_ms, .timer_start = expiry_start, .timer_stop = expiry_stop};
    struct server_options   options = server_init(argc, argv);
    int                     fd = server_listen(&options);
    uv_tcp_t                listener;

    loop = uv_default_loop();
    store = resp_store_new(&clock);
    if (store == NULL)
        die("no memory");
    uv_server_listen(loop, &listener, fd, on_connection);
    uv_server_run(loop, fd);
    server_stats_print(&options, &stats);
    return 0;
}
