/* What do connections cost that do nothing? Each has exchanged one message, so that nothing is left to be allocated.
 * Before the first look at the server one other connection has made it touch what it has only once: its read buffer,
 * its pool. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "common/cli.h"
#include "common/clock.h"
#include "common/observer.h"
#include "load/load.h"
#include "load/peer.h"

enum { EVENTS_MAX = 256, SETTLE_MS = 200, WARMUP_MESSAGES = 1024 };

static void receive_one(struct peer *peer, uint32_t size, uint32_t *answered)
{
    peer_receive(peer, size);
    if (peer->ended)
        die("connection %u: the server closed it", peer->index);
    if (peer->received == peer->sent)
        (*answered)++;
}

/* One message on every connection; each one has received as many bytes as it has sent afterwards. */
static void exchange_one(struct peers *peers, uint32_t size)
{
    struct epoll_event events[EVENTS_MAX];
    uint64_t           deadline_ns = clock_wall_ns() + (uint64_t)LOAD_IDLE_MS_MAX * NS_PER_MS;
    uint32_t           answered = 0;

    for (uint32_t i = 0; i < peers->count; i++) {
        if (peer_send(&peers->items[i], size) != size)
            die("connection %u does not take %u bytes", i, size);
    }
    while (answered < peers->count) {
        int count = epoll_wait(peers->epoll_fd, events, EVENTS_MAX, LOAD_STALL_MS);

        if (count < 0 && errno != EINTR)
            die_errno(errno, "epoll_wait");
        if (count == 0 || clock_wall_ns() > deadline_ns)
            die("%u of %u connections are unanswered", peers->count - answered, peers->count);
        for (int i = 0; i < count; i++)
            receive_one(events[i].data.ptr, size, &answered);
    }
}

static void warm_up(const struct load_options *options)
{
    struct peers peers;

    peers_open(&peers, 1, options->port, false);
    for (uint32_t i = 0; i < WARMUP_MESSAGES; i++)
        exchange_one(&peers, options->size);
    peers_close(&peers);
}

/* Until the runner has looked at the server as well: it closes our stdin. */
static void wait_for_end(void)
{
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    uint8_t       byte;

    do {
        if (poll(&input, 1, LOAD_IDLE_MS_MAX) <= 0)
            die("stdin is still open after %d ms", LOAD_IDLE_MS_MAX);
    } while (read(STDIN_FILENO, &byte, 1) > 0);
}

void load_idle(const struct load_options *options)
{
    struct peers    peers;
    struct observer server;
    uint64_t        before, after;

    if (options->server == 0)
        die("--idle needs --server");
    observer_open(&server, options->server);
    warm_up(options);
    before = observer_anon_bytes(&server);
    peers_open(&peers, options->connections, options->port, false);
    exchange_one(&peers, options->size);
    poll(NULL, 0, SETTLE_MS);
    after = observer_anon_bytes(&server);
    printf("{\"connections\": %u, \"anon_before\": %" PRIu64 ", \"anon_after\": %" PRIu64 "}\n", peers.count, before,
           after);
    fflush(stdout);
    wait_for_end();
    peers_close(&peers);
}
