/* tests/fs/file_slot_test.c: file objects that stand in the loop's table of registered files. Which way a read or write
 * goes is seen by putting another file into the slot. */
#include "tests/fs/file_world.h"

#include <ringloop/fixed.h>

enum { SIZE = 4096, MANY = 64 };
static const struct loop_file_options slotted = {.flags = LOOP_FILE_REGISTERED};
static struct loop_file               file, second;
static uint8_t                        data[SIZE];

static void table(uint32_t own)
{
    ck_assert_int_eq(loop_files_init(world_loop, &(struct loop_files_options){.own = own}), 0);
}

static uint32_t taken(void)
{
    struct loop_files_stats stats;

    loop_files_stats_get(world_loop, &stats);
    return stats.own_taken;
}

static int slot_of(const struct loop_file *of)
{
    return loop_file_lookup(world_loop, loop_file_fd(of));
}

/* The file of path stands in the slot from now on. */
static void exchange(int slot, const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(loop_file_register_at(world_loop, slot, fd), slot);
    close(fd);
}

static void holds(const char *path, const char *text)
{
    size_t size;
    char  *found = scratch_read(path, &size);

    ck_assert_uint_eq(size, strlen(text));
    ck_assert_int_eq(memcmp(found, text, size), 0);
    free(found);
}

/* Goal: a file takes a slot when it is open and gives it back at its close; all operations work meanwhile, and the next
 * file with the same descriptor takes one as well. */
START_TEST(from_open_to_close)
{
    struct note note = {0};
    char        found[8] = "";
    int         fd = -1;

    table(4);
    for (int i = 0; i < 3; i++) {
        unlink("a");
        file_open(&file, "a", O_RDWR | O_CREAT, &slotted);
        ck_assert_int_eq(fd < 0 ? loop_file_fd(&file) : fd, loop_file_fd(&file)); /* or it would show nothing */
        fd = loop_file_fd(&file);
        ck_assert_int_ge(slot_of(&file), 0);
        ck_assert_uint_eq(taken(), 1);
        file_write_is(&file, "012", 3, 0, 0, 3);
        file_write_is(&file, "3", 1, LOOP_FILE_END, 0, 1);
        file_read_is(&file, found, 2, LOOP_FILE_POSITION, 0, 2);
        file_read_is(&file, found + 2, 5, LOOP_FILE_POSITION, 0, 2);
        ck_assert_str_eq(found, "0123");
        memset(&note, 0, sizeof(note));
        ck_assert_int_eq(loop_file_sync(&file, note_cb, &note), 0);
        note_is(&note, 0, 0);
        ck_assert_int_eq(file_close(&file), 0);
        ck_assert_uint_eq(taken(), 0);
        ck_assert_int_eq(loop_file_lookup(world_loop, fd), -ENOENT);
        ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
        holds("a", "0123");
    }
}
END_TEST

/* Goal: reads and writes go by the slot, of one piece and of many. */
START_TEST(transfers_go_by_the_slot)
{
    struct note  note = {0};
    char         found[4] = "";
    struct iovec iov = {.iov_base = found, .iov_len = 1};

    table(4);
    scratch_write("a", "aaa", 3);
    scratch_write("b", "bcd", 3);
    file_open(&file, "a", O_RDWR, &slotted);
    exchange(slot_of(&file), "b");
    file_read_is(&file, found, 3, 0, 0, 3);
    ck_assert_str_eq(found, "bcd");
    ck_assert_int_eq(loop_file_readv(&file, &iov, 1, 2, 0, note_cb, &note), 0);
    note_is(&note, 0, 1);
    ck_assert_int_eq(found[0], 'd');
    file_write_is(&file, "1", 1, 0, 0, 1);
    memset(&note, 0, sizeof(note));
    found[0] = '2';
    ck_assert_int_eq(loop_file_writev(&file, &iov, 1, 1, 0, note_cb, &note), 0);
    note_is(&note, 0, 1);
    file_write_is(&file, "3", 1, LOOP_FILE_END, 0, 1);
    ck_assert_int_eq(file_close(&file), 0);
    ck_assert_uint_eq(taken(), 0);
    holds("a", "aaa");
    holds("b", "12d3");
}
END_TEST

/* Goal: without the flag there is no slot; with it, without a table, without a free slot, or when the descriptor has
 * one already, all goes by the descriptor, and a slot of somebody else's stays. */
START_TEST(without_a_slot)
{
    struct loop_files_stats stats;
    int                     fd, slot;

    scratch_write("a", "x", 1);
    file_open(&file, "a", O_RDONLY, &slotted);
    table(1);
    ck_assert_int_eq(slot_of(&file), -ENOENT);
    file_read_is(&file, data, SIZE, 0, 0, 1);
    ck_assert_int_eq(file_close(&file), 0);
    file_open(&file, "a", O_RDONLY, NULL);
    ck_assert_int_eq(slot_of(&file), -ENOENT);
    ck_assert_int_eq(file_close(&file), 0);

    file_open(&file, "a", O_RDONLY, &slotted);
    file_open(&second, "a", O_RDONLY, &slotted);
    ck_assert_int_ge(slot_of(&file), 0);
    ck_assert_int_eq(slot_of(&second), -ENOENT);
    loop_files_stats_get(world_loop, &stats);
    ck_assert_uint_eq(stats.own_full, 1);
    file_read_is(&second, data, SIZE, 0, 0, 1);
    ck_assert_int_eq(file_close(&second), 0);
    ck_assert_uint_eq(taken(), 1);
    ck_assert_int_eq(file_close(&file), 0);

    fd = open("a", O_RDONLY | O_CLOEXEC);
    slot = loop_file_register(world_loop, fd);
    ck_assert_int_ge(slot, 0);
    ck_assert_int_eq(loop_file_adopt(world_loop, &file, fd, &slotted), 0);
    file_read_is(&file, data, SIZE, 0, 0, 1);
    ck_assert_int_eq(file_close(&file), 0);
    ck_assert_int_eq(loop_file_lookup(world_loop, fd), slot);
    ck_assert_int_eq(loop_file_unregister(world_loop, slot), 0);
}
END_TEST

/* Goal: a descriptor that is kept has no slot any more in the close callback. */
static void look_for_the_slot(struct loop_file *of, int error)
{
    struct note *note = of->data;

    note->calls++;
    note->error = error;
    note->count = taken();
}

START_TEST(kept_descriptor)
{
    struct note note = {0};
    int         fd;

    table(4);
    scratch_write("a", "x", 1);
    fd = open("a", O_RDONLY | O_CLOEXEC);
    ck_assert_int_eq(loop_file_adopt(world_loop, &file, fd,
                                     &(struct loop_file_options){.flags = LOOP_FILE_REGISTERED | LOOP_FILE_KEEP_FD}),
                     0);
    ck_assert_int_ge(slot_of(&file), 0);
    file.data = &note;
    loop_file_close(&file, look_for_the_slot);
    note_is(&note, 0, 0);
    ck_assert_int_ge(fcntl(fd, F_GETFD), 0);
    close(fd);
}
END_TEST

/* Goal: a descriptor whose file object reads by the slot is not given up: -EPERM, as without a slot, and the read goes
 * on. Method: a pipe, which keeps the read in flight. */
START_TEST(detach_is_refused)
{
    struct note note = {0};
    int         ends[2];

    table(4);
    ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
    ck_assert_int_eq(loop_file_adopt(world_loop, &file, ends[0], &slotted), 0);
    ck_assert_int_ge(slot_of(&file), 0);
    ck_assert_int_eq(loop_file_read(&file, data, SIZE, LOOP_FILE_POSITION, LOOP_FILE_SOME, note_cb, &note), 0);
    (void)loop_run(world_loop, LOOP_RUN_NOWAIT);
    ck_assert_int_eq(loop_detach(world_loop, ends[0]), -EPERM);
    ck_assert_int_eq(write(ends[1], "read", 4), 4);
    note_is(&note, 0, 4);
    ck_assert_int_eq(file_close(&file), 0);
    close(ends[1]);
}
END_TEST

/* Goal: a close with reads and writes in flight: each ends once, truly; then the slot goes. Also by the end of the
 * loop, and where the file is closed while it is being opened. */
START_TEST(closed_in_flight)
{
    static struct note reads[MANY], writes[MANY];
    struct note        opened = {0}, closed = {0};

    table(4);
    scratch_write("a", data, SIZE);
    file_open(&file, "a", O_RDWR, &(struct loop_file_options){.flags = LOOP_FILE_REGISTERED | LOOP_FILE_SYNC_CLOSE});
    for (int i = 0; i < MANY; i++) {
        ck_assert_int_eq(loop_file_read(&file, data, SIZE, 0, 0, note_cb, &reads[i]), 0);
        ck_assert_int_eq(loop_file_write(&file, "x", 1, i, 0, note_cb, &writes[i]), 0);
    }
    if (_i == 1)
        (void)loop_submit(world_loop);
    ck_assert_int_eq(file_close(&file), 0);
    for (int i = 0; i < MANY; i++) {
        ck_assert_uint_eq(reads[i].calls, 1);
        ck_assert_uint_eq(writes[i].calls, 1);
        ck_assert(reads[i].error == -ECANCELED || (reads[i].error == 0 && reads[i].count == SIZE));
        ck_assert(writes[i].error == -ECANCELED || (writes[i].error == 0 && writes[i].count == 1));
    }
    ck_assert_uint_eq(taken(), 0);

    memset(&second, 0, sizeof(second));
    second.data = &opened;
    ck_assert_int_eq(loop_file_open(world_loop, &second, AT_FDCWD, "a", O_RDONLY, 0, &slotted, note_event), 0);
    loop_file_close(&second, note_event);
    test_run_until(world_loop, &opened.calls, 2);
    ck_assert_uint_eq(taken(), 0);

    file_open(&file, "a", O_RDONLY, &slotted);
    ck_assert_int_ge(slot_of(&file), 0);
    file.data = &closed;
    ck_assert_int_eq(loop_file_read(&file, data, SIZE, 0, 0, note_cb, &opened), 0);
    ck_assert_int_eq(loop_destroy(world_loop), 0); /* the fixture finds no descriptor left open */
    world_loop = test_loop_new(NULL);
    ck_assert_uint_eq(opened.calls, 3);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("file_slot");
    TCase *tc = test_case(suite, "slot");

    tcase_add_checked_fixture(tc, world_open, world_close);
    tcase_add_test(tc, from_open_to_close);
    tcase_add_test(tc, transfers_go_by_the_slot);
    tcase_add_test(tc, without_a_slot);
    tcase_add_test(tc, kept_descriptor);
    tcase_add_test(tc, detach_is_refused);
    tcase_add_loop_test(tc, closed_in_flight, 0, 2);
    return suite;
}
