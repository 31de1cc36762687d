/* tests/net/couple.c: a connection whose two ends are both streams of the loop. */
#include "tests/net/couple.h"

void couple_open(struct loop *loop, struct couple *couple, int kind, uint32_t number)
{
    int fds[2];

    net_pair(kind, fds);
    *couple = (struct couple){
        .a = {.write_flow = 2 * number, .read_flow = 2 * number + 1},
        .b = {.write_flow = 2 * number + 1, .read_flow = 2 * number},
    };
    end_open(loop, &couple->a, fds[0], NULL);
    end_open(loop, &couple->b, fds[1], NULL);
}

void couple_close(struct loop *loop, struct couple *couple)
{
    struct end *ends[] = {&couple->a, &couple->b};

    for (size_t i = 0; i < TEST_COUNT(ends); i++)
        if (ends[i]->closes == 0 && !loop_stream_closing(&ends[i]->stream))
            end_close(ends[i]);
    for (size_t i = 0; i < TEST_COUNT(ends); i++)
        run_until(loop, ends[i]->closes == 1);
}
