/* tests/net/datagram_receive_test.c: datagram sockets: receiving: stops and starts, buffers. */
#include "tests/net/datagram_port.h"

enum { MANY = 100 };

static struct port server; /* each test has a process of its own */

static void stop_receiving(struct port *port, const struct loop_datagram_message *message)
{
    (void)message;
    ck_assert_int_eq(loop_datagram_receive_stop(&port->datagram), 0);
}

/* Goal: after a stop nothing is told, and nothing is lost or out of order after the next start. Method: a lot waits in
 * the socket; the callback stops after each one; another stop before the loop runs, and a stop and start in one go. */
START_TEST(stop_and_go)
{
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address to;
    const uint32_t      count = _i == PORT_UNIX ? 8 : MANY; /* unix sockets hold few */
    int                 fd = plain_open(_i, NULL);

    port_open(loop, &server, _i, NULL);
    to = port_address(&server);
    ck_assert_int_eq(loop_datagram_receive_stop(&server.datagram), 0);
    for (uint32_t i = 0; i < count; i++)
        plain_send(fd, &i, sizeof(i), &to);
    server.on_message = stop_receiving;
    for (uint32_t i = 0; i < count; i++) {
        port_receive(&server);
        if (i % 3 == 1) {
            ck_assert_int_eq(CALL(loop_datagram_receive_stop(&server.datagram)), 0);
            test_turns(loop, 2);
            ck_assert_uint_eq(server.messages, i);
            port_receive(&server);
            ck_assert_int_eq(CALL(loop_datagram_receive_stop(&server.datagram)), 0);
            port_receive(&server);
        }
        run_until(loop, server.messages > i);
        if (i % 16 == 0)
            settle(loop);
        ck_assert_uint_eq(server.messages, i + 1);
    }
    for (uint32_t i = 0; i < count; i++)
        ck_assert_int_eq(memcmp(server.log[i].data, &i, sizeof(i)), 0);
    settle(loop);
    ck_assert_uint_eq(server.messages, count);
    port_close(&server);
    run_until(loop, server.closes == 1);
    test_close(fd);
    test_loop_free(loop);
}
END_TEST

/* Goal: what was kept after a stop goes back when the socket is closed. Method: stop in the first callback of many,
 * close with the rest untold; the fixture counts memory, the loop its buffers. */
START_TEST(close_with_untold)
{
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address to;
    int                 fd = plain_open(_i, NULL);

    port_open(loop, &server, _i, NULL);
    to = port_address(&server);
    for (uint32_t i = 0; i < 8; i++)
        plain_send(fd, &i, sizeof(i), &to);
    server.on_message = stop_receiving;
    port_receive(&server);
    run_until(loop, server.messages == 1);
    settle(loop);
    ck_assert_uint_eq(server.messages, 1);
    port_close(&server);
    run_until(loop, server.closes == 1);
    ck_assert_uint_eq(test_stats(loop).buffers_lent, 0);
    test_close(fd);
    test_loop_free(loop);
}
END_TEST

/* Goal: what does not fit into a buffer is cut off and said to be. Method: a group of small buffers. */
START_TEST(truncated)
{
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address to;
    int  group = loop_buffer_group_create(loop, &(const struct loop_buffer_group_options){.size = 512, .count = 8});
    int  fd = plain_open(_i, NULL);
    char data[1000];

    ck_assert_int_gt(group, 0);
    pattern_fill(1, 0, data, sizeof(data));
    port_open(loop, &server, _i, &(const struct loop_datagram_options){.group = (uint16_t)group});
    port_receive(&server);
    to = port_address(&server);
    plain_send(fd, data, 1000, &to);
    plain_send(fd, data, 300, &to);
    run_until(loop, server.messages == 2);
    ck_assert_uint_eq(server.log[0].flags, LOOP_DATAGRAM_TRUNCATED);
    ck_assert_uint_ge(server.log[0].size, 512 - 128);
    ck_assert_uint_lt(server.log[0].size, 512);
    ck_assert_int_eq(memcmp(server.log[0].data, data, PORT_DATA_MAX), 0);
    ck_assert_uint_eq(server.log[1].flags, 0);
    ck_assert_uint_eq(server.log[1].size, 300);
    port_close(&server);
    run_until(loop, server.closes == 1);
    test_close(fd);
    test_loop_free(loop);
}
END_TEST

/* Goal: receive_size finds buffers that hold it. Method: datagrams of just that size, with all there is to tell. */
START_TEST(receive_sizes)
{
    static const uint32_t sizes[] = {1, 900, 1024, 4000, 16384, 40000};
    struct loop          *loop = test_loop_new(NULL);
    struct loop_address   to;
    static char           data[40000];
    int                   fd = plain_open(_i, NULL);

    for (size_t i = 0; i < TEST_COUNT(sizes); i++) {
        memset(&server, 0, sizeof(server));
        port_open(
            loop, &server, _i,
            &(const struct loop_datagram_options){
                .receive_size = sizes[i], .flags = _i == PORT_UNIX ? 0 : LOOP_DATAGRAM_PKTINFO | LOOP_DATAGRAM_TTL});
        port_receive(&server);
        to = port_address(&server);
        plain_send(fd, data, sizes[i], &to);
        run_until(loop, server.messages == 1);
        ck_assert_uint_eq(server.log[0].size, sizes[i]);
        ck_assert_uint_eq(server.log[0].flags, 0);
        port_close(&server);
        run_until(loop, server.closes == 1);
    }
    test_close(fd);
    test_loop_free(loop);
}
END_TEST

static loop_buffer kept[4];

static void keep(struct port *port, const struct loop_datagram_message *message)
{
    if (port->messages <= 4) {
        kept[port->messages - 1] = message->buffer;
        ck_assert_int_eq(loop_buffer_keep(loop_datagram_loop(&port->datagram), message->buffer), 0);
    }
}

/* Goal: while no buffer is left datagrams wait in the socket, and come in order when some are back; a close meanwhile
 * works. Method: a group of four, all kept; more come; then the buffers are returned. Once without returning any. */
START_TEST(no_buffers)
{
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address to;
    bool                returning = _i % 2 == 0;
    int                 kind = _i / 2, fd = plain_open(kind, NULL);
    int group = loop_buffer_group_create(loop, &(const struct loop_buffer_group_options){.size = 1024, .count = 4});

    port_open(loop, &server, kind, &(const struct loop_datagram_options){.group = (uint16_t)group});
    server.on_message = keep;
    port_receive(&server);
    to = port_address(&server);
    for (uint32_t i = 0; i < 9; i++)
        plain_send(fd, &i, i == 6 ? 0 : sizeof(i), &to);
    run_until(loop, server.messages == 4);
    settle(loop);
    ck_assert_uint_eq(server.messages, 4);
    if (returning) {
        for (uint32_t i = 0; i < 4; i++)
            ck_assert_int_eq(loop_buffer_return(loop, kept[i]), 0);
        run_until(loop, server.messages == 9);
        for (uint32_t i = 0; i < 9; i++)
            ck_assert(i == 6 ? server.log[i].size == 0 : memcmp(server.log[i].data, &i, sizeof(i)) == 0);
    }
    port_close(&server);
    run_until(loop, server.closes == 1);
    for (uint32_t i = 0; !returning && i < 4; i++)
        ck_assert_int_eq(loop_buffer_return(loop, kept[i]), 0);
    test_close(fd);
    test_loop_free(loop);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("net/datagram_receive");
    TCase *tcase = test_case(suite, "stops");

    tcase_add_loop_test(tcase, stop_and_go, 0, port_kinds());
    tcase_add_loop_test(tcase, close_with_untold, 0, port_kinds());
    tcase = test_case(suite, "buffers");
    tcase_add_loop_test(tcase, truncated, 0, port_kinds());
    tcase_add_loop_test(tcase, receive_sizes, 0, port_kinds());
    tcase_add_loop_test(tcase, no_buffers, 0, 2 * port_kinds());
    return suite;
}
