/* tests/fs/file_test.c: file objects: opening, reading, writing, sizes, errors, on a real file system. */
#include "tests/fs/file_world.h"

#include <linux/falloc.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

static struct loop_file file;

/* ---- opening */

/* Goal: a file that is made, written, read and closed. Method: the content is looked at without the library. */
START_TEST(write_then_read)
{
    char   data[8] = "";
    char  *found;
    size_t size;

    file_open(&file, "a", O_RDWR | O_CREAT | O_EXCL, NULL);
    ck_assert_int_ge(loop_file_fd(&file), 0);
    ck_assert_int_ne(fcntl(loop_file_fd(&file), F_GETFD) & FD_CLOEXEC, 0);
    ck_assert_ptr_eq(loop_file_loop(&file), world_loop);
    file_write_is(&file, "test", 4, 0, 0, 4);
    file_write_is(&file, "er", 2, 4, 0, 2);
    file_read_is(&file, data, 4, 1, 0, 4);
    ck_assert_str_eq(data, "este");
    ck_assert(!loop_file_closing(&file));
    ck_assert_int_eq(file_close(&file), 0);
    found = scratch_read("a", &size);
    ck_assert_uint_eq(size, 6);
    ck_assert_str_eq(found, "tester");
    free(found);
}
END_TEST

/* Goal: open(2)'s errors come by on_open, and the file is still to be closed. */
START_TEST(open_errors)
{
    char path[300];

    memset(path, 'x', sizeof(path));
    path[sizeof(path) - 1] = '\0';
    scratch_write("there", "1", 1);
    ck_assert_int_eq(symlink("loop", "loop"), 0);
    ck_assert_int_eq(file_open_error(&file, AT_FDCWD, "missing", O_RDONLY, NULL), -ENOENT);
    ck_assert_int_eq(file_open_error(&file, AT_FDCWD, "there", O_RDWR | O_CREAT | O_EXCL, NULL), -EEXIST);
    ck_assert_int_eq(file_open_error(&file, AT_FDCWD, "there/x", O_RDONLY, NULL), -ENOTDIR);
    ck_assert_int_eq(file_open_error(&file, AT_FDCWD, ".", O_RDWR, NULL), -EISDIR);
    ck_assert_int_eq(file_open_error(&file, AT_FDCWD, "loop", O_RDONLY, NULL), -ELOOP);
    ck_assert_int_eq(file_open_error(&file, AT_FDCWD, path, O_RDONLY, NULL), -ENAMETOOLONG);
    ck_assert_int_eq(file_open_error(&file, AT_FDCWD, "", O_RDONLY, NULL), -ENOENT);
}
END_TEST

/* Goal: what makes no sense is refused by the call, which then leaves the file as it was. */
START_TEST(bad_arguments)
{
    char path[5000];
    int  r;

    memset(path, 'x', sizeof(path));
    path[sizeof(path) - 1] = '\0';
    memset(&file, 0, sizeof(file));
    r = loop_file_open(world_loop, &file, AT_FDCWD, NULL, O_RDONLY, 0, NULL, note_event);
    ck_assert_int_eq(r, -EINVAL);
    ck_assert_int_eq(loop_file_open(world_loop, &file, AT_FDCWD, "a", O_RDONLY, 0, NULL, NULL), -EINVAL);
    r = loop_file_open(world_loop, &file, AT_FDCWD, path, O_RDONLY, 0, NULL, note_event);
    ck_assert_int_eq(r, -ENAMETOOLONG);
    ck_assert_int_eq(loop_file_open(world_loop, &file, -5, "a", O_RDONLY, 0, NULL, note_event), -EBADF);
    r = loop_file_open(world_loop, &file, AT_FDCWD, "a", O_RDONLY, 0, &(struct loop_file_options){.flags = 1u << 20},
                       note_event);
    ck_assert_int_eq(r, -EINVAL);
    r = loop_file_open(world_loop, &file, AT_FDCWD, "a", O_RDONLY, 0, &(struct loop_file_options){.resolve = 1u << 9},
                       note_event);
    ck_assert_int_eq(r, -EINVAL);
    ck_assert_int_eq(loop_file_adopt(world_loop, &file, -1, NULL), -EBADF);
    ck_assert_int_eq(loop_file_adopt(world_loop, &file, 999, NULL), -EBADF);
    ck_assert_int_eq(loop_file_adopt(world_loop, &file, LOOP_FIXED(0), NULL), -EBADF);
    ck_assert_int_eq(loop_file_read(&file, path, 1, 0, 0, note_cb, NULL), -EINVAL);
    ck_assert_int_eq(loop_file_sync(&file, note_cb, NULL), -EINVAL);
    ck_assert_int_eq(loop_file_cancel_all(&file), -EINVAL);
    ck_assert_int_eq(loop_file_fd(&file), -EBADF);
    loop_file_close(&file, note_event); /* does nothing */
    test_turns(world_loop, 2);
}
END_TEST

/* The same of operations on a file that is open. */
START_TEST(bad_operations)
{
    struct iovec iov = {.iov_base = NULL, .iov_len = 1};
    char         byte = 0;

    file_open(&file, "a", O_RDWR | O_CREAT, NULL);
    ck_assert_int_eq(loop_file_adopt(world_loop, &file, 0, NULL), -EBUSY);
    ck_assert_int_eq(loop_file_read(&file, NULL, 1, 0, 0, note_cb, NULL), -EINVAL);
    ck_assert_int_eq(loop_file_read(&file, &byte, 1, LOOP_FILE_END, 0, note_cb, NULL), -EINVAL);
    ck_assert_int_eq(loop_file_write(&file, &byte, 1, -3, 0, note_cb, NULL), -EINVAL);
    ck_assert_int_eq(loop_file_write(&file, &byte, 1, 0, 1u << 4, note_cb, NULL), -EINVAL);
    ck_assert_int_eq(loop_file_write(&file, &byte, 2, INT64_MAX - 1, 0, note_cb, NULL), -EINVAL);
    ck_assert_int_eq(loop_file_writev(&file, &iov, 1, 0, 0, note_cb, NULL), -EINVAL);
    ck_assert_int_eq(loop_file_readv(&file, NULL, 1, 0, 0, note_cb, NULL), -EINVAL);
    ck_assert_int_eq(loop_file_readv(&file, &iov, LOOP_FILE_PIECES_MAX + 1, 0, 0, note_cb, NULL), -EINVAL);
    ck_assert_int_eq(loop_file_truncate(&file, -1, note_cb, NULL), -EINVAL);
    ck_assert_int_eq(loop_file_allocate(&file, 0, 0, 0, note_cb, NULL), -EINVAL);
    ck_assert_int_eq(loop_file_seek(&file, 0, 17, note_cb, NULL), -EINVAL);
    ck_assert_int_eq(loop_file_stat(&file, 0, NULL, note_cb, NULL), -EINVAL);
    ck_assert_int_eq(loop_file_alignment_get(&file, NULL, note_cb, NULL), -EINVAL);
    ck_assert_int_eq(file_close(&file), 0);
}
END_TEST

/* Goal: while it is being opened nothing can be done with it but to close it. */
START_TEST(not_yet_open)
{
    struct note opened = {0}, closed = {0};
    char        byte;

    memset(&file, 0, sizeof(file));
    scratch_write("a", "1", 1);
    file.data = &opened;
    ck_assert_int_eq(loop_file_open(world_loop, &file, AT_FDCWD, "a", O_RDONLY, 0, NULL, note_event), 0);
    ck_assert_int_eq(loop_file_read(&file, &byte, 1, 0, 0, note_cb, NULL), -EBADF);
    ck_assert_int_eq(loop_file_fd(&file), -EBADF);
    ck_assert_uint_eq(opened.calls, 0);
    loop_file_close(&file, note_event);
    loop_file_close(&file, NULL);
    ck_assert(loop_file_closing(&file));
    test_run_until(world_loop, &opened.calls, 1);
    ck_assert_int_eq(opened.error, -ECANCELED);
    file.data = &closed;
    test_run(world_loop);
    ck_assert_uint_eq(closed.calls, 1);
}
END_TEST

/* Goal: a path of a stranger's does not lead out of a directory. Method: "..", links and absolute paths, with and
 * without. */
START_TEST(paths_of_strangers)
{
    const struct loop_file_options beneath = {.resolve = LOOP_PATH_BENEATH};
    const struct loop_file_options in_root = {.resolve = LOOP_PATH_IN_ROOT};
    const struct loop_file_options no_links = {.resolve = LOOP_PATH_NO_SYMLINKS};
    const struct loop_file_options no_magic = {.resolve = LOOP_PATH_NO_MAGICLINKS};
    const struct loop_file_options no_xdev = {.resolve = LOOP_PATH_NO_XDEV};
    char                           absolute[SCRATCH_PATH_MAX + 8], magic[64];
    int                            dir;

    ck_assert_int_eq(mkdir("root", 0755), 0);
    scratch_write("secret", "s", 1);
    scratch_write("root/public", "p", 1);
    ck_assert_int_eq(symlink("../secret", "root/up"), 0);
    ck_assert_int_eq(symlink("public", "root/link"), 0);
    ck_assert_int_eq(symlink("/public", "root/rooted"), 0);
    (void)snprintf(absolute, sizeof(absolute), "%s/secret", scratch_path());
    dir = open("root", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ck_assert_int_ge(dir, 0);
    (void)snprintf(magic, sizeof(magic), "/proc/self/fd/%d/public", dir);

    ck_assert_int_eq(file_open_error(&file, dir, "../secret", O_RDONLY, NULL), 0);
    ck_assert_int_eq(file_close(&file), 0);
    ck_assert_int_eq(file_open_error(&file, dir, "../secret", O_RDONLY, &beneath), -EXDEV);
    ck_assert_int_eq(file_open_error(&file, dir, "up", O_RDONLY, &beneath), -EXDEV);
    ck_assert_int_eq(file_open_error(&file, dir, absolute, O_RDONLY, &beneath), -EXDEV);
    ck_assert_int_eq(file_open_error(&file, dir, "../root/public", O_RDONLY, &beneath), -EXDEV);
    ck_assert_int_eq(file_open_error(&file, dir, "link", O_RDONLY, &beneath), 0);
    ck_assert_int_eq(file_close(&file), 0);
    ck_assert_int_eq(file_open_error(&file, dir, "new", O_WRONLY | O_CREAT | O_EXCL, &beneath), 0);
    ck_assert_int_eq(file_close(&file), 0);
    ck_assert_int_eq(file_open_error(&file, dir, "up", O_RDONLY, &in_root), -ENOENT);
    ck_assert_int_eq(file_open_error(&file, dir, "/../../rooted", O_RDONLY, &in_root), 0);
    ck_assert_int_eq(file_close(&file), 0);
    ck_assert_int_eq(file_open_error(&file, dir, "link", O_RDONLY, &no_links), -ELOOP);
    ck_assert_int_eq(file_open_error(&file, AT_FDCWD, magic, O_RDONLY, NULL), 0);
    ck_assert_int_eq(file_close(&file), 0);
    ck_assert_int_eq(file_open_error(&file, AT_FDCWD, magic, O_RDONLY, &no_magic), -ELOOP);
    ck_assert_int_eq(file_open_error(&file, AT_FDCWD, "/proc/self/status", O_RDONLY, &no_xdev), -EXDEV);
    test_close(dir);
}
END_TEST

/* Goal: flags of open(2) mean what they say. */
START_TEST(open_flags)
{
    char   byte;
    char  *found;
    size_t size;

    scratch_write("a", "1234", 4);
    file_open(&file, "a", O_RDONLY, NULL);
    file_write_is(&file, "x", 1, 0, -EBADF, 0);
    ck_assert_int_eq(file_close(&file), 0);
    file_open(&file, "a", O_WRONLY, NULL);
    file_read_is(&file, &byte, 1, 0, -EBADF, 0);
    file_write_is(&file, "x", 1, 1, 0, 1);
    ck_assert_int_eq(file_close(&file), 0);
    found = scratch_read("a", &size);
    ck_assert_str_eq(found, "1x34");
    free(found);
    file_open(&file, "a", O_RDWR | O_TRUNC, NULL);
    file_read_is(&file, &byte, 1, 0, 0, 0);
    ck_assert_int_eq(file_close(&file), 0);
}
END_TEST

/* Goal: an adopted descriptor is used and closed, or, with the flag, given back. */
START_TEST(adopt)
{
    int  fd = open("a", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    char data[3] = "";

    memset(&file, 0, sizeof(file));
    ck_assert_int_eq(loop_file_adopt(world_loop, &file, fd, &(struct loop_file_options){.flags = LOOP_FILE_KEEP_FD}),
                     0);
    file_write_is(&file, "ab", 2, 0, 0, 2);
    ck_assert_int_eq(file_close(&file), 0);
    ck_assert_int_eq(pread(fd, data, 2, 0), 2);
    ck_assert_str_eq(data, "ab");
    ck_assert_int_eq(loop_file_adopt(world_loop, &file, fd, NULL), 0);
    ck_assert_int_eq(loop_file_fd(&file), fd);
    ck_assert_int_eq(file_close(&file), 0);
    ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
}
END_TEST

/* Goal: the standard descriptors can be used, and stay open. */
START_TEST(standard_descriptors)
{
    struct statx stat;

    for (int fd = 0; fd <= 2; fd++) {
        struct note note = {0};

        memset(&file, 0, sizeof(file));
        ck_assert_int_eq(loop_file_adopt(world_loop, &file, fd, NULL), 0);
        ck_assert_int_eq(loop_file_stat(&file, STATX_BASIC_STATS, &stat, note_cb, &note), 0);
        note_is(&note, 0, 0);
        ck_assert_uint_ne(stat.stx_mode & S_IFMT, 0);
        ck_assert_int_eq(file_close(&file), 0);
        ck_assert_int_ge(fcntl(fd, F_GETFD), 0);
    }
}
END_TEST

/* Goal: a directory can be opened, and synced, but not read. */
START_TEST(directory)
{
    struct note synced = {0};
    char        byte;

    file_open(&file, ".", O_RDONLY | O_DIRECTORY, NULL);
    file_read_is(&file, &byte, 1, 0, -EISDIR, 0);
    ck_assert_int_eq(loop_file_sync(&file, note_cb, &synced), 0);
    note_is(&synced, 0, 0);
    ck_assert_int_eq(file_close(&file), 0);
}
END_TEST

/* ---- reading and writing */

/* Goal: a read goes on until all is there or the end comes; with LOOP_FILE_SOME one system call is enough. Method:
 * a file of /proc, which is given in pieces. */
START_TEST(short_reads)
{
    enum { SIZE = 1 << 20 };
    struct note note = {0};
    char       *all = malloc(SIZE);
    uint64_t    whole;
    int         fd = open("/proc/kallsyms", O_RDONLY | O_CLOEXEC);
    ssize_t     once = fd < 0 ? 0 : read(fd, all, SIZE);

    if (fd >= 0)
        close(fd);
    if (once <= 0 || once >= SIZE) {
        free(all);
        test_skip("no file of /proc is read in pieces here");
        return;
    }
    file_open(&file, "/proc/kallsyms", O_RDONLY, NULL);
    ck_assert_int_eq(loop_file_read(&file, all, SIZE, 0, 0, note_cb, &note), 0);
    test_run_until(world_loop, &note.calls, 1);
    ck_assert_int_eq(note.error, 0);
    whole = note.count;
    ck_assert_uint_gt(whole, (uint64_t)once);
    note = (struct note){0};
    ck_assert_int_eq(loop_file_read(&file, all, SIZE, 0, LOOP_FILE_SOME, note_cb, &note), 0);
    test_run_until(world_loop, &note.calls, 1);
    ck_assert_int_eq(note.error, 0);
    ck_assert_uint_gt(note.count, 0);
    ck_assert_uint_lt(note.count, whole);
    ck_assert_int_eq(file_close(&file), 0);
    free(all);
}
END_TEST

/* Goal: the end of a file is no error, at it or before it; neither is a size of 0. */
START_TEST(end_of_file)
{
    char data[16];

    scratch_write("a", "12345", 5);
    file_open(&file, "a", O_RDWR, NULL);
    file_read_is(&file, data, sizeof(data), 0, 0, 5);
    file_read_is(&file, data, sizeof(data), 3, 0, 2);
    file_read_is(&file, data, sizeof(data), 5, 0, 0);
    file_read_is(&file, data, sizeof(data), INT64_C(1) << 40, 0, 0);
    file_read_is(&file, NULL, 0, 0, 0, 0);
    file_write_is(&file, NULL, 0, 0, 0, 0);
    ck_assert_int_eq(file_close(&file), 0);
}
END_TEST

/* Goal: vectored, and with more pieces than a system call takes; empty ones among them. */
START_TEST(many_pieces)
{
    enum { PIECES = 3000, BYTES = 7 };
    static uint8_t      out[PIECES * BYTES], in[PIECES * BYTES];
    static struct iovec iov[PIECES + 2];
    struct note         note = {0};

    pattern_fill(out, sizeof(out), 1);
    for (int i = 0; i < PIECES; i++)
        iov[i + 2] = (struct iovec){out + i * BYTES, BYTES};
    iov[0] = iov[1] = (struct iovec){NULL, 0};
    file_open(&file, "a", O_RDWR | O_CREAT, NULL);
    ck_assert_int_eq(loop_file_writev(&file, iov, PIECES + 2, 5, 0, note_cb, &note), 0);
    memset(iov, 0xff, sizeof(iov)); /* it was copied */
    note_is(&note, 0, sizeof(out));
    for (int i = 0; i < PIECES; i++)
        iov[i] = (struct iovec){in + i * BYTES, BYTES};
    note = (struct note){0};
    ck_assert_int_eq(loop_file_readv(&file, iov, PIECES, 5, 0, note_cb, &note), 0);
    note_is(&note, 0, sizeof(in));
    ck_assert(pattern_is(in, sizeof(in), 1));
    note = (struct note){0};
    ck_assert_int_eq(loop_file_readv(&file, iov, PIECES, 5 + BYTES, 0, note_cb, &note), 0);
    note_is(&note, 0, sizeof(in) - BYTES);
    note = (struct note){0};
    ck_assert_int_eq(loop_file_writev(&file, NULL, 0, 0, 0, note_cb, &note), 0);
    note_is(&note, 0, 0);
    ck_assert_int_eq(file_close(&file), 0);
}
END_TEST

/* Goal: offsets beyond 4 GiB, holes and data. Method: 3 bytes at 5 GiB of a sparse file. */
START_TEST(beyond_five_gib)
{
    const int64_t far = INT64_C(5) << 30;
    struct note   hole = {0}, data = {0}, size = {0}, none = {0};
    char          found[4] = "";

    file_open(&file, "a", O_RDWR | O_CREAT, NULL);
    file_write_is(&file, "far", 3, far, 0, 3);
    file_read_is(&file, found, 3, far, 0, 3);
    ck_assert_str_eq(found, "far");
    file_read_is(&file, found, 3, far - (INT64_C(4) << 30), 0, 3); /* what 32 bits would make of it */
    ck_assert_int_eq(memcmp(found, "\0\0\0", 3), 0);
    ck_assert_int_eq(loop_file_seek(&file, 0, SEEK_DATA, note_cb, &data), 0);
    ck_assert_int_eq(loop_file_seek(&file, 0, SEEK_HOLE, note_cb, &hole), 0);
    ck_assert_int_eq(loop_file_seek(&file, far + 100, SEEK_DATA, note_cb, &none), 0);
    ck_assert_int_eq(loop_file_size(&file, note_cb, &size), 0);
    note_is(&hole, 0, 0);
    note_is(&none, -ENXIO, 0);
    note_is(&size, 0, (uint64_t)far + 3);
    ck_assert_int_eq(data.error, 0);
    ck_assert_uint_le(data.count, (uint64_t)far);
    ck_assert_uint_gt(data.count, (uint64_t)far - (1 << 20));
    ck_assert_int_eq(file_close(&file), 0);
}
END_TEST

/* Goal: many in flight end once each, with what is theirs. Method: blocks of a pattern each, written and then read in
 * one turn. */
START_TEST(many_in_flight)
{
    enum { COUNT = 256, BYTES = 4096 };
    static struct note notes[COUNT];
    uint8_t           *data = malloc(COUNT * BYTES);

    file_open(&file, "a", O_RDWR | O_CREAT, NULL);
    for (uint32_t i = 0; i < COUNT; i++) {
        pattern_fill(data + i * BYTES, BYTES, i);
        ck_assert_int_eq(loop_file_write(&file, data + i * BYTES, BYTES, i * BYTES, 0, note_cb, &notes[i]), 0);
    }
    test_run(world_loop);
    for (uint32_t i = 0; i < COUNT; i++)
        note_is(&notes[i], 0, BYTES);
    memset(data, 0, COUNT * BYTES);
    memset(notes, 0, sizeof(notes));
    for (uint32_t i = 0; i < COUNT; i++)
        ck_assert_int_eq(loop_file_read(&file, data + i * BYTES, BYTES, i * BYTES, 0, note_cb, &notes[i]), 0);
    test_run(world_loop);
    for (uint32_t i = 0; i < COUNT; i++) {
        note_is(&notes[i], 0, BYTES);
        ck_assert(pattern_is(data + i * BYTES, BYTES, i));
    }
    ck_assert_int_eq(file_close(&file), 0);
    free(data);
}
END_TEST

/* Goal: a write without a callback is a write, and its failure is counted. */
START_TEST(without_a_callback)
{
    struct note size = {0};

    file_open(&file, "a", O_RDWR | O_CREAT, NULL);
    ck_assert_int_eq(loop_file_write(&file, "abc", 3, 0, 0, NULL, NULL), 0);
    test_run(world_loop);
    ck_assert_int_eq(loop_file_size(&file, note_cb, &size), 0);
    note_is(&size, 0, 3);
    ck_assert_int_eq(file_close(&file), 0);
    file_open(&file, "a", O_RDONLY, NULL);
    ck_assert_int_eq(loop_file_write(&file, "abc", 3, 0, 0, NULL, NULL), 0);
    test_run(world_loop);
    ck_assert_uint_eq(test_stats(world_loop).silent_errors, 1);
    ck_assert_int_eq(file_close(&file), 0);
}
END_TEST

/* ---- truncating, stat and others */

START_TEST(truncate_and_allocate)
{
    struct note  grown = {0}, cut = {0}, allocated = {0}, size = {0};
    struct statx stat;
    char         data[8];

    file_open(&file, "a", O_RDWR | O_CREAT, NULL);
    file_write_is(&file, "12345678", 8, 0, 0, 8);
    ck_assert_int_eq(loop_file_truncate(&file, 4, note_cb, &cut), 0);
    note_is(&cut, 0, 0);
    ck_assert_int_eq(loop_file_truncate(&file, 6, note_cb, &grown), 0);
    note_is(&grown, 0, 0);
    file_read_is(&file, data, 8, 0, 0, 6);
    ck_assert_int_eq(memcmp(data, "1234\0\0", 6), 0);
    ck_assert_int_eq(loop_file_allocate(&file, FALLOC_FL_KEEP_SIZE, 0, 1 << 20, note_cb, &allocated), 0);
    note_is(&allocated, 0, 0);
    ck_assert_int_eq(loop_file_stat(&file, STATX_BASIC_STATS, &stat, note_cb, &size), 0);
    note_is(&size, 0, 0);
    ck_assert_uint_eq(stat.stx_size, 6);
    ck_assert_uint_ge(stat.stx_blocks, (1 << 20) / 512);
    ck_assert(S_ISREG(stat.stx_mode));
    ck_assert_int_eq(file_close(&file), 0);
}
END_TEST

/* Goal: a loop that may start few operations says so, by the call or by the callback, and closes all the same. */
START_TEST(restricted_loop)
{
    static const uint8_t           opcodes[] = {LOOP_OP_OPENAT, LOOP_OP_WRITE};
    const struct loop_restrictions list = {.opcodes = opcodes, .opcodes_count = TEST_COUNT(opcodes)};
    const struct loop_options      options = {.modes = {.restrictions = &list}};
    struct note                    synced = {0};
    char                           byte;

    test_loop_free(world_loop);
    world_loop = test_loop_new(&options);
    file_open(&file, "a", O_RDWR | O_CREAT, &(struct loop_file_options){.flags = LOOP_FILE_SYNC_CLOSE});
    if (test_has_opcode(world_loop, 55)) /* IORING_OP_FTRUNCATE; without it truncating is nothing of the ring's */
        ck_assert_int_eq(loop_file_truncate(&file, 100, note_cb, NULL), -EACCES);
    ck_assert_int_eq(loop_file_read(&file, &byte, 1, 0, 0, note_cb, NULL), -EACCES);
    file_write_is(&file, "a", 1, 0, 0, 1);
    ck_assert_int_eq(loop_file_sync(&file, note_cb, &synced), 0);
    note_is(&synced, -EACCES, 0);
    ck_assert_int_eq(file_close(&file), 0);
}
END_TEST

/* Goal: O_DIRECT with the alignment that the file system tells. */
START_TEST(direct)
{
    struct loop_file_alignment alignment = {0};
    struct note                note = {0};
    void                      *memory = NULL;
    size_t                     size;

    if (file_open_error(&file, AT_FDCWD, "a", O_RDWR | O_CREAT | O_DIRECT, NULL) == -EINVAL) {
        test_skip("this file system has no O_DIRECT");
        return;
    }
    ck_assert_int_eq(loop_file_alignment_get(&file, &alignment, note_cb, &note), 0);
    test_run_until(world_loop, &note.calls, 1);
    if (note.error == -EOPNOTSUPP) {
        ck_assert_int_eq(file_close(&file), 0);
        test_skip("this file system does not tell its alignment");
        return;
    }
    ck_assert_int_eq(note.error, 0);
    size = alignment.offset_bytes * 4;
    ck_assert_int_eq(posix_memalign(&memory, alignment.memory_bytes < 64 ? 64 : alignment.memory_bytes, size), 0);
    pattern_fill(memory, size, 5);
    file_write_is(&file, memory, size, alignment.offset_bytes, 0, size);
    memset(memory, 0, size);
    file_read_is(&file, memory, size, alignment.offset_bytes, 0, size);
    ck_assert(pattern_is(memory, size, 5));
    file_read_is(&file, memory, size, 1, -EINVAL, 0);
    file_read_is(&file, memory, size, alignment.offset_bytes * 2, 0, size - alignment.offset_bytes);
    ck_assert_int_eq(ftruncate(loop_file_fd(&file), alignment.offset_bytes + 100), 0); /* an end at no such place */
    file_read_is(&file, memory, size, 0, 0, alignment.offset_bytes + 100);
    file_read_is(&file, memory, size, alignment.offset_bytes, 0, 100);
    free(memory);
    ck_assert_int_eq(file_close(&file), 0);
    file_open(&file, "/proc/self/status", O_RDONLY, NULL);
    note = (struct note){0};
    ck_assert_int_eq(loop_file_alignment_get(&file, &alignment, note_cb, &note), 0);
    note_is(&note, -EOPNOTSUPP, 0);
    ck_assert_int_eq(file_close(&file), 0);
}
END_TEST

/* The descriptor of a block device that lies on a file, or -1 where that is not allowed. */
static int device_open(int file_fd)
{
    int  control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), number, fd;
    char name[32];

    if (control < 0)
        return -1;
    number = ioctl(control, LOOP_CTL_GET_FREE);
    close(control);
    if (number < 0)
        return -1;
    (void)snprintf(name, sizeof(name), "/dev/loop%d", number);
    fd = open(name, O_RDWR | O_CLOEXEC);
    if (fd >= 0 && ioctl(fd, LOOP_SET_FD, file_fd) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

/* Goal: the size of a block device, which stat(2) says to be 0; and it is read to there. */
START_TEST(block_device)
{
    struct note note = {0};
    int         backing = open("backing", O_RDWR | O_CREAT | O_CLOEXEC, 0600), fd;
    char        bytes[1024];

    ck_assert_int_eq(ftruncate(backing, 3 << 20), 0);
    fd = device_open(backing);
    close(backing);
    if (fd < 0)
        return;
    ck_assert_int_eq(loop_file_adopt(world_loop, &file, fd, NULL), 0);
    ck_assert_int_eq(loop_file_size(&file, note_cb, &note), 0);
    note_is(&note, 0, 3 << 20);
    file_read_is(&file, bytes, sizeof(bytes), (3 << 20) - 512, 0, 512);
    ck_assert_int_eq(ioctl(fd, LOOP_CLR_FD, 0), 0);
    ck_assert_int_eq(file_close(&file), 0);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("file");
    TCase *opening = test_case(suite, "opening");
    TCase *transfer = test_case(suite, "transfer");
    TCase *others = test_case(suite, "others");

    tcase_add_checked_fixture(opening, world_open, world_close);
    tcase_add_test(opening, write_then_read);
    tcase_add_test(opening, open_errors);
    tcase_add_test(opening, bad_arguments);
    tcase_add_test(opening, bad_operations);
    tcase_add_test(opening, not_yet_open);
    tcase_add_test(opening, paths_of_strangers);
    tcase_add_test(opening, open_flags);
    tcase_add_test(opening, adopt);
    tcase_add_test(opening, standard_descriptors);
    tcase_add_test(opening, directory);
    tcase_add_checked_fixture(transfer, world_open, world_close);
    tcase_add_test(transfer, short_reads);
    tcase_add_test(transfer, end_of_file);
    tcase_add_test(transfer, many_pieces);
    tcase_add_test(transfer, beyond_five_gib);
    tcase_add_test(transfer, many_in_flight);
    tcase_add_test(transfer, without_a_callback);
    tcase_add_checked_fixture(others, world_open, world_close);
    tcase_add_test(others, truncate_and_allocate);
    tcase_add_test(others, restricted_loop);
    tcase_add_test(others, direct);
    tcase_add_test(others, block_device);
    return suite;
}
