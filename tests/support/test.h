/* tests/support/test.h: what all test programs share: main, fixture, allocator, logs of results, sockets.
 *
 * A test program defines test_suite(). Every test runs in a process of its own; after it the fixture of test_case()
 * fails it if a descriptor is left open or a byte of the counting allocator is left.
 *
 * Read from the environment:
 *   CK_TIMEOUT_MULTIPLIER=n  n times as long for each test: slow machines, valgrind, sanitizers
 *   TEST_TIMEOUT_S=n         the time itself
 *   TEST_SEED=n              random numbers
 *   CK_RUN_CASE=name         one test case only
 *   CK_FORK=no               all in one process, for debuggers
 * Under valgrind up to 3.19 tests with threads hang: it holds its lock during io_uring_enter. */
#ifndef RINGLOOP_TESTS_SUPPORT_TEST_H
#define RINGLOOP_TESTS_SUPPORT_TEST_H

#include <check.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <ringloop.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define TEST_COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- suites */

enum { TEST_TIMEOUT_S = 30 }; /* TEST_TIMEOUT_S of the environment replaces it */

/* Defined by each test program. */
Suite *test_suite(void);

/* A test case with the fixture: descriptors and memory are checked after each test. Needs the kernel's io_uring:
 * without it the whole program is skipped. */
TCase *test_case(Suite *suite, const char *name);

/* The same for tests that bring a ring of their own. */
TCase *test_case_without_ring(Suite *suite, const char *name);

/* Marks the running test as skipped; then return from it. Shown at the end, and the program's status is 77. */
void test_skip(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Runs it in a child of fork(2), which has 20 s, and waits for that: it must end with status 0. There is no ck_assert
 * in it, but TEST_TRUE_IN_CHILD. */
void test_in_child(void (*run)(void *arg), void *arg);

#define TEST_TRUE_IN_CHILD(condition)                                                                                  \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: in the child: not true: %s\n", __FILE__, __LINE__, #condition);                    \
            _exit(1);                                                                                                  \
        }                                                                                                              \
    } while (0)

/* At the begin of a test that forks while threads are at work: sanitizers have locks of their own, which stay locked in
 * the child. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TEST_FORKS_WITH_THREADS                                                                                        \
    do {                                                                                                               \
        test_skip("a sanitizer's own locks may be held by other threads at a fork");                                   \
        return;                                                                                                        \
    } while (0)
#else
#define TEST_FORKS_WITH_THREADS (void)0
#endif

/* Runs scenario in a child; fails unless that ends by SIGABRT with text in what it wrote to stderr. */
void test_expect_abort(void (*scenario)(void *arg), void *arg, const char *text);

/* A number of the environment variable, e.g. a seed, or otherwise. */
uint64_t test_env(const char *name, uint64_t otherwise);

/* Pseudo-random numbers (splitmix64). */
uint64_t test_random(uint64_t *state);

/* CLOCK_MONOTONIC in ns, without the library. */
uint64_t test_clock(void);
void     test_sleep(uint64_t ns);

/* ---- memory */

/* Counts what the loops of this process have; any thread. resize always moves, so that stale pointers are found. */
struct test_memory {
    _Atomic uint64_t calls;  /* that asked for memory */
    _Atomic uint64_t blocks; /* not yet freed */
    _Atomic uint64_t bytes;
    _Atomic uint64_t fail_at;   /* this call, counted from 1, returns NULL; 0: none */
    _Atomic uint64_t fail_from; /* this one and all that follow do; 0: none */
    _Atomic uint64_t failed;
};
extern struct test_memory test_memory;

struct loop_allocator test_allocator(void);

/* ---- loops */

/* loop_create with the counting allocator; options may be NULL. Fails the test on an error. */
struct loop *test_loop_new(const struct loop_options *options);

/* Checks that no operation is in flight, none stands waiting, no buffer is lent; then destroys. */
void test_loop_free(struct loop *loop);

/* Destroys whatever is going on. */
void test_loop_drop(struct loop *loop);

struct loop_stats test_stats(const struct loop *loop);

/* Callbacks that count: arg, or the timer's data, is a uint32_t. */
loop_post_cb  test_count_post;
loop_timer_cb test_count_timer;

/* Runs until nothing keeps the loop alive. */
void test_run(struct loop *loop);

/* Runs turns that wait, until *counter has reached value. */
void test_run_until(struct loop *loop, const uint32_t *counter, uint32_t value);

/* Runs turns that do not wait until the condition holds, and not for ever. */
#define TEST_UNTIL(loop, condition)                                                                                    \
    do {                                                                                                               \
        uint32_t turns_ = 0;                                                                                           \
        while (!(condition)) {                                                                                         \
            ck_assert_msg(turns_++ < 20000, "it never came: " #condition);                                             \
            test_turns(loop, 1);                                                                                       \
            test_sleep(20 * LOOP_MICROSECOND);                                                                         \
        }                                                                                                              \
    } while (0)

/* Turns that do not wait. */
void test_turns(struct loop *loop, uint32_t count);

/* Whether this kernel has the opcode (IORING_OP_*). */
bool test_has_opcode(struct loop *loop, uint32_t opcode);

/* ---- results */

enum { TEST_LOG_MAX = 64 };

/* What test_log_cb noted; arg of the operation. Zero it first. */
struct test_log {
    uint32_t           count;                 /* callbacks */
    uint32_t           finals;                /* those without LOOP_MORE */
    struct loop_result results[TEST_LOG_MAX]; /* the first of them; data and extra point to copies below, or nowhere */
    struct loop_result last;
    uint32_t           extra_size; /* set it to the data_size of the terms, to have extra noted */
    uint32_t           extras;     /* callbacks with extra */
    bool               releases;   /* set it for zero-copy sends, whose errors come with LOOP_MORE */
    char               extra[LOOP_EXTRA_BYTES_MAX];
    uint64_t           bytes;     /* sum of positive results with LOOP_BUFFER */
    char               data[256]; /* the first bytes received so */
};

/* Notes the result; checks that nothing comes after the final one and that the id is retired by then. */
loop_cb test_log_cb;

/* Fails unless log holds exactly one callback, a final one, with this res and no flags. */
void test_log_is(const struct test_log *log, int32_t res);

/* ---- descriptors */

void               test_socketpair(int ret_fds[2]); /* AF_UNIX, SOCK_STREAM */
void               test_pipe(int ret_fds[2]);
void               test_tcp_pair(int ret_fds[2]); /* connected over 127.0.0.1 */
int                test_tcp_listener(uint16_t *ret_port, int backlog);
int                test_tcp_connect(uint16_t port); /* blocking */
void               test_close(int fd);
void               test_write(int fd, const void *data, size_t size); /* all of it, blocking */
void               test_read(int fd, void *data, size_t size);        /* all of it, blocking */
struct sockaddr_in test_localhost(uint16_t port);

uint32_t test_fd_count(void); /* open descriptors of this process */

#endif
