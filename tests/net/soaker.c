/* tests/net/soaker.c: a stream that is read and written in every way at once. */
#include "tests/net/soaker.h"

#include <sys/mman.h>

const char *const soak_way_names[WAYS] = {
    "copied",  "borrowed", "pieces", "lent",     "kept", "file",   "try",     "cork", "callback", "some",
    "exactly", "until",    "ready",  "try_read", "stop", "cancel", "timeout", "full", "forward",  "forward_stop"};

atomic_ullong      soak_ways[WAYS];
atomic_ullong      soak_bytes;
atomic_bool        soak_over;
_Thread_local bool soak_calling;

void soak_used(enum way way)
{
    atomic_fetch_add_explicit(&soak_ways[way], 1, memory_order_relaxed);
}

void *soak_place_run(void *arg)
{
    struct place *place = arg;

    while (atomic_load(&place->open) > 0)
        soak_assert(loop_run(place->loop, LOOP_RUN_ONCE) >= 0);
    return NULL;
}

static uint64_t dice(struct soaker *soaker, uint64_t sides)
{
    return test_random(&soaker->random) % sides;
}

static struct soaker *enter(struct loop_stream *stream)
{
    struct soaker *soaker = stream->data;

    soak_assert_msg(!soak_calling, "a callback came from inside a call");
    soak_assert(!soaker->closed);
    return soaker;
}

/* ---- writing */

struct chunk {
    uint32_t number;
    size_t   size;
    bool     file;
    uint8_t  bytes[];
};

static void written(struct loop_stream *stream, int error, size_t bytes, void *arg)
{
    struct soaker *soaker = enter(stream);
    struct chunk  *chunk = arg;

    soak_assert_msg(error == 0, "write: %s", error_text(error));
    soak_assert(bytes == chunk->size);
    soak_assert(chunk->number == soaker->writes_done);
    soaker->writes_done++;
    if (chunk->file)
        soaker->file_busy = false;
    else
        memset(chunk->bytes, 0xee, chunk->size); /* ours again */
    free(chunk);
}

/* The next size bytes of the flow. */
static struct chunk *chunk_new(struct soaker *soaker, size_t size)
{
    struct chunk *chunk = malloc(sizeof(*chunk) + size);

    soak_assert(chunk != NULL);
    chunk->number = soaker->writes_started++;
    chunk->size = size;
    chunk->file = false;
    pattern_fill(soaker->write_flow, soaker->written, chunk->bytes, size);
    soaker->written += size;
    return chunk;
}

static size_t chunk_size(struct soaker *soaker)
{
    switch (dice(soaker, 8)) {
    case 0: return 1 + dice(soaker, CHUNK_MAX);
    case 1:
    case 2: return 1 + dice(soaker, 5000);
    }
    return 1 + dice(soaker, 500);
}

static void write_pieces(struct soaker *soaker, size_t size)
{
    struct chunk *chunk = chunk_new(soaker, size);
    struct iovec  iov[6];
    size_t        done = 0;

    for (uint32_t i = 0; i < TEST_COUNT(iov); i++) {
        size_t n = i + 1 < TEST_COUNT(iov) ? dice(soaker, size - done + 1) : size - done;

        iov[i] = (struct iovec){.iov_base = chunk->bytes + done, .iov_len = n};
        done += n;
    }
    MUST(loop_stream_writev(&soaker->stream, iov, TEST_COUNT(iov), written, chunk,
                            dice(soaker, 2) ? &(const struct loop_write_terms){.flags = LOOP_WRITE_COPY} : NULL));
    memset(iov, 0xcc, sizeof(iov));
}

/* From a part of a file of its own, which may be longer. */
static void write_file(struct soaker *soaker, size_t size)
{
    struct chunk *chunk = chunk_new(soaker, size);
    uint64_t      offset = dice(soaker, 10000);
    bool          to_the_end = dice(soaker, 2);

    soak_assert(ftruncate(soaker->file, (off_t)(offset + size + (to_the_end ? 0 : 100))) == 0);
    soak_assert(pwrite(soaker->file, chunk->bytes, size, (off_t)offset) == (ssize_t)size);
    chunk->file = soaker->file_busy = true;
    MUST(loop_stream_sendfile(&soaker->stream, soaker->file, (int64_t)offset, to_the_end ? UINT64_MAX : size, written,
                              chunk, NULL));
}

static void write_try(struct soaker *soaker, size_t size)
{
    static _Thread_local uint8_t bytes[CHUNK_MAX];
    int                          r;

    pattern_fill(soaker->write_flow, soaker->written, bytes, size);
    soak_calling = true;
    r = loop_stream_try_write(&soaker->stream, bytes, size);
    soak_calling = false;
    memset(bytes, 0xcc, size);
    soak_assert_msg((r > 0 && (size_t)r <= size) || r == -EAGAIN, "try: %s", error_text(r));
    soaker->written += r > 0 ? (uint32_t)r : 0;
}

/* The pattern is written over what was received, and the buffer goes along. */
static void write_buffer(struct soaker *soaker, loop_buffer buffer, void *data, size_t size)
{
    struct chunk *chunk = chunk_new(soaker, size);

    memcpy(data, chunk->bytes, size);
    MUST(loop_stream_write(&soaker->stream, data, size, written, chunk,
                           &(const struct loop_write_terms){.release = buffer}));
}

static void write_kept(struct soaker *soaker)
{
    void *data = loop_buffer_data(soaker->place->loop, soaker->kept, NULL);

    soak_assert(data != NULL);
    write_buffer(soaker, soaker->kept, data, soaker->kept_size);
    soaker->kept = 0;
}

static void write_one(struct soaker *soaker)
{
    enum way      way = (enum way)dice(soaker, WRITE_CORK + 1);
    size_t        size = chunk_size(soaker);
    struct chunk *chunk;

    if ((way == WRITE_FILE && soaker->file_busy) || (way == WRITE_KEPT && soaker->kept == 0) || way == WRITE_LENT)
        way = WRITE_BORROWED;
    soak_used(way);
    switch ((int)way) {
    case WRITE_COPIED:
        chunk = chunk_new(soaker, size);
        MUST(loop_stream_write(&soaker->stream, chunk->bytes, size, written, chunk,
                               &(const struct loop_write_terms){.flags = LOOP_WRITE_COPY}));
        memset(chunk->bytes, 0xcc, size);
        return;
    case WRITE_PIECES: write_pieces(soaker, size); return;
    case WRITE_KEPT: write_kept(soaker); return;
    case WRITE_FILE: write_file(soaker, size); return;
    case WRITE_TRY: write_try(soaker, size); return;
    case WRITE_CORK:
        MUST(soaker->corked ? loop_stream_uncork(&soaker->stream) : loop_stream_cork(&soaker->stream));
        soaker->corked = !soaker->corked;
        return;
    }
    chunk = chunk_new(soaker, size);
    MUST(loop_stream_write(&soaker->stream, chunk->bytes, size, written, chunk, NULL));
}

static bool may_write(const struct soaker *soaker)
{
    return !atomic_load(&soak_over) && !soaker->shutting && loop_stream_queued(&soaker->stream) < QUEUED_MAX;
}

/* ---- reading */

static void read_on(struct soaker *soaker);

static void received(struct soaker *soaker, const void *data, size_t size)
{
    soak_assert(!soaker->ended);
    pattern_check(soaker->read_flow, soaker->read, data, size);
    soaker->read += size;
}

static void on_read(struct loop_stream *stream, const struct loop_result *result)
{
    struct soaker *soaker = enter(stream);
    size_t         size = (size_t)result->res;

    soak_assert(soaker->reading == BY_CALLBACK);
    soak_assert_msg(result->res >= 0, "read: %s", error_text(result->res));
    if (result->res == 0) {
        soaker->ended = true;
        soaker->reading = NOT_READING;
        return;
    }
    received(soaker, result->data, size);
    if (may_write(soaker) && dice(soaker, 4) == 0) {
        soak_used(WRITE_LENT);
        write_buffer(soaker, result->buffer, result->data, size);
    } else if (soaker->kept == 0 && dice(soaker, 16) == 0) {
        soak_assert(loop_buffer_keep(soaker->place->loop, result->buffer) == 0);
        soaker->kept = result->buffer;
        soaker->kept_size = size;
    }
    if (dice(soaker, 8) > 0)
        return;
    soak_used(READ_STOP);
    MUST(loop_stream_read_stop(stream));
    soaker->reading = NOT_READING;
    if (dice(soaker, 2))
        read_on(soaker);
}

static void check_until(const struct soaker *soaker, int error, size_t bytes)
{
    const uint8_t *found = bytes > 0 ? memmem(soaker->memory, bytes, soaker->delimiter, soaker->delimiter_size) : NULL;

    if (error == 0)
        soak_assert(found == soaker->memory + bytes - soaker->delimiter_size);
    else
        soak_assert(found == NULL);
    if (error == -EMSGSIZE)
        soak_assert(bytes == soaker->asked);
}

static void requested(struct loop_stream *stream, int error, size_t bytes, void *arg)
{
    struct soaker *soaker = enter(stream);

    soak_assert(arg == soaker->memory);
    soak_assert(soaker->reading == BY_REQUEST);
    soak_assert(bytes <= soaker->asked);
    soak_assert_msg(error == 0 || error == -ENODATA || error == -EMSGSIZE || error == -ETIMEDOUT || error == -ECANCELED,
                    "request: %s", error_text(error));
    soaker->reading = NOT_READING;
    received(soaker, soaker->memory, bytes);
    if (soaker->request == READ_UNTIL)
        check_until(soaker, error, bytes);
    else
        soak_assert(error != -EMSGSIZE);
    if (soaker->request == READ_EXACTLY && error == 0)
        soak_assert(bytes == soaker->asked);
    if (soaker->request == READ_SOME && error == 0)
        soak_assert(bytes > 0);
    if (error == -ETIMEDOUT)
        soak_used(READ_TIMEOUT);
    soaker->ended = error == -ENODATA;
    memset(soaker->memory, 0xee, soaker->asked);
    if (!soaker->ended && dice(soaker, 2))
        read_on(soaker);
}

static void read_tries(struct soaker *soaker)
{
    for (uint64_t count = 1 + dice(soaker, 8); count > 0 && !soaker->ended; count--) {
        size_t  size = 1 + dice(soaker, REQUEST_MAX);
        ssize_t r = loop_stream_try_read(&soaker->stream, soaker->memory, size);

        if (r == -EAGAIN)
            return;
        soak_assert_msg(r >= 0 && (size_t)r <= size, "try to read: %s", error_text((int)r));
        received(soaker, soaker->memory, (size_t)r);
        soaker->ended = r == 0;
    }
}

static void ready(struct loop_stream *stream, int error, size_t bytes, void *arg)
{
    struct soaker *soaker = enter(stream);

    (void)arg;
    soak_assert_msg(error == 0 || error == -ETIMEDOUT || error == -ECANCELED, "ready: %s", error_text(error));
    soak_assert(bytes == 0);
    soaker->reading = NOT_READING;
    if (error == 0)
        read_tries(soaker);
}

static void read_by_request(struct soaker *soaker, enum way way)
{
    const struct loop_request_terms  some = {.timeout_ns = 1 + dice(soaker, 2 * LOOP_MILLISECOND)};
    const struct loop_request_terms *terms = dice(soaker, 4) == 0 ? &some : NULL;
    uint8_t                         *memory = soaker->memory;

    soaker->reading = BY_REQUEST;
    soaker->request = way;
    soaker->asked = 1 + dice(soaker, dice(soaker, 2) ? REQUEST_MAX : 1000);
    switch ((int)way) {
    case READ_SOME: MUST(loop_stream_read(&soaker->stream, memory, soaker->asked, requested, memory, terms)); return;
    case READ_EXACTLY:
        MUST(loop_stream_read_exactly(&soaker->stream, memory, soaker->asked, requested, memory, terms));
        return;
    case READ_UNTIL:
        soaker->delimiter[0] = (uint8_t)dice(soaker, 256);
        soaker->delimiter[1] = (uint8_t)dice(soaker, 256);
        soaker->delimiter_size = (uint8_t)(1 + dice(soaker, 2));
        MUST(loop_stream_read_until(&soaker->stream, memory, soaker->asked, soaker->delimiter, soaker->delimiter_size,
                                    requested, memory, terms));
        return;
    }
    MUST(loop_stream_read_ready(&soaker->stream, ready, NULL, terms));
}

/* Goes on reading, in whichever way. */
static void read_on(struct soaker *soaker)
{
    enum way way = dice(soaker, 2) ? READ_CALLBACK : (enum way)(READ_SOME + dice(soaker, READ_TRY + 1 - READ_SOME));

    soak_used(way);
    if (way == READ_TRY) {
        read_tries(soaker);
    } else if (way == READ_CALLBACK) {
        soaker->reading = BY_CALLBACK;
        MUST(loop_stream_read_start(&soaker->stream, on_read));
    } else {
        read_by_request(soaker, way);
    }
}

/* ---- acting */

static void act(struct loop_timer *timer);

static void closed(struct loop_stream *stream)
{
    struct soaker *soaker = enter(stream);

    soak_assert(soaker->writes_done == soaker->writes_started);
    soaker->closed = true;
    atomic_fetch_sub(&soaker->place->open, 1);
}

static void shut(struct loop_stream *stream, int error)
{
    struct soaker *soaker = enter(stream);

    soak_assert_msg(error == 0, "shutdown: %s", error_text(error));
    soak_assert(soaker->writes_done == soaker->writes_started);
    soaker->shut = true;
}

static void finish(struct soaker *soaker)
{
    if (soaker->kept != 0)
        soak_assert(loop_buffer_return(soaker->place->loop, soaker->kept) == 0);
    soaker->kept = 0;
    if (!soaker->shutting)
        MUST(loop_stream_shutdown(&soaker->stream, shut));
    soaker->shutting = true;
    if (!soaker->shut || !soaker->ended)
        return;
    atomic_fetch_add(&soak_bytes, soaker->read);
    loop_stream_close(&soaker->stream, closed);
}

static void rest(struct soaker *soaker)
{
    uint64_t pause = dice(soaker, 4) == 0 ? dice(soaker, 3 * LOOP_MILLISECOND) : dice(soaker, 100 * LOOP_MICROSECOND);

    MUST(loop_timer_start(soaker->place->loop, &soaker->timer, pause, 0, act));
}

static void act(struct loop_timer *timer)
{
    struct soaker *soaker = timer->data;

    if (soaker->reading == BY_CALLBACK && dice(soaker, 16) == 0) {
        soak_used(READ_STOP);
        MUST(loop_stream_read_stop(&soaker->stream));
        soaker->reading = NOT_READING;
    } else if (soaker->reading == BY_REQUEST && dice(soaker, 32) == 0) {
        soak_used(READ_CANCEL);
        MUST(loop_stream_read_cancel(&soaker->stream));
    } else if (soaker->reading == NOT_READING && !soaker->ended && dice(soaker, 2)) {
        read_on(soaker);
    }
    for (uint64_t count = dice(soaker, 4); count > 0 && may_write(soaker); count--)
        write_one(soaker);
    if (atomic_load(&soak_over))
        finish(soaker);
    if (!loop_stream_closing(&soaker->stream))
        rest(soaker);
}

static void on_water(struct loop_stream *stream, bool full)
{
    (void)enter(stream);
    if (full)
        soak_used(FULL);
}

struct soaker *soaker_new(struct place *place, int fd, uint64_t flow, bool first, uint64_t *random)
{
    struct soaker             *soaker = calloc(1, sizeof(*soaker));
    struct loop_stream_options options = {.on_water = on_water};
    int                        send_buffer;

    soak_assert(soaker != NULL);
    *soaker = (struct soaker){.place = place, .write_flow = flow, .read_flow = flow ^ 1, .random = test_random(random)};
    soaker->file = memfd_create("soak", MFD_CLOEXEC);
    soak_assert(soaker->file >= 0);
    soaker->stream.data = soaker->timer.data = soaker;
    if (dice(soaker, 2))
        options.write_high = 20000 + (uint32_t)dice(soaker, 100000);
    if (dice(soaker, 2))
        options.zero_copy_min = 1000 + (uint32_t)dice(soaker, 20000);
    options.flags = (first ? 0 : LOOP_STREAM_READ_ON) | (dice(soaker, 2) ? LOOP_STREAM_NODELAY : 0);
    send_buffer = 4096 << dice(soaker, 6);
    if (dice(soaker, 2)) /* a small receive buffer makes tcp crawl: one probe in 200 ms */
        MUST(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &send_buffer, sizeof(send_buffer)));
    MUST(loop_stream_open(place->loop, &soaker->stream, fd, &options));
    atomic_fetch_add(&place->open, 1);
    rest(soaker);
    return soaker;
}

void soaker_free(struct soaker *soaker)
{
    soak_assert(soaker->closed);
    test_close(soaker->file);
    free(soaker);
}

void soaker_show(const char *name, uint32_t number, const struct soaker *soaker)
{
    if (soaker == NULL || soaker->closed)
        return;
    printf("%u %s: written %" PRIu64 ", read %" PRIu64 ", queued %zu, writes %u of %u, reading %d (%s), corked %d, "
           "shutting %d, shut %d, ended %d\n",
           number, name, soaker->written, soaker->read, loop_stream_queued(&soaker->stream), soaker->writes_done,
           soaker->writes_started, (int)soaker->reading, soak_way_names[soaker->request], soaker->corked,
           soaker->shutting, soaker->shut, soaker->ended);
}
