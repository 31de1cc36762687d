/* The fan-out bench on ringloop. */
#include <ringloop.h>

#include "common/cli.h"
#include "fanout/fanout.h"

static struct loop       *loop;
static struct loop_fanout fanout;
static uint64_t           rounds_left;

static void start(struct fanout_job *job);

static void done(struct loop_fanout *f, const struct loop_fanout_result *result)
{
    struct fanout_job *job = f->data;

    if (result->failed > 0)
        die_errno(-result->error, "fan-out");
    job->copied += result->copied;
    if (--rounds_left > 0)
        start(job);
}

static void start(struct fanout_job *job)
{
    const struct loop_fanout_options options = {.mode = job->zero_copy ? LOOP_FANOUT_ZERO_COPY : LOOP_FANOUT_COPY};

    must(loop_fanout_send(loop, &fanout, job->fds, job->n, job->payload, job->size, &options, done),
         "loop_fanout_send");
}

static void open_loop(struct fanout_job *job)
{
    must(loop_create(&loop, NULL), "loop_create");
    fanout.data = job;
}

static void run(struct fanout_job *job, uint64_t rounds)
{
    rounds_left = rounds;
    start(job);
    if (loop_run(loop, LOOP_RUN_DEFAULT) != 0)
        die("loop_run left something");
}

static void close_loop(struct fanout_job *job)
{
    (void)job;
    if (loop_destroy(loop) != 0)
        die("loop_destroy failed");
}

int main(int argc, char **argv)
{
    const struct fanout_library library = {.has_zero_copy = true, .open = open_loop, .run = run, .close = close_loop};

    return fanout_main(argc, argv, &library);
}
