/* tests/net/soaker.h: a stream that is read and written in every way at once, as its random numbers say. */
#ifndef RINGLOOP_TESTS_NET_SOAKER_H
#define RINGLOOP_TESTS_NET_SOAKER_H

#include "tests/net/net_test.h"

#include <pthread.h>

enum way {
    WRITE_COPIED,
    WRITE_BORROWED,
    WRITE_PIECES,
    WRITE_LENT,
    WRITE_KEPT,
    WRITE_FILE,
    WRITE_TRY,
    WRITE_CORK,
    READ_CALLBACK,
    READ_SOME,
    READ_EXACTLY,
    READ_UNTIL,
    READ_READY,
    READ_TRY,
    READ_STOP,
    READ_CANCEL,
    READ_TIMEOUT,
    FULL,
    FORWARD,
    FORWARD_STOP,
    WAYS
};

extern const char *const soak_way_names[WAYS];
extern atomic_ullong     soak_ways[WAYS]; /* how often each was used */
extern atomic_ullong     soak_bytes;      /* that were read */
extern atomic_bool       soak_over;       /* no more is to be written */

extern _Thread_local bool soak_calling;

void soak_used(enum way way);

/* libcheck notes each assertion that holds, in a file: too many here. */
#define soak_assert(condition) soak_assert_msg(condition, "%s", #condition)
#define soak_assert_msg(condition, ...)                                                                                \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            ck_abort_msg(__VA_ARGS__);                                                                                 \
    } while (0)

/* What has to give 0; no callback may come from inside it. */
#define MUST(call)                                                                                                     \
    do {                                                                                                               \
        int must_;                                                                                                     \
        soak_calling = true;                                                                                           \
        must_ = (call);                                                                                                \
        soak_calling = false;                                                                                          \
        soak_assert_msg(must_ == 0, "%s: %s", #call, error_text(must_));                                               \
    } while (0)

#define SOAK_ROUND (600 * LOOP_MILLISECOND)

/* A loop and its thread, which runs it as long as anything is open. */
struct place {
    struct loop *loop;
    pthread_t    thread;
    atomic_uint  open; /* what has not closed */
};

void *soak_place_run(void *place);

enum { CHUNK_MAX = 200000, QUEUED_MAX = 400000, REQUEST_MAX = 30000 };

/* A stream that acts by its own random numbers whenever its timer fires, and in its callbacks. */
struct soaker {
    struct loop_stream stream;
    struct loop_timer  timer;
    struct place      *place;
    uint64_t           random;
    uint64_t           write_flow, read_flow;
    uint64_t           written, read; /* bytes */
    uint32_t           writes_started, writes_done;
    int                file; /* of its sendfile */
    bool               file_busy, corked, shutting, shut, ended, closed;
    loop_buffer        kept;
    size_t             kept_size;
    enum { NOT_READING, BY_CALLBACK, BY_REQUEST } reading;
    enum way request;
    size_t   asked;
    uint8_t  delimiter[2];
    uint8_t  delimiter_size;
    uint8_t  memory[REQUEST_MAX]; /* of requests */
};

/* Takes fd. Writes the pattern of flow and reads that of flow ^ 1. Of two that send to each other only one may stop
 * reading when it is full: first. When soak_over is set it shuts down, reads to the end, and closes. */
struct soaker *soaker_new(struct place *place, int fd, uint64_t flow, bool first, uint64_t *random);
void           soaker_free(struct soaker *soaker);

/* Prints what it is doing, unless it has closed. */
void soaker_show(const char *name, uint32_t number, const struct soaker *soaker);

#endif
