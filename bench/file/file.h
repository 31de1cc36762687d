/* bench/file/file.h: the file bench; each contender supplies struct file_contender and calls file_main.
 *
 * PROGRAM --file PATH [--mib N] [--depth N] [--direct 0|1] [--fixed 0|1] [--object 0|1]
 *         [--verify 0|1] [--ops N]
 * Reads ops random blocks of 4 KiB of one file of so many MiB, made where it is missing: depth readers, each of which
 * has one read in flight and starts the next when that is done. Cached: all of it is in the page cache; direct: by
 * O_DIRECT, and none of it is. fixed: a registered file and registered buffers; object: through a file object. Prints
 * one JSON line.
 *
 * The begin and the end of every block are compared with what belongs there; with verify all of it. */
#ifndef BENCH_FILE_FILE_H
#define BENCH_FILE_FILE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "common/cli.h"
#include "common/random.h"

enum { FILE_DEPTH_MAX = 128, FILE_BLOCK = 4096 };

struct file_bench;

struct reader {
    struct file_bench *bench;
    uint8_t           *buffer; /* aligned */
    uint64_t           block;
    bool               in_flight;
};

struct file_bench {
    const char   *path;
    uint64_t      blocks; /* of the file */
    uint64_t      ops;
    uint32_t      depth;
    bool          direct, fixed, object, verify;
    int           fd;
    uint64_t      started, finished, last; /* so many are to be started by the end of this run */
    struct random random;
    struct reader reader[FILE_DEPTH_MAX];
};

struct file_contender {
    bool is_ringloop; /* knows --fixed and --object */
    /* May replace the readers' buffers by its own, of FILE_BLOCK bytes each and aligned to that. */
    void (*open)(struct file_bench *bench);
    /* Starts every reader by reader_next(), and returns when the last read has ended. */
    void (*run)(struct file_bench *bench);
    void (*close)(void);
};

int file_main(int argc, char **argv, const struct file_contender *contender);

/* What stands in a block, in words: a sequence that its number begins. */
static inline uint64_t file_word(uint64_t block, uint32_t word)
{
    return (block + 1) * 0x9e3779b97f4a7c15u + word;
}

/* Prepares the reader's next read, or returns false if there is none left. */
static inline bool reader_next(struct reader *reader)
{
    struct file_bench *bench = reader->bench;

    if (bench->started == bench->last)
        return false;
    bench->started++;
    reader->block = random_next(&bench->random) % bench->blocks;
    reader->in_flight = true;
    return true;
}

static inline uint64_t reader_offset(const struct reader *reader)
{
    return reader->block * FILE_BLOCK;
}

/* A read has ended; result as of pread(2), or a negative errno. */
static inline void reader_done(struct reader *reader, int64_t result)
{
    enum { LAST = FILE_BLOCK / sizeof(uint64_t) - 1 };
    uint64_t words[LAST + 1];

    if (!reader->in_flight)
        die("a read has ended twice");
    if (result < 0)
        die_errno((int)-result, "read");
    if (result != FILE_BLOCK)
        die("%d bytes were read", (int)result);
    memcpy(&words[0], reader->buffer, sizeof(words[0]));
    memcpy(&words[LAST], reader->buffer + LAST * sizeof(words[0]), sizeof(words[0]));
    if (words[0] != file_word(reader->block, 0) || words[LAST] != file_word(reader->block, LAST))
        die("this is not block %u", (unsigned)reader->block);
    if (reader->bench->verify) {
        memcpy(words, reader->buffer, sizeof(words));
        for (uint32_t i = 0; i <= LAST; i++)
            if (words[i] != file_word(reader->block, i))
                die("block %u is wrong", (unsigned)reader->block);
        memset(reader->buffer, 0, FILE_BLOCK); /* what is not read anew will be seen */
    }
    reader->in_flight = false;
    reader->bench->finished++;
}

#endif
