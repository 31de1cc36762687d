/* tests/net/resolve_test.c: names to addresses and back, by both backends, asked of a DNS server of our own. */
#include "tests/net/name_server.h"

#include <fcntl.h>

enum backend { BY_ARES, BY_SYSTEM, BACKENDS };

static struct loop       *loop;
static struct name_server server;
static bool               by_system;

static void make_loop(const struct loop_options *options)
{
    loop = test_loop_new(options);
}

/* False if this backend can't be had here; then the test returns. */
static bool world_open(int backend)
{
    by_system = backend == BY_SYSTEM;
    if (!by_system && strncmp(loop_resolve_backend(), "c-ares ", 7) != 0) {
        test_skip("the library was built without c-ares");
        return false;
    }
    if (by_system && !name_world()) {
        test_skip("no network of our own here");
        return false;
    }
    make_loop(NULL);
    name_server_open(&server, by_system ? 53 : 0);
    return true;
}

static void world_close(void)
{
    settle(loop); /* polls of sockets that are closed end now */
    test_loop_free(loop);
    name_server_close(&server);
}

static struct loop_resolve_options with(uint32_t flags, int family)
{
    return (struct loop_resolve_options){
        .flags = flags | (by_system ? (uint32_t)LOOP_RESOLVE_SYSTEM : 0),
        .family = family,
        .servers = by_system ? NULL : server.servers,
    };
}

/* ---- a request and what came of it */

struct look {
    struct loop_resolve request;
    uint32_t            calls;
    int                 error;
    struct loop_address addresses[128];
    size_t              count;
    char                text[4096]; /* the addresses, or the name and the service */
    char                canonical[300];
    void (*then)(struct look *look);
    void *arg;
};

static void note_calls(struct look *look, int error)
{
    callback_enter();
    ck_assert_ptr_eq(loop_resolve_loop(&look->request), loop);
    look->calls++;
    look->error = error;
    look->text[0] = '\0';
    snprintf(look->canonical, sizeof(look->canonical), "%s",
             loop_resolve_canonical(&look->request) == NULL ? "-" : loop_resolve_canonical(&look->request));
}

static void found(struct loop_resolve *request, int error, const struct loop_address *addresses, size_t count)
{
    struct look *look = request->data;
    size_t       length = 0;

    note_calls(look, error);
    ck_assert(error < 0 ? addresses == NULL && count == 0 : addresses != NULL && count > 0);
    look->count = count;
    for (size_t i = 0; i < count; i++) {
        char text[LOOP_ADDRESS_TEXT_MAX];

        ck_assert_int_gt(loop_address_format(&addresses[i], text, sizeof(text)), 0);
        length += (size_t)snprintf(look->text + length, sizeof(look->text) - length, "%s%s", i == 0 ? "" : " ", text);
        if (i < TEST_COUNT(look->addresses))
            look->addresses[i] = addresses[i];
    }
    if (look->then != NULL)
        look->then(look);
}

static void named(struct loop_resolve *request, int error, const char *host, const char *service)
{
    struct look *look = request->data;

    note_calls(look, error);
    ck_assert((error < 0) == (host == NULL) && (error < 0) == (service == NULL));
    if (error == 0)
        snprintf(look->text, sizeof(look->text), "%s %s", host, service);
    if (look->then != NULL)
        look->then(look);
}

static int start(struct look *look, const char *host, const char *service, const struct loop_resolve_options *options)
{
    look->request.data = look;
    return CALL(loop_resolve_start(loop, &look->request, host, service, options, found));
}

static void must_start(struct look *look, const char *host, const char *service,
                       const struct loop_resolve_options *options)
{
    ck_assert_int_eq(start(look, host, service, options), 0);
}

/* Looks it up, and checks the outcome: an error, or the addresses in any order of families. */
static void expect(const char *host, const char *service, struct loop_resolve_options options, int error,
                   const char *text, const char *other)
{
    struct look look = {0};

    must_start(&look, host, service, &options);
    ck_assert_uint_eq(look.calls, 0);
    run_until(loop, look.calls > 0);
    test_run(loop);
    ck_assert_uint_eq(look.calls, 1);
    ck_assert_msg(look.error == error, "%s: %s, not %s", host, error_text(look.error), error_text(error));
    if (error == 0)
        ck_assert_msg(strcmp(look.text, text) == 0 || (other != NULL && strcmp(look.text, other) == 0),
                      "%s: \"%s\", not \"%s\"", host, look.text, text);
}

static void expect_name(const char *address, uint16_t port, uint32_t flags, int error, const char *text)
{
    struct look                 look = {.request.data = &look};
    struct loop_address         parsed = net_parse(address, port);
    struct loop_resolve_options options = with(flags, 0);

    ck_assert_int_eq(CALL(loop_resolve_name(loop, &look.request, &parsed, &options, named)), 0);
    run_until(loop, look.calls > 0);
    test_run(loop);
    ck_assert_uint_eq(look.calls, 1);
    ck_assert_msg(look.error == error, "%s: %s, not %s", address, error_text(look.error), error_text(error));
    ck_assert_str_eq(look.text, text);
}

/* ---- what is not looked up */

/* Goal: addresses and numbers leave neither the loop nor the thread, and come back later all the same. */
START_TEST(numeric)
{
    if (!world_open(_i))
        return;
    expect("192.0.2.7", "80", with(0, 0), 0, "192.0.2.7:80", NULL);
    expect("192.0.2.7", NULL, with(LOOP_RESOLVE_NUMERIC, AF_INET), 0, "192.0.2.7:0", NULL);
    expect("::1", "65535", with(LOOP_RESOLVE_PASSIVE, AF_INET6), 0, "[::1]:65535", NULL);
    expect("fe80::1%lo", "0", with(0, 0), 0, "[fe80::1%lo]:0", NULL);
    expect("2001:DB8::0:1", "00080", with(LOOP_RESOLVE_DATAGRAM, 0), 0, "[2001:db8::1]:80", NULL);
    expect(NULL, "80", with(0, AF_INET), 0, "127.0.0.1:80", NULL);
    expect(NULL, "80", with(0, 0), 0, "[::1]:80 127.0.0.1:80", NULL);
    expect(NULL, "80", with(LOOP_RESOLVE_PASSIVE, 0), 0, "[::]:80 0.0.0.0:80", NULL);
    expect(NULL, NULL, with(LOOP_RESOLVE_PASSIVE, AF_INET6), 0, "[::]:0", NULL);
    expect_name("192.0.2.1", 80, LOOP_RESOLVE_NUMERIC, 0, "192.0.2.1 80");
    expect_name("fe80::1%lo", 65535, LOOP_RESOLVE_NUMERIC, 0, "fe80::1%lo 65535");
    ck_assert_uint_eq(test_stats(loop).work_threads, 0);
    ck_assert_uint_eq(test_stats(loop).sqes_submitted, test_stats(loop).enters_wait == 0 ? 0 : 1); /* the wake */
    ck_assert_uint_eq(server.asked, 0);
    world_close();
}
END_TEST

/* Goal: what makes no sense is refused by the call, and nothing is left behind. Method: a table; then what only one
 * backend can't do. */
START_TEST(refused)
{
    static char long_label[70], long_name[300];
    static const struct {
        const char *host, *service;
        uint32_t    flags;
        int         family, error;
    } cases[] = {
        {"", "80", 0, 0, -EINVAL},
        {".", "80", 0, 0, -EINVAL},
        {"a..test", "80", 0, 0, -EINVAL},
        {".test", "80", 0, 0, -EINVAL},
        {"two words.test", "80", 0, 0, -EINVAL},
        {"tab\t.test", "80", 0, 0, -EINVAL},
        {"host:80", "80", 0, 0, -EINVAL},
        {"[::1]", "80", 0, 0, -EINVAL},
        {"unix:/x", "80", 0, 0, -EINVAL},
        {"127.1", "80", 0, 0, -EINVAL},
        {"1.2.3.256", "80", 0, 0, -EINVAL},
        {"0x7f.1", "80", 0, 0, -EINVAL},
        {"0x7f000001", "80", 0, 0, -EINVAL},
        {"2130706433", "80", 0, 0, -EINVAL},
        {"127.0.0.1.", "80", 0, 0, -EINVAL},
        {"host.1", "80", 0, 0, -EINVAL},
        {"m\xc3\xbcnchen.test", "80", 0, 0, -EILSEQ},
        {long_label, "80", 0, 0, -EINVAL},
        {long_name, "80", 0, 0, -EINVAL},
        {"both.test", "", 0, 0, -EINVAL},
        {"both.test", "65536", 0, 0, -EINVAL},
        {"both.test", "99999999999999999999", 0, 0, -EINVAL},
        {"both.test", "80", LOOP_RESOLVE_NUMERIC, 0, -EINVAL},
        {"both.test", "80", LOOP_RESOLVE_NAME_REQUIRED, 0, -EINVAL},
        {"both.test", "80", 1u << 31, 0, -EINVAL},
        {"both.test", "80", 0, AF_UNIX, -EAFNOSUPPORT},
        {"::1", "80", 0, AF_INET, -EAFNOSUPPORT},
        {"127.0.0.1", "80", 0, AF_INET6, -EAFNOSUPPORT},
        {"fe80::1%no-such-if", "80", 0, 0, -ENODEV},
    };
    struct loop_address         address = net_parse("127.0.0.1", 80), local = net_parse("unix:/x", 0);
    struct look                 look = {.request.data = &look};
    struct loop_resolve_options options;

    if (!world_open(_i))
        return;
    memset(long_label, 'a', 64);
    for (size_t i = 0; i < 254; i++)
        long_name[i] = i % 10 == 9 ? '.' : 'a';
    for (size_t i = 0; i < TEST_COUNT(cases); i++) {
        int r;

        options = with(cases[i].flags, cases[i].family);
        r = start(&look, cases[i].host, cases[i].service, &options);
        ck_assert_msg(r == cases[i].error, "\"%s\": %s, not %s", cases[i].host, error_text(r),
                      error_text(cases[i].error));
    }
    options = with(0, 0);
    ck_assert_int_eq(loop_resolve_start(loop, &look.request, "both.test", "80", &options, NULL), -EINVAL);
    ck_assert_int_eq(loop_resolve_start(loop, NULL, "both.test", "80", &options, found), -EINVAL);
    ck_assert_int_eq(loop_resolve_name(loop, &look.request, &address, &options, NULL), -EINVAL);
    ck_assert_int_eq(loop_resolve_name(loop, &look.request, NULL, &options, named), -EINVAL);
    ck_assert_int_eq(loop_resolve_name(loop, &look.request, &local, &options, named), -EAFNOSUPPORT);
    options = with(LOOP_RESOLVE_CANONICAL, 0);
    ck_assert_int_eq(loop_resolve_name(loop, &look.request, &address, &options, named), -EINVAL);
    options = with(0, AF_INET);
    ck_assert_int_eq(loop_resolve_name(loop, &look.request, &address, &options, named), -EINVAL);
    options = with(LOOP_RESOLVE_SYSTEM, 0);
    options.servers = "127.0.0.1";
    ck_assert_int_eq(start(&look, "both.test", "80", &options), -EOPNOTSUPP);
    ck_assert_int_eq(loop_resolve_cancel(&look.request), -ENOENT);
    ck_assert(!loop_alive(loop));
    test_run(loop);
    ck_assert_uint_eq(look.calls, 0);
    ck_assert_uint_eq(server.asked, 0);
    world_close();
}
END_TEST

/* ---- answers */

/* Goal: addresses of both families or of one, with the port; each error has its errno. Method: our DNS server. */
START_TEST(answers)
{
    if (!world_open(_i))
        return;
    expect("both.test", "80", with(0, 0), 0, "[2001:db8::1]:80 192.0.2.1:80", "192.0.2.1:80 [2001:db8::1]:80");
    expect("both.test.", "80", with(0, AF_INET), 0, "192.0.2.1:80", NULL);
    expect("BOTH.test", "80", with(0, AF_INET6), 0, "[2001:db8::1]:80", NULL);
    expect("four.test", NULL, with(0, 0), 0, "192.0.2.1:0", NULL);
    expect("six.test", "443", with(0, 0), 0, "[2001:db8::1]:443", NULL);
    expect("mixed.test", "443", with(0, 0), 0, "192.0.2.1:443", NULL);
    expect("four.test", "80", with(0, AF_INET6), -ENODATA, NULL, NULL);
    expect("none.test", "80", with(0, 0), -ENODATA, NULL, NULL);
    expect("missing.test", "80", with(0, 0), -ENOENT, NULL, NULL);
    expect("missing.test", "80", with(0, AF_INET), -ENOENT, NULL, NULL);
    expect("servfail.test", "80", with(0, 0), -EAGAIN, NULL, NULL);
    ck_assert_uint_gt(server.asked, 10);
    if (!by_system)
        ck_assert_uint_eq(test_stats(loop).work_threads, 0);
    else
        ck_assert_uint_gt(test_stats(loop).work_threads, 0);
    world_close();
}
END_TEST

/* Goal: a server that refuses, or sends nonsense, is an error, and not the end of anything. Which error differs between
 * the backends, and between versions of both. */
START_TEST(bad_servers)
{
    static const char *const hosts[] = {"refused.test", "garbage.test"};

    if (!world_open(_i))
        return;
    ck_assert_int_eq(setenv("RES_OPTIONS", "retrans:300 retry:1 timeout:1 attempts:1", 1), 0);
    for (size_t i = 0; i < TEST_COUNT(hosts); i++) {
        struct look                 look = {0};
        struct loop_resolve_options options = with(0, AF_INET);

        must_start(&look, hosts[i], "80", &options);
        run_until(loop, look.calls > 0);
        ck_assert_msg(look.error < 0 && look.error != -ECANCELED, "%s: %s", hosts[i], error_text(look.error));
    }
    expect("four.test", "80", with(0, 0), 0, "192.0.2.1:80", NULL);
    world_close();
}
END_TEST

/* Goal: where no server answers the backend itself gives up. */
START_TEST(nobody_answers)
{
    if (!world_open(_i))
        return;
    ck_assert_int_eq(setenv("RES_OPTIONS", "retrans:300 retry:1 timeout:1 attempts:1", 1), 0);
    expect("silent.test", "80", with(0, AF_INET), -EAGAIN, NULL, NULL);
    world_close();
}
END_TEST

/* Goal: the canonical name is there in the callback if it was asked for, and nowhere else. */
START_TEST(canonical)
{
    static const struct {
        const char *host, *canonical, *text;
    } cases[] = {
        {"alias.test", "both.test", "192.0.2.1:80"},
        {"four.test", "four.test", "192.0.2.1:80"},
        {"192.0.2.7", "192.0.2.7", "192.0.2.7:80"},
    };

    if (!world_open(_i))
        return;
    for (size_t i = 0; i < TEST_COUNT(cases); i++) {
        struct look                 look = {0};
        struct loop_resolve_options options = with(LOOP_RESOLVE_CANONICAL, AF_INET);

        ck_assert_ptr_null(loop_resolve_canonical(&look.request));
        must_start(&look, cases[i].host, "80", &options);
        run_until(loop, look.calls > 0);
        ck_assert_str_eq(look.canonical, cases[i].canonical);
        ck_assert_str_eq(look.text, cases[i].text);
        ck_assert_ptr_null(loop_resolve_canonical(&look.request));
        options = with(0, AF_INET);
        must_start(&look, cases[i].host, "80", &options);
        run_until(loop, look.calls > 1);
        ck_assert_str_eq(look.canonical, "-");
    }
    world_close();
}
END_TEST

/* Goal: an answer that is too long for a datagram comes by tcp, whole. */
START_TEST(by_tcp)
{
    struct look                 look = {0};
    struct loop_resolve_options options;

    if (!world_open(_i))
        return;
    options = with(0, 0);
    must_start(&look, "many.test", "80", &options);
    run_until(loop, look.calls > 0);
    ck_assert_int_eq(look.error, 0);
    ck_assert_uint_eq(look.count, 60);
    ck_assert_uint_gt(server.asked_by_tcp, 0);
    for (size_t i = 0; i < look.count; i++) {
        for (size_t j = 0; j < i; j++)
            ck_assert_int_ne(loop_address_compare(&look.addresses[i], &look.addresses[j]), 0);
    }
    world_close();
}
END_TEST

/* Goal: names of services, of tcp and of udp, whatever the host is. */
START_TEST(services)
{
    if (!world_open(_i))
        return;
    expect("four.test", "http", with(0, 0), 0, "192.0.2.1:80", NULL);
    expect("192.0.2.7", "http", with(0, 0), 0, "192.0.2.7:80", NULL);
    expect("192.0.2.7", "tftp", with(LOOP_RESOLVE_DATAGRAM, 0), 0, "192.0.2.7:69", NULL);
    expect("four.test", "tftp", with(LOOP_RESOLVE_DATAGRAM, 0), 0, "192.0.2.1:69", NULL);
    expect(NULL, "ssh", with(LOOP_RESOLVE_PASSIVE, AF_INET), 0, "0.0.0.0:22", NULL);
    expect("192.0.2.7", "tftp", with(0, 0), -ESRCH, NULL, NULL);
    expect("192.0.2.7", "no-such-service", with(0, 0), -ESRCH, NULL, NULL);
    expect("four.test", "no-such-service", with(0, 0), -ESRCH, NULL, NULL);
    world_close();
}
END_TEST

/* Goal: the hosts file is looked at first, and needs no server. */
START_TEST(hosts_file)
{
    struct look                 look = {0};
    struct loop_resolve_options options;

    if (!world_open(_i))
        return;
    options = with(0, 0);
    must_start(&look, "localhost", "80", &options);
    run_until(loop, look.calls > 0);
    ck_assert_int_eq(look.error, 0);
    for (size_t i = 0; i < look.count; i++)
        ck_assert(loop_address_compare(&look.addresses[i], &(struct loop_address){0}) != 0 &&
                  (strstr(look.text, "127.0.0.1:80") != NULL || strstr(look.text, "[::1]:80") != NULL));
    expect("localhost", "80", with(0, AF_INET), 0, "127.0.0.1:80", NULL);
    expect("localhost", "80", with(0, AF_INET6), 0, "[::1]:80", NULL);
    if (by_system)
        expect("filehost", "80", with(0, 0), 0, "192.0.2.99:80", NULL);
    ck_assert_uint_eq(server.asked, 0);
    world_close();
}
END_TEST

/* Goal: the system's own settings are used where no servers are given, by both backends. */
START_TEST(system_settings)
{
    struct loop_resolve_options options = {.flags = _i == BY_SYSTEM ? (uint32_t)LOOP_RESOLVE_SYSTEM : 0};

    if (!name_world()) {
        test_skip("no network of our own here");
        return;
    }
    make_loop(NULL);
    name_server_open(&server, 53);
    expect("four.test", "80", options, 0, "192.0.2.1:80", NULL);
    expect("filehost", "80", options, 0, "192.0.2.99:80", NULL);
    expect("missing.test", "80", options, -ENOENT, NULL, NULL);
    world_close();
}
END_TEST

/* Goal: addresses to names. */
START_TEST(names)
{
    if (!world_open(_i))
        return;
    expect_name("192.0.2.1", 80, 0, 0, "both.test 80");
    expect_name("2001:db8::1", 80, 0, 0, "both.test 80");
    expect_name("192.0.2.1", 80, LOOP_RESOLVE_SERVICE_NAME, 0, "both.test http");
    expect_name("192.0.2.1", 69, LOOP_RESOLVE_SERVICE_NAME | LOOP_RESOLVE_DATAGRAM, 0, "both.test tftp");
    expect_name("192.0.2.1", 22, LOOP_RESOLVE_SERVICE_NAME | LOOP_RESOLVE_NUMERIC, 0, "192.0.2.1 ssh");
    expect_name("192.0.2.1", 1, LOOP_RESOLVE_SERVICE_NAME, 0, "both.test tcpmux");
    expect_name("192.0.2.1", 3, LOOP_RESOLVE_SERVICE_NAME, 0, "both.test 3"); /* no service has it */
    expect_name("192.0.2.50", 80, 0, 0, "192.0.2.50 80");
    expect_name("2001:db8::50", 0, 0, 0, "2001:db8::50 0");
    expect_name("192.0.2.50", 80, LOOP_RESOLVE_NAME_REQUIRED, -ENOENT, "");
    if (by_system) /* c-ares 1.18 says that there is no name */
        expect_name("192.0.2.66", 80, LOOP_RESOLVE_NAME_REQUIRED, -EAGAIN, "");
    expect_name("127.0.0.1", 80, LOOP_RESOLVE_NAME_REQUIRED, 0, "localhost 80");
    world_close();
}
END_TEST

/* ---- ends */

static bool settled(uint32_t asked)
{
    return server.asked >= asked;
}

/* Goal: a cancel ends the request with -ECANCELED in the next turn, once, whatever the backend was doing. Method: at
 * once, when the server has been asked and does not answer, when the answer has come but has not been told, in its own
 * callback, twice. */
static struct look *cancel_other;

static void cancel_then(struct look *look)
{
    ck_assert_int_eq(CALL(loop_resolve_cancel(&look->request)), -ENOENT);
    if (cancel_other != NULL && cancel_other->calls == 0)
        ck_assert_int_eq(CALL(loop_resolve_cancel(&cancel_other->request)), 0);
}

static void expect_canceled(struct look *look)
{
    test_turns(loop, 2);
    ck_assert_uint_eq(look->calls, 1);
    ck_assert_int_eq(look->error, -ECANCELED);
}

START_TEST(cancel)
{
    struct look                 first = {.then = cancel_then}, second = {.then = cancel_then};
    struct loop_resolve_options options;

    if (!world_open(_i))
        return;
    options = with(0, AF_INET);
    must_start(&first, "four.test", "80", &options);
    ck_assert_int_eq(CALL(loop_resolve_cancel(&first.request)), 0);
    ck_assert_int_eq(CALL(loop_resolve_cancel(&first.request)), 0);
    ck_assert_uint_eq(first.calls, 0);
    expect_canceled(&first);

    first.calls = 0;
    must_start(&first, "held.test", "80", &options);
    pump_until(loop, settled(1));
    ck_assert_int_eq(CALL(loop_resolve_cancel(&first.request)), 0);
    expect_canceled(&first);

    first.calls = 0; /* both end in one turn, the one cancels the other */
    cancel_other = &second;
    must_start(&first, "192.0.2.7", "80", &options);
    must_start(&second, "192.0.2.7", "80", &options);
    run_until(loop, first.calls == 1 && second.calls == 1);
    ck_assert_int_eq(first.error, 0);
    ck_assert_int_eq(second.error, -ECANCELED);

    first.calls = 0; /* with a service to be looked up first */
    cancel_other = NULL;
    must_start(&first, "four.test", "http", &options);
    ck_assert_int_eq(CALL(loop_resolve_cancel(&first.request)), 0);
    expect_canceled(&first);
    name_server_let(&server);
    settle(loop);
    expect("four.test", "80", options, 0, "192.0.2.1:80", NULL);
    ck_assert_uint_eq(first.calls, 1);
    test_loop_drop(loop); /* a thread may still have what was given up */
    name_server_close(&server);
}
END_TEST

/* Goal: a request whose time is over ends with -ETIMEDOUT; one that is given up keeps neither the loop alive nor its
 * successors from being answered. */
START_TEST(deadline)
{
    struct look                 held = {0}, fine = {0};
    struct loop_resolve_options options;

    if (!world_open(_i))
        return;
    options = with(0, AF_INET);
    options.timeout_ns = 20 * LOOP_MILLISECOND;
    must_start(&held, "held.test", "80", &options);
    options.timeout_ns = 20 * LOOP_SECOND;
    test_run(loop);
    ck_assert_uint_eq(held.calls, 1);
    ck_assert_int_eq(held.error, -ETIMEDOUT);
    must_start(&fine, "four.test", "80", &options);
    test_run(loop);
    ck_assert_uint_eq(fine.calls, 1);
    ck_assert_str_eq(fine.text, "192.0.2.1:80");
    name_server_let(&server);
    test_loop_drop(loop);
    name_server_close(&server);
}
END_TEST

/* Goal: one slow answer does not hold up others; one slow half does hold up its own. */
START_TEST(slow_half)
{
    struct look                 slow = {0}, fast = {0}, six = {0};
    struct loop_resolve_options both, six_only;

    if (!world_open(_i))
        return;
    both = with(0, 0);
    six_only = with(0, AF_INET6);
    must_start(&slow, "held4.test", "80", &both);
    must_start(&six, "held4.test", "80", &six_only);
    must_start(&fast, "both.test", "80", &both);
    run_until(loop, fast.calls > 0 && six.calls > 0);
    ck_assert_uint_eq(slow.calls, 0);
    ck_assert_str_eq(six.text, "[2001:db8::1]:80");
    name_server_let(&server);
    run_until(loop, slow.calls > 0);
    ck_assert_uint_eq(slow.count, 2);
    world_close();
}
END_TEST

/* Goal: loop_destroy() ends requests in flight with -ECANCELED, and later starts get that too. Method: held answers,
 * more of them than threads, numeric ones that have not been told; the answers are let on the way, since a thread has
 * to be waited for. */
static void start_then(struct look *look)
{
    struct loop_resolve_options options = with(0, 0);
    struct look                *other = look->arg;

    ck_assert_int_eq(start(other, "192.0.2.7", "80", &options), -ECANCELED);
}

START_TEST(destroy)
{
    struct look                 looks[20] = {0}, other = {0};
    struct loop_resolve_options options;

    if (!world_open(_i))
        return;
    options = with(0, 0);
    for (size_t i = 0; i < TEST_COUNT(looks); i++) {
        looks[i].then = start_then;
        looks[i].arg = &other;
        must_start(&looks[i], i % 4 == 3 ? "held6.test" : "held.test", i % 2 == 0 ? "80" : "http", &options);
    }
    pump_until(loop, settled(1));
    must_start(&other, "192.0.2.7", "80", &options);
    name_server_let(&server);
    ck_assert_int_eq(loop_destroy(loop), 0);
    for (size_t i = 0; i < TEST_COUNT(looks); i++) {
        ck_assert_uint_eq(looks[i].calls, 1);
        ck_assert_int_eq(looks[i].error, -ECANCELED);
    }
    ck_assert_uint_eq(other.calls, 1);
    ck_assert_int_eq(other.error, -ECANCELED);
    name_server_close(&server);
}
END_TEST

/* Goal: a loop that never ran can be destroyed with requests that were started. */
START_TEST(destroy_before_the_first_run)
{
    struct look                 looks[4] = {0};
    struct loop_resolve_options options;

    if (!world_open(_i))
        return;
    options = with(0, 0);
    for (size_t i = 0; i < TEST_COUNT(looks); i++)
        must_start(&looks[i], i % 2 == 0 ? "both.test" : "192.0.2.7", "80", &options);
    ck_assert_int_eq(loop_destroy(loop), 0);
    for (size_t i = 0; i < TEST_COUNT(looks); i++)
        ck_assert_int_eq(looks[i].error, -ECANCELED);
    name_server_close(&server);
}
END_TEST

/* Goal: the callback may start its request again, and may free it. */
static void again_then(struct look *look)
{
    struct loop_resolve_options options = with(0, AF_INET);

    if (look->calls < 5)
        must_start(look, look->calls % 2 == 0 ? "four.test" : "192.0.2.7", "80", &options);
    else
        *(uint32_t *)look->arg = look->calls;
    if (look->calls == 5)
        free(look);
}

START_TEST(again_and_free)
{
    struct look                *look = calloc(1, sizeof(*look));
    struct loop_resolve_options options;
    uint32_t                    calls = 0;

    ck_assert_ptr_nonnull(look);
    if (!world_open(_i)) {
        free(look);
        return;
    }
    options = with(0, AF_INET);
    look->then = again_then;
    look->arg = &calls;
    must_start(look, "four.test", "80", &options);
    ck_assert_int_eq(start(look, "four.test", "80", &options), -EBUSY);
    run_until(loop, calls == 5);
    test_run(loop);
    world_close();
}
END_TEST

/* ---- limits */

static void restart_then(struct look *look)
{
    struct loop_resolve_options options = with(0, 0);

    if (look->calls == 1)
        must_start(look, "192.0.2.7", "80", &options);
}

/* Goal: there is a limit, with its errno and counter, which also counts what was given up and is still under way. At
 * the limit a callback can start the next all the same. */
START_TEST(limit)
{
    struct look                *looks = calloc(LOOP_RESOLVES_MAX + 1, sizeof(*looks));
    struct loop_resolve_options options;

    ck_assert_ptr_nonnull(looks);
    if (!world_open(_i)) {
        free(looks);
        return;
    }
    options = with(0, AF_INET);
    for (int i = 0; i < LOOP_RESOLVES_MAX; i++)
        must_start(&looks[i], "held.test", "80", &options);
    ck_assert_int_eq(start(&looks[LOOP_RESOLVES_MAX], "held.test", "80", &options), -ENOBUFS);
    ck_assert_int_eq(start(&looks[LOOP_RESOLVES_MAX], "192.0.2.7", "80", &options), -ENOBUFS);
    ck_assert_uint_eq(test_stats(loop).resolves_full, 2);
    for (int i = 0; i < LOOP_RESOLVES_MAX; i++)
        ck_assert_int_eq(CALL(loop_resolve_cancel(&looks[i].request)), 0);
    test_run(loop);
    for (int i = 0; i < LOOP_RESOLVES_MAX; i++)
        ck_assert(looks[i].calls == 1 && looks[i].error == -ECANCELED);
    name_server_let(&server);
    must_start(&looks[0], "four.test", "80", &options);
    run_until(loop, looks[0].calls == 2);
    ck_assert_int_eq(looks[0].error, 0);
    test_loop_drop(loop);
    make_loop(NULL);
    memset(looks, 0, (LOOP_RESOLVES_MAX + 1) * sizeof(*looks));
    for (int i = 0; i < LOOP_RESOLVES_MAX; i++) {
        looks[i].then = restart_then;
        must_start(&looks[i], "192.0.2.7", "80", &options);
    }
    test_run(loop);
    for (int i = 0; i < LOOP_RESOLVES_MAX; i++)
        ck_assert(looks[i].calls == 2 && looks[i].error == 0);
    test_loop_free(loop);
    name_server_close(&server);
    free(looks);
}
END_TEST

/* Goal: without memory requests fail, and nothing leaks. Method: each allocation of the loop's fails in its turn. */
START_TEST(without_memory)
{
    static const char *const ports[] = {"80", "http"};
    uint64_t                 failures = 0;

    if (!world_open(_i))
        return;
    test_loop_free(loop);
    for (uint64_t nth = 1; nth < 100; nth++) {
        struct look                 look = {0}, name = {.request.data = &name};
        struct loop_address         address = net_parse("192.0.2.1", 80);
        struct loop_resolve_options options = with(0, 0);
        int                         r;

        options.timeout_ns = 2 * LOOP_SECOND; /* a socket without a poll is not heard */
        make_loop(NULL);
        test_memory.fail_at = test_memory.calls + nth;
        r = start(&look, "both.test", ports[nth % 2], &options);
        ck_assert(r == 0 || r == -ENOMEM);
        options.flags &= (uint32_t)LOOP_RESOLVE_SYSTEM;
        if (r == 0)
            r = loop_resolve_name(loop, &name.request, &address, &options, named);
        ck_assert(r == 0 || r == -ENOMEM);
        test_run(loop);
        ck_assert(look.calls == 0 || look.error == 0 || look.error == -ENOMEM || look.error == -ETIMEDOUT);
        failures = test_memory.failed;
        test_memory.fail_at = 0;
        test_loop_drop(loop);
        if (failures < nth)
            break;
    }
    ck_assert_uint_gt(failures, 3);
    name_server_close(&server);
}
END_TEST

/* Goal: at the limit of operations a look-up waits for room, or is refused at once, and is not lost. Method: all
 * operations of a small loop wait for data; then it comes. */
START_TEST(without_operations)
{
    struct test_log             logs[2] = {{0}};
    struct look                 look = {0};
    struct loop_resolve_options options;
    char                        bytes[2];
    int                         fds[2], r;

    if (!world_open(_i))
        return;
    test_loop_free(loop);
    make_loop(&(struct loop_options){.ops_max = 2});
    options = with(0, 0);
    test_socketpair(fds);
    for (size_t i = 0; i < 2; i++)
        ck_assert_int_gt(loop_recv(loop, fds[0], &bytes[i], 1, 0, test_log_cb, &logs[i], NULL), 0);
    r = start(&look, "both.test", "80", &options);
    ck_assert_int_eq(r, by_system ? -ENOBUFS : 0);
    run_for(loop, 30 * LOOP_MILLISECOND);
    ck_assert_uint_eq(look.calls, 0);
    test_write(fds[1], "ab", 2);
    run_until(loop, logs[0].finals + logs[1].finals == 2);
    if (by_system)
        must_start(&look, "both.test", "80", &options);
    run_until(loop, look.calls > 0);
    ck_assert_int_eq(look.error, 0);
    ck_assert_uint_eq(look.count, 2);
    world_close();
    test_close(fds[0]);
    test_close(fds[1]);
}
END_TEST

/* ---- servers */

/* Goal: lists of servers are told apart, have a limit, and those that rest make room for others. */
START_TEST(lists_of_servers)
{
    static char                 lists[LOOP_RESOLVE_SERVERS_MAX + 1][256];
    struct look                 looks[LOOP_RESOLVE_SERVERS_MAX + 1] = {0};
    struct loop_resolve_options options = {.family = AF_INET};

    if (!world_open(BY_ARES))
        return;
    for (int i = 0; i <= LOOP_RESOLVE_SERVERS_MAX; i++) {
        for (int j = 0; j <= i; j++) {
            strcat(lists[i], j == 0 ? "" : ",");
            strcat(lists[i], server.servers);
        }
        options.servers = lists[i];
        if (i < LOOP_RESOLVE_SERVERS_MAX)
            must_start(&looks[i], "held.test", "80", &options);
        else
            ck_assert_int_eq(start(&looks[i], "held.test", "80", &options), -ENOBUFS);
    }
    pump_until(loop, settled(1));
    name_server_let(&server);
    test_run(loop);
    must_start(&looks[LOOP_RESOLVE_SERVERS_MAX], "held.test", "80", &options);
    test_run(loop);
    for (int i = 0; i <= LOOP_RESOLVE_SERVERS_MAX; i++)
        ck_assert_msg(looks[i].calls == 1 && looks[i].error == 0, "list %d: %s", i, error_text(looks[i].error));
    options.servers = "no server";
    ck_assert_int_eq(start(&looks[0], "held.test", "80", &options), -EINVAL);
    options.servers = "";
    ck_assert_int_eq(start(&looks[0], "held.test", "80", &options), -EINVAL);
    world_close();
}
END_TEST

/* ---- many */

/* Goal: whatever is started and cancelled when, each request ends once, and with the answer to its own question.
 * Method: random starts and cancels, answers held for a while. RINGLOOP_SEED repeats a run. */
static const struct {
    const char *host, *text;
    int         error;
} many_cases[] = {
    {"four.test", "192.0.2.1:", 0}, {"six.test", "[2001:db8::1]:", 0},
    {"192.0.2.7", "192.0.2.7:", 0}, {"held.test", "", 0},
    {"none.test", "", -ENODATA},    {"missing.test", "", -ENOENT},
    {"servfail.test", "", -EAGAIN}, {"alias.test", "", 0},
};

static void many_check(const struct look *look, unsigned which, uint16_t port)
{
    char suffix[16];

    ck_assert_uint_eq(look->calls, 1);
    if (look->error == -ECANCELED || look->error == -ETIMEDOUT)
        return;
    ck_assert_msg(look->error == many_cases[which].error, "%s: %s", many_cases[which].host, error_text(look->error));
    if (look->error < 0)
        return;
    snprintf(suffix, sizeof(suffix), ":%u", port);
    ck_assert(strncmp(look->text, many_cases[which].text, strlen(many_cases[which].text)) == 0);
    ck_assert_str_eq(strrchr(look->text, ':'), suffix);
}

START_TEST(many_at_random)
{
    enum { MANY = 64, ROUNDS = 400 };
    static struct look          looks[MANY];
    unsigned                    which[MANY];
    uint16_t                    ports[MANY];
    bool                        used[MANY] = {false};
    uint64_t                    state = test_env("RINGLOOP_SEED", 20261121);
    struct loop_resolve_options options;

    if (!world_open(_i))
        return;
    for (int round = 0; round < ROUNDS; round++) {
        unsigned i = (unsigned)(test_random(&state) % MANY);
        char     service[8];

        if (round == ROUNDS / 2)
            name_server_let(&server);
        if (used[i] && looks[i].calls == 0) {
            if (test_random(&state) % 3 == 0)
                ck_assert_int_eq(CALL(loop_resolve_cancel(&looks[i].request)), 0);
        } else {
            if (used[i])
                many_check(&looks[i], which[i], ports[i]);
            which[i] = (unsigned)(test_random(&state) % TEST_COUNT(many_cases));
            ports[i] = (uint16_t)test_random(&state);
            looks[i].calls = 0;
            used[i] = true;
            options = with(0, 0);
            options.timeout_ns = test_random(&state) % 4 == 0 ? test_random(&state) % (10 * LOOP_MILLISECOND) : 0;
            snprintf(service, sizeof(service), "%u", ports[i]);
            must_start(&looks[i], many_cases[which[i]].host, service, &options);
        }
        if (test_random(&state) % 4 == 0)
            test_turns(loop, 1 + (uint32_t)(test_random(&state) % 3));
        if (test_random(&state) % 32 == 0)
            run_for(loop, LOOP_MILLISECOND);
    }
    test_run(loop);
    for (unsigned i = 0; i < MANY; i++) {
        if (used[i])
            many_check(&looks[i], which[i], ports[i]);
    }
    test_loop_drop(loop);
    name_server_close(&server);
}
END_TEST

/* Goal: many for one name, at the same time. */
START_TEST(ten_thousand)
{
    enum { AT_A_TIME = 10, ALL = 10000 };
    static struct look          looks[AT_A_TIME];
    struct loop_resolve_options options;
    uint32_t                    started = 0, ended = 0;

    if (!world_open(_i))
        return;
    options = with(0, 0);
    while (ended < ALL) {
        for (int i = 0; i < AT_A_TIME; i++) {
            ended += looks[i].calls;
            ck_assert(looks[i].calls == 0 || looks[i].error == 0);
            if (started < ALL && (looks[i].calls > 0 || started < AT_A_TIME)) {
                looks[i].calls = 0;
                must_start(&looks[i], "localhost", NULL, &options);
                started++;
            }
            looks[i].calls = 0;
        }
        if (ended < ALL)
            ck_assert_int_ge(loop_run(loop, LOOP_RUN_ONCE), 0);
    }
    world_close();
}
END_TEST

/* ---- threads */

static void *cancel_elsewhere(void *arg)
{
    (void)loop_resolve_cancel(arg);
    return NULL;
}

static void wrong_thread(void *arg)
{
    struct look                 look = {0};
    struct loop_resolve_options options = {.flags = LOOP_RESOLVE_SYSTEM};
    pthread_t                   thread;

    (void)arg;
    make_loop(NULL);
    test_turns(loop, 1);
    must_start(&look, "192.0.2.7", "80", &options);
    if (pthread_create(&thread, NULL, cancel_elsewhere, &look.request) == 0)
        pthread_join(thread, NULL);
}

/* Goal: another thread's cancel aborts with the call's name. */
START_TEST(threads)
{
    test_expect_abort(wrong_thread, NULL, "loop_resolve_cancel()");
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("net/resolve");
    TCase *tcase = test_case(suite, "resolve");

    tcase_add_loop_test(tcase, numeric, 0, BACKENDS);
    tcase_add_loop_test(tcase, refused, 0, BACKENDS);
    tcase_add_loop_test(tcase, answers, 0, BACKENDS);
    tcase_add_loop_test(tcase, bad_servers, 0, BACKENDS);
    tcase_add_loop_test(tcase, nobody_answers, 0, BACKENDS);
    tcase_add_loop_test(tcase, canonical, 0, BACKENDS);
    tcase_add_loop_test(tcase, by_tcp, 0, BACKENDS);
    tcase_add_loop_test(tcase, services, 0, BACKENDS);
    tcase_add_loop_test(tcase, hosts_file, 0, BACKENDS);
    tcase_add_loop_test(tcase, system_settings, 0, BACKENDS);
    tcase_add_loop_test(tcase, names, 0, BACKENDS);
    tcase_add_loop_test(tcase, cancel, 0, BACKENDS);
    tcase_add_loop_test(tcase, deadline, 0, BACKENDS);
    tcase_add_loop_test(tcase, slow_half, 0, BACKENDS);
    tcase_add_loop_test(tcase, destroy, 0, BACKENDS);
    tcase_add_loop_test(tcase, destroy_before_the_first_run, 0, BACKENDS);
    tcase_add_loop_test(tcase, again_and_free, 0, BACKENDS);
    tcase_add_loop_test(tcase, limit, 0, BACKENDS);
    tcase_add_loop_test(tcase, without_memory, 0, BACKENDS);
    tcase_add_loop_test(tcase, without_operations, 0, BACKENDS);
    tcase_add_test(tcase, lists_of_servers);
    tcase_add_loop_test(tcase, many_at_random, 0, BACKENDS);
    tcase_add_loop_test(tcase, ten_thousand, 0, BACKENDS);
    tcase_add_test(tcase, threads);
    return suite;
}
