/* tests/fs/entries_test.c: file systems that do not tell types, and directories that can't be read to their end: the
 * call that reads entries is replaced. */
#include "tests/fs/tree_world.h"

#include "fs/entries.h"

static void open_entries(void)
{
    open_world();
    ck_assert_int_eq(mkdir("t", 0700), 0);
    ck_assert_int_eq(mkdir("t/d", 0700), 0);
    ck_assert_int_eq(symlink("/", "t/link"), 0);
    ck_assert_int_eq(mkfifo("t/fifo", 0600), 0);
    scratch_write("t/file", "", 0);
    scratch_write("t/d/file", "", 0);
}

/* ---- the seam */

ssize_t __real_sys_entries_read(int fd, void *buffer, size_t size);
ssize_t __wrap_sys_entries_read(int fd, void *buffer, size_t size);

static uint32_t calls, fail_at; /* of this call, from 1; 0: none */
static int      fail_error = -EIO;
static size_t   long_name; /* the first call tells of a directory with so long a name; 0: it does not */

static ssize_t write_long(void *buffer, size_t size)
{
    struct raw_entry *entry = buffer;
    size_t            bytes = (offsetof(struct raw_entry, name) + long_name + 8) & ~(size_t)7;

    ck_assert_uint_le(bytes, size);
    *entry = (struct raw_entry){.inode = 1, .next = 1, .size = (uint16_t)bytes, .type = LOOP_ENTRY_DIRECTORY};
    memset(entry->name, 'x', long_name);
    entry->name[long_name] = '\0';
    return (ssize_t)bytes;
}

ssize_t __wrap_sys_entries_read(int fd, void *buffer, size_t size)
{
    ssize_t bytes;

    if (++calls == fail_at)
        return fail_error;
    if (calls == 1 && long_name > 0)
        return write_long(buffer, size);
    bytes = __real_sys_entries_read(fd, buffer, size);
    for (ssize_t at = 0; at < bytes;) {
        struct raw_entry *entry = (struct raw_entry *)(void *)((char *)buffer + at);

        entry->type = 0;
        at += entry->size;
    }
    return bytes;
}

/* ---- listings */

static uint32_t types[16], entries, ends;
static int      error;

static void list_cb(struct loop_listing *listing, const struct loop_entry *list, size_t count)
{
    (void)listing;
    for (size_t i = 0; i < count; i++, entries++)
        types[list[i].type]++;
}

static void list_end(struct loop_listing *listing, int result)
{
    (void)listing;
    error = result;
    ends++;
}

static void list_run(uint32_t flags)
{
    struct loop_listing listing = {0};

    memset(types, 0, sizeof(types));
    entries = ends = calls = 0;
    ck_assert_int_eq(loop_listing_start(loop, &listing, AT_FDCWD, "t", &(struct loop_listing_options){.flags = flags},
                                        list_cb, list_end),
                     0);
    test_run(loop);
    ck_assert_uint_eq(ends, 1);
}

/* Goal: unknown types are told as such, or asked for. */
START_TEST(listed)
{
    list_run(0);
    ck_assert_int_eq(error, 0);
    ck_assert_uint_eq(types[LOOP_ENTRY_UNKNOWN], 4);
    list_run(LOOP_LISTING_TYPES);
    ck_assert_int_eq(error, 0);
    ck_assert_uint_eq(entries, 4);
    ck_assert_uint_eq(types[LOOP_ENTRY_DIRECTORY], 1);
    ck_assert_uint_eq(types[LOOP_ENTRY_FILE], 1);
    ck_assert_uint_eq(types[LOOP_ENTRY_LINK], 1);
    ck_assert_uint_eq(types[LOOP_ENTRY_FIFO], 1);
    for (fail_at = 1; fail_at <= 2; fail_at++) {
        list_run(0);
        ck_assert_int_eq(error, -EIO);
        ck_assert_uint_eq(entries, fail_at == 1 ? 0 : 4);
    }
}
END_TEST

/* ---- trees */

static uint32_t kinds[4], known;

static enum loop_tree_walk_answer visit_cb(struct loop_tree_walk *walk, const struct loop_visit *visit)
{
    (void)walk;
    kinds[visit->kind]++;
    known += visit->type != LOOP_ENTRY_UNKNOWN;
    ck_assert(visit->kind != LOOP_VISIT_ERROR || visit->error == -EIO);
    return LOOP_TREE_WALK_GO_ON;
}

static void walk_end(struct loop_tree_walk *walk, int result)
{
    (void)walk;
    error = result;
    ends++;
}

static void walk_run(void)
{
    struct loop_tree_walk walk = {0};

    memset(kinds, 0, sizeof(kinds));
    known = calls = 0;
    error = 1;
    ck_assert_int_eq(loop_tree_walk_start(loop, &walk, AT_FDCWD, "t", NULL, visit_cb, walk_end), 0);
    test_run(loop);
    ck_assert_int_eq(error, 0);
}

/* Goal: a walk knows directories all the same; one that can't be read to its end is told, and left. */
START_TEST(walked)
{
    uint32_t all;

    walk_run();
    all = calls;
    ck_assert_uint_eq(kinds[LOOP_VISIT_ENTRY], 4);
    ck_assert_uint_eq(kinds[LOOP_VISIT_ENTER], 2);
    ck_assert_uint_eq(kinds[LOOP_VISIT_LEAVE], 2);
    ck_assert_uint_eq(known, 8);
    for (fail_at = 1; fail_at <= all; fail_at++) {
        walk_run();
        ck_assert_uint_eq(kinds[LOOP_VISIT_ERROR], 1);
        ck_assert_uint_eq(kinds[LOOP_VISIT_ENTER], kinds[LOOP_VISIT_LEAVE]);
    }
}
END_TEST

static size_t size_seen;

static enum loop_tree_walk_answer look_at_long(struct loop_tree_walk *walk, const struct loop_visit *visit)
{
    (void)walk;
    kinds[visit->kind]++;
    if (visit->kind == LOOP_VISIT_ERROR)
        ck_assert_int_eq(visit->error, long_name > 255 ? -ENAMETOOLONG : -ENOENT);
    if (strlen(visit->name) > size_seen)
        size_seen = strlen(visit->name);
    return LOOP_TREE_WALK_GO_ON;
}

/* Goal: names longer than NAME_MAX, as FAT, NTFS and FUSE have them, do no harm, up to the longest that the buffer
 * takes. Method: a directory with such a name is told of; nothing can be opened by it here. */
START_TEST(long_names)
{
    static const size_t sizes[] = {255, 256, 765, 1024, 4060};

    for (size_t i = 0; i < TEST_COUNT(sizes); i++) {
        struct loop_tree_walk   walk = {0};
        struct loop_tree_counts counts = {0};
        struct test_log         log = {0};

        long_name = sizes[i];
        memset(kinds, 0, sizeof(kinds));
        calls = 0;
        size_seen = 0;
        ck_assert_int_eq(loop_tree_walk_start(loop, &walk, AT_FDCWD, "t", NULL, look_at_long, walk_end), 0);
        test_run(loop);
        ck_assert_int_eq(error, 0);
        if (long_name < 256) /* what is not there counts as removed */
            continue;
        ck_assert_uint_eq(size_seen, long_name);
        ck_assert_uint_eq(kinds[LOOP_VISIT_ERROR], 1);
        calls = 0;
        ck_assert_int_gt(loop_tree_remove(loop, AT_FDCWD, "t", LOOP_TREE_STOP, &counts, test_log_cb, &log, NULL), 0);
        test_run(loop);
        ck_assert_uint_eq(log.count, 1);
        ck_assert_uint_eq(counts.files, 0);
    }
}
END_TEST

/* Goal: a removal finds out what is a directory; after an error the rest is tried, and the directory stays. */
START_TEST(removed)
{
    struct loop_tree_counts counts = {0};
    struct test_log         logs[2] = {{0}, {0}};

    fail_at = 1;
    ck_assert_int_gt(loop_tree_remove(loop, AT_FDCWD, "t", 0, &counts, test_log_cb, &logs[0], NULL), 0);
    test_run(loop);
    test_log_is(&logs[0], -EIO);
    ck_assert_uint_eq(counts.errors, 1);
    ck_assert_int_eq(access("t/d/file", F_OK), 0);
    fail_at = 0;
    ck_assert_int_gt(loop_tree_remove(loop, AT_FDCWD, "t", 0, &counts, test_log_cb, &logs[1], NULL), 0);
    test_run(loop);
    test_log_is(&logs[1], 0);
    ck_assert_uint_eq(counts.files, 4);
    ck_assert_uint_eq(counts.directories, 2);
}
END_TEST

static uint32_t ready, failed;

static void watch_cb(struct loop_watch *watch, const struct loop_watch_event *event)
{
    (void)watch;
    ready += event->kind == LOOP_WATCH_READY;
    failed += event->kind == LOOP_WATCH_FAILED;
    ck_assert(event->kind != LOOP_WATCH_FAILED || event->error == -EIO);
}

/* Goal: a watched tree finds its directories all the same; one that can't be read to its end is told. */
START_TEST(watched)
{
    uint32_t all = 0;

    for (fail_at = 0; fail_at <= all; fail_at++) {
        struct loop_watch watch = {0};

        ready = failed = calls = 0;
        ck_assert_int_eq(
            loop_watch_start(loop, &watch, "t", &(struct loop_watch_options){.flags = LOOP_WATCH_TREE}, watch_cb), 0);
        for (int i = 0; i < 10000 && ready == 0; i++) {
            test_turns(loop, 1);
            test_sleep(LOOP_MILLISECOND);
        }
        ck_assert_uint_eq(ready, 1);
        ck_assert_uint_eq(failed, fail_at > 0);
        ck_assert(loop_watch_directories(&watch) == 2 || fail_at > 0);
        if (fail_at == 0)
            all = calls;
        loop_watch_close(&watch, NULL);
        test_run(loop);
    }
    ck_assert_uint_ge(all, 4); /* two directories, each to its end */
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("fs/entries");
    TCase *tcase = test_case(suite, "entries");

    tcase_add_checked_fixture(tcase, open_entries, close_world);
    tcase_add_test(tcase, listed);
    tcase_add_test(tcase, walked);
    tcase_add_test(tcase, long_names);
    tcase_add_test(tcase, removed);
    tcase_add_test(tcase, watched);
    return suite;
}
