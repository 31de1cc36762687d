/* fs/watch.c: watches: their life, and those of one file or directory. */
#include "fs/watch_private.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

enum {
    EVENTS_ALL = 0xfff,
    FLAGS_ALL = LOOP_WATCH_PATH | LOOP_WATCH_TREE | LOOP_WATCH_UNREF | LOOP_WATCH_NOFOLLOW,
    MASK_MOVE = IN_MOVED_FROM | IN_MOVED_TO,
};

static const struct {
    uint32_t kind, mask;
} masks[] = {
    {LOOP_WATCH_CREATED, IN_CREATE},    {LOOP_WATCH_DELETED, IN_DELETE},      {LOOP_WATCH_MODIFIED, IN_MODIFY},
    {LOOP_WATCH_ATTRIBUTES, IN_ATTRIB}, {LOOP_WATCH_WRITTEN, IN_CLOSE_WRITE}, {LOOP_WATCH_SELF_MOVED, IN_MOVE_SELF},
};

/* ---- what the kernel's events mean */

static uint32_t mask_of(uint32_t events)
{
    uint32_t mask = IN_DELETE_SELF; /* an empty mask is refused */

    for (size_t i = 0; i < ARRAY_COUNT(masks); i++)
        mask |= (events & masks[i].kind) != 0 ? masks[i].mask : 0;
    if ((events & (LOOP_WATCH_RENAMED | LOOP_WATCH_MOVED_IN | LOOP_WATCH_MOVED_OUT)) != 0)
        mask |= MASK_MOVE;
    return mask;
}

bool watch_translate(struct watch *watch, uint32_t mask, uint32_t cookie, const char *path)
{
    bool directory = (mask & IN_ISDIR) != 0, paired = false;

    if ((mask & IN_MOVED_FROM) != 0)
        watch_note_from(watch, path, directory, cookie);
    else if ((mask & IN_MOVED_TO) != 0)
        paired = watch_note_to(watch, path, directory, cookie);
    for (size_t i = 0; i < ARRAY_COUNT(masks); i++) {
        if ((mask & masks[i].mask) != 0)
            watch_note(watch, masks[i].kind, path, directory);
    }
    return paired;
}

void watch_end(struct watch *watch, uint32_t kind)
{
    if (watch->ended)
        return;
    watch->ended = true;
    watch_note(watch, kind, "", false);
}

static void entry_told(struct watch_hook *hook, uint32_t mask, uint32_t cookie, const char *name)
{
    struct watch *watch = hook->watch;

    if ((mask & IN_UNMOUNT) != 0)
        watch_end(watch, LOOP_WATCH_UNMOUNTED);
    else if ((mask & IN_IGNORED) != 0)
        watch_end(watch, LOOP_WATCH_SELF_DELETED);
    else
        (void)watch_translate(watch, mask, cookie, name);
}

static int entry_start(struct watch *watch)
{
    uint32_t follow = (watch->options.flags & LOOP_WATCH_NOFOLLOW) != 0 ? IN_DONT_FOLLOW : 0;

    watch->hook.watch = watch;
    watch->hook.told = entry_told;
    return notifier_add_any(watch->notifier, &watch->hook, watch->name, watch->mask | follow);
}

void watch_lost(struct watch *watch, bool rehomed)
{
    watch->overflown = true;
    if (watch->tree != NULL)
        watch_tree_lost(watch);
    if (watch->path != NULL)
        watch_path_lost(watch, rehomed);
    watch_notes_schedule(watch);
}

/* What has happened between the fork and now is lost. */
void watch_rehome(struct watch *watch)
{
    int r = 0;

    if (watch->tree == NULL && watch->path == NULL && !watch->ended)
        r = entry_start(watch);
    if (r < 0)
        watch_note_failed(watch, "", r);
    watch_lost(watch, true);
}

/* ---- the end */

static void watch_free(struct watch *watch)
{
    watch_notes_drop(watch);
    if (watch->path != NULL)
        watch_path_free(watch);
    if (watch->tree != NULL)
        watch_tree_free(watch);
    memory_free(watch->loop, watch);
}

/* Called anew by whatever was still in use. */
static void end(struct watch *watch)
{
    struct loop_watch   *user = watch->user;
    loop_watch_close_cb *on_close = watch->on_close;

    if (watch->leaving || (watch->path != NULL && !watch_path_close(watch)) ||
        (watch->tree != NULL && !watch_tree_close(watch)))
        return;
    object_gone(&user->priv.object, watch->ref);
    user->priv = (struct loop_watch_private){0};
    watch_free(watch);
    if (on_close != NULL)
        on_close(user);
}

static void run(struct loop *loop, struct loop_task *task)
{
    struct watch *watch = container_of(task, struct watch, task);

    (void)loop;
    if (watch->closing) {
        end(watch);
        return;
    }
    if (watch->path != NULL && !watch->overflown) /* what it finds must not be lost */
        watch_path_look(watch);
    if (watch->options.coalesce_ns == 0)
        watch_notes_tell(watch);
}

void loop_watch_close(struct loop_watch *user, loop_watch_close_cb *on_close)
{
    struct watch *watch = user->priv.watch;

    if (watch == NULL || watch->closing)
        return;
    loop_check_owner(watch->loop, __func__);
    watch->on_close = on_close != NULL ? on_close : watch->options.on_close;
    object_ref_set(&user->priv.object, __func__, &watch->ref, true);
    watch->closing = true;
    loop_timer_stop(&watch->timer);
    watch_notes_drop(watch);
    notifier_remove(watch->notifier, &watch->hook);
    watch->leaving = !notifier_leave(watch->notifier, watch);
    loop_task_add(watch->loop, &watch->task);
}

static void close_object(struct loop_object *object)
{
    loop_watch_close(container_of(object, struct loop_watch, priv.object), NULL);
}

static void describe(const struct loop_object *object, struct loop_walk_item *item)
{
    const struct loop_watch *user = container_of(object, struct loop_watch, priv.object);

    item->closing = loop_watch_closing(user);
    item->active = !item->closing;
    item->ref = loop_watch_has_ref(user);
}

static const struct loop_object_class watch_class = {.name = "watch", .close = close_object, .describe = describe};

/* ---- starting */

static const struct loop_watch_options defaults;

static int check(const struct loop_watch *user, const char *path, const struct loop_watch_options *options,
                 loop_watch_cb *cb)
{
    uint32_t flags = options->flags;

    if (user == NULL || path == NULL || path[0] == '\0' || cb == NULL || (flags & ~(uint32_t)FLAGS_ALL) != 0 ||
        (options->events & ~(uint32_t)EVENTS_ALL) != 0)
        return -EINVAL;
    if (((flags & LOOP_WATCH_PATH) != 0) + ((flags & LOOP_WATCH_TREE) != 0) + ((flags & LOOP_WATCH_NOFOLLOW) != 0) > 1)
        return -EINVAL;
    if ((options->poll_ns != 0 && (flags & LOOP_WATCH_PATH) == 0) ||
        (options->directories_max != 0 && (flags & LOOP_WATCH_TREE) == 0) ||
        (options->coalesce_max_ns != 0 && options->coalesce_ns == 0))
        return -EINVAL;
    return user->priv.watch != NULL ? -EBUSY : 0;
}

static void complete(struct loop_watch_options *options)
{
    if (options->events == 0)
        options->events = EVENTS_ALL;
    if (options->coalesce_max_ns == 0)
        options->coalesce_max_ns = options->coalesce_ns > UINT64_MAX / 10 ? UINT64_MAX : 10 * options->coalesce_ns;
    if (options->directories_max == 0)
        options->directories_max = LOOP_WATCH_DIRECTORIES_MAX;
    if (options->queue_max == 0)
        options->queue_max = LOOP_WATCH_QUEUE_MAX;
}

static int watch_new(struct loop *loop, const char *path, const struct loop_watch_options *options,
                     struct watch **ret_watch)
{
    char          absolute[PATH_MAX];
    struct watch *watch;
    int           r = sys_absolute(path, absolute, sizeof(absolute));

    if (r < 0)
        return r;
    watch = memory_resize(loop, NULL, sizeof(*watch) + strlen(absolute) + 1);
    if (watch == NULL)
        return -ENOMEM;
    *watch = (struct watch){.loop = loop, .options = *options, .task.run = run};
    memcpy(watch->name, absolute, strlen(absolute) + 1);
    complete(&watch->options);
    watch->mask = mask_of(watch->options.events);
    note_list_init(&watch->notes);
    timer_of_object(&watch->timer);
    *ret_watch = watch;
    return 0;
}

static int kind_start(struct watch *watch)
{
    if ((watch->options.flags & LOOP_WATCH_PATH) != 0)
        return watch_path_start(watch);
    if ((watch->options.flags & LOOP_WATCH_TREE) != 0)
        return watch_tree_start(watch);
    return entry_start(watch);
}

/* Hooks, then polling; what others have been told of by now is none of its. */
static int begin(struct watch *watch)
{
    int r = notifier_of(watch->loop, &watch->notifier);

    if (r < 0)
        return r;
    notifier_read(watch->notifier);
    r = kind_start(watch);
    if (r == 0)
        r = notifier_enter(watch->notifier, watch);
    if (r < 0)
        notifier_remove(watch->notifier, &watch->hook);
    else if (watch->options.poll_ns != 0)
        watch_path_lost(watch, false); /* it is looked at again in the first turn, and polled if need be */
    return r;
}

int loop_watch_start(struct loop *loop, struct loop_watch *user, const char *path,
                     const struct loop_watch_options *options, loop_watch_cb *cb)
{
    struct watch *watch;
    int           r;

    loop_check_owner(loop, __func__);
    if (options == NULL)
        options = &defaults;
    r = check(user, path, options, cb);
    if (r < 0)
        return r;
    if (loop->destroying)
        return -ECANCELED;
    r = watch_new(loop, path, options, &watch);
    if (r < 0)
        return r;
    watch->user = user;
    watch->cb = cb;
    r = begin(watch);
    if (r < 0) {
        watch_free(watch);
        return r;
    }
    user->priv = (struct loop_watch_private){.watch = watch};
    watch->ref = (options->flags & LOOP_WATCH_UNREF) == 0;
    object_open(loop, &user->priv.object, &watch_class, watch->ref);
    return 0;
}

void loop_watch_ref(struct loop_watch *user)
{
    if (user->priv.watch != NULL && !user->priv.watch->closing)
        object_ref_set(&user->priv.object, __func__, &user->priv.watch->ref, true);
}

void loop_watch_unref(struct loop_watch *user)
{
    if (user->priv.watch != NULL && !user->priv.watch->closing)
        object_ref_set(&user->priv.object, __func__, &user->priv.watch->ref, false);
}

bool loop_watch_has_ref(const struct loop_watch *user)
{
    return user->priv.watch != NULL && user->priv.watch->ref;
}

/* ---- looking */

bool loop_watch_present(const struct loop_watch *user)
{
    const struct watch *watch = user->priv.watch;

    if (watch == NULL || watch->closing)
        return false;
    return watch->path != NULL ? watch_path_present(watch) : !watch->ended;
}

const char *loop_watch_path(const struct loop_watch *user)
{
    return user->priv.watch == NULL ? NULL : user->priv.watch->name;
}

uint32_t loop_watch_directories(const struct loop_watch *user)
{
    const struct watch *watch = user->priv.watch;

    return watch == NULL || watch->tree == NULL ? 0 : watch_tree_directories(watch);
}

bool loop_watch_closing(const struct loop_watch *user)
{
    return user->priv.watch != NULL && user->priv.watch->closing;
}

struct loop *loop_watch_loop(const struct loop_watch *user)
{
    return user->priv.watch == NULL ? NULL : user->priv.watch->loop;
}

/* f_type of those whose files others may change, or that change without telling. */
static const uint32_t unreliable[] = {
    0x6969 /* NFS */,          0x517b /* SMB */,         0xff534d42 /* CIFS */,    0xfe534d42 /* SMB2 */,
    0x01021997 /* 9P */,       0x65735546 /* FUSE */,    0x5346414f /* AFS */,     0x6b414653 /* AFS */,
    0x73757245 /* Coda */,     0x00c36400 /* Ceph */,    0x9fa0 /* proc */,        0x62656572 /* sysfs */,
    0x27e0eb /* cgroup */,     0x63677270 /* cgroup2 */, 0x64626720 /* debugfs */, 0x74726163 /* tracefs */,
    0xde5e81e4 /* efivarfs */, 0x1161970 /* GFS2 */,     0x7461636f /* OCFS2 */,   0x0bd00bd0 /* Lustre */,
    0x564c /* NCP */,          0x61756673 /* aufs */,    0x786f4256 /* vboxsf */,
};

static int file_system_of(const char *path, uint32_t *ret_magic)
{
    char  parent[PATH_MAX];
    char *slash;
    int   r = sys_file_system(path, ret_magic);

    if (r != -ENOENT || strlen(path) >= sizeof(parent))
        return r;
    (void)memcpy(parent, path, strlen(path) + 1);
    slash = strrchr(parent, '/');
    if (slash == NULL)
        return sys_file_system(".", ret_magic);
    slash[slash == parent ? 1 : 0] = '\0';
    return sys_file_system(parent, ret_magic);
}

int loop_watch_reliable(const char *path)
{
    uint32_t magic = 0;
    int      r = path == NULL ? -EINVAL : file_system_of(path, &magic);

    if (r < 0)
        return r;
    for (size_t i = 0; i < ARRAY_COUNT(unreliable); i++) {
        if (unreliable[i] == magic)
            return 0;
    }
    return 1;
}
