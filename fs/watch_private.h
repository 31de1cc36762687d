/* fs/watch_private.h: what the parts of a watch have for each other.
 *
 * watch_inotify.c reads the kernel's events and tells hooks, one for each interest in an inode. Hooks belong to watches
 * of three kinds: one entry (watch.c), a path (watch_path.c), a tree (watch_tree.c, watch_tree_scan.c). What they make
 * of it are notes (watch_note.c), which wait until the program is told. No callback of the program's ever comes from
 * inside of a hook. */
#ifndef RINGLOOP_FS_WATCH_PRIVATE_H
#define RINGLOOP_FS_WATCH_PRIVATE_H

#include "loop/loop_private.h"
#include "loop/seam_file.h"

#include <ringloop/watch.h>
#include <sys/inotify.h>

struct watch;
struct watched;
struct watch_hook;
struct watch_note;
struct watch_path;
struct watch_tree;

/* ---- watch_inotify.c */

/* mask: what the hook has asked for, and always IN_UNMOUNT and IN_IGNORED; after the latter it is on no inode. */
typedef void watch_hook_fn(struct watch_hook *hook, uint32_t mask, uint32_t cookie, const char *name);

struct watch_hook {
    struct watch_hook *next, *prev; /* of the same inode */
    struct watched    *watched;     /* NULL: on none. Two hooks are on the same inode if these are equal */
    struct watch      *watch;
    watch_hook_fn     *told;
    uint32_t           mask;
};
LIST_DEFINE(watch_hook, struct watch_hook)

struct watch_link {
    struct watch_link *next, *prev;
};
LIST_DEFINE(link, struct watch_link)

enum { NOTE_BUCKETS = 256 };

/* One for each loop. */
struct notifier {
    struct loop_attachment attachment;
    struct loop           *loop;
    struct loop_task       task; /* tries to poll again */
    struct watch_link      watches, leaving;
    loop_id                poll_id; /* 0: none */
    int                    fd;      /* or why there is none */
    struct watched       **table;   /* by number */
    size_t                 table_size, watched_count;
    struct watched        *telling;
    bool                   reading;
    struct watch_note     *buckets[NOTE_BUCKETS]; /* notes of all watches by their path */
};

/* Makes it at the first use: 0, or why it can't be had. */
int  notifier_of(struct loop *loop, struct notifier **ret_notifier);
/* The watch is told of what the kernel has lost; polling begins with the first. 0, or why there is no polling. */
int  notifier_enter(struct notifier *notifier, struct watch *watch);
/* Returns whether it has left: else its task runs when it has. */
bool notifier_leave(struct notifier *notifier, struct watch *watch);
/* Takes what the kernel has told by now. */
void notifier_read(struct notifier *notifier);

/* mask: also IN_ONLYDIR, IN_DONT_FOLLOW. 0 or what inotify_add_watch(2) gave, or -ENOMEM. */
int  notifier_add(struct notifier *notifier, struct watch_hook *hook, const char *path, uint32_t mask);
/* The same for what may be a directory: that is not told what is done to files in it through descriptors, once their
 * names have gone. */
int  notifier_add_any(struct notifier *notifier, struct watch_hook *hook, const char *path, uint32_t mask);
/* It may be on none. Returns whether the inode is known to have gone. */
bool notifier_remove(struct notifier *notifier, struct watch_hook *hook);

/* ---- watch.c */

struct watch_note {
    struct watch_note *next, *prev;
    struct watch_note *same; /* in its bucket, newest first */
    struct watch      *watch;
    uint64_t           due_ns, order;
    uint32_t           kind, cookie, hash;
    int                error;
    bool               directory;
    const char        *path, *from; /* behind the structure */
};
LIST_DEFINE(note, struct watch_note)

struct watch {
    struct watch_link         link;
    struct loop              *loop;
    struct notifier          *notifier;
    struct loop_watch        *user;
    struct loop_watch_options options;
    loop_watch_cb            *cb;
    loop_watch_close_cb      *on_close;
    struct loop_task          task;  /* tells, or ends */
    struct loop_timer         timer; /* tells */
    struct watch_note         notes;
    uint64_t                  first_ns;
    uint64_t                  notes_made;
    uint64_t                  moved_at, directory_moved_at; /* when anything was moved last, in notes made */
    uint64_t                  replayed_at;                  /* while what was held is told: since when; else 0 */
    uint32_t                  notes_count, unpaired;        /* notes of a move of which the other half may come */
    uint32_t                  mask;                         /* IN_*, of options.events */
    bool                      overflown, closing, leaving, ended, ref;
    struct watch_hook         hook; /* of an entry */
    struct watch_path        *path;
    struct watch_tree        *tree;
    char                      name[]; /* absolute */
};

/* What an event means as notes. path: of the entry. Returns whether it is the second half of a move whose first half is
 * known. */
bool watch_translate(struct watch *watch, uint32_t mask, uint32_t cookie, const char *path);
/* Events were lost: by the kernel, for want of room or memory, or in a fork. */
void watch_lost(struct watch *watch, bool rehomed);
/* In a child of fork(2): it is on no inode any more. */
void watch_rehome(struct watch *watch);
/* Tells that it is over, once. */
void watch_end(struct watch *watch, uint32_t kind);

/* ---- watch_note.c */

/* Notes an event, if it is wanted. Without memory or room the watch overflows. */
void watch_note(struct watch *watch, uint32_t kind, const char *path, bool directory);
/* Not to be lost: false without memory. */
bool watch_note_ready(struct watch *watch);
void watch_note_failed(struct watch *watch, const char *path, int error);
/* The two halves of a move. The second returns whether it has found the first. */
void watch_note_from(struct watch *watch, const char *path, bool directory, uint32_t cookie);
bool watch_note_to(struct watch *watch, const char *path, bool directory, uint32_t cookie);
void watch_notes_tell(struct watch *watch); /* the callback may close it */
void watch_notes_drop(struct watch *watch);
void watch_notes_schedule(struct watch *watch);

/* ---- watch_path.c */

int  watch_path_start(struct watch *watch);
void watch_path_look(struct watch *watch); /* if anything has changed on the way */
void watch_path_lost(struct watch *watch, bool rehomed);
/* Whether nothing of it is in use any more; else the watch's task is run when that is so. */
bool watch_path_close(struct watch *watch);
void watch_path_free(struct watch *watch);
bool watch_path_present(const struct watch *watch);

/* ---- watch_tree.c, watch_tree_scan.c: the same */

int      watch_tree_start(struct watch *watch);
void     watch_tree_lost(struct watch *watch);
void     watch_tree_moved_out(struct watch *watch, uint32_t cookie);
bool     watch_tree_close(struct watch *watch);
void     watch_tree_free(struct watch *watch);
bool     watch_tree_looks_again(const struct watch *watch); /* after events were lost */
uint32_t watch_tree_directories(const struct watch *watch);

#endif
