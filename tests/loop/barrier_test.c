/* tests/loop/barrier_test.c: operations held back behind others, and cancelling many at once. */
#include "tests/loop/pair_world.h"

#include <fcntl.h>
#include <liburing.h>
#include <linux/futex.h>

static void setup(void)
{
    pair_open(&(struct loop_options){.sq_entries = 16});
}

static loop_id waiting_recv(char *byte, struct test_log *log)
{
    return loop_recv(loop, pair[0], byte, 1, 0, test_log_cb, log, NULL);
}

/* Goal: with nothing before it a barrier ends by itself, never inside the call. Method: before the first run and after
 * it. */
START_TEST(nothing_before)
{
    for (int round = 0; round < 2; round++) {
        struct test_log log = {0};

        ck_assert_int_gt(loop_barrier(loop, test_log_cb, &log), 0);
        ck_assert_uint_eq(log.count, 0);
        test_run(loop);
        test_log_is(&log, 0);
    }
}
END_TEST

/* Goal: a barrier waits for what was started before, succeeded or failed, and for nothing that was started after.
 * Method: a receive that waits, one that fails, a barrier, another receive behind it. */
START_TEST(waits_for_those_before)
{
    struct test_log before[2] = {0}, after = {0}, barrier = {0};
    char            bytes[3];

    ck_assert_int_gt(waiting_recv(&bytes[0], &before[0]), 0);
    ck_assert_int_gt(loop_recv(loop, 3999, &bytes[1], 1, 0, test_log_cb, &before[1], NULL), 0);
    ck_assert_int_gt(loop_barrier(loop, test_log_cb, &barrier), 0);
    ck_assert_int_gt(loop_recv(loop, pair[1], &bytes[2], 1, 0, test_log_cb, &after, NULL), 0);
    test_turns(loop, 4);
    test_log_is(&before[1], -EBADF);
    ck_assert_uint_eq(barrier.count, 0);
    test_write(pair[1], "x", 1);
    test_run_until(loop, &barrier.finals, 1);
    test_log_is(&barrier, 0);
    test_log_is(&before[0], 1);
    ck_assert_uint_eq(after.count, 0);
    test_write(pair[0], "y", 1);
    test_run(loop);
    test_log_is(&after, 1);
}
END_TEST

/* Goal: a held operation does nothing until its turn. Method: a send held behind a receive: the peer sees nothing
 * before. */
START_TEST(holds_any_operation)
{
    struct test_log first = {0}, held = {0};
    char            byte, seen;

    ck_assert_int_gt(waiting_recv(&byte, &first), 0);
    ck_assert_int_gt(loop_send(loop, pair[0], "h", 1, 0, test_log_cb, &held, LOOP_TERMS(.flags = LOOP_BARRIER)), 0);
    test_turns(loop, 4);
    ck_assert_int_eq(recv(pair[1], &seen, 1, MSG_DONTWAIT), -1);
    test_write(pair[1], "x", 1);
    test_run(loop);
    test_log_is(&held, 1);
    test_read(pair[1], &seen, 1);
    ck_assert_int_eq(seen, 'h');
}
END_TEST

/* Goal: several barriers open in their order, each behind its own. Method: three receives with a barrier after each,
 * served from the last to the first. */
static void note_order(struct loop *of, const struct loop_result *result, void *arg)
{
    uint32_t *order = arg;

    (void)of;
    ck_assert_int_eq(result->res, 0);
    order[order[0]++] = *(const uint32_t *)result->extra;
}

START_TEST(several)
{
    struct test_log logs[3] = {0};
    uint32_t        order[4] = {1};
    char            bytes[3];
    int             pairs[3][2];

    for (uint32_t i = 0; i < 3; i++) {
        test_socketpair(pairs[i]);
        ck_assert_int_gt(loop_recv(loop, pairs[i][0], &bytes[i], 1, 0, test_log_cb, &logs[i], NULL), 0);
        ck_assert_int_gt(
            loop_nop(loop, note_order, order, LOOP_TERMS(.flags = LOOP_BARRIER, .data = &i, .data_size = sizeof(i))),
            0);
    }
    for (uint32_t i = 3; i-- > 0;) {
        test_turns(loop, 3);
        ck_assert_uint_eq(order[0], 1); /* the first waits for the first receive, and the others for it */
        test_write(pairs[i][1], "x", 1);
    }
    test_run(loop);
    ck_assert_uint_eq(order[0], 4);
    for (uint32_t i = 0; i < 3; i++) {
        ck_assert_uint_eq(order[1 + i], i);
        test_close(pairs[i][0]);
        test_close(pairs[i][1]);
    }
}
END_TEST

/* Goal: a held operation can be cancelled and has its deadline; what stands behind it goes on; multishots, background
 * ones of objects and raw SQEs are not waited for. Method: each. */
START_TEST(cancel_and_deadline)
{
    struct test_log first = {0}, held[3] = {0}, endless = {0};
    char            byte;
    loop_id         canceled, multishot;

    multishot = loop_accept_multishot(loop, pair[1], 0, test_log_cb, &endless, NULL); /* fails at once: no listener */
    ck_assert_int_gt(multishot, 0);
    test_run(loop);
    ck_assert_int_gt(waiting_recv(&byte, &first), 0);
    canceled = loop_barrier(loop, test_log_cb, &held[0]);
    ck_assert_int_gt(canceled, 0);
    ck_assert_int_gt(
        loop_nop(loop, test_log_cb, &held[1], LOOP_TERMS(.flags = LOOP_BARRIER, .timeout_ns = 2 * LOOP_MILLISECOND)),
        0);
    ck_assert_int_gt(loop_barrier(loop, test_log_cb, &held[2]), 0);
    test_turns(loop, 2);
    ck_assert_int_eq(loop_cancel(loop, canceled), 0);
    ck_assert_int_eq(loop_cancel(loop, canceled), 0);
    ck_assert_uint_eq(held[0].count, 0);
    test_run_until(loop, &held[1].finals, 1);
    test_log_is(&held[0], -ECANCELED);
    ck_assert_int_eq(held[1].last.res, -ETIMEDOUT);
    ck_assert_uint_eq(held[1].last.flags, LOOP_TIMED_OUT);
    ck_assert_uint_eq(held[2].count, 0);
    test_write(pair[1], "x", 1);
    test_run(loop);
    test_log_is(&held[2], 0);
}
END_TEST

START_TEST(not_waited_for)
{
    struct test_log     endless = {0}, raw = {0}, barrier = {0};
    uint16_t            port;
    int                 door = test_tcp_listener(&port, 4);
    loop_id             id = loop_accept_multishot(loop, door, 0, test_log_cb, &endless, NULL), raw_id;
    struct io_uring_sqe sqe = {.opcode = IORING_OP_POLL_ADD, .fd = pair[0], .poll32_events = 1 /* POLLIN */};

    raw_id = loop_raw(loop, &sqe, test_log_cb, &raw, NULL);
    ck_assert_int_gt(id, 0);
    ck_assert_int_gt(raw_id, 0);
    ck_assert_int_gt(loop_barrier(loop, test_log_cb, &barrier), 0);
    test_run_until(loop, &barrier.finals, 1);
    ck_assert_uint_eq(endless.count + raw.count, 0);
    ck_assert_int_eq(loop_cancel_all(loop), 2);
    test_run(loop);
    test_close(door);
}
END_TEST

/* Goal: what makes no sense is refused, and destroying with barriers held ends each once. */
START_TEST(refused_and_destroyed)
{
    struct test_log logs[3] = {0};
    struct loop    *other = test_loop_new(NULL);
    char            byte;

    ck_assert_int_eq(
        loop_nop(loop, NULL, NULL, LOOP_TERMS(.flags = LOOP_BARRIER | LOOP_LINKED_TIMEOUT, .timeout_ns = 1)), -EINVAL);
    ck_assert_int_eq(loop_chain_begin(loop, 2, 0), 0);
    ck_assert_int_eq(loop_barrier(loop, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_chain_end(loop), -EINVAL);
    ck_assert_int_gt(loop_recv(other, pair[0], &byte, 1, 0, test_log_cb, &logs[0], NULL), 0);
    ck_assert_int_gt(loop_barrier(other, test_log_cb, &logs[1]), 0);
    ck_assert_int_gt(loop_barrier(other, test_log_cb, &logs[2]), 0);
    test_turns(other, (uint32_t)_i);
    test_loop_drop(other);
    for (size_t i = 0; i < TEST_COUNT(logs); i++)
        test_log_is(&logs[i], -ECANCELED);
}
END_TEST

/* Goal: a chain that is dropped is no longer waited for. Method: a barrier started while the chain is open. */
START_TEST(behind_a_dropped_chain)
{
    struct test_log barrier = {0};

    ck_assert_int_eq(loop_chain_begin(loop, 2, 0), 0);
    ck_assert_int_gt(loop_nop(loop, NULL, NULL, NULL), 0);
    ck_assert_int_gt(loop_nop(loop, test_log_cb, &barrier, LOOP_TERMS(.flags = LOOP_BARRIER | LOOP_UNCHAINED)), 0);
    ck_assert_int_eq(loop_recv(loop, -1, NULL, 0, 0, NULL, NULL, NULL), -EBADF);
    ck_assert_int_eq(loop_chain_end(loop), -EBADF);
    test_run(loop);
    test_log_is(&barrier, 0);
}
END_TEST

/* Goal: what is held, or runs in the work pool, counts for the limit of operations. Method: fill a small pool in
 * different orders; one more is refused. */
static int32_t returns_at_once(void *arg)
{
    (void)arg;
    return 0;
}

static loop_id start_kind(struct loop *of, int kind, struct test_log *log)
{
    switch (kind) {
    case 0: return loop_nop(of, test_log_cb, log, NULL);
    case 1: return loop_barrier(of, test_log_cb, log);
    default: return loop_work(of, LOOP_WORK_DEFAULT, returns_at_once, test_log_cb, log, NULL);
    }
}

START_TEST(counted)
{
    enum { MOST = 12 };
    struct loop    *small = test_loop_new(&(struct loop_options){.ops_max = MOST});
    struct test_log logs[MOST] = {0};

    test_turns(small, 1); /* room is looked at with nothing in flight */
    for (int i = 0; i < MOST; i++)
        ck_assert_int_gt(start_kind(small, (i * 7 + _i) % 3, &logs[i]), 0);
    for (int kind = 0; kind < 3; kind++)
        ck_assert_int_eq(start_kind(small, kind, NULL), -ENOBUFS);
    test_run(small);
    for (int i = 0; i < MOST; i++)
        test_log_is(&logs[i], 0);
    test_loop_free(small);
}
END_TEST

/* Goal: no memory for a barrier is -ENOMEM and leaves nothing. Method: each allocation fails in turn. */
START_TEST(no_memory)
{
    bool started = false;

    for (uint64_t n = 1; !started && n < 100; n++) {
        struct loop    *other = test_loop_new(NULL);
        struct test_log log = {0};
        loop_id         id;

        test_memory.fail_at = test_memory.calls + n;
        id = loop_barrier(other, test_log_cb, &log);
        test_memory.fail_at = 0;
        if (id < 0)
            ck_assert_int_eq(id, -ENOMEM);
        started = id > 0;
        test_run(other);
        ck_assert_uint_eq(log.finals, started ? 1 : 0);
        test_loop_free(other);
    }
    ck_assert(started);
}
END_TEST

/* ---- many at once */

/* Goal: by descriptor exactly its operations are cancelled, counted once. Method: receives and polls on two sockets,
 * direct and with deadline, before (_i = 0) and after submission. */
START_TEST(by_descriptor)
{
    struct test_log logs[4] = {0};
    char            bytes[3];

    ck_assert_int_gt(loop_recv(loop, pair[0], &bytes[0], 1, 0, test_log_cb, &logs[0], NULL), 0);
    ck_assert_int_gt(
        loop_recv(loop, pair[0], &bytes[1], 1, 0, test_log_cb, &logs[1], LOOP_TERMS(.timeout_ns = 100 * LOOP_SECOND)),
        0);
    ck_assert_int_gt(loop_poll_add(loop, pair[0], 1, test_log_cb, &logs[2], LOOP_TERMS(.flags = LOOP_EXTENDED)), 0);
    ck_assert_int_gt(loop_recv(loop, pair[1], &bytes[2], 1, 0, test_log_cb, &logs[3], NULL), 0);
    test_turns(loop, (uint32_t)_i);
    ck_assert_int_eq(loop_cancel_fd(loop, LOOP_FIXED(pair[0])), 0);
    ck_assert_int_eq(loop_cancel_fd(loop, pair[0]), 3);
    ck_assert_int_eq(loop_cancel_fd(loop, pair[0]), 0);
    test_run_until(loop, &logs[2].finals, 1);
    test_turns(loop, 2);
    for (size_t i = 0; i < 3; i++)
        test_log_is(&logs[i], -ECANCELED);
    ck_assert_uint_eq(logs[3].count, 0);
    ck_assert_int_eq(loop_cancel_fd(loop, pair[1]), 1);
    test_run(loop);
    test_log_is(&logs[3], -ECANCELED);
    ck_assert_int_eq(loop_cancel_fd(loop, -1), -EBADF);
}
END_TEST

/* Goal: a number in the SQE that is no descriptor is not taken for one, and a slot that is to be closed is found by the
 * notation of users. Method: operations whose SQE says 0 there, held by a barrier; cancel descriptor 0. */
START_TEST(no_descriptor)
{
    struct test_log         logs[5] = {0};
    struct io_uring_sqe     nop = {.opcode = IORING_OP_NOP};
    uint32_t                futex = 0;
    struct futex_waitv      waiter = {.uaddr = (uintptr_t)&futex, .flags = 2 | 128, .val = 1};
    char                    byte;
    int                     fds[2], slot, fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    loop_id                 first = loop_recv(loop, pair[0], &byte, 1, 0, test_log_cb, &logs[0], NULL);
    const struct loop_terms terms = {.flags = LOOP_BARRIER};

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(loop_files_init(loop, NULL), 0);
    slot = loop_file_register(loop, fd);
    ck_assert_int_gt(slot, 0);
    ck_assert_int_gt(loop_close(loop, slot, test_log_cb, &logs[1], &terms), 0);
    ck_assert_int_gt(loop_raw(loop, &nop, test_log_cb, &logs[2], &terms), 0);
    if (test_has_opcode(loop, IORING_OP_PIPE))
        ck_assert_int_gt(loop_pipe(loop, fds, 0, test_log_cb, &logs[3], &terms), 0);
    if (test_has_opcode(loop, IORING_OP_FUTEX_WAITV))
        ck_assert_int_gt(loop_futex_waitv(loop, &waiter, 1, test_log_cb, &logs[4], &terms), 0);
    test_turns(loop, 1);
    ck_assert_int_eq(loop_cancel_fd(loop, 0), 0);
    ck_assert_int_eq(loop_cancel_fd(loop, slot), 1);
    ck_assert_int_eq(loop_cancel(loop, first), 0);
    test_run(loop);
    test_log_is(&logs[1], -ECANCELED);
    test_log_is(&logs[2], 0);
    if (test_has_opcode(loop, IORING_OP_PIPE)) {
        test_log_is(&logs[3], 0);
        test_close(fds[0]);
        test_close(fds[1]);
    }
    if (test_has_opcode(loop, IORING_OP_FUTEX_WAITV))
        test_log_is(&logs[4], -EAGAIN);
    test_close(fd);
}
END_TEST

/* Goal: what cannot be asked to end is not counted. Method: a work item that runs. */
static _Atomic int work_state;

static int32_t work_until_told(void *arg)
{
    (void)arg;
    work_state = 1;
    for (int i = 0; i < 20000 && work_state != 2; i++)
        test_sleep(LOOP_MILLISECOND);
    return 7;
}

START_TEST(running_work)
{
    struct test_log log = {0};
    loop_id         id = loop_work(loop, LOOP_WORK_DEFAULT, work_until_told, test_log_cb, &log, NULL);

    ck_assert_int_gt(id, 0);
    for (int i = 0; i < 20000 && work_state == 0; i++)
        test_sleep(LOOP_MILLISECOND);
    ck_assert_int_eq(work_state, 1);
    ck_assert_int_eq(loop_cancel(loop, id), 0);
    ck_assert_int_eq(loop_cancel_all(loop), 0);
    work_state = 2;
    test_run(loop);
    test_log_is(&log, 7);
}
END_TEST

/* Goal: the same by opcode, and all. Method: receives, polls and a timeout. */
START_TEST(by_opcode_and_all)
{
    struct test_log logs[4] = {0};
    char            bytes[2];

    ck_assert_int_gt(loop_recv(loop, pair[0], &bytes[0], 1, 0, test_log_cb, &logs[0], NULL), 0);
    ck_assert_int_gt(loop_recv(loop, pair[1], &bytes[1], 1, 0, test_log_cb, &logs[1], NULL), 0);
    ck_assert_int_gt(loop_poll_add(loop, pair[0], 1, test_log_cb, &logs[2], NULL), 0);
    ck_assert_int_gt(loop_timeout(loop, 100 * LOOP_SECOND, 0, 0, test_log_cb, &logs[3], NULL), 0);
    test_turns(loop, (uint32_t)_i);
    ck_assert_int_eq(loop_cancel_opcode(loop, IORING_OP_SEND), 0);
    ck_assert_int_eq(loop_cancel_opcode(loop, IORING_OP_RECV), 2);
    ck_assert_int_eq(loop_cancel_all(loop), 2);
    ck_assert_int_eq(loop_cancel_all(loop), 0);
    test_run(loop);
    for (size_t i = 0; i < TEST_COUNT(logs); i++)
        test_log_is(&logs[i], -ECANCELED);
    ck_assert_int_eq(loop_cancel_opcode(loop, 1000), -EINVAL);
}
END_TEST

/* Goal: objects are passed by. Method: a listener and a stream; cancel all; they still work. */
static void note_accept(struct loop_listener *listener, int fd)
{
    ck_assert_int_ge(fd, 0);
    ck_assert_ptr_eq(loop_listener_loop(listener), loop);
    *(uint32_t *)listener->data += 1;
    test_close(fd);
}

START_TEST(not_objects)
{
    struct loop_listener listener = {0};
    struct loop_address  address;
    uint32_t             accepted = 0;

    listener.data = &accepted;
    ck_assert_int_eq(loop_address_parse(&address, "127.0.0.1", 0), 0);
    ck_assert_int_eq(loop_listener_start(loop, &listener, &address, NULL, note_accept), 0);
    test_turns(loop, 2);
    ck_assert_int_eq(loop_cancel_all(loop), 0);
    ck_assert_int_eq(loop_cancel_opcode(loop, IORING_OP_ACCEPT), 0);
    ck_assert_int_eq(loop_listener_address(&listener, &address), 0);
    {
        int peer = socket(AF_INET, SOCK_STREAM, 0);

        ck_assert_int_eq(connect(peer, (const struct sockaddr *)&address.storage, address.size), 0);
        test_run_until(loop, &accepted, 1);
        test_close(peer);
    }
    loop_listener_close(&listener, NULL);
    test_run(loop);
    ck_assert_ptr_null(loop_listener_loop(&listener));
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("barrier");
    TCase *tcase = test_case(suite, "barriers");

    tcase_add_checked_fixture(tcase, setup, pair_teardown);
    tcase_add_test(tcase, nothing_before);
    tcase_add_test(tcase, waits_for_those_before);
    tcase_add_test(tcase, holds_any_operation);
    tcase_add_test(tcase, several);
    tcase_add_test(tcase, cancel_and_deadline);
    tcase_add_test(tcase, not_waited_for);
    tcase_add_loop_test(tcase, refused_and_destroyed, 0, 3);
    tcase_add_test(tcase, behind_a_dropped_chain);
    tcase_add_test(tcase, no_memory);
    tcase_add_loop_test(tcase, counted, 0, 3);
    tcase = test_case(suite, "many");
    tcase_add_checked_fixture(tcase, setup, pair_teardown);
    tcase_add_loop_test(tcase, by_descriptor, 0, 3);
    tcase_add_loop_test(tcase, by_opcode_and_all, 0, 3);
    tcase_add_test(tcase, no_descriptor);
    tcase_add_test(tcase, running_work);
    tcase_add_test(tcase, not_objects);
    return suite;
}
