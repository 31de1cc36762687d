/* loop/seam_process.h: the part of seam 2 that is about processes, signals and the process itself. sys_process.c is the
 * real one.
 *
 * All return >= 0 or a negative errno. */
#ifndef RINGLOOP_LOOP_SEAM_PROCESS_H
#define RINGLOOP_LOOP_SEAM_PROCESS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

pid_t sys_getpid(void);

#endif
