/* Closed loop with a fixed number of messages in flight on each connection. Phases: warm-up, window, and the rest: no
 * new messages, but every answer is still awaited and checked. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "common/cli.h"
#include "common/clock.h"
#include "common/histogram.h"
#include "common/observer.h"
#include "load/load.h"
#include "load/peer.h"

enum { EVENTS_MAX = 1024 };

enum phase { PHASE_WARMUP, PHASE_WINDOW, PHASE_REST };

/* The counters a window is the difference of. */
struct mark {
    uint64_t wall_ns;
    uint64_t cpu_ns;      /* of the server */
    uint64_t syscalls;    /* of the server */
    uint64_t load_cpu_ns; /* of this process */
    uint64_t messages;
};

struct run {
    const struct load_options *options;
    struct peers               peers;
    struct observer            server;
    bool                       syscalls_counted;
    enum phase                 phase;
    uint64_t                   messages;    /* answered, all phases */
    uint64_t                   outstanding; /* sent or being sent, not answered */
    uint64_t                  *sent_ns;     /* for each peer, a ring of depth start times */
    struct mark                begin, end;
    struct histogram           latencies; /* of the window */
};

static struct mark mark_take(const struct run *run)
{
    struct mark mark = {.messages = run->messages};

    if (run->options->server != 0 && run->syscalls_counted)
        mark.syscalls = observer_syscalls(&run->server);
    else if (run->options->server != 0 && !run->options->count_syscalls)
        mark.cpu_ns = observer_cpu_ns(&run->server);
    mark.load_cpu_ns = clock_cpu_ns();
    mark.wall_ns = clock_wall_ns();
    return mark;
}

/* What the peer may send: depth messages ahead of the answers while the run goes on; then the rest of one begun. */
static uint64_t sendable(const struct run *run, const struct peer *peer)
{
    uint64_t size = run->options->size;
    uint64_t answered = peer->received / size;

    if (run->phase == PHASE_REST)
        return (size - peer->sent % size) % size;
    return (answered + run->options->depth) * size - peer->sent;
}

static void send_more(struct run *run, struct peer *peer, uint64_t now_ns)
{
    uint64_t size = run->options->size;
    uint64_t depth = run->options->depth;
    uint64_t length = sendable(run, peer);
    uint64_t first = (peer->sent + size - 1) / size; /* the first message this call begins */
    uint64_t past;

    if (length == 0)
        return;
    length -= peer_send(peer, length);
    past = (peer->sent + size - 1) / size;
    for (uint64_t message = first; message < past; message++)
        run->sent_ns[peer->index * depth + message % depth] = now_ns;
    run->outstanding += past - first;
    peer_watch(&run->peers, peer, length != 0 ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static void count_answers(struct run *run, const struct peer *peer, uint64_t received_before, uint64_t now_ns)
{
    uint64_t size = run->options->size;
    uint64_t depth = run->options->depth;
    uint64_t past = peer->received / size;

    for (uint64_t message = received_before / size; message < past; message++) {
        run->messages++;
        run->outstanding--;
        if (run->phase == PHASE_WINDOW)
            histogram_add(&run->latencies, now_ns - run->sent_ns[peer->index * depth + message % depth]);
    }
}

static void peer_event(struct run *run, struct peer *peer)
{
    uint64_t before = peer->received;
    uint64_t now_ns;

    peer_receive(peer, UINT64_MAX);
    if (peer->ended)
        die("connection %u: the server closed it", peer->index);
    now_ns = clock_wall_ns();
    count_answers(run, peer, before, now_ns);
    send_more(run, peer, now_ns);
}

static void phase_update(struct run *run, uint64_t start_ns)
{
    uint64_t warm_ns = start_ns + (uint64_t)run->options->warmup_ms * NS_PER_MS;
    uint64_t now_ns = clock_wall_ns();

    if (run->phase == PHASE_WARMUP && now_ns >= warm_ns) {
        run->begin = mark_take(run);
        run->phase = PHASE_WINDOW;
    } else if (run->phase == PHASE_WINDOW &&
               now_ns >= run->begin.wall_ns + (uint64_t)run->options->measure_ms * NS_PER_MS) {
        run->end = mark_take(run);
        run->phase = PHASE_REST;
    }
}

static void run_phases(struct run *run)
{
    static struct epoll_event events[EVENTS_MAX];
    uint64_t                  start_ns = clock_wall_ns();

    for (uint32_t i = 0; i < run->peers.count; i++)
        send_more(run, &run->peers.items[i], start_ns);
    while (run->phase != PHASE_REST || run->outstanding != 0) {
        int count = epoll_wait(run->peers.epoll_fd, events, EVENTS_MAX, LOAD_STALL_MS);

        if (count < 0 && errno != EINTR)
            die_errno(errno, "epoll_wait");
        if (count == 0)
            die("no byte for %d ms; %" PRIu64 " messages are unanswered", LOAD_STALL_MS, run->outstanding);
        for (int i = 0; i < count; i++)
            peer_event(run, events[i].data.ptr);
        phase_update(run, start_ns);
    }
}

static void print_result(const struct run *run)
{
    const struct mark *begin = &run->begin, *end = &run->end;
    uint64_t           messages = end->messages - begin->messages;
    double             seconds = (double)(end->wall_ns - begin->wall_ns) / NS_PER_S;

    if (messages == 0)
        die("no message was answered in the window");
    printf("{\"messages\": %" PRIu64 ", \"messages_total\": %" PRIu64 ", \"seconds\": %.6f, \"ops_per_s\": %.1f",
           messages, run->messages, seconds, (double)messages / seconds);
    if (run->options->server != 0 && !run->options->count_syscalls)
        printf(", \"cpu_ns_per_op\": %.2f", (double)(end->cpu_ns - begin->cpu_ns) / (double)messages);
    if (run->syscalls_counted)
        printf(", \"syscalls_per_op\": %.5f", (double)(end->syscalls - begin->syscalls) / (double)messages);
    printf(", \"load_cpu_ns_per_op\": %.2f, \"p50_ns\": %" PRIu64 ", \"p99_ns\": %" PRIu64 "}\n",
           (double)(end->load_cpu_ns - begin->load_cpu_ns) / (double)messages,
           histogram_quantile(&run->latencies, 0.50), histogram_quantile(&run->latencies, 0.99));
}

void load_timed(const struct load_options *options)
{
    static struct run run;

    run.options = options;
    run.sent_ns = calloc((size_t)options->connections * options->depth, sizeof(*run.sent_ns));
    if (run.sent_ns == NULL)
        die("no memory for the start times");
    peers_open(&run.peers, options->connections, options->port, false);
    if (options->server != 0)
        observer_open(&run.server, options->server);
    if (options->count_syscalls)
        run.syscalls_counted = observer_syscalls_start(&run.server);
    run_phases(&run);
    print_result(&run);
    observer_close(&run.server);
    peers_close(&run.peers);
    free(run.sent_ns);
}
