/* tests/loop/op_world.c: files, pipes, sockets and descriptors for the rows of operations. */
#include "tests/loop/op_world.h"

#include <dirent.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/xattr.h>

struct world *world_new(const struct loop_options *options)
{
    struct world *world = calloc(1, sizeof(*world));
    char          bytes[WORLD_FILE_BYTES];

    ck_assert_ptr_nonnull(world);
    ck_assert_ptr_nonnull(getcwd(world->path, sizeof(world->path) - 32));
    strcat(world->path, "/op-world-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(world->path));
    world->directory = world_fd(world, open(world->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    world->file = world_fd(world, openat(world->directory, "file", O_RDWR | O_CREAT | O_CLOEXEC, 0640));
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = world_byte(i);
    test_write(world->file, bytes, sizeof(bytes));
    ck_assert_int_eq(lseek(world->file, 0, SEEK_SET), 0);
    world->fd[0] = world->fd[1] = world->pipe[0] = world->pipe[1] = -1;
    world->loop = test_loop_new(options);
    return world;
}

static void remove_all(const char *path)
{
    DIR           *directory = opendir(path);
    struct dirent *entry;

    ck_assert_ptr_nonnull(directory);
    while ((entry = readdir(directory)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (unlinkat(dirfd(directory), entry->d_name, 0) != 0)
            ck_assert_int_eq(unlinkat(dirfd(directory), entry->d_name, AT_REMOVEDIR), 0);
    }
    closedir(directory);
    ck_assert_int_eq(rmdir(path), 0);
}

static void free_world(struct world *world)
{
    if (world->other != NULL)
        test_loop_drop(world->other);
    if (world->child > 0) {
        kill(world->child, SIGKILL);
        waitpid(world->child, NULL, 0); /* unless the operation has taken it */
    }
    if (world->memory != NULL)
        munmap(world->memory, 8192);
    for (unsigned i = 0; i < 2; i++)
        if (world->pipe[i] >= 0)
            test_close(world->pipe[i]);
    while (world->fds_count > 0)
        test_close(world->fds[--world->fds_count]);
    remove_all(world->path);
    free(world);
}

void world_drop_loop(struct world *world)
{
    test_loop_drop(world->loop);
    world->loop = NULL;
}

void world_free(struct world *world)
{
    if (world->loop != NULL)
        test_loop_free(world->loop);
    free_world(world);
}

int world_fd(struct world *world, int fd)
{
    ck_assert_int_ge(fd, 0);
    ck_assert_uint_lt(world->fds_count, WORLD_FDS_MAX);
    world->fds[world->fds_count++] = fd;
    return fd;
}

void world_fd_gone(struct world *world, int fd)
{
    for (unsigned i = 0; i < world->fds_count; i++)
        if (world->fds[i] == fd) {
            world->fds[i] = world->fds[--world->fds_count];
            return;
        }
    ck_abort_msg("descriptor %d is not the world's", fd);
}

int world_open(struct world *world, const char *name, int flags)
{
    return world_fd(world, openat(world->directory, name, flags | O_CLOEXEC, 0640));
}

void world_pipe(struct world *world, int ret_fds[2])
{
    ck_assert_int_eq(pipe2(ret_fds, O_CLOEXEC), 0);
    world_fd(world, ret_fds[0]);
    world_fd(world, ret_fds[1]);
}

void world_pair(struct world *world, int ret_fds[2])
{
    test_socketpair(ret_fds);
    world_fd(world, ret_fds[0]);
    world_fd(world, ret_fds[1]);
}

/* Fills what fd leads to. */
static int filled(int fd)
{
    static const char bytes[4096];
    int               flags = fcntl(fd, F_GETFL);

    ck_assert_int_eq(fcntl(fd, F_SETFL, flags | O_NONBLOCK), 0);
    for (int i = 0; i < 100000 && write(fd, bytes, sizeof(bytes)) > 0; i++)
        ;
    for (int i = 0; i < 100000 && write(fd, bytes, 1) > 0; i++)
        ;
    ck_assert_int_eq(errno, EAGAIN);
    ck_assert_int_eq(fcntl(fd, F_SETFL, flags), 0);
    return fd;
}

int world_full_pipe(struct world *world)
{
    int fds[2];

    world_pipe(world, fds);
    return filled(fds[1]);
}

int world_full_socket(struct world *world)
{
    int fds[2];

    world_pair(world, fds);
    return filled(fds[0]);
}

loop_id world_start(struct world *world, const struct row *row, enum how how, loop_cb *cb, void *arg,
                    const struct loop_terms *terms)
{
    loop_id id = row->start(world, how, cb, arg, terms);

    memset(&world->args, 0xa5, sizeof(world->args));
    return id;
}

void world_finish(struct world *world, const struct row *row, enum how how, const struct test_log *log)
{
    for (int i = 0; log->finals == 0; i++) {
        if (row->nudge != NULL && how == GOOD) {
            ck_assert_msg(i < 20000, "%s: no final callback", row->name);
            test_turns(world->loop, 1);
            row->nudge(world, 0);
            test_sleep(50 * LOOP_MICROSECOND);
        } else {
            ck_assert_msg(i < 2000, "%s: no final callback", row->name);
            ck_assert_int_ge(loop_run(world->loop, LOOP_RUN_ONCE), 0);
        }
    }
    if (row->flags & MAKES_HELPER)
        for (int i = 0; i < 2000 && loop_alive(world->loop); i++)
            ck_assert_int_ge(loop_run(world->loop, LOOP_RUN_ONCE), 0);
    test_turns(world->loop, 2); /* for callbacks that must not come */
}

void world_expect(struct world *world, const struct row *row, const struct test_log *log, int32_t res, uint32_t flags)
{
    ck_assert_msg(log->count == 1 && log->finals == 1, "%s: %u callbacks", row->name, log->count);
    ck_assert_msg((log->last.flags & ~(uint32_t)LOOP_SOCK_NONEMPTY) == flags, "%s: res %d, flags %#x", row->name,
                  log->last.res, log->last.flags);
    if (res == RES_FD) {
        ck_assert_msg(log->last.res > 2, "%s: res is %d, no descriptor", row->name, log->last.res);
        world_fd(world, log->last.res);
    } else {
        ck_assert_msg(log->last.res == res, "%s: res is %d (%s), not %d", row->name, log->last.res,
                      log->last.res < 0 ? strerror(-log->last.res) : "no error", res);
    }
}

static bool has_xattr(struct world *world)
{
    return fsetxattr(world->file, "user.probe", "", 0, 0) == 0 || errno != EOPNOTSUPP;
}

static void make_tables(struct world *world)
{
    void *memory;

    ck_assert_int_eq(loop_files_init(world->loop, &(struct loop_files_options){.automatic = 4, .own = 4}), 0);
    world->slot = loop_file_register(world->loop, world->file);
    ck_assert_int_gt(world->slot, 0);
    world->slot_empty = loop_file_reserve(world->loop, 1);
    ck_assert_int_gt(world->slot_empty, 0);
    ck_assert_int_eq(
        loop_fixed_buffers_init(world->loop, &(struct loop_fixed_buffers_options){.count = 1, .size = 4096}), 0);
    world->fixed_index = loop_fixed_buffer_borrow(world->loop, &memory);
    ck_assert_int_ge(world->fixed_index, 0);
    world->fixed_memory = memory;
}

bool world_skips(struct world *world, const struct row *row)
{
    if (!test_has_opcode(world->loop, row->opcode)) {
        test_skip("%s: this kernel lacks opcode %u (kernel %s)", row->name, row->opcode, row->kernel);
        return true;
    }
    if ((row->flags & NEEDS_XATTR) && !has_xattr(world)) {
        test_skip("%s: no extended attributes here", row->name);
        return true;
    }
    if (row->flags & NEEDS_TABLES)
        make_tables(world);
    return false;
}

int32_t world_result(struct world *world, loop_id id)
{
    int32_t res;

    ck_assert_msg(id > 0, "did not start: %s", strerror((int)-id));
    ck_assert_uint_eq(world->log.count, 0);
    memset(&world->args, 0xa5, sizeof(world->args));
    test_run(world->loop);
    ck_assert_uint_eq(world->log.count, 1);
    ck_assert_uint_eq(world->log.finals, 1);
    res = world->log.last.res;
    world->log = (struct test_log){0};
    return res;
}

void world_refused(struct world *world, loop_id id, int error)
{
    ck_assert_msg(id == error, "answered %" PRId64 ", not %d", id, error);
    ck_assert_uint_eq(test_stats(world->loop).ops_in_flight, 0);
    test_turns(world->loop, 1);
}

void world_never(struct loop *loop, const struct loop_result *result, void *arg)
{
    (void)loop, (void)arg;
    ck_abort_msg("a callback for what did not start, res %d", result->res);
}

int world_ring_fd(void)
{
    for (int fd = 4095; fd > 2; fd--) {
        char    link[64], target[64] = "";
        ssize_t size;

        snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        size = readlink(link, target, sizeof(target) - 1);
        if (size > 0 && strcmp(target, "anon_inode:[io_uring]") == 0)
            return fd;
    }
    ck_abort_msg("no ring is open");
    return -1;
}
