/* File writes by pwrite(2): the writers take turns. */
#include <errno.h>
#include <unistd.h>

#include "write/write.h"

static void open_nothing(struct write_bench *bench)
{
    (void)bench;
}

static bool write_one(struct writer *writer)
{
    ssize_t result;

    if (!writer_next(writer))
        return false;
    result = pwrite(writer->bench->fd, writer->buffer, writer->bench->size, (off_t)writer->offset);
    writer_done(writer, result < 0 ? -errno : (int)result);
    return true;
}

static void run(struct write_bench *bench)
{
    bool more;

    do {
        more = false;
        for (uint32_t i = 0; i < bench->writers; i++)
            more |= write_one(&bench->writer[i]);
    } while (more);
}

static void close_nothing(void)
{
}

int main(int argc, char **argv)
{
    const struct write_contender contender = {.open = open_nothing, .run = run, .close = close_nothing};

    return write_main(argc, argv, &contender);
}
