/* Cost of another process. System calls are counted by the tracepoint raw_syscalls:sys_enter, as perf stat does. */
#include "common/observer.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "common/cli.h"
#include "common/clock.h"

static const char tracefs[] = "/sys/kernel/tracing";
static const char tracepoint[] = "/sys/kernel/tracing/events/raw_syscalls/sys_enter/id";

void observer_open(struct observer *observer, pid_t pid)
{
    int error;

    *observer = (struct observer){.pid = pid};
    error = clock_getcpuclockid(pid, &observer->cpu_clock);
    if (error != 0)
        die_errno(error, "CPU clock of process %d", (int)pid);
}

uint64_t observer_cpu_ns(const struct observer *observer)
{
    struct timespec now;

    if (clock_gettime(observer->cpu_clock, &now) != 0)
        die_errno(errno, "process %d has ended", (int)observer->pid);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static bool tracepoint_id(uint64_t *ret_id)
{
    FILE *file = fopen(tracepoint, "re");
    bool  found;

    if (file == NULL && errno == ENOENT && mount("none", tracefs, "tracefs", 0, NULL) == 0) /* perf mounts it, too */
        file = fopen(tracepoint, "re");
    if (file == NULL)
        return false;
    found = fscanf(file, "%" SCNu64, ret_id) == 1;
    fclose(file);
    return found;
}

static bool count_thread(struct observer *observer, uint64_t id, pid_t thread)
{
    struct perf_event_attr attr = {
        .type = PERF_TYPE_TRACEPOINT, .size = sizeof(attr), .config = id, .inherit = 1, /* threads started later */
    };
    long fd = syscall(SYS_perf_event_open, &attr, thread, -1, -1, PERF_FLAG_FD_CLOEXEC);

    if (fd < 0)
        return errno == ESRCH; /* a thread that has just ended makes no calls */
    observer->counters[observer->counters_count++] = (int)fd;
    return true;
}

bool observer_syscalls_start(struct observer *observer)
{
    char                 path[64];
    uint64_t             id;
    DIR                 *directory;
    const struct dirent *entry;
    bool                 counted = true;

    if (!tracepoint_id(&id))
        return false;
    snprintf(path, sizeof(path), "/proc/%d/task", (int)observer->pid);
    directory = opendir(path);
    if (directory == NULL)
        die_errno(errno, "%s", path);
    while (counted && (entry = readdir(directory)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        counted = observer->counters_count < OBSERVER_THREADS_MAX &&
                  count_thread(observer, id, (pid_t)strtol(entry->d_name, NULL, 10));
    }
    closedir(directory);
    return counted;
}

uint64_t observer_syscalls(const struct observer *observer)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < observer->counters_count; i++) {
        uint64_t value;

        if (read(observer->counters[i], &value, sizeof(value)) != sizeof(value))
            die_errno(errno, "read a perf counter");
        sum += value;
    }
    return sum;
}

uint64_t observer_anon_bytes(const struct observer *observer)
{
    char     path[64], line[128];
    uint64_t kib = 0;
    bool     found = false;
    FILE    *file;

    snprintf(path, sizeof(path), "/proc/%d/status", (int)observer->pid);
    file = fopen(path, "re");
    if (file == NULL)
        die_errno(errno, "%s", path);
    while (!found && fgets(line, sizeof(line), file) != NULL)
        found = sscanf(line, "RssAnon: %" SCNu64 " kB", &kib) == 1;
    fclose(file);
    if (!found)
        die("no RssAnon in %s", path);
    return kib * 1024;
}

void observer_close(struct observer *observer)
{
    for (uint32_t i = 0; i < observer->counters_count; i++)
        close(observer->counters[i]);
    observer->counters_count = 0;
}
