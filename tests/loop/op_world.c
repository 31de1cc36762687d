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

void world_tcp_pair(struct world *world, int ret_fds[2])
{
    test_tcp_pair(ret_fds);
    world_fd(world, ret_fds[0]);
    world_fd(world, ret_fds[1]);
}

/* Full buffers would not do: the kernel moves bytes to the peer behind our back, and what it then takes after all it
 * releases only when they are read. */
int world_connecting_tcp(struct world *world)
{
    uint16_t           port;
    struct sockaddr_in address;
    int                fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    world_fd(world, test_tcp_listener(&port, 0));
    world_fd(world, test_tcp_connect(port));
    address = test_localhost(port);
    ck_assert_int_eq(connect(world_fd(world, fd), (struct sockaddr *)&address, sizeof(address)), -1);
    ck_assert_int_eq(errno, EINPROGRESS);
    ck_assert_int_eq(fcntl(fd, F_SETFL, 0), 0);
    return fd;
}

loop_id world_start(struct world *world, const struct row *row, enum how how, loop_cb *cb, void *arg,
                    const struct loop_terms *terms)
{
    loop_id id = row->start(world, how, cb, arg, terms);

    memset(&world->args, 0xa5, sizeof(world->args));
    return id;
}

loop_id world_start_logged(struct world *world, const struct row *row, enum how how, struct test_log *log,
                           const struct loop_terms *terms)
{
    loop_id id;

    log->releases = (row->flags & RELEASES) != 0;
    id = world_start(world, row, how, test_log_cb, log, terms);
    ck_assert_msg(id > 0, "%s did not start: %s", row->name, strerror((int)-id));
    ck_assert_msg(log->count == 0, "%s called back from inside the call", row->name);
    return id;
}

void world_finish(struct world *world, const struct row *row, enum how how, const struct test_log *log)
{
    bool canceled = how != GOOD || (row->flags & ENDLESS) == 0;

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
        if (!canceled && log->count > 0 && log->finals == 0) {
            ck_assert_int_eq(loop_cancel(world->loop, log->last.id), 0);
            canceled = true;
        }
    }
    if (row->flags & MAKES_HELPER)
        for (int i = 0; i < 2000 && loop_alive(world->loop); i++)
            ck_assert_int_ge(loop_run(world->loop, LOOP_RUN_ONCE), 0);
    test_turns(world->loop, 2); /* for callbacks that must not come */
}

bool world_takes(struct world *world, int32_t expected, int32_t got)
{
    switch (expected) {
    case RES_SLOT: return got == world->slot_empty;
    case RES_AUTOMATIC: return got >= LOOP_FIXED(0) && got < LOOP_FIXED(WORLD_AUTOMATIC);
    case RES_FD:
        if (got <= 2 || (got & LOOP_FIXED_FLAG) != 0)
            return false;
        world_fd(world, got);
        return true;
    default: return got == expected;
    }
}

static void check_result(struct world *world, const struct row *row, const struct loop_result *result, int32_t res,
                         uint32_t flags)
{
    uint32_t open = LOOP_SOCK_NONEMPTY | ((result->flags & LOOP_RELEASED) != 0 ? LOOP_COPIED : 0u);

    ck_assert_msg((result->flags & ~open) == flags, "%s: res %d, flags %#x", row->name, result->res, result->flags);
    ck_assert_msg(world_takes(world, res, result->res), "%s: res is %d (%s), not %d", row->name, result->res,
                  result->res < 0 ? strerror(-result->res) : "no error", res);
}

void world_expect(struct world *world, const struct row *row, const struct test_log *log, int32_t res, uint32_t flags)
{
    bool     goes_on = (row->flags & MULTISHOT) != 0 && res == row->good;
    bool     twice = goes_on || (row->flags & RELEASES) != 0;
    uint32_t lent = (row->flags & LENDS) != 0 && res == row->good ? LOOP_BUFFER : 0;

    ck_assert_msg(log->count == (twice ? 2 : 1) && log->finals == 1, "%s: %u callbacks, %u of them final, res %d",
                  row->name, log->count, log->finals, log->last.res);
    check_result(world, row, &log->results[0], res, flags | (twice ? LOOP_MORE : 0) | lent);
    if (lent != 0)
        memcpy(world->lent, log->data, sizeof(world->lent));
    if (goes_on)
        check_result(world, row, &log->last, (row->flags & ENDLESS) != 0 ? -ECANCELED : 0, 0);
    else if (twice)
        check_result(world, row, &log->last, res, flags | LOOP_RELEASED);
}

static bool has_xattr(struct world *world)
{
    return fsetxattr(world->file, "user.probe", "", 0, 0) == 0 || errno != EOPNOTSUPP;
}

static void make_tables(struct world *world)
{
    void *memory;

    ck_assert_int_eq(loop_files_init(world->loop, &(struct loop_files_options){.automatic = WORLD_AUTOMATIC, .own = 4}),
                     0);
    world->slot = loop_file_register(world->loop, world->file);
    ck_assert_int_gt(world->slot, 0);
    world->slot_empty = loop_file_reserve(world->loop, 2);
    ck_assert_int_gt(world->slot_empty, 0);
    ck_assert_int_eq(
        loop_fixed_buffers_init(world->loop, &(struct loop_fixed_buffers_options){.count = 1, .size = 4096}), 0);
    world->fixed_index = loop_fixed_buffer_borrow(world->loop, &memory);
    ck_assert_int_ge(world->fixed_index, 0);
    world->fixed_memory = memory;
}

static bool has_operation(struct loop *loop, const struct row *row)
{
    return test_has_opcode(loop, row->opcode) &&
           ((row->flags & SINCE_6_7) == 0 || test_has_opcode(loop, IORING_OP_WAITID)) &&
           ((row->flags & SINCE_6_15) == 0 || test_has_opcode(loop, IORING_OP_READV_FIXED));
}

struct world *world_with(const struct row *row, const struct loop_options *options)
{
    struct loop_options mine = *options;
    struct world       *world;

    mine.flags |= (row->flags & WIDE) != 0 ? LOOP_MODE_SQE128 : 0;
    world = world_new(&mine);
    if (row->flags & NEEDS_TABLES)
        make_tables(world);
    return world;
}

struct world *world_for(const struct row *row, const struct loop_options *options)
{
    struct world *world = world_with(row, options);

    if ((row->flags & NEEDS_XATTR) && !has_xattr(world))
        test_skip("%s: no extended attributes here", row->name);
    else if ((row->flags & REFUSED) == 0 && has_operation(world->loop, row))
        return world;
    world_free(world);
    return NULL;
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
