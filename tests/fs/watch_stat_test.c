/* tests/fs/watch_stat_test.c: looking at files from time to time; which file systems need it. */
#include "tests/fs/watch_log.h"

#include <fcntl.h>
#include <sys/stat.h>

enum { TOLD_MAX = 16 };

struct told {
    int      error;
    bool     had, has;
    uint64_t size_before, size, inode;
};

struct look {
    struct loop_stat_watch watch;
    struct loop           *loop;
    struct told            told[TOLD_MAX];
    uint32_t               count, closes;
    bool                   close_inside;
};

static void closed_cb(struct loop_stat_watch *watch)
{
    struct look *look = watch->data;

    ck_assert_ptr_null(loop_stat_watch_loop(watch));
    look->closes++;
}

static void told_cb(struct loop_stat_watch *watch, int error, const struct statx *previous, const struct statx *present)
{
    struct look *look = watch->data;

    ck_assert_uint_eq(look->closes, 0);
    ck_assert_uint_lt(look->count, TOLD_MAX);
    ck_assert_int_eq(present != NULL, error == 0);
    look->told[look->count++] = (struct told){
        .error = error,
        .had = previous != NULL,
        .has = present != NULL,
        .size_before = previous == NULL ? 0 : previous->stx_size,
        .size = present == NULL ? 0 : present->stx_size,
        .inode = present == NULL ? 0 : present->stx_ino,
    };
    if (look->close_inside)
        loop_stat_watch_close(watch, closed_cb);
}

static void look_start(struct look *look, struct loop *loop, const char *path, uint32_t flags)
{
    struct loop_stat_watch_options options = {.interval_ns = LOOP_MILLISECOND, .flags = flags, .on_close = closed_cb};

    *look = (struct look){.loop = loop, .watch.data = look};
    ck_assert_int_eq(loop_stat_watch_start(loop, &look->watch, path, &options, told_cb), 0);
    ck_assert_str_eq(loop_stat_watch_path(&look->watch), path);
}

static void look_until(struct look *look, uint32_t count)
{
    for (int i = 0; i < 10000 && look->count < count; i++) {
        test_turns(look->loop, 1);
        test_sleep(LOOP_MILLISECOND);
    }
    watch_settle(look->loop);
    ck_assert_uint_eq(look->count, count);
}

static void look_close(struct look *look)
{
    loop_stat_watch_close(&look->watch, NULL);
    loop_stat_watch_close(&look->watch, NULL);
    test_run(look->loop);
    ck_assert_uint_eq(look->closes, 1);
}

/* What the kernel was asked for a watch that is closed keeps no loop alive, but ends, and is then freed. */
static void loop_free(struct loop *loop)
{
    for (int i = 0; i < 10000 && test_stats(loop).ops_in_flight > 0; i++) {
        test_turns(loop, 1);
        test_sleep(LOOP_MILLISECOND);
    }
    test_loop_free(loop);
}

/* Goal: what is there at first is told, then each change, once; that it is missing once, and that it has come. Method:
 * a file that is made, grows, gets another mode, is read, goes and comes. */
START_TEST(told)
{
    struct loop *loop = test_loop_new(NULL);
    struct look  look;

    make_file("a");
    look_start(&look, loop, "a", 0);
    look_until(&look, 1);
    ck_assert(look.told[0].error == 0 && !look.told[0].had && look.told[0].size == 1);
    scratch_write("a", "four", 4);
    look_until(&look, 2);
    ck_assert(look.told[1].had && look.told[1].size_before == 1 && look.told[1].size == 4);
    ck_assert_int_eq(chmod("a", 0600), 0);
    look_until(&look, 3);
    free(scratch_read("a", NULL));
    look_until(&look, 3);
    delete_file("a");
    look_until(&look, 4);
    ck_assert(look.told[3].error == -ENOENT && look.told[3].had && look.told[3].size_before == 4);
    look_until(&look, 4);
    make_file("a");
    look_until(&look, 5);
    ck_assert(look.told[4].error == 0 && !look.told[4].had && look.told[4].size == 1);
    look_close(&look);
    loop_free(loop);
}
END_TEST

/* Goal: a missing file is told at first; another errno, too. */
START_TEST(missing)
{
    struct loop *loop = test_loop_new(NULL);
    struct look  look;

    look_start(&look, loop, "d/a", 0);
    look_until(&look, 1);
    ck_assert(look.told[0].error == -ENOENT && !look.told[0].had);
    make_file("d");
    look_until(&look, 2);
    ck_assert(look.told[1].error == -ENOTDIR && !look.told[1].had);
    look_close(&look);
    loop_free(loop);
}
END_TEST

/* Goal: a link is followed, or looked at itself. */
START_TEST(links)
{
    struct loop *loop = test_loop_new(NULL);
    struct look  followed, itself;

    make_file("a");
    ck_assert_int_eq(symlink("a", "link"), 0);
    look_start(&followed, loop, "link", LOOP_STAT_WATCH_SYNC);
    look_start(&itself, loop, "link", LOOP_STAT_WATCH_NOFOLLOW);
    look_until(&followed, 1);
    look_until(&itself, 1);
    scratch_write("a", "four", 4);
    look_until(&followed, 2);
    look_until(&itself, 1);
    ck_assert_uint_ne(itself.told[0].inode, followed.told[0].inode);
    loop_stat_watch_close(&itself.watch, NULL);
    look_close(&followed);
    ck_assert_uint_eq(itself.closes, 1);
    loop_free(loop);
}
END_TEST

/* Goal: closing at any moment, also inside, and starting anew; nothing is told after it. */
START_TEST(close_at_any_time)
{
    struct loop *loop = test_loop_new(NULL);
    struct look  look;

    make_file("a");
    for (uint32_t i = 0; i < 20; i++) {
        look_start(&look, loop, "a", 0);
        test_turns(loop, i % 5);
        look.count = 0;
        look.close_inside = i % 7 == 6;
        if (look.close_inside) {
            scratch_write("a", "other", i % 5);
            for (int j = 0; j < 10000 && look.closes == 0; j++) {
                test_turns(loop, 1);
                test_sleep(LOOP_MILLISECOND);
            }
            ck_assert_uint_eq(look.count, 1);
        }
        look.close_inside = false;
        if (look.closes == 0)
            look_close(&look);
        else
            test_run(loop);
    }
    loop_free(loop);
}
END_TEST

/* Goal: bad arguments; what keeps the loop alive; loop_destroy() closes. */
START_TEST(life)
{
    struct loop                   *loop = test_loop_new(NULL);
    struct look                    look = {0}, unref;
    struct loop_stat_watch_options options = {.flags = 8};
    char                           longest[8192];

    memset(longest, 'a', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    ck_assert_int_eq(loop_stat_watch_start(loop, &look.watch, "a", &options, told_cb), -EINVAL);
    ck_assert_int_eq(loop_stat_watch_start(loop, &look.watch, "", NULL, told_cb), -EINVAL);
    ck_assert_int_eq(loop_stat_watch_start(loop, &look.watch, "a", NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_stat_watch_start(loop, &look.watch, longest, NULL, told_cb), -ENAMETOOLONG);
    look_start(&unref, loop, "a", LOOP_STAT_WATCH_UNREF);
    test_run(loop);
    ck_assert(!loop_alive(loop));
    look_start(&look, loop, "a", 0);
    ck_assert_int_eq(loop_stat_watch_start(loop, &look.watch, "a", NULL, told_cb), -EBUSY);
    ck_assert(loop_alive(loop));
    test_loop_drop(loop);
    ck_assert_uint_eq(look.closes, 1);
    ck_assert_uint_eq(unref.closes, 1);
}
END_TEST

/* Goal: whether it keeps the loop alive can be changed at any time, also while the kernel looks; closing, it does until
 * its close callback. Method: a run returns as soon as nothing is left that would keep it. */
START_TEST(references)
{
    struct loop *loop = test_loop_new(NULL);
    struct look  look = {0};

    loop_stat_watch_ref(&look.watch); /* not open: nothing */
    ck_assert(!loop_stat_watch_has_ref(&look.watch));
    look_start(&look, loop, "a", 0);
    for (int i = 0; i < 2; i++) { /* in the first round it looks, in the second its timer runs */
        ck_assert(loop_stat_watch_has_ref(&look.watch) && loop_alive(loop));
        loop_stat_watch_unref(&look.watch);
        loop_stat_watch_unref(&look.watch);
        ck_assert(!loop_stat_watch_has_ref(&look.watch) && !loop_alive(loop));
        ck_assert_int_eq(loop_run(loop, LOOP_RUN_DEFAULT), 0);
        loop_stat_watch_ref(&look.watch);
        loop_stat_watch_ref(&look.watch);
        look_until(&look, 1);
    }
    loop_stat_watch_unref(&look.watch);
    loop_stat_watch_close(&look.watch, NULL);
    loop_stat_watch_unref(&look.watch); /* closing: nothing */
    ck_assert(loop_stat_watch_has_ref(&look.watch) && loop_alive(loop));
    test_run(loop);
    ck_assert_uint_eq(look.closes, 1);
    ck_assert(!loop_stat_watch_has_ref(&look.watch));
    loop_free(loop);
}
END_TEST

/* Goal: it is known where inotify tells nothing. */
START_TEST(reliable)
{
    ck_assert_int_eq(loop_watch_reliable("/proc/self"), 0);
    ck_assert_int_eq(loop_watch_reliable("/sys"), 0);
    ck_assert_int_eq(loop_watch_reliable("."), 1);
    ck_assert_int_eq(loop_watch_reliable("missing"), 1);
    ck_assert_int_eq(loop_watch_reliable("missing/missing"), -ENOENT);
    ck_assert_int_eq(loop_watch_reliable(NULL), -EINVAL);
}
END_TEST

/* Goal: a path where inotify tells nothing is looked at, if asked; elsewhere it is not. Method: what /proc shows of a
 * descriptor changes when another file is opened under its number; counts the operations of one on a disk. */
START_TEST(path_polled)
{
    struct loop              *loop = test_loop_new(NULL);
    struct watch_log         *log = calloc(2, sizeof(*log));
    struct loop_watch_options options = {
        .flags = LOOP_WATCH_PATH,
        .events = LOOP_WATCH_APPEARED | LOOP_WATCH_DISAPPEARED,
        .poll_ns = LOOP_MILLISECOND,
    };
    struct loop_op_stats looks;
    char                 path[64];
    int                  fd;

    ck_assert_int_eq(watch_log_start(&log[1], loop, "a", &options), 0);
    watch_settle(loop);
    ck_assert_int_eq(loop_op_stats_get(loop, LOOP_OP_STATX, &looks), 0);
    ck_assert_uint_eq(looks.started, 0);
    fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    (void)snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", (int)getpid(), fd + 100);
    ck_assert_int_eq(watch_log_start(&log[0], loop, path, &options), 0);
    ck_assert_int_eq(dup3(fd, fd + 100, O_CLOEXEC), fd + 100);
    watch_log_expect(&log[0], "appeared;");
    close(fd + 100);
    watch_log_expect(&log[0], "disappeared;");
    close(fd);
    for (int i = 0; i < 2; i++)
        loop_watch_close(&log[i].watch, watch_log_close_cb);
    test_run(loop);
    watch_settle(loop);
    ck_assert_uint_eq(log[0].closes, 1);
    free(log);
    loop_free(loop);
}
END_TEST

static int32_t sleep_long(void *arg)
{
    (void)arg;
    test_sleep(5 * LOOP_MILLISECOND);
    return 0;
}

/* Goal: a start that fails where the path would be polled leaves nothing behind. Method: a way through more links of
 * /proc than are followed; a loop with no room for the poll. */
START_TEST(path_not_polled)
{
    struct loop              *loop = test_loop_new(NULL);
    struct watch_log         *log = calloc(1, sizeof(*log));
    struct loop_watch_options options = {.flags = LOOP_WATCH_PATH, .poll_ns = LOOP_MILLISECOND};
    char                      path[1024] = "/proc";

    for (int i = 0; i < 41; i++)
        strcat(path, "/self/..");
    strcat(path, "/stat");
    ck_assert_int_eq(watch_log_start(log, loop, path, &options), -ELOOP);
    loop_free(loop);
    loop = test_loop_new(&(struct loop_options){.ops_max = 1});
    ck_assert_int_gt(loop_work(loop, LOOP_WORK_DEFAULT, sleep_long, NULL, NULL, NULL), 0);
    ck_assert_int_eq(watch_log_start(log, loop, "/proc/stat", &options), -ENOBUFS);
    test_run(loop);
    loop_free(loop);
    free(log);
}
END_TEST

static void without_memory_once(uint64_t nth)
{
    struct loop *loop = test_loop_new(NULL);
    struct look  look = {.loop = loop};
    int          r;

    look.watch.data = &look;
    test_memory.fail_at = test_memory.calls + nth;
    r = loop_stat_watch_start(loop, &look.watch, "a",
                              &(struct loop_stat_watch_options){.interval_ns = LOOP_MILLISECOND, .on_close = closed_cb},
                              told_cb);
    ck_assert(r == 0 || r == -ENOMEM);
    if (r == 0) {
        look_until(&look, 1);
        look_close(&look);
    }
    test_memory.fail_at = 0;
    loop_free(loop);
}

/* Goal: any allocation may fail. */
START_TEST(without_memory)
{
    for (uint64_t nth = 1; nth < 8; nth++)
        without_memory_once(nth);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("watch_stat");
    TCase *tc = test_case(suite, "stat");

    tcase_add_checked_fixture(tc, scratch_make, scratch_remove);
    tcase_add_test(tc, told);
    tcase_add_test(tc, missing);
    tcase_add_test(tc, links);
    tcase_add_test(tc, close_at_any_time);
    tcase_add_test(tc, life);
    tcase_add_test(tc, references);
    tcase_add_test(tc, reliable);
    tcase_add_test(tc, path_polled);
    tcase_add_test(tc, path_not_polled);
    tcase_add_test(tc, without_memory);
    return suite;
}
