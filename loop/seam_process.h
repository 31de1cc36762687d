/* loop/seam_process.h: the part of seam 2 that is about processes, signals and the process itself. sys_process.c is the
 * real one.
 *
 * All return >= 0 or a negative errno. */
#ifndef RINGLOOP_LOOP_SEAM_PROCESS_H
#define RINGLOOP_LOOP_SEAM_PROCESS_H

#include <ringloop/child.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

int sys_at_fork(void (*before)(void), void (*in_parent)(void), void (*in_child)(void)); /* pthread_atfork(3) */

/* Of this process. A thread that has ended counts as alive for a moment, which is waited for. */
int  sys_thread_id(void);
bool sys_thread_alive(int tid);

/* Signals. The handler runs with all others blocked, and calls that it interrupts go on. */
typedef void sys_signal_handler(int signum, siginfo_t *info, void *context);
int          sys_signal_catch(int signum, sys_signal_handler *handler, struct sigaction *ret_before);
/* Unless another has been installed since. */
void         sys_signal_restore(int signum, sys_signal_handler *handler, const struct sigaction *before);
void         sys_signals_block(sigset_t *ret_before); /* of the calling thread */
void         sys_signals_unblock(const sigset_t *before);
void         sys_nap(void); /* some microseconds, so that another thread may go on */

/* Children. */
struct sys_spawn_fd {
    int from, number;
    int moved; /* of the child */
};

struct sys_spawn {
    const struct loop_child_options *options;
    char *const                     *paths; /* tried one after the other; as the next two ended by NULL */
    char *const *args, *const *env;
    struct sys_spawn_fd *fds;
    uint32_t             fd_count;
    enum loop_child_step step; /* written */
    int                  error;
};

/* Runs the program in a new process. Returns its pid, with a pidfd, when it is running, or what the step that failed
 * gave, when there is no process any more. */
int    sys_spawn(struct sys_spawn *spawn, int *ret_pidfd);
char **sys_environ(void);
int    sys_child_pipe(int ret_fds[2], bool parent_reads); /* the parent's end is non-blocking; both close-on-exec */
int    sys_open_null(void);                               /* /dev/null */
int    sys_pidfd_open(pid_t pid);
int    sys_pidfd_signal(int pidfd, int signum);
int    sys_kill_group(pid_t leader, int signum);
/* waitid(2) for one process that has ended; options: WNOHANG, WNOWAIT. */
int    sys_child_wait(int pidfd, int options, siginfo_t *ret_info, struct rusage *ret_usage);

/* What the process has used. */
struct rusage;
int    sys_usage(int who, struct rusage *ret_usage);
size_t sys_page_size(void);
int    sys_processors(void);                                     /* that the calling thread may run on */
int    sys_read_text(const char *path, char *text, size_t size); /* a small file, with a 0 behind it */

#endif
