/* tests/net/datagram_stress_test.c: datagram sockets where memory runs out, and a long exchange of random datagrams. */
#include "tests/net/datagram_port.h"

enum { ALLOCATIONS_MAX = 2000, SIZE_MAX_SENT = 4000 };

static struct port client, server; /* each test has a process of its own */

/* ---- memory */

enum { FAULT_ROUNDS = 3, FAULT_SENDS = 4 };

static uint32_t told_errors;

static void count_error(int r)
{
    told_errors += r < 0;
}

static void fault_send_cb(struct loop_datagram *datagram, int result, void *arg)
{
    port_send_cb(datagram, result, arg);
    count_error(result);
}

static void fault_answer(struct port *port, const struct loop_datagram_message *message)
{
    const struct loop_datagram_terms terms = {.release = message->buffer};

    count_error(message->error);
    if (message->error == 0)
        count_error(CALL(loop_datagram_send(&port->datagram, message->data, message->size, &message->source,
                                            fault_send_cb, NULL, &terms)));
    if (port->messages % 3 == 0) {
        ck_assert_int_eq(loop_datagram_receive_stop(&port->datagram), 0);
        count_error(CALL(loop_datagram_receive_start(&port->datagram, port_receive_cb)));
    }
}

static void fault_open(struct loop *loop, struct port *port, int kind, int *ret_opened)
{
    struct loop_address          local = port_any(kind);
    struct loop_datagram_options options = {.on_close = port_close_cb, .receive_size = SIZE_MAX_SENT};
    int                          r = CALL(loop_datagram_open(loop, &port->datagram, &local, &options));

    *ret_opened += r == 0;
    if (r == 0)
        r = CALL(loop_datagram_receive_start(&port->datagram, port_receive_cb));
    count_error(r);
}

static void fault_talk(struct loop *loop, int kind)
{
    static char                bytes[SIZE_MAX_SENT];
    static const size_t        sizes[FAULT_SENDS] = {10, 380, 1000, SIZE_MAX_SENT};
    struct loop_datagram_terms terms = {.flags = LOOP_DATAGRAM_COPY, .timeout_ns = LOOP_SECOND};
    struct loop_address        to;
    int                        opened = 0;

    fault_open(loop, &server, kind, &opened);
    fault_open(loop, &client, kind, &opened);
    if (told_errors > 0 || opened < 2)
        return;
    server.on_message = fault_answer;
    to = port_address(&server);
    for (uint32_t i = 0; i < FAULT_ROUNDS; i++) {
        for (uint32_t j = 0; j < FAULT_SENDS; j++)
            count_error(CALL(loop_datagram_send(&client.datagram, bytes, sizes[j], &to, fault_send_cb, NULL, &terms)));
        pump_until(loop, told_errors > 0 || client.messages == FAULT_SENDS * (i + 1));
    }
}

/* Goal: where an allocation fails it is told or made good, nothing crashes, hangs or is lost, and all is given back.
 * Method: the n-th allocation of an exchange fails, for every n until none is left to fail; each time all of it
 * arrives, or an error is told; then the loop is destroyed with everything open. */
START_TEST(each_allocation_fails)
{
    const struct loop_options options = {.allocator = test_allocator(), .sq_entries = 8, .buffer_budget = 1 << 20};
    uint32_t                  descriptors = test_fd_count(), survived = 0, told = 0;

    for (uint32_t n = 1;; n++) {
        struct loop *loop;
        int          r;

        ck_assert_uint_lt(n, ALLOCATIONS_MAX);
        memset(&client, 0, sizeof(client));
        memset(&server, 0, sizeof(server));
        memset(&test_memory, 0, sizeof(test_memory));
        told_errors = 0;
        test_memory.fail_at = n;
        r = loop_create(&loop, &options);
        count_error(r);
        if (r == 0) {
            fault_talk(loop, _i);
            settle(loop); /* what went wrong may have had consequences */
            test_loop_drop(loop);
        }
        survived += told_errors == 0;
        told += told_errors > 0;
        ck_assert_uint_eq(test_memory.blocks, 0);
        ck_assert_uint_eq(test_fd_count(), descriptors);
        if (test_memory.failed == 0)
            break;
    }
    ck_assert_uint_gt(told, 0);
    ck_assert_uint_gt(survived, 0); /* the last one at least, where nothing failed */
}
END_TEST

/* ---- a long exchange */

enum { SOAK_COUNT = 15000, SOAK_WINDOW = 16, SOAK_SECONDS = 15 };

static struct {
    struct loop        *loop;
    struct loop_address to;
    uint64_t            random;
    uint32_t            sent, answered; /* of the client */
    char                memory[SOAK_WINDOW][SIZE_MAX_SENT];
    bool                over;
} soak;

/* What the datagram of that number is like. */
static size_t soak_size(uint32_t number)
{
    uint64_t state = number / 8 % 2 == 0 ? number / 8 : number; /* runs of one size, and single ones */
    uint64_t random = test_random(&state);

    return random % 5 == 0 ? random / 5 % (SIZE_MAX_SENT + 1) : random / 5 % 600;
}

static void soak_answer(struct port *port, const struct loop_datagram_message *message)
{
    const struct loop_datagram_terms release = {.release = message->buffer};
    const struct loop_datagram_terms copy = {.flags = LOOP_DATAGRAM_COPY, .timeout_ns = 100 * LOOP_SECOND};
    bool                             copied = test_random(&soak.random) % 4 == 0;

    port_send_with(port, message->data, message->size, &message->source, NULL, copied ? &copy : &release);
    if (test_random(&soak.random) % 64 == 0) {
        ck_assert_int_eq(loop_datagram_receive_stop(&port->datagram), 0);
        if (test_random(&soak.random) % 2 == 0)
            port_receive(port); /* else the client starts it again */
    }
}

static void soak_send(uint32_t number)
{
    char                            *memory = soak.memory[number % SOAK_WINDOW];
    size_t                           size = soak_size(number);
    struct iovec                     iov[3] = {{memory, size / 3}, {memory + size / 3, 0}, {memory + size / 3, 0}};
    const struct loop_datagram_terms copy = {.flags = LOOP_DATAGRAM_COPY};

    pattern_fill(number, 0, memory, size);
    iov[2].iov_len = size - size / 3;
    switch (test_random(&soak.random) % 4) {
    case 0:
        if (loop_datagram_try_send(&client.datagram, memory, size, &soak.to) == (int)size) {
            client.sends_done++;
            return;
        }
        /* fall through */
    case 1: port_send(&client, memory, size, &soak.to); return;
    case 2: port_send_with(&client, memory, size, &soak.to, NULL, &copy); return;
    default:
        ck_assert_int_eq(CALL(loop_datagram_sendv(&client.datagram, iov, 3, &soak.to, port_send_cb, NULL, NULL)), 0);
    }
}

static void soak_more(void)
{
    while (!soak.over && soak.sent < SOAK_COUNT && soak.sent < soak.answered + SOAK_WINDOW)
        soak_send(soak.sent++);
    port_receive(&server);
}

static void soak_check(struct port *port, const struct loop_datagram_message *message)
{
    (void)port;
    ck_assert_int_eq(message->error, 0);
    ck_assert_uint_eq(message->flags, 0);
    ck_assert_uint_eq(message->size, soak_size(soak.answered));
    pattern_check(soak.answered, 0, message->data, message->size);
    soak.answered++;
    if (test_random(&soak.random) % 3 == 0 || soak.answered == soak.sent)
        soak_more();
}

static void soak_tick(struct loop_timer *timer)
{
    (void)timer;
    if (loop_datagram_fd(&server.datagram) >= 0)
        port_receive(&server);
}

/* Goal: byte for byte, in order and complete, whatever sizes and ways of sending are mixed. Method: a client keeps a
 * few datagrams of random size in flight to a server that answers each, stops and starts at random; until a number of
 * them, or for some seconds. */
START_TEST(exchange)
{
    const struct loop_datagram_options options = {.receive_size = SIZE_MAX_SENT};
    struct loop_timer                  tick = {0};
    uint64_t                           end = test_clock() + SOAK_SECONDS * LOOP_SECOND;

    soak.random = test_env("TEST_SEED", 1) + (uint64_t)_i;
    soak.loop = test_loop_new(NULL);
    port_open(soak.loop, &server, _i, &options);
    port_open(soak.loop, &client, _i, &options);
    server.on_message = soak_answer;
    client.on_message = soak_check;
    port_receive(&server);
    port_receive(&client);
    soak.to = port_address(&server);
    ck_assert_int_eq(loop_timer_start(soak.loop, &tick, LOOP_MILLISECOND, LOOP_MILLISECOND, soak_tick), 0);
    soak_more();
    while (soak.answered < SOAK_COUNT && !(soak.over && soak.answered == soak.sent)) {
        uint32_t before = soak.answered;

        soak.over = test_clock() > end;
        run_until(soak.loop, soak.answered > before || (soak.over && soak.answered == soak.sent));
    }
    run_until(soak.loop, client.sends_done == soak.sent && server.sends_done == soak.sent);
    ck_assert_uint_gt(soak.sent, 1000);
    ck_assert_uint_eq(client.sends_failed + server.sends_failed, 0);
    loop_timer_stop(&tick);
    port_close(&server);
    port_close(&client);
    run_until(soak.loop, server.closes == 1 && client.closes == 1);
    test_loop_free(soak.loop);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("net/datagram_stress");
    TCase *tcase = test_case(suite, "memory");

    tcase_add_loop_test(tcase, each_allocation_fails, 0, port_kinds());
    tcase = test_case(suite, "exchange");
    tcase_add_loop_test(tcase, exchange, 0, port_kinds());
    return suite;
}
