/* tests/loop/fork_test.c: a loop in a child of fork(2).
 *
 * A child says by its exit status whether all was well: 0, or the line that was not true. */
#include "tests/support/test.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <ringloop/bundle.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/resource.h>
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

static int status_of(pid_t pid)
{
    int status = -1;

    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return status;
}

/* Turns until it has come to that, or nothing happens for a second. */
static void turn_until(const uint32_t *counter, uint32_t value)
{
    for (int i = 0; i < 10000 && *counter < value; i++) {
        (void)loop_run(loop, LOOP_RUN_NOWAIT);
        if (*counter < value)
            usleep(100);
    }
}

/* ---- without loop_fork() */

static void run_it(void *arg)
{
    (void)arg;
    (void)loop_run(loop, LOOP_RUN_NOWAIT);
}

/* Goal: using the parent's loop is found out, by a message that says what to do. Method: the child's stderr. */
START_TEST(not_forked)
{
    int   fds[2], status;
    char  text[512] = {0};
    pid_t pid;

    test_turns(loop, 1);
    test_pipe(fds);
    pid = fork();
    if (pid == 0) {
        dup2(fds[1], 2);
        run_it(NULL);
        _exit(0);
    }
    test_close(fds[1]);
    status = status_of(pid);
    ck_assert(WIFSIGNALED(status));
    ck_assert_int_eq(WTERMSIG(status), SIGABRT);
    ck_assert_int_gt(read(fds[0], text, sizeof(text) - 1), 0);
    ck_assert_ptr_nonnull(strstr(text, "loop_run"));
    ck_assert_ptr_nonnull(strstr(text, "loop_fork"));
    test_close(fds[0]);
}
END_TEST

static void destroy_only(void *arg)
{
    struct test_log *log = arg;
    uint32_t         before = test_fd_count();

    TEST_TRUE_IN_CHILD(loop_destroy(loop) == 0);
    TEST_TRUE_IN_CHILD(log->count == 0);
    TEST_TRUE_IN_CHILD(test_memory.blocks == 0);
    TEST_TRUE_IN_CHILD(test_fd_count() + 2 == before); /* the ring, the eventfd */
}

/* Goal: a child that wants nothing of the loop gives it up without a callback, and the parent's goes on. */
START_TEST(destroyed_in_child)
{
    struct test_log log = {0};
    int             fds[2];
    char            byte;
    loop_id         id;

    test_socketpair(fds);
    id = loop_recv(loop, fds[0], &byte, 1, 0, test_log_cb, &log, NULL);
    ck_assert_int_gt(id, 0);
    test_turns(loop, 1);
    test_in_child(destroy_only, &log);
    test_write(fds[1], "x", 1);
    test_run(loop);
    test_log_is(&log, 1);
    test_close(fds[0]);
    test_close(fds[1]);
}
END_TEST

/* Goal: in the parent, or a second time, there is nothing to do. From inside a callback it is refused. */
static void fork_inside(struct loop *of, void *arg)
{
    pid_t pid = fork();

    if (pid == 0)
        _exit(loop_fork(of) == -EBUSY ? 7 : 8);
    *(int *)arg = WEXITSTATUS(status_of(pid));
}

START_TEST(refused)
{
    int status = 0;

    ck_assert_int_eq(loop_fork(loop), 0);
    ck_assert_int_eq(loop_post(loop, fork_inside, &status), 0);
    test_run(loop);
    ck_assert_int_eq(status, 7);
    ck_assert_int_eq(loop_fork(loop), 0);
}
END_TEST

/* ---- timers */

static void timers_in_child(void *arg)
{
    uint32_t *count = arg;

    TEST_TRUE_IN_CHILD(loop_fork(loop) == 0);
    TEST_TRUE_IN_CHILD(loop_run(loop, LOOP_RUN_DEFAULT) == 0);
    TEST_TRUE_IN_CHILD(*count == 2);
}

/* Goal: timers of both clocks stand in the child where they stood (fork_timer of libuv). */
START_TEST(timers)
{
    uint32_t          count = 0;
    struct timespec   now;
    struct loop_timer a = {.data = &count}, b = {.data = &count};

    clock_gettime(CLOCK_REALTIME, &now);
    ck_assert_int_eq(loop_timer_start(loop, &a, 20 * LOOP_MILLISECOND, 0, test_count_timer), 0);
    ck_assert_int_eq(loop_timer_start_wall(
                         loop, &b, (uint64_t)now.tv_sec * LOOP_SECOND + (uint64_t)now.tv_nsec + 20 * LOOP_MILLISECOND,
                         0, test_count_timer),
                     0);
    test_turns(loop, 1);
    test_in_child(timers_in_child, &count);
    ck_assert_uint_eq(count, 0);
    test_run(loop);
    ck_assert_uint_eq(count, 2);
}
END_TEST

/* ---- operations */

struct pair {
    struct test_log multi, one, poll, probe;
    int             fds[2], idle[2];
    char            byte;
};

static void multishots_in_child(void *arg)
{
    struct pair *pair = arg;

    TEST_TRUE_IN_CHILD(loop_fork(loop) == 0);
    TEST_TRUE_IN_CHILD(pair->one.count == 0);
    turn_until(&pair->one.count, 1);
    TEST_TRUE_IN_CHILD(pair->one.finals == 1 && pair->one.last.res == -ECANCELED);
    TEST_TRUE_IN_CHILD(pair->multi.count == 1 && pair->multi.finals == 0);
    TEST_TRUE_IN_CHILD(write(pair->fds[1], "child", 5) == 5);
    turn_until(&pair->multi.count, 2);
    TEST_TRUE_IN_CHILD(pair->multi.count == 2 && memcmp(pair->multi.data, "beforechild", 11) == 0);
    TEST_TRUE_IN_CHILD(write(pair->idle[1], "x", 1) == 1);
    turn_until(&pair->poll.count, 1);
    TEST_TRUE_IN_CHILD(pair->poll.count >= 1 && (pair->poll.results[0].res & POLLIN) != 0 && pair->poll.finals == 0);
    loop_cancel_all(loop);
    TEST_TRUE_IN_CHILD(loop_run(loop, LOOP_RUN_DEFAULT) == 0);
    TEST_TRUE_IN_CHILD(pair->multi.finals == 1 && pair->poll.finals == 1);
    TEST_TRUE_IN_CHILD(loop_destroy(loop) == 0);
    TEST_TRUE_IN_CHILD(test_memory.blocks == 0);
}

/* Goal: multishots go on in the child, one-shots end there with -ECANCELED, and in the parent all is as before
 * (fork_socketpair_started). */
START_TEST(operations)
{
    struct pair pair = {0};

    test_socketpair(pair.fds);
    test_socketpair(pair.idle);
    ck_assert_int_gt(loop_recv_multishot(loop, pair.fds[0], LOOP_GROUP_DEFAULT, 0, test_log_cb, &pair.multi, NULL), 0);
    ck_assert_int_gt(loop_recv(loop, pair.idle[1], &pair.byte, 1, 0, test_log_cb, &pair.one, NULL), 0);
    ck_assert_int_gt(loop_poll_add_multishot(loop, pair.idle[0], POLLIN, 0, test_log_cb, &pair.poll, NULL), 0);
    test_write(pair.fds[1], "before", 6);
    test_run_until(loop, &pair.multi.count, 1);
    test_in_child(multishots_in_child, &pair);
    ck_assert_uint_eq(pair.multi.count, 1);
    test_write(pair.fds[1], "parent", 6);
    test_run_until(loop, &pair.multi.count, 2);
    ck_assert_mem_eq(pair.multi.data, "beforeparent", 12);
    test_write(pair.idle[0], "y", 1);
    test_run_until(loop, &pair.one.count, 1);
    test_log_is(&pair.one, 1);
    loop_cancel_all(loop);
    test_run(loop);
    for (int i = 0; i < 2; i++) {
        test_close(pair.fds[i]);
        test_close(pair.idle[i]);
    }
}
END_TEST

/* Goal: the same of what was started before the loop ever ran. */
static void first_run_in_child(void *arg)
{
    struct pair *pair = arg;

    TEST_TRUE_IN_CHILD(loop_fork(loop) == 0);
    TEST_TRUE_IN_CHILD(write(pair->fds[1], "child", 5) == 5);
    turn_until(&pair->multi.count, 1);
    TEST_TRUE_IN_CHILD(pair->multi.count == 1 && memcmp(pair->multi.data, "child", 5) == 0);
    TEST_TRUE_IN_CHILD(pair->one.count == 1 && pair->one.last.res == -ECANCELED);
}

START_TEST(never_run)
{
    struct pair pair = {0};

    test_socketpair(pair.fds);
    ck_assert_int_gt(loop_recv_multishot(loop, pair.fds[0], LOOP_GROUP_DEFAULT, 0, test_log_cb, &pair.multi, NULL), 0);
    ck_assert_int_gt(loop_nop(loop, test_log_cb, &pair.one, NULL), 0);
    test_in_child(first_run_in_child, &pair);
    test_run_until(loop, &pair.one.count, 1);
    test_log_is(&pair.one, 0);
    loop_cancel_all(loop);
    test_run(loop);
    test_close(pair.fds[0]);
    test_close(pair.fds[1]);
}
END_TEST

/* ---- states between: paused, parked, behind a barrier, in a chain, with a deadline, with a release */

struct states {
    struct test_log paused, parked, barred, links[2], late, first;
    loop_id         paused_id, parked_id;
    int             fds[4][2];
    loop_buffer     kept[8];
    unsigned        kept_count;
    char            bytes[4];
};

static void keep_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    struct states *states = arg;

    test_log_cb(of, result, &states->parked);
    if ((result->flags & LOOP_BUFFER) != 0 && states->kept_count < 8) {
        states->kept[states->kept_count++] = result->buffer;
        (void)loop_buffer_keep(of, result->buffer);
    }
}

static void states_in_child(void *arg)
{
    struct states *states = arg;

    TEST_TRUE_IN_CHILD(loop_fork(loop) == 0);
    turn_until(&states->links[1].count, 1);
    TEST_TRUE_IN_CHILD(states->links[0].last.res == -ECANCELED && states->links[1].last.res == -ECANCELED);
    TEST_TRUE_IN_CHILD(states->first.last.res == -ECANCELED);
    turn_until(&states->barred.count, 1);
    TEST_TRUE_IN_CHILD(states->barred.finals == 1 && states->barred.last.res == 0); /* its turn had come */
    turn_until(&states->late.count, 1);
    TEST_TRUE_IN_CHILD(states->late.last.res == -ECANCELED || states->late.last.res == -ETIMEDOUT);
    TEST_TRUE_IN_CHILD(states->parked.count == 8);
    for (unsigned i = 0; i < 8; i++)
        TEST_TRUE_IN_CHILD(loop_buffer_return(loop, states->kept[i]) == 0);
    turn_until(&states->parked.count, 9);
    TEST_TRUE_IN_CHILD(states->parked.count >= 9 && states->parked.finals == 0);
    TEST_TRUE_IN_CHILD(states->paused.count == 0);
    TEST_TRUE_IN_CHILD(loop_resume(loop, states->paused_id) == 0);
    turn_until(&states->paused.count, 1);
    TEST_TRUE_IN_CHILD(states->paused.count == 1 && states->paused.last.res == 1);
    TEST_TRUE_IN_CHILD(loop_destroy(loop) == 0);
    TEST_TRUE_IN_CHILD(test_memory.blocks == 0);
}

START_TEST(states_between)
{
    static char   bytes[4096 * 10];
    struct states states = {0};

    for (int i = 0; i < 4; i++)
        test_socketpair(states.fds[i]);
    test_write(states.fds[0][1], bytes, sizeof(bytes));
    states.parked_id = loop_recv_multishot(loop, states.fds[0][0], LOOP_GROUP_DEFAULT, 0, keep_cb, &states, NULL);
    ck_assert_int_gt(states.parked_id, 0);
    test_run_until(loop, &states.parked.count, 8); /* the group is empty now */
    states.paused_id =
        loop_recv_multishot(loop, states.fds[1][0], LOOP_GROUP_DEFAULT, 0, test_log_cb, &states.paused, NULL);
    ck_assert_int_gt(states.paused_id, 0);
    test_turns(loop, 2);
    ck_assert_int_eq(loop_pause(loop, states.paused_id), 0);
    test_turns(loop, 2);
    test_write(states.fds[1][1], "p", 1);
    ck_assert_int_gt(loop_recv(loop, states.fds[2][0], states.bytes, 1, 0, test_log_cb, &states.first, NULL), 0);
    ck_assert_int_gt(loop_nop(loop, test_log_cb, &states.barred, LOOP_TERMS(.flags = LOOP_BARRIER)), 0);
    ck_assert_int_eq(loop_chain_begin(loop, 2, false), 0);
    ck_assert_int_gt(loop_recv(loop, states.fds[3][0], states.bytes + 1, 1, 0, test_log_cb, &states.links[0], NULL), 0);
    ck_assert_int_gt(loop_nop(loop, test_log_cb, &states.links[1], NULL), 0);
    ck_assert_int_ge(loop_chain_end(loop), 0);
    ck_assert_int_gt(loop_recv(loop, states.fds[3][1], states.bytes + 2, 1, 0, test_log_cb, &states.late,
                               LOOP_TERMS(.timeout_ns = LOOP_SECOND)),
                     0);
    test_turns(loop, 2);
    test_in_child(states_in_child, &states);
    ck_assert_uint_eq(states.barred.count, 0);
    test_loop_drop(loop);
    setup();
    for (int i = 0; i < 8; i++)
        test_close(states.fds[i / 2][i % 2]);
}
END_TEST

/* ---- groups, registered files and buffers */

struct registered {
    struct test_log plain, parts, sent, fixed;
    int             fds[2], more[2], out[2], plain_group, part_group, out_group, slot, index;
    loop_buffer     kept;
    uint8_t        *memory;
};

static void keep_one_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    struct registered *registered = arg;

    test_log_cb(of, result, &registered->parts);
    if (registered->kept == 0 && (result->flags & LOOP_BUFFER) != 0 && loop_buffer_keep(of, result->buffer) == 0)
        registered->kept = result->buffer;
}

static void groups_in_child(void *arg)
{
    struct registered *registered = arg;
    char               bytes[32] = {0};

    TEST_TRUE_IN_CHILD(loop_fork(loop) == 0);
    TEST_TRUE_IN_CHILD(write(registered->more[1], "second", 6) == 6);
    turn_until(&registered->parts.count, 2);
    TEST_TRUE_IN_CHILD(registered->parts.count == 2 && memcmp(registered->parts.data, "firstsecond", 11) == 0);
    TEST_TRUE_IN_CHILD(memcmp(loop_buffer_data(loop, registered->kept, NULL), "first", 5) == 0);
    TEST_TRUE_IN_CHILD(loop_buffer_return(loop, registered->kept) == 0);
    TEST_TRUE_IN_CHILD(loop_send_bundle(loop, registered->out[0], (uint16_t)registered->out_group, 0, test_log_cb,
                                        &registered->sent, NULL) > 0);
    turn_until(&registered->sent.count, 2);
    TEST_TRUE_IN_CHILD(registered->sent.last.res == 6);
    TEST_TRUE_IN_CHILD(read(registered->out[1], bytes, sizeof(bytes)) == 6 && memcmp(bytes, "thefox", 6) == 0);
    memcpy(registered->memory, "fixed", 5);
    TEST_TRUE_IN_CHILD(loop_write_fixed(loop, registered->slot, registered->memory, 5, LOOP_AT_POSITION,
                                        registered->index, test_log_cb, &registered->fixed, NULL) > 0);
    turn_until(&registered->fixed.count, 1);
    TEST_TRUE_IN_CHILD(registered->fixed.last.res == 5);
    TEST_TRUE_IN_CHILD(read(registered->fds[1], bytes, sizeof(bytes)) == 5 && memcmp(bytes, "fixed", 5) == 0);
    TEST_TRUE_IN_CHILD(loop_destroy(loop) == 0);
    TEST_TRUE_IN_CHILD(test_memory.blocks == 0);
}

/* Goal: buffer groups of all kinds, with buffers out and parts of them filled, registered files and registered buffers
 * are there in the child. */
START_TEST(registered_things)
{
    struct registered registered = {0};
    char              bytes[32];

    test_socketpair(registered.fds);
    test_socketpair(registered.more);
    test_socketpair(registered.out);
    registered.memory = aligned_alloc(4096, 4096);
    ck_assert_int_eq(loop_files_init(loop, NULL), 0);
    ck_assert_int_eq(loop_fixed_buffers_init(loop, &(struct loop_fixed_buffers_options){.own = 4}), 0);
    registered.slot = loop_file_register(loop, registered.fds[0]);
    ck_assert_int_gt(registered.slot, 0);
    registered.index = loop_fixed_buffer_register(loop, registered.memory, 4096);
    ck_assert_int_ge(registered.index, 0);
    registered.part_group = loop_buffer_group_create(
        loop, &(struct loop_buffer_group_options){.count = 4, .size = 4096, .flags = LOOP_GROUP_INCREMENTAL});
    registered.out_group =
        loop_buffer_group_create(loop, &(struct loop_buffer_group_options){.count = 4, .flags = LOOP_GROUP_OUTGOING});
    if (registered.part_group == -EOPNOTSUPP || registered.out_group == -EOPNOTSUPP) {
        test_skip("no incremental groups");
        goto out;
    }
    ck_assert_int_gt(registered.part_group, 0);
    ck_assert_int_gt(loop_recv_multishot(loop, registered.more[0], (uint16_t)registered.part_group, 0, keep_one_cb,
                                         &registered, NULL),
                     0);
    test_write(registered.more[1], "first", 5);
    test_run_until(loop, &registered.parts.count, 1);
    /* The ring of the group stands at its third place. */
    ck_assert_int_eq(loop_buffer_group_add(loop, (uint16_t)registered.out_group, "one", 3), 0);
    ck_assert_int_eq(loop_buffer_group_add(loop, (uint16_t)registered.out_group, "two", 3), 0);
    ck_assert_int_gt(loop_send_bundle(loop, registered.out[0], (uint16_t)registered.out_group, 0, test_log_cb,
                                      &registered.sent, NULL),
                     0);
    test_run_until(loop, &registered.sent.count, 1);
    test_read(registered.out[1], bytes, 6);
    ck_assert_int_eq(loop_buffer_group_add(loop, (uint16_t)registered.out_group, "the", 3), 0);
    ck_assert_int_eq(loop_buffer_group_add(loop, (uint16_t)registered.out_group, "fox", 3), 0);
    memset(&registered.sent, 0, sizeof(registered.sent));
    registered.sent.releases = true;
    test_in_child(groups_in_child, &registered);
out:
    test_loop_drop(loop);
    setup();
    free(registered.memory);
    for (int i = 0; i < 2; i++) {
        test_close(registered.fds[i]);
        test_close(registered.more[i]);
        test_close(registered.out[i]);
    }
}
END_TEST

/* ---- posts */

static void *post_later(void *arg)
{
    usleep(20000);
    (void)!loop_post(loop, test_count_post, arg);
    return NULL;
}

static void posts_in_child(void *arg)
{
    uint32_t *count = arg;
    pthread_t thread;

    TEST_TRUE_IN_CHILD(loop_fork(loop) == 0);
    TEST_TRUE_IN_CHILD(!loop_alive(loop));
    TEST_TRUE_IN_CHILD(loop_run(loop, LOOP_RUN_NOWAIT) == 0);
    TEST_TRUE_IN_CHILD(*count == 0);
    TEST_TRUE_IN_CHILD(pthread_create(&thread, NULL, post_later, count) == 0);
    for (int i = 0; i < 1000 && *count == 0; i++)
        (void)loop_dispatch(loop, LOOP_SECOND); /* woken by its own eventfd */
    TEST_TRUE_IN_CHILD(*count == 1);
    TEST_TRUE_IN_CHILD(pthread_join(thread, NULL) == 0);
}

/* Goal: posts that wait are the parent's; the child has a wake of its own, which does not wake the parent. */
START_TEST(posts)
{
    uint32_t count = 0;

    test_turns(loop, 1);
    ck_assert_int_eq(loop_post(loop, test_count_post, &count), 0);
    test_in_child(posts_in_child, &count);
    ck_assert_uint_eq(count, 0);
    test_run(loop);
    ck_assert_uint_eq(count, 1);
    ck_assert_int_eq(loop_dispatch(loop, 30 * LOOP_MILLISECOND), 0); /* nothing has come */
}
END_TEST

/* Goal: a fork while other threads post, any number of times, leaves nothing locked in the child. */
static _Atomic bool posting;

static void *post_always(void *arg)
{
    while (posting)
        (void)!loop_post(loop, test_count_post, arg);
    return NULL;
}

START_TEST(fork_during_posts)
{
    uint32_t  count = 0, none = 0;
    pthread_t thread;

    TEST_FORKS_WITH_THREADS;
    test_turns(loop, 1);
    posting = true;
    ck_assert_int_eq(pthread_create(&thread, NULL, post_always, &count), 0);
    for (int i = 0; i < 20; i++) {
        test_in_child(posts_in_child, &none);
        test_turns(loop, 1);
    }
    posting = false;
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    test_run(loop);
    ck_assert_uint_eq(count, test_stats(loop).posts);
}
END_TEST

/* ---- work */

static sem_t work_gate;

static int32_t wait_at_gate(void *arg)
{
    (void)arg;
    sem_wait(&work_gate);
    return 1;
}

static int32_t just_return(void *arg)
{
    (void)arg;
    return 2;
}

static void work_in_child(void *arg)
{
    struct test_log *logs = arg;

    TEST_TRUE_IN_CHILD(loop_fork(loop) == 0);
    TEST_TRUE_IN_CHILD(loop_work(loop, LOOP_WORK_DEFAULT, just_return, test_log_cb, &logs[5], NULL) > 0);
    for (int i = 0; i < 4; i++) {
        turn_until(&logs[i].count, 1);
        TEST_TRUE_IN_CHILD(logs[i].last.res == -ECANCELED); /* those ran in the parent */
    }
    turn_until(&logs[4].count, 1);
    TEST_TRUE_IN_CHILD(logs[4].last.res == 2); /* that had not begun */
    turn_until(&logs[5].count, 1);
    TEST_TRUE_IN_CHILD(logs[5].last.res == 2);
    TEST_TRUE_IN_CHILD(loop_destroy(loop) == 0);
    TEST_TRUE_IN_CHILD(test_memory.blocks == 0);
}

/* Goal: the work pool is there again in the child, whatever it did (fork_threadpool_queue_work_simple). */
START_TEST(work)
{
    TEST_FORKS_WITH_THREADS;
    struct test_log logs[6] = {{0}};

    ck_assert_int_eq(sem_init(&work_gate, 0, 0), 0);
    for (int i = 0; i < 4; i++)
        ck_assert_int_gt(loop_work(loop, LOOP_WORK_DEFAULT, wait_at_gate, test_log_cb, &logs[i], NULL), 0);
    test_turns(loop, 1);
    for (int i = 0; i < 10000 && test_stats(loop).work_waiting > 0; i++)
        test_sleep(100 * LOOP_MICROSECOND);
    ck_assert_int_gt(loop_work(loop, LOOP_WORK_DEFAULT, just_return, test_log_cb, &logs[4], NULL), 0);
    test_in_child(work_in_child, logs);
    for (int i = 0; i < 4; i++)
        sem_post(&work_gate);
    test_run(loop);
    for (int i = 0; i < 5; i++)
        test_log_is(&logs[i], i < 4 ? 1 : 2);
    sem_destroy(&work_gate);
}
END_TEST

/* Goal: what runs is the parent's, and what has not begun is not waited for by a child that gives up the loop. */
START_TEST(work_given_up)
{
    TEST_FORKS_WITH_THREADS;
    struct test_log log = {0};

    ck_assert_int_eq(sem_init(&work_gate, 0, 0), 0);
    ck_assert_int_gt(loop_work(loop, LOOP_WORK_DEFAULT, wait_at_gate, test_log_cb, &log, NULL), 0);
    test_turns(loop, 1);
    test_in_child(destroy_only, &log);
    sem_post(&work_gate);
    test_run(loop);
    test_log_is(&log, 1);
    sem_destroy(&work_gate);
}
END_TEST

/* ---- servers */

enum { CHILDREN = 4, CONNECTIONS = 40 };

static void answer(struct loop *of, const struct loop_result *result, void *arg)
{
    unsigned char number = *(unsigned char *)arg;

    (void)of;
    if (result->res >= 0) {
        (void)!write(result->res, &number, 1);
        close(result->res);
    }
}

/* Goal: children of a loop that accepts share its listening socket (the way of prefork servers); connections reach
 * them all in the end, and none is lost. Method: each answers with its number. */
START_TEST(prefork)
{
    uint16_t      port = 0;
    int           listener = test_tcp_listener(&port, 64);
    pid_t         pids[CHILDREN];
    unsigned char number = 0;

    ck_assert_int_gt(loop_accept_multishot(loop, listener, SOCK_CLOEXEC, answer, &number, NULL), 0);
    for (int i = 0; i < CHILDREN; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            alarm(20);
            number = (unsigned char)(i + 1);
            TEST_TRUE_IN_CHILD(loop_fork(loop) == 0);
            (void)loop_run(loop, LOOP_RUN_DEFAULT);
            _exit(0);
        }
    }
    for (int i = 0; i < CONNECTIONS; i++) {
        int           fd = test_tcp_connect(port);
        unsigned char by = 0;

        test_read(fd, &by, 1);
        ck_assert_int_ge(by, 1);
        ck_assert_int_le(by, CHILDREN);
        test_close(fd);
    }
    for (int i = 0; i < CHILDREN; i++) {
        kill(pids[i], SIGKILL);
        (void)status_of(pids[i]);
    }
    loop_cancel_all(loop);
    test_run(loop);
    test_close(listener);
}
END_TEST

static void child_of_child(void *arg)
{
    struct pair *pair = arg;

    first_run_in_child(pair);
}

static void generations_in_child(void *arg)
{
    pid_t pid;

    TEST_TRUE_IN_CHILD(loop_fork(loop) == 0);
    TEST_TRUE_IN_CHILD(loop_run(loop, LOOP_RUN_NOWAIT) >= 0);
    pid = fork();
    if (pid == 0) {
        child_of_child(arg);
        _exit(0);
    }
    TEST_TRUE_IN_CHILD(status_of(pid) == 0);
}

/* Goal: children have children. */
START_TEST(generations)
{
    struct pair pair = {0};

    test_socketpair(pair.fds);
    ck_assert_int_gt(loop_recv_multishot(loop, pair.fds[0], LOOP_GROUP_DEFAULT, 0, test_log_cb, &pair.multi, NULL), 0);
    ck_assert_int_gt(loop_recv(loop, pair.fds[1], &pair.byte, 1, 0, test_log_cb, &pair.one, NULL), 0);
    test_turns(loop, 2);
    pair.one.count = 0;
    test_in_child(generations_in_child, &pair);
    loop_cancel_all(loop);
    test_run(loop);
    test_close(pair.fds[0]);
    test_close(pair.fds[1]);
}
END_TEST

/* Goal: where there is no ring to be had, the errno says so, and it may be tried again. Method: no descriptors. */
static void failing_in_child(void *arg)
{
    struct pair *pair = arg;
    int          fds[1024], count = 0;

    while (count < 1024 && (fds[count] = dup(0)) >= 0)
        count++;
    TEST_TRUE_IN_CHILD(count < 1024);
    close(fds[--count]); /* room for the ring, none for the eventfd: the old ring's place is free, too */
    dup(0);
    dup(0);
    TEST_TRUE_IN_CHILD(loop_fork(loop) < 0 || count == 0);
    while (count > 0)
        close(fds[--count]);
    TEST_TRUE_IN_CHILD(loop_fork(loop) == 0);
    first_run_in_child(pair);
}

START_TEST(fails_and_is_tried_again)
{
    struct pair   pair = {0};
    struct rlimit limit = {.rlim_cur = 200, .rlim_max = 1024};

    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    test_socketpair(pair.fds);
    ck_assert_int_gt(loop_recv_multishot(loop, pair.fds[0], LOOP_GROUP_DEFAULT, 0, test_log_cb, &pair.multi, NULL), 0);
    ck_assert_int_gt(loop_recv(loop, pair.fds[1], &pair.byte, 1, 0, test_log_cb, &pair.one, NULL), 0);
    test_turns(loop, 2);
    test_in_child(failing_in_child, &pair);
    loop_cancel_all(loop);
    test_run(loop);
    test_close(pair.fds[0]);
    test_close(pair.fds[1]);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("fork");
    TCase *tc = test_case(suite, "fork");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, not_forked);
    tcase_add_test(tc, destroyed_in_child);
    tcase_add_test(tc, refused);
    tcase_add_test(tc, timers);
    tcase_add_test(tc, operations);
    tcase_add_test(tc, never_run);
    tcase_add_test(tc, states_between);
    tcase_add_test(tc, registered_things);
    tcase_add_test(tc, posts);
    tcase_add_test(tc, fork_during_posts);
    tcase_add_test(tc, work);
    tcase_add_test(tc, work_given_up);
    tcase_add_test(tc, prefork);
    tcase_add_test(tc, generations);
    tcase_add_test(tc, fails_and_is_tried_again);
    return suite;
}
