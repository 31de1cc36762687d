/* Nops on bare liburing, inlined: no callback, no context, no check but the result's. The floor for any interface. */
#include "common/clock.h"
#include "common/plain_ring.h"
#include "nop/nop.h"

static struct io_uring ring;

static void ring_open(void)
{
    plain_ring_open(&ring, NOP_BATCH_MAX, 0);
}

static void run(uint64_t ops, uint32_t batch)
{
    uint64_t started = 0, finished = 0;

    while (finished < ops) {
        struct io_uring_cqe *cqe;
        unsigned int         head, count = 0;

        for (uint32_t i = 0; i < batch; i++) {
            struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

            io_uring_prep_nop(sqe);
            io_uring_sqe_set_data64(sqe, started++);
        }
        must(io_uring_submit_and_wait(&ring, batch), "io_uring_submit_and_wait");
        io_uring_for_each_cqe(&ring, head, cqe)
        {
            if (cqe->res != 0)
                die_errno(-cqe->res, "nop");
            count++;
        }
        io_uring_cq_advance(&ring, count);
        finished += count;
        if (finished != started)
            die("%llu nops started, %llu finished", (unsigned long long)started, (unsigned long long)finished);
    }
}

int main(int argc, char **argv)
{
    struct nop_options options = nop_options_parse(argc, argv, false);
    uint64_t           start_ns;

    ring_open();
    run(options.batch, options.batch);
    start_ns = clock_cpu_ns();
    run(options.ops, options.batch);
    nop_report(&options, clock_cpu_ns() - start_ns);
    return 0;
}
