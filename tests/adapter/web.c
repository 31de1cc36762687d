/* tests/adapter/web.c: a small web server on the loop of the test. */
#include "tests/adapter/web.h"

enum { HEAD_MAX = 8192 };

struct visitor {
    struct loop_stream stream;
    struct web        *web;
    char               head[HEAD_MAX];
    size_t             head_bytes;
    uint64_t           body_left, body_bytes;
};

static void visitor_closed(struct loop_stream *stream)
{
    struct visitor *visitor = stream->data;

    visitor->web->open--;
    free(visitor);
}

static void cut_off(struct loop_stream *stream, int error)
{
    (void)error;
    loop_stream_close(stream, NULL);
}

static void send_text(struct visitor *visitor, const char *text)
{
    ck_assert_int_eq(loop_stream_write(&visitor->stream, text, strlen(text), NULL, NULL,
                                       &(struct loop_write_terms){.flags = LOOP_WRITE_COPY}),
                     0);
}

/* The bytes of a body count up, so that some that are missing are seen. */
static void send_bytes(struct visitor *visitor, uint64_t promised, uint64_t count)
{
    char  head[128];
    char *body = malloc(count + 1);

    snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %" PRIu64 "\r\n\r\n", promised);
    send_text(visitor, head);
    for (uint64_t i = 0; i < count; i++)
        body[i] = (char)(i % 251);
    if (count > 0)
        ck_assert_int_eq(loop_stream_write(&visitor->stream, body, count, NULL, NULL,
                                           &(struct loop_write_terms){.flags = LOOP_WRITE_COPY}),
                         0);
    free(body);
}

static void answer(struct visitor *visitor)
{
    uint64_t number = 0;
    char     text[128], size[24];

    visitor->web->requests++;
    if (strncmp(visitor->head, "POST ", 5) == 0) {
        snprintf(size, sizeof(size), "%" PRIu64, visitor->body_bytes);
        snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s", strlen(size), size);
        send_text(visitor, text);
    } else if (sscanf(visitor->head, "GET /bytes/%" SCNu64, &number) == 1) {
        send_bytes(visitor, number, number);
    } else if (sscanf(visitor->head, "GET /cut/%" SCNu64, &number) == 1) {
        send_bytes(visitor, 2 * number, number);
        (void)loop_stream_shutdown(&visitor->stream, cut_off);
    } else if (strncmp(visitor->head, "GET /reset ", 11) == 0) {
        loop_stream_reset(&visitor->stream, NULL);
    } else if (strncmp(visitor->head, "GET /never ", 11) != 0) {
        send_text(visitor, "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone");
    }
}

static void take_head(struct visitor *visitor)
{
    const char *length = strcasestr(visitor->head, "\r\nContent-Length: ");

    visitor->body_bytes = visitor->body_left = length == NULL ? 0 : strtoull(length + 18, NULL, 10);
    if (strcasestr(visitor->head, "100-continue") != NULL)
        send_text(visitor, "HTTP/1.1 100 Continue\r\n\r\n");
    visitor->head_bytes = 0;
    if (visitor->body_left == 0)
        answer(visitor);
}

static void take_byte(struct visitor *visitor, char byte)
{
    if (visitor->body_left > 0) {
        if (--visitor->body_left == 0)
            answer(visitor);
        return;
    }
    ck_assert_uint_lt(visitor->head_bytes, HEAD_MAX - 1);
    visitor->head[visitor->head_bytes++] = byte;
    visitor->head[visitor->head_bytes] = '\0';
    if (visitor->head_bytes >= 4 && memcmp(visitor->head + visitor->head_bytes - 4, "\r\n\r\n", 4) == 0)
        take_head(visitor);
}

static void visitor_read(struct loop_stream *stream, const struct loop_result *result)
{
    struct visitor *visitor = stream->data;
    const char     *data = result->data;

    if (result->res <= 0) {
        loop_stream_close(stream, NULL);
        return;
    }
    for (int32_t i = 0; i < result->res && !loop_stream_closing(stream); i++)
        take_byte(visitor, data[i]);
}

static void visitor_came(struct loop_listener *listener, int fd)
{
    struct visitor                  *visitor = calloc(1, sizeof(*visitor));
    const struct loop_stream_options options = {.on_close = visitor_closed};

    ck_assert_int_ge(fd, 0);
    visitor->web = listener->data;
    visitor->stream.data = visitor;
    visitor->web->connections++;
    visitor->web->open++;
    ck_assert_int_eq(loop_stream_open(visitor->web->loop, &visitor->stream, fd, &options), 0);
    ck_assert_int_eq(loop_stream_read_start(&visitor->stream, visitor_read), 0);
}

void web_open(struct loop *loop, struct web *web)
{
    struct loop_address address = net_parse("127.0.0.1", 0);

    *web = (struct web){.loop = loop, .listener.data = web};
    ck_assert_int_eq(loop_listener_start(loop, &web->listener, &address, NULL, visitor_came), 0);
    ck_assert_int_eq(loop_listener_address(&web->listener, &address), 0);
    web->port = loop_address_port(&address);
}

void web_close(struct web *web)
{
    loop_listener_close(&web->listener, NULL);
    run_until(web->loop, web->open == 0);
}
