/* tests/net/fault_test.c: listeners and streams where memory runs out: each allocation fails once. */
#include "tests/net/net_test.h"

enum { BIG = 100000, SMALL = 20, ALLOCATIONS_MAX = 2000 };

/* One conversation: a client of the loop sends to a server of the loop, which echoes. Whatever reports an error counts.
 */
struct talk {
    struct loop         *loop;
    struct loop_listener listener;
    struct end           server, client;
    uint32_t             errors;
    bool                 accepted;
};

static struct talk *talk;

static void failed_if(int error)
{
    ck_assert_int_le(error, 0);
    talk->errors += error < 0;
}

static void talk_written(struct loop_stream *stream, int error, size_t bytes, void *arg)
{
    (void)stream;
    (void)bytes;
    (void)arg;
    callback_enter();
    failed_if(error);
}

static void server_read(struct loop_stream *stream, const struct loop_result *result)
{
    int r = result->res;

    end_read_cb(stream, result);
    if (result->res > 0)
        r = CALL(loop_stream_write(stream, result->data, (size_t)result->res, talk_written, NULL,
                                   &(const struct loop_write_terms){.release = result->buffer}));
    failed_if(r);
    if (r < 0)
        loop_stream_close(stream, NULL); /* with a piece missing, nothing may follow */
}

static void client_read(struct loop_stream *stream, const struct loop_result *result)
{
    end_read_cb(stream, result);
    failed_if(result->res < 0 ? result->res : 0);
}

static void talk_accept(struct loop_listener *listener, int result)
{
    int r;

    (void)listener;
    callback_enter();
    if (result < 0) {
        failed_if(result);
        return;
    }
    ck_assert(!talk->accepted);
    talk->accepted = true;
    talk->server.read_flow = 1;
    r = CALL(loop_stream_open(talk->loop, &talk->server.stream, result, NULL));
    failed_if(r);
    if (r < 0)
        test_close(result);
    else
        failed_if(CALL(loop_stream_read_start(&talk->server.stream, server_read)));
}

static void talk_connected(struct loop_stream *stream, int error)
{
    callback_enter();
    failed_if(error);
    if (error == 0)
        failed_if(CALL(loop_stream_read_start(stream, client_read)));
}

static void talk_write(size_t offset, size_t size)
{
    static uint8_t bytes[BIG];

    pattern_fill(1, offset, bytes, size);
    failed_if(CALL(loop_stream_write(&talk->client.stream, bytes, size, talk_written, NULL,
                                     &(const struct loop_write_terms){.flags = LOOP_WRITE_COPY})));
}

static void talk_start(int kind)
{
    struct loop_address        address = net_address(kind);
    struct loop_stream_options options = {.connect_timeout_ns = LOOP_SECOND};
    int                        r;

    talk->client.read_flow = 1;
    r = CALL(loop_listener_start(talk->loop, &talk->listener, &address, NULL, talk_accept));
    failed_if(r);
    if (r < 0)
        return;
    ck_assert_int_eq(loop_listener_address(&talk->listener, &address), 0);
    r = CALL(loop_stream_connect(talk->loop, &talk->client.stream, &address, &options, talk_connected));
    failed_if(r);
    if (r < 0)
        return;
    talk_write(0, BIG);
    if (talk->errors == 0)
        talk_write(BIG, SMALL);
}

static bool talk_done(void)
{
    return talk->errors > 0 || talk->client.read_bytes == BIG + SMALL;
}

/* Goal: where an allocation fails, the failure is reported or made good, nothing crashes, hangs or is lost, and all is
 * given back. Method: the n-th allocation of a conversation fails, for every n until none is left to fail; each time
 * the whole of it must arrive, or an error must have been told; then the loop is destroyed with everything open. */
START_TEST(each_allocation_fails)
{
    const struct loop_options options = {
        .allocator = test_allocator(), .sq_entries = 8, .buffer_size = 4096, .buffer_count = 8};
    uint32_t descriptors = test_fd_count(), survived = 0, told = 0;

    for (uint32_t n = 1;; n++) {
        static struct talk this_talk;
        int                r;

        ck_assert_uint_lt(n, ALLOCATIONS_MAX);
        memset(&this_talk, 0, sizeof(this_talk));
        memset(&test_memory, 0, sizeof(test_memory));
        talk = &this_talk;
        test_memory.fail_at = n;
        r = loop_create(&talk->loop, &options);
        if (r == 0) {
            talk_start(_i);
            pump_until(talk->loop, talk_done());
            settle(talk->loop); /* what went wrong may have had consequences */
            if (talk->errors == 0)
                survived++;
            else
                told++;
            test_loop_drop(talk->loop);
        } else {
            ck_assert_int_eq(r, -ENOMEM);
            told++;
        }
        ck_assert_uint_eq(test_memory.blocks, 0);
        ck_assert_uint_eq(test_fd_count(), descriptors);
        if (test_memory.failed == 0)
            break;
    }
    ck_assert_uint_gt(told, 0);
    ck_assert_uint_gt(survived, 0); /* the last one at least, where nothing failed */
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("net/fault");
    TCase *tcase = test_case(suite, "memory");

    tcase_add_loop_test(tcase, each_allocation_fails, 0, net_kinds());
    return suite;
}
