/* system.c: what the system says about itself. Nothing here decides whether io_uring works. */
#include "doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CAP_SYS_ADMIN_BIT = 21, CAP_IPC_LOCK_BIT = 14, TEXT_SIZE = 8192 };

static bool file_read(const char *path, char text[TEXT_SIZE])
{
    size_t  used = 0;
    ssize_t size;
    int     fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return false;
    while (used < TEXT_SIZE - 1 && (size = read(fd, text + used, TEXT_SIZE - 1 - used)) > 0)
        used += (size_t)size;
    close(fd);
    text[used] = '\0';
    return used > 0;
}

static struct number number_read(const char *path)
{
    char          text[TEXT_SIZE];
    struct number number = {.known = file_read(path, text)};

    if (number.known)
        number.value = strtol(text, NULL, 10);
    return number;
}

/* A field of /proc/self/status: the text behind its name, or NULL. */
static const char *field(const char *status, const char *name)
{
    size_t      length = strlen(name);
    const char *line = status;

    while (line != NULL && !(strncmp(line, name, length) == 0 && line[length] == ':')) {
        line = strchr(line, '\n');
        line = line == NULL ? NULL : line + 1;
    }
    return line == NULL ? NULL : line + length + 1;
}

static struct number field_number(const char *status, const char *name)
{
    const char *text = field(status, name);

    return (struct number){.known = text != NULL, .value = text == NULL ? 0 : strtol(text, NULL, 10)};
}

/* In a user namespace of its own a process may have every capability, and none that counts for io_uring. */
static bool user_namespace_own(void)
{
    char          text[TEXT_SIZE];
    unsigned long inside = 0, outside = 0, count = 0;

    if (!file_read("/proc/self/uid_map", text))
        return false;
    return sscanf(text, "%lu %lu %lu", &inside, &outside, &count) != 3 || inside != 0 || outside != 0 ||
           count != 4294967295ul;
}

static bool is_in_group(long group)
{
    gid_t groups[1024];
    int   count = getgroups(1024, groups);

    if (group < 0)
        return false;
    if ((long)getegid() == group)
        return true;
    for (int i = 0; i < count; i++)
        if ((long)groups[i] == group)
            return true;
    return false;
}

/* Container run times leave one of these behind; none has to. */
static void container_read(char container[64])
{
    static const char *const words[] = {"kubepods", "docker", "libpod", "containerd", "lxc"};
    const char              *variable = getenv("container");
    char                     text[TEXT_SIZE];

    container[0] = '\0';
    if (getenv("KUBERNETES_SERVICE_HOST") != NULL)
        snprintf(container, 64, "Kubernetes");
    else if (access("/run/.containerenv", F_OK) == 0)
        snprintf(container, 64, "Podman");
    else if (access("/.dockerenv", F_OK) == 0)
        snprintf(container, 64, "Docker");
    else if (variable != NULL && variable[0] != '\0')
        snprintf(container, 64, "%.40s", variable);
    else if (file_read("/run/systemd/container", text))
        snprintf(container, 64, "%.*s", (int)strcspn(text, "\n") > 40 ? 40 : (int)strcspn(text, "\n"), text);
    else if (file_read("/proc/self/cgroup", text))
        for (size_t i = 0; i < sizeof(words) / sizeof(words[0]) && container[0] == '\0'; i++)
            if (strstr(text, words[i]) != NULL)
                snprintf(container, 64, "%s", words[i]);
}

static void status_read(struct system_facts *facts)
{
    char               status[TEXT_SIZE];
    const char        *effective;
    unsigned long long capabilities;

    if (!file_read("/proc/self/status", status))
        return;
    facts->seccomp = field_number(status, "Seccomp");
    facts->seccomp_filters = field_number(status, "Seccomp_filters");
    effective = field(status, "CapEff");
    if (effective == NULL || facts->user_namespace)
        return;
    capabilities = strtoull(effective, NULL, 16);
    facts->cap_sys_admin = (capabilities >> CAP_SYS_ADMIN_BIT & 1) != 0;
    facts->cap_ipc_lock = (capabilities >> CAP_IPC_LOCK_BIT & 1) != 0;
}

void system_read(struct system_facts *ret_facts)
{
    *ret_facts = (struct system_facts){.uid = (long)geteuid(), .gid = (long)getegid()};
    (void)uname(&ret_facts->kernel);
    container_read(ret_facts->container);
    ret_facts->user_namespace = user_namespace_own();
    status_read(ret_facts);
    ret_facts->disabled = number_read("/proc/sys/kernel/io_uring_disabled");
    ret_facts->group = number_read("/proc/sys/kernel/io_uring_group");
    ret_facts->in_group = ret_facts->group.known && is_in_group(ret_facts->group.value);
    ret_facts->selinux_enforcing = number_read("/sys/fs/selinux/enforce");
    ret_facts->memlock.known = getrlimit(RLIMIT_MEMLOCK, &ret_facts->memlock.value) == 0;
    ret_facts->files.known = getrlimit(RLIMIT_NOFILE, &ret_facts->files.value) == 0;
    ret_facts->processes.known = getrlimit(RLIMIT_NPROC, &ret_facts->processes.value) == 0;
}
