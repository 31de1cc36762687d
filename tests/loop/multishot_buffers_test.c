/* tests/loop/multishot_buffers_test.c: multishots of all kinds that take buffers: who gets them, and what pausing does
 * to those that wait for one or stand back. */
#include "tests/support/test.h"

#include <fcntl.h>
#include <liburing.h>

static struct loop *loop;

enum { SIZE = 512, MESSAGE = 400, KEPT_MAX = 64 };

static void setup(void)
{
    loop = test_loop_new(&(struct loop_options){.sq_entries = 64});
}

static void teardown(void)
{
    test_loop_free(loop);
}

#define UNTIL(condition) TEST_UNTIL(loop, condition)

static void must(int r)
{
    ck_assert_int_eq(r, 0);
}

static int make(uint32_t count)
{
    int group = loop_buffer_group_create(loop, &(struct loop_buffer_group_options){.size = SIZE, .count = count});

    ck_assert_int_gt(group, 0);
    return group;
}

static struct loop_buffer_group_stats stats_of(int group)
{
    struct loop_buffer_group_stats stats;

    must(loop_buffer_group_stats_get(loop, (uint16_t)group, &stats));
    return stats;
}

/* ---- peers of all kinds, each of which gets bytes in a certain order */

enum kind { STREAM, BUNDLE, MESSAGES, PIPE, KINDS };

struct peer {
    enum kind   kind;
    int         fds[2]; /* the multishot is on the first */
    loop_id     id;
    uint64_t    sent, got;
    uint32_t    results, finals;
    int32_t     last;
    uint32_t    keep_most, head, tail; /* of what is kept: a queue */
    loop_buffer kept[KEPT_MAX];
    bool        pauses; /* itself, as soon as it has kept what it may */
};

static char byte_at(uint64_t at)
{
    return (char)(at * 7 + at / 251);
}

static void check_piece(struct peer *peer, const struct loop_result *piece)
{
    const char *bytes = piece->data;

    for (int32_t i = 0; i < piece->res; i++)
        ck_assert_msg(bytes[i] == byte_at(peer->got + (uint64_t)i), "byte %" PRIu64, peer->got + (uint64_t)i);
    peer->got += (uint64_t)piece->res;
}

static void came(struct loop *of, const struct loop_result *result, void *arg)
{
    struct peer       *peer = arg;
    struct loop_bundle bundle = loop_bundle_of(result);
    struct loop_result piece;

    ck_assert_uint_eq(peer->finals, 0);
    peer->last = result->res;
    peer->finals += (result->flags & LOOP_MORE) == 0;
    peer->results += result->res > 0;
    if (peer->kind == MESSAGES && (result->flags & LOOP_BUFFER) != 0)
        ck_assert_ptr_eq(result->message->msg_iov->iov_base, result->data);
    while (loop_bundle_next(of, &bundle, &piece)) {
        check_piece(peer, &piece);
        if (peer->tail - peer->head >= peer->keep_most)
            continue;
        must(loop_buffer_keep(of, piece.buffer));
        peer->kept[peer->tail++ % KEPT_MAX] = piece.buffer;
    }
    if (peer->pauses && peer->tail - peer->head == peer->keep_most)
        must(loop_pause(of, peer->id));
}

static void give(struct peer *peer, uint32_t count)
{
    for (; count > 0 && peer->head != peer->tail; count--)
        must(loop_buffer_return(loop, peer->kept[peer->head++ % KEPT_MAX]));
}

static loop_id start(struct peer *peer, int group)
{
    const uint16_t number = (uint16_t)group;

    switch (peer->kind) {
    case STREAM: return loop_recv_multishot(loop, peer->fds[0], number, 0, came, peer, NULL);
    case BUNDLE: return loop_recv_multishot_bundle(loop, peer->fds[0], number, 0, came, peer, NULL);
    case MESSAGES: return loop_recvmsg_multishot(loop, peer->fds[0], NULL, number, 0, came, peer, NULL);
    case PIPE: return loop_read_multishot(loop, peer->fds[0], number, came, peer, NULL);
    case KINDS: break;
    }
    ck_abort_msg("no such kind");
}

static void open_peer(struct peer *peer, enum kind kind, int group)
{
    *peer = (struct peer){.kind = kind, .keep_most = peer->keep_most};
    if (kind == PIPE) {
        test_pipe(peer->fds);
        must(fcntl(peer->fds[1], F_SETFL, O_NONBLOCK));
    } else if (kind == MESSAGES) {
        must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, peer->fds));
    } else {
        test_socketpair(peer->fds);
    }
    peer->id = start(peer, group);
    ck_assert_int_gt(peer->id, 0);
}

/* False if it would not fit. */
static bool send_some(struct peer *peer, uint32_t size)
{
    char    bytes[MESSAGE];
    ssize_t n;

    for (uint32_t i = 0; i < size; i++)
        bytes[i] = byte_at(peer->sent + i);
    n = peer->kind == PIPE ? write(peer->fds[1], bytes, size)
                           : send(peer->fds[1], bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    peer->sent += n > 0 ? (uint64_t)n : 0;
    return n == (ssize_t)size;
}

static void fill_up(struct peer *peer, uint32_t most)
{
    while (most-- > 0 && send_some(peer, MESSAGE))
        ;
}

static void end(struct peer *peer)
{
    test_close(peer->fds[1]);
    peer->fds[1] = -1;
}

/* To its end, with everything that was sent. */
static void finish(struct peer *peer)
{
    peer->keep_most = 0;
    give(peer, UINT32_MAX);
    end(peer);
    UNTIL(peer->finals == 1);
    ck_assert_int_eq(peer->last, 0);
    ck_assert_uint_eq(peer->got, peer->sent);
    test_close(peer->fds[0]);
}

static bool missing(enum kind kind)
{
    if (kind == BUNDLE && (loop_features_get(loop)->kernel_features & IORING_FEAT_RECVSEND_BUNDLE) == 0) {
        test_skip("the kernel has no bundles");
        return true;
    }
    if (kind != PIPE || test_has_opcode(loop, IORING_OP_READ_MULTISHOT))
        return false;
    test_skip("the kernel has no multishot reads");
    return true;
}

/* ---- fairness */

/* Goal: whatever kind a flood is, and however much of it is kept, others of the same kind are heard. Method: as
 * flooding_peer in buffer_group_test.c: the flood's file is full before each turn; _i: the kind, and how much is
 * kept. */
START_TEST(flood_of_any_kind)
{
    enum { COUNT = 8, QUIET = 20, TURNS_ALL = 200, TURNS_ONE = 25 };
    static const uint32_t keeps[] = {0, COUNT / 4, COUNT};
    static struct peer    flood, quiet[QUIET];
    const enum kind       kind = (enum kind)(_i / 3);
    int                   group = make(COUNT);
    uint32_t              told = 0;

    if (missing(kind))
        return;
    flood = (struct peer){.keep_most = keeps[_i % 3]};
    open_peer(&flood, kind, group);
    for (uint32_t i = 0; i < QUIET; i++)
        open_peer(&quiet[i], kind, group);
    test_turns(loop, 1);
    for (uint32_t i = 0; i < QUIET; i++)
        ck_assert(send_some(&quiet[i], 5));
    for (uint32_t turn = 0; told < QUIET; turn++) {
        ck_assert_msg(turn < TURNS_ALL, "only %u of the quiet peers were heard", told);
        fill_up(&flood, 8 * COUNT);
        give(&flood, 1);
        test_turns(loop, 1);
        told = 0;
        for (uint32_t i = 0; i < QUIET; i++)
            told += quiet[i].results > 0;
    }
    for (uint32_t i = 0; i < QUIET; i++) {
        ck_assert(send_some(&quiet[i], 5));
        for (uint32_t turn = 0; quiet[i].got < 10; turn++) {
            ck_assert_msg(turn < TURNS_ONE, "a quiet peer was not heard");
            fill_up(&flood, 8 * COUNT);
            give(&flood, 1);
            test_turns(loop, 1);
        }
    }
    ck_assert_uint_gt(flood.got, 0);
    finish(&flood);
    for (uint32_t i = 0; i < QUIET; i++)
        finish(&quiet[i]);
    ck_assert_uint_eq(stats_of(group).home, COUNT);
}
END_TEST

/* One message a turn, so that the loop sees each before the next. */
static void drip(struct peer *peer, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        ck_assert(send_some(peer, 100));
        test_turns(loop, 2);
    }
}

/* Goal: one that holds much is stopped while only a reserve is left, without a word, and others get that; then its end
 * is told, or what waits when it has given back (_i: kind; odd: the end). */
START_TEST(stands_back)
{
    enum { COUNT = 16, RESERVE = COUNT / 8 };
    const enum kind    kind = (enum kind)(_i / 2);
    static struct peer peer, quiet;
    int                group = make(COUNT);

    if (missing(kind))
        return;
    quiet.keep_most = 0;
    peer.keep_most = COUNT;
    open_peer(&peer, kind, group);
    open_peer(&quiet, kind, group);
    drip(&peer, COUNT - RESERVE);
    ck_assert_uint_eq(stats_of(group).stood_back, 1);
    ck_assert_uint_eq(peer.results, COUNT - RESERVE);
    if (_i % 2 == 0) {
        drip(&peer, 2);
        ck_assert_uint_eq(peer.results, COUNT - RESERVE);
        ck_assert_uint_eq(stats_of(group).parked, 1);
    }
    drip(&quiet, 3 * RESERVE);
    ck_assert_uint_eq(quiet.got, quiet.sent);
    if (_i % 2 == 1) {
        end(&peer);
        UNTIL(peer.finals == 1);
        ck_assert_int_eq(peer.last, 0);
        give(&peer, COUNT);
        test_close(peer.fds[0]);
    } else {
        peer.keep_most = 0;
        give(&peer, 1);
        UNTIL(peer.got == peer.sent);
        finish(&peer);
    }
    ck_assert_uint_eq(peer.got, peer.sent);
    finish(&quiet);
    ck_assert_uint_eq(stats_of(group).home, COUNT);
}
END_TEST

/* Goal: on a loop that is locked to the opcode of the multishot alone, it can still look what there is to receive when
 * it has no buffer. Method: the only buffer is kept while more comes. */
START_TEST(locked_loop)
{
    static const uint8_t           opcodes[] = {LOOP_OP_RECVMSG, LOOP_OP_READ_MULTISHOT};
    const struct loop_restrictions list = {.opcodes = opcodes, .opcodes_count = TEST_COUNT(opcodes)};
    static struct peer             peer;
    struct loop                   *usual = loop;
    int                            group;

    loop = test_loop_new(&(struct loop_options){.sq_entries = 16, .modes = {.restrictions = &list}});
    group = make(1);
    peer.keep_most = 1;
    if (!missing((enum kind)_i)) {
        open_peer(&peer, (enum kind)_i, group);
        drip(&peer, 3);
        test_turns(loop, 5);
        ck_assert_int_eq(peer.last, 100);
        ck_assert_uint_eq(peer.got, 100);
        ck_assert_uint_eq(stats_of(group).parked, 1);
        finish(&peer);
    }
    test_loop_free(loop);
    loop = usual;
}
END_TEST

/* ---- pause and resume */

enum { COUNT = 16, RESERVE = COUNT / 8 };
enum stage {
    RIGHT_AFTER, /* inside the callback that made it stand back */
    WATCHING,    /* stands back, has nothing to receive */
    DATA_WAITS,  /* stands back, and has */
    PARKED,      /* waits for a buffer, of which others have all */
    STAGES,
};

/* Brings a peer to the stage and pauses it; hoarder has what it does not have. */
static void pause_at(enum stage stage, struct peer *peer, struct peer *hoarder)
{
    if (stage == PARKED) {
        hoarder->keep_most = COUNT;
        for (uint32_t i = 0; i < COUNT; i++) {
            struct loop_buffer_group_stats stats = stats_of(1);

            if (stats.home > RESERVE)
                drip(hoarder, 1);
        }
        peer->keep_most = RESERVE; /* the rest: too little to stand back */
        drip(peer, RESERVE + 1);
        test_turns(loop, 5);
        ck_assert_uint_eq(stats_of(1).home, 0);
    } else {
        peer->keep_most = COUNT - RESERVE;
        peer->pauses = stage == RIGHT_AFTER;
        drip(peer, COUNT - RESERVE + (stage == DATA_WAITS));
        ck_assert_uint_eq(stats_of(1).stood_back, 1);
        peer->pauses = false;
    }
    ck_assert_uint_eq(stats_of(1).parked, stage == PARKED || stage == DATA_WAITS);
    must(loop_pause(loop, peer->id));
    test_turns(loop, 5);
    ck_assert_uint_eq(stats_of(1).parked, 0);
}

/* Goal: a multishot that is paused while it waits for buffers takes none when they come back, and keeps nobody else
 * from them; resumed, it receives what waited, in order. Method: all kinds in all stages (_i); its own buffers come
 * back before the resume or after it. */
START_TEST(paused_while_it_waits)
{
    const enum kind    kind = (enum kind)(_i / STAGES / 2);
    const enum stage   stage = (enum stage)(_i / 2 % STAGES);
    const bool         early = _i % 2 == 0;
    static struct peer peer, hoarder;
    int                group = make(COUNT);
    uint64_t           got;

    ck_assert_int_eq(group, 1);
    if (missing(kind))
        return;
    peer.keep_most = hoarder.keep_most = 0;
    open_peer(&peer, kind, group);
    open_peer(&hoarder, kind, group);
    pause_at(stage, &peer, &hoarder);
    got = peer.got;
    ck_assert(send_some(&peer, 300));
    hoarder.keep_most = peer.keep_most = 0;
    give(&hoarder, COUNT);
    if (early)
        give(&peer, COUNT);
    drip(&hoarder, 5);
    ck_assert_uint_eq(hoarder.got, hoarder.sent);
    ck_assert_uint_eq(peer.got, got);
    must(loop_resume(loop, peer.id));
    test_turns(loop, 5);
    give(&peer, COUNT);
    UNTIL(peer.got == peer.sent);
    finish(&peer);
    finish(&hoarder);
    ck_assert_uint_eq(stats_of(group).home, COUNT);
}
END_TEST

/* Goal: one that is resumed while it still holds too much stands back again. */
START_TEST(resumed_too_early)
{
    const enum kind    kind = (enum kind)_i;
    static struct peer peer, quiet;
    int                group = make(COUNT);
    uint64_t           got;

    if (missing(kind))
        return;
    peer.keep_most = quiet.keep_most = 0;
    open_peer(&peer, kind, group);
    open_peer(&quiet, kind, group);
    pause_at(DATA_WAITS, &peer, &quiet);
    got = peer.got;
    peer.keep_most = COUNT;
    must(loop_resume(loop, peer.id));
    test_turns(loop, 5);
    ck_assert_uint_eq(peer.got, got);
    ck_assert_uint_eq(stats_of(group).parked, 1);
    drip(&quiet, 5);
    ck_assert_uint_eq(quiet.got, quiet.sent);
    finish(&peer);
    finish(&quiet);
}
END_TEST

/* Goal: a group is in use as long as a multishot names it, paused or not; afterwards it can go. Method: paused in each
 * stage and also when armed, with all buffers home; its end by a cancel. */
START_TEST(group_of_a_paused_one)
{
    const enum kind    kind = (enum kind)(_i / (STAGES + 1));
    const int          stage = _i % (STAGES + 1);
    static struct peer peer, hoarder;
    int                group = make(COUNT);

    if (missing(kind))
        return;
    peer.keep_most = hoarder.keep_most = 0;
    open_peer(&peer, kind, group);
    open_peer(&hoarder, kind, group);
    if (stage < STAGES)
        pause_at((enum stage)stage, &peer, &hoarder);
    else
        must(loop_pause(loop, peer.id));
    hoarder.keep_most = peer.keep_most = 0;
    give(&hoarder, COUNT);
    give(&peer, COUNT);
    finish(&hoarder);
    ck_assert_uint_eq(stats_of(group).home, COUNT);
    ck_assert_uint_eq(stats_of(group).out, 0);
    ck_assert_int_eq(loop_buffer_group_destroy(loop, (uint16_t)group), -EBUSY);
    must(loop_cancel(loop, peer.id));
    UNTIL(peer.finals == 1);
    ck_assert_int_eq(peer.last, -ECANCELED);
    must(loop_buffer_group_destroy(loop, (uint16_t)group));
    ck_assert_int_eq(loop_buffer_group_destroy(loop, (uint16_t)group), -EINVAL);
    end(&peer);
    test_close(peer.fds[0]);
}
END_TEST

/* ---- subscriptions */

struct reader {
    struct loop_subscription subscription;
    struct peer              peer;
    uint32_t                 bundles, shared, stops;
    int                      error;
};

static enum loop_step step(struct loop *of, struct loop_subscription *subscription, const struct loop_result *result)
{
    struct reader *reader = subscription->data;

    reader->bundles += (result->flags & LOOP_BUNDLE) != 0;
    reader->shared += (result->flags & LOOP_BUFFER_MORE) != 0;
    came(of, result, &reader->peer);
    return LOOP_CONTINUE;
}

static void stopped(struct loop *of, struct loop_subscription *subscription, int error, bool cancelled)
{
    struct reader *reader = subscription->data;

    (void)of;
    reader->stops++;
    reader->error = cancelled ? -ECANCELED : error;
}

/* What is sent to a reader in all: each tenth keeps a part for some rounds, and once in a while it pauses. */
static void read_much(struct reader *reader)
{
    uint64_t random = test_env("TEST_SEED", 4);

    for (int round = 0; round < 300; round++) {
        struct peer *peer = &reader->peer;

        for (uint64_t i = test_random(&random) % 8; i > 0; i--)
            (void)send_some(peer, 1 + (uint32_t)(test_random(&random) % MESSAGE));
        peer->keep_most = (uint32_t)(test_random(&random) % 4);
        if (round % 10 == 5)
            must(loop_subscription_pause(&reader->subscription));
        if (round % 10 == 7)
            must(loop_subscription_resume(&reader->subscription));
        test_turns(loop, 1);
        give(peer, (uint32_t)(test_random(&random) % 4));
    }
    reader->peer.keep_most = 0;
    give(&reader->peer, UINT32_MAX);
    must(loop_subscription_resume(&reader->subscription));
    end(&reader->peer);
    UNTIL(reader->stops == 1);
    ck_assert_int_eq(reader->error, 0);
    ck_assert_uint_eq(reader->peer.got, reader->peer.sent);
    test_close(reader->peer.fds[0]);
}

/* Goal: steps get the parts of an incremental group, in order, and the buffers come home. */
START_TEST(subscription_of_parts)
{
    static struct reader reader;
    int                  group = loop_buffer_group_create(
                         loop, &(struct loop_buffer_group_options){.size = 4096, .count = 4, .flags = LOOP_GROUP_INCREMENTAL});

    if (group == -EOPNOTSUPP) {
        test_skip("the kernel has no incremental groups");
        return;
    }
    ck_assert_int_gt(group, 0);
    reader = (struct reader){.subscription.data = &reader};
    test_socketpair(reader.peer.fds);
    must(loop_subscribe_recv(loop, &reader.subscription, reader.peer.fds[0], (uint16_t)group, 0, step, stopped, NULL));
    read_much(&reader);
    ck_assert_uint_gt(reader.shared, 0);
    ck_assert_uint_eq(stats_of(group).out, 0);
    must(loop_buffer_group_destroy(loop, (uint16_t)group));
}
END_TEST

/* Goal: a step gets a bundle; what it does not keep comes home. */
START_TEST(subscription_of_bundles)
{
    enum { INQ = 84 }; /* SO_INQ: since 6.17 a bundle of a unix socket is more than one buffer */
    static struct reader reader;
    int                  group = make(COUNT), r;
    bool                 fills_more;

    reader = (struct reader){.subscription.data = &reader, .peer.kind = BUNDLE};
    test_socketpair(reader.peer.fds);
    fills_more = setsockopt(reader.peer.fds[0], SOL_SOCKET, INQ, &(int){0}, sizeof(int)) == 0;
    r = loop_subscribe_recv_bundle(loop, &reader.subscription, reader.peer.fds[0], (uint16_t)group, 0, step, stopped,
                                   NULL);
    if (r == -EOPNOTSUPP) {
        test_skip("the kernel has no bundles");
        test_close(reader.peer.fds[0]);
        test_close(reader.peer.fds[1]);
        return;
    }
    must(r);
    read_much(&reader);
    ck_assert(reader.bundles > 0 || !fills_more);
    ck_assert_uint_eq(stats_of(group).home, COUNT);
    must(loop_buffer_group_destroy(loop, (uint16_t)group));
}
END_TEST

/* ---- all together */

static void random_round(struct peer *peer, uint64_t *random)
{
    switch (test_random(random) % 8) {
    case 0: must(loop_pause(loop, peer->id)); break;
    case 1:
    case 2: must(loop_resume(loop, peer->id)); break;
    case 3: peer->keep_most = (uint32_t)(test_random(random) % COUNT); break;
    case 4: give(peer, (uint32_t)(test_random(random) % COUNT)); break;
    case 5: fill_up(peer, 2 * COUNT); break;
    default: (void)send_some(peer, 1 + (uint32_t)(test_random(random) % MESSAGE));
    }
}

/* Goal: whatever is paused, kept and given back while several kinds share a group, each gets all its bytes, in order,
 * and then its end. TEST_SEED repeats a run. */
START_TEST(random_pauses)
{
    enum { PEERS = 8, ROUNDS = 4000 };
    static struct peer peers[PEERS];
    uint64_t           random = test_env("TEST_SEED", (uint64_t)_i + 1);
    int                group = make(COUNT);

    if (missing(PIPE))
        return;
    for (int i = 0; i < PEERS; i++) {
        peers[i].keep_most = 0;
        open_peer(&peers[i], (enum kind)(i % KINDS), group);
    }
    for (int round = 0; round < ROUNDS; round++) {
        random_round(&peers[test_random(&random) % PEERS], &random);
        if (round % 3 == 0)
            test_turns(loop, 1);
    }
    for (int i = 0; i < PEERS; i++) {
        peers[i].keep_most = 0;
        give(&peers[i], UINT32_MAX);
        must(loop_resume(loop, peers[i].id));
    }
    for (int i = 0; i < PEERS; i++) {
        ck_assert_uint_gt(peers[i].got, 0);
        finish(&peers[i]);
    }
    ck_assert_uint_gt(stats_of(group).stood_back, 0);
    ck_assert_uint_gt(stats_of(group).parked_ever, 0);
    ck_assert_uint_eq(stats_of(group).home, COUNT);
    ck_assert_uint_eq(stats_of(group).parked, 0);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("multishot_buffers");
    TCase *tcase = test_case(suite, "multishot_buffers");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, flood_of_any_kind, 0, 3 * KINDS);
    tcase_add_loop_test(tcase, stands_back, 0, 2 * KINDS);
    tcase_add_loop_test(tcase, locked_loop, MESSAGES, PIPE + 1);
    tcase_add_loop_test(tcase, paused_while_it_waits, 0, 2 * STAGES * KINDS);
    tcase_add_loop_test(tcase, resumed_too_early, 0, KINDS);
    tcase_add_loop_test(tcase, group_of_a_paused_one, 0, (STAGES + 1) * KINDS);
    tcase_add_test(tcase, subscription_of_parts);
    tcase_add_test(tcase, subscription_of_bundles);
    tcase_add_loop_test(tcase, random_pauses, 0, 4);
    return suite;
}
