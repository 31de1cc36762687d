/* tests/loop/rehome_test.c: a loop that goes from one thread to another. */
#include "tests/support/test.h"

#include <poll.h>
#include <pthread.h>
#include <sys/wait.h>

static struct loop *loop;

static void setup(void)
{
    loop = test_loop_new(&(struct loop_options){.sq_entries = 64, .buffer_count = 8, .buffer_size = 4096});
}

static void teardown(void)
{
    test_loop_free(loop);
}

/* On another thread, which has ended when this returns. No ck_assert there: abort() tells as well. */
static void on_thread(void *(*run)(void *arg), void *arg)
{
    pthread_t thread;

    ck_assert_int_eq(pthread_create(&thread, NULL, run, arg), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
}

static void must(bool condition)
{
    if (!condition)
        abort();
}

static void *turns_then_disown(void *arg)
{
    (void)arg;
    for (int i = 0; i < 3; i++)
        must(loop_run(loop, LOOP_RUN_NOWAIT) >= 0);
    must(loop_disown(loop) == 0);
    return NULL;
}

static void *turns(void *arg)
{
    (void)arg;
    for (int i = 0; i < 3; i++)
        must(loop_run(loop, LOOP_RUN_NOWAIT) >= 0);
    return NULL;
}

/* Goal: nobody's loop is given up without effect, and a loop given up may be used by any one thread. */
START_TEST(nobodys)
{
    struct test_log log = {0};

    ck_assert_int_eq(loop_disown(loop), 0);
    ck_assert_int_eq(loop_rehome(loop), 0);
    on_thread(turns_then_disown, NULL);
    ck_assert_int_gt(loop_nop(loop, test_log_cb, &log, NULL), 0);
    test_run(loop);
    test_log_is(&log, 0);
    ck_assert_int_eq(loop_disown(loop), 0);
    on_thread(turns_then_disown, NULL);
}
END_TEST

static void disown_inside(struct loop *of, void *arg)
{
    *(int *)arg = loop_disown(of);
}

START_TEST(refused_inside)
{
    int r = 1;

    ck_assert_int_eq(loop_post(loop, disown_inside, &r), 0);
    test_run(loop);
    ck_assert_int_eq(r, -EBUSY);
}
END_TEST

static void *rehome_while_alive(void *arg)
{
    *(int *)arg = loop_rehome(loop);
    return NULL;
}

/* Goal: the loop of a thread that lives is not taken from it. */
START_TEST(owner_alive)
{
    int r = 1;

    test_turns(loop, 1);
    on_thread(rehome_while_alive, &r);
    ck_assert_int_eq(r, -EBUSY);
}
END_TEST

/* ---- what becomes of operations */

struct things {
    struct test_log   multi, one, poll, done, timer_log, late, direct;
    struct loop_timer timer;
    uint32_t          fired;
    int               fds[2], idle[2];
    char              byte;
};

static void start_things(struct things *things)
{
    test_socketpair(things->fds);
    test_socketpair(things->idle);
    things->timer.data = &things->fired;
    ck_assert_int_eq(loop_timer_start(loop, &things->timer, 30 * LOOP_MILLISECOND, 0, test_count_timer), 0);
    ck_assert_int_gt(
        loop_recv_multishot(loop, things->fds[0], LOOP_GROUP_DEFAULT, 0, test_log_cb, &things->multi, NULL), 0);
    ck_assert_int_gt(loop_recv(loop, things->idle[1], &things->byte, 1, 0, test_log_cb, &things->one, NULL), 0);
    ck_assert_int_gt(loop_poll_add_multishot(loop, things->idle[0], POLLIN, 0, test_log_cb, &things->poll, NULL), 0);
    ck_assert_int_gt(loop_recv(loop, things->fds[1], &things->byte, 1, 0, test_log_cb, &things->late,
                               LOOP_TERMS(.timeout_ns = LOOP_SECOND)),
                     0);
}

static void check_things(struct things *things)
{
    test_write(things->fds[1], "after", 5);
    test_run_until(loop, &things->multi.count, 2);
    ck_assert_mem_eq(things->multi.data, "beforeafter", 11);
    test_run_until(loop, &things->one.count, 1);
    test_log_is(&things->one, -ECANCELED);
    ck_assert_int_eq(things->late.last.res, -ECANCELED);
    test_write(things->idle[1], "x", 1);
    test_run_until(loop, &things->poll.count, 1);
    ck_assert_uint_eq(things->multi.finals + things->poll.finals, 0);
    test_run_until(loop, &things->fired, 1);
    loop_cancel_all(loop);
    test_run(loop);
    ck_assert_uint_eq(things->multi.finals, 1);
    ck_assert_uint_eq(things->poll.finals, 1);
    for (int i = 0; i < 2; i++) {
        test_close(things->fds[i]);
        test_close(things->idle[i]);
    }
}

/* Goal: what the thread has given up goes on on another: multishots without loss, timers, and one-shots end. Method:
 * data comes before, between and after. */
START_TEST(disowned)
{
    struct things things = {0};

    start_things(&things);
    test_write(things.fds[1], "before", 6);
    on_thread(turns_then_disown, NULL);
    ck_assert_uint_eq(things.multi.count, 1);
    check_things(&things);
}
END_TEST

/* Goal: the same after a thread that has ended without giving the loop up. */
START_TEST(orphaned)
{
    struct things things = {0};

    start_things(&things);
    test_write(things.fds[1], "before", 6);
    on_thread(turns, NULL);
    ck_assert_int_eq(loop_rehome(loop), 0);
    ck_assert_uint_eq(things.multi.count, 1);
    check_things(&things);
}
END_TEST

static void *one_turn_and_more(void *arg)
{
    struct things *things = arg;

    must(loop_run(loop, LOOP_RUN_NOWAIT) >= 0);
    must(write(things->fds[1], "before", 6) == 6); /* has come by the end of the thread, and is not dispatched */
    must(loop_nop(loop, test_log_cb, &things->done, NULL) > 0); /* not submitted */
    return NULL;
}

/* Goal: what had completed, and what was not submitted yet, is not lost with the thread. */
START_TEST(orphaned_with_work)
{
    struct things things = {0};

    start_things(&things);
    on_thread(one_turn_and_more, &things);
    ck_assert_int_eq(loop_rehome(loop), 0);
    test_run_until(loop, &things.done.count, 1);
    test_log_is(&things.done, 0);
    test_run_until(loop, &things.multi.count, 1);
    check_things(&things);
}
END_TEST

/* Goal: loop_destroy() on another thread ends everything once that of the owner has ended. */
START_TEST(destroyed_elsewhere)
{
    struct things things = {0};

    start_things(&things);
    ck_assert_int_eq(loop_timer_start(loop, &things.timer, 60 * LOOP_SECOND, 0, test_count_timer),
                     0); /* not before the end */
    on_thread(turns, NULL);
    test_loop_drop(loop);
    ck_assert_uint_eq(things.multi.finals, 1);
    ck_assert_uint_eq(things.one.finals, 1);
    ck_assert_uint_eq(things.poll.finals, 1);
    ck_assert_uint_eq(things.fired, 0);
    setup();
    for (int i = 0; i < 2; i++) {
        test_close(things.fds[i]);
        test_close(things.idle[i]);
    }
}
END_TEST

static void *destroy_while_alive(void *arg)
{
    (void)arg;
    (void)loop_destroy(loop);
    return NULL;
}

/* Goal: as long as the owner lives, it is a misuse that is named. */
START_TEST(destroyed_while_alive)
{
    struct things   things = {0};
    struct test_log log = {0};
    pid_t           pid;
    int             status = 0;

    pid = fork();
    if (pid == 0) {
        pthread_t thread;

        loop = NULL;
        if (loop_create(&loop, NULL) == 0 && loop_nop(loop, NULL, NULL, NULL) > 0 &&
            loop_recv(loop, 0, &things.byte, 1, 0, NULL, NULL, NULL) > 0 &&
            loop_timer_start(loop, &things.timer, LOOP_SECOND, 0, test_count_timer) == 0 &&
            loop_accept(loop, 0, NULL, NULL, 0, test_log_cb, &log, LOOP_TERMS(.timeout_ns = LOOP_SECOND)) > 0 &&
            loop_timeout(loop, LOOP_SECOND, 0, 0, NULL, NULL, NULL) > 0 && loop_run(loop, LOOP_RUN_NOWAIT) == 1 &&
            pthread_create(&thread, NULL, destroy_while_alive, NULL) == 0)
            pthread_join(thread, NULL);
        _exit(0);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFSIGNALED(status));
    ck_assert_int_eq(WTERMSIG(status), SIGABRT);
}
END_TEST

/* ---- direct operations, groups, files */

static struct loop_result direct_result;
static uint32_t           direct_count;

static void direct_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    (void)of;
    (void)arg;
    direct_result = *result;
    direct_count++;
}

/* Goal: operations without a context are told their end by the call that gives the loop up. */
START_TEST(direct)
{
    int  fds[2], handler;
    char byte;

    test_socketpair(fds);
    handler = loop_handler_register(loop, direct_cb, NULL, LOOP_GROUP_DEFAULT);
    ck_assert_int_gt(handler, 0);
    ck_assert_int_gt(loop_recv(loop, fds[0], &byte, 1, 0, LOOP_HANDLER(handler), (void *)(uintptr_t)7, NULL), 0);
    test_turns(loop, 2);
    ck_assert_int_eq(loop_disown(loop), 0);
    ck_assert_uint_eq(direct_count, 1);
    ck_assert_int_eq(direct_result.res, -ECANCELED);
    ck_assert_uint_eq(direct_result.value, 7);
    ck_assert(!loop_alive(loop));
    test_close(fds[0]);
    test_close(fds[1]);
}
END_TEST

/* Goal: kept buffers stay what they are, and the group is whole afterwards. */
static void keep_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    if ((result->flags & LOOP_BUFFER) != 0 && loop_buffer_keep(of, result->buffer) == 0)
        *(loop_buffer *)arg = result->buffer;
}

START_TEST(buffers)
{
    static char                    bytes[8 * 4096];
    struct loop_buffer_group_stats stats;
    struct test_log                log = {0};
    loop_buffer                    kept = 0;
    int                            fds[2], more[2];

    test_socketpair(fds);
    test_socketpair(more);
    ck_assert_int_gt(loop_recv_multishot(loop, fds[0], LOOP_GROUP_DEFAULT, 0, keep_cb, &kept, NULL), 0);
    test_write(fds[1], "kept", 4);
    for (int i = 0; i < 100 && kept == 0; i++)
        test_turns(loop, 1);
    ck_assert_int_eq(loop_disown(loop), 0);
    ck_assert_mem_eq(loop_buffer_data(loop, kept, NULL), "kept", 4);
    ck_assert_int_gt(loop_recv_multishot(loop, more[0], LOOP_GROUP_DEFAULT, 0, test_log_cb, &log, NULL), 0);
    test_write(more[1], bytes, sizeof(bytes));
    for (int i = 0; i < 1000 && log.bytes < sizeof(bytes); i++)
        test_turns(loop, 1);
    ck_assert_uint_eq(log.bytes, sizeof(bytes));
    ck_assert_int_eq(loop_buffer_return(loop, kept), 0);
    ck_assert_int_eq(loop_buffer_group_stats_get(loop, LOOP_GROUP_DEFAULT, &stats), 0);
    ck_assert_uint_eq(stats.home, 8);
    loop_cancel_all(loop);
    test_run(loop);
    for (int i = 0; i < 2; i++) {
        test_close(fds[i]);
        test_close(more[i]);
    }
}
END_TEST

/* ---- to and fro */

enum { MOVES = 60, MESSAGES = 60000 };

struct traffic {
    int               fds[2];
    uint32_t          received, timers;
    struct loop_timer timer;
    _Atomic bool      over;
};

static void number_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    struct traffic *traffic = arg;
    const uint32_t *numbers = result->data;

    (void)of;
    if ((result->flags & LOOP_BUFFER) == 0)
        return;
    must(result->res % 4 == 0);
    for (int i = 0; i < result->res / 4; i++)
        must(numbers[i] == traffic->received++);
}

static void *send_numbers(void *arg)
{
    struct traffic *traffic = arg;

    for (uint32_t i = 0; i < MESSAGES; i += 4) {
        uint32_t numbers[4] = {i, i + 1, i + 2, i + 3};

        must(write(traffic->fds[1], numbers, sizeof(numbers)) == sizeof(numbers));
    }
    traffic->over = true;
    return NULL;
}

static void *move(void *arg)
{
    bool give_up = arg != NULL;

    for (int i = 0; i < 5; i++)
        must(loop_run(loop, LOOP_RUN_NOWAIT) >= 0);
    if (give_up)
        must(loop_disown(loop) == 0);
    return NULL;
}

/* Goal: a loop that goes from thread to thread under load, given up or left behind, loses nothing and keeps the order.
 */
START_TEST(to_and_fro)
{
    struct traffic traffic = {0};
    pthread_t      sender;

    test_socketpair(traffic.fds);
    traffic.timer.data = &traffic.timers;
    ck_assert_int_gt(loop_recv_multishot(loop, traffic.fds[0], LOOP_GROUP_DEFAULT, 0, number_cb, &traffic, NULL), 0);
    ck_assert_int_eq(loop_timer_start(loop, &traffic.timer, LOOP_MILLISECOND, LOOP_MILLISECOND, test_count_timer), 0);
    ck_assert_int_eq(pthread_create(&sender, NULL, send_numbers, &traffic), 0);
    for (int i = 0; i < MOVES; i++) {
        on_thread(move, i % 3 == 0 ? NULL : &traffic);
        if (i % 3 == 0)
            ck_assert_int_eq(loop_rehome(loop), 0);
    }
    for (int i = 0; i < 100000 && traffic.received < MESSAGES; i++)
        (void)loop_run(loop, LOOP_RUN_ONCE);
    ck_assert_uint_eq(traffic.received, MESSAGES);
    ck_assert_int_eq(pthread_join(sender, NULL), 0);
    ck_assert_uint_gt(traffic.timers, 0);
    loop_timer_stop(&traffic.timer);
    loop_cancel_all(loop);
    test_run(loop);
    test_close(traffic.fds[0]);
    test_close(traffic.fds[1]);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("rehome");
    TCase *tc = test_case(suite, "rehome");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, nobodys);
    tcase_add_test(tc, refused_inside);
    tcase_add_test(tc, owner_alive);
    tcase_add_test(tc, disowned);
    tcase_add_test(tc, orphaned);
    tcase_add_test(tc, orphaned_with_work);
    tcase_add_test(tc, destroyed_elsewhere);
    tcase_add_test(tc, destroyed_while_alive);
    tcase_add_test(tc, direct);
    tcase_add_test(tc, buffers);
    tcase_add_test(tc, to_and_fro);
    return suite;
}
