/* tests/net/stream_write_test.c: streams: writing. */
#include "tests/net/net_test.h"

enum { MIB = 1 << 20, PIECES_MAX = 1024 };

/* Goal: writes of every size leave whole and come back once with their count. Method: 1 byte to 8 MiB, borrowed and
 * copied, to a peer that checks each byte. end_write checks the rest. */
START_TEST(every_size)
{
    static const size_t sizes[] = {1, 2, 7, 64, 100, 511, 1023, 4095, 4096, 4097, 16384, 65536, 100000, MIB, 8 * MIB};
    struct loop        *loop = test_loop_new(NULL);
    struct link         link;

    link_open(loop, &link, _i, 1, NULL);
    for (uint32_t flags = 0; flags <= LOOP_WRITE_COPY; flags += LOOP_WRITE_COPY) {
        for (size_t i = 0; i < TEST_COUNT(sizes); i++) {
            ck_assert_int_eq(end_write(&link.end, sizes[i], flags), 0);
            pump_until(loop, (peer_drain(&link.peer, SIZE_MAX), link.peer.read_bytes == link.end.write_bytes));
            run_until(loop, link.end.writes_done == link.end.writes_started);
        }
    }
    ck_assert_uint_eq(link.end.writes_failed, 0);
    ck_assert_uint_eq(link.end.taken_bytes, link.end.write_bytes);
    ck_assert_uint_eq(loop_stream_queued(&link.end.stream), 0);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* Goal: writes of one stream keep their order, each comes back once with its own count. Method: 3000 of random size,
 * borrowed and copied in turn, in bursts; a peer that reads in random pieces. RINGLOOP_SEED repeats a run. */
START_TEST(order)
{
    struct loop *loop = test_loop_new(NULL);
    uint64_t     state = test_env("RINGLOOP_SEED", 11) + (uint64_t)_i;
    struct link  link;

    link_open(loop, &link, _i, 1, NULL);
    net_buffers(loop_stream_fd(&link.end.stream), 4096);
    while (link.end.writes_started < 3000) {
        for (uint64_t burst = test_random(&state) % 20; burst > 0; burst--) {
            size_t size = 1 + test_random(&state) % (test_random(&state) % 4 == 0 ? 5000 : 60);

            ck_assert_int_eq(end_write(&link.end, size, (uint32_t)(test_random(&state) % 2)), 0);
        }
        test_turns(loop, (uint32_t)(test_random(&state) % 2));
        peer_drain(&link.peer, test_random(&state) % 20000);
    }
    pump_until(loop, (peer_drain(&link.peer, SIZE_MAX), link.peer.read_bytes == link.end.write_bytes));
    run_until(loop, link.end.writes_done == link.end.writes_started);
    ck_assert_uint_eq(link.end.taken_bytes, link.end.write_bytes);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* ---- pieces */

struct gather {
    uint32_t calls;
    int      error;
    size_t   bytes;
};

static void gather_cb(struct loop_stream *stream, int error, size_t bytes, void *arg)
{
    struct gather *gather = arg;

    (void)stream;
    callback_enter();
    ck_assert_uint_eq(gather->calls, 0);
    *gather = (struct gather){.calls = 1, .error = error, .bytes = bytes};
}

/* Goal: a write of several pieces is one write: their bytes in order, one callback with the sum; the array is copied at
 * once, empty pieces are no harm. Method: 1 to 1024 pieces of one block, of random sizes, the array wiped after the
 * call. */
START_TEST(pieces)
{
    static const size_t counts[] = {1, 2, 3, 8, 9, 63, 64, 65, 500, 1023, 1024};
    static uint8_t      bytes[PIECES_MAX * 3000];
    struct loop        *loop = test_loop_new(NULL);
    uint64_t            state = 5, offset = 0;
    struct link         link;

    link_open(loop, &link, _i, 1, NULL);
    for (size_t i = 0; i < 2 * TEST_COUNT(counts); i++) {
        static struct iovec     iov[PIECES_MAX];
        struct loop_write_terms terms = {.flags = i % 2 == 0 ? 0 : LOOP_WRITE_COPY};
        struct gather           gather = {0};
        size_t                  size = 0;

        for (size_t j = 0; j < counts[i / 2]; j++) {
            size_t length =
                j > 0 && test_random(&state) % 8 == 0 ? 0 : 1 + test_random(&state) % (j % 16 == 0 ? 3000 : 20);

            iov[j] = (struct iovec){.iov_base = bytes + size, .iov_len = length};
            size += length;
        }
        pattern_fill(link.end.write_flow, offset, bytes, size);
        ck_assert_int_eq(CALL(loop_stream_writev(&link.end.stream, iov, counts[i / 2], gather_cb, &gather, &terms)), 0);
        memset(iov, 0xff, sizeof(iov));
        if (terms.flags & LOOP_WRITE_COPY)
            memset(bytes, 0xff, size);
        offset += size;
        ck_assert_uint_eq(loop_stream_queued(&link.end.stream), size);
        pump_until(loop, (peer_drain(&link.peer, SIZE_MAX), link.peer.read_bytes == offset));
        run_until(loop, gather.calls == 1);
        ck_assert_int_eq(gather.error, 0);
        ck_assert_uint_eq(gather.bytes, size);
    }
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* Goal: several writes of many pieces each, queued in one turn, more than one system call takes. Method: 5 writes of
 * 1024 one-byte and 40-byte pieces in turn. */
START_TEST(more_pieces_than_a_call_takes)
{
    enum { WRITES = 5 };
    static uint8_t      bytes[WRITES][PIECES_MAX * 40];
    static struct iovec iov[PIECES_MAX];
    struct loop        *loop = test_loop_new(NULL);
    struct gather       gathers[WRITES] = {0};
    uint64_t            offset = 0;
    struct link         link;

    link_open(loop, &link, _i, 1, NULL);
    for (size_t i = 0; i < WRITES; i++) {
        size_t length = i % 2 == 0 ? 1 : 40, size = length * PIECES_MAX;

        pattern_fill(link.end.write_flow, offset, bytes[i], size);
        for (size_t j = 0; j < PIECES_MAX; j++)
            iov[j] = (struct iovec){.iov_base = bytes[i] + j * length, .iov_len = length};
        ck_assert_int_eq(CALL(loop_stream_writev(&link.end.stream, iov, PIECES_MAX, gather_cb, &gathers[i], NULL)), 0);
        offset += size;
    }
    pump_until(loop, (peer_drain(&link.peer, SIZE_MAX), link.peer.read_bytes == offset));
    run_until(loop, gathers[WRITES - 1].calls == 1);
    for (size_t i = 0; i < WRITES; i++) {
        ck_assert_uint_eq(gathers[i].calls, 1);
        ck_assert_int_eq(gathers[i].error, 0);
        ck_assert_uint_eq(gathers[i].bytes, PIECES_MAX * (i % 2 == 0 ? 1 : 40));
    }
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* ---- copies */

/* Goal: small writes are copied in any case. Method: 1 to 8 bytes, overwritten at once, without LOOP_WRITE_COPY and
 * without a callback. */
START_TEST(small_writes_are_copied)
{
    struct loop *loop = test_loop_new(NULL);
    uint64_t     offset = 0;
    struct link  link;

    link_open(loop, &link, _i, 1, NULL);
    for (size_t i = 0; i < 200; i++) {
        uint8_t bytes[8];
        size_t  size = 1 + i % 8;

        pattern_fill(link.end.write_flow, offset, bytes, size);
        must_write(&link.end, bytes, size, NULL, NULL, NULL);
        memset(bytes, 0xff, sizeof(bytes));
        offset += size;
        if (i % 16 == 0)
            test_turns(loop, 1);
    }
    pump_until(loop, (peer_drain(&link.peer, SIZE_MAX), link.peer.read_bytes == offset));
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* Goal: the writes of one turn leave together: few of them in one send, very many in few. Method: counts the entries
 * that went to the kernel, and one more that the loop may need for itself. */
START_TEST(writes_of_a_turn_leave_together)
{
    static const struct {
        uint32_t writes, sends_max;
    } cases[] = {{1, 1}, {2, 1}, {50, 1}, {500, 16}};
    struct loop *loop = test_loop_new(NULL);
    struct link  link;

    link_open(loop, &link, _i, 1, NULL);
    settle(loop);
    for (size_t i = 0; i < TEST_COUNT(cases); i++) {
        uint64_t before = test_stats(loop).sqes_submitted;

        for (size_t j = 0; j < cases[i].writes; j++)
            ck_assert_int_eq(end_write(&link.end, 20, 0), 0);
        ck_assert_uint_eq(loop_stream_queued(&link.end.stream), cases[i].writes * 20);
        run_until(loop, link.end.writes_done == link.end.writes_started);
        ck_assert_uint_le(test_stats(loop).sqes_submitted - before, cases[i].sends_max + 1);
        ck_assert_uint_eq(loop_stream_queued(&link.end.stream), 0);
        peer_drain(&link.peer, SIZE_MAX);
        ck_assert_uint_eq(link.peer.read_bytes, link.end.write_bytes);
    }
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* Goal: a write that finds no memory says so, is not sent and never calls back; the stream goes on. Method: the
 * allocator's next call fails. */
START_TEST(no_memory)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;

    link_open(loop, &link, _i, 1, NULL);
    test_memory.fail_at = test_memory.calls + 1;
    ck_assert_int_eq(end_write(&link.end, 300000, LOOP_WRITE_COPY), -ENOMEM);
    test_memory.fail_at = 0;
    ck_assert_uint_eq(loop_stream_queued(&link.end.stream), 0);
    ck_assert_int_eq(end_write(&link.end, 300000, LOOP_WRITE_COPY), 0);
    pump_until(loop, (peer_drain(&link.peer, SIZE_MAX), link.peer.read_bytes == 300000));
    run_until(loop, link.end.writes_done == 1);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* ---- limits */

/* Goal: a reader that does not read meets the limit, in bytes and in memory, and loses nothing of what was accepted.
 * Method: writes copies until -ENOBUFS; looks at the queue and at the loop's memory; then the peer reads all, and
 * writing works again. */
START_TEST(limit_of_queued_bytes)
{
    enum { LIMIT = 1 << 20, SIZE = 10000 };
    struct loop_stream_options options = {.write_bytes_max = LIMIT};
    struct loop               *loop = test_loop_new(NULL);
    uint64_t                   memory;
    struct link                link;
    int                        r;

    link_open(loop, &link, _i, 1, &options);
    net_buffers(loop_stream_fd(&link.end.stream), 4096);
    settle(loop);
    memory = test_memory.bytes;
    for (uint32_t refused = 0; refused < 50;) {
        r = end_write(&link.end, SIZE, LOOP_WRITE_COPY);
        ck_assert(r == 0 || r == -ENOBUFS);
        ck_assert_uint_le(loop_stream_queued(&link.end.stream), LIMIT);
        if (r == -ENOBUFS) {
            ck_assert_uint_gt(loop_stream_queued(&link.end.stream), LIMIT - SIZE);
            refused++;
        }
        if (link.end.writes_started % 10 == 0 || r < 0)
            test_turns(loop, 1);
    }
    ck_assert_uint_ge(link.end.writes_started, LIMIT / SIZE);
    ck_assert_uint_lt(test_memory.bytes - memory, LIMIT + LIMIT / 2);
    pump_until(loop, (peer_drain(&link.peer, SIZE_MAX), link.peer.read_bytes == link.end.write_bytes));
    run_until(loop, link.end.writes_done == link.end.writes_started);
    ck_assert_uint_eq(loop_stream_queued(&link.end.stream), 0);
    ck_assert_int_eq(end_write(&link.end, SIZE, LOOP_WRITE_COPY), 0);
    pump_until(loop, (peer_drain(&link.peer, SIZE_MAX), link.peer.read_bytes == link.end.write_bytes));
    ck_assert_uint_eq(link.end.writes_failed, 0);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* Goal: the limit is exact. Method: up to it, one more, and a single write above it; before the first turn, so that
 * nothing leaves. */
START_TEST(limit_to_the_byte)
{
    struct loop_stream_options options = {.write_bytes_max = 1000};
    struct loop               *loop = test_loop_new(NULL);
    struct link                link;

    link_open(loop, &link, _i, 1, &options);
    ck_assert_int_eq(end_write(&link.end, 1001, 0), -ENOBUFS);
    ck_assert_int_eq(end_write(&link.end, 600, 0), 0);
    ck_assert_int_eq(end_write(&link.end, 401, 0), -ENOBUFS);
    ck_assert_int_eq(end_write(&link.end, 400, 0), 0);
    ck_assert_int_eq(end_write(&link.end, 1, 0), -ENOBUFS);
    ck_assert_uint_ge(test_stats(loop).writes_full, 3);
    ck_assert_uint_eq(loop_stream_queued(&link.end.stream), 1000);
    run_until(loop, link.end.writes_done == 2);
    ck_assert_int_eq(end_write(&link.end, 1000, 0), 0);
    run_until(loop, link.end.writes_done == 3);
    peer_drain(&link.peer, SIZE_MAX);
    ck_assert_uint_eq(link.peer.read_bytes, 2000);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* Goal: a slow reader gets everything. Method: a peer that reads one byte a turn through the smallest socket buffers,
 * then the rest. */
START_TEST(slow_reader)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;

    link_open(loop, &link, _i, 1, NULL);
    net_buffers(loop_stream_fd(&link.end.stream), 4096);
    net_buffers(link.peer.fd, 16384);
    for (int i = 0; i < 40; i++)
        ck_assert_int_eq(end_write(&link.end, 5000, 0), 0);
    for (int i = 0; i < 3000; i++) {
        peer_drain(&link.peer, 1);
        test_turns(loop, 1);
    }
    ck_assert_uint_gt(link.peer.read_bytes, 0);
    ck_assert_uint_lt(link.end.writes_done, 40);
    pump_until(loop, (peer_drain(&link.peer, 1000), link.peer.read_bytes == 200000));
    run_until(loop, link.end.writes_done == 40);
    ck_assert_uint_eq(link.end.taken_bytes, 200000);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* Goal: writes wait for room when the loop has as many operations as it may, and then go on. Method: two operations at
 * a time for eight streams, whose peers read late. */
START_TEST(few_operations)
{
    struct loop_options options = {.ops_max = 2};
    struct loop        *loop = test_loop_new(&options);
    struct link         links[8];
    uint32_t            done = 0;

    for (uint32_t i = 0; i < TEST_COUNT(links); i++) {
        link_open(loop, &links[i], _i, i, NULL);
        net_buffers(loop_stream_fd(&links[i].end.stream), 4096);
        net_buffers(links[i].peer.fd, 16384);
        ck_assert_int_eq(end_write(&links[i].end, 300000, 0), 0);
        ck_assert_int_eq(end_write(&links[i].end, 10, 0), 0);
    }
    test_turns(loop, 10);
    while (done < TEST_COUNT(links)) {
        done = 0;
        for (uint32_t i = 0; i < TEST_COUNT(links); i++) {
            peer_drain(&links[i].peer, SIZE_MAX);
            done += links[i].peer.read_bytes == 300010 && links[i].end.writes_done == 2;
        }
        pump_once(loop);
    }
    for (uint32_t i = 0; i < TEST_COUNT(links); i++)
        link_close(loop, &links[i]);
    test_loop_free(loop);
}
END_TEST

static void limit_timer(struct loop_timer *timer)
{
    loop_stop(timer->data);
}

/* Goal: streams that wait for an operation to become free let the loop sleep. Method: peers that do not read hold both
 * of two operations; how many turns a while takes. */
START_TEST(limit_of_operations_does_not_spin)
{
    struct loop_options options = {.ops_max = 2};
    struct loop        *loop = test_loop_new(&options);
    struct loop_timer   timer = {.data = loop};
    struct link         links[8];

    for (uint32_t i = 0; i < TEST_COUNT(links); i++) {
        link_open(loop, &links[i], _i, i, NULL);
        net_buffers(loop_stream_fd(&links[i].end.stream), 4096);
        net_buffers(links[i].peer.fd, 16384);
        ck_assert_int_eq(end_write(&links[i].end, 4 * MIB, 0), 0);
    }
    ck_assert_int_eq(loop_timer_start(loop, &timer, 50 * LOOP_MILLISECOND, 0, limit_timer), 0);
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_DEFAULT), 1);
    ck_assert_uint_eq(test_stats(loop).ops_in_flight, 2);
    ck_assert_uint_lt(test_stats(loop).turns, 1000);
    for (uint32_t i = 0; i < TEST_COUNT(links); i++)
        link_close(loop, &links[i]);
    test_loop_free(loop);
}
END_TEST

/* ---- failure */

/* Goal: a reset fails the write in progress with its errno and a true count, those behind it without any bytes, and all
 * later ones at once. Method: a peer reads a part and resets; no SIGPIPE may come (its action is the default). */
START_TEST(reset_with_writes_queued)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;

    link_open(loop, &link, _i, 1, NULL);
    net_buffers(loop_stream_fd(&link.end.stream), 65536);
    net_buffers(link.peer.fd, 65536);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(end_write(&link.end, 3 * MIB / 2, 0), 0);
    pump_until(loop, (peer_drain(&link.peer, 100000), link.peer.read_bytes >= 2 * MIB));
    net_reset(link.peer.fd);
    link.peer.fd = -1;
    run_until(loop, link.end.writes_done == 4);
    ck_assert_uint_ge(link.end.writes_failed, 1);
    ck_assert_uint_le(link.end.writes_failed, 3);
    ck_assert_msg(link.end.write_error == -ECONNRESET || link.end.write_error == -EPIPE, "%s",
                  error_text(link.end.write_error));
    ck_assert_uint_ge(link.end.taken_bytes, link.peer.read_bytes);
    ck_assert_int_eq(end_write(&link.end, 1, 0), -EPIPE);
    ck_assert_uint_eq(loop_stream_queued(&link.end.stream), 0);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* Goal: writing to a peer that has closed fails soon, without SIGPIPE. Method: writes until one does; i: with reading,
 * or without. */
START_TEST(peer_has_closed)
{
    for (int kind = 0; kind < NET_TCP6; kind++) {
        struct loop *loop = test_loop_new(NULL);
        struct link  link;

        link_open(loop, &link, kind, 1, NULL);
        if (_i == 1)
            end_read_start(&link.end);
        test_close(link.peer.fd);
        link.peer.fd = -1;
        settle(loop);
        for (int i = 0; link.end.writes_failed == 0; i++) {
            ck_assert_int_lt(i, 100);
            ck_assert_int_eq(end_write(&link.end, 100, 0), 0);
            run_until(loop, link.end.writes_done == link.end.writes_started);
        }
        ck_assert(link.end.write_error == -EPIPE || link.end.write_error == -ECONNRESET);
        ck_assert_int_eq(end_write(&link.end, 100, 0), -EPIPE);
        ck_assert_uint_eq(link.end.read_ends, (unsigned)_i);
        link_close(loop, &link);
        test_loop_free(loop);
    }
}
END_TEST

/* Goal: senseless arguments are refused and nothing is sent. Method: each of them. */
START_TEST(bad_arguments)
{
    static char                   bytes[2];
    const struct loop_write_terms bad_flags = {.flags = 1u << 30}, bad_release = {.release = 12345};
    struct iovec                  iov[PIECES_MAX + 1], half = {.iov_base = bytes, .iov_len = (size_t)1 << 30};
    struct iovec                  three_gib[3] = {half, half, half};
    struct loop                  *loop = test_loop_new(NULL);
    struct link                   link;

    link_open(loop, &link, _i, 1, NULL);
    for (size_t i = 0; i <= PIECES_MAX; i++)
        iov[i] = (struct iovec){.iov_base = bytes, .iov_len = 1};
    ck_assert_int_eq(CALL(loop_stream_write(&link.end.stream, bytes, 0, note_write_cb, "0", NULL)), -EINVAL);
    ck_assert_int_eq(CALL(loop_stream_write(&link.end.stream, bytes, ((size_t)2 << 30) + 1, note_write_cb, "0", NULL)),
                     -EINVAL);
    ck_assert_int_eq(CALL(loop_stream_write(&link.end.stream, bytes, SIZE_MAX, note_write_cb, "0", NULL)), -EINVAL);
    ck_assert_int_eq(CALL(loop_stream_write(&link.end.stream, bytes, 1, note_write_cb, "0", &bad_flags)), -EINVAL);
    ck_assert_int_lt(CALL(loop_stream_write(&link.end.stream, bytes, 1, note_write_cb, "0", &bad_release)), 0);
    ck_assert_int_eq(CALL(loop_stream_writev(&link.end.stream, iov, 0, note_write_cb, "0", NULL)), -EINVAL);
    ck_assert_int_eq(CALL(loop_stream_writev(&link.end.stream, iov, PIECES_MAX + 1, note_write_cb, "0", NULL)),
                     -EINVAL);
    ck_assert_int_eq(CALL(loop_stream_writev(&link.end.stream, iov, 1, note_write_cb, "0", &bad_flags)), -EINVAL);
    ck_assert_int_eq(CALL(loop_stream_writev(&link.end.stream, three_gib, 3, note_write_cb, "0", NULL)), -EINVAL);
    three_gib[0].iov_len = three_gib[1].iov_len = SIZE_MAX / 2 + 1; /* their sum is the third's length again */
    ck_assert_int_eq(CALL(loop_stream_writev(&link.end.stream, three_gib, 3, note_write_cb, "0", NULL)), -EINVAL);
    iov[0].iov_len = iov[1].iov_len = 0;
    ck_assert_int_eq(CALL(loop_stream_writev(&link.end.stream, iov, 2, note_write_cb, "0", NULL)), -EINVAL);
    ck_assert_uint_eq(loop_stream_queued(&link.end.stream), 0);
    settle(loop);
    notes_are("");
    peer_drain(&link.peer, SIZE_MAX);
    ck_assert_uint_eq(link.peer.read_bytes, 0);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* ---- from inside callbacks */

enum { CHAIN = 1000 };

static void chain_cb(struct loop_stream *stream, int error, size_t bytes, void *arg)
{
    struct end *end = end_of(stream);

    callback_enter();
    ck_assert_int_eq(error, 0);
    ck_assert_uint_eq(bytes, 1);
    ck_assert_ptr_eq(arg, end);
    if (++end->writes_done < CHAIN) {
        uint8_t byte;

        pattern_fill(end->write_flow, end->writes_done, &byte, 1);
        must_write(end, &byte, 1, chain_cb, end, NULL);
        end->writes_started++;
    }
}

/* Goal: a write may be made in a write's callback. Method: each of a thousand makes the next. */
START_TEST(write_from_write_callback)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;
    uint8_t      byte;

    link_open(loop, &link, _i, 1, NULL);
    pattern_fill(link.end.write_flow, 0, &byte, 1);
    must_write(&link.end, &byte, 1, chain_cb, &link.end, NULL);
    link.end.writes_started = 1;
    pump_until(loop, (peer_drain(&link.peer, SIZE_MAX), link.peer.read_bytes == CHAIN));
    run_until(loop, link.end.writes_done == CHAIN);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

static void answering_read_cb(struct loop_stream *stream, const struct loop_result *result)
{
    struct end *end = end_of(stream);

    end_read_cb(stream, result);
    ck_assert_int_eq(end_write(end, 1000, 0), 0);
}

/* Goal: a write may be made in a read callback, also in that of the end. Method: a peer that sends a byte, waits for a
 * thousand, and so on; then ends. */
START_TEST(write_from_read_callback)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;

    link_open(loop, &link, _i, 1, NULL);
    ck_assert_int_eq(CALL(loop_stream_read_start(&link.end.stream, answering_read_cb)), 0);
    for (uint64_t i = 1; i <= 200; i++) {
        ck_assert(peer_feed(&link.peer, i));
        pump_until(loop, (peer_drain(&link.peer, SIZE_MAX), link.peer.read_bytes == i * 1000));
    }
    ck_assert_int_eq(shutdown(link.peer.fd, SHUT_WR), 0);
    pump_until(loop, (peer_drain(&link.peer, SIZE_MAX), link.peer.read_bytes == 201 * 1000));
    run_until(loop, link.end.writes_done == 201);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

static void passing_close_cb(struct loop_stream *stream)
{
    struct end *other = end_of(stream)->arg;

    end_close_cb(stream);
    ck_assert_int_eq(end_write(other, 5000, 0), 0);
}

/* Goal: a write may be made on another stream in a close callback. Method: one is closed, the other must send. */
START_TEST(write_from_close_callback)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  first, second;

    link_open(loop, &first, _i, 1, NULL);
    link_open(loop, &second, _i, 2, NULL);
    first.end.arg = &second.end;
    loop_stream_close(&first.end.stream, passing_close_cb);
    pump_until(loop, (peer_drain(&second.peer, SIZE_MAX), second.peer.read_bytes == 5000));
    link_close(loop, &first);
    link_close(loop, &second);
    test_loop_free(loop);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("net/stream_write");
    TCase *tcase = test_case(suite, "bytes");
    int    kinds = net_kinds();

    tcase_add_loop_test(tcase, every_size, 0, kinds);
    tcase_add_loop_test(tcase, order, 0, kinds);
    tcase_add_loop_test(tcase, pieces, 0, kinds);
    tcase_add_loop_test(tcase, more_pieces_than_a_call_takes, 0, kinds);
    tcase_add_loop_test(tcase, small_writes_are_copied, 0, kinds);
    tcase_add_loop_test(tcase, writes_of_a_turn_leave_together, 0, kinds);
    tcase = test_case(suite, "limits");
    tcase_add_loop_test(tcase, no_memory, 0, kinds);
    tcase_add_loop_test(tcase, limit_of_queued_bytes, 0, kinds);
    tcase_add_loop_test(tcase, limit_to_the_byte, 0, kinds);
    tcase_add_loop_test(tcase, slow_reader, 0, kinds);
    tcase_add_loop_test(tcase, few_operations, 0, kinds);
    tcase_add_loop_test(tcase, limit_of_operations_does_not_spin, 0, kinds);
    tcase = test_case(suite, "failure");
    tcase_add_loop_test(tcase, reset_with_writes_queued, 0, kinds);
    tcase_add_loop_test(tcase, peer_has_closed, 0, 2);
    tcase_add_loop_test(tcase, bad_arguments, 0, kinds);
    tcase = test_case(suite, "inside callbacks");
    tcase_add_loop_test(tcase, write_from_write_callback, 0, kinds);
    tcase_add_loop_test(tcase, write_from_read_callback, 0, kinds);
    tcase_add_loop_test(tcase, write_from_close_callback, 0, kinds);
    return suite;
}
