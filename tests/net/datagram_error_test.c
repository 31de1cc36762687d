/* tests/net/datagram_error_test.c: datagram sockets: what the network answers. */
#include "tests/net/datagram_port.h"

#include <netinet/in.h>
#include <poll.h>
#include <sched.h>

static struct port client; /* each test has a process of its own */

enum { NOT_ALIVE_TURNS = 60 }; /* far fewer than a loop that spins makes in 50 ms */

static const struct loop_datagram_options with_errors = {.flags = LOOP_DATAGRAM_ERRORS | LOOP_DATAGRAM_PKTINFO,
                                                         .on_close = port_close_cb};

static int kind_of(int i)
{
    return i == 0 ? PORT_UDP4 : PORT_UDP6;
}

static int kinds(void)
{
    return port_kinds() == PORT_KINDS ? 2 : 1;
}

/* An address where nobody listens. */
static struct loop_address nobody(int kind)
{
    struct loop_address address;

    test_close(plain_open(kind, &address));
    return address;
}

static void close_client(struct loop *loop)
{
    port_close(&client);
    run_until(loop, client.closes == 1);
}

static void does_not_spin(struct loop *loop)
{
    settle(loop);
    ck_assert_uint_lt(run_for(loop, 50 * LOOP_MILLISECOND), NOT_ALIVE_TURNS);
}

/* Goal: a connected socket is told that nobody listens, and goes on: receiving is not over. Method: send to nobody,
 * again and again; then be sent something. */
START_TEST(connected)
{
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address gone, own;
    int                 fd = plain_open(kind_of(_i), &gone), on = 1;

    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), 0);
    test_close(fd);
    port_open(loop, &client, kind_of(_i), NULL);
    port_receive(&client);
    ck_assert_int_eq(loop_datagram_connect(&client.datagram, &gone), 0);
    for (uint32_t i = 1; i <= 5; i++) {
        port_send(&client, "x", 1, NULL);
        run_until(loop, client.errors + client.sends_failed == i);
        does_not_spin(loop);
    }
    for (uint32_t i = 0; i < client.logged; i++) {
        ck_assert_int_eq(client.log[i].error, -ECONNREFUSED);
        ck_assert_uint_eq(client.log[i].flags, 0);
    }
    own = port_address(&client);
    fd = socket(gone.storage.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(fd, (const struct sockaddr *)&gone.storage, gone.size), 0);
    plain_send(fd, "y", 1, &own);
    run_until(loop, client.messages == 1);
    close_client(loop);
    test_close(fd);
    test_loop_free(loop);
}
END_TEST

/* Goal: an unconnected socket is told nothing of it. Method: send to nobody; then to itself. */
START_TEST(unconnected)
{
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address gone = nobody(kind_of(_i)), own;

    port_open(loop, &client, kind_of(_i), NULL);
    port_receive(&client);
    own = port_address(&client);
    port_send(&client, "x", 1, &gone);
    port_send(&client, "y", 1, &gone);
    port_send(&client, "z", 1, &own);
    run_until(loop, client.messages == 1 && client.sends_done == 3);
    ck_assert_uint_eq(client.errors + client.sends_failed, 0);
    close_client(loop);
    test_loop_free(loop);
}
END_TEST

/* Goal: with ERRORS it is told, with what it was about, each one, and goes on. Method: several to different addresses
 * where nobody listens, in one turn and one by one, data in between. */
START_TEST(with_details)
{
    static const char  *payloads[] = {"first", "second"};
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address gone[2] = {nobody(kind_of(_i)), nobody(kind_of(_i))}, own, sender;

    port_open(loop, &client, kind_of(_i), &with_errors);
    port_receive(&client);
    own = port_address(&client);
    sender = net_parse(_i == 0 ? "127.0.0.1" : "::1", 0);
    for (uint32_t i = 0; i < 6; i++) {
        port_send(&client, payloads[i % 2], strlen(payloads[i % 2]), &gone[i % 2]);
        /* A send may fail because of the one before, whose details come all the same. */
        run_until(loop, client.errors + client.sends_failed >= i + 1);
        does_not_spin(loop);
    }
    ck_assert_uint_gt(client.errors, 2);
    for (uint32_t i = 0; i < client.logged; i++) {
        const struct port_message *message = &client.log[i];
        uint32_t                   which = message->data[0] == 'f' ? 0 : 1;

        ck_assert_int_eq(message->error, -ECONNREFUSED);
        ck_assert(message->has_trouble);
        ck_assert_uint_eq(message->trouble.origin, _i == 0 ? 2 : 3);
        ck_assert_uint_eq(message->trouble.type, _i == 0 ? 3 : 1);
        ck_assert_uint_eq(message->trouble.code, _i == 0 ? 3 : 4);
        ck_assert(address_same(&message->trouble.offender, &sender));
        ck_assert(address_same(&message->source, &gone[which]));
        ck_assert_uint_eq(message->size, strlen(payloads[which]));
        ck_assert_int_eq(memcmp(message->data, payloads[which], message->size), 0);
    }
    port_send(&client, "me", 2, &own);
    run_until(loop, client.messages == 1);
    close_client(loop);
    test_loop_free(loop);
}
END_TEST

/* Goal: errors that come while nobody receives do not make the loop spin, wait, and are told at the start. Method: so,
 * with a stop in between as well. */
START_TEST(told_later)
{
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address gone = nobody(kind_of(_i));

    port_open(loop, &client, kind_of(_i), &with_errors);
    port_send(&client, "x", 1, &gone);
    run_until(loop, client.sends_done == 1);
    does_not_spin(loop);
    ck_assert_uint_eq(client.errors, 0);
    port_receive(&client);
    run_until(loop, client.errors >= 1);
    does_not_spin(loop);
    ck_assert_uint_eq(client.errors, 1);
    ck_assert_int_eq(loop_datagram_receive_stop(&client.datagram), 0);
    port_send(&client, "y", 1, &gone);
    run_until(loop, client.sends_done == 2);
    does_not_spin(loop);
    ck_assert_uint_eq(client.errors, 1);
    port_receive(&client);
    run_until(loop, client.errors >= 2);
    does_not_spin(loop);
    close_client(loop);
    test_loop_free(loop);
}
END_TEST

/* Goal: the same without ERRORS on a connected socket: the error waits for the next receive or send. Method: send, look
 * that nothing spins, start receiving. */
START_TEST(told_later_connected)
{
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address gone = nobody(kind_of(_i));

    port_open(loop, &client, kind_of(_i), NULL);
    ck_assert_int_eq(loop_datagram_connect(&client.datagram, &gone), 0);
    port_send(&client, "x", 1, NULL);
    run_until(loop, client.sends_done == 1);
    does_not_spin(loop);
    port_receive(&client);
    run_until(loop, client.errors == 1);
    ck_assert_int_eq(client.log[0].error, -ECONNREFUSED);
    does_not_spin(loop);
    close_client(loop);
    test_loop_free(loop);
}
END_TEST

/* Goal: a descriptor that has its error queue already is treated as with ERRORS. Method: adopt one, send to nobody, one
 * that receives and one that does not yet. */
START_TEST(adopted)
{
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address gone = nobody(kind_of(_i));
    int                 fd = plain_open(kind_of(_i), NULL), on = 1;

    ck_assert_int_eq(_i == 0 ? setsockopt(fd, IPPROTO_IP, IP_RECVERR, &on, sizeof(on))
                             : setsockopt(fd, IPPROTO_IPV6, IPV6_RECVERR, &on, sizeof(on)),
                     0);
    ck_assert_int_eq(loop_datagram_adopt(loop, &client.datagram, fd,
                                         &(const struct loop_datagram_options){.on_close = port_close_cb}),
                     0);
    port_send(&client, "x", 1, &gone);
    run_until(loop, client.sends_done == 1);
    does_not_spin(loop);
    port_receive(&client);
    run_until(loop, client.errors == 1);
    ck_assert(client.log[0].has_trouble);
    does_not_spin(loop);
    close_client(loop);
    test_loop_free(loop);
}
END_TEST

/* Goal: what ends a lot that is tried is told if the kernel has details of it. Method: the second of two is larger than
 * the path takes, which is small in a network of this process's own, and must not be cut up. */
START_TEST(tried_too_large)
{
    static char                memory[3000];
    struct loop_datagram_piece pieces[2];
    struct loop               *loop;
    struct loop_address        to;

    if (unshare(CLONE_NEWNET) != 0 || system("ip link set lo up mtu 1500 2>/dev/null") != 0) {
        test_skip("not root, or no ip(8)");
        return;
    }
    loop = test_loop_new(NULL);
    port_open(loop, &client, PORT_UDP4, &with_errors);
    port_receive(&client);
    ck_assert_int_eq(loop_datagram_option_set(&client.datagram, LOOP_DATAGRAM_OPTION_MTU_DISCOVER, IP_PMTUDISC_DO), 0);
    settle(loop);
    to = port_address(&client);
    pieces[0] = (struct loop_datagram_piece){memory, 10, &to};
    pieces[1] = (struct loop_datagram_piece){memory, sizeof(memory), &to};
    ck_assert_int_eq(loop_datagram_try_send_many(&client.datagram, pieces, 2), 1);
    run_until(loop, client.messages == 1 && client.errors == 1);
    for (uint32_t i = 0; i < 2; i++)
        if (client.log[i].error != 0) {
            ck_assert_int_eq(client.log[i].error, -EMSGSIZE);
            ck_assert_uint_eq(client.log[i].trouble.info, 1500);
        }
    close_client(loop);
    test_loop_free(loop);
}
END_TEST

/* Goal: unix sockets are told that nobody is there by the send itself. Method: a name that nobody has, a path that does
 * not exist; a peer that has gone. */
START_TEST(nobody_unix)
{
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address name = port_any(PORT_UNIX), path = net_parse("unix:/nowhere/at/all", 0), gone;
    int                 fd = plain_open(PORT_UNIX, &gone);

    port_open(loop, &client, PORT_UNIX, NULL);
    port_receive(&client);
    port_send_with(&client, "x", 1, &name, "to a name", NULL);
    port_send_with(&client, "x", 1, &path, "to a path", NULL);
    ck_assert_int_eq(loop_datagram_connect(&client.datagram, &gone), 0);
    test_close(fd);
    port_send_with(&client, "x", 1, NULL, "to what is gone", NULL);
    run_until(loop, client.sends_done == 3);
    notes_are("send to a name ECONNREFUSED; send to a path ENOENT; send to what is gone ECONNREFUSED");
    does_not_spin(loop);
    close_client(loop);
    test_loop_free(loop);
}
END_TEST

/* Goal: a burst to nobody: each send is told once, some of them with the error of another. Method: many in one turn. */
START_TEST(burst)
{
    enum { COUNT = 50 };
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address gone = nobody(kind_of(_i / 2));

    port_open(loop, &client, kind_of(_i / 2), _i % 2 == 0 ? NULL : &with_errors);
    port_receive(&client);
    ck_assert_int_eq(loop_datagram_connect(&client.datagram, &gone), 0);
    for (uint32_t i = 0; i < COUNT; i++)
        port_send(&client, "0123456789", 1 + i % 10, NULL);
    run_until(loop, client.sends_done == COUNT);
    ck_assert(client.sends_failed == 0 || client.send_error == -ECONNREFUSED);
    does_not_spin(loop);
    ck_assert_uint_gt(client.errors, 0);
    close_client(loop);
    test_loop_free(loop);
}
END_TEST

static void close_at_error(struct port *port, const struct loop_datagram_message *message)
{
    ck_assert_int_eq(message->error, -ECONNREFUSED);
    port_close(port);
}

static void stop_at_error(struct port *port, const struct loop_datagram_message *message)
{
    ck_assert_int_eq(message->error, -ECONNREFUSED);
    ck_assert_int_eq(loop_datagram_receive_stop(&port->datagram), 0);
}

/* Goal: the callback of an error may stop or close. Method: with several errors waiting; after a stop the rest come at
 * the next start. */
START_TEST(stop_or_close)
{
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address gone = nobody(PORT_UDP4);
    uint32_t            told = 0;

    port_open(loop, &client, PORT_UDP4, &with_errors);
    client.on_message = _i == 0 ? close_at_error : stop_at_error;
    for (uint32_t i = 0; i < 6; i++) {
        port_send(&client, "x", 1, &gone);
        settle(loop);
    }
    port_receive(&client);
    if (_i == 0) {
        run_until(loop, client.closes == 1);
        ck_assert_uint_eq(client.errors, 1);
        test_loop_free(loop);
        return;
    }
    for (; told < 3; told++) { /* every other send has got one itself */
        run_until(loop, client.errors == told + 1);
        does_not_spin(loop);
        ck_assert_uint_eq(client.errors, told + 1);
        port_receive(&client);
    }
    close_client(loop);
    test_loop_free(loop);
}
END_TEST

enum { OPS = 8 };

/* Operations that never end by themselves, as many as there is room for; log is for them. */
static uint32_t fill_operations(struct loop *loop, struct test_log *log, loop_id *ids, int fd)
{
    uint32_t count = 0;
    loop_id  id;

    while ((id = loop_poll_add(loop, fd, POLLIN, test_log_cb, &log[count], NULL)) > 0) {
        ids[count++] = id;
        ck_assert_uint_lt(count, 64);
    }
    ck_assert_int_eq((int)id, -ENOBUFS);
    return count;
}

static void cancel_operations(struct loop *loop, const loop_id *ids, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        ck_assert_int_eq(loop_cancel(loop, ids[i]), 0);
}

static struct {
    struct test_log log[64];
    loop_id         ids[64];
    uint32_t        count;
    int             fd;
} filler;

static void fill_at_error(struct port *port, const struct loop_datagram_message *message)
{
    if (message->error < 0)
        filler.count += fill_operations(loop_datagram_loop(&port->datagram), filler.log + filler.count,
                                        filler.ids + filler.count, filler.fd);
}

/* Goal: at the limit of operations a start is refused, and receiving that goes on by itself goes on when there is room
 * again. Method: the limit is reached before the start; then inside the callback of an error, which has ended the
 * receive. */
START_TEST(no_operations)
{
    struct loop        *loop = test_loop_new(&(const struct loop_options){.ops_max = OPS});
    struct loop_address gone, own, other;
    int                 fd = plain_open(PORT_UDP4, &gone);

    filler.fd = plain_open(PORT_UDP4, &other);
    test_close(fd);
    port_open(loop, &client, PORT_UDP4, NULL);
    filler.count = fill_operations(loop, filler.log, filler.ids, filler.fd);
    ck_assert_int_eq(loop_datagram_receive_start(&client.datagram, port_receive_cb), -ENOBUFS);
    cancel_operations(loop, filler.ids, 1);
    run_until(loop, filler.log[0].finals == 1);
    port_receive(&client);
    client.on_message = fill_at_error;
    own = port_address(&client);
    ck_assert_int_eq(loop_datagram_connect(&client.datagram, &gone), 0);
    port_send(&client, "x", 1, NULL);
    run_until(loop, client.errors == 1);
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(fd, (const struct sockaddr *)&gone.storage, gone.size), 0);
    plain_send(fd, "y", 1, &own);
    settle(loop);
    does_not_spin(loop);
    ck_assert_uint_eq(client.messages, 0);
    cancel_operations(loop, filler.ids + 1, filler.count - 1);
    run_until(loop, client.messages == 1);
    close_client(loop);
    test_close(fd);
    test_close(filler.fd);
    test_loop_free(loop);
}
END_TEST

/* Goal: at the limit of operations a send that needs room in the socket gets there all the same. Method: a connected
 * unix socket whose peer is full, and no operation left to wait with. */
START_TEST(no_operations_for_room)
{
    struct loop        *loop = test_loop_new(&(const struct loop_options){.ops_max = OPS});
    struct loop_address to, other;
    char                data[8];
    int                 fd = plain_open(PORT_UNIX, &to);
    uint32_t            taken = 0;

    filler.fd = plain_open(PORT_UDP4, &other);
    port_open(loop, &client, PORT_UNIX, NULL);
    ck_assert_int_eq(loop_datagram_connect(&client.datagram, &to), 0);
    for (; loop_datagram_try_send(&client.datagram, "x", 1, NULL) == 1; taken++)
        ck_assert_uint_lt(taken, 10000);
    filler.count = fill_operations(loop, filler.log, filler.ids, filler.fd);
    port_send(&client, "y", 1, NULL);
    settle(loop);
    does_not_spin(loop);
    ck_assert_uint_eq(client.sends_done, 0);
    for (uint32_t i = 0; i < taken; i++)
        (void)plain_receive(fd, data, sizeof(data), NULL);
    pump_until(loop, client.sends_done == 1);
    ck_assert_uint_eq(client.sends_failed, 0);
    cancel_operations(loop, filler.ids, filler.count);
    close_client(loop);
    test_run(loop);
    test_close(fd);
    test_close(filler.fd);
    test_loop_free(loop);
}
END_TEST

/* Goal: an error that would only come again ends receiving, and says so; closing works. Method: a buffer group with
 * buffers too small for a header, then one that is fine. */
START_TEST(lasting)
{
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address own;
    int group = loop_buffer_group_create(loop, &(const struct loop_buffer_group_options){.size = 16, .count = 8});

    port_open(loop, &client, PORT_UDP4, &(const struct loop_datagram_options){.group = (uint16_t)group});
    port_receive(&client);
    own = port_address(&client);
    port_send(&client, "x", 1, &own);
    run_until(loop, client.errors == 1);
    ck_assert_int_eq(client.log[0].error, -EFAULT);
    ck_assert_uint_eq(client.log[0].flags, LOOP_DATAGRAM_ENDED);
    does_not_spin(loop);
    port_receive(&client); /* to no avail */
    run_until(loop, client.errors == 2);
    does_not_spin(loop);
    close_client(loop);
    test_loop_free(loop);
}
END_TEST

/* Goal: a socket that was shut down by its descriptor's owner does not make the loop spin. Method: shutdown(2). */
START_TEST(shut_down)
{
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address own;

    port_open(loop, &client, kind_of(_i), NULL);
    own = port_address(&client);
    ck_assert_int_eq(loop_datagram_connect(&client.datagram, &own), 0);
    port_receive(&client);
    settle(loop);
    ck_assert_int_eq(shutdown(loop_datagram_fd(&client.datagram), SHUT_RDWR), 0);
    does_not_spin(loop);
    port_send(&client, "x", 1, NULL);
    run_until(loop, client.sends_done == 1);
    does_not_spin(loop);
    close_client(loop);
    test_loop_free(loop);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("net/datagram_error");
    TCase *tcase = test_case(suite, "errors");

    tcase_add_loop_test(tcase, connected, 0, kinds());
    tcase_add_loop_test(tcase, unconnected, 0, kinds());
    tcase_add_loop_test(tcase, with_details, 0, kinds());
    tcase_add_loop_test(tcase, told_later, 0, kinds());
    tcase_add_loop_test(tcase, told_later_connected, 0, kinds());
    tcase_add_loop_test(tcase, adopted, 0, kinds());
    tcase_add_test(tcase, tried_too_large); /* UDP over IPv4 */
    tcase_add_test(tcase, nobody_unix);
    tcase_add_loop_test(tcase, burst, 0, 2 * kinds());
    tcase_add_loop_test(tcase, stop_or_close, 0, 2);
    tcase_add_test(tcase, no_operations);
    tcase_add_test(tcase, no_operations_for_room);
    tcase_add_test(tcase, lasting);
    tcase_add_loop_test(tcase, shut_down, 0, kinds());
    return suite;
}
