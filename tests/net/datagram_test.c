/* tests/net/datagram_test.c: datagram sockets: opening, connecting, there and back, closing. */
#include "tests/net/datagram_port.h"

#include <netinet/udp.h>
#include <sched.h>

static struct port server, client; /* each test has a process of its own */
static const char *texts[] = {"one", "two", "three", "four", "five"};

static void open_two(struct loop *loop, int kind, const struct loop_datagram_options *options)
{
    port_open(loop, &server, kind, options);
    port_open(loop, &client, kind, NULL);
    port_receive(&server);
    port_receive(&client);
}

static void close_two(struct loop *loop)
{
    port_close(&server);
    port_close(&client);
    run_until(loop, server.closes == 1 && client.closes == 1);
}

static void send_texts(struct port *port, const struct loop_address *to, uint32_t first, uint32_t count)
{
    for (uint32_t i = first; i < first + count; i++)
        port_send(port, texts[i], strlen(texts[i]), to);
}

static void texts_are(const struct port *port, uint32_t from, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        ck_assert_uint_eq(port->log[from + i].size, strlen(texts[i]));
        ck_assert_int_eq(memcmp(port->log[from + i].data, texts[i], strlen(texts[i])), 0);
    }
}

static void answer(struct port *port, const struct loop_datagram_message *message)
{
    const struct loop_datagram_terms terms = {.release = message->buffer};

    port_send_with(port, message->data, message->size, &message->source, NULL, &terms);
}

/* Goal: datagrams go there and back, with their sender's address and true results. Method: a client sends to a server
 * that answers each from its buffer, given away. */
START_TEST(there_and_back)
{
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address to, from;

    open_two(loop, _i, NULL);
    to = port_address(&server);
    from = port_address(&client);
    server.on_message = answer;
    send_texts(&client, &to, 0, 3);
    ck_assert_uint_eq(loop_datagram_queued(&client.datagram), 3);
    ck_assert_uint_eq(loop_datagram_queued_bytes(&client.datagram), 11);
    run_until(loop, client.messages == 3 && client.sends_done == 3 && server.sends_done == 3);
    texts_are(&server, 0, 3);
    texts_are(&client, 0, 3);
    for (int i = 0; i < 3; i++) {
        ck_assert(address_same(&server.log[i].source, &from));
        ck_assert(address_same(&client.log[i].source, &to));
        ck_assert_uint_eq(server.log[i].flags, 0);
        ck_assert_int_eq(server.log[i].ttl, -1);
        ck_assert_int_eq(server.log[i].traffic_class, -1);
        ck_assert_uint_eq(server.log[i].local.size, 0);
    }
    ck_assert_uint_eq(client.sent_bytes, 11);
    ck_assert_uint_eq(client.sends_failed + server.sends_failed, 0);
    ck_assert_uint_eq(loop_datagram_queued(&client.datagram), 0);
    ck_assert_uint_eq(loop_datagram_queued_bytes(&client.datagram), 0);
    close_two(loop);
    test_loop_free(loop);
}
END_TEST

/* Goal: an empty datagram is a datagram. Method: empty ones between others, sent by us and by a plain socket. */
START_TEST(empty_ones)
{
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address to;
    int                 fd = plain_open(_i, NULL);

    open_two(loop, _i, NULL);
    to = port_address(&server);
    port_send(&client, NULL, 0, &to);
    port_send(&client, "x", 1, &to);
    port_send(&client, NULL, 0, &to);
    run_until(loop, server.messages == 3);
    plain_send(fd, NULL, 0, &to);
    plain_send(fd, "y", 1, &to);
    run_until(loop, server.messages == 5);
    for (int i = 0; i < 5; i++)
        ck_assert_uint_eq(server.log[i].size, i == 1 || i == 4 ? 1 : 0);
    ck_assert_uint_gt(server.log[3].source.size, 0);
    close_two(loop);
    test_close(fd);
    test_loop_free(loop);
}
END_TEST

/* Goal: a unix sender without a name is told as such, also with an empty datagram. Method: an unbound socket. */
START_TEST(nameless_sender)
{
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address to;
    int                 fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    port_open(loop, &server, PORT_UNIX, NULL);
    port_receive(&server);
    to = port_address(&server);
    plain_send(fd, "x", 1, &to);
    plain_send(fd, NULL, 0, &to);
    plain_send(fd, "y", 1, &to);
    run_until(loop, server.messages == 3);
    ck_assert_uint_eq(server.log[0].source.size, 0);
    ck_assert_uint_eq(server.log[1].size, 0);
    ck_assert_int_eq(server.log[2].data[0], 'y');
    port_close(&server);
    run_until(loop, server.closes == 1);
    test_close(fd);
    test_loop_free(loop);
}
END_TEST

/* Goal: bad options and broken lifetimes are answered, and leave no socket behind. Method: each of them. */
START_TEST(refusals)
{
    static const struct loop_datagram_options bad[] = {
        {.flags = 1u << 31},
        {.flags = LOOP_DATAGRAM_V6ONLY},
        {.family = AF_PACKET},
        {.group = LOOP_GROUPS_OWN},
        {.receive_size = UINT32_MAX},
        {.receive_buffer_bytes = UINT32_MAX},
        {.send_buffer_bytes = UINT32_MAX},
        {.family = AF_UNIX, .flags = LOOP_DATAGRAM_PKTINFO},
        {.family = AF_UNIX, .flags = LOOP_DATAGRAM_ERRORS},
    };
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address address = {0}, other;

    for (size_t i = 0; i < TEST_COUNT(bad); i++)
        ck_assert_int_eq(loop_datagram_open(loop, &server.datagram, NULL, &bad[i]), -EINVAL);
    ck_assert_int_eq(loop_datagram_open(loop, &server.datagram, &address, NULL), -EINVAL);
    address = net_parse("192.0.2.1", 0);
    ck_assert_int_eq(loop_datagram_open(loop, &server.datagram, &address, NULL), -EADDRNOTAVAIL);
    ck_assert_int_eq(loop_datagram_receive_start(&server.datagram, port_receive_cb), -EINVAL);
    ck_assert_int_eq(loop_datagram_receive_stop(&server.datagram), -EINVAL);
    ck_assert_int_eq(loop_datagram_send(&server.datagram, "x", 1, &address, NULL, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_datagram_try_send(&server.datagram, "x", 1, &address), -EINVAL);
    ck_assert_int_eq(loop_datagram_connect(&server.datagram, NULL), -EINVAL);
    ck_assert_int_eq(loop_datagram_local_address(&server.datagram, &other), -EINVAL);
    ck_assert_int_eq(loop_datagram_peer_address(&server.datagram, &other), -EINVAL);
    ck_assert_int_eq(loop_datagram_fd(&server.datagram), -EBADF);
    ck_assert_ptr_null(loop_datagram_loop(&server.datagram));
    loop_datagram_close(&server.datagram, NULL);

    port_open(loop, &server, PORT_UDP4, NULL);
    ck_assert_ptr_eq(loop_datagram_loop(&server.datagram), loop);
    ck_assert_int_eq(loop_datagram_open(loop, &server.datagram, NULL, NULL), -EBUSY);
    ck_assert_int_eq(loop_datagram_receive_start(&server.datagram, NULL), -EINVAL);
    address = port_address(&server);
    ck_assert_int_eq(loop_datagram_open(loop, &client.datagram, &address, NULL), -EADDRINUSE);
    ck_assert_int_eq(loop_datagram_peer_address(&server.datagram, &other), -ENOTCONN);
    port_close(&server);
    ck_assert(loop_datagram_closing(&server.datagram));
    ck_assert_int_eq(loop_datagram_open(loop, &server.datagram, NULL, NULL), -EBUSY);
    ck_assert_int_eq(loop_datagram_receive_start(&server.datagram, port_receive_cb), -EINVAL);
    ck_assert_int_eq(loop_datagram_send(&server.datagram, "x", 1, &address, NULL, NULL, NULL), -EINVAL);
    port_close(&server);
    run_until(loop, server.closes == 1);
    test_loop_free(loop);
}
END_TEST

/* Goal: a group that makes no sense is found out when receiving starts. Method: one that does not exist. */
START_TEST(no_such_group)
{
    struct loop *loop = test_loop_new(NULL);

    port_open(loop, &server, PORT_UDP4, &(const struct loop_datagram_options){.group = 60});
    ck_assert_int_eq(loop_datagram_receive_start(&server.datagram, port_receive_cb), -EINVAL);
    port_close(&server);
    run_until(loop, server.closes == 1);
    test_loop_free(loop);
}
END_TEST

static void reopen(struct loop_datagram *datagram)
{
    port_close_cb(datagram);
    if (port_of(datagram)->closes < 3)
        ck_assert_int_eq(loop_datagram_open(port_of(datagram)->arg, datagram, NULL,
                                            &(const struct loop_datagram_options){.on_close = reopen}),
                         0);
}

/* Goal: the memory may be opened anew inside the close callback, and the loop's end closes it. Method: so. */
START_TEST(open_anew)
{
    struct loop *loop = test_loop_new(NULL);

    server.arg = loop;
    port_open(loop, &server, _i, NULL);
    port_receive(&server);
    loop_datagram_close(&server.datagram, reopen);
    run_until(loop, server.closes == 1);
    ck_assert_int_ge(loop_datagram_fd(&server.datagram), 0);
    port_receive(&server);
    loop_datagram_close(&server.datagram, NULL);
    run_until(loop, server.closes == 2);
    ck_assert_int_eq(loop_destroy(loop), 0);
    ck_assert_uint_eq(server.closes, 3);
}
END_TEST

/* Goal: a connected socket sends without an address, hears its peer only, and can be let go of. Method: a peer and a
 * stranger send; then it is connected to the stranger, then to nobody. */
START_TEST(connecting)
{
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address peer, stranger, own, told;
    char                data[16];
    int                 peer_fd = plain_open(_i, &peer), stranger_fd = plain_open(_i, &stranger);

    port_open(loop, &client, _i, NULL);
    own = port_address(&client);
    ck_assert_int_eq(loop_datagram_connect(&client.datagram, &(struct loop_address){0}), -EINVAL);
    ck_assert_int_eq(loop_datagram_connect(&client.datagram, &peer), 0);
    ck_assert_int_eq(loop_datagram_peer_address(&client.datagram, &told), 0);
    ck_assert(address_same(&told, &peer));
    port_receive(&client);
    (void)sendto(stranger_fd, "no", 2, 0, (const struct sockaddr *)&own.storage, own.size);
    plain_send(peer_fd, "yes", 3, &own);
    port_send(&client, "a", 1, NULL);
    run_until(loop, client.messages == 1 && client.sends_done == 1);
    ck_assert_int_eq(memcmp(client.log[0].data, "yes", 3), 0);
    ck_assert_uint_eq(plain_receive(peer_fd, data, sizeof(data), NULL), 1);

    port_send(&client, "b", 1, NULL); /* queued, but started before: it goes to the first */
    ck_assert_int_eq(loop_datagram_connect(&client.datagram, &stranger), 0);
    port_send(&client, "c", 1, NULL);
    run_until(loop, client.sends_done == 3);
    ck_assert_uint_eq(plain_receive(peer_fd, data, sizeof(data), NULL), 1);
    ck_assert_int_eq(data[0], 'b');
    ck_assert_uint_eq(plain_receive(stranger_fd, data, sizeof(data), NULL), 1);
    ck_assert_int_eq(data[0], 'c');

    ck_assert_int_eq(loop_datagram_connect(&client.datagram, NULL), 0);
    ck_assert_int_eq(loop_datagram_peer_address(&client.datagram, &told), -ENOTCONN);
    port_send(&client, "d", 1, NULL);
    port_send(&client, "e", 1, &peer);
    run_until(loop, client.sends_done == 5);
    ck_assert_uint_eq(client.sends_failed, 1);
    ck_assert_int_eq(client.send_error, _i == PORT_UNIX ? -ENOTCONN : -EDESTADDRREQ);
    ck_assert_uint_eq(plain_receive(peer_fd, data, sizeof(data), NULL), 1);
    ck_assert_int_eq(data[0], 'e');
    port_close(&client);
    run_until(loop, client.closes == 1);
    test_close(peer_fd);
    test_close(stranger_fd);
    test_loop_free(loop);
}
END_TEST

/* Goal: a socket that was not bound gets its port with the first send. Method: look at its address before and after;
 * the answer arrives, although receiving was started before. */
START_TEST(bound_late)
{
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address to, own;

    port_open(loop, &server, _i, NULL);
    port_receive(&server);
    server.on_message = answer;
    to = port_address(&server);
    ck_assert_int_eq(loop_datagram_open(loop, &client.datagram, NULL,
                                        &(const struct loop_datagram_options){.family = to.storage.ss_family,
                                                                              .on_close = port_close_cb}),
                     0);
    port_receive(&client);
    settle(loop);
    own = port_address(&client);
    ck_assert_uint_eq(loop_address_port(&own), 0);
    port_send(&client, "x", 1, &to);
    run_until(loop, client.messages == 1);
    own = port_address(&client);
    ck_assert_uint_ne(loop_address_port(&own), 0);
    close_two(loop);
    test_loop_free(loop);
}
END_TEST

/* Goal: descriptors are adopted as they are. Method: a bound, a connected one; then others that are refused. */
START_TEST(adopting)
{
    struct loop                       *loop = test_loop_new(NULL);
    struct loop_address                peer, own;
    char                               data[8];
    int                                pair[2], peer_fd = plain_open(_i, &peer), fd = plain_open(_i, &own);
    const struct loop_datagram_options options = {.on_close = port_close_cb};

    ck_assert_int_eq(connect(fd, (const struct sockaddr *)&peer.storage, peer.size), 0);
    ck_assert_int_eq(CALL(loop_datagram_adopt(loop, &client.datagram, fd, &options)), 0);
    ck_assert_int_eq(loop_datagram_fd(&client.datagram), fd);
    ck_assert_int_eq(loop_datagram_adopt(loop, &client.datagram, peer_fd, &options), -EBUSY);
    port_receive(&client);
    port_send(&client, "x", 1, NULL);
    plain_send(peer_fd, "y", 1, &own);
    run_until(loop, client.messages == 1 && client.sends_done == 1);
    ck_assert_uint_eq(plain_receive(peer_fd, data, sizeof(data), NULL), 1);
    port_close(&client);
    run_until(loop, client.closes == 1);

    test_socketpair(pair);
    ck_assert_int_eq(loop_datagram_adopt(loop, &client.datagram, pair[0], NULL), -EINVAL);
    test_close(pair[0]);
    test_close(pair[1]);
    test_pipe(pair);
    ck_assert_int_eq(loop_datagram_adopt(loop, &client.datagram, pair[0], NULL), -ENOTSOCK);
    test_close(pair[0]);
    test_close(pair[1]);
    ck_assert_int_eq(loop_datagram_adopt(loop, &client.datagram, -1, NULL), -EBADF);
    ck_assert_int_eq(loop_datagram_adopt(loop, &client.datagram, 1000000, NULL), -EBADF);
    test_close(peer_fd);
    test_loop_free(loop);
}
END_TEST

/* Goal: a descriptor that has UDP_GRO already is treated as with GRO: one can tell where datagrams end. Method: several
 * that leave as one. */
START_TEST(adopting_gro)
{
    static const struct loop_datagram_options options = {.on_close = port_close_cb, .receive_size = 10000};
    static char                               memory[500];
    struct loop                              *loop = test_loop_new(NULL);
    struct loop_address                       to;
    int                                       fd = plain_open(PORT_UDP4, &to), one = 1;

    ck_assert_int_eq(setsockopt(fd, IPPROTO_UDP, UDP_GRO, &one, sizeof(one)), 0);
    ck_assert_int_eq(CALL(loop_datagram_adopt(loop, &server.datagram, fd, &options)), 0);
    port_receive(&server);
    port_open(loop, &client, PORT_UDP4, NULL);
    for (int i = 0; i < 4; i++)
        port_send(&client, memory, sizeof(memory), &to);
    run_until(loop, server.bytes == 4 * sizeof(memory));
    ck_assert_int_eq(server.log[0].segment_size, sizeof(memory));
    close_two(loop);
    test_loop_free(loop);
}
END_TEST

/* Goal: other protocols than UDP know nothing of merging. Method: echo requests of one turn, by the kernel's own socket
 * for that, in a network of this process's own that allows it; each is answered. */
START_TEST(adopting_ping)
{
    static const struct loop_datagram_options options = {.on_close = port_close_cb};
    struct loop                              *loop;
    struct loop_address                       to = net_parse("127.0.0.1", 0);
    int                                       fd;

    if (unshare(CLONE_NEWNET) != 0 ||
        system("ip link set lo up 2>/dev/null && echo 0 0 2>/dev/null > /proc/sys/net/ipv4/ping_group_range") != 0) {
        test_skip("not root, or no ip(8), or /proc is not to be written");
        return;
    }
    loop = test_loop_new(NULL);
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_ICMP);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(CALL(loop_datagram_adopt(loop, &client.datagram, fd, &options)), 0);
    port_receive(&client);
    for (char i = 0; i < 3; i++)
        port_send(&client, (char[16]){8, [7] = i}, 16, &to);
    run_until(loop, client.sends_done == 3 && client.bytes == 48);
    ck_assert_uint_eq(client.messages, 3);
    port_close(&client);
    run_until(loop, client.closes == 1);
    test_loop_free(loop);
}
END_TEST

static void close_port(struct port *port, const struct loop_datagram_message *message)
{
    (void)message;
    port_send_with(port, "late", 4, &message->source, "late", NULL);
    port_close(port);
    ck_assert_int_eq(loop_datagram_send(&port->datagram, "x", 1, &message->source, port_send_cb, NULL, NULL), -EINVAL);
}

/* Goal: a receive callback may close; its send is told, no message comes any more, the buffer goes home. Method: so,
 * with more datagrams waiting. */
START_TEST(close_in_receive)
{
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address to;

    open_two(loop, _i, NULL);
    to = port_address(&server);
    server.name = "server";
    server.on_message = close_port;
    send_texts(&client, &to, 0, 5);
    run_until(loop, server.closes == 1 && client.sends_done == 5);
    ck_assert_uint_eq(server.messages, 1);
    notes_are("server got one; send late ECANCELED; server closed");
    port_close(&client);
    run_until(loop, client.closes == 1);
    test_loop_free(loop);
}
END_TEST

static void closing_send_cb(struct loop_datagram *datagram, int result, void *arg)
{
    port_send_cb(datagram, result, arg);
    loop_datagram_close(datagram, NULL);
}

/* Goal: a send's callback may close; the others are told in order, those that were sent with their true result. Method:
 * the first of three closes; all were taken by then. */
START_TEST(close_in_send)
{
    static char        *names[] = {"1", "2", "3"};
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address to;

    open_two(loop, _i, NULL);
    to = port_address(&server);
    client.name = "client";
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(loop_datagram_send(&client.datagram, "x", 1, &to, closing_send_cb, names[i], NULL), 0);
    run_until(loop, client.closes == 1 && server.messages == 3);
    notes_are("send 1 ok; send 2 ok; send 3 ok; client closed");
    port_close(&server);
    run_until(loop, server.closes == 1);
    test_loop_free(loop);
}
END_TEST

/* Goal: destroying the loop closes sockets and tells their sends. Method: one with sends not yet handed on. */
START_TEST(destroying)
{
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address to;

    open_two(loop, _i, NULL);
    to = port_address(&server);
    client.name = "client";
    port_send_with(&client, "x", 1, &to, "1", NULL);
    port_send_with(&client, "y", 1, &to, "2", NULL);
    ck_assert_int_eq(loop_destroy(loop), 0);
    notes_are("send 1 ECANCELED; send 2 ECANCELED; client closed");
    ck_assert_uint_eq(server.closes, 1);
}
END_TEST

/* Goal: with UNREF the socket does not keep the loop alive, but what it has to send does. Method: run until nothing
 * keeps the loop, with and without something queued. */
START_TEST(unref)
{
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address to;
    char                data[8];
    int                 fd = plain_open(_i, &to);

    port_open(loop, &client, _i, &(const struct loop_datagram_options){.flags = LOOP_DATAGRAM_UNREF});
    port_receive(&client);
    ck_assert(!loop_alive(loop));
    test_run(loop);
    port_send(&client, "x", 1, &to);
    ck_assert(loop_alive(loop));
    test_run(loop);
    ck_assert_uint_eq(client.sends_done, 1);
    ck_assert_uint_eq(plain_receive(fd, data, sizeof(data), NULL), 1);
    port_send(&client, "y", 1, &to);
    port_close(&client);
    test_run(loop);
    ck_assert_uint_eq(client.closes, 1);
    ck_assert_uint_eq(client.sends_done, 2);
    test_close(fd);
    test_loop_free(loop);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("net/datagram");
    TCase *tcase = test_case(suite, "life");

    tcase_add_test(tcase, refusals);
    tcase_add_test(tcase, no_such_group);
    tcase_add_loop_test(tcase, open_anew, 0, port_kinds());
    tcase_add_loop_test(tcase, connecting, 0, port_kinds());
    tcase_add_test(tcase, nameless_sender);
    tcase_add_loop_test(tcase, adopting, 0, port_kinds());
    tcase_add_test(tcase, adopting_gro);
    tcase_add_test(tcase, adopting_ping);
    tcase_add_loop_test(tcase, destroying, 0, port_kinds());
    tcase_add_loop_test(tcase, unref, 0, port_kinds());
    tcase_add_loop_test(tcase, close_in_receive, 0, port_kinds());
    tcase_add_loop_test(tcase, close_in_send, 0, port_kinds());
    tcase = test_case(suite, "exchange");
    tcase_add_loop_test(tcase, there_and_back, 0, port_kinds());
    tcase_add_loop_test(tcase, empty_ones, 0, port_kinds());
    tcase_add_test(tcase, bound_late); /* UDP over IPv4 */
    return suite;
}
