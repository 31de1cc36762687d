/* tests/fs/rehome_world.h: one of each object of the library on one loop.
 *
 * A table says for each thing how it is started, and how it is made to react or to end. */
#ifndef RINGLOOP_TESTS_FS_REHOME_WORLD_H
#define RINGLOOP_TESTS_FS_REHOME_WORLD_H

#include "tests/fs/scratch.h"

#include <fcntl.h>

enum { PAIRS = 12, FULL = 1 << 20 };

/* What is told of one thing. */
struct thing {
    uint32_t events, ends;
    int      error;
};

enum id {
    STREAM_READING,
    STREAM_WRITING,
    FORWARD,
    LISTENER,
    DATAGRAM,
    DIAL,
    RESOLVE,
    TIMER,
    WALL_TIMER,
    SIGNAL,
    CHILD,
    ASYNC,
    POLL,
    HOOK,
    WATCH,
    PATH_WATCH,
    TREE_WATCH,
    STAT_WATCH,
    FILE_READ,
    READER,
    WRITER,
    REPLACE,
    LISTING,
    WALK,
    COPY,
    WORK,
    RECV,
    POLL_MULTISHOT,
    TIMEOUT_MULTISHOT,
    SUBSCRIPTION_ACCEPT,
    SUBSCRIPTION_RECV,
    SUBSCRIPTION_RECVMSG,
    SUBSCRIPTION_READ,
    SUBSCRIPTION_POLL,
    FANOUT,
    SENDFILE,
    THINGS
};

struct world {
    struct thing             things[THINGS];
    int                      pairs[PAIRS][2], listening, pipe[2], source;
    uint16_t                 listening_port;
    struct loop_address      listener_address, datagram_address, listening_address;
    struct loop_stream       reading, writing, from, to;
    struct loop_listener     listener;
    struct loop_datagram     datagram;
    struct loop_dial         dial;
    struct loop_resolve      resolve;
    struct loop_timer        timer, wall;
    struct loop_signal       signal;
    struct loop_child        child;
    struct loop_async        async;
    struct loop_poll         poll;
    struct loop_hook         hook;
    struct loop_watch        watch, path_watch, tree_watch;
    struct loop_stat_watch   stat_watch;
    struct loop_file         file, read_file;
    struct loop_reader       reader;
    struct loop_writer       writer;
    struct loop_whole        replace;
    struct loop_listing      listing;
    struct loop_tree_walk    walk;
    struct loop_copy         copy;
    struct loop_subscription accept, recv, recvmsg, read, polling;
    struct loop_fanout       fanout;
    struct loop_transfer     transfer;
    struct msghdr            message;
    uint32_t                 files_made, fds_taken;
    char                     bytes[64];
    bool                     started[THINGS];
};

extern struct loop *world_loop;
extern struct world world;
extern char         world_full[FULL]; /* more than goes anywhere at once */
extern uint32_t     world_fds_before; /* descriptors without the loop's */
extern int          world_fd_last;    /* those of the loop come behind */

/* Starts one thing; in rehome_start.c. */
extern int (*const world_starts[THINGS])(void);

void world_open(void);
void world_start(int i); /* but for one that is started */
void world_close(void);  /* without the loop */

void world_write_to(int pair);
void world_connect(const struct loop_address *address);

/* Makes everything react, and waits for that. Returns NULL or who does not. */
const char *world_all_react(bool child);

/* NULL, or the name of one that ended otherwise than it should: but at home it may have been the parent's. */
const char *world_who_ended_badly(bool home);

#endif
