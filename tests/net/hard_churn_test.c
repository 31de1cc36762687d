/* tests/net/hard_churn_test.c: thousands of connections come and go while others work. */
#include "tests/net/couple.h"

#include <pthread.h>
#include <semaphore.h>
#include <sys/resource.h>

enum {
    DROPS = 20000,      /* connections in all */
    AT_A_TIME = 256,    /* not yet closed by the loop */
    WORKERS = 50,       /* that stay */
    BLOCK = 16000,      /* bytes of a worker's write */
    BLOCKS_MIN = 100,   /* that each worker has sent at least */
    MESSAGE_MAX = 3000, /* bytes that a dropped client sends, and gets */
};

#define PACE (10 * LOOP_MILLISECOND)

/* How a connection ends: who drops it, and whether by RST. */
enum { BY_SERVER = 1, BY_RESET = 2, WITH_DATA = 4, ENDINGS = 8 };

struct guest {
    struct end end;
    uint32_t   number;
};

static struct {
    struct loop         *loop;
    struct loop_listener listeners[2]; /* tcp, unix */
    struct loop_address  addresses[2];
    struct couple        workers[WORKERS];
    struct loop_timer    pace;
    uint32_t             accepted, closed, listeners_closed;
    uint64_t             guest_bytes;
    sem_t                room;
    bool                 over; /* the workers may stop */
} churn;

/* ---- those that stay */

static void worker_written(struct loop_stream *stream, int error, size_t bytes, void *arg)
{
    struct end *end = end_of(stream);

    (void)arg;
    callback_enter();
    ck_assert_int_eq(error, 0);
    ck_assert_uint_eq(bytes, BLOCK);
    end->writes_done++;
    end->taken_bytes += bytes;
}

static void worker_write(struct end *end)
{
    char *block = end->arg;

    if (end->writes_done < end->writes_started)
        return; /* the peer has not taken the last one */
    if (churn.over && end->writes_done >= BLOCKS_MIN) {
        if (end->shutdowns == 0)
            (void)loop_stream_shutdown(&end->stream, end_shutdown_cb); /* -ENOTCONN: it waits already */
        return;
    }
    pattern_fill(end->write_flow, end->write_bytes, block, BLOCK);
    must_write(end, block, BLOCK, worker_written, NULL, NULL);
    end->writes_started++;
    end->write_bytes += BLOCK;
}

/* Each assert of libcheck writes to a file: at full speed the workers would leave the others no time. */
static void workers_write(struct loop_timer *timer)
{
    (void)timer;
    for (uint32_t i = 0; i < WORKERS; i++) {
        worker_write(&churn.workers[i].a);
        worker_write(&churn.workers[i].b);
    }
}

static void worker_start(struct end *end)
{
    end->arg = malloc(BLOCK);
    ck_assert_ptr_nonnull(end->arg);
    end_read_start(end);
}

static void worker_check(struct end *end, const struct end *other)
{
    run_until(churn.loop, end->shutdowns == 1 && end->read_ends == 1);
    ck_assert_int_eq(end->shutdown_error, 0);
    ck_assert_int_eq(end->read_error, 0);
    run_until(churn.loop, other->shutdowns == 1);
    ck_assert_uint_eq(end->read_bytes, other->write_bytes);
    ck_assert_uint_ge(end->read_bytes, (uint64_t)BLOCKS_MIN * BLOCK);
    free(end->arg);
}

/* ---- those that come and go */

static void guest_closed(struct loop_stream *stream)
{
    struct guest *guest = (struct guest *)end_of(stream);

    end_close_cb(stream);
    churn.guest_bytes += guest->end.read_bytes;
    memset(guest, 0xee, sizeof(*guest));
    free(guest);
    churn.closed++;
    ck_assert_int_eq(sem_post(&churn.room), 0);
}

static void guest_read(struct loop_stream *stream, const struct loop_result *result)
{
    struct guest *guest = (struct guest *)end_of(stream);

    end_read_cb(stream, result);
    if (result->res <= 0)
        loop_stream_close(stream, guest_closed);
    else if ((guest->number & BY_SERVER) == 0)
        return;
    else if ((guest->number & BY_RESET) != 0)
        loop_stream_reset(stream, guest_closed);
    else
        loop_stream_close(stream, guest_closed);
}

static void guest_accepted(struct loop_listener *listener, int result)
{
    struct guest *guest = calloc(1, sizeof(*guest));

    (void)listener;
    callback_enter();
    ck_assert_ptr_nonnull(guest);
    ck_assert_msg(result >= 0, "accept: %s", error_text(result));
    guest->number = churn.accepted++;
    guest->end.read_flow = 1;
    guest->end.write_flow = 2;
    end_open(churn.loop, &guest->end, result, NULL);
    ck_assert_int_eq(CALL(loop_stream_read_start(&guest->end.stream, guest_read)), 0);
    if (guest->number % 3 == 0)
        ck_assert_int_eq(end_write(&guest->end, 1 + guest->number % MESSAGE_MAX, 0), 0);
}

/* Connects from an address of its own among 127.0.0.0/8, so that ports in TIME_WAIT are in nobody's way. */
static int guest_dial(const struct loop_address *address, uint64_t *random)
{
    const int          on = 1;
    struct sockaddr_in from = {.sin_family = AF_INET};
    int                fd = socket(address->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ck_assert_int_ge(fd, 0);
    if (address->storage.ss_family == AF_INET) {
        from.sin_addr.s_addr = htonl(0x7f000000 | (uint32_t)(0x10000 + test_random(random) % 0xe00000));
        ck_assert_int_eq(setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on)), 0);
        ck_assert_int_eq(bind(fd, (const struct sockaddr *)&from, sizeof(from)), 0);
    }
    ck_assert_int_eq(connect(fd, (const struct sockaddr *)&address->storage, address->size), 0);
    return fd;
}

/* A client of the thread: sends or does not, waits for the server's drop or does not, and goes. */
static void guest_visit(const struct loop_address *address, uint64_t *random)
{
    int      fd = guest_dial(address, random);
    uint32_t how = (uint32_t)(test_random(random) % ENDINGS);
    uint8_t  bytes[MESSAGE_MAX];
    size_t   size = 1 + test_random(random) % MESSAGE_MAX;

    if ((how & (WITH_DATA | BY_SERVER)) != 0) {
        pattern_fill(1, 0, bytes, size);
        (void)send(fd, bytes, size, MSG_NOSIGNAL); /* it may have been reset already */
    }
    if (how == (WITH_DATA | BY_SERVER) && test_random(random) % 16 == 0) { /* a turn of the loop each: not too many */
        ck_assert_int_eq(shutdown(fd, SHUT_WR) == 0 || errno == ENOTCONN, 1);
        while (recv(fd, bytes, sizeof(bytes), 0) > 0)
            continue;
    }
    if ((how & BY_RESET) != 0)
        net_reset(fd);
    else
        test_close(fd);
}

static void *guests_main(void *arg)
{
    uint64_t random = test_env("RINGLOOP_SEED", 11);

    (void)arg;
    for (uint32_t i = 0; i < DROPS; i++) {
        struct timespec until;

        ck_assert_int_eq(clock_gettime(CLOCK_REALTIME, &until), 0);
        until.tv_sec += 20;
        while (sem_timedwait(&churn.room, &until) != 0)
            ck_assert_msg(errno == EINTR, "connections are not closed any more");
        guest_visit(&churn.addresses[i % 2], &random);
    }
    return NULL;
}

static void listener_closed(struct loop_listener *listener)
{
    (void)listener;
    churn.listeners_closed++;
}

static void churn_open(void)
{
    churn.loop = test_loop_new(NULL);
    ck_assert_int_eq(sem_init(&churn.room, 0, AT_A_TIME), 0);
    for (int i = 0; i < 2; i++) {
        struct loop_address address = net_address(i == 0 ? NET_TCP4 : NET_UNIX);

        ck_assert_int_eq(loop_listener_start(churn.loop, &churn.listeners[i], &address, NULL, guest_accepted), 0);
        ck_assert_int_eq(loop_listener_address(&churn.listeners[i], &churn.addresses[i]), 0);
    }
    for (uint32_t i = 0; i < WORKERS; i++) {
        couple_open(churn.loop, &churn.workers[i], i % 2 == 0 ? NET_TCP4 : NET_UNIX, 10 + i);
        worker_start(&churn.workers[i].a);
        worker_start(&churn.workers[i].b);
    }
    ck_assert_int_eq(loop_timer_start(churn.loop, &churn.pace, LOOP_MILLISECOND, PACE, workers_write), 0);
}

/* Goal: connections that come and go by the thousand, ended by either side, by FIN or RST, with data under way or none,
 * disturb none that stays, and leave nothing: no descriptor, context or buffer. Method: a thread makes 20 000, over tcp
 * and unix in turn, while 50 couples send 16 kB both ways every 10 ms; every byte of both is checked; then what the
 * loop says it holds. */
START_TEST(twenty_thousand_dropped)
{
    struct loop_stats whole;
    pthread_t         thread;

    churn_open();
    ck_assert_int_eq(pthread_create(&thread, NULL, guests_main, NULL), 0);
    for (uint32_t closed = 0; closed < DROPS; closed += DROPS / 20) /* each part has RUN_LIMIT for itself */
        run_until(churn.loop, churn.closed >= closed);
    run_until(churn.loop, churn.closed == DROPS);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    ck_assert_uint_eq(churn.accepted, DROPS);
    ck_assert_uint_gt(churn.guest_bytes, 0);
    churn.over = true;
    for (uint32_t i = 0; i < WORKERS; i++) {
        worker_check(&churn.workers[i].a, &churn.workers[i].b);
        worker_check(&churn.workers[i].b, &churn.workers[i].a);
    }
    loop_timer_stop(&churn.pace);
    whole = test_stats(churn.loop);
    ck_assert_uint_le(whole.context_bytes, (AT_A_TIME + 2 * WORKERS) * 4 * 64); /* a few for each, and none stays */
    ck_assert_uint_eq(whole.buffers_lent, 0);
    ck_assert_uint_eq(whole.cqes_stale, 0);
    ck_assert_uint_eq(whole.ops_in_flight, 2); /* the accepts */
    for (uint32_t i = 0; i < WORKERS; i++)
        couple_close(churn.loop, &churn.workers[i]);
    for (int i = 0; i < 2; i++)
        loop_listener_close(&churn.listeners[i], listener_closed);
    test_run(churn.loop);
    ck_assert_uint_eq(churn.listeners_closed, 2);
    ck_assert_int_eq(sem_destroy(&churn.room), 0);
    test_loop_free(churn.loop);
}
END_TEST

/* ---- one peer is slow */

enum { FAST = 6, FAST_BYTES = 8 << 20, SLOW_BYTES = 4 << 20, SLOW_READS = 3000 };

/* Goal: a peer that takes or gives one byte at a time holds up nobody: others go at full speed, and the slow ones lose
 * nothing and hold no buffer. Method: i 0: it reads so, with 4 MiB queued for it; 1: it writes so; six couples move 8
 * MiB each way meanwhile. When the fast are through, the slow one is not; then it may finish. */
START_TEST(a_byte_at_a_time)
{
    struct loop         *loop = test_loop_new(NULL);
    static struct couple fast[FAST];
    struct link          slow;
    uint32_t             steps = 0, through = 0;

    link_open(loop, &slow, NET_TCP4, 100, NULL);
    net_buffers(loop_stream_fd(&slow.end.stream), 65536);
    net_buffers(slow.peer.fd, 65536);
    end_read_start(&slow.end);
    ck_assert_int_eq(end_write(&slow.end, SLOW_BYTES, 0), 0);
    for (uint32_t i = 0; i < FAST; i++) {
        couple_open(loop, &fast[i], i % 2 == 0 ? NET_TCP4 : NET_UNIX, i);
        end_read_start(&fast[i].a);
        end_read_start(&fast[i].b);
        ck_assert_int_eq(end_write(&fast[i].a, FAST_BYTES, 0), 0);
        ck_assert_int_eq(end_write(&fast[i].b, FAST_BYTES, 0), 0);
    }
    while (through < FAST) {
        if (_i == 0)
            peer_drain(&slow.peer, 1);
        else
            peer_feed(&slow.peer, slow.peer.write_bytes + 1);
        ck_assert_int_ge(loop_run(loop, LOOP_RUN_NOWAIT), 0);
        ck_assert_uint_lt(++steps, 10000000);
        through = 0;
        for (uint32_t i = 0; i < FAST; i++)
            through += fast[i].a.read_bytes == FAST_BYTES && fast[i].b.read_bytes == FAST_BYTES;
    }
    ck_assert_uint_eq(slow.end.writes_done, 0);
    ck_assert_uint_le(slow.peer.read_bytes, _i == 0 ? steps : 0);
    for (uint32_t i = 0; i < SLOW_READS && _i == 1; i++) {
        peer_feed(&slow.peer, slow.peer.write_bytes + 1);
        test_turns(loop, 1);
    }
    pump_until(loop, (peer_drain(&slow.peer, SIZE_MAX), slow.peer.read_bytes == SLOW_BYTES));
    run_until(loop, slow.end.writes_done == 1 && slow.end.read_bytes == slow.peer.write_bytes);
    ck_assert_int_eq(slow.end.writes_failed, 0);
    ck_assert_uint_eq(test_stats(loop).buffers_lent, 0);
    for (uint32_t i = 0; i < FAST; i++)
        couple_close(loop, &fast[i]);
    link_close(loop, &slow);
    test_loop_free(loop);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("net/hard_churn");
    TCase *tcase = test_case(suite, "churn");

    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, twenty_thousand_dropped);
    tcase = test_case(suite, "slow peers");
    tcase_add_loop_test(tcase, a_byte_at_a_time, 0, 2);
    return suite;
}
