/* tests/fs/file_old_test.c: file objects where the kernel lacks operations. */
#include "loop/loop_private.h"
#include "tests/fs/file_world.h"

/* Goal: a kernel before 6.9 has no ftruncate for rings: a thread does it, and a sync waits for that. Method: the loop
 * is made to believe that. */
START_TEST(truncate_on_a_thread)
{
    struct loop_file file;
    struct note      grown = {0}, synced = {0}, size = {0};

    world_loop->ring.opcodes[IORING_OP_FTRUNCATE / 64] &= ~(UINT64_C(1) << IORING_OP_FTRUNCATE % 64);
    file_open(&file, "a", O_RDWR | O_CREAT, NULL);
    ck_assert_int_eq(loop_file_truncate(&file, INT64_C(5) << 30, note_cb, &grown), 0);
    ck_assert_int_eq(loop_file_sync(&file, note_cb, &synced), 0);
    note_is(&grown, 0, 0);
    note_is(&synced, 0, 0);
    ck_assert_uint_lt(grown.order, synced.order);
    ck_assert_int_eq(loop_file_size(&file, note_cb, &size), 0);
    note_is(&size, 0, UINT64_C(5) << 30);
    ck_assert_uint_gt(test_stats(world_loop).work_threads, 0);
    ck_assert_int_eq(file_close(&file), 0);
    file_open(&file, "a", O_RDONLY, NULL);
    grown = (struct note){0};
    ck_assert_int_eq(loop_file_truncate(&file, 1, note_cb, &grown), 0);
    note_is(&grown, -EINVAL, 0);
    ck_assert_int_eq(file_close(&file), 0);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("file_old");
    TCase *lacks = test_case(suite, "lacks");

    tcase_add_checked_fixture(lacks, world_open, world_close);
    tcase_add_test(lacks, truncate_on_a_thread);
    return suite;
}
