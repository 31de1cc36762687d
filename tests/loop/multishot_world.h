/* tests/loop/multishot_world.h: the loop, datagrams and buffers that tests of multishots share. */
#ifndef RINGLOOP_TESTS_LOOP_MULTISHOT_WORLD_H
#define RINGLOOP_TESTS_LOOP_MULTISHOT_WORLD_H

#include "tests/support/test.h"

#include <sys/uio.h>

enum { BUFFER_SIZE = 256, BUFFERS = 4 };

extern struct loop *loop;

/* Fixtures; with the tiny one the CQ overflows all the time. */
void setup(void);
void tiny_setup(void);
void teardown(void);

/* Runs turns until the condition holds, and not for ever. */
#define UNTIL(condition) TEST_UNTIL(loop, condition)

/* What was received, each message with its size; test_log_cb takes no empty ones. */
struct inbox {
    uint32_t count, finals;
    int32_t  last;
    uint32_t last_flags;
    struct {
        int32_t            size;
        int                flags;
        socklen_t          namelen;
        struct sockaddr_in sender;
        int                pid; /* of SCM_CREDENTIALS; 0: none */
        char               data[BUFFER_SIZE];
    } messages[16];
    loop_buffer keep[16]; /* with keeps */
    bool        keeps;
};

void message_cb(struct loop *of, const struct loop_result *result, void *arg); /* arg: an inbox */

/* Receives messages into inbox, which is zeroed but for keeps. */
loop_id receive(int fd, const struct msghdr *msg, struct inbox *inbox);

/* A bound socket. */
int  udp(struct sockaddr_in *ret_address);
/* Of AF_UNIX, whose datagrams have no sender. */
void datagram_pair(int ret_fds[2]);
void close_both(const int fds[2]);

void cancel_and_wait(loop_id id, const uint32_t *finals);

/* Takes all buffers out of the group; fds is what for. */
void empty_group(struct inbox *keeper, int fds[2]);
void return_one(struct inbox *keeper);
/* Ends everything that goes on, with the loop, and makes a new one. */
void finish(struct inbox *keeper, int fds[2]);

/* Notes what a handler is told with value 55. */
void count_direct(struct loop *of, const struct loop_result *result, void *arg);

void nothing(struct loop_timer *timer);

/* Whether the kernel lacks multishot reads; then the test is skipped. */
bool no_reads(void);

#endif
