/* File reads on ringloop: the callback of a read starts the reader's next. With --fixed by a registered file, into
 * registered buffers; with --object through a file object, with both through one that has a slot of the table. */
#include <ringloop.h>

#include "file/file.h"

static struct loop     *loop;
static struct loop_file file;
static int              fd;
static int              indexes[FILE_DEPTH_MAX]; /* of the registered buffers */

static void register_all(struct file_bench *bench)
{
    const struct loop_fixed_buffers_options options = {.count = bench->depth, .size = FILE_BLOCK};

    fd = loop_file_register(loop, bench->fd);
    must(fd, "loop_file_register");
    must(loop_fixed_buffers_init(loop, &options), "loop_fixed_buffers_init");
    for (uint32_t i = 0; i < bench->depth; i++) {
        void *data;

        indexes[i] = loop_fixed_buffer_borrow(loop, &data);
        must(indexes[i], "loop_fixed_buffer_borrow");
        bench->reader[i].buffer = data;
    }
}

static void open_object(struct file_bench *bench)
{
    const struct loop_file_options options = {.flags = LOOP_FILE_KEEP_FD | LOOP_FILE_REGISTERED};

    must(loop_file_adopt(loop, &file, bench->fd, &options), "loop_file_adopt");
    if (bench->fixed != (loop_file_lookup(loop, bench->fd) >= 0))
        die("the file object has a slot, or has none, against what was asked for");
}

static void open_loop(struct file_bench *bench)
{
    must(loop_create(&loop, NULL), "loop_create");
    fd = bench->fd;
    if (bench->fixed)
        must(loop_files_init(loop, NULL), "loop_files_init");
    if (bench->object)
        open_object(bench);
    else if (bench->fixed)
        register_all(bench);
}

static void start(struct reader *reader);

static void on_read(struct loop *on_loop, const struct loop_result *result, void *arg)
{
    (void)on_loop;
    reader_done(arg, result->res);
    start(arg);
}

static void on_object_read(struct loop_file *of_file, int error, uint64_t count, void *arg)
{
    (void)of_file;
    reader_done(arg, error < 0 ? error : (int64_t)count);
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
    if (bench->object)
        id = loop_file_read(&file, reader->buffer, FILE_BLOCK, offset, 0, on_object_read, reader);
    else if (bench->fixed)
        id = loop_read_fixed(loop, fd, reader->buffer, FILE_BLOCK, offset, indexes[reader - bench->reader], on_read,
                             reader, NULL);
    else
        id = loop_read(loop, fd, reader->buffer, FILE_BLOCK, offset, on_read, reader, NULL);
    must(id, "loop_read");
}

static void run(struct file_bench *bench)
{
    for (uint32_t i = 0; i < bench->depth; i++)
        start(&bench->reader[i]);
    must(loop_run(loop, LOOP_RUN_DEFAULT), "loop_run");
}

static void close_loop(void)
{
    must(loop_destroy(loop), "loop_destroy");
}

int main(int argc, char **argv)
{
    const struct file_contender contender = {.is_ringloop = true, .open = open_loop, .run = run, .close = close_loop};

    return file_main(argc, argv, &contender);
}
