/* fs/writer_run.c: what leaves: runs of adjacent writes, syncs; and who is told what when they come back.
 *
 * A run leaves by the ring, never by a system call of ours: that might wait for the disk, and the loop with it. */
#include "fs/writer_private.h"

#include <errno.h>

/* ---- a run comes back */

static bool error_passes(int error)
{
    return error == -EINTR || error == -EAGAIN;
}

/* Its first write has ended. */
static void run_next(struct writer_run *run, int error)
{
    struct writer_write *write = run->first;

    run->first = write->behind;
    if (run->first == NULL)
        run->core->runs_busy--;
    else
        run->begin = run->first->offset;
    writer_write_ends(run->core, write, error);
}

static void run_ends(struct writer_run *run, int error)
{
    while (run->first != NULL)
        run_next(run, error);
}

static void run_landed(struct writer_run *run, size_t bytes)
{
    run->core->stats.bytes += bytes;
    while (bytes > 0) {
        size_t left = run->first->size - run->first->done;

        if (bytes < left) {
            writer_write_advance(run->first, bytes);
            run->begin += bytes;
            return;
        }
        run->first->done = run->first->size;
        bytes -= left;
        run_next(run, 0);
    }
}

/* What fails is not the run but a write of it: only that is told, the others go on. */
static void run_failed(struct writer_run *run, int error)
{
    struct writer_core *core = run->core;

    /* The loop has a new ring; with the second nobody knows what the old one has done. The same bytes at the same place
     * do no harm, but for those of a parent. */
    if (error == -ERESTART || (error == -EOWNERDEAD && !run->parents && !writer_is(core, LOOP_WRITER_APPEND)))
        return;
    if (error == -ECANCELED || error == -EOWNERDEAD)
        run_ends(run, error);
    else if (run->attempt > 1)
        run->alone = true;
    else
        run_next(run, error);
}

static void run_done(struct loop *loop, const struct loop_result *result, void *arg)
{
    struct writer_run  *run = arg;
    struct writer_core *core = run->core;

    run->id = 0;
    if (result->res > 0)
        run_landed(run, (size_t)result->res);
    else if (error_passes(result->res))
        loop_task_retry(loop, &core->task);
    else
        run_failed(run, result->res == 0 ? -EIO : result->res);
    if (!error_passes(result->res))
        writer_work(core);
    writer_tell(core);
}

/* ---- a run leaves */

/* The pieces of a run that is to leave, and *ret_writes of it. */
static int run_gather(const struct writer_run *run, struct iovec *iov, uint32_t *ret_writes)
{
    int      count = 0;
    uint32_t writes = 0;

    for (const struct writer_write *write = run->first; write != NULL; write = write->behind) {
        for (uint32_t i = 0; i < write->iov_count; i++)
            if (write->iov[i].iov_len > 0)
                iov[count++] = write->iov[i];
        writes++;
        if (run->alone)
            break;
    }
    *ret_writes = writes;
    return count;
}

/* False: there was no room for it. */
static bool run_start(struct writer_run *run)
{
    struct writer_core *core = run->core;
    struct iovec        iov[WRITER_PIECES_MAX];
    int                 count = run_gather(run, iov, &run->attempt);
    loop_id             id;

    if (writer_is(core, LOOP_WRITER_APPEND))
        id = loop_writev(core->loop, core->fd, iov, count, 0, RWF_APPEND, run_done, run, NULL);
    else if (count == 1)
        id =
            loop_write(core->loop, core->fd, iov[0].iov_base, iov[0].iov_len, (int64_t)run->begin, run_done, run, NULL);
    else
        id = loop_writev(core->loop, core->fd, iov, count, (int64_t)run->begin, 0, run_done, run, NULL);
    if (id > 0) {
        run->id = op_of_object(core->loop, id);
        core->stats.runs++;
        return true;
    }
    if (id != -ENOBUFS && id != -ENOMEM) {
        run_ends(run, (int)id);
        return true;
    }
    loop_task_retry(core->loop, &core->task);
    return false;
}

/* ---- from the batch into runs */

static bool in_flight_between(const struct writer_core *core, uint64_t begin, uint64_t end)
{
    uint32_t busy = core->runs_busy;

    for (const struct writer_run *run = core->runs; busy > 0; run++) {
        if (run->first == NULL)
            continue;
        if (run->begin < end && begin < run->end)
            return true;
        busy--;
    }
    return false;
}

static void drop_cancelled(struct writer_core *core)
{
    struct writer_write *write;

    while ((write = core->batch) != NULL && (write->flags & WRITE_CANCELED) != 0) {
        core->batch = write->behind;
        writer_write_ends(core, write, write->error);
    }
}

/* Takes what is adjacent from the head of the batch, unless it has to wait. */
static struct writer_run *run_take(struct writer_core *core)
{
    struct writer_write *first = core->batch, *last = first;
    struct writer_run   *run = core->runs;
    uint64_t             end = first->offset + first->size;

    for (struct writer_write *write; (write = last->behind) != NULL && write->offset == end; last = write) {
        if ((write->flags & WRITE_CANCELED) != 0)
            break;
        end += write->size;
    }
    if (in_flight_between(core, first->offset, end))
        return NULL;
    while (run->first != NULL)
        run++;
    *run = (struct writer_run){.core = core, .first = first, .begin = first->offset, .end = end};
    core->batch = last->behind;
    last->behind = NULL;
    for (struct writer_write *write = first; write != NULL; write = write->behind)
        write->flags |= WRITE_STARTED;
    core->runs_busy++;
    return run;
}

/* Whether what is queued should leave now. What is adjacent to a run in flight waits for it, since meanwhile more may
 * come; and all wait where a sync is due, for that. */
static bool batch_due(const struct writer_core *core)
{
    const struct writer_write *first = core->queued;

    if (!writer_is(core, WRITER_DUE) || first == &core->live || core->landed.first != NULL)
        return false;
    while ((first->flags & WRITE_SYNC) != 0)
        if ((first = first->next) == &core->live)
            return false;
    return !in_flight_between(core, first->offset == 0 ? 0 : first->offset - 1, first->offset + first->size + 1);
}

static bool restart_runs(struct writer_core *core)
{
    for (uint32_t i = 0; i < core->options.runs_max && core->runs_busy > 0; i++) {
        struct writer_run *run = &core->runs[i];

        if (run->first != NULL && run->id == 0 && !run_start(run))
            return false;
    }
    return true;
}

void writer_runs_work(struct writer_core *core)
{
    struct writer_run *run;

    if (!restart_runs(core))
        return;
    for (;;) {
        drop_cancelled(core);
        if (core->runs_busy == core->options.runs_max)
            return;
        if (core->batch == NULL) {
            if (!batch_due(core))
                break;
            writer_batch_make(core);
            continue;
        }
        run = run_take(core);
        if (run == NULL || !run_start(run))
            return;
    }
    if (core->queued_bytes == 0) {
        core->state &= ~(uint32_t)WRITER_DUE;
        loop_timer_stop(&core->deadline);
    }
}

void writer_runs_drop(struct writer_core *core)
{
    for (uint32_t i = 0; i < core->options.runs_max; i++) {
        struct writer_run *run = &core->runs[i];

        run->parents = true;
        if (run->id == 0)
            run_ends(run, -EOWNERDEAD);
    }
}

/* ---- syncs */

static void sync_ends(struct writer_core *core, int error)
{
    struct writer_write *write;

    while ((write = writer_list_pop(&core->syncing)) != NULL) {
        if (error != 0)
            write->error = error;
        writer_list_append(&core->told, write);
    }
}

static void sync_done(struct loop *loop, const struct loop_result *result, void *arg)
{
    struct writer_core *core = arg;

    core->sync_id = 0;
    if (result->res == -ERESTART || error_passes(result->res)) { /* the same once more */
        if (core->landed.first != NULL) {
            core->syncing.last->behind = core->landed.first;
            core->syncing.last = core->landed.last;
        }
        core->landed = core->syncing;
        core->syncing = (struct writer_list){0};
        loop_task_retry(loop, &core->task);
        return;
    }
    if (result->res < 0 && result->res != -ECANCELED && core->sync_error == 0)
        core->sync_error = result->res;
    sync_ends(core, result->res);
    writer_work(core);
    writer_tell(core);
}

/* After one that has failed the kernel would say that all is well, though it has forgotten what it could not write. */
static void sync_in_vain(struct writer_core *core)
{
    core->syncing = core->landed;
    core->landed = (struct writer_list){0};
    sync_ends(core, core->sync_error);
}

void writer_sync_work(struct writer_core *core)
{
    writer_syncs_due(core);
    if (core->landed.first == NULL || core->sync_id != 0 || core->batch != NULL || core->runs_busy > 0)
        return;
    if (core->sync_error != 0) {
        sync_in_vain(core);
        return;
    }
    core->sync_id = loop_fdatasync(core->loop, core->fd, sync_done, core, NULL);
    if (core->sync_id == -ENOBUFS || core->sync_id == -ENOMEM) {
        core->sync_id = 0;
        loop_task_retry(core->loop, &core->task);
        return;
    }
    core->syncing = core->landed;
    core->landed = (struct writer_list){0};
    if (core->sync_id < 0) {
        int error = (int)core->sync_id;

        core->sync_id = 0;
        sync_ends(core, error);
        return;
    }
    (void)op_of_object(core->loop, core->sync_id);
    core->stats.syncs++;
}
