/* The post bench on ringloop's loop_post(). */
#include <errno.h>
#include <ringloop.h>
#include <sched.h>
#include <stdlib.h>

#include "common/cli.h"
#include "post/post.h"

static struct loop *loops[2];

static void on_wake(struct loop *loop, void *arg)
{
    (void)arg;
    if (post_woken())
        loop_stop(loop);
}

static void on_number(struct loop *loop, void *arg)
{
    if (post_came((uint64_t)(uintptr_t)arg))
        loop_stop(loop);
}

static void on_ping(struct loop *loop, void *arg)
{
    if (post_pinged((unsigned)(uintptr_t)arg))
        loop_stop(loop);
}

static void open_loop(enum post_mode mode, unsigned index)
{
    (void)mode;
    must(loop_create(&loops[index], NULL), "loop_create");
}

static void run(unsigned index)
{
    struct loop_async alive = {0}; /* posts keep the loop alive only while they wait */

    must(loop_async_open(loops[index], &alive, NULL, NULL), "loop_async_open");
    must(loop_run(loops[index], LOOP_RUN_DEFAULT), "loop_run");
}

static void send_one(unsigned index, loop_post_cb *cb, uintptr_t number)
{
    int result;

    while ((result = loop_post(loops[index], cb, (void *)number)) == -ENOBUFS)
        sched_yield();
    must(result, "loop_post");
}

static void sends(uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        send_one(0, on_wake, 0);
}

static void flood(uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        send_one(0, on_number, i);
}

static void ping(unsigned index)
{
    send_one(index, on_ping, index);
}

int main(int argc, char **argv)
{
    const struct post_library library = {false, open_loop, run, sends, flood, ping};

    return post_main(argc, argv, &library);
}
