/* fs/watch_tree_private.h: the directories of a watched tree, and the scans that find them.
 *
 * A directory is known from the moment when we hear of it; then it is watched, and after that listed by a thread of the
 * work pool, so that whatever is in it is either listed or told by the kernel, or both. When a list comes back, all
 * that the kernel has told by then is read first. What the list is for, stands in the node: */
#ifndef RINGLOOP_FS_WATCH_TREE_PRIVATE_H
#define RINGLOOP_FS_WATCH_TREE_PRIVATE_H

#include "fs/watch_private.h"

#include <limits.h>

enum scan_purpose {
    SCAN_NONE,  /* listed */
    SCAN_FIRST, /* it was there when the watch started: its directories are looked for */
    SCAN_TELL,  /* it is new: all in it is told. What the kernel tells of it is held until then, and the two merged */
    SCAN_CHECK, /* events were lost: directories that are gone, others than before, or not known, are looked for */
};

struct held_event {
    struct held_event *next;
    uint32_t           mask, cookie;
    char               name[];
};

struct tree_node {
    struct watch_hook  hook;
    struct watch_tree *tree;
    struct tree_node  *parent;
    struct tree_node  *children, *next, *prev; /* brothers */
    struct tree_node  *chain;                  /* of the same bucket of names */
    struct tree_node  *todo_next, *todo_prev;  /* waits to be listed */
    struct tree_node  *moving_next;            /* of those that the tree has as moving */
    struct scan_item  *item;                   /* is being listed */
    struct held_event *held, **held_end;
    uint32_t           hash, moving; /* the cookie of the move that it is in; 0: none */
    uint8_t            purpose;      /* enum scan_purpose */
    bool               holding;
    bool               again;     /* to be checked after it has been listed */
    bool               missed;    /* while it was moving something happened in it that is not told */
    bool               displaced; /* it has come to where another one was: that is gone, or they were exchanged */
    bool               alone;     /* with displaced: the inode of the other one had gone by then */
    char              *name;      /* the root's is "" */
};

/* An entry of a directory as listed. */
struct scan_entry {
    const char *name;
    bool        directory, told;
};

struct scan_item {
    struct tree_node  *node; /* NULL: gone meanwhile */
    struct loop       *loop;
    bool               all, root; /* not only directories; links are followed */
    bool               astray;    /* it was moved since the path was made: who knows what stands there now */
    int                error;
    char              *names; /* one byte that says whether it is a directory, then the name */
    size_t             names_size, names_room;
    struct scan_entry *entries; /* sorted */
    size_t             entries_count;
    char              *path;
};

enum { SCAN_ITEMS_MAX = 64 };

struct tree_scan {
    struct watch_tree *tree;
    uint32_t           count;
    struct scan_item   items[SCAN_ITEMS_MAX];
};

struct watch_tree {
    struct watch      *watch;
    struct tree_node   root;
    struct tree_node   todo; /* the head of a list */
    struct tree_node **table;
    size_t             table_size, count; /* of nodes */
    struct loop_task   task;              /* goes on scanning */
    struct tree_scan  *scan;              /* in flight, or to be started */
    loop_id            scan_id;
    struct tree_node  *moving; /* directories of which the second half of a move may come */
    bool               ready, checking, check_again;
    char               empty[1]; /* the root's name */
};

/* ---- watch_tree.c */

/* Writes the path of a node's entry, from the root on; name "": of the node. 0 or -ENAMETOOLONG. */
int               tree_path(const struct tree_node *node, const char *name, char *ret_path, size_t size);
int               tree_path_absolute(const struct tree_node *node, const char *name, char *ret_path, size_t size);
struct tree_node *tree_child(const struct tree_node *parent, const char *name);
/* A directory that is to be watched and listed. It may be refused, which is told. */
void              tree_child_add(struct tree_node *parent, const char *name, enum scan_purpose purpose);
void              tree_node_remove(struct tree_node *node); /* with all below; the root only loses its children */
/* Whether it is, or stands in, a directory that has left its place, and nobody knows yet where to: nothing is told of
 * it. Should it come in again it is a new one. */
bool              tree_is_moving(struct tree_node *node);
void              tree_moving_end(struct tree_node *node);
void              tree_held_free(struct tree_node *node);
void              tree_node_event(struct tree_node *node, uint32_t mask, uint32_t cookie, const char *name);
uint32_t          tree_mask(const struct tree_node *node);
void              tree_fail(const struct tree_node *node, int error); /* tells, and counts */

/* ---- watch_tree_scan.c */

void tree_todo_add(struct tree_node *node, enum scan_purpose purpose);
void tree_todo_remove(struct tree_node *node);
void tree_scan_astray(const struct tree_node *node); /* it has another path now: what is listed of it is listed again */
void tree_go_on(struct loop *loop, struct loop_task *task);
void tree_scan_free(struct watch_tree *tree);

#endif
