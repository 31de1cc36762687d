/* tests/net/soak_test.c: streams on two loops in two threads, read and written in every way at once, byte for byte.
 *
 * RINGLOOP_SOAK_S=n: seconds for each transport (2); TEST_SEED=n: where its random numbers begin. */
#include "tests/net/soaker.h"

enum { LOOPS = 2, PAIRS_MAX = 10, BRIDGES_MAX = 2 };

static struct place places[LOOPS];

/* ---- bridges: a third pair of streams between two soakers, forwarded in both directions */

struct direction {
    struct bridge      *bridge;
    struct loop_stream *from, *to;
    bool                limited, ended;
};

struct bridge {
    struct loop_stream streams[2];
    struct direction   directions[2];
    struct loop_timer  timer;
    struct place      *place;
    uint64_t           random;
};

static void forward_on(struct direction *direction);

static void bridge_closed(struct loop_stream *stream)
{
    struct bridge *bridge = stream->data;

    soak_assert(!soak_calling);
    atomic_fetch_sub(&bridge->place->open, 1);
}

static void bridge_end(struct direction *direction)
{
    struct bridge *bridge = direction->bridge;

    direction->ended = true;
    if (!bridge->directions[0].ended || !bridge->directions[1].ended)
        return;
    loop_timer_stop(&bridge->timer);
    for (int i = 0; i < 2; i++)
        loop_stream_close(&bridge->streams[i], bridge_closed);
}

static void bridge_shut(struct loop_stream *stream, int error)
{
    struct bridge *bridge = stream->data;

    soak_assert(error == 0);
    bridge_end(&bridge->directions[stream == bridge->streams]); /* directions[0] goes to the second */
}

static void forwarded(struct loop_stream *from, struct loop_stream *to, int error, uint64_t bytes, void *arg)
{
    struct direction *direction = arg;

    (void)bytes;
    soak_assert(!soak_calling);
    soak_assert(from == direction->from);
    if (error == -ENODATA) {
        soak_assert(direction->limited);
        MUST(loop_stream_shutdown(to, bridge_shut));
    } else if (error == 0 && !direction->limited) {
        bridge_end(direction);
    } else {
        soak_assert_msg(error == 0 || error == -ECANCELED, "forward: %s", error_text(error));
        forward_on(direction);
    }
}

static void forward_on(struct direction *direction)
{
    uint64_t                   *random = &direction->bridge->random;
    struct loop_forward_options options = {0};

    direction->limited = test_random(random) % 4 > 0;
    if (direction->limited)
        options.bytes_max = 1 + test_random(random) % 1000000;
    if (test_random(random) % 2)
        options.queued_max = 1 + (uint32_t)(test_random(random) % 100000);
    if (test_random(random) % 2)
        options.flags = LOOP_FORWARD_COPY;
    soak_used(FORWARD);
    MUST(loop_stream_forward(direction->from, direction->to, &options, forwarded, direction));
}

static void bridge_act(struct loop_timer *timer)
{
    struct bridge *bridge = timer->data;

    if (loop_stream_forward_stop(&bridge->streams[test_random(&bridge->random) % 2]) == 0)
        soak_used(FORWARD_STOP);
}

static void bridge_open(struct bridge *bridge, struct place *place, int fd0, int fd1, uint64_t *random)
{
    const struct loop_stream_options read_on = {.flags = LOOP_STREAM_READ_ON};
    const int                        fds[2] = {fd0, fd1};

    *bridge = (struct bridge){.place = place, .random = test_random(random), .timer.data = bridge};
    for (int i = 0; i < 2; i++) {
        bridge->streams[i].data = bridge;
        MUST(loop_stream_open(place->loop, &bridge->streams[i], fds[i], &read_on));
        atomic_fetch_add(&place->open, 1);
    }
    for (int i = 0; i < 2; i++) {
        bridge->directions[i] =
            (struct direction){.bridge = bridge, .from = &bridge->streams[i], .to = &bridge->streams[!i]};
        forward_on(&bridge->directions[i]);
    }
    MUST(loop_timer_start(place->loop, &bridge->timer, 3 * LOOP_MILLISECOND, 3 * LOOP_MILLISECOND, bridge_act));
}

/* ---- rounds */

/* What talks with what: a soaker with another on the same loop or not, directly or through a bridge, or with a plain
 * socket of the main thread. */
static struct match {
    struct soaker *a, *b; /* b NULL: with peer */
    struct peer    peer;
    bool           peer_shut;
} matches[PAIRS_MAX];

static struct bridge bridges[BRIDGES_MAX];

static void match_open(uint32_t number, int kind, uint64_t *random)
{
    struct match *match = &matches[number];
    uint64_t      flow = 2 * number;
    struct place *first = &places[number % 2], *second = &places[number < 2 ? number % 2 : !(number % 2)];
    int           fds[2], more[2];

    *match = (struct match){0};
    net_pair(kind, fds);
    match->a = soaker_new(first, fds[0], flow, true, random);
    if (number >= 8) {
        net_pair(number % 2 ? kind : NET_UNIX, more);
        bridge_open(&bridges[number - 8], second, fds[1], more[0], random);
        match->b = soaker_new(first, more[1], flow + 1, false, random);
    } else if (number >= 5) {
        match->peer = (struct peer){.fd = fds[1], .write_flow = flow + 1, .read_flow = flow};
    } else {
        match->b = soaker_new(second, fds[1], flow + 1, false, random);
    }
}

static void match_close(struct match *match)
{
    if (match->b == NULL) {
        soak_assert(match->peer.error == 0);
        soak_assert(match->a->read == match->peer.write_bytes);
        soak_assert(match->peer.read_bytes == match->a->written);
        test_close(match->peer.fd);
    } else {
        soak_assert(match->a->read == match->b->written);
        soak_assert(match->b->read == match->a->written);
        soaker_free(match->b);
    }
    soaker_free(match->a);
}

static void peers_act(uint64_t *random)
{
    for (uint32_t i = 0; i < PAIRS_MAX; i++) {
        struct match *match = &matches[i];
        struct peer  *peer = &match->peer;

        if (match->b != NULL || test_random(random) % 4 == 0)
            continue;
        (void)peer_drain(peer, test_random(random) % (test_random(random) % 4 ? 1000 : 200000));
        if (!match->peer_shut && !atomic_load(&soak_over)) {
            (void)peer_feed(peer, peer->write_bytes + test_random(random) % (test_random(random) % 4 ? 500 : 100000));
        } else if (!match->peer_shut) {
            soak_assert(shutdown(peer->fd, SHUT_WR) == 0);
            match->peer_shut = true;
        }
    }
    test_sleep(test_random(random) % (300 * LOOP_MICROSECOND));
}

static void stuck(void)
{
    for (uint32_t i = 0; i < PAIRS_MAX; i++) {
        soaker_show("a", i, matches[i].a);
        soaker_show("b", i, matches[i].b);
    }
    fflush(stdout);
    ck_abort_msg("not all streams have come to their end");
}

static void soak_round(int kind, uint64_t seed)
{
    struct loop_options options = {.buffer_size = 4096, .buffer_count = seed % 2 ? 16 : 256};
    uint64_t            random = seed, end = test_clock() + SOAK_ROUND, limit = end + RUN_LIMIT;

    if (seed % 3 == 0)
        options.sq_entries = options.cq_entries = 8;
    atomic_store(&soak_over, false);
    for (int i = 0; i < LOOPS; i++)
        places[i].loop = test_loop_new(&options);
    for (uint32_t i = 0; i < PAIRS_MAX; i++)
        match_open(i, kind, &random);
    for (int i = 0; i < LOOPS; i++)
        soak_assert(pthread_create(&places[i].thread, NULL, soak_place_run, &places[i]) == 0);
    while (atomic_load(&places[0].open) + atomic_load(&places[1].open) > 0) {
        if (test_clock() > end)
            atomic_store(&soak_over, true);
        if (test_clock() > limit)
            stuck();
        peers_act(&random);
    }
    for (int i = 0; i < LOOPS; i++)
        soak_assert(pthread_join(places[i].thread, NULL) == 0);
    for (uint32_t i = 0; i < PAIRS_MAX; i++) {
        if (matches[i].b == NULL)
            peer_finish(&matches[i].peer);
        match_close(&matches[i]);
    }
    for (int i = 0; i < LOOPS; i++)
        test_loop_free(places[i].loop);
}

/* Goal: whatever ways of writing and reading are mixed, by whichever thread, each byte arrives once and in its place,
 * each write comes back once and in its turn, and nothing is left: operations, buffers, descriptors, memory. Method:
 * rounds of half a second in which ten connections do what their random numbers say, until the time is over; then both
 * ends shut down and must have got all that the other wrote. Odd seeds have few buffers, every third a tiny ring. */
START_TEST(byte_for_byte)
{
    static const char *const kinds[] = {"tcp4", "unix", "tcp6"};
    uint64_t                 seed = test_env("TEST_SEED", test_clock());
    uint64_t                 end = test_clock() + test_env("RINGLOOP_SOAK_S", 2) * LOOP_SECOND;
    uint32_t                 descriptors = test_fd_count(), rounds = 0;

    do {
        printf("soak: %s, TEST_SEED=%" PRIu64 "\n", kinds[_i], seed);
        fflush(stdout);
        soak_round(_i, seed++);
        soak_assert(test_fd_count() == descriptors);
        soak_assert(test_memory.blocks == 0);
        rounds++;
    } while (test_clock() < end || rounds < 2);
    printf("soak: %s, %u rounds, %llu MB:", kinds[_i], rounds, (unsigned long long)soak_bytes / 1000000);
    for (int i = 0; i < WAYS; i++) {
        printf(" %s %llu", soak_way_names[i], (unsigned long long)soak_ways[i]);
        soak_assert_msg(soak_ways[i] > 0, "never happened: %s", soak_way_names[i]);
    }
    printf("\n");
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("net/soak");
    TCase *tcase = test_case(suite, "soak");

    tcase_set_timeout(tcase, (double)test_env("RINGLOOP_SOAK_S", 2) + 100);
    tcase_add_loop_test(tcase, byte_for_byte, 0, net_kinds());
    return suite;
}
