/* loop/sys_process.c: processes and signals over the real system. */
#include "loop/seam_process.h"

#include <unistd.h>

pid_t sys_getpid(void)
{
    return getpid();
}
