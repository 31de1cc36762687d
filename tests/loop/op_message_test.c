/* tests/loop/op_message_test.c: messages of sockets and between rings. What holds for each of them alike is in
 * op_table_test.c and op_block_test.c. */
#include "tests/loop/op_single.h"

#include <pthread.h>

/* Goal: arguments that make no sense are answered at once. */
START_TEST(bad_arguments)
{
    struct iovec  iov = {NULL, 0};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

    refused(loop_recvmsg(loop, -1, &msg, 0, NEVER), -EBADF);
    refused(loop_recvmsg(loop, 0, NULL, 0, NEVER), -EINVAL);
    msg.msg_iovlen = IOV_MAX + 1;
    refused(loop_recvmsg(loop, 0, &msg, 0, NEVER), -EINVAL);
    msg = (struct msghdr){.msg_iovlen = 1};
    refused(loop_recvmsg(loop, 0, &msg, 0, NEVER), -EINVAL);
    refused(loop_msg_ring(loop, -1, 0, 0, NEVER), -EBADF);
    refused(loop_msg_ring(loop, LOOP_FIXED(0), 0, 0, NEVER), -EBADF);
    refused(loop_msg_ring_fd(loop, -1, LOOP_FIXED(0), 0, 0, NEVER), -EBADF);
    refused(loop_msg_ring_fd(loop, LOOP_FIXED(1), LOOP_FIXED(0), 0, 0, NEVER), -EBADF);
    refused(loop_msg_ring_fd(loop, 0, -1, 0, 0, NEVER), -EBADF);
    refused(loop_msg_ring_fd(loop, 0, 5, 0, 0, NEVER), -EINVAL);
    refused(loop_msg_ring_fd(loop, 0, LOOP_FIXED(0), -2, 0, NEVER), -EINVAL);
    ck_assert_uint_eq(test_stats(loop).ops_started, 0);
}
END_TEST

/* ---- recvmsg */

struct received {
    uint32_t           count;
    int32_t            res;
    bool               has_message;
    struct msghdr      message;
    struct sockaddr_in name;
    int                fds[4];
    size_t             fds_count;
};

static void take_descriptors(struct received *received, const struct msghdr *message)
{
    struct msghdr copy = *message;

    for (struct cmsghdr *control = CMSG_FIRSTHDR(&copy); control != NULL; control = CMSG_NXTHDR(&copy, control)) {
        ck_assert_int_eq(control->cmsg_level, SOL_SOCKET);
        ck_assert_int_eq(control->cmsg_type, SCM_RIGHTS);
        received->fds_count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(received->fds, CMSG_DATA(control), received->fds_count * sizeof(int));
    }
}

static void message_received(struct loop *of, const struct loop_result *what, void *arg)
{
    struct received *received = arg;

    (void)of;
    received->count++;
    received->res = what->res;
    received->has_message = what->message != NULL;
    if (what->message != NULL) {
        received->message = *what->message;
        if (what->message->msg_namelen >= sizeof(received->name))
            memcpy(&received->name, what->message->msg_name, sizeof(received->name));
        if (what->res >= 0)
            take_descriptors(received, what->message);
    }
}

/* Receives with everything that is copied overwritten at once. */
static struct received receive(int fd, struct msghdr msg, int flags)
{
    struct received received = {0};
    struct iovec    iov[8];
    size_t          size = msg.msg_iovlen * sizeof(iov[0]);

    memcpy(iov, msg.msg_iov, size);
    msg.msg_iov = iov;
    started(loop_recvmsg(loop, fd, &msg, flags, message_received, &received, NULL));
    memset(&msg, 0xa5, sizeof(msg));
    memset(iov, 0xa5, sizeof(iov));
    test_run(loop);
    ck_assert_uint_eq(received.count, 1);
    return received;
}

/* Goal: name, flags and sizes of datagrams are those of recvmsg(2). Method: buffers that fit, and too small; each
 * datagram looked at by recvmsg(2) and MSG_PEEK before. */
START_TEST(datagrams)
{
    static const size_t sizes[] = {0, 1, 5, 10};
    struct sockaddr_in  address[2];
    int                 fds[2];

    for (int i = 0; i < 2; i++) {
        socklen_t size = sizeof(address[i]);

        address[i] = test_localhost(0);
        fds[i] = world_fd(world, socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
        ck_assert_int_eq(bind(fds[i], (struct sockaddr *)&address[i], size), 0);
        ck_assert_int_eq(getsockname(fds[i], (struct sockaddr *)&address[i], &size), 0);
    }
    for (size_t i = 0; i < TEST_COUNT(sizes); i++) {
        struct sockaddr_storage name, expected_name;
        char                    bytes[10] = "", expected_bytes[10] = "";
        struct iovec            iov[2] = {{bytes, sizes[i] / 2}, {bytes + sizes[i] / 2, sizes[i] - sizes[i] / 2}};
        struct iovec            expected_iov = {expected_bytes, sizes[i]};
        struct msghdr           msg = {.msg_iov = iov, .msg_iovlen = 2, .msg_name = &name, .msg_namelen = sizeof(name)};
        struct msghdr           expected = {.msg_iov = &expected_iov,
                                            .msg_iovlen = 1,
                                            .msg_name = &expected_name,
                                            .msg_namelen = sizeof(expected_name)};
        struct received         received;
        ssize_t                 res;

        ck_assert_int_eq(sendto(fds[1], "abcde", 5, 0, (struct sockaddr *)&address[0], sizeof(address[0])), 5);
        res = recvmsg(fds[0], &expected, MSG_PEEK);
        received = receive(fds[0], msg, 0);
        ck_assert_int_eq(received.res, res);
        ck_assert(received.has_message);
        ck_assert_int_eq(received.message.msg_flags & MSG_TRUNC, expected.msg_flags & MSG_TRUNC);
        ck_assert_uint_eq(received.message.msg_namelen, expected.msg_namelen);
        ck_assert_ptr_eq(received.message.msg_name, &name);
        ck_assert_uint_eq(received.name.sin_port, address[1].sin_port);
        ck_assert_mem_eq(bytes, expected_bytes, sizeof(bytes));
    }
}
END_TEST

/* Goal: descriptors arrive; control data that finds no room is told by MSG_CTRUNC. */
START_TEST(descriptors)
{
    static const size_t rooms[] = {0, CMSG_LEN(sizeof(int)), 256};
    int                 pair[2];

    world_pair(world, pair);
    for (size_t i = 0; i < TEST_COUNT(rooms); i++) {
        union {
            char           bytes[256];
            struct cmsghdr align;
        } control, sent = {{0}};
        char          byte = 0;
        struct iovec  iov = {&byte, 1}, out = {(char[]){"x"}, 1};
        struct msghdr msg = {
            .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = rooms[i]};
        struct msghdr send = {
            .msg_iov = &out, .msg_iovlen = 1, .msg_control = sent.bytes, .msg_controllen = CMSG_SPACE(2 * sizeof(int))};
        struct received received;

        *CMSG_FIRSTHDR(&send) = (struct cmsghdr){CMSG_LEN(2 * sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
        memcpy(CMSG_DATA(CMSG_FIRSTHDR(&send)), (int[]){world->file, world->directory}, 2 * sizeof(int));
        ck_assert_int_eq(result(loop_sendmsg(loop, pair[0], &send, 0, LOGGED)), 1);
        received = receive(pair[1], msg, MSG_CMSG_CLOEXEC);
        ck_assert_int_eq(received.res, 1);
        ck_assert_int_eq(byte, 'x');
        ck_assert_int_eq((received.message.msg_flags & MSG_CTRUNC) != 0, i < 2);
        ck_assert_uint_eq(received.fds_count, i);
        for (size_t j = 0; j < received.fds_count; j++) {
            ck_assert_int_eq(fcntl(received.fds[j], F_GETFD), FD_CLOEXEC);
            test_close(received.fds[j]);
        }
    }
}
END_TEST

/* Goal: any number of parts is filled in order; the end of the stream is 0, and the header still told. */
START_TEST(parts)
{
    static const int counts[] = {1, 4, 5, 8};
    int              pair[2];

    world_pair(world, pair);
    for (size_t i = 0; i < TEST_COUNT(counts); i++) {
        char         bytes[9] = "";
        struct iovec iov[8];

        for (int j = 0; j < 8; j++)
            iov[j] = (struct iovec){bytes + j, 1};
        test_write(pair[0], "abcdefgh", (size_t)counts[i]);
        ck_assert_int_eq(
            receive(pair[1], (struct msghdr){.msg_iov = iov, .msg_iovlen = (size_t)counts[i]}, MSG_DONTWAIT).res,
            counts[i]);
        ck_assert_msg(strncmp(bytes, "abcdefgh", (size_t)counts[i]) == 0, "%d parts: %s", counts[i], bytes);
        ck_assert_int_eq(bytes[counts[i]], 0);
    }
    world_fd_gone(world, pair[0]);
    test_close(pair[0]);
    for (int i = 0; i < 2; i++) {
        char         byte;
        struct iovec iov = {&byte, 1};

        ck_assert_int_eq(receive(pair[1], (struct msghdr){.msg_iov = &iov, .msg_iovlen = 1}, 0).res, 0);
    }
}
END_TEST

/* Goal: the most parts that there may be, in both directions. */
START_TEST(most_parts)
{
    static struct iovec iov[IOV_MAX];
    static char         bytes[IOV_MAX], sent[IOV_MAX];
    struct msghdr       msg = {.msg_iov = iov, .msg_iovlen = IOV_MAX};
    int                 pair[2];

    world_pair(world, pair);
    for (int i = 0; i < IOV_MAX; i++) {
        sent[i] = world_byte((size_t)i);
        iov[i] = (struct iovec){&sent[i], 1};
    }
    started(loop_sendmsg(loop, pair[0], &msg, 0, LOGGED));
    for (int i = 0; i < IOV_MAX; i++)
        iov[i] = (struct iovec){&bytes[i], 1};
    test_run(loop);
    test_log_is(&world->log, IOV_MAX);
    world->log = (struct test_log){0};
    started(loop_recvmsg(loop, pair[1], &msg, MSG_WAITALL, LOGGED));
    memset(iov, 0xa5, sizeof(iov));
    test_run(loop);
    test_log_is(&world->log, IOV_MAX);
    ck_assert_mem_eq(bytes, sent, IOV_MAX);
}
END_TEST

/* Goal: nothing of what is borrowed is written after the final callback. Method: a cancel, then a datagram. */
START_TEST(untouched_after_cancel)
{
    struct test_log log = {0};
    char            bytes[8] = "ABCDEFG", control[64];
    struct iovec    iov = {bytes, 8};
    struct msghdr   msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = 64};
    int             pair[2];
    loop_id         id;

    world_pair(world, pair);
    memset(control, 'c', sizeof(control));
    id = started(loop_recvmsg(loop, pair[1], &msg, 0, test_log_cb, &log, NULL));
    test_turns(loop, 2);
    ck_assert_int_eq(loop_cancel(loop, id), 0);
    test_run(loop);
    test_log_is(&log, -ECANCELED);
    ck_assert_ptr_nonnull(log.last.message);
    test_write(pair[0], "later", 5);
    test_turns(loop, 3);
    ck_assert_mem_eq(bytes, "ABCDEFG", 8);
    for (size_t i = 0; i < sizeof(control); i++)
        ck_assert_int_eq(control[i], 'c');
    test_read(pair[1], bytes, 5);
}
END_TEST

/* ---- between rings */

struct target {
    uint32_t count;
    int32_t  res;
    uint64_t value;
    loop_id  id;
};

static void came(struct loop *of, const struct loop_result *what, void *arg)
{
    struct target *target = arg;

    (void)of;
    target->count++;
    target->res = what->res;
    target->value = what->value;
    target->id = what->id;
    ck_assert_uint_eq(what->flags, 0);
}

/* Another loop; returns its ring's descriptor. */
static int new_target(int *ret_handler, struct target *target)
{
    world->other = test_loop_new(&(struct loop_options){.sq_entries = 8});
    *ret_handler = loop_handler_register(world->other, came, target, 0);
    return world_ring_fd();
}

/* Goal: a message carries its value and res whole; to a loop that has not run -EBADFD. */
START_TEST(messages)
{
    static const struct {
        uint64_t value;
        int32_t  res;
    } table[] = {{0, 0}, {1, 1}, {LOOP_MESSAGE_VALUE_MAX, INT32_MAX}, {4711, -1}, {4711, INT32_MIN}};
    struct target target = {0};
    int           handler, ring = new_target(&handler, &target);

    ck_assert_int_eq(result(loop_msg_ring(loop, ring, 0, LOOP_MESSAGE(handler, 1), LOGGED)), -EBADFD);
    for (size_t i = 0; i < TEST_COUNT(table); i++) {
        target.id = -1;
        test_turns(world->other, 1);
        ck_assert_int_eq(result(loop_msg_ring(loop, ring, table[i].res, LOOP_MESSAGE(handler, table[i].value), LOGGED)),
                         0);
        test_turns(world->other, 2);
        ck_assert_uint_eq(target.count, i + 1);
        ck_assert_uint_eq(target.value, table[i].value);
        ck_assert_int_eq(target.res, table[i].res);
        ck_assert_int_eq(target.id, 0);
    }
    ck_assert_uint_eq(test_stats(world->other).ops_in_flight, 0);
    ck_assert_uint_eq(test_stats(world->other).cqes_stale, 0);
}
END_TEST

/* Goal: messages that mean nothing to a loop do it no harm. Method: handlers that are none, data that is no message,
 * an operation's id; each counted as stale. */
START_TEST(strange_messages)
{
    struct target   target = {0};
    struct test_log log = {0};
    int             handler, ring = new_target(&handler, &target), pair[2];
    uint64_t        strange[] = {LOOP_MESSAGE(200, 1), LOOP_MESSAGE(255, 1),  LOOP_MESSAGE(0, 1), 1, 2,
                                 0x7fffffff00000001,   UINT64_C(1) << 40 | 1, UINT64_MAX};
    char            byte;

    world_pair(world, pair);
    test_turns(world->other, 1);
    started(loop_recv(world->other, pair[0], &byte, 1, 0, test_log_cb, &log, NULL));
    test_turns(world->other, 1);
    for (size_t i = 0; i < TEST_COUNT(strange); i++) {
        struct loop_stats stats;

        ck_assert_int_eq(result(loop_msg_ring(loop, ring, 5, strange[i], LOGGED)), 0);
        test_turns(world->other, 2);
        stats = test_stats(world->other);
        ck_assert_msg(stats.cqes_stale + stats.cqes_unclaimed == i + 1, "message %zu: %" PRIu64, i, stats.cqes_stale);
        ck_assert_uint_eq(stats.ops_in_flight, 1);
    }
    ck_assert_uint_eq(target.count, 0);
    ck_assert_uint_eq(log.count, 0);
    test_write(pair[1], "x", 1);
    test_run(world->other);
    test_log_is(&log, 1);
}
END_TEST

/* Goal: a loop may write to itself. */
START_TEST(message_to_itself)
{
    struct target target = {0};
    int           handler = loop_handler_register(loop, came, &target, 0), ring = world_ring_fd();

    started(loop_msg_ring(loop, ring, 7, LOOP_MESSAGE(handler, 99), LOGGED));
    test_run(loop);
    test_turns(loop, 2);
    test_log_is(&world->log, 0);
    ck_assert_uint_eq(target.count, 1);
    ck_assert_uint_eq(target.value, 99);
    ck_assert_int_eq(target.res, 7);
}
END_TEST

static void stop_at_last(struct loop *of, const struct loop_result *what, void *arg)
{
    struct target *target = arg;

    ck_assert_uint_eq(what->value, target->count); /* in order */
    if (++target->count == 1000)
        loop_stop(of);
}

static void *run_target(void *arg)
{
    loop_run(arg, LOOP_RUN_ONCE);
    loop_run(arg, LOOP_RUN_DEFAULT);
    loop_destroy(arg);
    return NULL;
}

/* Goal: a loop that waits in another thread is woken by messages, and gets them all, in order. */
START_TEST(message_to_thread)
{
    struct target target = {0};
    struct loop  *other = test_loop_new(&(struct loop_options){.sq_entries = 8, .cq_entries = 64});
    int           handler = loop_handler_register(other, stop_at_last, &target, 0), ring = world_ring_fd();
    pthread_t     thread;
    char          byte;
    int           pair[2];

    world_pair(world, pair);
    started(loop_nop(other, NULL, NULL, NULL));
    started(loop_recv(other, pair[0], &byte, 1, 0, NULL, NULL, NULL)); /* keeps it alive */
    ck_assert_int_eq(pthread_create(&thread, NULL, run_target, other), 0);
    for (int i = 0, tries = 0; i < 1000 && tries < 100000; tries++) {
        int32_t res = result(loop_msg_ring(loop, ring, 0, LOOP_MESSAGE(handler, i), LOGGED));

        i += res == 0;
        if (res != 0) {
            ck_assert(res == -EBADFD || res == -EOVERFLOW);
            test_sleep(100 * LOOP_MICROSECOND);
        }
    }
    pthread_join(thread, NULL);
    ck_assert_uint_eq(target.count, 1000);
}
END_TEST

/* Goal: a registered file that is none can't be sent. */
START_TEST(no_file_to_send)
{
    struct target target = {0};
    int           handler, ring = new_target(&handler, &target);
    int32_t       res;

    test_turns(world->other, 1);
    res = result(loop_msg_ring_fd(loop, ring, LOOP_FIXED(3), 0, LOOP_MESSAGE(handler, 1), LOGGED));
    ck_assert_msg(res == -EBADF || res == -ENXIO, "%d", res);
    test_turns(world->other, 1);
    ck_assert_uint_eq(target.count, 0);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("op_message");
    TCase *tcase = test_case(suite, "sockets");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, bad_arguments);
    tcase_add_test(tcase, datagrams);
    tcase_add_test(tcase, descriptors);
    tcase_add_test(tcase, parts);
    tcase_add_test(tcase, most_parts);
    tcase_add_test(tcase, untouched_after_cancel);

    tcase = test_case(suite, "rings");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, messages);
    tcase_add_test(tcase, strange_messages);
    tcase_add_test(tcase, message_to_itself);
    tcase_add_test(tcase, message_to_thread);
    tcase_add_test(tcase, no_file_to_send);
    return suite;
}
