/* tests/sim/buffer_sim_test.c: what the kernel can't be made to do with buffers: odd orders, flags that mean nothing,
 * cancels that miss, kernels without this or that. */
#include "tests/sim/script_ring.h"
#include "tests/support/test.h"

static struct loop *loop;

enum { SIZE = 64, BUFFERS = 8 };

static void setup(void)
{
    script_reset();
    script.features |= IORING_FEAT_RECVSEND_BUNDLE;
    loop = test_loop_new(
        &(struct loop_options){.sq_entries = 16, .cq_entries = 64, .buffer_size = SIZE, .buffer_count = BUFFERS});
    test_turns(loop, 1);
}

static void teardown(void)
{
    test_loop_free(loop);
    ck_assert_uint_eq(script.rings_open, 0);
}

static int make(uint32_t size, uint32_t count, uint32_t flags)
{
    return loop_buffer_group_create(loop,
                                    &(struct loop_buffer_group_options){.size = size, .count = count, .flags = flags});
}

static struct loop_buffer_group_stats stats_of(int group)
{
    struct loop_buffer_group_stats stats;

    ck_assert_int_eq(loop_buffer_group_stats_get(loop, (uint16_t)group, &stats), 0);
    return stats;
}

/* The SQE of a descriptor that is armed or probes. */
static struct io_uring_sqe *sqe_of(int fd)
{
    struct io_uring_sqe *sqe;

    for (unsigned i = 0; (sqe = script_find(IORING_OP_RECV, i)) != NULL; i++)
        if (sqe->fd == fd)
            return sqe;
    ck_abort_msg("descriptor %d is not armed", fd);
    return NULL;
}

static bool is_armed(int fd)
{
    for (unsigned i = 0; script_find(IORING_OP_RECV, i) != NULL; i++)
        if (script_find(IORING_OP_RECV, i)->fd == fd)
            return true;
    return false;
}

static bool is_probe(const struct io_uring_sqe *sqe)
{
    return (sqe->msg_flags & MSG_PEEK) != 0;
}

/* A receiver that notes what it got as text and keeps what it is told to. */
struct taker {
    char        text[1024];
    uint32_t    bytes, results, finals, keep, kept;
    int32_t     last;
    uint32_t    flags;
    loop_buffer buffers[64];
};

static void take(struct loop *of, const struct loop_result *result, void *arg)
{
    struct taker      *taker = arg;
    struct loop_bundle bundle = loop_bundle_of(result);
    struct loop_result piece;

    taker->results++;
    taker->finals += (result->flags & LOOP_MORE) == 0;
    taker->last = result->res;
    taker->flags = result->flags;
    while (loop_bundle_next(of, &bundle, &piece)) {
        ck_assert_uint_lt(taker->bytes + (uint32_t)piece.res, sizeof(taker->text));
        memcpy(taker->text + taker->bytes, piece.data, (size_t)piece.res);
        taker->bytes += (uint32_t)piece.res;
        if (taker->keep > 0) {
            taker->keep--;
            ck_assert_int_eq(loop_buffer_keep(of, piece.buffer), 0);
            taker->buffers[taker->kept++] = piece.buffer;
        }
    }
}

static void give_all(struct taker *taker)
{
    while (taker->kept > 0)
        ck_assert_int_eq(loop_buffer_return(loop, taker->buffers[--taker->kept]), 0);
}

static loop_id subscribe(int fd, int group, struct taker *taker)
{
    loop_id id = loop_recv_multishot(loop, fd, (uint16_t)group, 0, take, taker, NULL);

    ck_assert_int_gt(id, 0);
    return id;
}

static void ends(int fd)
{
    script_complete(sqe_of(fd), 0, 0);
    test_turns(loop, 1);
}

/* ---- kernels that lack something */

/* Goal: a kernel without incremental groups is told from other errors; those are handed on; nothing stays behind. */
START_TEST(register_fails)
{
    static const int errors[] = {-ENOMEM, -EEXIST, -EPERM, -EOPNOTSUPP};
    uint64_t         blocks = test_memory.blocks;

    script.refuse_incremental = true;
    ck_assert_int_eq(make(SIZE, 4, LOOP_GROUP_INCREMENTAL), -EOPNOTSUPP);
    for (size_t i = 0; i < TEST_COUNT(errors); i++) {
        script.register_error = errors[i];
        ck_assert_int_eq(make(SIZE, 4, 0), errors[i]);
        ck_assert_int_eq(loop_buffer_group_for(loop, 1), errors[i]);
        ck_assert_int_eq(loop_recv_multishot(loop, 5, LOOP_GROUP_DEFAULT, 0, take, NULL, NULL), errors[i]);
        ck_assert_uint_eq(test_memory.blocks, blocks);
        ck_assert_uint_eq(test_stats(loop).buffer_bytes, 0);
    }
    script.register_error = 0;
    ck_assert_int_eq(make(SIZE, 4, 0), 1);
}
END_TEST

/* Goal: without bundles they are refused, whatever the opcodes. */
START_TEST(no_bundles)
{
    int outgoing;

    test_loop_free(loop);
    script_reset();
    loop = test_loop_new(NULL);
    outgoing = make(0, 4, LOOP_GROUP_OUTGOING);
    ck_assert_int_eq(loop_recv_bundle(loop, 5, 0, 0, take, NULL, NULL), -EOPNOTSUPP);
    ck_assert_int_eq(loop_recv_multishot_bundle(loop, 5, 0, 0, take, NULL, NULL), -EOPNOTSUPP);
    ck_assert_int_eq(loop_buffer_group_add(loop, (uint16_t)outgoing, "x", 1), 0);
    ck_assert_int_eq(loop_send_bundle(loop, 5, (uint16_t)outgoing, 0, take, NULL, NULL), -EOPNOTSUPP);
}
END_TEST

/* ---- flags that mean nothing */

/* Goal: in an incremental group only bytes move the place on. Method: an end, an error and a cancel that name a buffer
 * without having taken of it, between messages of others; then the buffer is used up. */
START_TEST(incremental_place)
{
    struct taker takers[3] = {{.keep = 9}, {.keep = 0}}, last = {.keep = 0};
    int          group = make(SIZE, 2, LOOP_GROUP_INCREMENTAL);
    uint16_t     number = (uint16_t)group;

    for (int i = 0; i < 3; i++)
        subscribe(5 + i, group, &takers[i]);
    subscribe(8, group, &last);
    test_turns(loop, 1);
    script_complete(sqe_of(5), 5, script_buffer(number, "hello", 5) | IORING_CQE_F_MORE);
    script_complete(sqe_of(6), 0, script_buffer_peek(number) | IORING_CQE_F_BUF_MORE);
    script_complete(sqe_of(5), 6, script_buffer(number, " world", 6) | IORING_CQE_F_MORE);
    script_complete(sqe_of(7), -ECONNRESET, script_buffer_peek(number));
    script_complete(sqe_of(8), 3, script_buffer(number, "abc", 3) | IORING_CQE_F_MORE);
    test_turns(loop, 1);
    ck_assert_str_eq(takers[0].text, "hello world");
    ck_assert_int_eq(takers[1].last, 0);
    ck_assert_uint_eq(takers[1].flags, 0);
    ck_assert_int_eq(takers[2].last, -ECONNRESET);
    ck_assert_str_eq(last.text, "abc");
    ck_assert_uint_ne(last.flags & LOOP_BUFFER_MORE, 0);
    ck_assert_uint_eq(stats_of(group).home, 2);
    script_complete(
        sqe_of(8), SIZE - 14,
        script_buffer(number, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", SIZE - 14) |
            IORING_CQE_F_MORE);
    test_turns(loop, 1);
    ck_assert_uint_eq(last.bytes, SIZE - 11);
    ck_assert_uint_eq(last.flags & LOOP_BUFFER_MORE, 0);
    ck_assert_uint_eq(stats_of(group).home, 1); /* two parts of it are kept */
    ck_assert_int_eq(loop_buffer_return(loop, takers[0].buffers[0]), 0);
    ck_assert_int_eq(loop_buffer_return(loop, takers[0].buffers[0]), -EINVAL);
    ck_assert_uint_eq(stats_of(group).home, 1);
    ck_assert_int_eq(loop_buffer_return(loop, takers[0].buffers[1]), 0);
    ck_assert_uint_eq(stats_of(group).home, 2);
    ends(5);
    ends(8);
}
END_TEST

/* Goal: a buffer that a result without bytes names comes home if the kernel has taken it, is not put into the ring
 * twice if not, and is lost for a while where the kernel cannot be asked (_i: 0 it can, 1 it cannot). */
START_TEST(nothing_received)
{
    struct taker taker = {0};

    script.refuse_status = _i == 1;
    subscribe(5, 0, &taker);
    subscribe(6, 0, &taker);
    subscribe(7, 0, &taker);
    test_turns(loop, 1);
    script_complete(sqe_of(5), -EIO, script_buffer_peek(0)); /* it is still there */
    test_turns(loop, 1);
    ck_assert_uint_eq(stats_of(0).home, _i == 0 ? BUFFERS : BUFFERS - 1);
    script_complete(sqe_of(6), 4, script_buffer(0, "same", 4) | IORING_CQE_F_MORE); /* the very same */
    test_turns(loop, 1);
    ck_assert_str_eq(taker.text, "same");
    ck_assert_uint_eq(stats_of(0).home, BUFFERS);
    script_complete(sqe_of(6), 0, script_buffer_peek(0));
    script_buffers_skip(0, 1);
    test_turns(loop, 1);
    ck_assert_uint_eq(stats_of(0).home, BUFFERS);
    ck_assert_uint_eq(test_stats(loop).buffers_lent, 0);
    taker.keep = BUFFERS;
    for (int i = 0; i < BUFFERS; i++) /* each buffer is in the ring once, whichever way it got there */
        script_complete(sqe_of(7), 1, script_buffer(0, "x", 1) | IORING_CQE_F_MORE);
    ck_assert_uint_eq(script_buffer(0, "x", 1), 0);
    test_turns(loop, 1);
    ck_assert_uint_eq(taker.kept, BUFFERS);
    ck_assert_uint_eq(stats_of(0).home, 0);
    for (uint32_t i = 0; i < BUFFERS; i++)
        for (uint32_t j = 0; j < i; j++)
            ck_assert_uint_ne(taker.buffers[i], taker.buffers[j]);
    give_all(&taker);
    test_turns(loop, 2);
    ends(7);
}
END_TEST

/* ---- order */

static uint32_t text_of(char *text, char first, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++)
        text[i] = (char)((uint32_t)first + i % 7);
    return size;
}

/* Goal: bundles are put together rightly when completions come in another order than buffers were taken, and buffers
 * came home in any order. Method: random bundles of two operations, whose completions change places; a third takes
 * single buffers; some are kept and given back in other order. */
START_TEST(bundles_out_of_order)
{
    uint64_t random = test_env("TEST_SEED", 99);

    struct taker keeper = {0};
    struct taker one, two;

    subscribe(7, 0, &keeper);
    ck_assert_int_gt(loop_recv_multishot_bundle(loop, 5, 0, 0, take, &one, NULL), 0);
    ck_assert_int_gt(loop_recv_multishot_bundle(loop, 6, 0, 0, take, &two, NULL), 0);
    test_turns(loop, 1);
    for (int round = 0; round < 500; round++) {
        char     first[4 * SIZE], second[4 * SIZE];
        uint32_t first_size = text_of(first, 'a', 1 + (uint32_t)(test_random(&random) % (3 * SIZE)));
        uint32_t second_size = text_of(second, 'A', 1 + (uint32_t)(test_random(&random) % (2 * SIZE)));
        uint32_t first_flags = script_buffer(0, first, first_size) | IORING_CQE_F_MORE;
        uint32_t second_flags = script_buffer(0, second, second_size) | IORING_CQE_F_MORE;

        memset(&one, 0, sizeof(one));
        memset(&two, 0, sizeof(two));
        one.keep = (uint32_t)(test_random(&random) % 2);
        two.keep = (uint32_t)(test_random(&random) % 3);
        script_complete(sqe_of(6), (int32_t)second_size, second_flags);
        script_complete(sqe_of(5), (int32_t)first_size, first_flags);
        test_turns(loop, 1);
        ck_assert_uint_eq(one.bytes, first_size);
        ck_assert_uint_eq(two.bytes, second_size);
        ck_assert_mem_eq(one.text, first, first_size);
        ck_assert_mem_eq(two.text, second, second_size);
        ck_assert_int_eq((one.flags & LOOP_BUNDLE) != 0, first_size > SIZE);
        script_complete(sqe_of(7), 2, script_buffer(0, "xy", 2) | IORING_CQE_F_MORE);
        if (round % 2 == 0)
            give_all(&one);
        give_all(&two);
        test_turns(loop, 1);
        give_all(&one);
        keeper.bytes = 0;
    }
    ck_assert_uint_eq(stats_of(0).home, BUFFERS);
    for (int fd = 5; fd <= 7; fd++)
        ends(fd);
}
END_TEST

/* Goal: a receive that emptied the group goes behind those that got nothing. Method: three end with -ENOBUFS in one
 * turn, of which the first had data: it looks first, the others are armed at once. */
START_TEST(fed_goes_behind)
{
    struct taker flood = {0}, quiet = {0};

    subscribe(5, 0, &flood);
    subscribe(6, 0, &quiet);
    subscribe(7, 0, &quiet);
    test_turns(loop, 1);
    for (int i = 0; i < BUFFERS; i++)
        script_complete(sqe_of(5), 1, script_buffer(0, "f", 1) | IORING_CQE_F_MORE);
    for (int fd = 5; fd <= 7; fd++)
        script_complete(sqe_of(fd), -ENOBUFS, 0);
    test_turns(loop, 1);
    ck_assert(is_probe(sqe_of(5)));
    ck_assert(!is_probe(sqe_of(6)) && !is_probe(sqe_of(7)));
    script_complete(sqe_of(6), 1, script_buffer(0, "q", 1) | IORING_CQE_F_MORE);
    script_complete(sqe_of(5), 1, 0); /* there is more */
    test_turns(loop, 1);
    ck_assert_uint_eq(quiet.bytes, 1);
    ck_assert(!is_probe(sqe_of(5)));
    for (int fd = 5; fd <= 7; fd++)
        ends(fd);
}
END_TEST

/* Goal: one that waits is armed when the one before it ended without having taken the buffer that came back. Method: a
 * group of one buffer; two wait; the first is armed, and cancelled before it has anything. */
START_TEST(turn_not_used)
{
    struct taker hoarder = {.keep = 1}, first = {.keep = 0}, second = {.keep = 0};
    int          group = make(SIZE, 1, 0);
    loop_id      id;

    subscribe(5, group, &hoarder);
    id = subscribe(6, group, &first);
    subscribe(7, group, &second);
    test_turns(loop, 1);
    script_complete(sqe_of(5), 1, script_buffer((uint16_t)group, "h", 1) | IORING_CQE_F_MORE);
    for (int fd = 6; fd <= 7; fd++) {
        script_complete(sqe_of(fd), -ENOBUFS, 0);
        test_turns(loop, 1);
        ck_assert(is_probe(sqe_of(fd)));
        script_complete(sqe_of(fd), 1, 0);
        test_turns(loop, 1);
    }
    ck_assert_uint_eq(stats_of(group).parked, 2);
    give_all(&hoarder);
    test_turns(loop, 1);
    ck_assert(is_armed(6));
    ck_assert_int_eq(loop_cancel(loop, id), 0);
    test_turns(loop, 3);
    ck_assert_uint_eq(first.finals, 1);
    ck_assert(is_armed(7));
    ends(5);
    ends(7);
}
END_TEST

/* ---- standing back */

static void drip(struct taker *taker, int fd, uint32_t count)
{
    taker->keep = UINT32_MAX;
    for (uint32_t i = 0; i < count; i++) {
        script_complete(sqe_of(fd), 1, script_buffer(0, "d", 1) | IORING_CQE_F_MORE);
        test_turns(loop, 1);
    }
}

/* Goal: one that is to stand back does so whatever becomes of the cancel, and its user hears nothing of it. Method: all
 * buffers but one are kept. The cancel works; or finds nothing, twice, while the operation goes on; or the operation
 * ends with data, or for want of a buffer, before (_i). */
START_TEST(stand_back_by_any_end)
{
    struct taker         taker = {0};
    struct io_uring_sqe *cancel;

    subscribe(5, 0, &taker);
    test_turns(loop, 1);
    script.manual = true;
    drip(&taker, 5, BUFFERS - 1);
    cancel = script_find(IORING_OP_ASYNC_CANCEL, 0);
    ck_assert_ptr_nonnull(cancel);
    ck_assert_uint_eq(cancel->addr, sqe_of(5)->user_data);
    taker.keep = 0;
    switch (_i) {
    case 0: /* works */
        script_complete(cancel, 0, 0);
        script_complete(sqe_of(5), -ECANCELED, 0);
        break;
    case 1: /* misses twice; the next keep asks again */
        script_complete(cancel, -ENOENT, 0);
        test_turns(loop, 2);
        cancel = script_find(IORING_OP_ASYNC_CANCEL, 0);
        ck_assert_ptr_nonnull(cancel);
        script_complete(cancel, -ENOENT, 0);
        test_turns(loop, 2);
        ck_assert_ptr_null(script_find(IORING_OP_ASYNC_CANCEL, 0));
        ck_assert_int_eq(loop_buffer_return(loop, taker.buffers[--taker.kept]), 0);
        drip(&taker, 5, 1);
        taker.keep = 0;
        cancel = script_find(IORING_OP_ASYNC_CANCEL, 0);
        script_complete(cancel, 0, 0);
        script_complete(sqe_of(5), -ECANCELED, 0);
        break;
    case 2: /* had ended with data */
        script_complete(sqe_of(5), 1, script_buffer(0, "e", 1));
        script_complete(script_find(IORING_OP_ASYNC_CANCEL, 0), -ENOENT, 0);
        break;
    case 3:
        script_complete(sqe_of(5), -ENOBUFS, 0);
        script_complete(script_find(IORING_OP_ASYNC_CANCEL, 0), -ENOENT, 0);
        break;
    }
    test_turns(loop, 2);
    ck_assert_uint_eq(taker.finals, 0);
    ck_assert_int_gt(taker.last, 0);
    ck_assert(is_probe(sqe_of(5)));
    ck_assert_uint_eq(sqe_of(5)->msg_flags & MSG_DONTWAIT, 0);
    ck_assert_ptr_null(script_find(IORING_OP_ASYNC_CANCEL, 0));
    script_complete(sqe_of(5), 1, 0); /* data has come: it waits for its turn */
    test_turns(loop, 2);
    ck_assert(!is_armed(5));
    ck_assert_uint_eq(stats_of(0).parked, 1);
    give_all(&taker);
    test_turns(loop, 2);
    ck_assert(!is_probe(sqe_of(5)));
    script_complete(sqe_of(5), 4, script_buffer(0, "more", 4) | IORING_CQE_F_MORE);
    test_turns(loop, 1);
    ck_assert_int_eq(taker.last, 4);
    ends(5);
    ck_assert_uint_eq(taker.finals, 1);
}
END_TEST

/* Goal: its user's cancel, its end and an error come through while it stands back (_i). */
START_TEST(stand_back_and_end)
{
    struct taker taker = {0};
    loop_id      id = subscribe(5, 0, &taker);

    test_turns(loop, 1);
    drip(&taker, 5, BUFFERS - 1);
    test_turns(loop, 2);
    ck_assert(is_probe(sqe_of(5)));
    switch (_i) {
    case 0: ck_assert_int_eq(loop_cancel(loop, id), 0); break;
    case 1: script_complete(sqe_of(5), 0, 0); break;
    case 2: script_complete(sqe_of(5), -ECONNRESET, 0); break;
    case 3: /* waits with data, then cancelled */
        script_complete(sqe_of(5), 1, 0);
        test_turns(loop, 1);
        ck_assert_int_eq(loop_cancel(loop, id), 0);
        break;
    }
    test_turns(loop, 3);
    ck_assert_uint_eq(taker.finals, 1);
    ck_assert_int_eq(taker.last, _i == 1 ? 0 : _i == 2 ? -ECONNRESET : -ECANCELED);
    give_all(&taker);
    test_turns(loop, 1);
}
END_TEST

/* ---- one-shots */

/* Goal: a one-shot that found no buffer is tried again as soon as there is one; if nothing is there to read it waits
 * for readiness first. */
START_TEST(lend_waits)
{
    struct taker taker = {0};

    ck_assert_int_gt(loop_recv(loop, 5, NULL, 10, 0, take, &taker, LOOP_TERMS(.flags = LOOP_LEND)), 0);
    test_turns(loop, 1);
    ck_assert_uint_eq(sqe_of(5)->len, 10);
    script_complete(sqe_of(5), -ENOBUFS, 0); /* by now there are some */
    test_turns(loop, 1);
    ck_assert(!is_probe(sqe_of(5)));
    ck_assert_uint_eq(sqe_of(5)->len, 10);
    ck_assert_uint_ne(sqe_of(5)->flags & IOSQE_BUFFER_SELECT, 0);
    script_complete(sqe_of(5), 3, script_buffer(0, "abc", 3));
    test_turns(loop, 1);
    ck_assert_uint_eq(taker.finals, 1);
    ck_assert_str_eq(taker.text, "abc");
    ck_assert_uint_eq(test_stats(loop).ops_in_flight, 0);
}
END_TEST

/* ---- sending */

/* Goal: a send is told once, with all bytes and pieces; of what the kernel left it goes on by itself, but not after a
 * short count. Method: in two completions and a second SQE; also where the kernel cannot be asked (_i: 1). */
START_TEST(send_in_steps)
{
    uint16_t             group = (uint16_t)make(0, 8, LOOP_GROUP_OUTGOING);
    struct test_log      log = {0};
    struct io_uring_sqe *sqe;

    script.refuse_status = _i == 1;
    for (int i = 0; i < 8; i++)
        ck_assert_int_eq(loop_buffer_group_add(loop, group, "abcdefgh", 8), 0);
    ck_assert_int_gt(loop_send_bundle(loop, 5, group, 0, test_log_cb, &log, NULL), 0);
    test_turns(loop, 1);
    sqe = script_find(IORING_OP_SEND, 0);
    ck_assert_uint_eq(sqe->len, 0);
    script_buffers_skip(group, 2);
    script_complete(sqe, 16, IORING_CQE_F_BUFFER | IORING_CQE_F_MORE);
    script_buffers_skip(group, 3);
    script_complete(sqe, 24, IORING_CQE_F_BUFFER);
    test_turns(loop, 2);
    ck_assert_uint_eq(log.count, 0);
    ck_assert_uint_eq(stats_of(group).home, 3);
    sqe = script_find(IORING_OP_SEND, 0);
    ck_assert_ptr_nonnull(sqe);
    ck_assert_uint_eq(sqe->len, 0);
    script_buffers_skip(group, 2);
    script_complete(sqe, 11, IORING_CQE_F_BUFFER);
    test_turns(loop, 1);
    test_log_is(&log, 51);
    ck_assert_uint_eq(log.last.value, 7);
    ck_assert_uint_eq(stats_of(group).home, 1);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("buffer_sim");
    TCase *tcase = test_case_without_ring(suite, "buffer_sim");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, register_fails);
    tcase_add_test(tcase, no_bundles);
    tcase_add_test(tcase, incremental_place);
    tcase_add_loop_test(tcase, nothing_received, 0, 2);
    tcase_add_test(tcase, bundles_out_of_order);
    tcase_add_test(tcase, fed_goes_behind);
    tcase_add_test(tcase, turn_not_used);
    tcase_add_loop_test(tcase, stand_back_by_any_end, 0, 4);
    tcase_add_loop_test(tcase, stand_back_and_end, 0, 4);
    tcase_add_test(tcase, lend_waits);
    tcase_add_loop_test(tcase, send_in_steps, 0, 2);
    return suite;
}
