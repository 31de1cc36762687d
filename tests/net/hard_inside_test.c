/* tests/net/hard_inside_test.c: what callbacks may do: anything, to their own stream, to others, and to new ones. */
#include "tests/net/door.h"

/* Where it is done from. */
enum place {
    INSIDE_CONNECT,
    INSIDE_READ,
    INSIDE_END,
    INSIDE_WRITE,
    INSIDE_SHUTDOWN,
    INSIDE_CLOSE, /* of a third stream */
    INSIDE_ACCEPT,
    INSIDE_TIMER,
    INSIDE_POST,
    PLACES
};

enum act {
    ACT_CLOSE,
    ACT_RESET,
    ACT_WRITE,
    ACT_WRITE_MUCH,
    ACT_WRITE_CLOSE,
    ACT_SHUTDOWN,
    ACT_WRITE_SHUTDOWN_CLOSE,
    ACT_STOP_AND_START,
    ACT_CONNECT, /* a new stream */
    ACT_EVERYTHING,
    ACTS
};

enum { LITTLE = 100, MUCH = 3 << 20 };

static struct world {
    struct loop      *loop;
    struct link       own, other, third;
    struct end        fresh;
    struct door       door;
    struct loop_timer timer;
    struct end       *target;
    enum act          act;
    uint32_t          acted;
    int               listener;    /* of the own stream's connection */
    bool              ended_by_us; /* the target was closed or reset */
} world;

/* ---- what is done */

static void write_to_target(size_t size)
{
    struct end *target = world.target;
    int         expected = 0;

    if (loop_stream_closing(&target->stream) || loop_stream_fd(&target->stream) < 0)
        expected = -EINVAL;
    else if (target->arg != NULL) /* a shutdown was asked for */
        expected = -EPIPE;
    ck_assert_int_eq(end_write(target, size, size == MUCH ? LOOP_WRITE_COPY : 0), expected);
}

static void shut_target(void)
{
    struct end *target = world.target;
    int         expected = 0;

    if (loop_stream_closing(&target->stream) || loop_stream_fd(&target->stream) < 0)
        expected = -EINVAL;
    else if (target->arg != NULL)
        expected = -ENOTCONN;
    ck_assert_int_eq(CALL(loop_stream_shutdown(&target->stream, end_shutdown_cb)), expected);
    if (expected == 0)
        target->arg = target;
}

static void end_target(bool by_reset)
{
    struct loop_stream *stream = &world.target->stream;

    inside_call = true;
    if (by_reset)
        loop_stream_reset(stream, end_close_cb);
    else
        loop_stream_close(stream, end_close_cb);
    inside_call = false;
    ck_assert(loop_stream_closing(stream));
    world.ended_by_us = true;
}

static void stop_and_start_target(void)
{
    struct end *target = world.target;
    int         started = target->read_ends > 0 ? -ENOTCONN : 0;

    ck_assert_int_eq(CALL(loop_stream_read_stop(&target->stream)), 0);
    ck_assert_int_eq(CALL(loop_stream_read_start(&target->stream, end_read_cb)), started);
    ck_assert_int_eq(CALL(loop_stream_read_stop(&target->stream)), 0);
    ck_assert_int_eq(CALL(loop_stream_read_start(&target->stream, end_read_cb)), started);
}

static void connect_fresh(void)
{
    end_connect(world.loop, &world.fresh, &world.door.address, NULL);
    ck_assert_int_eq(end_write(&world.fresh, LITTLE, 0), 0);
}

static void act(void)
{
    if (world.acted++ > 0)
        return;
    switch (world.act) {
    case ACT_CLOSE: end_target(false); break;
    case ACT_RESET: end_target(true); break;
    case ACT_WRITE: write_to_target(LITTLE); break;
    case ACT_WRITE_MUCH: write_to_target(MUCH); break;
    case ACT_WRITE_CLOSE:
        write_to_target(MUCH);
        end_target(false);
        break;
    case ACT_SHUTDOWN: shut_target(); break;
    case ACT_WRITE_SHUTDOWN_CLOSE:
        write_to_target(LITTLE);
        shut_target();
        end_target(false);
        break;
    case ACT_STOP_AND_START: stop_and_start_target(); break;
    case ACT_CONNECT: connect_fresh(); break;
    case ACT_EVERYTHING:
        connect_fresh();
        stop_and_start_target();
        write_to_target(LITTLE);
        shut_target();
        shut_target();
        end_target(true);
        write_to_target(LITTLE);
        shut_target();
        break;
    case ACTS: break;
    }
}

/* ---- where from */

static void acting_connect_cb(struct loop_stream *stream, int error)
{
    end_connect_cb(stream, error);
    ck_assert_int_eq(error, 0);
    act();
}

static void acting_read_cb(struct loop_stream *stream, const struct loop_result *result)
{
    end_read_cb(stream, result);
    act();
}

static void acting_write_cb(struct loop_stream *stream, int error, size_t bytes, void *arg)
{
    struct end *end = end_of(stream);

    (void)arg;
    callback_enter();
    ck_assert_int_eq(error, 0);
    end->writes_done++;
    end->taken_bytes += bytes;
    act();
}

static void acting_shutdown_cb(struct loop_stream *stream, int error)
{
    end_shutdown_cb(stream, error);
    act();
}

static void acting_close_cb(struct loop_stream *stream)
{
    end_close_cb(stream);
    act();
}

static void acting_accept_cb(struct loop_listener *listener, int result)
{
    door_accept_cb(listener, result);
    act();
}

static void acting_timer_cb(struct loop_timer *timer)
{
    (void)timer;
    act();
}

static void acting_post_cb(struct loop *loop, void *arg)
{
    (void)loop;
    (void)arg;
    act();
}

/* Leads to the callback. */
static void set_off(enum place place, int *ret_client)
{
    struct end *own = &world.own.end;
    char        byte;

    switch (place) {
    case INSIDE_CONNECT: break; /* see own_open() */
    case INSIDE_READ: ck_assert(peer_feed(&world.own.peer, LITTLE)); break;
    case INSIDE_END: ck_assert_int_eq(shutdown(world.own.peer.fd, SHUT_WR), 0); break;
    case INSIDE_WRITE:
        pattern_fill(own->write_flow, 0, &byte, 1);
        must_write(own, &byte, 1, acting_write_cb, NULL, NULL);
        own->writes_started++;
        own->write_bytes++;
        break;
    case INSIDE_SHUTDOWN:
        ck_assert_int_eq(CALL(loop_stream_shutdown(&own->stream, acting_shutdown_cb)), 0);
        own->arg = own;
        break;
    case INSIDE_CLOSE: loop_stream_close(&world.third.end.stream, acting_close_cb); break;
    case INSIDE_ACCEPT: *ret_client = net_dial(&world.door.address); break;
    case INSIDE_TIMER:
        ck_assert_int_eq(loop_timer_start(world.loop, &world.timer, LOOP_MILLISECOND, 0, acting_timer_cb), 0);
        break;
    case INSIDE_POST: ck_assert_int_eq(loop_post(world.loop, acting_post_cb, NULL), 0); break;
    case PLACES: break;
    }
}

static void own_open(enum place place, int kind)
{
    struct loop_address address;

    if (place != INSIDE_CONNECT) {
        link_open(world.loop, &world.own, kind, 1, NULL);
        ck_assert_int_eq(CALL(loop_stream_read_start(&world.own.end.stream, acting_read_cb)), 0);
        return;
    }
    world.listener = net_listen(kind, 1, &address);
    world.own = (struct link){.end = {.write_flow = 2, .read_flow = 3}, .peer = {.read_flow = 2, .write_flow = 3}};
    ck_assert_int_eq(CALL(loop_stream_connect(world.loop, &world.own.end.stream, &address, NULL, acting_connect_cb)),
                     0);
}

/* ---- and what comes of it */

static void drain_peers(void)
{
    peer_drain(&world.own.peer, SIZE_MAX);
    peer_drain(&world.other.peer, SIZE_MAX);
}

/* A connection that nobody ended goes on working both ways. */
static void still_works(struct link *link)
{
    struct end *end = &link->end;

    if (loop_stream_closing(&end->stream) || end->closes > 0)
        return;
    if (end->read_ends == 0) {
        ck_assert_int_eq(CALL(loop_stream_read_start(&end->stream, end_read_cb)), 0);
        ck_assert(peer_feed(&link->peer, link->peer.write_bytes + LITTLE));
        run_until(world.loop, end->read_bytes == link->peer.write_bytes);
    }
    if (end->arg == NULL)
        ck_assert_int_eq(end_write(end, LITTLE, 0), 0);
    pump_until(world.loop, (drain_peers(), link->peer.read_bytes == end->write_bytes));
    run_until(world.loop, end->writes_done == end->writes_started);
    ck_assert_uint_eq(end->writes_failed, 0);
    ck_assert_uint_eq(end->shutdowns, end->arg != NULL);
}

static void finish(struct link *link)
{
    if (link->end.closes == 0 && !loop_stream_closing(&link->end.stream))
        end_close(&link->end);
    run_until(world.loop, link->end.closes == 1);
    peer_finish(&link->peer);
    ck_assert_uint_le(link->peer.read_bytes, link->end.taken_bytes);
    ck_assert_uint_eq(link->end.writes_done, link->end.writes_started);
    ck_assert_uint_eq(link->end.shutdowns, link->end.arg != NULL);
    link_close(world.loop, link);
}

/* Goal: a callback may do anything to its own stream, to another, and to new ones; each callback comes once and in
 * order, what nobody has ended goes on working, and nothing is left. Method: each act of enum act inside each callback
 * of enum place, on its own stream or another, over tcp and unix. */
START_TEST(act_inside)
{
    enum place          place = (enum place)(_i / 4 / ACTS);
    int                 kind = _i % 2, client = -1;
    struct loop_address address = net_address(kind);

    world = (struct world){.loop = test_loop_new(NULL), .act = (enum act)(_i / 4 % ACTS)};
    world.target = _i / 2 % 2 == 0 ? &world.own.end : &world.other.end;
    link_open(world.loop, &world.other, kind, 2, NULL);
    end_read_start(&world.other.end);
    link_open(world.loop, &world.third, kind, 3, NULL);
    door_open_at(world.loop, &world.door, &address, NULL, place == INSIDE_ACCEPT ? acting_accept_cb : door_accept_cb);
    own_open(place, kind);
    if (place != INSIDE_CONNECT)
        settle(world.loop);
    set_off(place, &client);
    run_until(world.loop, world.acted > 0);
    if (place == INSIDE_CONNECT) {
        world.own.peer.fd = accept4(world.listener, NULL, NULL, SOCK_CLOEXEC);
        ck_assert_int_ge(world.own.peer.fd, 0);
        test_close(world.listener);
    }
    if (world.ended_by_us)
        run_until(world.loop, world.target->closes == 1);
    still_works(&world.own);
    still_works(&world.other);
    if (world.fresh.write_bytes > 0) {
        run_until(world.loop, world.fresh.writes_done == 1);
        ck_assert_int_eq(world.fresh.connect_error, 0);
        end_close(&world.fresh);
        run_until(world.loop, world.fresh.closes == 1);
    }
    finish(&world.own);
    finish(&world.other);
    link_close(world.loop, &world.third);
    if (client >= 0)
        test_close(client);
    loop_timer_stop(&world.timer);
    door_close(world.loop, &world.door);
    test_run(world.loop);
    test_loop_free(world.loop);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("net/hard_inside");
    TCase *tcase = test_case(suite, "inside");

    tcase_add_loop_test(tcase, act_inside, 0, PLACES * ACTS * 4);
    return suite;
}
