/* loop/rehome.h: giving a loop a new ring. */
#ifndef RINGLOOP_LOOP_REHOME_H
#define RINGLOOP_LOOP_REHOME_H

#include "loop/loop_private.h"

/* Closes the old ring, makes another, and arms again what is meant to go on. The loop is nobody's then. An error leaves
 * it without a ring: only this call and the end of the loop are allowed. forked: the old one is the parent's, and so is
 * all that was in flight or to be submitted; else only what was in flight and has not ended. */
int rehome(struct loop *loop, bool forked);

/* Takes everything back that the kernel has, calling back for what has completed: 0, or -EBUSY. */
int rehome_take_back(struct loop *loop);

/* The same of a ring whose thread has ended, and its operations with it: 0 or -ENOMEM. */
int rehome_collect(struct loop *loop);

#endif
