/* obstruct.c: starts a program behind obstacles that are real: a seccomp filter, limits, another user, namespaces.
 *
 *   obstruct [OPTION]... -- PROGRAM [ARGUMENT]...
 *     --deny=CALL[:OPCODE]=ANSWER  answers io_uring_CALL (with this opcode, for register) with an errno, e.g. EPERM, or
 *                                  with kill or trap; may be repeated
 *     --hang=CALL                  never answers it
 *     --uid=N                      as this user and group, without rights and further groups
 *     --memlock=BYTES --files=N --processes=N
 *     --netns --userns             in a new namespace of that kind
 *
 * Status 77 if this system does not let us, 125 if something else is wrong. */
#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { STATUS_SKIP = 77, STATUS_WRONG = 125, DENIALS_MAX = 8, ANY_OPCODE = -1 };

struct denial {
    long     call;
    long     opcode;
    unsigned answer; /* SECCOMP_RET_* */
};

static struct {
    struct denial denials[DENIALS_MAX];
    unsigned      denials_count;
    bool          hang, netns, userns;
    long          uid, memlock, files, processes;
} wanted = {.uid = -1, .memlock = -1, .files = -1, .processes = -1};

static _Noreturn void wrong(const char *what)
{
    fprintf(stderr, "obstruct: not understood: %s\n", what);
    exit(STATUS_WRONG);
}

static void must(int r, const char *what)
{
    if (r >= 0)
        return;
    fprintf(stderr, "obstruct: %s: %s\n", what, strerror(errno));
    exit(errno == EPERM || errno == EINVAL || errno == ENOSPC ? STATUS_SKIP : STATUS_WRONG);
}

/* ---- what is wanted */

static long number_of(const char *text)
{
    char *end;
    long  number = strtol(text, &end, 10);

    if (end == text || *end != '\0' || number < 0)
        wrong(text);
    return number;
}

static long call_of(const char *name)
{
    static const char *const names[] = {"setup", "enter", "register"};

    for (long i = 0; i < 3; i++)
        if (strcmp(name, names[i]) == 0)
            return 425 + i; /* __NR_io_uring_*, the same on all architectures that this runs on */
    wrong(name);
}

static unsigned answer_of(const char *name)
{
    static const struct {
        const char *name;
        unsigned    answer;
    } answers[] = {
        {"EPERM", SECCOMP_RET_ERRNO | EPERM},   {"ENOSYS", SECCOMP_RET_ERRNO | ENOSYS},
        {"EACCES", SECCOMP_RET_ERRNO | EACCES}, {"EINVAL", SECCOMP_RET_ERRNO | EINVAL},
        {"kill", SECCOMP_RET_KILL_PROCESS},     {"trap", SECCOMP_RET_TRAP},
    };

    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++)
        if (strcmp(name, answers[i].name) == 0)
            return answers[i].answer;
    wrong(name);
}

static void deny(char *text)
{
    char          *answer = strchr(text, '='), *opcode;
    struct denial *denial = &wanted.denials[wanted.denials_count++];

    if (answer == NULL || wanted.denials_count > DENIALS_MAX)
        wrong(text);
    *answer++ = '\0';
    opcode = strchr(text, ':');
    if (opcode != NULL)
        *opcode++ = '\0';
    *denial = (struct denial){call_of(text), opcode == NULL ? ANY_OPCODE : number_of(opcode), answer_of(answer)};
}

static void hang(const char *name)
{
    if (wanted.denials_count > 0)
        wrong("--hang beside --deny");
    wanted.hang = true;
    wanted.denials[wanted.denials_count++] = (struct denial){call_of(name), ANY_OPCODE, SECCOMP_RET_USER_NOTIF};
}

static void options_read(int argc, char **argv)
{
    static const struct option options[] = {
        {"deny", required_argument, NULL, 'd'},
        {"hang", required_argument, NULL, 'h'},
        {"uid", required_argument, NULL, 'u'},
        {"memlock", required_argument, NULL, 'm'},
        {"files", required_argument, NULL, 'f'},
        {"processes", required_argument, NULL, 'p'},
        {"netns", no_argument, NULL, 'n'},
        {"userns", no_argument, NULL, 's'},
        {NULL, 0, NULL, 0},
    };
    int c;

    while ((c = getopt_long(argc, argv, "+", options, NULL)) != -1)
        switch (c) {
        case 'd': deny(optarg); break;
        case 'h': hang(optarg); break;
        case 'u': wanted.uid = number_of(optarg); break;
        case 'm': wanted.memlock = number_of(optarg); break;
        case 'f': wanted.files = number_of(optarg); break;
        case 'p': wanted.processes = number_of(optarg); break;
        case 'n': wanted.netns = true; break;
        case 's': wanted.userns = true; break;
        default: exit(STATUS_WRONG);
        }
    if (optind == argc)
        wrong("no program");
}

/* ---- making it so */

static void limit(unsigned resource, long value, const char *what)
{
    struct rlimit both = {.rlim_cur = (rlim_t)value, .rlim_max = (rlim_t)value};

    if (value >= 0)
        must(setrlimit(resource, &both), what);
}

static void become_user(long uid)
{
    must(setgroups(0, NULL), "setgroups");
    must(setresgid((gid_t)uid, (gid_t)uid, (gid_t)uid), "setresgid");
    must(setresuid((uid_t)uid, (uid_t)uid, (uid_t)uid), "setresuid");
}

static void map_write(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    must(file == NULL || fputs(text, file) < 0 || fclose(file) != 0 ? -1 : 0, path);
}

static void become_root_of_nothing(void)
{
    char map[64];
    long uid = (long)getuid(), gid = (long)getgid();

    must(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), "dumpable"); /* else /proc/self is root's after a change of user */
    must(unshare(CLONE_NEWUSER), "unshare");
    map_write("/proc/self/setgroups", "deny");
    snprintf(map, sizeof(map), "0 %ld 1", uid);
    map_write("/proc/self/uid_map", map);
    snprintf(map, sizeof(map), "0 %ld 1", gid);
    map_write("/proc/self/gid_map", map);
}

static struct sock_filter load(size_t offset)
{
    return (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned)offset);
}

/* Denies what is listed and allows the rest. The architecture is not looked at: it keeps nobody in. */
static void filter_install(void)
{
    struct sock_filter code[DENIALS_MAX * 5 + 1];
    struct sock_fprog  program = {.filter = code};
    unsigned short     n = 0;

    for (unsigned i = 0; i < wanted.denials_count; i++) {
        const struct denial *denial = &wanted.denials[i];
        bool                 any = denial->opcode == ANY_OPCODE;

        code[n++] = load(offsetof(struct seccomp_data, nr));
        code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)denial->call, 0, any ? 1 : 3);
        if (!any) {
            code[n++] = load(offsetof(struct seccomp_data, args[1])); /* little endian: the lower half */
            code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)denial->opcode, 0, 1);
        }
        code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, denial->answer);
    }
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    program.len = n;
    must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs");
    /* Whoever waits for an answer waits for the program itself, which inherits the listener and knows nothing of it. */
    must((int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, wanted.hang ? SECCOMP_FILTER_FLAG_NEW_LISTENER : 0,
                      &program),
         "seccomp");
}

/* The listener comes with close-on-exec. */
static void listener_pass_on(void)
{
    for (int fd = 3; fd < 64; fd++) {
        char path[32], target[64];
        long size;

        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        size = readlink(path, target, sizeof(target) - 1);
        target[size > 0 ? size : 0] = '\0';
        if (strstr(target, "seccomp") != NULL)
            must(dup(fd), "dup");
    }
}

int main(int argc, char **argv)
{
    options_read(argc, argv);
    limit(RLIMIT_MEMLOCK, wanted.memlock, "RLIMIT_MEMLOCK");
    if (wanted.netns)
        must(unshare(CLONE_NEWNET), "unshare");
    if (wanted.uid >= 0)
        become_user(wanted.uid);
    if (wanted.userns)
        become_root_of_nothing();
    if (wanted.denials_count > 0)
        filter_install();
    if (wanted.hang)
        listener_pass_on();
    limit(RLIMIT_NPROC, wanted.processes, "RLIMIT_NPROC");
    limit(RLIMIT_NOFILE, wanted.files, "RLIMIT_NOFILE");
    execv(argv[optind], argv + optind);
    must(-1, argv[optind]);
}
