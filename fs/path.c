/* fs/path.c: what the kernel has no ring operation for, of paths and files, on the work pool. */
#include "loop/call.h"
#include "loop/op_start.h"
#include "loop/seam_file.h"

#include <fcntl.h>
#include <limits.h>
#include <ringloop/path.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

static const uint64_t flags_valid = 0x20; /* the kernel's mark that the others are filled in */

/* The arguments of any of them; fd stands where the path is not used. */
struct path_call {
    struct call              call;
    int                      fd, flags;
    mode_t                   mode;
    uid_t                    user;
    gid_t                    group;
    bool                     times_given;
    struct timespec          times[2];
    char                    *ret_text;
    size_t                   ret_size;
    struct loop_file_system *ret_file_system;
    char                     path[];
};

static struct path_call *path_call_of(struct call *call)
{
    return container_of(call, struct path_call, call);
}

/* ---- on a thread */

static int32_t run_faccessat(struct call *base)
{
    struct path_call *call = path_call_of(base);

    return sys_access_at(call->fd, call->path, (int)call->mode, call->flags);
}

static int32_t run_fchmodat(struct call *base)
{
    struct path_call *call = path_call_of(base);

    return sys_chmod_at(call->fd, call->path, call->mode, call->flags);
}

static int32_t run_fchmod(struct call *base)
{
    struct path_call *call = path_call_of(base);

    return sys_chmod_fd(call->fd, call->mode);
}

static int32_t run_fchownat(struct call *base)
{
    struct path_call *call = path_call_of(base);

    return sys_chown_at(call->fd, call->path, call->user, call->group, call->flags);
}

static int32_t run_utimensat(struct call *base)
{
    struct path_call *call = path_call_of(base);

    return sys_times_at(call->fd, call->path, call->times_given ? call->times : NULL, call->flags);
}

static int32_t run_futimens(struct call *base)
{
    struct path_call *call = path_call_of(base);

    return sys_times_fd(call->fd, call->times_given ? call->times : NULL);
}

static int32_t give_text(struct path_call *call, const char *text, size_t size)
{
    if (size >= call->ret_size)
        return -ERANGE;
    memcpy(call->ret_text, text, size);
    call->ret_text[size] = '\0';
    return (int32_t)size;
}

static int32_t run_readlinkat(struct call *base)
{
    struct path_call *call = path_call_of(base);
    char              text[PATH_MAX];
    ssize_t           size = sys_readlink_at(call->fd, call->path, text, sizeof(text));

    return size < 0 ? (int32_t)size : give_text(call, text, (size_t)size);
}

static int32_t run_realpath(struct call *base)
{
    struct path_call *call = path_call_of(base);
    char              text[PATH_MAX];
    int               r = sys_realpath(call->path, text);

    return r < 0 ? r : give_text(call, text, strlen(text));
}

/* Blocks are counted in f_frsize, as for statvfs(3): FUSE and virtiofs have another f_bsize, what to transfer at once.
 */
static int32_t give_file_system(struct path_call *call, int r, const struct statfs *statfs)
{
    uint32_t id[2];

    if (r < 0)
        return r;
    memcpy(id, &statfs->f_fsid, sizeof(id));
    *call->ret_file_system = (struct loop_file_system){
        .type = (uint64_t)statfs->f_type,
        .block_size = (uint64_t)(statfs->f_frsize != 0 ? statfs->f_frsize : statfs->f_bsize),
        .blocks = statfs->f_blocks,
        .blocks_free = statfs->f_bfree,
        .blocks_available = statfs->f_bavail,
        .files = statfs->f_files,
        .files_free = statfs->f_ffree,
        .name_size_max = (uint64_t)statfs->f_namelen,
        .flags = (uint64_t)statfs->f_flags & ~flags_valid,
        .id = (uint64_t)id[1] << 32 | id[0],
    };
    return 0;
}

static int32_t run_statfs(struct call *base)
{
    struct path_call *call = path_call_of(base);
    struct statfs     statfs;
    int               r = sys_statfs(call->path, &statfs);

    return give_file_system(call, r, &statfs);
}

static int32_t run_fstatfs(struct call *base)
{
    struct path_call *call = path_call_of(base);
    struct statfs     statfs;
    int               r = sys_statfs_fd(call->fd, &statfs);

    return give_file_system(call, r, &statfs);
}

/* ---- the calls */

/* path: "" where there is none; then fd must be a descriptor. */
static loop_id start(struct loop *loop, const char *name, struct path_call model, const char *path, call_run *run,
                     loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    struct path_call *call;
    int               r = call_check_path(model.fd, path);

    loop_check_owner(loop, name);
    if (r < 0)
        return op_refuse(loop, name, terms, r);
    call = call_new(loop, sizeof(*call) + strlen(path) + 1);
    if (call != NULL) {
        *call = model;
        strcpy(call->path, path);
    }
    return call_start(loop, name, LOOP_WORK_DEFAULT, call == NULL ? NULL : &call->call, run, cb, arg, terms);
}

static loop_id start_fd(struct loop *loop, const char *name, struct path_call model, call_run *run, loop_cb *cb,
                        void *arg, const struct loop_terms *terms)
{
    return model.fd < 0 ? op_refuse(loop, name, terms, -EBADF) : start(loop, name, model, "", run, cb, arg, terms);
}

loop_id loop_faccessat(struct loop *loop, int dirfd, const char *path, int mode, int flags, loop_cb *cb, void *arg,
                       const struct loop_terms *terms)
{
    struct path_call model = {.fd = dirfd, .mode = (mode_t)mode, .flags = flags};

    return start(loop, __func__, model, path, run_faccessat, cb, arg, terms);
}

loop_id loop_fchmodat(struct loop *loop, int dirfd, const char *path, mode_t mode, int flags, loop_cb *cb, void *arg,
                      const struct loop_terms *terms)
{
    struct path_call model = {.fd = dirfd, .mode = mode, .flags = flags};

    return start(loop, __func__, model, path, run_fchmodat, cb, arg, terms);
}

loop_id loop_fchmod(struct loop *loop, int fd, mode_t mode, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    struct path_call model = {.fd = fd, .mode = mode};

    return start_fd(loop, __func__, model, run_fchmod, cb, arg, terms);
}

loop_id loop_fchownat(struct loop *loop, int dirfd, const char *path, uid_t user, gid_t group, int flags, loop_cb *cb,
                      void *arg, const struct loop_terms *terms)
{
    struct path_call model = {.fd = dirfd, .user = user, .group = group, .flags = flags};

    return start(loop, __func__, model, path, run_fchownat, cb, arg, terms);
}

loop_id loop_fchown(struct loop *loop, int fd, uid_t user, gid_t group, loop_cb *cb, void *arg,
                    const struct loop_terms *terms)
{
    struct path_call model = {.fd = fd, .user = user, .group = group, .flags = AT_EMPTY_PATH};

    return start_fd(loop, __func__, model, run_fchownat, cb, arg, terms);
}

static void copy_times(struct path_call *model, const struct timespec *times)
{
    model->times_given = times != NULL;
    if (times != NULL)
        memcpy(model->times, times, sizeof(model->times));
}

loop_id loop_utimensat(struct loop *loop, int dirfd, const char *path, const struct timespec *times, int flags,
                       loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    struct path_call model = {.fd = dirfd, .flags = flags};

    copy_times(&model, times);
    return start(loop, __func__, model, path, run_utimensat, cb, arg, terms);
}

loop_id loop_futimens(struct loop *loop, int fd, const struct timespec *times, loop_cb *cb, void *arg,
                      const struct loop_terms *terms)
{
    struct path_call model = {.fd = fd};

    copy_times(&model, times);
    return start_fd(loop, __func__, model, run_futimens, cb, arg, terms);
}

loop_id loop_readlinkat(struct loop *loop, int dirfd, const char *path, char *buf, size_t size, loop_cb *cb, void *arg,
                        const struct loop_terms *terms)
{
    struct path_call model = {.fd = dirfd, .ret_text = buf, .ret_size = size};

    if (buf == NULL || size == 0)
        return op_refuse(loop, __func__, terms, -EINVAL);
    return start(loop, __func__, model, path, run_readlinkat, cb, arg, terms);
}

loop_id loop_realpath(struct loop *loop, const char *path, char *buf, size_t size, loop_cb *cb, void *arg,
                      const struct loop_terms *terms)
{
    struct path_call model = {.fd = AT_FDCWD, .ret_text = buf, .ret_size = size};

    if (buf == NULL || size == 0)
        return op_refuse(loop, __func__, terms, -EINVAL);
    return start(loop, __func__, model, path, run_realpath, cb, arg, terms);
}

loop_id loop_statfs(struct loop *loop, const char *path, struct loop_file_system *ret_file_system, loop_cb *cb,
                    void *arg, const struct loop_terms *terms)
{
    struct path_call model = {.fd = AT_FDCWD, .ret_file_system = ret_file_system};

    if (ret_file_system == NULL)
        return op_refuse(loop, __func__, terms, -EINVAL);
    return start(loop, __func__, model, path, run_statfs, cb, arg, terms);
}

loop_id loop_fstatfs(struct loop *loop, int fd, struct loop_file_system *ret_file_system, loop_cb *cb, void *arg,
                     const struct loop_terms *terms)
{
    struct path_call model = {.fd = fd, .ret_file_system = ret_file_system};

    if (ret_file_system == NULL)
        return op_refuse(loop, __func__, terms, -EINVAL);
    return start_fd(loop, __func__, model, run_fstatfs, cb, arg, terms);
}
