/* fs/tree.c: removal of trees, on a thread of the work pool. Nothing is looked up by more than a single name from an
 * open directory, and no name is followed: what is exchanged for a link meanwhile is removed as a link. */
#include "fs/descent.h"
#include "loop/call.h"
#include "loop/op_start.h"
#include "loop/seam_file.h"

#include <fcntl.h>
#include <ringloop/tree.h>
#include <string.h>
#include <sys/stat.h>

enum { PASSES = 8 };

static const uint32_t remove_flags = LOOP_TREE_CONTENTS | LOOP_TREE_STOP | LOOP_TREE_ONE_SYSTEM;

/* Of a level of the descent: tag is how many times it has been gone through, count how many of its entries can't be
 * removed. */
struct remove_call {
    struct call              call;
    struct loop             *loop;
    int                      dirfd;
    uint32_t                 flags;
    int                      error; /* the first */
    bool                     cut;   /* it was stopped before it had gone through all */
    struct loop_tree_counts  counts;
    struct loop_tree_counts *ret_counts;
    struct descent           descent;
    char                     path[]; /* without slashes at its end */
};

/* Of an entry of the lowest level, or of the path itself. */
static void failed(struct remove_call *call, int error)
{
    if (error == -ENOENT)
        return; /* somebody else has removed it */
    call->counts.errors++;
    if (call->error == 0)
        call->error = error;
    if (call->descent.depth > 0)
        descent_level(&call->descent)->count++;
}

/* Into a directory. What can't be opened may still be empty. */
static void enter(struct remove_call *call, const char *name)
{
    int r = descent_enter(&call->descent, name);

    if (r == -ENOTDIR || r == -ELOOP) { /* not one any more */
        r = sys_unlink_at(descent_fd(&call->descent), name, 0);
        call->counts.files += r == 0;
    } else if (r == -EACCES && sys_unlink_at(descent_fd(&call->descent), name, AT_REMOVEDIR) == 0) {
        call->counts.directories++;
        r = 0;
    }
    if (r < 0)
        failed(call, r);
}

static void remove_entry(struct remove_call *call, const struct raw_entry *entry)
{
    int r = -EISDIR;

    if (entry->type != LOOP_ENTRY_DIRECTORY)
        r = sys_unlink_at(descent_fd(&call->descent), entry->name, 0);
    if (r == -EISDIR) {
        enter(call, entry->name);
        return;
    }
    call->counts.files += r == 0;
    if (r < 0)
        failed(call, r);
}

/* Up from a directory that has been gone through, and remove it. If somebody has put something in meanwhile, or the
 * file system has passed over something because of what was removed, it is gone through once more. */
static void leave(struct remove_call *call)
{
    struct descent_level *level = descent_level(&call->descent);
    uint32_t              passes = level->tag + 1;
    bool                  kept = level->count > 0;
    char                  name[DESCENT_NAME_BYTES];
    int                   r;

    strcpy(name, descent_name(&call->descent));
    descent_leave(&call->descent);
    if (kept) {
        descent_level(&call->descent)->count++;
        return;
    }
    r = sys_unlink_at(descent_fd(&call->descent), name, AT_REMOVEDIR);
    if (r == -ENOTEMPTY && passes < PASSES && descent_enter(&call->descent, name) == 0) {
        descent_level(&call->descent)->tag = passes;
        return;
    }
    if (r == -ENOTDIR) { /* not one any more */
        r = sys_unlink_at(descent_fd(&call->descent), name, 0);
        call->counts.files += r == 0;
    } else {
        call->counts.directories += r == 0;
    }
    if (r < 0)
        failed(call, r);
}

static bool ends(struct remove_call *call)
{
    call->cut = call->cut || call_stopped(&call->call) != 0;
    return call->cut || (call->error != 0 && (call->flags & LOOP_TREE_STOP) != 0);
}

/* All that is in the first level. */
static void remove_contents(struct remove_call *call)
{
    const struct raw_entry *entry;
    int                     r;

    while (!ends(call)) {
        r = descent_next(&call->descent, &entry);
        if (r > 0) {
            remove_entry(call, entry);
            continue;
        }
        if (r < 0)
            failed(call, r);
        if (call->descent.depth == 1)
            return;
        leave(call);
    }
}

/* Returns 0 when it has gone through all, whatever failed. */
static int empty(struct remove_call *call, int dirfd, const char *name)
{
    uint32_t flags = DESCENT_TOP_NOFOLLOW | ((call->flags & LOOP_TREE_ONE_SYSTEM) != 0 ? DESCENT_ONE_SYSTEM : 0);
    int      r;

    descent_init(&call->descent, call->loop, flags);
    r = descent_begin(&call->descent, dirfd, name);
    if (r == 0)
        remove_contents(call);
    descent_close(&call->descent);
    return r;
}

/* A directory that may not be removed, which is said before that it is one: what is in it may go. */
static bool is_held_directory(const struct remove_call *call, int error, int dirfd, const char *name)
{
    struct statx stat;

    return (error == -EACCES || error == -EPERM) && (call->flags & LOOP_TREE_STOP) == 0 &&
           sys_statx(dirfd, name, AT_SYMLINK_NOFOLLOW, STATX_TYPE, &stat) == 0 && S_ISDIR(stat.stx_mode);
}

/* What stands at name: not a directory, or one to be emptied first. */
static int remove_name(struct remove_call *call, int dirfd, const char *name)
{
    int r = sys_unlink_at(dirfd, name, 0);

    if (r == 0)
        call->counts.files++;
    else if (is_held_directory(call, r, dirfd, name))
        r = -EISDIR;
    if (r != -EISDIR)
        return r;
    for (int pass = 0; pass < PASSES && (r == -EISDIR || r == -ENOTEMPTY); pass++) {
        r = empty(call, dirfd, name);
        if (ends(call) || call->error != 0)
            return 0; /* as it stands there */
        if (r == 0)
            r = sys_unlink_at(dirfd, name, AT_REMOVEDIR);
        else if (r == -EACCES && sys_unlink_at(dirfd, name, AT_REMOVEDIR) == 0)
            r = 0;
    }
    call->counts.directories += r == 0;
    if (r != -ENOTDIR && r != -ELOOP)
        return r;
    r = sys_unlink_at(dirfd, name, 0); /* not one any more */
    call->counts.files += r == 0;
    return r;
}

static int remove_path(struct remove_call *call)
{
    char *slash = strrchr(call->path, '/');
    int   dirfd, r;

    if ((call->flags & LOOP_TREE_CONTENTS) != 0)
        return empty(call, call->dirfd, call->path);
    if (slash == NULL)
        return remove_name(call, call->dirfd, call->path);
    *slash = '\0';
    dirfd = sys_open_at(call->dirfd, slash == call->path ? "/" : call->path, O_PATH | O_DIRECTORY, 0);
    if (dirfd < 0)
        return dirfd;
    r = remove_name(call, dirfd, slash + 1);
    (void)sys_close(dirfd);
    return r;
}

static int32_t remove_run(struct call *base)
{
    struct remove_call *call = container_of(base, struct remove_call, call);
    int                 r = remove_path(call);

    if (r < 0 && call->error == 0) {
        call->counts.errors++;
        call->error = r;
    }
    if (call->ret_counts != NULL)
        *call->ret_counts = call->counts;
    return call->cut ? call_stopped(base) : call->error;
}

/* Without slashes at the end, which would follow a link: the size, or -EINVAL for what can't be removed. */
static int trim(const char *path, uint32_t flags)
{
    size_t      size = strlen(path);
    const char *last;

    while (size > 0 && path[size - 1] == '/')
        size--;
    if (size == 0)
        return path[0] == '/' ? -EINVAL : -ENOENT;
    last = memrchr(path, '/', size);
    last = last == NULL ? path : last + 1;
    size -= (size_t)(last - path);
    if ((flags & LOOP_TREE_CONTENTS) == 0 && last[0] == '.' && (size == 1 || (size == 2 && last[1] == '.')))
        return -EINVAL;
    return (int)(size + (size_t)(last - path));
}

loop_id loop_tree_remove(struct loop *loop, int dirfd, const char *path, uint32_t flags,
                         struct loop_tree_counts *ret_counts, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    struct remove_call *call;
    int                 size = call_check_path(dirfd, path);

    loop_check_owner(loop, __func__);
    if (size == 0)
        size = (flags & ~remove_flags) != 0 ? -EINVAL : trim(path, flags);
    if (size < 0)
        return op_refuse(loop, __func__, terms, size);
    call = call_new(loop, sizeof(*call) + (size_t)size + 1);
    if (call != NULL) {
        call->loop = loop;
        call->dirfd = dirfd;
        call->flags = flags;
        call->ret_counts = ret_counts;
        memcpy(call->path, path, (size_t)size);
    }
    return call_start(loop, __func__, LOOP_WORK_SLOW, call == NULL ? NULL : &call->call, remove_run, cb, arg, terms);
}
