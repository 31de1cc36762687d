/* tests/loop/rehome_edge_test.c: new rings: what goes wrong half-way, and what is started meanwhile.
 *
 * The calls that register something with the kernel go by way of this program, which lets one of them fail. */
#include "tests/support/test.h"

#include "loop/seam_ring.h"

#include <liburing.h>
#include <pthread.h>
#include <ringloop/fork.h>
#include <semaphore.h>
#include <sys/wait.h>

static struct loop *loop;
static uint32_t     register_calls, register_fails; /* this call, counted from 1; 0: none */
static loop_id      spared;                         /* an operation that the kernel does not let go of */

int __real_seam_ring_register(int fd, unsigned opcode, void *arg, unsigned count);
int __wrap_seam_ring_register(int fd, unsigned opcode, void *arg, unsigned count);

int __wrap_seam_ring_register(int fd, unsigned opcode, void *arg, unsigned count)
{
    if (opcode == IORING_REGISTER_SYNC_CANCEL &&
        ((const struct io_uring_sync_cancel_reg *)arg)->addr == (uint64_t)spared)
        return -EALREADY;
    if (opcode != IORING_REGISTER_SYNC_CANCEL && opcode != IORING_REGISTER_PROBE && ++register_calls == register_fails)
        return -ENOMEM;
    return __real_seam_ring_register(fd, opcode, arg, count);
}

static void setup(void)
{
    loop = test_loop_new(&(struct loop_options){
        .sq_entries = 64, .buffer_count = 8, .buffer_size = 4096, .work = {.threads_max = 1, .queue_max = 2}});
}

static void teardown(void)
{
    test_loop_free(loop);
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

/* On another thread, which has ended when this returns. */
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

/* ---- work */

static sem_t gate;

static int32_t wait_at_gate(void *arg)
{
    (void)arg;
    sem_wait(&gate);
    return 1;
}

static int32_t just_return(void *arg)
{
    (void)arg;
    return 2;
}

static void full_queue_in_child(void *arg)
{
    struct test_log *logs = arg;

    TEST_TRUE_IN_CHILD(loop_fork(loop) == 0);
    for (int i = 0; i < 3; i++) {
        turn_until(&logs[i].count, 1);
        TEST_TRUE_IN_CHILD(logs[i].last.res == (i == 0 ? -ECANCELED : 2));
    }
    TEST_TRUE_IN_CHILD(loop_destroy(loop) == 0);
    TEST_TRUE_IN_CHILD(test_memory.blocks == 0);
}

/* Goal: what waits in a queue that is full runs in the child, too, where nothing more can be queued that would start
 * the thread for it. */
START_TEST(full_queue)
{
    struct test_log logs[3] = {{0}};

    TEST_FORKS_WITH_THREADS;
    ck_assert_int_eq(sem_init(&gate, 0, 0), 0);
    ck_assert_int_gt(loop_work(loop, LOOP_WORK_DEFAULT, wait_at_gate, test_log_cb, &logs[0], NULL), 0);
    for (int i = 0; i < 10000 && test_stats(loop).work_waiting > 0; i++)
        test_sleep(100 * LOOP_MICROSECOND);
    for (int i = 1; i < 3; i++)
        ck_assert_int_gt(loop_work(loop, LOOP_WORK_DEFAULT, just_return, test_log_cb, &logs[i], NULL), 0);
    ck_assert_int_eq(loop_work(loop, LOOP_WORK_DEFAULT, just_return, NULL, NULL, NULL), -ENOBUFS);
    test_in_child(full_queue_in_child, logs);
    sem_post(&gate);
    test_run(loop);
    sem_destroy(&gate);
}
END_TEST

/* ---- what is started meanwhile */

static int      handler;
static uint32_t direct_count;

static void direct_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    (void)of;
    (void)arg;
    must(result->res == 0);
    direct_count++;
}

static void start_direct(struct loop *of, const struct loop_result *result, void *arg)
{
    (void)arg;
    must(result->res == -ECANCELED);
    for (uint64_t i = 0; i < 3; i++)
        must(loop_nop(of, LOOP_HANDLER(handler), (void *)(uintptr_t)i, NULL) > 0);
}

static void check_direct(void)
{
    struct loop_stats stats = test_stats(loop);

    ck_assert_uint_eq(stats.ops_in_flight, 3);
    ck_assert(loop_alive(loop));
    test_run(loop);
    ck_assert_uint_eq(direct_count, 3);
    stats = test_stats(loop);
    ck_assert_uint_eq(stats.cqes_stale, 0);
    ck_assert_uint_eq(stats.ops_in_flight, 0);
}

/* Goal: operations without a context that are started by callbacks of loop_disown() are counted, and run. */
START_TEST(direct_meanwhile)
{
    int  fds[2];
    char byte;

    test_socketpair(fds);
    handler = loop_handler_register(loop, direct_cb, NULL, LOOP_GROUP_DEFAULT);
    ck_assert_int_gt(loop_recv(loop, fds[0], &byte, 1, 0, start_direct, NULL, NULL), 0);
    test_turns(loop, 1);
    ck_assert_int_eq(loop_disown(loop), 0);
    check_direct();
    test_close(fds[0]);
    test_close(fds[1]);
}
END_TEST

static void *leave_direct(void *arg)
{
    (void)arg;
    must(loop_run(loop, LOOP_RUN_NOWAIT) >= 0);
    for (uint64_t i = 0; i < 3; i++)
        must(loop_nop(loop, LOOP_HANDLER(handler), (void *)(uintptr_t)i, NULL) > 0);
    return NULL;
}

/* Goal: the same for those that a thread has left behind unsent. */
START_TEST(direct_orphaned)
{
    handler = loop_handler_register(loop, direct_cb, NULL, LOOP_GROUP_DEFAULT);
    on_thread(leave_direct, NULL);
    ck_assert_int_eq(loop_rehome(loop), 0);
    check_direct();
}
END_TEST

/* ---- what goes wrong */

struct things {
    struct test_log multi, one;
    int             fds[2];
    loop_id         id; /* of the one */
    char            byte;
};

static void things_start(struct things *things)
{
    *things = (struct things){0};
    test_socketpair(things->fds);
    ck_assert_int_eq(loop_files_init(loop, &(struct loop_files_options){.automatic = 4, .own = 4}), 0);
    ck_assert_int_ge(loop_file_register(loop, things->fds[1]), 0);
    ck_assert_int_eq(
        loop_fixed_buffers_init(loop, &(struct loop_fixed_buffers_options){.count = 2, .size = 4096, .own = 1}), 0);
    ck_assert_int_gt(loop_buffer_group_create(loop, &(struct loop_buffer_group_options){.count = 4, .size = 1024}), 0);
    ck_assert_int_ge(loop_backend_fd(loop), 0);
    ck_assert_int_gt(
        loop_recv_multishot(loop, things->fds[0], LOOP_GROUP_DEFAULT, 0, test_log_cb, &things->multi, NULL), 0);
    things->id = loop_recv(loop, things->fds[1], &things->byte, 1, 0, test_log_cb, &things->one, NULL);
    ck_assert_int_gt(things->id, 0);
    test_turns(loop, 1);
}

/* What waits goes on, what could be done only once has ended. */
static bool things_go_on(struct things *things)
{
    uint32_t before = things->multi.count;

    turn_until(&things->one.count, 1);
    if (things->one.last.res != -ECANCELED || write(things->fds[1], "x", 1) != 1)
        return false;
    turn_until(&things->multi.count, before + 1);
    return things->multi.count == before + 1 && things->multi.finals == 0 &&
           loop_file_lookup(loop, things->fds[1]) >= 0;
}

static void things_end(struct things *things)
{
    loop_cancel_all(loop);
    test_run(loop);
    test_close(things->fds[0]);
    test_close(things->fds[1]);
}

static void fails_in_child(void *arg)
{
    struct things *things = arg;
    uint32_t       before = test_fd_count(), fails = register_fails;
    int            r;

    register_calls = 0;
    r = loop_fork(loop);
    TEST_TRUE_IN_CHILD(r == 0 || (r == -ENOMEM && register_calls >= fails));
    register_fails = 0;
    TEST_TRUE_IN_CHILD(loop_fork(loop) == 0);
    TEST_TRUE_IN_CHILD(test_fd_count() == before);
    TEST_TRUE_IN_CHILD(things_go_on(things));
    TEST_TRUE_IN_CHILD(loop_destroy(loop) == 0);
    TEST_TRUE_IN_CHILD(test_memory.blocks == 0);
    TEST_TRUE_IN_CHILD(test_fd_count() + 3 == before); /* ring, eventfd, backend */
}

/* Goal: where the kernel refuses to know something again, loop_fork() says so, and works the next time. Method: each
 * of its calls fails once. */
START_TEST(fork_fails)
{
    struct things things;

    things_start(&things);
    register_fails = (uint32_t)_i;
    test_in_child(fails_in_child, &things);
    register_fails = 0;
    things_end(&things);
}
END_TEST

/* Goal: the same for loop_disown(), after which loop_rehome() tries again. */
START_TEST(disown_fails)
{
    struct things things;
    int           r;

    things_start(&things);
    register_calls = 0;
    register_fails = (uint32_t)_i;
    r = loop_disown(loop);
    ck_assert(r == 0 || r == -ENOMEM);
    register_fails = 0;
    ck_assert_int_eq(loop_rehome(loop), 0);
    ck_assert(things_go_on(&things));
    things_end(&things);
}
END_TEST

/* Goal: a loop without a ring is destroyed like any other: all last callbacks come. */
START_TEST(destroyed_without_ring)
{
    struct things things;

    things_start(&things);
    register_calls = 0;
    register_fails = 4; /* the unregistering of the old ring's descriptor is the first */
    ck_assert_int_eq(loop_disown(loop), -ENOMEM);
    register_fails = 0;
    test_loop_drop(loop);
    ck_assert_uint_eq(things.multi.finals, 1);
    ck_assert_uint_eq(things.one.finals, 1);
    setup();
    test_close(things.fds[0]);
    test_close(things.fds[1]);
}
END_TEST

/* ---- what the kernel does not let go of */

static void connected(struct loop_stream *stream, int error)
{
    (void)stream;
    (void)error;
    direct_count++;
}

/* Goal: where loop_disown() is -EBUSY, objects go on all the same. Method: a connect that waits, since the backlog is
 * full, is taken back, but the kernel seems to keep a receive. */
START_TEST(busy)
{
    struct sockaddr_in  address;
    struct loop_address peer;
    struct loop_stream  stream = {0};
    struct things       things;
    uint16_t            port = 0;
    int                 listener = test_tcp_listener(&port, 0), filler = test_tcp_connect(port);

    address = test_localhost(port);
    peer = (struct loop_address){.size = sizeof(address)};
    memcpy(&peer.storage, &address, sizeof(address));
    things_start(&things);
    ck_assert_int_eq(loop_stream_connect(loop, &stream, &peer, NULL, connected), 0);
    test_turns(loop, 3);
    ck_assert_uint_eq(direct_count, 0);
    spared = things.id;
    ck_assert_int_eq(loop_disown(loop), -EBUSY);
    spared = 0;
    for (int i = 0; i < 20; i++) {
        test_turns(loop, 1);
        test_sleep(LOOP_MILLISECOND);
    }
    ck_assert_uint_eq(direct_count, 0);
    ck_assert(things_go_on(&things));
    ck_assert_int_eq(loop_disown(loop), 0);
    test_turns(loop, 3);
    ck_assert_uint_eq(direct_count, 0);
    ck_assert(things_go_on(&things));
    loop_stream_close(&stream, NULL);
    things_end(&things);
    test_close(filler);
    test_close(listener);
}
END_TEST

/* Goal: places for registered rings, of which a thread has 16, are given back. */
START_TEST(many_moves)
{
    struct things things;

    things_start(&things);
    for (int i = 0; i < 40; i++) {
        ck_assert_int_eq(loop_disown(loop), 0);
        test_turns(loop, 1);
        ck_assert(loop_features_get(loop)->registered_ring);
    }
    ck_assert(things_go_on(&things));
    things_end(&things);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("rehome_edge");
    TCase *tc = test_case(suite, "rehome_edge");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, full_queue);
    tcase_add_test(tc, direct_meanwhile);
    tcase_add_test(tc, direct_orphaned);
    tcase_add_loop_test(tc, fork_fails, 1, 14);
    tcase_add_loop_test(tc, disown_fails, 1, 14);
    tcase_add_test(tc, destroyed_without_ring);
    tcase_add_test(tc, busy);
    tcase_add_test(tc, many_moves);
    return suite;
}
