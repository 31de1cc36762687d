/* net/connect_name.c: streams that are connected by name: a dial makes the socket, which the stream takes. */
#include "net/socket.h"
#include "net/stream_private.h"

#include <errno.h>
#include <ringloop/dial.h>

/* Of the stream's write_id: nothing is sent before the dial has ended. */
static const loop_id searching = INT64_MAX;

struct stream_search {
    struct loop_dial           dial;
    struct loop_stream        *stream;
    struct loop_stream_options options; /* for the socket that is found */
    struct loop_tcp_options    tcp;
};

static void cancel_search(struct loop_stream *stream)
{
    if (stream->priv.more->search != NULL)
        (void)loop_dial_cancel(&stream->priv.more->search->dial);
}

static void nothing_to_close(struct loop_stream *stream)
{
    (void)stream;
}

/* Until it is connected, and if it never is. Nothing else is asked of a stream that is not connected. */
static const struct loop_stream_transport search_transport = {.cancel = cancel_search, .close = nothing_to_close};

static void dialed(struct loop_dial *dial, int fd, const struct loop_address *address)
{
    struct stream_search *search = container_of(dial, struct stream_search, dial);
    struct loop_stream   *stream = search->stream;
    int                   r = fd < 0 ? fd : stream_socket_options(fd, &search->options);

    (void)address;
    stream->priv.more->search = NULL;
    memory_free(stream->priv.object.loop, search);
    stream->priv.write_id = 0;
    if (r < 0 && fd >= 0)
        sys_close(fd);
    if (r == 0) {
        stream->priv.fd = fd;
        stream->priv.transport = &stream_socket_transport;
    }
    stream_connected(stream, r);
}

static int search_start(struct loop *loop, struct loop_stream *stream, const char *host, const char *service,
                        const struct loop_dial_options *dial, const struct loop_stream_options *options)
{
    struct loop_dial_options complete = {0};
    struct stream_search    *search;
    int                      r;

    if (dial != NULL)
        complete = *dial;
    if (options != NULL && options->connect_timeout_ns != 0)
        complete.timeout_ns = options->connect_timeout_ns;
    search = memory_resize(loop, NULL, sizeof(*search));
    if (search == NULL)
        return -ENOMEM;
    *search = (struct stream_search){
        .stream = stream,
        .options.flags = options == NULL ? 0 : options->flags,
    };
    if (options != NULL && options->tcp != NULL) {
        search->tcp = *options->tcp;
        search->options.tcp = &search->tcp;
    }
    r = loop_dial_name(loop, &search->dial, host, service, &complete, dialed);
    if (r < 0)
        memory_free(loop, search);
    else
        stream->priv.more->search = search;
    return r;
}

int loop_stream_connect_name(struct loop *loop, struct loop_stream *stream, const char *host, const char *service,
                             const struct loop_dial_options *dial, const struct loop_stream_options *options,
                             loop_stream_event_cb *on_connect)
{
    int r;

    loop_check_owner(loop, __func__);
    r = stream_prepare(loop, stream, -EBADF, options);
    if (r < 0)
        return r;
    r = stream_more(stream) == NULL ? -ENOMEM : search_start(loop, stream, host, service, dial, options);
    if (r < 0) {
        memory_free(loop, stream->priv.more);
        stream->priv = (struct loop_stream_private){0};
        return r;
    }
    stream->priv.transport = &search_transport;
    stream->priv.write_id = searching;
    stream_connecting(stream, on_connect);
    return 0;
}
