/* tests/loop/fault_loop_test.c: signals, children, handles, polls, hooks, work, loops that are embedded, forked or
 * given up, where memory runs out, system calls or operations of the ring fail, each once, and with few operations
 * allowed. See tests/support/fault.h. */
#include "tests/support/fault.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/wait.h>

enum { WORKS = 6, POSTS = 200, NAP_MS = 5000 };

/* ---- signals */

static struct {
    struct loop_signal signals[3]; /* the first is stopped by its callback, the second by itself, the third by nobody */
    struct thing       ends[3];
} signals;

static void signal_cb(struct loop_signal *signal, const struct loop_signal_info *info)
{
    size_t which = (size_t)(signal - signals.signals);

    ck_assert_uint_eq(info->count, 1);
    if (which == 2)
        return;
    loop_signal_stop(signal);
    thing_ended(&signals.ends[which], 0);
}

static void signals_start(struct loop *loop)
{
    static const int numbers[] = {SIGUSR1, SIGUSR2, SIGHUP};

    memset(&signals, 0, sizeof(signals));
    for (int i = 0; i < 3; i++)
        thing_began(&signals.ends[i],
                    loop_signal_start(loop, &signals.signals[i], numbers[i], i == 1 ? LOOP_SIGNAL_ONCE : 0, signal_cb));
    for (int i = 0; i < 2; i++)
        if (signals.ends[i].open)
            ck_assert_int_eq(raise(numbers[i]), 0);
}

static bool signals_wait(void)
{
    return !signals.ends[0].open && !signals.ends[1].open;
}

static void signals_close(void)
{
    loop_signal_stop(&signals.signals[2]);
    if (signals.ends[2].open)
        thing_ended(&signals.ends[2], 0);
}

/* They are stopped without a call, and the dispositions are as they were. */
static void signals_tidy(void)
{
    struct sigaction action;

    for (int i = 0; i < 3; i++)
        if (signals.ends[i].open)
            thing_ended(&signals.ends[i], 0);
    ck_assert_int_eq(sigaction(SIGUSR1, NULL, &action), 0);
    ck_assert(action.sa_handler == SIG_DFL);
    ck_assert_int_eq(sigaction(SIGHUP, NULL, &action), 0);
    ck_assert(action.sa_handler == SIG_DFL);
}

/* ---- children */

static struct {
    struct loop_child      children[3]; /* one that ends, one that is ended, one that is watched */
    struct thing           ends[3];
    struct loop_child_exit exits[3];
    pid_t                  pids[3];
    int                    output;
} children;

static void child_cb(struct loop_child *child, const struct loop_child_exit *exit)
{
    size_t which = (size_t)(child - children.children);

    children.exits[which] = *exit;
    if (exit->error < 0 && which < 2) /* else the one that watches waits for long */
        (void)kill(children.pids[which], SIGKILL);
    /* The one that is watched may be reaped by its loop first. */
    thing_ended(&children.ends[which], which == 2 && exit->error == -ECHILD ? 0 : exit->error);
}

static void children_start(struct loop *loop)
{
    const struct loop_child_fd      fds[] = {{.kind = LOOP_CHILD_NULL, .number = 0},
                                             {.kind = LOOP_CHILD_PIPE_OUT, .number = 1, .ret_fd = &children.output}};
    const struct loop_child_options ends = {.file = "true", .fds = fds, .fd_count = 2};
    const struct loop_child_options ended = {
        .file = "sleep", .args = (const char *const[]){"sleep", "60", NULL}, .timeout_ns = LOOP_MILLISECOND};

    memset(&children, 0, sizeof(children));
    children.output = -1;
    for (int i = 0; i < 2; i++)
        if (thing_began(&children.ends[i],
                        loop_child_spawn(loop, &children.children[i], i == 0 ? &ends : &ended, child_cb)))
            children.pids[i] = loop_child_pid(&children.children[i]);
        else
            ck_assert_int_eq(children.output, -1 + (i == 1) * (children.output + 1));
    if (children.pids[1] != 0)
        thing_began(&children.ends[2], loop_child_watch(loop, &children.children[2], children.pids[1], 0, child_cb));
}

static void children_check(void)
{
    ck_assert_int_eq(children.exits[0].status, 0);
    ck_assert_int_eq(children.exits[1].signum, SIGKILL);
    ck_assert(children.exits[1].timed_out);
}

/* Those that the loop has not waited for. */
static void children_tidy(void)
{
    if (children.output >= 0)
        test_close(children.output);
    for (int i = 0; i < 2; i++)
        if (children.pids[i] > 0 && kill(children.pids[i], SIGKILL) == 0)
            (void)waitpid(children.pids[i], NULL, 0);
    ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1);
}

/* ---- handles and posts */

static struct {
    struct loop_async asyncs[2];
    struct thing      closed[2], posts[POSTS];
    uint32_t          calls[2], posted;
} handles;

static void async_cb(struct loop_async *async)
{
    handles.calls[async - handles.asyncs]++;
    loop_async_close(async, NULL);
}

static void async_closed(struct loop_async *async)
{
    thing_ended(&handles.closed[async - handles.asyncs], 0);
}

static void post_cb(struct loop *loop, void *arg)
{
    (void)loop;
    handles.posted++;
    thing_ended(arg, 0);
}

static int32_t send_cb(void *arg)
{
    (void)arg;
    (void)loop_async_send(&handles.asyncs[1]); /* which may be closing: the loop is destroyed in the midst */
    return 0;
}

static struct thing sender;

static void handles_start(struct loop *loop)
{
    const struct loop_async_options options = {.on_close = async_closed};

    memset(&handles, 0, sizeof(handles));
    for (int i = 0; i < 2; i++)
        thing_began(&handles.closed[i], loop_async_open(loop, &handles.asyncs[i], &options, async_cb));
    ck_assert_int_eq(loop_async_send(&handles.asyncs[0]), 0);
    if (!thing_began(&sender, loop_work(loop, LOOP_WORK_DEFAULT, send_cb, thing_cb, &sender, NULL)))
        ck_assert_int_eq(loop_async_send(&handles.asyncs[1]), 0);
    for (int i = 0; i < POSTS; i++)
        thing_began(&handles.posts[i], loop_post(loop, post_cb, &handles.posts[i]));
}

/* ---- polls */

static struct {
    struct loop_poll polls[3];
    struct thing     ends[3];
    int              fds[3];
} polls;

static void poll_cb(struct loop_poll *poll, int events)
{
    size_t which = (size_t)(poll - polls.polls);

    if (events > 0) {
        ck_assert_int_eq(events, which == 1 ? POLLOUT : POLLIN);
        loop_poll_stop(poll);
    }
    thing_ended(&polls.ends[which], events < 0 ? events : 0);
}

static void polls_start(struct loop *loop)
{
    memset(&polls, 0, sizeof(polls));
    for (int i = 0; i < 3; i++) {
        polls.fds[i] = eventfd(i == 0, EFD_CLOEXEC);
        thing_began(&polls.ends[i], loop_poll_start(loop, &polls.polls[i], polls.fds[i], POLLIN, poll_cb));
    }
    if (polls.ends[1].open)
        thing_told(loop_poll_change(&polls.polls[1], POLLOUT));
}

/* The others are ready by themselves, unless a change has failed. */
static bool polls_wait(void)
{
    return !polls.ends[0].open && (!polls.ends[1].open || fault.errors > 0);
}

static void polls_close(void)
{
    for (int i = 0; i < 3; i++)
        if (polls.ends[i].open) {
            loop_poll_stop(&polls.polls[i]);
            thing_ended(&polls.ends[i], 0);
        }
}

static void polls_tidy(void)
{
    for (int i = 0; i < 3; i++)
        test_close(polls.fds[i]);
}

/* ---- hooks, timers, random bytes, work */

static struct {
    struct loop_hook  hooks[3];
    struct loop_timer timers[2];
    struct thing      hooked[3], fired[2], random, works[WORKS];
    char              bytes[5000];
} turns;

static void hook_cb(struct loop_hook *hook)
{
    loop_hook_stop(hook);
    thing_ended(&turns.hooked[hook - turns.hooks], 0);
}

static void fired_cb(struct loop_timer *timer)
{
    thing_ended(&turns.fired[timer - turns.timers], 0);
}

static int32_t work_fn(void *arg)
{
    (void)arg;
    return 0;
}

static void turns_start(struct loop *loop)
{
    static const enum loop_hook_kind kinds[] = {LOOP_HOOK_PREPARE, LOOP_HOOK_CHECK, LOOP_HOOK_IDLE};

    memset(&turns, 0, sizeof(turns));
    for (int i = 0; i < 3; i++)
        thing_began(&turns.hooked[i], loop_hook_start(loop, &turns.hooks[i], kinds[i], hook_cb));
    thing_began(&turns.fired[0], loop_timer_start(loop, &turns.timers[0], LOOP_MILLISECOND, 0, fired_cb));
    thing_began(&turns.fired[1], loop_timer_start_wall(loop, &turns.timers[1], 1, 0, fired_cb));
    thing_began(&turns.random, loop_random_wait(loop, turns.bytes, sizeof(turns.bytes), thing_cb, &turns.random, NULL));
    for (int i = 0; i < WORKS; i++)
        thing_began(&turns.works[i],
                    loop_work(loop, (enum loop_work_class)(i % 3), work_fn, thing_cb, &turns.works[i],
                              i == 4 ? &(const struct loop_terms){.timeout_ns = 60 * LOOP_SECOND} : NULL));
}

/* Stopped by the end of the loop, without a call. */
static void turns_tidy(void)
{
    for (int i = 0; i < 3; i++)
        if (turns.hooked[i].open)
            thing_ended(&turns.hooked[i], 0);
    for (int i = 0; i < 2; i++)
        if (turns.fired[i].open)
            thing_ended(&turns.fired[i], 0);
}

/* ---- inside another loop */

static void embedded_start(struct loop *loop)
{
    int fd = loop_backend_fd(loop);

    thing_told(fd);
    handles_start(loop);
    if (fd < 0 || fault.midst)
        return;
    for (int i = 0; i < 1000 && loop_alive(loop); i++) {
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        int           timeout_ms = loop_backend_timeout_ms(loop);

        if (poll(&ready, 1, timeout_ms < 0 || timeout_ms > NAP_MS ? NAP_MS : timeout_ms) == 0 && timeout_ms < 0)
            ck_abort_msg("the descriptor is not readable, and nothing else is to be waited for; %u", fault.nth);
        thing_told(loop_run(loop, LOOP_RUN_NOWAIT));
    }
    ck_assert(!loop_alive(loop));
}

/* ---- a loop with everything, that goes elsewhere */

static struct {
    struct loop             *loop;
    struct loop_async        async;
    struct loop_poll         poll;
    struct loop_signal       signal;
    struct loop_listener     listener;
    struct loop_stream       stream;
    struct loop_datagram     datagram;
    struct loop_subscription subscription;
    struct loop_child        watched;
    struct loop_timer        timer, wall;
    struct thing             async_end, poll_end, signal_end, listener_end, stream_end, datagram_end, subscription_end;
    struct thing             watched_end, work, read, timer_end, wall_end;
    int                      pair[2], event, slot, peer;
    char                     byte;
    pid_t                    pid;
} home;

static void home_async(struct loop_async *async)
{
    loop_async_close(async, NULL);
}

static void home_async_closed(struct loop_async *async)
{
    (void)async;
    thing_ended(&home.async_end, 0);
}

static void home_poll(struct loop_poll *poll, int events)
{
    loop_poll_stop(poll);
    thing_ended(&home.poll_end, events < 0 ? events : 0);
}

static void home_signal(struct loop_signal *signal, const struct loop_signal_info *info)
{
    (void)info;
    loop_signal_stop(signal);
    thing_ended(&home.signal_end, 0);
}

static void home_accept(struct loop_listener *listener, int result)
{
    (void)listener;
    thing_told(result);
}

static void home_listener_closed(struct loop_listener *listener)
{
    (void)listener;
    thing_ended(&home.listener_end, 0);
}

static void home_read(struct loop_stream *stream, const struct loop_result *result)
{
    (void)stream;
    thing_told(result->res < 0 ? result->res : 0);
}

static void home_stream_closed(struct loop_stream *stream)
{
    (void)stream;
    thing_ended(&home.stream_end, 0);
}

static void home_received(struct loop_datagram *datagram, const struct loop_datagram_message *message)
{
    (void)datagram;
    thing_told(message->error);
}

static void home_datagram_closed(struct loop_datagram *datagram)
{
    (void)datagram;
    thing_ended(&home.datagram_end, 0);
}

static enum loop_step home_step(struct loop *loop, struct loop_subscription *subscription,
                                const struct loop_result *result)
{
    (void)loop;
    (void)subscription;
    (void)result;
    return LOOP_CONTINUE;
}

static void home_stopped(struct loop *loop, struct loop_subscription *subscription, int error, bool cancelled)
{
    (void)loop;
    (void)subscription;
    (void)cancelled;
    thing_ended(&home.subscription_end, error);
}

static void home_child(struct loop_child *child, const struct loop_child_exit *exit)
{
    (void)child;
    thing_ended(&home.watched_end, exit->error);
}

static void home_timer(struct loop_timer *timer)
{
    thing_ended(timer == &home.timer ? &home.timer_end : &home.wall_end, 0);
}

/* Without faults. */
static void home_prepare(void)
{
    struct loop *loop = test_loop_new(&(struct loop_options){.sq_entries = 8, .buffer_size = 512, .buffer_count = 4});
    struct loop_address local;
    int                 fds[2];

    memset(&home, 0, sizeof(home));
    home.loop = loop;
    ck_assert_int_eq(loop_address_parse(&local, "127.0.0.1", 0), 0);
    ck_assert_int_eq(loop_files_init(loop, &(struct loop_files_options){.own = 4}), 0);
    ck_assert_int_eq(loop_fixed_buffers_init(loop, &(struct loop_fixed_buffers_options){.count = 2, .size = 4096}), 0);
    test_socketpair(home.pair);
    home.event = eventfd(0, EFD_CLOEXEC);
    home.slot = loop_file_register(loop, home.event);
    ck_assert_int_eq(loop_file_lookup(loop, home.event), home.slot);
    thing_began(
        &home.async_end,
        loop_async_open(loop, &home.async, &(struct loop_async_options){.on_close = home_async_closed}, home_async));
    thing_began(&home.poll_end, loop_poll_start(loop, &home.poll, home.event, POLLIN, home_poll));
    thing_began(&home.signal_end, loop_signal_start(loop, &home.signal, SIGUSR1, 0, home_signal));
    thing_began(&home.listener_end,
                loop_listener_start(loop, &home.listener, &local,
                                    &(struct loop_listener_options){.on_close = home_listener_closed}, home_accept));
    thing_began(&home.datagram_end,
                loop_datagram_open(loop, &home.datagram, &local,
                                   &(struct loop_datagram_options){.on_close = home_datagram_closed}));
    ck_assert_int_eq(loop_datagram_receive_start(&home.datagram, home_received), 0);
    test_socketpair(fds);
    home.peer = fds[1];
    thing_began(&home.stream_end, loop_stream_open(loop, &home.stream, fds[0],
                                                   &(struct loop_stream_options){.on_close = home_stream_closed}));
    ck_assert_int_eq(loop_stream_read_start(&home.stream, home_read), 0);
    thing_began(&home.subscription_end,
                loop_subscribe_recv(loop, &home.subscription, home.pair[0], 0, 0, home_step, home_stopped, NULL));
    thing_began(&home.read, loop_recv(loop, home.pair[1], &home.byte, 1, 0, thing_cb, &home.read, NULL));
    home.pid = fork();
    if (home.pid == 0) {
        pause();
        _exit(0);
    }
    thing_began(&home.watched_end, loop_child_watch(loop, &home.watched, home.pid, 0, home_child));
    thing_began(&home.timer_end, loop_timer_start(loop, &home.timer, LOOP_MILLISECOND, 0, home_timer));
    thing_began(&home.wall_end, loop_timer_start_wall(loop, &home.wall, 1, 0, home_timer));
    ck_assert_int_ge(loop_backend_fd(loop), 0);
}

/* What is to come on the new ring comes, or was told not to. */
static bool home_arrived(void)
{
    return !home.async_end.open && !home.poll_end.open && !home.signal_end.open && !home.timer_end.open &&
           !home.wall_end.open && !home.work.open;
}

static void home_close(void)
{
    if (home.listener_end.open)
        loop_listener_close(&home.listener, NULL);
    if (home.datagram_end.open)
        loop_datagram_close(&home.datagram, NULL);
    if (home.stream_end.open)
        loop_stream_close(&home.stream, NULL);
    loop_child_close(&home.watched);
    (void)loop_subscription_stop(&home.subscription);
    (void)loop_cancel_all(home.loop);
}

/* By the end of the loop. */
static void home_stopped_silently(void)
{
    struct thing *const things[] = {&home.signal_end, &home.timer_end, &home.wall_end};

    for (size_t i = 0; i < TEST_COUNT(things); i++)
        if (things[i]->open)
            thing_ended(things[i], 0);
}

/* With the fault: moves, and has what it had. A move that fails can be made again. */
static void home_move(bool forked)
{
    int r;

    fault_arm();
    r = forked ? loop_fork(home.loop) : loop_disown(home.loop);
    thing_told(r);
    if (r < 0 && !fault.midst) {
        fault_disarm();
        r = forked ? loop_fork(home.loop) : loop_rehome(home.loop);
        ck_assert_int_eq(r, 0);
    }
    if (r == 0) {
        uint64_t one = 1;

        if (home.poll_end.open)
            test_write(home.event, &one, sizeof(one));
        if (home.signal_end.open)
            raise(SIGUSR1);
        thing_began(&home.work, loop_work(home.loop, LOOP_WORK_DEFAULT, work_fn, thing_cb, &home.work, NULL));
        ck_assert_int_eq(loop_async_send(&home.async), 0);
        if (!fault.midst) {
            ck_assert_int_eq(loop_file_lookup(home.loop, home.event), home.slot);
            fault_pump(home.loop, home_arrived, "a loop that has moved");
            home_close();
            fault_pump(home.loop, NULL, "what is closed after a move");
            fault_disarm();
            fault_goes_on(home.loop, "a move");
        }
    }
    test_loop_drop(home.loop);
    fault_disarm();
    home_stopped_silently();
    if (forked && r < 0)
        fault_forget(); /* nobody is called, and what objects have is left */
    else
        fault_settle("a move");
}

static void home_tidy(void)
{
    test_close(home.pair[0]);
    test_close(home.pair[1]);
    test_close(home.event);
    test_close(home.peer);
    kill(home.pid, SIGKILL);
    ck_assert_int_eq(waitpid(home.pid, NULL, 0), home.pid);
}

enum { MET = 42, NOT_MET };

static bool home_play(bool forked)
{
    uint32_t descriptors = test_fd_count();
    int      status;
    pid_t    pid;
    bool     met;

    home_prepare();
    for (int i = 0; i < 2; i++)
        ck_assert_int_ge(loop_run(home.loop, LOOP_RUN_NOWAIT), 0);
    if (forked) {
        fflush(NULL);
        pid = fork();
        if (pid == 0) {
            alarm(20);
            home_move(true);
            _exit(fault.met ? MET : NOT_MET);
        }
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert_msg(WIFEXITED(status) && (WEXITSTATUS(status) == MET || WEXITSTATUS(status) == NOT_MET),
                      "the child ended with status %#x", (unsigned)status);
        met = WEXITSTATUS(status) == MET;
        fault_disarm();
        test_loop_drop(home.loop);
        fault_forget();
    } else {
        home_move(false);
        met = fault.met;
    }
    home_tidy();
    ck_assert_msg(test_fd_count() == descriptors, "%u descriptors, not %u; %s", test_fd_count(), descriptors,
                  fault_here());
    return met;
}

/* Goal: a loop moves into a child, or to another owner, whatever fails on the way; or says that it could not, and can
 * be moved then, or destroyed. */
START_TEST(moves)
{
    static const struct {
        enum fault_kind kind;
        int             error;
    } kinds[] = {{FAULT_MEMORY, -ENOMEM},
                 {FAULT_CALL, -EMFILE},
                 {FAULT_CALL, -ENOMEM},
                 {FAULT_ENTRY, -EIO},
                 {FAULT_ENTRY, -ENOMEM}};

    for (size_t kind = 0; kind < TEST_COUNT(kinds); kind++)
        for (uint32_t n = 1; n < 500 && (kinds[kind].kind != FAULT_ENTRY || fault_entries_work()); n++) {
            fault_choose(kinds[kind].kind, n, kinds[kind].error, (_i & 1) != 0);
            if (!home_play((_i & 2) != 0))
                break;
        }
}
END_TEST

/* ---- the sweeps */

static const struct scene scenes[] = {
    {"signals", NULL, signals_start, signals_wait, signals_close, NULL, signals_tidy},
    {"children", NULL, children_start, NULL, NULL, children_check, children_tidy},
    {"handles", NULL, handles_start, NULL, NULL, NULL, NULL},
    {"polls", NULL, polls_start, polls_wait, polls_close, NULL, polls_tidy},
    {"turns", NULL, turns_start, NULL, NULL, NULL, turns_tidy},
    {"embedded", NULL, embedded_start, NULL, NULL, NULL, NULL},
};

static void nothing(void)
{
}

#include "tests/support/fault_tests.h"

Suite *test_suite(void)
{
    Suite *suite = fault_suite("loop/fault", nothing, nothing);
    TCase *tcase = test_case(suite, "moves");

    tcase_set_timeout(tcase, (double)test_env("TEST_TIMEOUT_S", 120));
    tcase_add_loop_test(tcase, moves, 0, 4);
    return suite;
}
