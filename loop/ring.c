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
static const unsigned setup_always = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_R_DISABLED;

/* Without these the contracts can't be kept; every kernel since 6.1 has them. */
static const unsigned features_needed = IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE | IORING_FEAT_FAST_POLL |
                                        IORING_FEAT_EXT_ARG | IORING_FEAT_CQE_SKIP | IORING_FEAT_LINKED_FILE;

static const uint64_t far_away_ns = UINT64_C(1) << 50; /* 13 days */

enum { SQ_ENTRIES_LEAST = 8, PROBE_OPS = 256 };

static int setup_with(struct ring *ring, unsigned flags, unsigned sq_entries, unsigned cq_entries)
{
    struct io_uring_params params = {.flags = flags | setup_always, .cq_entries = cq_entries};
    int                    r = seam_ring_setup(sq_entries, &ring->uring, &params);

    if (r < 0)
        return r;
    ring->setup_flags = params.flags;
    ring->features = params.features;
    ring->sq_entries = params.sq_entries;
    ring->cq_entries = params.cq_entries;
    return 0;
}

/* Memory for rings counts against RLIMIT_MEMLOCK on some kernels: halve until it fits. */
static int setup_halving(struct ring *ring, unsigned flags, unsigned sq_entries, unsigned cq_entries)
{
    int r;

    while ((r = setup_with(ring, flags, sq_entries, cq_entries)) == -ENOMEM && sq_entries > SQ_ENTRIES_LEAST) {
        sq_entries /= 2;
        cq_entries = cq_entries / 2 > sq_entries ? cq_entries / 2 : sq_entries;
    }
    return r;
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

int ring_open(struct ring *ring, unsigned sq_entries, unsigned cq_entries)
{
    int r = -EINVAL;

    memset(ring, 0, sizeof(*ring));
    if (cq_entries == 0)
        cq_entries = sq_entries * 16 > 65536 ? 65536 : sq_entries * 16;
    for (size_t i = 0; i < ARRAY_COUNT(setup_flags) && r == -EINVAL; i++)
        r = setup_halving(ring, setup_flags[i], sq_entries, cq_entries);
    if (r < 0)
        return r;
    if ((ring->features & features_needed) != features_needed) {
        seam_ring_exit(&ring->uring);
        return -EINVAL;
    }
    ring->sqes = ring->uring.sq.sqes;
    ring->sqes_end = ring->sqes + ring->sq_entries;
    ring->sqe_next = ring->sqes;
    ring->enter_fd = ring->uring.ring_fd;
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
        ring->enter_flags = IORING_ENTER_REGISTERED_RING;
        ring->registered = true;
    }
    return 0;
}

void ring_close(struct ring *ring, bool owner)
{
    struct io_uring_rsrc_update update = {.offset = (unsigned)ring->enter_fd};

    if (ring->registered && owner) /* the index belongs to the owner's thread, and ends with it */
        (void)seam_ring_register(ring->uring.ring_fd, IORING_UNREGISTER_RING_FDS, &update, 1);
    seam_ring_exit(&ring->uring);
}

int ring_enter(struct ring *ring, const struct ring_wait *wait)
{
    struct __kernel_timespec      timeout;
    struct io_uring_getevents_arg arg = {0};
    unsigned                      flags = ring->enter_flags;
    uint64_t                      timeout_ns, min_wait_ns;

    __atomic_store_n(ring->uring.sq.ktail, ring_tail(ring), __ATOMIC_RELEASE);
    if (wait == NULL)
        return seam_ring_enter(ring->enter_fd, ring_pending(ring), 0, flags, NULL, 0);
    flags |= IORING_ENTER_GETEVENTS;
    if (wait->count == 0 || (wait->timeout_ns == UINT64_MAX && wait->min_wait_ns == 0))
        return seam_ring_enter(ring->enter_fd, ring_pending(ring), wait->count, flags, NULL, 0);
    timeout_ns = wait->timeout_ns == UINT64_MAX ? far_away_ns : wait->timeout_ns;
    min_wait_ns = wait->min_wait_ns < timeout_ns ? wait->min_wait_ns : timeout_ns;
    /* With a minimum wait and no time limit the kernel would return after the minimum: then a limit far away is given.
     */
    timeout.tv_sec = (long long)(timeout_ns / 1000000000u);
    timeout.tv_nsec = (long long)(timeout_ns % 1000000000u);
    arg.ts = (uint64_t)(uintptr_t)&timeout;
    if (ring->features & IORING_FEAT_MIN_TIMEOUT)
        arg.min_wait_usec = (uint32_t)(min_wait_ns / 1000u > UINT32_MAX ? UINT32_MAX : min_wait_ns / 1000u);
    return seam_ring_enter(ring->enter_fd, ring_pending(ring), wait->count, flags | IORING_ENTER_EXT_ARG, &arg,
                           sizeof(arg));
}

_Static_assert(sizeof(struct completion) == sizeof(struct io_uring_cqe), "copied as a whole");

unsigned ring_reap(struct ring *ring, struct completion *completions, unsigned max)
{
    const struct io_uring_cq *cq = &ring->uring.cq;
    unsigned                  head = *cq->khead, first = head & cq->ring_mask;
    unsigned                  count = __atomic_load_n(cq->ktail, __ATOMIC_ACQUIRE) - head;
    unsigned                  until_end = cq->ring_mask + 1 - first;

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
