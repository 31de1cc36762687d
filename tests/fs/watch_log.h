/* tests/fs/watch_log.h: a watch that notes what it is told, as text: "created a", "renamed a>b", "created d/" for a
 * directory, "failed d 28", each followed by a semicolon. */
#ifndef RINGLOOP_TESTS_FS_WATCH_LOG_H
#define RINGLOOP_TESTS_FS_WATCH_LOG_H

#include "tests/fs/scratch.h"

struct watch_log {
    struct loop_watch watch;
    struct loop      *loop;
    uint32_t          events, closes, by_kind[32];
    bool              close_inside; /* at the next event */
    size_t            length;
    char              text[65536];
};

loop_watch_cb       watch_log_cb;
loop_watch_close_cb watch_log_close_cb;

/* Starts it; options may be NULL. Returns what loop_watch_start() did. */
int               watch_log_start(struct watch_log *log, struct loop *loop, const char *path,
                                  const struct loop_watch_options *options);
/* A new one that must start. */
struct watch_log *watch_log_open(struct loop *loop, const char *path, uint32_t events, uint32_t flags);
/* Closes it, waits until that is over, and frees it. */
void              watch_log_close(struct watch_log *log);

/* Runs until it has been told so much, and for some turns more; fails unless it was exactly this. Forgets it then. */
void     watch_log_expect(struct watch_log *log, const char *text);
/* Runs until so many events of the kind have come. */
void     watch_log_wait(struct watch_log *log, uint32_t kind, uint32_t count);
uint32_t watch_log_count(const struct watch_log *log, uint32_t kind);
/* Runs turns for a while. */
void     watch_settle(struct loop *loop);

/* Limits what this process may have by "max_inotify_instances", "max_inotify_watches", in a user namespace of its own,
 * so that nobody else notices. Before any thread is started. false, and the test is skipped, where that is not allowed.
 */
bool watch_limit(const char *name, unsigned value);
void watch_limit_set(const char *name, unsigned value); /* another one */

/* Plain calls that must do what they are asked. */
void make_file(const char *path);
void make_directory(const char *path);
void move(const char *from, const char *to);
void delete_file(const char *path);
void delete_directory(const char *path);

#endif
