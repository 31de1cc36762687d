/* loop/buffer_group.c: making and ending buffer groups. */
#include "loop/buffer_group.h"

#include <errno.h>
#include <string.h>

enum {
    COUNT_MOST = 32768,
    PARTS_FIRST = 64,     /* of incremental groups */
    CLASS_COUNT_LEAST = 4 /* buffers of each size class */
};

/* What loop_buffer_group_for() chooses from; each gets an equal share of the budget. */
static const uint32_t class_sizes[BUFFER_CLASSES] = {1024, 4096, 16384, 65536};
static const uint64_t budget_default = 8 << 20, budget_least = (uint64_t)BUFFER_CLASSES * CLASS_COUNT_LEAST * 65536;

static uint64_t group_bytes(const struct buffer_group *group)
{
    uint64_t ring = (uint64_t)group->count * sizeof(struct io_uring_buf);

    return group->kind == BUFFER_OUTGOING ? ring : ring + (uint64_t)group->count * group->size;
}

static void group_free(struct loop *loop, struct buffer_group *group)
{
    for (uint32_t i = 0; group->kind == BUFFER_HEAP && i < group->parts_count; i++)
        memory_free(loop, group->parts[i].data);
    memory_free_aligned(loop, group->ring);
    memory_free_aligned(loop, group->memory);
    memory_free(loop, group->parts);
    memory_free(loop, group->fills);
    memory_free(loop, group);
}

/* A kernel without incremental groups says -EINVAL; nothing else of what we ask can be meant. */
static int group_register(struct loop *loop, struct buffer_group *group)
{
    struct io_uring_buf_reg reg = {
        .ring_addr = (uint64_t)(uintptr_t)group->ring,
        .ring_entries = group->count,
        .bgid = group->number,
        .flags = group->kind == BUFFER_INCREMENTAL ? IOU_PBUF_RING_INC : 0,
    };
    int r = seam_ring_register(loop->ring.uring.ring_fd, IORING_REGISTER_PBUF_RING, &reg, 1);

    return r == -EINVAL && group->kind == BUFFER_INCREMENTAL ? -EOPNOTSUPP : r;
}

static void group_unregister(struct loop *loop, uint16_t number)
{
    struct io_uring_buf_reg reg = {.bgid = number};

    (void)seam_ring_register(loop->ring.uring.ring_fd, IORING_UNREGISTER_PBUF_RING, &reg, 1);
}

/* One part for each buffer, bound to it. */
static bool make_parts_plain(struct loop *loop, struct buffer_group *group)
{
    group->parts = memory_resize(loop, NULL, group->count * sizeof(group->parts[0]));
    if (group->parts == NULL)
        return false;
    group->parts_count = group->count;
    group->last = group->parts;
    for (uint32_t bid = 0; bid < group->count; bid++)
        group->parts[bid] = (struct buffer_part){
            .data = group->memory + (size_t)bid * group->size,
            .handle = buffer_handle_first(loop, group, bid),
        };
    return true;
}

static bool make_parts_incremental(struct loop *loop, struct buffer_group *group)
{
    group->fills = memory_resize(loop, NULL, group->count * sizeof(group->fills[0]));
    if (group->fills == NULL)
        return false;
    memset(group->fills, 0, group->count * sizeof(group->fills[0]));
    while (group->parts_count < PARTS_FIRST)
        if (!buffer_parts_grow(loop, group))
            return false;
    return true;
}

static bool make_memory(struct loop *loop, struct buffer_group *group)
{
    group->ring = memory_new_aligned(loop, BUFFER_PAGE, group->count * sizeof(struct io_uring_buf));
    if (group->ring == NULL)
        return false;
    memset(group->ring, 0, group->count * sizeof(struct io_uring_buf));
    if (group->kind == BUFFER_OUTGOING)
        return true;
    group->memory = memory_new_aligned(loop, BUFFER_PAGE, (size_t)group->count * group->size);
    if (group->memory == NULL)
        return false;
    return group->kind == BUFFER_INCREMENTAL ? make_parts_incremental(loop, group) : make_parts_plain(loop, group);
}

static void provide_all(struct buffer_group *group)
{
    for (uint32_t bid = 0; group->kind == BUFFER_PLAIN && bid < group->count; bid++)
        buffer_provide_plain(group, &group->parts[bid], (uint16_t)bid);
    for (uint32_t bid = 0; group->kind == BUFFER_INCREMENTAL && bid < group->count; bid++)
        buffer_provide(group, (uint16_t)bid, group->memory + (size_t)bid * group->size);
}

/* Into an empty ring: those that are home. */
static void provide_again_plain(struct buffer_group *group)
{
    group->last = group->parts;
    for (uint32_t bid = 0; bid < group->count; bid++)
        if (group->parts[bid].state == BUFFER_HOME) {
            group->parts[bid].lost = false;
            buffer_provide_plain(group, &group->parts[bid], (uint16_t)bid);
        }
}

/* Of those that were being filled, the rest. */
static void provide_again_incremental(struct buffer_group *group)
{
    for (uint32_t bid = 0; bid < group->count; bid++) {
        struct buffer_fill *fill = &group->fills[bid];
        uint16_t            at = group->tail;

        if (fill->used_up)
            continue;
        if (fill->parts == 0)
            fill->offset = 0;
        buffer_provide(group, (uint16_t)bid, group->memory + (size_t)bid * group->size + fill->offset);
        group->ring->bufs[at & (group->count - 1)].len = group->size - fill->offset;
    }
}

/* What waits to be sent, from the beginning of the ring on. */
static int provide_again_outgoing(struct loop *loop, struct buffer_group *group)
{
    uint16_t             count = (uint16_t)(group->tail - group->head);
    struct io_uring_buf *waiting = memory_resize(loop, NULL, (count + 1u) * sizeof(waiting[0]));

    if (waiting == NULL)
        return -ENOMEM;
    for (uint16_t i = 0; i < count; i++)
        waiting[i] = group->ring->bufs[(group->head + i) & (group->count - 1)];
    for (uint16_t i = 0; i < count; i++) {
        group->ring->bufs[i].addr = waiting[i].addr;
        group->ring->bufs[i].len = waiting[i].len;
        group->ring->bufs[i].bid = i;
    }
    memory_free(loop, waiting);
    group->head = group->published = 0;
    group->tail = count;
    __atomic_store_n(&group->ring->tail, 0, __ATOMIC_RELEASE);
    return 0;
}

static int group_rehome(struct loop *loop, struct buffer_group *group)
{
    if (group->kind == BUFFER_OUTGOING) {
        if (provide_again_outgoing(loop, group) < 0)
            return -ENOMEM;
    } else {
        memset(group->ring, 0, group->count * sizeof(struct io_uring_buf));
        group->tail = 0;
        group->home = 0;
        if (group->kind == BUFFER_PLAIN)
            provide_again_plain(group);
        else
            provide_again_incremental(group);
    }
    return group_register(loop, group);
}

int buffer_groups_rehome(struct loop *loop)
{
    for (uint16_t i = 0; i < BUFFER_GROUPS_MAX; i++) {
        int r = loop->groups[i] == NULL ? 0 : group_rehome(loop, loop->groups[i]);

        if (r < 0)
            return r;
    }
    return 0;
}

static int group_make(struct loop *loop, uint16_t number, enum buffer_group_kind kind, uint32_t count, uint32_t size)
{
    struct buffer_group *group = memory_resize(loop, NULL, sizeof(*group));
    int                  r = -ENOMEM;

    if (group == NULL)
        return -ENOMEM;
    *group = (struct buffer_group){.kind = kind, .number = number, .count = count, .size = size};
    context_list_init(&group->parked);
    if (!make_memory(loop, group))
        goto fail;
    provide_all(group);
    r = group_register(loop, group);
    if (r < 0)
        goto fail;
    loop->groups[number] = group;
    loop->groups_made++; /* handles of an earlier group of this number name none of this one */
    loop->buffer_bytes += group_bytes(group);
    return 0;
fail:
    group_free(loop, group);
    return r;
}

static void group_end(struct loop *loop, struct buffer_group *group)
{
    if (group->kind != BUFFER_HEAP) {
        group_unregister(loop, group->number);
        loop->buffer_bytes -= group_bytes(group);
    }
    if (group->unpark.next != NULL)
        task_list_remove(&group->unpark);
    loop->groups[group->number] = NULL;
    group_free(loop, group);
}

/* Receives go into groups of ours, sends out of the user's. What a worker, or a file, takes from an incremental group
 * cannot be followed: there the kernel counts what was asked for, not what came. */
static bool suits(const struct buffer_group *group, const struct io_uring_sqe *sqe, enum context_kind kind)
{
    bool sends = sqe->opcode == IORING_OP_SEND;

    switch (group->kind) {
    case BUFFER_PLAIN: return !sends;
    case BUFFER_OUTGOING: return sends;
    case BUFFER_INCREMENTAL:
        return (kind == CONTEXT_RECV || kind == CONTEXT_READ) && (sqe->ioprio & IORING_RECVSEND_BUNDLE) == 0;
    case BUFFER_HEAP: return false;
    }
    return false;
}

int buffer_group_use(struct loop *loop, const struct io_uring_sqe *sqe, enum context_kind kind)
{
    const struct buffer_group *group = buffer_group_of(loop, sqe->buf_group);

    if (group != NULL)
        return suits(group, sqe, kind) ? 0 : -EINVAL;
    if (sqe->buf_group != LOOP_GROUP_DEFAULT || sqe->opcode == IORING_OP_SEND)
        return -EINVAL;
    return group_make(loop, LOOP_GROUP_DEFAULT, BUFFER_PLAIN, loop->options.buffer_count, loop->options.buffer_size);
}

int buffer_group_head(struct loop *loop, uint16_t group, uint16_t *ret_head)
{
    struct io_uring_buf_status status = {.buf_group = group};
    int r = seam_ring_register(loop->ring.uring.ring_fd, IORING_REGISTER_PBUF_STATUS, &status, 1);

    if (r < 0)
        return r;
    *ret_head = (uint16_t)status.head;
    return 0;
}

void buffer_groups_destroy(struct loop *loop)
{
    for (uint16_t i = 0; i <= BUFFER_COPIES; i++)
        if (loop->groups[i] != NULL)
            group_end(loop, loop->groups[i]);
}

/* ---- calls */

static int free_number(struct loop *loop)
{
    for (uint16_t i = LOOP_GROUP_DEFAULT + 1; i < BUFFER_GROUPS_MAX; i++)
        if (loop->groups[i] == NULL)
            return i;
    loop->stats.groups_full++;
    return -ENFILE;
}

static int make_numbered(struct loop *loop, enum buffer_group_kind kind, uint32_t count, uint32_t size)
{
    int number = free_number(loop), r;

    if (number < 0)
        return number;
    r = group_make(loop, (uint16_t)number, kind, count, size);
    return r < 0 ? r : number;
}

int loop_buffer_group_create(struct loop *loop, const struct loop_buffer_group_options *options)
{
    bool outgoing, incremental;

    loop_check_owner(loop, __func__);
    if (options == NULL || (options->flags & ~(uint32_t)(LOOP_GROUP_INCREMENTAL | LOOP_GROUP_OUTGOING)) != 0)
        return -EINVAL;
    outgoing = (options->flags & LOOP_GROUP_OUTGOING) != 0;
    incremental = (options->flags & LOOP_GROUP_INCREMENTAL) != 0;
    if ((outgoing && incremental) || outgoing != (options->size == 0) || options->size > INT32_MAX ||
        options->count == 0 || options->count > COUNT_MOST || (options->count & (options->count - 1)) != 0)
        return -EINVAL;
    if (loop->destroying)
        return -ECANCELED;
    return make_numbered(loop,
                         outgoing      ? BUFFER_OUTGOING
                         : incremental ? BUFFER_INCREMENTAL
                                       : BUFFER_PLAIN,
                         options->count, options->size);
}

static bool context_uses(struct context *context, uint16_t number)
{
    switch ((enum context_kind)context->kind) {
    case CONTEXT_LENDING:
    case CONTEXT_RECV:
    case CONTEXT_RECVMSG:
    case CONTEXT_READ: return context->state != CONTEXT_SETTLED && context_arm(context)->group == number;
    case CONTEXT_ONE_SHOT:
    case CONTEXT_RAW:
    case CONTEXT_WORK:
    case CONTEXT_RECV_ZC:
    case CONTEXT_ZERO_COPY:
    case CONTEXT_ACCEPT:
    case CONTEXT_POLL:
    case CONTEXT_POLL_LEVEL:
    case CONTEXT_TIMEOUT: break;
    }
    return false;
}

/* Groups end seldom: it is cheaper to look at all operations then than to count them all the time. */
static bool in_use(const struct loop *loop, uint16_t number)
{
    uint64_t        slot = 0;
    struct context *context;

    if (loop->groups[number]->out > 0)
        return true;
    for (uint32_t i = 1; i <= loop->handlers_end / 4; i++)
        if (loop->handlers[i].group == number)
            return true;
    while ((context = context_walk(&loop->pool, &slot)) != NULL)
        if (context_uses(context, number))
            return true;
    return false;
}

int loop_buffer_group_destroy(struct loop *loop, uint16_t number)
{
    struct buffer_group *group;

    loop_check_owner(loop, __func__);
    group = buffer_group_of(loop, number);
    if (group == NULL)
        return -EINVAL;
    if (in_use(loop, number))
        return -EBUSY;
    for (uint32_t i = 0; i < BUFFER_CLASSES; i++)
        if (loop->classes[i] == number)
            loop->classes[i] = 0;
    group_end(loop, group);
    return 0;
}

int buffer_budget_check(uint64_t bytes)
{
    return bytes == 0 || (bytes >= budget_least && bytes <= UINT64_C(1) << 40) ? 0 : -EINVAL;
}

/* As many as its share of the budget pays for: a power of two. */
static uint32_t class_count(uint64_t budget, uint32_t size)
{
    uint64_t share = budget / BUFFER_CLASSES;
    uint32_t count = CLASS_COUNT_LEAST;

    while (count < COUNT_MOST && (uint64_t)count * 2 * size <= share)
        count *= 2;
    return count;
}

int loop_buffer_group_for(struct loop *loop, size_t size)
{
    uint64_t budget;
    uint32_t i = 0;
    int      number;

    loop_check_owner(loop, __func__);
    while (i < BUFFER_CLASSES - 1 && class_sizes[i] < size)
        i++;
    if (loop->classes[i] != 0)
        return loop->classes[i];
    if (loop->destroying)
        return -ECANCELED;
    budget = loop->options.buffer_budget == 0 ? budget_default : loop->options.buffer_budget;
    number = make_numbered(loop, BUFFER_PLAIN, class_count(budget, class_sizes[i]), class_sizes[i]);
    if (number > 0)
        loop->classes[i] = (uint16_t)number;
    return number;
}

int loop_buffer_group_stats_get(const struct loop *loop, uint16_t number, struct loop_buffer_group_stats *ret_stats)
{
    const struct buffer_group *group;

    loop_check_owner(loop, __func__);
    group = buffer_group_of(loop, number);
    if (group == NULL)
        return -EINVAL;
    *ret_stats = (struct loop_buffer_group_stats){
        .count = group->count,
        .size = group->size,
        .home = group->kind == BUFFER_OUTGOING ? (uint16_t)(group->tail - group->head) : group->home,
        .out = group->out,
        .parked = group->parked_count,
        .parked_ever = group->parked_ever,
        .stood_back = group->stood_back,
        .empty_ever = group->empty_ever,
        .bytes = group_bytes(group),
    };
    return 0;
}
