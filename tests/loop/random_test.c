/* tests/loop/random_test.c: random operations of all kinds, chains, barriers, pauses, cancels by all ways, deadlines,
 * buffers, work and transfers of files, from a seed; some of them short of memory.
 *
 * Each seed is a test of its own, named by _i; TEST_SEED=n runs that one alone. */
#include "tests/support/test.h"

#include <liburing.h>
#include <poll.h>
#include <sys/mman.h>

enum { SEEDS = 128, OPS = 200, PAIRS = 6, KEPT_MAX = 64, TURNS = 150, CHAIN_MAX = 4, TRANSFERS = 2, FILE_BYTES = 9000 };
enum { PAIR_DATAGRAMS = 3, PAIR_TCP = 4 }; /* from there on; in front of them streams of AF_UNIX */

enum kind {
    KIND_NOP,
    KIND_RECV,
    KIND_SENDMSG,
    KIND_SEND,
    KIND_POLL,
    KIND_RECVMSG,
    KIND_LEND,
    KIND_TIMEOUT,
    KIND_ZERO_COPY,
    KIND_LINK_TIMEOUT, /* in chains only */
    KIND_CHAINABLE,    /* up to here */
    KIND_WORK = KIND_CHAINABLE,
    KIND_DIRECT,
    KIND_MULTISHOT, /* from here on they may go on */
    KIND_MESSAGES,
    KIND_EDGE,
    KIND_LEVEL,
    KIND_TICKS,
    KINDS
};

static const uint8_t opcodes[KINDS] = {
    [KIND_NOP] = IORING_OP_NOP,
    [KIND_RECV] = IORING_OP_RECV,
    [KIND_SENDMSG] = IORING_OP_SENDMSG,
    [KIND_SEND] = IORING_OP_SEND,
    [KIND_POLL] = IORING_OP_POLL_ADD,
    [KIND_RECVMSG] = IORING_OP_RECVMSG,
    [KIND_LEND] = IORING_OP_RECV,
    [KIND_TIMEOUT] = IORING_OP_TIMEOUT,
    [KIND_ZERO_COPY] = IORING_OP_SEND_ZC,
    [KIND_LINK_TIMEOUT] = IORING_OP_LINK_TIMEOUT,
    [KIND_WORK] = 127,
    [KIND_DIRECT] = IORING_OP_POLL_ADD,
    [KIND_MULTISHOT] = IORING_OP_RECV,
    [KIND_MESSAGES] = IORING_OP_RECVMSG,
    [KIND_EDGE] = IORING_OP_POLL_ADD,
    [KIND_LEVEL] = IORING_OP_POLL_ADD,
    [KIND_TICKS] = IORING_OP_TIMEOUT,
};

struct op {
    loop_id   id;
    enum kind kind;
    bool      live, chained, in_open_chain, canceled, barrier;
    bool      told; /* zero-copy: the first of its two callbacks has come, */
    int32_t   res;  /* and this was its result */
    int       fd;
    uint64_t  number; /* of its start */
    uint64_t  timeout_ns;
    uint32_t  tag;         /* what its extra data must be; 0: it has none */
    uint64_t  before[OPS]; /* of a barrier: the numbers of those that must have ended; 0: none */
    char      bytes[64];
};

struct fan {
    struct loop_fanout fanout; /* the first member */
    bool               live;
    char               bytes[64];
};

struct transfer {
    struct loop_transfer transfer; /* the first member */
    bool                 live, canceled;
};

static struct world {
    struct loop    *loop;
    uint64_t        seed, random;
    struct op       ops[OPS];
    int             pairs[PAIRS][2];
    loop_buffer     kept[KEPT_MAX];
    uint32_t        kept_count, tags;
    uint64_t        started, ended, number;
    bool            quiet, destroying;
    bool            faulty; /* now and then there is no memory */
    int             file;
    int             handler;
    struct transfer transfers[TRANSFERS];
    struct fan      fan;
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

static bool goes_on(enum kind kind)
{
    return kind >= KIND_MULTISHOT;
}

/* Whether an operation of the kind may end so although nobody has asked for its end. */
static bool error_is_fine(const struct op *op, int32_t res)
{
    switch (op->kind) {
    case KIND_TIMEOUT: return res == -ETIME || (world.faulty && res == -ENOMEM);
    case KIND_LINK_TIMEOUT: return res == -ETIME || res == -EALREADY || res == -ENOENT;
    case KIND_LEND: return res == -ENOBUFS || (world.faulty && res == -ENOMEM);
    case KIND_ZERO_COPY: return res == -EOPNOTSUPP || res == -ENOMEM; /* AF_UNIX; RLIMIT_MEMLOCK */
    default: return world.faulty && res == -ENOMEM && (op->barrier || goes_on(op->kind));
    }
}

static void check_error(const struct op *op, const struct loop_result *result)
{
    bool timed_out = (result->flags & LOOP_TIMED_OUT) != 0;

    if (result->res < 0 && result->res != -ECANCELED && result->res != -ETIMEDOUT && !error_is_fine(op, result->res))
        wrong("kind %d: res %d", (int)op->kind, result->res);
    if ((timed_out || result->res == -ETIMEDOUT) && op->timeout_ns == 0)
        wrong("kind %d: timed out without a deadline", (int)op->kind);
    if (result->res == -ETIMEDOUT && !timed_out)
        wrong("kind %d: -ETIMEDOUT without the flag", (int)op->kind);
    if (result->res == -ECANCELED && !op->canceled && !op->chained && !world.destroying)
        wrong("kind %d: cancelled by nobody", (int)op->kind);
    if (op->kind == KIND_WORK && result->res >= 0 && result->res != (int32_t)(op - world.ops))
        wrong("work: res %d is not what the function has returned", result->res);
}

/* A zero-copy send calls back twice, everything else that does not go on once. */
static void check_more(struct op *op, const struct loop_result *result)
{
    bool more = (result->flags & LOOP_MORE) != 0;

    if (op->kind != KIND_ZERO_COPY) {
        if (more && (!goes_on(op->kind) || result->res < (op->kind == KIND_TICKS ? 0 : 1)))
            wrong("kind %d: LOOP_MORE with res %d", (int)op->kind, result->res);
        return;
    }
    if (more == op->told || more == ((result->flags & LOOP_RELEASED) != 0))
        wrong("zero-copy: flags %#x, the result was told: %d", result->flags, (int)op->told);
    if (!more && result->res != op->res)
        wrong("zero-copy: res %d, then %d", op->res, result->res);
    op->told = true;
    op->res = result->res;
}

static void check_barrier(const struct op *op, const struct loop_result *result)
{
    if (!op->barrier || result->res == -ECANCELED || result->res == -ETIMEDOUT || result->res == -ENOMEM)
        return;
    for (uint32_t i = 0; i < OPS; i++)
        if (op->before[i] != 0 && world.ops[i].live && world.ops[i].number == op->before[i])
            wrong("kind %d behind a barrier: kind %d was started before it and has not ended", (int)op->kind,
                  (int)world.ops[i].kind);
}

static void check_result(struct op *op, const struct loop_result *result)
{
    if (!op->live)
        wrong("kind %d: a callback after the final one, or of a chain that was dropped", (int)op->kind);
    if (result->id != op->id)
        wrong("kind %d: the id is %" PRId64 ", not %" PRId64, (int)op->kind, result->id, op->id);
    check_error(op, result);
    check_more(op, result);
    check_barrier(op, result);
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

static void direct_cb(struct loop *loop, const struct loop_result *result, void *arg)
{
    (void)arg;
    op_cb(loop, result, &world.ops[result->value]);
}

static void transfer_cb(struct loop_transfer *transfer, uint64_t sent, int error)
{
    struct transfer *mine = (struct transfer *)(void *)transfer;

    if (!mine->live)
        wrong("transfer: a second callback");
    mine->live = false;
    if (error == 0 && sent != FILE_BYTES)
        wrong("transfer: %" PRIu64 " bytes without an error", sent);
    if (error == -ECANCELED && !mine->canceled && !world.destroying)
        wrong("transfer: cancelled by nobody");
    if (error != 0 && error != -ECANCELED && error != -ENOBUFS && !(world.faulty && error == -ENOMEM))
        wrong("transfer: error %d", error);
    if (!world.quiet)
        act();
}

static void fan_cb(struct loop_fanout *fanout, const struct loop_fanout_result *result)
{
    struct fan *fan = (struct fan *)(void *)fanout;

    if (!fan->live)
        wrong("fan-out: a second callback");
    fan->live = false;
    if (result->succeeded + result->failed != PAIRS)
        wrong("fan-out: %u and %u targets", result->succeeded, result->failed);
    if (!world.quiet)
        act();
}

static int32_t work_fn(void *arg)
{
    if ((uintptr_t)arg % 3 == 0)
        test_sleep(50 * LOOP_MICROSECOND);
    return (int32_t)((struct op *)arg - world.ops);
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
    if (below(4) == 0)
        terms.flags |= LOOP_EXTENDED;
    if (!chained && below(5) == 0)
        terms.flags |= LOOP_BACKGROUND;
    if (kind == KIND_WORK)
        return terms;
    if (!chained && below(4) == 0)
        terms.flags |= LOOP_BARRIER;
    else if (below(3) == 0)
        terms.flags |= LOOP_LINKED_TIMEOUT;
    if (!goes_on(kind) && below(8) == 0)
        terms.flags |= LOOP_ASYNC;
    return terms;
}

static loop_id start_message(struct op *op, const struct loop_terms *terms)
{
    struct iovec  iov[6];
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 1 + below(TEST_COUNT(iov))};

    for (size_t i = 0; i < TEST_COUNT(iov); i++)
        iov[i] = (struct iovec){.iov_base = op->bytes, .iov_len = 1 + below(8)};
    if (op->kind == KIND_SENDMSG)
        return loop_sendmsg(world.loop, op->fd, &msg, 0, op_cb, op, terms);
    return loop_recvmsg(world.loop, op->fd, &msg, 0, op_cb, op, terms);
}

/* Which end of a pair it is about; -1: none. */
static int fd_for(enum kind kind)
{
    const int *pair = world.pairs[below(PAIRS)];

    switch (kind) {
    case KIND_NOP:
    case KIND_TIMEOUT:
    case KIND_WORK:
    case KIND_LINK_TIMEOUT:
    case KIND_TICKS: return -1;
    case KIND_SENDMSG:
    case KIND_SEND:
    case KIND_ZERO_COPY: return pair[1];
    case KIND_MESSAGES: return world.pairs[PAIR_DATAGRAMS][0];
    default: return pair[0];
    }
}

static loop_id start(struct op *op, const struct loop_terms *terms)
{
    struct loop *loop = world.loop;

    switch (op->kind) {
    case KIND_NOP: return loop_nop(loop, op_cb, op, terms);
    case KIND_RECV: return loop_recv(loop, op->fd, op->bytes, 8, 0, op_cb, op, terms);
    case KIND_SEND: return loop_send(loop, op->fd, op->bytes, 1 + below(60), 0, op_cb, op, terms);
    case KIND_SENDMSG:
    case KIND_RECVMSG: return start_message(op, terms);
    case KIND_POLL: return loop_poll_add(loop, op->fd, POLLIN, op_cb, op, terms);
    case KIND_LEND: return loop_recv(loop, op->fd, NULL, 0, 0, op_cb, op, terms);
    case KIND_TIMEOUT: return loop_timeout(loop, below(3 * (uint32_t)LOOP_MILLISECOND), 0, 0, op_cb, op, terms);
    case KIND_LINK_TIMEOUT: return loop_link_timeout(loop, below((uint32_t)LOOP_MILLISECOND), 0, op_cb, op, NULL);
    case KIND_ZERO_COPY: return loop_send_zc(loop, op->fd, op->bytes, 1 + below(60), 0, op_cb, op, terms);
    case KIND_WORK:
        return loop_work(loop, (enum loop_work_class)below(LOOP_WORK_URGENT + 1), work_fn, op_cb, op, terms);
    case KIND_DIRECT:
        return loop_poll_add(loop, op->fd, POLLIN, LOOP_HANDLER(world.handler), LOOP_VALUE(op - world.ops), NULL);
    case KIND_MULTISHOT: return loop_recv_multishot(loop, op->fd, 0, 0, op_cb, op, terms);
    case KIND_MESSAGES: return loop_recvmsg_multishot(loop, op->fd, NULL, 0, 0, op_cb, op, terms);
    case KIND_EDGE: return loop_poll_add_multishot(loop, op->fd, POLLIN, 0, op_cb, op, terms);
    case KIND_LEVEL: return loop_poll_add_multishot(loop, op->fd, POLLIN, LOOP_POLL_LEVEL, op_cb, op, terms);
    case KIND_TICKS:
        return loop_timeout_multishot(loop, LOOP_MILLISECOND + below((uint32_t)LOOP_MILLISECOND), below(4), 0, op_cb,
                                      op, terms);
    case KINDS: break;
    }
    return -EINVAL;
}

/* Whom a barrier waits for. */
static void note_those_before(struct op *op)
{
    for (uint32_t i = 0; i < OPS; i++) {
        const struct op *other = &world.ops[i];
        bool             counts = other->live && !goes_on(other->kind) && other->kind != KIND_DIRECT;

        op->before[i] = counts ? other->number : 0;
    }
}

static bool refusal_is_fine(loop_id id)
{
    return id == -ENOBUFS || id == -E2BIG || id == -ECANCELED || (world.faulty && (id == -ENOMEM || id == -EAGAIN));
}

static struct loop_terms terms_for(enum kind kind, bool chained, bool beside, uint32_t *tag)
{
    struct loop_terms terms = random_terms(kind, chained);

    if (below(3) == 0) {
        *tag = ++world.tags;
        terms.data = tag;
        terms.data_size = sizeof(*tag);
    }
    if (!chained && world.kept_count > 0 && below(2) == 0)
        terms.release = take_kept();
    if (beside)
        terms.flags |= LOOP_UNCHAINED;
    return terms;
}

/* Starts an operation; NULL if it was refused, or there is no place for it. beside: a chain that is open. */
static struct op *act_start(bool chained, bool beside)
{
    struct op *op = &world.ops[below(OPS)];
    enum kind  kind = (enum kind)below(chained ? KIND_CHAINABLE : KINDS);
    bool plain = kind == KIND_DIRECT || kind == KIND_LINK_TIMEOUT || (!beside && kind != KIND_LEND && below(2) == 0);
    struct loop_terms terms = {0};
    uint32_t          tag = 0;
    loop_id           id;

    if (op->live || (beside && kind == KIND_DIRECT) || (kind == KIND_LINK_TIMEOUT && !chained))
        return NULL;
    if (!plain)
        terms = terms_for(kind, chained, beside, &tag);
    if (kind == KIND_LEND)
        terms.flags |= LOOP_LEND;
    op->kind = kind;
    op->fd = fd_for(kind);
    op->barrier = (terms.flags & LOOP_BARRIER) != 0;
    if (op->barrier)
        note_those_before(op);
    id = start(op, plain ? NULL : &terms);
    if (id <= 0) {
        if (!refusal_is_fine(id) && !(kind == KIND_LINK_TIMEOUT && id == -EINVAL)) /* behind nothing, or another */
            wrong("kind %d is refused: %" PRId64, (int)kind, id);
        if (terms.release != 0)
            world.kept[world.kept_count++] = terms.release;
        return NULL;
    }
    op->id = id;
    op->number = ++world.number;
    op->live = true;
    op->chained = op->in_open_chain = chained;
    op->canceled = op->told = false;
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

/* All that match must be among those in flight; what is in direct mode is never meant. */
static void act_cancel_many(void)
{
    uint32_t   way = below(3);
    int        fd = world.pairs[below(PAIRS)][below(2)], count, live = 0;
    enum kind  kind = (enum kind)below(KIND_WORK);
    struct op *op;

    if (way == 0 && below(8) != 0)
        return;
    for (uint32_t i = 0; i < OPS; i++) {
        op = &world.ops[i];
        if (!op->live || op->kind == KIND_DIRECT || (way == 1 && op->fd != fd) ||
            (way == 2 && opcodes[op->kind] != opcodes[kind]))
            continue;
        op->canceled = true;
        live++;
    }
    if (way == 0)
        count = loop_cancel_all(world.loop);
    else
        count = way == 1 ? loop_cancel_fd(world.loop, fd) : loop_cancel_opcode(world.loop, opcodes[kind]);
    if (count < 0 || count > live + (world.fan.live ? PAIRS : 0))
        wrong("many are cancelled, way %u: %d of %d", way, count, live);
}

static void act_pause(void)
{
    struct op *op = &world.ops[below(OPS)];
    int        r;

    for (uint32_t i = 0; i < OPS && !(op->live && goes_on(op->kind)); i++)
        op = &world.ops[i];
    if (!op->live || !goes_on(op->kind))
        return;
    r = below(5) < 2 ? loop_pause(world.loop, op->id) : loop_resume(world.loop, op->id);
    if (r != 0 && !(r == -EBUSY && op->barrier))
        wrong("kind %d cannot be paused or resumed: %d", (int)op->kind, r);
}

static void act_transfer(void)
{
    struct transfer *transfer = &world.transfers[below(TRANSFERS)];
    int              r;

    if (transfer->live) {
        if (below(3) == 0) {
            transfer->canceled = true;
            loop_sendfile_cancel(&transfer->transfer);
        }
        return;
    }
    r = loop_sendfile(world.loop, &transfer->transfer, world.pairs[below(PAIR_DATAGRAMS)][1], world.file, 0, UINT64_MAX,
                      NULL, transfer_cb);
    if (r == 0)
        transfer->live = true;
    else if (!refusal_is_fine(r))
        wrong("transfer is refused: %d", r);
    transfer->canceled = false;
}

static void act_fan(void)
{
    const struct loop_fanout_options options = {
        .timeout_ns = below(2) == 0 ? 0 : 1 + below((uint32_t)LOOP_MILLISECOND),
        .mode = below(3),
        .flags = below(2) == 0 ? 0 : LOOP_FANOUT_BACKGROUND,
    };
    int fds[PAIRS], r;

    if (world.fan.live) {
        if (below(2) == 0 && loop_fanout_cancel(&world.fan.fanout) != 0)
            wrong("a fan-out cannot be cancelled");
        return;
    }
    for (int i = 0; i < PAIRS; i++)
        fds[i] = world.pairs[i][1];
    r = loop_fanout_send(world.loop, &world.fan.fanout, fds, PAIRS, world.fan.bytes, 1 + below(60),
                         below(2) == 0 ? NULL : &options, fan_cb);
    if (r == 0)
        world.fan.live = true;
    else if (!refusal_is_fine(r))
        wrong("fan-out is refused: %d", r);
}

static void act_submit(void)
{
    const struct loop_submit_policy policy = {.batch = below(10), .deadline_ns = below(2) * 1000};

    if (below(3) == 0)
        (void)loop_submit(world.loop);
    else if (below(4) == 0 && loop_submit_policy_set(world.loop, &policy) != 0)
        wrong("the policy is refused");
}

static void act_in_chain(void)
{
    switch (below(12)) {
    case 0: (void)loop_recv(world.loop, -1, &world.tags, 1, 0, op_cb, NULL, NULL); break;
    case 1: (void)loop_recv(world.loop, -1, &world.tags, 1, 0, op_cb, NULL, LOOP_TERMS(.flags = LOOP_UNCHAINED)); break;
    case 2: (void)act_start(false, true); break;
    case 3: act_pause(); break;
    case 4: act_cancel_many(); break;
    case 5: act_transfer(); break;
    case 6: act_fan(); break;
    case 7: act_submit(); break;
    default: break;
    }
}

static void act_chain(void)
{
    uint32_t count = 1 + below(CHAIN_MAX);
    bool     dropped;
    int      r = loop_chain_begin(world.loop, count, below(2));

    if (r == -ENOBUFS || (world.faulty && r == -ENOMEM))
        return;
    if (r != 0)
        wrong("no chain can be begun: %d", r);
    for (uint32_t i = 0; i < count + (below(6) == 0); i++) { /* seldom one too many */
        struct op *op = act_start(true, false);

        if (op != NULL && below(6) == 0)
            cancel(op);
        act_in_chain();
    }
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

    if (world.faulty && below(8) == 0)
        test_memory.fail_at = test_memory.calls + 1 + below(20);
    switch (below(13)) {
    case 0:
    case 1:
    case 2: (void)act_start(false, false); break;
    case 3:
        if (op->live)
            cancel(op);
        break;
    case 4: act_chain(); break;
    case 5:
        if (world.kept_count > 0 && loop_buffer_return(world.loop, take_kept()) != 0)
            wrong("a kept buffer can't be returned");
        break;
    case 6: (void)send(world.pairs[below(PAIRS)][1], bytes, 1 + below(99), MSG_DONTWAIT); break;
    case 7: (void)recv(world.pairs[below(PAIRS)][0], bytes, sizeof(bytes), MSG_DONTWAIT); break;
    case 8: act_submit(); break;
    case 9: act_pause(); break;
    case 10: act_transfer(); break;
    case 11: act_cancel_many(); break;
    case 12: act_fan(); break;
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
    for (uint32_t i = 0; i < TRANSFERS; i++) {
        world.transfers[i].canceled = true;
        loop_sendfile_cancel(&world.transfers[i].transfer);
    }
    (void)loop_fanout_cancel(&world.fan.fanout);
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

static void pairs_open(void)
{
    const struct linger reset = {.l_onoff = 1};

    for (int i = 0; i < PAIR_DATAGRAMS; i++)
        test_socketpair(world.pairs[i]);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, world.pairs[PAIR_DATAGRAMS]), 0);
    for (int i = PAIR_TCP; i < PAIRS; i++) {
        test_tcp_pair(world.pairs[i]);
        for (int end = 0; end < 2; end++) /* so that no port is left waiting */
            ck_assert_int_eq(setsockopt(world.pairs[i][end], SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)), 0);
    }
}

static void pairs_close(void)
{
    for (int i = 0; i < PAIRS; i++) {
        test_close(world.pairs[i][0]);
        test_close(world.pairs[i][1]);
    }
}

static void world_open(uint64_t seed)
{
    struct loop_options options = {
        .sq_entries = 8, .ops_max = 60, .buffer_size = 64, .buffer_count = 4, .allocator = test_allocator()};

    world.seed = world.random = seed;
    if (below(2) == 0)
        options.cq_entries = 8;
    if (below(3) == 0)
        options.submit.batch = 3;
    if (below(4) == 0)
        options.submit.deadline_ns = 1000;
    world.loop = test_loop_new(&options);
    world.handler = loop_handler_register(world.loop, direct_cb, NULL, 0);
    ck_assert_int_gt(world.handler, 0);
    world.faulty = below(4) == 0;
    world.file = memfd_create("random", MFD_CLOEXEC);
    ck_assert_int_ge(world.file, 0);
    ck_assert_int_eq(ftruncate(world.file, FILE_BYTES), 0);
    pairs_open();
}

static void world_close(void)
{
    world.destroying = true;
    test_loop_drop(world.loop);
    if (world.started != world.ended)
        wrong("%" PRIu64 " were started, %" PRIu64 " have ended by the end", world.started, world.ended);
    for (uint32_t i = 0; i < TRANSFERS; i++)
        if (world.transfers[i].live)
            wrong("a transfer has not ended");
    if (world.fan.live)
        wrong("a fan-out has not ended");
    test_close(world.file);
    pairs_close();
}

/* Goal: every operation that was started ends once, in a way that somebody has asked for, in the order that barriers
 * ask for, and nothing is left behind, whatever was done meanwhile. Method: random acts from callbacks and timers on
 * loops with few places for anything; in the end all is cancelled (odd seeds), or the loop destroyed as it is. */
START_TEST(random_use)
{
    struct loop_timer timer = {0};

    world_open((uint64_t)_i);
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
    world_close();
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
