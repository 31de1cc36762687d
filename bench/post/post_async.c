/* The post bench on ringloop's handles for merged wake-ups: what uv_async_send() is. Not for floods. */
#include <ringloop.h>
#include <stdlib.h>

#include "common/cli.h"
#include "post/post.h"

static struct loop      *loops[2];
static struct loop_async asyncs[2];

static void on_wake(struct loop_async *async)
{
    if (post_woken())
        loop_async_close(async, NULL);
}

static void on_ping(struct loop_async *async)
{
    if (post_pinged((unsigned)(async - asyncs)))
        loop_async_close(async, NULL);
}

static void open_loop(enum post_mode mode, unsigned index)
{
    must(loop_create(&loops[index], NULL), "loop_create");
    must(loop_async_open(loops[index], &asyncs[index], NULL, mode == POST_WAKE ? on_wake : on_ping), "loop_async_open");
}

static void run(unsigned index)
{
    must(loop_run(loops[index], LOOP_RUN_DEFAULT), "loop_run");
}

static void sends(uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        loop_async_send(&asyncs[0]);
}

static void flood(uint64_t count)
{
    die("no flood of %llu: sends are merged", (unsigned long long)count);
}

static void ping(unsigned index)
{
    loop_async_send(&asyncs[index]);
}

int main(int argc, char **argv)
{
    const struct post_library library = {true, open_loop, run, sends, flood, ping};

    return post_main(argc, argv, &library);
}
