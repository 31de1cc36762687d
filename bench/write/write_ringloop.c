/* File writes on ringloop: the callback of a write starts the writer's next. */
#include <ringloop.h>

#include "write/workers.h"
#include "write/write.h"

static struct loop *loop;

static void open_loop(struct write_bench *bench)
{
    struct loop_options options = {.submit.deadline_ns = bench->deadline_ns};

    workers_pin();
    must(loop_create(&loop, &options), "loop_create");
}

static void start(struct writer *writer);

static void on_write(struct loop *on_loop, const struct loop_result *result, void *arg)
{
    (void)on_loop;
    writer_done(arg, result->res);
    start(arg);
}

static void start(struct writer *writer)
{
    if (writer_next(writer))
        must(loop_write(loop, writer->bench->fd, writer->buffer, writer->bench->size, (int64_t)writer->offset, on_write,
                        writer, NULL),
             "loop_write");
}

static void run(struct write_bench *bench)
{
    for (uint32_t i = 0; i < bench->writers; i++)
        start(&bench->writer[i]);
    must(loop_run(loop, LOOP_RUN_DEFAULT), "loop_run");
}

static void close_loop(void)
{
    must(loop_destroy(loop), "loop_destroy");
}

int main(int argc, char **argv)
{
    const struct write_contender contender = {.has_deadline = true, .open = open_loop, .run = run, .close = close_loop};

    return write_main(argc, argv, &contender);
}
