/* fs/directory.c: listings of directories; directories made with those above them. */
#include "fs/entries.h"
#include "fs/job.h"
#include "loop/call.h"
#include "loop/op_start.h"
#include "loop/seam_file.h"

#include <fcntl.h>
#include <ringloop/directory.h>
#include <string.h>
#include <sys/stat.h>

enum {
    BUFFER_BYTES = 32 * 1024,
    ENTRY_LEAST = 24, /* bytes of the smallest that the kernel writes */
    BATCH_MOST = BUFFER_BYTES / ENTRY_LEAST,
    MKDIR_TRIES = 16,
};

struct listing_job {
    struct loop_job      job;
    struct loop_listing *listing;
    loop_listing_cb     *cb;
    loop_listing_end_cb *end_cb;
    uint32_t             flags;
    int                  dirfd, fd; /* fd: -1 until it is open */
    size_t               count;
    struct loop_entry    entries[BATCH_MOST];
    _Alignas(8) char buffer[BUFFER_BYTES]; /* the path until it is open */
};

static const uint32_t listing_flags = LOOP_LISTING_NOFOLLOW | LOOP_LISTING_BENEATH | LOOP_LISTING_TYPES;

/* ---- on a thread */

static int open_directory(struct listing_job *listing)
{
    int flags = O_RDONLY | O_DIRECTORY | O_NONBLOCK;

    if ((listing->flags & LOOP_LISTING_NOFOLLOW) != 0)
        flags |= O_NOFOLLOW;
    return (listing->flags & LOOP_LISTING_BENEATH) != 0 ? sys_open_beneath(listing->dirfd, listing->buffer, flags, 0)
                                                        : sys_open_at(listing->dirfd, listing->buffer, flags, 0);
}

static void take_entries(struct listing_job *listing, size_t bytes)
{
    for (size_t at = 0; at < bytes && job_stopped(&listing->job) == 0;) {
        const struct raw_entry *raw = (const struct raw_entry *)(const void *)(listing->buffer + at);
        uint8_t                 type = raw->type;

        at += raw->size;
        if (raw_entry_is_dots(raw))
            continue;
        if (type == LOOP_ENTRY_UNKNOWN && (listing->flags & LOOP_LISTING_TYPES) != 0)
            type = entry_type(listing->fd, raw->name);
        CHECK(listing->count < BATCH_MOST);
        listing->entries[listing->count++] = (struct loop_entry){
            .name = raw->name,
            .inode = raw->inode,
            .name_size = (uint32_t)strlen(raw->name),
            .type = type,
        };
    }
}

static int listing_step(struct loop_job *job)
{
    struct listing_job *listing = container_of(job, struct listing_job, job);
    ssize_t             size;

    if (listing->fd < 0) {
        listing->fd = open_directory(listing);
        if (listing->fd < 0)
            return listing->fd;
    }
    do { /* at least once more after the dots */
        size = sys_entries_read(listing->fd, listing->buffer, sizeof(listing->buffer));
        if (size <= 0)
            return (int)size;
        take_entries(listing, (size_t)size);
    } while (listing->count == 0 && job_stopped(job) == 0);
    return 1;
}

/* ---- on the loop */

static bool listing_tell(struct loop_job *job)
{
    struct listing_job *listing = container_of(job, struct listing_job, job);
    size_t              count = listing->count;

    listing->count = 0;
    if (count > 0)
        listing->cb(listing->listing, listing->entries, count);
    return true;
}

static void listing_end(struct loop_job *job, int error)
{
    struct listing_job  *own = container_of(job, struct listing_job, job);
    struct loop_listing *listing = own->listing;
    loop_listing_end_cb *end_cb = own->end_cb;

    if (own->fd >= 0)
        (void)sys_close(own->fd);
    job_free(job);
    listing->priv.job = NULL;
    end_cb(listing, error);
}

static void listing_describe(const struct loop_object *object, struct loop_walk_item *item)
{
    const struct listing_job *own = container_of(object, struct listing_job, job.object);

    item->object = own->listing;
    job_describe(&own->job, item);
}

static const struct job_class listing_class = {
    .object = {.name = "listing", .close = job_close, .rehome = job_rehome, .describe = listing_describe},
    .work_class = LOOP_WORK_DEFAULT,
    .step = listing_step,
    .tell = listing_tell,
    .end = listing_end,
};

static const struct loop_listing_options listing_defaults;

int loop_listing_start(struct loop *loop, struct loop_listing *listing, int dirfd, const char *path,
                       const struct loop_listing_options *options, loop_listing_cb *cb, loop_listing_end_cb *end_cb)
{
    struct listing_job *own;
    int                 r;

    loop_check_owner(loop, __func__);
    if (options == NULL)
        options = &listing_defaults;
    r = call_check_path(dirfd, path);
    if (r < 0)
        return r;
    if (listing == NULL || cb == NULL || end_cb == NULL || (options->flags & ~listing_flags) != 0 ||
        options->reserved != 0)
        return -EINVAL;
    if (listing->priv.job != NULL)
        return -EBUSY;
    own = job_new(loop, &listing_class, sizeof(*own));
    if (own == NULL)
        return -ENOMEM;
    own->listing = listing;
    own->cb = cb;
    own->end_cb = end_cb;
    own->flags = options->flags;
    own->dirfd = dirfd;
    own->fd = -1;
    strcpy(own->buffer, path); /* PATH_MAX at most */
    r = job_start(&own->job, options->timeout_ns);
    if (r < 0) {
        job_free(&own->job);
        return r;
    }
    listing->priv = (struct loop_listing_private){.loop = loop, .job = &own->job};
    return 0;
}

static int with_job(const char *call, struct loop_listing *listing, void (*act)(struct loop_job *job))
{
    if (listing->priv.job == NULL)
        return -ENOENT;
    loop_check_owner(listing->priv.loop, call);
    act(listing->priv.job);
    return 0;
}

int loop_listing_pause(struct loop_listing *listing)
{
    return with_job(__func__, listing, job_pause);
}

int loop_listing_resume(struct loop_listing *listing)
{
    return with_job(__func__, listing, job_resume);
}

static void cancel(struct loop_job *job)
{
    job_cancel(job, -ECANCELED);
}

int loop_listing_cancel(struct loop_listing *listing)
{
    return with_job(__func__, listing, cancel);
}

struct loop *loop_listing_loop(const struct loop_listing *listing)
{
    return listing->priv.loop;
}

/* ---- directories made with those above them: on a thread */

struct mkdir_call {
    struct call call;
    int         dirfd;
    mode_t      mode;
    char        path[];
};

/* What exists is fine if it leads to a directory. */
static int exists(struct mkdir_call *call)
{
    struct statx stat;
    int          r = sys_statx(call->dirfd, call->path, 0, STATX_TYPE, &stat);

    return r < 0 ? r : S_ISDIR(stat.stx_mode) ? 0 : -ENOTDIR;
}

/* The directory at path up to end: 1 if it has been made, 0 if it is there, or why it could not be made. */
static int make_one(struct mkdir_call *call, size_t end)
{
    char behind = call->path[end];
    int  r;

    call->path[end] = '\0';
    r = sys_mkdir_at(call->dirfd, call->path, call->mode);
    if (r == -EEXIST)
        r = exists(call);
    else if (r == 0)
        r = 1;
    else if (r != -ENOENT && r != -ENOTDIR && exists(call) == 0) /* NFS says EACCES or EROFS without having looked */
        r = 0;
    call->path[end] = behind;
    return r;
}

/* The end of the part before the one that ends at end; 0: there is none. */
static size_t part_before(const char *path, size_t end)
{
    while (end > 0 && path[end - 1] != '/')
        end--;
    while (end > 0 && path[end - 1] == '/')
        end--;
    return end;
}

static size_t part_behind(const char *path, size_t end)
{
    while (path[end] == '/')
        end++;
    while (path[end] != '\0' && path[end] != '/')
        end++;
    return end;
}

/* Mostly all but the last is there: so from the end back to what can be made, then forward. Somebody may remove a
 * directory meanwhile: then it begins again, but not for ever. */
static int32_t mkdir_run(struct call *base)
{
    struct mkdir_call *call = container_of(base, struct mkdir_call, call);
    size_t             size = strlen(call->path), end;
    int                r, made = 0;

    while (size > 1 && call->path[size - 1] == '/')
        call->path[--size] = '\0';
    for (int tries = 0; tries < MKDIR_TRIES; tries++) {
        end = size;
        while ((r = make_one(call, end)) == -ENOENT && part_before(call->path, end) > 0 && call_stopped(base) == 0)
            end = part_before(call->path, end);
        made += r == 1;
        while (r >= 0 && end < size && call_stopped(base) == 0) {
            end = part_behind(call->path, end);
            r = make_one(call, end);
            made += r == 1;
        }
        if (call_stopped(base) != 0 && !(r >= 0 && end == size))
            return call_stopped(base);
        if (r != -ENOENT || size == 0 || part_before(call->path, size) == 0)
            break;
    }
    return r < 0 ? r : made;
}

loop_id loop_mkdir_all(struct loop *loop, int dirfd, const char *path, mode_t mode, loop_cb *cb, void *arg,
                       const struct loop_terms *terms)
{
    struct mkdir_call *call;
    int                r = call_check_path(dirfd, path);

    loop_check_owner(loop, __func__);
    if (r < 0)
        return op_refuse(loop, __func__, terms, r);
    call = call_new(loop, sizeof(*call) + strlen(path) + 1);
    if (call != NULL) {
        call->dirfd = dirfd;
        call->mode = mode;
        strcpy(call->path, path);
    }
    return call_start(loop, __func__, LOOP_WORK_DEFAULT, call == NULL ? NULL : &call->call, mkdir_run, cb, arg, terms);
}
