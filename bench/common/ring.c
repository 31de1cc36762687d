/* The ring of the servers on bare liburing. */
#include "common/ring.h"

#include <errno.h>
#include <sys/socket.h>

#include "common/plain_ring.h"

enum { SQ_ENTRIES = 512, CQ_ENTRIES = 4096, BUFFER_GROUP = 0 };

void ring_open(struct ring *ring)
{
    plain_ring_open(&ring->uring, SQ_ENTRIES, CQ_ENTRIES);
    ring->buffer_ring = plain_ring_buffers(&ring->uring, RING_BUFFERS, RING_BUFFER_BYTES, BUFFER_GROUP, &ring->memory);
    for (int id = 0; id < RING_BUFFERS; id++)
        ring_buffer_return(ring, id);
    ring_buffers_publish(ring);
}

struct io_uring_sqe *ring_sqe(struct ring *ring, const void *object, unsigned int event)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);

    if (sqe == NULL) {
        must(io_uring_submit(&ring->uring), "io_uring_submit");
        ring->submissions++;
        sqe = io_uring_get_sqe(&ring->uring);
        if (sqe == NULL)
            die("the submission queue stays full");
    }
    io_uring_sqe_set_data64(sqe, (uintptr_t)object | event);
    return sqe;
}

void ring_accept(struct ring *ring, int listener, unsigned int event)
{
    io_uring_prep_multishot_accept(ring_sqe(ring, NULL, event), listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
}

void ring_receive(struct ring *ring, int fd, const void *object, unsigned int event)
{
    struct io_uring_sqe *sqe = ring_sqe(ring, object, event);

    io_uring_prep_recv_multishot(sqe, fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = BUFFER_GROUP;
}

void ring_cancel(struct ring *ring, const void *object, unsigned int event)
{
    struct io_uring_sqe *sqe = ring_sqe(ring, NULL, RING_EVENT_IGNORED);

    io_uring_prep_cancel64(sqe, (uintptr_t)object | event, 0);
}

void ring_close(struct ring *ring, int fd)
{
    struct io_uring_sqe *sqe = ring_sqe(ring, NULL, RING_EVENT_IGNORED);

    io_uring_prep_close(sqe, fd);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
}

int ring_buffer_of(struct ring *ring, const struct io_uring_cqe *cqe)
{
    if ((cqe->flags & IORING_CQE_F_BUFFER) == 0)
        return -1;
    ring->home--;
    return (int)(cqe->flags >> IORING_CQE_BUFFER_SHIFT);
}

void ring_buffer_return(struct ring *ring, int id)
{
    io_uring_buf_ring_add(ring->buffer_ring, ring_buffer(ring, id), RING_BUFFER_BYTES, (unsigned short)id,
                          io_uring_buf_ring_mask(RING_BUFFERS), ring->returned++);
}

void ring_buffers_publish(struct ring *ring)
{
    io_uring_buf_ring_advance(ring->buffer_ring, ring->returned);
    ring->home += (uint32_t)ring->returned;
    ring->returned = 0;
}

bool ring_turn(struct ring *ring, bool (*on_event)(void *object, unsigned int event, const struct io_uring_cqe *cqe))
{
    struct io_uring_cqe *cqe;
    unsigned int         head, count = 0;
    bool                 running = true;
    int                  result = io_uring_submit_and_wait(&ring->uring, 1);

    if (result >= 0)
        ring->submissions++;
    else if (result != -EINTR && result != -EAGAIN && result != -EBUSY)
        die_errno(-result, "io_uring_submit_and_wait");
    io_uring_for_each_cqe(&ring->uring, head, cqe)
    {
        unsigned int event = (unsigned int)(cqe->user_data & RING_EVENT_MASK);

        if (event != RING_EVENT_IGNORED)
            running = on_event((void *)(uintptr_t)(cqe->user_data & ~(uint64_t)RING_EVENT_MASK), event, cqe) && running;
        count++;
    }
    io_uring_cq_advance(&ring->uring, count);
    return running;
}
