/* tests/loop/timer_wall_test.c: timers by the real wall clock, which is left as it is; and what users of other loops
 * expect of timers. Jumps are tested in tests/sim/timer_wall_sim_test.c. */
#include "tests/support/test.h"

#include <dirent.h>
#include <linux/ioctl.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <time.h>

static struct loop *loop;

static void setup(void)
{
    loop = test_loop_new(&(struct loop_options){.sq_entries = 64});
}

static void teardown(void)
{
    test_loop_free(loop);
}

static uint64_t wall_clock(void)
{
    struct timespec now;

    ck_assert_int_eq(clock_gettime(CLOCK_REALTIME, &now), 0);
    return (uint64_t)now.tv_sec * LOOP_SECOND + (uint64_t)now.tv_nsec;
}

struct probe {
    struct loop_timer timer;
    uint64_t          due; /* wall time */
    uint32_t          count, stop_at;
};

static void probe_fire(struct loop_timer *timer)
{
    struct probe *probe = timer->data;
    uint64_t      now = wall_clock();

    ck_assert_msg(now >= probe->due, "%" PRIu64 " ns early", probe->due - now);
    if (++probe->count == probe->stop_at)
        loop_timer_stop(timer);
}

static void probe_start(struct probe *probe, uint64_t wall_ns, uint64_t repeat_ns)
{
    probe->timer.data = probe;
    probe->due = wall_ns;
    ck_assert_int_eq(loop_timer_start_wall(loop, &probe->timer, wall_ns, repeat_ns, probe_fire), 0);
}

static void no_fire(struct loop_timer *timer)
{
    (void)timer;
    ck_abort_msg("a stopped timer fired");
}

/* Goal: it fires once, never early. Method: times from now on to 20 ms ahead, one after the other, from before the
 * first run on. */
START_TEST(near_now)
{
    static const uint64_t after[] = {0, 1, 1000, 65536, LOOP_MILLISECOND, 5 * LOOP_MILLISECOND, 20 * LOOP_MILLISECOND};

    for (size_t i = 0; i < TEST_COUNT(after); i++) {
        struct probe probe = {0};

        probe_start(&probe, wall_clock() + after[i], 0);
        ck_assert(loop_timer_active(&probe.timer));
        ck_assert_uint_le(loop_timer_due_in(&probe.timer), after[i]);
        test_run(loop);
        ck_assert_uint_eq(probe.count, 1);
        ck_assert(!loop_timer_active(&probe.timer));
        ck_assert_uint_eq(loop_timer_due_in(&probe.timer), 0);
    }
}
END_TEST

/* Goal: a past time is due at once, the far future is not. */
START_TEST(past_and_far)
{
    static const uint64_t past[] = {0, 1, LOOP_SECOND, UINT64_C(1000000000) * LOOP_SECOND};
    struct probe          far = {0}, farther = {0};

    probe_start(&far, wall_clock() + 365 * 86400 * LOOP_SECOND, 1);
    probe_start(&farther, UINT64_MAX, UINT64_MAX);
    for (size_t i = 0; i < TEST_COUNT(past); i++) {
        struct probe probe = {0};

        probe_start(&probe, past[i], 0);
        ck_assert_uint_eq(loop_timer_due_in(&probe.timer), 0);
        test_turns(loop, 2);
        ck_assert_uint_eq(probe.count, 1);
    }
    ck_assert_uint_eq(far.count, 0);
    ck_assert_uint_eq(farther.count, 0);
    ck_assert_uint_gt(loop_timer_due_in(&far.timer), 364 * 86400 * LOOP_SECOND);
    loop_timer_stop(&far.timer);
    loop_timer_stop(&farther.timer);
    test_run(loop);
}
END_TEST

static void on_time(struct loop_timer *timer)
{
    struct probe *probe = timer->data;
    uint64_t      period = loop_timer_repeat(timer);

    probe_fire(timer);
    if (probe->count == probe->stop_at)
        return;
    ck_assert(loop_timer_active(timer)); /* started again before its callback */
    ck_assert_uint_le(loop_timer_due_in(timer), period);
    probe->due += period; /* the earliest that the next may be; late ones are passed over */
}

/* Goal: a repeating timer stays active, fires on its grid, and not early; one from the distant past fires once for all
 * the times that were missed. */
START_TEST(repeats)
{
    struct probe probe = {.stop_at = 10}, old = {.stop_at = 3};
    uint64_t     period = 3 * LOOP_MILLISECOND;

    probe.timer.data = &probe;
    probe.due = wall_clock() + period;
    ck_assert_int_eq(loop_timer_start_wall(loop, &probe.timer, probe.due, period, on_time), 0);
    test_run(loop);
    ck_assert_uint_eq(probe.count, 10);
    probe_start(&old, LOOP_SECOND, 20 * LOOP_MILLISECOND);
    test_run(loop);
    ck_assert_uint_eq(old.count, 3);
}
END_TEST

/* Goal: equal wall times fire in order of start, others in order of time, whatever is stopped and restarted in between.
 * Method: 20 000 timers over 40 ms, many equal; a third stopped, a third made plain, some of those wall timers again.
 */
enum { MANY = 20000 };

static struct ordered {
    struct loop_timer timer;
    uint64_t          due, order;
    bool              wall, started;
} many[MANY];
static uint64_t last_due, last_order, fired;

static void many_fire(struct loop_timer *timer)
{
    struct ordered *ordered = timer->data;

    ck_assert(ordered->started);
    ordered->started = false;
    fired++;
    if (!ordered->wall)
        return;
    ck_assert_uint_ge(wall_clock(), ordered->due);
    ck_assert(ordered->due > last_due || (ordered->due == last_due && ordered->order > last_order));
    last_due = ordered->due;
    last_order = ordered->order;
}

static void many_start(struct ordered *ordered, uint64_t base, uint64_t *random, bool wall)
{
    static uint64_t order;
    uint64_t        after = test_random(random) % (40 * LOOP_MILLISECOND);

    if (order % 4 == 0)
        after -= after % LOOP_MILLISECOND;
    ordered->timer.data = ordered;
    ordered->due = base + after;
    ordered->order = ++order;
    ordered->wall = wall;
    ordered->started = true;
    if (wall)
        ck_assert_int_eq(loop_timer_start_wall(loop, &ordered->timer, ordered->due, 0, many_fire), 0);
    else
        ck_assert_int_eq(loop_timer_start(loop, &ordered->timer, after, 0, many_fire), 0);
}

START_TEST(many_mixed)
{
    uint64_t random = test_env("TEST_SEED", 3), base = wall_clock(), expected = 0;

    printf("timer_wall: seed %" PRIu64 "\n", random);
    for (size_t i = 0; i < MANY; i++)
        many_start(&many[i], base, &random, true);
    for (size_t i = 0; i < MANY; i++) {
        switch (test_random(&random) % 4) {
        case 0:
            loop_timer_stop(&many[i].timer);
            many[i].started = false;
            break;
        case 1: many_start(&many[i], base, &random, false); break;
        case 2:
            many_start(&many[i], base, &random, false);
            many_start(&many[i], base, &random, true);
            break;
        default: break;
        }
    }
    for (size_t i = 0; i < MANY; i++)
        expected += many[i].started;
    test_run(loop);
    ck_assert_uint_eq(fired, expected);
    ck_assert_uint_eq(test_stats(loop).timers_fired, expected);
}
END_TEST

/* Goal: ref, unref and has_ref, across both clocks. */
START_TEST(references)
{
    struct probe probe = {0};

    ck_assert(loop_timer_has_ref(&probe.timer));
    loop_timer_unref(&probe.timer);
    ck_assert(!loop_timer_has_ref(&probe.timer));
    probe_start(&probe, wall_clock() + 3600 * LOOP_SECOND, 0);
    ck_assert(!loop_alive(loop));
    test_run(loop);
    loop_timer_ref(&probe.timer);
    ck_assert(loop_alive(loop));
    loop_timer_unref(&probe.timer);
    ck_assert_int_eq(loop_timer_start(loop, &probe.timer, 3600 * LOOP_SECOND, 0, no_fire), 0);
    ck_assert(!loop_alive(loop));
    probe_start(&probe, 1, LOOP_SECOND); /* repeats, and keeps what it is */
    test_turns(loop, 2);
    ck_assert_uint_eq(probe.count, 1);
    ck_assert(!loop_timer_has_ref(&probe.timer));
    ck_assert(!loop_alive(loop));
    loop_timer_ref(&probe.timer);
    ck_assert(loop_alive(loop));
    loop_timer_stop(&probe.timer);
    ck_assert(loop_timer_has_ref(&probe.timer));
    ck_assert(!loop_alive(loop));
}
END_TEST

/* Goal: again counts from now on the timer's own clock; bad arguments change nothing. */
START_TEST(again_and_arguments)
{
    struct probe probe = {0};

    ck_assert_int_eq(loop_timer_start_wall(loop, &probe.timer, 0, 0, NULL), -EINVAL);
    ck_assert(!loop_timer_active(&probe.timer));
    probe_start(&probe, wall_clock() + 7200 * LOOP_SECOND, 0);
    ck_assert_int_eq(loop_timer_again(&probe.timer), -EINVAL);
    ck_assert(loop_timer_active(&probe.timer));
    ck_assert_int_eq(loop_timer_start_wall(loop, &probe.timer, 0, 0, NULL), -EINVAL);
    ck_assert_uint_gt(loop_timer_due_in(&probe.timer), 3600 * LOOP_SECOND);
    loop_timer_repeat_set(&probe.timer, 5 * LOOP_MILLISECOND);
    probe.due = wall_clock() + 5 * LOOP_MILLISECOND;
    probe.stop_at = 1;
    ck_assert_int_eq(loop_timer_again(&probe.timer), 0);
    ck_assert_uint_le(loop_timer_due_in(&probe.timer), 5 * LOOP_MILLISECOND);
    test_run(loop);
    ck_assert_uint_eq(probe.count, 1);
}
END_TEST

/* ---- the watch */

/* The number of the descriptor that watches the clock: the one timerfd. -1: none. */
static int watch_fd(void)
{
    DIR           *dir = opendir("/proc/self/fd");
    struct dirent *entry;
    char           path[300], link[64];
    int            fd = -1;

    ck_assert_ptr_nonnull(dir);
    while ((entry = readdir(dir)) != NULL) {
        ssize_t size;

        snprintf(path, sizeof(path), "/proc/self/fd/%s", entry->d_name);
        size = readlink(path, link, sizeof(link) - 1);
        link[size < 0 ? 0 : size] = '\0';
        if (strcmp(link, "anon_inode:[timerfd]") == 0)
            fd = atoi(entry->d_name);
    }
    closedir(dir);
    return fd;
}

/* Goal: the kernel is asked to tell when CLOCK_REALTIME is set, once for all timers. Method: what it shows of the
 * descriptor: clock 0, flags ABSTIME and CANCEL_ON_SET. */
START_TEST(watch_is_the_right_one)
{
    struct probe probe = {0};
    char         path[64], line[64];
    bool         clock = false, flags = false;
    FILE        *file;
    uint32_t     before;

    ck_assert_int_eq(watch_fd(), -1);
    before = test_fd_count();
    for (int i = 0; i < 10; i++) {
        probe_start(&probe, 1, 0);
        test_run(loop);
    }
    ck_assert_uint_eq(test_fd_count(), before + 1);
    snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", watch_fd());
    file = fopen(path, "re");
    ck_assert_ptr_nonnull(file);
    while (fgets(line, sizeof(line), file) != NULL) {
        clock |= strcmp(line, "clockid: 0\n") == 0;
        flags |= strcmp(line, "settime flags: 03\n") == 0;
    }
    fclose(file);
    ck_assert(clock);
    ck_assert(flags);
}
END_TEST

/* Goal: the poll of the watch works, again and again, and is spared by loop_cancel_all(). Method: the kernel makes a
 * timerfd readable on request (it is for restoring processes); the wall clock is what it was, so that no timer fires.
 */
START_TEST(watch_is_polled)
{
    struct probe probe = {0};
    uint64_t     ticks = 1;
    int          fd;

    probe_start(&probe, wall_clock() + 3600 * LOOP_SECOND, 0);
    test_turns(loop, 2);
    fd = watch_fd();
    for (uint64_t i = 1; i <= 5; i++) {
        ck_assert_int_eq(loop_cancel_all(loop), 0);
        if (ioctl(fd, _IOW('T', 0, uint64_t), &ticks) < 0) {
            test_skip("the kernel does not set ticks of a timerfd: %s", strerror(errno));
            break;
        }
        for (int n = 0; n < 100 && test_stats(loop).clock_sets < i; n++)
            ck_assert_int_ge(loop_run(loop, n == 0 ? LOOP_RUN_ONCE : LOOP_RUN_NOWAIT), 0);
        ck_assert_uint_eq(test_stats(loop).clock_sets, i);
        test_turns(loop, 2);
    }
    ck_assert_uint_eq(probe.count, 0);
    loop_timer_stop(&probe.timer);
}
END_TEST

/* Goal: without a free descriptor wall timers work all the same. Method: the limit is lowered to what is open. */
START_TEST(without_a_descriptor)
{
    struct probe  probe = {0};
    struct rlimit before, tight;

    test_turns(loop, 1);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    tight = before;
    tight.rlim_cur = 3;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &tight), 0);
    probe_start(&probe, wall_clock() + 5 * LOOP_MILLISECOND, 0);
    test_run(loop);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    ck_assert_uint_eq(probe.count, 1);
    ck_assert_int_eq(watch_fd(), -1);
    probe_start(&probe, 1, 0);
    test_run(loop);
    ck_assert_uint_eq(probe.count, 2);
    ck_assert_int_ge(watch_fd(), 0);
}
END_TEST

/* Goal: the end of a loop with wall timers, started before its first run, by its first run, or by a post at the end. */
static struct loop_timer late;

static void start_late(struct loop *on_loop, void *arg)
{
    (void)arg;
    ck_assert_int_eq(loop_timer_start_wall(on_loop, &late, 1, 1, no_fire), 0);
}

START_TEST(destroyed)
{
    struct loop_timer timer = {0};

    if (_i != 2)
        ck_assert_int_eq(loop_timer_start_wall(loop, &timer, wall_clock() + LOOP_SECOND * 3600, 0, no_fire), 0);
    if (_i == 1)
        test_turns(loop, 2);
    ck_assert_int_eq(loop_post(loop, start_late, NULL), 0);
    if (_i == 1)
        ck_assert_int_eq(loop_timer_start_wall(loop, &timer, 1, 0, no_fire), 0);
    test_loop_drop(loop);
    ck_assert(!loop_timer_active(&timer));
    ck_assert(!loop_timer_active(&late));
    loop = test_loop_new(NULL);
}
END_TEST

/* ---- as users of other loops know timers */

static struct expect {
    struct loop_timer timer;
    uint32_t          count;
    uint64_t          turn;
} expect;

static void again_inside(struct loop_timer *timer)
{
    if (++expect.count == 1) {
        test_sleep(5 * LOOP_MILLISECOND);
        ck_assert_int_eq(loop_timer_again(timer), 0);
        ck_assert_uint_eq(loop_timer_due_in(timer), 3600 * LOOP_SECOND); /* from loop_now() */
        loop_timer_repeat_set(timer, LOOP_MILLISECOND);
        ck_assert_uint_eq(loop_timer_due_in(timer), 3600 * LOOP_SECOND); /* not yet */
        ck_assert_int_eq(loop_timer_again(timer), 0);
        ck_assert_uint_eq(loop_timer_due_in(timer), LOOP_MILLISECOND);
        return;
    }
    ck_assert_uint_eq(loop_timer_repeat(timer), expect.count == 5 ? 0 : LOOP_MILLISECOND);
    if (expect.count == 4)
        loop_timer_repeat_set(timer, 0); /* this one was started already: one more */
}

/* Goal: again from inside the callback counts from the turn's time; a changed period holds from the next start on, and
 * 0 means no more. */
START_TEST(again_in_the_callback)
{
    ck_assert_int_eq(loop_timer_start(loop, &expect.timer, 0, 3600 * LOOP_SECOND, again_inside), 0);
    test_run(loop);
    ck_assert_uint_eq(expect.count, 5);
    ck_assert(!loop_timer_active(&expect.timer));
    ck_assert_int_eq(loop_timer_again(&expect.timer), -EINVAL);
    loop_timer_repeat_set(&expect.timer, 3600 * LOOP_SECOND);
    ck_assert_int_eq(loop_timer_again(&expect.timer), 0); /* a one-shot made repeating */
    ck_assert(loop_timer_active(&expect.timer));
    loop_timer_stop(&expect.timer);
    ck_assert_uint_eq(loop_timer_repeat(&expect.timer), 3600 * LOOP_SECOND);
    ck_assert_int_eq(loop_timer_start(loop, &expect.timer, LOOP_SECOND, 0, no_fire), 0);
    ck_assert_uint_eq(loop_timer_repeat(&expect.timer), 0); /* a start sets it anew */
    loop_timer_stop(&expect.timer);
}
END_TEST

struct three {
    struct loop_timer timer;
    uint32_t          count;
};
static struct three three[3];
static uint32_t     three_calls;

static void three_fire(struct loop_timer *timer)
{
    struct three *mine = timer->data;

    ck_assert_ptr_eq(mine, &three[three_calls % 3]);
    three_calls++;
    if (++mine->count == 20)
        loop_timer_stop(timer);
}

/* Goal: timers of equal periods keep the order of their starts from period to period. Method: three, started at the
 * same time; twenty rounds. By either clock. */
START_TEST(equal_periods)
{
    uint64_t at = _i == 0 ? loop_now(loop) + LOOP_MILLISECOND : wall_clock() + LOOP_MILLISECOND;

    for (size_t i = 0; i < 3; i++) {
        three[i].timer.data = &three[i];
        ck_assert_int_eq((_i == 0 ? loop_timer_start_at : loop_timer_start_wall)(loop, &three[i].timer, at,
                                                                                 LOOP_MILLISECOND, three_fire),
                         0);
    }
    test_run(loop);
    ck_assert_uint_eq(three_calls, 60);
}
END_TEST

static void move_other(struct loop_timer *timer)
{
    struct loop_timer *other = timer->data;

    ck_assert(loop_timer_active(other));
    ck_assert_int_eq(loop_timer_start(loop, other, 3600 * LOOP_SECOND, 0, no_fire), 0);
    ck_assert_uint_eq(loop_timer_due_in(other), 3600 * LOOP_SECOND);
}

/* Goal: a timer that is due in the same turn is put off by a start in the callback before it. */
START_TEST(put_off_in_a_callback)
{
    struct loop_timer first = {0}, second = {0};
    uint64_t          at = loop_now(loop);

    first.data = &second;
    ck_assert_int_eq(loop_timer_start_at(loop, &first, at, 0, move_other), 0);
    if (_i == 0)
        ck_assert_int_eq(loop_timer_start_at(loop, &second, at + 1, 0, no_fire), 0);
    else
        ck_assert_int_eq(loop_timer_start_wall(loop, &second, wall_clock(), 0, no_fire), 0);
    test_sleep(LOOP_MILLISECOND);
    test_turns(loop, 2);
    ck_assert(loop_timer_active(&second));
    loop_timer_stop(&second);
    test_run(loop);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("timer_wall");
    TCase *tcase = test_case(suite, "timer_wall");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, near_now);
    tcase_add_test(tcase, past_and_far);
    tcase_add_test(tcase, repeats);
    tcase_add_test(tcase, many_mixed);
    tcase_add_test(tcase, references);
    tcase_add_test(tcase, again_and_arguments);
    tcase_add_test(tcase, watch_is_the_right_one);
    tcase_add_test(tcase, watch_is_polled);
    tcase_add_test(tcase, without_a_descriptor);
    tcase_add_loop_test(tcase, destroyed, 0, 3);
    tcase_add_test(tcase, again_in_the_callback);
    tcase_add_loop_test(tcase, equal_periods, 0, 2);
    tcase_add_loop_test(tcase, put_off_in_a_callback, 0, 2);
    return suite;
}
