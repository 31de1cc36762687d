/* ringloop/watch.h: watching files, directories, paths and trees by inotify, and files by looking at them from time to
 * time. Loop thread only.
 *
 * Life: zeroed > loop_watch_start > (events) > loop_watch_close > close callback.
 *       zeroed > loop_stat_watch_start > (results) > loop_stat_watch_close > close callback.
 *
 * A loop has one inotify descriptor for all of its watches, made by the first of them and kept until the loop ends. The
 * kernel tells what happens on this machine: not what others do to a file on a network file system, nor most of what
 * changes in /proc and /sys. See loop_watch_reliable(), loop_watch_options.poll_ns, and loop_stat_watch. */
#ifndef RINGLOOP_WATCH_H
#define RINGLOOP_WATCH_H

#include <ringloop/timer.h>
#include <ringloop/types.h>

#include <stdbool.h>

LOOP_BEGIN_DECLS

struct loop_watch;
struct loop_stat_watch;
struct statx; /* <sys/stat.h> with _GNU_SOURCE, or <linux/stat.h> */

/* What has happened: one of them in an event. Of the first twelve loop_watch_options.events says which are told. */
enum loop_watch_kind {
    LOOP_WATCH_CREATED = 1u << 0,    /* made in the directory, by link(2), too */
    LOOP_WATCH_DELETED = 1u << 1,    /* its name removed */
    LOOP_WATCH_MODIFIED = 1u << 2,   /* bytes written, or truncated */
    LOOP_WATCH_ATTRIBUTES = 1u << 3, /* mode, owner, times, number of links */
    LOOP_WATCH_WRITTEN = 1u << 4,    /* closed by one who had it open for writing */
    LOOP_WATCH_RENAMED = 1u << 5,    /* inside of what is watched: .from is the name before. An exchange is two */
    LOOP_WATCH_MOVED_IN = 1u << 6,   /* from elsewhere. What stood under the new name is gone, as with RENAMED */
    LOOP_WATCH_MOVED_OUT = 1u << 7,  /* to elsewhere; told 10 ms late at most, since it might be a rename */
    LOOP_WATCH_SELF_MOVED = 1u << 8, /* what is watched has another name now, and goes on being watched */

    /* With LOOP_WATCH_PATH. */
    LOOP_WATCH_APPEARED = 1u << 9,
    LOOP_WATCH_DISAPPEARED = 1u << 10,
    LOOP_WATCH_REPLACED = 1u << 11, /* the path leads to another file than before */

    /* These need not be asked for. */
    LOOP_WATCH_SELF_DELETED = 1u << 16, /* what is watched is no more. Without LOOP_WATCH_PATH nothing follows */
    LOOP_WATCH_UNMOUNTED = 1u << 17,    /* the file system is; the same. In a tree also one inside of it, by its path */
    LOOP_WATCH_OVERFLOW = 1u << 18,     /* events were lost: look at everything again. What comes later is told again */
    LOOP_WATCH_READY = 1u << 19,        /* LOOP_WATCH_TREE: all of the tree is watched; told once, by the first scan */
    LOOP_WATCH_FAILED = 1u << 20,       /* .error: what stands at .path could not be watched */
};

struct loop_watch_event {
    uint32_t    kind;      /* one of enum loop_watch_kind */
    int         error;     /* LOOP_WATCH_FAILED: a negative errno; else 0 */
    bool        directory; /* it is a directory that was made, deleted, moved */
    /* Lent. In a directory the entry's name, in a tree its path from the root on ("a/b"); "" is the watched file or
     * directory itself. Without a slash at the beginning or the end. */
    const char *path;
    const char *from; /* LOOP_WATCH_RENAMED: path before; else NULL */
};

/* Lends event. In the order in which things happened, as far as the kernel tells. */
typedef void loop_watch_cb(struct loop_watch *watch, const struct loop_watch_event *event);
typedef void loop_watch_close_cb(struct loop_watch *watch);

enum loop_watch_flags {
    /* What the path leads to, whatever that is and becomes: files replaced by rename(2) or by an editor, links that are
     * set anew, directories on the way that come and go. It need not exist yet. */
    LOOP_WATCH_PATH = 1u << 0,
    /* The directory and all below it, also what is made later. No links are followed but at the path itself. */
    LOOP_WATCH_TREE = 1u << 1,
    LOOP_WATCH_UNREF = 1u << 2,    /* while open, it does not keep the loop alive */
    LOOP_WATCH_NOFOLLOW = 1u << 3, /* if the path is a symbolic link, that is watched; not with the first two */
};

enum {
    LOOP_WATCH_DIRECTORIES_MAX = 65536, /* of a tree, unless its options say otherwise */
    LOOP_WATCH_QUEUE_MAX = 16384        /* events of a watch that wait to be told, unless its options say otherwise */
};

/* { 0 }, or NULL, is valid and the default. */
struct loop_watch_options {
    uint32_t events               LOOP_ZERO; /* enum loop_watch_kind, the first twelve; 0: all; unknown bits -EINVAL */
    uint32_t flags                LOOP_ZERO; /* enum loop_watch_flags; unknown bits give -EINVAL */
    uint64_t coalesce_ns          LOOP_ZERO; /* tell when it has been quiet for so long; 0: in the next turn */
    uint64_t coalesce_max_ns      LOOP_ZERO; /* at most so long after the first event; 0: ten times coalesce_ns */
    uint64_t poll_ns              LOOP_ZERO; /* PATH: where inotify tells nothing, look so often; 0: do not */
    uint32_t directories_max      LOOP_ZERO; /* TREE: 0: LOOP_WATCH_DIRECTORIES_MAX; see loop_stats.watches_full */
    uint32_t queue_max            LOOP_ZERO; /* 0: LOOP_WATCH_QUEUE_MAX; beyond: LOOP_WATCH_OVERFLOW */
    loop_watch_close_cb *on_close LOOP_NONE; /* for loop_destroy(), and closes without a callback of their own */
};

struct loop_watch {
    void *data; /* yours; the library never reads it */
    struct loop_watch_private {
        struct loop_object object;
        struct watch      *watch; /* NULL: not open */
    } priv;
};

/* Watches the file or directory at path, which is copied; a relative one counts from the directory that the process is
 * in now. A path that is renamed goes on being watched (LOOP_WATCH_SELF_MOVED), unless LOOP_WATCH_PATH is set. Borrows
 * watch until its close callback. Several watches may look at the same file: each is told what it has asked for.
 *
 * Equal events on one entry that wait to be told are told once, MODIFIED, ATTRIBUTES and WRITTEN also if others of
 * these stand between.
 *
 * The look at the path, and at a tree's root, is made by this call; the rest of a tree is gone through by threads of
 * the work pool, which call the loop's allocator. What is made in it meanwhile is told, or was there when
 * LOOP_WATCH_READY is told. Of a directory that is made, or moved in, later, everything in it is told as
 * LOOP_WATCH_CREATED, once each.
 *
 * Returns 0, or calls back never:
 *   -EINVAL       no path, no cb, bad options
 *   -EBUSY        watch is open
 *   -ENOENT, -EACCES (no right to read it), -ENOTDIR, -ELOOP, -ENAMETOOLONG: what the path gives; not -ENOENT with
 *                 LOOP_WATCH_PATH
 *   -ENOSPC       the user has fs.inotify.max_user_watches watches already
 *   -EMFILE       the user has fs.inotify.max_user_instances inotify descriptors already; or this process has no free
 *                 descriptor; -ENFILE
 *   -ECANCELED    the loop is being destroyed
 *   -ENOMEM */
LOOP_API LOOP_MUST_USE int loop_watch_start(struct loop *loop, struct loop_watch *watch, const char *path,
                                            const struct loop_watch_options *options, loop_watch_cb *cb);

/* No event comes after it. Then on_close (NULL: the one of the options), last and once: when a thread that still looks
 * at a directory for it has come back. Closing a closing watch does nothing. */
LOOP_API void loop_watch_close(struct loop_watch *watch, loop_watch_close_cb *on_close);

/* Whether the open watch keeps the loop alive (default: it does, but with LOOP_WATCH_UNREF). A closing one always does.
 * No effect if not open. */
LOOP_API void loop_watch_ref(struct loop_watch *watch);
LOOP_API void loop_watch_unref(struct loop_watch *watch);
LOOP_API bool loop_watch_has_ref(const struct loop_watch *watch);

/* With LOOP_WATCH_PATH: whether the path led to something when last looked. Others: whether it is being watched still.
 */
LOOP_API bool         loop_watch_present(const struct loop_watch *watch);
LOOP_API const char  *loop_watch_path(const struct loop_watch *watch);        /* absolute, lent; NULL if not open */
LOOP_API uint32_t     loop_watch_directories(const struct loop_watch *watch); /* of a tree, watched now; else 0 */
LOOP_API bool         loop_watch_closing(const struct loop_watch *watch);
LOOP_API struct loop *loop_watch_loop(const struct loop_watch *watch); /* NULL if not open */

/* Whether the kernel tells all that happens at path: 1, or 0 for network file systems, FUSE, /proc, /sys and their
 * like, by statfs(2) of it, or else of the directory that it would stand in. May block where the server of such a file
 * system is away. Any thread. Returns a negative errno if neither can be had. */
LOOP_API int loop_watch_reliable(const char *path);

/* ---- looking from time to time */

/* error 0: present, and it differs from previous, the last result told; NULL: this is the first, or it was missing.
 * Else why there is none, e.g. -ENOENT; told once, until it differs; present is NULL and previous what was there, or
 * NULL. The first result is always told. All lent. */
typedef void loop_stat_watch_cb(struct loop_stat_watch *watch, int error, const struct statx *previous,
                                const struct statx *present);
typedef void loop_stat_watch_close_cb(struct loop_stat_watch *watch);

enum loop_stat_watch_flags {
    LOOP_STAT_WATCH_UNREF = 1u << 0,    /* while open, it does not keep the loop alive */
    LOOP_STAT_WATCH_NOFOLLOW = 1u << 1, /* of a symbolic link itself */
    LOOP_STAT_WATCH_SYNC = 1u << 2,     /* asks the server of a network file system each time (AT_STATX_FORCE_SYNC) */
};

struct loop_stat_watch_options {
    uint32_t flags                     LOOP_ZERO; /* enum loop_stat_watch_flags; unknown bits give -EINVAL */
    uint64_t interval_ns               LOOP_ZERO; /* 0: 5 s. From one result to the next look */
    loop_stat_watch_close_cb *on_close LOOP_NONE; /* as for loop_watch */
};

struct loop_stat_watch {
    void *data; /* yours; the library never reads it */
    struct loop_stat_watch_private {
        struct loop_object        object;
        struct loop_task          task;
        struct loop_timer         timer;
        struct stat_look         *look; /* what the kernel fills in: not freed before that is over */
        loop_stat_watch_cb       *cb;
        loop_stat_watch_close_cb *on_close;
        uint64_t                  interval_ns;
        int                       error; /* told last */
        uint32_t                  flags;
        uint8_t                   state;
        bool                      told; /* anything at all */
        bool                      ref;
    } priv;
};

/* Looks at path (copied, relative to where the process is at each time) by statx(2) through the ring, now and then
 * after each interval. Told is a change of anything but the access time. Borrows watch until its close callback.
 * Returns 0, -EINVAL, -EBUSY (open), -ENAMETOOLONG, -ECANCELED (the loop is being destroyed), -ENOMEM. */
LOOP_API LOOP_MUST_USE int loop_stat_watch_start(struct loop *loop, struct loop_stat_watch *watch, const char *path,
                                                 const struct loop_stat_watch_options *options, loop_stat_watch_cb *cb);

/* No result comes after it; on_close comes in the next turn, also while the kernel still waits for a server that is
 * away: the memory it writes to is the loop's. That keeps the loop alive no more, but loop_destroy() has to wait for
 * it. */
LOOP_API void loop_stat_watch_close(struct loop_stat_watch *watch, loop_stat_watch_close_cb *on_close);

/* As for loop_watch. */
LOOP_API void loop_stat_watch_ref(struct loop_stat_watch *watch);
LOOP_API void loop_stat_watch_unref(struct loop_stat_watch *watch);
LOOP_API bool loop_stat_watch_has_ref(const struct loop_stat_watch *watch);

LOOP_API const char  *loop_stat_watch_path(const struct loop_stat_watch *watch); /* as given, lent; NULL if not open */
LOOP_API bool         loop_stat_watch_closing(const struct loop_stat_watch *watch);
LOOP_API struct loop *loop_stat_watch_loop(const struct loop_stat_watch *watch); /* NULL if not open */

LOOP_END_DECLS

#endif
