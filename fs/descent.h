/* fs/descent.h: a way down into a tree of directories and up again, for one thread at a time: what walks and removals
 * share. No path is ever looked up as a whole: each directory is opened from the one above it, so that paths may be of
 * any length, and what is renamed meanwhile leads nowhere else.
 *
 * At most DESCENT_OPEN directories are open, the lowest. One above them is opened again by way of ".." when the way up
 * comes to it, or, where that leads elsewhere (it was moved, or came by a link), from the first one by its names; by
 * device, inode and the time when it was made it must be the same: file systems give the number of an inode away again
 * at once. Reading goes on at the position that it had. */
#ifndef RINGLOOP_FS_DESCENT_H
#define RINGLOOP_FS_DESCENT_H

#include "fs/entries.h"

#include <stddef.h>
#include <stdint.h>

struct loop;

enum {
    DESCENT_OPEN = 8,
    DESCENT_BUFFER = 4096,
    DESCENT_NAME_BYTES = DESCENT_BUFFER, /* of a name with its 0, at most: some file systems go beyond NAME_MAX */
    DESCENT_DEPTH_MAX = 65536,           /* deeper ones give -ENAMETOOLONG */
};

enum descent_flags {
    DESCENT_FOLLOW = 1u << 0,       /* links to directories are entered; those that lead to one above give -ELOOP */
    DESCENT_ONE_SYSTEM = 1u << 1,   /* directories of other file systems give -EXDEV */
    DESCENT_TOP_NOFOLLOW = 1u << 2, /* the first one must not be a link */
    DESCENT_TOP_BENEATH = 1u << 3,  /* nor lead out of its dirfd */
};

struct descent_level {
    uint64_t device, inode, made_ns; /* made_ns: 0 where the file system does not tell */
    int64_t  position;               /* behind the entry read last */
    uint32_t name_at;                /* of the name in names */
    uint32_t tag;                    /* the user's */
    uint64_t count;                  /* the user's */
};

struct descent_slot {
    int      fd; /* -1: none */
    uint32_t at, end;
    _Alignas(8) char buffer[DESCENT_BUFFER];
};

struct descent {
    struct loop          *loop; /* whose allocator it uses */
    struct descent_level *levels;
    char                 *names; /* of all levels, one behind the other, each with its 0 */
    size_t                names_size, names_room;
    uint32_t              depth; /* levels */
    uint32_t              levels_room;
    uint32_t              flags;
    int                   top_fd;              /* the first level's when its slot is another's; else -1 */
    struct descent_slot   slots[DESCENT_OPEN]; /* of level i: i modulo DESCENT_OPEN */
};

void descent_init(struct descent *descent, struct loop *loop, uint32_t flags);
void descent_close(struct descent *descent);

/* Begins at a directory. */
int descent_begin(struct descent *descent, int dirfd, const char *path);

/* Goes down into a directory of the lowest level. On failure all is as before. */
int descent_enter(struct descent *descent, const char *name);

/* 1 and the next entry of the lowest level but the dots, valid until the next call; 0 at the end; -ENOENT if the
 * directory was removed; -ESTALE if it could not be found again. */
int descent_next(struct descent *descent, const struct raw_entry **ret_entry);

/* Up from the lowest level. */
void descent_leave(struct descent *descent);

/* The lowest level; its descriptor, or -1 if it could not be found again; its name. */
static inline struct descent_level *descent_level(const struct descent *descent)
{
    return &descent->levels[descent->depth - 1];
}

static inline int descent_fd(const struct descent *descent)
{
    return descent->slots[(descent->depth - 1) % DESCENT_OPEN].fd;
}

static inline const char *descent_name(const struct descent *descent)
{
    return descent->names + descent_level(descent)->name_at;
}

#endif
