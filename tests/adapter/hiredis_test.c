/* tests/adapter/hiredis_test.c: hiredis on a loop, with a real redis-server. */
#include "tests/adapter/server.h"
#include "tests/net/net_test.h"

#include <ringloop/adapter/hiredis.h>
#include <signal.h>
#include <sys/un.h>

static struct server server;
static char          path[64];
static struct loop  *loop;

/* ---- the server: one for all tests of a case */

static bool answers(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int                fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool               ok;

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    ok = connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
    close(fd);
    return ok;
}

static void server_setup(void)
{
    char     program[256];
    uint64_t until = test_clock() + 20 * LOOP_SECOND;

    if (!server_find("redis-server", NULL, program))
        return;
    server_prepare(&server, "nobody");
    snprintf(path, sizeof(path), "%s/socket", server.directory);
    server_start(&server, (const char *[]){program, "--port", "0", "--unixsocket", path, "--unixsocketperm", "777",
                                           "--save", "", "--appendonly", "no", NULL});
    while (!answers()) {
        ck_assert_msg(test_clock() < until, "redis-server does not answer");
        test_sleep(5 * LOOP_MILLISECOND);
    }
}

static void server_teardown(void)
{
    server_clean(&server);
}

#define NEEDS_SERVER()                                                                                                 \
    do {                                                                                                               \
        if (server.pid == 0) {                                                                                         \
            test_skip("there is no redis-server");                                                                     \
            return;                                                                                                    \
        }                                                                                                              \
        loop = test_loop_new(NULL);                                                                                    \
    } while (0)

/* ---- a client */

struct client {
    redisAsyncContext *context; /* NULL: gone */
    uint32_t           connects, disconnects, replies, nulls;
    int                connect_status, disconnect_status;
    char               last[64];
    void (*then)(struct client *client);
};

static struct client *client_of(const redisAsyncContext *context)
{
    return context->data;
}

static void connected(const redisAsyncContext *context, int status)
{
    client_of(context)->connects++;
    client_of(context)->connect_status = status;
    if (status != REDIS_OK)
        client_of(context)->context = NULL; /* hiredis frees it */
}

static void disconnected(const redisAsyncContext *context, int status)
{
    client_of(context)->disconnects++;
    client_of(context)->disconnect_status = status;
    client_of(context)->context = NULL;
}

static void client_attach(struct client *client, redisAsyncContext *context)
{
    *client = (struct client){.context = context};
    ck_assert_ptr_nonnull(context);
    ck_assert_msg(context->err == 0, "%s", context->errstr);
    context->data = client;
    ck_assert_int_eq(loop_redis_attach(loop, context), 0);
    ck_assert_int_eq(redisAsyncSetConnectCallback(context, connected), REDIS_OK);
    ck_assert_int_eq(redisAsyncSetDisconnectCallback(context, disconnected), REDIS_OK);
}

static void client_open(struct client *client)
{
    client_attach(client, redisAsyncConnectUnix(path));
}

static void replied(redisAsyncContext *context, void *data, void *arg)
{
    struct client *client = client_of(context);
    redisReply    *reply = data;

    (void)arg;
    client->replies++;
    if (reply == NULL) {
        client->nulls++;
        return;
    }
    if (reply->type == REDIS_REPLY_INTEGER)
        snprintf(client->last, sizeof(client->last), "%lld", reply->integer);
    else if (reply->str != NULL)
        snprintf(client->last, sizeof(client->last), "%s", reply->str);
    if (client->then != NULL)
        client->then(client);
}

#define command(client, ...)                                                                                           \
    ck_assert_int_eq(redisAsyncCommand((client)->context, replied, NULL, __VA_ARGS__), REDIS_OK)

static void client_close(struct client *client)
{
    redisAsyncDisconnect(client->context);
    run_until(loop, client->context == NULL);
    ck_assert_int_eq(client->disconnect_status, REDIS_OK);
}

static void finish(void)
{
    test_run(loop); /* nothing keeps it alive any more */
    test_loop_free(loop);
}

/* ---- tests */

enum { COMMANDS = 10000 };

static uint32_t order;

static void counted(redisAsyncContext *context, void *data, void *arg)
{
    redisReply *reply = data;

    ck_assert_ptr_nonnull(reply);
    ck_assert_int_eq(reply->type, REDIS_REPLY_INTEGER);
    ck_assert_int_eq(reply->integer, (long long)order + 1);
    ck_assert_uint_eq((uintptr_t)arg, order);
    order++;
    client_of(context)->replies++;
}

/* Goal: ten thousand commands at once are all answered, in their order. */
START_TEST(pipeline)
{
    struct client client;

    NEEDS_SERVER();
    client_open(&client);
    order = 0;
    command(&client, "DEL counter");
    for (uintptr_t i = 0; i < COMMANDS; i++)
        ck_assert_int_eq(redisAsyncCommand(client.context, counted, (void *)i, "INCR counter"), REDIS_OK);
    run_until(loop, client.replies == COMMANDS + 1);
    ck_assert_uint_eq(client.connects, 1);
    ck_assert_int_eq(client.connect_status, REDIS_OK);
    client_close(&client);
    finish();
}
END_TEST

/* Goal: what does not fit into the socket leaves when there is room, and comes back whole. */
START_TEST(large_values)
{
    enum { SIZE = 4 << 20 };
    struct client client;
    char         *value;

    NEEDS_SERVER();
    value = malloc(SIZE);
    memset(value, 'v', SIZE);
    client_open(&client);
    command(&client, "SET large %b", value, (size_t)SIZE);
    command(&client, "STRLEN large");
    run_until(loop, client.replies == 2);
    ck_assert_str_eq(client.last, "4194304");
    command(&client, "GET large");
    run_until(loop, client.replies == 3);
    ck_assert_str_eq(client.last, "vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv");
    client_close(&client);
    finish();
    free(value);
}
END_TEST

static uint32_t messages;

static void message_came(redisAsyncContext *context, void *data, void *arg)
{
    redisReply *reply = data;

    (void)context;
    (void)arg;
    if (reply == NULL || strcmp(reply->element[0]->str, "message") != 0)
        return;
    ck_assert_str_eq(reply->element[1]->str, "news");
    ck_assert_int_eq(atoi(reply->element[2]->str), (int)messages);
    messages++;
}

/* Goal: messages of a channel come in their order to the one who subscribed. */
START_TEST(publish)
{
    struct client listener, speaker;

    NEEDS_SERVER();
    client_open(&listener);
    client_open(&speaker);
    ck_assert_int_eq(redisAsyncCommand(listener.context, message_came, NULL, "SUBSCRIBE news"), REDIS_OK);
    while (strcmp(speaker.last, "1") != 0) { /* until somebody hears it */
        uint32_t before = speaker.replies;

        messages = 0;
        command(&speaker, "PUBLISH news 0");
        run_until(loop, speaker.replies == before + 1);
    }
    for (int i = 1; i < 100; i++)
        command(&speaker, "PUBLISH news %d", i);
    run_until(loop, messages == 100);
    redisAsyncFree(listener.context);
    ck_assert_uint_eq(listener.disconnects, 1);
    client_close(&speaker);
    finish();
}
END_TEST

/* Goal: errors of commands are replies; those of connecting are told, or come at once. */
START_TEST(errors)
{
    struct client      client;
    redisAsyncContext *context;
    uint16_t           port;
    int                fd;

    NEEDS_SERVER();
    client_open(&client);
    command(&client, "NOSUCHCOMMAND");
    run_until(loop, client.replies == 1);
    ck_assert_int_eq(strncmp(client.last, "ERR", 3), 0);
    ck_assert_int_eq(loop_redis_attach(loop, client.context), -EBUSY);
    client_close(&client);

    fd = test_tcp_listener(&port, 1);
    test_close(fd);
    client_attach(&client, redisAsyncConnect("127.0.0.1", port));
    command(&client, "PING");
    run_until(loop, client.connects == 1);
    ck_assert_int_eq(client.connect_status, REDIS_ERR);
    ck_assert_uint_eq(client.nulls, 1);

    context = redisAsyncConnectUnix("/nonexistent/socket");
    ck_assert_int_ne(context->err, 0);
    ck_assert_int_eq(loop_redis_attach(loop, context), -EINVAL);
    redisAsyncFree(context);
    ck_assert_int_eq(loop_redis_attach(loop, NULL), -EINVAL);
    finish();
}
END_TEST

/* Goal: a connection that the server ends is told, as are the commands that wait; a new one can be made. */
START_TEST(ended_by_the_server)
{
    struct client victim, other;

    NEEDS_SERVER();
    client_open(&victim);
    client_open(&other);
    command(&victim, "CLIENT ID");
    run_until(loop, victim.replies == 1);
    command(&victim, "BLPOP nothing 0");
    command(&victim, "PING");
    command(&other, "CLIENT KILL ID %s", victim.last);
    run_until(loop, victim.context == NULL && other.replies == 1);
    ck_assert_uint_eq(victim.disconnects, 1);
    ck_assert_int_eq(victim.disconnect_status, REDIS_ERR);
    ck_assert_uint_eq(victim.nulls, 2);
    client_open(&victim);
    command(&victim, "ECHO again");
    run_until(loop, victim.replies == 1);
    ck_assert_str_eq(victim.last, "again");
    client_close(&victim);
    client_close(&other);
    finish();
}
END_TEST

static void free_inside(struct client *client)
{
    client->then = NULL;
    redisAsyncFree(client->context);
}

static void disconnect_inside(struct client *client)
{
    client->then = NULL;
    redisAsyncDisconnect(client->context);
}

/* Goal: a connection may be ended inside a reply's callback, either way. */
START_TEST(ended_inside)
{
    struct client client;

    NEEDS_SERVER();
    for (int i = 0; i < 2; i++) {
        client_open(&client);
        client.then = i == 0 ? free_inside : disconnect_inside;
        for (int n = 0; n < 10; n++)
            command(&client, "PING");
        run_until(loop, client.context == NULL);
        ck_assert_uint_eq(client.replies, 10);
        ck_assert_uint_eq(client.nulls, i == 0 ? 9 : 0);
        ck_assert_uint_eq(client.disconnects, 1);
    }
    finish();
}
END_TEST

/* Goal: the end of the loop ends connections in any state: not yet connected, waiting for a reply, idle. */
START_TEST(end_of_the_loop)
{
    struct client fresh, waiting, idle;

    NEEDS_SERVER();
    client_open(&idle);
    client_open(&waiting);
    command(&idle, "PING");
    command(&waiting, "BLPOP nothing 0");
    run_until(loop, idle.replies == 1 && waiting.connects == 1);
    client_open(&fresh);
    command(&fresh, "PING");
    test_loop_drop(loop);
    ck_assert_uint_eq(idle.disconnects, 1);
    ck_assert_uint_eq(waiting.disconnects, 1);
    ck_assert_uint_eq(waiting.nulls, 1);
    ck_assert_uint_eq(fresh.nulls, 1);
}
END_TEST

/* Goal: hiredis's own timeouts are kept by the loop's timers. */
START_TEST(command_timeout)
{
#if HIREDIS_MAJOR >= 1
    struct client client;

    NEEDS_SERVER();
    client_open(&client);
    command(&client, "PING");
    run_until(loop, client.replies == 1);
    ck_assert_int_eq(redisAsyncSetTimeout(client.context, (struct timeval){.tv_usec = 30000}), REDIS_OK);
    command(&client, "BLPOP nothing 0");
    run_until(loop, client.context == NULL);
    ck_assert_uint_eq(client.nulls, 1);
    ck_assert_int_eq(client.disconnect_status, REDIS_ERR);
    finish();
#endif
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("hiredis");
    TCase *all = test_case(suite, "hiredis");

    signal(SIGPIPE, SIG_IGN); /* hiredis 0.14 writes without MSG_NOSIGNAL */
    tcase_add_unchecked_fixture(all, server_setup, server_teardown);
    tcase_add_test(all, pipeline);
    tcase_add_test(all, large_values);
    tcase_add_test(all, publish);
    tcase_add_test(all, errors);
    tcase_add_test(all, ended_by_the_server);
    tcase_add_test(all, ended_inside);
    if (HIREDIS_MAJOR >= 1)
        tcase_add_test(all, command_timeout);
    tcase_add_test(all, end_of_the_loop);
    return suite;
}
