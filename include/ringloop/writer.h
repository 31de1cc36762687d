/* ringloop/writer.h: a file writer that merges: many writes, made by many parts of a program, leave as few as possible.
 * Loop thread only. docs/writers.md says what it is good for.
 *
 * Life: zeroed > loop_writer_open > write, sync > loop_writer_close > close callback.
 *
 * Writes gather until the end of the turn, or for deadline_ns. What is adjacent in the file then leaves as one vectored
 * write, a run; runs that are not adjacent are in flight together. While a run is in flight, writes that are adjacent
 * to it gather for the next. Where writes overlap, the one queued later lands later. Each has a callback of its own,
 * with its own count and error. No callback comes from inside a call. */
#ifndef RINGLOOP_WRITER_H
#define RINGLOOP_WRITER_H

#include <ringloop/op_file.h>
#include <ringloop/types.h>

#include <stdbool.h>
#include <sys/uio.h>

LOOP_BEGIN_DECLS

struct loop_writer;

/* Of a write: error 0 when all of it has landed: in the file as others see it, with LOOP_WRITER_SYNC on the disk.
 * Otherwise what writing these very bytes gave (-ENOSPC, -EFBIG, -EIO, -EFAULT), what the sync gave, -ECANCELED, or
 * -EOWNERDEAD (fork.h: the parent writes it); bytes, from its beginning, have landed all the same. Of a sync: bytes is
 * 0. */
typedef void loop_writer_cb(struct loop_writer *writer, int error, size_t bytes, void *arg);

typedef void loop_writer_close_cb(struct loop_writer *writer);

/* full: more than bytes_high are queued; told once, then again with false when they have come down to bytes_low. Not
 * after a close. */
typedef void loop_writer_water_cb(struct loop_writer *writer, bool full);

enum loop_writer_flags {
    LOOP_WRITER_KEEP_FD = 1u << 0, /* borrows the descriptor: it is yours again in the close callback */
    LOOP_WRITER_UNREF = 1u << 1,   /* keeps the loop alive only while something is queued, or it closes */
    LOOP_WRITER_APPEND = 1u << 2,  /* all goes to the end of the file as it is then (RWF_APPEND), one run at a time */
    LOOP_WRITER_SYNC = 1u << 3,    /* fdatasync(2) after each batch, before the callbacks of its writes */
};

/* { 0 }, or NULL, is valid and the default. */
struct loop_writer_options {
    uint32_t flags                 LOOP_ZERO; /* enum loop_writer_flags; unknown bits give -EINVAL */
    uint32_t batch_bytes           LOOP_ZERO; /* so many bytes wait for no deadline; the most in one run; 0: 1 MiB */
    uint64_t deadline_ns           LOOP_ZERO; /* a write may wait so long for others; 0: until the end of the turn */
    int64_t position               LOOP_ZERO; /* where writes with LOOP_AT_POSITION begin */
    uint32_t runs_max              LOOP_ZERO; /* in flight at a time; 0: 16; at most 256 */
    uint32_t bytes_max             LOOP_ZERO; /* 0: 64 MiB; more bytes queued than this: -ENOBUFS */
    uint32_t bytes_high            LOOP_ZERO; /* 0: a quarter of bytes_max */
    uint32_t bytes_low             LOOP_ZERO; /* 0: a quarter of bytes_high; more than that: -EINVAL */
    loop_writer_water_cb *on_water LOOP_NONE;
    loop_writer_close_cb *on_close LOOP_NONE; /* for loop_destroy(), and closes without a callback of their own */
};

enum loop_writer_write_flags {
    LOOP_WRITER_COPY = 1u << 0, /* copies the bytes; else borrows them until the write's callback */
};

struct loop_writer_terms {
    uint32_t flags      LOOP_ZERO; /* enum loop_writer_write_flags; unknown bits give -EINVAL */
    loop_buffer release LOOP_ZERO; /* takes this lent or kept buffer of the bytes: it goes back when they have landed */
};

/* Counters since the open, but for those marked as levels. */
struct loop_writer_stats {
    uint64_t writes;  /* accepted */
    uint64_t bytes;   /* landed */
    uint64_t runs;    /* vectored writes that have left, repeated and continued ones included */
    uint64_t syncs;   /* fdatasync(2) calls that have left */
    uint64_t refused; /* writes refused with -ENOBUFS: bytes_max */
    uint64_t queued;  /* level: bytes of writes that have not ended */
};

struct writer_core;

/* Embed it, zeroed; reach yours from the callback with container_of, or through data. */
struct loop_writer {
    void *data; /* yours; the library never reads it */
    struct loop_writer_private {
        struct loop_object  object;
        struct writer_core *core; /* NULL: not open */
    } priv;
};

/* Takes fd, or with LOOP_WRITER_KEEP_FD borrows it: a regular file or a block device, open for writing, or
 * LOOP_FIXED(slot) of one. A file with O_APPEND gets LOOP_WRITER_APPEND; in a slot this cannot be seen, so say it. 0, 1
 * and 2 are not closed. Copies options. Borrows writer until its close callback. Returns 0, -EINVAL (also what is
 * neither file nor block device), -EBADF (also not open for writing), -EBUSY (already open), -ENOMEM, -ECANCELED (the
 * loop is being destroyed). */
LOOP_API LOOP_MUST_USE int loop_writer_open(struct loop *loop, struct loop_writer *writer, int fd,
                                            const struct loop_writer_options *options);

/* Queues a write at offset; LOOP_AT_POSITION: at the writer's own position, which moves on at once and is not the
 * descriptor's. cb (may be NULL) comes once. terms may be NULL. With LOOP_AT_POSITION a write that fails or is
 * cancelled leaves a hole, unless you write there again; with LOOP_WRITER_APPEND it leaves none. Returns 0, or a
 * negative errno and never calls back: -EINVAL (size 0, or 2 GiB and more; beyond INT64_MAX; an offset with
 * LOOP_WRITER_APPEND; closing, not open), -ENOBUFS (bytes_max, counted), -ENOMEM. On failure terms->release is still
 * yours. A small write that gives a buffer is copied, and the buffer goes back at once: do not read it after the call.
 */
LOOP_API LOOP_MUST_USE int loop_writer_write(struct loop_writer *writer, const void *data, size_t size, int64_t offset,
                                             loop_writer_cb *cb, void *arg, const struct loop_writer_terms *terms);

/* The same for several pieces as one write; copies the array (at most 1024 entries). */
LOOP_API LOOP_MUST_USE int loop_writer_writev(struct loop_writer *writer, const struct iovec *iov, size_t iov_count,
                                              int64_t offset, loop_writer_cb *cb, void *arg,
                                              const struct loop_writer_terms *terms);

/* What is queued does not wait for its deadline any more. Returns 0, or -EINVAL (not open). */
LOOP_API int loop_writer_flush(struct loop_writer *writer);

/* Flushes, and when all that was queued before has landed, calls fdatasync(2) and then cb (may be NULL): error is that
 * of the sync, or the first of a write that failed since the last sync. Syncs that are asked for while one is at work
 * share the next. A sync that fails is remembered: every later one, and every write with LOOP_WRITER_SYNC, gets that
 * error, too, for the kernel tells it once, and forgets what it could not write. Open the file anew, and write anew.
 * Returns 0, -EINVAL (closing, not open), -ENOMEM. */
LOOP_API LOOP_MUST_USE int loop_writer_sync(struct loop_writer *writer, loop_writer_cb *cb, void *arg);

/* Ends the writes made with this arg, or all, with -ECANCELED and 0 bytes, as far as they have not left; those in
 * flight end by themselves. Syncs stay. Returns the number of writes that end so, or -EINVAL (not open). */
LOOP_API int loop_writer_cancel(struct loop_writer *writer, const void *arg);
LOOP_API int loop_writer_cancel_all(struct loop_writer *writer);

/* Lets all that is queued land, syncs as asked, closes the descriptor, then calls on_close (NULL: the one of the
 * options), after the callbacks of all writes and syncs. To drop what is queued cancel it first. Closing a closing
 * writer does nothing: the first close callback counts. loop_destroy() closes, too, but then nothing more leaves:
 * what is queued ends with -ECANCELED. */
LOOP_API void loop_writer_close(struct loop_writer *writer, loop_writer_close_cb *on_close);

/* Whether the open writer keeps the loop alive (default: it does, but with LOOP_WRITER_UNREF); writes and syncs that
 * have not ended always do, and so does a closing one. No effect if not open. */
LOOP_API void loop_writer_ref(struct loop_writer *writer);
LOOP_API void loop_writer_unref(struct loop_writer *writer);
LOOP_API bool loop_writer_has_ref(const struct loop_writer *writer);

/* Where the next write with LOOP_AT_POSITION goes; sets it, for those made from now on. -EINVAL: not open, closing, a
 * negative position, or with LOOP_WRITER_APPEND. */
LOOP_API int64_t loop_writer_position(const struct loop_writer *writer);
LOOP_API int     loop_writer_seek(struct loop_writer *writer, int64_t position);

LOOP_API bool         loop_writer_closing(const struct loop_writer *writer);
LOOP_API int          loop_writer_fd(const struct loop_writer *writer); /* -EBADF if not open */
LOOP_API struct loop *loop_writer_loop(const struct loop_writer *writer);

/* All zero if not open. */
LOOP_API void loop_writer_stats_get(const struct loop_writer *writer, struct loop_writer_stats *ret_stats);

LOOP_END_DECLS

#endif
