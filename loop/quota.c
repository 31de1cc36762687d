/* loop/quota.c: how much of the processors the control groups of this process allow it.
 *
 * Where the hierarchies are mounted is taken for granted: /sys/fs/cgroup, as everywhere. A container may see there its
 * own group as the root, while /proc/self/cgroup names it by its path on the host; then only the root is found on the
 * way up, which is the right one. */
#include "loop/quota.h"

#include "loop/base.h"
#include "loop/seam_process.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char mounted_at[] = "/sys/fs/cgroup";

/* ---- where */

/* Whether "cpu" is among the words between commas. */
static bool names_cpu(const char *controllers, size_t size)
{
    for (size_t at = 0, end; at < size; at = end + 1) {
        const char *comma = memchr(controllers + at, ',', size - at);

        end = comma == NULL ? size : (size_t)(comma - controllers);
        if (end - at == 3 && memcmp(controllers + at, "cpu", 3) == 0)
            return true;
    }
    return false;
}

/* A line: number, controllers, path, with colons between them; of version 2 without controllers. */
static bool take_line(const char *line, size_t size, bool legacy, struct quota_group *ret_group)
{
    const char *controllers = memchr(line, ':', size), *end = line + size, *path;
    int         n;

    controllers = controllers == NULL ? end : controllers + 1;
    path = memchr(controllers, ':', (size_t)(end - controllers));
    if (path == NULL || (legacy ? !names_cpu(controllers, (size_t)(path - controllers)) : path != controllers))
        return false;
    ret_group->top = sizeof(mounted_at) - 1 + (legacy ? 1 + (size_t)(path - controllers) : 0);
    n = snprintf(ret_group->path, sizeof(ret_group->path), "%s%s%.*s%.*s", mounted_at, legacy ? "/" : "",
                 (int)(path - controllers), controllers, (int)(end - path - 1), path + 1);
    if (n < 0 || (size_t)n >= sizeof(ret_group->path) || ret_group->path[ret_group->top] != '/')
        return false;
    /* "/" is the root; "/.." leads out of the groups that this process can see */
    if (ret_group->path[n - 1] == '/' || strstr(ret_group->path + ret_group->top, "/..") != NULL)
        ret_group->path[ret_group->top] = '\0';
    return true;
}

bool quota_group_of(const char *text, bool legacy, struct quota_group *ret_group)
{
    for (size_t size; *text != '\0'; text += size + (text[size] != '\0')) {
        size = strcspn(text, "\n");
        if (take_line(text, size, legacy, ret_group))
            return true;
    }
    return false;
}

/* ---- how much */

uint32_t quota_of(const char *quota, const char *period)
{
    long long of = strtoll(quota, NULL, 10), each = strtoll(period, NULL, 10);

    if (of <= 0 || each <= 0)
        return QUOTA_NONE;
    of = of / each + (of % each != 0);
    return of < INT32_MAX ? (uint32_t)of : INT32_MAX;
}

static bool read_member(const char *group, const char *name, char *text, size_t size)
{
    char path[PATH_MAX + 32];

    snprintf(path, sizeof(path), "%s/%s", group, name);
    return sys_read_text(path, text, size) == 0;
}

static uint32_t quota_here(const char *group, bool legacy)
{
    char        quota[64], period[64];
    const char *space;

    if (legacy)
        return read_member(group, "cpu.cfs_quota_us", quota, sizeof(quota)) &&
                       read_member(group, "cpu.cfs_period_us", period, sizeof(period))
                   ? quota_of(quota, period)
                   : QUOTA_NONE;
    if (!read_member(group, "cpu.max", quota, sizeof(quota)))
        return QUOTA_NONE;
    space = strchr(quota, ' ');
    return space == NULL ? QUOTA_NONE : quota_of(quota, space);
}

static uint32_t lesser(uint32_t a, uint32_t b)
{
    if (a == QUOTA_NONE || b == QUOTA_NONE)
        return a | b;
    return a < b ? a : b;
}

/* From the group up to the root. */
static uint32_t quota_above(struct quota_group *group, bool legacy)
{
    uint32_t least = QUOTA_NONE;
    char    *slash;

    do {
        least = lesser(least, quota_here(group->path, legacy));
        slash = strrchr(group->path, '/');
        if (slash >= group->path + group->top)
            *slash = '\0';
    } while (slash >= group->path + group->top);
    return least;
}

uint32_t quota_processors(void)
{
    struct quota_group group;
    uint32_t           least = QUOTA_NONE;
    char               text[8192];

    if (sys_read_text("/proc/self/cgroup", text, sizeof(text)) < 0)
        return QUOTA_NONE;
    for (int legacy = 0; legacy < 2; legacy++)
        if (quota_group_of(text, legacy != 0, &group))
            least = lesser(least, quota_above(&group, legacy != 0));
    return least;
}
