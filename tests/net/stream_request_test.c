/* tests/net/stream_request_test.c: reading by request: exactly, at most, up to a delimiter, when ready, at once. */
#include "tests/net/net_test.h"

#include <sys/mman.h>

struct wish {
    uint32_t calls;
    int      error;
    size_t   bytes;
    char     data[4096];
};

static void wish_cb(struct loop_stream *stream, int error, size_t bytes, void *arg)
{
    struct wish *wish = arg;

    (void)stream;
    callback_enter();
    wish->calls++;
    wish->error = error;
    wish->bytes = bytes;
}

static void peer_says(struct link *link, const char *text)
{
    ck_assert_int_eq(send(link->peer.fd, text, strlen(text), 0), (ssize_t)strlen(text));
}

static void wish_is(const struct wish *wish, int error, const char *text)
{
    ck_assert_uint_eq(wish->calls, 1);
    ck_assert_int_eq(wish->error, error);
    ck_assert_uint_eq(wish->bytes, strlen(text));
    ck_assert_mem_eq(wish->data, text, strlen(text));
}

static int until(struct link *link, struct wish *wish, size_t size, const char *delimiter)
{
    return CALL(
        loop_stream_read_until(&link->end.stream, wish->data, size, delimiter, strlen(delimiter), wish_cb, wish, NULL));
}

/* Goal: exactly so many bytes, however they come. Method: 10 are asked for; 4 come, then 9 more; then 3 are asked for,
 * which must be the rest. */
START_TEST(exactly)
{
    struct loop *loop = test_loop_new(NULL);
    struct wish  first = {0}, second = {0};
    struct link  link;

    link_open(loop, &link, _i, 1, NULL);
    ck_assert_int_eq(CALL(loop_stream_read_exactly(&link.end.stream, first.data, 10, wish_cb, &first, NULL)), 0);
    peer_says(&link, "abcd");
    settle(loop);
    ck_assert_uint_eq(first.calls, 0);
    peer_says(&link, "efghijKLM");
    run_until(loop, first.calls == 1);
    wish_is(&first, 0, "abcdefghij");
    ck_assert_int_eq(CALL(loop_stream_read_exactly(&link.end.stream, second.data, 3, wish_cb, &second, NULL)), 0);
    run_until(loop, second.calls == 1);
    wish_is(&second, 0, "KLM");
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* Goal: lines are cut at their delimiter, also where it comes in two pieces, and what stands behind waits for the next
 * request. Method: several lines in one piece, one that is split inside its delimiter. */
START_TEST(lines)
{
    static const char *const expected[] = {"one\r\n", "\r\n", "a\rb\r\r\n", "split\r\n"};
    struct loop             *loop = test_loop_new(NULL);
    struct link              link;

    link_open(loop, &link, _i, 1, NULL);
    peer_says(&link, "one\r\n\r\na\rb\r\r\nspl");
    for (size_t i = 0; i < TEST_COUNT(expected); i++) {
        struct wish line = {0};

        ck_assert_int_eq(until(&link, &line, sizeof(line.data), "\r\n"), 0);
        if (i == 3) {
            peer_says(&link, "it\r");
            settle(loop);
            ck_assert_uint_eq(line.calls, 0);
            peer_says(&link, "\n");
        }
        run_until(loop, line.calls == 1);
        wish_is(&line, 0, expected[i]);
    }
    ck_assert_uint_eq(test_stats(loop).buffers_lent, 0);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* Goal: without a delimiter in size bytes the request ends with -EMSGSIZE, the bytes are there, and the rest can still
 * be read. */
START_TEST(line_too_long)
{
    struct loop *loop = test_loop_new(NULL);
    struct wish  line = {0}, rest = {0};
    struct link  link;

    link_open(loop, &link, _i, 1, NULL);
    peer_says(&link, "0123456789;");
    ck_assert_int_eq(until(&link, &line, 8, ";"), 0);
    run_until(loop, line.calls == 1);
    wish_is(&line, -EMSGSIZE, "01234567");
    ck_assert_int_eq(until(&link, &rest, 3, ";"), 0);
    run_until(loop, rest.calls == 1);
    wish_is(&rest, 0, "89;");
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* Goal: more memory than the kernel counts in one receive can be offered. Method: twice, before and behind a rest. */
START_TEST(huge)
{
    const size_t size = (size_t)3 << 30;
    struct loop *loop = test_loop_new(NULL);
    char        *data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    struct link  link;

    ck_assert_ptr_ne(data, MAP_FAILED);
    link_open(loop, &link, _i, 1, NULL);
    peer_says(&link, "one;two");
    for (uint32_t i = 0; i < 2; i++) {
        struct wish wish = {0};

        ck_assert_int_eq(CALL(loop_stream_read_until(&link.end.stream, data, size, ";", 1, wish_cb, &wish, NULL)), 0);
        settle(loop);
        if (i == 1)
            peer_says(&link, ";");
        run_until(loop, wish.calls == 1);
        ck_assert_int_eq(wish.error, 0);
        ck_assert_uint_eq(wish.bytes, 4);
    }
    link_close(loop, &link);
    test_loop_free(loop);
    munmap(data, size);
}
END_TEST

/* Goal: the end of the peer's half ends a request with -ENODATA and what has come; then nothing can be read, but
 * written. */
START_TEST(end_of_stream)
{
    struct loop *loop = test_loop_new(NULL);
    struct wish  wish = {0}, more = {0};
    struct link  link;

    link_open(loop, &link, _i, 1, NULL);
    ck_assert_int_eq(CALL(loop_stream_read_exactly(&link.end.stream, wish.data, 10, wish_cb, &wish, NULL)), 0);
    peer_says(&link, "abc");
    ck_assert_int_eq(shutdown(link.peer.fd, SHUT_WR), 0);
    run_until(loop, wish.calls == 1);
    wish_is(&wish, -ENODATA, "abc");
    ck_assert_int_eq(until(&link, &more, 10, "\n"), -ENOTCONN);
    ck_assert_int_eq(CALL(loop_stream_read_start(&link.end.stream, end_read_cb)), -ENOTCONN);
    ck_assert_int_eq((int)loop_stream_try_read(&link.end.stream, more.data, 1), -ENOTCONN);
    ck_assert_int_eq(end_write(&link.end, 1000, 0), 0);
    pump_until(loop, (peer_drain(&link.peer, SIZE_MAX), link.peer.read_bytes == 1000));
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* Goal: a reset is the connection's error. */
START_TEST(reset_by_peer)
{
    struct loop *loop = test_loop_new(NULL);
    struct wish  wish = {0};
    struct link  link;

    link_open(loop, &link, _i, 1, NULL);
    ck_assert_int_eq(CALL(loop_stream_read(&link.end.stream, wish.data, 10, wish_cb, &wish, NULL)), 0);
    ck_assert_int_eq(end_write(&link.end, 10, 0), 0); /* unread by the peer: its close resets */
    run_until(loop, link.end.writes_done == 1);
    net_reset(link.peer.fd);
    link.peer.fd = -1;
    run_until(loop, wish.calls == 1);
    wish_is(&wish, -ECONNRESET, "");
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* Goal: a deadline ends the request, not the stream, and what has come is counted. Method: 4 of 8 bytes, then silence;
 * the other 4 are read afterwards. */
START_TEST(deadline)
{
    static const struct loop_request_terms terms = {.timeout_ns = 20 * LOOP_MILLISECOND};
    struct loop                           *loop = test_loop_new(NULL);
    struct wish                            wish = {0}, rest = {0};
    struct link                            link;

    link_open(loop, &link, _i, 1, NULL);
    peer_says(&link, "abcd");
    ck_assert_int_eq(CALL(loop_stream_read_exactly(&link.end.stream, wish.data, 8, wish_cb, &wish, &terms)), 0);
    run_until(loop, wish.calls == 1);
    wish_is(&wish, -ETIMEDOUT, "abcd");
    wish.calls = 0;
    ck_assert_int_eq(CALL(loop_stream_read_until(&link.end.stream, wish.data, 8, "\n", 1, wish_cb, &wish, &terms)), 0);
    run_until(loop, wish.calls == 1);
    wish_is(&wish, -ETIMEDOUT, "");
    wish.calls = 0;
    ck_assert_int_eq(CALL(loop_stream_read_ready(&link.end.stream, wish_cb, &wish, &terms)), 0);
    run_until(loop, wish.calls == 1);
    wish_is(&wish, -ETIMEDOUT, "");
    peer_says(&link, "efgh");
    ck_assert_int_eq(CALL(loop_stream_read(&link.end.stream, rest.data, 100, wish_cb, &rest, NULL)), 0);
    run_until(loop, rest.calls == 1);
    wish_is(&rest, 0, "efgh");
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* Goal: a cancelled request ends once with -ECANCELED and true bytes, and the stream can be read on. Method: cancelled
 * in the turn of its start, and later with a part there; twice. */
START_TEST(cancel)
{
    struct loop *loop = test_loop_new(NULL);
    struct wish  wish = {0}, part = {0}, rest = {0};
    struct link  link;

    link_open(loop, &link, _i, 1, NULL);
    ck_assert_int_eq(CALL(loop_stream_read_cancel(&link.end.stream)), 0);
    ck_assert_int_eq(CALL(loop_stream_read_exactly(&link.end.stream, wish.data, 8, wish_cb, &wish, NULL)), 0);
    ck_assert_int_eq(CALL(loop_stream_read_cancel(&link.end.stream)), 0);
    ck_assert_int_eq(CALL(loop_stream_read_cancel(&link.end.stream)), 0);
    ck_assert_uint_eq(wish.calls, 0);
    run_until(loop, wish.calls == 1);
    wish_is(&wish, -ECANCELED, "");
    ck_assert_int_eq(CALL(loop_stream_read_exactly(&link.end.stream, part.data, 8, wish_cb, &part, NULL)), 0);
    peer_says(&link, "abc");
    settle(loop);
    ck_assert_int_eq(CALL(loop_stream_read_cancel(&link.end.stream)), 0);
    run_until(loop, part.calls == 1);
    wish_is(&part, -ECANCELED, "abc");
    peer_says(&link, "def");
    ck_assert_int_eq(CALL(loop_stream_read(&link.end.stream, rest.data, 8, wish_cb, &rest, NULL)), 0);
    run_until(loop, rest.calls == 1);
    wish_is(&rest, 0, "def");
    settle(loop);
    ck_assert_uint_eq(wish.calls, 1);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

static void noted_wish_cb(struct loop_stream *stream, int error, size_t bytes, void *arg)
{
    (void)stream;
    (void)arg;
    callback_enter();
    note("request %s %zu", error_text(error), bytes);
}

/* Goal: at close a waiting request is told before writes and the close itself, with its true count. */
START_TEST(close_while_waiting)
{
    struct loop *loop = test_loop_new(NULL);
    struct wish  wish = {0};
    struct link  link;

    link_open(loop, &link, _i, 1, NULL);
    link.end.name = "end";
    ck_assert_int_eq(CALL(loop_stream_read_exactly(&link.end.stream, wish.data, 8, noted_wish_cb, NULL, NULL)), 0);
    peer_says(&link, "abc");
    settle(loop);
    must_write(&link.end, "x", 1, note_write_cb, "1", NULL);
    link_close(loop, &link);
    notes_are("request ECANCELED 3; write 1 ECANCELED 0; end close");
    test_loop_free(loop);
}
END_TEST

/* Goal: ready tells that there is something without taking it; then it can be tried. Method: before data, with data,
 * at the end. */
START_TEST(ready_and_try)
{
    struct loop *loop = test_loop_new(NULL);
    struct wish  wish = {0};
    struct link  link;
    char         data[8];

    link_open(loop, &link, _i, 1, NULL);
    ck_assert_int_eq((int)loop_stream_try_read(&link.end.stream, data, sizeof(data)), -EAGAIN);
    ck_assert_int_eq(CALL(loop_stream_read_ready(&link.end.stream, wish_cb, &wish, NULL)), 0);
    ck_assert_int_eq((int)loop_stream_try_read(&link.end.stream, data, sizeof(data)), -EBUSY);
    settle(loop);
    ck_assert_uint_eq(wish.calls, 0);
    peer_says(&link, "abcdefghij");
    run_until(loop, wish.calls == 1);
    wish_is(&wish, 0, "");
    ck_assert_int_eq((int)loop_stream_try_read(&link.end.stream, data, sizeof(data)), 8);
    ck_assert_mem_eq(data, "abcdefgh", 8);
    ck_assert_int_eq((int)loop_stream_try_read(&link.end.stream, data, sizeof(data)), 2);
    ck_assert_int_eq((int)loop_stream_try_read(&link.end.stream, data, sizeof(data)), -EAGAIN);
    ck_assert_int_eq(shutdown(link.peer.fd, SHUT_WR), 0);
    wish.calls = 0;
    ck_assert_int_eq(CALL(loop_stream_read_ready(&link.end.stream, wish_cb, &wish, NULL)), 0);
    run_until(loop, wish.calls == 1);
    wish_is(&wish, 0, "");
    ck_assert_int_eq((int)loop_stream_try_read(&link.end.stream, data, sizeof(data)), 0);
    ck_assert_int_eq((int)loop_stream_try_read(&link.end.stream, data, sizeof(data)), -ENOTCONN);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* Goal: requests and reading by callback take turns and nothing is lost or doubled between them. Method: a line, then
 * by callback with a stop, then exactly, all of one flow. */
START_TEST(with_callbacks)
{
    struct loop *loop = test_loop_new(NULL);
    struct wish  line = {0}, rest = {0};
    struct link  link;
    char         flow[3000];

    link_open(loop, &link, _i, 1, NULL);
    pattern_fill(link.end.read_flow, 0, flow, sizeof(flow));
    ck_assert_int_eq(CALL(loop_stream_read_exactly(&link.end.stream, line.data, 100, wish_cb, &line, NULL)), 0);
    ck_assert_int_eq(CALL(loop_stream_read_start(&link.end.stream, end_read_cb)), -EBUSY);
    ck_assert(peer_feed(&link.peer, 2000));
    run_until(loop, line.calls == 1);
    ck_assert_mem_eq(line.data, flow, 100);
    link.end.read_bytes = 100;
    end_read_start(&link.end);
    ck_assert_int_eq(CALL(loop_stream_read(&link.end.stream, rest.data, 1, wish_cb, &rest, NULL)), -EBUSY);
    run_until(loop, link.end.read_bytes == 2000);
    ck_assert_int_eq(CALL(loop_stream_read_stop(&link.end.stream)), 0);
    ck_assert(peer_feed(&link.peer, 3000)); /* perhaps received still: then it waits */
    ck_assert_int_eq(CALL(loop_stream_read_exactly(&link.end.stream, rest.data, 1000, wish_cb, &rest, NULL)), 0);
    run_until(loop, rest.calls == 1);
    ck_assert_int_eq(rest.error, 0);
    ck_assert_mem_eq(rest.data, flow + 2000, 1000);
    link_close(loop, &link);
    test_loop_free(loop);
}
END_TEST

/* ---- random requests against the flow they are cut from */

enum { FLOW_BYTES = 1 << 20, CUTS_MAX = 1000000 };

static struct {
    struct loop *loop;
    struct link  link;
    char        *flow;
    size_t       sent, read;
    uint64_t     seed;
    char         data[70000];
    size_t       asked;
    int          kind; /* 0 exactly, 1 some, 2 until */
    uint32_t     cuts;
    bool         waits, by_callback;
} game;

static void ask(void);

static void game_cb(struct loop_stream *stream, int error, size_t bytes, void *arg)
{
    size_t left = FLOW_BYTES - game.read;
    char  *from = game.flow + game.read, *line;

    (void)stream;
    (void)arg;
    callback_enter();
    game.waits = false;
    ck_assert_uint_le(bytes, game.asked);
    ck_assert_mem_eq(game.data, from, bytes);
    game.read += bytes;
    if (error == -ETIMEDOUT || error == -ECANCELED)
        return;
    line = memchr(from, '\n', left);
    if (error == -ENODATA) {
        ck_assert_uint_eq(game.read, FLOW_BYTES);
        return;
    }
    if (game.kind == 0)
        ck_assert_uint_eq(bytes, game.asked);
    else if (game.kind == 1)
        ck_assert_uint_gt(bytes, 0);
    else if (error == -EMSGSIZE)
        ck_assert(bytes == game.asked && (line == NULL || (size_t)(line - from) >= bytes));
    else
        ck_assert(line != NULL && (size_t)(line - from) + 1 == bytes);
    if (game.kind != 2)
        ck_assert_int_eq(error, 0);
    if (test_random(&game.seed) % 3 != 0)
        ask();
}

static void game_read(struct loop_stream *stream, const struct loop_result *result)
{
    callback_enter();
    ck_assert_int_ge(result->res, 0);
    ck_assert_mem_eq(result->data == NULL ? "" : result->data, game.flow + game.read, (size_t)result->res);
    game.read += (size_t)result->res;
    if (test_random(&game.seed) % 2 == 0) {
        ck_assert_int_eq(CALL(loop_stream_read_stop(stream)), 0);
        game.by_callback = false;
    }
}

static void ask(void)
{
    struct loop_stream       *stream = &game.link.end.stream;
    struct loop_request_terms terms = {.timeout_ns = test_random(&game.seed) % 4 == 0 ? 100 * LOOP_MICROSECOND : 0};
    uint64_t                  size = test_random(&game.seed) % 3;
    int                       r;

    game.cuts++;
    game.asked = 1 + test_random(&game.seed) % (size == 0 ? 30 : size == 1 ? 2000 : sizeof(game.data) - 1);
    game.kind = (int)(test_random(&game.seed) % 4);
    if (game.kind == 3) {
        r = CALL(loop_stream_read_start(stream, game_read));
        game.by_callback = r == 0;
    } else {
        r = game.kind == 0 ? CALL(loop_stream_read_exactly(stream, game.data, game.asked, game_cb, NULL, &terms))
            : game.kind == 1
                ? CALL(loop_stream_read(stream, game.data, game.asked, game_cb, NULL, &terms))
                : CALL(loop_stream_read_until(stream, game.data, game.asked, "\n", 1, game_cb, NULL, &terms));
        game.waits = r == 0;
        if (r == 0 && test_random(&game.seed) % 8 == 0)
            ck_assert_int_eq(CALL(loop_stream_read_cancel(stream)), 0);
    }
    ck_assert(r == 0 || (r == -ENOTCONN && game.read == FLOW_BYTES));
}

static void game_feed(void)
{
    size_t  piece = 1 + test_random(&game.seed) % 20000;
    ssize_t sent;

    if (piece > FLOW_BYTES - game.sent)
        piece = FLOW_BYTES - game.sent;
    if (piece == 0)
        return;
    sent = send(game.link.peer.fd, game.flow + game.sent, piece, MSG_DONTWAIT);
    if (sent > 0)
        game.sent += (size_t)sent;
    if (game.sent == FLOW_BYTES)
        ck_assert_int_eq(shutdown(game.link.peer.fd, SHUT_WR), 0);
}

/* Goal: every byte is told once, in order, by whatever way it is asked for. Method: a random text of 1 MiB, lines of
 * random lengths, read by random requests with deadlines and cancels, between them by callback. */
START_TEST(random_requests)
{
    game.seed = test_env("TEST_SEED", 1 + (uint64_t)_i);
    game.flow = malloc(FLOW_BYTES);
    for (size_t i = 0; i < FLOW_BYTES; i++)
        game.flow[i] = test_random(&game.seed) % 50 == 0 ? '\n' : (char)('a' + i % 26);
    game.loop = test_loop_new(NULL);
    link_open(game.loop, &game.link, _i % net_kinds(), 1, NULL);
    for (uint32_t turn = 0; game.read < FLOW_BYTES; turn++) {
        ck_assert_msg(turn < CUTS_MAX, "stuck at %zu, seed %" PRIu64, game.read, game.seed);
        if (!game.waits && !game.by_callback)
            ask();
        game_feed();
        pump_once(game.loop);
    }
    link_close(game.loop, &game.link);
    ck_assert_uint_eq(test_stats(game.loop).buffers_lent, 0);
    test_loop_free(game.loop);
    free(game.flow);
}
END_TEST

/* Goal: bad values and times give their errno and nothing is started. */
START_TEST(refusals)
{
    struct loop              *loop = test_loop_new(NULL);
    struct loop_request_terms flagged = {.flags = 1};
    struct loop_stream        closed = {0}, *stream;
    struct wish               wish = {0};
    struct link               link;

    link_open(loop, &link, NET_TCP4, 1, NULL);
    stream = &link.end.stream;
    ck_assert_int_eq(loop_stream_read(&closed, wish.data, 1, wish_cb, NULL, NULL), -EINVAL);
    ck_assert_int_eq((int)loop_stream_try_read(&closed, wish.data, 1), -EINVAL);
    ck_assert_int_eq(loop_stream_read_cancel(&closed), -EINVAL);
    ck_assert_int_eq(loop_stream_read(stream, NULL, 1, wish_cb, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_stream_read(stream, wish.data, 0, wish_cb, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_stream_read(stream, wish.data, 1, NULL, NULL, NULL), -EINVAL);
    ck_assert_int_eq(loop_stream_read(stream, wish.data, 1, wish_cb, NULL, &flagged), -EINVAL);
    ck_assert_int_eq(until(&link, &wish, 10, ""), -EINVAL);
    ck_assert_int_eq(until(&link, &wish, 10, "12345678901234567"), -EINVAL);
    ck_assert_int_eq((int)loop_stream_try_read(stream, wish.data, 0), -EINVAL);
    ck_assert_int_eq(until(&link, &wish, 10, "1234567890123456"), 0);
    ck_assert_int_eq(until(&link, &wish, 10, "\n"), -EBUSY);
    ck_assert_uint_eq(wish.calls, 0);
    link_close(loop, &link);
    ck_assert_uint_eq(wish.calls, 1);
    test_loop_free(loop);
}
END_TEST

/* Goal: without memory a call fails or the request still ends rightly; nothing is lost. Method: each allocation of a
 * conversation of lines and stops fails once. */
START_TEST(no_memory)
{
    for (uint64_t nth = 1;; nth++) {
        struct loop *loop = test_loop_new(NULL);
        struct wish  line = {0}, rest = {0};
        struct link  link;
        uint64_t     failed = test_memory.failed;
        int          r;

        link_open(loop, &link, NET_UNIX, 1, NULL);
        test_memory.fail_at = test_memory.calls + nth;
        peer_says(&link, "first\nsecond");
        r = until(&link, &line, sizeof(line.data), "\n");
        ck_assert(r == 0 || r == -ENOMEM);
        if (r < 0)
            ck_assert_int_eq(until(&link, &line, sizeof(line.data), "\n"), 0);
        run_until(loop, line.calls == 1);
        wish_is(&line, 0, "first\n");
        ck_assert_int_eq(loop_stream_read_exactly(&link.end.stream, rest.data, 6, wish_cb, &rest, NULL), 0);
        run_until(loop, rest.calls == 1);
        wish_is(&rest, 0, "second");
        test_memory.fail_at = 0;
        failed = test_memory.failed - failed;
        link_close(loop, &link);
        test_loop_free(loop);
        if (failed == 0)
            return;
        ck_assert_uint_lt(nth, 100);
    }
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("net/stream_request");
    TCase *tcase = test_case(suite, "requests");
    int    kinds = net_kinds();

    tcase_add_loop_test(tcase, exactly, 0, kinds);
    tcase_add_loop_test(tcase, lines, 0, kinds);
    tcase_add_loop_test(tcase, line_too_long, 0, kinds);
    tcase_add_loop_test(tcase, huge, 0, kinds);
    tcase_add_loop_test(tcase, end_of_stream, 0, kinds);
    tcase_add_loop_test(tcase, reset_by_peer, 0, kinds);
    tcase_add_loop_test(tcase, deadline, 0, kinds);
    tcase_add_loop_test(tcase, cancel, 0, kinds);
    tcase_add_loop_test(tcase, close_while_waiting, 0, kinds);
    tcase_add_loop_test(tcase, ready_and_try, 0, kinds);
    tcase_add_loop_test(tcase, with_callbacks, 0, kinds);
    tcase_add_loop_test(tcase, random_requests, 0, 8);
    tcase_add_test(tcase, refusals);
    tcase_add_test(tcase, no_memory);
    return suite;
}
