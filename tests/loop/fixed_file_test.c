/* tests/loop/fixed_file_test.c: the table of registered files: slots, limits, and LOOP_FIXED in every operation. */
#include "tests/loop/pair_world.h"

#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/stat.h>

enum { AUTOMATIC = 4, OWN = 6 };

static void setup(void)
{
    pair_open(&(struct loop_options){.sq_entries = 64});
    ck_assert_int_eq(loop_files_init(loop, &(struct loop_files_options){.automatic = AUTOMATIC, .own = OWN}), 0);
}

static struct loop_files_stats files(void)
{
    struct loop_files_stats stats;

    memset(&stats, 0xff, sizeof(stats));
    loop_files_stats_get(loop, &stats);
    return stats;
}

static int32_t send_byte(int fd, char byte)
{
    struct test_log log = {0};

    return finish(loop_send(loop, fd, &byte, 1, 0, test_log_cb, &log, NULL), &log);
}

/* Goal: a registered file is used by its slot, also after its descriptor was closed, until it is unregistered. Method:
 * a socket; the peer reads, and sees the end when the slot is emptied. */
START_TEST(register_use_unregister)
{
    int  fd = dup(pair[0]), slot = loop_file_register(loop, fd);
    char byte = 0;

    ck_assert_int_ge(slot, LOOP_FIXED(AUTOMATIC));
    ck_assert_int_lt(slot, LOOP_FIXED(AUTOMATIC + OWN));
    ck_assert_int_eq(loop_file_lookup(loop, fd), slot);
    ck_assert_int_eq(files().own_taken, 1);
    test_close(fd);
    test_close(pair[0]); /* the table alone holds the socket now */
    ck_assert_int_eq(send_byte(slot, 'a'), 1);
    test_read(pair[1], &byte, 1);
    ck_assert_int_eq(byte, 'a');
    ck_assert_int_eq(loop_file_unregister(loop, slot), 0);
    ck_assert_int_eq(loop_file_lookup(loop, fd), -ENOENT);
    ck_assert_int_eq(files().own_taken, 0);
    ck_assert_int_eq(send_byte(slot, 'b'), -EBADF);
    ck_assert_int_eq(read(pair[1], &byte, 1), 0);
    ck_assert_int_eq(loop_file_unregister(loop, slot), -EINVAL);
    pair[0] = dup(pair[1]);
}
END_TEST

/* Goal: whatever does not make sense is refused and changes nothing. */
START_TEST(bad_arguments)
{
    struct loop *bare = test_loop_new(NULL);
    int          slot = loop_file_register(loop, pair[0]);

    ck_assert_int_eq(loop_file_register(loop, -1), -EBADF);
    ck_assert_int_eq(loop_file_register(loop, slot), -EBADF);
    ck_assert_int_eq(loop_file_register(loop, 3999), -EBADF);
    ck_assert_int_eq(loop_file_register(loop, pair[0]), -EEXIST);
    ck_assert_int_eq(loop_file_register_at(loop, AUTOMATIC + 1, pair[0]), -EEXIST);
    ck_assert_int_eq(loop_file_register_at(loop, AUTOMATIC - 1, pair[1]), -EINVAL);
    ck_assert_int_eq(loop_file_register_at(loop, AUTOMATIC + OWN, pair[1]), -EINVAL);
    ck_assert_int_eq(loop_file_register_at(loop, -7, pair[1]), -EINVAL);
    ck_assert_int_eq(loop_file_register_at(loop, AUTOMATIC + 1, 3999), -EBADF);
    ck_assert_int_eq(loop_file_unregister(loop, AUTOMATIC + 1), -EINVAL);
    ck_assert_int_eq(loop_file_unregister(loop, 0), -EINVAL);
    ck_assert_int_eq(loop_file_unregister(loop, -1), -EINVAL);
    ck_assert_int_eq(loop_file_reserve(loop, 0), -EINVAL);
    ck_assert_int_eq(loop_file_lookup(loop, -1), -ENOENT);
    ck_assert_int_eq(loop_file_lookup(loop, pair[1]), -ENOENT);
    ck_assert_int_eq(files().own_taken, 1);
    ck_assert_int_eq(files().own_full, 0);
    ck_assert_int_eq(loop_files_init(loop, NULL), -EBUSY);

    ck_assert_int_eq(loop_files_init(bare, &(struct loop_files_options){.flags = 1}), -EINVAL);
    ck_assert_int_eq(loop_files_init(bare, &(struct loop_files_options){.reserved = 1}), -EINVAL);
    ck_assert_int_eq(loop_files_init(bare, &(struct loop_files_options){.own = (1 << 20) + 1}), -EINVAL);
    ck_assert_int_eq(loop_files_init(bare, &(struct loop_files_options){.automatic = 1 << 20, .own = 1}), -EINVAL);
    ck_assert_int_eq(loop_file_register(bare, pair[0]), -ENXIO);
    ck_assert_int_eq(loop_file_register_at(bare, 0, pair[0]), -ENXIO);
    ck_assert_int_eq(loop_file_reserve(bare, 1), -ENXIO);
    ck_assert_int_eq(loop_file_unregister(bare, 0), -ENXIO);
    ck_assert_int_eq(loop_file_lookup(bare, 0), -ENXIO);
    test_loop_free(bare);
}
END_TEST

/* Goal: the defaults are as stated; all zero counters without a table. */
START_TEST(defaults)
{
    struct loop            *bare = test_loop_new(NULL);
    struct loop_files_stats stats;

    loop_files_stats_get(bare, &stats);
    ck_assert_uint_eq(stats.automatic + stats.own + stats.own_taken + stats.own_full, 0);
    ck_assert_int_eq(loop_files_init(bare, NULL), 0);
    loop_files_stats_get(bare, &stats);
    ck_assert_uint_eq(stats.automatic, 512);
    ck_assert_uint_eq(stats.own, 512);
    ck_assert_int_eq(loop_file_register(bare, pair[0]), LOOP_FIXED(512));
    test_loop_free(bare);
}
END_TEST

/* Goal: a full own part answers -ENFILE and counts it; a slot given back is used again. */
START_TEST(full)
{
    int fds[OWN + 1], slots[OWN];

    for (int i = 0; i <= OWN; i++)
        fds[i] = dup(pair[0]);
    for (int i = 0; i < OWN; i++) {
        slots[i] = loop_file_register(loop, fds[i]);
        ck_assert_int_ge(slots[i], LOOP_FIXED(AUTOMATIC));
        for (int before = 0; before < i; before++)
            ck_assert_int_ne(slots[i], slots[before]);
    }
    ck_assert_int_eq(loop_file_register(loop, fds[OWN]), -ENFILE);
    ck_assert_int_eq(loop_file_reserve(loop, 1), -ENFILE);
    ck_assert_uint_eq(files().own_full, 2);
    ck_assert_int_eq(loop_file_unregister(loop, slots[2]), 0);
    ck_assert_int_eq(loop_file_register(loop, fds[OWN]), slots[2]);
    for (int i = 0; i < OWN; i++)
        ck_assert_int_eq(loop_file_lookup(loop, fds[i]), i == 2 ? -ENOENT : slots[i]);
    for (int i = 0; i <= OWN; i++)
        test_close(fds[i]);
}
END_TEST

/* Goal: reserved slots stand in a row and are found wherever there is such a row. Method: holes of several widths. */
START_TEST(reserve_rows)
{
    int first = loop_file_reserve(loop, 3), second;

    ck_assert_int_ge(first, LOOP_FIXED(AUTOMATIC));
    second = loop_file_reserve(loop, 2);
    ck_assert(second >= first + 3 || second + 2 <= first);
    ck_assert_int_eq(loop_file_reserve(loop, 2), -ENFILE); /* one is left */
    ck_assert_int_eq(loop_file_unregister(loop, first + 1), 0);
    ck_assert_int_eq(loop_file_reserve(loop, 2), -ENFILE); /* two, apart from each other */
    ck_assert_int_eq(loop_file_unregister(loop, first), 0);
    ck_assert_int_eq(loop_file_reserve(loop, 2), first);
    ck_assert_uint_eq(files().own_taken, OWN - 1);
    ck_assert_int_eq(loop_file_register_at(loop, first & ~LOOP_FIXED_FLAG, pair[0]), first);
    ck_assert_int_eq(send_byte(first, 'x'), 1);
    ck_assert_int_eq(send_byte(first + 1, 'x'), -EBADF); /* reserved, and empty */
}
END_TEST

/* Goal: slots are handed out right in large tables too. Method: a table of two words and a bit; all taken, one by one
 * given back and taken again, at random. */
START_TEST(many_slots)
{
    enum { MANY = 150 };
    struct loop *of = test_loop_new(NULL);
    uint64_t     seed = test_env("TEST_SEED", 7);
    int          slots[MANY];
    bool         seen[MANY] = {false};

    ck_assert_int_eq(loop_files_init(of, &(struct loop_files_options){.own = MANY}), 0);
    for (int i = 0; i < MANY; i++) {
        slots[i] = loop_file_reserve(of, 1) & ~LOOP_FIXED_FLAG;
        ck_assert_int_lt(slots[i], MANY);
        ck_assert(!seen[slots[i]]);
        seen[slots[i]] = true;
    }
    for (int i = 0; i < 1000; i++) {
        int at = (int)(test_random(&seed) % MANY);

        if (loop_file_reserve(of, 1) != -ENFILE || loop_file_unregister(of, slots[at]) != 0 ||
            loop_file_reserve(of, 1) != LOOP_FIXED(slots[at]))
            ck_abort_msg("slot %d, seed %" PRIu64, slots[at], seed);
    }
    test_loop_free(of);
}
END_TEST

/* Goal: a slot is replaced at once; an operation that the kernel has goes on with the old file, one that is only queued
 * gets the new one. Method: a receive on a socket in flight, one queued; the slot gets another socket. */
START_TEST(replace_in_flight)
{
    struct test_log flying = {0}, queued = {0};
    char            first = 0, second = 0;
    int             other[2], slot = loop_file_register(loop, pair[0]);

    test_socketpair(other);
    ck_assert_int_gt(loop_recv(loop, slot, &first, 1, 0, test_log_cb, &flying, NULL), 0);
    test_turns(loop, 2);
    ck_assert_int_gt(loop_recv(loop, slot, &second, 1, 0, test_log_cb, &queued, NULL), 0);
    ck_assert_int_eq(loop_file_register_at(loop, slot, other[0]), slot);
    ck_assert_int_eq(loop_file_lookup(loop, other[0]), slot);
    ck_assert_int_eq(loop_file_lookup(loop, pair[0]), -ENOENT);
    test_write(pair[1], "1", 1);
    test_write(other[1], "2", 1);
    test_run(loop);
    test_log_is(&flying, 1);
    test_log_is(&queued, 1);
    ck_assert_int_eq(first, '1');
    ck_assert_int_eq(second, '2');
    test_close(other[0]);
    test_close(other[1]);
}
END_TEST

/* Goal: unregistering while an operation is in flight neither ends nor harms it; the slot serves another file
 * meanwhile. Then cancel and deadline still reach it. */
START_TEST(unregister_in_flight)
{
    struct test_log logs[4] = {0};
    char            bytes[3];
    int             other[2], slot = loop_file_register(loop, pair[0]);
    loop_id         canceled;

    test_socketpair(other);
    ck_assert_int_gt(loop_recv(loop, slot, &bytes[0], 1, 0, test_log_cb, &logs[0], NULL), 0);
    test_turns(loop, 2); /* alone in the queue of the socket */
    canceled = loop_recv(loop, slot, &bytes[1], 1, 0, test_log_cb, &logs[1], NULL);
    ck_assert_int_gt(canceled, 0);
    ck_assert_int_gt(
        loop_recv(loop, slot, &bytes[2], 1, 0, test_log_cb, &logs[2], LOOP_TERMS(.timeout_ns = 5 * LOOP_MILLISECOND)),
        0);
    test_turns(loop, 2);
    ck_assert_int_eq(loop_file_unregister(loop, slot), 0);
    ck_assert_int_eq(loop_file_register(loop, other[0]), slot);
    ck_assert_int_eq(loop_cancel(loop, canceled), 0);
    test_run_until(loop, &logs[1].count, 1);
    test_run_until(loop, &logs[2].count, 1);
    test_log_is(&logs[1], -ECANCELED);
    ck_assert_int_eq(logs[2].last.res, -ETIMEDOUT);
    ck_assert_int_gt(loop_send(loop, slot, "o", 1, 0, test_log_cb, &logs[3], NULL), 0);
    test_run_until(loop, &logs[3].count, 1);
    test_log_is(&logs[3], 1);
    test_read(other[1], &bytes[1], 1); /* to the file that is there now */
    ck_assert_uint_eq(logs[0].count, 0);
    test_write(pair[1], "x", 1);
    test_run(loop);
    test_log_is(&logs[0], 1);
    ck_assert_int_eq(bytes[0], 'x');
    test_close(other[0]);
    test_close(other[1]);
}
END_TEST

/* Goal: loop_close() empties an own slot, which stays taken, and its number is not found any more. */
START_TEST(close_own)
{
    struct test_log logs[2] = {0};
    int             slot = loop_file_register(loop, pair[0]);

    ck_assert_int_eq(finish(loop_close(loop, slot, test_log_cb, &logs[0], NULL), &logs[0]), 0);
    ck_assert_int_eq(loop_file_lookup(loop, pair[0]), -ENOENT);
    ck_assert_uint_eq(files().own_taken, 1);
    ck_assert_int_eq(send_byte(slot, 'x'), -EBADF);
    ck_assert_int_eq(finish(loop_close(loop, slot, test_log_cb, &logs[1], NULL), &logs[1]), -EBADF);
    ck_assert_int_eq(loop_file_register_at(loop, slot, pair[0]), slot);
    ck_assert_int_eq(send_byte(slot, 'x'), 1);
    ck_assert_int_eq(loop_file_unregister(loop, slot), 0);
    ck_assert_uint_eq(files().own_taken, 0);
}
END_TEST

/* Goal: the kernel's slots and ours never mix. Method: change own slots in all ways before each automatic one. */
START_TEST(parts_do_not_mix)
{
    int slot = loop_file_reserve(loop, 1);

    for (int i = 0; i < AUTOMATIC; i++) {
        struct test_log logs[2] = {0};

        ck_assert_int_eq(loop_file_register_at(loop, slot, pair[0]), slot);
        if (i % 2 == 0)
            ck_assert_int_eq(finish(loop_close(loop, slot, test_log_cb, &logs[0], NULL), &logs[0]), 0);
        finish(loop_socket_direct(loop, AF_INET, SOCK_STREAM, 0, LOOP_SLOT_AUTO, test_log_cb, &logs[1], NULL),
               &logs[1]);
        ck_assert_int_ge(logs[1].last.res, LOOP_FIXED(0));
        ck_assert_int_lt(logs[1].last.res, LOOP_FIXED(AUTOMATIC));
    }
    for (int i = 0; i < 2; i++) {
        struct test_log log = {0};

        finish(loop_socket_direct(loop, AF_INET, SOCK_STREAM, 0, LOOP_SLOT_AUTO, test_log_cb, &log, NULL), &log);
        if (files().strayed == 0)
            ck_assert_int_eq(log.last.res, -ENFILE);
    }
    ck_assert_uint_eq(files().automatic_full + files().strayed, 2);
}
END_TEST

/* Goal: what stands in the table when the loop is destroyed is closed by then. Method: the peer of a socket that only
 * the table holds. */
START_TEST(destroyed_with_files)
{
    struct loop *of = test_loop_new(NULL);
    char         byte;

    ck_assert_int_eq(loop_files_init(of, NULL), 0);
    ck_assert_int_ge(loop_file_register(of, pair[0]), LOOP_FIXED(0));
    test_turns(of, 1);
    test_close(pair[0]);
    ck_assert_int_eq(recv(pair[1], &byte, 1, MSG_DONTWAIT), -1);
    test_loop_free(of);
    ck_assert_int_eq(recv(pair[1], &byte, 1, MSG_DONTWAIT), 0);
    pair[0] = dup(pair[1]);
}
END_TEST

/* Goal: the table is made and filled by one thread before another runs the loop. */
static void *run_elsewhere(void *arg)
{
    struct loop    *of = arg;
    struct test_log log = {0};
    int             slot = loop_file_lookup(of, pair[0]);

    ck_assert_int_gt(loop_send(of, slot, "t", 1, 0, test_log_cb, &log, NULL), 0);
    test_run(of);
    test_log_is(&log, 1);
    ck_assert_int_eq(loop_file_unregister(of, slot), 0); /* as the owner */
    test_loop_free(of);
    return NULL;
}

START_TEST(made_on_another_thread)
{
    struct loop *of = test_loop_new(NULL);
    pthread_t    thread;
    char         byte = 0;

    ck_assert_int_eq(loop_files_init(of, NULL), 0);
    ck_assert_int_ge(loop_file_register(of, pair[0]), LOOP_FIXED(0));
    ck_assert_int_eq(pthread_create(&thread, NULL, run_elsewhere, of), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    test_read(pair[1], &byte, 1);
    ck_assert_int_eq(byte, 't');
}
END_TEST

/* Goal: once the loop has an owner, other threads are stopped. */
static void *misuse(void *arg)
{
    struct loop *of = arg;

    (void)loop_file_register(of, pair[0]);
    return NULL;
}

static void misuse_scenario(void *arg)
{
    struct loop *of = NULL;
    pthread_t    thread;

    (void)arg;
    if (loop_create(&of, NULL) != 0 || loop_files_init(of, NULL) != 0)
        _exit(1);
    loop_run(of, LOOP_RUN_NOWAIT);
    pthread_create(&thread, NULL, misuse, of);
    pthread_join(thread, NULL);
}

START_TEST(wrong_thread_aborts)
{
    test_expect_abort(misuse_scenario, NULL, "loop_file_register(): called on a thread that does not own the loop");
}
END_TEST

/* Goal: without memory, or descriptors allowed, the table is refused as stated and nothing is left. */
START_TEST(no_memory)
{
    struct loop        *of = test_loop_new(NULL);
    const struct rlimit few = {64, 20000};

    test_memory.fail_at = test_memory.calls + 1;
    ck_assert_int_eq(loop_files_init(of, NULL), -ENOMEM);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
    ck_assert_int_eq(loop_files_init(of, &(struct loop_files_options){.own = 65}), -EMFILE);
    ck_assert_int_eq(loop_files_init(of, &(struct loop_files_options){.own = 64}), 0);
    test_loop_free(of);
}
END_TEST

/* ---- every operation takes LOOP_FIXED */

/* Goal: bind, listen, accept, connect, send, recv, sendmsg, shutdown and close on slots do what they do on descriptors.
 * Method: a whole TCP conversation without a descriptor but the one that asks for the port. */
START_TEST(tcp_on_slots)
{
    int                tcp = socket(AF_INET, SOCK_STREAM, 0), out = socket(AF_INET, SOCK_STREAM, 0);
    int                server = loop_file_register(loop, tcp), client = loop_file_register(loop, out), peer;
    struct sockaddr_in address = test_localhost(0), from;
    socklen_t          size = sizeof(address), from_size = sizeof(from);
    struct test_log    logs[12] = {0}, *log = logs;
    char               text[8] = "";
    struct iovec       iov = {.iov_base = (void *)(uintptr_t) "ring", .iov_len = 4};
    struct msghdr      msg = {.msg_iov = &iov, .msg_iovlen = 1};

    if (test_has_opcode(loop, IORING_OP_LISTEN)) {
        ck_assert_int_eq(
            finish(loop_bind(loop, server, (const struct sockaddr *)&address, size, test_log_cb, log, NULL), log), 0);
        log++;
        ck_assert_int_eq(finish(loop_listen(loop, server, 4, test_log_cb, log, NULL), log), 0);
    } else {
        ck_assert_int_eq(bind(tcp, (const struct sockaddr *)&address, size), 0);
        ck_assert_int_eq(listen(tcp, 4), 0);
    }
    ck_assert_int_eq(getsockname(tcp, (struct sockaddr *)&address, &size), 0);
    test_close(tcp);
    log++;
    ck_assert_int_eq(
        finish(loop_connect(loop, client, (const struct sockaddr *)&address, size, test_log_cb, log, NULL), log), 0);
    log++;
    peer = finish(loop_accept(loop, server, (struct sockaddr *)&from, &from_size, 0, test_log_cb, log, NULL), log);
    ck_assert_int_ge(peer, 0);
    size = sizeof(address);
    ck_assert_int_eq(getsockname(out, (struct sockaddr *)&address, &size), 0);
    ck_assert_uint_eq(from.sin_port, address.sin_port);
    log++;
    ck_assert_int_eq(finish(loop_send(loop, client, "ping", 4, 0, test_log_cb, log, NULL), log), 4);
    test_read(peer, text, 4);
    ck_assert_str_eq(text, "ping");
    log++;
    ck_assert_int_eq(finish(loop_sendmsg(loop, client, &msg, 0, test_log_cb, log, NULL), log), 4);
    test_read(peer, text, 4);
    ck_assert_str_eq(text, "ring");
    test_write(peer, "pong", 4);
    log++;
    ck_assert_int_eq(finish(loop_recv(loop, client, text, 8, 0, test_log_cb, log, NULL), log), 4);
    ck_assert_str_eq(text, "pong");
    log++;
    ck_assert_int_eq(finish(loop_shutdown(loop, client, SHUT_WR, test_log_cb, log, NULL), log), 0);
    ck_assert_int_eq(read(peer, text, 1), 0);
    log++;
    ck_assert_int_eq(finish(loop_close(loop, client, test_log_cb, log, NULL), log), 0);
    test_close(out);
    test_close(peer);
}
END_TEST

/* Goal: multishots on slots: accept and receive, also when the slot is emptied under them. */
static void multishot_on_slots(bool emptied)
{
    uint16_t        port;
    int             listener = test_tcp_listener(&port, 8), slot = loop_file_register(loop, listener), fd;
    int             in = loop_file_register(loop, pair[0]);
    struct test_log accepts = {0}, data = {0};
    loop_id         accept_id = loop_accept_multishot(loop, slot, 0, test_log_cb, &accepts, NULL);
    loop_id         recv_id = loop_recv_multishot(loop, in, LOOP_GROUP_DEFAULT, 0, test_log_cb, &data, NULL);

    ck_assert_int_gt(accept_id, 0);
    ck_assert_int_gt(recv_id, 0);
    test_turns(loop, 2);
    if (emptied) {
        ck_assert_int_eq(loop_file_unregister(loop, slot), 0);
        ck_assert_int_eq(loop_file_unregister(loop, in), 0);
    }
    for (uint32_t i = 1; i <= 3; i++) {
        int client = test_tcp_connect(port);

        test_run_until(loop, &accepts.count, i);
        fd = accepts.last.res;
        ck_assert_int_ge(fd, 0);
        test_close(fd);
        test_close(client);
        test_write(pair[1], "abc", 3);
        test_run_until(loop, &data.count, i);
    }
    ck_assert_uint_eq(data.bytes, 9);
    ck_assert_mem_eq(data.data, "abcabcabc", 9);
    loop_cancel(loop, accept_id);
    loop_cancel(loop, recv_id);
    test_run(loop);
    ck_assert_int_eq(accepts.last.res, -ECANCELED);
    ck_assert_int_eq(data.last.res, -ECANCELED);
    test_close(listener);
}

START_TEST(multishot_ops)
{
    multishot_on_slots(_i == 1);
}
END_TEST

/* Goal: SQEs of one's own take slots too: poll, read, write, statx-free file operations. Method: raw poll on a slot. */
START_TEST(raw_on_slot)
{
    int                 slot = loop_file_register(loop, pair[0]);
    struct io_uring_sqe sqe = {.opcode = IORING_OP_POLL_ADD, .poll32_events = POLLIN};
    struct test_log     log = {0};

    sqe.fd = slot & ~LOOP_FIXED_FLAG;
    sqe.flags = IOSQE_FIXED_FILE;
    ck_assert_int_gt(loop_raw(loop, &sqe, test_log_cb, &log, NULL), 0);
    test_turns(loop, 2);
    ck_assert_uint_eq(log.count, 0);
    test_write(pair[1], "x", 1);
    test_run(loop);
    ck_assert_int_ne(log.last.res & POLLIN, 0);
}
END_TEST

/* Goal: what a chain would close is forgotten if the chain is started, and stays known if it is dropped. Method: both.
 */
START_TEST(closed_by_a_chain)
{
    struct loop *other = test_loop_new(NULL);
    int          fd = dup(STDIN_FILENO), slot;

    ck_assert_int_eq(loop_files_init(other, NULL), 0);
    slot = loop_file_register(other, fd);
    ck_assert_int_ge(slot, 0);
    ck_assert_int_eq(loop_chain_begin(other, 2, 0), 0);
    ck_assert_int_gt(loop_close(other, slot, NULL, NULL, NULL), 0);
    ck_assert_int_eq(loop_recv(other, -1, NULL, 0, 0, NULL, NULL, NULL), -EBADF);
    ck_assert_int_eq(loop_chain_end(other), -EBADF);
    ck_assert_int_eq(loop_file_lookup(other, fd), slot);
    ck_assert_int_eq(loop_chain_begin(other, 2, 0), 0);
    ck_assert_int_gt(loop_close(other, slot, NULL, NULL, NULL), 0);
    ck_assert_int_gt(loop_nop(other, NULL, NULL, NULL), 0);
    ck_assert_int_eq(loop_file_lookup(other, fd), slot);
    ck_assert_int_eq(loop_chain_end(other), 0);
    ck_assert_int_eq(loop_file_lookup(other, fd), -ENOENT);
    test_run(other);
    test_loop_free(other);
    test_close(fd);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("fixed_file");
    TCase *tcase = test_case(suite, "table");

    tcase_add_checked_fixture(tcase, setup, pair_teardown);
    tcase_add_test(tcase, register_use_unregister);
    tcase_add_test(tcase, bad_arguments);
    tcase_add_test(tcase, defaults);
    tcase_add_test(tcase, full);
    tcase_add_test(tcase, reserve_rows);
    tcase_add_test(tcase, many_slots);
    tcase_add_test(tcase, replace_in_flight);
    tcase_add_test(tcase, unregister_in_flight);
    tcase_add_test(tcase, close_own);
    tcase_add_test(tcase, parts_do_not_mix);
    tcase_add_test(tcase, destroyed_with_files);
    tcase_add_test(tcase, made_on_another_thread);
    tcase_add_test(tcase, wrong_thread_aborts);
    tcase_add_test(tcase, no_memory);
    tcase = test_case(suite, "ops");
    tcase_add_checked_fixture(tcase, setup, pair_teardown);
    tcase_add_test(tcase, tcp_on_slots);
    tcase_add_loop_test(tcase, multishot_ops, 0, 2);
    tcase_add_test(tcase, raw_on_slot);
    tcase_add_test(tcase, closed_by_a_chain);
    return suite;
}
