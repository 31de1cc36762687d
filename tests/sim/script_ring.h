/* tests/sim/script_ring.h: both seams without a kernel: a ring in memory and a clock that stands still, moved by the
 * test.
 *
 * Linked with the core in place of ring_kernel.c and sys_linux.c. SQEs that the library submits stand pending until the
 * test completes them. By itself the ring only answers nops, polls of the watched clock, and cancels as the kernel
 * would, unless told to be manual. A wait with nothing to report runs on_wait, then moves the clock to the end of its
 * timeout; without a timeout it fails the test. */
#ifndef RINGLOOP_TESTS_SIM_SCRIPT_RING_H
#define RINGLOOP_TESTS_SIM_SCRIPT_RING_H

#include "loop/seam_ring.h"
#include "loop/uapi.h"

#include <stdbool.h>
#include <stdint.h>

enum { SCRIPT_PLAN_MAX = 32, SCRIPT_PENDING_MAX = 1024, SCRIPT_SETUPS_MAX = 64, SCRIPT_FILES_MAX = 8 };

/* What an enter does instead of its usual work. */
struct script_enter {
    int      result; /* negative: returned at once. 0: the usual work, with the limits below */
    unsigned take;   /* with limited: takes no more SQEs than this */
    bool     limited;
    bool     early; /* a wait returns with nothing */
};

struct script_setup {
    unsigned entries, cq_entries, flags;
};

struct script_file {
    const char *path;
    long        number;
};

struct script {
    /* Set by the test. */
    uint64_t now_ns;         /* what sys_clock_ns() says */
    uint64_t clock_step_ns;  /* added at each look at the clock */
    uint64_t wall_ahead_ns;  /* sys_clock_wall_ns() says so much more */
    int      watch_error;    /* of sys_clock_watch() */
    bool     manual;         /* nothing is completed by itself */
    unsigned features;       /* IORING_FEAT_* that set-up reports */
    unsigned refused_flags;  /* set-ups that ask for any of these get -EINVAL */
    unsigned entries_most;   /* larger ones get -ENOMEM */
    int      setup_error;    /* every set-up gets this */
    int      register_error; /* of IORING_REGISTER_PBUF_RING */
    int      register_fds_error;
    /* What kernels without them refuse: groups of this kind, IORING_REGISTER_PBUF_STATUS. */
    bool     refuse_incremental, refuse_status;
    unsigned refused_register;       /* an IORING_REGISTER_* ... */
    int      refused_register_error; /* ... that gets this; 0: none does */
    unsigned buffers_update_most;    /* IORING_REGISTER_BUFFERS_UPDATE gets no further; 0: all the way */
    unsigned opcode_last;
    unsigned threads_most;      /* further ones get -EAGAIN; they are real threads */
    unsigned setup_flags_added; /* IORING_SETUP_* in force though nobody asked: 32-byte completions */
    int      zcrx_error;        /* of IORING_REGISTER_ZCRX_IFQ */
    unsigned restrictions_most; /* longer lists get -EINVAL */
    int      resize_error;
    int      hidden_opcode; /* cancels do not find such; 0: they find all */
    int      worker_opcode; /* a worker has such: a synchronous cancel leaves them, and says so; 0: it has none */
    bool     sqpoll_works;  /* SQPOLL: takes everything at each wait */
    void (*on_wait)(void *arg);
    void               *on_wait_arg;
    struct script_enter plan[SCRIPT_PLAN_MAX]; /* of the next enters */
    unsigned            plan_count;
    struct script_file  files[SCRIPT_FILES_MAX]; /* what sys_read_number() finds; a NULL path ends it */

    /* Looked at by the test. */
    struct script_setup           setups[SCRIPT_SETUPS_MAX];
    unsigned                      setups_count, rings_open;
    bool                          files_registered, buffers_registered;
    unsigned                      ranges_set, range_first, range_count; /* of IORING_REGISTER_FILE_ALLOC_RANGE */
    unsigned                      enters, waits;
    unsigned                      last_to_submit, last_min_complete, last_flags;
    uint64_t                      last_timeout_ns;             /* UINT64_MAX: none */
    struct io_uring_sqe           pending[SCRIPT_PENDING_MAX]; /* in the order submitted */
    unsigned                      pending_count;
    unsigned                      taken;     /* SQEs in all */
    struct io_uring_sqe           last_half; /* the second half of the last SQE of 128 bytes */
    unsigned                      restrictions, resizes, sync_cancels;
    unsigned                      threads_started, threads_refused;
    struct io_uring_zcrx_ifq_reg  zcrx; /* as registered last, with our answers */
    struct io_uring_zcrx_area_reg zcrx_area;
    char                         *zcrx_ring; /* memory of the refill ring */
    int                           watch_fd;  /* of sys_clock_watch(); -1: not called */
    bool                          watch_told;
};

extern struct script script;

/* Everything as it is before a test. */
void script_reset(void);

/* The next enter but those planned already. */
void script_plan(struct script_enter enter);

/* The n-th pending SQE with this opcode, counted from 0; NULL if there are fewer. */
struct io_uring_sqe *script_find(uint8_t opcode, unsigned n);
unsigned             script_count(uint8_t opcode);

/* Posts a completion of a pending SQE, which ends it unless flags has IORING_CQE_F_MORE. */
void script_complete(struct io_uring_sqe *sqe, int32_t res, uint32_t flags);

/* Posts any completion. */
void script_cqe(uint64_t user_data, int32_t res, uint32_t flags);

/* Sets the wall clock forward, or back, and tells the watch. */
void script_clock_set(int64_t change_ns);

/* The pending poll of the watch, or NULL. */
struct io_uring_sqe *script_watch(void);
/* The same with 32 bytes, on a ring with CQE32 or CQE_MIXED. */
void                 script_cqe32(uint64_t user_data, int32_t res, uint32_t flags, const uint64_t extra[2]);

/* SQPOLL: the kernel's thread takes up to count SQEs; goes to sleep, and wants to be woken. */
void script_sqpoll(unsigned count);
void script_sqpoll_sleeps(void);

/* Says in the SQ's flags that the kernel has work for a next enter, until there is one. */
void script_taskrun(void);

/* What the kernel says it has lost: completions, SQEs. */
void script_count_losses(unsigned completions, unsigned sqes);

/* Takes a buffer of the group as the kernel would and fills it, or several as a bundle, or of an incremental group a
 * part; returns the completion's flags for it, or 0 if the group is empty. */
uint32_t script_buffer(uint16_t group, const void *data, uint32_t size);

/* The flags as if the next buffer were taken, which it is not. */
uint32_t script_buffer_peek(uint16_t group);

/* Takes buffers and puts nothing into them. */
void script_buffers_skip(uint16_t group, unsigned count);

/* Takes the next entry of the refill ring of zero-copy receive, as the card would: false if there is none. */
bool script_refill(struct io_uring_zcrx_rqe *ret_entry);

/* Completions in the CQ, and those that it had no room for. */
unsigned script_ready(void);
unsigned script_overflown(void);

#endif
