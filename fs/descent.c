/* fs/descent.c: a way down into a tree of directories and up again. */
#include "fs/descent.h"

#include "loop/memory.h"
#include "loop/seam_file.h"
#include "loop/seam_sys.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

enum { OPEN_FLAGS = O_RDONLY | O_DIRECTORY | O_NONBLOCK, LEVELS_FIRST = 32, NAMES_FIRST = 1024 };

void descent_init(struct descent *descent, struct loop *loop, uint32_t flags)
{
    *descent = (struct descent){.loop = loop, .flags = flags, .top_fd = -1};
    for (int i = 0; i < DESCENT_OPEN; i++)
        descent->slots[i].fd = -1;
}

static void close_fd(int *fd)
{
    int closing = *fd;

    *fd = -1;
    if (closing >= 0)
        (void)sys_close(closing);
}

void descent_close(struct descent *descent)
{
    for (int i = 0; i < DESCENT_OPEN; i++)
        close_fd(&descent->slots[i].fd);
    close_fd(&descent->top_fd);
    memory_free(descent->loop, descent->levels);
    memory_free(descent->loop, descent->names);
    descent_init(descent, descent->loop, descent->flags);
}

static struct descent_slot *slot_of(struct descent *descent, uint32_t level)
{
    return &descent->slots[level % DESCENT_OPEN];
}

/* ---- memory: what is old is let go of when the new is in its place: see job.h */

static int grow_levels(struct descent *descent)
{
    uint32_t              room = descent->levels_room == 0 ? LEVELS_FIRST : 2 * descent->levels_room;
    struct descent_level *levels = memory_resize(descent->loop, NULL, room * sizeof(levels[0]));
    struct descent_level *old = descent->levels;

    if (levels == NULL)
        return -ENOMEM;
    if (descent->depth > 0)
        memcpy(levels, old, descent->depth * sizeof(levels[0]));
    descent->levels = levels;
    descent->levels_room = room;
    memory_free(descent->loop, old);
    return 0;
}

static int grow_names(struct descent *descent, size_t size)
{
    size_t room = descent->names_room == 0 ? NAMES_FIRST : 2 * descent->names_room;
    char  *names, *old = descent->names;

    while (room < size)
        room *= 2;
    names = memory_resize(descent->loop, NULL, room);
    if (names == NULL)
        return -ENOMEM;
    if (descent->names_size > 0)
        memcpy(names, old, descent->names_size);
    descent->names = names;
    descent->names_room = room;
    memory_free(descent->loop, old);
    return 0;
}

static int grow(struct descent *descent, size_t name_size)
{
    int r = descent->depth == DESCENT_DEPTH_MAX ? -ENAMETOOLONG : 0;

    if (r == 0 && descent->depth == descent->levels_room)
        r = grow_levels(descent);
    if (r == 0 && descent->names_size + name_size > descent->names_room)
        r = grow_names(descent, descent->names_size + name_size);
    return r;
}

/* ---- down */

static int identify(int fd, struct descent_level *ret_level)
{
    struct statx stat;
    int          r = sys_statx(fd, "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &stat);

    if (r < 0)
        return r;
    ret_level->device = (uint64_t)stat.stx_dev_major << 32 | stat.stx_dev_minor;
    ret_level->inode = stat.stx_ino;
    if ((stat.stx_mask & STATX_BTIME) != 0)
        ret_level->made_ns = (uint64_t)stat.stx_btime.tv_sec * 1000000000 + stat.stx_btime.tv_nsec;
    return 0;
}

static bool same(const struct descent_level *a, const struct descent_level *b)
{
    return a->device == b->device && a->inode == b->inode && a->made_ns == b->made_ns;
}

static int may_enter(const struct descent *descent, const struct descent_level *level)
{
    if (descent->depth > 0 && (descent->flags & DESCENT_ONE_SYSTEM) != 0 && level->device != descent->levels[0].device)
        return -EXDEV;
    if ((descent->flags & DESCENT_FOLLOW) == 0)
        return 0;
    for (uint32_t i = 0; i < descent->depth; i++) {
        if (same(&descent->levels[i], level))
            return -ELOOP;
    }
    return 0;
}

/* The slot becomes the new level's; who had it will be opened again, but for the first one, which stays open. */
static void take_slot(struct descent *descent, int fd)
{
    struct descent_slot *slot = slot_of(descent, descent->depth);

    if (descent->depth == DESCENT_OPEN && slot->fd >= 0)
        descent->top_fd = slot->fd;
    else
        close_fd(&slot->fd);
    slot->fd = fd;
    slot->at = slot->end = 0;
}

static int push(struct descent *descent, int fd, const char *name)
{
    struct descent_level level = {.name_at = (uint32_t)descent->names_size};
    size_t               name_size = strlen(name) + 1;
    int                  r;

    r = identify(fd, &level);
    if (r == 0)
        r = may_enter(descent, &level);
    if (r == 0)
        r = grow(descent, name_size);
    if (r < 0) {
        (void)sys_close(fd);
        return r;
    }
    memcpy(descent->names + descent->names_size, name, name_size);
    descent->names_size += name_size;
    take_slot(descent, fd);
    descent->levels[descent->depth++] = level;
    return 0;
}

int descent_begin(struct descent *descent, int dirfd, const char *path)
{
    int flags = OPEN_FLAGS | ((descent->flags & DESCENT_TOP_NOFOLLOW) != 0 ? O_NOFOLLOW : 0);
    int fd = (descent->flags & DESCENT_TOP_BENEATH) != 0 ? sys_open_beneath(dirfd, path, flags, 0)
                                                         : sys_open_at(dirfd, path, flags, 0);

    return fd < 0 ? fd : push(descent, fd, path);
}

static int nofollow(const struct descent *descent)
{
    return (descent->flags & DESCENT_FOLLOW) != 0 ? 0 : O_NOFOLLOW;
}

int descent_enter(struct descent *descent, const char *name)
{
    int fd = descent_fd(descent);

    if (fd < 0)
        return -ESTALE;
    fd = sys_open_at(fd, name, OPEN_FLAGS | nofollow(descent), 0);
    return fd < 0 ? fd : push(descent, fd, name);
}

/* ---- entries */

int descent_next(struct descent *descent, const struct raw_entry **ret_entry)
{
    struct descent_slot    *slot = slot_of(descent, descent->depth - 1);
    const struct raw_entry *entry;
    ssize_t                 size;

    if (slot->fd < 0)
        return -ESTALE;
    do {
        if (slot->at == slot->end) {
            size = sys_entries_read(slot->fd, slot->buffer, sizeof(slot->buffer));
            if (size <= 0)
                return (int)size;
            slot->at = 0;
            slot->end = (uint32_t)size;
        }
        entry = (const struct raw_entry *)(const void *)(slot->buffer + slot->at);
        slot->at += entry->size;
        descent_level(descent)->position = entry->next;
    } while (raw_entry_is_dots(entry));
    *ret_entry = entry;
    return 1;
}

/* ---- up */

/* Whether it is that level's; else it is closed. */
static bool is_level(struct descent *descent, uint32_t level, int *fd)
{
    struct descent_level found = {0};

    if (*fd >= 0 && identify(*fd, &found) == 0 && same(&found, &descent->levels[level]))
        return true;
    close_fd(fd);
    return false;
}

/* From the first one by the names. */
static int open_by_names(struct descent *descent, uint32_t level)
{
    int fd = sys_open_at(descent->top_fd, ".", OPEN_FLAGS, 0), next;

    for (uint32_t i = 1; i <= level && fd >= 0; i++) {
        next = sys_open_at(fd, descent->names + descent->levels[i].name_at, OPEN_FLAGS | nofollow(descent), 0);
        close_fd(&fd);
        fd = next;
    }
    return fd;
}

/* below: a descriptor of the level below it, or -1. Returns -1 if it can't be found. */
static int open_again(struct descent *descent, uint32_t level, int below)
{
    int fd;

    if (level == 0) {
        fd = descent->top_fd;
        descent->top_fd = -1;
    } else {
        fd = below < 0 ? -1 : sys_open_at(below, "..", OPEN_FLAGS | O_NOFOLLOW, 0);
    }
    if (!is_level(descent, level, &fd)) {
        fd = level == 0 ? -1 : open_by_names(descent, level);
        if (!is_level(descent, level, &fd))
            return -1;
    }
    if (sys_seek(fd, descent->levels[level].position, SEEK_SET) < 0)
        close_fd(&fd);
    return fd;
}

void descent_leave(struct descent *descent)
{
    uint32_t             lowest = --descent->depth;
    struct descent_slot *slot = slot_of(descent, lowest), *above = slot_of(descent, lowest + DESCENT_OPEN - 1);

    descent->names_size = descent->levels[lowest].name_at;
    if (lowest > 0 && above->fd < 0) {
        above->fd = open_again(descent, lowest - 1, slot->fd);
        above->at = above->end = 0;
    }
    close_fd(&slot->fd);
}
