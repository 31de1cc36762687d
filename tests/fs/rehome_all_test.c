/* tests/fs/rehome_all_test.c: one of each object of the library, all at once, in a child of fork(2) and on another
 * thread: what waits reacts afterwards, what was to end ends once, and nothing is left. */
#include "tests/fs/rehome_world.h"

#include <pthread.h>

static void start_all(void)
{
    for (int i = 0; i < THINGS; i++)
        world_start(i);
}

static void check_home(bool home)
{
    const char *name = world_all_react(false);

    ck_assert_msg(name == NULL, "does not react, or end: %s", name);
    name = world_who_ended_badly(home);
    ck_assert_msg(name == NULL, "ended badly: %s", name);
    test_loop_drop(world_loop);
    if (home)
        ck_assert_uint_eq(test_fd_count() + world.fds_taken, world_fds_before);
    else
        for (int fd = world_fd_last + 1; fd < world_fd_last + 64; fd++)
            close(fd);
    world_close();
}

/* Descriptors are not counted here: what threads of the pool had open just then stays; and so do the few blocks that
 * scans of trees had on the heap there and not linked yet. */
enum { BLOCKS_OF_THREADS = 2 };

static void destroy_in_child(void)
{
    TEST_TRUE_IN_CHILD(loop_destroy(world_loop) == 0);
    TEST_TRUE_IN_CHILD(test_memory.blocks <= BLOCKS_OF_THREADS);
}

static void live_in_child(void *arg)
{
    const char *name;

    (void)arg;
    TEST_TRUE_IN_CHILD(loop_fork(world_loop) == 0);
    name = world_all_react(true);
    if (name != NULL)
        fprintf(stderr, "in the child: does not react, or end: %s\n", name);
    TEST_TRUE_IN_CHILD(name == NULL);
    TEST_TRUE_IN_CHILD(world_who_ended_badly(false) == NULL);
    destroy_in_child();
}

static void fork_and_destroy(void *arg)
{
    (void)arg;
    TEST_TRUE_IN_CHILD(loop_fork(world_loop) == 0);
    destroy_in_child();
}

/* How far it has come by the fork. */
static void get_going(int turns)
{
    start_all();
    test_turns(world_loop, (uint32_t)turns);
}

enum { TURNS_MAX = 4 };

/* Goal: everything goes on in a child, or ends as documented; nothing is left there; the parent goes on unharmed. */
START_TEST(in_a_child)
{
    TEST_FORKS_WITH_THREADS;
    world_open();
    get_going(_i);
    test_in_child(live_in_child, NULL);
    check_home(true);
}
END_TEST

/* Goal: a child that ends the loop at once leaves nothing. */
START_TEST(destroyed_in_a_child)
{
    TEST_FORKS_WITH_THREADS;
    world_open();
    get_going(_i);
    test_in_child(fork_and_destroy, NULL);
    check_home(true);
}
END_TEST

static void destroy_alone(void *arg)
{
    (void)arg;
    TEST_TRUE_IN_CHILD(loop_destroy(world_loop) == 0);
    TEST_TRUE_IN_CHILD(test_fd_count() + world.fds_taken == world_fds_before);
    for (int i = 0; i < THINGS; i++)
        TEST_TRUE_IN_CHILD(world.things[i].ends == 0);
}

static void fork_and_destroy_few(void *arg)
{
    (void)arg;
    TEST_TRUE_IN_CHILD(loop_fork(world_loop) == 0 && loop_destroy(world_loop) == 0);
    TEST_TRUE_IN_CHILD(test_fd_count() + world.fds_taken == world_fds_before);
    TEST_TRUE_IN_CHILD(test_memory.blocks == 0);
}

/* Goal: without loop_fork() it closes its copies of all descriptors and calls nobody back, with it nothing at all is
 * left, and the parent notices nothing. Method: those that have descriptors of their own, but for what threads of the
 * pool have open just now. */
START_TEST(let_go_in_a_child)
{
    TEST_FORKS_WITH_THREADS;
    static const enum id ids[] = {STREAM_READING, STREAM_WRITING, FORWARD,    LISTENER, DATAGRAM,         SIGNAL,
                                  CHILD,          ASYNC,          POLL,       WATCH,    PATH_WATCH,       STAT_WATCH,
                                  RECV,           SENDFILE,       WALL_TIMER, HOOK,     SUBSCRIPTION_RECV};

    world_open();
    for (size_t i = 0; i < TEST_COUNT(ids); i++)
        world_start((int)ids[i]);
    ck_assert_int_eq(loop_file_adopt(world_loop, &world.file, dup(world.source), NULL), 0);
    ck_assert_int_eq(
        loop_writer_open(world_loop, &world.writer, open("written", O_WRONLY | O_CREAT | O_CLOEXEC, 0600), NULL), 0);
    test_turns(world_loop, (uint32_t)_i);
    test_in_child(destroy_alone, NULL);
    test_in_child(fork_and_destroy_few, NULL);
    for (size_t i = 0; i < TEST_COUNT(ids); i++)
        ck_assert_uint_eq(world.things[ids[i]].ends, 0);
    world_write_to(0);
    test_run_until(world_loop, &world.things[STREAM_READING].events, 1);
    world_connect(&world.listener_address);
    test_run_until(world_loop, &world.things[LISTENER].events, 1);
    test_loop_drop(world_loop);
    ck_assert_uint_eq(test_fd_count() + world.fds_taken, world_fds_before);
    world_close();
}
END_TEST

/* ---- threads */

static void *turns_then_disown(void *arg)
{
    int r = -EBUSY;

    for (int i = 0; i < *(int *)arg; i++)
        (void)loop_run(world_loop, LOOP_RUN_NOWAIT);
    for (int i = 0; i < 100 && r == -EBUSY; i++)
        r = loop_disown(world_loop);
    if (r != 0)
        abort();
    return NULL;
}

static void *turns_only(void *arg)
{
    for (int i = 0; i < *(int *)arg; i++)
        (void)loop_run(world_loop, LOOP_RUN_NOWAIT);
    return NULL;
}

static void on_thread(void *(*run)(void *arg), int turns)
{
    pthread_t thread;

    ck_assert_int_eq(pthread_create(&thread, NULL, run, &turns), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
}

/* Goal: nothing is lost on the way to another thread. */
START_TEST(disowned)
{
    world_open();
    start_all();
    on_thread(turns_then_disown, _i);
    check_home(true);
}
END_TEST

/* Goal: after a thread that has ended all goes on, or has ended as in a child. What the kernel had opened for it, and
 * not told yet, stays open. */
START_TEST(orphaned)
{
    world_open();
    start_all();
    on_thread(turns_only, _i);
    ck_assert_int_eq(loop_rehome(world_loop), 0);
    check_home(false);
}
END_TEST

/* ---- at random */

enum { STEPS = 8, SEEDS = 6 };

static void disown_here(void)
{
    int r = -EBUSY;

    for (int i = 0; i < 100 && r == -EBUSY; i++)
        r = loop_disown(world_loop);
    ck_assert_int_eq(r, 0);
}

/* Goal: the same whatever there is, and whenever the loop forks and moves. Method: a seed, TEST_SEED or the number of
 * the test, says what is done. */
START_TEST(at_random)
{
    TEST_FORKS_WITH_THREADS;
    uint64_t seed = test_env("TEST_SEED", (uint64_t)_i + 1);

    world_open();
    for (int step = 0; step < STEPS; step++) {
        for (int i = 0; i < 6; i++)
            world_start((int)(test_random(&seed) % THINGS));
        test_turns(world_loop, (uint32_t)(test_random(&seed) % 4));
        switch (test_random(&seed) % 4) {
        case 0: test_in_child(live_in_child, NULL); break;
        case 1: test_in_child(fork_and_destroy, NULL); break;
        case 2: disown_here(); break;
        default:
            disown_here();
            on_thread(turns_then_disown, (int)(test_random(&seed) % 3));
            break;
        }
    }
    check_home(true);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("rehome_all");
    TCase *tc = test_case(suite, "rehome_all");

    tcase_add_loop_test(tc, in_a_child, 0, TURNS_MAX);
    tcase_add_loop_test(tc, destroyed_in_a_child, 0, TURNS_MAX);
    tcase_add_loop_test(tc, let_go_in_a_child, 0, TURNS_MAX);
    tcase_add_loop_test(tc, disowned, 1, TURNS_MAX);
    tcase_add_loop_test(tc, orphaned, 1, TURNS_MAX);
    tcase_add_loop_test(tc, at_random, 0, SEEDS);
    return suite;
}
