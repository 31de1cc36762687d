/* Command line and result of the nop programs. */
#include "nop/nop.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/cli.h"

struct nop_options nop_options_parse(int argc, char **argv, bool is_ringloop)
{
    struct nop_options options = {.batch = 32, .ops = 1000000};

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--batch") == 0 && i + 1 < argc)
            options.batch = (uint32_t)cli_number("--batch", argv[++i], 1, NOP_BATCH_MAX);
        else if (strcmp(argv[i], "--ops") == 0 && i + 1 < argc)
            options.ops = cli_number("--ops", argv[++i], 1, UINT64_C(1) << 40);
        else if (strcmp(argv[i], "--direct") == 0 && is_ringloop)
            options.direct = true;
        else if (strcmp(argv[i], "--deadline") == 0 && is_ringloop)
            options.deadline = true;
        else if (strcmp(argv[i], "--sequel") == 0 && is_ringloop)
            options.sequel = true;
        else
            die("usage: %s [--batch N] [--ops N]%s", program_invocation_short_name,
                is_ringloop ? " [--direct | --deadline] [--sequel]" : "");
    }
    options.ops -= options.ops % options.batch; /* whole batches */
    if (options.ops == 0)
        options.ops = options.batch;
    return options;
}

void nop_report(const struct nop_options *options, uint64_t cpu_ns)
{
    printf("{\"ops\": %" PRIu64 ", \"cpu_ns_per_op\": %.3f}\n", options->ops, (double)cpu_ns / (double)options->ops);
}
