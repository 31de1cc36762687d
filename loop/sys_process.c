/* loop/sys_process.c: processes and signals over the real system. */
#include "loop/seam_process.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

static int result(int r)
{
    return r < 0 ? -errno : r;
}

/* ---- fork and threads */

enum { ALIVE_LOOKS = 50 };

int sys_at_fork(void (*before)(void), void (*in_parent)(void), void (*in_child)(void))
{
    return -pthread_atfork(before, in_parent, in_child);
}

int sys_thread_id(void)
{
    return gettid();
}

bool sys_thread_alive(int tid)
{
    const struct timespec moment = {.tv_nsec = 1000000};

    for (int look = 0; look < ALIVE_LOOKS; look++) {
        if (tgkill(getpid(), tid, 0) < 0 && errno == ESRCH)
            return false;
        nanosleep(&moment, NULL);
    }
    return true;
}

/* ---- signals */

int sys_signal_catch(int signum, sys_signal_handler *handler, struct sigaction *ret_before)
{
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK};

    sigfillset(&action.sa_mask);
    return result(sigaction(signum, &action, ret_before));
}

void sys_signal_restore(int signum, sys_signal_handler *handler, const struct sigaction *before)
{
    struct sigaction now;

    if (sigaction(signum, NULL, &now) == 0 && (now.sa_flags & SA_SIGINFO) != 0 && now.sa_sigaction == handler)
        (void)sigaction(signum, before, NULL);
}

void sys_signals_block(sigset_t *ret_before)
{
    sigset_t all;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, ret_before);
}

void sys_signals_unblock(const sigset_t *before)
{
    pthread_sigmask(SIG_SETMASK, before, NULL);
}

void sys_nap(void)
{
    (void)nanosleep(&(const struct timespec){.tv_nsec = 20000}, NULL);
}

/* ---- the child, until it executes its program
 *
 * It shares the parent's memory, and with it the thread's errno, locks and sanitizers' state: so it makes bare system
 * calls, and writes to nothing but its stack, errno and struct sys_spawn. The parent's thread stands still meanwhile.
 */
#ifdef __clang__
#define BARE __attribute__((no_sanitize("address", "thread", "undefined")))
#else
#define BARE __attribute__((no_sanitize_address, no_sanitize_thread, no_sanitize_undefined))
#endif

/* Where 32 bits are a later version. */
#ifdef SYS_setresuid32
#define CALL_SETRESUID SYS_setresuid32
#define CALL_SETRESGID SYS_setresgid32
#define CALL_SETGROUPS SYS_setgroups32
#else
#define CALL_SETRESUID SYS_setresuid
#define CALL_SETRESGID SYS_setresgid
#define CALL_SETGROUPS SYS_setgroups
#endif

enum { KERNEL_SIGNALS = 64, KERNEL_MASK_BYTES = 8, NOT_EXECUTED = 127, CHILD_STACK_BYTES = 16384 };

struct start {
    struct sys_spawn *spawn;
    pid_t             parent;
};

/* Handlers of the parent's must not run here, and a program expects no signal to be ignored. */
static BARE void reset_signals(void)
{
    static const unsigned long default_action[8];

    for (int i = 1; i <= KERNEL_SIGNALS; i++)
        (void)syscall(SYS_rt_sigaction, i, default_action, NULL, KERNEL_MASK_BYTES);
}

static BARE long set_group(const struct loop_child_options *options)
{
    if ((options->flags & LOOP_CHILD_SESSION) != 0)
        return syscall(SYS_setsid);
    if ((options->flags & LOOP_CHILD_GROUP) != 0)
        return syscall(SYS_setpgid, 0, options->group);
    return 0;
}

static BARE bool is_target(const struct sys_spawn *spawn, int fd)
{
    for (uint32_t i = 0; i < spawn->fd_count; i++) {
        if (spawn->fds[i].number == fd)
            return true;
    }
    return false;
}

/* A copy out of the way of all; those that stand in the way after all are replaced soon. */
static BARE int moved_away(const struct sys_spawn *spawn, int fd)
{
    int copy = -1;

    do
        copy = (int)syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, copy + 1);
    while (copy >= 0 && is_target(spawn, copy));
    return copy;
}

static BARE long place_fds(struct sys_spawn *spawn)
{
    if ((spawn->options->flags & LOOP_CHILD_KEEP_FDS) == 0 && syscall(SYS_close_range, 0, ~0u, CLOSE_RANGE_CLOEXEC) < 0)
        return -1;
    for (uint32_t i = 0; i < spawn->fd_count; i++) {
        struct sys_spawn_fd *fd = &spawn->fds[i];

        fd->moved = fd->from;
        if (fd->from != fd->number && is_target(spawn, fd->from))
            fd->moved = moved_away(spawn, fd->from);
        if (fd->moved < 0)
            return -1;
    }
    for (uint32_t i = 0; i < spawn->fd_count; i++) {
        const struct sys_spawn_fd *fd = &spawn->fds[i];
        long                       r = fd->moved == fd->number ? syscall(SYS_fcntl, fd->moved, F_SETFD, 0)
                                                               : syscall(SYS_dup3, fd->moved, fd->number, 0);

        if (r < 0)
            return -1;
    }
    return 0;
}

static BARE long change_directory(const struct loop_child_options *options)
{
    if ((options->flags & LOOP_CHILD_CWD_FD) != 0 && syscall(SYS_fchdir, options->cwd_fd) < 0)
        return -1;
    return options->cwd == NULL ? 0 : syscall(SYS_chdir, options->cwd);
}

static BARE long set_limits(const struct loop_child_options *options)
{
    for (uint32_t i = 0; i < options->limit_count; i++) {
        const uint64_t limit[2] = {options->limits[i].soft, options->limits[i].hard};

        if (syscall(SYS_prlimit64, 0, options->limits[i].resource, limit, NULL) < 0)
            return -1;
    }
    if (options->nice != 0) { /* the call itself tells 20 - nice */
        long now = 20 - syscall(SYS_getpriority, PRIO_PROCESS, 0);

        return syscall(SYS_setpriority, PRIO_PROCESS, 0, (int)now + options->nice);
    }
    return 0;
}

/* Whether it stays the same user: then it may keep its groups, if it must. */
static BARE bool same_user(const struct loop_child_options *options)
{
    return ((options->flags & LOOP_CHILD_SETUID) == 0 ||
            ((uid_t)syscall(SYS_getuid) == options->uid && (uid_t)syscall(SYS_geteuid) == options->uid)) &&
           ((options->flags & LOOP_CHILD_SETGID) == 0 ||
            ((gid_t)syscall(SYS_getgid) == options->gid && (gid_t)syscall(SYS_getegid) == options->gid));
}

static BARE long set_credentials(const struct loop_child_options *options)
{
    if ((options->flags & (LOOP_CHILD_SETUID | LOOP_CHILD_SETGID)) != 0 &&
        syscall(CALL_SETGROUPS, options->group_count, options->groups) < 0 &&
        (options->group_count > 0 || !same_user(options)))
        return -1;
    if ((options->flags & LOOP_CHILD_SETGID) != 0 &&
        syscall(CALL_SETRESGID, options->gid, options->gid, options->gid) < 0)
        return -1;
    if ((options->flags & LOOP_CHILD_SETUID) != 0 &&
        syscall(CALL_SETRESUID, options->uid, options->uid, options->uid) < 0)
        return -1;
    return 0;
}

/* After the change of user, which would take it back. */
static BARE void die_with(const struct start *start, int signum)
{
    if (signum == 0)
        return;
    (void)syscall(SYS_prctl, PR_SET_PDEATHSIG, signum, 0, 0, 0);
    if ((pid_t)syscall(SYS_getppid) != start->parent)
        (void)syscall(SYS_exit_group, NOT_EXECUTED);
}

/* As execvp(3) goes on where a directory of PATH has none, or is none. */
static BARE void execute(const struct sys_spawn *spawn)
{
    bool forbidden = false;

    for (char *const *path = spawn->paths; *path != NULL; path++) {
        (void)syscall(SYS_execve, *path, spawn->args, spawn->env);
        if (errno == EACCES)
            forbidden = true;
        else if (errno != ENOENT && errno != ENOTDIR && errno != ENAMETOOLONG && errno != ELOOP && errno != ESTALE &&
                 errno != ENODEV && errno != ETIMEDOUT)
            return;
    }
    if (forbidden)
        errno = EACCES;
}

static BARE bool prepare(const struct start *start)
{
    static const unsigned long       no_signal[2];
    struct sys_spawn                *spawn = start->spawn;
    const struct loop_child_options *options = spawn->options;

    reset_signals();
    spawn->step = LOOP_CHILD_STEP_GROUP;
    if (set_group(options) < 0)
        return false;
    spawn->step = LOOP_CHILD_STEP_CWD; /* before its descriptor's number becomes another's */
    if (change_directory(options) < 0)
        return false;
    spawn->step = LOOP_CHILD_STEP_FDS;
    if (place_fds(spawn) < 0)
        return false;
    spawn->step = LOOP_CHILD_STEP_LIMITS;
    if (set_limits(options) < 0)
        return false;
    spawn->step = LOOP_CHILD_STEP_CREDENTIALS;
    if (set_credentials(options) < 0)
        return false;
    if ((options->flags & LOOP_CHILD_UMASK) != 0)
        (void)syscall(SYS_umask, options->umask);
    die_with(start, options->death_signal);
    (void)syscall(SYS_rt_sigprocmask, SIG_SETMASK, no_signal, NULL, KERNEL_MASK_BYTES);
    return true;
}

static BARE int child_main(void *arg)
{
    const struct start *start = arg;

    if (prepare(start)) {
        start->spawn->step = LOOP_CHILD_STEP_EXEC;
        execute(start->spawn);
    }
    start->spawn->error = -errno;
    (void)syscall(SYS_exit_group, NOT_EXECUTED);
    return NOT_EXECUTED;
}

/* ---- the parent */

/* A sanitizer would take this for a fork(2), and the threads that start after it for those of its child. */
#ifdef __has_feature
#if __has_feature(thread_sanitizer)
#define __SANITIZE_THREAD__ 1
#endif
#endif
#ifdef __SANITIZE_THREAD__
int __clone(int (*run)(void *arg), void *stack, int flags, void *arg, ...);
#define clone __clone
#endif

/* Like vfork(2): no page table is copied, however big the parent is. But the child has a stack and descriptors of its
 * own. Its stack is memory of this function, which waits for it. */
static BARE int clone_child(struct start *start, int *ret_pidfd)
{
    char  stack[CHILD_STACK_BYTES] __attribute__((aligned(16)));
    void *top = stack + sizeof(stack); /* of all but one architecture that Linux had */

    return result(clone(child_main, top, CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, start, ret_pidfd));
}

/* A change of user makes the memory that it happens in one which only root may look at and which is not dumped, and
 * that is the parent's, too. While the child is there this keeps its new user away from it; afterwards it is undone. */
static pthread_mutex_t others_lock = PTHREAD_MUTEX_INITIALIZER;

static void lock_others(void)
{
    pthread_mutex_lock(&others_lock);
}

static void unlock_others(void)
{
    pthread_mutex_unlock(&others_lock);
}

/* So that no child of fork(2) finds it locked. */
static void guard_others(void)
{
    (void)sys_at_fork(lock_others, unlock_others, unlock_others);
}

static int clone_other(struct start *start, int *ret_pidfd)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    int                   dumpable, pid;

    (void)pthread_once(&once, guard_others);
    lock_others();
    dumpable = prctl(PR_GET_DUMPABLE, 0, 0, 0, 0);
    pid = clone_child(start, ret_pidfd);
    if (dumpable == 1 && prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 1)
        (void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    unlock_others();
    return pid;
}

int sys_spawn(struct sys_spawn *spawn, int *ret_pidfd)
{
    bool         other = (spawn->options->flags & (LOOP_CHILD_SETUID | LOOP_CHILD_SETGID)) != 0;
    struct start start = {.spawn = spawn, .parent = getpid()};
    sigset_t     before;
    siginfo_t    info;
    int          saved = errno, pidfd = -1, pid, cancel;

    spawn->step = LOOP_CHILD_STEP_PREPARE;
    spawn->error = 0;
    sys_signals_block(&before);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
    pid = other ? clone_other(&start, &pidfd) : clone_child(&start, &pidfd);
    pthread_setcancelstate(cancel, NULL);
    sys_signals_unblock(&before);
    errno = saved;
    if (pid < 0)
        return pid;
    if (*(volatile int *)&spawn->error == 0) {
        *ret_pidfd = pidfd;
        return pid;
    }
    while (sys_child_wait(pidfd, 0, &info, NULL) == -EINTR)
        continue;
    close(pidfd);
    return spawn->error;
}

char **sys_environ(void)
{
    static char *empty[1];

    return environ == NULL ? empty : environ; /* after clearenv(3) */
}

int sys_child_pipe(int ret_fds[2], bool parent_reads)
{
    int fds[2], mine, r;

    if (pipe2(fds, O_CLOEXEC) < 0)
        return -errno;
    mine = fds[parent_reads ? 0 : 1];
    r = result(fcntl(mine, F_SETFL, (parent_reads ? O_RDONLY : O_WRONLY) | O_NONBLOCK));
    if (r < 0) {
        close(fds[0]);
        close(fds[1]);
        return r;
    }
    ret_fds[0] = fds[0];
    ret_fds[1] = fds[1];
    return 0;
}

int sys_open_null(void)
{
    return result(open("/dev/null", O_RDWR | O_CLOEXEC));
}

int sys_pidfd_open(pid_t pid)
{
    return result((int)syscall(SYS_pidfd_open, pid, 0));
}

int sys_pidfd_signal(int pidfd, int signum)
{
    return result((int)syscall(SYS_pidfd_send_signal, pidfd, signum, NULL, 0));
}

int sys_kill_group(pid_t leader, int signum)
{
    return result(kill(-leader, signum));
}

/* The call itself, which also tells what it used. */
int sys_child_wait(int pidfd, int options, siginfo_t *ret_info, struct rusage *ret_usage)
{
    return result((int)syscall(SYS_waitid, P_PIDFD, pidfd, ret_info, options | WEXITED, ret_usage));
}

/* ---- what the process has used */

int sys_usage(int who, struct rusage *ret_usage)
{
    return getrusage(who, ret_usage) < 0 ? -errno : 0;
}

size_t sys_page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

/* More than 1024 of them do not fit into a plain set: then all that are online count. */
int sys_processors(void)
{
    cpu_set_t set;

    return sched_getaffinity(0, sizeof(set), &set) < 0 ? (int)sysconf(_SC_NPROCESSORS_ONLN) : CPU_COUNT(&set);
}

int sys_read_text(const char *path, char *text, size_t size)
{
    int     fd = open(path, O_RDONLY | O_CLOEXEC), r;
    ssize_t n;

    if (fd < 0)
        return -errno;
    n = read(fd, text, size - 1);
    r = n < 0 ? -errno : 0;
    close(fd);
    if (n >= 0)
        text[n] = '\0';
    return r;
}
