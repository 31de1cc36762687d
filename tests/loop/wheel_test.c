/* tests/loop/wheel_test.c: the timing wheel against a sorted model, in virtual time. */
#include "loop/wheel.h"

#include "tests/support/test.h"

enum { MODEL_MAX = 512 };

/* The model: the nodes in use with the number of their start, found by search. */
struct model {
    struct wheel           wheel;
    struct loop_timer_node nodes[MODEL_MAX];
    uint64_t               deadlines[MODEL_MAX];
    uint64_t               starts[MODEL_MAX]; /* 0: not started */
    uint64_t               start;
    uint64_t               now;
    uint64_t               fired;
};

static int model_first(const struct model *model)
{
    int first = -1;

    for (int i = 0; i < MODEL_MAX; i++) {
        if (model->starts[i] == 0)
            continue;
        if (first < 0 || model->deadlines[i] < model->deadlines[first] ||
            (model->deadlines[i] == model->deadlines[first] && model->starts[i] < model->starts[first]))
            first = i;
    }
    return first;
}

static void model_start(struct model *model, int i, uint64_t deadline_ns)
{
    model->deadlines[i] = deadline_ns;
    model->starts[i] = ++model->start;
    model->nodes[i].deadline_ns = deadline_ns;
    wheel_start(&model->wheel, &model->nodes[i], WHEEL_TIMER);
}

static void model_cancel(struct model *model, int i)
{
    model->starts[i] = 0;
    wheel_cancel(&model->wheel, &model->nodes[i]);
}

/* Lets the wheel expire and compares what comes with the model, one by one. */
static void model_expire(struct model *model)
{
    struct loop_timer_node due, *node;
    int                    first;

    node_list_init(&due);
    wheel_expire(&model->wheel, model->now, &due);
    while (!node_list_empty(&due)) {
        node = due.next;
        first = model_first(model);
        ck_assert_int_ge(first, 0);
        ck_assert_msg(node == &model->nodes[first], "node %d came, %d was the first", (int)(node - model->nodes),
                      first);
        ck_assert_uint_le(node->deadline_ns, model->now);
        model_cancel(model, first);
        model->fired++;
    }
    first = model_first(model);
    ck_assert_msg(first < 0 || model->deadlines[first] > model->now, "a due node did not come");
}

/* The wheel says when to look again: never after the earliest deadline, and not for ever if there is one. */
static void model_next(struct model *model)
{
    int      first = model_first(model);
    uint64_t next = wheel_next(&model->wheel);

    if (first < 0)
        ck_assert_uint_eq(next, UINT64_MAX);
    else
        ck_assert_uint_le(next, model->deadlines[first]);
}

static void model_run(uint64_t seed, uint64_t steps, unsigned bits_max)
{
    static struct model model;
    uint64_t            random = seed;

    memset(&model, 0, sizeof(model));
    model.now = test_random(&random) >> (64 - 40);
    wheel_init(&model.wheel, model.now);
    for (uint64_t step = 0; step < steps; step++) {
        int      i = (int)(test_random(&random) % MODEL_MAX);
        unsigned bits = (unsigned)(test_random(&random) % bits_max);
        uint64_t span = test_random(&random) & ((UINT64_C(1) << bits) - 1);

        switch (test_random(&random) % 8) {
        case 0:
        case 1:
        case 2:
            if (model.starts[i] == 0)
                model_start(&model, i, model.now + span);
            break;
        case 3: /* in the past */
            if (model.starts[i] == 0)
                model_start(&model, i, model.now > span ? model.now - span : 0);
            break;
        case 4: /* the same deadline as another */
            if (model.starts[i] == 0 && model.starts[(i + 1) % MODEL_MAX] != 0)
                model_start(&model, i, model.deadlines[(i + 1) % MODEL_MAX]);
            break;
        case 5:
            if (model.starts[i] != 0)
                model_cancel(&model, i);
            break;
        case 6:
            model.now += span;
            model_expire(&model);
            break;
        case 7: { /* exactly to the next time to look */
            uint64_t next = wheel_next(&model.wheel);

            model_next(&model);
            if (next != UINT64_MAX && next > model.now)
                model.now = next;
            model_expire(&model);
            break;
        }
        }
        model_next(&model);
    }
    for (int first; (first = model_first(&model)) >= 0;) {
        model.now = model.deadlines[first];
        model_expire(&model);
    }
    ck_assert_uint_eq(model.wheel.count, 0);
    ck_assert_uint_gt(model.fired, 0);
}

/* Goal: order and completeness over short spans. Method: random starts, cancels, steps against a sorted model. */
START_TEST(order_matches_a_model_near)
{
    uint64_t seed = test_env("TEST_SEED", 1) * 1000 + (uint64_t)_i;

    printf("wheel: seed %" PRIu64 "\n", seed);
    model_run(seed, 20000, 24);
}
END_TEST

/* Goal: the same across all levels. Method: spans up to 2^62 ns. */
START_TEST(order_matches_a_model_far)
{
    uint64_t seed = test_env("TEST_SEED", 1) * 2000 + (uint64_t)_i;

    printf("wheel: seed %" PRIu64 "\n", seed);
    for (uint64_t round = 0; round < 20; round++) /* the clock would run over in one long run */
        model_run(seed * 100 + round, 1000, 54);
}
END_TEST

/* Goal: waiting by wheel_next alone reaches each deadline without an endless number of looks. Method: crowded slots. */
START_TEST(next_makes_progress)
{
    static struct model model;
    unsigned            looks = 0;

    memset(&model, 0, sizeof(model));
    model.now = 12345;
    wheel_init(&model.wheel, model.now);
    for (int i = 0; i < MODEL_MAX; i++) /* many in one slot of a high level: the earliest is not searched for */
        model_start(&model, i, model.now + 3600 * LOOP_SECOND + (uint64_t)(MODEL_MAX - i));
    while (model_first(&model) >= 0) {
        uint64_t next = wheel_next(&model.wheel);

        ck_assert_uint_gt(next, model.now);
        model.now = next;
        model_expire(&model);
        ck_assert_uint_lt(++looks, MODEL_MAX + 64);
    }
}
END_TEST

/* Goal: the last representable time is a time. Method: UINT64_MAX as a deadline, and a look just before and at it. */
START_TEST(the_end_of_time)
{
    static struct model model;

    memset(&model, 0, sizeof(model));
    wheel_init(&model.wheel, 0);
    model_start(&model, 0, UINT64_MAX);
    model_start(&model, 1, UINT64_MAX - 1);
    model.now = UINT64_MAX - 1;
    model_expire(&model);
    ck_assert_uint_eq(model.fired, 1);
    model.now = UINT64_MAX;
    model_expire(&model);
    ck_assert_uint_eq(model.fired, 2);
}
END_TEST

/* Goal: a list of due nodes survives the cancel of any of them. Method: expire three, cancel the middle one. */
START_TEST(a_due_node_can_be_cancelled)
{
    static struct wheel    wheel;
    struct loop_timer_node nodes[3] = {0}, due;

    wheel_init(&wheel, 0);
    for (int i = 0; i < 3; i++) {
        nodes[i].deadline_ns = (uint64_t)i;
        wheel_start(&wheel, &nodes[i], i == 1 ? WHEEL_TIMER_UNREF : WHEEL_OP);
    }
    node_list_init(&due);
    wheel_expire(&wheel, 10, &due);
    ck_assert_int_eq(wheel_kind_of(&nodes[0]), WHEEL_OP);
    ck_assert_int_eq(wheel_kind_of(&nodes[1]), WHEEL_TIMER_UNREF);
    wheel_cancel(&wheel, &nodes[1]);
    ck_assert_ptr_eq(due.next, &nodes[0]);
    ck_assert_ptr_eq(due.next->next, &nodes[2]);
    ck_assert_uint_eq(wheel.count, 2);
}
END_TEST

/* Goal: a wheel whose time is set back keeps deadlines and order. Method: equal and different deadlines, started at one
 * time, drained and refilled at an earlier and a later one. */
START_TEST(refilled)
{
    static const uint64_t  deadlines[] = {5000, 3, 5000, UINT64_C(1) << 40, 3, 2000000, 0};
    static const int       expected[] = {6, 1, 4, 0, 2, 5, 3};
    static struct wheel    wheel;
    struct loop_timer_node nodes[TEST_COUNT(deadlines)] = {0}, due, drained;

    wheel_init(&wheel, UINT64_C(1) << 41);
    for (size_t i = 0; i < TEST_COUNT(deadlines); i++) {
        nodes[i].deadline_ns = (UINT64_C(1) << 41) + deadlines[i];
        wheel_start(&wheel, &nodes[i], WHEEL_WALL);
    }
    node_list_init(&due);
    node_list_init(&drained);
    wheel_drain(&wheel, &drained);
    wheel_refill(&wheel, &drained, _i == 0 ? 7 : UINT64_C(1) << 42);
    ck_assert_uint_eq(wheel.count, TEST_COUNT(deadlines));
    ck_assert_uint_le(wheel_next(&wheel), UINT64_C(1) << 41);
    for (uint64_t now = 8; now <= UINT64_C(1) << 41; now *= 2) { /* from the earlier time on, step by step */
        if (_i == 0)
            wheel_expire(&wheel, now - 1, &due);
        ck_assert(node_list_empty(&due));
    }
    wheel_expire(&wheel, UINT64_C(1) << 43, &due);
    for (size_t i = 0; i < TEST_COUNT(expected); i++) {
        ck_assert_ptr_eq(due.next, &nodes[expected[i]]);
        wheel_cancel(&wheel, due.next);
    }
    ck_assert_uint_eq(wheel.count, 0);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("wheel");
    TCase *tcase = test_case_without_ring(suite, "wheel");

    tcase_add_loop_test(tcase, order_matches_a_model_near, 0, 4);
    tcase_add_loop_test(tcase, order_matches_a_model_far, 0, 4);
    tcase_add_test(tcase, next_makes_progress);
    tcase_add_test(tcase, the_end_of_time);
    tcase_add_test(tcase, a_due_node_can_be_cancelled);
    tcase_add_loop_test(tcase, refilled, 0, 2);
    return suite;
}
