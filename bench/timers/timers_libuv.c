/* The timers bench on libuv. */
#include <stdlib.h>
#include <uv.h>

#include "common/cli.h"
#include "timers/timers.h"

static uv_loop_t  *loop;
static uv_timer_t *timers;

static void on_timer(uv_timer_t *timer)
{
    timers_fired((uint32_t)(timer - timers));
}

static void open_timers(uint32_t count)
{
    loop = uv_default_loop();
    timers = calloc(count, sizeof(*timers));
    if (timers == NULL)
        die("no memory for %u timers", count);
    for (uint32_t i = 0; i < count; i++) {
        if (uv_timer_init(loop, &timers[i]) != 0)
            die("uv_timer_init failed");
    }
}

static void start_all(const uint32_t *delays_ms, uint32_t count)
{
    uv_update_time(loop);
    for (uint32_t i = 0; i < count; i++)
        uv_timer_start(&timers[i], on_timer, delays_ms[i], 0);
}

static void stop_all(const uint32_t *order, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        uv_timer_stop(&timers[order[i]]);
}

static uint32_t count_active(uint32_t count)
{
    uint32_t active = 0;

    for (uint32_t i = 0; i < count; i++)
        active += uv_is_active((const uv_handle_t *)&timers[i]) != 0;
    return active;
}

static void (*body)(void *arg);

static void on_body_timer(uv_timer_t *timer)
{
    body(timer->data);
}

static void run(void (*inside)(void *arg), void *arg)
{
    static uv_timer_t timer;

    if (timer.loop == NULL && uv_timer_init(loop, &timer) != 0)
        die("uv_timer_init failed");
    timer.data = arg;
    body = inside;
    uv_timer_start(&timer, on_body_timer, 0, 0);
    uv_run(loop, UV_RUN_DEFAULT);
}

int main(int argc, char **argv)
{
    const struct timers_library library = {open_timers, start_all, stop_all, count_active, run};

    return timers_main(argc, argv, &library);
}
