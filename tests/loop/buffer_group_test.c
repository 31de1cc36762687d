/* tests/loop/buffer_group_test.c: making and ending groups; which operation gets the buffers that there are. */
#include "tests/support/test.h"

#include <sys/resource.h>

static struct loop *loop;

static void setup(void)
{
    loop = test_loop_new(&(struct loop_options){.sq_entries = 64, .buffer_size = 512, .buffer_count = 4});
}

static void teardown(void)
{
    test_loop_free(loop);
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

/* ---- making */

/* Goal: bad options are refused and leave nothing. */
START_TEST(bad_options)
{
    static const struct loop_buffer_group_options table[] = {
        {0},
        {.size = 16},
        {.count = 16},
        {.size = 16, .count = 3},
        {.size = 16, .count = 65536},
        {.size = (uint32_t)INT32_MAX + 1, .count = 1},
        {.size = 16, .count = 16, .flags = 1u << 7},
        {.size = 16, .count = 16, .flags = LOOP_GROUP_OUTGOING},
        {.count = 16, .flags = LOOP_GROUP_INCREMENTAL},
        {.count = 16, .flags = LOOP_GROUP_OUTGOING | LOOP_GROUP_INCREMENTAL},
    };
    uint64_t                       before = test_memory.blocks;
    struct loop_buffer_group_stats stats = {.count = 77};

    ck_assert_int_eq(loop_buffer_group_create(loop, NULL), -EINVAL);
    for (size_t i = 0; i < TEST_COUNT(table); i++)
        ck_assert_int_eq(loop_buffer_group_create(loop, &table[i]), -EINVAL);
    for (uint32_t group = 0; group < 70000; group += group < 300 ? 1 : 1000) {
        ck_assert_int_eq(loop_buffer_group_destroy(loop, (uint16_t)group), -EINVAL);
        ck_assert_int_eq(loop_buffer_group_stats_get(loop, (uint16_t)group, &stats), -EINVAL);
    }
    ck_assert_uint_eq(stats.count, 77);
    ck_assert_uint_eq(test_memory.blocks, before);
}
END_TEST

static bool has_incremental(void)
{
    int group = make(64, 8, LOOP_GROUP_INCREMENTAL);

    if (group == -EOPNOTSUPP)
        return false;
    ck_assert_int_eq(group, 1);
    ck_assert_int_eq(loop_buffer_group_destroy(loop, 1), 0);
    return true;
}

/* Goal: there are 63 groups beside the default one; numbers of those that ended are used again; what they hold is
 * counted. */
START_TEST(numbers)
{
    const uint32_t other = has_incremental() ? LOOP_GROUP_INCREMENTAL : 0;
    uint64_t       before = test_memory.bytes;

    for (int round = 0; round < 3; round++) {
        for (int i = 1; i <= 63; i++)
            ck_assert_int_eq(make(64, 8, i % 3 == 0 ? other : 0), i);
        ck_assert_int_eq(make(64, 8, 0), -ENFILE);
        ck_assert_int_eq(loop_buffer_group_for(loop, 1), -ENFILE);
        ck_assert_uint_ge(test_stats(loop).groups_full, 2);
        ck_assert_uint_eq(test_stats(loop).buffer_bytes, 63 * 8 * (64 + 16));
        ck_assert_int_eq(loop_buffer_group_destroy(loop, 40), 0);
        ck_assert_int_eq(loop_buffer_group_destroy(loop, 40), -EINVAL);
        ck_assert_int_eq(make(128, 2, 0), 40);
        ck_assert_uint_eq(stats_of(40).size, 128);
        ck_assert_uint_eq(stats_of(40).count, 2);
        ck_assert_uint_eq(stats_of(40).home, 2);
        ck_assert_uint_eq(stats_of(40).bytes, 2 * (128 + 16));
        for (int i = 1; i <= 63; i++)
            ck_assert_int_eq(loop_buffer_group_destroy(loop, (uint16_t)i), 0);
        ck_assert_uint_eq(test_memory.bytes, before);
        ck_assert_uint_eq(test_stats(loop).buffer_bytes, 0);
    }
}
END_TEST

/* Goal: a group is made whole or not at all. Method: each allocation fails once, for each kind (_i). */
START_TEST(without_memory)
{
    static const struct loop_buffer_group_options kinds[] = {
        {.size = 512, .count = 16},
        {.size = 512, .count = 16, .flags = LOOP_GROUP_INCREMENTAL},
        {.count = 16, .flags = LOOP_GROUP_OUTGOING},
    };
    uint64_t blocks;
    int      group = -ENOMEM;

    if ((kinds[_i].flags & LOOP_GROUP_INCREMENTAL) != 0 && !has_incremental()) {
        test_skip("this kernel has no incremental groups");
        return;
    }
    blocks = test_memory.blocks;
    for (uint64_t n = 1; group == -ENOMEM; n++) {
        ck_assert_uint_lt(n, 20);
        test_memory.fail_at = test_memory.calls + n;
        group = loop_buffer_group_create(loop, &kinds[_i]);
        if (group < 0)
            ck_assert_uint_eq(test_memory.blocks, blocks);
        ck_assert(n > 2 || group == -ENOMEM); /* there are at least the group and its ring */
    }
    test_memory.fail_at = 0;
    ck_assert_int_eq(group, 1);
    ck_assert_int_eq(loop_buffer_group_destroy(loop, 1), 0);
}
END_TEST

/* Goal: where the kernel may lock no more memory, -ENOMEM says so and a smaller group can be had. Method: as a user
 * without privileges, with a small limit. */
START_TEST(memlock)
{
    const struct rlimit limit = {64 << 10, 64 << 10};
    const uid_t         stranger = 100000 + (uid_t)getpid(); /* what is locked counts for each user */
    int                 large, small;

    if (geteuid() != 0) {
        test_skip("needs root, to become somebody else");
        return;
    }
    test_loop_free(loop); /* what it may lock is settled when the ring is made */
    ck_assert_int_eq(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
    ck_assert_int_eq(setresuid(stranger, stranger, stranger), 0);
    loop = test_loop_new(&(struct loop_options){.sq_entries = 64});
    large = make(1, 32768, 0);
    if (large != -ENOMEM) {
        ck_assert_int_gt(large, 0);
        test_skip("this kernel does not count the memory of rings");
        return;
    }
    small = make(1, 64, 0);
    ck_assert_int_gt(small, 0);
    ck_assert_int_eq(loop_buffer_group_destroy(loop, (uint16_t)small), 0);
}
END_TEST

/* Goal: size classes share one budget and are made when first asked for. */
START_TEST(classes)
{
    static const struct {
        size_t   size;
        uint32_t class_size, count;
    } table[] = {{1, 1024, 1024}, {1024, 1024, 1024}, {1025, 4096, 256},    {16000, 16384, 64},   {16385, 65536, 16},
                 {1, 1024, 1024}, {65536, 65536, 16}, {1 << 20, 65536, 16}, {SIZE_MAX, 65536, 16}};
    struct loop *bad = NULL;
    uint64_t     budget = 4 << 20, rings = 0;
    int          groups[TEST_COUNT(table)];

    ck_assert_int_eq(loop_create(&bad, &(struct loop_options){.buffer_budget = 1000}), -EINVAL);
    test_loop_free(loop);
    loop = test_loop_new(&(struct loop_options){.buffer_budget = budget});
    ck_assert_uint_eq(test_stats(loop).buffer_bytes, 0);
    for (size_t i = 0; i < TEST_COUNT(table); i++) {
        groups[i] = loop_buffer_group_for(loop, table[i].size);
        ck_assert_int_gt(groups[i], 0);
        ck_assert_uint_eq(stats_of(groups[i]).size, table[i].class_size);
        ck_assert_uint_eq(stats_of(groups[i]).count, table[i].count);
        for (size_t j = 0; j < i; j++)
            ck_assert_int_eq(groups[i] == groups[j], table[i].class_size == table[j].class_size);
    }
    rings = (1024 + 256 + 64 + 16) * 16;
    ck_assert_uint_eq(test_stats(loop).buffer_bytes, budget + rings);
    ck_assert_int_eq(loop_buffer_group_destroy(loop, (uint16_t)groups[0]), 0);
    ck_assert_int_gt(loop_buffer_group_for(loop, 1), 0);
    ck_assert_uint_eq(test_stats(loop).buffer_bytes, budget + rings);
}
END_TEST

struct kept {
    loop_buffer buffer;
    uint32_t    count;
    bool        keep;
};

static void kept_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    struct kept *kept = arg;

    if ((result->flags & LOOP_BUFFER) == 0)
        return;
    kept->count++;
    kept->buffer = result->buffer;
    if (kept->keep)
        ck_assert_int_eq(loop_buffer_keep(of, result->buffer), 0);
}

/* Goal: each operation gets buffers of its group; a group in use is not ended, and a handle of one that has ended names
 * nothing in its successor. */
START_TEST(in_use)
{
    struct kept kept[2] = {{.keep = true}, {.keep = true}};
    int         pairs[2][2], groups[2] = {make(100, 2, 0), make(3000, 2, 0)};
    loop_id     ids[2];
    uint32_t    handler;

    for (int i = 0; i < 2; i++) {
        test_socketpair(pairs[i]);
        ids[i] = loop_recv_multishot(loop, pairs[i][0], (uint16_t)groups[i], 0, kept_cb, &kept[i], NULL);
        ck_assert_int_gt(ids[i], 0);
        ck_assert_int_eq(loop_buffer_group_destroy(loop, (uint16_t)groups[i]), -EBUSY);
    }
    for (int i = 0; i < 2; i++) {
        size_t size = 0;

        test_write(pairs[i][1], "x", 1);
        test_run_until(loop, &kept[i].count, 1);
        ck_assert_ptr_nonnull(loop_buffer_data(loop, kept[i].buffer, &size));
        ck_assert_uint_eq(size, i == 0 ? 100 : 3000);
        ck_assert_uint_eq(stats_of(groups[i]).out, 1);
        ck_assert_int_eq(loop_cancel(loop, ids[i]), 0);
    }
    test_run(loop);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(loop_buffer_group_destroy(loop, (uint16_t)groups[i]), -EBUSY); /* a buffer is out */
        ck_assert_int_eq(loop_buffer_return(loop, kept[i].buffer), 0);
        ck_assert_int_eq(loop_buffer_group_destroy(loop, (uint16_t)groups[i]), 0);
        ck_assert_ptr_null(loop_buffer_data(loop, kept[i].buffer, NULL));
        ck_assert_int_eq(make(100, 2, 0), groups[i]);
        ck_assert_ptr_null(loop_buffer_data(loop, kept[i].buffer, NULL));
        ck_assert_int_eq(loop_buffer_return(loop, kept[i].buffer), -EINVAL);
        test_close(pairs[i][0]);
        test_close(pairs[i][1]);
    }
    handler = (uint32_t)loop_handler_register(loop, kept_cb, &kept[0], (uint16_t)groups[1]);
    ck_assert_uint_eq(handler, 1);
    ck_assert_int_eq(loop_buffer_group_destroy(loop, (uint16_t)groups[1]), -EBUSY);
    ck_assert_int_eq(loop_buffer_group_destroy(loop, (uint16_t)groups[0]), 0);
}
END_TEST

/* Goal: buffers that are out when the loop ends, of all kinds of groups, are no leak. */
START_TEST(ends_with_the_loop)
{
    struct kept kept[2] = {{.keep = true}, {.keep = true}};
    int         pairs[2][2];

    for (int i = 0; i < 2; i++) {
        int group = make(512, 4, i == 0 ? 0 : LOOP_GROUP_INCREMENTAL);

        test_socketpair(pairs[i]);
        if (group == -EOPNOTSUPP)
            continue;
        ck_assert_int_gt(loop_recv_multishot(loop, pairs[i][0], (uint16_t)group, 0, kept_cb, &kept[i], NULL), 0);
        test_write(pairs[i][1], "x", 1);
        test_run_until(loop, &kept[i].count, 1);
    }
    ck_assert_int_eq(loop_buffer_group_add(loop, (uint16_t)make(0, 4, LOOP_GROUP_OUTGOING), "x", 1), 0);
    test_loop_drop(loop);
    loop = test_loop_new(NULL);
    for (int i = 0; i < 2; i++) {
        test_close(pairs[i][0]);
        test_close(pairs[i][1]);
    }
}
END_TEST

/* Goal: a group can be ended in the very turn in which its last buffer came home for somebody who has then been
 * cancelled. */
START_TEST(ends_before_its_task)
{
    struct kept     hoarder = {.keep = true};
    struct test_log log = {0};
    int             pairs[2][2], group = make(64, 1, 0);
    loop_id         ids[2];

    for (int i = 0; i < 2; i++) {
        test_socketpair(pairs[i]);
        test_write(pairs[i][1], "x", 1);
    }
    ids[0] = loop_recv_multishot(loop, pairs[0][0], (uint16_t)group, 0, kept_cb, &hoarder, NULL);
    test_run_until(loop, &hoarder.count, 1);
    ck_assert_int_eq(loop_cancel(loop, ids[0]), 0);
    test_run(loop);
    ids[1] = loop_recv_multishot(loop, pairs[1][0], (uint16_t)group, 0, test_log_cb, &log, NULL);
    test_turns(loop, 5);
    ck_assert_uint_eq(stats_of(group).parked, 1);
    ck_assert_int_eq(loop_buffer_return(loop, hoarder.buffer), 0);
    ck_assert_int_eq(loop_buffer_group_destroy(loop, (uint16_t)group), -EBUSY);
    ck_assert_int_eq(loop_cancel(loop, ids[1]), 0);
    ck_assert_int_eq(loop_buffer_group_destroy(loop, (uint16_t)group), 0);
    test_run(loop);
    test_log_is(&log, -ECANCELED);
    for (int i = 0; i < 2; i++) {
        test_close(pairs[i][0]);
        test_close(pairs[i][1]);
    }
}
END_TEST

/* ---- fairness */

enum { QUIET = 50, SIZE = 512, HELD_MAX = 64 };

struct peer {
    int      fds[2];
    uint32_t count, ended, sent;
    uint64_t bytes;
};

/* The flooding peer, and what is kept of it: a queue, given back slowly. */
struct flood {
    struct peer peer;
    uint32_t    keep_most, head, tail;
    loop_buffer held[HELD_MAX];
};

static void peer_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    struct peer *peer = arg;

    (void)of;
    if ((result->flags & LOOP_MORE) == 0)
        peer->ended++;
    peer->count += result->res > 0;
    peer->bytes += result->res > 0 ? (uint64_t)result->res : 0;
}

static void flood_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    struct flood *flood = arg;

    peer_cb(of, result, &flood->peer);
    if ((result->flags & LOOP_BUFFER) == 0 || flood->tail - flood->head == flood->keep_most)
        return;
    ck_assert_int_eq(loop_buffer_keep(of, result->buffer), 0);
    flood->held[flood->tail++ % HELD_MAX] = result->buffer;
}

static void flood_return(struct flood *flood, uint32_t count)
{
    for (; count > 0 && flood->head != flood->tail; count--)
        ck_assert_int_eq(loop_buffer_return(loop, flood->held[flood->head++ % HELD_MAX]), 0);
}

static void open_peer(struct peer *peer, int group, loop_cb *cb, void *arg)
{
    test_socketpair(peer->fds);
    ck_assert_int_gt(loop_recv_multishot(loop, peer->fds[0], (uint16_t)group, 0, cb, arg, NULL), 0);
}

static void close_peer(struct peer *peer)
{
    test_close(peer->fds[0]);
    test_close(peer->fds[1]);
}

static void refill(struct peer *peer)
{
    static const char bytes[32 * SIZE];
    ssize_t           n;

    do {
        n = send(peer->fds[1], bytes, sizeof(bytes), MSG_DONTWAIT);
        peer->sent += n > 0 ? (uint32_t)n : 0;
    } while (n > 0);
}

/* Goal: a peer whose data never ends does not keep fifty others from theirs. Method: its socket is filled up before
 * each turn, in a group of few buffers; the others send one message each, all at once or one by one; each has to be
 * there within some turns. Of the flood nothing is kept, or as much as a quarter of the group, or the whole group, of
 * which one buffer comes back each turn (_i). */
START_TEST(flooding_peer)
{
    enum { COUNT = 16, TURNS_ALL = 200, TURNS_ONE = 25 };
    static const uint32_t keeps[] = {0, COUNT / 4, COUNT};
    static struct flood   flood;
    static struct peer    quiet[QUIET];
    int                   group = make(SIZE, COUNT, 0);
    uint32_t              told = 0;

    flood = (struct flood){.keep_most = keeps[_i]};
    open_peer(&flood.peer, group, flood_cb, &flood);
    for (uint32_t i = 0; i < QUIET; i++) {
        quiet[i] = (struct peer){0};
        open_peer(&quiet[i], group, peer_cb, &quiet[i]);
    }
    test_turns(loop, 1);
    for (uint32_t i = 0; i < QUIET; i++)
        test_write(quiet[i].fds[1], "hello", 5);
    for (uint32_t turn = 0; told < QUIET; turn++) {
        ck_assert_msg(turn < TURNS_ALL, "only %u of the quiet peers were heard", told);
        refill(&flood.peer);
        flood_return(&flood, 1);
        test_turns(loop, 1);
        told = 0;
        for (uint32_t i = 0; i < QUIET; i++)
            told += quiet[i].count;
    }
    for (uint32_t i = 0; i < QUIET; i++) {
        uint32_t turn = 0;

        test_write(quiet[i].fds[1], "again", 5);
        for (; quiet[i].count < 2; turn++) {
            ck_assert_msg(turn < TURNS_ONE, "a quiet peer was not heard");
            refill(&flood.peer);
            flood_return(&flood, 1);
            test_turns(loop, 1);
        }
    }
    ck_assert_uint_gt(flood.peer.bytes, 0);
    flood.keep_most = 0;
    flood_return(&flood, UINT32_MAX);
    while (flood.peer.bytes < flood.peer.sent)
        ck_assert_int_eq(loop_run(loop, LOOP_RUN_ONCE), 1);
    shutdown(flood.peer.fds[1], SHUT_WR);
    for (uint32_t i = 0; i < QUIET; i++)
        shutdown(quiet[i].fds[1], SHUT_WR);
    test_run(loop);
    ck_assert_uint_eq(flood.peer.ended, 1);
    close_peer(&flood.peer);
    for (uint32_t i = 0; i < QUIET; i++) {
        ck_assert_uint_eq(quiet[i].bytes, 10);
        ck_assert_uint_eq(quiet[i].ended, 1);
        close_peer(&quiet[i]);
    }
    ck_assert_uint_eq(stats_of(group).out, 0);
    ck_assert_uint_eq(stats_of(group).home, COUNT);
}
END_TEST

static void drip(struct flood *flood, uint32_t messages)
{
    for (uint32_t i = 0; i < messages; i++) {
        test_write(flood->peer.fds[1], "drip", 4);
        flood->peer.sent += 4;
        test_turns(loop, 2);
    }
}

/* Goal: one whose buffers are all kept leaves the last eighth of the group to others; it goes on when its buffers come
 * back, without loss; its end is told though it stands back, and so is a cancel (_i: 0 goes on, 1 end, 2 cancel). */
START_TEST(stands_back)
{
    enum { COUNT = 64, RESERVE = COUNT / 8 };
    static struct flood flood;
    struct peer         quiet = {0};
    int                 group = make(SIZE, COUNT, 0);
    loop_id             id;

    flood = (struct flood){.keep_most = COUNT};
    test_socketpair(flood.peer.fds);
    id = loop_recv_multishot(loop, flood.peer.fds[0], (uint16_t)group, 0, flood_cb, &flood, NULL);
    ck_assert_int_gt(id, 0);
    drip(&flood, _i == 0 ? 100 : COUNT - RESERVE);
    ck_assert_uint_eq(flood.tail, COUNT - RESERVE);
    ck_assert_uint_eq(stats_of(group).home, RESERVE);
    ck_assert_uint_eq(stats_of(group).stood_back, 1);
    open_peer(&quiet, group, peer_cb, &quiet);
    for (uint32_t i = 1; i <= 3 * RESERVE; i++) {
        test_write(quiet.fds[1], "hello", 5);
        test_run_until(loop, &quiet.count, i);
    }
    if (_i == 0) {
        flood_return(&flood, COUNT);
        for (uint32_t i = 0; i < 100 && flood.peer.bytes < flood.peer.sent; i++)
            test_turns(loop, 1);
        ck_assert_uint_eq(flood.peer.bytes, flood.peer.sent);
        drip(&flood, 10);
        ck_assert_uint_eq(flood.peer.bytes, flood.peer.sent);
    }
    if (_i == 2)
        ck_assert_int_eq(loop_cancel(loop, id), 0);
    else
        shutdown(flood.peer.fds[1], SHUT_WR);
    test_run_until(loop, &flood.peer.ended, 1);
    shutdown(quiet.fds[1], SHUT_WR);
    test_run(loop);
    flood_return(&flood, COUNT);
    ck_assert_uint_eq(stats_of(group).home, COUNT);
    close_peer(&flood.peer);
    close_peer(&quiet);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("buffer_group");
    TCase *tcase = test_case(suite, "buffer_group");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, bad_options);
    tcase_add_test(tcase, numbers);
    tcase_add_loop_test(tcase, without_memory, 0, 3);
    tcase_add_test(tcase, memlock);
    tcase_add_test(tcase, classes);
    tcase_add_test(tcase, in_use);
    tcase_add_test(tcase, ends_with_the_loop);
    tcase_add_test(tcase, ends_before_its_task);
    tcase_add_loop_test(tcase, flooding_peer, 0, 3);
    tcase_add_loop_test(tcase, stands_back, 0, 3);
    return suite;
}
