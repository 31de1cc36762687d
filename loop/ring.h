/* loop/ring.h: the ring: set-up with stepwise fallback, SQ and CQ in shared memory, entering, probing.
 *
 * Only this module publishes SQEs or enters. The SQ's tail is kept here, as the place of the next SQE, and shown to the
 * kernel when entering. */
#ifndef RINGLOOP_LOOP_RING_H
#define RINGLOOP_LOOP_RING_H

#include "loop/base.h"
#include "loop/seam_ring.h"
#include "loop/uapi.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

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
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    return completion->res >= 0 && completion->flags == 0;
#else
    return completion->outcome <= INT32_MAX; /* the same with one comparison */
#endif
}

/* What set-up is asked for. */
struct ring_options {
    unsigned sq_entries;
    unsigned cq_entries;  /* 0: 16 times the SQ */
    unsigned modes;       /* IORING_SETUP_* beside those that are asked for always */
    unsigned idle_ms;     /* with SQPOLL; 0: the kernel's default */
    unsigned cpu;         /* with SQ_AFF */
    unsigned enter_flags; /* IORING_ENTER_* of every call */
};

/* What stands behind a CQE of 32 bytes. */
struct completion_extra {
    uint64_t words[2];
};

struct ring {
    struct io_uring_sqe *sqe_next; /* one behind the array's end until it is looked at */
    struct io_uring_sqe *sqes, *sqes_end;
    unsigned             sq_tail_round; /* the tail less the distance of sqe_next from the array's begin */
    unsigned             sqes_span;     /* the length of the array, in 64 bytes */
    unsigned             sq_entries;
    unsigned             cq_entries;
    int                  enter_fd; /* the descriptor, or its registered index */
    unsigned             enter_flags;
    unsigned             setup_flags;
    unsigned             features;
    unsigned             opcode_last;
    uint64_t             opcodes[4]; /* bit n: the kernel knows opcode n */
    const unsigned      *sq_sent;    /* up to where SQEs are the kernel's business: its head; its tail with SQPOLL */
    uint8_t              sqe_shift;  /* 1: SQEs of 128 bytes */
    uint8_t              cqe_shift;  /* 1: CQEs of 32 bytes */
    bool                 enabled;
    bool                 registered;
    bool                 left_out; /* the last ring_enter() had no need of a system call */
    struct io_uring      uring;

    struct completion_extra *extras; /* as many as ring_reap() may be asked for; NULL: never of 32 bytes */
};

/* Asks for everything a server wants and less where the kernel refuses, but never for less than options->modes:
 * -EOPNOTSUPP if the kernel lacks one of them. Left disabled. */
int ring_open(struct ring *ring, const struct ring_options *options);

/* Enables it for the calling thread, which is its only issuer from then on, and registers its descriptor. */
int ring_enable(struct ring *ring);

/* owner: whether the caller is the thread that enabled it. A second time it does nothing. */
void ring_close(struct ring *ring, bool owner);

/* The same in a child of fork(2). */
void ring_abandon(struct ring *ring);

struct ring_wait {
    unsigned count;       /* completions to wait for; 0: do not wait */
    uint64_t timeout_ns;  /* UINT64_MAX: none */
    uint64_t min_wait_ns; /* 0: none */
};

/* Publishes the SQ, lets the kernel take it, run its task work, and waits (NULL: neither of both). Returns the number
 * of SQEs it took, or -ETIME, -EINTR, -EAGAIN, -EBUSY (look at the CQ, then again), or a fatal error. */
int ring_enter(struct ring *ring, const struct ring_wait *wait);

/* SQPOLL: waits until the SQ has room. */
int ring_wait_for_room(struct ring *ring);

/* Other sizes; what is in both queues stays in them. */
int ring_resize(struct ring *ring, unsigned sq_entries, unsigned cq_entries);

/* Copies up to max completions out and advances the CQ's head. */
unsigned ring_reap(struct ring *ring, struct completion *completions, unsigned max);

static inline struct __kernel_timespec ring_timespec(uint64_t ns)
{
    return (struct __kernel_timespec){.tv_sec = (long long)(ns / 1000000000u),
                                      .tv_nsec = (long long)(ns % 1000000000u)};
}

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

/* SQEs that the kernel has not been shown yet or, without SQPOLL, has not taken. */
static inline unsigned ring_unsent(const struct ring *ring)
{
    return ring_tail(ring) - __atomic_load_n(ring->sq_sent, __ATOMIC_ACQUIRE);
}

static inline unsigned ring_free(const struct ring *ring)
{
    return ring->sq_entries - ring_pending(ring);
}

static inline bool ring_has(const struct ring *ring, unsigned setup_flag)
{
    return (ring->setup_flags & setup_flag) != 0;
}

static inline unsigned ring_ready(const struct ring *ring)
{
    return __atomic_load_n(ring->uring.cq.ktail, __ATOMIC_ACQUIRE) - *ring->uring.cq.khead;
}

static inline void ring_wrap(struct ring *ring)
{
    if (ring->sqe_next == ring->sqes_end) {
        ring->sqe_next = ring->sqes;
        ring->sq_tail_round += ring->sqes_span;
    }
}

/* Room must have been checked by the caller. */
static inline struct io_uring_sqe *ring_next_sqe(struct ring *ring)
{
    struct io_uring_sqe *sqe;

    ring_wrap(ring);
    sqe = ring->sqe_next;
    ring->sqe_next++;
    if (unlikely(ring->sqe_shift != 0)) {
        memset(ring->sqe_next++, 0, sizeof(*sqe));
        ring->sq_tail_round--; /* the two are one */
    }
    return sqe;
}

/* How many places ring_next_wide_sqe() takes just now. */
static inline unsigned ring_wide_places(const struct ring *ring)
{
    if (ring->sqe_shift != 0)
        return 1;
    return ring->sqe_next + 1 == ring->sqes_end ? 3 : 2;
}

/* One of 128 bytes, the second half zeroed, on a ring of such, or with SQE_MIXED. */
struct io_uring_sqe *ring_next_wide_sqe(struct ring *ring);

static inline bool ring_knows(const struct ring *ring, unsigned opcode)
{
    return (ring->opcodes[opcode / 64 % ARRAY_COUNT(ring->opcodes)] >> opcode % 64 & 1) != 0;
}

#endif
