/* tests/net/unix_test.c: pairs, credentials, and names of unix sockets. */
#include <ringloop/unix.h>

#include "tests/net/net_test.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

/* Goal: two streams that talk with each other. Method: patterns both ways, half-closes, then the ends. */
START_TEST(pair_talks)
{
    struct loop *loop = test_loop_new(NULL);
    struct end   a = {.write_flow = 1, .read_flow = 2}, b = {.write_flow = 2, .read_flow = 1};

    ck_assert_int_eq(loop_stream_pair(loop, &a.stream, &b.stream, NULL), 0);
    ck_assert_int_ne(fcntl(loop_stream_fd(&a.stream), F_GETFD) & FD_CLOEXEC, 0);
    end_read_start(&a);
    end_read_start(&b);
    for (int i = 0; i < 20; i++) {
        ck_assert_int_eq(end_write(&a, 50000, 0), 0);
        ck_assert_int_eq(end_write(&b, 7, 0), 0);
    }
    ck_assert_int_eq(CALL(loop_stream_shutdown(&a.stream, NULL)), 0);
    run_until(loop, b.read_ends == 1);
    ck_assert_int_eq(end_write(&b, 7, 0), 0);
    ck_assert_int_eq(CALL(loop_stream_shutdown(&b.stream, NULL)), 0);
    run_until(loop, a.read_ends == 1);
    ck_assert_uint_eq(b.read_bytes, 1000000);
    ck_assert_uint_eq(a.read_bytes, 147);
    end_close(&a);
    end_close(&b);
    run_until(loop, a.closes + b.closes == 2);
    test_loop_free(loop);
}
END_TEST

/* Goal: a pair is made whole or not at all. Method: bad options, a stream in use as the first or the second, the same
 * twice, memory that runs out at each call; the fixture counts descriptors. */
START_TEST(pair_fails)
{
    const struct loop_stream_options bad = {.flags = 1u << 31}, fds = {.flags = LOOP_STREAM_FDS};
    struct loop                     *loop = test_loop_new(NULL);
    struct loop_stream               a = {0}, b = {0}, c = {0};

    ck_assert_int_eq(loop_stream_pair(loop, &a, &b, &bad), -EINVAL);
    ck_assert_int_eq(loop_stream_pair(loop, &a, &a, NULL), -EINVAL);
    for (uint64_t i = 1; i <= 2; i++) {
        test_memory.fail_at = test_memory.calls + i;
        ck_assert_int_eq(loop_stream_pair(loop, &a, &b, &fds), -ENOMEM);
        test_memory.fail_at = 0;
        ck_assert(!loop_alive(loop));
    }
    ck_assert_int_eq(loop_stream_pair(loop, &a, &b, NULL), 0);
    ck_assert_int_eq(loop_stream_pair(loop, &a, &c, NULL), -EBUSY);
    ck_assert_int_eq(loop_stream_pair(loop, &c, &b, NULL), -EBUSY);
    ck_assert_int_eq(loop_stream_fd(&c), -EBADF);
    loop_stream_close(&a, NULL);
    loop_stream_close(&b, NULL);
    test_run(loop);
    test_loop_free(loop);
}
END_TEST

/* Goal: who the peer is. Method: a child connects; a pair; sockets that have no peer. */
START_TEST(credentials)
{
    struct loop_credentials peer = {.pid = -7};
    struct loop_address     address;
    int                     listener = net_listen(NET_UNIX, 1, &address), fd, status, fds[2], tcp[2];
    pid_t                   pid = fork();

    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        char byte;

        fd = net_dial(&address);
        _exit(read(fd, &byte, 1) == 1 ? 0 : 1);
    }
    fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(loop_unix_credentials(listener, &peer), 0); /* who listens */
    ck_assert_int_eq(peer.pid, getpid());
    ck_assert_int_eq(loop_unix_credentials(fd, &peer), 0);
    ck_assert_int_eq(peer.pid, pid);
    ck_assert_uint_eq(peer.uid, geteuid());
    ck_assert_uint_eq(peer.gid, getegid());
    test_write(fd, "x", 1);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
    test_close(fd);
    test_close(listener);
    test_socketpair(fds);
    ck_assert_int_eq(loop_unix_credentials(fds[0], &peer), 0);
    ck_assert_int_eq(peer.pid, getpid());
    peer.pid = -7;
    net_pair(NET_TCP4, tcp);
    ck_assert_int_eq(loop_unix_credentials(tcp[0], &peer), -ENODATA);
    ck_assert_int_eq(loop_unix_credentials(-1, &peer), -EBADF);
    test_close(fds[0]);
    test_close(fds[1]);
    test_close(tcp[0]);
    test_close(tcp[1]);
    test_pipe(fds);
    ck_assert_int_eq(loop_unix_credentials(fds[0], &peer), -ENOTSOCK);
    ck_assert_int_eq(peer.pid, -7);
    test_close(fds[0]);
    test_close(fds[1]);
}
END_TEST

/* Goal: a pidfd of the peer. Method: a child's becomes readable when it ends. */
START_TEST(pidfd)
{
    struct loop_address address;
    struct pollfd       pollfd = {.events = POLLIN};
    int                 listener = net_listen(NET_UNIX, 1, &address), fd, status, tcp[2];
    pid_t               pid = fork();

    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        char byte;

        fd = net_dial(&address);
        _exit(read(fd, &byte, 1) == 1 ? 0 : 1);
    }
    fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    pollfd.fd = loop_unix_pidfd(fd);
    if (pollfd.fd == -EOPNOTSUPP) {
        test_skip("the kernel has no SO_PEERPIDFD");
    } else {
        ck_assert_int_ge(pollfd.fd, 0);
        ck_assert_int_ne(fcntl(pollfd.fd, F_GETFD) & FD_CLOEXEC, 0);
        ck_assert_int_eq(poll(&pollfd, 1, 0), 0);
    }
    test_write(fd, "x", 1);
    if (pollfd.fd >= 0) {
        ck_assert_int_eq(poll(&pollfd, 1, 10000), 1);
        test_close(pollfd.fd);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
    net_pair(NET_TCP4, tcp);
    ck_assert_int_lt(loop_unix_pidfd(tcp[0]), 0);
    ck_assert_int_eq(loop_unix_pidfd(-1), -EBADF);
    test_close(tcp[0]);
    test_close(tcp[1]);
    test_close(fd);
    test_close(listener);
}
END_TEST

/* ---- names */

static int accepted_fd;

static void accepted(struct loop_listener *listener, int fd)
{
    (void)listener;
    ck_assert_int_ge(fd, 0);
    accepted_fd = fd;
}

static void name_is(const struct loop_address *address, const char *path)
{
    const struct sockaddr_un *name = (const struct sockaddr_un *)&address->storage;

    ck_assert_int_eq(name->sun_family, AF_UNIX);
    if (path == NULL) { /* bound to no name */
        ck_assert_uint_eq(address->size, sizeof(sa_family_t));
        return;
    }
    if (path[0] == '@') {
        ck_assert_uint_eq(address->size, offsetof(struct sockaddr_un, sun_path) + strlen(path));
        ck_assert_int_eq(name->sun_path[0], 0);
        ck_assert_mem_eq(name->sun_path + 1, path + 1, strlen(path) - 1);
    } else {
        ck_assert_str_eq(name->sun_path, path);
    }
}

/* Goal: names of both ends, in the file system and abstract. Method: as the kernel has them: the listener's for the one
 * who accepts, none for the one who connects. */
START_TEST(names)
{
    struct loop         *loop = test_loop_new(NULL);
    struct loop_listener listener = {0};
    struct loop_address  address, name;
    struct end           client = {0}, server = {0};
    char                 path[64], text[80];

    snprintf(path, sizeof(path), "%s%d", _i == 0 ? "/tmp/ringloop-unix-" : "@ringloop-unix-", (int)getpid());
    snprintf(text, sizeof(text), "unix:%s", path);
    address = net_parse(text, 0);
    ck_assert_int_eq(loop_stream_connect(loop, &client.stream, &address, NULL, end_connect_cb), 0);
    run_until(loop, client.connects == 1);
    ck_assert_int_eq(client.connect_error, _i == 0 ? -ENOENT : -ECONNREFUSED);
    end_close(&client);
    run_until(loop, client.closes == 1);

    accepted_fd = -1;
    memset(&client, 0, sizeof(client));
    ck_assert_int_eq(loop_listener_start(loop, &listener, &address, NULL, accepted), 0);
    end_connect(loop, &client, &address, NULL);
    run_until(loop, client.connects == 1 && accepted_fd >= 0);
    ck_assert_int_eq(client.connect_error, 0);
    end_open(loop, &server, accepted_fd, NULL);
    ck_assert_int_eq(loop_stream_local_address(&server.stream, &name), 0);
    name_is(&name, path);
    ck_assert_int_eq(loop_stream_peer_address(&server.stream, &name), 0);
    name_is(&name, NULL);
    ck_assert_int_eq(loop_stream_local_address(&client.stream, &name), 0);
    name_is(&name, NULL);
    ck_assert_int_eq(loop_stream_peer_address(&client.stream, &name), 0);
    name_is(&name, path);
    end_close(&client);
    end_close(&server);
    loop_listener_close(&listener, NULL);
    run_until(loop, client.closes + server.closes == 2 && !loop_alive(loop));
    unlink(path);
    test_loop_free(loop);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("net/unix");
    TCase *tcase = test_case(suite, "pairs");

    tcase_add_test(tcase, pair_talks);
    tcase_add_test(tcase, pair_fails);
    tcase = test_case(suite, "peers");
    tcase_add_test(tcase, credentials);
    tcase_add_test(tcase, pidfd);
    tcase = test_case(suite, "names");
    tcase_add_loop_test(tcase, names, 0, 2);
    return suite;
}
