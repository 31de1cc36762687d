/* tests/fs/tree_walk_test.c: walks through trees. */
#include "tests/fs/tree_world.h"

/* ---- a walk and what came of it */

enum { TEXT_MAX = 64 * 1024 };

struct tour {
    struct loop_tree_walk walk;
    uint32_t              visits, ends, entries, enters, leaves, errors, depth, depth_most;
    int                   error, error_last;
    bool                  active;
    uint32_t              fds_most;
    char                  text[TEXT_MAX]; /* a line for each visit */
    const char           *skip;           /* the directory with this name */
    uint32_t              stop_at;        /* the visit with this number, from 1 */
    enum loop_tree_walk_answer (*visit)(struct tour *tour, const struct loop_visit *visit);
};

static void write_down(struct tour *tour, const struct loop_visit *visit)
{
    static const char kinds[] = {
        [LOOP_VISIT_ENTRY] = '-', [LOOP_VISIT_ENTER] = '>', [LOOP_VISIT_LEAVE] = '<', [LOOP_VISIT_ERROR] = '!'};
    size_t size = strlen(tour->text);

    if (size + strlen(visit->path) + 16 < TEXT_MAX)
        snprintf(tour->text + size, TEXT_MAX - size, "%c%s\n", kinds[visit->kind], visit->path);
}

static enum loop_tree_walk_answer visit_cb(struct loop_tree_walk *walk, const struct loop_visit *visit)
{
    struct tour *tour = walk->data;
    size_t       path_size = strlen(visit->path), name_size = strlen(visit->name);

    ck_assert(tour->active);
    tour->visits++;
    write_down(tour, visit);
    ck_assert_uint_ge(path_size, name_size);
    ck_assert_str_eq(visit->path + path_size - name_size, visit->name);
    ck_assert(visit->depth == 0 || visit->path[path_size - name_size - 1] == '/');
    ck_assert(visit->kind == LOOP_VISIT_ERROR || visit->error == 0);
    tour->entries += visit->kind == LOOP_VISIT_ENTRY;
    tour->enters += visit->kind == LOOP_VISIT_ENTER;
    tour->leaves += visit->kind == LOOP_VISIT_LEAVE;
    if (visit->kind == LOOP_VISIT_ERROR) {
        ck_assert_int_lt(visit->error, 0);
        tour->errors++;
        tour->error_last = visit->error;
    }
    if (visit->depth > tour->depth_most)
        tour->depth_most = visit->depth;
    if (tour->visit != NULL)
        return tour->visit(tour, visit);
    if (tour->skip != NULL && strcmp(visit->name, tour->skip) == 0)
        return LOOP_TREE_WALK_SKIP;
    return tour->visits == tour->stop_at ? LOOP_TREE_WALK_STOP : LOOP_TREE_WALK_GO_ON;
}

static void end_cb(struct loop_tree_walk *walk, int error)
{
    struct tour *tour = walk->data;

    ck_assert(tour->active);
    tour->active = false;
    tour->ends++;
    tour->error = error;
}

static int tour_start(struct tour *tour, int dirfd, const char *path, const struct loop_tree_walk_options *options)
{
    int r;

    tour->walk.data = tour;
    r = loop_tree_walk_start(loop, &tour->walk, dirfd, path, options, visit_cb, end_cb);
    tour->active = tour->active || r == 0;
    return r;
}

static void tour_run(struct tour *tour, int dirfd, const char *path, const struct loop_tree_walk_options *options)
{
    ck_assert_int_eq(tour_start(tour, dirfd, path, options), 0);
    test_run(loop);
    ck_assert_uint_eq(tour->ends, 1);
}

static bool has(const struct tour *tour, const char *line)
{
    char with_end[300];

    snprintf(with_end, sizeof(with_end), "%s\n", line);
    return strstr(tour->text, with_end) != NULL;
}

/* How often the text has a line, and where it is first. */
static long at(const struct tour *tour, const char *line)
{
    char        with_end[300];
    const char *found;

    snprintf(with_end, sizeof(with_end), "%s\n", line);
    found = strstr(tour->text, with_end);
    ck_assert_msg(found != NULL, "no %s in\n%s", line, tour->text);
    ck_assert_msg(strstr(found + 1, with_end) == NULL, "two of %s in\n%s", line, tour->text);
    return found - tour->text;
}

/* t/a, t/d/b, t/d/e/ (empty), t/link -> d, t/z/up -> .. */
static void plant(void)
{
    make_directory("t");
    make_directory("t/d");
    make_directory("t/d/e");
    make_directory("t/z");
    touch("t/a");
    touch("t/d/b");
    ck_assert_int_eq(symlink("d", "t/link"), 0);
    ck_assert_int_eq(symlink("..", "t/z/up"), 0);
}

/* ---- order */

/* Goal: each directory comes before and after its contents, each entry once; links are entries. */
START_TEST(order)
{
    static const char *const paths[] = {"t", "t/", "./t", "t//"};

    plant();
    for (size_t i = 0; i < TEST_COUNT(paths); i++) {
        struct tour *tour = calloc(1, sizeof(*tour));
        char         line[300];
        const char  *join = paths[i][strlen(paths[i]) - 1] == '/' ? "" : "/";
        long         first, last;

        tour_run(tour, AT_FDCWD, paths[i], NULL);
        ck_assert_int_eq(tour->error, 0);
        ck_assert_uint_eq(tour->enters, 4);
        ck_assert_uint_eq(tour->leaves, 4);
        ck_assert_uint_eq(tour->entries, 4);
        ck_assert_uint_eq(tour->errors, 0);
        ck_assert_uint_eq(tour->depth_most, 2);
        snprintf(line, sizeof(line), ">%s", paths[i]);
        ck_assert_int_eq(at(tour, line), 0);
        snprintf(line, sizeof(line), ">%s%sd", paths[i], join);
        first = at(tour, line);
        line[0] = '<';
        last = at(tour, line);
        snprintf(line, sizeof(line), "-%s%sd/b", paths[i], join);
        ck_assert(first < at(tour, line) && at(tour, line) < last);
        snprintf(line, sizeof(line), ">%s%sd/e", paths[i], join);
        ck_assert(first < at(tour, line) && at(tour, line) < last);
        snprintf(line, sizeof(line), "-%s%slink", paths[i], join);
        ck_assert(at(tour, line) < first || at(tour, line) > last);
        snprintf(line, sizeof(line), "<%s", paths[i]);
        ck_assert_uint_eq((size_t)at(tour, line) + strlen(line) + 1, strlen(tour->text));
        free(tour);
    }
}
END_TEST

static uint64_t seed;

/* Returns how many entries it has made in there, with what is in them. */
static uint32_t plant_at_random(uint32_t depth)
{
    uint32_t count = 0, files = (uint32_t)(test_random(&seed) % 8), directories;

    directories = depth > 11 ? 0 : (uint32_t)(test_random(&seed) % (depth < 3 ? 5 : 3));
    for (uint32_t i = 0; i < files + directories; i++) {
        char name[32];

        snprintf(name, sizeof(name), "%c%u", i < files ? 'f' : 'd', i);
        count++;
        if (i < files) {
            touch(name);
            continue;
        }
        make_directory(name);
        ck_assert_int_eq(chdir(name), 0);
        count += plant_at_random(depth + 1);
        ck_assert_int_eq(chdir(".."), 0);
    }
    return count;
}

static enum loop_tree_walk_answer nested(struct tour *tour, const struct loop_visit *visit)
{
    char found[64];

    if (visit->kind == LOOP_VISIT_LEAVE)
        tour->depth--;
    ck_assert_uint_eq(visit->depth, tour->depth);
    if (visit->kind == LOOP_VISIT_ENTER)
        tour->depth++;
    ck_assert_int_eq(access(visit->path, F_OK), 0);
    snprintf(found, sizeof(found), "%c", visit->kind == LOOP_VISIT_ENTRY ? 'f' : 'd');
    ck_assert(visit->depth == 0 || visit->name[0] == found[0]);
    return LOOP_TREE_WALK_GO_ON;
}

/* Goal: random trees, deeper than directories are kept open: all is met, properly nested, with paths that are there. */
START_TEST(random_trees)
{
    seed = test_env("TEST_SEED", 4711);
    for (int round = 0; round < 6; round++) {
        struct tour *tour = calloc(1, sizeof(*tour));
        char         name[16];
        uint32_t     count;

        snprintf(name, sizeof(name), "t%d", round);
        make_directory(name);
        ck_assert_int_eq(chdir(name), 0);
        count = plant_at_random(0);
        ck_assert_int_eq(chdir(".."), 0);
        tour->visit = nested;
        tour_run(tour, AT_FDCWD, name, NULL);
        ck_assert_int_eq(tour->error, 0);
        ck_assert_uint_eq(tour->entries + tour->enters, count + 1);
        ck_assert_uint_eq(tour->enters, tour->leaves);
        ck_assert_uint_eq(tour->depth, 0);
        free(tour);
    }
}
END_TEST

/* A chain of directories with a file on each level, and one behind the directory in reading order, perhaps. */
static void plant_deep(uint32_t depth)
{
    int fd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), next;

    for (uint32_t i = 0; i < depth; i++) {
        ck_assert_int_eq(mknodat(fd, "file", S_IFREG | 0600, 0), 0);
        ck_assert_int_eq(mknodat(fd, "other", S_IFREG | 0600, 0), 0);
        ck_assert_int_eq(mkdirat(fd, "directory", 0700), 0);
        ck_assert_int_eq(mknodat(fd, "zzz", S_IFREG | 0600, 0), 0);
        next = openat(fd, "directory", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        ck_assert_int_ge(next, 0);
        close(fd);
        fd = next;
    }
    close(fd);
}

/* What scratch_remove() can't: by way of the library. */
static void uproot(const char *name)
{
    struct test_log log = {0};

    ck_assert_int_gt(loop_tree_remove(loop, AT_FDCWD, name, 0, NULL, test_log_cb, &log, NULL), 0);
    test_run(loop);
    test_log_is(&log, 0);
}

static enum loop_tree_walk_answer count_fds(struct tour *tour, const struct loop_visit *visit)
{
    uint32_t fds = tour->visits % 50 == 0 || visit->kind == LOOP_VISIT_ERROR ? test_fd_count() : 0;

    if (fds > tour->fds_most)
        tour->fds_most = fds;
    return LOOP_TREE_WALK_GO_ON;
}

/* Goal: a tree whose paths are longer than the kernel takes, with few descriptors: all of it is met. Method: in memory
 * where that may be mounted: ext4 looks long for free inodes after many have been given back. */
START_TEST(deep)
{
    enum { DEPTH = 1000 };
    struct tour *tour = calloc(1, sizeof(*tour));
    uint32_t     fds;

    (void)scratch_mount("mounted", 64 * 1024 * 1024);
    ck_assert_int_eq(chdir("mounted"), 0);
    make_directory("t");
    ck_assert_int_eq(chdir("t"), 0);
    plant_deep(DEPTH);
    ck_assert_int_eq(chdir(".."), 0);
    fds = test_fd_count();
    tour->visit = count_fds;
    tour_run(tour, AT_FDCWD, "t", NULL);
    ck_assert_int_eq(tour->error, 0);
    ck_assert_uint_eq(tour->errors, 0);
    ck_assert_uint_eq(tour->entries, 3 * DEPTH);
    ck_assert_uint_eq(tour->enters, DEPTH + 1);
    ck_assert_uint_eq(tour->leaves, DEPTH + 1);
    ck_assert_uint_le(tour->fds_most, fds + 10);
    ck_assert_uint_eq(test_fd_count(), fds);
    uproot("t");
    ck_assert_int_eq(chdir(".."), 0);
    free(tour);
}
END_TEST

/* ---- answers and limits */

START_TEST(answers)
{
    struct tour *skip = calloc(1, sizeof(*skip)), *none = calloc(1, sizeof(*none));

    plant();
    skip->skip = "d";
    tour_run(skip, AT_FDCWD, "t", NULL);
    ck_assert_int_eq(skip->error, 0);
    ck_assert(has(skip, ">t/d") && !has(skip, "<t/d") && !has(skip, "-t/d/b") && has(skip, "-t/z/up"));
    ck_assert_uint_eq(skip->leaves, 2);
    none->skip = "t";
    tour_run(none, AT_FDCWD, "t", NULL);
    ck_assert_int_eq(none->error, 0);
    ck_assert_str_eq(none->text, ">t\n");
    for (uint32_t stop_at = 1; stop_at <= 13; stop_at++) {
        struct tour *stop = calloc(1, sizeof(*stop));

        stop->stop_at = stop_at;
        tour_run(stop, AT_FDCWD, "t", NULL);
        ck_assert_int_eq(stop->error, 0);
        ck_assert_uint_eq(stop->visits, stop_at <= 12 ? stop_at : 12);
        free(stop);
    }
    free(skip);
    free(none);
}
END_TEST

START_TEST(limits)
{
    struct tour *tours = calloc(5, sizeof(*tours));

    plant();
    tour_run(&tours[0], AT_FDCWD, "t", &(struct loop_tree_walk_options){.depth_max = 1});
    ck_assert_int_eq(tours[0].error, 0);
    ck_assert_uint_eq(tours[0].depth_most, 1);
    ck_assert_uint_eq(tours[0].enters, 3);
    ck_assert_uint_eq(tours[0].leaves, 1);
    tour_run(&tours[1], AT_FDCWD, "t", &(struct loop_tree_walk_options){.depth_max = 2});
    ck_assert_uint_eq(tours[1].depth_most, 2);
    ck_assert(has(&tours[1], ">t/d/e") && !has(&tours[1], "<t/d/e"));
    tour_run(&tours[2], AT_FDCWD, "t", &(struct loop_tree_walk_options){.visits_max = 5});
    ck_assert_int_eq(tours[2].error, -EOVERFLOW);
    ck_assert_uint_eq(tours[2].visits, 5);
    ck_assert_uint_eq(test_stats(loop).walks_over, 1);
    tour_run(&tours[3], AT_FDCWD, "t", &(struct loop_tree_walk_options){.visits_max = 12});
    ck_assert_int_eq(tours[3].error, 0);
    ck_assert_uint_eq(test_stats(loop).walks_over, 1);
    ck_assert_int_eq(tour_start(&tours[4], AT_FDCWD, "t", &(struct loop_tree_walk_options){.flags = 1u << 5}), -EINVAL);
    ck_assert_int_eq(tour_start(&tours[4], -3, "t", NULL), -EBADF);
    ck_assert_int_eq(tour_start(&tours[4], AT_FDCWD, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_tree_walk_cancel(&tours[4].walk), -ENOENT);
    free(tours);
}
END_TEST

/* Goal: the first directory has the errors of a listing, and no visit. */
START_TEST(start_errors)
{
    static const struct {
        const char *path;
        uint32_t    flags;
        int         error;
    } rows[] = {
        {"missing", 0, -ENOENT},
        {"t/a", 0, -ENOTDIR},
        {"t/link", 0, 0},
        {"t/link", LOOP_TREE_WALK_NOFOLLOW, -ENOTDIR},
        {"t/z/up/..", LOOP_TREE_WALK_BENEATH, 0},
        {"..", LOOP_TREE_WALK_BENEATH, -EXDEV},
        {"", 0, -ENOENT},
    };

    plant();
    for (size_t i = 0; i < TEST_COUNT(rows); i++) {
        struct tour *tour = calloc(1, sizeof(*tour));

        tour_run(tour, AT_FDCWD, rows[i].path, &(struct loop_tree_walk_options){.flags = rows[i].flags});
        ck_assert_msg(tour->error == rows[i].error, "%s: %d", rows[i].path, tour->error);
        ck_assert_int_eq(tour->visits == 0, tour->error != 0);
        free(tour);
    }
}
END_TEST

/* ---- links, file systems, what each entry is */

START_TEST(followed)
{
    struct tour *tour = calloc(1, sizeof(*tour));

    plant();
    ck_assert_int_eq(symlink("nowhere", "t/dangling"), 0);
    ck_assert_int_eq(symlink("a", "t/to_file"), 0);
    tour_run(tour, AT_FDCWD, "t", &(struct loop_tree_walk_options){.flags = LOOP_TREE_WALK_FOLLOW});
    ck_assert_int_eq(tour->error, 0);
    ck_assert(has(tour, ">t/link") && has(tour, "-t/link/b") && has(tour, "<t/link"));
    ck_assert(has(tour, "-t/dangling") && has(tour, "-t/to_file"));
    ck_assert(has(tour, ">t/z/up") && has(tour, "!t/z/up") && !has(tour, "<t/z/up"));
    ck_assert_uint_eq(tour->errors, 1);
    ck_assert_int_eq(tour->error_last, -ELOOP);
    free(tour);
}
END_TEST

/* Goal: links deep in a tree, followed: the way up from them is found again though ".." leads elsewhere. */
START_TEST(followed_deep)
{
    struct tour *tour = calloc(1, sizeof(*tour));
    char         path[400] = "t";

    make_directory("other");
    ck_assert_int_eq(chdir("other"), 0);
    plant_deep(12);
    ck_assert_int_eq(chdir(".."), 0);
    make_directory("t");
    for (int i = 0; i < 12; i++) {
        strcat(path, "/d");
        make_directory(path);
        touch(strcat(path, "/f"));
        path[strlen(path) - 2] = '\0';
    }
    strcat(path, "/link");
    ck_assert_int_eq(symlink(scratch_path(), path), 0);
    path[strlen(path) - 5] = '\0';
    ck_assert_int_eq(symlink("../../../../../../../../../../../../../other", strcat(path, "/other")), 0);
    tour_run(tour, AT_FDCWD, "t", &(struct loop_tree_walk_options){.flags = LOOP_TREE_WALK_FOLLOW});
    ck_assert_int_eq(tour->error, 0);
    /* by t/d/.../other, and by t/d/.../link/other; t/d/.../link/t is above */
    ck_assert_uint_eq(tour->entries, 12 + 2 * 36);
    ck_assert_uint_eq(tour->errors, 1);
    ck_assert_int_eq(tour->error_last, -ELOOP);
    ck_assert_uint_eq(tour->leaves, 13 + 2 * 13 + 1);
    free(tour);
}
END_TEST

static enum loop_tree_walk_answer look_at_stat(struct tour *tour, const struct loop_visit *visit)
{
    struct stat stat;

    (void)tour;
    if (visit->kind != LOOP_VISIT_ENTRY && visit->kind != LOOP_VISIT_ENTER) {
        ck_assert_ptr_null(visit->stat);
        return LOOP_TREE_WALK_GO_ON;
    }
    ck_assert_ptr_nonnull(visit->stat);
    ck_assert_int_eq(lstat(visit->path, &stat), 0);
    ck_assert_uint_eq(visit->stat->stx_ino, stat.st_ino);
    ck_assert_uint_eq(visit->stat->stx_size, (uint64_t)stat.st_size);
    ck_assert_uint_eq(visit->stat->stx_mode, stat.st_mode);
    ck_assert_uint_eq(visit->type, stat.st_mode >> 12);
    ck_assert(visit->depth == 0 || visit->inode == stat.st_ino);
    return LOOP_TREE_WALK_GO_ON;
}

START_TEST(stats)
{
    struct tour *tour = calloc(1, sizeof(*tour)), *without = calloc(1, sizeof(*without));

    plant();
    scratch_write("t/d/b", "hello", 5);
    tour->visit = look_at_stat;
    tour_run(tour, AT_FDCWD, "t", &(struct loop_tree_walk_options){.flags = LOOP_TREE_WALK_STAT});
    ck_assert_int_eq(tour->error, 0);
    ck_assert_uint_eq(tour->visits, 12);
    free(tour);
    free(without);
}
END_TEST

START_TEST(one_system)
{
    struct tour *tour = calloc(1, sizeof(*tour)), *all = calloc(1, sizeof(*all));

    plant();
    if (!scratch_mount("t/mounted", 1 << 20)) {
        test_skip("may not mount");
        free(tour);
        free(all);
        return;
    }
    touch("t/mounted/inside");
    tour_run(tour, AT_FDCWD, "t", &(struct loop_tree_walk_options){.flags = LOOP_TREE_WALK_ONE_SYSTEM});
    ck_assert_int_eq(tour->error, 0);
    ck_assert_uint_eq(tour->errors, 0);
    ck_assert(has(tour, ">t/mounted") && !has(tour, "-t/mounted/inside") && !has(tour, "<t/mounted"));
    tour_run(all, AT_FDCWD, "t", NULL);
    ck_assert(has(all, "-t/mounted/inside") && has(all, "<t/mounted"));
    free(tour);
    free(all);
}
END_TEST

/* ---- errors on the way, changes meanwhile */

static void scenario_closed(void)
{
    struct tour *tour = calloc(1, sizeof(*tour));

    loop = test_loop_new(NULL);
    tour_run(tour, AT_FDCWD, "t", NULL);
    if (tour->error != 0 || tour->errors != 1 || tour->error_last != -EACCES || !has(tour, "!t/closed") ||
        !has(tour, ">t/closed") || has(tour, "<t/closed") || tour->entries != 2 || tour->leaves != 3)
        _exit(10);
    test_loop_free(loop);
    free(tour);
}

/* Goal: a directory that can't be opened is told, and the walk goes on. */
START_TEST(closed_directory)
{
    make_directory("t");
    for (int i = 0; i < 2; i++) {
        char name[16];

        snprintf(name, sizeof(name), "t/%d", i);
        make_directory(name);
        ck_assert_int_eq(chmod(name, 0755), 0);
        strcat(name, "/f");
        touch(name);
    }
    make_directory("t/closed");
    ck_assert_int_eq(chmod("t", 0755), 0);
    ck_assert_int_eq(chmod("t/closed", 0), 0);
    scratch_unprivileged(scenario_closed);
}
END_TEST

static enum loop_tree_walk_answer move_away(struct tour *tour, const struct loop_visit *visit)
{
    if (visit->kind == LOOP_VISIT_ENTER && visit->depth == 20) {
        ck_assert_int_eq(rename("t/directory/directory/directory", "elsewhere"), 0);
        ck_assert_int_eq(symlink("/", "t/directory/directory/directory"), 0);
    }
    (void)tour;
    return LOOP_TREE_WALK_GO_ON;
}

/* Goal: a part of the tree is moved out while the walk is deep in it, and a link to the root put in its place: the walk
 * leads nowhere else, and ends; what is not found again is told. */
START_TEST(moved_meanwhile)
{
    struct tour *tour = calloc(1, sizeof(*tour));

    make_directory("t");
    ck_assert_int_eq(chdir("t"), 0);
    plant_deep(30);
    ck_assert_int_eq(chdir(".."), 0);
    tour->visit = move_away;
    tour_run(tour, AT_FDCWD, "t", NULL);
    ck_assert_int_eq(tour->error, 0);
    ck_assert_uint_eq(tour->enters, tour->leaves);
    ck_assert_uint_eq(tour->enters, 31);
    ck_assert_uint_le(tour->errors, 2);
    ck_assert_uint_ge(tour->entries, 3 * 26);
    ck_assert_uint_le(tour->entries, 3 * 30 + 1);
    free(tour);
}
END_TEST

static enum loop_tree_walk_answer remove_before(struct tour *tour, const struct loop_visit *visit)
{
    (void)tour;
    if (visit->kind == LOOP_VISIT_ENTER && strcmp(visit->name, "e") == 0)
        ck_assert_int_eq(rmdir("t/d/e"), 0);
    return LOOP_TREE_WALK_GO_ON;
}

START_TEST(gone_meanwhile)
{
    struct tour *tour = calloc(1, sizeof(*tour));

    plant();
    tour->visit = remove_before;
    tour_run(tour, AT_FDCWD, "t", NULL);
    ck_assert_int_eq(tour->error, 0);
    ck_assert_uint_eq(tour->errors, 1);
    ck_assert_int_eq(tour->error_last, -ENOENT);
    ck_assert(has(tour, "!t/d/e"));
    free(tour);
}
END_TEST

/* ---- pause, cancel, faults */

static enum loop_tree_walk_answer pause_visit(struct tour *tour, const struct loop_visit *visit)
{
    (void)visit;
    ck_assert_int_eq(loop_tree_walk_pause(&tour->walk), 0);
    return LOOP_TREE_WALK_GO_ON;
}

START_TEST(pause_and_resume)
{
    struct tour *tour = calloc(1, sizeof(*tour));

    plant();
    tour->visit = pause_visit;
    ck_assert_int_eq(tour_start(tour, AT_FDCWD, "t", NULL), 0);
    for (uint32_t i = 1; i <= 12; i++) {
        test_run_until(loop, &tour->visits, i);
        test_turns(loop, 3);
        ck_assert_uint_eq(tour->visits, i);
        ck_assert_uint_eq(tour->ends, 0);
        ck_assert_int_eq(loop_tree_walk_resume(&tour->walk), 0);
    }
    test_run(loop);
    ck_assert_uint_eq(tour->ends, 1);
    ck_assert_int_eq(tour->error, 0);
    ck_assert_uint_eq(tour->visits, 12);
    free(tour);
}
END_TEST

static uint32_t cancel_at;

static enum loop_tree_walk_answer cancel_visit(struct tour *tour, const struct loop_visit *visit)
{
    (void)visit;
    if (tour->visits == cancel_at)
        ck_assert_int_eq(loop_tree_walk_cancel(&tour->walk), 0);
    return LOOP_TREE_WALK_GO_ON;
}

START_TEST(cancel)
{
    struct tour *dropped = calloc(1, sizeof(*dropped)), *late = calloc(1, sizeof(*late));

    plant();
    for (cancel_at = 0; cancel_at <= 12; cancel_at++) {
        struct tour *tour = calloc(1, sizeof(*tour));

        tour->visit = cancel_visit;
        ck_assert_int_eq(tour_start(tour, AT_FDCWD, "t", NULL), 0);
        if (cancel_at == 0)
            ck_assert_int_eq(loop_tree_walk_cancel(&tour->walk), 0);
        test_run(loop);
        ck_assert_uint_eq(tour->ends, 1);
        ck_assert_int_eq(tour->error, -ECANCELED);
        ck_assert_uint_eq(tour->visits, cancel_at);
        free(tour);
    }
    late->visit = pause_visit;
    late->walk.data = late;
    tour_run(late, AT_FDCWD, "t", &(struct loop_tree_walk_options){.timeout_ns = 10 * LOOP_MILLISECOND});
    ck_assert_int_eq(late->error, -ETIMEDOUT);
    dropped->visit = pause_visit;
    ck_assert_int_eq(tour_start(dropped, AT_FDCWD, "t", NULL), 0);
    test_run_until(loop, &dropped->visits, 1);
    test_loop_drop(loop);
    loop = NULL;
    ck_assert_int_eq(dropped->error, -ECANCELED);
    free(late);
    free(dropped);
}
END_TEST

/* Goal: whichever allocation fails, there is one end, and nothing is left. */
START_TEST(faults)
{
    uint32_t nth = 1, ended_well = 0;

    make_directory("t");
    ck_assert_int_eq(chdir("t"), 0);
    plant_deep(40);
    ck_assert_int_eq(chdir(".."), 0);
    for (bool failed = true; failed; nth++) {
        struct tour *tour = calloc(1, sizeof(*tour));
        int          r;

        ck_assert_uint_lt(nth, 200);
        test_loop_free(loop);
        loop = test_loop_new(NULL);
        test_memory.failed = 0;
        test_memory.fail_at = test_memory.calls + nth;
        r = tour_start(tour, AT_FDCWD, "t", &(struct loop_tree_walk_options){.flags = LOOP_TREE_WALK_STAT});
        if (r == 0)
            test_run(loop);
        else
            ck_assert_int_eq(r, -ENOMEM);
        failed = test_memory.failed > 0;
        test_memory.fail_at = 0;
        ck_assert_uint_eq(tour->ends, r == 0);
        ck_assert(tour->error == 0 || tour->error == -ENOMEM);
        ck_assert(tour->errors == 0 || tour->error_last == -ENOMEM);
        ck_assert(failed || tour->visits == 3 * 40 + 2 * 41);
        ended_well += r == 0 && tour->error == 0;
        free(tour);
    }
    ck_assert_uint_gt(nth, 5);
    ck_assert_uint_ge(ended_well, 1);
}
END_TEST

static ino_t inode_of(const char *name)
{
    struct stat stat_;

    ck_assert_int_eq(stat(name, &stat_), 0);
    return stat_.st_ino;
}

static bool inode_reused;

/* When the directory t/1 is not open any more its inode's number gets another one, and t/1/2 stands in that. */
static enum loop_tree_walk_answer exchange(struct tour *tour, const struct loop_visit *visit)
{
    char  name[32];
    ino_t inode;

    (void)tour;
    ck_assert_int_ne(visit->name[0], 'f');
    if (visit->depth != 10 || visit->kind != LOOP_VISIT_ENTER)
        return LOOP_TREE_WALK_GO_ON;
    inode = inode_of("t/1");
    ck_assert_int_eq(rename("t/1/2", "moved"), 0);
    ck_assert_int_eq(rmdir("t/1"), 0);
    for (int i = 0; i < 200 && !inode_reused; i++) {
        snprintf(name, sizeof(name), "alien-%d", i);
        ck_assert_int_eq(mkdir(name, 0700), 0);
        inode_reused = inode_of(name) == inode;
    }
    if (!inode_reused)
        return LOOP_TREE_WALK_STOP;
    ck_assert_int_eq(rename(name, "alien"), 0);
    for (int i = 0; i < 64; i++) {
        snprintf(name, sizeof(name), "alien/f%d", i);
        scratch_write(name, "", 0);
    }
    ck_assert_int_eq(rename("moved", "alien/2"), 0);
    return LOOP_TREE_WALK_GO_ON;
}

/* Goal: the way up leads to no directory that has got the number of one that was removed. Method: takes care that it
 * does, where the file system gives such numbers away at once, as ext4 does. */
START_TEST(inode_number_reused)
{
    struct tour *tour = calloc(1, sizeof(*tour));
    char         name[64] = "t";

    ck_assert_int_eq(mkdir(name, 0700), 0);
    for (int i = 1; i <= 10; i++) {
        snprintf(name + strlen(name), sizeof(name) - strlen(name), "/%d", i);
        ck_assert_int_eq(mkdir(name, 0700), 0);
    }
    tour->visit = exchange;
    tour_run(tour, AT_FDCWD, "t", NULL);
    ck_assert_int_eq(tour->error, 0);
    if (inode_reused)
        ck_assert_uint_gt(tour->errors, 0);
    else
        test_skip("the number of an inode is not used again");
    free(tour);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("fs/tree_walk");
    TCase *walk = test_case(suite, "walk");

    tcase_add_checked_fixture(walk, open_world, close_world);
    tcase_add_test(walk, order);
    tcase_add_test(walk, random_trees);
    tcase_add_test(walk, deep);
    tcase_add_test(walk, answers);
    tcase_add_test(walk, limits);
    tcase_add_test(walk, start_errors);
    tcase_add_test(walk, followed);
    tcase_add_test(walk, followed_deep);
    tcase_add_test(walk, stats);
    tcase_add_test(walk, one_system);
    tcase_add_test(walk, closed_directory);
    tcase_add_test(walk, moved_meanwhile);
    tcase_add_test(walk, gone_meanwhile);
    tcase_add_test(walk, inode_number_reused);
    tcase_add_test(walk, pause_and_resume);
    tcase_add_test(walk, cancel);
    tcase_add_test(walk, faults);
    return suite;
}
