/* tests/fs/directory_test.c: listings of directories, and directories made with those above them. */
#include "tests/fs/tree_world.h"

#include <limits.h>
#include <pthread.h>

/* ---- a listing and what came of it */

enum { NAMES_MAX = 64 };

struct list {
    struct loop_listing listing;
    uint32_t            batches, ends;
    size_t              count, batch_most;
    int                 error;
    bool                active;
    char                names[NAMES_MAX][256]; /* the first */
    uint32_t            types[NAMES_MAX];
    uint64_t            inodes[NAMES_MAX];
    uint8_t            *seen; /* of files named by a number; NULL: not asked for */
    size_t              seen_size;
    void (*batch)(struct list *list);
    void (*end)(struct list *list);
};

static void list_cb(struct loop_listing *listing, const struct loop_entry *entries, size_t count)
{
    struct list *list = listing->data;

    ck_assert(list->active);
    ck_assert_uint_ge(count, 1);
    list->batches++;
    for (size_t i = 0; i < count; i++, list->count++) {
        ck_assert_uint_eq(strlen(entries[i].name), entries[i].name_size);
        ck_assert_str_ne(entries[i].name, ".");
        ck_assert_str_ne(entries[i].name, "..");
        if (list->count < NAMES_MAX) {
            strcpy(list->names[list->count], entries[i].name);
            list->types[list->count] = entries[i].type;
            list->inodes[list->count] = entries[i].inode;
        }
        if (list->seen != NULL) {
            size_t number = strtoul(entries[i].name, NULL, 10);

            ck_assert_uint_lt(number, list->seen_size);
            list->seen[number]++;
        }
    }
    if (count > list->batch_most)
        list->batch_most = count;
    if (list->batch != NULL)
        list->batch(list);
}

static void end_cb(struct loop_listing *listing, int error)
{
    struct list *list = listing->data;

    ck_assert(list->active);
    list->active = false;
    list->ends++;
    list->error = error;
    if (list->end != NULL)
        list->end(list);
}

static int list_start(struct list *list, int dirfd, const char *path, uint32_t flags)
{
    int r;

    list->listing.data = list;
    r = loop_listing_start(loop, &list->listing, dirfd, path, &(struct loop_listing_options){.flags = flags}, list_cb,
                           end_cb);
    list->active = list->active || r == 0;
    return r;
}

static void list_run(struct list *list, int dirfd, const char *path, uint32_t flags)
{
    ck_assert_int_eq(list_start(list, dirfd, path, flags), 0);
    ck_assert_uint_eq(list->ends, 0);
    test_run(loop);
    ck_assert_uint_eq(list->ends, 1);
}

static int list_find(const struct list *list, const char *name)
{
    for (size_t i = 0; i < list->count && i < NAMES_MAX; i++) {
        if (strcmp(list->names[i], name) == 0)
            return (int)i;
    }
    return -1;
}

/* By links: ext4 looks long for free inodes where many files have been removed within the last seconds. */
static void touch_many(const char *directory, uint32_t count)
{
    int dirfd;

    ck_assert_int_eq(mkdir(directory, 0700), 0);
    dirfd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ck_assert_int_ge(dirfd, 0);
    for (uint32_t i = 0; i < count; i++) {
        enum { LINKS_MOST = 60000 };
        char name[16], first[16];

        snprintf(name, sizeof(name), "%u", i);
        snprintf(first, sizeof(first), "%u", i - i % LINKS_MOST);
        if (i % LINKS_MOST == 0)
            ck_assert_int_eq(mknodat(dirfd, name, S_IFREG | 0600, 0), 0);
        else
            ck_assert_int_eq(linkat(dirfd, first, dirfd, name, 0), 0);
    }
    close(dirfd);
}

/* Faster than what the fixture would do. */
static void remove_many(const char *directory, uint32_t count)
{
    int dirfd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    for (uint32_t i = 0; i < count; i++) {
        char name[16];

        snprintf(name, sizeof(name), "%u", i);
        ck_assert_int_eq(unlinkat(dirfd, name, 0), 0);
    }
    close(dirfd);
}

/* Goal: each kind of entry comes once, with its type and inode; the dots do not; an empty directory has no batch. */
START_TEST(kinds)
{
    static const struct {
        const char *name;
        uint32_t    type;
    } rows[] = {{"file", LOOP_ENTRY_FILE}, {"directory", LOOP_ENTRY_DIRECTORY}, {"link", LOOP_ENTRY_LINK},
                {"fifo", LOOP_ENTRY_FIFO}, {"..hidden", LOOP_ENTRY_FILE},       {"new\nline \xff", LOOP_ENTRY_FILE}};
    struct list list = {0}, empty = {0};

    ck_assert_int_eq(mkdir("d", 0700), 0);
    ck_assert_int_eq(chdir("d"), 0);
    touch("file");
    touch("..hidden");
    touch("new\nline \xff");
    ck_assert_int_eq(mkdir("directory", 0700), 0);
    ck_assert_int_eq(symlink("nowhere", "link"), 0);
    ck_assert_int_eq(mkfifo("fifo", 0600), 0);
    ck_assert_int_eq(chdir(".."), 0);
    list_run(&list, AT_FDCWD, "d", 0);
    ck_assert_int_eq(list.error, 0);
    ck_assert_uint_eq(list.count, TEST_COUNT(rows));
    for (size_t i = 0; i < TEST_COUNT(rows); i++) {
        char        path[300];
        struct stat stat;
        int         at = list_find(&list, rows[i].name);

        ck_assert_int_ge(at, 0);
        ck_assert_uint_eq(list.types[at], rows[i].type);
        snprintf(path, sizeof(path), "d/%s", rows[i].name);
        ck_assert_int_eq(lstat(path, &stat), 0);
        ck_assert_uint_eq(list.inodes[at], stat.st_ino);
        ck_assert_uint_eq(stat.st_mode >> 12, rows[i].type);
    }
    list_run(&empty, AT_FDCWD, "d/directory", LOOP_LISTING_TYPES);
    ck_assert_int_eq(empty.error, 0);
    ck_assert_uint_eq(empty.batches, 0);
}
END_TEST

/* Goal: 100 000 entries come in batches of bounded size, each once, while the loop goes on: a timer fires in between;
 * memory does not grow with their number. Method: in memory where that may be mounted, which is far quicker. */
static uint32_t          ticks;
static uint64_t          bytes_most;
static struct loop_timer ticker;

static void tick(struct loop_timer *timer)
{
    (void)timer;
    ticks++;
}

static void measure(struct list *list)
{
    (void)list;
    if (test_memory.bytes > bytes_most)
        bytes_most = test_memory.bytes;
}

START_TEST(many)
{
    enum { COUNT = 100000 };
    struct list list = {.seen = calloc(COUNT, 1), .seen_size = COUNT, .batch = measure};
    uint64_t    bytes = test_memory.bytes;

    ck_assert_ptr_nonnull(list.seen);
    (void)scratch_mount("mounted", 256 * 1024 * 1024);
    ck_assert_int_eq(chdir("mounted"), 0);
    touch_many("d", COUNT);
    ck_assert_int_eq(loop_timer_start(loop, &ticker, 1, 1, tick), 0);
    loop_timer_unref(&ticker);
    list_run(&list, AT_FDCWD, "d", 0);
    loop_timer_stop(&ticker);
    ck_assert_int_eq(list.error, 0);
    ck_assert_uint_eq(list.count, COUNT);
    for (size_t i = 0; i < COUNT; i++)
        ck_assert_uint_eq(list.seen[i], 1);
    ck_assert_uint_gt(list.batches, COUNT / 1400);
    ck_assert_uint_le(list.batch_most, 1365);
    ck_assert_uint_ge(ticks, list.batches / 2);
    ck_assert_uint_lt(bytes_most - bytes, 128 * 1024);
    free(list.seen);
    remove_many("d", COUNT);
    ck_assert_int_eq(chdir(".."), 0);
}
END_TEST

/* Goal: paths are looked up from a directory descriptor; "." is itself; the options for links and ways out are kept. */
START_TEST(relative_and_confined)
{
    static const struct {
        const char *path;
        uint32_t    flags;
        int         error;
    } rows[] = {
        {"d", 0, 0},
        {".", 0, 0},
        {"link", 0, 0},
        {"link", LOOP_LISTING_NOFOLLOW, -ENOTDIR},
        {"link/", LOOP_LISTING_NOFOLLOW, 0},
        {"d", LOOP_LISTING_NOFOLLOW | LOOP_LISTING_BENEATH, 0},
        {"link", LOOP_LISTING_BENEATH, 0},
        {"out", 0, 0},
        {"out", LOOP_LISTING_BENEATH, -EXDEV},
        {"..", LOOP_LISTING_BENEATH, -EXDEV},
        {"d/..", LOOP_LISTING_BENEATH, 0},
        {"/", LOOP_LISTING_BENEATH, -EXDEV},
        {"file", 0, -ENOTDIR},
        {"file/d", 0, -ENOTDIR},
        {"missing", 0, -ENOENT},
        {"", 0, -ENOENT},
        {"fifo", 0, -ENOTDIR},
        {"loop", 0, -ELOOP},
    };
    int dirfd;

    ck_assert_int_eq(mkdir("base", 0700), 0);
    dirfd = open("base", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ck_assert_int_eq(mkdirat(dirfd, "d", 0700), 0);
    ck_assert_int_eq(symlinkat("d", dirfd, "link"), 0);
    ck_assert_int_eq(symlinkat("/", dirfd, "out"), 0);
    ck_assert_int_eq(symlinkat("loop", dirfd, "loop"), 0);
    ck_assert_int_eq(mknodat(dirfd, "file", S_IFREG | 0600, 0), 0);
    ck_assert_int_eq(mkfifoat(dirfd, "fifo", 0600), 0);
    for (size_t i = 0; i < TEST_COUNT(rows); i++) {
        struct list list = {0};

        list_run(&list, dirfd, rows[i].path, rows[i].flags);
        ck_assert_msg(list.error == rows[i].error, "%s with %u: %d", rows[i].path, rows[i].flags, list.error);
        ck_assert(list.error == 0 || list.count == 0);
    }
    close(dirfd);
}
END_TEST

START_TEST(bad_arguments)
{
    char                        path[PATH_MAX + 1];
    struct list                 list = {0}, other = {0};
    struct loop_listing_options reserved = {.reserved = 1};

    memset(path, 'a', sizeof(path));
    path[sizeof(path) - 1] = '\0';
    ck_assert_int_eq(list_start(&list, AT_FDCWD, NULL, 0), -EINVAL);
    ck_assert_int_eq(list_start(&list, AT_FDCWD, path, 0), -ENAMETOOLONG);
    ck_assert_int_eq(list_start(&list, -5, ".", 0), -EBADF);
    ck_assert_int_eq(list_start(&list, LOOP_FIXED(1), ".", 0), -EBADF);
    ck_assert_int_eq(list_start(&list, AT_FDCWD, ".", 1u << 3), -EINVAL);
    ck_assert_int_eq(loop_listing_start(loop, &list.listing, AT_FDCWD, ".", NULL, NULL, end_cb), -EINVAL);
    ck_assert_int_eq(loop_listing_start(loop, &list.listing, AT_FDCWD, ".", NULL, list_cb, NULL), -EINVAL);
    ck_assert_int_eq(loop_listing_start(loop, NULL, AT_FDCWD, ".", NULL, list_cb, end_cb), -EINVAL);
    ck_assert_int_eq(loop_listing_start(loop, &list.listing, AT_FDCWD, ".", &reserved, list_cb, end_cb), -EINVAL);
    ck_assert_int_eq(loop_listing_cancel(&list.listing), -ENOENT);
    ck_assert_int_eq(loop_listing_pause(&list.listing), -ENOENT);
    ck_assert_int_eq(loop_listing_resume(&list.listing), -ENOENT);
    ck_assert_int_eq(list_start(&list, AT_FDCWD, ".", 0), 0);
    ck_assert_int_eq(list_start(&list, AT_FDCWD, ".", 0), -EBUSY);
    list_run(&other, 1000, ".", 0); /* a descriptor that is not open is told by the kernel */
    ck_assert_int_eq(other.error, -EBADF);
    ck_assert_uint_eq(list.ends, 1);
    ck_assert_ptr_eq(loop_listing_loop(&list.listing), loop);
}
END_TEST

/* ---- back-pressure, cancel */

static void pause_batch(struct list *list)
{
    ck_assert_int_eq(loop_listing_pause(&list->listing), 0);
}

/* Goal: a paused listing brings nothing and reads nothing, until it is resumed; then it goes on where it was. */
START_TEST(pause_and_resume)
{
    enum { COUNT = 5000 };
    struct list list = {.seen = calloc(COUNT, 1), .seen_size = COUNT, .batch = pause_batch};

    touch_many("d", COUNT);
    ck_assert_int_eq(list_start(&list, AT_FDCWD, "d", 0), 0);
    for (uint32_t round = 1; round < 1000 && list.ends == 0; round++) {
        test_run_until(loop, &list.batches, round);
        test_turns(loop, 5);
        ck_assert_uint_eq(list.batches, round);
        ck_assert_uint_eq(test_stats(loop).ops_in_flight, 0);
        ck_assert(loop_alive(loop));
        ck_assert_int_eq(loop_listing_resume(&list.listing), 0);
        ck_assert_int_eq(loop_listing_resume(&list.listing), 0);
        if (list.count == COUNT)
            break;
    }
    test_run(loop);
    ck_assert_int_eq(list.error, 0);
    ck_assert_uint_eq(list.count, COUNT);
    ck_assert_uint_ge(list.batches, 3);
    free(list.seen);
}
END_TEST

static void cancel_batch(struct list *list)
{
    ck_assert_int_eq(loop_listing_cancel(&list->listing), 0);
    ck_assert_int_eq(loop_listing_cancel(&list->listing), 0);
    ck_assert_uint_eq(list->ends, 0);
}

/* Goal: a cancel ends it with one callback, -ECANCELED, and no further entries: at once after the start, in a batch,
 * while paused, and by the loop's end. */
START_TEST(cancel)
{
    struct list at_once = {0}, inside = {.batch = cancel_batch}, paused = {.batch = pause_batch},
                dropped = {.batch = pause_batch};

    touch_many("d", 3000);
    ck_assert_int_eq(list_start(&at_once, AT_FDCWD, "d", 0), 0);
    ck_assert_int_eq(loop_listing_cancel(&at_once.listing), 0);
    ck_assert_uint_eq(at_once.ends, 0);
    test_run(loop);
    ck_assert_int_eq(at_once.error, -ECANCELED);
    ck_assert_uint_eq(at_once.batches, 0);
    list_run(&inside, AT_FDCWD, "d", 0);
    ck_assert_int_eq(inside.error, -ECANCELED);
    ck_assert_uint_eq(inside.batches, 1);
    ck_assert_int_eq(list_start(&paused, AT_FDCWD, "d", 0), 0);
    test_run_until(loop, &paused.batches, 1);
    ck_assert_int_eq(loop_listing_cancel(&paused.listing), 0);
    test_run(loop);
    ck_assert_int_eq(paused.error, -ECANCELED);
    ck_assert_uint_eq(paused.batches + paused.ends, 2);
    ck_assert_int_eq(list_start(&dropped, AT_FDCWD, "d", 0), 0);
    test_run_until(loop, &dropped.batches, 1);
    test_loop_drop(loop);
    loop = NULL;
    ck_assert_uint_eq(dropped.ends, 1);
    ck_assert_int_eq(dropped.error, -ECANCELED);
}
END_TEST

static void cancelled_by_all(struct list *list)
{
    ck_assert_int_eq(loop_cancel_all(loop), 0);
    (void)list;
}

/* Goal: what cancels operations passes listings by; a deadline ends them, also one that is paused. */
START_TEST(deadline)
{
    struct list list = {.batch = cancelled_by_all}, paused = {.batch = pause_batch};

    touch_many("d", 3000);
    list_run(&list, AT_FDCWD, "d", 0);
    ck_assert_int_eq(list.error, 0);
    paused.listing.data = &paused;
    paused.active = true;
    ck_assert_int_eq(loop_listing_start(loop, &paused.listing, AT_FDCWD, "d",
                                        &(struct loop_listing_options){.timeout_ns = 20 * LOOP_MILLISECOND}, list_cb,
                                        end_cb),
                     0);
    test_run(loop);
    ck_assert_int_eq(paused.error, -ETIMEDOUT);
    ck_assert_uint_le(paused.batches, 1);
}
END_TEST

static void start_again(struct list *list)
{
    if (list->ends < 3)
        ck_assert_int_eq(list_start(list, AT_FDCWD, "d", 0), 0);
}

static void free_it(struct list *list)
{
    free(list);
}

/* Goal: in the end callback the structure may be started anew, or freed. */
START_TEST(again_and_freed)
{
    struct list  list = {.end = start_again}, *freed = calloc(1, sizeof(*freed));
    struct list *cancelled = calloc(1, sizeof(*cancelled));

    ck_assert(freed != NULL && cancelled != NULL);
    freed->end = cancelled->end = free_it;
    cancelled->batch = cancel_batch;
    touch_many("d", 10);
    ck_assert_int_eq(list_start(&list, AT_FDCWD, "d", 0), 0);
    ck_assert_int_eq(list_start(freed, AT_FDCWD, "d", 0), 0);
    ck_assert_int_eq(list_start(cancelled, AT_FDCWD, "d", 0), 0);
    while (loop_run(loop, LOOP_RUN_DEFAULT) == 1)
        ;
    ck_assert_uint_eq(list.ends, 3);
    ck_assert_uint_eq(list.count, 30);
}
END_TEST

/* ---- what changes meanwhile */

static _Atomic bool busy_stop;

static void *remove_all(void *arg)
{
    (void)arg;
    for (uint32_t i = 0; i < 20000 && !busy_stop; i++) {
        char name[32];

        snprintf(name, sizeof(name), "d/%u", i);
        (void)unlink(name);
    }
    return NULL;
}

/* Goal: entries that are removed during the listing make no error, and none comes twice. */
START_TEST(removed_meanwhile)
{
    enum { COUNT = 20000 };
    struct list list = {.seen = calloc(COUNT, 1), .seen_size = COUNT};
    pthread_t   thread;

    touch_many("d", COUNT);
    ck_assert_int_eq(list_start(&list, AT_FDCWD, "d", LOOP_LISTING_TYPES), 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, remove_all, NULL), 0);
    test_run(loop);
    busy_stop = true;
    pthread_join(thread, NULL);
    ck_assert_int_eq(list.error, 0);
    for (size_t i = 0; i < COUNT; i++)
        ck_assert_uint_le(list.seen[i], 1);
    free(list.seen);
}
END_TEST

static void remove_directory(struct list *list)
{
    (void)list;
    for (uint32_t i = 0; i < 3000; i++) {
        char name[32];

        snprintf(name, sizeof(name), "d/%u", i);
        (void)unlink(name);
    }
    (void)rmdir("d");
}

/* Goal: a directory that is removed meanwhile ends the listing with -ENOENT, or quietly if all had been read. */
START_TEST(directory_removed)
{
    struct list list = {.batch = remove_directory};

    touch_many("d", 3000);
    list_run(&list, AT_FDCWD, "d", 0);
    ck_assert_msg(list.error == -ENOENT || list.error == 0, "%d", list.error);
    ck_assert_int_lt(access("d", F_OK), 0);
}
END_TEST

static void scenario_eacces(void)
{
    struct list list = {0};

    loop = test_loop_new(NULL);
    list_run(&list, AT_FDCWD, "closed", 0);
    if (list.error != -EACCES)
        _exit(10);
    test_loop_free(loop);
}

START_TEST(no_permission)
{
    ck_assert_int_eq(mkdir("closed", 0), 0);
    scratch_unprivileged(scenario_eacces);
}
END_TEST

/* Goal: without memory or room the start fails and leaves nothing behind; once started it gets there. */
START_TEST(faults)
{
    uint32_t nth = 1;

    touch_many("d", 3000);
    for (bool failed = true; failed; nth++) {
        struct list list = {0};
        int         r;

        ck_assert_uint_lt(nth, 100);
        test_loop_free(loop);
        loop = test_loop_new(NULL);
        test_memory.failed = 0;
        test_memory.fail_at = test_memory.calls + nth;
        r = list_start(&list, AT_FDCWD, "d", 0);
        if (r == 0)
            test_run(loop);
        else
            ck_assert_int_eq(r, -ENOMEM);
        failed = test_memory.failed > 0;
        test_memory.fail_at = 0;
        ck_assert_uint_eq(list.ends, r == 0);
        ck_assert(r < 0 || (list.error == 0 && list.count == 3000));
    }
    ck_assert_uint_gt(nth, 2);
}
END_TEST

/* Goal: at the limit of operations a listing that has begun waits for room and goes on. */
START_TEST(at_the_limit)
{
    struct loop *small = test_loop_new(&(struct loop_options){.ops_max = 2, .sq_entries = 8});
    struct list  lists[2] = {{.batch = pause_batch}, {.batch = pause_batch}}, third = {0};
    struct loop *before = loop;

    loop = small;
    touch_many("d", 3000);
    ck_assert_int_eq(list_start(&lists[0], AT_FDCWD, "d", 0), 0);
    ck_assert_int_eq(list_start(&lists[1], AT_FDCWD, "d", 0), 0);
    ck_assert_int_eq(list_start(&third, AT_FDCWD, "d", 0), -ENOBUFS);
    test_run_until(loop, &lists[0].batches, 1);
    test_run_until(loop, &lists[1].batches, 1);
    {
        struct test_log logs[2] = {{0}, {0}};
        loop_id         ids[2];

        for (int i = 0; i < 2; i++) {
            ids[i] = loop_timeout(loop, 20 * LOOP_MILLISECOND, 0, 0, test_log_cb, &logs[i], NULL);
            ck_assert_int_gt(ids[i], 0);
        }
        lists[0].batch = lists[1].batch = NULL;
        ck_assert_int_eq(loop_listing_resume(&lists[0].listing), 0);
        ck_assert_int_eq(loop_listing_resume(&lists[1].listing), 0);
        test_run(loop);
    }
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(lists[i].error, 0);
        ck_assert_uint_eq(lists[i].count, 3000);
    }
    test_loop_free(small);
    loop = before;
}
END_TEST

/* ---- directories made */

static int32_t mkdir_run(int dirfd, const char *path, mode_t mode)
{
    struct test_log log = {0};

    ck_assert_int_gt(loop_mkdir_all(loop, dirfd, path, mode, test_log_cb, &log, NULL), 0);
    test_run(loop);
    ck_assert_uint_eq(log.count, 1);
    return log.last.res;
}

static int refusal; /* of every mkdir(2); 0: none */
int        __real_sys_mkdir_at(int dirfd, const char *path, mode_t mode);
int        __wrap_sys_mkdir_at(int dirfd, const char *path, mode_t mode);

int __wrap_sys_mkdir_at(int dirfd, const char *path, mode_t mode)
{
    return refusal != 0 ? refusal : __real_sys_mkdir_at(dirfd, path, mode);
}

/* Goal: what is there is fine, also where the system says something else first. Method: answers as NFS does, which
 * refuses what is read-only or another's before it looks whether it exists. */
START_TEST(mkdir_refused)
{
    static const int refusals[] = {-EROFS, -EACCES, -EPERM};

    ck_assert_int_eq(mkdir_run(AT_FDCWD, "a/b", 0700), 2);
    touch("file");
    for (size_t i = 0; i < TEST_COUNT(refusals); i++) {
        refusal = refusals[i];
        ck_assert_int_eq(mkdir_run(AT_FDCWD, "a/b", 0700), 0);
        ck_assert_int_eq(mkdir_run(AT_FDCWD, "a/c", 0700), refusal);
        ck_assert_int_eq(mkdir_run(AT_FDCWD, "file", 0700), refusal);
    }
    refusal = 0;
}
END_TEST

START_TEST(mkdir_all)
{
    static const struct {
        const char *path;
        int32_t     res;
    } rows[] = {
        {"a", 1},
        {"a", 0},
        {"a/b/c/d", 3},
        {"a/b/c/d/", 0},
        {"a//b///e//f//", 2},
        {".", 0},
        {"..", 0},
        {"/", 0},
        {"./g/./h", 2},
        {"g/../i", 1},
        {"file", -ENOTDIR},
        {"file/x", -ENOTDIR},
        {"file/x/y", -ENOTDIR},
        {"link/x/y", 2},
        {"link", 0},
        {"dangling", -ENOENT},
        {"", -ENOENT},
        {"/proc/x/y", -ENOENT},
    };
    mode_t      mask = umask(0);
    struct stat stat;
    int         dirfd;

    touch("file");
    ck_assert_int_eq(symlink("a", "link"), 0);
    ck_assert_int_eq(symlink("nowhere", "dangling"), 0);
    for (size_t i = 0; i < TEST_COUNT(rows); i++) {
        int32_t res = mkdir_run(AT_FDCWD, rows[i].path, 0750);

        ck_assert_msg(res == rows[i].res, "%s: %d", rows[i].path, res);
        ck_assert(res < 0 || (lstat(rows[i].path, &stat) == 0));
    }
    ck_assert_int_eq(lstat("a/b", &stat), 0);
    ck_assert_uint_eq(stat.st_mode & 07777, 0750);
    dirfd = open("a", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ck_assert_int_eq(mkdir_run(dirfd, "z/y", 0700), 2);
    ck_assert_int_eq(lstat("a/z/y", &stat), 0);
    ck_assert_int_eq(mkdir_run(AT_FDCWD, "p/q", 0500), geteuid() == 0 ? 2 : -EACCES);
    close(dirfd);
    umask(mask);
}
END_TEST

/* Goal: many at once, with parts in common, all succeed, and each directory is made by one of them. */
START_TEST(mkdir_together)
{
    enum { COUNT = 40 };
    struct test_log logs[COUNT];
    int32_t         made = 0;

    memset(logs, 0, sizeof(logs));
    for (int i = 0; i < COUNT; i++) {
        char path[64];

        snprintf(path, sizeof(path), "a/b/c/%d/d/e", i % 10);
        ck_assert_int_gt(loop_mkdir_all(loop, AT_FDCWD, path, 0700, test_log_cb, &logs[i], NULL), 0);
    }
    test_run(loop);
    for (int i = 0; i < COUNT; i++) {
        ck_assert_int_ge(logs[i].last.res, 0);
        made += logs[i].last.res;
    }
    ck_assert_int_eq(made, 3 + 10 * 3);
}
END_TEST

START_TEST(mkdir_arguments)
{
    static char     path[PATH_MAX + 1];
    struct test_log log = {.extra_size = 4}, silent = {0};
    loop_id         id;

    memset(path, 'a', sizeof(path) - 1);
    ck_assert_int_eq(loop_mkdir_all(loop, AT_FDCWD, NULL, 0700, test_log_cb, &log, NULL), -EINVAL);
    ck_assert_int_eq(loop_mkdir_all(loop, AT_FDCWD, path, 0700, test_log_cb, &log, NULL), -ENAMETOOLONG);
    ck_assert_int_eq(loop_mkdir_all(loop, -1, "a", 0700, test_log_cb, &log, NULL), -EBADF);
    ck_assert_int_eq(loop_mkdir_all(loop, AT_FDCWD, "a", 0700, LOOP_HANDLER(1), &log, NULL), -EINVAL);
    ck_assert_int_eq(loop_mkdir_all(loop, AT_FDCWD, "a", 0700, test_log_cb, &log, LOOP_TERMS(.flags = LOOP_ASYNC)),
                     -EINVAL);
    ck_assert_int_gt(
        loop_mkdir_all(loop, AT_FDCWD, "a/b", 0700, test_log_cb, &log, LOOP_TERMS(.data = "abc", .data_size = 4)), 0);
    ck_assert_int_gt(loop_mkdir_all(loop, AT_FDCWD, "/proc/a/b", 0700, NULL, NULL, NULL), 0);
    test_run(loop);
    ck_assert_int_eq(log.last.res, 2);
    ck_assert_str_eq(log.extra, "abc");
    ck_assert_uint_eq(test_stats(loop).silent_errors, 1);
    id = loop_mkdir_all(loop, AT_FDCWD, "never", 0700, test_log_cb, &silent, NULL);
    ck_assert_int_eq(loop_cancel(loop, id), 0);
    test_run(loop);
    ck_assert_msg(silent.last.res == -ECANCELED || silent.last.res == 1, "%d", silent.last.res);
    ck_assert_int_eq(access("never", F_OK) == 0, silent.last.res == 1);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("fs/directory");
    TCase *listing = test_case(suite, "listing"), *making = test_case(suite, "making");
    TCase *many_entries = test_case(suite, "many");

    tcase_add_checked_fixture(listing, open_world, close_world);
    tcase_add_test(listing, kinds);
    tcase_add_test(listing, relative_and_confined);
    tcase_add_test(listing, bad_arguments);
    tcase_add_test(listing, pause_and_resume);
    tcase_add_test(listing, cancel);
    tcase_add_test(listing, deadline);
    tcase_add_test(listing, again_and_freed);
    tcase_add_test(listing, removed_meanwhile);
    tcase_add_test(listing, directory_removed);
    tcase_add_test(listing, no_permission);
    tcase_add_test(listing, faults);
    tcase_add_test(listing, at_the_limit);
    tcase_add_checked_fixture(many_entries, open_world, close_world);
    tcase_set_timeout(many_entries, 4 * TEST_TIMEOUT_S); /* to make and remove them may take long where others write */
    tcase_add_test(many_entries, many);
    tcase_add_checked_fixture(making, open_world, close_world);
    tcase_add_test(making, mkdir_all);
    tcase_add_test(making, mkdir_refused);
    tcase_add_test(making, mkdir_together);
    tcase_add_test(making, mkdir_arguments);
    return suite;
}
