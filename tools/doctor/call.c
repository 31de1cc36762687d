/* call.c: whether the three system calls of io_uring reach the kernel's code.
 *
 * Each is made with arguments of which nothing can come, and has one answer if nobody stands in between. What the loop
 * meets later would not tell which of the three is denied. */
#include "doctor.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The same on every architecture but alpha, which counts from 535 on; older headers lack them. */
#ifndef __NR_io_uring_setup
#define __NR_io_uring_setup    425
#define __NR_io_uring_enter    426
#define __NR_io_uring_register 427
#endif

enum { NO_FD = -2, REGISTER_PROBE = 8 }; /* -1 means something to io_uring_register(2) */

static int result(long r)
{
    return r < 0 ? -errno : 0;
}

/* It looks at the sysctl and asks the security modules before it reads its parameters. */
static void setup_try(void *memory)
{
    *(int *)memory = result(syscall(__NR_io_uring_setup, 8u, NULL));
}

static void enter_try(void *memory)
{
    *(int *)memory = result(syscall(__NR_io_uring_enter, NO_FD, 0u, 0u, 0u, NULL, 0ul));
}

static void register_try(void *memory)
{
    *(int *)memory = result(syscall(__NR_io_uring_register, NO_FD, REGISTER_PROBE, NULL, 0u));
}

static const struct {
    const char *name;
    void (*work)(void *memory);
    int own_error; /* the kernel's own answer */
} tries[CALLS] = {
    [CALL_SETUP] = {"io_uring_setup", setup_try, -EFAULT},
    [CALL_ENTER] = {"io_uring_enter", enter_try, -EBADF},
    [CALL_REGISTER] = {"io_uring_register", register_try, -EBADF},
};

void calls_try(struct call_facts calls[CALLS], unsigned timeout_ms)
{
    int *answer = child_memory(sizeof(*answer));

    for (unsigned i = 0; i < CALLS; i++) {
        calls[i] = (struct call_facts){.name = tries[i].name, .end.number = -ENOMEM};
        if (answer == NULL)
            continue;
        *answer = 0;
        child_run(tries[i].work, answer, timeout_ms, &calls[i].end);
        calls[i].error = *answer == tries[i].own_error ? 0 : *answer;
    }
    if (answer != NULL)
        munmap(answer, sizeof(*answer));
}

bool call_allowed(const struct call_facts *call)
{
    return call->end.ending == ENDING_EXITED && call->error == 0;
}
