/* tests/net/dial_test.c: connecting to the first address that answers, by address and by name; streams by name. */
#include "tests/net/name_server.h"

#include <fcntl.h>
#include <netinet/tcp.h>

static const uint64_t never_ns = 3600 * LOOP_SECOND; /* no test lasts so long */

static struct loop       *loop;
static struct name_server server;

static void open_loop(void)
{
    loop = test_loop_new(NULL);
}

static void close_loop(void)
{
    settle(loop);
    test_loop_free(loop);
}

/* ---- places to connect to */

/* A listener whose backlog is full: whoever connects to it waits. */
struct hole {
    struct loop_address address;
    int                 fd, fillers[4];
};

static void hole_open(struct hole *hole, const char *host, uint16_t port)
{
    struct loop_address address = net_parse(host, port);

    hole->fd = socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(hole->fd, 0);
    ck_assert_int_eq(bind(hole->fd, (const struct sockaddr *)&address.storage, address.size), 0);
    ck_assert_int_eq(listen(hole->fd, 0), 0);
    ck_assert_int_eq(getsockname(hole->fd, (struct sockaddr *)&address.storage, &address.size), 0);
    hole->address = address;
    for (size_t i = 0; i < TEST_COUNT(hole->fillers); i++) {
        int error;

        hole->fillers[i] = net_dial_start(&address, &error);
        ck_assert(error == 0 || error == -EINPROGRESS || error == -EAGAIN);
    }
    test_sleep(5 * LOOP_MILLISECOND);
}

static void hole_close(struct hole *hole)
{
    for (size_t i = 0; i < TEST_COUNT(hole->fillers); i++)
        test_close(hole->fillers[i]);
    test_close(hole->fd);
}

/* A port of 127.0.0.1, or ::1, at which nobody listens, nor at the other: bound, so that nobody will. */
static int closed_port(struct loop_address *ret_four, struct loop_address *ret_six)
{
    struct loop_address address = net_parse("::", 0);
    int                 fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(bind(fd, (const struct sockaddr *)&address.storage, address.size), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address.storage, &address.size), 0);
    *ret_four = net_parse("127.0.0.1", loop_address_port(&address));
    *ret_six = net_parse("::1", loop_address_port(&address));
    return fd;
}

/* A listener at 127.0.0.1 or ::1, with a socket that keeps others from listening at the same port of the other. */
struct lone {
    struct loop_address address;
    int                 fd, other;
};

static void lone_open(struct lone *lone, int kind)
{
    lone->other = -1;
    for (int i = 0; i < 100 && lone->other < 0; i++) {
        struct loop_address other;
        int                 one = 1;

        lone->fd = net_listen(kind, 100, &lone->address);
        other = net_parse(kind == NET_TCP4 ? "::1" : "127.0.0.1", loop_address_port(&lone->address));
        lone->other = socket(other.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ck_assert_int_ge(lone->other, 0);
        if (kind == NET_TCP4)
            ck_assert_int_eq(setsockopt(lone->other, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)), 0);
        if (bind(lone->other, (const struct sockaddr *)&other.storage, other.size) == 0)
            return;
        test_close(lone->other);
        test_close(lone->fd);
        lone->other = -1;
    }
    ck_abort_msg("no port is free");
}

static void lone_close(struct lone *lone)
{
    test_close(lone->other);
    test_close(lone->fd);
}

/* ---- a dial and what came of it */

struct call {
    struct loop_dial    dial;
    uint32_t            calls;
    int                 fd; /* or the error */
    struct loop_address address;
    struct call        *cancels; /* in its callback */
};

static void dialed(struct loop_dial *dial, int fd, const struct loop_address *address)
{
    struct call *call = dial->data;

    callback_enter();
    call->calls++;
    call->fd = fd;
    ck_assert((fd < 0) == (address == NULL));
    if (address != NULL)
        call->address = *address;
    ck_assert_ptr_eq(loop_dial_loop(dial), loop);
    ck_assert_int_eq(CALL(loop_dial_cancel(dial)), -ENOENT);
    if (call->cancels != NULL)
        (void)CALL(loop_dial_cancel(&call->cancels->dial));
}

static int start(struct call *call, const struct loop_address *addresses, size_t count,
                 const struct loop_dial_options *options)
{
    call->dial.data = call;
    return CALL(loop_dial_start(loop, &call->dial, addresses, count, options, dialed));
}

static int start_name(struct call *call, const char *host, const char *service, const struct loop_dial_options *options)
{
    call->dial.data = call;
    return CALL(loop_dial_name(loop, &call->dial, host, service, options, dialed));
}

/* It must have connected there. */
static void check_connected(struct call *call, const struct loop_address *to)
{
    struct loop_address peer = {.size = sizeof(peer.storage)};

    ck_assert_uint_eq(call->calls, 1);
    ck_assert_msg(call->fd >= 0, "%s", error_text(call->fd));
    ck_assert_int_eq(getpeername(call->fd, (struct sockaddr *)&peer.storage, &peer.size), 0);
    ck_assert_int_eq(loop_address_compare(&peer, to), 0);
    ck_assert_int_eq(loop_address_compare(&call->address, to), 0);
    ck_assert_int_eq(fcntl(call->fd, F_GETFL) & O_NONBLOCK, 0);
    ck_assert_int_ne(fcntl(call->fd, F_GETFD) & FD_CLOEXEC, 0);
    test_close(call->fd);
}

static void expect_addresses(const struct loop_address *addresses, size_t count, struct loop_dial_options options,
                             const struct loop_address *winner, int error)
{
    struct call call = {0};

    ck_assert_int_eq(start(&call, addresses, count, &options), 0);
    ck_assert_uint_eq(call.calls, 0);
    run_until(loop, call.calls > 0);
    test_run(loop);
    if (winner != NULL)
        check_connected(&call, winner);
    else
        ck_assert_msg(call.fd == error, "%s, not %s", error_text(call.fd), error_text(error));
}

/* ---- by address */

/* Goal: one address of each kind. */
START_TEST(one_address)
{
    struct loop_address address;
    int                 listener;

    if (_i >= net_kinds())
        return;
    open_loop();
    listener = net_listen(_i, 10, &address);
    expect_addresses(&address, 1, (struct loop_dial_options){0}, &address, 0);
    test_close(listener);
    if (_i != NET_UNIX)
        expect_addresses(&address, 1, (struct loop_dial_options){0}, NULL, -ECONNREFUSED);
    close_loop();
}
END_TEST

/* Goal: where an attempt fails the next begins at once. Method: an hour between attempts. */
START_TEST(failures_do_not_wait)
{
    struct loop_address addresses[4], closed_four, closed_six;
    int                 listener, closed;

    if (net_kinds() < NET_KINDS)
        return;
    open_loop();
    listener = net_listen(NET_TCP4, 10, &addresses[3]);
    closed = closed_port(&closed_four, &closed_six);
    addresses[0] = closed_six;
    addresses[1] = closed_six;
    addresses[2] = net_parse("unix:/nowhere/at/all", 0);
    expect_addresses(addresses, 4, (struct loop_dial_options){.attempt_delay_ns = never_ns}, &addresses[3], 0);
    test_close(listener);
    expect_addresses(addresses, 4, (struct loop_dial_options){.attempt_delay_ns = never_ns}, NULL, -ECONNREFUSED);
    test_close(closed);
    close_loop();
}
END_TEST

/* Goal: an address that does not answer holds up the next for the delay alone, and loses; without its delay it holds
 * them up until the time is over. */
START_TEST(black_hole)
{
    struct loop_address addresses[2];
    struct hole         hole;
    int                 listener;

    open_loop();
    listener = net_listen(NET_TCP4, 10, &addresses[1]);
    hole_open(&hole, "127.0.0.1", 0);
    addresses[0] = hole.address;
    expect_addresses(addresses, 2, (struct loop_dial_options){.attempt_delay_ns = 10 * LOOP_MILLISECOND}, &addresses[1],
                     0);
    expect_addresses(addresses, 2, (struct loop_dial_options){0}, &addresses[1], 0);
    expect_addresses(addresses, 2,
                     (struct loop_dial_options){.attempt_delay_ns = never_ns, .timeout_ns = 30 * LOOP_MILLISECOND},
                     NULL, -ETIMEDOUT);
    expect_addresses(addresses, 1, (struct loop_dial_options){.timeout_ns = 30 * LOOP_MILLISECOND}, NULL, -ETIMEDOUT);
    hole_close(&hole);
    test_close(listener);
    close_loop();
}
END_TEST

/* Goal: families alternate, beginning with that of the first. Method: each attempt fails with an error of its own, and
 * the last one is told. */
START_TEST(families_alternate)
{
    struct loop_address missing = net_parse("unix:/nowhere/at/all", 0), four, six;
    struct loop_address first[] = {missing, missing, missing}, second[] = {missing, missing, missing};
    int                 closed;

    if (net_kinds() < NET_KINDS)
        return;
    open_loop();
    closed = closed_port(&four, &six);
    first[2] = four; /* tried second */
    expect_addresses(first, 3, (struct loop_dial_options){0}, NULL, -ENOENT);
    second[1] = second[2] = four; /* four, then missing would have been left: missing, four, four */
    expect_addresses(second, 3, (struct loop_dial_options){0}, NULL, -ECONNREFUSED);
    test_close(closed);
    close_loop();
}
END_TEST

/* Goal: errors about the way there give place to those of the host. Method: a network of our own, in which only the
 * loopback interface leads anywhere. */
START_TEST(telling_errors)
{
    struct loop_address addresses[2], four, six;
    int                 closed;

    if (net_kinds() < NET_KINDS)
        return;
    if (!name_world()) {
        test_skip("no network of our own here");
        return;
    }
    open_loop();
    closed = closed_port(&four, &six);
    addresses[0] = net_parse("192.0.2.1", 80);
    addresses[1] = four;
    expect_addresses(addresses, 2, (struct loop_dial_options){0}, NULL, -ECONNREFUSED);
    addresses[1] = addresses[0];
    addresses[0] = four;
    expect_addresses(addresses, 2, (struct loop_dial_options){0}, NULL, -ECONNREFUSED);
    expect_addresses(&addresses[1], 1, (struct loop_dial_options){0}, NULL, -ENETUNREACH);
    test_close(closed);
    close_loop();
}
END_TEST

/* Goal: no more than 16 sockets at a time, and none is left over. Method: a black hole given forty times. */
START_TEST(sockets_at_a_time)
{
    struct loop_address addresses[40];
    struct call         call = {0};
    struct hole         hole;
    uint32_t            before;

    open_loop();
    test_turns(loop, 1);
    hole_open(&hole, "127.0.0.1", 0);
    before = test_fd_count();
    for (size_t i = 0; i < TEST_COUNT(addresses); i++)
        addresses[i] = hole.address;
    ck_assert_int_eq(start(&call, addresses, TEST_COUNT(addresses),
                           &(struct loop_dial_options){.attempt_delay_ns = 10 * LOOP_MILLISECOND}),
                     0);
    run_until(loop, test_fd_count() == before + 16);
    run_for(loop, 50 * LOOP_MILLISECOND);
    ck_assert_uint_eq(test_fd_count(), before + 16);
    ck_assert_int_eq(CALL(loop_dial_cancel(&call.dial)), 0);
    test_run(loop);
    ck_assert_int_eq(call.fd, -ECANCELED);
    ck_assert_uint_eq(test_fd_count(), before);
    hole_close(&hole);
    close_loop();
}
END_TEST

/* Goal: a cancel ends it with -ECANCELED, once, and no socket is left. Method: at once, while an attempt waits, when
 * it has connected but that has not been told, twice. */
START_TEST(cancel)
{
    struct loop_address address;
    struct call         calls[2] = {0};
    struct hole         hole;
    int                 listener;

    open_loop();
    listener = net_listen(NET_TCP4, 10, &address);
    hole_open(&hole, "127.0.0.1", 0);
    ck_assert_int_eq(CALL(loop_dial_cancel(&calls[0].dial)), -ENOENT);
    ck_assert_int_eq(start(&calls[0], &address, 1, NULL), 0);
    ck_assert_int_eq(start(&calls[0], &address, 1, NULL), -EBUSY);
    ck_assert_int_eq(CALL(loop_dial_cancel(&calls[0].dial)), 0);
    ck_assert_int_eq(CALL(loop_dial_cancel(&calls[0].dial)), 0);
    ck_assert_uint_eq(calls[0].calls, 0);
    test_run(loop);
    ck_assert(calls[0].calls == 1 && calls[0].fd == -ECANCELED);

    ck_assert_int_eq(start(&calls[0], &hole.address, 1, NULL), 0);
    test_turns(loop, 3);
    ck_assert_int_eq(CALL(loop_dial_cancel(&calls[0].dial)), 0);
    test_turns(loop, 1);
    ck_assert(calls[0].calls == 2 && calls[0].fd == -ECANCELED);

    calls[0].cancels = &calls[1];
    calls[1].cancels = &calls[0];
    calls[0].calls = 0;
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(start(&calls[i], &address, 1, NULL), 0);
    test_run(loop);
    ck_assert_uint_eq(calls[0].calls, 1);
    ck_assert_uint_eq(calls[1].calls, 1);
    ck_assert((calls[0].fd == -ECANCELED) != (calls[1].fd == -ECANCELED));
    test_close(calls[0].fd == -ECANCELED ? calls[1].fd : calls[0].fd);
    hole_close(&hole);
    test_close(listener);
    close_loop();
}
END_TEST

/* Goal: loop_destroy() ends all of them with -ECANCELED, and closes what they had. Method: in flight, connected and not
 * told, waiting for a name. */
START_TEST(destroy)
{
    struct loop_address address;
    struct call         calls[4] = {0};
    struct hole         hole;
    int                 listener;

    open_loop();
    listener = net_listen(NET_TCP4, 10, &address);
    hole_open(&hole, "127.0.0.1", 0);
    ck_assert_int_eq(start(&calls[0], &hole.address, 1, NULL), 0);
    test_turns(loop, 2);
    ck_assert_int_eq(start(&calls[1], &address, 1, NULL), 0);
    ck_assert_int_eq(start_name(&calls[2], "localhost", "80", NULL), 0);
    ck_assert_int_eq(start_name(&calls[3], "127.0.0.1", "http", NULL), 0);
    ck_assert_int_eq(loop_destroy(loop), 0);
    for (int i = 0; i < 4; i++)
        ck_assert(calls[i].calls == 1 && calls[i].fd == -ECANCELED);
    hole_close(&hole);
    test_close(listener);
}
END_TEST

/* Goal: what makes no sense is refused, and leaves nothing behind. */
START_TEST(refused)
{
    struct loop_address many[LOOP_RESOLVE_ADDRESSES_MAX + 1], none = {0};
    struct call         call = {.dial.data = &call};

    open_loop();
    for (size_t i = 0; i < TEST_COUNT(many); i++)
        many[i] = net_parse("127.0.0.1", 80);
    ck_assert_int_eq(start(&call, many, 0, NULL), -EINVAL);
    ck_assert_int_eq(start(&call, NULL, 1, NULL), -EINVAL);
    ck_assert_int_eq(start(&call, many, TEST_COUNT(many), NULL), -EINVAL);
    ck_assert_int_eq(start(&call, &none, 1, NULL), -EINVAL);
    ck_assert_int_eq(loop_dial_start(loop, &call.dial, many, 1, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_dial_start(loop, NULL, many, 1, NULL, dialed), -EINVAL);
    ck_assert_ptr_null(loop_dial_loop(&call.dial));
    ck_assert_int_eq(start(&call, many, 1, &(struct loop_dial_options){.flags = LOOP_RESOLVE_PASSIVE}), -EINVAL);
    ck_assert_int_eq(start(&call, many, 1, &(struct loop_dial_options){.attempt_delay_ns = 1}), -EINVAL);
    ck_assert_int_eq(start(&call, many, 1, &(struct loop_dial_options){.family = AF_UNIX}), -EAFNOSUPPORT);
    ck_assert_int_eq(start_name(&call, "two words", "80", NULL), -EINVAL);
    ck_assert_int_eq(start_name(&call, "localhost", "65536", NULL), -EINVAL);
    ck_assert_int_eq(start_name(&call, "::1", "80", &(struct loop_dial_options){.family = AF_INET}), -EAFNOSUPPORT);
    ck_assert_int_eq(start_name(&call, "localhost", "80", &(struct loop_dial_options){.flags = LOOP_RESOLVE_NUMERIC}),
                     -EINVAL);
    ck_assert(!loop_alive(loop));
    test_run(loop);
    ck_assert_uint_eq(call.calls, 0);
    close_loop();
}
END_TEST

/* ---- by name */

/* False if no server can be asked here. */
static bool open_names(struct loop_dial_options *ret_options)
{
    bool by_ares = strncmp(loop_resolve_backend(), "c-ares ", 7) == 0;

    if (net_kinds() < NET_KINDS) /* most of these are about two families */
        return false;
    if (!by_ares && !name_world()) {
        test_skip("no network of our own here");
        return false;
    }
    open_loop();
    name_server_open(&server, by_ares ? 0 : 53);
    *ret_options = (struct loop_dial_options){.servers = by_ares ? server.servers : NULL};
    return true;
}

static void close_names(void)
{
    name_server_let(&server);
    settle(loop);
    test_loop_drop(loop); /* a thread may still look for what nobody wants */
    name_server_close(&server);
}

static const char *service_of(const struct loop_address *address)
{
    static char text[8];

    snprintf(text, sizeof(text), "%u", loop_address_port(address));
    return text;
}

static void expect_connected(const char *host, const struct loop_address *to, const struct loop_dial_options *options)
{
    struct call call = {0};

    ck_assert_int_eq(start_name(&call, host, service_of(to), options), 0);
    run_until(loop, call.calls > 0);
    check_connected(&call, to);
}

/* Goal: a name with addresses of both families is connected by the one that answers; numbers and this machine too. */
START_TEST(names)
{
    struct loop_dial_options options, four_only;
    struct lone              lone;

    if (_i == NET_UNIX || !open_names(&options))
        return;
    lone_open(&lone, _i);
    options.attempt_delay_ns = never_ns; /* the other family is refused */
    expect_connected("loopback.test", &lone.address, &options);
    expect_connected(_i == NET_TCP4 ? "loop4.test" : "loop6.test", &lone.address, &options);
    expect_connected(_i == NET_TCP4 ? "127.0.0.1" : "::1", &lone.address, &options);
    expect_connected(NULL, &lone.address, &options);
    if (_i == NET_TCP4) {
        four_only = options;
        four_only.family = AF_INET;
        expect_connected("loopback.test", &lone.address, &four_only);
    }
    lone_close(&lone);
    close_names();
}
END_TEST

/* Goal: addresses of one family are tried although those of the other are not known: IPv6 at once, IPv4 after a while,
 * and those that come later still are. */
START_TEST(slow_half)
{
    struct loop_dial_options options;
    struct lone              four, six;
    struct call              late = {0};

    if (!open_names(&options))
        return;
    lone_open(&four, NET_TCP4);
    lone_open(&six, NET_TCP6);
    expect_connected("held6-loop.test", &four.address, &options);
    expect_connected("held4-loop.test", &six.address, &options);
    ck_assert_int_eq(start_name(&late, "held4-loop.test", service_of(&four.address), &options), 0);
    run_for(loop, 80 * LOOP_MILLISECOND); /* IPv6 is refused */
    ck_assert_msg(late.calls == 0, "%s", error_text(late.fd));
    name_server_let(&server);
    run_until(loop, late.calls > 0);
    check_connected(&late, &four.address);
    lone_close(&four);
    lone_close(&six);
    close_names();
}
END_TEST

/* Goal: errors of names, if no address was found; of attempts, if any was. */
START_TEST(name_errors)
{
    static const struct {
        const char *host;
        int         family, error;
    } cases[] = {
        {"missing.test", 0, -ENOENT},       {"missing.test", AF_INET, -ENOENT}, {"none.test", 0, -ENODATA},
        {"loop4.test", AF_INET6, -ENODATA}, {"servfail.test", 0, -EAGAIN},      {"loopback.test", 0, -ECONNREFUSED},
        {"loop4.test", 0, -ECONNREFUSED},   {"loop6.test", 0, -ECONNREFUSED},
    };
    struct loop_dial_options options;
    struct loop_address      four, six;
    struct call              call = {0};
    int                      closed;

    if (!open_names(&options))
        return;
    closed = closed_port(&four, &six);
    for (size_t i = 0; i < TEST_COUNT(cases); i++) {
        call.calls = 0;
        options.family = cases[i].family;
        ck_assert_int_eq(start_name(&call, cases[i].host, service_of(&four), &options), 0);
        run_until(loop, call.calls > 0);
        ck_assert_msg(call.fd == cases[i].error, "%s: %s, not %s", cases[i].host, error_text(call.fd),
                      error_text(cases[i].error));
    }
    options.family = 0;
    options.timeout_ns = 20 * LOOP_MILLISECOND;
    call.calls = 0;
    ck_assert_int_eq(start_name(&call, "held.test", "80", &options), 0);
    run_until(loop, call.calls > 0);
    ck_assert_int_eq(call.fd, -ETIMEDOUT);
    test_close(closed);
    close_names();
}
END_TEST

/* Goal: without memory it fails, and nothing is left. Method: each allocation of the loop's fails in its turn. */
START_TEST(without_memory)
{
    struct loop_dial_options options;
    struct loop_address      address, addresses[2];
    uint64_t                 failed = 0;
    int                      listener;

    if (!open_names(&options))
        return;
    listener = net_listen(NET_TCP4, 100, &address);
    addresses[0] = addresses[1] = address;
    test_loop_drop(loop);
    for (uint64_t nth = 1; nth < 100; nth++) {
        struct call calls[2] = {0};

        open_loop();
        options.timeout_ns = 2 * LOOP_SECOND;
        test_memory.fail_at = test_memory.calls + nth;
        for (int i = 0; i < 2; i++) {
            int r = i == 0 ? start(&calls[i], addresses, 2, &options)
                           : start_name(&calls[i], "loopback.test", service_of(&address), &options);

            ck_assert(r == 0 || r == -ENOMEM);
            calls[i].fd = -ENOMEM;
        }
        test_run(loop);
        failed = test_memory.failed;
        test_memory.fail_at = 0;
        for (int i = 0; i < 2; i++) {
            if (calls[i].fd >= 0)
                test_close(calls[i].fd);
            else
                ck_assert(calls[i].fd == -ENOMEM || calls[i].fd == -ETIMEDOUT || calls[i].fd == -ECONNREFUSED);
        }
        test_loop_drop(loop);
        if (failed < nth)
            break;
    }
    ck_assert_uint_gt(failed, 5);
    test_close(listener);
    open_loop();
    close_names();
}
END_TEST

/* Goal: whatever is started and cancelled when, each ends once and no socket is lost. RINGLOOP_SEED repeats a run. */
START_TEST(many_at_random)
{
    enum { MANY = 32, ROUNDS = 600 };
    static const char *const hosts[] = {"loopback.test", "loop4.test",      "loop6.test",      "127.0.0.1",
                                        "missing.test",  "held4-loop.test", "held6-loop.test", "none.test"};
    static struct call       calls[MANY];
    bool                     used[MANY] = {false};
    uint64_t                 state = test_env("RINGLOOP_SEED", 20261121);
    struct loop_dial_options options;
    struct loop_address      address, addresses[3];
    struct hole              hole;
    int                      listener;

    if (!open_names(&options))
        return;
    listener = net_listen(NET_TCP4, 4096, &address);
    hole_open(&hole, "127.0.0.1", 0);
    addresses[0] = hole.address;
    addresses[1] = net_parse("::1", loop_address_port(&address));
    addresses[2] = address;
    for (int round = 0; round < ROUNDS; round++) {
        unsigned i = (unsigned)(test_random(&state) % MANY);

        if (round == ROUNDS / 2)
            name_server_let(&server);
        if (used[i] && calls[i].calls == 0) {
            if (test_random(&state) % 2 == 0)
                ck_assert_int_eq(CALL(loop_dial_cancel(&calls[i].dial)), 0);
        } else {
            if (used[i] && calls[i].fd >= 0)
                test_close(calls[i].fd);
            calls[i].calls = 0;
            used[i] = true;
            options.attempt_delay_ns = 10 * LOOP_MILLISECOND;
            options.timeout_ns = test_random(&state) % 4 == 0 ? 1 + test_random(&state) % (20 * LOOP_MILLISECOND) : 0;
            if (test_random(&state) % 2 == 0)
                ck_assert_int_eq(start(&calls[i], addresses, 3, &options), 0);
            else
                ck_assert_int_eq(start_name(&calls[i], hosts[test_random(&state) % TEST_COUNT(hosts)],
                                            service_of(&address), &options),
                                 0);
        }
        if (test_random(&state) % 4 == 0)
            test_turns(loop, 1 + (uint32_t)(test_random(&state) % 3));
        if (test_random(&state) % 16 == 0)
            run_for(loop, LOOP_MILLISECOND);
    }
    test_run(loop);
    for (int i = 0; i < MANY; i++) {
        ck_assert(!used[i] || calls[i].calls == 1);
        if (used[i] && calls[i].fd >= 0)
            test_close(calls[i].fd);
    }
    hole_close(&hole);
    test_close(listener);
    close_names();
}
END_TEST

/* ---- streams */

static int connect_name(struct end *end, const char *host, const struct loop_address *to,
                        const struct loop_dial_options *dial, const struct loop_stream_options *options)
{
    return CALL(loop_stream_connect_name(loop, &end->stream, host, service_of(to), dial, options, end_connect_cb));
}

/* Goal: a stream is connected by name, and is then like any other; what was written before leaves afterwards. */
START_TEST(stream_by_name)
{
    struct end               end = {.name = "a", .write_flow = 1, .read_flow = 2};
    struct peer              peer = {.read_flow = 1, .write_flow = 2};
    struct loop_dial_options options;
    struct loop_address      peer_address;
    struct lone              lone;
    int                      nodelay = 0;
    socklen_t                size = sizeof(nodelay);

    if (!open_names(&options))
        return;
    lone_open(&lone, NET_TCP4);
    options.attempt_delay_ns = never_ns;
    ck_assert_int_eq(connect_name(&end, "loopback.test", &lone.address, &options,
                                  &(struct loop_stream_options){.flags = LOOP_STREAM_NODELAY}),
                     0);
    ck_assert_int_eq(connect_name(&end, "loopback.test", &lone.address, &options, NULL), -EBUSY);
    ck_assert_int_eq(loop_stream_fd(&end.stream), -EBADF);
    ck_assert_int_eq(loop_stream_peer_address(&end.stream, &peer_address), -EBADF);
    ck_assert_int_eq(CALL(loop_stream_read_start(&end.stream, end_read_cb)), -ENOTCONN);
    ck_assert_int_eq(CALL(loop_stream_shutdown(&end.stream, end_shutdown_cb)), -ENOTCONN);
    ck_assert_int_eq(end_write(&end, 1000, 0), 0);
    run_until(loop, end.writes_done == 1);
    notes_are("a connect ok; a write 0 ok");
    peer.fd = accept4(lone.fd, NULL, NULL, SOCK_CLOEXEC);
    ck_assert_int_ge(peer.fd, 0);
    pump_until(loop, (peer_drain(&peer, SIZE_MAX), peer.read_bytes == 1000));
    end_read_start(&end);
    ck_assert(peer_feed(&peer, 2000));
    run_until(loop, end.read_bytes == 2000);
    ck_assert_int_eq(loop_stream_peer_address(&end.stream, &peer_address), 0);
    ck_assert_int_eq(loop_address_compare(&peer_address, &lone.address), 0);
    ck_assert_int_eq(getsockopt(loop_stream_fd(&end.stream), IPPROTO_TCP, TCP_NODELAY, &nodelay, &size), 0);
    ck_assert_int_ne(nodelay, 0);
    end_close(&end);
    run_until(loop, end.closes == 1);
    test_close(peer.fd);
    lone_close(&lone);
    close_names();
}
END_TEST

/* Goal: it fails like any other connect: writes are cancelled, nothing is to be read, it is still to be closed. */
START_TEST(stream_fails)
{
    static const struct {
        const char *host, *notes;
    } cases[] = {
        {"missing.test", "a connect ENOENT; a write 0 ECANCELED"},
        {"loopback.test", "a connect ECONNREFUSED; a write 0 ECANCELED"},
        {"held.test", "a connect ETIMEDOUT; a write 0 ECANCELED"},
    };
    struct loop_dial_options options;
    struct loop_address      four, six;
    int                      closed;
    char                     byte;

    if (!open_names(&options))
        return;
    closed = closed_port(&four, &six);
    for (size_t i = 0; i < TEST_COUNT(cases); i++) {
        struct end end = {.name = "a", .write_flow = 1};

        ck_assert_int_eq(
            connect_name(&end, cases[i].host, &four, &options,
                         &(struct loop_stream_options){.connect_timeout_ns = i == 2 ? 20 * LOOP_MILLISECOND : 0}),
            0);
        ck_assert_int_eq(end_write(&end, 1000, 0), 0);
        run_until(loop, end.writes_done == 1);
        notes_are(cases[i].notes);
        ck_assert_int_eq(CALL(loop_stream_read_start(&end.stream, end_read_cb)), -ENOTCONN);
        ck_assert_int_eq((int)CALL((int)loop_stream_try_read(&end.stream, &byte, 1)), -ENOTCONN);
        ck_assert_int_eq(CALL(loop_stream_shutdown(&end.stream, NULL)), -ENOTCONN);
        ck_assert_int_eq(end_write(&end, 1, 0), -EPIPE);
        end_close(&end);
        run_until(loop, end.closes == 1);
        notes_are("a close");
    }
    test_close(closed);
    close_names();
}
END_TEST

/* Goal: a close while it is looked up or connected, by the program or by loop_destroy(), calls back in the usual order.
 * Method: right after the start, when the name is looked up, when an attempt waits; each with a write queued. */
START_TEST(stream_closes)
{
    static const char *const hosts[] = {"loopback.test", "held.test", "127.0.0.1"};
    struct loop_dial_options options;
    struct hole              hole;

    for (size_t i = 0; i < 2 * TEST_COUNT(hosts); i++) {
        struct end                 end = {.name = "a", .write_flow = 1};
        struct loop_stream_options with_close = {.on_close = end_close_cb};

        if (!open_names(&options))
            return;
        hole_open(&hole, "127.0.0.1", 0);
        ck_assert_int_eq(connect_name(&end, hosts[i / 2], &hole.address, &options, &with_close), 0);
        ck_assert_int_eq(end_write(&end, 1000, 0), 0);
        if (i >= 2)
            run_for(loop, 5 * LOOP_MILLISECOND);
        if (i % 2 == 0) {
            end_close(&end);
            ck_assert_uint_eq(end.closes, 0);
            run_until(loop, end.closes == 1);
        } else {
            name_server_let(&server);
            ck_assert_int_eq(loop_destroy(loop), 0);
            open_loop();
        }
        notes_are("a connect ECANCELED; a write 0 ECANCELED; a close");
        hole_close(&hole);
        close_names();
        if (options.servers == NULL)
            break; /* one network for each process */
    }
}
END_TEST

/* Goal: a start that fails leaves a stream that can be opened. */
START_TEST(stream_refused)
{
    struct loop_address address = net_parse("127.0.0.1", 80);
    struct end          end = {0};
    int                 fds[2];

    open_loop();
    ck_assert_int_eq(connect_name(&end, "two words", &address, NULL, NULL), -EINVAL);
    ck_assert_int_eq(connect_name(&end, "localhost", &address, NULL, &(struct loop_stream_options){.flags = 1u << 31}),
                     -EINVAL);
    ck_assert_int_eq(
        connect_name(&end, "localhost", &address, &(struct loop_dial_options){.attempt_delay_ns = 1}, NULL), -EINVAL);
    for (uint64_t nth = 1; nth < 3; nth++) {
        test_memory.fail_at = test_memory.calls + nth;
        ck_assert_int_eq(connect_name(&end, "localhost", &address, NULL, NULL), -ENOMEM);
        test_memory.fail_at = 0;
    }
    ck_assert(!loop_alive(loop));
    net_pair(NET_UNIX, fds);
    end_open(loop, &end, fds[0], NULL);
    end_close(&end);
    run_until(loop, end.closes == 1);
    test_close(fds[1]);
    close_loop();
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("net/dial");
    TCase *tcase = test_case(suite, "addresses");

    tcase_add_loop_test(tcase, one_address, 0, NET_KINDS);
    tcase_add_test(tcase, failures_do_not_wait);
    tcase_add_test(tcase, black_hole);
    tcase_add_test(tcase, families_alternate);
    tcase_add_test(tcase, telling_errors);
    tcase_add_test(tcase, sockets_at_a_time);
    tcase_add_test(tcase, cancel);
    tcase_add_test(tcase, destroy);
    tcase_add_test(tcase, refused);
    tcase = test_case(suite, "names");
    tcase_add_test(tcase, slow_half);
    tcase_add_test(tcase, name_errors);
    tcase_add_test(tcase, without_memory);
    tcase_add_test(tcase, many_at_random);
    tcase_add_loop_test(tcase, names, 0, NET_KINDS);
    tcase = test_case(suite, "streams");
    tcase_add_test(tcase, stream_by_name);
    tcase_add_test(tcase, stream_fails);
    tcase_add_test(tcase, stream_closes);
    tcase_add_test(tcase, stream_refused);
    return suite;
}
