/* tests/foreign/uv_test.c: ringloop inside libuv, and libuv inside ringloop. */
#include "tests/foreign/visitors.h"

#include <ringloop/adapter/uv.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void count_uv(uv_timer_t *timer)
{
    ++*(uint32_t *)timer->data;
}

static void count_closed(struct loop_in_uv *bridge)
{
    ++*(uint32_t *)bridge->data;
}

/* ---- ringloop inside libuv */

struct guest {
    uv_loop_t         uv;
    struct loop      *loop;
    struct loop_in_uv bridge;
    uint32_t          closed;
};

static void guest_start(struct guest *guest)
{
    memset(guest, 0, sizeof(*guest));
    ck_assert_int_eq(uv_loop_init(&guest->uv), 0);
    guest->loop = test_loop_new(NULL);
    guest->bridge.data = &guest->closed;
    ck_assert_int_eq(loop_in_uv_start(&guest->bridge, guest->loop, &guest->uv), 0);
}

static void guest_end(struct guest *guest)
{
    if (guest->closed == 0)
        loop_in_uv_close(&guest->bridge, count_closed);
    ck_assert_int_eq(uv_run(&guest->uv, UV_RUN_DEFAULT), 0);
    ck_assert_uint_eq(guest->closed, 1);
    test_loop_free(guest->loop);
    ck_assert_int_eq(uv_loop_close(&guest->uv), 0);
}

/* Goal: a server on ringloop serves inside uv_run(), beside a timer of libuv's, and uv_run() returns when both have
 * nothing left. */
START_TEST(echo_inside)
{
    struct guest    guest;
    struct visitors visitors;
    struct echo     echo;
    uint32_t        ticks = 0;
    uv_timer_t      timer;

    guest_start(&guest);
    ck_assert_int_eq(uv_timer_init(&guest.uv, &timer), 0);
    timer.data = &ticks;
    ck_assert_int_eq(uv_timer_start(&timer, count_uv, 20, 0), 0);
    visitors_start(&visitors, echo_start(&echo, guest.loop));
    ck_assert_int_eq(uv_run(&guest.uv, UV_RUN_DEFAULT), 0);
    visitors_join(&visitors);
    ck_assert_uint_eq(ticks, 1);
    ck_assert_uint_eq(echo.closed, VISITORS);
    ck_assert_uint_eq(echo.bytes, (uint64_t)VISITORS * VISITOR_ROUNDS * VISITOR_BYTES);
    uv_close((uv_handle_t *)&timer, NULL);
    guest_end(&guest);
}
END_TEST

/* Goal: ringloop's timers fire while nothing else happens; without a ref they do not keep uv_run(). */
START_TEST(timers_inside)
{
    struct guest      guest;
    struct loop_timer timer = {0}, unref = {0};
    uint32_t          fired = 0;

    guest_start(&guest);
    timer.data = &fired;
    unref.data = &fired;
    ck_assert_int_eq(uv_run(&guest.uv, UV_RUN_DEFAULT), 0);
    for (uint32_t i = 0; i < 5; i++) {
        ck_assert_int_eq(loop_timer_start(guest.loop, &timer, i * 3 * LOOP_MILLISECOND, 0, test_count_timer), 0);
        loop_in_uv_update(&guest.bridge);
        ck_assert_int_eq(uv_run(&guest.uv, UV_RUN_DEFAULT), 0);
        ck_assert_uint_eq(fired, i + 1);
    }
    loop_timer_unref(&unref);
    ck_assert_int_eq(loop_timer_start(guest.loop, &unref, 3600 * LOOP_SECOND, 0, test_count_timer), 0);
    loop_in_uv_update(&guest.bridge);
    ck_assert_int_eq(uv_run(&guest.uv, UV_RUN_DEFAULT), 0);
    loop_timer_stop(&unref);
    guest_end(&guest);
}
END_TEST

/* Goal: a post from a thread wakes uv_run(), and may close the bridge from inside. */
static void part(struct loop *loop, void *arg)
{
    struct guest *guest = arg;

    (void)loop;
    loop_in_uv_close(&guest->bridge, count_closed);
}

static void *post_later(void *arg)
{
    struct guest *guest = arg;

    test_sleep(20 * LOOP_MILLISECOND);
    ck_assert_int_eq(loop_post(guest->loop, part, guest), 0);
    return NULL;
}

START_TEST(post_inside)
{
    struct guest      guest;
    struct loop_timer far = {0};
    pthread_t         thread;

    guest_start(&guest);
    ck_assert_int_eq(loop_timer_start(guest.loop, &far, 3600 * LOOP_SECOND, 0, test_count_timer), 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, post_later, &guest), 0);
    ck_assert_int_eq(uv_run(&guest.uv, UV_RUN_DEFAULT), 0);
    pthread_join(thread, NULL);
    loop_timer_stop(&far);
    guest_end(&guest);
}
END_TEST

/* Goal: operations that callbacks of libuv's start leave before it sleeps. Method: libuv's timer sends on a socket; the
 * receive at its other end, on ringloop too, ends the run. */
struct relay {
    struct guest    guest;
    uv_timer_t      timer;
    int             fds[2];
    struct test_log log;
};

static void send_it(uv_timer_t *timer)
{
    struct relay *relay = timer->data;

    ck_assert_int_gt(loop_send(relay->guest.loop, relay->fds[1], "x", 1, 0, NULL, NULL, NULL), 0);
}

START_TEST(started_by_uv)
{
    struct relay relay;
    char         byte;

    memset(&relay, 0, sizeof(relay));
    guest_start(&relay.guest);
    test_socketpair(relay.fds);
    ck_assert_int_gt(loop_recv(relay.guest.loop, relay.fds[0], &byte, 1, 0, test_log_cb, &relay.log, NULL), 0);
    ck_assert_int_eq(uv_timer_init(&relay.guest.uv, &relay.timer), 0);
    relay.timer.data = &relay;
    ck_assert_int_eq(uv_timer_start(&relay.timer, send_it, 5, 0), 0);
    ck_assert_int_eq(uv_run(&relay.guest.uv, UV_RUN_DEFAULT), 0);
    test_log_is(&relay.log, 1);
    uv_close((uv_handle_t *)&relay.timer, NULL);
    guest_end(&relay.guest);
    test_close(relay.fds[0]);
    test_close(relay.fds[1]);
}
END_TEST

/* ---- libuv inside ringloop */

struct host {
    struct loop         *loop;
    uv_loop_t            uv;
    struct loop_hosts_uv bridge;
    uint32_t             stopped;
};

static void count_stopped(struct loop_hosts_uv *bridge)
{
    ++*(uint32_t *)bridge->data;
}

static void host_start(struct host *host)
{
    memset(host, 0, sizeof(*host));
    host->loop = test_loop_new(NULL);
    ck_assert_int_eq(uv_loop_init(&host->uv), 0);
    host->bridge.data = &host->stopped;
    ck_assert_int_eq(loop_hosts_uv_start(&host->bridge, host->loop, &host->uv, count_stopped), 0);
}

static void host_end(struct host *host)
{
    loop_hosts_uv_stop(&host->bridge);
    ck_assert_int_eq(loop_run(host->loop, LOOP_RUN_DEFAULT), 0);
    ck_assert_uint_eq(host->stopped, 1);
    ck_assert_int_eq(host->bridge.priv.error, -ECANCELED);
    ck_assert_int_eq(uv_loop_close(&host->uv), 0);
    test_loop_free(host->loop);
}

/* libuv's echo server: what it got is written back and freed. */
struct uv_echo {
    uv_tcp_t listener;
    uint32_t closed;
    uint64_t bytes;
};

struct uv_reply {
    uv_write_t write;
    char      *bytes;
};

static void uv_room(uv_handle_t *handle, size_t size, uv_buf_t *buffer)
{
    (void)handle;
    *buffer = uv_buf_init(malloc(size), (unsigned)size);
}

static void uv_replied(uv_write_t *write, int status)
{
    struct uv_reply *reply = (struct uv_reply *)write;

    ck_assert_int_eq(status, 0);
    free(reply->bytes);
    free(reply);
}

static void uv_gone(uv_handle_t *handle)
{
    struct uv_echo *echo = handle->data;

    free(handle);
    if (++echo->closed == VISITORS)
        uv_close((uv_handle_t *)&echo->listener, NULL);
}

static void uv_received(uv_stream_t *stream, ssize_t size, const uv_buf_t *buffer)
{
    struct uv_echo  *echo = stream->data;
    struct uv_reply *reply;
    uv_buf_t         out;

    if (size <= 0) {
        free(buffer->base);
        if (size < 0)
            uv_close((uv_handle_t *)stream, uv_gone);
        return;
    }
    echo->bytes += (uint64_t)size;
    reply = calloc(1, sizeof(*reply));
    ck_assert_ptr_nonnull(reply);
    reply->bytes = buffer->base;
    out = uv_buf_init(buffer->base, (unsigned)size);
    ck_assert_int_eq(uv_write(&reply->write, stream, &out, 1, uv_replied), 0);
}

static void uv_visited(uv_stream_t *listener, int status)
{
    uv_tcp_t *client = calloc(1, sizeof(*client));

    ck_assert_int_eq(status, 0);
    ck_assert_ptr_nonnull(client);
    ck_assert_int_eq(uv_tcp_init(listener->loop, client), 0);
    client->data = listener->data;
    ck_assert_int_eq(uv_accept(listener, (uv_stream_t *)client), 0);
    ck_assert_int_eq(uv_read_start((uv_stream_t *)client, uv_room, uv_received), 0);
}

static uint16_t uv_echo_start(struct uv_echo *echo, uv_loop_t *uv)
{
    struct sockaddr_in address = test_localhost(0);
    int                size = sizeof(address);

    memset(echo, 0, sizeof(*echo));
    ck_assert_int_eq(uv_tcp_init(uv, &echo->listener), 0);
    echo->listener.data = echo;
    ck_assert_int_eq(uv_tcp_bind(&echo->listener, (struct sockaddr *)&address, 0), 0);
    ck_assert_int_eq(uv_listen((uv_stream_t *)&echo->listener, 64, uv_visited), 0);
    ck_assert_int_eq(uv_tcp_getsockname(&echo->listener, (struct sockaddr *)&address, &size), 0);
    return ntohs(address.sin_port);
}

/* Goal: a server on libuv serves inside loop_run(), beside one on ringloop, and the run ends when both have nothing
 * left. */
START_TEST(echo_hosted)
{
    struct host     host;
    struct visitors visitors, others;
    struct uv_echo  echo;
    struct echo     other;

    host_start(&host);
    visitors_start(&visitors, uv_echo_start(&echo, &host.uv));
    visitors_start(&others, echo_start(&other, host.loop));
    ck_assert_int_eq(loop_run(host.loop, LOOP_RUN_DEFAULT), 0);
    visitors_join(&visitors);
    visitors_join(&others);
    ck_assert_uint_eq(echo.bytes, (uint64_t)VISITORS * VISITOR_ROUNDS * VISITOR_BYTES);
    ck_assert_uint_eq(other.bytes, echo.bytes);
    host_end(&host);
}
END_TEST

/* Goal: libuv's timers are neither late for ever nor early while ringloop is busy with its own. Method: a timer of
 * libuv's; one of ringloop's makes a turn each half millisecond, and would put it off if its time were counted anew. */
START_TEST(timers_hosted)
{
    struct host       host;
    struct loop_timer busy = {0};
    uint32_t          turns = 0, fired = 0;
    uv_timer_t        timer;
    uint64_t          begin = test_clock();

    host_start(&host);
    busy.data = &turns;
    loop_timer_unref(&busy);
    ck_assert_int_eq(loop_timer_start(host.loop, &busy, LOOP_MILLISECOND / 2, LOOP_MILLISECOND / 2, test_count_timer),
                     0);
    ck_assert_int_eq(uv_timer_init(&host.uv, &timer), 0);
    timer.data = &fired;
    uv_update_time(&host.uv);
    ck_assert_int_eq(uv_timer_start(&timer, count_uv, 30, 0), 0);
    ck_assert_int_eq(loop_run(host.loop, LOOP_RUN_DEFAULT), 0);
    ck_assert_uint_eq(fired, 1);
    ck_assert_uint_ge(test_clock() - begin, 29 * LOOP_MILLISECOND);
    loop_timer_stop(&busy);
    uv_close((uv_handle_t *)&timer, NULL);
    loop_hosts_uv_update(&host.bridge);
    ck_assert_int_eq(loop_run(host.loop, LOOP_RUN_DEFAULT), 0);
    host_end(&host);
}
END_TEST

/* Goal: an idle handle of libuv's runs once a turn, and keeps ringloop from waiting; its async handle, sent from a
 * thread, wakes ringloop. */
static void uv_idled(uv_idle_t *idle)
{
    if (++*(uint32_t *)idle->data == 50)
        uv_close((uv_handle_t *)idle, NULL);
}

static void uv_called(uv_async_t *async)
{
    ++*(uint32_t *)async->data;
    uv_close((uv_handle_t *)async, NULL);
}

static void *send_later(void *arg)
{
    test_sleep(20 * LOOP_MILLISECOND);
    ck_assert_int_eq(uv_async_send(arg), 0);
    return NULL;
}

START_TEST(idle_and_async_hosted)
{
    struct host host;
    uint32_t    idled = 0, called = 0;
    uv_idle_t   idle;
    uv_async_t  async;
    pthread_t   thread;

    host_start(&host);
    ck_assert_int_eq(uv_idle_init(&host.uv, &idle), 0);
    idle.data = &idled;
    ck_assert_int_eq(uv_idle_start(&idle, uv_idled), 0);
    ck_assert_int_eq(loop_run(host.loop, LOOP_RUN_DEFAULT), 0);
    ck_assert_uint_eq(idled, 50);
    ck_assert_int_eq(uv_async_init(&host.uv, &async, uv_called), 0);
    async.data = &called;
    loop_hosts_uv_update(&host.bridge);
    ck_assert_int_eq(pthread_create(&thread, NULL, send_later, &async), 0);
    ck_assert_int_eq(loop_run(host.loop, LOOP_RUN_DEFAULT), 0);
    ck_assert_uint_eq(called, 1);
    pthread_join(thread, NULL);
    host_end(&host);
}
END_TEST

/* Goal: handles of libuv's without a reference are served as long as ringloop goes on, and one that is readable does
 * not make it spin. Method: only a timer of ringloop's keeps the run going; libuv's last one stops that. */
enum { UNREFERENCED_TURNS_MAX = 1000 };

struct unreferenced {
    struct loop_timer guard;
    struct loop_hook  hook;
    uint32_t          turns, read, ticks;
    int               fd;
};

static void count_turn(struct loop_hook *hook)
{
    struct unreferenced *all = hook->data;

    if (++all->turns > UNREFERENCED_TURNS_MAX)
        loop_timer_stop(&all->guard);
}

static void read_event(uv_poll_t *poll, int status, int events)
{
    struct unreferenced *all = poll->data;
    uint64_t             value;

    ck_assert_int_eq(status, 0);
    ck_assert_int_eq(events, UV_READABLE);
    ck_assert_int_eq(read(all->fd, &value, sizeof(value)), sizeof(value));
    all->read++;
}

static void write_event(uv_timer_t *timer)
{
    struct unreferenced *all = timer->data;
    const uint64_t       value = 1;

    if (all->read > 1)
        loop_timer_stop(&all->guard);
    else
        ck_assert_int_eq(write(all->fd, &value, sizeof(value)), sizeof(value));
    all->ticks++;
}

START_TEST(unreferenced_hosted)
{
    struct host         host;
    struct unreferenced all = {.fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK)};
    uv_poll_t           poll = {.data = &all};
    uv_timer_t          timer = {.data = &all};

    host_start(&host);
    all.guard.data = &all.ticks;
    all.hook.data = &all;
    ck_assert_int_eq(loop_timer_start(host.loop, &all.guard, 20 * LOOP_SECOND, 0, test_count_timer), 0);
    loop_hook_unref(&all.hook);
    ck_assert_int_eq(loop_hook_start(host.loop, &all.hook, LOOP_HOOK_CHECK, count_turn), 0);
    ck_assert_int_eq(uv_poll_init(&host.uv, &poll, all.fd), 0);
    ck_assert_int_eq(uv_poll_start(&poll, UV_READABLE, read_event), 0);
    ck_assert_int_eq(uv_timer_init(&host.uv, &timer), 0);
    ck_assert_int_eq(uv_timer_start(&timer, write_event, 10, 10), 0);
    uv_unref((uv_handle_t *)&poll);
    uv_unref((uv_handle_t *)&timer);
    ck_assert_int_eq(loop_run(host.loop, LOOP_RUN_DEFAULT), 0);
    ck_assert_uint_gt(all.read, 1);
    ck_assert_uint_gt(all.ticks, 1);
    ck_assert_uint_le(all.turns, UNREFERENCED_TURNS_MAX);
    ck_assert_int_eq(uv_loop_alive(&host.uv), 0);
    loop_hook_stop(&all.hook);
    uv_close((uv_handle_t *)&poll, NULL);
    uv_close((uv_handle_t *)&timer, NULL);
    loop_hosts_uv_update(&host.bridge);
    ck_assert_int_eq(loop_run(host.loop, LOOP_RUN_DEFAULT), 0);
    close(all.fd);
    host_end(&host);
}
END_TEST

/* Goal: the bridge may be stopped by a callback of libuv's, and started again; and loop_destroy() ends it. */
static void uv_stops(uv_timer_t *timer)
{
    loop_hosts_uv_stop(timer->data);
}

START_TEST(stopped_inside)
{
    struct host host;
    uv_timer_t  timer;

    host_start(&host);
    ck_assert_int_eq(uv_timer_init(&host.uv, &timer), 0);
    timer.data = &host.bridge;
    ck_assert_int_eq(uv_timer_start(&timer, uv_stops, 1, 1), 0);
    ck_assert_int_eq(loop_run(host.loop, LOOP_RUN_DEFAULT), 0);
    ck_assert_uint_eq(host.stopped, 1);
    ck_assert_int_eq(loop_hosts_uv_start(&host.bridge, host.loop, &host.uv, count_stopped), 0);
    uv_close((uv_handle_t *)&timer, NULL);
    ck_assert_int_eq(loop_run(host.loop, LOOP_RUN_DEFAULT), 0);
    ck_assert_int_eq(uv_loop_alive(&host.uv), 0);
    test_loop_drop(host.loop);
    ck_assert_uint_eq(host.stopped, 2);
    ck_assert_int_eq(uv_loop_close(&host.uv), 0);
}
END_TEST

Suite *test_suite(void)
{
    Suite    *suite = suite_create("uv");
    TCase    *tcase = test_case(suite, "inside");
    uv_loop_t first;

    if (uv_loop_init(&first) == 0) /* descriptors that libuv keeps for good, before any are counted */
        (void)uv_loop_close(&first);

    tcase_add_test(tcase, echo_inside);
    tcase_add_test(tcase, timers_inside);
    tcase_add_test(tcase, post_inside);
    tcase_add_test(tcase, started_by_uv);

    tcase = test_case(suite, "hosted");
    tcase_add_test(tcase, echo_hosted);
    tcase_add_test(tcase, timers_hosted);
    tcase_add_test(tcase, idle_and_async_hosted);
    tcase_add_test(tcase, unreferenced_hosted);
    tcase_add_test(tcase, stopped_inside);
    return suite;
}
