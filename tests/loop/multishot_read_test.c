/* tests/loop/multishot_read_test.c: multishots that read: pieces, ends, errors, and groups that run empty. */
#include "tests/loop/multishot_world.h"

#include <fcntl.h>
#include <sys/eventfd.h>

/* ---- reading */

/* Goal: pieces come one by one, the end last. Method: a pipe; what is more than a buffer comes in pieces. */
START_TEST(read_pipe)
{
    struct test_log log = {0};
    char            block[BUFFER_SIZE * 3 + 1];
    int             fds[2];

    if (no_reads())
        return;
    memset(block, 'r', sizeof(block));
    test_pipe(fds);
    ck_assert_int_gt(loop_read_multishot(loop, fds[0], 0, test_log_cb, &log, NULL), 0);
    for (uint32_t i = 1; i <= 3; i++) {
        test_write(fds[1], "abc", 3);
        test_run_until(loop, &log.count, i);
        ck_assert_int_eq(log.last.res, 3);
        ck_assert_uint_eq(log.last.flags, LOOP_MORE | LOOP_BUFFER);
    }
    test_write(fds[1], block, sizeof(block));
    test_close(fds[1]);
    test_run(loop);
    ck_assert_uint_eq(log.bytes, 9 + sizeof(block));
    ck_assert_uint_ge(log.count, 3 + 4 + 1);
    ck_assert_int_eq(log.last.res, 0);
    ck_assert_uint_eq(log.last.flags, 0);
    test_close(fds[0]);
}
END_TEST

/* Goal: counters of an eventfd; cancel, also before anything came. */
START_TEST(read_eventfd)
{
    struct test_log log = {0};
    int             fd = eventfd(0, EFD_CLOEXEC);
    uint64_t        value = 7, seen;
    loop_id         id;

    if (no_reads()) {
        test_close(fd);
        return;
    }
    id = loop_read_multishot(loop, fd, 0, test_log_cb, &log, NULL);
    ck_assert_int_gt(id, 0);
    for (uint32_t i = 0; i < 3 && _i == 1; i++) {
        test_write(fd, &value, sizeof(value));
        test_run_until(loop, &log.count, i + 1);
        memcpy(&seen, log.data + 8 * i, sizeof(seen));
        ck_assert_uint_eq(seen, value++);
    }
    cancel_and_wait(id, &log.finals);
    ck_assert_int_eq(log.last.res, -ECANCELED);
    test_close(fd);
}
END_TEST

/* Goal: bytes of a terminal; its other side gone. Method: a pseudo-terminal's master, non-blocking, or else the kernel
 * does not see that; with (_i = 0) and without buffers. */
START_TEST(read_terminal)
{
    struct inbox    keeper;
    struct test_log log = {0};
    int             master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK), terminal, fds[2];

    if (no_reads() || master < 0) {
        test_skip("there are no pseudo-terminals");
        if (master >= 0)
            test_close(master);
        return;
    }
    ck_assert_int_eq(grantpt(master), 0);
    ck_assert_int_eq(unlockpt(master), 0);
    terminal = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
    ck_assert_int_ge(terminal, 0);
    ck_assert_int_gt(loop_read_multishot(loop, master, 0, test_log_cb, &log, NULL), 0);
    test_write(terminal, "hi", 2);
    test_run_until(loop, &log.count, 1);
    ck_assert_mem_eq(log.data, "hi", 2);
    if (_i == 1)
        empty_group(&keeper, fds);
    test_close(terminal);
    UNTIL(log.finals == 1);
    ck_assert_int_eq(log.last.res, _i == 0 ? -EIO : 0);
    ck_assert_uint_eq(log.count, 2);
    if (_i == 1)
        finish(&keeper, fds);
    test_close(master);
}
END_TEST

/* Goal: failures of arguments at once, of the file as the final callback; a handler may read. */
START_TEST(read_failures_and_direct)
{
    struct test_log log[2] = {0}, direct = {0};
    int             fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), fds[2];
    int             handler = loop_handler_register(loop, count_direct, &direct, LOOP_GROUP_DEFAULT);

    test_pipe(fds);
    ck_assert_int_eq(loop_read_multishot(loop, -1, 0, test_log_cb, &log[0], NULL), -EBADF);
    if (!no_reads()) {
        ck_assert_int_eq(loop_read_multishot(loop, fds[0], 9, test_log_cb, &log[0], NULL), -EINVAL);
        ck_assert_int_eq(
            loop_read_multishot(loop, fds[0], 0, test_log_cb, &log[0], LOOP_TERMS(.flags = LOOP_POLL_FIRST)), -EINVAL);
        ck_assert_int_gt(loop_read_multishot(loop, fd, 0, test_log_cb, &log[0], NULL), 0);
        ck_assert_int_gt(loop_read_multishot(loop, 3999, 0, test_log_cb, &log[1], NULL), 0);
        ck_assert_int_gt(loop_read_multishot(loop, fds[0], 0, LOOP_HANDLER(handler), LOOP_VALUE(55), NULL), 0);
        test_write(fds[1], "four", 4);
        test_run_until(loop, &direct.count, 1);
        test_close(fds[1]);
        test_run(loop);
        test_log_is(&log[0], -EBADFD);
        test_log_is(&log[1], -EBADF);
        ck_assert_uint_eq(direct.bytes, 4);
        ck_assert_uint_eq(direct.finals, 1);
    } else {
        test_close(fds[1]);
    }
    test_close(fds[0]);
    test_close(fd);
}
END_TEST

/* ---- an empty group */

/* Goal: ends are seen through an empty group, if no data stands in front of them. Method: messages from a stream; reads
 * from a pipe and from a socket; armed before the group ran empty (_i = 0) or after. */
START_TEST(ends_through_an_empty_group)
{
    struct inbox    keeper, inbox = {0};
    struct test_log piped = {0}, socketed = {0}, behind = {0};
    int             fds[2], stream[2], pipes[2], pair[2], others[2];

    if (no_reads())
        return;
    test_socketpair(stream);
    test_socketpair(pair);
    test_pipe(pipes);
    test_pipe(others);
    for (int round = 0; round < 2; round++) {
        if (round == _i) {
            receive(stream[0], NULL, &inbox);
            ck_assert_int_gt(loop_read_multishot(loop, pipes[0], 0, test_log_cb, &piped, NULL), 0);
            ck_assert_int_gt(loop_read_multishot(loop, pair[0], 0, test_log_cb, &socketed, NULL), 0);
            ck_assert_int_gt(loop_read_multishot(loop, others[0], 0, test_log_cb, &behind, NULL), 0);
            test_turns(loop, 2);
        }
        if (round == 0)
            empty_group(&keeper, fds);
    }
    test_write(others[1], "last", 4);
    test_close(others[1]);
    test_turns(loop, 5);
    ck_assert_uint_eq(inbox.finals + piped.count + socketed.count, 0);
    test_close(stream[1]);
    UNTIL(inbox.finals == 1);
    ck_assert_int_eq(inbox.last, 0);
    ck_assert_uint_eq(inbox.count, 0);
    test_close(pipes[1]);
    UNTIL(piped.count == 1);
    test_log_is(&piped, 0);
    test_close(pair[1]);
    UNTIL(socketed.count == 1);
    test_log_is(&socketed, 0);
    test_turns(loop, 3);
    ck_assert_uint_eq(behind.count, 0);
    return_one(&keeper);
    UNTIL(behind.finals == 1);
    ck_assert_uint_eq(behind.count, 2);
    ck_assert_mem_eq(behind.data, "last", 4);
    ck_assert_int_eq(behind.last.res, 0);
    finish(&keeper, fds);
    test_close(stream[0]);
    test_close(pipes[0]);
    test_close(pair[0]);
    test_close(others[0]);
}
END_TEST

/* Goal: reads that wait for a buffer, or for data without a buffer, cost nothing, and go on when buffers return; they
 * can be cancelled, and time out. Method: count enters while a timer runs. */
START_TEST(reads_without_buffers)
{
    struct inbox      keeper;
    struct test_log   log[4] = {0};
    struct loop_timer timer = {0};
    struct loop_stats before;
    int               fds[2], pipes[4][2];
    loop_id           ids[4];

    if (no_reads())
        return;
    empty_group(&keeper, fds);
    for (int i = 0; i < 4; i++) { /* 0: with data, 1: idle, 2: idle with a deadline, 3: with data, with a deadline */
        test_pipe(pipes[i]);
        ids[i] = loop_read_multishot(loop, pipes[i][0], 0, test_log_cb, &log[i],
                                     LOOP_TERMS(.timeout_ns = i < 2 ? 0 : 50 * LOOP_MILLISECOND));
        ck_assert_int_gt(ids[i], 0);
    }
    test_turns(loop, 5);
    test_write(pipes[0][1], "abc", 3);
    test_write(pipes[3][1], "abc", 3);
    UNTIL(test_stats(loop).buffers_parked >= 2);
    test_turns(loop, 5);
    before = test_stats(loop);
    loop_timer_unref(&timer);
    ck_assert_int_eq(loop_timer_start(loop, &timer, 30 * LOOP_MILLISECOND, 0, nothing), 0);
    for (uint32_t turns = 0; loop_timer_active(&timer) && turns < 100; turns++)
        ck_assert_int_ge(loop_run(loop, LOOP_RUN_ONCE), 0);
    ck_assert_uint_lt(test_stats(loop).enters - before.enters, 20);
    ck_assert_uint_eq(log[0].count + log[1].count, 0);
    UNTIL(log[2].count == 1 && log[3].count == 1);
    ck_assert_int_eq(log[2].last.res, -ETIMEDOUT);
    ck_assert_int_eq(log[3].last.res, -ETIMEDOUT);
    cancel_and_wait(ids[1], &log[1].finals);
    test_log_is(&log[1], -ECANCELED);
    return_one(&keeper);
    test_run_until(loop, &log[0].count, 1);
    ck_assert_mem_eq(log[0].data, "abc", 3);
    finish(&keeper, fds);
    ck_assert_int_eq(log[0].last.res, -ECANCELED);
    for (int i = 0; i < 4; i++)
        close_both(pipes[i]);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("multishot read");
    TCase *tcase = test_case(suite, "read");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, read_pipe);
    tcase_add_loop_test(tcase, read_eventfd, 0, 2);
    tcase_add_loop_test(tcase, read_terminal, 0, 2);
    tcase_add_test(tcase, read_failures_and_direct);

    tcase = test_case(suite, "empty group");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, ends_through_an_empty_group, 0, 2);
    tcase_add_test(tcase, reads_without_buffers);
    return suite;
}
