/* fs/writer_queue.c: writes that wait: made, sorted into a batch, taken apart. */
#include "fs/writer_private.h"

#include <errno.h>
#include <string.h>

enum { WRITE_INLINE = BLOCK_BYTES - sizeof(struct writer_write) }; /* bytes that any write can hold of its own */

const size_t writer_copied_size = WRITE_INLINE;

/* ---- one write */

/* What it has of its own stands behind it. */
static void *own_bytes(struct writer_write *write)
{
    return write + 1;
}

static void copy_bytes(struct writer_write *write, const struct iovec *iov, size_t count)
{
    char *end = own_bytes(write);

    for (size_t i = 0; i < count; i++) {
        if (iov[i].iov_len > 0)
            memcpy(end, iov[i].iov_base, iov[i].iov_len);
        end += iov[i].iov_len;
    }
    write->piece = (struct iovec){.iov_base = own_bytes(write), .iov_len = write->size};
}

struct writer_write *writer_write_new(struct loop *loop, const struct iovec *iov, size_t count, size_t size, bool copy)
{
    size_t               array = count > 1 ? count * sizeof(*iov) : 0;
    size_t               room = copy ? size : array;
    bool                 big = room > WRITE_INLINE;
    struct writer_write *write = big ? memory_resize(loop, NULL, sizeof(*write) + room) : block_new(loop);

    if (write == NULL)
        return NULL;
    *write = (struct writer_write){.size = (uint32_t)size, .iov_count = (uint32_t)count};
    write->flags = big ? WRITE_BIG : 0;
    write->iov = &write->piece;
    if (copy) {
        copy_bytes(write, iov, count);
        write->iov_count = count > 0 ? 1 : 0;
    } else if (count == 1) {
        write->piece = *iov;
    } else if (count > 1) {
        write->iov = memcpy(own_bytes(write), iov, array);
    }
    return write;
}

void writer_write_free(struct loop *loop, struct writer_write *write)
{
    if ((write->flags & WRITE_BIG) != 0)
        memory_free(loop, write);
    else
        block_free(loop, write);
}

void writer_write_advance(struct writer_write *write, size_t bytes)
{
    write->done += (uint32_t)bytes;
    while (bytes > 0 && bytes >= write->iov->iov_len) {
        bytes -= write->iov->iov_len;
        write->iov++;
        write->iov_count--;
    }
    if (bytes > 0) {
        write->iov->iov_base = (char *)write->iov->iov_base + bytes;
        write->iov->iov_len -= bytes;
    }
}

void writer_list_append(struct writer_list *list, struct writer_write *write)
{
    write->behind = NULL;
    if (list->first == NULL)
        list->first = write;
    else
        list->last->behind = write;
    list->last = write;
}

static void leave_live(struct writer_core *core, struct writer_write *write)
{
    if (core->queued == write)
        core->queued = write->next;
    live_list_remove(write);
}

void writer_write_ends(struct writer_core *core, struct writer_write *write, int error)
{
    if ((write->flags & WRITE_BATCHED) == 0) {
        core->queued_bytes -= write->size;
        core->queued_pieces -= write->iov_count;
    }
    leave_live(core, write);
    write->error = error;
    if (error != 0 && error != -ECANCELED && error != -EOWNERDEAD && core->error == 0)
        core->error = error;
    writer_list_append(error == 0 && writer_is(core, LOOP_WRITER_SYNC) ? &core->landed : &core->told, write);
}

void writer_syncs_due(struct writer_core *core)
{
    struct writer_write *write;
    int                  error = core->error;

    while ((write = core->live.next) != &core->live && (write->flags & WRITE_SYNC) != 0) {
        leave_live(core, write);
        write->error = error; /* all who share the sync */
        core->error = 0;
        writer_list_append(&core->landed, write);
    }
}

/* ---- a batch
 *
 * Sorted by place, so that what is adjacent can leave together. Writes that overlap others stand in the order they were
 * queued, among themselves, where the first of them would: a run that overlaps one in flight waits for that, and so
 * they land in that order. */

static uint64_t by_offset(const struct writer_write *write)
{
    return write->offset;
}

static uint64_t by_order(const struct writer_write *write)
{
    return write->order;
}

typedef uint64_t sort_key(const struct writer_write *write);

static struct writer_write *merge(struct writer_write *one, struct writer_write *other, sort_key *key)
{
    struct writer_write *merged = NULL, **end = &merged;

    while (one != NULL && other != NULL) {
        struct writer_write **less = key(one) <= key(other) ? &one : &other;

        *end = *less;
        end = &(*less)->behind;
        *less = *end;
    }
    *end = one != NULL ? one : other;
    return merged;
}

/* The first count of a list, which go out of it, sorted. */
static struct writer_write *sort(struct writer_write **list, uint32_t count, sort_key *key)
{
    struct writer_write *one, *other;

    if (count == 1) {
        one = *list;
        *list = one->behind;
        one->behind = NULL;
        return one;
    }
    one = sort(list, count / 2, key);
    other = sort(list, count - count / 2, key);
    return merge(one, other, key);
}

static uint64_t end_of(const struct writer_write *write)
{
    return write->offset + write->size;
}

/* How many of the sorted list overlap each other, from its first on. */
static uint32_t count_overlapping(const struct writer_write *first)
{
    uint64_t end = end_of(first);
    uint32_t count = 1;

    for (const struct writer_write *write = first->behind; write != NULL && write->offset < end;
         write = write->behind) {
        if (end_of(write) > end)
            end = end_of(write);
        count++;
    }
    return count;
}

static void restore_order_of_overlapping(struct writer_write **from)
{
    while (*from != NULL) {
        uint32_t count = count_overlapping(*from);

        if (count > 1) {
            struct writer_write *rest = *from;

            *from = sort(&rest, count, by_order);
            while (*from != NULL)
                from = &(*from)->behind;
            *from = rest;
        } else {
            from = &(*from)->behind;
        }
    }
}

static bool fits(const struct writer_core *core, const struct writer_write *write, uint64_t bytes, uint32_t pieces)
{
    return pieces == 0 ||
           (pieces + write->iov_count <= WRITER_PIECES_MAX && bytes + write->size <= core->options.batch_bytes);
}

void writer_batch_make(struct writer_core *core)
{
    struct writer_write *write, **end = &core->batch;
    uint64_t             bytes = 0, last_end = 0;
    uint32_t             count = 0, pieces = 0;
    bool                 in_order = true;

    for (; (write = core->queued) != &core->live; core->queued = write->next) {
        if ((write->flags & WRITE_SYNC) != 0)
            continue;
        if (!fits(core, write, bytes, pieces))
            break;
        in_order = in_order && write->offset >= last_end;
        last_end = end_of(write);
        pieces += write->iov_count;
        bytes += write->size;
        count++;
        write->flags |= WRITE_BATCHED;
        *end = write;
        end = &write->behind;
    }
    *end = NULL;
    core->queued_bytes -= bytes;
    core->queued_pieces -= pieces;
    if (in_order || count == 0)
        return;
    write = core->batch;
    core->batch = sort(&write, count, by_offset);
    restore_order_of_overlapping(&core->batch);
}
