/* The harness of the file bench: command line, file, measurement. */
#include "file/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"

enum { CHUNK = 1 << 20, SEED = 42 };

static void parse(struct file_bench *bench, int argc, char **argv, const struct file_contender *contender)
{
    uint64_t mib = 256;

    for (int i = 1; i < argc; i += 2) {
        const char *option = argv[i], *value = argv[i + 1];

        if (value == NULL)
            die("%s needs a value", option);
        else if (strcmp(option, "--file") == 0)
            bench->path = value;
        else if (strcmp(option, "--mib") == 0)
            mib = cli_number(option, value, 1, 65536);
        else if (strcmp(option, "--depth") == 0)
            bench->depth = (uint32_t)cli_number(option, value, 1, FILE_DEPTH_MAX);
        else if (strcmp(option, "--direct") == 0)
            bench->direct = cli_number(option, value, 0, 1) == 1;
        else if (strcmp(option, "--fixed") == 0 && contender->is_ringloop)
            bench->fixed = cli_number(option, value, 0, 1) == 1;
        else if (strcmp(option, "--object") == 0 && contender->is_ringloop)
            bench->object = cli_number(option, value, 0, 1) == 1;
        else if (strcmp(option, "--verify") == 0)
            bench->verify = cli_number(option, value, 0, 1) == 1;
        else if (strcmp(option, "--ops") == 0)
            bench->ops = cli_number(option, value, 1, UINT64_C(1) << 40);
        else
            die("unknown option %s", option);
    }
    if (bench->path == NULL)
        die("usage: %s --file PATH [--mib N] [--depth N] [--direct 0|1] [--verify 0|1] [--ops N]",
            program_invocation_short_name);
    bench->blocks = mib * (CHUNK / FILE_BLOCK);
}

static void fill(const struct file_bench *bench, int fd)
{
    uint64_t *words = malloc(CHUNK);

    if (words == NULL)
        die("no memory");
    for (uint64_t block = 0; block < bench->blocks; block += CHUNK / FILE_BLOCK) {
        for (uint32_t i = 0; i < CHUNK / sizeof(*words); i++)
            words[i] = file_word(block + i / (FILE_BLOCK / sizeof(*words)), i % (FILE_BLOCK / sizeof(*words)));
        if (pwrite(fd, words, CHUNK, (off_t)(block * FILE_BLOCK)) != CHUNK)
            die_errno(errno, "%s: write", bench->path);
    }
    if (fsync(fd) != 0)
        die_errno(errno, "%s: fsync", bench->path);
    free(words);
}

/* Every block into the page cache, or none. */
static void prepare_cache(const struct file_bench *bench, int fd)
{
    uint8_t *chunk = malloc(CHUNK);

    if (bench->direct && (fdatasync(fd) != 0 || posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) != 0))
        die("%s: the page cache can't be emptied of it", bench->path);
    for (uint64_t i = 0; !bench->direct && i < bench->blocks * FILE_BLOCK / CHUNK; i++)
        if (chunk == NULL || pread(fd, chunk, CHUNK, (off_t)(i * CHUNK)) != CHUNK)
            die("%s can't be read", bench->path);
    free(chunk);
}

static void open_file(struct file_bench *bench)
{
    int         fd = open(bench->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    struct stat before;

    if (fd < 0 || fstat(fd, &before) != 0)
        die_errno(errno, "%s", bench->path);
    if (!S_ISREG(before.st_mode) || (before.st_size != 0 && before.st_size != (off_t)(bench->blocks * FILE_BLOCK)))
        die("%s is not a file of this bench", bench->path);
    if (before.st_size == 0)
        fill(bench, fd);
    prepare_cache(bench, fd);
    close(fd);
    bench->fd = open(bench->path, O_RDONLY | O_CLOEXEC | (bench->direct ? O_DIRECT : 0));
    if (bench->fd < 0)
        die_errno(errno, "%s", bench->path);
}

static void run(struct file_bench *bench, const struct file_contender *contender, uint64_t ops)
{
    bench->last += ops;
    contender->run(bench);
    if (bench->finished != bench->last)
        die("%" PRIu64 " reads have ended, not %" PRIu64, bench->finished, bench->last);
}

int file_main(int argc, char **argv, const struct file_contender *contender)
{
    static struct file_bench bench = {.depth = 1, .ops = 10000, .random = {SEED}};
    uint8_t                 *buffers = NULL;
    uint64_t                 cpu_ns, wall_ns;

    parse(&bench, argc, argv, contender);
    open_file(&bench);
    if (posix_memalign((void **)&buffers, FILE_BLOCK, (size_t)bench.depth * FILE_BLOCK) != 0)
        die("no memory");
    memset(buffers, 0, (size_t)bench.depth * FILE_BLOCK);
    for (uint32_t i = 0; i < bench.depth; i++)
        bench.reader[i] = (struct reader){.bench = &bench, .buffer = buffers + (size_t)i * FILE_BLOCK};
    contender->open(&bench);
    run(&bench, contender, (uint64_t)bench.depth * 10);
    wall_ns = clock_wall_ns();
    cpu_ns = clock_cpu_ns();
    run(&bench, contender, bench.ops);
    cpu_ns = clock_cpu_ns() - cpu_ns;
    wall_ns = clock_wall_ns() - wall_ns;
    contender->close();
    free(buffers);
    close(bench.fd);
    printf("{\"ops\": %" PRIu64 ", \"cpu_ns_per_op\": %.3f, \"ops_per_s\": %.0f}\n", bench.ops,
           (double)cpu_ns / (double)bench.ops, (double)bench.ops * NS_PER_S / (double)wall_ns);
    return 0;
}
