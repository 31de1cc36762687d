/* tests/net/listener_test.c: listening sockets. Without free descriptors: listener_rest_test.c. */
#include "tests/net/door.h"

#include <sys/stat.h>

/* ---- accepting */

/* Goal: connections over each kind of socket arrive, each with a descriptor of its own that works; the port is learnt
 * from the listener. Method: 50 clients; each sends its number through. */
START_TEST(connections_arrive)
{
    enum { COUNT = 50 };
    struct loop *loop = test_loop_new(NULL);
    struct door  door;
    int          clients[COUNT];
    bool         seen[COUNT] = {false};

    door_open(loop, &door, _i);
    ck_assert_int_eq(loop_address_port(&door.address) != 0, _i != NET_UNIX);
    ck_assert_int_ge(loop_listener_fd(&door.listener), 0);
    for (int i = 0; i < COUNT; i++)
        clients[i] = net_dial(&door.address);
    run_until(loop, door.accepted == COUNT);
    for (int i = 0; i < COUNT; i++)
        test_write(clients[i], &i, sizeof(i));
    for (int i = 0; i < COUNT; i++) {
        int number = -1;

        test_read(door.fds[i], &number, sizeof(number));
        ck_assert(number >= 0 && number < COUNT && !seen[number]);
        seen[number] = true;
        test_close(clients[i]);
    }
    ck_assert_uint_eq(door.errors, 0);
    door_close(loop, &door);
    test_loop_free(loop);
}
END_TEST

/* Goal: a path in the file system works as well, and a second listener there is refused. Method: in a new directory;
 * the name is removed by the test if the library leaves it. */
START_TEST(unix_path)
{
    char                directory[] = "/tmp/ringloop-test-XXXXXX", text[64];
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address address;
    struct door         door, second = {0};
    struct stat         status;
    int                 client;

    ck_assert_ptr_nonnull(mkdtemp(directory));
    snprintf(text, sizeof(text), "unix:%s/socket", directory);
    address = net_parse(text, 0);
    door_open_at(loop, &door, &address, NULL, door_accept_cb);
    ck_assert_int_eq(stat(text + strlen("unix:"), &status), 0);
    ck_assert(S_ISSOCK(status.st_mode));
    ck_assert_int_eq(loop_listener_start(loop, &second.listener, &address, NULL, door_accept_cb), -EADDRINUSE);
    client = net_dial(&address);
    run_until(loop, door.accepted == 1);
    test_close(client);
    door_close(loop, &door);
    unlink(text + strlen("unix:"));
    ck_assert_int_eq(rmdir(directory), 0);
    test_loop_free(loop);
}
END_TEST

/* Goal: many connections in bursts while the loop runs. Method: 1000, as fast as the backlog takes them; some clients
 * are gone before they are accepted. */
START_TEST(many_connections)
{
    struct loop *loop = test_loop_new(NULL);
    struct door *door = malloc(sizeof(*door));
    int          clients[20];

    ck_assert_ptr_nonnull(door);
    door_open(loop, door, _i);
    for (uint32_t burst = 0; burst < 50; burst++) {
        for (size_t i = 0; i < TEST_COUNT(clients); i++)
            clients[i] = net_dial(&door->address);
        if (burst % 2 == 0)
            run_until(loop, door->accepted == TEST_COUNT(clients));
        for (size_t i = 0; i < TEST_COUNT(clients); i++)
            test_close(clients[i]);
        run_until(loop, door->accepted == TEST_COUNT(clients));
        while (door->accepted > 0)
            test_close(door->fds[--door->accepted]);
    }
    ck_assert_uint_eq(door->errors, 0);
    door_close(loop, door);
    free(door);
    test_loop_free(loop);
}
END_TEST

static struct end accepted_end;

static void streaming_accept_cb(struct loop_listener *listener, int result)
{
    callback_enter();
    ck_assert_int_ge(result, 0);
    ck_assert_uint_eq(accepted_end.writes_started, 0);
    end_open(listener->data, &accepted_end, result, NULL);
    end_read_start(&accepted_end);
    ck_assert_int_eq(end_write(&accepted_end, 1000, 0), 0);
}

/* Goal: the descriptor may be given to a stream inside the callback. Method: a plain client talks to it. */
START_TEST(accepted_becomes_a_stream)
{
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address address = net_address(_i);
    struct door         door = {0};
    struct peer         peer = {.read_flow = 1, .write_flow = 2};

    accepted_end.write_flow = 1;
    accepted_end.read_flow = 2;
    door.listener.data = loop;
    ck_assert_int_eq(loop_listener_start(loop, &door.listener, &address, NULL, streaming_accept_cb), 0);
    ck_assert_int_eq(loop_listener_address(&door.listener, &address), 0);
    peer.fd = net_dial(&address);
    ck_assert(peer_feed(&peer, 5000));
    run_until(loop, accepted_end.read_bytes == 5000);
    pump_until(loop, (peer_drain(&peer, SIZE_MAX), peer.read_bytes == 1000));
    end_close(&accepted_end);
    door_close(loop, &door);
    run_until(loop, accepted_end.closes == 1);
    test_close(peer.fd);
    test_loop_free(loop);
}
END_TEST

/* ---- pause and resume */

/* Goal: while paused, connections wait in the backlog; none is lost. Method: pauses, lets that settle, connects ten;
 * resumes; twice each; and once more from the start, before the first turn. */
START_TEST(pause_and_resume)
{
    struct loop *loop = test_loop_new(NULL);
    struct door  door;
    int          clients[20];

    door_open(loop, &door, _i);
    ck_assert_int_eq(CALL(loop_listener_pause(&door.listener)), 0);
    settle(loop);
    for (size_t i = 0; i < 10; i++)
        clients[i] = net_dial(&door.address);
    settle(loop);
    ck_assert_uint_eq(door.accepted, 0);
    ck_assert_int_eq(CALL(loop_listener_resume(&door.listener)), 0);
    ck_assert_int_eq(CALL(loop_listener_resume(&door.listener)), 0);
    run_until(loop, door.accepted == 10);

    ck_assert_int_eq(CALL(loop_listener_pause(&door.listener)), 0);
    ck_assert_int_eq(CALL(loop_listener_pause(&door.listener)), 0);
    settle(loop);
    for (size_t i = 10; i < 20; i++)
        clients[i] = net_dial(&door.address);
    settle(loop);
    ck_assert_uint_eq(door.accepted, 10);
    ck_assert(loop_alive(loop)); /* paused is still open */
    ck_assert_int_eq(CALL(loop_listener_resume(&door.listener)), 0);
    run_until(loop, door.accepted == 20);
    for (size_t i = 0; i < TEST_COUNT(clients); i++)
        test_close(clients[i]);
    ck_assert_uint_eq(door.errors, 0);
    door_close(loop, &door);
    test_loop_free(loop);
}
END_TEST

static void pausing_accept_cb(struct loop_listener *listener, int result)
{
    door_accept_cb(listener, result);
    ck_assert_int_eq(CALL(loop_listener_pause(listener)), 0);
}

/* Goal: a pause before the first turn holds even for connections that are there already. Method: start, pause, dial,
 * turns. */
START_TEST(pause_before_the_first_turn)
{
    struct loop *loop = test_loop_new(NULL);
    struct door  door;
    int          clients[5];

    door_open(loop, &door, _i);
    ck_assert_int_eq(CALL(loop_listener_pause(&door.listener)), 0);
    for (size_t i = 0; i < TEST_COUNT(clients); i++)
        clients[i] = net_dial(&door.address);
    settle(loop);
    ck_assert_uint_eq(door.accepted, 0);
    ck_assert_int_eq(CALL(loop_listener_resume(&door.listener)), 0);
    run_until(loop, door.accepted == TEST_COUNT(clients));
    for (size_t i = 0; i < TEST_COUNT(clients); i++)
        test_close(clients[i]);
    door_close(loop, &door);
    test_loop_free(loop);
}
END_TEST

/* Goal: after a pause no callback comes, though the kernel has accepted more by then; they are delivered after the
 * resume, none is lost or doubled. Method: every callback pauses, so that each resume brings one; resumes after 0 to 2
 * turns, until all have come. */
START_TEST(pause_inside_the_callback)
{
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address address = net_address(_i);
    struct door         door;
    int                 clients[60];
    uint32_t            rounds = 0;

    door_open_at(loop, &door, &address, NULL, pausing_accept_cb);
    for (size_t i = 0; i < TEST_COUNT(clients); i++)
        clients[i] = net_dial(&door.address);
    while (door.accepted < TEST_COUNT(clients)) {
        uint32_t before = door.accepted;

        ck_assert_uint_lt(rounds, 10000);
        ck_assert_int_eq(CALL(loop_listener_resume(&door.listener)), 0);
        test_turns(loop, rounds++ % 3);
        ck_assert_uint_le(door.accepted, before + 1);
    }
    settle(loop);
    ck_assert_uint_eq(door.accepted, TEST_COUNT(clients));
    for (size_t i = 0; i < TEST_COUNT(clients); i++)
        test_close(clients[i]);
    door_close(loop, &door);
    test_loop_free(loop);
}
END_TEST

/* Goal: what is held while paused is closed with the listener, and its peers see that. Method: 20 clients wait; the
 * first callback pauses; closes, i 1: by loop_destroy(), i 2: after a resume that has had no turn. */
START_TEST(close_what_is_held)
{
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address address = net_address(NET_TCP4);
    struct door         door;
    int                 clients[20];
    char                byte;

    door_open_at(loop, &door, &address, NULL, pausing_accept_cb);
    for (size_t i = 0; i < TEST_COUNT(clients); i++)
        clients[i] = net_dial(&door.address);
    run_until(loop, door.accepted == 1);
    settle(loop);
    ck_assert_uint_eq(door.accepted, 1);
    if (_i == 2)
        ck_assert_int_eq(CALL(loop_listener_resume(&door.listener)), 0);
    if (_i != 1)
        door_close(loop, &door);
    else
        test_loop_drop(loop);
    while (door.accepted > 0)
        test_close(door.fds[--door.accepted]);
    for (size_t i = 0; i < TEST_COUNT(clients); i++) {
        ck_assert_int_le(recv(clients[i], &byte, 1, 0), 0);
        test_close(clients[i]);
    }
    if (_i != 1)
        test_loop_free(loop);
}
END_TEST

/* Goal: the callbacks of what was held may pause and close as any other. Method: 20 are held; the callback of the fifth
 * after the resume pauses, that of the tenth closes. */
static void fickle_accept_cb(struct loop_listener *listener, int result)
{
    door_accept_cb(listener, result);
    if (door_of(listener)->accepted == 1 || door_of(listener)->accepted == 5)
        ck_assert_int_eq(CALL(loop_listener_pause(listener)), 0);
    if (door_of(listener)->accepted == 10)
        loop_listener_close(listener, door_close_cb);
}

START_TEST(pause_and_close_among_the_held)
{
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address address = net_address(_i);
    struct door         door;
    int                 clients[20];

    door_open_at(loop, &door, &address, NULL, fickle_accept_cb);
    for (size_t i = 0; i < TEST_COUNT(clients); i++)
        clients[i] = net_dial(&door.address);
    run_until(loop, door.accepted == 1);
    settle(loop);
    ck_assert_uint_eq(door.accepted, 1);
    ck_assert_int_eq(CALL(loop_listener_resume(&door.listener)), 0);
    settle(loop);
    ck_assert_uint_eq(door.accepted, 5);
    ck_assert_int_eq(CALL(loop_listener_resume(&door.listener)), 0);
    run_until(loop, door.closes == 1);
    ck_assert_uint_eq(door.accepted, 10);
    for (size_t i = 0; i < TEST_COUNT(clients); i++)
        test_close(clients[i]);
    door_close(loop, &door);
    test_loop_free(loop);
}
END_TEST

/* Goal: a listener resumed at the limit of operations accepts when there is room again. Method: the only operation is
 * taken by a recv while it is paused; resume, some turns, then the recv is cancelled. */
START_TEST(resume_at_the_limit)
{
    const struct loop_options options = {.ops_max = 1};
    struct loop              *loop = test_loop_new(&options);
    struct test_log           log = {0};
    struct door               door;
    int                       fds[2], client;
    char                      byte;
    loop_id                   id;

    door_open(loop, &door, NET_TCP4);
    settle(loop);
    ck_assert_int_eq(CALL(loop_listener_pause(&door.listener)), 0);
    settle(loop);
    test_socketpair(fds);
    id = loop_recv(loop, fds[0], &byte, 1, 0, test_log_cb, &log, NULL);
    ck_assert_int_gt(id, 0);
    ck_assert_int_eq(CALL(loop_listener_resume(&door.listener)), 0);
    settle(loop);
    client = net_dial(&door.address);
    settle(loop);
    ck_assert_uint_eq(door.accepted + door.errors, 0);
    ck_assert_int_eq(CALL(loop_cancel(loop, id)), 0);
    run_until(loop, door.accepted == 1);
    test_log_is(&log, -ECANCELED);
    ck_assert_uint_eq(door.errors, 0);
    test_close(client);
    test_close(fds[0]);
    test_close(fds[1]);
    door_close(loop, &door);
    test_loop_free(loop);
}
END_TEST

/* ---- closing */

static void closing_accept_cb(struct loop_listener *listener, int result)
{
    door_accept_cb(listener, result);
    loop_listener_close(listener, door_close_cb);
}

/* Goal: closing inside the callback, with more connections waiting: the close callback comes once and last, no
 * descriptor is lost. Method: 20 clients wait; the first callback closes. Those the kernel had accepted already are
 * closed. */
START_TEST(close_inside_the_callback)
{
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address address = net_address(_i);
    struct door         door;
    int                 clients[20];

    door_open_at(loop, &door, &address, NULL, closing_accept_cb);
    for (size_t i = 0; i < TEST_COUNT(clients); i++)
        clients[i] = net_dial(&door.address);
    run_until(loop, door.closes == 1);
    ck_assert_uint_eq(door.accepted, 1);
    ck_assert_int_eq(loop_listener_fd(&door.listener), -EBADF);
    test_run(loop);
    for (size_t i = 0; i < TEST_COUNT(clients); i++)
        test_close(clients[i]);
    door_close(loop, &door);
    test_loop_free(loop);
}
END_TEST

static uint32_t later_closes;

static void later_close_cb(struct loop_listener *listener)
{
    (void)listener;
    later_closes++;
}

/* Goal: closing twice does nothing more, the first callback counts; a closing listener refuses all else. Method: i 0:
 * before the first turn, 1: after some, 2: paused. */
START_TEST(close_twice)
{
    struct loop *loop = test_loop_new(NULL);
    struct door  door;

    door_open(loop, &door, NET_TCP4);
    if (_i == 2)
        ck_assert_int_eq(loop_listener_pause(&door.listener), 0);
    if (_i > 0)
        settle(loop);
    ck_assert(!loop_listener_closing(&door.listener));
    loop_listener_close(&door.listener, door_close_cb);
    ck_assert(loop_listener_closing(&door.listener));
    ck_assert_uint_eq(door.closes, 0);
    loop_listener_close(&door.listener, later_close_cb);
    loop_listener_close(&door.listener, NULL);
    ck_assert_int_eq(loop_listener_pause(&door.listener), -EINVAL);
    ck_assert_int_eq(loop_listener_resume(&door.listener), -EINVAL);
    ck_assert(loop_alive(loop));
    test_run(loop);
    ck_assert(!loop_listener_closing(&door.listener));
    ck_assert_uint_eq(door.closes, 1);
    ck_assert_uint_eq(later_closes, 0);
    ck_assert_uint_eq(door.accepted, 0);
    test_loop_free(loop);
}
END_TEST

/* Goal: after the close callback the port is free, and the memory too. Method: opens another listener in the same
 * memory at the same port, some times, with a connection left each time. */
START_TEST(reopen_at_the_same_port)
{
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address address = net_address(NET_TCP4);
    struct door         door;
    int                 clients[5];

    for (size_t i = 0; i < TEST_COUNT(clients); i++) {
        door_open_at(loop, &door, &address, NULL, door_accept_cb);
        address = door.address;
        clients[i] = net_dial(&address);
        run_until(loop, door.accepted == 1);
        door_close(loop, &door);
    }
    for (size_t i = 0; i < TEST_COUNT(clients); i++)
        test_close(clients[i]);
    test_loop_free(loop);
}
END_TEST

/* Goal: destroying the loop closes its listeners and tells. Method: one accepting with clients waiting, one paused, one
 * closing, one never told; i 1: before the first turn. */
START_TEST(destroy_with_open_listeners)
{
    struct loop_listener_options options = {.on_close = door_close_cb};
    struct loop_address          address = net_address(NET_TCP4);
    struct loop                 *loop = test_loop_new(NULL);
    struct door                  doors[4];
    int                          client;

    for (size_t i = 0; i < TEST_COUNT(doors); i++)
        door_open_at(loop, &doors[i], &address, i == 3 ? NULL : &options, door_accept_cb);
    ck_assert_int_eq(loop_listener_pause(&doors[1].listener), 0);
    if (_i == 0)
        settle(loop);
    loop_listener_close(&doors[2].listener, NULL);
    client = net_dial(&doors[0].address);
    test_loop_drop(loop);
    for (size_t i = 0; i < TEST_COUNT(doors); i++) {
        ck_assert_uint_eq(doors[i].closes, i == 3 ? 0 : 1);
        while (doors[i].accepted > 0)
            test_close(doors[i].fds[--doors[i].accepted]);
    }
    test_close(client);
}
END_TEST

/* ---- options and errors */

/* Goal: an address in use is said at once, and the object can be used again. Method: two listeners at one port. */
START_TEST(address_in_use)
{
    struct loop *loop = test_loop_new(NULL);
    struct door  door, second = {0};

    door_open(loop, &door, _i);
    ck_assert_int_eq(CALL(loop_listener_start(loop, &second.listener, &door.address, NULL, door_accept_cb)),
                     -EADDRINUSE);
    ck_assert_int_eq(loop_listener_fd(&second.listener), -EBADF);
    door_close(loop, &door);
    ck_assert_int_eq(CALL(loop_listener_start(loop, &second.listener, &door.address, NULL, door_accept_cb)), 0);
    door_close(loop, &second);
    test_loop_free(loop);
}
END_TEST

/* Goal: senseless options and objects are refused. Method: each of them. */
START_TEST(bad_arguments)
{
    struct loop_listener_options bad_flags = {.flags = 1u << 31}, bad_backlog = {.backlog = -1};
    struct loop_address          address = net_address(NET_TCP4), unknown = address, text;
    struct loop                 *loop = test_loop_new(NULL);
    struct door                  door = {0};

    unknown.storage.ss_family = 200;
    ck_assert_int_eq(loop_listener_start(loop, &door.listener, &address, &bad_flags, door_accept_cb), -EINVAL);
    ck_assert_int_eq(loop_listener_start(loop, &door.listener, &address, &bad_backlog, door_accept_cb), -EINVAL);
    ck_assert_int_lt(loop_listener_start(loop, &door.listener, &unknown, NULL, door_accept_cb), 0);
    ck_assert_int_eq(loop_listener_pause(&door.listener), -EINVAL);
    ck_assert_int_eq(loop_listener_resume(&door.listener), -EINVAL);
    ck_assert_int_eq(loop_listener_address(&door.listener, &text), -EINVAL);
    ck_assert_int_eq(loop_listener_fd(&door.listener), -EBADF);
    ck_assert(!loop_alive(loop));
    door_open(loop, &door, NET_TCP4);
    ck_assert_int_eq(loop_listener_start(loop, &door.listener, &address, NULL, door_accept_cb), -EBUSY);
    loop_listener_close(&door.listener, door_close_cb);
    ck_assert_int_eq(loop_listener_start(loop, &door.listener, &address, NULL, door_accept_cb), -EBUSY);
    door_close(loop, &door);
    test_loop_free(loop);
}
END_TEST

/* Goal: several listeners share a port if all ask for it, and each connection comes to one of them. Method: two
 * listeners, 200 clients; a third that does not ask is refused. */
START_TEST(reuseport)
{
    enum { COUNT = 200 };
    struct loop_listener_options options = {.flags = LOOP_LISTENER_REUSEPORT};
    struct loop_address          address = net_address(_i);
    struct loop                 *loop = test_loop_new(NULL);
    struct door                  doors[2], third = {0};
    int                          clients[COUNT];

    door_open_at(loop, &doors[0], &address, &options, door_accept_cb);
    door_open_at(loop, &doors[1], &doors[0].address, &options, door_accept_cb);
    ck_assert_int_eq(loop_listener_start(loop, &third.listener, &doors[0].address, NULL, door_accept_cb), -EADDRINUSE);
    for (int i = 0; i < COUNT; i++)
        clients[i] = net_dial(&doors[0].address);
    run_until(loop, doors[0].accepted + doors[1].accepted == COUNT);
    ck_assert_uint_gt(doors[0].accepted, 0); /* of 200 hashed at random, all at one has odds of 2^-199 */
    ck_assert_uint_gt(doors[1].accepted, 0);
    for (int i = 0; i < COUNT; i++)
        test_close(clients[i]);
    door_close(loop, &doors[0]);
    door_close(loop, &doors[1]);
    test_loop_free(loop);
}
END_TEST

/* Goal: an IPv6 wildcard takes IPv4 too, unless told not to. Method: a client over 127.0.0.1 for each. */
START_TEST(v6only)
{
    struct loop_listener_options options = {.flags = LOOP_LISTENER_V6ONLY};
    struct loop_address          any = net_parse("::", 0), ipv4, ipv6;
    struct loop                 *loop = test_loop_new(NULL);
    struct door                  door;
    int                          clients[2];

    door_open_at(loop, &door, &any, NULL, door_accept_cb);
    ipv4 = net_parse("127.0.0.1", loop_address_port(&door.address));
    clients[0] = net_dial(&ipv4);
    run_until(loop, door.accepted == 1);
    test_close(clients[0]);
    door_close(loop, &door);

    door_open_at(loop, &door, &any, &options, door_accept_cb);
    ipv4 = net_parse("127.0.0.1", loop_address_port(&door.address));
    ipv6 = net_parse("::1", loop_address_port(&door.address));
    clients[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(connect(clients[0], (const struct sockaddr *)&ipv4.storage, ipv4.size), -1);
    ck_assert_int_eq(errno, ECONNREFUSED);
    clients[1] = net_dial(&ipv6);
    run_until(loop, door.accepted == 1);
    test_close(clients[0]);
    test_close(clients[1]);
    door_close(loop, &door);
    test_loop_free(loop);
}
END_TEST

/* Goal: an open listener keeps the loop alive, an unref'd one does not, but works while something else does; closing it
 * keeps the loop until it is closed. Method: what loop_run and loop_alive say. */
START_TEST(keeping_the_loop_alive)
{
    struct loop_listener_options options = {.flags = LOOP_LISTENER_UNREF};
    struct loop_address          address = net_address(NET_TCP4);
    struct loop                 *loop = test_loop_new(NULL);
    struct door                  door;
    int                          client;

    door_open(loop, &door, NET_TCP4);
    ck_assert(loop_alive(loop));
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_NOWAIT), 1);
    door_close(loop, &door);
    ck_assert(!loop_alive(loop));

    door_open_at(loop, &door, &address, &options, door_accept_cb);
    ck_assert(!loop_alive(loop));
    test_run(loop);
    client = net_dial(&door.address);
    pump_until(loop, door.accepted == 1);
    ck_assert_int_eq(loop_listener_pause(&door.listener), 0);
    test_run(loop);
    ck_assert_int_eq(loop_listener_resume(&door.listener), 0);
    test_run(loop);
    loop_listener_close(&door.listener, door_close_cb);
    ck_assert(loop_alive(loop));
    test_run(loop);
    ck_assert_uint_eq(door.closes, 1);
    test_close(client);
    door_close(loop, &door);
    test_loop_free(loop);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("net/listener");
    TCase *tcase = test_case(suite, "accepting");
    int    kinds = net_kinds();

    tcase_add_loop_test(tcase, connections_arrive, 0, kinds);
    tcase_add_test(tcase, unix_path);
    tcase_add_loop_test(tcase, many_connections, 0, kinds);
    tcase_add_loop_test(tcase, accepted_becomes_a_stream, 0, kinds);
    tcase = test_case(suite, "pause");
    tcase_add_loop_test(tcase, pause_and_resume, 0, kinds);
    tcase_add_loop_test(tcase, pause_before_the_first_turn, 0, kinds);
    tcase_add_loop_test(tcase, pause_inside_the_callback, 0, kinds);
    tcase_add_loop_test(tcase, close_what_is_held, 0, 3);
    tcase_add_loop_test(tcase, pause_and_close_among_the_held, 0, kinds);
    tcase_add_test(tcase, resume_at_the_limit);
    tcase = test_case(suite, "closing");
    tcase_add_loop_test(tcase, close_inside_the_callback, 0, kinds);
    tcase_add_loop_test(tcase, close_twice, 0, 3);
    tcase_add_test(tcase, reopen_at_the_same_port);
    tcase_add_loop_test(tcase, destroy_with_open_listeners, 0, 2);
    tcase = test_case(suite, "options");
    tcase_add_loop_test(tcase, address_in_use, 0, kinds);
    tcase_add_test(tcase, bad_arguments);
    tcase_add_loop_test(tcase, reuseport, NET_TCP4, NET_TCP4 + 1);
    if (kinds == NET_KINDS) {
        tcase_add_loop_test(tcase, reuseport, NET_TCP6, NET_TCP6 + 1);
        tcase_add_test(tcase, v6only);
    }
    tcase_add_test(tcase, keeping_the_loop_alive);
    return suite;
}
