/* json.c: the report for programs. Names of members and of findings never change; new ones may come. */
#include "doctor.h"

#include <string.h>

static void string_print(const char *text, FILE *stream)
{
    putc('"', stream);
    for (const unsigned char *c = (const unsigned char *)text; *c != '\0'; c++)
        if (*c == '"' || *c == '\\')
            fprintf(stream, "\\%c", *c);
        else if (*c < 0x20 || *c >= 0x7f) /* what is no ASCII may be no UTF-8 either */
            fprintf(stream, "\\u%04x", *c);
        else
            putc(*c, stream);
    putc('"', stream);
}

/* "name": "text", or null; then a comma. */
static void text_member(const char *name, const char *text, FILE *stream)
{
    fprintf(stream, "\"%s\": ", name);
    if (text == NULL)
        fputs("null", stream);
    else
        string_print(text, stream);
    fputs(", ", stream);
}

static void bool_member(const char *name, bool value, FILE *stream)
{
    fprintf(stream, "\"%s\": %s, ", name, value ? "true" : "false");
}

static void number_member(const char *name, const struct number *number, FILE *stream)
{
    if (number->known)
        fprintf(stream, "\"%s\": %ld, ", name, number->value);
    else
        fprintf(stream, "\"%s\": null, ", name);
}

static void error_member(const char *name, int error, FILE *stream)
{
    char space[NAME_MAX_BYTES];

    text_member(name, error < 0 ? error_name(error, space) : NULL, stream);
}

static void amount_print(rlim_t amount, FILE *stream)
{
    if (amount == RLIM_INFINITY)
        fputs("null", stream);
    else
        fprintf(stream, "%llu", (unsigned long long)amount);
}

/* null within: no limit; null alone: not known. */
static void limit_member(const char *name, const struct limit *limit, const char *behind, FILE *stream)
{
    fprintf(stream, "\"%s\": ", name);
    if (limit->known) {
        fputs("{\"soft\": ", stream);
        amount_print(limit->value.rlim_cur, stream);
        fputs(", \"hard\": ", stream);
        amount_print(limit->value.rlim_max, stream);
        putc('}', stream);
    } else {
        fputs("null", stream);
    }
    fputs(behind, stream);
}

static void system_print(const struct system_facts *facts, FILE *stream)
{
    fputs("  \"system\": {", stream);
    text_member("kernel", facts->kernel.release, stream);
    text_member("machine", facts->kernel.machine, stream);
    text_member("container", facts->container[0] != '\0' ? facts->container : NULL, stream);
    bool_member("user_namespace", facts->user_namespace, stream);
    fprintf(stream, "\"uid\": %ld, \"gid\": %ld, ", facts->uid, facts->gid);
    bool_member("cap_sys_admin", facts->cap_sys_admin, stream);
    bool_member("cap_ipc_lock", facts->cap_ipc_lock, stream);
    number_member("io_uring_disabled", &facts->disabled, stream);
    number_member("io_uring_group", &facts->group, stream);
    bool_member("in_io_uring_group", facts->in_group, stream);
    number_member("seccomp", &facts->seccomp, stream);
    number_member("seccomp_filters", &facts->seccomp_filters, stream);
    number_member("selinux_enforcing", &facts->selinux_enforcing, stream);
    limit_member("memlock_bytes", &facts->memlock, ", ", stream);
    limit_member("files", &facts->files, ", ", stream);
    limit_member("processes", &facts->processes, "},\n", stream);
}

static void end_members(const struct child_end *end, FILE *stream)
{
    static const char *const endings[] = {"untried", "exited", "killed", "hung"};
    char                     space[NAME_MAX_BYTES];

    text_member("ending", endings[end->ending], stream);
    text_member("signal", end->ending == ENDING_KILLED ? signal_name(end->number, space) : NULL, stream);
    text_member("message", end->message[0] != '\0' ? end->message : NULL, stream);
}

static void calls_print(const struct call_facts calls[CALLS], FILE *stream)
{
    fputs("  \"calls\": {\n", stream);
    for (unsigned i = 0; i < CALLS; i++) {
        fprintf(stream, "    \"%s\": {", calls[i].name);
        end_members(&calls[i].end, stream);
        error_member("error", calls[i].error, stream);
        fprintf(stream, "\"allowed\": %s}%s\n", call_allowed(&calls[i]) ? "true" : "false", i + 1 < CALLS ? "," : "");
    }
    fputs("  },\n", stream);
}

static void names_print(const char *name, uint32_t bits, const char *(*bit_name)(unsigned bit), FILE *stream)
{
    const char *between = "";

    fprintf(stream, ", \"%s\": [", name);
    for (unsigned bit = 0; bit < 32; bit++)
        if ((bits >> bit & 1) != 0 && bit_name(bit) != NULL) {
            fprintf(stream, "%s\"%s\"", between, bit_name(bit));
            between = ", ";
        }
    putc(']', stream);
}

static void features_print(const struct loop_features *features, bool verbose, FILE *stream)
{
    fprintf(stream, "{\"sq_entries\": %u, \"cq_entries\": %u, ", features->sq_entries, features->cq_entries);
    bool_member("single_issuer", features->single_issuer, stream);
    bool_member("defer_taskrun", features->defer_taskrun, stream);
    bool_member("registered_ring", features->registered_ring, stream);
    bool_member("min_wait", features->min_wait, stream);
    fprintf(stream, "\"opcode_last\": %u, \"setup_flags\": %u, \"kernel_features\": %u", features->opcode_last,
            features->setup_flags, features->kernel_features);
    if (verbose) {
        names_print("setup_flag_names", features->setup_flags, setup_flag_name, stream);
        names_print("kernel_feature_names", features->kernel_features, feature_name, stream);
        fputs(", \"opcode_names\": [", stream);
        for (unsigned i = 0; i <= features->opcode_last && opcode_name(i) != NULL; i++)
            fprintf(stream, "%s\"%s\"", i > 0 ? ", " : "", opcode_name(i));
        putc(']', stream);
    }
    putc('}', stream);
}

static void trial_print(const struct report *report, bool verbose, FILE *stream)
{
    static const char *const states[] = {"untried", "running", "passed", "failed"};
    const struct trial      *trial = &report->trial;

    fputs("  \"loop\": {", stream);
    end_members(&report->trial_end, stream);
    bool_member("created", trial->created, stream);
    bool_member("run", trial->run, stream);
    error_member("error", trial->create_error < 0 ? trial->create_error : trial->run_error, stream);
    text_member("obstacle", trial->create_error < 0 ? obstacle_name(loop_obstacle(trial->create_error)) : NULL, stream);
    fputs("\"features\": ", stream);
    if (trial->created)
        features_print(&trial->features, verbose, stream);
    else
        fputs("null", stream);
    fputs("},\n  \"trials\": {\n", stream);
    for (unsigned i = 0; i < STEPS; i++) {
        fprintf(stream, "    \"%s\": {", step_names[i]);
        error_member("error", trial->steps[i].error, stream);
        text_member("what", trial->steps[i].what, stream);
        fprintf(stream, "\"state\": \"%s\"}%s\n", states[trial->steps[i].state], i + 1 < STEPS ? "," : "");
    }
    fputs("  },\n", stream);
}

static void finding_print(const struct finding *finding, FILE *stream)
{
    fputs("    {", stream);
    text_member("level", level_names[finding->level], stream);
    text_member("name", finding->name, stream);
    error_member("error", finding->error, stream);
    text_member("text", finding->text, stream);
    fputs("\"advice\": [", stream);
    for (unsigned i = 0; i < finding->advice_count; i++) {
        fputs(i > 0 ? ", {" : "{", stream);
        bool_member("command", finding->advice[i].command, stream);
        fputs("\"text\": ", stream);
        string_print(finding->advice[i].text, stream);
        putc('}', stream);
    }
    fputs("]}", stream);
}

void json_print(const struct report *report, bool verbose, FILE *stream)
{
    fputs("{\n  ", stream);
    text_member("version", loop_version(), stream);
    text_member("status", level_names[report->level], stream);
    fprintf(stream, "\"exit\": %d,\n", (int)report->level);
    system_print(&report->system, stream);
    calls_print(report->calls, stream);
    trial_print(report, verbose, stream);
    fputs("  \"findings\": [", stream);
    for (unsigned i = 0; i < report->findings_count; i++) {
        fputs(i > 0 ? ",\n" : "\n", stream);
        finding_print(&report->findings[i], stream);
    }
    fputs(report->findings_count > 0 ? "\n  ]\n}\n" : "]\n}\n", stream);
}
