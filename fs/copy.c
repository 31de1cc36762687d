/* fs/copy.c: copies of files, in pieces on the work pool. */
#include "fs/job.h"
#include "fs/random_name.h"
#include "loop/call.h"
#include "loop/seam_file.h"

#include <fcntl.h>
#include <ringloop/copy.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum {
    PIECE_BYTES = 16 * 1024 * 1024,
    CHUNK_BYTES = 1024 * 1024, /* between two looks at whether to stop */
    BUFFER_BYTES = 64 * 1024,  /* on the thread's stack */
    LETTERS = 12,
    NAME_BYTES = 32,
};

static const uint32_t copy_flags = LOOP_COPY_REPLACE | LOOP_COPY_CLONE | LOOP_COPY_NOFOLLOW | LOOP_COPY_SYNC;

struct copy_job {
    struct loop_job        job;
    struct loop_copy      *copy;
    loop_copy_cb          *cb;
    loop_copy_progress_cb *on_progress;
    uint32_t               flags;
    int                    from_dirfd, to_dirfd;
    int                    from, to, directory; /* -1: not open */
    mode_t                 mode;
    bool                   begun, by_range;
    uint64_t               size; /* 0: not known */
    uint64_t               done, told;
    uint64_t               data_end;         /* from done up to there are data */
    char                   name[NAME_BYTES]; /* of the copy while it is made; "": there is none */
    const char            *to_name;
    char                  *to_path;
    char                   from_path[];
};

/* ---- on a thread: the beginning */

static int check_source(int dirfd, const char *path, int flags, struct statx *ret_stat)
{
    int r = sys_statx(dirfd, path, flags, STATX_TYPE | STATX_MODE | STATX_SIZE, ret_stat);

    if (r < 0)
        return r;
    switch (ret_stat->stx_mode & S_IFMT) {
    case S_IFREG: return 0;
    case S_IFDIR: return -EISDIR;
    case S_IFLNK: return -ELOOP;
    default: return -EINVAL;
    }
}

/* Looked at before it is opened, too: that alone lets a writer into a pipe, and may rewind a tape. */
static int open_source(struct copy_job *copy)
{
    bool         follow = (copy->flags & LOOP_COPY_NOFOLLOW) == 0;
    int          flags = O_RDONLY | O_NONBLOCK | (follow ? 0 : O_NOFOLLOW);
    struct statx stat;
    int          r = check_source(copy->from_dirfd, copy->from_path, follow ? 0 : AT_SYMLINK_NOFOLLOW, &stat);

    if (r == 0)
        r = sys_open_at(copy->from_dirfd, copy->from_path, flags, 0);
    if (r < 0)
        return r;
    copy->from = r;
    r = check_source(copy->from, "", AT_EMPTY_PATH, &stat);
    if (r < 0)
        return r;
    copy->mode = stat.stx_mode & 0777;
    copy->size = stat.stx_size;
    return 0;
}

/* What is at the target is looked at before all is copied, not only after. */
static int check_target(struct copy_job *copy)
{
    struct statx stat;
    int          r = sys_statx(copy->directory, copy->to_name, AT_SYMLINK_NOFOLLOW, STATX_TYPE, &stat);

    if (r == -ENOENT)
        return 0;
    if (r < 0)
        return r;
    if (S_ISDIR(stat.stx_mode))
        return -EISDIR;
    return (copy->flags & LOOP_COPY_REPLACE) != 0 ? 0 : -EEXIST;
}

static int open_target(struct copy_job *copy)
{
    char name[NAME_BYTES] = ".copy-";
    int  r = sys_open_at(copy->to_dirfd, copy->to_path, O_RDONLY | O_DIRECTORY, 0);

    if (r == -EACCES && (copy->flags & LOOP_COPY_SYNC) == 0) /* which needs one that can be synced */
        r = sys_open_at(copy->to_dirfd, copy->to_path, O_PATH | O_DIRECTORY, 0);
    if (r < 0)
        return r;
    copy->directory = r;
    r = check_target(copy);
    if (r < 0)
        return r;
    r = -EEXIST;
    for (int i = 0; i < RANDOM_NAME_TRIES && r == -EEXIST; i++) {
        r = random_name(name + strlen(".copy-"), LETTERS);
        if (r == 0)
            r = sys_open_at(copy->directory, name, O_RDWR | O_CREAT | O_EXCL, 0600);
    }
    if (r < 0)
        return r;
    copy->to = r;
    memcpy(copy->name, name, sizeof(name));
    return 0;
}

/* 1, or 0 if nothing is left to be copied. */
static int begin(struct copy_job *copy)
{
    int r = open_source(copy);

    if (r == 0)
        r = open_target(copy);
    if (r < 0)
        return r;
    copy->begun = copy->by_range = true;
    r = copy->size > 0 || (copy->flags & LOOP_COPY_CLONE) != 0 ? sys_clone(copy->to, copy->from) : -EOPNOTSUPP;
    if (r == 0) {
        copy->done = copy->size;
        return 0;
    }
    if ((copy->flags & LOOP_COPY_CLONE) != 0)
        return r == -ENOTTY || r == -EINVAL ? -EOPNOTSUPP : r;
    r = copy->size > 0 ? sys_size_set(copy->to, (int64_t)copy->size) : 0; /* all is a hole so far */
    return r < 0 ? r : 1;
}

/* ---- a piece */

/* No data are left: the rest is a hole, or the source has shrunk. */
static int pass_rest(struct copy_job *copy)
{
    int64_t end = sys_seek(copy->from, 0, SEEK_END);

    if (end >= 0 && (uint64_t)end < copy->size) {
        copy->size = (uint64_t)end > copy->done ? (uint64_t)end : copy->done;
        copy->done = copy->size;
        return sys_size_set(copy->to, (int64_t)copy->size);
    }
    copy->done = copy->size;
    return 0;
}

/* On to the next data. Where the file system does not tell, all is. */
static int pass_hole(struct copy_job *copy)
{
    int64_t data = sys_seek(copy->from, (int64_t)copy->done, SEEK_DATA), hole;

    copy->data_end = copy->size;
    if (data == -ENXIO || data >= (int64_t)copy->size)
        return pass_rest(copy);
    if (data < 0)
        return 0;
    copy->done = (uint64_t)data;
    hole = sys_seek(copy->from, data, SEEK_HOLE);
    if (hole > data && (uint64_t)hole < copy->size)
        copy->data_end = (uint64_t)hole;
    return 0;
}

/* Writes all of it: 0 or a negative errno. */
static int write_all(struct copy_job *copy, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t n = sys_write_at(copy->to, data, size, (int64_t)copy->done);

        if (n <= 0)
            return n < 0 ? (int)n : -EIO;
        data += n;
        size -= (size_t)n;
        copy->done += (size_t)n;
    }
    return 0;
}

/* 1, 0 at the end of the source, or a negative errno. */
static int copy_by_hand(struct copy_job *copy, uint64_t size)
{
    char    buffer[BUFFER_BYTES];
    ssize_t n = sys_read_at(copy->from, buffer, size < sizeof(buffer) ? size : sizeof(buffer), (int64_t)copy->done);
    int     r;

    if (n <= 0)
        return (int)n;
    r = write_all(copy, buffer, (size_t)n);
    return r < 0 ? r : 1;
}

static bool is_final(ssize_t error)
{
    return error == -ENOSPC || error == -EDQUOT || error == -EFBIG || error == -EIO;
}

/* Where copy_file_range(2) does not work, or says that nothing is there, reading finds out what is true. */
static int copy_some(struct copy_job *copy)
{
    uint64_t size = copy->data_end - copy->done;
    ssize_t  n;

    if (size > CHUNK_BYTES)
        size = CHUNK_BYTES;
    if (!copy->by_range)
        return copy_by_hand(copy, size);
    n = sys_copy_range(copy->from, (int64_t)copy->done, copy->to, (int64_t)copy->done, size);
    if (n > 0) {
        copy->done += (uint64_t)n;
        return 1;
    }
    if (n < 0 && is_final(n))
        return (int)n;
    copy->by_range = false;
    return 1;
}

/* 1 if there is more, 0 when all is copied. */
static int copy_piece(struct copy_job *copy)
{
    uint64_t end = copy->done + PIECE_BYTES;
    int      r;

    while (copy->done < end) {
        if (job_stopped(&copy->job) != 0)
            return job_stopped(&copy->job);
        if (copy->size == 0) {
            r = copy_by_hand(copy, BUFFER_BYTES);
            if (r <= 0)
                return r;
            continue;
        }
        r = copy->done >= copy->data_end ? pass_hole(copy) : 0;
        if (r < 0 || copy->done >= copy->size)
            return r;
        r = copy_some(copy);
        if (r == 0) { /* the source has shrunk */
            copy->size = copy->done;
            return sys_size_set(copy->to, (int64_t)copy->done);
        }
        if (r < 0)
            return r;
    }
    return 1;
}

/* ---- the end */

static int take_name(struct copy_job *copy)
{
    bool replace = (copy->flags & LOOP_COPY_REPLACE) != 0;
    int  r = sys_rename_at(copy->directory, copy->name, copy->directory, copy->to_name, replace ? 0 : RENAME_NOREPLACE);

    if (r == -EINVAL && !replace) { /* not on this file system; a link never takes another's place */
        r = sys_link_at(copy->directory, copy->name, copy->directory, copy->to_name, 0);
        if (r == 0)
            (void)sys_unlink_at(copy->directory, copy->name, 0);
    }
    if (r == 0)
        copy->name[0] = '\0';
    return r;
}

static int finish(struct copy_job *copy)
{
    bool sync = (copy->flags & LOOP_COPY_SYNC) != 0;
    int  r = sys_chmod_fd(copy->to, copy->mode);

    if (r == -EPERM || r == -EOPNOTSUPP) /* the file is ours: FAT and CIFS have no such modes */
        r = 0;
    if (r == 0 && sync)
        r = sys_fsync(copy->to);
    if (r == 0)
        r = take_name(copy);
    if (r == 0 && sync)
        r = sys_fsync(copy->directory);
    return r == -EINVAL && copy->name[0] == '\0' ? 0 : r; /* file systems that can't sync directories */
}

static void close_fd(int *fd)
{
    int closing = *fd;

    *fd = -1;
    if (closing >= 0)
        (void)sys_close(closing);
}

/* On a thread wherever that is possible: to free the blocks of a large file takes time. */
static void tidy(struct copy_job *copy)
{
    if (copy->name[0] != '\0' && !copy->job.forked)
        (void)sys_unlink_at(copy->directory, copy->name, 0);
    copy->name[0] = '\0';
    close_fd(&copy->from);
    close_fd(&copy->to);
    close_fd(&copy->directory);
}

static int copy_step(struct loop_job *job)
{
    struct copy_job *copy = container_of(job, struct copy_job, job);
    int              r = job_stopped(job);

    if (r == 0)
        r = copy->begun ? copy_piece(copy) : begin(copy);
    if (r == 0)
        r = finish(copy);
    if (r <= 0)
        tidy(copy);
    return r;
}

/* ---- on the loop */

static bool copy_tell(struct loop_job *job)
{
    struct copy_job *copy = container_of(job, struct copy_job, job);

    if (copy->on_progress != NULL && job->result >= 0 && copy->done != copy->told) {
        copy->told = copy->done;
        copy->on_progress(copy->copy, copy->done, copy->size);
    }
    return true;
}

static void copy_end(struct loop_job *job, int error)
{
    struct copy_job  *own = container_of(job, struct copy_job, job);
    struct loop_copy *copy = own->copy;
    loop_copy_cb     *cb = own->cb;
    uint64_t          bytes = own->done;

    tidy(own);
    job_free(job);
    copy->priv.job = NULL;
    cb(copy, error, bytes);
}

static void copy_describe(const struct loop_object *object, struct loop_walk_item *item)
{
    const struct copy_job *own = container_of(object, struct copy_job, job.object);

    item->object = own->copy;
    job_describe(&own->job, item);
}

static const struct job_class copy_class = {
    .object = {.name = "copy", .close = job_close, .rehome = job_rehome, .describe = copy_describe},
    .work_class = LOOP_WORK_SLOW,
    .tidies = true,
    .step = copy_step,
    .tell = copy_tell,
    .end = copy_end,
};

static const struct loop_copy_options copy_defaults;

/* Both paths, the target's cut into its directory and its name. */
static struct copy_job *copy_new(struct loop *loop, const char *from, const char *to)
{
    size_t           from_size = strlen(from) + 1, to_size = strlen(to) + 1;
    const char      *slash = strrchr(to, '/');
    size_t           directory_size = slash == NULL ? 0 : (size_t)(slash - to) + 1;
    struct copy_job *copy = job_new(loop, &copy_class, sizeof(*copy) + from_size + 2 * to_size + 2);
    char            *text;

    if (copy == NULL)
        return NULL;
    memcpy(copy->from_path, from, from_size);
    text = copy->from_path + from_size;
    copy->to_path = text;
    memcpy(text, slash == NULL ? "." : to, slash == NULL ? 1 : directory_size); /* with its slash: it may be the root */
    text += to_size + 1;
    copy->to_name = memcpy(text, to + directory_size, to_size - directory_size);
    copy->from = copy->to = copy->directory = -1;
    return copy;
}

static int check(const struct loop_copy *copy, int from_dirfd, const char *from, int to_dirfd, const char *to,
                 const struct loop_copy_options *options, loop_copy_cb *cb)
{
    int r = call_check_path(from_dirfd, from);

    if (r == 0)
        r = call_check_path(to_dirfd, to);
    if (r < 0)
        return r;
    if (copy == NULL || cb == NULL || (options->flags & ~copy_flags) != 0 || options->reserved != 0)
        return -EINVAL;
    if (to[0] == '\0')
        return -ENOENT;
    if (to[strlen(to) - 1] == '/')
        return -EISDIR;
    return copy->priv.job != NULL ? -EBUSY : 0;
}

int loop_copy_start(struct loop *loop, struct loop_copy *copy, int from_dirfd, const char *from, int to_dirfd,
                    const char *to, const struct loop_copy_options *options, loop_copy_cb *cb)
{
    struct copy_job *own;
    int              r;

    loop_check_owner(loop, __func__);
    if (options == NULL)
        options = &copy_defaults;
    r = check(copy, from_dirfd, from, to_dirfd, to, options, cb);
    if (r < 0)
        return r;
    own = copy_new(loop, from, to);
    if (own == NULL)
        return -ENOMEM;
    own->copy = copy;
    own->cb = cb;
    own->on_progress = options->on_progress;
    own->flags = options->flags;
    own->from_dirfd = from_dirfd;
    own->to_dirfd = to_dirfd;
    r = job_start(&own->job, options->timeout_ns);
    if (r < 0) {
        job_free(&own->job);
        return r;
    }
    copy->priv = (struct loop_copy_private){.loop = loop, .job = &own->job};
    return 0;
}

int loop_copy_cancel(struct loop_copy *copy)
{
    if (copy->priv.job == NULL)
        return -ENOENT;
    loop_check_owner(copy->priv.loop, __func__);
    job_cancel(copy->priv.job, -ECANCELED);
    return 0;
}

struct loop *loop_copy_loop(const struct loop_copy *copy)
{
    return copy->priv.loop;
}
