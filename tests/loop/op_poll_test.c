/* tests/loop/op_poll_test.c: readiness, the kernel's timeouts, cancelling with an answer, epoll. What holds for each of
 * them alike is in op_table_test.c and op_block_test.c. */
#include "tests/loop/op_single.h"

#include <sys/eventfd.h>

static const uint64_t an_hour = 3600 * LOOP_SECOND, soon = 2 * LOOP_MILLISECOND;
static const loop_id  no_such_id = INT64_C(12345) << 31 | 1 << 2 | 1;

static int quiet(void)
{
    return world_fd(world, eventfd(0, EFD_CLOEXEC));
}

/* Goal: arguments that make no sense are answered at once. */
START_TEST(bad_arguments)
{
    struct epoll_event event = {.events = EPOLLIN};
    struct loop_match  match = {.flags = LOOP_MATCH_FD, .fd = -1};
    const uint32_t     bad_flags[] = {1u << 3,
                                      1u << 6,
                                      1u << 31,
                                      LOOP_MATCH_ANY | LOOP_MATCH_FD,
                                      LOOP_MATCH_ANY | LOOP_MATCH_OPCODE,
                                      LOOP_MATCH_ANY | LOOP_MATCH_ID};

    refused(loop_poll_add(loop, -1, POLLIN, NEVER), -EBADF);
    refused(loop_poll_remove(loop, 0, NEVER), -EINVAL);
    refused(loop_poll_remove(loop, -ENOENT, NEVER), -EINVAL);
    refused(loop_poll_update(loop, 0, POLLIN, NEVER), -EINVAL);
    refused(loop_timeout(loop, 1, 0, 1u << 3, NEVER), -EINVAL);
    refused(loop_timeout(loop, 1, 0, LOOP_TIMEOUT_BOOTTIME | LOOP_TIMEOUT_REALTIME, NEVER), -EINVAL);
    refused(loop_timeout_remove(loop, 0, NEVER), -EINVAL);
    refused(loop_timeout_update(loop, -1, 1, 0, NEVER), -EINVAL);
    refused(loop_timeout_update(loop, no_such_id, 1, 1u << 3, NEVER), -EINVAL);
    refused(loop_link_timeout(loop, 1, 0, NEVER), -EINVAL);
    refused(loop_async_cancel(loop, NULL, NEVER), -EINVAL);
    refused(loop_async_cancel(loop, &match, NEVER), -EBADF);
    for (size_t i = 0; i < TEST_COUNT(bad_flags); i++) {
        match = (struct loop_match){.flags = bad_flags[i]};
        refused(loop_async_cancel(loop, &match, NEVER), -EINVAL);
    }
    match = (struct loop_match){.reserved = 1};
    refused(loop_async_cancel(loop, &match, NEVER), -EINVAL);
    refused(loop_epoll_ctl(loop, -1, EPOLL_CTL_ADD, 0, &event, NEVER), -EBADF);
    refused(loop_epoll_ctl(loop, 0, EPOLL_CTL_ADD, -1, &event, NEVER), -EBADF);
    refused(loop_epoll_ctl(loop, LOOP_FIXED(0), EPOLL_CTL_ADD, 0, &event, NEVER), -EBADF);
    refused(loop_epoll_ctl(loop, 0, EPOLL_CTL_ADD, LOOP_FIXED(0), &event, NEVER), -EBADF);
    refused(loop_epoll_ctl(loop, 0, EPOLL_CTL_ADD, 0, NULL, NEVER), -EINVAL);
    refused(loop_epoll_ctl(loop, 0, EPOLL_CTL_MOD, 0, NULL, NEVER), -EINVAL);
    refused(loop_epoll_wait(loop, -1, world->events, 1, NEVER), -EBADF);
    refused(loop_epoll_wait(loop, 0, NULL, 1, NEVER), -EINVAL);
    refused(loop_epoll_wait(loop, 0, world->events, 0, NEVER), -EINVAL);
    refused(loop_epoll_wait(loop, 0, world->events, -1, NEVER), -EINVAL);
    ck_assert_uint_eq(test_stats(loop).ops_started, 0);
}
END_TEST

/* ---- polls */

/* Goal: what a poll reports is what poll(2) does. Method: descriptors in several states, and sets of events;
 * POLLRDHUP always counts. */
START_TEST(poll_events)
{
    static const uint32_t events[] = {
        POLLIN, POLLOUT, POLLIN | POLLOUT, POLLPRI | POLLIN, POLLRDHUP | POLLIN, POLLRDHUP, EPOLLEXCLUSIVE | POLLOUT};
    int pair[2], hung[2], pipe_in[2], fds[8], count = 0;

    world_pair(world, pair);
    world_pair(world, hung);
    world_pipe(world, pipe_in);
    test_write(pair[1], "x", 1);
    world_fd_gone(world, hung[1]);
    test_close(hung[1]);
    world_fd_gone(world, pipe_in[1]);
    test_close(pipe_in[1]);
    fds[count++] = pair[0];
    fds[count++] = hung[0];
    fds[count++] = pipe_in[0];
    fds[count++] = world->file;
    fds[count++] = world_full_pipe(world);
    fds[count++] = quiet();
    for (int i = 0; i < count; i++) {
        for (size_t j = 0; j < TEST_COUNT(events); j++) {
            struct pollfd expected = {.fd = fds[i], .events = (short)(events[j] | POLLRDHUP)};
            loop_id       id = started(loop_poll_add(loop, fds[i], events[j], LOGGED));

            ck_assert_int_ge(poll(&expected, 1, 0), 0);
            test_turns(loop, 2);
            if (expected.revents == 0 && fds[i] == world->file) {
                test_log_is(&world->log, -EINVAL); /* poll(2) would wait for ever */
                world->log = (struct test_log){0};
            } else if (expected.revents == 0) {
                ck_assert_msg(world->log.count == 0, "descriptor %d, events %#x: res %#x", i, events[j],
                              (unsigned)world->log.last.res);
                ck_assert_int_eq(loop_cancel(loop, id), 0);
                ck_assert_int_eq(result(id), -ECANCELED);
            } else {
                test_log_is(&world->log, expected.revents);
                world->log = (struct test_log){0};
            }
        }
    }
}
END_TEST

/* Goal: a poll ends when its descriptor becomes ready; an update changes what it waits for; a remove ends it. */
START_TEST(poll_changes)
{
    struct test_log log = {0};
    uint64_t        one = 1;
    int             fd = quiet();
    loop_id         id = started(loop_poll_add(loop, fd, POLLIN, test_log_cb, &log, NULL));

    test_turns(loop, 2);
    ck_assert_uint_eq(log.count, 0);
    test_write(fd, &one, 8);
    test_run(loop);
    test_log_is(&log, POLLIN);
    ck_assert_int_eq(result(loop_poll_remove(loop, id, LOGGED)), -ENOENT);
    ck_assert_int_eq(result(loop_poll_update(loop, id, POLLOUT, LOGGED)), -ENOENT);

    log = (struct test_log){0};
    id = started(loop_poll_add(loop, fd, POLLPRI, test_log_cb, &log, NULL));
    started(loop_poll_update(loop, id, POLLERR, LOGGED)); /* still nothing */
    test_turns(loop, 2);
    test_log_is(&world->log, 0);
    world->log = (struct test_log){0};
    ck_assert_uint_eq(log.count, 0);
    started(loop_poll_update(loop, id, POLLIN | POLLOUT, LOGGED));
    test_run(loop);
    test_log_is(&world->log, 0);
    test_log_is(&log, POLLIN | POLLOUT);

    world->log = log = (struct test_log){0};
    id = started(loop_poll_add(loop, fd, POLLPRI, test_log_cb, &log, NULL));
    test_turns(loop, 1);
    ck_assert_int_eq(result(loop_poll_remove(loop, id, LOGGED)), 0);
    test_log_is(&log, -ECANCELED);
}
END_TEST

/* ---- timeouts */

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;

    ck_assert_int_eq(clock_gettime(clock, &now), 0);
    return (uint64_t)now.tv_sec * LOOP_SECOND + (uint64_t)now.tv_nsec;
}

/* Goal: timeouts expire with -ETIME on every clock, counted from now or absolute, not before their time. */
START_TEST(timeouts)
{
    static const struct {
        uint32_t  flags;
        clockid_t clock;
    } table[] = {
        {0, CLOCK_MONOTONIC},
        {LOOP_TIMEOUT_BOOTTIME, CLOCK_BOOTTIME},
        {LOOP_TIMEOUT_REALTIME, CLOCK_REALTIME},
    };

    for (size_t i = 0; i < TEST_COUNT(table); i++) {
        uint64_t before = clock_ns(CLOCK_MONOTONIC);

        ck_assert_int_eq(result(loop_timeout(loop, soon, 0, table[i].flags, LOGGED)), -ETIME);
        ck_assert_uint_ge(clock_ns(CLOCK_MONOTONIC) - before, soon);
        ck_assert_int_eq(result(loop_timeout(loop, clock_ns(table[i].clock) + soon, 0,
                                             table[i].flags | LOOP_TIMEOUT_ABSOLUTE, LOGGED)),
                         -ETIME);
        ck_assert_int_eq(result(loop_timeout(loop, 1, 0, table[i].flags | LOOP_TIMEOUT_ABSOLUTE, LOGGED)), -ETIME);
    }
    ck_assert_int_eq(result(loop_timeout(loop, 0, 0, 0, LOGGED)), -ETIME);
}
END_TEST

/* Goal: a count of completions ends a timeout with 0. Method: one that waits for three. */
START_TEST(timeout_count)
{
    struct test_log log = {0}, nops[3] = {{0}};

    started(loop_timeout(loop, an_hour, 3, 0, test_log_cb, &log, NULL));
    for (int i = 0; i < 3; i++) {
        test_turns(loop, 2);
        ck_assert_uint_eq(log.count, 0);
        started(loop_nop(loop, test_log_cb, &nops[i], NULL));
    }
    test_run(loop);
    test_log_is(&log, 0);
    ck_assert_int_eq(result(loop_timeout(loop, soon, 3, 0, LOGGED)), -ETIME);
}
END_TEST

/* Goal: an update moves the time, either way and by any clock; a remove ends it. */
START_TEST(timeout_changes)
{
    for (uint32_t flags = 0; flags <= LOOP_TIMEOUT_ABSOLUTE; flags++) {
        struct test_log log = {0};
        loop_id         id = started(loop_timeout(loop, an_hour, 0, 0, test_log_cb, &log, NULL));
        uint64_t        from = flags == 0 ? 0 : clock_ns(CLOCK_MONOTONIC);

        started(loop_timeout_update(loop, id, from + an_hour * 2, flags, LOGGED));
        test_turns(loop, 2);
        test_log_is(&world->log, 0);
        ck_assert_uint_eq(log.count, 0);
        world->log = (struct test_log){0};
        ck_assert_int_eq(result(loop_timeout_update(loop, id, from + soon, flags, LOGGED)), 0);
        test_log_is(&log, -ETIME);
        ck_assert_int_eq(result(loop_timeout_update(loop, id, from + soon, flags, LOGGED)), -ENOENT);
        ck_assert_int_eq(result(loop_timeout_remove(loop, id, LOGGED)), -ENOENT);
        log = (struct test_log){0};
        id = started(loop_timeout(loop, an_hour, 0, 0, test_log_cb, &log, NULL));
        ck_assert_int_eq(result(loop_timeout_remove(loop, id, LOGGED)), 0);
        test_log_is(&log, -ECANCELED);
    }
}
END_TEST

/* ---- linked timeouts */

/* Goal: all outcomes of a linked timeout in a chain. Method: an operation that ends first, one that is ended, one that
 * fails; in soft and hard chains, an operation behind it. */
START_TEST(link_timeouts)
{
    enum { FIRST, LATE, FAILING, CASES };

    for (uint32_t hard = 0; hard <= LOOP_CHAIN_HARD; hard++) {
        for (int i = FIRST; i < CASES; i++) {
            struct test_log log[3] = {{0}};
            bool            goes_on = hard || i == FIRST;

            ck_assert_int_eq(loop_chain_begin(loop, 3, hard), 0);
            started(i == FIRST  ? loop_nop(loop, test_log_cb, &log[0], NULL)
                    : i == LATE ? loop_poll_add(loop, quiet(), POLLIN, test_log_cb, &log[0], NULL)
                                : loop_poll_add(loop, 3999, POLLIN, test_log_cb, &log[0], NULL));
            started(loop_link_timeout(loop, i == LATE ? soon : an_hour, 0, test_log_cb, &log[1], NULL));
            started(loop_nop(loop, test_log_cb, &log[2], NULL));
            ck_assert_int_eq(loop_chain_end(loop), 0);
            test_run(loop);
            test_log_is(&log[0], i == FIRST ? 0 : i == LATE ? -ECANCELED : -EBADF);
            test_log_is(&log[1], i == LATE ? -ETIME : -ECANCELED);
            test_log_is(&log[2], goes_on ? 0 : -ECANCELED);
        }
    }
}
END_TEST

/* Goal: a linked timeout has absolute times and data of its own; what stands before it may be cancelled. */
START_TEST(link_timeout_more)
{
    struct test_log log[2] = {{0}, {.extra_size = 5}};
    loop_id         id;

    ck_assert_int_eq(loop_chain_begin(loop, 2, 0), 0);
    started(loop_poll_add(loop, quiet(), POLLIN, test_log_cb, &log[0], NULL));
    started(loop_link_timeout(loop, clock_ns(CLOCK_REALTIME) + soon, LOOP_TIMEOUT_ABSOLUTE | LOOP_TIMEOUT_REALTIME,
                              test_log_cb, &log[1], LOOP_TERMS(.data = "data", .data_size = 5)));
    ck_assert_int_eq(loop_chain_end(loop), 0);
    test_run(loop);
    test_log_is(&log[0], -ECANCELED);
    test_log_is(&log[1], -ETIME);
    ck_assert_str_eq(log[1].extra, "data");

    memset(log, 0, sizeof(log));
    ck_assert_int_eq(loop_chain_begin(loop, 2, 0), 0);
    id = started(loop_poll_add(loop, quiet(), POLLIN, test_log_cb, &log[0], NULL));
    started(loop_link_timeout(loop, an_hour, 0, test_log_cb, &log[1], NULL));
    ck_assert_int_eq(loop_chain_end(loop), 0);
    test_turns(loop, 2);
    ck_assert_int_eq(loop_cancel(loop, id), 0);
    test_run(loop);
    test_log_is(&log[0], -ECANCELED);
    test_log_is(&log[1], -ECANCELED);
}
END_TEST

/* Goal: a linked timeout is refused where it makes no sense, and drops the chain. */
START_TEST(link_timeout_refused)
{
    static const struct loop_terms bad[] = {
        {.timeout_ns = 1},          {.flags = LOOP_ASYNC}, {.flags = LOOP_UNCHAINED},
        {.flags = LOOP_BACKGROUND}, {.personality = 1},    {.release = 1},
    };

    for (int i = 0; i < 4 + (int)TEST_COUNT(bad); i++) {
        const struct loop_terms *terms = i < 4 ? NULL : &bad[i - 4];
        int                      dropped = i >= 4 && (bad[i - 4].flags & LOOP_UNCHAINED) ? 0 : -EINVAL;
        struct test_log          log = {0};

        ck_assert_int_eq(loop_chain_begin(loop, 4, 0), 0);
        if (i == 1)
            started(loop_nop(loop, test_log_cb, &log, LOOP_TERMS(.timeout_ns = an_hour)));
        else if (i != 0)
            started(loop_nop(loop, test_log_cb, &log, NULL));
        if (i == 2)
            started(loop_link_timeout(loop, an_hour, 0, NEVER));
        ck_assert_int_eq(loop_link_timeout(loop, an_hour, i == 3 ? 1u << 5 : 0, world_never, NULL, terms), -EINVAL);
        ck_assert_int_eq(loop_chain_end(loop), dropped);
        test_run(loop);
        ck_assert_uint_eq(log.count, dropped == 0);
    }
    refused(loop_link_timeout(loop, an_hour, 0, NEVER), -EINVAL);
}
END_TEST

/* ---- cancelling */

static struct test_log waiting[6];

/* Six polls: two each of three descriptors. */
static void start_polls(int fds[3], loop_id ids[6])
{
    memset(waiting, 0, sizeof(waiting));
    for (int i = 0; i < 6; i++) {
        if (i % 2 == 0)
            fds[i / 2] = quiet();
        ids[i] = started(loop_poll_add(loop, fds[i / 2], POLLIN, test_log_cb, &waiting[i], NULL));
    }
    test_turns(loop, 2);
}

static void stop_polls(const loop_id ids[6])
{
    for (int i = 0; i < 6; i++)
        (void)loop_cancel(loop, ids[i]);
    test_run(loop);
}

/* Goal: what a match names is cancelled, no more, and counted. Method: six polls; matches of each kind; a bit for each
 * that must end. */
START_TEST(matches)
{
    static const struct {
        uint32_t flags;
        int      expected;
        unsigned ended;  /* bits */
        bool     any_of; /* one of them */
    } table[] = {
        {0, 0, 1 << 1, false},
        {LOOP_MATCH_ALL, 1, 1 << 1, false},
        {LOOP_MATCH_FD, 0, 1 << 2 | 1 << 3, true},
        {LOOP_MATCH_FD | LOOP_MATCH_ALL, 2, 1 << 2 | 1 << 3, false},
        {LOOP_MATCH_OPCODE, 0, 0x3f, true},
        {LOOP_MATCH_FD | LOOP_MATCH_OPCODE | LOOP_MATCH_ALL, 2, 1 << 2 | 1 << 3, false},
        {LOOP_MATCH_ID | LOOP_MATCH_FD, -ENOENT, 0, false}, /* that id is of another descriptor */
        {LOOP_MATCH_ID | LOOP_MATCH_OPCODE | LOOP_MATCH_ALL, 1, 1 << 1, false},
    };

    for (size_t i = 0; i < TEST_COUNT(table); i++) {
        int               fds[3], ended = 0;
        loop_id           ids[6];
        struct loop_match match;

        if ((table[i].flags & (LOOP_MATCH_OPCODE | LOOP_MATCH_ID)) && !test_has_opcode(loop, IORING_OP_FUTEX_WAIT))
            continue;
        start_polls(fds, ids);
        match = (struct loop_match){
            .id = (uint64_t)ids[1], .fd = fds[1], .opcode = IORING_OP_POLL_ADD, .flags = table[i].flags};
        started(loop_async_cancel(loop, &match, LOGGED));
        memset(&match, 0xff, sizeof(match));
        test_turns(loop, 3);
        test_log_is(&world->log, table[i].expected);
        world->log = (struct test_log){0};
        for (int j = 0; j < 6; j++) {
            ended += waiting[j].finals > 0;
            ck_assert_msg(waiting[j].finals == 0 || (table[i].ended >> j & 1), "case %zu: poll %d has ended", i, j);
        }
        ck_assert_msg(ended == (table[i].any_of ? 1 : __builtin_popcount(table[i].ended)), "case %zu: %d ended", i,
                      ended);
        stop_polls(ids);
        for (int j = 0; j < 6; j++)
            test_log_is(&waiting[j], -ECANCELED);
    }
}
END_TEST

/* Goal: with ALL, none found is 0; without, -ENOENT. */
START_TEST(no_match)
{
    struct loop_match match = {.id = (uint64_t)no_such_id};

    ck_assert_int_eq(result(loop_async_cancel(loop, &match, LOGGED)), -ENOENT);
    match.flags = LOOP_MATCH_ALL;
    ck_assert_int_eq(result(loop_async_cancel(loop, &match, LOGGED)), 0);
    match = (struct loop_match){.flags = LOOP_MATCH_FD, .fd = 3999};
    ck_assert_int_eq(result(loop_async_cancel(loop, &match, LOGGED)), -EBADF);
    match.fd = quiet();
    ck_assert_int_eq(result(loop_async_cancel(loop, &match, LOGGED)), -ENOENT);
    match.fd = LOOP_FIXED(0);
    ck_assert_int_eq(result(loop_async_cancel(loop, &match, LOGGED)), -EBADF);
}
END_TEST

static void foreign_came(struct loop *of, uint64_t user_data, int32_t res, uint32_t flags, void *arg)
{
    (void)of, (void)flags;
    ck_assert_uint_eq(user_data, 4711 << 2 | LOOP_FOREIGN);
    *(int32_t *)arg = res;
}

/* Goal: what loop_cancel() can't name is found: a foreign SQE, and everything. */
START_TEST(cancel_others)
{
    struct io_uring_sqe sqe = {0};
    int32_t             foreign = 1;
    int                 fds[3];
    loop_id             ids[6];

    io_uring_prep_poll_add(&sqe, quiet(), POLLIN);
    sqe.user_data = 4711 << 2 | LOOP_FOREIGN;
    loop_foreign_set(loop, foreign_came, &foreign);
    ck_assert_int_eq(loop_foreign_submit(loop, &sqe), 0);
    test_turns(loop, 1);
    ck_assert_int_eq(result(loop_async_cancel(loop, &(struct loop_match){.id = sqe.user_data}, LOGGED)), 0);
    test_turns(loop, 2);
    ck_assert_int_eq(foreign, -ECANCELED);

    start_polls(fds, ids);
    started(loop_async_cancel(loop, &(struct loop_match){.flags = LOOP_MATCH_ANY}, LOGGED));
    test_run(loop);
    ck_assert_int_ge(world->log.last.res, 6);
    for (int i = 0; i < 6; i++)
        test_log_is(&waiting[i], -ECANCELED);
}
END_TEST

/* ---- epoll */

/* Goal: changes and their errors are those of epoll_ctl(2). */
START_TEST(epoll_changes)
{
    struct epoll_event *event = &world->args.event, found;
    int                 epoll = world_fd(world, epoll_create1(EPOLL_CLOEXEC)), fd = quiet();

    *event = (struct epoll_event){.events = EPOLLIN, .data.fd = fd};
    ck_assert_int_eq(result(loop_epoll_ctl(loop, epoll, EPOLL_CTL_ADD, fd, event, LOGGED)), 0);
    ck_assert_int_eq(epoll_wait(epoll, &found, 1, 0), 0);
    ck_assert_int_eq(result(loop_epoll_ctl(loop, epoll, EPOLL_CTL_ADD, fd, event, LOGGED)), -EEXIST);
    *event = (struct epoll_event){.events = EPOLLOUT, .data.u64 = 99};
    ck_assert_int_eq(result(loop_epoll_ctl(loop, epoll, EPOLL_CTL_MOD, fd, event, LOGGED)), 0);
    ck_assert_int_eq(epoll_wait(epoll, &found, 1, 0), 1);
    ck_assert_uint_eq(found.events, EPOLLOUT);
    ck_assert_uint_eq(found.data.u64, 99);
    ck_assert_int_eq(result(loop_epoll_ctl(loop, epoll, EPOLL_CTL_DEL, fd, NULL, LOGGED)), 0);
    ck_assert_int_eq(epoll_wait(epoll, &found, 1, 0), 0);
    ck_assert_int_eq(result(loop_epoll_ctl(loop, epoll, EPOLL_CTL_DEL, fd, NULL, LOGGED)), -ENOENT);
    *event = (struct epoll_event){.events = EPOLLIN};
    ck_assert_int_eq(result(loop_epoll_ctl(loop, epoll, EPOLL_CTL_MOD, fd, event, LOGGED)), -ENOENT);
    ck_assert_int_eq(result(loop_epoll_ctl(loop, epoll, 99, fd, event, LOGGED)), -EINVAL);
    ck_assert_int_eq(result(loop_epoll_ctl(loop, epoll, EPOLL_CTL_ADD, epoll, event, LOGGED)), -EINVAL);
    ck_assert_int_eq(result(loop_epoll_ctl(loop, epoll, EPOLL_CTL_ADD, 3999, event, LOGGED)), -EBADF);
}
END_TEST

/* Goal: events are those of epoll_wait(2), at most as many as asked for, and wait to come. */
START_TEST(epoll_waits)
{
    struct epoll_event events[8], expected[8];
    struct test_log    log = {0};
    uint64_t           one = 1;
    int                fds[4], epoll = world_fd(world, epoll_create1(EPOLL_CLOEXEC));

    if (!test_has_opcode(loop, IORING_OP_EPOLL_WAIT)) {
        test_skip("epoll_waits: kernel 6.15");
        return;
    }
    for (int i = 0; i < 4; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fds[i] = quiet()};

        ck_assert_int_eq(epoll_ctl(epoll, EPOLL_CTL_ADD, fds[i], &event), 0);
    }
    started(loop_epoll_wait(loop, epoll, events, 8, test_log_cb, &log, NULL));
    test_turns(loop, 3);
    ck_assert_uint_eq(log.count, 0);
    test_write(fds[2], &one, 8);
    test_run(loop);
    test_log_is(&log, 1);
    ck_assert_int_eq(events[0].data.fd, fds[2]);
    for (int i = 0; i < 4; i++)
        test_write(fds[i], &one, 8);
    for (int most = 1; most <= 8; most++) {
        int count = result(loop_epoll_wait(loop, epoll, events, most, LOGGED));

        ck_assert_int_eq(count, most < 4 ? most : 4);
        ck_assert_int_eq(epoll_wait(epoll, expected, 8, 0), 4);
        for (int i = 0; i < count; i++) {
            bool known = false;

            ck_assert_uint_eq(events[i].events, EPOLLIN);
            for (int j = 0; j < 4; j++)
                known |= events[i].data.fd == expected[j].data.fd;
            ck_assert(known);
        }
    }
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("op_poll");
    TCase *tcase = test_case(suite, "poll");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, bad_arguments);
    tcase_add_test(tcase, poll_events);
    tcase_add_test(tcase, poll_changes);

    tcase = test_case(suite, "timeout");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, timeouts);
    tcase_add_test(tcase, timeout_count);
    tcase_add_test(tcase, timeout_changes);
    tcase_add_test(tcase, link_timeouts);
    tcase_add_test(tcase, link_timeout_more);
    tcase_add_test(tcase, link_timeout_refused);

    tcase = test_case(suite, "others");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, matches);
    tcase_add_test(tcase, no_match);
    tcase_add_test(tcase, cancel_others);
    tcase_add_test(tcase, epoll_changes);
    tcase_add_test(tcase, epoll_waits);
    return suite;
}
