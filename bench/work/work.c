/* The harness of the work bench: items, counts, checks. */
#include "work/work.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/cli.h"
#include "common/clock.h"
#include "common/histogram.h"

struct item {
    uint64_t runs, told, began_ns;
};

static struct bench {
    const struct work_library *library;
    uint64_t                   n, ops, started, told;
    struct item                items[WORK_N_MAX];
    struct histogram           durations;
} bench = {.n = 1, .ops = 50000};

static void bench_parse(int argc, char **argv)
{
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 == argc)
            die("usage: %s [--n N] [--ops N]", program_invocation_short_name);
        if (strcmp(argv[i], "--n") == 0)
            bench.n = cli_number("--n", argv[i + 1], 1, WORK_N_MAX);
        else if (strcmp(argv[i], "--ops") == 0)
            bench.ops = cli_number("--ops", argv[i + 1], 1, 100000000);
        else
            die("unknown option %s", argv[i]);
    }
}

static void start(uint32_t slot)
{
    if (bench.started == bench.ops)
        return;
    bench.started++;
    bench.items[slot].began_ns = clock_wall_ns();
    bench.library->start(slot);
}

void work_run(uint32_t slot)
{
    bench.items[slot].runs++;
}

void work_told(uint32_t slot)
{
    struct item *item = &bench.items[slot];

    histogram_add(&bench.durations, clock_wall_ns() - item->began_ns);
    item->told++;
    if (item->runs != item->told)
        die("item %u has run %" PRIu64 " times and was told %" PRIu64, slot, item->runs, item->told);
    bench.told++;
    start(slot);
}

int work_main(int argc, char **argv, const struct work_library *library)
{
    uint64_t start_ns;

    bench_parse(argc, argv);
    bench.library = library;
    library->open();
    start_ns = clock_cpu_ns();
    for (uint32_t slot = 0; slot < bench.n; slot++)
        start(slot);
    library->run();
    if (bench.told != bench.ops)
        die("%" PRIu64 " items were told, not %" PRIu64, bench.told, bench.ops);
    printf("{\"n\": %" PRIu64 ", \"ops\": %" PRIu64 ", \"cpu_ns_per_op\": %.3f, \"p50_ns\": %" PRIu64 "}\n", bench.n,
           bench.ops, (double)(clock_cpu_ns() - start_ns) / (double)bench.ops,
           histogram_quantile(&bench.durations, 0.5));
    return 0;
}
