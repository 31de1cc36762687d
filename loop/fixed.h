/* loop/fixed.h: what operations and the loop's end need of the tables of registered files and buffers. */
#ifndef RINGLOOP_LOOP_FIXED_H
#define RINGLOOP_LOOP_FIXED_H

#include "loop/loop_private.h"

#include <ringloop/fixed.h>

/* ret_index: what an SQE's file_index says for count slots from slot on. 0, or the errno to refuse it with. */
int fixed_file_target(struct loop *loop, int slot, uint32_t count, uint32_t *ret_index);

/* Nothing can keep the operation from being submitted: the files of own slots that it closes or replaces are not found
 * by a descriptor's number any more. */
void fixed_files_note(struct loop *loop, const struct io_uring_sqe *sqe);

/* Starts what opens into count slots from slot on. */
struct op_request;
loop_id op_start_into(struct loop *loop, const char *call, struct op_request *request, int slot, uint32_t count);

#endif
