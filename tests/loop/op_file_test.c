/* tests/loop/op_file_test.c: operations on open files. What holds for each of them alike is in op_table_test.c and
 * op_block_test.c. */
#include "tests/loop/op_single.h"

#include <sys/eventfd.h>
#include <sys/mman.h>

static off_t position(void)
{
    return lseek(world->file, 0, SEEK_CUR);
}

static off_t size_of(int fd)
{
    struct stat stat;

    ck_assert_int_eq(fstat(fd, &stat), 0);
    return stat.st_size;
}

/* ---- arguments */

/* Goal: arguments that make no sense are answered at once and leave nothing. */
START_TEST(bad_arguments)
{
    static char  byte;
    struct iovec iov = {&byte, 1};
    size_t       big = (size_t)INT_MAX + 1;
    int          fd = world->file;

    refused(loop_read(loop, -1, &byte, 1, 0, NEVER), -EBADF);
    refused(loop_read(loop, fd, NULL, 1, 0, NEVER), -EINVAL);
    refused(loop_read(loop, fd, &byte, big, 0, NEVER), -EINVAL);
    refused(loop_read(loop, fd, &byte, 1, -2, NEVER), -EINVAL);
    refused(loop_write(loop, INT_MIN, &byte, 1, 0, NEVER), -EBADF);
    refused(loop_write(loop, fd, NULL, 1, 0, NEVER), -EINVAL);
    refused(loop_write(loop, fd, &byte, big, 0, NEVER), -EINVAL);
    refused(loop_write(loop, fd, &byte, 1, INT64_MIN, NEVER), -EINVAL);
    refused(loop_write(loop, fd, NULL, 1, 0, world_never, NULL, LOOP_TERMS(.flags = LOOP_LEND)), -EINVAL);
    refused(loop_readv(loop, -1, &iov, 1, 0, 0, NEVER), -EBADF);
    refused(loop_readv(loop, fd, NULL, 1, 0, 0, NEVER), -EINVAL);
    refused(loop_readv(loop, fd, &iov, -1, 0, 0, NEVER), -EINVAL);
    refused(loop_readv(loop, fd, &iov, IOV_MAX + 1, 0, 0, NEVER), -EINVAL);
    refused(loop_readv(loop, fd, &iov, 1, -2, 0, NEVER), -EINVAL);
    refused(loop_writev(loop, -1, &iov, 1, 0, 0, NEVER), -EBADF);
    refused(loop_writev(loop, fd, NULL, 1, 0, 0, NEVER), -EINVAL);
    refused(loop_fsync(loop, -1, NEVER), -EBADF);
    refused(loop_fdatasync(loop, -1, NEVER), -EBADF);
    refused(loop_sync_file_range(loop, -1, 0, 0, 0, NEVER), -EBADF);
    refused(loop_sync_file_range(loop, fd, -1, 0, 0, NEVER), -EINVAL);
    refused(loop_sync_file_range(loop, fd, 0, (size_t)UINT32_MAX + 1, 0, NEVER), -EINVAL);
    refused(loop_fallocate(loop, -1, 0, 0, 1, NEVER), -EBADF);
    refused(loop_fallocate(loop, fd, 0, -1, 1, NEVER), -EINVAL);
    refused(loop_fallocate(loop, fd, 0, 0, 0, NEVER), -EINVAL);
    refused(loop_ftruncate(loop, -1, 0, NEVER), -EBADF);
    refused(loop_ftruncate(loop, fd, -1, NEVER), -EINVAL);
    refused(loop_fadvise(loop, -1, 0, 0, 0, NEVER), -EBADF);
    refused(loop_fadvise(loop, fd, -1, 0, 0, NEVER), -EINVAL);
    refused(loop_fadvise(loop, fd, 0, -1, 0, NEVER), -EINVAL);
    refused(loop_splice(loop, -1, 0, fd, 0, 1, 0, NEVER), -EBADF);
    refused(loop_splice(loop, fd, 0, -1, 0, 1, 0, NEVER), -EBADF);
    refused(loop_splice(loop, fd, -2, fd, 0, 1, 0, NEVER), -EINVAL);
    refused(loop_splice(loop, fd, 0, fd, -2, 1, 0, NEVER), -EINVAL);
    refused(loop_splice(loop, fd, 0, fd, 0, big, 0, NEVER), -EINVAL);
    refused(loop_splice(loop, fd, 0, fd, 0, 1, SPLICE_F_FD_IN_FIXED, NEVER), -EINVAL);
    refused(loop_tee(loop, -1, fd, 1, 0, NEVER), -EBADF);
    refused(loop_tee(loop, fd, -1, 1, 0, NEVER), -EBADF);
    refused(loop_tee(loop, fd, fd, big, 0, NEVER), -EINVAL);
    refused(loop_pipe(loop, NULL, 0, NEVER), -EINVAL);
    ck_assert_uint_eq(test_stats(loop).ops_started, 0);
}
END_TEST

/* Goal: a registered file that is none is told by the kernel, whatever plain descriptor has that number. */
START_TEST(no_fixed_file)
{
    char         byte = 0;
    struct iovec iov = {&byte, 1};
    int          fixed = LOOP_FIXED(world->file), fds[2];

    world_pipe(world, fds);
    ck_assert_int_eq(result(loop_read(loop, fixed, &byte, 1, 0, LOGGED)), -EBADF);
    ck_assert_int_eq(result(loop_write(loop, fixed, &byte, 1, 0, LOGGED)), -EBADF);
    ck_assert_int_eq(result(loop_readv(loop, fixed, &iov, 1, 0, 0, LOGGED)), -EBADF);
    ck_assert_int_eq(result(loop_writev(loop, fixed, &iov, 1, 0, 0, LOGGED)), -EBADF);
    ck_assert_int_eq(result(loop_fsync(loop, fixed, LOGGED)), -EBADF);
    ck_assert_int_eq(result(loop_sync_file_range(loop, fixed, 0, 0, 0, LOGGED)), -EBADF);
    ck_assert_int_eq(result(loop_fallocate(loop, fixed, 0, 0, 1, LOGGED)), -EBADF);
    ck_assert_int_eq(result(loop_fadvise(loop, fixed, 0, 0, POSIX_FADV_NORMAL, LOGGED)), -EBADF);
    ck_assert_int_eq(result(loop_splice(loop, fixed, 0, fds[1], LOOP_AT_POSITION, 1, 0, LOGGED)), -EBADF);
    ck_assert_int_eq(result(loop_splice(loop, world->file, 0, LOOP_FIXED(fds[1]), LOOP_AT_POSITION, 1, 0, LOGGED)),
                     -EBADF);
    ck_assert_int_eq(result(loop_tee(loop, LOOP_FIXED(fds[0]), fds[1], 1, 0, LOGGED)), -EBADF);
    if (test_has_opcode(loop, IORING_OP_FTRUNCATE))
        ck_assert_int_eq(result(loop_ftruncate(loop, fixed, 0, LOGGED)), -EBADF);
    ck_assert_int_eq(size_of(world->file), WORLD_FILE_BYTES);
}
END_TEST

/* ---- reading and writing */

/* Goal: reads at, before and behind the end are what pread(2) gives. */
START_TEST(end_of_file)
{
    static const off_t offsets[] = {0,
                                    1,
                                    WORLD_FILE_BYTES - 32,
                                    WORLD_FILE_BYTES - 31,
                                    WORLD_FILE_BYTES - 1,
                                    WORLD_FILE_BYTES,
                                    WORLD_FILE_BYTES + 1,
                                    INT64_C(1) << 40};

    for (size_t i = 0; i < TEST_COUNT(offsets); i++) {
        char    bytes[32] = {0}, expected[32] = {0};
        ssize_t size = pread(world->file, expected, sizeof(expected), offsets[i]);

        ck_assert_int_eq(result(loop_read(loop, world->file, bytes, sizeof(bytes), offsets[i], LOGGED)), size);
        ck_assert_mem_eq(bytes, expected, sizeof(bytes));
    }
    ck_assert_int_eq(result(loop_read(loop, world->file, NULL, 0, 0, LOGGED)), 0);
    ck_assert_int_eq(result(loop_write(loop, world->file, NULL, 0, 0, LOGGED)), 0);
    ck_assert_int_eq(size_of(world->file), WORLD_FILE_BYTES);
}
END_TEST

/* Goal: LOOP_AT_POSITION takes the file's position and moves it; an offset leaves it alone. */
START_TEST(file_position)
{
    char         bytes[16];
    struct iovec iov[2] = {{bytes, 4}, {bytes + 4, 4}};

    ck_assert_int_eq(result(loop_read(loop, world->file, bytes, 10, LOOP_AT_POSITION, LOGGED)), 10);
    ck_assert_int_eq(position(), 10);
    ck_assert_int_eq(result(loop_readv(loop, world->file, iov, 2, LOOP_AT_POSITION, 0, LOGGED)), 8);
    ck_assert_int_eq(bytes[7], world_byte(17));
    ck_assert_int_eq(position(), 18);
    ck_assert_int_eq(result(loop_read(loop, world->file, bytes, 10, 500, LOGGED)), 10);
    ck_assert_int_eq(position(), 18);
    ck_assert_int_eq(result(loop_write(loop, world->file, "ab", 2, LOOP_AT_POSITION, LOGGED)), 2);
    iov[0] = (struct iovec){(char[]){"cd"}, 2};
    ck_assert_int_eq(result(loop_writev(loop, world->file, iov, 1, LOOP_AT_POSITION, 0, LOGGED)), 2);
    ck_assert_int_eq(position(), 22);
    ck_assert_int_eq(pread(world->file, bytes, 6, 17), 6);
    ck_assert_int_eq(bytes[0], world_byte(17));
    ck_assert_mem_eq(bytes + 1, "abcd", 4);
    ck_assert_int_eq(bytes[5], world_byte(22));
}
END_TEST

/* Goal: vectors of any length are copied, and read and written like those of preadv(2). Method: lengths about the
 * limits of the context, and the most; the array is overwritten at once. */
START_TEST(vectors)
{
    static const int counts[] = {0, 1, 4, 8, 9, 100, 1023, IOV_MAX};

    for (size_t i = 0; i < TEST_COUNT(counts); i++) {
        struct iovec iov[IOV_MAX];
        char         bytes[IOV_MAX], expected[IOV_MAX];
        loop_id      id;
        int          count = counts[i];

        for (int j = 0; j < count; j++)
            iov[j] = (struct iovec){&bytes[count - 1 - j], 1};
        memset(bytes, 0, sizeof(bytes));
        id = loop_readv(loop, world->file, count == 0 ? NULL : iov, count, 33, 0, LOGGED);
        memset(iov, 0xa5, sizeof(iov));
        ck_assert_int_eq(result(id), count);
        for (int j = 0; j < count; j++)
            ck_assert_int_eq(bytes[count - 1 - j], world_byte(33 + (size_t)j));
        for (int j = 0; j < count; j++)
            iov[j] = (struct iovec){&bytes[j], 1};
        id = loop_writev(loop, world->file, count == 0 ? NULL : iov, count, 5000, 0, LOGGED);
        memset(iov, 0xa5, sizeof(iov));
        ck_assert_int_eq(result(id), count);
        ck_assert_int_eq(pread(world->file, expected, (size_t)count, 5000), count);
        ck_assert_mem_eq(bytes, expected, (size_t)count);
    }
}
END_TEST

/* Goal: RWF flags do what they do for preadv2(2), and unknown ones fail alike. */
START_TEST(vector_flags)
{
    char         bytes[4] = "abcd";
    struct iovec iov = {bytes, 4};
    int32_t      got;
    int          fds[2];

    ck_assert_int_eq(result(loop_writev(loop, world->file, &iov, 1, 0, RWF_APPEND, LOGGED)), 4);
    ck_assert_int_eq(size_of(world->file), WORLD_FILE_BYTES + 4);
    ck_assert_int_eq(pread(world->file, bytes, 4, WORLD_FILE_BYTES), 4);
    ck_assert_mem_eq(bytes, "abcd", 4);
    ck_assert_int_eq(result(loop_writev(loop, world->file, &iov, 1, 8, RWF_DSYNC, LOGGED)), 4);
    ck_assert_int_eq(preadv2(world->file, &iov, 1, 0, 1 << 30), -1);
    ck_assert_int_eq(result(loop_readv(loop, world->file, &iov, 1, 0, 1 << 30, LOGGED)), -errno);

    world_pipe(world, fds); /* nothing to read */
    got = result(loop_readv(loop, fds[0], &iov, 1, 0, RWF_NOWAIT, LOGGED));
    ck_assert(got == -EAGAIN ||
              (got == -EOPNOTSUPP && preadv2(fds[0], &iov, 1, -1, RWF_NOWAIT) < 0 && errno == EOPNOTSUPP));
    ck_assert_int_eq(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
    ck_assert_int_gt(loop_read(loop, fds[0], bytes, 4, 0, LOGGED), 0); /* waits all the same */
    test_turns(loop, 3);
    ck_assert_uint_eq(world->log.count, 0);
    test_write(fds[1], "x", 1);
    test_run(loop);
    test_log_is(&world->log, 1);
}
END_TEST

/* Goal: offsets beyond 32 bits reach the kernel whole, in all that have one. Method: a sparse file of 5 GiB. */
START_TEST(large_offsets)
{
    const int64_t far = INT64_C(5) << 30;
    char          bytes[8] = "";
    struct iovec  iov = {bytes, 8};
    struct stat   stat;
    int           fds[2];

    if (ftruncate(world->file, far + 4096) != 0) {
        test_skip("large_offsets: %s", strerror(errno));
        return;
    }
    ck_assert_int_eq(result(loop_write(loop, world->file, "far away", 8, far, LOGGED)), 8);
    ck_assert_int_eq(pread(world->file, bytes, 8, far), 8);
    ck_assert_mem_eq(bytes, "far away", 8);
    memset(bytes, 0, sizeof(bytes));
    ck_assert_int_eq(result(loop_readv(loop, world->file, &iov, 1, far + 4, 0, LOGGED)), 8);
    ck_assert_mem_eq(bytes, "away", 4);
    ck_assert_int_eq(result(loop_sync_file_range(loop, world->file, far, 4096, SYNC_FILE_RANGE_WRITE, LOGGED)), 0);
    if (test_has_opcode(loop, IORING_OP_BIND)) /* and sizes of advice, too */
        ck_assert_int_eq(result(loop_fadvise(loop, world->file, far, far, POSIX_FADV_DONTNEED, LOGGED)), 0);
    ck_assert_int_eq(result(loop_fadvise(loop, world->file, far, 4096, POSIX_FADV_DONTNEED, LOGGED)), 0);

    world_pipe(world, fds);
    ck_assert_int_eq(result(loop_splice(loop, world->file, far, fds[1], LOOP_AT_POSITION, 8, 0, LOGGED)), 8);
    ck_assert_int_eq(result(loop_splice(loop, fds[0], LOOP_AT_POSITION, world->file, far + 8, 8, 0, LOGGED)), 8);
    ck_assert_int_eq(pread(world->file, bytes, 8, far + 8), 8);
    ck_assert_mem_eq(bytes, "far away", 8);

    ck_assert_int_eq(
        result(loop_fallocate(loop, world->file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, far, 4096, LOGGED)), 0);
    ck_assert_int_eq(pread(world->file, bytes, 8, far), 8);
    ck_assert_mem_eq(bytes, "\0\0\0\0\0\0\0", 8);
    ck_assert_int_eq(
        result(loop_fallocate(loop, world->file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, far, LOGGED)), 0);
    ck_assert_int_eq(fstat(world->file, &stat), 0);
    ck_assert_int_eq(stat.st_size, far + 4096);
    if (test_has_opcode(loop, IORING_OP_FTRUNCATE)) {
        ck_assert_int_eq(result(loop_ftruncate(loop, world->file, far + 1, LOGGED)), 0);
        ck_assert_int_eq(size_of(world->file), far + 1);
    }
}
END_TEST

/* Goal: sizes of advice beyond 32 bits are not cut. Method: memory of 4 GiB + 4 KiB, of which the lowest and the
 * highest pages are used; with a size cut to its lower half the highest would stay. */
START_TEST(large_advice)
{
    const size_t size = (UINT64_C(1) << 32) + 4096;
    char        *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (memory == MAP_FAILED || !test_has_opcode(loop, IORING_OP_BIND)) {
        test_skip("large_advice: no address space, or a kernel before 6.11");
        if (memory != MAP_FAILED)
            munmap(memory, size);
        return;
    }
    memory[0] = memory[size - 1] = 'x';
    ck_assert_int_eq(result(loop_madvise(loop, memory, size, MADV_DONTNEED, LOGGED)), 0);
    ck_assert_int_eq(memory[0], 0);
    ck_assert_int_eq(memory[size - 1], 0);
    ck_assert_int_eq(munmap(memory, size), 0);
}
END_TEST

/* Goal: reads of pipes and eventfds wait, end with what comes, and when cancelled leave the buffer and the data alone.
 */
START_TEST(waiting_reads)
{
    struct test_log log = {0};
    uint64_t        number = UINT64_MAX, written = 5;
    char            bytes[8] = "ABCDEFG";
    int             fds[2], event = world_fd(world, eventfd(0, EFD_CLOEXEC));
    loop_id         ids[2];

    world_pipe(world, fds);
    ids[0] = loop_read(loop, fds[0], bytes, 8, LOOP_AT_POSITION, test_log_cb, &log, NULL);
    test_turns(loop, 2);
    ck_assert_uint_eq(log.count, 0);
    test_write(fds[1], "xyz", 3);
    test_run(loop);
    test_log_is(&log, 3);
    ck_assert_mem_eq(bytes, "xyzDEFG", 8);

    for (int i = 0; i < 2; i++)
        world->helper = log = (struct test_log){0};
    ids[0] = loop_read(loop, fds[0], bytes, 8, 0, test_log_cb, &log, NULL);
    ids[1] = loop_read(loop, event, &number, 8, 0, test_log_cb, &world->helper, NULL);
    test_turns(loop, 2);
    ck_assert_int_eq(loop_cancel(loop, ids[0]), 0);
    ck_assert_int_eq(loop_cancel(loop, ids[1]), 0);
    test_run(loop);
    test_log_is(&log, -ECANCELED);
    test_log_is(&world->helper, -ECANCELED);
    test_write(fds[1], "later", 5);
    test_write(event, &written, 8);
    test_turns(loop, 3);
    ck_assert_mem_eq(bytes, "xyzDEFG", 8);
    ck_assert_uint_eq(number, UINT64_MAX);
    test_read(fds[0], bytes, 5);
    ck_assert_mem_eq(bytes, "later", 5);
    ck_assert_int_eq(result(loop_read(loop, event, &number, 8, 0, LOGGED)), 8);
    ck_assert_uint_eq(number, 5);
}
END_TEST

/* Goal: a read may put its data into a buffer of the group. Method: of a pipe; a limit, and the whole buffer. */
START_TEST(lent_reads)
{
    int fds[2];

    world_pipe(world, fds);
    test_write(fds[1], "abcdef", 6);
    for (int i = 0; i < 2; i++) {
        struct test_log log = {0};

        ck_assert_int_gt(
            loop_read(loop, fds[0], NULL, i == 0 ? 4 : 0, 0, test_log_cb, &log, LOOP_TERMS(.flags = LOOP_LEND)), 0);
        test_run(loop);
        ck_assert_uint_eq(log.count, 1);
        ck_assert_uint_eq(log.last.flags, LOOP_BUFFER);
        ck_assert_int_eq(log.last.res, i == 0 ? 4 : 2);
        ck_assert_mem_eq(log.data, i == 0 ? "abcd" : "ef", (size_t)log.last.res);
    }
    ck_assert_uint_eq(test_stats(loop).buffers_lent, 0);
}
END_TEST

/* ---- splice, tee, pipes */

/* Goal: splices move what splice(2) would, from and to files at offsets and positions, and sockets. */
START_TEST(splices)
{
    char bytes[64];
    int  fds[2], pair[2], to = world_open(world, "to", O_RDWR | O_CREAT);

    world_pipe(world, fds);
    world_pair(world, pair);
    ck_assert_int_eq(result(loop_splice(loop, world->file, 7, fds[1], LOOP_AT_POSITION, 40, SPLICE_F_MOVE, LOGGED)),
                     40);
    ck_assert_int_eq(position(), 0);
    ck_assert_int_eq(result(loop_splice(loop, world->file, LOOP_AT_POSITION, fds[1], LOOP_AT_POSITION, 10, 0, LOGGED)),
                     10);
    ck_assert_int_eq(position(), 10);
    ck_assert_int_eq(result(loop_splice(loop, fds[0], LOOP_AT_POSITION, to, 3, 40, 0, LOGGED)), 40);
    ck_assert_int_eq(pread(to, bytes, 40, 3), 40);
    for (size_t i = 0; i < 40; i++)
        ck_assert_int_eq(bytes[i], world_byte(7 + i));
    ck_assert_int_eq(result(loop_splice(loop, fds[0], LOOP_AT_POSITION, pair[0], LOOP_AT_POSITION, 10, 0, LOGGED)), 10);
    test_read(pair[1], bytes, 10);
    ck_assert_int_eq(bytes[9], world_byte(9));

    ck_assert_int_eq(result(loop_splice(loop, fds[0], 0, to, 0, 1, 0, LOGGED)), -ESPIPE); /* a pipe has no offset */
    ck_assert_int_eq(result(loop_splice(loop, world->file, 0, fds[1], LOOP_AT_POSITION, 1, 0x80, LOGGED)), -EINVAL);
    ck_assert_int_eq(result(loop_splice(loop, world->file, 0, fds[1], LOOP_AT_POSITION, 0, 0, LOGGED)), 0);
    ck_assert_int_eq(result(loop_splice(loop, fds[0], LOOP_AT_POSITION, to, 0, 9, SPLICE_F_NONBLOCK, LOGGED)), -EAGAIN);
    world_fd_gone(world, fds[1]);
    test_close(fds[1]);
    ck_assert_int_eq(result(loop_splice(loop, fds[0], LOOP_AT_POSITION, to, 0, 9, 0, LOGGED)), 0);
    ck_assert_int_eq(result(loop_tee(loop, fds[0], fds[0], 9, 0, LOGGED)), -EBADF); /* not open for writing */
}
END_TEST

/* Goal: pipes have the flags asked for, and are close-on-exec. */
START_TEST(pipes)
{
    static const int flags[] = {0, O_NONBLOCK, O_CLOEXEC, O_NONBLOCK | O_DIRECT};

    if (!test_has_opcode(loop, IORING_OP_PIPE)) {
        test_skip("pipes: kernel 6.16");
        return;
    }
    for (size_t i = 0; i < TEST_COUNT(flags); i++) {
        int fds[2] = {-1, -1}, expected[2];

        ck_assert_int_eq(pipe2(expected, flags[i]), 0);
        ck_assert_int_eq(result(loop_pipe(loop, fds, flags[i], LOGGED)), 0);
        for (int end = 0; end < 2; end++) {
            ck_assert_int_eq(fcntl(fds[end], F_GETFD), FD_CLOEXEC);
            ck_assert_int_eq(fcntl(fds[end], F_GETFL), fcntl(expected[end], F_GETFL));
            test_close(fds[end]);
            test_close(expected[end]);
        }
    }
}
END_TEST

/* ---- space and chains */

/* Goal: fallocate(2) modes and errors are the kernel's. */
START_TEST(space)
{
    struct stat stat;

    ck_assert_int_eq(result(loop_fallocate(loop, world->file, FALLOC_FL_KEEP_SIZE, 0, 1 << 20, LOGGED)), 0);
    ck_assert_int_eq(fstat(world->file, &stat), 0);
    ck_assert_int_eq(stat.st_size, WORLD_FILE_BYTES);
    ck_assert_int_ge(stat.st_blocks, 2048);
    ck_assert_int_eq(fallocate(world->file, 1 << 20, 0, 1), -1);
    ck_assert_int_eq(result(loop_fallocate(loop, world->file, 1 << 20, 0, 1, LOGGED)), -errno);
    ck_assert_int_eq(result(loop_fallocate(loop, world->file, 0, INT64_MAX, 2, LOGGED)), -EFBIG);
    ck_assert_int_eq(result(loop_sync_file_range(loop, world->file, 0, 0, 0x80, LOGGED)), -EINVAL);
    ck_assert_int_eq(result(loop_fadvise(loop, world->file, 0, 0, 99, LOGGED)), -EINVAL);
}
END_TEST

/* Goal: in a chain a sync comes after the write, the rename after the sync. Method: the safe way to replace a file;
 * with the write failing, nothing is renamed. A short read ends a chain too. */
START_TEST(replace_chain)
{
    for (int bad = 0; bad < 2; bad++) {
        struct test_log log[4] = {{0}};
        int             fd = world_open(world, "new", O_CREAT | O_TRUNC | (bad ? O_RDONLY : O_RDWR));
        char            bytes[8] = "";

        ck_assert_int_eq(loop_chain_begin(loop, 4, 0), 0);
        ck_assert_int_gt(loop_write(loop, fd, "content", 7, 0, test_log_cb, &log[0], NULL), 0);
        ck_assert_int_gt(loop_fdatasync(loop, fd, test_log_cb, &log[1], NULL), 0);
        ck_assert_int_gt(loop_read(loop, fd, bytes, 7, 0, test_log_cb, &log[2], NULL), 0);
        ck_assert_int_gt(
            loop_renameat(loop, world->directory, "new", world->directory, "final", 0, test_log_cb, &log[3], NULL), 0);
        ck_assert_int_eq(loop_chain_end(loop), 0);
        test_run(loop);
        test_log_is(&log[0], bad ? -EBADF : 7);
        test_log_is(&log[1], bad ? -ECANCELED : 0);
        test_log_is(&log[2], bad ? -ECANCELED : 7);
        test_log_is(&log[3], bad ? -ECANCELED : 0);
        ck_assert_str_eq(bytes, bad ? "" : "content");
        ck_assert_int_eq(faccessat(world->directory, "new", F_OK, 0), bad ? 0 : -1);
    }
    for (int hard = 0; hard <= LOOP_CHAIN_HARD; hard++) {
        struct test_log log[2] = {{0}};
        char            bytes[32];

        ck_assert_int_eq(loop_chain_begin(loop, 2, (uint32_t)hard), 0);
        ck_assert_int_gt(loop_read(loop, world->file, bytes, 32, WORLD_FILE_BYTES - 5, test_log_cb, &log[0], NULL), 0);
        ck_assert_int_gt(loop_nop(loop, test_log_cb, &log[1], NULL), 0);
        ck_assert_int_eq(loop_chain_end(loop), 0);
        test_run(loop);
        test_log_is(&log[0], 5);
        test_log_is(&log[1], hard ? 0 : -ECANCELED);
    }
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("op_file");
    TCase *tcase = test_case(suite, "file");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, bad_arguments);
    tcase_add_test(tcase, no_fixed_file);
    tcase_add_test(tcase, end_of_file);
    tcase_add_test(tcase, file_position);
    tcase_add_test(tcase, vectors);
    tcase_add_test(tcase, vector_flags);
    tcase_add_test(tcase, large_offsets);
    tcase_add_test(tcase, large_advice);
    tcase_add_test(tcase, waiting_reads);
    tcase_add_test(tcase, lent_reads);
    tcase_add_test(tcase, splices);
    tcase_add_test(tcase, pipes);
    tcase_add_test(tcase, space);
    tcase_add_test(tcase, replace_chain);
    return suite;
}
