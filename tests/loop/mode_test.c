/* tests/loop/mode_test.c: modes of the ring: the kernel's submitting thread, polled I/O, sizes, busy polling, workers,
 * credentials. */
#include "tests/support/test.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>

/* Makes a loop, or says that this kernel lacks the mode, which is an answer, too. */
static struct loop *loop_with(struct loop_options options)
{
    struct loop *loop = NULL;
    int          r;

    options.allocator = test_allocator();
    r = loop_create(&loop, &options);
    if (r == -EOPNOTSUPP) {
        ck_assert_ptr_null(loop);
        test_skip("this kernel lacks a mode (flags %#x)", options.flags);
        return NULL;
    }
    ck_assert_int_eq(r, 0);
    ck_assert_uint_eq(loop_features_get(loop)->modes, options.flags);
    return loop;
}

static void count_cb(struct loop *loop, const struct loop_result *result, void *arg)
{
    (void)loop;
    ck_assert_int_ge(result->res, 0);
    ++*(uint32_t *)arg;
}

/* Goal: combinations that make no sense are refused, whatever the kernel. Method: the table of docs/modes.md. */
START_TEST(bad_combinations)
{
    static const struct loop_restrictions no_list = {.opcodes = NULL, .opcodes_count = 1};
    static const struct loop_options      table[] = {
             {.flags = 1u << 11},
             {.flags = LOOP_MODE_SQE128 | LOOP_MODE_SQE_MIXED},
             {.flags = LOOP_MODE_CQE32 | LOOP_MODE_CQE_MIXED},
             {.flags = LOOP_MODE_SQPOLL | LOOP_MODE_CQ_GROWS},
             {.flags = LOOP_MODE_SQPOLL_CPU},
             {.flags = LOOP_MODE_HYBRID_IOPOLL},
             {.modes = {.sqpoll_idle_ms = 1}},
             {.flags = LOOP_MODE_SQPOLL, .modes = {.sqpoll_cpu = 1}},
             {.flags = LOOP_MODE_SQPOLL | LOOP_MODE_SQPOLL_CPU, .modes = {.sqpoll_cpu = 100000}},
             {.flags = LOOP_MODE_IOPOLL, .modes = {.napi_busy_poll_us = 1}},
             {.modes = {.napi_prefer = 1}},
             {.modes = {.napi_busy_poll_us = 1, .napi_prefer = 2}},
             {.modes = {.restrictions = &no_list}},
             {.modes = {.reserved = 1}},
    };

    for (size_t i = 0; i < TEST_COUNT(table); i++) {
        struct loop_options options = table[i];
        struct loop        *loop = NULL;
        int                 r;

        options.allocator = test_allocator();
        r = loop_create(&loop, &options);
        ck_assert_msg(r == -EINVAL && loop == NULL, "options %zu: %d", i, r);
        ck_assert_uint_eq(test_memory.blocks, 0);
    }
}
END_TEST

/* ---- SQPOLL */

static const struct loop_options sqpoll = {
    .sq_entries = 8,
    .flags = LOOP_MODE_SQPOLL,
    .modes = {.sqpoll_idle_ms = 1},
};

/* Goal: many more operations than the SQ holds, in and out of callbacks, all end. */
static void again_cb(struct loop *loop, const struct loop_result *result, void *arg)
{
    uint32_t *count = arg;

    ck_assert_int_eq(result->res, 0);
    if (++*count <= 1000)
        ck_assert_int_gt(loop_nop(loop, again_cb, count, NULL), 0);
}

START_TEST(sqpoll_nops)
{
    struct loop *loop = loop_with(sqpoll);
    uint32_t     count = 0;

    if (loop == NULL)
        return;
    ck_assert(!loop_features_get(loop)->defer_taskrun);
    for (uint32_t i = 0; i < 1000; i++)
        ck_assert_int_gt(loop_nop(loop, again_cb, &count, NULL), 0);
    test_run(loop);
    ck_assert_uint_eq(count, 2000);
    ck_assert_uint_ge(test_stats(loop).sqes_submitted, 2000);
    test_loop_free(loop);
}
END_TEST

/* Goal: the kernel's thread is woken after it has gone to sleep. Method: sleep much longer than its idle time, again
 * and again; a wake that is forgotten lets the test hang. */
START_TEST(sqpoll_wakes)
{
    struct loop *loop = loop_with(sqpoll);
    uint32_t     count = 0;

    if (loop == NULL)
        return;
    for (uint32_t i = 0; i < 20; i++) {
        test_sleep(5 * LOOP_MILLISECOND);
        ck_assert_int_gt(loop_nop(loop, count_cb, &count, NULL), 0);
        test_run(loop);
        ck_assert_uint_eq(count, i + 1);
    }
    test_loop_free(loop);
}
END_TEST

/* Goal: memory that calls copy is there when the kernel's thread reads it, however late. Method: messages in chains and
 * with linked timeouts, whose headers are overwritten at once; deadlines and cancels that take hold. */
START_TEST(sqpoll_copies)
{
    struct loop    *loop = loop_with(sqpoll);
    struct test_log log = {0}, late = {0}, linked = {0};
    static char     text[] = "abc", got[300], byte;
    uint32_t        count = 0;
    loop_id         id;
    int             fds[2];

    if (loop == NULL)
        return;
    test_socketpair(fds);
    for (uint32_t i = 0; i < 100; i++) {
        struct iovec  iov[6] = {{text, 1}, {text + 1, 1}, {text + 2, 1}};
        struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 6};

        ck_assert_int_eq(loop_chain_begin(loop, 2, 0), 0);
        ck_assert_int_gt(loop_nop(loop, count_cb, &count, NULL), 0);
        ck_assert_int_gt(loop_sendmsg(loop, fds[0], &msg, 0, count_cb, &count, LOOP_TERMS(.timeout_ns = LOOP_SECOND)),
                         0);
        ck_assert_int_eq(loop_chain_end(loop), 0);
        memset(iov, 0xff, sizeof(iov));
        memset(&msg, 0xff, sizeof(msg));
        test_run(loop);
    }
    ck_assert_uint_eq(count, 200);
    test_read(fds[1], got, 300);
    for (uint32_t i = 0; i < 300; i++)
        ck_assert_int_eq(got[i], text[i % 3]);
    id = loop_recv(loop, fds[0], &byte, 1, 0, test_log_cb, &log, NULL);
    ck_assert_int_gt(id, 0);
    ck_assert_int_gt(
        loop_recv(loop, fds[0], &byte, 1, 0, test_log_cb, &late, LOOP_TERMS(.timeout_ns = LOOP_MILLISECOND)), 0);
    ck_assert_int_gt(loop_recv(loop, fds[0], &byte, 1, 0, test_log_cb, &linked,
                               LOOP_TERMS(.timeout_ns = LOOP_MILLISECOND, .flags = LOOP_LINKED_TIMEOUT)),
                     0);
    ck_assert_int_eq(loop_cancel(loop, id), 0);
    test_run(loop);
    test_log_is(&log, -ECANCELED);
    ck_assert_int_eq(late.last.res, -ETIMEDOUT);
    ck_assert_int_eq(linked.last.res, -ETIMEDOUT);
    test_close(fds[0]);
    test_close(fds[1]);
    test_loop_free(loop);
}
END_TEST

static void *post_thread(void *arg)
{
    void   **words = arg;
    uint32_t sent = 0;

    for (uint32_t i = 0; i < 50; i++) {
        test_sleep(LOOP_MILLISECOND / 2);
        ck_assert_int_eq(loop_post(words[0], test_count_post, words[1]), 0);
        sent++;
    }
    return sent == 50 ? arg : NULL;
}

static void nothing(struct loop_timer *timer)
{
    (void)timer;
}

/* Posts of another thread wake the loop. */
static void check_posts(struct loop *loop)
{
    struct loop_timer keep = {0};
    uint32_t          count = 0;
    void             *words[2] = {loop, &count};
    pthread_t         thread;

    ck_assert_int_eq(loop_timer_start(loop, &keep, 3600 * LOOP_SECOND, 0, nothing), 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, post_thread, words), 0);
    test_run_until(loop, &count, 50);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    loop_timer_stop(&keep);
}

static void check_timers(struct loop *loop)
{
    uint32_t          count = 0;
    struct loop_timer timer = {.data = &count};

    ck_assert_int_eq(loop_timer_start(loop, &timer, LOOP_MILLISECOND, LOOP_MILLISECOND, test_count_timer), 0);
    test_run_until(loop, &count, 5);
    loop_timer_stop(&timer);
}

/* Goal: posts and timers with the kernel's thread; and a loop that is destroyed with operations in flight. */
START_TEST(sqpoll_services)
{
    struct loop_options options = sqpoll;
    struct test_log     log = {0};
    struct loop        *loop;
    static char         byte;
    int                 fds[2];

    if (_i == 1)
        options.flags |= LOOP_MODE_SQPOLL_CPU;
    loop = loop_with(options);
    if (loop == NULL)
        return;
    check_posts(loop);
    check_timers(loop);
    test_socketpair(fds);
    ck_assert_int_gt(loop_recv(loop, fds[0], &byte, 1, 0, test_log_cb, &log, NULL), 0);
    test_turns(loop, 2);
    test_loop_drop(loop);
    test_log_is(&log, -ECANCELED);
    test_close(fds[0]);
    test_close(fds[1]);
}
END_TEST

/* ---- IOPOLL */

enum { BLOCK = 4096 };

static int direct_file(void)
{
    char path[] = "/var/tmp/ringloop-mode-XXXXXX";
    int  fd = mkstemp(path);

    ck_assert_int_ge(fd, 0);
    test_close(fd);
    fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
    ck_assert_int_eq(unlink(path), 0);
    if (fd < 0)
        test_skip("no O_DIRECT in /var/tmp");
    return fd;
}

static struct loop *polled_loop(int i)
{
    return loop_with(
        (struct loop_options){.flags = LOOP_MODE_IOPOLL | (i == 1 ? (uint32_t)LOOP_MODE_HYBRID_IOPOLL : 0)});
}

/* Of a file system that can poll, or that can't. */
static bool is_answer(int32_t res)
{
    return res == BLOCK || res == 0 || res == -EOPNOTSUPP || res == -EINVAL;
}

/* Goal: a polled ring writes and reads, or says that the file can't; timers and posts work during and after that; the
 * network does not. */
START_TEST(iopoll)
{
    static _Alignas(BLOCK) char out[BLOCK], in[BLOCK];
    struct loop                *loop = polled_loop(_i);
    struct test_log             written = {0}, got = {0}, sent = {0}, log = {0};
    int                         fd, fds[2];

    if (loop == NULL)
        return;
    fd = direct_file();
    if (fd >= 0) {
        memset(out, 'x', sizeof(out));
        ck_assert_int_gt(loop_write(loop, fd, out, BLOCK, 0, test_log_cb, &written, NULL), 0);
        check_posts(loop);
        test_run(loop);
        ck_assert_uint_eq(written.finals, 1);
        ck_assert(is_answer(written.last.res));
        ck_assert_int_gt(loop_read(loop, fd, in, BLOCK, 0, test_log_cb, &got, NULL), 0);
        test_run(loop);
        ck_assert(is_answer(got.last.res));
        ck_assert(got.last.res != BLOCK || written.last.res != BLOCK || memcmp(in, out, BLOCK) == 0);
        test_close(fd);
    }
    test_socketpair(fds);
    ck_assert_int_gt(loop_send(loop, fds[0], "x", 1, 0, test_log_cb, &sent, NULL), 0);
    ck_assert_int_gt(loop_nop(loop, test_log_cb, &log, NULL), 0);
    test_run(loop);
    ck_assert_uint_eq(sent.finals, 1);
    ck_assert(sent.last.res == -EOPNOTSUPP || sent.last.res == -EINVAL);
    test_log_is(&log, 0);
    check_posts(loop);
    check_timers(loop);
    ck_assert_int_eq(loop_dispatch(loop, LOOP_MILLISECOND), 0); /* sleeps, and not for ever */
    test_close(fds[0]);
    test_close(fds[1]);
    test_loop_free(loop);
}
END_TEST

/* Goal: destroying it with operations in flight and before the first run. */
START_TEST(iopoll_destroy)
{
    static _Alignas(BLOCK) char out[BLOCK];
    struct loop                *loop = polled_loop(0);
    uint32_t                    count = 0;
    int                         fd;

    if (loop == NULL)
        return;
    fd = direct_file();
    if (_i == 1)
        test_turns(loop, 1);
    for (uint32_t i = 0; i < 16 && fd >= 0; i++)
        ck_assert_int_gt(loop_write(loop, fd, out, BLOCK, i * BLOCK, NULL, NULL, NULL), 0);
    ck_assert_int_gt(loop_nop(loop, count_cb, &count, NULL), 0);
    if (_i == 1)
        test_turns(loop, 1);
    test_loop_drop(loop);
    if (fd >= 0)
        test_close(fd);
}
END_TEST

/* ---- sizes */

static void resize_cb(struct loop *loop, const struct loop_result *result, void *arg)
{
    uint32_t *count = arg;

    ck_assert_int_eq(result->res, 0);
    if (++*count == 10) {
        ck_assert_int_gt(loop_nop(loop, count_cb, count, NULL), 0); /* queued: moves along */
        ck_assert_int_eq(loop_ring_resize(loop, 64, 512), 0);
        ck_assert_uint_eq(loop_features_get(loop)->sq_entries, 64);
        ck_assert_int_gt(loop_nop(loop, count_cb, count, NULL), 0);
    }
}

static bool can_resize(struct loop *loop)
{
    int r = loop_ring_resize(loop, 0, 0);

    if (r == -EOPNOTSUPP) {
        test_skip("this kernel can't resize rings");
        test_loop_free(loop);
        return false;
    }
    ck_assert_int_eq(r, 0);
    return true;
}

/* Goal: both queues get other sizes, from inside of a callback with operations queued and in flight; nothing is lost.
 */
START_TEST(resize)
{
    static const uint32_t rings[] = {0, LOOP_MODE_SQE128 | LOOP_MODE_CQE32, LOOP_MODE_CQE_MIXED};
    struct loop    *loop = loop_with((struct loop_options){.sq_entries = 8, .cq_entries = 16, .flags = rings[_i]});
    struct test_log log = {0};
    static char     byte;
    uint32_t        count = 0;
    int             fds[2];

    if (loop == NULL)
        return;
    ck_assert_int_eq(loop_ring_resize(loop, 0, 32), -EAGAIN);
    test_turns(loop, 1);
    if (!can_resize(loop))
        return;
    ck_assert_int_eq(loop_ring_resize(loop, 4, 0), -EINVAL);
    ck_assert_int_eq(loop_ring_resize(loop, 65536, 0), -EINVAL);
    ck_assert_int_eq(loop_ring_resize(loop, 64, 32), -EINVAL);
    ck_assert_int_eq(loop_ring_resize(loop, 8, 65537), -EINVAL);
    ck_assert_int_eq(loop_chain_begin(loop, 1, 0), 0);
    ck_assert_int_eq(loop_ring_resize(loop, 0, 32), -EBUSY);
    ck_assert_int_eq(loop_chain_end(loop), 0);
    test_socketpair(fds);
    ck_assert_int_gt(loop_recv(loop, fds[0], &byte, 1, 0, test_log_cb, &log, NULL), 0);
    for (uint32_t round = 0; round < 3; round++) { /* the queues' numbers have gone round */
        count = 0;
        for (uint32_t i = 0; i < 13; i++)
            ck_assert_int_gt(loop_nop(loop, resize_cb, &count, NULL), 0);
        test_run_until(loop, &count, 15);
        ck_assert_uint_eq(loop_features_get(loop)->cq_entries, 512);
        ck_assert_int_eq(loop_ring_resize(loop, 8, 8), 0);
        ck_assert_uint_eq(loop_features_get(loop)->sq_entries, 8);
    }
    test_write(fds[1], "x", 1);
    test_run(loop);
    test_log_is(&log, 1);
    test_close(fds[0]);
    test_close(fds[1]);
    test_loop_free(loop);
}
END_TEST

/* Goal: the CQ grows by itself where it was too small, and all completions come. */
START_TEST(grows)
{
    struct loop *loop =
        loop_with((struct loop_options){.sq_entries = 64, .cq_entries = 64, .flags = LOOP_MODE_CQ_GROWS});
    uint32_t count = 0;

    if (loop == NULL)
        return;
    for (uint32_t round = 0; round < 20; round++) {
        for (uint32_t i = 0; i < 1000; i++)
            ck_assert_int_gt(loop_nop(loop, count_cb, &count, NULL), 0);
        test_run(loop);
        ck_assert_uint_eq(count, 1000 * (round + 1));
    }
    ck_assert_uint_gt(test_stats(loop).cq_overflows, 0);
    ck_assert_uint_ge(loop_features_get(loop)->cq_entries, 1024);
    test_loop_free(loop);
}
END_TEST

/* ---- waiting */

/* Goal: spinning changes nothing but when the loop sleeps; waits without accounting neither. */
START_TEST(spins)
{
    struct loop_options options = {.modes = {.spin_ns = LOOP_MILLISECOND}};
    struct loop        *loop;
    struct test_log     log = {0};
    static char         byte;
    int                 fds[2];

    if (_i == 1)
        options = (struct loop_options){.flags = LOOP_MODE_NO_IOWAIT};
    if (_i == 2)
        options.flags = LOOP_MODE_SQPOLL;
    loop = loop_with(options);
    if (loop == NULL)
        return;
    check_posts(loop);
    check_timers(loop);
    test_socketpair(fds);
    ck_assert_int_gt(loop_recv(loop, fds[0], &byte, 1, 0, test_log_cb, &log, NULL), 0);
    ck_assert_int_eq(loop_dispatch(loop, 3 * LOOP_MILLISECOND), 0);
    test_write(fds[1], "x", 1);
    test_run(loop);
    test_log_is(&log, 1);
    loop_wake(loop);
    ck_assert_int_eq(loop_dispatch(loop, UINT64_MAX), 0); /* ends by the wake */
    test_close(fds[0]);
    test_close(fds[1]);
    test_loop_free(loop);
}
END_TEST

/* Goal: busy polling is set, told, and cleared; connections work with it. */
START_TEST(napi)
{
    struct loop     *loop = loop_with((struct loop_options){.modes = {.napi_busy_poll_us = 30, .napi_prefer = 1}});
    struct loop_napi before = {0};
    struct test_log  log = {0};
    static char      byte;
    int              fds[2];

    if (loop == NULL)
        return;
    ck_assert_int_eq(loop_napi_set(loop, NULL, NULL), -EINVAL);
    test_tcp_pair(fds);
    ck_assert_int_gt(loop_recv(loop, fds[0], &byte, 1, 0, test_log_cb, &log, NULL), 0);
    ck_assert_int_eq(loop_dispatch(loop, LOOP_MILLISECOND), 0);
    test_write(fds[1], "x", 1);
    test_run(loop);
    test_log_is(&log, 1);
    ck_assert_int_eq(loop_napi_set(loop, &(struct loop_napi){.busy_poll_us = 20}, &before), 0);
    ck_assert_uint_eq(before.busy_poll_us, 30);
    ck_assert(before.prefer);
    ck_assert_int_eq(loop_napi_clear(loop, &before), 0);
    ck_assert_uint_eq(before.busy_poll_us, 20);
    ck_assert(!before.prefer);
    test_close(fds[0]);
    test_close(fds[1]);
    test_loop_free(loop);
}
END_TEST

/* ---- workers */

/* Goal: limits of kernel workers, as an option and later; what was before is told. */
START_TEST(workers)
{
    struct loop *loop =
        loop_with((struct loop_options){.modes = {.iowq_bounded_max = 3, .iowq_unbounded_max = 5, .iowq_cpus = 1}});
    uint32_t bounded = 77, unbounded = 77;

    ck_assert_ptr_nonnull(loop);
    ck_assert_int_eq(loop_iowq_workers_set(loop, 1, 1, &bounded, &unbounded), -EAGAIN);
    ck_assert_int_eq(loop_iowq_affinity_clear(loop), -EAGAIN);
    ck_assert_uint_eq(bounded, 77);
    test_turns(loop, 1);
    ck_assert_int_eq(loop_iowq_workers_set(loop, 0, 0, &bounded, &unbounded), 0);
    ck_assert_uint_eq(bounded, 3);
    ck_assert_uint_eq(unbounded, 5);
    ck_assert_int_eq(loop_iowq_workers_set(loop, 2, 0, NULL, NULL), 0);
    ck_assert_int_eq(loop_iowq_workers_set(loop, 0, 0, &bounded, &unbounded), 0);
    ck_assert_uint_eq(bounded, 2);
    ck_assert_uint_eq(unbounded, 5);
    ck_assert_int_eq(loop_iowq_workers_set(loop, UINT32_MAX, 0, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_iowq_affinity_set(loop, NULL, 8), -EINVAL);
    ck_assert_int_eq(loop_iowq_affinity_set(loop, &(uint64_t){1}, sizeof(uint64_t)), 0);
    ck_assert_int_eq(loop_iowq_affinity_clear(loop), 0);
    test_loop_free(loop);
}
END_TEST

/* ---- credentials */

static void open_as(struct loop *loop, const char *path, int personality, struct test_log *log)
{
    ck_assert_int_gt(loop_openat(loop, AT_FDCWD, path, O_RDONLY, 0, test_log_cb, log,
                                 LOOP_TERMS(.personality = (uint16_t)personality)),
                     0);
    test_run(loop);
    ck_assert_uint_eq(log->finals, 1);
}

/* Goal: an operation under registered credentials may do what those may. Method: as root; nobody can't open a file of
 * root's, though the loop can. */
START_TEST(personality)
{
    struct loop    *loop;
    struct test_log as_root = {0}, as_nobody = {0}, gone = {0};
    char            path[] = "/tmp/ringloop-mode-XXXXXX";
    int             fd, id;

    if (geteuid() != 0) {
        test_skip("not root");
        return;
    }
    fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fchmod(fd, 0600), 0);
    test_close(fd);
    loop = test_loop_new(NULL);
    test_turns(loop, 1);
    ck_assert_int_eq(seteuid(65534), 0);
    id = loop_personality_register(loop);
    ck_assert_int_eq(seteuid(0), 0);
    ck_assert_int_gt(id, 0);
    open_as(loop, path, 0, &as_root);
    ck_assert_int_ge(as_root.last.res, 0);
    test_close(as_root.last.res);
    open_as(loop, path, id, &as_nobody);
    ck_assert_int_eq(as_nobody.last.res, -EACCES);
    ck_assert_int_eq(loop_personality_unregister(loop, id), 0);
    ck_assert_int_eq(loop_personality_unregister(loop, id), -EINVAL);
    ck_assert_int_eq(loop_personality_unregister(loop, 0), -EINVAL);
    open_as(loop, path, id, &gone);
    ck_assert_int_eq(gone.last.res, -EINVAL);
    ck_assert_int_eq(unlink(path), 0);
    test_loop_free(loop);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("mode");
    TCase *tcase = test_case(suite, "mode");

    tcase_add_test(tcase, bad_combinations);
    tcase_add_test(tcase, sqpoll_nops);
    tcase_add_test(tcase, sqpoll_wakes);
    tcase_add_test(tcase, sqpoll_copies);
    tcase_add_loop_test(tcase, sqpoll_services, 0, 2);
    tcase_add_loop_test(tcase, iopoll, 0, 2);
    tcase_add_loop_test(tcase, iopoll_destroy, 0, 2);
    tcase_add_loop_test(tcase, resize, 0, 3);
    tcase_add_test(tcase, grows);
    tcase_add_loop_test(tcase, spins, 0, 3);
    tcase_add_test(tcase, napi);
    tcase_add_test(tcase, workers);
    tcase_add_test(tcase, personality);
    return suite;
}
