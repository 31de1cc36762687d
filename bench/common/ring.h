/* bench/common/ring.h: what servers on bare liburing share: a ring set up for the purpose, with one group of provided
 * buffers, and the requests that all of them make.
 *
 * user_data is the address of an object, with an event of the server's in its low three bits. */
#ifndef BENCH_COMMON_RING_H
#define BENCH_COMMON_RING_H

#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    RING_BUFFERS = 256, /* a power of two */
    RING_BUFFER_BYTES = 16 * 1024,
    RING_EVENT_MASK = 7,
    RING_EVENT_IGNORED = 7, /* of requests whose result is of no interest; ring_turn passes it over */
};

struct ring {
    struct io_uring           uring;
    struct io_uring_buf_ring *buffer_ring;
    uint8_t                  *memory;
    uint32_t                  home;        /* buffers that the kernel may take */
    int                       returned;    /* added to the buffer ring, not yet visible to the kernel */
    uint64_t                  submissions; /* what requests point to has been copied when this changes */
};

void ring_open(struct ring *ring);

/* Room for one request. A full queue is submitted first, which loses and reorders nothing. */
struct io_uring_sqe *ring_sqe(struct ring *ring, const void *object, unsigned int event);

void ring_accept(struct ring *ring, int listener, unsigned int event); /* multishot; nonblocking sockets */
void ring_receive(struct ring *ring, int fd, const void *object, unsigned int event); /* multishot, provided buffers */
void ring_cancel(struct ring *ring, const void *object, unsigned int event);
void ring_close(struct ring *ring, int fd);

/* The buffer that a completion brought, or -1; it is the caller's until it returns it. */
int ring_buffer_of(struct ring *ring, const struct io_uring_cqe *cqe);

static inline uint8_t *ring_buffer(const struct ring *ring, int id)
{
    return ring->memory + (size_t)id * RING_BUFFER_BYTES;
}

void ring_buffer_return(struct ring *ring, int id);
void ring_buffers_publish(struct ring *ring); /* at the end of a turn */

/* One turn: submits, waits, and calls on_event for each completion; false: stop. */
bool ring_turn(struct ring *ring, bool (*on_event)(void *object, unsigned int event, const struct io_uring_cqe *cqe));

#endif
