/* tests/fs/watch_tree_test.c: watching trees. */
#include "tests/fs/watch_log.h"

#include <ftw.h>
#include <pthread.h>
#include <sys/mount.h>
#include <sys/stat.h>

enum {
    ENTRIES = LOOP_WATCH_CREATED | LOOP_WATCH_DELETED | LOOP_WATCH_RENAMED | LOOP_WATCH_MOVED_IN | LOOP_WATCH_MOVED_OUT,
};

static struct watch_log *tree_open(struct loop *loop, const char *path)
{
    struct watch_log *log = watch_log_open(loop, path, ENTRIES, LOOP_WATCH_TREE);

    watch_log_expect(log, "ready;");
    return log;
}

/* Goal: what happens at any depth is told by its path, in directories made later, too. Method: one of each. */
START_TEST(events)
{
    struct loop      *loop = test_loop_new(NULL);
    struct watch_log *log;

    make_directory("t");
    make_directory("t/a");
    make_directory("t/a/b");
    log = tree_open(loop, "t");
    ck_assert_uint_eq(loop_watch_directories(&log->watch), 3);
    make_file("t/f");
    make_file("t/a/b/f");
    watch_log_expect(log, "created f;created a/b/f;");
    move("t/a/b/f", "t/g");
    watch_log_expect(log, "renamed a/b/f>g;");
    make_directory("t/a/b/c");
    watch_log_expect(log, "created a/b/c/;");
    ck_assert_uint_eq(loop_watch_directories(&log->watch), 4);
    make_file("t/a/b/c/f");
    watch_log_expect(log, "created a/b/c/f;");
    delete_file("t/a/b/c/f");
    delete_directory("t/a/b/c");
    watch_log_expect(log, "deleted a/b/c/f;deleted a/b/c/;");
    ck_assert_uint_eq(loop_watch_directories(&log->watch), 3);
    watch_log_close(log);
    test_loop_free(loop);
}
END_TEST

/* Goal: nothing that is in a new directory before it is watched is lost, nor told twice. Method: makes a deep one with
 * files before the loop looks; moves one in from elsewhere. */
START_TEST(new_directories)
{
    struct loop      *loop = test_loop_new(NULL);
    struct watch_log *log;

    make_directory("t");
    log = tree_open(loop, "t");
    make_directory("t/a");
    make_file("t/a/f");
    make_directory("t/a/b");
    make_directory("t/a/b/c");
    make_file("t/a/b/c/f");
    watch_log_expect(log, "created a/;created a/b/;created a/f;created a/b/c/;created a/b/c/f;");
    move("t/a/b", "b");
    watch_log_expect(log, "moved-out a/b/;");
    ck_assert_uint_eq(loop_watch_directories(&log->watch), 2);
    make_file("b/c/g");
    watch_log_expect(log, "");
    move("b", "t/e");
    watch_log_expect(log, "moved-in e/;created e/c/;created e/c/f;created e/c/g;");
    make_file("t/e/c/h");
    watch_log_expect(log, "created e/c/h;");
    watch_log_close(log);
    test_loop_free(loop);
}
END_TEST

/* Goal: renamed directories keep right paths, and what is below them, too; also over an empty directory, and in the
 * midst of what is to be told. */
START_TEST(renamed_directories)
{
    struct loop      *loop = test_loop_new(NULL);
    struct watch_log *log;

    make_directory("t");
    make_directory("t/a");
    make_directory("t/a/b");
    make_directory("t/c");
    make_directory("t/d");
    log = tree_open(loop, "t");
    move("t/a", "t/c/e");
    make_file("t/c/e/b/f");
    watch_log_expect(log, "renamed a>c/e/;created c/e/b/f;");
    move("t/c/e/b", "t/d");
    make_file("t/d/g");
    watch_log_expect(log, "renamed c/e/b>d/;created d/g;");
    ck_assert_uint_eq(loop_watch_directories(&log->watch), 4);
    make_directory("t/x");
    make_file("t/x/1");
    move("t/x", "t/y");
    make_file("t/y/2");
    watch_log_expect(log, "created x/;renamed x>y/;created y/1;created y/2;");
    delete_directory("t/c/e");
    watch_log_expect(log, "deleted c/e/;");
    move("t", "u");
    delete_file("u/d/g");
    watch_log_expect(log, "deleted d/g;");
    watch_log_close(log);
    test_loop_free(loop);
}
END_TEST

static int gate[2];

static int32_t wait_at_gate(void *arg)
{
    char byte;

    (void)arg;
    return (int32_t)read(gate[0], &byte, 1);
}

/* Goal: a directory that is renamed between the moment when it is watched and that when it is listed is listed where it
 * is then, with all that was in it; another one that has taken its name is not taken for it. Method: the only thread is
 * kept busy meanwhile. */
START_TEST(renamed_while_listed)
{
    static const char *const texts[] = {
        "created p/a/;renamed p/a>c/;created p/a/;created p/a/other;created c/b/;created c/b/f;",
        "created p/a/;renamed p>q/;renamed q/a>c/;renamed q>p/;created p/a/;created p/a/other;created c/b/;created "
        "c/b/f;",
    };
    struct test_log   log_of_gate = {0};
    struct loop      *loop = test_loop_new(&(struct loop_options){.work.threads_max = 1});
    struct watch_log *log;

    make_directory("t");
    make_directory("t/p");
    log = tree_open(loop, "t");
    test_pipe(gate);
    ck_assert_int_gt(loop_work(loop, LOOP_WORK_DEFAULT, wait_at_gate, test_log_cb, &log_of_gate, NULL), 0);
    make_directory("t/p/a");
    make_directory("t/p/a/b");
    make_file("t/p/a/b/f");
    watch_settle(loop);
    if (_i == 0) {
        move("t/p/a", "t/c");
    } else {
        move("t/p", "t/q");
        move("t/q/a", "t/c");
        move("t/q", "t/p");
    }
    make_directory("t/p/a");
    make_file("t/p/a/other");
    watch_settle(loop);
    test_write(gate[1], "x", 1);
    watch_log_expect(log, texts[_i]);
    make_file("t/c/b/g");
    watch_log_expect(log, "created c/b/g;");
    ck_assert_uint_eq(loop_watch_directories(&log->watch), 5);
    watch_log_close(log);
    test_close(gate[0]);
    test_close(gate[1]);
    test_loop_free(loop);
}
END_TEST

/* Goal: links are not followed but at the root; a link to a directory above makes no loop, a bind mount of it neither.
 */
START_TEST(no_loops)
{
    struct loop      *loop = test_loop_new(NULL);
    struct watch_log *log;
    bool              mounted;

    make_directory("t");
    make_directory("t/a");
    make_directory("t/m");
    make_directory("other");
    ck_assert_int_eq(symlink("..", "t/a/up"), 0);
    ck_assert_int_eq(symlink("../../other", "t/a/other"), 0);
    ck_assert_int_eq(symlink("t", "link"), 0);
    mounted = mount("t", "t/m", NULL, MS_BIND, NULL) == 0;
    log = tree_open(loop, "link");
    ck_assert_uint_eq(loop_watch_directories(&log->watch), mounted ? 2 : 3);
    make_file("t/a/f");
    make_file("other/f");
    watch_log_expect(log, "created a/f;");
    watch_log_close(log);
    if (mounted)
        ck_assert_int_eq(umount2("t/m", MNT_DETACH), 0);
    test_loop_free(loop);
}
END_TEST

/* Goal: a tree's end is told; a rest of it is given up. */
START_TEST(root_gone)
{
    struct loop      *loop = test_loop_new(NULL);
    struct watch_log *log;

    make_directory("t");
    make_directory("t/a");
    log = tree_open(loop, "t");
    delete_directory("t/a");
    delete_directory("t");
    watch_log_expect(log, "deleted a/;self-deleted;");
    ck_assert_uint_eq(loop_watch_directories(&log->watch), 0);
    watch_log_close(log);
    test_loop_free(loop);
}
END_TEST

/* Goal: at directories_max each directory more is told and counted, and all else goes on. */
START_TEST(directories_max)
{
    struct loop              *loop = test_loop_new(NULL);
    struct watch_log         *log = calloc(1, sizeof(*log));
    struct loop_watch_options options = {.flags = LOOP_WATCH_TREE, .events = ENTRIES, .directories_max = 2};

    make_directory("t");
    make_directory("t/a");
    ck_assert_int_eq(watch_log_start(log, loop, "t", &options), 0);
    watch_log_expect(log, "ready;");
    make_directory("t/b");
    watch_log_expect(log, "created b/;failed b 105;");
    ck_assert_uint_eq(test_stats(loop).watches_full, 1);
    make_file("t/a/f");
    watch_log_expect(log, "created a/f;");
    delete_directory("t/b");
    delete_file("t/a/f");
    delete_directory("t/a");
    make_directory("t/c");
    make_file("t/c/f");
    watch_log_expect(log, "deleted b/;deleted a/f;deleted a/;created c/;created c/f;");
    watch_log_close(log);
    test_loop_free(loop);
}
END_TEST

/* Goal: the same when the user may have no more watches: told with -ENOSPC, counted, and the rest goes on. */
START_TEST(no_more_watches)
{
    struct loop      *loop;
    struct watch_log *log;

    if (!watch_limit("max_inotify_watches", 3))
        return;
    loop = test_loop_new(NULL);
    make_directory("t");
    make_directory("t/a");
    log = tree_open(loop, "t");
    make_directory("t/b");
    watch_log_expect(log, "created b/;");
    make_directory("t/c");
    watch_log_expect(log, "created c/;failed c 28;");
    ck_assert_uint_eq(test_stats(loop).watches_full, 1);
    ck_assert_uint_eq(loop_watch_directories(&log->watch), 3);
    make_file("t/b/f");
    watch_log_expect(log, "created b/f;");
    watch_log_close(log);
    test_loop_free(loop);
}
END_TEST

/* ---- a thread that does as it likes, and a model made from events */

enum { NAMES = 6, DEPTH = 4, MODEL_MAX = 8192 };

struct model {
    struct watch_log log; /* the watch and its loop; what is told goes to the model */
    char            *paths[MODEL_MAX];
    uint32_t         count, overflows, ready;
    bool             strict; /* it makes do with events */
    bool             wrong;
};

struct worker {
    uint64_t    seed;
    uint32_t    operations;
    atomic_bool ended;
};

static void random_path(uint64_t *state, char *path, size_t size)
{
    uint32_t depth = 1 + (uint32_t)(test_random(state) % DEPTH);
    size_t   at = (size_t)snprintf(path, size, "t");

    for (uint32_t i = 0; i < depth; i++)
        at += (size_t)snprintf(path + at, size - at, "/%c", 'a' + (int)(test_random(state) % NAMES));
}

static int remove_one(const char *name, const struct stat *stat, int kind, struct FTW *ftw)
{
    (void)stat;
    (void)kind;
    (void)ftw;
    return remove(name);
}

static void one_operation(uint64_t *state)
{
    char  path[64], to[64];
    FILE *file;

    random_path(state, path, sizeof(path));
    random_path(state, to, sizeof(to));
    switch (test_random(state) % 10) {
    case 0:
    case 1:
    case 2:
    case 3: (void)mkdir(path, 0755); break;
    case 4:
    case 5:
        file = fopen(path, "w");
        if (file != NULL)
            fclose(file);
        break;
    case 6: (void)remove(path); break;
    case 7:
        if (test_random(state) % 4 == 0)
            (void)nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
        break;
    case 8: (void)rename(path, to); break;
    case 9: /* out of the tree, or back */
        (void)rename(path, "outside");
        (void)rename("outside", to);
        (void)nftw("outside", remove_one, 16, FTW_DEPTH | FTW_PHYS);
        break;
    default: break;
    }
}

static void *work(void *arg)
{
    struct worker *worker = arg;

    for (uint32_t i = 0; i < worker->operations; i++) {
        one_operation(&worker->seed);
        if (test_random(&worker->seed) % 16 == 0)
            test_sleep(test_random(&worker->seed) % (2 * LOOP_MILLISECOND));
    }
    atomic_store(&worker->ended, true);
    return NULL;
}

static uint32_t model_find(const struct model *model, const char *path)
{
    uint32_t i = 0;

    while (i < model->count && strcmp(model->paths[i], path) != 0)
        i++;
    return i;
}

static void model_add(struct model *model, const char *path)
{
    if (model_find(model, path) < model->count)
        return;
    ck_assert_uint_lt(model->count, MODEL_MAX);
    model->paths[model->count++] = strdup(path);
}

static bool is_below(const char *path, const char *above)
{
    size_t length = strlen(above);

    return strncmp(path, above, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

static void model_remove(struct model *model, const char *path)
{
    for (uint32_t i = model->count; i > 0; i--) {
        if (!is_below(model->paths[i - 1], path))
            continue;
        free(model->paths[i - 1]);
        model->paths[i - 1] = model->paths[--model->count];
    }
}

static void model_rename(struct model *model, const char *from, const char *to)
{
    char path[256];

    model_remove(model, to);
    for (uint32_t i = 0; i < model->count; i++) {
        if (!is_below(model->paths[i], from))
            continue;
        ck_assert_int_lt(snprintf(path, sizeof(path), "%s%s", to, model->paths[i] + strlen(from)), (int)sizeof(path));
        free(model->paths[i]);
        model->paths[i] = strdup(path);
    }
    model_add(model, to);
}

static struct model *filling;

static int fill_one(const char *name, const struct stat *stat, int kind, struct FTW *ftw)
{
    (void)stat;
    (void)kind;
    (void)ftw;
    if (name[1] == '/')
        model_add(filling, name + 2);
    return 0;
}

/* From what is there. */
static void model_fill(struct model *model)
{
    while (model->count > 0)
        free(model->paths[--model->count]);
    filling = model;
    (void)nftw("t", fill_one, 16, FTW_PHYS);
}

/* After a look at the tree, what is told may be older than that. So what was found under the old name may be something
 * else, and what was found under the new name right. */
static void model_look_again(struct model *model, const char *from, const char *to)
{
    char path[256];

    model_remove(model, from);
    model_remove(model, to);
    model_add(model, to);
    filling = model;
    ck_assert_int_lt(snprintf(path, sizeof(path), "t/%s", to), (int)sizeof(path));
    (void)nftw(path, fill_one, 16, FTW_PHYS);
}

static void model_cb(struct loop_watch *watch, const struct loop_watch_event *event)
{
    struct model *model = watch->data;

    switch (event->kind) {
    case LOOP_WATCH_MOVED_IN: model_remove(model, event->path); /* fall through */
    case LOOP_WATCH_CREATED: model_add(model, event->path); break;
    case LOOP_WATCH_MOVED_OUT:
    case LOOP_WATCH_DELETED: model_remove(model, event->path); break;
    case LOOP_WATCH_RENAMED:
        if (model->strict)
            model_rename(model, event->from, event->path);
        else
            model_look_again(model, event->from, event->path);
        break;
    case LOOP_WATCH_OVERFLOW:
        model->overflows++;
        model->strict = false; /* what is told next may be older than this look */
        model_fill(model);
        break;
    case LOOP_WATCH_READY:
        model->ready++;
        model_fill(model);
        break;
    default: model->wrong = true; break;
    }
}

static void expect_equal(struct model *model)
{
    struct model *real = calloc(1, sizeof(*real));

    model_fill(real);
    for (uint32_t i = 0; i < real->count; i++)
        ck_assert_msg(model_find(model, real->paths[i]) < model->count, "not told: %s", real->paths[i]);
    for (uint32_t i = 0; i < model->count; i++)
        ck_assert_msg(model_find(real, model->paths[i]) < real->count, "told, but not there: %s", model->paths[i]);
    while (real->count > 0)
        free(real->paths[--real->count]);
    free(real);
}

static uint32_t directories;
static int      count_one(const char *name, const struct stat *stat, int kind, struct FTW *ftw)
{
    (void)name;
    (void)stat;
    (void)ftw;
    directories += kind == FTW_D;
    return 0;
}

static void run_worker(struct loop *loop, struct worker *worker)
{
    pthread_t thread;

    ck_assert_int_eq(pthread_create(&thread, NULL, work, worker), 0);
    for (int i = 0; i < 60000 && !atomic_load(&worker->ended); i++) {
        test_turns(loop, 1);
        test_sleep(i % 8 == 0 ? LOOP_MILLISECOND : 10 * LOOP_MICROSECOND);
    }
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    for (int i = 0; i < 10; i++)
        watch_settle(loop);
}

/* Goal: whatever happens to a tree, what is told makes up the tree. Method: a thread does 2000 operations at random:
 * makes, removes and renames files and directories, also out of the tree and in again; a model follows the events, with
 * a look at the tree when told that events were lost. i 0: from the beginning; 1: with a queue for 40 events, which
 * overflows again and again; 2: it has started before the watch is ready. Then both are equal, and all directories are
 * watched. */
START_TEST(random_operations)
{
    struct loop              *loop = test_loop_new(NULL);
    struct model             *model = calloc(1, sizeof(*model));
    struct worker             worker = {.seed = test_env("TEST_SEED", test_clock()), .operations = 2000};
    struct loop_watch_options options = {
        .flags = LOOP_WATCH_TREE, .events = ENTRIES, .queue_max = _i == 1 ? 40 : 0, .on_close = watch_log_close_cb};
    uint64_t seed = worker.seed;

    make_directory("t");
    for (int i = 0; i < 500; i++)
        one_operation(&worker.seed);
    model->log.watch.data = model;
    model->strict = _i == 0;
    ck_assert_int_eq(loop_watch_start(loop, &model->log.watch, "t", &options, model_cb), 0);
    for (int i = 0; _i != 2 && i < 10000 && model->ready == 0; i++)
        watch_settle(loop);
    run_worker(loop, &worker);
    ck_assert_msg(model->ready == 1 && !model->wrong, "seed %" PRIu64, seed);
    if (_i == 0)
        ck_assert_uint_le(model->overflows, 8); /* what took an empty directory's place and went on at once */
    printf("seed %" PRIu64 ", %" PRIu32 " entries, %" PRIu32 " overflows\n", seed, model->count, model->overflows);
    expect_equal(model);
    directories = 0;
    (void)nftw("t", count_one, 16, FTW_PHYS);
    ck_assert_uint_eq(loop_watch_directories(&model->log.watch), directories);
    loop_watch_close(&model->log.watch, NULL);
    test_run(loop);
    ck_assert_uint_eq(model->log.closes, 1);
    while (model->count > 0)
        free(model->paths[--model->count]);
    free(model);
    test_loop_free(loop);
}
END_TEST

/* Goal: many directories, more than one scan takes; closing in the midst of it. */
START_TEST(many_directories)
{
    struct loop      *loop = test_loop_new(NULL);
    struct watch_log *log;
    char              path[64];

    make_directory("t");
    for (int i = 0; i < 1000; i++) {
        (void)snprintf(path, sizeof(path), "t/%d", i);
        make_directory(path);
        (void)snprintf(path, sizeof(path), "t/%d/a", i);
        make_directory(path);
    }
    for (uint32_t i = 0; i < 10; i++) {
        log = watch_log_open(loop, "t", ENTRIES, LOOP_WATCH_TREE);
        test_turns(loop, i * 3);
        watch_log_close(log);
    }
    log = tree_open(loop, "t");
    ck_assert_uint_eq(loop_watch_directories(&log->watch), 2001);
    make_file("t/999/a/f");
    watch_log_expect(log, "created 999/a/f;");
    watch_log_close(log);
    test_loop_free(loop);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("watch_tree");
    TCase *tc = test_case(suite, "tree");

    tcase_add_checked_fixture(tc, scratch_make, scratch_remove);
    tcase_add_test(tc, events);
    tcase_add_test(tc, new_directories);
    tcase_add_test(tc, renamed_directories);
    tcase_add_loop_test(tc, renamed_while_listed, 0, 2);
    tcase_add_test(tc, no_loops);
    tcase_add_test(tc, root_gone);
    tcase_add_test(tc, directories_max);
    tcase_add_test(tc, no_more_watches);
    tc = test_case(suite, "many");
    tcase_add_checked_fixture(tc, scratch_make, scratch_remove);
    tcase_add_loop_test(tc, random_operations, 0, 3);
    tcase_add_test(tc, many_directories);
    return suite;
}
