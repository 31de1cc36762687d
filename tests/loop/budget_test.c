/* tests/loop/budget_test.c: options from one figure of memory, and named sizes of rings. */
#include "tests/support/test.h"

static const uint64_t KIB = 1024, MIB = 1024 * 1024, GIB = 1024 * 1024 * 1024;

static struct loop_budget layout_of(uint64_t bytes, struct loop_options *ret_options)
{
    struct loop_budget layout;

    memset(&layout, 0xff, sizeof(layout));
    memset(ret_options, 0xff, sizeof(*ret_options));
    ck_assert_int_eq(loop_options_for_budget(ret_options, bytes, &layout), 0);
    return layout;
}

/* Goal: every budget is kept, its parts add up, and the options are those of the layout and valid. Method: all powers
 * of two, and figures beside them. */
START_TEST(kept)
{
    for (uint64_t power = 256 * KIB; power <= 4 * GIB; power *= 2) {
        const uint64_t figures[] = {power, power + 1, power + power / 2, power * 2 - 1};

        for (size_t i = 0; i < TEST_COUNT(figures); i++) {
            struct loop_options options;
            struct loop_budget  layout = layout_of(figures[i], &options);

            ck_assert_uint_le(layout.bytes, figures[i]);
            ck_assert_uint_eq(layout.bytes, layout.loop_bytes + layout.ring_bytes + layout.op_bytes +
                                                layout.group_bytes + layout.fixed_bytes);
            ck_assert_uint_eq(options.sq_entries, layout.sq_entries);
            ck_assert_uint_eq(options.cq_entries, layout.cq_entries);
            ck_assert_uint_eq(options.ops_max, layout.ops_max);
            ck_assert_uint_eq(options.posts_max, layout.ops_max);
            ck_assert_uint_eq(options.buffer_count, layout.buffer_count);
            ck_assert_uint_eq(options.buffer_size, layout.buffer_size);
            ck_assert_uint_eq(options.flags, 0);
            ck_assert_ptr_null(options.allocator.resize);
            ck_assert_uint_ge(layout.sq_entries, 8);
            ck_assert_uint_le(layout.sq_entries, 32768);
            ck_assert_uint_ge(layout.cq_entries, layout.sq_entries);
            ck_assert_uint_le(layout.cq_entries, 65536);
            ck_assert_uint_eq(layout.buffer_count & (layout.buffer_count - 1), 0);
            ck_assert_uint_gt(layout.buffer_count, 0);
            ck_assert_uint_le(layout.buffer_count, 32768);
            ck_assert_uint_le(layout.fixed_count, 16384);
            ck_assert_uint_gt(layout.fixed_count, 0);
            ck_assert_uint_gt(layout.ops_max, 0);
        }
    }
}
END_TEST

/* Goal: more memory never gives less. */
START_TEST(grows)
{
    struct loop_options options;
    struct loop_budget  before = layout_of(256 * KIB, &options);

    for (uint64_t bytes = 512 * KIB; bytes <= 2 * GIB; bytes *= 2) {
        struct loop_budget layout = layout_of(bytes, &options);

        ck_assert_uint_ge(layout.sq_entries, before.sq_entries);
        ck_assert_uint_ge(layout.cq_entries, before.cq_entries);
        ck_assert_uint_ge(layout.ops_max, before.ops_max);
        ck_assert_uint_ge((uint64_t)layout.buffer_count * layout.buffer_size,
                          (uint64_t)before.buffer_count * before.buffer_size);
        ck_assert_uint_ge((uint64_t)layout.fixed_count * layout.fixed_size,
                          (uint64_t)before.fixed_count * before.fixed_size);
        before = layout;
    }
    /* Beyond the largest step nothing grows any more. */
    ck_assert_uint_eq(layout_of(UINT64_MAX, &options).bytes, layout_of(GIB, &options).bytes);
}
END_TEST

/* Goal: too little is refused, the outputs untouched; the layout is optional. */
START_TEST(refused)
{
    struct loop_options options = {.sq_entries = 77};
    struct loop_budget  layout = {.bytes = 77};

    ck_assert_int_eq(loop_options_for_budget(&options, LOOP_BUDGET_LEAST - 1, &layout), -EINVAL);
    ck_assert_int_eq(loop_options_for_budget(&options, 0, &layout), -EINVAL);
    ck_assert_int_eq(loop_options_for_budget(NULL, MIB, &layout), -EINVAL);
    ck_assert_uint_eq(options.sq_entries, 77);
    ck_assert_uint_eq(layout.bytes, 77);
    ck_assert_int_eq(loop_options_for_budget(&options, LOOP_BUDGET_LEAST, NULL), 0);
}
END_TEST

static uint32_t finals;

static void count_cb(struct loop *loop, const struct loop_result *result, void *arg)
{
    (void)loop, (void)arg;
    finals += (result->flags & LOOP_MORE) == 0;
}

static void post_cb(struct loop *loop, void *arg)
{
    (void)loop, (void)arg;
}

/* Starts ops_max operations, and fails to start one more. */
static void fill(struct loop *loop, uint32_t ops_max, const struct loop_terms *terms)
{
    for (uint32_t i = 0; i < ops_max; i++)
        if (loop_nop(loop, count_cb, NULL, terms) <= 0)
            ck_abort_msg("operation %u was refused", i);
    ck_assert_int_eq(loop_nop(loop, count_cb, NULL, terms), -ENOBUFS);
}

/* Goal: a loop made so holds no more memory than its budget, all of it in use. Method: count what the allocator has
 * given out at the worst: all operations as plain ones and as extended ones, before the first run, so that all queue;
 * all posts, the buffer group and the pool. The ring's memory is added as computed. */
START_TEST(holds)
{
    static const uint64_t budgets[] = {256 * 1024, 512 * 1024, 1 << 20, 3 << 20, 16 << 20};
    struct loop_options   options;
    struct loop_budget    layout = layout_of(budgets[_i], &options);
    struct loop          *loop;
    int                   fds[2];
    char                  byte;

    options.allocator = test_allocator();
    ck_assert_int_eq(loop_create(&loop, &options), 0);
    ck_assert_uint_eq(loop_features_get(loop)->sq_entries, layout.sq_entries);
    ck_assert_uint_eq(loop_features_get(loop)->cq_entries, layout.cq_entries);
    ck_assert_int_eq(loop_fixed_buffers_init(loop, &(struct loop_fixed_buffers_options){.count = layout.fixed_count,
                                                                                        .size = layout.fixed_size}),
                     0);
    fill(loop, layout.ops_max, NULL);
    test_run(loop);
    fill(loop, layout.ops_max, LOOP_TERMS(.data = &byte, .data_size = 1));
    for (uint32_t i = 0; i < options.posts_max; i++)
        ck_assert_int_eq(loop_post(loop, post_cb, NULL), 0);
    ck_assert_int_eq(loop_post(loop, post_cb, NULL), -ENOBUFS);
    test_run(loop);
    ck_assert_uint_eq(finals, 2 * layout.ops_max);
    test_socketpair(fds);
    ck_assert_int_gt(loop_recv_multishot(loop, fds[0], LOOP_GROUP_DEFAULT, 0, count_cb, NULL, NULL), 0);
    test_close(fds[1]);
    test_run(loop);
    test_close(fds[0]);
    ck_assert_msg(test_memory.bytes + layout.ring_bytes <= budgets[_i], "%" PRIu64 " + %" PRIu64 " of %" PRIu64,
                  (uint64_t)test_memory.bytes, layout.ring_bytes, budgets[_i]);
    ck_assert_msg(test_memory.bytes + layout.ring_bytes <= layout.bytes, "%" PRIu64 " + %" PRIu64 " > %" PRIu64,
                  (uint64_t)test_memory.bytes, layout.ring_bytes, layout.bytes);
    test_loop_free(loop);
}
END_TEST

/* Goal: each named size is one of the kernel's, and is what the ring gets. */
START_TEST(named_sizes)
{
    static const uint32_t sizes[] = {LOOP_RING_PICO,  LOOP_RING_NANO,  LOOP_RING_MICRO,
                                     LOOP_RING_TINY,  LOOP_RING_SMALL, LOOP_RING_MEDIUM,
                                     LOOP_RING_LARGE, LOOP_RING_HUGE,  LOOP_RING_GIANT};

    for (size_t i = 0; i < TEST_COUNT(sizes); i++) {
        struct loop *loop = test_loop_new(&(struct loop_options){.sq_entries = sizes[i], .cq_entries = sizes[i]});

        ck_assert_uint_eq(loop_features_get(loop)->sq_entries, sizes[i]);
        ck_assert(i == 0 || sizes[i] > sizes[i - 1]);
        test_loop_free(loop);
    }
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("budget");
    TCase *tcase = test_case_without_ring(suite, "figures");

    tcase_add_test(tcase, kept);
    tcase_add_test(tcase, grows);
    tcase_add_test(tcase, refused);
    tcase = test_case(suite, "loops");
    tcase_add_loop_test(tcase, holds, 0, 5);
    tcase_add_test(tcase, named_sizes);
    return suite;
}
