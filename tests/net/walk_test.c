/* tests/net/walk_test.c: going through what lives on a loop; closing it on the way; the dump. */
#include "tests/net/net_test.h"

#include <pthread.h>

enum { MANY = 300 };

struct zoo {
    struct loop         *loop;
    struct loop_listener listener;
    struct loop_stream   stream;
    struct loop_datagram datagram;
    struct loop_timer    timer, wall, far;
    struct loop_hook     hooks[3];
    struct test_log      log;
    int                  fds[2];
};

static void nothing_accepted(struct loop_listener *listener, int fd)
{
    (void)listener, (void)fd;
}

static void nothing_read(struct loop_stream *stream, const struct loop_result *result)
{
    (void)stream, (void)result;
}

static void nothing_fired(struct loop_timer *timer)
{
    (void)timer;
}

static void nothing_hooked(struct loop_hook *hook)
{
    (void)hook;
}

static void fill(struct zoo *zoo)
{
    struct loop_address                address = net_parse("127.0.0.1", 0);
    const struct loop_stream_options   options = {.flags = LOOP_STREAM_UNREF};
    const struct loop_stream_deadlines deadlines = {.idle_ns = 3600 * LOOP_SECOND};

    *zoo = (struct zoo){.loop = test_loop_new(NULL)};
    test_socketpair(zoo->fds);
    ck_assert_int_eq(loop_listener_start(zoo->loop, &zoo->listener, &address, NULL, nothing_accepted), 0);
    ck_assert_int_eq(loop_stream_open(zoo->loop, &zoo->stream, zoo->fds[0], &options), 0);
    ck_assert_int_eq(loop_stream_read_start(&zoo->stream, nothing_read), 0);
    ck_assert_int_eq(loop_stream_deadlines_set(&zoo->stream, &deadlines), 0); /* a timer nobody is to see */
    ck_assert_int_eq(loop_datagram_open(zoo->loop, &zoo->datagram, &address, NULL), 0);
    loop_timer_unref(&zoo->timer);
    ck_assert_int_eq(loop_timer_start(zoo->loop, &zoo->timer, 3600 * LOOP_SECOND, 0, nothing_fired), 0);
    ck_assert_int_eq(loop_timer_start(zoo->loop, &zoo->far, UINT64_MAX, 0, nothing_fired), 0);
    ck_assert_int_eq(loop_timer_start_wall(zoo->loop, &zoo->wall, UINT64_MAX / 2, 0, nothing_fired), 0);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(loop_hook_start(zoo->loop, &zoo->hooks[i], (enum loop_hook_kind)i, nothing_hooked), 0);
    ck_assert_int_gt(loop_poll_add(zoo->loop, zoo->fds[1], 0, test_log_cb, &zoo->log,
                                   LOOP_TERMS(.timeout_ns = 3600 * LOOP_SECOND, .flags = LOOP_BACKGROUND)),
                     0);
}

static void empty(struct zoo *zoo)
{
    test_loop_drop(zoo->loop);
    test_close(zoo->fds[1]);
}

/* ---- looking */

struct seen {
    const char *kind;
    const void *object;
    bool        active, closing, ref, fd;
    uint32_t    count;
};

static void look(struct loop *loop, const struct loop_walk_item *item, void *arg)
{
    struct seen *seen = arg;

    (void)loop;
    for (; seen->kind != NULL; seen++)
        if (seen->object == item->object) {
            ck_assert_str_eq(item->kind, seen->kind);
            ck_assert_msg(item->active == seen->active && item->closing == seen->closing && item->ref == seen->ref &&
                              (item->fd >= 0) == seen->fd,
                          "%s: active %d closing %d ref %d fd %d", item->kind, item->active, item->closing, item->ref,
                          item->fd);
            seen->count++;
            return;
        }
    ck_abort_msg("a %s that nobody knows", item->kind);
}

/* Goal: every object, hook and timer is told once, with its kind, its public structure and its state; nothing of the
 * library's own. Method: one of each, outside of runs; twice, since a walk must not change anything; then closing. */
START_TEST(all_are_seen)
{
    struct zoo  zoo;
    struct seen seen[] = {
        {"listener", &zoo.listener, true, false, true, true, 0},  {"stream", &zoo.stream, true, false, false, true, 0},
        {"datagram", &zoo.datagram, false, false, true, true, 0}, {"timer", &zoo.timer, true, false, false, false, 0},
        {"timer", &zoo.far, true, false, true, false, 0},         {"timer", &zoo.wall, true, false, true, false, 0},
        {"prepare", &zoo.hooks[0], true, false, true, false, 0},  {"check", &zoo.hooks[1], true, false, true, false, 0},
        {"idle", &zoo.hooks[2], true, false, true, false, 0},     {0},
    };

    fill(&zoo);
    for (uint32_t round = 1; round <= 2; round++) {
        ck_assert_int_eq(loop_walk(zoo.loop, look, seen), 0);
        for (size_t i = 0; seen[i].kind != NULL; i++)
            ck_assert_uint_eq(seen[i].count, round);
        test_turns(zoo.loop, 2);
    }
    ck_assert(loop_timer_active(&zoo.wall) && loop_timer_active(&zoo.far));
    loop_stream_close(&zoo.stream, NULL);
    seen[1].closing = true;
    seen[1].ref = true;
    ck_assert_int_eq(loop_listener_pause(&zoo.listener), 0);
    seen[0].active = false;
    ck_assert_int_eq(loop_walk(zoo.loop, look, seen), 0);
    ck_assert_uint_eq(seen[1].count, 3);
    ck_assert_int_eq(loop_walk(zoo.loop, NULL, NULL), -EINVAL);
    empty(&zoo);
}
END_TEST

/* Goal: a walk in a walk is refused. */
static void walk_inside(struct loop *loop, const struct loop_walk_item *item, void *arg)
{
    (void)item;
    ck_assert_int_eq(loop_walk(loop, walk_inside, arg), -EBUSY);
    ck_assert_int_eq(loop_dump(loop, loop_trace_to_file, stderr), -EBUSY);
    ck_assert_uint_eq(loop_backend_timeout(loop), 0);
    ++*(uint32_t *)arg;
}

START_TEST(one_at_a_time)
{
    struct zoo zoo;
    uint32_t   count = 0;

    fill(&zoo);
    ck_assert_int_eq(loop_walk(zoo.loop, walk_inside, &count), 0);
    ck_assert_uint_eq(count, 9);
    empty(&zoo);
}
END_TEST

/* ---- closing */

static void close_it(struct loop *loop, const struct loop_walk_item *item, void *arg)
{
    (void)loop, (void)arg;
    loop_walk_close(item);
}

static void shut_down(struct loop_timer *timer)
{
    ck_assert_int_eq(loop_walk(loop_timer_loop(timer), close_it, NULL), 0);
}

/* Goal: a loop is shut down by a walk that closes all, from a callback, with requests for names in progress and timers
 * that are due in that turn. Method: two timers due at once, the first walks; the run ends by itself, the second does
 * not fire. */
static void nobody(struct loop_timer *timer)
{
    (void)timer;
    ck_abort_msg("it was stopped");
}

static void resolved(struct loop_resolve *request, int error, const struct loop_address *addresses, size_t count)
{
    (void)addresses, (void)count;
    ck_assert_int_eq(error, -ECANCELED);
    ++*(uint32_t *)request->data;
}

START_TEST(shutdown_by_a_walk)
{
    struct zoo          zoo;
    struct loop_timer   first = {0}, second = {0};
    uint32_t            count = 0;
    struct loop_resolve request = {.data = &count};

    fill(&zoo);
    ck_assert_int_eq(loop_resolve_start(zoo.loop, &request, "127.0.0.1", NULL, NULL, resolved), 0);
    ck_assert_int_eq(loop_walk(zoo.loop, close_it, NULL), 0);
    ck_assert_int_eq(loop_run(zoo.loop, LOOP_RUN_DEFAULT), 0);
    ck_assert_uint_eq(count, 1);
    empty(&zoo);

    fill(&zoo);
    ck_assert_int_eq(loop_timer_start(zoo.loop, &first, 0, 0, shut_down), 0);
    ck_assert_int_eq(loop_timer_start(zoo.loop, &second, 0, 0, nobody), 0);
    ck_assert_int_eq(loop_run(zoo.loop, LOOP_RUN_DEFAULT), 0);
    ck_assert(!loop_timer_active(&second) && !loop_timer_active(&zoo.wall) && !loop_timer_active(&zoo.far));
    ck_assert_ptr_null(loop_listener_loop(&zoo.listener));
    ck_assert_ptr_null(loop_datagram_loop(&zoo.datagram));
    empty(&zoo);
}
END_TEST

/* ---- meddling */

struct crowd {
    struct loop       *loop;
    uint64_t           seed;
    uint32_t           calls;
    struct loop_timer *timers[MANY];
    struct loop_hook  *hooks[MANY];
};

static uint64_t any_delay(struct crowd *crowd)
{
    return LOOP_SECOND << test_random(&crowd->seed) % 20;
}

static void renew(struct crowd *crowd, size_t i)
{
    if (crowd->timers[i] != NULL) {
        loop_timer_stop(crowd->timers[i]);
        loop_hook_stop(crowd->hooks[i]);
        memset(crowd->timers[i], 0xa5, sizeof(*crowd->timers[i]));
        memset(crowd->hooks[i], 0xa5, sizeof(*crowd->hooks[i]));
        free(crowd->timers[i]);
        free(crowd->hooks[i]);
    }
    crowd->timers[i] = calloc(1, sizeof(*crowd->timers[i]));
    crowd->hooks[i] = calloc(1, sizeof(*crowd->hooks[i]));
    ck_assert(crowd->timers[i] != NULL && crowd->hooks[i] != NULL);
    if (i % 2 == 0)
        ck_assert_int_eq(loop_timer_start(crowd->loop, crowd->timers[i], any_delay(crowd), 0, nothing_fired), 0);
    else
        ck_assert_int_eq(loop_timer_start_wall(crowd->loop, crowd->timers[i], UINT64_MAX / 2 + i, 1 + any_delay(crowd),
                                               nothing_fired),
                         0);
    ck_assert_int_eq(loop_hook_start(crowd->loop, crowd->hooks[i], (enum loop_hook_kind)(test_random(&crowd->seed) % 3),
                                     nothing_hooked),
                     0);
}

static void meddle(struct loop *loop, const struct loop_walk_item *item, void *arg)
{
    struct crowd *crowd = arg;

    (void)loop, (void)item;
    crowd->calls++;
    renew(crowd, test_random(&crowd->seed) % MANY);
}

/* Goal: the callback may stop, free and start timers and hooks at random; what is left untouched is told once, and
 * nothing comes without an end. Method: poison what is freed. */
START_TEST(meddling)
{
    struct crowd crowd = {.loop = test_loop_new(NULL), .seed = test_env("TEST_SEED", 11)};

    for (size_t i = 0; i < MANY; i++)
        renew(&crowd, i);
    for (int round = 0; round < 20; round++) {
        crowd.calls = 0;
        ck_assert_int_eq(loop_walk(crowd.loop, meddle, &crowd), 0);
        ck_assert_uint_ge(crowd.calls, MANY / 4);
        ck_assert_uint_le(crowd.calls, 2 * MANY);
        test_turns(crowd.loop, 1);
    }
    for (size_t i = 0; i < MANY; i++) {
        ck_assert(loop_timer_active(crowd.timers[i]));
        loop_timer_stop(crowd.timers[i]);
        loop_hook_stop(crowd.hooks[i]);
        free(crowd.timers[i]);
        free(crowd.hooks[i]);
    }
    ck_assert(!loop_alive(crowd.loop));
    test_loop_free(crowd.loop);
}
END_TEST

/* Goal: objects opened by the callback do not make a walk endless. */
struct opener {
    struct loop_datagram sockets[8];
    uint32_t             opened, calls;
};

static void open_more(struct loop *loop, const struct loop_walk_item *item, void *arg)
{
    struct opener *opener = arg;

    (void)item;
    opener->calls++;
    ck_assert_uint_lt(opener->opened, TEST_COUNT(opener->sockets));
    ck_assert_int_eq(loop_datagram_open(loop, &opener->sockets[opener->opened++], NULL, NULL), 0);
}

START_TEST(opening_more)
{
    struct loop  *loop = test_loop_new(NULL);
    struct opener opener = {0};

    ck_assert_int_eq(loop_datagram_open(loop, &opener.sockets[opener.opened++], NULL, NULL), 0);
    for (uint32_t i = 0, expected = 0; i < 3; i++) {
        expected += opener.opened;
        ck_assert_int_eq(loop_walk(loop, open_more, &opener), 0);
        ck_assert_uint_eq(opener.calls, expected);
    }
    test_loop_drop(loop);
}
END_TEST

/* ---- operations */

struct ops {
    uint32_t polls, receives, others, of_objects, refs;
    int      fd;
};

static void look_at_op(struct loop *loop, const struct loop_walk_op *op, void *arg)
{
    struct ops *ops = arg;

    if (op->opcode == LOOP_OP_POLL_ADD && op->fd == ops->fd) {
        ops->polls++;
        ck_assert_str_eq(op->name, "poll_add");
        ck_assert(!op->of_object && !op->ref && !op->canceled);
        ck_assert_int_eq(loop_op_ref(loop, op->id), 0);
    } else if (op->opcode == LOOP_OP_RECV) {
        ops->receives++;
        ck_assert_int_eq(loop_op_ref(loop, op->id), -ENOENT);
    } else {
        ops->others++;
    }
    ops->of_objects += op->of_object;
    ops->refs += op->ref;
}

/* Goal: operations in flight are told with their descriptor and flags, those of objects marked. */
START_TEST(operations)
{
    struct zoo zoo;
    struct ops ops = {0};

    fill(&zoo);
    ops.fd = zoo.fds[1];
    test_turns(zoo.loop, 2);
    ck_assert_int_eq(loop_walk_ops(zoo.loop, look_at_op, &ops), 0);
    ck_assert_uint_eq(ops.polls, 1);
    ck_assert_uint_eq(ops.receives, 1);
    ck_assert_uint_eq(ops.others, 1);
    ck_assert_uint_eq(ops.of_objects, 2);
    ck_assert_uint_eq(ops.refs, 0);
    ck_assert_int_eq(loop_walk_ops(zoo.loop, NULL, NULL), -EINVAL);
    empty(&zoo);
}
END_TEST

/* ---- the dump */

struct text {
    char   bytes[4096];
    size_t size;
};

static void add_line(struct loop *loop, const char *line, size_t size, void *arg)
{
    struct text *text = arg;

    (void)loop;
    ck_assert_uint_eq(strlen(line), size);
    ck_assert_uint_lt(text->size + size + 2, sizeof(text->bytes));
    text->size += (size_t)snprintf(text->bytes + text->size, sizeof(text->bytes) - text->size, "%s\n", line);
}

/* Goal: the dump names everything that lives, and says what keeps the loop. */
static int32_t hold(void *arg)
{
    int *fd = arg;
    char byte;

    test_read(*fd, &byte, 1);
    return 0;
}

static void work_ended(struct loop *loop, const struct loop_result *result, void *arg)
{
    (void)loop;
    ck_assert(result->res == 0 || result->res == -ECANCELED); /* it may not have begun */
    test_close(*(int *)arg);
}

START_TEST(dump)
{
    static const char *const words[] = {"alive; keep it alive: 1 of 4 operations, 2 timers, 5 objects and hooks",
                                        "  listener 0x",
                                        "  stream 0x",
                                        "  datagram 0x",
                                        "unref",
                                        "  timer 0x",
                                        "  prepare 0x",
                                        "  idle 0x",
                                        "  check 0x",
                                        "  operation poll_add: 1, 0 ref",
                                        "  operation recv: 1, 0 ref",
                                        "  operation accept: 1, 0 ref",
                                        "  operation work: 1, 1 ref"};
    struct zoo               zoo;
    struct text              text = {0};
    int                      pipe_fds[2];

    fill(&zoo);
    test_pipe(pipe_fds);
    ck_assert_int_gt(loop_work(zoo.loop, LOOP_WORK_DEFAULT, hold, work_ended, &pipe_fds[0], NULL), 0);
    test_turns(zoo.loop, 2);
    ck_assert_int_eq(loop_dump(zoo.loop, add_line, &text), 0);
    for (size_t i = 0; i < TEST_COUNT(words); i++)
        ck_assert_msg(strstr(text.bytes, words[i]) != NULL, "%s is missing in:\n%s", words[i], text.bytes);
    ck_assert_int_eq(loop_dump(zoo.loop, NULL, NULL), -EINVAL);
    test_write(pipe_fds[1], "x", 1);
    test_close(pipe_fds[1]);
    empty(&zoo);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("walk");
    TCase *tcase = test_case(suite, "walk");

    tcase_add_test(tcase, all_are_seen);
    tcase_add_test(tcase, one_at_a_time);
    tcase_add_test(tcase, shutdown_by_a_walk);
    tcase_add_test(tcase, meddling);
    tcase_add_test(tcase, opening_more);
    tcase_add_test(tcase, operations);
    tcase_add_test(tcase, dump);
    return suite;
}
