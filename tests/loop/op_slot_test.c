/* tests/loop/op_slot_test.c: operations on slots themselves: install, update, use again. */
#include "tests/loop/op_fixed.h"

#include <fcntl.h>

/* Goal: install makes a normal descriptor of the same file, with and without close-on-exec. */
START_TEST(fd_install)
{
    struct test_log logs[3] = {0};
    int             ends[2], slot, fd;
    char            byte = 0;

    test_socketpair(ends);
    slot = loop_file_register(loop, ends[0]);
    if (!test_has_opcode(loop, IORING_OP_FIXED_FD_INSTALL)) {
        ck_assert_int_eq(loop_fixed_fd_install(loop, slot, 0, not_called, NULL, NULL), -EOPNOTSUPP);
        test_skip("loop_fixed_fd_install: the kernel lacks it");
    } else {
        fd = finish(loop_fixed_fd_install(loop, slot, 0, test_log_cb, &logs[0], NULL), &logs[0]);
        ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
        test_write(fd, "i", 1);
        test_read(ends[1], &byte, 1);
        ck_assert_int_eq(byte, 'i');
        test_close(fd);
        fd = finish(loop_fixed_fd_install(loop, slot, LOOP_INSTALL_INHERITED, test_log_cb, &logs[1], NULL), &logs[1]);
        ck_assert_int_eq(fcntl(fd, F_GETFD), 0);
        test_close(fd);
        ck_assert_int_eq(finish(loop_fixed_fd_install(loop, own, 0, test_log_cb, &logs[2], NULL), &logs[2]), -EBADF);
        ck_assert_int_eq(loop_fixed_fd_install(loop, ends[0], 0, not_called, NULL, NULL), -EBADF);
        ck_assert_int_eq(loop_fixed_fd_install(loop, -1, 0, not_called, NULL, NULL), -EBADF);
        ck_assert_int_eq(loop_fixed_fd_install(loop, slot, 2, not_called, NULL, NULL), -EINVAL);
    }
    test_close(ends[0]);
    test_close(ends[1]);
}
END_TEST

static int32_t send_to(int fd)
{
    struct test_log log = {0};

    return finish(loop_send(loop, fd, "u", 1, 0, test_log_cb, &log, NULL), &log);
}

/* Goal: many slots by one operation: ours, with holes, emptied; and the kernel's, written into the array. */
START_TEST(files_update)
{
    int             ends[2], first = loop_file_reserve(loop, 3), fds[AUTOMATIC + 1];
    struct test_log logs[8] = {0};
    loop_id         id;

    test_socketpair(ends);
    ck_assert_int_eq(loop_file_register_at(loop, first + 1, ends[1]), first + 1);
    fds[0] = ends[0];
    fds[1] = -2;
    fds[2] = ends[0];
    id = loop_files_update(loop, fds, 3, first, test_log_cb, &logs[0], NULL);
    memset(fds, 0xee, sizeof(fds)); /* it was copied */
    ck_assert_int_eq(finish(id, &logs[0]), 3);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(send_to(first + i), 1);
    ck_assert_int_eq(loop_file_lookup(loop, ends[0]), -ENOENT);
    fds[0] = fds[1] = fds[2] = -1;
    ck_assert_int_eq(finish(loop_files_update(loop, fds, 3, first, test_log_cb, &logs[1], NULL), &logs[1]), 3);
    ck_assert_int_eq(send_to(first), -EBADF);
    fds[1] = 3999;
    ck_assert_int_eq(finish(loop_files_update(loop, fds, 3, first, test_log_cb, &logs[2], NULL), &logs[2]), 1);
    ck_assert_int_eq(finish(loop_files_update(loop, fds + 1, 1, first, test_log_cb, &logs[3], NULL), &logs[3]), -EBADF);

    for (int i = 0; i <= AUTOMATIC; i++)
        fds[i] = ends[0];
    ck_assert_int_eq(finish(loop_files_update(loop, fds, 2, LOOP_SLOT_AUTO, test_log_cb, &logs[4], NULL), &logs[4]), 2);
    ck_assert(is_automatic(fds[0]) && is_automatic(fds[1]) && fds[0] != fds[1]);
    ck_assert_int_eq(send_to(fds[1]), 1);
    /* Not all have room: those that had are told. */
    ck_assert_int_eq(finish(loop_files_update(loop, fds + 2, 3, LOOP_SLOT_AUTO, test_log_cb, &logs[5], NULL), &logs[5]),
                     2);
    ck_assert(is_automatic(fds[3]));
    ck_assert_int_eq(fds[4], ends[0]);
    ck_assert_int_eq(finish(loop_files_update(loop, fds + 4, 1, LOOP_SLOT_AUTO, test_log_cb, &logs[6], NULL), &logs[6]),
                     -ENFILE);

    ck_assert_int_eq(loop_files_update(loop, NULL, 1, first, not_called, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_files_update(loop, fds, 0, first, not_called, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_files_update(loop, fds + 4, 1, LOOP_SLOT_AUTO, NULL, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_files_update(loop, fds, 4, first, not_called, NULL, NULL), -EINVAL);
    fds[0] = -3;
    ck_assert_int_eq(loop_files_update(loop, fds, 1, first, not_called, NULL, NULL), -EBADF);
    fds[0] = first;
    ck_assert_int_eq(loop_files_update(loop, fds, 1, first, not_called, NULL, NULL), -EBADF);
    fds[0] = -1;
    ck_assert_int_eq(loop_files_update(loop, fds, 1, LOOP_SLOT_AUTO, not_called, NULL, NULL), -EBADF);
    test_close(ends[0]);
    test_close(ends[1]);
}
END_TEST

/* Goal: a long array is copied too. */
START_TEST(files_update_long)
{
    enum { MANY = 200 };
    struct loop    *of = test_loop_new(NULL);
    int            *fds = malloc(MANY * sizeof(fds[0])), ends[2], first;
    struct test_log log = {0}, send = {0};

    test_socketpair(ends);
    ck_assert_int_eq(loop_files_init(of, &(struct loop_files_options){.own = MANY}), 0);
    first = loop_file_reserve(of, MANY);
    for (int i = 0; i < MANY; i++)
        fds[i] = ends[0];
    ck_assert_int_gt(loop_files_update(of, fds, MANY, first, test_log_cb, &log, NULL), 0);
    memset(fds, 0xee, MANY * sizeof(fds[0]));
    free(fds);
    test_run(of);
    test_log_is(&log, MANY);
    ck_assert_int_gt(loop_send(of, first + MANY - 1, "l", 1, 0, test_log_cb, &send, NULL), 0);
    test_run(of);
    test_log_is(&send, 1);
    test_loop_free(of);
    test_close(ends[0]);
    test_close(ends[1]);
}
END_TEST

/* Goal: a slot emptied and filled again while an operation on its old socket is in flight keeps the two apart. */
START_TEST(slot_reused)
{
    uint16_t        port;
    int             listener = test_tcp_listener(&port, 2), clients[2];
    struct test_log logs[6] = {0};
    char            bytes[2] = "";

    clients[0] = test_tcp_connect(port);
    ck_assert_int_eq(
        finish(loop_accept_direct(loop, listener, NULL, NULL, 0, own, test_log_cb, &logs[0], NULL), &logs[0]), own);
    ck_assert_int_gt(loop_recv(loop, own, &bytes[0], 1, 0, test_log_cb, &logs[1], NULL), 0);
    test_turns(loop, 2);
    clients[1] = test_tcp_connect(port);
    ck_assert_int_gt(loop_close(loop, own, test_log_cb, &logs[2], NULL), 0);
    test_run_until(loop, &logs[2].count, 1);
    ck_assert_int_gt(loop_accept_direct(loop, listener, NULL, NULL, 0, own, test_log_cb, &logs[3], NULL), 0);
    test_run_until(loop, &logs[3].count, 1);
    test_log_is(&logs[3], own);
    ck_assert_int_gt(loop_recv(loop, own, &bytes[1], 1, 0, test_log_cb, &logs[4], NULL), 0);
    test_write(clients[1], "2", 1);
    test_run_until(loop, &logs[4].count, 1);
    ck_assert_uint_eq(logs[1].count, 0);
    test_write(clients[0], "1", 1);
    test_run(loop);
    test_log_is(&logs[1], 1);
    ck_assert_int_eq(bytes[0], '1');
    ck_assert_int_eq(bytes[1], '2');
    test_close(clients[0]);
    test_close(clients[1]);
    test_close(listener);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("op_slot");
    TCase *tcase = test_case(suite, "slots");

    tcase_add_checked_fixture(tcase, setup, pair_teardown);
    tcase_add_test(tcase, fd_install);
    tcase_add_test(tcase, files_update);
    tcase_add_test(tcase, files_update_long);
    tcase_add_test(tcase, slot_reused);
    return suite;
}
