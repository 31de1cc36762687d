/* doctor.h: what the parts of ringloop-doctor hand to each other: facts, attempts, findings.
 *
 * Facts are read (system.c), attempts are made in processes of their own (child.c, call.c, trial.c), findings are drawn
 * from both (diagnosis.c), and all of it is printed (text.c, json.c). */
#ifndef RINGLOOP_DOCTOR_H
#define RINGLOOP_DOCTOR_H

#include <ringloop.h>

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/utsname.h>

/* ---- system.c: what can be read without trying anything */

struct number {
    bool known;
    long value;
};

struct limit {
    bool          known;
    struct rlimit value;
};

struct system_facts {
    struct utsname kernel;
    char           container[64]; /* "" if nothing looks like one */
    bool           user_namespace;
    long           uid, gid;
    bool           cap_sys_admin, cap_ipc_lock; /* such as count in the system, not in a user namespace */
    struct number  disabled, group;             /* kernel.io_uring_* */
    bool           in_group;
    struct number  seccomp, seccomp_filters; /* of /proc/self/status */
    struct number  selinux_enforcing;
    struct limit   memlock, files, processes;
};

void system_read(struct system_facts *ret_facts);

/* ---- child.c: attempts that may kill the process or never return */

enum ending {
    ENDING_UNTRIED, /* number: negative errno, or 0 if there was no point in trying */
    ENDING_EXITED,  /* number: status */
    ENDING_KILLED,  /* number: signal */
    ENDING_HUNG,    /* it was killed by us when its time was over */
};

struct child_end {
    enum ending ending;
    int         number;
    char        message[256]; /* first line that it wrote to stderr */
};

/* Memory that a child shares with us, zeroed; NULL without memory. */
void *child_memory(size_t size);

/* Runs work(memory) in a child and waits for its end, for at most timeout_ms. */
void child_run(void (*work)(void *memory), void *memory, unsigned timeout_ms, struct child_end *ret_end);

/* ---- call.c: the three system calls, asked one by one */

enum { CALL_SETUP, CALL_ENTER, CALL_REGISTER, CALLS };

struct call_facts {
    const char      *name;
    struct child_end end;
    int              error; /* 0: the kernel's own code has answered; else the negative errno in its place */
};

void calls_try(struct call_facts calls[CALLS], unsigned timeout_ms);

bool call_allowed(const struct call_facts *call);

/* ---- trial.c: a loop, and a round trip through each of its parts */

enum { STEP_NOP, STEP_WORKER, STEP_TIMER, STEP_TCP, STEP_FILE, STEPS };
enum step_state { STEP_UNTRIED, STEP_RUNNING, STEP_PASSED, STEP_FAILED };

struct step {
    enum step_state state;
    int             error;    /* negative errno, if it failed */
    char            what[64]; /* what failed, or what was done */
};

struct trial {
    unsigned             step_ms; /* given: how long one step may take */
    bool                 created, run, ended;
    int                  create_error, run_error;
    struct loop_features features;
    struct step          steps[STEPS];
};

extern const char *const step_names[STEPS];

/* To be run in a child: memory is a struct trial. */
void trial_run(void *memory);

/* ---- diagnosis.c: what it means and what to change */

/* In order of weight; their numbers are the exit status. */
enum level { LEVEL_FINE, LEVEL_RESTRICTED, LEVEL_BROKEN };

enum { ADVICE_MAX = 8, FINDINGS_MAX = 12 };

struct advice {
    bool command; /* to be typed as it stands */
    char text[224];
};

struct finding {
    enum level    level; /* LEVEL_FINE: a remark */
    const char   *name;  /* for programs; never changes */
    int           error; /* negative errno, or 0 */
    char          text[512];
    struct advice advice[ADVICE_MAX];
    unsigned      advice_count;
};

struct report {
    struct system_facts system;
    struct call_facts   calls[CALLS];
    struct child_end    trial_end;
    struct trial        trial;
    struct finding      findings[FINDINGS_MAX];
    unsigned            findings_count;
    enum level          level; /* the worst of the findings */
};

void diagnose(struct report *report);

/* ---- names.c */

enum { NAME_MAX_BYTES = 32 };

/* "EPERM"; for one without a name here "errno 123", written to space. */
const char *error_name(int error, char space[NAME_MAX_BYTES]);

/* "SIGSYS", or "signal 77". */
const char *signal_name(int number, char space[NAME_MAX_BYTES]);

/* NULL where the number has no name here. */
const char *opcode_name(unsigned opcode);
const char *setup_flag_name(unsigned bit);
const char *feature_name(unsigned bit);
const char *obstacle_name(enum loop_obstacle obstacle);

extern const char *const level_names[];

/* ---- text.c, json.c */

void text_print(const struct report *report, bool verbose, FILE *stream);
void json_print(const struct report *report, bool verbose, FILE *stream);

#endif
