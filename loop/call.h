/* loop/call.h: operations that are a function on the work pool with arguments of its own: what the system has as a
 * blocking call only. */
#ifndef RINGLOOP_LOOP_CALL_H
#define RINGLOOP_LOOP_CALL_H

#include "loop/work.h"

#include <stdbool.h>

struct call;

/* Runs on a thread of the pool; uses nothing of the loop's but the call, and its allocator where the contract of the
 * operation says so. */
typedef int32_t call_run(struct call *call);

/* The first member of a block that holds the arguments. */
struct call {
    call_run *run;
    loop_cb  *cb;
    void     *arg;
    int       stop; /* atomic */
};

/* A zeroed block of size bytes; NULL without memory. */
void *call_new(struct loop *loop, size_t size);

/* Starts the operation as loop_work() does; cb may be NULL. Takes the block, also on failure: NULL gives -ENOMEM. name:
 * of the public function. */
loop_id call_start(struct loop *loop, const char *name, enum loop_work_class work_class, struct call *call,
                   call_run *run, loop_cb *cb, void *arg, const struct loop_terms *terms);

/* 0, or the errno with which the run shall end now. */
static inline int call_stopped(struct call *call)
{
    return __atomic_load_n(&call->stop, __ATOMIC_RELAXED);
}

/* 0, -EINVAL for NULL, -ENAMETOOLONG beyond PATH_MAX, -EBADF for what is no directory's descriptor. */
int call_check_path(int dirfd, const char *path);

#endif
