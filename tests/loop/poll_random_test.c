/* tests/loop/poll_random_test.c: poll handles against epoll itself. Random operations on sockets, pipes and counters;
 * the same descriptors are watched by a handle each and by an epoll, and after every step one turn of the loop and one
 * epoll_wait(2) must have seen the same. TEST_SEED says where to begin. */
#include "tests/support/test.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

enum { PLACES = 24, STEPS = 4000 };

struct place {
    struct loop_poll poll;
    int              fd, peer; /* peer < 0: none, or closed */
    uint32_t         wanted;
    bool             watched; /* by the handle and by the epoll */
    bool             lost;    /* the handle is started, its descriptor closed */
    int              events;  /* of this turn */
};

struct model {
    struct loop *loop;
    int          epoll;
    uint64_t     random;
    uint64_t     seen, lost_told;
    struct place places[PLACES];
};

static struct model model;

static uint32_t below(uint32_t bound)
{
    return (uint32_t)(test_random(&model.random) % bound);
}

static void told(struct loop_poll *poll, int events)
{
    struct place *place = poll->data;

    ck_assert_int_eq(place->events, 0); /* once a turn */
    place->events = events;
    if (events < 0) {
        ck_assert_int_eq(events, -EBADF);
        ck_assert(place->lost);
        place->lost = false;
        place->events = 0;
        model.lost_told++;
    }
}

static uint32_t some_events(void)
{
    static const uint32_t events[] = {POLLIN, POLLOUT, POLLPRI, POLLRDHUP, POLLRDNORM, POLLWRNORM};
    uint32_t              wanted = 0;

    for (size_t i = 0; i < TEST_COUNT(events); i++)
        wanted |= below(2) != 0 ? events[i] : 0;
    return wanted;
}

static void open_place(struct place *place)
{
    int fds[2];

    switch (below(4)) {
    case 0: ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0); break;
    case 1: ck_assert_int_eq(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0); break;
    case 2:
        ck_assert_int_eq(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
        place->fd = fds[1];
        place->peer = fds[0];
        return;
    default: fds[0] = eventfd(below(2), EFD_CLOEXEC | EFD_NONBLOCK); fds[1] = -1;
    }
    place->fd = fds[0];
    place->peer = fds[1];
}

static void watch(struct place *place)
{
    struct epoll_event event = {.events = place->wanted = some_events(), .data.ptr = place};

    place->poll.data = place;
    ck_assert_int_eq(loop_poll_start(model.loop, &place->poll, place->fd, place->wanted, told), 0);
    ck_assert_int_eq(epoll_ctl(model.epoll, EPOLL_CTL_ADD, place->fd, &event), 0);
    place->watched = true;
}

static void change(struct place *place)
{
    struct epoll_event event = {.events = place->wanted = some_events(), .data.ptr = place};

    ck_assert_int_eq(loop_poll_change(&place->poll, place->wanted), 0);
    ck_assert_int_eq(epoll_ctl(model.epoll, EPOLL_CTL_MOD, place->fd, &event), 0);
}

static void unwatch(struct place *place)
{
    loop_poll_stop(&place->poll);
    ck_assert_int_eq(epoll_ctl(model.epoll, EPOLL_CTL_DEL, place->fd, NULL), 0);
    place->watched = false;
}

static void close_peer(struct place *place)
{
    if (place->peer >= 0)
        test_close(place->peer);
    place->peer = -1;
}

/* With its handle stopped before, or not. */
static void close_place(struct place *place, bool lost)
{
    if (place->watched && !lost)
        unwatch(place);
    place->lost = place->watched;
    place->watched = false;
    test_close(place->fd);
    close_peer(place);
    place->fd = -1;
}

/* A number that is open elsewhere by now may be watched there: the stop must not touch that. */
static void stop_lost(struct place *place)
{
    loop_poll_stop(&place->poll);
    place->lost = false;
}

static void transfer(int fd, bool write_it)
{
    char bytes[20000] = {1, 0};

    if (fd < 0)
        return;
    if (write_it)
        (void)!write(fd, bytes, below(2) == 0 ? 8 : sizeof(bytes));
    else
        (void)!read(fd, bytes, below(2) == 0 ? 8 : sizeof(bytes));
}

static void step(struct place *place)
{
    uint32_t what = below(16);

    if (place->lost) {
        if (what < 4)
            stop_lost(place);
        return;
    }
    if (place->fd < 0) {
        open_place(place);
        return;
    }
    switch (what) {
    case 0:
    case 1:
    case 2:
        if (place->watched)
            change(place);
        else
            watch(place);
        return;
    case 3:
        if (place->watched)
            unwatch(place);
        return;
    case 4: close_peer(place); return;
    case 5: close_place(place, below(2) == 0); return;
    case 6: (void)shutdown(below(2) == 0 ? place->fd : place->peer, below(2) == 0 ? SHUT_WR : SHUT_RD); return;
    default: transfer(what % 2 == 0 ? place->fd : place->peer, what % 4 < 2); return;
    }
}

static void compare(uint32_t step_number)
{
    struct epoll_event events[PLACES];
    int                count, expected[PLACES] = {0};

    for (int i = 0; i < PLACES; i++)
        model.places[i].events = 0;
    test_turns(model.loop, 1);
    count = epoll_wait(model.epoll, events, PLACES, 0);
    ck_assert_int_ge(count, 0);
    for (int i = 0; i < count; i++)
        expected[(struct place *)events[i].data.ptr - model.places] = (int)events[i].events;
    for (int i = 0; i < PLACES; i++)
        ck_assert_msg(model.places[i].events == expected[i], "step %u: %d told, %d by epoll, wanted %d", step_number,
                      model.places[i].events, expected[i], model.places[i].wanted);
    model.seen += (uint64_t)count;
}

static void run(uint64_t seed)
{
    signal(SIGPIPE, SIG_IGN);
    model = (struct model){.loop = test_loop_new(NULL), .epoll = epoll_create1(EPOLL_CLOEXEC), .random = seed};
    for (int i = 0; i < PLACES; i++)
        model.places[i].fd = model.places[i].peer = -1;
    for (uint32_t i = 0; i < STEPS; i++) {
        for (uint32_t more = below(4) + 1; more > 0; more--)
            step(&model.places[below(PLACES)]);
        compare(i);
    }
    ck_assert_uint_gt(model.seen, STEPS); /* or nothing was compared */
    ck_assert_uint_gt(model.lost_told, 0);
    for (int i = 0; i < PLACES; i++) {
        if (model.places[i].lost)
            stop_lost(&model.places[i]);
        if (model.places[i].fd >= 0)
            close_place(&model.places[i], false);
    }
    test_loop_free(model.loop);
    test_close(model.epoll);
}

/* Goal: each turn tells what epoll tells: no more, no less, in the same words. */
START_TEST(as_epoll_does)
{
    uint64_t seed = test_env("TEST_SEED", (uint64_t)_i + 1);

    printf("seed %" PRIu64 "\n", seed);
    run(seed);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("poll_random");
    TCase *random = test_case(suite, "random");

    tcase_add_loop_test(random, as_epoll_does, 0, 5);
    return suite;
}
