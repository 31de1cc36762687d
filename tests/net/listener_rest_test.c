/* tests/net/listener_rest_test.c: listeners without free descriptors: they rest, and go on. */
#include "tests/net/door.h"

#include <fcntl.h>
#include <sys/resource.h>

/* Leaves so many descriptors free below the limit. Returns the limit before. The kernel looks at the limit when an
 * accept is made, not when a connection comes: pause the listener before this, resume it after. */
static struct rlimit leave_descriptors(uint32_t count)
{
    struct rlimit before, now;
    int           fds[16];

    ck_assert_uint_lt(count, TEST_COUNT(fds));
    for (uint32_t i = 0; i <= count; i++) {
        fds[i] = fcntl(0, F_DUPFD_CLOEXEC, 0); /* the lowest free number */
        ck_assert_int_ge(fds[i], 0);
    }
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    now = before;
    now.rlim_cur = (rlim_t)fds[count];
    for (uint32_t i = 0; i <= count; i++)
        test_close(fds[i]);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &now), 0);
    return before;
}

/* Pauses, and makes clients that wait. */
static void door_fill(struct loop *loop, struct door *door, int *ret_clients, size_t count)
{
    ck_assert_int_eq(CALL(loop_listener_pause(&door->listener)), 0);
    settle(loop);
    for (size_t i = 0; i < count; i++)
        ret_clients[i] = net_dial(&door->address);
}

static struct end   served;
static struct door *serving;

static void serving_accept_cb(struct loop_listener *listener, int result)
{
    door_accept_cb(listener, result);
    if (result >= 0 && loop_stream_fd(&served.stream) < 0)
        end_open(serving->listener.data, &served, result, NULL);
}

/* Accepts one by one, or by a multishot. */
static struct loop_listener_options with_peer(bool peer)
{
    return (struct loop_listener_options){.flags = peer ? LOOP_LISTENER_PEER : 0};
}

/* Goal: without free descriptors the listener says so, rests instead of spinning, loses no connection, and goes on by
 * itself when there are descriptors again. Method: ten clients wait and three descriptors are free; counts reports,
 * turns and operations over 350 ms, in which it tries every 100 ms; then i % 2 == 0: the test frees the three, which
 * nobody tells the loop, 1: the limit is raised; until all ten have come. i / 2: by a multishot, one by one. */
START_TEST(out_of_descriptors)
{
    enum { CLIENTS = 10, FREE = 3 };
    struct loop_listener_options options = with_peer(_i / 2 == 1);
    struct loop_address          address = net_address(NET_TCP4);
    struct loop                 *loop = test_loop_new(NULL);
    struct rlimit                before;
    struct door                  door;
    int                          clients[CLIENTS];
    uint64_t                     turns, ops;

    door_open_at(loop, &door, &address, &options, door_accept_cb);
    door_fill(loop, &door, clients, CLIENTS);
    before = leave_descriptors(FREE);
    ck_assert_int_eq(CALL(loop_listener_resume(&door.listener)), 0);
    run_until(loop, door.errors == 1);
    ck_assert_int_eq(door.error, -EMFILE);
    ck_assert_uint_eq(door.accepted, FREE);
    ops = test_stats(loop).ops_started;
    turns = run_for(loop, 350 * LOOP_MILLISECOND);
    ck_assert_uint_eq(door.errors, 1);
    ck_assert_uint_le(turns, 60);
    ck_assert_uint_le(test_stats(loop).ops_started - ops, 60);
    ck_assert_uint_eq(door.accepted, FREE);
    if (_i % 2 == 1)
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    for (uint32_t came = FREE; came < CLIENTS;) {
        if (_i % 2 == 0) {
            for (; door.accepted > 0; door.accepted--)
                test_close(door.fds[door.accepted - 1]);
            run_until(loop, door.accepted > 0);
            settle(loop);
            came += door.accepted;
        } else {
            run_until(loop, door.accepted == CLIENTS);
            came = CLIENTS;
        }
    }
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    for (int i = 0; i < CLIENTS; i++)
        test_close(clients[i]);
    door_close(loop, &door);
    test_loop_free(loop);
}
END_TEST

/* Goal: the limit may be lowered while the loop runs: what was accepted stays, the rest waits, and comes as descriptors
 * are freed by others than the loop. Method: accepts ten one by one, lowers the limit to what is in use, connects
 * twenty more: those accepts that are in flight still have the old limit; frees one descriptor at a time. */
START_TEST(limit_lowered_while_running)
{
    struct loop_listener_options options = with_peer(true);
    struct loop_address          address = net_address(NET_TCP4);
    struct loop                 *loop = test_loop_new(NULL);
    struct rlimit                before;
    struct door                  door;
    int                          clients[30];
    uint32_t                     came = 0;

    door_open_at(loop, &door, &address, &options, door_accept_cb);
    for (size_t i = 0; i < TEST_COUNT(clients); i++)
        clients[i] = net_dial(&door.address);
    run_until(loop, door.accepted == TEST_COUNT(clients));
    for (; door.accepted > 10; door.accepted--) {
        test_close(door.fds[door.accepted - 1]);
        test_close(clients[door.accepted - 1]);
    }
    for (size_t i = 10; i < TEST_COUNT(clients); i++)
        clients[i] = net_dial(&door.address); /* before the limit, which holds for these too */
    before = leave_descriptors(0);
    run_until(loop, door.errors == 1);
    ck_assert_int_eq(door.error, -EMFILE);
    settle(loop);
    came = door.accepted;
    ck_assert_uint_lt(came, TEST_COUNT(clients));
    while (came < TEST_COUNT(clients)) {
        uint32_t accepted = door.accepted - 1, lowest = 0;

        for (uint32_t i = 1; i < door.accepted; i++)
            lowest = door.fds[i] < door.fds[lowest] ? i : lowest;
        test_close(door.fds[lowest]); /* below the limit, so that it helps */
        door.fds[lowest] = door.fds[--door.accepted];
        door.errors = 0;
        run_until(loop, door.accepted > accepted || door.errors > 10);
        ck_assert_uint_le(door.errors, 10);
        came += door.accepted - accepted;
    }
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    for (size_t i = 0; i < TEST_COUNT(clients); i++)
        test_close(clients[i]);
    door_close(loop, &door);
    test_loop_free(loop);
}
END_TEST

/* Goal: several listeners that rest all go on, also when one of them is closed. Method: three of them starve; the first
 * is closed, whose descriptor lets another accept; then the limit is raised. */
START_TEST(starved_together)
{
    struct loop  *loop = test_loop_new(NULL);
    struct rlimit before;
    struct door   doors[3];
    int           clients[3];

    for (size_t i = 0; i < TEST_COUNT(doors); i++) {
        door_open(loop, &doors[i], NET_TCP4);
        door_fill(loop, &doors[i], &clients[i], 1);
    }
    before = leave_descriptors(0);
    for (size_t i = 0; i < TEST_COUNT(doors); i++)
        ck_assert_int_eq(CALL(loop_listener_resume(&doors[i].listener)), 0);
    run_until(loop, doors[0].errors == 1 && doors[1].errors == 1 && doors[2].errors == 1);
    door_close(loop, &doors[0]);
    run_until(loop, doors[1].accepted + doors[2].accepted == 1);
    settle(loop);
    ck_assert_uint_eq(doors[1].accepted + doors[2].accepted, 1);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    run_until(loop, doors[1].accepted == 1 && doors[2].accepted == 1);
    for (size_t i = 0; i < TEST_COUNT(clients); i++)
        test_close(clients[i]);
    door_close(loop, &doors[1]);
    door_close(loop, &doors[2]);
    test_loop_free(loop);
}
END_TEST

/* Rests a listener for want of descriptors, closes a stream, and waits for the connection that this lets in. Returns
 * how long it took since the listener began to rest. */
static uint64_t rest_and_close(void)
{
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address address = net_address(NET_TCP4);
    struct door         door = {0};
    struct rlimit       before;
    int                 clients[2];
    uint64_t            began;

    serving = &door;
    served = (struct end){0};
    door.listener.data = loop;
    ck_assert_int_eq(loop_listener_start(loop, &door.listener, &address, NULL, serving_accept_cb), 0);
    ck_assert_int_eq(loop_listener_address(&door.listener, &door.address), 0);
    door_fill(loop, &door, clients, TEST_COUNT(clients));
    before = leave_descriptors(1);
    ck_assert_int_eq(CALL(loop_listener_resume(&door.listener)), 0);
    began = test_clock();
    run_until(loop, door.errors == 1);
    ck_assert_int_eq(door.error, -EMFILE);
    ck_assert_uint_eq(door.accepted, 1);
    end_close(&served);
    run_until(loop, door.accepted == 2);
    began = test_clock() - began;
    ck_assert_uint_eq(served.closes, 1);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    for (size_t i = 0; i < TEST_COUNT(clients); i++)
        test_close(clients[i]);
    door.fds[0] = door.fds[1];
    door.accepted = 1;
    door_close(loop, &door);
    test_loop_free(loop);
    return began;
}

/* Goal: a descriptor that the loop itself closes wakes a resting listener. Method: the only free descriptor goes to a
 * stream, which is closed. By itself the listener tries after 100 ms and no earlier, so a connection before that shows
 * that it was woken. A busy machine may be late and show nothing: then once more. */
START_TEST(closing_wakes_a_resting_listener)
{
    uint32_t attempts = 0;

    while (rest_and_close() >= 100 * LOOP_MILLISECOND)
        ck_assert_msg(++attempts < 30, "it goes on only after its own 100 ms");
}
END_TEST

/* Goal: a resting listener may be paused, resumed and closed like any other. Method: while out of descriptors; i 0:
 * paused and closed, 1: resumed and closed, 2: resumed until it has accepted. */
START_TEST(close_while_resting)
{
    struct loop  *loop = test_loop_new(NULL);
    struct rlimit before;
    struct door   door;
    int           client;

    door_open(loop, &door, NET_TCP4);
    door_fill(loop, &door, &client, 1);
    before = leave_descriptors(0);
    ck_assert_int_eq(CALL(loop_listener_resume(&door.listener)), 0);
    run_until(loop, door.errors == 1);
    ck_assert_int_eq(CALL(loop_listener_pause(&door.listener)), 0);
    settle(loop);
    door.errors = 0;
    run_for(loop, 150 * LOOP_MILLISECOND);
    ck_assert_uint_eq(door.errors, 0); /* paused: does not try */
    if (_i > 0) {
        ck_assert_int_eq(CALL(loop_listener_resume(&door.listener)), 0);
        settle(loop);
    }
    ck_assert_uint_eq(door.accepted, 0);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    if (_i == 2)
        run_until(loop, door.accepted == 1);
    loop_listener_close(&door.listener, door_close_cb);
    test_run(loop);
    ck_assert_uint_eq(door.closes, 1);
    test_close(client);
    door_close(loop, &door);
    test_loop_free(loop);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("net/listener_rest");
    TCase *tcase = test_case(suite, "descriptors");

    tcase_add_loop_test(tcase, out_of_descriptors, 0, 4);
    tcase_add_test(tcase, limit_lowered_while_running);
    tcase_add_test(tcase, starved_together);
    tcase_add_test(tcase, closing_wakes_a_resting_listener);
    tcase_add_loop_test(tcase, close_while_resting, 0, 3);
    return suite;
}
