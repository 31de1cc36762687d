/* tests/net/listener_share_test.c: sockets that listen already, several loops at one port, addresses of peers. */
#include "tests/net/door.h"

#include <fcntl.h>
#include <pthread.h>

/* ---- adopting */

/* Goal: a socket that listens already is taken as it is, blocking or not, and closed at the end. Method: one as a
 * parent would leave it, with connections that wait; i % 2: O_NONBLOCK. */
START_TEST(adopted)
{
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address address, again;
    struct door         door = {0};
    int                 fd = net_listen(_i / 2, 10, &address), clients[5], late, error;

    if (_i % 2 == 1)
        ck_assert_int_eq(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK), 0);
    for (size_t i = 0; i < TEST_COUNT(clients); i++)
        clients[i] = net_dial(&address);
    ck_assert_int_eq(CALL(loop_listener_adopt(loop, &door.listener, fd, NULL, door_accept_cb)), 0);
    ck_assert_int_eq(loop_listener_fd(&door.listener), fd);
    ck_assert_int_eq(loop_listener_address(&door.listener, &again), 0);
    ck_assert_int_eq(loop_address_port(&again), loop_address_port(&address));
    run_until(loop, door.accepted == TEST_COUNT(clients));
    late = net_dial(&address);
    run_until(loop, door.accepted == TEST_COUNT(clients) + 1);
    test_close(late);
    for (size_t i = 0; i < TEST_COUNT(clients); i++)
        test_close(clients[i]);
    door_close(loop, &door);
    late = net_dial_start(&address, &error);
    if (_i / 2 != NET_UNIX) /* a path would be refused as well; an abstract name is gone */
        ck_assert(error == -EINPROGRESS || error == -ECONNREFUSED);
    ck_assert_int_ne(error, 0);
    test_close(late);
    test_loop_free(loop);
}
END_TEST

/* Goal: what does not listen, and options for making a socket, are refused, and the descriptor stays the caller's.
 * Method: each. */
START_TEST(not_adopted)
{
    static const struct loop_listener_options bad[] = {
        {.flags = LOOP_LISTENER_REUSEPORT},
        {.flags = LOOP_LISTENER_V6ONLY},
        {.flags = LOOP_LISTENER_UNLINK},
        {.flags = 1u << 31},
        {.backlog = 1},
        {.fastopen_queue = 1},
        {.defer_accept_s = 1},
        {.unix_mode = 0600},
        {.bind_retry_ns = 1},
    };
    struct loop        *loop = test_loop_new(NULL);
    struct loop_address address = net_address(NET_TCP4);
    struct door         door = {0};
    int                 fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), pipes[2], pair[2];

    ck_assert_int_eq(bind(fd, (const struct sockaddr *)&address.storage, address.size), 0);
    ck_assert_int_eq(loop_listener_adopt(loop, &door.listener, fd, NULL, door_accept_cb), -EINVAL);
    ck_assert_int_eq(listen(fd, 1), 0);
    ck_assert_int_eq(loop_listener_adopt(loop, &door.listener, fd, NULL, NULL), -EINVAL);
    for (size_t i = 0; i < TEST_COUNT(bad); i++)
        ck_assert_int_eq(loop_listener_adopt(loop, &door.listener, fd, &bad[i], door_accept_cb), -EINVAL);
    test_pipe(pipes);
    test_tcp_pair(pair);
    ck_assert_int_eq(loop_listener_adopt(loop, &door.listener, pipes[0], NULL, door_accept_cb), -ENOTSOCK);
    ck_assert_int_eq(loop_listener_adopt(loop, &door.listener, pair[0], NULL, door_accept_cb), -EINVAL);
    ck_assert_int_eq(loop_listener_adopt(loop, &door.listener, -1, NULL, door_accept_cb), -EBADF);
    ck_assert_int_eq(loop_listener_adopt(loop, &door.listener, LOOP_FIXED(0), NULL, door_accept_cb), -EBADF);
    ck_assert(!loop_alive(loop));
    ck_assert_int_eq(loop_listener_adopt(loop, &door.listener, fd, NULL, door_accept_cb), 0);
    ck_assert_int_eq(loop_listener_adopt(loop, &door.listener, fd, NULL, door_accept_cb), -EBUSY);
    for (size_t i = 0; i < 2; i++) {
        test_close(pipes[i]);
        test_close(pair[i]);
    }
    door_close(loop, &door);
    test_loop_free(loop);
}
END_TEST

static void pass(int through, int fd)
{
    union {
        struct cmsghdr header;
        char           room[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec  iov = {.iov_base = (char[1]){0}, .iov_len = 1};
    struct msghdr message = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};

    memset(&control, 0, sizeof(control));
    control.header =
        (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
    memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
    ck_assert_int_eq(sendmsg(through, &message, 0), 1);
}

static int passed(int through)
{
    union {
        struct cmsghdr header;
        char           room[CMSG_SPACE(sizeof(int))];
    } control;
    char          byte;
    struct iovec  iov = {.iov_base = &byte, .iov_len = 1};
    struct msghdr message = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
    int fd;

    ck_assert_int_eq(recvmsg(through, &message, MSG_CMSG_CLOEXEC), 1);
    memcpy(&fd, CMSG_DATA(&control.header), sizeof(fd));
    return fd;
}

/* Goal: a listening socket may be handed to another loop while connections wait. Method: the first loop accepts two,
 * pauses, hands a copy of its descriptor through a unix socket and closes; the second accepts those that waited. */
START_TEST(handed_over)
{
    struct loop *loops[2] = {test_loop_new(NULL), test_loop_new(NULL)};
    struct door  first, second = {0};
    int          channel[2], clients[5];

    door_open(loops[0], &first, _i);
    for (size_t i = 0; i < TEST_COUNT(clients); i++) {
        clients[i] = net_dial(&first.address);
        if (i == 1) {
            run_until(loops[0], first.accepted == 2);
            ck_assert_int_eq(CALL(loop_listener_pause(&first.listener)), 0);
            settle(loops[0]);
        }
    }
    test_socketpair(channel);
    pass(channel[0], loop_listener_fd(&first.listener));
    door_close(loops[0], &first);
    ck_assert_int_eq(loop_listener_adopt(loops[1], &second.listener, passed(channel[1]), NULL, door_accept_cb), 0);
    run_until(loops[1], second.accepted == 3);
    for (size_t i = 0; i < TEST_COUNT(clients); i++)
        test_close(clients[i]);
    for (size_t i = 0; i < 2; i++)
        test_close(channel[i]);
    door_close(loops[1], &second);
    test_loop_free(loops[0]);
    test_loop_free(loops[1]);
}
END_TEST

/* ---- several loops */

/* Goal: loops share one listening socket, each with a descriptor of its own; each connection comes to one of them, and
 * any of them may rest or go. Method: three loops in turn; all accept; then only the second; it closes, the first goes
 * on. i: kind; by multishots and one by one. */
START_TEST(one_socket_many_loops)
{
    enum { LOOPS = 3, CLIENTS = 30 };
    struct loop_listener_options options = {.flags = _i % 2 == 1 ? LOOP_LISTENER_PEER : 0};
    struct loop                 *loops[LOOPS];
    struct loop_address          address;
    struct door                  doors[LOOPS] = {0};
    int                          fd = net_listen(_i / 2, 100, &address), clients[3 * CLIENTS];
    uint32_t                     dialled = 0, total = 0;

    for (int i = 0; i < LOOPS; i++) {
        loops[i] = test_loop_new(NULL);
        ck_assert_int_eq(loop_listener_adopt(loops[i], &doors[i].listener, i == 0 ? fd : fcntl(fd, F_DUPFD_CLOEXEC, 0),
                                             &options, door_accept_cb),
                         0);
    }
    for (int phase = 0; phase < 3; phase++) {
        uint64_t until = test_clock() + RUN_LIMIT;
        uint32_t second = doors[1].accepted;

        if (phase == 1) {
            ck_assert_int_eq(CALL(loop_listener_pause(&doors[0].listener)), 0);
            ck_assert_int_eq(CALL(loop_listener_pause(&doors[2].listener)), 0);
            settle(loops[0]);
            settle(loops[2]);
        } else if (phase == 2) {
            door_close(loops[1], &doors[1]);
            ck_assert_int_eq(CALL(loop_listener_resume(&doors[0].listener)), 0);
            second = 0;
            total = doors[0].accepted + doors[2].accepted;
        }
        for (int i = 0; i < CLIENTS; i++)
            clients[dialled++] = net_dial(&address);
        total += CLIENTS;
        while (doors[0].accepted + doors[1].accepted + doors[2].accepted < total) {
            ck_assert_uint_lt(test_clock(), until);
            for (int i = 0; i < LOOPS; i++)
                test_turns(loops[i], 1);
        }
        if (phase == 1)
            ck_assert_uint_eq(doors[1].accepted, second + CLIENTS);
    }
    while (dialled > 0)
        test_close(clients[--dialled]);
    for (int i = 0; i < LOOPS; i++) {
        ck_assert_uint_eq(doors[i].errors, 0);
        if (i != 1)
            door_close(loops[i], &doors[i]);
        test_loop_free(loops[i]);
    }
}
END_TEST

struct worker {
    pthread_t           thread;
    struct loop        *loop;
    struct door         door;
    struct loop_address address;
};

static _Atomic uint32_t served_count;

static void counting_accept_cb(struct loop_listener *listener, int result)
{
    door_accept_cb(listener, result);
    atomic_fetch_add(&served_count, result >= 0);
}

static void *work(void *arg)
{
    struct worker *worker = arg;

    (void)loop_run(worker->loop, LOOP_RUN_DEFAULT);
    door_close(worker->loop, &worker->door);
    return NULL;
}

/* Goal: loops in threads of their own share a port by SO_REUSEPORT, and nothing is lost or doubled. Method: two
 * threads, 200 clients; each loop gets some. */
START_TEST(one_port_many_threads)
{
    enum { CLIENTS = 200 };
    struct loop_listener_options options = {.flags = LOOP_LISTENER_REUSEPORT};
    struct loop_address          address = net_address(NET_TCP4);
    static struct worker         workers[2];
    int                          clients[CLIENTS];
    uint32_t                     accepted[2];
    uint64_t                     until = test_clock() + RUN_LIMIT;

    for (size_t i = 0; i < TEST_COUNT(workers); i++) {
        workers[i].loop = test_loop_new(NULL);
        door_open_at(workers[i].loop, &workers[i].door, &address, &options, counting_accept_cb);
        address = workers[i].door.address;
    }
    for (size_t i = 0; i < TEST_COUNT(workers); i++)
        ck_assert_int_eq(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    for (int i = 0; i < CLIENTS; i++)
        clients[i] = net_dial(&address);
    while (atomic_load(&served_count) < CLIENTS) {
        ck_assert_uint_lt(test_clock(), until);
        test_sleep(LOOP_MILLISECOND);
    }
    for (size_t i = 0; i < TEST_COUNT(workers); i++) {
        accepted[i] = workers[i].door.accepted;
        loop_stop(workers[i].loop);
        ck_assert_int_eq(pthread_join(workers[i].thread, NULL), 0);
        ck_assert_uint_gt(accepted[i], 0); /* of 200 hashed at random, all at one has odds of 2^-199 */
        test_loop_drop(workers[i].loop);
    }
    ck_assert_uint_eq(accepted[0] + accepted[1], CLIENTS);
    for (int i = 0; i < CLIENTS; i++)
        test_close(clients[i]);
}
END_TEST

/* ---- peers */

enum { PEERS = 50 };

static char     peer_texts[PEERS][LOOP_ADDRESS_TEXT_MAX];
static int      peer_result;
static uint32_t peers_count;

static void peer_accept_cb(struct loop_listener *listener, int result)
{
    struct loop_address peer;

    door_accept_cb(listener, result);
    ck_assert_uint_lt(peers_count, PEERS);
    peer_result = loop_listener_peer(listener, &peer);
    if (peer_result == 0)
        ck_assert_int_gt(loop_address_format(&peer, peer_texts[peers_count], LOOP_ADDRESS_TEXT_MAX), 0);
    peers_count++;
}

/* A client with a name of its own; unix sockets have none otherwise. */
static int named_dial(const struct loop_address *address, char *ret_text)
{
    struct loop_address own = net_address(address->storage.ss_family == AF_UNIX    ? NET_UNIX
                                          : address->storage.ss_family == AF_INET6 ? NET_TCP6
                                                                                   : NET_TCP4);
    int                 fd = socket(address->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ck_assert_int_eq(bind(fd, (const struct sockaddr *)&own.storage, own.size), 0);
    ck_assert_int_eq(connect(fd, (const struct sockaddr *)&address->storage, address->size), 0);
    own.size = sizeof(own.storage);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&own.storage, &own.size), 0);
    ck_assert_int_gt(loop_address_format(&own, ret_text, LOOP_ADDRESS_TEXT_MAX), 0);
    return fd;
}

static void peers_are(char names[PEERS][LOOP_ADDRESS_TEXT_MAX])
{
    bool seen[PEERS] = {false};

    for (int i = 0; i < PEERS; i++) {
        int found = -1;

        for (int n = 0; n < PEERS; n++)
            if (strcmp(names[n], peer_texts[i]) == 0)
                found = n;
        ck_assert_msg(found >= 0 && !seen[found], "%s", peer_texts[i]);
        seen[found] = true;
    }
}

/* Goal: each connection's peer is the right one, asked for or brought along; outside of the callback nobody is. Method:
 * 50 clients with names of their own, in bursts; i / 6: held by pauses in between. i / 3 % 2: with the flag. */
START_TEST(peers)
{
    struct loop_listener_options options = {.flags = _i / 3 % 2 == 1 ? LOOP_LISTENER_PEER : 0};
    struct loop_address          address = net_address(_i % 3), peer;
    struct loop                 *loop = test_loop_new(NULL);
    struct door                  door;
    static char                  names[PEERS][LOOP_ADDRESS_TEXT_MAX];
    int                          clients[PEERS];

    door_open_at(loop, &door, &address, &options, peer_accept_cb);
    settle(loop);
    for (uint32_t i = 0; i < PEERS; i++) {
        clients[i] = named_dial(&door.address, names[i]);
        if (i % 10 == 9 && _i / 6 == 1) {
            ck_assert_int_eq(CALL(loop_listener_pause(&door.listener)), 0);
            settle(loop);
            ck_assert_int_eq(CALL(loop_listener_resume(&door.listener)), 0);
        }
        if (i % 10 == 9)
            run_until(loop, peers_count == i + 1);
    }
    peers_are(names);
    ck_assert_int_eq(peer_result, 0);
    ck_assert_int_eq(loop_listener_peer(&door.listener, &peer), -EINVAL);
    for (int i = 0; i < PEERS; i++)
        test_close(clients[i]);
    door_close(loop, &door);
    ck_assert_int_eq(loop_listener_peer(&door.listener, &peer), -EINVAL);
    test_loop_free(loop);
}
END_TEST

/* Goal: a connection that its peer has reset by then still comes, and only with the flag its address is known. Method:
 * resets it while the listener is paused. */
START_TEST(peer_that_has_gone)
{
    struct loop_listener_options options = {.flags = _i == 1 ? LOOP_LISTENER_PEER : 0};
    struct loop_address          address = net_address(NET_TCP4);
    struct loop                 *loop = test_loop_new(NULL);
    struct door                  door;
    char                         name[LOOP_ADDRESS_TEXT_MAX];

    door_open_at(loop, &door, &address, &options, peer_accept_cb);
    ck_assert_int_eq(CALL(loop_listener_pause(&door.listener)), 0);
    net_reset(named_dial(&door.address, name));
    ck_assert_int_eq(CALL(loop_listener_resume(&door.listener)), 0);
    run_until(loop, peers_count == 1);
    ck_assert_int_eq(peer_result, _i == 1 ? 0 : -ENOTCONN);
    ck_assert_str_eq(peer_texts[0], _i == 1 ? name : "");
    door_close(loop, &door);
    test_loop_free(loop);
}
END_TEST

/* ---- one by one */

/* Goal: accepts one by one do all that the multishot does. Method: bursts of 40 with the flag; closes with accepts in
 * flight and clients that wait; opens anew in the same memory. */
START_TEST(one_by_one)
{
    struct loop_listener_options options = {.flags = LOOP_LISTENER_PEER};
    struct loop                 *loop = test_loop_new(NULL);
    struct door                  door;
    int                          clients[40];

    for (int round = 0; round < 20; round++) {
        struct loop_address address = net_address(_i);

        door_open_at(loop, &door, &address, &options, door_accept_cb);
        if (round % 2 == 0)
            settle(loop);
        for (size_t i = 0; i < TEST_COUNT(clients); i++)
            clients[i] = net_dial(&door.address);
        if (round % 4 < 3)
            run_until(loop, door.accepted == TEST_COUNT(clients));
        for (size_t i = 0; i < TEST_COUNT(clients); i++)
            test_close(clients[i]);
        ck_assert_uint_eq(door.errors, 0);
        door_close(loop, &door);
    }
    test_loop_free(loop);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("net/listener_share");
    TCase *tcase = test_case(suite, "adopt");
    int    kinds = net_kinds();

    tcase_add_loop_test(tcase, adopted, 0, 2 * kinds);
    tcase_add_test(tcase, not_adopted);
    tcase_add_loop_test(tcase, handed_over, 0, kinds);
    tcase = test_case(suite, "loops");
    tcase_add_loop_test(tcase, one_socket_many_loops, 0, 2 * kinds);
    tcase_add_test(tcase, one_port_many_threads);
    tcase = test_case(suite, "peers");
    for (int i = 0; i < 12; i++)
        if (i % 3 < kinds)
            tcase_add_loop_test(tcase, peers, i, i + 1);
    tcase_add_loop_test(tcase, peer_that_has_gone, 0, 2);
    tcase_add_loop_test(tcase, one_by_one, 0, kinds);
    return suite;
}
