/* fs/watch_path.c: watching what a path leads to.
 *
 * The path is gone through name by name, as the kernel does it, and each name is watched in the directory that it
 * stands in: first the watch, then the look, so that no change falls between. When one of these names is told of,
 * everything is done anew, before the next turn waits. So files that are replaced, links that are set anew (Kubernetes'
 * ..data, releases of a deployment) and directories on the way that come and go are all the same case. Whether the path
 * leads to another file is seen by the kernel's number for the inode: as long as we watch the old one, no other gets
 * that, while inode numbers of the file system may be used again at once. */
#include "fs/watch_private.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

enum { LINKS_MAX = 40, MASK_NAMES = IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ONLYDIR };

/* A name that the path goes through, in its directory. */
struct step {
    struct watch_hook hook;
    struct step      *next;
    char              name[];
};

struct watch_path {
    struct watch          *watch;
    struct step           *steps;
    struct watch_hook      finals[2]; /* what it leads to: the present one, and room for the next */
    unsigned               now;
    bool                   present, dirty, polling;
    bool                   rehomed; /* numbers of inodes are others than before */
    struct loop_stat_watch poll;
};

/* Where the look stands. */
struct walk {
    struct watch *watch;
    struct step  *steps;
    char          at[PATH_MAX];   /* no links in it */
    char          rest[PATH_MAX]; /* still to go */
    unsigned      links;
};

static void dirty(struct watch *watch)
{
    watch->path->dirty = true;
    loop_task_add(watch->loop, &watch->task);
}

/* ---- the way */

static void step_told(struct watch_hook *hook, uint32_t mask, uint32_t cookie, const char *name)
{
    const struct step *step = container_of(hook, struct step, hook);

    (void)cookie;
    if ((mask & (IN_IGNORED | IN_UNMOUNT)) != 0 || strcmp(name, step->name) == 0)
        dirty(hook->watch);
}

static void steps_free(struct watch *watch, struct step *steps)
{
    struct step *step;

    while ((step = steps) != NULL) {
        steps = step->next;
        notifier_remove(watch->notifier, &step->hook);
        memory_free(watch->loop, step);
    }
}

/* A directory that we may not read can't be watched, but gone through. */
static int step_add(struct walk *walk, const char *name)
{
    struct watch *watch = walk->watch;
    struct step  *step = memory_resize(watch->loop, NULL, sizeof(*step) + strlen(name) + 1);
    int           r;

    if (step == NULL)
        return -ENOMEM;
    *step = (struct step){.hook = {.watch = watch, .told = step_told}, .next = walk->steps};
    memcpy(step->name, name, strlen(name) + 1);
    walk->steps = step;
    r = notifier_add(watch->notifier, &step->hook, walk->at, MASK_NAMES);
    return r == -EACCES ? 0 : r;
}

/* Takes the next name from what is left; false at the end. */
static bool next_name(struct walk *walk, char *ret_name)
{
    size_t begin = strspn(walk->rest, "/"), length = strcspn(walk->rest + begin, "/");

    if (length == 0)
        return false;
    memcpy(ret_name, walk->rest + begin, length);
    ret_name[length] = '\0';
    memmove(walk->rest, walk->rest + begin + length, strlen(walk->rest + begin + length) + 1);
    return true;
}

/* Appends a name to where it stands. */
static int go_down(char *at, const char *name)
{
    size_t length = strlen(at), bytes = strlen(name) + 1;

    if (length + 1 + bytes > PATH_MAX)
        return -ENAMETOOLONG;
    if (length > 1)
        at[length++] = '/';
    memcpy(at + length, name, bytes);
    return 0;
}

/* The link's target goes before what is left. */
static int follow(struct walk *walk, const char *link)
{
    char    target[PATH_MAX];
    size_t  left = strlen(walk->rest);
    ssize_t size = sys_link_target(link, target, sizeof(target));

    if (size < 0)
        return (int)size;
    if (++walk->links > LINKS_MAX)
        return -ELOOP;
    if ((size_t)size + 1 + left >= sizeof(walk->rest))
        return -ENAMETOOLONG;
    memmove(walk->rest + size + 1, walk->rest, left + 1);
    memcpy(walk->rest, target, (size_t)size);
    walk->rest[size] = '/';
    if (target[0] == '/')
        (void)strcpy(walk->at, "/");
    return 0;
}

static int walk_on(struct walk *walk, const char *name)
{
    char full[PATH_MAX];
    bool link, directory;
    int  r;

    if (strcmp(name, ".") == 0)
        return 0;
    if (strcmp(name, "..") == 0)
        return go_down(walk->at, name);
    r = step_add(walk, name);
    memcpy(full, walk->at, strlen(walk->at) + 1);
    if (r == 0)
        r = go_down(full, name);
    if (r == 0)
        r = sys_look(full, &link, &directory);
    if (r < 0)
        return r;
    if (link)
        return follow(walk, full);
    memcpy(walk->at, full, strlen(full) + 1);
    return !directory && walk->rest[strspn(walk->rest, "/")] != '\0' ? -ENOTDIR : 0;
}

static void final_told(struct watch_hook *hook, uint32_t mask, uint32_t cookie, const char *name)
{
    struct watch *watch = hook->watch;

    if ((mask & (IN_IGNORED | IN_UNMOUNT)) != 0)
        dirty(watch);
    else if (hook == &watch->path->finals[watch->path->now])
        (void)watch_translate(watch, mask & ~(uint32_t)IN_MOVE_SELF, cookie, name);
}

/* 0: there; -ENOENT: not; or why it can't be said. final is on the inode then, or on none. */
static int look(struct walk *walk, struct watch_hook *final)
{
    struct watch *watch = walk->watch;
    char          name[PATH_MAX];
    int           r = 0;

    (void)strcpy(walk->at, "/");
    (void)strcpy(walk->rest, watch->name);
    while (r == 0 && next_name(walk, name))
        r = walk_on(walk, name);
    *final = (struct watch_hook){.watch = watch, .told = final_told};
    if (r == 0)
        r = notifier_add_any(watch->notifier, final, walk->at, watch->mask);
    return r == -ENOTDIR ? -ENOENT : r;
}

/* ---- polling */

static void polled(struct loop_stat_watch *poll, int error, const struct statx *previous, const struct statx *present)
{
    struct watch_path *path = container_of(poll, struct watch_path, poll);
    struct watch      *watch = path->watch;

    if (watch->closing)
        return;
    dirty(watch);
    if (error < 0 || previous == NULL || previous->stx_ino != present->stx_ino ||
        previous->stx_dev_minor != present->stx_dev_minor || previous->stx_dev_major != present->stx_dev_major)
        return; /* the look will tell */
    if (previous->stx_size != present->stx_size || previous->stx_mtime.tv_sec != present->stx_mtime.tv_sec ||
        previous->stx_mtime.tv_nsec != present->stx_mtime.tv_nsec)
        watch_note(watch, LOOP_WATCH_MODIFIED, "", false);
    else
        watch_note(watch, LOOP_WATCH_ATTRIBUTES, "", false);
}

static void poll_closed(struct loop_stat_watch *poll)
{
    struct watch_path *path = container_of(poll, struct watch_path, poll);

    path->polling = false;
    loop_task_add(path->watch->loop, &path->watch->task);
}

/* at: as far as the path leads. */
static void poll_if_needed(struct watch *watch, const char *at)
{
    struct loop_stat_watch_options options = {
        .flags = LOOP_STAT_WATCH_UNREF | LOOP_STAT_WATCH_SYNC,
        .interval_ns = watch->options.poll_ns,
        .on_close = poll_closed,
    };

    if (watch->options.poll_ns == 0 || watch->path->polling || watch->closing || loop_watch_reliable(at) != 0)
        return;
    if (loop_stat_watch_start(watch->loop, &watch->path->poll, watch->name, &options, polled) == 0)
        watch->path->polling = true;
}

/* ---- looking */

/* A hook is on none when its inode is gone. */
static void tell(struct watch *watch, const struct watch_hook *before, const struct watch_hook *now)
{
    struct watch_path *path = watch->path;
    bool               present = now->watched != NULL;

    if (present && !path->present)
        watch_note(watch, LOOP_WATCH_APPEARED, "", false);
    else if (!present && path->present)
        watch_note(watch, LOOP_WATCH_DISAPPEARED, "", false);
    else if (before->watched != now->watched && !path->rehomed)
        watch_note(watch, LOOP_WATCH_REPLACED, "", false);
}

/* Old hooks go after the new ones have come, so that what is in both is watched all the time. */
static int look_anew(struct watch *watch, bool first)
{
    struct watch_path *path = watch->path;
    struct watch_hook *before = &path->finals[path->now], *now = &path->finals[!path->now];
    struct walk        walk = {.watch = watch};
    int                r;

    path->dirty = false;
    r = look(&walk, now);
    if (!first)
        tell(watch, before, now);
    path->rehomed = false;
    path->present = now->watched != NULL;
    path->now = !path->now;
    notifier_remove(watch->notifier, before);
    steps_free(watch, path->steps);
    path->steps = walk.steps;
    if (!first) /* a start that fails leaves nothing behind */
        poll_if_needed(watch, walk.at);
    return r == -ENOENT ? 0 : r;
}

void watch_path_look(struct watch *watch)
{
    int r = watch->path->dirty ? look_anew(watch, false) : 0;

    if (r < 0)
        watch_note_failed(watch, "", r);
}

void watch_path_lost(struct watch *watch, bool rehomed)
{
    watch->path->rehomed = watch->path->rehomed || rehomed;
    dirty(watch);
}

bool watch_path_present(const struct watch *watch)
{
    return watch->path->present;
}

/* ---- life */

int watch_path_start(struct watch *watch)
{
    watch->path = memory_resize(watch->loop, NULL, sizeof(*watch->path));
    if (watch->path == NULL)
        return -ENOMEM;
    memset(watch->path, 0, sizeof(*watch->path));
    watch->path->watch = watch;
    return look_anew(watch, true);
}

bool watch_path_close(struct watch *watch)
{
    if (watch->path->polling)
        loop_stat_watch_close(&watch->path->poll, NULL);
    return !watch->path->polling;
}

void watch_path_free(struct watch *watch)
{
    struct watch_path *path = watch->path;

    steps_free(watch, path->steps);
    notifier_remove(watch->notifier, &path->finals[0]);
    notifier_remove(watch->notifier, &path->finals[1]);
    memory_free(watch->loop, path);
}
