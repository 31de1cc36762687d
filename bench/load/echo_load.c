/* Load generator of the echo bench: opens connections to a server on 127.0.0.1, sends, checks every byte that comes
 * back, and prints one JSON line. Its own process, so that the server's CPU time is the server's alone. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "common/cli.h"
#include "load/load.h"

static const char usage[] =
    "usage: echo_load --port N [--verify | --idle] [option …]\n"
    "  --connections N   (1)\n"
    "  --size BYTES      of a message (64)\n"
    "  --depth N         messages in flight on a connection (1)\n"
    "  --warmup-ms N     (100)\n"
    "  --measure-ms N    (300)\n"
    "  --server PID      observe this process: its CPU time, or with --syscalls its system calls; its memory\n"
    "  --syscalls        count system calls in place of CPU time\n"
    "  --cpu N           pin this process\n"
    "  --seed N          of --verify (1)\n";

enum mode { MODE_TIMED, MODE_VERIFY, MODE_IDLE };

enum option_code {
    OPTION_PORT = 1,
    OPTION_CONNECTIONS,
    OPTION_SIZE,
    OPTION_DEPTH,
    OPTION_WARMUP,
    OPTION_MEASURE,
    OPTION_SERVER,
    OPTION_SYSCALLS,
    OPTION_CPU,
    OPTION_SEED,
    OPTION_VERIFY,
    OPTION_IDLE,
};

static const struct option long_options[] = {
    {"port", required_argument, NULL, OPTION_PORT},
    {"connections", required_argument, NULL, OPTION_CONNECTIONS},
    {"size", required_argument, NULL, OPTION_SIZE},
    {"depth", required_argument, NULL, OPTION_DEPTH},
    {"warmup-ms", required_argument, NULL, OPTION_WARMUP},
    {"measure-ms", required_argument, NULL, OPTION_MEASURE},
    {"server", required_argument, NULL, OPTION_SERVER},
    {"syscalls", no_argument, NULL, OPTION_SYSCALLS},
    {"cpu", required_argument, NULL, OPTION_CPU},
    {"seed", required_argument, NULL, OPTION_SEED},
    {"verify", no_argument, NULL, OPTION_VERIFY},
    {"idle", no_argument, NULL, OPTION_IDLE},
    {NULL, 0, NULL, 0},
};

static void option_take(struct load_options *options, enum mode *mode, int code)
{
    switch ((enum option_code)code) {
    case OPTION_PORT: options->port = (uint16_t)cli_number("--port", optarg, 1, UINT16_MAX); return;
    case OPTION_CONNECTIONS: options->connections = (uint32_t)cli_number("--connections", optarg, 1, 20000); return;
    case OPTION_SIZE: options->size = (uint32_t)cli_number("--size", optarg, 1, 1 << 20); return;
    case OPTION_DEPTH: options->depth = (uint32_t)cli_number("--depth", optarg, 1, 1024); return;
    case OPTION_WARMUP: options->warmup_ms = (uint32_t)cli_number("--warmup-ms", optarg, 0, 60000); return;
    case OPTION_MEASURE: options->measure_ms = (uint32_t)cli_number("--measure-ms", optarg, 1, 600000); return;
    case OPTION_SERVER: options->server = (pid_t)cli_number("--server", optarg, 1, INT32_MAX); return;
    case OPTION_SYSCALLS: options->count_syscalls = true; return;
    case OPTION_CPU: cli_pin((unsigned int)cli_number("--cpu", optarg, 0, 1023)); return;
    case OPTION_SEED: options->seed = cli_number("--seed", optarg, 0, UINT64_MAX); return;
    case OPTION_VERIFY: *mode = MODE_VERIFY; return;
    case OPTION_IDLE: *mode = MODE_IDLE; return;
    }
    fputs(usage, stderr);
    exit(2);
}

static void raise_file_limit(void)
{
    struct rlimit files;

    if (getrlimit(RLIMIT_NOFILE, &files) != 0)
        die_errno(errno, "getrlimit");
    files.rlim_cur = files.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &files) != 0)
        die_errno(errno, "setrlimit");
}

int main(int argc, char **argv)
{
    struct load_options options = {
        .connections = 1,
        .size = 64,
        .depth = 1,
        .warmup_ms = 100,
        .measure_ms = 300,
        .seed = 1,
    };
    enum mode mode = MODE_TIMED;
    int       code;

    while ((code = getopt_long(argc, argv, "", long_options, NULL)) != -1)
        option_take(&options, &mode, code);
    if (optind != argc || options.port == 0 || (options.count_syscalls && options.server == 0)) {
        fputs(usage, stderr);
        return 2;
    }
    raise_file_limit();
    switch (mode) {
    case MODE_TIMED: load_timed(&options); break;
    case MODE_VERIFY: load_verify(&options); break;
    case MODE_IDLE: load_idle(&options); break;
    }
    return 0;
}
