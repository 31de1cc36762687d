/* The timers bench on libev. */
#include <ev.h>
#include <stdlib.h>

#include "common/cli.h"
#include "timers/timers.h"

static struct ev_loop *loop;
static ev_timer       *timers;

static void on_timer(struct ev_loop *ev_loop, ev_timer *timer, int events)
{
    (void)ev_loop, (void)events;
    timers_fired((uint32_t)(timer - timers));
}

static void open_timers(uint32_t count)
{
    loop = ev_default_loop(EVBACKEND_EPOLL | EVFLAG_NOENV);
    timers = calloc(count, sizeof(*timers));
    if (loop == NULL || timers == NULL)
        die("no memory for %u timers", count);
    for (uint32_t i = 0; i < count; i++)
        ev_timer_init(&timers[i], on_timer, 0., 0.);
}

static void start_all(const uint32_t *delays_ms, uint32_t count)
{
    ev_now_update(loop);
    for (uint32_t i = 0; i < count; i++) {
        ev_timer_set(&timers[i], delays_ms[i] * 1e-3, 0.); /* stopping has changed it */
        ev_timer_start(loop, &timers[i]);
    }
}

static void stop_all(const uint32_t *order, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        ev_timer_stop(loop, &timers[order[i]]);
}

static uint32_t count_active(uint32_t count)
{
    uint32_t active = 0;

    for (uint32_t i = 0; i < count; i++)
        active += ev_is_active(&timers[i]) != 0;
    return active;
}

static void (*body)(void *arg);

static void on_body_timer(struct ev_loop *ev_loop, ev_timer *timer, int events)
{
    (void)ev_loop, (void)events;
    body(timer->data);
}

static void run(void (*inside)(void *arg), void *arg)
{
    ev_timer timer;

    ev_timer_init(&timer, on_body_timer, 0., 0.);
    timer.data = arg;
    body = inside;
    ev_timer_start(loop, &timer);
    ev_run(loop, 0);
}

int main(int argc, char **argv)
{
    const struct timers_library library = {open_timers, start_all, stop_all, count_active, run};

    return timers_main(argc, argv, &library);
}
