/* tests/fs/whole_test.c: whole files read and written. */
#include "tests/fs/whole_world.h"

#include <sys/stat.h>

/* ---- reading */

static const size_t sizes[] = {0, 1, 16383, 16384, 16385, 32768, 65536, 1000003, 3 << 20};

/* Goal: files of many sizes come whole, with a zero byte behind them. */
START_TEST(read_sizes)
{
    uint8_t *data = malloc(sizes[_i] + 1);

    pattern_fill(data, sizes[_i], 2);
    scratch_write("a", data, sizes[_i]);
    free(data);
    ck_assert_int_eq(whole_read("a", NULL), 0);
    ck_assert_uint_eq(told.size, sizes[_i]);
    ck_assert(pattern_is(told.data, told.size, 2));
    ck_assert_int_eq(told.data[told.size], 0);
}
END_TEST

/* Goal: what stands in bytes_max fits, and one byte more does not, whether the file tells its size or not. */
START_TEST(read_limit)
{
    const struct loop_whole_options fits = {.bytes_max = sizes[_i]}, less = {.bytes_max = sizes[_i] - 1};
    uint8_t                        *data = malloc(sizes[_i] + 1);

    pattern_fill(data, sizes[_i], 2);
    scratch_write("a", data, sizes[_i]);
    free(data);
    ck_assert_int_eq(whole_read("a", &fits), 0);
    ck_assert_uint_eq(told.size, sizes[_i]);
    if (sizes[_i] > 1)
        ck_assert_int_eq(whole_read("a", &less), -EFBIG);
    ck_assert_int_eq(whole_read("/dev/zero", &fits), -EFBIG);
}
END_TEST

/* Goal: files of /proc, whose size is said to be 0. */
START_TEST(read_proc)
{
    ck_assert_int_eq(whole_read("/proc/self/status", NULL), 0);
    ck_assert_ptr_nonnull(strstr((char *)told.data, "\nPid:\t"));
    ck_assert_int_eq(whole_read("/proc/cpuinfo", NULL), 0);
    ck_assert_uint_gt(told.size, 100);
    ck_assert_int_eq(whole_read("/proc/kallsyms", NULL), 0); /* large, and given in pieces */
    ck_assert_int_eq(whole_read("/dev/null", NULL), 0);
    ck_assert_uint_eq(told.size, 0);
}
END_TEST

/* Goal: holes are zeros, and count. */
START_TEST(read_sparse)
{
    int fd = open("a", O_RDWR | O_CREAT | O_CLOEXEC, 0644);

    ck_assert_int_eq(pwrite(fd, "end", 3, 1 << 20), 3);
    ck_assert_int_eq(whole_read("a", NULL), 0);
    ck_assert_uint_eq(told.size, (1 << 20) + 3);
    ck_assert_int_eq(told.data[5000], 0);
    ck_assert_str_eq((char *)told.data + (1 << 20), "end");
    ck_assert_int_eq(ftruncate(fd, INT64_C(5) << 30), 0);
    ck_assert_int_eq(whole_read("a", NULL), -EFBIG);
    test_close(fd);
}
END_TEST

START_TEST(read_errors)
{
    ck_assert_int_eq(whole_read("missing", NULL), -ENOENT);
    ck_assert_int_eq(whole_read(".", NULL), -EISDIR);
    ck_assert_int_eq(whole_read("/proc/self/mem", NULL), -EIO);
    scratch_write("a", "1", 1);
    ck_assert_int_eq(symlink("a", "link"), 0);
    ck_assert_int_eq(whole_read("link", NULL), 0);
    ck_assert_int_eq(whole_read("link", &(struct loop_whole_options){.resolve = LOOP_PATH_NO_SYMLINKS}), -ELOOP);
    ck_assert_int_eq(whole_read("../a", &(struct loop_whole_options){.resolve = LOOP_PATH_BENEATH}), -EXDEV);
}
END_TEST

/* Goal: data that is given is the user's. */
START_TEST(read_given)
{
    scratch_write("a", "mine", 4);
    ck_assert_int_eq(whole_read("a", &(struct loop_whole_options){.flags = LOOP_WHOLE_GIVE}), 0);
    ck_assert_str_eq((char *)told.given, "mine");
    loop_whole_free(world_loop, told.given);
    loop_whole_free(world_loop, NULL);
}
END_TEST

/* ---- writing */

START_TEST(write_whole)
{
    uint8_t *data = malloc(1 << 20), *found;
    size_t   size;

    pattern_fill(data, 1 << 20, 4);
    ck_assert_int_eq(whole_write("a", data, 1 << 20, &(struct loop_whole_options){.flags = LOOP_WHOLE_SYNC}), 0);
    ck_assert_uint_eq(told.size, 1 << 20);
    ck_assert_int_eq(whole_write("a", data, 5, NULL), 0); /* what was there is gone */
    found = (uint8_t *)scratch_read("a", &size);
    ck_assert_uint_eq(size, 5);
    ck_assert(pattern_is(found, 5, 4));
    free(found);
    ck_assert_int_eq(whole_write("a", data, 5, &(struct loop_whole_options){.flags = LOOP_WHOLE_NEW}), -EEXIST);
    ck_assert_int_eq(whole_write("b", NULL, 0, &(struct loop_whole_options){.flags = LOOP_WHOLE_NEW, .mode = 0600}), 0);
    free(scratch_read("b", &size));
    ck_assert_uint_eq(size, 0);
    free(data);
}
END_TEST

START_TEST(write_errors)
{
    ck_assert_int_eq(whole_write(".", "x", 1, NULL), -EISDIR);
    ck_assert_int_eq(whole_write("missing/a", "x", 1, NULL), -ENOENT);
    ck_assert_int_eq(whole_write("/dev/full", "x", 1, NULL), -ENOSPC);
    ck_assert_uint_eq(told.size, 0);
}
END_TEST

/* Goal: a full disk is told, with the bytes that fit; there is room again afterwards. Method: a small tmpfs. */
START_TEST(no_space)
{
    enum { ROOM = 1 << 20 };
    uint8_t *data = calloc(1, 2 * ROOM);

    if (!scratch_mount("small", ROOM)) {
        free(data);
        test_skip("mounting is not allowed");
        return;
    }
    ck_assert_int_eq(whole_write("small/a", data, 2 * ROOM, NULL), -ENOSPC);
    ck_assert_uint_gt(told.size, ROOM / 2);
    ck_assert_uint_le(told.size, ROOM);
    ck_assert_int_eq(unlink("small/a"), 0);
    ck_assert_int_eq(whole_write("small/a", data, ROOM / 2, NULL), 0);
    free(data);
}
END_TEST

/* ---- ending */

START_TEST(bad_arguments)
{
    struct loop_whole whole = {0};
    char              path[5000];

    memset(path, 'x', sizeof(path));
    path[sizeof(path) - 1] = '\0';
    ck_assert_int_eq(loop_whole_read(world_loop, &whole, AT_FDCWD, NULL, NULL, tell_whole), -EINVAL);
    ck_assert_int_eq(loop_whole_read(world_loop, &whole, AT_FDCWD, "a", NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_whole_read(world_loop, NULL, AT_FDCWD, "a", NULL, tell_whole), -EINVAL);
    ck_assert_int_eq(loop_whole_read(world_loop, &whole, AT_FDCWD, path, NULL, tell_whole), -ENAMETOOLONG);
    ck_assert_int_eq(loop_whole_read(world_loop, &whole, -5, "a", NULL, tell_whole), -EBADF);
    ck_assert_int_eq(loop_whole_read(world_loop, &whole, AT_FDCWD, "a",
                                     &(struct loop_whole_options){.flags = LOOP_WHOLE_NEW}, tell_whole),
                     -EINVAL);
    ck_assert_int_eq(loop_whole_write(world_loop, &whole, AT_FDCWD, "a", NULL, 1, NULL, tell_whole), -EINVAL);
    ck_assert_int_eq(loop_whole_write(world_loop, &whole, AT_FDCWD, "a", "x", 1,
                                      &(struct loop_whole_options){.flags = LOOP_WHOLE_KEEP_MODE}, tell_whole),
                     -EINVAL);
    ck_assert_int_eq(loop_whole_replace(world_loop, &whole, AT_FDCWD, "a/", "x", 1, NULL, tell_whole), -EISDIR);
    ck_assert_int_eq(loop_whole_replace(world_loop, &whole, AT_FDCWD, "a/..", "x", 1, NULL, tell_whole), -EISDIR);
    ck_assert_int_eq(loop_whole_replace(world_loop, &whole, AT_FDCWD, "", "x", 1, NULL, tell_whole), -ENOENT);
    ck_assert_int_eq(loop_whole_cancel(&whole), -ENOENT);
    ck_assert_ptr_null(loop_whole_loop(&(struct loop_whole){0}));
}
END_TEST

/* Goal: cancelled after any number of turns it ends once, well or with -ECANCELED, and a file that is replaced is old
 * or new. Method: reads, writes and replacements, cancelled later and later, until one is done before. */
START_TEST(cancel_at_any_time)
{
    enum { SIZE = 300000 };
    uint8_t *data = malloc(SIZE);
    int      done = 0;

    pattern_fill(data, SIZE, 6);
    for (int turns = 0; turns < 10000 && done < 3; turns++) {
        scratch_write("a", data, SIZE);
        whole_start(_i, "a", data, SIZE, NULL);
        for (int i = 0; i < turns; i++)
            (void)loop_dispatch(world_loop, told.calls == 0 ? LOOP_MILLISECOND / 20 : 0);
        if (told.calls == 0)
            ck_assert_int_eq(loop_whole_cancel(&told.whole), 0);
        else
            done++;
        if (told.calls == 0)
            ck_assert_int_eq(loop_whole_cancel(&told.whole), 0);
        test_run_until(world_loop, &told.calls, 1);
        ck_assert(told.error == 0 || told.error == -ECANCELED);
        ck_assert_int_eq(loop_whole_cancel(&told.whole), -ENOENT);
        if (_i == 2)
            whole_replaced_wholly("a", SIZE, 6);
    }
    ck_assert_int_eq(done, 3);
    free(data);
}
END_TEST

/* The same with the end of the loop. */
START_TEST(destroy_at_any_time)
{
    enum { SIZE = 300000 };
    uint8_t *data = malloc(SIZE);
    int      done = 0;

    pattern_fill(data, SIZE, 6);
    for (int turns = 0; turns < 10000 && done < 3; turns++) {
        scratch_write("a", data, SIZE);
        whole_start(_i, "a", data, SIZE, NULL);
        for (int i = 0; i < turns; i++)
            (void)loop_dispatch(world_loop, told.calls == 0 ? LOOP_MILLISECOND / 20 : 0);
        done += told.calls == 0 ? 0 : 1;
        test_loop_drop(world_loop);
        ck_assert_uint_eq(told.calls, 1);
        ck_assert(told.error == 0 || told.error == -ECANCELED);
        if (_i == 2)
            whole_replaced_wholly("a", SIZE, 6);
        world_loop = test_loop_new(NULL);
    }
    ck_assert_int_eq(done, 3);
    free(data);
}
END_TEST

/* Goal: a deadline ends it. Method: a FIFO that nobody writes to never ends. */
START_TEST(deadline)
{
    int fd;

    ck_assert_int_eq(mkfifo("fifo", 0600), 0);
    fd = open("fifo", O_RDWR | O_CLOEXEC);
    ck_assert_int_eq(whole_read("fifo", &(struct loop_whole_options){.timeout_ns = 5 * LOOP_MILLISECOND}), -ETIMEDOUT);
    test_close(fd);
    scratch_write("a", "1", 1);
    ck_assert_int_eq(whole_read("a", &(struct loop_whole_options){.timeout_ns = 3600 * LOOP_SECOND}), 0);
}
END_TEST

static void read_again(struct loop_whole *whole, int error, void *data, size_t size)
{
    ck_assert_int_eq(error, 0);
    ck_assert_int_eq(loop_whole_read(world_loop, whole, AT_FDCWD, "b", NULL, tell_whole), 0);
    ck_assert_uint_eq(size, 1);
    ck_assert_int_eq(*(char *)data, '1'); /* still lent */
}

START_TEST(again_in_the_callback)
{
    scratch_write("a", "1", 1);
    scratch_write("b", "22", 2);
    memset(&told, 0, sizeof(told));
    ck_assert_int_eq(loop_whole_read(world_loop, &told.whole, AT_FDCWD, "a", NULL, read_again), 0);
    ck_assert_int_eq(loop_whole_read(world_loop, &told.whole, AT_FDCWD, "a", NULL, read_again), -EBUSY);
    test_run_until(world_loop, &told.calls, 1);
    ck_assert_uint_eq(told.size, 2);
}
END_TEST

/* Goal: without memory at any point it ends once with -ENOMEM, and leaves nothing behind. Method: the n-th allocation
 * fails, for each n. */
START_TEST(no_memory)
{
    enum { SIZE = 100000 };
    uint8_t *data = malloc(SIZE);
    uint64_t n;

    pattern_fill(data, SIZE, 6);
    for (n = 1; n < 100; n++) {
        int r;

        scratch_write("a", data, SIZE);
        test_memory.failed = 0;
        test_memory.fail_at = test_memory.calls + n;
        r = whole_start_error(_i, "a", data, SIZE, NULL);
        if (r == 0) {
            test_run_until(world_loop, &told.calls, 1);
            r = told.error;
        }
        test_memory.fail_at = 0;
        ck_assert(r == 0 || r == -ENOMEM);
        if (_i == 2)
            whole_replaced_wholly("a", SIZE, 6);
        if (test_memory.failed == 0)
            break;
    }
    ck_assert_uint_gt(n, 3);
    ck_assert_uint_lt(n, 100);
    free(data);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("whole");
    TCase *reading = test_case(suite, "reading");
    TCase *writing = test_case(suite, "writing");
    TCase *ending = test_case(suite, "ending");

    tcase_add_checked_fixture(reading, world_open, world_close);
    tcase_add_loop_test(reading, read_sizes, 0, (int)TEST_COUNT(sizes));
    tcase_add_loop_test(reading, read_limit, 1, (int)TEST_COUNT(sizes));
    tcase_add_test(reading, read_proc);
    tcase_add_test(reading, read_sparse);
    tcase_add_test(reading, read_errors);
    tcase_add_test(reading, read_given);
    tcase_add_checked_fixture(writing, world_open, world_close);
    tcase_add_test(writing, write_whole);
    tcase_add_test(writing, write_errors);
    tcase_add_test(writing, no_space);
    tcase_add_checked_fixture(ending, world_open, world_close);
    tcase_add_test(ending, bad_arguments);
    tcase_add_loop_test(ending, cancel_at_any_time, 0, 3);
    tcase_add_loop_test(ending, destroy_at_any_time, 0, 3);
    tcase_add_test(ending, deadline);
    tcase_add_test(ending, again_in_the_callback);
    tcase_add_loop_test(ending, no_memory, 0, 3);
    return suite;
}
