/* ringloop/bundle.h: many buffers in one completion: receives that fill several buffers of a group, and sends of many
 * pieces gathered in a group. Loop thread only. Kernel 6.10; all calls give -EOPNOTSUPP without it. */
#ifndef RINGLOOP_BUNDLE_H
#define RINGLOOP_BUNDLE_H

#include <ringloop/buffer.h>
#include <ringloop/types.h>

#include <stdbool.h>
#include <stddef.h>

LOOP_BEGIN_DECLS

/* As loop_recv_multishot(), and a one-shot of the same kind; but one result may cover several buffers: res is the sum,
 * data and buffer are those of the first, and with more than one LOOP_BUNDLE is set. Walk through them by
 * loop_bundle_next(). Plain and bundled receives may use the same group; an incremental one is refused (-EINVAL), and
 * so is MSG_WAITALL. The one-shot waits for a buffer if the group is empty. In direct mode the group is the handler's,
 * and the one-shot is refused. */
LOOP_API loop_id loop_recv_multishot_bundle(struct loop *loop, int fd, uint16_t group, int flags, loop_cb *cb,
                                            void *arg, const struct loop_terms *terms);
LOOP_API loop_id loop_recv_bundle(struct loop *loop, int fd, uint16_t group, int flags, loop_cb *cb, void *arg,
                                  const struct loop_terms *terms);

/* Where a walk through the buffers of one result stands. */
struct loop_bundle {
    loop_id     id;
    loop_buffer buffer; /* the next; 0: none */
    int32_t     res;    /* with data: of the only one */
    void       *data;
};

/* The beginning of a walk. Works for any result, with one buffer or none as well; of a message it is the payload. */
static inline struct loop_bundle loop_bundle_of(const struct loop_result *result)
{
    struct loop_bundle bundle = {0, 0, 0, NULL};

    if ((result->flags & LOOP_BUFFER) != 0) {
        bundle.id = result->id;
        bundle.buffer = result->buffer;
        if ((result->flags & LOOP_BUNDLE) == 0) {
            bundle.res = result->res;
            bundle.data = result->data;
        }
    }
    return bundle;
}

/* Describes the next buffer, in the order of the bytes: res bytes at data, in buffer, flags LOOP_BUFFER. Each is lent
 * on its own: keep it, return it, hand it on by .release; what is left goes back after the callback. Inside the
 * callback only; the walk must not have to pass a buffer that was given back before it came there. Returns false at the
 * end, and then leaves ret_piece as it is. */
LOOP_API bool loop_bundle_next(struct loop *loop, struct loop_bundle *bundle, struct loop_result *ret_piece);

/* Puts size bytes at data (at most INT32_MAX, also all that wait together) at the end of an outgoing group
 * (LOOP_GROUP_OUTGOING); borrows them until a loop_send_bundle() has reported them, or the group has ended. May be
 * called while a send is in flight: what is added then goes with the next one. Returns 0, -EINVAL, -ENOBUFS when the
 * group is full. */
LOOP_API int loop_buffer_group_add(struct loop *loop, uint16_t group, const void *data, size_t size);

/* Sends all that waits in an outgoing group, in order, as one operation. res is the number of bytes sent, value how
 * many of the pieces, the oldest first, have left the group and are yours again: the kernel takes up to 256 of them at
 * a time, and what it has taken is gone even if an error or a cancel has kept it from being sent (then res is smaller
 * than their sum, or the error). What it has not taken goes with the next send; in a chain, and with a linked timeout,
 * that may be what is beyond the first 256. -ENOBUFS if nothing waits, -EBUSY while
 * another send of the group is in flight; not in direct mode (-EINVAL). */
LOOP_API loop_id loop_send_bundle(struct loop *loop, int fd, uint16_t group, int flags, loop_cb *cb, void *arg,
                                  const struct loop_terms *terms);

LOOP_END_DECLS

#endif
