/* ringloop/temporary.h: files and directories under names that nobody else has, and files without a name. Loop thread
 * only.
 *
 * Operations like loop_work(), on the work pool, in its default class: ids, terms, cancel and errors are as there. What
 * was made although the operation was cancelled is delivered all the same: look at res first. Those that open a file
 * need a callback (-EINVAL without), since nobody else could close it. */
#ifndef RINGLOOP_TEMPORARY_H
#define RINGLOOP_TEMPORARY_H

#include <ringloop/types.h>

#include <sys/types.h>

LOOP_BEGIN_DECLS

/* mkostemps(3), mkdtemp(3), from a directory descriptor or AT_FDCWD. path is a template: the last six or more 'X' in a
 * row in its last part become random letters and digits; what stands behind them is kept: "cache/upload-XXXXXXXX.part".
 * The name did not exist, and no link is followed (O_EXCL); 64 names are tried.
 *
 * Borrow path: it is the name that was made when the callback has res >= 0, and as it was otherwise. res: of a file the
 * descriptor, yours: O_RDWR, close-on-exec; of a directory 0; -EEXIST: all names tried were taken; or what open(2),
 * mkdir(2) said. mode is that of open(2) and mkdir(2), e.g. 0600, 0700. flags: of O_APPEND, O_DIRECT, O_DSYNC,
 * O_NOATIME, O_SYNC. Return the id, or -EINVAL (also: no template, other flags), -EBADF, -ENAMETOOLONG. */
LOOP_API loop_id loop_temporary_file(struct loop *loop, int dirfd, char *path, int flags, mode_t mode, loop_cb *cb,
                                     void *arg, const struct loop_terms *terms);
LOOP_API loop_id loop_temporary_directory(struct loop *loop, int dirfd, char *path, mode_t mode, loop_cb *cb, void *arg,
                                          const struct loop_terms *terms);

/* A file without a name in the file system of a directory (O_TMPFILE): it is gone when its last descriptor is closed,
 * unless it is given a name. Copies directory. res: the descriptor, yours; -EOPNOTSUPP: the file system can't do that
 * (among others NFS, FAT, some FUSE): use loop_temporary_file(). */
LOOP_API loop_id loop_temporary_unnamed(struct loop *loop, int dirfd, const char *directory, int flags, mode_t mode,
                                        loop_cb *cb, void *arg, const struct loop_terms *terms);

/* Gives a file of loop_temporary_unnamed() the name path, which must be of the same file system (-EXDEV) and must not
 * exist (-EEXIST): to take another's place give it a name of its own first, then loop_renameat(). Copies path; fd and
 * dirfd must stay open until the callback. Needs /proc, or kernel 6.10. res: 0; -ENOENT also for a file that had a
 * name and has lost it. */
LOOP_API loop_id loop_temporary_name(struct loop *loop, int fd, int dirfd, const char *path, loop_cb *cb, void *arg,
                                     const struct loop_terms *terms);

LOOP_END_DECLS

#endif
