/* ringloop/copy.h: copies of files. Loop thread only.
 *
 * Life: zeroed > loop_copy_start > (progress)* > callback; then it may be started anew, also in the callback.
 *
 * The target appears whole or not at all: the copy is made under a name of its own, ".copy-" and twelve letters, in the
 * target's directory, and takes the target's name when all is there. So a copy that fails or is cancelled leaves the
 * target as it was, and no other file; only the process's own end in its midst leaves that one behind.
 *
 * The quickest way that works is taken: sharing the blocks (FICLONE: Btrfs, XFS, bcachefs, ...), copy_file_range(2),
 * reading and writing. Holes stay holes. It runs on the work pool, in its slow class, in pieces of 16 MiB, each a work
 * item of its own: many copies take turns, and half of the threads stay free of them. */
#ifndef RINGLOOP_COPY_H
#define RINGLOOP_COPY_H

#include <ringloop/types.h>

LOOP_BEGIN_DECLS

struct loop_copy;

/* The last callback. error 0: the target is there, of so many bytes, holes counted. Else bytes is how far it came, and
 *   -EEXIST      there is something at the target (without LOOP_COPY_REPLACE)
 *   -EISDIR      source or target is a directory
 *   -EINVAL      the source is something else that is no file
 *   -EBUSY       the target is a mount point (LOOP_COPY_REPLACE)
 *   -ENOENT, -EACCES, -ELOOP (LOOP_COPY_NOFOLLOW), ... of the source, or of the target's directory, which must be
 *                readable for LOOP_COPY_SYNC
 *   -EOPNOTSUPP, -EXDEV  with LOOP_COPY_CLONE: blocks can't be shared here
 *   -ENOSPC, -EDQUOT, -EIO, -EFBIG, ...
 *   -ECANCELED, -ETIMEDOUT
 *   -EOWNERDEAD  in a child of fork(2): the parent goes on with it (fork.h) */
typedef void loop_copy_cb(struct loop_copy *copy, int error, uint64_t bytes);

/* After each piece: done of size bytes, holes counted; size 0: not known (files of /proc and the like). */
typedef void loop_copy_progress_cb(struct loop_copy *copy, uint64_t done, uint64_t size);

enum loop_copy_flags {
    LOOP_COPY_REPLACE = 1u << 0,  /* takes the place of a file, or a link, that is there; atomically */
    LOOP_COPY_CLONE = 1u << 1,    /* by sharing the blocks, or not at all */
    LOOP_COPY_NOFOLLOW = 1u << 2, /* if the source is a link: -ELOOP */
    LOOP_COPY_SYNC = 1u << 3,     /* on the disk, with its name, before the callback (fsync(2)) */
};

/* { 0 }, or NULL, is valid and the default. */
struct loop_copy_options {
    uint64_t timeout_ns                LOOP_ZERO; /* 0: none */
    loop_copy_progress_cb *on_progress LOOP_NONE;
    uint32_t flags                     LOOP_ZERO; /* enum loop_copy_flags; unknown bits give -EINVAL */
    uint32_t reserved                  LOOP_ZERO;
};

struct loop_copy {
    void *data; /* yours; the library never reads it */
    struct loop_copy_private {
        struct loop     *loop;
        struct loop_job *job; /* NULL: not in progress */
    } priv;
};

/* Copies a file's bytes and the nine bits of its mode, whatever the umask, if the file system has such; neither owner,
 * times, attributes nor the set-user-id bits. As much is copied as the source has when it begins; if it shrinks
 * meanwhile, as much as is there; what is written into it meanwhile may be in the copy or not. The target is a new
 * file: hard links to one that it replaces keep the old.
 *
 * Copies both paths; the directory descriptors, plain ones or AT_FDCWD, must stay open until the callback. Borrows copy
 * until the callback, which comes once. It keeps the loop alive. Returns 0, or calls back never:
 *   -EINVAL        a path or cb is NULL, unknown flags
 *   -EISDIR        to ends with a slash
 *   -EBADF, -ENAMETOOLONG
 *   -EBUSY         copy is in use
 *   -ENOBUFS, -ENOMEM, -EAGAIN, -ECANCELED as loop_work() */
LOOP_API LOOP_MUST_USE int loop_copy_start(struct loop *loop, struct loop_copy *copy, int from_dirfd, const char *from,
                                           int to_dirfd, const char *to, const struct loop_copy_options *options,
                                           loop_copy_cb *cb);

/* The callback comes with -ECANCELED when the thread has let go and tidied up, within a MiB; or with 0 if all had been
 * done. Returns 0, or -ENOENT if it is not in progress. */
LOOP_API int loop_copy_cancel(struct loop_copy *copy);

/* The loop that it was last started on; NULL before the first time. */
LOOP_API struct loop *loop_copy_loop(const struct loop_copy *copy);

LOOP_END_DECLS

#endif
