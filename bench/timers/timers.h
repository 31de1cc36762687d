/* bench/timers/timers.h: the timers bench; each library supplies struct timers_library and calls timers_main.
 *
 * PROGRAM [--op insert|insert_cancel|fire] [--count N] [--min-ms N]
 * insert          count timers of 1 ... 60 000 ms are started (and stopped again, unmeasured)
 * insert_cancel   the same, and stopping them in random order is measured, too; per pair
 * fire            count timers of 1 ... 50 ms are started and all fire; per timer
 * Repeated, after one unmeasured round, until min-ms of CPU time are measured. Prints one JSON line; in it
 * bytes_per_item: what is allocated, the timers themselves included. Delays and order are the same for every library.
 */
#ifndef BENCH_TIMERS_TIMERS_H
#define BENCH_TIMERS_TIMERS_H

#include <stdint.h>

/* The calls under test. Each does for all timers what its name says, so that the loop over them is compiled with the
 * library's own calls. */
struct timers_library {
    /* Allocates and initialises count timers, none started. */
    void (*open)(uint32_t count);
    /* Refreshes the loop's time; then starts timer i with delays_ms[i], for all i. */
    void (*start_all)(const uint32_t *delays_ms, uint32_t count);
    /* Stops the timers in this order. */
    void (*stop_all)(const uint32_t *order, uint32_t count);
    /* How many timers are started. */
    uint32_t (*count_active)(uint32_t count);
    /* Calls body(arg) once from inside a callback of the loop, where programs start their timers, and then runs the
     * loop until no timer is left. Every one that fires calls timers_fired(its index). */
    void (*run)(void (*body)(void *arg), void *arg);
};

int timers_main(int argc, char **argv, const struct timers_library *library);

/* What has fired so far; the harness compares it with what should have. */
extern uint64_t timers_fired_count, timers_fired_sum;

static inline void timers_fired(uint32_t index)
{
    timers_fired_count++;
    timers_fired_sum += index;
}

#endif
