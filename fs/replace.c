/* fs/replace.c: the steps of an atomic replacement: temporary file, rename, sync of the directory. */
#include "fs/file_private.h"
#include "fs/random_name.h"
#include "fs/whole_private.h"

#include "loop/seam_file.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <ringloop/op.h>
#include <ringloop/op_file.h>
#include <ringloop/op_path.h>
#include <ringloop/work.h>
#include <stdio.h>
#include <string.h>

enum { NAME_KEPT = 200, LETTERS = 16, RENAME_NOREPLACE_FLAG = 1, MODE_BITS = 07777 };
static const char suffix[] = ".replacing";

static const struct loop_terms unchained = {.flags = LOOP_UNCHAINED};

/* ---- names */

static int temporary_name(struct whole_job *job)
{
    char letters[LETTERS];
    int  r = random_name(letters, sizeof(letters));

    if (r < 0)
        return r;
    (void)snprintf(job->temporary, sizeof(job->temporary), ".%.*s.%.*s%s", NAME_KEPT, job->name, LETTERS, letters,
                   suffix);
    return 0;
}

bool loop_whole_is_temporary(const char *name)
{
    size_t size = strlen(name), tail = 1 + LETTERS + sizeof(suffix) - 1;

    if (size < tail + 2 || name[0] != '.' || strcmp(name + size - (sizeof(suffix) - 1), suffix) != 0)
        return false;
    return name[size - tail] == '.' && random_name_fits(name + size - tail + 1, LETTERS);
}

/* The last name of the path, and the way to it. */
int replace_prepare(struct whole_job *job)
{
    const char *slash = strrchr(job->path, '/');
    size_t      size = slash == NULL ? 0 : (size_t)(slash - job->path);

    job->name = slash == NULL ? job->path : slash + 1;
    if (job->path[0] == '\0')
        return -ENOENT;
    if (job->name[0] == '\0' || strcmp(job->name, ".") == 0 || strcmp(job->name, "..") == 0)
        return -EISDIR;
    if (strlen(job->name) > NAME_MAX)
        return -ENAMETOOLONG;
    if (slash == job->path)
        size = 1; /* the root */
    job->directory_path = memory_resize(job_loop(job), NULL, size + 2);
    if (job->directory_path == NULL)
        return -ENOMEM;
    memcpy(job->directory_path, size == 0 ? "." : job->path, size == 0 ? 1 : size);
    job->directory_path[size == 0 ? 1 : size] = '\0';
    return temporary_name(job);
}

/* ---- steps */

int replace_directory(struct whole_job *job)
{
    const struct open_how how = {.flags = O_RDONLY | O_DIRECTORY, .resolve = job->options.resolve};

    return job_op(job, loop_openat2(job_loop(job), job->dirfd, job->directory_path, &how, sizeof(how), job_op_done, job,
                                    &unchained));
}

static bool keeps(const struct whole_job *job, uint32_t flags)
{
    return (job->options.flags & flags) != 0;
}

int replace_old(struct whole_job *job)
{
    if (!keeps(job, LOOP_WHOLE_KEEP_MODE | LOOP_WHOLE_KEEP_OWNER))
        return STEP_SKIPPED;
    return job_op(job, loop_statx(job_loop(job), job->directory, job->name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS,
                                  &job->old, job_op_done, job, &unchained));
}

/* Nobody else may read it before it has got its permissions. */
int replace_open(struct whole_job *job)
{
    uint32_t mode = job->has_old && keeps(job, LOOP_WHOLE_KEEP_MODE) ? 0600 : job->options.mode;

    return job_open(job, job->directory, job->temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode, 0);
}

/* ---- content that the user writes */

static void stopped(struct loop *loop, struct loop_task *task)
{
    struct whole_job *job = container_of(task, struct whole_job, unlent);

    (void)loop;
    job->lent = false;
    job_step_done(job, job->stop);
}

void replace_stop(struct whole_job *job)
{
    loop_task_add(job_loop(job), &job->unlent);
}

int replace_write(struct whole_job *job)
{
    job->lent = true;
    job->unlent.run = stopped;
    job->whole->priv.on_file(job->whole, &job->file);
    return 0;
}

static void sized(struct loop_file *file, int error, uint64_t size, void *arg)
{
    struct whole_job *job = arg;

    (void)file;
    job->size = (size_t)size;
    job_step_done(job, error);
}

int loop_whole_replace_commit(struct loop_whole *whole)
{
    struct whole_job *job = whole->priv.job;
    int               r;

    if (job == NULL || !job->lent)
        return -EINVAL;
    loop_check_owner(job_loop(job), __func__);
    if (job->stop != 0)
        return -ECANCELED;
    if (job->file.priv.pending > 0)
        return -EBUSY;
    r = loop_file_size(&job->file, sized, job);
    if (r == 0)
        job->lent = false;
    return r;
}

/* Bits that let it run with the rights of its owner are only kept with that owner. */
static int mode_keep(const struct whole_job *job)
{
    uint32_t     mode = job->old.stx_mode & MODE_BITS;
    struct statx now;
    int          r = sys_statx(job->own_fd, "", AT_EMPTY_PATH, STATX_UID | STATX_GID, &now);

    if (r < 0)
        return r;
    if (now.stx_uid != job->old.stx_uid)
        mode &= ~(uint32_t)S_ISUID;
    if (now.stx_gid != job->old.stx_gid)
        mode &= ~(uint32_t)S_ISGID;
    return sys_chmod_fd(job->own_fd, mode);
}

/* On a thread, after the write: that, and a change of the owner, may take bits from the mode, which so comes last. */
static int32_t own(void *arg)
{
    const struct whole_job *job = arg;
    int                     r = 0;

    if (keeps(job, LOOP_WHOLE_KEEP_OWNER))
        r = sys_chown_at(job->own_fd, "", job->old.stx_uid, job->old.stx_gid, AT_EMPTY_PATH);
    if (r == 0 && keeps(job, LOOP_WHOLE_KEEP_MODE))
        r = mode_keep(job);
    return r;
}

/* The end of the loop closes the file, too; but not while a thread has the number of its descriptor. */
int replace_own(struct whole_job *job)
{
    int r;

    if (!job->has_old)
        return STEP_SKIPPED;
    job->own_fd = loop_file_fd(&job->file);
    r = job_op(job, loop_work(job_loop(job), LOOP_WORK_DEFAULT, own, job_op_done, job, &unchained));
    if (r == 0 && !job->owning) {
        job->owning = true;
        file_hold(&job->file);
    }
    return r;
}

static void owned(struct whole_job *job)
{
    if (!job->owning)
        return;
    job->owning = false;
    file_release(&job->file);
}

int replace_rename(struct whole_job *job)
{
    return job_op(job,
                  loop_renameat(job_loop(job), job->directory, job->temporary, job->directory, job->name,
                                keeps(job, LOOP_WHOLE_NEW) ? RENAME_NOREPLACE_FLAG : 0, job_op_done, job, &unchained));
}

/* NFS, 9P and many FUSE know no flags of a rename. A link never takes another's place. */
int replace_link(struct whole_job *job)
{
    return job_op(job, loop_linkat(job_loop(job), job->directory, job->temporary, job->directory, job->name, 0,
                                   job_op_done, job, &unchained));
}

/* The operation where it can be had, else, when the loop ends, the call. */
int replace_sync_directory(struct whole_job *job)
{
    loop_id id;
    int     r;

    if (keeps(job, LOOP_WHOLE_UNSYNCED))
        return STEP_SKIPPED;
    id = loop_fsync(job_loop(job), job->directory, job_op_done, job, &unchained);
    if (id > 0)
        return job_op(job, id);
    r = replace_step_done(job, -ECANCELED);
    return r < 0 ? r : STEP_SKIPPED;
}

int replace_unlink(struct whole_job *job)
{
    loop_id id;

    if (!job->created || job->forked)
        return STEP_SKIPPED;
    id = loop_unlinkat(job_loop(job), job->directory, job->temporary, 0, job_op_done, job, &unchained);
    if (id > 0)
        return job_op(job, id);
    (void)replace_step_done(job, -ECANCELED);
    return STEP_SKIPPED;
}

/* Of syncing the directory. Some file systems know no such thing. */
static int synced_directory(const struct whole_job *job, int error)
{
    if (error == -ECANCELED)
        error = sys_fsync(job->directory);
    return error == -EINVAL ? 0 : error;
}

int replace_step_done(struct whole_job *job, int error)
{
    switch ((enum whole_step)job->step) {
    case STEP_DIRECTORY:
        if (error >= 0)
            job->directory = error;
        break;
    case STEP_OLD:
        job->has_old = error == 0 && S_ISREG(job->old.stx_mode); /* a link's mode is no mode for a file */
        if (error == -ENOENT)
            return 0;
        break;
    case STEP_OPEN: job->created = error != -EEXIST; break; /* cancelled, it may be there all the same */
    case STEP_OWN: owned(job); break;
    case STEP_RENAME:
        job->linking = error == -EINVAL && keeps(job, LOOP_WHOLE_NEW);
        job->replaced = error == 0;
        return job->linking ? 0 : error;
    case STEP_LINK: job->replaced = error == 0; break;
    case STEP_SYNC_DIRECTORY: return synced_directory(job, error);
    case STEP_UNLINK:
    case STEP_UNDO_UNLINK:
        if ((error == -ECANCELED || error == -EOWNERDEAD) && !job->forked)
            (void)sys_unlink_at(job->directory, job->temporary, 0);
        return 0;
    case STEP_READ:
    case STEP_WRITE:
    case STEP_SYNC:
    case STEP_CLOSE:
    case STEP_UNDO_CLOSE:
    case STEP_END: break;
    }
    return error < 0 ? error : 0;
}

void replace_end(struct whole_job *job)
{
    if (job->directory >= 0) {
        sys_close(job->directory);
        starved_feed(job_loop(job));
    }
    memory_free(job_loop(job), job->directory_path);
}
