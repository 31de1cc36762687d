/* tests/loop/fixed_buffer_test.c: the table of registered buffers and the operations on it. Files stand in the working
 * directory, which is that of the build. */
#include "tests/loop/pair_world.h"

#include <fcntl.h>
#include <liburing.h>
#include <sys/resource.h>

static int file;

enum { COUNT = 3, SIZE = 8192, OWN = 2, FILE_BYTES = 20000 };

static unsigned char byte_at(size_t at)
{
    return (unsigned char)(at * 31 + at / 253);
}

static void setup(void)
{
    char path[64];

    loop = test_loop_new(&(struct loop_options){.sq_entries = 64});
    ck_assert_int_eq(
        loop_fixed_buffers_init(loop, &(struct loop_fixed_buffers_options){.count = COUNT, .size = SIZE, .own = OWN}),
        0);
    snprintf(path, sizeof(path), "fixed_buffer_test.%d", (int)getpid());
    file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ck_assert_int_ge(file, 0);
    ck_assert_int_eq(unlink(path), 0);
    for (size_t at = 0; at < FILE_BYTES; at += 1000) {
        unsigned char bytes[1000];

        for (size_t i = 0; i < sizeof(bytes); i++)
            bytes[i] = byte_at(at + i);
        test_write(file, bytes, sizeof(bytes));
    }
}

static void teardown(void)
{
    test_loop_free(loop);
    test_close(file);
}

static struct loop_fixed_buffers_stats buffers(const struct loop *of)
{
    struct loop_fixed_buffers_stats stats;

    memset(&stats, 0xff, sizeof(stats));
    loop_fixed_buffers_stats_get(of, &stats);
    return stats;
}

static int32_t read_at(int fd, void *data, size_t size, int64_t offset, int index)
{
    struct test_log log = {0};

    return finish(loop_read_fixed(loop, fd, data, size, offset, index, test_log_cb, &log, NULL), &log);
}

static void check_bytes(const void *data, size_t from, size_t size)
{
    const unsigned char *bytes = data;

    for (size_t i = 0; i < size; i++)
        if (bytes[i] != byte_at(from + i))
            ck_abort_msg("byte %zu is %u, not %u", from + i, bytes[i], byte_at(from + i));
}

/* Goal: the pool lends each buffer once, at its size, and answers -ENOBUFS when all are out; a double return is
 * recognised. */
START_TEST(pool)
{
    int    indexes[COUNT];
    char  *data[COUNT];
    size_t size = 0;
    void  *untouched = &size;

    for (int i = 0; i < COUNT; i++) {
        void *memory = NULL;

        indexes[i] = loop_fixed_buffer_borrow(loop, &memory);
        data[i] = memory;
        ck_assert_int_ge(indexes[i], 0);
        ck_assert_int_lt(indexes[i], COUNT);
        ck_assert_ptr_eq(loop_fixed_buffer_data(loop, indexes[i], &size), data[i]);
        ck_assert_uint_eq(size, SIZE);
        memset(data[i], i, SIZE);
        for (int before = 0; before < i; before++)
            ck_assert(data[before] + SIZE <= data[i] || data[i] + SIZE <= data[before]);
    }
    ck_assert_int_eq(loop_fixed_buffer_borrow(loop, &untouched), -ENOBUFS);
    ck_assert_ptr_eq(untouched, &size);
    ck_assert_uint_eq(buffers(loop).full, 1);
    ck_assert_uint_eq(buffers(loop).borrowed, COUNT);
    ck_assert_int_eq(loop_fixed_buffer_return(loop, indexes[1]), 0);
    ck_assert_int_eq(loop_fixed_buffer_return(loop, indexes[1]), -EINVAL);
    ck_assert_ptr_null(loop_fixed_buffer_data(loop, indexes[1], NULL));
    ck_assert_int_eq(loop_fixed_buffer_borrow(loop, NULL), indexes[1]);
    ck_assert_int_eq(loop_fixed_buffer_return(loop, COUNT), -EINVAL);
    ck_assert_int_eq(loop_fixed_buffer_return(loop, COUNT + OWN), -EINVAL);
    ck_assert_int_eq(loop_fixed_buffer_return(loop, -1), -EINVAL);
    ck_assert_int_eq(loop_fixed_buffer_unregister(loop, indexes[0]), -EINVAL); /* not yours */
    for (int i = 0; i < COUNT; i++)
        ck_assert_int_eq(loop_fixed_buffer_return(loop, indexes[i]), 0);
    ck_assert_uint_eq(buffers(loop).borrowed, 0);
}
END_TEST

/* Goal: reads and writes through the pool give what pread(2) and pwrite(2) give, at an offset, at the file's position,
 * at its end. */
START_TEST(read_write)
{
    void           *memory = NULL;
    int             index = loop_fixed_buffer_borrow(loop, &memory);
    char           *data = memory, got[300];
    struct test_log logs[3] = {0};

    ck_assert_int_eq(read_at(file, data, SIZE, 0, index), SIZE);
    check_bytes(data, 0, SIZE);
    ck_assert_int_eq(read_at(file, data + 100, 500, 12345, index), 500);
    check_bytes(data + 100, 12345, 500);
    ck_assert_int_eq(read_at(file, data, SIZE, FILE_BYTES - 10, index), 10);
    ck_assert_int_eq(read_at(file, data, SIZE, FILE_BYTES, index), 0);
    ck_assert_int_eq(lseek(file, 50, SEEK_SET), 50);
    ck_assert_int_eq(read_at(file, data, 60, LOOP_AT_POSITION, index), 60);
    check_bytes(data, 50, 60);
    ck_assert_int_eq(lseek(file, 0, SEEK_CUR), 110);

    memset(data, 'w', 300);
    ck_assert_int_eq(
        finish(loop_write_fixed(loop, file, data, 300, FILE_BYTES - 100, index, test_log_cb, &logs[0], NULL), &logs[0]),
        300);
    ck_assert_int_eq(pread(file, got, sizeof(got), FILE_BYTES - 100), 300);
    ck_assert_mem_eq(got, data, 300);
    ck_assert_int_eq(loop_fixed_buffer_return(loop, index), 0);
}
END_TEST

/* Goal: failures come as results: memory outside the buffer, an empty place, an index beyond the table, a bad
 * descriptor; arguments that make no sense are refused. */
START_TEST(failures)
{
    void           *memory = NULL;
    int             index = loop_fixed_buffer_borrow(loop, &memory), writing = open("/dev/null", O_WRONLY);
    char           *data = memory;
    struct test_log log = {0};

    ck_assert_int_eq(read_at(file, data + SIZE - 10, 20, 0, index), -EFAULT);
    ck_assert_int_eq(read_at(file, data, 10, 0, COUNT), -EFAULT);
    ck_assert_int_eq(read_at(file, data, 10, 0, COUNT + OWN), -EFAULT);
    ck_assert_int_eq(read_at(file, data, 10, 0, (index + 1) % COUNT), -EFAULT); /* another buffer's memory */
    ck_assert_int_eq(read_at(3999, data, 10, 0, index), -EBADF);
    ck_assert_int_eq(read_at(writing, data, 10, 0, index), -EBADF);
    ck_assert_int_eq(finish(loop_write_fixed(loop, file, &log, 8, 0, index, test_log_cb, &log, NULL), &log), -EFAULT);
    ck_assert_int_eq(loop_read_fixed(loop, -1, data, 10, 0, index, not_called, NULL, NULL), -EBADF);
    ck_assert_int_eq(loop_read_fixed(loop, file, NULL, 10, 0, index, not_called, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_read_fixed(loop, file, data, (size_t)INT32_MAX + 1, 0, index, not_called, NULL, NULL),
                     -EINVAL);
    ck_assert_int_eq(loop_write_fixed(loop, file, data, 10, 0, -1, not_called, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_write_fixed(loop, file, data, 10, 0, 65536, not_called, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_readv_fixed(loop, file, NULL, 1, 0, 0, index, not_called, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_readv_fixed(loop, -1, NULL, 0, 0, 0, index, not_called, NULL, NULL), -EBADF);
    ck_assert_int_eq(loop_writev_fixed(loop, file, (struct iovec *)data, 1025, 0, 0, index, not_called, NULL, NULL),
                     -EINVAL);
    test_run(loop);
    ck_assert_int_eq(loop_fixed_buffer_return(loop, index), 0);
    test_close(writing);
}
END_TEST

/* Goal: what can block ends by cancel and by deadline. Method: an empty pipe, read by the position. */
START_TEST(cancel_deadline)
{
    void           *memory = NULL;
    int             index = loop_fixed_buffer_borrow(loop, &memory), pipes[2];
    struct test_log logs[3] = {0};
    loop_id         id;

    test_pipe(pipes);
    id = loop_read_fixed(loop, pipes[0], memory, 10, LOOP_AT_POSITION, index, test_log_cb, &logs[0], NULL);
    ck_assert_int_gt(id, 0);
    test_turns(loop, 2);
    ck_assert_uint_eq(logs[0].count, 0);
    ck_assert_int_eq(loop_cancel(loop, id), 0);
    test_run(loop);
    test_log_is(&logs[0], -ECANCELED);
    ck_assert_int_eq(finish(loop_read_fixed(loop, pipes[0], memory, 10, LOOP_AT_POSITION, index, test_log_cb, &logs[1],
                                            LOOP_TERMS(.timeout_ns = 3 * LOOP_MILLISECOND)),
                            &logs[1]),
                     -ETIMEDOUT);
    ck_assert_int_gt(loop_read_fixed(loop, pipes[0], memory, 10, LOOP_AT_POSITION, index, test_log_cb, &logs[2], NULL),
                     0);
    test_turns(loop, 2);
    test_write(pipes[1], "piped", 5);
    test_run(loop);
    test_log_is(&logs[2], 5);
    ck_assert_mem_eq(memory, "piped", 5);
    ck_assert_int_eq(loop_fixed_buffer_return(loop, index), 0);
    test_close(pipes[0]);
    test_close(pipes[1]);
}
END_TEST

/* Goal: vectors, of few and of many pieces, are copied and give what preadv(2) and pwritev(2) give. */
START_TEST(vectors)
{
    static const uint32_t counts[] = {1, 4, 5, 100, 1024};
    uint32_t              count = counts[_i];
    void                 *memory = NULL;
    int                   index = loop_fixed_buffer_borrow(loop, &memory);
    char                 *data = memory, got[4096];
    struct iovec         *iov = calloc(count, sizeof(*iov));
    struct test_log       logs[2] = {0};
    loop_id               id;

    for (uint32_t i = 0; i < count; i++)
        iov[i] = (struct iovec){.iov_base = data + (count - 1 - i) * 4, .iov_len = 3};
    id = loop_readv_fixed(loop, file, iov, (int)count, 77, 0, index, test_log_cb, &logs[0], NULL);
    if (!test_has_opcode(loop, IORING_OP_READV_FIXED)) {
        ck_assert_int_eq(id, -EOPNOTSUPP);
        test_skip("loop_readv_fixed and loop_writev_fixed: the kernel lacks them");
    } else {
        memset(iov, 0xee, count * sizeof(*iov));
        ck_assert_int_eq(finish(id, &logs[0]), (int)(3 * count));
        for (uint32_t i = 0; i < count; i++)
            check_bytes(data + (count - 1 - i) * 4, 77 + 3 * i, 3);
        for (uint32_t i = 0; i < count; i++) {
            iov[i] = (struct iovec){.iov_base = data + i * 4, .iov_len = 2};
            memset(data + i * 4, (int)i, 2);
        }
        id = loop_writev_fixed(loop, file, iov, (int)count, 500, 0, index, test_log_cb, &logs[1], NULL);
        memset(iov, 0xee, count * sizeof(*iov));
        ck_assert_int_eq(finish(id, &logs[1]), (int)(2 * count));
        ck_assert_int_eq(pread(file, got, 2 * count, 500), (ssize_t)(2 * count));
        for (uint32_t i = 0; i < count; i++)
            ck_assert_int_eq((unsigned char)got[2 * i], i & 255);
    }
    free(iov);
    ck_assert_int_eq(loop_fixed_buffer_return(loop, index), 0);
}
END_TEST

/* Goal: memory of the user is registered, replaced, emptied; a full table says so. */
START_TEST(own_memory)
{
    char *first = malloc(10000), *second = malloc(30000);
    int   a, b;

    a = loop_fixed_buffer_register(loop, first, 10000);
    ck_assert_int_ge(a, COUNT);
    b = loop_fixed_buffer_register(loop, second, 30000);
    ck_assert_int_ge(b, COUNT);
    ck_assert_int_ne(a, b);
    ck_assert_int_eq(loop_fixed_buffer_register(loop, first, 100), -ENOBUFS);
    ck_assert_uint_eq(buffers(loop).full, 1);
    ck_assert_uint_eq(buffers(loop).registered, 2);
    ck_assert_int_eq(read_at(file, first + 7, 9000, 3, a), 9000);
    check_bytes(first + 7, 3, 9000);
    ck_assert_int_eq(read_at(file, second, 15000, 9, b), 15000);
    check_bytes(second, 9, 15000);
    ck_assert_int_eq(loop_fixed_buffer_update(loop, a, second, 5000), 0);
    ck_assert_int_eq(read_at(file, first, 10, 0, a), -EFAULT);
    ck_assert_int_eq(read_at(file, second, 5000, 1, a), 5000);
    check_bytes(second, 1, 5000);
    ck_assert_int_eq(loop_fixed_buffer_unregister(loop, a), 0);
    ck_assert_int_eq(loop_fixed_buffer_unregister(loop, a), -EINVAL);
    ck_assert_int_eq(read_at(file, second, 10, 0, a), -EFAULT);
    ck_assert_int_eq(loop_fixed_buffer_update(loop, a, second, 5000), -EINVAL);
    ck_assert_int_eq(loop_fixed_buffer_return(loop, b), -EINVAL); /* not borrowed */
    ck_assert_int_eq(loop_fixed_buffer_register(loop, NULL, 10), -EINVAL);
    ck_assert_int_eq(loop_fixed_buffer_register(loop, first, 0), -EINVAL);
    ck_assert_int_eq(loop_fixed_buffer_register(loop, first, ((size_t)1 << 30) + 1), -EINVAL);
    ck_assert_int_eq(loop_fixed_buffer_register(loop, (void *)(uintptr_t)4096, 4096), -EFAULT);
    ck_assert_int_eq(loop_fixed_buffer_register(loop, first, 10000), a);
    ck_assert_uint_eq(buffers(loop).registered, 2);
    free(first);
    free(second);
}
END_TEST

/* Goal: a place may be replaced under an operation in flight, which keeps the old memory. */
START_TEST(update_in_flight)
{
    char           *first = malloc(100), *second = malloc(100);
    int             index = loop_fixed_buffer_register(loop, first, 100), pipes[2];
    struct test_log log = {0};

    test_pipe(pipes);
    ck_assert_int_gt(loop_read_fixed(loop, pipes[0], first, 10, LOOP_AT_POSITION, index, test_log_cb, &log, NULL), 0);
    test_turns(loop, 2);
    ck_assert_int_eq(loop_fixed_buffer_update(loop, index, second, 100), 0);
    test_write(pipes[1], "old", 3);
    test_run(loop);
    test_log_is(&log, 3);
    ck_assert_mem_eq(first, "old", 3);
    ck_assert_int_eq(loop_fixed_buffer_unregister(loop, index), 0);
    free(first);
    free(second);
    test_close(pipes[0]);
    test_close(pipes[1]);
}
END_TEST

/* Goal: a clone reads and writes the same memory under the same indexes; both loops keep their own books. */
START_TEST(cloned)
{
    struct loop    *other = test_loop_new(NULL), *bare = test_loop_new(NULL);
    void           *memory = NULL, *again;
    char           *mine = malloc(5000), *data;
    int             index = loop_fixed_buffer_borrow(loop, &memory), own = loop_fixed_buffer_register(loop, mine, 5000);
    int             r = loop_fixed_buffers_clone(other, loop);
    struct test_log logs[3] = {0};

    if (r == -EOPNOTSUPP) {
        test_skip("loop_fixed_buffers_clone: the kernel lacks it");
    } else {
        ck_assert_int_eq(r, 0);
        data = memory;
        ck_assert_uint_eq(buffers(other).own, COUNT + OWN);
        ck_assert_uint_eq(buffers(other).registered, COUNT + 1);
        ck_assert_int_eq(loop_fixed_buffer_borrow(other, &again), -ENOBUFS);
        ck_assert_ptr_eq(loop_fixed_buffer_data(other, index, NULL), memory);
        ck_assert_int_gt(loop_read_fixed(other, file, data, 100, 5, index, test_log_cb, &logs[0], NULL), 0);
        ck_assert_int_gt(loop_read_fixed(other, file, mine, 100, 6, own, test_log_cb, &logs[1], NULL), 0);
        test_run(other);
        test_log_is(&logs[0], 100);
        test_log_is(&logs[1], 100);
        check_bytes(data, 5, 100);
        check_bytes(mine, 6, 100);
        /* What one forgets the other still has. */
        ck_assert_int_eq(loop_fixed_buffer_unregister(loop, own), 0);
        ck_assert_int_gt(loop_read_fixed(other, file, mine, 100, 8, own, test_log_cb, &logs[2], NULL), 0);
        test_run(other);
        test_log_is(&logs[2], 100);
        check_bytes(mine, 8, 100);
        ck_assert_int_eq(read_at(file, mine, 10, 0, own), -EFAULT);
        ck_assert_int_eq(loop_fixed_buffer_register(other, mine, 100), COUNT + 1);
        ck_assert_int_eq(loop_fixed_buffers_clone(other, loop), -EBUSY);
    }
    ck_assert_int_eq(loop_fixed_buffers_clone(loop, bare), -ENXIO);
    ck_assert_int_eq(loop_fixed_buffers_clone(loop, loop), -EINVAL);
    ck_assert_int_eq(loop_fixed_buffer_return(loop, index), 0);
    test_loop_free(bare);
    test_loop_free(other);
    free(mine);
}
END_TEST

/* Goal: operations on slots of the registered files take registered buffers. */
START_TEST(on_fixed_file)
{
    void *memory = NULL;
    int   index = loop_fixed_buffer_borrow(loop, &memory), slot;

    ck_assert_int_eq(loop_files_init(loop, NULL), 0);
    slot = loop_file_register(loop, file);
    ck_assert_int_eq(read_at(slot, memory, 1000, 40, index), 1000);
    check_bytes(memory, 40, 1000);
    ck_assert_int_eq(loop_fixed_buffer_return(loop, index), 0);
}
END_TEST

static uint64_t handled, handled_bytes;

static void handler_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    (void)of, (void)arg;
    ck_assert_int_gt(result->res, 0);
    handled += result->value;
    handled_bytes += (uint64_t)result->res;
}

/* Goal: direct mode and chains take registered buffers like all others. Method: a read into one link's buffer, written
 * elsewhere by the next. */
START_TEST(direct_and_chained)
{
    void           *memory = NULL;
    int             index = loop_fixed_buffer_borrow(loop, &memory), handler;
    struct test_log logs[2] = {0};
    char            got[100];

    handler = loop_handler_register(loop, handler_cb, NULL, 0);
    ck_assert_int_gt(loop_read_fixed(loop, file, memory, 64, 10, index, LOOP_HANDLER(handler), LOOP_VALUE(5), NULL), 0);
    test_run(loop);
    ck_assert_uint_eq(handled, 5);
    ck_assert_uint_eq(handled_bytes, 64);
    check_bytes(memory, 10, 64);
    ck_assert_int_eq(loop_chain_begin(loop, 2, 0), 0);
    ck_assert_int_gt(loop_read_fixed(loop, file, memory, 100, 33, index, test_log_cb, &logs[0], NULL), 0);
    ck_assert_int_gt(loop_write_fixed(loop, file, memory, 100, FILE_BYTES, index, test_log_cb, &logs[1], NULL), 0);
    ck_assert_int_eq(loop_chain_end(loop), 0);
    test_run(loop);
    test_log_is(&logs[0], 100);
    test_log_is(&logs[1], 100);
    ck_assert_int_eq(pread(file, got, sizeof(got), FILE_BYTES), 100);
    check_bytes(got, 33, 100);
    ck_assert_int_eq(loop_fixed_buffer_return(loop, index), 0);
}
END_TEST

/* Goal: the defaults are as stated; bad options are refused; calls without a table say so. */
START_TEST(options)
{
    struct loop *bare = test_loop_new(NULL);
    void        *memory;
    size_t       size;
    int          index;

    ck_assert_int_eq(loop_fixed_buffer_borrow(bare, &memory), -ENXIO);
    ck_assert_int_eq(loop_fixed_buffer_return(bare, 0), -EINVAL);
    ck_assert_int_eq(loop_fixed_buffer_register(bare, &index, 4), -ENXIO);
    ck_assert_int_eq(loop_fixed_buffer_update(bare, 0, &index, 4), -ENXIO);
    ck_assert_int_eq(loop_fixed_buffer_unregister(bare, 0), -ENXIO);
    ck_assert_ptr_null(loop_fixed_buffer_data(bare, 0, &size));
    ck_assert_uint_eq(buffers(bare).count + buffers(bare).own, 0);
    ck_assert_int_eq(loop_fixed_buffers_init(bare, &(struct loop_fixed_buffers_options){.flags = 1}), -EINVAL);
    ck_assert_int_eq(loop_fixed_buffers_init(bare, &(struct loop_fixed_buffers_options){.own = 16385}), -EINVAL);
    ck_assert_int_eq(
        loop_fixed_buffers_init(bare, &(struct loop_fixed_buffers_options){.count = 16384, .size = 1, .own = 1}),
        -EINVAL);
    ck_assert_int_eq(
        loop_fixed_buffers_init(bare, &(struct loop_fixed_buffers_options){.count = 1, .size = (1u << 30) + 1}),
        -EINVAL);
    ck_assert_int_eq(loop_fixed_buffers_init(bare, NULL), 0);
    ck_assert_int_eq(loop_fixed_buffers_init(bare, NULL), -EBUSY);
    ck_assert_uint_eq(buffers(bare).count, 64);
    ck_assert_uint_eq(buffers(bare).own, 0);
    index = loop_fixed_buffer_borrow(bare, &memory);
    ck_assert_ptr_nonnull(loop_fixed_buffer_data(bare, index, &size));
    ck_assert_uint_eq(size, 16384);
    ck_assert_uint_eq((uintptr_t)memory % 4096, 0);
    test_loop_drop(bare); /* with a buffer out: its memory goes with the loop */
}
END_TEST

/* Goal: more buffers than the kernel is told of in one call; the last of them works. */
START_TEST(many)
{
    struct loop    *of = test_loop_new(NULL);
    void           *memory = NULL;
    int             last = -1;
    struct test_log log = {0};

    ck_assert_int_eq(loop_fixed_buffers_init(of, &(struct loop_fixed_buffers_options){.count = 150, .size = 512}), 0);
    for (int i = 0; i < 150; i++)
        last = loop_fixed_buffer_borrow(of, &memory);
    ck_assert_int_eq(last, 149);
    ck_assert_int_gt(loop_read_fixed(of, file, memory, 512, 0, last, test_log_cb, &log, NULL), 0);
    test_run(of);
    test_log_is(&log, 512);
    check_bytes(memory, 0, 512);
    for (int i = 0; i < 150; i++)
        ck_assert_int_eq(loop_fixed_buffer_return(of, i), 0);
    test_loop_free(of);
}
END_TEST

/* Goal: each allocation that fails gives -ENOMEM and leaves nothing behind. */
START_TEST(no_memory)
{
    for (uint64_t nth = 1;; nth++) {
        struct loop *of = test_loop_new(NULL);
        int          r;

        test_memory.fail_at = test_memory.calls + nth;
        r = loop_fixed_buffers_init(of, &(struct loop_fixed_buffers_options){.count = 2, .size = 4096});
        test_memory.fail_at = 0;
        if (r == 0) {
            ck_assert_uint_eq(nth, 3);
            test_loop_free(of);
            break;
        }
        ck_assert_int_eq(r, -ENOMEM);
        ck_assert_int_eq(loop_fixed_buffer_borrow(of, NULL), -ENXIO);
        ck_assert_int_eq(loop_fixed_buffers_init(of, NULL), 0);
        test_loop_free(of);
    }
}
END_TEST

/* Goal: an ordinary user meets RLIMIT_MEMLOCK as -ENOMEM, nothing is left of the attempt, and less works. Method: a
 * child with a low limit, under another user where this one is root. */
static void as_ordinary_user(void *arg)
{
    const struct rlimit                     limit = {256 * 1024, 256 * 1024};
    const struct loop_fixed_buffers_options much = {.count = 64, .size = 16384}, little = {.count = 4, .size = 4096};
    struct loop                            *of = NULL;
    const size_t                            size = 1 << 20;
    char                                   *mine = malloc(size); /* 6.1 takes no static memory */

    (void)arg;
    TEST_TRUE_IN_CHILD(mine != NULL && setrlimit(RLIMIT_MEMLOCK, &limit) == 0);
    TEST_TRUE_IN_CHILD(geteuid() != 0 || setuid(60000 + (uid_t)getpid() % 5000) == 0);
    TEST_TRUE_IN_CHILD(loop_create(&of, &(struct loop_options){.sq_entries = 8, .cq_entries = 16}) == 0);
    TEST_TRUE_IN_CHILD(loop_fixed_buffers_init(of, &much) == -ENOMEM);
    TEST_TRUE_IN_CHILD(loop_fixed_buffers_init(of, &little) == 0);
    loop_destroy(of);
    TEST_TRUE_IN_CHILD(loop_create(&of, &(struct loop_options){.sq_entries = 8, .cq_entries = 16}) == 0);
    TEST_TRUE_IN_CHILD(loop_fixed_buffers_init(of, &(struct loop_fixed_buffers_options){.own = 2}) == 0);
    TEST_TRUE_IN_CHILD(loop_fixed_buffer_register(of, mine, size) == -ENOMEM);
    TEST_TRUE_IN_CHILD(loop_fixed_buffer_register(of, mine, 4096) >= 0);
    loop_destroy(of);
    free(mine);
}

START_TEST(memlock)
{
    test_in_child(as_ordinary_user, NULL);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("fixed_buffer");
    TCase *tcase = test_case(suite, "buffers");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, pool);
    tcase_add_test(tcase, read_write);
    tcase_add_test(tcase, failures);
    tcase_add_test(tcase, cancel_deadline);
    tcase_add_loop_test(tcase, vectors, 0, 5);
    tcase_add_test(tcase, own_memory);
    tcase_add_test(tcase, update_in_flight);
    tcase_add_test(tcase, cloned);
    tcase_add_test(tcase, on_fixed_file);
    tcase_add_test(tcase, direct_and_chained);
    tcase_add_test(tcase, options);
    tcase_add_test(tcase, many);
    tcase_add_test(tcase, no_memory);
    tcase_add_test(tcase, memlock);
    return suite;
}
