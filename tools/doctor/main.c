/* main.c: ringloop-doctor: whether io_uring works here, and what to change where it does not. */
#include "doctor.h"

#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { STATUS_MISUSE = 3, TIMEOUT_DEFAULT_S = 10, TIMEOUT_MOST_S = 300 };

static const char help[] =
    "usage: ringloop-doctor [--json | --quiet] [--verbose] [--timeout=SECONDS]\n"
    "\n"
    "Says whether io_uring works for a program started here as this one is, what it offers, and what to\n"
    "change where it does not work. Makes a loop, sends something through each of its parts, and reads\n"
    "settings and limits. Changes nothing; needs no rights; uses TCP on 127.0.0.1 only.\n"
    "\n"
    "  --json             print an object for programs\n"
    "  --quiet            print nothing\n"
    "  --verbose          also print set-up flags, features and opcodes by name\n"
    "  --timeout=SECONDS  how long each of the four attempts may take (default 10)\n"
    "  --help, --version\n"
    "\n"
    "Exit status:\n"
    "  0  io_uring works\n"
    "  1  it works with restrictions: smaller rings, features missing, limits that are low\n"
    "  2  it does not work, or could not be tried\n"
    "  3  wrong arguments, or the report could not be written\n";

struct arguments {
    bool     json, quiet, verbose;
    unsigned timeout_s;
};

static _Noreturn void misuse(void)
{
    fputs("Try ringloop-doctor --help.\n", stderr);
    exit(STATUS_MISUSE);
}

/* What was asked for has to arrive: a full disk is not a working io_uring. */
static _Noreturn void leave(int status)
{
    if (fflush(stdout) != 0 || ferror(stdout)) {
        perror("ringloop-doctor: standard output");
        exit(STATUS_MISUSE);
    }
    exit(status);
}

static unsigned parse_timeout(const char *text)
{
    char         *end;
    unsigned long seconds = strtoul(text, &end, 10);

    if (text[0] < '0' || text[0] > '9' || *end != '\0' || seconds < 1 || seconds > TIMEOUT_MOST_S) {
        fprintf(stderr, "ringloop-doctor: --timeout takes 1 to %d seconds, not %s\n", TIMEOUT_MOST_S, text);
        misuse();
    }
    return (unsigned)seconds;
}

static void arguments_read(int argc, char **argv, struct arguments *ret_arguments)
{
    static const struct option options[] = {
        {"json", no_argument, NULL, 'j'},
        {"quiet", no_argument, NULL, 'q'},
        {"verbose", no_argument, NULL, 'v'},
        {"timeout", required_argument, NULL, 't'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {NULL, 0, NULL, 0},
    };
    int c;

    *ret_arguments = (struct arguments){.timeout_s = TIMEOUT_DEFAULT_S};
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
        switch (c) {
        case 'j': ret_arguments->json = true; break;
        case 'q': ret_arguments->quiet = true; break;
        case 'v': ret_arguments->verbose = true; break;
        case 't': ret_arguments->timeout_s = parse_timeout(optarg); break;
        case 'h': fputs(help, stdout); leave(0);
        case 'V': printf("ringloop-doctor %s\n", loop_version()); leave(0);
        default: misuse();
        }
    if (optind < argc) {
        fprintf(stderr, "ringloop-doctor: unexpected argument: %s\n", argv[optind]);
        misuse();
    }
}

static void time_over(int number)
{
    static const char text[] = "ringloop-doctor: did not end in time\n";
    ssize_t           r = write(STDERR_FILENO, text, sizeof(text) - 1);

    (void)number;
    (void)r;
    _exit(LEVEL_BROKEN);
}

/* Where one of the calls kills or hangs, the loop would do no better. */
static bool trial_has_a_point(const struct call_facts calls[CALLS])
{
    for (unsigned i = 0; i < CALLS; i++)
        if (calls[i].end.ending != ENDING_EXITED)
            return false;
    return true;
}

static void trial_make(struct report *report, unsigned timeout_ms)
{
    struct trial *trial = child_memory(sizeof(*trial));

    if (trial == NULL || !trial_has_a_point(report->calls)) {
        report->trial_end = (struct child_end){.ending = ENDING_UNTRIED};
    } else {
        trial->step_ms = timeout_ms / 2;
        child_run(trial_run, trial, timeout_ms, &report->trial_end);
        report->trial = *trial;
    }
    if (trial != NULL)
        munmap(trial, sizeof(*trial));
}

int main(int argc, char **argv)
{
    static struct report report;
    struct arguments     arguments;

    arguments_read(argc, argv, &arguments);
    (void)signal(SIGCHLD, SIG_DFL); /* whoever started us may have had it ignored: then nobody could be waited for */
    (void)signal(SIGALRM, time_over);
    alarm((CALLS + 2) *
          (arguments.timeout_s + 1)); /* every attempt is bounded; this is for what nobody has thought of */
    system_read(&report.system);
    calls_try(report.calls, arguments.timeout_s * 1000);
    trial_make(&report, arguments.timeout_s * 1000);
    diagnose(&report);
    if (!arguments.quiet && arguments.json)
        json_print(&report, arguments.verbose, stdout);
    else if (!arguments.quiet)
        text_print(&report, arguments.verbose, stdout);
    leave((int)report.level);
}
