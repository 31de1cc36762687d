/* ringloop/walk.h: what lives on a loop: going through its objects and operations, for shutdown and for finding out why
 * a loop does not end. Loop thread only, or before the first run.
 *
 * Also: whether an operation in flight keeps the loop alive. Objects have calls of their own for that. */
#ifndef RINGLOOP_WALK_H
#define RINGLOOP_WALK_H

#include <ringloop/observe.h>

LOOP_BEGIN_DECLS

/* ---- objects, timers, hooks */

/* One of them, for the callback only. */
struct loop_walk_item {
    const char *kind;    /* "stream", "listener", "timer", "prepare" ...; static; the one pointer for all of a kind */
    void       *object;  /* struct loop_stream * of a "stream", and so on; of hooks ("idle"): loop_hook * */
    int         fd;      /* -1: none, or none yet */
    bool        active;  /* it does something: reads, writes, connects, accepts, runs */
    bool        closing; /* its close callback is still to come */
    bool        ref;     /* it keeps the loop alive; operations of it may do so besides */
    struct loop_walk_item_private {
        void (*close)(void *handle);
        void *handle;
    } priv;
};

/* May do what any callback may do but run or destroy the loop, also close, stop, free or start anything; one more walk
 * is refused. */
typedef void loop_walk_cb(struct loop *loop, const struct loop_walk_item *item, void *arg);

/* Calls cb for each object that is open (streams, listeners, requests for names ...) in the order of their opening, for
 * each hook and each started timer, those of the loop itself left out. What is started or opened by cb may be passed
 * over. Returns 0, -EINVAL without cb, or -EBUSY from inside a walk. */
LOOP_API int loop_walk(struct loop *loop, loop_walk_cb *cb, void *arg);

/* In the callback: ends the object, whatever it is: closes it, its close callback being that of its options; cancels a
 * request; stops a timer, a hook. To end a loop that runs: loop_walk() with this, and loop_cancel_all(). */
LOOP_API void loop_walk_close(const struct loop_walk_item *item);

/* ---- operations in flight */

struct loop_walk_op {
    loop_id     id;
    const char *name; /* as loop_op_name(); "work" for loop_work() */
    uint32_t    opcode;
    int         fd;        /* or LOOP_FIXED(slot); -1: it has none */
    bool        ref;       /* it keeps the loop alive */
    bool        of_object; /* of a stream, a listener and so on, which alone ends it */
    bool        canceled;  /* its end has been asked for */
};

typedef void loop_walk_op_cb(struct loop *loop, const struct loop_walk_op *op, void *arg);

/* Calls cb for each operation in flight, those of objects included, in no promised order; those of direct mode are not
 * seen: loop_pool_stats_get() counts them. cb may do what the one of loop_walk() may; what it starts may be passed
 * over. Returns as loop_walk(). */
LOOP_API int loop_walk_ops(struct loop *loop, loop_walk_op_cb *cb, void *arg);

/* Whether an operation in flight keeps the loop alive, from now on: as if it had been started without, or with,
 * LOOP_BACKGROUND. Return 0, also if nothing changes; -ENOENT if id names no operation in flight, or one of an object's
 * or of direct mode. */
LOOP_API int loop_op_ref(struct loop *loop, loop_id id);
LOOP_API int loop_op_unref(struct loop *loop, loop_id id);

/* ---- both as text */

/* Tells cb, a line at a time: what keeps the loop alive, in numbers; each object, hook and timer; operations by opcode.
 * To stderr: loop_dump(loop, loop_trace_to_file, stderr). Returns as loop_walk(). */
LOOP_API int loop_dump(struct loop *loop, loop_trace_cb *cb, void *arg);

LOOP_END_DECLS

#endif
