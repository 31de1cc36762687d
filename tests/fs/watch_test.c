/* tests/fs/watch_test.c: watching files and directories. */
#include "tests/fs/watch_log.h"

#include <fcntl.h>
#include <ringloop/fork.h>
#include <sys/stat.h>
#include <sys/mount.h>
#include <sys/wait.h>

enum {
    ENTRIES = LOOP_WATCH_CREATED | LOOP_WATCH_DELETED | LOOP_WATCH_RENAMED | LOOP_WATCH_MOVED_IN | LOOP_WATCH_MOVED_OUT
};

static void append(const char *path)
{
    int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);

    ck_assert_int_ge(fd, 0);
    test_write(fd, "more", 4);
    close(fd);
}

/* Goal: everything that happens in a directory is told by its name, in order. Method: one of each. */
START_TEST(directory)
{
    struct loop      *loop = test_loop_new(NULL);
    struct watch_log *log;

    make_directory("d");
    log = watch_log_open(loop, "d", 0, 0);
    ck_assert(loop_watch_present(&log->watch));
    make_file("d/a");
    watch_log_expect(log, "created a;modified a;written a;");
    ck_assert_int_eq(chmod("d/a", 0600), 0);
    watch_log_expect(log, "attributes a;");
    move("d/a", "d/b");
    watch_log_expect(log, "renamed a>b;");
    move("d/b", "b");
    watch_log_expect(log, "moved-out b;");
    move("b", "d/c");
    watch_log_expect(log, "moved-in c;");
    make_directory("d/e");
    delete_directory("d/e");
    delete_file("d/c");
    watch_log_expect(log, "created e/;deleted e/;deleted c;");
    move("d", "f");
    watch_log_expect(log, "self-moved;");
    make_file("f/g");
    watch_log_expect(log, "created g;modified g;written g;");
    watch_log_close(log);
    test_loop_free(loop);
}
END_TEST

/* Goal: a file is watched by its path: by content, attributes and end. Method: one of each; nothing comes after it. */
START_TEST(file)
{
    struct loop      *loop = test_loop_new(NULL);
    struct watch_log *log;
    char              path[2 * SCRATCH_PATH_MAX];

    make_file("a");
    log = watch_log_open(loop, "a", 0, 0);
    (void)snprintf(path, sizeof(path), "%s/a", scratch_path());
    ck_assert_str_eq(loop_watch_path(&log->watch), path);
    append("a");
    watch_log_expect(log, "modified;written;");
    make_file("b");
    move("a", "c");
    watch_log_expect(log, "self-moved;");
    delete_file("c");
    watch_log_expect(log, "attributes;self-deleted;");
    ck_assert(!loop_watch_present(&log->watch));
    make_file("a");
    watch_log_expect(log, "");
    watch_log_close(log);
    test_loop_free(loop);
}
END_TEST

/* Goal: bad arguments and paths are refused, and leave nothing behind. */
START_TEST(refused)
{
    struct loop              *loop = test_loop_new(NULL);
    struct watch_log          log = {.loop = loop};
    struct loop_watch_options options[] = {
        {.events = 1u << 12},
        {.flags = 1u << 4},
        {.flags = LOOP_WATCH_PATH | LOOP_WATCH_TREE},
        {.flags = LOOP_WATCH_TREE | LOOP_WATCH_NOFOLLOW},
        {.poll_ns = 1},
        {.directories_max = 1},
        {.coalesce_max_ns = 1},
    };
    char longest[8192];

    for (size_t i = 0; i < TEST_COUNT(options); i++)
        ck_assert_int_eq(watch_log_start(&log, loop, ".", &options[i]), -EINVAL);
    ck_assert_int_eq(watch_log_start(&log, loop, "", NULL), -EINVAL);
    ck_assert_int_eq(watch_log_start(&log, loop, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_watch_start(loop, &log.watch, ".", NULL, NULL), -EINVAL);
    ck_assert_int_eq(watch_log_start(&log, loop, "missing", NULL), -ENOENT);
    make_file("file");
    ck_assert_int_eq(watch_log_start(&log, loop, "file/a", NULL), -ENOTDIR);
    ck_assert_int_eq(watch_log_start(&log, loop, "file", &(struct loop_watch_options){.flags = LOOP_WATCH_TREE}),
                     -ENOTDIR);
    memset(longest, 'a', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    ck_assert_int_eq(watch_log_start(&log, loop, longest, NULL), -ENAMETOOLONG);
    ck_assert_int_eq(watch_log_start(&log, loop, ".", NULL), 0);
    ck_assert_int_eq(watch_log_start(&log, loop, ".", NULL), -EBUSY);
    loop_watch_close(&log.watch, watch_log_close_cb);
    loop_watch_close(&log.watch, NULL);
    test_run(loop);
    ck_assert_uint_eq(log.closes, 1);
    loop_watch_close(&log.watch, NULL);
    ck_assert_ptr_null(loop_watch_path(&log.watch));
    test_loop_free(loop);
}
END_TEST

/* Goal: several watches of one inode, also by other names: each is told what it asked for, and goes by itself. Method:
 * four of them with different masks, closed one after the other. */
START_TEST(same_inode)
{
    struct loop      *loop = test_loop_new(NULL);
    struct watch_log *created, *deleted, *all, *late;

    make_directory("d");
    ck_assert_int_eq(symlink("d", "link"), 0);
    created = watch_log_open(loop, "d", LOOP_WATCH_CREATED, 0);
    deleted = watch_log_open(loop, "link", LOOP_WATCH_DELETED, 0);
    all = watch_log_open(loop, "d/.", ENTRIES | LOOP_WATCH_WRITTEN, 0);
    make_file("d/a");
    late = watch_log_open(loop, "d", 0, 0); /* knows nothing of a */
    delete_file("d/a");
    watch_log_expect(all, "created a;written a;deleted a;");
    watch_log_expect(created, "created a;");
    watch_log_expect(deleted, "deleted a;");
    watch_log_expect(late, "deleted a;");
    watch_log_close(all);
    make_file("d/b");
    watch_log_expect(created, "created b;");
    watch_log_expect(deleted, "");
    watch_log_close(created);
    watch_log_close(late);
    delete_file("d/b");
    watch_log_expect(deleted, "deleted b;");
    delete_directory("d");
    watch_log_expect(deleted, "self-deleted;");
    watch_log_close(deleted);
    test_loop_free(loop);
}
END_TEST

/* Goal: equal events are told once, also when others of their kind stand between; not across a change of what the name
 * leads to. Method: many changes before the loop looks. */
START_TEST(coalesced)
{
    struct loop      *loop = test_loop_new(NULL);
    struct watch_log *log;

    make_directory("d");
    make_file("d/a");
    make_file("d/b");
    log = watch_log_open(loop, "d", 0, 0);
    for (int i = 0; i < 50; i++) {
        append("d/a");
        append("d/b");
    }
    watch_log_expect(log, "modified a;written a;modified b;written b;");
    append("d/a");
    delete_file("d/a");
    make_file("d/a");
    append("d/a");
    watch_log_expect(log, "modified a;written a;deleted a;created a;modified a;written a;");
    watch_log_close(log);
    test_loop_free(loop);
}
END_TEST

/* Goal: with coalesce_ns nothing is told before it has been quiet, and all of it after coalesce_max_ns at the latest.
 * Method: i 0: an hour of quiet, at most 20 ms; 1: 20 ms of quiet; a change in each of many turns meanwhile. */
START_TEST(settled)
{
    struct loop              *loop = test_loop_new(NULL);
    struct watch_log         *log = calloc(1, sizeof(*log));
    struct loop_watch_options options = {
        .events = LOOP_WATCH_MODIFIED,
        .coalesce_ns = _i == 0 ? 3600 * LOOP_SECOND : 20 * LOOP_MILLISECOND,
        .coalesce_max_ns = _i == 0 ? 20 * LOOP_MILLISECOND : 3600 * LOOP_SECOND,
    };

    make_file("a");
    ck_assert_int_eq(watch_log_start(log, loop, ".", &options), 0);
    for (int i = 0; i < 5; i++) {
        append("a");
        test_turns(loop, 3);
    }
    watch_log_wait(log, LOOP_WATCH_MODIFIED, 1);
    ck_assert_uint_eq(log->events, 1);
    watch_log_close(log);
    test_loop_free(loop);
}
END_TEST

static void close_other(struct loop_watch *watch, const struct loop_watch_event *event)
{
    watch_log_cb(watch, event);
    loop_watch_close(&((struct watch_log *)watch->data)[1].watch, watch_log_close_cb);
}

/* Goal: a watch may be closed in its own callback, and in that of another, with events waiting: none follows. */
START_TEST(close_inside)
{
    struct loop      *loop = test_loop_new(NULL);
    struct watch_log *logs = calloc(2, sizeof(*logs));

    logs[0].watch.data = &logs[0];
    ck_assert_int_eq(loop_watch_start(loop, &logs[0].watch, ".", NULL, close_other), 0);
    ck_assert_int_eq(watch_log_start(&logs[1], loop, ".", NULL), 0);
    logs[0].close_inside = true;
    make_file("a");
    make_file("b");
    test_run(loop);
    ck_assert_uint_eq(logs[0].events, 1);
    ck_assert_uint_eq(logs[0].closes, 1);
    ck_assert_uint_eq(logs[1].events, 0);
    ck_assert_uint_eq(logs[1].closes, 1);
    free(logs);
    test_loop_free(loop);
}
END_TEST

/* Goal: no event after a close, not of what the kernel has told by then either; none on close. Method: closes at once,
 * after a change, after turns, and starts anew in the close callback's wake. */
START_TEST(close_and_again)
{
    struct loop     *loop = test_loop_new(NULL);
    struct watch_log log = {0};

    for (uint32_t i = 0; i < 20; i++) {
        log.closes = 0;
        ck_assert_int_eq(watch_log_start(&log, loop, ".", NULL), 0);
        if (i % 4 > 0)
            test_turns(loop, i % 3);
        if (i % 2 == 1)
            make_file("a");
        loop_watch_close(&log.watch, watch_log_close_cb);
        ck_assert(loop_watch_closing(&log.watch));
        test_run(loop);
        ck_assert_uint_eq(log.closes, 1);
        ck_assert_uint_eq(log.events, 0);
    }
    test_loop_free(loop);
}
END_TEST

/* Goal: an open watch keeps the loop alive unless it is told not to; loop_destroy() closes those that are open. */
START_TEST(references)
{
    struct loop      *loop = test_loop_new(NULL);
    struct watch_log *log = calloc(2, sizeof(*log));

    ck_assert_int_eq(
        watch_log_start(&log[0], loop, ".",
                        &(struct loop_watch_options){.flags = LOOP_WATCH_UNREF, .on_close = watch_log_close_cb}),
        0);
    test_run(loop);
    ck_assert(!loop_alive(loop));
    ck_assert_int_eq(
        watch_log_start(&log[1], loop, ".",
                        &(struct loop_watch_options){.flags = LOOP_WATCH_TREE, .on_close = watch_log_close_cb}),
        0);
    ck_assert(loop_alive(loop));
    make_file("a");
    test_loop_drop(loop);
    ck_assert_uint_eq(log[0].closes, 1);
    ck_assert_uint_eq(log[1].closes, 1);
    free(log);
}
END_TEST

/* Goal: whether it keeps the loop alive can be changed at any time, as often as one likes; closing, it does until its
 * close callback. Method: a run returns as soon as nothing is left that would keep it; the tree is closed when a
 * thread may still list it. */
START_TEST(references_change)
{
    struct loop      *loop = test_loop_new(NULL);
    struct watch_log *log = calloc(1, sizeof(*log));
    uint32_t          flags = _i == 0 ? 0 : LOOP_WATCH_TREE;

    loop_watch_ref(&log->watch); /* not open: nothing */
    loop_watch_unref(&log->watch);
    ck_assert(!loop_watch_has_ref(&log->watch));
    ck_assert_int_eq(watch_log_start(log, loop, ".", &(struct loop_watch_options){.flags = flags}), 0);
    ck_assert(loop_watch_has_ref(&log->watch));
    for (int i = 0; i < 2; i++) {
        loop_watch_unref(&log->watch);
        loop_watch_unref(&log->watch);
        ck_assert(!loop_watch_has_ref(&log->watch));
        ck_assert(!loop_alive(loop));
        ck_assert_int_eq(loop_run(loop, LOOP_RUN_DEFAULT), 0);
        loop_watch_ref(&log->watch);
        loop_watch_ref(&log->watch);
        ck_assert(loop_watch_has_ref(&log->watch) && loop_alive(loop));
    }
    loop_watch_close(&log->watch, watch_log_close_cb);
    test_run(loop);
    ck_assert_uint_eq(log->closes, 1);
    ck_assert(!loop_watch_has_ref(&log->watch));

    flags |= LOOP_WATCH_UNREF;
    ck_assert_int_eq(watch_log_start(log, loop, ".", &(struct loop_watch_options){.flags = flags}), 0);
    ck_assert(!loop_watch_has_ref(&log->watch));
    test_turns(loop, 1);
    loop_watch_close(&log->watch, watch_log_close_cb);
    loop_watch_unref(&log->watch); /* closing: nothing */
    ck_assert(loop_watch_has_ref(&log->watch) && loop_alive(loop));
    test_run(loop);
    ck_assert_uint_eq(log->closes, 2);
    test_loop_free(loop);
    free(log);
}
END_TEST

/* Goal: a symbolic link is followed, or not, as asked. */
START_TEST(links)
{
    struct loop      *loop = test_loop_new(NULL);
    struct watch_log *target, *link;

    make_file("a");
    ck_assert_int_eq(symlink("a", "link"), 0);
    target = watch_log_open(loop, "link", LOOP_WATCH_MODIFIED, 0);
    link = watch_log_open(loop, "link", LOOP_WATCH_MODIFIED, LOOP_WATCH_NOFOLLOW);
    append("a");
    watch_log_expect(target, "modified;");
    delete_file("link");
    watch_log_expect(link, "self-deleted;");
    watch_log_close(target);
    watch_log_close(link);
    test_loop_free(loop);
}
END_TEST

/* Goal: an unmounted file system ends its watches. Root only. */
START_TEST(unmounted)
{
    struct loop      *loop = test_loop_new(NULL);
    struct watch_log *log, *tree;
    char              path[2 * SCRATCH_PATH_MAX];

    if (!scratch_mount("m", 1 << 20)) {
        test_loop_free(loop);
        test_skip("mounting is not allowed");
        return;
    }
    log = watch_log_open(loop, "m", 0, 0);
    tree = watch_log_open(loop, ".", 0, LOOP_WATCH_TREE);
    watch_log_expect(tree, "ready;");
    (void)snprintf(path, sizeof(path), "%s/m", scratch_path());
    ck_assert_int_eq(umount2(path, MNT_DETACH), 0);
    watch_log_expect(log, "unmounted;");
    watch_log_expect(tree, "unmounted m/;");
    watch_log_close(log);
    watch_log_close(tree);
    test_loop_free(loop);
}
END_TEST

/* ---- paths */

static void replace(const char *path)
{
    make_file("new");
    move("new", path);
}

/* Goal: a path is followed over its coming, replacement by rename or by an editor, and going, with its directories.
 * Method: one of each, starting with nothing there. */
START_TEST(path_followed)
{
    enum { EVENTS = LOOP_WATCH_APPEARED | LOOP_WATCH_DISAPPEARED | LOOP_WATCH_REPLACED | LOOP_WATCH_WRITTEN };
    struct loop      *loop = test_loop_new(NULL);
    struct watch_log *log = watch_log_open(loop, "d/e/f", EVENTS, LOOP_WATCH_PATH);

    ck_assert(!loop_watch_present(&log->watch));
    make_directory("d");
    watch_log_expect(log, "");
    make_directory("d/e");
    make_file("d/e/other");
    watch_log_expect(log, "");
    replace("d/e/f");
    watch_log_expect(log, "appeared;");
    ck_assert(loop_watch_present(&log->watch));
    append("d/e/f");
    watch_log_expect(log, "written;");
    replace("d/e/f");
    watch_log_expect(log, "replaced;");
    append("d/e/f");
    watch_log_expect(log, "written;");
    delete_file("d/e/f");
    replace("d/e/f");
    watch_log_expect(log, "replaced;");
    move("d/e", "d/g");
    watch_log_expect(log, "disappeared;");
    append("d/g/f");
    watch_log_expect(log, "");
    move("d", "h");
    move("h", "d");
    move("d/g", "d/e");
    watch_log_expect(log, "appeared;");
    append("d/e/f");
    watch_log_expect(log, "written;");
    delete_file("d/e/f");
    watch_log_expect(log, "disappeared;");
    watch_log_close(log);
    test_loop_free(loop);
}
END_TEST

/* Goal: links on the way that are set anew are noticed: Kubernetes' way of replacing a volume, and releases of a
 * deployment by an absolute link. Method: swaps them by rename, removes them, makes loops of them. */
START_TEST(path_links)
{
    enum { EVENTS = LOOP_WATCH_APPEARED | LOOP_WATCH_DISAPPEARED | LOOP_WATCH_REPLACED };
    struct loop      *loop = test_loop_new(NULL);
    struct watch_log *log;
    char              target[2 * SCRATCH_PATH_MAX];

    make_directory("v");
    make_directory("v/..1");
    make_directory("v/..2");
    make_file("v/..1/key");
    make_file("v/..2/key");
    ck_assert_int_eq(symlink("..1", "v/..data"), 0);
    ck_assert_int_eq(symlink("..data/key", "v/key"), 0);
    (void)snprintf(target, sizeof(target), "%s/v", scratch_path());
    ck_assert_int_eq(symlink(target, "current"), 0);
    log = watch_log_open(loop, "current/../v/./key", EVENTS, LOOP_WATCH_PATH);
    ck_assert_int_eq(symlink("..2", "v/..tmp"), 0);
    move("v/..tmp", "v/..data");
    watch_log_expect(log, "replaced;");
    delete_file("v/..1/key");
    watch_log_expect(log, "");
    delete_file("current");
    watch_log_expect(log, "disappeared;");
    ck_assert_int_eq(symlink("v", "current"), 0);
    watch_log_expect(log, "appeared;");
    delete_file("v/..data");
    ck_assert_int_eq(symlink("..data", "v/..data"), 0);
    watch_log_expect(log, "disappeared;failed  40;");
    delete_file("v/..data");
    ck_assert_int_eq(symlink("..1", "v/..data"), 0);
    watch_log_expect(log, "");
    replace("v/..1/key");
    watch_log_expect(log, "appeared;");
    watch_log_close(log);
    test_loop_free(loop);
}
END_TEST

/* Goal: a path to a directory tells what is in it; two paths through one directory do not disturb each other. */
START_TEST(path_of_directory)
{
    struct loop      *loop = test_loop_new(NULL);
    struct watch_log *log = watch_log_open(loop, "d", ENTRIES | LOOP_WATCH_APPEARED, LOOP_WATCH_PATH);
    struct watch_log *other = watch_log_open(loop, "e", LOOP_WATCH_APPEARED, LOOP_WATCH_PATH);

    make_directory("d");
    watch_log_expect(log, "appeared;");
    make_file("d/a");
    watch_log_expect(log, "created a;");
    watch_log_close(log);
    make_file("e");
    watch_log_expect(other, "appeared;");
    watch_log_close(other);
    test_loop_free(loop);
}
END_TEST

/* Goal: nobody is missed however the changes fall between looks. Method: a child replaces the file 100 times as fast as
 * it can; when it has ended, the last replacement has been told, and the watch is on the last file. */
START_TEST(path_replaced_often)
{
    enum { EVENTS = LOOP_WATCH_REPLACED | LOOP_WATCH_APPEARED | LOOP_WATCH_DISAPPEARED | LOOP_WATCH_WRITTEN };
    struct loop      *loop = test_loop_new(NULL);
    struct watch_log *log;
    pid_t             child, ended = 0;
    int               status = 0;

    make_file("a");
    log = watch_log_open(loop, "a", EVENTS, LOOP_WATCH_PATH);
    child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        for (int i = 0; i < 100; i++)
            replace("a");
        _exit(0);
    }
    for (int i = 0; i < 20000 && ended == 0; i++) {
        test_turns(loop, 2);
        test_sleep(LOOP_MILLISECOND);
        ended = waitpid(child, &status, WNOHANG);
    }
    ck_assert_int_eq(ended, child);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    watch_settle(loop);
    ck_assert_uint_ge(watch_log_count(log, LOOP_WATCH_REPLACED), 1);
    log->length = 0;
    append("a");
    watch_log_expect(log, "written;");
    watch_log_close(log);
    test_loop_free(loop);
}
END_TEST

/* ---- fork */

static void watches_in_child(void *arg)
{
    struct watch_log **logs = arg, *late;
    struct loop       *loop = logs[0]->loop;

    ck_assert_int_eq(loop_fork(loop), 0);
    make_file("child");
    watch_log_wait(logs[0], LOOP_WATCH_OVERFLOW, 1);
    watch_log_wait(logs[1], LOOP_WATCH_OVERFLOW, 1);
    watch_log_wait(logs[2], LOOP_WATCH_OVERFLOW, 1);
    watch_settle(loop);
    logs[0]->length = logs[1]->length = logs[2]->length = 0;
    make_file("t/a/child");
    watch_log_expect(logs[2], "created t/a/child;");
    make_file("p");
    watch_log_expect(logs[1], "written;");
    make_file("e");
    watch_log_expect(logs[0], "created e;");
    late = watch_log_open(loop, "t", LOOP_WATCH_CREATED, 0);
    make_file("t/f");
    watch_log_expect(late, "created f;");
    watch_log_close(late);
    for (int i = 0; i < 3; i++)
        watch_log_close(logs[i]);
    test_loop_free(loop);
}

/* Goal: in a child of fork(2) watches go on, with an inotify descriptor of its own, and say that events were lost; the
 * parent misses none. Method: a directory, a path and a tree; what the child makes is told to both. */
START_TEST(forked)
{
    struct loop      *loop;
    struct watch_log *logs[3];

    TEST_FORKS_WITH_THREADS;
    loop = test_loop_new(NULL);
    make_directory("t");
    make_directory("t/a");
    make_file("p");
    logs[0] = watch_log_open(loop, ".", LOOP_WATCH_CREATED, 0);
    logs[1] =
        watch_log_open(loop, "p", LOOP_WATCH_WRITTEN | LOOP_WATCH_APPEARED | LOOP_WATCH_REPLACED, LOOP_WATCH_PATH);
    logs[2] = watch_log_open(loop, ".", LOOP_WATCH_CREATED, LOOP_WATCH_TREE);
    watch_log_expect(logs[2], "ready;");
    test_in_child(watches_in_child, logs);
    watch_log_expect(logs[0], "created child;created e;");
    watch_log_expect(logs[1], "written;");
    watch_log_expect(logs[2], "created child;created t/a/child;created e;created t/f;");
    for (int i = 0; i < 3; i++)
        watch_log_close(logs[i]);
    test_loop_free(loop);
}
END_TEST

static void watch_anew(struct loop *loop, const char *name, const char *expected)
{
    struct watch_log *log = watch_log_open(loop, ".", LOOP_WATCH_CREATED, 0);

    make_file(name);
    watch_log_expect(log, expected);
    watch_log_close(log);
    test_loop_free(loop);
}

static void watch_in_child(void *loop)
{
    TEST_TRUE_IN_CHILD(loop_fork(loop) == 0);
    watch_anew(loop, "a", "created a;");
}

/* Goal: a descriptor that no watch uses at the fork is not shared either. */
START_TEST(forked_unused)
{
    struct loop *loop = test_loop_new(NULL);

    watch_log_close(watch_log_open(loop, ".", 0, 0));
    test_in_child(watch_in_child, loop);
    watch_anew(loop, "b", "created b;");
}
END_TEST

/* ---- limits */

/* Goal: without inotify descriptors, or watches, the start says so, and works later. */
START_TEST(limits_of_the_user)
{
    static const char *const names[] = {"max_inotify_instances", "max_inotify_watches"};
    struct watch_log         log = {0};
    struct loop             *loop;

    if (!watch_limit(names[_i], 0))
        return;
    loop = test_loop_new(NULL);
    ck_assert_int_eq(watch_log_start(&log, loop, ".", NULL), _i == 0 ? -EMFILE : -ENOSPC);
    watch_limit_set(names[_i], 10);
    ck_assert_int_eq(watch_log_start(&log, loop, ".", NULL), 0);
    loop_watch_close(&log.watch, NULL);
    test_run(loop);
    test_loop_free(loop);
}
END_TEST

static void scenario(struct loop *loop)
{
    static const uint32_t flags[] = {0, LOOP_WATCH_PATH, LOOP_WATCH_TREE};
    struct watch_log     *logs = calloc(3, sizeof(*logs));
    uint32_t              open = 0;

    for (int i = 0; i < 3; i++) {
        int r = watch_log_start(&logs[i], loop, "d", &(struct loop_watch_options){.flags = flags[i]});

        ck_assert(r == 0 || r == -ENOMEM);
        open += r == 0;
    }
    make_directory("d/e");
    make_file("d/e/a");
    test_turns(loop, 3);
    move("d/e", "d/f");
    make_file("d/f/b");
    for (int i = 0; i < 15; i++) {
        test_turns(loop, 1);
        test_sleep(LOOP_MILLISECOND);
    }
    delete_file("d/f/a");
    delete_file("d/f/b");
    delete_directory("d/f");
    test_turns(loop, 2);
    for (int i = 0; i < 3; i++)
        loop_watch_close(&logs[i].watch, watch_log_close_cb);
    test_run(loop);
    ck_assert_uint_eq(logs[0].closes + logs[1].closes + logs[2].closes, open);
    free(logs);
}

/* Goal: any allocation may fail: calls say so, or an overflow is told, and nothing is left. Method: the n-th of them
 * fails, for each n until none is met. */
START_TEST(without_memory)
{
    uint32_t nth = 1;

    make_directory("d");
    for (bool met = true; met && nth < 500; nth++) {
        struct loop *loop = test_loop_new(NULL);

        test_memory.fail_at = test_memory.calls + nth;
        scenario(loop);
        met = test_memory.calls >= test_memory.fail_at;
        test_memory.fail_at = 0;
        test_loop_free(loop);
    }
    ck_assert_uint_gt(nth, 10);
    ck_assert_uint_lt(nth, 500);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("watch");
    TCase *tc = test_case(suite, "entries");

    tcase_add_checked_fixture(tc, scratch_make, scratch_remove);
    tcase_add_test(tc, directory);
    tcase_add_test(tc, file);
    tcase_add_test(tc, refused);
    tcase_add_test(tc, same_inode);
    tcase_add_test(tc, coalesced);
    tcase_add_loop_test(tc, settled, 0, 2);
    tcase_add_test(tc, close_inside);
    tcase_add_test(tc, close_and_again);
    tcase_add_test(tc, references);
    tcase_add_loop_test(tc, references_change, 0, 2);
    tcase_add_test(tc, links);
    tcase_add_test(tc, unmounted);
    tc = test_case(suite, "paths");
    tcase_add_checked_fixture(tc, scratch_make, scratch_remove);
    tcase_add_test(tc, path_followed);
    tcase_add_test(tc, path_links);
    tcase_add_test(tc, path_of_directory);
    tcase_add_test(tc, path_replaced_often);
    tc = test_case(suite, "fork");
    tcase_add_checked_fixture(tc, scratch_make, scratch_remove);
    tcase_add_test(tc, forked);
    tcase_add_test(tc, forked_unused);
    tc = test_case(suite, "limits");
    tcase_add_checked_fixture(tc, scratch_make, scratch_remove);
    tcase_add_loop_test(tc, limits_of_the_user, 0, 2);
    tcase_add_test(tc, without_memory);
    return suite;
}
