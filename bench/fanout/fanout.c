/* The harness of the fan-out bench: connections, a reading child, rounds. */
#include "fanout/fanout.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cli.h"
#include "common/clock.h"
#include "common/random.h"

enum { N_MAX = 10000, SIZE_MAX_BYTES = 16 << 20, CHUNK = 262144, EVENTS = 256 };

static struct fanout_job job = {.n = 16, .size = 65536};
static uint64_t          rounds = 100;

static void parse(int argc, char **argv, const struct fanout_library *library)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--fixed") == 0 && library->has_fixed)
            job.fixed = true;
        else if (i + 1 == argc)
            die("usage: %s [--n N] [--size BYTES] [--mode copy|zerocopy] [--rounds N]", program_invocation_short_name);
        else if (strcmp(argv[i], "--n") == 0)
            job.n = (uint32_t)cli_number("--n", argv[++i], 1, N_MAX);
        else if (strcmp(argv[i], "--size") == 0)
            job.size = (uint32_t)cli_number("--size", argv[++i], 1, SIZE_MAX_BYTES);
        else if (strcmp(argv[i], "--rounds") == 0)
            rounds = cli_number("--rounds", argv[++i], 1, 1000000000);
        else if (strcmp(argv[i], "--mode") == 0)
            job.zero_copy = strcmp(argv[++i], "zerocopy") == 0;
        else
            die("%s: unknown", argv[i]);
    }
    if (job.zero_copy && !library->has_zero_copy)
        die("--mode: no zero-copy here");
}

static void raise_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        die_errno(errno, "getrlimit");
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        die_errno(errno, "setrlimit");
}

static void connect_all(int *ours, int *theirs)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t          size = sizeof(address);
    int                listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (listener < 0 || bind(listener, (struct sockaddr *)&address, size) != 0 || listen(listener, 16) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &size) != 0)
        die_errno(errno, "listen");
    for (uint32_t i = 0; i < job.n; i++) {
        ours[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (ours[i] < 0 || connect(ours[i], (struct sockaddr *)&address, size) != 0)
            die_errno(errno, "connect");
        theirs[i] = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (theirs[i] < 0)
            die_errno(errno, "accept");
    }
    close(listener);
}

/* Whether the bytes that stand at offset at of an endless row of payloads are these. */
static bool is_payload(const char *bytes, size_t size, uint64_t at)
{
    while (size > 0) {
        size_t from = (size_t)(at % job.size);
        size_t piece = job.size - from < size ? job.size - from : size;

        if (memcmp(bytes, job.payload + from, piece) != 0)
            return false;
        bytes += piece;
        size -= piece;
        at += piece;
    }
    return true;
}

/* The child: reads all connections to their end; its status says whether every byte was right. */
static int read_all(const int *fds, uint64_t expected)
{
    static char        chunk[CHUNK];
    struct epoll_event events[EVENTS];
    uint64_t          *totals = calloc(job.n, sizeof(*totals));
    int                epoll = epoll_create1(EPOLL_CLOEXEC);
    uint32_t           open = job.n;

    if (totals == NULL || epoll < 0)
        return 1;
    for (uint32_t i = 0; i < job.n; i++)
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fds[i], &(struct epoll_event){.events = EPOLLIN, .data.u32 = i}) != 0)
            return 1;
    while (open > 0) {
        int count = epoll_wait(epoll, events, EVENTS, 60000);

        if (count <= 0)
            return 1;
        for (int e = 0; e < count; e++) {
            uint32_t i = events[e].data.u32;
            ssize_t  got = read(fds[i], chunk, sizeof(chunk));

            if (got < 0 && errno == EAGAIN)
                continue;
            if (got < 0 || !is_payload(chunk, (size_t)got, totals[i]))
                return 1;
            totals[i] += (uint64_t)got;
            if (got > 0)
                continue;
            if (totals[i] != expected || epoll_ctl(epoll, EPOLL_CTL_DEL, fds[i], NULL) != 0)
                return 1;
            open--;
        }
    }
    return 0;
}

int fanout_main(int argc, char **argv, const struct fanout_library *library)
{
    int          *ours, *theirs;
    struct random seed = {42};
    uint64_t      start_ns, spent_ns, warm_up;
    pid_t         child;
    int           status;

    parse(argc, argv, library);
    raise_limit();
    ours = calloc(job.n, sizeof(int));
    theirs = calloc(job.n, sizeof(int));
    job.payload = aligned_alloc(4096, (job.size + 4095) / 4096 * (size_t)4096);
    if (ours == NULL || theirs == NULL || job.payload == NULL)
        die("no memory");
    for (uint32_t i = 0; i < job.size; i++)
        job.payload[i] = (char)random_next(&seed);
    connect_all(ours, theirs);
    job.fds = ours;
    warm_up = rounds / 10 + 1;
    fflush(NULL);
    child = fork();
    if (child < 0)
        die_errno(errno, "fork");
    for (uint32_t i = 0; i < job.n; i++)
        close(child == 0 ? ours[i] : theirs[i]);
    if (child == 0)
        _exit(read_all(theirs, (rounds + warm_up) * job.size));
    library->open(&job);
    library->run(&job, warm_up);
    job.copied = 0;
    start_ns = clock_cpu_ns();
    library->run(&job, rounds);
    spent_ns = clock_cpu_ns() - start_ns;
    library->close(&job);
    for (uint32_t i = 0; i < job.n; i++)
        close(ours[i]);
    if (waitpid(child, &status, 0) != child || status != 0)
        die("the reader has not got what was sent");
    free(ours);
    free(theirs);
    free(job.payload);
    printf("{\"ops\": %" PRIu64 ", \"cpu_ns_per_op\": %.1f, \"copied\": %.3f}\n", rounds * job.n,
           (double)spent_ns / (double)(rounds * job.n), (double)job.copied / (double)(rounds * job.n));
    return 0;
}
