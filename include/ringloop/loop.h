/* ringloop/loop.h: the loop itself: create, run, stop, destroy; options, features, statistics.
 *
 * Life: loop_create > (start operations and objects) > loop_run > loop_destroy. The thread that first runs
 * the loop owns it from then on; before that any one thread may use it, and what it starts only queues.
 *
 * The order of one turn of loop_run():
 *   1. what other threads have started on a shared loop
 *   2. idle hooks, prepare hooks (hooks.h), each kind in the order of start
 *   3. results known early, and what objects have gathered: writes, closes and their callbacks, errors untold
 *   4. submit and wait, in one call: until the next timer; not at all while there is an idle hook, or results, posts,
 *      signals, sends or timers are due, or nothing keeps the loop alive; then the cached time is refreshed
 *   5. completions in the order the kernel gave them
 *   6. results of the work pool
 *   7. posts, in their order; then signals (signal.h); then async handles (async.h), in the order of their first sends
 *   8. check hooks, in the order of start
 *   9. due timers, and deadlines, by (deadline, order of start)
 * What is started in 2 and 3 leaves with 4; what in 5 to 9, with 4 of the next turn, or before loop_run() returns. */
#ifndef RINGLOOP_LOOP_H
#define RINGLOOP_LOOP_H

#include <ringloop/types.h>

#include <stdbool.h>

LOOP_BEGIN_DECLS

/* All memory of a loop comes from here: like realloc(3); size 0 frees and returns NULL. Must be thread-safe if other
 * threads post, and for trees (tree.h). */
typedef void *loop_resize(void *arg, void *memory, size_t size);
struct loop_allocator {
    loop_resize *resize LOOP_NONE;
    void *arg           LOOP_NONE;
};

/* When queued SQEs go to the kernel: at batch of them, or when the first is deadline_ns old, or when the loop
 * is about to wait, whichever comes first. min_wait_*: a wait goes on for min_wait_ns (at most until the next timer) or
 * until min_wait_batch completions are there (kernel 6.12; ignored, and reported so, where it lacks that). */
struct loop_submit_policy {
    uint32_t batch          LOOP_ZERO; /* 0: the size of the SQ */
    uint32_t min_wait_batch LOOP_ZERO; /* 0: 1 */
    uint64_t deadline_ns    LOOP_ZERO; /* 0: none, and no clock is read between callbacks */
    uint64_t min_wait_ns    LOOP_ZERO; /* 0: none */
};

/* The pool of threads for loop_work(). A class may hold no more than its number of threads at a time; one that is
 * greater than threads_max means all. See work.h. */
struct loop_work_options {
    uint32_t threads_max         LOOP_ZERO; /* 0: 4; at most 1024 */
    uint32_t default_threads_max LOOP_ZERO; /* 0: all. Fewer keep some free for urgent items */
    uint32_t slow_threads_max    LOOP_ZERO; /* 0: half of them, rounded up */
    uint32_t urgent_threads_max  LOOP_ZERO; /* 0: all */
    uint32_t queue_max           LOOP_ZERO; /* 0: 1 048 576 items that have not begun, then -ENOBUFS */
    uint32_t reserved            LOOP_ZERO;
};

/* Sizes with names, for loop_options.sq_entries, which takes any number. */
enum loop_ring_size {
    LOOP_RING_PICO = 8,
    LOOP_RING_NANO = 16,
    LOOP_RING_MICRO = 32,
    LOOP_RING_TINY = 64,
    LOOP_RING_SMALL = 128,
    LOOP_RING_MEDIUM = 256, /* the default */
    LOOP_RING_LARGE = 1024,
    LOOP_RING_HUGE = 4096,
    LOOP_RING_GIANT = 32768, /* the most */
};

/* How the loop's ring works, for those who need it: see docs/modes.md. What the kernel lacks is refused by
 * loop_create() with -EOPNOTSUPP, what makes no sense together with -EINVAL. */
enum loop_mode_flags {
    LOOP_MODE_SHARED = 1u << 0,     /* other threads may start and cancel operations; callbacks stay on the loop's */
    LOOP_MODE_SQPOLL = 1u << 1,     /* a thread of the kernel's submits, and burns a CPU as long as there is traffic */
    LOOP_MODE_SQPOLL_CPU = 1u << 2, /* with SQPOLL: that thread keeps to loop_modes.sqpoll_cpu */
    LOOP_MODE_IOPOLL = 1u << 3,     /* for O_DIRECT storage only: the loop polls the device, and nothing else works */
    LOOP_MODE_HYBRID_IOPOLL = 1u << 4, /* with IOPOLL: the kernel sleeps for a while before it polls; 6.13 */
    LOOP_MODE_SQE128 = 1u << 5,        /* SQEs of 128 bytes: 80 bytes of command for loop_uring_cmd() */
    LOOP_MODE_SQE_MIXED = 1u << 6,     /* SQEs of both sizes: loop_uring_cmd128(); not with SQE128; 6.19 */
    LOOP_MODE_CQE32 = 1u << 7,         /* completions of 32 bytes: LOOP_CQE32 */
    LOOP_MODE_CQE_MIXED = 1u << 8,     /* of both sizes, as the operation needs it; not with CQE32; 6.18 */
    LOOP_MODE_NO_IOWAIT = 1u << 9,     /* waiting is not accounted as waiting for I/O, nor speeds up the CPU; 6.15 */
    LOOP_MODE_CQ_GROWS = 1u << 10,     /* a CQ that was found overflown is doubled, up to 65536; 6.13, DEFER_TASKRUN */
};

/* An allow-list of operations: the loop can then start no others, and they can't be allowed again. */
struct loop_restrictions {
    const uint8_t *opcodes LOOP_NONE; /* enum loop_opcode */
    uint32_t opcodes_count LOOP_ZERO;
    uint32_t reserved      LOOP_ZERO;
};

/* Numbers that belong to modes. All zero: none of it. */
struct loop_modes {
    uint32_t sqpoll_idle_ms     LOOP_ZERO; /* with SQPOLL: the thread sleeps after that long without work; 0: 1000 */
    uint32_t sqpoll_cpu         LOOP_ZERO; /* with SQPOLL_CPU */
    uint64_t spin_ns            LOOP_ZERO; /* before it sleeps the loop looks for work for that long; 0: not at all */
    uint32_t napi_busy_poll_us  LOOP_ZERO; /* as loop_napi_set() */
    uint32_t napi_prefer        LOOP_ZERO; /* 0 or 1 */
    uint32_t iowq_bounded_max   LOOP_ZERO; /* as loop_iowq_workers_set(), from the first run on */
    uint32_t iowq_unbounded_max LOOP_ZERO;
    uint64_t iowq_cpus          LOOP_ZERO;                  /* bit n: kernel workers may run on CPU n; 0: everywhere */
    const struct loop_restrictions *restrictions LOOP_NONE; /* copied; NULL: everything is allowed */
    uint64_t reserved                            LOOP_ZERO;
};

/* { 0 }, or NULL, is valid and the default. Reserved members must be 0. */
struct loop_options {
    uint32_t sq_entries              LOOP_ZERO; /* 0: 256; rounded up to a power of two, at least 8, at most 32768 */
    uint32_t cq_entries              LOOP_ZERO; /* 0: 16 times the SQ; at least sq_entries, at most 65536 */
    uint32_t ops_max                 LOOP_ZERO; /* 0: 1 048 576 operations at a time, then -ENOBUFS */
    uint32_t posts_max               LOOP_ZERO; /* 0: 1 048 576 posts waiting, then -ENOBUFS */
    struct loop_submit_policy submit LOOP_EMPTY;
    struct loop_allocator allocator  LOOP_EMPTY; /* resize NULL: realloc(3) */
    uint32_t buffer_size             LOOP_ZERO;  /* default buffer group: bytes per buffer; 0: 16384 */
    uint32_t buffer_count            LOOP_ZERO;  /* 0: 256; a power of two up to 32768 */
    uint64_t buffer_budget           LOOP_ZERO;  /* bytes of all size classes together; 0: 8 MiB; see buffer.h */
    uint32_t flags                   LOOP_ZERO;  /* enum loop_mode_flags */
    uint32_t reserved                LOOP_ZERO;
    struct loop_work_options work    LOOP_EMPTY;
    struct loop_modes modes          LOOP_EMPTY;
};

/* What was obtained from this kernel. Found out by asking for it, never by its version. */
struct loop_features {
    uint32_t sq_entries;
    uint32_t cq_entries;
    uint32_t setup_flags;     /* IORING_SETUP_* in force */
    uint32_t kernel_features; /* IORING_FEAT_* */
    uint32_t opcode_last;     /* highest opcode the kernel knows */
    bool     single_issuer;
    bool     defer_taskrun;
    bool     registered_ring; /* the ring descriptor is registered; true from the first run on */
    bool     min_wait;        /* loop_submit_policy.min_wait_* has effect */
    uint32_t modes;           /* enum loop_mode_flags in force */
    bool     restricted;
    bool     no_sqarray; /* the SQ has no array of indices (6.6); always asked for */
};

/* Counters since loop_create, but for those marked as levels. */
struct loop_stats {
    uint64_t ops_started;
    uint64_t ops_finished;
    uint64_t ops_in_flight; /* level */
    uint64_t ops_full;      /* starts refused with -ENOBUFS: the pool was at its limit */
    uint64_t callbacks;
    uint64_t silent_errors;  /* operations without a callback that failed */
    uint64_t cqes;           /* completions taken from the CQ */
    uint64_t cqes_stale;     /* dropped: their operation had ended, or never was */
    uint64_t cqes_unclaimed; /* foreign completions for which nobody had registered */
    uint64_t cq_overflows;   /* times the kernel's CQ was found overflown */
    uint64_t turns;
    uint64_t enters; /* io_uring_enter calls, by reason: */
    uint64_t enters_batch_full;
    uint64_t enters_deadline;
    uint64_t enters_wait; /* submit and wait in one call */
    uint64_t enters_sq_full;
    uint64_t enters_asked; /* loop_submit() */
    uint64_t sqes_submitted;
    uint64_t sqes_backlogged; /* SQEs that found no room in the SQ and were queued behind it */
    uint64_t waits_early;     /* waits that ended with nothing before their time */
    uint64_t cancels;         /* cancel requests sent to the kernel */
    uint64_t deadlines_passed;
    uint64_t rearms;         /* multishots ended by the kernel and armed again */
    uint64_t buffers_parked; /* times a multishot waited for a buffer */
    uint64_t buffers_lent;   /* level: buffers of all groups that are out */
    uint64_t buffer_bytes;   /* level: memory of all groups, with their rings */
    uint64_t posts;
    uint64_t posts_full; /* posts refused with -ENOBUFS */
    uint64_t wakes;      /* wake system calls made */
    uint64_t timers_fired;
    uint64_t foreign_cqes;  /* completions of the user's own SQEs */
    uint64_t context_bytes; /* level: memory held by the context pool */
    uint64_t work_waiting;  /* level: work items that have not begun */
    uint64_t work_threads;  /* level: threads of the work pool */
    uint64_t work_full;     /* work items refused with -ENOBUFS: queue_max were waiting */
    uint64_t ops_failed;    /* of ops_finished: with an error, but for the next two; by opcode in observe.h */
    uint64_t ops_canceled;
    uint64_t ops_timed_out;
    uint64_t ops_in_flight_max; /* highest level seen when the loop was about to wait */
    uint64_t enters_failed;     /* that will be tried again; not those that were interrupted or timed out */
    uint64_t cqes_lost;         /* the kernel's own count: completions it had no memory for */
    uint64_t sqes_dropped;      /* the kernel's own count: SQEs it called invalid; 0 but for bugs */
    uint64_t errors_untold;     /* events that the error hook was not told: too many at a time */
    uint64_t idle_ns;           /* see loop_idle_measure() */
    uint64_t resolves_full;     /* name look-ups refused with -ENOBUFS: LOOP_RESOLVES_MAX were in flight */
    uint64_t fds_dropped;       /* received over streams and closed: nobody had taken so many before */
    uint64_t clock_sets;        /* times the wall clock was set, or the machine woke up, since the first wall timer */
    uint64_t buffers_reclaimed; /* writes whose bytes were copied so that their buffer came home */
    uint64_t writes_full;       /* -ENOBUFS: write_bytes_max of a stream, its files, a writer, pieces of a group */
    uint64_t datagrams_full;    /* sends refused with -ENOBUFS, of all sockets */
    uint64_t chains_full;       /* -E2BIG: more operations than a chain may have */
    uint64_t handlers_full;     /* -ENFILE: LOOP_HANDLERS_MAX are registered */
    uint64_t groups_full;     /* -ENFILE: there is no number left for a buffer group; -ENOMEM: nor for a part of one */
    uint64_t watch_overflows; /* times that watches lost events: the kernel's queue was full, or their own */
    uint64_t watches_full;    /* directories not watched: directories_max of their tree, or max_user_watches */
    uint64_t files_full;      /* operations of files refused with -ENOBUFS: waiting_max were waiting */
    uint64_t walks_over;      /* walks through trees that ended with -EOVERFLOW: visits_max */
};

enum loop_run_mode {
    LOOP_RUN_DEFAULT, /* until nothing that keeps the loop alive is left, or loop_stop() */
    LOOP_RUN_ONCE,    /* waits until something has happened, and ends with that turn */
    LOOP_RUN_NOWAIT,  /* one turn that does not wait */
};

/* What a budget was spent on; all sizes in bytes, at most. */
struct loop_budget {
    uint64_t bytes;       /* of all below; never more than the budget */
    uint64_t loop_bytes;  /* the loop itself */
    uint64_t ring_bytes;  /* SQ and CQ, in the kernel */
    uint64_t op_bytes;    /* contexts of ops_max operations, if all were extended, the backlog, and posts_max posts */
    uint64_t group_bytes; /* the default buffer group: memory, ring, bookkeeping */
    uint64_t fixed_bytes; /* the pool of registered buffers, if you make it as below */
    uint32_t sq_entries, cq_entries, ops_max;
    uint32_t buffer_count, buffer_size; /* of the default group */
    uint32_t fixed_count, fixed_size;   /* for loop_fixed_buffers_options: the loop does not make the pool by itself */
};

/* Fills in options so that all that the loop holds stays within bytes: rings, contexts, posts, the default buffer
 * group, and a pool of registered buffers. Goes in steps, each a power of two, from 256 KiB to 1 GiB; what is between
 * stays unspent. Not counted: what objects and long messages allocate, chains, memory of yours, and the kernel's for
 * sockets and requests. The allocator and all other members are left 0, for you to set. ret_layout may be NULL. Returns
 * 0, or -EINVAL for less than LOOP_BUDGET_LEAST or a NULL ret_options. Any thread. */
enum { LOOP_BUDGET_LEAST = 256 * 1024 };
LOOP_API LOOP_MUST_USE int loop_options_for_budget(struct loop_options *ret_options, uint64_t bytes,
                                                   struct loop_budget *ret_layout);

/* Makes a loop with its ring, still without an owner. options is copied. Returns 0, -EINVAL for a bad option,
 * -ENOMEM, -EOPNOTSUPP for a mode that this kernel lacks, or what io_uring_setup(2) answered: loop_obstacle() tells
 * what that means. */
LOOP_API LOOP_MUST_USE int loop_create(struct loop **ret_loop, const struct loop_options *options);

/* Runs turns; all callbacks come from inside. The first call makes the calling thread the owner. Returns 1 if
 * something that keeps the loop alive is left, 0 if not; -EBUSY from inside a callback. */
LOOP_API int loop_run(struct loop *loop, enum loop_run_mode mode);

/* Waits for completions for at most timeout_ns (UINT64_MAX: without limit) and calls back for what there is, and
 * for results of work, posts, signals and async handles, in no promised order: the step for layers that bring an order
 * of their own. Hooks, timers and deadlines of operations are left out: use loop_run() for them. Posts, signals, sends,
 * loop_wake() and loop_stop() end the wait. Returns the number of completions taken, or -EBUSY from inside a callback.
 */
LOOP_API int loop_dispatch(struct loop *loop, uint64_t timeout_ns);

/* Makes loop_run() return after the turn in progress, or at once when it is next called; running again
 * afterwards is fine. Any thread; async-signal-safe. */
LOOP_API void loop_stop(struct loop *loop);

/* Calls cleanup hooks (hooks.h), runs the posts that wait, cancels every operation (work that runs is waited for),
 * closes every object, stops every timer, hook and signal, calls all final and close callbacks, waits until the kernel
 * has let go of all memory, and frees the loop. NULL is fine. New operations started by those callbacks get -ECANCELED.
 * Returns 0, or -EBUSY from inside a callback. On another thread than the owner's it works while nothing is in flight
 * and there are no cleanup hooks, or when that thread has ended, as after loop_rehome() (fork.h); otherwise it aborts:
 * the kernel allows only the owner to cancel. In a child of fork(2), without loop_fork() before, it calls nobody back
 * and lets go of memory and descriptors. */
LOOP_API int loop_destroy(struct loop *loop);

/* Whether something keeps the loop alive: operations, started timers, hooks and signals, open objects, unless they are
 * unreferenced; posts. */
LOOP_API bool loop_alive(const struct loop *loop);

/* A pointer of yours; NULL at first. The library never reads it. */
LOOP_API void  loop_data_set(struct loop *loop, void *data);
LOOP_API void *loop_data(const struct loop *loop);

/* The cached CLOCK_MONOTONIC time in ns, refreshed once a turn, after waiting; and outside of callbacks by whatever
 * starts something with a delay. */
LOOP_API uint64_t loop_now(const struct loop *loop);

/* Refreshes what loop_now() returns and timers count from; for callbacks that took long. */
LOOP_API void loop_update_time(struct loop *loop);

/* CLOCK_MONOTONIC in ns, looked at anew: for measuring. Any thread. */
LOOP_API uint64_t loop_clock(void);

/* Sends everything queued to the kernel now. Returns the number of SQEs it took, or -EBUSY inside a chain, or
 * -EAGAIN before the first run. From another thread (LOOP_MODE_SHARED): makes the loop do so, and returns 0. */
LOOP_API int loop_submit(struct loop *loop);

/* Replaces the submit policy from now on; copies. Returns 0, or -EINVAL. */
LOOP_API int loop_submit_policy_set(struct loop *loop, const struct loop_submit_policy *policy);

LOOP_API const struct loop_features *loop_features_get(const struct loop *loop);
LOOP_API void                        loop_stats_get(const struct loop *loop, struct loop_stats *ret_stats);

/* Why io_uring can't be had, as far as an error of loop_create() and this system's settings tell. Any thread. The
 * program ringloop-doctor tries it out and tells more. */
enum loop_obstacle {
    LOOP_OBSTACLE_NONE,       /* the error is none, or not about io_uring */
    LOOP_OBSTACLE_NO_KERNEL,  /* the kernel has no io_uring */
    LOOP_OBSTACLE_OLD_KERNEL, /* -EINVAL: the kernel's io_uring is older than 6.1, unless an option was bad */
    LOOP_OBSTACLE_SYSCTL,     /* kernel.io_uring_disabled */
    LOOP_OBSTACLE_FILTER,     /* a seccomp filter or security module, as in most containers */
    LOOP_OBSTACLE_MEMLOCK,    /* RLIMIT_MEMLOCK, or memory */
    LOOP_OBSTACLE_FILES,      /* RLIMIT_NOFILE, or the system's limit */
};
LOOP_API enum loop_obstacle loop_obstacle(int error);

/* One or two sentences: what is in the way and what to change; a static string. */
LOOP_API const char *loop_obstacle_text(enum loop_obstacle obstacle);

LOOP_END_DECLS

#endif
