/* Splicing. A pipe holds as many pieces as it has pages, however small they are: 64 of them are enough for what a
 * socket gives at once, and a quarter of the largest that anybody may have. */
#include "proxy/move.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "common/cli.h"

enum {
    PIPE_BYTES = 256 << 10,
    POOL_MAX = 256,
    ENOUGH = 4 << 20, /* bytes in a row, before it is the others' turn */
};

static int pool[POOL_MAX][2];
static int pool_count;

static void pipe_take(struct move *move)
{
    if (pool_count != 0) {
        pool_count--;
        move->pipe[0] = pool[pool_count][0];
        move->pipe[1] = pool[pool_count][1];
        return;
    }
    if (pipe2(move->pipe, O_NONBLOCK | O_CLOEXEC) != 0)
        die_errno(errno, "pipe");
    (void)fcntl(move->pipe[0], F_SETPIPE_SZ, PIPE_BYTES); /* refused, it is a smaller pipe */
}

void move_end(struct move *move)
{
    if (move->pipe[1] == 0) /* never a pipe's second end */
        return;
    if (move->piped == 0 && pool_count < POOL_MAX) {
        pool[pool_count][0] = move->pipe[0];
        pool[pool_count][1] = move->pipe[1];
        pool_count++;
    } else {
        close(move->pipe[0]);
        close(move->pipe[1]);
    }
    move->pipe[0] = move->pipe[1] = 0;
    move->piped = 0;
}

/* MOVE_ENOUGH: the pipe is empty. */
static enum move_result pipe_empty(struct move *move, int to)
{
    while (move->piped != 0) {
        ssize_t bytes = splice(move->pipe[0], NULL, to, NULL, move->piped, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);

        if (bytes <= 0)
            return bytes < 0 && errno == EAGAIN ? MOVE_TARGET_FULL : MOVE_BROKEN;
        move->piped -= (uint64_t)bytes;
        move->moved += (uint64_t)bytes;
    }
    return MOVE_ENOUGH;
}

enum move_result move_bytes(struct move *move, int from, int to)
{
    uint64_t         start = move->moved;
    enum move_result result = MOVE_ENOUGH;

    if (move->pipe[1] == 0)
        pipe_take(move);
    for (;;) {
        ssize_t bytes;

        result = pipe_empty(move, to);
        if (result != MOVE_ENOUGH || move->moved - start >= ENOUGH)
            break;
        bytes = splice(from, NULL, move->pipe[1], NULL, PIPE_BYTES, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
        if (bytes <= 0) {
            result = bytes == 0 ? MOVE_ENDED : errno == EAGAIN ? MOVE_SOURCE_EMPTY : MOVE_BROKEN;
            break;
        }
        move->piped = (uint64_t)bytes;
    }
    if (result != MOVE_TARGET_FULL)
        move_end(move);
    return result;
}
