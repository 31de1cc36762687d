/* loop/op_fixed.c: operations that open into slots of the registered files, and those on the slots themselves. */
#include "loop/fixed.h"
#include "loop/op_copy.h"

#include <fcntl.h>

loop_id op_start_into(struct loop *loop, const char *call, struct op_request *request, int slot, uint32_t count)
{
    int r;

    loop_check_owner(loop, call);
    r = fixed_file_target(loop, slot, count, &request->sqe.file_index);
    if (r < 0)
        return op_refuse(loop, call, request->terms, r);
    request->flags = CONTEXT_FIXED_RESULT;
    return op_start_request(loop, call, request);
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

    return op_start_into(loop, __func__, &request, slot, 1);
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
    op_sqe_set_fd(&request->sqe, fd);
    return op_start_into(loop, call, request, slot, 1);
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

loop_id loop_pipe_direct(struct loop *loop, int fds[2], int flags, int slot, loop_cb *cb, void *arg,
                         const struct loop_terms *terms)
{
    struct op_request request = {
        .sqe = {.opcode = IORING_OP_PIPE,
                .addr = (uint64_t)(uintptr_t)fds,
                .pipe_flags = (unsigned)(flags & ~O_CLOEXEC)},
        .cb = cb,
        .arg = arg,
        .terms = terms,
    };

    if (fds == NULL)
        return op_refuse(loop, __func__, terms, -EINVAL);
    return op_start_into(loop, __func__, &request, slot, 2);
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
    op_sqe_set_fd(&request.sqe, fd);
    return op_start_request(loop, __func__, &request);
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
    struct op_piece   piece = {fds, count * sizeof(fds[0]), OP_MEMBER(addr)};
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
        .prepare = automatic ? NULL : op_prepare_pieces,
        .source = &(struct op_pieces){&piece, 1},
        .flags = automatic ? CONTEXT_FIXED_RESULT : 0,
    };
    int r;

    loop_check_owner(loop, __func__);
    if (fds == NULL || count == 0)
        return op_refuse(loop, __func__, terms, -EINVAL);
    r = fixed_file_target(loop, slot, count, &target);
    if (r < 0)
        return op_refuse(loop, __func__, terms, r);
    if (!fds_make_sense(fds, count, automatic ? 0 : IORING_REGISTER_FILES_SKIP))
        return op_refuse(loop, __func__, terms, -EBADF);
    if (!automatic)
        request.sqe.off = target - 1;
    return op_start_request(loop, __func__, &request);
}
