/* ringloop/path.h: what the kernel has no ring operation for, of paths and files: rights, owners, times, where links
 * lead, room on file systems. The others are in op_path.h. Loop thread only.
 *
 * Operations like loop_work(), on the work pool, in its default class: ids, terms, cancel and errors are as there. Each
 * is the system call of its name, with its arguments in the order of its man page, and res is what that returns: 0, or
 * the negative errno, where no more is said. Paths are copied (-EINVAL for NULL, -ENAMETOOLONG beyond PATH_MAX). dirfd
 * is a plain descriptor or AT_FDCWD, fd a plain one, else -EBADF; they must stay open until the callback. Results are
 * borrowed, and written on success only. */
#ifndef RINGLOOP_PATH_H
#define RINGLOOP_PATH_H

#include <ringloop/types.h>

#include <sys/types.h>

LOOP_BEGIN_DECLS

struct timespec;

/* faccessat(2): whether this process may do mode: F_OK, or of R_OK, W_OK, X_OK; -EACCES, -ENOENT, -EROFS, ... What it
 * says may be wrong a moment later: to open a file, open it. flags: AT_EACCESS, AT_SYMLINK_NOFOLLOW. */
LOOP_API loop_id loop_faccessat(struct loop *loop, int dirfd, const char *path, int mode, int flags, loop_cb *cb,
                                void *arg, const struct loop_terms *terms);

/* fchmodat(2), fchmod(2). flags: AT_SYMLINK_NOFOLLOW, of a link -EOPNOTSUPP: links have no mode. */
LOOP_API loop_id loop_fchmodat(struct loop *loop, int dirfd, const char *path, mode_t mode, int flags, loop_cb *cb,
                               void *arg, const struct loop_terms *terms);
LOOP_API loop_id loop_fchmod(struct loop *loop, int fd, mode_t mode, loop_cb *cb, void *arg,
                             const struct loop_terms *terms);

/* fchownat(2), fchown(2); lchown(2) is AT_SYMLINK_NOFOLLOW. -1 leaves user or group as it is. */
LOOP_API loop_id loop_fchownat(struct loop *loop, int dirfd, const char *path, uid_t user, gid_t group, int flags,
                               loop_cb *cb, void *arg, const struct loop_terms *terms);
LOOP_API loop_id loop_fchown(struct loop *loop, int fd, uid_t user, gid_t group, loop_cb *cb, void *arg,
                             const struct loop_terms *terms);

/* utimensat(2), futimens(3). times: of the last access and the last change, copied; tv_nsec may be UTIME_NOW or
 * UTIME_OMIT; NULL: both now. flags: AT_SYMLINK_NOFOLLOW. */
LOOP_API loop_id loop_utimensat(struct loop *loop, int dirfd, const char *path, const struct timespec *times, int flags,
                                loop_cb *cb, void *arg, const struct loop_terms *terms);
LOOP_API loop_id loop_futimens(struct loop *loop, int fd, const struct timespec *times, loop_cb *cb, void *arg,
                               const struct loop_terms *terms);

/* readlinkat(2): the text of a link, with a 0 behind it, which is not counted in res. Borrows buf, of size bytes, at
 * least 1, else -EINVAL. -ERANGE: it does not fit; PATH_MAX always does. -EINVAL: it is no link. */
LOOP_API loop_id loop_readlinkat(struct loop *loop, int dirfd, const char *path, char *buf, size_t size, loop_cb *cb,
                                 void *arg, const struct loop_terms *terms);

/* realpath(3): the absolute path without links, "." and "..". Borrows buf as above. res: its size. All of it must
 * exist. */
LOOP_API loop_id loop_realpath(struct loop *loop, const char *path, char *buf, size_t size, loop_cb *cb, void *arg,
                               const struct loop_terms *terms);

struct loop_file_system {
    uint64_t type;       /* *_MAGIC of <linux/magic.h> */
    uint64_t block_size; /* what blocks are counted in: f_frsize, not the f_bsize that is best for transfers */
    uint64_t blocks;
    uint64_t blocks_free;
    uint64_t blocks_available; /* to others than the superuser */
    uint64_t files;            /* inodes; 0: no fixed number */
    uint64_t files_free;
    uint64_t name_size_max;
    uint64_t flags; /* ST_RDONLY and its like, of <sys/statvfs.h> */
    uint64_t id;    /* the same for all files of it, if not 0 */
};

/* statfs(2), fstatfs(2): the file system that a path or a file lies on. Borrow ret_file_system. */
LOOP_API loop_id loop_statfs(struct loop *loop, const char *path, struct loop_file_system *ret_file_system, loop_cb *cb,
                             void *arg, const struct loop_terms *terms);
LOOP_API loop_id loop_fstatfs(struct loop *loop, int fd, struct loop_file_system *ret_file_system, loop_cb *cb,
                              void *arg, const struct loop_terms *terms);

LOOP_END_DECLS

#endif
