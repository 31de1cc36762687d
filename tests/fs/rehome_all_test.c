/* tests/fs/rehome_all_test.c: one of each object of the library, all at once, in a child of fork(2) and on another
 * thread: what waits reacts afterwards, what was to end ends once, and nothing is left.
 *
 * A table says for each thing how it is started, and how it is made to react or to end. */
#include "tests/fs/scratch.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>

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

static struct loop *loop;
static struct world {
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
} world;
static char full[FULL];

/* ---- what is told */

static void event(enum id id)
{
    world.things[id].events++;
}

static void end(enum id id, int error)
{
    world.things[id].ends++;
    world.things[id].error = error;
}

static void read_cb(struct loop_stream *stream, const struct loop_result *result)
{
    (void)stream;
    if (result->res > 0)
        event(STREAM_READING);
}

static void written_cb(struct loop_stream *stream, int error, size_t bytes, void *arg)
{
    (void)stream;
    (void)bytes;
    (void)arg;
    end(STREAM_WRITING, error);
}

static void forward_cb(struct loop_stream *from, struct loop_stream *to, int error, uint64_t bytes, void *arg)
{
    (void)from;
    (void)to;
    (void)bytes;
    (void)arg;
    end(FORWARD, error);
}

static void accepted_cb(struct loop_listener *listener, int result)
{
    (void)listener;
    if (result >= 0)
        close(result);
    event(LISTENER);
}

static void datagram_cb(struct loop_datagram *datagram, const struct loop_datagram_message *message)
{
    (void)datagram;
    (void)message;
    event(DATAGRAM);
}

static void dial_cb(struct loop_dial *dial, int fd, const struct loop_address *address)
{
    (void)dial;
    (void)address;
    if (fd >= 0)
        close(fd);
    end(DIAL, fd < 0 ? fd : 0);
}

static void resolve_cb(struct loop_resolve *request, int error, const struct loop_address *addresses, size_t count)
{
    (void)request;
    (void)addresses;
    (void)count;
    end(RESOLVE, error);
}

static void timer_cb(struct loop_timer *timer)
{
    event(timer == &world.timer ? TIMER : WALL_TIMER);
}

static void signal_cb(struct loop_signal *signal, const struct loop_signal_info *info)
{
    (void)signal;
    (void)info;
    event(SIGNAL);
}

static void child_cb(struct loop_child *child, const struct loop_child_exit *exit)
{
    (void)child;
    end(CHILD, exit->error);
}

static void async_cb(struct loop_async *async)
{
    (void)async;
    event(ASYNC);
}

static void poll_cb(struct loop_poll *poll, int events)
{
    char byte;

    if (events >= 0 && recv(loop_poll_fd(poll), &byte, 1, MSG_DONTWAIT) == 1)
        event(POLL);
}

static void hook_cb(struct loop_hook *hook)
{
    (void)hook;
    event(HOOK);
}

static void watch_cb(struct loop_watch *watch, const struct loop_watch_event *told)
{
    (void)told;
    event(watch == &world.watch ? WATCH : watch == &world.path_watch ? PATH_WATCH : TREE_WATCH);
}

static void stat_cb(struct loop_stat_watch *watch, int error, const struct statx *previous, const struct statx *present)
{
    (void)watch;
    (void)error;
    (void)previous;
    (void)present;
    event(STAT_WATCH);
}

static void file_cb(struct loop_file *file, int error, uint64_t count, void *arg)
{
    (void)file;
    (void)count;
    (void)arg;
    end(FILE_READ, error);
}

static void opened_cb(struct loop_file *file, int error)
{
    if (error == 0)
        error = loop_file_read(file, world.bytes, sizeof(world.bytes), 0, 0, file_cb, NULL);
    if (error != 0)
        end(FILE_READ, error);
}

static void reader_cb(struct loop_reader *reader, int error, const void *data, size_t size)
{
    (void)reader;
    (void)size;
    if (data == NULL)
        end(READER, error);
}

static void writer_cb(struct loop_writer *writer, int error, size_t bytes, void *arg)
{
    (void)writer;
    (void)bytes;
    (void)arg;
    end(WRITER, error);
}

static void replace_cb(struct loop_whole *whole, int error, void *data, size_t size)
{
    (void)whole;
    (void)data;
    (void)size;
    end(REPLACE, error);
}

static void listing_cb(struct loop_listing *listing, const struct loop_entry *entries, size_t count)
{
    (void)listing;
    (void)entries;
    (void)count;
}

static void listing_end_cb(struct loop_listing *listing, int error)
{
    (void)listing;
    end(LISTING, error);
}

static enum loop_walk_answer walk_cb(struct loop_tree_walk *walk, const struct loop_visit *visit)
{
    (void)walk;
    (void)visit;
    return LOOP_WALK_GO_ON;
}

static void walk_end_cb(struct loop_tree_walk *walk, int error)
{
    (void)walk;
    end(WALK, error);
}

static void copy_cb(struct loop_copy *copy, int error, uint64_t bytes)
{
    (void)copy;
    (void)bytes;
    end(COPY, error);
}

static void operation_cb(struct loop *of, const struct loop_result *result, void *arg)
{
    enum id id = (enum id)(uintptr_t)arg;
    char    byte;

    (void)of;
    if ((result->flags & LOOP_MORE) == 0)
        end(id, result->res < 0 ? result->res : 0);
    else if (id != POLL_MULTISHOT || recv(world.pairs[8][0], &byte, 1, MSG_DONTWAIT) == 1)
        event(id);
}

static enum id id_of(const struct loop_subscription *subscription)
{
    return subscription == &world.accept    ? SUBSCRIPTION_ACCEPT
           : subscription == &world.recv    ? SUBSCRIPTION_RECV
           : subscription == &world.recvmsg ? SUBSCRIPTION_RECVMSG
           : subscription == &world.read    ? SUBSCRIPTION_READ
                                            : SUBSCRIPTION_POLL;
}

static void stop_cb(struct loop *of, struct loop_subscription *subscription, int error, bool cancelled)
{
    (void)of;
    (void)cancelled;
    end(id_of(subscription), error);
}

static enum loop_step step_cb(struct loop *of, struct loop_subscription *subscription, const struct loop_result *result)
{
    char byte;

    (void)of;
    if (subscription == &world.accept && result->res >= 0)
        close(result->res);
    if (subscription == &world.polling && recv(world.pairs[9][0], &byte, 1, MSG_DONTWAIT) != 1)
        return LOOP_CONTINUE;
    event(id_of(subscription));
    return LOOP_CONTINUE;
}

static void fanout_cb(struct loop_fanout *fanout, const struct loop_fanout_result *result)
{
    (void)fanout;
    (void)result;
    end(FANOUT, 0);
}

static void sendfile_cb(struct loop_transfer *transfer, uint64_t sent, int error)
{
    (void)transfer;
    (void)sent;
    end(SENDFILE, error);
}

/* ---- starting */

static int open_stream(struct loop_stream *stream, int *fd)
{
    int r = loop_stream_open(loop, stream, *fd, NULL);

    world.fds_taken += r == 0;
    return r;
}

static int start_reading(void)
{
    int r = open_stream(&world.reading, &world.pairs[0][0]);

    return r < 0 ? r : loop_stream_read_start(&world.reading, read_cb);
}

static int start_writing(void)
{
    int r = open_stream(&world.writing, &world.pairs[1][0]);

    return r < 0 ? r : loop_stream_write(&world.writing, full, sizeof(full), written_cb, NULL, NULL);
}

static int start_forward(void)
{
    int r = open_stream(&world.from, &world.pairs[2][0]);

    if (r == 0)
        r = open_stream(&world.to, &world.pairs[3][0]);
    return r < 0 ? r : loop_stream_forward(&world.from, &world.to, NULL, forward_cb, NULL);
}

static int start_listener(void)
{
    struct loop_address local;
    int                 r = loop_address_parse(&local, "127.0.0.1", 0);

    if (r == 0)
        r = loop_listener_start(loop, &world.listener, &local, NULL, accepted_cb);
    return r < 0 ? r : loop_listener_address(&world.listener, &world.listener_address);
}

static int start_datagram(void)
{
    struct loop_address local;
    int                 r = loop_address_parse(&local, "127.0.0.1", 0);

    if (r == 0)
        r = loop_datagram_open(loop, &world.datagram, &local, NULL);
    if (r == 0)
        r = loop_datagram_local_address(&world.datagram, &world.datagram_address);
    return r < 0 ? r : loop_datagram_receive_start(&world.datagram, datagram_cb);
}

static int start_dial(void)
{
    return loop_dial_start(loop, &world.dial, &world.listening_address, 1, NULL, dial_cb);
}

static int start_resolve(void)
{
    return loop_resolve_start(loop, &world.resolve, "localhost", "80",
                              &(struct loop_resolve_options){.flags = LOOP_RESOLVE_SYSTEM}, resolve_cb);
}

static int start_timer(void)
{
    return loop_timer_start(loop, &world.timer, 5 * LOOP_MILLISECOND, 5 * LOOP_MILLISECOND, timer_cb);
}

static int start_wall_timer(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return loop_timer_start_wall(loop, &world.wall, (uint64_t)now.tv_sec * LOOP_SECOND + (uint64_t)now.tv_nsec,
                                 5 * LOOP_MILLISECOND, timer_cb);
}

static int start_signal(void)
{
    return loop_signal_start(loop, &world.signal, SIGUSR1, 0, signal_cb);
}

static int start_child(void)
{
    static const char *const args[] = {"sleep", "1000", NULL};

    return loop_child_spawn(loop, &world.child, &(struct loop_child_options){.file = "sleep", .args = args}, child_cb);
}

static int start_async(void)
{
    return loop_async_open(loop, &world.async, NULL, async_cb);
}

static int start_poll(void)
{
    return loop_poll_start(loop, &world.poll, world.pairs[4][0], POLLIN, poll_cb);
}

static int start_hook(void)
{
    return loop_hook_start(loop, &world.hook, LOOP_HOOK_PREPARE, hook_cb);
}

static int start_watch(void)
{
    return loop_watch_start(loop, &world.watch, "watched", NULL, watch_cb);
}

static int start_path_watch(void)
{
    return loop_watch_start(loop, &world.path_watch, "watched/it",
                            &(struct loop_watch_options){.flags = LOOP_WATCH_PATH}, watch_cb);
}

static int start_tree_watch(void)
{
    return loop_watch_start(loop, &world.tree_watch, "watched", &(struct loop_watch_options){.flags = LOOP_WATCH_TREE},
                            watch_cb);
}

static int start_stat_watch(void)
{
    return loop_stat_watch_start(loop, &world.stat_watch, "watched/it",
                                 &(struct loop_stat_watch_options){.interval_ns = 5 * LOOP_MILLISECOND}, stat_cb);
}

static int start_file(void)
{
    return loop_file_open(loop, &world.file, AT_FDCWD, "source", O_RDONLY, 0, NULL, opened_cb);
}

static int start_reader(void)
{
    int fd = open("source", O_RDONLY | O_CLOEXEC), r = loop_file_adopt(loop, &world.read_file, fd, NULL);

    return r < 0 ? r : loop_reader_start(&world.read_file, &world.reader, NULL, reader_cb);
}

static int start_writer(void)
{
    int fd = open("written", O_WRONLY | O_CREAT | O_CLOEXEC, 0600), r = loop_writer_open(loop, &world.writer, fd, NULL);

    return r < 0 ? r : loop_writer_write(&world.writer, full, sizeof(full), 0, writer_cb, NULL, NULL);
}

static int start_replace(void)
{
    return loop_whole_replace(loop, &world.replace, AT_FDCWD, "replaced", full, 1000, NULL, replace_cb);
}

static int start_listing(void)
{
    return loop_listing_start(loop, &world.listing, AT_FDCWD, "watched", NULL, listing_cb, listing_end_cb);
}

static int start_walk(void)
{
    return loop_tree_walk_start(loop, &world.walk, AT_FDCWD, "watched", NULL, walk_cb, walk_end_cb);
}

static int start_copy(void)
{
    return loop_copy_start(loop, &world.copy, AT_FDCWD, "source", AT_FDCWD, "copied",
                           &(struct loop_copy_options){.flags = LOOP_COPY_REPLACE}, copy_cb);
}

static int32_t work_fn(void *arg)
{
    (void)arg;
    test_sleep(LOOP_MILLISECOND);
    return 0;
}

static void *number(enum id id)
{
    return (void *)(uintptr_t)id;
}

static int start_work(void)
{
    return loop_work(loop, LOOP_WORK_DEFAULT, work_fn, operation_cb, number(WORK), NULL) > 0 ? 0 : -1;
}

static int start_recv(void)
{
    return loop_recv_multishot(loop, world.pairs[5][0], LOOP_GROUP_DEFAULT, 0, operation_cb, number(RECV), NULL) > 0
               ? 0
               : -1;
}

static int start_poll_multishot(void)
{
    return loop_poll_add_multishot(loop, world.pairs[8][0], POLLIN, LOOP_POLL_LEVEL, operation_cb,
                                   number(POLL_MULTISHOT), NULL) > 0
               ? 0
               : -1;
}

static int start_timeout(void)
{
    return loop_timeout_multishot(loop, 5 * LOOP_MILLISECOND, 0, 0, operation_cb, number(TIMEOUT_MULTISHOT), NULL) > 0
               ? 0
               : -1;
}

static int start_accept(void)
{
    return loop_subscribe_accept(loop, &world.accept, world.listening, SOCK_CLOEXEC, step_cb, stop_cb, NULL);
}

static int start_subscription_recv(void)
{
    return loop_subscribe_recv(loop, &world.recv, world.pairs[6][0], LOOP_GROUP_DEFAULT, 0, step_cb, stop_cb, NULL);
}

static int start_recvmsg(void)
{
    return loop_subscribe_recvmsg(loop, &world.recvmsg, world.pairs[7][0], &world.message, LOOP_GROUP_DEFAULT, 0,
                                  step_cb, stop_cb, NULL);
}

static int start_read(void)
{
    return loop_subscribe_read(loop, &world.read, world.pipe[0], LOOP_GROUP_DEFAULT, step_cb, stop_cb, NULL);
}

static int start_polling(void)
{
    return loop_subscribe_poll(loop, &world.polling, world.pairs[9][0], POLLIN, 0, step_cb, stop_cb, NULL);
}

static int start_fanout(void)
{
    return loop_fanout_send(loop, &world.fanout, (int[]){world.pairs[10][0]}, 1, full, sizeof(full), NULL, fanout_cb);
}

static int start_sendfile(void)
{
    return loop_sendfile(loop, &world.transfer, world.pairs[11][0], world.source, 0, FULL, NULL, sendfile_cb);
}

/* ---- making them react */

static void write_to(int pair)
{
    ck_assert_int_eq(write(world.pairs[pair][1], "x", 1), 1);
}

static void drain(int pair)
{
    while (recv(world.pairs[pair][1], full, sizeof(full), MSG_DONTWAIT) > 0)
        ;
}

static void connect_to(const struct loop_address *address)
{
    test_close(test_tcp_connect(loop_address_port(address)));
}

static void poke_reading(void)
{
    write_to(0);
}

static void poke_writing(void)
{
    drain(1);
}

/* What comes from there ends, so that the forwarding does; in the parent it has already. */
static void poke_forward(void)
{
    shutdown(world.pairs[2][1], SHUT_WR);
}

static void poke_listener(void)
{
    connect_to(&world.listener_address);
}

static void poke_datagram(void)
{
    int                fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in to = test_localhost(loop_address_port(&world.datagram_address));

    ck_assert_int_eq(sendto(fd, "x", 1, 0, (struct sockaddr *)&to, sizeof(to)), 1);
    close(fd);
}

static void poke_signal(void)
{
    kill(getpid(), SIGUSR1);
}

static void poke_child(void)
{
    (void)loop_child_kill(&world.child, SIGKILL);
}

static void poke_async(void)
{
    ck_assert_int_eq(loop_async_send(&world.async), 0);
}

static void poke_poll(void)
{
    write_to(4);
}

static void poke_watches(void)
{
    char name[64];

    scratch_write("watched/it", full, 10 + ++world.files_made);
    snprintf(name, sizeof(name), "watched/%d.%u", (int)getpid(), world.files_made);
    scratch_write(name, "", 0);
}

static void poke_recv(void)
{
    write_to(5);
}

static void poke_poll_multishot(void)
{
    write_to(8);
}

static void poke_accept(void)
{
    connect_to(&world.listening_address);
}

static void poke_subscription_recv(void)
{
    write_to(6);
}

static void poke_recvmsg(void)
{
    write_to(7);
}

static void poke_read(void)
{
    ck_assert_int_eq(write(world.pipe[1], "x", 1), 1);
}

static void poke_polling(void)
{
    write_to(9);
}

static void poke_fanout(void)
{
    drain(10);
}

static void poke_sendfile(void)
{
    drain(11);
}

enum what { REACTS = 1, ENDS = 2, ENDS_AT_HOME = 4 /* not of itself in a child */ };

static const struct row {
    const char *name;
    unsigned    what;
    int (*start)(void);
    void (*poke)(void); /* again and again */
} rows[THINGS] = {
    [STREAM_READING] = {"stream that reads", REACTS, start_reading, poke_reading},
    [STREAM_WRITING] = {"stream that writes", ENDS, start_writing, poke_writing},
    [FORWARD] = {"forwarding", ENDS, start_forward, NULL},
    [LISTENER] = {"listener", REACTS, start_listener, poke_listener},
    [DATAGRAM] = {"datagram", REACTS, start_datagram, poke_datagram},
    [DIAL] = {"dial", ENDS, start_dial, NULL},
    [RESOLVE] = {"resolve", ENDS, start_resolve, NULL},
    [TIMER] = {"timer", REACTS, start_timer, NULL},
    [WALL_TIMER] = {"wall timer", REACTS, start_wall_timer, NULL},
    [SIGNAL] = {"signal", REACTS, start_signal, poke_signal},
    [CHILD] = {"child", ENDS_AT_HOME, start_child, NULL},
    [ASYNC] = {"async", REACTS, start_async, poke_async},
    [POLL] = {"poll", REACTS, start_poll, poke_poll},
    [HOOK] = {"hook", REACTS, start_hook, NULL},
    [WATCH] = {"watch", REACTS, start_watch, poke_watches},
    [PATH_WATCH] = {"path watch", REACTS, start_path_watch, NULL},
    [TREE_WATCH] = {"tree watch", REACTS, start_tree_watch, NULL},
    [STAT_WATCH] = {"stat watch", REACTS, start_stat_watch, NULL},
    [FILE_READ] = {"read of a file", ENDS, start_file, NULL},
    [READER] = {"reader", ENDS, start_reader, NULL},
    [WRITER] = {"writer", ENDS, start_writer, NULL},
    [REPLACE] = {"replace", ENDS, start_replace, NULL},
    [LISTING] = {"listing", ENDS, start_listing, NULL},
    [WALK] = {"walk", ENDS, start_walk, NULL},
    [COPY] = {"copy", ENDS, start_copy, NULL},
    [WORK] = {"work", ENDS, start_work, NULL},
    [RECV] = {"multishot receive", REACTS, start_recv, poke_recv},
    [POLL_MULTISHOT] = {"multishot poll", REACTS, start_poll_multishot, poke_poll_multishot},
    [TIMEOUT_MULTISHOT] = {"multishot timeout", REACTS, start_timeout, NULL},
    [SUBSCRIPTION_ACCEPT] = {"subscription: accept", REACTS, start_accept, poke_accept},
    [SUBSCRIPTION_RECV] = {"subscription: receive", REACTS, start_subscription_recv, poke_subscription_recv},
    [SUBSCRIPTION_RECVMSG] = {"subscription: messages", REACTS, start_recvmsg, poke_recvmsg},
    [SUBSCRIPTION_READ] = {"subscription: read", REACTS, start_read, poke_read},
    [SUBSCRIPTION_POLL] = {"subscription: poll", REACTS, start_polling, poke_polling},
    [FANOUT] = {"fan-out", ENDS, start_fanout, poke_fanout},
    [SENDFILE] = {"sendfile", ENDS, start_sendfile, poke_sendfile},
};

/* ---- the world */

static uint32_t fds_before;
static int      fd_last; /* those of the loop come behind */

static void open_world(void)
{
    struct sockaddr_in address;

    signal(SIGPIPE, SIG_IGN);
    memset(&world, 0, sizeof(world));
    scratch_make();
    ck_assert_int_eq(mkdir("watched", 0700), 0);
    scratch_write("watched/it", "", 0);
    scratch_write("source", full, sizeof(full));
    for (int i = 0; i < PAIRS; i++)
        test_socketpair(world.pairs[i]);
    test_pipe(world.pipe);
    world.source = open("source", O_RDONLY | O_CLOEXEC);
    world.listening = test_tcp_listener(&world.listening_port, 64);
    address = test_localhost(world.listening_port);
    world.listening_address = (struct loop_address){.size = sizeof(address)};
    memcpy(&world.listening_address.storage, &address, sizeof(address));
    fds_before = test_fd_count();
    fd_last = world.listening;
    loop = test_loop_new(&(struct loop_options){.sq_entries = 128, .buffer_count = 64, .buffer_size = 4096});
}

static void start(int i)
{
    if (world.started[i])
        return;
    ck_assert_msg(rows[i].start() == 0, "%s does not start", rows[i].name);
    world.started[i] = true;
}

static void start_all(void)
{
    for (int i = 0; i < THINGS; i++)
        start(i);
}

static void close_world(void)
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

/* Makes everything react, and waits for that. Returns NULL or who does not. */
static const char *all_react(bool child)
{
    uint32_t    before[THINGS];
    const char *missing = NULL;

    for (int i = 0; i < THINGS; i++)
        before[i] = world.things[i].events;
    poke_forward();
    if (!child && world.started[CHILD])
        poke_child();
    for (int round = 0; round < 2000; round++) {
        for (int i = 0; i < THINGS; i++)
            if (world.started[i] && rows[i].poke != NULL &&
                ((rows[i].what & REACTS) == 0 || world.things[i].events == before[i]) &&
                (round % 20 == 0 || (rows[i].what & ENDS) != 0))
                rows[i].poke();
        for (int i = 0; i < 4; i++)
            (void)loop_run(loop, LOOP_RUN_NOWAIT);
        missing = who_is_missing(before, child);
        if (missing == NULL)
            return NULL;
        usleep(1000);
    }
    return missing;
}

/* NULL, or the name of one that ended otherwise than it should. may_be: errors that are no fault. */
static const char *who_ended_badly(bool home)
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

static void check_home(bool home)
{
    const char *name = all_react(false);

    ck_assert_msg(name == NULL, "does not react, or end: %s", name);
    name = who_ended_badly(home);
    ck_assert_msg(name == NULL, "ended badly: %s", name);
    test_loop_drop(loop);
    if (home)
        ck_assert_uint_eq(test_fd_count() + world.fds_taken, fds_before);
    else
        for (int fd = fd_last + 1; fd < fd_last + 64; fd++)
            close(fd);
    close_world();
}

/* Descriptors are not counted here: what threads of the pool had open just then stays; and so do the few blocks that
 * scans of trees had on the heap there and not linked yet. */
enum { BLOCKS_OF_THREADS = 2 };

static void destroy_in_child(void)
{
    TEST_TRUE_IN_CHILD(loop_destroy(loop) == 0);
    TEST_TRUE_IN_CHILD(test_memory.blocks <= BLOCKS_OF_THREADS);
}

static void live_in_child(void *arg)
{
    const char *name;

    (void)arg;
    TEST_TRUE_IN_CHILD(loop_fork(loop) == 0);
    name = all_react(true);
    if (name != NULL)
        fprintf(stderr, "in the child: does not react, or end: %s\n", name);
    TEST_TRUE_IN_CHILD(name == NULL);
    TEST_TRUE_IN_CHILD(who_ended_badly(false) == NULL);
    destroy_in_child();
}

static void fork_and_destroy(void *arg)
{
    (void)arg;
    TEST_TRUE_IN_CHILD(loop_fork(loop) == 0);
    destroy_in_child();
}

/* How far it has come by the fork. */
static void get_going(int turns)
{
    start_all();
    test_turns(loop, (uint32_t)turns);
}

enum { TURNS_MAX = 4 };

/* Goal: everything goes on in a child, or ends as documented; nothing is left there; the parent goes on unharmed. */
START_TEST(in_a_child)
{
    TEST_FORKS_WITH_THREADS;
    open_world();
    get_going(_i);
    test_in_child(live_in_child, NULL);
    check_home(true);
}
END_TEST

/* Goal: a child that ends the loop at once leaves nothing. */
START_TEST(destroyed_in_a_child)
{
    TEST_FORKS_WITH_THREADS;
    open_world();
    get_going(_i);
    test_in_child(fork_and_destroy, NULL);
    check_home(true);
}
END_TEST

static void destroy_alone(void *arg)
{
    (void)arg;
    TEST_TRUE_IN_CHILD(loop_destroy(loop) == 0);
    TEST_TRUE_IN_CHILD(test_fd_count() + world.fds_taken == fds_before);
    for (int i = 0; i < THINGS; i++)
        TEST_TRUE_IN_CHILD(world.things[i].ends == 0);
}

static void fork_and_destroy_few(void *arg)
{
    (void)arg;
    TEST_TRUE_IN_CHILD(loop_fork(loop) == 0 && loop_destroy(loop) == 0);
    TEST_TRUE_IN_CHILD(test_fd_count() + world.fds_taken == fds_before);
    TEST_TRUE_IN_CHILD(test_memory.blocks == 0);
}

/* Goal: without loop_fork() it closes its copies of all descriptors and calls nobody back, with it nothing at all is
 * left, and the parent notices nothing. Method: those that have descriptors of their own, but for what threads of the
 * pool have open just now. */
START_TEST(let_go_in_a_child)
{
    TEST_FORKS_WITH_THREADS;
    static const enum id ids[] = {STREAM_READING, STREAM_WRITING, FORWARD,    LISTENER, DATAGRAM,         SIGNAL,
                                  CHILD,          ASYNC,          POLL,       WATCH,    PATH_WATCH,       STAT_WATCH,
                                  RECV,           SENDFILE,       WALL_TIMER, HOOK,     SUBSCRIPTION_RECV};

    open_world();
    for (size_t i = 0; i < TEST_COUNT(ids); i++)
        start((int)ids[i]);
    ck_assert_int_eq(loop_file_adopt(loop, &world.file, dup(world.source), NULL), 0);
    ck_assert_int_eq(loop_writer_open(loop, &world.writer, open("written", O_WRONLY | O_CREAT | O_CLOEXEC, 0600), NULL),
                     0);
    test_turns(loop, (uint32_t)_i);
    test_in_child(destroy_alone, NULL);
    test_in_child(fork_and_destroy_few, NULL);
    for (size_t i = 0; i < TEST_COUNT(ids); i++)
        ck_assert_uint_eq(world.things[ids[i]].ends, 0);
    write_to(0);
    test_run_until(loop, &world.things[STREAM_READING].events, 1);
    poke_listener();
    test_run_until(loop, &world.things[LISTENER].events, 1);
    test_loop_drop(loop);
    ck_assert_uint_eq(test_fd_count() + world.fds_taken, fds_before);
    close_world();
}
END_TEST

/* ---- threads */

static void *turns_then_disown(void *arg)
{
    int r = -EBUSY;

    for (int i = 0; i < *(int *)arg; i++)
        (void)loop_run(loop, LOOP_RUN_NOWAIT);
    for (int i = 0; i < 100 && r == -EBUSY; i++)
        r = loop_disown(loop);
    if (r != 0)
        abort();
    return NULL;
}

static void *turns_only(void *arg)
{
    for (int i = 0; i < *(int *)arg; i++)
        (void)loop_run(loop, LOOP_RUN_NOWAIT);
    return NULL;
}

static void on_thread(void *(*run)(void *arg), int turns)
{
    pthread_t thread;

    ck_assert_int_eq(pthread_create(&thread, NULL, run, &turns), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
}

/* Goal: nothing is lost on the way to another thread. */
START_TEST(disowned)
{
    open_world();
    start_all();
    on_thread(turns_then_disown, _i);
    check_home(true);
}
END_TEST

/* Goal: after a thread that has ended all goes on, or has ended as in a child. What the kernel had opened for it, and
 * not told yet, stays open. */
START_TEST(orphaned)
{
    open_world();
    start_all();
    on_thread(turns_only, _i);
    ck_assert_int_eq(loop_rehome(loop), 0);
    check_home(false);
}
END_TEST

/* ---- at random */

enum { STEPS = 8, SEEDS = 6 };

static void disown_here(void)
{
    int r = -EBUSY;

    for (int i = 0; i < 100 && r == -EBUSY; i++)
        r = loop_disown(loop);
    ck_assert_int_eq(r, 0);
}

/* Goal: the same whatever there is, and whenever the loop forks and moves. Method: a seed, TEST_SEED or the number of
 * the test, says what is done. */
START_TEST(at_random)
{
    TEST_FORKS_WITH_THREADS;
    uint64_t seed = test_env("TEST_SEED", (uint64_t)_i + 1);

    open_world();
    for (int step = 0; step < STEPS; step++) {
        for (int i = 0; i < 6; i++)
            start((int)(test_random(&seed) % THINGS));
        test_turns(loop, (uint32_t)(test_random(&seed) % 4));
        switch (test_random(&seed) % 4) {
        case 0: test_in_child(live_in_child, NULL); break;
        case 1: test_in_child(fork_and_destroy, NULL); break;
        case 2: disown_here(); break;
        default:
            disown_here();
            on_thread(turns_then_disown, (int)(test_random(&seed) % 3));
            break;
        }
    }
    check_home(true);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("rehome_all");
    TCase *tc = test_case(suite, "rehome_all");

    tcase_add_loop_test(tc, in_a_child, 0, TURNS_MAX);
    tcase_add_loop_test(tc, destroyed_in_a_child, 0, TURNS_MAX);
    tcase_add_loop_test(tc, let_go_in_a_child, 0, TURNS_MAX);
    tcase_add_loop_test(tc, disowned, 1, TURNS_MAX);
    tcase_add_loop_test(tc, orphaned, 1, TURNS_MAX);
    tcase_add_loop_test(tc, at_random, 0, SEEDS);
    return suite;
}
