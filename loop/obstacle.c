/* loop/obstacle.c: what a failed set-up means and what to do about it. */
#include "loop/seam_sys.h"

#include <errno.h>
#include <ringloop/loop.h>

enum loop_obstacle loop_obstacle(int error)
{
    long disabled = 0;

    switch (error) {
    case -ENOSYS:
    case -EOPNOTSUPP: {
        /* Some container run times answer ENOSYS from their filter; a kernel that has the sysctl has io_uring. */
        bool has_sysctl = sys_read_number("/proc/sys/kernel/io_uring_disabled", &disabled) == 0;

        return has_sysctl ? LOOP_OBSTACLE_FILTER : LOOP_OBSTACLE_NO_KERNEL;
    }
    case -EPERM:
    case -EACCES:
        if (sys_read_number("/proc/sys/kernel/io_uring_disabled", &disabled) == 0 && disabled != 0)
            return LOOP_OBSTACLE_SYSCTL;
        return LOOP_OBSTACLE_FILTER;
    case -EINVAL: return LOOP_OBSTACLE_OLD_KERNEL;
    case -ENOMEM: return LOOP_OBSTACLE_MEMLOCK;
    case -EMFILE:
    case -ENFILE: return LOOP_OBSTACLE_FILES;
    default: return LOOP_OBSTACLE_NONE;
    }
}

const char *loop_obstacle_text(enum loop_obstacle obstacle)
{
    switch (obstacle) {
    case LOOP_OBSTACLE_NONE: return "Nothing known stands in the way of io_uring.";
    case LOOP_OBSTACLE_NO_KERNEL:
        return "This kernel has no io_uring. Use a Linux kernel of 6.1 or later, built with CONFIG_IO_URING.";
    case LOOP_OBSTACLE_OLD_KERNEL: return "This kernel's io_uring lacks what the loop needs. Use Linux 6.1 or later.";
    case LOOP_OBSTACLE_SYSCTL:
        return "io_uring is switched off by the sysctl kernel.io_uring_disabled. Set it to 0, or to 1 and put the user "
               "into the group of kernel.io_uring_group.";
    case LOOP_OBSTACLE_FILTER:
        return "A seccomp filter or security module forbids io_uring, as the default profiles of most container run "
               "times "
               "do. Allow io_uring_setup, io_uring_enter and io_uring_register for this program.";
    case LOOP_OBSTACLE_MEMLOCK:
        return "There is not enough memory that may be locked. Raise RLIMIT_MEMLOCK (ulimit -l), use smaller rings, or "
               "fewer loops.";
    case LOOP_OBSTACLE_FILES: return "No file descriptor is left. Raise RLIMIT_NOFILE (ulimit -n) or close some.";
    }
    return "Unknown obstacle.";
}
