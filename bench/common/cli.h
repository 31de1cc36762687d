/* bench/common/cli.h: what every benchmark program needs of a command line and of failure. */
#ifndef BENCH_COMMON_CLI_H
#define BENCH_COMMON_CLI_H

#include <stdint.h>

/* Prints "PROGRAM: message" to stderr and exits with status 1. */
__attribute__((noreturn, format(printf, 1, 2))) void die(const char *format, ...);

/* The same, followed by the text of error, a positive errno. */
__attribute__((noreturn, format(printf, 2, 3))) void die_errno(int error, const char *format, ...);

/* Dies of a negative errno. */
static inline void must(int64_t result, const char *what)
{
    if (result < 0)
        die_errno((int)-result, "%s", what);
}

/* The decimal number in text, which must be within min and max; anything else dies naming the option. */
uint64_t cli_number(const char *option, const char *text, uint64_t min, uint64_t max);

/* Pins the calling thread to one CPU, or dies. */
void cli_pin(unsigned int cpu);

#endif
