/* The post bench on libev. */
#include <ev.h>
#include <sched.h>
#include <stdlib.h>

#include "common/cli.h"
#include "post/post.h"
#include "post/queue.h"

static struct ev_loop *loops[2];
static ev_async        asyncs[2];
static struct queue    queue = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void on_wake(struct ev_loop *loop, ev_async *async, int events)
{
    (void)async, (void)events;
    if (post_woken())
        ev_break(loop, EVBREAK_ALL);
}

static bool came(uint64_t number)
{
    return post_came(number);
}

static void on_flood(struct ev_loop *loop, ev_async *async, int events)
{
    (void)async, (void)events;
    if (queue_run(&queue, came))
        ev_break(loop, EVBREAK_ALL);
}

static void on_ping(struct ev_loop *loop, ev_async *async, int events)
{
    (void)events;
    if (post_pinged((unsigned)(async - asyncs)))
        ev_break(loop, EVBREAK_ALL);
}

static void open_loop(enum post_mode mode, unsigned index)
{
    loops[index] = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
    if (loops[index] == NULL)
        die("ev_loop_new failed");
    ev_async_init(&asyncs[index], mode == POST_WAKE ? on_wake : mode == POST_FLOOD ? on_flood : on_ping);
    ev_async_start(loops[index], &asyncs[index]);
}

static void run(unsigned index)
{
    ev_run(loops[index], 0);
}

static void sends(uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        ev_async_send(loops[0], &asyncs[0]);
}

static void flood(uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        while (!queue_push(&queue, i))
            sched_yield();
        ev_async_send(loops[0], &asyncs[0]);
    }
}

static void ping(unsigned index)
{
    ev_async_send(loops[index], &asyncs[index]);
}

int main(int argc, char **argv)
{
    const struct post_library library = {true, open_loop, run, sends, flood, ping};

    return post_main(argc, argv, &library);
}
