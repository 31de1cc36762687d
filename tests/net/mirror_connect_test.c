/* tests/net/mirror_connect_test.c: connecting, as users of libuv know it; docs/scenarios.md lists what each mirrors. */
#include "tests/net/couple.h"
#include "tests/net/door.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>

/* ---- addresses */

/* Goal: connecting to the unspecified address reaches this host, as connect(2) does it. Method: 0.0.0.0 (i 0) or :: (i
 * 1) with the port of a listener at the loopback address; a pattern goes through. */
START_TEST(unspecified_address)
{
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address address, to;
    int                 listener = net_listen(_i == 0 ? NET_TCP4 : NET_TCP6, 10, &address);
    struct end          end = {.name = "a", .write_flow = 1};
    struct peer         peer = {.read_flow = 1};

    to = net_parse(_i == 0 ? "0.0.0.0" : "::", loop_address_port(&address));
    end_connect(loop, &end, &to, NULL);
    ck_assert_int_eq(end_write(&end, 3000, 0), 0);
    run_until(loop, end.writes_done == 1);
    notes_are("a connect ok; a write 0 ok");
    peer.fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    ck_assert_int_ge(peer.fd, 0);
    pump_until(loop, (peer_drain(&peer, SIZE_MAX), peer.read_bytes == 3000));
    end_close(&end);
    run_until(loop, end.closes == 1);
    notes_are("a close");
    test_close(peer.fd);
    test_close(listener);
    test_loop_free(loop);
}
END_TEST

/* Goal: an address that leads nowhere gives an errno, by the call or the callback, and never hangs or crashes. Method:
 * none at all, one too long, a family that is no socket's, a link-local one without its link, a broadcast one. */
START_TEST(addresses_that_lead_nowhere)
{
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address addresses[4] = {
        net_parse("127.0.0.1", 1),
        {.size = sizeof(sa_family_t)},
        net_parse("255.255.255.255", 1),
        net_parse("fe80::1", 1),
    };
    struct end end = {0};

    ck_assert_int_eq(CALL(loop_stream_connect(loop, &end.stream, NULL, NULL, end_connect_cb)), -EINVAL);
    addresses[0].size = sizeof(addresses[0].storage) + 1;
    addresses[1].storage.ss_family = AF_UNSPEC;
    for (int i = 0; i < 3 + (net_kinds() == NET_KINDS); i++) {
        int r = CALL(loop_stream_connect(loop, &end.stream, &addresses[i], NULL, end_connect_cb));

        ck_assert_int_le(r, 0);
        ck_assert(i != 0 || r == -EINVAL);
        if (r == 0) {
            run_until(loop, end.connects == 1);
            ck_assert_int_lt(end.connect_error, 0);
            ck_assert_int_ne(end.connect_error, -ECANCELED);
            end_close(&end);
            run_until(loop, end.closes == 1);
        }
        end = (struct end){0};
    }
    ck_assert(!loop_alive(loop));
    test_loop_free(loop);
}
END_TEST

/* Goal: a path that is no socket, or that nobody listens at any more, is refused by the callback. Method: i 0: a plain
 * file, 1: a directory, 2: a socket whose listener has gone; the errno of each. */
START_TEST(unix_path_of_something_else)
{
    static const int    errors[] = {-ECONNREFUSED, -ECONNREFUSED, -ECONNREFUSED};
    struct loop        *loop = test_loop_new(NULL);
    char                path[] = "/tmp/ringloop-test-XXXXXX", text[64];
    struct loop_address address;
    struct end          end = {0};
    int                 fd;

    fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    test_close(fd);
    snprintf(text, sizeof(text), "unix:%s", path);
    address = net_parse(text, 0);
    if (_i != 0)
        ck_assert_int_eq(unlink(path), 0);
    if (_i == 1)
        ck_assert_int_eq(mkdir(path, 0700), 0);
    if (_i == 2) {
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ck_assert_int_eq(bind(fd, (const struct sockaddr *)&address.storage, address.size), 0);
        ck_assert_int_eq(listen(fd, 1), 0);
        test_close(fd);
    }
    end_connect(loop, &end, &address, NULL);
    run_until(loop, end.connects == 1);
    ck_assert_int_eq(end.connect_error, errors[_i]);
    end_close(&end);
    run_until(loop, end.closes == 1);
    ck_assert_int_eq(_i == 1 ? rmdir(path) : unlink(path), 0);
    test_loop_free(loop);
}
END_TEST

/* Goal: without a free descriptor the call says so, and the structure may be used for the next attempt. Method: the
 * limit lowered to what is open, then raised. */
START_TEST(no_descriptor)
{
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address address;
    int                 listener = net_listen(_i, 10, &address), lowest = fcntl(0, F_DUPFD_CLOEXEC, 0);
    struct end          end = {0};
    struct rlimit       before, now;

    ck_assert_int_ge(lowest, 0);
    test_close(lowest);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    now = before;
    now.rlim_cur = (rlim_t)lowest;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &now), 0);
    ck_assert_int_eq(CALL(loop_stream_connect(loop, &end.stream, &address, NULL, end_connect_cb)), -EMFILE);
    ck_assert_int_eq(loop_stream_fd(&end.stream), -EBADF);
    ck_assert(!loop_alive(loop));
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    end_connect(loop, &end, &address, NULL);
    run_until(loop, end.connects == 1);
    ck_assert_int_eq(end.connect_error, 0);
    end_close(&end);
    run_until(loop, end.closes == 1);
    test_close(listener);
    test_loop_free(loop);
}
END_TEST

/* ---- failure and success in one structure */

static struct loop_address second_chance;

static void trying_again_close_cb(struct loop_stream *stream)
{
    struct loop *loop = loop_stream_loop(stream);
    struct end  *end = end_of(stream);

    end_close_cb(stream);
    *end = (struct end){.name = "again", .arg = end->arg};
    end_connect(loop, end, &second_chance, NULL);
}

/* Goal: a failed connection closes nothing by itself: the stream is open, refuses what makes no sense, and connects
 * anew only after its close, also in the close callback. Method: refused, then some turns; then closed, and connected
 * to a listener from inside. */
START_TEST(again_after_failure)
{
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address nobody;
    int                 listener = net_listen(_i, 10, &second_chance);
    struct end          end = {.name = "a"};

    test_close(net_listen(_i, 1, &nobody));
    end_connect(loop, &end, &nobody, NULL);
    run_until(loop, end.connects == 1);
    notes_are("a connect ECONNREFUSED");
    run_for(loop, 20 * LOOP_MILLISECOND);
    ck_assert(loop_alive(loop));
    ck_assert_int_ge(loop_stream_fd(&end.stream), 0);
    ck_assert_int_eq(CALL(loop_stream_connect(loop, &end.stream, &second_chance, NULL, end_connect_cb)), -EBUSY);
    ck_assert_int_eq(CALL(loop_stream_read_start(&end.stream, end_read_cb)), -ENOTCONN);
    ck_assert_int_eq(CALL(loop_stream_shutdown(&end.stream, end_shutdown_cb)), -ENOTCONN);
    ck_assert_int_lt(end_write(&end, 1, 0), 0);
    notes_are("");
    loop_stream_close(&end.stream, trying_again_close_cb);
    run_until(loop, end.connects == 1 && end.connect_error == 0);
    notes_are("a close; again connect ok");
    end_close(&end);
    run_until(loop, end.closes == 1);
    notes_are("again close");
    test_close(listener);
    test_loop_free(loop);
}
END_TEST

/* ---- both ends in the loop */

enum { CLIENTS = 40 };

/* Goal: many clients and their listener live in one loop: each connection comes about, once at each end. Method: 40
 * connect in one turn, over unix more than the backlog holds; all are accepted, opened, and carry a pattern to the
 * other end. */
START_TEST(clients_and_listener_in_one_loop)
{
    static struct end            clients[CLIENTS], servers[CLIENTS];
    struct loop_listener_options options = {.backlog = _i == NET_UNIX ? 5 : 0};
    struct loop_address          address = net_address(_i);
    struct loop                 *loop = test_loop_new(NULL);
    struct door                  door = {0};
    uint32_t                     opened = 0;

    ck_assert_int_eq(CALL(loop_listener_start(loop, &door.listener, &address, &options, door_accept_cb)), 0);
    ck_assert_int_eq(loop_listener_address(&door.listener, &door.address), 0);
    for (uint32_t i = 0; i < CLIENTS; i++) {
        clients[i] = (struct end){.write_flow = 1};
        servers[i] = (struct end){.read_flow = 1};
        end_connect(loop, &clients[i], &door.address, NULL);
        ck_assert_int_eq(end_write(&clients[i], 100, 0), 0);
    }
    while (opened < CLIENTS) {
        run_until(loop, door.accepted > 0);
        for (; door.accepted > 0; door.accepted--, opened++) {
            end_open(loop, &servers[opened], door.fds[door.accepted - 1], NULL);
            end_read_start(&servers[opened]);
        }
    }
    for (uint32_t i = 0; i < CLIENTS; i++) {
        run_until(loop, clients[i].writes_done == 1 && servers[i].read_bytes == 100);
        ck_assert_int_eq(clients[i].connect_error, 0);
        end_close(&clients[i]);
    }
    for (uint32_t i = 0; i < CLIENTS; i++) {
        run_until(loop, servers[i].read_ends == 1);
        ck_assert_int_eq(servers[i].read_error, 0);
        end_close(&servers[i]);
    }
    ck_assert_uint_eq(door.errors, 0);
    door_close(loop, &door);
    test_run(loop);
    test_loop_free(loop);
}
END_TEST

/* Goal: clients closed before the first turn are called back once each, and neither they nor their listener hold the
 * loop. Method: 40 connect and are closed at once; what reached the listener all the same is an ended connection. */
START_TEST(closed_before_the_first_turn)
{
    static struct end clients[CLIENTS];
    struct loop      *loop = test_loop_new(NULL);
    struct door       door;

    door_open(loop, &door, _i);
    for (uint32_t i = 0; i < CLIENTS; i++) {
        clients[i] = (struct end){0};
        end_connect(loop, &clients[i], &door.address, NULL);
    }
    for (uint32_t i = 0; i < CLIENTS; i++)
        end_close(&clients[i]);
    for (uint32_t i = 0; i < CLIENTS; i++) {
        run_until(loop, clients[i].closes == 1);
        ck_assert_uint_eq(clients[i].connects, 1);
        ck_assert(clients[i].connect_error == -ECANCELED || clients[i].connect_error == 0);
    }
    settle(loop);
    for (uint32_t i = 0; i < door.accepted; i++) {
        char byte;

        ck_assert_int_le(recv(door.fds[i], &byte, 1, MSG_DONTWAIT), 0);
        ck_assert_int_ne(errno, EAGAIN);
    }
    door_close(loop, &door);
    test_run(loop);
    test_loop_free(loop);
}
END_TEST

static void closing_both_connect_cb(struct loop_stream *stream, int error)
{
    struct end  *end = end_of(stream);
    struct door *door = end->arg;

    end_connect_cb(stream, error);
    loop_listener_close(&door->listener, door_close_cb);
    end_close(end);
}

/* Goal: listener and client may both be closed in the connect callback, before the connection was accepted or after.
 * Method: does so; the loop must run out. */
START_TEST(connect_callback_closes_the_listener)
{
    struct loop *loop = test_loop_new(NULL);
    struct end   end = {.name = "a"};
    struct door  door;

    door_open(loop, &door, _i);
    end.arg = &door;
    ck_assert_int_eq(CALL(loop_stream_connect(loop, &end.stream, &door.address, NULL, closing_both_connect_cb)), 0);
    test_run(loop);
    ck_assert_uint_eq(door.closes, 1);
    notes_are("a connect ok; a close");
    door_close(loop, &door);
    test_loop_free(loop);
}
END_TEST

struct late {
    struct loop_timer timer;
    struct door       door;
    struct end        server;
};

static void late_timer_cb(struct loop_timer *timer)
{
    struct late *late = timer->data;

    ck_assert_uint_eq(late->door.accepted, 1);
    late->door.accepted = 0;
    end_open(loop_timer_loop(timer), &late->server, late->door.fds[0], NULL);
    end_close(&late->server);
}

/* Goal: what was accepted may be opened much later; until then the client is simply connected and idle, and what it
 * sent waits. Method: opened and closed by a timer; the client has sent, so tcp resets it, and unix as well. */
START_TEST(opened_later)
{
    struct loop *loop = test_loop_new(NULL);
    struct end   client = {.name = "a"};
    struct late  late = {0};

    door_open(loop, &late.door, _i);
    late.timer.data = &late;
    end_connect(loop, &client, &late.door.address, NULL);
    run_until(loop, client.connects == 1 && late.door.accepted == 1);
    end_read_start(&client);
    ck_assert_int_eq(end_write(&client, 10, 0), 0);
    ck_assert_int_eq(loop_timer_start(loop, &late.timer, 20 * LOOP_MILLISECOND, 0, late_timer_cb), 0);
    run_until(loop, client.read_ends == 1);
    notes_are("a connect ok; a write 0 ok; a end ECONNRESET");
    end_close(&client);
    run_until(loop, client.closes == 1 && late.server.closes == 1);
    notes_are("a close");
    door_close(loop, &late.door);
    test_run(loop);
    test_loop_free(loop);
}
END_TEST

/* ---- deadlines */

/* Goal: a deadline that passes just when the connection comes about gives one callback, either way, and leaves nothing
 * behind. Method: 300 connections with deadlines of 1 ns to some hundred microseconds, half to a listener of the loop;
 * closed in turn. */
START_TEST(deadline_meets_success)
{
    struct loop *loop = test_loop_new(NULL);
    uint64_t     state = test_env("RINGLOOP_SEED", 3) + (uint64_t)_i;
    struct door  door;

    door_open(loop, &door, _i);
    for (int round = 0; round < 300; round++) {
        struct loop_stream_options options = {.connect_timeout_ns = 1 + test_random(&state) % 200000};
        struct end                 end = {0};

        end_connect(loop, &end, &door.address, &options);
        ck_assert_int_eq(end_write(&end, 10, 0), 0);
        run_until(loop, end.connects == 1 && end.writes_done == 1);
        ck_assert(end.connect_error == 0 || end.connect_error == -ETIMEDOUT);
        ck_assert_int_eq(end.write_error, end.connect_error == 0 ? 0 : -ECANCELED);
        end_close(&end);
        run_until(loop, end.closes == 1);
        if (end.connect_error == 0)
            run_until(loop, door.accepted > 0);
        for (; door.accepted > 0; door.accepted--)
            test_close(door.fds[door.accepted - 1]);
    }
    door_close(loop, &door);
    test_run(loop);
    test_loop_free(loop);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("net/mirror_connect");
    TCase *tcase = test_case(suite, "addresses");
    int    kinds = net_kinds();

    tcase_add_loop_test(tcase, unspecified_address, 0, kinds == NET_KINDS ? 2 : 1);
    tcase_add_test(tcase, addresses_that_lead_nowhere);
    tcase_add_loop_test(tcase, unix_path_of_something_else, 0, 3);
    tcase_add_loop_test(tcase, no_descriptor, 0, kinds);
    tcase = test_case(suite, "again");
    tcase_add_loop_test(tcase, again_after_failure, 0, kinds);
    tcase = test_case(suite, "one loop");
    tcase_add_loop_test(tcase, clients_and_listener_in_one_loop, 0, kinds);
    tcase_add_loop_test(tcase, closed_before_the_first_turn, 0, kinds);
    tcase_add_loop_test(tcase, connect_callback_closes_the_listener, 0, kinds);
    tcase_add_loop_test(tcase, opened_later, 0, kinds);
    tcase = test_case(suite, "deadlines");
    tcase_add_loop_test(tcase, deadline_meets_success, 0, kinds);
    return suite;
}
