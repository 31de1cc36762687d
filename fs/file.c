/* fs/file.c: file objects: opening and closing. */
#include "fs/file_private.h"

#include "loop/seam_file.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <ringloop/fixed.h>
#include <ringloop/op_file.h>
#include <ringloop/op_path.h>
#include <string.h>

_Static_assert((int)LOOP_PATH_NO_XDEV == RESOLVE_NO_XDEV && (int)LOOP_PATH_NO_MAGICLINKS == RESOLVE_NO_MAGICLINKS &&
                   (int)LOOP_PATH_NO_SYMLINKS == RESOLVE_NO_SYMLINKS && (int)LOOP_PATH_BENEATH == RESOLVE_BENEATH &&
                   (int)LOOP_PATH_IN_ROOT == RESOLVE_IN_ROOT,
               "as the kernel has them");

enum { WAITING_DEFAULT = 1024 };
static const uint32_t flags_all =
    LOOP_FILE_SYNC_EACH | LOOP_FILE_SYNC_CLOSE | LOOP_FILE_SYNC_DATA | LOOP_FILE_KEEP_FD | LOOP_FILE_REGISTERED;
static const uint32_t resolve_all =
    LOOP_PATH_NO_XDEV | LOOP_PATH_NO_MAGICLINKS | LOOP_PATH_NO_SYMLINKS | LOOP_PATH_BENEATH | LOOP_PATH_IN_ROOT;
static const struct loop_file_options defaults;

/* Kept until it is known how the open has ended: it may have to be started again. */
struct file_opening {
    struct open_how how;
    int             dirfd;
    char            path[];
};

/* What a close does next. */
enum close_step { CLOSE_DRAIN, CLOSE_SYNC, CLOSE_FD, CLOSE_TELL };

/* ---- the slot */

/* Reads and writes go by a slot of the loop's table if one is to be had, else by the descriptor. */
static void slot_take(struct loop_file *file)
{
    int slot = -ENXIO;

    if ((file->priv.flags & LOOP_FILE_REGISTERED) != 0)
        slot = loop_file_register(file_loop(file), file->priv.fd);
    file->priv.transfer_fd = slot < 0 ? file->priv.fd : slot;
}

/* Before the descriptor is closed: its number may be another file's then. */
static void slot_give_back(struct loop_file *file)
{
    if (file->priv.transfer_fd >= 0 && file->priv.transfer_fd != file->priv.fd)
        (void)loop_file_unregister(file_loop(file), file->priv.transfer_fd);
    file->priv.transfer_fd = -1;
}

/* ---- closing */

static void close_on(struct loop_file *file);

static void close_step_start(struct loop_file *file);

/* How an operation that was to close the descriptor has ended: by the plain call, where it has not begun. -EOWNERDEAD:
 * that is not known; in a child of fork(2) our own copy is open in any case. */
static int closed_how(const struct loop_file *file, int32_t res)
{
    bool forked = (file->priv.flags & FILE_FORKED) != 0;

    if (res == -ECANCELED || res == -ERESTART || (res == -EOWNERDEAD && forked))
        res = sys_close(file->priv.fd);
    return res == -EINTR || res == -EOWNERDEAD ? 0 : res; /* it is closed */
}

static void close_step_done(struct loop *loop, const struct loop_result *result, void *arg)
{
    struct loop_file *file = arg;
    int32_t           res = result->res;

    (void)loop;
    file->priv.sync_id = 0;
    if (file->priv.close_step == CLOSE_SYNC) {
        if (res == -ERESTART || res == -EINTR) {
            close_step_start(file);
            return;
        }
        if (res == -ECANCELED)
            res = sys_fsync(file->priv.fd);
        if (res < 0)
            file->priv.sync_error = res;
        file->priv.close_step = CLOSE_FD;
    } else {
        file->priv.close_error = closed_how(file, res);
        file->priv.close_step = CLOSE_TELL;
    }
    close_on(file);
}

/* Starts the operation of this step; where none can be started the plain call does it. */
static void close_step_start(struct loop_file *file)
{
    struct loop       *loop = file_loop(file);
    int                fd = file->priv.fd;
    bool               data = (file->priv.flags & LOOP_FILE_SYNC_DATA) != 0;
    struct loop_result undone = {.res = -ECANCELED};
    loop_id            id;

    if (file->priv.close_step == CLOSE_FD)
        id = loop_close(loop, fd, close_step_done, file, file_terms(loop));
    else if (data)
        id = loop_fdatasync(loop, fd, close_step_done, file, file_terms(loop));
    else
        id = loop_fsync(loop, fd, close_step_done, file, file_terms(loop));
    if (id < 0)
        close_step_done(loop, &undone, file);
    else
        file->priv.sync_id = op_of_object(loop, id);
}

static bool sync_is_owed(const struct loop_file *file)
{
    return (file->priv.flags & LOOP_FILE_SYNC_CLOSE) != 0 && file->priv.changed && file->priv.sync_error == 0 &&
           file->priv.fd >= 0;
}

static void finish_close(struct loop_file *file)
{
    loop_file_event_cb *cb = file->priv.on_close;
    int                 error = file->priv.sync_error != 0 ? file->priv.sync_error : file->priv.close_error;

    requests_free_all(file);
    starved_feed(file_loop(file));
    object_gone(&file->priv.object, true);
    if (task_list_linked(&file->priv.task))
        task_list_remove(&file->priv.task);
    file->priv.fd = -1;
    file->priv.state = FILE_CLOSED;
    if (cb != NULL)
        cb(file, error);
}

/* Goes from step to step as far as nothing has to be waited for. */
static void close_on(struct loop_file *file)
{
    if (file->priv.close_step == CLOSE_DRAIN) {
        slot_give_back(file);
        file->priv.close_step = sync_is_owed(file) ? CLOSE_SYNC : CLOSE_FD;
    }
    if (file->priv.close_step == CLOSE_FD && (file->priv.fd <= 2 || (file->priv.flags & LOOP_FILE_KEEP_FD) != 0))
        file->priv.close_step = CLOSE_TELL;
    if (file->priv.close_step == CLOSE_TELL)
        finish_close(file);
    else
        close_step_start(file);
}

static void run_task(struct loop *loop, struct loop_task *task)
{
    struct loop_file *file = container_of(task, struct loop_file, priv.task);

    (void)loop;
    requests_work(file);
    if (file->priv.state == FILE_CLOSING && file->priv.close_step == CLOSE_DRAIN && file->priv.pending == 1 &&
        file->priv.sync_id == 0)
        close_on(file);
}

void loop_file_close(struct loop_file *file, loop_file_event_cb *on_close)
{
    if (file->priv.state == FILE_CLOSED || file->priv.state == FILE_CLOSING)
        return;
    loop_check_owner(file_loop(file), __func__);
    if (on_close != NULL)
        file->priv.on_close = on_close;
    file->priv.state = FILE_CLOSING;
    file_hold(file);
    (void)requests_cancel(file, NULL, true);
    if (file->priv.sync_id != 0)
        (void)loop_cancel(file_loop(file), file->priv.sync_id);
    loop_task_add(file_loop(file), &file->priv.task);
}

static void close_object(struct loop_object *object)
{
    loop_file_close(container_of(object, struct loop_file, priv.object), NULL);
}

static void rehome(struct loop_object *object, bool forked)
{
    struct loop_file *file = container_of(object, struct loop_file, priv.object);

    if (forked) {
        file->priv.flags |= FILE_FORKED;
        requests_forked(file);
    }
}

/* Not where the close is on its way: it may have been done, and the number be another's. */
static void let_go(struct loop_object *object)
{
    struct loop_file *file = container_of(object, struct loop_file, priv.object);

    if (file->priv.close_step != CLOSE_FD && (file->priv.flags & LOOP_FILE_KEEP_FD) == 0 && file->priv.fd > 2 &&
        (file->priv.fd & LOOP_FIXED_FLAG) == 0)
        (void)sys_close(file->priv.fd);
}

static void describe(const struct loop_object *object, struct loop_walk_item *item)
{
    const struct loop_file *file = container_of(object, struct loop_file, priv.object);

    item->fd = file->priv.fd;
    item->closing = loop_file_closing(file);
    item->active = file->priv.pending > 0;
    item->ref = file->priv.pending > 0;
}

static const struct loop_object_class file_class = {
    .name = "file", .close = close_object, .rehome = rehome, .let_go = let_go, .describe = describe};

/* ---- opening */

static int check_options(struct loop *loop, const struct loop_file *file, const struct loop_file_options *options)
{
    if (file == NULL || (options->flags & ~flags_all) != 0 || (options->resolve & ~resolve_all) != 0 ||
        options->reserved != 0)
        return -EINVAL;
    if (file->priv.state != FILE_CLOSED)
        return -EBUSY;
    return loop->destroying ? -ECANCELED : 0;
}

static void file_init(struct loop *loop, struct loop_file *file, const struct loop_file_options *options)
{
    file->priv = (struct loop_file_private){
        .task.run = run_task,
        .on_close = options->on_close,
        .waiting_max = options->waiting_max == 0 ? WAITING_DEFAULT : options->waiting_max,
        .flags = options->flags,
        .fd = -1,
        .transfer_fd = -1,
    };
    link_list_init(&file->priv.running);
    link_list_init(&file->priv.queue);
    link_list_init(&file->priv.syncs);
    link_list_init(&file->priv.syncing);
    link_list_init(&file->priv.ended);
    object_open(loop, &file->priv.object, &file_class, false);
}

static uint32_t flags_of_open(uint64_t flags)
{
    return ((flags & O_APPEND) != 0 ? FILE_APPENDS : 0u) | ((flags & O_DIRECT) != 0 ? FILE_DIRECT : 0u);
}

int loop_file_adopt(struct loop *loop, struct loop_file *file, int fd, const struct loop_file_options *options)
{
    int r, flags;

    loop_check_owner(loop, __func__);
    if (options == NULL)
        options = &defaults;
    r = check_options(loop, file, options);
    if (r < 0)
        return r;
    if (options->resolve != 0)
        return -EINVAL;
    flags = fd < 0 || (fd & LOOP_FIXED_FLAG) != 0 ? -EBADF : sys_file_flags(fd);
    if (flags < 0)
        return flags;
    file_init(loop, file, options);
    file->priv.fd = fd;
    file->priv.state = FILE_OPEN;
    file->priv.flags |= flags_of_open((uint64_t)flags);
    slot_take(file);
    return 0;
}

static loop_id start_open(struct loop *loop, struct loop_file *file);

static void opened(struct loop *loop, const struct loop_result *result, void *arg)
{
    struct loop_file    *file = arg;
    struct file_opening *opening = file->priv.opening;
    int32_t              res = result->res;
    bool                 closing = file->priv.state == FILE_CLOSING;

    file->priv.sync_id = 0;
    if (res == -ERESTART && (file->priv.flags & FILE_FORKED) != 0 && (opening->how.flags & (O_EXCL | O_TRUNC)) != 0)
        res = -EOWNERDEAD; /* the parent does it */
    if (res == -EINTR || res == -ERESTART) {
        loop_id id = closing ? -ECANCELED : start_open(loop, file);

        file->priv.flags |= FILE_REOPENS;
        if (id > 0)
            return;
        res = (int32_t)id;
    }
    if (res == -EEXIST && (file->priv.flags & FILE_REOPENS) != 0)
        res = -EOWNERDEAD; /* perhaps by us */
    if (res >= 0)
        file->priv.fd = res;
    if (res >= 0 && !closing)
        slot_take(file);
    if (!closing)
        file->priv.state = res < 0 ? FILE_FAILED : FILE_OPEN;
    file->priv.flags |= flags_of_open(opening->how.flags);
    file->priv.opening = NULL;
    memory_free(loop, opening);
    file_release(file);
    file->priv.on_open(file, res >= 0 && closing ? -ECANCELED : res < 0 ? res : 0);
}

static loop_id start_open(struct loop *loop, struct loop_file *file)
{
    const struct file_opening *opening = file->priv.opening;
    const struct open_how     *how = &opening->how;
    loop_id                    id;

    if (how->resolve != 0)
        id = loop_openat2(loop, opening->dirfd, opening->path, how, sizeof(*how), opened, file, file_terms(loop));
    else
        id = loop_openat(loop, opening->dirfd, opening->path, (int)how->flags, (mode_t)how->mode, opened, file,
                         file_terms(loop));
    if (id > 0)
        file->priv.sync_id = op_of_object(loop, id);
    return id;
}

static struct file_opening *opening_new(struct loop *loop, int dirfd, const char *path, int flags, mode_t mode,
                                        uint32_t resolve)
{
    size_t               size = strlen(path) + 1;
    struct file_opening *opening = memory_resize(loop, NULL, sizeof(*opening) + size);

    if (opening == NULL)
        return NULL;
    /* openat2(2) takes a mode only where something may be made. */
    opening->how = (struct open_how){
        .flags = (uint32_t)flags,
        .mode = (flags & (O_CREAT | __O_TMPFILE)) != 0 ? mode & 07777u : 0,
        .resolve = resolve,
    };
    opening->dirfd = dirfd;
    memcpy(opening->path, path, size);
    return opening;
}

int loop_file_open(struct loop *loop, struct loop_file *file, int dirfd, const char *path, int flags, mode_t mode,
                   const struct loop_file_options *options, loop_file_event_cb *on_open)
{
    struct file_opening *opening;
    loop_id              id;
    int                  r;

    loop_check_owner(loop, __func__);
    if (options == NULL)
        options = &defaults;
    r = check_options(loop, file, options);
    if (r < 0)
        return r;
    if (path == NULL || on_open == NULL)
        return -EINVAL;
    if (strnlen(path, PATH_MAX) >= PATH_MAX)
        return -ENAMETOOLONG;
    opening = opening_new(loop, dirfd, path, flags, mode, options->resolve);
    if (opening == NULL)
        return -ENOMEM;
    file_init(loop, file, options);
    file->priv.state = FILE_OPENING;
    file->priv.opening = opening;
    file->priv.on_open = on_open;
    id = start_open(loop, file);
    if (id < 0) {
        object_gone(&file->priv.object, false);
        file->priv = (struct loop_file_private){.fd = -1};
        memory_free(loop, opening);
        return (int)id;
    }
    file_hold(file);
    return 0;
}

/* ---- asking */

bool loop_file_closing(const struct loop_file *file)
{
    return file->priv.state == FILE_CLOSING;
}

int loop_file_fd(const struct loop_file *file)
{
    return file->priv.state == FILE_OPEN || (file->priv.state == FILE_CLOSING && file->priv.fd >= 0) ? file->priv.fd
                                                                                                     : -EBADF;
}

struct loop *loop_file_loop(const struct loop_file *file)
{
    return file->priv.object.loop;
}
