/* tests/fs/writer_test.c: the merging file writer on real files: what is merged, when it leaves, memory, syncs. */
#include "tests/fs/writer_world.h"

/* ---- merging */

/* Goal: adjacent writes of one turn leave as one, whatever their order, and each is told for itself. Method: 500 in
 * order, backwards, or shuffled. */
START_TEST(adjacent)
{
    enum { COUNT = 500 };

    start(NULL);
    for (uint32_t n = 0; n < COUNT; n++)
        put_block(_i == 0 ? n : _i == 1 ? COUNT - 1 - n : n * 77 % COUNT);
    ck_assert_uint_eq(calls, 0);
    ck_assert_uint_eq(stats().queued, COUNT * BLOCK);
    until(COUNT);
    for (uint32_t i = 0; i < COUNT; i++)
        log_is(i, 0, BLOCK);
    ck_assert_uint_eq(stats().runs, 1);
    ck_assert_uint_eq(stats().writes, COUNT);
    ck_assert_uint_eq(stats().bytes, COUNT * BLOCK);
    ck_assert_uint_eq(stats().queued, 0);
    file_is("f", text, COUNT * BLOCK);
    finish();
}
END_TEST

/* Goal: what is not adjacent leaves apart, all of it, with more runs than may be in flight. Method: every other block,
 * one place for a run, or the default. */
START_TEST(apart)
{
    enum { COUNT = 100 };
    char *all;

    start(&(struct loop_writer_options){.runs_max = (uint32_t)_i});
    for (uint32_t n = 0; n < COUNT; n++)
        put_block(n * 2);
    until(COUNT);
    ck_assert_uint_eq(stats().runs, COUNT);
    all = scratch_read("f", NULL);
    for (uint32_t n = 0; n < COUNT; n++) {
        log_is(n * 2, 0, BLOCK);
        ck_assert_int_eq(memcmp(all + (size_t)n * 2 * BLOCK, text + (size_t)n * 2 * BLOCK, BLOCK), 0);
    }
    free(all);
    finish();
}
END_TEST

/* Goal: overlapping writes land in the order they were queued. Method: the same place again and again, and ranges that
 * overlap by halves, in one turn; the model is memory. */
START_TEST(overlapping)
{
    enum { COUNT = 300 };
    static char model[COUNT * BLOCK + BLOCK];
    size_t      end = 0;

    start(NULL);
    for (uint32_t i = 0; i < COUNT; i++) {
        size_t at = _i == 0 ? 0 : _i == 1 ? i * BLOCK / 2 : (i * 7919u) % 1000;

        ck_assert_int_eq(put(i, text + i, BLOCK, (int64_t)at, NULL), 0);
        memcpy(model + at, text + i, BLOCK);
        end = at + BLOCK > end ? at + BLOCK : end;
    }
    until(COUNT);
    for (uint32_t i = 0; i < COUNT; i++)
        log_is(i, 0, BLOCK);
    file_is("f", model, end);
    finish();
}
END_TEST

static uint32_t rounds;

static void write_again(struct loop_writer *by, int error, size_t bytes, void *arg)
{
    ck_assert_int_eq(error, 0);
    ck_assert_uint_eq(bytes, BLOCK);
    calls++;
    if (rounds++ < 200)
        ck_assert_int_eq(loop_writer_write(by, text + rounds, BLOCK, 50, write_again, arg, NULL), 0);
}

/* Goal: the order holds between turns too: a write over one in flight waits for it. Method: a callback writes again
 * while others write the same place in the same turn. */
START_TEST(over_one_in_flight)
{
    start(NULL);
    ck_assert_int_eq(put(0, text, 1 << 20, 0, NULL), 0);
    test_turns(loop, 1); /* it is in flight, or has landed */
    for (uint32_t i = 1; i <= 20; i++) {
        ck_assert_int_eq(put(i, text + i, BLOCK, 10, NULL), 0);
        test_turns(loop, 1);
    }
    ck_assert_int_eq(loop_writer_write(&writer, text, BLOCK, 50, write_again, NULL, NULL), 0);
    until(21 + 201);
    ck_assert_uint_gt(logs[20].turn, logs[0].turn);
    {
        char *all = scratch_read("f", NULL);

        for (uint32_t i = 0; i < BLOCK; i++)
            ck_assert_int_eq(all[50 + i], (char)('a' + ((200 + i) * 7 + (200 + i) / 251) % 26));
        for (uint32_t i = 0; i < 40; i++)
            ck_assert_int_eq(all[10 + i], (char)('a' + ((20 + i) * 7 + (20 + i) / 251) % 26));
        free(all);
    }
    finish();
}
END_TEST

/* Goal: pieces, large writes and many of them: limits of one vectored write are kept. Method: writes of 1024 pieces,
 * one of several MiB, 3000 small ones. */
START_TEST(limits_of_a_run)
{
    static struct iovec iov[1024];
    static char         large[5 << 20];
    size_t              end = 1024 * BLOCK;

    start(&(struct loop_writer_options){.bytes_max = 32 << 20});
    memset(large, 'L', sizeof(large));
    for (uint32_t i = 0; i < 1024; i++)
        iov[i] = (struct iovec){text + (size_t)i * BLOCK, i % 3 == 0 ? 0 : BLOCK};
    ck_assert_int_eq(loop_writer_writev(&writer, iov, 1024, 0, written, &logs[0], NULL), 0);
    memset(iov, 0, sizeof(iov)); /* it was copied */
    ck_assert_int_eq(put(1, large, sizeof(large), (int64_t)end, NULL), 0);
    for (uint32_t i = 2; i < 3002; i++)
        ck_assert_int_eq(put(i, text + i, 10, (int64_t)(end + sizeof(large) + (i - 2) * 10), NULL), 0);
    until(3002);
    log_is(0, 0, 682 * BLOCK);
    log_is(1, 0, sizeof(large));
    for (uint32_t i = 2; i < 3002; i++)
        log_is(i, 0, 10);
    ck_assert_uint_le(stats().runs, 10);
    {
        char *all = scratch_read("f", NULL);

        ck_assert_int_eq(memcmp(all, text + BLOCK, 2 * BLOCK), 0);
        ck_assert_int_eq(memcmp(all + end, large, sizeof(large)), 0);
        for (uint32_t i = 2; i < 3002; i++)
            ck_assert_int_eq(memcmp(all + end + sizeof(large) + (i - 2) * 10, text + i, 10), 0);
        free(all);
    }
    finish();
}
END_TEST

/* Goal: places beyond 4 GiB. Method: a sparse file. */
START_TEST(far_away)
{
    char    found[6];
    int64_t at = INT64_C(5) << 30;
    int     fd;

    start(&(struct loop_writer_options){.position = at});
    ck_assert_int_eq(put(0, "abc", 3, LOOP_AT_POSITION, NULL), 0);
    ck_assert_int_eq(put(1, "def", 3, at + 3, NULL), 0);
    ck_assert_int_eq(loop_writer_position(&writer), at + 3);
    ck_assert_int_eq(put(2, "x", 1, INT64_MAX, NULL), -EINVAL);
    until(2);
    ck_assert_uint_eq(stats().runs, 1);
    fd = open("f", O_RDONLY | O_CLOEXEC);
    ck_assert_int_eq(pread(fd, found, 6, at), 6);
    ck_assert_int_eq(memcmp(found, "abcdef", 6), 0);
    test_close(fd);
    finish();
}
END_TEST

/* Goal: the own position moves at once, can be set, and goes along with writes at offsets. Method: both, mixed. */
START_TEST(position)
{
    start(NULL);
    ck_assert_int_eq(put(0, "abc", 3, LOOP_AT_POSITION, NULL), 0);
    ck_assert_int_eq(put(1, "def", 3, LOOP_AT_POSITION, NULL), 0);
    ck_assert_int_eq(loop_writer_position(&writer), 6);
    ck_assert_int_eq(loop_writer_seek(&writer, 10), 0);
    ck_assert_int_eq(put(2, "klm", 3, LOOP_AT_POSITION, NULL), 0);
    ck_assert_int_eq(put(3, "ghij", 4, 6, NULL), 0);
    ck_assert_int_eq(loop_writer_position(&writer), 13);
    ck_assert_int_eq(loop_writer_seek(&writer, -1), -EINVAL);
    until(4);
    ck_assert_uint_eq(stats().runs, 1);
    file_is("f", "abcdefghijklm", 13);
    finish();
}
END_TEST

/* ---- when it leaves */

/* Goal: with a deadline writes of several turns leave together, and not before. Method: an hour, then a flush (0), the
 * bytes (1) or the pieces (2) of a batch, a sync (3), a close (4); or a millisecond (5). */
START_TEST(deadline)
{
    struct loop_writer_options options = {.deadline_ns = _i == 5 ? LOOP_MILLISECOND : 3600 * LOOP_SECOND,
                                          .batch_bytes = 100000};
    uint32_t                   count = _i == 1 ? 1000 : _i == 2 ? 1024 : 10;
    uint64_t                   began = test_clock();

    start(&options);
    for (uint32_t i = 0; i < count; i++) {
        ck_assert_int_eq(put(i, text + (size_t)i * 90, _i == 1 ? BLOCK : 90, (int64_t)i * (_i == 1 ? BLOCK : 90), NULL),
                         0);
        if (i % 5 == 0 && _i != 5)
            test_turns(loop, 3);
    }
    if (_i != 5)
        ck_assert_uint_eq(calls, 0);
    if (_i == 0)
        ck_assert_int_eq(loop_writer_flush(&writer), 0);
    if (_i == 3)
        ck_assert_int_eq(loop_writer_sync(&writer, NULL, NULL), 0);
    if (_i == 4)
        loop_writer_close(&writer, closed);
    until(count);
    if (_i == 5)
        ck_assert_uint_ge(test_clock() - began, LOOP_MILLISECOND);
    if (_i != 4)
        ck_assert_uint_eq(stats().runs, 1);
    for (uint32_t i = 0; i < count; i++)
        log_is(i, 0, _i == 1 ? BLOCK : 90);
    finish();
}
END_TEST

/* Goal: what is written next to a run in flight gathers meanwhile. Method: a large write, then one small one a turn:
 * far fewer runs than writes. */
START_TEST(gathers_behind_a_run)
{
    enum { COUNT = 500 };

    start(NULL);
    ck_assert_int_eq(put(0, text, sizeof(text), LOOP_AT_POSITION, NULL), 0);
    for (uint32_t i = 1; i <= COUNT; i++) {
        ck_assert_int_eq(put(i, text + i, 10, LOOP_AT_POSITION, NULL), 0);
        if (calls == 0)
            test_turns(loop, 1);
    }
    until(COUNT + 1);
    ck_assert_uint_eq(stats().bytes, sizeof(text) + COUNT * 10);
    ck_assert_uint_lt(stats().runs, COUNT / 2);
    finish();
}
END_TEST

/* ---- memory */

/* Goal: copied bytes may change after the call. Method: small and large ones. */
START_TEST(copies)
{
    static char own[100000];

    start(NULL);
    for (uint32_t i = 0; i < 2; i++) {
        size_t size = i == 0 ? 10 : 90000;

        memcpy(own, text, size);
        ck_assert_int_eq(put(i, own, size, LOOP_AT_POSITION, &(struct loop_writer_terms){.flags = LOOP_WRITER_COPY}),
                         0);
        memset(own, '-', size);
    }
    until(2);
    {
        char *all = scratch_read("f", NULL);

        ck_assert_int_eq(memcmp(all, text, 10), 0);
        ck_assert_int_eq(memcmp(all + 10, text, 90000), 0);
        free(all);
    }
    finish();
}
END_TEST

static uint32_t received;

static void give_received(struct loop *on, const struct loop_result *result, void *arg)
{
    struct loop_writer_terms terms = {.release = result->buffer};

    (void)arg;
    ck_assert_int_gt(result->res, 0);
    received++;
    ck_assert_int_eq(put(received, result->data, (size_t)result->res, LOOP_AT_POSITION, &terms), 0);
    ck_assert_int_eq(loop_buffer_return(on, result->buffer), -EINVAL); /* it is not ours any more */
}

/* Goal: a lent buffer that is given goes back when the bytes have landed. Method: received into it, small and large; a
 * refused write leaves it. */
START_TEST(given_buffer)
{
    struct loop_buffer_group_stats group;
    int                            fds[2];

    start(NULL);
    test_socketpair(fds);
    for (uint32_t i = 1; i <= 2; i++) {
        size_t size = i == 1 ? 20 : 5000;

        test_write(fds[1], text, size);
        ck_assert_int_gt(
            loop_recv(loop, fds[0], NULL, 0, 0, give_received, NULL, &(struct loop_terms){.flags = LOOP_LEND}), 0);
        until(i);
        log_is(i, 0, size);
    }
    ck_assert_int_eq(loop_buffer_group_stats_get(loop, LOOP_GROUP_DEFAULT, &group), 0);
    ck_assert_uint_eq(group.out, 0);
    ck_assert_int_eq(put(3, text, 1, 0, &(struct loop_writer_terms){.release = 12345}), -EINVAL);
    test_close(fds[0]);
    test_close(fds[1]);
    finish();
}
END_TEST

/* Goal: without memory each call fails or each write is told once, and nothing is lost. Method: every allocation of a
 * short story fails in turn. */
START_TEST(no_memory)
{
    for (uint64_t nth = 1; nth < 100; nth++) {
        uint32_t accepted = 0;
        uint64_t before;
        int      fd = file_open("f", O_TRUNC), r;

        memset(logs, 0, sizeof(logs));
        memset(&writer, 0, sizeof(writer));
        calls = closes = 0;
        loop = test_loop_new(NULL);
        before = atomic_load(&test_memory.failed);
        atomic_store(&test_memory.fail_at, atomic_load(&test_memory.calls) + nth);
        r = loop_writer_open(loop, &writer, fd, NULL);
        if (r < 0) {
            ck_assert_int_eq(r, -ENOMEM);
            test_close(fd);
        } else {
            for (uint32_t i = 0; i < 40; i++) {
                r = put(i, text, 700, (int64_t)i * 700, &(struct loop_writer_terms){.flags = LOOP_WRITER_COPY});
                ck_assert(r == 0 || r == -ENOMEM);
                accepted += r == 0;
            }
            r = loop_writer_sync(&writer, written, &logs[40]);
            ck_assert(r == 0 || r == -ENOMEM);
            accepted += r == 0;
            until(accepted);
            for (uint32_t i = 0; i <= 40; i++)
                ck_assert(logs[i].calls <= 1 && logs[i].error == 0);
            loop_writer_close(&writer, closed);
            test_run_until(loop, &closes, 1);
        }
        atomic_store(&test_memory.fail_at, 0);
        test_loop_free(loop);
        if (atomic_load(&test_memory.failed) == before)
            return;
    }
    ck_abort_msg("it never did without a failure");
}
END_TEST

/* ---- syncs */

/* Goal: many wishes share one sync, which comes after the writes. Method: 64 writers, each with a write and a wish, in
 * one turn; a wish alone; two in a row. */
START_TEST(group_commit)
{
    start(NULL);
    for (uint32_t i = 0; i < 64; i++) {
        put_block(i);
        ck_assert_int_eq(loop_writer_sync(&writer, written, &logs[100 + i]), 0);
    }
    until(128);
    ck_assert_uint_eq(stats().runs, 1);
    ck_assert_uint_eq(stats().syncs, 1);
    for (uint32_t i = 0; i < 64; i++) {
        log_is(i, 0, BLOCK);
        log_is(100 + i, 0, 0);
        ck_assert_uint_gt(logs[100 + i].turn, logs[i].turn);
    }
    ck_assert_int_eq(loop_writer_sync(&writer, written, &logs[200]), 0);
    until(129);
    log_is(200, 0, 0);
    ck_assert_uint_eq(stats().syncs, 2);
    finish();
}
END_TEST

/* Goal: with LOOP_WRITER_SYNC a batch costs one sync, and its writes are told after it. Method: 64 writes together;
 * then non-adjacent ones. */
START_TEST(sync_each_batch)
{
    start(&(struct loop_writer_options){.flags = LOOP_WRITER_SYNC});
    for (uint32_t i = 0; i < 64; i++)
        put_block(i);
    until(64);
    ck_assert_uint_eq(stats().syncs, 1);
    for (uint32_t i = 0; i < 40; i++)
        put_block(100 + 2 * i);
    until(104);
    ck_assert_uint_eq(stats().syncs, 2);
    for (uint32_t i = 0; i < 40; i++)
        log_is(100 + 2 * i, 0, BLOCK);
    finish();
}
END_TEST

/* Goal: a sync asked for before a close is done, and told before it. Method: both at once; and without callbacks. */
START_TEST(sync_then_close)
{
    start(NULL);
    put_block(0);
    ck_assert_int_eq(loop_writer_sync(&writer, written, &logs[1]), 0);
    ck_assert_int_eq(loop_writer_sync(&writer, NULL, NULL), 0);
    loop_writer_close(&writer, closed);
    ck_assert_int_eq(loop_writer_sync(&writer, written, &logs[2]), -EINVAL);
    test_run(loop);
    log_is(0, 0, BLOCK);
    log_is(1, 0, 0);
    ck_assert_uint_eq(calls, 3);
    finish();
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("fs/writer");
    TCase *tc = test_case(suite, "merging");

    tcase_add_checked_fixture(tc, scratch_make, scratch_remove);
    tcase_add_loop_test(tc, adjacent, 0, 3);
    tcase_add_loop_test(tc, apart, 0, 3);
    tcase_add_loop_test(tc, overlapping, 0, 3);
    tcase_add_test(tc, over_one_in_flight);
    tcase_add_test(tc, limits_of_a_run);
    tcase_add_test(tc, far_away);
    tcase_add_test(tc, position);
    tcase_add_loop_test(tc, deadline, 0, 6);
    tcase_add_test(tc, gathers_behind_a_run);

    tc = test_case(suite, "memory");
    tcase_add_checked_fixture(tc, scratch_make, scratch_remove);
    tcase_add_test(tc, copies);
    tcase_add_test(tc, given_buffer);
    tcase_add_test(tc, no_memory);

    tc = test_case(suite, "sync");
    tcase_add_checked_fixture(tc, scratch_make, scratch_remove);
    tcase_add_test(tc, group_commit);
    tcase_add_test(tc, sync_each_batch);
    tcase_add_test(tc, sync_then_close);
    return suite;
}
