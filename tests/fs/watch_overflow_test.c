/* tests/fs/watch_overflow_test.c: events that are lost, and said to be. */
#include "tests/fs/watch_log.h"

#include <sys/stat.h>

static const char *const queue_limit = "/proc/sys/fs/inotify/max_queued_events";

static long read_limit(void)
{
    long  limit = 0;
    FILE *file = fopen(queue_limit, "re");

    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(fscanf(file, "%ld", &limit), 1);
    fclose(file);
    return limit;
}

/* More events than the kernel's queue takes: no two equal ones after each other, which it would put together. */
static void flood(const char *directory)
{
    long limit = read_limit();
    char first[64], second[64];

    ck_assert_int_le(limit, 1 << 20);
    (void)snprintf(first, sizeof(first), "%s/1", directory);
    (void)snprintf(second, sizeof(second), "%s/2", directory);
    make_file(first);
    for (long i = 0; i <= limit / 2; i++) {
        move(first, second);
        move(second, first);
    }
}

/* Goal: when the kernel's queue is full, all watches of the loop are told, once, after what came before, and go on.
 * Method: one directory is flooded between two turns, and another is watched; a path is replaced unseen. */
START_TEST(kernel_queue)
{
    struct loop      *loop = test_loop_new(NULL);
    struct watch_log *flooded, *other, *path;

    make_directory("d");
    make_directory("e");
    make_file("p");
    flooded = watch_log_open(loop, "d", LOOP_WATCH_CREATED | LOOP_WATCH_DELETED, 0);
    other = watch_log_open(loop, "e", LOOP_WATCH_CREATED, 0);
    path = watch_log_open(loop, "p", LOOP_WATCH_REPLACED, LOOP_WATCH_PATH);
    flooded->watch.data = flooded;
    make_file("e/a");
    {
        struct watch_log *mover = watch_log_open(loop, "d", LOOP_WATCH_RENAMED, 0);

        flood("d");
        make_file("e/b");
        make_file("new");
        move("new", "p");
        watch_log_wait(mover, LOOP_WATCH_OVERFLOW, 1);
        watch_log_close(mover);
    }
    watch_log_expect(flooded, "created 1;overflow;");
    watch_log_expect(other, "created a;overflow;");
    watch_log_wait(path, LOOP_WATCH_REPLACED, 1);
    ck_assert_uint_eq(watch_log_count(path, LOOP_WATCH_OVERFLOW), 1);
    ck_assert_uint_ge(test_stats(loop).watch_overflows, 1);
    make_file("e/c");
    watch_log_expect(other, "created c;");
    watch_log_close(path);
    watch_log_close(other);
    watch_log_close(flooded);
    test_loop_free(loop);
}
END_TEST

/* Goal: a tree puts its directories in order before it tells that events were lost. Method: directories come, go and
 * move while the queue is full; afterwards all of them are watched, by their right paths. */
START_TEST(kernel_queue_of_a_tree)
{
    enum { EVENTS = LOOP_WATCH_CREATED | LOOP_WATCH_RENAMED };
    struct loop      *loop = test_loop_new(NULL);
    struct watch_log *log;
    char              path[64];

    make_directory("t");
    make_directory("t/d");
    make_directory("t/gone");
    make_directory("t/moved");
    make_directory("t/moved/below");
    make_directory("t/same");
    log = watch_log_open(loop, "t", EVENTS, LOOP_WATCH_TREE);
    watch_log_expect(log, "ready;");
    flood("t/d");
    delete_directory("t/gone");
    make_directory("t/gone");
    make_directory("t/new");
    make_directory("t/new/deep");
    move("t/moved", "t/new/moved");
    watch_log_wait(log, LOOP_WATCH_OVERFLOW, 1);
    watch_settle(loop);
    ck_assert_uint_eq(loop_watch_directories(&log->watch), 8);
    log->length = 0;
    for (int i = 0; i < 4; i++) {
        static const char *const places[] = {"new/moved/below", "new/deep", "gone", "same"};

        (void)snprintf(path, sizeof(path), "t/%s/f", places[i]);
        make_file(path);
    }
    watch_log_expect(log, "created new/moved/below/f;created new/deep/f;created gone/f;created same/f;");
    watch_log_close(log);
    test_loop_free(loop);
}
END_TEST

/* Goal: a watch that has queue_max events waiting says that more were lost, and counts it; others are not concerned. */
START_TEST(own_queue)
{
    struct loop              *loop = test_loop_new(NULL);
    struct watch_log         *log = calloc(1, sizeof(*log)), *other;
    struct loop_watch_options options = {.events = LOOP_WATCH_CREATED, .queue_max = 2};

    make_directory("d");
    ck_assert_int_eq(watch_log_start(log, loop, "d", &options), 0);
    other = watch_log_open(loop, "d", LOOP_WATCH_CREATED, 0);
    make_file("d/a");
    make_file("d/b");
    make_file("d/c");
    watch_log_expect(log, "created a;created b;overflow;");
    watch_log_expect(other, "created a;created b;created c;");
    ck_assert_uint_eq(test_stats(loop).watch_overflows, 1);
    make_file("d/e");
    watch_log_expect(log, "created e;");
    watch_log_close(log);
    watch_log_close(other);
    test_loop_free(loop);
}
END_TEST

/* ---- the two halves of a move, read one by one */

int     __real_sys_inotify_pending(int fd);
ssize_t __real_sys_inotify_read(int fd, void *data, size_t size);
int     __wrap_sys_inotify_pending(int fd);
ssize_t __wrap_sys_inotify_read(int fd, void *data, size_t size);

static int read_most; /* bytes at a time; 0: all */

int __wrap_sys_inotify_pending(int fd)
{
    int bytes = __real_sys_inotify_pending(fd);

    return read_most > 0 && bytes > read_most ? read_most : bytes;
}

ssize_t __wrap_sys_inotify_read(int fd, void *data, size_t size)
{
    return __real_sys_inotify_read(fd, data, read_most > 0 && size > (size_t)read_most ? (size_t)read_most : size);
}

struct halves {
    struct loop_watch watch, other;
    struct loop      *loop;
    uint32_t          created, renamed, moved_out;
};

static void other_cb(struct loop_watch *watch, const struct loop_watch_event *event)
{
    (void)watch;
    (void)event;
}

static void halves_cb(struct loop_watch *watch, const struct loop_watch_event *event)
{
    struct halves *halves = watch->data;

    halves->created += event->kind == LOOP_WATCH_CREATED;
    halves->renamed += event->kind == LOOP_WATCH_RENAMED;
    halves->moved_out += event->kind == LOOP_WATCH_MOVED_OUT;
    if (event->kind == LOOP_WATCH_CREATED)
        ck_assert_int_eq(loop_watch_start(halves->loop, &halves->other, ".", NULL, other_cb), 0);
}

/* Goal: the second half of a move that is read while the first waits to be told, inside of a callback, takes that away.
 * Method: reads no further than to the first; the callback of what stands before it starts a watch, which reads on. */
START_TEST(second_half_inside)
{
    struct halves             halves = {.loop = test_loop_new(NULL)};
    struct loop_watch_options options = {.events = LOOP_WATCH_CREATED | (_i == 0 ? LOOP_WATCH_MOVED_OUT : 0)};

    make_directory("d");
    make_file("f");
    make_file("d/a");
    halves.watch.data = &halves;
    if (_i == 1)
        options.events |= LOOP_WATCH_RENAMED;
    ck_assert_int_eq(loop_watch_start(halves.loop, &halves.watch, "d", &options, halves_cb), 0);
    read_most = 2 * 32;
    ck_assert_int_eq(link("f", "d/n"), 0);
    move("d/a", "d/b");
    watch_settle(halves.loop);
    ck_assert_uint_eq(halves.created, 1);
    ck_assert_uint_eq(halves.renamed, _i == 1);
    ck_assert_uint_eq(halves.moved_out, 0);
    loop_watch_close(&halves.watch, NULL);
    loop_watch_close(&halves.other, NULL);
    test_run(halves.loop);
    test_loop_free(halves.loop);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("watch_overflow");
    TCase *tc = test_case(suite, "overflow");

    tcase_add_checked_fixture(tc, scratch_make, scratch_remove);
    tcase_add_test(tc, kernel_queue);
    tcase_add_test(tc, kernel_queue_of_a_tree);
    tcase_add_test(tc, own_queue);
    tcase_add_loop_test(tc, second_half_inside, 0, 2);
    return suite;
}
