/* bench/nop/nop.h: what the nop programs share.
 *
 * PROGRAM [--batch N] [--ops N] …
 * Completes ops no-operations of the kernel, batch of them started together, sent and waited for by one enter, and
 * prints one JSON line. The nop is the cheapest operation there is: what is left is the cost of the interface. */
#ifndef BENCH_NOP_NOP_H
#define BENCH_NOP_NOP_H

#include <stdbool.h>
#include <stdint.h>

enum { NOP_BATCH_MAX = 256 };

struct nop_options {
    uint32_t batch;
    uint64_t ops;
    bool     direct;   /* --direct, where the program knows it */
    bool     deadline; /* --deadline, the same */
    bool     sequel;   /* --sequel, the same */
};

struct nop_options nop_options_parse(int argc, char **argv, bool is_ringloop);

/* Prints the result; cpu_ns is what options->ops operations took. */
void nop_report(const struct nop_options *options, uint64_t cpu_ns);

#endif
