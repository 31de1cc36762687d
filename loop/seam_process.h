/* loop/seam_process.h: the part of seam 2 that is about processes, signals and the process itself. sys_process.c is the
 * real one.
 *
 * All return >= 0 or a negative errno. */
#ifndef RINGLOOP_LOOP_SEAM_PROCESS_H
#define RINGLOOP_LOOP_SEAM_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

int sys_at_fork(void (*before)(void), void (*in_parent)(void), void (*in_child)(void)); /* pthread_atfork(3) */

/* Of this process. A thread that has ended counts as alive for a moment, which is waited for. */
int  sys_thread_id(void);
bool sys_thread_alive(int tid);

#endif
