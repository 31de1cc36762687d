/* tests/fs/walk_kinds_test.c: what loop_walk() tells of objects other than those of net/, whose test is walk_test. */
#include "tests/fs/scratch.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* One of each kind, all of them waiting for something, or idle. */
struct zoo {
    struct loop           *loop;
    struct loop_async      async;
    struct loop_signal     signal;
    struct loop_poll       poll;
    struct loop_child      child;
    struct loop_watch      watch;
    struct loop_stat_watch stat_watch;
    struct loop_file       file;
    struct loop_writer     writer;
    struct loop_listing    listing;
    struct loop_tree_walk  tree_walk;
    struct loop_copy       copy;
    int                    pipe[2];
    uint32_t               ends;
};

static struct zoo *zoo_of(struct loop *loop)
{
    return loop_data(loop);
}

static void async_told(struct loop_async *async)
{
    (void)async;
}

static void signal_told(struct loop_signal *signal, const struct loop_signal_info *info)
{
    (void)signal, (void)info;
}

static void poll_told(struct loop_poll *poll, int events)
{
    (void)poll, (void)events;
}

static void child_ended(struct loop_child *child, const struct loop_child_exit *exit)
{
    (void)exit;
    zoo_of(loop_child_loop(child))->ends++;
}

static void watch_told(struct loop_watch *watch, const struct loop_watch_event *event)
{
    (void)watch, (void)event;
}

static void stat_told(struct loop_stat_watch *watch, int error, const struct statx *previous,
                      const struct statx *present)
{
    (void)watch, (void)error, (void)previous, (void)present;
}

static void listed(struct loop_listing *listing, const struct loop_entry *entries, size_t count)
{
    (void)listing, (void)entries, (void)count;
}

static void listing_ended(struct loop_listing *listing, int error)
{
    (void)error;
    zoo_of(loop_listing_loop(listing))->ends++;
}

static enum loop_tree_walk_answer visited(struct loop_tree_walk *walk, const struct loop_visit *visit)
{
    (void)walk, (void)visit;
    return LOOP_TREE_WALK_GO_ON;
}

static void walk_ended(struct loop_tree_walk *walk, int error)
{
    (void)error;
    zoo_of(loop_tree_walk_loop(walk))->ends++;
}

static void copied(struct loop_copy *copy, int error, uint64_t bytes)
{
    (void)error, (void)bytes;
    zoo_of(loop_copy_loop(copy))->ends++;
}

/* Paused jobs stay as they are for as long as the test looks. */
static void fill(struct zoo *zoo)
{
    static const char *const               args[] = {"sleep", "60", NULL};
    static const struct loop_child_options child = {.file = "sleep", .args = args, .death_signal = SIGKILL};
    static const struct loop_watch_options unref = {.flags = LOOP_WATCH_UNREF};
    int                                    fd;

    *zoo = (struct zoo){.loop = test_loop_new(NULL)};
    loop_data_set(zoo->loop, zoo);
    ck_assert_int_eq(pipe2(zoo->pipe, O_CLOEXEC), 0);
    ck_assert_int_eq(loop_async_open(zoo->loop, &zoo->async, NULL, async_told), 0);
    loop_signal_unref(&zoo->signal);
    ck_assert_int_eq(loop_signal_start(zoo->loop, &zoo->signal, SIGUSR1, 0, signal_told), 0);
    loop_poll_unref(&zoo->poll);
    ck_assert_int_eq(loop_poll_start(zoo->loop, &zoo->poll, zoo->pipe[0], POLLIN, poll_told), 0);
    ck_assert_int_eq(loop_child_spawn(zoo->loop, &zoo->child, &child, child_ended), 0);
    ck_assert_int_eq(loop_watch_start(zoo->loop, &zoo->watch, ".", &unref, watch_told), 0);
    ck_assert_int_eq(loop_stat_watch_start(zoo->loop, &zoo->stat_watch, ".", NULL, stat_told), 0);
    fd = open("file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(loop_file_adopt(zoo->loop, &zoo->file, fd, NULL), 0);
    fd = open("file", O_RDWR | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(
        loop_writer_open(zoo->loop, &zoo->writer, fd, &(struct loop_writer_options){.flags = LOOP_WRITER_UNREF}), 0);
    ck_assert_int_eq(loop_listing_start(zoo->loop, &zoo->listing, AT_FDCWD, ".", NULL, listed, listing_ended), 0);
    ck_assert_int_eq(loop_listing_pause(&zoo->listing), 0);
    ck_assert_int_eq(loop_tree_walk_start(zoo->loop, &zoo->tree_walk, AT_FDCWD, ".", NULL, visited, walk_ended), 0);
    ck_assert_int_eq(loop_tree_walk_pause(&zoo->tree_walk), 0);
    ck_assert_int_eq(loop_copy_start(zoo->loop, &zoo->copy, AT_FDCWD, "file", AT_FDCWD, "copy", NULL, copied), 0);
}

struct seen {
    const char *kind;
    const void *object;
    int         fd; /* -1: none */
    bool        active, closing, ref;
    uint32_t    count;
};

static void look(struct loop *loop, const struct loop_walk_item *item, void *arg)
{
    struct seen *seen = arg;

    (void)loop;
    for (; seen->kind != NULL; seen++)
        if (seen->object == item->object) {
            ck_assert_str_eq(item->kind, seen->kind);
            ck_assert_msg(item->active == seen->active && item->closing == seen->closing && item->ref == seen->ref &&
                              item->fd == seen->fd,
                          "%s: active %d closing %d ref %d fd %d", item->kind, item->active, item->closing, item->ref,
                          item->fd);
            seen->count++;
            return;
        }
    ck_abort_msg("a %s that is none of the user's", item->kind);
}

static void close_one(struct loop *loop, const struct loop_walk_item *item, void *arg)
{
    (void)loop, (void)arg;
    loop_walk_close(item);
}

/* Goal: each is told by its public structure, with its state as its own functions tell it, and nothing of the
 * library's own, such as what waits for a child's end; one walk closes them all. Method: one of each kind, some without
 * a ref; then closed by a walk, and looked at before the close callbacks come. */
START_TEST(all_are_seen)
{
    struct zoo  zoo;
    struct seen seen[] = {
        {"async", &zoo.async, -1, true, false, true, 0},      {"signal", &zoo.signal, -1, true, false, false, 0},
        {"poll", &zoo.poll, -1, true, false, false, 0},       {"child", &zoo.child, -1, true, false, true, 0},
        {"watch", &zoo.watch, -1, true, false, false, 0},     {"stat watch", &zoo.stat_watch, -1, true, false, true, 0},
        {"file", &zoo.file, -1, false, false, false, 0},      {"writer", &zoo.writer, -1, false, false, false, 0},
        {"listing", &zoo.listing, -1, false, false, true, 0}, {"walk", &zoo.tree_walk, -1, false, false, true, 0},
        {"copy", &zoo.copy, -1, true, false, true, 0},        {0},
    };

    fill(&zoo);
    seen[2].fd = zoo.pipe[0];
    seen[3].fd = loop_child_pidfd(&zoo.child);
    seen[6].fd = loop_file_fd(&zoo.file);
    seen[7].fd = loop_writer_fd(&zoo.writer);
    ck_assert_int_eq(loop_walk(zoo.loop, look, seen), 0);
    for (size_t i = 0; seen[i].kind != NULL; i++)
        ck_assert_msg(seen[i].count == 1, "the %s was told %u times", seen[i].kind, seen[i].count);
    loop_watch_ref(&zoo.watch);
    loop_stat_watch_unref(&zoo.stat_watch);
    loop_writer_ref(&zoo.writer);
    seen[4].ref = seen[7].ref = true;
    seen[5].ref = false;
    ck_assert_int_eq(loop_walk(zoo.loop, look, seen), 0);
    ck_assert_int_eq(loop_child_kill(&zoo.child, SIGKILL), 0);
    ck_assert_int_eq(loop_walk(zoo.loop, close_one, NULL), 0);
    for (size_t i = 0; seen[i].kind != NULL; i++)
        seen[i].closing = seen[i].ref = true;
    seen[0].active = seen[2].active = seen[2].ref = seen[3].active = seen[4].active = seen[5].active = false;
    seen[6].active = true; /* it closes, which is an operation */
    seen[3].fd = -1;
    ck_assert_int_eq(loop_walk(zoo.loop, look, seen), 0);
    ck_assert_uint_eq(seen[1].count, 2); /* stopped: there is no close callback to come */
    ck_assert_int_eq(loop_run(zoo.loop, LOOP_RUN_DEFAULT), 0);
    ck_assert_uint_eq(zoo.ends, 4);
    test_loop_drop(zoo.loop);
    close(zoo.pipe[0]);
    close(zoo.pipe[1]);
}
END_TEST

Suite *test_suite(void)
{
    Suite *suite = suite_create("fs/walk_kinds");
    TCase *kinds = test_case(suite, "kinds");

    tcase_add_checked_fixture(kinds, scratch_make, scratch_remove);
    tcase_add_test(kinds, all_are_seen);
    return suite;
}
