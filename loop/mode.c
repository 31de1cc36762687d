/* loop/mode.c: modes of the ring: what options ask for, what is asked of the kernel, and calls while the loop runs. */
#include "loop/loop_private.h"

#include <errno.h>
#include <ringloop/mode.h>
#include <string.h>

enum {
    MODES_ALL = LOOP_MODE_SHARED | LOOP_MODE_SQPOLL | LOOP_MODE_SQPOLL_CPU | LOOP_MODE_IOPOLL |
                LOOP_MODE_HYBRID_IOPOLL | LOOP_MODE_SQE128 | LOOP_MODE_SQE_MIXED | LOOP_MODE_CQE32 |
                LOOP_MODE_CQE_MIXED | LOOP_MODE_NO_IOWAIT | LOOP_MODE_CQ_GROWS,
    SQ_ENTRIES_LEAST = 8,
    SQ_ENTRIES_MOST = 32768,
    CQ_ENTRIES_MOST = 65536,
};

/* Which flag of the ring each mode is. */
static const struct mode_flag {
    uint32_t mode;
    unsigned setup;
} mode_flags[] = {
    {LOOP_MODE_SQPOLL, IORING_SETUP_SQPOLL}, {LOOP_MODE_SQPOLL_CPU, IORING_SETUP_SQ_AFF},
    {LOOP_MODE_IOPOLL, IORING_SETUP_IOPOLL}, {LOOP_MODE_HYBRID_IOPOLL, IORING_SETUP_HYBRID_IOPOLL},
    {LOOP_MODE_SQE128, IORING_SETUP_SQE128}, {LOOP_MODE_SQE_MIXED, IORING_SETUP_SQE_MIXED},
    {LOOP_MODE_CQE32, IORING_SETUP_CQE32},   {LOOP_MODE_CQE_MIXED, IORING_SETUP_CQE_MIXED},
};

static bool both(uint32_t flags, uint32_t a, uint32_t b)
{
    return (flags & a) != 0 && (flags & b) != 0;
}

static bool alone(uint32_t flags, uint32_t a, uint32_t needs)
{
    return (flags & a) != 0 && (flags & needs) == 0;
}

int mode_check(const struct loop_options *options)
{
    const struct loop_modes *modes = &options->modes;
    uint32_t                 flags = options->flags;

    if ((flags & ~(uint32_t)MODES_ALL) != 0 || modes->reserved != 0 || modes->napi_prefer > 1)
        return -EINVAL;
    if (both(flags, LOOP_MODE_SQE128, LOOP_MODE_SQE_MIXED) || both(flags, LOOP_MODE_CQE32, LOOP_MODE_CQE_MIXED) ||
        both(flags, LOOP_MODE_SQPOLL, LOOP_MODE_CQ_GROWS))
        return -EINVAL;
    if (alone(flags, LOOP_MODE_SQPOLL_CPU, LOOP_MODE_SQPOLL) || alone(flags, LOOP_MODE_HYBRID_IOPOLL, LOOP_MODE_IOPOLL))
        return -EINVAL;
    if (((flags & LOOP_MODE_SQPOLL) == 0 && modes->sqpoll_idle_ms != 0) ||
        ((flags & LOOP_MODE_SQPOLL_CPU) == 0 && modes->sqpoll_cpu != 0))
        return -EINVAL;
    if ((modes->napi_prefer != 0 && modes->napi_busy_poll_us == 0) ||
        ((flags & LOOP_MODE_IOPOLL) != 0 && modes->napi_busy_poll_us != 0))
        return -EINVAL;
    return 0;
}

struct ring_options mode_ring_options(const struct loop_options *options)
{
    struct ring_options ring = {
        .sq_entries = options->sq_entries,
        .cq_entries = options->cq_entries,
        .idle_ms = options->modes.sqpoll_idle_ms,
        .cpu = options->modes.sqpoll_cpu,
        .enter_flags = (options->flags & LOOP_MODE_NO_IOWAIT) != 0 ? IORING_ENTER_NO_IOWAIT : 0,
    };

    for (size_t i = 0; i < ARRAY_COUNT(mode_flags); i++)
        if ((options->flags & mode_flags[i].mode) != 0)
            ring.modes |= mode_flags[i].setup;
    return ring;
}

static int ask(struct loop *loop, unsigned opcode, void *arg, unsigned arg_count)
{
    return seam_ring_register(loop->ring.uring.ring_fd, opcode, arg, arg_count);
}

/* An opcode that the kernel does not know is -EINVAL, and so is one that does not suit the ring. */
static int unsupported(int r)
{
    return r == -EINVAL ? -EOPNOTSUPP : r;
}

/* It looks at an address that is none before it does anything: only a kernel that knows it. */
static bool knows_resize(struct loop *loop)
{
    return ring_has(&loop->ring, IORING_SETUP_DEFER_TASKRUN) &&
           ask(loop, IORING_REGISTER_RESIZE_RINGS, (void *)1, 1) == -EFAULT;
}

static void grow(struct loop *loop, struct loop_task *task)
{
    uint32_t entries = loop->ring.cq_entries;

    (void)task;
    if (entries < CQ_ENTRIES_MOST && loop->ring.enabled)
        (void)loop_ring_resize(loop, 0, 2 * entries);
}

static int init_napi(struct loop *loop)
{
    const struct loop_modes *modes = &loop->options.modes;
    struct loop_napi         napi = {.busy_poll_us = modes->napi_busy_poll_us, .prefer = modes->napi_prefer != 0};

    return modes->napi_busy_poll_us == 0 ? 0 : loop_napi_set(loop, &napi, NULL);
}

static int init_extras(struct loop *loop)
{
    if (!ring_has(&loop->ring, IORING_SETUP_CQE32 | IORING_SETUP_CQE_MIXED))
        return 0;
    loop->ring.extras = memory_resize(loop, NULL, DISPATCH_BATCH * sizeof(loop->ring.extras[0]));
    return loop->ring.extras == NULL ? -ENOMEM : 0;
}

static bool wants_workers(const struct loop_modes *modes)
{
    return modes->iowq_bounded_max != 0 || modes->iowq_unbounded_max != 0 || modes->iowq_cpus != 0;
}

int mode_rehome(struct loop *loop)
{
    int r = init_napi(loop);

    loop->mode.to_be_enabled = wants_workers(&loop->options.modes);
    return r < 0 ? r : restriction_rehome(loop);
}

int mode_init(struct loop *loop)
{
    const struct loop_modes *modes = &loop->options.modes;
    uint32_t                 flags = loop->options.flags;
    int                      r;

    if ((flags & LOOP_MODE_NO_IOWAIT) != 0 && (loop->ring.features & IORING_FEAT_NO_IOWAIT) == 0)
        return -EOPNOTSUPP;
    if ((flags & LOOP_MODE_CQ_GROWS) != 0 && !knows_resize(loop))
        return -EOPNOTSUPP;
    loop->mode.spin_ns = modes->spin_ns;
    loop->mode.grow.run = grow;
    loop->mode.to_be_enabled = wants_workers(modes);
    loop->mode.special =
        modes->spin_ns != 0 || ring_has(&loop->ring, IORING_SETUP_IOPOLL) || (flags & LOOP_MODE_SHARED) != 0;
    loop->room_is_special = ring_has(&loop->ring, IORING_SETUP_SQPOLL | IORING_SETUP_SQE128);
    (void)wake_rehome(loop, false);
    r = init_napi(loop);
    if (r == 0)
        r = init_extras(loop);
    if (r == 0 && (flags & LOOP_MODE_SHARED) != 0)
        r = shared_init(loop);
    if (r == 0 && modes->restrictions != NULL)
        r = restriction_init(loop, modes->restrictions);
    loop->options.modes.restrictions = NULL; /* the user's again */
    if (r < 0)
        mode_destroy(loop);
    return r;
}

void mode_destroy(struct loop *loop)
{
    shared_destroy(loop);
    memory_free(loop, loop->ring.extras);
}

void mode_features(struct loop *loop)
{
    uint32_t kept = LOOP_MODE_SHARED | LOOP_MODE_NO_IOWAIT | LOOP_MODE_CQ_GROWS;

    loop->features.modes = loop->options.flags & kept;
    for (size_t i = 0; i < ARRAY_COUNT(mode_flags); i++)
        if (ring_has(&loop->ring, mode_flags[i].setup))
            loop->features.modes |= mode_flags[i].mode;
    loop->features.restricted = loop->mode.restricted;
    loop->features.no_sqarray = ring_has(&loop->ring, IORING_SETUP_NO_SQARRAY);
}

/* Kernel workers belong to the thread, so it is the owner's that are meant. */
int mode_enable(struct loop *loop)
{
    const struct loop_modes *modes = &loop->options.modes;
    int                      r = 0;

    if (modes->iowq_bounded_max != 0 || modes->iowq_unbounded_max != 0)
        r = loop_iowq_workers_set(loop, modes->iowq_bounded_max, modes->iowq_unbounded_max, NULL, NULL);
    if (r == 0 && modes->iowq_cpus != 0)
        r = loop_iowq_affinity_set(loop, &modes->iowq_cpus, sizeof(modes->iowq_cpus));
    loop->mode.to_be_enabled = r < 0;
    return r;
}

/* ---- while it runs */

void mode_overflown(struct loop *loop)
{
    if ((loop->options.flags & LOOP_MODE_CQ_GROWS) != 0)
        loop_task_add(loop, &loop->mode.grow);
}

/* The wake poll can't be armed on such a ring, and waits do not end by time while polled operations are in flight. So
 * with operations the loop goes on turning, and without it sleeps outside of the ring. */
void mode_wait_polled(struct loop *loop, uint64_t timeout_ns)
{
    if (loop_ops_in_flight(loop) == 0 && ring_unsent(&loop->ring) == 0 && loop->backlog.count == 0)
        (void)sys_eventfd_wait(loop->wake_fd, timeout_ns);
}

void *mode_extra(struct loop *loop, const struct completion *completion)
{
    if (likely(loop->ring.extras == NULL) || (loop->ring.cqe_shift == 0 && (completion->flags & IORING_CQE_F_32) == 0))
        return NULL;
    return &loop->ring.extras[completion - loop->completions];
}

int loop_ring_resize(struct loop *loop, uint32_t sq_entries, uint32_t cq_entries)
{
    uint32_t sq = sq_entries != 0 ? sq_entries : loop->ring.sq_entries;
    uint32_t cq = cq_entries != 0 ? cq_entries : loop->ring.cq_entries;
    int      r;

    loop_check_owner(loop, __func__);
    if (sq < SQ_ENTRIES_LEAST || sq > SQ_ENTRIES_MOST || cq > CQ_ENTRIES_MOST || cq < sq)
        return -EINVAL;
    if (!ring_has(&loop->ring, IORING_SETUP_DEFER_TASKRUN))
        return -EOPNOTSUPP;
    if (!loop->ring.enabled)
        return -EAGAIN;
    if (!loop->chain_open)
        (void)submit_now(loop, SUBMIT_ASKED);
    if (loop->chain_open || loop->backlog.count > 0) /* a chain must fit whole */
        return -EBUSY;
    r = unsupported(ring_resize(&loop->ring, sq, cq));
    if (r < 0)
        return r;
    loop->features.sq_entries = loop->ring.sq_entries;
    loop->features.cq_entries = loop->ring.cq_entries;
    submit_batch_update(loop);
    return 0;
}

static int change_napi(struct loop *loop, unsigned opcode, struct io_uring_napi *kernel, struct loop_napi *ret_before)
{
    int r = unsupported(ask(loop, opcode, kernel, 1));

    if (r < 0)
        return r;
    if (ret_before != NULL)
        *ret_before = (struct loop_napi){.busy_poll_us = kernel->busy_poll_to, .prefer = kernel->prefer_busy_poll != 0};
    return 0;
}

int loop_napi_set(struct loop *loop, const struct loop_napi *napi, struct loop_napi *ret_before)
{
    struct io_uring_napi kernel = {0};

    loop_check_owner(loop, __func__);
    if (napi == NULL)
        return -EINVAL;
    kernel.busy_poll_to = napi->busy_poll_us;
    kernel.prefer_busy_poll = napi->prefer;
    return change_napi(loop, IORING_REGISTER_NAPI, &kernel, ret_before);
}

int loop_napi_clear(struct loop *loop, struct loop_napi *ret_before)
{
    struct io_uring_napi kernel = {0};

    loop_check_owner(loop, __func__);
    return change_napi(loop, IORING_UNREGISTER_NAPI, &kernel, ret_before);
}

int loop_iowq_workers_set(struct loop *loop, uint32_t bounded_max, uint32_t unbounded_max, uint32_t *ret_bounded,
                          uint32_t *ret_unbounded)
{
    unsigned values[2] = {bounded_max, unbounded_max};
    int      r;

    loop_check_owner(loop, __func__);
    if (bounded_max > INT32_MAX || unbounded_max > INT32_MAX)
        return -EINVAL;
    if (!loop->ring.enabled)
        return -EAGAIN;
    r = ask(loop, IORING_REGISTER_IOWQ_MAX_WORKERS, values, 2);
    if (r < 0)
        return r;
    if (ret_bounded != NULL)
        *ret_bounded = values[0];
    if (ret_unbounded != NULL)
        *ret_unbounded = values[1];
    return 0;
}

int loop_iowq_affinity_set(struct loop *loop, const void *cpus, size_t bytes)
{
    loop_check_owner(loop, __func__);
    if (cpus == NULL || bytes == 0 || bytes > INT32_MAX)
        return -EINVAL;
    if (!loop->ring.enabled)
        return -EAGAIN;
    return ask(loop, IORING_REGISTER_IOWQ_AFF, (void *)(uintptr_t)cpus, (unsigned)bytes);
}

int loop_iowq_affinity_clear(struct loop *loop)
{
    loop_check_owner(loop, __func__);
    if (!loop->ring.enabled)
        return -EAGAIN;
    return ask(loop, IORING_UNREGISTER_IOWQ_AFF, NULL, 0);
}

int loop_personality_register(struct loop *loop)
{
    loop_check_owner(loop, __func__);
    return ask(loop, IORING_REGISTER_PERSONALITY, NULL, 0);
}

int loop_personality_unregister(struct loop *loop, int personality)
{
    loop_check_owner(loop, __func__);
    if (personality <= 0 || personality > UINT16_MAX)
        return -EINVAL;
    return ask(loop, IORING_UNREGISTER_PERSONALITY, NULL, (unsigned)personality);
}
