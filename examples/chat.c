/* chat.c: a room where each line goes to all others: chat [PORT [IDLE_SECONDS]], then e.g. nc 127.0.0.1 7778
 *
 * Lines are read by request; the first is one's name. What is told to many is one message, which their queues share:
 * a write for each, so that all get it whole and in order. Who does not read is dropped when too much waits for him,
 * and nobody else notices. */
#include <ringloop.h>

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CLIENTS_MAX = 4096, /* more wait until one goes */
    NAME_BYTES_MAX = 24,
    LINE_BYTES_MAX = 1000,
    QUEUED_BYTES_MAX = 256 * 1024, /* that wait for one client; with more he is dropped */
};

struct client {
    struct loop_stream stream;
    unsigned           place;    /* in clients[] */
    const char        *farewell; /* why he is going */
    char               name[NAME_BYTES_MAX + 1];
    char               line[LINE_BYTES_MAX + 1];
};

struct message {
    unsigned users; /* writes that have not ended, and the function that makes it */
    int      size;
    char     text[NAME_BYTES_MAX + LINE_BYTES_MAX + 64];
};

static struct loop   *loop;
static struct client *clients[CLIENTS_MAX];
static unsigned       clients_count;
static uint64_t       idle_ns = 600 * LOOP_SECOND;

static void client_leave(struct client *client, const char *farewell)
{
    if (!client->farewell)
        client->farewell = farewell;
    loop_stream_close(&client->stream, NULL); /* harmless if it is closing already */
}

/* ---- telling all */

static void message_release(struct message *message)
{
    if (--message->users == 0)
        free(message);
}

static void on_told(struct loop_stream *stream, int error, size_t bytes, void *message)
{
    (void)bytes;
    if (error != 0)
        client_leave(stream->data, "was lost");
    message_release(message);
}

/* Tells everyone who has a name, but not the one it comes from (NULL: nobody). */
__attribute__((format(printf, 2, 3))) static void tell_all(const struct client *from, const char *format, ...)
{
    struct message *message = malloc(sizeof *message);
    va_list         values;

    if (!message)
        return;
    va_start(values, format);
    message->size = vsnprintf(message->text, sizeof message->text, format, values);
    va_end(values);
    message->users = 1;
    for (unsigned i = 0; i < clients_count; i++) { /* nobody leaves clients[] before on_closed() */
        struct client *client = clients[i];

        if (client == from || client->name[0] == '\0' || loop_stream_closing(&client->stream))
            continue;
        message->users++;
        if (loop_stream_write(&client->stream, message->text, (size_t)message->size, on_told, message, NULL) < 0) {
            message->users--;
            client_leave(client, "was too slow");
        }
    }
    message_release(message);
}

/* ---- clients */

static loop_stream_request_cb on_line;

static void read_line(struct client *client)
{
    if (loop_stream_read_until(&client->stream, client->line, LINE_BYTES_MAX, "\n", 1, on_line, client, NULL) < 0)
        client_leave(client, "was lost");
}

static void on_line(struct loop_stream *stream, int error, size_t bytes, void *arg)
{
    struct client *client = arg;

    (void)stream;
    client->line[bytes] = '\0';
    client->line[strcspn(client->line, "\r\n")] = '\0';
    switch (error) {
    case 0: break;
    case -ECANCELED: return; /* it is being closed */
    case -ENODATA: client_leave(client, "has left"); return;
    case -ETIMEDOUT: client_leave(client, "fell asleep"); return;
    case -EMSGSIZE: client_leave(client, "talked too much"); return;
    default: client_leave(client, "was lost"); return;
    }
    if (client->name[0] != '\0') {
        tell_all(client, "%s: %s\n", client->name, client->line);
    } else if (client->line[0] != '\0') {
        snprintf(client->name, sizeof client->name, "%.*s", NAME_BYTES_MAX, client->line);
        tell_all(NULL, "* %s has joined (%u here)\n", client->name, clients_count);
    }
    read_line(client);
}

static void on_closed(struct loop_stream *stream)
{
    struct client *client = stream->data;

    clients[client->place] = clients[--clients_count];
    clients[client->place]->place = client->place;
    if (client->name[0] != '\0')
        tell_all(client, "* %s %s\n", client->name, client->farewell ? client->farewell : "has to go");
    free(client);
}

static void on_accept(struct loop_listener *listener, int fd)
{
    static const char                greeting[] = "your name?\n";
    const struct loop_stream_options options = {
        .write_bytes_max = QUEUED_BYTES_MAX, .on_close = on_closed, .listener = listener};
    const struct loop_stream_deadlines deadlines = {.idle_ns = idle_ns};
    struct client                     *client;

    if (fd < 0)
        return;
    client = calloc(1, sizeof *client);
    if (!client || loop_stream_open(loop, &client->stream, fd, &options) < 0) {
        loop_close(loop, fd, NULL, NULL, NULL);
        loop_listener_release(listener);
        free(client);
        return;
    }
    client->stream.data = client;
    client->place = clients_count;
    clients[clients_count++] = client;
    if (loop_stream_deadlines_set(&client->stream, &deadlines) < 0 ||
        loop_stream_write(&client->stream, greeting, strlen(greeting), NULL, NULL, NULL) < 0)
        client_leave(client, NULL);
    else
        read_line(client);
}

static void on_stop_signal(int number)
{
    (void)number;
    loop_stop(loop);
}

int main(int argc, char **argv)
{
    static const struct loop_tcp_options      tcp = {.flags = LOOP_TCP_NODELAY};
    static const struct loop_listener_options options = {.connections_max = CLIENTS_MAX, .tcp = &tcp};
    unsigned long                             port = argc > 1 ? strtoul(argv[1], NULL, 10) : 7778;
    struct loop_listener                      listener = {0};
    struct loop_address                       address;
    int                                       r = loop_create(&loop, NULL);

    if (argc > 2)
        idle_ns = (uint64_t)(strtod(argv[2], NULL) * 1e9);
    if (r < 0) {
        fprintf(stderr, "chat: %s: %s\n", strerror(-r), loop_obstacle_text(loop_obstacle(r)));
        return 1;
    }
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
        fprintf(stderr, "chat: %s\n", strerror(-r));
    }
    loop_destroy(loop);
    return r < 0;
}
