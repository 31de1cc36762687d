/* loop/op_fixed.c: operations that open into slots of the registered files, and those on the slots themselves. */
#include "loop/fixed.h"
#include "loop/op_start.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>

/* Fills in the slot and starts. An explicit slot's file will be another: it is forgotten once nothing can fail. */
static loop_id start_into(struct loop *loop, const char *call, struct op_request *request, int slot, uint32_t count)
{
    loop_id id;
    int     r;

    loop_check_owner(loop, call);
    if (slot == LOOP_SLOT_AUTO && request->cb == NULL)
        return op_refuse(loop, call, request->terms, -EINVAL);
    r = fixed_file_target(loop, slot, count, &request->sqe.file_index);
    if (r < 0)
        return op_refuse(loop, call, request->terms, r);
    request->flags = CONTEXT_FIXED_RESULT;
    id = op_start_request(loop, call, request);
    if (id > 0 && slot != LOOP_SLOT_AUTO)
        fixed_files_forget(loop, slot, count);
    return id;
}

loop_id loop_socket_direct(struct loop *loop, int domain, int type, int protocol, int slot, loop_cb *cb, void *arg,
                           const struct loop_terms *terms)
{
    struct op_request request = {
        .sqe = {.opcode = IORING_OP_SOCKET,
                .fd = domain,
                .off = (uint64_t)(unsigned)(type & ~SOCK_CLOEXEC),
                .len = (unsigned)protocol},
        .cb = cb,
        .arg = arg,
        .terms = terms,
    };

    return start_into(loop, __func__, &request, slot, 1);
}

static loop_id start_accept(struct loop *loop, const char *call, struct op_request *request, int fd, int flags,
                            int slot)
{
    if (fd < 0)
        return op_refuse(loop, call, request->terms, -EBADF);
    if ((flags & ~(SOCK_NONBLOCK | SOCK_CLOEXEC)) != 0)
        return op_refuse(loop, call, request->terms, -EINVAL);
    request->sqe.opcode = IORING_OP_ACCEPT;
    request->sqe.accept_flags = (unsigned)(flags & ~SOCK_CLOEXEC); /* which the kernel refuses for a slot */
    op_set_fd(request, fd);
    return start_into(loop, call, request, slot, 1);
}

loop_id loop_accept_direct(struct loop *loop, int fd, struct sockaddr *addr, socklen_t *addrlen, int flags, int slot,
                           loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    struct op_request request = {
        .sqe = {.addr = (uint64_t)(uintptr_t)addr, .addr2 = (uint64_t)(uintptr_t)addrlen},
        .cb = cb,
        .arg = arg,
        .terms = terms,
    };

    if (addr != NULL && addrlen == NULL)
        return op_refuse(loop, __func__, terms, -EINVAL);
    return start_accept(loop, __func__, &request, fd, flags, slot);
}

loop_id loop_accept_multishot_direct(struct loop *loop, int fd, int flags, loop_cb *cb, void *arg,
                                     const struct loop_terms *terms)
{
    struct op_request request = {
        .sqe = {.ioprio = IORING_ACCEPT_MULTISHOT},
        .kind = CONTEXT_ACCEPT,
        .cb = cb,
        .arg = arg,
        .terms = terms,
    };

    return start_accept(loop, __func__, &request, fd, flags, LOOP_SLOT_AUTO);
}

/* ---- opening by path */

struct open_source {
    const char            *path;
    size_t                 path_bytes; /* with the final 0 */
    const struct open_how *how;        /* NULL: openat */
};

/* Copies the path, beside the context where it is long or has to share its place with how. */
static int prepare_open(struct loop *loop, struct context_extended *extended, struct io_uring_sqe *sqe,
                        const void *source)
{
    const struct open_source *from = source;
    char                     *path = (char *)&extended->address;

    if (from->how != NULL || from->path_bytes > sizeof(extended->address)) {
        path = memory_resize(loop, NULL, from->path_bytes);
        if (path == NULL)
            return -ENOMEM;
        extended->heap = path;
    }
    memcpy(path, from->path, from->path_bytes);
    sqe->addr = (uint64_t)(uintptr_t)path;
    if (from->how != NULL) {
        extended->open_how = *from->how;
        extended->open_how.flags &= ~(__u64)O_CLOEXEC;
        sqe->addr2 = (uint64_t)(uintptr_t)&extended->open_how;
        sqe->len = sizeof(extended->open_how);
    }
    return 0;
}

static loop_id start_open(struct loop *loop, const char *call, struct op_request *request, int dirfd, const char *path,
                          int slot)
{
    struct open_source source = {.path = path, .how = request->source};

    if (dirfd < 0 ? dirfd != AT_FDCWD : (dirfd & LOOP_FIXED_FLAG) != 0)
        return op_refuse(loop, call, request->terms, -EBADF);
    if (path == NULL)
        return op_refuse(loop, call, request->terms, -EINVAL);
    source.path_bytes = strnlen(path, PATH_MAX) + 1;
    if (source.path_bytes > PATH_MAX)
        return op_refuse(loop, call, request->terms, -ENAMETOOLONG);
    request->sqe.fd = dirfd;
    request->prepare = prepare_open;
    request->source = &source;
    return start_into(loop, call, request, slot, 1);
}

loop_id loop_openat_direct(struct loop *loop, int dirfd, const char *path, int flags, uint32_t mode, int slot,
                           loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    struct op_request request = {
        .sqe = {.opcode = IORING_OP_OPENAT, .len = mode, .open_flags = (unsigned)(flags & ~O_CLOEXEC)},
        .cb = cb,
        .arg = arg,
        .terms = terms,
    };

    return start_open(loop, __func__, &request, dirfd, path, slot);
}

loop_id loop_openat2_direct(struct loop *loop, int dirfd, const char *path, const struct open_how *how, int slot,
                            loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    struct op_request request = {
        .sqe = {.opcode = IORING_OP_OPENAT2},
        .cb = cb,
        .arg = arg,
        .terms = terms,
        .source = how,
    };

    if (how == NULL)
        return op_refuse(loop, __func__, terms, -EINVAL);
    return start_open(loop, __func__, &request, dirfd, path, slot);
}

loop_id loop_pipe_direct(struct loop *loop, int *ret_fds, int flags, int slot, loop_cb *cb, void *arg,
                         const struct loop_terms *terms)
{
    struct op_request request = {
        .sqe = {.opcode = IORING_OP_PIPE,
                .addr = (uint64_t)(uintptr_t)ret_fds,
                .pipe_flags = (unsigned)(flags & ~O_CLOEXEC)},
        .cb = cb,
        .arg = arg,
        .terms = terms,
    };

    if (ret_fds == NULL)
        return op_refuse(loop, __func__, terms, -EINVAL);
    return start_into(loop, __func__, &request, slot, 2);
}

/* ---- slots */

loop_id loop_fixed_fd_install(struct loop *loop, int fd, uint32_t flags, loop_cb *cb, void *arg,
                              const struct loop_terms *terms)
{
    struct op_request request = {
        .sqe = {.opcode = IORING_OP_FIXED_FD_INSTALL,
                .install_fd_flags = (flags & LOOP_INSTALL_INHERITED) != 0 ? IORING_FIXED_FD_NO_CLOEXEC : 0},
        .kind = CONTEXT_ONE_SHOT,
        .cb = cb,
        .arg = arg,
        .terms = terms,
    };

    if (fd < 0 || (fd & LOOP_FIXED_FLAG) == 0)
        return op_refuse(loop, __func__, terms, -EBADF);
    if ((flags & ~(uint32_t)LOOP_INSTALL_INHERITED) != 0)
        return op_refuse(loop, __func__, terms, -EINVAL);
    op_set_fd(&request, fd);
    return op_start_request(loop, __func__, &request);
}

struct fds_source {
    const int *fds;
    size_t     bytes;
};

static int prepare_fds(struct loop *loop, struct context_extended *extended, struct io_uring_sqe *sqe,
                       const void *source)
{
    const struct fds_source *from = source;
    void                    *copy = &extended->address;

    if (from->bytes > sizeof(extended->address)) {
        copy = memory_resize(loop, NULL, from->bytes);
        if (copy == NULL)
            return -ENOMEM;
        extended->heap = copy;
    }
    memcpy(copy, from->fds, from->bytes);
    sqe->addr = (uint64_t)(uintptr_t)copy;
    return 0;
}

static bool fds_make_sense(const int *fds, uint32_t count, int least)
{
    for (uint32_t i = 0; i < count; i++)
        if (fds[i] < least || (fds[i] >= 0 && (fds[i] & LOOP_FIXED_FLAG) != 0))
            return false;
    return true;
}

loop_id loop_files_update(struct loop *loop, int *fds, uint32_t count, int slot, loop_cb *cb, void *arg,
                          const struct loop_terms *terms)
{
    bool              automatic = slot == LOOP_SLOT_AUTO;
    uint32_t          target;
    loop_id           id;
    struct op_request request = {
        .sqe = {.opcode = IORING_OP_FILES_UPDATE,
                .fd = -1,
                .off = IORING_FILE_INDEX_ALLOC,
                .addr = (uint64_t)(uintptr_t)fds,
                .len = count},
        .kind = CONTEXT_ONE_SHOT,
        .cb = cb,
        .arg = arg,
        .terms = terms,
        .prepare = automatic ? NULL : prepare_fds,
        .source = &(struct fds_source){fds, count * sizeof(fds[0])},
        .flags = automatic ? CONTEXT_FIXED_RESULT : 0,
    };
    int r;

    loop_check_owner(loop, __func__);
    if (fds == NULL || count == 0 || (automatic && cb == NULL))
        return op_refuse(loop, __func__, terms, -EINVAL);
    r = fixed_file_target(loop, slot, count, &target);
    if (r < 0)
        return op_refuse(loop, __func__, terms, r);
    if (!fds_make_sense(fds, count, automatic ? 0 : IORING_REGISTER_FILES_SKIP))
        return op_refuse(loop, __func__, terms, -EBADF);
    if (!automatic)
        request.sqe.off = target - 1;
    id = op_start_request(loop, __func__, &request);
    if (id > 0 && !automatic)
        fixed_files_forget(loop, slot, count);
    return id;
}
