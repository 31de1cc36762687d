/* tests/fs/tree_test.c: removal of trees. */
#include "tests/fs/tree_world.h"

#include <pthread.h>

static bool there(const char *name)
{
    struct stat stat;

    return lstat(name, &stat) == 0;
}

static int32_t remove_run(int dirfd, const char *path, uint32_t flags, struct loop_tree_counts *ret_counts)
{
    struct test_log log = {0};

    ck_assert_int_gt(loop_tree_remove(loop, dirfd, path, flags, ret_counts, test_log_cb, &log, NULL), 0);
    test_run(loop);
    ck_assert_uint_eq(log.count, 1);
    return log.last.res;
}

static void counts_are(const struct loop_tree_counts *counts, uint64_t files, uint64_t directories, uint64_t errors)
{
    ck_assert_msg(counts->files == files && counts->directories == directories && counts->errors == errors,
                  "%" PRIu64 " files, %" PRIu64 " directories, %" PRIu64 " errors", counts->files, counts->directories,
                  counts->errors);
}

/* t/a t/d/b t/d/e/ t/link -> ../outside, t/fifo; outside/precious */
static void plant(void)
{
    make_directory("t");
    make_directory("t/d");
    make_directory("t/d/e");
    touch("t/a");
    touch("t/d/b");
    make_directory("outside");
    touch("outside/precious");
    ck_assert_int_eq(symlink("../outside", "t/link"), 0);
    ck_assert_int_eq(mkfifo("t/fifo", 0600), 0);
}

/* ---- what is removed */

/* Goal: all of it goes, links as links; what they lead to stays. */
START_TEST(whole)
{
    struct loop_tree_counts counts = {0};

    plant();
    ck_assert_int_eq(remove_run(AT_FDCWD, "t", 0, &counts), 0);
    counts_are(&counts, 4, 3, 0);
    ck_assert(!there("t") && there("outside/precious"));
    ck_assert_int_eq(remove_run(AT_FDCWD, "t", 0, &counts), -ENOENT);
    counts_are(&counts, 0, 0, 1);
}
END_TEST

/* Goal: what is no directory goes, too; a link at path is removed itself, with slashes behind it as well. */
START_TEST(single)
{
    static const char *const links[] = {"link", "link/", "link//", "./link", "t/../link"};
    struct loop_tree_counts  counts = {0};
    char                     absolute[SCRATCH_PATH_MAX + 16];

    plant();
    ck_assert_int_eq(remove_run(AT_FDCWD, "t/a", 0, &counts), 0);
    counts_are(&counts, 1, 0, 0);
    for (size_t i = 0; i < TEST_COUNT(links); i++) {
        ck_assert_int_eq(symlink("outside", "link"), 0);
        ck_assert_int_eq(remove_run(AT_FDCWD, links[i], 0, &counts), 0);
        counts_are(&counts, 1, 0, 0);
        ck_assert(!there("link") && there("outside/precious"));
    }
    ck_assert_int_eq(remove_run(AT_FDCWD, "t/d/", 0, NULL), 0);
    ck_assert(!there("t/d"));
    snprintf(absolute, sizeof(absolute), "%s/t", scratch_path());
    ck_assert_int_eq(remove_run(AT_FDCWD, absolute, 0, NULL), 0);
    ck_assert(!there("t"));
}
END_TEST

START_TEST(contents)
{
    struct loop_tree_counts counts = {0};
    int                     dirfd;

    plant();
    ck_assert_int_eq(remove_run(AT_FDCWD, "t/link", LOOP_TREE_CONTENTS, &counts), -ENOTDIR);
    ck_assert_int_eq(remove_run(AT_FDCWD, "t/a", LOOP_TREE_CONTENTS, &counts), -ENOTDIR);
    ck_assert_int_eq(remove_run(AT_FDCWD, "t/d", LOOP_TREE_CONTENTS, &counts), 0);
    counts_are(&counts, 1, 1, 0);
    ck_assert(there("t/d"));
    dirfd = open("t", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ck_assert_int_eq(remove_run(dirfd, ".", LOOP_TREE_CONTENTS, &counts), 0);
    counts_are(&counts, 3, 1, 0);
    ck_assert(there("t") && there("outside/precious"));
    ck_assert_int_eq(remove_run(dirfd, "missing", LOOP_TREE_CONTENTS, &counts), -ENOENT);
    close(dirfd);
}
END_TEST

START_TEST(arguments)
{
    static const char *const refused[] = {"/", "//", ".", "..", "t/.", "t/..", "t/../", "./", "/."};
    struct test_log          log = {0};

    for (size_t i = 0; i < TEST_COUNT(refused); i++)
        ck_assert_int_eq(loop_tree_remove(loop, AT_FDCWD, refused[i], 0, NULL, test_log_cb, &log, NULL), -EINVAL);
    ck_assert_int_eq(loop_tree_remove(loop, AT_FDCWD, "/", LOOP_TREE_CONTENTS, NULL, test_log_cb, &log, NULL), -EINVAL);
    ck_assert_int_eq(loop_tree_remove(loop, AT_FDCWD, "", 0, NULL, test_log_cb, &log, NULL), -ENOENT);
    ck_assert_int_eq(loop_tree_remove(loop, AT_FDCWD, NULL, 0, NULL, test_log_cb, &log, NULL), -EINVAL);
    ck_assert_int_eq(loop_tree_remove(loop, -2, "t", 0, NULL, test_log_cb, &log, NULL), -EBADF);
    ck_assert_int_eq(loop_tree_remove(loop, AT_FDCWD, "t", 8, NULL, test_log_cb, &log, NULL), -EINVAL);
    ck_assert_uint_eq(log.count, 0);
}
END_TEST

/* Goal: names like the dots are removed as names; wide and deep trees as well: 20 000 links, 2000 levels. */
START_TEST(wide_and_deep)
{
    enum { WIDE = 20000, DEEP = 2000 };
    struct loop_tree_counts counts = {0};
    int                     fd, next;
    uint32_t                fds = test_fd_count();

    make_directory("t");
    touch("t/...");
    touch("t/..a");
    fd = open("t", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (uint32_t i = 0; i < WIDE; i++) {
        char name[16];

        snprintf(name, sizeof(name), "%u", i);
        ck_assert_int_eq(linkat(fd, "...", fd, name, 0), 0);
    }
    for (uint32_t i = 0; i < DEEP; i++) {
        ck_assert_int_eq(mkdirat(fd, "d", 0700), 0);
        ck_assert_int_eq(symlinkat("/", fd, "l"), 0);
        next = openat(fd, "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        ck_assert_int_ge(next, 0);
        close(fd);
        fd = next;
    }
    close(fd);
    ck_assert_int_eq(remove_run(AT_FDCWD, "t", 0, &counts), 0);
    counts_are(&counts, WIDE + 2 + DEEP, DEEP + 1, 0);
    ck_assert_uint_eq(test_fd_count(), fds);
}
END_TEST

/* ---- errors */

static void scenario_closed(void)
{
    struct loop_tree_counts counts = {0};

    loop = test_loop_new(NULL);
    /* t/closed can't be read, t/fixed not changed; all else goes */
    if (remove_run(AT_FDCWD, "t", 0, &counts) != -EACCES || counts.errors != 2 || !there("t/closed") ||
        !there("t/fixed/f") || there("t/d") || there("t/a") || there("t/empty") || counts.files != 2 ||
        counts.directories != 2)
        _exit(10);
    if (remove_run(AT_FDCWD, "t", LOOP_TREE_STOP, &counts) != -EACCES || counts.errors != 1)
        _exit(11);
    test_loop_free(loop);
}

static void scenario_held(void)
{
    struct loop_tree_counts counts = {0};

    loop = test_loop_new(NULL);
    if (remove_run(AT_FDCWD, "p/t", LOOP_TREE_STOP, &counts) != -EACCES || counts.files != 0 || counts.errors != 1)
        _exit(10);
    if (remove_run(AT_FDCWD, "p/t", 0, &counts) != -EACCES || counts.files != 1 || counts.directories != 1 ||
        counts.errors != 1)
        _exit(11);
    if (remove_run(AT_FDCWD, "p/file", 0, &counts) != -EACCES || counts.files != 0 || counts.errors != 1)
        _exit(12);
    test_loop_free(loop);
}

/* Goal: of a directory that may not be removed all that is in it is, as of one further down; with LOOP_TREE_STOP
 * nothing. */
START_TEST(held_by_parent)
{
    static const char *const own[] = {"p/t", "p/t/d", "p/t/f"};

    make_directory("p");
    make_directory("p/t");
    make_directory("p/t/d");
    touch("p/t/f");
    touch("p/file");
    for (size_t i = 0; i < TEST_COUNT(own); i++)
        ck_assert(geteuid() != 0 || chown(own[i], 65534, 65534) == 0);
    ck_assert_int_eq(chmod("p", 0555), 0);
    scratch_unprivileged(scenario_held);
    ck_assert_int_eq(chmod("p", 0755), 0);
    ck_assert(there("p/t") && !there("p/t/d") && there("p/file"));
}
END_TEST

/* Goal: what can't be removed is told and counted once, not with each directory above it; the rest goes, also an empty
 * directory that can't be read. */
START_TEST(no_permission)
{
    static const char *const own[] = {"t", "t/d", "t/d/f", "t/a", "t/empty", "t/closed", "t/fixed"};

    make_directory("t");
    make_directory("t/d");
    make_directory("t/closed");
    make_directory("t/closed/inside");
    make_directory("t/fixed");
    make_directory("t/empty");
    touch("t/d/f");
    touch("t/a");
    touch("t/fixed/f");
    for (size_t i = 0; i < TEST_COUNT(own); i++)
        ck_assert(geteuid() != 0 || chown(own[i], 65534, 65534) == 0);
    ck_assert_int_eq(chmod("t/closed", 0), 0);
    ck_assert_int_eq(chmod("t/empty", 0), 0);
    ck_assert_int_eq(chmod("t/fixed", 0555), 0);
    scratch_unprivileged(scenario_closed);
    ck_assert_int_eq(chmod("t/closed", 0700), 0);
}
END_TEST

START_TEST(mount_point)
{
    struct loop_tree_counts counts = {0};

    plant();
    if (!scratch_mount("t/mounted", 1 << 20)) {
        test_skip("may not mount");
        return;
    }
    touch("t/mounted/inside");
    ck_assert_int_eq(remove_run(AT_FDCWD, "t", LOOP_TREE_ONE_SYSTEM, &counts), -EXDEV);
    counts_are(&counts, 4, 2, 1);
    ck_assert(there("t/mounted/inside"));
    ck_assert_int_eq(remove_run(AT_FDCWD, "t", 0, &counts), -EBUSY);
    counts_are(&counts, 1, 0, 1);
    ck_assert(there("t/mounted"));
}
END_TEST

/* ---- cancel, faults */

/* Goal: a cancel ends it between two entries, a deadline as well; what is left is still a tree. */
START_TEST(cancel)
{
    enum { COUNT = 30000 };
    struct loop_tree_counts counts = {0};
    struct test_log         canceled = {0}, late = {0};
    loop_id                 id;

    make_directory("t");
    touch("t/first");
    for (uint32_t i = 0; i < COUNT; i++) {
        char name[32];

        snprintf(name, sizeof(name), "t/%u", i);
        ck_assert_int_eq(link("t/first", name), 0);
    }
    id = loop_tree_remove(loop, AT_FDCWD, "t", 0, &counts, test_log_cb, &canceled, NULL);
    ck_assert_int_gt(id, 0);
    while (access("t/first", F_OK) == 0 && access("t/1", F_OK) == 0 && access("t/29999", F_OK) == 0)
        ;
    ck_assert_int_eq(loop_cancel(loop, id), 0);
    ck_assert_uint_eq(canceled.count, 0);
    test_run(loop);
    ck_assert_uint_eq(canceled.count, 1);
    if (canceled.last.res == 0) { /* it was faster */
        ck_assert_uint_eq(counts.files, COUNT + 1);
        ck_assert(!there("t"));
        return;
    }
    ck_assert_int_eq(canceled.last.res, -ECANCELED);
    ck_assert_uint_eq(canceled.last.flags, 0);
    ck_assert_uint_ge(counts.files, 1);
    ck_assert_uint_lt(counts.files, COUNT + 1);
    ck_assert(there("t"));
    ck_assert_int_gt(loop_tree_remove(loop, AT_FDCWD, "t", 0, &counts, test_log_cb, &late, LOOP_TERMS(.timeout_ns = 1)),
                     0);
    test_run(loop);
    ck_assert(late.last.res == 0 || late.last.res == -ETIMEDOUT);
    ck_assert_uint_eq(late.last.flags, LOOP_TIMED_OUT);
    ck_assert_int_eq(there("t"), late.last.res != 0);
}
END_TEST

/* Goal: loop_destroy() does not wait for the whole tree. */
START_TEST(dropped)
{
    struct loop_tree_counts counts = {0};
    struct test_log         log = {0};

    plant();
    ck_assert_int_gt(loop_tree_remove(loop, AT_FDCWD, "t", 0, &counts, test_log_cb, &log, NULL), 0);
    test_loop_drop(loop);
    loop = NULL;
    ck_assert_uint_eq(log.count, 1);
    ck_assert(log.last.res == 0 || log.last.res == -ECANCELED);
    ck_assert_int_eq(there("t"), log.last.res != 0);
}
END_TEST

START_TEST(faults)
{
    uint32_t nth = 1;

    for (bool failed = true; failed; nth++) {
        struct loop_tree_counts counts = {0};
        struct test_log         log = {0};
        char                    path[300] = "t";
        loop_id                 id;

        ck_assert_uint_lt(nth, 200);
        make_directory("t");
        for (int i = 0; i < 40; i++)
            make_directory(strcat(path, "/d"));
        test_loop_free(loop);
        loop = test_loop_new(NULL);
        test_memory.failed = 0;
        test_memory.fail_at = test_memory.calls + nth;
        id = loop_tree_remove(loop, AT_FDCWD, "t", 0, &counts, test_log_cb, &log, NULL);
        if (id > 0)
            test_run(loop);
        else
            ck_assert_int_eq(id, -ENOMEM);
        failed = test_memory.failed > 0;
        test_memory.fail_at = 0;
        ck_assert_uint_eq(log.count, id > 0);
        ck_assert(id < 0 || log.last.res == 0 || (log.last.res == -ENOMEM && counts.errors == 1));
        ck_assert(failed || !there("t"));
        if (there("t"))
            ck_assert_int_eq(remove_run(AT_FDCWD, "t", 0, NULL), 0);
    }
    ck_assert_uint_gt(nth, 4);
}
END_TEST

/* ---- races */

static _Atomic bool race_over;

/* Exchanges t/d and t/swap, a link to the directory outside, again and again. */
static void *exchange(void *arg)
{
    (void)arg;
    while (!race_over) {
        (void)renameat2(AT_FDCWD, "t/d", AT_FDCWD, "swap", RENAME_EXCHANGE);
        (void)renameat2(AT_FDCWD, "t/d/e", AT_FDCWD, "other", RENAME_EXCHANGE);
    }
    return NULL;
}

/* Goal: directories that are exchanged for links to another place, while the tree is removed, never lead there.
 * Method: a thread exchanges them without rest; a file outside must stay in all of many rounds. */
START_TEST(swapped_for_links)
{
    enum { ROUNDS = 300 };
    pthread_t thread;

    make_directory("outside");
    make_directory("outside/e");
    touch("outside/precious");
    touch("outside/e/precious");
    ck_assert_int_eq(pthread_create(&thread, NULL, exchange, NULL), 0);
    for (int round = 0; round < ROUNDS; round++) {
        char name[64];

        (void)mkdir("t", 0700);
        (void)mkdir("t/d", 0700);
        (void)mkdir("t/d/e", 0700);
        (void)unlink("swap");
        (void)unlink("other");
        (void)symlink("outside", "swap");
        (void)symlink("../../outside", "other");
        for (int i = 0; i < 10; i++) {
            int fd;

            snprintf(name, sizeof(name), "t/d/e/%d", i);
            fd = open(name, O_CREAT | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0600);
            if (fd >= 0)
                close(fd);
        }
        (void)remove_run(AT_FDCWD, "t", 0, NULL);
        ck_assert(there("outside/precious"));
        ck_assert(there("outside/e/precious"));
    }
    race_over = true;
    pthread_join(thread, NULL);
    (void)remove_run(AT_FDCWD, "swap", 0, NULL);
    (void)remove_run(AT_FDCWD, "other", 0, NULL);
    (void)remove_run(AT_FDCWD, "t", 0, NULL);
    ck_assert(!there("t") && there("outside/precious"));
}
END_TEST

/* Goal: two that remove the same tree, and a third that fills it, come to an end; nobody fails for what is gone. */
static void *fill(void *arg)
{
    (void)arg;
    for (uint32_t i = 0; i < 100000 && !race_over; i++) {
        char name[32];
        int  fd;

        snprintf(name, sizeof(name), "t/d/%u", i);
        fd = open(name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        if (fd >= 0)
            close(fd);
    }
    return NULL;
}

START_TEST(together)
{
    struct test_log logs[2];
    pthread_t       thread;

    for (int round = 0; round < 20; round++) {
        memset(logs, 0, sizeof(logs));
        race_over = false;
        make_directory("t");
        make_directory("t/d");
        make_directory("t/d/e");
        ck_assert_int_eq(pthread_create(&thread, NULL, fill, NULL), 0);
        for (int i = 0; i < 2; i++)
            ck_assert_int_gt(loop_tree_remove(loop, AT_FDCWD, "t", 0, NULL, test_log_cb, &logs[i], NULL), 0);
        test_run(loop);
        race_over = true;
        pthread_join(thread, NULL);
        for (int i = 0; i < 2; i++)
            ck_assert_msg(logs[i].last.res == 0 || logs[i].last.res == -ENOTEMPTY || logs[i].last.res == -ENOENT, "%d",
                          logs[i].last.res);
        (void)remove_run(AT_FDCWD, "t", 0, NULL);
        ck_assert(!there("t"));
    }
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("fs/tree");
    TCase *tree = test_case(suite, "tree");

    tcase_add_checked_fixture(tree, open_world, close_world);
    tcase_add_test(tree, whole);
    tcase_add_test(tree, single);
    tcase_add_test(tree, contents);
    tcase_add_test(tree, arguments);
    tcase_add_test(tree, wide_and_deep);
    tcase_add_test(tree, no_permission);
    tcase_add_test(tree, held_by_parent);
    tcase_add_test(tree, mount_point);
    tcase_add_test(tree, cancel);
    tcase_add_test(tree, dropped);
    tcase_add_test(tree, faults);
    tcase_add_test(tree, swapped_for_links);
    tcase_add_test(tree, together);
    return suite;
}
