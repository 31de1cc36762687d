/* tests/fs/file_order_test.c: file objects: what goes in order: the position, appending, syncs, closing; cancelling. */
#include "tests/fs/file_world.h"

#include <sys/ioctl.h>

static struct loop_file file;

/* ---- the position */

/* Goal: operations at the position go, and are told, in the order of the calls. Method: many of different sizes in one
 * turn, and a seek in their midst. */
START_TEST(position_keeps_order)
{
    enum { COUNT = 100 };
    static struct note notes[COUNT], back, read_back;
    static uint8_t     data[COUNT][COUNT], found[COUNT * COUNT];
    size_t             at = 0;

    file_open(&file, "a", O_RDWR | O_CREAT, NULL);
    for (uint32_t i = 0; i < COUNT; i++) {
        pattern_fill(data[i], i, i);
        ck_assert_int_eq(loop_file_write(&file, data[i], i, LOOP_FILE_POSITION, 0, note_cb, &notes[i]), 0);
    }
    ck_assert_int_eq(loop_file_seek(&file, 0, SEEK_SET, note_cb, &back), 0);
    ck_assert_int_eq(loop_file_read(&file, found, sizeof(found), LOOP_FILE_POSITION, 0, note_cb, &read_back), 0);
    test_run(world_loop);
    for (uint32_t i = 0; i < COUNT; i++) {
        note_is(&notes[i], 0, i);
        ck_assert_uint_eq(notes[i].order, i + 1);
        ck_assert(pattern_is(found + at, i, i));
        at += i;
    }
    note_is(&back, 0, 0);
    note_is(&read_back, 0, at);
    ck_assert_uint_eq(back.order, COUNT + 1);
    ck_assert_uint_eq(read_back.order, COUNT + 2);
    ck_assert_int_eq(file_close(&file), 0);
}
END_TEST

START_TEST(seek_kinds)
{
    struct note set = {0}, forward = {0}, end = {0}, before = {0};
    char        data[3] = "";

    scratch_write("a", "0123456789", 10);
    file_open(&file, "a", O_RDONLY, NULL);
    ck_assert_int_eq(loop_file_seek(&file, 4, SEEK_SET, note_cb, &set), 0);
    ck_assert_uint_eq(set.calls, 0);
    ck_assert_int_eq(loop_file_seek(&file, 1, SEEK_CUR, note_cb, &forward), 0);
    note_is(&set, 0, 4);
    note_is(&forward, 0, 5);
    file_read_is(&file, data, 2, LOOP_FILE_POSITION, 0, 2);
    ck_assert_str_eq(data, "56");
    file_read_is(&file, data, 2, 0, 0, 2); /* at an offset: the position stays */
    file_read_is(&file, data, 2, LOOP_FILE_POSITION, 0, 2);
    ck_assert_str_eq(data, "78");
    ck_assert_int_eq(loop_file_seek(&file, -2, SEEK_END, note_cb, &end), 0);
    note_is(&end, 0, 8);
    ck_assert_int_eq(loop_file_seek(&file, -20, SEEK_CUR, note_cb, &before), 0);
    note_is(&before, -EINVAL, 0);
    file_read_is(&file, data, 3, LOOP_FILE_POSITION, 0, 2);
    ck_assert_int_eq(file_close(&file), 0);
}
END_TEST

/* Goal: appending goes to the end, in order, and leaves the position; all of it with O_APPEND, whatever the offset. */
START_TEST(append)
{
    enum { COUNT = 50 };
    static struct note notes[COUNT];
    static char        lines[COUNT][8];
    struct iovec       iov[2] = {{"v", 1}, {"w\n", 2}};
    struct note        vector = {0};
    char              *found, start[4] = "";
    size_t             size;

    scratch_write("a", "start\n", 6);
    file_open(&file, "a", O_RDWR, NULL);
    for (int i = 0; i < COUNT; i++) {
        int bytes = snprintf(lines[i], sizeof(lines[i]), "%d\n", i);

        ck_assert_int_eq(loop_file_write(&file, lines[i], (size_t)bytes, LOOP_FILE_END, 0, note_cb, &notes[i]), 0);
    }
    ck_assert_int_eq(loop_file_writev(&file, iov, 2, LOOP_FILE_END, 0, note_cb, &vector), 0);
    test_run(world_loop);
    for (uint32_t i = 0; i < COUNT; i++)
        ck_assert_uint_eq(notes[i].order, i + 1);
    note_is(&vector, 0, 3);
    file_read_is(&file, start, 3, LOOP_FILE_POSITION, 0, 3);
    ck_assert_str_eq(start, "sta");
    ck_assert_int_eq(file_close(&file), 0);

    file_open(&file, "a", O_WRONLY | O_APPEND, NULL);
    file_write_is(&file, "x\n", 2, LOOP_FILE_POSITION, 0, 2);
    file_write_is(&file, "y\n", 2, 0, 0, 2);
    file_write_is(&file, "z\n", 2, LOOP_FILE_END, 0, 2);
    ck_assert_int_eq(file_close(&file), 0);
    found = scratch_read("a", &size);
    ck_assert_int_eq(strncmp(found, "start\n0\n1\n2\n", 12), 0);
    ck_assert_str_eq(strstr(found, "48\n"), "48\n49\nvw\nx\ny\nz\n");
    free(found);
}
END_TEST

/* Goal: so many wait, and no more. */
START_TEST(waiting_max)
{
    struct note notes[4] = {{0}}, sync = {0};
    char        data[4];

    scratch_write("a", "0123", 4);
    file_open(&file, "a", O_RDONLY, &(struct loop_file_options){.waiting_max = 2});
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(loop_file_read(&file, data + i, 1, LOOP_FILE_POSITION, 0, note_cb, &notes[i]), 0);
    ck_assert_int_eq(loop_file_read(&file, data, 1, LOOP_FILE_POSITION, 0, note_cb, &notes[3]), -ENOBUFS);
    ck_assert_int_eq(loop_file_sync(&file, note_cb, &sync), -ENOBUFS);
    ck_assert_uint_eq(test_stats(world_loop).files_full, 2);
    ck_assert_int_eq(loop_file_read(&file, data + 3, 1, 3, 0, note_cb, &notes[3]), 0); /* this one waits for none */
    test_run(world_loop);
    for (int i = 0; i < 4; i++)
        note_is(&notes[i], 0, 1);
    ck_assert_int_eq(memcmp(data, "0123", 4), 0);
    ck_assert_int_eq(loop_file_sync(&file, note_cb, &sync), 0);
    note_is(&sync, 0, 0);
    ck_assert_int_eq(file_close(&file), 0);
}
END_TEST

/* Goal: at the limit of operations those at offsets are refused, and those that wait go on later. */
START_TEST(limit_of_operations)
{
    static struct note notes[16];
    struct note        refused = {0};
    char               data[16];

    test_loop_free(world_loop);
    world_loop = test_loop_new(&(struct loop_options){.ops_max = 4});
    scratch_write("a", "0123456789abcdef", 16);
    file_open(&file, "a", O_RDONLY, NULL);
    for (int i = 0; i < 8; i++)
        ck_assert_int_eq(loop_file_read(&file, data + i, 1, LOOP_FILE_POSITION, 0, note_cb, &notes[i]), 0);
    for (int i = 8; i < 11; i++)
        ck_assert_int_eq(loop_file_read(&file, data + i, 1, i, 0, note_cb, &notes[i]), 0);
    ck_assert_int_eq(loop_file_read(&file, data, 1, 0, 0, note_cb, &refused), -ENOBUFS);
    test_run(world_loop);
    for (int i = 0; i < 11; i++)
        note_is(&notes[i], 0, 1);
    ck_assert_int_eq(memcmp(data, "0123456789a", 11), 0);
    ck_assert_uint_eq(refused.calls, 0);
    ck_assert_int_eq(file_close(&file), 0);
}
END_TEST

/* ---- syncs */

/* Goal: a sync waits for what was written before it, be it in flight or in the queue. */
START_TEST(sync_waits_for_writes)
{
    enum { COUNT = 20 };
    static struct note notes[COUNT], later[COUNT];
    struct note        synced = {0}, data_synced = {0}, empty = {0};
    uint8_t           *data = calloc(1, 1 << 20);

    file_open(&file, "a", O_RDWR | O_CREAT, NULL);
    ck_assert_int_eq(loop_file_sync(&file, note_cb, &empty), 0);
    note_is(&empty, 0, 0);
    for (int i = 0; i < COUNT; i++) {
        int64_t offset = i % 2 == 0 ? (int64_t)i << 20 : LOOP_FILE_POSITION;

        ck_assert_int_eq(loop_file_write(&file, data, 1 << 20, offset, 0, note_cb, &notes[i]), 0);
    }
    ck_assert_int_eq(loop_file_sync(&file, note_cb, &synced), 0);
    ck_assert_int_eq(loop_file_datasync(&file, note_cb, &data_synced), 0);
    for (int i = 0; i < COUNT; i++)
        ck_assert_int_eq(loop_file_write(&file, data, 1, i, 0, note_cb, &later[i]), 0);
    test_run(world_loop);
    note_is(&synced, 0, 0);
    note_is(&data_synced, 0, 0);
    for (int i = 0; i < COUNT; i++) {
        note_is(&notes[i], 0, 1 << 20);
        note_is(&later[i], 0, 1);
        ck_assert_uint_lt(notes[i].order, synced.order);
    }
    ck_assert_int_eq(loop_file_sync_error(&file), 0);
    ck_assert_int_eq(file_close(&file), 0);
    free(data);
}
END_TEST

static uint64_t fsyncs(void)
{
    struct loop_op_stats stats = {0};

    (void)loop_op_stats_get(world_loop, LOOP_OP_FSYNC, &stats);
    return stats.started;
}

/* Goal: with LOOP_FILE_SYNC_EACH every write is synced before it is told; those in flight together share a sync. */
START_TEST(sync_each)
{
    enum { COUNT = 64 };
    static struct note notes[COUNT];

    file_open(&file, "a", O_RDWR | O_CREAT,
              &(struct loop_file_options){.flags = LOOP_FILE_SYNC_EACH | LOOP_FILE_SYNC_DATA});
    file_write_is(&file, "x", 1, 0, 0, 1);
    ck_assert_uint_eq(fsyncs(), 1);
    for (int i = 0; i < COUNT; i++) {
        int64_t offset = i % 2 == 0 ? LOOP_FILE_END : i;

        ck_assert_int_eq(loop_file_write(&file, "0123456789", 10, offset, 0, note_cb, &notes[i]), 0);
    }
    test_run(world_loop);
    for (int i = 0; i < COUNT; i++)
        note_is(&notes[i], 0, 10);
    ck_assert_uint_ge(fsyncs(), 2);
    ck_assert_uint_lt(fsyncs(), 1 + COUNT);
    ck_assert_int_eq(file_close(&file), 0);
    ck_assert_uint_lt(fsyncs(), 1 + COUNT);
}
END_TEST

/* Goal: with LOOP_FILE_SYNC_CLOSE a close syncs if there is anything to be synced; so does the end of the loop. */
START_TEST(sync_at_close)
{
    const struct loop_file_options options = {.flags = LOOP_FILE_SYNC_CLOSE};

    file_open(&file, "a", O_RDWR | O_CREAT, &options);
    ck_assert_int_eq(file_close(&file), 0);
    ck_assert_uint_eq(fsyncs(), 0);
    file_open(&file, "a", O_RDWR, &options);
    file_write_is(&file, "x", 1, 0, 0, 1);
    ck_assert_uint_eq(fsyncs(), 0);
    ck_assert_int_eq(file_close(&file), 0);
    ck_assert_uint_eq(fsyncs(), 1);
    file_open(&file, "a", O_RDWR, &options);
    file_write_is(&file, "y", 1, 0, 0, 1);
    test_loop_drop(world_loop);
    world_loop = test_loop_new(NULL);
}
END_TEST

/* Goal: what cannot be synced says so, again and again, and in the close callback. Method: a pipe, which has no disk.
 */
START_TEST(sync_error_stays)
{
    struct note first = {0}, second = {0}, written = {0};
    int         fds[2];

    test_pipe(fds);
    memset(&file, 0, sizeof(file));
    ck_assert_int_eq(
        loop_file_adopt(world_loop, &file, fds[1], &(struct loop_file_options){.flags = LOOP_FILE_SYNC_EACH}), 0);
    ck_assert_int_eq(loop_file_sync(&file, note_cb, &first), 0);
    note_is(&first, -EINVAL, 0);
    ck_assert_int_eq(loop_file_sync_error(&file), -EINVAL);
    ck_assert_int_eq(loop_file_datasync(&file, note_cb, &second), 0);
    ck_assert_uint_eq(second.calls, 0);
    note_is(&second, -EINVAL, 0);
    ck_assert_int_eq(loop_file_write(&file, "abc", 3, 0, 0, note_cb, &written), 0);
    note_is(&written, -EINVAL, 3);
    ck_assert_uint_eq(fsyncs(), 1);
    ck_assert_int_eq(file_close(&file), -EINVAL);
    test_close(fds[0]);
}
END_TEST

/* ---- cancelling and closing */

/* Goal: what waits can be cancelled, by its arg or with all others; what goes on is told the truth. Method: a pipe in
 * which nothing comes, so that its reads wait. */
START_TEST(cancel)
{
    struct note notes[4] = {{0}}, bystander = {0};
    char        data[4];
    int         fds[2];

    test_pipe(fds);
    memset(&file, 0, sizeof(file));
    ck_assert_int_eq(loop_file_adopt(world_loop, &file, fds[0], NULL), 0);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(loop_file_read(&file, data, 4, LOOP_FILE_POSITION, 0, note_cb, &notes[i]), 0);
    ck_assert_int_eq(loop_file_cancel(&file, &bystander), 0);
    ck_assert_int_eq(loop_file_cancel(&file, &notes[1]), 1);
    ck_assert_uint_eq(notes[1].calls, 0);
    note_is(&notes[1], -ECANCELED, 0);
    test_write(fds[1], "ab", 2);
    for (int i = 0, waiting = 2; i < 1000 && waiting > 0; i++) { /* a worker may have to come first */
        test_turns(world_loop, 5);
        ck_assert_int_eq(ioctl(fds[0], FIONREAD, &waiting), 0);
        if (waiting > 0)
            test_sleep(LOOP_MILLISECOND);
    }
    ck_assert_uint_eq(notes[0].calls, 0);
    ck_assert_int_eq(loop_file_cancel_all(&file), 2);
    test_run(world_loop);
    note_is(&notes[0], -ECANCELED, 2); /* two bytes were read: they are not lost */
    note_is(&notes[2], -ECANCELED, 0);
    ck_assert_int_eq(loop_file_cancel_all(&file), 0);
    ck_assert_int_eq(file_close(&file), 0);
    test_close(fds[1]);
}
END_TEST

/* Goal: a close with operations of all kinds in flight: each ends once, before the close callback. */
START_TEST(close_in_flight)
{
    enum { COUNT = 40 };
    static struct note notes[COUNT], others[5];
    struct note        closed = {0};
    uint8_t           *data = calloc(COUNT, 65536);

    file_open(&file, "a", O_RDWR | O_CREAT, &(struct loop_file_options){.flags = LOOP_FILE_SYNC_EACH});
    for (int i = 0; i < COUNT; i++) {
        int64_t offset = i % 3 == 0 ? LOOP_FILE_POSITION : i % 3 == 1 ? LOOP_FILE_END : (int64_t)i << 16;

        ck_assert_int_eq(loop_file_write(&file, data + 65536 * i, 65536, offset, 0, note_cb, &notes[i]), 0);
        if (i == COUNT / 2)
            test_turns(world_loop, 3);
    }
    ck_assert_int_eq(loop_file_sync(&file, note_cb, &others[0]), 0);
    ck_assert_int_eq(loop_file_truncate(&file, 5, note_cb, &others[1]), 0);
    ck_assert_int_eq(loop_file_seek(&file, 0, SEEK_END, note_cb, &others[2]), 0);
    ck_assert_int_eq(loop_file_size(&file, note_cb, &others[3]), 0);
    ck_assert_int_eq(loop_file_datasync(&file, note_cb, &others[4]), 0);
    file.data = &closed;
    loop_file_close(&file, note_event);
    ck_assert_int_eq(loop_file_write(&file, data, 1, 0, 0, note_cb, NULL), -EINVAL);
    loop_file_close(&file, NULL);
    test_run(world_loop);
    ck_assert_uint_eq(closed.calls, 1);
    ck_assert_int_eq(closed.error, 0);
    ck_assert_uint_eq(closed.order, COUNT + 5 + 1);
    for (int i = 0; i < COUNT; i++) {
        ck_assert_uint_eq(notes[i].calls, 1);
        ck_assert(notes[i].error == -ECANCELED || (notes[i].error == 0 && notes[i].count == 65536));
    }
    for (int i = 0; i < 5; i++)
        ck_assert_uint_eq(others[i].calls, 1);
    free(data);
}
END_TEST

/* Goal: the end of the loop ends everything, files that are being opened and closed included, in the same way. */
START_TEST(destroy_in_flight)
{
    static struct note      notes[12], opened, closed[3];
    static struct loop_file files[3];
    char                    data[64];
    int                     fds[2];

    test_pipe(fds);
    scratch_write("a", "1", 1);
    files[0].data = &closed[0];
    ck_assert_int_eq(
        loop_file_adopt(world_loop, &files[0], fds[0], &(struct loop_file_options){.on_close = note_event}), 0);
    for (int i = 0; i < 6; i++)
        ck_assert_int_eq(loop_file_read(&files[0], data + i, 1, LOOP_FILE_POSITION, 0, note_cb, &notes[i]), 0);
    file_open(&files[1], "a", O_RDWR,
              &(struct loop_file_options){.flags = LOOP_FILE_SYNC_CLOSE, .on_close = note_event});
    files[1].data = &closed[1];
    for (int i = 6; i < 12; i++)
        ck_assert_int_eq(loop_file_write(&files[1], "x", 1, i, 0, note_cb, &notes[i]), 0);
    files[2].data = &opened;
    ck_assert_int_eq(loop_file_open(world_loop, &files[2], AT_FDCWD, "b", O_RDWR | O_CREAT, 0644, NULL, note_event), 0);
    loop_file_close(&files[1], NULL);
    test_loop_drop(world_loop);
    for (int i = 0; i < 12; i++)
        ck_assert_uint_eq(notes[i].calls, 1);
    ck_assert_uint_eq(closed[0].calls, 1);
    ck_assert_uint_eq(closed[1].calls, 1);
    ck_assert_uint_eq(opened.calls, 1);
    ck_assert_int_eq(opened.error, -ECANCELED);
    test_close(fds[1]);
    world_loop = test_loop_new(NULL);
}
END_TEST

static void reopen(struct loop_file *closed, int error)
{
    struct note *note = closed->data;

    ck_assert_int_eq(error, 0);
    note->calls++;
    memset(closed, 0x55, sizeof(*closed)); /* it is ours again */
}

static void close_inside(struct loop_file *of, int error, uint64_t count, void *arg)
{
    note_cb(of, error, count, arg);
    loop_file_close(of, reopen);
}

/* Goal: callbacks may close, and the close callback may do with the file what it likes. */
START_TEST(close_in_a_callback)
{
    struct note notes[3] = {{0}}, closed = {0};
    char        data[8];

    scratch_write("a", "1", 1);
    file_open(&file, "a", O_RDWR, NULL);
    file.data = &closed;
    ck_assert_int_eq(loop_file_read(&file, data, 1, 0, 0, close_inside, &notes[0]), 0);
    ck_assert_int_eq(loop_file_read(&file, data, 1, LOOP_FILE_POSITION, 0, close_inside, &notes[1]), 0);
    ck_assert_int_eq(loop_file_sync(&file, close_inside, &notes[2]), 0);
    test_run(world_loop);
    for (int i = 0; i < 3; i++)
        ck_assert_uint_eq(notes[i].calls, 1);
    ck_assert_uint_eq(closed.calls, 1);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("file_order");
    TCase *position = test_case(suite, "position");
    TCase *sync = test_case(suite, "sync");
    TCase *ending = test_case(suite, "ending");

    tcase_add_checked_fixture(position, world_open, world_close);
    tcase_add_test(position, position_keeps_order);
    tcase_add_test(position, seek_kinds);
    tcase_add_test(position, append);
    tcase_add_test(position, waiting_max);
    tcase_add_test(position, limit_of_operations);
    tcase_add_checked_fixture(sync, world_open, world_close);
    tcase_add_test(sync, sync_waits_for_writes);
    tcase_add_test(sync, sync_each);
    tcase_add_test(sync, sync_at_close);
    tcase_add_test(sync, sync_error_stays);
    tcase_add_checked_fixture(ending, world_open, world_close);
    tcase_add_test(ending, cancel);
    tcase_add_test(ending, close_in_flight);
    tcase_add_test(ending, destroy_in_flight);
    tcase_add_test(ending, close_in_a_callback);
    return suite;
}
