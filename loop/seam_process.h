/* loop/seam_process.h: the part of seam 2 that is about processes, signals and the process itself. sys_process.c is the
 * real one.
 *
 * All return >= 0 or a negative errno. */
#ifndef RINGLOOP_LOOP_SEAM_PROCESS_H
#define RINGLOOP_LOOP_SEAM_PROCESS_H

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

#endif
