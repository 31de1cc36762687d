/* tests/loop/child_test.c: children from their start to their end: statuses, signals, deadlines, groups, reaping.
 * Others that wait, processes of others, and crowds are in child_watch_test.c. */
#include "tests/loop/child_world.h"

#include <sys/prctl.h>

/* ---- how they end */

/* Goal: the exit status is told, once, and nothing is left: no zombie, no descriptor. Method: statuses at the ends of
 * the range; the structure is used again. */
START_TEST(exit_status)
{
    struct loop *loop = test_loop_new(NULL);
    struct told  told = {.calls = 0};

    told_spawn(loop, &told, "exit 0", NULL);
    ck_assert_ptr_eq(loop_child_loop(&told.child), loop);
    ck_assert_int_ge(loop_child_pidfd(&told.child), 0);
    test_run(loop);
    told_exited(&told, 0);
    ck_assert_int_eq(loop_child_pidfd(&told.child), -EBADF);
    told_spawn(loop, &told, "exit 1", NULL);
    test_run(loop);
    told_exited(&told, 1);
    told_spawn(loop, &told, "exit 255", NULL);
    test_run(loop);
    told_exited(&told, 255);
    ck_assert(!told.exit.timed_out);
    no_children();
    test_loop_free(loop);
}
END_TEST

/* Goal: the signal that ended it is told, and whether there was a core. */
START_TEST(ended_by_signal)
{
    static const int    signals[] = {SIGTERM, SIGKILL, SIGSEGV};
    const struct rlimit no_core = {0, 0};
    struct loop        *loop = test_loop_new(NULL);
    struct told         told = {.calls = 0};

    setrlimit(RLIMIT_CORE, &no_core);
    for (size_t i = 0; i < TEST_COUNT(signals); i++) {
        told_spawn(loop, &told, "exec sleep 60", NULL);
        ck_assert_int_eq(loop_child_kill(&told.child, 0), 0);
        ck_assert_int_eq(loop_child_kill(&told.child, signals[i]), 0);
        test_run(loop);
        told_killed(&told, signals[i]);
        ck_assert(!told.exit.core_dumped);
        ck_assert_int_eq(loop_child_kill(&told.child, signals[i]), -ESRCH);
    }
    ck_assert_int_eq(loop_child_kill_group(&told.child, SIGTERM), -ESRCH);
    ck_assert_int_eq(loop_child_terminate(&told.child, 0), -ESRCH);
    no_children();
    test_loop_free(loop);
}
END_TEST

/* Goal: what it used is told: at least some time and memory, of it and of those it waited for. */
START_TEST(usage)
{
    struct loop *loop = test_loop_new(NULL);
    struct told  told = {.calls = 0};

    told_spawn(loop, &told, "i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done; /bin/true", NULL);
    test_run(loop);
    told_exited(&told, 0);
    ck_assert_int_gt(told.usage.ru_maxrss, 0);
    ck_assert_int_gt(told.usage.ru_utime.tv_usec + told.usage.ru_utime.tv_sec + told.usage.ru_stime.tv_usec, 0);
    test_loop_free(loop);
}
END_TEST

/* Goal: numbers of signals that are none, and groups that it does not lead, are refused. */
START_TEST(bad_signals)
{
    struct loop *loop = test_loop_new(NULL);
    struct told  told = {.calls = 0};

    ck_assert_int_eq(loop_child_kill(&told.child, SIGTERM), -ESRCH);
    loop_child_close(&told.child);
    told_spawn(loop, &told, "exec sleep 60", NULL);
    ck_assert_int_eq(loop_child_kill(&told.child, -1), -EINVAL);
    ck_assert_int_eq(loop_child_kill(&told.child, 65), -EINVAL);
    ck_assert_int_eq(loop_child_kill_group(&told.child, SIGKILL), -EINVAL);
    ck_assert_int_eq(told_try(loop, &told, "exit 0", NULL), -EBUSY);
    ck_assert_int_eq(loop_child_kill(&told.child, SIGKILL), 0);
    test_run(loop);
    told_killed(&told, SIGKILL);
    test_loop_free(loop);
}
END_TEST

static void spawned_again(struct loop_child *child, const struct loop_child_exit *exit)
{
    struct told *told = child->data;

    told_cb(child, exit);
    if (told->calls < 5)
        ck_assert_int_eq(loop_child_spawn(loop_child_loop(child), child, &(struct loop_child_options){.file = "true"},
                                          spawned_again),
                         0);
}

static void freed(struct loop_child *child, const struct loop_child_exit *exit)
{
    ck_assert_int_eq(exit->status, 0);
    free(child);
}

/* Goal: in the callback the structure is free: it may be started anew, or its memory given back. */
START_TEST(inside_the_callback)
{
    struct loop       *loop = test_loop_new(NULL);
    struct told        told = {.child.data = &told};
    struct loop_child *heap = calloc(1, sizeof(*heap));

    ck_assert_int_eq(loop_child_spawn(loop, &told.child, &(struct loop_child_options){.file = "true"}, spawned_again),
                     0);
    ck_assert_int_eq(loop_child_spawn(loop, heap, &(struct loop_child_options){.file = "true"}, freed), 0);
    test_run(loop);
    ck_assert_uint_eq(told.calls, 5);
    no_children();
    test_loop_free(loop);
}
END_TEST

/* Goal: an unreferenced child does not keep the loop alive, and is told all the same. */
START_TEST(unreferenced)
{
    struct loop *loop = test_loop_new(NULL);
    struct told  told = {.calls = 0};

    loop_child_unref(&told.child);
    told_spawn(loop, &told, "exec sleep 60", NULL);
    ck_assert(!loop_alive(loop));
    loop_child_ref(&told.child);
    ck_assert(loop_alive(loop));
    ck_assert(loop_child_has_ref(&told.child));
    loop_child_unref(&told.child);
    ck_assert(!loop_alive(loop));
    test_run(loop);
    loop_child_kill(&told.child, SIGKILL);
    wait_until_dead(loop_child_pid(&told.child));
    for (int i = 0; i < 1000 && told.calls == 0; i++)
        test_turns(loop, 1);
    told_killed(&told, SIGKILL);
    loop_child_ref(&told.child);
    ck_assert(!loop_alive(loop));
    test_loop_free(loop);
}
END_TEST

/* ---- deadlines and groups */

/* From now on only SIGKILL has an effect. */
static void stop(struct told *told)
{
    ck_assert_int_eq(loop_child_kill(&told->child, SIGSTOP), 0);
    ck_assert_int_eq(waitid(P_PID, (id_t)loop_child_pid(&told->child), &(siginfo_t){.si_code = 0}, WSTOPPED | WNOWAIT),
                     0);
}

/* Goal: after its time a child gets SIGTERM, and after the grace SIGKILL; it is told that the time was over. Method:
 * one that ends by SIGTERM, one that is stopped, one without grace, one that is in time. */
START_TEST(timeouts)
{
    static const struct {
        const char *script;
        uint64_t    timeout_ns, grace_ns;
        int         status, signum;
    } table[] = {
        {"exec sleep 60", 20 * LOOP_MILLISECOND, 20 * LOOP_SECOND, -1, SIGTERM},
        {"exec sleep 60", 20 * LOOP_MILLISECOND, 20 * LOOP_MILLISECOND, -1, SIGKILL}, /* is stopped: SIGTERM waits */
        {"exec sleep 60", 20 * LOOP_MILLISECOND, 0, -1, SIGKILL},
        {"exit 3", 25 * LOOP_SECOND, 0, 3, 0},
    };
    struct loop *loop = test_loop_new(NULL);

    for (size_t i = 0; i < TEST_COUNT(table); i++) {
        struct told told = {.calls = 0};

        told_spawn(loop, &told, table[i].script,
                   &(struct loop_child_options){.timeout_ns = table[i].timeout_ns, .grace_ns = table[i].grace_ns});
        if (i == 1)
            stop(&told);
        test_run(loop);
        ck_assert_uint_eq(told.calls, 1);
        ck_assert_int_eq(told.exit.status, table[i].status);
        ck_assert_int_eq(told.exit.signum, table[i].signum);
        ck_assert(told.exit.timed_out == (table[i].signum != 0));
    }
    no_children();
    test_loop_free(loop);
}
END_TEST

/* Goal: to terminate is the same, asked for; again with less grace, it ends sooner; a child that handles SIGTERM ends
 * as it likes. */
START_TEST(terminated)
{
    struct loop               *loop = test_loop_new(NULL);
    struct told                told = {.calls = 0};
    int                        fd;
    char                       byte;
    const struct loop_child_fd out = {.kind = LOOP_CHILD_PIPE_OUT, .number = 1, .ret_fd = &fd};

    told_spawn(loop, &told, "trap 'exit 7' TERM; echo; while :; do sleep 0.01; done",
               &(struct loop_child_options){.fds = &out, .fd_count = 1});
    ck_assert_int_eq(poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 20000), 1);
    ck_assert_int_eq((int)read(fd, &byte, 1), 1);
    ck_assert_int_eq(loop_child_terminate(&told.child, 20 * LOOP_SECOND), 0);
    test_run(loop);
    told_exited(&told, 7);
    ck_assert(!told.exit.timed_out);
    close(fd);
    told_spawn(loop, &told, "exec sleep 60", NULL);
    stop(&told);
    ck_assert_int_eq(loop_child_terminate(&told.child, 20 * LOOP_SECOND), 0);
    ck_assert_int_eq(loop_child_terminate(&told.child, 0), 0);
    test_run(loop);
    told_killed(&told, SIGKILL);
    test_loop_free(loop);
}
END_TEST

/* Goal: a child with a session or group of its own is signalled with all its own children. Method: a grandchild that
 * holds the pipe: its end is told when all have ended. */
START_TEST(groups)
{
    static const uint32_t flags[] = {LOOP_CHILD_SESSION, LOOP_CHILD_GROUP};
    struct loop          *loop = test_loop_new(NULL);

    for (int i = 0; i < 4; i++) {
        struct told                told = {.calls = 0};
        int                        fd;
        const struct loop_child_fd out = {.kind = LOOP_CHILD_PIPE_OUT, .number = 1, .ret_fd = &fd};
        char                       byte;

        told_spawn(loop, &told, "sleep 60 & echo; wait",
                   &(struct loop_child_options){.fds = &out, .fd_count = 1, .flags = flags[i % 2]});
        ck_assert_int_eq(poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 20000), 1);
        ck_assert_int_eq((int)read(fd, &byte, 1), 1);
        ck_assert_int_eq(getpgid(loop_child_pid(&told.child)), loop_child_pid(&told.child));
        ck_assert_int_eq(getsid(loop_child_pid(&told.child)), i % 2 == 0 ? loop_child_pid(&told.child) : getsid(0));
        ck_assert_int_eq(i < 2 ? loop_child_kill_group(&told.child, SIGTERM)
                               : loop_child_terminate(&told.child, 20 * LOOP_SECOND),
                         0);
        ck_assert_str_eq(read_to_end(fd), "");
        test_run(loop);
        told_killed(&told, SIGTERM);
    }
    test_loop_free(loop);
}
END_TEST

/* Goal: a child may join the group of another. */
START_TEST(joins_a_group)
{
    struct loop *loop = test_loop_new(NULL);
    struct told  leader = {.calls = 0}, other = {.calls = 0};

    told_spawn(loop, &leader, "exec sleep 60", &(struct loop_child_options){.flags = LOOP_CHILD_GROUP});
    told_spawn(loop, &other, "exec sleep 60",
               &(struct loop_child_options){.flags = LOOP_CHILD_GROUP, .group = loop_child_pid(&leader.child)});
    ck_assert_int_eq(getpgid(loop_child_pid(&other.child)), loop_child_pid(&leader.child));
    ck_assert_int_eq(loop_child_kill_group(&other.child, SIGKILL), -EINVAL);
    ck_assert_int_eq(loop_child_kill_group(&leader.child, SIGKILL), 0);
    test_run(loop);
    told_killed(&leader, SIGKILL);
    told_killed(&other, SIGKILL);
    test_loop_free(loop);
}
END_TEST

/* ---- given up, destroyed */

/* Goal: a close tells -ECANCELED, once; the child runs on, does not keep the loop alive, and is reaped when it ends. */
START_TEST(closed)
{
    struct loop *loop = test_loop_new(NULL);
    struct told  told = {.calls = 0};
    uint32_t     fds = test_fd_count();
    pid_t        pid;

    told_spawn(loop, &told, "exec sleep 60", &(struct loop_child_options){.timeout_ns = LOOP_MILLISECOND});
    pid = loop_child_pid(&told.child);
    loop_child_close(&told.child);
    loop_child_close(&told.child);
    ck_assert_uint_eq(told.calls, 0);
    ck_assert_int_eq(loop_child_kill(&told.child, SIGKILL), -ESRCH);
    ck_assert_int_eq(told_try(loop, &told, "exit 0", NULL), -EBUSY);
    test_run(loop);
    told_error(&told, -ECANCELED);
    test_sleep(5 * LOOP_MILLISECOND); /* its time is over, but nobody looks any more */
    test_turns(loop, 2);
    ck_assert_int_eq(kill(pid, SIGKILL), 0);
    wait_until_dead(pid);
    for (int i = 0; i < 1000 && test_fd_count() > fds; i++)
        test_turns(loop, 1);
    no_children();
    ck_assert_uint_eq(test_fd_count(), fds);
    test_loop_free(loop);
}
END_TEST

/* Goal: at the end of the loop each is told -ECANCELED, those that were closed are not told again, one that has ended
 * is reaped, and one that runs goes on. */
START_TEST(destroyed)
{
    struct loop *loop = test_loop_new(NULL);
    struct told  runs = {.calls = 0}, ended = {.calls = 0}, given_up = {.calls = 0};
    pid_t        pid;

    told_spawn(loop, &runs, "exec sleep 60", NULL);
    pid = loop_child_pid(&runs.child);
    told_spawn(loop, &ended, "exit 0", NULL);
    told_spawn(loop, &given_up, "exit 0", NULL);
    test_turns(loop, 1);
    wait_until_dead(loop_child_pid(&ended.child));
    wait_until_dead(loop_child_pid(&given_up.child));
    loop_child_close(&given_up.child);
    test_loop_drop(loop);
    told_error(&runs, -ECANCELED);
    ck_assert_uint_eq(ended.calls, 1);
    ck_assert_uint_eq(given_up.calls, 1);
    ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), 0); /* only the one that runs */
    ck_assert_int_eq(kill(pid, SIGKILL), 0);
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
    no_children();
}
END_TEST

static void spawns_more(struct loop_child *child, const struct loop_child_exit *exit)
{
    ck_assert_int_eq(exit->error, -ECANCELED);
    ck_assert_int_eq(
        loop_child_spawn(loop_child_loop(child), child, &(struct loop_child_options){.file = "true"}, spawns_more),
        -ECANCELED);
    ck_assert_int_eq(loop_child_watch(loop_child_loop(child), child, 1, 0, spawns_more), -ECANCELED);
}

/* Goal: nothing is spawned by callbacks of loop_destroy(). */
START_TEST(not_while_destroying)
{
    struct loop      *loop = test_loop_new(NULL);
    struct loop_child child = {0};
    pid_t             pid;

    ck_assert_int_eq(loop_child_spawn(loop, &child,
                                      &(struct loop_child_options){.file = "sleep",
                                                                   .args = (const char *const[]){"sleep", "60", NULL}},
                                      spawns_more),
                     0);
    pid = loop_child_pid(&child);
    test_loop_drop(loop);
    kill(pid, SIGKILL);
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
    no_children();
}
END_TEST

/* Goal: with a death signal the child ends with the thread that spawned it, also if it changes its user. Method: a
 * process of our own that spawns and exits; the pipe, which the child holds, ends. */
START_TEST(dies_with_its_parent)
{
    for (int i = 0; i < 2; i++) {
        int   fds[2];
        pid_t pid;

        if (i == 1 && geteuid() != 0)
            break;
        test_pipe(fds);
        pid = fork();
        ck_assert_int_ge(pid, 0);
        if (pid == 0) {
            struct loop               *loop;
            struct loop_child          child = {0};
            const struct loop_child_fd out = {.kind = LOOP_CHILD_INHERIT, .number = 1, .fd = fds[1]};
            int                        r = loop_create(&loop, NULL);

            if (r == 0)
                r = loop_child_spawn(loop, &child,
                                     &(struct loop_child_options){
                                         .file = "/bin/sleep",
                                         .args = (const char *const[]){"sleep", "60", NULL},
                                         .fds = &out,
                                         .fd_count = 1,
                                         .death_signal = SIGKILL,
                                         .flags = i == 1 ? LOOP_CHILD_SETUID : 0,
                                         .uid = 65534,
                                     },
                                     freed);
            _exit(-r);
        }
        close(fds[1]);
        ck_assert_str_eq(read_to_end(fds[0]), "");
        ck_assert_int_eq(waitpid(pid, &fds[0], 0), pid);
        ck_assert_int_eq(fds[0], 0);
    }
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("child");
    TCase *tcase = test_case(suite, "ends");

    tcase_add_test(tcase, exit_status);
    tcase_add_test(tcase, ended_by_signal);
    tcase_add_test(tcase, usage);
    tcase_add_test(tcase, bad_signals);
    tcase_add_test(tcase, inside_the_callback);
    tcase_add_test(tcase, unreferenced);

    tcase = test_case(suite, "terms");
    tcase_add_test(tcase, timeouts);
    tcase_add_test(tcase, terminated);
    tcase_add_test(tcase, groups);
    tcase_add_test(tcase, joins_a_group);
    tcase_add_test(tcase, dies_with_its_parent);

    tcase = test_case(suite, "given_up");
    tcase_add_test(tcase, closed);
    tcase_add_test(tcase, destroyed);
    tcase_add_test(tcase, not_while_destroying);
    return suite;
}
