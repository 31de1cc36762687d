/* loop/sys_process.c: processes and signals over the real system. */
#include "loop/seam_process.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

static int result(int r)
{
    return r < 0 ? -errno : r;
}

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

/* ---- signals */

int sys_signal_catch(int signum, sys_signal_handler *handler, struct sigaction *ret_before)
{
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK};

    sigfillset(&action.sa_mask);
    return result(sigaction(signum, &action, ret_before));
}

void sys_signal_restore(int signum, sys_signal_handler *handler, const struct sigaction *before)
{
    struct sigaction now;

    if (sigaction(signum, NULL, &now) == 0 && (now.sa_flags & SA_SIGINFO) != 0 && now.sa_sigaction == handler)
        (void)sigaction(signum, before, NULL);
}

void sys_signals_block(sigset_t *ret_before)
{
    sigset_t all;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, ret_before);
}

void sys_signals_unblock(const sigset_t *before)
{
    pthread_sigmask(SIG_SETMASK, before, NULL);
}

void sys_nap(void)
{
    (void)nanosleep(&(const struct timespec){.tv_nsec = 20000}, NULL);
}
