/* bench/common/observer.h: what a server process costs, seen from outside: CPU time, system calls, memory.
 *
 * CPU time and system calls are never to be measured in the same window: the tracepoint behind the count makes every
 * system call slower. */
#ifndef BENCH_COMMON_OBSERVER_H
#define BENCH_COMMON_OBSERVER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { OBSERVER_THREADS_MAX = 64 };

struct observer {
    pid_t     pid;
    clockid_t cpu_clock;
    uint32_t  counters_count;
    int       counters[OBSERVER_THREADS_MAX]; /* perf events, one a thread */
};

/* Finds the CPU clock of process pid; dies if there is no such process. */
void observer_open(struct observer *observer, pid_t pid);

/* CPU time of all threads of the process so far, user and system. */
uint64_t observer_cpu_ns(const struct observer *observer);

/* Starts to count system calls on every thread the process has and will have. False: this machine does not allow it
 * (needs root, or CAP_PERFMON and a readable tracefs). */
bool observer_syscalls_start(struct observer *observer);

/* System calls since the start. */
uint64_t observer_syscalls(const struct observer *observer);

/* Anonymous resident memory of the process. */
uint64_t observer_anon_bytes(const struct observer *observer);

void observer_close(struct observer *observer);

#endif
