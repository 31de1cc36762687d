/* bench/fanout/fanout.h: what the fan-out programs share.
 *
 * PROGRAM [--n N] [--size BYTES] [--mode copy|zerocopy] [--rounds N] [--fixed]
 * Sends one payload of size bytes to n tcp connections over 127.0.0.1, rounds times, each round when all targets of the
 * one before have taken it and the payload is free again. A child reads and checks every byte. Prints one JSON line:
 * CPU time of this process per payload sent to one target. */
#ifndef BENCH_FANOUT_FANOUT_H
#define BENCH_FANOUT_FANOUT_H

#include <stdbool.h>
#include <stdint.h>

struct fanout_job {
    uint32_t   n;
    uint32_t   size;
    bool       zero_copy;
    bool       fixed; /* from a registered buffer, with zero_copy */
    const int *fds;
    char      *payload;
    uint64_t   copied; /* set by the contender: zero-copy sends that the kernel copied after all */
};

struct fanout_library {
    bool has_zero_copy;
    bool has_fixed;
    void (*open)(struct fanout_job *job);
    void (*run)(struct fanout_job *job, uint64_t rounds);
    void (*close)(struct fanout_job *job); /* also of the descriptors, if it took them; else they stay open */
};

int fanout_main(int argc, char **argv, const struct fanout_library *library);

#endif
