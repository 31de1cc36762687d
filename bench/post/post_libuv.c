/* The post bench on libuv. */
#include <sched.h>
#include <stdlib.h>
#include <uv.h>

#include "common/cli.h"
#include "post/post.h"
#include "post/queue.h"

static uv_loop_t    loops[2];
static uv_async_t   asyncs[2];
static struct queue queue = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void stop(uv_async_t *async)
{
    uv_close((uv_handle_t *)async, NULL);
}

static void on_wake(uv_async_t *async)
{
    if (post_woken())
        stop(async);
}

static bool came(uint64_t number)
{
    return post_came(number);
}

static void on_flood(uv_async_t *async)
{
    if (queue_run(&queue, came))
        stop(async);
}

static void on_ping(uv_async_t *async)
{
    if (post_pinged((unsigned)(async - asyncs)))
        stop(async);
}

static void open_loop(enum post_mode mode, unsigned index)
{
    uv_async_cb cb = mode == POST_WAKE ? on_wake : mode == POST_FLOOD ? on_flood : on_ping;

    if (uv_loop_init(&loops[index]) != 0 || uv_async_init(&loops[index], &asyncs[index], cb) != 0)
        die("uv_loop_init failed");
}

static void run(unsigned index)
{
    uv_run(&loops[index], UV_RUN_DEFAULT);
}

static void sends(uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        uv_async_send(&asyncs[0]);
}

static void flood(uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        while (!queue_push(&queue, i))
            sched_yield();
        uv_async_send(&asyncs[0]);
    }
}

static void ping(unsigned index)
{
    uv_async_send(&asyncs[index]);
}

int main(int argc, char **argv)
{
    const struct post_library library = {true, open_loop, run, sends, flood, ping};

    return post_main(argc, argv, &library);
}
