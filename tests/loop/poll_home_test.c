/* tests/loop/poll_home_test.c: poll handles of a loop that gets a new ring, and what is done when the kernel or
 * somebody else takes away what they stand on: by internal calls and from behind. */
#include "loop/loop_private.h"
#include "tests/support/test.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <ringloop/fork.h>
#include <sys/wait.h>
#include <poll.h>
#include <signal.h>
#include <ringloop/poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>

enum { HANDLES = 3 };

static struct loop     *loop;
static struct loop_poll polls[HANDLES];
static uint32_t         calls[HANDLES];
static int              events[HANDLES], fds[HANDLES];

static void told(struct loop_poll *poll, int what)
{
    calls[poll - polls]++;
    events[poll - polls] = what;
}

static void setup(void)
{
    loop = test_loop_new(NULL);
    for (int i = 0; i < HANDLES; i++) {
        fds[i] = eventfd(0, EFD_CLOEXEC);
        ck_assert_int_eq(loop_poll_start(loop, &polls[i], fds[i], POLLIN, told), 0);
    }
    test_turns(loop, 2);
}

static void teardown(void)
{
    for (int i = 0; i < HANDLES; i++) {
        loop_poll_stop(&polls[i]);
        test_close(fds[i]);
    }
    test_loop_free(loop);
}

static void signal_it(int i)
{
    test_write(fds[i], &(uint64_t){1}, 8);
}

static void expect(int i)
{
    uint32_t before = calls[i];

    for (int n = 0; n < 100 && calls[i] == before; n++)
        test_turns(loop, 1);
    ck_assert_uint_gt(calls[i], before);
    ck_assert_int_eq(events[i], POLLIN);
}

static void expect_all(void)
{
    for (int i = 0; i < HANDLES; i++) {
        signal_it(i);
        expect(i);
    }
}

/* The descriptor of the loop's epoll. */
static int epoll_descriptor(void)
{
    DIR           *directory = opendir("/proc/self/fd");
    struct dirent *entry;
    char           path[300], target[64] = "";
    int            found = -1;

    while ((entry = readdir(directory)) != NULL) {
        snprintf(path, sizeof(path), "/proc/self/fd/%s", entry->d_name);
        if (readlink(path, target, sizeof(target) - 1) > 0 && strcmp(target, "anon_inode:[eventpoll]") == 0)
            found = atoi(entry->d_name);
        memset(target, 0, sizeof(target));
    }
    closedir(directory);
    ck_assert_int_ge(found, 0);
    return found;
}

/* Goal: on a new ring the handles go on. */
START_TEST(new_ring)
{
    polls_rehome(loop, false);
    expect_all();
}
END_TEST

/* Goal: in a child after fork(2) they have an epoll of their own; whatever is done there, even before the next turn,
 * the parent's is as it was. Method: a dup of the epoll is the parent's. */
START_TEST(child)
{
    int                parents = dup(epoll_descriptor());
    struct epoll_event seen[HANDLES];
    struct loop_poll   more = {.data = NULL};
    int                fd = eventfd(1, EFD_CLOEXEC);

    polls_rehome(loop, true);
    ck_assert_int_eq(loop_poll_change(&polls[0], POLLOUT), 0);
    loop_poll_stop(&polls[1]);
    for (int i = 0; i < HANDLES; i++)
        signal_it(i);
    ck_assert_int_eq(epoll_wait(parents, seen, HANDLES, 0), HANDLES);
    for (int i = 0; i < HANDLES; i++)
        ck_assert_uint_eq(seen[i].events, EPOLLIN);
    expect(2);
    test_turns(loop, 3);
    ck_assert_uint_eq(calls[1], 0);
    ck_assert_int_eq(events[0], POLLOUT);
    ck_assert_int_eq(loop_poll_start(loop, &more, fd, POLLOUT, told), 0);
    loop_poll_stop(&more);
    ck_assert_int_eq(epoll_wait(parents, seen, HANDLES, 0), HANDLES);

    polls_rehome(loop, true); /* a grandchild, whose first act is a start */
    ck_assert_int_eq(loop_poll_start(loop, &polls[1], fds[1], POLLIN, told), 0);
    expect(1);
    test_close(parents);
    test_close(fd);
}
END_TEST

/* Goal: a program that closes all descriptors it does not know loses nothing but the epoll. */
START_TEST(epoll_closed)
{
    test_close(epoll_descriptor());
    signal_it(0); /* the ring's poll still holds it */
    test_turns(loop, 3);
    test_sleep(20 * LOOP_MILLISECOND);
    expect_all();
}
END_TEST

/* Goal: a ghost, while there is no descriptor for a new epoll: the handles are served, the loop does not spin, and it
 * ends when there is one. */
START_TEST(haunted)
{
    struct rlimit     limit, none = {0};
    int               copy = dup(fds[0]);
    struct loop_timer timer = {.data = NULL};
    uint64_t          turns;

    signal_it(0);
    test_close(fds[0]);
    loop_poll_stop(&polls[0]);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    none.rlim_max = limit.rlim_max;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    turns = test_stats(loop).turns;
    ck_assert_int_eq(
        loop_timer_start(loop, &timer, 100 * LOOP_MILLISECOND, 0, (loop_timer_cb *)(void (*)(void))loop_timer_stop), 0);
    while (loop_timer_active(&timer))
        ck_assert_int_ge(loop_run(loop, LOOP_RUN_ONCE), 0);
    ck_assert_uint_lt(test_stats(loop).turns, turns + 60);
    ck_assert_uint_eq(calls[1], 0);
    signal_it(1);
    test_run_until(loop, &calls[1], 1);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    ck_assert_int_eq(dup2(copy, fds[0]), fds[0]);
    signal_it(2);
    test_run_until(loop, &calls[2], 1);
    ck_assert_uint_eq(calls[0], 0);
    ck_assert_int_eq(loop_poll_start(loop, &polls[0], fds[0], POLLIN, told), 0);
    expect(0);
    test_close(copy);
}
END_TEST

static void run_child(void *arg)
{
    (void)arg;
    TEST_TRUE_IN_CHILD(loop_fork(loop) == 0);
    loop_poll_stop(&polls[1]);
    TEST_TRUE_IN_CHILD(loop_poll_change(&polls[0], POLLOUT) == 0);
    for (int i = 0; i < 1000 && (calls[0] == 0 || calls[2] == 0); i++)
        (void)loop_run(loop, LOOP_RUN_NOWAIT);
    TEST_TRUE_IN_CHILD(events[0] == POLLOUT && events[2] == POLLIN && calls[1] == 0);
    for (int i = 0; i < HANDLES; i++)
        loop_poll_stop(&polls[i]);
    TEST_TRUE_IN_CHILD(!loop_alive(loop));
    TEST_TRUE_IN_CHILD(loop_destroy(loop) == 0);
}

/* Goal: after fork(2) and loop_fork() both go on, each with handles of its own; what the child changes, stops or closes
 * does not touch the parent's. */
START_TEST(forked)
{
    signal_it(2);
    test_in_child(run_child, NULL);
    expect(2);
    ck_assert_uint_eq(calls[0] + calls[1], 0);
    expect_all();
}
END_TEST

/* Goal: a loop that had handles once, and has none now, does not share its epoll with a child either. */
START_TEST(forked_without_handles)
{
    struct epoll_event seen[HANDLES];
    int                status = -1, fds_of_both[2];
    pid_t              pid;
    char               byte;

    for (int i = 0; i < HANDLES; i++)
        loop_poll_stop(&polls[i]);
    test_pipe(fds_of_both);
    fflush(NULL);
    pid = fork();
    if (pid == 0) {
        alarm(20);
        TEST_TRUE_IN_CHILD(loop_fork(loop) == 0);
        TEST_TRUE_IN_CHILD(loop_poll_start(loop, &polls[0], fds[0], POLLIN, told) == 0);
        (void)loop_run(loop, LOOP_RUN_NOWAIT);
        test_write(fds_of_both[1], "x", 1);
        pause(); /* with the handle in its epoll */
    }
    test_close(fds_of_both[1]);
    ck_assert_int_eq(read(fds_of_both[0], &byte, 1), 1);
    test_close(fds_of_both[0]);
    signal_it(0);
    ck_assert_int_eq(epoll_wait(epoll_descriptor(), seen, HANDLES, 0), 0);
    ck_assert_int_eq(loop_poll_start(loop, &polls[0], fds[0], POLLIN, told), 0);
    expect(0);
    kill(pid, SIGKILL);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
}
END_TEST

static void *run_there(void *arg)
{
    (void)arg;
    for (int i = 0; i < 1000 && calls[1] == 0; i++)
        (void)loop_run(loop, LOOP_RUN_NOWAIT);
    ck_assert_int_eq(loop_poll_change(&polls[0], POLLOUT), 0);
    ck_assert_int_eq(loop_disown(loop), 0);
    return NULL;
}

/* Goal: handles move to another thread with their loop, and back. */
START_TEST(other_thread)
{
    pthread_t thread;

    signal_it(1);
    ck_assert_int_eq(loop_disown(loop), 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, run_there, NULL), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    ck_assert_uint_gt(calls[1], 0);
    signal_it(2);
    test_turns(loop, 1);
    expect(2);
    ck_assert_int_eq(events[0], POLLOUT);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("poll_home");
    TCase *home = test_case(suite, "home");

    tcase_add_checked_fixture(home, setup, teardown);
    tcase_add_test(home, new_ring);
    tcase_add_test(home, child);
    tcase_add_test(home, epoll_closed);
    tcase_add_test(home, haunted);
    tcase_add_test(home, forked);
    tcase_add_test(home, forked_without_handles);
    tcase_add_test(home, other_thread);
    return suite;
}
