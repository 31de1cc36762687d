/* tests/fs/watch_name_test.c: names that are exchanged, and names that go while their files are still in use. */
#include "tests/fs/watch_log.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

static void exchange(const char *a, const char *b)
{
    ck_assert_int_eq(renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE), 0);
}

static struct watch_log *tree_open(struct loop *loop)
{
    struct watch_log *log;

    make_directory("t");
    make_directory("t/a");
    make_directory("t/a/in_a");
    make_directory("t/b");
    make_directory("t/b/in_b");
    make_file("t/b/f");
    log = watch_log_open(loop, "t", LOOP_WATCH_CREATED | LOOP_WATCH_DELETED | LOOP_WATCH_RENAMED, LOOP_WATCH_TREE);
    watch_log_expect(log, "ready;");
    return log;
}

/* What is made in these directories is told under its path, and nothing else. */
static void told_right(struct watch_log *log, const char *const *directories, size_t count)
{
    char path[64], text[64];

    for (size_t i = 0; i < count; i++) {
        (void)snprintf(path, sizeof(path), "t/%s/new", directories[i]);
        (void)snprintf(text, sizeof(text), "created %s/new;", directories[i]);
        make_file(path);
        watch_log_expect(log, text);
    }
}

/* What happens after the exchange. */
static void go_away(void)
{
    delete_directory("t/b/in_a");
    delete_directory("t/b");
}

static void first_goes_away(void)
{
    delete_directory("t/a/in_b");
    delete_file("t/a/f");
    delete_directory("t/a");
}

static void go_on(void)
{
    move("t/b", "t/c");
}

static void go_back(void)
{
    exchange("t/a", "t/b");
}

static void go_on_and_back(void)
{
    move("t/a", "t/c");
    move("t/b", "t/a");
}

static void nothing_more(void)
{
}

/* Goal: after two directories of a tree have been exchanged, all that is there is watched, under the names that it has
 * when that is told; a look is asked for, since the kernel tells two moves. Method: also when what has come to one of
 * the names goes on at once, or back, or goes away. */
START_TEST(exchanged)
{
    static const struct {
        void (*then)(void);
        const char *there[4];
        bool        overflows; /* else it may */
    } table[] = {
        {nothing_more, {"a", "a/in_b", "b", "b/in_a"}, true},
        {go_on, {"a", "a/in_b", "c", "c/in_a"}, true},
        {go_away, {"a", "a/in_b"}, true},
        {go_back, {"a", "a/in_a", "b", "b/in_b"}, false},
        {go_on_and_back, {"a", "a/in_a", "c", "c/in_b"}, false},
        {first_goes_away, {"b", "b/in_a"}, false},
    };
    struct loop      *loop = test_loop_new(NULL);
    struct watch_log *log = tree_open(loop);
    uint32_t          count = table[_i].there[2] == NULL ? 2 : 4;

    exchange("t/a", "t/b");
    table[_i].then();
    if (table[_i].overflows)
        watch_log_wait(log, LOOP_WATCH_OVERFLOW, 1);
    watch_settle(loop);
    log->length = 0;
    log->text[0] = '\0';
    told_right(log, table[_i].there, count);
    ck_assert_uint_eq(loop_watch_directories(&log->watch), 1 + count);
    watch_log_close(log);
    test_loop_free(loop);
}
END_TEST

/* Goal: the same for one that is exchanged for a directory outside of the tree. */
START_TEST(exchanged_outside)
{
    static const char *const now[] = {"a", "a/came"};
    struct loop             *loop = test_loop_new(NULL);
    struct watch_log        *log = tree_open(loop);

    make_directory("out");
    make_directory("out/came");
    if (_i == 0)
        exchange("out", "t/a");
    else
        exchange("t/a", "out");
    watch_settle(loop);
    if (_i == 0)
        watch_log_wait(log, LOOP_WATCH_OVERFLOW, 1);
    watch_settle(loop);
    log->length = 0;
    log->text[0] = '\0';
    told_right(log, now, TEST_COUNT(now));
    make_file("out/in_a/unseen");
    watch_log_expect(log, "");
    watch_log_close(log);
    test_loop_free(loop);
}
END_TEST

/* Goal: a directory that takes the place of an empty one is followed further without any overflow. */
START_TEST(replaced_and_moved)
{
    static const char *const now[] = {"c", "c/in_b"};
    struct loop             *loop = test_loop_new(NULL);
    struct watch_log        *log = tree_open(loop);

    delete_directory("t/a/in_a");
    move("t/b", "t/a");
    watch_log_expect(log, "deleted a/in_a/;renamed b>a/;");
    move("t/a", "t/c");
    watch_log_expect(log, "renamed a>c/;");
    told_right(log, now, TEST_COUNT(now));
    move("t/c", "c");
    watch_settle(loop);
    ck_assert_uint_eq(watch_log_count(log, LOOP_WATCH_OVERFLOW), 0);
    watch_log_close(log);
    test_loop_free(loop);
}
END_TEST

/* Goal: a directory is not told what is done to a file that has no name in it any more; a watch of the file is. Method:
 * writes through a descriptor, before and after its name has gone, and with another file of that name. */
START_TEST(nameless)
{
    static const uint32_t flags[] = {0, LOOP_WATCH_PATH, LOOP_WATCH_TREE};
    const uint32_t        events = LOOP_WATCH_CREATED | LOOP_WATCH_DELETED | LOOP_WATCH_MODIFIED | LOOP_WATCH_WRITTEN;
    struct loop          *loop = test_loop_new(NULL);
    struct watch_log     *log, *own;
    int                   fd;

    make_directory("d");
    log = watch_log_open(loop, "d", events, flags[_i]);
    if (flags[_i] == LOOP_WATCH_TREE)
        watch_log_expect(log, "ready;");
    fd = open("d/f", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    own = watch_log_open(loop, "d/f", LOOP_WATCH_MODIFIED, 0);
    test_write(fd, "1", 1);
    watch_log_expect(log, "created f;modified f;");
    watch_log_expect(own, "modified;");
    delete_file("d/f");
    test_write(fd, "2", 1);
    watch_log_expect(own, "modified;");
    make_file("d/f");
    test_write(fd, "3", 1);
    close(fd);
    watch_log_expect(log, "deleted f;created f;modified f;written f;"); /* of the new one */
    watch_log_close(own);
    watch_log_close(log);
    test_loop_free(loop);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("watch_name");
    TCase *tc = test_case(suite, "names");

    tcase_add_checked_fixture(tc, scratch_make, scratch_remove);
    tcase_add_loop_test(tc, exchanged, 0, 6);
    tcase_add_loop_test(tc, exchanged_outside, 0, 2);
    tcase_add_test(tc, replaced_and_moved);
    tcase_add_loop_test(tc, nameless, 0, 3);
    return suite;
}
