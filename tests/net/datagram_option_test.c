/* tests/net/datagram_option_test.c: datagram sockets: options, what messages tell besides their data, multicast. */
#include "tests/net/datagram_port.h"

#include <net/if.h>
#include <sched.h>

static struct port client, server; /* each test has a process of its own */

static const uint32_t tell_all = LOOP_DATAGRAM_PKTINFO | LOOP_DATAGRAM_TRAFFIC_CLASS | LOOP_DATAGRAM_TTL;

static void close_both(struct loop *loop)
{
    port_close(&client);
    port_close(&server);
    run_until(loop, client.closes == 1 && server.closes == 1);
}

static void receive_one(struct loop *loop, const struct loop_address *to, const struct loop_datagram_terms *terms)
{
    uint32_t before = server.messages;

    port_send_with(&client, "hello", 5, to, NULL, terms);
    run_until(loop, server.messages == before + 1);
}

static const struct port_message *last(const struct port *port)
{
    return &port->log[port->logged - 1];
}

/* Goal: each option can be set and read, and bad ones are refused. Method: all, on both families; unix sockets have the
 * buffers only. */
START_TEST(set_and_get)
{
    static const struct {
        enum loop_datagram_option option;
        int                       value;
    } good[] = {
        {LOOP_DATAGRAM_OPTION_BROADCAST, 1},
        {LOOP_DATAGRAM_OPTION_BROADCAST, 0},
        {LOOP_DATAGRAM_OPTION_TTL, 1},
        {LOOP_DATAGRAM_OPTION_TTL, 255},
        {LOOP_DATAGRAM_OPTION_TRAFFIC_CLASS, 0x2a},
        {LOOP_DATAGRAM_OPTION_MULTICAST_TTL, 0},
        {LOOP_DATAGRAM_OPTION_MULTICAST_TTL, 255},
        {LOOP_DATAGRAM_OPTION_MULTICAST_LOOP, 0},
        {LOOP_DATAGRAM_OPTION_MULTICAST_LOOP, 1},
        {LOOP_DATAGRAM_OPTION_MULTICAST_INTERFACE, 1},
        {LOOP_DATAGRAM_OPTION_MULTICAST_INTERFACE, 0},
        {LOOP_DATAGRAM_OPTION_MULTICAST_ALL, 0},
        {LOOP_DATAGRAM_OPTION_MTU_DISCOVER, 3},
    };
    static const enum loop_datagram_option buffers[] = {LOOP_DATAGRAM_OPTION_RECEIVE_BUFFER,
                                                        LOOP_DATAGRAM_OPTION_SEND_BUFFER};
    struct loop                           *loop = test_loop_new(NULL);
    int                                    value = 77;

    port_open(loop, &client, _i, NULL);
    for (size_t i = 0; i < TEST_COUNT(good); i++) {
        int r = loop_datagram_option_set(&client.datagram, good[i].option, good[i].value);

        if (_i == PORT_UNIX && good[i].option != LOOP_DATAGRAM_OPTION_BROADCAST) {
            ck_assert_int_eq(r, -EINVAL);
            ck_assert_int_eq(loop_datagram_option_get(&client.datagram, good[i].option, &value), -EINVAL);
            continue;
        }
        ck_assert_int_eq(r, 0);
        if (_i == PORT_UDP4 && good[i].option == LOOP_DATAGRAM_OPTION_MULTICAST_INTERFACE) {
            ck_assert_int_eq(loop_datagram_option_get(&client.datagram, good[i].option, &value), -EOPNOTSUPP);
            continue;
        }
        ck_assert_int_eq(loop_datagram_option_get(&client.datagram, good[i].option, &value), 0);
        ck_assert_int_eq(value, good[i].value);
    }
    for (size_t i = 0; i < TEST_COUNT(buffers); i++) {
        ck_assert_int_eq(loop_datagram_option_set(&client.datagram, buffers[i], 50000), 0);
        ck_assert_int_eq(loop_datagram_option_get(&client.datagram, buffers[i], &value), 0);
        ck_assert_int_eq(value, 100000);
    }
    if (_i != PORT_UNIX) {
        struct loop_address own = port_address(&client);

        ck_assert_int_eq(loop_datagram_option_get(&client.datagram, LOOP_DATAGRAM_OPTION_MTU, &value), -ENOTCONN);
        ck_assert_int_eq(loop_datagram_connect(&client.datagram, &own), 0);
        ck_assert_int_eq(loop_datagram_option_get(&client.datagram, LOOP_DATAGRAM_OPTION_MTU, &value), 0);
        ck_assert_int_ge(value, 65535); /* of lo */
    }
    value = 77;
    ck_assert_int_eq(loop_datagram_option_set(&client.datagram, (enum loop_datagram_option)99, 1), -EINVAL);
    ck_assert_int_eq(loop_datagram_option_get(&client.datagram, (enum loop_datagram_option)99, &value), -EINVAL);
    ck_assert_int_eq(loop_datagram_option_set(&client.datagram, LOOP_DATAGRAM_OPTION_TTL, 256), -EINVAL);
    ck_assert_int_eq(loop_datagram_option_set(&client.datagram, LOOP_DATAGRAM_OPTION_TTL, -5), -EINVAL);
    port_close(&client);
    ck_assert_int_eq(loop_datagram_option_set(&client.datagram, LOOP_DATAGRAM_OPTION_TTL, 1), -EINVAL);
    ck_assert_int_eq(loop_datagram_option_get(&client.datagram, LOOP_DATAGRAM_OPTION_TTL, &value), -EINVAL);
    ck_assert_int_eq(value, 77);
    run_until(loop, client.closes == 1);
    test_loop_free(loop);
}
END_TEST

/* Goal: messages tell local address, interface, traffic class and TTL; sends set them. Method: what the socket has,
 * what the send has, another local address. On IPv6 that is the same one, for there is only one on lo. */
START_TEST(besides_the_data)
{
    struct loop        *loop = test_loop_new(NULL);
    const char         *other = _i == PORT_UDP6 ? "::1" : "127.0.0.9";
    struct loop_address source = net_parse(other, 0), to, own;
    uint32_t            lo = if_nametoindex("lo");

    port_open(loop, &server, _i, &(const struct loop_datagram_options){.flags = tell_all});
    port_receive(&server);
    to = port_address(&server);
    own = net_parse(_i == PORT_UDP6 ? "::1" : "127.0.0.1", 0);
    /* Bound to no address, so that it may choose one. */
    ck_assert_int_eq(loop_datagram_open(loop, &client.datagram, NULL,
                                        &(const struct loop_datagram_options){.family = to.storage.ss_family,
                                                                              .on_close = port_close_cb}),
                     0);
    receive_one(loop, &to, NULL);
    ck_assert(address_same(&last(&server)->local, &own));
    ck_assert_uint_eq(last(&server)->interface_index, lo);
    ck_assert_int_eq(last(&server)->traffic_class, 0);
    ck_assert_int_eq(last(&server)->ttl, 64);

    receive_one(
        loop, &to,
        &(const struct loop_datagram_terms){.source = &source, .interface_index = lo, .traffic_class = 0x2e, .ttl = 7});
    ck_assert_int_eq(last(&server)->traffic_class, 0x2e);
    ck_assert_int_eq(last(&server)->ttl, 7);
    source = net_parse(other, loop_address_port(&last(&server)->source));
    ck_assert(address_same(&last(&server)->source, &source));
    ck_assert_uint_eq(last(&server)->size, 5);

    receive_one(loop, &to, &(const struct loop_datagram_terms){.traffic_class = 3}); /* ECN: congestion */
    ck_assert_int_eq(last(&server)->traffic_class & 3, 3);
    ck_assert_int_eq(loop_datagram_option_set(&client.datagram, LOOP_DATAGRAM_OPTION_TTL, 9), 0);
    ck_assert_int_eq(loop_datagram_option_set(&client.datagram, LOOP_DATAGRAM_OPTION_TRAFFIC_CLASS, 0x10), 0);
    receive_one(loop, &to, NULL);
    ck_assert_int_eq(last(&server)->ttl, 9);
    ck_assert_int_eq(last(&server)->traffic_class, 0x10);
    close_both(loop);
    test_loop_free(loop);
}
END_TEST

/* Goal: terms work with a borrowed payload, with pieces, and with a deadline, too. Method: each. */
START_TEST(terms_and_sizes)
{
    static char                      memory[3000];
    struct loop                     *loop = test_loop_new(NULL);
    struct loop_address              to;
    const struct iovec               iov[2] = {{memory, 1000}, {memory + 1000, 2000}};
    const struct loop_datagram_terms terms = {.ttl = 5, .traffic_class = 4, .timeout_ns = LOOP_SECOND};

    port_open(loop, &server, _i, &(const struct loop_datagram_options){.flags = tell_all});
    port_open(loop, &client, _i, NULL);
    port_receive(&server);
    to = port_address(&server);
    port_send_with(&client, memory, 3000, &to, NULL, &terms);
    ck_assert_int_eq(CALL(loop_datagram_sendv(&client.datagram, iov, 2, &to, port_send_cb, NULL, &terms)), 0);
    port_send_with(&client, memory, 60, &to, NULL, &terms);
    run_until(loop, server.messages == 3 && client.sends_done == 3);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(server.log[i].ttl, 5);
        ck_assert_int_eq(server.log[i].traffic_class, 4);
        ck_assert_uint_eq(server.log[i].size, i < 2 ? 3000 : 60);
    }
    close_both(loop);
    test_loop_free(loop);
}
END_TEST

static void open_wildcard6(struct loop *loop, uint32_t flags)
{
    struct loop_address any = net_parse("::", 0);

    ck_assert_int_eq(
        loop_datagram_open(loop, &server.datagram, &any,
                           &(const struct loop_datagram_options){.flags = flags, .on_close = port_close_cb}),
        0);
    port_receive(&server);
}

/* Goal: an IPv6 wildcard takes IPv4 as well, with all there is to tell, and answers with all there is to set; with
 * V6ONLY it takes none. Method: an IPv4 client. */
START_TEST(dual_stack)
{
    struct loop                     *loop = test_loop_new(NULL);
    struct loop_address              to, source = net_parse("127.0.0.1", 0), mapped = net_parse("::ffff:127.0.0.1", 0);
    const struct loop_datagram_terms terms = {.source = &source, .ttl = 11, .traffic_class = 8};

    if (port_kinds() != PORT_KINDS) {
        test_loop_free(loop);
        test_skip("no IPv6 here");
        return;
    }
    open_wildcard6(loop, tell_all);
    port_open(loop, &client, PORT_UDP4, &(const struct loop_datagram_options){.flags = tell_all});
    port_receive(&client);
    to = port_address(&server);
    to = net_parse("127.0.0.1", loop_address_port(&to));
    receive_one(loop, &to, &(const struct loop_datagram_terms){.ttl = 12, .traffic_class = 16});
    ck_assert_int_eq(last(&server)->source.storage.ss_family, AF_INET6);
    ck_assert(address_same(&last(&server)->local, &mapped));
    ck_assert_int_eq(last(&server)->ttl, 12);
    ck_assert_int_eq(last(&server)->traffic_class, 16);
    port_send_with(&server, "x", 1, &last(&server)->source, NULL, &terms);
    run_until(loop, client.messages == 1);
    ck_assert_int_eq(last(&client)->ttl, 11);
    ck_assert_int_eq(last(&client)->traffic_class, 8);
    port_close(&server);
    run_until(loop, server.closes == 1);

    memset(&server, 0, sizeof(server));
    open_wildcard6(loop, LOOP_DATAGRAM_V6ONLY);
    to = port_address(&server);
    to = net_parse("127.0.0.1", loop_address_port(&to));
    port_send(&client, "x", 1, &to);
    settle(loop);
    ck_assert_uint_eq(server.messages, 0);
    close_both(loop);
    test_loop_free(loop);
}
END_TEST

/* Goal: a payload is sent as segments, and with GRO received as one message that says so. Method: with GRO and without;
 * then segments larger than the payload, and a lot too large. */
START_TEST(segments)
{
    static char         memory[10000], data[70000];
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address to, plain;
    int                 fd = plain_open(_i, &plain);

    pattern_fill(1, 0, memory, sizeof(memory));
    port_open(loop, &server, _i,
              &(const struct loop_datagram_options){.flags = LOOP_DATAGRAM_GRO | tell_all, .receive_size = 60000});
    port_receive(&server);
    port_open(loop, &client, _i, NULL);
    to = port_address(&server);
    port_send_with(&client, memory, 10000, &to, NULL, &(const struct loop_datagram_terms){.segment_size = 1200});
    port_send_with(&client, memory, 10000, &plain, NULL, &(const struct loop_datagram_terms){.segment_size = 1200});
    run_until(loop, server.bytes == 10000 && client.sends_done == 2);
    ck_assert_uint_eq(client.sent_bytes, 20000);
    ck_assert_uint_eq(server.messages, 1); /* over lo nothing comes between */
    ck_assert_int_eq(last(&server)->segment_size, 1200);
    ck_assert_int_eq(last(&server)->ttl, 64);
    for (size_t at = 0; at < 10000; at += 1200) {
        size_t size = 10000 - at < 1200 ? 10000 - at : 1200;

        ck_assert_uint_eq(plain_receive(fd, data, sizeof(data), NULL), size);
        pattern_check(1, at, data, size);
    }
    port_send_with(&client, memory, 100, &to, NULL, &(const struct loop_datagram_terms){.segment_size = 1200});
    run_until(loop, server.messages == 2);
    ck_assert_int_eq(last(&server)->segment_size, 0);
    port_send_with(&client, data, 70000, &to, NULL, &(const struct loop_datagram_terms){.segment_size = 1200});
    run_until(loop, client.sends_done == 4);
    ck_assert_int_eq(client.send_error, -EMSGSIZE);
    close_both(loop);
    test_close(fd);
    test_loop_free(loop);
}
END_TEST

/* Goal: broadcasts need the option. Method: the broadcast address of lo, without, with the option, with the flag. */
START_TEST(broadcast)
{
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address any = net_parse("0.0.0.0", 0), to;

    ck_assert_int_eq(loop_datagram_open(loop, &server.datagram, &any,
                                        &(const struct loop_datagram_options){.on_close = port_close_cb}),
                     0);
    port_receive(&server);
    to = port_address(&server);
    to = net_parse("127.255.255.255", loop_address_port(&to));
    port_open(loop, &client, PORT_UDP4, NULL);
    port_send(&client, "x", 1, &to);
    run_until(loop, client.sends_done == 1);
    ck_assert_int_eq(client.send_error, -EACCES);
    ck_assert_int_eq(loop_datagram_option_set(&client.datagram, LOOP_DATAGRAM_OPTION_BROADCAST, 1), 0);
    receive_one(loop, &to, NULL);
    port_close(&client);
    run_until(loop, client.closes == 1);
    memset(&client, 0, sizeof(client));
    port_open(loop, &client, PORT_UDP4, &(const struct loop_datagram_options){.flags = LOOP_DATAGRAM_BROADCAST});
    receive_one(loop, &to, NULL);
    close_both(loop);
    test_loop_free(loop);
}
END_TEST

/* Whether datagrams to the group reach the server. */
static bool reaches(struct loop *loop, const struct loop_address *to)
{
    uint32_t before = server.messages, sent = client.sends_done;

    port_send(&client, "x", 1, to);
    run_until(loop, client.sends_done == sent + 1);
    settle(loop);
    ck_assert_uint_le(server.messages, before + 1);
    return server.messages == before + 1;
}

/* lo has multicast over IPv4 only. For IPv6 there is an interface in a network of this process's own, for which one has
 * to be root. */
static const char *interface_name = "lo";

static struct loop_address group_address(int kind, uint16_t port)
{
    char text[64];

    if (kind == PORT_UDP6)
        snprintf(text, sizeof(text), "ff02::1234%%%s", interface_name);
    else
        snprintf(text, sizeof(text), "239.255.12.34");
    return net_parse(text, port);
}

static bool own_network(void)
{
    interface_name = "m0";
    return unshare(CLONE_NEWNET) == 0 &&
           system("{ ip link set lo up && ip link add m0 type veth peer name m1 && ip link set m0 up multicast on &&"
                  " ip link set m1 up && ip -6 addr add fd00::77/64 dev m0 nodad; } 2>/dev/null") == 0;
}

/* Opens both sockets; false if this machine lacks what is needed. */
static bool open_multicast(struct loop *loop, int kind, struct loop_address *ret_to)
{
    struct loop_address any = net_parse(kind == PORT_UDP6 ? "::" : "0.0.0.0", 0), own;

    if (kind == PORT_UDP6 && (port_kinds() != PORT_KINDS || !own_network())) {
        test_skip("no multicast over IPv6 here");
        return false;
    }
    ck_assert_int_eq(
        loop_datagram_open(loop, &server.datagram, &any,
                           &(const struct loop_datagram_options){.flags = LOOP_DATAGRAM_PKTINFO | LOOP_DATAGRAM_TTL,
                                                                 .on_close = port_close_cb}),
        0);
    port_receive(&server);
    any = net_parse(kind == PORT_UDP6 ? "fd00::77" : "127.0.0.1", 0);
    ck_assert_int_eq(loop_datagram_open(loop, &client.datagram, &any,
                                        &(const struct loop_datagram_options){.on_close = port_close_cb}),
                     0);
    ck_assert_int_eq(loop_datagram_option_set(&client.datagram, LOOP_DATAGRAM_OPTION_MULTICAST_INTERFACE,
                                              (int)if_nametoindex(interface_name)),
                     0);
    own = port_address(&server);
    *ret_to = group_address(kind, loop_address_port(&own));
    return true;
}

/* Goal: a group is heard between join and leave, only there; joining twice, leaving twice are refused. Method: over lo,
 * with the TTL and loop options. */
START_TEST(multicast)
{
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address to, group;
    uint32_t            index;
    int                 kind = _i == 0 ? PORT_UDP4 : PORT_UDP6;

    if (open_multicast(loop, kind, &to)) {
        index = if_nametoindex(interface_name);
        group = group_address(kind, 0);
        ck_assert(!reaches(loop, &to));
        ck_assert_int_eq(loop_datagram_join(&server.datagram, &group, NULL, index), 0);
        ck_assert_int_eq(loop_datagram_join(&server.datagram, &group, NULL, index), -EADDRINUSE);
        ck_assert(reaches(loop, &to));
        ck_assert_uint_eq(last(&server)->interface_index, index);
        ck_assert_int_eq(last(&server)->ttl, 1);
        ck_assert_int_eq(loop_datagram_option_set(&client.datagram, LOOP_DATAGRAM_OPTION_MULTICAST_TTL, 32), 0);
        ck_assert(reaches(loop, &to));
        ck_assert_int_eq(last(&server)->ttl, 32);
        ck_assert_int_eq(loop_datagram_leave(&server.datagram, &group, NULL, index), 0);
        ck_assert_int_eq(loop_datagram_leave(&server.datagram, &group, NULL, index), -EADDRNOTAVAIL);
        ck_assert(!reaches(loop, &to));
        ck_assert_int_eq(loop_datagram_join(&server.datagram, &group, NULL, 999999), -ENODEV);
        ck_assert_int_eq(loop_datagram_join(&server.datagram, &(struct loop_address){0}, NULL, index), -EINVAL);
        close_both(loop);
        ck_assert_int_eq(loop_datagram_join(&server.datagram, &group, NULL, index), -EINVAL);
    }
    test_loop_free(loop);
}
END_TEST

/* Goal: with a source only that one is heard. Method: a join for another one, then for the true one; the wrong way to
 * leave is refused. */
START_TEST(multicast_source)
{
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address to, group, wrong, right;
    uint32_t            index;
    int                 kind = _i == 0 ? PORT_UDP4 : PORT_UDP6;

    if (open_multicast(loop, kind, &to)) {
        index = if_nametoindex(interface_name);
        group = group_address(kind, 0);
        right = net_parse(kind == PORT_UDP6 ? "fd00::77" : "127.0.0.1", 0);
        wrong = net_parse(kind == PORT_UDP6 ? "2001:db8::1" : "127.0.0.9", 0);
        ck_assert_int_eq(loop_datagram_join(&server.datagram, &group, &wrong, index), 0);
        ck_assert(!reaches(loop, &to));
        ck_assert_int_eq(loop_datagram_join(&server.datagram, &group, &right, index), 0);
        ck_assert(reaches(loop, &to));
        ck_assert_int_eq(loop_datagram_leave(&server.datagram, &group, &right, index), 0);
        ck_assert(!reaches(loop, &to));
        ck_assert_int_eq(loop_datagram_leave(&server.datagram, &group, &right, index), -EADDRNOTAVAIL);
        ck_assert_int_eq(loop_datagram_leave(&server.datagram, &group, &wrong, index), 0);
        close_both(loop);
    }
    test_loop_free(loop);
}
END_TEST

/* Goal: REUSEPORT shares a port among sockets, REUSEADDR lets it be bound again. Method: two of each; many senders
 * reach one or the other, all of them somebody. */
START_TEST(shared_port)
{
    struct loop                       *loop = test_loop_new(NULL);
    const struct loop_datagram_options options = {.flags = _i == 0 ? LOOP_DATAGRAM_REUSEPORT : LOOP_DATAGRAM_REUSEADDR,
                                                  .on_close = port_close_cb};
    struct loop_address                to;
    int                                fd;

    port_open(loop, &server, PORT_UDP4, &options);
    to = port_address(&server);
    ck_assert_int_eq(loop_datagram_open(loop, &client.datagram, &to, NULL), -EADDRINUSE);
    ck_assert_int_eq(loop_datagram_open(loop, &client.datagram, &to, &options), 0);
    port_receive(&server);
    port_receive(&client);
    for (int i = 0; i < 64; i++) {
        fd = plain_open(PORT_UDP4, NULL);
        plain_send(fd, "x", 1, &to);
        test_close(fd);
    }
    run_until(loop, server.messages + client.messages == 64);
    if (_i == 0)
        ck_assert(server.messages > 0 && client.messages > 0);
    close_both(loop);
    test_loop_free(loop);
}
END_TEST

/* Goal: the buffers of the socket are set when it is opened. Method: read them. */
START_TEST(socket_buffers)
{
    struct loop *loop = test_loop_new(NULL);
    int          value;

    port_open(loop, &client, _i,
              &(const struct loop_datagram_options){.receive_buffer_bytes = 30000, .send_buffer_bytes = 20000});
    ck_assert_int_eq(loop_datagram_option_get(&client.datagram, LOOP_DATAGRAM_OPTION_RECEIVE_BUFFER, &value), 0);
    ck_assert_int_eq(value, 60000);
    ck_assert_int_eq(loop_datagram_option_get(&client.datagram, LOOP_DATAGRAM_OPTION_SEND_BUFFER, &value), 0);
    ck_assert_int_eq(value, 40000);
    port_close(&client);
    run_until(loop, client.closes == 1);
    test_loop_free(loop);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("net/datagram_option");
    TCase *tcase = test_case(suite, "options");

    tcase_add_loop_test(tcase, set_and_get, 0, port_kinds());
    tcase_add_loop_test(tcase, socket_buffers, 0, port_kinds());
    tcase_add_loop_test(tcase, shared_port, 0, 2);
    tcase_add_test(tcase, broadcast);
    tcase_add_test(tcase, dual_stack);
    tcase_add_loop_test(tcase, multicast, 0, 2);
    tcase_add_loop_test(tcase, multicast_source, 0, 2);
    tcase = test_case(suite, "messages");
    tcase_add_test(tcase, besides_the_data); /* UDP over IPv4 */
    tcase_add_test(tcase, terms_and_sizes);
    tcase_add_test(tcase, segments);
    if (port_kinds() == PORT_KINDS) {
        tcase_add_loop_test(tcase, besides_the_data, PORT_UDP6, PORT_UDP6 + 1);
        tcase_add_loop_test(tcase, terms_and_sizes, PORT_UDP6, PORT_UDP6 + 1);
        tcase_add_loop_test(tcase, segments, PORT_UDP6, PORT_UDP6 + 1);
    }
    return suite;
}
