/* fs/random_name.h: names that nobody can guess. */
#ifndef RINGLOOP_FS_RANDOM_NAME_H
#define RINGLOOP_FS_RANDOM_NAME_H

#include <stddef.h>

enum { RANDOM_NAME_TRIES = 64 };

/* Fills in size random letters and digits, at most 256. On a thread of the pool: waits for the system's randomness
 * where that is not ready. 0 or a negative errno. */
int random_name(char *letters, size_t size);

#endif
