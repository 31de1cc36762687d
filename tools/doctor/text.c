/* text.c: the report for people. */
#include "doctor.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LABEL_COLUMNS = 20, LINE_COLUMNS = 100 };

enum colour { PLAIN, GREEN, YELLOW, RED };
static bool colours;

static const char *colour_begin(enum colour colour)
{
    static const char *const codes[] = {"", "\033[32m", "\033[33m", "\033[31m"};

    return colours ? codes[colour] : "";
}

static const char *colour_end(enum colour colour)
{
    return colours && colour != PLAIN ? "\033[0m" : "";
}

/* Prints text from column indent on, where the line stands; what does not fit goes below its beginning. */
static void wrap(unsigned indent, const char *text, FILE *stream)
{
    unsigned column = indent;

    while (*text != '\0') {
        unsigned length = (unsigned)strcspn(text, " ");

        if (column > indent && column + 1 + length > LINE_COLUMNS) {
            fprintf(stream, "\n%*s", (int)indent, "");
            column = indent;
        } else if (column > indent) {
            putc(' ', stream);
            column++;
        }
        fprintf(stream, "%.*s", (int)length, text);
        column += length;
        text += length;
        text += strspn(text, " ");
    }
}

static void row(const char *label, enum colour colour, const char *text, FILE *stream)
{
    fprintf(stream, "  %-*s%s", LABEL_COLUMNS, label, colour_begin(colour));
    wrap(2 + LABEL_COLUMNS, text, stream);
    fprintf(stream, "%s\n", colour_end(colour));
}

__attribute__((format(printf, 4, 5))) static void line(FILE *stream, const char *label, enum colour colour,
                                                       const char *format, ...)
{
    char    text[1024];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    row(label, colour, text, stream);
}

/* ---- system */

static const char *amount(rlim_t value, unsigned unit, char space[32])
{
    if (value == RLIM_INFINITY)
        return "unlimited";
    snprintf(space, 32, "%llu", (unsigned long long)value / unit);
    return space;
}

static void limit_print(const char *label, const struct limit *limit, unsigned unit, const char *what, FILE *stream)
{
    char soft[32], hard[32];

    if (!limit->known)
        line(stream, label, PLAIN, "not known");
    else if (limit->value.rlim_cur == RLIM_INFINITY)
        line(stream, label, PLAIN, "unlimited");
    else
        line(stream, label, PLAIN, "%s%s (hard limit: %s)", amount(limit->value.rlim_cur, unit, soft), what,
             amount(limit->value.rlim_max, unit, hard));
}

static void sysctls_print(const struct system_facts *facts, FILE *stream)
{
    static const char *const meanings[] = {"everybody may make rings",
                                           "only CAP_SYS_ADMIN and one group may make rings", "nobody may make rings"};
    long                     value = facts->disabled.value;

    if (!facts->disabled.known)
        line(stream, "io_uring_disabled", PLAIN, "not there (kernel before 6.6, or no /proc)");
    else
        line(stream, "io_uring_disabled", PLAIN, "%ld: %s", value, meanings[value < 0 || value > 2 ? 2 : value]);
    if (facts->group.known)
        line(stream, "io_uring_group", PLAIN, "%ld: %s", facts->group.value,
             facts->group.value < 0 ? "none"
             : facts->in_group      ? "this process is in it"
                                    : "this process is not in it");
}

static void seccomp_print(const struct system_facts *facts, FILE *stream)
{
    static const char *const modes[] = {"no filter", "strict", "filtered"};
    char                     count[64] = "";

    if (!facts->seccomp.known || facts->seccomp.value < 0 || facts->seccomp.value > 2) {
        line(stream, "seccomp", PLAIN, "not known");
        return;
    }
    if (facts->seccomp.value == 2 && facts->seccomp_filters.known)
        snprintf(count, sizeof(count), ", filters: %ld", facts->seccomp_filters.value);
    line(stream, "seccomp", PLAIN, "%s%s", modes[facts->seccomp.value], count);
}

static void system_print(const struct system_facts *facts, FILE *stream)
{
    fputs("\nSystem\n", stream);
    line(stream, "kernel", PLAIN, "%s %s %s (nothing is decided by it)", facts->kernel.sysname, facts->kernel.release,
         facts->kernel.machine);
    line(stream, "container", PLAIN, "%s", facts->container[0] != '\0' ? facts->container : "no sign of one");
    line(stream, "user", PLAIN, "%ld, group %ld%s%s%s", facts->uid, facts->gid,
         facts->cap_sys_admin ? ", CAP_SYS_ADMIN" : "", facts->cap_ipc_lock ? ", CAP_IPC_LOCK" : "",
         facts->user_namespace ? ", in a user namespace" : "");
    sysctls_print(facts, stream);
    seccomp_print(facts, stream);
    if (facts->selinux_enforcing.known)
        line(stream, "SELinux", PLAIN, "%s", facts->selinux_enforcing.value == 1 ? "enforcing" : "permissive");
    limit_print("locked memory", &facts->memlock, 1024,
                facts->cap_ipc_lock ? " KiB, but not for CAP_IPC_LOCK" : " KiB for all of this user's processes",
                stream);
    limit_print("descriptors", &facts->files, 1, "", stream);
    limit_print("processes", &facts->processes, 1, " with threads, also those of the kernel's workers", stream);
}

/* ---- attempts */

static void call_print(const struct call_facts *call, FILE *stream)
{
    char space[NAME_MAX_BYTES];

    switch (call->end.ending) {
    case ENDING_UNTRIED: line(stream, call->name, RED, "not tried: %s", error_name(call->end.number, space)); break;
    case ENDING_KILLED:
        line(stream, call->name, RED, "killed by signal %s", signal_name(call->end.number, space));
        break;
    case ENDING_HUNG: line(stream, call->name, RED, "does not return"); break;
    case ENDING_EXITED:
        if (call->error != 0)
            line(stream, call->name, RED, "denied: %s", error_name(call->error, space));
        else
            line(stream, call->name, GREEN, "allowed");
        break;
    }
}

static void obtained(const char *label, bool is, FILE *stream)
{
    line(stream, label, is ? GREEN : YELLOW, "%s", is ? "yes" : "no");
}

static void names_print(const char *label, uint32_t bits, const char *(*bit_name)(unsigned bit), FILE *stream)
{
    char     text[1024] = "";
    unsigned used = 0;

    for (unsigned bit = 0; bit < 32; bit++)
        if ((bits >> bit & 1) != 0 && bit_name(bit) != NULL)
            used += (unsigned)snprintf(text + used, sizeof(text) - used, "%s%s", used > 0 ? " " : "", bit_name(bit));
    line(stream, label, PLAIN, "%s", text);
}

static void opcodes_print(unsigned last, FILE *stream)
{
    char     text[1024] = "";
    unsigned used = 0;

    for (unsigned i = 0; i <= last && opcode_name(i) != NULL; i++)
        used += (unsigned)snprintf(text + used, sizeof(text) - used, "%s%s", used > 0 ? " " : "", opcode_name(i));
    line(stream, "opcodes", PLAIN, "%s", text);
}

static void loop_print(const struct report *report, bool verbose, FILE *stream)
{
    const struct trial         *trial = &report->trial;
    const struct loop_features *features = &trial->features;
    const char                 *name = opcode_name(features->opcode_last);
    char                        space[NAME_MAX_BYTES];

    fputs("\nLoop with default options\n", stream);
    if (report->trial_end.ending == ENDING_UNTRIED)
        line(stream, "loop_create()", PLAIN, "not tried");
    else if (!trial->created)
        line(stream, "loop_create()", RED, "%s",
             trial->create_error < 0 ? error_name(trial->create_error, space) : "did not return");
    if (!trial->created)
        return;
    line(stream, "SQ, CQ", PLAIN, "%u, %u entries", features->sq_entries, features->cq_entries);
    obtained("SINGLE_ISSUER", features->single_issuer, stream);
    obtained("DEFER_TASKRUN", features->defer_taskrun, stream);
    if (trial->run) /* it is registered by the first run */
        obtained("registered ring", features->registered_ring, stream);
    else
        line(stream, "registered ring", PLAIN, "not known");
    obtained("minimum wait", features->min_wait, stream);
    line(stream, "last opcode", PLAIN, "%u%s%s", features->opcode_last, name != NULL ? ", " : "",
         name != NULL ? name : "");
    if (!verbose)
        return;
    names_print("set-up flags", features->setup_flags, setup_flag_name, stream);
    names_print("kernel features", features->kernel_features, feature_name, stream);
    opcodes_print(features->opcode_last, stream);
}

static void steps_print(const struct trial *trial, FILE *stream)
{
    static const char *const labels[STEPS] = {
        [STEP_NOP] = "nop",   [STEP_WORKER] = "worker thread", [STEP_TIMER] = "timer", [STEP_TCP] = "TCP",
        [STEP_FILE] = "file",
    };
    char space[NAME_MAX_BYTES];

    fputs("\nRound trips\n", stream);
    for (unsigned i = 0; i < STEPS; i++)
        switch (trial->steps[i].state) {
        case STEP_UNTRIED: line(stream, labels[i], PLAIN, "not tried"); break;
        case STEP_RUNNING: line(stream, labels[i], RED, "did not come back: %s", trial->steps[i].what); break;
        case STEP_PASSED: line(stream, labels[i], GREEN, "ok: %s", trial->steps[i].what); break;
        case STEP_FAILED:
            line(stream, labels[i], RED, "%s: %s", error_name(trial->steps[i].error, space), trial->steps[i].what);
            break;
        }
}

/* ---- findings */

static void finding_print(const struct finding *finding, FILE *stream)
{
    static const char *const titles[] = {"Remark", "Restriction", "Obstacle"};
    enum colour colour = finding->level == LEVEL_BROKEN ? RED : finding->level == LEVEL_RESTRICTED ? YELLOW : PLAIN;

    fprintf(stream, "\n%s%s%s: %s\n  ", colour_begin(colour), titles[finding->level], colour_end(colour),
            finding->name);
    wrap(2, finding->text, stream);
    putc('\n', stream);
    for (unsigned i = 0; i < finding->advice_count; i++)
        if (finding->advice[i].command) {
            fprintf(stream, "      %s\n", finding->advice[i].text);
        } else {
            fputs("  - ", stream);
            wrap(4, finding->advice[i].text, stream);
            putc('\n', stream);
        }
}

void text_print(const struct report *report, bool verbose, FILE *stream)
{
    static const char *const results[] = {"io_uring works here.", "io_uring works here, with restrictions.",
                                          "io_uring does not work here."};
    static const enum colour colour[] = {GREEN, YELLOW, RED};
    const char              *terminal = getenv("TERM"), *result = results[report->level];

    /* Nothing was tried: nothing is known either. */
    if (report->calls[CALL_SETUP].end.ending == ENDING_UNTRIED)
        result = "Whether io_uring works here could not be found out.";
    colours = isatty(fileno(stream)) && getenv("NO_COLOR") == NULL && terminal != NULL && strcmp(terminal, "dumb") != 0;
    fprintf(stream, "ringloop-doctor %s\n", loop_version());
    system_print(&report->system, stream);
    fputs("\nSystem calls\n", stream);
    for (unsigned i = 0; i < CALLS; i++)
        call_print(&report->calls[i], stream);
    loop_print(report, verbose, stream);
    steps_print(&report->trial, stream);
    for (unsigned i = 0; i < report->findings_count; i++)
        finding_print(&report->findings[i], stream);
    fprintf(stream, "\n%s%s%s\n", colour_begin(colour[report->level]), result, colour_end(colour[report->level]));
}
