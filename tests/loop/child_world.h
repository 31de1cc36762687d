/* tests/loop/child_world.h: what tests of children share: shell scripts as children, and what was told of them. */
#ifndef RINGLOOP_TESTS_LOOP_CHILD_WORLD_H
#define RINGLOOP_TESTS_LOOP_CHILD_WORLD_H

#include "tests/support/test.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* A child, and how it ended. */
struct told {
    struct loop_child      child;
    uint32_t               calls;
    struct loop_child_exit exit;
    struct rusage          usage; /* a copy; exit.usage is NULL */
    bool                   has_usage;
};

/* Notes it; child.data points to the struct told, or is NULL. */
loop_child_cb told_cb;

/* Runs a script with /bin/sh; without one the program of the options, which otherwise may be NULL. */
int told_try(struct loop *loop, struct told *told, const char *script, const struct loop_child_options *options);

/* The same, which must work. */
void told_spawn(struct loop *loop, struct told *told, const char *script, const struct loop_child_options *options);

/* It was told once, and this. */
void told_exited(const struct told *told, int status);
void told_killed(const struct told *told, int signum);
void told_error(const struct told *told, int error);

/* All of what comes until the end, as text; closes fd. */
const char *read_to_end(int fd);

/* What the script writes to its standard output; it must end with status 0. */
const char *output_of(struct loop *loop, const char *script, const struct loop_child_options *options);

/* This process has no child, alive or dead. */
void no_children(void);

/* Waits until the process is a zombie, or gone. */
void wait_until_dead(pid_t pid);

#endif
