/* The common part of the servers under test. */
#include "common/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>

#include "common/cli.h"
#include "common/window.h"

static bool small_window;

struct server_options server_init(int argc, char **argv)
{
    struct server_options options = {0};
    struct rlimit         files;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--stats") == 0)
            options.stats = true;
        else if (strcmp(argv[i], "--small-window") == 0)
            small_window = true;
        else if (strcmp(argv[i], "--port") == 0 && i + 1 < argc)
            options.port = (uint16_t)cli_number("--port", argv[++i], 0, UINT16_MAX);
        else if (strcmp(argv[i], "--backend") == 0 && i + 1 < argc)
            options.backend = (uint16_t)cli_number("--backend", argv[++i], 1, UINT16_MAX);
        else
            die("usage: %s [--port N] [--backend N [--small-window]] [--stats]", program_invocation_short_name);
    }
    signal(SIGPIPE, SIG_IGN);
    if (getrlimit(RLIMIT_NOFILE, &files) != 0)
        die_errno(errno, "getrlimit");
    files.rlim_cur = files.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &files) != 0)
        die_errno(errno, "setrlimit");
    return options;
}

int server_listen(const struct server_options *options)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(options->port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    int on = 1;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);

    if (listener < 0)
        die_errno(errno, "socket");
    if (setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0)
        die_errno(errno, "SO_REUSEADDR");
    if (setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0)
        die_errno(errno, "TCP_NODELAY");
    if (bind(listener, (const struct sockaddr *)&address, sizeof(address)) != 0)
        die_errno(errno, "bind to 127.0.0.1:%u", options->port);
    if (listen(listener, SERVER_BACKLOG) != 0)
        die_errno(errno, "listen");
    return listener;
}

void server_window(int fd)
{
    if (small_window)
        window_unscaled(fd);
}

void server_ready(int listener)
{
    struct sockaddr_in address;
    socklen_t          length = sizeof(address);

    if (getsockname(listener, (struct sockaddr *)&address, &length) != 0)
        die_errno(errno, "getsockname");
    printf("ready %u\n", ntohs(address.sin_port));
    fflush(stdout);
}

int server_signal_fd(void)
{
    sigset_t set;
    int      fd;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
        die_errno(errno, "sigprocmask");
    fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd < 0)
        die_errno(errno, "signalfd");
    return fd;
}

void server_stats_print(const struct server_options *options, const struct server_stats *stats)
{
    if (!options->stats)
        return;
    printf("{\"connections\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"receives\": %" PRIu64 ", \"sends\": %" PRIu64
           ", \"pauses\": %" PRIu64 ", \"starved\": %" PRIu64 ", \"buffers_held\": %" PRIu64 "}\n",
           stats->connections, stats->bytes, stats->receives, stats->sends, stats->pauses, stats->starved,
           stats->buffers_held);
    fflush(stdout);
}
