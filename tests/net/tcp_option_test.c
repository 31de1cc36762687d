/* tests/net/tcp_option_test.c: the options of TCP sockets, set, got, and inherited from a listener. */
#include "tests/net/door.h"

#include <netinet/tcp.h>

static const struct loop_tcp_options all = {
    .flags = LOOP_TCP_NODELAY | LOOP_TCP_KEEPALIVE,
    .keepalive_idle_s = 71,
    .keepalive_interval_s = 13,
    .keepalive_count = 5,
    .user_timeout_ms = 12345,
    .send_buffer_bytes = 40000,
    .receive_buffer_bytes = 50000,
    .notsent_lowat_bytes = 16384,
    .congestion = "reno",
};

static int tcp_socket(int kind)
{
    int fd = socket(kind == NET_TCP6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ck_assert_int_ge(fd, 0);
    return fd;
}

static int option(int fd, int level, int name)
{
    int       value = -1;
    socklen_t size = sizeof(value);

    ck_assert_int_eq(getsockopt(fd, level, name, &value, &size), 0);
    return value;
}

/* What the kernel says itself, without the library. */
static void has_all(int fd)
{
    char      congestion[LOOP_TCP_CONGESTION_MAX] = "";
    socklen_t size = sizeof(congestion) - 1;

    ck_assert_int_ne(option(fd, IPPROTO_TCP, TCP_NODELAY), 0);
    ck_assert_int_ne(option(fd, SOL_SOCKET, SO_KEEPALIVE), 0);
    ck_assert_int_eq(option(fd, IPPROTO_TCP, TCP_KEEPIDLE), 71);
    ck_assert_int_eq(option(fd, IPPROTO_TCP, TCP_KEEPINTVL), 13);
    ck_assert_int_eq(option(fd, IPPROTO_TCP, TCP_KEEPCNT), 5);
    ck_assert_int_eq(option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 12345);
    ck_assert_int_eq(option(fd, SOL_SOCKET, SO_SNDBUF), 2 * 40000);
    ck_assert_int_eq(option(fd, SOL_SOCKET, SO_RCVBUF), 2 * 50000);
    ck_assert_int_eq(option(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT), 16384);
    ck_assert_int_eq(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, congestion, &size), 0);
    ck_assert_str_eq(congestion, "reno");
}

static struct loop_tcp_options got(int fd)
{
    struct loop_tcp_options options;

    memset(&options, 0x55, sizeof(options));
    ck_assert_int_eq(loop_tcp_get(fd, &options), 0);
    return options;
}

static void same(struct loop_tcp_options a, struct loop_tcp_options b)
{
    a.flags &= ~(uint32_t)LOOP_TCP_QUICKACK; /* the kernel changes it as it likes */
    b.flags &= ~(uint32_t)LOOP_TCP_QUICKACK;
    ck_assert_mem_eq(&a, &b, sizeof(a));
}

/* Goal: all are set, and got as they were set. Method: against getsockopt(2); what was got is set on another socket. */
START_TEST(set_and_get)
{
    struct loop_tcp_options read;
    int                     fd = tcp_socket(_i), other = tcp_socket(_i);

    ck_assert_int_eq(loop_tcp_set(fd, &all), 0);
    has_all(fd);
    read = got(fd);
    same(read, all);
    read.flags &= ~(uint32_t)LOOP_TCP_QUICKACK;
    ck_assert_int_eq(loop_tcp_set(other, &read), 0);
    has_all(other);
    test_close(fd);
    test_close(other);
}
END_TEST

/* Goal: zero leaves what is there. Method: all-zero options on a new socket, and on one with everything set. */
START_TEST(zero_sets_nothing)
{
    const struct loop_tcp_options nothing = {0};
    struct loop_tcp_options       before;
    int                           fd = tcp_socket(NET_TCP4);

    before = got(fd);
    ck_assert_uint_eq(before.flags & (LOOP_TCP_DELAY | LOOP_TCP_NO_KEEPALIVE | LOOP_TCP_NODELAY | LOOP_TCP_KEEPALIVE),
                      LOOP_TCP_DELAY | LOOP_TCP_NO_KEEPALIVE);
    ck_assert_uint_gt(before.keepalive_idle_s, 0); /* the system's */
    ck_assert_int_eq(loop_tcp_set(fd, &nothing), 0);
    same(got(fd), before);
    ck_assert_int_eq(loop_tcp_set(fd, &all), 0);
    ck_assert_int_eq(loop_tcp_set(fd, &nothing), 0);
    has_all(fd);
    test_close(fd);
}
END_TEST

/* Goal: each of the keepalive values switches it on, a flag without values too; flags switch all off again, and the
 * values may be set without. Method: one at a time. */
START_TEST(switching)
{
    static const struct loop_tcp_options on[] = {
        {.keepalive_idle_s = 9}, {.keepalive_interval_s = 9}, {.keepalive_count = 9}, {.flags = LOOP_TCP_KEEPALIVE}};
    const struct loop_tcp_options off = {.flags = LOOP_TCP_NO_KEEPALIVE | LOOP_TCP_DELAY, .keepalive_idle_s = 33};
    const struct loop_tcp_options quick = {.flags = LOOP_TCP_QUICKACK};
    int                           fd = tcp_socket(NET_TCP4);

    for (size_t i = 0; i < TEST_COUNT(on); i++) {
        ck_assert_int_eq(loop_tcp_set(fd, &on[i]), 0);
        ck_assert_int_ne(option(fd, SOL_SOCKET, SO_KEEPALIVE), 0);
        ck_assert_int_eq(loop_tcp_set(fd, &(const struct loop_tcp_options){.flags = LOOP_TCP_NODELAY}), 0);
        ck_assert_int_ne(option(fd, IPPROTO_TCP, TCP_NODELAY), 0);
        ck_assert_int_eq(loop_tcp_set(fd, &off), 0);
        ck_assert_int_eq(option(fd, SOL_SOCKET, SO_KEEPALIVE), 0);
        ck_assert_int_eq(option(fd, IPPROTO_TCP, TCP_NODELAY), 0);
        ck_assert_int_eq(option(fd, IPPROTO_TCP, TCP_KEEPIDLE), 33);
    }
    ck_assert_int_eq(setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &(int){0}, sizeof(int)), 0);
    ck_assert_uint_eq(got(fd).flags & LOOP_TCP_QUICKACK, 0);
    ck_assert_int_eq(loop_tcp_set(fd, &quick), 0);
    ck_assert_uint_ne(got(fd).flags & LOOP_TCP_QUICKACK, 0);
    test_close(fd);
}
END_TEST

/* Goal: what makes no sense is refused, before anything is set; what the kernel refuses is told. Method: each. */
START_TEST(refusals)
{
    static const struct loop_tcp_options bad[] = {
        {.flags = 1u << 31},
        {.flags = LOOP_TCP_NODELAY | LOOP_TCP_DELAY},
        {.flags = LOOP_TCP_KEEPALIVE | LOOP_TCP_NO_KEEPALIVE},
        {.flags = LOOP_TCP_NODELAY, .user_timeout_ms = UINT32_MAX},
        {.flags = LOOP_TCP_NODELAY, .congestion = "sixteenlettersss"},
    };
    struct loop_tcp_options before;
    int                     fd = tcp_socket(NET_TCP4), fds[2];

    before = got(fd);
    for (size_t i = 0; i < TEST_COUNT(bad); i++) {
        ck_assert_int_eq(loop_tcp_set(fd, &bad[i]), -EINVAL);
        same(got(fd), before);
    }
    ck_assert_int_eq(loop_tcp_set(fd, NULL), -EINVAL);
    ck_assert_int_eq(loop_tcp_get(fd, NULL), -EINVAL);
    ck_assert_int_eq(loop_tcp_set(fd, &(const struct loop_tcp_options){.keepalive_count = 128}), -EINVAL);
    ck_assert_int_eq(loop_tcp_set(fd, &(const struct loop_tcp_options){.congestion = "nothing-of-ours"}), -ENOENT);
    test_close(fd);
    before = all;
    ck_assert_int_eq(loop_tcp_set(-1, &all), -EBADF);
    ck_assert_int_eq(loop_tcp_get(-1, &before), -EBADF);
    test_pipe(fds);
    ck_assert_int_eq(loop_tcp_set(fds[0], &all), -ENOTSOCK);
    ck_assert_int_eq(loop_tcp_get(fds[0], &before), -ENOTSOCK);
    ck_assert_mem_eq(&before, &all, sizeof(all)); /* untouched */
    test_close(fds[0]);
    test_close(fds[1]);
}
END_TEST

/* Goal: on a unix socket the buffers are set, and the rest does no harm; on a datagram socket it is an error. Method:
 * all options on each. */
START_TEST(other_sockets)
{
    struct loop_tcp_options read;
    int                     fds[2], udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    test_socketpair(fds);
    ck_assert_int_eq(loop_tcp_set(fds[0], &all), 0);
    ck_assert_int_eq(option(fds[0], SOL_SOCKET, SO_SNDBUF), 2 * 40000);
    read = got(fds[0]);
    same(read, (struct loop_tcp_options){.send_buffer_bytes = 40000, .receive_buffer_bytes = 50000});
    ck_assert_int_eq(loop_tcp_set(udp, &all), -ENOPROTOOPT);
    read = got(udp);
    same(read, (struct loop_tcp_options){.send_buffer_bytes = 40000, .receive_buffer_bytes = 50000});
    test_close(fds[0]);
    test_close(fds[1]);
    test_close(udp);
}
END_TEST

/* Goal: what a listener is given, its connections have, without a call for each. Method: listens with all options, and
 * asks the kernel about each accepted socket; i: kind; adopted listeners as well. */
START_TEST(inherited)
{
    struct loop_listener_options options = {.tcp = &all};
    struct loop_address          address = net_address(_i);
    struct loop                 *loop = test_loop_new(NULL);
    struct door                  door, adopted = {0};
    int                          clients[6];

    door_open_at(loop, &door, &address, &options, door_accept_cb);
    has_all(loop_listener_fd(&door.listener));
    ck_assert_int_eq(
        loop_listener_adopt(loop, &adopted.listener, net_listen(_i, 10, &adopted.address), &options, door_accept_cb),
        0);
    has_all(loop_listener_fd(&adopted.listener));
    for (size_t i = 0; i < TEST_COUNT(clients); i++)
        clients[i] = net_dial(i % 2 == 0 ? &door.address : &adopted.address);
    run_until(loop, door.accepted == 3 && adopted.accepted == 3);
    for (size_t i = 0; i < 3; i++) {
        has_all(door.fds[i]);
        has_all(adopted.fds[i]);
    }
    for (size_t i = 0; i < TEST_COUNT(clients); i++)
        test_close(clients[i]);
    door_close(loop, &door);
    door_close(loop, &adopted);
    test_loop_free(loop);
}
END_TEST

/* Goal: options that cannot be set fail the start, and nothing stays open. Method: an unknown algorithm. */
START_TEST(a_listener_says_so)
{
    const struct loop_tcp_options unknown = {.congestion = "nothing-of-ours"};
    struct loop_listener_options  options = {.tcp = &unknown};
    struct loop_address           address = net_address(NET_TCP4);
    struct loop                  *loop = test_loop_new(NULL);
    struct door                   door = {0};
    int                           fd = net_listen(NET_TCP4, 10, &address);

    ck_assert_int_eq(loop_listener_adopt(loop, &door.listener, fd, &options, door_accept_cb), -ENOENT);
    test_close(fd); /* still the caller's */
    ck_assert_int_eq(loop_listener_start(loop, &door.listener, &address, &options, door_accept_cb), -ENOENT);
    ck_assert_int_eq(loop_listener_fd(&door.listener), -EBADF);
    ck_assert(!loop_alive(loop));
    test_loop_free(loop);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("net/tcp_option");
    TCase *tcase = test_case_without_ring(suite, "set and get");
    bool   ipv6 = net_kinds() == NET_KINDS;

    tcase_add_loop_test(tcase, set_and_get, NET_TCP4, NET_TCP4 + 1);
    if (ipv6)
        tcase_add_loop_test(tcase, set_and_get, NET_TCP6, NET_TCP6 + 1);
    tcase_add_test(tcase, zero_sets_nothing);
    tcase_add_test(tcase, switching);
    tcase_add_test(tcase, refusals);
    tcase_add_test(tcase, other_sockets);
    tcase = test_case(suite, "listener");
    tcase_add_loop_test(tcase, inherited, NET_TCP4, NET_TCP4 + 1);
    if (ipv6)
        tcase_add_loop_test(tcase, inherited, NET_TCP6, NET_TCP6 + 1);
    tcase_add_test(tcase, a_listener_says_so);
    return suite;
}
