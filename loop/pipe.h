/* loop/pipe.h: pipes through which splice(2) moves bytes between sockets without copying them. Empty ones are kept for
 * the next. */
#ifndef RINGLOOP_LOOP_PIPE_H
#define RINGLOOP_LOOP_PIPE_H

#include <stdbool.h>
#include <stdint.h>

struct loop;

enum { PIPES_KEPT = 8 };

struct pipe {
    int fds[2]; /* to read from, to write to; both non-blocking */
};

struct pipes {
    struct pipe kept[PIPES_KEPT];
    uint32_t    count;
};

/* As large as the system lets it be: 1 MiB, or what is left of the user's share. 0, or a negative errno. */
int pipe_take(struct loop *loop, struct pipe *ret_pipe);

/* Gives it back; empty: it may be used again. */
void pipe_give(struct loop *loop, struct pipe *pipe, bool empty);

void pipes_destroy(struct loop *loop);

#endif
