/* tests/net/stream_random_test.c: streams used at random, from outside and from inside every callback, against a model
 * that knows what each call must answer, which callbacks are owed, and every byte.
 *
 * Each seed is a loop with two to four streams, whose peers are plain sockets. TEST_SEED is the first seed, TEST_SEEDS
 * their number, TEST_VERBOSE=1 shows each. A failure names its seed. */
#include "tests/net/net_test.h"

#include <ringloop/forward.h>
#include <ringloop/request.h>

enum {
    NODES_MAX = 4,
    SOURCE_WRITES = NODES_MAX, /* what arrives at a peer comes from forwards of the nodes, or from writes */
    SOURCES,
    SEGMENTS_MAX = 64,
    WRITES_MAX = 32,
    WRITE_BYTES_MAX = 150000,
    REQUEST_BYTES_MAX = 70000,
    FED_MAX = 2000000,
    STEPS_MAX = 120,
    SEEDS = 100, /* of one test */
};

static uint64_t seed;

/* libcheck notes each assertion in a file, which is too slow here. */
#define must_say(condition, format, ...)                                                                               \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            ck_abort_msg("seed %" PRIu64 ": " format, seed, __VA_ARGS__);                                              \
    } while (0)
#define must(condition) must_say(condition, "%s", #condition)
#define must_be(value, expected)                                                                                       \
    do {                                                                                                               \
        long long value_ = (long long)(value), expected_ = (long long)(expected);                                      \
        must_say(value_ == expected_, "%s is %lld, not %lld", #value, value_, expected_);                              \
    } while (0)

/* ---- bytes: each says where it comes from, and something about where it stood there */

static uint8_t byte_of(unsigned source, uint64_t offset)
{
    return (uint8_t)(source << 5 | (offset * UINT64_C(0x9e3779b97f4a7c15)) >> 59);
}

static void fill(unsigned source, uint64_t offset, uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        bytes[i] = byte_of(source, offset + i);
}

static void check(unsigned source, uint64_t offset, const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        must_say(bytes[i] == byte_of(source, offset + i), "source %u: byte %" PRIu64 " is %#x", source, offset + i,
                 bytes[i]);
}

/* ---- the model */

struct segment {
    uint64_t next, end; /* of the bytes of a source that are to arrive */
};

struct node_write {
    struct node *node;
    bool         used;
    uint32_t     number;
    size_t       size;
    uint8_t      bytes[WRITE_BYTES_MAX];
};

/* What closing calls back, in this order. */
enum stage { STAGE_OPEN, STAGE_REQUEST, STAGE_FORWARD, STAGE_WRITE, STAGE_SHUTDOWN, STAGE_CLOSED };

struct node {
    struct loop_stream stream;
    unsigned           number;
    int                peer;
    uint64_t           fed;      /* by the peer */
    uint64_t           consumed; /* of it, from the stream */
    enum stage         stage;
    bool               reading, forwarding, stop_asked;
    bool               end_told;
    bool               unsure; /* whether the end was told: it was broken off by a deadline of its own, or similar */
    bool               lost;   /* what has been consumed is not known: a forward has failed */
    bool               shut, shutdown_pending;
    bool               broken;   /* not all that is written need arrive */
    bool               unlikely; /* not all that is fed need come in */
    bool               limited;  /* its forward */
    struct node       *forwarded_from;
    struct segment    *segment; /* of its forward, at the target */

    struct { /* its request */
        bool    waits, canceled;
        int     kind;
        size_t  size, delimiter_size;
        bool    timed;
        uint8_t delimiter[LOOP_DELIMITER_BYTES_MAX];
        uint8_t data[REQUEST_BYTES_MAX];
    } request;

    struct node_write *writes;
    uint32_t           writes_started, writes_done;
    uint64_t           written; /* bytes accepted */
    bool               write_failed;

    uint64_t       arrived; /* bytes at its peer */
    struct segment segments[SOURCES][SEGMENTS_MAX];
    unsigned       segment_first[SOURCES], segment_end[SOURCES];
};

static struct {
    struct loop *loop;
    uint64_t     random;
    unsigned     count;
    struct node  nodes[NODES_MAX];
    bool         chaos;  /* callbacks act, too */
    bool         scarce; /* memory or operations may be missing */
    bool         deadlines, mixed, wild;
    bool         destroying;
    unsigned     depth;
} world;

static struct node_write all_writes[NODES_MAX][WRITES_MAX];

static uint64_t dice(uint64_t sides)
{
    return test_random(&world.random) % sides;
}

static struct node *node_of(struct loop_stream *stream)
{
    return (struct node *)(void *)((char *)stream - offsetof(struct node, stream));
}

static bool is_open(const struct node *node)
{
    return node->stage == STAGE_OPEN && !loop_stream_closing(&node->stream);
}

static size_t some_size(size_t max)
{
    uint64_t kind = dice(8);
    size_t   size = 1 + (size_t)dice(kind < 4 ? 50 : kind < 7 ? 6000 : max);

    return size < max ? size : max;
}

static void act_inside(void);

static bool is_scarce(int error)
{
    return world.scarce && (error == -ENOBUFS || error == -ENOMEM);
}

/* What comes with the close must come in order. */
static void at_close(struct node *node, enum stage stage, int error)
{
    must(node->stage != STAGE_CLOSED);
    if (error != -ECANCELED || !loop_stream_closing(&node->stream))
        return;
    must_say(stage >= node->stage, "node %u: stage %d after %d", node->number, stage, node->stage);
    node->stage = stage;
}

static void consume(struct node *node, const void *data, size_t size)
{
    if (!node->lost) {
        must(node->consumed + size <= node->fed);
        check(node->number, node->consumed, data, size);
    }
    node->consumed += size;
}

/* ---- what arrives at peers */

static struct segment *segment_add(struct node *node, unsigned source, uint64_t begin)
{
    unsigned i = node->segment_end[source]++;

    must(i < SEGMENTS_MAX);
    node->segments[source][i] = (struct segment){.next = begin, .end = UINT64_MAX};
    return &node->segments[source][i];
}

static void arrived(struct node *node, const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        unsigned        source = bytes[i] >> 5;
        struct segment *segment;

        must(source < SOURCES);
        do {
            must(node->segment_first[source] < node->segment_end[source]);
            segment = &node->segments[source][node->segment_first[source]];
        } while (segment->next == segment->end && ++node->segment_first[source] > 0);
        check(source, segment->next++, &bytes[i], 1);
    }
}

static void peer_read(struct node *node, size_t max)
{
    static uint8_t bytes[65536];

    while (max > 0 && node->peer >= 0) {
        ssize_t n = recv(node->peer, bytes, max < sizeof(bytes) ? max : sizeof(bytes), MSG_DONTWAIT);

        if (n <= 0)
            return;
        arrived(node, bytes, (size_t)n);
        node->arrived += (uint64_t)n;
        max -= (size_t)n;
    }
}

static void peer_write(struct node *node, size_t size)
{
    static uint8_t bytes[16384];

    while (size > 0 && node->peer >= 0 && node->fed < FED_MAX) {
        size_t  piece = size < sizeof(bytes) ? size : sizeof(bytes);
        ssize_t n;

        fill(node->number, node->fed, bytes, piece);
        n = send(node->peer, bytes, piece, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n <= 0)
            return;
        node->fed += (uint64_t)n;
        size -= (size_t)n;
    }
}

/* ---- callbacks */

static void read_cb(struct loop_stream *stream, const struct loop_result *result)
{
    struct node *node = node_of(stream);

    must(!inside_call);
    must(is_open(node) && node->reading && !node->end_told);
    if (result->res > 0) {
        consume(node, result->data, (size_t)result->res);
    } else {
        node->end_told = true;
        node->reading = false;
        if (result->res == 0 && !node->lost && !node->unlikely)
            must_be(node->consumed, node->fed);
    }
    act_inside();
}

static void check_until(const struct node *node, int error, size_t bytes)
{
    const uint8_t *data = node->request.data, *found;
    size_t         size = node->request.delimiter_size;

    if (error == 0) {
        must(bytes >= size);
        must(memcmp(data + bytes - size, node->request.delimiter, size) == 0);
    }
    found = memmem(data, bytes, node->request.delimiter, size);
    must(found == NULL ? error != 0 : error == 0 && found == data + bytes - size);
}

enum { SOME, EXACTLY, UNTIL, READY, KINDS };

static void request_cb(struct loop_stream *stream, int error, size_t bytes, void *arg)
{
    struct node *node = arg;

    must(!inside_call);
    must(stream == &node->stream && node->request.waits);
    node->request.waits = false;
    at_close(node, STAGE_REQUEST, error);
    must(bytes <= node->request.size);
    if (bytes > 0)
        consume(node, node->request.data, bytes);
    switch (node->request.kind) {
    case SOME: must((error == 0) == (bytes > 0) || loop_stream_closing(stream)); break;
    case EXACTLY: must((error == 0) == (bytes == node->request.size) || loop_stream_closing(stream)); break;
    case UNTIL:
        if (error != -ECANCELED || !loop_stream_closing(stream))
            check_until(node, error, bytes);
        must(error != -EMSGSIZE || bytes == node->request.size);
        break;
    case READY: must_be(bytes, 0); break;
    }
    if (error == -ENODATA) {
        node->end_told = true;
        if (!node->lost && !node->unlikely)
            must_be(node->consumed, node->fed);
    } else if (error == -ECANCELED) {
        must(node->request.canceled || loop_stream_closing(stream));
    } else if (error == -ETIMEDOUT) {
        must(node->request.timed || world.deadlines);
        node->unsure |= world.deadlines;
    } else if (error < 0 && error != -EMSGSIZE) {
        must(node->unlikely || is_scarce(error));
        node->end_told = true;
    }
    act_inside();
}

static void forward_cb(struct loop_stream *from_stream, struct loop_stream *to_stream, int error, uint64_t bytes,
                       void *arg)
{
    struct node *from = arg, *to = node_of(to_stream);
    bool         fine = error == 0 || error == -ENODATA || (error == -ECANCELED && from->stop_asked);

    must(!inside_call);
    must(from_stream == &from->stream && from->forwarding && to->forwarded_from == from);
    from->forwarding = false;
    to->forwarded_from = NULL;
    if (loop_stream_closing(from_stream))
        at_close(from, STAGE_FORWARD, error);
    else if (loop_stream_closing(to_stream))
        at_close(to, STAGE_FORWARD, error);
    if (error == -ECANCELED)
        must(from->stop_asked || loop_stream_closing(from_stream) || loop_stream_closing(to_stream));
    from->consumed += bytes;
    if (!from->lost)
        must(from->consumed <= from->fed);
    if (fine && !loop_stream_closing(from_stream) && !loop_stream_closing(to_stream))
        from->segment->end = from->consumed;
    else
        from->lost = true;
    if (from->lost && is_open(to))
        to->broken = true;
    if (!fine) {
        from->unsure = true;
        must_say(world.wild || world.deadlines || to->shut || is_scarce(error) || loop_stream_closing(from_stream) ||
                     loop_stream_closing(to_stream),
                 "forwarding ends by %s", error_text(error));
    }
    if (error == -ENODATA || (error == 0 && !from->limited)) {
        from->end_told = true;
        if (!from->unlikely)
            must_be(from->consumed, from->fed);
    }
    act_inside();
}

static void write_cb(struct loop_stream *stream, int error, size_t bytes, void *arg)
{
    struct node_write *write = arg;
    struct node       *node = write->node;

    must(!inside_call);
    must(stream == &node->stream && write->used);
    must_be(write->number, node->writes_done);
    node->writes_done++;
    write->used = false;
    at_close(node, STAGE_WRITE, error);
    if (error == 0) {
        must_be(bytes, write->size);
        must(!node->write_failed);
    } else {
        must(bytes < write->size);
        must(!node->write_failed || bytes == 0);
        must(node->broken || is_scarce(error) || loop_stream_closing(stream) || world.deadlines);
        node->write_failed = node->broken = true;
    }
    memset(write->bytes, 0xff, write->size); /* ours again */
    act_inside();
}

static void shutdown_cb(struct loop_stream *stream, int error)
{
    struct node *node = node_of(stream);

    must(!inside_call);
    must(node->shutdown_pending);
    must_be(node->writes_done, node->writes_started);
    node->shutdown_pending = false;
    at_close(node, STAGE_SHUTDOWN, error);
    act_inside();
}

static void close_cb(struct loop_stream *stream)
{
    struct node *node = node_of(stream);

    must(!inside_call);
    must(node->stage != STAGE_CLOSED);
    must(!node->request.waits && !node->forwarding && node->forwarded_from == NULL && !node->shutdown_pending);
    must_be(node->writes_done, node->writes_started);
    node->stage = STAGE_CLOSED;
    memset(stream, 0, sizeof(*stream)); /* ours again */
    act_inside();
}

static void deadline_cb(struct loop_stream *stream, uint32_t which)
{
    struct node *node = node_of(stream);

    must(!inside_call);
    must(is_open(node) && which != 0 && which <= 7);
    act_inside();
}

/* ---- actions */

/* Of reading anew, in whatever way. */
static int answer_to_reading(const struct node *node)
{
    return node->end_told ? -ENOTCONN : 0;
}

static void must_answer(const struct node *node, int answer, int expected)
{
    if (is_scarce(answer) || (node->unsure && expected == 0 && answer == -ENOTCONN))
        return;
    must_be(answer, expected);
}

static void act_read_start(struct node *node)
{
    int r = CALL(loop_stream_read_start(&node->stream, read_cb));

    if (!is_open(node))
        must_be(r, -EINVAL);
    else if (node->request.waits || node->forwarding)
        must_be(r, -EBUSY);
    else
        must_answer(node, r, answer_to_reading(node));
    if (r == 0)
        node->reading = true;
}

static void act_read_stop(struct node *node)
{
    int r = CALL(loop_stream_read_stop(&node->stream));

    must_be(r, !is_open(node) ? -EINVAL : node->forwarding ? -EBUSY : 0);
    if (r == 0)
        node->reading = false;
}

static int request(struct node *node, const struct loop_request_terms *terms)
{
    struct loop_stream *stream = &node->stream;
    uint8_t            *data = node->request.data;

    switch (node->request.kind) {
    case SOME: return CALL(loop_stream_read(stream, data, node->request.size, request_cb, node, terms));
    case EXACTLY: return CALL(loop_stream_read_exactly(stream, data, node->request.size, request_cb, node, terms));
    case UNTIL:
        return CALL(loop_stream_read_until(stream, data, node->request.size, node->request.delimiter,
                                           node->request.delimiter_size, request_cb, node, terms));
    default: return CALL(loop_stream_read_ready(stream, request_cb, node, terms));
    }
}

static void act_request(struct node *node)
{
    struct loop_request_terms terms = {.timeout_ns = dice(3) == 0 ? 1 + dice(2 * LOOP_MILLISECOND) : 0};
    bool                      busy = node->request.waits;
    uint64_t                  offset = node->consumed + dice(5000);
    int                       r;

    if (!busy) {
        node->request.kind = (int)dice(KINDS);
        node->request.size = some_size(REQUEST_BYTES_MAX);
        node->request.timed = terms.timeout_ns != 0;
        node->request.canceled = false;
        node->request.delimiter_size = 1 + (size_t)dice(LOOP_DELIMITER_BYTES_MAX);
        fill(node->number, offset, node->request.delimiter, node->request.delimiter_size);
        memset(node->request.data, 0xff, sizeof(node->request.data));
    }
    r = request(node, &terms);
    if (!is_open(node))
        must_be(r, -EINVAL);
    else if (busy || node->reading || node->forwarding)
        must_be(r, -EBUSY);
    else
        must_answer(node, r, answer_to_reading(node));
    if (r == 0)
        node->request.waits = true;
}

static void act_try(struct node *node)
{
    static uint8_t bytes[REQUEST_BYTES_MAX];
    ssize_t        r = loop_stream_try_read(&node->stream, bytes, some_size(sizeof(bytes)));

    if (!is_open(node)) {
        must_be(r, -EINVAL);
    } else if (node->request.waits || node->reading || node->forwarding) {
        must_be(r, -EBUSY);
    } else if (r > 0) {
        must(!node->end_told);
        consume(node, bytes, (size_t)r);
    } else if (node->end_told) {
        must_be(r, -ENOTCONN);
    } else if (r == 0) {
        node->end_told = true;
        if (!node->lost && !node->unlikely)
            must_be(node->consumed, node->fed);
    } else if (r != -EAGAIN && !is_scarce((int)r)) {
        must(node->unsure || node->unlikely || world.deadlines);
        node->end_told = true;
    }
}

static void act_cancel(struct node *node)
{
    must_be(CALL(loop_stream_read_cancel(&node->stream)), is_open(node) ? 0 : -EINVAL);
    node->request.canceled = true;
}

static struct node_write *write_room(struct node *node)
{
    for (unsigned i = 0; i < WRITES_MAX; i++)
        if (!node->writes[i].used)
            return &node->writes[i];
    return NULL;
}

static void act_write(struct node *node)
{
    struct loop_write_terms terms = {.flags = dice(2) == 0 ? LOOP_WRITE_COPY : 0};
    struct node_write      *write = write_room(node);
    int                     r;

    if (write == NULL || (node->forwarded_from != NULL && !world.mixed))
        return;
    write->node = node;
    write->size = some_size(WRITE_BYTES_MAX);
    write->number = node->writes_started;
    fill(SOURCE_WRITES, node->written, write->bytes, write->size);
    r = CALL(loop_stream_write(&node->stream, write->bytes, write->size, write_cb, write, &terms));
    if (!is_open(node))
        must_be(r, -EINVAL);
    else if (node->shut)
        must_be(r, -EPIPE);
    else if (r != 0)
        must(is_scarce(r) || (r == -EPIPE && (node->broken || node->unsure || world.deadlines || world.wild ||
                                              node->segment_end[SOURCE_WRITES] > 0)));
    if (r != 0)
        return;
    if (terms.flags & LOOP_WRITE_COPY)
        memset(write->bytes, 0xff, write->size);
    write->used = true;
    node->writes_started++;
    node->written += write->size;
}

static void act_shutdown(struct node *node)
{
    int r = CALL(loop_stream_shutdown(&node->stream, shutdown_cb));

    if (!is_open(node))
        must_be(r, -EINVAL);
    else if (node->shut)
        must_be(r, -ENOTCONN);
    if (r == 0)
        node->shut = node->shutdown_pending = true;
}

static void act_forward(struct node *from)
{
    struct node                *to = &world.nodes[dice(world.count)];
    struct loop_forward_options options = {
        .bytes_max = dice(2) == 0 ? some_size(500000) : 0,
        .queued_max = dice(2) == 0 ? (uint32_t)some_size(200000) : 0,
        .flags = (dice(4) == 0 ? LOOP_FORWARD_COPY : 0) | (dice(2) == 0 ? LOOP_FORWARD_NO_SHUTDOWN : 0),
    };
    bool usable = is_open(from) && is_open(to) && from != to;
    int  r;

    if (from->lost || to->segment_end[from->number] == SEGMENTS_MAX)
        return;
    if (dice(8) == 0 && from->fed > from->consumed) /* exactly what is there */
        options.bytes_max = from->fed - from->consumed;
    r = CALL(loop_stream_forward(&from->stream, &to->stream, &options, forward_cb, from));
    if (!usable)
        must(r == -EINVAL || r == -ENOTCONN);
    else if (from->reading || from->request.waits || from->forwarding || to->forwarded_from != NULL)
        must_be(r, -EBUSY);
    else if (from->end_told)
        must_be(r, -ENOTCONN);
    else if (to->shut && !from->unsure)
        must_be(r, -EPIPE);
    else if (r != -EPIPE)
        must_answer(from, r, 0);
    if (r != 0)
        return;
    from->forwarding = true;
    from->stop_asked = false;
    from->limited = options.bytes_max != 0;
    from->segment = segment_add(to, from->number, from->consumed);
    to->forwarded_from = from;
}

static void act_forward_stop(struct node *node)
{
    int r = CALL(loop_stream_forward_stop(&node->stream));

    must(r == (node->forwarding ? 0 : -EINVAL));
    node->stop_asked = true;
}

static uint64_t some_period(void)
{
    return dice(2) == 0 ? LOOP_MILLISECOND / 2 + dice(4 * LOOP_MILLISECOND) : 0;
}

static void act_deadlines(struct node *node)
{
    struct loop_stream_deadlines deadlines = {
        .idle_ns = some_period(),
        .read_ns = some_period(),
        .write_ns = some_period(),
        .cb = dice(8) == 0 ? NULL : deadline_cb,
    };
    int r;

    if (!world.deadlines)
        return;
    r = CALL(loop_stream_deadlines_set(&node->stream, dice(4) == 0 ? NULL : &deadlines));
    if (!is_open(node))
        must_be(r, -EINVAL);
    else if (!is_scarce(r))
        must_be(r, 0);
    if (deadlines.cb == NULL)
        node->unsure = node->broken = node->unlikely = true;
}

static void act_close(struct node *node)
{
    node->broken = node->unlikely = true;
    if (node->forwarded_from != NULL)
        node->forwarded_from->unlikely = true;
    inside_call = true;
    if (dice(2) == 0)
        loop_stream_reset(&node->stream, close_cb);
    else
        loop_stream_close(&node->stream, close_cb);
    inside_call = false;
}

static void act_peer_end(struct node *node)
{
    if (node->peer < 0)
        return;
    if (dice(2) == 0 || !world.wild) {
        (void)shutdown(node->peer, SHUT_WR);
        return;
    }
    node->broken = node->unlikely = true;
    if (dice(2) == 0)
        net_reset(node->peer);
    else
        test_close(node->peer);
    node->peer = -1;
}

static void act(struct node *node)
{
    uint64_t kind = dice(100);

    if (kind < 22)
        peer_write(node, some_size(400000));
    else if (kind < 36)
        peer_read(node, some_size(400000));
    else if (kind < 46)
        act_write(node);
    else if (kind < 52)
        act_read_start(node);
    else if (kind < 58)
        act_read_stop(node);
    else if (kind < 68)
        act_request(node);
    else if (kind < 71)
        act_try(node);
    else if (kind < 73)
        act_cancel(node);
    else if (kind < 84)
        act_forward(node);
    else if (kind < 86)
        act_forward_stop(node);
    else if (kind < 90)
        act_deadlines(node);
    else if (kind == 90 && dice(4) == 0)
        act_shutdown(node);
    else if (kind == 91 && dice(4) == 0)
        act_peer_end(node);
    else if (kind == 92 && world.wild && dice(2) == 0)
        act_close(node);
    else if (kind == 93)
        loop_stop(world.loop);
}

/* Callbacks may do anything. */
static void act_inside(void)
{
    if (!world.chaos || dice(3) != 0)
        return;
    for (uint64_t n = dice(4); n > 0; n--)
        act(&world.nodes[dice(world.count)]);
}

/* ---- one seed */

static void node_open(struct node *node, unsigned number)
{
    struct loop_stream_options options = {.flags = dice(4) == 0 ? LOOP_STREAM_UNREF : 0, .on_close = close_cb};
    int                        fds[2], kind = dice(2) == 0 ? NET_UNIX : NET_TCP4;

    memset(node, 0, sizeof(*node));
    net_pair(kind, fds);
    if (dice(2) == 0) { /* with less tcp takes its time */
        net_buffers(fds[0], kind == NET_UNIX ? 10000 : 200000);
        net_buffers(fds[1], kind == NET_UNIX ? 10000 : 200000);
    }
    node->number = number;
    node->peer = fds[1];
    node->writes = all_writes[number];
    for (unsigned i = 0; i < WRITES_MAX; i++)
        node->writes[i].used = false;
    must_be(loop_stream_open(world.loop, &node->stream, fds[0], &options), 0);
    (void)segment_add(node, SOURCE_WRITES, 0);
}

static void world_open(void)
{
    struct loop_options options = {.buffer_size = 1024u << dice(5), .buffer_count = 4u << dice(4)};

    memset(&world, 0, offsetof(__typeof__(world), nodes));
    world.random = seed;
    world.chaos = true;
    world.wild = dice(2) == 0;
    world.deadlines = dice(3) == 0;
    world.mixed = dice(2) == 0;
    world.scarce = dice(4) == 0;
    world.destroying = false;
    if (dice(3) == 0)
        options.sq_entries = options.cq_entries = 8;
    if (world.scarce && dice(2) == 0)
        options.ops_max = 8 + (uint32_t)dice(8);
    world.loop = test_loop_new(&options);
    world.count = 2 + (unsigned)dice(NODES_MAX - 1);
    for (unsigned i = 0; i < world.count; i++)
        node_open(&world.nodes[i], i);
}

/* Whether nothing is owed to it any more; helps it on its way. */
static bool is_settled(struct node *node)
{
    peer_read(node, SIZE_MAX);
    if (node->stage == STAGE_CLOSED)
        return true;
    if (is_open(node) && !node->reading && !node->request.waits && !node->forwarding && !node->end_told &&
        !node->unsure && !node->lost)
        act_read_start(node);
    if (node->writes_done < node->writes_started || node->request.waits || node->forwarding ||
        node->forwarded_from != NULL || node->shutdown_pending || loop_stream_closing(&node->stream))
        return false;
    return !node->reading || node->end_told;
}

static bool all_settled(void)
{
    bool settled = true;

    for (unsigned i = 0; i < world.count; i++)
        settled &= is_settled(&world.nodes[i]);
    return settled;
}

static bool all_closed(void)
{
    for (unsigned i = 0; i < world.count; i++)
        if (world.nodes[i].stage != STAGE_CLOSED)
            return false;
    return true;
}

static void show_nodes(void)
{
    for (unsigned i = 0; i < world.count; i++) {
        const struct node *node = &world.nodes[i];

        fprintf(stderr,
                "node %u: stage %d%s%s%s%s%s%s%s; fed %" PRIu64 ", consumed %" PRIu64 ", queued %zu, writes %u of %u; "
                "forwarded from %d; state %#x, read %d, write %d\n",
                i, node->stage, node->reading ? " reading" : "", node->request.waits ? " request" : "",
                node->forwarding ? " forwarding" : "", node->stop_asked ? " (stopped)" : "",
                node->end_told ? " ended" : "", node->lost ? " lost" : "", node->peer < 0 ? " no peer" : "", node->fed,
                node->consumed, node->stage == STAGE_CLOSED ? 0 : loop_stream_queued(&node->stream), node->writes_done,
                node->writes_started, node->forwarded_from == NULL ? -1 : (int)node->forwarded_from->number,
                node->stream.priv.state, node->stream.priv.read_id != 0, node->stream.priv.write_id != 0);
    }
}

static void tick(struct loop_timer *timer)
{
    (void)timer;
}

/* Waits, but not long, since the peers are outside of the loop. */
static void turn(void)
{
    struct loop_timer timer = {0};

    must(loop_timer_start(world.loop, &timer, LOOP_MILLISECOND, 0, tick) == 0);
    must(loop_run(world.loop, LOOP_RUN_ONCE) >= 0);
    loop_timer_stop(&timer);
}

static uint64_t progress(void)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < world.count; i++)
        sum += world.nodes[i].consumed + world.nodes[i].arrived + world.nodes[i].writes_done;
    return sum;
}

/* For as long as something moves. */
static void wait_until(bool (*condition)(void), const char *what)
{
    uint64_t until = test_clock() + RUN_LIMIT, before = progress();

    while (!condition()) {
        if (progress() != before) {
            before = progress();
            until = test_clock() + RUN_LIMIT;
        }
        if (test_clock() >= until) {
            show_nodes();
            ck_abort_msg("seed %" PRIu64 ": still waiting until %s", seed, what);
        }
        turn();
    }
}

static bool segments_arrived(struct node *node, unsigned source)
{
    if (source < NODES_MAX && world.nodes[source].lost)
        return true;
    if (source == SOURCE_WRITES)
        node->segments[source][0].end = node->written;
    for (unsigned i = node->segment_first[source]; i < node->segment_end[source]; i++)
        if (node->segments[source][i].next != node->segments[source][i].end)
            return false;
    return true;
}

/* All that was accepted, where nothing was broken off. */
static bool all_arrived(void)
{
    for (unsigned i = 0; i < world.count; i++) {
        struct node *node = &world.nodes[i];

        if (node->peer < 0 || node->broken)
            continue;
        peer_read(node, SIZE_MAX);
        for (unsigned source = 0; source < SOURCES; source++)
            if (!segments_arrived(node, source))
                return false;
    }
    return true;
}

/* With nobody acting any more and all peers at their end, everything must come to its end by itself. */
static void wind_up(void)
{
    world.chaos = false;
    for (unsigned i = 0; i < world.count; i++) {
        struct node *node = &world.nodes[i];

        if (is_open(node))
            must_be(CALL(loop_stream_deadlines_set(&node->stream, NULL)), 0);
        if (node->peer >= 0)
            (void)shutdown(node->peer, SHUT_WR);
    }
    wait_until(all_settled, "all has settled");
    wait_until(all_arrived, "all has arrived");
    for (unsigned i = 0; i < world.count; i++)
        if (is_open(&world.nodes[i]))
            act_close(&world.nodes[i]);
    wait_until(all_closed, "all is closed");
    test_loop_free(world.loop);
}

static void run_seed(void)
{
    world_open();
    if (world.scarce && dice(2) == 0)
        test_memory.fail_at = test_memory.calls + 1 + dice(60);
    for (uint64_t steps = 1 + dice(STEPS_MAX); steps > 0; steps--) {
        for (uint64_t n = dice(6); n > 0; n--)
            act(&world.nodes[dice(world.count)]);
        if (dice(8) == 0)
            turn();
        else
            must(loop_run(world.loop, LOOP_RUN_NOWAIT) >= 0);
    }
    test_memory.fail_at = 0;
    if (dice(4) == 0) {
        world.destroying = true;
        for (unsigned i = 0; i < world.count; i++)
            world.nodes[i].broken = world.nodes[i].unlikely = true;
        test_loop_drop(world.loop);
        must(all_closed());
    } else {
        wind_up();
    }
    for (unsigned i = 0; i < world.count; i++)
        if (world.nodes[i].peer >= 0)
            test_close(world.nodes[i].peer);
    must_be(test_memory.blocks, 0);
}

/* Goal: whatever is asked for, in whatever order and from wherever, is answered as the headers say, called back once
 * and in order, and no byte is lost, doubled or out of place; nothing hangs and nothing leaks. Method: see above. */
START_TEST(random_streams)
{
    uint64_t first = test_env("TEST_SEED", 1), count = test_env("TEST_SEEDS", SEEDS),
             verbose = test_env("TEST_VERBOSE", 0);
    uint32_t descriptors = test_fd_count();

    for (uint64_t i = 0; i < count; i++) {
        seed = first + (uint64_t)_i * count + i;
        if (verbose != 0)
            fprintf(stderr, "seed %" PRIu64 "\n", seed);
        run_seed();
        must_be(test_fd_count(), descriptors);
    }
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("net/stream_random");

    tcase_add_loop_test(test_case(suite, "random"), random_streams, 0, 4);
    return suite;
}
