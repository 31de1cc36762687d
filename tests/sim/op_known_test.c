/* tests/sim/op_known_test.c: kernels that lack operations, and what the SQEs of all of them look like: compared with
 * what liburing prepares. */
#include "tests/sim/script_ring.h"
#include "tests/support/test.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <linux/openat2.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/uio.h>

#define LARGE ((int64_t)5 << 30)
enum { FD = 7, OTHER = 8, OLDEST = IORING_OP_SENDMSG_ZC /* the last opcode of kernel 6.1 */ };

static struct loop            *loop;
static char                    bytes[64];
static struct iovec            iov[2] = {{bytes, 10}, {bytes + 10, 20}};
static struct statx            statx_buffer;
static struct epoll_event      events[4];
static uint32_t                futex;
static struct futex_waitv      waiters[2];
static int                     fds[2];
static struct sockaddr_storage address = {.ss_family = AF_INET};
static socklen_t               address_size = sizeof(address);
static struct msghdr           message = {.msg_iov = iov, .msg_iovlen = 2};
static struct open_how         how = {.flags = O_RDWR, .resolve = RESOLVE_BENEATH};
static siginfo_t               info;

/* Starts an operation, and prepares its SQE as liburing would. */
typedef loop_id start_it(loop_cb *cb, struct io_uring_sqe *sqe);

#define START(name, prepare, call)                                                                                     \
    static loop_id name(loop_cb *cb, struct io_uring_sqe *sqe)                                                         \
    {                                                                                                                  \
        io_uring_prep_##prepare;                                                                                       \
        return call;                                                                                                   \
    }
#define END cb, NULL, NULL

/* What the library adds on purpose: close-on-exec, MSG_WAITALL and MSG_NOSIGNAL of sends. */
START(nop, nop(sqe), loop_nop(loop, END))
START(readv_, readv2(sqe, FD, iov, 2, 99, RWF_NOWAIT), loop_readv(loop, FD, iov, 2, 99, RWF_NOWAIT, END))
START(writev_, writev2(sqe, FD, iov, 2, 99, RWF_SYNC), loop_writev(loop, FD, iov, 2, 99, RWF_SYNC, END))
START(read_, read(sqe, FD, bytes, 30, 99), loop_read(loop, FD, bytes, 30, 99, END))
START(read_position, read(sqe, FD, bytes, 30, (uint64_t)-1), loop_read(loop, FD, bytes, 30, LOOP_AT_POSITION, END))
START(write_, write(sqe, FD, bytes, 30, 99), loop_write(loop, FD, bytes, 30, 99, END))
START(fsync_, fsync(sqe, FD, 0), loop_fsync(loop, FD, END))
START(fdatasync_, fsync(sqe, FD, IORING_FSYNC_DATASYNC), loop_fdatasync(loop, FD, END))
START(sync_file_range_, sync_file_range(sqe, FD, 20, 10, 3), loop_sync_file_range(loop, FD, 10, 20, 3, END))
START(fallocate_, fallocate(sqe, FD, 3, 10, 20), loop_fallocate(loop, FD, 3, 10, 20, END))
START(ftruncate_, ftruncate(sqe, FD, 99), loop_ftruncate(loop, FD, 99, END))
START(splice_, splice(sqe, FD, 1, OTHER, 2, 30, 4), loop_splice(loop, FD, 1, OTHER, 2, 30, 4, END))
START(tee_, tee(sqe, FD, OTHER, 30, 4), loop_tee(loop, FD, OTHER, 30, 4, END))
START(pipe_, pipe(sqe, fds, O_NONBLOCK | O_CLOEXEC), loop_pipe(loop, fds, O_NONBLOCK, END))
START(openat_, openat(sqe, FD, "path", O_CREAT | O_CLOEXEC, 0640), loop_openat(loop, FD, "path", O_CREAT, 0640, END))
START(openat2_, openat2(sqe, FD, "path", &how), loop_openat2(loop, FD, "path", &how, sizeof(how), END))
START(statx_, statx(sqe, FD, "path", 1, 2, &statx_buffer), loop_statx(loop, FD, "path", 1, 2, &statx_buffer, END))
START(renameat_, renameat(sqe, FD, "old", OTHER, "new", 1), loop_renameat(loop, FD, "old", OTHER, "new", 1, END))
START(unlinkat_, unlinkat(sqe, FD, "path", 5), loop_unlinkat(loop, FD, "path", 5, END))
START(mkdirat_, mkdirat(sqe, FD, "path", 0750), loop_mkdirat(loop, FD, "path", 0750, END))
START(symlinkat_, symlinkat(sqe, "target", FD, "path"), loop_symlinkat(loop, "target", FD, "path", END))
START(linkat_, linkat(sqe, FD, "old", OTHER, "new", 1), loop_linkat(loop, FD, "old", OTHER, "new", 1, END))
START(setxattr_, setxattr(sqe, "user.x", bytes, "path", 1, 9), loop_setxattr(loop, "path", "user.x", bytes, 9, 1, END))
START(fsetxattr_, fsetxattr(sqe, FD, "user.x", bytes, 1, 9), loop_fsetxattr(loop, FD, "user.x", bytes, 9, 1, END))
START(getxattr_, getxattr(sqe, "user.x", bytes, "path", 9), loop_getxattr(loop, "path", "user.x", bytes, 9, END))
START(fgetxattr_, fgetxattr(sqe, FD, "user.x", bytes, 9), loop_fgetxattr(loop, FD, "user.x", bytes, 9, END))
START(poll_add, poll_add(sqe, FD, 0x19), loop_poll_add(loop, FD, 0x19, END))
START(poll_remove, poll_remove(sqe, 4711), loop_poll_remove(loop, 4711, END))
START(poll_update, poll_update(sqe, 4711, 0, 5, IORING_POLL_UPDATE_EVENTS), loop_poll_update(loop, 4711, 5, END))
START(timeout_, timeout(sqe, NULL, 3, IORING_TIMEOUT_BOOTTIME), loop_timeout(loop, 9, 3, LOOP_TIMEOUT_BOOTTIME, END))
START(timeout_remove, timeout_remove(sqe, 4711, 0), loop_timeout_remove(loop, 4711, END))
START(timeout_update, timeout_update(sqe, NULL, 4711, IORING_TIMEOUT_ABS | IORING_TIMEOUT_REALTIME),
      loop_timeout_update(loop, 4711, 9, LOOP_TIMEOUT_ABSOLUTE | LOOP_TIMEOUT_REALTIME, END))
START(cancel_id, cancel64(sqe, 4711, 0), loop_async_cancel(loop, &(struct loop_match){.id = 4711}, END))
START(cancel_fd, cancel_fd(sqe, FD, IORING_ASYNC_CANCEL_ALL),
      loop_async_cancel(loop, &(struct loop_match){.fd = FD, .flags = LOOP_MATCH_FD | LOOP_MATCH_ALL}, END))
START(cancel_fixed, cancel_fd(sqe, FD, IORING_ASYNC_CANCEL_FD_FIXED),
      loop_async_cancel(loop, &(struct loop_match){.fd = LOOP_FIXED(FD), .flags = LOOP_MATCH_FD}, END))
START(epoll_ctl_, epoll_ctl(sqe, FD, OTHER, EPOLL_CTL_MOD, events),
      loop_epoll_ctl(loop, FD, EPOLL_CTL_MOD, OTHER, events, END))
START(epoll_wait_, epoll_wait(sqe, FD, events, 4, 0), loop_epoll_wait(loop, FD, events, 4, END))
START(msg_ring, msg_ring(sqe, FD, (unsigned)-5, 4711, 0), loop_msg_ring(loop, FD, -5, 4711, END))
START(msg_ring_fd, msg_ring_fd(sqe, FD, OTHER, 3, 4711, 0), loop_msg_ring_fd(loop, FD, LOOP_FIXED(OTHER), 3, 4711, END))
START(msg_ring_fd_slot, msg_ring_fd(sqe, FD, OTHER, 3, 4711, 0),
      loop_msg_ring_fd(loop, FD, LOOP_FIXED(OTHER), LOOP_FIXED(3), 4711, END))
START(msg_ring_fd_alloc, msg_ring_fd_alloc(sqe, FD, OTHER, 4711, 0),
      loop_msg_ring_fd(loop, FD, LOOP_FIXED(OTHER), LOOP_SLOT_AUTO, 4711, END))
START(futex_wait_, futex_wait(sqe, &futex, 5, 3, 130, 0), loop_futex_wait(loop, &futex, 5, 3, 130, END))
START(futex_wake_, futex_wake(sqe, &futex, 5, 3, 130, 0), loop_futex_wake(loop, &futex, 3, 5, 130, END))
START(futex_waitv_, futex_waitv(sqe, waiters, 2, 0), loop_futex_waitv(loop, waiters, 2, END))
START(waitid_, waitid(sqe, P_PID, 99, &info, WEXITED, 0), loop_waitid(loop, P_PID, 99, &info, WEXITED, END))
START(socket_, socket(sqe, AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 6, 0), loop_socket(loop, AF_INET, SOCK_STREAM, 6, END))
START(bind_, bind(sqe, FD, (struct sockaddr *)&address, 16), loop_bind(loop, FD, (struct sockaddr *)&address, 16, END))
START(listen_, listen(sqe, FD, 9), loop_listen(loop, FD, 9, END))
START(connect_, connect(sqe, FD, (struct sockaddr *)&address, 16),
      loop_connect(loop, FD, (struct sockaddr *)&address, 16, END))
START(accept_, accept(sqe, FD, (struct sockaddr *)&address, &address_size, SOCK_CLOEXEC),
      loop_accept(loop, FD, (struct sockaddr *)&address, &address_size, 0, END))
START(shutdown_, shutdown(sqe, FD, SHUT_WR), loop_shutdown(loop, FD, SHUT_WR, END))
START(close_, close(sqe, FD), loop_close(loop, FD, END))
START(close_fixed, close_direct(sqe, FD), loop_close(loop, LOOP_FIXED(FD), END))
START(send_, send(sqe, FD, bytes, 30, MSG_WAITALL | MSG_NOSIGNAL), loop_send(loop, FD, bytes, 30, 0, END))
START(recv_, recv(sqe, FD, bytes, 30, MSG_PEEK), loop_recv(loop, FD, bytes, 30, MSG_PEEK, END))
START(sendmsg_, sendmsg(sqe, FD, &message, MSG_WAITALL | MSG_NOSIGNAL), loop_sendmsg(loop, FD, &message, 0, END))
START(recvmsg_, recvmsg(sqe, FD, &message, MSG_PEEK), loop_recvmsg(loop, FD, &message, MSG_PEEK, END))
START(fadvise_, fadvise(sqe, FD, 10, 20, 3), loop_fadvise(loop, FD, 10, 20, 3, END))
START(madvise_, madvise(sqe, bytes, 20, 3), loop_madvise(loop, bytes, 20, 3, END))
/* Where older kernels have nothing and refuse anything. */
START(fadvise_large, fadvise64(sqe, FD, 10, LARGE, 3), loop_fadvise(loop, FD, 10, LARGE, 3, END))
START(madvise_large, madvise64(sqe, bytes, LARGE, 3), loop_madvise(loop, bytes, LARGE, 3, END))

enum { COPIED_ADDR = 1, COPIED_ADDR2 = 2, COPIED_ADDR3 = 4 };

static const struct {
    start_it   *start;
    const char *name;
    unsigned    traits; /* pointers to copies, which must differ from what was given */
} table[] = {
#define ROW(name, traits)                                                                                              \
    {                                                                                                                  \
        name, #name, traits                                                                                            \
    }
    ROW(nop, 0),
    ROW(readv_, COPIED_ADDR),
    ROW(writev_, COPIED_ADDR),
    ROW(read_, 0),
    ROW(read_position, 0),
    ROW(write_, 0),
    ROW(fsync_, 0),
    ROW(fdatasync_, 0),
    ROW(sync_file_range_, 0),
    ROW(fallocate_, 0),
    ROW(ftruncate_, 0),
    ROW(splice_, 0),
    ROW(tee_, 0),
    ROW(pipe_, 0),
    ROW(openat_, COPIED_ADDR),
    ROW(openat2_, COPIED_ADDR | COPIED_ADDR2),
    ROW(statx_, COPIED_ADDR),
    ROW(renameat_, COPIED_ADDR | COPIED_ADDR2),
    ROW(unlinkat_, COPIED_ADDR),
    ROW(mkdirat_, COPIED_ADDR),
    ROW(symlinkat_, COPIED_ADDR | COPIED_ADDR2),
    ROW(linkat_, COPIED_ADDR | COPIED_ADDR2),
    ROW(setxattr_, COPIED_ADDR | COPIED_ADDR3),
    ROW(fsetxattr_, COPIED_ADDR),
    ROW(getxattr_, COPIED_ADDR | COPIED_ADDR3),
    ROW(fgetxattr_, COPIED_ADDR),
    ROW(poll_add, 0),
    ROW(poll_remove, 0),
    ROW(poll_update, 0),
    ROW(timeout_, COPIED_ADDR),
    ROW(timeout_remove, 0),
    ROW(timeout_update, COPIED_ADDR2),
    ROW(cancel_id, 0),
    ROW(cancel_fd, 0),
    ROW(cancel_fixed, 0),
    ROW(epoll_ctl_, COPIED_ADDR),
    ROW(epoll_wait_, 0),
    ROW(msg_ring, 0),
    ROW(msg_ring_fd, 0),
    ROW(msg_ring_fd_slot, 0),
    ROW(msg_ring_fd_alloc, 0),
    ROW(futex_wait_, 0),
    ROW(futex_wake_, 0),
    ROW(futex_waitv_, COPIED_ADDR),
    ROW(waitid_, 0),
    ROW(socket_, 0),
    ROW(bind_, COPIED_ADDR),
    ROW(listen_, 0),
    ROW(connect_, COPIED_ADDR),
    ROW(accept_, 0),
    ROW(shutdown_, 0),
    ROW(close_, 0),
    ROW(close_fixed, 0),
    ROW(send_, 0),
    ROW(recv_, 0),
    ROW(sendmsg_, COPIED_ADDR),
    ROW(recvmsg_, COPIED_ADDR),
    ROW(fadvise_, 0),
    ROW(madvise_, 0),
    ROW(fadvise_large, 0),
    ROW(madvise_large, 0),
};
enum { ROWS = TEST_COUNT(table) };

static void make_loop(unsigned opcode_last)
{
    script_reset();
    script.manual = true;
    script.opcode_last = opcode_last;
    loop = test_loop_new(&(struct loop_options){.sq_entries = 8});
    test_turns(loop, 1);
}

static void free_loop(void)
{
    while (script.pending_count > 0)
        script_complete(&script.pending[0], 0, 0);
    test_turns(loop, 2);
    script.manual = false;
    test_loop_free(loop);
}

static void ignore(struct loop *on_loop, const struct loop_result *result, void *arg)
{
    (void)on_loop;
    (void)result;
    (void)arg;
}

/* Goal: each SQE says what liburing's would. Method: compare whole SQEs, but for user_data and pointers to copies,
 * which must not be what was given. */
START_TEST(sqes)
{
    struct io_uring_sqe expected, found;
    unsigned            before;

    make_loop(IORING_OP_LAST - 1);
    before = script.pending_count;
    memset(&expected, 0, sizeof(expected));
    ck_assert_int_gt(table[_i].start(ignore, &expected), 0);
    test_turns(loop, 1);
    ck_assert_uint_eq(script.pending_count, before + 1);
    found = script.pending[before];
    if (table[_i].traits & COPIED_ADDR) {
        ck_assert_uint_ne(found.addr, expected.addr);
        expected.addr = found.addr;
    }
    if (table[_i].traits & COPIED_ADDR2) {
        ck_assert_uint_ne(found.addr2, expected.addr2);
        expected.addr2 = found.addr2;
    }
    if (table[_i].traits & COPIED_ADDR3) {
        ck_assert_uint_ne(found.addr3, expected.addr3);
        expected.addr3 = found.addr3;
    }
    expected.user_data = found.user_data;
    for (size_t i = 0; i < sizeof(found); i++)
        ck_assert_msg(((const uint8_t *)&found)[i] == ((const uint8_t *)&expected)[i],
                      "%s: byte %zu of the SQE is %#x, not %#x", table[_i].name, i, ((const uint8_t *)&found)[i],
                      ((const uint8_t *)&expected)[i]);
    free_loop();
}
END_TEST

/* Goal: what a kernel lacks is refused before it is submitted, and drops a chain. Method: for each operation kernels
 * that end just below its opcode, and the oldest. */
START_TEST(unknown)
{
    struct io_uring_sqe sqe = {0};
    unsigned            opcode;

    make_loop(IORING_OP_LAST - 1);
    table[_i].start(ignore, &sqe);
    opcode = sqe.opcode;
    test_turns(loop, 1);
    free_loop();
    if (opcode <= OLDEST)
        return;
    for (int oldest = 0; oldest < 2; oldest++) {
        unsigned before;
        uint64_t blocks;

        make_loop(oldest ? OLDEST : opcode - 1);
        before = script.pending_count;
        blocks = test_memory.blocks;
        ck_assert_int_eq(table[_i].start(ignore, &sqe), -EOPNOTSUPP);
        ck_assert_uint_eq(test_memory.blocks, blocks);
        ck_assert_int_eq(loop_chain_begin(loop, 2, 0), 0);
        ck_assert_int_gt(loop_nop(loop, NULL, NULL, NULL), 0);
        ck_assert_int_eq(table[_i].start(ignore, &sqe), -EOPNOTSUPP);
        ck_assert_int_eq(loop_chain_end(loop), -EOPNOTSUPP);
        test_turns(loop, 1);
        ck_assert_uint_eq(script.pending_count, before);
        ck_assert_uint_eq(test_stats(loop).ops_in_flight, 0);
        free_loop();
    }
}
END_TEST

/* Goal: what older kernels would misunderstand is refused. Method: a match by opcode and advice of 5 GiB, on the oldest
 * kernel and a newer one. */
START_TEST(misunderstood)
{
    for (int newer = 0; newer < 2; newer++) {
        struct loop_match by_opcode = {.opcode = IORING_OP_RECV, .flags = LOOP_MATCH_OPCODE};
        struct loop_match by_id = {.id = 5, .flags = LOOP_MATCH_ID | LOOP_MATCH_FD};

        make_loop(newer ? IORING_OP_LAST - 1 : OLDEST);
        ck_assert_int_eq(loop_async_cancel(loop, &by_opcode, NULL, NULL, NULL) > 0, newer);
        ck_assert_int_eq(loop_async_cancel(loop, &by_id, NULL, NULL, NULL) > 0, newer);
        ck_assert_int_eq(loop_madvise(loop, NULL, (size_t)5 << 30, 4, NULL, NULL, NULL) > 0, newer);
        ck_assert_int_eq(loop_fadvise(loop, FD, 0, INT64_C(5) << 30, 4, NULL, NULL, NULL) > 0, newer);
        ck_assert_int_gt(loop_fadvise(loop, FD, 0, UINT32_MAX, 4, NULL, NULL, NULL), 0);
        test_turns(loop, 1);
        free_loop();
    }
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("op_known");
    TCase *tcase = test_case_without_ring(suite, "sqes");

    tcase_add_loop_test(tcase, sqes, 0, ROWS);
    tcase_add_loop_test(tcase, unknown, 0, ROWS);
    tcase_add_test(tcase, misunderstood);
    return suite;
}
