/* ringloop/buffer.h: received data lives in buffers of a buffer group, which the kernel picks when data is there, so
 * that an idle connection holds none. Loop thread only.
 *
 * A result with LOOP_BUFFER lends its buffer: it is valid inside the callback and goes back to its group by itself
 * afterwards, unless the callback keeps it, or hands it to another operation by loop_terms.release. While a group is
 * empty its multishots wait ("parked") and go on in the order they stopped as soon as buffers return; the end of a
 * stream and errors come through all the same when no data stands before them. */
#ifndef RINGLOOP_BUFFER_H
#define RINGLOOP_BUFFER_H

#include <ringloop/types.h>

LOOP_BEGIN_DECLS

enum { LOOP_GROUPS_OWN = 256 };  /* groups below are the loop's; your own by raw SQEs start here */
enum { LOOP_GROUP_DEFAULT = 0 }; /* made at first use from loop_options.buffer_* */

/* Keeps a buffer lent to the running callback beyond it; give it back by loop_buffer_return() or .release. Kept buffers
 * are missing in the group: keep few, or copy. Returns 0, or -EINVAL if buffer is none that is lent just now. */
LOOP_API int loop_buffer_keep(struct loop *loop, loop_buffer buffer);

/* Gives a kept buffer back to its group, or a lent one before its callback ends. Returns 0, or -EINVAL if it is not
 * out. */
LOOP_API int loop_buffer_return(struct loop *loop, loop_buffer buffer);

/* The memory of a buffer that is out, and its size in bytes; NULL if it is not out. */
LOOP_API void *loop_buffer_data(struct loop *loop, loop_buffer buffer, size_t *ret_size);

LOOP_END_DECLS

#endif
