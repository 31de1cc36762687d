/* tests/loop/multishot_message_test.c: multishots that receive messages: data, senders, control data, ends, errors,
 * groups that run empty, rings that overflow. */
#include "tests/loop/multishot_world.h"

/* Goal: each datagram is one result, with its sender; empty ones too. Method: udp, sizes 0 among others. */
START_TEST(datagrams_with_senders)
{
    static const int   sizes[] = {5, 0, 100, 0, 0, 1};
    struct sockaddr_in to, from;
    int                fd = udp(&to), sender = udp(&from);
    struct inbox       inbox = {0};
    char               bytes[100];
    loop_id            id = receive(fd, &(struct msghdr){.msg_namelen = sizeof(from)}, &inbox);

    memset(bytes, 'd', sizeof(bytes));
    for (uint32_t i = 0; i < TEST_COUNT(sizes); i++) {
        ck_assert_int_eq(sendto(sender, bytes, (size_t)sizes[i], 0, (struct sockaddr *)&to, sizeof(to)), sizes[i]);
        if (_i == 0)
            test_run_until(loop, &inbox.count, i + 1);
    }
    test_run_until(loop, &inbox.count, TEST_COUNT(sizes));
    for (uint32_t i = 0; i < TEST_COUNT(sizes); i++) {
        ck_assert_int_eq(inbox.messages[i].size, sizes[i]);
        ck_assert_mem_eq(inbox.messages[i].data, bytes, (size_t)sizes[i]);
        ck_assert_uint_eq(inbox.messages[i].namelen, sizeof(from));
        ck_assert_uint_eq(inbox.messages[i].sender.sin_port, from.sin_port);
        ck_assert_int_eq(inbox.messages[i].flags, 0);
    }
    ck_assert_uint_eq(test_stats(loop).buffers_lent, 0);
    cancel_and_wait(id, &inbox.finals);
    ck_assert_int_eq(inbox.last, -ECANCELED);
    ck_assert_uint_eq(inbox.last_flags, 0);
    test_close(fd);
    test_close(sender);
}
END_TEST

/* Goal: datagrams without a sender are the same; empty ones are no end, and come at once. Method: unix sockets, with
 * (_i = 1) and without room for a name; all there before, or one by one (_i = 2). */
START_TEST(datagrams_without_senders)
{
    static const int sizes[] = {3, 0, 7, 0, 0, 2, 0};
    struct inbox     inbox = {0};
    int              fds[2];
    loop_id          id = 0;

    datagram_pair(fds);
    if (_i == 2)
        id = receive(fds[0], NULL, &inbox);
    for (uint32_t i = 0; i < TEST_COUNT(sizes); i++) {
        ck_assert_int_eq(send(fds[1], "1234567", (size_t)sizes[i], 0), sizes[i]);
        if (_i == 2)
            test_run_until(loop, &inbox.count, i + 1);
    }
    if (_i < 2)
        id = receive(fds[0], &(struct msghdr){.msg_namelen = _i == 1 ? 20 : 0}, &inbox);
    test_run_until(loop, &inbox.count, TEST_COUNT(sizes));
    for (uint32_t i = 0; i < TEST_COUNT(sizes); i++)
        ck_assert_int_eq(inbox.messages[i].size, sizes[i]);
    test_turns(loop, 3);
    ck_assert_uint_eq(inbox.finals, 0);
    ck_assert_uint_eq(test_stats(loop).buffers_lent, 0);
    cancel_and_wait(id, &inbox.finals);
    ck_assert_int_eq(inbox.last, -ECANCELED);
    close_both(fds);
}
END_TEST

/* Goal: a stream ends with 0 and without a buffer; so do packets in a row. Method: unix stream, tcp, seqpacket: data,
 * close. */
START_TEST(stream_end)
{
    struct inbox inbox = {0};
    int          fds[2];

    if (_i == 0)
        test_socketpair(fds);
    else if (_i == 1)
        test_tcp_pair(fds);
    else
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
    receive(fds[0], &(struct msghdr){.msg_namelen = 16, .msg_controllen = 32}, &inbox);
    test_write(fds[1], "hello", 5);
    test_run_until(loop, &inbox.count, 1);
    ck_assert_int_eq(inbox.messages[0].size, 5);
    ck_assert_mem_eq(inbox.messages[0].data, "hello", 5);
    test_write(fds[1], "bye", 3);
    test_close(fds[1]);
    test_run(loop);
    ck_assert_uint_eq(inbox.count, 2);
    ck_assert_uint_eq(inbox.finals, 1);
    ck_assert_int_eq(inbox.last, 0);
    ck_assert_uint_eq(inbox.last_flags & LOOP_BUFFER, 0);
    test_close(fds[0]);
}
END_TEST

/* Goal: control data arrives, whatever the size of the name in front of it. Method: credentials, with room for names of
 * 0, 13 and 110 bytes. */
START_TEST(control_data)
{
    static const socklen_t names[] = {0, 13, 110};
    struct msghdr          room = {.msg_namelen = names[_i], .msg_controllen = CMSG_SPACE(sizeof(struct ucred))};
    struct inbox           inbox = {0};
    int                    fds[2], on = 1;
    loop_id                id;

    datagram_pair(fds);
    ck_assert_int_eq(setsockopt(fds[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)), 0);
    id = receive(fds[0], &room, &inbox);
    memset(&room, 0xee, sizeof(room)); /* it was copied */
    for (uint32_t i = 0; i < 3; i++) {
        test_write(fds[1], "data", 4);
        test_run_until(loop, &inbox.count, i + 1);
        ck_assert_int_eq(inbox.messages[i].size, 4);
        ck_assert_mem_eq(inbox.messages[i].data, "data", 4);
        ck_assert_int_eq(inbox.messages[i].pid, getpid());
    }
    cancel_and_wait(id, &inbox.finals);
    close_both(fds);
}
END_TEST

/* Goal: what does not fit is cut and said so, of data and of control data. */
START_TEST(truncated)
{
    struct inbox inbox = {0};
    char         bytes[BUFFER_SIZE * 2];
    int          fds[2], on = 1;
    loop_id      id;

    datagram_pair(fds);
    ck_assert_int_eq(setsockopt(fds[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)), 0);
    memset(bytes, 't', sizeof(bytes));
    id = receive(fds[0], &(struct msghdr){.msg_namelen = 16, .msg_controllen = 16}, &inbox);
    test_write(fds[1], bytes, sizeof(bytes));
    test_run_until(loop, &inbox.count, 1);
    ck_assert_int_eq(inbox.messages[0].size, BUFFER_SIZE - 16 - 16 - 16);
    ck_assert_int_eq(inbox.messages[0].flags & (MSG_TRUNC | MSG_CTRUNC), MSG_TRUNC | MSG_CTRUNC);
    test_write(fds[1], "x", 1);
    test_run_until(loop, &inbox.count, 2);
    ck_assert_int_eq(inbox.messages[1].flags & MSG_TRUNC, 0);
    cancel_and_wait(id, &inbox.finals);
    close_both(fds);
}
END_TEST

/* Goal: arguments that make no sense are refused; what does not fit into a buffer ends it. */
START_TEST(message_failures)
{
    const struct msghdr name = {.msg_namelen = 129}, control = {.msg_controllen = (1 << 20) + 1},
                        large = {.msg_controllen = BUFFER_SIZE};
    struct inbox inbox = {0}, pipe_inbox = {0};
    int          fds[2], pipes[2], handler = loop_handler_register(loop, message_cb, &inbox, 0);

    datagram_pair(fds);
    test_pipe(pipes);
    ck_assert_int_eq(loop_recvmsg_multishot(loop, -1, NULL, 0, 0, message_cb, &inbox, NULL), -EBADF);
    ck_assert_int_eq(loop_recvmsg_multishot(loop, fds[0], &name, 0, 0, message_cb, &inbox, NULL), -EINVAL);
    ck_assert_int_eq(loop_recvmsg_multishot(loop, fds[0], &control, 0, 0, message_cb, &inbox, NULL), -EINVAL);
    ck_assert_int_eq(loop_recvmsg_multishot(loop, fds[0], NULL, 9, 0, message_cb, &inbox, NULL), -EINVAL);
    ck_assert_int_eq(
        loop_recvmsg_multishot(loop, fds[0], NULL, 0, 0, message_cb, &inbox, LOOP_TERMS(.flags = LOOP_ASYNC)), -EINVAL);
    ck_assert_int_eq(loop_recvmsg_multishot(loop, fds[0], NULL, 0, 0, LOOP_HANDLER(handler), NULL, NULL), -EINVAL);
    receive(fds[0], &large, &inbox);
    receive(pipes[0], NULL, &pipe_inbox);
    test_run(loop);
    ck_assert_int_eq(inbox.last, -EFAULT);
    ck_assert_int_eq(pipe_inbox.last, -ENOTSOCK);
    ck_assert_uint_eq(inbox.count + pipe_inbox.count, 0);
    ck_assert_uint_eq(inbox.finals + pipe_inbox.finals, 2);
    close_both(fds);
    close_both(pipes);
}
END_TEST

/* ---- an empty group */

/* Goal: while the group is empty datagrams wait, empty ones as well, and nothing ends. Method: the first to come is
 * empty (_i = 0) or not; then buffers return. */
START_TEST(datagrams_wait_for_buffers)
{
    struct inbox keeper, inbox = {0};
    int          fds[2], pair[2];
    uint64_t     parked;

    datagram_pair(pair);
    empty_group(&keeper, fds);
    parked = test_stats(loop).buffers_parked;
    receive(pair[0], NULL, &inbox);
    test_turns(loop, 3);
    ck_assert_int_eq(send(pair[1], "x", (size_t)_i, 0), _i);
    ck_assert_int_eq(send(pair[1], "", 0, 0), 0);
    ck_assert_int_eq(send(pair[1], "yz", 2, 0), 2);
    UNTIL(test_stats(loop).buffers_parked > parked);
    test_turns(loop, 3);
    ck_assert_uint_eq(inbox.count + inbox.finals, 0);
    return_one(&keeper);
    test_run_until(loop, &inbox.count, 3);
    ck_assert_int_eq(inbox.messages[0].size, _i);
    ck_assert_int_eq(inbox.messages[1].size, 0);
    ck_assert_int_eq(inbox.messages[2].size, 2);
    finish(&keeper, fds);
    ck_assert_int_eq(inbox.last, -ECANCELED);
    close_both(pair);
}
END_TEST

/* ---- overflow: nothing is lost where the CQ is full all the time */

enum { MANY = 12, DATAGRAMS = 60 };

struct numbered {
    uint32_t next, finals; /* the number of the next datagram */
};

static void numbered_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    struct numbered *numbered = arg;
    uint32_t         number;

    (void)of;
    numbered->finals += (result->flags & LOOP_MORE) == 0;
    if ((result->flags & LOOP_BUFFER) == 0)
        return;
    ck_assert_int_eq(result->res, numbered->next % 5 == 4 ? 0 : (int)sizeof(number));
    if (result->res > 0) {
        memcpy(&number, result->data, sizeof(number));
        ck_assert_uint_eq(number, numbered->next);
    }
    numbered->next++;
}

/* Goal: no datagram is lost or out of order. Method: many sockets at once, every fifth datagram empty. */
START_TEST(overflow_messages)
{
    struct sockaddr_in addresses[MANY], from;
    struct numbered    numbered[MANY] = {0};
    int                fds[MANY], sender = udp(&from);
    loop_id            ids[MANY];

    for (int i = 0; i < MANY; i++) {
        fds[i] = udp(&addresses[i]);
        ids[i] = loop_recvmsg_multishot(loop, fds[i], &(struct msghdr){.msg_namelen = i % 2 == 0 ? 16 : 0}, 0, 0,
                                        numbered_cb, &numbered[i], NULL);
        ck_assert_int_gt(ids[i], 0);
    }
    test_turns(loop, 2);
    for (uint32_t n = 0; n < DATAGRAMS; n++)
        for (int i = 0; i < MANY; i++)
            ck_assert_int_ge(sendto(sender, &n, n % 5 == 4 ? 0 : sizeof(n), 0, (struct sockaddr *)&addresses[i],
                                    sizeof(addresses[i])),
                             0);
    for (int i = 0; i < MANY; i++)
        test_run_until(loop, &numbered[i].next, DATAGRAMS);
    ck_assert_uint_gt(test_stats(loop).cq_overflows, 0);
    for (int i = 0; i < MANY; i++) {
        cancel_and_wait(ids[i], &numbered[i].finals);
        ck_assert_uint_eq(numbered[i].next, DATAGRAMS);
        test_close(fds[i]);
    }
    test_close(sender);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("multishot message");
    TCase *tcase = test_case(suite, "messages");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, datagrams_with_senders, 0, 2);
    tcase_add_loop_test(tcase, datagrams_without_senders, 0, 3);
    tcase_add_loop_test(tcase, stream_end, 0, 3);
    tcase_add_loop_test(tcase, control_data, 0, 3);
    tcase_add_test(tcase, truncated);
    tcase_add_test(tcase, message_failures);
    tcase_add_loop_test(tcase, datagrams_wait_for_buffers, 0, 2);

    tcase = test_case(suite, "overflow");
    tcase_add_checked_fixture(tcase, tiny_setup, teardown);
    tcase_add_test(tcase, overflow_messages);
    return suite;
}
