/* tests/fs/fault_fs_test.c: files, directories and watches where memory runs out, system calls or operations of the
 * ring fail, each once, and with few operations allowed. See tests/support/fault.h. */
#include "tests/fs/scratch.h"
#include "tests/support/fault.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <ringloop/fixed.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BIG = 150000, LINE = 50, FILES = 12, STEPS = 16 };

static char big[BIG];

/* ---- the world: what is in the scratch directory */

static void file_make(const char *path, size_t size)
{
    scratch_write(path, big, size);
}

static void prepare(void)
{
    char path[64];

    if (access("tree/d/e/f", F_OK) != 0) {
        mkdir("tree", 0755);
        mkdir("tree/d", 0755);
        mkdir("tree/d/e", 0755);
        file_make("tree/d/e/f", 10);
    }
    for (int i = 0; i < FILES; i++) {
        snprintf(path, sizeof(path), "tree/d/%d", i);
        file_make(path, 1);
    }
    file_make("big", BIG);
    file_make("old", 100);
}

static int remove_one(const char *name, const struct stat *stat, int kind, struct FTW *ftw)
{
    (void)stat;
    (void)kind;
    (void)ftw;
    return remove(name);
}

/* What a play leaves on the disk goes; temporaries must have gone by themselves, unless it was their removal that
 * failed. */
static void tidy(void)
{
    DIR           *directory = opendir(".");
    struct dirent *entry;
    bool           excused = strstr(fault.name, "unlink") != NULL;

    ck_assert_ptr_nonnull(directory);
    while ((entry = readdir(directory)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        ck_assert_msg(entry->d_name[0] != '.' || excused, "%s was left; %u: %s", entry->d_name, fault.nth, fault.name);
        if (strcmp(entry->d_name, "tree") == 0)
            continue;
        ck_assert_int_eq(nftw(entry->d_name, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
    }
    closedir(directory);
}

static void holds_big(const char *path, size_t size)
{
    size_t got;
    char  *data = scratch_read(path, &got);

    ck_assert_uint_eq(got, size);
    ck_assert_int_eq(memcmp(data, big, size), 0);
    free(data);
}

/* ---- files */

static struct {
    struct loop_file file;
    struct thing     open, steps[STEPS], closed;
    char             buffer[3][BIG];
    struct statx     stat;
    uint64_t         size;
} files;

static void file_cb(struct loop_file *file, int error, uint64_t count, void *arg)
{
    (void)file;
    if (arg == &files.steps[6])
        files.size = count;
    if (arg == &files.steps[11] && error == -ENXIO) { /* nothing has been written */
        fault.errors++;
        error = 0;
    }
    thing_ended(arg, error);
}

static void file_closed(struct loop_file *file, int error)
{
    (void)file;
    thing_ended(&files.closed, error);
}

static void file_opened(struct loop_file *file, int error)
{
    struct thing *step = files.steps;
    struct iovec  iov[2] = {{.iov_base = big, .iov_len = 1000}, {.iov_base = big + 1000, .iov_len = 2000}};

    thing_ended(&files.open, error);
    if (error < 0 && error != -ECANCELED)
        ck_assert_int_eq(loop_file_write(file, big, 1, 0, 0, file_cb, &step[0]), -EBADF);
    if (error == 0) {
        thing_began(&step[0], loop_file_writev(file, iov, 2, LOOP_FILE_POSITION, 0, file_cb, &step[0]));
        thing_began(&step[1], loop_file_write(file, big + 3000, BIG - 3000, 3000, 0, file_cb, &step[1]));
        thing_began(&step[2], loop_file_sync(file, file_cb, &step[2]));
        thing_began(&step[3], loop_file_seek(file, 10, SEEK_SET, file_cb, &step[3]));
        thing_began(&step[4], loop_file_read(file, files.buffer[0], 10, LOOP_FILE_POSITION, 0, file_cb, &step[4]));
        thing_began(&step[5], loop_file_stat(file, STATX_SIZE, &files.stat, file_cb, &step[5]));
        thing_began(&step[6], loop_file_size(file, file_cb, &step[6]));
        thing_began(&step[7], loop_file_allocate(file, 0, 0, BIG, file_cb, &step[7]));
        thing_began(&step[8], loop_file_truncate(file, BIG, file_cb, &step[8]));
        thing_began(&step[9], loop_file_write(file, big, 10, 0, 0, file_cb, &step[9]));
        thing_began(&step[10], loop_file_datasync(file, file_cb, &step[10]));
        thing_began(&step[11], loop_file_seek(file, 0, SEEK_HOLE, file_cb, &step[11]));
    }
}

static void files_start(struct loop *loop)
{
    const struct loop_file_options options = {
        .flags = LOOP_FILE_SYNC_EACH | LOOP_FILE_SYNC_CLOSE | LOOP_FILE_REGISTERED, .on_close = file_closed};

    memset(&files, 0, sizeof(files));
    ck_assert_int_le(loop_files_init(loop, NULL), 0); /* without a table the descriptor does */
    if (thing_began(&files.open, loop_file_open(loop, &files.file, AT_FDCWD, "new", O_RDWR | O_CREAT | O_TRUNC, 0644,
                                                &options, file_opened)))
        thing_began(&files.closed, 0); /* by the scene, or by the loop */
}

static bool files_wait(void)
{
    for (int i = 0; i < STEPS; i++)
        if (files.steps[i].open)
            return false;
    return !files.open.open;
}

static void files_close(void)
{
    if (files.closed.open)
        loop_file_close(&files.file, NULL);
}

static void files_check(void)
{
    holds_big("new", BIG);
    ck_assert_int_eq(memcmp(files.buffer[0], big + 10, 10), 0);
}

/* ---- readers */

static struct {
    struct loop_file   file;
    struct loop_reader readers[2];
    struct thing       ends[2], closed;
    uint64_t           bytes[2];
    uint32_t           records;
} reading;

static void read_cb(struct loop_reader *reader, int error, const void *data, size_t size)
{
    size_t which = (size_t)(reader - reading.readers);

    if (data == NULL) {
        thing_ended(&reading.ends[which], error);
        return;
    }
    ck_assert_int_eq(memcmp(data, big + reading.bytes[which], size), 0);
    reading.bytes[which] += size;
    reading.records += which == 1;
}

static void reading_closed(struct loop_file *file, int error)
{
    (void)file;
    thing_ended(&reading.closed, error);
}

static void readers_start(struct loop *loop)
{
    const struct loop_reader_options records = {.delimiter = "\n", .delimiter_size = 1, .chunk_bytes = 4096};
    const struct loop_file_options   options = {.flags = LOOP_FILE_REGISTERED, .on_close = reading_closed};
    int                              fd = open("big", O_RDONLY | O_CLOEXEC);

    memset(&reading, 0, sizeof(reading));
    ck_assert_int_ge(fd, 0);
    ck_assert_int_le(loop_files_init(loop, NULL), 0);
    if (!thing_began(&reading.closed, loop_file_adopt(loop, &reading.file, fd, &options))) {
        test_close(fd);
        return;
    }
    thing_began(&reading.ends[0], loop_reader_start(&reading.file, &reading.readers[0], NULL, read_cb));
    thing_began(&reading.ends[1], loop_reader_start(&reading.file, &reading.readers[1], &records, read_cb));
}

static bool readers_wait(void)
{
    return !reading.ends[0].open && !reading.ends[1].open;
}

static void readers_close(void)
{
    if (reading.closed.open)
        loop_file_close(&reading.file, NULL);
}

static void readers_check(void)
{
    ck_assert_uint_eq(reading.bytes[0], BIG);
    ck_assert_uint_eq(reading.bytes[1], BIG);
    ck_assert_uint_eq(reading.records, BIG / LINE);
}

/* ---- whole files */

static struct {
    struct loop_whole whole[3];
    struct thing      ends[3];
    struct loop      *loop;
} wholes;

static void whole_cb(struct loop_whole *whole, int error, void *data, size_t size)
{
    size_t which = (size_t)(whole - wholes.whole);

    if (error == 0)
        ck_assert_uint_eq(size, BIG);
    if (data != NULL) {
        ck_assert_int_eq(memcmp(data, big, BIG), 0);
        loop_whole_free(wholes.loop, data);
    }
    thing_ended(&wholes.ends[which], error);
}

static void whole_start(struct loop *loop)
{
    const struct loop_whole_options give = {.flags = LOOP_WHOLE_GIVE, .timeout_ns = 60 * LOOP_SECOND};
    const struct loop_whole_options sync = {.flags = LOOP_WHOLE_SYNC};
    const struct loop_whole_options keep = {.flags = LOOP_WHOLE_KEEP_MODE | LOOP_WHOLE_KEEP_OWNER};

    memset(&wholes, 0, sizeof(wholes));
    wholes.loop = loop;
    thing_began(&wholes.ends[0], loop_whole_read(loop, &wholes.whole[0], AT_FDCWD, "big", &give, whole_cb));
    thing_began(&wholes.ends[1], loop_whole_write(loop, &wholes.whole[1], AT_FDCWD, "new", big, BIG, &sync, whole_cb));
    thing_began(&wholes.ends[2],
                loop_whole_replace(loop, &wholes.whole[2], AT_FDCWD, "old", big, BIG, &keep, whole_cb));
}

/* Also after a failure "old" is the old one or the new one. */
static void whole_tidy(void)
{
    size_t got;
    char  *data = scratch_read("old", &got);

    ck_assert(got == 100 || got == BIG);
    ck_assert_int_eq(memcmp(data, big, got), 0);
    free(data);
    tidy();
}

static void whole_check(void)
{
    holds_big("new", BIG);
    holds_big("old", BIG);
}

/* ---- writers */

static struct {
    struct loop_writer writer;
    struct thing       writes[STEPS], sync, closed;
} writing;

static void written_cb(struct loop_writer *writer, int error, size_t bytes, void *arg)
{
    (void)writer;
    (void)bytes;
    thing_ended(arg, error);
}

static void writer_closed(struct loop_writer *writer)
{
    (void)writer;
    thing_ended(&writing.closed, 0);
}

static void writer_start(struct loop *loop)
{
    const struct loop_writer_options options = {.flags = LOOP_WRITER_SYNC, .on_close = writer_closed};
    const struct loop_writer_terms   copy = {.flags = LOOP_WRITER_COPY};
    enum { PART = BIG / STEPS };
    int fd = open("new", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    memset(&writing, 0, sizeof(writing));
    ck_assert_int_ge(fd, 0);
    if (!thing_began(&writing.closed, loop_writer_open(loop, &writing.writer, fd, &options))) {
        test_close(fd);
        return;
    }
    for (int i = 0; i < STEPS; i++) { /* from both ends, so that there are several runs */
        int    part = i % 2 == 0 ? i : STEPS - i;
        size_t at = (size_t)part * PART;

        thing_began(&writing.writes[i], loop_writer_write(&writing.writer, big + at, PART, (int64_t)at, written_cb,
                                                          &writing.writes[i], i % 3 == 0 ? &copy : NULL));
    }
    thing_began(&writing.sync, loop_writer_sync(&writing.writer, written_cb, &writing.sync));
}

static bool writer_wait(void)
{
    for (int i = 0; i < STEPS; i++)
        if (writing.writes[i].open)
            return false;
    return !writing.sync.open;
}

static void writer_close(void)
{
    if (writing.closed.open)
        loop_writer_close(&writing.writer, NULL);
}

static void writer_check(void)
{
    holds_big("new", BIG / STEPS * STEPS);
}

/* ---- directories and trees */

static struct {
    struct loop_listing     listing;
    struct loop_tree_walk   walk;
    struct thing            listed, walked, made, removed;
    struct loop_tree_counts counts;
    uint32_t                entries, visits;
} trees;

static void listing_cb(struct loop_listing *listing, const struct loop_entry *entries, size_t count)
{
    (void)listing;
    (void)entries;
    trees.entries += (uint32_t)count;
}

static void listed_cb(struct loop_listing *listing, int error)
{
    (void)listing;
    thing_ended(&trees.listed, error);
}

static enum loop_tree_walk_answer visit_cb(struct loop_tree_walk *walk, const struct loop_visit *visit)
{
    (void)walk;
    thing_told(visit->error);
    if (visit->kind == LOOP_VISIT_ENTRY && visit->stat == NULL)
        fault.errors++;
    trees.visits++;
    return LOOP_TREE_WALK_GO_ON;
}

static void walked_cb(struct loop_tree_walk *walk, int error)
{
    (void)walk;
    thing_ended(&trees.walked, error);
}

static void trees_start(struct loop *loop)
{
    const struct loop_listing_options   types = {.flags = LOOP_LISTING_TYPES | LOOP_LISTING_BENEATH};
    const struct loop_tree_walk_options stats = {.flags = LOOP_TREE_WALK_STAT};

    memset(&trees, 0, sizeof(trees));
    thing_began(&trees.listed,
                loop_listing_start(loop, &trees.listing, AT_FDCWD, "tree/d", &types, listing_cb, listed_cb));
    thing_began(&trees.walked, loop_tree_walk_start(loop, &trees.walk, AT_FDCWD, "tree", &stats, visit_cb, walked_cb));
    thing_began(&trees.made, loop_mkdir_all(loop, AT_FDCWD, "m/n/o", 0755, thing_cb, &trees.made, NULL));
}

static void trees_check(void)
{
    struct stat stat;

    ck_assert_uint_eq(trees.entries, FILES + 1);
    ck_assert_uint_eq(trees.visits, FILES + 1 + 2 * 3);
    ck_assert_int_eq(lstat("m/n/o", &stat), 0);
}

static void removal_start(struct loop *loop)
{
    memset(&trees, 0, sizeof(trees));
    thing_began(&trees.removed,
                loop_tree_remove(loop, AT_FDCWD, "tree", 0, &trees.counts, thing_cb, &trees.removed, NULL));
}

static void removal_check(void)
{
    ck_assert_int_ne(access("tree", F_OK), 0);
    ck_assert_uint_eq(trees.counts.files, FILES + 1);
    ck_assert_uint_eq(trees.counts.directories, 3);
}

/* ---- copies, temporaries, paths */

static struct {
    struct loop_copy        copies[2];
    struct thing            copied[2], files[3], paths[10];
    char                    names[2][32], texts[2][SCRATCH_PATH_MAX];
    struct loop_file_system system;
} paths;

static void copy_cb(struct loop_copy *copy, int error, uint64_t bytes)
{
    if (error == 0)
        ck_assert_uint_eq(bytes, BIG);
    thing_ended(&paths.copied[copy - paths.copies], error);
}

static void copies_start(struct loop *loop)
{
    const struct loop_copy_options sync = {.flags = LOOP_COPY_SYNC};
    const struct loop_copy_options replace = {.flags = LOOP_COPY_REPLACE};

    memset(&paths, 0, sizeof(paths));
    thing_began(&paths.copied[0],
                loop_copy_start(loop, &paths.copies[0], AT_FDCWD, "big", AT_FDCWD, "new", &sync, copy_cb));
    thing_began(&paths.copied[1],
                loop_copy_start(loop, &paths.copies[1], AT_FDCWD, "big", AT_FDCWD, "old", &replace, copy_cb));
}

static void paths_start(struct loop *loop)
{
    const struct timespec times[2] = {{.tv_sec = 1}, {.tv_sec = 2}};
    struct thing         *thing = paths.paths;

    memset(&paths, 0, sizeof(paths));
    strcpy(paths.names[0], "file-XXXXXX");
    strcpy(paths.names[1], "directory-XXXXXX");
    ck_assert(symlink("big", "link") == 0 || errno == EEXIST);
    thing_began(&paths.files[0],
                loop_temporary_file(loop, AT_FDCWD, paths.names[0], 0, 0600, thing_fd_cb, &paths.files[0], NULL));
    thing_began(&paths.files[1],
                loop_temporary_directory(loop, AT_FDCWD, paths.names[1], 0700, thing_cb, &paths.files[1], NULL));
    thing_began(&paths.files[2],
                loop_temporary_unnamed(loop, AT_FDCWD, ".", 0, 0600, thing_fd_cb, &paths.files[2], NULL));
    thing_began(&thing[0], loop_faccessat(loop, AT_FDCWD, "big", R_OK, 0, thing_cb, &thing[0], NULL));
    thing_began(&thing[1], loop_fchmodat(loop, AT_FDCWD, "big", 0600, 0, thing_cb, &thing[1], NULL));
    thing_began(&thing[2], loop_utimensat(loop, AT_FDCWD, "big", times, 0, thing_cb, &thing[2], NULL));
    thing_began(&thing[3],
                loop_readlinkat(loop, AT_FDCWD, "link", paths.texts[0], SCRATCH_PATH_MAX, thing_cb, &thing[3], NULL));
    thing_began(&thing[4], loop_realpath(loop, "link", paths.texts[1], SCRATCH_PATH_MAX, thing_cb, &thing[4], NULL));
    thing_began(&thing[5], loop_statfs(loop, "big", &paths.system, thing_cb, &thing[5], NULL));
}

static void paths_check(void)
{
    struct stat stat;

    ck_assert_str_eq(paths.texts[0], "big");
    ck_assert_int_eq(lstat("big", &stat), 0);
    ck_assert_int_eq(stat.st_mode & 0777, 0600);
    ck_assert_int_eq(stat.st_mtim.tv_sec, 2);
    ck_assert_int_eq(lstat(paths.names[0], &stat), 0);
    ck_assert_int_eq(lstat(paths.names[1], &stat), 0);
}

static void copies_check(void)
{
    holds_big("new", BIG);
    holds_big("old", BIG);
}

/* ---- watches */

static struct {
    struct loop_watch      watches[4]; /* a directory, a file, a path, a tree */
    struct loop_stat_watch stats;
    struct thing           closed[4], stats_closed;
    uint32_t               told[4], stats_told;
    bool                   changed;
    struct loop           *loop;
} watching;

static void watch_cb(struct loop_watch *watch, const struct loop_watch_event *event)
{
    uint32_t *told = &watching.told[watch - watching.watches];

    if (event->kind == LOOP_WATCH_FAILED)
        thing_told(event->error);
    else if (event->kind == LOOP_WATCH_READY)
        return;
    ++*told;
}

static void watch_closed(struct loop_watch *watch)
{
    thing_ended(&watching.closed[watch - watching.watches], 0);
}

static void stat_cb(struct loop_stat_watch *watch, int error, const struct statx *previous, const struct statx *present)
{
    (void)watch;
    (void)present;
    thing_told(error);
    if (error < 0 || previous != NULL)
        watching.stats_told++;
}

static void stat_closed(struct loop_stat_watch *watch)
{
    (void)watch;
    thing_ended(&watching.stats_closed, 0);
}

static void watches_start(struct loop *loop)
{
    static const char *const what[] = {"tree/d", "old", "later", "tree"};
    static const uint32_t    flags[] = {0, 0, LOOP_WATCH_PATH, LOOP_WATCH_TREE};

    memset(&watching, 0, sizeof(watching));
    watching.loop = loop;
    for (int i = 0; i < 4; i++)
        thing_began(&watching.closed[i],
                    loop_watch_start(loop, &watching.watches[i], what[i],
                                     &(struct loop_watch_options){.flags = flags[i], .on_close = watch_closed},
                                     watch_cb));
    thing_began(&watching.stats_closed,
                loop_stat_watch_start(
                    loop, &watching.stats, "old",
                    &(struct loop_stat_watch_options){.interval_ns = LOOP_MILLISECOND, .on_close = stat_closed},
                    stat_cb));
    /* Each of them has something to tell. */
    file_make("tree/d/more", 1);
    file_make("old", 200);
    file_make("later", 1);
    mkdir("tree/g", 0755);
    file_make("tree/g/h", 1);
}

/* All that started have been told something; the one that looks from time to time sees a change that comes later. */
static bool watches_wait(void)
{
    static uint32_t size;

    for (int i = 0; i < 4; i++)
        if (watching.closed[i].open && watching.told[i] == 0)
            return false;
    if (!watching.stats_closed.open || watching.stats_told > 0)
        return true;
    file_make("old", 100 + ++size % 1000);
    return false;
}

static void watches_close(void)
{
    for (int i = 0; i < 4; i++)
        if (watching.closed[i].open)
            loop_watch_close(&watching.watches[i], NULL);
    if (watching.stats_closed.open)
        loop_stat_watch_close(&watching.stats, NULL);
}

static void watches_tidy(void)
{
    unlink("tree/d/more");
    unlink("tree/g/h");
    rmdir("tree/g");
    tidy();
}

/* ---- the sweeps */

static const struct scene scenes[] = {
    {"files", prepare, files_start, files_wait, files_close, files_check, tidy},
    {"readers", prepare, readers_start, readers_wait, readers_close, readers_check, tidy},
    {"whole", prepare, whole_start, NULL, NULL, whole_check, whole_tidy},
    {"writer", prepare, writer_start, writer_wait, writer_close, writer_check, tidy},
    {"trees", prepare, trees_start, NULL, NULL, trees_check, tidy},
    {"removal", prepare, removal_start, NULL, NULL, removal_check, tidy},
    {"copies", prepare, copies_start, NULL, NULL, copies_check, tidy},
    {"paths", prepare, paths_start, NULL, NULL, paths_check, tidy},
    {"watches", prepare, watches_start, watches_wait, watches_close, NULL, watches_tidy},
};

static void open_world(void)
{
    for (int i = 0; i < BIG; i++)
        big[i] = (char)(i % LINE == LINE - 1 ? '\n' : 'a' + (i * 7 + i / LINE) % 26);
    scratch_make();
}

#include "tests/support/fault_tests.h"

/* Goal: a loop moves with all this, whatever fails on the way and after it. */
START_TEST(moves)
{
    fault_sweep_moved(&scenes[_i], FAULT_MEMORY, -ENOMEM, false);
    fault_sweep_moved(&scenes[_i], FAULT_CALL, -EMFILE, false);
    if (fault_entries_work())
        fault_sweep_moved(&scenes[_i], FAULT_ENTRY, -EIO, false);
}
END_TEST

/* Goal: the same into a child. Copies and removals that both do get into each other's way. */
START_TEST(moves_into_child)
{
    TEST_FORKS_WITH_THREADS;
    if (strcmp(scenes[_i].name, "removal") == 0 || strcmp(scenes[_i].name, "copies") == 0)
        return;
    fault_blocks_stay = strcmp(scenes[_i].name, "watches") == 0; /* scans of trees allocate on threads */
    fault_sweep_moved(&scenes[_i], FAULT_MEMORY, -ENOMEM, true);
    fault_sweep_moved(&scenes[_i], FAULT_CALL, -EMFILE, true);
    if (fault_entries_work())
        fault_sweep_moved(&scenes[_i], FAULT_ENTRY, -EIO, true);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = fault_suite("fs/fault", open_world, scratch_remove);
    TCase *tcase = test_case(suite, "moves");

    tcase_set_timeout(tcase, (double)test_env("TEST_TIMEOUT_S", 120));
    tcase_add_checked_fixture(tcase, open_world, scratch_remove);
    tcase_add_loop_test(tcase, moves, 0, (int)TEST_COUNT(scenes));
    tcase_add_loop_test(tcase, moves_into_child, 0, (int)TEST_COUNT(scenes));
    return suite;
}
