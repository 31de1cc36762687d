/* tests/net/forked_test.c: listeners, streams, datagram sockets and look-ups in a child of fork(2), and on another
 * thread.
 *
 * A child says by its exit status whether all was well. */
#include "tests/net/name_server.h"
#include "tests/net/net_test.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <ringloop/forward.h>
#include <ringloop/fork.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

static struct loop *loop;

static void setup(void)
{
    loop = test_loop_new(&(struct loop_options){.sq_entries = 64});
}

static void teardown(void)
{
    test_loop_free(loop);
}

#define turn_until(condition)                                                                                          \
    do {                                                                                                               \
        for (int turn_ = 0; turn_ < 20000 && !(condition); turn_++) {                                                  \
            (void)loop_run(loop, LOOP_RUN_NOWAIT);                                                                     \
            usleep(100);                                                                                               \
        }                                                                                                              \
        TEST_TRUE_IN_CHILD(condition);                                                                                 \
    } while (0)

/* ---- prefork */

struct client {
    struct loop_stream stream;
};

static void client_closed(struct loop_stream *stream)
{
    free(stream->data);
}

static void client_read(struct loop_stream *stream, const struct loop_result *result)
{
    if (result->res <= 0 || loop_stream_write(stream, result->data, (size_t)result->res, NULL, NULL,
                                              &(struct loop_write_terms){.release = result->buffer}) < 0)
        loop_stream_close(stream, client_closed);
}

static unsigned char who;

static void client_came(struct loop_listener *listener, int fd)
{
    struct client *client;

    TEST_TRUE_IN_CHILD(fd >= 0);
    client = calloc(1, sizeof(*client));
    TEST_TRUE_IN_CHILD(client != NULL);
    client->stream.data = client;
    TEST_TRUE_IN_CHILD(loop_stream_open(loop_listener_loop(listener), &client->stream, fd,
                                        &(struct loop_stream_options){.listener = listener}) == 0);
    TEST_TRUE_IN_CHILD(loop_stream_write(&client->stream, &who, 1, NULL, NULL, NULL) == 0);
    TEST_TRUE_IN_CHILD(loop_stream_read_start(&client->stream, client_read) == 0);
}

enum { SERVERS = 3, CLIENTS = 60 };

/* The ring of a child that was killed is taken down some ms later, and until then may take the one wake-up that a new
 * connection gives: the next connection wakes another. */
static int dial_patiently(const struct loop_address *address)
{
    int           fd = net_dial(address);
    struct pollfd pollfd = {.fd = fd, .events = POLLIN};

    for (int tries = 0; tries < 50 && poll(&pollfd, 1, 200) == 0; tries++)
        test_close(net_dial(address));
    return fd;
}

static void echo_once(const struct loop_address *address, bool *ret_seen)
{
    char          text[6] = {0};
    unsigned char by = 0;
    int           fd = dial_patiently(address);

    test_read(fd, &by, 1);
    ck_assert_int_ge(by, 1);
    ck_assert_int_le(by, SERVERS);
    ret_seen[by] = true;
    test_write(fd, "hello", 5);
    test_read(fd, text, 5);
    ck_assert_str_eq(text, "hello");
    test_close(fd);
}

/* Goal: a server whose children serve the parent's listener: all connections are served, by children only, and a child
 * that ends does not take the socket's file with it. */
START_TEST(prefork)
{
    struct loop_listener         listener = {0};
    struct loop_listener_options options = {.flags = LOOP_LISTENER_UNLINK};
    struct loop_address          address;
    bool                         seen[SERVERS + 1] = {false};
    char                         path[] = "/tmp/ringloop-fork.XXXXXX", text[64];
    pid_t                        pids[SERVERS];
    struct stat                  stat_;

    if (_i == NET_UNIX) {
        ck_assert_ptr_nonnull(mkdtemp(path));
        snprintf(text, sizeof(text), "unix:%s/socket", path);
        address = net_parse(text, 0);
    } else {
        address = net_address(_i);
        options.flags = 0;
    }
    ck_assert_int_eq(loop_listener_start(loop, &listener, &address, &options, client_came), 0);
    ck_assert_int_eq(loop_listener_address(&listener, &address), 0);
    test_turns(loop, 2);
    for (int i = 0; i < SERVERS; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            alarm(20);
            who = (unsigned char)(i + 1);
            TEST_TRUE_IN_CHILD(loop_fork(loop) == 0);
            (void)loop_run(loop, LOOP_RUN_DEFAULT);
            _exit(0);
        }
    }
    ck_assert_int_eq(loop_listener_pause(&listener), 0); /* the parent only watches */
    test_turns(loop, 4);
    for (int i = 0; i < CLIENTS; i++)
        echo_once(&address, seen);
    kill(pids[0], SIGKILL);
    (void)waitpid(pids[0], NULL, 0);
    for (int i = 0; i < CLIENTS; i++)
        echo_once(&address, seen);
    if (_i == NET_UNIX)
        ck_assert_int_eq(stat(text + 5, &stat_), 0);
    for (int i = 1; i < SERVERS; i++) {
        kill(pids[i], SIGKILL);
        (void)waitpid(pids[i], NULL, 0);
    }
    loop_listener_close(&listener, NULL);
    test_run(loop);
    if (_i == NET_UNIX) {
        ck_assert_int_ne(stat(text + 5, &stat_), 0);
        ck_assert_int_eq(rmdir(path), 0);
    }
}
END_TEST

static void close_in_child(void *arg)
{
    TEST_TRUE_IN_CHILD(loop_fork(loop) == 0);
    loop_listener_close(arg, NULL);
    TEST_TRUE_IN_CHILD(loop_run(loop, LOOP_RUN_DEFAULT) == 0);
    TEST_TRUE_IN_CHILD(loop_destroy(loop) == 0);
    TEST_TRUE_IN_CHILD(test_memory.blocks == 0);
}

/* Goal: a listener closed by a child goes on in the parent, and its file stays. */
START_TEST(listener_closed_by_child)
{
    struct loop_listener listener = {0};
    struct loop_address  address;
    char                 path[] = "/tmp/ringloop-fork.XXXXXX", text[64];
    int                  fd;
    unsigned char        by = 0;

    ck_assert_ptr_nonnull(mkdtemp(path));
    snprintf(text, sizeof(text), "unix:%s/socket", path);
    address = net_parse(text, 0);
    who = 9;
    ck_assert_int_eq(loop_listener_start(loop, &listener, &address,
                                         &(struct loop_listener_options){.flags = LOOP_LISTENER_UNLINK}, client_came),
                     0);
    test_turns(loop, 2);
    test_in_child(close_in_child, &listener);
    fd = net_dial(&address);
    test_turns(loop, 4);
    test_read(fd, &by, 1);
    ck_assert_int_eq(by, 9);
    test_close(fd);
    test_turns(loop, 4);
    loop_listener_close(&listener, NULL);
    test_run(loop);
    ck_assert_int_eq(rmdir(path), 0);
}
END_TEST

/* ---- streams */

static uint32_t written, write_bytes;
static int      write_error;

static void written_cb(struct loop_stream *stream, int error, size_t bytes, void *arg)
{
    (void)stream;
    (void)arg;
    written++;
    write_error = error;
    write_bytes += (uint32_t)bytes;
}

static void streams_in_child(void *arg)
{
    struct link *link = arg;

    TEST_TRUE_IN_CHILD(loop_fork(loop) == 0);
    TEST_TRUE_IN_CHILD(written == 0);
    turn_until(written == 3);
    TEST_TRUE_IN_CHILD(write_error == -EOWNERDEAD);
    TEST_TRUE_IN_CHILD(loop_stream_write(&link->end.stream, "x", 1, NULL, NULL, NULL) == -EPIPE);
    TEST_TRUE_IN_CHILD(write(link->peer.fd, "child", 5) == 5);
    turn_until(link->end.read_bytes == 5); /* the parent does not run just now */
    loop_stream_close(&link->end.stream, end_close_cb);
    turn_until(link->end.closes == 1);
    TEST_TRUE_IN_CHILD(loop_destroy(loop) == 0);
    TEST_TRUE_IN_CHILD(test_memory.blocks == 0);
}

static void count_read(struct loop_stream *stream, const struct loop_result *result)
{
    if (result->res > 0)
        end_of(stream)->read_bytes += (uint64_t)result->res;
}

/* Goal: what was queued, or on its way, is sent by the parent alone, and the child may read. Method: more than the
 * socket takes is written, and something behind it. */
START_TEST(streams)
{
    static char big[1 << 20], received[65536];
    struct link link;
    uint64_t    total = 0;

    link_open(loop, &link, _i, 1, NULL);
    net_buffers(link.peer.fd, 65536);
    net_buffers(loop_stream_fd(&link.end.stream), 65536);
    written = write_bytes = 0;
    for (size_t i = 0; i < sizeof(big); i++)
        big[i] = (char)(i * 7);
    ck_assert_int_eq(loop_stream_read_start(&link.end.stream, count_read), 0);
    must_write(&link.end, big, sizeof(big), written_cb, NULL, NULL);
    must_write(&link.end, big, sizeof(big), written_cb, NULL, NULL);
    test_turns(loop, 3);
    must_write(&link.end, "end", 3, written_cb, NULL, NULL); /* not sent yet */
    test_in_child(streams_in_child, &link);
    while (total < 2 * sizeof(big) + 3) {
        size_t  place = (size_t)(total % sizeof(big)), room = sizeof(big) - place;
        ssize_t n = recv(link.peer.fd, received, room < sizeof(received) ? room : sizeof(received), MSG_DONTWAIT);

        test_turns(loop, 1);
        if (n > 0)
            ck_assert_mem_eq(received, total < 2 * sizeof(big) ? big + place : "end", (size_t)n);
        total += n > 0 ? (uint64_t)n : 0;
    }
    run_until(loop, written == 3);
    ck_assert_int_eq(write_error, 0);
    ck_assert_uint_eq(write_bytes, 2 * sizeof(big) + 3);
    ck_assert_uint_eq(link.end.read_bytes, 0);
    link_close(loop, &link);
}
END_TEST

/* ---- requests, forwarding */

static struct {
    uint32_t count;
    int      error;
    size_t   bytes;
} request;

static void request_cb(struct loop_stream *stream, int error, size_t bytes, void *arg)
{
    (void)stream;
    (void)arg;
    request.count++;
    request.error = error;
    request.bytes = bytes;
}

static void request_in_child(void *arg)
{
    struct link *link = arg;

    TEST_TRUE_IN_CHILD(loop_fork(loop) == 0);
    TEST_TRUE_IN_CHILD(write(link->peer.fd, "23456789", 8) == 8);
    turn_until(request.count == 1);
    TEST_TRUE_IN_CHILD(request.error == 0 && request.bytes == 10);
}

/* Goal: a request that waits goes on in the child with what it has. */
START_TEST(requests)
{
    static char data[10];
    struct link link;

    memset(&request, 0, sizeof(request));
    link_open(loop, &link, _i, 2, NULL);
    ck_assert_int_eq(loop_stream_read_exactly(&link.end.stream, data, 10, request_cb, NULL, NULL), 0);
    test_write(link.peer.fd, "01", 2);
    test_turns(loop, 4);
    test_in_child(request_in_child, &link);
    ck_assert_uint_eq(request.count, 0);
    test_write(link.peer.fd, "23456789", 8);
    run_until(loop, request.count == 1);
    ck_assert_mem_eq(data, "0123456789", 10);
    link_close(loop, &link);
}
END_TEST

static uint32_t forwarded;
static int      forward_error;

static void forward_cb(struct loop_stream *from, struct loop_stream *to, int error, uint64_t bytes, void *arg)
{
    (void)from;
    (void)to;
    (void)bytes;
    (void)arg;
    forwarded++;
    forward_error = error;
}

static void forward_in_child(void *arg)
{
    (void)arg;
    TEST_TRUE_IN_CHILD(loop_fork(loop) == 0);
    turn_until(forwarded == 1);
    TEST_TRUE_IN_CHILD(forward_error == -EOWNERDEAD);
}

/* Goal: a forwarding is the parent's, also while it splices, with bytes in a pipe. Method: much data, a slow reader, a
 * child at several moments; then all has come through. */
START_TEST(forwarding)
{
    static char bytes[65536];
    struct link a, b;
    uint64_t    sent = 0, received = 0;
    bool        over = false;

    forwarded = 0;
    link_open(loop, &a, NET_TCP4, 3, NULL);
    link_open(loop, &b, NET_TCP4, 4, NULL);
    ck_assert_int_eq(loop_stream_forward(&a.end.stream, &b.end.stream, NULL, forward_cb, NULL), 0);
    for (int round = 0; !over; round++) {
        ssize_t n = sent < 8000000 ? send(a.peer.fd, bytes, sizeof(bytes), MSG_DONTWAIT) : 0;

        sent += n > 0 ? (uint64_t)n : 0;
        if (sent >= 8000000)
            (void)shutdown(a.peer.fd, SHUT_WR);
        test_turns(loop, 1);
        if (round % 50 == 20 && round < 400 && forwarded == 0)
            test_in_child(forward_in_child, NULL);
        while (round > 100 && (n = recv(b.peer.fd, bytes, sizeof(bytes), MSG_DONTWAIT)) >= 0) {
            received += (uint64_t)n;
            if (n == 0) {
                over = true;
                break;
            }
        }
        ck_assert_int_lt(round, 1000000);
    }
    ck_assert_uint_eq(received, sent);
    run_until(loop, forwarded == 1);
    ck_assert_int_eq(forward_error, 0);
    link_close(loop, &a);
    link_close(loop, &b);
}
END_TEST

/* ---- datagrams */

static uint32_t datagrams;

static void datagram_cb(struct loop_datagram *datagram, const struct loop_datagram_message *message)
{
    (void)datagram;
    datagrams += message->error == 0;
}

static int      sent_result;
static uint32_t sent_count;

static void datagram_sent(struct loop_datagram *datagram, int result, void *arg)
{
    (void)datagram;
    (void)arg;
    sent_result = result;
    sent_count++;
}

static void datagram_in_child(void *arg)
{
    struct loop_datagram *datagram = arg;
    struct loop_address   address;

    TEST_TRUE_IN_CHILD(loop_fork(loop) == 0);
    turn_until(sent_count == 1);
    TEST_TRUE_IN_CHILD(sent_result == -EOWNERDEAD);
    TEST_TRUE_IN_CHILD(datagrams == 0);
    TEST_TRUE_IN_CHILD(loop_datagram_local_address(datagram, &address) == 0);
    TEST_TRUE_IN_CHILD(loop_datagram_send(datagram, "me", 2, &address, datagram_sent, NULL, NULL) == 0);
    turn_until(datagrams == 1);
    TEST_TRUE_IN_CHILD(sent_result == 2);
}

/* Goal: a datagram that was queued is sent by the parent alone; the child receives and sends by itself. */
START_TEST(datagram_sockets)
{
    struct loop_datagram datagram = {0};
    struct loop_address  address = net_parse("127.0.0.1", 0);

    datagrams = sent_count = 0;
    ck_assert_int_eq(loop_datagram_open(loop, &datagram, &address, NULL), 0);
    ck_assert_int_eq(loop_datagram_local_address(&datagram, &address), 0);
    ck_assert_int_eq(loop_datagram_receive_start(&datagram, datagram_cb), 0);
    test_turns(loop, 2);
    ck_assert_int_eq(loop_datagram_send(&datagram, "one", 3, &address, datagram_sent, NULL, NULL), 0);
    test_in_child(datagram_in_child, &datagram);
    run_until(loop, datagrams == 1 && sent_count == 1);
    ck_assert_int_eq(sent_result, 3);
    loop_datagram_close(&datagram, NULL);
    test_run(loop);
}
END_TEST

/* ---- names */

static uint32_t resolved;
static int      resolve_error;

static void resolved_cb(struct loop_resolve *of, int error, const struct loop_address *addresses, size_t count)
{
    (void)of;
    (void)addresses;
    (void)count;
    resolved++;
    resolve_error = error;
}

struct names {
    struct name_server  server;
    struct loop_resolve held, next;
};

static void names_in_child(void *arg)
{
    struct names *names = arg;

    TEST_TRUE_IN_CHILD(loop_fork(loop) == 0);
    turn_until(resolved == 1);
    TEST_TRUE_IN_CHILD(resolve_error == -EOWNERDEAD);
    TEST_TRUE_IN_CHILD(loop_resolve_start(loop, &names->next, "both.test", NULL,
                                          &(struct loop_resolve_options){.servers = names->server.servers},
                                          resolved_cb) == 0);
    turn_until(resolved == 2);
    TEST_TRUE_IN_CHILD(resolve_error == 0);
    TEST_TRUE_IN_CHILD(loop_destroy(loop) == 0);
    TEST_TRUE_IN_CHILD(test_memory.blocks == 0);
}

/* Goal: a look-up under way is the parent's, and the child looks up by sockets of its own. */
START_TEST(look_ups)
{
    static struct names names;

    if (strcmp(loop_resolve_backend(), "system") == 0) {
        test_skip("no c-ares");
        return;
    }
    memset(&names, 0, sizeof(names));
    resolved = 0;
    name_server_open(&names.server, 0);
    ck_assert_int_eq(loop_resolve_start(loop, &names.held, "held.test", NULL,
                                        &(struct loop_resolve_options){.servers = names.server.servers}, resolved_cb),
                     0);
    pump_until(loop, names.server.held_count >= 1);
    test_in_child(names_in_child, &names);
    name_server_let(&names.server);
    run_until(loop, resolved == 1);
    ck_assert_int_eq(resolve_error, 0);
    name_server_close(&names.server);
}
END_TEST

/* ---- other threads */

struct echo_client {
    struct loop_address address;
    pthread_t           thread;
    _Atomic bool        over;
    _Atomic uint32_t    rounds;
};

static void *echo_always(void *arg)
{
    struct echo_client *client = arg;
    char                out[1000], in[1000];
    unsigned char       by;
    int                 fd = net_dial(&client->address);

    if (recv(fd, &by, 1, MSG_WAITALL) != 1)
        abort();
    for (uint32_t i = 0; !client->over; i++) {
        memset(out, (int)(i & 0xff), sizeof(out));
        if (send(fd, out, sizeof(out), MSG_NOSIGNAL) != sizeof(out) ||
            recv(fd, in, sizeof(in), MSG_WAITALL) != sizeof(in) || memcmp(in, out, sizeof(in)) != 0)
            abort();
        client->rounds++;
    }
    close(fd);
    return NULL;
}

static void *serve_for_a_while(void *arg)
{
    for (int i = 0; i < 200; i++)
        (void)loop_run(loop, LOOP_RUN_NOWAIT);
    if (arg != NULL && loop_disown(loop) != 0)
        abort();
    return NULL;
}

enum { ECHO_CLIENTS = 4, MOVES = 30 };

/* Goal: a server goes from thread to thread under load, without its clients noticing. */
START_TEST(server_moves)
{
    struct echo_client   clients[ECHO_CLIENTS] = {0};
    struct loop_listener listener = {0};
    struct loop_address  address = net_address(_i);
    uint32_t             rounds = 0;

    who = 1;
    ck_assert_int_eq(loop_listener_start(loop, &listener, &address, NULL, client_came), 0);
    ck_assert_int_eq(loop_listener_address(&listener, &address), 0);
    for (int i = 0; i < ECHO_CLIENTS; i++) {
        clients[i].address = address;
        ck_assert_int_eq(pthread_create(&clients[i].thread, NULL, echo_always, &clients[i]), 0);
    }
    for (int i = 0; i < MOVES; i++) {
        pthread_t thread;

        ck_assert_int_eq(pthread_create(&thread, NULL, serve_for_a_while, loop), 0);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
    }
    for (int i = 0; i < ECHO_CLIENTS; i++)
        clients[i].over = true;
    loop_listener_close(&listener, NULL);
    test_run(loop); /* until all connections have ended */
    for (int i = 0; i < ECHO_CLIENTS; i++) {
        ck_assert_int_eq(pthread_join(clients[i].thread, NULL), 0);
        rounds += clients[i].rounds;
    }
    ck_assert_uint_gt(rounds, 0);
}
END_TEST

/* Goal: a connection that is being made when the loop is given up is made all the same. Method: a listener whose
 * backlog is full, and takes connections later. */
START_TEST(connecting)
{
    struct loop_address address;
    int                 listener = net_listen(NET_TCP4, 0, &address), fillers[4], error, accepted[8], count = 0;
    struct end          end = {0};

    for (int i = 0; i < 4; i++)
        fillers[i] = net_dial_start(&address, &error);
    end_connect(loop, &end, &address, NULL);
    test_turns(loop, 3);
    ck_assert_int_eq(loop_disown(loop), 0);
    test_turns(loop, 3);
    ck_assert_uint_eq(end.connects, 0);
    ck_assert_int_eq(fcntl(listener, F_SETFL, O_NONBLOCK), 0);
    for (uint64_t until = test_clock() + 15 * LOOP_SECOND; end.connects == 0 && test_clock() < until;) {
        int fd = count < 8 ? accept(listener, NULL, NULL) : -1;

        if (fd >= 0)
            accepted[count++] = fd;
        test_turns(loop, 1);
        test_sleep(LOOP_MILLISECOND);
    }
    ck_assert_uint_eq(end.connects, 1);
    ck_assert_int_eq(end.connect_error, 0);
    end_close(&end);
    run_until(loop, end.closes == 1);
    while (count > 0)
        test_close(accepted[--count]);
    for (int i = 0; i < 4; i++)
        test_close(fillers[i]);
    test_close(listener);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("forked");
    TCase *tc = test_case(suite, "forked");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, prefork, 0, net_kinds());
    tcase_add_test(tc, listener_closed_by_child);
    tcase_add_loop_test(tc, streams, 0, net_kinds());
    tcase_add_loop_test(tc, requests, 0, net_kinds());
    tcase_add_test(tc, forwarding);
    tcase_add_test(tc, datagram_sockets);
    tcase_add_test(tc, look_ups);
    tcase_add_loop_test(tc, server_moves, 0, net_kinds());
    tcase_add_test(tc, connecting);
    return suite;
}
