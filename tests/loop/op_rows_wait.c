/* tests/loop/op_rows_wait.c: readiness, time, other operations, other rings, futexes, children. */
#include "tests/loop/op_world.h"

#include <sys/eventfd.h>
#include <sys/syscall.h>

static const uint64_t    an_hour = 3600 * LOOP_SECOND;
static const loop_id     no_such_id = INT64_C(12345) << 31 | 1 << 2 | 1;
static struct loop_terms helper_terms = {.flags = LOOP_UNCHAINED};

static int new_eventfd(struct world *world, unsigned count)
{
    return world_fd(world, eventfd(count, EFD_CLOEXEC));
}

/* An operation that waits, for others to be about. */
static loop_id helper_poll(struct world *world)
{
    int     fd = new_eventfd(world, 0);
    loop_id id = loop_poll_add(world->loop, fd, POLLIN, test_log_cb, &world->helper, &helper_terms);

    world->helper = (struct test_log){0};
    ck_assert_int_gt(id, 0);
    return id;
}

static loop_id helper_timeout(struct world *world)
{
    loop_id id = loop_timeout(world->loop, an_hour, 0, 0, test_log_cb, &world->helper, &helper_terms);

    world->helper = (struct test_log){0};
    ck_assert_int_gt(id, 0);
    return id;
}

void look_helper_canceled(struct world *world, int32_t res)
{
    (void)res;
    test_log_is(&world->helper, -ECANCELED);
}

void look_helper_polled(struct world *world, int32_t res)
{
    (void)res;
    test_log_is(&world->helper, POLLOUT);
}

void look_helper_timed(struct world *world, int32_t res)
{
    (void)res;
    test_log_is(&world->helper, -ETIME);
}

loop_id start_poll_add(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    int fd = how == BAD ? 3999 : new_eventfd(world, how == GOOD);

    return loop_poll_add(world->loop, fd, POLLIN, cb, arg, terms);
}

loop_id start_poll_remove(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    return loop_poll_remove(world->loop, how == BAD ? no_such_id : helper_poll(world), cb, arg, terms);
}

loop_id start_poll_update(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    return loop_poll_update(world->loop, how == BAD ? no_such_id : helper_poll(world), POLLOUT, cb, arg, terms);
}

loop_id start_timeout(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    return loop_timeout(world->loop, how == BLOCK ? an_hour : LOOP_MILLISECOND, 0, 0, cb, arg, terms);
}

loop_id start_timeout_remove(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    return loop_timeout_remove(world->loop, how == BAD ? no_such_id : helper_timeout(world), cb, arg, terms);
}

loop_id start_timeout_update(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    return loop_timeout_update(world->loop, how == BAD ? no_such_id : helper_timeout(world), LOOP_MILLISECOND, 0, cb,
                               arg, terms);
}

/* The operation ends first. */
loop_id start_link_timeout(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    loop_id id;

    (void)how;
    ck_assert_int_eq(loop_chain_begin(world->loop, 2, 0), 0);
    ck_assert_int_gt(loop_nop(world->loop, NULL, NULL, NULL), 0);
    id = loop_link_timeout(world->loop, an_hour, 0, cb, arg, terms);
    ck_assert_int_eq(loop_chain_end(world->loop), id < 0 ? (int)id : 0);
    return id;
}

loop_id start_async_cancel(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    world->args.match = (struct loop_match){.id = (uint64_t)(how == BAD ? no_such_id : helper_poll(world))};
    return loop_async_cancel(world->loop, &world->args.match, cb, arg, terms);
}

/* ---- epoll */

static int new_epoll(struct world *world)
{
    return world_fd(world, epoll_create1(EPOLL_CLOEXEC));
}

/* The bad one adds a regular file. */
loop_id start_epoll_ctl(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    world->fd[0] = new_epoll(world);
    world->args.event = (struct epoll_event){.events = EPOLLIN, .data.u64 = 4711};
    return loop_epoll_ctl(world->loop, world->fd[0], EPOLL_CTL_ADD, how == BAD ? world->file : new_eventfd(world, 1),
                          &world->args.event, cb, arg, terms);
}

void look_epoll_ctl(struct world *world, int32_t res)
{
    struct epoll_event event = {0};

    (void)res;
    ck_assert_int_eq(epoll_wait(world->fd[0], &event, 1, 0), 1);
    ck_assert_uint_eq(event.events, EPOLLIN);
    ck_assert_uint_eq(event.data.u64, 4711);
}

loop_id start_epoll_wait(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = 4711};

    world->fd[0] = how == BAD ? world->file : new_epoll(world);
    if (how != BAD)
        ck_assert_int_eq(epoll_ctl(world->fd[0], EPOLL_CTL_ADD, new_eventfd(world, how == GOOD), &event), 0);
    return loop_epoll_wait(world->loop, world->fd[0], world->events, 4, cb, arg, terms);
}

void look_epoll_wait(struct world *world, int32_t res)
{
    struct epoll_event expected[4];

    ck_assert_int_eq(epoll_wait(world->fd[0], expected, 4, 0), res);
    ck_assert_uint_eq(world->events[0].events, expected[0].events);
    ck_assert_uint_eq(world->events[0].data.u64, 4711);
}

/* ---- other rings */

static void message_came(struct loop *loop, const struct loop_result *result, void *arg)
{
    struct world *world = arg;

    ck_assert_ptr_eq(loop, world->other);
    ck_assert_int_eq(result->id, 0);
    world->other_res = result->res;
    world->other_value = result->value;
    world->other_count++;
}

loop_id start_msg_ring(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    int ring = world->file, handler = 1;

    if (how == GOOD) {
        if (world->other == NULL)
            world->other = test_loop_new(&(struct loop_options){.sq_entries = 8});
        ring = world_ring_fd();
        handler = loop_handler_register(world->other, message_came, world, 0);
        ck_assert_int_gt(handler, 0);
        test_turns(world->other, 1); /* enables it */
    }
    return loop_msg_ring(world->loop, ring, 77, LOOP_MESSAGE(handler, 123456789), cb, arg, terms);
}

/* With the file of a slot, to a slot of the other loop's. */
loop_id start_msg_ring_fd(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    int ring = world->file, handler = 1, target = 0;

    if (how == GOOD) {
        world->other = test_loop_new(&(struct loop_options){.sq_entries = 8});
        ring = world_ring_fd();
        handler = loop_handler_register(world->other, message_came, world, 0);
        ck_assert_int_gt(handler, 0);
        ck_assert_int_eq(loop_files_init(world->other, &(struct loop_files_options){.own = 1}), 0);
        target = loop_file_reserve(world->other, 1);
        ck_assert_int_ge(target, LOOP_FIXED(0));
        test_turns(world->other, 1);
    }
    return loop_msg_ring_fd(world->loop, ring, world->slot, target, LOOP_MESSAGE(handler, 123456789), cb, arg, terms);
}

void look_message(struct world *world, int32_t res)
{
    (void)res;
    test_turns(world->other, 2);
    ck_assert_uint_eq(world->other_count, 1);
    ck_assert_uint_eq(world->other_value, 123456789);
    ck_assert_int_eq(world->other_res, 77);
}

/* The other loop can read from the file. */
void look_message_fd(struct world *world, int32_t res)
{
    struct test_log log = {0};

    (void)res;
    test_turns(world->other, 2);
    ck_assert_uint_eq(world->other_count, 1);
    ck_assert_uint_eq(world->other_value, 123456789);
    ck_assert_int_eq(world->other_res, 0);
    ck_assert_int_gt(loop_read(world->other, LOOP_FIXED(0), world->bytes[0], 32, 100, test_log_cb, &log, NULL), 0);
    test_run(world->other);
    test_log_is(&log, 32);
    ck_assert_int_eq(world->bytes[0][5], world_byte(105));
}

/* ---- futexes and children */

enum { FUTEX_FLAGS = FUTEX2_SIZE_U32 | FUTEX2_PRIVATE };

/* Good ones wait until nudge_futex(); bad ones find another value. */
loop_id start_futex_wait(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    return loop_futex_wait(world->loop, &world->futex[0], how == BAD ? 1 : 0, FUTEX_BITSET_MATCH_ANY, FUTEX_FLAGS, cb,
                           arg, terms);
}

loop_id start_futex_wake(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    return loop_futex_wake(world->loop, &world->futex[0], FUTEX_BITSET_MATCH_ANY, 1,
                           how == BAD ? UINT32_C(0x7000) : FUTEX_FLAGS, cb, arg, terms);
}

loop_id start_futex_waitv(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    for (unsigned i = 0; i < 4; i++)
        world->args.waiters[i] = (struct futex_waitv){
            .val = how == BAD ? 1 : 0, .uaddr = (uintptr_t)&world->futex[3 - i], .flags = FUTEX_FLAGS};
    return loop_futex_waitv(world->loop, world->args.waiters, 4, cb, arg, terms);
}

/* Wakes who waits for futex[0]: the last of waitv's. */
void nudge_futex(struct world *world, int32_t res)
{
    (void)res;
    ck_assert_int_ge(syscall(SYS_futex, &world->futex[0], FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0), 0);
}

static void new_child(struct world *world, enum how how)
{
    siginfo_t info;

    world->child = fork();
    ck_assert_int_ge(world->child, 0);
    if (world->child == 0) {
        alarm(60);
        for (; how == BLOCK;)
            pause();
        _exit(42);
    }
    if (how == GOOD)
        ck_assert_int_eq(waitid(P_PID, (id_t)world->child, &info, WEXITED | WNOWAIT), 0);
}

loop_id start_waitid(struct world *world, enum how how, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    if (how != BAD)
        new_child(world, how);
    return loop_waitid(world->loop, P_PID, how == BAD ? 1 : (unsigned)world->child, &world->info, WEXITED, cb, arg,
                       terms);
}

void look_waitid(struct world *world, int32_t res)
{
    (void)res;
    ck_assert_int_eq(world->info.si_pid, world->child);
    ck_assert_int_eq(world->info.si_signo, SIGCHLD);
    ck_assert_int_eq(world->info.si_code, CLD_EXITED);
    ck_assert_int_eq(world->info.si_status, 42);
    ck_assert_uint_eq(world->info.si_uid, getuid());
    ck_assert_int_eq(waitpid(world->child, NULL, WNOHANG), -1);
    world->child = 0;
}
