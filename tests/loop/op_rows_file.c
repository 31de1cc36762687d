/* tests/loop/op_rows_file.c: operations on open files. */
#include "tests/loop/op_world.h"

#include <sys/mman.h>

enum { AT = 100, SIZE = 32 };

static int read_only(struct world *world)
{
    return world_open(world, "file", O_RDONLY);
}

static int write_only(struct world *world)
{
    return world_open(world, "file", O_WRONLY);
}

/* What to read from. */
static int source(struct world *world, enum how how)
{
    int fds[2];

    switch (how) {
    case GOOD: return world->file;
    case BAD: return write_only(world);
    case BLOCK: world_pipe(world, fds); return fds[0];
    }
    return -1;
}

/* What to write to. */
static int target(struct world *world, enum how how)
{
    switch (how) {
    case GOOD: return world->file;
    case BAD: return read_only(world);
    case BLOCK: return world_full_pipe(world);
    }
    return -1;
}

static void fill_iov(struct world *world)
{
    for (unsigned i = 0; i < 4; i++)
        world->args.iov[i] = (struct iovec){world->bytes[0] + i * SIZE / 4, SIZE / 4};
}

loop_id start_readv(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    fill_iov(world);
    return loop_readv(world->loop, source(world, how), world->args.iov, 4, how == BLOCK ? 0 : AT, 0, cb, arg, terms);
}

loop_id start_read(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    return loop_read(world->loop, source(world, how), world->bytes[0], SIZE, how == BLOCK ? 0 : AT, cb, arg, terms);
}

/* Against pread(2). */
void look_read(struct world *world, int32_t res)
{
    char bytes[SIZE];

    (void)res;
    ck_assert_int_eq(pread(world->file, bytes, SIZE, AT), SIZE);
    ck_assert_mem_eq(world->bytes[0], bytes, SIZE);
    ck_assert_int_eq(bytes[0], world_byte(AT));
    ck_assert_int_eq(lseek(world->file, 0, SEEK_CUR), 0);
}

static const char written[SIZE + 1] = "0123456789abcdefghijklmnopqrstuv";

loop_id start_writev(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    memcpy(world->bytes[0], written, SIZE);
    fill_iov(world);
    return loop_writev(world->loop, target(world, how), world->args.iov, 4, how == BLOCK ? 0 : AT, 0, cb, arg, terms);
}

loop_id start_write(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    return loop_write(world->loop, target(world, how), written, SIZE, how == BLOCK ? 0 : AT, cb, arg, terms);
}

void look_written(struct world *world, int32_t res)
{
    char bytes[SIZE + 2];

    (void)res;
    ck_assert_int_eq(pread(world->file, bytes, SIZE + 2, AT - 1), SIZE + 2);
    ck_assert_int_eq(bytes[0], world_byte(AT - 1));
    ck_assert_mem_eq(bytes + 1, written, SIZE);
    ck_assert_int_eq(bytes[SIZE + 1], world_byte(AT + SIZE));
    ck_assert_int_eq(lseek(world->file, 0, SEEK_CUR), 0);
}

/* The file, or what is none. */
static int file_or_pipe(struct world *world, enum how how)
{
    int fds[2];

    if (how == GOOD)
        return world->file;
    world_pipe(world, fds);
    return fds[0];
}

loop_id start_fsync(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    return loop_fsync(world->loop, file_or_pipe(world, how), cb, arg, terms);
}

loop_id start_fdatasync(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    return loop_fdatasync(world->loop, file_or_pipe(world, how), cb, arg, terms);
}

loop_id start_sync_file_range(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    return loop_sync_file_range(world->loop, file_or_pipe(world, how), 0, 4096, SYNC_FILE_RANGE_WRITE, cb, arg, terms);
}

loop_id start_fallocate(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    return loop_fallocate(world->loop, how == GOOD ? world->file : read_only(world), 0, 4096, 8192, cb, arg, terms);
}

loop_id start_ftruncate(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    return loop_ftruncate(world->loop, how == GOOD ? world->file : read_only(world), 4096 + 8192, cb, arg, terms);
}

void look_size(struct world *world, int32_t res)
{
    struct stat stat;

    (void)res;
    ck_assert_int_eq(fstat(world->file, &stat), 0);
    ck_assert_int_eq(stat.st_size, 4096 + 8192);
}

loop_id start_fadvise(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    return loop_fadvise(world->loop, file_or_pipe(world, how), 0, 4096, POSIX_FADV_WILLNEED, cb, arg, terms);
}

loop_id start_madvise(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    if (world->memory == NULL) {
        world->memory = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        ck_assert_ptr_ne(world->memory, MAP_FAILED);
        memset(world->memory, 'x', 8192);
    }
    return loop_madvise(world->loop, (char *)world->memory + (how == BAD ? 1 : 0), 4096, MADV_DONTNEED, cb, arg, terms);
}

/* The first page is gone, and so reads as zero; the second is not. */
void look_madvise(struct world *world, int32_t res)
{
    (void)res;
    ck_assert_int_eq(*(const char *)world->memory, 0);
    ck_assert_int_eq(((const char *)world->memory)[4096], 'x');
}

/* Two pipes, the first with data; kept in fd[0], its read end, and fd[1], the read end of the second. */
static int two_pipes(struct world *world, enum how how)
{
    int from[2], to[2];

    world_pipe(world, from);
    world_pipe(world, to);
    if (how == GOOD)
        test_write(from[1], written, SIZE);
    world->fd[0] = from[0];
    world->fd[1] = to[0];
    return to[1];
}

loop_id start_splice(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    int to = how == BAD ? -1 : two_pipes(world, how);

    if (how == BAD)
        return loop_splice(world->loop, world->file, 0, world->file, 0, SIZE, 0, cb, arg, terms);
    return loop_splice(world->loop, world->fd[0], LOOP_AT_POSITION, to, LOOP_AT_POSITION, SIZE, 0, cb, arg, terms);
}

void look_spliced(struct world *world, int32_t res)
{
    char bytes[SIZE];

    (void)res;
    test_read(world->fd[1], bytes, SIZE);
    ck_assert_mem_eq(bytes, written, SIZE);
}

loop_id start_tee(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    int to = how == BAD ? -1 : two_pipes(world, how);

    if (how == BAD)
        return loop_tee(world->loop, world->file, world->file, SIZE, 0, cb, arg, terms);
    return loop_tee(world->loop, world->fd[0], to, SIZE, 0, cb, arg, terms);
}

void look_teed(struct world *world, int32_t res)
{
    char bytes[SIZE];

    look_spliced(world, res);
    test_read(world->fd[0], bytes, SIZE); /* still there */
    ck_assert_mem_eq(bytes, written, SIZE);
}

loop_id start_pipe(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    return loop_pipe(world->loop, world->pipe, how == BAD ? 1 : O_NONBLOCK, cb, arg, terms);
}

void look_pipe(struct world *world, int32_t res)
{
    char byte = 0;

    (void)res;
    for (unsigned i = 0; i < 2; i++) {
        ck_assert_int_eq(fcntl(world->pipe[i], F_GETFD), FD_CLOEXEC);
        ck_assert_int_ne(fcntl(world->pipe[i], F_GETFL) & O_NONBLOCK, 0);
    }
    test_write(world->pipe[1], "x", 1);
    test_read(world->pipe[0], &byte, 1);
    ck_assert_int_eq(byte, 'x');
}
