/* tests/net/stream_write_fault_test.c: all ways of writing where memory runs out: each allocation in turn fails once.
 */
#include "tests/net/net_test.h"

#include <sys/mman.h>

enum { SIZE = 60000, ALLOCATIONS_MAX = 500 };

static uint8_t  data[SIZE];
static uint32_t started, ended;
static uint64_t taken;

static void counted_cb(struct loop_stream *stream, int error, size_t bytes, void *arg)
{
    (void)stream;
    callback_enter();
    ck_assert(error == 0 || error == -ECANCELED || error == -ENOMEM);
    ck_assert_uint_le(bytes, (size_t)(uintptr_t)arg);
    ck_assert(error != 0 || bytes == (size_t)(uintptr_t)arg);
    taken += bytes;
    ended++;
}

/* One way of writing the first size bytes of data; what is refused for want of memory is not done. */
static void write_somehow(struct loop_stream *stream, uint32_t way, int file)
{
    static const size_t           sizes[] = {10, 3000, 20000, SIZE};
    size_t                        size = sizes[way / 3 % TEST_COUNT(sizes)];
    struct iovec                  halves[2] = {{data, size / 2}, {data + size / 2, size - size / 2}};
    const struct loop_write_terms copy = {.flags = LOOP_WRITE_COPY};
    int                           r;

    switch (way % 4) {
    case 0: r = CALL(loop_stream_write(stream, data, size, counted_cb, (void *)size, NULL)); break;
    case 1: r = CALL(loop_stream_writev(stream, halves, 2, counted_cb, (void *)size, &copy)); break;
    case 2: r = CALL(loop_stream_writev(stream, halves, 2, counted_cb, (void *)size, NULL)); break;
    default: r = CALL(loop_stream_sendfile(stream, file, 0, size, counted_cb, (void *)size, NULL)); break;
    }
    ck_assert(r == 0 || r == -ENOMEM);
    started += r == 0;
}

static uint64_t swallow(int fd)
{
    static char bytes[65536];
    uint64_t    sum = 0;
    ssize_t     n;

    while ((n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
        sum += (uint64_t)n;
    return sum;
}

/* Goal: whatever cannot be had, what was accepted ends once, the peer gets as many bytes as the callbacks say, and
 * nothing is left over. Method: writes in every way, with cancels, zero-copy and marks, while the nth allocation fails.
 */
START_TEST(each_allocation_fails)
{
    const struct loop_stream_options options = {.zero_copy_min = 15000, .write_high = 50000, .write_low = 1000};

    for (uint64_t nth = 1, failed; nth < ALLOCATIONS_MAX; nth++) {
        struct loop *loop = test_loop_new(NULL);
        int          file = memfd_create("stream_write_fault", MFD_CLOEXEC);
        uint64_t     received = 0;
        struct link  link;

        ck_assert_int_eq(pwrite(file, data, SIZE, 0), SIZE);
        started = ended = 0;
        taken = 0;
        link_open(loop, &link, _i, 1, &options);
        failed = test_memory.failed;
        test_memory.fail_at = test_memory.calls + nth;
        for (uint32_t way = 0; way < 24; way++) {
            write_somehow(&link.end.stream, way, file);
            if (way % 5 == 4)
                test_turns(loop, 1);
            if (way % 7 == 6)
                ck_assert_int_ge(loop_stream_write_cancel(&link.end.stream, (void *)3000), 0);
            received += swallow(link.peer.fd);
        }
        pump_until(loop, (received += swallow(link.peer.fd), ended == started));
        test_memory.fail_at = 0;
        pump_until(loop, (received += swallow(link.peer.fd), received >= taken));
        ck_assert_uint_eq(received, taken);
        ck_assert_uint_eq(loop_stream_queued(&link.end.stream), 0);
        link_close(loop, &link);
        test_close(file);
        test_loop_free(loop);
        if (test_memory.failed == failed)
            return;
    }
    ck_abort_msg("there is no end of allocations");
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("net/stream_write_fault");
    TCase *tcase = test_case(suite, "memory");

    tcase_add_loop_test(tcase, each_allocation_fails, 0, net_kinds());
    return suite;
}
