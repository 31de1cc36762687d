/* tests/net/listener_limit_test.c: the limit of a listener's connections, releases and tickets. */
#include "tests/net/door.h"

/* A door that checks at each connection that the limit holds. */
static uint32_t limit;

static void limited_accept_cb(struct loop_listener *listener, int result)
{
    door_accept_cb(listener, result);
    ck_assert_int_ge(result, 0);
    ck_assert(limit == 0 || loop_listener_connections(listener) <= limit);
}

static void limited_open(struct loop *loop, struct door *door, int kind, uint32_t max)
{
    struct loop_listener_options options = {.connections_max = max};
    struct loop_address          address = net_address(kind);

    limit = max;
    door_open_at(loop, door, &address, &options, limited_accept_cb);
}

/* One connection of the door ends. */
static void drop(struct door *door)
{
    ck_assert_uint_gt(door->accepted, 0);
    test_close(door->fds[--door->accepted]);
    ck_assert_int_eq(CALL(loop_listener_release(&door->listener)), 0);
}

static void dial(const struct door *door, int *ret_clients, size_t count)
{
    for (size_t i = 0; i < count; i++)
        ret_clients[i] = net_dial(&door->address);
}

static void hang_up(int *clients, size_t count)
{
    for (size_t i = 0; i < count; i++)
        test_close(clients[i]);
}

/* Goal: never more than the limit are delivered; the others wait in the backlog, not in descriptors of ours, and come
 * as those before them end. Method: 40 clients at a limit of 3; releases one or two at a time. */
START_TEST(limit_holds)
{
    enum { CLIENTS = 40, MAX = 3 };
    struct loop *loop = test_loop_new(NULL);
    struct door  door;
    int          clients[CLIENTS];
    uint32_t     came = MAX, descriptors;

    limited_open(loop, &door, _i, MAX);
    descriptors = test_fd_count();
    dial(&door, clients, CLIENTS);
    run_until(loop, door.accepted == MAX);
    for (uint32_t round = 0; came < CLIENTS; round++) {
        uint32_t ending = 1 + round % 2;

        settle(loop);
        ck_assert_uint_eq(door.accepted, MAX);
        ck_assert_uint_eq(loop_listener_connections(&door.listener), MAX);
        ck_assert_uint_eq(test_fd_count(), descriptors + CLIENTS + MAX);
        if (ending > CLIENTS - came)
            ending = CLIENTS - came;
        for (uint32_t i = 0; i < ending; i++)
            drop(&door);
        run_until(loop, door.accepted == MAX);
        came += ending;
    }
    while (door.accepted > 0)
        drop(&door);
    ck_assert_uint_eq(loop_listener_connections(&door.listener), 0);
    ck_assert_int_eq(CALL(loop_listener_release(&door.listener)), -EINVAL);
    hang_up(clients, CLIENTS);
    door_close(loop, &door);
    test_loop_free(loop);
}
END_TEST

static uint32_t refused;

static void refusing_accept_cb(struct loop_listener *listener, int result)
{
    callback_enter();
    ck_assert_int_ge(result, 0);
    ck_assert_uint_le(loop_listener_connections(listener), limit);
    refused++;
    test_close(result);
    ck_assert_int_eq(CALL(loop_listener_release(listener)), 0);
}

/* Goal: a connection may be given back inside its callback. Method: a limit of 1 and 30 clients, all refused. */
START_TEST(released_inside_the_callback)
{
    struct loop_listener_options options = {.connections_max = 1};
    struct loop_address          address = net_address(_i);
    struct loop                 *loop = test_loop_new(NULL);
    struct door                  door;
    int                          clients[30];

    limit = 1;
    door_open_at(loop, &door, &address, &options, refusing_accept_cb);
    dial(&door, clients, TEST_COUNT(clients));
    run_until(loop, refused == TEST_COUNT(clients));
    hang_up(clients, TEST_COUNT(clients));
    door_close(loop, &door);
    test_loop_free(loop);
}
END_TEST

/* Goal: the limit may be set, lowered, raised and removed at any time; none that is there is closed. Method: without a
 * limit five come; limit 3: none comes until three have ended; then 4, 6, none. */
START_TEST(limit_changes)
{
    struct loop *loop = test_loop_new(NULL);
    struct door  door;
    int          clients[20];

    limited_open(loop, &door, _i, 0);
    dial(&door, clients, 5);
    run_until(loop, door.accepted == 5);
    limit = 3;
    ck_assert_int_eq(CALL(loop_listener_limit(&door.listener, 3)), 0);
    settle(loop);
    dial(&door, clients + 5, 15);
    settle(loop);
    ck_assert_uint_eq(door.accepted, 5);
    drop(&door);
    drop(&door);
    settle(loop);
    ck_assert_uint_eq(door.accepted, 3);
    drop(&door);
    run_until(loop, door.accepted == 3);
    limit = 4;
    ck_assert_int_eq(CALL(loop_listener_limit(&door.listener, 4)), 0);
    run_until(loop, door.accepted == 4);
    settle(loop);
    ck_assert_uint_eq(door.accepted, 4);
    limit = 6;
    ck_assert_int_eq(CALL(loop_listener_limit(&door.listener, 6)), 0);
    run_until(loop, door.accepted == 6);
    limit = 0;
    ck_assert_int_eq(CALL(loop_listener_limit(&door.listener, 0)), 0);
    run_until(loop, door.accepted == 17); /* three of twenty have ended */
    hang_up(clients, TEST_COUNT(clients));
    door_close(loop, &door);
    test_loop_free(loop);
}
END_TEST

/* The limit comes with the first connection: the multishot has taken more by then. */
static void limiting_accept_cb(struct loop_listener *listener, int result)
{
    door_accept_cb(listener, result);
    ck_assert_int_ge(result, 0);
    if (limit == 0) {
        limit = 2;
        ck_assert_int_eq(CALL(loop_listener_limit(listener, limit)), 0);
    }
    ck_assert_uint_le(loop_listener_connections(listener), limit);
}

/* Goal: what the kernel has accepted beyond a new limit is held, and delivered first when there is room; none is lost.
 * Method: 30 clients wait when the limit of 2 is set inside the first callback; ends them one by one. */
START_TEST(limit_inside_the_callback)
{
    struct loop_address address = net_address(_i);
    struct loop        *loop = test_loop_new(NULL);
    struct door         door;
    int                 clients[30];

    limit = 0;
    door_open_at(loop, &door, &address, NULL, limiting_accept_cb);
    dial(&door, clients, TEST_COUNT(clients));
    run_until(loop, door.accepted == 2);
    for (size_t came = 2; came < TEST_COUNT(clients); came++) {
        settle(loop);
        ck_assert_uint_eq(door.accepted, 2);
        drop(&door);
        run_until(loop, door.accepted == 2);
    }
    settle(loop);
    ck_assert_uint_eq(door.accepted, 2);
    hang_up(clients, TEST_COUNT(clients));
    door_close(loop, &door);
    test_loop_free(loop);
}
END_TEST

/* ---- tickets */

/* Goal: a ticket ends a connection as a release does, also after its listener; there is one for each connection and no
 * more. Method: three connections, two of them with tickets; the listener is closed and its memory overwritten. */
START_TEST(tickets)
{
    struct loop                 *loop = test_loop_new(NULL);
    struct door                  door;
    struct loop_listener_ticket *taken[2];
    int                          clients[4];

    limited_open(loop, &door, NET_TCP4, 3);
    ck_assert_ptr_null(loop_listener_ticket_take(&door.listener)); /* nothing has come */
    dial(&door, clients, 4);
    run_until(loop, door.accepted == 3);
    taken[0] = loop_listener_ticket_take(&door.listener);
    taken[1] = loop_listener_ticket_take(&door.listener);
    ck_assert(taken[0] != NULL && taken[1] != NULL);
    ck_assert_int_eq(CALL(loop_listener_release(&door.listener)), 0);
    ck_assert_int_eq(CALL(loop_listener_release(&door.listener)), -EINVAL); /* the others have tickets */
    ck_assert_ptr_null(loop_listener_ticket_take(&door.listener));
    run_until(loop, door.accepted == 4);
    loop_listener_ticket_release(taken[0]);
    ck_assert_uint_eq(loop_listener_connections(&door.listener), 2);
    door_close(loop, &door);
    ck_assert_uint_eq(loop_listener_connections(&door.listener), 0);
    ck_assert_ptr_null(loop_listener_ticket_take(&door.listener));
    ck_assert_int_eq(loop_listener_release(&door.listener), -EINVAL);
    ck_assert_int_eq(loop_listener_limit(&door.listener, 1), -EINVAL);
    memset(&door, 0xff, sizeof(door));
    loop_listener_ticket_release(taken[1]);
    loop_listener_ticket_release(NULL);
    hang_up(clients, 4);
    test_loop_free(loop);
}
END_TEST

/* Goal: tickets of a listener that was closed and started anew in the same memory do not count in the new one. Method:
 * a ticket of the first is given back while the second is full. */
START_TEST(tickets_of_the_one_before)
{
    struct loop                 *loop = test_loop_new(NULL);
    struct door                  door;
    struct loop_listener_ticket *ticket;
    int                          client, clients[2];

    limited_open(loop, &door, NET_TCP4, 1);
    client = net_dial(&door.address);
    run_until(loop, door.accepted == 1);
    ticket = loop_listener_ticket_take(&door.listener);
    door_close(loop, &door);
    limited_open(loop, &door, NET_TCP4, 1);
    dial(&door, clients, 2);
    run_until(loop, door.accepted == 1);
    loop_listener_ticket_release(ticket);
    settle(loop);
    ck_assert_uint_eq(door.accepted, 1);
    ck_assert_uint_eq(loop_listener_connections(&door.listener), 1);
    test_close(client);
    hang_up(clients, 2);
    door_close(loop, &door);
    test_loop_free(loop);
}
END_TEST

static struct loop_listener_ticket *last_ticket;

static void releasing_close_cb(struct loop_listener *listener)
{
    door_close_cb(listener);
    loop_listener_ticket_release(last_ticket);
}

/* Goal: a ticket may be given back in the close callback, inside loop_destroy(). Method: the fixture looks for memory
 * that is left. */
START_TEST(ticket_and_destroy)
{
    struct loop_listener_options options = {.connections_max = 1, .on_close = releasing_close_cb};
    struct loop_address          address = net_address(NET_TCP4);
    struct loop                 *loop = test_loop_new(NULL);
    struct door                  door;
    int                          client;

    limit = 1;
    door_open_at(loop, &door, &address, &options, limited_accept_cb);
    client = net_dial(&door.address);
    run_until(loop, door.accepted == 1);
    last_ticket = loop_listener_ticket_take(&door.listener);
    test_loop_drop(loop);
    ck_assert_uint_eq(door.closes, 1);
    test_close(door.fds[0]);
    test_close(client);
}
END_TEST

/* ---- all together */

enum { PLAY_CLIENTS = 300, PLAY_STEPS = 3000 };

struct play {
    struct door                  door;
    struct loop_listener_ticket *tickets[PLAY_CLIENTS];
    int                          clients[PLAY_CLIENTS];
    uint32_t                     dialled, ended, tickets_count, waiting_max;
    bool                         paused;
};

static struct play play;

static void play_accept_cb(struct loop_listener *listener, int result)
{
    limited_accept_cb(listener, result);
    ck_assert(!play.paused);
    test_close(play.door.fds[--play.door.accepted]);
    ck_assert_uint_lt(play.tickets_count, PLAY_CLIENTS);
    play.tickets[play.tickets_count] = loop_listener_ticket_take(listener);
    ck_assert_ptr_nonnull(play.tickets[play.tickets_count]);
    play.tickets_count++;
}

static void play_end_one(void)
{
    if (play.tickets_count == 0)
        return;
    loop_listener_ticket_release(play.tickets[--play.tickets_count]);
    play.ended++;
}

static void play_step(struct loop *loop, uint64_t *seed)
{
    switch (test_random(seed) % 8) {
    case 0:
    case 1:
        if (play.dialled < PLAY_CLIENTS && play.dialled - play.ended - play.tickets_count < play.waiting_max)
            play.clients[play.dialled++] = net_dial(&play.door.address);
        break;
    case 2:
        play.paused = true;
        ck_assert_int_eq(CALL(loop_listener_pause(&play.door.listener)), 0);
        break;
    case 3:
        play.paused = false;
        ck_assert_int_eq(CALL(loop_listener_resume(&play.door.listener)), 0);
        break;
    case 4:
        limit = (uint32_t)(test_random(seed) % 12);
        ck_assert_int_eq(CALL(loop_listener_limit(&play.door.listener, limit)), 0);
        break;
    case 5: play_end_one(); break;
    default: test_turns(loop, 1); break;
    }
    ck_assert_uint_eq(loop_listener_connections(&play.door.listener), play.tickets_count);
}

/* Goal: pauses, limits and ends in any order lose no connection, and neither the pause nor the limit is ever broken.
 * Method: a random order (TEST_SEED); in the end all is let through, and each client must have been accepted once. */
START_TEST(any_order)
{
    struct loop_listener_options options = {.flags = _i % 3 == 1 ? LOOP_LISTENER_PEER : 0,
                                            .backlog = _i % 3 == 2 ? 3 : 0}; /* 2: changes between the two ways */
    struct loop_address          address = net_address(_i / 3 % 2);
    struct loop                 *loop = test_loop_new(NULL);
    uint64_t                     seed = test_env("TEST_SEED", 1) + (uint64_t)_i;

    limit = 0;
    memset(&play, 0, sizeof(play));
    play.waiting_max = _i % 3 == 2 ? 3 : 40; /* a dial that finds the backlog full would wait */
    door_open_at(loop, &play.door, &address, &options, play_accept_cb);
    for (uint32_t i = 0; i < PLAY_STEPS; i++)
        play_step(loop, &seed);
    play.paused = false;
    ck_assert_int_eq(CALL(loop_listener_resume(&play.door.listener)), 0);
    while (play.ended < play.dialled) {
        run_until(loop, play.tickets_count > 0);
        play_end_one();
    }
    settle(loop);
    ck_assert_uint_eq(play.tickets_count, 0);
    hang_up(play.clients, play.dialled);
    door_close(loop, &play.door);
    test_loop_free(loop);
}
END_TEST

/* ---- without memory */

static uint32_t memory_errors;

static void poor_accept_cb(struct loop_listener *listener, int result)
{
    if (result == -ENOMEM)
        memory_errors++;
    else
        door_accept_cb(listener, result);
    if (door_of(listener)->accepted == 1)
        ck_assert_int_eq(CALL(loop_listener_pause(listener)), 0);
}

/* Goal: connections that there is no memory to hold are closed, and that is told when callbacks may come again; the
 * listener goes on. Method: 20 clients wait, the first callback pauses, and memory fails from then on until all is
 * quiet. */
START_TEST(no_memory_to_hold)
{
    const struct loop_options options = {.allocator = test_allocator()};
    struct loop_address       address = net_address(NET_TCP4);
    struct loop              *loop = test_loop_new(&options);
    struct door               door;
    int                       clients[20], one;
    char                      byte;

    door_open_at(loop, &door, &address, NULL, poor_accept_cb);
    settle(loop);
    dial(&door, clients, TEST_COUNT(clients));
    test_memory.fail_from = test_memory.calls + 1;
    run_until(loop, door.accepted == 1);
    settle(loop);
    test_memory.fail_from = 0;
    ck_assert_uint_gt(test_memory.failed, 0);
    ck_assert_uint_eq(memory_errors, 0); /* paused */
    ck_assert_uint_eq(door.accepted, 1);
    ck_assert_int_eq(CALL(loop_listener_resume(&door.listener)), 0);
    test_close(door.fds[--door.accepted]);
    one = net_dial(&door.address);
    run_until(loop, door.accepted > 0);
    ck_assert_uint_eq(memory_errors, 1);
    ck_assert_int_le(recv(clients[TEST_COUNT(clients) - 1], &byte, 1, 0), 0); /* it was closed */
    hang_up(clients, TEST_COUNT(clients));
    test_close(one);
    door_close(loop, &door);
    test_loop_free(loop);
}
END_TEST

/* Goal: a stream given its listener returns the room when it has closed, also after the listener has. Method: a limit
 * of one, three clients served one after another; the third stream outlives the listener. */
START_TEST(streams_return_the_room)
{
    struct loop               *loop = test_loop_new(NULL);
    struct door                door;
    struct loop_stream_options options = {.listener = &door.listener};
    struct end                 ends[3] = {0};
    int                        clients[3];

    limited_open(loop, &door, _i, 1);
    dial(&door, clients, 3);
    for (uint32_t i = 0; i < 3; i++) {
        run_until(loop, door.accepted == i + 1);
        end_open(loop, &ends[i], door.fds[i], &options);
        settle(loop);
        ck_assert_uint_eq(door.accepted, i + 1);
        if (i < 2) {
            end_close(&ends[i]);
            run_until(loop, ends[i].closes == 1);
        }
    }
    door.accepted = 0; /* they are the streams' */
    door_close(loop, &door);
    end_close(&ends[2]);
    run_until(loop, ends[2].closes == 1);
    hang_up(clients, 3);
    test_loop_free(loop);
}
END_TEST

/* Goal: what a stream's socket shall be set to is set, and what cannot be is told and opens nothing. */
START_TEST(options_of_streams)
{
    static const struct loop_tcp_options good = {.flags = LOOP_TCP_NODELAY, .keepalive_idle_s = 77};
    static const struct loop_tcp_options bad = {.congestion = "no-such-thing"};
    struct loop_stream_options           options = {.tcp = &bad};
    struct loop_tcp_options              set;
    struct loop                         *loop = test_loop_new(NULL);
    struct end                           end = {0};
    struct loop_address                  address;
    int                                  fds[2], listening;

    net_pair(NET_TCP4, fds);
    ck_assert_int_eq(loop_stream_open(loop, &end.stream, fds[0], &options), -ENOENT);
    options.tcp = &good;
    end_open(loop, &end, fds[0], &options);
    ck_assert_int_eq(loop_tcp_get(fds[0], &set), 0);
    ck_assert_uint_eq(set.keepalive_idle_s, 77);
    end_close(&end);
    run_until(loop, end.closes == 1);
    test_close(fds[1]);

    listening = net_listen(NET_TCP4, 5, &address);
    end = (struct end){0};
    options.tcp = &bad;
    ck_assert_int_eq(loop_stream_connect(loop, &end.stream, &address, &options, end_connect_cb), -ENOENT);
    options.tcp = &good;
    end_connect(loop, &end, &address, &options);
    ck_assert_int_eq(loop_tcp_get(loop_stream_fd(&end.stream), &set), 0);
    ck_assert_uint_eq(set.keepalive_idle_s, 77);
    end_close(&end);
    run_until(loop, end.closes == 1);
    test_close(listening);
    test_loop_free(loop);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("net/listener_limit");
    TCase *tcase = test_case(suite, "limit");
    int    kinds = net_kinds();

    tcase_add_loop_test(tcase, limit_holds, 0, kinds);
    tcase_add_loop_test(tcase, released_inside_the_callback, 0, kinds);
    tcase_add_loop_test(tcase, limit_changes, 0, kinds);
    tcase_add_loop_test(tcase, limit_inside_the_callback, 0, kinds);
    tcase = test_case(suite, "tickets");
    tcase_add_test(tcase, tickets);
    tcase_add_test(tcase, tickets_of_the_one_before);
    tcase_add_test(tcase, ticket_and_destroy);
    tcase = test_case(suite, "play");
    tcase_add_loop_test(tcase, any_order, 0, 12);
    tcase = test_case(suite, "memory");
    tcase_add_test(tcase, no_memory_to_hold);
    tcase = test_case(suite, "streams");
    tcase_add_loop_test(tcase, streams_return_the_room, 0, net_kinds());
    tcase_add_test(tcase, options_of_streams);
    return suite;
}
