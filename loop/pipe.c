/* loop/pipe.c: pipes for splicing, kept while a few of them are not in use. */
#include "loop/loop_private.h"

/* A pipe has 16 slots of 4 KiB at first, which as many small packets fill. Beyond fs.pipe-user-pages-soft only
 * privileged users get more. */
static const int sizes[] = {1 << 20, 1 << 18};

int pipe_take(struct loop *loop, struct pipe *ret_pipe)
{
    struct pipe pipe;
    int         r;

    if (loop->pipes.count > 0) {
        *ret_pipe = loop->pipes.kept[--loop->pipes.count];
        return 0;
    }
    r = sys_pipe(pipe.fds);
    if (r < 0)
        return r;
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++)
        if (sys_pipe_size_set(pipe.fds[0], sizes[i]) >= 0)
            break;
    *ret_pipe = pipe;
    return 0;
}

void pipe_give(struct loop *loop, struct pipe *pipe, bool empty)
{
    if (empty && loop->pipes.count < PIPES_KEPT) {
        loop->pipes.kept[loop->pipes.count++] = *pipe;
        return;
    }
    sys_close(pipe->fds[0]);
    sys_close(pipe->fds[1]);
}

void pipes_destroy(struct loop *loop)
{
    while (loop->pipes.count > 0)
        pipe_give(loop, &loop->pipes.kept[--loop->pipes.count], false);
}
