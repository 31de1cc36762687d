/* fs/random_name.h: names that nobody can guess. */
#ifndef RINGLOOP_FS_RANDOM_NAME_H
#define RINGLOOP_FS_RANDOM_NAME_H

#include <stdbool.h>
#include <stddef.h>

enum { RANDOM_NAME_TRIES = 64 };

/* Fills in size random letters and digits, at most 256. Waits for the system's randomness where that is not ready,
 * right after the machine's start. 0 or a negative errno. */
int random_name(char *letters, size_t size);

/* Whether that may have made them. */
bool random_name_fits(const char *letters, size_t size);

#endif
