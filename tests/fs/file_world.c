/* tests/fs/file_world.c: what the tests of files share. */
#include "tests/fs/file_world.h"

struct loop    *world_loop;
static uint32_t notes;

void world_open(void)
{
    scratch_make();
    notes = 0;
    world_loop = test_loop_new(NULL);
}

void world_close(void)
{
    test_loop_free(world_loop);
    scratch_remove();
}

static void fill_in(struct note *note, int error, uint64_t count)
{
    note->calls++;
    note->error = error;
    note->count = count;
    note->order = ++notes;
}

void note_cb(struct loop_file *file, int error, uint64_t count, void *arg)
{
    (void)file;
    fill_in(arg, error, count);
}

void note_event(struct loop_file *file, int error)
{
    fill_in(file->data, error, 0);
}

void note_is(struct note *note, int error, uint64_t count)
{
    test_run_until(world_loop, &note->calls, 1);
    ck_assert_uint_eq(note->calls, 1);
    ck_assert_int_eq(note->error, error);
    ck_assert_uint_eq(note->count, count);
}

int file_open_error(struct loop_file *file, int dirfd, const char *path, int flags,
                    const struct loop_file_options *options)
{
    struct note note = {0};

    memset(file, 0, sizeof(*file));
    file->data = &note;
    ck_assert_int_eq(loop_file_open(world_loop, file, dirfd, path, flags, 0644, options, note_event), 0);
    test_run_until(world_loop, &note.calls, 1);
    if (note.error < 0)
        ck_assert_int_eq(file_close(file), 0);
    notes = 0;
    return note.error;
}

void file_open(struct loop_file *file, const char *path, int flags, const struct loop_file_options *options)
{
    ck_assert_int_eq(file_open_error(file, AT_FDCWD, path, flags, options), 0);
}

int file_close(struct loop_file *file)
{
    struct note note = {0};

    file->data = &note;
    loop_file_close(file, note_event);
    test_run_until(world_loop, &note.calls, 1);
    ck_assert_int_eq(loop_file_fd(file), -EBADF);
    return note.error;
}

void file_write_is(struct loop_file *file, const void *data, size_t size, int64_t offset, int error, uint64_t count)
{
    struct note note = {0};

    ck_assert_int_eq(loop_file_write(file, data, size, offset, 0, note_cb, &note), 0);
    note_is(&note, error, count);
}

void file_read_is(struct loop_file *file, void *data, size_t size, int64_t offset, int error, uint64_t count)
{
    struct note note = {0};

    ck_assert_int_eq(loop_file_read(file, data, size, offset, 0, note_cb, &note), 0);
    note_is(&note, error, count);
}

static uint8_t pattern_at(size_t i, uint64_t seed)
{
    return (uint8_t)((i * 31 + (i >> 8) * 17 + (i >> 16) * 7) ^ (seed * 131));
}

void pattern_fill(void *data, size_t size, uint64_t seed)
{
    for (size_t i = 0; i < size; i++)
        ((uint8_t *)data)[i] = pattern_at(i, seed);
}

bool pattern_is(const void *data, size_t size, uint64_t seed)
{
    for (size_t i = 0; i < size; i++) {
        if (((const uint8_t *)data)[i] != pattern_at(i, seed))
            return false;
    }
    return true;
}
