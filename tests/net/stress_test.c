/* tests/net/stress_test.c: many streams at a time. RINGLOOP_SEED repeats a run. */
#include "tests/net/net_test.h"

#include <sys/resource.h>
#include <sys/wait.h>

/* ---- random use */

enum { PAIRS = 50, BUDGET_MIN = 50000, BUDGET_MAX = 400000 };

/* What one end does, decided by its own random numbers whenever its timer fires. */
struct actor {
    struct end        end;
    struct loop_timer timer;
    struct loop      *loop;
    struct actor     *other;
    uint64_t          random;
    uint64_t          budget; /* bytes to write before it shuts down */
    bool              wild;   /* may close or reset at any time */
    bool              stopped;
    bool              shut;
};

static struct actor actors[2 * PAIRS];

static void actor_act(struct loop_timer *timer);

static void actor_closed(struct loop_stream *stream)
{
    struct actor *actor = end_of(stream)->arg;

    end_close_cb(stream);
    loop_timer_stop(&actor->timer);
}

static void actor_close(struct actor *actor)
{
    loop_timer_stop(&actor->timer);
    if (test_random(&actor->random) % 2 == 0 && actor->wild)
        loop_stream_reset(&actor->end.stream, actor_closed);
    else
        loop_stream_close(&actor->end.stream, actor_closed);
}

static void actor_rest(struct actor *actor)
{
    uint64_t pause = test_random(&actor->random) % 4 == 0 ? test_random(&actor->random) % (3 * LOOP_MILLISECOND) : 0;

    if (!loop_stream_closing(&actor->end.stream))
        ck_assert_int_eq(loop_timer_start(actor->loop, &actor->timer, pause, 0, actor_act), 0);
}

static void actor_shut(struct loop_stream *stream, int error)
{
    struct actor *actor = end_of(stream)->arg;

    end_shutdown_cb(stream, error);
    if (error == 0 && actor->end.read_ends > 0)
        actor_close(actor);
}

static void actor_read(struct loop_stream *stream, const struct loop_result *result)
{
    struct actor *actor = end_of(stream)->arg;

    ck_assert(!actor->stopped);
    end_read_cb(stream, result);
    if (result->res < 0 || (result->res == 0 && (actor->end.shutdowns > 0 || actor->end.writes_failed > 0))) {
        actor_close(actor);
    } else if (result->res > 0 && test_random(&actor->random) % 16 == 0) {
        ck_assert_int_eq(CALL(loop_stream_read_stop(stream)), 0);
        actor->stopped = true;
    }
}

static void actor_write(struct actor *actor)
{
    uint64_t kind = test_random(&actor->random) % 8;
    size_t   size = 1 + test_random(&actor->random) % (kind == 0 ? 100000 : kind < 4 ? 5000 : 100);
    int      r = end_write(&actor->end, size, test_random(&actor->random) % 2 == 0 ? 0 : LOOP_WRITE_COPY);

    ck_assert(r == 0 || (r == -EPIPE && actor->end.writes_failed > 0));
}

static void actor_act(struct loop_timer *timer)
{
    struct actor *actor = timer->data;
    uint64_t      dice = test_random(&actor->random) % 100;

    if (actor->wild && (actor->end.writes_failed > 0 || dice == 0)) {
        actor_close(actor);
        return;
    }
    if (actor->stopped) {
        actor->stopped = false;
        if (actor->end.read_ends == 0)
            ck_assert_int_eq(CALL(loop_stream_read_start(&actor->end.stream, actor_read)), 0);
    }
    if (!actor->shut && actor->end.write_bytes < actor->budget) {
        for (uint64_t count = dice % 5; count > 0; count--)
            actor_write(actor);
    } else if (!actor->shut) {
        actor->shut = true;
        ck_assert_int_eq(CALL(loop_stream_shutdown(&actor->end.stream, actor_shut)), 0);
    }
    actor_rest(actor);
}

static void actor_start(struct loop *loop, struct actor *actor, uint32_t number, int fd, uint64_t *seed)
{
    *actor = (struct actor){
        .loop = loop,
        .other = &actors[number ^ 1],
        .random = test_random(seed),
        .wild = number / 4 % 2 == 1,
        .timer.data = actor,
        .end = {.arg = actor, .write_flow = number, .read_flow = number ^ 1},
    };
    actor->budget = BUDGET_MIN + test_random(&actor->random) % (BUDGET_MAX - BUDGET_MIN);
    end_open(loop, &actor->end, fd, NULL);
    ck_assert_int_eq(CALL(loop_stream_read_start(&actor->end.stream, actor_read)), 0);
    actor_rest(actor);
}

/* Goal: whatever the order of writes, pauses, shutdowns, closes and resets, no byte is wrong, lost or doubled, every
 * write comes back once, and every stream closes. Method: both ends of 50 connections act at random; half of the pairs
 * end in order and must have got everything, the others break off at any time and must have got no more than was sent.
 * The group is small, so that receives find it empty; with i odd the rings are as small as can be, so that they
 * run over. */
START_TEST(random_use)
{
    struct loop_options options = {.buffer_size = 4096, .buffer_count = 8};
    uint64_t            seed = test_env("RINGLOOP_SEED", 1) + (uint64_t)_i;
    struct loop        *loop;

    if (_i % 2 == 1)
        options.sq_entries = options.cq_entries = 8;
    loop = test_loop_new(&options);
    for (uint32_t i = 0; i < 2 * PAIRS; i += 2) {
        int fds[2];

        net_pair(i / 2 % 2 == 0 ? NET_TCP4 : NET_UNIX, fds);
        actor_start(loop, &actors[i], i, fds[0], &seed);
        actor_start(loop, &actors[i + 1], i + 1, fds[1], &seed);
    }
    for (uint32_t i = 0; i < 2 * PAIRS; i++)
        run_until(loop, actors[i].end.closes == 1);
    for (uint32_t i = 0; i < 2 * PAIRS; i++) {
        struct end *end = &actors[i].end, *other = &actors[i].other->end;

        ck_assert_uint_eq(end->writes_done, end->writes_started);
        ck_assert_uint_le(end->read_bytes, other->taken_bytes);
        if (actors[i].wild)
            continue;
        ck_assert_uint_eq(end->writes_failed, 0);
        ck_assert_uint_ge(end->taken_bytes, BUDGET_MIN);
        ck_assert_uint_eq(end->read_bytes, other->write_bytes);
        ck_assert_int_eq(end->read_error, 0);
        ck_assert_int_eq(end->shutdown_error, 0);
    }
    ck_assert_uint_gt(test_stats(loop).rearms, 0);
    test_loop_free(loop);
}
END_TEST

/* ---- many idle connections */

enum { CONNECTIONS = 10000, SPARE_DESCRIPTORS = 100, AT_A_TIME = 500, ECHO_EVERY = 97, ECHO_BYTES = 1000 };

static struct {
    struct loop         *loop;
    struct loop_listener listener;
    struct end          *ends;
    uint32_t             accepted, closed;
    bool                 listener_closed;
} crowd;

static void crowd_closed(struct loop_stream *stream)
{
    end_close_cb(stream);
    crowd.closed++;
}

static void crowd_read(struct loop_stream *stream, const struct loop_result *result)
{
    struct end *end = end_of(stream);

    end_read_cb(stream, result);
    if (result->res <= 0)
        loop_stream_close(stream, crowd_closed);
    else
        must_write(end, result->data, (size_t)result->res, NULL, NULL,
                   &(const struct loop_write_terms){.release = result->buffer});
}

static void crowd_accept(struct loop_listener *listener, int result)
{
    struct end *end = &crowd.ends[crowd.accepted];

    (void)listener;
    callback_enter();
    ck_assert_msg(result >= 0, "accept: %s", error_text(result));
    ck_assert_uint_lt(crowd.accepted, CONNECTIONS);
    *end = (struct end){.read_flow = 1};
    crowd.accepted++;
    end_open(crowd.loop, end, result, NULL);
    ck_assert_int_eq(CALL(loop_stream_read_start(&end->stream, crowd_read)), 0);
}

static void crowd_listener_closed(struct loop_listener *listener)
{
    (void)listener;
    crowd.listener_closed = true;
}

/* The clients live in a process of their own, so that each has descriptors for one end only. It does what it is told,
 * answers by a byte, and exits where something goes wrong. */
struct order {
    enum { ORDER_DIAL, ORDER_ECHO, ORDER_DROP } what;
    uint32_t            first, count;
    struct loop_address address;
};

static void client_must(bool good)
{
    if (!good)
        _exit(1);
}

/* Connects from an address of its own among 127.0.0.0/8, so that no run meets the ports that another left in TIME_WAIT.
 */
static int client_dial(const struct loop_address *address, uint64_t *random)
{
    struct sockaddr_in from = {.sin_family = AF_INET};
    const int          on = 1;
    int                fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    client_must(fd >= 0);
    from.sin_addr.s_addr = htonl(0x7f000000 | (uint32_t)(0x10000 + test_random(random) % 0xe00000));
    client_must(setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on)) == 0);
    client_must(bind(fd, (const struct sockaddr *)&from, sizeof(from)) == 0);
    client_must(connect(fd, (const struct sockaddr *)&address->storage, address->size) == 0);
    return fd;
}

static void client_echo(int fd)
{
    char bytes[ECHO_BYTES], answer[ECHO_BYTES];

    pattern_fill(1, 0, bytes, sizeof(bytes));
    client_must(send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL) == sizeof(bytes));
    client_must(recv(fd, answer, sizeof(answer), MSG_WAITALL) == sizeof(answer));
    client_must(memcmp(bytes, answer, sizeof(bytes)) == 0);
}

/* Half of them by reset. */
static void client_drop(int fd)
{
    const struct linger linger = {.l_onoff = fd % 2, .l_linger = 0};

    client_must(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)) == 0);
    client_must(close(fd) == 0);
}

static void clients_main(int orders)
{
    static int   fds[CONNECTIONS];
    struct order order;
    uint64_t     random = test_clock();

    while (read(orders, &order, sizeof(order)) == sizeof(order)) {
        for (uint32_t i = order.first; i < order.first + order.count; i++) {
            switch (order.what) {
            case ORDER_DIAL: fds[i] = client_dial(&order.address, &random); break;
            case ORDER_ECHO: client_echo(fds[i]); break;
            case ORDER_DROP: client_drop(fds[i]); break;
            }
        }
        client_must(write(orders, "", 1) == 1);
    }
    _exit(0);
}

static bool answered(int orders)
{
    char    byte;
    ssize_t n = recv(orders, &byte, 1, MSG_DONTWAIT);

    ck_assert_msg(n > 0 || (n < 0 && errno == EAGAIN), "the process of the clients has failed");
    return n > 0;
}

static void order_clients(int orders, const struct order *order)
{
    test_write(orders, order, sizeof(*order));
    pump_until(crowd.loop, answered(orders));
}

static bool raise_descriptors(rlim_t count)
{
    struct rlimit limit;

    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_cur >= count)
        return true;
    limit.rlim_cur = count;
    if (limit.rlim_max < count)
        limit.rlim_max = count; /* this is for the superuser only */
    return setrlimit(RLIMIT_NOFILE, &limit) == 0;
}

/* Goal: ten thousand idle connections hold no buffer and little memory, are all served, and may all go at once. Method:
 * clients in another process; an echo through some of them; then all drop before the loop takes a turn. */
START_TEST(ten_thousand_connections)
{
    struct order order = {.address = net_address(NET_TCP4)};
    uint64_t     memory = 0;
    int          orders[2], status;
    pid_t        pid;

    if (!raise_descriptors(CONNECTIONS + SPARE_DESCRIPTORS)) {
        test_skip("this process may not have %d open files", CONNECTIONS + SPARE_DESCRIPTORS);
        return;
    }
    test_socketpair(orders);
    fflush(NULL);
    pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        close(orders[0]);
        clients_main(orders[1]);
    }
    test_close(orders[1]);

    crowd.loop = test_loop_new(NULL);
    crowd.ends = malloc(CONNECTIONS * sizeof(*crowd.ends));
    ck_assert_ptr_nonnull(crowd.ends);
    ck_assert_int_eq(CALL(loop_listener_start(crowd.loop, &crowd.listener, &order.address, NULL, crowd_accept)), 0);
    ck_assert_int_eq(loop_listener_address(&crowd.listener, &order.address), 0);
    order.what = ORDER_DIAL;
    order.count = AT_A_TIME;
    for (; order.first < CONNECTIONS; order.first += AT_A_TIME) {
        order_clients(orders[0], &order);
        run_until(crowd.loop, crowd.accepted == order.first + AT_A_TIME);
        settle(crowd.loop);
        if (order.first == AT_A_TIME)
            memory = test_memory.bytes;
    }
    ck_assert_uint_eq(test_stats(crowd.loop).buffers_lent, 0);
    ck_assert_uint_lt((test_memory.bytes - memory) / (CONNECTIONS - 2 * AT_A_TIME), 512);

    order.what = ORDER_ECHO;
    order.count = 1;
    for (order.first = 0; order.first < CONNECTIONS; order.first += ECHO_EVERY)
        order_clients(orders[0], &order);
    settle(crowd.loop);
    ck_assert_uint_eq(test_stats(crowd.loop).buffers_lent, 0);
    ck_assert_uint_eq(crowd.closed, 0);

    order = (struct order){.what = ORDER_DROP, .count = CONNECTIONS};
    test_write(orders[0], &order, sizeof(order));
    while (!answered(orders[0]))
        test_sleep(LOOP_MILLISECOND);
    run_until(crowd.loop, crowd.closed == CONNECTIONS);
    for (uint32_t i = 0; i < CONNECTIONS; i++) {
        ck_assert_uint_eq(crowd.ends[i].closes, 1);
        ck_assert_uint_eq(crowd.ends[i].read_bytes, i % ECHO_EVERY == 0 ? ECHO_BYTES : 0);
    }
    loop_listener_close(&crowd.listener, crowd_listener_closed);
    test_run(crowd.loop);
    ck_assert(crowd.listener_closed);
    test_loop_free(crowd.loop);
    free(crowd.ends);
    test_close(orders[0]);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("net/stress");
    TCase *tcase = test_case(suite, "stress");

    tcase_add_loop_test(tcase, random_use, 0, 4);
    tcase_add_test(tcase, ten_thousand_connections);
    return suite;
}
