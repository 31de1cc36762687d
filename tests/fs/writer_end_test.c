/* tests/fs/writer_end_test.c: the merging file writer: errors, cancelling, limits, kinds of files, its end. */
#include "tests/fs/writer_world.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>

/* ---- errors */

/* Goal: what has room lands, what has none is told, byte by byte. Method: a tmpfs that fills up in the midst of a run;
 * afterwards what lies in the room that is there still lands. */
START_TEST(disk_full)
{
    enum { SIZE = 3000, COUNT = 60 };
    size_t room = 0, found;
    char  *all;

    if (!scratch_mount("small", 65536)) {
        test_skip("a tmpfs cannot be mounted");
        return;
    }
    start_on(file_open("small/f", 0), NULL);
    for (uint32_t i = 0; i < COUNT; i++)
        ck_assert_int_eq(put(i, text + (size_t)i * SIZE, SIZE, (int64_t)i * SIZE, NULL), 0);
    ck_assert_int_eq(loop_writer_sync(&writer, written, &logs[COUNT]), 0);
    until(COUNT + 1);
    all = scratch_read("small/f", &found);
    for (uint32_t i = 0; i < COUNT; i++) {
        ck_assert_uint_eq(logs[i].calls, 1);
        if (logs[i].error == 0)
            ck_assert_uint_eq(logs[i].bytes, SIZE);
        else
            ck_assert_int_eq(logs[i].error, -ENOSPC);
        ck_assert(logs[i].error == 0 || logs[i].bytes < SIZE);
        ck_assert_int_eq(memcmp(all + (size_t)i * SIZE, text + (size_t)i * SIZE, logs[i].bytes), 0);
        room += logs[i].bytes;
    }
    free(all);
    ck_assert_uint_eq(room, stats().bytes);
    ck_assert_uint_ge(room, 40000);
    ck_assert_int_eq(logs[0].error, 0);
    ck_assert_int_eq(logs[COUNT - 1].error, -ENOSPC);
    log_is(COUNT, -ENOSPC, 0); /* the sync knows */
    put_block(COUNT + 1);
    ck_assert_int_eq(loop_writer_sync(&writer, written, &logs[COUNT + 2]), 0);
    until(COUNT + 3);
    log_is(COUNT + 1, 0, BLOCK);
    log_is(COUNT + 2, 0, 0); /* told once */
    finish();
}
END_TEST

/* Goal: a limit of the file's size cuts a run where it stands. Method: RLIMIT_FSIZE in the midst of a write; far away,
 * since libcheck writes to a file, too. */
START_TEST(too_big)
{
    enum { BASE = 64 << 20, LIMIT = BASE + 1050, COUNT = 20 };
    struct rlimit limit = {LIMIT, RLIM_INFINITY};
    char          found[1100];
    int           fd;

    ck_assert_ptr_ne(signal(SIGXFSZ, SIG_IGN), SIG_ERR);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    start(&(struct loop_writer_options){.position = BASE});
    for (uint32_t i = 0; i < COUNT; i++)
        ck_assert_int_eq(put(i, text + (size_t)i * BLOCK, BLOCK, LOOP_AT_POSITION, NULL), 0);
    until(COUNT);
    for (uint32_t i = 0; i < COUNT; i++)
        log_is(i, i < 10 ? 0 : -EFBIG, i < 10 ? BLOCK : i == 10 ? 50 : 0);
    fd = file_open("f", 0);
    ck_assert_int_eq(pread(fd, found, sizeof(found), BASE), 1050);
    ck_assert_int_eq(memcmp(found, text, 1050), 0);
    test_close(fd);
    finish();
}
END_TEST

/* Goal: one who gives memory that is none hurts nobody else. Method: an address in the midst of a run that cannot be
 * read; half of it can. */
START_TEST(bad_memory)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char  *memory = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    ck_assert_ptr_ne(memory, MAP_FAILED);
    memset(memory, 'm', page);
    ck_assert_int_eq(mprotect(memory + page, page, PROT_NONE), 0);
    start(NULL);
    for (uint32_t i = 0; i < 20; i++) {
        if (i == 7)
            ck_assert_int_eq(put(i, memory + page - 40, BLOCK, (int64_t)i * BLOCK, NULL), 0);
        else if (i == 13)
            ck_assert_int_eq(put(i, memory + page, BLOCK, (int64_t)i * BLOCK, NULL), 0);
        else
            put_block(i);
    }
    until(20);
    for (uint32_t i = 0; i < 20; i++) {
        if (i != 7 && i != 13)
            log_is(i, 0, BLOCK);
    }
    ck_assert_int_eq(logs[7].error, -EFAULT);
    ck_assert_uint_le(logs[7].bytes, 40);
    log_is(13, -EFAULT, 0);
    {
        char *all = scratch_read("f", NULL);

        ck_assert_int_eq(memcmp(all, text, 7 * BLOCK), 0);
        ck_assert_int_eq(memcmp(all + 8 * BLOCK, text + 8 * BLOCK, 5 * BLOCK), 0);
        ck_assert_int_eq(memcmp(all + 14 * BLOCK, text + 14 * BLOCK, 6 * BLOCK), 0);
        free(all);
    }
    finish();
    ck_assert_int_eq(munmap(memory, 2 * page), 0);
}
END_TEST

/* Goal: an error of the whole vector hits only whose fault it is. Method: O_DIRECT, where one write of many is not
 * aligned. */
START_TEST(direct_unaligned)
{
    enum { SIZE = 4096, COUNT = 10 };
    char *memory;
    int   fd = open("f", O_RDWR | O_CREAT | O_CLOEXEC | O_DIRECT, 0600);

    if (fd < 0) {
        test_skip("no O_DIRECT here");
        return;
    }
    ck_assert_int_eq(posix_memalign((void **)&memory, SIZE, (COUNT + 1) * SIZE), 0);
    memset(memory, 'd', (COUNT + 1) * SIZE);
    start_on(fd, NULL);
    for (uint32_t i = 0; i < COUNT; i++)
        ck_assert_int_eq(put(i, memory + i * SIZE + (i == 4 ? 1 : 0), SIZE, (int64_t)i * SIZE, NULL), 0);
    until(COUNT);
    for (uint32_t i = 0; i < COUNT; i++) {
        if (i != 4)
            log_is(i, 0, SIZE);
    }
    ck_assert_uint_eq(logs[4].calls, 1);
    ck_assert(logs[4].error == -EINVAL || logs[4].error == 0); /* some devices take it */
    finish();
    free(memory);
}
END_TEST

/* ---- cancelling, limits */

/* Goal: cancelled writes have not left, end once, and not from inside; others go on. Method: every third by its arg,
 * before a turn; then all; those in flight end by themselves. */
START_TEST(cancelled)
{
    start(NULL);
    for (uint32_t i = 0; i < 30; i++)
        put_block(i);
    inside++;
    for (uint32_t i = 0; i < 30; i += 3)
        ck_assert_int_eq(loop_writer_cancel(&writer, &logs[i]), 1);
    ck_assert_int_eq(loop_writer_cancel(&writer, &logs[0]), 0);
    inside--;
    until(30);
    for (uint32_t i = 0; i < 30; i++)
        log_is(i, i % 3 == 0 ? -ECANCELED : 0, i % 3 == 0 ? 0 : BLOCK);
    for (uint32_t i = 100; i < 110; i++)
        put_block(i);
    ck_assert_int_eq(loop_writer_sync(&writer, written, &logs[200]), 0);
    ck_assert_int_eq(loop_writer_cancel_all(&writer), 10);
    until(41);
    for (uint32_t i = 100; i < 110; i++)
        log_is(i, -ECANCELED, 0);
    log_is(200, 0, 0);
    finish();
}
END_TEST

/* Goal: the same of writes that are sorted already and wait for a place. Method: many runs, one at a time, cancelled
 * when the first of them are told. */
START_TEST(cancelled_in_the_batch)
{
    enum { COUNT = 200 };
    uint32_t ended = 0;
    int      asked;

    start(&(struct loop_writer_options){.runs_max = 1});
    for (uint32_t i = 0; i < COUNT; i++)
        put_block(2 * i);
    until(3);
    asked = loop_writer_cancel_all(&writer);
    ck_assert_int_ge(asked, 1);
    until(COUNT);
    for (uint32_t i = 0; i < COUNT; i++) {
        ck_assert_uint_eq(logs[2 * i].calls, 1);
        ended += logs[2 * i].error == -ECANCELED;
    }
    ck_assert_uint_eq(ended, (uint32_t)asked);
    ck_assert_uint_eq(stats().runs, COUNT - ended);
    finish();
}
END_TEST

static uint32_t full_told, low_told;

static void on_water(struct loop_writer *by, bool full)
{
    ck_assert_ptr_eq(by, &writer);
    ck_assert_uint_eq(inside, 0);
    if (full)
        full_told++;
    else
        low_told++;
}

/* Goal: the limit of bytes refuses and counts; the marks are told in turn. Method: blocks up to the limit. */
START_TEST(water)
{
    start(&(struct loop_writer_options){
        .bytes_max = 20 * BLOCK, .bytes_high = 10 * BLOCK, .bytes_low = 2 * BLOCK, .on_water = on_water});
    for (uint32_t i = 0; i < 20; i++)
        put_block(i);
    ck_assert_int_eq(put(20, text, 1, 0, NULL), -ENOBUFS);
    ck_assert_uint_eq(stats().refused, 1);
    ck_assert_uint_eq(test_stats(loop).writes_full, 1);
    test_run_until(loop, &full_told, 1);
    test_run_until(loop, &low_told, 1);
    for (uint32_t i = 30; i < 40; i++)
        put_block(i);
    until(30);
    ck_assert_uint_eq(full_told, 1);
    ck_assert_uint_eq(low_told, 1);
    finish();
}
END_TEST

/* ---- kinds of files */

/* Goal: a file that appends: all writes land whole at its end, in order, beside those of others. Method: O_APPEND, or
 * the flag on a slot; another descriptor appends in between. */
START_TEST(appending)
{
    enum { COUNT = 200 };
    struct loop_writer_options options = {.flags = _i == 0 ? 0 : LOOP_WRITER_APPEND};
    int                        other, fd = file_open("f", _i == 0 ? O_APPEND : 0), at = fd;
    uint32_t                   next = 0, others = 0;
    size_t                     size;
    char                      *all;

    loop = test_loop_new(NULL);
    if (_i == 1) {
        ck_assert_int_eq(loop_files_init(loop, NULL), 0);
        at = loop_file_register(loop, fd);
        ck_assert_int_ge(at, 0);
    }
    start_on(at, &options);
    other = open("f", O_WRONLY | O_APPEND | O_CLOEXEC);
    ck_assert_int_eq(put(0, "x", 1, 0, NULL), -EINVAL);
    ck_assert_int_eq(loop_writer_position(&writer), -EINVAL);
    ck_assert_int_eq(loop_writer_seek(&writer, 0), -EINVAL);
    for (uint32_t i = 0; i < COUNT; i++) {
        char line[8];

        (void)snprintf(line, sizeof(line), "%05u\n", i);
        ck_assert_int_eq(put(i, line, 6, LOOP_AT_POSITION, &(struct loop_writer_terms){.flags = LOOP_WRITER_COPY}), 0);
        if (i % 10 == 0) {
            test_turns(loop, 1);
            test_write(other, "other\n", 6);
        }
        if (i % 50 == 7)
            ck_assert_int_eq(loop_writer_cancel(&writer, &logs[i]), 1);
    }
    until(COUNT);
    all = scratch_read("f", &size);
    ck_assert_uint_eq(size, (COUNT - 4 + COUNT / 10) * 6);
    for (size_t i = 0; i < size; i += 6) {
        if (memcmp(all + i, "other\n", 6) == 0) {
            others++;
            continue;
        }
        next += next % 50 == 7;
        ck_assert_uint_eq((uint32_t)strtoul(all + i, NULL, 10), next++);
    }
    ck_assert_uint_eq(others, COUNT / 10);
    free(all);
    test_close(other);
    if (_i == 1)
        test_close(fd);
    finish();
}
END_TEST

/* Goal: a registered file is written to, and its slot closed. Method: an automatic slot filled by an open. */
START_TEST(registered_file)
{
    struct test_log opened = {0};

    loop = test_loop_new(NULL);
    ck_assert_int_eq(loop_files_init(loop, NULL), 0);
    ck_assert_int_gt(
        loop_openat_direct(loop, AT_FDCWD, "f", O_RDWR | O_CREAT, 0600, LOOP_SLOT_AUTO, test_log_cb, &opened, NULL), 0);
    test_run(loop);
    ck_assert_int_ge(opened.last.res, LOOP_FIXED_FLAG);
    start_on(opened.last.res, NULL);
    for (uint32_t i = 0; i < 10; i++)
        put_block(i);
    ck_assert_int_eq(loop_writer_sync(&writer, written, &logs[10]), 0);
    until(11);
    log_is(10, 0, 0);
    ck_assert_int_eq(loop_writer_fd(&writer), opened.last.res);
    file_is("f", text, 10 * BLOCK);
    finish();
}
END_TEST

/* Goal: bad values are refused, and change nothing. Method: each of them. */
START_TEST(bad_arguments)
{
    struct loop_writer zero = {0};
    int                fds[2], read_only;
    char               byte = 0;

    start(NULL);
    ck_assert_int_eq(loop_writer_open(loop, &writer, 0, NULL), -EBUSY);
    ck_assert_int_eq(loop_writer_open(loop, NULL, 0, NULL), -EINVAL);
    ck_assert_int_eq(loop_writer_open(loop, &zero, -1, NULL), -EBADF);
    ck_assert_int_eq(loop_writer_open(loop, &zero, 999, NULL), -EBADF);
    test_pipe(fds);
    ck_assert_int_eq(loop_writer_open(loop, &zero, fds[1], NULL), -EINVAL);
    read_only = open("f", O_RDONLY | O_CLOEXEC);
    ck_assert_int_eq(loop_writer_open(loop, &zero, read_only, NULL), -EBADF);
    const struct loop_writer_options wrong[] = {
        {.flags = 1u << 4},
        {.runs_max = 257},
        {.position = -1},
        {.bytes_max = 1000, .bytes_low = 500},
        {.flags = LOOP_WRITER_APPEND, .position = 1},
        {.batch_bytes = UINT32_MAX},
    };
    for (size_t i = 0; i < TEST_COUNT(wrong); i++)
        ck_assert_int_eq(loop_writer_open(loop, &zero, loop_writer_fd(&writer), &wrong[i]), -EINVAL);
    ck_assert_int_eq(put(0, text, 0, 0, NULL), -EINVAL);
    ck_assert_int_eq(put(0, NULL, 1, 0, NULL), -EINVAL);
    ck_assert_int_eq(put(0, text, 1, -2, NULL), -EINVAL);
    ck_assert_int_eq(put(0, text, (size_t)1 << 31, 0, NULL), -EINVAL);
    ck_assert_int_eq(put(0, text, 1, 0, &(struct loop_writer_terms){.flags = 2}), -EINVAL);
    ck_assert_int_eq(loop_writer_writev(&writer, NULL, 1, 0, written, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_writer_writev(&writer, &(struct iovec){&byte, 1}, 1025, 0, written, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_writer_write(&zero, text, 1, 0, written, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_writer_sync(&zero, written, NULL), -EINVAL);
    ck_assert_int_eq(loop_writer_flush(&zero), -EINVAL);
    ck_assert_int_eq(loop_writer_cancel_all(&zero), -EINVAL);
    ck_assert_int_eq(loop_writer_position(&zero), -EINVAL);
    ck_assert_int_eq(loop_writer_fd(&zero), -EBADF);
    loop_writer_close(&zero, closed);
    test_turns(loop, 3);
    ck_assert_uint_eq(calls, 0);
    test_close(fds[0]);
    test_close(fds[1]);
    test_close(read_only);
    finish();
}
END_TEST

/* ---- life */

/* Goal: a close lets everything land first, calls back last and once, and the structure can be opened anew in there.
 * Method: writes and a close in one turn; a second close; a descriptor that is kept. */
static void open_anew(struct loop_writer *by)
{
    closes++;
    ck_assert_int_eq(loop_writer_fd(by), -EBADF);
    ck_assert_int_eq(loop_writer_open(loop, by, file_open("g", 0), NULL), 0);
    ck_assert_int_eq(loop_writer_write(by, "again", 5, 0, written, &logs[50], NULL), 0);
}

START_TEST(close_waits)
{
    int fd = file_open("f", 0);

    start_on(fd, &(struct loop_writer_options){.flags = LOOP_WRITER_KEEP_FD});
    for (uint32_t i = 0; i < 10; i++)
        put_block(i);
    ck_assert(!loop_writer_closing(&writer));
    loop_writer_close(&writer, open_anew);
    loop_writer_close(&writer, closed);
    ck_assert(loop_writer_closing(&writer));
    ck_assert_int_eq(put(20, text, 1, 0, NULL), -EINVAL);
    test_run_until(loop, &closes, 1);
    ck_assert_uint_eq(calls, 10);
    file_is("f", text, 10 * BLOCK);
    test_close(fd);
    closes = 0;
    finish();
    log_is(50, 0, 5);
    file_is("g", "again", 5);
}
END_TEST

static void close_inside(struct loop_writer *by, int error, size_t bytes, void *arg)
{
    (void)bytes;
    ck_assert_int_eq(error, 0);
    calls++;
    if (arg != NULL)
        loop_writer_close(by, closed);
}

/* Goal: a callback may close; what is queued still lands. Method: the first of many callbacks does. */
START_TEST(closed_in_a_callback)
{
    start(NULL);
    for (uint32_t i = 0; i < 10; i++)
        ck_assert_int_eq(loop_writer_write(&writer, text + (size_t)i * BLOCK, BLOCK, (int64_t)i * BLOCK, close_inside,
                                           i == 0 ? &writer : NULL, NULL),
                         0);
    test_run(loop);
    ck_assert_uint_eq(calls, 11);
    ck_assert_uint_eq(closes, 1);
    file_is("f", text, 10 * BLOCK);
    test_loop_free(loop);
}
END_TEST

/* Goal: the end of the loop ends every write, and closes. Method: queued (0), waiting for a deadline (1), in flight
 * (2).
 */
START_TEST(loop_ends)
{
    start(&(struct loop_writer_options){.on_close = closed, .deadline_ns = _i == 1 ? LOOP_SECOND : 0, .runs_max = 1});
    for (uint32_t i = 0; i < 10; i++)
        put_block(i * 2);
    ck_assert_int_eq(loop_writer_sync(&writer, written, &logs[100]), 0);
    if (_i == 2)
        test_turns(loop, 1);
    test_loop_drop(loop);
    ck_assert_uint_eq(closes, 1);
    for (uint32_t i = 0; i < 10; i++) {
        ck_assert_uint_eq(logs[i * 2].calls, 1);
        ck_assert(logs[i * 2].error == 0 || logs[i * 2].error == -ECANCELED);
        ck_assert_uint_eq(logs[i * 2].bytes, logs[i * 2].error == 0 ? BLOCK : 0);
    }
    ck_assert_uint_eq(logs[100].calls, 1);
}
END_TEST

/* Goal: with LOOP_WRITER_UNREF only what is queued keeps the loop alive, a deadline included. Method: runs that return.
 */
START_TEST(unreferenced)
{
    start(&(struct loop_writer_options){.flags = LOOP_WRITER_UNREF, .deadline_ns = LOOP_MILLISECOND});
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_DEFAULT), 0);
    put_block(0);
    test_run(loop);
    log_is(0, 0, BLOCK);
    ck_assert_int_eq(loop_writer_sync(&writer, written, &logs[1]), 0);
    test_run(loop);
    log_is(1, 0, 0);
    ck_assert_ptr_eq(loop_writer_loop(&writer), loop);
    finish();
}
END_TEST

/* Goal: the same can be said at any time, also while something is queued, as often as one likes; closing, it keeps the
 * loop alive. Method: runs that return. */
START_TEST(references_change)
{
    struct loop_writer none = {0};

    loop_writer_ref(&none);
    ck_assert(!loop_writer_has_ref(&none));
    start(&(struct loop_writer_options){.deadline_ns = LOOP_MILLISECOND});
    for (int i = 0; i < 2; i++) {
        ck_assert(loop_writer_has_ref(&writer) && loop_alive(loop));
        put_block((uint32_t)i);
        loop_writer_unref(&writer);
        loop_writer_unref(&writer);
        ck_assert(!loop_writer_has_ref(&writer) && loop_alive(loop)); /* for the write */
        ck_assert_int_eq(loop_run(loop, LOOP_RUN_DEFAULT), 0);
        log_is((uint32_t)i, 0, BLOCK);
        ck_assert(!loop_alive(loop));
        loop_writer_ref(&writer);
        loop_writer_ref(&writer);
    }
    loop_writer_unref(&writer);
    loop_writer_close(&writer, closed);
    loop_writer_unref(&writer); /* closing: nothing */
    ck_assert(loop_writer_has_ref(&writer) && loop_alive(loop));
    test_run(loop);
    ck_assert_uint_eq(closes, 1);
    ck_assert(!loop_writer_has_ref(&writer));
    test_loop_free(loop);
}
END_TEST

static void child_writes(void *arg)
{
    uint32_t before = calls;

    (void)arg;
    TEST_TRUE_IN_CHILD(loop_fork(loop) == 0);
    for (int i = 0; i < 10000 && calls < 200; i++)
        TEST_TRUE_IN_CHILD(loop_run(loop, LOOP_RUN_NOWAIT) >= 0);
    for (uint32_t i = before; i < 200; i++)
        TEST_TRUE_IN_CHILD(logs[i].calls == 1 && logs[i].error == -EOWNERDEAD && logs[i].bytes == 0);
    TEST_TRUE_IN_CHILD(put(300, "child", 5, 0, NULL) == 0);
    loop_writer_close(&writer, closed);
    TEST_TRUE_IN_CHILD(loop_run(loop, LOOP_RUN_DEFAULT) == 0 && closes == 1);
    TEST_TRUE_IN_CHILD(logs[300].error == 0 && logs[300].bytes == 5);
    TEST_TRUE_IN_CHILD(loop_destroy(loop) == 0);
}

/* Goal: in a child what was queued ends, and its own is written; the parent's lands all the same. Method: a fork with
 * some in flight, in the batch and queued. */
START_TEST(in_a_child)
{
    start(&(struct loop_writer_options){.runs_max = 1});
    for (uint32_t i = 0; i < 100; i++)
        ck_assert_int_eq(put(i, text + i, 10, 100 + i * 20, NULL), 0);
    test_turns(loop, 1);
    for (uint32_t i = 100; i < 200; i++)
        ck_assert_int_eq(put(i, text + i, 10, 100 + i * 20, NULL), 0);
    ck_assert_uint_eq(calls, 0);
    test_in_child(child_writes, NULL);
    until(200);
    {
        char *all = scratch_read("f", NULL);

        ck_assert_int_eq(memcmp(all, "child", 5), 0);
        for (uint32_t i = 0; i < 200; i++) {
            log_is(i, 0, 10);
            ck_assert_int_eq(memcmp(all + 100 + i * 20, text + i, 10), 0);
        }
        free(all);
    }
    finish();
}
END_TEST

static void *run_here(void *arg)
{
    (void)arg;
    loop_writer_close(&writer, closed);
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_DEFAULT), 0);
    ck_assert_int_eq(loop_disown(loop), 0);
    return NULL;
}

/* Goal: nothing is lost or done twice when the loop moves to another thread. Method: many runs in flight and queued,
 * appending (1) or not (0). */
START_TEST(on_another_thread)
{
    enum { COUNT = 300 };
    pthread_t thread;
    int       r = -EBUSY;

    start(&(struct loop_writer_options){.flags = _i == 0 ? 0 : LOOP_WRITER_APPEND});
    for (uint32_t i = 0; i < COUNT; i++) {
        ck_assert_int_eq(put(i, text + (size_t)i * BLOCK, BLOCK, LOOP_AT_POSITION, NULL), 0);
        if (i % 20 == 0)
            test_turns(loop, 1);
    }
    for (int i = 0; i < 100 && r == -EBUSY; i++)
        r = loop_disown(loop);
    ck_assert_int_eq(r, 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, run_here, NULL), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    ck_assert_uint_eq(closes, 1);
    for (uint32_t i = 0; i < COUNT; i++)
        log_is(i, 0, BLOCK);
    file_is("f", text, COUNT * BLOCK);
    test_loop_free(loop);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("fs/writer_end");
    TCase *tc = test_case(suite, "errors");

    tcase_add_checked_fixture(tc, scratch_make, scratch_remove);
    tcase_add_test(tc, disk_full);
    tcase_add_test(tc, too_big);
    tcase_add_test(tc, bad_memory);
    tcase_add_test(tc, direct_unaligned);
    tcase_add_test(tc, cancelled);
    tcase_add_test(tc, cancelled_in_the_batch);
    tcase_add_test(tc, water);

    tc = test_case(suite, "life");
    tcase_add_checked_fixture(tc, scratch_make, scratch_remove);
    tcase_add_loop_test(tc, appending, 0, 2);
    tcase_add_test(tc, registered_file);
    tcase_add_test(tc, bad_arguments);
    tcase_add_test(tc, close_waits);
    tcase_add_test(tc, closed_in_a_callback);
    tcase_add_loop_test(tc, loop_ends, 0, 3);
    tcase_add_test(tc, unreferenced);
    tcase_add_test(tc, references_change);
    tcase_add_test(tc, in_a_child);
    tcase_add_loop_test(tc, on_another_thread, 0, 2);
    return suite;
}
