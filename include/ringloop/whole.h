/* ringloop/whole.h: whole files: read one, write one, replace one so that nobody ever sees half of it. Loop thread
 * only.
 *
 * In a child of fork(2) a read goes on; writes and replacements end with -EOWNERDEAD: the parent does them.
 *
 * Life: zeroed > loop_whole_read, _write, _replace or _replace_begin > callback; then it may be started anew, also in
 * that. */
#ifndef RINGLOOP_WHOLE_H
#define RINGLOOP_WHOLE_H

#include <ringloop/file.h>
#include <ringloop/timer.h>
#include <ringloop/types.h>

LOOP_BEGIN_DECLS

struct loop_whole;
struct whole_job;

/* Called once. error: 0 or a negative errno; also -ECANCELED, -ETIMEDOUT (timeout_ns), -EFBIG (bytes_max). Reading:
 * data is lent (or given), size bytes and a zero byte behind them; NULL with an error. Writing: data is NULL, size the
 * bytes written. Replacing: size if the new content stands under its name, else 0; that it does, with an error all the
 * same, means that the directory could not be synced: after a crash it may be the old one again. */
typedef void loop_whole_cb(struct loop_whole *whole, int error, void *data, size_t size);

/* Of loop_whole_replace_begin(): the new file is there, open for writing and empty. */
typedef void loop_whole_file_cb(struct loop_whole *whole, struct loop_file *file);

enum loop_whole_flags {
    LOOP_WHOLE_NEW = 1u << 0,        /* write, replace: there must be no such file yet, else -EEXIST */
    LOOP_WHOLE_SYNC = 1u << 1,       /* write: the callback comes when it is on the disk */
    LOOP_WHOLE_UNSYNCED = 1u << 2,   /* replace: without syncs. Others see all or nothing; a crash may leave neither */
    LOOP_WHOLE_KEEP_MODE = 1u << 3,  /* replace: the new file gets the permissions of the old one; set-user-id and
                                      * set-group-id only if it has the same user, the same group */
    LOOP_WHOLE_KEEP_OWNER = 1u << 4, /* replace: and its user and group; -EPERM if that can't be */
    LOOP_WHOLE_GIVE = 1u << 5,       /* read: the data is yours from the callback on: loop_whole_free() */
};

struct loop_whole_options {
    uint32_t flags      LOOP_ZERO; /* enum loop_whole_flags; unknown bits, and those of another call, give -EINVAL */
    uint32_t resolve    LOOP_ZERO; /* enum loop_path_flags; replace: of the way to the directory */
    uint32_t mode       LOOP_ZERO; /* of a file that is made, before the umask; 0: 0666 */
    uint32_t reserved   LOOP_ZERO;
    uint64_t bytes_max  LOOP_ZERO; /* read: a file of more gives -EFBIG; 0: 64 MiB */
    uint64_t timeout_ns LOOP_ZERO; /* of all together; 0: none */
};

struct loop_whole {
    void *data; /* yours; the library never reads it */
    struct loop_whole_private {
        struct loop_object  object;
        struct loop_timer   deadline;
        struct whole_job   *job; /* NULL: not in progress */
        struct loop        *loop;
        loop_whole_cb      *cb;
        loop_whole_file_cb *on_file;
    } priv;
};

/* Reads the file at path, relative to the directory dirfd or AT_FDCWD, to where it ends: files of /proc, which say that
 * they are empty, and those that grow meanwhile, too. Holes are read as zeros. Of all three calls: copies path, borrows
 * dirfd and whole until the callback; keeps the loop alive. Returns 0, -EINVAL (no path or cb, unknown flags), -EBADF,
 * -EISDIR (replace: path ends in a slash), -ENAMETOOLONG, -EBUSY (in use), -ENOBUFS, -ENOMEM, -ECANCELED (the loop is
 * being destroyed), and calls back never. */
LOOP_API LOOP_MUST_USE int loop_whole_read(struct loop *loop, struct loop_whole *whole, int dirfd, const char *path,
                                           const struct loop_whole_options *options, loop_whole_cb *cb);

/* Frees what a read with LOOP_WHOLE_GIVE has given; NULL is nothing. Before the loop is destroyed. */
LOOP_API void loop_whole_free(struct loop *loop, void *data);

/* Makes the file, or empties it, and writes data, which is borrowed until the callback. After an error, a cancel or a
 * crash part of it may stand there, and what stood there before is gone. */
LOOP_API LOOP_MUST_USE int loop_whole_write(struct loop *loop, struct loop_whole *whole, int dirfd, const char *path,
                                            const void *data, size_t size, const struct loop_whole_options *options,
                                            loop_whole_cb *cb);

/* Replaces the file, or makes it: a temporary file in the same directory is written, synced and renamed, and the
 * directory is synced. Whoever opens path finds the old content or the new, also after a crash at any moment; after the
 * callback with error 0 the new. data is borrowed until the callback. A symbolic link at path is replaced, not
 * followed; hard links and who has the old file open keep the old one; -EBUSY: it is a mount point, like a file that is
 * mounted singly into a container. The directory must be readable. No temporary is left after a failure, a cancel, or
 * the end of the loop; after a crash there may be one. */
LOOP_API LOOP_MUST_USE int loop_whole_replace(struct loop *loop, struct loop_whole *whole, int dirfd, const char *path,
                                              const void *data, size_t size, const struct loop_whole_options *options,
                                              loop_whole_cb *cb);

/* The same for content that comes bit by bit, like an upload. on_file is called once, unless it ends before, and lends
 * the file: write to it (file.h), do not close it. A stream shall have a duplicate of loop_file_fd() (dup(2)), since a
 * cancel, timeout_ns, which counts on meanwhile, and the end of the loop close the file. Then call
 * loop_whole_replace_commit(); or loop_whole_cancel(), and path is as it was. size in the callback is the file's. */
LOOP_API LOOP_MUST_USE int loop_whole_replace_begin(struct loop *loop, struct loop_whole *whole, int dirfd,
                                                    const char *path, const struct loop_whole_options *options,
                                                    loop_whole_file_cb *on_file, loop_whole_cb *cb);

/* All is written: the file is synced, and takes its place. Returns 0, and the file is not yours any more; -EBUSY:
 * operations on it are in flight; -EINVAL: it is not yours to write, now; -ECANCELED: it is being cancelled; -ENOBUFS,
 * -ENOMEM: as it was, try again. */
LOOP_API LOOP_MUST_USE int loop_whole_replace_commit(struct loop_whole *whole);

/* Whether a file of this name is such a temporary: ".NAME.<16 letters and digits>.replacing", with NAME cut to 200
 * bytes. For those who clean up after a crash, when nobody is replacing. Any thread. */
LOOP_API bool loop_whole_is_temporary(const char *name);

/* The callback comes with -ECANCELED, unless what was asked for is done, or, of a replacement, the rename. Waits for
 * what a worker of the kernel has begun. Returns 0, or -ENOENT if it is not in progress. */
LOOP_API int loop_whole_cancel(struct loop_whole *whole);

/* The loop that it was last started on; NULL before the first time. */
LOOP_API struct loop *loop_whole_loop(const struct loop_whole *whole);

LOOP_END_DECLS

#endif
