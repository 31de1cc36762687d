/* bench/load/pattern.h: the bytes of a connection: known from its index and the position, so that every echoed byte can
 * be checked. */
#ifndef BENCH_LOAD_PATTERN_H
#define BENCH_LOAD_PATTERN_H

#include <stdint.h>

enum { PATTERN_CHUNK_MAX = 64 * 1024 };

/* Fills the table behind pattern_at; call it once. */
void pattern_init(void);

/* The next PATTERN_CHUNK_MAX bytes of connection index from position on. */
const uint8_t *pattern_at(uint32_t index, uint64_t position);

#endif
