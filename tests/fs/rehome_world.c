/* tests/fs/rehome_world.c: what becomes of all things: they are made to react, and looked at. */
#include "tests/fs/rehome_world.h"

#include <signal.h>
#include <sys/stat.h>

struct loop *world_loop;
struct world world;
char         world_full[FULL];
uint32_t     world_fds_before;
int          world_fd_last;

/* ---- making them react */

void world_write_to(int pair)
{
    ck_assert_int_eq(write(world.pairs[pair][1], "x", 1), 1);
}

static void drain(int pair)
{
    while (recv(world.pairs[pair][1], world_full, sizeof(world_full), MSG_DONTWAIT) > 0)
        ;
}

void world_connect(const struct loop_address *address)
{
    test_close(test_tcp_connect(loop_address_port(address)));
}

/* What comes from there ends, so that the forwarding does; in the parent it has already. */
static void poke_forward(int pair)
{
    shutdown(world.pairs[pair][1], SHUT_WR);
}

static void poke_listener(int pair)
{
    (void)pair;
    world_connect(&world.listener_address);
}

static void poke_datagram(int pair)
{
    int                fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in to = test_localhost(loop_address_port(&world.datagram_address));

    (void)pair;
    ck_assert_int_eq(sendto(fd, "x", 1, 0, (struct sockaddr *)&to, sizeof(to)), 1);
    close(fd);
}

static void poke_signal(int pair)
{
    (void)pair;
    kill(getpid(), SIGUSR1);
}

static void poke_child(int pair)
{
    (void)pair;
    (void)loop_child_kill(&world.child, SIGKILL);
}

static void poke_async(int pair)
{
    (void)pair;
    ck_assert_int_eq(loop_async_send(&world.async), 0);
}

static void poke_watches(int pair)
{
    char name[64];

    (void)pair;
    scratch_write("watched/it", world_full, 10 + ++world.files_made);
    snprintf(name, sizeof(name), "watched/%d.%u", (int)getpid(), world.files_made);
    scratch_write(name, "", 0);
}

static void poke_accept(int pair)
{
    (void)pair;
    world_connect(&world.listening_address);
}

static void poke_read(int pair)
{
    (void)pair;
    ck_assert_int_eq(write(world.pipe[1], "x", 1), 1);
}

enum what { REACTS = 1, ENDS = 2, ENDS_AT_HOME = 4 /* not of itself in a child */ };

static const struct row {
    const char *name;
    unsigned    what;
    void (*poke)(int pair); /* again and again */
    int pair;
} rows[THINGS] = {
    [STREAM_READING] = {"stream that reads", REACTS, world_write_to, 0},
    [STREAM_WRITING] = {"stream that writes", ENDS, drain, 1},
    [FORWARD] = {"forwarding", ENDS, NULL, 0},
    [LISTENER] = {"listener", REACTS, poke_listener, 0},
    [DATAGRAM] = {"datagram", REACTS, poke_datagram, 0},
    [DIAL] = {"dial", ENDS, NULL, 0},
    [RESOLVE] = {"resolve", ENDS, NULL, 0},
    [TIMER] = {"timer", REACTS, NULL, 0},
    [WALL_TIMER] = {"wall timer", REACTS, NULL, 0},
    [SIGNAL] = {"signal", REACTS, poke_signal, 0},
    [CHILD] = {"child", ENDS_AT_HOME, NULL, 0},
    [ASYNC] = {"async", REACTS, poke_async, 0},
    [POLL] = {"poll", REACTS, world_write_to, 4},
    [HOOK] = {"hook", REACTS, NULL, 0},
    [WATCH] = {"watch", REACTS, poke_watches, 0},
    [PATH_WATCH] = {"path watch", REACTS, NULL, 0},
    [TREE_WATCH] = {"tree watch", REACTS, NULL, 0},
    [STAT_WATCH] = {"stat watch", REACTS, NULL, 0},
    [FILE_READ] = {"read of a file", ENDS, NULL, 0},
    [READER] = {"reader", ENDS, NULL, 0},
    [WRITER] = {"writer", ENDS, NULL, 0},
    [REPLACE] = {"replace", ENDS, NULL, 0},
    [LISTING] = {"listing", ENDS, NULL, 0},
    [WALK] = {"walk", ENDS, NULL, 0},
    [COPY] = {"copy", ENDS, NULL, 0},
    [WORK] = {"work", ENDS, NULL, 0},
    [RECV] = {"multishot receive", REACTS, world_write_to, 5},
    [POLL_MULTISHOT] = {"multishot poll", REACTS, world_write_to, 8},
    [TIMEOUT_MULTISHOT] = {"multishot timeout", REACTS, NULL, 0},
    [SUBSCRIPTION_ACCEPT] = {"subscription: accept", REACTS, poke_accept, 0},
    [SUBSCRIPTION_RECV] = {"subscription: receive", REACTS, world_write_to, 6},
    [SUBSCRIPTION_RECVMSG] = {"subscription: messages", REACTS, world_write_to, 7},
    [SUBSCRIPTION_READ] = {"subscription: read", REACTS, poke_read, 0},
    [SUBSCRIPTION_POLL] = {"subscription: poll", REACTS, world_write_to, 9},
    [FANOUT] = {"fan-out", ENDS, drain, 10},
    [SENDFILE] = {"sendfile", ENDS, drain, 11},
};

/* ---- the world */

void world_open(void)
{
    struct sockaddr_in address;

    signal(SIGPIPE, SIG_IGN);
    memset(&world, 0, sizeof(world));
    scratch_make();
    ck_assert_int_eq(mkdir("watched", 0700), 0);
    scratch_write("watched/it", "", 0);
    scratch_write("source", world_full, sizeof(world_full));
    for (int i = 0; i < PAIRS; i++)
        test_socketpair(world.pairs[i]);
    test_pipe(world.pipe);
    world.source = open("source", O_RDONLY | O_CLOEXEC);
    world.listening = test_tcp_listener(&world.listening_port, 64);
    address = test_localhost(world.listening_port);
    world.listening_address = (struct loop_address){.size = sizeof(address)};
    memcpy(&world.listening_address.storage, &address, sizeof(address));
    world_fds_before = test_fd_count();
    world_fd_last = world.listening;
    world_loop = test_loop_new(&(struct loop_options){.sq_entries = 128, .buffer_count = 64, .buffer_size = 4096});
}

void world_start(int i)
{
    if (world.started[i] || (i == SUBSCRIPTION_READ && !test_has_opcode(world_loop, 49))) /* IORING_OP_READ_MULTISHOT */
        return;
    ck_assert_msg(world_starts[i]() == 0, "%s does not start", rows[i].name);
    world.started[i] = true;
}

void world_close(void)
{
    const bool taken[] = {world.started[STREAM_READING], world.started[STREAM_WRITING], world.started[FORWARD],
                          world.started[FORWARD]};

    for (int i = 0; i < PAIRS; i++) {
        if (i > 3 || !taken[i])
            test_close(world.pairs[i][0]);
        test_close(world.pairs[i][1]);
    }
    test_close(world.pipe[0]);
    test_close(world.pipe[1]);
    test_close(world.source);
    test_close(world.listening);
    scratch_remove();
}

/* NULL, or the name of one that has not done what it is to do since those events. */
static const char *who_is_missing(const uint32_t *before, bool child)
{
    for (int i = 0; i < THINGS; i++) {
        const struct thing *thing = &world.things[i];

        if (!world.started[i])
            continue;
        if (((rows[i].what & REACTS) != 0 && thing->events == before[i]) ||
            ((rows[i].what & ENDS) != 0 && thing->ends == 0) ||
            ((rows[i].what & ENDS_AT_HOME) != 0 && !child && thing->ends == 0))
            return rows[i].name;
    }
    return NULL;
}

const char *world_all_react(bool child)
{
    uint32_t    before[THINGS];
    const char *missing = NULL;

    for (int i = 0; i < THINGS; i++)
        before[i] = world.things[i].events;
    poke_forward(2);
    if (!child && world.started[CHILD])
        poke_child(0);
    for (int round = 0; round < 2000; round++) {
        for (int i = 0; i < THINGS; i++)
            if (world.started[i] && rows[i].poke != NULL &&
                ((rows[i].what & REACTS) == 0 || world.things[i].events == before[i]) &&
                (round % 20 == 0 || (rows[i].what & ENDS) != 0))
                rows[i].poke(rows[i].pair);
        for (int i = 0; i < 4; i++)
            (void)loop_run(world_loop, LOOP_RUN_NOWAIT);
        missing = who_is_missing(before, child);
        if (missing == NULL)
            return NULL;
        usleep(1000);
    }
    return missing;
}

const char *world_who_ended_badly(bool home)
{
    for (int i = 0; i < THINGS; i++) {
        const struct thing *thing = &world.things[i];
        bool passes = thing->error == 0 || (!home && (thing->error == -EOWNERDEAD || thing->error == -ECANCELED));

        if (thing->ends > 1 || ((rows[i].what & REACTS) != 0 && thing->ends > 0) || !passes) {
            fprintf(stderr, "%s: %u ends, %s\n", rows[i].name, thing->ends, strerror(-thing->error));
            return rows[i].name;
        }
    }
    return NULL;
}
