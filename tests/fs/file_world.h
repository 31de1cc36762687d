/* tests/fs/file_world.h: what the tests of files share: notes of callbacks, files that are opened and closed at once.
 */
#ifndef RINGLOOP_TESTS_FS_FILE_WORLD_H
#define RINGLOOP_TESTS_FS_FILE_WORLD_H

#include "tests/fs/scratch.h"

#include <fcntl.h>

/* What one callback was told. Zero it first. */
struct note {
    uint32_t calls;
    int      error;
    uint64_t count;
    uint32_t order; /* of all notes: 1 for the first callback after the last open */
};

extern struct loop *world_loop;

/* A fixture with a loop, in a scratch directory. */
void world_open(void);
void world_close(void);

loop_file_cb       note_cb;    /* arg: a note */
loop_file_event_cb note_event; /* file->data: a note */

/* Opens, and fails the test unless that ends so. */
void file_open(struct loop_file *file, const char *path, int flags, const struct loop_file_options *options);
int  file_open_error(struct loop_file *file, int dirfd, const char *path, int flags,
                     const struct loop_file_options *options);
int  file_close(struct loop_file *file); /* waits, and returns the error */

/* Run until the note has its call; fail the test unless it is told so. */
void note_is(struct note *note, int error, uint64_t count);

/* Started, and ended so. */
void file_write_is(struct loop_file *file, const void *data, size_t size, int64_t offset, int error, uint64_t count);
void file_read_is(struct loop_file *file, void *data, size_t size, int64_t offset, int error, uint64_t count);

/* Bytes that differ from place to place. */
void pattern_fill(void *data, size_t size, uint64_t seed);
bool pattern_is(const void *data, size_t size, uint64_t seed);

#endif
