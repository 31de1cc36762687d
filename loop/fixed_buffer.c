/* loop/fixed_buffer.c: the table of registered buffers: a pool of the library's own, and places for memory of users. */
#include "loop/fixed.h"

#include <errno.h>
#include <string.h>

enum { BUFFERS_MOST = 16384, COUNT_DEFAULT = 64, SIZE_DEFAULT = 16384, PAGE = 4096, UPDATE_BATCH = 64 };
static const size_t size_most = (size_t)1 << 30; /* the kernel's limit for one buffer */

enum entry_state { ENTRY_FREE, ENTRY_OUT, ENTRY_REGISTERED };

struct entry {
    void    *memory;
    size_t   size;
    uint32_t next; /* while it is free: 1 + index of the next free one; 0: none */
    uint8_t  state;
};

struct fixed_buffers {
    uint32_t     count, own; /* the pool stands in front */
    uint32_t     free_pool, free_own;
    uint32_t     borrowed, registered;
    uint64_t     full;
    char        *memory; /* of the pool */
    struct entry entries[];
};

static int table_register(struct loop *loop, uint32_t count)
{
    struct io_uring_rsrc_register sparse = {.nr = count, .flags = IORING_RSRC_REGISTER_SPARSE};

    return seam_ring_register(loop->ring.uring.ring_fd, IORING_REGISTER_BUFFERS2, &sparse, sizeof(sparse));
}

/* Tells the kernel what is at some places. All or an error; of more than one, some may have been done by then. */
static int put(struct loop *loop, uint32_t index, const struct iovec *iov, uint32_t count)
{
    struct io_uring_rsrc_update2 update = {.offset = index, .data = (uint64_t)(uintptr_t)iov, .nr = count};
    int r = seam_ring_register(loop->ring.uring.ring_fd, IORING_REGISTER_BUFFERS_UPDATE, &update, sizeof(update));

    if (r < 0)
        return r;
    return (uint32_t)r == count ? 0 : -ENOMEM; /* it says only how far it got */
}

static struct fixed_buffers *buffers_new(struct loop *loop, uint32_t count, uint32_t own)
{
    size_t                bytes = sizeof(struct fixed_buffers) + (size_t)(count + own) * sizeof(struct entry);
    struct fixed_buffers *buffers = memory_resize(loop, NULL, bytes);

    if (buffers == NULL)
        return NULL;
    memset(buffers, 0, bytes);
    buffers->count = count;
    buffers->own = own;
    return buffers;
}

/* All places free, the first first. */
static void link_free(struct fixed_buffers *buffers)
{
    for (uint32_t i = buffers->count + buffers->own; i-- > 0;) {
        uint32_t *list = i < buffers->count ? &buffers->free_pool : &buffers->free_own;

        buffers->entries[i].next = *list;
        *list = i + 1;
    }
}

static int pool_register(struct loop *loop, struct fixed_buffers *buffers, uint32_t size)
{
    struct iovec iov[UPDATE_BATCH];
    uint32_t     done = 0, batch;
    int          r = 0;

    for (; done < buffers->count && r == 0; done += batch) {
        for (batch = 0; batch < UPDATE_BATCH && done + batch < buffers->count; batch++) {
            struct entry *entry = &buffers->entries[done + batch];

            entry->memory = buffers->memory + (size_t)(done + batch) * size;
            entry->size = size;
            iov[batch] = (struct iovec){.iov_base = entry->memory, .iov_len = size};
        }
        r = put(loop, done, iov, batch);
    }
    return r;
}

static int buffers_make(struct loop *loop, const struct loop_fixed_buffers_options *options)
{
    struct fixed_buffers *buffers = buffers_new(loop, options->count, options->own);
    int                   r = -ENOMEM;

    if (buffers == NULL)
        return -ENOMEM;
    if (options->count > 0) {
        buffers->memory = memory_new_aligned(loop, PAGE, (size_t)options->count * options->size);
        if (buffers->memory == NULL)
            goto fail_memory;
    }
    r = table_register(loop, options->count + options->own);
    if (r < 0)
        goto fail_memory;
    r = pool_register(loop, buffers, options->size);
    if (r < 0)
        goto fail_table;
    link_free(buffers);
    loop->fixed_buffers = buffers;
    return 0;
fail_table:
    (void)seam_ring_register(loop->ring.uring.ring_fd, IORING_UNREGISTER_BUFFERS, NULL, 0);
fail_memory:
    memory_free_aligned(loop, buffers->memory);
    memory_free(loop, buffers);
    return r;
}

int loop_fixed_buffers_init(struct loop *loop, const struct loop_fixed_buffers_options *options)
{
    struct loop_fixed_buffers_options mine = options == NULL ? (struct loop_fixed_buffers_options){0} : *options;

    loop_check_owner(loop, __func__);
    if (mine.count == 0 && mine.own == 0)
        mine.count = COUNT_DEFAULT;
    if (mine.size == 0)
        mine.size = SIZE_DEFAULT;
    if (mine.flags != 0 || mine.count > BUFFERS_MOST || mine.own > BUFFERS_MOST - mine.count || mine.size > size_most)
        return -EINVAL;
    if (loop->fixed_buffers != NULL)
        return -EBUSY;
    return buffers_make(loop, &mine);
}

/* All places of the pool, and what users have registered. */
int fixed_buffers_rehome(struct loop *loop)
{
    struct fixed_buffers *buffers = loop->fixed_buffers;
    int                   r = buffers == NULL ? 0 : table_register(loop, buffers->count + buffers->own);

    for (uint32_t i = 0; r == 0 && buffers != NULL && i < buffers->count + buffers->own; i++) {
        const struct entry *entry = &buffers->entries[i];
        struct iovec        iov = {.iov_base = entry->memory, .iov_len = entry->size};

        if (i < buffers->count || entry->state == ENTRY_REGISTERED)
            r = put(loop, i, &iov, 1);
    }
    return r;
}

void fixed_buffers_unregister(struct loop *loop)
{
    if (loop->fixed_buffers != NULL)
        (void)seam_ring_register(loop->ring.uring.ring_fd, IORING_UNREGISTER_BUFFERS, NULL, 0);
}

void fixed_buffers_free(struct loop *loop)
{
    if (loop->fixed_buffers == NULL)
        return;
    memory_free_aligned(loop, loop->fixed_buffers->memory);
    memory_free(loop, loop->fixed_buffers);
    loop->fixed_buffers = NULL;
}

/* ---- the pool */

/* Takes the first of a list; NULL if there is none. */
static struct entry *pop(struct fixed_buffers *buffers, uint32_t *list, enum entry_state state)
{
    struct entry *entry;

    if (*list == 0) {
        buffers->full++;
        return NULL;
    }
    entry = &buffers->entries[*list - 1];
    *list = entry->next;
    entry->state = (uint8_t)state;
    return entry;
}

static void push(struct fixed_buffers *buffers, uint32_t *list, struct entry *entry)
{
    entry->state = ENTRY_FREE;
    entry->next = *list;
    *list = (uint32_t)(entry - buffers->entries) + 1;
}

/* The entry of an index in that state, else NULL. */
static struct entry *entry_in(const struct loop *loop, int index, enum entry_state state)
{
    struct fixed_buffers *buffers = loop->fixed_buffers;

    if (buffers == NULL || index < 0 || (uint32_t)index >= buffers->count + buffers->own ||
        buffers->entries[index].state != state)
        return NULL;
    return &buffers->entries[index];
}

int loop_fixed_buffer_borrow(struct loop *loop, void **ret_data)
{
    struct fixed_buffers *buffers;
    struct entry         *entry;

    loop_check_owner(loop, __func__);
    buffers = loop->fixed_buffers;
    if (buffers == NULL)
        return -ENXIO;
    entry = pop(buffers, &buffers->free_pool, ENTRY_OUT);
    if (entry == NULL)
        return -ENOBUFS;
    buffers->borrowed++;
    if (ret_data != NULL)
        *ret_data = entry->memory;
    return (int)(entry - buffers->entries);
}

int loop_fixed_buffer_return(struct loop *loop, int index)
{
    struct entry *entry;

    loop_check_owner(loop, __func__);
    entry = entry_in(loop, index, ENTRY_OUT);
    if (entry == NULL)
        return -EINVAL;
    loop->fixed_buffers->borrowed--;
    push(loop->fixed_buffers, &loop->fixed_buffers->free_pool, entry);
    return 0;
}

/* ---- memory of users */

static int check_memory(const void *memory, size_t size)
{
    return memory == NULL || size == 0 || size > size_most ? -EINVAL : 0;
}

static int place(struct loop *loop, struct entry *entry, void *memory, size_t size)
{
    struct iovec iov = {.iov_base = memory, .iov_len = size};
    int          r = put(loop, (uint32_t)(entry - loop->fixed_buffers->entries), &iov, 1);

    if (r == 0) {
        entry->memory = memory;
        entry->size = size;
    }
    return r;
}

int loop_fixed_buffer_register(struct loop *loop, void *memory, size_t size)
{
    struct fixed_buffers *buffers;
    struct entry         *entry;
    int                   r;

    loop_check_owner(loop, __func__);
    buffers = loop->fixed_buffers;
    if (check_memory(memory, size) < 0)
        return -EINVAL;
    if (buffers == NULL)
        return -ENXIO;
    entry = pop(buffers, &buffers->free_own, ENTRY_REGISTERED);
    if (entry == NULL)
        return -ENOBUFS;
    r = place(loop, entry, memory, size);
    if (r < 0) {
        push(buffers, &buffers->free_own, entry);
        return r;
    }
    buffers->registered++;
    return (int)(entry - buffers->entries);
}

int loop_fixed_buffer_update(struct loop *loop, int index, void *memory, size_t size)
{
    struct entry *entry;

    loop_check_owner(loop, __func__);
    if (loop->fixed_buffers == NULL)
        return -ENXIO;
    entry = entry_in(loop, index, ENTRY_REGISTERED);
    if (entry == NULL || check_memory(memory, size) < 0)
        return -EINVAL;
    return place(loop, entry, memory, size);
}

int loop_fixed_buffer_unregister(struct loop *loop, int index)
{
    struct entry *entry;
    int           r;

    loop_check_owner(loop, __func__);
    if (loop->fixed_buffers == NULL)
        return -ENXIO;
    entry = entry_in(loop, index, ENTRY_REGISTERED);
    if (entry == NULL)
        return -EINVAL;
    r = place(loop, entry, NULL, 0);
    if (r < 0)
        return r;
    loop->fixed_buffers->registered--;
    push(loop->fixed_buffers, &loop->fixed_buffers->free_own, entry);
    return 0;
}

void *loop_fixed_buffer_data(struct loop *loop, int index, size_t *ret_size)
{
    struct entry *entry;

    loop_check_owner(loop, __func__);
    entry = entry_in(loop, index, ENTRY_OUT);
    if (entry == NULL)
        entry = entry_in(loop, index, ENTRY_REGISTERED);
    if (entry == NULL)
        return NULL;
    if (ret_size != NULL)
        *ret_size = entry->size;
    return entry->memory;
}

/* ---- clones */

/* In a clone all places are those of users; free ones of the pool are registered too. */
static void clone_entries(struct fixed_buffers *to, const struct fixed_buffers *from)
{
    for (uint32_t i = to->own; i-- > 0;) {
        struct entry *entry = &to->entries[i];

        entry->memory = from->entries[i].memory;
        entry->size = from->entries[i].size;
        if (i < from->count || from->entries[i].state == ENTRY_REGISTERED) {
            entry->state = ENTRY_REGISTERED;
            to->registered++;
        } else {
            push(to, &to->free_own, entry);
        }
    }
}

int loop_fixed_buffers_clone(struct loop *to, struct loop *from)
{
    struct io_uring_clone_buffers clone = {0};
    struct fixed_buffers         *buffers;
    int                           r;

    loop_check_owner(to, __func__);
    loop_check_owner(from, __func__);
    if (to == from)
        return -EINVAL;
    if (from->fixed_buffers == NULL)
        return -ENXIO;
    if (to->fixed_buffers != NULL)
        return -EBUSY;
    buffers = buffers_new(to, 0, from->fixed_buffers->count + from->fixed_buffers->own);
    if (buffers == NULL)
        return -ENOMEM;
    clone.src_fd = (uint32_t)from->ring.uring.ring_fd;
    r = seam_ring_register(to->ring.uring.ring_fd, IORING_REGISTER_CLONE_BUFFERS, &clone, 1);
    if (r < 0) {
        memory_free(to, buffers);
        return r == -EINVAL ? -EOPNOTSUPP : r; /* an older kernel; nothing else is invalid in this */
    }
    clone_entries(buffers, from->fixed_buffers);
    to->fixed_buffers = buffers;
    return 0;
}

void loop_fixed_buffers_stats_get(const struct loop *loop, struct loop_fixed_buffers_stats *ret_stats)
{
    const struct fixed_buffers *buffers = loop->fixed_buffers;

    *ret_stats = (struct loop_fixed_buffers_stats){0};
    if (buffers == NULL)
        return;
    ret_stats->count = buffers->count;
    ret_stats->own = buffers->own;
    ret_stats->borrowed = buffers->borrowed;
    ret_stats->registered = buffers->registered;
    ret_stats->full = buffers->full;
}
