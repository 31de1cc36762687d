/* tests/sim/listener_sim_test.c: listeners over a scripted ring: errors of accepts that the kernel cannot be made to
 * give, and completions at bad times. The sockets are real, nobody connects. */
#include "tests/sim/script_ring.h"
#include "tests/support/test.h"

#include <arpa/inet.h>
#include <fcntl.h>

enum { SLOTS = 8, TOLD_MAX = 64 };

static struct loop         *loop;
static struct loop_listener listener;
static struct loop_address  peer; /* what loop_listener_peer() said last */
static int                  told[TOLD_MAX], peer_result;
static uint32_t             told_count, closes;

static void accept_cb(struct loop_listener *from, int result)
{
    ck_assert_ptr_eq(from, &listener);
    ck_assert_uint_eq(closes, 0);
    ck_assert_uint_lt(told_count, TOLD_MAX);
    told[told_count++] = result;
    peer_result = loop_listener_peer(from, &peer);
    if (result >= 0)
        test_close(result);
}

static void close_cb(struct loop_listener *from)
{
    ck_assert_ptr_eq(from, &listener);
    closes++;
}

static unsigned accepts(void)
{
    return script_count(IORING_OP_ACCEPT);
}

static void completes(int res, uint32_t flags)
{
    struct io_uring_sqe *sqe = script_find(IORING_OP_ACCEPT, 0);

    ck_assert_ptr_nonnull(sqe);
    script_complete(sqe, res, flags);
}

static int descriptor(void)
{
    int fd = fcntl(2, F_DUPFD_CLOEXEC, 0);

    ck_assert_int_ge(fd, 0);
    return fd;
}

static void must(int r)
{
    ck_assert_int_eq(r, 0);
}

/* Starts the listener; returns how many accepts it keeps in flight. */
static unsigned start(bool one_by_one)
{
    struct loop_listener_options options = {.flags = one_by_one ? LOOP_LISTENER_PEER : 0};
    struct loop_address          address;

    must(loop_address_parse(&address, "127.0.0.1", 0));
    must(loop_listener_start(loop, &listener, &address, &options, accept_cb));
    test_turns(loop, 1);
    ck_assert_uint_eq(accepts(), one_by_one ? SLOTS : 1);
    return one_by_one ? SLOTS : 1;
}

static void setup(void)
{
    script_reset();
    loop = test_loop_new(NULL);
    test_turns(loop, 1);
    listener = (struct loop_listener){0};
    told_count = closes = 0;
}

static void teardown(void)
{
    if (loop_listener_loop(&listener) != NULL) {
        loop_listener_close(&listener, close_cb);
        for (uint32_t i = 0; closes == 0; i++) {
            ck_assert_uint_lt(i, 10);
            test_turns(loop, 1);
        }
    }
    test_loop_free(loop);
    ck_assert_uint_eq(script.rings_open, 0);
}

/* ---- errors that pass */

/* Goal: errors of a connection that has come to nothing are reported, each once, and accepting goes on at once. Method:
 * each errno that accept(2) names; i: one by one. */
START_TEST(passing_errors)
{
    static const int errors[] = {-ECONNABORTED, -EPERM,       -EPROTO, -ENETDOWN,  -ENOPROTOOPT, -EHOSTDOWN, -ENONET,
                                 -EHOSTUNREACH, -ENETUNREACH, -EINTR,  -ETIMEDOUT, -EAGAIN,      -ECONNRESET};
    unsigned         in_flight = start(_i == 1);

    for (uint32_t i = 0; i < TEST_COUNT(errors); i++) {
        completes(errors[i], 0);
        test_turns(loop, 2);
        ck_assert_uint_eq(told_count, i + 1);
        ck_assert_int_eq(told[i], errors[i]);
        ck_assert_int_eq(peer_result, -EINVAL);
        ck_assert_uint_eq(accepts(), in_flight);
    }
}
END_TEST

/* Goal: an error that does not end, whatever it is, makes no loop spin: after 16 in a row it is tried ten times a
 * second, and each is reported; a connection begins the count anew. Method: the clock stands, then moves by 100 ms. */
START_TEST(errors_without_end)
{
    int      fd = descriptor();
    uint32_t count = 0;

    start(false);
    while (accepts() > 0) {
        ck_assert_uint_lt(count, 40);
        completes(-EPERM, 0);
        test_turns(loop, 2);
        count++;
    }
    ck_assert_uint_eq(count, 17);
    ck_assert_uint_eq(told_count, count);
    for (int i = 0; i < 3; i++) {
        test_turns(loop, 5);
        ck_assert_uint_eq(accepts(), 0);
        script.now_ns += 100 * LOOP_MILLISECOND;
        test_turns(loop, 2);
        ck_assert_uint_eq(accepts(), 1);
        completes(-EPERM, 0);
        test_turns(loop, 2);
        ck_assert_uint_eq(told_count, ++count);
    }
    script.now_ns += 100 * LOOP_MILLISECOND;
    test_turns(loop, 2);
    completes(fd, IORING_CQE_F_MORE);
    test_turns(loop, 1);
    completes(-EPERM, 0);
    test_turns(loop, 2);
    ck_assert_uint_eq(accepts(), 1); /* at once again */
    ck_assert_uint_eq(told_count, count + 2);
}
END_TEST

/* ---- shortages */

static const int shortages[] = {-EMFILE, -ENFILE, -ENOBUFS, -ENOMEM};

/* Goal: a shortage is reported when it begins; the listener rests, and tries once in 100 ms, until a connection comes.
 * Method: each errno; i / 4: one by one, where each accept in flight fails. */
START_TEST(shortage)
{
    int      error = shortages[_i % 4];
    unsigned in_flight = start(_i / 4 == 1);
    int      fd = descriptor();

    for (int round = 0; round < 3; round++) {
        ck_assert_uint_eq(accepts(), in_flight);
        while (accepts() > 0)
            completes(error, 0);
        test_turns(loop, 2);
        ck_assert_uint_eq(told_count, 1);
        ck_assert_int_eq(told[0], error);
        script.now_ns += 99 * LOOP_MILLISECOND;
        test_turns(loop, 3);
        ck_assert_uint_eq(accepts(), 0);
        script.now_ns += LOOP_MILLISECOND;
        test_turns(loop, 2);
    }
    completes(fd, 0);
    test_turns(loop, 2);
    ck_assert_uint_eq(told_count, 2);
    ck_assert_uint_eq(accepts(), in_flight);
    completes(error, 0);
    test_turns(loop, 2);
    ck_assert_uint_eq(told_count, 3); /* a new one */
    ck_assert_int_eq(told[2], error);
}
END_TEST

/* Goal: one accept of several that fails does not stop what the others bring; that is one shortage, and one that comes
 * after the rest and a connection another. Method: one fails, the next brings a connection, which kernel 6.1 tells in
 * this order whichever was first, one more fails; after the rest all are in flight again. */
START_TEST(shortage_of_one)
{
    int fd = descriptor();

    start(true);
    completes(-EMFILE, 0);
    completes(fd, 0);
    completes(-EMFILE, 0);
    test_turns(loop, 2);
    ck_assert_uint_eq(told_count, 2);
    ck_assert_uint_eq(accepts(), SLOTS - 3);
    script.now_ns += 100 * LOOP_MILLISECOND;
    test_turns(loop, 2);
    ck_assert_uint_eq(accepts(), SLOTS);
    completes(descriptor(), 0);
    completes(-EMFILE, 0);
    test_turns(loop, 2);
    ck_assert_uint_eq(told_count, 4);
}
END_TEST

/* ---- errors that last */

/* Goal: an error that the next attempt would meet again is reported once, and the listener stands still until it is
 * resumed. Method: each errno; i / 4: one by one. */
START_TEST(lasting_errors)
{
    static const int errors[] = {-EBADF, -EINVAL, -ENOTSOCK, -EOPNOTSUPP};
    unsigned         in_flight = start(_i / 4 == 1);

    for (uint32_t round = 1; round <= 2; round++) {
        completes(errors[_i % 4], 0);
        if (in_flight > 1)
            completes(errors[_i % 4], 0);
        test_turns(loop, 3);
        ck_assert_uint_eq(told_count, round);
        ck_assert_int_eq(told[round - 1], errors[_i % 4]);
        script.now_ns += LOOP_SECOND;
        test_turns(loop, 3);
        ck_assert_uint_eq(accepts(), 0);
        must(loop_listener_resume(&listener));
        test_turns(loop, 2);
        ck_assert_uint_eq(accepts(), in_flight);
    }
}
END_TEST

/* ---- while paused */

/* Goal: after a pause nothing is told until the resume; a connection and an error that passes come then, in their
 * order; what the next attempt would say again is not told at all. Method: the cancel is not answered; i 1: closed
 * instead, which must close the connection. */
START_TEST(completions_while_paused)
{
    int                  fds[2] = {descriptor(), descriptor()};
    struct io_uring_sqe *accept;

    start(false);
    script.manual = true;
    must(loop_listener_pause(&listener));
    test_turns(loop, 1);
    completes(fds[0], IORING_CQE_F_MORE);
    completes(fds[1], IORING_CQE_F_MORE);
    accept = script_find(IORING_OP_ACCEPT, 0);
    script_complete(accept, -ECONNABORTED, 0);
    script_complete(script_find(IORING_OP_ASYNC_CANCEL, 0), -ENOENT, 0);
    test_turns(loop, 3);
    ck_assert_uint_eq(told_count, 0);
    ck_assert_uint_eq(accepts(), 0);
    script.manual = false;
    if (_i == 1) {
        loop_listener_close(&listener, close_cb);
        test_turns(loop, 2);
        ck_assert_uint_eq(closes, 1);
        ck_assert_int_eq(fcntl(fds[0], F_GETFD), -1);
        ck_assert_int_eq(fcntl(fds[1], F_GETFD), -1);
        ck_assert_uint_eq(told_count, 0);
        return;
    }
    must(loop_listener_resume(&listener));
    test_turns(loop, 2);
    ck_assert_uint_eq(told_count, 3);
    ck_assert_int_eq(told[0], fds[0]);
    ck_assert_int_eq(told[1], fds[1]);
    ck_assert_int_eq(told[2], -ECONNABORTED);
    ck_assert_uint_eq(accepts(), 1);
}
END_TEST

/* Goal: as above. Method: each error that would come again. */
START_TEST(errors_while_paused)
{
    static const int errors[] = {-EMFILE, -ENFILE, -ENOMEM, -EBADF, -EINVAL};

    for (size_t i = 0; i < TEST_COUNT(errors); i++) {
        if (i == 0)
            start(false);
        script.manual = true;
        must(loop_listener_pause(&listener));
        test_turns(loop, 1);
        completes(errors[i], 0);
        script_complete(script_find(IORING_OP_ASYNC_CANCEL, 0), -ENOENT, 0);
        script.manual = false;
        test_turns(loop, 2);
        script.now_ns += LOOP_SECOND;
        test_turns(loop, 2);
        ck_assert_uint_eq(accepts(), 0);
        must(loop_listener_resume(&listener));
        test_turns(loop, 2);
        ck_assert_uint_eq(told_count, 0);
        ck_assert_uint_eq(accepts(), 1);
    }
}
END_TEST

/* Goal: a resume before the cancel of the pause is through arms nothing twice. Method: the cancel is answered late. */
START_TEST(resumed_before_the_cancel)
{
    unsigned in_flight = start(_i == 1);

    script.manual = true;
    must(loop_listener_pause(&listener));
    must(loop_listener_resume(&listener));
    test_turns(loop, 2);
    ck_assert_uint_eq(accepts(), in_flight);
    while (script_count(IORING_OP_ASYNC_CANCEL) > 0) {
        script_complete(script_find(IORING_OP_ACCEPT, 0), -ECANCELED, 0);
        script_complete(script_find(IORING_OP_ASYNC_CANCEL, 0), 0, 0);
    }
    test_turns(loop, 2);
    ck_assert_uint_eq(accepts(), in_flight);
    script.manual = false;
    ck_assert_uint_eq(told_count, 0);
}
END_TEST

/* ---- limits and addresses */

/* Goal: with a limit no more accepts are in flight than there is room for. Method: a limit of 3; one comes; it ends. */
START_TEST(accepts_are_bounded)
{
    start(false);
    must(loop_listener_limit(&listener, 3));
    test_turns(loop, 3);
    ck_assert_uint_eq(accepts(), 3);
    completes(descriptor(), 0);
    test_turns(loop, 2);
    ck_assert_uint_eq(told_count, 1);
    ck_assert_uint_eq(accepts(), 2);
    must(loop_listener_limit(&listener, 1));
    test_turns(loop, 3);
    ck_assert_uint_eq(accepts(), 0);
    must(loop_listener_release(&listener));
    test_turns(loop, 2);
    ck_assert_uint_eq(accepts(), 1);
    must(loop_listener_limit(&listener, 100));
    test_turns(loop, 3);
    ck_assert_uint_eq(accepts(), SLOTS);
}
END_TEST

static bool is_multishot(void)
{
    return accepts() == 1 && (script_find(IORING_OP_ACCEPT, 0)->ioprio & IORING_ACCEPT_MULTISHOT) != 0;
}

/* Goal: far from the limit a multishot accepts; where one could take too much, one by one; and back when there is
 * clearly more room. Method: a backlog of 4 and a limit of 12: up to the limit, and down again. */
START_TEST(near_the_limit)
{
    struct loop_listener_options options = {.backlog = 4, .connections_max = 12};
    struct loop_address          address;

    must(loop_address_parse(&address, "127.0.0.1", 0));
    must(loop_listener_start(loop, &listener, &address, &options, accept_cb));
    test_turns(loop, 1);
    for (unsigned i = 1; i <= 8; i++) {
        ck_assert(is_multishot());
        completes(descriptor(), IORING_CQE_F_MORE);
        test_turns(loop, 3);
        ck_assert_uint_eq(told_count, i);
    }
    for (unsigned room = 4; room > 0; room--) {
        ck_assert(!is_multishot());
        ck_assert_uint_eq(accepts(), room);
        completes(descriptor(), 0);
        test_turns(loop, 3);
    }
    ck_assert_uint_eq(accepts(), 0);
    for (unsigned room = 1; room <= 8; room++) {
        must(loop_listener_release(&listener));
        test_turns(loop, 3);
        ck_assert_uint_ge(accepts(), 1);
        ck_assert(!is_multishot());
    }
    for (int i = 0; i < 2; i++)
        must(loop_listener_release(&listener));
    completes(descriptor(), 0); /* 9 are left */
    test_turns(loop, 4);
    ck_assert(is_multishot());
    ck_assert_uint_eq(told_count, 13);
}
END_TEST

/* Goal: the address belongs to its connection, though the next accept has been armed by then. Method: fills in what the
 * kernel would; two completions of one turn. */
START_TEST(addresses_that_came_along)
{
    char text[LOOP_ADDRESS_TEXT_MAX], expected[LOOP_ADDRESS_TEXT_MAX];

    start(true);
    for (unsigned i = 1; i <= 20; i++) {
        struct io_uring_sqe *sqe = script_find(IORING_OP_ACCEPT, 0);
        struct sockaddr_in   sin = {
              .sin_family = AF_INET, .sin_port = htons((uint16_t)i), .sin_addr.s_addr = htonl(INADDR_LOOPBACK + i)};

        ck_assert_uint_ge(*(socklen_t *)(uintptr_t)sqe->addr2, sizeof(sin));
        memcpy((void *)(uintptr_t)sqe->addr, &sin, sizeof(sin));
        *(socklen_t *)(uintptr_t)sqe->addr2 = sizeof(sin);
        script_complete(sqe, descriptor(), 0);
        if (i % 2 == 1)
            continue;
        test_turns(loop, 1);
        ck_assert_uint_eq(told_count, i);
        ck_assert_int_eq(peer_result, 0);
        ck_assert_int_gt(loop_address_format(&peer, text, sizeof(text)), 0);
        snprintf(expected, sizeof(expected), "127.0.0.%u:%u", i + 1, i);
        ck_assert_str_eq(text, expected);
        test_turns(loop, 1);
    }
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("sim/listener");
    TCase *tcase = test_case_without_ring(suite, "listener");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, passing_errors, 0, 2);
    tcase_add_test(tcase, errors_without_end);
    tcase_add_loop_test(tcase, shortage, 0, 8);
    tcase_add_test(tcase, shortage_of_one);
    tcase_add_loop_test(tcase, lasting_errors, 0, 8);
    tcase_add_loop_test(tcase, completions_while_paused, 0, 2);
    tcase_add_test(tcase, errors_while_paused);
    tcase_add_loop_test(tcase, resumed_before_the_cancel, 0, 2);
    tcase_add_test(tcase, accepts_are_bounded);
    tcase_add_test(tcase, near_the_limit);
    tcase_add_test(tcase, addresses_that_came_along);
    return suite;
}
