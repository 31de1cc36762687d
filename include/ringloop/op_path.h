/* ringloop/op_path.h: operations on paths: open, stat, rename, unlink, make directories and links, extended attributes.
 *
 * What op.h says of all operations holds here. Each is the system call of its name, with its arguments in the order of
 * its man page. Paths and names are copied (-EINVAL for NULL, -ENAMETOOLONG beyond PATH_MAX). A directory descriptor is
 * a plain one or AT_FDCWD: registered files give -EBADF. All of them run on a worker of the kernel, and most can't be
 * cancelled once that has begun. */
#ifndef RINGLOOP_OP_PATH_H
#define RINGLOOP_OP_PATH_H

#include <ringloop/types.h>

#include <sys/types.h>

LOOP_BEGIN_DECLS

struct open_how; /* <linux/openat2.h> */
struct statx;    /* <sys/stat.h> with _GNU_SOURCE, or <linux/stat.h> */

/* openat(2), openat2(2); close-on-exec always. res: the descriptor, yours, also if it arrives after a cancel. how is
 * copied: its size says which version it is; -EINVAL below 24 bytes, -E2BIG beyond 64. RESOLVE_BENEATH and its like
 * keep what strangers name inside a directory. A FIFO opens at once, as with O_NONBLOCK: without a reader, for writing,
 * -ENXIO; to wait for its other end, have a worker open it (LOOP_ASYNC). */
LOOP_API loop_id loop_openat(struct loop *loop, int dirfd, const char *path, int flags, mode_t mode, loop_cb *cb,
                             void *arg, const struct loop_terms *terms);
LOOP_API loop_id loop_openat2(struct loop *loop, int dirfd, const char *path, const struct open_how *how, size_t size,
                              loop_cb *cb, void *arg, const struct loop_terms *terms);

/* statx(2). Borrows buf. */
LOOP_API loop_id loop_statx(struct loop *loop, int dirfd, const char *path, int flags, unsigned mask, struct statx *buf,
                            loop_cb *cb, void *arg, const struct loop_terms *terms);

/* renameat2(2), unlinkat(2), mkdirat(2), symlinkat(2), linkat(2). */
LOOP_API loop_id loop_renameat(struct loop *loop, int olddirfd, const char *oldpath, int newdirfd, const char *newpath,
                               unsigned flags, loop_cb *cb, void *arg, const struct loop_terms *terms);
LOOP_API loop_id loop_unlinkat(struct loop *loop, int dirfd, const char *path, int flags, loop_cb *cb, void *arg,
                               const struct loop_terms *terms);
LOOP_API loop_id loop_mkdirat(struct loop *loop, int dirfd, const char *path, mode_t mode, loop_cb *cb, void *arg,
                              const struct loop_terms *terms);
LOOP_API loop_id loop_symlinkat(struct loop *loop, const char *target, int newdirfd, const char *linkpath, loop_cb *cb,
                                void *arg, const struct loop_terms *terms);
LOOP_API loop_id loop_linkat(struct loop *loop, int olddirfd, const char *oldpath, int newdirfd, const char *newpath,
                             int flags, loop_cb *cb, void *arg, const struct loop_terms *terms);

/* setxattr(2), fsetxattr(2), getxattr(2), fgetxattr(2). Borrow value; a size of 0 asks for the size that a value has.
 * fd may be LOOP_FIXED(slot). */
LOOP_API loop_id loop_setxattr(struct loop *loop, const char *path, const char *name, const void *value, size_t size,
                               int flags, loop_cb *cb, void *arg, const struct loop_terms *terms);
LOOP_API loop_id loop_fsetxattr(struct loop *loop, int fd, const char *name, const void *value, size_t size, int flags,
                                loop_cb *cb, void *arg, const struct loop_terms *terms);
LOOP_API loop_id loop_getxattr(struct loop *loop, const char *path, const char *name, void *value, size_t size,
                               loop_cb *cb, void *arg, const struct loop_terms *terms);
LOOP_API loop_id loop_fgetxattr(struct loop *loop, int fd, const char *name, void *value, size_t size, loop_cb *cb,
                                void *arg, const struct loop_terms *terms);

LOOP_END_DECLS

#endif
