/* tests/fs/whole_world.c: what the tests of whole files share. */
#include "tests/fs/whole_world.h"

#include <dirent.h>

struct told told;

void tell_whole(struct loop_whole *whole, int error, void *data, size_t size)
{
    ck_assert_ptr_eq(whole, &told.whole);
    ck_assert_uint_eq(told.calls, 0);
    told.calls++;
    told.error = error;
    told.size = size;
    told.given = data;
    if (data != NULL) {
        ck_assert_int_eq(error, 0);
        ck_assert_uint_le(size, TOLD_MAX);
        memcpy(told.data, data, size + 1);
    }
}

int whole_start_error(int kind, const char *path, const void *data, size_t size,
                      const struct loop_whole_options *options)
{
    memset(&told, 0, offsetof(struct told, data));
    if (kind == 0)
        return loop_whole_read(world_loop, &told.whole, AT_FDCWD, path, options, tell_whole);
    if (kind == 1)
        return loop_whole_write(world_loop, &told.whole, AT_FDCWD, path, data, size, options, tell_whole);
    return loop_whole_replace(world_loop, &told.whole, AT_FDCWD, path, data, size, options, tell_whole);
}

void whole_start(int kind, const char *path, const void *data, size_t size, const struct loop_whole_options *options)
{
    ck_assert_int_eq(whole_start_error(kind, path, data, size, options), 0);
    ck_assert_uint_eq(told.calls, 0);
    ck_assert_ptr_eq(loop_whole_loop(&told.whole), world_loop);
}

static int ended(void)
{
    test_run_until(world_loop, &told.calls, 1);
    return told.error;
}

int whole_read(const char *path, const struct loop_whole_options *options)
{
    whole_start(0, path, NULL, 0, options);
    return ended();
}

int whole_write(const char *path, const void *data, size_t size, const struct loop_whole_options *options)
{
    whole_start(1, path, data, size, options);
    return ended();
}

int whole_replace(const char *path, const void *data, size_t size, const struct loop_whole_options *options)
{
    whole_start(2, path, data, size, options);
    return ended();
}

uint32_t whole_temporaries(const char *directory)
{
    DIR           *entries = opendir(directory);
    struct dirent *entry;
    uint32_t       count = 0;

    ck_assert_ptr_nonnull(entries);
    while ((entry = readdir(entries)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (entry->d_name[0] == '.') {
            ck_assert_msg(loop_whole_is_temporary(entry->d_name), "%s", entry->d_name);
            count++;
        } else {
            ck_assert(!loop_whole_is_temporary(entry->d_name));
        }
    }
    closedir(entries);
    return count;
}

void whole_replaced_wholly(const char *path, size_t size, uint64_t seed)
{
    size_t found_size;
    char  *found = scratch_read(path, &found_size);

    ck_assert_uint_eq(found_size, size);
    ck_assert(pattern_is(found, size, seed));
    free(found);
    ck_assert_uint_eq(whole_temporaries("."), 0);
}
