/* File reads on libuv: its threads read. */
#include <stdlib.h>
#include <uv.h>

#include "file/file.h"

static uv_loop_t *loop;
static uv_fs_t   *requests; /* of each reader */

static void open_loop(struct file_bench *bench)
{
    loop = uv_default_loop();
    requests = calloc(bench->depth, sizeof(*requests));
    if (loop == NULL || requests == NULL)
        die("no memory");
}

static void start(struct reader *reader);

static void on_read(uv_fs_t *request)
{
    struct reader *reader = request->data;

    reader_done(reader, request->result);
    uv_fs_req_cleanup(request);
    start(reader);
}

static void start(struct reader *reader)
{
    struct file_bench *bench = reader->bench;
    uv_fs_t           *request = &requests[reader - bench->reader];
    const uv_buf_t     buffer = uv_buf_init((char *)reader->buffer, FILE_BLOCK);
    int                result;

    if (!reader_next(reader))
        return;
    request->data = reader;
    result = uv_fs_read(loop, request, bench->fd, &buffer, 1, (int64_t)reader_offset(reader), on_read);
    if (result != 0)
        die("uv_fs_read: %s", uv_strerror(result));
}

static void run(struct file_bench *bench)
{
    for (uint32_t i = 0; i < bench->depth; i++)
        start(&bench->reader[i]);
    uv_run(loop, UV_RUN_DEFAULT);
}

static void close_loop(void)
{
    free(requests);
    uv_loop_close(loop);
}

int main(int argc, char **argv)
{
    const struct file_contender contender = {.open = open_loop, .run = run, .close = close_loop};

    return file_main(argc, argv, &contender);
}
