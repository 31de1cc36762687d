/* fs/writer.c: the merging file writer: opening, telling, closing. */
#include "fs/writer_private.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

enum {
    RUNS_DEFAULT = 16,
    RUNS_MAX = 256,
    BATCH_BYTES_DEFAULT = 1 << 20,
    BYTES_DEFAULT = 64 << 20,
    FLAGS = LOOP_WRITER_KEEP_FD | LOOP_WRITER_UNREF | LOOP_WRITER_APPEND | LOOP_WRITER_SYNC,
};

/* ---- telling */

void writer_hold_update(struct writer_core *core)
{
    bool wanted = !writer_is(core, LOOP_WRITER_UNREF) || writer_is(core, WRITER_CLOSING) || core->pending > 0;

    if (wanted == writer_is(core, WRITER_HELD))
        return;
    core->state ^= WRITER_HELD;
    if (wanted)
        object_hold(&core->writer->priv.object);
    else
        object_release(&core->writer->priv.object);
}

static void tell(struct writer_core *core, struct writer_write *write)
{
    loop_writer_cb *cb = write->cb;
    void           *arg = write->arg;
    size_t          done = write->done;
    int             error = write->error;

    core->stats.queued -= write->size;
    core->pending--;
    if (write->release != 0)
        buffer_release(core->loop, write->release);
    writer_write_free(core->loop, write);
    if (cb != NULL)
        cb(core->writer, error, done, arg);
}

void writer_tell(struct writer_core *core)
{
    struct writer_write *write;

    while ((write = writer_list_pop(&core->told)) != NULL)
        tell(core, write);
    if (unlikely(writer_is(core, WRITER_FULL)) && core->stats.queued <= core->options.bytes_low)
        writer_work(core);
    writer_hold_update(core);
}

static void tell_water(struct writer_core *core)
{
    bool full = writer_is(core, WRITER_FULL);
    bool changed = full ? core->stats.queued <= core->options.bytes_low : core->stats.queued > core->options.bytes_high;

    if (!changed || writer_is(core, WRITER_CLOSING))
        return;
    core->state ^= WRITER_FULL;
    if (core->options.on_water != NULL)
        core->options.on_water(core->writer, !full);
}

/* ---- closing */

static void finish_close(struct writer_core *core)
{
    struct loop_writer   *writer = core->writer;
    struct loop          *loop = core->loop;
    loop_writer_close_cb *on_close = core->options.on_close;

    if (task_list_linked(&core->task))
        task_list_remove(&core->task);
    object_gone(&writer->priv.object, writer_is(core, WRITER_HELD));
    writer->priv.core = NULL;
    memory_free(loop, core);
    starved_feed(loop);
    if (on_close != NULL)
        on_close(writer);
}

/* An operation that has not begun leaves it open, and so does one that the parent of this process had begun. A slot
 * ends with the loop. */
static bool still_open(const struct writer_core *core, int res)
{
    return (core->fd & LOOP_FIXED_FLAG) == 0 &&
           (res == -ECANCELED || (res == -EOWNERDEAD && writer_is(core, WRITER_FORKED)));
}

/* Otherwise the descriptor is gone, whatever the result says. */
static void close_done(struct loop *loop, const struct loop_result *result, void *arg)
{
    struct writer_core *core = arg;

    (void)loop;
    core->close_id = 0;
    if (result->res == -ERESTART) { /* the loop has a new ring */
        writer_work(core);
        return;
    }
    if (still_open(core, result->res))
        (void)sys_close(core->fd);
    finish_close(core);
}

/* By the ring, since for some file systems the last close writes what is left. */
static void close_work(struct writer_core *core)
{
    if (core->pending > 0 || core->sync_id != 0 || core->close_id != 0)
        return;
    loop_timer_stop(&core->deadline);
    if (writer_is(core, LOOP_WRITER_KEEP_FD) || core->fd <= 2) {
        finish_close(core);
        return;
    }
    core->close_id = loop_close(core->loop, core->fd, close_done, core, NULL);
    if (core->close_id > 0) {
        (void)op_of_object(core->loop, core->close_id);
        return;
    }
    if (core->close_id == -ENOBUFS || core->close_id == -ENOMEM) {
        core->close_id = 0;
        loop_task_retry(core->loop, &core->task);
        return;
    }
    if (still_open(core, -ECANCELED)) /* the loop is being destroyed */
        (void)sys_close(core->fd);
    finish_close(core);
}

static void run_task(struct loop *loop, struct loop_task *task)
{
    struct writer_core *core = container_of(task, struct writer_core, task);

    (void)loop;
    writer_runs_work(core);
    writer_sync_work(core);
    writer_runs_work(core); /* a sync that has begun lets others go on */
    writer_tell(core);
    tell_water(core);
    if (writer_is(core, WRITER_CLOSING))
        close_work(core);
}

void writer_due(struct writer_core *core)
{
    core->state |= WRITER_DUE;
    writer_work(core);
}

void loop_writer_close(struct loop_writer *writer, loop_writer_close_cb *on_close)
{
    struct writer_core *core = writer->priv.core;

    if (core == NULL || writer_is(core, WRITER_CLOSING))
        return;
    loop_check_owner(core->loop, __func__);
    core->state |= WRITER_CLOSING;
    if (on_close != NULL)
        core->options.on_close = on_close;
    writer_hold_update(core);
    writer_due(core);
}

/* ---- the loop's view */

static void close_object(struct loop_object *object)
{
    loop_writer_close(container_of(object, struct loop_writer, priv.object), NULL);
}

/* What a child finds queued, its parent writes. */
static void rehome(struct loop_object *object, bool forked)
{
    struct writer_core *core = container_of(object, struct loop_writer, priv.object)->priv.core;

    if (!forked)
        return;
    core->state |= WRITER_FORKED;
    (void)writer_end_queued(core, true, NULL, -EOWNERDEAD);
    writer_runs_drop(core);
    writer_work(core);
}

/* Not where the close is on its way: it may have been done, and the number be another's. */
static void let_go(struct loop_object *object)
{
    struct writer_core *core = container_of(object, struct loop_writer, priv.object)->priv.core;

    if (core->close_id == 0 && !writer_is(core, LOOP_WRITER_KEEP_FD) && core->fd > 2 &&
        (core->fd & LOOP_FIXED_FLAG) == 0)
        (void)sys_close(core->fd);
}

static void describe(const struct loop_object *object, struct loop_walk_item *item)
{
    const struct loop_writer *writer = container_of(object, struct loop_writer, priv.object);

    item->fd = loop_writer_fd(writer);
    item->closing = loop_writer_closing(writer);
    item->active = writer->priv.core->stats.queued > 0;
    item->ref = writer_is(writer->priv.core, WRITER_HELD);
}

static const struct loop_object_class writer_class = {
    .name = "writer", .close = close_object, .rehome = rehome, .let_go = let_go, .describe = describe};

/* ---- opening */

static int check_options(const struct loop_writer_options *options)
{
    uint32_t max = options->bytes_max == 0 ? BYTES_DEFAULT : options->bytes_max;
    uint32_t high = options->bytes_high == 0 ? max / 4 : options->bytes_high;

    if ((options->flags & ~(uint32_t)FLAGS) != 0 || options->position < 0 || options->runs_max > RUNS_MAX ||
        options->batch_bytes > INT_MAX || options->bytes_low > high)
        return -EINVAL;
    return (options->flags & LOOP_WRITER_APPEND) != 0 && options->position != 0 ? -EINVAL : 0;
}

/* Whether it can be written to, and appends. */
static int check_file(int fd, uint32_t *flags)
{
    mode_t mode;
    int    r;

    if (fd < 0)
        return -EBADF;
    if ((fd & LOOP_FIXED_FLAG) != 0)
        return 0;
    r = sys_file_mode(fd, &mode);
    if (r < 0)
        return r;
    if (!S_ISREG(mode) && !S_ISBLK(mode))
        return -EINVAL;
    r = sys_file_flags(fd);
    if (r < 0)
        return r;
    if ((r & O_ACCMODE) == O_RDONLY)
        return -EBADF;
    if ((r & O_APPEND) != 0)
        *flags |= LOOP_WRITER_APPEND;
    return 0;
}

/* No number stands for a default any more. */
static struct loop_writer_options complete(struct loop_writer_options options)
{
    if (options.batch_bytes == 0)
        options.batch_bytes = BATCH_BYTES_DEFAULT;
    if (options.runs_max == 0)
        options.runs_max = RUNS_DEFAULT;
    if ((options.flags & LOOP_WRITER_APPEND) != 0)
        options.runs_max = 1;
    if (options.bytes_max == 0)
        options.bytes_max = BYTES_DEFAULT;
    if (options.bytes_high == 0)
        options.bytes_high = options.bytes_max / 4;
    if (options.bytes_low == 0)
        options.bytes_low = options.bytes_high / 4;
    return options;
}

static struct writer_core *core_new(struct loop *loop, const struct loop_writer_options *options)
{
    size_t              size = sizeof(struct writer_core) + options->runs_max * sizeof(struct writer_run);
    struct writer_core *core = memory_resize(loop, NULL, size);

    if (core == NULL)
        return NULL;
    *core = (struct writer_core){.loop = loop,
                                 .options = *options,
                                 .task = {.run = run_task},
                                 .position = (uint64_t)options->position,
                                 .state = options->flags,
                                 .queued = &core->live};
    for (uint32_t i = 0; i < options->runs_max; i++)
        core->runs[i] = (struct writer_run){0};
    live_list_init(&core->live);
    core->deadline.data = core;
    return core;
}

int loop_writer_open(struct loop *loop, struct loop_writer *writer, int fd, const struct loop_writer_options *options)
{
    struct loop_writer_options own = options == NULL ? (struct loop_writer_options){0} : *options;
    struct writer_core        *core;
    int                        r;

    loop_check_owner(loop, __func__);
    if (writer == NULL)
        return -EINVAL;
    if (writer->priv.core != NULL)
        return -EBUSY;
    if (loop->destroying)
        return -ECANCELED;
    if ((r = check_options(&own)) < 0 || (r = check_file(fd, &own.flags)) < 0)
        return r;
    own = complete(own);
    core = core_new(loop, &own);
    if (core == NULL)
        return -ENOMEM;
    core->writer = writer;
    core->fd = fd;
    writer->priv = (struct loop_writer_private){.core = core};
    object_open(loop, &writer->priv.object, &writer_class, false);
    writer_hold_update(core);
    return 0;
}

/* ---- what one asks of it */

static void set_ref(struct loop_writer *writer, const char *call, bool ref)
{
    struct writer_core *core = writer->priv.core;

    if (core == NULL || writer_is(core, WRITER_CLOSING) || loop_writer_has_ref(writer) == ref)
        return;
    loop_check_owner(core->loop, call);
    core->state ^= LOOP_WRITER_UNREF;
    writer_hold_update(core);
}

void loop_writer_ref(struct loop_writer *writer)
{
    set_ref(writer, __func__, true);
}

void loop_writer_unref(struct loop_writer *writer)
{
    set_ref(writer, __func__, false);
}

bool loop_writer_has_ref(const struct loop_writer *writer)
{
    const struct writer_core *core = writer->priv.core;

    return core != NULL && (!writer_is(core, LOOP_WRITER_UNREF) || writer_is(core, WRITER_CLOSING));
}

int64_t loop_writer_position(const struct loop_writer *writer)
{
    const struct writer_core *core = writer->priv.core;

    return core == NULL || writer_is(core, LOOP_WRITER_APPEND) ? -EINVAL : (int64_t)core->position;
}

int loop_writer_seek(struct loop_writer *writer, int64_t position)
{
    struct writer_core *core = writer->priv.core;

    if (core == NULL || position < 0 || writer_is(core, WRITER_CLOSING | LOOP_WRITER_APPEND))
        return -EINVAL;
    loop_check_owner(core->loop, __func__);
    core->position = (uint64_t)position;
    return 0;
}

bool loop_writer_closing(const struct loop_writer *writer)
{
    return writer->priv.core != NULL && writer_is(writer->priv.core, WRITER_CLOSING);
}

int loop_writer_fd(const struct loop_writer *writer)
{
    return writer->priv.core == NULL ? -EBADF : writer->priv.core->fd;
}

struct loop *loop_writer_loop(const struct loop_writer *writer)
{
    return writer->priv.object.loop;
}

void loop_writer_stats_get(const struct loop_writer *writer, struct loop_writer_stats *ret_stats)
{
    *ret_stats = writer->priv.core == NULL ? (struct loop_writer_stats){0} : writer->priv.core->stats;
}
