/* tests/loop/device_test.c: commands to drivers and protocols; SQEs of 128 and CQEs of 32 bytes. */
#include "tests/support/test.h"

#include <liburing.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>

static struct loop *loop_with(uint32_t flags)
{
    struct loop_options options = {.sq_entries = 8, .flags = flags, .allocator = test_allocator()};
    struct loop        *loop = NULL;
    int                 r = loop_create(&loop, &options);

    if (r == -EOPNOTSUPP) {
        ck_assert_ptr_null(loop);
        test_skip("this kernel lacks a mode (flags %#x)", flags);
        return NULL;
    }
    ck_assert_int_eq(r, 0);
    ck_assert_uint_eq(loop_features_get(loop)->modes, flags);
    return loop;
}

static void count_cb(struct loop *loop, const struct loop_result *result, void *arg)
{
    (void)loop;
    ck_assert_int_eq(result->res, 0);
    ++*(uint32_t *)arg;
}

static const uint32_t rings[] = {
    0,
    LOOP_MODE_SQE128,
    LOOP_MODE_CQE32,
    LOOP_MODE_CQE_MIXED,
    LOOP_MODE_SQE128 | LOOP_MODE_CQE32,
    LOOP_MODE_SQE128 | LOOP_MODE_CQE_MIXED,
    LOOP_MODE_SQE128 | LOOP_MODE_CQE32 | LOOP_MODE_SQPOLL,
    LOOP_MODE_SQE_MIXED,
};
enum { RINGS = TEST_COUNT(rings) };

/* Goal: the usual operations on rings of all sizes: more than the queues hold, chains, deadlines of both kinds, the
 * backlog before the first run, direct mode, multishots with buffers. */
START_TEST(usual_operations)
{
    struct loop    *loop = loop_with(rings[_i]);
    struct test_log late = {0}, linked = {0}, chained = {0}, stream = {0};
    static char     byte;
    uint32_t        count = 0;
    int             fds[2];

    if (loop == NULL)
        return;
    test_socketpair(fds);
    ck_assert_int_eq(loop_handler_register(loop, count_cb, &count, 0), 1);
    for (uint32_t round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < 100; i++) {
            ck_assert_int_gt(loop_nop(loop, count_cb, &count, NULL), 0);
            ck_assert_int_gt(loop_nop(loop, LOOP_HANDLER(1), NULL, NULL), 0);
            if (i % 10 != 0)
                continue;
            ck_assert_int_eq(loop_chain_begin(loop, 3, 0), 0);
            for (uint32_t link = 0; link < 3; link++)
                ck_assert_int_gt(loop_nop(loop, count_cb, &count, LOOP_TERMS(.timeout_ns = LOOP_SECOND)), 0);
            ck_assert_int_eq(loop_chain_end(loop), 0);
        }
        test_run(loop);
        ck_assert_uint_eq(count, 230 * (round + 1));
    }
    ck_assert_int_gt(
        loop_recv(loop, fds[0], &byte, 1, 0, test_log_cb, &late, LOOP_TERMS(.timeout_ns = LOOP_MILLISECOND)), 0);
    ck_assert_int_gt(loop_recv(loop, fds[0], &byte, 1, 0, test_log_cb, &linked,
                               LOOP_TERMS(.timeout_ns = LOOP_MILLISECOND, .flags = LOOP_LINKED_TIMEOUT)),
                     0);
    ck_assert_int_eq(loop_chain_begin(loop, 1, 0), 0);
    ck_assert_int_gt(
        loop_recv(loop, fds[0], &byte, 1, 0, test_log_cb, &chained, LOOP_TERMS(.timeout_ns = LOOP_MILLISECOND)), 0);
    ck_assert_int_eq(loop_chain_end(loop), 0);
    test_run(loop);
    ck_assert_int_eq(late.last.res, -ETIMEDOUT);
    ck_assert_int_eq(linked.last.res, -ETIMEDOUT);
    ck_assert_int_eq(chained.last.res, -ETIMEDOUT);
    ck_assert_int_gt(loop_recv_multishot(loop, fds[0], LOOP_GROUP_DEFAULT, 0, test_log_cb, &stream, NULL), 0);
    test_write(fds[1], "abc", 3);
    test_run_until(loop, &stream.count, 1);
    test_close(fds[1]);
    test_run(loop);
    ck_assert_uint_eq(stream.bytes, 3);
    ck_assert_uint_eq(stream.finals, 1);
    test_close(fds[0]);
    test_loop_free(loop);
}
END_TEST

/* Goal: a CQE of 32 bytes brings its other half, one of 16 does not. Method: a nop that makes such a CQE, among others
 * that do not, more often than the CQ is long. */
struct halves {
    uint64_t first, second;
    uint32_t count, wide;
    bool     always;
};

static void halves_cb(struct loop *loop, const struct loop_result *result, void *arg)
{
    struct halves  *halves = arg;
    const uint64_t *words = result->data;

    (void)loop;
    ck_assert_int_eq(result->res, 0);
    ck_assert_int_eq(words != NULL, (result->flags & LOOP_CQE32) != 0);
    halves->count++;
    if (words == NULL)
        return;
    halves->wide++;
    if (words[0] != 0 || !halves->always) {
        ck_assert_uint_eq(words[0], halves->first);
        ck_assert_uint_eq(words[1], halves->second);
    }
}

/* Nops that make such a CQE came with rings of both sizes, 6.18. */
static bool lacks_wide_nops(struct loop *loop)
{
    struct io_uring_sqe sqe = {.opcode = IORING_OP_NOP, .fd = -1, .nop_flags = IORING_NOP_CQE32};
    struct test_log     log = {0};

    ck_assert_int_gt(loop_raw(loop, &sqe, test_log_cb, &log, NULL), 0);
    test_run(loop);
    if (log.last.res != -EINVAL)
        return false;
    test_skip("this kernel has no nops of 32 bytes");
    test_loop_free(loop);
    return true;
}

START_TEST(cqe32)
{
    struct loop  *loop = loop_with(_i == 0 ? LOOP_MODE_CQE32 : LOOP_MODE_CQE_MIXED);
    struct halves halves = {.first = 0x123456789, .second = 77, .always = _i == 0};
    uint32_t      plain = 0;

    if (loop == NULL || (_i == 0 && lacks_wide_nops(loop)))
        return;
    for (uint32_t i = 0; i < 300; i++) {
        struct io_uring_sqe wide = {.opcode = IORING_OP_NOP,
                                    .fd = -1,
                                    .nop_flags = IORING_NOP_CQE32,
                                    .off = halves.first,
                                    .addr = halves.second};
        struct io_uring_sqe narrow = {.opcode = IORING_OP_NOP, .fd = -1};

        ck_assert_int_gt(loop_raw(loop, &wide, halves_cb, &halves, NULL), 0);
        ck_assert_int_gt(loop_raw(loop, &narrow, halves_cb, &halves, NULL), 0);
        ck_assert_int_gt(loop_nop(loop, count_cb, &plain, NULL), 0);
        if (i % 7 == 0)
            test_run(loop);
    }
    test_run(loop);
    ck_assert_uint_eq(halves.count, 600);
    ck_assert_uint_eq(halves.wide, _i == 0 ? 600 : 300);
    ck_assert_uint_eq(plain, 300);
    test_loop_free(loop);
}
END_TEST

/* ---- commands */

/* What a kernel without the command answers. */
static bool lacks(struct loop *loop)
{
    if (test_has_opcode(loop, IORING_OP_URING_CMD))
        return false;
    test_skip("this kernel has no commands");
    return true;
}

/* Goal: a command to a socket: how much waits to be read; and one it does not know. Method: on rings of all sizes. */
START_TEST(socket_command)
{
    struct loop              *loop = loop_with(rings[_i]);
    struct loop_uring_command command = {.cmd_op = SOCKET_URING_OP_SIOCINQ}, unknown = {.cmd_op = 9999};
    struct test_log           log = {0}, bad = {0}, file = {0};
    int                       fds[2], pipes[2];

    if (loop == NULL || lacks(loop))
        return;
    test_tcp_pair(fds);
    test_pipe(pipes);
    test_write(fds[1], "hello", 5);
    for (uint32_t i = 0; i < 1000 && log.last.res != 5 && log.last.res != -EOPNOTSUPP; i++) { /* until it is there */
        memset(&log, 0, sizeof(log));
        ck_assert_int_gt(loop_uring_cmd(loop, fds[0], &command, test_log_cb, &log, NULL), 0);
        test_run(loop);
    }
    if (log.last.res == -EOPNOTSUPP && !test_has_opcode(loop, IORING_OP_WAITID))
        test_skip("this kernel has no commands of sockets (6.5)");
    else
        ck_assert_int_eq(log.last.res, 5);
    ck_assert_int_gt(loop_uring_cmd(loop, fds[0], &unknown, test_log_cb, &bad, NULL), 0);
    ck_assert_int_gt(loop_uring_cmd(loop, pipes[0], &command, test_log_cb, &file, NULL), 0);
    test_run(loop);
    ck_assert_int_eq(bad.last.res, -EOPNOTSUPP);
    ck_assert_int_eq(file.last.res, -EOPNOTSUPP);
    for (uint32_t i = 0; i < 2; i++) {
        test_close(fds[i]);
        test_close(pipes[i]);
    }
    test_loop_free(loop);
}
END_TEST

/* Goal: a command whose bytes count: a socket option is set and read back. The command's bytes are copied, and on rings
 * of 128 bytes may be longer. */
START_TEST(option_command)
{
    struct loop              *loop = loop_with(rings[_i]);
    int                       on = 1, got = 0;
    uint64_t                  words[10] = {0};
    struct loop_uring_command command = {
        .cmd_op = SOCKET_URING_OP_SETSOCKOPT,
        .option = {.level = IPPROTO_TCP, .optname = TCP_NODELAY},
        .optlen = sizeof(int),
        .command = words,
        .command_size = (rings[_i] & LOOP_MODE_SQE128) != 0 ? 80 : 16,
    };
    struct test_log log = {0};
    socklen_t       size = sizeof(got);
    int             fds[2];

    if (loop == NULL || lacks(loop))
        return;
    test_tcp_pair(fds);
    words[0] = (uint64_t)(uintptr_t)&on; /* optval */
    ck_assert_int_gt(loop_uring_cmd(loop, fds[0], &command, test_log_cb, &log, NULL), 0);
    memset(words, 0xff, sizeof(words));
    test_run(loop);
    if (log.last.res == -EOPNOTSUPP) {
        test_skip("this kernel has no such command");
    } else {
        test_log_is(&log, 0);
        ck_assert_int_eq(getsockopt(fds[0], IPPROTO_TCP, TCP_NODELAY, &got, &size), 0);
        ck_assert_int_ne(got, 0);
    }
    test_close(fds[0]);
    test_close(fds[1]);
    test_loop_free(loop);
}
END_TEST

/* Goal: what can't be is refused. */
START_TEST(refused)
{
    struct loop                    *loop = loop_with(0);
    const struct io_uring_sqe       sqes[2] = {{.opcode = IORING_OP_NOP, .fd = -1}};
    const struct loop_uring_command good = {.cmd_op = 1};
    const struct loop_uring_command table[] = {
        {.command_size = 17, .command = &good},
        {.command_size = 1},
        {.reserved = 1},
    };

    ck_assert_int_eq(loop_uring_cmd(loop, -1, &good, NULL, NULL, NULL), -EBADF);
    ck_assert_int_eq(loop_uring_cmd(loop, 0, NULL, NULL, NULL, NULL), -EINVAL);
    for (size_t i = 0; i < TEST_COUNT(table); i++)
        ck_assert_int_eq(loop_uring_cmd(loop, 0, &table[i], NULL, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_uring_cmd128(loop, 0, &good, NULL, NULL, NULL), -EOPNOTSUPP);
    ck_assert_int_eq(loop_nop128(loop, NULL, NULL, NULL), -EOPNOTSUPP);
    ck_assert_int_eq(loop_raw128(loop, NULL, NULL, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_raw128(loop, sqes, NULL, NULL, NULL), -EOPNOTSUPP);
    test_loop_free(loop);
    loop = loop_with(LOOP_MODE_SQE128);
    ck_assert_int_eq(
        loop_uring_cmd(loop, 0, &(struct loop_uring_command){.command_size = 81, .command = &good}, NULL, NULL, NULL),
        -EINVAL);
    ck_assert_int_eq(loop_raw128(loop, &(struct io_uring_sqe){.flags = IOSQE_IO_LINK}, NULL, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_raw128(loop, sqes, NULL, NULL, LOOP_TERMS(.flags = LOOP_BARRIER)), -EINVAL);
    test_loop_free(loop);
}
END_TEST

/* Goal: SQEs of 128 bytes of one's own, alone, in chains, with deadlines of both kinds and through the backlog. */
START_TEST(raw128)
{
    struct loop        *loop = loop_with(LOOP_MODE_SQE128);
    struct io_uring_sqe sqes[2] = {{.opcode = IORING_OP_NOP, .fd = -1}};
    uint32_t            count = 0;
    int                 r;

    for (uint32_t i = 0; i < 30; i++) {
        ck_assert_int_gt(loop_raw128(loop, sqes, count_cb, &count, NULL), 0);
        ck_assert_int_gt(loop_raw128(loop, sqes, count_cb, &count, LOOP_TERMS(.timeout_ns = LOOP_SECOND)), 0);
        ck_assert_int_gt(loop_raw128(loop, sqes, count_cb, &count,
                                     LOOP_TERMS(.timeout_ns = LOOP_SECOND, .flags = LOOP_LINKED_TIMEOUT)),
                         0);
        ck_assert_int_eq(loop_chain_begin(loop, 2, 0), 0);
        ck_assert_int_gt(loop_raw128(loop, sqes, count_cb, &count, NULL), 0);
        ck_assert_int_gt(loop_raw128(loop, sqes, count_cb, &count, LOOP_TERMS(.timeout_ns = LOOP_SECOND)), 0);
        ck_assert_int_eq(loop_chain_end(loop), 0);
        if (i == 10)
            test_run(loop);
    }
    test_run(loop);
    ck_assert_uint_eq(count, 150);
    r = (int)loop_nop128(loop, NULL, NULL, NULL);
    ck_assert(r > 0 || r == -EOPNOTSUPP);
    ck_assert_int_eq(r > 0, test_has_opcode(loop, LOOP_OP_NOP128));
    test_run(loop);
    test_loop_free(loop);
}
END_TEST

/* Goal: opcodes are the kernel's. */
START_TEST(opcodes)
{
#define SAME(name) ck_assert_int_eq((int)LOOP_OP_##name, (int)IORING_OP_##name)
    SAME(NOP);
    SAME(READV);
    SAME(WRITEV);
    SAME(FSYNC);
    SAME(READ_FIXED);
    SAME(WRITE_FIXED);
    SAME(POLL_ADD);
    SAME(POLL_REMOVE);
    SAME(SYNC_FILE_RANGE);
    SAME(SENDMSG);
    SAME(RECVMSG);
    SAME(TIMEOUT);
    SAME(TIMEOUT_REMOVE);
    SAME(ACCEPT);
    SAME(ASYNC_CANCEL);
    SAME(LINK_TIMEOUT);
    SAME(CONNECT);
    SAME(FALLOCATE);
    SAME(OPENAT);
    SAME(CLOSE);
    SAME(FILES_UPDATE);
    SAME(STATX);
    SAME(READ);
    SAME(WRITE);
    SAME(FADVISE);
    SAME(MADVISE);
    SAME(SEND);
    SAME(RECV);
    SAME(OPENAT2);
    SAME(EPOLL_CTL);
    SAME(SPLICE);
    SAME(PROVIDE_BUFFERS);
    SAME(REMOVE_BUFFERS);
    SAME(TEE);
    SAME(SHUTDOWN);
    SAME(RENAMEAT);
    SAME(UNLINKAT);
    SAME(MKDIRAT);
    SAME(SYMLINKAT);
    SAME(LINKAT);
    SAME(MSG_RING);
    SAME(FSETXATTR);
    SAME(SETXATTR);
    SAME(FGETXATTR);
    SAME(GETXATTR);
    SAME(SOCKET);
    SAME(URING_CMD);
    SAME(SEND_ZC);
    SAME(SENDMSG_ZC);
    SAME(READ_MULTISHOT);
    SAME(WAITID);
    SAME(FUTEX_WAIT);
    SAME(FUTEX_WAKE);
    SAME(FUTEX_WAITV);
    SAME(FIXED_FD_INSTALL);
    SAME(FTRUNCATE);
    SAME(BIND);
    SAME(LISTEN);
    SAME(RECV_ZC);
    SAME(EPOLL_WAIT);
    SAME(READV_FIXED);
    SAME(WRITEV_FIXED);
    SAME(PIPE);
    SAME(NOP128);
    SAME(URING_CMD128);
#undef SAME
    ck_assert_int_eq(LOOP_OPCODES, IORING_OP_LAST);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("device");
    TCase *tcase = test_case(suite, "device");

    tcase_add_loop_test(tcase, usual_operations, 0, RINGS);
    tcase_add_loop_test(tcase, cqe32, 0, 2);
    tcase_add_loop_test(tcase, socket_command, 0, RINGS);
    tcase_add_loop_test(tcase, option_command, 0, RINGS);
    tcase_add_test(tcase, refused);
    tcase_add_test(tcase, raw128);
    tcase_add_test(tcase, opcodes);
    return suite;
}
