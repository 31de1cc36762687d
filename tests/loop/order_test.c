/* tests/loop/order_test.c: the order of a turn, as loop.h states it. */
#include "tests/support/test.h"

enum { TURNS = 2000, TURN_MAX = 64 };

/* What is called in a turn, in the order in which it may be. */
static const char ranks[] = "ipkowxct";

struct world {
    struct loop       *loop;
    struct loop_hook   idle, prepare, check;
    struct loop_timer  timer;
    struct loop_stream stream;
    int                fds[2];
    char               turn[TURN_MAX]; /* this one's letters */
    uint32_t           length, turns;
    uint32_t           seen[sizeof(ranks)];
    bool               working;
};

static void note(struct world *world, char letter)
{
    ck_assert_uint_lt(world->length, TURN_MAX - 1);
    world->turn[world->length++] = letter;
    world->turn[world->length] = '\0';
    world->seen[strchr(ranks, letter) - ranks]++;
}

static void op_done(struct loop *loop, const struct loop_result *result, void *arg)
{
    (void)loop;
    ck_assert_int_eq(result->res, 0);
    note(arg, 'o');
}

static void work_done(struct loop *loop, const struct loop_result *result, void *arg)
{
    struct world *world = arg;

    (void)loop;
    ck_assert_int_eq(result->res, 0);
    world->working = false;
    note(world, 'w');
}

static int32_t work(void *arg)
{
    (void)arg;
    return 0;
}

static void posted(struct loop *loop, void *arg)
{
    (void)loop;
    note(arg, 'x');
}

static void fired(struct loop_timer *timer)
{
    note(timer->data, 't');
}

static void closed(struct loop_stream *stream)
{
    note(stream->data, 'k');
}

static void idle(struct loop_hook *hook)
{
    struct world *world = hook->data;

    /* The turn before is over. */
    for (uint32_t i = 1; i < world->length; i++)
        ck_assert_msg(strchr(ranks, world->turn[i - 1]) <= strchr(ranks, world->turn[i]), "turn %u went %s",
                      world->turns, world->turn);
    world->turns++;
    world->length = 0;
    note(world, 'i');
}

/* All of it shall come in this very turn, but for the result of work, which comes when it comes. */
static void prepare(struct loop_hook *hook)
{
    struct world *world = hook->data;

    note(world, 'p');
    ck_assert_int_gt(loop_nop(world->loop, op_done, world, NULL), 0);
    ck_assert_int_eq(loop_post(world->loop, posted, world), 0);
    ck_assert_int_eq(loop_timer_start(world->loop, &world->timer, 0, 0, fired), 0);
    test_socketpair(world->fds);
    world->stream = (struct loop_stream){.data = world};
    ck_assert_int_eq(loop_stream_open(world->loop, &world->stream, world->fds[0], NULL), 0);
    loop_stream_close(&world->stream, closed);
    test_close(world->fds[1]);
    if (!world->working)
        ck_assert_int_gt(loop_work(world->loop, LOOP_WORK_DEFAULT, work, work_done, world, NULL), 0);
    world->working = true;
}

static void check(struct loop_hook *hook)
{
    note(hook->data, 'c');
}

/* Goal: a turn goes as loop.h says. Method: one of each kind in every turn, all started by a prepare hook; each letter
 * once a turn, in the order of the ranks; until results of work have come ten times. */
START_TEST(order_of_a_turn)
{
    struct world world = {.loop = test_loop_new(NULL)};

    world.idle.data = world.prepare.data = world.check.data = world.timer.data = &world;
    ck_assert_int_eq(loop_hook_start(world.loop, &world.check, LOOP_HOOK_CHECK, check), 0);
    ck_assert_int_eq(loop_hook_start(world.loop, &world.prepare, LOOP_HOOK_PREPARE, prepare), 0);
    ck_assert_int_eq(loop_hook_start(world.loop, &world.idle, LOOP_HOOK_IDLE, idle), 0);
    while (world.turns < TURNS && world.seen[strchr(ranks, 'w') - ranks] < 10) {
        ck_assert_int_eq(loop_run(world.loop, LOOP_RUN_NOWAIT), 1);
        if (!world.working)
            ck_assert_ptr_nonnull(strchr(world.turn, 'w'));
        ck_assert_uint_eq(strspn(world.turn, "ipko"), 4);
        if (world.working)
            test_sleep(LOOP_MILLISECOND / 10);
    }
    ck_assert_uint_lt(world.turns, TURNS);
    for (const char *letter = ranks; *letter != '\0'; letter++)
        if (*letter != 'w')
            ck_assert_msg(world.seen[letter - ranks] == world.turns, "%c: %u times in %u turns", *letter,
                          world.seen[letter - ranks], world.turns);
    loop_hook_stop(&world.prepare);
    loop_hook_stop(&world.check);
    loop_hook_stop(&world.idle);
    test_run(world.loop);
    test_loop_free(world.loop);
}
END_TEST

/* Goal: what a prepare hook writes leaves with the enter that waits. Method: the hook writes to a stream; the check
 * hook of the same turn finds the byte at the other end, after one enter. */
struct writer {
    struct loop_stream stream;
    int                peer;
    uint64_t           enters;
    bool               arrived;
};

static void write_it(struct loop_hook *hook)
{
    struct writer *writer = hook->data;

    writer->enters = test_stats(loop_hook_loop(hook)).enters;
    ck_assert_int_eq(loop_stream_write(&writer->stream, "x", 1, NULL, NULL, NULL), 0);
    loop_hook_stop(hook);
}

static void look_for_it(struct loop_hook *hook)
{
    struct writer *writer = hook->data;
    char           byte;

    writer->arrived = recv(writer->peer, &byte, 1, MSG_DONTWAIT) == 1;
    ck_assert_uint_eq(test_stats(loop_hook_loop(hook)).enters, writer->enters + 1);
    loop_hook_stop(hook);
}

START_TEST(writes_of_prepare_leave_at_once)
{
    struct loop     *loop = test_loop_new(NULL);
    struct writer    writer = {0};
    struct loop_hook before = {.data = &writer}, after = {.data = &writer};
    int              fds[2];

    test_socketpair(fds);
    writer.peer = fds[1];
    ck_assert_int_eq(loop_stream_open(loop, &writer.stream, fds[0], NULL), 0);
    test_turns(loop, 3);
    ck_assert_int_eq(loop_hook_start(loop, &before, LOOP_HOOK_PREPARE, write_it), 0);
    ck_assert_int_eq(loop_hook_start(loop, &after, LOOP_HOOK_CHECK, look_for_it), 0);
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_ONCE), 1);
    ck_assert(writer.arrived);
    loop_stream_close(&writer.stream, NULL);
    test_run(loop);
    test_loop_free(loop);
    test_close(fds[1]);
}
END_TEST

/* Goal: loop_dispatch() calls no hooks. */
static void never(struct loop_hook *hook)
{
    (void)hook;
    ck_abort_msg("a hook was called");
}

START_TEST(dispatch_calls_none)
{
    struct loop     *loop = test_loop_new(NULL);
    struct loop_hook hooks[3] = {0};
    struct test_log  log = {0};

    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(loop_hook_start(loop, &hooks[i], (enum loop_hook_kind)i, never), 0);
    ck_assert_int_gt(loop_nop(loop, test_log_cb, &log, NULL), 0);
    ck_assert_int_eq(loop_dispatch(loop, LOOP_SECOND), 1);
    test_log_is(&log, 0);
    test_loop_drop(loop);
    for (int i = 0; i < 3; i++)
        ck_assert(!loop_hook_active(&hooks[i]));
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("order");
    TCase *tcase = test_case(suite, "turn");

    tcase_add_test(tcase, order_of_a_turn);
    tcase_add_test(tcase, writes_of_prepare_leave_at_once);
    tcase_add_test(tcase, dispatch_calls_none);
    return suite;
}
