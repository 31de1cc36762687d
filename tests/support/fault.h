/* tests/support/fault.h: sweeps of faults: a scene is played again and again, and each time the next allocation, system
 * call or entry of the ring fails, until none is left to fail. For programs that are linked with the static library and
 * ringloop_wrap_seams() of tests/CMakeLists.txt. */
#ifndef RINGLOOP_TESTS_SUPPORT_FAULT_H
#define RINGLOOP_TESTS_SUPPORT_FAULT_H

#include "tests/support/test.h"

enum fault_kind {
    FAULT_NONE,
    FAULT_MEMORY,         /* one allocation */
    FAULT_MEMORY_LASTING, /* one and all that follow, for a while */
    FAULT_CALL,           /* a system call that is not the ring's, or a registration; it has no effect */
    FAULT_ENTRY,          /* an entry of the SQ; it has no effect */
    FAULT_OPS_MAX,        /* the loop may have n operations at a time */
};

/* Something that was started, and ends in one callback. */
struct thing {
    bool     open;
    uint32_t ends;
    int      error;
};

/* Notes what a start returned: an id or 0, or a negative errno; whether it is the former. */
bool thing_began(struct thing *thing, int64_t result);
void thing_ended(struct thing *thing, int error);
/* What went wrong besides: none of it may be silent. */
void thing_told(int error);

loop_cb thing_cb;    /* arg: a thing */
loop_cb thing_fd_cb; /* the same, and closes the descriptor that is the result */

/* One play. start: starts things. wait (NULL: until all things have ended): what has to come before close (may be
 * NULL), which ends what does not end by itself. check (may be NULL): what the world looks like if nothing was told to
 * have gone wrong; otherwise, unless the loop was destroyed in the midst, spoiled (may be NULL). All are called with no
 * callback below. */
struct scene {
    const char *name;
    void (*prepare)(void);
    void (*start)(struct loop *loop);
    bool (*wait)(void);
    void (*close)(void);
    void (*check)(void);
    void (*tidy)(void); /* after the end of the loop */
};

/* What is failing just now. */
struct fault {
    enum fault_kind  kind;
    uint32_t         nth;
    int              error;
    _Atomic bool     armed;
    _Atomic uint32_t count;
    _Atomic bool     met;
    char             name[64]; /* of the call or the operation that failed */
    bool             midst;    /* the loop is destroyed after some turns */
    bool             forked;   /* this is about a child of fork(2): others may own what was under way */
    uint32_t         errors;   /* told */
};
extern struct fault fault;

/* Each n until nothing is met; of FAULT_OPS_MAX up to a bound. error: what fails says so; memory: -ENOMEM. Things are
 * to end once, with errors that come from the fault, and nothing of the loop's may be left; it goes on afterwards. */
void fault_sweep(const struct scene *scene, enum fault_kind kind, int error, bool midst);

/* The same for a scene that has begun, and whose loop then moves into a child of fork(2), or is given up and goes on.
 */
void fault_sweep_moved(const struct scene *scene, enum fault_kind kind, int error, bool forked);

/* Its parts, for those who play otherwise: from arm to disarm things fail. */
void        fault_choose(enum fault_kind kind, uint32_t nth, int error, bool midst);
void        fault_arm(void);
void        fault_disarm(void);
void        fault_pump(struct loop *loop, bool (*done)(void), const char *what); /* NULL: until all things have ended */
void        fault_goes_on(struct loop *loop, const char *what);
void        fault_settle(const char *what); /* all have ended, and no memory is left */
/* In a child: but for what threads of the parent had on the heap just when it forked. */
extern bool fault_blocks_stay;
const char *fault_here(void);   /* for messages */
void        fault_forget(void); /* things that nobody will end */

/* Whether the kernel can be made to give results (IORING_NOP_INJECT_RESULT). */
bool fault_entries_work(void);

#endif
