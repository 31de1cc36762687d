/* tests/fs/file_fork_test.c: files in a child of fork(2), and on another thread. */
#include "tests/fs/whole_world.h"

#include <pthread.h>
#include <ringloop/fixed.h>
#include <ringloop/fork.h>

static struct loop_file   file;
static struct loop_reader reader;

static void run_here(void)
{
    for (int i = 0; i < 20000 && loop_alive(world_loop); i++)
        (void)loop_run(world_loop, LOOP_RUN_ONCE);
    TEST_TRUE_IN_CHILD(!loop_alive(world_loop));
}

enum { READS = 20, WRITES = 20, SIZE = 4096 };
static struct note reads[READS], writes[WRITES], appended[WRITES], synced, opened, made, closed;
static uint8_t     data[READS][SIZE], source[SIZE];

/* Another file in the slot of this one is what is read. */
static bool reads_by_the_slot(void)
{
    int         slot = loop_file_lookup(world_loop, loop_file_fd(&file)), fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    struct note note = {0};
    uint8_t     byte = 1;

    if (slot < 0 || loop_file_register_at(world_loop, slot, fd) != slot || close(fd) != 0 ||
        loop_file_read(&file, &byte, 1, 1, 0, note_cb, &note) != 0)
        return false;
    for (int i = 0; i < 20000 && note.calls == 0; i++)
        (void)loop_run(world_loop, LOOP_RUN_ONCE);
    return note.calls == 1 && note.error == 0 && byte == 0;
}

/* In a slot, if slotted. */
static void open_slotted(bool slotted)
{
    const struct loop_file_options options = {.flags = slotted ? LOOP_FILE_REGISTERED : 0};

    if (slotted)
        ck_assert_int_eq(loop_files_init(world_loop, NULL), 0);
    ck_assert_int_eq(loop_file_adopt(world_loop, &file, open("a", O_RDWR | O_CLOEXEC), &options), 0);
}

static bool slotted_now;

static void child_of_transfers(void *arg)
{
    uint32_t dead = 0;

    (void)arg;
    TEST_TRUE_IN_CHILD(loop_fork(world_loop) == 0);
    run_here();
    for (int i = 0; i < READS; i++)
        TEST_TRUE_IN_CHILD(reads[i].calls == 1 && reads[i].error == 0 && reads[i].count == SIZE &&
                           pattern_is(data[i], SIZE, 1));
    for (int i = 0; i < WRITES; i++) {
        TEST_TRUE_IN_CHILD(writes[i].calls == 1 && appended[i].calls == 1);
        TEST_TRUE_IN_CHILD(writes[i].error == -EOWNERDEAD || writes[i].error == 0);
        TEST_TRUE_IN_CHILD(appended[i].error == -EOWNERDEAD || appended[i].error == 0);
        dead += appended[i].error == -EOWNERDEAD;
    }
    TEST_TRUE_IN_CHILD(dead > 0);
    TEST_TRUE_IN_CHILD(synced.calls == 1 && synced.error == 0);
    TEST_TRUE_IN_CHILD(!slotted_now || reads_by_the_slot());
    file.data = &closed;
    loop_file_close(&file, note_event);
    run_here();
    TEST_TRUE_IN_CHILD(closed.calls == 1 && closed.error == 0);
    TEST_TRUE_IN_CHILD(loop_destroy(world_loop) == 0);
}

/* Goal: what was in flight at a fork: reads are done in both, what changes the file only in the parent. Method: lines
 * appended by both would stand there twice. From 2 on the file stands in the table of the loop. */
START_TEST(transfers)
{
    size_t size;
    char  *found;

    pattern_fill(source, SIZE, 1);
    scratch_write("a", source, SIZE);
    slotted_now = _i >= 2;
    open_slotted(slotted_now);
    for (int i = 0; i < READS; i++)
        ck_assert_int_eq(loop_file_read(&file, data[i], SIZE, 0, 0, note_cb, &reads[i]), 0);
    for (int i = 0; i < WRITES; i++) {
        ck_assert_int_eq(loop_file_write(&file, "x", 1, SIZE + i, 0, note_cb, &writes[i]), 0);
        ck_assert_int_eq(loop_file_write(&file, "y", 1, LOOP_FILE_END, 0, note_cb, &appended[i]), 0);
    }
    ck_assert_int_eq(loop_file_sync(&file, note_cb, &synced), 0);
    if (_i % 2 == 1)
        (void)loop_submit(world_loop);
    test_in_child(child_of_transfers, NULL);
    ck_assert_uint_eq(reads[0].calls, 0);
    test_run(world_loop);
    for (int i = 0; i < READS; i++)
        note_is(&reads[i], 0, SIZE);
    for (int i = 0; i < WRITES; i++) {
        note_is(&writes[i], 0, 1);
        note_is(&appended[i], 0, 1);
    }
    note_is(&synced, 0, 0);
    ck_assert(!slotted_now || reads_by_the_slot());
    ck_assert_int_eq(file_close(&file), 0);
    found = scratch_read("a", &size);
    ck_assert_uint_ge(size, SIZE + WRITES);
    ck_assert_uint_le(size, SIZE + 2 * WRITES);
    free(found);
}
END_TEST

static struct loop_file second;

static void child_of_opens(void *arg)
{
    (void)arg;
    TEST_TRUE_IN_CHILD(loop_fork(world_loop) == 0);
    run_here();
    TEST_TRUE_IN_CHILD(opened.calls == 1 && opened.error == 0);
    TEST_TRUE_IN_CHILD(made.calls == 1 && made.error == -EOWNERDEAD);
    TEST_TRUE_IN_CHILD(closed.calls == 1 && closed.error == 0);
    TEST_TRUE_IN_CHILD(test_fd_count() > 0);
}

static struct loop_file closing;

/* Goal: opens and closes that were under way at a fork. */
START_TEST(opens_and_closes)
{
    scratch_write("a", "1", 1);
    memset(&second, 0, sizeof(second));
    file_open(&closing, "a", O_RDONLY, NULL);
    closing.data = &closed;
    file.data = &opened;
    second.data = &made;
    loop_file_close(&closing, note_event);
    ck_assert_int_eq(loop_file_open(world_loop, &file, AT_FDCWD, "a", O_RDONLY, 0, NULL, note_event), 0);
    ck_assert_int_eq(
        loop_file_open(world_loop, &second, AT_FDCWD, "b", O_RDWR | O_CREAT | O_EXCL, 0644, NULL, note_event), 0);
    test_in_child(child_of_opens, NULL);
    test_run(world_loop);
    ck_assert_int_eq(opened.error, 0);
    ck_assert_int_eq(made.error, 0);
    ck_assert_int_eq(closed.calls, 1);
    ck_assert_int_eq(file_close(&file), 0);
    ck_assert_int_eq(file_close(&second), 0);
}
END_TEST

static size_t   read_bytes;
static uint32_t read_ends;

static void count_read(struct loop_reader *of, int error, const void *bytes, size_t size)
{
    (void)of;
    read_bytes += size;
    if (bytes == NULL) {
        read_ends++;
        TEST_TRUE_IN_CHILD(error == 0);
    }
}

static void read_all(void)
{
    run_here();
    TEST_TRUE_IN_CHILD(read_ends == 1 && read_bytes == 300000);
    TEST_TRUE_IN_CHILD(told.calls == 1 && told.error == 0 && told.size == 300000 &&
                       pattern_is(told.data, told.size, 3));
}

static void child_of_reader(void *arg)
{
    (void)arg;
    TEST_TRUE_IN_CHILD(loop_fork(world_loop) == 0);
    read_all();
}

/* Goal: a reader and the reading of a whole file go on in both. */
START_TEST(reading_goes_on)
{
    uint8_t *text = malloc(300000);

    pattern_fill(text, 300000, 3);
    scratch_write("a", text, 300000);
    free(text);
    file_open(&file, "a", O_RDONLY, NULL);
    ck_assert_int_eq(loop_reader_start(&file, &reader, &(struct loop_reader_options){.chunk_bytes = 4096}, count_read),
                     0);
    whole_start(0, "a", NULL, 0, NULL);
    for (int i = 0; i < _i; i++)
        (void)loop_dispatch(world_loop, LOOP_MILLISECOND);
    test_in_child(child_of_reader, NULL);
    read_all();
    ck_assert_int_eq(file_close(&file), 0);
}
END_TEST

static void child_of_replacement(void *arg)
{
    (void)arg;
    TEST_TRUE_IN_CHILD(loop_fork(world_loop) == 0);
    run_here();
    TEST_TRUE_IN_CHILD(told.calls == 1 && (told.error == -EOWNERDEAD || told.error == 0));
}

/* Goal: a replacement is made by the parent alone, whenever it forks: the child leaves its temporary file alone. */
START_TEST(replacement_is_the_parents)
{
    enum { BYTES = 300000 };
    uint8_t *text = malloc(BYTES);

    pattern_fill(text, BYTES, 4);
    for (int turns = 0; turns < 30; turns++) {
        (void)unlink("a");
        whole_start(2, "a", text, BYTES, NULL);
        for (int i = 0; i < turns; i++)
            (void)loop_dispatch(world_loop, told.calls == 0 ? LOOP_MILLISECOND / 20 : 0);
        if (told.calls == 0)
            test_in_child(child_of_replacement, NULL);
        test_run_until(world_loop, &told.calls, 1);
        ck_assert_int_eq(told.error, 0);
        whole_replaced_wholly("a", BYTES, 4);
    }
    free(text);
}
END_TEST

static void *disown(void *arg)
{
    int turns = *(int *)arg;

    for (int i = 0; i < turns; i++)
        (void)loop_dispatch(world_loop, 0);
    if (loop_disown(world_loop) != 0)
        abort();
    return NULL;
}

/* Goal: on another thread everything goes on, once. Method: a loop that is given up with all in flight. */
START_TEST(another_thread)
{
    pthread_t thread;
    size_t    size;

    pattern_fill(source, SIZE, 1);
    scratch_write("a", source, SIZE);
    open_slotted(_i % 2 == 1);
    for (int i = 0; i < READS; i++) {
        ck_assert_int_eq(loop_file_read(&file, data[i], SIZE, 0, 0, note_cb, &reads[i]), 0);
        ck_assert_int_eq(loop_file_write(&file, "y", 1, LOOP_FILE_END, 0, note_cb, &appended[i]), 0);
    }
    ck_assert_int_eq(loop_file_sync(&file, note_cb, &synced), 0);
    whole_start(2, "b", source, SIZE, NULL);
    ck_assert_int_eq(pthread_create(&thread, NULL, disown, &_i), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    test_run(world_loop);
    for (int i = 0; i < READS; i++) {
        note_is(&reads[i], 0, SIZE);
        note_is(&appended[i], 0, 1);
    }
    note_is(&synced, 0, 0);
    ck_assert_uint_eq(told.calls, 1);
    ck_assert(told.error == 0 || told.error == -EOWNERDEAD);
    ck_assert(_i % 2 == 0 || reads_by_the_slot());
    ck_assert_int_eq(file_close(&file), 0);
    free(scratch_read("a", &size));
    ck_assert_uint_eq(size, SIZE + READS);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("file_fork");
    TCase *child = test_case(suite, "child");
    TCase *thread = test_case(suite, "thread");

    tcase_add_checked_fixture(child, world_open, world_close);
    tcase_add_loop_test(child, transfers, 0, 4);
    tcase_add_test(child, opens_and_closes);
    tcase_add_loop_test(child, reading_goes_on, 0, 8);
    tcase_add_test(child, replacement_is_the_parents);
    tcase_add_checked_fixture(thread, world_open, world_close);
    tcase_add_loop_test(thread, another_thread, 0, 6);
    return suite;
}
