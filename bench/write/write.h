/* bench/write/write.h: the write bench; each contender supplies struct write_contender and calls write_main.
 *
 * PROGRAM --file PATH [--size N] [--writers N] [--ops N] [--deadline NS]
 * ops blocks of size bytes are written to one file, whose pages are cached, by a number of writers, each of which has
 * one write in flight and starts the next when that is done. Block b of the file is of writer b % writers: so the
 * blocks of one round of all writers are adjacent. At its end they begin anew. Prints one JSON line.
 *
 * Every result is checked when it comes, and the contents of the whole file at the end. */
#ifndef BENCH_WRITE_WRITE_H
#define BENCH_WRITE_WRITE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "common/cli.h"

enum {
    WRITERS_MAX = 64,
    WRITE_SIZE_MIN = 128,
    WRITE_SIZE_MAX = 4096,
    WRITE_FILE_BYTES = 4 << 20,
};

struct write_bench;

struct writer {
    struct write_bench *bench;
    uint8_t            *buffer;  /* what to write */
    uint64_t            offset;  /* where */
    uint64_t            started; /* blocks, since the program's begin */
    uint64_t            last;    /* so many are to be started by the end of this run */
    bool                in_flight;
};

struct write_bench {
    const char   *path;
    uint32_t      size;
    uint32_t      writers;
    uint64_t      ops;
    uint64_t      deadline_ns; /* 0: none */
    int           fd;
    uint64_t      end; /* of the blocks in the file */
    uint64_t      finished;
    struct writer writer[WRITERS_MAX];
};

struct write_contender {
    bool has_deadline; /* knows --deadline */
    void (*open)(struct write_bench *bench);
    /* Starts every writer by writer_next(), and returns when all have reached their last. */
    void (*run)(struct write_bench *bench);
    void (*close)(void);
};

int write_main(int argc, char **argv, const struct write_contender *contender);

/* The number of a block goes to its begin and its end: a lost, late or torn write will be seen. */
static inline void writer_stamp(struct writer *writer)
{
    uint64_t stamp = ++writer->started, inverse = ~stamp;

    memcpy(writer->buffer, &stamp, sizeof(stamp));
    memcpy(writer->buffer + writer->bench->size - sizeof(inverse), &inverse, sizeof(inverse));
}

/* Prepares the writer's next block, buffer and offset, or returns false if it has none left. */
static inline bool writer_next(struct writer *writer)
{
    const struct write_bench *bench = writer->bench;
    uint64_t                  stride = (uint64_t)bench->size * bench->writers;

    if (writer->started == writer->last)
        return false;
    if (writer->started != 0)
        writer->offset = writer->offset + stride < bench->end ? writer->offset + stride : writer->offset % stride;
    writer_stamp(writer);
    writer->in_flight = true;
    return true;
}

/* A write has ended; result as of pwrite(2), or a negative errno. */
static inline void writer_done(struct writer *writer, int result)
{
    if (!writer->in_flight)
        die("a write has ended twice");
    if (result < 0)
        die_errno(-result, "write");
    if ((uint32_t)result != writer->bench->size)
        die("%d bytes of %u were written", result, writer->bench->size);
    writer->in_flight = false;
    writer->bench->finished++;
}

#endif
