/* tests/loop/op_fixed_test.c: operations that open into slots. */
#include "tests/loop/op_fixed.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>

/* Goal: a socket comes into the slot that was asked for, or one of the kernel's; it works at once; errors as of
 * socket(2). */
START_TEST(socket_direct)
{
    struct test_log log = {0};
    int             fd = socket_into(LOOP_SLOT_AUTO), normal, type = 0;
    socklen_t       size = sizeof(type);

    ck_assert(is_automatic(fd));
    ck_assert_int_eq(close_slot(fd), 0);
    ck_assert_int_eq(close_slot(fd), -EBADF);
    ck_assert_int_eq(socket_into(own), own);
    ck_assert_int_eq(socket_into(own & ~LOOP_FIXED_FLAG), own); /* replaced */
    normal = install(own);
    if (normal >= 0) {
        ck_assert_int_eq(getsockopt(normal, SOL_SOCKET, SO_TYPE, &type, &size), 0);
        ck_assert_int_eq(type, SOCK_STREAM);
        test_close(normal);
    }
    ck_assert_int_eq(finish(loop_socket_direct(loop, 9999, SOCK_STREAM, 0, own, test_log_cb, &log, NULL), &log),
                     -EAFNOSUPPORT);
    log = (struct test_log){0};
    fd = finish(
        loop_socket_direct(loop, AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0, LOOP_SLOT_AUTO, test_log_cb, &log, NULL), &log);
    ck_assert(is_automatic(fd));
    ck_assert_int_eq(close_slot(fd), 0);
}
END_TEST

/* Goal: slots that are not there, not taken, or not ours are refused; so are an unknown slot that nobody would learn
 * of, and direct mode. */
START_TEST(slots_refused)
{
    struct loop     *bare = test_loop_new(NULL), *own_only = test_loop_new(NULL);
    static const int bad[] = {0, AUTOMATIC - 1, AUTOMATIC + 1, AUTOMATIC + OWN, -2, LOOP_FIXED(1), 1 << 29};
    int              fds[2], handler = loop_handler_register(loop, not_called, NULL, 0);

    for (size_t i = 0; i < TEST_COUNT(bad); i++)
        ck_assert_int_eq(loop_socket_direct(loop, AF_INET, SOCK_STREAM, 0, bad[i], not_called, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_socket_direct(loop, AF_INET, SOCK_STREAM, 0, LOOP_SLOT_AUTO, NULL, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_accept_multishot_direct(loop, 0, 0, NULL, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_socket_direct(loop, AF_INET, SOCK_STREAM, 0, own, LOOP_HANDLER(handler), NULL, NULL),
                     -EINVAL);
    ck_assert_int_eq(loop_pipe_direct(loop, fds, 0, own, not_called, NULL, NULL), -EINVAL); /* one slot only */
    ck_assert_int_eq(loop_pipe_direct(loop, NULL, 0, LOOP_SLOT_AUTO, not_called, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_accept_direct(loop, -1, NULL, NULL, 0, own, not_called, NULL, NULL), -EBADF);
    ck_assert_int_eq(loop_accept_direct(loop, 0, NULL, NULL, 1, own, not_called, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_socket_direct(bare, AF_INET, SOCK_STREAM, 0, 0, not_called, NULL, NULL), -ENXIO);
    ck_assert_int_eq(loop_socket_direct(bare, AF_INET, SOCK_STREAM, 0, LOOP_SLOT_AUTO, not_called, NULL, NULL), -ENXIO);
    ck_assert_int_eq(loop_files_init(own_only, &(struct loop_files_options){.own = 2}), 0);
    ck_assert_int_eq(loop_socket_direct(own_only, AF_INET, SOCK_STREAM, 0, LOOP_SLOT_AUTO, not_called, NULL, NULL),
                     -ENFILE);
    test_run(loop);
    test_loop_free(bare);
    test_loop_free(own_only);
}
END_TEST

/* Goal: accept into a slot gives the connection and the peer's address. */
START_TEST(accept_direct)
{
    uint16_t           port;
    int                listener = test_tcp_listener(&port, 4), client = test_tcp_connect(port);
    struct sockaddr_in from = {0}, local;
    socklen_t          size = sizeof(from), local_size = sizeof(local);
    struct test_log    logs[4] = {0};
    char               text[4] = "";

    ck_assert_int_eq(finish(loop_accept_direct(loop, listener, (struct sockaddr *)&from, &size, SOCK_CLOEXEC, own,
                                               test_log_cb, &logs[0], NULL),
                            &logs[0]),
                     own);
    ck_assert_int_eq(getsockname(client, (struct sockaddr *)&local, &local_size), 0);
    ck_assert_uint_eq(from.sin_port, local.sin_port);
    ck_assert_int_eq(finish(loop_send(loop, own, "abc", 4, 0, test_log_cb, &logs[1], NULL), &logs[1]), 4);
    test_read(client, text, 4);
    ck_assert_str_eq(text, "abc");
    ck_assert_int_eq(close_slot(own), 0);
    ck_assert_int_eq(read(client, text, 1), 0);
    ck_assert_int_eq(finish(loop_accept_direct(loop, listener, NULL, NULL, SOCK_NONBLOCK, LOOP_SLOT_AUTO, test_log_cb,
                                               &logs[2], LOOP_TERMS(.timeout_ns = 5 * LOOP_MILLISECOND)),
                            &logs[2]),
                     -ETIMEDOUT);
    ck_assert_int_eq(logs[2].last.flags & LOOP_TIMED_OUT, LOOP_TIMED_OUT);
    test_close(client);
    test_close(listener);
}
END_TEST

/* Goal: a cancelled accept ends once; a connection that comes in spite of it is delivered, none is lost and no slot
 * leaks. Method: many rounds, the cancel together with the connection. */
START_TEST(accept_canceled)
{
    uint16_t port;
    int      listener = test_tcp_listener(&port, 8);
    uint32_t canceled = 0;

    for (int i = 0; i < 100; i++) {
        struct test_log log = {0};
        loop_id         id = loop_accept_direct(loop, listener, NULL, NULL, 0, LOOP_SLOT_AUTO, test_log_cb, &log, NULL);
        int             client, fd;

        ck_assert_int_gt(id, 0);
        if (i % 3 != 0)
            test_turns(loop, 1);
        if (i % 2 == 0) /* the cancel is asked for first */
            ck_assert_int_eq(loop_cancel(loop, id), 0);
        client = test_tcp_connect(port);
        if (i % 4 == 1)
            test_turns(loop, 1);
        if (i % 2 == 1 && log.count == 0)
            ck_assert_int_eq(loop_cancel(loop, id), 0);
        test_run(loop);
        ck_assert_uint_eq(log.finals, 1);
        if (log.last.res >= 0) {
            ck_assert(is_automatic(log.last.res));
            ck_assert_int_eq(close_slot(log.last.res), 0);
        } else { /* then the connection is still there */
            ck_assert_int_eq(log.last.res, -ECANCELED);
            fd = accept(listener, NULL, NULL);
            ck_assert_int_ge(fd, 0);
            test_close(fd);
            canceled++;
        }
        test_close(client);
    }
    printf("accept_canceled: %u of 100 ended with -ECANCELED\n", canceled);
    for (int i = 0; i < AUTOMATIC; i++) /* all slots are free */
        ck_assert(is_automatic(socket_into(LOOP_SLOT_AUTO)));
    test_close(listener);
}
END_TEST

/* Goal: a multishot accept fills slots, goes on with slots given back, and ends with -ENFILE when the table is full;
 * then, as documented, that connection's peer sees the end. */
START_TEST(accept_multishot_direct)
{
    uint16_t                port;
    int                     listener = test_tcp_listener(&port, 16), clients[AUTOMATIC + 3];
    struct test_log         log = {0};
    struct loop_files_stats stats;
    char                    byte;

    ck_assert_int_gt(loop_accept_multishot_direct(loop, listener, SOCK_CLOEXEC, test_log_cb, &log, NULL), 0);
    for (uint32_t i = 0; i < 2; i++) {
        struct test_log send = {0}, closed = {0};

        clients[i] = test_tcp_connect(port);
        test_run_until(loop, &log.count, i + 1);
        ck_assert(is_automatic(log.last.res));
        ck_assert_uint_ne(log.last.flags & LOOP_MORE, 0);
        ck_assert_int_gt(loop_send(loop, log.last.res, "s", 1, 0, test_log_cb, &send, NULL), 0);
        test_run_until(loop, &send.count, 1);
        test_read(clients[i], &byte, 1);
        ck_assert_int_gt(loop_close(loop, log.last.res, test_log_cb, &closed, NULL), 0);
        test_run_until(loop, &closed.count, 1);
        ck_assert_int_eq(read(clients[i], &byte, 1), 0);
        test_close(clients[i]);
    }
    for (uint32_t i = 0; i < AUTOMATIC; i++) {
        clients[i] = test_tcp_connect(port);
        test_run_until(loop, &log.count, 3 + i);
        ck_assert(is_automatic(log.last.res));
    }
    clients[AUTOMATIC] = test_tcp_connect(port);
    test_run_until(loop, &log.count, 3 + AUTOMATIC);
    loop_files_stats_get(loop, &stats);
    if (stats.strayed == 0) {
        test_run(loop);
        ck_assert_int_eq(log.last.res, -ENFILE);
        ck_assert_uint_eq(log.finals, 1);
        ck_assert_uint_eq(stats.automatic_full, 1);
        ck_assert_int_le(read(clients[AUTOMATIC], &byte, 1), 0);
    } else {
        loop_cancel(loop, log.last.id);
        test_run(loop);
    }
    for (uint32_t i = 0; i <= AUTOMATIC; i++)
        test_close(clients[i]);
    test_close(listener);
}
END_TEST

/* Goal: a multishot that the kernel ends for want of room in the CQ is armed again, still into slots. Method: a tiny CQ
 * and many connections at once. */
START_TEST(accept_multishot_rearmed)
{
    enum { CLIENTS = 24 };
    struct loop    *tiny = test_loop_new(&(struct loop_options){.sq_entries = 8, .cq_entries = 8});
    uint16_t        port;
    int             listener = test_tcp_listener(&port, CLIENTS), clients[CLIENTS];
    struct test_log log = {0};
    bool            seen[CLIENTS] = {false};
    loop_id         id;

    ck_assert_int_eq(loop_files_init(tiny, &(struct loop_files_options){.automatic = CLIENTS}), 0);
    for (int i = 0; i < CLIENTS; i++)
        clients[i] = test_tcp_connect(port);
    id = loop_accept_multishot_direct(tiny, listener, 0, test_log_cb, &log, NULL);
    ck_assert_int_gt(id, 0);
    test_run_until(tiny, &log.count, CLIENTS);
    for (int i = 0; i < CLIENTS; i++) {
        int slot = log.results[i].res & ~LOOP_FIXED_FLAG;

        ck_assert_int_ge(log.results[i].res, LOOP_FIXED(0));
        ck_assert_int_lt(slot, CLIENTS);
        ck_assert(!seen[slot]);
        seen[slot] = true;
    }
    ck_assert_int_eq(loop_cancel(tiny, id), 0);
    test_run(tiny);
    ck_assert_int_eq(log.last.res, -ECANCELED);
    for (int i = 0; i < CLIENTS; i++)
        test_close(clients[i]);
    test_close(listener);
    test_loop_free(tiny);
}
END_TEST

/* A file on the file system of the build directory. */
static void make_file(char *path, size_t size)
{
    int fd;

    snprintf(path, size, "op_fixed_test.%d", (int)getpid());
    fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    ck_assert_int_ge(fd, 0);
    test_write(fd, "contents", 8);
    test_close(fd);
}

static void check_contents(int slot)
{
    struct io_uring_sqe sqe = {.opcode = IORING_OP_READ, .flags = IOSQE_FIXED_FILE, .len = 16};
    char                text[17] = "";
    struct test_log     log = {0};

    sqe.fd = slot & ~LOOP_FIXED_FLAG;
    sqe.addr = (uint64_t)(uintptr_t)text;
    ck_assert_int_eq(finish(loop_raw(loop, &sqe, test_log_cb, &log, NULL), &log), 8);
    ck_assert_str_eq(text, "contents");
}

/* Goal: files are opened into slots, by openat and openat2; paths, short and long, and how are copied. Method:
 * overwrite them after the call. */
START_TEST(open_direct)
{
    char            path[64], given[5000], longer[4096];
    struct test_log logs[8] = {0};
    loop_id         id;
    struct open_how how = {.flags = O_RDONLY | O_CLOEXEC, .resolve = RESOLVE_NO_SYMLINKS};

    make_file(path, sizeof(path));
    strcpy(given, path);
    id = loop_openat_direct(loop, AT_FDCWD, given, O_RDONLY | O_CLOEXEC, 0, own, test_log_cb, &logs[0], NULL);
    memset(given, 'x', sizeof(given) - 1);
    ck_assert_int_eq(finish(id, &logs[0]), own);
    check_contents(own);

    memset(longer, 0, sizeof(longer));
    for (size_t at = 0; at < 400; at += 2)
        memcpy(longer + at, "./", 2);
    strcat(longer, path);
    strcpy(given, longer);
    id = loop_openat_direct(loop, AT_FDCWD, given, O_RDONLY, 0, LOOP_SLOT_AUTO, test_log_cb, &logs[1], NULL);
    memset(given, 'x', sizeof(given) - 1);
    ck_assert(is_automatic(finish(id, &logs[1])));
    check_contents(logs[1].last.res);
    ck_assert_int_eq(close_slot(logs[1].last.res), 0);

    strcpy(given, path);
    id = loop_openat2_direct(loop, AT_FDCWD, given, &how, sizeof(how), own, test_log_cb, &logs[2], NULL);
    memset(given, 'x', sizeof(given) - 1);
    memset(&how, 0xff, sizeof(how));
    ck_assert_int_eq(finish(id, &logs[2]), own);
    check_contents(own);
    ck_assert_int_eq(unlink(path), 0);

    ck_assert_int_eq(
        finish(loop_openat_direct(loop, AT_FDCWD, path, O_RDONLY, 0, LOOP_SLOT_AUTO, test_log_cb, &logs[3], NULL),
               &logs[3]),
        -ENOENT);
    how = (struct open_how){.flags = O_RDONLY, .resolve = UINT64_C(1) << 60};
    ck_assert_int_eq(
        finish(loop_openat2_direct(loop, AT_FDCWD, "/", &how, sizeof(how), own, test_log_cb, &logs[4], NULL), &logs[4]),
        -EINVAL);
    given[sizeof(given) - 1] = '\0';
    ck_assert_int_eq(loop_openat_direct(loop, AT_FDCWD, given, 0, 0, own, not_called, NULL, NULL), -ENAMETOOLONG);
    ck_assert_int_eq(loop_openat_direct(loop, AT_FDCWD, NULL, 0, 0, own, not_called, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_openat_direct(loop, -1, "/", 0, 0, own, not_called, NULL, NULL), -EBADF);
    ck_assert_int_eq(loop_openat_direct(loop, own, "/", 0, 0, own, not_called, NULL, NULL), -EBADF);
    ck_assert_int_eq(loop_openat2_direct(loop, AT_FDCWD, "/", NULL, sizeof(how), own, not_called, NULL, NULL), -EINVAL);
}
END_TEST

/* Goal: a file is created with the mode and flags given, relative to a directory. Method: compare with stat(2). */
START_TEST(open_creates)
{
    char            name[64];
    struct test_log log = {0};
    struct stat     status;
    mode_t          mask = umask(0);
    int             directory = open(".", O_PATH | O_DIRECTORY);

    snprintf(name, sizeof(name), "op_fixed_new.%d", (int)getpid());
    ck_assert_int_eq(finish(loop_openat_direct(loop, directory, name, O_WRONLY | O_CREAT | O_EXCL, 0640, own,
                                               test_log_cb, &log, NULL),
                            &log),
                     own);
    umask(mask);
    ck_assert_int_eq(stat(name, &status), 0);
    ck_assert_uint_eq(status.st_mode & 07777, 0640);
    ck_assert_int_eq(unlink(name), 0);
    test_close(directory);
}
END_TEST

/* Goal: both ends of a pipe come as slots, by the kernel's choice and by ours, and work. */
static void pipe_into(int slot)
{
    int             fds[2] = {-5, -5};
    struct test_log logs[3] = {0};
    char            text[8] = "";

    ck_assert_int_eq(
        finish(loop_pipe_direct(loop, fds, O_NONBLOCK | O_CLOEXEC, slot, test_log_cb, &logs[0], NULL), &logs[0]), 0);
    if (slot == LOOP_SLOT_AUTO) {
        ck_assert(is_automatic(fds[0]));
        ck_assert(is_automatic(fds[1]));
    } else {
        ck_assert_int_eq(fds[0], slot);
        ck_assert_int_eq(fds[1], slot + 1);
    }
    for (int i = 1; i <= 2; i++) {
        struct io_uring_sqe sqe = {.opcode = i == 1 ? IORING_OP_WRITE : IORING_OP_READ, .flags = IOSQE_FIXED_FILE};

        if (i == 1)
            strcpy(text, "through");
        sqe.fd = fds[i == 1] & ~LOOP_FIXED_FLAG;
        sqe.addr = (uint64_t)(uintptr_t)text;
        sqe.len = 8;
        ck_assert_int_eq(finish(loop_raw(loop, &sqe, test_log_cb, &logs[i], NULL), &logs[i]), 8);
        if (i == 1)
            memset(text, 0, sizeof(text));
    }
    ck_assert_str_eq(text, "through");
    ck_assert_int_eq(close_slot(fds[0]), 0);
    ck_assert_int_eq(close_slot(fds[1]), 0);
}

START_TEST(pipe_direct)
{
    int             first = loop_file_reserve(loop, 2), fds[2] = {-5, -5};
    struct test_log log = {0};

    if (!test_has_opcode(loop, IORING_OP_PIPE)) {
        ck_assert_int_eq(loop_pipe_direct(loop, fds, 0, first, not_called, NULL, NULL), -EOPNOTSUPP);
        test_skip("loop_pipe_direct: the kernel lacks it");
        return;
    }
    pipe_into(first);
    pipe_into(LOOP_SLOT_AUTO);
    ck_assert_int_eq(finish(loop_pipe_direct(loop, fds, O_TRUNC, first, test_log_cb, &log, NULL), &log), -EINVAL);
    ck_assert_int_eq(fds[0], -5);
    ck_assert_int_eq(fds[1], -5);
}
END_TEST

/* Goal: a slot stands in a chain before the operation that fills it has run: socket, connect, send, close in one go. */
START_TEST(chain)
{
    uint16_t           port;
    int                listener = test_tcp_listener(&port, 1), fd;
    struct sockaddr_in address = test_localhost(port);
    struct test_log    logs[4] = {0};
    char               text[8] = "";

    ck_assert_int_eq(loop_chain_begin(loop, 4, 0), 0);
    ck_assert_int_gt(loop_socket_direct(loop, AF_INET, SOCK_STREAM, 0, own, test_log_cb, &logs[0], NULL), 0);
    ck_assert_int_gt(
        loop_connect(loop, own, (const struct sockaddr *)&address, sizeof(address), test_log_cb, &logs[1], NULL), 0);
    ck_assert_int_gt(loop_send(loop, own, "chained", 8, 0, test_log_cb, &logs[2], NULL), 0);
    ck_assert_int_gt(loop_close(loop, own, test_log_cb, &logs[3], NULL), 0);
    ck_assert_int_eq(loop_chain_end(loop), 0);
    test_run(loop);
    test_log_is(&logs[0], own);
    test_log_is(&logs[1], 0);
    test_log_is(&logs[2], 8);
    test_log_is(&logs[3], 0);
    fd = accept(listener, NULL, NULL);
    test_read(fd, text, 8);
    ck_assert_str_eq(text, "chained");
    ck_assert_int_eq(read(fd, text, 1), 0);
    test_close(fd);
    test_close(listener);
}
END_TEST

/* Goal: without memory a call is refused and leaves nothing; the slot keeps its file and is still found. Method: fail
 * each allocation in turn. */
START_TEST(no_memory)
{
    static char path[1000];
    int         ends[2], fds[100], first = loop_file_reserve(loop, 1), refused = 0;

    test_socketpair(ends);
    memset(path, '/', sizeof(path) - 1);
    for (size_t i = 0; i < TEST_COUNT(fds); i++)
        fds[i] = -1;
    ck_assert_int_eq(loop_file_register_at(loop, first, ends[0]), first);
    for (uint64_t nth = 1; nth < 10; nth++) {
        struct test_log log = {0};
        loop_id         id;

        test_memory.fail_at = test_memory.calls + nth;
        id = loop_openat_direct(loop, AT_FDCWD, path, O_PATH, 0, first, test_log_cb, &log, NULL);
        test_memory.fail_at = 0;
        if (id < 0) {
            refused++;
            ck_assert_int_eq(id, -ENOMEM);
            test_run(loop);
            ck_assert_uint_eq(log.count, 0);
            ck_assert_int_eq(loop_file_lookup(loop, ends[0]), first);
            continue;
        }
        ck_assert_int_eq(finish(id, &log), first);
        ck_assert_int_eq(loop_file_lookup(loop, ends[0]), -ENOENT);
        break;
    }
    ck_assert_int_gt(refused, 0);
    test_close(ends[0]);
    test_close(ends[1]);
}
END_TEST

/* Goal: with terms: caller data, a linked timeout, the limit of operations. */
START_TEST(terms)
{
    struct loop    *small = test_loop_new(&(struct loop_options){.ops_max = 1});
    uint16_t        port;
    int             listener = test_tcp_listener(&port, 2);
    struct test_log logs[3] = {0};

    logs[0].extra_size = 5;
    ck_assert_int_eq(finish(loop_socket_direct(loop, AF_INET, SOCK_STREAM, 0, own, test_log_cb, &logs[0],
                                               LOOP_TERMS(.data = "data", .data_size = 5)),
                            &logs[0]),
                     own);
    ck_assert_str_eq(logs[0].extra, "data");
    ck_assert_int_eq(
        finish(loop_accept_direct(loop, listener, NULL, NULL, 0, own, test_log_cb, &logs[1],
                                  LOOP_TERMS(.timeout_ns = 3 * LOOP_MILLISECOND, .flags = LOOP_LINKED_TIMEOUT)),
               &logs[1]),
        -ETIMEDOUT);
    ck_assert_int_eq(loop_files_init(small, NULL), 0);
    ck_assert_int_gt(loop_socket_direct(small, AF_INET, SOCK_STREAM, 0, LOOP_SLOT_AUTO, test_log_cb, &logs[2], NULL),
                     0);
    ck_assert_int_eq(loop_socket_direct(small, AF_INET, SOCK_STREAM, 0, LOOP_SLOT_AUTO, not_called, NULL, NULL),
                     -ENOBUFS);
    test_run(small);
    ck_assert_int_ge(logs[2].last.res, LOOP_FIXED(0));
    test_loop_free(small);
    test_close(listener);
}
END_TEST

/* Goal: destroying the loop with accepts into slots in flight loses nothing and ends each once. */
START_TEST(destroyed_in_flight)
{
    struct loop    *of = test_loop_new(NULL);
    uint16_t        port;
    int             listener = test_tcp_listener(&port, 2);
    struct test_log logs[2] = {0};

    ck_assert_int_eq(loop_files_init(of, NULL), 0);
    ck_assert_int_gt(loop_accept_direct(of, listener, NULL, NULL, 0, LOOP_SLOT_AUTO, test_log_cb, &logs[0], NULL), 0);
    ck_assert_int_gt(loop_accept_multishot_direct(of, listener, 0, test_log_cb, &logs[1], NULL), 0);
    test_turns(of, 2);
    test_loop_drop(of);
    test_log_is(&logs[0], -ECANCELED);
    test_log_is(&logs[1], -ECANCELED);
    test_close(listener);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("op_fixed");
    TCase *tcase = test_case(suite, "ops");

    tcase_add_checked_fixture(tcase, setup, pair_teardown);
    tcase_add_test(tcase, socket_direct);
    tcase_add_test(tcase, slots_refused);
    tcase_add_test(tcase, accept_direct);
    tcase_add_test(tcase, accept_canceled);
    tcase_add_test(tcase, accept_multishot_direct);
    tcase_add_test(tcase, accept_multishot_rearmed);
    tcase_add_test(tcase, open_direct);
    tcase_add_test(tcase, open_creates);
    tcase_add_test(tcase, pipe_direct);
    tcase_add_test(tcase, chain);
    tcase_add_test(tcase, no_memory);
    tcase_add_test(tcase, terms);
    tcase_add_test(tcase, destroyed_in_flight);
    return suite;
}
