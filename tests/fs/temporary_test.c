/* tests/fs/temporary_test.c: temporary files and directories. */
#include "tests/fs/tree_world.h"

static int32_t file_run(int dirfd, char *path, int flags, mode_t mode)
{
    struct test_log log = {0};

    ck_assert_int_gt(loop_temporary_file(loop, dirfd, path, flags, mode, test_log_cb, &log, NULL), 0);
    test_run(loop);
    ck_assert_uint_eq(log.count, 1);
    return log.last.res;
}

static int32_t unnamed_run(int dirfd, const char *directory, mode_t mode)
{
    struct test_log log = {0};

    ck_assert_int_gt(loop_temporary_unnamed(loop, dirfd, directory, 0, mode, test_log_cb, &log, NULL), 0);
    test_run(loop);
    return log.last.res;
}

static int32_t name_run(int fd, int dirfd, const char *path)
{
    struct test_log log = {0};

    ck_assert_int_gt(loop_temporary_name(loop, fd, dirfd, path, test_log_cb, &log, NULL), 0);
    test_run(loop);
    return log.last.res;
}

/* Goal: the X become letters, all else stays; the file is new, has its mode, and can be written and read. */
START_TEST(files)
{
    static const char *const templates[] = {"XXXXXX", "d/upload-XXXXXXXXXXXX.part", "XXXXXX/XXXXXXX", "aXXXXXX.XX",
                                            "./XXXXXXXX"};
    mode_t                   mask = umask(0);

    ck_assert_int_eq(mkdir("d", 0700), 0);
    ck_assert_int_eq(mkdir("XXXXXX", 0700), 0);
    for (size_t i = 0; i < TEST_COUNT(templates); i++) {
        char        path[64], other[64], text[4] = "";
        struct stat by_fd, by_path;
        int         fd, second;

        strcpy(path, templates[i]);
        strcpy(other, templates[i]);
        fd = file_run(AT_FDCWD, path, 0, 0640);
        second = file_run(AT_FDCWD, other, O_APPEND, 0600);
        ck_assert_msg(fd >= 0 && second >= 0, "%s: %d", path, fd);
        ck_assert_str_ne(path, templates[i]);
        ck_assert_str_ne(path, other);
        for (size_t j = 0; j <= strlen(templates[i]); j++)
            ck_assert(path[j] == templates[i][j] || templates[i][j] == 'X');
        ck_assert_int_eq(strncmp(path, "XXXXXX/", 7) == 0, i == 2);
        ck_assert_int_eq(fstat(fd, &by_fd), 0);
        ck_assert_int_eq(stat(path, &by_path), 0);
        ck_assert_uint_eq(by_fd.st_ino, by_path.st_ino);
        ck_assert_uint_eq(by_fd.st_mode, S_IFREG | 0640);
        ck_assert_int_eq(write(fd, "abc", 3), 3);
        ck_assert_int_eq(pread(fd, text, 3, 0), 3);
        ck_assert_str_eq(text, "abc");
        ck_assert_int_ne(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
        ck_assert_int_ne(fcntl(second, F_GETFL) & O_APPEND, 0);
        close(fd);
        close(second);
    }
    umask(mask);
}
END_TEST

START_TEST(directories)
{
    char            path[] = "d-XXXXXX.tmp", again[] = "d-XXXXXX.tmp", inside[] = "fXXXXXX";
    struct test_log logs[2] = {{0}, {0}};
    struct stat     stat;
    int             dirfd, fd;

    ck_assert_int_gt(loop_temporary_directory(loop, AT_FDCWD, path, 0700, test_log_cb, &logs[0], NULL), 0);
    ck_assert_int_gt(loop_temporary_directory(loop, AT_FDCWD, again, 0700, test_log_cb, &logs[1], NULL), 0);
    test_run(loop);
    test_log_is(&logs[0], 0);
    test_log_is(&logs[1], 0);
    ck_assert_str_ne(path, again);
    ck_assert_int_eq(lstat(path, &stat), 0);
    ck_assert_uint_eq(stat.st_mode, S_IFDIR | 0700);
    dirfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    fd = file_run(dirfd, inside, 0, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(faccessat(dirfd, inside, F_OK, 0), 0);
    close(fd);
    close(dirfd);
}
END_TEST

/* Goal: many at once have names of their own. */
START_TEST(many)
{
    enum { COUNT = 200 };
    static char     paths[COUNT][16];
    struct test_log logs[COUNT];

    memset(logs, 0, sizeof(logs));
    for (int i = 0; i < COUNT; i++) {
        strcpy(paths[i], "tXXXXXX");
        ck_assert_int_gt(loop_temporary_file(loop, AT_FDCWD, paths[i], 0, 0600, test_log_cb, &logs[i], NULL), 0);
    }
    test_run(loop);
    for (int i = 0; i < COUNT; i++) {
        ck_assert_int_ge(logs[i].last.res, 0);
        close(logs[i].last.res);
        for (int j = 0; j < i; j++)
            ck_assert_str_ne(paths[i], paths[j]);
    }
}
END_TEST

START_TEST(errors)
{
    char            missing[] = "missing/XXXXXX", file[] = "file/XXXXXX", good[] = "XXXXXX";
    char            few[] = "aXXXXX", none[] = "", above[] = "XXXXXXXX/a";
    struct test_log log = {0};

    scratch_write("file", "", 0);
    ck_assert_int_eq(file_run(AT_FDCWD, missing, 0, 0600), -ENOENT);
    ck_assert_str_eq(missing, "missing/XXXXXX");
    ck_assert_int_eq(file_run(AT_FDCWD, file, 0, 0600), -ENOTDIR);
    ck_assert_int_eq(loop_temporary_file(loop, AT_FDCWD, few, 0, 0600, test_log_cb, &log, NULL), -EINVAL);
    ck_assert_int_eq(loop_temporary_file(loop, AT_FDCWD, none, 0, 0600, test_log_cb, &log, NULL), -EINVAL);
    ck_assert_int_eq(loop_temporary_file(loop, AT_FDCWD, above, 0, 0600, test_log_cb, &log, NULL), -EINVAL);
    ck_assert_int_eq(loop_temporary_file(loop, AT_FDCWD, NULL, 0, 0600, test_log_cb, &log, NULL), -EINVAL);
    ck_assert_int_eq(loop_temporary_file(loop, -1, good, 0, 0600, test_log_cb, &log, NULL), -EBADF);
    ck_assert_int_eq(loop_temporary_file(loop, AT_FDCWD, good, O_TRUNC, 0600, test_log_cb, &log, NULL), -EINVAL);
    ck_assert_int_eq(loop_temporary_file(loop, AT_FDCWD, good, 0, 0600, NULL, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_temporary_unnamed(loop, AT_FDCWD, ".", 0, 0600, NULL, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_temporary_directory(loop, AT_FDCWD, few, 0700, test_log_cb, &log, NULL), -EINVAL);
    ck_assert_int_eq(loop_temporary_name(loop, -1, AT_FDCWD, "a", test_log_cb, &log, NULL), -EBADF);
    ck_assert_str_eq(good, "XXXXXX");
    ck_assert_uint_eq(log.count, 0);
}
END_TEST

/* Goal: a file without a name leaves none behind; it can be given one that is free, once. */
START_TEST(unnamed)
{
    int   fd = unnamed_run(AT_FDCWD, ".", 0640), dirfd;
    char *text;

    if (fd == -EOPNOTSUPP) {
        test_skip("no O_TMPFILE on this file system");
        return;
    }
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, "abc", 3), 3);
    scratch_write("taken", "x", 1);
    ck_assert_int_eq(mkdir("d", 0700), 0);
    dirfd = open("d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ck_assert_int_eq(name_run(fd, AT_FDCWD, "taken"), -EEXIST);
    ck_assert_int_eq(name_run(fd, AT_FDCWD, "missing/a"), -ENOENT);
    if (access("/dev/shm", W_OK) == 0)
        ck_assert_int_eq(name_run(fd, AT_FDCWD, "/dev/shm/ringloop-never"), -EXDEV);
    ck_assert_int_eq(name_run(fd, dirfd, "named"), 0);
    close(fd);
    text = scratch_read("d/named", NULL);
    ck_assert_str_eq(text, "abc");
    free(text);
    fd = unnamed_run(dirfd, ".", 0600);
    ck_assert_int_ge(fd, 0);
    close(fd);
    close(dirfd);
    ck_assert_int_eq(unnamed_run(AT_FDCWD, "/proc", 0600), -EOPNOTSUPP);
    ck_assert_int_eq(unnamed_run(AT_FDCWD, "missing", 0600), -ENOENT);
}
END_TEST

static void scenario_name(void)
{
    int fd;

    loop = test_loop_new(NULL);
    fd = unnamed_run(AT_FDCWD, ".", 0600);
    if (fd < 0 || name_run(fd, AT_FDCWD, "by_nobody") != 0 || access("by_nobody", F_OK) != 0)
        _exit(10);
    close(fd);
    test_loop_free(loop);
}

/* Goal: whoever has made it may name it, without any right of the superuser. */
START_TEST(named_by_nobody)
{
    int fd = unnamed_run(AT_FDCWD, ".", 0600);

    if (fd == -EOPNOTSUPP) {
        test_skip("no O_TMPFILE on this file system");
        return;
    }
    close(fd);
    test_loop_free(loop); /* with its threads: ThreadSanitizer takes those of a child for them */
    scratch_unprivileged(scenario_name);
    loop = test_loop_new(NULL);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("fs/temporary");
    TCase *temporary = test_case(suite, "temporary");

    tcase_add_checked_fixture(temporary, open_world, close_world);
    tcase_add_test(temporary, files);
    tcase_add_test(temporary, directories);
    tcase_add_test(temporary, many);
    tcase_add_test(temporary, errors);
    tcase_add_test(temporary, unnamed);
    tcase_add_test(temporary, named_by_nobody);
    return suite;
}
