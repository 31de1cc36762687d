/* ringloop/tree.h: trees of directories: walks through them, and their removal. Loop thread only.
 *
 * Both go from directory to directory by descriptors: each is opened from the one above it. So paths may be longer than
 * PATH_MAX, and what is renamed or exchanged meanwhile leads to no place outside of the tree. They run on the work pool
 * with at most 10 descriptors each, however deep the tree, and take memory for the depth, not for the number of
 * entries: 48 bytes and the name for each level. Directories more than 65536 levels down give -ENAMETOOLONG. The
 * allocator of the loop is called on threads of the pool, and must be thread-safe. */
#ifndef RINGLOOP_TREE_H
#define RINGLOOP_TREE_H

#include <ringloop/directory.h>

LOOP_BEGIN_DECLS

struct loop_tree_walk;
struct statx; /* <sys/stat.h> with _GNU_SOURCE, or <linux/stat.h> */

/* ---- walks
 *
 * Life: zeroed > loop_tree_walk_start > (visits)* > end callback; then it may be started anew, also in that callback.
 */

enum loop_visit_kind {
    LOOP_VISIT_ENTRY, /* what is no directory, or a link that is not followed */
    LOOP_VISIT_ENTER, /* a directory, before what is in it: the answer decides whether it is entered */
    LOOP_VISIT_LEAVE, /* the same, after it, if it was entered */
    LOOP_VISIT_ERROR, /* a directory after its ENTER: it could not be opened, and is passed over; or, before its LEAVE,
                         could not be read to its end */
};

/* Lent. */
struct loop_visit {
    const char         *path; /* from the dirfd of the walk: the path that it was started with, '/', and the rest */
    const char         *name; /* the last part of path; of the first directory all of it */
    const struct statx *stat; /* LOOP_TREE_WALK_STAT, ENTRY and ENTER: STATX_BASIC_STATS of the entry itself; NULL if it
                                 is gone, or can't be asked for */
    uint64_t            inode; /* ENTRY and ENTER, as the directory has it; of the first directory 0 */
    enum loop_visit_kind kind;
    uint32_t             type;  /* enum loop_entry_type; unknown only if it can't be found out */
    uint32_t             depth; /* 0: the first directory */
    int                  error; /* ERROR: -EACCES, -ELOOP (it leads to a directory above it), -ENOENT and -ENOTDIR (gone
                                   meanwhile), -ESTALE (gone, with more to be read), -ENAMETOOLONG, -ENOMEM, ... */
};

enum loop_tree_walk_answer {
    LOOP_TREE_WALK_GO_ON, /* after ENTER: into it */
    LOOP_TREE_WALK_SKIP,  /* after ENTER: not into it, and no LEAVE; after others: go on */
    LOOP_TREE_WALK_STOP,  /* the walk has ended: error is 0 */
};

typedef enum loop_tree_walk_answer loop_tree_walk_cb(struct loop_tree_walk *walk, const struct loop_visit *visit);

/* The last callback. error: 0: to the end, or stopped by an answer; why the first directory could not be opened, as in
 * loop_listing_end_cb, and then there was no visit; -EOVERFLOW: visits_max (counted in loop_stats.walks_over);
 * -ECANCELED; -ETIMEDOUT; -EOWNERDEAD; -ENOMEM. What goes wrong with directories further down is visited, and the walk
 * goes on. */
typedef void loop_tree_walk_end_cb(struct loop_tree_walk *walk, int error);

enum loop_tree_walk_flags {
    LOOP_TREE_WALK_FOLLOW = 1u << 0, /* links to directories are entered, as directories. A directory may be met by many
                                   ways; one that leads back to a directory it is in gives -ELOOP */
    LOOP_TREE_WALK_ONE_SYSTEM = 1u << 1, /* directories of other file systems are visited, and not entered */
    LOOP_TREE_WALK_STAT = 1u << 2,       /* one statx(2) for each entry */
    LOOP_TREE_WALK_NOFOLLOW = 1u << 3,   /* the path itself must not be a link, else -ELOOP or -ENOTDIR */
    LOOP_TREE_WALK_BENEATH = 1u << 4,    /* nor lead out of dirfd by "..", links or "/": -EXDEV */
};

/* { 0 }, or NULL, is valid and the default. */
struct loop_tree_walk_options {
    uint64_t timeout_ns LOOP_ZERO; /* of all of it, pauses included; 0: none */
    uint64_t visits_max LOOP_ZERO; /* 0: no limit */
    uint32_t depth_max  LOOP_ZERO; /* directories this deep are visited, and not entered; 0: no limit */
    uint32_t flags      LOOP_ZERO; /* enum loop_tree_walk_flags; unknown bits give -EINVAL */
};

struct loop_tree_walk {
    void *data; /* yours; the library never reads it */
    struct loop_tree_walk_private {
        struct loop     *loop;
        struct loop_job *job; /* NULL: not in progress */
    } priv;
};

/* Visits a directory and all beneath it, each directory before and after what is in it. Entries come in no order, and a
 * directory's subtree as a whole. Links are entries, unless LOOP_TREE_WALK_FOLLOW is set. Visits are read ahead, up to
 * 128 and never past an ENTER, so that what they say may be as old as the callbacks are slow.
 *
 * Copies path; dirfd, a plain descriptor or AT_FDCWD, must stay open until the first callback. Borrows walk until the
 * end callback, which comes once. It keeps the loop alive. Returns 0, or calls back never: as loop_listing_start(). */
LOOP_API LOOP_MUST_USE int loop_tree_walk_start(struct loop *loop, struct loop_tree_walk *walk, int dirfd,
                                                const char *path, const struct loop_tree_walk_options *options,
                                                loop_tree_walk_cb *cb, loop_tree_walk_end_cb *end_cb);

/* As those of loop_listing: no visit comes after loop_tree_walk_pause() until the resume, none after a cancel. */
LOOP_API int loop_tree_walk_pause(struct loop_tree_walk *walk);
LOOP_API int loop_tree_walk_resume(struct loop_tree_walk *walk);
LOOP_API int loop_tree_walk_cancel(struct loop_tree_walk *walk);

/* The loop that it was last started on; NULL before the first time. */
LOOP_API struct loop *loop_tree_walk_loop(const struct loop_tree_walk *walk);

/* ---- removal */

enum loop_tree_remove_flags {
    LOOP_TREE_CONTENTS = 1u << 0,   /* only what is in the directory; it must be one, else -ENOTDIR */
    LOOP_TREE_STOP = 1u << 1,       /* ends at the first error; otherwise it goes on with what can be removed */
    LOOP_TREE_ONE_SYSTEM = 1u << 2, /* not into directories of other file systems, which give -EXDEV */
};

struct loop_tree_counts {
    uint64_t files; /* removed: all but directories */
    uint64_t directories;
    uint64_t errors; /* entries that could not be removed, but for the directories above them */
};

/* rm -r: removes what stands at path, and if it is a directory all that is in it. No link is followed, but in the path
 * above its last part: a link is removed itself, also one that has taken a directory's place meanwhile. What is gone
 * meanwhile counts as removed by others. It can't be undone: what was removed before an error or a cancel is gone.
 *
 * An operation like loop_work(), on the work pool, in its slow class, where it holds one thread to its end: ids, terms
 * and errors are as there; cancel and deadline also end it between two entries. Copies path; borrows ret_counts, which
 * may be NULL, and is always filled in when it has begun; dirfd, a plain descriptor or AT_FDCWD, must stay open until
 * the callback. res: 0 if nothing is left; the first error: -ENOENT if there is nothing at path, -EACCES or -EPERM,
 * -EBUSY (a mount point), -EROFS, -ENOTEMPTY (somebody keeps filling it), -ENOMEM, ...; -ECANCELED, -ETIMEDOUT. Returns
 * also -EINVAL (unknown flags; the path ends with "." or "..", or is "/"), -EBADF, -ENAMETOOLONG. */
LOOP_API loop_id loop_tree_remove(struct loop *loop, int dirfd, const char *path, uint32_t flags,
                                  struct loop_tree_counts *ret_counts, loop_cb *cb, void *arg,
                                  const struct loop_terms *terms);

LOOP_END_DECLS

#endif
