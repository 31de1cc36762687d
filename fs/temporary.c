/* fs/temporary.c: files and directories under names that nobody else has, and files without a name. */
#include "fs/random_name.h"
#include "loop/call.h"
#include "loop/op_start.h"
#include "loop/seam_file.h"

#include <fcntl.h>
#include <ringloop/temporary.h>
#include <string.h>

enum { LETTERS_LEAST = 6 };

static const int file_flags = O_APPEND | O_DIRECT | O_DSYNC | O_NOATIME | O_SYNC;

struct temporary_call {
    struct call call;
    int         dirfd, fd, flags;
    mode_t      mode;
    bool        directory;
    char       *ret_path;
    size_t      letters_at, letters_size;
    char        path[];
};

/* ---- on a thread */

static int make(struct temporary_call *call)
{
    int r;

    if (!call->directory)
        return sys_open_at(call->dirfd, call->path, O_RDWR | O_CREAT | O_EXCL | call->flags, call->mode);
    r = sys_mkdir_at(call->dirfd, call->path, call->mode);
    return r < 0 ? r : 0;
}

static int32_t template_run(struct call *base)
{
    struct temporary_call *call = container_of(base, struct temporary_call, call);
    int                    r = -EEXIST;

    for (int i = 0; i < RANDOM_NAME_TRIES && r == -EEXIST && call_stopped(base) == 0; i++) {
        r = random_name(call->path + call->letters_at, call->letters_size);
        if (r == 0)
            r = make(call);
    }
    if (r >= 0)
        memcpy(call->ret_path + call->letters_at, call->path + call->letters_at, call->letters_size);
    return r == -EEXIST && call_stopped(base) != 0 ? call_stopped(base) : r;
}

/* Old file systems see the directory only. */
static int32_t unnamed_run(struct call *base)
{
    struct temporary_call *call = container_of(base, struct temporary_call, call);
    int                    r = sys_open_at(call->dirfd, call->path, O_RDWR | O_TMPFILE | call->flags, call->mode);

    return r == -EISDIR ? -EOPNOTSUPP : r;
}

static int32_t name_run(struct call *base)
{
    struct temporary_call *call = container_of(base, struct temporary_call, call);

    return sys_descriptor_link(call->fd, call->dirfd, call->path);
}

/* ---- the calls */

/* The last row of X in the last part. */
static bool find_letters(struct temporary_call *call)
{
    const char *slash = strrchr(call->path, '/');
    size_t      first = slash == NULL ? 0 : (size_t)(slash - call->path) + 1, end = strlen(call->path), at;

    for (; end > first; end = at > first ? at - 1 : first) {
        at = end;
        while (at > first && call->path[at - 1] == 'X')
            at--;
        if (end - at >= LETTERS_LEAST) {
            call->letters_at = at;
            call->letters_size = end - at;
            return true;
        }
    }
    return false;
}

static loop_id start(struct loop *loop, const char *name, struct temporary_call model, const char *path, call_run *run,
                     loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    struct temporary_call *call;
    bool                   opens = run == unnamed_run || (run == template_run && !model.directory);
    int                    r = call_check_path(model.dirfd, path);

    loop_check_owner(loop, name);
    if (r == 0 && ((model.flags & ~file_flags) != 0 || (opens && cb == NULL))) /* as op_start_request() has it */
        r = -EINVAL;
    if (r < 0)
        return op_refuse(loop, name, terms, r);
    call = call_new(loop, sizeof(*call) + strlen(path) + 1);
    if (call == NULL)
        return op_refuse(loop, name, terms, -ENOMEM);
    *call = model;
    strcpy(call->path, path);
    if (run == template_run && !find_letters(call)) {
        memory_free(loop, call);
        return op_refuse(loop, name, terms, -EINVAL);
    }
    return call_start(loop, name, LOOP_WORK_DEFAULT, &call->call, run, cb, arg, terms);
}

loop_id loop_temporary_file(struct loop *loop, int dirfd, char *path, int flags, mode_t mode, loop_cb *cb, void *arg,
                            const struct loop_terms *terms)
{
    struct temporary_call model = {.dirfd = dirfd, .flags = flags, .mode = mode, .ret_path = path};

    return start(loop, __func__, model, path, template_run, cb, arg, terms);
}

loop_id loop_temporary_directory(struct loop *loop, int dirfd, char *path, mode_t mode, loop_cb *cb, void *arg,
                                 const struct loop_terms *terms)
{
    struct temporary_call model = {.dirfd = dirfd, .mode = mode, .ret_path = path, .directory = true};

    return start(loop, __func__, model, path, template_run, cb, arg, terms);
}

loop_id loop_temporary_unnamed(struct loop *loop, int dirfd, const char *directory, int flags, mode_t mode, loop_cb *cb,
                               void *arg, const struct loop_terms *terms)
{
    struct temporary_call model = {.dirfd = dirfd, .flags = flags, .mode = mode};

    return start(loop, __func__, model, directory, unnamed_run, cb, arg, terms);
}

loop_id loop_temporary_name(struct loop *loop, int fd, int dirfd, const char *path, loop_cb *cb, void *arg,
                            const struct loop_terms *terms)
{
    struct temporary_call model = {.fd = fd, .dirfd = dirfd};

    if (fd < 0 || (fd & LOOP_FIXED_FLAG) != 0)
        return op_refuse(loop, __func__, terms, -EBADF);
    return start(loop, __func__, model, path, name_run, cb, arg, terms);
}
