/* loop/op_path.c: operations on paths. Every path is copied: the kernel reads it when the SQE is submitted. */
#include "loop/fixed.h"
#include "loop/op_copy.h"

#include <fcntl.h>
#include <limits.h>
#include <ringloop/op_path.h>
#include <string.h>

enum { OPEN_HOW_LEAST = 24, OPEN_HOW_MOST = 64 };

static bool dirfd_valid(int dirfd)
{
    return dirfd == AT_FDCWD || (dirfd >= 0 && (dirfd & LOOP_FIXED_FLAG) == 0);
}

/* One path, in addr. */
static loop_id start_path(struct loop *loop, const char *call, const struct io_uring_sqe *sqe, const char *path,
                          loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    struct op_piece piece;
    int             r = op_piece_text(&piece, path, OP_MEMBER(addr));

    if (r == 0 && !dirfd_valid(sqe->fd))
        r = -EBADF;
    if (r < 0)
        return op_refuse(loop, call, terms, r);
    return op_start_copied(loop, call, sqe, &piece, 1, 0, cb, arg, terms);
}

/* Two of them, in addr and addr2; what is in len is the second directory. */
static loop_id start_paths(struct loop *loop, const char *call, const struct io_uring_sqe *sqe, const char *first,
                           const char *second, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    struct op_piece pieces[2];
    int             r = op_piece_text(&pieces[0], first, OP_MEMBER(addr));

    if (r == 0)
        r = op_piece_text(&pieces[1], second, OP_MEMBER(addr2));
    if (r == 0 && (!dirfd_valid(sqe->fd) || (sqe->opcode != IORING_OP_SYMLINKAT && !dirfd_valid((int)sqe->len))))
        r = -EBADF;
    if (r < 0)
        return op_refuse(loop, call, terms, r);
    return op_start_copied(loop, call, sqe, pieces, 2, 0, cb, arg, terms);
}

loop_id loop_openat(struct loop *loop, int dirfd, const char *path, int flags, mode_t mode, loop_cb *cb, void *arg,
                    const struct loop_terms *terms)
{
    struct io_uring_sqe sqe = {
        .opcode = IORING_OP_OPENAT,
        .fd = dirfd,
        .len = mode,
        .open_flags = (unsigned)(flags | O_CLOEXEC),
    };

    return start_path(loop, __func__, &sqe, path, cb, arg, terms);
}

/* Path and how as pieces; close-on-exec is set for a descriptor, and not for a slot, where the kernel refuses it. */
static int open_pieces(struct op_piece pieces[2], const char *path, const struct open_how *how, size_t size,
                       uint64_t *copy, bool direct)
{
    int r = op_piece_text(&pieces[0], path, OP_MEMBER(addr));

    if (r < 0)
        return r;
    if (how == NULL || size < OPEN_HOW_LEAST)
        return -EINVAL;
    if (size > OPEN_HOW_MOST)
        return -E2BIG;
    memcpy(copy, how, size);
    copy[0] = direct ? copy[0] & ~(uint64_t)O_CLOEXEC : copy[0] | O_CLOEXEC; /* it begins with the flags */
    pieces[1] = (struct op_piece){copy, size, OP_MEMBER(addr2)};
    return 0;
}

loop_id loop_openat2(struct loop *loop, int dirfd, const char *path, const struct open_how *how, size_t size,
                     loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    struct io_uring_sqe sqe = {.opcode = IORING_OP_OPENAT2, .fd = dirfd, .len = (unsigned)size};
    uint64_t            copy[OPEN_HOW_MOST / sizeof(uint64_t)];
    struct op_piece     pieces[2];
    int                 r = dirfd_valid(dirfd) ? open_pieces(pieces, path, how, size, copy, false) : -EBADF;

    if (r < 0)
        return op_refuse(loop, __func__, terms, r);
    return op_start_copied(loop, __func__, &sqe, pieces, 2, 0, cb, arg, terms);
}

static loop_id start_open_direct(struct loop *loop, const char *call, const struct io_uring_sqe *sqe,
                                 const struct op_piece *pieces, size_t count, int slot, loop_cb *cb, void *arg,
                                 const struct loop_terms *terms)
{
    struct op_request request = {
        .sqe = *sqe,
        .cb = cb,
        .arg = arg,
        .terms = terms,
        .prepare = op_prepare_pieces,
        .source = &(struct op_pieces){pieces, count},
    };

    return op_start_into(loop, call, &request, slot, 1);
}

loop_id loop_openat_direct(struct loop *loop, int dirfd, const char *path, int flags, mode_t mode, int slot,
                           loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    struct io_uring_sqe sqe = {
        .opcode = IORING_OP_OPENAT,
        .fd = dirfd,
        .len = mode,
        .open_flags = (unsigned)(flags & ~O_CLOEXEC),
    };
    struct op_piece piece;
    int             r = dirfd_valid(dirfd) ? op_piece_text(&piece, path, OP_MEMBER(addr)) : -EBADF;

    if (r < 0)
        return op_refuse(loop, __func__, terms, r);
    return start_open_direct(loop, __func__, &sqe, &piece, 1, slot, cb, arg, terms);
}

loop_id loop_openat2_direct(struct loop *loop, int dirfd, const char *path, const struct open_how *how, size_t size,
                            int slot, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    struct io_uring_sqe sqe = {.opcode = IORING_OP_OPENAT2, .fd = dirfd, .len = (unsigned)size};
    uint64_t            copy[OPEN_HOW_MOST / sizeof(uint64_t)];
    struct op_piece     pieces[2];
    int                 r = dirfd_valid(dirfd) ? open_pieces(pieces, path, how, size, copy, true) : -EBADF;

    if (r < 0)
        return op_refuse(loop, __func__, terms, r);
    return start_open_direct(loop, __func__, &sqe, pieces, 2, slot, cb, arg, terms);
}

loop_id loop_statx(struct loop *loop, int dirfd, const char *path, int flags, unsigned mask, struct statx *buf,
                   loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    struct io_uring_sqe sqe = {
        .opcode = IORING_OP_STATX,
        .fd = dirfd,
        .off = (uint64_t)(uintptr_t)buf,
        .len = mask,
        .statx_flags = (unsigned)flags,
    };

    if (buf == NULL)
        return op_refuse(loop, __func__, terms, -EINVAL);
    return start_path(loop, __func__, &sqe, path, cb, arg, terms);
}

loop_id loop_renameat(struct loop *loop, int olddirfd, const char *oldpath, int newdirfd, const char *newpath,
                      unsigned flags, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    struct io_uring_sqe sqe = {
        .opcode = IORING_OP_RENAMEAT,
        .fd = olddirfd,
        .len = (unsigned)newdirfd,
        .rename_flags = flags,
    };

    return start_paths(loop, __func__, &sqe, oldpath, newpath, cb, arg, terms);
}

loop_id loop_unlinkat(struct loop *loop, int dirfd, const char *path, int flags, loop_cb *cb, void *arg,
                      const struct loop_terms *terms)
{
    struct io_uring_sqe sqe = {.opcode = IORING_OP_UNLINKAT, .fd = dirfd, .unlink_flags = (unsigned)flags};

    return start_path(loop, __func__, &sqe, path, cb, arg, terms);
}

loop_id loop_mkdirat(struct loop *loop, int dirfd, const char *path, mode_t mode, loop_cb *cb, void *arg,
                     const struct loop_terms *terms)
{
    struct io_uring_sqe sqe = {.opcode = IORING_OP_MKDIRAT, .fd = dirfd, .len = mode};

    return start_path(loop, __func__, &sqe, path, cb, arg, terms);
}

loop_id loop_symlinkat(struct loop *loop, const char *target, int newdirfd, const char *linkpath, loop_cb *cb,
                       void *arg, const struct loop_terms *terms)
{
    struct io_uring_sqe sqe = {.opcode = IORING_OP_SYMLINKAT, .fd = newdirfd};

    return start_paths(loop, __func__, &sqe, target, linkpath, cb, arg, terms);
}

loop_id loop_linkat(struct loop *loop, int olddirfd, const char *oldpath, int newdirfd, const char *newpath, int flags,
                    loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    struct io_uring_sqe sqe = {
        .opcode = IORING_OP_LINKAT,
        .fd = olddirfd,
        .len = (unsigned)newdirfd,
        .hardlink_flags = (unsigned)flags,
    };

    return start_paths(loop, __func__, &sqe, oldpath, newpath, cb, arg, terms);
}

/* ---- extended attributes */

static loop_id start_attribute(struct loop *loop, const char *call, struct io_uring_sqe *sqe, const char *path,
                               const char *name, const void *value, size_t size, loop_cb *cb, void *arg,
                               const struct loop_terms *terms)
{
    struct op_piece pieces[2];
    bool            by_path = sqe->opcode == IORING_OP_SETXATTR || sqe->opcode == IORING_OP_GETXATTR;
    int             r = op_piece_text(&pieces[0], name, OP_MEMBER(addr));

    if (r == 0 && by_path)
        r = op_piece_text(&pieces[1], path, OP_MEMBER(addr3));
    if (r == 0 && ((value == NULL && size > 0) || size > INT_MAX))
        r = -EINVAL;
    if (r < 0)
        return op_refuse(loop, call, terms, r);
    sqe->addr2 = (uint64_t)(uintptr_t)value;
    sqe->len = (unsigned)size;
    return op_start_copied(loop, call, sqe, pieces, by_path ? 2 : 1, 0, cb, arg, terms);
}

loop_id loop_setxattr(struct loop *loop, const char *path, const char *name, const void *value, size_t size, int flags,
                      loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    struct io_uring_sqe sqe = {.opcode = IORING_OP_SETXATTR, .xattr_flags = (unsigned)flags};

    return start_attribute(loop, __func__, &sqe, path, name, value, size, cb, arg, terms);
}

loop_id loop_fsetxattr(struct loop *loop, int fd, const char *name, const void *value, size_t size, int flags,
                       loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    struct io_uring_sqe sqe = {.opcode = IORING_OP_FSETXATTR, .xattr_flags = (unsigned)flags};

    if (fd < 0)
        return op_refuse(loop, __func__, terms, -EBADF);
    op_sqe_set_fd(&sqe, fd);
    return start_attribute(loop, __func__, &sqe, NULL, name, value, size, cb, arg, terms);
}

loop_id loop_getxattr(struct loop *loop, const char *path, const char *name, void *value, size_t size, loop_cb *cb,
                      void *arg, const struct loop_terms *terms)
{
    struct io_uring_sqe sqe = {.opcode = IORING_OP_GETXATTR};

    return start_attribute(loop, __func__, &sqe, path, name, value, size, cb, arg, terms);
}

loop_id loop_fgetxattr(struct loop *loop, int fd, const char *name, void *value, size_t size, loop_cb *cb, void *arg,
                       const struct loop_terms *terms)
{
    struct io_uring_sqe sqe = {.opcode = IORING_OP_FGETXATTR};

    if (fd < 0)
        return op_refuse(loop, __func__, terms, -EBADF);
    op_sqe_set_fd(&sqe, fd);
    return start_attribute(loop, __func__, &sqe, NULL, name, value, size, cb, arg, terms);
}
