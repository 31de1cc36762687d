/* loop/seam_file.h: the part of seam 2 that is about files and directories. sys_file.c is the real one.
 *
 * All return >= 0 or a negative errno. Those with a dirfd take AT_FDCWD, too. */
#ifndef RINGLOOP_LOOP_SEAM_FILE_H
#define RINGLOOP_LOOP_SEAM_FILE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

int sys_fsync(int fd); /* may wait for long: on the work pool only */

#endif
