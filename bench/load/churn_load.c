/* Load generator of the churn bench: connects to an echo server, exchanges one message, ends the connection, and begins
 * anew; n at a time. Every echoed byte is checked, and at the end, that the server has closed all descriptors.
 *
 * How a connection ends: by a reset (SO_LINGER 0), or, with --end close, by FINs: the load ends its half, and waits
 * until the server has ended the other. */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cli.h"
#include "common/clock.h"
#include "common/observer.h"
#include "load/pattern.h"

enum {
    CONNECTIONS_MAX = 1024,
    EVENTS_MAX = 256,
    SIZE_MAX_BYTES = 16 * 1024,
    STALL_MS = 20 * 1000,        /* nothing for so long is a standstill */
    SERVER_CLOSES_MS = 5 * 1000, /* the server may take so long to close what is left at the end */
    /* Connections that were ended by FINs keep their port for a while: so they come from many addresses. */
    SOURCES = 200,
};

static const char usage[] = "usage: churn_load --port N --server PID [--connections N] [--size BYTES] [--warmup-ms N]\n"
                            "                  [--measure-ms N] [--end reset|close] [--syscalls]\n";

struct options {
    uint16_t port;
    uint32_t connections, size, warmup_ms, measure_ms;
    pid_t    server;
    bool     close, count_syscalls;
};

struct peer {
    int      fd;
    uint32_t index; /* of the connection, among all there were */
    uint32_t received;
    bool     shut;
};

struct mark {
    uint64_t done, cost, wall_ns;
};

struct run {
    struct options  options;
    struct observer server;
    struct peer     peers[CONNECTIONS_MAX];
    int             epoll_fd;
    uint32_t        begun, alive;
    uint64_t        done;
    bool            ending, syscalls_counted;
};

static void bind_source(int fd, uint32_t index)
{
    struct sockaddr_in source = {.sin_family = AF_INET,
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + index % SOURCES)};
    int                on = 1;

    if (setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on)) != 0 ||
        bind(fd, (const struct sockaddr *)&source, sizeof(source)) != 0)
        die_errno(errno, "bind");
}

static void peer_begin(struct run *run, struct peer *peer)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(run->options.port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = peer};
    uint32_t           size = run->options.size;
    int                on = 1;

    *peer = (struct peer){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP), .index = run->begun++};
    if (peer->fd < 0)
        die_errno(errno, "socket");
    if (run->options.close)
        bind_source(peer->fd, peer->index);
    if (setsockopt(peer->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0)
        die_errno(errno, "TCP_NODELAY");
    if (connect(peer->fd, (const struct sockaddr *)&address, sizeof(address)) != 0)
        die_errno(errno, "connection %u", peer->index);
    if (send(peer->fd, pattern_at(peer->index, 0), size, MSG_NOSIGNAL) != (ssize_t)size)
        die_errno(errno, "send on connection %u", peer->index);
    if (epoll_ctl(run->epoll_fd, EPOLL_CTL_ADD, peer->fd, &event) != 0)
        die_errno(errno, "epoll_ctl");
    run->alive++;
}

static void peer_over(struct run *run, struct peer *peer)
{
    const struct linger reset = {.l_onoff = 1, .l_linger = 0};

    if (!run->options.close && setsockopt(peer->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)) != 0)
        die_errno(errno, "SO_LINGER");
    close(peer->fd);
    run->done++;
    run->alive--;
    if (!run->ending)
        peer_begin(run, peer);
}

static void peer_event(struct run *run, struct peer *peer)
{
    uint8_t bytes[SIZE_MAX_BYTES + 1];
    ssize_t length = recv(peer->fd, bytes, sizeof(bytes), MSG_DONTWAIT);

    if (length < 0 && errno == EAGAIN)
        return;
    if (length < 0)
        die_errno(errno, "receive on connection %u", peer->index);
    if (length == 0 && !peer->shut)
        die("connection %u: the server closed it after %u bytes", peer->index, peer->received);
    if (peer->received + (uint64_t)length > run->options.size ||
        memcmp(bytes, pattern_at(peer->index, peer->received), (size_t)length) != 0)
        die("connection %u: wrong bytes from byte %u on", peer->index, peer->received);
    peer->received += (uint32_t)length;
    if (peer->received < run->options.size)
        return;
    if (run->options.close && !peer->shut) {
        peer->shut = true;
        if (shutdown(peer->fd, SHUT_WR) != 0)
            die_errno(errno, "shutdown of connection %u", peer->index);
    } else if (!run->options.close || length == 0) {
        peer_over(run, peer);
    }
}

static struct mark mark_take(const struct run *run)
{
    struct mark mark = {.done = run->done, .wall_ns = clock_wall_ns()};

    if (!run->options.count_syscalls)
        mark.cost = observer_cpu_ns(&run->server);
    else if (run->syscalls_counted)
        mark.cost = observer_syscalls(&run->server);
    return mark;
}

static void turn(struct run *run)
{
    static struct epoll_event events[EVENTS_MAX];
    int                       count = epoll_wait(run->epoll_fd, events, EVENTS_MAX, STALL_MS);

    if (count < 0 && errno != EINTR)
        die_errno(errno, "epoll_wait");
    if (count == 0)
        die("nothing for %d ms; %u connections are unanswered", STALL_MS, run->alive);
    for (int i = 0; i < count; i++)
        peer_event(run, events[i].data.ptr);
}

static void run_for(struct run *run, uint32_t ms)
{
    uint64_t end_ns = clock_wall_ns() + (uint64_t)ms * NS_PER_MS;

    while (clock_wall_ns() < end_ns)
        turn(run);
}

static uint32_t descriptors(pid_t pid)
{
    char     path[64];
    uint32_t count = 0;
    DIR     *directory;

    snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    directory = opendir(path);
    if (directory == NULL)
        die_errno(errno, "%s", path);
    while (readdir(directory) != NULL)
        count++;
    closedir(directory);
    return count;
}

static void await_closed(const struct options *options, uint32_t before)
{
    uint64_t end_ns = clock_wall_ns() + (uint64_t)SERVER_CLOSES_MS * NS_PER_MS;
    uint32_t left;

    while ((left = descriptors(options->server)) > before) {
        if (clock_wall_ns() > end_ns)
            die("the server has %u descriptors open, and had %u", left, before);
        poll(NULL, 0, 10);
    }
}

static void churn(struct run *run)
{
    uint32_t    open_before = descriptors(run->options.server);
    struct mark begin, end;
    double      count, seconds;

    for (uint32_t i = 0; i < run->options.connections; i++)
        peer_begin(run, &run->peers[i]);
    run_for(run, run->options.warmup_ms);
    begin = mark_take(run);
    run_for(run, run->options.measure_ms);
    end = mark_take(run);
    run->ending = true;
    while (run->alive != 0)
        turn(run);
    await_closed(&run->options, open_before);
    count = (double)(end.done - begin.done);
    seconds = (double)(end.wall_ns - begin.wall_ns) / NS_PER_S;
    if (count == 0)
        die("no connection was ended in the window");
    printf("{\"connections\": %" PRIu64 ", \"ops_per_s\": %.1f", run->done, count / seconds);
    if (!run->options.count_syscalls)
        printf(", \"cpu_ns_per_op\": %.1f", (double)(end.cost - begin.cost) / count);
    else if (run->syscalls_counted)
        printf(", \"syscalls_per_op\": %.3f", (double)(end.cost - begin.cost) / count);
    printf("}\n");
}

static struct options options_read(int argc, char **argv)
{
    static const struct option long_options[] = {
        {"port", required_argument, NULL, 'p'},
        {"server", required_argument, NULL, 's'},
        {"connections", required_argument, NULL, 'n'},
        {"size", required_argument, NULL, 'b'},
        {"warmup-ms", required_argument, NULL, 'w'},
        {"measure-ms", required_argument, NULL, 'm'},
        {"end", required_argument, NULL, 'e'},
        {"syscalls", no_argument, NULL, 'c'},
        {NULL, 0, NULL, 0},
    };
    struct options options = {.connections = 1, .size = 64, .warmup_ms = 100, .measure_ms = 300};
    int            code;

    while ((code = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        switch (code) {
        case 'p': options.port = (uint16_t)cli_number("--port", optarg, 1, UINT16_MAX); break;
        case 's': options.server = (pid_t)cli_number("--server", optarg, 1, INT32_MAX); break;
        case 'n': options.connections = (uint32_t)cli_number("--connections", optarg, 1, CONNECTIONS_MAX); break;
        case 'b': options.size = (uint32_t)cli_number("--size", optarg, 1, SIZE_MAX_BYTES); break;
        case 'w': options.warmup_ms = (uint32_t)cli_number("--warmup-ms", optarg, 0, 60000); break;
        case 'm': options.measure_ms = (uint32_t)cli_number("--measure-ms", optarg, 1, 600000); break;
        case 'e': options.close = strcmp(optarg, "close") == 0; break;
        case 'c': options.count_syscalls = true; break;
        default: fputs(usage, stderr); exit(2);
        }
    }
    if (optind != argc || options.port == 0 || options.server == 0) {
        fputs(usage, stderr);
        exit(2);
    }
    return options;
}

int main(int argc, char **argv)
{
    static struct run run;

    run.options = options_read(argc, argv);
    pattern_init();
    observer_open(&run.server, run.options.server);
    if (run.options.count_syscalls)
        run.syscalls_counted = observer_syscalls_start(&run.server);
    run.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (run.epoll_fd < 0)
        die_errno(errno, "epoll_create1");
    churn(&run);
    observer_close(&run.server);
    return 0;
}
