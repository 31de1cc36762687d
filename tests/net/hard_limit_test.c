/* tests/net/hard_limit_test.c: streams and listeners when descriptors or buffers have run out. */
#include "tests/net/net_test.h"

#include <fcntl.h>
#include <sys/resource.h>

/* ---- descriptors */

enum { VISITORS = 120, HIGH_NUMBER = 2000, FREE = 6, LISTENERS = 3, REQUEST = 100 };

struct service {
    struct end end;
    bool       taken;
};

static struct {
    struct loop         *loop;
    struct loop_listener listeners[LISTENERS]; /* tcp, unix, tcp again */
    struct service       services[VISITORS];
    struct peer          visitors[VISITORS];
    uint32_t             served, open, open_max, shortages, listeners_closed;
} inn;

static void service_closed(struct loop_stream *stream)
{
    end_close_cb(stream);
    inn.open--;
    inn.served++;
}

static void service_shut(struct loop_stream *stream, int error)
{
    end_shutdown_cb(stream, error);
    ck_assert_int_eq(error, 0);
    loop_stream_close(stream, service_closed);
}

static void service_read(struct loop_stream *stream, const struct loop_result *result)
{
    struct end *end = end_of(stream);

    end_read_cb(stream, result);
    ck_assert_int_gt(result->res, 0);
    if (end->read_bytes < REQUEST)
        return;
    ck_assert_int_eq(end_write(end, REQUEST, 0), 0);
    ck_assert_int_eq(CALL(loop_stream_shutdown(stream, service_shut)), 0);
}

static void inn_accepted(struct loop_listener *listener, int result)
{
    struct service *service = inn.services;

    (void)listener;
    callback_enter();
    if (result < 0) {
        ck_assert_int_eq(result, -EMFILE);
        inn.shortages++;
        return;
    }
    ck_assert_int_lt(result, HIGH_NUMBER);
    while (service->taken)
        ck_assert_ptr_ne(++service, inn.services + VISITORS);
    *service = (struct service){.taken = true, .end = {.read_flow = 1, .write_flow = 2}};
    inn.open++;
    if (inn.open > inn.open_max)
        inn.open_max = inn.open;
    end_open(inn.loop, &service->end, result, NULL);
    ck_assert_int_eq(CALL(loop_stream_read_start(&service->end.stream, service_read)), 0);
}

/* Out of the way of the limit, which is about numbers. */
static int move_up(int fd)
{
    int high = fcntl(fd, F_DUPFD_CLOEXEC, HIGH_NUMBER);

    ck_assert_int_ge(high, HIGH_NUMBER);
    test_close(fd);
    return high;
}

/* Leaves so many numbers free below the limit. */
static struct rlimit limit_to(uint32_t free_count)
{
    struct rlimit before, now;
    int           fds[FREE + 1];

    for (uint32_t i = 0; i <= free_count; i++) {
        fds[i] = fcntl(0, F_DUPFD_CLOEXEC, 0);
        ck_assert_int_ge(fds[i], 0);
    }
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    now = before;
    now.rlim_cur = (rlim_t)fds[free_count];
    for (uint32_t i = 0; i <= free_count; i++)
        test_close(fds[i]);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &now), 0);
    return before;
}

static void inn_listener_closed(struct loop_listener *listener)
{
    (void)listener;
    inn.listeners_closed++;
}

static void inn_open(void)
{
    struct loop_address address, addresses[LISTENERS];
    struct rlimit       limit;

    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = HIGH_NUMBER + 2 * VISITORS;
    if (limit.rlim_max < limit.rlim_cur)
        limit.rlim_max = limit.rlim_cur;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    inn.loop = test_loop_new(NULL);
    for (int i = 0; i < LISTENERS; i++) {
        address = net_address(i == 1 ? NET_UNIX : NET_TCP4);
        ck_assert_int_eq(loop_listener_start(inn.loop, &inn.listeners[i], &address, NULL, inn_accepted), 0);
        ck_assert_int_eq(loop_listener_address(&inn.listeners[i], &addresses[i]), 0);
        ck_assert_int_eq(CALL(loop_listener_pause(&inn.listeners[i])), 0); /* an accept in flight looked at the limit */
    }
    settle(inn.loop);
    for (int i = 0; i < VISITORS; i++)
        inn.visitors[i] =
            (struct peer){.fd = move_up(net_dial(&addresses[i % LISTENERS])), .read_flow = 2, .write_flow = 1};
}

/* Goal: with a few descriptors and many more waiting in the backlogs of several listeners, all are served in the end,
 * none is dropped, the loop does not spin, and a connection that the loop itself wants is refused by the call. Method:
 * 120 clients wait at three listeners, with six free descriptors; each connection is served and closed; turns and
 * reports are counted. i 1: nobody sends at first, so that all stand still, with nothing to do. */
START_TEST(more_waiting_than_descriptors)
{
    struct loop_address address = net_parse("127.0.0.1", 9);
    struct loop_stream  refused = {0};
    struct rlimit       before;
    uint64_t            turns;

    inn_open();
    before = limit_to(FREE);
    for (int i = 0; i < LISTENERS; i++)
        ck_assert_int_eq(CALL(loop_listener_resume(&inn.listeners[i])), 0);
    run_until(inn.loop, inn.shortages > 0 && inn.open == FREE);
    if (_i == 1) {
        turns = run_for(inn.loop, 250 * LOOP_MILLISECOND);
        ck_assert_uint_le(turns, 80);
        ck_assert_uint_eq(inn.open, FREE);
        ck_assert_int_eq(loop_stream_connect(inn.loop, &refused, &address, NULL, NULL), -EMFILE);
    }
    for (int i = 0; i < VISITORS; i++)
        ck_assert(peer_feed(&inn.visitors[i], REQUEST));
    run_until(inn.loop, inn.served == VISITORS);
    ck_assert_uint_le(inn.open_max, FREE);
    ck_assert_uint_le(inn.shortages, VISITORS * LISTENERS);
    for (int i = 0; i < VISITORS; i++) {
        peer_finish(&inn.visitors[i]);
        ck_assert_int_eq(inn.visitors[i].error, 0);
        ck_assert_uint_eq(inn.visitors[i].read_bytes, REQUEST);
        test_close(inn.visitors[i].fd);
    }
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    for (int i = 0; i < LISTENERS; i++)
        loop_listener_close(&inn.listeners[i], inn_listener_closed);
    test_run(inn.loop);
    ck_assert_uint_eq(inn.listeners_closed, LISTENERS);
    test_loop_free(inn.loop);
}
END_TEST

/* ---- buffers */

enum { BUFFERS = 4, BUFFER_BYTES = 512, PARKED = 48, PART = 2000 };

static const struct loop_options tiny_group = {.buffer_size = BUFFER_BYTES, .buffer_count = BUFFERS};

static struct {
    struct link link;
    loop_buffer kept[BUFFERS];
    uint32_t    count;
} hog;

static void hog_read(struct loop_stream *stream, const struct loop_result *result)
{
    end_read_cb(stream, result);
    ck_assert_int_gt(result->res, 0);
    ck_assert_uint_lt(hog.count, BUFFERS);
    ck_assert_int_eq(loop_buffer_keep(loop_stream_loop(stream), result->buffer), 0);
    hog.kept[hog.count++] = result->buffer;
    if (hog.count == BUFFERS)
        ck_assert_int_eq(CALL(loop_stream_read_stop(stream)), 0);
}

static void hog_open(struct loop *loop)
{
    link_open(loop, &hog.link, NET_UNIX, 1000, NULL);
    ck_assert_int_eq(CALL(loop_stream_read_start(&hog.link.end.stream, hog_read)), 0);
    ck_assert(peer_feed(&hog.link.peer, BUFFERS * BUFFER_BYTES));
    run_until(loop, hog.count == BUFFERS);
    settle(loop);
}

static void hog_return(struct loop *loop)
{
    while (hog.count > 0)
        ck_assert_int_eq(loop_buffer_return(loop, hog.kept[--hog.count]), 0);
}

/* What becomes of each that waits for a buffer. */
enum fate { FATE_END, FATE_RESET, FATE_DATA, FATE_DATA_END, FATE_DATA_RESET, FATE_CLOSED, FATE_STOPPED, FATE_AGAIN };
enum { FATES = FATE_AGAIN + 1 };

static void meet_fate(struct link *link, enum fate fate)
{
    switch (fate) {
    case FATE_END: ck_assert_int_eq(shutdown(link->peer.fd, SHUT_WR), 0); break;
    case FATE_DATA_RESET:
    case FATE_RESET:
        net_reset(link->peer.fd);
        link->peer.fd = -1;
        break;
    case FATE_DATA: break;
    case FATE_DATA_END: ck_assert_int_eq(shutdown(link->peer.fd, SHUT_WR), 0); break;
    case FATE_CLOSED: end_close(&link->end); break;
    case FATE_STOPPED: ck_assert_int_eq(CALL(loop_stream_read_stop(&link->end.stream)), 0); break;
    case FATE_AGAIN:
        ck_assert_int_eq(CALL(loop_stream_read_stop(&link->end.stream)), 0);
        ck_assert_int_eq(CALL(loop_stream_read_start(&link->end.stream, end_read_cb)), 0);
        break;
    }
}

static void check_fate(struct loop *loop, struct link *link, enum fate fate)
{
    struct end *end = &link->end;

    switch (fate) {
    case FATE_END:
        run_until(loop, end->read_ends == 1);
        ck_assert_int_eq(end->read_error, 0);
        break;
    case FATE_RESET:
        run_until(loop, end->read_ends == 1);
        ck_assert_int_eq(end->read_error, -ECONNRESET);
        break;
    case FATE_DATA_RESET:
        run_until(loop, end->read_ends == 1);
        ck_assert_int_eq(end->read_error, -ECONNRESET);
        break;
    case FATE_DATA:
    case FATE_AGAIN:
        run_until(loop, end->read_bytes == PART);
        ck_assert_uint_eq(end->read_ends, 0);
        break;
    case FATE_DATA_END:
        run_until(loop, end->read_ends == 1);
        ck_assert_int_eq(end->read_error, 0);
        ck_assert_uint_eq(end->read_bytes, PART);
        break;
    case FATE_CLOSED:
        run_until(loop, end->closes == 1);
        ck_assert_uint_eq(end->reads + end->read_ends, 0);
        break;
    case FATE_STOPPED:
        ck_assert_uint_eq(end->reads + end->read_ends, 0);
        end_read_start(end);
        run_until(loop, end->read_bytes == PART);
        break;
    }
}

/* Goal: while a group is empty, those who wait for it meet ends, resets, closes and stops, with data before them or
 * not; each gets what is its own, and those without data get it at once. Method: 48 streams over tcp, in the order of
 * their fates (i even) or mixed; the buffers come back only after all that; turns meanwhile show that nothing spins. */
START_TEST(fates_of_the_parked)
{
    static struct link links[PARKED];
    struct loop       *loop = test_loop_new(&tiny_group);
    uint64_t           random = test_env("RINGLOOP_SEED", 23) + (uint64_t)_i;
    enum fate          fates[PARKED];

    hog_open(loop);
    for (uint32_t i = 0; i < PARKED; i++) {
        fates[i] = (enum fate)(_i == 0 ? i / (PARKED / FATES) : test_random(&random) % FATES);
        link_open(loop, &links[i], NET_TCP4, i, NULL);
        end_read_start(&links[i].end);
        if (_i != 0)
            test_turns(loop, (uint32_t)(test_random(&random) % 3));
        if (fates[i] != FATE_END && fates[i] != FATE_RESET)
            ck_assert(peer_feed(&links[i].peer, PART));
    }
    settle(loop);
    for (uint32_t i = 0; i < PARKED; i++)
        meet_fate(&links[i], fates[i]);
    for (uint32_t i = 0; i < PARKED; i++)
        if (fates[i] == FATE_END || fates[i] == FATE_RESET || fates[i] == FATE_CLOSED)
            check_fate(loop, &links[i], fates[i]);
    ck_assert_uint_lt(run_for(loop, 40 * LOOP_MILLISECOND), 10);
    ck_assert_uint_eq(test_stats(loop).buffers_lent, BUFFERS);
    hog_return(loop);
    for (uint32_t i = 0; i < PARKED; i++)
        check_fate(loop, &links[i], fates[i]);
    settle(loop);
    ck_assert_uint_eq(test_stats(loop).buffers_lent, 0);
    for (uint32_t i = 0; i < PARKED; i++)
        link_close(loop, &links[i]);
    link_close(loop, &hog.link);
    test_loop_free(loop);
}
END_TEST

/* Goal: data and the end or reset right behind it are both told, whenever they come: also while the loop is asking
 * whether anything is there, since it had no buffer. Method: reading starts without a buffer; after i % 6 turns the
 * peer sends and ends, all at once, and the buffers come back at once or later; over tcp by reset, over unix by
 * closing. */
START_TEST(both_at_once_at_any_time)
{
    int          turns = _i % 6, kind = _i / 6 % 2;
    struct loop *loop = test_loop_new(&tiny_group);
    struct link  link;

    for (int late = 0; late < 3; late++) {
        hog_open(loop);
        link_open(loop, &link, kind, 1, NULL);
        end_read_start(&link.end);
        test_turns(loop, (uint32_t)turns);
        if (late == 0)
            hog_return(loop);
        ck_assert(peer_feed(&link.peer, PART));
        net_reset(link.peer.fd);
        link.peer.fd = -1;
        test_turns(loop, (uint32_t)late);
        hog_return(loop);
        run_until(loop, link.end.read_ends == 1);
        ck_assert_int_eq(link.end.read_error, kind == NET_UNIX ? 0 : -ECONNRESET);
        ck_assert_uint_eq(link.end.read_bytes, PART);
        link_close(loop, &link);
        link_close(loop, &hog.link);
    }
    test_loop_free(loop);
}
END_TEST

/* Goal: the same with buffers that come and go all the time. Method: 400 streams one after the other join a crowd that
 * shares the four buffers with a hog which takes and gives them back at random; each is fed, and ends by its fate at a
 * random time; in the end all have what is theirs. */
START_TEST(fates_at_random)
{
    static struct link links[PARKED];
    struct loop       *loop = test_loop_new(&tiny_group);
    uint64_t           random = test_env("RINGLOOP_SEED", 29) + (uint64_t)_i;
    enum fate          fates[PARKED];

    hog_open(loop);
    for (uint32_t round = 0; round < 400; round++) {
        uint32_t i = round % PARKED;

        if (round >= PARKED) {
            if (hog.count == BUFFERS)
                hog_return(loop);
            if (fates[i] != FATE_STOPPED)
                check_fate(loop, &links[i], fates[i]);
            link_close(loop, &links[i]);
            if (test_random(&random) % 2 == 0 && hog.count == 0) {
                end_close(&hog.link.end);
                link_close(loop, &hog.link);
                hog_open(loop);
            }
        }
        fates[i] = (enum fate)(test_random(&random) % FATES);
        link_open(loop, &links[i], round % 5 == 0 ? NET_UNIX : NET_TCP4, i, NULL);
        if (links[i].peer.fd >= 0 && round % 5 == 0 && (fates[i] == FATE_RESET || fates[i] == FATE_DATA_RESET))
            fates[i] = FATE_DATA_END; /* unix sockets know no reset */
        end_read_start(&links[i].end);
        test_turns(loop, (uint32_t)(test_random(&random) % 2));
        if (fates[i] != FATE_END && fates[i] != FATE_RESET && fates[i] != FATE_CLOSED && fates[i] != FATE_STOPPED)
            ck_assert(peer_feed(&links[i].peer, PART));
        test_turns(loop, (uint32_t)(test_random(&random) % 2));
        meet_fate(&links[i], fates[i]);
    }
    hog_return(loop);
    for (uint32_t i = 0; i < PARKED; i++) {
        if (fates[i] != FATE_STOPPED)
            check_fate(loop, &links[i], fates[i]);
        link_close(loop, &links[i]);
    }
    ck_assert_uint_eq(test_stats(loop).buffers_lent, 0);
    link_close(loop, &hog.link);
    test_loop_free(loop);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("net/hard_limit");
    TCase *tcase = test_case(suite, "descriptors");

    tcase_add_loop_test(tcase, more_waiting_than_descriptors, 0, 2);
    tcase = test_case(suite, "buffers");
    tcase_add_loop_test(tcase, fates_of_the_parked, 0, 4);
    tcase_add_loop_test(tcase, both_at_once_at_any_time, 0, 12);
    tcase_add_loop_test(tcase, fates_at_random, 0, 4);
    return suite;
}
