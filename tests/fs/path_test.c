/* tests/fs/path_test.c: rights, owners, times, where links lead, room on file systems. */
#include "tests/fs/scratch.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>

static struct loop *loop;
static int          base = -1; /* the directory "base" */

static void open_world(void)
{
    scratch_make();
    loop = test_loop_new(NULL);
    ck_assert_int_eq(mkdir("base", 0700), 0);
    base = open("base", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    scratch_write("base/file", "abc", 3);
    ck_assert_int_eq(symlink("file", "base/link"), 0);
    ck_assert_int_eq(symlink("nowhere", "base/dangling"), 0);
}

static void close_world(void)
{
    close(base);
    test_loop_free(loop);
    scratch_remove();
}

/* Runs what was started as id with log; what came of it. */
static int32_t outcome(loop_id id, struct test_log *log)
{
    int32_t res;

    ck_assert_int_gt(id, 0);
    ck_assert_uint_eq(log->count, 0);
    test_run(loop);
    ck_assert_uint_eq(log->count, 1);
    res = log->last.res;
    memset(log, 0, sizeof(*log));
    return res;
}

static struct test_log log_;
#define TAIL         test_log_cb, &log_, NULL
#define OUTCOME(...) outcome(__VA_ARGS__, &log_)

static struct stat stat_of(const char *path)
{
    struct stat stat;

    ck_assert_int_eq(lstat(path, &stat), 0);
    return stat;
}

/* ---- rights and owners */

START_TEST(access_rights)
{
    ck_assert_int_eq(OUTCOME(loop_faccessat(loop, base, "file", F_OK, 0, TAIL)), 0);
    ck_assert_int_eq(OUTCOME(loop_faccessat(loop, base, "file", R_OK | W_OK, 0, TAIL)), 0);
    ck_assert_int_eq(OUTCOME(loop_faccessat(loop, base, "file", X_OK, 0, TAIL)), -EACCES);
    ck_assert_int_eq(OUTCOME(loop_faccessat(loop, base, ".", X_OK, AT_EACCESS, TAIL)), 0);
    ck_assert_int_eq(OUTCOME(loop_faccessat(loop, base, "missing", F_OK, 0, TAIL)), -ENOENT);
    ck_assert_int_eq(OUTCOME(loop_faccessat(loop, base, "dangling", F_OK, 0, TAIL)), -ENOENT);
    ck_assert_int_eq(OUTCOME(loop_faccessat(loop, base, "dangling", F_OK, AT_SYMLINK_NOFOLLOW, TAIL)), 0);
    ck_assert_int_eq(OUTCOME(loop_faccessat(loop, base, "file/x", F_OK, 0, TAIL)), -ENOTDIR);
    ck_assert_int_eq(OUTCOME(loop_faccessat(loop, AT_FDCWD, "file", F_OK, 0, TAIL)), -ENOENT);
    ck_assert_int_eq(OUTCOME(loop_faccessat(loop, base, "file", 64, 0, TAIL)), -EINVAL);
}
END_TEST

START_TEST(modes)
{
    int fd = openat(base, "file", O_RDWR | O_CLOEXEC);

    ck_assert_int_eq(OUTCOME(loop_fchmodat(loop, base, "file", 0400, 0, TAIL)), 0);
    ck_assert_uint_eq(stat_of("base/file").st_mode, S_IFREG | 0400);
    ck_assert_int_eq(OUTCOME(loop_fchmod(loop, fd, 04640, TAIL)), 0);
    ck_assert_uint_eq(stat_of("base/file").st_mode, S_IFREG | 04640);
    ck_assert_int_eq(OUTCOME(loop_fchmodat(loop, base, "link", 0600, 0, TAIL)), 0);
    ck_assert_uint_eq(stat_of("base/file").st_mode, S_IFREG | 0600);
    ck_assert_int_eq(OUTCOME(loop_fchmodat(loop, base, "link", 0640, AT_SYMLINK_NOFOLLOW, TAIL)), -EOPNOTSUPP);
    ck_assert_uint_eq(stat_of("base/file").st_mode, S_IFREG | 0600);
    ck_assert_int_eq(OUTCOME(loop_fchmodat(loop, base, "missing", 0600, 0, TAIL)), -ENOENT);
    close(fd);
    ck_assert_int_eq(OUTCOME(loop_fchmod(loop, 1000, 0600, TAIL)), -EBADF);
}
END_TEST

static void scenario_owners(void)
{
    struct test_log log = {0};

    loop = test_loop_new(NULL);
    if (outcome(loop_fchownat(loop, AT_FDCWD, "base/file", 0, 0, 0, test_log_cb, &log, NULL), &log) != -EPERM ||
        outcome(loop_fchmodat(loop, AT_FDCWD, "base/file", 0600, 0, test_log_cb, &log, NULL), &log) != -EPERM)
        _exit(10);
    test_loop_free(loop);
}

START_TEST(owners)
{
    int   fd = openat(base, "file", O_RDONLY | O_CLOEXEC);
    uid_t user = geteuid();
    gid_t group = getegid();

    ck_assert_int_eq(OUTCOME(loop_fchownat(loop, base, "file", (uid_t)-1, (gid_t)-1, 0, TAIL)), 0);
    ck_assert_int_eq(OUTCOME(loop_fchownat(loop, base, "file", user, group, 0, TAIL)), 0);
    ck_assert_int_eq(OUTCOME(loop_fchown(loop, fd, user, group, TAIL)), 0);
    ck_assert_int_eq(OUTCOME(loop_fchownat(loop, base, "dangling", user, group, 0, TAIL)), -ENOENT);
    ck_assert_int_eq(OUTCOME(loop_fchownat(loop, base, "dangling", user, group, AT_SYMLINK_NOFOLLOW, TAIL)), 0);
    if (user == 0) {
        ck_assert_int_eq(OUTCOME(loop_fchownat(loop, base, "link", 7, 8, AT_SYMLINK_NOFOLLOW, TAIL)), 0);
        ck_assert_uint_eq(stat_of("base/link").st_uid, 7);
        ck_assert_uint_eq(stat_of("base/file").st_uid, 0);
        ck_assert_int_eq(OUTCOME(loop_fchownat(loop, base, "link", 9, 10, 0, TAIL)), 0);
        ck_assert_uint_eq(stat_of("base/file").st_uid, 9);
        ck_assert_uint_eq(stat_of("base/file").st_gid, 10);
        ck_assert_int_eq(OUTCOME(loop_fchown(loop, fd, (uid_t)-1, 11, TAIL)), 0);
        ck_assert_uint_eq(stat_of("base/file").st_uid, 9);
        ck_assert_uint_eq(stat_of("base/file").st_gid, 11);
        ck_assert_int_eq(chmod("base", 0755), 0);
        test_loop_free(loop); /* with its threads: ThreadSanitizer takes those of a child for them */
        scratch_unprivileged(scenario_owners);
        loop = test_loop_new(NULL);
    }
    close(fd);
}
END_TEST

/* ---- times */

START_TEST(times)
{
    struct timespec both[2] = {{.tv_sec = 1, .tv_nsec = 500000000}, {.tv_sec = -2, .tv_nsec = 4}};
    struct timespec omitted[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 77}};
    struct timespec now[2] = {{.tv_nsec = UTIME_NOW}, {.tv_nsec = UTIME_OMIT}};
    struct stat     stat;
    int             fd = openat(base, "file", O_RDONLY | O_CLOEXEC);
    loop_id         id = loop_utimensat(loop, base, "file", both, 0, TAIL);

    both[0].tv_sec = 5; /* they were copied */
    ck_assert_int_eq(OUTCOME(id), 0);
    stat = stat_of("base/file");
    ck_assert_int_eq(stat.st_atim.tv_sec, 1);
    ck_assert_int_eq(stat.st_atim.tv_nsec, 500000000);
    ck_assert_int_eq(stat.st_mtim.tv_sec, -2);
    ck_assert_int_eq(stat.st_mtim.tv_nsec, 4);
    ck_assert_int_eq(OUTCOME(loop_futimens(loop, fd, omitted, TAIL)), 0);
    ck_assert_int_eq(stat_of("base/file").st_atim.tv_sec, 1);
    ck_assert_int_eq(stat_of("base/file").st_mtim.tv_sec, 77);
    ck_assert_int_eq(OUTCOME(loop_utimensat(loop, base, "link", now, 0, TAIL)), 0);
    ck_assert_int_gt(stat_of("base/file").st_atim.tv_sec, 1000000000);
    ck_assert_int_eq(stat_of("base/file").st_mtim.tv_sec, 77);
    ck_assert_int_eq(OUTCOME(loop_utimensat(loop, base, "link", omitted, AT_SYMLINK_NOFOLLOW, TAIL)), 0);
    ck_assert_int_eq(stat_of("base/link").st_mtim.tv_sec, 77);
    ck_assert_int_eq(OUTCOME(loop_futimens(loop, fd, NULL, TAIL)), 0);
    ck_assert_int_gt(stat_of("base/file").st_mtim.tv_sec, 1000000000);
    ck_assert_int_eq(OUTCOME(loop_utimensat(loop, base, "missing", NULL, 0, TAIL)), -ENOENT);
    both[1].tv_nsec = 1000000000;
    ck_assert_int_eq(OUTCOME(loop_utimensat(loop, base, "file", both, 0, TAIL)), -EINVAL);
    close(fd);
}
END_TEST

/* ---- texts */

START_TEST(links)
{
    char buf[PATH_MAX];

    memset(buf, '#', sizeof(buf));
    ck_assert_int_eq(OUTCOME(loop_readlinkat(loop, base, "link", buf, sizeof(buf), TAIL)), 4);
    ck_assert_str_eq(buf, "file");
    ck_assert_int_eq(OUTCOME(loop_readlinkat(loop, base, "dangling", buf, 8, TAIL)), 7);
    ck_assert_str_eq(buf, "nowhere");
    strcpy(buf, "as it was");
    ck_assert_int_eq(OUTCOME(loop_readlinkat(loop, base, "dangling", buf, 7, TAIL)), -ERANGE);
    ck_assert_int_eq(OUTCOME(loop_readlinkat(loop, base, "file", buf, sizeof(buf), TAIL)), -EINVAL);
    ck_assert_int_eq(OUTCOME(loop_readlinkat(loop, base, "missing", buf, sizeof(buf), TAIL)), -ENOENT);
    ck_assert_str_eq(buf, "as it was");
}
END_TEST

START_TEST(real_paths)
{
    char buf[PATH_MAX], expected[SCRATCH_PATH_MAX + 32];

    ck_assert_ptr_nonnull(realpath("base/file", expected));
    ck_assert_int_eq(OUTCOME(loop_realpath(loop, "./base//../base/link", buf, sizeof(buf), TAIL)),
                     (int32_t)strlen(expected));
    ck_assert_str_eq(buf, expected);
    ck_assert_int_eq(OUTCOME(loop_realpath(loop, "/proc/..", buf, 2, TAIL)), 1);
    ck_assert_str_eq(buf, "/");
    ck_assert_int_eq(OUTCOME(loop_realpath(loop, "base", buf, 4, TAIL)), -ERANGE);
    ck_assert_int_eq(OUTCOME(loop_realpath(loop, "base/dangling", buf, sizeof(buf), TAIL)), -ENOENT);
    ck_assert_int_eq(OUTCOME(loop_realpath(loop, "base/file/x", buf, sizeof(buf), TAIL)), -ENOTDIR);
    ck_assert_int_eq(OUTCOME(loop_realpath(loop, "", buf, sizeof(buf), TAIL)), -ENOENT);
    ck_assert_str_eq(buf, "/");
}
END_TEST

/* ---- file systems */

START_TEST(file_systems)
{
    struct loop_file_system by_path = {0}, by_fd = {0}, proc = {0};
    struct statfs           statfs_;
    struct statvfs          statvfs_;

    ck_assert_int_eq(OUTCOME(loop_statfs(loop, "base/file", &by_path, TAIL)), 0);
    ck_assert_int_eq(OUTCOME(loop_fstatfs(loop, base, &by_fd, TAIL)), 0);
    ck_assert_int_eq(statfs("base", &statfs_), 0);
    ck_assert_int_eq(statvfs("base", &statvfs_), 0);
    ck_assert_uint_eq(by_path.type, (uint64_t)statfs_.f_type);
    ck_assert_uint_eq(by_path.block_size, statvfs_.f_frsize);
    ck_assert_uint_eq(by_path.blocks, statfs_.f_blocks);
    ck_assert_uint_eq(by_path.files, statfs_.f_files);
    ck_assert_uint_eq(by_path.name_size_max, 255);
    ck_assert_uint_eq(by_path.flags, statvfs_.f_flag);
    ck_assert_uint_ge(by_path.blocks_free, by_path.blocks_available);
    ck_assert_uint_gt(by_path.blocks_available, 0);
    ck_assert_uint_eq(by_fd.blocks, by_path.blocks);
    ck_assert_uint_eq(by_fd.id, by_path.id);
    ck_assert_int_eq(OUTCOME(loop_statfs(loop, "/proc", &proc, TAIL)), 0);
    ck_assert_uint_eq(proc.type, 0x9fa0);
    ck_assert_int_eq(OUTCOME(loop_statfs(loop, "missing", &by_path, TAIL)), -ENOENT);
    ck_assert_uint_eq(by_path.blocks, by_fd.blocks);
}
END_TEST

static struct statfs told_statfs;
static bool          tell_statfs;
int                  __real_sys_statfs(const char *path, struct statfs *ret_statfs);
int                  __wrap_sys_statfs(const char *path, struct statfs *ret_statfs);

int __wrap_sys_statfs(const char *path, struct statfs *ret_statfs)
{
    if (!tell_statfs)
        return __real_sys_statfs(path, ret_statfs);
    *ret_statfs = told_statfs;
    return 0;
}

/* Goal: blocks are counted in what is told as their size. Method: answers as virtiofs does, whose f_bsize is what to
 * transfer at once; and as those that have no f_frsize. */
START_TEST(fragments)
{
    struct loop_file_system room = {0};

    told_statfs = (struct statfs){.f_bsize = 1 << 20, .f_frsize = 4096, .f_blocks = 1000};
    tell_statfs = true;
    ck_assert_int_eq(OUTCOME(loop_statfs(loop, "base", &room, TAIL)), 0);
    ck_assert_uint_eq(room.block_size * room.blocks, 4096000);
    told_statfs = (struct statfs){.f_bsize = 512, .f_blocks = 1000};
    ck_assert_int_eq(OUTCOME(loop_statfs(loop, "base", &room, TAIL)), 0);
    ck_assert_uint_eq(room.block_size * room.blocks, 512000);
    tell_statfs = false;
}
END_TEST

/* ---- what they have in common */

START_TEST(arguments)
{
    char                     buf[8], path[PATH_MAX + 1];
    struct loop_file_system *none = NULL;

    memset(path, 'a', sizeof(path));
    path[PATH_MAX] = '\0';
    ck_assert_int_eq(loop_faccessat(loop, base, NULL, F_OK, 0, TAIL), -EINVAL);
    ck_assert_int_eq(loop_faccessat(loop, base, path, F_OK, 0, TAIL), -ENAMETOOLONG);
    ck_assert_int_eq(loop_faccessat(loop, -1, "file", F_OK, 0, TAIL), -EBADF);
    ck_assert_int_eq(loop_faccessat(loop, LOOP_FIXED(0), "file", F_OK, 0, TAIL), -EBADF);
    ck_assert_int_eq(loop_fchmod(loop, -1, 0600, TAIL), -EBADF);
    ck_assert_int_eq(loop_fchmod(loop, AT_FDCWD, 0600, TAIL), -EBADF);
    ck_assert_int_eq(loop_fchown(loop, LOOP_FIXED(1), 0, 0, TAIL), -EBADF);
    ck_assert_int_eq(loop_futimens(loop, -1, NULL, TAIL), -EBADF);
    ck_assert_int_eq(loop_readlinkat(loop, base, "link", NULL, 8, TAIL), -EINVAL);
    ck_assert_int_eq(loop_readlinkat(loop, base, "link", buf, 0, TAIL), -EINVAL);
    ck_assert_int_eq(loop_realpath(loop, "base", NULL, 8, TAIL), -EINVAL);
    ck_assert_int_eq(loop_statfs(loop, "base", none, TAIL), -EINVAL);
    ck_assert_int_eq(loop_fstatfs(loop, base, none, TAIL), -EINVAL);
    ck_assert_int_eq(loop_fstatfs(loop, -1, none, TAIL), -EINVAL);
    ck_assert_int_eq(loop_realpath(loop, "base", buf, 8, LOOP_HANDLER(3), NULL, NULL), -EINVAL);
    ck_assert_uint_eq(log_.count, 0);
    ck_assert_uint_eq(test_stats(loop).ops_in_flight, 0);
}
END_TEST

/* Goal: terms and ids are those of other operations: data comes back, a failure without a callback is counted, one that
 * waits behind others can be cancelled; the call may be repeated from its callback. */
static uint32_t repeats;

static void again(struct loop *of, const struct loop_result *result, void *arg)
{
    ck_assert_int_eq(result->res, 0);
    ck_assert_int_eq(loop_cancel(of, result->id), -ENOENT);
    if (++repeats < 5)
        ck_assert_int_gt(loop_faccessat(of, base, "file", F_OK, 0, again, arg, NULL), 0);
}

START_TEST(as_operations)
{
    struct test_log with = {.extra_size = 3}, logs[40];
    loop_id         ids[40];
    uint32_t        canceled = 0;

    ck_assert_int_gt(
        loop_faccessat(loop, base, "file", F_OK, 0, test_log_cb, &with, LOOP_TERMS(.data = "ab", .data_size = 3)), 0);
    ck_assert_int_gt(loop_faccessat(loop, base, "missing", F_OK, 0, NULL, NULL, NULL), 0);
    ck_assert_int_gt(loop_faccessat(loop, base, "file", F_OK, 0, again, NULL, NULL), 0);
    test_run(loop);
    ck_assert_str_eq(with.extra, "ab");
    ck_assert_uint_eq(repeats, 5);
    ck_assert_uint_eq(test_stats(loop).silent_errors, 1);
    memset(logs, 0, sizeof(logs));
    for (size_t i = 0; i < TEST_COUNT(ids); i++)
        ids[i] = loop_faccessat(loop, base, "file", F_OK, 0, test_log_cb, &logs[i], NULL);
    ck_assert_int_eq(loop_cancel_all(loop) >= 0, 1);
    test_run(loop);
    for (size_t i = 0; i < TEST_COUNT(ids); i++) {
        ck_assert_uint_eq(logs[i].count, 1);
        ck_assert(logs[i].last.res == 0 || logs[i].last.res == -ECANCELED);
        ck_assert_int_eq(logs[i].last.id, ids[i]);
        canceled += logs[i].last.res == -ECANCELED;
    }
    ck_assert_uint_le(canceled, TEST_COUNT(ids));
}
END_TEST

START_TEST(faults)
{
    uint32_t nth = 1;

    for (bool failed = true; failed; nth++) {
        char            buf[PATH_MAX] = "";
        struct test_log log = {0};
        loop_id         id;

        ck_assert_uint_lt(nth, 50);
        test_loop_free(loop);
        loop = test_loop_new(NULL);
        test_memory.failed = 0;
        test_memory.fail_at = test_memory.calls + nth;
        id = loop_realpath(loop, "base", buf, sizeof(buf), test_log_cb, &log, NULL);
        if (id > 0)
            test_run(loop);
        failed = test_memory.failed > 0;
        test_memory.fail_at = 0;
        ck_assert(id > 0 || id == -ENOMEM);
        ck_assert_uint_eq(log.count, id > 0);
    }
    ck_assert_uint_gt(nth, 2);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("fs/path");
    TCase *path = test_case(suite, "path");

    tcase_add_checked_fixture(path, open_world, close_world);
    tcase_add_test(path, access_rights);
    tcase_add_test(path, modes);
    tcase_add_test(path, owners);
    tcase_add_test(path, times);
    tcase_add_test(path, links);
    tcase_add_test(path, real_paths);
    tcase_add_test(path, file_systems);
    tcase_add_test(path, fragments);
    tcase_add_test(path, arguments);
    tcase_add_test(path, as_operations);
    tcase_add_test(path, faults);
    return suite;
}
