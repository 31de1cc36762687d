/* tests/adapter/postgres_test.c: libpq on a loop, with a real PostgreSQL server. */
#include "tests/adapter/server.h"
#include "tests/net/net_test.h"

#include <ringloop/adapter/postgres.h>
#include <signal.h>

static struct server server;
static char          conninfo[128];
static struct loop  *loop;

/* ---- the server: one for all tests of a case */

static void server_setup(void)
{
    char     initdb[256], postgres[256];
    uint64_t until = test_clock() + 25 * LOOP_SECOND;

    if (!server_find("initdb", "/usr/lib/postgresql/*/bin/initdb", initdb) ||
        !server_find("postgres", "/usr/lib/postgresql/*/bin/postgres", postgres))
        return;
    server_prepare(&server, "postgres");
    ck_assert_int_eq(server_do(&server, (const char *[]){initdb, "-D", "data", "-A", "trust", "-U", "test", "-E",
                                                         "UTF8", "--locale=C", "--no-sync", NULL}),
                     0);
    server_start(&server, (const char *[]){postgres, "-D", "data", "-k", server.directory, "-c",
                                           "listen_addresses=", "-c", "fsync=off", "-c", "shared_buffers=16MB", NULL});
    snprintf(conninfo, sizeof(conninfo), "host=%s user=test dbname=postgres", server.directory);
    while (PQping(conninfo) != PQPING_OK) {
        ck_assert_msg(test_clock() < until, "the server does not answer");
        test_sleep(10 * LOOP_MILLISECOND);
    }
}

static void server_teardown(void)
{
    server_end(&server, SIGQUIT); /* at once */
    server_clean(&server);
}

#define NEEDS_SERVER()                                                                                                 \
    do {                                                                                                               \
        if (server.pid == 0) {                                                                                         \
            test_skip("there is no PostgreSQL server");                                                                \
            return;                                                                                                    \
        }                                                                                                              \
        loop = test_loop_new(NULL);                                                                                    \
    } while (0)

/* ---- a client */

struct client {
    struct loop_postgres pg;
    uint32_t             connects, results, errors, overs, notices, copies, ends;
    int                  connect_error, end_error;
    char                 last[64]; /* first value of the last result, or its state */
    char                 channel[32], payload[32];
    uint64_t             copied;
    void (*then)(struct client *client); /* after each result, and at the end of the query */
};

static void connected(struct loop_postgres *pg, int error)
{
    struct client *client = pg->data;

    callback_enter();
    client->connects++;
    client->connect_error = error;
}

static void result_came(struct loop_postgres *pg, PGresult *result)
{
    struct client *client = pg->data;
    ExecStatusType status = PQresultStatus(result);

    callback_enter();
    if (result == NULL) {
        client->overs++;
    } else {
        client->results++;
        client->errors += status == PGRES_FATAL_ERROR;
        if (status == PGRES_FATAL_ERROR)
            snprintf(client->last, sizeof(client->last), "%s", PQresultErrorField(result, PG_DIAG_SQLSTATE));
        else if (PQntuples(result) > 0)
            snprintf(client->last, sizeof(client->last), "%s", PQgetvalue(result, 0, 0));
        else
            snprintf(client->last, sizeof(client->last), "%s", PQcmdStatus(result));
        PQclear(result);
    }
    if (client->then != NULL)
        client->then(client);
}

static void noticed(struct loop_postgres *pg, PGnotify *notice)
{
    struct client *client = pg->data;

    client->notices++;
    snprintf(client->channel, sizeof(client->channel), "%s", notice->relname);
    snprintf(client->payload, sizeof(client->payload), "%s", notice->extra);
}

static void copy_out(struct loop_postgres *pg)
{
    struct client *client = pg->data;
    char          *row;
    int            size;

    client->copies++;
    while ((size = PQgetCopyData(pg->connection, &row, 1)) > 0) {
        client->copied += (uint64_t)size;
        PQfreemem(row);
    }
    if (size < 0)
        (void)loop_postgres_copied(pg);
}

static void ended(struct loop_postgres *pg, int error)
{
    struct client *client = pg->data;

    client->ends++;
    client->end_error = error;
}

static const struct loop_postgres_callbacks callbacks = {connected, result_came, copy_out, noticed, ended};

static void open_client(struct client *client)
{
    *client = (struct client){.pg.data = client};
    ck_assert_int_eq(CALL(loop_postgres_connect(loop, &client->pg, conninfo, &callbacks)), 0);
}

static void connect_client(struct client *client)
{
    open_client(client);
    run_until(loop, client->connects == 1);
    ck_assert_msg(client->connect_error == 0, "%s", PQerrorMessage(client->pg.connection));
}

static void query(struct client *client, const char *text)
{
    ck_assert_msg(PQsendQuery(client->pg.connection, text) == 1, "%s", PQerrorMessage(client->pg.connection));
    ck_assert_int_eq(CALL(loop_postgres_flush(&client->pg)), 0);
}

static void query_over(struct client *client, const char *text)
{
    uint32_t before = client->overs;

    query(client, text);
    run_until(loop, client->overs == before + 1);
}

static void finish(void)
{
    test_run(loop);
    test_loop_free(loop);
}

/* ---- tests */

enum { CLIENTS = 16, QUERIES = 30 };

static void next_query(struct client *client)
{
    if (client->overs == client->results && client->overs < QUERIES)
        query(client, "select pg_backend_pid(), repeat('x', 10000)");
}

/* Goal: many connections work side by side, each with one query after the other, sent inside callbacks. */
START_TEST(in_parallel)
{
    static struct client clients[CLIENTS];
    uint32_t             over = 0;

    NEEDS_SERVER();
    for (int i = 0; i < CLIENTS; i++)
        connect_client(&clients[i]);
    for (int i = 0; i < CLIENTS; i++) {
        clients[i].then = next_query;
        query(&clients[i], "select pg_backend_pid()");
    }
    for (int i = 0; i < CLIENTS; i++) {
        run_until(loop, clients[i].overs == QUERIES);
        ck_assert_uint_eq(clients[i].results, QUERIES);
        ck_assert_uint_eq(clients[i].errors, 0);
        ck_assert_int_eq(atoi(clients[i].last), PQbackendPID(clients[i].pg.connection));
        over += clients[i].overs;
        loop_postgres_close(&clients[i].pg);
        loop_postgres_close(&clients[i].pg);
    }
    ck_assert_uint_eq(over, CLIENTS * QUERIES);
    finish();
}
END_TEST

/* Goal: several results of one query, and errors, come in their order; the connection goes on. */
START_TEST(results)
{
    struct client client;

    NEEDS_SERVER();
    connect_client(&client);
    query_over(&client, "select 1; select 2; select 3");
    ck_assert_uint_eq(client.results, 3);
    ck_assert_str_eq(client.last, "3");
    query_over(&client, "select 1; select 1/0; select 3");
    ck_assert_uint_eq(client.results, 5);
    ck_assert_uint_eq(client.errors, 1);
    ck_assert_str_eq(client.last, "22012");
    query_over(&client, "create temporary table t(a int)");
    ck_assert_str_eq(client.last, "CREATE TABLE");
    ck_assert_uint_eq(client.overs, 3);
    loop_postgres_close(&client.pg);
    finish();
}
END_TEST

/* Goal: a query larger than the socket's buffers leaves bit by bit. */
START_TEST(large_query)
{
    enum { SIZE = 8 << 20 };
    struct client client;
    char         *text;

    NEEDS_SERVER();
    connect_client(&client);
    text = malloc(SIZE + 100);
    strcpy(text, "select length('");
    memset(text + strlen("select length('"), 'y', SIZE);
    strcpy(text + strlen("select length('") + SIZE, "')");
    query_over(&client, text);
    ck_assert_int_eq(atoi(client.last), SIZE);
    loop_postgres_close(&client.pg);
    free(text);
    finish();
}
END_TEST

/* Goal: notifications come without a query, and beside one. */
START_TEST(notifications)
{
    struct client listener, speaker;

    NEEDS_SERVER();
    connect_client(&listener);
    connect_client(&speaker);
    query_over(&listener, "listen news");
    query_over(&speaker, "notify news, 'first'");
    run_until(loop, listener.notices == 1);
    ck_assert_str_eq(listener.channel, "news");
    ck_assert_str_eq(listener.payload, "first");
    query_over(&listener, "notify news, 'own'");
    run_until(loop, listener.notices == 2);
    ck_assert_str_eq(listener.payload, "own");
    loop_postgres_close(&listener.pg);
    loop_postgres_close(&speaker.pg);
    finish();
}
END_TEST

/* Goal: COPY brings its rows by the copy callback, then results come again. */
START_TEST(copy)
{
    struct client client;

    NEEDS_SERVER();
    connect_client(&client);
    query_over(&client, "copy (select repeat('z', 999) from generate_series(1, 5000)) to stdout");
    ck_assert_uint_eq(client.copied, 5000000);
    ck_assert_uint_gt(client.copies, 1);
    ck_assert_str_eq(client.last, "COPY 5000");
    query_over(&client, "select 7");
    ck_assert_str_eq(client.last, "7");
    loop_postgres_close(&client.pg);
    finish();
}
END_TEST

/* Goal: in pipeline mode each query has its results and its NULL. */
START_TEST(pipeline)
{
#ifdef LIBPQ_HAS_PIPELINING
    struct client client;
    char          number[8];
    const char   *values[] = {number};

    NEEDS_SERVER();
    connect_client(&client);
    ck_assert_int_eq(PQenterPipelineMode(client.pg.connection), 1);
    for (int i = 0; i < 100; i++) {
        snprintf(number, sizeof(number), "%d", i);
        ck_assert_int_eq(PQsendQueryParams(client.pg.connection, "select $1::int", 1, NULL, values, NULL, NULL, 0), 1);
    }
    ck_assert_int_eq(PQpipelineSync(client.pg.connection), 1);
    ck_assert_int_eq(loop_postgres_flush(&client.pg), 0);
    run_until(loop, client.results == 101);
    ck_assert_uint_ge(client.overs, 100);
    ck_assert_uint_eq(client.errors, 0);
    ck_assert_int_eq(PQexitPipelineMode(client.pg.connection), 1);
    query_over(&client, "select 8");
    ck_assert_str_eq(client.last, "8");
    loop_postgres_close(&client.pg);
    finish();
#endif
}
END_TEST

static void close_inside(struct client *client)
{
    loop_postgres_close(&client->pg);
}

/* Goal: a connection may be closed inside a result's callback, and while it connects, and be used anew. */
START_TEST(closed_inside)
{
    struct client client;

    NEEDS_SERVER();
    open_client(&client);
    ck_assert_int_eq(loop_postgres_connect(loop, &client.pg, conninfo, &callbacks), -EBUSY);
    ck_assert_int_eq(loop_postgres_flush(&client.pg), -ENOTCONN);
    loop_postgres_close(&client.pg);
    connect_client(&client);
    client.then = close_inside;
    query(&client, "select 1; select 2");
    run_until(loop, client.pg.connection == NULL);
    ck_assert_uint_eq(client.results, 1);
    ck_assert_uint_eq(client.ends, 0);
    ck_assert_int_eq(loop_postgres_flush(&client.pg), -ENOTCONN);
    finish();
}
END_TEST

/* Goal: what libpq refuses is told, at once or later. */
START_TEST(not_connected)
{
    struct client client = {0};
    char          bad[160];

    NEEDS_SERVER();
    ck_assert_int_eq(loop_postgres_connect(loop, &client.pg, "no such option", &callbacks), -ECONNREFUSED);
    ck_assert_int_eq(loop_postgres_connect(loop, &client.pg, NULL, &callbacks), -EINVAL);
    client.pg.data = &client;
    snprintf(bad, sizeof(bad), "%s dbname=missing", conninfo);
    ck_assert_int_eq(loop_postgres_connect(loop, &client.pg, bad, &callbacks), 0);
    run_until(loop, client.connects == 1);
    ck_assert_int_eq(client.connect_error, -ECONNREFUSED);
    ck_assert_ptr_nonnull(strstr(PQerrorMessage(client.pg.connection), "missing"));
    loop_postgres_close(&client.pg);
    /* The second host is tried when the first has failed: the socket changes on the way. */
    snprintf(bad, sizeof(bad), "host=/nonexistent,127.0.0.1,%s port=1,1,5432 user=test dbname=postgres",
             server.directory);
    client.connects = 0;
    ck_assert_int_eq(loop_postgres_connect(loop, &client.pg, bad, &callbacks), 0);
    run_until(loop, client.connects == 1);
    ck_assert_msg(client.connect_error == 0, "%s", PQerrorMessage(client.pg.connection));
    query_over(&client, "select 9");
    ck_assert_str_eq(client.last, "9");
    loop_postgres_close(&client.pg);
    finish();
}
END_TEST

/* Goal: a connection that the server ends while a query runs: an error, its NULL, then the end; one that is idle: the
 * end alone; a query on it fails, and a new connection stands. */
START_TEST(ended_by_the_server)
{
    struct client busy, idle, other;
    char          text[128];

    NEEDS_SERVER();
    connect_client(&busy);
    connect_client(&idle);
    connect_client(&other);
    query(&busy, "select pg_sleep(100)");
    snprintf(text, sizeof(text), "select pg_terminate_backend(%d), pg_terminate_backend(%d)",
             PQbackendPID(busy.pg.connection), PQbackendPID(idle.pg.connection));
    query_over(&other, text);
    run_until(loop, busy.ends == 1 && idle.ends == 1);
    ck_assert_int_eq(busy.end_error, -ECONNRESET);
    ck_assert_int_eq(idle.end_error, -ECONNRESET);
    ck_assert_uint_ge(busy.errors, 1); /* what the server said, and that the connection is lost */
    ck_assert_uint_eq(busy.overs, 1);
    ck_assert_uint_eq(idle.overs, 0);
    ck_assert_int_eq(loop_postgres_flush(&busy.pg), -ENOTCONN);
    loop_postgres_close(&busy.pg);
    loop_postgres_close(&idle.pg);
    connect_client(&busy);
    query_over(&busy, "select 5");
    ck_assert_str_eq(busy.last, "5");
    loop_postgres_close(&busy.pg);
    loop_postgres_close(&other.pg);
    finish();
}
END_TEST

/* Goal: the server is killed while queries run. */
START_TEST(server_killed)
{
    struct client clients[4];

    NEEDS_SERVER();
    for (size_t i = 0; i < TEST_COUNT(clients); i++) {
        connect_client(&clients[i]);
        query(&clients[i], i % 2 == 0 ? "select pg_sleep(100)"
                                      : "copy (select repeat('z', 999), generate_series(1, 100000000)) to stdout");
    }
    run_until(loop, clients[1].copied > 0 && clients[3].copied > 0);
    kill(server.pid, SIGQUIT);
    for (size_t i = 0; i < TEST_COUNT(clients); i++) {
        run_until(loop, clients[i].ends == 1);
        ck_assert_int_eq(clients[i].end_error, -ECONNRESET);
        ck_assert_uint_ge(clients[i].errors, 1);
        ck_assert_uint_eq(clients[i].overs, 1);
        loop_postgres_close(&clients[i].pg);
    }
    finish();
}
END_TEST

static void ended_and_closed(struct loop_postgres *pg, int error)
{
    ended(pg, error);
    loop_postgres_close(pg);
}

/* Goal: the end of the loop ends connections in any state; they are closed inside, or later. */
START_TEST(end_of_the_loop)
{
    static const struct loop_postgres_callbacks closing = {connected, result_came, copy_out, noticed, ended_and_closed};
    struct client                               fresh, busy, idle = {.pg.data = &idle};

    NEEDS_SERVER();
    ck_assert_int_eq(loop_postgres_connect(loop, &idle.pg, conninfo, &closing), 0);
    run_until(loop, idle.connects == 1);
    connect_client(&busy);
    query(&busy, "select pg_sleep(100)");
    open_client(&fresh);
    test_loop_drop(loop);
    ck_assert_uint_eq(idle.ends, 1);
    ck_assert_int_eq(idle.end_error, -ECANCELED);
    ck_assert_ptr_null(idle.pg.connection);
    ck_assert_uint_eq(busy.ends, 1);
    ck_assert_uint_eq(fresh.connects, 1);
    ck_assert_int_eq(fresh.connect_error, -ECANCELED);
    loop_postgres_close(&busy.pg);
    loop_postgres_close(&fresh.pg);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("postgres");
    TCase *all = test_case(suite, "postgres");

    tcase_add_unchecked_fixture(all, server_setup, server_teardown);
    tcase_add_test(all, in_parallel);
    tcase_add_test(all, results);
    tcase_add_test(all, large_query);
    tcase_add_test(all, notifications);
    tcase_add_test(all, copy);
    tcase_add_test(all, pipeline);
    tcase_add_test(all, closed_inside);
    tcase_add_test(all, not_connected);
    tcase_add_test(all, ended_by_the_server);
    tcase_add_test(all, end_of_the_loop);
    tcase_add_test(all, server_killed); /* the last: nobody starts it again */
    return suite;
}
