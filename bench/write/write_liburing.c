/* File writes on bare liburing: one enter submits what the last completions have started, and waits for the next. */
#include "common/plain_ring.h"
#include "write/workers.h"
#include "write/write.h"

static struct io_uring ring;

static void open_ring(struct write_bench *bench)
{
    (void)bench;
    workers_pin();
    plain_ring_open(&ring, WRITERS_MAX, 0);
}

/* Returns how many writes it has started. */
static uint32_t start(struct writer *writer)
{
    struct io_uring_sqe *sqe;

    if (!writer_next(writer))
        return 0;
    sqe = io_uring_get_sqe(&ring);
    io_uring_prep_write(sqe, writer->bench->fd, writer->buffer, writer->bench->size, writer->offset);
    io_uring_sqe_set_data(sqe, writer);
    return 1;
}

static void run(struct write_bench *bench)
{
    uint32_t in_flight = 0;

    for (uint32_t i = 0; i < bench->writers; i++)
        in_flight += start(&bench->writer[i]);
    while (in_flight > 0) {
        struct io_uring_cqe *cqe;
        unsigned int         head, count = 0;

        must(io_uring_submit_and_wait(&ring, 1), "io_uring_submit_and_wait");
        io_uring_for_each_cqe(&ring, head, cqe)
        {
            struct writer *writer = io_uring_cqe_get_data(cqe);

            writer_done(writer, cqe->res);
            in_flight += start(writer);
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
    const struct write_contender contender = {.open = open_ring, .run = run, .close = close_ring};

    return write_main(argc, argv, &contender);
}
