/* tests/loop/incremental_test.c: incremental groups: parts of buffers, and when a buffer goes home. */
#include "tests/support/test.h"

static struct loop *loop;
static int          group;

enum { SIZE = 4096, BUFFERS = 4 };

static void setup(void)
{
    loop = test_loop_new(&(struct loop_options){.sq_entries = 64, .buffer_size = SIZE, .buffer_count = BUFFERS});
    group = loop_buffer_group_create(
        loop, &(struct loop_buffer_group_options){.size = SIZE, .count = BUFFERS, .flags = LOOP_GROUP_INCREMENTAL});
    if (group == -EOPNOTSUPP)
        test_skip("this kernel has no incremental groups");
    else
        ck_assert_int_gt(group, 0);
}

static void teardown(void)
{
    test_loop_free(loop);
}

static struct loop_buffer_group_stats group_stats(void)
{
    struct loop_buffer_group_stats stats;

    ck_assert_int_eq(loop_buffer_group_stats_get(loop, (uint16_t)group, &stats), 0);
    return stats;
}

/* One receiver; its bytes are a pseudo-random sequence of its own. */
enum { KEPT_MAX = 512 };
struct receiver {
    int      fds[2];
    uint64_t sent, received;     /* bytes */
    uint64_t send_seed, seed;    /* of the bytes */
    uint64_t choice;             /* of what to do with a part */
    uint32_t keep_of;            /* keeps one part of so many; 0: none */
    uint32_t parts, more, ended; /* ended: final callbacks */
    struct kept {
        loop_buffer buffer;
        char       *data, *copy;
        uint32_t    size;
    } kept[KEPT_MAX];
    uint32_t kept_count;
};

static uint8_t next_byte(uint64_t *seed)
{
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint8_t)(*seed >> 56);
}

static void give_back_one(struct receiver *receiver, uint32_t i)
{
    struct kept *kept = &receiver->kept[i];
    size_t       size = 0;

    if (loop_buffer_data(loop, kept->buffer, &size) != kept->data || size != kept->size ||
        memcmp(kept->data, kept->copy, kept->size) != 0)
        ck_abort_msg("a kept part has changed");
    ck_assert_int_eq(loop_buffer_return(loop, kept->buffer), 0);
    ck_assert_int_eq(loop_buffer_return(loop, kept->buffer), -EINVAL);
    ck_assert_ptr_null(loop_buffer_data(loop, kept->buffer, NULL));
    free(kept->copy);
    *kept = receiver->kept[--receiver->kept_count];
}

static void received(struct loop *of, const struct loop_result *result, void *arg)
{
    struct receiver *receiver = arg;
    const char      *data = result->data;

    if ((result->flags & LOOP_MORE) == 0)
        receiver->ended++;
    if ((result->flags & LOOP_BUFFER) == 0) {
        ck_assert_int_eq(result->res, 0);
        return;
    }
    receiver->parts++;
    receiver->more += (result->flags & LOOP_BUFFER_MORE) != 0;
    for (int32_t i = 0; i < result->res; i++)
        if ((uint8_t)data[i] != next_byte(&receiver->seed))
            ck_abort_msg("byte %" PRIu64 " is wrong", receiver->received + (uint64_t)i);
    receiver->received += (uint64_t)result->res;
    if (receiver->keep_of != 0 && receiver->kept_count < KEPT_MAX &&
        test_random(&receiver->choice) % receiver->keep_of == 0) {
        struct kept *kept = &receiver->kept[receiver->kept_count++];

        ck_assert_int_eq(loop_buffer_keep(of, result->buffer), 0);
        *kept = (struct kept){.buffer = result->buffer, .data = result->data, .size = (uint32_t)result->res};
        kept->copy = malloc(kept->size);
        memcpy(kept->copy, kept->data, kept->size);
    }
}

static void send_some(struct receiver *receiver, size_t size)
{
    char     bytes[3 * SIZE];
    uint64_t seed = receiver->send_seed;
    ssize_t  n;

    ck_assert_uint_le(size, sizeof(bytes));
    for (size_t i = 0; i < size; i++)
        bytes[i] = (char)next_byte(&seed);
    n = send(receiver->fds[1], bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0) {
        ck_assert(errno == EAGAIN);
        return;
    }
    for (ssize_t i = 0; i < n; i++)
        (void)next_byte(&receiver->send_seed);
    receiver->sent += (uint64_t)n;
}

static void receiver_open(struct receiver *receiver, bool tcp, uint64_t seed)
{
    memset(receiver, 0, sizeof(*receiver));
    receiver->seed = receiver->send_seed = receiver->choice = seed;
    if (tcp)
        test_tcp_pair(receiver->fds);
    else
        test_socketpair(receiver->fds);
    ck_assert_int_gt(loop_recv_multishot(loop, receiver->fds[0], (uint16_t)group, 0, received, receiver, NULL), 0);
}

static void receiver_close(struct receiver *receiver)
{
    test_close(receiver->fds[0]);
    test_close(receiver->fds[1]);
}

/* Goal: small messages share a buffer, one behind the other; it goes home when it is used up. Method: as many messages
 * as fill one buffer, looked at one by one. */
START_TEST(parts_share_a_buffer)
{
    struct receiver receiver;

    if (group < 0)
        return;
    receiver_open(&receiver, false, 1);
    receiver.keep_of = 1;
    for (uint32_t i = 1; i <= 4; i++) {
        send_some(&receiver, SIZE / 4);
        test_run_until(loop, &receiver.parts, i);
        ck_assert_ptr_eq(receiver.kept[i - 1].data, receiver.kept[0].data + (i - 1) * SIZE / 4);
        ck_assert_uint_eq(receiver.more, i < 4 ? i : 3);
        ck_assert_uint_eq(group_stats().home, i < 4 ? BUFFERS : BUFFERS - 1);
        ck_assert_uint_eq(group_stats().out, i);
    }
    for (uint32_t left = 4; left > 0; left--) {
        ck_assert_uint_eq(group_stats().home, BUFFERS - 1); /* as long as any part is out */
        give_back_one(&receiver, left / 2);
        ck_assert_uint_eq(group_stats().out, left - 1);
    }
    ck_assert_uint_eq(group_stats().home, BUFFERS);
    shutdown(receiver.fds[1], SHUT_WR);
    test_run(loop);
    ck_assert_uint_eq(receiver.ended, 1);
    receiver_close(&receiver);
}
END_TEST

static void stop_sending(struct receiver *receivers, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        shutdown(receivers[i].fds[1], SHUT_WR);
}

/* Goal: nothing is lost, doubled or overwritten when several sockets fill the same buffers while parts are kept for a
 * while. Method: random sizes over eight sockets (_i: tcp or unix), each byte checked, kept parts checked again when
 * they are given back in random order. */
START_TEST(bytes_are_exact)
{
    enum { SOCKETS = 8, BYTES = 200000, ROUNDS_MAX = 200000 };
    static struct receiver receivers[SOCKETS];
    uint64_t               random = test_env("TEST_SEED", 4711) + (uint64_t)_i, received_all = 0;
    uint32_t               ended = 0;

    if (group < 0)
        return;
    for (uint32_t i = 0; i < SOCKETS; i++) {
        receiver_open(&receivers[i], _i == 1, 100 + i);
        receivers[i].keep_of = 3;
    }
    for (uint32_t round = 0; received_all < SOCKETS * BYTES; round++) {
        uint64_t before = received_all;

        ck_assert_uint_lt(round, ROUNDS_MAX);
        received_all = 0;
        for (uint32_t i = 0; i < SOCKETS; i++) {
            struct receiver *receiver = &receivers[i];
            uint64_t         size = 1 + test_random(&random) % (round % 3 == 0 ? 3 * SIZE : 100);

            if (size > BYTES - receiver->sent)
                size = BYTES - receiver->sent;
            if (size > 0 && test_random(&random) % 2 == 0)
                send_some(receiver, size);
            received_all += receiver->received;
            while (receiver->kept_count > 0 && test_random(&random) % 3 != 0)
                give_back_one(receiver, (uint32_t)(test_random(&random) % receiver->kept_count));
        }
        if (received_all == before)
            test_sleep(20 * LOOP_MICROSECOND); /* tcp may need the CPU */
        test_turns(loop, 1);
    }
    stop_sending(receivers, SOCKETS);
    for (uint32_t i = 0; i < SOCKETS; i++)
        while (receivers[i].kept_count > 0)
            give_back_one(&receivers[i], 0);
    test_run(loop);
    for (uint32_t i = 0; i < SOCKETS; i++) {
        ck_assert_uint_eq(receivers[i].received, BYTES);
        ended += receivers[i].ended;
        receiver_close(&receivers[i]);
    }
    ck_assert_uint_eq(ended, SOCKETS);
    ck_assert_uint_eq(group_stats().out, 0);
    ck_assert_uint_eq(group_stats().home, BUFFERS);
}
END_TEST

/* Goal: when all buffers are used up receives wait, and all of them go on when one comes home, though they take parts
 * only and give nothing back. Method: fill the group by kept parts, let ten more sockets wait, give the parts back. */
START_TEST(waiting_for_a_buffer)
{
    enum { SOCKETS = 10 };
    static struct receiver hoarder, others[SOCKETS];
    uint32_t               received_all = 0;

    if (group < 0)
        return;
    receiver_open(&hoarder, false, 1);
    hoarder.keep_of = 1;
    for (uint32_t i = 0; i < BUFFERS; i++)
        send_some(&hoarder, SIZE);
    while (hoarder.received < BUFFERS * SIZE)
        ck_assert_int_eq(loop_run(loop, LOOP_RUN_ONCE), 1);
    ck_assert_uint_eq(group_stats().home, 0);
    for (uint32_t i = 0; i < SOCKETS; i++) {
        receiver_open(&others[i], false, 10 + i);
        others[i].keep_of = 1;
        send_some(&others[i], 7);
    }
    test_turns(loop, 20);
    ck_assert_uint_eq(group_stats().parked, SOCKETS);
    while (hoarder.kept_count > 1)
        give_back_one(&hoarder, 0); /* some buffer is home now, and only one part */
    for (uint32_t i = 0; i < SOCKETS; i++) {
        test_run_until(loop, &others[i].parts, 1);
        received_all += (uint32_t)others[i].received;
    }
    ck_assert_uint_eq(received_all, SOCKETS * 7);
    give_back_one(&hoarder, 0);
    stop_sending(others, SOCKETS);
    stop_sending(&hoarder, 1);
    test_run(loop);
    for (uint32_t i = 0; i < SOCKETS; i++) {
        give_back_one(&others[i], 0);
        receiver_close(&others[i]);
    }
    receiver_close(&hoarder);
}
END_TEST

/* Goal: more parts can be kept than the group began with; without memory for more the keep fails, and the part goes
 * back as if nothing had been. Method: single bytes, kept until the allocator refuses, then go on. */
struct keeper {
    loop_buffer buffers[1000];
    uint32_t    count, refused, parts;
};

static void keep_part(struct loop *of, const struct loop_result *result, void *arg)
{
    struct keeper *keeper = arg;
    int            r;

    if ((result->flags & LOOP_BUFFER) == 0)
        return;
    keeper->parts++;
    r = loop_buffer_keep(of, result->buffer);
    if (r == 0) {
        ck_assert_uint_lt(keeper->count, TEST_COUNT(keeper->buffers));
        keeper->buffers[keeper->count++] = result->buffer;
        return;
    }
    ck_assert_int_eq(r, -ENOMEM);
    keeper->refused++;
    ck_assert_int_eq(loop_nop(of, NULL, NULL, LOOP_TERMS(.release = result->buffer)), -ENOMEM);
    ck_assert_ptr_eq(loop_buffer_data(of, result->buffer, NULL), result->data); /* lent still */
}

START_TEST(many_parts)
{
    static struct keeper keeper;
    int                  pair[2];
    uint32_t             written = 0;

    if (group < 0)
        return;
    test_socketpair(pair);
    ck_assert_int_gt(loop_recv_multishot(loop, pair[0], (uint16_t)group, 0, keep_part, &keeper, NULL), 0);
    test_turns(loop, 1);
    while (keeper.refused < 3) {
        if (keeper.count == 200)
            test_memory.fail_from = 1;
        test_write(pair[1], "x", 1);
        test_run_until(loop, &keeper.parts, ++written);
        ck_assert_uint_lt(written, 900);
    }
    ck_assert_uint_gt(keeper.count, 200);
    ck_assert_uint_eq(group_stats().out, keeper.count);
    test_memory.fail_from = 0;
    for (uint32_t i = 0; i < 10; i++) {
        test_write(pair[1], "x", 1);
        test_run_until(loop, &keeper.parts, ++written);
    }
    ck_assert_uint_eq(keeper.refused, 3);
    for (uint32_t i = 0; i < keeper.count; i++) {
        const char *data = loop_buffer_data(loop, keeper.buffers[i], NULL);

        ck_assert_int_eq(*data, 'x');
        ck_assert_int_eq(loop_buffer_return(loop, keeper.buffers[i]), 0);
    }
    ck_assert_uint_eq(group_stats().out, 0);
    test_close(pair[1]);
    test_run(loop);
    test_close(pair[0]);
}
END_TEST

/* Goal: parts can be handed to sends, several of one buffer at a time. Method: an echo that releases each part. */
struct echo {
    int      fd;
    uint32_t sends, sent;
};

static void echo_sent(struct loop *of, const struct loop_result *result, void *arg)
{
    struct echo *echo = arg;

    (void)of;
    ck_assert_int_gt(result->res, 0);
    echo->sent += (uint32_t)result->res;
}

static void echo_part(struct loop *of, const struct loop_result *result, void *arg)
{
    struct echo *echo = arg;

    if ((result->flags & LOOP_BUFFER) == 0)
        return;
    echo->sends++;
    ck_assert_int_gt(loop_send(of, echo->fd, result->data, (size_t)result->res, 0, echo_sent, echo,
                               LOOP_TERMS(.release = result->buffer)),
                     0);
    ck_assert_int_eq(loop_buffer_return(of, result->buffer), -EINVAL);
}

START_TEST(handed_to_sends)
{
    struct echo echo = {0};
    int         pair[2];
    char        got[100];

    if (group < 0)
        return;
    test_socketpair(pair);
    echo.fd = pair[0];
    ck_assert_int_gt(loop_recv_multishot(loop, pair[0], (uint16_t)group, 0, echo_part, &echo, NULL), 0);
    for (uint32_t i = 0; i < 200; i++) { /* one and a bit times the group */
        char bytes[100];

        memset(bytes, (int)i, sizeof(bytes));
        test_write(pair[1], bytes, sizeof(bytes));
        test_run_until(loop, &echo.sent, (i + 1) * 100);
        test_read(pair[1], got, sizeof(got));
        ck_assert_mem_eq(got, bytes, sizeof(got));
    }
    ck_assert_uint_eq(group_stats().out, 0);
    test_close(pair[1]);
    test_run(loop);
    test_close(pair[0]);
}
END_TEST

/* Goal: what cannot be followed in an incremental group is refused: one-shots, bundles. */
START_TEST(refused)
{
    uint16_t number = (uint16_t)group;

    if (group < 0)
        return;
    ck_assert_int_eq(loop_recv(loop, 0, NULL, 0, 0, NULL, NULL, LOOP_TERMS(.flags = LOOP_LEND, .group = number)),
                     -EINVAL);
    ck_assert_int_eq(loop_recv_bundle(loop, 0, number, 0, test_log_cb, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_recv_multishot_bundle(loop, 0, number, 0, test_log_cb, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_send_bundle(loop, 0, number, 0, test_log_cb, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_buffer_group_add(loop, number, "x", 1), -EINVAL);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("incremental");
    TCase *tcase = test_case(suite, "incremental");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, parts_share_a_buffer);
    tcase_add_loop_test(tcase, bytes_are_exact, 0, 2);
    tcase_add_test(tcase, waiting_for_a_buffer);
    tcase_add_test(tcase, many_parts);
    tcase_add_test(tcase, handed_to_sends);
    tcase_add_test(tcase, refused);
    return suite;
}
