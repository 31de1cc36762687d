/* tests/net/datagram_send_test.c: datagram sockets: sending. */
#include "tests/net/datagram_port.h"

#include <netinet/udp.h>
#include <poll.h>
#include <sched.h>

enum { BIG = 1400, MANY = 100 };

static struct port client, server; /* each test has a process of its own */

static void close_client(struct loop *loop)
{
    port_close(&client);
    run_until(loop, client.closes == 1);
}

/* Goal: small payloads are copied at once, larger ones with COPY, others borrowed until the callback; all arrive as
 * they were. Method: sizes around the limits; the memory is overwritten right after the call where that is allowed. */
START_TEST(copied_and_borrowed)
{
    static const size_t              sizes[] = {1, 64, 65, 383, 384, 385, 500, 1400, 9000, 30000};
    static char                      memory[30000], data[40000];
    const struct loop_datagram_terms copy = {.flags = LOOP_DATAGRAM_COPY};
    struct loop                     *loop = test_loop_new(NULL);
    struct loop_address              to;
    int                              fd = plain_open(_i, &to);

    port_open(loop, &client, _i, NULL);
    for (size_t i = 0; i < 2 * TEST_COUNT(sizes); i++) {
        size_t size = sizes[i / 2];
        bool   copied = i % 2 == 1;

        pattern_fill(i, 0, memory, size);
        port_send_with(&client, memory, size, &to, NULL, copied ? &copy : NULL);
        if (copied || size <= (_i == PORT_UNIX ? 64 : 384))
            memset(memory, 0xee, sizeof(memory));
        run_until(loop, client.sends_done == i + 1);
        ck_assert_uint_eq(plain_receive(fd, data, sizeof(data), NULL), size);
        pattern_check(i, 0, data, size);
    }
    ck_assert_uint_eq(client.sends_failed, 0);
    close_client(loop);
    test_close(fd);
    test_loop_free(loop);
}
END_TEST

/* Goal: as much is copied when the address's size is that of its storage; nothing at all may be sent so, too. Method:
 * as many bytes as the header says, with and without terms; the memory is overwritten right after the call. */
START_TEST(roomy_address)
{
    static const struct loop_datagram_terms all = {.ttl = 10, .traffic_class = 4, .timeout_ns = 20 * LOOP_SECOND};
    const struct loop_datagram_terms       *terms[] = {NULL, &all};
    static char                             memory[384], data[400];
    struct loop                            *loop = test_loop_new(NULL);
    struct loop_address                     to;
    int                                     fd = plain_open(_i, &to);

    if (_i != PORT_UNIX)
        to.size = sizeof(to.storage);
    port_open(loop, &client, _i, NULL);
    for (uint32_t i = 0; i < 2; i++) {
        const size_t size = i == 1 || _i == PORT_UNIX ? 64 : 384;
        const bool   bare = _i == PORT_UNIX;

        pattern_fill(i, 0, memory, size);
        port_send_with(&client, memory, size, &to, NULL, bare ? NULL : terms[i]);
        memset(memory, 0xee, sizeof(memory));
        ck_assert_int_eq(
            loop_datagram_sendv(&client.datagram, NULL, 0, &to, port_send_cb, NULL, bare ? NULL : terms[i]), 0);
        run_until(loop, client.sends_done == 2 * (i + 1));
        ck_assert_uint_eq(plain_receive(fd, data, sizeof(data), NULL), size);
        pattern_check(i, 0, data, size);
        ck_assert_uint_eq(plain_receive(fd, data, sizeof(data), NULL), 0);
    }
    ck_assert_uint_eq(client.sends_failed, 0);
    close_client(loop);
    test_close(fd);
    test_loop_free(loop);
}
END_TEST

/* Goal: pieces make one datagram, in order, copied or not. Method: many small and large pieces, an empty one, none. */
START_TEST(pieces)
{
    static char         memory[64][100], data[8000];
    struct iovec        iov[65];
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address to;
    int                 fd = plain_open(_i, &to);
    static const size_t counts[] = {0, 1, 2, 3, 10, 64};

    port_open(loop, &client, _i, NULL);
    for (size_t i = 0; i < 64; i++) {
        pattern_fill(1, i * 100, memory[i], 100);
        iov[i] = (struct iovec){memory[i], 100};
    }
    for (size_t i = 0; i < TEST_COUNT(counts); i++) {
        ck_assert_int_eq(CALL(loop_datagram_sendv(&client.datagram, iov, counts[i], &to, port_send_cb, NULL, NULL)), 0);
        run_until(loop, client.sends_done == i + 1);
        ck_assert_uint_eq(plain_receive(fd, data, sizeof(data), NULL), counts[i] * 100);
        pattern_check(1, 0, data, counts[i] * 100);
    }
    iov[1].iov_len = 0;
    ck_assert_int_eq(CALL(loop_datagram_sendv(&client.datagram, iov, 3, &to, port_send_cb, NULL,
                                              &(const struct loop_datagram_terms){.flags = LOOP_DATAGRAM_COPY})),
                     0);
    run_until(loop, client.sends_done == TEST_COUNT(counts) + 1);
    ck_assert_uint_eq(plain_receive(fd, data, sizeof(data), NULL), 200);
    pattern_check(1, 200, data + 100, 100);
    ck_assert_int_eq(loop_datagram_sendv(&client.datagram, iov, 65, &to, NULL, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_datagram_sendv(&client.datagram, NULL, 1, &to, NULL, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_datagram_send(&client.datagram, NULL, 1, &to, NULL, NULL, NULL), -EINVAL);
    close_client(loop);
    test_close(fd);
    test_loop_free(loop);
}
END_TEST

/* Goal: bad terms are refused. Method: each. */
START_TEST(bad_terms)
{
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address to, v6 = net_parse("::1", 0);
    int                 fd = plain_open(PORT_UDP4, &to);

#define REFUSED(...)                                                                                                   \
    ck_assert_int_eq(loop_datagram_send(&client.datagram, "x", 1, &to, port_send_cb, NULL,                             \
                                        &(const struct loop_datagram_terms){__VA_ARGS__}),                             \
                     -EINVAL)
    port_open(loop, &client, PORT_UDP4, NULL);
    REFUSED(.flags = 2);
    REFUSED(.release = 77);
    REFUSED(.source = &v6);
    ck_assert_int_eq(loop_datagram_send(&client.datagram, "x", 1, &(const struct loop_address){0}, NULL, NULL, NULL),
                     -EINVAL);
    close_client(loop);
    memset(&client, 0, sizeof(client));
    port_open(loop, &client, PORT_UNIX, NULL);
    REFUSED(.ttl = 3);
    close_client(loop);
    ck_assert_uint_eq(client.sends_done, 0);
    test_close(fd);
    test_loop_free(loop);
}
END_TEST

/* Goal: many sends of one turn arrive in order, each with its result, merged or not; also where the socket has no room
 * meanwhile. Method: sizes that repeat and that differ, two addresses; receivers that read in between. */
START_TEST(many_in_order)
{
    static char         memory[MANY][BIG], data[BIG + 1];
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address to[2];
    int                 fds[2] = {plain_open(_i, &to[0]), plain_open(_i, &to[1])};
    uint32_t            got[2] = {0, 0}, total[2] = {0, 0};
    uint64_t            random = 7;
    size_t              sizes[2][MANY];

    port_open(loop, &client, _i, NULL);
    for (uint32_t i = 0; i < MANY; i++) {
        uint32_t at = i / 7 % 2;
        size_t   size = i / 20 % 2 == 0 ? 200 : 1 + test_random(&random) % BIG;

        pattern_fill(i, 0, memory[i], size);
        memcpy(memory[i], &i, size < 4 ? size : 4);
        sizes[at][total[at]++] = size;
        port_send(&client, memory[i], size, &to[at]);
    }
    while (got[0] + got[1] < MANY) {
        pump_once(loop);
        for (uint32_t at = 0; at < 2; at++)
            while (!plain_is_empty(fds[at]))
                ck_assert_uint_eq(plain_receive(fds[at], data, sizeof(data), NULL), sizes[at][got[at]++]);
    }
    run_until(loop, client.sends_done == MANY);
    ck_assert_uint_eq(client.sends_failed, 0);
    ck_assert(plain_is_empty(fds[0]) && plain_is_empty(fds[1]));
    close_client(loop);
    test_close(fds[0]);
    test_close(fds[1]);
    test_loop_free(loop);
}
END_TEST

/* Goal: neighbours that leave as one message arrive as what they were. Method: runs of one size, ended by shorter,
 * longer and empty ones, more than the kernel takes in one; contents and order are checked. unlucky: on a socket where
 * the kernel refuses to cut messages up. */
START_TEST(merged)
{
    static const size_t sizes[] = {100, 100, 100, 40, 100, 0, 100, 100, 101, 101, 7, 7, 7, 1400, 1400, 1400, 3};
    enum { ROUNDS = 6 };
    static char         memory[ROUNDS * TEST_COUNT(sizes)][BIG], data[BIG + 1];
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address to;
    int                 kind = _i / 2 == 0 ? PORT_UDP4 : PORT_UDP6, fd, on = 1;
    uint32_t            total = 0;

    if (kind == PORT_UDP6 && port_kinds() != PORT_KINDS) {
        test_loop_free(loop);
        test_skip("no IPv6 here");
        return;
    }
    fd = plain_open(kind, &to);
    port_open(loop, &client, kind, NULL);
    if (_i % 2 == 1)
        ck_assert_int_eq(setsockopt(loop_datagram_fd(&client.datagram), SOL_SOCKET, SO_NO_CHECK, &on, sizeof(on)), 0);
    for (uint32_t round = 0; round < ROUNDS; round++)
        for (size_t i = 0; i < TEST_COUNT(sizes); i++, total++) {
            size_t size = round < 4 ? sizes[i] : 90;

            pattern_fill(total, 0, memory[total], size);
            port_send(&client, memory[total], size, &to);
        }
    run_until(loop, client.sends_done == total);
    ck_assert_uint_eq(client.sends_failed, 0);
    for (uint32_t i = 0; i < total; i++) {
        size_t size = i < 4 * TEST_COUNT(sizes) ? sizes[i % TEST_COUNT(sizes)] : 90;

        ck_assert_uint_eq(plain_receive(fd, data, sizeof(data), NULL), size);
        pattern_check(i, 0, data, size);
    }
    ck_assert(plain_is_empty(fd));
    close_client(loop);
    test_close(fd);
    test_loop_free(loop);
}
END_TEST

/* Goal: neighbours that are too large for the path as segments still arrive, in fragments as if sent one by one;
 * smaller ones go on being merged. Method: a network of this process's own, whose lo has a small MTU. */
START_TEST(merged_beyond_path)
{
    enum { COUNT = 40, LARGE = 3000 };
    static char         memory[COUNT][LARGE], data[LARGE + 1];
    struct loop        *loop;
    struct loop_address to;
    int                 fd;

    if (unshare(CLONE_NEWNET) != 0 || system("ip link set lo up mtu 1500 2>/dev/null") != 0) {
        test_skip("not root, or no ip(8)");
        return;
    }
    loop = test_loop_new(NULL);
    fd = plain_open(PORT_UDP4, &to);
    port_open(loop, &client, PORT_UDP4, NULL);
    for (uint32_t i = 0; i < COUNT; i++) {
        pattern_fill(i, 0, memory[i], LARGE);
        port_send(&client, memory[i], i % 20 < 10 ? LARGE : 500, &to);
    }
    run_until(loop, client.sends_done == COUNT);
    ck_assert_uint_eq(client.sends_failed, 0);
    for (uint32_t i = 0; i < COUNT; i++) {
        ck_assert_uint_eq(plain_receive(fd, data, sizeof(data), NULL), i % 20 < 10 ? LARGE : 500);
        pattern_check(i, 0, data, i % 20 < 10 ? LARGE : 500);
    }
    close_client(loop);
    test_close(fd);
    test_loop_free(loop);
}
END_TEST

/* Goal: addresses that nothing can be sent to do not end merging for others. Method: neighbours to port 0, as answers
 * to whoever made it up; then neighbours to a socket with GRO, which shows how they were sent. */
START_TEST(merged_after_errors)
{
    static const struct loop_datagram_options gro = {.flags = LOOP_DATAGRAM_GRO, .receive_size = 10000};
    static char                               memory[500];
    struct loop                              *loop = test_loop_new(NULL);
    struct loop_address                       to, nowhere;

    port_open(loop, &server, PORT_UDP4, &gro);
    port_receive(&server);
    port_open(loop, &client, PORT_UDP4, NULL);
    to = nowhere = port_address(&server);
    ck_assert_int_eq(loop_address_port_set(&nowhere, 0), 0);
    for (int i = 0; i < 4; i++)
        port_send(&client, memory, 1, &nowhere);
    run_until(loop, client.sends_done == 4);
    ck_assert_uint_eq(client.sends_failed, 4);
    ck_assert_int_eq(client.send_error, -EINVAL);
    for (int i = 0; i < 4; i++)
        port_send(&client, memory, sizeof(memory), &to);
    run_until(loop, client.sends_done == 8 && server.bytes == 4 * sizeof(memory));
    ck_assert_uint_eq(client.sends_failed, 4);
    ck_assert_uint_eq(server.messages, 1);
    ck_assert_int_eq(server.log[0].segment_size, sizeof(memory));
    port_close(&server);
    close_client(loop);
    test_loop_free(loop);
}
END_TEST

/* Goal: neighbours larger than the path takes are sent one by one, and only those that fail are told so. Method: two
 * that nobody could send between two that go. */
START_TEST(too_big)
{
    static char         memory[70000], data[70000];
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address to;
    int                 fd = plain_open(PORT_UDP4, &to);

    port_open(loop, &client, PORT_UDP4, NULL);
    port_send_with(&client, "a", 1, &to, "small", NULL);
    port_send_with(&client, memory, sizeof(memory), &to, "big", NULL);
    port_send_with(&client, memory, sizeof(memory), &to, "big too", NULL);
    port_send_with(&client, "b", 1, &to, "small too", NULL);
    run_until(loop, client.sends_done == 4);
    notes_are("send small ok; send big EMSGSIZE; send big too EMSGSIZE; send small too ok");
    ck_assert_uint_eq(plain_receive(fd, data, sizeof(data), NULL), 1);
    ck_assert_uint_eq(plain_receive(fd, data, sizeof(data), NULL), 1);
    close_client(loop);
    test_close(fd);
    test_loop_free(loop);
}
END_TEST

static void hand_on(struct port *port, const struct loop_datagram_message *message)
{
    const struct loop_address       *to = port->arg;
    const struct loop_datagram_terms terms = {.release = message->buffer};

    /* Refused: the buffer is still ours, and may be given again. */
    ck_assert_int_eq(loop_datagram_send(&port->datagram, message->data, message->size, &(struct loop_address){0}, NULL,
                                        NULL, &terms),
                     -EINVAL);
    port_send_with(port, message->data, message->size, to, NULL, &terms);
}

/* Goal: received buffers are sent on, small or large, and go home. Method: a relay to a plain socket; more than the
 * group has buffers. */
START_TEST(sent_on)
{
    static char         memory[BIG], data[BIG + 1];
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address to, relay;
    int                 fd = plain_open(_i, &to), source = plain_open(_i, NULL);
    int group = loop_buffer_group_create(loop, &(const struct loop_buffer_group_options){.size = 2048, .count = 4});

    port_open(loop, &server, _i, &(const struct loop_datagram_options){.group = (uint16_t)group});
    server.arg = &to;
    server.on_message = hand_on;
    port_receive(&server);
    relay = port_address(&server);
    for (uint32_t i = 0; i < 20; i++) {
        size_t size = i % 2 == 0 ? 50 : BIG;

        pattern_fill(i, 0, memory, size);
        plain_send(source, memory, size, &relay);
        run_until(loop, server.sends_done == i + 1);
        ck_assert_uint_eq(plain_receive(fd, data, sizeof(data), NULL), size);
        pattern_check(i, 0, data, size);
    }
    ck_assert_uint_eq(test_stats(loop).buffers_lent, 0);
    port_close(&server);
    run_until(loop, server.closes == 1);
    test_close(fd);
    test_close(source);
    test_loop_free(loop);
}
END_TEST

/* Goal: the limits of the queue hold and are counted. Method: by number, then by bytes; after they have left there is
 * room again. */
START_TEST(limits)
{
    static char         memory[600];
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address to;
    int                 fd = plain_open(_i, &to);

    port_open(loop, &client, _i, &(const struct loop_datagram_options){.send_count_max = 3, .send_bytes_max = 1000});
    for (int round = 1; round <= 2; round++) {
        for (int i = 0; i < 3; i++)
            port_send(&client, "x", 1, &to);
        ck_assert_int_eq(loop_datagram_send(&client.datagram, "x", 1, &to, port_send_cb, NULL, NULL), -ENOBUFS);
        run_until(loop, client.sends_done == client.sends_failed + (uint32_t)(5 * round - 2));
        port_send(&client, memory, 600, &to);
        ck_assert_int_eq(loop_datagram_send(&client.datagram, memory, 600, &to, port_send_cb, NULL, NULL), -ENOBUFS);
        ck_assert_uint_ge(test_stats(loop).datagrams_full, 1);
        port_send(&client, memory, 400, &to);
        ck_assert_uint_eq(loop_datagram_queued_bytes(&client.datagram), 1000);
        ck_assert_uint_eq(loop_datagram_refused(&client.datagram), 2 * (uint64_t)round);
        run_until(loop, client.sends_done == (uint32_t)(5 * round));
        for (int i = 0; i < 5; i++)
            (void)plain_receive(fd, memory, sizeof(memory), NULL);
    }
    ck_assert_uint_eq(client.sends_failed, 0);
    close_client(loop);
    test_close(fd);
    test_loop_free(loop);
}
END_TEST

static uint32_t chain_left;

static void chain_cb(struct loop_datagram *datagram, int result, void *arg)
{
    port_send_cb(datagram, result, NULL);
    if (--chain_left > 0)
        ck_assert_int_eq(loop_datagram_send(datagram, "x", 1, arg, chain_cb, arg, NULL), 0);
}

/* Goal: sending inside a send's callback goes on and on, the loop turning in between. Method: a thousand, each started
 * by the one before; a timer fires meanwhile. Then sends without a callback, of which one fails: only counted. */
START_TEST(send_in_send)
{
    static char         data[8];
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address to;
    int                 fd = plain_open(_i, &to);
    uint64_t            errors;

    port_open(loop, &client, _i, NULL);
    chain_left = 1000;
    ck_assert_int_eq(loop_datagram_send(&client.datagram, "x", 1, &to, chain_cb, &to, NULL), 0);
    while (chain_left > 0) {
        pump_once(loop);
        while (!plain_is_empty(fd))
            (void)plain_receive(fd, data, sizeof(data), NULL);
    }
    ck_assert_uint_eq(client.sends_failed, 0);
    ck_assert_uint_ge(test_stats(loop).turns, 100);
    errors = test_stats(loop).silent_errors;
    ck_assert_int_eq(loop_datagram_send(&client.datagram, "y", 1, &to, NULL, NULL, NULL), 0);
    ck_assert_int_eq(loop_datagram_send(&client.datagram, "y", 1, NULL, NULL, NULL, NULL), 0);
    settle(loop);
    ck_assert_uint_eq(test_stats(loop).silent_errors, errors + 1);
    ck_assert_uint_eq(loop_datagram_queued(&client.datagram), 0);
    close_client(loop);
    test_close(fd);
    test_loop_free(loop);
}
END_TEST

/* Fills the queue of a unix socket that nobody reads. Returns how many it took. */
static uint32_t fill_peer(struct loop *loop, const struct loop_address *to)
{
    uint32_t done;

    do {
        done = client.sends_done;
        port_send_with(&client, &done, sizeof(done), to, NULL, NULL);
        settle(loop);
        ck_assert_uint_lt(done, 10000);
    } while (client.sends_done > done);
    return done;
}

/* Goal: sends that find no room wait for it, in order, and time out one by one. Method: a unix socket that nobody
 * reads: one send waits in the kernel, more behind it, two of them with a deadline; then somebody reads. */
START_TEST(waiting_for_room)
{
    struct loop                     *loop = test_loop_new(NULL);
    struct loop_address              to;
    const struct loop_datagram_terms soon = {.timeout_ns = 20 * LOOP_MILLISECOND};
    char                             data[BIG];
    int                              fd = plain_open(PORT_UNIX, &to);
    uint32_t                         taken, got = 0;

    port_open(loop, &client, PORT_UNIX, NULL);
    taken = fill_peer(loop, &to);
    ck_assert_uint_eq(loop_datagram_queued(&client.datagram), 1);
    ck_assert_int_eq(loop_datagram_try_send(&client.datagram, "x", 1, &to), -EAGAIN);
    port_send_with(&client, "a", 1, &to, "a", NULL);
    port_send_with(&client, "b", 1, &to, "b", &soon);
    port_send_with(&client, "c", 1, &to, "c", NULL);
    port_send_with(&client, "d", 1, &to, "d", &soon);
    run_until(loop, client.sends_failed == 2);
    notes_are("send b ETIMEDOUT; send d ETIMEDOUT");
    settle(loop);
    ck_assert_uint_eq(client.sends_done, taken + 2);
    while (got < taken + 3) {
        pump_once(loop);
        while (!plain_is_empty(fd)) {
            size_t size = plain_receive(fd, data, sizeof(data), NULL);

            ck_assert_uint_eq(size, got <= taken ? sizeof(got) : 1);
            if (got <= taken)
                ck_assert_int_eq(memcmp(data, &got, sizeof(got)), 0);
            got++;
        }
    }
    run_until(loop, client.sends_done == taken + 5);
    notes_are("send a ok; send c ok");
    close_client(loop);
    test_close(fd);
    test_loop_free(loop);
}
END_TEST

/* Goal: the send that the kernel waits with times out too, and the next takes its place. Method: as above; the first
 * has the deadline. */
START_TEST(timed_out_in_kernel)
{
    struct loop                     *loop = test_loop_new(NULL);
    struct loop_address              to;
    const struct loop_datagram_terms soon = {.timeout_ns = 20 * LOOP_MILLISECOND};
    char                             data[BIG];
    int                              fd = plain_open(PORT_UNIX, &to);
    uint32_t                         taken;

    port_open(loop, &client, PORT_UNIX, NULL);
    for (taken = 0; loop_datagram_try_send(&client.datagram, "x", 1, &to) == 1; taken++)
        ck_assert_uint_lt(taken, 10000);
    port_send_with(&client, "a", 1, &to, "a", &soon);
    port_send_with(&client, "b", 1, &to, "b", NULL);
    run_until(loop, client.sends_failed == 1);
    notes_are("send a ETIMEDOUT");
    for (uint32_t i = 0; i < taken; i++)
        ck_assert_uint_eq(plain_receive(fd, data, sizeof(data), NULL), 1);
    run_until(loop, client.sends_done == 2);
    notes_are("send b ok");
    ck_assert_uint_eq(plain_receive(fd, data, sizeof(data), NULL), 1);
    ck_assert_int_eq(data[0], 'b');
    close_client(loop);
    test_close(fd);
    test_loop_free(loop);
}
END_TEST

/* Goal: at close, sends that wait are told in their order, then the close. Method: a full peer; one send in the kernel,
 * three behind it, one of them with a deadline and a borrowed payload. */
START_TEST(close_while_waiting)
{
    static char                      memory[BIG];
    struct loop                     *loop = test_loop_new(NULL);
    struct loop_address              to;
    const struct loop_datagram_terms later = {.timeout_ns = 20 * LOOP_SECOND};
    int                              fd = plain_open(PORT_UNIX, &to);

    port_open(loop, &client, PORT_UNIX, NULL);
    while (loop_datagram_try_send(&client.datagram, "x", 1, &to) == 1)
        ;
    client.name = "client";
    port_send_with(&client, "a", 1, &to, "a", NULL);
    port_send_with(&client, memory, BIG, &to, "b", &later);
    if (_i == 1)
        settle(loop);
    port_send_with(&client, "c", 1, &to, "c", NULL);
    port_send_with(&client, "d", 1, &to, "d", NULL);
    port_close(&client);
    port_close(&client);
    run_until(loop, client.closes == 1);
    notes_are("send a ECANCELED; send b ECANCELED; send c ECANCELED; send d ECANCELED; client closed");
    test_close(fd);
    test_loop_free(loop);
}
END_TEST

/* Goal: try_send sends now, in one call or many. Method: one; a hundred; some that cannot be sent. */
START_TEST(trying)
{
    static char                memory[MANY][20], data[64];
    struct loop_datagram_piece all[MANY];
    struct loop               *loop = test_loop_new(NULL);
    struct loop_address        to, nowhere = {0};
    int                        fd = plain_open(_i, &to);
    int                        n, done = 0;

    port_open(loop, &client, _i, NULL);
    ck_assert_int_eq(loop_datagram_try_send(&client.datagram, "hello", 5, &to), 5);
    ck_assert_uint_eq(plain_receive(fd, data, sizeof(data), NULL), 5);
    ck_assert_int_eq(loop_datagram_try_send(&client.datagram, NULL, 0, &to), 0);
    ck_assert_uint_eq(plain_receive(fd, data, sizeof(data), NULL), 0);
    ck_assert_int_eq(loop_datagram_try_send(&client.datagram, "x", 1, NULL),
                     _i == PORT_UNIX ? -ENOTCONN : -EDESTADDRREQ);
    ck_assert_int_eq(loop_datagram_try_send(&client.datagram, "x", 1, &nowhere), -EINVAL);
    ck_assert_int_eq(loop_datagram_try_send(&client.datagram, NULL, 1, &to), -EINVAL);
    ck_assert_int_eq(loop_datagram_try_send_many(&client.datagram, NULL, 1), -EINVAL);
    ck_assert_int_eq(loop_datagram_try_send_many(&client.datagram, NULL, 0), 0);
    for (int i = 0; i < MANY; i++) {
        memcpy(memory[i], &i, sizeof(i));
        all[i] = (struct loop_datagram_piece){memory[i], (size_t)(4 + i % 10), &to};
    }
    while (done < MANY) { /* a unix socket takes few at a time */
        n = loop_datagram_try_send_many(&client.datagram, all + done, (size_t)(MANY - done));
        ck_assert_int_gt(n, 0);
        for (int i = done; i < done + n; i++) {
            ck_assert_uint_eq(plain_receive(fd, data, sizeof(data), NULL), (size_t)(4 + i % 10));
            ck_assert_int_eq(memcmp(data, &i, sizeof(i)), 0);
        }
        done += n;
    }
    all[2].address = NULL; /* not connected */
    ck_assert_int_eq(loop_datagram_try_send_many(&client.datagram, all, 5), 2);
    ck_assert_int_eq(loop_datagram_try_send_many(&client.datagram, all + 2, 3),
                     _i == PORT_UNIX ? -ENOTCONN : -EDESTADDRREQ);
    port_send(&client, "queued", 6, &to);
    ck_assert_int_eq(loop_datagram_try_send(&client.datagram, "x", 1, &to), -EAGAIN);
    ck_assert_int_eq(loop_datagram_try_send_many(&client.datagram, all, 2), -EAGAIN);
    run_until(loop, client.sends_done == 1);
    ck_assert_int_eq(loop_datagram_try_send(&client.datagram, "x", 1, &to), 1);
    close_client(loop);
    test_close(fd);
    test_loop_free(loop);
}
END_TEST

/* Goal: sends do not become part of a chain that is open, nor disturb it. Method: send inside a chain of nops. */
START_TEST(inside_chain)
{
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address to;
    struct test_log     log[2] = {{0}, {0}};
    char                data[8];
    int                 fd = plain_open(PORT_UDP4, &to);

    port_open(loop, &client, PORT_UDP4, NULL);
    ck_assert_int_eq(loop_chain_begin(loop, 2, 0), 0);
    ck_assert_int_gt(loop_nop(loop, test_log_cb, &log[0], NULL), 0);
    port_send(&client, "x", 1, &to);
    port_receive(&client);
    ck_assert_int_gt(loop_nop(loop, test_log_cb, &log[1], NULL), 0);
    ck_assert_int_eq(loop_chain_end(loop), 0);
    run_until(loop, client.sends_done == 1 && log[0].count == 1 && log[1].count == 1);
    ck_assert_uint_eq(plain_receive(fd, data, sizeof(data), NULL), 1);
    close_client(loop);
    test_close(fd);
    test_loop_free(loop);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("net/datagram_send");
    TCase *tcase = test_case(suite, "send");

    tcase_add_loop_test(tcase, copied_and_borrowed, 0, port_kinds());
    tcase_add_loop_test(tcase, roomy_address, 0, port_kinds());
    tcase_add_loop_test(tcase, pieces, 0, port_kinds());
    tcase_add_test(tcase, bad_terms);
    tcase_add_loop_test(tcase, many_in_order, 0, port_kinds());
    tcase_add_loop_test(tcase, merged, 0, 4);
    tcase_add_test(tcase, merged_beyond_path);
    tcase_add_test(tcase, merged_after_errors); /* UDP over IPv4 */
    tcase_add_test(tcase, too_big);             /* UDP over IPv4 */
    tcase_add_loop_test(tcase, sent_on, 0, port_kinds());
    tcase_add_loop_test(tcase, limits, 0, port_kinds());
    tcase_add_loop_test(tcase, send_in_send, 0, port_kinds());
    tcase_add_loop_test(tcase, trying, 0, port_kinds());
    tcase_add_test(tcase, inside_chain);
    tcase = test_case(suite, "waiting");
    tcase_add_test(tcase, waiting_for_room);
    tcase_add_test(tcase, timed_out_in_kernel);
    tcase_add_loop_test(tcase, close_while_waiting, 0, 2);
    return suite;
}
