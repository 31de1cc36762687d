/* tests/loop/op_path_test.c: operations on paths. What holds for each of them alike is in op_table_test.c and
 * op_block_test.c. */
#include "tests/loop/op_single.h"

#include <sys/syscall.h>
#include <sys/xattr.h>

static int in; /* the world's directory */

static void path_setup(void)
{
    setup();
    in = world->directory;
}

/* A path that is overwritten when the call has returned. */
static const char *path(const char *name)
{
    return strcpy(world->args.path, name);
}

static const char *second(const char *name)
{
    return strcpy(world->args.second, name);
}

static bool is_there(const char *name)
{
    return faccessat(in, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* ---- arguments */

/* All calls with their path arguments; which: the directories, the paths. */
static loop_id call(int number, int dirfd, const char *name)
{
    static struct statx          statx;
    static const struct open_how how = {.flags = O_RDONLY};
    bool                         two = number >= 100;

    switch (number % 100) {
    case 0: return loop_openat(loop, dirfd, name, 0, 0, NEVER);
    case 1: return loop_openat2(loop, dirfd, name, &how, sizeof(how), NEVER);
    case 2: return loop_statx(loop, dirfd, name, 0, STATX_ALL, &statx, NEVER);
    case 3: return loop_unlinkat(loop, dirfd, name, 0, NEVER);
    case 4: return loop_mkdirat(loop, dirfd, name, 0, NEVER);
    case 5: return loop_symlinkat(loop, "target", dirfd, name, NEVER);
    case 6:
        return two ? loop_renameat(loop, in, "file", dirfd, name, 0, NEVER)
                   : loop_renameat(loop, dirfd, name, in, "file", 0, NEVER);
    case 7:
        return two ? loop_linkat(loop, in, "file", dirfd, name, 0, NEVER)
                   : loop_linkat(loop, dirfd, name, in, "other", 0, NEVER);
    default: return 0;
    }
}

static const int calls[] = {0, 1, 2, 3, 4, 5, 6, 7, 106, 107};

/* Goal: bad directories and paths are answered at once by each. Method: registered files and negative descriptors, NULL
 * and paths that are too long; also in a chain, which then is dropped. */
START_TEST(bad_paths)
{
    char longest[PATH_MAX + 1];

    memset(longest, 'x', PATH_MAX);
    longest[PATH_MAX] = '\0';
    for (size_t i = 0; i < TEST_COUNT(calls); i++) {
        refused(call(calls[i], LOOP_FIXED(0), "file"), -EBADF);
        refused(call(calls[i], LOOP_FIXED(in), "file"), -EBADF);
        refused(call(calls[i], -1, "file"), -EBADF);
        refused(call(calls[i], INT_MIN, "file"), -EBADF);
        refused(call(calls[i], in, NULL), -EINVAL);
        refused(call(calls[i], in, longest), -ENAMETOOLONG);

        ck_assert_int_eq(loop_chain_begin(loop, 2, 0), 0);
        ck_assert_int_gt(loop_nop(loop, NEVER), 0);
        ck_assert_int_eq(call(calls[i], LOOP_FIXED(0), "file"), -EBADF);
        ck_assert_int_eq(loop_chain_end(loop), -EBADF);
    }
    test_run(loop);
    ck_assert(is_there("file"));
}
END_TEST

/* Goal: the other arguments that make no sense are answered at once. */
START_TEST(bad_arguments)
{
    struct open_how how = {.flags = O_RDONLY};
    char            value[4];

    refused(loop_symlinkat(loop, NULL, in, "x", NEVER), -EINVAL);
    refused(loop_openat2(loop, in, "file", NULL, sizeof(how), NEVER), -EINVAL);
    refused(loop_openat2(loop, in, "file", &how, sizeof(how) - 1, NEVER), -EINVAL);
    refused(loop_openat2(loop, in, "file", &how, 0, NEVER), -EINVAL);
    refused(loop_openat2(loop, in, "file", &how, 65, NEVER), -E2BIG);
    refused(loop_openat2(loop, in, "file", &how, SIZE_MAX, NEVER), -E2BIG);
    refused(loop_statx(loop, in, "file", 0, STATX_ALL, NULL, NEVER), -EINVAL);
    refused(loop_setxattr(loop, NULL, "user.x", value, 4, 0, NEVER), -EINVAL);
    refused(loop_setxattr(loop, "file", NULL, value, 4, 0, NEVER), -EINVAL);
    refused(loop_setxattr(loop, "file", "user.x", NULL, 4, 0, NEVER), -EINVAL);
    refused(loop_setxattr(loop, "file", "user.x", value, (size_t)INT_MAX + 1, 0, NEVER), -EINVAL);
    refused(loop_fsetxattr(loop, -1, "user.x", value, 4, 0, NEVER), -EBADF);
    refused(loop_fsetxattr(loop, world->file, NULL, value, 4, 0, NEVER), -EINVAL);
    refused(loop_getxattr(loop, NULL, "user.x", value, 4, NEVER), -EINVAL);
    refused(loop_getxattr(loop, "file", "user.x", NULL, 4, NEVER), -EINVAL);
    refused(loop_fgetxattr(loop, -1, "user.x", value, 4, NEVER), -EBADF);
    refused(loop_fgetxattr(loop, world->file, "user.x", NULL, 4, NEVER), -EINVAL);
    ck_assert_int_eq(result(loop_fgetxattr(loop, LOOP_FIXED(world->file), "user.x", value, 4, LOGGED)), -EBADF);
    ck_assert_int_eq(result(loop_fsetxattr(loop, LOOP_FIXED(world->file), "user.x", value, 4, 0, LOGGED)), -EBADF);
}
END_TEST

/* ---- opening */

/* Goal: flags and modes are those of openat(2); results are close-on-exec. Method: each set of flags by both calls,
 * compared with what the plain call gives. */
START_TEST(open_flags)
{
    static const struct {
        const char *name;
        int         flags;
    } table[] = {
        {"file", O_RDONLY},
        {"file", O_RDWR | O_APPEND},
        {"file", O_WRONLY | O_TRUNC},
        {"file", O_PATH},
        {"file", O_RDONLY | O_DIRECTORY},
        {"file", O_CREAT | O_EXCL | O_RDWR},
        {"new", O_CREAT | O_RDWR},
        {".", O_DIRECTORY | O_RDONLY},
        {".", O_RDWR},
        {".", O_TMPFILE | O_RDWR},
        {"missing/file", O_RDONLY},
        {"file/file", O_RDONLY},
        {"", O_RDONLY},
        {"file", O_RDONLY | O_NONBLOCK},
        {"symlink", O_RDONLY | O_NOFOLLOW},
        {"symlink", O_RDONLY},
        {"dangling", O_RDONLY},
        {"file", O_RDONLY | O_CLOEXEC},
    };

    ck_assert_int_eq(symlinkat("file", in, "symlink"), 0);
    ck_assert_int_eq(symlinkat("nowhere", in, "dangling"), 0);
    for (size_t i = 0; i < TEST_COUNT(table); i++) {
        for (int two = 0; two < 2; two++) {
            int     expected, flags = table[i].flags;
            mode_t  mode = (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE ? 0640 : 0;
            int32_t fd;

            unlinkat(in, "new", 0);
            expected = openat(in, table[i].name, flags | O_CLOEXEC, mode);
            expected = expected < 0 ? -errno : world_fd(world, expected);
            unlinkat(in, "new", 0);
            world->args.how = (struct open_how){.flags = (unsigned)flags, .mode = mode};
            fd = result(
                two ? loop_openat2(loop, in, path(table[i].name), &world->args.how, sizeof(struct open_how), LOGGED)
                    : loop_openat(loop, in, path(table[i].name), flags, mode, LOGGED));
            if (expected < 0) {
                ck_assert_msg(fd == expected, "case %zu: %d, not %d", i, fd, expected);
                continue;
            }
            ck_assert_msg(fd >= 0, "case %zu: %d", i, fd);
            world_fd(world, fd);
            ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
            ck_assert_msg(fcntl(fd, F_GETFL) == fcntl(expected, F_GETFL), "case %zu: flags %#x, not %#x", i,
                          (unsigned)fcntl(fd, F_GETFL), (unsigned)fcntl(expected, F_GETFL));
        }
    }
}
END_TEST

/* Goal: a name from strangers can't lead out of the directory. Method: ways out, with RESOLVE_BENEATH, RESOLVE_IN_ROOT
 * and RESOLVE_NO_SYMLINKS; each compared with openat2(2). */
START_TEST(no_escape)
{
    static const char *const names[] = {"../out",          "/etc/passwd",    "sub/../../out", "up/out",
                                        "root/etc/passwd", "sub/up/../file", "proc",          "..",
                                        "sub/file"};
    static const uint64_t    resolves[] = {RESOLVE_BENEATH, RESOLVE_IN_ROOT, RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH};
    char                     out[PATH_MAX];
    struct stat              root;

    ck_assert_int_eq(mkdirat(in, "sub", 0700), 0);
    ck_assert_int_eq(symlinkat("..", in, "up"), 0);
    ck_assert_int_eq(symlinkat("/", in, "root"), 0);
    ck_assert_int_eq(symlinkat("/proc/self/cwd", in, "proc"), 0);
    ck_assert_int_eq(fstat(in, &root), 0);
    ck_assert_int_lt(snprintf(out, sizeof(out), "%s/../out", world->path), PATH_MAX);
    for (size_t i = 0; i < TEST_COUNT(names); i++) {
        for (size_t j = 0; j < TEST_COUNT(resolves); j++) {
            struct open_how how = {.flags = O_RDONLY, .resolve = resolves[j]};
            long            expected = syscall(SYS_openat2, in, names[i], &how, sizeof(how));
            int32_t         fd;

            expected = expected < 0 ? -errno : world_fd(world, (int)expected);
            world->args.how = how;
            fd = result(loop_openat2(loop, in, path(names[i]), &world->args.how, sizeof(how), LOGGED));
            if (expected < 0)
                ck_assert_msg(fd == expected, "%s: %d, not %ld", names[i], fd, expected);
            else
                ck_assert_msg(fd >= 0 && world_fd(world, fd) == fd, "%s: %d", names[i], fd);
            if (fd >= 0 && resolves[j] == RESOLVE_BENEATH)
                ck_abort_msg("%s was opened", names[i]);
        }
    }
}
END_TEST

/* Goal: all sizes of open_how that the kernel may know are copied whole. */
START_TEST(open_how_sizes)
{
    for (size_t size = 24; size <= 64; size++) {
        char            memory[64] = {0};
        struct open_how how = {.flags = O_RDONLY, .resolve = RESOLVE_BENEATH};
        int32_t         fd;

        memcpy(memory, &how, sizeof(how));
        fd = result(loop_openat2(loop, in, path("file"), (const struct open_how *)(const void *)memory, size, LOGGED));
        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
        world_fd(world, fd);
        if (size == 24)
            continue;
        memory[size - 1] = 1; /* of a version that this kernel does not know */
        ck_assert_int_eq(
            result(loop_openat2(loop, in, path("file"), (const struct open_how *)(const void *)memory, size, LOGGED)),
            -E2BIG);
        test_close(fd);
        world_fd_gone(world, fd);
    }
}
END_TEST

/* Goal: a FIFO opens at once, or, by a worker, when its other end does; a cancel ends the wait with a plain errno. */
START_TEST(fifo)
{
    struct test_log log = {0};
    int             other;

    ck_assert_int_eq(mkfifoat(in, "fifo", 0600), 0);
    world_fd(world, result(loop_openat(loop, in, path("fifo"), O_RDONLY, 0, LOGGED)));
    test_close(world->fds[--world->fds_count]);
    ck_assert_int_eq(result(loop_openat(loop, in, path("fifo"), O_WRONLY, 0, LOGGED)), -ENXIO);

    ck_assert_int_gt(loop_openat(loop, in, "fifo", O_RDONLY, 0, test_log_cb, &log, LOOP_TERMS(.flags = LOOP_ASYNC)), 0);
    test_turns(loop, 2);
    ck_assert_uint_eq(log.count, 0);
    for (int i = 0; (other = openat(in, "fifo", O_WRONLY | O_NONBLOCK | O_CLOEXEC)) < 0 && i < 20000; i++)
        test_sleep(100 * LOOP_MICROSECOND); /* until the worker has come there */
    world_fd(world, other);
    test_run(loop);
    ck_assert_uint_eq(log.finals, 1);
    world_fd(world, log.last.res);

    test_close(world->fds[--world->fds_count]);
    test_close(world->fds[--world->fds_count]);
    for (int direct = 0; direct < 2; direct++) { /* ended by hand: the kernel's own code must not leak */
        loop_id id;

        log = (struct test_log){0};
        id = loop_openat(loop, in, "fifo", O_RDONLY, 0, test_log_cb, &log, LOOP_TERMS(.flags = LOOP_ASYNC));
        test_turns(loop, 1);
        test_sleep(3 * LOOP_MILLISECOND);
        if (direct)
            ck_assert_int_ge(result(loop_async_cancel(loop, &(struct loop_match){.id = (uint64_t)id}, LOGGED)),
                             -EALREADY);
        else
            ck_assert_int_eq(loop_cancel(loop, id), 0);
        test_run(loop);
        ck_assert_uint_eq(log.finals, 1);
        ck_assert_int_eq(log.last.res, direct ? -EINTR : -ECANCELED);
    }
}
END_TEST

/* Goal: a descriptor that arrives in spite of a cancel is delivered. Method: cancels at different times; the fixture
 * finds what is lost. */
START_TEST(open_and_cancel)
{
    for (int i = 0; i < 60; i++) {
        struct test_log log = {0};
        loop_id         id = loop_openat(loop, in, i % 2 ? "file" : "new", i % 2 ? O_RDONLY : O_CREAT | O_RDWR, 0600,
                                         test_log_cb, &log, NULL);

        ck_assert_int_gt(id, 0);
        if (i % 3 != 0)
            (void)loop_submit(loop);
        if (i % 5 == 0)
            test_sleep(20 * LOOP_MICROSECOND);
        ck_assert_int_eq(loop_cancel(loop, id), 0);
        test_run(loop);
        ck_assert_uint_eq(log.count, 1);
        if (log.last.res >= 0)
            test_close(log.last.res);
        else
            ck_assert_int_eq(log.last.res, -ECANCELED);
    }
}
END_TEST

/* ---- names */

/* Goal: paths of all lengths are copied whole. Method: a file is renamed from name to name, about the size that the
 * context holds itself, up to the longest name; both are overwritten at once. */
START_TEST(lengths)
{
    char from[256] = "file", to[256];

    for (size_t length = 1; length <= 255; length += length < 150 ? 1 : 15) {
        memset(to, 'a' + (int)(length % 26), length);
        to[length] = '\0';
        ck_assert_int_eq(result(loop_renameat(loop, in, path(from), in, second(to), 0, LOGGED)), 0);
        ck_assert(is_there(to));
        strcpy(from, to);
    }
    memset(to, 'x', 255);
    to[255] = '\0';
    for (size_t size = 0; size + 258 < PATH_MAX; size += 256) { /* the longest path: ././././ … */
        char *end = world->args.path;

        for (size_t i = 0; i < size / 2; i++)
            end = stpcpy(end, "./");
        strcpy(end, from);
        ck_assert_int_eq(result(loop_statx(loop, in, world->args.path, 0, STATX_SIZE, &world->statx, LOGGED)), 0);
        ck_assert_uint_eq(world->statx.stx_size, WORLD_FILE_BYTES);
    }
}
END_TEST

/* Goal: directories are honoured: two different ones, the working directory, none where the path is absolute. */
START_TEST(directories)
{
    char absolute[PATH_MAX + 8];
    int  sub;

    ck_assert_int_eq(result(loop_mkdirat(loop, in, path("sub"), 0700, LOGGED)), 0);
    sub = world_open(world, "sub", O_RDONLY | O_DIRECTORY);
    ck_assert_int_eq(result(loop_renameat(loop, in, path("file"), sub, second("moved"), 0, LOGGED)), 0);
    ck_assert(is_there("sub/moved"));
    ck_assert_int_eq(result(loop_linkat(loop, sub, path("moved"), in, second("back"), 0, LOGGED)), 0);
    ck_assert(is_there("back"));
    ck_assert_int_lt(snprintf(absolute, sizeof(absolute), "%s/back", world->path), PATH_MAX);
    ck_assert_int_eq(result(loop_unlinkat(loop, sub, path(absolute), 0, LOGGED)), 0);
    ck_assert(!is_there("back"));
    ck_assert_int_eq(
        result(loop_statx(loop, AT_FDCWD, path(strrchr(world->path, '/') + 1), 0, STATX_MODE, &world->statx, LOGGED)),
        0);
    ck_assert_uint_ne(world->statx.stx_mode & S_IFDIR, 0);
    ck_assert_int_eq(result(loop_unlinkat(loop, in, path("sub"), AT_REMOVEDIR, LOGGED)), -ENOTEMPTY);
    ck_assert_int_eq(result(loop_unlinkat(loop, in, path("sub"), 0, LOGGED)), -EISDIR);
    ck_assert_int_eq(result(loop_unlinkat(loop, sub, path("moved"), 0, LOGGED)), 0);
    ck_assert_int_eq(result(loop_unlinkat(loop, in, path("sub"), AT_REMOVEDIR, LOGGED)), 0);
    ck_assert_int_eq(result(loop_unlinkat(loop, world->file, path("x"), 0, LOGGED)), -ENOTDIR);
}
END_TEST

/* Goal: flags of the others are the system call's. */
START_TEST(path_flags)
{
    struct stat here, there;
    int         other = world_open(world, "other", O_CREAT | O_RDWR);

    test_write(other, "other", 5);
    ck_assert_int_eq(result(loop_renameat(loop, in, path("file"), in, second("other"), RENAME_NOREPLACE, LOGGED)),
                     -EEXIST);
    ck_assert_int_eq(result(loop_renameat(loop, in, path("file"), in, second("other"), RENAME_EXCHANGE, LOGGED)), 0);
    ck_assert_int_eq(fstatat(in, "file", &here, 0), 0);
    ck_assert_int_eq(here.st_size, 5);
    ck_assert_int_eq(result(loop_renameat(loop, in, path("file"), in, second("other"), 0x80, LOGGED)), -EINVAL);

    ck_assert_int_eq(result(loop_symlinkat(loop, path("file"), in, second("symlink"), LOGGED)), 0);
    ck_assert_int_eq(result(loop_linkat(loop, in, path("symlink"), in, second("link"), AT_SYMLINK_FOLLOW, LOGGED)), 0);
    ck_assert_int_eq(fstatat(in, "link", &there, AT_SYMLINK_NOFOLLOW), 0);
    ck_assert_uint_eq(here.st_ino, there.st_ino);
    ck_assert_int_eq(result(loop_unlinkat(loop, in, path("file"), 0x8000, LOGGED)), -EINVAL);

    ck_assert_int_eq(
        result(loop_statx(loop, in, path("symlink"), AT_SYMLINK_NOFOLLOW, STATX_ALL, &world->statx, LOGGED)), 0);
    ck_assert_uint_eq(world->statx.stx_mode & S_IFMT, S_IFLNK);
    ck_assert_int_eq(result(loop_statx(loop, other, path(""), AT_EMPTY_PATH, STATX_SIZE, &world->statx, LOGGED)), 0);
    ck_assert_uint_eq(world->statx.stx_size, 5);
    ck_assert_int_eq(result(loop_statx(loop, in, path("file"), 0, STATX__RESERVED, &world->statx, LOGGED)), -EINVAL);
}
END_TEST

/* ---- extended attributes */

/* Goal: sizes, flags and errors are those of the system calls. Method: values from empty to 2000 bytes, buffers too
 * small, sizes asked for; by path and by descriptor. */
START_TEST(attributes)
{
    static const size_t sizes[] = {0, 1, 100, 2000};
    char                file[PATH_MAX + 8], value[2000], found[2000];

    if (fsetxattr(world->file, "user.probe", "", 0, 0) != 0 && errno == EOPNOTSUPP) {
        test_skip("attributes: none here");
        return;
    }
    ck_assert_int_lt(snprintf(file, sizeof(file), "%s/file", world->path), PATH_MAX);
    memset(value, 'v', sizeof(value));
    for (size_t i = 0; i < TEST_COUNT(sizes); i++) {
        int32_t size = (int32_t)sizes[i];

        ck_assert_int_eq(result(loop_setxattr(loop, path(file), second("user.a"), value, sizes[i], 0, LOGGED)), 0);
        ck_assert_int_eq(result(loop_fsetxattr(loop, world->file, second("user.b"), value, sizes[i] / 2, 0, LOGGED)),
                         0);
        ck_assert_int_eq(result(loop_getxattr(loop, path(file), second("user.a"), NULL, 0, LOGGED)), size);
        ck_assert_int_eq(result(loop_fgetxattr(loop, world->file, second("user.b"), NULL, 0, LOGGED)), size / 2);
        memset(found, 0, sizeof(found));
        ck_assert_int_eq(result(loop_fgetxattr(loop, world->file, second("user.a"), found, 2000, LOGGED)), size);
        ck_assert_mem_eq(found, value, sizes[i]);
        if (size > 1)
            ck_assert_int_eq(result(loop_getxattr(loop, path(file), second("user.a"), found, 1, LOGGED)), -ERANGE);
    }
    ck_assert_int_eq(result(loop_setxattr(loop, path(file), second("user.a"), value, 1, XATTR_CREATE, LOGGED)),
                     -EEXIST);
    ck_assert_int_eq(result(loop_setxattr(loop, path(file), second("user.a"), value, 1, 0x40, LOGGED)), -EINVAL);
    ck_assert_int_eq(result(loop_setxattr(loop, path("missing"), second("user.a"), value, 1, 0, LOGGED)), -ENOENT);
    ck_assert_int_eq(result(loop_getxattr(loop, path(file), second("nonsense"), found, 9, LOGGED)), -EOPNOTSUPP);
    ck_assert_int_eq(result(loop_getxattr(loop, path(file), second(""), found, 9, LOGGED)), -ERANGE);
}
END_TEST

/* ---- chains */

/* Goal: chains of operations on paths run in order. Method: each needs what the one before has made; a file that can't
 * be opened ends a soft chain. */
START_TEST(path_chain)
{
    struct test_log log[6] = {{0}};

    ck_assert_int_eq(loop_chain_begin(loop, 6, 0), 0);
    ck_assert_int_gt(loop_mkdirat(loop, in, path("sub"), 0700, test_log_cb, &log[0], NULL), 0);
    ck_assert_int_gt(loop_openat(loop, in, path("sub/new"), O_CREAT | O_RDWR, 0600, test_log_cb, &log[1], NULL), 0);
    ck_assert_int_gt(loop_renameat(loop, in, path("sub/new"), in, second("sub/old"), 0, test_log_cb, &log[2], NULL), 0);
    ck_assert_int_gt(loop_statx(loop, in, path("sub/old"), 0, STATX_ALL, &world->statx, test_log_cb, &log[3], NULL), 0);
    ck_assert_int_gt(loop_unlinkat(loop, in, path("sub/old"), 0, test_log_cb, &log[4], NULL), 0);
    ck_assert_int_gt(loop_unlinkat(loop, in, path("sub"), AT_REMOVEDIR, test_log_cb, &log[5], NULL), 0);
    ck_assert_int_eq(loop_chain_end(loop), 0);
    test_run(loop);
    for (size_t i = 0; i < TEST_COUNT(log); i++)
        if (i == 1)
            world_fd(world, log[i].last.res);
        else
            test_log_is(&log[i], 0);
    ck_assert(!is_there("sub"));

    memset(log, 0, sizeof(log));
    ck_assert_int_eq(loop_chain_begin(loop, 3, 0), 0);
    ck_assert_int_gt(loop_openat(loop, in, path("missing"), O_RDONLY, 0, test_log_cb, &log[0], NULL), 0);
    ck_assert_int_gt(loop_fsync(loop, world->file, test_log_cb, &log[1], NULL), 0);
    ck_assert_int_gt(loop_unlinkat(loop, in, path("file"), 0, test_log_cb, &log[2], NULL), 0);
    ck_assert_int_eq(loop_chain_end(loop), 0);
    test_run(loop);
    test_log_is(&log[0], -ENOENT);
    test_log_is(&log[1], -ECANCELED);
    test_log_is(&log[2], -ECANCELED);
    ck_assert(is_there("file"));
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("op_path");
    TCase *tcase = test_case(suite, "path");

    tcase_add_checked_fixture(tcase, path_setup, teardown);
    tcase_add_test(tcase, bad_paths);
    tcase_add_test(tcase, bad_arguments);
    tcase_add_test(tcase, open_flags);
    tcase_add_test(tcase, no_escape);
    tcase_add_test(tcase, open_how_sizes);
    tcase_add_test(tcase, fifo);
    tcase_add_test(tcase, open_and_cancel);
    tcase_add_test(tcase, lengths);
    tcase_add_test(tcase, directories);
    tcase_add_test(tcase, path_flags);
    tcase_add_test(tcase, attributes);
    tcase_add_test(tcase, path_chain);
    return suite;
}
