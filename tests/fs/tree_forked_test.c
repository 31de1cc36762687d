/* tests/fs/tree_forked_test.c: listings, walks, copies and removals in a child of fork(2). */
#include "tests/fs/scratch.h"

#include <fcntl.h>
#include <sys/stat.h>

static struct loop *loop;
static pid_t        parent;

enum { MIB = 1 << 20, COUNT = 3000 };

static void open_world(void)
{
    scratch_make();
    parent = getpid();
    loop = test_loop_new(&(struct loop_options){.work.threads_max = 1});
}

static void close_world(void)
{
    test_loop_free(loop);
    scratch_remove();
}

static void run_out(void *arg)
{
    bool (**well)(void) = arg;

    TEST_TRUE_IN_CHILD(loop_fork(loop) == 0);
    for (int i = 0; i < 10000 && loop_alive(loop); i++)
        (void)loop_run(loop, LOOP_RUN_ONCE);
    TEST_TRUE_IN_CHILD((*well)());
}

/* A child that runs the loop until nothing is left; then well() is to be true. */
static void in_child(bool (*well)(void))
{
    test_in_child(run_out, &well);
}

static void plant(void)
{
    ck_assert_int_eq(mkdir("t", 0700), 0);
    scratch_write("t/0", "", 0);
    for (int i = 1; i < COUNT; i++) {
        char name[32];

        snprintf(name, sizeof(name), "t/%d", i);
        ck_assert_int_eq(link("t/0", name), 0);
    }
}

/* ---- listings and walks */

static uint32_t steps, ends;
static size_t   entries;
static int      error;
static bool     pauses;

static void list_cb(struct loop_listing *listing, const struct loop_entry *list, size_t count)
{
    (void)list;
    steps++;
    entries += count;
    if (pauses)
        ck_assert_int_eq(loop_listing_pause(listing), 0);
}

static void list_end(struct loop_listing *listing, int result)
{
    (void)listing;
    ends++;
    error = result;
}

static bool is_the_parents(void)
{
    return ends == 1 && error == -EOWNERDEAD && steps == 1;
}

/* Goal: one that is under way ends in the child, and brings nothing there; in the parent it goes on. */
START_TEST(listing_begun)
{
    TEST_FORKS_WITH_THREADS;
    struct loop_listing listing = {0};

    plant();
    pauses = true;
    ck_assert_int_eq(loop_listing_start(loop, &listing, AT_FDCWD, "t", NULL, list_cb, list_end), 0);
    test_run_until(loop, &steps, 1);
    in_child(is_the_parents);
    pauses = false;
    ck_assert_int_eq(loop_listing_resume(&listing), 0);
    test_run(loop);
    ck_assert_int_eq(error, 0);
    ck_assert_uint_eq(entries, COUNT);
}
END_TEST

static int blocker[2];

static int32_t block(void *arg)
{
    char byte;

    (void)arg;
    if (getpid() != parent) /* it had not begun there */
        return 1;
    return (int32_t)read(blocker[0], &byte, 1);
}

static bool is_complete(void)
{
    return ends == 1 && error == 0 && entries == COUNT;
}

/* Goal: one that has not begun is had by both. Method: the only thread is kept busy. */
START_TEST(listing_waiting)
{
    TEST_FORKS_WITH_THREADS;
    struct loop_listing listing = {0};
    struct test_log     log = {0};

    plant();
    test_pipe(blocker);
    ck_assert_int_gt(loop_work(loop, LOOP_WORK_DEFAULT, block, test_log_cb, &log, NULL), 0);
    ck_assert_int_eq(loop_listing_start(loop, &listing, AT_FDCWD, "t", NULL, list_cb, list_end), 0);
    test_sleep(20 * LOOP_MILLISECOND); /* so that the thread has begun; either way all must be well */
    in_child(is_complete);
    test_write(blocker[1], "x", 1);
    test_run(loop);
    test_log_is(&log, 1);
    ck_assert(is_complete());
    test_close(blocker[0]);
    test_close(blocker[1]);
}
END_TEST

static struct test_log blocked;

static void list_and_block_cb(struct loop_listing *listing, const struct loop_entry *list, size_t count)
{
    list_cb(listing, list, count);
    if (steps == 1)
        ck_assert_int_gt(loop_work(loop, LOOP_WORK_DEFAULT, block, test_log_cb, &blocked, NULL), 0);
}

/* Goal: the child does not begin a step that was queued in the parent, from whose directory it would take entries away.
 * Method: it waits behind something that keeps the only thread busy. */
START_TEST(listing_queued)
{
    TEST_FORKS_WITH_THREADS;
    for (int round = 0; round < 10; round++) {
        struct loop_listing listing = {0};

        if (round == 0)
            plant();
        test_pipe(blocker);
        blocked = (struct test_log){0};
        steps = ends = 0;
        entries = 0;
        ck_assert_int_eq(loop_listing_start(loop, &listing, AT_FDCWD, "t", NULL, list_and_block_cb, list_end), 0);
        test_run_until(loop, &steps, 1);
        in_child(is_the_parents);
        test_write(blocker[1], "x", 1);
        test_run(loop);
        test_log_is(&blocked, 1);
        ck_assert_int_eq(error, 0);
        ck_assert_uint_eq(entries, COUNT);
        test_close(blocker[0]);
        test_close(blocker[1]);
    }
}
END_TEST

static enum loop_tree_walk_answer visit_cb(struct loop_tree_walk *walk, const struct loop_visit *visit)
{
    (void)visit;
    entries++;
    if (++steps == 1)
        ck_assert_int_eq(loop_tree_walk_pause(walk), 0);
    return LOOP_TREE_WALK_GO_ON;
}

static void walk_end(struct loop_tree_walk *walk, int result)
{
    (void)walk;
    ends++;
    error = result;
}

START_TEST(walk_begun)
{
    TEST_FORKS_WITH_THREADS;
    struct loop_tree_walk walk = {0};

    plant();
    ck_assert_int_eq(loop_tree_walk_start(loop, &walk, AT_FDCWD, "t", NULL, visit_cb, walk_end), 0);
    test_run_until(loop, &steps, 1);
    in_child(is_the_parents);
    ck_assert_int_eq(loop_tree_walk_resume(&walk), 0);
    test_run(loop);
    ck_assert_int_eq(error, 0);
    ck_assert_uint_eq(entries, COUNT + 2);
}
END_TEST

/* ---- what changes files */

static void progress_cb(struct loop_copy *copy, uint64_t done, uint64_t size)
{
    (void)copy;
    (void)done;
    (void)size;
    steps++;
}

static void copy_cb(struct loop_copy *copy, int result, uint64_t bytes)
{
    (void)copy;
    (void)bytes;
    ends++;
    error = result;
}

/* It may have been complete already, and nobody told of it. */
static bool copy_is_the_parents(void)
{
    return ends == 1 && (error == -EOWNERDEAD || (error == 0 && access("to", F_OK) == 0));
}

/* Goal: the child tidies nothing up that the parent is writing. Method: forks at many moments of a copy, a step of
 * which may be running just then. */
START_TEST(copy_begun)
{
    TEST_FORKS_WITH_THREADS;
    char *data = calloc(1, 50 * MIB);

    memset(data, 'x', 50 * MIB);
    scratch_write("from", data, 50 * MIB);
    free(data);
    for (int round = 0; round < 6; round++) {
        struct loop_copy copy = {0};
        struct stat      stat_;

        steps = ends = 0;
        error = 1;
        (void)unlink("to");
        ck_assert_int_eq(loop_copy_start(loop, &copy, AT_FDCWD, "from", AT_FDCWD, "to",
                                         &(struct loop_copy_options){.on_progress = progress_cb}, copy_cb),
                         0);
        test_run_until(loop, &steps, 1 + (uint32_t)round % 3);
        if (ends == 0)
            in_child(copy_is_the_parents);
        test_run(loop);
        ck_assert_uint_eq(ends, 1);
        ck_assert_int_eq(error, 0);
        ck_assert_int_eq(stat("to", &stat_), 0);
        ck_assert_int_eq(stat_.st_size, 50 * MIB);
    }
}
END_TEST

static struct test_log removal;

static bool removal_ended(void)
{
    return removal.count == 1;
}

START_TEST(removal_running)
{
    TEST_FORKS_WITH_THREADS;
    plant();
    ck_assert_int_gt(loop_tree_remove(loop, AT_FDCWD, "t", 0, NULL, test_log_cb, &removal, NULL), 0);
    in_child(removal_ended);
    test_run(loop);
    ck_assert_uint_eq(removal.count, 1);
    ck_assert(removal.last.res == 0 || removal.last.res == -ENOENT);
    ck_assert_int_lt(access("t", F_OK), 0);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("fs/tree_forked");
    TCase *forked = test_case(suite, "forked");

    tcase_add_checked_fixture(forked, open_world, close_world);
    tcase_add_test(forked, listing_begun);
    tcase_add_test(forked, listing_waiting);
    tcase_add_test(forked, listing_queued);
    tcase_add_test(forked, walk_begun);
    tcase_add_test(forked, copy_begun);
    tcase_add_test(forked, removal_running);
    return suite;
}
