/* ringloop/file.h: files: open by path or descriptor, read, write, sync, and the like. Loop thread only.
 *
 * Life: zeroed > loop_file_open or loop_file_adopt > operations > loop_file_close > close callback.
 *
 * Operations at an offset may be in flight in any number, and end in any order. Those at the file's own position, and
 * those that append, go one after the other, in the order of the calls; so do their callbacks, but that a write that is
 * to be synced is told after its sync, and one that is cancelled while it waits at once. Nothing else is ordered by
 * itself, except that a sync waits for all that was written or changed before it.
 *
 * In a child of fork(2) (fork.h) writes and other changes under way, and all that goes at the position, end with
 * -EOWNERDEAD: the parent does them, and the position is shared with it. Reads at offsets, syncs and the like are begun
 * anew there, as is everything on another thread.
 *
 * An open file does not keep the loop alive, its operations do. What a worker of the kernel has begun on a disk can't
 * be stopped: a cancel, or a close, then waits for it. Reading from the beginning to the end: reader.h; whole files:
 * whole.h. What has no function here, like advice or extended attributes, is done by operations (op_file.h, op_path.h)
 * on loop_file_fd(). */
#ifndef RINGLOOP_FILE_H
#define RINGLOOP_FILE_H

#include <ringloop/types.h>

#include <stdbool.h>
#include <sys/types.h>
#include <sys/uio.h>

LOOP_BEGIN_DECLS

struct loop_file;
struct file_request;
struct file_opening;
struct statx; /* <sys/stat.h> with _GNU_SOURCE */

/* The one callback of an operation. error: 0 or a negative errno; -ECANCELED: cancelled, or the file is being closed.
 * count: of reads and writes the bytes that were truly moved, also with an error; of loop_file_seek() the new position,
 * of loop_file_size() the size; else 0. */
typedef void loop_file_cb(struct loop_file *file, int error, uint64_t count, void *arg);

/* The file is open, or could not be opened; it is closed. */
typedef void loop_file_event_cb(struct loop_file *file, int error);

/* How far the path of an open may lead, as openat2(2) has it. For servers that open what strangers name. */
enum loop_path_flags {
    LOOP_PATH_NO_XDEV = 1u << 0,       /* not into another file system: -EXDEV */
    LOOP_PATH_NO_MAGICLINKS = 1u << 1, /* not over links like /proc/self/fd/0: -ELOOP */
    LOOP_PATH_NO_SYMLINKS = 1u << 2,   /* not over any symbolic link: -ELOOP */
    LOOP_PATH_BENEATH = 1u << 3,       /* not out of the directory, not even on a detour; no absolute path: -EXDEV */
    LOOP_PATH_IN_ROOT = 1u << 4,       /* the directory is the root: absolute paths and ".." end there */
};

enum loop_file_flags {
    LOOP_FILE_SYNC_EACH = 1u << 0,  /* the callback of a write comes when it is on the disk; others share the sync */
    LOOP_FILE_SYNC_CLOSE = 1u << 1, /* a close syncs before, if anything was written */
    LOOP_FILE_SYNC_DATA = 1u << 2,  /* both by fdatasync(2): times of the file may be lost, its size is not */
    LOOP_FILE_KEEP_FD = 1u << 3,    /* the descriptor stays open at close, and is yours again in the close callback */
    LOOP_FILE_REGISTERED = 1u << 4, /* reads and writes by a slot of the loop's table, which cost less */
};

/* LOOP_FILE_REGISTERED: from its opening until its close callback the file stands in an own slot of the loop's table
 * (loop_files_init() in fixed.h); loop_file_lookup() finds it by loop_file_fd(). The slot is the file's: leave it as it
 * is. Without a table, without a free slot (loop_files_stats.own_full), or if the descriptor has a slot already, all
 * goes by the descriptor, and nothing else differs. */

struct loop_file_options {
    uint32_t flags               LOOP_ZERO; /* enum loop_file_flags; unknown bits give -EINVAL */
    uint32_t resolve             LOOP_ZERO; /* enum loop_path_flags, for loop_file_open() */
    uint32_t waiting_max         LOOP_ZERO; /* operations that wait for those before them; 0: 1024. More: -ENOBUFS */
    uint32_t reserved            LOOP_ZERO;
    loop_file_event_cb *on_close LOOP_NONE; /* for loop_destroy(), and closes without a callback of their own */
};

struct loop_file_link {
    struct loop_file_link *next, *prev;
};

struct loop_file {
    void *data; /* yours; the library never reads it */
    struct loop_file_private {
        struct loop_object    object;
        struct loop_task      task;
        loop_file_event_cb   *on_open, *on_close;
        struct file_opening  *opening; /* NULL: not being opened */
        struct file_request  *free;    /* requests to be used again */
        struct file_request  *ordered; /* whose turn it is at the position; NULL: nobody's */
        struct loop_file_link running; /* requests that the kernel has, or a thread */
        struct loop_file_link queue;   /* those that wait for their turn at the position */
        struct loop_file_link syncs;   /* those that wait for a sync */
        struct loop_file_link syncing; /* those that the sync in flight is for */
        struct loop_file_link ended;   /* those to be told */
        loop_id               sync_id; /* in flight: open, sync, close; 0: none */
        uint32_t              pending; /* requests, and a close or an open: while > 0 it keeps the loop alive */
        uint32_t              waiting, waiting_max;
        uint32_t              changes;    /* begun and not ended: writes and their like */
        uint32_t              generation; /* syncs asked for */
        uint32_t              flags;      /* enum loop_file_flags, and the library's own */
        int                   fd, sync_error, close_error;
        int                   transfer_fd; /* of reads and writes: fd, or its slot */
        uint8_t               state, close_step;
        bool                  changed; /* since it was opened */
    } priv;
};

/* Opens path, relative to the directory dirfd or AT_FDCWD; flags (O_*, close-on-exec always) and mode as open(2) takes
 * them. Copies path, borrows dirfd until on_open, and file until its close callback. on_open comes once: with 0 the
 * file can be used; with an error, or -ECANCELED after a close, it is still to be closed. Directories open with
 * O_RDONLY; reading from them gives -EISDIR. -EAGAIN, with resolve: something was moved while it was being looked up;
 * try again. Returns 0, or -EINVAL (no path or on_open, unknown flags), -EBADF (dirfd), -ENAMETOOLONG, -EBUSY (in use),
 * -ENOBUFS, -ENOMEM, -ECANCELED (the loop is being destroyed), and calls back never. */
LOOP_API LOOP_MUST_USE int loop_file_open(struct loop *loop, struct loop_file *file, int dirfd, const char *path,
                                          int flags, mode_t mode, const struct loop_file_options *options,
                                          loop_file_event_cb *on_open);

/* Takes fd, which can be used at once. 0, 1 and 2 are not closed at close. Made for regular files and block devices;
 * what has no position (pipes, terminals) is read and written as if at the position. Returns 0, -EBADF (also for
 * registered files), -EINVAL, -EBUSY, -ECANCELED. */
LOOP_API LOOP_MUST_USE int loop_file_adopt(struct loop *loop, struct loop_file *file, int fd,
                                           const struct loop_file_options *options);

/* As an offset: at the file's own position (which op_file.h calls LOOP_AT_POSITION, -1), or, for writes, at its end
 * wherever that is then; the position stays. Writes to a file that was opened with O_APPEND all go to the end. */
#define LOOP_FILE_POSITION ((int64_t)-1)
#define LOOP_FILE_END      ((int64_t)-2)

enum loop_transfer_flags {
    LOOP_FILE_SOME = 1u << 0, /* what one system call moves is enough */
};

/* Reads until all of size is there or the end comes (error 0, count < size); writes until all is written, or an error
 * comes (e.g. -ENOSPC with the count so far). Borrow buf until cb, which may be NULL: then nobody is told, and a
 * failure counts in loop_stats.silent_errors. One operation of the kernel unless that stops short; without a copy. At
 * most INT64_MAX bytes. flags: enum loop_transfer_flags. Of all operations here: returns 0, or
 *   -EINVAL   an argument makes no sense; the file is not open, or is being closed
 *   -EBADF    it is still being opened, or could not be
 *   -ENOBUFS  loop_options.ops_max operations are in flight; or waiting_max of this file wait (loop_stats.files_full)
 *   -ENOMEM, -ECANCELED (the loop is being destroyed)
 * and then calls back never. */
LOOP_API LOOP_MUST_USE int loop_file_read(struct loop_file *file, void *buf, size_t size, int64_t offset,
                                          uint32_t flags, loop_file_cb *cb, void *arg);
LOOP_API LOOP_MUST_USE int loop_file_write(struct loop_file *file, const void *buf, size_t size, int64_t offset,
                                           uint32_t flags, loop_file_cb *cb, void *arg);

/* The same for up to LOOP_FILE_PIECES_MAX pieces; copy the array, borrow the memory. Pieces beyond the first 1024 are
 * moved by further system calls. */
enum { LOOP_FILE_PIECES_MAX = 65536 };
LOOP_API LOOP_MUST_USE int loop_file_readv(struct loop_file *file, const struct iovec *iov, size_t iov_count,
                                           int64_t offset, uint32_t flags, loop_file_cb *cb, void *arg);
LOOP_API LOOP_MUST_USE int loop_file_writev(struct loop_file *file, const struct iovec *iov, size_t iov_count,
                                            int64_t offset, uint32_t flags, loop_file_cb *cb, void *arg);

/* fsync(2), fdatasync(2) of all that was written or changed through this object before, be it in flight: they wait for
 * that to end. Those asked for together share one. A sync that fails is remembered: every later one gives that error,
 * too, and so do writes with LOOP_FILE_SYNC_EACH and the close callback. For the kernel tells it once, and forgets what
 * it could not write. Open the file anew, and write anew. */
LOOP_API LOOP_MUST_USE int loop_file_sync(struct loop_file *file, loop_file_cb *cb, void *arg);
LOOP_API LOOP_MUST_USE int loop_file_datasync(struct loop_file *file, loop_file_cb *cb, void *arg);
LOOP_API int               loop_file_sync_error(const struct loop_file *file); /* the one remembered, or 0 */

/* ftruncate(2) (before Linux 6.9 on the work pool), fallocate(2). Not ordered with what is in flight. */
LOOP_API LOOP_MUST_USE int loop_file_truncate(struct loop_file *file, int64_t size, loop_file_cb *cb, void *arg);
LOOP_API LOOP_MUST_USE int loop_file_allocate(struct loop_file *file, int mode, int64_t offset, int64_t size,
                                              loop_file_cb *cb, void *arg);

/* lseek(2): SEEK_SET, SEEK_CUR, SEEK_END, SEEK_DATA, SEEK_HOLE (-ENXIO: there is none behind offset). Takes its turn
 * among the operations at the position. Those that may have to read from the disk run on the work pool. */
LOOP_API LOOP_MUST_USE int loop_file_seek(struct loop_file *file, int64_t offset, int whence, loop_file_cb *cb,
                                          void *arg);

/* statx(2) of the open file, with a mask (STATX_*); borrows ret_stat. And its size alone, of block devices, too. */
LOOP_API LOOP_MUST_USE int loop_file_stat(struct loop_file *file, unsigned mask, struct statx *ret_stat,
                                          loop_file_cb *cb, void *arg);
LOOP_API LOOP_MUST_USE int loop_file_size(struct loop_file *file, loop_file_cb *cb, void *arg);

/* What memory, and offsets and sizes, must be multiples of with O_DIRECT. Borrows ret_alignment. -EOPNOTSUPP: the file
 * system has no such thing, or does not tell. */
struct loop_file_alignment {
    uint32_t memory_bytes, offset_bytes;
};
LOOP_API LOOP_MUST_USE int loop_file_alignment_get(struct loop_file *file, struct loop_file_alignment *ret_alignment,
                                                   loop_file_cb *cb, void *arg);

/* Asks that the operations started with this arg, or all, end with -ECANCELED and the bytes moved by then; some may
 * still end well. Until its callback each borrows what it did. Returns how many were asked, or -EINVAL (not open, or
 * closing). */
LOOP_API int loop_file_cancel(struct loop_file *file, const void *arg);
LOOP_API int loop_file_cancel_all(struct loop_file *file);

/* Cancels all operations, waits until each has ended and called back, syncs with LOOP_FILE_SYNC_CLOSE, closes the
 * descriptor, then calls on_close (NULL: the one of the options), last and once. Its error: the sync that failed, also
 * if it was told before; else what close(2) gave; else 0. Closing a closing file does nothing: the first close callback
 * counts. loop_destroy() does the same, and waits for the sync. */
LOOP_API void loop_file_close(struct loop_file *file, loop_file_event_cb *on_close);

LOOP_API bool         loop_file_closing(const struct loop_file *file);
LOOP_API int          loop_file_fd(const struct loop_file *file); /* -EBADF if not open */
LOOP_API struct loop *loop_file_loop(const struct loop_file *file);

LOOP_END_DECLS

#endif
