/* loop/sys_file.c: files and directories over the real system. */
#include "loop/seam_file.h"

#include <errno.h>
#include <unistd.h>

static int result(int r)
{
    return r < 0 ? -errno : r;
}

int sys_fsync(int fd)
{
    return result(fsync(fd));
}
