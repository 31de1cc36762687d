/* tests/net/stream_write_cancel_test.c: cancelling writes of which nothing has left. */
#include "tests/net/net_test.h"

enum { MIB = 1 << 20 };

static char junk[8 * MIB]; /* what is written where nobody looks at the bytes */

static void must_note(struct end *end, size_t size, const char *name)
{
    must_write(end, junk, size, note_write_cb, (void *)(uintptr_t)name, NULL);
}

/* Reads and forgets. Returns how much. */
static uint64_t swallow(struct loop *loop, int fd)
{
    static char bytes[65536];
    uint64_t    sum = 0;
    ssize_t     n;

    for (int idle = 0; idle < 20; idle++) {
        while ((n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0) {
            sum += (uint64_t)n;
            idle = 0;
        }
        pump_once(loop);
    }
    return sum;
}

/* Goal: before anything has left, all or those of one arg can be cancelled; their callbacks come by themselves, in
 * order, and nothing of them leaves. Method: writes of several names in one turn. */
START_TEST(before_they_leave)
{
    static const char a[] = "a", b[] = "b";
    struct loop      *loop = test_loop_new(NULL);
    struct link       link;

    link_open(loop, &link, _i, 1, NULL);
    must_note(&link.end, 10, a);
    must_note(&link.end, 2000, b);
    must_note(&link.end, 30, a);
    must_note(&link.end, 4000, a);
    ck_assert_int_eq(CALL(loop_stream_write_cancel(&link.end.stream, "nobody")), 0);
    ck_assert_int_eq(CALL(loop_stream_write_cancel(&link.end.stream, a)), 3);
    ck_assert_int_eq(CALL(loop_stream_write_cancel(&link.end.stream, a)), 0);
    ck_assert_uint_eq(loop_stream_queued(&link.end.stream), 6040);
    ck_assert_uint_eq(swallow(loop, link.peer.fd), 2000);
    notes_are("write a ECANCELED 0; write a ECANCELED 0; write a ECANCELED 0; write b ok 2000");
    ck_assert_uint_eq(loop_stream_queued(&link.end.stream), 0);
    must_note(&link.end, 10, a);
    must_note(&link.end, 10, b);
    ck_assert_int_eq(CALL(loop_stream_write_cancel_all(&link.end.stream)), 2);
    ck_assert_uint_eq(swallow(loop, link.peer.fd), 0);
    notes_are("write a ECANCELED 0; write b ECANCELED 0");
    must_note(&link.end, 10, a);
    ck_assert_uint_eq(swallow(loop, link.peer.fd), 10);
    notes_are("write a ok 10");
    link_close(loop, &link);
    ck_assert_int_eq(CALL(loop_stream_write_cancel_all(&link.end.stream)), -EINVAL);
    test_loop_free(loop);
}
END_TEST

/* Goal: one that has left in part goes on, whole; those behind it, in the same send or not, end. Method: a peer that
 * does not read. */
START_TEST(partly_sent_goes_on)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;

    link_open(loop, &link, _i, 1, NULL);
    must_note(&link.end, 8 * MIB, "big");
    must_note(&link.end, 5000, "behind");
    settle(loop);
    must_note(&link.end, 6000, "later");
    ck_assert_int_ge(CALL(loop_stream_write_cancel_all(&link.end.stream)), 2);
    settle(loop);
    notes_are("write behind ECANCELED 0; write later ECANCELED 0");
    must_note(&link.end, 100, "last");
    ck_assert_uint_eq(swallow(loop, link.peer.fd), 8 * MIB + 100);
    notes_are("write big ok 8388608; write last ok 100");
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* Until nothing more goes into the socket. A unix one: tcp makes room as it goes. Returns how much went. */
static uint64_t fill(struct end *end)
{
    uint64_t filled = 0;
    int      r;

    while ((r = loop_stream_try_write(&end->stream, junk, sizeof(junk))) > 0)
        filled += (uint64_t)r;
    ck_assert_int_eq(r, -EAGAIN);
    return filled;
}

/* Goal: a write in a send in flight of which nothing has left ends with 0 bytes, its memory is free, and what is behind
 * leaves. Method: fills the socket by tries, so that nothing of the next send can leave. */
START_TEST(in_flight_and_nothing_left)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;
    uint64_t     filled;

    link_open(loop, &link, NET_UNIX, 1, NULL);
    filled = fill(&link.end);
    must_note(&link.end, 5000, "one");
    must_note(&link.end, 6000, "two");
    must_note(&link.end, 7000, "three");
    settle(loop);
    notes_are("");
    ck_assert_int_eq(CALL(loop_stream_write_cancel(&link.end.stream, "one")), 1);
    settle(loop);
    notes_are("write one ECANCELED 0");
    ck_assert_uint_eq(loop_stream_queued(&link.end.stream), 13000);
    ck_assert_int_eq(CALL(loop_stream_write_cancel_all(&link.end.stream)), 2);
    settle(loop);
    notes_are("write two ECANCELED 0; write three ECANCELED 0");
    must_note(&link.end, 10, "four");
    ck_assert_uint_eq(swallow(loop, link.peer.fd), filled + 10);
    notes_are("write four ok 10");
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* Goal: after a cancel a shutdown goes on, a close ends all in order. Method: _i 0: shutdown, 1: close. */
START_TEST(then_the_end)
{
    struct loop *loop = test_loop_new(NULL);
    struct link  link;

    link_open(loop, &link, NET_TCP4, 1, NULL);
    link.end.name = "x";
    must_note(&link.end, 8 * MIB, "big");
    must_note(&link.end, 10, "small");
    settle(loop);
    ck_assert_int_ge(CALL(loop_stream_write_cancel(&link.end.stream, "small")), 1);
    ck_assert_int_eq(CALL(loop_stream_shutdown(&link.end.stream, end_shutdown_cb)), 0);
    if (_i == 0) {
        ck_assert_uint_eq(swallow(loop, link.peer.fd), 8 * MIB);
        notes_are("write small ECANCELED 0; write big ok 8388608; x shutdown ok");
        link_close(loop, &link);
        notes_are("x close");
    } else {
        struct loop_stream *stream = &link.end.stream;

        loop_stream_close(stream, end_close_cb);
        ck_assert_int_eq(CALL(loop_stream_write_cancel_all(stream)), -EINVAL);
        run_until(loop, link.end.closes == 1);
        link_close(loop, &link);
    }
    test_loop_free(loop);
}
END_TEST

enum act { ACT_CANCEL, ACT_WRITE, ACT_CLOSE, ACT_RESET, ACT_SHUTDOWN, ACTS };

struct acting {
    struct link link;
    int         act;
    uint32_t    calls, written;
};

static void acting_cb(struct loop_stream *stream, int error, size_t bytes, void *arg)
{
    struct acting *acting = arg;

    callback_enter();
    ck_assert(error == 0 || error == -ECANCELED);
    ck_assert(error == 0 || bytes == 0);
    acting->calls++;
    if (error == 0)
        return;
    switch (acting->act) {
    case ACT_CANCEL: (void)loop_stream_write_cancel_all(stream); break;
    case ACT_WRITE:
        if (acting->written < 20 && loop_stream_write(stream, junk, 600, acting_cb, acting, NULL) == 0)
            acting->written++;
        break;
    case ACT_CLOSE: loop_stream_close(stream, end_close_cb); break;
    case ACT_RESET: loop_stream_reset(stream, end_close_cb); break;
    case ACT_SHUTDOWN: (void)loop_stream_shutdown(stream, end_shutdown_cb); break;
    }
}

/* Goal: the callback of a cancelled write may do anything; each write still ends once. Method: every act, with the
 * socket full, and with it empty. */
START_TEST(inside_the_callback)
{
    for (int full = 0; full < 2; full++) {
        struct loop  *loop = test_loop_new(NULL);
        struct acting acting = {.act = _i, .written = 8};

        link_open(loop, &acting.link, NET_UNIX, 1, NULL);
        if (full)
            (void)fill(&acting.link.end);
        for (int i = 0; i < 8; i++) {
            must_write(&acting.link.end, junk, 600, acting_cb, &acting, NULL);
            if (i == 3)
                settle(loop);
        }
        ck_assert_int_eq(CALL(loop_stream_write_cancel_all(&acting.link.end.stream)), full ? 8 : 4);
        (void)swallow(loop, acting.link.peer.fd);
        if (_i != ACT_CLOSE && _i != ACT_RESET)
            (void)loop_stream_write_cancel_all(&acting.link.end.stream);
        run_until(loop, acting.calls == acting.written);
        link_close(loop, &acting.link);
        ck_assert_uint_eq(acting.calls, acting.written);
        test_loop_free(loop);
    }
}
END_TEST

/* ---- soak */

enum { FRAMES = 3000, HEAD = 8 };

struct frame {
    uint8_t *bytes; /* NULL: it has ended */
    uint32_t size;
    int      error;
    bool     received;
};

struct soak {
    struct frame frames[FRAMES];
    uint32_t     started, ended, cancelled, received;
    uint8_t      head[HEAD];
    uint32_t     head_bytes, body_left, number, last;
};
static struct soak soak;

static void frame_cb(struct loop_stream *stream, int error, size_t bytes, void *arg)
{
    struct frame *frame = arg;

    (void)stream;
    callback_enter();
    ck_assert_ptr_nonnull(frame->bytes);
    ck_assert(error == 0 || error == -ECANCELED);
    ck_assert_uint_eq(bytes, error == 0 ? frame->size : 0);
    ck_assert(error == 0 || !frame->received);
    memset(frame->bytes, 0xee, frame->size); /* the kernel must not look at it any more */
    free(frame->bytes);
    frame->bytes = NULL;
    frame->error = error;
    soak.cancelled += error < 0;
    soak.ended++;
}

static void frame_write(struct end *end, uint64_t random)
{
    struct frame *frame = &soak.frames[soak.started];
    uint32_t      head[2] = {soak.started, HEAD + (uint32_t)(random % (random % 16 == 0 ? 100000 : 2000))};

    frame->size = head[1];
    frame->bytes = malloc(frame->size);
    ck_assert_ptr_nonnull(frame->bytes);
    memcpy(frame->bytes, head, HEAD);
    pattern_fill(head[0], 0, frame->bytes + HEAD, frame->size - HEAD);
    must_write(end, frame->bytes, frame->size, frame_cb, frame, NULL);
    soak.started++;
}

/* Every frame that comes is whole, behind the one before, and none that was cancelled. */
static void frames_take(const uint8_t *bytes, size_t size)
{
    while (size > 0) {
        size_t n;

        if (soak.body_left == 0 && soak.head_bytes < HEAD) {
            soak.head[soak.head_bytes++] = *bytes++;
            size--;
            if (soak.head_bytes < HEAD)
                continue;
            memcpy(&soak.number, soak.head, 4);
            memcpy(&soak.body_left, soak.head + 4, 4);
            ck_assert_uint_lt(soak.number, soak.started);
            ck_assert(soak.received == 0 || soak.number > soak.last);
            soak.last = soak.number;
            ck_assert_uint_eq(soak.body_left, soak.frames[soak.number].size);
            ck_assert_int_eq(soak.frames[soak.number].error, 0);
            soak.body_left -= HEAD;
        }
        n = size < soak.body_left ? size : soak.body_left;
        pattern_check(soak.number, soak.frames[soak.number].size - HEAD - soak.body_left, bytes, n);
        bytes += n;
        size -= n;
        soak.body_left -= (uint32_t)n;
        if (soak.body_left == 0) {
            soak.head_bytes = 0;
            ck_assert(!soak.frames[soak.number].received);
            soak.frames[soak.number].received = true;
            soak.received++;
        }
    }
}

static void frames_read(int fd, size_t max)
{
    static uint8_t bytes[65536];
    ssize_t        n;

    while (max > 0 && (n = recv(fd, bytes, max < sizeof(bytes) ? max : sizeof(bytes), MSG_DONTWAIT)) > 0) {
        frames_take(bytes, (size_t)n);
        max -= (size_t)n;
    }
}

/* Goal: whatever is cancelled when, each frame arrives whole or not at all, as its callback says, and the order stays.
 * Method: frames of random size, cancelled one by one or all at random moments, over a small socket whose peer reads at
 * random. RINGLOOP_SEED repeats a run. */
START_TEST(frames_stay_whole)
{
    struct loop *loop = test_loop_new(NULL);
    uint64_t     state = test_env("RINGLOOP_SEED", 31) + (uint64_t)_i;
    struct link  link;
    uint32_t     good = 0;

    link_open(loop, &link, _i, 1, NULL);
    net_buffers(loop_stream_fd(&link.end.stream), 4096);
    while (soak.started < FRAMES) {
        for (uint64_t burst = test_random(&state) % 12; burst > 0 && soak.started < FRAMES; burst--)
            frame_write(&link.end, test_random(&state));
        test_turns(loop, (uint32_t)(test_random(&state) % 3));
        if (test_random(&state) % 3 == 0 && soak.started > 0) {
            uint32_t      back = (uint32_t)(test_random(&state) % 20);
            struct frame *frame = &soak.frames[soak.started - 1 - (back < soak.started ? back : 0)];

            ck_assert_int_le(CALL(loop_stream_write_cancel(&link.end.stream, frame)), 1);
        }
        if (test_random(&state) % 50 == 0)
            ck_assert_int_ge(CALL(loop_stream_write_cancel_all(&link.end.stream)), 0);
        test_turns(loop, (uint32_t)(test_random(&state) % 2));
        frames_read(link.peer.fd, test_random(&state) % 40000);
    }
    pump_until(loop,
               (frames_read(link.peer.fd, SIZE_MAX), soak.ended == FRAMES && soak.received + soak.cancelled == FRAMES));
    for (uint32_t i = 0; i < FRAMES; i++)
        good += soak.frames[i].received == (soak.frames[i].error == 0);
    ck_assert_uint_eq(good, FRAMES);
    ck_assert_uint_gt(soak.cancelled, 50);
    ck_assert_uint_gt(soak.received, 50);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("net/stream_write_cancel");
    TCase *tcase = test_case(suite, "cancel");
    int    kinds = net_kinds();

    tcase_add_loop_test(tcase, before_they_leave, 0, kinds);
    tcase_add_loop_test(tcase, partly_sent_goes_on, 0, kinds);
    tcase_add_test(tcase, in_flight_and_nothing_left);
    tcase_add_loop_test(tcase, then_the_end, 0, 2);
    tcase_add_loop_test(tcase, inside_the_callback, 0, ACTS);
    tcase = test_case(suite, "soak");
    tcase_add_loop_test(tcase, frames_stay_whole, 0, kinds);
    return suite;
}
