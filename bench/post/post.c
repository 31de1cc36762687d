/* The harness of the post bench: threads, rounds, checks. */
#include "post/post.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cli.h"
#include "common/clock.h"
#include "common/histogram.h"

enum { WAKE_BATCH = 4096, CPUS_MAX = 1024 };

static const char *const mode_names[] = {"wake", "flood", "pingpong"};

static struct bench {
    const struct post_library *library;
    enum post_mode             mode;
    uint64_t                   ops;
    int                        cpus[2]; /* -1: wherever */

    /* wake */
    sem_t    held, go, drained;
    uint64_t calls, calls_expected;
    bool     last;

    /* pingpong */
    uint64_t         rounds;
    uint64_t         round_began_ns;
    struct histogram durations;
} bench = {.mode = POST_WAKE, .ops = 1000000, .cpus = {-1, -1}};

uint64_t post_next, post_end;

void post_out_of_order(uint64_t number)
{
    die("number %" PRIu64 " came, %" PRIu64 " was expected", number, post_next);
}

static enum post_mode mode_parse(const char *text)
{
    for (enum post_mode mode = POST_WAKE; mode <= POST_PINGPONG; mode++) {
        if (strcmp(text, mode_names[mode]) == 0)
            return mode;
    }
    die("--mode: \"%s\" is not wake, flood or pingpong", text);
}

static void cpus_parse(const char *text)
{
    const char *comma = strchr(text, ',');
    char        first[16] = "";

    if (comma == NULL || (size_t)(comma - text) >= sizeof(first))
        die("--cpus: \"%s\" is not two numbers", text);
    memcpy(first, text, (size_t)(comma - text));
    bench.cpus[0] = (int)cli_number("--cpus", first, 0, CPUS_MAX);
    bench.cpus[1] = (int)cli_number("--cpus", comma + 1, 0, CPUS_MAX);
}

static void bench_parse(int argc, char **argv)
{
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 == argc)
            die("usage: %s [--mode wake|flood|pingpong] [--ops N] [--cpus A,B]", program_invocation_short_name);
        if (strcmp(argv[i], "--mode") == 0)
            bench.mode = mode_parse(argv[i + 1]);
        else if (strcmp(argv[i], "--ops") == 0)
            bench.ops = cli_number("--ops", argv[i + 1], 1, 100000000);
        else if (strcmp(argv[i], "--cpus") == 0)
            cpus_parse(argv[i + 1]);
        else
            die("unknown option %s", argv[i]);
    }
}

static void pin(int cpu)
{
    if (cpu >= 0)
        cli_pin((unsigned)cpu);
}

static void wait_for(sem_t *sem)
{
    while (sem_wait(sem) != 0) {
        if (errno != EINTR)
            die_errno(errno, "sem_wait");
    }
}

static void *loop_thread(void *arg)
{
    pin(bench.cpus[0]);
    bench.library->run(*(unsigned *)arg);
    return NULL;
}

static pthread_t loop_start(unsigned *index)
{
    pthread_t thread;
    int       error;

    bench.library->open(bench.mode, *index);
    error = pthread_create(&thread, NULL, loop_thread, index);
    if (error != 0)
        die_errno(error, "pthread_create");
    return thread;
}

static void loop_join(pthread_t thread)
{
    int error = pthread_join(thread, NULL);

    if (error != 0)
        die_errno(error, "pthread_join");
}

/* ---- wake: the first callback of a round is held until the sends have been made */

bool post_woken(void)
{
    bool drained, last;

    if (bench.calls++ == 0) {
        sem_post(&bench.held);
        wait_for(&bench.go);
    }
    drained = bench.calls == bench.calls_expected;
    last = bench.last;
    if (drained)
        sem_post(&bench.drained); /* from here on the next round may begin */
    return drained && last;
}

static double wake(void)
{
    const struct post_library *library = bench.library;
    unsigned                   index = 0;
    uint64_t                   rounds = (bench.ops + WAKE_BATCH - 1) / WAKE_BATCH, start_ns, spent_ns = 0;
    pthread_t                  thread;

    sem_init(&bench.held, 0, 0);
    sem_init(&bench.go, 0, 0);
    sem_init(&bench.drained, 0, 0);
    bench.calls_expected = library->merges ? 2 : WAKE_BATCH + 2;
    thread = loop_start(&index);
    for (uint64_t round = 0; round <= rounds; round++) { /* the first is not measured */
        bench.calls = 0;
        bench.last = round == rounds;
        library->send(1);
        wait_for(&bench.held);
        library->send(1); /* from now on a wake is pending */
        start_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
        library->send(WAKE_BATCH);
        if (round > 0)
            spent_ns += clock_ns(CLOCK_THREAD_CPUTIME_ID) - start_ns;
        sem_post(&bench.go);
        wait_for(&bench.drained);
    }
    loop_join(thread);
    if (bench.calls != bench.calls_expected)
        die("%" PRIu64 " callbacks came, not %" PRIu64, bench.calls, bench.calls_expected);
    return (double)spent_ns / (double)(rounds * WAKE_BATCH);
}

/* ---- flood */

static double flood(void)
{
    unsigned  index = 0;
    pthread_t thread;
    uint64_t  start_ns = clock_cpu_ns(), spent_ns;

    post_end = bench.ops;
    thread = loop_start(&index);
    bench.library->flood(bench.ops);
    loop_join(thread);
    spent_ns = clock_cpu_ns() - start_ns;
    if (post_next != bench.ops)
        die("%" PRIu64 " numbers came, not %" PRIu64, post_next, bench.ops);
    return (double)spent_ns / (double)bench.ops;
}

/* ---- pingpong */

bool post_pinged(unsigned index)
{
    uint64_t now_ns;

    if (index == 1) {
        bool last = bench.rounds + 1 == bench.ops;

        bench.library->ping(0);
        return last;
    }
    now_ns = clock_wall_ns();
    histogram_add(&bench.durations, now_ns - bench.round_began_ns);
    bench.round_began_ns = now_ns;
    if (++bench.rounds == bench.ops)
        return true;
    bench.library->ping(1);
    return false;
}

static double pingpong(void)
{
    unsigned  indexes[] = {0, 1};
    pthread_t threads[2];
    uint64_t  start_ns, spent_ns;

    for (unsigned i = 0; i < 2; i++)
        threads[i] = loop_start(&indexes[i]);
    start_ns = clock_cpu_ns();
    bench.round_began_ns = clock_wall_ns();
    bench.library->ping(1);
    for (unsigned i = 0; i < 2; i++)
        loop_join(threads[i]);
    spent_ns = clock_cpu_ns() - start_ns;
    if (bench.durations.count != bench.ops)
        die("%" PRIu64 " rounds, not %" PRIu64, bench.durations.count, bench.ops);
    return (double)spent_ns / (double)bench.ops;
}

int post_main(int argc, char **argv, const struct post_library *library)
{
    static double (*const modes[])(void) = {wake, flood, pingpong};
    double cpu_ns;

    bench_parse(argc, argv);
    bench.library = library;
    pin(bench.cpus[1]);
    cpu_ns = modes[bench.mode]();
    printf("{\"mode\": \"%s\", \"ops\": %" PRIu64 ", \"cpu_ns_per_op\": %.3f", mode_names[bench.mode], bench.ops,
           cpu_ns);
    if (bench.mode == POST_PINGPONG)
        printf(", \"p50_ns\": %" PRIu64, histogram_quantile(&bench.durations, 0.5));
    printf("}\n");
    return 0;
}
