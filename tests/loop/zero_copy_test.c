/* tests/loop/zero_copy_test.c: zero-copy sends over the real kernel: the result, then the release, and the bytes. */
#include "loop/loop_private.h"
#include "tests/loop/pair_world.h"

#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/uio.h>

enum { SIZE_MOST = 1 << 20, NOBODY = 65534, TURNS_MOST = 100000 };

static uint8_t out[SIZE_MOST], in[SIZE_MOST];

/* What the two callbacks of a zero-copy send said. */
struct twice {
    uint32_t           count;
    uint32_t           finals;
    struct loop_result results[2];
    char               extra[2][8]; /* if extra was given */
};

static void twice_cb(struct loop *l, const struct loop_result *result, void *arg)
{
    struct twice *twice = arg;

    ck_assert_uint_lt(twice->count, 2);
    ck_assert_uint_eq(twice->finals, 0);
    if (result->extra != NULL)
        memcpy(twice->extra[twice->count], result->extra, sizeof(twice->extra[0]));
    twice->results[twice->count++] = *result;
    if ((result->flags & LOOP_MORE) == 0) {
        twice->finals++;
        ck_assert_int_eq(loop_cancel(l, result->id), -ENOENT);
    } else {
        ck_assert_int_eq(loop_cancel(l, result->id), 0); /* no effect any more */
    }
}

static void twice_is(const struct twice *twice, int32_t res, uint32_t flags)
{
    ck_assert_uint_eq(twice->count, 2);
    ck_assert_msg(twice->results[0].res == res, "res is %d, not %d", twice->results[0].res, res);
    ck_assert_int_eq(twice->results[1].res, res);
    ck_assert_uint_eq(twice->results[0].flags, LOOP_MORE | flags);
    ck_assert_uint_eq(twice->results[1].flags & ~(uint32_t)LOOP_COPIED, LOOP_RELEASED | flags);
    ck_assert_int_eq(twice->results[0].id, twice->results[1].id);
}

static void setup(void)
{
    uint64_t seed = 1;

    loop = test_loop_new(&(struct loop_options){.sq_entries = 64});
    test_turns(loop, 1);
    test_tcp_pair(pair);
    for (size_t i = 0; i < sizeof(out); i++)
        out[i] = (uint8_t)test_random(&seed);
    memset(in, 0, sizeof(in));
}

static void buffer_register(void)
{
    struct iovec iov = {out, sizeof(out)};

    ck_assert_int_eq(seam_ring_register(loop->ring.uring.ring_fd, IORING_REGISTER_BUFFERS, &iov, 1), 0);
}

enum variant { SEND, SENDMSG, SEND_FIXED, SENDMSG_FIXED, VARIANTS };

/* Sends the first size bytes of out; messages in uneven pieces. */
static loop_id start(int variant, size_t size, struct twice *twice, const struct loop_terms *terms)
{
    struct iovec  iov[6];
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = size < 6 ? 1 : 6};
    size_t        at = 0;

    for (size_t i = 0; i < msg.msg_iovlen; i++) {
        size_t piece = i + 1 == msg.msg_iovlen ? size - at : size / 7;

        iov[i] = (struct iovec){out + at, piece};
        at += piece;
    }
    switch (variant) {
    case SEND: return loop_send_zc(loop, pair[0], out, size, 0, twice_cb, twice, terms);
    case SENDMSG: return loop_sendmsg_zc(loop, pair[0], &msg, 0, twice_cb, twice, terms);
    case SEND_FIXED: return loop_send_zc_fixed(loop, pair[0], out, size, 0, 0, twice_cb, twice, terms);
    default: return loop_sendmsg_zc_fixed(loop, pair[0], &msg, 0, 0, twice_cb, twice, terms);
    }
}

/* Goal: the bytes arrive as they were, with both callbacks in order. Method: all four calls, small to larger than any
 * socket buffer. */
START_TEST(bytes_arrive)
{
    static const size_t sizes[] = {1, 100, 4096, 65536, SIZE_MOST};

    buffer_register();
    for (size_t i = 0; i < TEST_COUNT(sizes); i++) {
        struct twice    twice = {0};
        struct test_log received = {0};
        int32_t         size = (int32_t)sizes[i];

        memset(in, 0, sizeof(in));
        ck_assert_int_gt(loop_recv(loop, pair[1], in, sizes[i], MSG_WAITALL, test_log_cb, &received,
                                   LOOP_TERMS(.timeout_ns = 20 * LOOP_SECOND)),
                         0);
        ck_assert_int_gt(start(_i, sizes[i], &twice, NULL), 0);
        test_run_until(loop, &twice.finals, 1);
        if (_i == SENDMSG_FIXED && twice.results[0].res == -EINVAL) {
            test_skip("this kernel has no sendmsg_zc from registered buffers");
            ck_assert_int_eq(loop_cancel(loop, received.last.id), -ENOENT);
            loop_destroy(loop);
            loop = test_loop_new(NULL);
            return;
        }
        test_run_until(loop, &received.finals, 1);
        twice_is(&twice, size, 0);
        ck_assert_int_eq(received.last.res, size);
        ck_assert_int_eq(memcmp(in, out, sizes[i]), 0);
    }
    ck_assert_uint_eq(test_stats(loop).cqes_stale, 0);
}
END_TEST

/* Goal: where the kernel can say so, it says that it copied: it always does over loopback. */
START_TEST(copied_is_told)
{
    struct twice twice = {0};

    ck_assert_int_gt(start(SEND, 30000, &twice, NULL), 0);
    test_run(loop);
    twice_is(&twice, 30000, 0);
    if ((loop_features_get(loop)->kernel_features & IORING_FEAT_REG_REG_RING) != 0)
        ck_assert_uint_eq(twice.results[1].flags, LOOP_RELEASED | LOOP_COPIED);
}
END_TEST

/* Goal: datagrams find the address given, which may be gone when the call has returned. Method: udp sockets that are
 * not connected. */
START_TEST(sendto_address)
{
    struct sockaddr_in address = test_localhost(0), target, from;
    socklen_t          size = sizeof(address);
    struct twice       twice = {0};
    int                fds[2];

    for (int i = 0; i < 2; i++) {
        fds[i] = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        ck_assert_int_ge(fds[i], 0);
        address = test_localhost(0);
        ck_assert_int_eq(bind(fds[i], (struct sockaddr *)&address, sizeof(address)), 0);
        ck_assert_int_eq(getsockname(fds[i], (struct sockaddr *)&address, &size), 0);
    }
    target = address; /* of the second */
    ck_assert_int_gt(
        loop_sendto_zc(loop, fds[0], out, 1000, 0, (struct sockaddr *)&target, sizeof(target), twice_cb, &twice, NULL),
        0);
    memset(&target, 0xff, sizeof(target));
    test_run(loop);
    twice_is(&twice, 1000, 0);
    size = sizeof(from);
    ck_assert_int_eq(recvfrom(fds[1], in, sizeof(in), MSG_DONTWAIT, (struct sockaddr *)&from, &size), 1000);
    ck_assert_int_eq(memcmp(in, out, 1000), 0);
    ck_assert_int_eq(loop_sendto_zc(loop, fds[0], out, 1, 0, NULL, 0, twice_cb, &twice, NULL), -EINVAL);
    ck_assert_int_eq(loop_sendto_zc(loop, fds[0], out, 1, 0, (struct sockaddr *)&from, 129, twice_cb, &twice, NULL),
                     -EINVAL);
    test_close(fds[0]);
    test_close(fds[1]);
}
END_TEST

/* Fills the connection until nothing more goes in. */
static size_t fill(void)
{
    size_t  total = 0;
    ssize_t n;

    for (int quiet = 0; quiet < 3;) {
        n = send(pair[0], out, 65536, MSG_DONTWAIT | MSG_NOSIGNAL);
        total += n > 0 ? (size_t)n : 0;
        quiet = n > 0 ? 0 : quiet + 1;
        test_sleep(LOOP_MILLISECOND);
    }
    return total;
}

static void drain(size_t total)
{
    while (total > 0) {
        ssize_t n = read(pair[1], in, sizeof(in) < total ? sizeof(in) : total);

        ck_assert_int_gt(n, 0);
        total -= (size_t)n;
    }
}

/* Makes room in our own send buffer, so that a send has its result although the peer reads nothing. */
static bool widen(void)
{
    if (setsockopt(pair[0], SOL_SOCKET, SO_SNDBUFFORCE, &(int){16 << 20}, sizeof(int)) == 0)
        return true;
    test_skip("a larger send buffer needs CAP_NET_ADMIN");
    return false;
}

/* Goal: a cancel and a deadline that come before the result end the operation; both callbacks come. Method: a full
 * connection. _i 1: nothing is taken, unless a late acknowledgement makes room; _i 0: a part is. */
START_TEST(ended_before_result)
{
    /* Small, so that what is more than they hold is within an ordinary user's limit of locked memory. */
    ck_assert_int_eq(setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &(int){65536}, sizeof(int)), 0);
    ck_assert_int_eq(setsockopt(pair[1], SOL_SOCKET, SO_RCVBUF, &(int){65536}, sizeof(int)), 0);
    for (int round = 0; round < 3; round++) {
        struct twice             twice = {0};
        static const uint32_t    flags[] = {0, 0, LOOP_LINKED_TIMEOUT};
        const struct loop_terms *terms =
            round == 0 ? NULL : LOOP_TERMS(.timeout_ns = 20 * LOOP_MILLISECOND, .flags = flags[round]);
        size_t         total = _i == 1 ? fill() : 0;
        /* A part is taken: more than all buffers hold. */
        static uint8_t much[2 << 20];
        loop_id        id = loop_send_zc(loop, pair[0], much, sizeof(much), 0, twice_cb, &twice, terms);

        ck_assert_int_gt(id, 0);
        test_turns(loop, 3);
        ck_assert_uint_eq(twice.count, 0);
        if (round == 0)
            ck_assert_int_eq(loop_cancel(loop, id), 0);
        for (uint32_t i = 0; twice.count == 0 && i < TURNS_MOST; i++)
            ck_assert_int_ge(loop_run(loop, LOOP_RUN_ONCE), 0);
        ck_assert_uint_ge(twice.count, 1);
        if (_i == 0 || twice.results[0].res >= 0)
            ck_assert_int_gt(twice.results[0].res, 0);
        else
            ck_assert_int_eq(twice.results[0].res, round == 0 ? -ECANCELED : -ETIMEDOUT);
        if (twice.results[0].res > 0)
            total += (size_t)twice.results[0].res;
        drain(total);
        test_run_until(loop, &twice.finals, 1);
        twice_is(&twice, twice.results[0].res, round == 0 ? 0 : LOOP_TIMED_OUT);
    }
}
END_TEST

/* Goal: between result and release nothing of cancel or deadline has an effect, and no request is repeated. Method:
 * what the peer's window does not take is notified only when the peer reads. */
START_TEST(release_waits_for_peer)
{
    struct twice twice = {0};
    size_t       total = fill();
    uint64_t     cancels;
    loop_id      id;

    if (!widen())
        return;
    id = loop_send_zc(loop, pair[0], out, 100000, 0, twice_cb, &twice, LOOP_TERMS(.timeout_ns = 50 * LOOP_MILLISECOND));
    ck_assert_int_gt(id, 0);
    test_run_until(loop, &twice.count, 1);
    ck_assert_int_eq(twice.results[0].res, 100000);
    cancels = test_stats(loop).cancels;
    ck_assert_int_eq(loop_cancel(loop, id), 0);
    for (int i = 0; i < 100; i++) { /* past the deadline, and past the times at which cancels are repeated */
        test_turns(loop, 1);
        test_sleep(2 * LOOP_MILLISECOND);
    }
    ck_assert_uint_eq(twice.count, 1);
    ck_assert(loop_alive(loop));
    ck_assert_uint_eq(test_stats(loop).cancels, cancels);
    ck_assert_uint_eq(test_stats(loop).deadlines_passed, 0);
    drain(total + 100000);
    test_run_until(loop, &twice.finals, 1);
    twice_is(&twice, 100000, 0);
}
END_TEST

/* Goal: a reset lets go of what the peer has not read; and loop_destroy() waits for that only. Method: as above; the
 * peer resets (_i 0), we do and destroy the loop (_i 1). */
START_TEST(reset_releases)
{
    struct twice        twice = {0};
    const struct linger at_once = {.l_onoff = 1, .l_linger = 0};

    fill();
    if (!widen())
        return;
    ck_assert_int_gt(start(SEND, 100000, &twice, NULL), 0);
    test_run_until(loop, &twice.count, 1);
    test_turns(loop, 10);
    ck_assert_uint_eq(twice.count, 1);
    if (_i == 1) { /* to send no more is not enough */
        ck_assert_int_eq(shutdown(pair[0], SHUT_RDWR), 0);
        test_turns(loop, 10);
        ck_assert_uint_eq(twice.count, 1);
    }
    ck_assert_int_eq(setsockopt(pair[!_i], SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)), 0);
    test_close(pair[!_i]);
    pair[!_i] = -1;
    if (_i == 0) {
        struct twice after = {0};

        test_run_until(loop, &twice.finals, 1);
        ck_assert_int_gt(start(SEND, 1000, &after, NULL), 0);
        test_run_until(loop, &after.finals, 1);
        ck_assert(after.results[0].res == -ECONNRESET || after.results[0].res == -EPIPE);
        twice_is(&after, after.results[0].res, 0);
    } else {
        ck_assert_int_eq(loop_destroy(loop), 0);
        loop = test_loop_new(NULL);
    }
    twice_is(&twice, 100000, 0);
}
END_TEST

/* Goal: the usual errors, each with both callbacks; no signal. */
START_TEST(errors)
{
    struct twice broken = {0}, bad = {0}, local = {0}, far = {0};
    int          locals[2], fd;

    test_socketpair(locals);
    fd = dup(pair[0]);
    ck_assert_int_ge(fd, 0);
    test_close(fd);
    ck_assert_int_gt(loop_send_zc(loop, fd, out, 10, 0, twice_cb, &bad, NULL), 0);
    ck_assert_int_gt(loop_send_zc(loop, locals[0], out, 10, 0, twice_cb, &local, NULL), 0);
    ck_assert_int_eq(shutdown(pair[0], SHUT_WR), 0);
    ck_assert_int_gt(start(SENDMSG, 10, &broken, NULL), 0);
    ck_assert_int_gt(loop_send_zc_fixed(loop, pair[1], out, 10, 0, 7, twice_cb, &far, NULL), 0); /* nothing there */
    test_run(loop);
    twice_is(&bad, -EBADF, 0);
    twice_is(&local, -EOPNOTSUPP, 0);
    twice_is(&broken, -EPIPE, 0);
    twice_is(&far, -EFAULT, 0);
    test_close(locals[0]);
    test_close(locals[1]);
}
END_TEST

/* Goal: what makes no sense is refused, and nothing is called. */
START_TEST(refused)
{
    struct twice  twice = {0};
    struct msghdr msg = {.msg_iovlen = 1};

    ck_assert_int_eq(loop_send_zc(loop, -1, out, 1, 0, twice_cb, &twice, NULL), -EBADF);
    ck_assert_int_eq(loop_send_zc(loop, pair[0], NULL, 1, 0, twice_cb, &twice, NULL), -EINVAL);
    ck_assert_int_eq(loop_send_zc(loop, pair[0], out, (size_t)INT32_MAX + 1, 0, twice_cb, &twice, NULL), -EINVAL);
    ck_assert_int_eq(loop_send_zc(loop, pair[0], out, 1, 0, twice_cb, &twice, LOOP_TERMS(.flags = LOOP_LEND)), -EINVAL);
    ck_assert_int_eq(loop_sendmsg_zc(loop, pair[0], NULL, 0, twice_cb, &twice, NULL), -EINVAL);
    ck_assert_int_eq(loop_sendmsg_zc(loop, pair[0], &msg, 0, twice_cb, &twice, NULL), -EINVAL);
    ck_assert_int_eq(loop_sendmsg_zc_fixed(loop, -1, &msg, 0, 0, twice_cb, &twice, NULL), -EBADF);
    ck_assert_int_eq(loop_send_zc_fixed(loop, pair[0], out, 1, 0, -1, twice_cb, &twice, NULL), -EINVAL);
    ck_assert_int_eq(loop_send_zc_fixed(loop, pair[0], out, 1, 0, UINT16_MAX + 1, twice_cb, &twice, NULL), -EINVAL);
    msg.msg_iovlen = 0;
    ck_assert_int_eq(loop_sendmsg_zc_fixed(loop, pair[0], &msg, 0, -1, twice_cb, &twice, NULL), -EINVAL);
    test_run(loop);
    ck_assert_uint_eq(twice.count, 0);
}
END_TEST

/* Goal: an ordinary user at the limit of locked memory gets -ENOMEM, and a plain send still works. Method: more bytes
 * than the limit; the user who makes the ring is the one that counts. */
START_TEST(memory_limit)
{
    enum { LIMIT = 8 << 20 };
    static uint8_t  much[2 * LIMIT];
    struct rlimit   before, few;
    struct twice    twice = {0};
    struct test_log plain = {0};
    bool            root = geteuid() == 0;

    ck_assert_int_eq(getrlimit(RLIMIT_MEMLOCK, &before), 0);
    few = (struct rlimit){before.rlim_cur < LIMIT ? before.rlim_cur : LIMIT, before.rlim_max};
    ck_assert_int_eq(setrlimit(RLIMIT_MEMLOCK, &few), 0);
    if (root)
        ck_assert_int_eq(seteuid(NOBODY), 0);
    test_loop_free(loop);
    loop = test_loop_new(&(struct loop_options){.sq_entries = 8});
    test_turns(loop, 1);
    ck_assert_int_gt(loop_send_zc(loop, pair[0], much, sizeof(much), 0, twice_cb, &twice, NULL), 0);
    test_run(loop);
    ck_assert_int_gt(loop_send(loop, pair[0], out, 100, 0, test_log_cb, &plain, NULL), 0);
    test_run(loop);
    if (root)
        ck_assert_int_eq(seteuid(0), 0);
    twice_is(&twice, -ENOMEM, 0);
    test_log_is(&plain, 100);
    ck_assert_int_eq(recv(pair[1], in, sizeof(in), MSG_DONTWAIT), 100);
    ck_assert_int_eq(setrlimit(RLIMIT_MEMLOCK, &before), 0);
}
END_TEST

/* Goal: a buffer handed over in the terms goes back with the release, not with the result. */
struct relay {
    struct twice twice;
    uint64_t     lent_at_result;
};

static void relay_sent(struct loop *l, const struct loop_result *result, void *arg)
{
    struct relay *relay = arg;

    if ((result->flags & LOOP_MORE) != 0)
        relay->lent_at_result = test_stats(l).buffers_lent;
    twice_cb(l, result, &relay->twice);
}

static void relay_received(struct loop *l, const struct loop_result *result, void *arg)
{
    if (result->res <= 0)
        return;
    ck_assert_int_gt(loop_send_zc(l, pair[0], result->data, (size_t)result->res, 0, relay_sent, arg,
                                  LOOP_TERMS(.release = result->buffer)),
                     0);
}

START_TEST(buffer_released)
{
    struct relay relay = {0};
    loop_id      id = loop_recv_multishot(loop, pair[0], 0, 0, relay_received, &relay, NULL);

    ck_assert_int_gt(id, 0);
    test_write(pair[1], out, 5000);
    test_run_until(loop, &relay.twice.finals, 1);
    twice_is(&relay.twice, 5000, 0);
    ck_assert_uint_eq(relay.lent_at_result, 1);
    ck_assert_uint_eq(test_stats(loop).buffers_lent, 0);
    test_read(pair[1], in, 5000);
    ck_assert_int_eq(memcmp(in, out, 5000), 0);
    ck_assert_int_eq(loop_cancel(loop, id), 0);
    test_run(loop);
}
END_TEST

/* Goal: caller data comes with both callbacks; without a callback a failure is counted once; the operation counts until
 * it is released. */
START_TEST(terms)
{
    struct twice twice = {0};
    int          locals[2];

    ck_assert_int_gt(start(SEND, 10, &twice, LOOP_TERMS(.data = "1234567", .data_size = 8)), 0);
    ck_assert_uint_eq(test_stats(loop).ops_in_flight, 1);
    test_run(loop);
    twice_is(&twice, 10, 0);
    ck_assert_str_eq(twice.extra[0], "1234567");
    ck_assert_str_eq(twice.extra[1], "1234567");
    test_socketpair(locals);
    ck_assert_int_gt(loop_send_zc(loop, locals[0], out, 10, 0, NULL, NULL, NULL), 0);
    ck_assert_int_gt(loop_send_zc(loop, pair[0], out, 10, 0, NULL, NULL, NULL), 0);
    test_run(loop);
    ck_assert_uint_eq(test_stats(loop).silent_errors, 1);
    test_close(locals[0]);
    test_close(locals[1]);
}
END_TEST

/* Goal: in a chain the next operation begins after the result; after a failure it is cancelled. */
START_TEST(chained)
{
    struct twice    first = {0}, failed = {0};
    struct test_log next = {0}, dropped = {0};
    int             locals[2];

    ck_assert_int_eq(loop_chain_begin(loop, 2, 0), 0);
    ck_assert_int_gt(start(SEND, 1000, &first, LOOP_TERMS(.timeout_ns = 10 * LOOP_SECOND)), 0);
    ck_assert_int_gt(loop_recv(loop, pair[1], in, 1000, MSG_WAITALL, test_log_cb, &next, NULL), 0);
    ck_assert_int_eq(loop_chain_end(loop), 0);
    test_run(loop);
    twice_is(&first, 1000, 0);
    test_log_is(&next, 1000);
    ck_assert_int_eq(memcmp(in, out, 1000), 0);

    test_socketpair(locals);
    ck_assert_int_eq(loop_chain_begin(loop, 2, 0), 0);
    ck_assert_int_gt(loop_send_zc(loop, locals[0], out, 10, 0, twice_cb, &failed, NULL), 0);
    ck_assert_int_gt(loop_nop(loop, test_log_cb, &dropped, NULL), 0);
    ck_assert_int_eq(loop_chain_end(loop), 0);
    test_run(loop);
    twice_is(&failed, -EOPNOTSUPP, 0);
    test_log_is(&dropped, -ECANCELED);
    test_close(locals[0]);
    test_close(locals[1]);
}
END_TEST

/* Goal: held back by a barrier it is sent later, or, cancelled, told twice all the same; and a barrier waits for the
 * release. */
static uint32_t released_before_barrier;

static void barrier_passed(struct loop *l, const struct loop_result *result, void *arg)
{
    const struct twice *twice = arg;

    (void)l;
    ck_assert_int_eq(result->res, 0);
    released_before_barrier = twice->finals;
}

START_TEST(barred)
{
    struct twice    sent = {0}, dropped = {0};
    struct test_log before = {0};
    loop_id         recv_id = loop_recv(loop, pair[0], in, 1, 0, test_log_cb, &before, NULL), id;

    ck_assert_int_gt(recv_id, 0);
    ck_assert_int_gt(start(SEND, 1000, &sent, LOOP_TERMS(.flags = LOOP_BARRIER)), 0);
    id = start(SENDMSG, 1000, &dropped, LOOP_TERMS(.flags = LOOP_BARRIER));
    ck_assert_int_gt(id, 0);
    ck_assert_int_gt(loop_barrier(loop, barrier_passed, &sent), 0);
    test_turns(loop, 3);
    ck_assert_int_eq(recv(pair[1], in, 1, MSG_DONTWAIT), -1);
    ck_assert_int_eq(loop_cancel(loop, id), 0);
    test_turns(loop, 3);
    twice_is(&dropped, -ECANCELED, 0);
    ck_assert_uint_eq(sent.count, 0);
    test_write(pair[1], out, 1);
    test_run(loop);
    test_log_is(&before, 1);
    twice_is(&sent, 1000, 0);
    ck_assert_uint_eq(released_before_barrier, 1);
}
END_TEST

/* Goal: in direct mode the handler is told of both; messages, which need a copy, are refused. */
static struct loop_result direct_results[4];
static uint32_t           direct_count;

static void direct_cb(struct loop *l, const struct loop_result *result, void *arg)
{
    (void)l;
    (void)arg;
    if (direct_count < TEST_COUNT(direct_results))
        direct_results[direct_count] = *result;
    direct_count++;
}

START_TEST(direct_mode)
{
    struct iovec  iov = {out, 10};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    int           handler = loop_handler_register(loop, direct_cb, NULL, 0);

    ck_assert_int_gt(handler, 0);
    ck_assert_int_gt(loop_send_zc(loop, pair[0], out, 5000, 0, LOOP_HANDLER(handler), LOOP_VALUE(77), NULL), 0);
    test_run(loop);
    ck_assert_uint_eq(direct_count, 2);
    ck_assert_int_eq(direct_results[0].res, 5000);
    ck_assert_uint_eq(direct_results[0].flags, LOOP_MORE);
    ck_assert_int_eq(direct_results[1].res, 0);
    ck_assert_uint_eq(direct_results[1].flags & ~(uint32_t)LOOP_COPIED, LOOP_RELEASED);
    ck_assert_uint_eq(direct_results[1].value, 77);
    ck_assert_int_eq(loop_sendmsg_zc(loop, pair[0], &msg, 0, LOOP_HANDLER(handler), NULL, NULL), -EINVAL);
}
END_TEST

/* Goal: many at a time, on one connection in a row started by the first callback, keep the bytes in order. */
struct row {
    uint32_t started, released;
};
enum { ROW = 200, ROW_SIZE = 5000 };

static void row_cb(struct loop *l, const struct loop_result *result, void *arg)
{
    struct row *row = arg;

    ck_assert_int_eq(result->res, ROW_SIZE);
    if ((result->flags & LOOP_MORE) == 0) {
        row->released++;
        return;
    }
    if (row->started == ROW)
        return;
    ck_assert_int_gt(loop_send_zc(l, pair[0], out + (size_t)row->started++ * ROW_SIZE, ROW_SIZE, 0, row_cb, row, NULL),
                     0);
}

START_TEST(in_a_row)
{
    struct row      row = {.started = 1};
    struct test_log received = {0};

    ck_assert_int_gt(loop_recv(loop, pair[1], in, ROW * ROW_SIZE, MSG_WAITALL, test_log_cb, &received, NULL), 0);
    ck_assert_int_gt(loop_send_zc(loop, pair[0], out, ROW_SIZE, 0, row_cb, &row, NULL), 0);
    test_run(loop);
    ck_assert_uint_eq(row.released, ROW);
    test_log_is(&received, ROW * ROW_SIZE);
    ck_assert_int_eq(memcmp(in, out, ROW * ROW_SIZE), 0);
}
END_TEST

/* Goal: zero-copy receive says why it cannot be had here. Method: this ring has no 32-byte completions. */
START_TEST(receive_refused)
{
    struct loop_zcrx               zcrx = {0};
    const struct loop_zcrx_options options = {.interface_index = 1, .area_bytes = 65536};

    ck_assert_int_eq(loop_zcrx_start(loop, &zcrx, &options, NULL),
                     test_has_opcode(loop, 58) ? -EOPNOTSUPP : -ENOSYS); /* IORING_OP_RECV_ZC */
    ck_assert_int_eq(loop_zcrx_state_get(&zcrx), LOOP_ZCRX_IDLE);
    ck_assert_int_eq(loop_recv_zc(loop, &zcrx, pair[0], twice_cb, NULL, NULL), -ESHUTDOWN);
    ck_assert_int_eq(loop_zcrx_stop(&zcrx), -EINVAL);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("zero_copy");
    TCase *tcase = test_case(suite, "zero_copy");

    tcase_add_checked_fixture(tcase, setup, pair_teardown);
    tcase_add_loop_test(tcase, bytes_arrive, 0, VARIANTS);
    tcase_add_test(tcase, copied_is_told);
    tcase_add_test(tcase, sendto_address);
    tcase_add_loop_test(tcase, ended_before_result, 0, 2);
    tcase_add_test(tcase, release_waits_for_peer);
    tcase_add_loop_test(tcase, reset_releases, 0, 2);
    tcase_add_test(tcase, errors);
    tcase_add_test(tcase, refused);
    tcase_add_test(tcase, memory_limit);
    tcase_add_test(tcase, buffer_released);
    tcase_add_test(tcase, terms);
    tcase_add_test(tcase, chained);
    tcase_add_test(tcase, barred);
    tcase_add_test(tcase, direct_mode);
    tcase_add_test(tcase, in_a_row);
    tcase_add_test(tcase, receive_refused);
    return suite;
}
