/* loop/quota.h: how much of the processors the control groups of this process allow it: cgroups(7). */
#ifndef RINGLOOP_LOOP_QUOTA_H
#define RINGLOOP_LOOP_QUOTA_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { QUOTA_NONE = 0 };

/* The directory of a group, under /sys/fs/cgroup. */
struct quota_group {
    size_t top; /* so many characters are the directory of the hierarchy's root: there is nothing to read above */
    char   path[PATH_MAX];
};

/* The group that the processors' time of a process is counted in, of version 1 (legacy) or 2 of control groups; text:
 * its /proc/PID/cgroup. false: there is none. */
bool quota_group_of(const char *text, bool legacy, struct quota_group *ret_group);

/* A quota and its period as the kernel writes them, as processors, rounded up; QUOTA_NONE for "max", -1, and what makes
 * no sense. */
uint32_t quota_of(const char *quota, const char *period);

/* The least of the process's own groups and those above them; QUOTA_NONE if none has one, or it can't be read. */
uint32_t quota_processors(void);

#endif
