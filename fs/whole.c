/* fs/whole.c: whole files: the life of a job, and the steps that reading, writing and replacing share. */
#include "fs/whole_private.h"

#include <fcntl.h>
#include <ringloop/op.h>
#include <string.h>

static const uint64_t bytes_default = 64 << 20;
static const uint32_t resolve_all =
    LOOP_PATH_NO_XDEV | LOOP_PATH_NO_MAGICLINKS | LOOP_PATH_NO_SYMLINKS | LOOP_PATH_BENEATH | LOOP_PATH_IN_ROOT;
static const uint32_t flags_of[] = {
    [WHOLE_READ] = LOOP_WHOLE_GIVE,
    [WHOLE_WRITE] = LOOP_WHOLE_NEW | LOOP_WHOLE_SYNC,
    [WHOLE_REPLACE] = LOOP_WHOLE_NEW | LOOP_WHOLE_UNSYNCED | LOOP_WHOLE_KEEP_MODE | LOOP_WHOLE_KEEP_OWNER,
};

/* ---- the end */

static void job_free(struct whole_job *job)
{
    struct loop *loop = job_loop(job);

    replace_end(job);
    memory_free(loop, job->data);
    memory_free(loop, job);
}

/* What the callback is told of the size. */
static size_t told_size(const struct whole_job *job)
{
    switch ((enum whole_kind)job->kind) {
    case WHOLE_READ: return job->error < 0 ? 0 : job->size;
    case WHOLE_WRITE: return job->done;
    case WHOLE_REPLACE: return job->replaced ? job->size : 0;
    }
    return 0;
}

static void tell(struct whole_job *job)
{
    struct loop_whole *whole = job->whole;
    struct loop       *loop = job_loop(job);
    void              *data = job->error < 0 ? NULL : job->data;
    bool               give = (job->options.flags & LOOP_WHOLE_GIVE) != 0;
    int                error = job->error;
    size_t             size = told_size(job);

    loop_timer_stop(&whole->priv.deadline);
    object_gone(&whole->priv.object, true);
    whole->priv.job = NULL;
    if (data != NULL)
        job->data = NULL;
    job_free(job);
    whole->priv.cb(whole, error, data, size);
    if (!give)
        memory_free(loop, data);
}

/* ---- steps */

static void file_closed(struct loop_file *file, int error)
{
    struct whole_job *job = container_of(file, struct whole_job, file);

    job->file_open = false;
    if (job->step == STEP_CLOSE || job->step == STEP_UNDO_CLOSE)
        job_step_done(job, job->step == STEP_CLOSE ? error : 0);
}

static void file_opened(struct loop_file *file, int error)
{
    job_step_done(container_of(file, struct whole_job, file), error);
}

int job_open(struct whole_job *job, int dirfd, const char *path, int flags, uint32_t mode, uint32_t resolve)
{
    const struct loop_file_options options = {.resolve = resolve, .on_close = file_closed};
    int r = loop_file_open(job_loop(job), &job->file, dirfd, path, flags, (mode_t)mode, &options, file_opened);

    job->file_open = r == 0;
    return r;
}

static int open_begin(struct whole_job *job)
{
    int made = (job->options.flags & LOOP_WHOLE_NEW) != 0 ? O_CREAT | O_EXCL : O_CREAT | O_TRUNC;

    switch ((enum whole_kind)job->kind) {
    case WHOLE_READ: return job_open(job, job->dirfd, job->path, O_RDONLY | O_NOCTTY, 0, job->options.resolve);
    case WHOLE_WRITE:
        return job_open(job, job->dirfd, job->path, O_WRONLY | O_NOCTTY | made, job->options.mode,
                        job->options.resolve);
    case WHOLE_REPLACE: return replace_open(job);
    }
    return -EINVAL;
}

static void written(struct loop_file *file, int error, uint64_t count, void *arg)
{
    struct whole_job *job = arg;

    (void)file;
    job->done = (size_t)count;
    job_step_done(job, error);
}

static void synced(struct loop_file *file, int error, uint64_t count, void *arg)
{
    (void)file;
    (void)count;
    job_step_done(arg, error);
}

static int write_begin(struct whole_job *job)
{
    if (job->kind == WHOLE_READ)
        return STEP_SKIPPED;
    if (job->whole->priv.on_file != NULL)
        return replace_write(job);
    return loop_file_write(&job->file, job->source, job->size, 0, 0, written, job);
}

static int sync_begin(struct whole_job *job)
{
    bool wanted = job->kind == WHOLE_REPLACE ? (job->options.flags & LOOP_WHOLE_UNSYNCED) == 0
                                             : (job->options.flags & LOOP_WHOLE_SYNC) != 0;

    return wanted ? loop_file_sync(&job->file, synced, job) : STEP_SKIPPED;
}

/* The file may have been closed by the end of the loop, or be about to. */
static int close_begin(struct whole_job *job)
{
    if (!job->file_open)
        return STEP_SKIPPED;
    loop_file_close(&job->file, NULL);
    return 0;
}

static int step_begin(struct whole_job *job)
{
    bool replaces = job->kind == WHOLE_REPLACE;

    switch ((enum whole_step)job->step) {
    case STEP_DIRECTORY: return replaces ? replace_directory(job) : STEP_SKIPPED;
    case STEP_OLD: return replaces ? replace_old(job) : STEP_SKIPPED;
    case STEP_OPEN: return open_begin(job);
    case STEP_READ: return job->kind == WHOLE_READ ? whole_read_begin(job) : STEP_SKIPPED;
    case STEP_WRITE: return write_begin(job);
    case STEP_OWN: return replaces ? replace_own(job) : STEP_SKIPPED;
    case STEP_SYNC: return sync_begin(job);
    case STEP_CLOSE:
    case STEP_UNDO_CLOSE: return close_begin(job);
    case STEP_RENAME: return replaces ? replace_rename(job) : STEP_SKIPPED;
    case STEP_LINK: return job->linking ? replace_link(job) : STEP_SKIPPED;
    case STEP_UNLINK: return job->linking ? replace_unlink(job) : STEP_SKIPPED;
    case STEP_SYNC_DIRECTORY: return replaces ? replace_sync_directory(job) : STEP_SKIPPED;
    case STEP_UNDO_UNLINK: return replaces ? replace_unlink(job) : STEP_SKIPPED;
    case STEP_END: break;
    }
    return 0;
}

/* A stop that was asked for comes too late for what is done but for closing. */
static bool must_stop(const struct whole_job *job)
{
    return job->stop != 0 && !job->replaced && (job->kind == WHOLE_REPLACE || job->step < STEP_CLOSE);
}

/* Where a job goes on after a step, or after its failure. What has been renamed stays. */
static void step_next(struct whole_job *job, int error)
{
    if (job->step >= STEP_UNDO_CLOSE) {
        job->step = job->step == STEP_UNDO_CLOSE ? STEP_UNDO_UNLINK : STEP_END;
        return;
    }
    if (must_stop(job))
        error = job->stop;
    job->error = error;
    if (error == 0)
        job->step++;
    else
        job->step = job->replaced ? STEP_END : STEP_UNDO_CLOSE;
}

/* Goes on until a step has to be waited for. Returns 0, or what kept the first from beginning. */
static int job_go_on(struct whole_job *job)
{
    while (job->step != STEP_END) {
        int r = step_begin(job);

        if (r == 0)
            return 0;
        step_next(job, r < 0 ? r : 0);
    }
    return job->error;
}

void job_step_done(struct whole_job *job, int error)
{
    if (job->kind == WHOLE_REPLACE)
        error = replace_step_done(job, error);
    step_next(job, error);
    (void)job_go_on(job);
    if (job->step == STEP_END)
        tell(job);
}

int job_op(struct whole_job *job, loop_id id)
{
    if (id < 0)
        return (int)id;
    job->id = op_of_object(job_loop(job), id);
    return 0;
}

void job_op_done(struct loop *loop, const struct loop_result *result, void *arg)
{
    struct whole_job *job = arg;
    int32_t           res = result->res;

    (void)loop;
    job->id = 0;
    if (res == -ERESTART || res == -EINTR) {
        res = job->stop != 0 ? -ECANCELED : step_begin(job);
        if (res == 0)
            return;
        if (res == STEP_SKIPPED)
            res = 0; /* it was done by a plain call */
    }
    job_step_done(job, res);
}

/* ---- stopping */

static void job_stop(struct whole_job *job, int error)
{
    if (job->stop != 0)
        return;
    job->stop = error;
    if (job->lent)
        replace_stop(job);
    if (job->step >= STEP_UNDO_CLOSE || job->replaced)
        return; /* what is left is cleaning up */
    if (job->step == STEP_OPEN)
        loop_file_close(&job->file, NULL);
    else if (job->file_open)
        (void)loop_file_cancel_all(&job->file);
    if (job->id != 0)
        (void)loop_cancel(job_loop(job), job->id);
}

static void deadline_passed(struct loop_timer *timer)
{
    job_stop(container_of(timer, struct loop_whole, priv.deadline)->priv.job, -ETIMEDOUT);
}

int loop_whole_cancel(struct loop_whole *whole)
{
    if (whole->priv.job == NULL)
        return -ENOENT;
    loop_check_owner(whole->priv.loop, __func__);
    job_stop(whole->priv.job, -ECANCELED);
    return 0;
}

static void close_object(struct loop_object *object)
{
    (void)loop_whole_cancel(container_of(object, struct loop_whole, priv.object));
}

/* The parent goes on with it; its temporary file is none of ours. What is in flight ends by itself. */
static void rehome(struct loop_object *object, bool forked)
{
    struct whole_job *job = container_of(object, struct loop_whole, priv.object)->priv.job;

    if (forked && job->kind != WHOLE_READ) {
        job->forked = true;
        if (job->lent && job->stop == 0)
            replace_stop(job);
        job->stop = -EOWNERDEAD;
    }
}

/* The file is an object of its own. */
static void let_go(struct loop_object *object)
{
    const struct whole_job *job = container_of(object, struct loop_whole, priv.object)->priv.job;

    if (job->directory >= 0)
        (void)sys_close(job->directory);
}

static const struct loop_object_class whole_class = {
    .name = "whole", .close = close_object, .rehome = rehome, .let_go = let_go};

/* ---- starting */

static int check(struct loop *loop, const struct loop_whole *whole, enum whole_kind kind, const char *path,
                 const struct loop_whole_options *options, loop_whole_cb *cb)
{
    if (whole == NULL || path == NULL || cb == NULL || (options->flags & ~flags_of[kind]) != 0 ||
        (options->resolve & ~resolve_all) != 0 || options->mode > 07777 || options->reserved != 0 ||
        options->bytes_max > (uint64_t)SSIZE_MAX - 2)
        return -EINVAL;
    if (strnlen(path, PATH_MAX) >= PATH_MAX)
        return -ENAMETOOLONG;
    if (whole->priv.job != NULL)
        return -EBUSY;
    return loop->destroying ? -ECANCELED : 0;
}

static struct whole_job *job_new(struct loop *loop, struct loop_whole *whole, enum whole_kind kind, int dirfd,
                                 const char *path, const struct loop_whole_options *options)
{
    size_t            size = strlen(path) + 1;
    struct whole_job *job = memory_resize(loop, NULL, sizeof(*job) + size);

    if (job == NULL)
        return NULL;
    memset(job, 0, sizeof(*job));
    memcpy(job->path, path, size);
    job->whole = whole;
    job->kind = (uint8_t)kind;
    job->options = *options;
    job->dirfd = dirfd;
    job->directory = -1;
    if (job->options.mode == 0)
        job->options.mode = 0666;
    if (job->options.bytes_max == 0)
        job->options.bytes_max = bytes_default;
    return job;
}

/* Refers the structure to the job, and begins. */
static int job_begin(struct loop *loop, struct whole_job *job, loop_whole_file_cb *on_file, loop_whole_cb *cb)
{
    struct loop_whole *whole = job->whole;
    int                r;

    whole->priv = (struct loop_whole_private){.job = job, .loop = loop, .cb = cb, .on_file = on_file};
    r = job->kind == WHOLE_REPLACE ? replace_prepare(job) : 0;
    if (r == 0)
        r = job_go_on(job);
    if (r < 0) {
        job_free(job);
        whole->priv = (struct loop_whole_private){.loop = loop};
        return r;
    }
    object_open(loop, &whole->priv.object, &whole_class, true);
    loop_timer_unref(&whole->priv.deadline);
    if (job->options.timeout_ns != 0)
        (void)loop_timer_start(loop, &whole->priv.deadline, job->options.timeout_ns, 0, deadline_passed);
    return 0;
}

static int whole_start(struct loop *loop, const char *call, struct loop_whole *whole, enum whole_kind kind, int dirfd,
                       const char *path, const void *source, size_t size, const struct loop_whole_options *options,
                       loop_whole_file_cb *on_file, loop_whole_cb *cb)
{
    static const struct loop_whole_options defaults;
    struct whole_job                      *job;
    int                                    r;

    loop_check_owner(loop, call);
    if (options == NULL)
        options = &defaults;
    r = check(loop, whole, kind, path, options, cb);
    if (r < 0)
        return r;
    if ((source == NULL && size > 0) || size > SSIZE_MAX)
        return -EINVAL;
    job = job_new(loop, whole, kind, dirfd, path, options);
    if (job == NULL)
        return -ENOMEM;
    job->source = source;
    job->size = size;
    return job_begin(loop, job, on_file, cb);
}

int loop_whole_read(struct loop *loop, struct loop_whole *whole, int dirfd, const char *path,
                    const struct loop_whole_options *options, loop_whole_cb *cb)
{
    return whole_start(loop, __func__, whole, WHOLE_READ, dirfd, path, NULL, 0, options, NULL, cb);
}

int loop_whole_write(struct loop *loop, struct loop_whole *whole, int dirfd, const char *path, const void *data,
                     size_t size, const struct loop_whole_options *options, loop_whole_cb *cb)
{
    return whole_start(loop, __func__, whole, WHOLE_WRITE, dirfd, path, data, size, options, NULL, cb);
}

int loop_whole_replace(struct loop *loop, struct loop_whole *whole, int dirfd, const char *path, const void *data,
                       size_t size, const struct loop_whole_options *options, loop_whole_cb *cb)
{
    return whole_start(loop, __func__, whole, WHOLE_REPLACE, dirfd, path, data, size, options, NULL, cb);
}

int loop_whole_replace_begin(struct loop *loop, struct loop_whole *whole, int dirfd, const char *path,
                             const struct loop_whole_options *options, loop_whole_file_cb *on_file, loop_whole_cb *cb)
{
    loop_check_owner(loop, __func__);
    if (on_file == NULL)
        return -EINVAL;
    return whole_start(loop, __func__, whole, WHOLE_REPLACE, dirfd, path, NULL, 0, options, on_file, cb);
}

void loop_whole_free(struct loop *loop, void *data)
{
    loop_check_owner(loop, __func__);
    memory_free(loop, data);
}

struct loop *loop_whole_loop(const struct loop_whole *whole)
{
    return whole->priv.loop;
}
