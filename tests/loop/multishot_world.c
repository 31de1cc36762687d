/* tests/loop/multishot_world.c: the loop, datagrams and buffers that tests of multishots share. */
#include "tests/loop/multishot_world.h"

struct loop *loop;

void setup(void)
{
    loop = test_loop_new(&(struct loop_options){.sq_entries = 64, .buffer_size = BUFFER_SIZE, .buffer_count = BUFFERS});
}

void teardown(void)
{
    test_loop_free(loop);
}

void tiny_setup(void)
{
    loop = test_loop_new(
        &(struct loop_options){.sq_entries = 8, .cq_entries = 8, .buffer_size = BUFFER_SIZE, .buffer_count = 64});
}

static void take_control(struct inbox *inbox, uint32_t i, struct msghdr header)
{
    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(&header); cmsg != NULL; cmsg = CMSG_NXTHDR(&header, cmsg)) {
        struct ucred credentials;

        ck_assert_uint_eq((uintptr_t)cmsg % _Alignof(struct cmsghdr), 0);
        if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_CREDENTIALS)
            continue;
        memcpy(&credentials, CMSG_DATA(cmsg), sizeof(credentials));
        inbox->messages[i].pid = credentials.pid;
    }
}

void message_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    struct inbox        *inbox = arg;
    const struct msghdr *header = result->message;
    uint32_t             i = inbox->count;

    ck_assert_uint_eq(inbox->finals, 0);
    inbox->last = result->res;
    inbox->last_flags = result->flags;
    inbox->finals += (result->flags & LOOP_MORE) == 0;
    if ((result->flags & LOOP_BUFFER) == 0) {
        ck_assert_ptr_null(header);
        ck_assert_uint_eq(result->flags & LOOP_MORE, 0);
        return;
    }
    ck_assert_uint_lt(i, TEST_COUNT(inbox->messages));
    ck_assert_ptr_nonnull(header);
    ck_assert_int_ge(result->res, 0);
    ck_assert_uint_eq(header->msg_iovlen, 1);
    ck_assert_ptr_eq(header->msg_iov->iov_base, result->data);
    ck_assert_uint_eq(header->msg_iov->iov_len, (size_t)result->res);
    inbox->messages[i].size = result->res;
    inbox->messages[i].flags = header->msg_flags;
    inbox->messages[i].namelen = header->msg_namelen;
    if (header->msg_namelen >= sizeof(struct sockaddr_in))
        memcpy(&inbox->messages[i].sender, header->msg_name, sizeof(struct sockaddr_in));
    memcpy(inbox->messages[i].data, result->data, (size_t)result->res);
    take_control(inbox, i, *header);
    if (inbox->keeps) {
        ck_assert_int_eq(loop_buffer_keep(of, result->buffer), 0);
        inbox->keep[i] = result->buffer;
    }
    inbox->count++;
}

loop_id receive(int fd, const struct msghdr *msg, struct inbox *inbox)
{
    loop_id id = loop_recvmsg_multishot(loop, fd, msg, LOOP_GROUP_DEFAULT, 0, message_cb, inbox, NULL);

    ck_assert_int_gt(id, 0);
    return id;
}

int udp(struct sockaddr_in *ret_address)
{
    int       fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    socklen_t size = sizeof(*ret_address);

    *ret_address = test_localhost(0);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)ret_address, size), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)ret_address, &size), 0);
    return fd;
}

void datagram_pair(int ret_fds[2])
{
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ret_fds), 0);
}

void close_both(const int fds[2])
{
    test_close(fds[0]);
    test_close(fds[1]);
}

void cancel_and_wait(loop_id id, const uint32_t *finals)
{
    ck_assert_int_eq(loop_cancel(loop, id), 0);
    UNTIL(*finals == 1);
}

void empty_group(struct inbox *keeper, int fds[2])
{
    memset(keeper, 0, sizeof(*keeper));
    keeper->keeps = true;
    datagram_pair(fds);
    receive(fds[0], NULL, keeper);
    for (uint32_t i = 1; i <= BUFFERS; i++) {
        test_write(fds[1], "k", 1);
        test_run_until(loop, &keeper->count, i);
    }
    ck_assert_uint_eq(test_stats(loop).buffers_lent, BUFFERS);
}

void return_one(struct inbox *keeper)
{
    ck_assert_int_eq(loop_buffer_return(loop, keeper->keep[--keeper->count]), 0);
}

void finish(struct inbox *keeper, int fds[2])
{
    while (keeper->count > 0)
        return_one(keeper);
    test_loop_drop(loop);
    ck_assert_uint_eq(keeper->finals, 1);
    close_both(fds);
    setup();
}

bool no_reads(void)
{
    if (test_has_opcode(loop, 49)) /* IORING_OP_READ_MULTISHOT */
        return false;
    test_skip("this kernel has no multishot read");
    return true;
}

void nothing(struct loop_timer *timer)
{
    (void)timer;
}

void count_direct(struct loop *of, const struct loop_result *result, void *arg)
{
    struct test_log *log = arg;

    (void)of;
    ck_assert_uint_eq(result->value, 55);
    log->count++;
    log->last = *result;
    log->bytes += (result->flags & LOOP_BUFFER) != 0 ? (uint64_t)result->res : 0;
    log->finals += (result->flags & LOOP_MORE) == 0;
}
