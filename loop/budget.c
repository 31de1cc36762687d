/* loop/budget.c: options from one figure of memory. */
#include "loop/loop_private.h"

#include <errno.h>
#include <string.h>

enum {
    BUDGET_MOST = 1 << 30,
    PAGE = 4096,
    RING_HEAD = 512,   /* what stands before the CQEs */
    SLAB_EXTRA = 128,  /* alignment of a slab, and its place in the table of slabs */
    GROUP_EXTRA = 512, /* the group itself */
    GROUP_ENTRY = 64,  /* a buffer's bookkeeping: ours, and its place in the kernel's ring */
    FIXED_EXTRA = 512, /* the same for registered buffers */
    FIXED_ENTRY = 64,
    CQ_PER_SQ = 16,
    CQ_MOST = 65536,
};

/* How a power of two is spent: a quarter to a half of it on each kind of buffers, an eighth on operations. */
struct tier {
    uint32_t bytes_most; /* of the budget, as rounded down */
    uint32_t sq_entries, buffer_size, fixed_size;
};
static const struct tier tiers[] = {
    {512u << 10, LOOP_RING_NANO, 2048, 4096},   {2u << 20, LOOP_RING_TINY, 4096, 16384},
    {8u << 20, LOOP_RING_MEDIUM, 8192, 32768},  {32u << 20, LOOP_RING_LARGE, 16384, 65536},
    {128u << 20, LOOP_RING_HUGE, 16384, 65536}, {1u << 30, LOOP_RING_GIANT / 2, 32768, 65536},
};

static uint64_t pages(uint64_t bytes)
{
    return (bytes + PAGE - 1) / PAGE * PAGE;
}

static uint64_t ring_bytes(const struct loop_budget *layout)
{
    uint64_t sq = (uint64_t)layout->sq_entries * (sizeof(struct io_uring_sqe) + sizeof(uint32_t));
    uint64_t cq = (uint64_t)layout->cq_entries * sizeof(struct io_uring_cqe);

    return pages(sq) + pages(cq + RING_HEAD);
}

/* In the worst case every operation was once extended and once not: slabs are kept. */
static uint64_t op_bytes(uint64_t ops)
{
    uint64_t slabs = (ops + CONTEXT_SLAB_COUNT - 1) / CONTEXT_SLAB_COUNT;
    uint64_t contexts = sizeof(struct context) + sizeof(struct context_extended);

    return slabs * (CONTEXT_SLAB_COUNT * contexts + 2 * SLAB_EXTRA) + ops * sizeof(struct io_uring_sqe) +
           post_bytes_max((uint32_t)ops);
}

static void lay_out(uint32_t budget, const struct tier *tier, struct loop_budget *layout)
{
    bool small = budget <= 512u << 10;

    memset(layout, 0, sizeof(*layout));
    layout->sq_entries = tier->sq_entries;
    layout->cq_entries = tier->sq_entries * CQ_PER_SQ < CQ_MOST ? tier->sq_entries * CQ_PER_SQ : CQ_MOST;
    layout->ops_max = budget / 4096;
    layout->buffer_size = tier->buffer_size;
    layout->buffer_count = budget / (small ? 4 : 2) / tier->buffer_size;
    layout->fixed_size = tier->fixed_size;
    layout->fixed_count = budget / (small ? 8 : 4) / tier->fixed_size;
    layout->loop_bytes = sizeof(struct loop);
    layout->ring_bytes = ring_bytes(layout);
    layout->op_bytes = op_bytes(layout->ops_max);
    layout->group_bytes = (uint64_t)layout->buffer_count * (layout->buffer_size + GROUP_ENTRY) + 2 * PAGE + GROUP_EXTRA;
}

/* The pool is what gives way. */
static void add_pool(uint32_t budget, struct loop_budget *layout)
{
    uint64_t others = layout->loop_bytes + layout->ring_bytes + layout->op_bytes + layout->group_bytes;

    do {
        layout->fixed_bytes = (uint64_t)layout->fixed_count * (layout->fixed_size + FIXED_ENTRY) + PAGE + FIXED_EXTRA;
        layout->bytes = others + layout->fixed_bytes;
    } while (layout->bytes > budget && (layout->fixed_count /= 2) > 0);
    CHECK(layout->bytes <= budget);
}

int loop_options_for_budget(struct loop_options *ret_options, uint64_t bytes, struct loop_budget *ret_layout)
{
    struct loop_budget layout;
    const struct tier *tier = tiers;
    uint32_t           budget = LOOP_BUDGET_LEAST;

    if (ret_options == NULL || bytes < LOOP_BUDGET_LEAST)
        return -EINVAL;
    while (budget < BUDGET_MOST && budget * UINT64_C(2) <= bytes)
        budget *= 2;
    while (budget > tier->bytes_most)
        tier++;
    lay_out(budget, tier, &layout);
    add_pool(budget, &layout);
    *ret_options = (struct loop_options){
        .sq_entries = layout.sq_entries,
        .cq_entries = layout.cq_entries,
        .ops_max = layout.ops_max,
        .posts_max = layout.ops_max,
        .buffer_size = layout.buffer_size,
        .buffer_count = layout.buffer_count,
    };
    if (ret_layout != NULL)
        *ret_layout = layout;
    return 0;
}
