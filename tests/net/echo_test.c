/* tests/net/echo_test.c: an echo server on a thread of its own, and blocking clients on others. */
#include "tests/net/net_test.h"

#include <pthread.h>

enum { CLIENT_THREADS = 4, CONNECTIONS = 12, ROUNDS = 30, BLOCK_MAX = 40000, HIGH_WATER = 65536 };

struct server {
    pthread_t            thread;
    pthread_barrier_t    meeting; /* when it listens, and before the loop is destroyed */
    int                  kind;
    struct loop         *loop;
    struct loop_listener listener;
    struct loop_address  address;
    uint32_t             opened, closed; /* the thread's own until it has ended */
    uint64_t             bytes;
};

struct connection {
    struct loop_stream stream;
    struct server     *server;
    bool               stopped;
};

/* The asserts of libcheck may be used on any thread: they end the process of the test. */

static void connection_closed(struct loop_stream *stream)
{
    struct connection *connection = stream->data;

    connection->server->closed++;
    free(connection);
}

static void connection_shut(struct loop_stream *stream, int error)
{
    ck_assert_int_eq(error, 0);
    loop_stream_close(stream, connection_closed);
}

static loop_stream_read_cb connection_read;

static void connection_written(struct loop_stream *stream, int error, size_t bytes, void *arg)
{
    struct connection *connection = arg;

    ck_assert_int_eq(error, 0);
    connection->server->bytes += bytes;
    if (connection->stopped && loop_stream_queued(stream) < HIGH_WATER / 2) {
        connection->stopped = false;
        ck_assert_int_eq(loop_stream_read_start(stream, connection_read), 0);
    }
}

static void connection_read(struct loop_stream *stream, const struct loop_result *result)
{
    struct connection *connection = stream->data;

    ck_assert_msg(result->res >= 0, "read: %s", error_text(result->res));
    if (result->res == 0) {
        ck_assert_int_eq(loop_stream_shutdown(stream, connection_shut), 0);
        return;
    }
    ck_assert_int_eq(loop_stream_write(stream, result->data, (size_t)result->res, connection_written, connection,
                                       &(const struct loop_write_terms){.release = result->buffer}),
                     0);
    if (loop_stream_queued(stream) > HIGH_WATER) {
        connection->stopped = true;
        ck_assert_int_eq(loop_stream_read_stop(stream), 0);
    }
}

static void server_accept(struct loop_listener *listener, int result)
{
    struct server     *server = listener->data;
    struct connection *connection = calloc(1, sizeof(*connection));

    ck_assert_ptr_nonnull(connection);
    ck_assert_msg(result >= 0, "accept: %s", error_text(result));
    connection->server = server;
    connection->stream.data = connection;
    ck_assert_int_eq(loop_stream_open(server->loop, &connection->stream, result, NULL), 0);
    ck_assert_int_eq(loop_stream_read_start(&connection->stream, connection_read), 0);
    server->opened++;
}

static void server_stop(struct loop *loop, void *arg)
{
    struct server *server = arg;

    ck_assert_ptr_eq(loop, server->loop);
    loop_listener_close(&server->listener, NULL);
}

static void *server_main(void *arg)
{
    struct server      *server = arg;
    struct loop_address address = net_address(server->kind);

    server->loop = test_loop_new(NULL);
    server->listener.data = server;
    ck_assert_int_eq(loop_listener_start(server->loop, &server->listener, &address, NULL, server_accept), 0);
    ck_assert_int_eq(loop_listener_address(&server->listener, &server->address), 0);
    pthread_barrier_wait(&server->meeting);
    test_run(server->loop);                 /* ends when the listener and the last connection are closed */
    pthread_barrier_wait(&server->meeting); /* the call that posted has returned */
    test_loop_free(server->loop);
    return NULL;
}

struct client {
    pthread_t            thread;
    const struct server *server;
    uint64_t             random;
    uint64_t             bytes;
};

static void *client_main(void *arg)
{
    struct client *client = arg;
    uint8_t       *bytes = malloc(BLOCK_MAX);

    ck_assert_ptr_nonnull(bytes);
    for (int i = 0; i < CONNECTIONS; i++) {
        uint64_t flow = test_random(&client->random) % 1000, offset = 0;
        int      fd = net_dial(&client->server->address);

        for (int round = 0; round < ROUNDS; round++) {
            size_t size = 1 + test_random(&client->random) % BLOCK_MAX;

            pattern_fill(flow, offset, bytes, size);
            test_write(fd, bytes, size);
            test_read(fd, bytes, size);
            pattern_check(flow, offset, bytes, size);
            offset += size;
        }
        ck_assert_int_eq(shutdown(fd, SHUT_WR), 0);
        ck_assert_int_eq(read(fd, bytes, 1), 0);
        test_close(fd);
        client->bytes += offset;
    }
    free(bytes);
    return NULL;
}

/* Goal: a server in a thread of its own serves blocking clients byte for byte, is stopped by a post, and shares nothing
 * with other threads that the sanitizer could object to. Method: echo of random sizes; each client waits for each
 * answer; at the end the server has sent what the clients got. */
START_TEST(echo)
{
    static struct server server;
    static struct client clients[CLIENT_THREADS];
    uint64_t             bytes = 0;

    server.kind = _i;
    ck_assert_int_eq(pthread_barrier_init(&server.meeting, NULL, 2), 0);
    ck_assert_int_eq(pthread_create(&server.thread, NULL, server_main, &server), 0);
    pthread_barrier_wait(&server.meeting);
    for (uint64_t i = 0; i < CLIENT_THREADS; i++) {
        clients[i] = (struct client){.server = &server, .random = test_env("RINGLOOP_SEED", 3) + i};
        ck_assert_int_eq(pthread_create(&clients[i].thread, NULL, client_main, &clients[i]), 0);
    }
    for (int i = 0; i < CLIENT_THREADS; i++) {
        ck_assert_int_eq(pthread_join(clients[i].thread, NULL), 0);
        bytes += clients[i].bytes;
    }
    ck_assert_int_eq(loop_post(server.loop, server_stop, &server), 0);
    pthread_barrier_wait(&server.meeting);
    ck_assert_int_eq(pthread_join(server.thread, NULL), 0);
    ck_assert_uint_eq(server.opened, CLIENT_THREADS * CONNECTIONS);
    ck_assert_uint_eq(server.closed, server.opened);
    ck_assert_uint_eq(server.bytes, bytes);
    pthread_barrier_destroy(&server.meeting);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("net/echo");
    TCase *tcase = test_case(suite, "threads");

    tcase_add_loop_test(tcase, echo, 0, net_kinds());
    return suite;
}
