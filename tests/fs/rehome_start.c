/* tests/fs/rehome_start.c: how each thing is started, and what it tells. */
#include "tests/fs/rehome_world.h"

#include <poll.h>
#include <signal.h>
#include <time.h>

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

static enum loop_tree_walk_answer walk_cb(struct loop_tree_walk *walk, const struct loop_visit *visit)
{
    (void)walk;
    (void)visit;
    return LOOP_TREE_WALK_GO_ON;
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
    int r = loop_stream_open(world_loop, stream, *fd, NULL);

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

    return r < 0 ? r : loop_stream_write(&world.writing, world_full, sizeof(world_full), written_cb, NULL, NULL);
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
        r = loop_listener_start(world_loop, &world.listener, &local, NULL, accepted_cb);
    return r < 0 ? r : loop_listener_address(&world.listener, &world.listener_address);
}

static int start_datagram(void)
{
    struct loop_address local;
    int                 r = loop_address_parse(&local, "127.0.0.1", 0);

    if (r == 0)
        r = loop_datagram_open(world_loop, &world.datagram, &local, NULL);
    if (r == 0)
        r = loop_datagram_local_address(&world.datagram, &world.datagram_address);
    return r < 0 ? r : loop_datagram_receive_start(&world.datagram, datagram_cb);
}

static int start_dial(void)
{
    return loop_dial_start(world_loop, &world.dial, &world.listening_address, 1, NULL, dial_cb);
}

static int start_resolve(void)
{
    return loop_resolve_start(world_loop, &world.resolve, "localhost", "80",
                              &(struct loop_resolve_options){.flags = LOOP_RESOLVE_SYSTEM}, resolve_cb);
}

static int start_timer(void)
{
    return loop_timer_start(world_loop, &world.timer, 5 * LOOP_MILLISECOND, 5 * LOOP_MILLISECOND, timer_cb);
}

static int start_wall_timer(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return loop_timer_start_wall(world_loop, &world.wall, (uint64_t)now.tv_sec * LOOP_SECOND + (uint64_t)now.tv_nsec,
                                 5 * LOOP_MILLISECOND, timer_cb);
}

static int start_signal(void)
{
    return loop_signal_start(world_loop, &world.signal, SIGUSR1, 0, signal_cb);
}

static int start_child(void)
{
    static const char *const args[] = {"sleep", "1000", NULL};

    return loop_child_spawn(world_loop, &world.child, &(struct loop_child_options){.file = "sleep", .args = args},
                            child_cb);
}

static int start_async(void)
{
    return loop_async_open(world_loop, &world.async, NULL, async_cb);
}

static int start_poll(void)
{
    return loop_poll_start(world_loop, &world.poll, world.pairs[4][0], POLLIN, poll_cb);
}

static int start_hook(void)
{
    return loop_hook_start(world_loop, &world.hook, LOOP_HOOK_PREPARE, hook_cb);
}

static int start_watch(void)
{
    return loop_watch_start(world_loop, &world.watch, "watched", NULL, watch_cb);
}

static int start_path_watch(void)
{
    return loop_watch_start(world_loop, &world.path_watch, "watched/it",
                            &(struct loop_watch_options){.flags = LOOP_WATCH_PATH}, watch_cb);
}

static int start_tree_watch(void)
{
    return loop_watch_start(world_loop, &world.tree_watch, "watched",
                            &(struct loop_watch_options){.flags = LOOP_WATCH_TREE}, watch_cb);
}

static int start_stat_watch(void)
{
    return loop_stat_watch_start(world_loop, &world.stat_watch, "watched/it",
                                 &(struct loop_stat_watch_options){.interval_ns = 5 * LOOP_MILLISECOND}, stat_cb);
}

static int start_file(void)
{
    return loop_file_open(world_loop, &world.file, AT_FDCWD, "source", O_RDONLY, 0, NULL, opened_cb);
}

static int start_reader(void)
{
    int fd = open("source", O_RDONLY | O_CLOEXEC), r = loop_file_adopt(world_loop, &world.read_file, fd, NULL);

    return r < 0 ? r : loop_reader_start(&world.read_file, &world.reader, NULL, reader_cb);
}

static int start_writer(void)
{
    int fd = open("written", O_WRONLY | O_CREAT | O_CLOEXEC, 0600),
        r = loop_writer_open(world_loop, &world.writer, fd, NULL);

    return r < 0 ? r : loop_writer_write(&world.writer, world_full, sizeof(world_full), 0, writer_cb, NULL, NULL);
}

static int start_replace(void)
{
    return loop_whole_replace(world_loop, &world.replace, AT_FDCWD, "replaced", world_full, 1000, NULL, replace_cb);
}

static int start_listing(void)
{
    return loop_listing_start(world_loop, &world.listing, AT_FDCWD, "watched", NULL, listing_cb, listing_end_cb);
}

static int start_walk(void)
{
    return loop_tree_walk_start(world_loop, &world.walk, AT_FDCWD, "watched", NULL, walk_cb, walk_end_cb);
}

static int start_copy(void)
{
    return loop_copy_start(world_loop, &world.copy, AT_FDCWD, "source", AT_FDCWD, "copied",
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
    return loop_work(world_loop, LOOP_WORK_DEFAULT, work_fn, operation_cb, number(WORK), NULL) > 0 ? 0 : -1;
}

static int start_recv(void)
{
    return loop_recv_multishot(world_loop, world.pairs[5][0], LOOP_GROUP_DEFAULT, 0, operation_cb, number(RECV), NULL) >
                   0
               ? 0
               : -1;
}

static int start_poll_multishot(void)
{
    return loop_poll_add_multishot(world_loop, world.pairs[8][0], POLLIN, LOOP_POLL_LEVEL, operation_cb,
                                   number(POLL_MULTISHOT), NULL) > 0
               ? 0
               : -1;
}

static int start_timeout(void)
{
    return loop_timeout_multishot(world_loop, 5 * LOOP_MILLISECOND, 0, 0, operation_cb, number(TIMEOUT_MULTISHOT),
                                  NULL) > 0
               ? 0
               : -1;
}

static int start_accept(void)
{
    return loop_subscribe_accept(world_loop, &world.accept, world.listening, SOCK_CLOEXEC, step_cb, stop_cb, NULL);
}

static int start_subscription_recv(void)
{
    return loop_subscribe_recv(world_loop, &world.recv, world.pairs[6][0], LOOP_GROUP_DEFAULT, 0, step_cb, stop_cb,
                               NULL);
}

static int start_recvmsg(void)
{
    return loop_subscribe_recvmsg(world_loop, &world.recvmsg, world.pairs[7][0], &world.message, LOOP_GROUP_DEFAULT, 0,
                                  step_cb, stop_cb, NULL);
}

static int start_read(void)
{
    return loop_subscribe_read(world_loop, &world.read, world.pipe[0], LOOP_GROUP_DEFAULT, step_cb, stop_cb, NULL);
}

static int start_polling(void)
{
    return loop_subscribe_poll(world_loop, &world.polling, world.pairs[9][0], POLLIN, 0, step_cb, stop_cb, NULL);
}

static int start_fanout(void)
{
    return loop_fanout_send(world_loop, &world.fanout, (int[]){world.pairs[10][0]}, 1, world_full, sizeof(world_full),
                            NULL, fanout_cb);
}

static int start_sendfile(void)
{
    return loop_sendfile(world_loop, &world.transfer, world.pairs[11][0], world.source, 0, FULL, NULL, sendfile_cb);
}

int (*const world_starts[THINGS])(void) = {
    [STREAM_READING] = start_reading,
    [STREAM_WRITING] = start_writing,
    [FORWARD] = start_forward,
    [LISTENER] = start_listener,
    [DATAGRAM] = start_datagram,
    [DIAL] = start_dial,
    [RESOLVE] = start_resolve,
    [TIMER] = start_timer,
    [WALL_TIMER] = start_wall_timer,
    [SIGNAL] = start_signal,
    [CHILD] = start_child,
    [ASYNC] = start_async,
    [POLL] = start_poll,
    [HOOK] = start_hook,
    [WATCH] = start_watch,
    [PATH_WATCH] = start_path_watch,
    [TREE_WATCH] = start_tree_watch,
    [STAT_WATCH] = start_stat_watch,
    [FILE_READ] = start_file,
    [READER] = start_reader,
    [WRITER] = start_writer,
    [REPLACE] = start_replace,
    [LISTING] = start_listing,
    [WALK] = start_walk,
    [COPY] = start_copy,
    [WORK] = start_work,
    [RECV] = start_recv,
    [POLL_MULTISHOT] = start_poll_multishot,
    [TIMEOUT_MULTISHOT] = start_timeout,
    [SUBSCRIPTION_ACCEPT] = start_accept,
    [SUBSCRIPTION_RECV] = start_subscription_recv,
    [SUBSCRIPTION_RECVMSG] = start_recvmsg,
    [SUBSCRIPTION_READ] = start_read,
    [SUBSCRIPTION_POLL] = start_polling,
    [FANOUT] = start_fanout,
    [SENDFILE] = start_sendfile,
};
