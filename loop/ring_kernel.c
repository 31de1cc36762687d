/* loop/ring_kernel.c: seam 1 over the real kernel: the only file that enters the ring. */
#include "loop/seam_ring.h"

#include <unistd.h>

int seam_ring_setup(unsigned entries, struct io_uring *ring, struct io_uring_params *params)
{
    int r = io_uring_queue_init_params(entries, ring, params);

    if (r == 0)
        (void)io_uring_ring_dontfork(ring); /* a child that touched the shared SQ would corrupt ours */
    return r;
}

void seam_ring_exit(struct io_uring *ring)
{
    io_uring_queue_exit(ring);
}

void seam_ring_abandon(struct io_uring *ring)
{
    close(ring->ring_fd);
}

int seam_ring_enter(int fd, unsigned to_submit, unsigned min_complete, unsigned flags, void *arg, size_t arg_size)
{
    return io_uring_enter2((unsigned)fd, to_submit, min_complete, flags, arg, arg_size);
}

int seam_ring_register(int fd, unsigned opcode, void *arg, unsigned arg_count)
{
    return io_uring_register((unsigned)fd, opcode, arg, arg_count);
}

int seam_ring_resize(struct io_uring *ring, struct io_uring_params *params)
{
    int r = io_uring_resize_rings(ring, params);

    if (r == 0)
        (void)io_uring_ring_dontfork(ring);
    return r;
}
