/* tests/net/net_test.c: helpers of the net tests. */
#include "tests/net/net_test.h"

#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/resource.h>
#include <sys/wait.h>

/* ---- running */

static void guard_fired(struct loop_timer *timer)
{
    ck_abort_msg("still waiting for: %s", (const char *)timer->data);
}

static uint32_t idle_turns;

void run_guard(struct loop *loop, struct loop_timer *guard)
{
    idle_turns = 0;
    loop_timer_unref(guard);
    ck_assert_int_eq(loop_timer_start(loop, guard, RUN_LIMIT, 0, guard_fired), 0);
}

void run_once(struct loop *loop, const char *what)
{
    int r = loop_run(loop, LOOP_RUN_ONCE);

    ck_assert_int_ge(r, 0);
    idle_turns = r == 0 ? idle_turns + 1 : 0;
    ck_assert_msg(idle_turns < 8, "the loop has nothing left to do, but this does not hold: %s", what);
}

static void tick_fired(struct loop_timer *timer)
{
    (void)timer;
}

void pump_once(struct loop *loop)
{
    struct loop_timer tick = {0};

    ck_assert_int_eq(loop_timer_start(loop, &tick, LOOP_MILLISECOND, 0, tick_fired), 0);
    ck_assert_int_ge(loop_run(loop, LOOP_RUN_ONCE), 0);
    loop_timer_stop(&tick);
}

uint64_t run_for(struct loop *loop, uint64_t ns)
{
    struct loop_timer timer = {0};
    uint64_t          turns = test_stats(loop).turns;

    ck_assert_int_eq(loop_timer_start(loop, &timer, ns, 0, tick_fired), 0);
    while (loop_timer_active(&timer))
        ck_assert_int_ge(loop_run(loop, LOOP_RUN_ONCE), 0);
    return test_stats(loop).turns - turns;
}

void settle(struct loop *loop)
{
    test_turns(loop, 4);
    run_for(loop, 3 * LOOP_MILLISECOND);
    test_turns(loop, 4);
}

bool inside_call;

void callback_enter(void)
{
    ck_assert_msg(!inside_call, "a callback came from inside a call");
}

/* ---- notes */

static char   notes[16384];
static size_t notes_size;

void note(const char *format, ...)
{
    va_list arguments;
    int     n;

    if (notes_size > 0)
        notes_size += (size_t)snprintf(notes + notes_size, sizeof(notes) - notes_size, "; ");
    va_start(arguments, format);
    n = vsnprintf(notes + notes_size, sizeof(notes) - notes_size, format, arguments);
    va_end(arguments);
    ck_assert(n >= 0 && (size_t)n < sizeof(notes) - notes_size);
    notes_size += (size_t)n;
}

void notes_are(const char *expected)
{
    ck_assert_str_eq(notes, expected);
    notes_size = 0;
    notes[0] = '\0';
}

const char *error_text(int error)
{
    const char *name = error == 0 ? "ok" : error < 0 ? strerrorname_np(-error) : NULL;

    return name != NULL ? name : "not an errno";
}

/* ---- patterns */

static uint64_t pattern_word(uint64_t flow, uint64_t index)
{
    uint64_t state = (flow << 40) ^ index;

    return test_random(&state);
}

void pattern_fill(uint64_t flow, uint64_t offset, void *data, size_t size)
{
    uint8_t *bytes = data;

    while (size > 0) {
        uint64_t word = pattern_word(flow, offset / 8);
        size_t   skip = offset % 8;
        size_t   n = size < 8 - skip ? size : 8 - skip;

        memcpy(bytes, (const uint8_t *)&word + skip, n);
        bytes += n;
        offset += n;
        size -= n;
    }
}

void pattern_check(uint64_t flow, uint64_t offset, const void *data, size_t size)
{
    const uint8_t *bytes = data;
    uint8_t        expected[512];

    for (size_t done = 0; done < size; done += sizeof(expected)) {
        size_t n = size - done < sizeof(expected) ? size - done : sizeof(expected);

        pattern_fill(flow, offset + done, expected, n);
        if (memcmp(bytes + done, expected, n) == 0)
            continue;
        for (size_t i = 0; i < n; i++)
            ck_assert_msg(bytes[done + i] == expected[i], "flow %" PRIu64 ": byte %" PRIu64 " is %#x, not %#x", flow,
                          offset + done + i, bytes[done + i], expected[i]);
    }
}

/* ---- sockets */

struct loop_address net_parse(const char *text, uint16_t port)
{
    struct loop_address address;

    ck_assert_int_eq(loop_address_parse(&address, text, port), 0);
    return address;
}

struct loop_address net_address(int kind)
{
    static unsigned count;
    char            name[64];

    switch (kind) {
    case NET_TCP4: return net_parse("127.0.0.1", 0);
    case NET_TCP6: return net_parse("::1", 0);
    }
    snprintf(name, sizeof(name), "unix:@ringloop-test-%d-%u", (int)getpid(), count++);
    return net_parse(name, 0);
}

int net_listen(int kind, int backlog, struct loop_address *ret_address)
{
    struct loop_address address = net_address(kind);
    int                 fd = socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(bind(fd, (const struct sockaddr *)&address.storage, address.size), 0);
    ck_assert_int_eq(listen(fd, backlog), 0);
    address.size = sizeof(address.storage);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address.storage, &address.size), 0);
    *ret_address = address;
    return fd;
}

int net_dial(const struct loop_address *address)
{
    int fd = socket(address->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int r;

    ck_assert_int_ge(fd, 0);
    do
        r = connect(fd, (const struct sockaddr *)&address->storage, address->size);
    while (r != 0 && errno == EINTR);
    ck_assert_msg(r == 0, "connect: %s", strerror(errno));
    return fd;
}

int net_dial_start(const struct loop_address *address, int *ret_error)
{
    int fd = socket(address->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    ck_assert_int_ge(fd, 0);
    *ret_error = connect(fd, (const struct sockaddr *)&address->storage, address->size) == 0 ? 0 : -errno;
    return fd;
}

void net_pair(int kind, int ret_fds[2])
{
    struct loop_address address;
    int                 listener;

    if (kind == NET_UNIX) {
        test_socketpair(ret_fds);
        return;
    }
    listener = net_listen(kind, 1, &address);
    ret_fds[0] = net_dial(&address);
    ret_fds[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    ck_assert_int_ge(ret_fds[1], 0);
    test_close(listener);
}

void net_reset(int fd)
{
    const struct linger linger = {.l_onoff = 1, .l_linger = 0};

    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
    test_close(fd);
}

void net_buffers(int fd, int bytes)
{
    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)), 0);
    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)), 0);
}

int net_kinds(void)
{
    struct sockaddr_in6 sin6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int                 fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool                has = fd >= 0 && bind(fd, (const struct sockaddr *)&sin6, sizeof(sin6)) == 0;

    if (fd >= 0)
        close(fd);
    if (!has)
        printf("SKIPPED: tests over ::1, which this system does not have\n");
    return has ? NET_KINDS : NET_KINDS - 1;
}

/* ---- ends */

struct end *end_of(struct loop_stream *stream)
{
    return (struct end *)(void *)((char *)stream - offsetof(struct end, stream));
}

void end_open(struct loop *loop, struct end *end, int fd, const struct loop_stream_options *options)
{
    ck_assert_int_eq(CALL(loop_stream_open(loop, &end->stream, fd, options)), 0);
    ck_assert_int_eq(loop_stream_fd(&end->stream), fd);
}

void end_connect(struct loop *loop, struct end *end, const struct loop_address *address,
                 const struct loop_stream_options *options)
{
    ck_assert_int_eq(CALL(loop_stream_connect(loop, &end->stream, address, options, end_connect_cb)), 0);
}

void end_read_start(struct end *end)
{
    ck_assert_int_eq(CALL(loop_stream_read_start(&end->stream, end_read_cb)), 0);
}

void end_close(struct end *end)
{
    inside_call = true;
    loop_stream_close(&end->stream, end_close_cb);
    inside_call = false;
    ck_assert(loop_stream_closing(&end->stream));
}

void end_read_cb(struct loop_stream *stream, const struct loop_result *result)
{
    struct end *end = end_of(stream);

    callback_enter();
    ck_assert_msg(end->closes == 0, "read after the close callback");
    ck_assert_msg(end->read_ends == 0, "read after the end");
    ck_assert_msg(!loop_stream_closing(stream), "read callback of a closing stream");
    if (result->res > 0) {
        ck_assert(result->flags & LOOP_BUFFER);
        ck_assert_ptr_nonnull(result->data);
        ck_assert_uint_ne(result->buffer, 0);
        pattern_check(end->read_flow, end->read_bytes, result->data, (size_t)result->res);
        end->read_bytes += (uint64_t)result->res;
        end->reads++;
        return;
    }
    ck_assert_uint_eq(result->flags & LOOP_BUFFER, 0);
    ck_assert_uint_eq(result->buffer, 0);
    end->read_ends++;
    end->read_error = result->res;
    if (end->name != NULL)
        note("%s end %s", end->name, error_text(result->res));
}

void end_connect_cb(struct loop_stream *stream, int error)
{
    struct end *end = end_of(stream);

    callback_enter();
    ck_assert_uint_eq(end->connects, 0);
    ck_assert_uint_eq(end->writes_done + end->shutdowns + end->closes, 0);
    end->connects++;
    end->connect_error = error;
    if (end->name != NULL)
        note("%s connect %s", end->name, error_text(error));
}

void end_shutdown_cb(struct loop_stream *stream, int error)
{
    struct end *end = end_of(stream);

    callback_enter();
    ck_assert_uint_eq(end->shutdowns, 0);
    ck_assert_uint_eq(end->closes, 0);
    ck_assert_uint_eq(end->writes_done, end->writes_started);
    end->shutdowns++;
    end->shutdown_error = error;
    if (end->name != NULL)
        note("%s shutdown %s", end->name, error_text(error));
}

void end_close_cb(struct loop_stream *stream)
{
    struct end *end = end_of(stream);

    callback_enter();
    ck_assert_uint_eq(end->closes, 0);
    ck_assert_uint_eq(end->writes_done, end->writes_started);
    end->closes++;
    if (end->name != NULL)
        note("%s close", end->name);
}

struct pending {
    struct end *end;
    uint32_t    number;
    size_t      size;
    uint8_t     bytes[];
};

static void end_written(struct loop_stream *stream, int error, size_t bytes, void *arg)
{
    struct pending *pending = arg;
    struct end     *end = pending->end;

    callback_enter();
    ck_assert_ptr_eq(stream, &end->stream);
    ck_assert_uint_eq(end->closes, 0);
    ck_assert_msg(pending->number == end->writes_done, "write %u came back as number %u", pending->number,
                  end->writes_done);
    ck_assert_int_le(error, 0);
    if (error == 0) {
        ck_assert_uint_eq(bytes, pending->size);
        ck_assert_msg(end->writes_failed == 0, "a write succeeded behind one that failed");
    } else {
        ck_assert_uint_lt(bytes, pending->size);
        if (end->writes_failed++ == 0)
            end->write_error = error;
        else
            ck_assert_uint_eq(bytes, 0);
    }
    end->writes_done++;
    end->taken_bytes += bytes;
    if (end->name != NULL)
        note("%s write %u %s", end->name, pending->number, error_text(error));
    memset(pending->bytes, 0xee, pending->size); /* ours again */
    free(pending);
}

int end_write(struct end *end, size_t size, uint32_t flags)
{
    struct pending *pending = malloc(sizeof(*pending) + size);
    int             r;

    ck_assert_ptr_nonnull(pending);
    *pending = (struct pending){.end = end, .number = end->writes_started, .size = size};
    pattern_fill(end->write_flow, end->write_bytes, pending->bytes, size);
    r = CALL(loop_stream_write(&end->stream, pending->bytes, size, end_written, pending,
                               &(const struct loop_write_terms){.flags = flags}));
    if (r < 0) {
        free(pending);
        return r;
    }
    ck_assert_int_eq(r, 0);
    if (flags & LOOP_WRITE_COPY)
        memset(pending->bytes, 0xcc, size);
    end->writes_started++;
    end->write_bytes += size;
    return 0;
}

void must_write(struct end *end, const void *data, size_t size, loop_stream_write_cb *cb, void *arg,
                const struct loop_write_terms *terms)
{
    ck_assert_int_eq(CALL(loop_stream_write(&end->stream, data, size, cb, arg, terms)), 0);
}

void note_write_cb(struct loop_stream *stream, int error, size_t bytes, void *arg)
{
    (void)stream;
    callback_enter();
    note("write %s %s %zu", (const char *)arg, error_text(error), bytes);
}

/* ---- peers */

bool peer_drain(struct peer *peer, size_t max)
{
    uint8_t bytes[65536];

    while (!peer->ended && max > 0) {
        ssize_t n = recv(peer->fd, bytes, max < sizeof(bytes) ? max : sizeof(bytes), MSG_DONTWAIT);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n <= 0) {
            peer->ended = true;
            peer->error = n < 0 ? -errno : 0;
            break;
        }
        pattern_check(peer->read_flow, peer->read_bytes, bytes, (size_t)n);
        peer->read_bytes += (uint64_t)n;
        max -= (size_t)n;
    }
    return peer->ended;
}

bool peer_feed(struct peer *peer, uint64_t total)
{
    uint8_t bytes[16384];

    while (peer->write_bytes < total) {
        uint64_t left = total - peer->write_bytes;
        size_t   size = left < sizeof(bytes) ? (size_t)left : sizeof(bytes);
        ssize_t  n;

        pattern_fill(peer->write_flow, peer->write_bytes, bytes, size);
        n = send(peer->fd, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return false;
        ck_assert_msg(n > 0, "send: %s", strerror(errno));
        peer->write_bytes += (uint64_t)n;
    }
    return true;
}

void peer_finish(struct peer *peer)
{
    uint64_t until = test_clock() + RUN_LIMIT;

    while (!peer_drain(peer, SIZE_MAX)) {
        struct pollfd pollfd = {.fd = peer->fd, .events = POLLIN};

        ck_assert_msg(test_clock() < until, "the peer waits for the end of the stream");
        ck_assert_int_ge(poll(&pollfd, 1, 1000), 0);
    }
}

/* ---- links */

void link_open(struct loop *loop, struct link *link, int kind, uint32_t number,
               const struct loop_stream_options *options)
{
    int fds[2];

    net_pair(kind, fds);
    *link = (struct link){
        .end = {.write_flow = 2 * number, .read_flow = 2 * number + 1},
        .peer = {.fd = fds[1], .read_flow = 2 * number, .write_flow = 2 * number + 1},
    };
    end_open(loop, &link->end, fds[0], options);
}

void link_close(struct loop *loop, struct link *link)
{
    if (link->end.closes == 0) {
        if (!loop_stream_closing(&link->end.stream))
            end_close(&link->end);
        run_until(loop, link->end.closes == 1);
    }
    if (link->peer.fd >= 0)
        test_close(link->peer.fd);
    link->peer.fd = -1;
}

/* ---- broken lifetimes */

void expect_error_or_abort(int (*call)(void *arg), void *arg, int error, const char *text)
{
    char   output[4096];
    size_t size = 0;
    int    fds[2], status;
    pid_t  pid;

    test_pipe(fds);
    fflush(NULL);
    pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        const struct rlimit no_core = {0, 0};

        setrlimit(RLIMIT_CORE, &no_core);
        dup2(fds[1], STDERR_FILENO);
        close(fds[0]);
        close(fds[1]);
        _exit(call(arg) == error ? 0 : 1);
    }
    test_close(fds[1]);
    for (;;) {
        ssize_t n = read(fds[0], output + size, sizeof(output) - 1 - size);

        if (n <= 0)
            break;
        size += (size_t)n;
    }
    output[size] = '\0';
    test_close(fds[0]);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT)
        ck_assert_msg(strstr(output, text) != NULL, "aborted, but the message does not say \"%s\": %s", text, output);
    else
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "neither %s nor an abort: status %#x; %s",
                      error_text(error), (unsigned)status, output);
}
