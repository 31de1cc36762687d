/* The fan-out bench on libuv: a uv_write() for each target, all with the same buffer. */
#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

#include "common/cli.h"
#include "fanout/fanout.h"

static uv_loop_t         *loop;
static uv_tcp_t          *targets;
static uv_write_t        *writes;
static struct fanout_job *current;
static uint64_t           rounds_left;
static uint32_t           pending;

static void start(void);

static void on_write(uv_write_t *write, int status)
{
    (void)write;
    if (status != 0)
        die("uv_write: %s", uv_strerror(status));
    if (--pending == 0 && --rounds_left > 0)
        start();
}

static void start(void)
{
    const uv_buf_t buffer = uv_buf_init(current->payload, current->size);

    pending = current->n;
    for (uint32_t i = 0; i < current->n; i++) {
        int result = uv_write(&writes[i], (uv_stream_t *)&targets[i], &buffer, 1, on_write);

        if (result != 0)
            die("uv_write: %s", uv_strerror(result));
    }
}

static void open_loop(struct fanout_job *job)
{
    loop = uv_default_loop();
    current = job;
    targets = calloc(job->n, sizeof(*targets));
    writes = calloc(job->n, sizeof(*writes));
    if (targets == NULL || writes == NULL)
        die("no memory");
    for (uint32_t i = 0; i < job->n; i++) {
        int fd = dup(job->fds[i]); /* it closes its own */

        if (fd < 0 || uv_tcp_init(loop, &targets[i]) != 0 || uv_tcp_open(&targets[i], fd) != 0)
            die("uv_tcp_open failed");
    }
}

static void run(struct fanout_job *job, uint64_t rounds)
{
    (void)job;
    rounds_left = rounds;
    start();
    uv_run(loop, UV_RUN_DEFAULT);
    if (rounds_left != 0 || pending != 0)
        die("uv_run left something");
}

static void close_loop(struct fanout_job *job)
{
    for (uint32_t i = 0; i < job->n; i++)
        uv_close((uv_handle_t *)&targets[i], NULL);
    uv_run(loop, UV_RUN_DEFAULT);
    free(targets);
    free(writes);
}

int main(int argc, char **argv)
{
    const struct fanout_library library = {.open = open_loop, .run = run, .close = close_loop};

    return fanout_main(argc, argv, &library);
}
