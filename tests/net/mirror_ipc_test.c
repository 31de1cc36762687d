/* tests/net/mirror_ipc_test.c: sockets handed to another process along with data, as users of libuv's ipc pipes know
 * it; docs/scenarios.md lists what each mirrors. */
#include "tests/net/door.h"

#include <sys/wait.h>

static const struct loop_stream_options with_fds = {.flags = LOOP_STREAM_FDS};

/* Sends the next byte of the pattern with fd, which the stream takes. */
static void send_fd(struct end *end, int fd)
{
    uint8_t                       byte;
    const struct loop_write_terms terms = {.flags = LOOP_WRITE_CLOSE_FDS, .fds = &fd, .fd_count = 1};

    pattern_fill(end->write_flow, end->write_bytes++, &byte, 1);
    must_write(end, &byte, 1, NULL, NULL, &terms);
}

/* ---- the child: gives back what it gets */

static void child_read(struct loop_stream *stream, const struct loop_result *result)
{
    int                           fd;
    const struct loop_write_terms terms = {
        .flags = LOOP_WRITE_CLOSE_FDS, .fds = &fd, .fd_count = 1, .release = result->buffer};

    if (result->res < 0)
        _exit(2);
    if (result->res == 0) {
        loop_stream_close(stream, NULL);
        return;
    }
    fd = loop_stream_take_fd(stream);
    if (fd < 0 || result->res != 1 || loop_stream_write(stream, result->data, 1, NULL, NULL, &terms) < 0)
        _exit(3);
}

static void run_child(int channel)
{
    struct loop_stream stream = {0};
    struct loop       *loop;

    if (loop_create(&loop, NULL) < 0 || loop_stream_open(loop, &stream, channel, &with_fds) < 0 ||
        loop_stream_read_start(&stream, child_read) < 0)
        _exit(4);
    if (loop_run(loop, LOOP_RUN_DEFAULT) != 0)
        _exit(5);
    loop_destroy(loop);
    _exit(0);
}

static pid_t start_child(int *ret_channel)
{
    int   channel[2];
    pid_t pid;

    test_socketpair(channel);
    pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        close(channel[0]);
        run_child(channel[1]);
    }
    test_close(channel[1]);
    *ret_channel = channel[0];
    return pid;
}

/* Goal: a connection passes to another process and back, and is as good as before. Method: a child with a loop of its
 * own returns it, ten times; then it is written to, and read from. */
START_TEST(connection_there_and_back)
{
    struct loop *loop;
    struct end   channel = {.write_flow = 1, .read_flow = 1}, end = {.write_flow = 5, .read_flow = 6};
    struct peer  peer = {.read_flow = 5, .write_flow = 6};
    int          fd, fds[2], status;
    pid_t        pid = start_child(&fd);

    loop = test_loop_new(NULL);
    end_open(loop, &channel, fd, &with_fds);
    end_read_start(&channel);
    net_pair(_i, fds);
    peer.fd = fds[1];
    for (uint32_t i = 0; i < 10; i++) {
        send_fd(&channel, fds[0]);
        run_until(loop, channel.read_bytes == i + 1);
        fds[0] = loop_stream_take_fd(&channel.stream);
        ck_assert_int_ge(fds[0], 0);
    }
    end_open(loop, &end, fds[0], NULL);
    end_read_start(&end);
    ck_assert_int_eq(end_write(&end, 5000, 0), 0);
    ck_assert(peer_feed(&peer, 5000));
    run_until(loop, end.read_bytes == 5000 && end.writes_done == 1);
    end_close(&end);
    ck_assert_int_eq(CALL(loop_stream_shutdown(&channel.stream, end_shutdown_cb)), 0);
    run_until(loop, end.closes == 1 && channel.read_ends == 1);
    ck_assert_int_eq(channel.read_error, 0);
    peer_finish(&peer);
    ck_assert_uint_eq(peer.read_bytes, 5000);
    ck_assert_int_eq(peer.error, 0);
    end_close(&channel);
    run_until(loop, channel.closes == 1);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
    test_close(peer.fd);
    test_loop_free(loop);
}
END_TEST

/* Goal: a listening socket passes to another process and back; who dials meanwhile is not lost. Method: as above, with
 * clients that dial before, while it is under way, and after; _i / 2 0: it listens when it is sent, 1: only afterwards.
 */
START_TEST(listener_there_and_back)
{
    struct loop        *loop;
    struct end          channel = {.write_flow = 1, .read_flow = 1};
    struct door         door = {0};
    struct loop_address address = net_address(_i % 2);
    int                 fd, clients[3] = {-1, -1, -1}, status, listener;
    pid_t               pid = start_child(&fd);

    loop = test_loop_new(NULL);
    end_open(loop, &channel, fd, &with_fds);
    end_read_start(&channel);
    listener = socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(listener, (const struct sockaddr *)&address.storage, address.size), 0);
    address.size = sizeof(address.storage);
    ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&address.storage, &address.size), 0);
    if (_i / 2 == 0) {
        ck_assert_int_eq(listen(listener, 8), 0);
        clients[0] = net_dial(&address);
    }
    send_fd(&channel, listener);
    if (_i / 2 == 0)
        clients[1] = net_dial(&address);
    run_until(loop, channel.read_bytes == 1);
    listener = loop_stream_take_fd(&channel.stream);
    ck_assert_int_ge(listener, 0);
    if (_i / 2 == 1) {
        ck_assert_int_eq(CALL(loop_listener_adopt(loop, &door.listener, listener, NULL, door_accept_cb)), -EINVAL);
        ck_assert_int_eq(listen(listener, 8), 0);
        clients[0] = net_dial(&address);
        clients[1] = net_dial(&address);
    }
    ck_assert_int_eq(CALL(loop_listener_adopt(loop, &door.listener, listener, NULL, door_accept_cb)), 0);
    clients[2] = net_dial(&address);
    run_until(loop, door.accepted == 3);
    for (size_t i = 0; i < TEST_COUNT(clients); i++)
        test_close(clients[i]);
    door_close(loop, &door);
    end_close(&channel);
    run_until(loop, channel.closes == 1);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
    test_loop_free(loop);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("net/mirror_ipc");
    TCase *tcase = test_case(suite, "there and back");

    tcase_add_loop_test(tcase, connection_there_and_back, 0, net_kinds());
    tcase_add_loop_test(tcase, listener_there_and_back, 0, 4);
    return suite;
}
