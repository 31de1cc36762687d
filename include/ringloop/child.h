/* ringloop/child.h: child processes: spawned, told when they end, ended; and the end of other processes. Loop thread
 * only.
 *
 * Life: zeroed > loop_child_spawn or loop_child_watch > exit callback; then it may be started anew, also in there.
 *
 * A process is named by a pidfd throughout, never by a number that might be another's by now. SIGCHLD is not used: the
 * program may do with it what it likes. Only if it reaps the children itself, with wait(2) for any of them, or ignores
 * SIGCHLD, which makes the kernel reap them, the exit is told without a status. A program may have been started with
 * SIGCHLD ignored: where its parent does so that outlives execve(2). */
#ifndef RINGLOOP_CHILD_H
#define RINGLOOP_CHILD_H

#include <ringloop/timer.h>
#include <ringloop/types.h>

#include <stdbool.h>
#include <sys/types.h>

LOOP_BEGIN_DECLS

struct loop_child;
struct child_watch;
struct rusage; /* <sys/resource.h> */

/* How it ended. Lent to the callback. */
struct loop_child_exit {
    /* 0: as below. -ECHILD: it has ended, but nobody can tell how: it was no child of this process, or was reaped by
     * others. -ECANCELED: it is not waited for any more (loop_child_close(), loop_destroy()), and may run on. */
    int                  error;
    int                  status;      /* that it exited with, 0 to 255; -1: it did not */
    int                  signum;      /* that ended it; 0: it exited */
    bool                 core_dumped; /* with signum */
    bool                 timed_out;   /* timeout_ns was over when it ended */
    const struct rusage *usage;       /* of it and of those of its children that it waited for; NULL with an error */
};

/* The last and only callback. What the child has written may still stand in its pipes, and be read before or after it:
 * for all of it wait for the streams' ends, too. */
typedef void loop_child_cb(struct loop_child *child, const struct loop_child_exit *exit);

/* What the child shall have at a descriptor number. */
enum loop_child_fd_kind {
    LOOP_CHILD_NULL,     /* /dev/null, to be read and written */
    LOOP_CHILD_INHERIT,  /* the parent's fd; may be a number that is another's target: all are moved at once */
    LOOP_CHILD_PIPE_IN,  /* a new pipe, which the child reads; *ret_fd is the parent's end */
    LOOP_CHILD_PIPE_OUT, /* a new pipe, which the child writes */
    LOOP_CHILD_SOCKET,   /* a new pair of unix sockets, for both ways, and for descriptors (LOOP_STREAM_FDS) */
};

struct loop_child_fd {
    uint32_t kind LOOP_ZERO; /* enum loop_child_fd_kind */
    int number    LOOP_ZERO; /* in the child */
    int fd        LOOP_ZERO; /* with LOOP_CHILD_INHERIT */
    int reserved  LOOP_ZERO;
    /* With the last three: the parent's end, yours: close-on-exec and non-blocking, as loop_stream_open() takes it. */
    int *ret_fd   LOOP_NONE;
};

struct loop_child_limit {
    int resource  LOOP_ZERO; /* RLIMIT_* of <sys/resource.h> */
    int reserved  LOOP_ZERO;
    uint64_t soft LOOP_ZERO; /* UINT64_MAX: none */
    uint64_t hard LOOP_ZERO;
};

enum loop_child_flags {
    LOOP_CHILD_STDIO = 1u << 0,    /* 0, 1 and 2 are the parent's where fds says nothing else; otherwise /dev/null */
    LOOP_CHILD_KEEP_FDS = 1u << 1, /* it also gets all others that are not close-on-exec; otherwise none */
    LOOP_CHILD_SESSION = 1u << 2,  /* setsid(2): a session and group of its own, no terminal; libuv calls it detached */
    LOOP_CHILD_GROUP = 1u << 3,    /* setpgid(2), to .group; 0: a group of its own */
    LOOP_CHILD_CWD_FD = 1u << 4,   /* .cwd_fd counts */
    LOOP_CHILD_SETUID = 1u << 5,   /* .uid counts: real, effective and saved */
    LOOP_CHILD_SETGID = 1u << 6,   /* .gid counts */
    LOOP_CHILD_UMASK = 1u << 7,    /* .umask counts */
};

/* What a spawn was at when it failed. */
enum loop_child_step {
    LOOP_CHILD_STEP_PREPARE, /* before there was a process: arguments, memory, pipes, fork */
    LOOP_CHILD_STEP_GROUP,   /* session, group */
    LOOP_CHILD_STEP_FDS,
    LOOP_CHILD_STEP_CWD,
    LOOP_CHILD_STEP_LIMITS, /* resource limits, nice */
    LOOP_CHILD_STEP_CREDENTIALS,
    LOOP_CHILD_STEP_EXEC,
};

/* Copied, with all it points to. Signals: in the child none is blocked or ignored. */
struct loop_child_options {
    /* A path if there is a slash in it, as seen from its directory; otherwise a name, looked for in the PATH of .env if
     * that is given, else of the parent; in /bin and /usr/bin where there is no PATH. A script needs its #! line. */
    const char *file                LOOP_NONE;
    const char *const *args         LOOP_NONE; /* argv, ended by NULL; NULL: file alone */
    const char *const *env          LOOP_NONE; /* NAME=value, ended by NULL; NULL: the parent's */
    const char *cwd                 LOOP_NONE; /* NULL: the parent's; with .cwd_fd relative to that */
    int cwd_fd                      LOOP_ZERO;
    uint32_t flags                  LOOP_ZERO; /* enum loop_child_flags; unknown bits give -EINVAL */
    const struct loop_child_fd *fds LOOP_NONE;
    uint32_t fd_count               LOOP_ZERO;
    int death_signal                LOOP_ZERO; /* it gets this when the thread that spawned it ends; 0: none */
    uid_t uid                       LOOP_ZERO;
    gid_t gid                       LOOP_ZERO;
    const gid_t *groups  LOOP_NONE; /* with SETUID or SETGID: all its supplementary groups; they are cleared without */
    uint32_t group_count LOOP_ZERO;
    pid_t group          LOOP_ZERO;
    uint32_t umask       LOOP_ZERO;
    int nice             LOOP_ZERO; /* added to the parent's; see nice(2) */
    const struct loop_child_limit *limits LOOP_NONE;
    uint32_t limit_count                  LOOP_ZERO;
    uint32_t reserved                     LOOP_ZERO;
    uint64_t timeout_ns                   LOOP_ZERO; /* 0: none. Then loop_child_terminate(child, grace_ns) */
    uint64_t grace_ns                     LOOP_ZERO;
    enum loop_child_step *ret_step        LOOP_NONE; /* written if the spawn fails */
};

enum { LOOP_CHILD_FDS_MAX = 256 };

struct loop_child {
    void *data; /* yours; the library never reads it */
    struct loop_child_private {
        struct loop_object  object;
        struct loop_task    task;
        struct loop_timer   timer; /* timeout, grace */
        struct child_watch *watch; /* NULL: not in progress, or closed */
        loop_child_cb      *cb;
        uint64_t            grace_ns;
        int                 pid; /* 0: unknown */
        bool                in_use, leader, timed_out, unref;
    } priv;
};

/* Starts a program. Borrows child until the exit callback, which comes once, also after loop_child_close() and at
 * loop_destroy(); it keeps the loop alive unless loop_child_unref(). The parent's thread stands still until the program
 * has been executed, so that errors are told at once. Returns 0, or
 *   -EINVAL     no file, no cb, unknown flags or kinds, more than LOOP_CHILD_FDS_MAX descriptors, or limits; a number
 *               twice, or below 0
 *   -EBADF      a descriptor to be inherited, or cwd_fd, is not open
 *   -EBUSY      child is in use
 *   -ECANCELED  the loop is being destroyed
 *   -ENOBUFS    loop_options.ops_max operations are in flight
 *   -EOPNOTSUPP the loop is made for storage (LOOP_MODE_IOPOLL)
 *   -EACCES     the loop is restricted and may not poll; or as below
 *   -ENOMEM, -EMFILE, -ENFILE, -EAGAIN (too many processes)
 *   and what a step in the child gave: -ENOENT, -EACCES, -ENOTDIR, -ENOEXEC, -E2BIG, -ETXTBSY, -EPERM ...: ret_step
 * Nothing is left of a failed one: no process, no descriptor, and no ret_fd is written. */
LOOP_API LOOP_MUST_USE int loop_child_spawn(struct loop *loop, struct loop_child *child,
                                            const struct loop_child_options *options, loop_child_cb *cb);

enum loop_child_watch_flags {
    LOOP_CHILD_REAP = 1u << 0, /* it is a child of this process that nobody else will wait for: leave no zombie */
};

/* Waits for the end of a process that is there, and may be anybody's. Of one's own child the status is told, and it is
 * not reaped unless flags say so; of others that it has ended (-ECHILD). Borrows child as above. The second takes a
 * pidfd, as of loop_unix_pidfd() or pidfd_open(2), and is the one without a race: a pid may be another's by now. Return
 * 0, -ESRCH (no such process), -EINVAL (not a process's pid; unknown flags, no cb), -EBADF (no pidfd), -EMFILE,
 * -ENFILE, -EBUSY, -ECANCELED, -ENOBUFS, -EOPNOTSUPP, -EACCES, -ENOMEM as above. */
LOOP_API LOOP_MUST_USE int loop_child_watch(struct loop *loop, struct loop_child *child, pid_t pid, uint32_t flags,
                                            loop_child_cb *cb);
LOOP_API LOOP_MUST_USE int loop_child_watch_pidfd(struct loop *loop, struct loop_child *child, int pidfd,
                                                  uint32_t flags, loop_child_cb *cb);

/* Sends a signal; 0: looks whether one could be sent. The second to its whole group, if it was spawned into a session
 * or group of its own. Return 0 (also if it has ended, but that has not been told yet), -ESRCH if it is not in
 * progress, -EINVAL (no such signal, no such group), -EPERM. */
LOOP_API int loop_child_kill(struct loop_child *child, int signum);
LOOP_API int loop_child_kill_group(struct loop_child *child, int signum);

/* SIGTERM now and SIGKILL after grace_ns (0: SIGKILL now), unless it has ended by then; a group of its own gets them as
 * a whole. Called again, the time counts anew. Returns 0, -ESRCH, -EPERM. */
LOOP_API int loop_child_terminate(struct loop_child *child, uint64_t grace_ns);

/* Waits no more: the callback comes in the next turn, with -ECANCELED. A child runs on, and the loop reaps it when it
 * ends, without being kept alive by it; after loop_destroy() nobody does. Nothing if it is not in progress. */
LOOP_API void loop_child_close(struct loop_child *child);

LOOP_API bool         loop_child_active(const struct loop_child *child); /* until its callback is called */
LOOP_API pid_t        loop_child_pid(const struct loop_child *child); /* 0 after loop_child_watch_pidfd(), and before */
LOOP_API int          loop_child_pidfd(const struct loop_child *child); /* lent; -EBADF if not in progress */
LOOP_API struct loop *loop_child_loop(const struct loop_child *child);  /* that it was last started on, or NULL */

/* Whether it keeps the loop alive (default: it does). Before or after the start. */
LOOP_API void loop_child_ref(struct loop_child *child);
LOOP_API void loop_child_unref(struct loop_child *child);
LOOP_API bool loop_child_has_ref(const struct loop_child *child);

LOOP_END_DECLS

#endif
