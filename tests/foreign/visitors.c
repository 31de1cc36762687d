/* tests/foreign/visitors.c: an echo server, and its visitors. */
#include "tests/foreign/visitors.h"

#include <arpa/inet.h>

static void *visit(void *arg)
{
    const struct visitors *visitors = arg;
    int                    fd = test_tcp_connect(visitors->port);
    char                   out[VISITOR_BYTES], in[VISITOR_BYTES];

    for (int round = 0; round < VISITOR_ROUNDS; round++) {
        memset(out, round + fd, sizeof(out));
        test_write(fd, out, sizeof(out));
        test_read(fd, in, sizeof(in));
        ck_assert_mem_eq(in, out, sizeof(in));
    }
    test_close(fd);
    return NULL;
}

void visitors_start(struct visitors *visitors, uint16_t port)
{
    visitors->port = port;
    for (int i = 0; i < VISITORS; i++)
        ck_assert_int_eq(pthread_create(&visitors->threads[i], NULL, visit, visitors), 0);
}

void visitors_join(struct visitors *visitors)
{
    for (int i = 0; i < VISITORS; i++)
        ck_assert_int_eq(pthread_join(visitors->threads[i], NULL), 0);
}

static void stream_closed(struct loop_stream *stream)
{
    struct echo *echo = stream->data;

    free(stream);
    if (++echo->closed == VISITORS)
        loop_listener_close(&echo->listener, NULL);
}

static void received(struct loop_stream *stream, const struct loop_result *result)
{
    struct echo *echo = stream->data;

    if (result->res <= 0) {
        loop_stream_close(stream, stream_closed);
        return;
    }
    echo->bytes += (uint64_t)result->res;
    ck_assert_int_eq(loop_stream_write(stream, result->data, (size_t)result->res, NULL, NULL,
                                       &(struct loop_write_terms){.flags = LOOP_WRITE_COPY}),
                     0);
}

static void accepted(struct loop_listener *listener, int result)
{
    struct echo        *echo = listener->data;
    struct loop_stream *stream = calloc(1, sizeof(*stream));

    ck_assert_int_ge(result, 0);
    ck_assert_ptr_nonnull(stream);
    stream->data = echo;
    echo->accepted++;
    ck_assert_int_eq(loop_stream_open(loop_listener_loop(listener), stream, result, NULL), 0);
    ck_assert_int_eq(loop_stream_read_start(stream, received), 0);
}

uint16_t echo_start(struct echo *echo, struct loop *loop)
{
    struct loop_address address;

    *echo = (struct echo){.listener.data = echo};
    ck_assert_int_eq(loop_address_parse(&address, "127.0.0.1", 0), 0);
    ck_assert_int_eq(loop_listener_start(loop, &echo->listener, &address, NULL, accepted), 0);
    ck_assert_int_eq(loop_listener_address(&echo->listener, &address), 0);
    return ntohs(((struct sockaddr_in *)&address.storage)->sin_port);
}
