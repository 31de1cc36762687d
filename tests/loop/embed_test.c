/* tests/loop/embed_test.c: the loop inside others: epoll and poll(2) as the outer one. */
#include "tests/support/test.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/time.h>

enum {
    WAIT_MS = 10000, /* what no test waits for, unless a wake-up was lost */
    TURNS_MAX = 200000,
    MANY = 20000,
};

/* ---- outer loops: each waits for the descriptor, at most for timeout_ms; returns whether it is readable */

static bool wait_poll(int fd, int timeout_ms)
{
    struct pollfd pollfd = {.fd = fd, .events = POLLIN};
    int           r = poll(&pollfd, 1, timeout_ms);

    ck_assert(r >= 0 || errno == EINTR);
    return r > 0;
}

static bool wait_epoll_with(int fd, int timeout_ms, uint32_t events)
{
    static int         epoll_fd = -1, added = -1;
    struct epoll_event event = {.events = events};
    int                r;

    if (fd < 0) {
        if (epoll_fd >= 0)
            test_close(epoll_fd);
        epoll_fd = added = -1;
        return false;
    }
    if (epoll_fd < 0)
        epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (added != fd)
        ck_assert_int_eq(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event), 0);
    added = fd;
    r = epoll_wait(epoll_fd, &event, 1, timeout_ms);
    ck_assert(r >= 0 || errno == EINTR);
    return r > 0;
}

static bool wait_epoll(int fd, int timeout_ms)
{
    return wait_epoll_with(fd, timeout_ms, EPOLLIN);
}

static bool wait_epoll_edge(int fd, int timeout_ms)
{
    return wait_epoll_with(fd, timeout_ms, EPOLLIN | EPOLLET);
}

static bool (*const waits[])(int fd, int timeout_ms) = {wait_poll, wait_epoll, wait_epoll_edge};

/* One turn of the outer loop. Fails if it had to wait for longer than any test has a reason to. */
static void outer_turn(struct loop *loop, int which)
{
    int      fd = loop_backend_fd(loop), timeout_ms;
    uint64_t begin = test_clock();

    ck_assert_int_ge(fd, 0);
    timeout_ms = loop_backend_timeout_ms(loop);
    if (timeout_ms < 0 || timeout_ms > WAIT_MS)
        timeout_ms = WAIT_MS;
    (void)waits[which](fd, timeout_ms);
    ck_assert_msg(test_clock() - begin < WAIT_MS * LOOP_MILLISECOND, "nobody woke the outer loop");
    ck_assert_int_ge(loop_run(loop, LOOP_RUN_NOWAIT), 0);
}

static void outer_until(struct loop *loop, int which, const uint32_t *counter, uint32_t value)
{
    for (uint32_t turns = 0; __atomic_load_n(counter, __ATOMIC_RELAXED) < value; turns++) {
        ck_assert_uint_lt(turns, TURNS_MAX);
        outer_turn(loop, which);
    }
}

static void finish(struct loop *loop)
{
    test_loop_free(loop);
    (void)wait_epoll(-1, 0);
}

/* ---- what wakes it */

static void later(void *(*run)(void *arg), void *arg, pthread_t *ret_thread)
{
    ck_assert_int_eq(pthread_create(ret_thread, NULL, run, arg), 0);
}

struct sender {
    struct loop *loop;
    int          fd;
    uint32_t     posts;
};

static void *send_later(void *arg)
{
    struct sender *sender = arg;

    test_sleep(20 * LOOP_MILLISECOND);
    test_write(sender->fd, "x", 1);
    return NULL;
}

/* Goal: a completion wakes a poller that is asleep already. Method: a receive; a thread sends after a while. */
START_TEST(woken_by_a_completion)
{
    struct loop    *loop = test_loop_new(NULL);
    struct test_log log = {0};
    struct sender   sender;
    pthread_t       thread;
    int             fds[2];
    char            byte;

    test_socketpair(fds);
    ck_assert_int_gt(loop_recv(loop, fds[0], &byte, 1, 0, test_log_cb, &log, NULL), 0);
    sender.fd = fds[1];
    later(send_later, &sender, &thread);
    outer_until(loop, _i, &log.finals, 1);
    test_log_is(&log, 1);
    pthread_join(thread, NULL);
    finish(loop);
    test_close(fds[0]);
    test_close(fds[1]);
}
END_TEST

static void *post_later(void *arg)
{
    struct sender *sender = arg;

    test_sleep(20 * LOOP_MILLISECOND);
    ck_assert_int_eq(loop_post(sender->loop, test_count_post, &sender->posts), 0);
    return NULL;
}

START_TEST(woken_by_a_post)
{
    struct sender sender = {.loop = test_loop_new(NULL)};
    pthread_t     thread;

    (void)loop_backend_timeout(sender.loop);
    later(post_later, &sender, &thread);
    outer_until(sender.loop, _i, &sender.posts, 1);
    pthread_join(thread, NULL);
    ck_assert_uint_le(test_stats(sender.loop).wakes, 1);
    finish(sender.loop);
}
END_TEST

/* Goal: loop_stop() and loop_wake() end a wait; the run after a stop does nothing, the next goes on. Method: from a
 * thread (_i < 3), from a signal handler (from 3 on). */
static struct loop *signalled;

static void *stop_later(void *arg)
{
    test_sleep(20 * LOOP_MILLISECOND);
    loop_stop(arg);
    return NULL;
}

static void on_alarm(int signal)
{
    (void)signal;
    loop_wake(signalled);
}

START_TEST(woken_by_stop)
{
    struct loop *loop = test_loop_new(NULL);
    int          fd = loop_backend_fd(loop);
    uint64_t     begin = test_clock(), turns;
    pthread_t    thread;

    (void)loop_backend_timeout(loop);
    turns = test_stats(loop).turns;
    later(stop_later, loop, &thread);
    for (int i = 0; i < 100 && !waits[_i](fd, WAIT_MS); i++)
        continue;
    ck_assert_uint_lt(test_clock() - begin, WAIT_MS * LOOP_MILLISECOND);
    pthread_join(thread, NULL);
    ck_assert_uint_eq(loop_backend_timeout(loop), 0);
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_NOWAIT), 0);
    ck_assert_uint_eq(test_stats(loop).turns, turns);
    ck_assert_uint_eq(loop_backend_timeout(loop), UINT64_MAX);
    ck_assert(!wait_poll(fd, 0));
    finish(loop);
}
END_TEST

START_TEST(woken_from_a_signal_handler)
{
    struct loop     *loop = test_loop_new(NULL);
    struct itimerval soon = {.it_value.tv_usec = 20000};
    int              fd = loop_backend_fd(loop);

    signalled = loop;
    (void)signal(SIGALRM, on_alarm);
    (void)loop_backend_timeout(loop);
    ck_assert_int_eq(setitimer(ITIMER_REAL, &soon, NULL), 0);
    for (int i = 0; i < 100 && !waits[_i](fd, WAIT_MS); i++)
        continue;
    ck_assert_uint_eq(loop_backend_timeout(loop), 0);
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_NOWAIT), 0);
    ck_assert_uint_eq(loop_backend_timeout(loop), UINT64_MAX);
    ck_assert(!wait_poll(fd, 0));
    finish(loop);
}
END_TEST

/* Goal: results of work wake it. */
static int32_t work(void *arg)
{
    (void)arg;
    test_sleep(20 * LOOP_MILLISECOND);
    return 3;
}

START_TEST(woken_by_work)
{
    struct loop    *loop = test_loop_new(NULL);
    struct test_log log = {0};

    ck_assert_int_gt(loop_work(loop, LOOP_WORK_DEFAULT, work, test_log_cb, &log, NULL), 0);
    outer_until(loop, _i, &log.finals, 1);
    test_log_is(&log, 3);
    finish(loop);
}
END_TEST

/* Goal: timers come by the timeout, never early, and the timeout is rounded up. Method: three timers. */
static void count_timer(struct loop_timer *timer)
{
    ck_assert_uint_ge(test_clock(), timer->priv.node.deadline_ns);
    ++*(uint32_t *)timer->data;
}

START_TEST(timers_by_timeout)
{
    struct loop      *loop = test_loop_new(NULL);
    struct loop_timer timers[3] = {0};
    uint32_t          fired = 0;

    ck_assert_uint_eq(loop_backend_timeout(loop), UINT64_MAX);
    ck_assert_int_eq(loop_backend_timeout_ms(loop), -1);
    for (uint32_t i = 0; i < 3; i++) {
        timers[i].data = &fired;
        ck_assert_int_eq(loop_timer_start(loop, &timers[i], i * 10 * LOOP_MILLISECOND, 0, count_timer), 0);
    }
    ck_assert_uint_eq(loop_backend_timeout(loop), 0);
    outer_until(loop, _i, &fired, 3);
    ck_assert_int_eq(loop_timer_start(loop, &timers[0], 3600 * LOOP_SECOND, 0, count_timer), 0);
    ck_assert_uint_le(loop_backend_timeout(loop), 3600 * LOOP_SECOND);
    ck_assert_uint_gt(loop_backend_timeout(loop), 3000 * LOOP_SECOND);
    ck_assert_int_gt(loop_backend_timeout_ms(loop), 3000 * 1000);
    loop_timer_start(loop, &timers[0], UINT64_MAX / 2, 0, count_timer);
    ck_assert_int_eq(loop_backend_timeout_ms(loop), INT_MAX);
    loop_timer_stop(&timers[0]);
    finish(loop);
}
END_TEST

/* ---- the timeout */

static void nothing(struct loop_hook *hook)
{
    (void)hook;
}

/* Goal: what is started outside of runs leaves with the call; what waits to be called back for makes it 0; an idle hook
 * does as long as it is active. Method: a send, seen at the other end without a run; a stream's write and close. */
START_TEST(timeout)
{
    struct loop       *loop = test_loop_new(NULL);
    struct loop_stream stream = {0};
    struct loop_hook   idle = {0};
    struct test_log    log = {0};
    int                fds[2];
    char               byte;

    test_socketpair(fds);
    ck_assert_int_gt(loop_send(loop, fds[0], "x", 1, 0, test_log_cb, &log, NULL), 0);
    (void)loop_backend_timeout(loop);
    ck_assert_int_eq(recv(fds[1], &byte, 1, MSG_DONTWAIT), 1);
    ck_assert_uint_eq(log.count, 0);
    test_turns(loop, 1);
    test_log_is(&log, 1);
    ck_assert_int_eq(loop_stream_open(loop, &stream, fds[0], NULL), 0);
    ck_assert_int_eq(loop_stream_write(&stream, "y", 1, NULL, NULL, NULL), 0);
    ck_assert_uint_eq(loop_backend_timeout(loop), 0);
    test_turns(loop, 1);
    ck_assert_int_eq(recv(fds[1], &byte, 1, MSG_DONTWAIT), 1);
    loop_stream_close(&stream, NULL);
    ck_assert_uint_eq(loop_backend_timeout(loop), 0);
    test_run(loop);
    ck_assert_int_eq(loop_hook_start(loop, &idle, LOOP_HOOK_IDLE, nothing), 0);
    ck_assert_uint_eq(loop_backend_timeout(loop), 0);
    loop_hook_stop(&idle);
    ck_assert_uint_eq(loop_backend_timeout(loop), UINT64_MAX);
    finish(loop);
    test_close(fds[1]);
}
END_TEST

/* Goal: inside callbacks the timeout is 0, and the descriptor may be asked for there. */
static void ask_inside(struct loop *loop, const struct loop_result *result, void *arg)
{
    (void)result;
    ck_assert_uint_eq(loop_backend_timeout(loop), 0);
    *(int *)arg = loop_backend_fd(loop);
}

START_TEST(inside_a_callback)
{
    struct loop  *loop = test_loop_new(NULL);
    struct sender sender = {.loop = loop};
    pthread_t     thread;
    int           fd = -1;

    ck_assert_int_gt(loop_nop(loop, ask_inside, &fd, NULL), 0);
    test_run(loop);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(loop_backend_fd(loop), fd);
    later(post_later, &sender, &thread); /* the run itself has made it ready for others */
    ck_assert(wait_poll(fd, WAIT_MS));
    pthread_join(thread, NULL);
    test_turns(loop, 1);
    ck_assert_uint_eq(sender.posts, 1);
    ck_assert(!wait_poll(fd, 0));
    test_loop_free(loop);
}
END_TEST

/* Goal: what a run leaves to be done makes the descriptor readable, also for those who only look at that. Method: a
 * timer, the last of a turn, starts a nop (_i = 0), which completes at the end of the run, or a receive, whose data
 * comes then (1): a completion is there, or work waits in the kernel, when the eventfd is drained. */
struct late {
    struct test_log log;
    int             fds[2];
    char            byte;
    int             kind;
};

static void start_late(struct loop_timer *timer)
{
    struct late *late = timer->data;
    struct loop *loop = loop_timer_loop(timer);

    if (late->kind == 0) {
        ck_assert_int_gt(loop_nop(loop, test_log_cb, &late->log, NULL), 0);
        return;
    }
    ck_assert_int_gt(loop_recv(loop, late->fds[0], &late->byte, 1, 0, test_log_cb, &late->log, NULL), 0);
    ck_assert_int_eq(loop_submit(loop), 1);
    test_write(late->fds[1], "x", 1);
}

START_TEST(left_at_the_end)
{
    struct loop      *loop = test_loop_new(NULL);
    struct late       late = {.kind = _i};
    struct loop_timer timer = {.data = &late};
    int               fd = loop_backend_fd(loop);

    test_socketpair(late.fds);
    ck_assert_int_eq(loop_timer_start(loop, &timer, 0, 0, start_late), 0);
    test_turns(loop, 1);
    for (int i = 0; i < 3 && late.log.finals == 0; i++) {
        ck_assert(wait_poll(fd, 0));
        test_turns(loop, 1);
    }
    test_log_is(&late.log, _i);
    test_turns(loop, 1);
    ck_assert(!wait_poll(fd, 0));
    test_loop_free(loop);
    test_close(late.fds[0]);
    test_close(late.fds[1]);
}
END_TEST

/* ---- no wake-up is lost */

struct poster {
    struct loop *loop;
    uint32_t     posts;
};

static void *post_many(void *arg)
{
    struct poster *poster = arg;

    for (uint32_t i = 0; i < MANY; i++) {
        ck_assert_int_eq(loop_post(poster->loop, test_count_post, &poster->posts), 0);
        if (i % 16 == 0)
            sched_yield();
    }
    return NULL;
}

static void *echo_back(void *arg)
{
    struct sender *sender = arg;
    char           byte;

    for (uint32_t i = 0; i < MANY; i++) {
        test_read(sender->fd, &byte, 1);
        test_write(sender->fd, &byte, 1);
    }
    return NULL;
}

struct pinger {
    int      fd;
    uint32_t rounds;
    char     byte;
};

static void ping(struct loop *loop, struct pinger *pinger);

static void ponged(struct loop *loop, const struct loop_result *result, void *arg)
{
    struct pinger *pinger = arg;

    ck_assert_int_eq(result->res, 1);
    if (++pinger->rounds < MANY)
        ping(loop, pinger);
}

static void ping(struct loop *loop, struct pinger *pinger)
{
    ck_assert_int_gt(loop_recv(loop, pinger->fd, &pinger->byte, 1, 0, ponged, pinger, NULL), 0);
    ck_assert_int_gt(loop_send(loop, pinger->fd, "x", 1, 0, NULL, NULL, NULL), 0);
}

/* Goal: posts and completions that come at any moment, between draining and waiting too, end the wait. Method: a thread
 * posts, another echoes; a lost wake-up would make a wait last for ten seconds. */
START_TEST(nothing_is_lost)
{
    struct poster poster = {.loop = test_loop_new(NULL)};
    struct pinger pinger = {0};
    struct sender sender;
    pthread_t     posting, echoing;
    int           fds[2];

    test_socketpair(fds);
    sender.fd = fds[1];
    pinger.fd = fds[0];
    (void)loop_backend_fd(poster.loop);
    later(post_many, &poster, &posting);
    later(echo_back, &sender, &echoing);
    ping(poster.loop, &pinger);
    outer_until(poster.loop, _i, &pinger.rounds, MANY);
    outer_until(poster.loop, _i, &poster.posts, MANY);
    pthread_join(posting, NULL);
    pthread_join(echoing, NULL);
    finish(poster.loop);
    test_close(fds[0]);
    test_close(fds[1]);
}
END_TEST

/* ---- together with runs that wait; modes */

/* Goal: the owner may also run the loop as ever, and other threads wake it there. */
START_TEST(runs_that_wait)
{
    struct sender sender = {.loop = test_loop_new(NULL)};
    pthread_t     thread;
    int           fd = loop_backend_fd(sender.loop);
    uint32_t      vain;

    for (uint32_t i = 1; i <= 3; i++) {
        struct loop_timer timer = {.data = &sender.posts};

        later(post_later, &sender, &thread);
        ck_assert_int_eq(loop_timer_start(sender.loop, &timer, 3600 * LOOP_SECOND, 0, count_timer), 0);
        ck_assert_int_eq(loop_run(sender.loop, LOOP_RUN_ONCE), 1);
        ck_assert_uint_eq(sender.posts, i);
        loop_timer_stop(&timer);
        pthread_join(thread, NULL);
        (void)loop_backend_timeout(sender.loop);
        for (vain = 0; vain < 100 && wait_poll(fd, 0); vain++) /* the kernel may signal late */
            test_turns(sender.loop, 1);
        ck_assert_uint_lt(vain, 100);
    }
    test_loop_free(sender.loop);
}
END_TEST

/* Goal: in every mode it works, or is refused clearly. Method: a nop's completion and one that comes later, by poll(2).
 */
START_TEST(modes)
{
    static const uint32_t table[] = {
        0, LOOP_MODE_SHARED, LOOP_MODE_SQPOLL, LOOP_MODE_SQE128, LOOP_MODE_CQE32, LOOP_MODE_IOPOLL};
    const struct loop_options options = {.flags = table[_i], .allocator = test_allocator()};
    struct loop              *loop;
    struct test_log           log = {0};
    struct sender             sender;
    pthread_t                 thread;
    int                       fds[2];
    char                      byte;

    if (loop_create(&loop, &options) < 0) {
        test_skip("this kernel has no such mode");
        return;
    }
    if (table[_i] == LOOP_MODE_IOPOLL) {
        ck_assert_int_eq(loop_backend_fd(loop), -EOPNOTSUPP);
        test_loop_drop(loop);
        return;
    }
    test_socketpair(fds);
    sender.fd = fds[1];
    ck_assert_int_ge(loop_backend_fd(loop), 0);
    ck_assert_int_gt(loop_nop(loop, test_log_cb, &log, NULL), 0);
    outer_until(loop, 0, &log.finals, 1);
    log = (struct test_log){0};
    ck_assert_int_gt(loop_recv(loop, fds[0], &byte, 1, 0, test_log_cb, &log, NULL), 0);
    later(send_later, &sender, &thread);
    outer_until(loop, 0, &log.finals, 1);
    pthread_join(thread, NULL);
    test_loop_free(loop);
    test_close(fds[0]);
    test_close(fds[1]);
}
END_TEST

/* ---- a new ring */

static int backend_fd;

/* Goal: in a child the descriptor has the same number and is another one: what happens in the child does not wake the
 * parent, and the child is woken by its own. Method: the child posts to itself and takes a nop's completion. */
static void as_child(void *loop)
{
    int             fd = backend_fd;
    uint32_t        posts = 0;
    struct test_log log = {0};

    TEST_TRUE_IN_CHILD(loop_fork(loop) == 0);
    TEST_TRUE_IN_CHILD(loop_backend_fd(loop) == fd);
    TEST_TRUE_IN_CHILD(loop_backend_timeout(loop) == UINT64_MAX);
    TEST_TRUE_IN_CHILD(!wait_poll(fd, 0));
    TEST_TRUE_IN_CHILD(loop_post(loop, test_count_post, &posts) == 0);
    TEST_TRUE_IN_CHILD(wait_poll(fd, 0));
    TEST_TRUE_IN_CHILD(loop_run(loop, LOOP_RUN_NOWAIT) == 0);
    TEST_TRUE_IN_CHILD(posts == 1 && !wait_poll(fd, 0));
    TEST_TRUE_IN_CHILD(loop_nop(loop, test_log_cb, &log, NULL) > 0);
    TEST_TRUE_IN_CHILD(loop_backend_timeout(loop) == 0 && wait_poll(fd, 0));
    TEST_TRUE_IN_CHILD(loop_run(loop, LOOP_RUN_NOWAIT) == 0);
    TEST_TRUE_IN_CHILD(log.finals == 1);
    TEST_TRUE_IN_CHILD(loop_post(loop, test_count_post, &posts) == 0);
}

START_TEST(forked)
{
    struct loop *loop = test_loop_new(NULL);

    backend_fd = loop_backend_fd(loop);
    ck_assert_int_ge(backend_fd, 0);
    ck_assert_uint_eq(loop_backend_timeout(loop), UINT64_MAX);
    test_in_child(as_child, loop);
    ck_assert(!wait_poll(backend_fd, 0));
    test_turns(loop, 1);
    test_loop_free(loop);
}
END_TEST

/* Goal: on another thread the descriptor is the same, and is woken by the new ring. */
static void *outer_loop(void *arg)
{
    struct sender *sender = arg;
    pthread_t      thread;

    later(post_later, sender, &thread);
    outer_until(sender->loop, 0, &sender->posts, 1);
    pthread_join(thread, NULL);
    ck_assert_int_eq(loop_disown(sender->loop), 0);
    return NULL;
}

START_TEST(moved)
{
    struct loop    *loop = test_loop_new(NULL);
    struct sender   sender = {.loop = loop};
    struct test_log log = {0};
    int             fd = loop_backend_fd(loop);
    pthread_t       thread;

    test_turns(loop, 1);
    ck_assert_int_eq(loop_disown(loop), 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, outer_loop, &sender), 0);
    pthread_join(thread, NULL);
    ck_assert_int_eq(loop_backend_fd(loop), fd);
    ck_assert_int_gt(loop_timeout(loop, 20 * LOOP_MILLISECOND, 0, 0, test_log_cb, &log, NULL), 0);
    outer_until(loop, 0, &log.finals, 1);
    test_loop_free(loop);
}
END_TEST

/* Goal: on a restricted loop the descriptor can be had, before the first run and after it. */
START_TEST(restricted)
{
    static const uint8_t           opcodes[] = {LOOP_OP_NOP};
    const struct loop_restrictions restrictions = {.opcodes = opcodes, .opcodes_count = 1};
    const struct loop_options      options = {.modes.restrictions = &restrictions};
    struct loop                   *loop = test_loop_new(&options);

    if (_i == 1)
        test_turns(loop, 1);
    ck_assert_int_ge(loop_backend_fd(loop), 0);
    test_turns(loop, 1);
    test_loop_free(loop);
}
END_TEST

/* Goal: without descriptors the request fails, and can be made again. */
START_TEST(no_descriptor)
{
    struct loop  *loop = test_loop_new(NULL);
    struct rlimit limit, none;

    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    none = (struct rlimit){.rlim_cur = 0, .rlim_max = limit.rlim_max};
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    ck_assert_int_eq(loop_backend_fd(loop), -EMFILE);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    ck_assert_int_ge(loop_backend_fd(loop), 0);
    test_loop_free(loop);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("embed");
    TCase *tcase = test_case(suite, "wake");

    tcase_add_loop_test(tcase, woken_by_a_completion, 0, 3);
    tcase_add_loop_test(tcase, woken_by_a_post, 0, 3);
    tcase_add_loop_test(tcase, woken_by_stop, 0, 3);
    tcase_add_loop_test(tcase, woken_from_a_signal_handler, 0, 3);
    tcase_add_loop_test(tcase, woken_by_work, 0, 3);
    tcase_add_loop_test(tcase, timers_by_timeout, 0, 3);
    tcase_add_loop_test(tcase, nothing_is_lost, 0, 3);

    tcase = test_case(suite, "embed");
    tcase_add_test(tcase, timeout);
    tcase_add_test(tcase, inside_a_callback);
    tcase_add_loop_test(tcase, left_at_the_end, 0, 2);
    tcase_add_test(tcase, runs_that_wait);
    tcase_add_loop_test(tcase, modes, 0, 6);
    tcase_add_test(tcase, forked);
    tcase_add_test(tcase, moved);
    tcase_add_loop_test(tcase, restricted, 0, 2);
    tcase_add_test(tcase, no_descriptor);
    return suite;
}
