/* tests/loop/poll_test.c: poll handles, on the real kernel. What epoll itself does is in poll_random_test.c. */
#include "tests/support/test.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>

/* What a handle has been told. */
struct watch {
    struct loop_poll poll;
    uint32_t         calls;
    int              events; /* of the last */
    void (*then)(struct watch *watch);
    struct watch *other;
    int           fd;
};

static struct loop *loop;

static void setup(void)
{
    loop = test_loop_new(NULL);
}

static void teardown(void)
{
    test_turns(loop, 3);
    test_loop_free(loop);
}

static void told(struct loop_poll *poll, int events)
{
    struct watch *watch = poll->data;

    watch->calls++;
    watch->events = events;
    ck_assert_int_eq(loop_poll_active(poll), events > 0);
    if (watch->then != NULL)
        watch->then(watch);
}

static int start(struct watch *watch, int fd, uint32_t events)
{
    watch->poll.data = watch;
    watch->fd = fd;
    return loop_poll_start(loop, &watch->poll, fd, events, told);
}

static void must_start(struct watch *watch, int fd, uint32_t events)
{
    ck_assert_int_eq(start(watch, fd, events), 0);
}

static void stop_itself(struct watch *watch)
{
    loop_poll_stop(&watch->poll);
}

/* Turns that do not wait, until the handle has been called. */
static void expect(struct watch *watch, int events)
{
    uint32_t before = watch->calls;

    for (int i = 0; i < 100 && watch->calls == before; i++)
        test_turns(loop, 1);
    ck_assert_uint_gt(watch->calls, before);
    ck_assert_int_eq(watch->events, events);
}

static void expect_nothing(const struct watch *watch)
{
    uint32_t before = watch->calls;

    test_turns(loop, 10);
    ck_assert_uint_eq(watch->calls, before);
}

/* Goal: arguments that make no sense are answered, and leave the handle as it was. */
START_TEST(bad_arguments)
{
    struct watch watch = {0};
    int          fds[2];

    test_pipe(fds);
    ck_assert_int_eq(loop_poll_start(loop, &watch.poll, fds[0], POLLIN, NULL), -EINVAL);
    ck_assert_int_eq(loop_poll_start(loop, NULL, fds[0], POLLIN, told), -EINVAL);
    ck_assert_int_eq(start(&watch, fds[0], EPOLLET), -EINVAL);
    ck_assert_int_eq(start(&watch, fds[0], (uint32_t)EPOLLONESHOT | POLLIN), -EINVAL);
    ck_assert_int_eq(start(&watch, fds[0], POLLNVAL), -EINVAL);
    ck_assert_int_eq(start(&watch, -1, POLLIN), -EBADF);
    ck_assert_int_eq(start(&watch, LOOP_FIXED(0), POLLIN), -EBADF);
    ck_assert_int_eq(start(&watch, 987654, POLLIN), -EBADF);
    ck_assert_int_eq(loop_poll_change(&watch.poll, POLLIN), -EINVAL);
    ck_assert(!loop_poll_active(&watch.poll));
    loop_poll_stop(&watch.poll);
    loop_poll_stop(NULL);
    must_start(&watch, fds[0], POLLIN);
    ck_assert_int_eq(start(&watch, fds[0], POLLIN), -EBUSY);
    ck_assert_int_eq(loop_poll_change(&watch.poll, EPOLLET), -EINVAL);
    ck_assert_uint_eq(loop_poll_events(&watch.poll), POLLIN);
    ck_assert_int_eq(loop_poll_fd(&watch.poll), fds[0]);
    ck_assert_ptr_eq(loop_poll_loop(&watch.poll), loop);
    loop_poll_stop(&watch.poll);
    ck_assert(!loop_poll_active(&watch.poll));
    test_close(fds[0]);
    ck_assert_int_eq(start(&watch, fds[0], POLLIN), -EBADF);
    test_close(fds[1]);
}
END_TEST

/* Goal: what can't be waited for is refused, as epoll_ctl(2) does. */
START_TEST(files_are_refused)
{
    struct watch watch = {0};
    int          file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), directory = open("/", O_RDONLY | O_CLOEXEC);

    ck_assert_int_eq(start(&watch, file, POLLIN), -EPERM);
    ck_assert_int_eq(start(&watch, directory, POLLIN), -EPERM);
    ck_assert(!loop_poll_active(&watch.poll));
    test_close(file);
    test_close(directory);
}
END_TEST

static int timer_descriptor(void)
{
    const struct itimerspec soon = {.it_value.tv_nsec = 1};
    int                     fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);

    ck_assert_int_eq(timerfd_settime(fd, 0, &soon, NULL), 0);
    return fd;
}

static int ended_child(void)
{
    pid_t pid = fork();
    int   fd;

    if (pid == 0)
        _exit(0);
    fd = (int)syscall(SYS_pidfd_open, pid, 0);
    ck_assert_int_ge(fd, 0);
    return fd;
}

static int terminal(int *ret_other)
{
    int number, unlock = 0, fd = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);

    if (fd < 0 || ioctl(fd, TIOCSPTLCK, &unlock) < 0 || ioctl(fd, TIOCGPTN, &number) < 0)
        return -1;
    *ret_other = ioctl(fd, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    test_write(fd, "line\n", 5);
    return fd;
}

static int inotify_with_event(void)
{
    int fd = inotify_init1(IN_CLOEXEC), file;

    ck_assert_int_ge(inotify_add_watch(fd, "/dev/null", IN_OPEN), 0);
    file = open("/dev/null", O_RDONLY | O_CLOEXEC);
    test_close(file);
    return fd;
}

/* Goal: whatever epoll can watch can be watched, other epolls included. */
START_TEST(kinds_of_descriptors)
{
    struct epoll_event event = {.events = EPOLLIN};
    int      event_fd = eventfd(1, EFD_CLOEXEC), epoll = epoll_create1(EPOLL_CLOEXEC), pair[2], other = -1, master;
    int      fds[8] = {event_fd, epoll, timer_descriptor(), ended_child(), inotify_with_event()};
    uint32_t count = 5;

    ck_assert_int_eq(epoll_ctl(epoll, EPOLL_CTL_ADD, event_fd, &event), 0);
    test_socketpair(pair);
    test_write(pair[1], "x", 1);
    fds[count++] = pair[0];
    master = terminal(&other);
    if (master >= 0)
        fds[count++] = other;
    for (uint32_t i = 0; i < count; i++) {
        struct watch watch = {.then = stop_itself};

        must_start(&watch, fds[i], POLLIN);
        test_run_until(loop, &watch.calls, 1);
        ck_assert_int_eq(watch.events & ~POLLHUP, POLLIN);
    }
    if (master >= 0)
        test_close(master);
    for (uint32_t i = 0; i < count; i++)
        test_close(fds[i]);
    test_close(pair[1]);
    while (waitpid(-1, NULL, WNOHANG) > 0)
        ;
}
END_TEST

/* Goal: it goes on each turn while nobody reads, once a turn, and ends when somebody has. */
START_TEST(level_triggered)
{
    struct watch watch = {0};
    int          fds[2];
    char         byte;

    test_pipe(fds);
    must_start(&watch, fds[0], POLLIN);
    expect_nothing(&watch);
    test_write(fds[1], "x", 1);
    expect(&watch, POLLIN);
    watch.calls = 0;
    test_turns(loop, 20);
    ck_assert_uint_eq(watch.calls, 20);
    test_read(fds[0], &byte, 1);
    expect_nothing(&watch);
    test_write(fds[1], "x", 1);
    expect(&watch, POLLIN);
    loop_poll_stop(&watch.poll);
    expect_nothing(&watch);
    test_close(fds[0]);
    test_close(fds[1]);
}
END_TEST

/* Goal: errors and hang-ups come unasked, ends only when asked for; all with the words of poll(2). */
START_TEST(words)
{
    struct watch reader = {0}, writer = {0}, half = {0};
    int          fds[2], pair[2];

    test_pipe(fds);
    must_start(&reader, fds[0], 0);
    must_start(&writer, fds[1], POLLOUT);
    expect(&writer, POLLOUT);
    expect_nothing(&reader);
    loop_poll_stop(&reader.poll);
    test_close(fds[0]);
    expect(&writer, POLLOUT | POLLERR);
    ck_assert_int_eq(loop_poll_change(&writer.poll, 0), 0);
    expect(&writer, POLLERR);
    loop_poll_stop(&writer.poll);
    test_close(fds[1]);

    test_pipe(fds);
    must_start(&reader, fds[0], 0);
    test_close(fds[1]);
    expect(&reader, POLLHUP);
    loop_poll_stop(&reader.poll);
    test_close(fds[0]);

    test_tcp_pair(pair);
    must_start(&half, pair[0], POLLRDHUP);
    ck_assert_int_eq(shutdown(pair[1], SHUT_WR), 0);
    test_run_until(loop, &half.calls, 1);
    ck_assert_int_eq(half.events, POLLRDHUP);
    ck_assert_int_eq(loop_poll_change(&half.poll, POLLIN | POLLRDHUP), 0);
    expect(&half, POLLIN | POLLRDHUP);
    ck_assert_int_eq(loop_poll_change(&half.poll, 0), 0);
    expect_nothing(&half);
    ck_assert_int_eq(shutdown(pair[0], SHUT_WR), 0);
    test_run_until(loop, &half.calls, half.calls + 1);
    ck_assert_int_eq(half.events, POLLHUP);
    loop_poll_stop(&half.poll);
    test_close(pair[0]);
    test_close(pair[1]);
}
END_TEST

/* Goal: urgent data is POLLPRI, beside ordinary data and without (libuv's poll_oob). */
START_TEST(urgent_data)
{
    struct watch watch = {0};
    int          pair[2];
    char         byte;

    test_tcp_pair(pair);
    must_start(&watch, pair[0], POLLPRI);
    ck_assert_int_eq(send(pair[1], "a", 1, 0), 1);
    expect_nothing(&watch);
    ck_assert_int_eq(send(pair[1], "u", 1, MSG_OOB), 1);
    test_run_until(loop, &watch.calls, 1);
    ck_assert_int_eq(watch.events, POLLPRI);
    ck_assert_int_eq(loop_poll_change(&watch.poll, POLLPRI | POLLIN | POLLOUT), 0);
    expect(&watch, POLLPRI | POLLIN | POLLOUT);
    ck_assert_int_eq(recv(pair[0], &byte, 1, MSG_OOB), 1);
    ck_assert_int_eq(byte, 'u');
    ck_assert_int_eq(loop_poll_change(&watch.poll, POLLPRI), 0);
    expect_nothing(&watch);
    loop_poll_stop(&watch.poll);
    test_close(pair[0]);
    test_close(pair[1]);
}
END_TEST

static void swap_events(struct watch *watch)
{
    uint32_t next = loop_poll_events(&watch->poll) == POLLIN ? POLLOUT : POLLIN;

    ck_assert_int_eq(loop_poll_change(&watch->poll, next), 0);
}

/* Goal: a change inside the callback holds from the next turn on, and none is lost. */
START_TEST(change_inside_the_callback)
{
    struct watch watch = {.then = swap_events};
    int          fds[2];

    test_socketpair(fds);
    test_write(fds[1], "x", 1);
    must_start(&watch, fds[0], POLLIN);
    for (int i = 0; i < 10; i++)
        expect(&watch, i % 2 == 0 ? POLLIN : POLLOUT);
    loop_poll_stop(&watch.poll);
    test_close(fds[0]);
    test_close(fds[1]);
}
END_TEST

static void stop_both(struct watch *watch)
{
    loop_poll_stop(&watch->poll);
    loop_poll_stop(&watch->other->poll);
}

static void silence_other(struct watch *watch)
{
    ck_assert_int_eq(loop_poll_change(&watch->other->poll, 0), 0);
    loop_poll_stop(&watch->poll);
}

/* Goal: what one callback stops, or silences, is not told of what the kernel had said before. Method: two descriptors
 * ready in the same look; whichever comes first acts on the other. */
START_TEST(stop_of_a_ready_one)
{
    struct watch one = {.then = stop_both}, two = {.then = stop_both, .other = &one};
    int          fds[2] = {eventfd(1, EFD_CLOEXEC), eventfd(1, EFD_CLOEXEC)};

    one.other = &two;
    must_start(&one, fds[0], POLLIN);
    must_start(&two, fds[1], POLLIN);
    test_turns(loop, 5);
    ck_assert_uint_eq(one.calls + two.calls, 1);
    one.then = silence_other;
    two.then = silence_other;
    one.calls = two.calls = 0;
    must_start(&one, fds[0], POLLIN);
    must_start(&two, fds[1], POLLIN);
    test_turns(loop, 5);
    ck_assert_uint_eq(one.calls + two.calls, 1);
    loop_poll_stop(&one.poll);
    loop_poll_stop(&two.poll);
    test_close(fds[0]);
    test_close(fds[1]);
}
END_TEST

/* Closes the other's descriptor, and has a quiet one under the same number watched at once. */
static void replace_other(struct watch *watch)
{
    struct watch *other = watch->other;
    int           number = other->fd, quiet;

    if (other->other == NULL)
        return;
    other->other = NULL; /* whose turn it was not */
    watch->then = NULL;
    loop_poll_stop(&other->poll);
    test_close(number);
    quiet = eventfd(0, EFD_CLOEXEC);
    ck_assert_int_eq(quiet, number);
    other->then = NULL;
    other->calls = 0;
    must_start(other, quiet, POLLIN);
}

/* Goal: an event that was on its way for a closed descriptor does not come to the handle of its successor. */
START_TEST(number_reused_in_the_same_turn)
{
    struct watch one = {.then = replace_other}, two = {.then = replace_other, .other = &one}, *quiet;
    int          fds[2] = {eventfd(1, EFD_CLOEXEC), eventfd(1, EFD_CLOEXEC)};

    one.other = &two;
    must_start(&one, fds[0], POLLIN);
    must_start(&two, fds[1], POLLIN);
    test_turns(loop, 5);
    quiet = one.other == NULL ? &one : &two;
    ck_assert_uint_eq(quiet->calls, 0);
    test_write(quiet->fd, &(uint64_t){1}, 8);
    expect(quiet, POLLIN);
    loop_poll_stop(&one.poll);
    loop_poll_stop(&two.poll);
    test_close(fds[0]);
    test_close(fds[1]);
}
END_TEST

/* Goal: after a stop nothing holds the file. Method: the peer of a socket sees its end as soon as it is closed. */
START_TEST(stop_lets_go)
{
    struct watch watch = {0};
    int          fds[2];
    char         byte;

    for (int i = 0; i < 2; i++) {
        test_socketpair(fds);
        must_start(&watch, fds[0], POLLIN);
        if (i > 0)
            test_turns(loop, 3);
        loop_poll_stop(&watch.poll);
        test_close(fds[0]);
        ck_assert_int_eq(recv(fds[1], &byte, 1, MSG_DONTWAIT), 0);
        test_close(fds[1]);
    }
    ck_assert_uint_eq(watch.calls, 0);
}
END_TEST

/* Goal: one handle for one descriptor; a second gets its turn when the first is stopped, or by a dup. */
START_TEST(two_handles)
{
    struct watch one = {0}, two = {0};
    int          fd = eventfd(1, EFD_CLOEXEC), copy = dup(fd);

    must_start(&one, fd, POLLIN);
    ck_assert_int_eq(start(&two, fd, POLLIN), -EEXIST);
    ck_assert(!loop_poll_active(&two.poll));
    expect(&one, POLLIN);
    must_start(&two, copy, POLLIN);
    expect(&two, POLLIN);
    loop_poll_stop(&two.poll);
    loop_poll_stop(&one.poll);
    must_start(&two, fd, POLLIN);
    expect(&two, POLLIN);
    loop_poll_stop(&two.poll);
    ck_assert_uint_eq(test_stats(loop).ops_in_flight, 0);
    test_close(fd);
    test_close(copy);
}
END_TEST

/* Goal: a descriptor that is closed under its handle is let go of: its peer sees the end, nothing is told, nothing
 * spins, and the handle can be stopped. */
START_TEST(closed_elsewhere)
{
    struct watch watch = {0};
    int          fds[2];
    char         byte;

    test_socketpair(fds);
    must_start(&watch, fds[0], POLLIN);
    test_turns(loop, 2);
    test_close(fds[0]);
    ck_assert_int_eq(recv(fds[1], &byte, 1, MSG_DONTWAIT), 0);
    expect_nothing(&watch);
    ck_assert(loop_poll_active(&watch.poll));
    ck_assert_int_eq(loop_poll_change(&watch.poll, POLLOUT), -EBADF);
    ck_assert_uint_eq(loop_poll_events(&watch.poll), POLLIN);
    loop_poll_stop(&watch.poll);
    test_close(fds[1]);
}
END_TEST

/* Goal: the same with a number that stands for another file by now: a stop does not touch that one's handle, and the
 * handle whose file is gone is told so when the number is watched again. */
START_TEST(closed_elsewhere_and_reused)
{
    struct watch old = {0}, new = {0};
    int          fd = eventfd(1, EFD_CLOEXEC), file;

    must_start(&old, fd, POLLIN);
    test_close(fd);
    file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    ck_assert_int_eq(file, fd);
    ck_assert_int_eq(loop_poll_change(&old.poll, POLLOUT), -EBADF);
    test_close(file);
    ck_assert_int_eq(eventfd(0, EFD_CLOEXEC), fd);
    ck_assert_int_eq(loop_poll_change(&old.poll, POLLOUT), -EBADF);
    must_start(&new, fd, POLLIN);
    ck_assert_uint_eq(old.calls, 0);
    ck_assert(loop_poll_active(&old.poll));
    ck_assert_int_eq(loop_poll_change(&old.poll, POLLIN), -EBADF);
    expect(&old, -EBADF);
    ck_assert(!loop_poll_active(&old.poll));
    expect_nothing(&new);
    test_write(fd, &(uint64_t){1}, 8);
    expect(&new, POLLIN);

    must_start(&old, eventfd(0, EFD_CLOEXEC), POLLIN); /* told to be over, and stopped before that comes */
    test_close(old.fd);
    old.calls = 0;
    loop_poll_stop(&new.poll);
    ck_assert_int_eq(dup2(fd, old.fd), old.fd);
    must_start(&new, old.fd, POLLIN);
    loop_poll_stop(&old.poll);
    expect(&new, POLLIN);
    ck_assert_uint_eq(old.calls, 0);
    loop_poll_stop(&new.poll);
    test_close(old.fd);
    test_close(fd);
}
END_TEST

/* Goal: a file that lives on under another number after its own was closed does not haunt the loop once its handle is
 * stopped: no callback, no turn without end. The others go on; one whose descriptor was closed as well is told. */
START_TEST(ghosts)
{
    struct watch ghost = {0}, living = {0}, dead = {0};
    int fd = eventfd(1, EFD_CLOEXEC), copy = dup(fd), other = eventfd(0, EFD_CLOEXEC), third = eventfd(0, EFD_CLOEXEC);
    struct loop_timer timer = {0};
    uint64_t          turns;

    must_start(&ghost, fd, POLLIN);
    must_start(&living, other, POLLIN);
    must_start(&dead, third, POLLIN);
    test_close(third);
    test_close(fd);
    expect(&ghost, POLLIN); /* the same with epoll */
    loop_poll_stop(&ghost.poll);
    expect_nothing(&ghost);
    expect_nothing(&living);
    ck_assert_uint_eq(dead.calls, 1);
    ck_assert_int_eq(dead.events, -EBADF);
    turns = test_stats(loop).turns;
    loop_poll_unref(&living.poll);
    ck_assert_int_eq(loop_timer_start(loop, &timer, 20 * LOOP_MILLISECOND, 0, (loop_timer_cb *)loop_timer_stop), 0);
    test_run(loop);
    ck_assert_uint_lt(test_stats(loop).turns, turns + 10);
    test_write(other, &(uint64_t){1}, 8);
    expect(&living, POLLIN);
    loop_poll_stop(&living.poll);
    test_close(copy);
    test_close(other);
}
END_TEST

/* Goal: the ghost's own number comes back for the same file: it can be watched again. */
START_TEST(ghost_comes_back)
{
    struct watch watch = {0}, again = {0};
    int          fd = eventfd(0, EFD_CLOEXEC), copy = dup(fd);

    must_start(&watch, fd, POLLIN);
    test_close(fd);
    loop_poll_stop(&watch.poll);
    ck_assert_int_eq(dup2(copy, fd), fd);
    must_start(&again, fd, POLLIN);
    expect_nothing(&again);
    test_write(copy, &(uint64_t){1}, 8);
    expect(&again, POLLIN);
    loop_poll_stop(&again.poll);
    test_close(fd);
    test_close(copy);
}
END_TEST

/* Goal: a handle keeps the loop alive unless it is unreferenced, which outlasts a stop. */
START_TEST(references)
{
    struct watch watch = {0};
    int          fd = eventfd(0, EFD_CLOEXEC);

    must_start(&watch, fd, POLLIN);
    ck_assert(loop_alive(loop) && loop_poll_has_ref(&watch.poll));
    loop_poll_unref(&watch.poll);
    ck_assert(!loop_alive(loop) && !loop_poll_has_ref(&watch.poll));
    loop_poll_ref(&watch.poll);
    loop_poll_ref(&watch.poll);
    ck_assert(loop_alive(loop));
    loop_poll_stop(&watch.poll);
    ck_assert(!loop_alive(loop));
    loop_poll_unref(&watch.poll);
    must_start(&watch, fd, POLLIN);
    ck_assert(!loop_alive(loop));
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_DEFAULT), 0);
    loop_poll_stop(&watch.poll);
    test_close(fd);
}
END_TEST

static void free_it(struct watch *watch)
{
    ck_assert_int_eq(watch->events, -ECANCELED);
    ck_assert_int_eq(loop_poll_start(loop, &watch->poll, watch->fd, POLLIN, told), -ECANCELED);
    free(watch);
}

/* Goal: the end of the loop is told to each handle, ready or not, which may be freed then; one that another's last
 * callback stops is told nothing. */
START_TEST(end_of_the_loop)
{
    struct loop  *own = loop = test_loop_new(NULL);
    struct watch *watch = calloc(1, sizeof(*watch)), stopped = {0}, first = {.then = stop_both, .other = &stopped};
    int           fd = eventfd(1, EFD_CLOEXEC), other = eventfd(1, EFD_CLOEXEC), third = eventfd(0, EFD_CLOEXEC);

    watch->then = free_it;
    must_start(&first, other, POLLIN);
    must_start(&stopped, third, POLLIN);
    must_start(watch, fd, POLLIN);
    test_loop_drop(own);
    ck_assert_uint_eq(first.calls, 1);
    ck_assert_int_eq(first.events, -ECANCELED);
    ck_assert_uint_eq(stopped.calls, 0);
    test_close(fd);
    test_close(other);
    test_close(third);
}
END_TEST

enum { MANY = 600 };

/* Goal: more than one look takes: all are told, none starves while all stay ready. */
START_TEST(many)
{
    static struct watch watches[MANY];
    struct rlimit       limit;
    uint32_t            least = UINT32_MAX;

    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_cur < MANY + 100) {
        test_skip("too few descriptors");
        return;
    }
    for (int i = 0; i < MANY; i++) {
        watches[i] = (struct watch){0};
        must_start(&watches[i], eventfd(1, EFD_CLOEXEC), POLLIN);
    }
    test_turns(loop, 30);
    for (int i = 0; i < MANY; i++) {
        least = watches[i].calls < least ? watches[i].calls : least;
        loop_poll_stop(&watches[i].poll);
        test_close(watches[i].fd);
    }
    ck_assert_uint_ge(least, 30 * 256 / MANY - 2);
}
END_TEST

/* Goal: a start that fails for want of memory or descriptors leaves nothing, and can be made again. */
START_TEST(without_memory)
{
    struct watch  watch = {0};
    int           fd = eventfd(1, EFD_CLOEXEC);
    struct rlimit limit, low;
    uint32_t      failures = 0;

    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    low = (struct rlimit){.rlim_cur = (rlim_t)fd + 1, .rlim_max = limit.rlim_max};
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &low), 0);
    ck_assert_int_eq(start(&watch, fd, POLLIN), -EMFILE);
    ck_assert(!loop_poll_active(&watch.poll) && !loop_alive(loop));
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    must_start(&watch, fd, POLLIN);
    loop_poll_stop(&watch.poll);
    test_loop_free(loop);
    loop = test_loop_new(NULL);
    for (; failures < 20; failures++) {
        test_memory.fail_at = test_memory.calls + 1 + failures;
        if (start(&watch, fd, POLLIN) == 0)
            break;
        ck_assert(!loop_poll_active(&watch.poll) && !loop_alive(loop));
        test_memory.fail_at = 0;
        test_loop_free(loop);
        loop = test_loop_new(NULL);
    }
    test_memory.fail_at = 0;
    ck_assert_uint_ge(failures, 2);
    expect(&watch, POLLIN);
    loop_poll_stop(&watch.poll);
    test_close(fd);
}
END_TEST

/* Goal: before the first run a handle only waits for it; after its stop the loop is as idle as one that had none. */
START_TEST(before_the_first_run)
{
    struct watch watch = {.then = stop_itself};
    int          fd = eventfd(1, EFD_CLOEXEC);

    must_start(&watch, fd, POLLIN);
    loop_poll_stop(&watch.poll);
    must_start(&watch, fd, POLLOUT);
    ck_assert_int_eq(loop_poll_change(&watch.poll, POLLIN | POLLOUT), 0);
    test_run(loop);
    ck_assert_uint_eq(watch.calls, 1);
    ck_assert_int_eq(watch.events, POLLIN | POLLOUT);
    ck_assert_uint_eq(test_stats(loop).ops_in_flight, 0);
    test_close(fd);
}
END_TEST

/* Goal: in a polled ring, where polls do not work, a start is refused. */
START_TEST(polled_ring)
{
    struct loop_options options = {.flags = LOOP_MODE_IOPOLL};
    struct watch        watch = {0};
    struct loop        *polled = test_loop_new(&options);
    int                 fd = eventfd(1, EFD_CLOEXEC);

    ck_assert_int_eq(loop_poll_start(polled, &watch.poll, fd, POLLIN, told), -EOPNOTSUPP);
    test_loop_free(polled);
    test_close(fd);
}
END_TEST

/* Goal: libuv's poll_close and poll_close_doesnt_corrupt_stack: handles that are started and at once stopped, whose
 * sockets are closed then, are forgotten. */
START_TEST(start_stop_close)
{
    for (int i = 0; i < 5; i++) {
        int          fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        struct watch watch = {0};

        must_start(&watch, fd, POLLIN | POLLOUT);
        loop_poll_stop(&watch.poll);
        test_close(fd);
        memset(&watch, 0xdb, sizeof(watch));
    }
    test_run(loop);
}
END_TEST

/* ---- libuv's poll_duplex, poll_unidirectional: both ends of a connection driven by handles */

enum { BYTES = 1 << 20, PAIRS = 8 };

struct flow {
    struct watch watch;
    uint64_t     sent, received, to_send;
    bool         ended;
};

static void flow_told(struct loop_poll *poll, int events)
{
    struct flow *flow = poll->data;
    char         bytes[5000];
    ssize_t      n = -1;

    if ((events & POLLIN) != 0) {
        n = recv(flow->watch.fd, bytes, sizeof(bytes), MSG_DONTWAIT);
        ck_assert_int_ge(n, 0); /* it said that there was something */
        flow->received += (uint64_t)n;
        flow->ended = n == 0;
    }
    if ((events & POLLOUT) != 0) {
        uint64_t left = flow->to_send - flow->sent;

        memset(bytes, 0, sizeof(bytes));
        n = left == 0 ? 0 : send(flow->watch.fd, bytes, left < 4096 ? left : 4096, MSG_DONTWAIT | MSG_NOSIGNAL);
        ck_assert_int_ge(n, 0);
        flow->sent += (uint64_t)n;
        if (flow->sent == flow->to_send) {
            ck_assert_int_eq(shutdown(flow->watch.fd, SHUT_WR), 0);
            ck_assert_int_eq(loop_poll_change(poll, POLLIN), 0);
        }
    }
    if (flow->ended && flow->sent == flow->to_send) {
        loop_poll_stop(poll);
        test_close(flow->watch.fd);
    }
}

static void flow_start(struct flow *flow, int fd, uint64_t bytes)
{
    *flow = (struct flow){.watch.fd = fd, .to_send = bytes, .watch.poll.data = flow};
    ck_assert_int_eq(loop_poll_start(loop, &flow->watch.poll, fd, POLLIN | POLLOUT, flow_told), 0);
}

static void run_flows(bool duplex)
{
    static struct flow flows[PAIRS][2];
    int                fds[2];

    for (int i = 0; i < PAIRS; i++) {
        test_tcp_pair(fds);
        flow_start(&flows[i][0], fds[0], BYTES);
        flow_start(&flows[i][1], fds[1], duplex ? BYTES : 0);
    }
    test_run(loop);
    for (int i = 0; i < PAIRS; i++) {
        ck_assert_uint_eq(flows[i][1].received, BYTES);
        ck_assert_uint_eq(flows[i][0].received, duplex ? BYTES : 0);
        ck_assert(flows[i][0].ended && flows[i][1].ended);
    }
}

START_TEST(flows_both_ways)
{
    run_flows(true);
}
END_TEST

START_TEST(flows_one_way)
{
    run_flows(false);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("poll");
    TCase *life = test_case(suite, "life"), *events = test_case(suite, "events"), *closed = test_case(suite, "closed"),
          *end = test_case(suite, "end");

    tcase_add_checked_fixture(life, setup, teardown);
    tcase_add_test(life, bad_arguments);
    tcase_add_test(life, files_are_refused);
    tcase_add_test(life, kinds_of_descriptors);
    tcase_add_test(life, two_handles);
    tcase_add_test(life, references);
    tcase_add_test(life, without_memory);
    tcase_add_test(life, before_the_first_run);
    tcase_add_test(life, polled_ring);
    tcase_add_test(life, start_stop_close);
    tcase_add_checked_fixture(events, setup, teardown);
    tcase_add_test(events, level_triggered);
    tcase_add_test(events, words);
    tcase_add_test(events, urgent_data);
    tcase_add_test(events, change_inside_the_callback);
    tcase_add_test(events, stop_of_a_ready_one);
    tcase_add_test(events, many);
    tcase_add_test(events, flows_both_ways);
    tcase_add_test(events, flows_one_way);
    tcase_add_checked_fixture(closed, setup, teardown);
    tcase_add_test(closed, number_reused_in_the_same_turn);
    tcase_add_test(closed, stop_lets_go);
    tcase_add_test(closed, closed_elsewhere);
    tcase_add_test(closed, closed_elsewhere_and_reused);
    tcase_add_test(closed, ghosts);
    tcase_add_test(closed, ghost_comes_back);
    tcase_add_test(end, end_of_the_loop);
    return suite;
}
