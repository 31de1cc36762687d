/* File reads on ringloop: the callback of a read starts the reader's next. With --fixed by a registered file, into
 * registered buffers. */
#include <ringloop.h>

#include "file/file.h"

static struct loop *loop;
static int          fd;
static int          indexes[FILE_DEPTH_MAX]; /* of the registered buffers */

static void register_all(struct file_bench *bench)
{
    const struct loop_fixed_buffers_options options = {.count = bench->depth, .size = FILE_BLOCK};
    int                                     result = loop_files_init(loop, NULL);

    if (result < 0)
        die_errno(-result, "loop_files_init");
    fd = loop_file_register(loop, bench->fd);
    if (fd < 0)
        die_errno(-fd, "loop_file_register");
    result = loop_fixed_buffers_init(loop, &options);
    if (result < 0)
        die_errno(-result, "loop_fixed_buffers_init");
    for (uint32_t i = 0; i < bench->depth; i++) {
        void *data;

        indexes[i] = loop_fixed_buffer_borrow(loop, &data);
        if (indexes[i] < 0)
            die_errno(-indexes[i], "loop_fixed_buffer_borrow");
        bench->reader[i].buffer = data;
    }
}

static void open_loop(struct file_bench *bench)
{
    int result = loop_create(&loop, NULL);

    if (result < 0)
        die_errno(-result, "loop_create");
    fd = bench->fd;
    if (bench->fixed)
        register_all(bench);
}

static void start(struct reader *reader);

static void on_read(struct loop *on_loop, const struct loop_result *result, void *arg)
{
    (void)on_loop;
    reader_done(arg, result->res);
    start(arg);
}

static void start(struct reader *reader)
{
    struct file_bench *bench = reader->bench;
    int64_t            offset;
    loop_id            id;

    if (!reader_next(reader))
        return;
    offset = (int64_t)reader_offset(reader);
    if (bench->fixed)
        id = loop_read_fixed(loop, fd, reader->buffer, FILE_BLOCK, offset, indexes[reader - bench->reader], on_read,
                             reader, NULL);
    else
        id = loop_read(loop, fd, reader->buffer, FILE_BLOCK, offset, on_read, reader, NULL);
    if (id < 0)
        die_errno((int)-id, "loop_read");
}

static void run(struct file_bench *bench)
{
    int result;

    for (uint32_t i = 0; i < bench->depth; i++)
        start(&bench->reader[i]);
    result = loop_run(loop, LOOP_RUN_DEFAULT);
    if (result < 0)
        die_errno(-result, "loop_run");
}

static void close_loop(void)
{
    int result = loop_destroy(loop);

    if (result < 0)
        die_errno(-result, "loop_destroy");
}

int main(int argc, char **argv)
{
    const struct file_contender contender = {.has_fixed = true, .open = open_loop, .run = run, .close = close_loop};

    return file_main(argc, argv, &contender);
}
