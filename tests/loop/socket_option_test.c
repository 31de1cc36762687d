/* tests/loop/socket_option_test.c: sockets by kind, their options by the ring, TCP fast open. */
#include "tests/loop/pair_world.h"

#include <fcntl.h>
#include <liburing.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>

static void setup(void)
{
    loop = test_loop_new(&(struct loop_options){.sq_entries = 64});
    test_tcp_pair(pair);
}

/* ---- kinds */

struct kind {
    enum loop_socket_kind kind;
    int                   domain, type, protocol, given;
};

static const struct kind kinds[] = {
    {LOOP_TCP4, AF_INET, SOCK_STREAM, IPPROTO_TCP, 0},
    {LOOP_TCP6, AF_INET6, SOCK_STREAM, IPPROTO_TCP, 0},
    {LOOP_UDP4, AF_INET, SOCK_DGRAM, IPPROTO_UDP, 0},
    {LOOP_UDP6, AF_INET6, SOCK_DGRAM, IPPROTO_UDP, 0},
    {LOOP_UDPLITE4, AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE, 0},
    {LOOP_UDPLITE6, AF_INET6, SOCK_DGRAM, IPPROTO_UDPLITE, 0},
    {LOOP_SCTP4, AF_INET, SOCK_STREAM, IPPROTO_SCTP, 0},
    {LOOP_SCTP6, AF_INET6, SOCK_STREAM, IPPROTO_SCTP, 0},
    {LOOP_UNIX_STREAM, AF_UNIX, SOCK_STREAM, 0, 0},
    {LOOP_UNIX_DGRAM, AF_UNIX, SOCK_DGRAM, 0, 0},
    {LOOP_UNIX_SEQPACKET, AF_UNIX, SOCK_SEQPACKET, 0, 0},
    {LOOP_RAW4, AF_INET, SOCK_RAW, IPPROTO_ICMP, IPPROTO_ICMP},
    {LOOP_RAW6, AF_INET6, SOCK_RAW, IPPROTO_ICMPV6, IPPROTO_ICMPV6},
};

/* Goal: each kind gives the socket, or the errno, that socket(2) gives. Method: compare both, and domain, type and
 * protocol of the socket. */
START_TEST(kind_op)
{
    const struct kind *kind = &kinds[_i];
    struct test_log    logs[2] = {0};
    int                plain = socket(kind->domain, kind->type, kind->protocol), error = errno;
    int fd = finish(loop_socket_of_kind(loop, kind->kind, kind->given, test_log_cb, &logs[0], NULL), &logs[0]);

    if (plain < 0) {
        ck_assert_int_eq(fd, -error);
        return;
    }
    test_close(plain);
    for (int i = 0; i < 3; i++) {
        static const int names[] = {SO_DOMAIN, SO_TYPE, SO_PROTOCOL};
        const int        wanted[] = {kind->domain, kind->type, kind->protocol};
        int              value = -1;
        socklen_t        size = sizeof(value);

        ck_assert_int_eq(getsockopt(fd, SOL_SOCKET, names[i], &value, &size), 0);
        ck_assert_int_eq(value, wanted[i]);
    }
    ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
    test_close(fd);
    ck_assert_int_eq(loop_files_init(loop, NULL), 0);
    fd = finish(loop_socket_of_kind_direct(loop, kind->kind, kind->given, LOOP_SLOT_AUTO, test_log_cb, &logs[1], NULL),
                &logs[1]);
    ck_assert_int_ge(fd, LOOP_FIXED(0));
}
END_TEST

static void raw_as_ordinary_user(void *arg)
{
    struct loop    *of = NULL;
    struct test_log log = {0};

    (void)arg;
    TEST_TRUE_IN_CHILD(geteuid() != 0 || setuid(60000) == 0);
    TEST_TRUE_IN_CHILD(loop_create(&of, &(struct loop_options){.sq_entries = 8, .cq_entries = 16}) == 0);
    TEST_TRUE_IN_CHILD(loop_socket_of_kind(of, LOOP_RAW4, IPPROTO_ICMP, test_log_cb, &log, NULL) > 0);
    loop_run(of, LOOP_RUN_DEFAULT);
    loop_destroy(of);
    TEST_TRUE_IN_CHILD(log.count == 1 && log.last.res == -EPERM);
}

/* Goal: raw sockets are refused to ordinary users by the kernel: -EPERM. Method: a child that gives up its rights. */
START_TEST(raw_needs_rights)
{
    test_in_child(raw_as_ordinary_user, NULL);
}
END_TEST

/* Goal: what is no kind, and a protocol where none belongs, are refused. */
START_TEST(kind_refused)
{
    int domain = 77, type = 77, protocol = 77;

    ck_assert_int_eq(loop_socket_of_kind(loop, (enum loop_socket_kind)99, 0, not_called, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_socket_of_kind(loop, (enum loop_socket_kind) - 1, 0, not_called, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_socket_of_kind(loop, LOOP_TCP4, 6, not_called, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_socket_of_kind(loop, LOOP_RAW4, 256, not_called, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_socket_of_kind_direct(loop, LOOP_RAW6, -1, 0, not_called, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_socket_of_kind_direct(loop, LOOP_TCP4, 0, 0, not_called, NULL, NULL), -ENXIO);
    ck_assert_int_eq(loop_socket_kind_parts(LOOP_UDP6, 1, &domain, &type, &protocol), -EINVAL);
    ck_assert(domain == 77 && type == 77 && protocol == 77);
    ck_assert_int_eq(loop_socket_kind_parts(LOOP_UDP6, 0, &domain, &type, &protocol), 0);
    ck_assert(domain == AF_INET6 && type == SOCK_DGRAM && protocol == IPPROTO_UDP);
}
END_TEST

/* ---- options */

static bool lacks(int32_t res)
{
    if (res == -EOPNOTSUPP)
        test_skip("socket commands: the kernel lacks them");
    return res == -EOPNOTSUPP;
}

/* Goal: what is set by the ring is what getsockopt(2) finds, and the other way round; the value is copied. */
START_TEST(set_get)
{
    struct test_log logs[6] = {0};
    int             on = 1, got = 0;
    struct linger   linger = {.l_onoff = 1, .l_linger = 42}, found = {0};
    socklen_t       size = sizeof(got);
    loop_id id = loop_setsockopt(loop, pair[0], IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on), test_log_cb, &logs[0], NULL);

    on = 0;
    if (lacks(finish(id, &logs[0])))
        return;
    ck_assert_int_eq(logs[0].last.res, 0);
    ck_assert_int_eq(getsockopt(pair[0], IPPROTO_TCP, TCP_NODELAY, &got, &size), 0);
    ck_assert_int_eq(got, 1);
    ck_assert_int_eq(finish(loop_setsockopt(loop, pair[0], SOL_SOCKET, SO_LINGER, &linger, sizeof(linger), test_log_cb,
                                            &logs[1], NULL),
                            &logs[1]),
                     0);
    ck_assert_int_eq(finish(loop_getsockopt(loop, pair[0], SOL_SOCKET, SO_LINGER, &found, sizeof(found), test_log_cb,
                                            &logs[2], NULL),
                            &logs[2]),
                     sizeof(found));
    ck_assert_int_eq(found.l_linger, 42);
    ck_assert_int_eq(
        finish(loop_getsockopt(loop, pair[0], SOL_SOCKET, SO_TYPE, &got, sizeof(got), test_log_cb, &logs[3], NULL),
               &logs[3]),
        sizeof(got));
    ck_assert_int_eq(got, SOCK_STREAM);
    linger.l_onoff = 0;
    ck_assert_int_eq(setsockopt(pair[0], SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
}
END_TEST

/* Goal: the errors are the kernel's; bad arguments are refused. */
START_TEST(option_errors)
{
    struct test_log logs[6] = {0};
    int             on = 1, pipes[2];

    test_pipe(pipes);
    if (!lacks(finish(loop_setsockopt(loop, pair[0], SOL_SOCKET, 9999, &on, sizeof(on), test_log_cb, &logs[0], NULL),
                      &logs[0]))) {
        ck_assert_int_eq(logs[0].last.res, -ENOPROTOOPT);
        ck_assert_int_eq(
            finish(loop_setsockopt(loop, pair[0], SOL_SOCKET, SO_KEEPALIVE, &on, 1, test_log_cb, &logs[1], NULL),
                   &logs[1]),
            -EINVAL);
        ck_assert_int_eq(
            finish(loop_getsockopt(loop, pair[0], SOL_SOCKET, 9999, &on, sizeof(on), test_log_cb, &logs[2], NULL),
                   &logs[2]),
            -ENOPROTOOPT);
        /* The level that kernels so far leave out; a later one may have it. */
        on = 7;
        if (finish(
                loop_getsockopt(loop, pair[0], IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on), test_log_cb, &logs[3], NULL),
                &logs[3]) < 0) {
            ck_assert_int_eq(logs[3].last.res, -EOPNOTSUPP);
            ck_assert_int_eq(on, 7);
        }
    }
    ck_assert_int_eq(
        finish(loop_setsockopt(loop, pipes[0], SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on), test_log_cb, &logs[4], NULL),
               &logs[4]),
        -EOPNOTSUPP);
    ck_assert_int_eq(
        finish(loop_getsockopt(loop, 3999, SOL_SOCKET, SO_TYPE, &on, sizeof(on), test_log_cb, &logs[5], NULL),
               &logs[5]),
        -EBADF);
    ck_assert_int_eq(loop_setsockopt(loop, -1, 0, 0, &on, 4, not_called, NULL, NULL), -EBADF);
    ck_assert_int_eq(loop_getsockopt(loop, -1, 0, 0, &on, 4, not_called, NULL, NULL), -EBADF);
    ck_assert_int_eq(loop_setsockopt(loop, pair[0], 0, 0, NULL, 4, not_called, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_getsockopt(loop, pair[0], 0, 0, NULL, 4, not_called, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_setsockopt(loop, pair[0], 0, 0, &on, (1 << 20) + 1, not_called, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_socket_inq(loop, -1, not_called, NULL, NULL), -EBADF);
    ck_assert_int_eq(loop_socket_outq(loop, -1, not_called, NULL, NULL), -EBADF);
    test_close(pipes[0]);
    test_close(pipes[1]);
}
END_TEST

/* Goal: a long value is copied too. Method: overwrite it after the call. */
START_TEST(long_value)
{
    enum { BYTES = 4000 };
    struct test_log log = {0};
    char           *name = malloc(BYTES);
    loop_id         id;

    /* TCP_CONGESTION takes a name of any length and looks at its first 16 bytes. */
    memset(name, 0, BYTES);
    strcpy(name, "reno");
    id = loop_setsockopt(loop, pair[0], IPPROTO_TCP, TCP_CONGESTION, name, BYTES, test_log_cb, &log, NULL);
    memset(name, 'x', BYTES);
    free(name);
    if (!lacks(finish(id, &log))) {
        char      found[16] = "";
        socklen_t size = sizeof(found);

        ck_assert_int_eq(log.last.res, 0);
        ck_assert_int_eq(getsockopt(pair[0], IPPROTO_TCP, TCP_CONGESTION, found, &size), 0);
        ck_assert_str_eq(found, "reno");
    }
}
END_TEST

/* Goal: options of a slot, which no system call can reach. */
START_TEST(on_slot)
{
    struct test_log logs[3] = {0};
    int             slot, on = 1, got = 0;
    socklen_t       size = sizeof(got);

    ck_assert_int_eq(loop_files_init(loop, NULL), 0);
    slot = loop_file_register(loop, pair[0]);
    if (lacks(
            finish(loop_setsockopt(loop, slot, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on), test_log_cb, &logs[0], NULL),
                   &logs[0])))
        return;
    ck_assert_int_eq(logs[0].last.res, 0);
    ck_assert_int_eq(getsockopt(pair[0], SOL_SOCKET, SO_KEEPALIVE, &got, &size), 0);
    ck_assert_int_eq(got, 1);
    got = 0;
    ck_assert_int_eq(
        finish(loop_getsockopt(loop, slot, SOL_SOCKET, SO_KEEPALIVE, &got, sizeof(got), test_log_cb, &logs[1], NULL),
               &logs[1]),
        sizeof(got));
    ck_assert_int_eq(got, 1);
}
END_TEST

/* Goal: the queues are those of SIOCINQ and SIOCOUTQ. Method: bytes in both directions, compared with ioctl(2). */
START_TEST(queues)
{
    struct test_log logs[4] = {0};
    int             in = -1, out = -1, unix_pair[2];
    char            bytes[1000] = {0};

    test_write(pair[1], bytes, sizeof(bytes));
    while (in != sizeof(bytes)) /* the loopback delivers at once, or nearly */
        ck_assert_int_eq(ioctl(pair[0], FIONREAD, &in), 0);
    if (lacks(finish(loop_socket_inq(loop, pair[0], test_log_cb, &logs[0], NULL), &logs[0])))
        return;
    ck_assert_int_eq(logs[0].last.res, sizeof(bytes));
    ck_assert_int_eq(finish(loop_socket_outq(loop, pair[0], test_log_cb, &logs[1], NULL), &logs[1]), 0);
    /* Fill it until the peer, which does not read, takes no more: then something stays in the queue. */
    while (send(pair[0], bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
        ;
    ck_assert_int_eq(errno, EAGAIN);
    for (int i = 0; i < 1000; i++) { /* until acknowledgements no longer move it */
        int before = out;

        test_sleep(LOOP_MILLISECOND);
        ck_assert_int_eq(ioctl(pair[0], TIOCOUTQ, &out), 0);
        if (out == before)
            break;
    }
    ck_assert_int_gt(finish(loop_socket_outq(loop, pair[0], test_log_cb, &logs[2], NULL), &logs[2]), 0);
    test_socketpair(unix_pair);
    ck_assert_int_eq(finish(loop_socket_inq(loop, unix_pair[0], test_log_cb, &logs[3], NULL), &logs[3]), -EOPNOTSUPP);
    test_close(unix_pair[0]);
    test_close(unix_pair[1]);
}
END_TEST

/* Goal: a link waits for the option to be set. Method: bind, option, listen in one chain; the same port twice, which
 * SO_REUSEPORT alone allows. */
START_TEST(in_a_chain)
{
    struct sockaddr_in address = test_localhost(0);
    socklen_t          size = sizeof(address);
    int                first = socket(AF_INET, SOCK_STREAM, 0), second = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    struct test_log    logs[3] = {0};

    ck_assert_int_eq(setsockopt(first, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)), 0);
    ck_assert_int_eq(bind(first, (const struct sockaddr *)&address, size), 0);
    ck_assert_int_eq(getsockname(first, (struct sockaddr *)&address, &size), 0);
    if (!test_has_opcode(loop, IORING_OP_LISTEN)) {
        test_skip("in_a_chain: the kernel lacks bind and listen");
    } else {
        ck_assert_int_eq(loop_chain_begin(loop, 3, 0), 0);
        ck_assert_int_gt(
            loop_setsockopt(loop, second, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on), test_log_cb, &logs[0], NULL), 0);
        ck_assert_int_gt(loop_bind(loop, second, (const struct sockaddr *)&address, size, test_log_cb, &logs[1], NULL),
                         0);
        ck_assert_int_gt(loop_listen(loop, second, 1, test_log_cb, &logs[2], NULL), 0);
        ck_assert_int_eq(loop_chain_end(loop), 0);
        on = 0; /* it was copied */
        test_run(loop);
        test_log_is(&logs[0], 0);
        test_log_is(&logs[1], 0);
        test_log_is(&logs[2], 0);
    }
    test_close(first);
    test_close(second);
}
END_TEST

/* Goal: without memory a call is refused and leaves nothing. */
START_TEST(no_memory)
{
    char value[200] = "";
    int  refused = 0;

    for (uint64_t nth = 1; nth < 10; nth++) {
        struct test_log log = {0};
        loop_id         id;

        test_memory.fail_at = test_memory.calls + nth;
        id = loop_setsockopt(loop, pair[0], SOL_SOCKET, 9999, value, sizeof(value), test_log_cb, &log, NULL);
        test_memory.fail_at = 0;
        test_run(loop);
        if (id > 0) {
            ck_assert_uint_eq(log.finals, 1);
            break;
        }
        refused++;
        ck_assert_int_eq(id, -ENOMEM);
        ck_assert_uint_eq(log.count, 0);
    }
    ck_assert_int_gt(refused, 1);
}
END_TEST

/* ---- TCP fast open */

/* Goal: the bits are those of the sysctl, and each state has a text of its own. */
START_TEST(fastopen)
{
    FILE    *sysctl = fopen("/proc/sys/net/ipv4/tcp_fastopen", "r");
    unsigned number = 0;
    uint32_t bits = 99;

    if (sysctl == NULL) {
        ck_assert_int_lt(loop_tcp_fastopen(&bits), 0);
        ck_assert_uint_eq(bits, 99);
    } else {
        ck_assert_int_eq(fscanf(sysctl, "%u", &number), 1);
        fclose(sysctl);
        ck_assert_int_eq(loop_tcp_fastopen(&bits), 0);
        ck_assert_uint_eq(bits, number & 3);
    }
    for (uint32_t a = 0; a < 4; a++)
        for (uint32_t b = 0; b < a; b++)
            ck_assert_str_ne(loop_tcp_fastopen_text(a), loop_tcp_fastopen_text(b));
    ck_assert_str_eq(loop_tcp_fastopen_text(0x400 | 3), loop_tcp_fastopen_text(3));
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("socket_option");
    TCase *tcase = test_case(suite, "kinds");

    tcase_add_checked_fixture(tcase, setup, pair_teardown);
    tcase_add_loop_test(tcase, kind_op, 0, (int)TEST_COUNT(kinds));
    tcase_add_test(tcase, raw_needs_rights);
    tcase_add_test(tcase, kind_refused);
    tcase = test_case(suite, "options");
    tcase_add_checked_fixture(tcase, setup, pair_teardown);
    tcase_add_test(tcase, set_get);
    tcase_add_test(tcase, option_errors);
    tcase_add_test(tcase, long_value);
    tcase_add_test(tcase, on_slot);
    tcase_add_test(tcase, queues);
    tcase_add_test(tcase, in_a_chain);
    tcase_add_test(tcase, no_memory);
    tcase = test_case_without_ring(suite, "fastopen");
    tcase_add_test(tcase, fastopen);
    return suite;
}
