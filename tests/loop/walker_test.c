/* tests/loop/walker_test.c: walks over objects that go away inside the call that ends them; inside the library. */
#include "loop/loop_private.h"
#include "tests/support/test.h"

enum { THINGS = 5 };

/* Its object stands neither first nor where others have it. */
struct thing {
    void              *data;
    char               name;
    struct loop_object object;
};

static void thing_close(struct loop_object *object)
{
    struct thing *thing = container_of(object, struct thing, object);

    object_gone(object, true);
    memset(thing, 0xa5, sizeof(*thing));
}

static const struct loop_object_class thing_class = {
    .name = "thing", .close = thing_close, .offset = offsetof(struct thing, object)};

struct plan {
    struct thing *things;
    char          seen[THINGS + 1];
    uint32_t      count;
    const char   *ends[THINGS]; /* by the name of the thing that is told: which are closed then */
};

static void tell(struct loop *loop, const struct loop_walk_item *item, void *arg)
{
    struct plan  *plan = arg;
    struct thing *thing = item->object;
    const char   *ends = plan->ends[thing->name - 'a'];

    (void)loop;
    ck_assert_str_eq(item->kind, "thing");
    ck_assert(item->active && item->ref && !item->closing && item->fd == -1);
    ck_assert_uint_lt(plan->count, THINGS);
    plan->seen[plan->count++] = thing->name;
    for (; ends != NULL && *ends != '\0'; ends++)
        if (*ends == thing->name)
            loop_walk_close(item);
        else
            thing_close(&plan->things[*ends - 'a'].object);
}

/* Goal: each object that is still there is told once, whichever go away on the way. Method: a table of who closes whom.
 */
START_TEST(objects_go_away)
{
    static const struct {
        const char *ends[THINGS], *seen;
    } table[] = {
        {{NULL}, "abcde"},
        {{"a", "b", "c", "d", "e"}, "abcde"},
        {{"b"}, "acde"},
        {{"bcd"}, "ae"},
        {{"bcde"}, "a"},
        {{"e"}, "abcd"},
        {{"de", "a"}, "abc"},
        {{"abcde"}, "a"},
        {{NULL, NULL, "ae"}, "abcd"},
        {{NULL, NULL, NULL, "e"}, "abcd"},
        {{NULL, NULL, NULL, NULL, "abcd"}, "abcde"},
    };

    for (size_t row = 0; row < TEST_COUNT(table); row++) {
        struct loop *loop = test_loop_new(NULL);
        struct thing things[THINGS] = {0};
        struct plan  plan = {.things = things};

        memcpy(plan.ends, table[row].ends, sizeof(plan.ends));
        for (size_t i = 0; i < THINGS; i++) {
            things[i].name = (char)('a' + i);
            object_open(loop, &things[i].object, &thing_class, true);
        }
        ck_assert_int_eq(loop_walk(loop, tell, &plan), 0);
        ck_assert_msg(strcmp(plan.seen, table[row].seen) == 0, "row %zu: %s", row, plan.seen);
        test_loop_drop(loop);
    }
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("walker");
    TCase *tcase = test_case(suite, "walker");

    tcase_add_test(tcase, objects_go_away);
    return suite;
}
