/* tests/loop/wake_test.c: no wake-up is lost: whatever other threads do to a loop that is about to sleep, in its ring
 * or in another loop, it is woken for.
 *
 * Each actor does one thing, waits until the loop has seen it, and does the next after a pause of random length: so a
 * lost wake-up stops everything where the actor is alone, and its thread in any case when the others have ended. No
 * timer helps. TEST_ROUNDS=n makes it longer. */
#include "tests/support/test.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>

enum { WAIT_MS = 20000, LOOKS_BEFORE_YIELD = 200, ROUNDS = 60, ROUNDS_OF_EVENTFDS = 3 };

/* What an actor does. */
enum deed {
    POST,
    SEND,     /* of an async handle */
    WAKE,     /* loop_wake() */
    STOP,     /* loop_stop() */
    SIGNAL,   /* one that the loop watches */
    HANDLER,  /* sends from a handler of one's own */
    COMPLETE, /* makes a read of the loop's complete: of a pipe */
    EVENTFD,  /* the same, of an eventfd: its writer may not signal another, which the kernel does some ms later */
    WORK,     /* the pool's thread does the next piece of a chain */
    START,    /* starts an operation from its thread; shared loops only */
    DEEDS
};

/* Where the loop sleeps. */
enum place { IN_RING, ELSEWHERE, IN_TURNS, PLACES };

static const struct mode {
    uint32_t                  flags;
    struct loop_submit_policy submit;
    uint64_t                  spin_ns;
    uint32_t                  sqpoll_idle_ms;
} modes[] = {
    {.flags = 0},
    {.flags = LOOP_MODE_SHARED},
    {.flags = LOOP_MODE_SQPOLL, .sqpoll_idle_ms = 1},
    {.spin_ns = 20000},
    {.flags = LOOP_MODE_SHARED | LOOP_MODE_SQPOLL, .sqpoll_idle_ms = 1, .spin_ns = 5000},
    {.submit = {.min_wait_ns = 20000, .min_wait_batch = 4}},
};
enum { MODES = TEST_COUNT(modes) };

struct actor {
    enum deed          deed;
    pthread_t          thread;
    uint64_t           seed;
    uint64_t           value;  /* read */
    uint32_t           seen;   /* atomic: what the loop has been told of */
    int                fd, to; /* the loop reads, the actor writes */
    struct loop_async  async;
    struct loop_signal signal;
};

static struct loop     *loop;
static uint32_t         checks, runs; /* atomic: ends of waits, ends of loop_run() */
static _Atomic uint32_t ended;
static struct actor    *handlers; /* whose deed is HANDLER */

static void count(uint32_t *counter)
{
    __atomic_fetch_add(counter, 1, __ATOMIC_RELEASE);
}

static uint32_t value_of(const uint32_t *counter)
{
    return __atomic_load_n(counter, __ATOMIC_ACQUIRE);
}

/* ---- the loop's side */

static void posted(struct loop *of, void *arg)
{
    (void)of;
    count(&((struct actor *)arg)->seen);
}

static void sent(struct loop_async *async)
{
    count(&((struct actor *)async->data)->seen);
}

static void signaled(struct loop_signal *signal, const struct loop_signal_info *info)
{
    ck_assert_uint_eq(info->count, 1);
    count(&((struct actor *)signal->data)->seen);
}

static void started(struct loop *of, const struct loop_result *result, void *arg)
{
    (void)of;
    ck_assert_int_eq(result->res, 0);
    count(&((struct actor *)arg)->seen);
}

static void checked(struct loop_hook *hook)
{
    (void)hook;
    count(&checks);
}

static void is_over(struct loop *of, void *arg)
{
    (void)arg;
    ended++;
    loop_stop(of);
}

static uint32_t rounds_of(enum deed deed)
{
    return deed == EVENTFD ? ROUNDS_OF_EVENTFDS : (uint32_t)test_env("TEST_ROUNDS", ROUNDS);
}

static void read_on(struct actor *actor);

static void completed(struct loop *of, const struct loop_result *result, void *arg)
{
    (void)of;
    ck_assert(result->res == sizeof(uint64_t));
    if (((struct actor *)arg)->seen + 1 < rounds_of(((struct actor *)arg)->deed))
        read_on(arg);
    count(&((struct actor *)arg)->seen);
}

static void read_on(struct actor *actor)
{
    ck_assert_int_gt(loop_read(loop, actor->fd, &actor->value, sizeof(actor->value), 0, completed, actor, NULL), 0);
}

/* ---- the others' side */

static void pause_randomly(uint64_t *seed)
{
    uint64_t length = test_random(seed) % (1u << (test_random(seed) % 14));

    for (volatile uint64_t i = 0; i < length; i++)
        continue;
}

static int32_t work(void *arg)
{
    pause_randomly(&((struct actor *)arg)->seed);
    return 0;
}

static void worked(struct loop *of, const struct loop_result *result, void *arg)
{
    struct actor *actor = arg;

    ck_assert_int_eq(result->res, 0);
    count(&actor->seen);
    if (actor->seen == rounds_of(WORK))
        is_over(of, NULL);
    else
        ck_assert_int_gt(loop_work(loop, LOOP_WORK_DEFAULT, work, worked, actor, NULL), 0);
}

static void on_signal(int signum)
{
    (void)signum;
    (void)loop_async_send(&handlers->async);
}

static void act(struct actor *actor)
{
    const uint64_t one = 1;

    switch (actor->deed) {
    case POST: ck_assert_int_eq(loop_post(loop, posted, actor), 0); return;
    case SEND: ck_assert_int_eq(loop_async_send(&actor->async), 0); return;
    case WAKE: loop_wake(loop); return;
    case STOP: loop_stop(loop); return;
    case SIGNAL: ck_assert_int_eq(pthread_kill(pthread_self(), SIGUSR1), 0); return;
    case HANDLER: ck_assert_int_eq(pthread_kill(pthread_self(), SIGUSR2), 0); return;
    case COMPLETE:
    case EVENTFD: test_write(actor->to, &one, sizeof(one)); return;
    case START: ck_assert_int_gt(loop_nop(loop, started, actor, NULL), 0); return;
    case WORK:
    case DEEDS: break;
    }
    abort();
}

static void *play(void *arg)
{
    static const char *const names[DEEDS] = {
        "post", "send", "wake", "stop", "signal", "handler", "complete", "write to an eventfd", "work", "start"};
    struct actor   *actor = arg;
    const uint32_t *counter = actor->deed == WAKE ? &checks : actor->deed == STOP ? &runs : &actor->seen;

    for (uint32_t round = 0; round < rounds_of(actor->deed); round++) {
        uint32_t before = value_of(counter);
        uint64_t until = test_clock() + WAIT_MS * LOOP_MILLISECOND;

        act(actor);
        for (uint32_t looks = 0; value_of(counter) == before; looks++) {
            if (looks < LOOKS_BEFORE_YIELD)
                continue;
            if (test_clock() > until) {
                fprintf(stderr, "nobody woke the loop for a %s, round %" PRIu32 "\n", names[actor->deed], round);
                abort();
            }
            (void)sched_yield();
        }
        pause_randomly(&actor->seed);
    }
    ck_assert_int_eq(loop_post(loop, is_over, NULL), 0);
    return NULL;
}

/* ---- a play */

static void open_fds(struct actor *actor)
{
    int fds[2];

    if (actor->deed == COMPLETE) {
        test_pipe(fds);
        actor->fd = fds[0];
        actor->to = fds[1];
    } else {
        actor->fd = eventfd(0, EFD_CLOEXEC);
        actor->to = dup(actor->fd);
    }
}

static void enter(struct actor *actor)
{
    ck_assert_int_eq(loop_async_open(loop, &actor->async, NULL, sent), 0);
    actor->async.data = actor;
    actor->signal.data = actor;
    actor->fd = -1;
    actor->to = -1;
    if (actor->deed == SIGNAL)
        ck_assert_int_eq(loop_signal_start(loop, &actor->signal, SIGUSR1, 0, signaled), 0);
    if (actor->deed == HANDLER) {
        handlers = actor;
        (void)signal(SIGUSR2, on_signal);
    }
    if (actor->deed == COMPLETE || actor->deed == EVENTFD) {
        open_fds(actor);
        read_on(actor);
    }
    if (actor->deed == WORK)
        ck_assert_int_gt(loop_work(loop, LOOP_WORK_DEFAULT, work, worked, actor, NULL), 0);
    else
        ck_assert_int_eq(pthread_create(&actor->thread, NULL, play, actor), 0);
}

static void leave(struct actor *actor)
{
    if (actor->deed != WORK)
        pthread_join(actor->thread, NULL);
    loop_async_close(&actor->async, NULL);
    loop_signal_stop(&actor->signal);
    if (actor->fd >= 0) {
        test_close(actor->fd);
        test_close(actor->to);
    }
}

static void sleep_elsewhere(int fd)
{
    struct pollfd pollfd = {.fd = fd, .events = POLLIN};
    int           timeout_ms = loop_backend_timeout_ms(loop);

    ck_assert_int_le(timeout_ms, 10);
    ck_assert_msg(poll(&pollfd, 1, timeout_ms < 0 ? WAIT_MS : timeout_ms) != 0 || timeout_ms >= 0,
                  "nobody woke the other loop");
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_NOWAIT), 1);
}

/* Runs the loop until all actors have ended. */
static void run(enum place place, uint32_t actors, uint64_t *seed)
{
    int fd = place == IN_RING ? -1 : loop_backend_fd(loop);

    while (ended < actors) {
        if (place == ELSEWHERE || (place == IN_TURNS && test_random(seed) % 2 == 0))
            sleep_elsewhere(fd);
        else
            ck_assert_int_eq(loop_run(loop, place == IN_RING ? LOOP_RUN_DEFAULT : LOOP_RUN_ONCE), 1);
        count(&runs);
    }
}

/* Returns false where the kernel lacks the mode. */
static bool open_loop(const struct mode *mode)
{
    struct loop_options options = {
        .flags = mode->flags,
        .submit = mode->submit,
        .modes = {.spin_ns = mode->spin_ns, .sqpoll_idle_ms = mode->sqpoll_idle_ms},
        .allocator = test_allocator(),
    };
    int r = loop_create(&loop, &options);

    ck_assert(r == 0 || r == -EOPNOTSUPP);
    if (r < 0)
        test_skip("this kernel lacks a mode (flags %#x)", options.flags);
    return r == 0;
}

static void play_all(const struct mode *mode, enum place place, struct actor *actors, uint32_t count_of_actors)
{
    struct loop_hook hook = {0};
    uint64_t         seed = test_env("TEST_SEED", 5);

    if (!open_loop(mode))
        return;
    loop_hook_unref(&hook);
    ck_assert_int_eq(loop_hook_start(loop, &hook, LOOP_HOOK_CHECK, checked), 0);
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_NOWAIT), 0); /* it is ours now */
    ended = 0;
    for (uint32_t i = 0; i < count_of_actors; i++) {
        actors[i].seed = test_random(&seed);
        enter(&actors[i]);
    }
    run(place, count_of_actors, &seed);
    for (uint32_t i = 0; i < count_of_actors; i++)
        leave(&actors[i]);
    loop_hook_stop(&hook);
    test_run(loop);
    test_loop_free(loop);
}

static bool can(const struct mode *mode, enum deed deed)
{
    return deed != START || (mode->flags & LOOP_MODE_SHARED) != 0;
}

/* Goal: each deed alone wakes the loop, each time, wherever it sleeps. */
START_TEST(alone)
{
    const struct mode *mode = &modes[_i % MODES];
    enum place         place = (enum place)(_i / (int)MODES);

    for (int deed = 0; deed < DEEDS; deed++) {
        struct actor actor = {.deed = (enum deed)deed};

        if (can(mode, actor.deed))
            play_all(mode, place, &actor, 1);
    }
}
END_TEST

/* Goal: the same, two of a kind: of two that find it asleep one does the work for both. */
START_TEST(pairs)
{
    const struct mode *mode = &modes[_i % MODES];
    enum place         place = (enum place)(_i / (int)MODES);

    for (int deed = 0; deed < DEEDS; deed++) {
        struct actor actors[2] = {{.deed = (enum deed)deed}, {.deed = deed == POST ? SEND : POST}};

        if (can(mode, actors[0].deed))
            play_all(mode, place, actors, 2);
    }
}
END_TEST

/* Goal: the same, all at once. */
START_TEST(together)
{
    const struct mode *mode = &modes[_i % MODES];
    enum place         place = (enum place)(_i / (int)MODES);
    struct actor       actors[DEEDS] = {{.deed = POST}};
    uint32_t           actors_count = 0;

    for (int deed = 0; deed < DEEDS; deed++) {
        if (can(mode, (enum deed)deed))
            actors[actors_count++].deed = (enum deed)deed;
    }
    play_all(mode, place, actors, actors_count);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("wake");

    tcase_add_loop_test(test_case(suite, "alone"), alone, 0, MODES * PLACES);
    tcase_add_loop_test(test_case(suite, "pairs"), pairs, 0, MODES * PLACES);
    tcase_add_loop_test(test_case(suite, "together"), together, 0, MODES * PLACES);
    return suite;
}
