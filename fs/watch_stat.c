/* fs/watch_stat.c: looking at a file from time to time: where inotify tells nothing. */
#include "fs/watch_private.h"

#include "loop/op_start.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <ringloop/op_path.h>
#include <string.h>
#include <sys/stat.h>

static const uint64_t interval_default_ns = 5 * LOOP_SECOND;
enum { FLAGS_ALL = LOOP_STAT_WATCH_UNREF | LOOP_STAT_WATCH_NOFOLLOW | LOOP_STAT_WATCH_SYNC };
enum stat_watch_state { STAT_WATCH_CLOSED, STAT_WATCH_OPEN, STAT_WATCH_CLOSING };

/* Outlives the watch if the kernel is still writing to it. */
struct stat_look {
    struct loop_stat_watch *watch;    /* NULL: closed */
    bool                    looking;  /* the kernel has present */
    bool                    has_told; /* told is the last result that was one */
    struct statx            present, told;
    char                    path[];
};

static bool time_differs(const struct statx_timestamp *a, const struct statx_timestamp *b)
{
    return a->tv_sec != b->tv_sec || a->tv_nsec != b->tv_nsec;
}

static bool differs(const struct statx *a, const struct statx *b)
{
    return a->stx_ino != b->stx_ino || a->stx_size != b->stx_size || a->stx_mode != b->stx_mode ||
           a->stx_uid != b->stx_uid || a->stx_gid != b->stx_gid || a->stx_nlink != b->stx_nlink ||
           a->stx_dev_major != b->stx_dev_major || a->stx_dev_minor != b->stx_dev_minor ||
           time_differs(&a->stx_mtime, &b->stx_mtime) || time_differs(&a->stx_ctime, &b->stx_ctime) ||
           time_differs(&a->stx_btime, &b->stx_btime);
}

/* ---- looking */

static void look_begin(struct loop_stat_watch *watch);

static void timer_fired(struct loop_timer *timer)
{
    look_begin(container_of(timer, struct loop_stat_watch, priv.timer));
}

static void look_later(struct loop_stat_watch *watch)
{
    (void)loop_timer_start(watch->priv.object.loop, &watch->priv.timer, watch->priv.interval_ns, 0, timer_fired);
}

/* The next look waits until the program has been told. */
static void tell(struct loop_stat_watch *watch, int error)
{
    struct stat_look *look = watch->priv.look;
    struct statx      before = look->told;
    bool              had = look->has_told;
    bool same = watch->priv.told && watch->priv.error == error && (error < 0 || !differs(&look->present, &look->told));

    watch->priv.told = true;
    watch->priv.error = error;
    look->has_told = error == 0;
    if (error == 0)
        look->told = look->present;
    look_later(watch);
    if (!same)
        watch->priv.cb(watch, error, had ? &before : NULL, error == 0 ? &look->told : NULL);
}

static void looked(struct loop *loop, const struct loop_result *result, void *arg)
{
    struct stat_look       *look = arg;
    struct loop_stat_watch *watch = look->watch;

    look->looking = false;
    if (watch == NULL)
        memory_free(loop, look);
    else if (watch->priv.state != STAT_WATCH_OPEN)
        return; /* its end is on the way */
    else if (result->res == -ERESTART)
        look_begin(watch);
    else
        tell(watch, result->res < 0 ? result->res : 0);
}

/* What keeps the loop alive is the watch, not this. */
static int look_start(struct loop_stat_watch *watch)
{
    struct loop      *loop = watch->priv.object.loop;
    struct stat_look *look = watch->priv.look;
    int               flags = AT_NO_AUTOMOUNT;
    loop_id           id;

    flags |= (watch->priv.flags & LOOP_STAT_WATCH_NOFOLLOW) != 0 ? AT_SYMLINK_NOFOLLOW : 0;
    flags |= (watch->priv.flags & LOOP_STAT_WATCH_SYNC) != 0 ? AT_STATX_FORCE_SYNC : 0;
    id = loop_statx(loop, AT_FDCWD, look->path, flags, STATX_BASIC_STATS | STATX_BTIME, &look->present, looked, look,
                    LOOP_TERMS(.flags = LOOP_BACKGROUND | LOOP_UNCHAINED));
    if (id < 0)
        return (int)id;
    (void)op_of_object(loop, id);
    look->looking = true;
    return 0;
}

/* Without room or memory it is tried again after an interval. */
static void look_begin(struct loop_stat_watch *watch)
{
    if (look_start(watch) < 0)
        look_later(watch);
}

/* ---- life */

static void end(struct loop *loop, struct loop_task *task)
{
    struct loop_stat_watch   *watch = container_of(task, struct loop_stat_watch, priv.task);
    struct stat_look         *look = watch->priv.look;
    loop_stat_watch_close_cb *on_close = watch->priv.on_close;

    object_gone(&watch->priv.object, watch->priv.ref);
    watch->priv = (struct loop_stat_watch_private){0};
    look->watch = NULL;
    if (!look->looking)
        memory_free(loop, look);
    if (on_close != NULL)
        on_close(watch);
}

void loop_stat_watch_close(struct loop_stat_watch *watch, loop_stat_watch_close_cb *on_close)
{
    if (watch->priv.state != STAT_WATCH_OPEN)
        return;
    loop_check_owner(watch->priv.object.loop, __func__);
    if (on_close != NULL)
        watch->priv.on_close = on_close;
    object_ref_set(&watch->priv.object, __func__, &watch->priv.ref, true);
    watch->priv.state = STAT_WATCH_CLOSING;
    loop_timer_stop(&watch->priv.timer);
    loop_task_add(watch->priv.object.loop, &watch->priv.task);
}

static void close_object(struct loop_object *object)
{
    loop_stat_watch_close(container_of(object, struct loop_stat_watch, priv.object), NULL);
}

static void describe(const struct loop_object *object, struct loop_walk_item *item)
{
    const struct loop_stat_watch *watch = container_of(object, struct loop_stat_watch, priv.object);

    item->closing = loop_stat_watch_closing(watch);
    item->active = !item->closing;
    item->ref = loop_stat_watch_has_ref(watch);
}

static const struct loop_object_class stat_watch_class = {
    .name = "stat watch", .close = close_object, .describe = describe};
static const struct loop_stat_watch_options defaults;

static struct stat_look *look_new(struct loop *loop, struct loop_stat_watch *watch, const char *path)
{
    size_t            bytes = strlen(path) + 1;
    struct stat_look *look = memory_resize(loop, NULL, sizeof(*look) + bytes);

    if (look == NULL)
        return NULL;
    memset(look, 0, sizeof(*look));
    memcpy(look->path, path, bytes);
    look->watch = watch;
    return look;
}

int loop_stat_watch_start(struct loop *loop, struct loop_stat_watch *watch, const char *path,
                          const struct loop_stat_watch_options *options, loop_stat_watch_cb *cb)
{
    struct stat_look *look;
    int               r;

    loop_check_owner(loop, __func__);
    if (options == NULL)
        options = &defaults;
    if (watch == NULL || path == NULL || path[0] == '\0' || cb == NULL || (options->flags & ~(uint32_t)FLAGS_ALL) != 0)
        return -EINVAL;
    if (strlen(path) >= PATH_MAX)
        return -ENAMETOOLONG;
    if (watch->priv.state != STAT_WATCH_CLOSED)
        return -EBUSY;
    if (loop->destroying)
        return -ECANCELED;
    look = look_new(loop, watch, path);
    if (look == NULL)
        return -ENOMEM;
    watch->priv = (struct loop_stat_watch_private){
        .task.run = end,
        .look = look,
        .cb = cb,
        .on_close = options->on_close,
        .interval_ns = options->interval_ns == 0 ? interval_default_ns : options->interval_ns,
        .flags = options->flags,
        .state = STAT_WATCH_OPEN,
        .ref = (options->flags & LOOP_STAT_WATCH_UNREF) == 0,
    };
    watch->priv.object.loop = loop;
    timer_of_object(&watch->priv.timer);
    r = look_start(watch);
    if (r < 0) {
        watch->priv = (struct loop_stat_watch_private){0};
        memory_free(loop, look);
        return r;
    }
    object_open(loop, &watch->priv.object, &stat_watch_class, watch->priv.ref);
    return 0;
}

void loop_stat_watch_ref(struct loop_stat_watch *watch)
{
    if (watch->priv.state == STAT_WATCH_OPEN)
        object_ref_set(&watch->priv.object, __func__, &watch->priv.ref, true);
}

void loop_stat_watch_unref(struct loop_stat_watch *watch)
{
    if (watch->priv.state == STAT_WATCH_OPEN)
        object_ref_set(&watch->priv.object, __func__, &watch->priv.ref, false);
}

bool loop_stat_watch_has_ref(const struct loop_stat_watch *watch)
{
    return watch->priv.state != STAT_WATCH_CLOSED && watch->priv.ref;
}

const char *loop_stat_watch_path(const struct loop_stat_watch *watch)
{
    return watch->priv.state == STAT_WATCH_CLOSED ? NULL : watch->priv.look->path;
}

bool loop_stat_watch_closing(const struct loop_stat_watch *watch)
{
    return watch->priv.state == STAT_WATCH_CLOSING;
}

struct loop *loop_stat_watch_loop(const struct loop_stat_watch *watch)
{
    return watch->priv.state == STAT_WATCH_CLOSED ? NULL : watch->priv.object.loop;
}
