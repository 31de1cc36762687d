/* tests/fs/replace_test.c: atomic replacement: modes and owners, failures, races, and kill -9 at any moment. Linked so
 * that a change of the owner can be made slow. */
#include "tests/fs/whole_world.h"

#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

static struct stat stat_of(const char *path)
{
    struct stat stat;

    ck_assert_int_eq(lstat(path, &stat), 0);
    return stat;
}

static void holds(const char *path, const char *text)
{
    char *found = scratch_read(path, NULL);

    ck_assert_str_eq(found, text);
    free(found);
    ck_assert_uint_eq(whole_temporaries("."), 0);
}

/* ---- the seam */

int __real_sys_chown_at(int dirfd, const char *path, uid_t user, gid_t group, int flags);
int __wrap_sys_chown_at(int dirfd, const char *path, uid_t user, gid_t group, int flags);

static struct {
    uint64_t    wait_ns; /* of a change of the owner; 0: none */
    _Atomic int begun, lost;
} slow;

int __wrap_sys_chown_at(int dirfd, const char *path, uid_t user, gid_t group, int flags)
{
    slow.begun = 1;
    if (slow.wait_ns != 0)
        test_sleep(slow.wait_ns);
    if (fcntl(dirfd, F_GETFD) < 0)
        slow.lost = 1;
    return __real_sys_chown_at(dirfd, path, user, group, flags);
}

loop_id __real_loop_renameat(struct loop *loop, int olddirfd, const char *oldpath, int newdirfd, const char *newpath,
                             unsigned flags, loop_cb *cb, void *arg, const struct loop_terms *terms);
loop_id __wrap_loop_renameat(struct loop *loop, int olddirfd, const char *oldpath, int newdirfd, const char *newpath,
                             unsigned flags, loop_cb *cb, void *arg, const struct loop_terms *terms);

static bool plain_renames; /* all flags are refused, with -EINVAL */

loop_id __wrap_loop_renameat(struct loop *loop, int olddirfd, const char *oldpath, int newdirfd, const char *newpath,
                             unsigned flags, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    if (plain_renames && flags != 0)
        flags |= 1u << 30; /* which nobody knows */
    return __real_loop_renameat(loop, olddirfd, oldpath, newdirfd, newpath, flags, cb, arg, terms);
}

/* ---- what it does */

/* Goal: the file is made, or replaced by another one of the same name; in other directories, too, and by other ways. */
START_TEST(replaces)
{
    static const char *const paths[] = {"a", "./a", "dir/a", "dir/../dir/b", "dir//c"};
    char                     absolute[SCRATCH_PATH_MAX + 8];

    ck_assert_int_eq(mkdir("dir", 0755), 0);
    for (size_t i = 0; i < TEST_COUNT(paths); i++) {
        ck_assert_int_eq(whole_replace(paths[i], "one", 3, NULL), 0);
        ck_assert_uint_eq(told.size, 3);
        holds(paths[i], "one");
        ck_assert_int_eq(whole_replace(paths[i], "second", 6, NULL), 0);
        holds(paths[i], "second");
        ck_assert_int_eq(whole_replace(paths[i], NULL, 0, NULL), 0);
        holds(paths[i], "");
    }
    ck_assert_uint_eq(whole_temporaries("dir"), 0);
    (void)snprintf(absolute, sizeof(absolute), "%s/a", scratch_path());
    ck_assert_int_eq(whole_replace(absolute, "abs", 3, NULL), 0);
    holds("a", "abs");
    ck_assert_int_eq(whole_replace("a", "x", 1, &(struct loop_whole_options){.flags = LOOP_WHOLE_UNSYNCED}), 0);
    holds("a", "x");
}
END_TEST

/* Goal: who has the old file open keeps it; a link is replaced, not what it names; the longest name will do. */
START_TEST(names_and_links)
{
    char name[NAME_MAX + 1], data[4] = "";
    int  fd;

    scratch_write("a", "old", 3);
    fd = open("a", O_RDONLY | O_CLOEXEC);
    ck_assert_int_eq(symlink("a", "link"), 0);
    ck_assert_int_eq(link("a", "hard"), 0);
    ck_assert_int_eq(whole_replace("a", "new", 3, NULL), 0);
    ck_assert_int_eq(read(fd, data, 3), 3);
    ck_assert_str_eq(data, "old");
    holds("hard", "old");
    holds("link", "new");
    ck_assert_int_eq(whole_replace("link", "file", 4, NULL), 0);
    ck_assert(S_ISREG(stat_of("link").st_mode));
    holds("a", "new");
    test_close(fd);
    memset(name, 'n', NAME_MAX);
    name[NAME_MAX] = '\0';
    ck_assert_int_eq(whole_replace(name, "long", 4, NULL), 0);
    holds(name, "long");
}
END_TEST

/* Goal: mode and owner: the umask's without flags, the old file's with them. */
START_TEST(mode_and_owner)
{
    const struct loop_whole_options keep = {.flags = LOOP_WHOLE_KEEP_MODE | LOOP_WHOLE_KEEP_OWNER};
    const struct loop_whole_options keep_mode = {.flags = LOOP_WHOLE_KEEP_MODE, .mode = 0640};

    (void)umask(027);
    ck_assert_int_eq(whole_replace("a", "1", 1, NULL), 0);
    ck_assert_int_eq(stat_of("a").st_mode & 07777, 0640);
    ck_assert_int_eq(whole_replace("a", "1", 1, &(struct loop_whole_options){.mode = 0777}), 0);
    ck_assert_int_eq(stat_of("a").st_mode & 07777, 0750);
    ck_assert_int_eq(whole_replace("a", "2", 1, &keep_mode), 0);
    ck_assert_int_eq(stat_of("a").st_mode & 07777, 0750);
    ck_assert_int_eq(chmod("a", 0406), 0);
    ck_assert_int_eq(whole_replace("a", "2", 1, &keep_mode), 0);
    ck_assert_int_eq(stat_of("a").st_mode & 07777, 0406);
    ck_assert_int_eq(whole_replace("new", "2", 1, &keep), 0); /* there is none to keep from */
    ck_assert_int_eq(stat_of("new").st_mode & 07777, 0640);
    ck_assert_int_eq(symlink("a", "link"), 0);
    ck_assert_int_eq(whole_replace("link", "2", 1, &keep_mode), 0); /* not the 0777 of a link */
    ck_assert_int_eq(stat_of("link").st_mode & 07777, 0640);
    if (geteuid() != 0)
        return;
    ck_assert_int_eq(chown("a", 1234, 4321), 0);
    ck_assert_int_eq(chmod("a", 06755), 0);
    ck_assert_int_eq(whole_replace("a", "3", 1, &keep), 0);
    ck_assert_uint_eq(stat_of("a").st_uid, 1234);
    ck_assert_uint_eq(stat_of("a").st_gid, 4321);
    ck_assert_int_eq(stat_of("a").st_mode & 07777, 06755);
    ck_assert_int_eq(whole_replace("a", "4", 1, &keep_mode), 0);
    ck_assert_uint_eq(stat_of("a").st_uid, 0);
    ck_assert_int_eq(stat_of("a").st_mode & 07777, 0755); /* what ran with another's rights does not run with ours */
    holds("a", "4");
    ck_assert_int_eq(chown("a", 0, 4321), 0);
    ck_assert_int_eq(chmod("a", 06711), 0);
    ck_assert_int_eq(whole_replace("a", "5", 1, &keep_mode), 0);
    ck_assert_int_eq(stat_of("a").st_mode & 07777, 04711);
}
END_TEST

static void keep_without_rights(void)
{
    const struct loop_whole_options keep = {.flags = LOOP_WHOLE_KEEP_MODE | LOOP_WHOLE_KEEP_OWNER};

    world_loop = test_loop_new(NULL);
    scratch_write("mine", "old", 3);
    ck_assert_int_eq(chmod("mine", 06755), 0);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(whole_replace("mine", "new", 3, &keep), 0);
        ck_assert_int_eq(stat_of("mine").st_mode & 07777, 06755);
        holds("mine", "new");
    }
    ck_assert_int_eq(whole_replace("of_root", "new", 3, &keep), geteuid() == stat_of("of_root").st_uid ? 0 : -EPERM);
    ck_assert_uint_eq(whole_temporaries("."), 0);
    test_loop_free(world_loop);
}

/* Goal: set-user-id bits are kept for those, too, from whom the kernel takes them at a write. Method: without rights;
 * there a file of somebody else's cannot be replaced with its owner. */
START_TEST(mode_without_rights)
{
    scratch_write("of_root", "old", 3);
    test_loop_free(world_loop);
    scratch_unprivileged(keep_without_rights);
    world_loop = test_loop_new(NULL);
    holds("mine", "new");
}
END_TEST

/* Goal: LOOP_WHOLE_NEW never replaces, not even what came into being meanwhile. */
START_TEST(new_only)
{
    const struct loop_whole_options options = {.flags = LOOP_WHOLE_NEW};

    ck_assert_int_eq(whole_replace("a", "1", 1, &options), 0);
    ck_assert_int_eq(whole_replace("a", "2", 1, &options), -EEXIST);
    ck_assert_uint_eq(told.size, 0);
    holds("a", "1");
}
END_TEST

static void cancelled_after(uint32_t turns)
{
    const struct loop_whole_options options = {.flags = LOOP_WHOLE_NEW};

    (void)unlink("b");
    whole_start(2, "b", "new", 3, &options);
    for (uint32_t i = 0; i < turns && told.calls == 0; i++)
        (void)loop_dispatch(world_loop, LOOP_MILLISECOND);
    (void)loop_whole_cancel(&told.whole);
    test_run_until(world_loop, &told.calls, 1);
    ck_assert(told.error == 0 || told.error == -ECANCELED);
    ck_assert_uint_eq(told.size, told.error == 0 ? 3 : 0);
    ck_assert_int_eq(access("b", F_OK), told.error == 0 ? 0 : -1);
    ck_assert_uint_eq(whole_temporaries("."), 0);
}

/* Goal: the same where a rename can't be told not to replace, as on NFS; cancelled at any moment, too. */
START_TEST(new_without_flags)
{
    const struct loop_whole_options options = {.flags = LOOP_WHOLE_NEW};

    plain_renames = true;
    ck_assert_int_eq(whole_replace("a", "1", 1, &options), 0);
    ck_assert_uint_eq(told.size, 1);
    holds("a", "1");
    ck_assert_uint_eq(stat_of("a").st_nlink, 1);
    ck_assert_int_eq(whole_replace("a", "2", 1, &options), -EEXIST);
    ck_assert_uint_eq(told.size, 0);
    holds("a", "1");
    ck_assert_int_eq(whole_replace("a", "3", 1, NULL), 0);
    holds("a", "3");
    for (uint32_t turns = 0; turns < 20; turns++)
        cancelled_after(turns);
    plain_renames = false;
}
END_TEST

START_TEST(is_temporary)
{
    static const char *const others[] = {"",
                                         ".",
                                         "..",
                                         ".replacing",
                                         "a.23456789abcdefgf.replacing",
                                         ".a.23456789abcdefg.replacing",
                                         ".a.23456789abcdefgl.replacing",
                                         ".a.23456789abcdefgf.replacing~",
                                         "..23456789abcdefgf.replacing"};

    for (size_t i = 0; i < TEST_COUNT(others); i++)
        ck_assert_msg(!loop_whole_is_temporary(others[i]), "%s", others[i]);
    ck_assert(loop_whole_is_temporary(".a.23456789abcdefgf.replacing"));
}
END_TEST

/* ---- what goes wrong */

/* Goal: after any failure the old file stands, and no temporary. */
START_TEST(failures)
{
    struct rlimit before, small = {.rlim_cur = 1 << 20};
    uint8_t      *data = calloc(1, 2 << 20);

    scratch_write("a", "old", 3);
    ck_assert_int_eq(mkdir("dir", 0755), 0);
    ck_assert_int_eq(whole_replace("missing/a", "x", 1, NULL), -ENOENT);
    ck_assert_int_eq(whole_replace("a/b", "x", 1, NULL), -ENOTDIR);
    ck_assert_int_eq(whole_replace("dir", "x", 1, NULL), -EISDIR);
    ck_assert_int_eq(whole_replace("../x", "x", 1, &(struct loop_whole_options){.resolve = LOOP_PATH_BENEATH}), -EXDEV);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
    small.rlim_max = before.rlim_max;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    (void)signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(whole_replace("a", data, 2 << 20, NULL), -EFBIG);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
    ck_assert_uint_eq(told.size, 0);
    holds("a", "old");
    free(data);
}
END_TEST

/* Goal: the same on a full disk. Method: a small tmpfs. */
START_TEST(no_space)
{
    enum { ROOM = 1 << 20 };
    uint8_t *data = calloc(1, 2 * ROOM);
    size_t   size;

    if (!scratch_mount("small", ROOM)) {
        free(data);
        test_skip("mounting is not allowed");
        return;
    }
    scratch_write("small/a", "old", 3);
    ck_assert_int_eq(whole_replace("small/a", data, 2 * ROOM, NULL), -ENOSPC);
    free(scratch_read("small/a", &size));
    ck_assert_uint_eq(size, 3);
    ck_assert_uint_eq(whole_temporaries("small"), 0);
    ck_assert_int_eq(whole_replace("small/a", data, ROOM / 2, NULL), 0); /* the room is free again */
    ck_assert_uint_eq(whole_temporaries("small"), 0);
    free(data);
}
END_TEST

/* Goal: a deadline leaves the old file or the new, and no temporary. Method: deadlines of all lengths. */
START_TEST(deadlines)
{
    enum { SIZE = 4 << 20 };
    uint8_t *data = malloc(SIZE);
    uint32_t late = 0;

    pattern_fill(data, SIZE, 8);
    scratch_write("a", data, SIZE);
    for (uint64_t us = 1; us < 3000; us += us / 4 + 1) {
        int r = whole_replace("a", data, SIZE, &(struct loop_whole_options){.timeout_ns = us * LOOP_MICROSECOND});

        ck_assert(r == 0 || r == -ETIMEDOUT);
        late += r == -ETIMEDOUT;
        whole_replaced_wholly("a", SIZE, 8);
    }
    ck_assert_uint_gt(late, 0);
    free(data);
}
END_TEST

/* Goal: the end of the loop leaves a descriptor open that a thread is at work on: its number might be another file's by
 * then. Method: a change of the owner that takes a while, in whose midst the loop is destroyed. */
START_TEST(destroyed_while_owning)
{
    const struct loop_whole_options keep = {.flags = LOOP_WHOLE_KEEP_OWNER};

    scratch_write("a", "old", 3);
    slow.wait_ns = 50 * LOOP_MILLISECOND;
    whole_start(2, "a", "new", 3, &keep);
    for (int i = 0; i < 50000 && slow.begun == 0; i++) {
        (void)loop_run(world_loop, LOOP_RUN_NOWAIT);
        test_sleep(100 * LOOP_MICROSECOND);
    }
    ck_assert_int_eq(slow.begun, 1);
    test_loop_drop(world_loop);
    ck_assert_uint_eq(told.calls, 1);
    ck_assert_int_eq(told.error, -ECANCELED);
    ck_assert_int_eq(slow.lost, 0);
    holds("a", "old");
    world_loop = test_loop_new(NULL);
}
END_TEST

static uint32_t several_done;

static void one_of_several(struct loop_whole *whole, int error, void *data, size_t size)
{
    (void)whole;
    (void)data;
    ck_assert_int_eq(error, 0);
    ck_assert_uint_eq(size, 5000);
    several_done++;
}

/* Goal: replacements of one file at the same time: one of them stands, wholly. */
START_TEST(several_at_once)
{
    enum { COUNT = 20, SIZE = 5000 };
    static struct loop_whole wholes[COUNT];
    static uint8_t           data[COUNT][SIZE];
    size_t                   size;
    char                    *found;
    bool                     matched = false;

    for (uint32_t i = 0; i < COUNT; i++) {
        pattern_fill(data[i], SIZE, i);
        ck_assert_int_eq(loop_whole_replace(world_loop, &wholes[i], AT_FDCWD, "a", data[i], SIZE, NULL, one_of_several),
                         0);
    }
    test_run_until(world_loop, &several_done, COUNT);
    found = scratch_read("a", &size);
    ck_assert_uint_eq(size, SIZE);
    for (uint32_t i = 0; i < COUNT; i++)
        matched = matched || pattern_is(found, SIZE, i);
    ck_assert(matched);
    ck_assert_uint_eq(whole_temporaries("."), 0);
    free(found);
}
END_TEST

/* ---- kill -9 */

enum { KILLS = 100, KILL_SIZE = 200000 };

/* Replaces for ever, by two contents in turn; tells the parent that it has begun. */
static void replace_for_ever(int ready_fd)
{
    static uint8_t contents[2][KILL_SIZE];

    pattern_fill(contents[0], KILL_SIZE, 0);
    pattern_fill(contents[1], KILL_SIZE, 1);
    world_loop = test_loop_new(NULL);
    for (uint32_t i = 0; i < 100000; i++) {
        /* Some with a size of their own, so that a mixture of sizes would be found, too. */
        size_t size = i % 2 == 0 ? KILL_SIZE : KILL_SIZE / 2 + 77;

        if (whole_replace("a", contents[i % 2], size, NULL) != 0)
            _exit(1);
        if (i == 0 && write(ready_fd, "r", 1) != 1)
            _exit(1);
    }
    _exit(2);
}

static void kill_one(uint64_t delay_ns)
{
    int           fds[2], status;
    struct pollfd poll_fd;
    pid_t         pid;

    test_pipe(fds);
    pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0)
        replace_for_ever(fds[1]);
    test_close(fds[1]);
    poll_fd = (struct pollfd){.fd = fds[0], .events = POLLIN};
    ck_assert_int_eq(poll(&poll_fd, 1, 20000), 1);
    test_sleep(delay_ns);
    ck_assert_int_eq(kill(pid, SIGKILL), 0);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFSIGNALED(status), "the child ended by itself: %d", status);
    test_close(fds[0]);
}

/* Goal: killed at any moment, a process leaves the old content or the new, wholly; and temporaries that can be told
 * from other files. Method: a child that replaces for ever is killed after a random time, a hundred times. */
START_TEST(killed)
{
    uint64_t seed = test_env("TEST_SEED", test_clock());
    size_t   size;

    test_loop_free(world_loop); /* a child would have it, too */
    for (int i = 0; i < KILLS; i++) {
        char *found;
        bool  whole;

        kill_one(test_random(&seed) % (4 * LOOP_MILLISECOND));
        found = scratch_read("a", &size);
        whole = (size == KILL_SIZE && pattern_is(found, size, 0)) ||
                (size == KILL_SIZE / 2 + 77 && pattern_is(found, size, 1));
        ck_assert_msg(whole, "a mixture of %zu bytes, after %d kills", size, i);
        free(found);
    }
    (void)whole_temporaries("."); /* fails the test for what cannot be told to be one */
    world_loop = test_loop_new(NULL);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("replace");
    TCase *does = test_case(suite, "does");
    TCase *wrong = test_case(suite, "wrong");
    TCase *kills = test_case(suite, "kills");

    tcase_add_checked_fixture(does, world_open, world_close);
    tcase_add_test(does, replaces);
    tcase_add_test(does, names_and_links);
    tcase_add_test(does, mode_and_owner);
    tcase_add_test(does, mode_without_rights);
    tcase_add_test(does, new_only);
    tcase_add_test(does, new_without_flags);
    tcase_add_test(does, is_temporary);
    tcase_add_checked_fixture(wrong, world_open, world_close);
    tcase_add_test(wrong, failures);
    tcase_add_test(wrong, no_space);
    tcase_add_test(wrong, deadlines);
    tcase_add_test(wrong, destroyed_while_owning);
    tcase_add_test(wrong, several_at_once);
    tcase_add_checked_fixture(kills, world_open, world_close);
    tcase_add_test(kills, killed);
    return suite;
}
