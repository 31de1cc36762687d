/* tests/net/soak_datagram_test.c: datagrams between two loops in two threads and plain sockets, sent in every way, byte
 * for byte.
 *
 * RINGLOOP_SOAK_S=n: seconds for each transport (2); TEST_SEED=n: where its random numbers begin. */
#include "tests/net/datagram_port.h"
#include "tests/net/soaker.h"

enum { LOOPS = 2, CLIENTS = 4, PAYLOAD_MAX = 20000, FLIGHT_MAX = 16, FLIGHT_BYTES_MAX = 40000, SEGMENTS_MAX = 6 };

enum manner { COPIED, BORROWED, PIECES, TRIED, TRIED_MANY, SEGMENTED, LENT, KEPT, STOPPED, DEADLINE, MANNERS };
static const char *const manner_names[MANNERS] = {"copied",    "borrowed", "pieces", "tried", "tried_many",
                                                  "segmented", "lent",     "kept",   "stop",  "deadline"};

static atomic_ullong manners[MANNERS]; /* how often each was used */
static atomic_uint   clients_open;

static void used(enum manner way)
{
    atomic_fetch_add_explicit(&manners[way], 1, memory_order_relaxed);
}

/* In front of each datagram; the pattern of the client's flow at offset follows. The answer is the same again. */
struct header {
    uint64_t number, offset, size;
};

static struct place places[LOOPS];

/* A socket that sends datagrams, of which few are on their way at a time, or answers them. */
struct talker {
    struct loop_datagram datagram;
    struct loop_timer    timer;
    struct place        *place;
    struct loop_address  to; /* of clients */
    uint64_t             random, flow;
    bool                 serves, gso, stopped, closed;
    uint64_t             numbered, offset;         /* sent */
    uint64_t             answered, answered_bytes; /* received */
    uint64_t             sends_started, sends_done;
    loop_buffer          kept; /* of a server that has stopped: what it answers first */
    void                *kept_data;
    size_t               kept_size;
    struct loop_address  kept_source;
    uint16_t             kept_segment;
};

static struct talker servers[LOOPS], clients[CLIENTS];

static uint64_t dice(struct talker *talker, uint64_t sides)
{
    return test_random(&talker->random) % sides;
}

static struct talker *enter(struct loop_datagram *datagram)
{
    struct talker *talker = datagram->data;

    soak_assert_msg(!soak_calling, "a callback came from inside a call");
    soak_assert(!talker->closed);
    return talker;
}

/* ---- sending */

struct chunk {
    uint64_t number; /* of the sends with a callback */
    size_t   size;
    uint8_t  bytes[];
};

static void sent(struct loop_datagram *datagram, int result, void *arg)
{
    struct talker *talker = enter(datagram);
    struct chunk  *chunk = arg;

    soak_assert_msg(result >= 0, "send: %s", error_text(result));
    soak_assert((size_t)result == chunk->size);
    soak_assert(chunk->number == talker->sends_done);
    talker->sends_done++;
    free(chunk);
}

static struct chunk *chunk_new(struct talker *talker, size_t size)
{
    struct chunk *chunk = malloc(sizeof(*chunk) + size);

    soak_assert(chunk != NULL);
    chunk->number = talker->sends_started++;
    chunk->size = size;
    return chunk;
}

/* The next datagram, of a header and size bytes. */
static void fill(struct talker *talker, uint8_t *bytes, size_t size)
{
    struct header header = {talker->numbered++, talker->offset, size};

    memcpy(bytes, &header, sizeof(header));
    pattern_fill(talker->flow, talker->offset, bytes + sizeof(header), size);
    talker->offset += size;
}

static void unfill(struct talker *talker, size_t size)
{
    talker->numbered--;
    talker->offset -= size;
}

static void send_tried(struct talker *talker, size_t size)
{
    uint8_t bytes[sizeof(struct header) + PAYLOAD_MAX];
    size_t  all = sizeof(struct header) + size;
    int     r;

    fill(talker, bytes, size);
    soak_calling = true;
    r = loop_datagram_try_send(&talker->datagram, bytes, all, &talker->to);
    soak_calling = false;
    memset(bytes, 0xcc, all);
    if (r == -EAGAIN)
        unfill(talker, size);
    else
        soak_assert_msg((size_t)r == all, "try: %s", error_text(r));
}

static void send_many_tried(struct talker *talker, size_t size)
{
    uint8_t                    bytes[SEGMENTS_MAX][sizeof(struct header) + PAYLOAD_MAX / SEGMENTS_MAX];
    struct loop_datagram_piece pieces[SEGMENTS_MAX];
    int                        r;

    size = size / SEGMENTS_MAX;
    for (int i = 0; i < SEGMENTS_MAX; i++) {
        fill(talker, bytes[i], size);
        pieces[i] = (struct loop_datagram_piece){bytes[i], sizeof(struct header) + size, &talker->to};
    }
    soak_calling = true;
    r = loop_datagram_try_send_many(&talker->datagram, pieces, SEGMENTS_MAX);
    soak_calling = false;
    soak_assert_msg(r > 0 || r == -EAGAIN, "try many: %s", error_text(r));
    for (int i = r > 0 ? r : 0; i < SEGMENTS_MAX; i++)
        unfill(talker, size);
}

/* Several of one size, which the kernel cuts up. */
static void send_segments(struct talker *talker, size_t size)
{
    size_t                           count = 2 + dice(talker, SEGMENTS_MAX - 1), one = size % 1000;
    size_t                           step = sizeof(struct header) + one;
    const struct loop_datagram_terms terms = {.segment_size = (uint16_t)step};
    struct chunk                    *chunk = chunk_new(talker, count * step);

    for (size_t i = 0; i < count; i++)
        fill(talker, chunk->bytes + i * step, one);
    MUST(loop_datagram_send(&talker->datagram, chunk->bytes, chunk->size, &talker->to, sent, chunk, &terms));
}

static void send_chunk(struct talker *talker, enum manner way, size_t size)
{
    struct loop_datagram_terms terms = {.flags = way == COPIED ? LOOP_DATAGRAM_COPY : 0};
    size_t                     all = sizeof(struct header) + size, first = dice(talker, all + 1);
    struct chunk              *chunk = chunk_new(talker, all);
    struct iovec               iov[3] = {{chunk->bytes, first}, {chunk->bytes, 0}, {chunk->bytes + first, all - first}};

    fill(talker, chunk->bytes, size);
    if (dice(talker, 8) == 0) {
        terms.timeout_ns = 1000 * LOOP_SECOND;
        used(DEADLINE);
    }
    if (way == PIECES)
        MUST(loop_datagram_sendv(&talker->datagram, iov, 3, &talker->to, sent, chunk, &terms));
    else
        MUST(loop_datagram_send(&talker->datagram, chunk->bytes, all, &talker->to, sent, chunk, &terms));
    if (way == COPIED)
        memset(chunk->bytes, 0xcc, all);
}

static void send_one(struct talker *talker)
{
    size_t      size = dice(talker, dice(talker, 4) == 0 ? PAYLOAD_MAX : 700);
    enum manner way = (enum manner)dice(talker, SEGMENTED + 1);

    if (way == SEGMENTED && !talker->gso)
        way = BORROWED;
    used(way);
    switch ((int)way) {
    case TRIED: send_tried(talker, size); return;
    case TRIED_MANY: send_many_tried(talker, size); return;
    case SEGMENTED: send_segments(talker, size); return;
    }
    send_chunk(talker, way, size);
}

/* A socket that is sent more than it has room for would lose some. */
static void send_some(struct talker *talker)
{
    for (uint64_t count = dice(talker, 6); count > 0 && !atomic_load(&soak_over); count--) {
        if (talker->numbered - talker->answered >= FLIGHT_MAX ||
            talker->offset - talker->answered_bytes >= FLIGHT_BYTES_MAX)
            return;
        send_one(talker);
    }
}

/* ---- receiving */

static void check_answer(struct talker *talker, const uint8_t *data, size_t size)
{
    struct header header;

    soak_assert(size >= sizeof(header));
    memcpy(&header, data, sizeof(header));
    soak_assert(header.number == talker->answered);
    soak_assert(header.offset == talker->answered_bytes);
    soak_assert(header.size == size - sizeof(header));
    pattern_check(talker->flow, header.offset, data + sizeof(header), header.size);
    talker->answered++;
    talker->answered_bytes += header.size;
}

/* A message may be several datagrams (GRO). */
static void check_answers(struct talker *talker, const struct loop_datagram_message *message)
{
    const uint8_t *data = message->data;
    size_t         left = message->size;
    size_t         one = message->segment_size != 0 ? message->segment_size : left;

    for (; left > one; data += one, left -= one)
        check_answer(talker, data, one);
    check_answer(talker, data, left);
}

/* What came goes back as it is, also as several. */
static void answer(struct talker *talker, const void *data, size_t size, const struct loop_address *source,
                   const struct loop_datagram_terms *terms)
{
    MUST(loop_datagram_send(&talker->datagram, data, size, source, sent, chunk_new(talker, size), terms));
}

static void serve(struct talker *talker, const struct loop_datagram_message *message)
{
    struct loop_datagram_terms terms = {.segment_size = message->segment_size};

    if (dice(talker, 16) == 0) {
        used(KEPT);
        soak_assert(loop_buffer_keep(talker->place->loop, message->buffer) == 0);
        talker->kept = message->buffer;
        talker->kept_data = message->data;
        talker->kept_size = message->size;
        talker->kept_source = message->source;
        talker->kept_segment = message->segment_size;
        MUST(loop_datagram_receive_stop(&talker->datagram));
        talker->stopped = true;
        return;
    }
    if (dice(talker, 4) == 0) {
        terms.flags = LOOP_DATAGRAM_COPY;
    } else {
        used(LENT);
        terms.release = message->buffer;
    }
    answer(talker, message->data, message->size, &message->source, &terms);
}

static void received(struct loop_datagram *datagram, const struct loop_datagram_message *message)
{
    struct talker *talker = enter(datagram);

    soak_assert(!talker->stopped);
    soak_assert_msg(message->error == 0, "receive: %s", error_text(message->error));
    soak_assert((message->flags & LOOP_DATAGRAM_TRUNCATED) == 0);
    if (talker->serves)
        serve(talker, message);
    else
        check_answers(talker, message);
    if (!talker->serves && dice(talker, 4) == 0)
        send_some(talker);
    if (!talker->stopped && dice(talker, 32) == 0) {
        used(STOPPED);
        MUST(loop_datagram_receive_stop(datagram));
        talker->stopped = true;
    }
}

/* ---- acting */

static void closed(struct loop_datagram *datagram)
{
    struct talker *talker = enter(datagram);

    soak_assert(talker->sends_done == talker->sends_started);
    talker->closed = true;
    atomic_fetch_sub(&talker->place->open, 1);
    if (!talker->serves)
        atomic_fetch_sub(&clients_open, 1);
}

static bool is_done(const struct talker *talker)
{
    if (!atomic_load(&soak_over) || talker->sends_done < talker->sends_started)
        return false;
    return talker->serves ? atomic_load(&clients_open) == 0 : talker->answered == talker->numbered;
}

static void act(struct loop_timer *timer)
{
    struct talker *talker = timer->data;

    if (talker->kept != 0) {
        const struct loop_datagram_terms terms = {.release = talker->kept, .segment_size = talker->kept_segment};

        talker->kept = 0;
        answer(talker, talker->kept_data, talker->kept_size, &talker->kept_source, &terms);
    }
    if (talker->stopped) {
        talker->stopped = false;
        MUST(loop_datagram_receive_start(&talker->datagram, received));
    }
    if (!talker->serves)
        send_some(talker);
    if (is_done(talker))
        loop_datagram_close(&talker->datagram, closed);
    else
        MUST(loop_timer_start(talker->place->loop, timer, dice(talker, 500 * LOOP_MICROSECOND), 0, act));
}

static void talker_open(struct talker *talker, uint32_t place, int kind, uint64_t *random)
{
    struct loop_address          local = port_any(kind);
    struct loop_datagram_options options = {.receive_size = 65536, .receive_buffer_bytes = 1 << 20};

    *talker = (struct talker){.place = &places[place], .random = test_random(random)};
    talker->datagram.data = talker->timer.data = talker;
    talker->gso = kind != PORT_UNIX;
    if (talker->gso && dice(talker, 2))
        options.flags = LOOP_DATAGRAM_GRO;
    MUST(loop_datagram_open(talker->place->loop, &talker->datagram, &local, &options));
    MUST(loop_datagram_receive_start(&talker->datagram, received));
    MUST(loop_timer_start(talker->place->loop, &talker->timer, 0, 0, act));
    atomic_fetch_add(&talker->place->open, 1);
}

/* ---- rounds */

/* Sends back what is there. What finds no room is lost, so it waits for that. */
static void plain_answer(int fd)
{
    uint8_t             bytes[65536];
    struct loop_address source = {.size = sizeof(source.storage)};
    ssize_t             size;

    while ((size = recvfrom(fd, bytes, sizeof(bytes), MSG_DONTWAIT, (struct sockaddr *)&source.storage,
                            &source.size)) >= 0) {
        plain_send(fd, bytes, (size_t)size, &source);
        source.size = sizeof(source.storage);
    }
    soak_assert(errno == EAGAIN);
}

static void stuck(void)
{
    for (uint32_t i = 0; i < CLIENTS; i++)
        printf("client %u: sent %" PRIu64 ", answered %" PRIu64 ", sends %" PRIu64 " of %" PRIu64 ", closed %d\n", i,
               clients[i].numbered, clients[i].answered, clients[i].sends_done, clients[i].sends_started,
               clients[i].closed);
    fflush(stdout);
    ck_abort_msg("not all is answered");
}

static uint64_t soak_round(int kind, uint64_t seed)
{
    struct loop_options options = {.sq_entries = seed % 2 ? 8 : 0};
    uint64_t            random = seed, bytes = 0, end = test_clock() + SOAK_ROUND, limit = end + RUN_LIMIT;
    struct loop_address plain_address;
    int                 plain = plain_open(kind, &plain_address);

    atomic_store(&soak_over, false);
    atomic_store(&clients_open, CLIENTS);
    for (uint32_t i = 0; i < LOOPS; i++) {
        places[i].loop = test_loop_new(&options);
        talker_open(&servers[i], i, kind, &random);
        servers[i].serves = true;
    }
    for (uint32_t i = 0; i < CLIENTS; i++) { /* to the other loop, or to the plain socket */
        talker_open(&clients[i], i % LOOPS, kind, &random);
        clients[i].flow = i;
        clients[i].to = plain_address;
        if (i < LOOPS)
            soak_assert(loop_datagram_local_address(&servers[!i].datagram, &clients[i].to) == 0);
    }
    for (uint32_t i = 0; i < LOOPS; i++)
        soak_assert(pthread_create(&places[i].thread, NULL, soak_place_run, &places[i]) == 0);
    while (atomic_load(&places[0].open) + atomic_load(&places[1].open) > 0) {
        if (test_clock() > end)
            atomic_store(&soak_over, true);
        if (test_clock() > limit)
            stuck();
        plain_answer(plain);
        test_sleep(test_random(&random) % (200 * LOOP_MICROSECOND));
    }
    for (uint32_t i = 0; i < LOOPS; i++)
        soak_assert(pthread_join(places[i].thread, NULL) == 0);
    for (uint32_t i = 0; i < CLIENTS; i++)
        bytes += clients[i].answered_bytes;
    for (uint32_t i = 0; i < LOOPS; i++)
        test_loop_free(places[i].loop);
    test_close(plain);
    return bytes;
}

/* Goal: whatever ways of sending and receiving are mixed, by whichever thread, each datagram arrives once, whole, and
 * in its turn, each send comes back once, and nothing is left: operations, buffers, descriptors, memory. Method: rounds
 * of half a second in which clients keep a few datagrams under way to servers that send back what came; then all must
 * have been answered. Odd seeds have a tiny ring. */
START_TEST(byte_for_byte)
{
    static const char *const kinds[] = {"udp4", "unix", "udp6"};
    uint64_t                 seed = test_env("TEST_SEED", test_clock()), bytes = 0;
    uint64_t                 end = test_clock() + test_env("RINGLOOP_SOAK_S", 2) * LOOP_SECOND;
    uint32_t                 descriptors = test_fd_count(), rounds = 0;

    do {
        printf("soak: %s, TEST_SEED=%" PRIu64 "\n", kinds[_i], seed);
        fflush(stdout);
        bytes += soak_round(_i, seed++);
        soak_assert(test_fd_count() == descriptors);
        soak_assert(test_memory.blocks == 0);
        rounds++;
    } while (test_clock() < end || rounds < 2);
    printf("soak: %s, %u rounds, %" PRIu64 " MB:", kinds[_i], rounds, bytes / 1000000);
    for (int i = 0; i < MANNERS; i++) {
        printf(" %s %llu", manner_names[i], (unsigned long long)manners[i]);
        soak_assert_msg(manners[i] > 0 || (i == SEGMENTED && _i == PORT_UNIX), "never happened: %s", manner_names[i]);
    }
    printf("\n");
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("net/soak_datagram");
    TCase *tcase = test_case(suite, "soak");

    tcase_set_timeout(tcase, (double)test_env("RINGLOOP_SOAK_S", 2) + 100);
    tcase_add_loop_test(tcase, byte_for_byte, 0, port_kinds());
    return suite;
}
