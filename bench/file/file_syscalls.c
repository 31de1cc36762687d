/* File reads by pread(2), one after the other. */
#include <errno.h>
#include <unistd.h>

#include "file/file.h"

static void open_nothing(struct file_bench *bench)
{
    (void)bench;
}

static void run(struct file_bench *bench)
{
    struct reader *reader = &bench->reader[0];

    while (reader_next(reader)) {
        ssize_t result = pread(bench->fd, reader->buffer, FILE_BLOCK, (off_t)reader_offset(reader));

        reader_done(reader, result < 0 ? -errno : result);
    }
}

static void close_nothing(void)
{
}

int main(int argc, char **argv)
{
    const struct file_contender contender = {.open = open_nothing, .run = run, .close = close_nothing};

    return file_main(argc, argv, &contender);
}
