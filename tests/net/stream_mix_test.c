/* tests/net/stream_mix_test.c: all kinds of writes on one stream, at random, with corks, cancels, a slow peer, few
 * buffers, and every way for it to end. */
#include "tests/net/net_test.h"

#include <ringloop/stream_detach.h>
#include <ringloop/unix.h>
#include <ringloop/write.h>
#include <sys/mman.h>

enum { WRITES_MAX = 400, BYTES_MOST = 120000, FILE_BYTES = 200000, STEPS = 300, KINDS = 16 };

/* The bytes of a write are all alike, and other than its neighbours'. */
struct mixed {
    size_t   size, taken;
    int      error, fd;
    uint32_t calls, order;
    bool     asked; /* to be cancelled */
    uint8_t *bytes;
};

static struct {
    struct loop          *loop;
    struct link           link;
    struct mixed          writes[WRITES_MAX];
    uint32_t              count, done, shutdowns, closes, detaches, fds;
    uint64_t              random;
    uint8_t              *received;
    size_t                received_bytes;
    int                   files[KINDS], other[2];
    struct loop_stream    other_stream;
    loop_buffer           lent[8];
    uint32_t              lent_count;
    struct loop_detached *detached;
} mix;

static void mixed_cb(struct loop_stream *stream, int error, size_t bytes, void *arg)
{
    struct mixed *mixed = arg;

    (void)stream;
    callback_enter();
    ck_assert_uint_eq(mixed->calls, 0);
    ck_assert_uint_eq(mix.shutdowns + mix.closes + mix.detaches, 0);
    ck_assert_uint_le(bytes, mixed->size);
    ck_assert(error < 0 || bytes == mixed->size);
    *mixed = (struct mixed){.size = mixed->size,
                            .taken = bytes,
                            .error = error,
                            .fd = mixed->fd,
                            .calls = 1,
                            .order = ++mix.done,
                            .asked = mixed->asked};
}

static void shut_cb(struct loop_stream *stream, int error)
{
    (void)stream;
    (void)error;
    callback_enter();
    mix.shutdowns++;
}

static void closed_cb(struct loop_stream *stream)
{
    (void)stream;
    callback_enter();
    mix.closes++;
}

static void detached_cb(struct loop_stream *stream, int error, struct loop_detached *detached)
{
    (void)stream;
    callback_enter();
    ck_assert(error == 0 || error == -ECANCELED);
    mix.detaches++;
    mix.detached = detached;
}

static void receive_some(size_t most)
{
    char space[CMSG_SPACE(sizeof(int) * 64)] __attribute__((aligned(8)));

    while (most > 0) {
        struct iovec  iov = {.iov_base = mix.received + mix.received_bytes, .iov_len = most};
        struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof(space)};
        ssize_t       n = recvmsg(mix.link.peer.fd, &msg, MSG_DONTWAIT);

        if (n <= 0)
            return;
        for (struct cmsghdr *part = CMSG_FIRSTHDR(&msg); part != NULL; part = CMSG_NXTHDR(&msg, part)) {
            int fd;

            memcpy(&fd, CMSG_DATA(part), sizeof(fd));
            test_close(fd);
            mix.fds++;
        }
        mix.received_bytes += (size_t)n;
        most -= (size_t)n;
    }
}

static uint64_t dice(uint64_t sides)
{
    return test_random(&mix.random) % sides;
}

/* One more write, of any kind. */
static void write_one(int kind)
{
    static uint8_t          all[KINDS][BYTES_MOST];
    struct mixed           *mixed = &mix.writes[mix.count];
    uint8_t                *bytes = all[mix.count % KINDS];
    struct loop_write_terms terms = {0};
    int                     r;

    if (mix.count == WRITES_MAX)
        return;
    if (bytes[0] == 0)
        memset(bytes, (int)(mix.count % KINDS + 1), BYTES_MOST);
    *mixed = (struct mixed){.size = 1 + dice(dice(4) == 0 ? BYTES_MOST : 3000), .fd = -1};
    switch (dice(kind == NET_UNIX ? 5 : 4)) {
    case 0: terms.flags = LOOP_WRITE_COPY; break;
    case 1:
        mixed->size = FILE_BYTES < mixed->size ? FILE_BYTES : mixed->size;
        r = CALL(loop_stream_sendfile(&mix.link.end.stream, mix.files[mix.count % KINDS], 0, mixed->size, mixed_cb,
                                      mixed, NULL));
        mix.count += r == 0;
        return;
    case 4:
        mixed->fd = mix.other[0];
        terms.fds = &mixed->fd;
        terms.fd_count = 1;
        break;
    default: break;
    }
    if (dice(4) == 0 && mix.lent_count > 0 && mixed->fd < 0) { /* a lent buffer, that the write gives back */
        size_t size;

        terms.flags = 0;
        terms.release = mix.lent[--mix.lent_count];
        bytes = loop_buffer_data(mix.loop, terms.release, &size);
        mixed->size = size;
        memset(bytes, (int)(mix.count % KINDS + 1), size);
    }
    r = CALL(loop_stream_write(&mix.link.end.stream, bytes, mixed->size, mixed_cb, mixed, &terms));
    ck_assert_msg(r == 0 || r == -EPIPE || r == -EINVAL, "%s", error_text(r));
    mix.count += r == 0;
    if (r < 0 && terms.release != 0)
        ck_assert_int_eq(loop_buffer_return(mix.loop, terms.release), 0);
}

/* Keeps lent buffers, to be given to writes. */
static void feed_cb(struct loop_stream *stream, const struct loop_result *result)
{
    (void)stream;
    callback_enter();
    if (result->res > 0 && mix.lent_count < 6 && loop_buffer_keep(mix.loop, result->buffer) == 0)
        mix.lent[mix.lent_count++] = result->buffer;
}

static void step(int kind)
{
    struct loop_stream *stream = &mix.link.end.stream;

    switch (dice(12)) {
    case 0: (void)CALL(loop_stream_cork(stream)); break;
    case 1:
    case 2: (void)CALL(loop_stream_uncork(stream)); break;
    case 3:
        if (dice(4) == 0) {
            for (uint32_t i = 0; i < mix.count; i++)
                mix.writes[i].asked |= mix.writes[i].calls == 0;
            (void)CALL(loop_stream_write_cancel_all(stream));
        } else if (mix.count > 0) {
            struct mixed *mixed = &mix.writes[mix.count - 1 - dice(mix.count < 10 ? mix.count : 10)];

            mixed->asked |= mixed->calls == 0;
            (void)CALL(loop_stream_write_cancel(stream, mixed));
        }
        break;
    case 4: (void)!send(mix.other[1], mix.received, 1 + dice(8000), MSG_DONTWAIT | MSG_NOSIGNAL); break;
    case 5:
    case 6: receive_some(dice(100000)); break;
    case 7: pump_once(mix.loop); break;
    default: write_one(kind); break;
    }
}

static void begin(int kind)
{
    struct loop_stream_options options = {.write_high = 100000, .zero_copy_min = dice(2) == 0 ? 4096 : 0};

    memset(&mix.link, 0, sizeof(mix.link));
    mix.loop = test_loop_new(&(struct loop_options){.buffer_size = 4096, .buffer_count = 16});
    link_open(mix.loop, &mix.link, kind, 1, &options);
    net_buffers(loop_stream_fd(&mix.link.end.stream), kind == NET_UNIX ? 30000 : 150000);
    mix.received = malloc((size_t)WRITES_MAX * BYTES_MOST);
    ck_assert_ptr_nonnull(mix.received);
    memset(mix.received, 1, 10000);
    net_pair(NET_UNIX, mix.other);
    ck_assert_int_eq(loop_stream_open(mix.loop, &mix.other_stream, mix.other[0], NULL), 0);
    ck_assert_int_eq(loop_stream_read_start(&mix.other_stream, feed_cb), 0);
    for (int i = 0; i < KINDS; i++) {
        static char bytes[FILE_BYTES];

        mix.files[i] = memfd_create("mix", MFD_CLOEXEC);
        memset(bytes, i + 1, sizeof(bytes));
        ck_assert_int_eq(pwrite(mix.files[i], bytes, sizeof(bytes), 0), sizeof(bytes));
    }
}

/* What has arrived is what was told, in the order of the writes. */
static void compare(bool all)
{
    size_t   at = 0;
    uint32_t fds = 0, order = 0;

    for (uint32_t i = 0; i < mix.count; i++) {
        const struct mixed *mixed = &mix.writes[i];

        ck_assert_uint_eq(mixed->calls, 1);
        if (!mixed->asked || mixed->error != -ECANCELED) {
            ck_assert_uint_gt(mixed->order, order);
            order = mixed->order;
        }
        for (size_t byte = 0; byte < mixed->taken && at < mix.received_bytes; byte++, at++)
            ck_assert_msg(mix.received[at] == i % KINDS + 1, "byte %zu of write %u is %u", byte, i, mix.received[at]);
        fds += mixed->fd >= 0 && mixed->taken > 0;
    }
    ck_assert_uint_eq(at, mix.received_bytes);
    if (all) {
        size_t told = 0;

        for (uint32_t i = 0; i < mix.count; i++)
            told += mix.writes[i].taken;
        ck_assert_uint_eq(told, mix.received_bytes);
        ck_assert_uint_eq(fds, mix.fds);
    }
}

/* Goal: whatever is mixed, each write has one callback, in order but for those cancelled, with a true count, and what
 * arrives is that. Method: as above; ends: a shutdown, a detach, a close, a reset, the loop destroyed. */
START_TEST(mixed)
{
    int                 kind = _i % 2, way = _i / 2 % 5;
    struct loop_stream *stream = &mix.link.end.stream;

    mix.random = test_env("RINGLOOP_SEED", 77) * 1000 + (uint64_t)_i;
    begin(kind);
    for (int i = 0; i < STEPS; i++)
        step(kind);
    while (mix.lent_count > 0)
        ck_assert_int_eq(loop_buffer_return(mix.loop, mix.lent[--mix.lent_count]), 0);
    loop_stream_close(&mix.other_stream, NULL);
    if (way == 0) {
        ck_assert_int_eq(CALL(loop_stream_shutdown(stream, shut_cb)), 0);
        pump_until(mix.loop, (receive_some(1 << 20), mix.shutdowns == 1));
        receive_some(SIZE_MAX >> 1);
        compare(true);
        mix.shutdowns = 0;
    } else if (way == 1) {
        ck_assert_int_eq(CALL(loop_stream_detach(stream, detached_cb)), 0);
        pump_until(mix.loop, (receive_some(1 << 20), mix.detaches == 1));
        ck_assert_ptr_nonnull(mix.detached);
        loop_detached_drop(mix.detached);
        receive_some(SIZE_MAX >> 1);
        compare(true);
    }
    if (way == 3)
        loop_stream_reset(stream, closed_cb);
    else if (way != 1 && way != 4)
        loop_stream_close(stream, closed_cb);
    if (way != 1 && way != 4)
        pump_until(mix.loop, (receive_some(way == 3 ? 0 : 1 << 20), mix.closes == 1));
    if (way == 4) {
        receive_some(SIZE_MAX >> 1);
        net_buffers(mix.link.peer.fd, 1 << 22); /* so that notifications come */
    }
    test_loop_drop(mix.loop);
    if (way != 3)
        receive_some(SIZE_MAX >> 1);
    compare(false);
    test_close(mix.link.peer.fd);
    test_close(mix.other[1]);
    for (int i = 0; i < KINDS; i++)
        test_close(mix.files[i]);
    free(mix.received);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("net/stream_mix");
    tcase_add_loop_test(test_case(suite, "mixed"), mixed, 0, (int)test_env("RINGLOOP_ROUNDS", 20));
    return suite;
}
