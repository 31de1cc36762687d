/* ringloop/directory.h: directories: listings, and directories made with those above them. Loop thread only.
 *
 * Life: zeroed > loop_listing_start > (entries)* > end callback; then it may be started anew, also in that callback.
 *
 * The kernel has no ring operation for reading directories: a listing runs on the work pool, one system call after
 * another, each of which brings a batch. The next is read when the last has been told: so it takes the same memory (66
 * KiB) for ten entries or a hundred million, and neither the loop nor a thread is held by it. Trees: tree.h. */
#ifndef RINGLOOP_DIRECTORY_H
#define RINGLOOP_DIRECTORY_H

#include <ringloop/types.h>

#include <sys/types.h>

LOOP_BEGIN_DECLS

struct loop_listing;

/* As in d_type of readdir(3); shifted left by 12 bits it is the type in st_mode. */
enum loop_entry_type {
    LOOP_ENTRY_UNKNOWN = 0, /* the file system does not tell; statx(2) does */
    LOOP_ENTRY_FIFO = 1,
    LOOP_ENTRY_CHARACTER_DEVICE = 2,
    LOOP_ENTRY_DIRECTORY = 4,
    LOOP_ENTRY_BLOCK_DEVICE = 6,
    LOOP_ENTRY_FILE = 8,
    LOOP_ENTRY_LINK = 10,
    LOOP_ENTRY_SOCKET = 12,
};

struct loop_entry {
    const char *name;      /* any bytes but '/' and 0 */
    uint64_t    inode;     /* at a mount point: of the directory beneath the mount */
    uint32_t    name_size; /* bytes, without the 0 */
    uint32_t    type;      /* enum loop_entry_type */
};

/* Entries as the directory has them, in no order, without "." and ".."; lent, count of them, at least 1. What is made
 * or removed meanwhile may or may not be among them; what is there all the time is, once. */
typedef void loop_listing_cb(struct loop_listing *listing, const struct loop_entry *entries, size_t count);

/* The last callback. error: 0 when all entries have been told; -ENOENT, also of a directory that was removed meanwhile;
 * -ENOTDIR; -EACCES; -ELOOP (LOOP_LISTING_NOFOLLOW); -EXDEV (LOOP_LISTING_BENEATH); -EMFILE; -ECANCELED; -ETIMEDOUT;
 * -EOWNERDEAD, in a child of fork(2) (fork.h); or what the system said. */
typedef void loop_listing_end_cb(struct loop_listing *listing, int error);

enum loop_listing_flags {
    LOOP_LISTING_NOFOLLOW = 1u << 0, /* if the last part of the path is a symbolic link: -ELOOP or -ENOTDIR */
    LOOP_LISTING_BENEATH = 1u << 1,  /* the path must not lead out of dirfd by "..", links or "/": -EXDEV */
    LOOP_LISTING_TYPES = 1u << 2,    /* what the file system does not tell is asked, one statx(2) for each */
};

/* { 0 }, or NULL, is valid and the default. */
struct loop_listing_options {
    uint64_t timeout_ns LOOP_ZERO; /* of all of it, pauses included; 0: none */
    uint32_t flags      LOOP_ZERO; /* enum loop_listing_flags; unknown bits give -EINVAL */
    uint32_t reserved   LOOP_ZERO;
};

struct loop_listing {
    void *data; /* yours; the library never reads it */
    struct loop_listing_private {
        struct loop     *loop;
        struct loop_job *job; /* NULL: not in progress */
    } priv;
};

/* Lists a directory: path is looked up from dirfd, a plain descriptor or AT_FDCWD; "." is dirfd itself. Copies path;
 * dirfd must stay open until the first callback. Borrows listing until the end callback, which comes once. It keeps the
 * loop alive. Returns 0, or calls back never:
 *   -EINVAL        no path, no callbacks, unknown flags
 *   -EBADF         dirfd is no descriptor
 *   -ENAMETOOLONG  the path is longer than PATH_MAX
 *   -EBUSY         listing is in use
 *   -ENOBUFS, -ENOMEM, -EAGAIN, -ECANCELED as loop_work() */
LOOP_API LOOP_MUST_USE int loop_listing_start(struct loop *loop, struct loop_listing *listing, int dirfd,
                                              const char *path, const struct loop_listing_options *options,
                                              loop_listing_cb *cb, loop_listing_end_cb *end_cb);

/* No entries come until the resume; those of one batch were read already. Both may be called at any time until the end
 * callback, and return 0, or -ENOENT if it is not in progress. */
LOOP_API int loop_listing_pause(struct loop_listing *listing);
LOOP_API int loop_listing_resume(struct loop_listing *listing);

/* No more entries come; the end callback does with -ECANCELED, when the thread that may be reading has let go. Returns
 * 0, or -ENOENT if it is not in progress. */
LOOP_API int loop_listing_cancel(struct loop_listing *listing);

/* The loop that it was last started on; NULL before the first time. */
LOOP_API struct loop *loop_listing_loop(const struct loop_listing *listing);

/* mkdir -p: makes the directory, and those above it that are missing, all with mode (less the umask; without the
 * owner's w and x nothing can be made inside). An operation like loop_work(), on the work pool, in its default class:
 * ids, terms, cancel and errors are as there; cancel and deadline also end it between two steps. Copies path; dirfd
 * must stay open until the callback. res: how many were made, 0 if it was there, also by a symbolic link to one;
 * -ENOTDIR if something else is in the way; or what mkdir(2) said of the first that could not be made: those above it
 * stay. Returns also -EBADF, -ENAMETOOLONG. */
LOOP_API loop_id loop_mkdir_all(struct loop *loop, int dirfd, const char *path, mode_t mode, loop_cb *cb, void *arg,
                                const struct loop_terms *terms);

LOOP_END_DECLS

#endif
