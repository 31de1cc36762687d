/* tests/net/mirror_unix_test.c: unix sockets, as users of libuv's pipes know them; docs/scenarios.md lists what each
 * mirrors. */
#include "tests/net/couple.h"
#include "tests/net/door.h"

#include <sys/stat.h>
#include <sys/un.h>

static struct loop_address temporary_path(char *ret_path)
{
    char text[80];

    strcpy(ret_path, "/tmp/ringloop-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(ret_path));
    strcat(ret_path, "/s");
    snprintf(text, sizeof(text), "unix:%s", ret_path);
    return net_parse(text, 0);
}

static void remove_path(char *path)
{
    unlink(path);
    *strrchr(path, '/') = '\0';
    ck_assert_int_eq(rmdir(path), 0);
}

static void address_is(const struct loop_address *address, const char *text)
{
    char name[LOOP_ADDRESS_TEXT_MAX];

    ck_assert_int_gt(loop_address_format(address, name, sizeof(name)), 0);
    ck_assert_str_eq(name, text);
}

/* Goal: both ends know their names: the listener's is that of the accepted end and of the client's peer; the client has
 * none. Method: i 0: a path, 1: an abstract name, 2: an abstract name that the kernel chose (bind(2) of the family
 * alone). */
START_TEST(names)
{
    struct loop        *loop = test_loop_new(NULL);
    struct end          client = {0}, server = {0};
    char                path[64] = "", text[LOOP_ADDRESS_TEXT_MAX];
    struct loop_address address = net_address(NET_UNIX), name;
    struct door         door;

    if (_i == 0)
        address = temporary_path(path);
    if (_i == 2)
        address.size = sizeof(sa_family_t);
    door_open_at(loop, &door, &address, NULL, door_accept_cb);
    ck_assert_int_gt(loop_address_format(&door.address, text, sizeof(text)), 0);
    ck_assert_int_eq(strncmp(text, "unix:@", 6) == 0, _i != 0);
    if (_i == 0)
        ck_assert_str_eq(text + strlen("unix:"), path);
    end_connect(loop, &client, &door.address, NULL);
    ck_assert_int_eq(loop_stream_local_address(&client.stream, &name), 0);
    run_until(loop, client.connects == 1 && door.accepted == 1);
    ck_assert_int_eq(client.connect_error, 0);
    end_open(loop, &server, door.fds[--door.accepted], NULL);
    ck_assert_int_eq(loop_stream_peer_address(&client.stream, &name), 0);
    address_is(&name, text);
    ck_assert_int_eq(loop_stream_local_address(&server.stream, &name), 0);
    address_is(&name, text);
    ck_assert_int_eq(loop_stream_local_address(&client.stream, &name), 0);
    ck_assert_uint_eq(name.size, sizeof(sa_family_t));
    ck_assert_int_eq(loop_stream_peer_address(&server.stream, &name), 0);
    ck_assert_uint_eq(name.size, sizeof(sa_family_t));
    ck_assert_int_ge(loop_address_format(&name, text, sizeof(text)), 0);
    end_close(&client);
    end_close(&server);
    door_close(loop, &door);
    test_run(loop);
    if (_i == 0)
        remove_path(path);
    test_loop_free(loop);
}
END_TEST

/* Goal: there is no peer's name before the connection stands, nor after the close. Method: towards a full backlog. */
START_TEST(no_name_while_connecting)
{
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address address, name = {.size = 77};
    int                 listener = net_listen(_i, 0, &address), fillers[4], error;
    struct end          end = {.name = "a"};

    for (size_t i = 0; i < TEST_COUNT(fillers); i++)
        fillers[i] = net_dial_start(&address, &error);
    test_sleep(5 * LOOP_MILLISECOND);
    end_connect(loop, &end, &address, NULL);
    settle(loop);
    ck_assert_int_eq(loop_stream_peer_address(&end.stream, &name), -ENOTCONN);
    ck_assert_uint_eq(name.size, 77);
    end_close(&end);
    ck_assert_int_eq(loop_stream_peer_address(&end.stream, &name), -EINVAL);
    run_until(loop, end.closes == 1);
    notes_are("a connect ECANCELED; a close");
    ck_assert_int_eq(loop_stream_local_address(&end.stream, &name), -EINVAL);
    for (size_t i = 0; i < TEST_COUNT(fillers); i++)
        test_close(fillers[i]);
    test_close(listener);
    test_loop_free(loop);
}
END_TEST

/* Goal: a path is taken as long as its file is there, and a bad one is refused by the call. Method: a second listener
 * at the same path; one in a directory that is not there; one with a path of a file; and again after its removal. */
START_TEST(paths_in_use)
{
    struct loop         *loop = test_loop_new(NULL);
    struct loop_listener second = {0};
    struct loop_address  address, nowhere = net_parse("unix:/nowhere/at/all", 0);
    struct door          door;
    char                 path[64];

    address = temporary_path(path);
    door_open_at(loop, &door, &address, NULL, door_accept_cb);
    ck_assert_int_eq(CALL(loop_listener_start(loop, &second, &address, NULL, door_accept_cb)), -EADDRINUSE);
    ck_assert_int_eq(CALL(loop_listener_start(loop, &second, &nowhere, NULL, door_accept_cb)), -ENOENT);
    ck_assert_int_eq(loop_listener_fd(&second), -EBADF);
    door_close(loop, &door);
    unlink(path);
    door_open_at(loop, &door, &address, NULL, door_accept_cb);
    door_close(loop, &door);
    remove_path(path);
    test_run(loop);
    test_loop_free(loop);
}
END_TEST

/* Goal: descriptors that a peer sends to a stream that does not ask for any are not left open, and the bytes they came
 * with arrive. Method: 64 messages with three descriptors each; the fixture counts descriptors. */
START_TEST(descriptors_nobody_asked_for)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;
    uint32_t     before;

    link_open(loop, &link, NET_UNIX, 1, NULL);
    end_read_start(&link.end);
    settle(loop);
    before = test_fd_count();
    for (int i = 0; i < 64; i++) {
        _Alignas(struct cmsghdr) char control[CMSG_SPACE(3 * sizeof(int))] = {0};
        const int                     fds[3] = {0, 1, 2};
        char                          bytes[10];
        struct iovec                  iov = {.iov_base = bytes, .iov_len = sizeof(bytes)};
        struct msghdr                 msg = {
                            .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
        struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

        pattern_fill(link.peer.write_flow, link.peer.write_bytes, bytes, sizeof(bytes));
        link.peer.write_bytes += sizeof(bytes);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(sizeof(fds));
        memcpy(CMSG_DATA(cmsg), fds, sizeof(fds));
        ck_assert_int_eq((int)sendmsg(link.peer.fd, &msg, MSG_NOSIGNAL), (int)sizeof(bytes));
        if (i % 4 == 0)
            test_turns(loop, 1);
    }
    run_until(loop, link.end.read_bytes == link.peer.write_bytes);
    ck_assert_uint_eq(test_fd_count(), before);
    ck_assert_int_eq(shutdown(link.peer.fd, SHUT_WR), 0);
    run_until(loop, link.end.read_ends == 1);
    ck_assert_int_eq(link.end.read_error, 0);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* Goal: sockets of other kinds are refused and stay the caller's: packets would lose their bounds. Method: seqpacket
 * and datagram pairs; a listening socket opens, as any stream socket does, and its errors come to the callbacks. */
START_TEST(other_kinds_of_socket)
{
    static const int    types[] = {SOCK_SEQPACKET, SOCK_DGRAM};
    struct loop        *loop = test_loop_new(NULL);
    struct end          end = {0};
    struct loop_address address;
    int                 fds[2], listener;

    for (size_t i = 0; i < TEST_COUNT(types); i++) {
        ck_assert_int_eq(socketpair(AF_UNIX, types[i] | SOCK_CLOEXEC, 0, fds), 0);
        ck_assert_int_eq(CALL(loop_stream_open(loop, &end.stream, fds[0], NULL)), -EINVAL);
        test_close(fds[0]);
        test_close(fds[1]);
    }
    for (int kind = NET_TCP4; kind <= NET_UNIX; kind++) {
        listener = net_listen(kind, 1, &address);
        end = (struct end){0};
        end_open(loop, &end, listener, NULL);
        end_read_start(&end);
        ck_assert_int_eq(end_write(&end, 10, 0), 0);
        run_until(loop, end.read_ends == 1 && end.writes_done == 1);
        ck_assert_int_lt(end.read_error, 0);
        ck_assert_int_lt(end.write_error, 0);
        end_close(&end);
        run_until(loop, end.closes == 1);
    }
    test_loop_free(loop);
}
END_TEST

/* Goal: a peer that closes with bytes of ours unread is told as -ECONNRESET by unix sockets, behind the bytes it sent.
 * Method: both have sent; the peer closes; data first, then the error. */
START_TEST(closed_with_bytes_unread)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;

    link_open(loop, &link, NET_UNIX, 1, NULL);
    ck_assert_int_eq(end_write(&link.end, 100, 0), 0);
    run_until(loop, link.end.writes_done == 1);
    ck_assert(peer_feed(&link.peer, 3000));
    if (_i == 1) {
        end_read_start(&link.end);
        run_until(loop, link.end.read_bytes == 3000);
    }
    test_close(link.peer.fd);
    link.peer.fd = -1;
    if (_i == 0)
        end_read_start(&link.end);
    run_until(loop, link.end.read_ends == 1);
    ck_assert_int_eq(link.end.read_error, -ECONNRESET);
    ck_assert(_i == 0 || link.end.read_bytes == 3000); /* a pending error overtakes what was not read */
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("net/mirror_unix");
    TCase *tcase = test_case(suite, "names");

    tcase_add_loop_test(tcase, names, 0, 3);
    tcase_add_loop_test(tcase, no_name_while_connecting, 0, 2);
    tcase_add_test(tcase, paths_in_use);
    tcase = test_case(suite, "bytes");
    tcase_add_test(tcase, descriptors_nobody_asked_for);
    tcase_add_test(tcase, other_kinds_of_socket);
    tcase_add_loop_test(tcase, closed_with_bytes_unread, 0, 2);
    return suite;
}
