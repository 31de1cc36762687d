/* The timers bench on ringloop. */
#include <ringloop.h>
#include <stdlib.h>

#include "common/cli.h"
#include "timers/timers.h"

static struct loop       *loop;
static struct loop_timer *timers;

static void on_timer(struct loop_timer *timer)
{
    timers_fired((uint32_t)(timer - timers));
}

static void open_timers(uint32_t count)
{
    must(loop_create(&loop, NULL), "loop_create");
    timers = calloc(count, sizeof(*timers));
    if (timers == NULL)
        die("no memory for %u timers", count);
}

static void start_all(const uint32_t *delays_ms, uint32_t count)
{
    loop_update_time(loop);
    for (uint32_t i = 0; i < count; i++)
        loop_timer_start(loop, &timers[i], delays_ms[i] * LOOP_MILLISECOND, 0, on_timer);
}

static void stop_all(const uint32_t *order, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        loop_timer_stop(&timers[order[i]]);
}

static uint32_t count_active(uint32_t count)
{
    uint32_t active = 0;

    for (uint32_t i = 0; i < count; i++)
        active += loop_timer_active(&timers[i]);
    return active;
}

static void (*body)(void *arg);

static void on_body_timer(struct loop_timer *timer)
{
    body(timer->data);
}

static void run(void (*inside)(void *arg), void *arg)
{
    struct loop_timer timer = {.data = arg};

    body = inside;
    loop_timer_start(loop, &timer, 0, 0, on_body_timer);
    must(loop_run(loop, LOOP_RUN_DEFAULT), "loop_run");
}

int main(int argc, char **argv)
{
    const struct timers_library library = {open_timers, start_all, stop_all, count_active, run};

    return timers_main(argc, argv, &library);
}
