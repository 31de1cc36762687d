/* bench/work/work.h: the work bench: functions run by the pool and told on the loop's thread.
 *
 * PROGRAM [--n N] [--ops N]
 * n items are under way at any time: each callback starts the next, until ops have been told. The function counts, and
 * nothing else. Prints one JSON line: CPU time of the process for each item, and the median time from the call that
 * starts one to its callback. The pool has its default of four threads. */
#ifndef BENCH_WORK_WORK_H
#define BENCH_WORK_WORK_H

#include <stdbool.h>
#include <stdint.h>

enum { WORK_N_MAX = 1024 };

struct work_library {
    void (*open)(void);
    /* Starts item slot: on a thread of the pool work_run(slot), and then in a callback work_told(slot). */
    void (*start)(uint32_t slot);
    void (*run)(void); /* until nothing is left */
};

int work_main(int argc, char **argv, const struct work_library *library);

void work_run(uint32_t slot);
void work_told(uint32_t slot);

#endif
