/* tests/loop/child_watch_test.c: children beside others: SIGCHLD, processes of others, loops that move, crowds,
 * threads. */
#include "tests/loop/child_world.h"

#include <pthread.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

/* Runs until the child has been told. */
static void run_told(struct loop *loop, const struct told *told)
{
    test_run_until(loop, &told->calls, 1);
}

/* ---- SIGCHLD, and others that wait */

static void reap_all(int signum)
{
    int saved = errno;

    (void)signum;
    while (waitpid(-1, NULL, WNOHANG) > 0)
        continue;
    errno = saved;
}

/* Goal: whatever the program does with SIGCHLD, an end is told, if need be without the status. Method: ignored, the
 * flag SA_NOCLDWAIT, a handler that does nothing, and one that reaps every child. */
START_TEST(sigchld)
{
    const struct sigaction actions[] = {
        {.sa_handler = SIG_IGN},
        {.sa_handler = SIG_DFL, .sa_flags = SA_NOCLDWAIT},
        {.sa_handler = reap_all},
    };
    struct loop *loop = test_loop_new(NULL);
    struct told  told = {.calls = 0};

    for (size_t i = 0; i < TEST_COUNT(actions); i++) {
        sigaction(SIGCHLD, &actions[i], NULL);
        told_spawn(loop, &told, "sleep 0.05; exit 4", NULL);
        test_run(loop);
        if (i < 2 || told.exit.error != 0)
            told_error(&told, -ECHILD);
        else
            told_exited(&told, 4); /* the loop was first */
        ck_assert_int_eq(told_try(loop, &told, "exit 0", &(struct loop_child_options){.cwd = "/missing"}), -ENOENT);
        no_children();
    }
    signal(SIGCHLD, SIG_DFL);
    test_loop_free(loop);
}
END_TEST

static void chld_counted(struct loop_signal *signal, const struct loop_signal_info *info)
{
    *(uint64_t *)signal->data += info->count;
}

/* Goal: who is process 1, or a subreaper, may reap what is given to it, and takes no status away from the loop.
 * Method: as docs/processes.md has it; children that each leave one of their own behind, some of which end first. */
enum { FAMILIES = 20 };

struct families {
    struct told told[FAMILIES];
    uint32_t    orphans, ended;
};

static bool is_mine(const struct families *all, pid_t pid)
{
    for (uint32_t i = 0; i < FAMILIES; i++) {
        if (all->told[i].calls == 0 && loop_child_pid(&all->told[i].child) == pid)
            return true;
    }
    return false;
}

static void reap_orphans(struct families *all)
{
    siginfo_t info = {0};

    while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0 &&
           !is_mine(all, info.si_pid)) {
        ck_assert_int_eq(waitpid(info.si_pid, NULL, WNOHANG), info.si_pid);
        all->orphans++;
        info.si_pid = 0;
    }
}

static void family_changed(struct loop_signal *signal, const struct loop_signal_info *info)
{
    (void)info;
    reap_orphans(signal->data);
}

static void parent_ended(struct loop_child *child, const struct loop_child_exit *exit)
{
    struct families *all = child->data;

    for (uint32_t i = 0; i < FAMILIES; i++) {
        if (child == &all->told[i].child) {
            all->told[i].calls++;
            all->told[i].exit = *exit;
            all->told[i].has_usage = exit->usage != NULL;
        }
    }
    all->ended++;
    reap_orphans(all);
}

START_TEST(orphans)
{
    const char *const  late[] = {"sh", "-c", "sleep 0.05 & exit 3", NULL};
    const char *const  soon[] = {"sh", "-c", "(sleep 0.05; exec sh -c 'sleep 0.02 &') & sleep 0.05; exit 3", NULL};
    struct loop       *loop = test_loop_new(NULL);
    struct families    all = {.ended = 0};
    struct loop_signal signal = {.data = &all};

    ck_assert_int_eq(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
    ck_assert_int_eq(loop_signal_start(loop, &signal, SIGCHLD, 0, family_changed), 0);
    for (uint32_t i = 0; i < FAMILIES; i++) {
        all.told[i].child.data = &all;
        ck_assert_int_eq(loop_child_spawn(loop, &all.told[i].child,
                                          &(struct loop_child_options){.file = "sh", .args = i % 2 == 0 ? late : soon},
                                          parent_ended),
                         0);
    }
    test_run_until(loop, &all.ended, FAMILIES);
    test_run_until(loop, &all.orphans, FAMILIES);
    for (uint32_t i = 0; i < FAMILIES; i++)
        told_exited(&all.told[i], 3);
    while (waitpid(-1, NULL, 0) > 0) /* how many there are in all is the shell's matter */
        continue;
    loop_signal_stop(&signal);
    test_loop_free(loop);
}
END_TEST

/* Goal: SIGCHLD may be watched as well. */
START_TEST(sigchld_watched)
{
    struct loop       *loop = test_loop_new(NULL);
    uint64_t           count = 0;
    struct loop_signal signal = {.data = &count};
    struct told        told = {.calls = 0};

    loop_signal_unref(&signal);
    ck_assert_int_eq(loop_signal_start(loop, &signal, SIGCHLD, 0, chld_counted), 0);
    told_spawn(loop, &told, "exit 5", NULL);
    test_run(loop);
    told_exited(&told, 5);
    ck_assert_uint_eq(count, 1);
    loop_signal_stop(&signal);
    test_loop_free(loop);
}
END_TEST

/* ---- processes of others */

static pid_t forked(int status)
{
    pid_t pid = fork();

    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        signal(SIGALRM, SIG_DFL);
        alarm(60);
        while (status < 0)
            pause();
        _exit(status);
    }
    return pid;
}

/* Goal: the end of any process is told; the status of one's own child, which stays for others to reap unless the flag
 * says so; by pid and by pidfd. */
START_TEST(watched)
{
    struct loop *loop = test_loop_new(NULL);
    struct told  told = {.child.data = &told};

    for (int i = 0; i < 4; i++) {
        uint32_t flags = i % 2 == 0 ? 0 : LOOP_CHILD_REAP;
        pid_t    pid = forked(-1);
        int      status;

        told.calls = 0;
        if (i < 2)
            ck_assert_int_eq(loop_child_watch(loop, &told.child, pid, flags, told_cb), 0);
        else
            ck_assert_int_eq(
                loop_child_watch_pidfd(loop, &told.child, (int)syscall(SYS_pidfd_open, pid, 0), flags, told_cb), 0);
        ck_assert_int_eq(loop_child_pid(&told.child), i < 2 ? pid : 0);
        ck_assert_int_eq(loop_child_kill_group(&told.child, SIGTERM), -EINVAL);
        test_turns(loop, 1);
        ck_assert_int_eq(loop_child_kill(&told.child, SIGKILL), 0);
        test_run(loop);
        told_killed(&told, SIGKILL);
        if (flags == 0)
            ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        no_children();
    }
    test_loop_free(loop);
}
END_TEST

/* Goal: of a process that is no child only the end is told; a watch can be given up. Method: a grandchild. */
START_TEST(watched_stranger)
{
    struct loop               *loop = test_loop_new(NULL);
    struct told                parent = {.calls = 0}, stranger = {.child.data = &stranger};
    int                        fd;
    const struct loop_child_fd out = {.kind = LOOP_CHILD_PIPE_OUT, .number = 1, .ret_fd = &fd};
    pid_t                      pid;

    told_spawn(loop, &parent, "sleep 60 >/dev/null & echo $!",
               &(struct loop_child_options){.fds = &out, .fd_count = 1});
    pid = atoi(read_to_end(fd));
    ck_assert_int_gt(pid, 0);
    test_run(loop);
    ck_assert_int_eq(loop_child_watch(loop, &stranger.child, pid, 0, told_cb), 0);
    test_turns(loop, 1);
    loop_child_close(&stranger.child);
    test_run(loop);
    told_error(&stranger, -ECANCELED);
    test_turns(loop, 3);
    stranger.calls = 0;
    ck_assert_int_eq(loop_child_watch(loop, &stranger.child, pid, LOOP_CHILD_REAP, told_cb), 0);
    test_turns(loop, 1);
    ck_assert_int_eq(loop_child_terminate(&stranger.child, 20 * LOOP_SECOND), 0);
    run_told(loop, &stranger);
    told_error(&stranger, -ECHILD);
    test_loop_free(loop);
}
END_TEST

/* Goal: what can't be watched is refused. */
START_TEST(not_watched)
{
    struct loop *loop = test_loop_new(NULL);
    struct told  told = {.child.data = &told};
    int          fds[2];
    pid_t        pid = forked(0);

    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
    test_pipe(fds);
    ck_assert_int_eq(loop_child_watch(loop, &told.child, pid, 0, told_cb), -ESRCH);
    ck_assert_int_eq(loop_child_watch(loop, &told.child, 0, 0, told_cb), -EINVAL);
    ck_assert_int_eq(loop_child_watch(loop, &told.child, -1, 0, told_cb), -EINVAL);
    ck_assert_int_eq(loop_child_watch(loop, &told.child, getpid(), 2, told_cb), -EINVAL);
    ck_assert_int_eq(loop_child_watch(loop, &told.child, getpid(), 0, NULL), -EINVAL);
    ck_assert_int_eq(loop_child_watch_pidfd(loop, &told.child, fds[0], 0, told_cb), -EBADF);
    ck_assert_int_eq(loop_child_watch_pidfd(loop, &told.child, -1, 0, told_cb), -EBADF);
    ck_assert(!loop_alive(loop));
    close(fds[0]);
    close(fds[1]);
    test_loop_free(loop);
}
END_TEST

/* Seizes the process, says so, and lets it go when the pipe ends. */
static void trace(pid_t pid, int ready, int release)
{
    char byte = ptrace(PTRACE_SEIZE, pid, NULL, NULL) == 0 ? 'y' : 'n';

    signal(SIGALRM, SIG_DFL);
    alarm(60);
    test_write(ready, &byte, 1);
    while (read(release, &byte, 1) < 0 && errno == EINTR)
        continue;
    _exit(0);
}

/* Goal: a child that is being debugged ends for its debugger first: it is told later, and the loop does not spin
 * meanwhile. Method: a process that seizes it. */
START_TEST(debugged)
{
    struct loop *loop = test_loop_new(NULL);
    struct told  told = {.calls = 0};
    int          ready[2], release[2];
    uint64_t     turns, until;
    pid_t        tracer;
    char         byte;

    test_pipe(ready);
    test_pipe(release);
    told_spawn(loop, &told, "exec sleep 60", NULL);
    tracer = fork();
    ck_assert_int_ge(tracer, 0);
    if (tracer == 0) {
        close(release[1]);
        trace(loop_child_pid(&told.child), ready[1], release[0]);
    }
    test_read(ready[0], &byte, 1);
    ck_assert_int_eq(loop_child_kill(&told.child, SIGKILL), 0);
    if (byte == 'y') {
        wait_until_dead(loop_child_pid(&told.child));
        turns = test_stats(loop).turns;
        until = test_clock() + 50 * LOOP_MILLISECOND;
        while (told.calls == 0 && test_clock() < until)
            ck_assert_int_eq(loop_run(loop, LOOP_RUN_ONCE), 1);
        ck_assert_uint_eq(told.calls, 0);
        ck_assert_uint_lt(test_stats(loop).turns - turns, 200);
    } else {
        test_skip("ptrace(2) is not permitted");
    }
    close(release[1]);
    run_told(loop, &told);
    told_killed(&told, SIGKILL);
    ck_assert_int_eq(waitpid(tracer, NULL, 0), tracer);
    for (int i = 0; i < 2; i++)
        close(ready[i]);
    close(release[0]);
    test_loop_free(loop);
}
END_TEST

/* ---- loops that move */

static void kill_in_child(void *arg)
{
    struct told *told = arg;
    struct loop *loop = loop_child_loop(&told->child);

    TEST_TRUE_IN_CHILD(loop_fork(loop) == 0);
    test_turns(loop, 2);
    TEST_TRUE_IN_CHILD(told->calls == 0 && loop_child_kill(&told->child, SIGKILL) == 0);
    test_run(loop);
    TEST_TRUE_IN_CHILD(told->calls == 1 && told->exit.error == -ECHILD);
}

/* Goal: a copy of the loop in a child of fork(2) learns of the end, too, but not how: it is the parent's child. */
START_TEST(forked_loop)
{
    struct loop *loop = test_loop_new(NULL);
    struct told  told = {.calls = 0};

    told_spawn(loop, &told, "exec sleep 60", NULL);
    test_turns(loop, 1);
    test_in_child(kill_in_child, &told);
    test_run(loop);
    told_killed(&told, SIGKILL);
    test_loop_free(loop);
}
END_TEST

static void *run_on(void *arg)
{
    struct loop *loop = arg;

    test_run(loop);
    test_loop_free(loop);
    return NULL;
}

/* Goal: a loop that another thread takes over is told of its children there. */
START_TEST(moved_loop)
{
    struct loop *loop = test_loop_new(NULL);
    struct told  told = {.calls = 0}, given_up = {.calls = 0};
    pthread_t    thread;

    told_spawn(loop, &told, "sleep 0.1; exit 6", NULL);
    told_spawn(loop, &given_up, "exit 0", NULL);
    test_turns(loop, 1);
    loop_child_close(&given_up.child);
    ck_assert_int_eq(loop_disown(loop), 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, run_on, loop), 0);
    pthread_join(thread, NULL);
    told_exited(&told, 6);
    ck_assert_uint_eq(given_up.calls, 1);
    no_children();
}
END_TEST

/* ---- many */

enum { SPAWNS = 500, AT_A_TIME = 32 };

struct crowd {
    struct loop *loop;
    uint32_t     started, ended;
    struct told  told[AT_A_TIME];
};

static void one_ended(struct loop_child *child, const struct loop_child_exit *exit);

static void one_more(struct crowd *crowd, struct told *told)
{
    char script[32];

    snprintf(script, sizeof(script), "exit %u", crowd->started % 251);
    told->calls = crowd->started++ % 251;
    told->child.data = crowd;
    ck_assert_int_eq(loop_child_spawn(crowd->loop, &told->child,
                                      &(struct loop_child_options){
                                          .file = "/bin/sh", .args = (const char *const[]){"sh", "-c", script, NULL}},
                                      one_ended),
                     0);
}

static void one_ended(struct loop_child *child, const struct loop_child_exit *exit)
{
    struct crowd *crowd = child->data;
    struct told  *told = (struct told *)(void *)child;

    ck_assert_int_eq(exit->error, 0);
    ck_assert_int_eq(exit->status, (int)told->calls);
    crowd->ended++;
    if (crowd->started < SPAWNS)
        one_more(crowd, told);
}

static _Atomic int opening;

/* Descriptors without O_CLOEXEC, and at last all kinds of numbers. */
static void *open_and_close(void *arg)
{
    (void)arg;
    for (int i = 0; i < 200000 && opening != 0; i++) {
        int fd = open("/dev/zero", O_RDONLY); /* a leak would show: nothing else opens that */

        ck_assert_int_ge(fd, 0);
        close(fd);
    }
    return NULL;
}

/* Goal: 500 children, 32 at a time, each with its status; no zombie, no descriptor is left. Method: statuses differ;
 * another thread opens descriptors without O_CLOEXEC meanwhile. */
START_TEST(five_hundred)
{
    static struct crowd crowd;
    uint32_t            fds;
    pthread_t           thread;

    crowd.loop = test_loop_new(NULL);
    fds = test_fd_count();
    opening = 1;
    ck_assert_int_eq(pthread_create(&thread, NULL, open_and_close, NULL), 0);
    for (int i = 0; i < AT_A_TIME; i++)
        one_more(&crowd, &crowd.told[i]);
    test_run(crowd.loop);
    opening = 0;
    pthread_join(thread, NULL);
    ck_assert_uint_eq(crowd.ended, SPAWNS);
    ck_assert_uint_eq(test_fd_count(), fds);
    no_children();
    test_loop_free(crowd.loop);
}
END_TEST

static void *spawn_in_thread(void *arg)
{
    struct loop *loop = test_loop_new(NULL);
    uint32_t    *leaks = arg;

    for (int i = 0; i < 40; i++)
        *leaks += strstr(output_of(loop, "ls -l /proc/self/fd", NULL), "/dev/zero") != NULL;
    test_loop_free(loop);
    return NULL;
}

/* Goal: no child gets what another thread opens just now, however that opened it. Method: loops in two threads spawn, a
 * third opens without O_CLOEXEC; each child lists what it has. */
START_TEST(no_leaks_from_threads)
{
    pthread_t threads[2], opener;
    uint32_t  leaks[2] = {0};

    opening = 1;
    ck_assert_int_eq(pthread_create(&opener, NULL, open_and_close, NULL), 0);
    /* output_of() has one buffer: one thread at a time reads, the other only spawns. */
    ck_assert_int_eq(pthread_create(&threads[0], NULL, spawn_in_thread, &leaks[0]), 0);
    pthread_join(threads[0], NULL);
    ck_assert_int_eq(pthread_create(&threads[1], NULL, spawn_in_thread, &leaks[1]), 0);
    pthread_join(threads[1], NULL);
    opening = 0;
    pthread_join(opener, NULL);
    ck_assert_uint_eq(leaks[0] + leaks[1], 0);
    no_children();
}
END_TEST

struct spawner {
    pthread_t thread;
    uint32_t  ended;
};

static void *spawn_many(void *arg)
{
    struct spawner *spawner = arg;
    struct loop    *loop = test_loop_new(NULL);

    for (int i = 0; i < 60; i++) {
        struct told told = {.calls = 0};

        told_spawn(loop, &told, i % 2 == 0 ? "exit 9" : "kill -KILL $$", NULL);
        if (i % 7 == 0)
            ck_assert_int_eq(
                told_try(loop, &(struct told){.calls = 0}, "x", &(struct loop_child_options){.cwd = "/no"}), -ENOENT);
        test_run(loop);
        if (i % 2 == 0)
            told_exited(&told, 9);
        else
            told_killed(&told, SIGKILL);
        spawner->ended++;
    }
    test_loop_free(loop);
    return NULL;
}

/* Goal: loops in several threads spawn at the same time, and each has its own. */
START_TEST(many_threads)
{
    struct spawner spawners[4] = {{.ended = 0}};

    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&spawners[i].thread, NULL, spawn_many, &spawners[i]), 0);
    for (int i = 0; i < 4; i++) {
        pthread_join(spawners[i].thread, NULL);
        ck_assert_uint_eq(spawners[i].ended, 60);
    }
    no_children();
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("child_watch");
    TCase *tcase = test_case(suite, "others");

    tcase_add_test(tcase, sigchld);
    tcase_add_test(tcase, sigchld_watched);
    tcase_add_test(tcase, orphans);
    tcase_add_test(tcase, watched);
    tcase_add_test(tcase, watched_stranger);
    tcase_add_test(tcase, not_watched);
    tcase_add_test(tcase, debugged);

    tcase = test_case(suite, "moves");
    tcase_add_test(tcase, forked_loop);
    tcase_add_test(tcase, moved_loop);

    tcase = test_case(suite, "many");
    tcase_add_test(tcase, five_hundred);
    tcase_add_test(tcase, no_leaks_from_threads);
    tcase_add_test(tcase, many_threads);
    return suite;
}
