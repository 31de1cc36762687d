/* tests/loop/random_test.c: random operations, chains, cancels, deadlines and buffers, from a seed.
 *
 * Each seed is a test of its own, named by _i; TEST_SEED=n runs that one alone. */
#include "tests/support/test.h"

enum { SEEDS = 128, OPS = 200, PAIRS = 6, KEPT_MAX = 64, TURNS = 150, CHAIN_MAX = 4 };

enum kind { KIND_NOP, KIND_RECV, KIND_MULTISHOT, KIND_SENDMSG, KIND_SEND, KINDS };

struct op {
    loop_id   id;
    enum kind kind;
    bool      live, chained, in_open_chain, canceled;
    uint64_t  timeout_ns;
    uint32_t  tag; /* what its extra data must be; 0: it has none */
    char      bytes[64];
};

static struct world {
    struct loop *loop;
    uint64_t     seed, random;
    struct op    ops[OPS];
    int          pairs[PAIRS][2];
    loop_buffer  kept[KEPT_MAX];
    uint32_t     kept_count, tags;
    uint64_t     started, ended;
    bool         quiet, destroying;
} world;

#define wrong(...)                                                                                                     \
    do {                                                                                                               \
        printf("TEST_SEED=%" PRIu64 "\n", world.seed);                                                                 \
        fflush(stdout);                                                                                                \
        ck_abort_msg(__VA_ARGS__);                                                                                     \
    } while (0)

static uint32_t below(uint32_t limit)
{
    return (uint32_t)(test_random(&world.random) % limit);
}

static void act(void);

static void check_result(const struct op *op, const struct loop_result *result)
{
    bool timed_out = (result->flags & LOOP_TIMED_OUT) != 0;

    if (!op->live)
        wrong("kind %d: a callback after the final one, or of a chain that was dropped", (int)op->kind);
    if (result->id != op->id)
        wrong("kind %d: the id is %" PRId64 ", not %" PRId64, (int)op->kind, result->id, op->id);
    if (result->res < 0 && result->res != -ECANCELED && result->res != -ETIMEDOUT)
        wrong("kind %d: res %d", (int)op->kind, result->res);
    if ((timed_out || result->res == -ETIMEDOUT) && op->timeout_ns == 0)
        wrong("kind %d: timed out without a deadline", (int)op->kind);
    if (result->res == -ETIMEDOUT && !timed_out)
        wrong("kind %d: -ETIMEDOUT without the flag", (int)op->kind);
    if (result->res == -ECANCELED && !op->canceled && !op->chained && !world.destroying)
        wrong("kind %d: cancelled by nobody", (int)op->kind);
    if ((result->flags & LOOP_MORE) && (op->kind != KIND_MULTISHOT || result->res <= 0))
        wrong("kind %d: LOOP_MORE with res %d", (int)op->kind, result->res);
    if ((result->extra != NULL) != (op->tag != 0) ||
        (op->tag != 0 && memcmp(result->extra, &op->tag, sizeof(op->tag)) != 0))
        wrong("kind %d: the extra data is not its own", (int)op->kind);
}

static void op_cb(struct loop *loop, const struct loop_result *result, void *arg)
{
    struct op *op = arg;

    check_result(op, result);
    if ((result->flags & LOOP_BUFFER) && !world.quiet && world.kept_count < KEPT_MAX && below(3) == 0) {
        if (loop_buffer_keep(loop, result->buffer) != 0)
            wrong("a lent buffer can't be kept");
        world.kept[world.kept_count++] = result->buffer;
    }
    if ((result->flags & LOOP_MORE) == 0) {
        op->live = false;
        world.ended++;
    }
    if (!world.quiet && below(3) == 0)
        act();
}

static loop_buffer take_kept(void)
{
    uint32_t    i = below(world.kept_count);
    loop_buffer buffer = world.kept[i];

    world.kept[i] = world.kept[--world.kept_count];
    return buffer;
}

static struct loop_terms random_terms(enum kind kind, bool chained)
{
    struct loop_terms terms = {0};

    if (below(3) == 0)
        terms.timeout_ns = 1 + below(5 * (uint32_t)LOOP_MILLISECOND);
    if (below(3) == 0)
        terms.flags |= LOOP_LINKED_TIMEOUT;
    if (below(4) == 0)
        terms.flags |= LOOP_EXTENDED;
    if (!chained && below(5) == 0)
        terms.flags |= LOOP_BACKGROUND;
    if (kind != KIND_MULTISHOT && below(8) == 0)
        terms.flags |= LOOP_ASYNC;
    return terms;
}

static loop_id start(struct op *op, enum kind kind, const struct loop_terms *terms)
{
    uint32_t      pair = below(PAIRS);
    struct iovec  iov[6];
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 1 + below(TEST_COUNT(iov))};

    switch (kind) {
    case KIND_NOP: return loop_nop(world.loop, op_cb, op, terms);
    case KIND_RECV: return loop_recv(world.loop, world.pairs[pair][0], op->bytes, 8, 0, op_cb, op, terms);
    case KIND_MULTISHOT: return loop_recv_multishot(world.loop, world.pairs[pair][0], 0, 0, op_cb, op, terms);
    case KIND_SEND: return loop_send(world.loop, world.pairs[pair][1], op->bytes, 1 + below(60), 0, op_cb, op, terms);
    case KIND_SENDMSG:
        for (size_t i = 0; i < TEST_COUNT(iov); i++)
            iov[i] = (struct iovec){.iov_base = op->bytes, .iov_len = 1 + below(8)};
        return loop_sendmsg(world.loop, world.pairs[pair][1], &msg, 0, op_cb, op, terms);
    case KINDS: break;
    }
    return -EINVAL;
}

/* Starts an operation; NULL if it was refused, or there is no place for it. */
static struct op *act_start(bool chained)
{
    struct op        *op = &world.ops[below(OPS)];
    enum kind         kind = (enum kind)below(KINDS);
    struct loop_terms terms = random_terms(kind, chained);
    bool              plain = below(2) == 0;
    uint32_t          tag = 0;
    loop_id           id;

    if (op->live || (chained && kind == KIND_MULTISHOT))
        return NULL;
    if (plain) {
        terms = (struct loop_terms){0};
    } else {
        if (below(3) == 0) {
            tag = ++world.tags;
            terms.data = &tag;
            terms.data_size = sizeof(tag);
        }
        if (!chained && world.kept_count > 0 && below(2) == 0)
            terms.release = take_kept();
    }
    id = start(op, kind, plain ? NULL : &terms);
    if (id <= 0) {
        if (id != -ENOBUFS && id != -E2BIG && id != -ECANCELED)
            wrong("kind %d is refused: %" PRId64, (int)kind, id);
        if (terms.release != 0)
            world.kept[world.kept_count++] = terms.release;
        return NULL;
    }
    op->id = id;
    op->kind = kind;
    op->live = true;
    op->chained = op->in_open_chain = chained;
    op->canceled = false;
    op->timeout_ns = terms.timeout_ns;
    op->tag = tag;
    world.started++;
    return op;
}

static void cancel(struct op *op)
{
    int r = loop_cancel(world.loop, op->id);

    if (r != 0)
        wrong("kind %d: an operation in flight can't be cancelled: %d", (int)op->kind, r);
    op->canceled = true;
}

static void act_chain(void)
{
    uint32_t count = 1 + below(CHAIN_MAX);
    bool     dropped;

    if (loop_chain_begin(world.loop, count, below(2)) != 0)
        wrong("no chain can be begun");
    for (uint32_t i = 0; i < count + (below(6) == 0); i++) { /* seldom one too many */
        struct op *op = act_start(true);

        if (op != NULL && below(6) == 0)
            cancel(op);
    }
    if (below(8) == 0)
        (void)loop_recv(world.loop, -1, &count, 1, 0, op_cb, NULL, NULL);
    if (below(8) == 0)
        (void)loop_recv(world.loop, -1, &count, 1, 0, op_cb, NULL, LOOP_TERMS(.flags = LOOP_UNCHAINED));
    dropped = loop_chain_end(world.loop) < 0;
    for (uint32_t i = 0; i < OPS; i++) {
        struct op *op = &world.ops[i];

        if (dropped && op->live && op->in_open_chain) {
            op->live = false;
            world.started--;
        }
        op->in_open_chain = false;
    }
}

static void act(void)
{
    struct op *op = &world.ops[below(OPS)];
    char       bytes[4096] = {0};

    switch (below(8)) {
    case 0:
    case 1: (void)act_start(false); break;
    case 2:
        if (op->live)
            cancel(op);
        break;
    case 3: act_chain(); break;
    case 4:
        if (world.kept_count > 0 && loop_buffer_return(world.loop, take_kept()) != 0)
            wrong("a kept buffer can't be returned");
        break;
    case 5: (void)send(world.pairs[below(PAIRS)][1], bytes, 1 + below(99), MSG_DONTWAIT); break;
    case 6: (void)recv(world.pairs[below(PAIRS)][0], bytes, sizeof(bytes), MSG_DONTWAIT); break;
    case 7:
        if (below(4) == 0)
            (void)loop_submit(world.loop);
        break;
    }
}

static void act_timer(struct loop_timer *timer)
{
    (void)timer;
    for (int i = 0; i < 3; i++)
        act();
}

/* All that is left is cancelled, and must end. */
static void cancel_all(void)
{
    uint64_t until = test_clock() + 15 * LOOP_SECOND;

    for (uint32_t i = 0; i < OPS; i++)
        if (world.ops[i].live)
            cancel(&world.ops[i]);
    while (test_stats(world.loop).ops_in_flight > 0) {
        test_turns(world.loop, 1);
        if (test_clock() < until)
            continue;
        for (uint32_t i = 0; i < OPS; i++)
            if (world.ops[i].live)
                wrong("kind %d (chained %d, deadline %" PRIu64 " ns) does not end after its cancel",
                      (int)world.ops[i].kind, world.ops[i].chained, world.ops[i].timeout_ns);
        wrong("%" PRIu64 " operations that nobody has started are in flight", test_stats(world.loop).ops_in_flight);
    }
    if (world.started != world.ended)
        wrong("%" PRIu64 " were started, %" PRIu64 " have ended", world.started, world.ended);
}

/* Goal: every operation that was started ends once, in a way that somebody has asked for, and nothing is left behind,
 * whatever was done meanwhile. Method: random acts from callbacks and timers on loops with few places for anything; in
 * the end all is cancelled (odd seeds), or the loop destroyed as it is. */
START_TEST(random_use)
{
    struct loop_timer   timer = {0};
    struct loop_options options = {
        .sq_entries = 8, .ops_max = 60, .buffer_size = 64, .buffer_count = 4, .allocator = test_allocator()};

    world.seed = world.random = (uint64_t)_i;
    if (below(2) == 0)
        options.cq_entries = 8;
    if (below(3) == 0)
        options.submit.batch = 3;
    if (below(4) == 0)
        options.submit.deadline_ns = 1000;
    world.loop = test_loop_new(&options);
    for (int i = 0; i < PAIRS; i++)
        test_socketpair(world.pairs[i]);
    for (int i = 0; i < 10; i++)
        act();
    ck_assert_int_eq(loop_timer_start(world.loop, &timer, 0, 100 * LOOP_MICROSECOND, act_timer), 0);
    for (int i = 0; i < TURNS; i++) {
        (void)loop_run(world.loop, LOOP_RUN_ONCE);
        test_turns(world.loop, 1);
    }
    loop_timer_stop(&timer);
    world.quiet = true;
    if (_i % 2 == 1)
        cancel_all();
    world.destroying = true;
    test_loop_drop(world.loop);
    if (world.started != world.ended)
        wrong("%" PRIu64 " were started, %" PRIu64 " have ended by the end", world.started, world.ended);
    for (int i = 0; i < PAIRS; i++) {
        test_close(world.pairs[i][0]);
        test_close(world.pairs[i][1]);
    }
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("random");
    TCase *tcase = test_case(suite, "random");
    int    seed = (int)(test_env("TEST_SEED", 0) & INT32_MAX);

    tcase_add_loop_test(tcase, random_use, seed == 0 ? 1 : seed, (seed == 0 ? SEEDS : seed) + 1);
    return suite;
}
