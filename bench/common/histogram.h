/* bench/common/histogram.h: log-linear histogram of nanoseconds: 32 buckets an octave, so that a quantile is off
 * by at most 3 %. */
#ifndef BENCH_COMMON_HISTOGRAM_H
#define BENCH_COMMON_HISTOGRAM_H

#include <stdint.h>

enum {
    HISTOGRAM_STEP_BITS = 5,
    HISTOGRAM_STEPS = 1 << HISTOGRAM_STEP_BITS,
    HISTOGRAM_OCTAVES = 36, /* values up to 2^40 ns, 18 minutes; larger ones count as the largest */
    HISTOGRAM_BUCKETS = HISTOGRAM_OCTAVES * HISTOGRAM_STEPS,
};

struct histogram {
    uint64_t count;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *histogram, uint64_t value);

/* The middle of the bucket that holds the given share (0 to 1) of the values; 0 when there are none. */
uint64_t histogram_quantile(const struct histogram *histogram, double share);

#endif
