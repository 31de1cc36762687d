/* tests/fs/watch_log.c: a watch that notes what it is told. */
#include "tests/fs/watch_log.h"

#include <sched.h>
#include <sys/stat.h>

enum { PATIENCE = 10000 }; /* turns, a millisecond each */

static const char *const names[] = {
    "created",   "deleted",    "modified",     "attributes",  "written",  "renamed", "moved-in",
    "moved-out", "self-moved", "appeared",     "disappeared", "replaced", NULL,      NULL,
    NULL,        NULL,         "self-deleted", "unmounted",   "overflow", "ready",   "failed",
};

static unsigned index_of(uint32_t kind)
{
    unsigned index = (unsigned)__builtin_ctz(kind);

    ck_assert_uint_eq(kind, 1u << index);
    ck_assert_uint_lt(index, TEST_COUNT(names));
    ck_assert_ptr_nonnull(names[index]);
    return index;
}

void watch_log_cb(struct loop_watch *watch, const struct loop_watch_event *event)
{
    struct watch_log *log = watch->data;
    unsigned          index = index_of(event->kind);
    char             *at = log->text + log->length;
    size_t            room = sizeof(log->text) - log->length;
    int               length;

    ck_assert_uint_eq(log->closes, 0);
    ck_assert(!loop_watch_closing(watch));
    ck_assert_int_eq(event->error < 0, event->kind == LOOP_WATCH_FAILED);
    ck_assert_int_eq(event->from != NULL, event->kind == LOOP_WATCH_RENAMED);
    log->events++;
    log->by_kind[index]++;
    if (event->error < 0)
        length = snprintf(at, room, "%s %s %d;", names[index], event->path, -event->error);
    else if (event->from != NULL)
        length = snprintf(at, room, "%s %s>%s%s;", names[index], event->from, event->path, event->directory ? "/" : "");
    else
        length = snprintf(at, room, "%s%s%s%s;", names[index], event->path[0] != '\0' ? " " : "", event->path,
                          event->directory ? "/" : "");
    if ((size_t)length < room)
        log->length += (size_t)length;
    if (log->close_inside)
        loop_watch_close(watch, watch_log_close_cb);
}

void watch_log_close_cb(struct loop_watch *watch)
{
    struct watch_log *log = watch->data;

    ck_assert_ptr_null(loop_watch_loop(watch));
    log->closes++;
}

int watch_log_start(struct watch_log *log, struct loop *loop, const char *path,
                    const struct loop_watch_options *options)
{
    log->loop = loop;
    log->watch.data = log;
    return loop_watch_start(loop, &log->watch, path, options, watch_log_cb);
}

struct watch_log *watch_log_open(struct loop *loop, const char *path, uint32_t events, uint32_t flags)
{
    struct loop_watch_options options = {.events = events, .flags = flags};
    struct watch_log         *log = calloc(1, sizeof(*log));

    ck_assert_ptr_nonnull(log);
    ck_assert_int_eq(watch_log_start(log, loop, path, &options), 0);
    return log;
}

static void one_turn(struct loop *loop)
{
    ck_assert_int_ge(loop_run(loop, LOOP_RUN_NOWAIT), 0);
    test_sleep(LOOP_MILLISECOND);
}

void watch_log_close(struct watch_log *log)
{
    loop_watch_close(&log->watch, watch_log_close_cb);
    for (int i = 0; i < PATIENCE && log->closes == 0; i++)
        one_turn(log->loop);
    ck_assert_uint_eq(log->closes, 1);
    free(log);
}

void watch_settle(struct loop *loop)
{
    for (int i = 0; i < 20; i++)
        one_turn(loop);
}

void watch_log_expect(struct watch_log *log, const char *text)
{
    for (int i = 0; i < PATIENCE && log->length < strlen(text); i++)
        one_turn(log->loop);
    watch_settle(log->loop);
    log->text[log->length] = '\0';
    ck_assert_str_eq(log->text, text);
    log->length = 0;
}

uint32_t watch_log_count(const struct watch_log *log, uint32_t kind)
{
    return log->by_kind[index_of(kind)];
}

void watch_log_wait(struct watch_log *log, uint32_t kind, uint32_t count)
{
    for (int i = 0; i < PATIENCE && watch_log_count(log, kind) < count; i++)
        one_turn(log->loop);
    ck_assert_uint_ge(watch_log_count(log, kind), count);
}

static bool write_limit(const char *name, unsigned value)
{
    char  path[128];
    FILE *file;
    bool  written;

    (void)snprintf(path, sizeof(path), "/proc/sys/user/%s", name);
    file = fopen(path, "we");
    if (file == NULL)
        return false;
    written = fprintf(file, "%u\n", value) > 0;
    return fclose(file) == 0 && written;
}

bool watch_limit(const char *name, unsigned value)
{
    if (unshare(CLONE_NEWUSER) == 0 && write_limit(name, value))
        return true;
    test_skip("user namespaces are not allowed");
    return false;
}

void watch_limit_set(const char *name, unsigned value)
{
    ck_assert(write_limit(name, value));
}

void make_file(const char *path)
{
    scratch_write(path, "x", 1);
}

void make_directory(const char *path)
{
    ck_assert_int_eq(mkdir(path, 0755), 0);
}

void move(const char *from, const char *to)
{
    ck_assert_int_eq(rename(from, to), 0);
}

void delete_file(const char *path)
{
    ck_assert_int_eq(unlink(path), 0);
}

void delete_directory(const char *path)
{
    ck_assert_int_eq(rmdir(path), 0);
}
