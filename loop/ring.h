/* loop/ring.h: the ring: set-up with stepwise fallback, SQ and CQ in shared memory, entering, probing.
 *
 * Only this module publishes SQEs or enters. The SQ's tail is kept here, as the place of the next SQE, and shown to the
 * kernel when entering. */
#ifndef RINGLOOP_LOOP_RING_H
#define RINGLOOP_LOOP_RING_H

#include "loop/base.h"
#include "loop/seam_ring.h"

#include <stdbool.h>
#include <stdint.h>

/* Our copy of a CQE. */
struct completion {
    uint64_t user_data;
    union {
        struct {
            int32_t  res;
            uint32_t flags;
        };
        uint64_t outcome; /* both */
    };
};

/* Neither an error nor any flag. */
static inline bool completion_is_plain(const struct completion *completion)
{
    return completion->outcome <= INT32_MAX;
}

struct ring {
    struct io_uring_sqe *sqe_next; /* one behind the array's end until it is looked at */
    struct io_uring_sqe *sqes, *sqes_end;
    unsigned             sq_tail_round; /* the tail when sqe_next was last at the array's begin */
    unsigned             sq_entries;
    unsigned             cq_entries;
    int                  enter_fd; /* the descriptor, or its registered index */
    unsigned             enter_flags;
    unsigned             setup_flags;
    unsigned             features;
    unsigned             opcode_last;
    uint64_t             opcodes[4]; /* bit n: the kernel knows opcode n */
    bool                 enabled;
    bool                 registered;
    struct io_uring      uring;
};

/* Asks for everything a server wants and less where the kernel refuses; left disabled. cq_entries 0: 16 times the SQ.
 */
int ring_open(struct ring *ring, unsigned sq_entries, unsigned cq_entries);

/* Enables it for the calling thread, which is its only issuer from then on, and registers its descriptor. */
int ring_enable(struct ring *ring);

/* owner: whether the caller is the thread that enabled it. */
void ring_close(struct ring *ring, bool owner);

struct ring_wait {
    unsigned count;       /* completions to wait for; 0: do not wait */
    uint64_t timeout_ns;  /* UINT64_MAX: none */
    uint64_t min_wait_ns; /* 0: none */
};

/* Publishes the SQ, lets the kernel take it, run its task work, and waits (NULL: neither of both). Returns the number
 * of SQEs it took, or -ETIME, -EINTR, -EAGAIN, -EBUSY (look at the CQ, then again), or a fatal error. */
int ring_enter(struct ring *ring, const struct ring_wait *wait);

/* Copies up to max completions out and advances the CQ's head. */
unsigned ring_reap(struct ring *ring, struct completion *completions, unsigned max);

static inline unsigned ring_sq_flags(const struct ring *ring)
{
    return __atomic_load_n(ring->uring.sq.kflags, __ATOMIC_RELAXED);
}

/* Ours: what the kernel sees of it is older. */
static inline unsigned ring_tail(const struct ring *ring)
{
    return ring->sq_tail_round + (unsigned)(ring->sqe_next - ring->sqes);
}

/* SQEs that the kernel has not taken yet. */
static inline unsigned ring_pending(const struct ring *ring)
{
    return ring_tail(ring) - __atomic_load_n(ring->uring.sq.khead, __ATOMIC_ACQUIRE);
}

static inline unsigned ring_ready(const struct ring *ring)
{
    return __atomic_load_n(ring->uring.cq.ktail, __ATOMIC_ACQUIRE) - *ring->uring.cq.khead;
}

static inline void ring_wrap(struct ring *ring)
{
    if (ring->sqe_next == ring->sqes_end) {
        ring->sqe_next = ring->sqes;
        ring->sq_tail_round += ring->sq_entries;
    }
}

/* Room must have been checked by the caller. */
static inline struct io_uring_sqe *ring_next_sqe(struct ring *ring)
{
    ring_wrap(ring);
    return ring->sqe_next++;
}

static inline bool ring_knows(const struct ring *ring, unsigned opcode)
{
    return (ring->opcodes[opcode / 64 % ARRAY_COUNT(ring->opcodes)] >> opcode % 64 & 1) != 0;
}

#endif
