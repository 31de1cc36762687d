/* tests/sim/multishot_buffers_sim_test.c: multishots that stand back from buffers and are paused at the same time, with
 * the two cancels ending in any order; and what is armed again is what was started. */
#include "tests/sim/script_ring.h"
#include "tests/support/test.h"

#include <poll.h>

static struct loop *loop;

enum { BUFFERS = 8, FD = 2005, PERSONALITY = 7 };

static void setup(void)
{
    script_reset();
    script.features |= IORING_FEAT_RECVSEND_BUNDLE;
    loop = test_loop_new(
        &(struct loop_options){.sq_entries = 16, .cq_entries = 64, .buffer_size = 64, .buffer_count = BUFFERS});
    test_turns(loop, 1);
}

static void teardown(void)
{
    test_loop_free(loop);
    ck_assert_uint_eq(script.rings_open, 0);
}

static void must(int r)
{
    ck_assert_int_eq(r, 0);
}

/* The SQE of the descriptor; NULL if the kernel has none. */
static struct io_uring_sqe *pending(void)
{
    for (unsigned i = 0; i < script.pending_count; i++)
        if (script.pending[i].fd == FD)
            return &script.pending[i];
    return NULL;
}

/* ---- what is armed again */

enum again { ACCEPT, RECV, BUNDLE, MESSAGES, READ, EDGE, LEVEL, LEND, LEND_BUNDLE, LEND_READ, SEND, AGAINS };

static loop_id start_again(enum again kind, struct test_log *log, const struct loop_terms *terms)
{
    switch (kind) {
    case ACCEPT: return loop_accept_multishot(loop, FD, SOCK_NONBLOCK, test_log_cb, log, terms);
    case RECV: return loop_recv_multishot(loop, FD, 0, MSG_TRUNC, test_log_cb, log, terms);
    case BUNDLE: return loop_recv_multishot_bundle(loop, FD, 0, MSG_TRUNC, test_log_cb, log, terms);
    case MESSAGES: return loop_recvmsg_multishot(loop, FD, NULL, 0, MSG_TRUNC, test_log_cb, log, terms);
    case READ: return loop_read_multishot(loop, FD, 0, test_log_cb, log, terms);
    case EDGE: return loop_poll_add_multishot(loop, FD, POLLIN | POLLOUT, 0, test_log_cb, log, terms);
    case LEVEL: return loop_poll_add_multishot(loop, FD, POLLIN | POLLOUT, LOOP_POLL_LEVEL, test_log_cb, log, terms);
    case LEND: return loop_recv(loop, FD, NULL, 9, MSG_TRUNC, test_log_cb, log, terms);
    case LEND_BUNDLE: return loop_recv_bundle(loop, FD, 0, MSG_TRUNC, test_log_cb, log, terms);
    case LEND_READ: return loop_read(loop, FD, NULL, 9, 0, test_log_cb, log, terms);
    case SEND: return loop_send_bundle(loop, FD, 1, MSG_MORE, test_log_cb, log, terms);
    case AGAINS: break;
    }
    ck_abort_msg("no such kind");
}

/* Ends what is pending so that it will be armed again. */
static void end_for_now(enum again kind)
{
    const char message[17] = {0}; /* a header and a byte */

    switch (kind) {
    case RECV:
    case BUNDLE:
    case READ: script_complete(pending(), 1, script_buffer(0, "x", 1)); return;
    case MESSAGES: script_complete(pending(), sizeof(message), script_buffer(0, message, sizeof(message))); return;
    case EDGE:
    case LEVEL: script_complete(pending(), POLLIN, 0); return;
    case LEND:
    case LEND_BUNDLE:
    case LEND_READ: script_complete(pending(), -ENOBUFS, 0); return; /* by now there are some */
    case SEND:
        script_complete(pending(), 2, script_buffer_peek(1)); /* of three pieces of a byte */
        script_buffers_skip(1, 2);
        return;
    case ACCEPT: script_complete(pending(), 1000, 0); return;
    case AGAINS: break;
    }
}

/* Goal: an operation that the loop arms again asks for the same as before, also its credentials. Method: the SQE is
 * compared with the first one, for each kind, with and without a personality (_i), twice over. */
START_TEST(armed_as_started)
{
    const enum again    kind = (enum again)(_i / 2);
    const uint16_t      personality = _i % 2 == 0 ? PERSONALITY : 0;
    struct test_log     log = {0};
    struct io_uring_sqe first;
    loop_id             id;
    uint32_t            flags = kind >= LEND && kind != LEND_BUNDLE && kind != SEND ? LOOP_LEND : 0;

    if (kind == SEND) {
        ck_assert_int_eq(loop_buffer_group_create(
                             loop, &(struct loop_buffer_group_options){.count = 4, .flags = LOOP_GROUP_OUTGOING}),
                         1);
        for (int i = 0; i < 3; i++)
            must(loop_buffer_group_add(loop, 1, "x", 1));
    }
    id = start_again(kind, &log, LOOP_TERMS(.personality = personality, .flags = flags));
    ck_assert_int_gt(id, 0);
    test_turns(loop, 1);
    first = *pending();
    ck_assert_uint_eq(first.personality, personality);
    for (int round = 0; round < (kind == SEND ? 1 : 2); round++) {
        end_for_now(kind);
        test_turns(loop, 1);
        ck_assert_ptr_nonnull(pending());
        if (kind == BUNDLE) { /* which ends where the group does: it looks first whether there is more */
            ck_assert_uint_ne(pending()->msg_flags & MSG_PEEK, 0);
            script_complete(pending(), 1, 0);
            test_turns(loop, 1);
        }
        ck_assert_mem_eq(pending(), &first, sizeof(first));
    }
    must(loop_cancel(loop, id));
    test_turns(loop, 3);
    ck_assert_uint_eq(log.finals, 1);
}
END_TEST

/* ---- standing back and paused */

static const enum again stand_backs[] = {RECV, BUNDLE, MESSAGES, READ};

/* A receiver that keeps all. */
struct taker {
    uint32_t    count, finals, kept;
    int32_t     last;
    loop_buffer buffers[BUFFERS];
};

static void take(struct loop *of, const struct loop_result *result, void *arg)
{
    struct taker *taker = arg;

    ck_assert_uint_eq(taker->finals, 0);
    taker->count++;
    taker->last = result->res;
    taker->finals += (result->flags & LOOP_MORE) == 0;
    if ((result->flags & LOOP_BUFFER) != 0) {
        must(loop_buffer_keep(of, result->buffer));
        taker->buffers[taker->kept++] = result->buffer;
    }
}

static loop_id start_taker(enum again kind, struct taker *taker)
{
    if (kind == BUNDLE)
        return loop_recv_multishot_bundle(loop, FD, 0, 0, take, taker, NULL);
    if (kind == MESSAGES)
        return loop_recvmsg_multishot(loop, FD, NULL, 0, 0, take, taker, NULL);
    if (kind == READ)
        return loop_read_multishot(loop, FD, 0, take, taker, NULL);
    return loop_recv_multishot(loop, FD, 0, 0, take, taker, NULL);
}

static void comes(enum again kind, uint32_t flags)
{
    const char message[17] = {0};
    int32_t    size = kind == MESSAGES ? sizeof(message) : 1;

    script_complete(pending(), size, script_buffer(0, message, (uint32_t)size) | flags);
}

/* The cancel that stands there, the older one first. */
static void cancel_answers(int32_t res)
{
    struct io_uring_sqe *cancel = script_find(IORING_OP_ASYNC_CANCEL, 0);

    ck_assert_ptr_nonnull(cancel);
    ck_assert_uint_eq(cancel->addr, pending() != NULL ? pending()->user_data : cancel->addr);
    script_complete(cancel, res, 0);
}

/* Whether it waits, without a buffer, until there is something. */
static bool watches(enum again kind)
{
    const struct io_uring_sqe *sqe = pending();

    if (sqe == NULL)
        return false;
    if (kind == READ)
        return sqe->opcode == IORING_OP_POLL_ADD;
    return sqe->opcode == IORING_OP_RECV && sqe->msg_flags == MSG_PEEK;
}

enum ending {
    REST_WORKS,    /* the cancel that was to make it stand back ends it; that of the pause misses */
    PAUSE_WORKS,   /* the other way round */
    WANTS_BUFFER,  /* neither was in time */
    HAS_DATA,      /* nor here, and it had data */
    MISSED_BY_ALL, /* both missed, and it goes on: the pause asks again */
    ENDINGS,
};

static void end_by(enum again kind, enum ending ending)
{
    switch (ending) {
    case REST_WORKS:
        cancel_answers(0);
        script_complete(pending(), -ECANCELED, 0);
        cancel_answers(-ENOENT);
        return;
    case PAUSE_WORKS:
        cancel_answers(-ENOENT);
        cancel_answers(0);
        script_complete(pending(), -ECANCELED, 0);
        return;
    case WANTS_BUFFER:
        script_complete(pending(), -ENOBUFS, 0);
        cancel_answers(-ENOENT);
        cancel_answers(-ENOENT);
        return;
    case HAS_DATA:
        comes(kind, 0);
        cancel_answers(-ENOENT);
        cancel_answers(-ENOENT);
        return;
    case MISSED_BY_ALL:
        cancel_answers(-ENOENT);
        cancel_answers(-ENOENT);
        test_turns(loop, 2);
        cancel_answers(0);
        script_complete(pending(), -ECANCELED, 0);
        return;
    case ENDINGS: break;
    }
}

/* Answers all cancels that still stand there: what they are for is not to be found. */
static void miss_the_rest(void)
{
    for (int i = 0; i < 10 && script_find(IORING_OP_ASYNC_CANCEL, 0) != NULL; i++) {
        script_complete(script_find(IORING_OP_ASYNC_CANCEL, 0), -ENOENT, 0);
        test_turns(loop, 2);
    }
    ck_assert_ptr_null(script_find(IORING_OP_ASYNC_CANCEL, 0));
}

/* Goal: one that is paused while it is to stand back rests, whichever of the two cancels ended it and however; resumed
 * before that or afterwards, it stands back; nobody hears of any of this. Method: each kind, each ending; the resume
 * comes before the ending or after it (_i). */
START_TEST(paused_when_standing_back)
{
    const enum again  kind = stand_backs[_i / 2 / ENDINGS];
    const enum ending ending = (enum ending)(_i / 2 % ENDINGS);
    const bool        resumed_before = _i % 2 == 0;
    struct taker      taker = {0};
    uint32_t          count;
    loop_id           id;

    if (resumed_before && ending == MISSED_BY_ALL)
        return; /* then nothing is left to end it */
    id = start_taker(kind, &taker);
    ck_assert_int_gt(id, 0);
    test_turns(loop, 1);
    script.manual = true;
    for (int i = 0; i < BUFFERS - 1; i++) {
        comes(kind, IORING_CQE_F_MORE);
        test_turns(loop, 1);
    }
    ck_assert_uint_eq(script_count(IORING_OP_ASYNC_CANCEL), 1);
    must(loop_pause(loop, id));
    if (resumed_before)
        must(loop_resume(loop, id));
    test_turns(loop, 1);
    ck_assert_uint_eq(script_count(IORING_OP_ASYNC_CANCEL), 2);
    end_by(kind, ending);
    test_turns(loop, 2);
    miss_the_rest();
    count = taker.count;
    ck_assert_uint_eq(count, ending == HAS_DATA ? BUFFERS : BUFFERS - 1);
    if (!resumed_before) {
        ck_assert_ptr_null(pending());
        must(loop_resume(loop, id));
        test_turns(loop, 2);
    }
    ck_assert(watches(kind));
    script.manual = false;
    must(loop_cancel(loop, id));
    test_turns(loop, 3);
    ck_assert_uint_eq(taker.count, count + 1);
    ck_assert_uint_eq(taker.finals, 1);
    ck_assert_int_eq(taker.last, -ECANCELED);
    while (taker.kept > 0)
        must(loop_buffer_return(loop, taker.buffers[--taker.kept]));
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("multishot_buffers_sim");
    TCase *tcase = test_case_without_ring(suite, "multishot_buffers_sim");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, armed_as_started, 0, 2 * AGAINS);
    tcase_add_loop_test(tcase, paused_when_standing_back, 0, 2 * ENDINGS * (int)TEST_COUNT(stand_backs));
    return suite;
}
