/* tests/loop/sendfile_test.c: a stretch of a file to a socket, pipe or file. */
#include "tests/support/test.h"

#include <fcntl.h>
#include <pthread.h>

enum { FILE_BYTES = 1000003 };

static struct loop *loop;
static char        *content;
static int          file, pair[2];

static void setup(void)
{
    char     path[] = "sendfile_test.XXXXXX"; /* in the build directory, which is on a real file system */
    uint64_t seed = test_env("TEST_SEED", 1);

    loop = test_loop_new(NULL);
    content = malloc(FILE_BYTES);
    for (size_t i = 0; i < FILE_BYTES; i++)
        content[i] = (char)test_random(&seed);
    file = mkstemp(path);
    ck_assert_int_ge(file, 0);
    unlink(path);
    test_write(file, content, FILE_BYTES);
    test_socketpair(pair);
}

static void teardown(void)
{
    test_loop_free(loop);
    test_close(file);
    test_close(pair[0]);
    test_close(pair[1]);
    free(content);
}

struct outcome {
    uint32_t calls;
    uint64_t sent;
    int      error;
};

static void note(struct loop_transfer *transfer, uint64_t sent, int error)
{
    struct outcome *outcome = transfer->data;

    outcome->calls++;
    outcome->sent = sent;
    outcome->error = error;
}

/* A peer that takes it all in another thread, bounded by the end of the stream. */
struct taker {
    pthread_t thread;
    int       fd;
    char     *bytes;
    size_t    size;
};

static void *take(void *arg)
{
    struct taker *taker = arg;
    ssize_t       got;

    while (taker->size < FILE_BYTES && (got = read(taker->fd, taker->bytes + taker->size, 30011)) > 0)
        taker->size += (size_t)got;
    return NULL;
}

static void taker_start(struct taker *taker, int fd)
{
    *taker = (struct taker){.fd = fd, .bytes = malloc(FILE_BYTES + 30011)};
    ck_assert_int_eq(pthread_create(&taker->thread, NULL, take, taker), 0);
}

static void taker_check(struct taker *taker, const char *expected, size_t size)
{
    ck_assert_int_eq(shutdown(pair[0], SHUT_WR), 0);
    ck_assert_int_eq(pthread_join(taker->thread, NULL), 0);
    ck_assert_uint_eq(taker->size, size);
    ck_assert(memcmp(taker->bytes, expected, size) == 0);
    free(taker->bytes);
}

/* Goal: exactly the stretch asked for arrives. Method: whole, parts, beyond the end, by position. */
static const struct {
    int64_t  offset;
    uint64_t count, sent;
} stretches[] = {
    {0, UINT64_MAX, FILE_BYTES}, {0, FILE_BYTES, FILE_BYTES}, {0, 1, 1},
    {1, 65536, 65536},           {65535, 65537, 65537},       {12345, 131072, 131072},
    {FILE_BYTES - 3, 100, 3},    {FILE_BYTES, 100, 0},
};

START_TEST(stretch)
{
    struct outcome       outcome = {0};
    struct loop_transfer transfer = {.data = &outcome};
    struct taker         taker;

    taker_start(&taker, pair[1]);
    ck_assert_int_eq(
        loop_sendfile(loop, &transfer, pair[0], file, stretches[_i].offset, stretches[_i].count, NULL, note), 0);
    ck_assert_int_eq(loop_sendfile(loop, &transfer, pair[0], file, 0, 1, NULL, note), -EBUSY);
    ck_assert_uint_eq(outcome.calls, 0);
    test_run(loop);
    ck_assert_uint_eq(outcome.calls, 1);
    ck_assert_int_eq(outcome.error, 0);
    ck_assert_uint_eq(outcome.sent, stretches[_i].sent);
    taker_check(&taker, content + stretches[_i].offset, stretches[_i].sent);
}
END_TEST

START_TEST(by_position)
{
    struct outcome       outcome = {0};
    struct loop_transfer transfer = {.data = &outcome};
    struct taker         taker;

    taker_start(&taker, pair[1]);
    ck_assert_int_eq(lseek(file, 1000, SEEK_SET), 1000);
    ck_assert_int_eq(loop_sendfile(loop, &transfer, pair[0], file, LOOP_AT_POSITION, 200000, NULL, note), 0);
    test_run(loop);
    ck_assert_uint_eq(outcome.sent, 200000);
    ck_assert_int_eq(lseek(file, 0, SEEK_CUR), 201000);
    taker_check(&taker, content + 1000, 200000);
}
END_TEST

/* Goal: what is no socket is written to. Method: another file. */
START_TEST(to_a_file)
{
    struct outcome       outcome = {0};
    struct loop_transfer transfer = {.data = &outcome};
    char                 path[] = "sendfile_test.XXXXXX", *copy = malloc(FILE_BYTES);
    int                  target = mkstemp(path);

    unlink(path);
    ck_assert_int_eq(loop_sendfile(loop, &transfer, target, file, 0, UINT64_MAX, NULL, note), 0);
    test_run(loop);
    ck_assert_int_eq(outcome.error, 0);
    ck_assert_uint_eq(outcome.sent, FILE_BYTES);
    ck_assert_int_eq(pread(target, copy, FILE_BYTES, 0), FILE_BYTES);
    ck_assert(memcmp(copy, content, FILE_BYTES) == 0);
    test_close(target);
    free(copy);
}
END_TEST

/* Goal: a peer that does not read: cancel (0), the deadline (1), the end of the loop (2) or the end of the peer (3) end
 * it once, with what has left. */
START_TEST(stuck)
{
    static const int     errors[] = {-ECANCELED, -ETIMEDOUT, -ECANCELED, -EPIPE};
    struct outcome       outcome = {0};
    struct loop_transfer transfer = {.data = &outcome};
    struct loop         *other = test_loop_new(NULL);
    int                  fds[2];

    test_socketpair(fds);
    ck_assert_int_eq(loop_sendfile(other, &transfer, fds[0], file, 0, UINT64_MAX,
                                   &(struct loop_sendfile_options){.timeout_ns = _i == 1 ? 5 * LOOP_MILLISECOND : 0},
                                   note),
                     0);
    test_turns(other, 20);
    ck_assert(outcome.calls == 0 || _i == 1);
    if (_i == 0) {
        loop_sendfile_cancel(&transfer);
        loop_sendfile_cancel(&transfer);
        ck_assert_uint_eq(outcome.calls, 0);
    }
    if (_i == 2)
        test_loop_drop(other);
    if (_i == 3)
        test_close(fds[1]);
    if (_i != 2) {
        test_run(other);
        test_loop_free(other);
    }
    ck_assert_uint_eq(outcome.calls, 1);
    ck_assert_int_eq(outcome.error, errors[_i]);
    ck_assert_uint_lt(outcome.sent, FILE_BYTES);
    loop_sendfile_cancel(&transfer); /* not in use: nothing */
    test_close(fds[0]);
    if (_i != 3)
        test_close(fds[1]);
}
END_TEST

/* Goal: errors of reading come, after what was read before has left. Method: a directory; bad arguments; no memory. */
START_TEST(errors)
{
    struct outcome       outcome = {0};
    struct loop_transfer transfer = {.data = &outcome};
    int                  directory = open(".", O_RDONLY | O_DIRECTORY);

    ck_assert_int_eq(loop_sendfile(loop, &transfer, pair[0], directory, 0, 10, NULL, note), 0);
    test_run(loop);
    ck_assert_uint_eq(outcome.calls, 1);
    ck_assert_int_eq(outcome.error, -EISDIR);
    ck_assert_uint_eq(outcome.sent, 0);
    test_close(directory);
    ck_assert_int_eq(loop_sendfile(loop, NULL, pair[0], file, 0, 10, NULL, note), -EINVAL);
    ck_assert_int_eq(loop_sendfile(loop, &transfer, pair[0], file, 0, 10, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_sendfile(loop, &transfer, pair[0], file, 0, 0, NULL, note), -EINVAL);
    ck_assert_int_eq(loop_sendfile(loop, &transfer, pair[0], file, -2, 10, NULL, note), -EINVAL);
    ck_assert_int_eq(loop_sendfile(loop, &transfer, -1, file, 0, 10, NULL, note), -EBADF);
    ck_assert_int_eq(loop_sendfile(loop, &transfer, pair[0], -1, 0, 10, NULL, note), -EBADF);
    ck_assert_int_eq(
        loop_sendfile(loop, &transfer, pair[0], file, 0, 10, &(struct loop_sendfile_options){.flags = 1}, note),
        -EINVAL);
    test_memory.fail_from = test_memory.calls + 1;
    ck_assert_int_eq(loop_sendfile(loop, &transfer, pair[0], file, 0, 10, NULL, note), -ENOMEM);
    test_memory.fail_from = 0;
    test_run(loop);
    ck_assert_uint_eq(outcome.calls, 1);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("sendfile");
    TCase *tcase = test_case(suite, "sendfile");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, stretch, 0, (int)TEST_COUNT(stretches));
    tcase_add_test(tcase, by_position);
    tcase_add_test(tcase, to_a_file);
    tcase_add_loop_test(tcase, stuck, 0, 4);
    tcase_add_test(tcase, errors);
    return suite;
}
