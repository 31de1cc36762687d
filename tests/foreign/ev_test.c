/* tests/foreign/ev_test.c: ringloop inside libev. */
#include "tests/foreign/visitors.h"

#include <ringloop/adapter/ev.h>

static struct ev_loop *ev_new(void)
{
    struct ev_loop *ev = ev_loop_new(EVBACKEND_EPOLL);

    ck_assert_ptr_nonnull(ev);
    return ev;
}

static void count_ev(struct ev_loop *ev, ev_timer *timer, int events)
{
    (void)ev, (void)events;
    ++*(uint32_t *)timer->data;
}

/* Goal: a server on ringloop serves inside ev_run(), beside a timer of libev's, and ev_run() returns when both have
 * nothing left. */
START_TEST(echo_inside)
{
    struct ev_loop   *ev = ev_new();
    struct loop      *loop = test_loop_new(NULL);
    struct loop_in_ev bridge = {0};
    struct visitors   visitors;
    struct echo       echo;
    uint32_t          ticks = 0;
    ev_timer          timer;

    ev_timer_init(&timer, count_ev, 0.02, 0.);
    timer.data = &ticks;
    ev_timer_start(ev, &timer);
    ck_assert_int_eq(loop_in_ev_start(&bridge, loop, ev), 0);
    visitors_start(&visitors, echo_start(&echo, loop));
    ck_assert(!ev_run(ev, 0));
    visitors_join(&visitors);
    ck_assert_uint_eq(ticks, 1);
    ck_assert_uint_eq(echo.closed, VISITORS);
    ck_assert_uint_eq(echo.bytes, (uint64_t)VISITORS * VISITOR_ROUNDS * VISITOR_BYTES);
    loop_in_ev_stop(&bridge);
    test_loop_free(loop);
    ev_loop_destroy(ev);
}
END_TEST

/* Goal: ringloop's timers fire while nothing else happens, and the references of libev are right: ev_run() returns each
 * time. Method: runs with timers of 0 and some ms, started inside and outside. */
START_TEST(timers_inside)
{
    struct ev_loop   *ev = ev_new();
    struct loop      *loop = test_loop_new(NULL);
    struct loop_in_ev bridge = {0};
    struct loop_timer timer = {0}, unref = {0};
    uint32_t          fired = 0;

    timer.data = &fired;
    unref.data = &fired;
    ck_assert_int_eq(loop_in_ev_start(&bridge, loop, ev), 0);
    ck_assert(!ev_run(ev, 0));
    for (uint32_t i = 0; i < 5; i++) {
        ck_assert_int_eq(loop_timer_start(loop, &timer, i * 3 * LOOP_MILLISECOND, 0, test_count_timer), 0);
        loop_in_ev_update(&bridge);
        ck_assert(!ev_run(ev, 0));
        ck_assert_uint_eq(fired, i + 1);
    }
    loop_timer_unref(&unref);
    ck_assert_int_eq(loop_timer_start(loop, &unref, 3600 * LOOP_SECOND, 0, test_count_timer), 0);
    loop_in_ev_update(&bridge);
    ck_assert(!ev_run(ev, 0)); /* nothing with a ref */
    loop_timer_stop(&unref);
    loop_in_ev_stop(&bridge);
    ck_assert(!ev_run(ev, 0));
    test_loop_free(loop);
    ev_loop_destroy(ev);
}
END_TEST

/* Goal: a post from a thread wakes ev_run() out of its sleep, and stops it from there. */
struct poster {
    struct loop       *loop;
    struct loop_in_ev  bridge;
    struct loop_timer *loop_timer;
};

static void part(struct loop *loop, void *arg)
{
    struct poster *poster = arg;

    (void)loop;
    loop_in_ev_stop(&poster->bridge);
}

static void *post_later(void *arg)
{
    struct poster *poster = arg;

    test_sleep(20 * LOOP_MILLISECOND);
    ck_assert_int_eq(loop_post(poster->loop, part, poster), 0);
    return NULL;
}

START_TEST(post_inside)
{
    struct ev_loop   *ev = ev_new();
    struct poster     poster = {.loop = test_loop_new(NULL)};
    struct loop_timer far = {0};
    pthread_t         thread;

    ck_assert_int_eq(loop_timer_start(poster.loop, &far, 3600 * LOOP_SECOND, 0, test_count_timer), 0);
    ck_assert_int_eq(loop_in_ev_start(&poster.bridge, poster.loop, ev), 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, post_later, &poster), 0);
    ck_assert(!ev_run(ev, 0));
    pthread_join(thread, NULL);
    loop_timer_stop(&far);
    test_loop_free(poster.loop);
    ev_loop_destroy(ev);
}
END_TEST

/* Goal: an idle hook makes ev_run() go round without waiting. */
static void count_down(struct loop_hook *hook)
{
    if (--*(uint32_t *)hook->data == 0)
        loop_hook_stop(hook);
}

START_TEST(idle_inside)
{
    struct ev_loop   *ev = ev_new();
    struct loop      *loop = test_loop_new(NULL);
    struct loop_in_ev bridge = {0};
    uint32_t          left = 100;
    struct loop_hook  idle = {.data = &left};

    ck_assert_int_eq(loop_in_ev_start(&bridge, loop, ev), 0);
    ck_assert_int_eq(loop_hook_start(loop, &idle, LOOP_HOOK_IDLE, count_down), 0);
    ck_assert(!ev_run(ev, 0));
    ck_assert_uint_eq(left, 0);
    loop_in_ev_stop(&bridge);
    test_loop_free(loop);
    ev_loop_destroy(ev);
}
END_TEST

/* Goal: after the stop nothing of the bridge is touched any more, also where it had fired in the same turn of libev's,
 * and libev's references are right. Method: both timers are due, libev calls the one that parts and destroys first; a
 * third keeps it running. */
static void end_all(struct ev_loop *ev, ev_timer *timer, int events)
{
    struct poster *poster = timer->data;

    (void)ev;
    (void)events;
    loop_in_ev_stop(&poster->bridge);
    loop_timer_stop(poster->loop_timer);
    test_loop_free(poster->loop);
    memset(poster, 0xa5, sizeof(*poster));
}

static void count_libevs(struct ev_loop *ev, ev_timer *timer, int events)
{
    (void)ev;
    (void)events;
    ++*(uint32_t *)timer->data;
}

START_TEST(stopped_when_fired)
{
    struct ev_loop   *ev = ev_new();
    struct poster     poster = {.loop = test_loop_new(NULL)};
    uint32_t          fired = 0;
    struct loop_timer due = {.data = &fired};
    ev_timer          ender, later;

    poster.loop_timer = &due;
    ck_assert_int_eq(loop_timer_start(poster.loop, &due, 0, 0, test_count_timer), 0);
    ck_assert_int_eq(loop_in_ev_start(&poster.bridge, poster.loop, ev), 0);
    ev_timer_init(&ender, end_all, 0., 0.);
    ev_set_priority(&ender, EV_MAXPRI);
    ender.data = &poster;
    ev_timer_start(ev, &ender);
    ev_timer_init(&later, count_libevs, 0.05, 0.);
    later.data = &fired;
    ev_timer_start(ev, &later);
    ck_assert(!ev_run(ev, 0));
    ck_assert_uint_eq(fired, 1);
    ev_loop_destroy(ev);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("ev");
    TCase *tcase = test_case(suite, "inside");

    tcase_add_test(tcase, echo_inside);
    tcase_add_test(tcase, timers_inside);
    tcase_add_test(tcase, post_inside);
    tcase_add_test(tcase, idle_inside);
    tcase_add_test(tcase, stopped_when_fired);
    return suite;
}
