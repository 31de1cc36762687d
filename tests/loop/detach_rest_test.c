/* tests/loop/detach_rest_test.c: taking a descriptor out of the loop: direct mode, foreign SQEs, slots, objects; many
 * of them, modes of the ring, any order. */
#include "tests/loop/detach_world.h"

#include <fcntl.h>
#include <liburing.h>
#include <pthread.h>

/* ---- direct mode, foreign SQEs, slots, objects */

static void direct_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    uint32_t *count = arg;

    (void)of;
    ck_assert_int_eq(result->res, -ECANCELED);
    ck_assert_uint_eq(result->value, 7);
    (*count)++;
}

static uint32_t foreign_count;
static int32_t  foreign_res;

static void foreign_cb(struct loop *of, uint64_t user_data, int32_t res, uint32_t flags, void *arg)
{
    (void)of;
    (void)arg;
    (void)flags;
    ck_assert_uint_eq(user_data, 40 | LOOP_FOREIGN);
    foreign_count++;
    foreign_res = res;
}

/* Goal: those without a context end as well, each once. Method: direct or foreign receives (_i), before and after they
 * are submitted. */
START_TEST(without_context)
{
    uint32_t            direct = _i % 2 == 0 ? 2 : 0, count = 0;
    int                 handler = loop_handler_register(loop, direct_cb, &count, 0);
    struct io_uring_sqe sqe = {0};

    foreign_count = 0;
    loop_foreign_set(loop, foreign_cb, NULL);
    for (uint32_t i = 0; i < direct; i++)
        ck_assert_int_gt(loop_recv(loop, pair[0], &byte, 1, 0, LOOP_HANDLER(handler), LOOP_VALUE(7), NULL), 0);
    io_uring_prep_recv(&sqe, pair[0], &byte, 1, 0);
    sqe.user_data = 40 | LOOP_FOREIGN;
    if (direct == 0)
        ck_assert_int_eq(loop_foreign_submit(loop, &sqe), 0);
    test_turns(loop, (uint32_t)_i / 2);
    ck_assert_int_eq(loop_detach(loop, pair[0]), 0); /* not counted */
    ck_assert_uint_eq(count + foreign_count, 0);
    close_at(&pair[0]);
    ck_assert(sees_end(pair[1]));
    test_run(loop);
    test_turns(loop, 1);
    ck_assert_uint_eq(count, direct);
    ck_assert_uint_eq(foreign_count, direct == 0);
    ck_assert_int_eq(foreign_res, direct == 0 ? -ECANCELED : 0);
}
END_TEST

/* Goal: without memory for those nothing happens. Method: every allocation fails. */
START_TEST(no_memory)
{
    uint32_t count = 0;
    int      handler = loop_handler_register(loop, direct_cb, &count, 0);

    ck_assert_int_gt(loop_recv(loop, pair[0], &byte, 1, 0, LOOP_HANDLER(handler), LOOP_VALUE(7), NULL), 0);
    test_memory.fail_from = test_memory.calls + 1;
    ck_assert_int_eq(loop_detach(loop, pair[0]), -ENOMEM);
    test_memory.fail_from = 0;
    ck_assert_int_eq(loop_detach(loop, pair[0]), 0);
    test_run(loop);
    ck_assert_uint_eq(count, 1);
}
END_TEST

/* Goal: a slot is a descriptor like any other. Method: a recv on LOOP_FIXED(); the slot stays. */
START_TEST(slot)
{
    struct test_log log = {0};
    int             at;

    ck_assert_int_eq(loop_files_init(loop, &(struct loop_files_options){.own = 8}), 0);
    at = loop_file_register(loop, pair[0]);
    ck_assert_int_ge(at, 0);
    ck_assert_int_gt(loop_recv(loop, at, &byte, 1, 0, test_log_cb, &log, NULL), 0);
    test_turns(loop, (uint32_t)_i);
    ck_assert_int_eq(loop_detach(loop, at), 1);
    test_write(pair[1], "z", 1);
    test_run(loop);
    test_log_is(&log, -ECANCELED);
    ck_assert_int_eq(recv(pair[0], &byte, 1, MSG_DONTWAIT), 1);
    ck_assert_int_eq(loop_file_unregister(loop, at), 0);
}
END_TEST

static void sent_cb(struct loop_transfer *transfer, uint64_t sent, int error)
{
    (void)transfer;
    (void)sent;
    ck_assert_int_eq(error, -ECANCELED);
}

/* Goal: what belongs to an object is refused. Method: a transfer that waits for its source. */
START_TEST(object)
{
    struct loop_transfer transfer = {0};
    int                  fds[2];

    test_pipe(fds);
    ck_assert_int_eq(loop_sendfile(loop, &transfer, pair[0], fds[0], LOOP_AT_POSITION, 10, NULL, sent_cb), 0);
    test_turns(loop, 2);
    ck_assert_int_eq(loop_detach(loop, fds[0]), -EPERM);
    ck_assert_int_eq(loop_detach(loop, pair[0]), 0);
    loop_sendfile_cancel(&transfer);
    test_run(loop);
    test_close(fds[0]);
    test_close(fds[1]);
}
END_TEST

/* Goal: a notification that is still to come holds no file. Method: a zero-copy send over TCP to a peer that does not
 * read; after detach and close the peer gets what was sent, then the end. */
START_TEST(zero_copy)
{
    struct test_log log = {.releases = true};
    uint64_t        got = 0;
    ssize_t         size;
    int             tcp[2];

    test_tcp_pair(tcp);
    ck_assert_int_gt(loop_send_zc(loop, tcp[0], megabyte, sizeof(megabyte), 0, test_log_cb, &log, NULL), 0);
    test_turns(loop, (uint32_t)_i);
    ck_assert_int_ge(loop_detach(loop, tcp[0]), 0);
    test_close(tcp[0]);
    while ((size = read(tcp[1], megabyte, sizeof(megabyte))) > 0)
        got += (uint64_t)size;
    ck_assert_int_eq(size, 0);
    test_run(loop);
    ck_assert_uint_eq(log.finals, 1);
    ck_assert_int_eq(log.last.res, got > 0 ? (int)got : -ECANCELED);
    test_close(tcp[1]);
}
END_TEST

/* Goal: the pieces of a bundle that was not sent are still in their group. Method: detached while it is queued; sent
 * after that. */
START_TEST(bundle)
{
    struct test_log log[2] = {0};
    char            got[8];
    int             group =
        loop_buffer_group_create(loop, &(struct loop_buffer_group_options){.count = 4, .flags = LOOP_GROUP_OUTGOING});

    ck_assert_int_gt(group, 0);
    ck_assert_int_eq(loop_buffer_group_add(loop, (uint16_t)group, "abc", 3), 0);
    if (loop_send_bundle(loop, pair[0], (uint16_t)group, 0, test_log_cb, &log[0], NULL) == -EOPNOTSUPP) {
        test_skip("no bundles on this kernel");
        return;
    }
    ck_assert_int_eq(loop_detach(loop, pair[0]), 1);
    test_run(loop);
    test_log_is(&log[0], -ECANCELED);
    ck_assert_int_gt(loop_send_bundle(loop, pair[0], (uint16_t)group, 0, test_log_cb, &log[1], NULL), 0);
    test_run(loop);
    ck_assert_int_eq(log[1].last.res, 3);
    ck_assert_int_eq(read(pair[1], got, sizeof(got)), 3);
    ck_assert_int_eq(loop_buffer_group_destroy(loop, (uint16_t)group), 0);
}
END_TEST

/* ---- many, modes, random */

/* Goal: a thousand end, also if the CQ has no room for their completions. Method: receives and polls on one socket;
 * _i: a small CQ. */
START_TEST(thousand)
{
    enum { COUNT = 1000 };
    static struct test_log logs[COUNT];
    struct loop           *many =
        test_loop_new(&(struct loop_options){.sq_entries = 64, .cq_entries = _i == 0 ? 4096 : 64, .ops_max = 2000});
    static char bytes[COUNT];

    for (int i = 0; i < COUNT; i++)
        ck_assert_int_gt(i % 2 == 0 ? loop_recv(many, pair[0], &bytes[i], 1, 0, test_log_cb, &logs[i], NULL)
                                    : loop_poll_add(many, pair[0], POLLIN, test_log_cb, &logs[i], NULL),
                         0);
    test_turns(many, 1);
    ck_assert_int_eq(loop_detach(many, pair[0]), COUNT);
    close_at(&pair[0]);
    ck_assert(sees_end(pair[1]));
    test_run(many);
    for (int i = 0; i < COUNT; i++)
        test_log_is(&logs[i], -ECANCELED);
    test_loop_free(many);
}
END_TEST

static void run_mode(uint32_t flags)
{
    struct loop_options options = {.sq_entries = 16, .flags = flags, .allocator = test_allocator()};
    struct test_log     logs[2] = {0};
    struct loop        *other = NULL;
    char                bytes[2];

    if (loop_create(&other, &options) < 0) {
        test_skip("this kernel, or this user, has no such mode");
        return;
    }
    ck_assert_int_gt(loop_recv(other, pair[0], &bytes[0], 1, 0, test_log_cb, &logs[0], NULL), 0);
    ck_assert_int_gt(loop_poll_add_multishot(other, pair[0], POLLIN, 0, test_log_cb, &logs[1], NULL), 0);
    test_turns(other, 2);
    ck_assert_int_eq(loop_detach(other, pair[0]), 2);
    close_at(&pair[0]);
    ck_assert(sees_end(pair[1]));
    test_run(other);
    ck_assert_int_eq(logs[0].last.res, -ECANCELED);
    ck_assert_int_eq(logs[1].last.res, -ECANCELED);
    test_loop_free(other);
}

/* Goal: the same in other modes of the ring. Method: SQPOLL, shared. */
START_TEST(modes)
{
    static const uint32_t flags[] = {LOOP_MODE_SQPOLL, LOOP_MODE_SHARED};

    run_mode(flags[_i]);
}
END_TEST

struct helper {
    struct loop     *shared;
    struct test_log *log;
};

static void *start_elsewhere(void *arg)
{
    const struct helper *helper = arg;

    ck_assert_int_gt(loop_recv(helper->shared, pair[0], &byte, 1, 0, test_log_cb, helper->log, NULL), 0);
    return NULL;
}

/* Goal: what another thread has started and the loop has not seen yet ends too. Method: a thread starts a recv, and
 * ends before the loop runs. */
START_TEST(shared_queue)
{
    struct test_log log = {0};
    struct helper   helper = {test_loop_new(&(struct loop_options){.flags = LOOP_MODE_SHARED}), &log};
    pthread_t       thread;

    test_turns(helper.shared, 1);
    ck_assert_int_eq(pthread_create(&thread, NULL, start_elsewhere, &helper), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    ck_assert_int_eq(loop_detach(helper.shared, pair[0]), 1);
    close_at(&pair[0]);
    ck_assert(sees_end(pair[1]));
    test_run(helper.shared);
    test_log_is(&log, -ECANCELED);
    test_loop_free(helper.shared);
}
END_TEST

/* Goal: reads of a regular file end in some way, and the answer is true. Method: reads with a worker, of a file; -EBUSY
 * may be answered, then it is asked again. */
START_TEST(regular_file)
{
    enum { READS = 32 };
    static struct test_log logs[READS];
    static char            data[READS][65536];
    char                   name[] = "/var/tmp/ringloop-detach-XXXXXX";
    int                    fd = mkstemp(name), answer;

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(unlink(name), 0);
    test_write(fd, megabyte, sizeof(megabyte));
    for (size_t i = 0; i < READS; i++)
        ck_assert_int_gt(
            loop_read(loop, fd, data[i], sizeof(data[i]), 0, test_log_cb, &logs[i], LOOP_TERMS(.flags = LOOP_ASYNC)),
            0);
    (void)loop_submit(loop);
    test_turns(loop, 1);
    for (int tries = 0; (answer = loop_detach(loop, fd)) == -EBUSY && tries < 1000; tries++)
        test_turns(loop, 1);
    ck_assert_int_ge(answer, 0);
    test_close(fd);
    test_run(loop);
    for (size_t i = 0; i < READS; i++) {
        ck_assert_uint_eq(logs[i].finals, 1);
        ck_assert_msg(logs[i].last.res == sizeof(data[i]) || logs[i].last.res == -ECANCELED, "%d", logs[i].last.res);
    }
}
END_TEST

/* Goal: the same on a ring of polled operations, whose waits do not end by time. Method: a direct read of a file. */
START_TEST(polled)
{
    static _Alignas(4096) char block[4096];
    struct loop_options        options = {.flags = LOOP_MODE_IOPOLL, .allocator = test_allocator()};
    char                       name[] = "/var/tmp/ringloop-detach-XXXXXX";
    struct test_log            log = {0};
    struct loop               *other = NULL;
    int                        plain = mkstemp(name), fd = open(name, O_RDWR | O_DIRECT | O_CLOEXEC), answer;

    ck_assert_int_ge(plain, 0);
    ck_assert_int_eq(unlink(name), 0);
    test_write(plain, block, sizeof(block));
    test_close(plain);
    if (fd < 0 || loop_create(&other, &options) < 0) {
        test_skip("no O_DIRECT in /var/tmp, or no polled rings");
        return;
    }
    ck_assert_int_gt(loop_read(other, fd, block, sizeof(block), 0, test_log_cb, &log, NULL), 0);
    if (_i > 0)
        test_turns(other, 1);
    for (int tries = 0; (answer = loop_detach(other, fd)) == -EBUSY && tries < 1000; tries++)
        test_turns(other, 1);
    ck_assert_int_ge(answer, 0);
    test_close(fd);
    test_run(other);
    ck_assert_uint_eq(log.finals, 1);
    test_loop_free(other);
}
END_TEST

/* What a socket of the random test has: how many operations, and how many bytes of its stream have been read. */
enum { SOCKETS = 6, STEPS = 3000, OPS = 4000 };

struct model {
    int             fds[2];
    uint64_t        written, read;
    struct test_log logs[2];
};

struct random_op {
    struct model *model;
    char          byte;
    bool          ended, detached;
};

static struct random_op ops[OPS];
static uint32_t         ops_count, ops_ended;

static void random_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    struct random_op *op = arg;

    (void)of;
    ck_assert(!op->ended);
    ck_assert_msg(result->res == 1 || result->res == -ECANCELED, "res %d", result->res);
    ck_assert(result->res == 1 || op->detached); /* others are not hit */
    op->model->read += result->res == 1;
    op->ended = true;
    ops_ended++;
}

static uint32_t mark_detached(const struct model *model)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < ops_count; i++)
        if (ops[i].model == model && !ops[i].ended && !ops[i].detached) {
            ops[i].detached = true;
            count++;
        }
    return count;
}

/* Reads the rest without the loop: with what the callbacks told and will tell, every byte is there once. */
static void close_model(struct model *model)
{
    int     expected = (int)mark_detached(model);
    char    bytes[256];
    ssize_t size;

    ck_assert_int_eq(detach_patiently(model->fds[0], expected), expected);
    while ((size = recv(model->fds[0], bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
        model->read += (uint64_t)size;
    test_close(model->fds[0]);
    ck_assert(sees_end(model->fds[1]));
    test_close(model->fds[1]);
    for (uint32_t i = 0; i < 100 && model->read != model->written; i++)
        test_turns(loop, 1);
    ck_assert_uint_eq(model->read, model->written);
    test_socketpair(model->fds); /* the same numbers */
    model->written = model->read = 0;
}

static void random_step(struct model *model, uint64_t number)
{
    switch (number % 8) {
    case 0:
    case 1:
    case 2:
        if (ops_count == OPS || test_stats(loop).ops_in_flight > 500)
            return;
        ops[ops_count] = (struct random_op){.model = model};
        ck_assert_int_gt(loop_recv(loop, model->fds[0], &ops[ops_count].byte, 1, 0, random_cb, &ops[ops_count],
                                   LOOP_TERMS(.flags = number / 8 % 8 == 0 ? LOOP_ASYNC : 0)),
                         0);
        ops_count++;
        return;
    case 3:
    case 4:
        test_write(model->fds[1], "x", 1);
        model->written++;
        return;
    case 5: (void)loop_submit(loop); return;
    case 6: test_turns(loop, 1); return;
    case 7:
        if (number / 8 % 4 == 0)
            close_model(model);
        return;
    }
}

/* Goal: in any order of events, what is detached ends, nothing else does, no byte is lost or doubled. Method: receives
 * on a few sockets, writes, turns, detaches with close and reuse of the number, against a model. */
START_TEST(random_order)
{
    uint64_t     state = test_env("TEST_SEED", (uint64_t)_i + 1);
    struct model models[SOCKETS] = {0};

    ops_count = ops_ended = 0;
    for (size_t i = 0; i < SOCKETS; i++)
        test_socketpair(models[i].fds);
    for (int i = 0; i < STEPS; i++) {
        uint64_t number = test_random(&state);

        random_step(&models[number % SOCKETS], number / SOCKETS);
    }
    for (size_t i = 0; i < SOCKETS; i++) {
        close_model(&models[i]);
        test_close(models[i].fds[0]);
        test_close(models[i].fds[1]);
    }
    test_run(loop);
    ck_assert_uint_eq(ops_ended, ops_count);
    ck_assert_uint_eq(test_stats(loop).cqes_stale, 0);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("detach_rest");
    TCase *tests = test_case(suite, "rest");

    tcase_add_checked_fixture(tests, setup, pair_teardown);
    tcase_add_loop_test(tests, without_context, 0, 6);
    tcase_add_test(tests, bundle);
    tcase_add_test(tests, no_memory);
    tcase_add_loop_test(tests, slot, 0, 3);
    tcase_add_test(tests, object);
    tcase_add_loop_test(tests, zero_copy, 0, 3);
    tcase_add_loop_test(tests, thousand, 0, 2);
    tcase_add_loop_test(tests, modes, 0, 2);
    tcase_add_test(tests, shared_queue);
    tcase_add_test(tests, regular_file);
    tcase_add_loop_test(tests, polled, 0, 2);
    tcase_add_loop_test(tests, random_order, 0, 8);
    return suite;
}
