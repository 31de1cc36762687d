/* tests/fs/writer_world.h: a merging file writer on a file "f" in the scratch directory, and what was told of it.
 * Included once by each program. */
#ifndef RINGLOOP_TESTS_FS_WRITER_WORLD_H
#define RINGLOOP_TESTS_FS_WRITER_WORLD_H

#include "tests/fs/scratch.h"

#include <fcntl.h>

enum { WRITES_MAX = 4096, BLOCK = 100 };

struct write_log {
    uint32_t calls;
    uint32_t turn; /* of all callbacks: when this one came, counted from 1 */
    int      error;
    size_t   bytes;
};

static struct loop       *loop;
static struct loop_writer writer;
static struct write_log   logs[WRITES_MAX];
static uint32_t           calls, closes, inside;
static char               text[1 << 20]; /* what is written, mostly */

static inline void written(struct loop_writer *by, int error, size_t bytes, void *arg)
{
    struct write_log *log = arg;

    ck_assert_ptr_eq(by, &writer);
    ck_assert_uint_eq(inside, 0);
    log->calls++;
    log->turn = ++calls;
    log->error = error;
    log->bytes = bytes;
}

static inline void closed(struct loop_writer *by)
{
    ck_assert_ptr_eq(by, &writer);
    ck_assert_uint_eq(inside, 0);
    closes++;
    calls++;
}

static inline int file_open(const char *name, int flags)
{
    int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | flags, 0600);

    ck_assert_int_ge(fd, 0);
    return fd;
}

static inline void start_on(int fd, const struct loop_writer_options *options)
{
    if (loop == NULL)
        loop = test_loop_new(NULL);
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (char)('a' + (i * 7 + i / 251) % 26);
    ck_assert_int_eq(loop_writer_open(loop, &writer, fd, options), 0);
}

static inline void start(const struct loop_writer_options *options)
{
    start_on(file_open("f", 0), options);
}

static inline int put(uint32_t i, const void *data, size_t size, int64_t offset, const struct loop_writer_terms *terms)
{
    int r;

    inside++;
    r = loop_writer_write(&writer, data, size, offset, written, &logs[i], terms);
    inside--;
    return r;
}

/* Block i, whose bytes are text's at its place. */
static inline void put_block(uint32_t i)
{
    ck_assert_int_eq(put(i, text + (size_t)i * BLOCK, BLOCK, (int64_t)i * BLOCK, NULL), 0);
}

static inline void log_is(uint32_t i, int error, size_t bytes)
{
    ck_assert_msg(logs[i].calls == 1, "write %u was told %u times", i, logs[i].calls);
    ck_assert_msg(logs[i].error == error && logs[i].bytes == bytes, "write %u: %d, %zu bytes, not %d, %zu", i,
                  logs[i].error, logs[i].bytes, error, bytes);
}

static inline struct loop_writer_stats stats(void)
{
    struct loop_writer_stats result;

    loop_writer_stats_get(&writer, &result);
    return result;
}

static inline void until(uint32_t count)
{
    test_run_until(loop, &calls, count);
}

static inline void finish(void)
{
    loop_writer_close(&writer, closed);
    test_run_until(loop, &closes, 1);
    test_loop_free(loop);
}

static inline void file_is(const char *name, const void *data, size_t size)
{
    size_t found;
    char  *all = scratch_read(name, &found);

    ck_assert_uint_eq(found, size);
    ck_assert_int_eq(memcmp(all, data, size), 0);
    free(all);
}

#endif
