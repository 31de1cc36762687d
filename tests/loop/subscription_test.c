/* tests/loop/subscription_test.c: subscriptions: steps, and how they stop. */
#include "tests/support/test.h"

#include <poll.h>

static struct loop *loop;

enum { BUFFER_SIZE = 64, BUFFERS = 16 };

static void setup(void)
{
    loop = test_loop_new(&(struct loop_options){.sq_entries = 64, .buffer_size = BUFFER_SIZE, .buffer_count = BUFFERS});
}

static void teardown(void)
{
    test_loop_free(loop);
}

#define UNTIL(condition) TEST_UNTIL(loop, condition)

static void must(int r)
{
    ck_assert_int_eq(r, 0);
}

/* What one subscription has seen. It lives on the heap, and its stop callback may free what it lives in. */
struct subscriber {
    struct loop_subscription subscription;
    uint32_t                 steps, stops, stop_at; /* LOOP_STOP from this step on; 0: never */
    uint64_t                 bytes;
    int32_t                  last;
    int                      error;
    bool                     cancelled, accepts, stops_itself;
    struct subscriber      **victim; /* set to NULL when it frees itself */
};

static struct subscriber *of_subscription(struct loop_subscription *subscription)
{
    return (struct subscriber *)((char *)subscription - offsetof(struct subscriber, subscription));
}

static enum loop_step step(struct loop *of, struct loop_subscription *subscription, const struct loop_result *result)
{
    struct subscriber *subscriber = of_subscription(subscription);

    ck_assert_ptr_eq(of, loop);
    ck_assert_ptr_eq(subscription->data, subscriber);
    ck_assert_uint_eq(subscriber->stops, 0);
    ck_assert(subscriber->stop_at == 0 || subscriber->steps < subscriber->stop_at);
    ck_assert_int_ge(result->res, 0);
    subscriber->steps++;
    subscriber->last = result->res;
    if ((result->flags & LOOP_BUFFER) != 0)
        subscriber->bytes += (uint64_t)result->res;
    if (subscriber->accepts)
        test_close(result->res);
    if (subscriber->steps != subscriber->stop_at)
        return LOOP_CONTINUE;
    if (!subscriber->stops_itself)
        return LOOP_STOP;
    must(loop_subscription_stop(subscription));
    ck_assert_uint_eq(subscriber->stops, 0);
    return LOOP_CONTINUE;
}

static void stop(struct loop *of, struct loop_subscription *subscription, int error, bool cancelled)
{
    struct subscriber *subscriber = of_subscription(subscription);

    (void)of;
    ck_assert_uint_eq(subscriber->stops, 0);
    ck_assert_int_eq(loop_subscription_id(subscription), 0);
    subscriber->stops++;
    subscriber->error = error;
    subscriber->cancelled = cancelled;
    if (subscriber->victim != NULL) {
        *subscriber->victim = NULL;
        memset((void *)subscriber, 0xee, sizeof(*subscriber));
        free(subscriber);
    }
}

static void prepare(struct subscriber *subscriber)
{
    *subscriber = (struct subscriber){.steps = 0};
    subscriber->subscription.data = subscriber;
}

static void stopped(const struct subscriber *subscriber, int error, bool cancelled)
{
    ck_assert_uint_eq(subscriber->stops, 1);
    ck_assert_int_eq(subscriber->error, error);
    ck_assert_int_eq(subscriber->cancelled, cancelled);
}

/* ---- each kind */

enum kind { ACCEPT, RECV, RECVMSG, READ, EDGE, LEVEL, TICK, KINDS };

struct peer {
    int      fds[2];
    uint16_t port;
    int      clients[32];
    uint32_t clients_count;
};

static void peer_open(enum kind kind, struct peer *peer)
{
    *peer = (struct peer){.fds = {-1, -1}};
    if (kind == ACCEPT)
        peer->fds[0] = test_tcp_listener(&peer->port, 32);
    else if (kind == RECV)
        test_socketpair(peer->fds);
    else if (kind == RECVMSG)
        must(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, peer->fds));
    else if (kind != TICK)
        test_pipe(peer->fds);
}

static void peer_poke(enum kind kind, struct peer *peer)
{
    if (kind == ACCEPT)
        peer->clients[peer->clients_count++] = test_tcp_connect(peer->port);
    else if (kind == TICK)
        test_sleep(2 * LOOP_MILLISECOND);
    else
        test_write(peer->fds[1], "x", 1);
}

static void peer_close(struct peer *peer)
{
    for (int i = 0; i < 2; i++)
        if (peer->fds[i] >= 0)
            test_close(peer->fds[i]);
    while (peer->clients_count > 0)
        test_close(peer->clients[--peer->clients_count]);
}

static int subscribe_with(enum kind kind, int fd, struct subscriber *subscriber, loop_step_cb *on_step,
                          loop_stop_cb *on_stop, const struct loop_terms *terms)
{
    struct loop_subscription *subscription = &subscriber->subscription;

    subscriber->accepts = kind == ACCEPT;
    switch (kind) {
    case ACCEPT: return loop_subscribe_accept(loop, subscription, fd, 0, on_step, on_stop, terms);
    case RECV: return loop_subscribe_recv(loop, subscription, fd, 0, 0, on_step, on_stop, terms);
    case RECVMSG: return loop_subscribe_recvmsg(loop, subscription, fd, NULL, 0, 0, on_step, on_stop, terms);
    case READ: return loop_subscribe_read(loop, subscription, fd, 0, on_step, on_stop, terms);
    case EDGE: return loop_subscribe_poll(loop, subscription, fd, POLLIN, 0, on_step, on_stop, terms);
    case LEVEL: return loop_subscribe_poll(loop, subscription, fd, POLLIN, LOOP_POLL_LEVEL, on_step, on_stop, terms);
    case TICK: return loop_subscribe_timeout(loop, subscription, LOOP_MILLISECOND, 0, 0, on_step, on_stop, terms);
    case KINDS: break;
    }
    ck_abort_msg("no such kind");
}

static int subscribe(enum kind kind, const struct peer *peer, struct subscriber *subscriber,
                     const struct loop_terms *terms)
{
    return subscribe_with(kind, peer->fds[0], subscriber, step, stop, terms);
}

static bool missing(enum kind kind)
{
    if (kind != READ || test_has_opcode(loop, 49)) /* IORING_OP_READ_MULTISHOT */
        return false;
    test_skip("this kernel has no multishot read");
    return true;
}

/* Goal: each result is a step; stopped from outside, it ends once, as cancelled, later, and without a further step. */
START_TEST(steps_and_stop)
{
    struct subscriber subscriber;
    struct peer       peer;
    uint32_t          steps;

    if (missing((enum kind)_i))
        return;
    prepare(&subscriber);
    peer_open((enum kind)_i, &peer);
    must(subscribe((enum kind)_i, &peer, &subscriber, NULL));
    ck_assert_int_gt(loop_subscription_id(&subscriber.subscription), 0);
    for (int i = 0; i < 3; i++) {
        steps = subscriber.steps;
        peer_poke((enum kind)_i, &peer);
        UNTIL(subscriber.steps > steps);
    }
    peer_poke((enum kind)_i, &peer); /* on its way */
    must(loop_subscription_stop(&subscriber.subscription));
    must(loop_subscription_stop(&subscriber.subscription));
    steps = subscriber.steps;
    ck_assert_uint_eq(subscriber.stops, 0);
    test_run(loop);
    stopped(&subscriber, -ECANCELED, true);
    ck_assert_uint_eq(subscriber.steps, steps);
    ck_assert_int_eq(loop_subscription_stop(&subscriber.subscription), -ENOENT);
    ck_assert_int_eq(loop_subscription_pause(&subscriber.subscription), -ENOENT);
    ck_assert_int_eq(loop_subscription_resume(&subscriber.subscription), -ENOENT);
    ck_assert_uint_eq(test_stats(loop).buffers_lent, 0);
    peer_close(&peer);
}
END_TEST

/* Goal: after LOOP_STOP no step comes, though many results are on their way, and nothing leaks: connections are closed
 * (the fixture looks), buffers go home. Method: all is there before; stop at the third, by the answer or by a call. */
START_TEST(stop_from_the_step)
{
    enum kind         kind = (enum kind)(_i / 2);
    struct subscriber subscriber;
    struct peer       peer;
    char              byte;

    if (missing(kind))
        return;
    prepare(&subscriber);
    subscriber.stop_at = kind == EDGE ? 1 : 3;
    subscriber.stops_itself = _i % 2 == 1;
    peer_open(kind, &peer);
    for (int i = 0; i < 10; i++)
        peer_poke(kind, &peer);
    if (kind == RECV || kind == READ) { /* more pieces than one */
        char block[BUFFER_SIZE * 8] = {0};

        test_write(peer.fds[1], block, sizeof(block));
    }
    must(subscribe(kind, &peer, &subscriber, NULL));
    test_run(loop);
    stopped(&subscriber, -ECANCELED, true);
    ck_assert_uint_eq(subscriber.steps, subscriber.stop_at);
    ck_assert_uint_eq(test_stats(loop).buffers_lent, 0);
    for (uint32_t i = 0; kind == ACCEPT && i < 3; i++) /* they were accepted and closed */
        ck_assert_int_eq(read(peer.clients[i], &byte, 1), 0);
    peer_close(&peer);
}
END_TEST

/* Goal: it can be subscribed anew in its stop callback, or freed. Method: heap; asan looks. */
static uint32_t rounds;

static void again(struct loop *of, struct loop_subscription *subscription, int error, bool cancelled)
{
    struct subscriber *subscriber = of_subscription(subscription);

    (void)of;
    ck_assert_int_eq(error, -ECANCELED);
    ck_assert(cancelled);
    subscriber->steps = 0;
    if (++rounds < 5)
        must(loop_subscribe_timeout(loop, subscription, LOOP_MILLISECOND, 0, 0, step, again, NULL));
}

START_TEST(anew_in_the_stop)
{
    struct subscriber *subscriber = malloc(sizeof(*subscriber)), *victim;

    rounds = 0;
    prepare(subscriber);
    subscriber->stop_at = 2;
    must(loop_subscribe_timeout(loop, &subscriber->subscription, LOOP_MILLISECOND, 0, 0, step, again, NULL));
    ck_assert_int_eq(loop_subscribe_timeout(loop, &subscriber->subscription, LOOP_MILLISECOND, 0, 0, step, again, NULL),
                     -EBUSY);
    test_run(loop);
    ck_assert_uint_eq(rounds, 5);
    free(subscriber);

    victim = malloc(sizeof(*victim));
    prepare(victim);
    victim->stop_at = 3;
    victim->victim = &victim;
    must(loop_subscribe_timeout(loop, &victim->subscription, LOOP_MILLISECOND, _i == 0 ? 0 : 3, 0, step, stop, NULL));
    test_run(loop);
    ck_assert_ptr_null(victim);
}
END_TEST

/* ---- ends */

/* Goal: the end of a stream is no step and no error; what came before it is. */
START_TEST(end_of_stream)
{
    static const enum kind kinds[] = {RECV, RECVMSG, READ};
    enum kind              kind = kinds[_i];
    struct subscriber      subscriber;
    struct peer            peer;

    if (missing(kind))
        return;
    prepare(&subscriber);
    peer_open(kind == RECVMSG ? RECV : kind, &peer);
    must(subscribe(kind, &peer, &subscriber, NULL));
    test_write(peer.fds[1], "abc", 3);
    test_close(peer.fds[1]);
    peer.fds[1] = -1;
    test_run(loop);
    stopped(&subscriber, 0, false);
    ck_assert_uint_eq(subscriber.steps, 1);
    ck_assert_uint_eq(subscriber.bytes, 3);
    peer_close(&peer);
}
END_TEST

/* Goal: a count that is reached is an end without an error; its last expiry is a step. An empty datagram is a step. */
START_TEST(counted_and_empty)
{
    struct subscriber ticks, messages;
    struct peer       peer;

    prepare(&ticks);
    prepare(&messages);
    must(loop_subscribe_timeout(loop, &ticks.subscription, LOOP_MILLISECOND, 4, 0, step, stop, NULL));
    peer_open(RECVMSG, &peer);
    must(subscribe(RECVMSG, &peer, &messages, NULL));
    for (uint32_t i = 0; i < 3; i++)
        ck_assert_int_eq(send(peer.fds[1], "", 0, 0), 0);
    UNTIL(messages.steps == 3 && ticks.stops == 1);
    stopped(&ticks, 0, false);
    ck_assert_uint_eq(ticks.steps, 4);
    ck_assert_uint_eq(messages.bytes, 0);
    must(loop_subscription_stop(&messages.subscription));
    test_run(loop);
    stopped(&messages, -ECANCELED, true);
    peer_close(&peer);
}
END_TEST

/* Goal: errors, deadlines, cancels by id and the end of the loop are told apart. */
START_TEST(errors)
{
    const struct linger linger = {.l_onoff = 1, .l_linger = 0};
    struct subscriber   broken, late, cancelled, destroyed, bad;
    struct peer         peer;
    int                 tcp[2];

    prepare(&broken);
    prepare(&late);
    prepare(&cancelled);
    prepare(&destroyed);
    prepare(&bad);
    test_tcp_pair(tcp);
    peer_open(RECV, &peer);
    must(subscribe_with(RECV, tcp[1], &broken, step, stop, NULL));
    must(subscribe_with(RECV, 3999, &bad, step, stop, NULL));
    must(subscribe(RECV, &peer, &late, LOOP_TERMS(.timeout_ns = LOOP_MILLISECOND)));
    must(subscribe(EDGE, &peer, &cancelled, NULL));
    must(subscribe(LEVEL, &peer, &destroyed, NULL));
    test_turns(loop, 2);
    must(setsockopt(tcp[0], SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)));
    test_close(tcp[0]);
    must(loop_cancel(loop, loop_subscription_id(&cancelled.subscription)));
    UNTIL(broken.stops + late.stops + cancelled.stops + bad.stops == 4);
    stopped(&broken, -ECONNRESET, false);
    stopped(&bad, -EBADF, false);
    stopped(&late, -ETIMEDOUT, false);
    stopped(&cancelled, -ECANCELED, true);
    test_loop_drop(loop);
    stopped(&destroyed, -ECANCELED, true);
    setup();
    test_close(tcp[1]);
    peer_close(&peer);
}
END_TEST

/* Goal: what makes no sense is refused, and leaves the memory as it was. */
START_TEST(refused)
{
    for (int kind = 0; kind < KINDS; kind++) {
        struct subscriber subscriber, before;
        struct peer       peer;

        if (missing((enum kind)kind))
            continue;
        prepare(&subscriber);
        peer_open((enum kind)kind, &peer);
        subscriber.accepts = kind == ACCEPT;
        before = subscriber;
        ck_assert_int_eq(subscribe_with((enum kind)kind, peer.fds[0], &subscriber, NULL, stop, NULL), -EINVAL);
        ck_assert_int_eq(subscribe_with((enum kind)kind, peer.fds[0], &subscriber, step, NULL, NULL), -EINVAL);
        ck_assert_int_eq(subscribe((enum kind)kind, &peer, &subscriber, LOOP_TERMS(.flags = LOOP_ASYNC)), -EINVAL);
        ck_assert_int_eq(subscribe((enum kind)kind, &peer, &subscriber, LOOP_TERMS(.flags = 1u << 31)), -EINVAL);
        if (kind != TICK)
            ck_assert_int_eq(subscribe_with((enum kind)kind, -1, &subscriber, step, stop, NULL), -EBADF);
        must(loop_chain_begin(loop, 2, 0));
        ck_assert_int_eq(subscribe((enum kind)kind, &peer, &subscriber, NULL), -EINVAL);
        ck_assert_int_eq(loop_chain_end(loop), -EINVAL);
        ck_assert_mem_eq(&subscriber, &before, sizeof(before));
        ck_assert_int_eq(loop_subscription_stop(&subscriber.subscription), -ENOENT);
        peer_close(&peer);
    }
    ck_assert_int_eq(loop_subscribe_timeout(loop, NULL, 1, 1, 0, step, stop, NULL), -EINVAL);
    ck_assert_int_eq(loop_subscribe_timeout(loop, &(struct loop_subscription){0}, 0, 1, 0, step, stop, NULL), -EINVAL);
}
END_TEST

/* Goal: paused, no step comes, and nothing is lost; stopped while paused, it ends. Method: each kind. */
START_TEST(pause_and_resume)
{
    struct subscriber subscriber;
    struct peer       peer;
    uint32_t          steps;

    if (missing((enum kind)_i))
        return;
    prepare(&subscriber);
    peer_open((enum kind)_i, &peer);
    must(subscribe((enum kind)_i, &peer, &subscriber, NULL));
    for (int round = 0; round < 2; round++) {
        must(loop_subscription_pause(&subscriber.subscription));
        test_turns(loop, 4);
        steps = subscriber.steps;
        peer_poke((enum kind)_i, &peer);
        test_turns(loop, 4);
        ck_assert_uint_eq(subscriber.steps, steps);
        must(loop_subscription_resume(&subscriber.subscription));
        UNTIL(subscriber.steps > steps);
    }
    must(loop_subscription_pause(&subscriber.subscription));
    test_turns(loop, 4);
    must(loop_subscription_stop(&subscriber.subscription));
    ck_assert_uint_eq(subscriber.stops, 0);
    test_run(loop);
    stopped(&subscriber, -ECANCELED, true);
    peer_close(&peer);
}
END_TEST

/* Goal: a subscription needs no memory of its own. Method: count what the allocator is asked for. */
START_TEST(no_allocation)
{
    struct subscriber subscriber;
    struct peer       peer;
    uint64_t          calls;

    peer_open(RECV, &peer);
    for (int round = 0; round < 3; round++) {
        prepare(&subscriber);
        subscriber.stop_at = 2;
        calls = test_memory.calls;
        must(subscribe(RECV, &peer, &subscriber, NULL));
        for (uint32_t i = 1; i <= 2; i++) {
            test_write(peer.fds[1], "x", 1);
            UNTIL(subscriber.steps == i);
        }
        test_run(loop);
        stopped(&subscriber, -ECANCELED, true);
        if (round > 0) /* the first makes the pool and the group */
            ck_assert_uint_eq(test_memory.calls, calls);
    }
    peer_close(&peer);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("subscription");
    TCase *tcase = test_case(suite, "steps");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, steps_and_stop, 0, KINDS);
    tcase_add_loop_test(tcase, stop_from_the_step, 0, KINDS * 2);
    tcase_add_loop_test(tcase, anew_in_the_stop, 0, 2);
    tcase_add_loop_test(tcase, pause_and_resume, 0, KINDS);
    tcase_add_test(tcase, no_allocation);

    tcase = test_case(suite, "ends");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, end_of_stream, 0, 3);
    tcase_add_test(tcase, counted_and_empty);
    tcase_add_test(tcase, errors);
    tcase_add_test(tcase, refused);
    return suite;
}
