/* child.c: attempts in a process of their own, as a filter may kill who tries, and a broken kernel may never answer. */
#include "doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LAST_WAIT_MS = 1000 }; /* for a killed child to go; one that the kernel does not let go is left behind */

void *child_memory(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    return memory == MAP_FAILED ? NULL : memory;
}

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u;
}

/* Waits for SIGCHLD, which is blocked. Needs no descriptor, as there may be none. */
static bool wait_until(pid_t pid, uint64_t deadline_ms, int *ret_status)
{
    sigset_t set;
    pid_t    r;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    while ((r = waitpid(pid, ret_status, WNOHANG)) != pid) {
        uint64_t        now = now_ms();
        uint64_t        left = deadline_ms > now ? deadline_ms - now : 0;
        struct timespec timeout = {.tv_sec = (time_t)(left / 1000), .tv_nsec = (long)(left % 1000) * 1000000};

        if ((r < 0 && errno != EINTR) || left == 0)
            return false;
        (void)sigtimedwait(&set, NULL, &timeout);
    }
    return true;
}

static _Noreturn void child_main(void (*work)(void *memory), void *memory, const sigset_t *mask, const int *pipe_fds)
{
    struct rlimit none = {0};

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* not to outlive us */
    (void)setrlimit(RLIMIT_CORE, &none);    /* to be killed is an answer, not an accident */
    (void)sigprocmask(SIG_SETMASK, mask, NULL);
    if (pipe_fds[0] >= 0) {
        (void)dup2(pipe_fds[1], STDERR_FILENO);
        close(pipe_fds[0]);
        close(pipe_fds[1]); /* work has as many descriptors to use as any program started here */
    }
    work(memory);
    _exit(0);
}

static void message_read(int fd, struct child_end *end)
{
    ssize_t size = read(fd, end->message, sizeof(end->message) - 1);

    end->message[size > 0 ? size : 0] = '\0';
    end->message[strcspn(end->message, "\n")] = '\0';
}

static void end_read(pid_t pid, unsigned timeout_ms, struct child_end *end)
{
    int status = 0;

    if (!wait_until(pid, now_ms() + timeout_ms, &status)) {
        kill(pid, SIGKILL);
        (void)wait_until(pid, now_ms() + LAST_WAIT_MS, &status);
        end->ending = ENDING_HUNG;
    } else if (WIFSIGNALED(status)) {
        end->ending = ENDING_KILLED;
        end->number = WTERMSIG(status);
    } else {
        end->ending = ENDING_EXITED;
        end->number = WEXITSTATUS(status);
    }
}

void child_run(void (*work)(void *memory), void *memory, unsigned timeout_ms, struct child_end *ret_end)
{
    int      pipe_fds[2] = {-1, -1};
    sigset_t blocked, mask;
    pid_t    pid;

    *ret_end = (struct child_end){.ending = ENDING_UNTRIED};
    if (pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) < 0) /* then we go without what it says */
        pipe_fds[0] = pipe_fds[1] = -1;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGCHLD);
    (void)sigprocmask(SIG_BLOCK, &blocked, &mask);
    pid = fork();
    if (pid == 0)
        child_main(work, memory, &mask, pipe_fds);
    if (pid < 0)
        ret_end->number = -errno;
    else
        end_read(pid, timeout_ms, ret_end);
    (void)sigprocmask(SIG_SETMASK, &mask, NULL);
    if (pipe_fds[0] >= 0) {
        message_read(pipe_fds[0], ret_end);
        close(pipe_fds[0]);
        close(pipe_fds[1]);
    }
}
