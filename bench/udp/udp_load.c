/* Load generator of the UDP bench: sends datagrams to a server on 127.0.0.1, each client a fixed number ahead of the
 * answers, checks every byte that comes back, and prints one JSON line. Its own process, so that the server's CPU time
 * is the server's alone; and by sendmmsg and recvmmsg, so that the server is what is measured. */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cli.h"
#include "common/clock.h"
#include "common/histogram.h"
#include "common/observer.h"
#include "udp/udp_server.h"

enum {
    CLIENTS_MAX = 256,
    DEPTH_MAX = 64,
    STALL_MS = 5000, /* no answer for so long: a datagram was lost */
};

static const char usage[] =
    "usage: udp_load --port N [option …]\n"
    "  --clients N       (1)\n"
    "  --depth N         datagrams in flight of each (1)\n"
    "  --size BYTES      of a datagram, at least 16 (64)\n"
    "  --warmup-ms N     (100)\n"
    "  --measure-ms N    (300)\n"
    "  --server PID      observe this process: its CPU time, or with --syscalls its system calls\n"
    "  --syscalls        count system calls in place of CPU time\n";

struct options {
    uint16_t port;
    uint32_t clients, depth, size, warmup_ms, measure_ms;
    pid_t    server; /* 0: not observed */
    bool     count_syscalls;
};

/* Stands at the start of each datagram. */
struct mark {
    uint32_t client, unused;
    uint64_t number;
};

struct client {
    int      fd;
    uint32_t index;
    uint64_t sent, answered;
    uint64_t sent_ns[DEPTH_MAX];
    bool     arrived[DEPTH_MAX]; /* of those in flight, by number; answers may come out of order */
};

enum phase { PHASE_WARMUP, PHASE_WINDOW, PHASE_REST };

/* The counters a window is the difference of. */
struct counters {
    uint64_t wall_ns, cpu_ns, syscalls, load_cpu_ns, messages;
};

struct run {
    struct options   options;
    struct client    clients[CLIENTS_MAX];
    struct observer  server;
    bool             syscalls_counted;
    enum phase       phase;
    uint64_t         messages; /* answered, all phases */
    struct counters  begin, end;
    struct histogram latencies; /* of the window */
};

static struct run     run;
static uint8_t        bytes[DEPTH_MAX][UDP_SIZE_MAX];
static struct iovec   pieces[DEPTH_MAX];
static struct mmsghdr messages[DEPTH_MAX];

static uint8_t pattern(const struct mark *mark, uint32_t offset)
{
    return (uint8_t)(mark->client * 31 + mark->number * 7 + offset);
}

static void fill(uint8_t *to, const struct mark *mark)
{
    memcpy(to, mark, sizeof(*mark));
    for (uint32_t i = sizeof(*mark); i < run.options.size; i++)
        to[i] = pattern(mark, i);
}

static void check(const uint8_t *from, const struct mark *mark)
{
    for (uint32_t i = sizeof(*mark); i < run.options.size; i++)
        if (from[i] != pattern(mark, i))
            die("client %u: byte %u of datagram %" PRIu64 " is wrong", mark->client, i, mark->number);
}

/* As many as may be in flight. */
static void send_more(struct client *client)
{
    uint64_t now_ns = clock_wall_ns();
    uint32_t count = 0;

    while (run.phase != PHASE_REST && client->sent + count < client->answered + run.options.depth) {
        struct mark mark = {.client = client->index, .number = client->sent + count};
        uint32_t    slot = (uint32_t)(mark.number % run.options.depth);

        fill(bytes[count], &mark);
        client->sent_ns[slot] = now_ns;
        client->arrived[slot] = false;
        count++;
    }
    for (uint32_t done = 0; done < count;) {
        int n = sendmmsg(client->fd, messages + done, count - done, 0);

        if (n <= 0)
            die_errno(errno, "sendmmsg");
        done += (uint32_t)n;
    }
    client->sent += count;
}

static void answer_take(struct client *client, const uint8_t *datagram, uint32_t size, uint64_t now_ns)
{
    struct mark mark;
    uint32_t    slot;

    if (size != run.options.size)
        die("client %u: an answer of %u bytes", client->index, size);
    memcpy(&mark, datagram, sizeof(mark));
    slot = (uint32_t)(mark.number % run.options.depth);
    if (mark.client != client->index || mark.number < client->answered || mark.number >= client->sent ||
        client->arrived[slot])
        die("client %u: an answer to nothing that was asked", client->index);
    check(datagram, &mark);
    client->arrived[slot] = true;
    run.messages++;
    if (run.phase == PHASE_WINDOW)
        histogram_add(&run.latencies, now_ns - client->sent_ns[slot]);
    while (client->answered < client->sent && client->arrived[client->answered % run.options.depth])
        client->answered++;
}

static void client_event(struct client *client)
{
    int      count = recvmmsg(client->fd, messages, run.options.depth, MSG_DONTWAIT, NULL);
    uint64_t now_ns = clock_wall_ns();

    if (count < 0)
        die_errno(errno, "recvmmsg");
    for (int i = 0; i < count; i++)
        answer_take(client, bytes[i], messages[i].msg_len, now_ns);
    send_more(client);
}

static struct counters counters_take(void)
{
    struct counters counters = {.messages = run.messages};

    if (run.options.server != 0 && run.syscalls_counted)
        counters.syscalls = observer_syscalls(&run.server);
    else if (run.options.server != 0 && !run.options.count_syscalls)
        counters.cpu_ns = observer_cpu_ns(&run.server);
    counters.load_cpu_ns = clock_cpu_ns();
    counters.wall_ns = clock_wall_ns();
    return counters;
}

static void phase_update(uint64_t start_ns)
{
    uint64_t now_ns = clock_wall_ns();

    if (run.phase == PHASE_WARMUP && now_ns >= start_ns + (uint64_t)run.options.warmup_ms * NS_PER_MS) {
        run.begin = counters_take();
        run.phase = PHASE_WINDOW;
    } else if (run.phase == PHASE_WINDOW &&
               now_ns >= run.begin.wall_ns + (uint64_t)run.options.measure_ms * NS_PER_MS) {
        run.end = counters_take();
        run.phase = PHASE_REST;
    }
}

static bool all_answered(void)
{
    for (uint32_t i = 0; i < run.options.clients; i++)
        if (run.clients[i].answered != run.clients[i].sent)
            return false;
    return true;
}

static void client_open(struct client *client, uint32_t index, int epoll_fd)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(run.options.port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};

    client->index = index;
    client->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_UDP);
    if (client->fd < 0)
        die_errno(errno, "socket");
    if (connect(client->fd, (const struct sockaddr *)&address, sizeof(address)) != 0)
        die_errno(errno, "connect");
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, client->fd, &event) != 0)
        die_errno(errno, "epoll_ctl");
}

static void run_phases(int epoll_fd)
{
    struct epoll_event events[CLIENTS_MAX];
    uint64_t           start_ns = clock_wall_ns();

    for (uint32_t i = 0; i < run.options.clients; i++)
        send_more(&run.clients[i]);
    while (run.phase != PHASE_REST || !all_answered()) {
        int count = epoll_wait(epoll_fd, events, CLIENTS_MAX, STALL_MS);

        if (count < 0 && errno != EINTR)
            die_errno(errno, "epoll_wait");
        if (count == 0)
            die("no answer for %d ms: a datagram was lost", STALL_MS);
        for (int i = 0; i < count; i++)
            client_event(events[i].data.ptr);
        phase_update(start_ns);
    }
}

static void print_result(void)
{
    uint64_t answered = run.end.messages - run.begin.messages;
    double   seconds = (double)(run.end.wall_ns - run.begin.wall_ns) / NS_PER_S;

    if (answered == 0)
        die("no datagram was answered in the window");
    printf("{\"messages\": %" PRIu64 ", \"messages_total\": %" PRIu64 ", \"ops_per_s\": %.1f", answered, run.messages,
           (double)answered / seconds);
    if (run.options.server != 0 && !run.options.count_syscalls)
        printf(", \"cpu_ns_per_op\": %.2f", (double)(run.end.cpu_ns - run.begin.cpu_ns) / (double)answered);
    if (run.syscalls_counted)
        printf(", \"syscalls_per_op\": %.5f", (double)(run.end.syscalls - run.begin.syscalls) / (double)answered);
    printf(", \"load_cpu_ns_per_op\": %.2f, \"p50_ns\": %" PRIu64 ", \"p99_ns\": %" PRIu64 "}\n",
           (double)(run.end.load_cpu_ns - run.begin.load_cpu_ns) / (double)answered,
           histogram_quantile(&run.latencies, 0.50), histogram_quantile(&run.latencies, 0.99));
}

enum option_code {
    OPTION_PORT = 1,
    OPTION_CLIENTS,
    OPTION_DEPTH,
    OPTION_SIZE,
    OPTION_WARMUP,
    OPTION_MEASURE,
    OPTION_SERVER,
    OPTION_SYSCALLS
};

static const struct option long_options[] = {
    {"port", required_argument, NULL, OPTION_PORT},
    {"clients", required_argument, NULL, OPTION_CLIENTS},
    {"depth", required_argument, NULL, OPTION_DEPTH},
    {"size", required_argument, NULL, OPTION_SIZE},
    {"warmup-ms", required_argument, NULL, OPTION_WARMUP},
    {"measure-ms", required_argument, NULL, OPTION_MEASURE},
    {"server", required_argument, NULL, OPTION_SERVER},
    {"syscalls", no_argument, NULL, OPTION_SYSCALLS},
    {NULL, 0, NULL, 0},
};

static void option_take(struct options *options, int code)
{
    switch ((enum option_code)code) {
    case OPTION_PORT: options->port = (uint16_t)cli_number("--port", optarg, 1, UINT16_MAX); return;
    case OPTION_CLIENTS: options->clients = (uint32_t)cli_number("--clients", optarg, 1, CLIENTS_MAX); return;
    case OPTION_DEPTH: options->depth = (uint32_t)cli_number("--depth", optarg, 1, DEPTH_MAX); return;
    case OPTION_SIZE: options->size = (uint32_t)cli_number("--size", optarg, sizeof(struct mark), UDP_SIZE_MAX); return;
    case OPTION_WARMUP: options->warmup_ms = (uint32_t)cli_number("--warmup-ms", optarg, 0, 60000); return;
    case OPTION_MEASURE: options->measure_ms = (uint32_t)cli_number("--measure-ms", optarg, 1, 600000); return;
    case OPTION_SERVER: options->server = (pid_t)cli_number("--server", optarg, 1, INT32_MAX); return;
    case OPTION_SYSCALLS: options->count_syscalls = true; return;
    }
    fputs(usage, stderr);
    exit(2);
}

int main(int argc, char **argv)
{
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC), code;

    run.options = (struct options){.clients = 1, .depth = 1, .size = 64, .warmup_ms = 100, .measure_ms = 300};
    while ((code = getopt_long(argc, argv, "", long_options, NULL)) != -1)
        option_take(&run.options, code);
    if (optind != argc || run.options.port == 0 || (run.options.count_syscalls && run.options.server == 0)) {
        fputs(usage, stderr);
        return 2;
    }
    if (epoll_fd < 0)
        die_errno(errno, "epoll_create1");
    for (uint32_t i = 0; i < run.options.depth; i++) {
        pieces[i] = (struct iovec){bytes[i], run.options.size};
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &pieces[i], .msg_iovlen = 1};
    }
    for (uint32_t i = 0; i < run.options.clients; i++)
        client_open(&run.clients[i], i, epoll_fd);
    if (run.options.server != 0)
        observer_open(&run.server, run.options.server);
    if (run.options.count_syscalls)
        run.syscalls_counted = observer_syscalls_start(&run.server);
    run_phases(epoll_fd);
    print_result();
    observer_close(&run.server);
    return 0;
}
