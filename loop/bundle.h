/* loop/bundle.h: what bundles have to do with completions. */
#ifndef RINGLOOP_LOOP_BUNDLE_H
#define RINGLOOP_LOOP_BUNDLE_H

#include "loop/loop_private.h"

/* A send of a group of the user's buffers has gone on, or ended. */
void bundle_sent(struct loop *loop, struct context *context, const struct completion *completion);
/* It ended while the kernel did not have it; some of it may have been sent before. */
void bundle_settled(struct loop *loop, struct context *context);

#endif
