/* fds.c: opens files for others: fds DIRECTORY SOCKET
 *
 * Listens on the unix socket SOCKET. A client sends the name of a file in DIRECTORY and a newline; the answer is "ok"
 * and a newline, with the open file as a descriptor, or an error's text. So clients that may not open files themselves
 * (other users, sandboxes) read them without the server copying a byte. Only clients of the same user are served. */
#include <ringloop.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NAME_MAX_BYTES = 256, UNSENT_BYTES_MAX = 4096 };

struct client {
    struct loop_stream stream;
    size_t             size; /* of name */
    char               name[NAME_MAX_BYTES];
};

static int          directory;
static struct loop *running; /* for the signal handler: loop_stop() may be called there */

static void on_closed(struct loop_stream *stream)
{
    free(stream); /* the first member of struct client */
}

static void answer(struct client *client, const char *text, int fd)
{
    struct loop_write_terms terms = {.flags = LOOP_WRITE_COPY | LOOP_WRITE_CLOSE_FDS, .fds = &fd, .fd_count = fd >= 0};

    if (loop_stream_write(&client->stream, text, strlen(text), NULL, NULL, &terms) == 0)
        return;
    if (fd >= 0)
        close(fd); /* not taken */
    loop_stream_close(&client->stream, on_closed);
}

/* open(2) may block for a moment; a busy server would ask loop_openat() for it. */
static void open_file(struct client *client)
{
    char text[128];
    int  fd;

    if (client->name[0] == '\0' || client->name[0] == '.' || strchr(client->name, '/') != NULL) {
        answer(client, "not a file's name\n", -1);
        return;
    }
    fd = openat(directory, client->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd >= 0) {
        answer(client, "ok\n", fd);
        return;
    }
    snprintf(text, sizeof text, "%s\n", strerror(errno));
    answer(client, text, -1);
}

static void on_shut_down(struct loop_stream *stream, int error)
{
    (void)error;
    loop_stream_close(stream, on_closed);
}

static void on_read(struct loop_stream *stream, const struct loop_result *result)
{
    struct client *client = (struct client *)stream;
    const char    *bytes = result->data;

    if (result->res == 0 && loop_stream_shutdown(stream, on_shut_down) == 0)
        return;
    if (result->res <= 0 || loop_stream_queued(stream) > UNSENT_BYTES_MAX) { /* asks, and does not take the answers */
        loop_stream_close(stream, on_closed);
        return;
    }
    for (int i = 0; i < result->res && !loop_stream_closing(stream); i++) {
        if (bytes[i] == '\n') {
            client->name[client->size] = '\0';
            client->size = 0;
            open_file(client);
        } else if (client->size < NAME_MAX_BYTES - 1) {
            client->name[client->size++] = bytes[i];
        } else {
            loop_stream_close(stream, on_closed);
        }
    }
}

static void on_accept(struct loop_listener *listener, int fd)
{
    static const struct loop_stream_options options = {.on_close = on_closed};
    struct loop_credentials                 peer;
    struct client                          *client;

    if (fd < 0)
        return;
    client = calloc(1, sizeof *client);
    if (!client || loop_unix_credentials(fd, &peer) < 0 || peer.uid != geteuid() ||
        loop_stream_open(loop_listener_loop(listener), &client->stream, fd, &options) < 0) {
        close(fd);
        free(client);
        return;
    }
    if (loop_stream_read_start(&client->stream, on_read) < 0)
        loop_stream_close(&client->stream, on_closed);
}

static void on_interrupt(int number)
{
    (void)number;
    loop_stop(running);
}

static int serve(struct loop *loop, const char *path)
{
    struct loop_listener listener = {0};
    struct loop_address  address;
    char                 text[256];
    int                  r;

    if (snprintf(text, sizeof text, "unix:%s", path) >= (int)sizeof text)
        return -ENAMETOOLONG;
    r = loop_address_parse(&address, text, 0);
    if (r == 0)
        r = loop_listener_start(loop, &listener, &address, NULL, on_accept);
    if (r < 0)
        return r;
    printf("ready\n");
    fflush(stdout);
    loop_run(loop, LOOP_RUN_DEFAULT);
    unlink(path);
    loop_listener_close(&listener, NULL);
    loop_run(loop, LOOP_RUN_NOWAIT);
    return 0;
}

int main(int argc, char **argv)
{
    int r;

    if (argc != 3) {
        fprintf(stderr, "usage: fds DIRECTORY SOCKET\n");
        return 2;
    }
    directory = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    r = directory < 0 ? -errno : loop_create(&running, NULL);
    if (r == 0) {
        signal(SIGINT, on_interrupt);
        signal(SIGTERM, on_interrupt);
        r = serve(running, argv[2]);
        loop_destroy(running);
    }
    if (r < 0)
        fprintf(stderr, "fds: %s\n", strerror(-r));
    return r < 0;
}
