/* tests/net/ref_test.c: whether open objects keep the loop alive, changed at any time; and walking over them. */
#include "tests/net/net_test.h"

#include <pthread.h>

static void nothing_accepted(struct loop_listener *listener, int fd)
{
    (void)listener, (void)fd;
    ck_abort_msg("nobody connects");
}

static void count_listener(struct loop_listener *listener)
{
    ++*(uint32_t *)listener->data;
}

static void count_stream(struct loop_stream *stream)
{
    ++*(uint32_t *)stream->data;
}

static void count_datagram(struct loop_datagram *datagram)
{
    ++*(uint32_t *)datagram->data;
}

/* ---- listeners */

/* Goal: an open listener lets the run end without its ref, and has it again; a closing one keeps the loop in any case.
 */
START_TEST(listener_alone)
{
    struct loop         *loop = test_loop_new(NULL);
    uint32_t             closed = 0;
    struct loop_listener listener = {.data = &closed};
    struct loop_address  address = net_address(_i);

    loop_listener_unref(&listener); /* not open: nothing happens */
    ck_assert(!loop_listener_has_ref(&listener));
    ck_assert_int_eq(loop_listener_start(loop, &listener, &address, NULL, nothing_accepted), 0);
    ck_assert(loop_listener_has_ref(&listener));
    ck_assert(loop_alive(loop));
    loop_listener_unref(&listener);
    loop_listener_unref(&listener);
    ck_assert(!loop_listener_has_ref(&listener));
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_DEFAULT), 0);
    loop_listener_ref(&listener);
    ck_assert(loop_alive(loop));
    loop_listener_unref(&listener);
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_DEFAULT), 0);
    loop_listener_close(&listener, count_listener);
    ck_assert(loop_listener_has_ref(&listener));
    loop_listener_unref(&listener);
    ck_assert(loop_alive(loop));
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_DEFAULT), 0);
    ck_assert_uint_eq(closed, 1);
    test_loop_free(loop);
}
END_TEST

/* ---- streams */

static void never_read(struct loop_stream *stream, const struct loop_result *result)
{
    (void)stream, (void)result;
}

/* Goal: a stream that reads, without a ref, lets the run end; closing, it does not. */
START_TEST(stream_that_reads)
{
    struct loop       *loop = test_loop_new(NULL);
    uint32_t           closed = 0;
    struct loop_stream stream = {.data = &closed};
    int                fds[2];

    net_pair(_i, fds);
    loop_stream_ref(&stream);
    ck_assert(!loop_stream_has_ref(&stream));
    ck_assert_int_eq(loop_stream_open(loop, &stream, fds[0], NULL), 0);
    ck_assert_int_eq(loop_stream_read_start(&stream, never_read), 0);
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_NOWAIT), 1);
    loop_stream_unref(&stream);
    loop_stream_unref(&stream);
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_DEFAULT), 0);
    loop_stream_ref(&stream);
    ck_assert(loop_stream_has_ref(&stream));
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_NOWAIT), 1);
    loop_stream_unref(&stream);
    loop_stream_close(&stream, count_stream);
    loop_stream_unref(&stream);
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_DEFAULT), 0);
    ck_assert_uint_eq(closed, 1);
    test_loop_free(loop);
    test_close(fds[1]);
}
END_TEST

/* Goal: without a ref a write that waits for its peer still keeps the loop until its callback. Method: more bytes than
 * the socket takes; a thread reads them. */
static void count_write(struct loop_stream *stream, int error, size_t bytes, void *arg)
{
    (void)stream, (void)bytes;
    ck_assert_int_eq(error, 0);
    ++*(uint32_t *)arg;
}

enum { BIG = 8 << 20 };

static void *read_all(void *arg)
{
    char *bytes = malloc(BIG);

    ck_assert_ptr_nonnull(bytes);
    test_sleep(10 * LOOP_MILLISECOND);
    test_read(*(int *)arg, bytes, BIG);
    free(bytes);
    return NULL;
}

START_TEST(stream_that_writes)
{
    struct loop       *loop = test_loop_new(NULL);
    struct loop_stream stream = {0};
    char              *bytes = calloc(1, BIG);
    uint32_t           written = 0;
    pthread_t          thread;
    int                fds[2];

    ck_assert_ptr_nonnull(bytes);
    net_pair(_i, fds);
    ck_assert_int_eq(loop_stream_open(loop, &stream, fds[0], NULL), 0);
    ck_assert_int_eq(loop_stream_write(&stream, bytes, BIG, count_write, &written, NULL), 0);
    test_turns(loop, 1);
    loop_stream_unref(&stream);
    ck_assert_int_eq(pthread_create(&thread, NULL, read_all, &fds[1]), 0);
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_DEFAULT), 0);
    ck_assert_uint_eq(written, 1);
    pthread_join(thread, NULL);
    loop_stream_close(&stream, NULL);
    test_run(loop);
    test_loop_free(loop);
    free(bytes);
    test_close(fds[1]);
}
END_TEST

/* Goal: without a ref a stream that connects keeps the loop until its connect callback. */
static void connected(struct loop_stream *stream, int error)
{
    ck_assert_int_eq(error, 0);
    ++*(uint32_t *)stream->data;
}

START_TEST(stream_that_connects)
{
    struct loop        *loop = test_loop_new(NULL);
    uint32_t            count = 0;
    struct loop_stream  stream = {.data = &count};
    struct loop_address address;
    int                 fd = net_listen(_i, 8, &address);

    ck_assert_int_eq(loop_stream_connect(loop, &stream, &address, NULL, connected), 0);
    loop_stream_unref(&stream);
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_DEFAULT), 0);
    ck_assert_uint_eq(count, 1);
    ck_assert(!loop_stream_has_ref(&stream));
    loop_stream_close(&stream, count_stream);
    test_run(loop);
    ck_assert_uint_eq(count, 2);
    test_loop_free(loop);
    test_close(fd);
}
END_TEST

/* Goal: a stream that is being detached keeps the loop; what was asked for meanwhile counts when it stays. Method: a
 * detach that a write holds up, then a close. */
static void detached(struct loop_stream *stream, int error, struct loop_detached *detached_fd)
{
    (void)stream;
    ck_assert_int_eq(error, 0);
    loop_detached_drop(detached_fd);
}

START_TEST(stream_that_leaves)
{
    struct loop       *loop = test_loop_new(NULL);
    struct loop_stream stream = {0};
    int                fds[2];

    net_pair(NET_UNIX, fds);
    ck_assert_int_eq(loop_stream_open(loop, &stream, fds[0], NULL), 0);
    ck_assert_int_eq(loop_stream_read_start(&stream, never_read), 0);
    test_turns(loop, 1);
    ck_assert_int_eq(loop_stream_detach(&stream, detached), 0);
    if (_i == 1)
        loop_stream_unref(&stream);
    ck_assert(loop_alive(loop));
    test_run(loop);
    ck_assert(!loop_alive(loop));
    test_loop_free(loop);
    test_close(fds[1]);
}
END_TEST

/* ---- datagrams */

static void never_receive(struct loop_datagram *datagram, const struct loop_datagram_message *message)
{
    (void)datagram, (void)message;
}

/* Goal: a socket that receives, without a ref, lets the run end. */
START_TEST(datagram_that_receives)
{
    struct loop         *loop = test_loop_new(NULL);
    uint32_t             closed = 0;
    struct loop_datagram datagram = {.data = &closed};
    struct loop_address  address = net_parse("127.0.0.1", 0);

    loop_datagram_unref(&datagram);
    ck_assert(!loop_datagram_has_ref(&datagram));
    ck_assert_int_eq(loop_datagram_open(loop, &datagram, &address, NULL), 0);
    ck_assert_int_eq(loop_datagram_receive_start(&datagram, never_receive), 0);
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_NOWAIT), 1);
    loop_datagram_unref(&datagram);
    loop_datagram_unref(&datagram);
    ck_assert(!loop_datagram_has_ref(&datagram));
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_DEFAULT), 0);
    loop_datagram_ref(&datagram);
    ck_assert(loop_alive(loop));
    loop_datagram_unref(&datagram);
    loop_datagram_close(&datagram, count_datagram);
    loop_datagram_unref(&datagram);
    ck_assert_int_eq(loop_run(loop, LOOP_RUN_DEFAULT), 0);
    ck_assert_uint_eq(closed, 1);
    test_loop_free(loop);
}
END_TEST

/* Goal: its sends keep the loop until their callbacks, however the ref goes and comes meanwhile; the counts are right
 * afterwards. Method: bits of _i: unref before the send, after it, ref after that. */
static void count_send(struct loop_datagram *datagram, int result, void *arg)
{
    (void)datagram;
    ck_assert_int_eq(result, 1);
    ++*(uint32_t *)arg;
}

START_TEST(datagram_that_sends)
{
    struct loop         *loop = test_loop_new(NULL);
    struct loop_datagram datagram = {0};
    struct loop_address  address = net_parse("127.0.0.1", 0), own;
    uint32_t             sent = 0;

    ck_assert_int_eq(loop_datagram_open(loop, &datagram, &address, NULL), 0);
    ck_assert_int_eq(loop_datagram_local_address(&datagram, &own), 0);
    if ((_i & 1) != 0)
        loop_datagram_unref(&datagram);
    ck_assert_int_eq(loop_datagram_send(&datagram, "x", 1, &own, count_send, &sent, NULL), 0);
    if ((_i & 2) != 0)
        loop_datagram_unref(&datagram);
    if ((_i & 4) != 0)
        loop_datagram_ref(&datagram);
    ck_assert(loop_alive(loop));
    ck_assert(loop_datagram_has_ref(&datagram) == ((_i & 4) != 0 || _i == 0));
    test_turns(loop, 3);
    ck_assert_uint_eq(sent, 1);
    ck_assert(loop_alive(loop) == loop_datagram_has_ref(&datagram));
    loop_datagram_unref(&datagram);
    ck_assert(!loop_alive(loop));
    loop_datagram_close(&datagram, NULL);
    test_run(loop);
    ck_assert(!loop_alive(loop));
    test_loop_free(loop);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("ref");
    TCase *tcase = test_case(suite, "ref");

    tcase_add_loop_test(tcase, listener_alone, 0, net_kinds());
    tcase_add_loop_test(tcase, stream_that_reads, 0, net_kinds());
    tcase_add_loop_test(tcase, stream_that_writes, 0, net_kinds());
    tcase_add_loop_test(tcase, stream_that_connects, 0, net_kinds());
    tcase_add_loop_test(tcase, stream_that_leaves, 0, 2);
    tcase_add_test(tcase, datagram_that_receives);
    tcase_add_loop_test(tcase, datagram_that_sends, 0, 8);
    return suite;
}
