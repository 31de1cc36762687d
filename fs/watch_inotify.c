/* fs/watch_inotify.c: the loop's inotify descriptor: who is interested in which inode, and what the kernel tells.
 *
 * The descriptor is polled by the ring, and read by plain calls as long as there is something: a read by the ring would
 * hold a buffer all the time, and goes to a worker of the kernel, since such a descriptor knows no IOCB_NOWAIT. The
 * kernel gives one number to an inode, whoever asks; so hooks are counted, its mask is that of all, and each is told
 * its own part. The descriptor stays until the loop ends: to close one makes the kernel wait for all its readers. */
#include "fs/watch_private.h"

#include <errno.h>
#include <poll.h>
#include <ringloop/op_poll.h>
#include <string.h>

enum { TABLE_LEAST = 64, READ_BYTES = 16384 };

/* An inode that the kernel watches for us. */
struct watched {
    struct watched   *chain;
    int               number;
    struct watch_hook hooks;
};

/* ---- the table */

static struct watched **place(const struct notifier *notifier, int number)
{
    struct watched **at;

    if (notifier->table_size == 0)
        return NULL;
    at = &notifier->table[(unsigned)number & (notifier->table_size - 1)];
    while (*at != NULL && (*at)->number != number)
        at = &(*at)->chain;
    return at;
}

static struct watched *find(const struct notifier *notifier, int number)
{
    struct watched **at = place(notifier, number);

    return at == NULL ? NULL : *at;
}

/* Without memory the chains get longer. */
static void grow(struct notifier *notifier)
{
    size_t           size = notifier->table_size == 0 ? TABLE_LEAST : 2 * notifier->table_size;
    struct watched **table = memory_resize(notifier->loop, NULL, size * sizeof(*table)), *watched;

    if (table == NULL)
        return;
    memset(table, 0, size * sizeof(*table));
    for (size_t i = 0; i < notifier->table_size; i++) {
        while ((watched = notifier->table[i]) != NULL) {
            notifier->table[i] = watched->chain;
            watched->chain = table[(unsigned)watched->number & (size - 1)];
            table[(unsigned)watched->number & (size - 1)] = watched;
        }
    }
    memory_free(notifier->loop, notifier->table);
    notifier->table = table;
    notifier->table_size = size;
}

static struct watched *watched_new(struct notifier *notifier, int number)
{
    struct watched  *watched;
    struct watched **at;

    if (notifier->watched_count >= notifier->table_size)
        grow(notifier);
    at = place(notifier, number);
    watched = at == NULL ? NULL : memory_resize(notifier->loop, NULL, sizeof(*watched));
    if (watched == NULL)
        return NULL;
    *watched = (struct watched){.number = number};
    watch_hook_list_init(&watched->hooks);
    *at = watched;
    notifier->watched_count++;
    return watched;
}

static void take_out(struct notifier *notifier, struct watched *watched)
{
    struct watched **at = place(notifier, watched->number);

    *at = watched->chain;
    notifier->watched_count--;
}

/* ---- hooks */

int notifier_add(struct notifier *notifier, struct watch_hook *hook, const char *path, uint32_t mask)
{
    struct watched *watched;
    int             number;

    if (notifier->fd < 0)
        return notifier->fd;
    number = sys_inotify_add(notifier->fd, path, mask);
    if (number < 0)
        return number;
    watched = find(notifier, number);
    if (watched == NULL)
        watched = watched_new(notifier, number);
    if (watched == NULL) {
        (void)sys_inotify_remove(notifier->fd, number);
        return -ENOMEM;
    }
    hook->watched = watched;
    hook->mask = mask & IN_ALL_EVENTS;
    watch_hook_list_append(&watched->hooks, hook);
    return 0;
}

int notifier_add_any(struct notifier *notifier, struct watch_hook *hook, const char *path, uint32_t mask)
{
    int r = notifier_add(notifier, hook, path, mask | IN_ONLYDIR | IN_EXCL_UNLINK);

    return r == -ENOTDIR ? notifier_add(notifier, hook, path, mask) : r;
}

/* The kernel's mask stays as it is while others are left: they are not told what they have not asked for. */
bool notifier_remove(struct notifier *notifier, struct watch_hook *hook)
{
    struct watched *watched = hook->watched;
    bool            gone;

    if (watched == NULL)
        return false;
    watch_hook_list_remove(hook);
    hook->watched = NULL;
    if (!watch_hook_list_empty(&watched->hooks) || watched == notifier->telling)
        return false;
    gone = sys_inotify_remove(notifier->fd, watched->number) == -EINVAL;
    take_out(notifier, watched);
    memory_free(notifier->loop, watched);
    return gone;
}

/* Those who are told may add hooks, and remove theirs and others. */
static void tell_hooks(struct notifier *notifier, struct watched *watched, const struct inotify_event *event)
{
    const char       *name = event->len > 0 ? event->name : "";
    bool              ignored = (event->mask & IN_IGNORED) != 0;
    struct watch_hook hooks, *hook;

    notifier->telling = watched;
    watch_hook_list_init(&hooks);
    watch_hook_list_move(&watched->hooks, &hooks);
    while ((hook = watch_hook_list_pop(&hooks)) != NULL) {
        if (ignored)
            hook->watched = NULL;
        else
            watch_hook_list_append(&watched->hooks, hook);
        if ((event->mask & (hook->mask | IN_IGNORED | IN_UNMOUNT)) != 0)
            hook->told(hook, event->mask, event->cookie, name);
    }
    notifier->telling = NULL;
    if (!ignored && !watch_hook_list_empty(&watched->hooks))
        return;
    if (!ignored)
        (void)sys_inotify_remove(notifier->fd, watched->number);
    take_out(notifier, watched);
    memory_free(notifier->loop, watched);
}

static struct watch *watch_of(struct watch_link *link)
{
    return container_of(link, struct watch, link);
}

static void tell(struct notifier *notifier, const struct inotify_event *event)
{
    struct watched *watched;

    if ((event->mask & IN_Q_OVERFLOW) != 0) {
        notifier->loop->stats.watch_overflows++;
        for (struct watch_link *link = notifier->watches.next; link != &notifier->watches; link = link->next)
            watch_lost(watch_of(link), false);
        return;
    }
    watched = find(notifier, event->wd);
    if (watched != NULL) /* else of one that was given up */
        tell_hooks(notifier, watched, event);
}

/* ---- reading */

void notifier_read(struct notifier *notifier)
{
    union {
        struct inotify_event event;
        char                 bytes[READ_BYTES];
    } buffer;
    const struct inotify_event *event;
    ssize_t                     pending, size;

    if (notifier->reading || notifier->fd < 0)
        return;
    notifier->reading = true;
    pending = sys_inotify_pending(notifier->fd); /* not more than that: others may be faster than we are */
    while (pending > 0) {
        size = sys_inotify_read(notifier->fd, buffer.bytes, sizeof(buffer));
        if (size <= 0)
            break;
        pending -= size;
        for (ssize_t at = 0; at < size; at += (ssize_t)(sizeof(*event) + event->len)) {
            event = (const struct inotify_event *)(const void *)(buffer.bytes + at);
            tell(notifier, event);
        }
    }
    notifier->reading = false;
}

static int poll_begin(struct notifier *notifier);

static void let_leave(struct notifier *notifier)
{
    struct watch_link *link;

    while ((link = link_list_pop(&notifier->leaving)) != NULL) {
        watch_of(link)->leaving = false;
        loop_task_add(notifier->loop, &watch_of(link)->task);
    }
}

static void poll_done(struct loop *loop, const struct loop_result *result, void *arg)
{
    struct notifier *notifier = arg;
    bool             again = result->res >= 0 || result->res == -ECANCELED || result->res == -ERESTART;

    notifier->poll_id = 0;
    let_leave(notifier);
    if (link_list_empty(&notifier->watches) || loop->destroying)
        return;
    for (struct watch_link *link = notifier->watches.next; !again && link != &notifier->watches; link = link->next)
        watch_note_failed(watch_of(link), "", result->res);
    if (!again)
        return;
    notifier_read(notifier);
    if (poll_begin(notifier) < 0)
        loop_task_retry(loop, &notifier->task);
}

static int poll_begin(struct notifier *notifier)
{
    loop_id id;

    if (notifier->poll_id != 0 || notifier->fd < 0)
        return 0;
    id = loop_poll_add(notifier->loop, notifier->fd, POLLIN, poll_done, notifier,
                       LOOP_TERMS(.flags = LOOP_BACKGROUND | LOOP_UNCHAINED));
    if (id < 0)
        return (int)id;
    notifier->poll_id = op_of_object(notifier->loop, id);
    return 0;
}

static void poll_retry(struct loop *loop, struct loop_task *task)
{
    struct notifier *notifier = container_of(task, struct notifier, task);

    if (!link_list_empty(&notifier->watches) && !loop->destroying && poll_begin(notifier) < 0)
        loop_task_retry(loop, task);
}

/* ---- life */

static void notifier_free(struct loop *loop, struct loop_attachment *attachment)
{
    struct notifier *notifier = container_of(attachment, struct notifier, attachment);

    if (notifier->fd >= 0)
        sys_close(notifier->fd);
    memory_free(loop, notifier->table);
    memory_free(loop, notifier);
    loop->notifier = NULL;
}

/* The inodes are those of the parent's descriptor. */
static void forget_all(struct notifier *notifier)
{
    struct watched    *watched;
    struct watch_hook *hook;

    for (size_t i = 0; i < notifier->table_size; i++) {
        while ((watched = notifier->table[i]) != NULL) {
            while ((hook = watch_hook_list_pop(&watched->hooks)) != NULL)
                hook->watched = NULL;
            take_out(notifier, watched);
            memory_free(notifier->loop, watched);
        }
    }
}

/* A descriptor that is shared with the parent would take events away from it. */
static void notifier_rehome(struct loop *loop, struct loop_attachment *attachment, bool forked)
{
    struct notifier   *notifier = container_of(attachment, struct notifier, attachment);
    struct watch_link *link;

    if (!forked)
        return;
    if (notifier->fd >= 0)
        sys_close(notifier->fd);
    notifier->fd = -EBADF;
    forget_all(notifier);
    if (link_list_empty(&notifier->watches))
        return;
    notifier->fd = sys_inotify_open();
    for (link = notifier->watches.next; link != &notifier->watches; link = link->next)
        watch_rehome(watch_of(link));
    if (notifier->poll_id == 0)
        loop_task_add(loop, &notifier->task);
}

int notifier_of(struct loop *loop, struct notifier **ret_notifier)
{
    struct notifier *notifier = NULL;

    if (loop->notifier != NULL) {
        notifier = container_of(loop->notifier, struct notifier, attachment);
    } else {
        notifier = memory_resize(loop, NULL, sizeof(*notifier));
        if (notifier == NULL)
            return -ENOMEM;
        *notifier = (struct notifier){.loop = loop, .fd = -EBADF};
        notifier->attachment = (struct loop_attachment){.free = notifier_free, .rehome = notifier_rehome};
        notifier->task.run = poll_retry;
        link_list_init(&notifier->watches);
        link_list_init(&notifier->leaving);
        loop->notifier = &notifier->attachment;
    }
    if (notifier->fd < 0)
        notifier->fd = sys_inotify_open();
    if (notifier->fd < 0)
        return notifier->fd;
    *ret_notifier = notifier;
    return 0;
}

int notifier_enter(struct notifier *notifier, struct watch *watch)
{
    int r = poll_begin(notifier);

    if (r < 0)
        return r;
    link_list_append(&notifier->watches, &watch->link);
    return 0;
}

/* The last one waits for the poll, so that nothing is in flight for watches when none is open. */
bool notifier_leave(struct notifier *notifier, struct watch *watch)
{
    link_list_remove(&watch->link);
    if (!link_list_empty(&notifier->watches) || notifier->poll_id == 0)
        return true;
    (void)loop_cancel(notifier->loop, notifier->poll_id);
    link_list_append(&notifier->leaving, &watch->link);
    return false;
}
