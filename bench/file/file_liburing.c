/* File reads on bare liburing: one enter submits what the last completions have started, and waits for the next. */
#include "common/plain_ring.h"
#include "file/file.h"

static struct io_uring ring;

static void open_ring(struct file_bench *bench)
{
    (void)bench;
    plain_ring_open(&ring, FILE_DEPTH_MAX, 0);
}

/* Returns how many reads it has started. */
static uint32_t start(struct reader *reader)
{
    struct io_uring_sqe *sqe;

    if (!reader_next(reader))
        return 0;
    sqe = io_uring_get_sqe(&ring);
    io_uring_prep_read(sqe, reader->bench->fd, reader->buffer, FILE_BLOCK, reader_offset(reader));
    io_uring_sqe_set_data(sqe, reader);
    return 1;
}

static void run(struct file_bench *bench)
{
    uint32_t in_flight = 0;

    for (uint32_t i = 0; i < bench->depth; i++)
        in_flight += start(&bench->reader[i]);
    while (in_flight > 0) {
        struct io_uring_cqe *cqe;
        unsigned int         head, count = 0;

        must(io_uring_submit_and_wait(&ring, 1), "io_uring_submit_and_wait");
        io_uring_for_each_cqe(&ring, head, cqe)
        {
            struct reader *reader = io_uring_cqe_get_data(cqe);

            reader_done(reader, cqe->res);
            in_flight += start(reader);
            count++;
        }
        io_uring_cq_advance(&ring, count);
        in_flight -= count;
    }
}

static void close_ring(void)
{
    io_uring_queue_exit(&ring);
}

int main(int argc, char **argv)
{
    const struct file_contender contender = {.open = open_ring, .run = run, .close = close_ring};

    return file_main(argc, argv, &contender);
}
