/* fs/writer_write.c: the merging file writer: what is asked of it is queued, or taken back. */
#include "fs/writer_private.h"

#include <errno.h>
#include <limits.h>

/* The bytes of all pieces; 0 if they are none, too many, or not all there. */
static size_t iov_size(const struct iovec *iov, size_t count)
{
    size_t size = 0;

    if (iov == NULL || count > WRITER_PIECES_MAX)
        return 0;
    for (size_t i = 0; i < count; i++) {
        if (iov[i].iov_len > INT_MAX || (iov[i].iov_base == NULL && iov[i].iov_len > 0))
            return 0;
        size += iov[i].iov_len;
    }
    return size > INT_MAX ? 0 : size;
}

static bool place_valid(const struct writer_core *core, int64_t offset, size_t size)
{
    int64_t begin = offset == LOOP_AT_POSITION ? (int64_t)core->position : offset;

    if (offset < LOOP_AT_POSITION || (offset != LOOP_AT_POSITION && writer_is(core, LOOP_WRITER_APPEND)))
        return false;
    return begin <= INT64_MAX - (int64_t)size;
}

static void deadline_passed(struct loop_timer *timer)
{
    writer_due(timer->data);
}

static void queue(struct writer_core *core, struct writer_write *write)
{
    write->order = core->order++;
    live_list_append(&core->live, write);
    if (core->queued == &core->live)
        core->queued = write;
    core->pending++;
    writer_hold_update(core);
}

/* When it leaves. */
static void write_queued(struct writer_core *core)
{
    if (core->options.deadline_ns == 0 || core->queued_bytes >= core->options.batch_bytes ||
        core->queued_pieces >= WRITER_PIECES_MAX || writer_is(core, WRITER_DUE))
        writer_due(core);
    else if (!loop_timer_active(&core->deadline) &&
             loop_timer_start(core->loop, &core->deadline, core->options.deadline_ns, 0, deadline_passed) < 0)
        writer_due(core);
    if (core->stats.queued > core->options.bytes_high && !writer_is(core, WRITER_FULL))
        writer_work(core);
}

static int check_write(struct writer_core *core, size_t size, int64_t offset, const struct loop_writer_terms *terms)
{
    if (size == 0 || !place_valid(core, offset, size) || writer_is(core, WRITER_CLOSING) ||
        (terms->flags & ~(uint32_t)LOOP_WRITER_COPY) != 0 ||
        (terms->release != 0 && buffer_check_giving(core->loop, terms->release) < 0))
        return -EINVAL;
    if (core->stats.queued + size > core->options.bytes_max) {
        core->stats.refused++;
        core->loop->stats.writes_full++;
        return -ENOBUFS;
    }
    return 0;
}

/* Its bytes are copied, or stay in the buffer until they have landed. */
static void give_buffer(struct writer_core *core, struct writer_write *write, loop_buffer buffer, bool copied)
{
    if (copied) {
        (void)loop_buffer_return(core->loop, buffer);
    } else {
        buffer_hand_over(core->loop, buffer);
        write->release = buffer;
    }
}

static void accept_write(struct writer_core *core, struct writer_write *write, int64_t offset)
{
    write->offset = offset == LOOP_AT_POSITION ? core->position : (uint64_t)offset;
    if (offset == LOOP_AT_POSITION)
        core->position += write->size;
    core->stats.writes++;
    core->stats.queued += write->size;
    core->queued_bytes += write->size;
    core->queued_pieces += write->iov_count;
    queue(core, write);
    write_queued(core);
}

int loop_writer_writev(struct loop_writer *writer, const struct iovec *iov, size_t iov_count, int64_t offset,
                       loop_writer_cb *cb, void *arg, const struct loop_writer_terms *terms)
{
    static const struct loop_writer_terms defaults;
    struct writer_core                   *core = writer->priv.core;
    size_t                                size = iov_size(iov, iov_count);
    struct writer_write                  *write;
    bool                                  copy;
    int                                   r;

    if (core == NULL)
        return -EINVAL;
    loop_check_owner(core->loop, __func__);
    if (terms == NULL)
        terms = &defaults;
    r = check_write(core, size, offset, terms);
    if (r < 0)
        return r;
    copy = (terms->flags & LOOP_WRITER_COPY) != 0 || (terms->release != 0 && size <= writer_copied_size);
    write = writer_write_new(core->loop, iov, iov_count, size, copy);
    if (write == NULL)
        return -ENOMEM;
    write->cb = cb;
    write->arg = arg;
    if (terms->release != 0)
        give_buffer(core, write, terms->release, copy);
    accept_write(core, write, offset);
    return 0;
}

int loop_writer_write(struct loop_writer *writer, const void *data, size_t size, int64_t offset, loop_writer_cb *cb,
                      void *arg, const struct loop_writer_terms *terms)
{
    return loop_writer_writev(writer, &(struct iovec){.iov_base = (void *)(uintptr_t)data, .iov_len = size}, 1, offset,
                              cb, arg, terms);
}

int loop_writer_flush(struct loop_writer *writer)
{
    struct writer_core *core = writer->priv.core;

    if (core == NULL)
        return -EINVAL;
    loop_check_owner(core->loop, __func__);
    if (core->queued_bytes > 0)
        writer_due(core);
    return 0;
}

int loop_writer_sync(struct loop_writer *writer, loop_writer_cb *cb, void *arg)
{
    struct writer_core  *core = writer->priv.core;
    struct writer_write *wish;

    if (core == NULL || writer_is(core, WRITER_CLOSING))
        return -EINVAL;
    loop_check_owner(core->loop, __func__);
    wish = writer_write_new(core->loop, NULL, 0, 0, false);
    if (wish == NULL)
        return -ENOMEM;
    wish->flags |= WRITE_SYNC;
    wish->cb = cb;
    wish->arg = arg;
    queue(core, wish);
    writer_due(core);
    return 0;
}

/* ---- cancelling */

/* Those that have not left. Those in the batch end when it is their turn there. */
int writer_end_queued(struct writer_core *core, bool all, const void *arg, int error)
{
    struct writer_write *next;
    int                  count = 0;

    for (struct writer_write *write = core->live.next; write != &core->live; write = next) {
        next = write->next;
        if ((write->flags & (WRITE_SYNC | WRITE_STARTED | WRITE_CANCELED)) != 0 || (!all && write->arg != arg))
            continue;
        if ((write->flags & WRITE_BATCHED) != 0) {
            write->flags |= WRITE_CANCELED;
            write->error = error;
        } else {
            writer_write_ends(core, write, error);
        }
        count++;
    }
    return count;
}

static int cancel(struct loop_writer *writer, const char *call, bool all, const void *arg)
{
    struct writer_core *core = writer->priv.core;
    int                 count;

    if (core == NULL)
        return -EINVAL;
    loop_check_owner(core->loop, call);
    count = writer_end_queued(core, all, arg, -ECANCELED);
    if (count > 0)
        writer_work(core);
    return count;
}

int loop_writer_cancel(struct loop_writer *writer, const void *arg)
{
    return cancel(writer, __func__, false, arg);
}

int loop_writer_cancel_all(struct loop_writer *writer)
{
    return cancel(writer, __func__, true, NULL);
}
