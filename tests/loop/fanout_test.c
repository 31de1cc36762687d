/* tests/loop/fanout_test.c: one payload to many sockets and files, over the real kernel. */
#include "tests/support/test.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>

enum { TARGETS_MOST = 1000, PAYLOAD_MOST = 1 << 20 };

static struct loop *loop;
static int          ours[TARGETS_MOST], theirs[TARGETS_MOST];
static uint32_t     open_count;
static int32_t      results[TARGETS_MOST];
static uint8_t      payload[PAYLOAD_MOST], in[PAYLOAD_MOST];

static struct loop_fanout        fanout;
static struct loop_fanout_result last;
static uint32_t                  calls;

static void done(struct loop_fanout *f, const struct loop_fanout_result *result)
{
    ck_assert_ptr_eq(f, &fanout);
    ck_assert(!loop_fanout_active(f));
    ck_assert_int_eq(loop_fanout_cancel(f), -ENOENT);
    last = *result;
    calls++;
}

static void setup(void)
{
    struct rlimit limit;
    uint64_t      seed = 2;

    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max < 4000 ? limit.rlim_max : 4000;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    loop = test_loop_new(&(struct loop_options){.sq_entries = 64});
    test_turns(loop, 1);
    for (size_t i = 0; i < sizeof(payload); i++)
        payload[i] = (uint8_t)test_random(&seed);
    for (uint32_t i = 0; i < TARGETS_MOST; i++)
        results[i] = INT32_MIN;
}

static void teardown(void)
{
    test_loop_free(loop);
    for (uint32_t i = 0; i < open_count; i++) {
        if (ours[i] >= 0)
            test_close(ours[i]);
        if (theirs[i] >= 0)
            test_close(theirs[i]);
    }
}

static void open_pairs(uint32_t count, bool tcp)
{
    for (; open_count < count; open_count++) {
        int fds[2];

        if (tcp)
            test_tcp_pair(fds);
        else
            test_socketpair(fds);
        ours[open_count] = fds[0];
        theirs[open_count] = fds[1];
    }
}

static void peer_has(uint32_t i, size_t size)
{
    memset(in, 0, size);
    test_read(theirs[i], in, size);
    ck_assert_int_eq(memcmp(in, payload, size), 0);
    ck_assert_int_eq(recv(theirs[i], in, 1, MSG_DONTWAIT), -1);
}

/* Goal: every target gets the whole payload, and the counts are right. Method: 1 to 1000 pairs: unix, which AUTO copies
 * to, unix by copying, tcp by zero-copy. */
START_TEST(all_get_it)
{
    static const uint32_t counts[] = {1, 2, 10, 100, TARGETS_MOST};
    static const uint32_t modes[] = {LOOP_FANOUT_AUTO, LOOP_FANOUT_COPY, LOOP_FANOUT_ZERO_COPY};
    const size_t          size = 3000;

    for (size_t c = 0; c < TEST_COUNT(counts); c++) {
        const struct loop_fanout_options options = {.mode = modes[_i], .results = results};
        uint32_t                         count = counts[c];

        open_pairs(count, _i == 2);
        calls = 0;
        ck_assert_int_eq(loop_fanout_send(loop, &fanout, ours, count, payload, size, &options, done), 0);
        ck_assert_uint_eq(calls, 0);
        ck_assert(loop_fanout_active(&fanout));
        test_run(loop);
        ck_assert_uint_eq(calls, 1);
        ck_assert_uint_eq(last.succeeded, count);
        ck_assert_uint_eq(last.failed, 0);
        ck_assert_uint_eq(last.bytes, count * size);
        ck_assert_int_eq(last.error, 0);
        ck_assert_uint_eq(last.zero_copy, _i == 2 ? count : 0);
        ck_assert_uint_le(last.copied, last.zero_copy);
        for (uint32_t i = 0; i < count; i++) {
            ck_assert_int_eq(results[i], (int)size);
            peer_has(i, size);
        }
    }
}
END_TEST

/* Goal: AUTO uses zero-copy for what is large, and copies where a socket refuses it. Method: unix and tcp pairs, more
 * than a socket takes at once, so that peers read meanwhile. */
START_TEST(auto_falls_back)
{
    const size_t    size = 400000;
    struct test_log received[6];
    static uint8_t  got[6][400000];

    open_pairs(3, true);
    open_pairs(6, false);
    memset(received, 0, sizeof(received));
    for (uint32_t i = 0; i < 6; i++)
        ck_assert_int_gt(loop_recv(loop, theirs[i], got[i], size, MSG_WAITALL, test_log_cb, &received[i], NULL), 0);
    ck_assert_int_eq(loop_fanout_send(loop, &fanout, ours, 6, payload, size, NULL, done), 0);
    test_run(loop);
    ck_assert_uint_eq(calls, 1);
    ck_assert_uint_eq(last.succeeded, 6);
    ck_assert_uint_le(last.zero_copy, 3);
    if (geteuid() == 0) /* for others RLIMIT_MEMLOCK may be too little, and then it is copied */
        ck_assert_uint_eq(last.zero_copy, 3);
    for (uint32_t i = 0; i < 6; i++) {
        test_log_is(&received[i], (int)size);
        ck_assert_int_eq(memcmp(got[i], payload, size), 0);
    }
    /* Asked for by name there is no falling back. */
    ck_assert_int_eq(loop_fanout_send(loop, &fanout, ours + 3, 3, payload, 100,
                                      &(struct loop_fanout_options){.mode = LOOP_FANOUT_ZERO_COPY}, done),
                     0);
    test_run(loop);
    ck_assert_uint_eq(last.failed, 3);
    ck_assert_int_eq(last.error, -EOPNOTSUPP);
}
END_TEST

/* Goal: targets that fail make no difference to the others. Method: peers that are gone, a descriptor that is; in both
 * modes. */
START_TEST(some_fail)
{
    const struct loop_fanout_options options = {.mode = _i == 0 ? LOOP_FANOUT_COPY : LOOP_FANOUT_ZERO_COPY,
                                                .results = results};
    int                              gone;

    open_pairs(40, _i == 1);
    for (uint32_t i = 0; i < 40; i += 10) {
        ck_assert_int_eq(shutdown(ours[i], SHUT_WR), 0);
        test_close(theirs[i]);
        theirs[i] = -1;
    }
    gone = ours[5];
    test_close(gone);
    ck_assert_int_eq(loop_fanout_send(loop, &fanout, ours, 40, payload, 2000, &options, done), 0);
    test_run(loop);
    ours[5] = -1;
    ck_assert_uint_eq(calls, 1);
    ck_assert_uint_eq(last.succeeded, 35);
    ck_assert_uint_eq(last.failed, 5);
    ck_assert_uint_eq(last.bytes, 35 * 2000);
    ck_assert(last.error == -EPIPE || last.error == -EBADF || last.error == -ECONNRESET);
    for (uint32_t i = 0; i < 40; i++) {
        if (i == 5)
            ck_assert_int_eq(results[i], -EBADF);
        else if (i % 10 == 0)
            ck_assert_int_eq(results[i], -EPIPE);
        else
            peer_has(i, 2000);
    }
}
END_TEST

static void fill(int fd)
{
    while (send(fd, payload, sizeof(payload), MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
        ;
    while (send(fd, payload, 1, MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
        ;
}

/* Goal: a deadline and a cancel end what has no result, and only that; what a target took is told. Method: of eight
 * pairs one is full, one takes a part. */
START_TEST(full_targets)
{
    struct loop_fanout_options options = {.results = results, .mode = LOOP_FANOUT_COPY};
    const size_t               size = 50000;
    bool                       by_deadline = _i == 0;
    int                        expected = by_deadline ? -ETIMEDOUT : -ECANCELED;

    open_pairs(8, false);
    for (uint32_t i = 0; i < 8; i++)
        ck_assert_int_eq(setsockopt(ours[i], SOL_SOCKET, SO_SNDBUF, &(int){150000}, sizeof(int)), 0);
    fill(ours[2]);
    ck_assert_int_eq(setsockopt(ours[6], SOL_SOCKET, SO_SNDBUF, &(int){20000}, sizeof(int)), 0);
    if (by_deadline)
        options.timeout_ns = 30 * LOOP_MILLISECOND;
    ck_assert_int_eq(loop_fanout_send(loop, &fanout, ours, 8, payload, size, &options, done), 0);
    test_turns(loop, 5);
    ck_assert_uint_eq(calls, 0);
    if (!by_deadline) {
        ck_assert_int_eq(loop_fanout_cancel(&fanout), 0);
        ck_assert_int_eq(loop_fanout_cancel(&fanout), 0);
        ck_assert_uint_eq(calls, 0);
    }
    test_run(loop);
    ck_assert_uint_eq(calls, 1);
    ck_assert_uint_eq(last.succeeded, 6);
    ck_assert_uint_eq(last.failed, 2);
    ck_assert_int_eq(last.error, expected);
    ck_assert_int_eq(results[2], expected);
    ck_assert(results[6] > 0 && results[6] < (int)size);
    ck_assert_uint_eq(last.bytes, 6 * size + (size_t)results[6]);
    peer_has(6, (size_t)results[6]);
    for (uint32_t i = 0; i < 8; i++)
        if (i != 2 && i != 6)
            peer_has(i, size);
    ck_assert_uint_eq(test_stats(loop).deadlines_passed, by_deadline ? 1 : 0);
}
END_TEST

/* Goal: a deadline that is not reached leaves nothing behind, and the structure is good for another round, from inside
 * its own callback, too. */
static uint32_t rounds;

static void again(struct loop_fanout *f, const struct loop_fanout_result *result)
{
    ck_assert_uint_eq(result->succeeded, 3);
    if (++rounds < 50)
        ck_assert_int_eq(loop_fanout_send(loop, f, ours, 3, payload, 10,
                                          &(struct loop_fanout_options){.timeout_ns = LOOP_SECOND}, again),
                         0);
}

START_TEST(round_after_round)
{
    open_pairs(3, false);
    ck_assert_int_eq(loop_fanout_send(loop, &fanout, ours, 3, payload, 10,
                                      &(struct loop_fanout_options){.timeout_ns = LOOP_SECOND}, again),
                     0);
    test_run(loop);
    ck_assert_uint_eq(rounds, 50);
    ck_assert_uint_eq(test_stats(loop).deadlines_passed, 0);
}
END_TEST

/* ---- files */

enum { FILES = 20 };

/* Goal: every file has the payload at its offset, and nothing else. Method: files in memory, of 20 one cannot be
 * written. */
START_TEST(files_written)
{
    struct loop_fanout_file files[FILES];
    const size_t            size = 70000;

    for (uint32_t i = 0; i < FILES; i++) {
        files[i] = (struct loop_fanout_file){.fd = memfd_create("fanout", MFD_CLOEXEC), .offset = i * 1000};
        ck_assert_int_ge(files[i].fd, 0);
    }
    test_close(files[7].fd);
    files[7].fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    ck_assert_int_ge(files[7].fd, 0);
    ck_assert_int_eq(lseek(files[3].fd, 500, SEEK_SET), 500);
    files[3].offset = LOOP_AT_POSITION;
    ck_assert_int_eq(loop_fanout_write(loop, &fanout, files, FILES, payload, size,
                                       &(struct loop_fanout_options){.results = results}, done),
                     0);
    test_run(loop);
    ck_assert_uint_eq(calls, 1);
    ck_assert_uint_eq(last.succeeded, FILES - 1);
    ck_assert_uint_eq(last.failed, 1);
    ck_assert_int_eq(last.error, -EBADF);
    ck_assert_int_eq(results[7], -EBADF);
    for (uint32_t i = 0; i < FILES; i++) {
        off_t offset = i == 3 ? 500 : (off_t)files[i].offset;

        if (i != 7) {
            ck_assert_int_eq(lseek(files[i].fd, 0, SEEK_END), offset + (off_t)size);
            ck_assert_int_eq(pread(files[i].fd, in, sizeof(in), offset), (int)size);
            ck_assert_int_eq(memcmp(in, payload, size), 0);
        }
        test_close(files[i].fd);
    }
}
END_TEST

/* Goal: what takes a part only is gone on with, until the error shows. Method: a limit on the size of files. */
START_TEST(file_takes_a_part)
{
    char                    path[] = "/tmp/fanout_test_XXXXXX";
    struct loop_fanout_file file = {.fd = mkstemp(path), .offset = 1000};
    struct rlimit           limit;

    ck_assert_int_ge(file.fd, 0);
    ck_assert_int_eq(unlink(path), 0);
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = 5000;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    ck_assert_int_eq(loop_fanout_write(loop, &fanout, &file, 1, payload, 10000,
                                       &(struct loop_fanout_options){.results = results}, done),
                     0);
    test_run(loop);
    limit.rlim_cur = limit.rlim_max;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    ck_assert_uint_eq(last.failed, 1);
    ck_assert_int_eq(last.error, -EFBIG);
    ck_assert_int_eq(results[0], 4000);
    ck_assert_uint_eq(last.bytes, 4000);
    test_close(file.fd);
}
END_TEST

/* ---- limits and life */

/* Goal: what makes no sense, or has no room, is refused before anything is started. */
START_TEST(refused)
{
    struct loop_fanout_file file = {.fd = 1};
    struct loop            *small;

    open_pairs(3, false);
    ck_assert_int_eq(loop_fanout_send(loop, NULL, ours, 3, payload, 1, NULL, done), -EINVAL);
    ck_assert_int_eq(loop_fanout_send(loop, &fanout, NULL, 3, payload, 1, NULL, done), -EINVAL);
    ck_assert_int_eq(loop_fanout_send(loop, &fanout, ours, 0, payload, 1, NULL, done), -EINVAL);
    ck_assert_int_eq(loop_fanout_send(loop, &fanout, ours, 3, NULL, 1, NULL, done), -EINVAL);
    ck_assert_int_eq(loop_fanout_send(loop, &fanout, ours, 3, payload, 0, NULL, done), -EINVAL);
    ck_assert_int_eq(loop_fanout_send(loop, &fanout, ours, 3, payload, (size_t)1 << 31, NULL, done), -EINVAL);
    ck_assert_int_eq(
        loop_fanout_send(loop, &fanout, ours, 3, payload, 1, &(struct loop_fanout_options){.flags = 4}, done), -EINVAL);
    ck_assert_int_eq(
        loop_fanout_send(loop, &fanout, ours, 3, payload, 1, &(struct loop_fanout_options){.mode = 3}, done), -EINVAL);
    ck_assert_int_eq(loop_fanout_send(loop, &fanout, ours, 3, payload, 1,
                                      &(struct loop_fanout_options){.flags = LOOP_FANOUT_FIXED, .buf_index = -1}, done),
                     -EINVAL);
    ck_assert_int_eq(
        loop_fanout_send(loop, &fanout, ours, 3, payload, 1, &(struct loop_fanout_options){.release = 99}, done),
        -EINVAL);
    file.offset = -2;
    ck_assert_int_eq(loop_fanout_write(loop, &fanout, &file, 1, payload, 1, NULL, done), -EINVAL);
    file.offset = 0;
    ck_assert_int_eq(loop_fanout_write(loop, &fanout, &file, 1, payload, 1,
                                       &(struct loop_fanout_options){.mode = LOOP_FANOUT_COPY}, done),
                     -EINVAL);
    ck_assert_int_eq(loop_fanout_send(loop, &fanout, (const int[]){ours[0], -1}, 2, payload, 1, NULL, done), -EBADF);
    ck_assert_int_eq(loop_fanout_cancel(&fanout), -ENOENT);

    small = test_loop_new(&(struct loop_options){.ops_max = 4});
    open_pairs(5, false);
    ck_assert_int_eq(loop_fanout_send(small, &fanout, ours, 5, payload, 1, NULL, done), -ENOBUFS);
    ck_assert_uint_eq(test_stats(small).ops_full, 1);
    ck_assert_uint_eq(test_stats(small).ops_started, 0);
    ck_assert_int_eq(loop_fanout_send(small, &fanout, ours, 4, payload, 1, NULL, done), 0);
    ck_assert_int_eq(loop_fanout_send(small, &fanout, ours, 4, payload, 1, NULL, done), -EBUSY);
    test_run(small);
    ck_assert_uint_eq(calls, 1);
    ck_assert_uint_eq(last.succeeded, 4);
    test_loop_free(small);
}
END_TEST

/* Goal: without memory either nothing happens or the missing targets are told. Method: every allocation fails once;
 * before the first run, so that SQEs have to be queued. */
START_TEST(memory_runs_out)
{
    bool failed = true;

    open_pairs(200, false);
    for (uint64_t nth = 1; failed; nth++) {
        struct loop *fresh = test_loop_new(&(struct loop_options){.sq_entries = 8});
        int          r;

        ck_assert_uint_lt(nth, 100);
        test_memory.failed = 0;
        test_memory.fail_at = test_memory.calls + nth;
        calls = 0;
        r = loop_fanout_send(fresh, &fanout, ours, 200, payload, 1, NULL, done);
        failed = test_memory.failed > 0;
        test_memory.fail_at = 0;
        test_run(fresh);
        if (r == 0) {
            ck_assert_uint_eq(calls, 1);
            ck_assert_uint_eq(last.succeeded + last.failed, 200);
            ck_assert_int_eq(last.error, last.failed > 0 ? -ENOMEM : 0);
            ck_assert(failed || last.failed == 0);
        } else {
            ck_assert_int_eq(r, -ENOMEM);
            ck_assert_uint_eq(calls, 0);
            ck_assert(!loop_fanout_active(&fanout));
        }
        test_loop_free(fresh);
    }
}
END_TEST

/* Goal: the end of the loop ends it: one callback, before loop_destroy() returns. Method: full pairs. */
START_TEST(destroyed)
{
    open_pairs(5, false);
    for (uint32_t i = 0; i < 5; i++)
        fill(ours[i]);
    ck_assert_int_eq(loop_fanout_send(loop, &fanout, ours, 5, payload, 50000,
                                      &(struct loop_fanout_options){.timeout_ns = 3600 * LOOP_SECOND}, done),
                     0);
    test_turns(loop, 2);
    test_loop_drop(loop);
    loop = test_loop_new(NULL);
    ck_assert_uint_eq(calls, 1);
    ck_assert_uint_eq(last.failed, 5);
    ck_assert_int_eq(last.error, -ECANCELED);
}
END_TEST

/* Goal: an open chain is left alone; a background fan-out does not keep the loop alive. */
START_TEST(chain_and_background)
{
    struct test_log nop = {0};

    open_pairs(4, false);
    ck_assert_int_eq(loop_chain_begin(loop, 1, 0), 0);
    ck_assert_int_eq(loop_fanout_send(loop, &fanout, ours, 4, payload, 100, NULL, done), 0);
    ck_assert_int_gt(loop_nop(loop, test_log_cb, &nop, NULL), 0);
    ck_assert_int_eq(loop_chain_end(loop), 0);
    test_run(loop);
    ck_assert_uint_eq(last.succeeded, 4);
    test_log_is(&nop, 0);

    fill(ours[0]);
    ck_assert_int_eq(loop_fanout_send(loop, &fanout, ours, 1, payload, 100000,
                                      &(struct loop_fanout_options){.flags = LOOP_FANOUT_BACKGROUND}, done),
                     0);
    ck_assert(!loop_alive(loop));
    ck_assert_int_eq(loop_fanout_cancel(&fanout), 0);
    test_run_until(loop, &calls, 1);
    for (int i = 0; calls < 2 && i < 1000; i++) {
        test_turns(loop, 1);
        test_sleep(LOOP_MILLISECOND);
    }
    ck_assert_uint_eq(calls, 2);
}
END_TEST

/* Goal: a received buffer goes to many, and back when all have it. */
static void relayed(struct loop_fanout *f, const struct loop_fanout_result *result)
{
    done(f, result);
    ck_assert_uint_eq(test_stats(loop).buffers_lent, 1); /* gone back after the callback */
}

static void relay(struct loop *l, const struct loop_result *result, void *arg)
{
    (void)arg;
    if (result->res > 0)
        ck_assert_int_eq(loop_fanout_send(l, &fanout, ours + 1, 3, result->data, (size_t)result->res,
                                          &(struct loop_fanout_options){.release = result->buffer}, relayed),
                         0);
}

START_TEST(buffer_released)
{
    loop_id id;

    open_pairs(4, false);
    id = loop_recv_multishot(loop, ours[0], 0, 0, relay, NULL, NULL);
    ck_assert_int_gt(id, 0);
    test_write(theirs[0], payload, 5000);
    test_run_until(loop, &calls, 1);
    ck_assert_uint_eq(last.succeeded, 3);
    test_turns(loop, 1);
    ck_assert_uint_eq(test_stats(loop).buffers_lent, 0);
    for (uint32_t i = 1; i < 4; i++)
        peer_has(i, 5000);
    ck_assert_int_eq(loop_cancel(loop, id), 0);
    test_run(loop);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("fanout");
    TCase *tcase = test_case(suite, "fanout");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, all_get_it, 0, 3);
    tcase_add_test(tcase, auto_falls_back);
    tcase_add_loop_test(tcase, some_fail, 0, 2);
    tcase_add_loop_test(tcase, full_targets, 0, 2);
    tcase_add_test(tcase, round_after_round);
    tcase_add_test(tcase, files_written);
    tcase_add_test(tcase, file_takes_a_part);
    tcase_add_test(tcase, refused);
    tcase_add_test(tcase, memory_runs_out);
    tcase_add_test(tcase, destroyed);
    tcase_add_test(tcase, chain_and_background);
    tcase_add_test(tcase, buffer_released);
    return suite;
}
