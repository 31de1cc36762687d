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

enum loop_buffer_group_flags {
    /* The kernel goes on filling a buffer at the place where it stopped, for whichever operation is next: many small
     * messages share one. Each result lends its part, with a handle of its own; the buffer goes home when it is used up
     * and all its parts have been given back. Kernel 6.12. For loop_recv_multishot() and loop_read_multishot() only. */
    LOOP_GROUP_INCREMENTAL = 1u << 0,
    /* Memory of yours that waits to be sent by loop_send_bundle(): see bundle.h. size must be 0. */
    LOOP_GROUP_OUTGOING = 1u << 1,
};

struct loop_buffer_group_options {
    uint32_t size  LOOP_ZERO; /* bytes of each buffer, at most INT32_MAX */
    uint32_t count LOOP_ZERO; /* a power of two up to 32768 */
    uint32_t flags LOOP_ZERO; /* enum loop_buffer_group_flags; unknown bits give -EINVAL */
};

struct loop_buffer_group_stats {
    uint32_t count, size; /* as made */
    uint32_t home;        /* level: buffers that the kernel may pick; outgoing groups: buffers that wait to be sent */
    uint32_t out;         /* level: buffers, of incremental groups parts of buffers, that are lent, kept or given */
    uint32_t parked;      /* level: operations that wait for a buffer */
    uint64_t parked_ever; /* times one had to wait */
    uint64_t stood_back;  /* times one was stopped because it held much of a group that was nearly empty */
    uint64_t empty_ever;  /* times the last buffer was taken */
    uint64_t bytes;       /* memory of buffers and ring */
};

/* Makes a group; copies options. Returns its number (> 0), -EINVAL, -ENFILE when all 63 numbers are taken, -EOPNOTSUPP
 * for LOOP_GROUP_INCREMENTAL where the kernel lacks it, -ECANCELED (the loop is being destroyed), -ENOMEM: also when
 * the kernel may not lock the memory of the ring (RLIMIT_MEMLOCK: 16 bytes for each buffer), or what else the kernel
 * answered. */
LOOP_API LOOP_MUST_USE int loop_buffer_group_create(struct loop *loop, const struct loop_buffer_group_options *options);

/* Ends a group and frees its memory. Returns 0, -EINVAL if there is none of that number, -EBUSY while operations or a
 * handler of direct mode use it or a buffer is out. The default group is made anew when it is next used. All groups end
 * with the loop. */
LOOP_API int loop_buffer_group_destroy(struct loop *loop, uint16_t group);

/* The number of a group whose buffers hold size bytes: of 1, 4, 16 or 64 KiB, made at first use from an equal share of
 * loop_options.buffer_budget; for more than 64 KiB it is the last. Returns the number, or what making it gave. */
LOOP_API int loop_buffer_group_for(struct loop *loop, size_t size);

/* Returns 0, or -EINVAL if there is no group of that number (the default one is there once it has been used). */
LOOP_API int loop_buffer_group_stats_get(const struct loop *loop, uint16_t group,
                                         struct loop_buffer_group_stats *ret_stats);

/* Keeps a buffer lent to the running callback beyond it; give it back by loop_buffer_return() or .release. Kept buffers
 * are missing in the group: keep few, or copy. A multishot of whose buffers a quarter of the group is kept stands back
 * while only an eighth is left, so that others go on. Returns 0, -EINVAL if buffer is none that is lent just now, or
 * -ENOMEM (incremental groups only; it is lent still). */
LOOP_API int loop_buffer_keep(struct loop *loop, loop_buffer buffer);

/* Gives a kept buffer back to its group, or a lent one before its callback ends. Returns 0, or -EINVAL if it is not
 * out. */
LOOP_API int loop_buffer_return(struct loop *loop, loop_buffer buffer);

/* The memory of a buffer that is out, and its size in bytes, of incremental groups those of the part; NULL if it is not
 * out. */
LOOP_API void *loop_buffer_data(struct loop *loop, loop_buffer buffer, size_t *ret_size);

LOOP_END_DECLS

#endif
