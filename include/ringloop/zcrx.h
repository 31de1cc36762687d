/* ringloop/zcrx.h: zero-copy receive: the network card puts the bytes where the program reads them. Loop thread only.
 *
 * Needs kernel 6.15, CAP_NET_ADMIN, a ring with 32-byte completions, and a card and driver with header/data split whose
 * receive queue was set apart for it (ethtool: flow steering, RSS context). The interface is new in the kernel: test on
 * your hardware.
 *
 * Life: zeroed (IDLE) > loop_zcrx_start (ACTIVE) > loop_recv_zc ... > loop_zcrx_stop (STOPPING: receives are being
 * cancelled; RETIRING: they have ended, pieces are still with you; STOPPED) > stopped callback, the last one: then the
 * structure is yours again. The kernel holds queue and area until the loop is destroyed: there is no call to give them
 * back earlier. */
#ifndef RINGLOOP_ZCRX_H
#define RINGLOOP_ZCRX_H

#include <ringloop/types.h>

LOOP_BEGIN_DECLS

enum loop_zcrx_state {
    LOOP_ZCRX_IDLE,
    LOOP_ZCRX_ACTIVE,
    LOOP_ZCRX_STOPPING,
    LOOP_ZCRX_RETIRING,
    LOOP_ZCRX_STOPPED,
};

struct loop_zcrx_options {
    uint32_t interface_index LOOP_ZERO; /* if_nametoindex(3) */
    uint32_t queue           LOOP_ZERO; /* its receive queue */
    uint32_t refill_entries  LOOP_ZERO; /* 0: 4096; a power of two, at most 32768: pieces on their way back */
    uint32_t reserved        LOOP_ZERO; /* 0 */
    void *area               LOOP_NONE; /* NULL: made by the loop; else page-aligned, borrowed until the loop is gone */
    uint64_t area_bytes      LOOP_ZERO; /* a multiple of the page size; counts against RLIMIT_MEMLOCK */
};

struct loop_zcrx;
typedef void loop_zcrx_cb(struct loop_zcrx *zcrx);

struct loop_zcrx {
    void *data; /* yours; the library never reads it */
    struct loop_zcrx_private {
        struct loop_object object;
        struct loop_task   task;
        struct zcrx_queue *queue;
        loop_zcrx_cb      *on_stopped;
        uint64_t           pieces_out; /* lent, or kept by the user */
        uint32_t           receives;
        uint32_t           state;
        uint32_t           lending; /* 1: inside a callback with a piece nobody has kept yet */
    } priv;
};

struct loop_zcrx_stats {
    uint64_t pieces;         /* received */
    uint64_t bytes;          /* in them */
    uint64_t pieces_out;     /* level: lent or kept */
    uint64_t pieces_waiting; /* level: given back, but the refill ring had no room yet */
    uint64_t pieces_lost;    /* could not be given back for want of memory; the kernel has them at the loop's end */
    uint64_t pieces_refused; /* completions that named no place in the area: their receive is cancelled, or ends with
                                -EPROTO */
    uint64_t rearms;         /* receives ended by a full CQ and armed again */
};

/* Registers the queue and its area with the kernel; copies options, borrows zcrx until on_stopped (may be NULL).
 * Returns 0, or a negative errno:
 *   -EINVAL           an option makes no sense; also the kernel's word for a queue without header/data split
 *   -EBUSY            zcrx is in use
 *   -ENOSYS           the kernel has no zero-copy receive (before 6.15)
 *   -EOPNOTSUPP       the loop's ring has no 32-byte completions
 *   -EBADFD           the loop's ring does not defer task work to its thread (loop_features.defer_taskrun)
 *   -EPERM            CAP_NET_ADMIN is missing
 *   -ENODEV           there is no such interface
 *   -EPROTONOSUPPORT  the interface's driver cannot do it (the kernel's -EOPNOTSUPP)
 *   -ENOMEM           no memory, or RLIMIT_MEMLOCK
 *   -ECANCELED        the loop is being destroyed
 * and whatever else the kernel says of the queue, e.g. -EEXIST or -ERANGE. */
LOOP_API LOOP_MUST_USE int loop_zcrx_start(struct loop *loop, struct loop_zcrx *zcrx,
                                           const struct loop_zcrx_options *options, loop_zcrx_cb *on_stopped);

/* Receives from a connected tcp socket whose packets are steered to the queue, until cancelled, the end of the stream
 * (res 0) or an error. cb comes with LOOP_MORE for each piece: res bytes at result->data, in the area. A piece is lent:
 * it goes back after the callback unless loop_zcrx_keep() is called in there; result->buffer is 0. If the CQ was full
 * the loop arms the receive again. A deadline covers the whole of it. Errors as in op.h; -ESHUTDOWN unless zcrx is
 * ACTIVE; -EINVAL in chains, in direct mode, and for LOOP_ASYNC, LOOP_LEND, LOOP_LINKED_TIMEOUT, LOOP_POLL_FIRST.
 * Result -ENOMEM: the area has no room; give pieces back and start again. */
LOOP_API loop_id loop_recv_zc(struct loop *loop, struct loop_zcrx *zcrx, int fd, loop_cb *cb, void *arg,
                              const struct loop_terms *terms);

/* In the callback of a piece: it stays yours until loop_zcrx_return(). Returns 0, or -EINVAL elsewhere and the second
 * time. */
LOOP_API int loop_zcrx_keep(struct loop_zcrx *zcrx);

/* Gives a kept piece back: data and size as they were in the result. Returns 0, or -EINVAL if that cannot be a piece.
 * Giving one back twice cannot be told, and lets the card write into what others still read. */
LOOP_API int loop_zcrx_return(struct loop_zcrx *zcrx, const void *data, size_t size);

/* Ends all receives (-ECANCELED, or what came first), waits until all pieces are back, then calls on_stopped, never
 * from inside. Returns 0, also when stopping already; -EINVAL if it was not started or has stopped. loop_destroy()
 * stops what is open and does not wait for pieces you have kept: they end with it. */
LOOP_API int loop_zcrx_stop(struct loop_zcrx *zcrx);

LOOP_API enum loop_zcrx_state loop_zcrx_state_get(const struct loop_zcrx *zcrx);

/* Of the queue; 0 all over before the start and after the stopped callback. */
LOOP_API void loop_zcrx_stats_get(const struct loop_zcrx *zcrx, struct loop_zcrx_stats *ret_stats);

LOOP_END_DECLS

#endif
