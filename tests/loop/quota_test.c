/* tests/loop/quota_test.c: quotas of control groups: the texts, the way up, and a group of the system's. */
#include "tests/support/test.h"

#include "loop/quota.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* ---- the files: those of a test, or the system's */

int __real_sys_read_text(const char *path, char *text, size_t size);
int __wrap_sys_read_text(const char *path, char *text, size_t size);

struct text_file {
    const char *path, *text;
};

static const struct text_file *files; /* ends with a NULL; NULL: the system's */
static uint32_t                reads;

int __wrap_sys_read_text(const char *path, char *text, size_t size)
{
    ck_assert_uint_lt(++reads, 1000);
    if (files == NULL)
        return __real_sys_read_text(path, text, size);
    for (const struct text_file *file = files; file->path != NULL; file++)
        if (strcmp(file->path, path) == 0) {
            ck_assert_uint_lt(strlen(file->text), size);
            strcpy(text, file->text);
            return 0;
        }
    return -ENOENT;
}

/* ---- texts */

/* Goal: quotas as processors, rounded up; what is none, or nonsense, is none. */
START_TEST(numbers)
{
    static const struct {
        const char *quota, *period;
        uint32_t    processors;
    } rows[] = {
        {"100000", "100000", 1}, {"50000", "100000", 1},
        {"100001", "100000", 2}, {"250000\n", "100000\n", 3},
        {"1000", "100000", 1},   {"max", " 100000\n", 0},
        {"-1\n", "100000\n", 0}, {"", "", 0},
        {"0", "100000", 0},      {"100000", "0", 0},
        {"100000", "-1", 0},     {"9223372036854775807", "1", INT32_MAX},
        {"x", "y", 0},
    };

    for (size_t i = 0; i < TEST_COUNT(rows); i++)
        ck_assert_msg(quota_of(rows[i].quota, rows[i].period) == rows[i].processors, "%s %s", rows[i].quota,
                      rows[i].period);
}
END_TEST

/* Goal: the group is found in /proc/PID/cgroup, of either version, and nothing else is taken for it. */
START_TEST(groups)
{
    static const struct {
        const char *text;
        bool        legacy;
        const char *path; /* NULL: none */
        size_t      top;
    } rows[] = {
        {"0::/\n", false, "/sys/fs/cgroup", 14},
        {"0::/a/b.scope\n", false, "/sys/fs/cgroup/a/b.scope", 14},
        {"0::/a/b.scope", false, "/sys/fs/cgroup/a/b.scope", 14},
        {"0::/../../x\n", false, "/sys/fs/cgroup", 14},
        {"0::/a:b\n", false, "/sys/fs/cgroup/a:b", 14},
        {"0::/a\n", true, NULL, 0},
        {"5:cpuset:/x\n4:cpu,cpuacct:/docker/1\n0::/y\n", true, "/sys/fs/cgroup/cpu,cpuacct/docker/1", 26},
        {"5:cpuset:/x\n4:cpu,cpuacct:/docker/1\n0::/y\n", false, "/sys/fs/cgroup/y", 14},
        {"3:cpuacct,cpu:/\n", true, "/sys/fs/cgroup/cpuacct,cpu", 26},
        {"2:cpu:/a\n", true, "/sys/fs/cgroup/cpu/a", 18},
        {"2:cpu:/a\n", false, NULL, 0},
        {"2:cpuset:/a\n1:cpuacct:/b\n3:name=cpu:/c\n", true, NULL, 0},
        {"", false, NULL, 0},
        {"\n\n:\n::\n0:\nnonsense", false, NULL, 0},
        {"\n\n:\n::\n0:\nnonsense", true, NULL, 0},
    };

    for (size_t i = 0; i < TEST_COUNT(rows); i++) {
        struct quota_group group = {0};
        bool               found = quota_group_of(rows[i].text, rows[i].legacy, &group);

        ck_assert_msg(found == (rows[i].path != NULL), "row %zu", i);
        if (found)
            ck_assert_str_eq(group.path, rows[i].path);
        if (found)
            ck_assert_uint_eq(group.top, rows[i].top);
    }
}
END_TEST

/* Goal: a path that is too long is none. */
START_TEST(long_path)
{
    struct quota_group group;
    char               text[2 * PATH_MAX] = "0::/";

    memset(text + 4, 'a', sizeof(text) - 5);
    ck_assert(!quota_group_of(text, false, &group));
}
END_TEST

/* ---- the way up */

/* Goal: the least quota on the way up counts, of both versions, and files that are missing are passed by: a group that
 * is seen as the root only, in a container, too. */
START_TEST(least)
{
    static const struct text_file none[] = {{0}}, no_quota[] = {{"/proc/self/cgroup", "0::/a/b\n"}, {0}};
    static const struct text_file own[] = {{"/proc/self/cgroup", "0::/a/b\n"},
                                           {"/sys/fs/cgroup/a/cpu.max", "700000 100000\n"},
                                           {"/sys/fs/cgroup/a/b/cpu.max", "250000 100000\n"},
                                           {0}};
    static const struct text_file above[] = {{"/proc/self/cgroup", "0::/a/b/c\n"},
                                             {"/sys/fs/cgroup/a/cpu.max", "150000 100000\n"},
                                             {"/sys/fs/cgroup/a/b/c/cpu.max", "max 100000\n"},
                                             {0}};
    static const struct text_file root[] = {
        {"/proc/self/cgroup", "0::/\n"}, {"/sys/fs/cgroup/cpu.max", "400000 100000"}, {0}};
    static const struct text_file container[] = {{"/proc/self/cgroup", "3:cpu,cpuacct:/docker/0123\n0::/docker/0123\n"},
                                                 {"/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "550000\n"},
                                                 {"/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"},
                                                 {0}};
    static const struct text_file both[] = {{"/proc/self/cgroup", "3:cpu:/a\n0::/b\n"},
                                            {"/sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "900000\n"},
                                            {"/sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n"},
                                            {"/sys/fs/cgroup/b/cpu.max", "800000 100000\n"},
                                            {0}};
    static const struct text_file broken[] = {{"/proc/self/cgroup", "3:cpu:/a\n0::/b\n"},
                                              {"/sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "900000\n"},
                                              {"/sys/fs/cgroup/b/cpu.max", "800000\n"},
                                              {0}};
    static const struct {
        const struct text_file *files;
        uint32_t                processors;
    } rows[] = {{none, 0}, {no_quota, 0}, {own, 3}, {above, 2}, {root, 4}, {container, 6}, {both, 8}, {broken, 0}};

    for (size_t i = 0; i < TEST_COUNT(rows); i++) {
        files = rows[i].files;
        ck_assert_msg(quota_processors() == rows[i].processors, "row %zu", i);
    }
}
END_TEST

/* Goal: loop_processors() is the lesser of both, and never 0. */
START_TEST(lesser)
{
    static struct text_file quota[] = {{"/proc/self/cgroup", "0::/\n"}, {"/sys/fs/cgroup/cpu.max", ""}, {0}};
    uint32_t                all;

    files = quota;
    all = loop_processors();
    ck_assert_uint_ge(all, 1);
    quota[1].text = "100 100000\n";
    ck_assert_uint_eq(loop_processors(), 1);
    quota[1].text = "200000000 100000\n"; /* 2000 */
    ck_assert_uint_eq(loop_processors(), all);
    quota[1].text = "max 100000\n";
    ck_assert_uint_eq(loop_processors(), all);
}
END_TEST

/* ---- a group of the system's */

static bool put(const char *directory, const char *name, const char *text)
{
    char    path[512];
    ssize_t n;
    int     fd;

    snprintf(path, sizeof(path), "%s/%s", directory, name);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    n = write(fd, text, strlen(text));
    close(fd);
    return n == (ssize_t)strlen(text);
}

/* A new one with half a processor, in the hierarchy that has them here; NULL: not allowed. */
static bool group_make(char *path, size_t size)
{
    static const char *const parents[] = {"/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup"};

    for (size_t i = 0; i < TEST_COUNT(parents); i++) {
        snprintf(path, size, "%s/ringloop-quota-%d", parents[i], getpid());
        if (mkdir(path, 0755) < 0)
            continue;
        if (put(path, "cpu.max", "50000 100000") || put(path, "cpu.cfs_quota_us", "50000"))
            return true;
        rmdir(path);
    }
    return false;
}

/* The child's part: 0, or where it went wrong. */
static int child_looks(const char *group)
{
    char      below[300], pid[32];
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof(set), &set) < 0 || CPU_COUNT(&set) < 2)
        return 77;
    snprintf(pid, sizeof(pid), "%d", getpid());
    if (!put(group, "cgroup.procs", pid))
        return 77;
    if (quota_processors() != 1 || loop_processors() != 1)
        return 1;
    snprintf(below, sizeof(below), "%s/below", group); /* one without a quota of its own */
    if (mkdir(below, 0755) < 0)
        return 77;
    if (!put(below, "cgroup.procs", pid))
        return 77;
    return quota_processors() == 1 && loop_processors() == 1 ? 0 : 2;
}

/* Goal: the kernel's own files are read as they are: a process in a group with half a processor, and in one below it,
 * has one. Needs the right to make groups, which root has outside of containers. */
START_TEST(real_group)
{
    char  group[256], below[300];
    int   status = -1;
    pid_t pid;

    if (!group_make(group, sizeof(group))) {
        test_skip("no control group with a quota can be made here");
        return;
    }
    pid = fork();
    if (pid == 0)
        _exit(child_looks(group));
    if (pid > 0)
        waitpid(pid, &status, 0);
    snprintf(below, sizeof(below), "%s/below", group);
    for (int i = 0; i < 1000 && ((rmdir(below) < 0 && errno == EBUSY) || (rmdir(group) < 0 && errno == EBUSY)); i++)
        test_sleep(LOOP_MILLISECOND);
    ck_assert_int_ne(access(group, F_OK), 0);
    ck_assert(pid > 0 && WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        test_skip("one processor only, or no process may be moved into a control group");
    else
        ck_assert_int_eq(WEXITSTATUS(status), 0);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("loop/quota");
    TCase *tcase = test_case_without_ring(suite, "quota");

    tcase_add_test(tcase, numbers);
    tcase_add_test(tcase, groups);
    tcase_add_test(tcase, long_path);
    tcase_add_test(tcase, least);
    tcase_add_test(tcase, lesser);
    tcase_add_test(tcase, real_group);
    return suite;
}
