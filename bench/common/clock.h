/* bench/common/clock.h: nanoseconds of any clock. */
#ifndef BENCH_COMMON_CLOCK_H
#define BENCH_COMMON_CLOCK_H

#include <stdint.h>
#include <time.h>

enum { NS_PER_MS = 1000000, NS_PER_S = 1000000000 };

static inline uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/* Wall time; for latencies and limits. */
static inline uint64_t clock_wall_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

/* CPU time of the calling process, all threads, user and system; time stolen by the host is not in it. */
static inline uint64_t clock_cpu_ns(void)
{
    return clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

#endif
