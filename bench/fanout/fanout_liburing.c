/* The fan-out bench on bare liburing: the floor for any interface. */
#include <sys/socket.h>

#include "common/plain_ring.h"
#include "fanout/fanout.h"

enum { SQ_ENTRIES = 256, CQ_ENTRIES = 32768 };

static struct io_uring ring;

static void open_ring(struct fanout_job *job)
{
    plain_ring_open(&ring, SQ_ENTRIES, CQ_ENTRIES);
    if (job->fixed) {
        const struct iovec iov = {job->payload, job->size};

        must(io_uring_register_buffers(&ring, &iov, 1), "io_uring_register_buffers");
    }
}

static void prepare(const struct fanout_job *job, int fd)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

    if (sqe == NULL) {
        must(io_uring_submit(&ring), "io_uring_submit");
        sqe = io_uring_get_sqe(&ring);
        if (sqe == NULL)
            die("the SQ has no room");
    }
    if (!job->zero_copy)
        io_uring_prep_send(sqe, fd, job->payload, job->size, MSG_WAITALL);
    else if (job->fixed)
        io_uring_prep_send_zc_fixed(sqe, fd, job->payload, job->size, MSG_WAITALL, IORING_SEND_ZC_REPORT_USAGE, 0);
    else
        io_uring_prep_send_zc(sqe, fd, job->payload, job->size, MSG_WAITALL, IORING_SEND_ZC_REPORT_USAGE);
}

/* Returns how many targets have ended. */
static uint32_t reap(struct fanout_job *job)
{
    struct io_uring_cqe *cqe;
    unsigned int         head, count = 0;
    uint32_t             ended = 0;

    io_uring_for_each_cqe(&ring, head, cqe)
    {
        count++;
        if ((cqe->flags & IORING_CQE_F_NOTIF) != 0)
            job->copied += ((uint32_t)cqe->res & IORING_NOTIF_USAGE_ZC_COPIED) != 0;
        else if (cqe->res != (int)job->size)
            die("a send ended with %d", cqe->res);
        ended += (cqe->flags & IORING_CQE_F_MORE) == 0;
    }
    io_uring_cq_advance(&ring, count);
    return ended;
}

static void run(struct fanout_job *job, uint64_t rounds)
{
    while (rounds-- > 0) {
        uint32_t ended = 0;

        for (uint32_t i = 0; i < job->n; i++)
            prepare(job, job->fds[i]);
        while (ended < job->n) {
            must(io_uring_submit_and_wait(&ring, 1), "io_uring_submit_and_wait");
            ended += reap(job);
        }
    }
}

static void close_ring(struct fanout_job *job)
{
    (void)job;
    io_uring_queue_exit(&ring);
}

int main(int argc, char **argv)
{
    const struct fanout_library library = {
        .has_zero_copy = true, .has_fixed = true, .open = open_ring, .run = run, .close = close_ring};

    return fanout_main(argc, argv, &library);
}
