/* The harness of the timers bench: delays, order, rounds, checks. */
#include "timers/timers.h"

#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cli.h"
#include "common/clock.h"
#include "common/random.h"

enum {
    DELAY_MS_MAX = 60000,
    FIRE_MS_MAX = 50,
    ROUNDS_MAX = 100000,
    SEED = 42,
};

enum op { OP_INSERT, OP_INSERT_CANCEL, OP_FIRE };

struct bench {
    const struct timers_library *library;
    enum op                      op;
    uint32_t                     count;
    uint64_t                     min_ns;
    uint32_t                    *delays_ms;
    uint32_t                    *order;
    uint64_t                     spent_ns; /* measured in all rounds */
};

uint64_t timers_fired_count, timers_fired_sum;

static const char *const op_names[] = {"insert", "insert_cancel", "fire"};

static enum op op_parse(const char *text)
{
    for (enum op op = OP_INSERT; op <= OP_FIRE; op++) {
        if (strcmp(text, op_names[op]) == 0)
            return op;
    }
    die("--op: \"%s\" is not insert, insert_cancel or fire", text);
}

static struct bench bench_parse(int argc, char **argv, const struct timers_library *library)
{
    struct bench bench = {
        .library = library, .op = OP_INSERT_CANCEL, .count = 100000, .min_ns = (uint64_t)50 * NS_PER_MS};

    for (int i = 1; i < argc; i += 2) {
        if (i + 1 == argc)
            die("usage: %s [--op insert|insert_cancel|fire] [--count N] [--min-ms N]", program_invocation_short_name);
        if (strcmp(argv[i], "--op") == 0)
            bench.op = op_parse(argv[i + 1]);
        else if (strcmp(argv[i], "--count") == 0)
            bench.count = (uint32_t)cli_number("--count", argv[i + 1], 1, 10000000);
        else if (strcmp(argv[i], "--min-ms") == 0)
            bench.min_ns = cli_number("--min-ms", argv[i + 1], 0, 60000) * NS_PER_MS;
        else
            die("unknown option %s", argv[i]);
    }
    return bench;
}

static uint32_t *numbers_alloc(uint32_t count)
{
    uint32_t *numbers = calloc(count, sizeof(*numbers));

    if (numbers == NULL)
        die("no memory for %u numbers", count);
    return numbers;
}

/* Random delays, and a random order to cancel in (Fisher-Yates). */
static void bench_prepare(struct bench *bench)
{
    struct random random = {SEED};

    bench->delays_ms = numbers_alloc(bench->count);
    bench->order = numbers_alloc(bench->count);
    for (uint32_t i = 0; i < bench->count; i++) {
        bench->delays_ms[i] = 1 + random_below(&random, bench->op == OP_FIRE ? FIRE_MS_MAX : DELAY_MS_MAX);
        bench->order[i] = i;
    }
    for (uint32_t i = bench->count - 1; i != 0; i--) {
        uint32_t j = random_below(&random, i + 1);
        uint32_t kept = bench->order[i];

        bench->order[i] = bench->order[j];
        bench->order[j] = kept;
    }
}

static void check_active(const struct bench *bench, uint32_t expected)
{
    uint32_t active = bench->library->count_active(bench->count);

    if (active != expected)
        die("%u timers are active, not %u", active, expected);
}

/* Inside a callback: starts all timers and stops them again. */
static void insert_body(void *arg)
{
    struct bench *bench = arg;
    uint64_t      start_ns, inserted_ns, before_ns, canceled_ns;

    start_ns = clock_cpu_ns();
    bench->library->start_all(bench->delays_ms, bench->count);
    inserted_ns = clock_cpu_ns() - start_ns;
    check_active(bench, bench->count);
    before_ns = clock_cpu_ns();
    bench->library->stop_all(bench->order, bench->count);
    canceled_ns = clock_cpu_ns() - before_ns;
    check_active(bench, 0);
    bench->spent_ns += bench->op == OP_INSERT ? inserted_ns : inserted_ns + canceled_ns;
}

/* Inside a callback: starts all timers, which then fire. */
static void fire_body(void *arg)
{
    const struct bench *bench = arg;

    bench->library->start_all(bench->delays_ms, bench->count);
}

static void round_insert(struct bench *bench)
{
    bench->library->run(insert_body, bench);
}

static void round_fire(struct bench *bench)
{
    uint64_t start_ns = clock_cpu_ns();

    timers_fired_count = timers_fired_sum = 0;
    bench->library->run(fire_body, bench);
    bench->spent_ns += clock_cpu_ns() - start_ns;
    if (timers_fired_count != bench->count || timers_fired_sum != (uint64_t)bench->count * (bench->count - 1) / 2)
        die("%" PRIu64 " timers have fired, not each of %u once", timers_fired_count, bench->count);
    check_active(bench, 0);
}

/* All that is allocated: the timers themselves, and what the library has beside them. */
static size_t allocated(void)
{
    struct mallinfo2 info = mallinfo2();

    return info.uordblks + info.hblkhd;
}

int timers_main(int argc, char **argv, const struct timers_library *library)
{
    struct bench bench = bench_parse(argc, argv, library);
    void (*round)(struct bench *) = bench.op == OP_FIRE ? round_fire : round_insert;
    uint32_t rounds = 0;
    size_t   before, bytes;

    bench_prepare(&bench);
    before = allocated();
    library->open(bench.count);
    round(&bench);
    bytes = allocated() - before;
    bench.spent_ns = 0;
    do {
        round(&bench);
        rounds++;
    } while (bench.spent_ns < bench.min_ns && rounds < ROUNDS_MAX);
    printf("{\"op\": \"%s\", \"count\": %u, \"rounds\": %u, \"cpu_ns_per_op\": %.3f, \"bytes_per_item\": %.1f}\n",
           op_names[bench.op], bench.count, rounds, (double)bench.spent_ns / rounds / bench.count,
           (double)bytes / bench.count);
    free(bench.delays_ms);
    free(bench.order);
    return 0;
}
