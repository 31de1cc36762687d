/* tests/loop/op_wait_test.c: futexes and children. What holds for each of them alike is in op_table_test.c and
 * op_block_test.c. */
#include "tests/loop/op_single.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>

enum { PRIVATE = FUTEX2_SIZE_U32 | FUTEX2_PRIVATE, SHARED = FUTEX2_SIZE_U32, ANY_BIT = 1 };

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

static bool futex_setup(void)
{
    setup();
    if (test_has_opcode(loop, IORING_OP_FUTEX_WAITV))
        return true;
    test_skip("kernel 6.7");
    world_free(world);
    return false;
}

/* Goal: arguments that make no sense are answered at once. */
START_TEST(bad_arguments)
{
    struct futex_waitv waiters[1] = {{0}};

    if (!futex_setup())
        return;
    world_refused(world, loop_futex_wait(loop, NULL, 0, 1, PRIVATE, NEVER), -EINVAL);
    world_refused(world, loop_futex_wake(loop, NULL, 1, 1, PRIVATE, NEVER), -EINVAL);
    world_refused(world, loop_futex_wake(loop, world->futex, 1, -1, PRIVATE, NEVER), -EINVAL);
    world_refused(world, loop_futex_waitv(loop, NULL, 1, NEVER), -EINVAL);
    world_refused(world, loop_futex_waitv(loop, waiters, 0, NEVER), -EINVAL);
    world_refused(world, loop_futex_waitv(loop, waiters, 129, NEVER), -EINVAL);
    world_refused(world, loop_futex_waitv(loop, waiters, UINT32_MAX, NEVER), -EINVAL);
    ck_assert_uint_eq(test_stats(loop).ops_started, 0);
    world_free(world);
}
END_TEST

/* Goal: what makes no sense to the kernel fails with its errno. */
START_TEST(kernel_errors)
{
    if (!futex_setup())
        return;
    ck_assert_int_eq(result(loop_futex_wait(loop, world->futex, 0, 0, PRIVATE, LOGGED)), -EINVAL); /* no bit */
    ck_assert_int_eq(result(loop_futex_wait(loop, world->futex, 0, 1, 0x7000, LOGGED)), -EINVAL);  /* flags */
    ck_assert_int_eq(result(loop_futex_wait(loop, world->futex, 1, 1, PRIVATE, LOGGED)), -EAGAIN); /* its value is 0 */
    ck_assert_int_eq(result(loop_futex_wait(loop, (uint32_t *)(uintptr_t)2, 0, 1, PRIVATE, LOGGED)), -EINVAL);
    ck_assert_int_eq(result(loop_futex_wait(loop, (uint32_t *)(uintptr_t)8, 0, 1, PRIVATE, LOGGED)), -EFAULT);
    ck_assert_int_eq(result(loop_futex_wake(loop, world->futex, 1, 1, PRIVATE, LOGGED)), 0); /* nobody waits */
    ck_assert_int_eq(result(loop_waitid(loop, P_PID, (unsigned)getpid(), NULL, WEXITED, LOGGED)), -ECHILD);
    ck_assert_int_eq(result(loop_waitid(loop, P_ALL, 0, NULL, 0, LOGGED)), -EINVAL);
    ck_assert_int_eq(result(loop_waitid(loop, 99, 0, NULL, WEXITED, LOGGED)), -EINVAL);
    world_free(world);
}
END_TEST

/* Goal: a wake ends as many waits as it says, and reports them; the bits of the mask decide which. Method: four waits,
 * two for each of two bits; private and shared futexes. */
START_TEST(wakes)
{
    static const uint32_t flags[] = {PRIVATE, SHARED};

    for (size_t i = 0; i < TEST_COUNT(flags); i++) {
        struct test_log log[4] = {{0}};

        if (!futex_setup())
            return;
        for (int j = 0; j < 4; j++)
            started(loop_futex_wait(loop, world->futex, 0, j < 2 ? 1 : 2, flags[i], test_log_cb, &log[j], NULL));
        test_turns(loop, 2);
        started(loop_futex_wake(loop, world->futex, 2, 10, flags[i], LOGGED));
        test_turns(loop, 3);
        test_log_is(&world->log, 2);
        test_log_is(&log[2], 0);
        test_log_is(&log[3], 0);
        ck_assert_uint_eq(log[0].count + log[1].count, 0);
        world->log = (struct test_log){0};
        started(loop_futex_wake(loop, world->futex, FUTEX_BITSET_MATCH_ANY, 1, flags[i], LOGGED));
        test_turns(loop, 3);
        test_log_is(&world->log, 1);
        ck_assert_uint_eq(log[0].count + log[1].count, 1);
        world->log = (struct test_log){0};
        ck_assert_int_eq(
            syscall(SYS_futex, world->futex, flags[i] == PRIVATE ? FUTEX_WAKE_PRIVATE : FUTEX_WAKE, 5, NULL, NULL, 0),
            1);
        test_run(loop);
        test_log_is(&log[0], 0);
        test_log_is(&log[1], 0);
        world_free(world);
    }
}
END_TEST

static void *wait_in_thread(void *arg)
{
    while (__atomic_load_n((uint32_t *)arg, __ATOMIC_ACQUIRE) == 0)
        syscall(SYS_futex, arg, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
    return NULL;
}

/* Goal: threads that wait by futex(2) are woken. Method: one thread; wakes until one has found it. */
START_TEST(wakes_thread)
{
    pthread_t thread;
    int32_t   woken = 0;

    if (!futex_setup())
        return;
    ck_assert_int_eq(pthread_create(&thread, NULL, wait_in_thread, world->futex), 0);
    for (int i = 0; i < 20000 && woken == 0; i++) {
        woken = result(loop_futex_wake(loop, world->futex, FUTEX_BITSET_MATCH_ANY, 1, PRIVATE, LOGGED));
        test_sleep(50 * LOOP_MICROSECOND);
    }
    ck_assert_int_eq(woken, 1);
    __atomic_store_n(world->futex, 1, __ATOMIC_RELEASE);
    ck_assert_int_ge(result(loop_futex_wake(loop, world->futex, FUTEX_BITSET_MATCH_ANY, 1, PRIVATE, LOGGED)), 0);
    pthread_join(thread, NULL);
    world_free(world);
}
END_TEST

/* Goal: a wait for several tells which was woken. Method: 1, 4 and 128 of them; each in turn; the array is overwritten
 * when the call has returned. */
START_TEST(waits_for_several)
{
    static const uint32_t counts[] = {1, 4, 128};

    for (size_t i = 0; i < TEST_COUNT(counts); i++) {
        static uint32_t    futexes[128];
        struct futex_waitv waiters[128];

        if (!futex_setup())
            return;
        for (uint32_t which = 0; which<counts[i]; which += counts[i]> 4 ? 31 : 1) {
            memset(waiters, 0, sizeof(waiters));
            for (uint32_t j = 0; j < counts[i]; j++)
                waiters[j] = (struct futex_waitv){.uaddr = (uintptr_t)&futexes[j], .flags = PRIVATE};
            started(loop_futex_waitv(loop, waiters, counts[i], LOGGED));
            memset(waiters, 0xa5, sizeof(waiters));
            test_turns(loop, 2);
            ck_assert_uint_eq(world->log.count, 0);
            ck_assert_int_eq(syscall(SYS_futex, &futexes[which], FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0), 1);
            test_run(loop);
            test_log_is(&world->log, (int32_t)which);
            world->log = (struct test_log){0};
        }
        world_free(world);
    }
}
END_TEST

/* Goal: a futex may be between two loops. */
START_TEST(two_loops)
{
    struct test_log log = {0};

    if (!futex_setup())
        return;
    world->other = test_loop_new(NULL);
    started(loop_futex_wait(world->other, world->futex, 0, ANY_BIT, PRIVATE, test_log_cb, &log, NULL));
    test_turns(world->other, 2);
    ck_assert_int_eq(result(loop_futex_wake(loop, world->futex, ANY_BIT, 1, PRIVATE, LOGGED)), 1);
    test_run(world->other);
    test_log_is(&log, 0);
    world_free(world);
}
END_TEST

/* Goal: to cancel by descriptor does not mean what has none. Method: waits whose SQEs have numbers in that place. */
START_TEST(no_descriptor)
{
    struct test_log    log[3] = {{0}};
    struct futex_waitv waiter = {.flags = PRIVATE};

    if (!futex_setup())
        return;
    waiter.uaddr = (uintptr_t)&world->futex[0];
    world->child = fork();
    if (world->child == 0) {
        alarm(60);
        pause();
        _exit(0);
    }
    started(loop_futex_waitv(loop, &waiter, 1, test_log_cb, &log[0], NULL));
    started(loop_futex_wait(loop, &world->futex[1], 0, ANY_BIT, PRIVATE, test_log_cb, &log[1], NULL));
    started(loop_waitid(loop, P_PID, (unsigned)world->child, NULL, WEXITED, test_log_cb, &log[2], NULL));
    test_turns(loop, 1);
    ck_assert_int_eq(loop_cancel_fd(loop, 0), 0);
    ck_assert_int_eq(loop_cancel_fd(loop, PRIVATE), 0);
    ck_assert_int_eq(loop_cancel_fd(loop, world->child), 0);
    test_turns(loop, 2);
    ck_assert_uint_eq(log[0].count + log[1].count + log[2].count, 0);
    ck_assert_int_eq(loop_cancel_opcode(loop, IORING_OP_FUTEX_WAITV), 1);
    ck_assert_int_eq(loop_cancel_opcode(loop, IORING_OP_FUTEX_WAIT), 1);
    ck_assert_int_eq(loop_cancel_opcode(loop, IORING_OP_WAITID), 1);
    test_run(loop);
    for (int i = 0; i < 3; i++)
        test_log_is(&log[i], -ECANCELED);
    world_free(world);
}
END_TEST

/* ---- children */

static pid_t new_child(int status)
{
    pid_t pid = fork();

    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        alarm(60);
        while (status < 0)
            pause();
        _exit(status);
    }
    return pid;
}

/* Goal: what is told of a child is what waitid(2) tells. Method: children that exit, are killed, stop and continue;
 * compared with waitid(2) and WNOWAIT; by pid, by pidfd, any. */
START_TEST(children)
{
    static const struct {
        int status, signal, options;
    } table[] = {
        {0, 0, WEXITED}, {7, 0, WEXITED}, {-1, SIGKILL, WEXITED}, {-1, SIGUSR2, WEXITED}, {-1, SIGSTOP, WSTOPPED}};

    for (size_t i = 0; i < TEST_COUNT(table); i++) {
        for (int by = 0; by < 3; by++) {
            siginfo_t info, expected;
            pid_t     pid = new_child(table[i].status);
            int       pidfd = (int)syscall(SYS_pidfd_open, pid, 0);

            if (!futex_setup()) {
                kill(pid, SIGKILL);
                waitpid(pid, NULL, 0);
                close(pidfd);
                return;
            }
            world_fd(world, pidfd);
            memset(&info, 0, sizeof(info));
            memset(&expected, 0, sizeof(expected));
            started(loop_waitid(loop,
                                by == 0   ? P_PID
                                : by == 1 ? P_PIDFD
                                          : P_ALL,
                                by == 0   ? (unsigned)pid
                                : by == 1 ? (unsigned)pidfd
                                          : 0,
                                &info, table[i].options | WNOWAIT, LOGGED));
            test_turns(loop, 1);
            if (table[i].signal != 0)
                kill(pid, table[i].signal);
            test_run(loop);
            test_log_is(&world->log, 0);
            ck_assert_int_eq(waitid(P_PID, (id_t)pid, &expected, table[i].options), 0);
            ck_assert_int_eq(info.si_signo, expected.si_signo);
            ck_assert_int_eq(info.si_code, expected.si_code);
            ck_assert_int_eq(info.si_pid, pid);
            ck_assert_int_eq(info.si_status, expected.si_status);
            ck_assert_uint_eq(info.si_uid, expected.si_uid);
            if (table[i].options == WSTOPPED)
                world->child = pid; /* killed with the world */
            world_free(world);
        }
    }
}
END_TEST

/* Goal: WNOHANG does not wait; info may be NULL; a child is taken once. Method: one that lives, then is killed. */
START_TEST(no_hang)
{
    siginfo_t info;

    if (!futex_setup())
        return;
    world->child = new_child(-1);
    memset(&info, 0xff, sizeof(info));
    ck_assert_int_eq(result(loop_waitid(loop, P_PID, (unsigned)world->child, &info, WEXITED | WNOHANG, LOGGED)), 0);
    ck_assert_int_eq(info.si_pid, 0);
    kill(world->child, SIGKILL);
    ck_assert_int_eq(result(loop_waitid(loop, P_PID, (unsigned)world->child, NULL, WEXITED, LOGGED)), 0);
    ck_assert_int_eq(result(loop_waitid(loop, P_PID, (unsigned)world->child, &info, WEXITED, LOGGED)), -ECHILD);
    world->child = 0;
    world_free(world);
}
END_TEST

/* Goal: many children are told each to its own. */
START_TEST(many_children)
{
    enum { CHILDREN = 20 };
    static struct test_log log[CHILDREN];
    siginfo_t              infos[CHILDREN];
    pid_t                  pids[CHILDREN];

    if (!futex_setup())
        return;
    for (int i = 0; i < CHILDREN; i++) {
        pids[i] = new_child(i);
        started(loop_waitid(loop, P_PID, (unsigned)pids[i], &infos[i], WEXITED, test_log_cb, &log[i], NULL));
    }
    test_run(loop);
    for (int i = 0; i < CHILDREN; i++) {
        test_log_is(&log[i], 0);
        ck_assert_int_eq(infos[i].si_pid, pids[i]);
        ck_assert_int_eq(infos[i].si_status, i);
    }
    world_free(world);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("op_wait");
    TCase *tcase = test_case(suite, "futex");

    tcase_add_test(tcase, bad_arguments);
    tcase_add_test(tcase, kernel_errors);
    tcase_add_test(tcase, wakes);
    tcase_add_test(tcase, wakes_thread);
    tcase_add_test(tcase, waits_for_several);
    tcase_add_test(tcase, two_loops);
    tcase_add_test(tcase, no_descriptor);

    tcase = test_case(suite, "children");
    tcase_add_test(tcase, children);
    tcase_add_test(tcase, no_hang);
    tcase_add_test(tcase, many_children);
    return suite;
}
