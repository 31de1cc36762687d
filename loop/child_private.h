/* loop/child_private.h: the parts of a child: spawning it, waiting for its end. */
#ifndef RINGLOOP_LOOP_CHILD_PRIVATE_H
#define RINGLOOP_LOOP_CHILD_PRIVATE_H

#include "loop/loop_private.h"

#include <ringloop/child.h>

/* child.c: what is asked before there is a process: 0 or an error. */
int  child_check(struct loop *loop, const struct loop_child *child, loop_child_cb *cb);
/* Takes pidfd. ours: to be reaped. 0, -ENOMEM, or what starting an operation gives. */
int  child_begin(struct loop *loop, struct loop_child *child, int pidfd, bool ours, loop_child_cb *cb);
void child_timeout(struct loop_child *child, uint64_t timeout_ns, uint64_t grace_ns);

#endif
