/* The harness of the write bench: command line, file, measurement, checks. */
#include "write/write.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/random.h"

enum { CHUNK = 1 << 20, SEED = 42 };

static void parse(struct write_bench *bench, int argc, char **argv, const struct write_contender *contender)
{
    for (int i = 1; i < argc; i += 2) {
        const char *option = argv[i], *value = argv[i + 1];

        if (value == NULL)
            die("%s needs a value", option);
        else if (strcmp(option, "--file") == 0)
            bench->path = value;
        else if (strcmp(option, "--size") == 0)
            bench->size = (uint32_t)cli_number(option, value, WRITE_SIZE_MIN, WRITE_SIZE_MAX);
        else if (strcmp(option, "--writers") == 0)
            bench->writers = (uint32_t)cli_number(option, value, 1, WRITERS_MAX);
        else if (strcmp(option, "--ops") == 0)
            bench->ops = cli_number(option, value, 1, UINT64_C(1) << 40);
        else if (strcmp(option, "--deadline") == 0 && contender->has_deadline)
            bench->deadline_ns = cli_number(option, value, 0, NS_PER_S);
        else
            die("unknown option %s", option);
    }
    if (bench->path == NULL)
        die("usage: %s --file PATH [--size N] [--writers N] [--ops N]%s", program_invocation_short_name,
            contender->has_deadline ? " [--deadline NS]" : "");
    bench->ops += bench->writers - 1; /* whole rounds of all writers */
    bench->ops -= bench->ops % bench->writers;
}

/* Zeros, so that a block that an earlier program has written is not taken for one of this. A new file goes to the disk
 * now, where its blocks are allocated; later writes only change pages. */
static void open_file(struct write_bench *bench)
{
    uint64_t    stride = (uint64_t)bench->size * bench->writers;
    uint8_t    *zeros = calloc(1, CHUNK);
    struct stat before;

    bench->fd = open(bench->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (bench->fd < 0 || fstat(bench->fd, &before) != 0)
        die_errno(errno, "%s", bench->path);
    if (!S_ISREG(before.st_mode) || (before.st_size != 0 && before.st_size != WRITE_FILE_BYTES))
        die("%s is not a file of this bench", bench->path);
    if (zeros == NULL)
        die("no memory");
    for (off_t offset = 0; offset < WRITE_FILE_BYTES; offset += CHUNK) {
        if (pwrite(bench->fd, zeros, CHUNK, offset) != CHUNK)
            die_errno(errno, "%s: write zeros", bench->path);
    }
    if (before.st_size == 0 && fsync(bench->fd) != 0)
        die_errno(errno, "%s: fsync", bench->path);
    free(zeros);
    bench->end = WRITE_FILE_BYTES - WRITE_FILE_BYTES % stride;
}

static void open_writers(struct write_bench *bench)
{
    struct random random = {SEED};

    for (uint32_t i = 0; i < bench->writers; i++) {
        struct writer *writer = &bench->writer[i];

        *writer = (struct writer){.bench = bench, .offset = (uint64_t)i * bench->size, .buffer = malloc(bench->size)};
        if (writer->buffer == NULL)
            die("no memory");
        for (uint32_t at = 0; at < bench->size; at++)
            writer->buffer[at] = (uint8_t)(1 + random_below(&random, UINT8_MAX)); /* never 0 */
    }
}

/* CPU time of this process's threads, by what /proc tells of each; all but the calling one in *ret_others. */
static uint64_t threads_cpu_ns(uint64_t *ret_others)
{
    DIR           *directory = opendir("/proc/self/task");
    uint64_t       sum_ns = 0;
    struct dirent *entry;

    if (directory == NULL)
        die_errno(errno, "/proc/self/task");
    *ret_others = 0;
    while ((entry = readdir(directory)) != NULL) {
        char     path[sizeof(entry->d_name) + 64];
        uint64_t cpu_ns = 0;
        FILE    *file;

        snprintf(path, sizeof(path), "/proc/self/task/%s/schedstat", entry->d_name);
        file = entry->d_name[0] == '.' ? NULL : fopen(path, "re");
        if (file == NULL)
            continue; /* ended just now */
        if (fscanf(file, "%" SCNu64, &cpu_ns) == 1)
            sum_ns += cpu_ns;
        if (atoi(entry->d_name) != getpid())
            *ret_others += cpu_ns;
        fclose(file);
    }
    closedir(directory);
    return sum_ns;
}

/* Lets each writer write ops / writers blocks more. */
static void run(struct write_bench *bench, const struct write_contender *contender, uint64_t ops)
{
    uint64_t expected = bench->finished + ops;

    for (uint32_t i = 0; i < bench->writers; i++)
        bench->writer[i].last += ops / bench->writers;
    contender->run(bench);
    for (uint32_t i = 0; i < bench->writers; i++) {
        if (bench->writer[i].in_flight || bench->writer[i].started != bench->writer[i].last)
            die("writer %u has not come to its end", i);
    }
    if (bench->finished != expected)
        die("%" PRIu64 " writes have ended, not %" PRIu64, bench->finished, expected);
}

struct measured {
    uint64_t cpu_ns, workers_cpu_ns, wall_ns;
};

static struct measured measure(struct write_bench *bench, const struct write_contender *contender)
{
    uint64_t        before_ns, sum_ns;
    struct measured measured;

    threads_cpu_ns(&before_ns);
    measured.wall_ns = clock_wall_ns();
    measured.cpu_ns = clock_cpu_ns();
    run(bench, contender, bench->ops);
    measured.cpu_ns = clock_cpu_ns() - measured.cpu_ns;
    measured.wall_ns = clock_wall_ns() - measured.wall_ns;
    sum_ns = threads_cpu_ns(&measured.workers_cpu_ns);
    /* The workers' time must be in that of the process. */
    if (sum_ns > clock_cpu_ns())
        die("the threads have taken %" PRIu64 " ns of CPU time, more than the process", sum_ns);
    measured.workers_cpu_ns = measured.workers_cpu_ns > before_ns ? measured.workers_cpu_ns - before_ns : 0;
    return measured;
}

static void print(const struct measured *measured, uint64_t ops)
{
    printf("{\"ops\": %" PRIu64 ", \"cpu_ns_per_op\": %.3f, \"workers_cpu_ns_per_op\": %.3f, \"ops_per_s\": %.0f}\n",
           ops, (double)measured->cpu_ns / (double)ops, (double)measured->workers_cpu_ns / (double)ops,
           (double)ops * NS_PER_S / (double)measured->wall_ns);
}

static bool is_zero(const uint8_t *block, uint32_t size)
{
    return block[0] == 0 && memcmp(block, block + 1, size - 1) == 0;
}

/* Compares every block with what was written there last. */
static void verify(const struct write_bench *bench)
{
    uint32_t size = bench->size, inner = size - 2 * (uint32_t)sizeof(uint64_t);
    uint64_t rounds = bench->end / size / bench->writers;
    uint8_t *block = malloc(size);

    for (uint64_t b = 0; b < bench->end / size; b++) {
        const struct writer *writer = &bench->writer[b % bench->writers];
        uint64_t             place = b / bench->writers, stamp, inverse;

        if (block == NULL || pread(bench->fd, block, size, (off_t)(b * size)) != (ssize_t)size)
            die("block %" PRIu64 " can't be read", b);
        memcpy(&stamp, block, sizeof(stamp));
        memcpy(&inverse, block + size - sizeof(inverse), sizeof(inverse));
        if (place >= writer->started
                ? !is_zero(block, size)
                : stamp != 1 + place + (writer->started - 1 - place) / rounds * rounds || inverse != ~stamp ||
                      memcmp(block + sizeof(stamp), writer->buffer + sizeof(stamp), inner) != 0)
            die("block %" PRIu64 " is not what was written last", b);
    }
    free(block);
}

int write_main(int argc, char **argv, const struct write_contender *contender)
{
    static struct write_bench bench = {.size = 128, .writers = 1, .ops = 10000};
    struct measured           measured;
    struct stat               after;

    parse(&bench, argc, argv, contender);
    open_file(&bench);
    open_writers(&bench);
    contender->open(&bench);
    run(&bench, contender, (uint64_t)bench.writers * 10);
    measured = measure(&bench, contender);
    contender->close();
    verify(&bench);
    if (fstat(bench.fd, &after) != 0 || after.st_size != WRITE_FILE_BYTES)
        die("the file has another size");
    for (uint32_t i = 0; i < bench.writers; i++)
        free(bench.writer[i].buffer);
    close(bench.fd);
    print(&measured, bench.ops);
    return 0;
}
