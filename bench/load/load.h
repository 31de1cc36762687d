/* bench/load/load.h: what the load generator is asked to do. Each mode prints one JSON line, or dies at the first wrong
 * byte, lost connection or standstill. */
#ifndef BENCH_LOAD_LOAD_H
#define BENCH_LOAD_LOAD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum {
    LOAD_STALL_MS = 20 * 1000,      /* no byte for so long is a standstill; generous, since the host steals CPUs */
    LOAD_VERIFY_MS_MAX = 60 * 1000, /* the whole of a verify run */
    LOAD_IDLE_MS_MAX = 120 * 1000,  /* the whole of an idle run */
};

struct load_options {
    uint16_t port;
    uint32_t connections;
    uint32_t size;  /* bytes of a message */
    uint32_t depth; /* messages in flight on a connection */
    uint32_t warmup_ms;
    uint32_t measure_ms;
    uint64_t seed;
    pid_t    server;         /* 0: not observed */
    bool     count_syscalls; /* of the server, in place of its CPU time */
};

/* Closed loop: every answered message is followed by the next. Prints cost, throughput and latency of the window. */
void load_timed(const struct load_options *options);

/* Random pieces, a half-close at the end, a reader that does not read, resets and idle connections. */
void load_verify(const struct load_options *options);

/* One message on every connection, then silence until stdin ends. Prints the server's memory before and after. */
void load_idle(const struct load_options *options);

#endif
