/* tests/fs/copy_test.c: copies of files. Linked so that single calls of the seam can be made to fail. */
#include "tests/fs/tree_world.h"

#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { MIB = 1 << 20 };

static void forget(void);

static void open_copy(void)
{
    open_world();
    forget();
}

/* ---- the seam */

int     __real_sys_clone(int to_fd, int from_fd);
ssize_t __real_sys_copy_range(int from_fd, int64_t from_offset, int to_fd, int64_t to_offset, size_t size);
int     __real_sys_rename_at(int old_dirfd, const char *old_path, int new_dirfd, const char *new_path, unsigned flags);
int     __real_sys_chmod_fd(int fd, mode_t mode);
int     __wrap_sys_chmod_fd(int fd, mode_t mode);
int64_t __real_sys_seek(int fd, int64_t offset, int whence);
int     __real_sys_fsync(int fd);
ssize_t __real_sys_write_at(int fd, const void *data, size_t size, int64_t offset);
int     __wrap_sys_clone(int to_fd, int from_fd);
ssize_t __wrap_sys_copy_range(int from_fd, int64_t from_offset, int to_fd, int64_t to_offset, size_t size);
int     __wrap_sys_rename_at(int old_dirfd, const char *old_path, int new_dirfd, const char *new_path, unsigned flags);
int64_t __wrap_sys_seek(int fd, int64_t offset, int whence);
int     __wrap_sys_fsync(int fd);
ssize_t __wrap_sys_write_at(int fd, const void *data, size_t size, int64_t offset);

static struct {
    int              range_error, rename_error, seek_error, fsync_error, directory_error, chmod_error;
    bool             clones;     /* sys_clone() is to work: by copying */
    size_t           write_most; /* 0: all */
    _Atomic uint32_t clone_calls, range_calls, fsync_calls, write_calls;
} seam;

static void forget(void)
{
    memset(&seam, 0, sizeof(seam));
}

int __wrap_sys_clone(int to_fd, int from_fd)
{
    struct stat stat;

    seam.clone_calls++;
    if (!seam.clones)
        return __real_sys_clone(to_fd, from_fd);
    if (fstat(from_fd, &stat) < 0 || __real_sys_copy_range(from_fd, 0, to_fd, 0, (size_t)stat.st_size) != stat.st_size)
        return -EIO;
    return 0;
}

ssize_t __wrap_sys_copy_range(int from_fd, int64_t from_offset, int to_fd, int64_t to_offset, size_t size)
{
    seam.range_calls++;
    return seam.range_error != 0 ? seam.range_error
                                 : __real_sys_copy_range(from_fd, from_offset, to_fd, to_offset, size);
}

int __wrap_sys_rename_at(int old_dirfd, const char *old_path, int new_dirfd, const char *new_path, unsigned flags)
{
    return seam.rename_error != 0 && flags != 0 ? seam.rename_error
                                                : __real_sys_rename_at(old_dirfd, old_path, new_dirfd, new_path, flags);
}

int64_t __wrap_sys_seek(int fd, int64_t offset, int whence)
{
    return seam.seek_error != 0 ? seam.seek_error : __real_sys_seek(fd, offset, whence);
}

int __wrap_sys_fsync(int fd)
{
    struct stat stat;

    seam.fsync_calls++;
    if (seam.directory_error != 0 && fstat(fd, &stat) == 0 && S_ISDIR(stat.st_mode))
        return seam.directory_error;
    return seam.fsync_error != 0 ? seam.fsync_error : __real_sys_fsync(fd);
}

int __wrap_sys_chmod_fd(int fd, mode_t mode)
{
    return seam.chmod_error != 0 ? seam.chmod_error : __real_sys_chmod_fd(fd, mode);
}

ssize_t __wrap_sys_write_at(int fd, const void *data, size_t size, int64_t offset)
{
    seam.write_calls++;
    return __real_sys_write_at(fd, data, seam.write_most > 0 && size > seam.write_most ? seam.write_most : size,
                               offset);
}

/* ---- a copy and what came of it */

struct work {
    struct loop_copy copy;
    uint32_t         ends, steps;
    int              error;
    bool             active;
    uint64_t         bytes, done, size;
    void (*progress)(struct work *work);
    void (*end)(struct work *work);
};

static void progress_cb(struct loop_copy *copy, uint64_t done, uint64_t size)
{
    struct work *work = copy->data;

    ck_assert(work->active);
    ck_assert_uint_gt(done, work->done);
    ck_assert(size == 0 || done <= size);
    work->steps++;
    work->done = done;
    work->size = size;
    if (work->progress != NULL)
        work->progress(work);
}

static void copy_cb(struct loop_copy *copy, int error, uint64_t bytes)
{
    struct work *work = copy->data;

    ck_assert(work->active);
    work->active = false;
    work->ends++;
    work->error = error;
    work->bytes = bytes;
    if (work->end != NULL)
        work->end(work);
}

static int start(struct work *work, const char *from, const char *to, uint32_t flags)
{
    int r;

    work->copy.data = work;
    r = loop_copy_start(loop, &work->copy, AT_FDCWD, from, AT_FDCWD, to,
                        &(struct loop_copy_options){.flags = flags, .on_progress = progress_cb}, copy_cb);
    work->active = work->active || r == 0;
    return r;
}

static int copy_run(const char *from, const char *to, uint32_t flags)
{
    struct work work = {0};

    ck_assert_int_eq(start(&work, from, to, flags), 0);
    ck_assert_uint_eq(work.ends, 0);
    test_run(loop);
    ck_assert_uint_eq(work.ends, 1);
    ck_assert(work.error != 0 || work.steps == 0 || work.done == work.bytes);
    return work.error;
}

static void make_file(const char *name, size_t size)
{
    char    *data = malloc(size + 1);
    uint64_t seed = size;

    for (size_t i = 0; i < size; i += 8) {
        uint64_t word = test_random(&seed);

        memcpy(data + i, &word, size - i < 8 ? size - i : 8);
    }
    scratch_write(name, data, size);
    free(data);
}

static void same_content(const char *a, const char *b)
{
    size_t a_size, b_size;
    char  *a_data = scratch_read(a, &a_size), *b_data = scratch_read(b, &b_size);

    ck_assert_uint_eq(a_size, b_size);
    ck_assert_int_eq(memcmp(a_data, b_data, a_size), 0);
    free(a_data);
    free(b_data);
}

static void content_is(const char *name, const char *text)
{
    char *data = scratch_read(name, NULL);

    ck_assert_str_eq(data, text);
    free(data);
}

/* How many files are in the directory: nothing that was begun may be left. */
static uint32_t files(const char *name)
{
    DIR           *directory = opendir(name);
    struct dirent *entry;
    uint32_t       count = 0;

    ck_assert_ptr_nonnull(directory);
    while ((entry = readdir(directory)) != NULL)
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(directory);
    return count;
}

/* ---- content */

/* Goal: files of all sizes, by each of the three ways, whatever the writes take at a time. */
START_TEST(all_sizes)
{
    static const size_t sizes[] = {0, 1, 4095, 4096, 65537, MIB, 16 * MIB, 17 * MIB + 3};

    for (int way = 0; way < 4; way++) {
        seam.clones = way == 1;
        seam.range_error = way >= 2 ? -EXDEV : 0;
        seam.write_most = way == 3 ? 10007 : 0;
        for (size_t i = 0; i < TEST_COUNT(sizes); i++) {
            make_file("from", sizes[i]);
            ck_assert_int_eq(copy_run("from", "to", LOOP_COPY_REPLACE), 0);
            same_content("from", "to");
            ck_assert_uint_eq(files("."), 2);
        }
        ck_assert_int_eq(seam.write_calls > 0, way >= 2);
    }
}
END_TEST

/* Goal: 5 GiB of which three pieces are data: copied sparse, with as few blocks, whether copy_file_range(2) works or
 * not. */
START_TEST(sparse)
{
    static const int64_t places[] = {0, 3 * 1024ll * MIB + 123456, 5 * 1024ll * MIB - 5};

    for (int way = 0; way < 2; way++) {
        struct work work = {0};
        struct stat from, to;
        char        text[8] = "";
        int         fd = open("from", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        seam.range_error = way == 0 ? 0 : -EOPNOTSUPP;
        for (size_t i = 0; i < TEST_COUNT(places); i++)
            ck_assert_int_eq(pwrite(fd, "island", 5, places[i]), 5);
        ck_assert_int_eq(fstat(fd, &from), 0);
        close(fd);
        ck_assert_int_eq(start(&work, "from", "to", LOOP_COPY_REPLACE), 0);
        test_run(loop);
        ck_assert_int_eq(work.error, 0);
        ck_assert_uint_eq(work.bytes, 5 * 1024ull * MIB);
        ck_assert_int_eq(stat("to", &to), 0);
        ck_assert_int_eq(to.st_size, from.st_size);
        ck_assert_int_le(to.st_blocks, 64);
        fd = open("to", O_RDONLY | O_CLOEXEC);
        for (size_t i = 0; i < TEST_COUNT(places); i++) {
            ck_assert_int_eq(pread(fd, text, 5, places[i]), 5);
            ck_assert_str_eq(text, "islan");
        }
        close(fd);
    }
}
END_TEST

/* Goal: a file that ends with a hole, one that is a hole, and file systems that don't tell where holes are. */
START_TEST(holes)
{
    for (int way = 0; way < 2; way++) {
        seam.seek_error = way == 0 ? 0 : -EINVAL;
        make_file("from", 100000);
        ck_assert_int_eq(truncate("from", 3 * MIB), 0);
        ck_assert_int_eq(copy_run("from", "to", LOOP_COPY_REPLACE), 0);
        same_content("from", "to");
        scratch_write("from", "", 0);
        ck_assert_int_eq(truncate("from", 2 * MIB + 1), 0);
        ck_assert_int_eq(copy_run("from", "to", LOOP_COPY_REPLACE), 0);
        same_content("from", "to");
    }
}
END_TEST

/* Goal: from one file system to another and back; files of no known size. */
START_TEST(across)
{
    struct work work = {0};

    if (!scratch_mount("mounted", 40 * MIB)) {
        test_skip("may not mount");
        return;
    }
    make_file("from", 18 * MIB + 5);
    ck_assert_int_eq(copy_run("from", "mounted/there", 0), 0);
    same_content("from", "mounted/there");
    ck_assert_int_eq(copy_run("mounted/there", "back", 0), 0);
    same_content("from", "back");
    ck_assert_int_eq(copy_run("from", "mounted/clone", LOOP_COPY_CLONE), -EXDEV);
    ck_assert_uint_eq(files("mounted"), 1);
    ck_assert_int_eq(start(&work, "/proc/self/limits", "limits", 0), 0);
    test_run(loop);
    ck_assert_int_eq(work.error, 0);
    ck_assert_uint_gt(work.bytes, 100);
    ck_assert_uint_eq(work.size, 0);
}
END_TEST

START_TEST(mode_kept)
{
    static const mode_t modes[] = {0644, 0777, 0400, 04755, 02711, 0};
    mode_t              mask = umask(077);
    struct stat         stat_;

    for (size_t i = 0; i < TEST_COUNT(modes); i++) {
        scratch_write("from", "abc", 3);
        ck_assert_int_eq(chmod("from", modes[i]), 0);
        ck_assert_int_eq(copy_run("from", "to", LOOP_COPY_REPLACE), geteuid() == 0 || modes[i] != 0 ? 0 : -EACCES);
        ck_assert_int_eq(stat("to", &stat_), 0);
        ck_assert(geteuid() != 0 || stat_.st_mode == (S_IFREG | (modes[i] & 0777)));
        unlink("from");
    }
    umask(mask);
}
END_TEST

/* Goal: file systems without modes, and those that can't sync directories, take copies all the same. */
START_TEST(poor_file_system)
{
    scratch_write("from", "abc", 3);
    seam.chmod_error = -EPERM;
    ck_assert_int_eq(copy_run("from", "a", 0), 0);
    content_is("a", "abc");
    seam.chmod_error = -EIO;
    ck_assert_int_eq(copy_run("from", "b", 0), -EIO);
    seam.chmod_error = 0;
    seam.directory_error = -EINVAL;
    ck_assert_int_eq(copy_run("from", "b", LOOP_COPY_SYNC), 0);
    content_is("b", "abc");
    ck_assert_uint_eq(files("."), 3);
    seam.directory_error = 0;
    seam.fsync_error = -EINVAL;
    ck_assert_int_eq(copy_run("from", "c", LOOP_COPY_SYNC), -EINVAL);
    ck_assert_uint_eq(files("."), 3);
}
END_TEST

static atomic_bool pipe_open;

static void *open_pipe(void *arg)
{
    int fd = open("fifo", O_WRONLY | O_CLOEXEC);

    (void)arg;
    atomic_store(&pipe_open, true);
    close(fd);
    return NULL;
}

/* Goal: what is no file is refused, and not opened: who waits for a reader of a pipe is not let in. */
START_TEST(special_files)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "socket"};
    int                fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    pthread_t          thread;

    ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    ck_assert_int_eq(copy_run("socket", "to", 0), -EINVAL);
    close(fd);
    ck_assert_int_eq(copy_run("/dev/null", "to", 0), -EINVAL);
    ck_assert_int_eq(mkfifo("fifo", 0600), 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, open_pipe, NULL), 0);
    test_sleep(20 * LOOP_MILLISECOND); /* so that it waits; either way all must be well */
    ck_assert_int_eq(copy_run("fifo", "to", 0), -EINVAL);
    test_sleep(20 * LOOP_MILLISECOND);
    ck_assert(!atomic_load(&pipe_open));
    fd = open("fifo", O_RDONLY | O_CLOEXEC);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    close(fd);
    ck_assert_uint_eq(files("."), 2);
}
END_TEST

START_TEST(clone_and_sync)
{
    scratch_write("from", "abc", 3);
    seam.clones = true;
    ck_assert_int_eq(copy_run("from", "clone", LOOP_COPY_CLONE | LOOP_COPY_SYNC), 0);
    content_is("clone", "abc");
    ck_assert_uint_eq(seam.clone_calls, 1);
    ck_assert_uint_eq(seam.range_calls, 0);
    ck_assert_uint_eq(seam.fsync_calls, 2);
    seam.fsync_error = -EIO;
    ck_assert_int_eq(copy_run("from", "lost", LOOP_COPY_SYNC), -EIO);
    ck_assert_uint_eq(files("."), 2);
    seam.clones = false;
    if (copy_run("from", "other", LOOP_COPY_CLONE) == 0)
        return; /* this file system can do it */
    ck_assert_int_eq(copy_run("from", "other", LOOP_COPY_CLONE), -EOPNOTSUPP);
    ck_assert_uint_eq(files("."), 2);
}
END_TEST

/* ---- what stands at the target */

START_TEST(exclusive_and_replace)
{
    struct stat before, after;

    scratch_write("from", "new", 3);
    scratch_write("to", "old", 3);
    ck_assert_int_eq(link("to", "other_name"), 0);
    ck_assert_int_eq(symlink("to", "link"), 0);
    ck_assert_int_eq(mkdir("directory", 0700), 0);
    ck_assert_int_eq(copy_run("from", "to", 0), -EEXIST);
    ck_assert_int_eq(copy_run("from", "link", 0), -EEXIST);
    content_is("to", "old");
    ck_assert_int_eq(copy_run("from", "to", LOOP_COPY_REPLACE), 0);
    content_is("to", "new");
    content_is("other_name", "old");
    ck_assert_int_eq(copy_run("other_name", "link", LOOP_COPY_REPLACE), 0);
    ck_assert_int_eq(lstat("link", &after), 0);
    ck_assert(S_ISREG(after.st_mode));
    content_is("to", "new");
    ck_assert_int_eq(copy_run("from", "directory", LOOP_COPY_REPLACE), -EISDIR);
    ck_assert_int_eq(copy_run("from", "directory", 0), -EISDIR);
    ck_assert_int_eq(lstat("from", &before), 0);
    ck_assert_int_eq(copy_run("from", "from", 0), -EEXIST);
    ck_assert_int_eq(copy_run("from", "from", LOOP_COPY_REPLACE), 0);
    content_is("from", "new");
    ck_assert_uint_eq(files("."), 5);
    ck_assert_uint_eq(files("directory"), 0);
}
END_TEST

static void take_the_place(struct work *work)
{
    if (work->steps == 1)
        scratch_write("to", "theirs", 6);
}

/* Goal: a target that comes up while the copy is made is not overwritten, also where renames can't see to that. */
START_TEST(target_appears)
{
    make_file("from", 40 * MIB);
    for (int way = 0; way < 2; way++) {
        struct work work = {.progress = take_the_place};

        seam.rename_error = way == 0 ? 0 : -EINVAL;
        (void)unlink("to");
        ck_assert_int_eq(start(&work, "from", "to", 0), 0);
        test_run(loop);
        ck_assert_int_eq(work.error, -EEXIST);
        content_is("to", "theirs");
        ck_assert_uint_eq(files("."), 2);
        (void)unlink("to");
        ck_assert_int_eq(copy_run("from", "to", 0), 0);
        same_content("from", "to");
        ck_assert_uint_eq(files("."), 2);
    }
}
END_TEST

static void scenario_closed(void)
{
    loop = test_loop_new(NULL);
    if (copy_run("closed", "open/to", 0) != -EACCES || copy_run("from", "shut/to", 0) != -EACCES ||
        copy_run("from", "open/to", 0) != 0 || copy_run("from", "blind/to", 0) != 0 ||
        copy_run("from", "blind/synced", LOOP_COPY_SYNC) != -EACCES || access("blind/synced", F_OK) == 0)
        _exit(10);
    test_loop_free(loop);
}

START_TEST(errors)
{
    struct work work = {0};

    scratch_write("from", "abc", 3);
    scratch_write("closed", "abc", 3);
    ck_assert_int_eq(symlink("from", "link"), 0);
    ck_assert_int_eq(mkfifo("fifo", 0600), 0);
    ck_assert_int_eq(mkdir("open", 0777), 0);
    ck_assert_int_eq(mkdir("blind", 0777), 0);
    ck_assert_int_eq(mkdir("shut", 0755), 0);
    ck_assert_int_eq(copy_run("missing", "to", 0), -ENOENT);
    ck_assert_int_eq(copy_run("open", "to", 0), -EISDIR);
    ck_assert_int_eq(copy_run("fifo", "to", 0), -EINVAL);
    ck_assert_int_eq(copy_run("link", "to", LOOP_COPY_NOFOLLOW), -ELOOP);
    ck_assert_int_eq(copy_run("from", "missing/to", 0), -ENOENT);
    ck_assert_int_eq(copy_run("from", "from/to", 0), -ENOTDIR);
    ck_assert_int_eq(copy_run("from/", "to", 0), -ENOTDIR);
    ck_assert_int_eq(copy_run("from", "/proc/to", 0) < 0, 1);
    ck_assert_int_eq(start(&work, "from", "open/", 0), -EISDIR);
    ck_assert_int_eq(start(&work, "from", "", 0), -ENOENT);
    ck_assert_int_eq(start(&work, NULL, "to", 0), -EINVAL);
    ck_assert_int_eq(start(&work, "from", NULL, 0), -EINVAL);
    ck_assert_int_eq(start(&work, "from", "to", 16), -EINVAL);
    ck_assert_int_eq(loop_copy_start(loop, &work.copy, -1, "from", AT_FDCWD, "to", NULL, copy_cb), -EBADF);
    ck_assert_int_eq(loop_copy_start(loop, &work.copy, AT_FDCWD, "from", -1, "to", NULL, copy_cb), -EBADF);
    ck_assert_int_eq(loop_copy_start(loop, &work.copy, AT_FDCWD, "from", AT_FDCWD, "to", NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_copy_cancel(&work.copy), -ENOENT);
    ck_assert_int_eq(start(&work, "link", "to", 0), 0);
    ck_assert_int_eq(start(&work, "link", "to", 0), -EBUSY);
    ck_assert_ptr_eq(loop_copy_loop(&work.copy), loop);
    test_run(loop);
    ck_assert_int_eq(work.error, 0);
    content_is("to", "abc");
    ck_assert_uint_eq(files("."), 8);
    ck_assert_int_eq(chmod("closed", 0), 0);
    ck_assert_int_eq(chmod("open", 0777), 0);
    ck_assert_int_eq(chmod("blind", 0733), 0);
    ck_assert(geteuid() != 0 || chown("closed", 1, 1) == 0);
    if (geteuid() == 0) {
        test_loop_free(loop); /* with its threads: ThreadSanitizer takes those of a child for them */
        scratch_unprivileged(scenario_closed);
        loop = test_loop_new(NULL);
    }
}
END_TEST

START_TEST(relative)
{
    struct work work = {0};
    char       *text;
    int         from, to;

    ck_assert_int_eq(mkdir("a", 0700), 0);
    ck_assert_int_eq(mkdir("b", 0700), 0);
    scratch_write("a/x", "abc", 3);
    from = open("a", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    to = open("b", O_PATH | O_DIRECTORY | O_CLOEXEC);
    work.copy.data = &work;
    work.active = true;
    ck_assert_int_eq(loop_copy_start(loop, &work.copy, from, "x", to, "y", NULL, copy_cb), 0);
    test_run(loop);
    ck_assert_int_eq(work.error, 0);
    text = scratch_read("b/y", NULL);
    ck_assert_str_eq(text, "abc");
    free(text);
    close(from);
    close(to);
}
END_TEST

/* ---- what happens meanwhile */

START_TEST(no_room)
{
    if (!scratch_mount("small", 2 * MIB)) {
        test_skip("may not mount");
        return;
    }
    make_file("from", 5 * MIB);
    ck_assert_int_eq(copy_run("from", "small/to", 0), -ENOSPC);
    ck_assert_uint_eq(files("small"), 0);
    scratch_write("small/to", "old", 3);
    ck_assert_int_eq(copy_run("from", "small/to", LOOP_COPY_REPLACE), -ENOSPC);
    content_is("small/to", "old");
    ck_assert_uint_eq(files("small"), 1);
}
END_TEST

static void shrink(struct work *work)
{
    if (work->steps == 1)
        ck_assert_int_eq(truncate("from", 20 * MIB + 7), 0);
}

static void grow(struct work *work)
{
    int fd = open("from", O_WRONLY | O_APPEND | O_CLOEXEC);

    (void)work;
    test_write(fd, "more", 4);
    close(fd);
}

/* Goal: a source that shrinks gives what is there, one that grows what was there at the beginning. */
START_TEST(source_changes)
{
    for (int way = 0; way < 2; way++) {
        struct work work = {.progress = shrink}, growing = {.progress = grow};
        struct stat stat_;

        seam.range_error = way == 0 ? 0 : -EXDEV;
        make_file("from", 40 * MIB);
        ck_assert_int_eq(start(&work, "from", "to", LOOP_COPY_REPLACE), 0);
        test_run(loop);
        ck_assert_int_eq(work.error, 0);
        ck_assert_uint_eq(work.bytes, 20 * MIB + 7);
        same_content("from", "to");
        ck_assert_int_eq(start(&growing, "from", "to", LOOP_COPY_REPLACE), 0);
        test_run(loop);
        ck_assert_int_eq(growing.error, 0);
        ck_assert_uint_eq(growing.bytes, 20 * MIB + 7);
        ck_assert_int_eq(stat("to", &stat_), 0);
        ck_assert_int_eq(stat_.st_size, 20 * MIB + 7);
    }
}
END_TEST

static void cut(struct work *work)
{
    if (work->steps == 1)
        ck_assert_int_eq(truncate("from", work->size == 64 * MIB ? 40 * MIB : 8 * MIB), 0);
}

/* Goal: a source that shrinks while a hole is to come is no longer in the copy than it is then, or than was copied.
 * Method: data, then a hole, then data; after the first piece it is cut in the hole, and in the data. */
START_TEST(cut_in_hole)
{
    for (int way = 0; way < 2; way++) {
        struct work work = {.progress = cut};
        uint64_t    size = way == 0 ? 64 * MIB : 72 * MIB, least = way == 0 ? 40 * MIB : 16 * MIB;
        struct stat stat_;
        int         fd;

        make_file("from", 16 * MIB);
        fd = open("from", O_WRONLY | O_CLOEXEC);
        ck_assert_int_eq(ftruncate(fd, (off_t)size), 0);
        ck_assert_int_eq(pwrite(fd, "end", 3, (off_t)size - 3), 3);
        close(fd);
        ck_assert_int_eq(start(&work, "from", "to", LOOP_COPY_REPLACE), 0);
        test_run(loop);
        ck_assert_int_eq(work.error, 0);
        ck_assert_uint_eq(work.bytes, least);
        ck_assert_int_eq(stat("to", &stat_), 0);
        ck_assert_int_eq(stat_.st_size, (off_t)least);
        if (way == 0)
            same_content("from", "to");
    }
}
END_TEST

static void cancel_it(struct work *work)
{
    ck_assert_int_eq(loop_copy_cancel(&work->copy), 0);
    ck_assert_int_eq(loop_copy_cancel(&work->copy), 0);
    ck_assert_uint_eq(work->ends, 0);
}

/* Goal: a cancel at once, from a progress callback, and by a deadline; each ends it once, and leaves no file. */
START_TEST(cancel)
{
    struct work at_once = {0}, inside = {.progress = cancel_it}, late = {0}, again = {0};

    make_file("from", 60 * MIB);
    ck_assert_int_eq(start(&at_once, "from", "to", 0), 0);
    ck_assert_int_eq(loop_copy_cancel(&at_once.copy), 0);
    ck_assert_uint_eq(at_once.ends, 0);
    test_run(loop);
    ck_assert_int_eq(at_once.error, -ECANCELED);
    ck_assert_uint_eq(files("."), 1);
    ck_assert_int_eq(start(&inside, "from", "to", 0), 0);
    test_run(loop);
    ck_assert_int_eq(inside.error, -ECANCELED);
    ck_assert_uint_eq(inside.steps, 1);
    ck_assert_uint_le(inside.bytes, 60 * MIB);
    ck_assert_uint_eq(files("."), 1);
    late.copy.data = &late;
    late.active = true;
    ck_assert_int_eq(loop_copy_start(loop, &late.copy, AT_FDCWD, "from", AT_FDCWD, "to",
                                     &(struct loop_copy_options){.timeout_ns = 1}, copy_cb),
                     0);
    test_run(loop);
    ck_assert(late.error == -ETIMEDOUT || late.error == 0);
    ck_assert_uint_eq(files("."), late.error == 0 ? 2 : 1);
    ck_assert_int_eq(start(&again, "from", "again", 0), 0);
    test_run(loop);
    ck_assert_int_eq(again.error, 0);
    same_content("from", "again");
}
END_TEST

static void count_step(struct work *work)
{
    (void)work;
}

/* Goal: loop_destroy() ends a copy, and leaves nothing of it. */
START_TEST(dropped)
{
    struct work work = {.progress = count_step}, fresh = {0};

    make_file("from", 60 * MIB);
    ck_assert_int_eq(start(&work, "from", "to", 0), 0);
    test_run_until(loop, &work.steps, 1);
    ck_assert_int_eq(start(&fresh, "from", "other", 0), 0);
    test_loop_drop(loop);
    loop = NULL;
    ck_assert_uint_eq(work.ends, 1);
    ck_assert_uint_eq(fresh.ends, 1);
    ck_assert_int_eq(work.error, -ECANCELED);
    ck_assert(fresh.error == -ECANCELED);
    ck_assert_uint_eq(files("."), 1);
}
END_TEST

static void free_it(struct work *work)
{
    free(work);
}

static int32_t nothing(void *arg)
{
    (void)arg;
    return 0;
}

/* Goal: many at a time all come to their end, in turn: other work is not kept waiting until they have. */
START_TEST(many)
{
    enum { COUNT = 12 };
    struct test_log log = {0};
    uint32_t        left = 0;

    make_file("from", 18 * MIB);
    for (int i = 0; i < COUNT; i++) {
        struct work *work = calloc(1, sizeof(*work));
        char         name[16];

        work->end = free_it;
        snprintf(name, sizeof(name), "to%d", i);
        ck_assert_int_eq(start(work, "from", name, 0), 0);
    }
    ck_assert_int_gt(loop_work(loop, LOOP_WORK_DEFAULT, nothing, test_log_cb, &log, NULL), 0);
    while (log.count == 0)
        ck_assert_int_eq(loop_run(loop, LOOP_RUN_ONCE), 1);
    for (int i = 0; i < COUNT; i++) {
        char name[16];

        snprintf(name, sizeof(name), "to%d", i);
        left += access(name, F_OK) != 0;
    }
    ck_assert_uint_gt(left, 0);
    test_run(loop);
    ck_assert_uint_eq(files("."), COUNT + 1);
    same_content("from", "to0");
    same_content("from", "to11");
}
END_TEST

START_TEST(faults)
{
    uint32_t nth = 1;

    make_file("from", 100000);
    for (bool failed = true; failed; nth++) {
        struct work work = {0};
        int         r;

        ck_assert_uint_lt(nth, 60);
        test_loop_free(loop);
        loop = test_loop_new(NULL);
        test_memory.failed = 0;
        test_memory.fail_at = test_memory.calls + nth;
        r = start(&work, "from", "to", 0);
        if (r == 0)
            test_run(loop);
        else
            ck_assert_int_eq(r, -ENOMEM);
        failed = test_memory.failed > 0;
        test_memory.fail_at = 0;
        ck_assert_uint_eq(work.ends, r == 0);
        ck_assert_int_eq(work.error, 0);
        ck_assert_uint_eq(files("."), r == 0 ? 2 : 1);
        (void)unlink("to");
    }
    ck_assert_uint_gt(nth, 2);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("fs/copy");
    TCase *copy = test_case(suite, "copy");

    tcase_add_checked_fixture(copy, open_copy, close_world);
    tcase_add_test(copy, all_sizes);
    tcase_add_test(copy, sparse);
    tcase_add_test(copy, holes);
    tcase_add_test(copy, across);
    tcase_add_test(copy, mode_kept);
    tcase_add_test(copy, poor_file_system);
    tcase_add_test(copy, special_files);
    tcase_add_test(copy, clone_and_sync);
    tcase_add_test(copy, exclusive_and_replace);
    tcase_add_test(copy, target_appears);
    tcase_add_test(copy, errors);
    tcase_add_test(copy, relative);
    tcase_add_test(copy, no_room);
    tcase_add_test(copy, source_changes);
    tcase_add_test(copy, cut_in_hole);
    tcase_add_test(copy, cancel);
    tcase_add_test(copy, dropped);
    tcase_add_test(copy, many);
    tcase_add_test(copy, faults);
    return suite;
}
