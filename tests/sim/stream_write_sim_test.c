/* tests/sim/stream_write_sim_test.c: writes of streams over the scripted ring: what a kernel answers seldom, or in an
 * order that cannot be had on demand. */
#include "tests/sim/script_ring.h"
#include "tests/support/test.h"

#include <stdarg.h>

enum { MORE = IORING_CQE_F_MORE, NOTIF = IORING_CQE_F_NOTIF, SIZE = 1000, BUFFERS = 8 };

static struct loop       *loop;
static struct loop_stream stream;
static int                fds[2];
static bool               closed;
static char               bytes[64 * 1024];
static char               notes[4096];

static void note(const char *format, ...)
{
    size_t  size = strlen(notes);
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(notes + size, sizeof(notes) - size, format, arguments);
    va_end(arguments);
}

static void notes_are(const char *expected)
{
    ck_assert_str_eq(notes, expected);
    notes[0] = '\0';
}

static void written(struct loop_stream *of, int error, size_t count, void *arg)
{
    ck_assert_ptr_eq(of, &stream);
    note("%s %d %zu; ", (const char *)arg, error, count);
}

static void on_shutdown(struct loop_stream *of, int error)
{
    (void)of;
    note("shutdown %d; ", error);
}

static void on_closed(struct loop_stream *of)
{
    (void)of;
    note("close; ");
    closed = true;
}

static void setup(void)
{
    script_reset();
    loop = test_loop_new(
        &(struct loop_options){.sq_entries = 16, .cq_entries = 64, .buffer_size = SIZE, .buffer_count = BUFFERS});
    test_turns(loop, 1);
    test_socketpair(fds);
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (char)(i * 7 + i / 251);
    ck_assert_int_eq(loop_stream_open(loop, &stream, fds[0], &(struct loop_stream_options){.zero_copy_min = 20000}), 0);
}

static void teardown(void)
{
    if (!closed) {
        loop_stream_close(&stream, on_closed);
        for (int i = 0; i < 20 && !closed; i++)
            test_turns(loop, 1);
    }
    ck_assert(closed);
    test_close(fds[1]);
    test_loop_free(loop);
    ck_assert_uint_eq(script.rings_open, 0);
}

static void must_write(const void *data, size_t size, const char *name, loop_buffer release)
{
    ck_assert_int_eq(loop_stream_write(&stream, data, size, written, (void *)(uintptr_t)name,
                                       &(struct loop_write_terms){.release = release}),
                     0);
}

/* The only pending SQE of this kind. */
static struct io_uring_sqe *the(uint8_t opcode)
{
    ck_assert_uint_eq(script_count(opcode), 1);
    return script_find(opcode, 0);
}

static void answer(uint8_t opcode, int32_t res, uint32_t flags)
{
    script_complete(the(opcode), res, flags);
    test_turns(loop, 2);
}

/* ---- cancel */

/* Goal: a send that is stopped and has sent a part: the write of which something left goes on at the right byte, the
 * cancelled ones end; the count is true. Method: the send ends with every kind of count. */
START_TEST(stopped_send)
{
    static const struct {
        int32_t     res;
        const char *notes; /* after the stop */
        size_t      left;  /* bytes of the next send; 0: none */
    } cases[] = {
        {-ECANCELED, "a -125 0; b -125 0; ", 0}, {1, "b -125 0; ", 4999},    {4999, "b -125 0; ", 1},
        {5000, "a 0 5000; b -125 0; ", 0},       {5001, "a 0 5000; ", 5999}, {11000, "a 0 5000; b 0 6000; ", 0},
    };
    const char *from;

    script.manual = true;
    must_write(bytes, 5000, "a", 0);
    must_write(bytes + 5000, 6000, "b", 0);
    test_turns(loop, 1);
    ck_assert_uint_eq(script_count(IORING_OP_SENDMSG), 1);
    ck_assert_int_eq(loop_stream_write_cancel_all(&stream), 2);
    test_turns(loop, 1);
    notes_are("");
    ck_assert_uint_eq(script_count(IORING_OP_ASYNC_CANCEL), 1);
    script_complete(the(IORING_OP_ASYNC_CANCEL), 0, 0);
    answer(IORING_OP_SENDMSG, cases[_i].res, 0);
    notes_are(cases[_i].notes);
    ck_assert_uint_eq(loop_stream_queued(&stream), cases[_i].left);
    ck_assert_uint_eq(script_count(IORING_OP_SENDMSG), 0);
    ck_assert_uint_eq(script_count(IORING_OP_SEND), cases[_i].left > 0);
    if (cases[_i].left > 0) {
        from = (const char *)(uintptr_t)the(IORING_OP_SEND)->addr;
        ck_assert_uint_eq(the(IORING_OP_SEND)->len, cases[_i].left);
        ck_assert_ptr_eq(from, bytes + cases[_i].res);
        answer(IORING_OP_SEND, (int32_t)cases[_i].left, 0);
        notes_are(cases[_i].res < 5000 ? "a 0 5000; " : "b 0 6000; ");
    }
    script.manual = false;
}
END_TEST

/* Goal: a send stopped for a cancel that then fails for good fails all. A passing error is tried again. */
START_TEST(stopped_send_fails)
{
    script.manual = true;
    must_write(bytes, 5000, "a", 0);
    must_write(bytes, 5000, "b", 0);
    test_turns(loop, 1);
    ck_assert_int_eq(loop_stream_write_cancel(&stream, "a"), 1);
    test_turns(loop, 1);
    script_complete(the(IORING_OP_ASYNC_CANCEL), -EALREADY, 0);
    script_complete(the(IORING_OP_SENDMSG), _i == 0 ? -ECONNRESET : -EAGAIN, 0);
    test_turns(loop, 3);
    if (_i == 0) {
        notes_are("a -104 0; b -104 0; ");
    } else {
        notes_are("a -125 0; ");
        answer(IORING_OP_SEND, 5000, 0);
        notes_are("b 0 5000; ");
    }
    script.manual = false;
}
END_TEST

/* ---- zero-copy */

/* Goal: the next send starts after the result, callbacks wait for the notifications and keep their order. Method: two
 * zero-copy writes with small ones between; notifications in the wrong order. */
START_TEST(notifications_late)
{
    uint64_t first, second;

    must_write(bytes, 30000, "A", 0);
    must_write(bytes, 10, "b", 0);
    must_write(bytes, 40000, "C", 0);
    must_write(bytes, 20, "d", 0);
    test_turns(loop, 1);
    first = the(IORING_OP_SEND_ZC)->user_data;
    ck_assert_uint_eq(the(IORING_OP_SEND_ZC)->len, 30000);
    ck_assert_ptr_eq((void *)(uintptr_t)the(IORING_OP_SEND_ZC)->addr, bytes);
    script_complete(the(IORING_OP_SEND_ZC), 30000, MORE);
    test_turns(loop, 2);
    ck_assert_uint_eq(loop_stream_queued(&stream), 40030);
    answer(IORING_OP_SEND, 10, 0);
    notes_are(""); /* b waits for A */
    second = script_find(IORING_OP_SEND_ZC, 1)->user_data;
    ck_assert_uint_eq(script_find(IORING_OP_SEND_ZC, 1)->len, 40000);
    script_complete(script_find(IORING_OP_SEND_ZC, 1), 40000, MORE);
    test_turns(loop, 2);
    answer(IORING_OP_SEND, 20, 0);
    ck_assert_uint_eq(loop_stream_queued(&stream), 0);
    ck_assert_int_eq(loop_stream_shutdown(&stream, on_shutdown), 0);
    test_turns(loop, 2);
    notes_are("");
    script_cqe(second, 0, NOTIF);
    test_turns(loop, 2);
    notes_are("");
    script_cqe(first, 0, NOTIF);
    test_turns(loop, 2);
    notes_are("A 0 30000; b 0 10; C 0 40000; d 0 20; shutdown 0; ");
    script.pending_count = 0;
}
END_TEST

/* Goal: a part at a time: each with its notification, the callback after the last. A failure behind it keeps the order
 * too. */
START_TEST(notifications_of_parts)
{
    uint64_t ids[2];

    must_write(bytes, 30000, "A", 0);
    must_write(bytes, 10, "b", 0);
    test_turns(loop, 1);
    for (unsigned i = 0; i < 2; i++) {
        struct io_uring_sqe *sqe = script_find(IORING_OP_SEND_ZC, i);

        ck_assert_uint_eq(sqe->len, i == 0 ? 30000 : 29000);
        ids[i] = sqe->user_data;
        script_complete(sqe, i == 0 ? 1000 : _i == 0 ? 29000 : -ECONNRESET, MORE);
        test_turns(loop, 2);
    }
    if (_i == 0)
        answer(IORING_OP_SEND, -EPIPE, 0);
    notes_are("");
    script_cqe(ids[1], 0, NOTIF);
    test_turns(loop, 1);
    notes_are("");
    script_cqe(ids[0], 0, NOTIF);
    test_turns(loop, 1);
    notes_are(_i == 0 ? "A 0 30000; b -32 0; " : "A -104 1000; b -104 0; ");
    script.pending_count = 0;
}
END_TEST

/* Goal: where zero-copy is refused the same bytes leave plainly: for want of memory this time only, for want of support
 * from then on. Method: _i 0: -ENOMEM, 1: -EOPNOTSUPP, each with a notification. */
START_TEST(refused)
{
    must_write(bytes, 30000, "A", 0);
    test_turns(loop, 1);
    script_cqe(the(IORING_OP_SEND_ZC)->user_data, _i == 0 ? -ENOMEM : -EOPNOTSUPP, MORE);
    script_complete(the(IORING_OP_SEND_ZC), 0, NOTIF);
    test_turns(loop, 3);
    ck_assert_uint_eq(the(IORING_OP_SEND)->len, 30000);
    answer(IORING_OP_SEND, 30000, 0);
    notes_are("A 0 30000; ");
    must_write(bytes, 30000, "B", 0);
    test_turns(loop, 1);
    ck_assert_uint_eq(script_count(IORING_OP_SEND_ZC), _i == 0);
    ck_assert_uint_eq(script_count(IORING_OP_SEND), _i == 1);
}
END_TEST

/* Goal: a kernel without the opcode: plain sends. */
START_TEST(unknown)
{
    loop_stream_close(&stream, on_closed);
    test_turns(loop, 2);
    ck_assert(closed);
    closed = false;
    test_loop_free(loop);
    test_close(fds[1]);
    notes_are("close; ");
    script_reset();
    script.opcode_last = IORING_OP_SEND_ZC - 1;
    loop = test_loop_new(&(struct loop_options){.sq_entries = 16, .cq_entries = 64});
    test_turns(loop, 1);
    test_socketpair(fds);
    ck_assert_int_eq(loop_stream_open(loop, &stream, fds[0], &(struct loop_stream_options){.zero_copy_min = 20000}), 0);
    must_write(bytes, 30000, "A", 0);
    test_turns(loop, 2);
    answer(IORING_OP_SEND, 30000, 0);
    notes_are("A 0 30000; ");
}
END_TEST

/* Goal: a close waits for notifications, with the descriptor closed already; callbacks come in order. Method: one write
 * has left, one has in part, one has not; _i 0: close, 1: reset. */
START_TEST(close_waits)
{
    uint64_t ids[2];
    char     byte;

    must_write(bytes, 30000, "A", 0);
    must_write(bytes, 30000, "B", 0);
    must_write(bytes, 10, "c", 0);
    test_turns(loop, 1);
    for (unsigned i = 0; i < 2; i++) {
        ids[i] = script_find(IORING_OP_SEND_ZC, i)->user_data;
        script_complete(script_find(IORING_OP_SEND_ZC, i), i == 0 ? 30000 : 500, MORE);
        test_turns(loop, 2);
    }
    script_complete(script_find(IORING_OP_SEND_ZC, 2), -ECANCELED, 0); /* of the rest of B */
    if (_i == 0)
        loop_stream_close(&stream, on_closed);
    else
        loop_stream_reset(&stream, on_closed);
    test_turns(loop, 4);
    notes_are("");
    ck_assert_int_eq(read(fds[1], &byte, 1), 0); /* the peer sees the end */
    script_cqe(ids[1], 0, NOTIF);
    test_turns(loop, 2);
    notes_are("");
    script_cqe(ids[0], 0, NOTIF);
    test_turns(loop, 2);
    notes_are("A 0 30000; B -125 500; c -125 0; close; ");
    script.pending_count = 0;
}
END_TEST

/* ---- buffers */

static loop_buffer kept[BUFFERS];
static uint32_t    kept_count;

static void keep(struct loop *of, const struct loop_result *result, void *arg)
{
    (void)arg;
    if (result->res > 0) {
        ck_assert_int_eq(loop_buffer_keep(of, result->buffer), 0);
        kept[kept_count++] = result->buffer;
    }
}

static loop_id receive(uint32_t count)
{
    loop_id id = loop_recv_multishot(loop, 77, LOOP_GROUP_DEFAULT, 0, keep, NULL, NULL);

    test_turns(loop, 1);
    for (uint32_t i = 0; i < count; i++) {
        script_cqe((uint64_t)id, SIZE, MORE | script_buffer(LOOP_GROUP_DEFAULT, bytes + i * SIZE, SIZE));
        test_turns(loop, 1);
    }
    ck_assert_uint_eq(kept_count, count);
    return id;
}

static struct io_uring_sqe *sent_message(void)
{
    return script_find(IORING_OP_SENDMSG, 0);
}

/* The bytes that a pending send would send. */
static size_t bytes_of(const struct io_uring_sqe *sqe, char *into)
{
    const struct msghdr *msg = (const struct msghdr *)(uintptr_t)sqe->addr;
    size_t               size = 0;

    if (sqe->opcode == IORING_OP_SEND) {
        memcpy(into, (const void *)(uintptr_t)sqe->addr, sqe->len);
        return sqe->len;
    }
    for (size_t i = 0; i < msg->msg_iovlen; i++) {
        memcpy(into + size, msg->msg_iov[i].iov_base, msg->msg_iov[i].iov_len);
        size += msg->msg_iov[i].iov_len;
    }
    return size;
}

/* Goal: of a blocked send that holds all buffers they come home by a stop, a part that left is counted, the rest is
 * sent on from copies, byte for byte. Method: seven buffers in one send, which ends by the stop with several counts;
 * the buffers that came home are overwritten. */
START_TEST(buffers_come_home)
{
    static const int32_t           ends[] = {-ECANCELED, 1, SIZE, 3 * SIZE + 17, 7 * SIZE};
    struct loop_buffer_group_stats stats;
    loop_id                        id = receive(7);
    char                           sent[8 * SIZE];
    size_t                         left = ends[_i] < 0 ? 7 * SIZE : 7 * SIZE - (size_t)ends[_i];

    script.manual = true;
    for (uint32_t i = 0; i < 7; i++)
        must_write(loop_buffer_data(loop, kept[i], NULL), SIZE, "w", kept[i]);
    test_turns(loop, 1); /* sent */
    ck_assert_ptr_nonnull(sent_message());
    ck_assert_uint_eq(script_count(IORING_OP_ASYNC_CANCEL), 0);
    script.now_ns += 20 * LOOP_MILLISECOND;
    test_turns(loop, 3);
    ck_assert_uint_eq(script_count(IORING_OP_ASYNC_CANCEL), 1);
    script_complete(the(IORING_OP_ASYNC_CANCEL), 0, 0);
    script_complete(sent_message(), ends[_i], 0);
    test_turns(loop, 3);
    ck_assert_uint_eq(loop_stream_queued(&stream), left);
    ck_assert_int_eq(loop_buffer_group_stats_get(loop, LOOP_GROUP_DEFAULT, &stats), 0);
    ck_assert_uint_eq(stats.home, BUFFERS);
    for (uint32_t i = 0; i < 7; i++) {
        ck_assert_ptr_null(loop_buffer_data(loop, kept[i], NULL));
        script_cqe((uint64_t)id, SIZE, MORE | script_buffer(LOOP_GROUP_DEFAULT, bytes + 30000, SIZE));
    }
    if (left > 0) {
        struct io_uring_sqe *sqe = sent_message() != NULL ? sent_message() : the(IORING_OP_SEND);

        ck_assert_uint_eq(bytes_of(sqe, sent), left);
        ck_assert_int_eq(memcmp(sent, bytes + 7 * SIZE - left, left), 0);
        script_complete(sqe, (int32_t)left, 0);
    }
    kept_count = 0;
    test_turns(loop, 2);
    notes_are("w 0 1000; w 0 1000; w 0 1000; w 0 1000; w 0 1000; w 0 1000; w 0 1000; ");
    while (kept_count > 0)
        ck_assert_int_eq(loop_buffer_return(loop, kept[--kept_count]), 0);
    script.manual = false;
    ck_assert_int_eq(loop_cancel(loop, id), 0);
    test_turns(loop, 2);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("sim/stream_write");
    TCase *tcase = test_case_without_ring(suite, "cancel");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, stopped_send, 0, 6);
    tcase_add_loop_test(tcase, stopped_send_fails, 0, 2);
    tcase = test_case_without_ring(suite, "zero-copy");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, notifications_late);
    tcase_add_loop_test(tcase, notifications_of_parts, 0, 2);
    tcase_add_loop_test(tcase, refused, 0, 2);
    tcase_add_test(tcase, unknown);
    tcase_add_loop_test(tcase, close_waits, 0, 2);
    tcase = test_case_without_ring(suite, "buffers");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, buffers_come_home, 0, 5);
    return suite;
}
