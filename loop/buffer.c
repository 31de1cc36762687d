/* loop/buffer.c: buffer groups: memory that the kernel picks from when data has come.
 *
 * A group is a ring of buffers shared with the kernel. A buffer is home (in the ring), lent to the callback that runs,
 * or kept. The handle that users see carries a generation, so that one given back twice, or used afterwards, is
 * recognised. */
#include "loop/loop_private.h"

#include <errno.h>
#include <string.h>

enum buffer_state { BUFFER_HOME, BUFFER_LENT, BUFFER_KEPT, BUFFER_GIVEN };

struct buffer_entry {
    char       *heap; /* of the copies group: where its bytes are; else NULL */
    loop_buffer next; /* notes of the owner while it is out */
    uint32_t    bytes;
    uint8_t     state; /* enum buffer_state */
    uint8_t     state_before_given;
    uint8_t     generation;
};

/* The group of number BUFFER_COPIES is no group of the kernel's: its buffers are copies on the heap, for data that has
 * to wait long. */
struct buffer_group {
    struct io_uring_buf_ring *ring;
    struct buffer_entry      *entries;
    char                     *memory;
    uint32_t                  count, size, out;
    uint32_t                  free; /* of copies: 1 + the first free entry, which names the next so; 0: none */
    uint16_t                  tail;
    bool                      copies;
    struct context_link       parked;
    uint32_t                  parked_count;
};

/* Handle: 1, generation (7), group (8), buffer (16). */
enum { HANDLE_GROUP_SHIFT = 16, HANDLE_GENERATION_SHIFT = 24, GENERATION_MASK = 0x7f, PAGE = 4096, COPIES_MAX = 65536 };
static const loop_buffer handle_mark = 1u << 31;

static loop_buffer handle_of(const struct buffer_group *group, uint16_t number, uint16_t bid)
{
    return handle_mark | (loop_buffer)group->entries[bid].generation << HANDLE_GENERATION_SHIFT |
           (loop_buffer)number << HANDLE_GROUP_SHIFT | bid;
}

/* The entry of a buffer that is out; NULL for any other handle. */
static struct buffer_entry *entry_of(struct loop *loop, loop_buffer buffer, struct buffer_group **ret_group)
{
    uint32_t             number = buffer >> HANDLE_GROUP_SHIFT & 0xff;
    uint16_t             bid = (uint16_t)buffer;
    struct buffer_group *group;

    if ((buffer & handle_mark) == 0 || number > BUFFER_COPIES || (group = loop->groups[number]) == NULL ||
        bid >= group->count || group->entries[bid].state == BUFFER_HOME ||
        handle_of(group, (uint16_t)number, bid) != buffer)
        return NULL;
    *ret_group = group;
    return &group->entries[bid];
}

static char *memory_of(const struct buffer_group *group, const struct buffer_entry *entry)
{
    if (entry->heap != NULL)
        return entry->heap;
    return group->memory + (size_t)(entry - group->entries) * group->size;
}

static void provide(struct buffer_group *group, uint16_t bid)
{
    struct io_uring_buf *slot = &group->ring->bufs[group->tail & (group->count - 1)];

    slot->addr = (uint64_t)(uintptr_t)(group->memory + (size_t)bid * group->size);
    slot->len = group->size;
    slot->bid = bid;
    __atomic_store_n(&group->ring->tail, ++group->tail, __ATOMIC_RELEASE);
}

static void group_free(struct loop *loop, struct buffer_group *group)
{
    for (uint32_t bid = 0; group->copies && bid < group->count; bid++)
        memory_free(loop, group->entries[bid].heap);
    memory_free_aligned(loop, group->ring);
    memory_free_aligned(loop, group->memory);
    memory_free(loop, group->entries);
    memory_free(loop, group);
}

static int group_register(struct loop *loop, struct buffer_group *group, uint16_t number)
{
    struct io_uring_buf_reg reg = {
        .ring_addr = (uint64_t)(uintptr_t)group->ring,
        .ring_entries = group->count,
        .bgid = number,
    };

    return seam_ring_register(loop->ring.uring.ring_fd, IORING_REGISTER_PBUF_RING, &reg, 1);
}

static int group_make(struct loop *loop, uint16_t number, uint32_t count, uint32_t size)
{
    struct buffer_group *group = memory_resize(loop, NULL, sizeof(*group));
    int                  r = -ENOMEM;

    if (group == NULL)
        return -ENOMEM;
    *group = (struct buffer_group){.count = count, .size = size};
    context_list_init(&group->parked);
    group->ring = memory_new_aligned(loop, PAGE, count * sizeof(struct io_uring_buf));
    group->memory = memory_new_aligned(loop, PAGE, (size_t)count * size);
    group->entries = memory_resize(loop, NULL, count * sizeof(group->entries[0]));
    if (group->ring == NULL || group->memory == NULL || group->entries == NULL)
        goto fail;
    memset(group->ring, 0, count * sizeof(struct io_uring_buf));
    memset(group->entries, 0, count * sizeof(group->entries[0]));
    for (uint32_t bid = 0; bid < count; bid++)
        provide(group, (uint16_t)bid);
    r = group_register(loop, group, number);
    if (r < 0)
        goto fail;
    loop->groups[number] = group;
    return 0;
fail:
    group_free(loop, group);
    return r;
}

int buffer_group_use(struct loop *loop, uint16_t group)
{
    if (group >= BUFFER_GROUPS_MAX)
        return -EINVAL;
    if (loop->groups[group] != NULL)
        return 0;
    if (group != LOOP_GROUP_DEFAULT)
        return -EINVAL;
    return group_make(loop, group, loop->options.buffer_count, loop->options.buffer_size);
}

void buffer_groups_destroy(struct loop *loop)
{
    for (uint16_t i = 0; i <= BUFFER_COPIES; i++) {
        struct io_uring_buf_reg reg = {.bgid = i};

        if (loop->groups[i] == NULL)
            continue;
        if (i != BUFFER_COPIES)
            (void)seam_ring_register(loop->ring.uring.ring_fd, IORING_UNREGISTER_PBUF_RING, &reg, 1);
        group_free(loop, loop->groups[i]);
        loop->groups[i] = NULL;
    }
}

void buffer_received(struct loop *loop, uint16_t number, const struct completion *completion,
                     struct loop_result *result)
{
    struct buffer_group *group = loop->groups[number];
    uint16_t             bid = (uint16_t)(completion->flags >> IORING_CQE_BUFFER_SHIFT);

    CHECK(group != NULL && bid < group->count);
    CHECK(group->entries[bid].state == BUFFER_HOME);
    group->entries[bid].state = BUFFER_LENT;
    group->out++;
    loop->buffers_out++;
    result->flags |= LOOP_BUFFER;
    result->buffer = handle_of(group, number, bid);
    result->data = group->memory + (size_t)bid * group->size;
}

void buffer_lend(struct loop *loop, loop_buffer buffer, uint32_t bytes, struct loop_result *result)
{
    struct buffer_group *group;
    struct buffer_entry *entry = entry_of(loop, buffer, &group);

    CHECK(entry != NULL);
    entry->state = BUFFER_LENT;
    *result = (struct loop_result){
        .res = (int32_t)bytes,
        .flags = LOOP_MORE | LOOP_BUFFER,
        .buffer = buffer,
        .data = memory_of(group, entry),
    };
}

/* Arms parked multishots in the order they stopped, as many as there are buffers. */
static void run_unpark(struct loop *loop, struct loop_task *task)
{
    (void)task;
    for (uint32_t i = 0; i < BUFFER_GROUPS_MAX; i++) {
        struct buffer_group *group = loop->groups[i];
        uint32_t             home;

        if (group == NULL)
            continue;
        for (home = group->count - group->out; home > 0 && group->parked_count > 0; home--) {
            struct context_link *link = context_list_pop(&group->parked);

            group->parked_count--;
            multishot_arm(loop, context_of_link(link), false);
        }
    }
}

static void give_back(struct loop *loop, struct buffer_group *group, struct buffer_entry *entry)
{
    uint16_t bid = (uint16_t)(entry - group->entries);

    entry->state = BUFFER_HOME;
    entry->generation = (entry->generation + 1) & GENERATION_MASK;
    group->out--;
    loop->buffers_out--;
    if (group->copies) {
        memory_free(loop, entry->heap);
        entry->heap = NULL;
        entry->next = group->free;
        group->free = bid + 1u;
        return;
    }
    provide(group, bid);
    if (unlikely(group->parked_count > 0)) {
        loop->unpark.run = run_unpark;
        loop_task_add(loop, &loop->unpark);
    }
}

static struct buffer_group *copies(struct loop *loop)
{
    struct buffer_group *group = loop->groups[BUFFER_COPIES];

    if (group == NULL && (group = memory_resize(loop, NULL, sizeof(*group))) != NULL) {
        *group = (struct buffer_group){.copies = true};
        context_list_init(&group->parked);
        loop->groups[BUFFER_COPIES] = group;
    }
    return group;
}

static bool copies_grow(struct loop *loop, struct buffer_group *group)
{
    uint32_t             count = group->count == 0 ? 16 : group->count * 2;
    struct buffer_entry *entries;

    if (count > COPIES_MAX || (entries = memory_resize(loop, group->entries, count * sizeof(entries[0]))) == NULL)
        return false;
    group->entries = entries;
    for (uint32_t bid = count; bid-- > group->count;) {
        entries[bid] = (struct buffer_entry){.next = group->free};
        group->free = bid + 1;
    }
    group->count = count;
    return true;
}

loop_buffer buffer_copy_out(struct loop *loop, loop_buffer buffer, uint32_t bytes)
{
    struct buffer_group *from, *group = copies(loop);
    struct buffer_entry *entry = entry_of(loop, buffer, &from), *copy;
    char                *heap;

    CHECK(entry != NULL);
    if (from->copies || group == NULL || (group->free == 0 && !copies_grow(loop, group)) ||
        (heap = memory_resize(loop, NULL, bytes)) == NULL)
        return buffer;
    memcpy(heap, memory_of(from, entry), bytes);
    copy = &group->entries[group->free - 1];
    group->free = copy->next;
    copy->heap = heap;
    copy->bytes = bytes;
    copy->state = BUFFER_KEPT;
    group->out++;
    loop->buffers_out++;
    give_back(loop, from, entry);
    return handle_of(group, BUFFER_COPIES, (uint16_t)(copy - group->entries));
}

void buffer_callback_done(struct loop *loop, loop_buffer buffer)
{
    struct buffer_group *group;
    struct buffer_entry *entry = entry_of(loop, buffer, &group);

    if (entry != NULL && entry->state == BUFFER_LENT)
        give_back(loop, group, entry);
}

bool buffer_is_free_to_give(struct loop *loop, loop_buffer buffer)
{
    struct buffer_group *group;
    struct buffer_entry *entry = entry_of(loop, buffer, &group);

    return entry != NULL && entry->state != BUFFER_GIVEN;
}

void buffer_hand_over(struct loop *loop, loop_buffer buffer)
{
    struct buffer_group *group;
    struct buffer_entry *entry = entry_of(loop, buffer, &group);

    CHECK(entry != NULL && entry->state != BUFFER_GIVEN);
    entry->state_before_given = entry->state;
    entry->state = BUFFER_GIVEN;
}

void buffer_hand_back(struct loop *loop, loop_buffer buffer)
{
    struct buffer_group *group;
    struct buffer_entry *entry = entry_of(loop, buffer, &group);

    CHECK(entry != NULL && entry->state == BUFFER_GIVEN);
    entry->state = entry->state_before_given;
}

void buffer_release(struct loop *loop, loop_buffer buffer)
{
    struct buffer_group *group;
    struct buffer_entry *entry = entry_of(loop, buffer, &group);

    CHECK(entry != NULL);
    give_back(loop, group, entry);
}

void buffer_park(struct loop *loop, struct context *context)
{
    struct context_arm  *arm = context_arm(context);
    struct buffer_group *group = loop->groups[arm->group];

    context->state = CONTEXT_PARKED;
    context_list_append(&group->parked, &arm->link);
    group->parked_count++;
    loop->stats.buffers_parked++;
}

void buffer_unpark(struct loop *loop, struct context *context)
{
    struct context_arm *arm = context_arm(context);

    context_list_remove(&arm->link);
    loop->groups[arm->group]->parked_count--;
}

bool buffer_at_hand(struct loop *loop, uint16_t group)
{
    return loop->groups[group]->out < loop->groups[group]->count;
}

void buffer_note(struct loop *loop, loop_buffer buffer, loop_buffer next, uint32_t bytes)
{
    struct buffer_group *group;
    struct buffer_entry *entry = entry_of(loop, buffer, &group);

    CHECK(entry != NULL);
    entry->next = next;
    entry->bytes = bytes;
}

void buffer_noted(struct loop *loop, loop_buffer buffer, loop_buffer *ret_next, uint32_t *ret_bytes)
{
    struct buffer_group *group;
    struct buffer_entry *entry = entry_of(loop, buffer, &group);

    CHECK(entry != NULL);
    *ret_next = entry->next;
    *ret_bytes = entry->bytes;
}

int loop_buffer_keep(struct loop *loop, loop_buffer buffer)
{
    struct buffer_group *group;
    struct buffer_entry *entry;

    loop_check_owner(loop, __func__);
    entry = entry_of(loop, buffer, &group);
    if (entry == NULL || entry->state != BUFFER_LENT)
        return -EINVAL;
    entry->state = BUFFER_KEPT;
    return 0;
}

int loop_buffer_return(struct loop *loop, loop_buffer buffer)
{
    struct buffer_group *group;
    struct buffer_entry *entry;

    loop_check_owner(loop, __func__);
    entry = entry_of(loop, buffer, &group);
    if (entry == NULL || entry->state == BUFFER_GIVEN)
        return -EINVAL;
    give_back(loop, group, entry);
    return 0;
}

void *loop_buffer_data(struct loop *loop, loop_buffer buffer, size_t *ret_size)
{
    struct buffer_group *group;
    struct buffer_entry *entry;

    loop_check_owner(loop, __func__);
    entry = entry_of(loop, buffer, &group);
    if (entry == NULL)
        return NULL;
    if (ret_size != NULL)
        *ret_size = group->copies ? entry->bytes : group->size;
    return memory_of(group, entry);
}
