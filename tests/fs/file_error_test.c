/* tests/fs/file_error_test.c: file objects when the disk is full, broken or slow, or memory has run out. */
#include "tests/fs/file_world.h"

#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

enum { ROOM = 1 << 20 };

static struct loop_file file;

/* ---- full disks */

/* Goal: a write to a full disk tells how much was written, which is what stands in the file. Method: a small tmpfs. */
START_TEST(no_space)
{
    uint8_t     *data = malloc(3 * ROOM), *found;
    struct iovec iov[2] = {{data, ROOM}, {data + ROOM, 2 * ROOM}};
    struct note  note = {0};
    size_t       size;

    pattern_fill(data, 3 * ROOM, 1);
    if (!scratch_mount("small", ROOM)) {
        free(data);
        test_skip("mounting is not allowed");
        return;
    }
    file_open(&file, "small/a", O_RDWR | O_CREAT, NULL);
    if (_i == 0)
        ck_assert_int_eq(loop_file_write(&file, data, 3 * ROOM, 0, 0, note_cb, &note), 0);
    else
        ck_assert_int_eq(loop_file_writev(&file, iov, 2, LOOP_FILE_END, 0, note_cb, &note), 0);
    test_run_until(world_loop, &note.calls, 1);
    ck_assert_int_eq(note.error, -ENOSPC);
    ck_assert_uint_gt(note.count, ROOM / 2);
    ck_assert_uint_le(note.count, ROOM);
    file_write_is(&file, data, 1, (int64_t)note.count, -ENOSPC, 0);
    ck_assert_int_eq(file_close(&file), 0);
    found = (uint8_t *)scratch_read("small/a", &size);
    ck_assert_uint_eq(size, note.count);
    ck_assert(pattern_is(found, size, 1));
    free(found);
    free(data);
}
END_TEST

START_TEST(dev_full)
{
    file_open(&file, "/dev/full", O_RDWR, NULL);
    file_write_is(&file, "x", 1, 0, -ENOSPC, 0);
    ck_assert_int_eq(file_close(&file), 0);
}
END_TEST

/* ---- broken disks */

/* A loop device over fd, which goes away by itself when nobody has it open any more; -1 where that can't be had. */
static int loop_device(int fd)
{
    struct loop_config config = {.fd = (uint32_t)fd, .info.lo_flags = LO_FLAGS_AUTOCLEAR};
    int                control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), device = -1;
    char               path[32];

    for (int i = 0; control >= 0 && i < 100; i++) { /* others may take what is free */
        int number = ioctl(control, LOOP_CTL_GET_FREE);

        if (number < 0)
            break;
        (void)snprintf(path, sizeof(path), "/dev/loop%d", number);
        device = open(path, O_RDWR | O_CLOEXEC);
        if (device < 0 || ioctl(device, LOOP_CONFIGURE, &config) == 0)
            break;
        close(device);
        device = -1;
    }
    if (control >= 0)
        close(control);
    return device;
}

/* Goal: a sync that has failed is never followed by one that hides it. Method: a disk whose writes fail, made of a file
 * on a disk that is full; what the kernel says to a second fsync(2) is looked at, too. */
START_TEST(failed_sync_is_remembered)
{
    uint8_t    *data = calloc(1, 4 * ROOM);
    struct note written = {0}, synced = {0}, again = {0}, data_synced = {0}, each = {0};
    int         backing, device;

    if (!scratch_mount("small", ROOM)) {
        free(data);
        test_skip("mounting is not allowed");
        return;
    }
    backing = open("small/disk", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    ck_assert_int_eq(ftruncate(backing, 8 * ROOM), 0);
    device = loop_device(backing);
    if (device < 0) {
        test_close(backing);
        free(data);
        test_skip("no loop device can be had");
        return;
    }
    memset(data, 0x5a, 4 * ROOM);
    memset(&file, 0, sizeof(file));
    ck_assert_int_eq(
        loop_file_adopt(world_loop, &file, device, &(struct loop_file_options){.flags = LOOP_FILE_SYNC_CLOSE}), 0);
    ck_assert_int_eq(loop_file_write(&file, data, 4 * ROOM, 0, 0, note_cb, &written), 0);
    note_is(&written, 0, 4 * ROOM); /* into memory, where there is room */
    ck_assert_int_eq(loop_file_sync(&file, note_cb, &synced), 0);
    test_run_until(world_loop, &synced.calls, 1);
    ck_assert_int_lt(synced.error, 0);
    ck_assert_int_eq(loop_file_sync_error(&file), synced.error);
    ck_assert_int_eq(fsync(device), 0); /* so the kernel would have hidden it */
    ck_assert_int_eq(loop_file_sync(&file, note_cb, &again), 0);
    ck_assert_int_eq(loop_file_datasync(&file, note_cb, &data_synced), 0);
    note_is(&again, synced.error, 0);
    note_is(&data_synced, synced.error, 0);
    ck_assert_int_eq(loop_file_write(&file, data, 1, 0, 0, note_cb, &each), 0);
    note_is(&each, 0, 1); /* a write without a sync promises nothing */
    ck_assert_int_eq(file_close(&file), synced.error);
    test_close(backing);
    free(data);
}
END_TEST

/* Goal: reads that fail. Method: memory of this process where none is. */
START_TEST(read_error)
{
    char data[8];

    file_open(&file, "/proc/self/mem", O_RDONLY, NULL);
    file_read_is(&file, data, sizeof(data), 0, -EIO, 0);
    ck_assert_int_eq(file_close(&file), 0);
}
END_TEST

/* ---- others do something to the file */

/* Goal: a file that is deleted, or cut, while it is open. */
START_TEST(deleted_and_cut)
{
    char data[8] = "";

    scratch_write("a", "12345678", 8);
    file_open(&file, "a", O_RDWR, NULL);
    ck_assert_int_eq(unlink("a"), 0);
    file_read_is(&file, data, 4, 0, 0, 4);
    file_write_is(&file, "x", 1, 0, 0, 1);
    file_read_is(&file, data, 2, 0, 0, 2);
    ck_assert_int_eq(memcmp(data, "x2", 2), 0);
    ck_assert_int_eq(ftruncate(loop_file_fd(&file), 3), 0);
    file_read_is(&file, data, 8, 0, 0, 3);
    file_read_is(&file, data, 8, 5, 0, 0);
    ck_assert_int_eq(file_close(&file), 0);
    ck_assert_int_eq(access("a", F_OK), -1);
}
END_TEST

/* Goal: O_NONBLOCK means nothing for files, also where the file system cannot say whether it would block. */
START_TEST(non_blocking)
{
    uint8_t *data = malloc(ROOM / 2);

    if (!scratch_mount("small", ROOM)) {
        free(data);
        test_skip("mounting is not allowed");
        return;
    }
    pattern_fill(data, ROOM / 2, 2);
    file_open(&file, _i == 0 ? "small/a" : "a", O_RDWR | O_CREAT | O_NONBLOCK, NULL);
    file_write_is(&file, data, ROOM / 2, 0, 0, ROOM / 2);
    memset(data, 0, ROOM / 2);
    file_read_is(&file, data, ROOM / 2, 0, 0, ROOM / 2);
    ck_assert(pattern_is(data, ROOM / 2, 2));
    ck_assert_int_eq(file_close(&file), 0);
    free(data);
}
END_TEST

/* Goal: a read of a pipe waits for what comes, O_NONBLOCK or not. */
START_TEST(non_blocking_pipe)
{
    struct note note = {0};
    int         fds[2];
    char        byte = 0;

    ck_assert_int_eq(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
    memset(&file, 0, sizeof(file));
    ck_assert_int_eq(loop_file_adopt(world_loop, &file, fds[0], NULL), 0);
    ck_assert_int_eq(loop_file_read(&file, &byte, 1, LOOP_FILE_POSITION, 0, note_cb, &note), 0);
    test_turns(world_loop, 5);
    ck_assert_uint_eq(note.calls, 0);
    test_write(fds[1], "p", 1);
    note_is(&note, 0, 1);
    ck_assert_int_eq(byte, 'p');
    ck_assert_int_eq(file_close(&file), 0);
    test_close(fds[1]);
}
END_TEST

/* ---- memory */

enum { CALLS = 9 };

/* Starts one of everything; returns how many started. Each failure must be for want of memory. */
static uint32_t start_all(struct note notes[CALLS], char *data, struct loop_file_alignment *alignment)
{
    struct iovec iov[5] = {{data, 1}, {data, 1}, {data, 1}, {data, 1}, {data, 1}};
    uint32_t     started = 0;
    int          r[CALLS];

    r[0] = loop_file_write(&file, data, 1, 0, 0, note_cb, &notes[0]);
    r[1] = loop_file_writev(&file, iov, 5, 0, 0, note_cb, &notes[1]);
    r[2] = loop_file_write(&file, data, 1, LOOP_FILE_POSITION, 0, note_cb, &notes[2]);
    r[3] = loop_file_write(&file, data, 1, LOOP_FILE_END, 0, note_cb, &notes[3]);
    r[4] = loop_file_seek(&file, 0, SEEK_END, note_cb, &notes[4]);
    r[5] = loop_file_sync(&file, note_cb, &notes[5]);
    r[6] = loop_file_truncate(&file, 10, note_cb, &notes[6]);
    r[7] = loop_file_size(&file, note_cb, &notes[7]);
    r[8] = loop_file_alignment_get(&file, alignment, note_cb, &notes[8]);
    for (int i = 0; i < CALLS; i++) {
        ck_assert_msg(r[i] == 0 || r[i] == -ENOMEM, "call %d: %d", i, r[i]);
        started += r[i] == 0;
        if (r[i] < 0)
            notes[i].calls = UINT32_MAX; /* none may come */
    }
    return started;
}

/* Goal: without memory a call fails, or its callback says so, or it waits until there is some; nothing is lost. Method:
 * the n-th allocation fails, for each n. */
START_TEST(no_memory)
{
    struct loop_file_alignment alignment;
    char                       data[1] = "x";
    uint64_t                   n;

    for (n = 1; n < 300; n++) {
        struct note notes[CALLS] = {{0}}, opened = {0};
        int         r;

        test_loop_free(world_loop);
        world_loop = test_loop_new(NULL);
        memset(&file, 0, sizeof(file));
        file.data = &opened;
        test_memory.failed = 0;
        test_memory.fail_at = test_memory.calls + n;
        r = loop_file_open(world_loop, &file, AT_FDCWD, "a", O_RDWR | O_CREAT, 0644, NULL, note_event);
        ck_assert(r == 0 || r == -ENOMEM);
        if (r < 0)
            continue;
        test_run_until(world_loop, &opened.calls, 1);
        ck_assert(opened.error == 0 || opened.error == -ENOMEM);
        if (opened.error == 0) {
            (void)start_all(notes, data, &alignment);
            test_run(world_loop);
            for (int i = 0; i < CALLS; i++) {
                ck_assert(notes[i].calls == 1 || notes[i].calls == UINT32_MAX);
                ck_assert(notes[i].error == 0 || notes[i].error == -ENOMEM || notes[i].error == -EOPNOTSUPP);
            }
        }
        test_memory.fail_at = 0;
        ck_assert_int_eq(file_close(&file), 0);
        if (test_memory.failed == 0)
            break;
    }
    ck_assert_uint_gt(n, 8);
    ck_assert_uint_lt(n, 300);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("file_error");
    TCase *disks = test_case(suite, "disks");
    TCase *others = test_case(suite, "others");
    TCase *memory = test_case(suite, "memory");

    tcase_add_checked_fixture(disks, world_open, world_close);
    tcase_add_loop_test(disks, no_space, 0, 2);
    tcase_add_test(disks, dev_full);
    tcase_add_test(disks, failed_sync_is_remembered);
    tcase_add_test(disks, read_error);
    tcase_add_checked_fixture(others, world_open, world_close);
    tcase_add_test(others, deleted_and_cut);
    tcase_add_loop_test(others, non_blocking, 0, 2);
    tcase_add_test(others, non_blocking_pipe);
    tcase_add_checked_fixture(memory, world_open, world_close);
    tcase_add_test(memory, no_memory);
    return suite;
}
