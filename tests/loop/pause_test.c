/* tests/loop/pause_test.c: multishots that rest and go on, in all states. */
#include "tests/support/test.h"

#include <fcntl.h>
#include <poll.h>

static struct loop *loop;

enum { BUFFER_SIZE = 64, BUFFERS = 4 };

static void setup(void)
{
    loop = test_loop_new(&(struct loop_options){.sq_entries = 64, .buffer_size = BUFFER_SIZE, .buffer_count = BUFFERS});
}

static void teardown(void)
{
    test_loop_free(loop);
}

#define UNTIL(condition) TEST_UNTIL(loop, condition)

/* ---- every kind, on a descriptor that becomes ready by a poke */

enum kind { ACCEPT, RECV, RECVMSG, READ, EDGE, LEVEL, TICK, KINDS };

struct subject {
    int      fds[2]; /* the multishot is on the first */
    uint16_t port;
    int      clients[8];
    uint32_t clients_count, count, finals;
    int32_t  last;
};

static void subject_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    struct subject *subject = arg;

    (void)of;
    ck_assert_uint_eq(subject->finals, 0);
    subject->last = result->res;
    subject->finals += (result->flags & LOOP_MORE) == 0;
    if (result->res < 0)
        return;
    subject->count++;
    if (subject->port != 0)
        test_close(result->res);
}

static void subject_open(enum kind kind, struct subject *subject)
{
    *subject = (struct subject){.fds = {-1, -1}};
    if (kind == ACCEPT)
        subject->fds[0] = test_tcp_listener(&subject->port, 16);
    else if (kind == RECV)
        test_socketpair(subject->fds);
    else if (kind == RECVMSG)
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, subject->fds), 0);
    else if (kind != TICK)
        test_pipe(subject->fds);
}

static void subject_close(struct subject *subject)
{
    for (int i = 0; i < 2; i++)
        if (subject->fds[i] >= 0)
            test_close(subject->fds[i]);
    while (subject->clients_count > 0)
        test_close(subject->clients[--subject->clients_count]);
}

static loop_id subject_start(enum kind kind, struct subject *subject, const struct loop_terms *terms)
{
    int fd = subject->fds[0];

    switch (kind) {
    case ACCEPT: return loop_accept_multishot(loop, fd, 0, subject_cb, subject, terms);
    case RECV: return loop_recv_multishot(loop, fd, 0, 0, subject_cb, subject, terms);
    case RECVMSG: return loop_recvmsg_multishot(loop, fd, NULL, 0, 0, subject_cb, subject, terms);
    case READ: return loop_read_multishot(loop, fd, 0, subject_cb, subject, terms);
    case EDGE: return loop_poll_add_multishot(loop, fd, POLLIN, 0, subject_cb, subject, terms);
    case LEVEL: return loop_poll_add_multishot(loop, fd, POLLIN, LOOP_POLL_LEVEL, subject_cb, subject, terms);
    case TICK: return loop_timeout_multishot(loop, LOOP_MILLISECOND, 0, 0, subject_cb, subject, terms);
    case KINDS: break;
    }
    ck_abort_msg("no such kind");
}

static void subject_poke(enum kind kind, struct subject *subject)
{
    if (kind == ACCEPT)
        subject->clients[subject->clients_count++] = test_tcp_connect(subject->port);
    else if (kind == TICK)
        test_sleep(2 * LOOP_MILLISECOND);
    else
        test_write(subject->fds[1], "x", 1);
}

static bool missing(enum kind kind)
{
    if (kind != READ || test_has_opcode(loop, 49)) /* IORING_OP_READ_MULTISHOT */
        return false;
    test_skip("this kernel has no multishot read");
    return true;
}

/* The pause has taken effect: nothing of it is left in the kernel. */
static void settle(void)
{
    test_turns(loop, 4);
}

static void must(int r)
{
    ck_assert_int_eq(r, 0);
}

/* Goal: a paused multishot tells nothing, keeps the loop alive, and goes on when it is resumed; nothing is lost.
 * Method: poke it while it rests. _i: the kind. */
START_TEST(rests_and_goes_on)
{
    struct subject subject;
    loop_id        id;
    uint32_t       count;

    if (missing((enum kind)_i))
        return;
    subject_open((enum kind)_i, &subject);
    id = subject_start((enum kind)_i, &subject, NULL);
    ck_assert_int_gt(id, 0);
    for (int round = 0; round < 3; round++) {
        count = subject.count;
        subject_poke((enum kind)_i, &subject);
        UNTIL(subject.count > count);
        must(loop_pause(loop, id));
        must(loop_pause(loop, id));
        settle();
        count = subject.count;
        subject_poke((enum kind)_i, &subject);
        test_turns(loop, 5);
        ck_assert_uint_eq(subject.count, count);
        ck_assert(loop_alive(loop));
        must(loop_pause(loop, id));
        must(loop_resume(loop, id));
        must(loop_resume(loop, id));
        UNTIL(subject.count > count);
    }
    ck_assert_uint_eq(subject.finals, 0);
    must(loop_cancel(loop, id));
    UNTIL(subject.finals == 1);
    ck_assert_int_eq(loop_pause(loop, id), -ENOENT);
    ck_assert_int_eq(loop_resume(loop, id), -ENOENT);
    subject_close(&subject);
}
END_TEST

/* Goal: pauses and resumes follow each other without a turn in between; the last one counts. Method: every sequence of
 * up to six, before the first turn and after it. _i: the kind. */
START_TEST(sequences)
{
    for (uint32_t sequence = 1; sequence < 128 && !missing((enum kind)_i); sequence++) {
        struct subject subject;
        bool           paused = false;
        uint32_t       count;
        loop_id        id;

        subject_open((enum kind)_i, &subject);
        id = subject_start((enum kind)_i, &subject, NULL);
        ck_assert_int_gt(id, 0);
        if ((sequence & 1) != 0)
            test_turns(loop, 1);
        for (uint32_t bits = sequence; bits > 1; bits >>= 1) {
            paused = (bits & 1) != 0;
            must(paused ? loop_pause(loop, id) : loop_resume(loop, id));
            if (sequence % 3 == 0)
                test_turns(loop, 1);
        }
        settle();
        count = subject.count;
        subject_poke((enum kind)_i, &subject);
        test_turns(loop, 2);
        if (paused)
            ck_assert_uint_eq(subject.count, count);
        else
            UNTIL(subject.count > count);
        must(loop_cancel(loop, id));
        UNTIL(subject.finals == 1);
        if (paused)
            ck_assert_int_eq(subject.last, -ECANCELED);
        subject_close(&subject);
    }
}
END_TEST

/* Goal: one that rests can be cancelled, times out, and ends with the loop: once each, and not from inside the call.
 * Method: the same with the pause still under way (no turn in between). */
START_TEST(ends_while_paused)
{
    struct subject cancelled, late, destroyed;
    loop_id        id;

    for (int at_once = 0; at_once < 2 && !missing((enum kind)_i); at_once++) {
        subject_open((enum kind)_i, &cancelled);
        subject_open((enum kind)_i, &late);
        subject_open((enum kind)_i, &destroyed);
        id = subject_start((enum kind)_i, &late, LOOP_TERMS(.timeout_ns = 5 * LOOP_MILLISECOND));
        must(loop_pause(loop, id));
        id = subject_start((enum kind)_i, &cancelled, NULL);
        must(loop_pause(loop, id));
        if (at_once == 0)
            settle();
        must(loop_cancel(loop, id));
        must(loop_cancel(loop, id));
        must(loop_pause(loop, id)); /* it ends: no more to be said */
        must(loop_resume(loop, id));
        ck_assert_uint_eq(cancelled.finals, 0);
        UNTIL(cancelled.finals == 1);
        ck_assert_int_eq(cancelled.last, -ECANCELED);
        ck_assert_int_eq(loop_run(loop, LOOP_RUN_DEFAULT), 0);
        ck_assert_uint_eq(late.finals, 1);
        ck_assert_int_eq(late.last, -ETIMEDOUT);
        id = subject_start((enum kind)_i, &destroyed, NULL);
        must(loop_pause(loop, id));
        if (at_once == 0)
            settle();
        test_loop_drop(loop);
        ck_assert_uint_eq(destroyed.finals, 1);
        ck_assert_int_eq(destroyed.last, -ECANCELED);
        setup();
        subject_close(&cancelled);
        subject_close(&late);
        subject_close(&destroyed);
    }
}
END_TEST

/* Goal: a multishot pauses itself in its callback, and others resume it there. Method: each result pauses; a timer
 * resumes. */
struct selfish {
    struct subject subject; /* first: subject_cb takes it */
    loop_id        id;
    bool           resume_too, pause_again;
};

static void selfish_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    struct selfish *selfish = arg;

    subject_cb(of, result, arg);
    if ((result->flags & LOOP_MORE) == 0)
        return;
    must(loop_pause(of, result->id));
    if (selfish->resume_too)
        must(loop_resume(of, result->id));
    if (selfish->pause_again)
        must(loop_pause(of, result->id));
}

START_TEST(pauses_itself)
{
    struct selfish selfish = {.resume_too = (_i & 1) != 0, .pause_again = (_i & 2) != 0};
    bool           goes_on = selfish.resume_too && !selfish.pause_again;
    uint32_t       count = 0;

    for (int level = 0; level < 2; level++) {
        subject_open(EDGE, &selfish.subject);
        selfish.id = loop_poll_add_multishot(loop, selfish.subject.fds[0], POLLIN, level == 0 ? 0 : LOOP_POLL_LEVEL,
                                             selfish_cb, &selfish, NULL);
        ck_assert_int_gt(selfish.id, 0);
        for (int round = 0; round < 3; round++) {
            count = selfish.subject.count;
            subject_poke(EDGE, &selfish.subject);
            UNTIL(selfish.subject.count > count);
            count = selfish.subject.count;
            settle();
            if (!goes_on) {
                ck_assert_uint_eq(selfish.subject.count, count);
                must(loop_resume(loop, selfish.id)); /* it is still readable */
                UNTIL(selfish.subject.count > count);
                settle();
                must(loop_resume(loop, selfish.id));
            } else if (level == 1) {
                UNTIL(selfish.subject.count > count + 3);
            }
        }
        must(loop_cancel(loop, selfish.id));
        UNTIL(selfish.subject.finals == 1);
        subject_close(&selfish.subject);
    }
}
END_TEST

/* ---- without buffers */

struct keeper {
    loop_buffer buffers[BUFFERS];
    uint32_t    kept, finals;
    int         fds[2];
};

static void keep_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    struct keeper *keeper = arg;

    if ((result->flags & LOOP_BUFFER) != 0) {
        must(loop_buffer_keep(of, result->buffer));
        keeper->buffers[keeper->kept++] = result->buffer;
    }
    keeper->finals += (result->flags & LOOP_MORE) == 0;
}

static void empty_group(struct keeper *keeper)
{
    char block[BUFFER_SIZE] = {0};

    *keeper = (struct keeper){.kept = 0};
    test_socketpair(keeper->fds);
    ck_assert_int_gt(loop_recv_multishot(loop, keeper->fds[0], 0, 0, keep_cb, keeper, NULL), 0);
    for (uint32_t i = 1; i <= BUFFERS; i++) {
        test_write(keeper->fds[1], block, sizeof(block));
        test_run_until(loop, &keeper->kept, i);
    }
}

static void refill_group(struct keeper *keeper)
{
    while (keeper->kept > 0)
        must(loop_buffer_return(loop, keeper->buffers[--keeper->kept]));
    test_close(keeper->fds[1]);
    UNTIL(keeper->finals == 1);
    test_close(keeper->fds[0]);
}

/* Goal: one that waits for a buffer, or for data without one, pauses and goes on, or is cancelled. Method: with and
 * without data; resumed while the group is still empty, or after. _i: kind, and which of these. */
START_TEST(without_buffers)
{
    static const enum kind kinds[] = {RECV, RECVMSG, READ};
    enum kind              kind = kinds[_i % 3];
    bool                   data = (_i / 3) % 2 == 0, early = (_i / 6) % 2 == 0, cancel = _i / 12 == 1;
    struct keeper          keeper;
    struct subject         subject;
    loop_id                id;

    if (missing(kind))
        return;
    empty_group(&keeper);
    subject_open(kind, &subject);
    id = subject_start(kind, &subject, NULL);
    if (data)
        subject_poke(kind, &subject);
    test_turns(loop, 5);
    must(loop_pause(loop, id));
    settle();
    if (!data)
        subject_poke(kind, &subject);
    if (early) {
        must(loop_resume(loop, id));
        test_turns(loop, 5);
        must(loop_pause(loop, id));
        must(loop_resume(loop, id));
        test_turns(loop, 5);
    }
    ck_assert_uint_eq(subject.count, 0);
    if (cancel) {
        must(loop_cancel(loop, id));
        UNTIL(subject.finals == 1);
        ck_assert_int_eq(subject.last, -ECANCELED);
    }
    refill_group(&keeper);
    if (!cancel) {
        if (!early) {
            test_turns(loop, 5);
            ck_assert_uint_eq(subject.count, 0);
            must(loop_resume(loop, id));
        }
        UNTIL(subject.count == 1);
        must(loop_cancel(loop, id));
        UNTIL(subject.finals == 1);
    }
    subject_close(&subject);
}
END_TEST

/* Goal: the end of a stream that came while it was paused is told when it is resumed. */
START_TEST(end_while_paused)
{
    static const enum kind kinds[] = {RECV, READ};
    struct subject         subject;
    loop_id                id;

    if (missing(kinds[_i]))
        return;
    subject_open(kinds[_i], &subject);
    id = subject_start(kinds[_i], &subject, NULL);
    test_turns(loop, 1);
    must(loop_pause(loop, id));
    settle();
    subject_poke(kinds[_i], &subject);
    test_close(subject.fds[1]);
    subject.fds[1] = -1;
    test_turns(loop, 5);
    ck_assert_uint_eq(subject.finals, 0);
    must(loop_resume(loop, id));
    UNTIL(subject.finals == 1);
    ck_assert_uint_eq(subject.count, 2); /* the byte and the end */
    ck_assert_int_eq(subject.last, 0);
    subject_close(&subject);
}
END_TEST

/* ---- the rest */

/* Goal: what cannot be paused is refused. */
static void nothing_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    (void)of;
    (void)result;
    (void)arg;
}

START_TEST(refused)
{
    struct test_log log = {0};
    int             fds[2], handler = loop_handler_register(loop, nothing_cb, NULL, 0);
    char            byte;
    loop_id         id, direct;

    test_socketpair(fds);
    id = loop_recv(loop, fds[0], &byte, 1, 0, test_log_cb, &log, NULL);
    direct = loop_poll_add_multishot(loop, fds[0], POLLOUT, 0, LOOP_HANDLER(handler), NULL, NULL);
    ck_assert(id > 0 && direct > 0);
    ck_assert_int_eq(loop_pause(loop, id), -EINVAL);
    ck_assert_int_eq(loop_resume(loop, id), -EINVAL);
    ck_assert_int_eq(loop_pause(loop, direct), -EINVAL);
    ck_assert_int_eq(loop_resume(loop, direct), -EINVAL);
    ck_assert_int_eq(loop_pause(loop, 0), -ENOENT);
    ck_assert_int_eq(loop_pause(loop, -EINVAL), -ENOENT);
    ck_assert_int_eq(loop_pause(loop, 3), -ENOENT);
    ck_assert_int_eq(loop_resume(loop, id + 64), -ENOENT);
    must(loop_cancel(loop, id));
    must(loop_cancel(loop, direct));
    test_run(loop);
    ck_assert_int_eq(loop_pause(loop, id), -ENOENT);
    test_close(fds[0]);
    test_close(fds[1]);
}
END_TEST

/* Goal: one that a barrier holds back is not to be paused; afterwards it is. */
START_TEST(behind_a_barrier)
{
    struct test_log log = {0};
    struct subject  subject;
    int             fds[2];
    char            byte;
    loop_id         id;

    test_socketpair(fds);
    subject_open(RECV, &subject);
    ck_assert_int_gt(loop_recv(loop, fds[0], &byte, 1, 0, test_log_cb, &log, NULL), 0);
    id = subject_start(RECV, &subject, LOOP_TERMS(.flags = LOOP_BARRIER));
    ck_assert_int_gt(id, 0);
    test_turns(loop, 2);
    ck_assert_int_eq(loop_pause(loop, id), -EBUSY);
    ck_assert_int_eq(loop_resume(loop, id), -EBUSY);
    subject_poke(RECV, &subject);
    test_turns(loop, 2);
    ck_assert_uint_eq(subject.count, 0);
    test_write(fds[1], "x", 1);
    UNTIL(subject.count == 1);
    must(loop_pause(loop, id));
    settle();
    must(loop_resume(loop, id));
    subject_poke(RECV, &subject);
    UNTIL(subject.count == 2);
    must(loop_cancel(loop, id));
    UNTIL(subject.finals == 1);
    subject_close(&subject);
    test_close(fds[0]);
    test_close(fds[1]);
}
END_TEST

/* Goal: in the background a paused one does not keep the loop alive. */
START_TEST(background)
{
    struct subject subject;
    loop_id        id;

    subject_open(RECV, &subject);
    id = subject_start(RECV, &subject, LOOP_TERMS(.flags = LOOP_BACKGROUND));
    test_turns(loop, 1);
    must(loop_pause(loop, id));
    settle();
    ck_assert(!loop_alive(loop));
    must(loop_resume(loop, id));
    ck_assert(!loop_alive(loop));
    subject_poke(RECV, &subject);
    UNTIL(subject.count == 1);
    must(loop_cancel(loop, id));
    UNTIL(subject.finals == 1);
    subject_close(&subject);
}
END_TEST

/* Goal: a timeout stands still and keeps its count. Method: pause after two of six. */
START_TEST(ticks_stand_still)
{
    struct test_log log = {0};
    loop_id         id = loop_timeout_multishot(loop, LOOP_MILLISECOND, 6, 0, test_log_cb, &log, NULL);
    uint32_t        count;

    ck_assert_int_gt(id, 0);
    test_run_until(loop, &log.count, 2);
    must(loop_pause(loop, id));
    settle();
    count = log.count;
    ck_assert_uint_lt(count, 6);
    for (int i = 0; i < 10; i++) {
        test_sleep(LOOP_MILLISECOND);
        test_turns(loop, 1);
    }
    ck_assert_uint_eq(log.count, count);
    must(loop_resume(loop, id));
    test_run(loop);
    ck_assert_uint_eq(log.count, 6);
    ck_assert_uint_eq(log.finals, 1);
    ck_assert_int_eq(log.last.res, 0);
}
END_TEST

/* Goal: no byte is lost, doubled or out of order where a stream is paused and resumed all the time. Method: random
 * turns, writes, pauses, resumes; receives and reads; a CQ that overflows. */
struct flow {
    uint64_t count;
    uint32_t finals;
};

static unsigned char byte_at(uint64_t offset)
{
    return (unsigned char)(offset * 7 + offset / 251);
}

static void flow_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    struct flow         *flow = arg;
    const unsigned char *data = result->data;

    (void)of;
    ck_assert_uint_eq(flow->finals, 0);
    for (int32_t i = 0; i < result->res; i++, flow->count++)
        if (data[i] != byte_at(flow->count))
            ck_abort_msg("byte %" PRIu64 " is wrong", flow->count);
    if ((result->flags & LOOP_MORE) == 0) {
        ck_assert_int_eq(result->res, 0);
        flow->finals++;
    }
}

enum { FLOWS = 6, STEPS = 6000 };

START_TEST(random_pauses)
{
    struct flow   flows[FLOWS] = {0};
    uint64_t      seed = test_env("TEST_SEED", 1) + (uint64_t)_i, sent[FLOWS] = {0};
    int           fds[FLOWS][2];
    loop_id       ids[FLOWS];
    unsigned char block[700];
    bool          reads = test_has_opcode(loop, 49);

    test_loop_drop(loop);
    loop = test_loop_new(&(struct loop_options){
        .sq_entries = 8, .cq_entries = 8, .buffer_size = BUFFER_SIZE, .buffer_count = _i % 2 == 0 ? 4 : 64});
    for (int i = 0; i < FLOWS; i++) {
        if (i % 2 == 0 && reads)
            test_pipe(fds[i]);
        else
            test_socketpair(fds[i]);
        ck_assert_int_eq(fcntl(fds[i][1], F_SETFL, O_NONBLOCK), 0);
        ids[i] = i % 2 == 0 && reads ? loop_read_multishot(loop, fds[i][0], 0, flow_cb, &flows[i], NULL)
                                     : loop_recv_multishot(loop, fds[i][0], 0, 0, flow_cb, &flows[i], NULL);
        ck_assert_int_gt(ids[i], 0);
    }
    for (int step = 0; step < STEPS; step++) {
        uint64_t random = test_random(&seed);
        uint32_t i = (uint32_t)(random % FLOWS);
        ssize_t  r;

        switch (random >> 32 & 7) {
        case 0:
        case 1: must(loop_pause(loop, ids[i])); break;
        case 2:
        case 3: must(loop_resume(loop, ids[i])); break;
        case 4:
        case 5: test_turns(loop, 1); break;
        default:
            for (uint64_t at = 0; at < sizeof(block); at++)
                block[at] = byte_at(sent[i] + at);
            r = write(fds[i][1], block, 1 + (random >> 16) % sizeof(block));
            sent[i] += r > 0 ? (uint64_t)r : 0;
        }
    }
    for (int i = 0; i < FLOWS; i++) {
        must(loop_resume(loop, ids[i]));
        test_close(fds[i][1]);
    }
    test_run(loop);
    for (int i = 0; i < FLOWS; i++) {
        ck_assert_uint_eq(flows[i].finals, 1);
        ck_assert_uint_eq(flows[i].count, sent[i]);
        test_close(fds[i][0]);
    }
    ck_assert_uint_eq(test_stats(loop).cqes_stale, 0);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("pause");
    TCase *tcase = test_case(suite, "kinds");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, rests_and_goes_on, 0, KINDS);
    tcase_add_loop_test(tcase, sequences, 0, KINDS);
    tcase_add_loop_test(tcase, ends_while_paused, 0, KINDS);
    tcase_add_loop_test(tcase, pauses_itself, 0, 4);

    tcase = test_case(suite, "states");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, without_buffers, 0, 24);
    tcase_add_loop_test(tcase, end_while_paused, 0, 2);
    tcase_add_test(tcase, refused);
    tcase_add_test(tcase, behind_a_barrier);
    tcase_add_test(tcase, background);
    tcase_add_test(tcase, ticks_stand_still);
    tcase_add_loop_test(tcase, random_pauses, 0, 6);
    return suite;
}
