/* loop/bundle.c: many buffers in one completion: receives that fill several, sends of what was gathered.
 *
 * The kernel names the first buffer only. Each buffer knows which one was provided after it, so the rest follows, in
 * whatever order completions of several operations come. */
#include "loop/bundle.h"

#include "loop/buffer_group.h"
#include "loop/op_start.h"

#include <ringloop/bundle.h>

static bool kernel_has_bundles(const struct loop *loop)
{
    return (loop->ring.features & IORING_FEAT_RECVSEND_BUNDLE) != 0;
}

static loop_id start_receive(struct loop *loop, const char *call, struct op_request *request, int fd, uint16_t group)
{
    if (fd < 0)
        return op_refuse(loop, call, request->terms, -EBADF);
    if ((request->sqe.msg_flags & MSG_WAITALL) != 0)
        return op_refuse(loop, call, request->terms, -EINVAL);
    if (!kernel_has_bundles(loop))
        return op_refuse(loop, call, request->terms, -EOPNOTSUPP);
    request->sqe.opcode = IORING_OP_RECV;
    request->sqe.flags = IOSQE_BUFFER_SELECT;
    request->sqe.ioprio |= IORING_RECVSEND_BUNDLE;
    request->sqe.buf_group = group;
    op_sqe_set_fd(&request->sqe, fd);
    return op_start_request(loop, call, request);
}

loop_id loop_recv_multishot_bundle(struct loop *loop, int fd, uint16_t group, int flags, loop_cb *cb, void *arg,
                                   const struct loop_terms *terms)
{
    struct op_request request = {
        .sqe = {.ioprio = IORING_RECV_MULTISHOT, .msg_flags = (unsigned)flags},
        .kind = CONTEXT_RECV,
        .cb = cb,
        .arg = arg,
        .terms = terms,
    };

    op_check_thread(loop, __func__);
    return start_receive(loop, __func__, &request, fd, group);
}

loop_id loop_recv_bundle(struct loop *loop, int fd, uint16_t group, int flags, loop_cb *cb, void *arg,
                         const struct loop_terms *terms)
{
    struct op_request request = {
        .sqe = {.msg_flags = (unsigned)flags},
        .kind = CONTEXT_LENDING,
        .cb = cb,
        .arg = arg,
        .terms = terms,
    };

    op_check_thread(loop, __func__);
    return start_receive(loop, __func__, &request, fd, group);
}

bool loop_bundle_next(struct loop *loop, struct loop_bundle *bundle, struct loop_result *ret_piece)
{
    loop_check_owner(loop, __func__);
    if (!buffer_bundle_next(loop, &bundle->buffer, ret_piece))
        return false;
    ret_piece->id = bundle->id;
    if (bundle->data != NULL) { /* of a message it is not where the buffer begins */
        ret_piece->res = bundle->res;
        ret_piece->data = bundle->data;
        bundle->data = NULL;
    }
    return true;
}

/* ---- sending */

static struct buffer_group *outgoing(struct loop *loop, uint16_t number)
{
    struct buffer_group *group = buffer_group_of(loop, number);

    return group != NULL && group->kind == BUFFER_OUTGOING ? group : NULL;
}

static uint32_t waiting(const struct buffer_group *group)
{
    return (uint16_t)(group->tail - group->head);
}

static struct io_uring_buf *slot_of(const struct buffer_group *group, uint16_t at)
{
    return &group->ring->bufs[at & (group->count - 1)];
}

int loop_buffer_group_add(struct loop *loop, uint16_t number, const void *data, size_t size)
{
    struct buffer_group *group;
    struct io_uring_buf *slot;

    loop_check_owner(loop, __func__);
    group = outgoing(loop, number);
    if (group == NULL || data == NULL || size == 0 || size > INT32_MAX)
        return -EINVAL;
    if (waiting(group) == group->count || group->bytes_waiting + size > INT32_MAX) {
        loop->stats.writes_full++;
        return -ENOBUFS;
    }
    slot = slot_of(group, group->tail);
    slot->addr = (uint64_t)(uintptr_t)data;
    slot->len = (uint32_t)size;
    slot->bid = group->tail & (uint16_t)(group->count - 1);
    group->tail++;
    group->bytes_waiting += size;
    return 0;
}

/* The kernel sees what was added when a send asks for it, so that a send takes what was there when it was started. */
static void publish(struct buffer_group *group)
{
    group->published = group->tail;
    __atomic_store_n(&group->ring->tail, group->tail, __ATOMIC_RELEASE);
}

loop_id loop_send_bundle(struct loop *loop, int fd, uint16_t number, int flags, loop_cb *cb, void *arg,
                         const struct loop_terms *terms)
{
    struct op_request request = {
        .sqe = {.opcode = IORING_OP_SEND,
                .flags = IOSQE_BUFFER_SELECT,
                .ioprio = IORING_RECVSEND_BUNDLE,
                .buf_group = number,
                .msg_flags = (unsigned)(flags | MSG_WAITALL | MSG_NOSIGNAL)},
        .kind = CONTEXT_LENDING,
        .cb = cb,
        .arg = arg,
        .terms = terms,
    };
    struct buffer_group *group;
    loop_id              id;

    loop_check_owner(loop, __func__);
    group = outgoing(loop, number);
    if (fd < 0)
        return op_refuse(loop, __func__, terms, -EBADF);
    if (group == NULL || (cb != NULL && !op_cb_is_plain(cb)))
        return op_refuse(loop, __func__, terms, -EINVAL);
    if (!kernel_has_bundles(loop))
        return op_refuse(loop, __func__, terms, -EOPNOTSUPP);
    if (group->sender != 0 && context_find(&loop->pool, group->sender) != NULL)
        return op_refuse(loop, __func__, terms, -EBUSY);
    if (waiting(group) == 0)
        return op_refuse(loop, __func__, terms, -ENOBUFS);
    publish(group);
    op_sqe_set_fd(&request.sqe, fd);
    id = op_start_request(loop, __func__, &request);
    if (id > 0) {
        group->sender = (uint64_t)id;
        group->bytes_sent = group->bytes_gone = group->pieces_gone = 0;
    }
    return id;
}

/* Where a kernel does not tell its head: what the bytes reach into. */
static uint16_t head_by_bytes(const struct buffer_group *group, uint32_t bytes)
{
    uint16_t at = group->head;

    for (uint32_t sum = 0; sum < bytes && at != group->published; at++)
        sum += slot_of(group, at)->len;
    return at;
}

/* What the kernel has picked is out of the group, sent or not. Returns how many bytes that was. */
static uint32_t consume(struct loop *loop, struct buffer_group *group, uint32_t sent)
{
    uint32_t bytes = 0;
    uint16_t head;

    if (buffer_group_head(loop, group->number, &head) < 0 ||
        (uint16_t)(head - group->head) > (uint16_t)(group->published - group->head))
        head = head_by_bytes(group, sent);
    for (; group->head != head; group->head++, group->pieces_gone++)
        bytes += slot_of(group, group->head)->len;
    group->bytes_waiting -= bytes;
    if (waiting(group) == 0)
        group->empty_ever++;
    return bytes;
}

/* What was sent before an error counts. */
static void finish(struct loop *loop, struct context *context, const struct buffer_group *group, int32_t res)
{
    struct loop_result result = {.res = group->bytes_sent > 0 ? (int32_t)group->bytes_sent : res};

    result.value = group->pieces_gone;
    op_finish(loop, context, &result);
}

/* The kernel picks so many pieces at a time. It tells of each time, and may stop in between although all went well: the
 * user hears once, of everything. */
void bundle_sent(struct loop *loop, struct context *context, const struct completion *completion)
{
    struct buffer_group *group = loop->groups[context_arm(context)->group];

    if (completion->res > 0)
        group->bytes_sent += (uint32_t)completion->res;
    if ((completion->flags & IORING_CQE_F_MORE) != 0)
        return;
    group->bytes_gone += consume(loop, group, group->bytes_sent - group->bytes_gone);
    if (completion->res > 0 && group->bytes_sent == group->bytes_gone && group->head != group->published &&
        (context->flags & (CONTEXT_CANCELED | CONTEXT_EXPIRED | CONTEXT_CHAINED | CONTEXT_LINKED)) == 0) {
        multishot_arm(loop, context, false);
        return;
    }
    finish(loop, context, group, completion->res);
}

/* What it was armed with is gone; but the group knows it. */
void bundle_settled(struct loop *loop, struct context *context)
{
    for (uint16_t number = 0; number < ARRAY_COUNT(loop->groups); number++) {
        struct buffer_group *group = outgoing(loop, number);

        if (group != NULL && group->sender == context->id) {
            finish(loop, context, group, context->settled.res);
            return;
        }
    }
    op_finish(loop, context, &(struct loop_result){.res = context->settled.res});
}
