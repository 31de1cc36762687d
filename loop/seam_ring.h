/* loop/seam_ring.h: seam 1: every entry into the kernel's ring. ring_kernel.c is the real one; tests link another.
 *
 * All return >= 0 or a negative errno. The SQ and CQ themselves are shared memory, described by struct io_uring. */
#ifndef RINGLOOP_LOOP_SEAM_RING_H
#define RINGLOOP_LOOP_SEAM_RING_H

#include <liburing.h>
#include <stddef.h>

/* Sets up a ring and maps it; fills ring and what the kernel answers in params. */
int seam_ring_setup(unsigned entries, struct io_uring *ring, struct io_uring_params *params);

/* Unmaps and closes it. */
void seam_ring_exit(struct io_uring *ring);

/* Closes it without unmapping: in a child of fork(2), where it is not mapped and something else may lie there. */
void seam_ring_abandon(struct io_uring *ring);

/* io_uring_enter(2) with EXT_ARG style arguments. */
int seam_ring_enter(int fd, unsigned to_submit, unsigned min_complete, unsigned flags, void *arg, size_t arg_size);

/* io_uring_register(2). */
int seam_ring_register(int fd, unsigned opcode, void *arg, unsigned arg_count);

/* Gives it queues of other sizes and maps those. */
int seam_ring_resize(struct io_uring *ring, struct io_uring_params *params);

#endif
