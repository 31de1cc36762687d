/* tests/loop/bundle_test.c: many buffers in one completion, received and sent. */
#include "tests/loop/pair_world.h"

#include <liburing.h>

static bool has_bundles, fills_more; /* of unix sockets: since 6.17, with SO_INQ */

enum { SIZE = 512, BUFFERS = 16, INQ = 84 /* SO_INQ */ };

static void setup(void)
{
    pair_open(&(struct loop_options){.sq_entries = 64, .buffer_size = SIZE, .buffer_count = BUFFERS});
    has_bundles = (loop_features_get(loop)->kernel_features & IORING_FEAT_RECVSEND_BUNDLE) != 0;
    if (!has_bundles)
        test_skip("this kernel has no bundles");
    fills_more = setsockopt(pair[0], SOL_SOCKET, INQ, &(int){0}, sizeof(int)) == 0;
}

static struct loop_buffer_group_stats group_stats(int group)
{
    struct loop_buffer_group_stats stats;

    ck_assert_int_eq(loop_buffer_group_stats_get(loop, (uint16_t)group, &stats), 0);
    return stats;
}

static uint8_t byte_at(uint64_t seed, uint64_t at)
{
    uint64_t state = seed + at / 8 * 77;

    return (uint8_t)(test_random(&state) >> at % 8 * 8);
}

/* ---- receiving */

enum { KEPT_MAX = BUFFERS };
struct receiver {
    int      fds[2];
    uint64_t seed, sent, received, choice;
    uint32_t results, bundles, buffers, ended, keep_of;
    int32_t  last;
    struct {
        loop_buffer buffer;
        const char *data;
        uint64_t    at;
        uint32_t    size;
    } kept[KEPT_MAX];
    uint32_t kept_count;
};

static void check_bytes(const struct receiver *receiver, const char *data, uint32_t size, uint64_t at)
{
    for (uint32_t i = 0; i < size; i++)
        if ((uint8_t)data[i] != byte_at(receiver->seed, at + i))
            ck_abort_msg("byte %" PRIu64 " is wrong", at + i);
}

/* Each buffer on its own: kept, given back early, or left alone. */
static void take_piece(struct receiver *receiver, const struct loop_result *piece)
{
    uint64_t choice = test_random(&receiver->choice);

    receiver->buffers++;
    check_bytes(receiver, piece->data, (uint32_t)piece->res, receiver->received);
    if (receiver->keep_of != 0 && choice % receiver->keep_of == 0 && receiver->kept_count < KEPT_MAX) {
        ck_assert_int_eq(loop_buffer_keep(loop, piece->buffer), 0);
        receiver->kept[receiver->kept_count].buffer = piece->buffer;
        receiver->kept[receiver->kept_count].data = piece->data;
        receiver->kept[receiver->kept_count].at = receiver->received;
        receiver->kept[receiver->kept_count++].size = (uint32_t)piece->res;
    } else if (choice % 5 == 1) {
        ck_assert_int_eq(loop_buffer_return(loop, piece->buffer), 0);
        ck_assert_int_eq(loop_buffer_return(loop, piece->buffer), -EINVAL);
    }
    receiver->received += (uint64_t)piece->res;
}

static void received(struct loop *of, const struct loop_result *result, void *arg)
{
    struct receiver   *receiver = arg;
    struct loop_bundle bundle = loop_bundle_of(result);
    struct loop_result piece;
    uint32_t           count = 0;
    int32_t            sum = 0;

    receiver->results++;
    receiver->last = result->res;
    if ((result->flags & LOOP_MORE) == 0)
        receiver->ended++;
    while (loop_bundle_next(of, &bundle, &piece)) {
        if (count++ == 0) {
            ck_assert_ptr_eq(piece.data, result->data);
            ck_assert_uint_eq(piece.buffer, result->buffer);
        }
        sum += piece.res;
        ck_assert_int_le(piece.res, SIZE);
        take_piece(receiver, &piece);
    }
    ck_assert(!loop_bundle_next(of, &bundle, &piece));
    ck_assert_int_eq(sum, (result->flags & LOOP_BUFFER) != 0 ? result->res : 0);
    ck_assert_int_eq(count > 1, (result->flags & LOOP_BUNDLE) != 0);
    receiver->bundles += count > 1;
}

static void give_back(struct receiver *receiver, uint32_t i)
{
    check_bytes(receiver, receiver->kept[i].data, receiver->kept[i].size, receiver->kept[i].at);
    ck_assert_int_eq(loop_buffer_return(loop, receiver->kept[i].buffer), 0);
    receiver->kept[i] = receiver->kept[--receiver->kept_count];
}

static void send_some(struct receiver *receiver, uint64_t size)
{
    char    bytes[4 * BUFFERS * SIZE];
    ssize_t n;

    ck_assert_uint_le(size, sizeof(bytes));
    for (uint64_t i = 0; i < size; i++)
        bytes[i] = (char)byte_at(receiver->seed, receiver->sent + i);
    n = send(receiver->fds[1], bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    ck_assert(n > 0 || errno == EAGAIN);
    receiver->sent += n > 0 ? (uint64_t)n : 0;
}

static void receiver_close(struct receiver *receiver)
{
    test_close(receiver->fds[0]);
    test_close(receiver->fds[1]);
}

/* Goal: bundles, plain multishots and one-shot bundles on one group each get exactly their bytes, whatever is kept and
 * given back in between. Method: nine sockets, three of each kind, random sizes (_i: unix or tcp). */
static void again(struct loop *of, const struct loop_result *result, void *arg)
{
    struct receiver *receiver = arg;

    received(of, result, arg);
    if (result->res > 0)
        ck_assert_int_gt(loop_recv_bundle(of, receiver->fds[0], LOOP_GROUP_DEFAULT, 0, again, receiver, NULL), 0);
}

static void start_kind(struct receiver *receiver, uint32_t kind)
{
    loop_id id = 0;

    switch (kind) {
    case 0:
        id = loop_recv_multishot_bundle(loop, receiver->fds[0], LOOP_GROUP_DEFAULT, 0, received, receiver, NULL);
        break;
    case 1: id = loop_recv_multishot(loop, receiver->fds[0], LOOP_GROUP_DEFAULT, 0, received, receiver, NULL); break;
    case 2: id = loop_recv_bundle(loop, receiver->fds[0], LOOP_GROUP_DEFAULT, 0, again, receiver, NULL); break;
    }
    ck_assert_int_gt(id, 0);
}

START_TEST(bytes_are_exact)
{
    enum { SOCKETS = 9, BYTES = 200000, ROUNDS_MAX = 100000 };
    static struct receiver receivers[SOCKETS];
    uint64_t               random = test_env("TEST_SEED", 815) + (uint64_t)_i, all = 0;
    uint32_t               bundles = 0;

    if (!has_bundles)
        return;
    for (uint32_t i = 0; i < SOCKETS; i++) {
        receivers[i] = (struct receiver){.seed = 1000 * i, .choice = i, .keep_of = 4};
        if (_i == 1)
            test_tcp_pair(receivers[i].fds);
        else
            test_socketpair(receivers[i].fds);
        start_kind(&receivers[i], i % 3);
    }
    for (uint32_t round = 0; all < (uint64_t)SOCKETS * BYTES; round++) {
        uint64_t before = all;

        ck_assert_uint_lt(round, ROUNDS_MAX);
        all = 0;
        for (uint32_t i = 0; i < SOCKETS; i++) {
            struct receiver *receiver = &receivers[i];
            uint64_t         size = 1 + test_random(&random) % (test_random(&random) % 2 ? 4 * BUFFERS * SIZE : 1000);

            if (size > BYTES - receiver->sent)
                size = BYTES - receiver->sent;
            if (size > 0)
                send_some(receiver, size);
            while (receiver->kept_count > 0 && test_random(&random) % 4 != 0)
                give_back(receiver, (uint32_t)(test_random(&random) % receiver->kept_count));
            all += receiver->received;
        }
        if (all == before)
            test_sleep(20 * LOOP_MICROSECOND); /* tcp may need the CPU */
        test_turns(loop, 1);
    }
    for (uint32_t i = 0; i < SOCKETS; i++) {
        while (receivers[i].kept_count > 0)
            give_back(&receivers[i], 0);
        shutdown(receivers[i].fds[1], SHUT_WR);
    }
    test_run(loop);
    for (uint32_t i = 0; i < SOCKETS; i++) {
        ck_assert_uint_eq(receivers[i].received, BYTES);
        ck_assert_int_eq(receivers[i].last, 0);
        if (i % 3 != 2)
            ck_assert_uint_eq(receivers[i].ended, 1);
        if (i % 3 == 1)
            ck_assert_uint_eq(receivers[i].bundles, 0);
        else
            bundles += receivers[i].bundles;
        receiver_close(&receivers[i]);
    }
    ck_assert(bundles > 0 || (!fills_more && _i != 1));
    ck_assert_uint_eq(group_stats(0).home, BUFFERS);
    ck_assert_uint_eq(group_stats(0).out, 0);
}
END_TEST

/* Goal: a bundle that takes the last buffers goes on when they are back. Method: more than the whole group holds, at
 * once, nothing kept; then everything kept until the group is empty. */
START_TEST(last_buffer)
{
    static struct receiver receiver;

    if (!has_bundles)
        return;
    receiver = (struct receiver){.seed = 5, .fds = {pair[0], pair[1]}};
    start_kind(&receiver, 0);
    test_turns(loop, 2);
    send_some(&receiver, 4 * BUFFERS * SIZE);
    while (receiver.received < receiver.sent)
        ck_assert_int_eq(loop_run(loop, LOOP_RUN_ONCE), 1);
    ck_assert(receiver.bundles > 0 || !fills_more);
    receiver.keep_of = 1;
    send_some(&receiver, 2 * BUFFERS * SIZE);
    for (uint32_t i = 0; i < 100 && receiver.kept_count < BUFFERS; i++)
        test_turns(loop, 1);
    ck_assert_uint_eq(receiver.kept_count, BUFFERS);
    test_turns(loop, 5);
    ck_assert_uint_eq(group_stats(0).parked, 1);
    receiver.keep_of = 0;
    while (receiver.kept_count > 0)
        give_back(&receiver, 0);
    shutdown(pair[1], SHUT_WR);
    test_run(loop);
    ck_assert_uint_eq(receiver.received, receiver.sent);
    ck_assert_uint_eq(receiver.ended, 1);
}
END_TEST

/* Goal: a callback that looks at no piece leaves nothing out. Method: bundles to a callback that counts only. */
static void only_count(struct loop *of, const struct loop_result *result, void *arg)
{
    (void)of;
    *(uint32_t *)arg += result->res > 0 ? (uint32_t)result->res : 0;
}

START_TEST(nobody_looks)
{
    uint32_t got = 0;
    char     bytes[BUFFERS * SIZE / 2] = {0};

    if (!has_bundles)
        return;
    ck_assert_int_gt(loop_recv_multishot_bundle(loop, pair[0], LOOP_GROUP_DEFAULT, 0, only_count, &got, NULL), 0);
    for (uint32_t i = 1; i <= 20; i++) {
        test_write(pair[1], bytes, sizeof(bytes));
        test_run_until(loop, &got, i * (uint32_t)sizeof(bytes));
        ck_assert_uint_eq(test_stats(loop).buffers_lent, 0);
        ck_assert_uint_eq(group_stats(0).home, BUFFERS);
    }
    test_close(pair[1]);
    pair[1] = -1;
    test_run(loop);
}
END_TEST

/* Goal: in direct mode bundles come to the handler, from its group. */
static void direct(struct loop *of, const struct loop_result *result, void *arg)
{
    ck_assert_uint_eq(result->value, 42);
    received(of, result, arg);
}

START_TEST(direct_mode)
{
    static struct receiver receiver;
    int                    group, handler;

    if (!has_bundles)
        return;
    receiver = (struct receiver){.seed = 9, .fds = {pair[0], pair[1]}};
    group = loop_buffer_group_create(loop, &(struct loop_buffer_group_options){.size = SIZE, .count = 2 * BUFFERS});
    ck_assert_int_gt(group, 0);
    handler = loop_handler_register(loop, direct, &receiver, (uint16_t)group);
    ck_assert_int_gt(
        loop_recv_multishot_bundle(loop, pair[0], LOOP_GROUP_DEFAULT, 0, LOOP_HANDLER(handler), LOOP_VALUE(42), NULL),
        0);
    test_turns(loop, 2);
    send_some(&receiver, BUFFERS * SIZE);
    while (receiver.received < receiver.sent)
        ck_assert_int_eq(loop_run(loop, LOOP_RUN_ONCE), 1);
    ck_assert(receiver.bundles > 0 || !fills_more);
    shutdown(pair[1], SHUT_WR);
    test_run(loop);
    ck_assert_uint_eq(receiver.ended, 1);
    ck_assert_int_gt(
        loop_recv_bundle(loop, pair[0], LOOP_GROUP_DEFAULT, 0, LOOP_HANDLER(handler), LOOP_VALUE(42), NULL), 0);
    test_run(loop);
    ck_assert_uint_eq(receiver.ended, 2);
    ck_assert_int_eq(receiver.last, 0);
    ck_assert_uint_eq(group_stats(group).home, 2 * BUFFERS);
}
END_TEST

START_TEST(refused)
{
    int outgoing;

    if (!has_bundles) {
        ck_assert_int_eq(loop_recv_bundle(loop, pair[0], 0, 0, test_log_cb, NULL, NULL), -EOPNOTSUPP);
        return;
    }
    outgoing =
        loop_buffer_group_create(loop, &(struct loop_buffer_group_options){.count = 4, .flags = LOOP_GROUP_OUTGOING});
    ck_assert_int_gt(outgoing, 0);
    ck_assert_int_eq(loop_recv_bundle(loop, -1, 0, 0, test_log_cb, NULL, NULL), -EBADF);
    ck_assert_int_eq(loop_recv_bundle(loop, pair[0], 0, MSG_WAITALL, test_log_cb, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_recv_bundle(loop, pair[0], 17, 0, test_log_cb, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_recv_multishot_bundle(loop, pair[0], 999, 0, test_log_cb, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_recv_multishot(loop, pair[0], (uint16_t)outgoing, 0, test_log_cb, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_recv_bundle(loop, pair[0], (uint16_t)outgoing, 0, test_log_cb, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_send_bundle(loop, pair[0], 0, 0, test_log_cb, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_send_bundle(loop, -1, (uint16_t)outgoing, 0, test_log_cb, NULL, NULL), -EBADF);
    ck_assert_int_eq(loop_send_bundle(loop, pair[0], (uint16_t)outgoing, 0, test_log_cb, NULL, NULL), -ENOBUFS);
    ck_assert_int_eq(loop_buffer_group_add(loop, (uint16_t)outgoing, NULL, 1), -EINVAL);
    ck_assert_int_eq(loop_buffer_group_add(loop, (uint16_t)outgoing, "x", 0), -EINVAL);
    ck_assert_int_eq(loop_buffer_group_add(loop, (uint16_t)outgoing, "x", (size_t)INT32_MAX + 1), -EINVAL);
    ck_assert_int_eq(loop_buffer_group_add(loop, 999, "x", 1), -EINVAL);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(loop_buffer_group_add(loop, (uint16_t)outgoing, "x", 1), 0);
    ck_assert_int_eq(loop_buffer_group_add(loop, (uint16_t)outgoing, "x", 1), -ENOBUFS);
    ck_assert_int_eq(loop_handler_register(loop, test_log_cb, NULL, 0), 1);
    ck_assert_int_eq(loop_send_bundle(loop, pair[0], (uint16_t)outgoing, 0, LOOP_HANDLER(1), LOOP_VALUE(1), NULL),
                     -EINVAL);
    ck_assert_int_eq(loop_buffer_group_destroy(loop, (uint16_t)outgoing), 0);
}
END_TEST

/* ---- sending */

enum { PIECES = 1024 };

static int outgoing_group(uint32_t count)
{
    int group = loop_buffer_group_create(
        loop, &(struct loop_buffer_group_options){.count = count, .flags = LOOP_GROUP_OUTGOING});

    ck_assert_int_gt(group, 0);
    return group;
}

struct sent {
    uint32_t count;
    int32_t  res;
    uint64_t pieces;
};

static void sent(struct loop *of, const struct loop_result *result, void *arg)
{
    struct sent *note = arg;

    (void)of;
    ck_assert_uint_eq(result->flags, 0);
    note->count++;
    note->res = result->res;
    note->pieces = result->value;
}

/* Goal: all pieces leave in order, in one operation, however many. Method: random sizes over unix and tcp (_i), many
 * times, so that the ring's indices run over; what the peer reads is compared. */
START_TEST(sends_in_order)
{
    enum { ROUNDS = 100 };
    static char bytes[PIECES * 200], got[PIECES * 200];
    uint64_t    random = test_env("TEST_SEED", 7), total_pieces = 0;
    int         fds[2] = {pair[0], pair[1]}, group;

    if (!has_bundles)
        return;
    if (_i == 1)
        test_tcp_pair(fds);
    group = outgoing_group(PIECES);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        uint32_t    count = 1 + (uint32_t)(test_random(&random) % (round % 10 == 0 ? PIECES : 50));
        size_t      size = 0, read_size = 0;
        struct sent note = {0};

        for (uint32_t i = 0; i < count; i++) {
            size_t piece = 1 + test_random(&random) % 200;

            for (size_t b = 0; b < piece; b++)
                bytes[size + b] = (char)byte_at(round, size + b);
            ck_assert_int_eq(loop_buffer_group_add(loop, (uint16_t)group, bytes + size, piece), 0);
            size += piece;
        }
        ck_assert_uint_eq(group_stats(group).home, count);
        ck_assert_int_gt(loop_send_bundle(loop, fds[0], (uint16_t)group, 0, sent, &note, NULL), 0);
        for (uint32_t turns = 0; read_size < size; turns++) {
            ssize_t n;

            ck_assert_uint_lt(turns, 100000);
            test_turns(loop, 1);
            n = recv(fds[1], got + read_size, size - read_size, MSG_DONTWAIT);
            read_size += n > 0 ? (size_t)n : 0;
            if (n <= 0)
                test_sleep(20 * LOOP_MICROSECOND);
        }
        test_run(loop);
        ck_assert_mem_eq(got, bytes, size);
        ck_assert_uint_eq(note.count, 1);
        ck_assert_int_eq(note.res, (int32_t)size);
        ck_assert_uint_eq(note.pieces, count);
        ck_assert_uint_eq(group_stats(group).home, 0);
        total_pieces += count;
    }
    ck_assert_uint_gt(total_pieces, 2 * PIECES);
    ck_assert_int_eq(loop_buffer_group_destroy(loop, (uint16_t)group), 0);
    if (_i == 1) {
        test_close(fds[0]);
        test_close(fds[1]);
    }
}
END_TEST

/* Goal: what is added while a send is in flight goes with the next one; a second send, and the group's end, are
 * refused meanwhile. Method: a send that cannot finish because nobody reads. */
START_TEST(added_in_flight)
{
    static char big[4 << 20], got[4 << 20];
    struct sent first = {0}, second = {0};
    uint16_t    group;

    if (!has_bundles)
        return;
    group = (uint16_t)outgoing_group(4);
    memset(big, 'b', sizeof(big));
    ck_assert_int_eq(loop_buffer_group_add(loop, group, "a", 1), 0);
    ck_assert_int_eq(loop_buffer_group_add(loop, group, big, sizeof(big)), 0);
    ck_assert_int_gt(loop_send_bundle(loop, pair[0], group, 0, sent, &first, NULL), 0);
    test_turns(loop, 3);
    ck_assert_uint_eq(first.count, 0);
    ck_assert_int_eq(loop_buffer_group_add(loop, group, "c", 1), 0);
    ck_assert_int_eq(loop_buffer_group_add(loop, group, "d", 1), 0);
    ck_assert_int_eq(loop_buffer_group_add(loop, group, "e", 1), -ENOBUFS);
    ck_assert_int_eq(loop_send_bundle(loop, pair[0], group, 0, sent, &second, NULL), -EBUSY);
    ck_assert_int_eq(loop_buffer_group_destroy(loop, group), -EBUSY);
    for (size_t size = 0, turns = 0; size < sizeof(big) + 1; turns++) {
        ssize_t n = recv(pair[1], got, sizeof(got), MSG_DONTWAIT);

        ck_assert_uint_lt(turns, 1000000);
        size += n > 0 ? (size_t)n : 0;
        test_turns(loop, 1);
    }
    test_run_until(loop, &first.count, 1);
    ck_assert_int_eq(first.res, (int32_t)sizeof(big) + 1);
    ck_assert_uint_eq(first.pieces, 2);
    ck_assert_int_eq(recv(pair[1], got, sizeof(got), MSG_DONTWAIT), -1);
    ck_assert_int_gt(loop_send_bundle(loop, pair[0], group, 0, sent, &second, NULL), 0);
    test_run(loop);
    ck_assert_int_eq(second.res, 2);
    ck_assert_uint_eq(second.pieces, 2);
    test_read(pair[1], got, 2);
    ck_assert_mem_eq(got, "cd", 2);
    ck_assert_int_eq(loop_buffer_group_destroy(loop, group), 0);
}
END_TEST

/* Goal: after an error or a cancel the loop knows what the kernel has taken, and the rest can be sent elsewhere.
 * Method: 600 pieces, of which the kernel takes 256 at a time; the peer goes away, or the send is cancelled (_i), when
 * some have left; the rest goes to another socket and is compared. */
START_TEST(send_fails)
{
    enum { COUNT = 600, PIECE = 4096 };
    static char bytes[COUNT * PIECE], got[COUNT * PIECE];
    struct sent first = {0}, second = {0};
    int         other[2];
    uint16_t    group;
    loop_id     id;

    if (!has_bundles)
        return;
    group = (uint16_t)outgoing_group(1024);
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (char)byte_at(3, i);
    for (uint32_t i = 0; i < COUNT; i++)
        ck_assert_int_eq(loop_buffer_group_add(loop, group, bytes + (size_t)i * PIECE, PIECE), 0);
    id = loop_send_bundle(loop, pair[0], group, 0, sent, &first, NULL);
    ck_assert_int_gt(id, 0);
    test_turns(loop, 3);
    ck_assert_uint_eq(first.count, 0);
    if (_i == 0) {
        test_close(pair[1]);
        pair[1] = -1;
    } else {
        ck_assert_int_eq(loop_cancel(loop, id), 0);
    }
    test_run(loop);
    ck_assert_uint_eq(first.count, 1);
    ck_assert_uint_gt(first.pieces, 0);
    ck_assert_uint_lt(first.pieces, COUNT);
    ck_assert_int_le(first.res, (int32_t)first.pieces * PIECE);
    ck_assert_uint_eq(group_stats(group).home, COUNT - first.pieces);

    test_socketpair(other);
    ck_assert_int_gt(loop_send_bundle(loop, other[0], group, 0, sent, &second, NULL), 0);
    for (size_t size = 0, rest = (COUNT - first.pieces) * PIECE, turns = 0; size < rest; turns++) {
        ssize_t n = recv(other[1], got + size, rest - size, MSG_DONTWAIT);

        ck_assert_uint_lt(turns, 1000000);
        size += n > 0 ? (size_t)n : 0;
        test_turns(loop, 1);
    }
    test_run(loop);
    ck_assert_uint_eq(second.pieces, COUNT - first.pieces);
    ck_assert_mem_eq(got, bytes + first.pieces * PIECE, (COUNT - first.pieces) * PIECE);
    test_close(other[0]);
    test_close(other[1]);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("bundle");
    TCase *tcase = test_case(suite, "bundle");

    tcase_add_checked_fixture(tcase, setup, pair_teardown);
    tcase_add_loop_test(tcase, bytes_are_exact, 0, 2);
    tcase_add_test(tcase, last_buffer);
    tcase_add_test(tcase, nobody_looks);
    tcase_add_test(tcase, direct_mode);
    tcase_add_test(tcase, refused);
    tcase_add_loop_test(tcase, sends_in_order, 0, 2);
    tcase_add_test(tcase, added_in_flight);
    tcase_add_loop_test(tcase, send_fails, 0, 2);
    return suite;
}
