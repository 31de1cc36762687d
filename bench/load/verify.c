/* Is the server an echo server? Asked before anything is timed:
 * - writers send random pieces, read random amounts, half-close, and expect every byte back and then the end;
 * - one of them has nothing to send, and half-closes at once;
 * - deserters send and then reset the connection;
 * - sleepers do nothing until the end;
 * - hoarders send and do not read: the server must stop reading from them instead of keeping it all, must serve the
 *   others meanwhile, and must deliver everything once they read; one goes on sending then, the other has ended its
 *   half before. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cli.h"
#include "common/clock.h"
#include "common/observer.h"
#include "common/random.h"
#include "load/load.h"
#include "load/pattern.h"
#include "load/peer.h"

#ifndef SERVER_GROWTH_MAX_MIB /* sanitizers keep shadows of the memory, and what was freed */
#define SERVER_GROWTH_MAX_MIB 32
#endif

enum {
    WRITERS = 8,
    DESERTERS = 2,
    SLEEPERS = 2,
    HOARDERS = 2,
    ACTORS = WRITERS + DESERTERS + SLEEPERS + HOARDERS,
    SENDING_HOARDER = ACTORS - 2,
    ENDED_HOARDER = ACTORS - 1,
    WRITER_BYTES_MAX = 4 << 20,
    DESERTER_BYTES = 256 << 10,
    HOARD_MAX = 256 << 20,        /* a server that takes so much from a peer that does not read has no limit */
    HOARD_STILL_MS = 300,         /* a hoarder is full when its socket took nothing for so long */
    HOARDER_MORE_BYTES = 2 << 20, /* sent after it has begun to read */
    SERVER_GROWTH_MAX = SERVER_GROWTH_MAX_MIB << 20,
};

enum role { ROLE_WRITER, ROLE_DESERTER, ROLE_SLEEPER, ROLE_HOARDER };

struct actor {
    enum role role;
    uint64_t  total;  /* bytes it is going to send */
    bool      silent; /* it does not read, or does nothing at all */
    bool      shut;   /* it has ended its half */
    bool      done;
    uint64_t  last_ns; /* when it last sent something */
};

struct stage {
    struct peers  peers;
    struct actor  actors[ACTORS];
    struct random random;
    uint64_t      deadline_ns;
};

static uint32_t random_piece(struct random *random)
{
    return 1 + random_below(random, random_below(random, 4) == 0 ? PATTERN_CHUNK_MAX : 300);
}

static struct actor *actor_of(struct stage *stage, const struct peer *peer)
{
    return &stage->actors[peer->index];
}

static void cast_roles(struct stage *stage)
{
    for (uint32_t i = 0; i < ACTORS; i++) {
        struct actor *actor = &stage->actors[i];

        if (i < WRITERS)
            *actor = (struct actor){.role = ROLE_WRITER, .total = random_below(&stage->random, WRITER_BYTES_MAX)};
        else if (i < WRITERS + DESERTERS)
            *actor = (struct actor){.role = ROLE_DESERTER, .total = DESERTER_BYTES, .silent = true};
        else if (i < WRITERS + DESERTERS + SLEEPERS)
            *actor = (struct actor){.role = ROLE_SLEEPER, .silent = true};
        else
            *actor = (struct actor){.role = ROLE_HOARDER, .total = HOARD_MAX, .silent = true};
    }
    stage->actors[0].total = 0;
}

static void leave(struct stage *stage, struct peer *peer)
{
    actor_of(stage, peer)->done = true;
    if (epoll_ctl(stage->peers.epoll_fd, EPOLL_CTL_DEL, peer->fd, NULL) != 0)
        die_errno(errno, "epoll_ctl");
}

static void desert(struct stage *stage, struct peer *peer)
{
    const struct linger reset = {.l_onoff = 1, .l_linger = 0};

    leave(stage, peer);
    if (setsockopt(peer->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)) != 0)
        die_errno(errno, "SO_LINGER");
    close(peer->fd);
    peer->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); /* something for peers_close */
    if (peer->fd < 0)
        die_errno(errno, "socket");
}

static void end_half(struct stage *stage, const struct peer *peer)
{
    if (shutdown(peer->fd, SHUT_WR) != 0)
        die_errno(errno, "shutdown of connection %u", peer->index);
    actor_of(stage, peer)->shut = true;
}

static void act_send(struct stage *stage, struct peer *peer)
{
    struct actor *actor = actor_of(stage, peer);
    uint64_t      left = actor->total - peer->sent;
    uint64_t      piece = actor->role == ROLE_WRITER ? random_piece(&stage->random) : PATTERN_CHUNK_MAX;

    if (left != 0 && peer_send(peer, left < piece ? left : piece) != 0)
        actor->last_ns = clock_wall_ns();
    if (peer->sent != actor->total || actor->shut)
        return;
    if (actor->role == ROLE_DESERTER)
        desert(stage, peer);
    else if (!actor->silent)
        end_half(stage, peer);
}

static void act_receive(struct stage *stage, struct peer *peer)
{
    const struct actor *actor = actor_of(stage, peer);

    peer_receive(peer, random_piece(&stage->random));
    if (!peer->ended)
        return;
    if (!actor->shut || peer->received != actor->total)
        die("connection %u: ended by the server after %" PRIu64 " of %" PRIu64 " bytes", peer->index, peer->received,
            actor->total);
    leave(stage, peer);
}

static void act(struct stage *stage, struct peer *peer, uint32_t events)
{
    const struct actor *actor = actor_of(stage, peer);

    if ((events & EPOLLOUT) != 0)
        act_send(stage, peer);
    if (!actor->done && !actor->silent && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
        act_receive(stage, peer);
}

static void watch(struct stage *stage, struct peer *peer)
{
    const struct actor *actor = actor_of(stage, peer);
    uint32_t            events = 0;

    if (actor->done)
        return;
    if (!actor->silent)
        events |= EPOLLIN;
    if (actor->role != ROLE_SLEEPER || !actor->silent) {
        if (peer->sent != actor->total || !actor->shut)
            events |= EPOLLOUT;
    }
    if (actor->role == ROLE_HOARDER && actor->silent && peer->sent == actor->total)
        events = 0;
    peer_watch(&stage->peers, peer, events);
}

static bool all_done(const struct stage *stage, enum role role)
{
    for (uint32_t i = 0; i < ACTORS; i++) {
        if (stage->actors[i].role == role && !stage->actors[i].done)
            return false;
    }
    return true;
}

static void play(struct stage *stage, uint32_t wait_ms)
{
    struct epoll_event events[ACTORS];
    int                count;

    for (uint32_t i = 0; i < ACTORS; i++)
        watch(stage, &stage->peers.items[i]);
    count = epoll_wait(stage->peers.epoll_fd, events, ACTORS, (int)wait_ms);
    if (count < 0 && errno != EINTR)
        die_errno(errno, "epoll_wait");
    for (int i = 0; i < count; i++)
        act(stage, events[i].data.ptr, events[i].events);
    if (clock_wall_ns() > stage->deadline_ns)
        die("not verified within %d ms", LOAD_VERIFY_MS_MAX);
}

static void play_until_done(struct stage *stage, enum role role)
{
    while (!all_done(stage, role))
        play(stage, 100);
}

/* Until the server stops to take what the hoarder sends; returns how much that was. */
static uint64_t play_until_full(struct stage *stage, const struct peer *hoarder)
{
    const struct actor *actor = actor_of(stage, hoarder);

    while (clock_wall_ns() < actor->last_ns + (uint64_t)HOARD_STILL_MS * NS_PER_MS)
        play(stage, 10);
    if (hoarder->sent == HOARD_MAX)
        die("the server took %d MiB from a connection that does not read", HOARD_MAX >> 20);
    return hoarder->sent;
}

/* Lets an actor that was silent read, and send more_bytes before it ends its half; without any, it ends it at once. */
static void wake(struct stage *stage, uint32_t index, uint64_t more_bytes)
{
    const struct peer *peer = &stage->peers.items[index];
    struct actor      *actor = &stage->actors[index];

    actor->silent = false;
    actor->total = peer->sent + more_bytes;
    if (more_bytes == 0)
        end_half(stage, peer);
}

static void check_growth(const struct load_options *options, const struct observer *server, uint64_t before)
{
    uint64_t after;

    if (options->server == 0)
        return;
    after = observer_anon_bytes(server);
    if (after > before + SERVER_GROWTH_MAX)
        die("the server grew by %" PRIu64 " KiB", (after - before) / 1024);
}

void load_verify(const struct load_options *options)
{
    static struct stage stage;
    struct observer     server = {0};
    uint64_t            anon_before = 0, hoarded = 0;

    stage.random.state = options->seed;
    stage.deadline_ns = clock_wall_ns() + (uint64_t)LOAD_VERIFY_MS_MAX * NS_PER_MS;
    if (options->server != 0) {
        observer_open(&server, options->server);
        anon_before = observer_anon_bytes(&server);
    }
    cast_roles(&stage);
    peers_open(&stage.peers, ACTORS, options->port, true);
    play_until_done(&stage, ROLE_WRITER);
    play_until_done(&stage, ROLE_DESERTER);
    hoarded += play_until_full(&stage, &stage.peers.items[SENDING_HOARDER]);
    hoarded += play_until_full(&stage, &stage.peers.items[ENDED_HOARDER]);
    check_growth(options, &server, anon_before);
    wake(&stage, SENDING_HOARDER, HOARDER_MORE_BYTES);
    wake(&stage, ENDED_HOARDER, 0);
    play_until_done(&stage, ROLE_HOARDER);
    for (uint32_t i = 0; i < SLEEPERS; i++)
        wake(&stage, WRITERS + DESERTERS + i, 1);
    play_until_done(&stage, ROLE_SLEEPER);
    check_growth(options, &server, anon_before);
    printf("{\"verified\": true, \"hoarded_bytes\": %" PRIu64 "}\n", hoarded);
    peers_close(&stage.peers);
}
