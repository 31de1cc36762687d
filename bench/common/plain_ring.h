/* bench/common/plain_ring.h: how every contender on bare liburing sets its ring up. */
#ifndef BENCH_COMMON_PLAIN_RING_H
#define BENCH_COMMON_PLAIN_RING_H

#include <errno.h>
#include <liburing.h>
#include <sys/mman.h>

#include "common/cli.h"

/* As ringloop sets up its own. cq_entries: 0: the kernel's choice. */
static inline void plain_ring_open(struct io_uring *ring, unsigned int sq_entries, unsigned int cq_entries)
{
    struct io_uring_params params = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL |
                 (cq_entries != 0 ? IORING_SETUP_CQSIZE : 0),
        .cq_entries = cq_entries,
    };

    must(io_uring_queue_init_params(sq_entries, ring, &params), "io_uring_queue_init_params");
    must(io_uring_register_ring_fd(ring), "io_uring_register_ring_fd");
}

/* A group of count provided buffers, and their memory; the caller adds them. */
static inline struct io_uring_buf_ring *plain_ring_buffers(struct io_uring *ring, unsigned int count, size_t bytes,
                                                           int group, uint8_t **ret_memory)
{
    int                       result = 0;
    struct io_uring_buf_ring *buffers = io_uring_setup_buf_ring(ring, count, group, 0, &result);

    if (buffers == NULL)
        die_errno(-result, "io_uring_setup_buf_ring");
    *ret_memory = mmap(NULL, count * bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (*ret_memory == MAP_FAILED)
        die_errno(errno, "mmap");
    return buffers;
}

#endif
