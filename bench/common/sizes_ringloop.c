/* Bytes of ringloop's structures, and of the context an operation holds while it is in flight. */
#include <ringloop.h>
#include <stdio.h>

#include "common/cli.h"

enum { OPS = 16384 };

/* Measured, since the context is private: the pool's growth over many operations. */
static double context_bytes(void)
{
    struct loop_stats before, after;
    struct loop      *loop;

    must(loop_create(&loop, NULL), "loop_create");
    loop_stats_get(loop, &before);
    for (int i = 0; i < OPS; i++) {
        if (loop_nop(loop, NULL, NULL, NULL) < 0)
            die("loop_nop failed");
    }
    loop_stats_get(loop, &after);
    must(loop_destroy(loop), "loop_destroy");
    return (double)(after.context_bytes - before.context_bytes) / OPS;
}

int main(void)
{
    printf("{\"loop_timer\": %zu, \"loop_stream\": %zu, \"loop_listener\": %zu, \"operation_context\": %.1f}\n",
           sizeof(struct loop_timer), sizeof(struct loop_stream), sizeof(struct loop_listener), context_bytes());
    return 0;
}
