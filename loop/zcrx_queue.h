/* loop/zcrx_queue.h: the registration of a zero-copy receive queue: area, refill ring, what waits to get into it.
 *
 * The kernel has no call to undo it: it lasts until the ring is closed, and so does the memory. */
#ifndef RINGLOOP_LOOP_ZCRX_QUEUE_H
#define RINGLOOP_LOOP_ZCRX_QUEUE_H

#include "loop/loop_private.h"

#include <ringloop/zcrx.h>

struct zcrx_piece {
    uint64_t offset; /* in the area */
    uint32_t size;
};

struct zcrx_queue {
    struct zcrx_queue        *next;
    char                     *area;
    uint64_t                  area_bytes;
    uint64_t                  area_token; /* the area's name in refill entries */
    uint32_t                  id;
    bool                      area_is_ours;
    char                     *region; /* the refill ring */
    uint32_t                 *head, *tail;
    struct io_uring_zcrx_rqe *entries;
    uint32_t                  entry_count, tail_ours;
    struct zcrx_piece        *waiting; /* waiting[waiting_first ... waiting_first + waiting_count) */
    uint32_t                  waiting_first, waiting_count, waiting_room;
    struct loop_zcrx_stats    stats;
};

/* Registers it with the kernel; it stays in the loop's list until zcrx_queues_destroy(). */
int zcrx_queue_new(struct loop *loop, const struct loop_zcrx_options *options, struct zcrx_queue **ret_queue);

/* Gives a piece back to the kernel, sooner or later. */
void zcrx_queue_refill(struct loop *loop, struct zcrx_queue *queue, struct zcrx_piece piece);

/* Where the extra words of a completion and its result point to; false if that is not in the area. */
bool zcrx_queue_find(const struct zcrx_queue *queue, const uint64_t extra[2], int32_t res,
                     struct zcrx_piece *ret_piece);

#endif
