/* Log-linear histogram. Bucket b < 32 holds the value b; above, octave b / 32 is split into 32 equal steps. */
#include "common/histogram.h"

static uint32_t bucket_of(uint64_t value)
{
    uint32_t shift, bucket;

    if (value < HISTOGRAM_STEPS)
        return (uint32_t)value;
    shift = 63u - (uint32_t)__builtin_clzll(value) - HISTOGRAM_STEP_BITS;
    bucket = (shift + 1) * HISTOGRAM_STEPS + (uint32_t)(value >> shift) - HISTOGRAM_STEPS;
    return bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1;
}

static uint64_t bucket_middle(uint32_t bucket)
{
    uint32_t shift;
    uint64_t low;

    if (bucket < 2 * HISTOGRAM_STEPS)
        return bucket;
    shift = bucket / HISTOGRAM_STEPS - 1;
    low = (uint64_t)(bucket % HISTOGRAM_STEPS + HISTOGRAM_STEPS) << shift;
    return low + ((uint64_t)1 << shift) / 2;
}

void histogram_add(struct histogram *histogram, uint64_t value)
{
    histogram->buckets[bucket_of(value)]++;
    histogram->count++;
}

uint64_t histogram_quantile(const struct histogram *histogram, double share)
{
    uint64_t rank, seen = 0;

    if (histogram->count == 0)
        return 0;
    rank = (uint64_t)(share * (double)histogram->count);
    if (rank >= histogram->count)
        rank = histogram->count - 1;
    for (uint32_t bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
        seen += histogram->buckets[bucket];
        if (seen > rank)
            return bucket_middle(bucket);
    }
    return bucket_middle(HISTOGRAM_BUCKETS - 1);
}
