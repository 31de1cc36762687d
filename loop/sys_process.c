/* loop/sys_process.c: processes and signals over the real system. */
#include "loop/seam_process.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

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
