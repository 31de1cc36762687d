/* loop/child_spawn.c: from the options of a child to what the new process needs: descriptors that are open, and the
 * paths where the program may be. */
#include "loop/child_private.h"
#include "loop/seam_process.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

static const uint32_t flags_all = LOOP_CHILD_STDIO | LOOP_CHILD_KEEP_FDS | LOOP_CHILD_SESSION | LOOP_CHILD_GROUP |
                                  LOOP_CHILD_CWD_FD | LOOP_CHILD_SETUID | LOOP_CHILD_SETGID | LOOP_CHILD_UMASK;
static const char path_default[] = "/bin:/usr/bin";

enum { STDIO_COUNT = 3, LIMITS_MAX = 64, SIGNUM_MAX = 64 };

struct plan {
    struct loop_child_fd wanted[LOOP_CHILD_FDS_MAX + STDIO_COUNT];
    struct sys_spawn_fd  fds[LOOP_CHILD_FDS_MAX + STDIO_COUNT];
    int                  parent[LOOP_CHILD_FDS_MAX + STDIO_COUNT]; /* the parent's ends; -1: none */
    uint32_t             count, opened;
    int                  null_fd;
};

/* ---- checking */

static bool makes_end(uint32_t kind)
{
    return kind == LOOP_CHILD_PIPE_IN || kind == LOOP_CHILD_PIPE_OUT || kind == LOOP_CHILD_SOCKET;
}

static bool is_taken(const struct loop_child_fd *fds, uint32_t count, int number)
{
    for (uint32_t i = 0; i < count; i++) {
        if (fds[i].number == number)
            return true;
    }
    return false;
}

static bool fds_make_sense(const struct loop_child_options *options)
{
    if (options->fd_count > LOOP_CHILD_FDS_MAX || (options->fd_count > 0 && options->fds == NULL))
        return false;
    for (uint32_t i = 0; i < options->fd_count; i++) {
        const struct loop_child_fd *fd = &options->fds[i];

        if (fd->kind > LOOP_CHILD_SOCKET || fd->number < 0 || fd->number == INT_MAX || fd->reserved != 0 ||
            (fd->ret_fd != NULL) != makes_end(fd->kind) || is_taken(options->fds, i, fd->number))
            return false;
    }
    return true;
}

static bool options_make_sense(const struct loop_child_options *options)
{
    const uint32_t user = LOOP_CHILD_SETUID | LOOP_CHILD_SETGID;

    return options != NULL && options->file != NULL && (options->flags & ~flags_all) == 0 && options->reserved == 0 &&
           (options->flags & (LOOP_CHILD_SESSION | LOOP_CHILD_GROUP)) != (LOOP_CHILD_SESSION | LOOP_CHILD_GROUP) &&
           (options->args == NULL || options->args[0] != NULL) && options->death_signal >= 0 &&
           options->death_signal <= SIGNUM_MAX && options->limit_count <= LIMITS_MAX &&
           (options->limit_count == 0 || options->limits != NULL) && options->group >= 0 &&
           (options->group_count == 0 || (options->groups != NULL && (options->flags & user) != 0)) &&
           fds_make_sense(options);
}

/* ---- descriptors */

/* For one of the kinds that have two ends. */
static int open_ends(uint32_t kind, int *ret_child, int *ret_parent)
{
    int  fds[2], r;
    bool parent_reads = kind == LOOP_CHILD_PIPE_OUT;

    if (kind != LOOP_CHILD_SOCKET) {
        r = sys_child_pipe(fds, parent_reads);
        if (r < 0)
            return r;
        *ret_parent = fds[parent_reads ? 0 : 1];
        *ret_child = fds[parent_reads ? 1 : 0];
        return 0;
    }
    r = sys_socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, fds);
    if (r < 0)
        return r;
    r = sys_nonblocking_set(fds[0]);
    if (r < 0) {
        sys_close(fds[0]);
        sys_close(fds[1]);
        return r;
    }
    *ret_parent = fds[0];
    *ret_child = fds[1];
    return 0;
}

static int open_one(struct plan *plan, const struct loop_child_fd *wanted, int *ret_child, int *ret_parent)
{
    int r;

    *ret_parent = -1;
    switch ((enum loop_child_fd_kind)wanted->kind) {
    case LOOP_CHILD_NULL:
        if (plan->null_fd < 0) {
            r = sys_open_null();
            if (r < 0)
                return r;
            plan->null_fd = r;
        }
        *ret_child = plan->null_fd;
        return 0;
    case LOOP_CHILD_INHERIT:
        r = wanted->fd < 0 ? -EBADF : sys_file_flags(wanted->fd);
        *ret_child = wanted->fd;
        return r < 0 ? r : 0;
    case LOOP_CHILD_PIPE_IN:
    case LOOP_CHILD_PIPE_OUT:
    case LOOP_CHILD_SOCKET: return open_ends(wanted->kind, ret_child, ret_parent);
    }
    return -EINVAL;
}

/* The child's ends, and those of the parent as well if it has failed. */
static void plan_close(struct plan *plan, bool failed)
{
    for (uint32_t i = 0; i < plan->opened; i++) {
        if (plan->parent[i] >= 0)
            sys_close(plan->fds[i].from);
        if (failed && plan->parent[i] >= 0)
            sys_close(plan->parent[i]);
    }
    if (plan->null_fd >= 0)
        sys_close(plan->null_fd);
}

/* What is asked for, and 0, 1 and 2. */
static void plan_fill(struct plan *plan, const struct loop_child_options *options)
{
    bool inherited = (options->flags & LOOP_CHILD_STDIO) != 0;

    plan->null_fd = -1;
    plan->opened = 0;
    plan->count = options->fd_count;
    if (plan->count > 0)
        memcpy(plan->wanted, options->fds, plan->count * sizeof(plan->wanted[0]));
    for (int i = 0; i < STDIO_COUNT; i++) {
        if (is_taken(plan->wanted, options->fd_count, i) || (inherited && sys_file_flags(i) < 0))
            continue;
        plan->wanted[plan->count++] =
            (struct loop_child_fd){.kind = inherited ? LOOP_CHILD_INHERIT : LOOP_CHILD_NULL, .number = i, .fd = i};
    }
}

static int plan_open(struct plan *plan)
{
    for (; plan->opened < plan->count; plan->opened++) {
        uint32_t i = plan->opened;
        int      r = open_one(plan, &plan->wanted[i], &plan->fds[i].from, &plan->parent[i]);

        if (r < 0)
            return r;
        plan->fds[i].number = plan->wanted[i].number;
    }
    return 0;
}

/* ---- where the program may be */

static const char *path_of(char *const *env)
{
    for (; *env != NULL; env++) {
        if (strncmp(*env, "PATH=", 5) == 0)
            return *env + 5;
    }
    return path_default;
}

/* All that may be tried, as an array with its strings behind it: to be freed; NULL without memory. */
static char **paths_new(struct loop *loop, const char *file, char *const *env)
{
    const char *path = strchr(file, '/') != NULL || *file == '\0' ? NULL : path_of(env);
    size_t      size = strlen(file) + 1, count = 1;
    char      **paths, *text;

    for (const char *c = path; c != NULL && *c != '\0'; c++)
        count += *c == ':';
    paths = memory_resize(loop, NULL, (count + 1) * sizeof(paths[0]) + count * (size + 1) + (path ? strlen(path) : 0));
    if (paths == NULL)
        return NULL;
    text = (char *)&paths[count + 1];
    for (size_t i = 0; i < count; i++) {
        size_t length = path == NULL ? 0 : strcspn(path, ":");

        paths[i] = text;
        if (length > 0) { /* an empty one is the directory that it starts in */
            memcpy(text, path, length);
            text[length] = '/';
            text += length + 1;
        }
        memcpy(text, file, size);
        text += size;
        path = path == NULL ? NULL : path + length + 1;
    }
    paths[count] = NULL;
    return paths;
}

/* ---- spawning */

/* There is a process, but no memory to wait for it. */
static void undo(int pidfd)
{
    siginfo_t info;

    (void)sys_pidfd_signal(pidfd, SIGKILL);
    while (sys_child_wait(pidfd, 0, &info, NULL) == -EINTR)
        continue;
    sys_close(pidfd);
}

static int spawn(struct loop *loop, struct loop_child *child, struct sys_spawn *spawn, loop_child_cb *cb)
{
    const struct loop_child_options *options = spawn->options;
    int                              pidfd, pid, r;

    pid = sys_spawn(spawn, &pidfd);
    if (pid < 0)
        return pid;
    r = child_begin(loop, child, pidfd, true, cb);
    if (r < 0) {
        undo(pidfd);
        return r;
    }
    child->priv.pid = pid;
    child->priv.leader =
        (options->flags & LOOP_CHILD_SESSION) != 0 || ((options->flags & LOOP_CHILD_GROUP) != 0 && options->group == 0);
    child_timeout(child, options->timeout_ns, options->grace_ns);
    return 0;
}

static int spawn_planned(struct loop *loop, struct loop_child *child, struct plan *plan,
                         const struct loop_child_options *options, loop_child_cb *cb, enum loop_child_step *ret_step)
{
    const char *const alone[] = {options->file, NULL};
    struct sys_spawn  request = {
         .options = options,
         .args = (char *const *)(uintptr_t)(options->args == NULL ? alone : options->args),
         .env = options->env == NULL ? sys_environ() : (char *const *)(uintptr_t)options->env,
         .fds = plan->fds,
         .step = LOOP_CHILD_STEP_PREPARE,
    };
    char **paths;
    int    r;

    plan_fill(plan, options);
    paths = paths_new(loop, options->file, request.env);
    if (paths == NULL)
        return -ENOMEM;
    r = plan_open(plan);
    if (r == 0) {
        request.paths = paths;
        request.fd_count = plan->count;
        r = spawn(loop, child, &request, cb);
    }
    plan_close(plan, r < 0);
    for (uint32_t i = 0; r == 0 && i < plan->count; i++) {
        if (plan->wanted[i].ret_fd != NULL)
            *plan->wanted[i].ret_fd = plan->parent[i];
    }
    memory_free(loop, paths);
    *ret_step = request.step;
    return r;
}

int loop_child_spawn(struct loop *loop, struct loop_child *child, const struct loop_child_options *options,
                     loop_child_cb *cb)
{
    enum loop_child_step step = LOOP_CHILD_STEP_PREPARE;
    struct plan         *plan;
    int                  r;

    loop_check_owner(loop, __func__);
    r = options_make_sense(options) ? child_check(loop, child, cb) : -EINVAL;
    if (r == 0) {
        plan = memory_resize(loop, NULL, sizeof(*plan));
        r = plan == NULL ? -ENOMEM : spawn_planned(loop, child, plan, options, cb, &step);
        memory_free(loop, plan);
        starved_feed(loop);
    }
    if (r < 0 && options != NULL && options->ret_step != NULL)
        *options->ret_step = step;
    return r;
}
