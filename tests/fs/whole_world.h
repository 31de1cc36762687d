/* tests/fs/whole_world.h: what the tests of whole files share. */
#ifndef RINGLOOP_TESTS_FS_WHOLE_WORLD_H
#define RINGLOOP_TESTS_FS_WHOLE_WORLD_H

#include "tests/fs/file_world.h"

enum { TOLD_MAX = 8 << 20 };

/* What the last callback was told. */
struct told {
    struct loop_whole whole;
    uint32_t          calls;
    int               error;
    size_t            size;
    void             *given;
    uint8_t           data[TOLD_MAX + 1]; /* a copy */
};
extern struct told told;

loop_whole_cb tell_whole; /* of told.whole */

/* kind: 0: read, 1: write, 2: replace. Zeroes told and starts; the first fails the test unless that goes well. */
void whole_start(int kind, const char *path, const void *data, size_t size, const struct loop_whole_options *options);
int  whole_start_error(int kind, const char *path, const void *data, size_t size,
                       const struct loop_whole_options *options);

/* The same until the callback, whose error is returned. */
int whole_read(const char *path, const struct loop_whole_options *options);
int whole_write(const char *path, const void *data, size_t size, const struct loop_whole_options *options);
int whole_replace(const char *path, const void *data, size_t size, const struct loop_whole_options *options);

/* The file holds the pattern, and no temporary lies in the scratch directory. */
void whole_replaced_wholly(const char *path, size_t size, uint64_t seed);

/* Temporaries in a directory; the others must not begin with a dot. */
uint32_t whole_temporaries(const char *directory);

#endif
