/* tests/net/net_test.h: what the tests of the net layer share: patterns, notes of callbacks, streams and their peers.
 */
#ifndef RINGLOOP_TESTS_NET_NET_TEST_H
#define RINGLOOP_TESTS_NET_NET_TEST_H

#include "tests/support/test.h"

/* ---- running */

/* Runs turns that wait for something to happen until condition holds. What nobody wakes the loop for is not seen: that
 * is a failure too, after RUN_LIMIT. */
#define run_until(loop, condition)                                                                                     \
    do {                                                                                                               \
        struct loop_timer guard_ = {.data = #condition};                                                               \
        run_guard(loop, &guard_);                                                                                      \
        while (!(condition))                                                                                           \
            run_once(loop, #condition);                                                                                \
        loop_timer_stop(&guard_);                                                                                      \
    } while (0)

/* The same for conditions that look at sockets outside the loop: no turn waits for longer than a millisecond. */
#define pump_until(loop, condition)                                                                                    \
    do {                                                                                                               \
        uint64_t until_ = test_clock() + RUN_LIMIT;                                                                    \
        while (!(condition)) {                                                                                         \
            ck_assert_msg(test_clock() < until_, "still waiting for: %s", #condition);                                 \
            pump_once(loop);                                                                                           \
        }                                                                                                              \
    } while (0)

#define RUN_LIMIT (test_env("RINGLOOP_RUN_LIMIT_S", 20) * LOOP_SECOND)

void run_guard(struct loop *loop, struct loop_timer *guard);
void run_once(struct loop *loop, const char *what);
void pump_once(struct loop *loop);

/* Turns for about this long, for what shall not happen. Returns their number. */
uint64_t run_for(struct loop *loop, uint64_t ns);

/* Enough turns for what is under way to arrive. */
void settle(struct loop *loop);

/* Whether a call into the library is running: then no callback may come. Each callback of these files asks by
 * callback_enter(). */
extern bool inside_call;
#define CALL(expression)                                                                                               \
    __extension__({                                                                                                    \
        int call_result_;                                                                                              \
        inside_call = true;                                                                                            \
        call_result_ = (expression);                                                                                   \
        inside_call = false;                                                                                           \
        call_result_;                                                                                                  \
    })
void callback_enter(void);

/* ---- notes: what has come back, in its order, as text: "connect ok; write 1 ECANCELED 0; close" */

void        note(const char *format, ...) __attribute__((format(printf, 1, 2)));
void        notes_are(const char *expected); /* and forgets them */
const char *error_text(int error);           /* "ok", or the errno's name */

/* ---- patterns: each flow of bytes has its own; what stands at an offset is known to both ends */

void pattern_fill(uint64_t flow, uint64_t offset, void *data, size_t size);
void pattern_check(uint64_t flow, uint64_t offset, const void *data, size_t size);

/* ---- sockets */

/* The kinds of connection that most tests run over: the bounds of tcase_add_loop_test. */
enum net_kind { NET_TCP4, NET_UNIX, NET_TCP6, NET_KINDS };

void                net_pair(int kind, int ret_fds[2]); /* connected, blocking */
struct loop_address net_address(int kind);              /* to listen at: port 0, or an abstract name not used before */
struct loop_address net_parse(const char *text, uint16_t port);
int                 net_listen(int kind, int backlog, struct loop_address *ret_address);
int                 net_dial(const struct loop_address *address);                       /* blocking connect */
int                 net_dial_start(const struct loop_address *address, int *ret_error); /* not blocking */
void                net_reset(int fd);                                                  /* closes with RST */
void                net_buffers(int fd, int bytes); /* of its socket, in both directions */
int                 net_kinds(void);                /* NET_KINDS, or without IPv6 one less, which it says */

/* ---- a stream of the loop that counts and checks what comes back */

struct end {
    struct loop_stream stream;
    const char        *name;      /* shown in notes; NULL: none are taken */
    uint64_t           read_flow; /* what it expects to read */
    uint64_t           read_bytes;
    uint32_t           reads; /* callbacks with data */
    uint32_t           read_ends;
    int                read_error; /* of the last of them */
    uint32_t           connects, shutdowns, closes;
    int                connect_error, shutdown_error;
    uint64_t           write_flow;  /* what end_write sends */
    uint64_t           write_bytes; /* accepted */
    uint64_t           taken_bytes; /* as told by write callbacks */
    uint32_t           writes_started, writes_done, writes_failed;
    int                write_error; /* the first */
    void              *arg;         /* the test's */
};

void                 end_open(struct loop *loop, struct end *end, int fd, const struct loop_stream_options *options);
void                 end_connect(struct loop *loop, struct end *end, const struct loop_address *address,
                                 const struct loop_stream_options *options);
void                 end_read_start(struct end *end);
void                 end_close(struct end *end);
struct end          *end_of(struct loop_stream *stream);
loop_stream_read_cb  end_read_cb;
loop_stream_event_cb end_connect_cb, end_shutdown_cb;
loop_stream_close_cb end_close_cb;

/* Writes the next size bytes of the end's pattern from memory of its own, which the callback frees. Returns what the
 * library did. */
int end_write(struct end *end, size_t size, uint32_t flags);

/* The library's calls that must succeed, from outside or inside callbacks; for writes without a pattern. */
void must_write(struct end *end, const void *data, size_t size, loop_stream_write_cb *cb, void *arg,
                const struct loop_write_terms *terms);

/* Notes "write ARG ERROR BYTES", arg being a string. */
loop_stream_write_cb note_write_cb;

/* ---- the other end: a plain socket, used without waiting */

struct peer {
    int      fd;
    uint64_t read_flow;
    uint64_t read_bytes;
    bool     ended; /* has read the end or an error */
    int      error;
    uint64_t write_flow;
    uint64_t write_bytes;
};

/* Reads what is there, checking it, but at most max bytes. Returns whether the end has come. */
bool peer_drain(struct peer *peer, size_t max);

/* Sends what the socket takes until write_bytes has reached total. Returns whether it has. */
bool peer_feed(struct peer *peer, uint64_t total);

/* Waits without the loop for the end of the stream or an error; reads the rest. */
void peer_finish(struct peer *peer);

/* ---- both */

struct link {
    struct end  end;
    struct peer peer;
};

/* Zeroes the link; number gives its flows. */
void link_open(struct loop *loop, struct link *link, int kind, uint32_t number,
               const struct loop_stream_options *options);

/* Closes the end, unless it is closed, runs until that has happened, then closes the peer. */
void link_close(struct loop *loop, struct link *link);

/* ---- broken lifetimes */

/* Runs call(arg) in a child: it must return error, or abort with a message that has text in it. */
void expect_error_or_abort(int (*call)(void *arg), void *arg, int error, const char *text);

#endif
