/* loop/loop_private.h: the loop's state, and what the modules of loop/ offer each other and the objects above. */
#ifndef RINGLOOP_LOOP_LOOP_PRIVATE_H
#define RINGLOOP_LOOP_LOOP_PRIVATE_H

#include "loop/base.h"
#include "loop/context.h"
#include "loop/list.h"
#include "loop/memory.h"
#include "loop/observe.h"
#include "loop/pipe.h"
#include "loop/ring.h"
#include "loop/seam_sys.h"
#include "loop/wheel.h"
#include "loop/work.h"

#include <pthread.h>
#include <ringloop/buffer.h>
#include <ringloop/hooks.h>
#include <ringloop/loop.h>
#include <ringloop/op.h>
#include <ringloop/post.h>
#include <ringloop/subscription.h>
#include <ringloop/timer.h>
#include <ringloop/walk.h>

LIST_DEFINE(task, struct loop_task)
LIST_DEFINE(object, struct loop_object)
LIST_DEFINE(hook, struct loop_hook_node)

/* What holds a buffer of a group and could do without. */
struct loop_hold {
    struct loop_hold *next, *prev;
};
LIST_DEFINE(hold, struct loop_hold)

/* SQEs that have no room in the SQ just now, or belong to a chain still being made. */
struct sqe_queue {
    struct io_uring_sqe *sqes;
    uint32_t             head, count, room; /* sqes[head ... head + count) */
};

struct handler {
    loop_cb *cb;
    void    *arg;
    uint16_t group;
    uint64_t unused; /* so that an index is a shift */
};

/* What the modes of loop_options need besides the ring. */
struct mode_state {
    uint64_t         allowed[4]; /* with restrictions: bit n: opcode n */
    uint64_t         spin_ns;
    struct loop_task grow; /* the CQ was full */
    bool             restricted;
    bool             special;       /* the loop waits in a way of its own: IOPOLL, shared, spinning */
    bool             to_be_enabled; /* something is still to be asked for on the owner's thread */
};

/* Hooks that are started. */
struct hooks {
    struct loop_hook_node  lists[5]; /* by kind, in the order of start */
    struct loop_hook_node *next;     /* while they are called: whose turn it is */
    uint64_t               order;    /* of the last start */
    uint64_t               forked;   /* those up to there are to be told of a fork; 0: none */
    uint32_t               started;
};

struct shared;
struct post_queue;
struct buffer_group;
struct barrier;
struct fixed_files;
struct fixed_buffers;
struct zcrx_queue;
struct signal_box;
struct loop_async;
struct block;
struct wall;
struct poll_set;
enum {
    BUFFER_GROUPS_MAX = 64,
    BUFFER_COPIES = BUFFER_GROUPS_MAX,
    BUFFER_CLASSES = 4,
    DISPATCH_BATCH = 256,
    OPCODES_MAX = 128,
    OPCODE_NONE = 127
};

struct walker;

/* An object that the loop closes when it is destroyed. */
struct loop_object_class {
    const char *name; /* NULL: the library's own, which loop_walk() leaves out */
    void (*close)(struct loop_object *object);
    /* The loop has a new ring: after loop_fork(), or on another thread. What of the object was in flight ends with
     * -ERESTART in the next turn, by itself. forked: eventfds, inotify and timer descriptors and the like are shared
     * with the parent, and must be made anew. NULL: nothing to do. */
    void (*rehome)(struct loop_object *object, bool forked);
    /* A child of fork(2) ends the loop without having taken it over: closes descriptors, and does nothing that the
     * parent, or a peer, could see. The object is not used any more. NULL: it has none of its own. */
    void (*let_go)(struct loop_object *object);
    /* For loop_walk(). Where the object stands in its public structure; 0: first in priv, behind data. */
    size_t offset;
    /* The same: fills in active, closing, ref and fd. NULL: active, with a ref, no descriptor. */
    void (*describe)(const struct loop_object *object, struct loop_walk_item *item);
};

/* Whether others have to wake it: it waits, or is about to, in the ring; or in a loop that it is embedded in. */
enum loop_sleep { LOOP_AWAKE, LOOP_SLEEPS, LOOP_SLEEPS_ELSEWHERE };

/* What a module above loop/ keeps with the loop from its first use on: freed when the loop has ended. */
struct loop_attachment {
    void (*free)(struct loop *loop, struct loop_attachment *attachment);
    void (*rehome)(struct loop *loop, struct loop_attachment *attachment, bool forked); /* as of an object; or NULL */
};

struct loop {
    /* Touched by every operation. */
    const void         *owner;    /* an address that only the owning thread has; NULL before the first run */
    int32_t             sqe_room; /* SQEs that may be written and operations started without looking; <= 0: look */
    int32_t             ops_in_flight;
    uint32_t            handlers_end; /* 4 * the number of the last registered */
    struct context_pool pool;
    struct ring         ring;
    uint64_t            ops_by_opcode[OPCODES_MAX]; /* started */

    /* Submitting. */
    struct loop_submit_policy policy;
    uint32_t                  batch; /* policy.batch, bounded by the SQ */
    struct sqe_queue          backlog;
    struct sqe_queue          chain;
    uint32_t                  chain_flags, chain_max, chain_ops;
    int                       chain_error;
    bool                      chain_open;
    bool                      room_is_special; /* SQPOLL; SQEs of 128 bytes, restrictions: sqe_room stays 0 */
    uint64_t                  pending_since;   /* ns; with a deadline: when SQEs were first seen pending; 0: not */

    /* Running. */
    uint64_t               now_ns;
    struct wheel           wheel;
    uint64_t               timers_ref; /* active timers that keep the loop alive */
    uint64_t               objects_ref;
    uint32_t               background; /* operations in flight that do not keep it alive */
    struct loop_task       tasks;      /* to be run before waiting */
    struct loop_task       retries;    /* to be run after something has completed */
    struct loop_object     objects;
    struct hooks           hooks;
    struct walker         *walker; /* while the objects are gone through; else NULL */
    struct loop_timer_node due;
    struct wall           *wall;            /* timers by the wall clock; NULL before the first */
    struct poll_set       *polls;           /* poll handles; NULL before the first */
    struct loop_timer_node cancel_retry;    /* cancels that have missed are repeated then */
    uint64_t               cancel_delay_ns; /* grows from one repetition to the next */
    struct barrier        *barriers;        /* the first of them, in the order of their start; NULL: none */
    bool                   running, destroying, wake_armed, happened;
    uint32_t               forks;  /* from the first loop to this one */
    bool                   moving; /* its ring is being replaced: what is started goes to the backlog and stays there */
    struct completion      completions[DISPATCH_BATCH]; /* those being dispatched */

    /* Observing. */
    loop_trace_cb  *trace_cb;
    bool            idle_measured;
    struct observer observer;

    /* Buffers. */
    struct buffer_group *groups[BUFFER_GROUPS_MAX + 1];
    uint16_t             classes[BUFFER_CLASSES]; /* numbers of the groups by size; 0: not made yet */
    uint16_t             groups_made;
    uint64_t             buffers_out, buffer_bytes;
    struct loop_hold     holds;       /* oldest first */
    struct loop_task     reclaim;     /* when buffers get few: gets them back from those; without any, run is NULL */
    struct zcrx_queue   *zcrx_queues; /* registered; as long as the ring */

    /* Registered files and buffers; NULL: no table. */
    struct fixed_files   *files;
    struct fixed_buffers *fixed_buffers;

    /* Routing. */
    struct handler   handlers[HANDLER_LAST + 1]; /* those of the library itself stay empty here */
    loop_foreign_cb *foreign_cb;
    void            *foreign_arg;
    bool             foreign_used; /* there has been a foreign SQE */

    /* Other threads. */
    struct post_queue *posts;
    const uint32_t    *posts_waiting; /* atomic: how many are in there */
    struct work_pool  *work;          /* NULL before the first work item */
    int                wake_fd;
    int                sleeping;             /* atomic: enum loop_sleep */
    int                backend_fd;           /* an eventfd for other loops; -1: nobody has asked for it */
    uint64_t           backend_cqes;         /* completions when that was registered */
    int                stopping;             /* atomic */
    int                woken;                /* atomic: loop_wake() was called since the last turn */
    uint64_t           wakes;                /* atomic */
    int                signaled;             /* atomic: a signal has been counted */
    struct signal_box *signals;              /* NULL before the first is watched */
    struct shared     *shared;               /* with LOOP_MODE_SHARED */
    struct loop_async *asyncs_sent;          /* atomic: a stack */
    struct loop_async *asyncs, *asyncs_last; /* taken off it, in order */

    struct mode_state mode;

    struct loop_attachment *resolver; /* of net/resolve.c; NULL before its first use */
    struct loop_attachment *notifier; /* of fs/watch_inotify.c; the same */

    /* Of fork.c: all loops of the process, and whose this one is. */
    struct loop *registry_next, *registry_prev;
    int          owner_tid;
    bool         forked; /* this is a child, which has not called loop_fork() yet */

    void                 *data; /* the user's */
    struct loop_options   options;
    struct loop_allocator allocator;
    struct loop_features  features;
    struct loop_stats     stats;   /* of counters kept elsewhere only when asked */
    struct loop_task      starved; /* listeners that wait for a descriptor */
    struct pipes          pipes;
    struct block         *blocks; /* freed ones, kept */
    uint32_t              blocks_count;
    char                  scratch[8]; /* where probing receives put what they peek at */
};

/* Whose thread this is. The name of the public call is for the message. */
void loop_check_owner_slowly(const struct loop *loop, const char *call);

static inline const void *loop_this_thread(void)
{
    return __builtin_thread_pointer();
}

/* A callback of the loop's is running: it must not be run, moved or destroyed. */
static inline bool loop_busy(const struct loop *loop)
{
    return loop->running || loop->walker != NULL;
}

/* Another thread may look while the first run sets it. */
static inline const void *loop_owner(const struct loop *loop)
{
    return __atomic_load_n(&loop->owner, __ATOMIC_RELAXED);
}

static inline void loop_check_owner(const struct loop *loop, const char *call)
{
    if (unlikely(loop == NULL || loop_owner(loop) != loop_this_thread()))
        loop_check_owner_slowly(loop, call);
}

/* The same for what any thread may do with a shared loop. */
static inline void op_check_thread(const struct loop *loop, const char *call)
{
    if (unlikely(loop == NULL || (loop_owner(loop) != loop_this_thread() && loop->shared == NULL)))
        loop_check_owner_slowly(loop, call);
}

/* Whether this is a shared loop, and not its thread. */
static inline bool shared_elsewhere(const struct loop *loop)
{
    return unlikely(loop_owner(loop) != loop_this_thread() && loop->shared != NULL);
}

/* What delays count from: the cached time inside callbacks, the real one outside of them. */
static inline uint64_t loop_time(struct loop *loop)
{
    if (!loop->running)
        loop->now_ns = sys_clock_ns();
    return loop->now_ns;
}

static inline uint32_t loop_ops_in_flight(const struct loop *loop)
{
    return (uint32_t)loop->ops_in_flight;
}

/* Runs task->run once before the loop waits next. Does nothing if it is queued already. */
static inline void loop_task_add(struct loop *loop, struct loop_task *task)
{
    if (task->next == NULL)
        task_list_append(&loop->tasks, task);
}

/* The same a bit later: when something has completed, or after 10 ms; for want of room or memory. */
static inline void loop_task_retry(struct loop *loop, struct loop_task *task)
{
    if (task->next == NULL)
        task_list_append(&loop->retries, task);
}

/* Whether somebody wants to see SQEs and completions. */
static inline bool loop_observed(const struct loop *loop)
{
    return unlikely(loop->trace_cb != NULL) || probes_attached();
}

/* submit.c */
enum submit_reason { SUBMIT_BATCH_FULL, SUBMIT_DEADLINE, SUBMIT_WAIT, SUBMIT_SQ_FULL, SUBMIT_ASKED };

/* The place for one more SQE, to be filled at once; never fails after submit_reserve. NULL without memory. unchained:
 * not into an open chain. */
struct io_uring_sqe *submit_sqe_slowly(struct loop *loop, bool unchained);
void                 submit_room_gone(struct loop *loop);
int                  submit_now(struct loop *loop, enum submit_reason reason);
int                  submit_and_wait(struct loop *loop, struct ring_wait *wait);
void                 submit_room_update(struct loop *loop);
void                 submit_batch_update(struct loop *loop); /* and that */
void                 submit_deadline_check(struct loop *loop);
/* Copies SQEs that must not be parted. 0, or -ENOMEM. */
int                  submit_block(struct loop *loop, const struct io_uring_sqe *sqes, uint32_t count);
int                  sqe_queue_reserve(struct loop *loop, struct sqe_queue *queue, uint32_t count);
struct io_uring_sqe *sqe_queue_next(struct loop *loop, struct sqe_queue *queue);

/* One operation more is in flight: what sqe_room promises must not go beyond the limit of operations. */
static inline void submit_count_in(struct loop *loop)
{
    loop->ops_in_flight++;
    if (loop->sqe_room > (int32_t)loop->options.ops_max - loop->ops_in_flight)
        submit_room_update(loop);
}

static inline struct io_uring_sqe *submit_sqe(struct loop *loop, bool unchained)
{
    if (likely(--loop->sqe_room >= 0))
        return loop->ring.sqe_next++;
    return submit_sqe_slowly(loop, unchained);
}

/* The same for an SQE of 128 bytes, whose second half is zeroed: on a ring of such, or with SQE_MIXED, then unchained.
 */
struct io_uring_sqe *submit_wide_sqe(struct loop *loop, bool unchained);

static inline struct io_uring_sqe *sqe_queue_at(const struct loop *loop, const struct sqe_queue *queue, uint32_t i)
{
    return &queue->sqes[(size_t)(queue->head + i) << loop->ring.sqe_shift];
}

/* After the SQE has been filled. */
static inline void submit_sqe_done(struct loop *loop)
{
    if (unlikely(loop->sqe_room < 0))
        submit_room_gone(loop);
}

/* dispatch.c: op_finish ends an operation with its final callback, op_more is for those before; result->id is filled in
 * by both. dispatch_settle ends it in the next turn. */
unsigned dispatch_completions(struct loop *loop);
void     dispatch_settle(struct loop *loop, struct context *context, int32_t res, uint32_t flags);
void     op_finish(struct loop *loop, struct context *context, struct loop_result *result);
void     op_more(struct loop *loop, struct context *context, struct loop_result *result);
/* The completion that an operation without a context will not get from the kernel. */
void     dispatch_withdrawn(struct loop *loop, uint64_t user_data);
/* The result of an operation that another callback will end: op_more, with cancel and deadline taken into account. */
void     op_result(struct loop *loop, struct context *context, struct loop_result *result);

/* The operation belongs to an object, which alone cancels it: what cancels many passes it by. Returns id. */
static inline loop_id op_of_object(struct loop *loop, loop_id id)
{
    struct context *context = id < 0 ? NULL : context_find(&loop->pool, (uint64_t)id);

    if (context != NULL)
        context->flags |= CONTEXT_OBJECT;
    return id;
}

/* zero_copy.c */
void zero_copy_complete(struct loop *loop, struct context *context, const struct completion *completion);
void zero_copy_settled(struct loop *loop, struct context *context);

/* What a notification says, as flags of a result. */
static inline uint32_t zero_copy_released(const struct completion *completion)
{
    return LOOP_RELEASED | (((uint32_t)completion->res & IORING_NOTIF_USAGE_ZC_COPIED) != 0 ? LOOP_COPIED : 0);
}

/* zcrx.c */
void zcrx_complete(struct loop *loop, struct context *context, int32_t res, uint32_t cqe_flags,
                   const uint64_t extra[2]);
void zcrx_finish(struct loop *loop, struct context *context, struct loop_result *result);
void zcrx_queues_destroy(struct loop *loop); /* when the ring is closed */

/* cancel.c */
/* Whether it has been asked for now: it may have been before, or nothing can end it. */
bool cancel_context(struct loop *loop, struct context *context);
/* The same, but the kernel is not asked to end what it has. */
bool cancel_mark(struct loop *loop, struct context *context);
/* Only in the kernel: the context's flags say what for. */
void cancel_in_kernel(struct loop *loop, struct context *context);
/* Of the others the SQE's fd is something else, or nothing. */
bool opcode_names_descriptor(uint8_t opcode);
int  cancel_id(struct loop *loop, loop_id id); /* as loop_cancel() on the owner's thread */
void cancel_retry_due(struct loop *loop);
void cancel_rest(struct loop *loop, struct context *context); /* for the loop: the user knows nothing of it */
void cancel_all_contexts(struct loop *loop);
void cancel_any(struct loop *loop);
/* The operation before it in its chain has ended. */
void cancel_link_begun(struct loop *loop, uint64_t id);
void cancel_completed(struct loop *loop, const struct completion *completion);
void linked_timeout_completed(struct loop *loop, const struct completion *completion);
/* Whether it was its linked timeout that ended it, where that is told afterwards: completion is in loop->completions.
 */
void linked_timeout_look(struct loop *loop, struct context *context, const struct completion *completion);
void cancel_deadline_passed(struct loop *loop, struct loop_timer_node *node);

/* withdraw.c: takes back what works on fd and has not been given to the kernel yet: it ends with -ECANCELED, later.
 * Returns how many operations, those asked to end before not counted; -EBUSY for a chain still open, -ENOMEM; then
 * nothing has happened. */
int  withdraw_fd(struct loop *loop, int fd);
/* Whether it works on fd, be it to read from; in the notation of users. */
bool sqe_names(const struct io_uring_sqe *sqe, int fd);

/* detach.c: everything that the kernel has, without marking it as cancelled: 0, or -EBUSY. Completions stay in the CQ.
 */
int detach_everything(struct loop *loop);

/* barrier.c */
struct barrier;
/* Holds an operation back whose SQE is saved. 0 or -ENOMEM. */
int  barrier_hold(struct loop *loop, struct context_extended *held);
void barrier_ended(struct loop *loop, uint64_t id); /* of one that is marked */
void barrier_withdraw(struct loop *loop, struct context *context);

/* multishot.c */
void multishot_complete(struct loop *loop, struct context *context, const struct completion *completion);

/* buffer_group.c: whether an operation may use the group of its SQE, which is made if it is the default one: 0,
 * -EINVAL, or what making it gave. */
int  buffer_group_use(struct loop *loop, const struct io_uring_sqe *sqe, enum context_kind kind);
void buffer_groups_destroy(struct loop *loop);
int  buffer_groups_rehome(struct loop *loop); /* makes the new ring know them */
int  buffer_budget_check(uint64_t bytes);     /* 0, or -EINVAL if it is too little, or more than the groups can hold */
/* Where the kernel takes the next buffer from; an error if it does not tell. */
int  buffer_group_head(struct loop *loop, uint16_t group, uint16_t *ret_head);

/* buffer.c */
/* Fills in data, buffer and flags of a result that came with a buffer: it is lent from now on. */
void        buffer_received(struct loop *loop, uint16_t group, const struct completion *completion,
                            struct loop_result *result);
/* Lends a kept buffer to a callback again, as in a result. */
void        buffer_lend(struct loop *loop, loop_buffer buffer, uint32_t bytes, struct loop_result *result);
/* A kept buffer on the heap with a copy of the bytes; 0 without memory. */
loop_buffer buffer_copy_new(struct loop *loop, const void *data, uint32_t bytes);
/* Gives it back, and those that came with it, unless the callback kept them or handed them on. */
void        buffer_callback_done(struct loop *loop, loop_buffer buffer);
/* Describes one buffer of a completion and goes on to the next; false if it is not out. */
bool        buffer_bundle_next(struct loop *loop, loop_buffer *buffer, struct loop_result *ret_piece);
/* An operation takes a lent or kept buffer, and gives it back after its end. Checked before: 0, -EINVAL, -ENOMEM. */
int         buffer_check_giving(struct loop *loop, loop_buffer buffer);
void        buffer_hand_over(struct loop *loop, loop_buffer buffer);
void        buffer_release(struct loop *loop, loop_buffer buffer);
void        buffer_hand_back(struct loop *loop, loop_buffer buffer); /* the operation did not start after all */
/* How many of its group would have to come home that a quarter is. */
uint32_t    buffer_short_by(struct loop *loop, loop_buffer buffer);
/* Two words kept with a buffer that is out: its successor in a queue, and how many bytes it holds. */
void        buffer_note(struct loop *loop, loop_buffer buffer, loop_buffer next, uint32_t bytes);
void        buffer_noted(struct loop *loop, loop_buffer buffer, loop_buffer *ret_next, uint32_t *ret_bytes);

/* buffer_wait.c: what a receive that the kernel has ended does next. starved: for want of a buffer. */
enum buffer_turn {
    BUFFER_TURN_ARM,
    BUFFER_TURN_PROBE, /* look whether there is anything to receive before it takes a buffer, or waits for one */
    BUFFER_TURN_WATCH, /* the same, and wait until there is: others come first */
};
enum buffer_turn buffer_turn(struct loop *loop, struct context *context, bool starved);
bool             buffer_is_due(struct loop *loop, struct context *context); /* data is there: arm it, else park it */
void             buffer_park(struct loop *loop, struct context *context);
void             buffer_unpark(struct loop *loop, struct context *context); /* out of its turn */

/* lend.c: one-shots with buffers of a group. */
void lend_complete(struct loop *loop, struct context *context, const struct completion *completion);

/* fixed_file.c: fixed_file_result writes the result of an operation that has filled slots in the notation of users. */
void fixed_files_destroy(struct loop *loop);
int  fixed_files_rehome(struct loop *loop); /* those whose number is known */
void fixed_file_result(struct loop *loop, const struct io_uring_sqe *sqe, struct loop_result *result);

/* fixed_buffer.c: the memory goes when the ring has gone. */
void fixed_buffers_unregister(struct loop *loop);
int  fixed_buffers_rehome(struct loop *loop);
void fixed_buffers_free(struct loop *loop);

/* multishot.c */
void multishot_arm(struct loop *loop, struct context *context, bool poll_first);
void multishot_receive_again(struct loop *loop, struct context *context, bool starved);
/* What a multishot poll waits for when it is armed again; of anything else nothing is changed. */
void multishot_poll_for(struct loop *loop, loop_id id, uint32_t mask);

/* hook.c */
void hooks_init(struct loop *loop);
bool hooks_before_wait(struct loop *loop); /* whether it shall not wait */
void hooks_after_wait(struct loop *loop);
void hooks_forked(struct loop *loop);     /* the loop has a ring in the child */
void hooks_after_fork(struct loop *loop); /* calls them, once */
void hooks_clean_up(struct loop *loop);   /* the same */
void hooks_stop_all(struct loop *loop);

static inline bool hooks_clean(const struct loop *loop)
{
    return !hook_list_empty(&loop->hooks.lists[LOOP_HOOK_CLEANUP]);
}

static inline bool hooks_idle(const struct loop *loop)
{
    return !hook_list_empty(&loop->hooks.lists[LOOP_HOOK_IDLE]);
}

/* walk.c: the object is not on the list any more. */
void walker_pass(struct loop *loop, const struct loop_object *object);

/* embed.c */
void backend_destroy(struct loop *loop);
/* A run ends: from now on the other loop's wait is ours. */
void backend_rest(struct loop *loop);
/* The loop has a new ring. forked: the parent has the eventfd, too. 0 or negative errno. */
int  backend_rehome(struct loop *loop, bool forked);

/* loop.c: as the begin of a run. 0 or negative errno. */
int loop_own(struct loop *loop);

/* run.c */
/* Ends everything, and calls all last callbacks. */
void run_drain(struct loop *loop);
/* Whether there is nothing to be ended. */
bool run_drained(const struct loop *loop);

/* timer.c */
/* A timer of an object's: it does not keep the loop alive, and is not the user's to see. Before its start. */
void timer_of_object(struct loop_timer *timer);
void timer_run_due(struct loop *loop);
void timers_stop_all(struct loop *loop);

/* wall.c */
/* Before the first timer by the wall clock: 0 or -ENOMEM. */
int      wall_prepare(struct loop *loop);
void     wall_destroy(struct loop *loop);
void     wall_rehome(struct loop *loop, bool forked);
/* As wheel_start() and wheel_cancel(); deadline_ns is wall time. */
void     wall_start(struct loop *loop, struct loop_timer_node *node, enum wheel_kind kind);
void     wall_stop(struct loop *loop, struct loop_timer_node *node);
/* When a repeating one that should have fired at deadline_ns fires next. */
uint64_t wall_next(const struct loop *loop, uint64_t deadline_ns, uint64_t repeat_ns);
/* Puts those that are due among the others in loop->due. */
void     wall_run_due(struct loop *loop);
/* Puts a drained one back; wall_refilled() after the last. */
void     wall_put_back(struct loop *loop, struct loop_timer_node *node);
void     wall_refilled(struct loop *loop);
void     wall_drain(struct loop *loop, struct loop_timer_node *nodes);
/* The completion of the poll that watches the clock. Returns whether it is one. */
bool     wall_clock_set(struct loop *loop, const struct completion *completion);

/* poll.c */
void polls_ready(struct loop *loop, const struct completion *completion); /* the ring's poll of their epoll */
void polls_rehome(struct loop *loop, bool forked);                        /* the loop has a new ring */
void polls_destroy(struct loop *loop);

/* post.c */
int      post_queue_init(struct loop *loop, uint32_t limit);
void     post_queue_lock(struct loop *loop, bool locked); /* around fork(2) */
void     post_queue_forked(struct loop *loop);            /* in the child: those that wait are the parent's */
void     post_queue_destroy(struct loop *loop);
uint64_t post_bytes_max(uint32_t limit); /* of the queue's memory */
/* When loop->sleeping is set: every post not seen by this sees that. */
bool     post_waiting_before_sleep(const struct loop *loop);
void     post_run_slowly(struct loop *loop);
void     post_close(struct loop *loop); /* later posts get -ECANCELED */
void     post_stats(const struct loop *loop, struct loop_stats *ret_stats);

/* Perhaps not those of a moment ago. */
static inline bool post_waiting(const struct loop *loop)
{
    return __atomic_load_n(loop->posts_waiting, __ATOMIC_RELAXED) > 0;
}

static inline void post_run(struct loop *loop)
{
    if (post_waiting(loop))
        post_run_slowly(loop);
}

/* wake.c */
int  wake_init(struct loop *loop);
int  wake_rehome(struct loop *loop, bool forked);
void wake_arm(struct loop *loop);
void wake_completed(struct loop *loop, const struct completion *completion);
/* Any thread, also in signal handlers. What the loop is to see was stored with __ATOMIC_SEQ_CST before. */
void wake_if_asleep(struct loop *loop);

/* signal.c */
void signal_run_slowly(struct loop *loop);
void signal_destroy(struct loop *loop); /* before the loop can't be woken any more */

static inline bool signal_waiting(const struct loop *loop)
{
    return __atomic_load_n(&loop->signaled, __ATOMIC_SEQ_CST) != 0;
}

static inline void signal_run(struct loop *loop)
{
    if (unlikely(signal_waiting(loop)))
        signal_run_slowly(loop);
}

/* async.c */
void async_run_slowly(struct loop *loop);

static inline bool async_waiting(const struct loop *loop)
{
    return __atomic_load_n(&loop->asyncs_sent, __ATOMIC_SEQ_CST) != NULL || loop->asyncs != NULL;
}

static inline void async_run(struct loop *loop)
{
    if (async_waiting(loop))
        async_run_slowly(loop);
}

/* work.c */
static inline bool work_results_waiting(const struct loop *loop)
{
    return loop->work != NULL && work_has_results(loop);
}

static inline void work_run(struct loop *loop)
{
    if (work_results_waiting(loop))
        work_run_slowly(loop);
}

/* mode.c */
int                 mode_check(const struct loop_options *options);
struct ring_options mode_ring_options(const struct loop_options *options);
int                 mode_init(struct loop *loop);   /* before the first run */
int                 mode_rehome(struct loop *loop); /* the same for a new ring */
int                 mode_enable(struct loop *loop); /* what has to be asked for on the owner's thread */
void                mode_destroy(struct loop *loop);
void                mode_features(struct loop *loop);
void                mode_overflown(struct loop *loop);
/* IOPOLL: the ring must not be waited on: waits for what other threads may want, if nothing is in flight. */
void                mode_wait_polled(struct loop *loop, uint64_t timeout_ns);
/* What stands behind the CQE, to be lent to a callback; NULL if it has 16 bytes. */
void               *mode_extra(struct loop *loop, const struct completion *completion);
int                 restriction_init(struct loop *loop, const struct loop_restrictions *restrictions);
int                 restriction_rehome(struct loop *loop);

static inline bool restriction_allows(const struct loop *loop, unsigned opcode)
{
    return !loop->mode.restricted || (opcode < 256 && (loop->mode.allowed[opcode / 64] >> opcode % 64 & 1) != 0);
}

/* shared.c: what other threads ask a shared loop for; op_start.c does the rest. */
int             shared_init(struct loop *loop);
void            shared_destroy(struct loop *loop);
void            shared_close(struct loop *loop); /* later starts get -ECANCELED */
bool            shared_queue_filled(const struct shared *shared);
bool            shared_queue_at_hand(const struct loop *loop); /* and can be gone through now */
int             shared_take(struct loop *loop, struct context_extended **ret_extended);
void            shared_give_back(struct loop *loop, struct context_extended *extended);
int             shared_send(struct loop *loop, struct context_extended *extended);
int             shared_cancel(struct loop *loop, loop_id id);
void            shared_queue_adopt(struct loop *loop);
void            shared_free(struct loop *loop, struct context *context);
uint64_t        shared_bytes(struct shared *shared);
void            shared_stats(struct shared *shared, struct loop_stats *ret_stats);
struct context *shared_context(struct shared *shared, uint32_t slot); /* NULL if there is none */
void            stats_fill(const struct loop *loop, struct loop_stats *ret_stats);

static inline bool shared_waiting(const struct loop *loop)
{
    return unlikely(loop->shared != NULL) && shared_queue_filled(loop->shared);
}

static inline bool shared_at_hand(const struct loop *loop)
{
    return unlikely(loop->shared != NULL) && shared_queue_at_hand(loop);
}

static inline void shared_adopt(struct loop *loop)
{
    if (unlikely(loop->shared != NULL))
        shared_queue_adopt(loop);
}

/* op_start.c: takes over what another thread has started. false: no memory just now. */
bool op_adopt(struct loop *loop, struct context_extended *extended);

/* loop.c */
void loop_features_fill(struct loop *loop);

/* fork.c: all loops, so that those of a child are known as such */
extern const char loop_homeless; /* owner of a loop without a ring of its own: no thread has this address */
int               loop_registry_add(struct loop *loop);
void              loop_registry_remove(struct loop *loop);

/* object.c: what loop_destroy() closes, and what keeps the loop alive */
void object_open(struct loop *loop, struct loop_object *object, const struct loop_object_class *object_class, bool ref);
void object_gone(struct loop_object *object, bool ref);
/* From now on it keeps the loop alive: its ref is true when it is gone. */
void object_hold(struct loop_object *object);
void object_release(struct loop_object *object); /* takes that back */
/* For public calls that change whether an open one keeps the loop alive; ref is where that stands. */
void object_ref_set(struct loop_object *object, const char *call, bool *ref, bool to);
void objects_close_all(struct loop *loop);
void objects_rehome(struct loop *loop, bool forked);
void objects_let_go(struct loop *loop);
/* Tasks that wait until a descriptor may be free again. */
void starved_add(struct loop *loop, struct loop_task *task);
void starved_feed(struct loop *loop);

/* op_socket.c: sends what fits, without waiting for room for the rest: with MSG_WAITALL an error that ends a send
 * in its midst is lost, since the kernel tells the count. Copies the array, borrows the bytes. */
loop_id op_send_some(struct loop *loop, int fd, const struct iovec *iov, size_t count, loop_cb *cb, void *arg);

/* Whether there is something to do without entering the kernel. */
static inline bool work_at_hand(const struct loop *loop)
{
    return !task_list_empty(&loop->tasks) || ring_ready(&loop->ring) > 0 ||
           __atomic_load_n(&loop->stopping, __ATOMIC_SEQ_CST) != 0 ||
           __atomic_load_n(&loop->woken, __ATOMIC_SEQ_CST) != 0 || post_waiting(loop) || work_results_waiting(loop) ||
           signal_waiting(loop) || async_waiting(loop);
}

#endif
