/* tests/fs/scratch.h: a directory of the test's own, on a real file system: where the tests are run. */
#ifndef RINGLOOP_TESTS_FS_SCRATCH_H
#define RINGLOOP_TESTS_FS_SCRATCH_H

#include "tests/support/test.h"

enum { SCRATCH_PATH_MAX = 4096 };

/* Fixtures: tcase_add_checked_fixture(tc, scratch_make, scratch_remove). The working directory of the test is inside;
 * afterwards all of it is removed. */
void scratch_make(void);
void scratch_remove(void);

/* Its absolute path. */
const char *scratch_path(void);

/* What a file holds; fails the test if it cannot be read. Free it. */
char *scratch_read(const char *name, size_t *ret_size);
void  scratch_write(const char *name, const void *data, size_t size);

/* Mounts a tmpfs of so many bytes at the directory name, made for it; false where that is not allowed (then skip the
 * test). scratch_remove() takes it away. */
bool scratch_mount(const char *name, size_t size);

/* Runs scenario in a child without rights of its own (uid 65534 if this is root), in the scratch directory, which is
 * opened for it; fails if that fails. */
void scratch_unprivileged(void (*scenario)(void));

#endif
