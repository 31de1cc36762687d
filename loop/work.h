/* loop/work.h: the work pool, as the loop and its contexts see it. */
#ifndef RINGLOOP_LOOP_WORK_H
#define RINGLOOP_LOOP_WORK_H

#include "loop/list.h"

#include <ringloop/loop.h>
#include <ringloop/work.h>

struct context;

/* What the threads of the pool see of an operation: they never touch the rest of its context. Under the pool's lock,
 * but for fn and arg, which stay, and res, which is the thread's own while it runs. */
struct work_item {
    struct work_item *next, *prev; /* in its class, then among those done */
    loop_work_fn     *fn;
    void             *arg;
    int              *stop;  /* atomic; NULL: nobody looks. Once begun, a cancel or deadline puts its errno there */
    uint64_t          order; /* of start, over all classes */
    int32_t           res;
    uint8_t           work_class;
    uint8_t           state;
};
LIST_DEFINE(item, struct work_item)

/* Fills in the defaults. 0 or -EINVAL. */
int work_options_complete(struct loop_work_options *options);

/* Of a loop with a pool: whether results wait, and calling back for them. */
bool work_has_results(const struct loop *loop);
void work_run_slowly(struct loop *loop);

/* loop_work() of a function that looks at *stop between its steps, and ends with what it finds there, if not 0. */
loop_id work_start(struct loop *loop, const char *call, enum loop_work_class work_class, loop_work_fn *fn, loop_cb *cb,
                   void *arg, int *stop, const struct loop_terms *terms);

/* Ends it if it has not begun, and returns whether; else asks it to stop. */
bool work_cancel(struct loop *loop, struct context *context);

/* Those that have not been delivered, nor taken back by a cancel. */
uint32_t work_in_flight(const struct loop *loop);

/* Around fork(2): its lock. In the child: there are no threads, and nothing begins; what ran ends, and there is a
 * thread for what waits: 0 or -EAGAIN; what waits begins when the objects are at home, which may have taken it back. */
void work_lock(struct loop *loop, bool lock);
void work_forked(struct loop *loop);
int  work_rehome(struct loop *loop);
void work_release(struct loop *loop);

void work_stats(const struct loop *loop, struct loop_stats *stats);

/* Ends the threads. Nothing may be in flight any more; what a thread still runs is waited for. */
void work_pool_destroy(struct loop *loop);

#endif
