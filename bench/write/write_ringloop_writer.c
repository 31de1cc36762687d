/* File writes through ringloop's merging writer: the callback of a write starts the writer's next. */
#include <ringloop.h>

#include "write/workers.h"
#include "write/write.h"

static struct loop       *loop;
static struct loop_writer merging;

static void open_loop(struct write_bench *bench)
{
    struct loop_writer_options options = {.flags = LOOP_WRITER_KEEP_FD | LOOP_WRITER_UNREF,
                                          .deadline_ns = bench->deadline_ns};

    workers_pin();
    must(loop_create(&loop, NULL), "loop_create");
    must(loop_writer_open(loop, &merging, bench->fd, &options), "loop_writer_open");
}

static void start(struct writer *writer);

static void on_write(struct loop_writer *by, int error, size_t bytes, void *arg)
{
    (void)by;
    writer_done(arg, error < 0 ? error : (int)bytes);
    start(arg);
}

static void start(struct writer *writer)
{
    if (writer_next(writer))
        must(loop_writer_write(&merging, writer->buffer, writer->bench->size, (int64_t)writer->offset, on_write, writer,
                               NULL),
             "loop_writer_write");
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
