/* One table of random bytes, repeated with a prime period; each connection starts at another place in it. A lost,
 * doubled or swapped piece thus differs from what is expected, unless its length is a multiple of the period. */
#include "load/pattern.h"

#include "common/random.h"

enum { PERIOD = 65521, START_STEP = 7919 };

static uint8_t table[PERIOD + PATTERN_CHUNK_MAX];

void pattern_init(void)
{
    struct random random = {1};

    for (uint32_t i = 0; i < sizeof(table); i++)
        table[i] = i < PERIOD ? (uint8_t)random_next(&random) : table[i - PERIOD];
}

const uint8_t *pattern_at(uint32_t index, uint64_t position)
{
    return &table[(position + (uint64_t)index * START_STEP) % PERIOD];
}
