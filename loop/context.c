/* loop/context.c: the context pool. */
#include "loop/context.h"

#include "loop/loop_private.h"

#include <errno.h>
#include <string.h>

static size_t size_of(enum user_data_mode mode)
{
    return mode == UD_EXTENDED ? sizeof(struct context_extended) : sizeof(struct context);
}

static struct context_slabs *slabs_of(struct context_pool *pool, enum user_data_mode mode)
{
    return mode == UD_EXTENDED ? &pool->extended : &pool->plain;
}

void context_slabs_destroy(struct loop *loop, struct context_slabs *slabs)
{
    for (uint32_t i = 0; i < slabs->slab_count; i++)
        memory_free_aligned(loop, slabs->slabs[i]);
    memory_free(loop, slabs->slabs);
}

void context_pool_destroy(struct loop *loop)
{
    context_slabs_destroy(loop, &loop->pool.plain);
    context_slabs_destroy(loop, &loop->pool.extended);
}

int context_slab_add(struct loop *loop, struct context_slabs *slabs, enum user_data_mode mode, uint32_t first_slot,
                     uint64_t *bytes)
{
    size_t size = size_of(mode);
    char  *slab;

    if (slabs->slab_count == slabs->slab_room) {
        uint32_t         room = slabs->slab_room == 0 ? 8 : slabs->slab_room * 2;
        struct context **table = memory_resize(loop, slabs->slabs, room * sizeof(struct context *));

        if (table == NULL)
            return -ENOMEM;
        slabs->slabs = table;
        slabs->slab_room = room;
    }
    slab = memory_new_aligned(loop, 64, CONTEXT_SLAB_COUNT * size);
    if (slab == NULL)
        return -ENOMEM;
    memset(slab, 0, CONTEXT_SLAB_COUNT * size);
    for (uint32_t i = CONTEXT_SLAB_COUNT; i-- > 0;) { /* so that the first is taken first */
        struct context *context = (struct context *)(void *)(slab + i * size);
        uint32_t        slot = first_slot + (slabs->slab_count << CONTEXT_SLAB_SHIFT) + i;

        context->id = user_data_next_generation(user_data_context(mode, slot));
        context->arg = slabs->free;
        slabs->free = context;
    }
    slabs->slabs[slabs->slab_count++] = (struct context *)(void *)slab;
    *bytes += CONTEXT_SLAB_COUNT * size;
    return 0;
}

static int slab_add(struct loop *loop, enum user_data_mode mode)
{
    return context_slab_add(loop, slabs_of(&loop->pool, mode), mode, 0, &loop->pool.bytes);
}

static struct context *take(struct loop *loop, enum user_data_mode mode)
{
    struct context_slabs *slabs = slabs_of(&loop->pool, mode);
    struct context       *context;

    if (slabs->free == NULL && slab_add(loop, mode) < 0)
        return NULL;
    context = slabs->free;
    slabs->free = context->arg;
    return context;
}

struct context *context_new(struct loop *loop)
{
    return take(loop, UD_INDIRECT);
}

struct context_extended *context_new_extended(struct loop *loop)
{
    struct context *context = take(loop, UD_EXTENDED);

    return context == NULL ? NULL : context_extended(context);
}

static uint32_t count_free(const struct context_slabs *slabs, uint32_t enough)
{
    uint32_t count = 0;

    for (const struct context *context = slabs->free; context != NULL && count < enough; context = context->arg)
        count++;
    return count;
}

static int reserve(struct loop *loop, enum user_data_mode mode, uint32_t count)
{
    uint32_t count_now = count_free(slabs_of(&loop->pool, mode), count);

    for (; count_now < count; count_now += CONTEXT_SLAB_COUNT) {
        int r = slab_add(loop, mode);

        if (r < 0)
            return r;
    }
    return 0;
}

int context_reserve_plain(struct loop *loop, uint32_t count)
{
    return reserve(loop, UD_INDIRECT, count);
}

int context_reserve(struct loop *loop, uint32_t count)
{
    int r = reserve(loop, UD_INDIRECT, count);

    return r < 0 ? r : reserve(loop, UD_EXTENDED, count);
}

void context_free(struct loop *loop, struct context *context)
{
    struct context_slabs *slabs = slabs_of(&loop->pool, user_data_mode(context->id));

    if (context_is_extended(context)) {
        struct context_extended *extended = context_extended(context);

        memory_free(loop, extended->heap);
        extended->heap = NULL;
        extended->release = 0;
        extended->message = false;
    }
    if (context_is_shared(context)) {
        shared_free(loop, context);
        return;
    }
    context->arg = slabs->free;
    slabs->free = context;
}

static struct context *find(const struct context_pool *pool, uint64_t user_data)
{
    enum user_data_mode         mode = user_data_mode(user_data);
    const struct context_slabs *slabs = mode == UD_EXTENDED ? &pool->extended : &pool->plain;
    uint32_t                    slot = user_data_slot(user_data);

    if ((slot & CONTEXT_SHARED_SLOT) != 0)
        return pool->shared == NULL || mode != UD_EXTENDED ? NULL : shared_context(pool->shared, slot);
    if ((slot >> CONTEXT_SLAB_SHIFT) >= slabs->slab_count)
        return NULL;
    return context_in_slab(slabs, slot, size_of(mode));
}

struct context *context_find(const struct context_pool *pool, uint64_t user_data)
{
    struct context *context = find(pool, user_data);

    if (context == NULL || context->id != user_data || context->state == CONTEXT_FREE)
        return NULL;
    return context;
}

struct context *context_find_value(const struct context_pool *pool, uint64_t value)
{
    struct context *context = find(pool, value);

    if (context == NULL || user_data_to_value(context->id) != value || context->state == CONTEXT_FREE)
        return NULL;
    return context;
}

struct context *context_walk(const struct context_pool *pool, uint64_t *slot)
{
    uint64_t plain = (uint64_t)pool->plain.slab_count << CONTEXT_SLAB_SHIFT;
    uint64_t all = plain + ((uint64_t)pool->extended.slab_count << CONTEXT_SLAB_SHIFT);

    for (;;) {
        uint64_t        at = (*slot)++;
        struct context *context;

        if (at < plain)
            context = context_in_slab(&pool->plain, (uint32_t)at, sizeof(struct context));
        else if (at < all)
            context = context_in_slab(&pool->extended, (uint32_t)(at - plain), sizeof(struct context_extended));
        else
            context = pool->shared == NULL ? NULL : shared_context(pool->shared, (uint32_t)(at - all));
        if (context == NULL || context->state != CONTEXT_FREE)
            return context;
    }
}
