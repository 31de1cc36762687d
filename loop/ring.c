/* loop/ring.c: the ring. */
#include "loop/ring.h"

#include <errno.h>
#include <string.h>

/* From what a server wants down to what kernel 6.1 has. The first that the kernel does not call invalid is taken. */
static const unsigned setup_flags[] = {
    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL,
    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL,
    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL,
    IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL,
};
/* The kernel's own thread submits and runs task work. */
static const unsigned setup_flags_sqpoll[] = {
    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_SUBMIT_ALL,
    IORING_SETUP_SUBMIT_ALL,
};
/* Modes that came after 6.1. */
static const unsigned modes_new = IORING_SETUP_HYBRID_IOPOLL | IORING_SETUP_CQE_MIXED | IORING_SETUP_SQE_MIXED;
static const unsigned setup_always = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_R_DISABLED;

/* Without these the contracts can't be kept; every kernel since 6.1 has them. */
static const unsigned features_needed = IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE | IORING_FEAT_FAST_POLL |
                                        IORING_FEAT_EXT_ARG | IORING_FEAT_CQE_SKIP | IORING_FEAT_LINKED_FILE;

static const uint64_t far_away_ns = UINT64_C(1) << 50; /* 13 days */

enum { SQ_ENTRIES_LEAST = 8, CQ_ENTRIES_MOST = 65536, PROBE_OPS = 256 };

static int setup_with(struct ring *ring, unsigned flags, const struct ring_options *options)
{
    struct io_uring_params params = {
        .flags = flags | setup_always | options->modes,
        .cq_entries = options->cq_entries,
        .sq_thread_idle = options->idle_ms,
        .sq_thread_cpu = options->cpu,
    };
    int r = seam_ring_setup(options->sq_entries, &ring->uring, &params);

    if (r < 0)
        return r;
    ring->setup_flags = params.flags;
    ring->features = params.features;
    ring->sq_entries = params.sq_entries;
    ring->cq_entries = params.cq_entries;
    return 0;
}

/* Memory for rings counts against RLIMIT_MEMLOCK on some kernels: halve until it fits. */
static int setup_halving(struct ring *ring, unsigned flags, struct ring_options options)
{
    int r;

    while ((r = setup_with(ring, flags, &options)) == -ENOMEM && options.sq_entries > SQ_ENTRIES_LEAST) {
        options.sq_entries /= 2;
        options.cq_entries = options.cq_entries / 2 > options.sq_entries ? options.cq_entries / 2 : options.sq_entries;
    }
    return r;
}

static int setup(struct ring *ring, const struct ring_options *options)
{
    bool            sqpoll = (options->modes & IORING_SETUP_SQPOLL) != 0;
    const unsigned *flags = sqpoll ? setup_flags_sqpoll : setup_flags;
    size_t          count = sqpoll ? ARRAY_COUNT(setup_flags_sqpoll) : ARRAY_COUNT(setup_flags);
    int             r = -EINVAL;

    for (size_t i = 0; i < count && r == -EINVAL; i++)
        r = setup_halving(ring, flags[i], *options);
    return r;
}

/* Whether -EINVAL was for one of the modes: without it the kernel makes a ring. */
static bool lacks_mode(const struct ring_options *options)
{
    struct ring         trial = {0};
    struct ring_options fewer = *options;

    fewer.modes &= ~modes_new;
    if (fewer.modes == options->modes || setup(&trial, &fewer) < 0)
        return false;
    seam_ring_exit(&trial.uring);
    return true;
}

static void probe(struct ring *ring)
{
    _Alignas(struct io_uring_probe) char
        space[sizeof(struct io_uring_probe) + PROBE_OPS * sizeof(struct io_uring_probe_op)] = {0};
    const struct io_uring_probe *answer = (struct io_uring_probe *)(void *)space;

    if (seam_ring_register(ring->uring.ring_fd, IORING_REGISTER_PROBE, space, PROBE_OPS) < 0)
        return;
    ring->opcode_last = answer->last_op;
    for (unsigned i = 0; i < answer->ops_len && i < PROBE_OPS; i++)
        if (answer->ops[i].flags & IO_URING_OP_SUPPORTED)
            ring->opcodes[answer->ops[i].op / 64] |= UINT64_C(1) << answer->ops[i].op % 64;
}

/* Where the next SQE goes, and where things lie: anew after each mapping. */
static void find_places(struct ring *ring, unsigned tail)
{
    unsigned index = tail & (ring->sq_entries - 1);

    ring->sqes = ring->uring.sq.sqes;
    ring->sqes_span = ring->sq_entries << ring->sqe_shift;
    ring->sqes_end = ring->sqes + ring->sqes_span;
    ring->sqe_next = ring->sqes + (index << ring->sqe_shift);
    ring->sq_tail_round = tail - (index << ring->sqe_shift);
    ring->sq_sent = ring_has(ring, IORING_SETUP_SQPOLL) ? ring->uring.sq.ktail : ring->uring.sq.khead;
}

int ring_open(struct ring *ring, const struct ring_options *options)
{
    struct ring_options complete = *options;
    int                 r;

    memset(ring, 0, sizeof(*ring));
    if (complete.cq_entries == 0)
        complete.cq_entries = complete.sq_entries * 16 > CQ_ENTRIES_MOST ? CQ_ENTRIES_MOST : complete.sq_entries * 16;
    r = setup(ring, &complete);
    if (r == -EINVAL && lacks_mode(&complete))
        return -EOPNOTSUPP;
    if (r < 0)
        return r;
    if ((ring->features & features_needed) != features_needed) {
        seam_ring_exit(&ring->uring);
        return -EINVAL;
    }
    ring->sqe_shift = ring_has(ring, IORING_SETUP_SQE128);
    ring->cqe_shift = ring_has(ring, IORING_SETUP_CQE32);
    ring->enter_fd = ring->uring.ring_fd;
    ring->enter_flags = options->enter_flags;
    find_places(ring, 0);
    probe(ring);
    return 0;
}

int ring_enable(struct ring *ring)
{
    struct io_uring_rsrc_update update = {.offset = -1U, .data = (__u64)ring->uring.ring_fd};
    int                         r = seam_ring_register(ring->uring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);

    if (r < 0)
        return r;
    ring->enabled = true;
    if (seam_ring_register(ring->uring.ring_fd, IORING_REGISTER_RING_FDS, &update, 1) == 1) {
        ring->enter_fd = (int)update.offset;
        ring->enter_flags |= IORING_ENTER_REGISTERED_RING;
        ring->registered = true;
    }
    return 0;
}

void ring_close(struct ring *ring, bool owner)
{
    struct io_uring_rsrc_update update = {.offset = (unsigned)ring->enter_fd};

    if (ring->uring.ring_fd < 0)
        return;
    if (ring->registered && owner) /* the index belongs to the owner's thread, and ends with it */
        (void)seam_ring_register(ring->uring.ring_fd, IORING_UNREGISTER_RING_FDS, &update, 1);
    seam_ring_exit(&ring->uring);
    ring->uring.ring_fd = -1;
}

void ring_abandon(struct ring *ring)
{
    if (ring->uring.ring_fd >= 0)
        seam_ring_abandon(&ring->uring);
    ring->uring.ring_fd = -1;
}

/* SQPOLL: shows the SQEs to the kernel's thread, which takes them by itself; what was shown counts as taken. The call
 * is left out if there is nothing to wait for and the thread is awake. */
static __attribute__((noinline)) int enter_sqpoll(struct ring *ring, unsigned count, unsigned flags,
                                                  struct io_uring_getevents_arg *arg)
{
    unsigned shown = ring_unsent(ring);
    int      r;

    /* It says that it sleeps before it looks at the tail a last time: so the flag must be read after the tail is there.
     */
    (void)__atomic_exchange_n(ring->uring.sq.ktail, ring_tail(ring), __ATOMIC_SEQ_CST);
    if ((__atomic_load_n(ring->uring.sq.kflags, __ATOMIC_SEQ_CST) & IORING_SQ_NEED_WAKEUP) != 0)
        flags |= IORING_ENTER_SQ_WAKEUP;
    ring->left_out = (flags & (IORING_ENTER_GETEVENTS | IORING_ENTER_SQ_WAKEUP | IORING_ENTER_SQ_WAIT)) == 0;
    if (ring->left_out)
        return (int)shown;
    r = seam_ring_enter(ring->enter_fd, 0, count, flags, arg, arg == NULL ? 0 : sizeof(*arg));
    return r < 0 ? r : (int)shown;
}

static inline int enter(struct ring *ring, unsigned count, unsigned flags, struct io_uring_getevents_arg *arg)
{
    if (unlikely(ring_has(ring, IORING_SETUP_SQPOLL)))
        return enter_sqpoll(ring, count, flags, arg);
    __atomic_store_n(ring->uring.sq.ktail, ring_tail(ring), __ATOMIC_RELEASE);
    return seam_ring_enter(ring->enter_fd, ring_pending(ring), count, flags, arg, arg == NULL ? 0 : sizeof(*arg));
}

int ring_wait_for_room(struct ring *ring)
{
    return enter(ring, 0, ring->enter_flags | IORING_ENTER_SQ_WAIT, NULL);
}

int ring_enter(struct ring *ring, const struct ring_wait *wait)
{
    struct __kernel_timespec      timeout;
    struct io_uring_getevents_arg arg = {0};
    uint64_t                      timeout_ns, min_wait_ns;

    if (wait == NULL)
        return enter(ring, 0, ring->enter_flags, NULL);
    if (wait->count == 0 || (wait->timeout_ns == UINT64_MAX && wait->min_wait_ns == 0))
        return enter(ring, wait->count, ring->enter_flags | IORING_ENTER_GETEVENTS, NULL);
    timeout_ns = wait->timeout_ns == UINT64_MAX ? far_away_ns : wait->timeout_ns;
    min_wait_ns = wait->min_wait_ns < timeout_ns ? wait->min_wait_ns : timeout_ns;
    /* With a minimum wait and no time limit the kernel would return after the minimum: then a limit far away is given.
     */
    timeout = ring_timespec(timeout_ns);
    arg.ts = (uint64_t)(uintptr_t)&timeout;
    if (ring->features & IORING_FEAT_MIN_TIMEOUT)
        arg.min_wait_usec = (uint32_t)(min_wait_ns / 1000u > UINT32_MAX ? UINT32_MAX : min_wait_ns / 1000u);
    return enter(ring, wait->count, ring->enter_flags | IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, &arg);
}

/* The kernel moves what stands in the queues, and goes on counting where it was. */
int ring_resize(struct ring *ring, unsigned sq_entries, unsigned cq_entries)
{
    struct io_uring_params params = {
        .flags = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP,
        .sq_entries = sq_entries,
        .cq_entries = cq_entries,
    };
    unsigned tail = ring_tail(ring);
    int      r;

    __atomic_store_n(ring->uring.sq.ktail, tail, __ATOMIC_RELEASE); /* what is not shown would not be moved */
    r = seam_ring_resize(&ring->uring, &params);
    if (r < 0)
        return r;
    ring->sq_entries = ring->uring.sq.ring_entries;
    ring->cq_entries = ring->uring.cq.ring_entries;
    find_places(ring, tail);
    return 0;
}

struct io_uring_sqe *ring_next_wide_sqe(struct ring *ring)
{
    struct io_uring_sqe *sqe;

    ring_wrap(ring);
    if (ring->sqe_shift != 0)
        return ring_next_sqe(ring);
    if (ring->sqe_next + 1 ==
        ring->sqes_end) { /* it must not go over the end: something that does nothing stands there */
        *ring_next_sqe(ring) =
            (struct io_uring_sqe){.opcode = IORING_OP_NOP, .flags = IOSQE_CQE_SKIP_SUCCESS, .fd = -1};
        ring_wrap(ring);
    }
    sqe = ring->sqe_next;
    ring->sqe_next += 2;
    memset(sqe + 1, 0, sizeof(*sqe));
    return sqe;
}

_Static_assert(sizeof(struct completion) == sizeof(struct io_uring_cqe), "copied as a whole");

/* CQEs of 32 bytes, or of both sizes: then such a one takes two places, and fills up the end by one to be passed over.
 */
static unsigned reap_wide(struct ring *ring, struct completion *completions, unsigned max)
{
    const struct io_uring_cq *cq = &ring->uring.cq;
    bool                      mixed = ring->cqe_shift == 0;
    unsigned                  head = *cq->khead, tail = __atomic_load_n(cq->ktail, __ATOMIC_ACQUIRE), count = 0;

    while (count < max && head != tail) {
        const struct io_uring_cqe *cqe = &cq->cqes[(size_t)(head & cq->ring_mask) << ring->cqe_shift];
        bool                       wide = !mixed || (cqe->flags & IORING_CQE_F_32) != 0;

        head += mixed && wide ? 2 : 1;
        if (mixed && (cqe->flags & IORING_CQE_F_SKIP) != 0)
            continue;
        memcpy(&completions[count], cqe, sizeof(completions[0]));
        if (wide)
            memcpy(&ring->extras[count], cqe + 1, sizeof(ring->extras[0]));
        count++;
    }
    __atomic_store_n(cq->khead, head, __ATOMIC_RELEASE);
    return count;
}

unsigned ring_reap(struct ring *ring, struct completion *completions, unsigned max)
{
    const struct io_uring_cq *cq = &ring->uring.cq;
    unsigned                  head = *cq->khead, first = head & cq->ring_mask;
    unsigned                  count = __atomic_load_n(cq->ktail, __ATOMIC_ACQUIRE) - head;
    unsigned                  until_end = cq->ring_mask + 1 - first;

    if (unlikely(ring->extras != NULL))
        return reap_wide(ring, completions, max);
    if (count > max)
        count = max;
    if (until_end > count)
        until_end = count;
    memcpy(completions, &cq->cqes[first], until_end * sizeof(completions[0]));
    if (count > until_end)
        memcpy(completions + until_end, cq->cqes, (count - until_end) * sizeof(completions[0]));
    __atomic_store_n(cq->khead, head + count, __ATOMIC_RELEASE);
    return count;
}
