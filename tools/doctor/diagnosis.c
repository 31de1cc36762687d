/* diagnosis.c: what the facts and attempts mean, and what to change. */
#include "doctor.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>

enum {
    SQ_ENTRIES_DEFAULT = 256, /* what loop_create() asks for: loop_options */
    CQ_ENTRIES_DEFAULT = 4096,
    FILES_FEW = 256, /* less than this is set on purpose, and no limit for a server */
    OPCODE_LISTEN = 57,
    SECCOMP_MODE_FILTERED = 2,
};

/* ---- findings */

static struct finding no_room;

__attribute__((format(printf, 5, 6))) static struct finding *found(struct report *report, enum level level,
                                                                   const char *name, int error, const char *format, ...)
{
    struct finding *finding = &no_room;
    va_list         arguments;

    if (report->findings_count < FINDINGS_MAX)
        finding = &report->findings[report->findings_count++];
    *finding = (struct finding){.level = level, .name = name, .error = error};
    va_start(arguments, format);
    vsnprintf(finding->text, sizeof(finding->text), format, arguments);
    va_end(arguments);
    if (level > report->level)
        report->level = level;
    return finding;
}

static void advise_with(struct finding *finding, bool command, const char *format, va_list arguments)
{
    struct advice *advice = &finding->advice[finding->advice_count];

    if (finding->advice_count == ADVICE_MAX)
        return;
    finding->advice_count++;
    advice->command = command;
    vsnprintf(advice->text, sizeof(advice->text), format, arguments);
}

__attribute__((format(printf, 2, 3))) static void advise(struct finding *finding, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    advise_with(finding, false, format, arguments);
    va_end(arguments);
}

__attribute__((format(printf, 2, 3))) static void command(struct finding *finding, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    advise_with(finding, true, format, arguments);
    va_end(arguments);
}

static bool has_finding(const struct report *report, const char *name)
{
    for (unsigned i = 0; i < report->findings_count; i++)
        if (strcmp(report->findings[i].name, name) == 0)
            return true;
    return false;
}

/* ---- advice that several findings share */

static void advise_filter(struct finding *finding)
{
    advise(finding, "Allow io_uring_setup, io_uring_enter and io_uring_register where the filter is made.");
    advise(finding,
           "Docker, Podman: add them to the run time's default profile (Docker: default.json of moby/profiles; "
           "Podman: /usr/share/containers/seccomp.json), and start the container with that:");
    command(finding, "jq '.syscalls += [{\"names\": [\"io_uring_setup\", \"io_uring_enter\", \"io_uring_register\"], "
                     "\"action\": \"SCMP_ACT_ALLOW\"}]' default.json > ringloop.json");
    command(finding, "docker run --security-opt seccomp=ringloop.json ...");
    advise(finding, "Kubernetes: put that file below the node's /var/lib/kubelet/seccomp and name it in "
                    "securityContext.seccompProfile, type Localhost.");
    advise(finding, "systemd: a unit whose SystemCallFilter= is a list of what is allowed needs @aio in it.");
}

static bool memlock_counts(const struct system_facts *facts)
{
    return facts->memlock.known && facts->memlock.value.rlim_cur != RLIM_INFINITY && !facts->cap_ipc_lock;
}

static void advise_memlock(struct finding *finding, const struct system_facts *facts)
{
    if (!memlock_counts(facts)) {
        advise(finding, "RLIMIT_MEMLOCK does not hold for this process: look at the memory of the machine and of the "
                        "control group (memory.max).");
        return;
    }
    advise(finding, "The limit counts for all processes of user %ld together. Raise it, e.g. to 64 MiB:", facts->uid);
    command(finding, "ulimit -l 65536");
    advise(finding, "systemd: LimitMEMLOCK=64M in the unit. Logins: \"memlock\" in /etc/security/limits.conf. "
                    "Docker, Podman: --ulimit memlock=67108864.");
    advise(finding, "Or make fewer loops, or smaller ones: loop_options.sq_entries.");
}

static void advise_files(struct finding *finding, const struct system_facts *facts)
{
    if (facts->files.known && facts->files.value.rlim_max > facts->files.value.rlim_cur)
        advise(finding, "The hard limit is %llu: the program may raise the soft one itself by setrlimit(2). Or:",
               (unsigned long long)facts->files.value.rlim_max);
    else
        advise(finding, "Raise it, e.g. to 65536, as root or where the service is configured:");
    command(finding, "ulimit -n 65536");
    advise(finding, "systemd: LimitNOFILE=65536 in the unit. Logins: \"nofile\" in /etc/security/limits.conf. "
                    "Docker, Podman: --ulimit nofile=65536.");
}

static void advise_processes(struct finding *finding, const struct system_facts *facts)
{
    if (facts->processes.known && facts->processes.value.rlim_cur != RLIM_INFINITY)
        advise(finding, "RLIMIT_NPROC is %llu here, and counts all processes and threads of user %ld. Raise it:",
               (unsigned long long)facts->processes.value.rlim_cur, facts->uid);
    else
        advise(finding, "RLIMIT_NPROC is not it: look at pids.max of the control group, and at memory.");
    command(finding, "ulimit -u 4096");
    advise(finding, "systemd: LimitNPROC= and TasksMax= in the unit. Docker, Podman: --pids-limit.");
}

/* ---- the three system calls */

static bool call_refused(const struct call_facts *call)
{
    return call->end.ending == ENDING_EXITED && call->error != 0;
}

/* "io_uring_setup and io_uring_enter": those that ended so. */
static unsigned calls_list(const struct report *report, enum ending ending, char text[128])
{
    unsigned count = 0, done = 0, used = 0;

    for (unsigned i = 0; i < CALLS; i++)
        count += report->calls[i].end.ending == ending && !call_allowed(&report->calls[i]);
    text[0] = '\0';
    for (unsigned i = 0; i < CALLS; i++) {
        if (report->calls[i].end.ending != ending || call_allowed(&report->calls[i]))
            continue;
        used += (unsigned)snprintf(text + used, 128 - used, "%s%s",
                                   done == 0           ? ""
                                   : done + 1 == count ? " and "
                                                       : ", ",
                                   report->calls[i].name);
        done++;
    }
    return count;
}

static void no_process_found(struct report *report, int error)
{
    char            space[NAME_MAX_BYTES];
    struct finding *finding =
        found(report, LEVEL_BROKEN, "no-process", error,
              "Nothing could be tried, as no process could be started to try in: fork(2) answers %s.",
              error_name(error, space));

    advise_processes(finding, &report->system);
}

static void calls_killed(struct report *report, const struct child_end *end)
{
    char            names[128], space[NAME_MAX_BYTES];
    unsigned        count = calls_list(report, ENDING_KILLED, names);
    struct finding *finding;

    if (end->number == SIGSYS) {
        finding = found(report, LEVEL_BROKEN, "filter-kills", 0,
                        "A seccomp filter kills (signal SIGSYS) whoever calls %s: a program cannot even ask.", names);
        advise_filter(finding);
        return;
    }
    finding = found(report, LEVEL_BROKEN, "call-killed", 0, "The process that called %s was killed by %s%s.", names,
                    signal_name(end->number, space), count > 1 ? " (the first of them)" : "");
    advise(finding, "Look for who has sent it: the kernel's log (dmesg), the out-of-memory killer, a tracer.");
}

static void calls_hung(struct report *report)
{
    char            names[128];
    unsigned        count = calls_list(report, ENDING_HUNG, names);
    struct finding *finding =
        found(report, LEVEL_BROKEN, "call-hangs", 0, "%s %s not return.", names, count > 1 ? "do" : "does");

    advise(finding, "A supervisor (a container manager or sandbox that answers system calls, or a tracer) does not "
                    "answer: ask its log. If there is none, look at the kernel's log (dmesg).");
}

static void filter_found(struct report *report, int error)
{
    char                 names[128], space[NAME_MAX_BYTES], who[96];
    const struct number *filters = &report->system.seccomp_filters;
    unsigned             count = calls_list(report, ENDING_EXITED, names);
    struct finding      *finding;

    if (report->system.seccomp.known && report->system.seccomp.value == 0)
        snprintf(who, sizeof(who), "though no seccomp filter is installed: by a security module or a sandbox");
    else if (filters->known && filters->value > 0)
        snprintf(who, sizeof(who), "by a seccomp filter (%ld installed)", filters->value);
    else
        snprintf(who, sizeof(who), "by a seccomp filter or security module");
    finding = found(report, LEVEL_BROKEN, "filter", error, "%s %s answered with %s, %s%s.", names,
                    count > 1 ? "are" : "is", error_name(error, space), who,
                    count == CALLS ? ", as the default profiles of most container run times do" : "");
    advise_filter(finding);
}

static void module_found(struct report *report, int error)
{
    char            space[NAME_MAX_BYTES];
    bool            selinux = report->system.selinux_enforcing.known && report->system.selinux_enforcing.value == 1;
    struct finding *finding =
        found(report, LEVEL_BROKEN, "security-module", error, "A security module%s denies io_uring_setup: %s.",
              selinux ? ", SELinux most likely," : "", error_name(error, space));

    if (selinux) {
        advise(finding, "Allow the domain of the server the classes io_uring and anon_inode. What was denied:");
        command(finding, "ausearch -m avc -ts recent | grep io_uring");
        command(finding, "ausearch -m avc -ts recent | audit2allow -M ringloop && semodule -i ringloop.pp");
        return;
    }
    advise(finding, "See which modules there are, and what the audit log says:");
    command(finding, "cat /sys/kernel/security/lsm; dmesg | grep -i -e audit -e denied | tail");
}

static void sysctl_found(struct report *report, int error)
{
    const struct system_facts *facts = &report->system;
    bool                       partly = facts->disabled.value == 1;
    struct finding            *finding;

    finding = found(report, LEVEL_BROKEN, partly ? "sysctl-1" : "sysctl-2", error,
                    partly ? "kernel.io_uring_disabled is 1: only processes with CAP_SYS_ADMIN, or in the group "
                             "kernel.io_uring_group, may make rings, and this one is neither."
                           : "kernel.io_uring_disabled is 2: nobody may make rings, not even root.");
    advise(finding,
           "As root%s, now and for good:", facts->container[0] != '\0' ? " of the host, not of the container" : "");
    if (partly && facts->group.value < 0)
        command(finding, "sysctl -w kernel.io_uring_group=%ld    # the group of this process, or one for servers",
                facts->gid);
    else if (partly)
        command(finding, "usermod -aG $(getent group %ld | cut -d: -f1) USER    # and log in again",
                facts->group.value);
    advise(finding, partly ? "or, for everybody:" : "for everybody (1: for root and one group only):");
    command(finding, "sysctl -w kernel.io_uring_disabled=0");
    command(finding, "echo kernel.io_uring_disabled=0 > /etc/sysctl.d/90-io-uring.conf");
    if (facts->user_namespace)
        advise(finding, "Capabilities of a user namespace, as this process is in, do not count.");
}

static void no_kernel_found(struct report *report, int error)
{
    struct finding *finding =
        found(report, LEVEL_BROKEN, "no-kernel", error, "%s", loop_obstacle_text(LOOP_OBSTACLE_NO_KERNEL));

    command(finding, "grep IO_URING /boot/config-$(uname -r); zgrep IO_URING /proc/config.gz");
    if (report->system.seccomp.known && report->system.seccomp.value == SECCOMP_MODE_FILTERED)
        advise(finding,
               "Or the seccomp filter that is installed here says so: on kernels before 6.6 the two look alike. "
               "Run this outside of the container to know.");
}

/* Who denies io_uring_setup: the sysctl and security modules know that call only, a filter mostly denies all three. */
static void setup_refused(struct report *report)
{
    const struct system_facts *facts = &report->system;
    int                        error = report->calls[CALL_SETUP].error;
    bool others = call_refused(&report->calls[CALL_ENTER]) || call_refused(&report->calls[CALL_REGISTER]);
    bool sysctl = facts->disabled.known && (facts->disabled.value >= 2 ||
                                            (facts->disabled.value == 1 && !facts->cap_sys_admin && !facts->in_group));
    bool filtered = facts->seccomp.known && facts->seccomp.value == SECCOMP_MODE_FILTERED;
    bool selinux = facts->selinux_enforcing.known && facts->selinux_enforcing.value == 1;

    if (error == -EPERM && sysctl) {
        sysctl_found(report, error);
        if (others)
            filter_found(report, error);
    } else if ((error == -ENOSYS || error == -EOPNOTSUPP) && !facts->disabled.known &&
               !call_allowed(&report->calls[CALL_ENTER]) && !call_allowed(&report->calls[CALL_REGISTER])) {
        no_kernel_found(report, error);
    } else if (error == -EACCES && !others && (selinux || !filtered)) {
        module_found(report, error);
    } else {
        filter_found(report, error);
    }
}

static bool calls_diagnose(struct report *report)
{
    for (unsigned i = 0; i < CALLS; i++)
        if (report->calls[i].end.ending == ENDING_UNTRIED) {
            no_process_found(report, report->calls[i].end.number);
            return false;
        }
    for (unsigned i = 0; i < CALLS; i++)
        if (report->calls[i].end.ending == ENDING_KILLED) {
            calls_killed(report, &report->calls[i].end);
            return false;
        }
    for (unsigned i = 0; i < CALLS; i++)
        if (report->calls[i].end.ending == ENDING_HUNG) {
            calls_hung(report);
            return false;
        }
    if (call_refused(&report->calls[CALL_SETUP])) {
        setup_refused(report);
        return false;
    }
    for (unsigned i = 0; i < CALLS; i++)
        if (call_refused(&report->calls[i])) {
            filter_found(report, report->calls[i].error);
            return false;
        }
    return true;
}

/* ---- the loop */

static void memlock_found(struct report *report, enum level level, int error, const char *what)
{
    const struct limit *memlock = &report->system.memlock;
    struct finding     *finding;

    if (has_finding(report, "memlock"))
        return;
    if (memlock_counts(&report->system))
        finding = found(report, level, "memlock", error,
                        "%s: memory that may be locked is used up (RLIMIT_MEMLOCK, %llu "
                        "KiB for this user).",
                        what, (unsigned long long)memlock->value.rlim_cur / 1024);
    else
        finding = found(report, level, "memlock", error, "%s: there is not enough memory.", what);
    advise_memlock(finding, &report->system);
}

static void files_found(struct report *report, enum level level, int error, const char *what)
{
    struct finding *finding;

    if (has_finding(report, "files"))
        return;
    if (error == -ENFILE) {
        finding = found(report, level, "files", error, "%s: the system has no file descriptor left (ENFILE).", what);
        command(finding, "cat /proc/sys/fs/file-nr; sysctl -w fs.file-max=1000000");
        return;
    }
    finding = found(report, level, "files", error,
                    "%s: no file descriptor is left (EMFILE; RLIMIT_NOFILE is %llu). A "
                    "loop takes two, a connection one.",
                    what, (unsigned long long)report->system.files.value.rlim_cur);
    advise_files(finding, &report->system);
}

static void create_failed(struct report *report, int error)
{
    char            space[NAME_MAX_BYTES];
    struct finding *finding;

    switch (loop_obstacle(error)) {
    case LOOP_OBSTACLE_MEMLOCK: memlock_found(report, LEVEL_BROKEN, error, "No ring could be made"); break;
    case LOOP_OBSTACLE_FILES: files_found(report, LEVEL_BROKEN, error, "No loop could be made"); break;
    case LOOP_OBSTACLE_OLD_KERNEL:
        finding = found(report, LEVEL_BROKEN, "old-kernel", error, "%s", loop_obstacle_text(LOOP_OBSTACLE_OLD_KERNEL));
        advise(finding, "This one is %s.", report->system.kernel.release);
        break;
    case LOOP_OBSTACLE_FILTER:
    case LOOP_OBSTACLE_NO_KERNEL:
    case LOOP_OBSTACLE_SYSCTL:
    case LOOP_OBSTACLE_NONE:
        /* The calls are let through with harmless arguments, and denied with real ones. */
        finding = found(report, LEVEL_BROKEN, "create", error, "loop_create() answers %s. %s", error_name(error, space),
                        loop_obstacle_text(loop_obstacle(error)));
        advise_filter(finding);
        break;
    }
}

/* Returns whether the trial came to its end. */
static bool trial_ended(struct report *report)
{
    const struct trial *trial = &report->trial;
    const char         *where = trial->created ? "at the first run of the loop" : "when making a loop";
    char                space[NAME_MAX_BYTES], text[64];
    struct finding     *finding;

    for (unsigned i = 0; i < STEPS; i++)
        if (trial->steps[i].state == STEP_RUNNING) {
            snprintf(text, sizeof(text), "in the trial \"%s\"", step_names[i]);
            where = text;
        }
    switch (report->trial_end.ending) {
    case ENDING_UNTRIED: no_process_found(report, report->trial_end.number); return false;
    case ENDING_HUNG:
        finding = found(report, LEVEL_BROKEN, "hangs", 0, "The loop did not come back %s.", where);
        advise(finding, "Try a longer --timeout, if this machine is very busy. Else look at the kernel's log (dmesg).");
        return false;
    case ENDING_KILLED:
        finding = found(report, LEVEL_BROKEN, "killed", 0, "The process was killed by %s %s.%s%s",
                        signal_name(report->trial_end.number, space), where,
                        report->trial_end.message[0] != '\0' ? " It said: " : "", report->trial_end.message);
        advise(finding, report->trial_end.number == SIGSYS
                            ? "A seccomp filter does that: it denies what the loop needs beside the three calls."
                            : "Look at the kernel's log (dmesg).");
        return false;
    case ENDING_EXITED: break;
    }
    if (!trial->ended)
        (void)found(report, LEVEL_BROKEN, "killed", 0, "The process ended with status %d %s.", report->trial_end.number,
                    where);
    return trial->ended;
}

static void worker_failed(struct report *report, int error)
{
    char            space[NAME_MAX_BYTES];
    struct finding *finding = found(report, LEVEL_RESTRICTED, "no-workers", error,
                                    "The kernel could start no worker thread (%s): operations that block, such as on "
                                    "files, fail.",
                                    error_name(error, space));

    advise_processes(finding, &report->system);
}

static void loopback_missing(struct report *report, int error)
{
    char            space[NAME_MAX_BYTES];
    struct finding *finding = found(report, LEVEL_RESTRICTED, "no-loopback", error,
                                    "TCP could not be tried: 127.0.0.1 cannot be reached (%s). That is not io_uring's.",
                                    error_name(error, space));

    advise(finding, "In a network namespace of its own the loopback has to be brought up:");
    command(finding, "ip link set lo up");
}

static void step_diagnose(struct report *report, unsigned index)
{
    const struct step *step = &report->trial.steps[index];
    enum level         level = index == STEP_FILE ? LEVEL_RESTRICTED : LEVEL_BROKEN;
    char               space[NAME_MAX_BYTES], text[96];
    struct finding    *finding;

    if (step->state == STEP_PASSED)
        return;
    snprintf(text, sizeof(text), "The trial \"%s\" failed (%s)", step_names[index], step->what);
    if (index == STEP_WORKER && (step->error == -ECANCELED || step->error == -EAGAIN)) {
        worker_failed(report, step->error);
    } else if (index == STEP_TCP && (step->error == -ENETUNREACH || step->error == -EADDRNOTAVAIL ||
                                     step->error == -ENETDOWN || step->error == -EAFNOSUPPORT)) {
        loopback_missing(report, step->error);
    } else if (step->error == -EMFILE || step->error == -ENFILE) {
        files_found(report, level, step->error, text);
    } else if (step->error == -ENOMEM) {
        memlock_found(report, level, step->error, text);
    } else {
        finding = found(report, level, step_names[index], step->error, "%s: %s.", text, error_name(step->error, space));
        if (step->error == -EOPNOTSUPP)
            advise(finding, "The kernel does not tell that it has the operation; a filter may deny it to be asked "
                            "(io_uring_register, PROBE).");
    }
}

/* ---- what works, but not as well as it might */

static void list_add(char *text, size_t size, const char *word)
{
    size_t used = strlen(text);

    snprintf(text + used, size - used, "%s%s", used > 0 ? ", " : "", word);
}

static void features_diagnose(struct report *report)
{
    const struct loop_features *features = &report->trial.features;
    char                        text[256] = "";
    struct finding             *finding;

    if (!features->single_issuer)
        list_add(text, sizeof(text), "SINGLE_ISSUER (6.0)");
    if (!features->defer_taskrun)
        list_add(text, sizeof(text), "DEFER_TASKRUN (6.1)");
    if (!features->registered_ring)
        list_add(text, sizeof(text), "registered ring descriptors (5.18)");
    if (!features->min_wait)
        list_add(text, sizeof(text), "the minimum wait (6.12)");
    if (features->opcode_last < OPCODE_LISTEN)
        list_add(text, sizeof(text), "the opcodes of bind and listen (6.11)");
    if (text[0] == '\0')
        return;
    finding = found(report, LEVEL_RESTRICTED, "features", 0, "The kernel does not give: %s.", text);
    advise(finding, "Use a newer kernel; the numbers are those where each came. Where this one is newer, a filter that "
                    "looks at arguments denies them.");
}

static void rings_diagnose(struct report *report)
{
    const struct loop_features *features = &report->trial.features;
    struct finding             *finding;

    if (features->sq_entries >= SQ_ENTRIES_DEFAULT && features->cq_entries >= CQ_ENTRIES_DEFAULT)
        return;
    finding =
        found(report, LEVEL_RESTRICTED, "small-rings", 0,
              "The rings are smaller than asked for: SQ %u of %d, CQ %u of %d. That costs more system calls under "
              "load, and there is hardly room for another loop.",
              features->sq_entries, SQ_ENTRIES_DEFAULT, features->cq_entries, CQ_ENTRIES_DEFAULT);
    advise_memlock(finding, &report->system);
}

static void limits_diagnose(struct report *report)
{
    const struct limit *files = &report->system.files;
    struct finding     *finding;

    if (!files->known || files->value.rlim_cur >= FILES_FEW || has_finding(report, "files"))
        return;
    finding = found(report, LEVEL_RESTRICTED, "few-files", 0,
                    "RLIMIT_NOFILE is %llu: with more connections than that, less what else is open, listeners rest.",
                    (unsigned long long)files->value.rlim_cur);
    advise_files(finding, &report->system);
}

static void remarks(struct report *report)
{
    const struct system_facts *facts = &report->system;

    if (facts->disabled.known && facts->disabled.value == 1)
        (void)found(report, LEVEL_FINE, "sysctl-exempt", 0,
                    "kernel.io_uring_disabled is 1: this process is exempt (%s), others are not. Run this as the user "
                    "of the server.",
                    facts->in_group ? "by its group" : "by CAP_SYS_ADMIN");
}

void diagnose(struct report *report)
{
    const struct trial *trial = &report->trial;
    char                space[NAME_MAX_BYTES];

    if (!calls_diagnose(report) || !trial_ended(report))
        return;
    if (!trial->created) {
        create_failed(report, trial->create_error);
        return;
    }
    if (!trial->run) {
        (void)found(report, LEVEL_BROKEN, "run", trial->run_error, "loop_run() answers %s.",
                    error_name(trial->run_error, space));
        return;
    }
    for (unsigned i = 0; i < STEPS; i++)
        step_diagnose(report, i);
    features_diagnose(report);
    rings_diagnose(report);
    limits_diagnose(report);
    remarks(report);
}
