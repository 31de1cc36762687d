/* loop/child.c: waiting for the end of processes, and bringing it about.
 *
 * A pidfd becomes readable when its process has ended; a poll tells that, and then waitid(2) is asked how, and for the
 * use of resources. The operation that would do both in one (IORING_OP_WAITID, 6.7) cannot tell the latter, and when it
 * is cancelled may have reaped the child with nobody told.
 *
 * The poll belongs to a watch, which outlives the program's structure where a child is to be reaped later. */
#include "loop/child_private.h"
#include "loop/seam_process.h"

#include <errno.h>
#include <poll.h>
#include <ringloop/op_poll.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>

struct child_watch {
    struct loop_object object; /* so that loop_destroy() waits for it; never keeps the loop alive */
    struct loop_task   task;   /* tries again */
    struct loop_child *child;  /* NULL: nobody is to be told */
    loop_id            id;     /* 0: not in flight */
    int                pidfd;
    bool               ours; /* to be reaped */
};

/* ---- the end */

static void tell(struct loop_child *child, const struct loop_child_exit *exit)
{
    loop_timer_stop(&child->priv.timer);
    object_gone(&child->priv.object, !child->priv.unref);
    child->priv.watch = NULL;
    child->priv.in_use = false;
    child->priv.cb(child, exit);
}

static void watch_end(struct child_watch *watch, struct loop_child_exit exit)
{
    struct loop       *loop = watch->object.loop;
    struct loop_child *child = watch->child;

    object_gone(&watch->object, false);
    sys_close(watch->pidfd);
    memory_free(loop, watch);
    starved_feed(loop);
    if (child == NULL)
        return;
    exit.timed_out = child->priv.timed_out;
    tell(child, &exit);
}

static void tell_canceled(struct loop *loop, struct loop_task *task)
{
    struct loop_child *child = container_of(task, struct loop_child, priv.task);

    (void)loop;
    tell(child, &(const struct loop_child_exit){.error = -ECANCELED, .status = -1, .timed_out = child->priv.timed_out});
}

/* Asks how it ended; false: it has not. */
static bool look(struct child_watch *watch, struct loop_child_exit *ret_exit, struct rusage *usage)
{
    siginfo_t info;
    int       r;

    memset(&info, 0, sizeof(info));
    do
        r = sys_child_wait(watch->pidfd, WNOHANG | (watch->ours ? 0 : WNOWAIT), &info, usage);
    while (r == -EINTR);
    *ret_exit = (struct loop_child_exit){.error = r, .status = -1};
    if (r < 0)
        return true;
    if (info.si_pid == 0)
        return false;
    ret_exit->usage = usage;
    if (info.si_code == CLD_EXITED) {
        ret_exit->status = info.si_status;
    } else {
        ret_exit->signum = info.si_status;
        ret_exit->core_dumped = info.si_code == CLD_DUMPED;
    }
    return true;
}

static int watch_arm(struct child_watch *watch);

/* Without memory for the poll; and of a process that is being debugged its parent is told later. */
static void try_again(struct child_watch *watch)
{
    loop_task_retry(watch->object.loop, &watch->task);
}

static void watch_done(struct loop *loop, const struct loop_result *result, void *arg)
{
    struct child_watch    *watch = arg;
    struct loop_child_exit exit;
    struct rusage          usage;

    watch->id = 0;
    if (result->res == -ERESTART && !loop->destroying) {
        if (watch_arm(watch) < 0)
            try_again(watch);
        return;
    }
    /* Also where it was cancelled, so that no zombie is left if there is one. */
    if (watch->ours || result->res >= 0) {
        if (look(watch, &exit, &usage)) {
            watch_end(watch, exit);
            return;
        }
        if (!loop->destroying && (result->res >= 0 || result->res == -ECANCELED || result->res == -ENOMEM)) {
            try_again(watch);
            return;
        }
    }
    watch_end(watch, (struct loop_child_exit){.error = result->res < 0 ? result->res : -ECANCELED, .status = -1});
}

static int watch_arm(struct child_watch *watch)
{
    struct loop *loop = watch->object.loop;
    loop_id      id = loop_poll_add(loop, watch->pidfd, POLLIN, watch_done, watch,
                                    LOOP_TERMS(.flags = LOOP_BACKGROUND | LOOP_UNCHAINED));

    if (id < 0)
        return (int)id;
    watch->id = op_of_object(loop, id);
    return 0;
}

static void run_task(struct loop *loop, struct loop_task *task)
{
    struct child_watch *watch = container_of(task, struct child_watch, task);
    int                 r = watch_arm(watch);

    if (r == 0)
        return;
    if (loop->destroying)
        watch_done(loop, &(const struct loop_result){.res = -ECANCELED}, watch);
    else
        try_again(watch);
}

/* ---- the beginning */

static void close_child(struct loop_object *object)
{
    loop_child_close(container_of(object, struct loop_child, priv.object));
}

/* What is in flight is cancelled for it; what waits to be tried again is not waited for. */
static void close_watch(struct loop_object *object)
{
    struct child_watch *watch = container_of(object, struct child_watch, object);

    if (watch->id != 0)
        return;
    if (task_list_linked(&watch->task))
        task_list_remove(&watch->task);
    loop_task_add(object->loop, &watch->task);
}

static void let_go_of_watch(struct loop_object *object)
{
    struct child_watch *watch = container_of(object, struct child_watch, object);

    sys_close(watch->pidfd);
    memory_free(object->loop, watch);
}

static void describe(const struct loop_object *object, struct loop_walk_item *item)
{
    const struct loop_child *child = container_of(object, struct loop_child, priv.object);

    item->fd = child->priv.watch != NULL ? child->priv.watch->pidfd : -1;
    item->closing = child->priv.watch == NULL;
    item->active = !item->closing;
    item->ref = loop_child_has_ref(child);
}

static const struct loop_object_class child_class = {.name = "child", .close = close_child, .describe = describe};
/* The user sees the child alone. */
static const struct loop_object_class watch_class = {.close = close_watch, .let_go = let_go_of_watch};

int child_check(struct loop *loop, const struct loop_child *child, loop_child_cb *cb)
{
    if (child == NULL || cb == NULL)
        return -EINVAL;
    if (child->priv.in_use)
        return -EBUSY;
    if (loop->destroying)
        return -ECANCELED;
    if (ring_has(&loop->ring, IORING_SETUP_IOPOLL))
        return -EOPNOTSUPP;
    if (!restriction_allows(loop, IORING_OP_POLL_ADD))
        return -EACCES;
    if (loop->ops_in_flight == (int32_t)loop->options.ops_max) {
        loop->stats.ops_full++;
        return -ENOBUFS;
    }
    return 0;
}

int child_begin(struct loop *loop, struct loop_child *child, int pidfd, bool ours, loop_child_cb *cb)
{
    struct child_watch *watch = memory_resize(loop, NULL, sizeof(*watch));
    bool                unref = child->priv.unref;
    int                 r;

    if (watch == NULL)
        return -ENOMEM;
    *watch =
        (struct child_watch){.object.loop = loop, .task.run = run_task, .child = child, .pidfd = pidfd, .ours = ours};
    r = watch_arm(watch);
    if (r < 0) {
        memory_free(loop, watch);
        return r;
    }
    child->priv = (struct loop_child_private){
        .task.run = tell_canceled, .watch = watch, .cb = cb, .in_use = true, .unref = unref};
    timer_of_object(&child->priv.timer);
    object_open(loop, &child->priv.object, &child_class, !unref);
    object_open(loop, &watch->object, &watch_class, false);
    return 0;
}

static int watch_process(struct loop *loop, struct loop_child *child, int pidfd, uint32_t flags, loop_child_cb *cb)
{
    int r = sys_pidfd_signal(pidfd, 0);

    if (r == -EBADF || r == -EINVAL)
        return -EBADF;
    return child_begin(loop, child, pidfd, (flags & LOOP_CHILD_REAP) != 0, cb);
}

static int check_watch(struct loop *loop, const struct loop_child *child, uint32_t flags, loop_child_cb *cb)
{
    return (flags & ~(uint32_t)LOOP_CHILD_REAP) != 0 ? -EINVAL : child_check(loop, child, cb);
}

int loop_child_watch_pidfd(struct loop *loop, struct loop_child *child, int pidfd, uint32_t flags, loop_child_cb *cb)
{
    int r;

    loop_check_owner(loop, __func__);
    r = check_watch(loop, child, flags, cb);
    return r < 0 ? r : watch_process(loop, child, pidfd, flags, cb);
}

int loop_child_watch(struct loop *loop, struct loop_child *child, pid_t pid, uint32_t flags, loop_child_cb *cb)
{
    int pidfd, r;

    loop_check_owner(loop, __func__);
    r = check_watch(loop, child, flags, cb);
    if (r < 0)
        return r;
    if (pid <= 0)
        return -EINVAL;
    pidfd = sys_pidfd_open(pid);
    if (pidfd < 0)
        return pidfd == -ENOENT ? -EINVAL : pidfd; /* a thread's number */
    r = watch_process(loop, child, pidfd, flags, cb);
    if (r < 0)
        sys_close(pidfd);
    else
        child->priv.pid = pid;
    return r;
}

/* ---- signals */

static bool in_progress(const struct loop_child *child)
{
    return child->priv.in_use && child->priv.watch != NULL;
}

int loop_child_kill(struct loop_child *child, int signum)
{
    if (!in_progress(child))
        return -ESRCH;
    loop_check_owner(child->priv.object.loop, __func__);
    return sys_pidfd_signal(child->priv.watch->pidfd, signum);
}

/* The group keeps the leader's number, and that is nobody else's, as long as the leader has not been reaped. */
int loop_child_kill_group(struct loop_child *child, int signum)
{
    if (!in_progress(child))
        return -ESRCH;
    loop_check_owner(child->priv.object.loop, __func__);
    return child->priv.leader ? sys_kill_group(child->priv.pid, signum) : -EINVAL;
}

static int send_to_all(struct loop_child *child, int signum)
{
    return child->priv.leader ? loop_child_kill_group(child, signum) : loop_child_kill(child, signum);
}

static void grace_is_over(struct loop_timer *timer)
{
    (void)send_to_all(container_of(timer, struct loop_child, priv.timer), SIGKILL);
}

int loop_child_terminate(struct loop_child *child, uint64_t grace_ns)
{
    if (!in_progress(child))
        return -ESRCH;
    loop_check_owner(child->priv.object.loop, __func__);
    loop_timer_stop(&child->priv.timer);
    if (grace_ns == 0)
        return send_to_all(child, SIGKILL);
    (void)loop_timer_start(child->priv.object.loop, &child->priv.timer, grace_ns, 0, grace_is_over);
    return send_to_all(child, SIGTERM);
}

static void time_is_over(struct loop_timer *timer)
{
    struct loop_child *child = container_of(timer, struct loop_child, priv.timer);

    child->priv.timed_out = true;
    (void)loop_child_terminate(child, child->priv.grace_ns);
}

void child_timeout(struct loop_child *child, uint64_t timeout_ns, uint64_t grace_ns)
{
    child->priv.grace_ns = grace_ns;
    if (timeout_ns != 0)
        (void)loop_timer_start(child->priv.object.loop, &child->priv.timer, timeout_ns, 0, time_is_over);
}

void loop_child_close(struct loop_child *child)
{
    struct child_watch *watch = child->priv.watch;
    struct loop        *loop = child->priv.object.loop;

    if (!in_progress(child))
        return;
    loop_check_owner(loop, __func__);
    loop_timer_stop(&child->priv.timer);
    child->priv.watch = NULL;
    watch->child = NULL;
    if (!watch->ours && watch->id != 0)
        (void)loop_cancel(loop, watch->id);
    loop_task_add(loop, &child->priv.task);
}

/* ---- looking */

bool loop_child_active(const struct loop_child *child)
{
    return child->priv.in_use;
}

pid_t loop_child_pid(const struct loop_child *child)
{
    return child->priv.pid;
}

int loop_child_pidfd(const struct loop_child *child)
{
    return in_progress(child) ? child->priv.watch->pidfd : -EBADF;
}

struct loop *loop_child_loop(const struct loop_child *child)
{
    return child->priv.object.loop;
}

bool loop_child_has_ref(const struct loop_child *child)
{
    return !child->priv.unref;
}

static void set_ref(struct loop_child *child, const char *call, bool ref)
{
    if (child->priv.unref != ref)
        return;
    if (child->priv.in_use) {
        loop_check_owner(child->priv.object.loop, call);
        if (ref)
            object_hold(&child->priv.object);
        else
            object_release(&child->priv.object);
    }
    child->priv.unref = !ref;
}

void loop_child_ref(struct loop_child *child)
{
    set_ref(child, __func__, true);
}

void loop_child_unref(struct loop_child *child)
{
    set_ref(child, __func__, false);
}
