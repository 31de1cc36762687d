/* proxy.c: passes connections on to another address, tcp or unix: proxy --idle 60 unix:/run/front.sock [::1]:80
 *
 * The heart is on_connected() and on_forwarded(). The library holds a sender back while the other end does not read, so
 * that memory is bounded, and passes on that one has sent all it had to send (half-close). */
#include <ringloop.h>

#include <argp.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The two ends of a connection that is passed on. */
struct link {
    struct loop_stream client, upstream;
    int                streams;    /* not yet closed */
    int                directions; /* that go on */
};

static struct {
    struct loop                 *loop;
    struct loop_listener         listener;
    struct loop_address          from, to;
    struct loop_stream_options   upstream;
    struct loop_stream_deadlines deadlines;
    unsigned long long           links, failed, open, open_max, bytes_up, bytes_down;
} proxy;

static void on_closed(struct loop_stream *stream)
{
    struct link *link = stream->data;

    if (--link->streams == 0) {
        proxy.open--;
        free(link);
    }
}

static void link_close(struct link *link)
{
    loop_stream_close(&link->client, NULL);
    loop_stream_close(&link->upstream, NULL);
}

/* By a reset: what was cut off must not look complete. */
static void link_fail(struct link *link)
{
    if (!loop_stream_closing(&link->client))
        proxy.failed++;
    loop_stream_reset(&link->client, NULL);
    loop_stream_reset(&link->upstream, NULL);
}

static void on_forwarded(struct loop_stream *from, struct loop_stream *to, int error, uint64_t bytes, void *arg)
{
    struct link *link = arg;

    (void)to;
    if (from == &link->client)
        proxy.bytes_up += bytes;
    else
        proxy.bytes_down += bytes;
    if (error != 0)
        link_fail(link);
    else if (--link->directions == 0)
        link_close(link);
}

static void on_connected(struct loop_stream *upstream, int error)
{
    struct link *link = upstream->data;

    link->directions = 2;
    if (error < 0 || loop_stream_forward(&link->client, upstream, NULL, on_forwarded, link) < 0 ||
        loop_stream_forward(upstream, &link->client, NULL, on_forwarded, link) < 0 ||
        loop_stream_deadlines_set(&link->client, &proxy.deadlines) < 0 ||
        loop_stream_deadlines_set(upstream, &proxy.deadlines) < 0)
        link_fail(link);
}

static void on_accept(struct loop_listener *listener, int fd)
{
    const struct loop_stream_options options = {.on_close = on_closed, .listener = listener};
    struct link                     *link;

    if (fd < 0) /* e.g. -EMFILE: the listener goes on by itself when a descriptor is free again */
        return;
    link = calloc(1, sizeof *link);
    if (!link || loop_stream_open(proxy.loop, &link->client, fd, &options) < 0) {
        loop_close(proxy.loop, fd, NULL, NULL, NULL);
        free(link);
        return;
    }
    link->client.data = link->upstream.data = link;
    link->streams = 1;
    proxy.links++;
    if (++proxy.open > proxy.open_max)
        proxy.open_max = proxy.open;
    if (loop_stream_connect(proxy.loop, &link->upstream, &proxy.to, &proxy.upstream, on_connected) < 0)
        link_fail(link);
    else
        link->streams = 2;
}

/* ---- the command line */

/* "192.0.2.1:80", "[2001:db8::1]:80", "unix:/path", "unix:@abstract" */
static int parse_address(struct loop_address *ret_address, const char *text)
{
    char     host[LOOP_ADDRESS_TEXT_MAX]; /* 160: one more than %159 below takes */
    unsigned port;
    int      end;

    if (strncmp(text, "unix:", 5) == 0)
        return loop_address_parse(ret_address, text, 0);
    if (sscanf(text, "[%159[^]]]:%5u%n", host, &port, &end) != 2 &&
        sscanf(text, "%159[^:]:%5u%n", host, &port, &end) != 2)
        return -EINVAL;
    return text[end] != '\0' || port > UINT16_MAX ? -EINVAL : loop_address_parse(ret_address, host, (uint16_t)port);
}

static uint64_t parse_seconds(struct argp_state *state, const char *text)
{
    char  *end;
    double seconds = strtod(text, &end);

    if (end == text || *end != '\0' || !(seconds >= 0.001 && seconds <= 1e6))
        argp_error(state, "not a usable number of seconds: %s", text);
    return (uint64_t)(seconds * 1e9);
}

static error_t parse_option(int key, char *text, struct argp_state *state)
{
    switch (key) {
    case 'c': proxy.upstream.connect_timeout_ns = parse_seconds(state, text); return 0;
    case 'i': proxy.deadlines.idle_ns = parse_seconds(state, text); return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num > 1 || parse_address(state->arg_num == 0 ? &proxy.from : &proxy.to, text) < 0)
            argp_error(state, "not an address: %s", text);
        return 0;
    case ARGP_KEY_END:
        if (state->arg_num < 2)
            argp_usage(state);
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option option_list[] = {
    {"connect-timeout", 'c', "SECONDS", 0, "for reaching UPSTREAM (default: 5)", 0},
    {"idle", 'i', "SECONDS", 0, "ends connections on which nothing moves for so long (default: 300)", 0},
    {0},
};

static const struct argp arguments = {
    .options = option_list,
    .parser = parse_option,
    .args_doc = "LISTEN UPSTREAM",
    .doc = "Passes connections to LISTEN on to UPSTREAM. Addresses: 192.0.2.1:80, [::1]:80, unix:/path, unix:@name.",
};

static void on_stop_signal(int number)
{
    (void)number;
    loop_stop(proxy.loop); /* one of the few calls that signal handlers may make */
}

int main(int argc, char **argv)
{
    static const struct loop_tcp_options      tcp = {.flags = LOOP_TCP_NODELAY};
    static const struct loop_listener_options options = {.flags = LOOP_LISTENER_UNLINK, .tcp = &tcp};
    int                                       r;

    proxy.upstream = (struct loop_stream_options){
        .flags = LOOP_STREAM_NODELAY, .connect_timeout_ns = 5 * LOOP_SECOND, .on_close = on_closed};
    proxy.deadlines.idle_ns = 300 * LOOP_SECOND;
    argp_parse(&arguments, argc, argv, 0, NULL, NULL);
    r = loop_create(&proxy.loop, NULL);
    if (r < 0) {
        fprintf(stderr, "proxy: %s: %s\n", strerror(-r), loop_obstacle_text(loop_obstacle(r)));
        return 1;
    }
    signal(SIGINT, on_stop_signal);
    signal(SIGTERM, on_stop_signal);
    r = loop_listener_start(proxy.loop, &proxy.listener, &proxy.from, &options, on_accept);
    if (r == 0)
        r = loop_listener_address(&proxy.listener, &proxy.from);
    if (r == 0) {
        printf("ready %u\n", loop_address_port(&proxy.from));
        fflush(stdout);
        loop_run(proxy.loop, LOOP_RUN_DEFAULT);
        printf("%llu connections, at most %llu at a time, %llu open, %llu failed; %llu bytes up, %llu down\n",
               proxy.links, proxy.open_max, proxy.open, proxy.failed, proxy.bytes_up, proxy.bytes_down);
    } else {
        fprintf(stderr, "proxy: %s\n", strerror(-r));
    }
    loop_destroy(proxy.loop);
    return r < 0;
}
