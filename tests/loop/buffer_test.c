/* tests/loop/buffer_test.c: lent buffers: keeping, returning, handing on. */
#include "tests/loop/pair_world.h"

enum { BUFFER_SIZE = 512, BUFFERS = 4 };

static void setup(void)
{
    pair_open(&(struct loop_options){.sq_entries = 64, .buffer_size = BUFFER_SIZE, .buffer_count = BUFFERS});
}

static void peer_ends(void)
{
    test_close(pair[1]);
    pair[1] = -1;
    test_run(loop);
}

static void subscribe(loop_cb *cb, void *arg)
{
    ck_assert_int_gt(loop_recv_multishot(loop, pair[0], LOOP_GROUP_DEFAULT, 0, cb, arg, NULL), 0);
}

struct kept {
    loop_buffer buffer;
    void       *data;
    uint32_t    count, how;
};

/* Goal: calls on what is no lent buffer are refused. Method: before a group exists, and after. */
static void unknown_buffers(void)
{
    static const loop_buffer unknown[] = {0, 1, 2, BUFFERS, BUFFERS + 1, 12345, 0x10000, UINT32_MAX};

    for (size_t i = 0; i < TEST_COUNT(unknown); i++) {
        size_t size = 99;

        ck_assert_int_eq(loop_buffer_keep(loop, unknown[i]), -EINVAL);
        ck_assert_int_eq(loop_buffer_return(loop, unknown[i]), -EINVAL);
        ck_assert_ptr_null(loop_buffer_data(loop, unknown[i], &size));
        ck_assert_uint_eq(size, 99); /* outputs are untouched on failure */
    }
}

START_TEST(unknown)
{
    struct test_log log = {0};

    unknown_buffers();
    subscribe(test_log_cb, &log);
    test_write(pair[1], "x", 1);
    test_run_until(loop, &log.count, 1);
    unknown_buffers();
    ck_assert_int_eq(loop_buffer_keep(loop, log.last.buffer), -EINVAL); /* it went back */
    ck_assert_int_eq(loop_buffer_return(loop, log.last.buffer), -EINVAL);
    peer_ends();
}
END_TEST

static void lent_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    struct kept *kept = arg;
    size_t       size = 0;

    if (!(result->flags & LOOP_BUFFER))
        return;
    kept->count++;
    ck_assert_uint_eq(test_stats(of).buffers_lent, 1);
    ck_assert_ptr_eq(loop_buffer_data(of, result->buffer, &size), result->data);
    ck_assert_uint_eq(size, BUFFER_SIZE);
    ck_assert_ptr_eq(loop_buffer_data(of, result->buffer, NULL), result->data);
    kept->buffer = result->buffer;
    kept->data = result->data;
    switch (kept->how) {
    case 0: /* early */
        ck_assert_int_eq(loop_buffer_return(of, result->buffer), 0);
        ck_assert_int_eq(loop_buffer_return(of, result->buffer), -EINVAL);
        ck_assert_int_eq(loop_buffer_keep(of, result->buffer), -EINVAL);
        ck_assert_ptr_null(loop_buffer_data(of, result->buffer, &size));
        ck_assert_uint_eq(test_stats(of).buffers_lent, 0);
        break;
    case 1: /* kept */ ck_assert_int_eq(loop_buffer_keep(of, result->buffer), 0); break;
    case 2: /* kept and given back in the same callback */
        ck_assert_int_eq(loop_buffer_keep(of, result->buffer), 0);
        ck_assert_int_eq(loop_buffer_return(of, result->buffer), 0);
        ck_assert_uint_eq(test_stats(of).buffers_lent, 0);
        break;
    }
}

/* Goal: a lent buffer can be given back early, kept, or both, and then is out or not. Method: each way (_i). */
START_TEST(keep_and_return)
{
    struct kept kept = {.how = (uint32_t)_i};
    size_t      size = 0;

    subscribe(lent_cb, &kept);
    test_write(pair[1], "hello", 5);
    test_run_until(loop, &kept.count, 1);
    ck_assert_uint_ne(kept.buffer, 0);
    if (_i == 1) {
        ck_assert_uint_eq(test_stats(loop).buffers_lent, 1);
        ck_assert_ptr_eq(loop_buffer_data(loop, kept.buffer, &size), kept.data);
        ck_assert_uint_eq(size, BUFFER_SIZE);
        ck_assert_mem_eq(kept.data, "hello", 5);
        ck_assert_int_eq(loop_buffer_return(loop, kept.buffer), 0);
        ck_assert_int_eq(loop_buffer_return(loop, kept.buffer), -EINVAL);
    }
    ck_assert_uint_eq(test_stats(loop).buffers_lent, 0);
    peer_ends();
}
END_TEST

struct hoard {
    loop_buffer buffers[BUFFERS];
    uint32_t    kept;
};

static void hoard_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    struct hoard *hoard = arg;

    if (!(result->flags & LOOP_BUFFER) || hoard->kept == BUFFERS - 1)
        return;
    ck_assert_int_eq(loop_buffer_keep(of, result->buffer), 0);
    hoard->buffers[hoard->kept++] = result->buffer;
}

/* Goal: what is kept keeps its content and its name while others come and go. Method: three of four kept, then a lot of
 * traffic. */
START_TEST(content_stays)
{
    struct hoard hoard = {0};
    char         block[BUFFER_SIZE];

    subscribe(hoard_cb, &hoard);
    for (uint32_t i = 0; i < BUFFERS - 1; i++) {
        memset(block, (int)('a' + i), sizeof(block));
        test_write(pair[1], block, sizeof(block));
        test_run_until(loop, &hoard.kept, i + 1);
    }
    for (uint32_t i = 0; i < BUFFERS - 1; i++)
        for (uint32_t j = 0; j < i; j++)
            ck_assert_uint_ne(hoard.buffers[i], hoard.buffers[j]);
    memset(block, 'z', sizeof(block));
    for (int i = 0; i < 50; i++) {
        test_write(pair[1], block, sizeof(block));
        test_turns(loop, 1);
    }
    for (uint32_t i = 0; i < BUFFERS - 1; i++) {
        const char *data = loop_buffer_data(loop, hoard.buffers[i], NULL);

        for (size_t b = 0; b < BUFFER_SIZE; b++)
            ck_assert_int_eq(data[b], (char)('a' + i));
        ck_assert_int_eq(loop_buffer_return(loop, hoard.buffers[i]), 0);
    }
    peer_ends();
}
END_TEST

/* Goal: a name that was given back is dead though its memory is out again. Method: a group of one buffer, kept twice.
 */
START_TEST(old_names)
{
    struct kept kept = {.how = 1};
    loop_buffer old[20];

    test_loop_drop(loop);
    loop = test_loop_new(&(struct loop_options){.buffer_size = BUFFER_SIZE, .buffer_count = 1});
    subscribe(lent_cb, &kept);
    for (uint32_t i = 0; i < TEST_COUNT(old); i++) {
        test_write(pair[1], "x", 1);
        test_run_until(loop, &kept.count, i + 1);
        old[i] = kept.buffer;
        for (uint32_t j = 0; j < i; j++) {
            ck_assert_int_eq(loop_buffer_return(loop, old[j]), -EINVAL);
            ck_assert_ptr_null(loop_buffer_data(loop, old[j], NULL));
        }
        ck_assert_uint_eq(test_stats(loop).buffers_lent, 1);
        ck_assert_int_eq(loop_buffer_return(loop, kept.buffer), 0);
    }
    peer_ends();
}
END_TEST

/* Goal: kept buffers at loop_destroy are no leak. */
START_TEST(kept_at_destroy)
{
    struct hoard hoard = {0};

    subscribe(hoard_cb, &hoard);
    test_write(pair[1], "x", 1);
    test_run_until(loop, &hoard.kept, 1);
    test_loop_drop(loop);
    loop = test_loop_new(NULL);
}
END_TEST

/* ---- release */

/* Goal: terms.release takes a lent or kept buffer and gives it back after the final callback. Method: echo each piece
 * from its own buffer; 500 of them through four buffers, one send at a time. */
struct echo {
    int      fd;
    uint32_t sent, received;
    bool     ended, keep_first;
    struct piece {
        loop_buffer buffer;
        void       *data;
        int32_t     size;
    } queue[BUFFERS];
    uint32_t head, tail;
};

static void echo_next(struct loop *of, struct echo *echo);

static void echo_sent(struct loop *of, const struct loop_result *result, void *arg)
{
    struct echo *echo = arg;

    ck_assert_int_eq(result->res, echo->queue[echo->head % BUFFERS].size);
    ck_assert_ptr_nonnull(
        loop_buffer_data(of, echo->queue[echo->head % BUFFERS].buffer, NULL)); /* still out in the final callback */
    echo->sent += (uint32_t)result->res;
    echo->head++;
    echo_next(of, echo);
}

static void echo_next(struct loop *of, struct echo *echo)
{
    struct piece *piece = &echo->queue[echo->head % BUFFERS];

    if (echo->head == echo->tail)
        return;
    ck_assert_int_gt(loop_send(of, echo->fd, piece->data, (size_t)piece->size, 0, echo_sent, echo,
                               LOOP_TERMS(.release = piece->buffer)),
                     0);
    ck_assert_int_eq(loop_buffer_return(of, piece->buffer), -EINVAL); /* it is taken */
}

static void echo_received(struct loop *of, const struct loop_result *result, void *arg)
{
    struct echo *echo = arg;

    if (!(result->flags & LOOP_BUFFER)) {
        echo->ended = true;
        ck_assert_int_eq(result->res, 0);
        return;
    }
    echo->received += (uint32_t)result->res;
    ck_assert_uint_lt(echo->tail - echo->head, BUFFERS);
    echo->queue[echo->tail % BUFFERS] =
        (struct piece){.buffer = result->buffer, .data = result->data, .size = result->res};
    if (echo->tail++ == echo->head)
        echo_next(of, echo); /* a lent one */
    else
        ck_assert_int_eq(loop_buffer_keep(of, result->buffer), 0); /* a kept one, later */
}

START_TEST(echo_by_release)
{
    enum { BYTES = 100000 };
    struct echo echo = {.fd = pair[0]};
    char       *sent = malloc(BYTES), *got = malloc(BYTES);
    uint32_t    out = 0, in = 0;

    for (size_t i = 0; i < BYTES; i++)
        sent[i] = (char)(i * 11 + i / 509);
    subscribe(echo_received, &echo);
    while (in < BYTES) {
        ssize_t n;

        if (out < BYTES && (n = send(pair[1], sent + out, out + 3000 < BYTES ? 3000 : BYTES - out, MSG_DONTWAIT)) > 0)
            out += (uint32_t)n;
        test_turns(loop, 1);
        if ((n = recv(pair[1], got + in, BYTES - in, MSG_DONTWAIT)) > 0)
            in += (uint32_t)n;
    }
    ck_assert_mem_eq(got, sent, BYTES);
    peer_ends();
    ck_assert(echo.ended);
    ck_assert_uint_eq(echo.sent, BYTES);
    ck_assert_uint_eq(echo.received, BYTES);
    ck_assert_uint_eq(test_stats(loop).buffers_lent, 0);
    free(sent);
    free(got);
}
END_TEST

/* Goal: release without a callback, and with an operation that fails or is cancelled, gives the buffer back as well. */
static void release_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    struct kept *kept = arg;
    char         bytes[2];

    if (!(result->flags & LOOP_BUFFER))
        return;
    kept->count++;
    switch (kept->how) {
    case 0: ck_assert_int_gt(loop_nop(of, NULL, NULL, LOOP_TERMS(.release = result->buffer)), 0); break;
    case 1:
        ck_assert_int_gt(loop_recv(of, 3999, bytes, 1, 0, NULL, NULL, LOOP_TERMS(.release = result->buffer)), 0);
        break;
    case 2:
        kept->buffer = result->buffer;
        ck_assert_int_eq(loop_buffer_keep(of, result->buffer), 0);
        break;
    case 3: { /* long, and cancelled */
        static char byte;
        loop_id     id = loop_recv(of, pair[1], &byte, 1, 0, NULL, NULL, LOOP_TERMS(.release = result->buffer));

        ck_assert_int_gt(id, 0);
        ck_assert_int_eq(loop_cancel(of, id), 0);
        break;
    }
    case 4: /* not started: it is still ours, lent, and goes back by itself */
        ck_assert_int_eq(loop_recv(of, -1, bytes, 1, 0, NULL, NULL, LOOP_TERMS(.release = result->buffer)), -EBADF);
        ck_assert_ptr_eq(loop_buffer_data(of, result->buffer, NULL), result->data);
        break;
    case 5: /* not started: still ours to keep */
        ck_assert_int_eq(loop_nop(of, NULL, NULL, LOOP_TERMS(.release = result->buffer, .flags = 1u << 30)), -EINVAL);
        ck_assert_int_eq(loop_buffer_keep(of, result->buffer), 0);
        ck_assert_int_eq(loop_buffer_return(of, result->buffer), 0);
        break;
    case 6: { /* dropped with its chain: still ours */
        ck_assert_int_eq(loop_chain_begin(of, 2, 0), 0);
        ck_assert_int_gt(loop_nop(of, NULL, NULL, LOOP_TERMS(.release = result->buffer)), 0);
        ck_assert_int_eq(loop_recv(of, -1, bytes, 1, 0, NULL, NULL, NULL), -EBADF);
        ck_assert_int_eq(loop_chain_end(of), -EBADF);
        break;
    }
    case 8: { /* kept before: still kept */
        ck_assert_int_eq(loop_buffer_keep(of, result->buffer), 0);
        kept->buffer = result->buffer;
        ck_assert_int_eq(loop_chain_begin(of, 2, 0), 0);
        ck_assert_int_gt(loop_nop(of, NULL, NULL, LOOP_TERMS(.release = result->buffer)), 0);
        ck_assert_int_eq(loop_recv(of, -1, bytes, 1, 0, NULL, NULL, NULL), -EBADF);
        ck_assert_int_eq(loop_chain_end(of), -EBADF);
        break;
    }
    case 7: /* twice is refused */
        ck_assert_int_gt(loop_nop(of, NULL, NULL, LOOP_TERMS(.release = result->buffer)), 0);
        ck_assert_int_eq(loop_nop(of, NULL, NULL, LOOP_TERMS(.release = result->buffer)), -EINVAL);
        break;
    }
}

START_TEST(release)
{
    struct kept kept = {.how = (uint32_t)_i};

    subscribe(release_cb, &kept);
    for (uint32_t i = 1; i <= 2 * BUFFERS; i++) { /* more often than there are buffers */
        test_write(pair[1], "x", 1);
        test_run_until(loop, &kept.count, i);
        if (_i == 2) {
            ck_assert_uint_eq(test_stats(loop).buffers_lent, 1);
            ck_assert_int_gt(loop_nop(loop, NULL, NULL, LOOP_TERMS(.release = kept.buffer)), 0);
        }
        if (_i == 8)
            ck_assert_int_eq(loop_buffer_return(loop, kept.buffer), 0);
        test_turns(loop, 5);
        ck_assert_uint_eq(test_stats(loop).buffers_lent, 0);
    }
    peer_ends();
}
END_TEST

/* Goal: the default group is made at first use, of the memory of the allocator. Method: bytes before and after the
 * first subscription. */
START_TEST(made_at_first_use)
{
    struct test_log log = {0};
    struct loop    *large = test_loop_new(&(struct loop_options){.buffer_size = 16384, .buffer_count = 256});
    uint64_t        before = test_memory.bytes;
    loop_id         id;

    ck_assert_uint_lt(before, 1 << 20);
    id = loop_recv_multishot(large, pair[0], LOOP_GROUP_DEFAULT, 0, test_log_cb, &log, NULL);
    ck_assert_int_gt(id, 0);
    test_turns(large, 1);
    ck_assert_uint_ge(test_memory.bytes, before + 16384 * 256);
    ck_assert_int_eq(loop_cancel(large, id), 0);
    test_run(large);
    test_loop_free(large);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("buffer");
    TCase *tcase = test_case(suite, "buffer");

    tcase_add_checked_fixture(tcase, setup, pair_teardown);
    tcase_add_test(tcase, unknown);
    tcase_add_loop_test(tcase, keep_and_return, 0, 3);
    tcase_add_test(tcase, content_stays);
    tcase_add_test(tcase, old_names);
    tcase_add_test(tcase, kept_at_destroy);
    tcase_add_test(tcase, echo_by_release);
    tcase_add_loop_test(tcase, release, 0, 9);
    tcase_add_test(tcase, made_at_first_use);
    return suite;
}
