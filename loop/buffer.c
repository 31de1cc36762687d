/* loop/buffer.c: buffers that are out: lent, kept, given; and how they come home.
 *
 * The handle that users see carries a generation, so that one given back twice, or used afterwards, is recognised. */
#include "loop/buffer_group.h"

#include <errno.h>
#include <string.h>

/* Handle: 1, generation (7), group (8), part (16). */
enum { HANDLE_GROUP_SHIFT = 16, HANDLE_GENERATION_SHIFT = 24 };
static const loop_buffer handle_mark = 1u << 31;
_Static_assert(BUFFER_COPIES <= 0xff, "a group's number fits into a handle");

loop_buffer buffer_handle_first(const struct loop *loop, const struct buffer_group *group, uint32_t index)
{
    return handle_mark | (loop_buffer)loop->groups_made << HANDLE_GENERATION_SHIFT |
           (loop_buffer)group->number << HANDLE_GROUP_SHIFT | index;
}

/* Beyond the last generation the carry is lost, and the mark with it. */
static inline loop_buffer handle_next(loop_buffer handle)
{
    return (handle + (UINT32_C(1) << HANDLE_GENERATION_SHIFT)) | handle_mark;
}

/* What a handle named once; out or not. NULL if that is no part. */
static struct buffer_part *part_in(struct loop *loop, loop_buffer buffer, struct buffer_group **ret_group)
{
    uint32_t             number = buffer >> HANDLE_GROUP_SHIFT & 0xff;
    struct buffer_group *group;

    if ((buffer & handle_mark) == 0 || number > BUFFER_COPIES || (group = loop->groups[number]) == NULL ||
        (uint16_t)buffer >= group->parts_count)
        return NULL;
    *ret_group = group;
    return &group->parts[(uint16_t)buffer];
}

/* The part of a handle that is out; NULL for any other handle. */
static struct buffer_part *part_of(struct loop *loop, loop_buffer buffer, struct buffer_group **ret_group)
{
    struct buffer_part *part = part_in(loop, buffer, ret_group);

    return part != NULL && part->handle == buffer && part->state != BUFFER_HOME ? part : NULL;
}

void buffer_provide(struct buffer_group *group, uint16_t bid, char *memory)
{
    struct io_uring_buf *slot = &group->ring->bufs[group->tail & (group->count - 1)];

    slot->addr = (uint64_t)(uintptr_t)memory;
    slot->len = group->size;
    slot->bid = bid;
    group->home++;
    __atomic_store_n(&group->ring->tail, ++group->tail, __ATOMIC_RELEASE);
}

void buffer_provide_plain(struct buffer_group *group, struct buffer_part *part, uint16_t bid)
{
    group->last->after = bid;
    group->last = part;
    buffer_provide(group, bid, part->data);
}

bool buffer_parts_grow(struct loop *loop, struct buffer_group *group)
{
    uint32_t            count = group->parts_count == 0 ? 16 : group->parts_count * 2;
    struct buffer_part *parts;

    if (count > BUFFER_PARTS_MAX)
        loop->stats.groups_full++;
    if (count > BUFFER_PARTS_MAX || (parts = memory_resize(loop, group->parts, count * sizeof(parts[0]))) == NULL)
        return false;
    group->parts = parts;
    for (uint32_t i = count; i-- > group->parts_count;) {
        parts[i] = (struct buffer_part){.handle = buffer_handle_first(loop, group, i), .free_next = group->parts_free};
        group->parts_free = i + 1;
    }
    group->parts_count = count;
    return true;
}

static struct buffer_part *part_take(struct buffer_group *group, uint32_t *ret_index)
{
    struct buffer_part *part;

    CHECK(group->parts_free != 0);
    *ret_index = group->parts_free - 1;
    part = &group->parts[*ret_index];
    group->parts_free = part->free_next;
    return part;
}

/* ---- received */

static inline void lend(struct loop *loop, struct buffer_group *group, struct buffer_part *part, uint64_t holder,
                        uint32_t bytes)
{
    part->state = BUFFER_LENT;
    part->holder = holder;
    part->bytes = bytes;
    part->bundle_next = 0;
    group->out++;
    loop->buffers_out++;
}

static inline void buffer_taken(struct buffer_group *group)
{
    if (--group->home == 0)
        group->empty_ever++;
}

static inline struct buffer_part *receive_into(struct loop *loop, struct buffer_group *group, uint64_t holder,
                                               uint16_t bid, uint32_t bytes)
{
    struct buffer_part *part = &group->parts[bid];

    CHECK(bid < group->count && part->state == BUFFER_HOME);
    lend(loop, group, part, holder, bytes);
    if (unlikely(part->lost)) /* it was there all the time */
        part->lost = false;
    else
        buffer_taken(group);
    return part;
}

/* The rest of what did not find room in the first: in the order in which buffers were provided. */
static __attribute__((noinline)) void received_bundle(struct loop *loop, struct buffer_group *group,
                                                      const struct completion *completion, struct buffer_part *before)
{
    uint32_t left = (uint32_t)completion->res - group->size;

    before->bytes = group->size;
    while (left > 0) {
        uint32_t bytes = left < group->size ? left : group->size;
        uint16_t bid = before->after;

        left -= bytes;
        before->bundle_next = group->parts[bid].handle;
        before = receive_into(loop, group, completion->user_data, bid, bytes);
    }
}

static inline void received_plain(struct loop *loop, struct buffer_group *group, const struct completion *completion,
                                  uint16_t bid, struct loop_result *result)
{
    struct buffer_part *part = receive_into(loop, group, completion->user_data, bid, (uint32_t)completion->res);

    result->flags |= LOOP_BUFFER;
    result->buffer = part->handle;
    result->data = part->data;
    if (unlikely((uint32_t)completion->res > group->size)) {
        result->flags |= LOOP_BUNDLE;
        received_bundle(loop, group, completion, part);
    }
}

/* The next bytes of a buffer that may go on being filled. */
static __attribute__((noinline)) void received_incremental(struct loop *loop, struct buffer_group *group,
                                                           const struct completion *completion, uint16_t bid,
                                                           struct loop_result *result)
{
    struct buffer_fill *fill = &group->fills[bid];
    struct buffer_part *part;
    uint32_t            bytes = (uint32_t)completion->res, index;

    CHECK(bid < group->count && !fill->used_up && bytes <= group->size - fill->offset);
    part = part_take(group, &index); /* a spare one is always there: see spare() */
    part->bid = bid;
    part->data = group->memory + (size_t)bid * group->size + fill->offset;
    lend(loop, group, part, completion->user_data, bytes);
    fill->offset += bytes;
    fill->parts++;
    if ((completion->flags & IORING_CQE_F_BUF_MORE) != 0) {
        result->flags |= LOOP_BUFFER_MORE;
    } else {
        fill->used_up = true;
        buffer_taken(group);
    }
    result->flags |= LOOP_BUFFER;
    result->buffer = part->handle;
    result->data = part->data;
}

/* Whether it still stands in the ring: -1 if the kernel does not tell. */
static int stands_in_ring(struct loop *loop, const struct buffer_group *group, uint16_t bid)
{
    uint16_t head;

    if (buffer_group_head(loop, group->number, &head) < 0)
        return -1;
    for (; head != group->tail; head++)
        if (group->ring->bufs[head & (group->count - 1)].bid == bid)
            return 1;
    return 0;
}

/* No bytes came in it, and yet the kernel names a buffer: has it been taken out of the ring or not? At the end of a
 * file it has. After an error it may or may not: if the kernel does not tell, better lost than in the ring twice. */
static __attribute__((noinline, cold)) void received_nothing(struct loop *loop, struct buffer_group *group,
                                                             uint16_t bid, bool error)
{
    int stands;

    if (group->kind != BUFFER_PLAIN || bid >= group->count || group->parts[bid].state != BUFFER_HOME ||
        group->parts[bid].lost)
        return;
    stands = stands_in_ring(loop, group, bid);
    if (stands > 0)
        return;
    buffer_taken(group);
    if (stands < 0 && error) {
        group->parts[bid].lost = true;
        return;
    }
    buffer_provide_plain(group, &group->parts[bid], bid);
    buffer_feed(loop, group);
}

void buffer_received(struct loop *loop, uint16_t number, const struct completion *completion,
                     struct loop_result *result)
{
    struct buffer_group *group = loop->groups[number];
    uint16_t             bid = (uint16_t)(completion->flags >> IORING_CQE_BUFFER_SHIFT);

    CHECK(group != NULL);
    if (unlikely(completion->res <= 0))
        received_nothing(loop, group, bid, completion->res < 0);
    else if (likely(group->kind == BUFFER_PLAIN))
        received_plain(loop, group, completion, bid, result);
    else
        received_incremental(loop, group, completion, bid, result);
}

/* ---- given back */

static void part_free(struct buffer_group *group, struct buffer_part *part, uint32_t index)
{
    part->free_next = group->parts_free;
    group->parts_free = index + 1;
}

static void give_back_incremental(struct loop *loop, struct buffer_group *group, struct buffer_part *part)
{
    struct buffer_fill *fill = &group->fills[part->bid];

    if (--fill->parts > 0 || !fill->used_up)
        return;
    *fill = (struct buffer_fill){0};
    buffer_provide(group, part->bid, group->memory + (size_t)part->bid * group->size);
    buffer_feed(loop, group);
}

static __attribute__((noinline)) void give_back_other(struct loop *loop, struct buffer_group *group,
                                                      struct buffer_part *part, uint32_t index)
{
    if (group->kind == BUFFER_INCREMENTAL) {
        give_back_incremental(loop, group, part);
    } else {
        memory_free(loop, part->data);
        part->data = NULL;
    }
    part_free(group, part, index);
}

static void give_back(struct loop *loop, struct buffer_group *group, struct buffer_part *part, uint16_t index)
{
    if (part->state != BUFFER_LENT)
        buffer_held(loop, group, part, -1);
    part->state = BUFFER_HOME;
    part->handle = handle_next(part->handle);
    group->out--;
    loop->buffers_out--;
    if (unlikely(group->kind != BUFFER_PLAIN)) {
        give_back_other(loop, group, part, index);
        return;
    }
    buffer_provide_plain(group, part, index);
    buffer_feed(loop, group);
}

/* The one buffer of a completion, or the one after it in a bundle; which is returned. */
static inline loop_buffer callback_done_with(struct loop *loop, loop_buffer buffer)
{
    struct buffer_group *group = loop->groups[buffer >> HANDLE_GROUP_SHIFT & 0xff];
    struct buffer_part  *part;
    loop_buffer          next;

    if (group == NULL || (uint16_t)buffer >= group->parts_count)
        return 0; /* its group is gone */
    part = &group->parts[(uint16_t)buffer];
    next = part->bundle_next;
    if (unlikely(next != 0))
        part->bundle_next = 0;
    if (part->handle == buffer && part->state == BUFFER_LENT)
        give_back(loop, group, part, (uint16_t)buffer);
    return next;
}

void buffer_callback_done(struct loop *loop, loop_buffer buffer)
{
    do
        buffer = callback_done_with(loop, buffer);
    while (unlikely(buffer != 0));
}

bool buffer_bundle_next(struct loop *loop, loop_buffer *buffer, struct loop_result *ret_piece)
{
    struct buffer_group *group;
    struct buffer_part  *part = part_of(loop, *buffer, &group);

    if (part == NULL)
        return false;
    *ret_piece = (struct loop_result){
        .res = (int32_t)part->bytes,
        .flags = LOOP_BUFFER,
        .data = part->data,
        .buffer = *buffer,
    };
    *buffer = part->bundle_next;
    return true;
}

/* ---- kept and given */

/* In incremental groups a part that stays out needs another in its place for the next completion. */
static int spare(struct loop *loop, loop_buffer buffer)
{
    struct buffer_group *group;

    if (part_of(loop, buffer, &group) == NULL || group->kind != BUFFER_INCREMENTAL || group->parts_free != 0)
        return 0;
    return buffer_parts_grow(loop, group) ? 0 : -ENOMEM;
}

int buffer_check_giving(struct loop *loop, loop_buffer buffer)
{
    struct buffer_group *group;
    struct buffer_part  *part = part_of(loop, buffer, &group);

    return part == NULL || part->state == BUFFER_GIVEN ? -EINVAL : spare(loop, buffer);
}

void buffer_hand_over(struct loop *loop, loop_buffer buffer)
{
    struct buffer_group *group;
    struct buffer_part  *part = part_of(loop, buffer, &group);

    CHECK(part != NULL && part->state != BUFFER_GIVEN);
    part->state_before_given = part->state;
    part->state = BUFFER_GIVEN;
    if (part->state_before_given == BUFFER_LENT)
        buffer_held(loop, group, part, 1);
}

void buffer_hand_back(struct loop *loop, loop_buffer buffer)
{
    struct buffer_group *group;
    struct buffer_part  *part = part_of(loop, buffer, &group);

    CHECK(part != NULL && part->state == BUFFER_GIVEN);
    part->state = part->state_before_given;
    if (part->state == BUFFER_LENT)
        buffer_held(loop, group, part, -1);
}

void buffer_release(struct loop *loop, loop_buffer buffer)
{
    struct buffer_group *group;
    struct buffer_part  *part = part_of(loop, buffer, &group);

    CHECK(part != NULL);
    give_back(loop, group, part, (uint16_t)buffer);
}

uint32_t buffer_short_by(struct loop *loop, loop_buffer buffer)
{
    struct buffer_group *group;
    struct buffer_part  *part = part_of(loop, buffer, &group);
    uint32_t             quarter;

    CHECK(part != NULL);
    quarter = (group->count + 3) / 4;
    return group->home < quarter ? quarter - group->home : 0;
}

void buffer_lend(struct loop *loop, loop_buffer buffer, uint32_t bytes, struct loop_result *result)
{
    struct buffer_group *group;
    struct buffer_part  *part = part_of(loop, buffer, &group);

    CHECK(part != NULL);
    if (part->state != BUFFER_LENT)
        buffer_held(loop, group, part, -1);
    part->state = BUFFER_LENT;
    *result = (struct loop_result){
        .res = (int32_t)bytes,
        .flags = LOOP_MORE | LOOP_BUFFER,
        .buffer = buffer,
        .data = part->data,
    };
}

static struct buffer_group *copies(struct loop *loop)
{
    struct buffer_group *group = loop->groups[BUFFER_COPIES];

    if (group == NULL && (group = memory_resize(loop, NULL, sizeof(*group))) != NULL) {
        *group = (struct buffer_group){.kind = BUFFER_HEAP, .number = BUFFER_COPIES};
        context_list_init(&group->parked);
        loop->groups[BUFFER_COPIES] = group;
    }
    return group;
}

loop_buffer buffer_copy_new(struct loop *loop, const void *data, uint32_t bytes)
{
    struct buffer_group *group = copies(loop);
    struct buffer_part  *copy;
    uint32_t             index;
    char                *heap;

    if (group == NULL || (group->parts_free == 0 && !buffer_parts_grow(loop, group)) ||
        (heap = memory_resize(loop, NULL, bytes)) == NULL)
        return 0;
    memcpy(heap, data, bytes);
    copy = part_take(group, &index);
    copy->data = heap;
    lend(loop, group, copy, 0, bytes);
    copy->state = BUFFER_KEPT;
    return copy->handle;
}

void buffer_note(struct loop *loop, loop_buffer buffer, loop_buffer next, uint32_t bytes)
{
    struct buffer_group *group;
    struct buffer_part  *part = part_of(loop, buffer, &group);

    CHECK(part != NULL);
    part->note_next = next;
    part->bytes = bytes;
}

void buffer_noted(struct loop *loop, loop_buffer buffer, loop_buffer *ret_next, uint32_t *ret_bytes)
{
    struct buffer_group *group;
    struct buffer_part  *part = part_of(loop, buffer, &group);

    CHECK(part != NULL);
    *ret_next = part->note_next;
    *ret_bytes = part->bytes;
}

/* ---- calls */

int loop_buffer_keep(struct loop *loop, loop_buffer buffer)
{
    struct buffer_group *group;
    struct buffer_part  *part;

    loop_check_owner(loop, __func__);
    part = part_of(loop, buffer, &group);
    if (part == NULL || part->state != BUFFER_LENT)
        return -EINVAL;
    if (spare(loop, buffer) < 0)
        return -ENOMEM;
    part = part_of(loop, buffer, &group); /* the parts may have moved */
    part->state = BUFFER_KEPT;
    buffer_held(loop, group, part, 1);
    return 0;
}

int loop_buffer_return(struct loop *loop, loop_buffer buffer)
{
    struct buffer_group *group;
    struct buffer_part  *part;

    loop_check_owner(loop, __func__);
    part = part_of(loop, buffer, &group);
    if (part == NULL || part->state == BUFFER_GIVEN)
        return -EINVAL;
    give_back(loop, group, part, (uint16_t)buffer);
    return 0;
}

void *loop_buffer_data(struct loop *loop, loop_buffer buffer, size_t *ret_size)
{
    struct buffer_group *group;
    struct buffer_part  *part;

    loop_check_owner(loop, __func__);
    part = part_of(loop, buffer, &group);
    if (part == NULL)
        return NULL;
    if (ret_size != NULL)
        *ret_size = group->kind == BUFFER_PLAIN ? group->size : part->bytes;
    return part->data;
}
