/* loop/zcrx.c: zero-copy receive: the life of a queue, its receives, and who has which piece of the area.
 *
 *   IDLE --start--> ACTIVE --stop--> STOPPING --last receive ended--> RETIRING --last piece back--> STOPPED
 *
 * When the loop is destroyed nobody waits for pieces the user has kept. */
#include "loop/op_start.h"
#include "loop/uapi.h"
#include "loop/zcrx_queue.h"

#include <string.h>

static struct loop_zcrx *zcrx_of(struct context *context)
{
    return context_extended(context)->zcrx;
}

static void tell_stopped(struct loop *loop, struct loop_task *task)
{
    struct loop_zcrx *zcrx = container_of(task, struct loop_zcrx, priv.task);
    loop_zcrx_cb     *on_stopped = zcrx->priv.on_stopped;

    loop->happened = true;
    zcrx->priv.state = LOOP_ZCRX_STOPPED;
    zcrx->priv.queue = NULL;
    object_gone(&zcrx->priv.object, true);
    if (on_stopped != NULL) {
        loop->stats.callbacks++;
        on_stopped(zcrx);
    }
}

/* After whatever may have been the last of something. */
static void advance(struct loop *loop, struct loop_zcrx *zcrx)
{
    if (zcrx->priv.state == LOOP_ZCRX_STOPPING && zcrx->priv.receives == 0)
        zcrx->priv.state = LOOP_ZCRX_RETIRING;
    if (zcrx->priv.state == LOOP_ZCRX_RETIRING && (zcrx->priv.pieces_out == 0 || loop->destroying))
        loop_task_add(loop, &zcrx->priv.task);
}

static void cancel_receives(struct loop *loop, const struct loop_zcrx *zcrx)
{
    uint64_t        slot = 0;
    struct context *context;

    while ((context = context_walk(&loop->pool, &slot)) != NULL)
        if (context->kind == CONTEXT_RECV_ZC && zcrx_of(context) == zcrx)
            (void)cancel_context(loop, context);
}

int loop_zcrx_stop(struct loop_zcrx *zcrx)
{
    struct loop *loop;

    if (zcrx == NULL || zcrx->priv.state == LOOP_ZCRX_IDLE || zcrx->priv.state == LOOP_ZCRX_STOPPED)
        return -EINVAL;
    loop = zcrx->priv.object.loop;
    loop_check_owner(loop, __func__);
    if (zcrx->priv.state == LOOP_ZCRX_ACTIVE) {
        zcrx->priv.state = LOOP_ZCRX_STOPPING;
        object_hold(&zcrx->priv.object);
        cancel_receives(loop, zcrx);
    }
    advance(loop, zcrx);
    return 0;
}

static void close_object(struct loop_object *object)
{
    (void)loop_zcrx_stop(container_of(object, struct loop_zcrx, priv.object));
}

static void describe(const struct loop_object *object, struct loop_walk_item *item)
{
    const struct loop_zcrx *zcrx = container_of(object, struct loop_zcrx, priv.object);

    item->active = zcrx->priv.state == LOOP_ZCRX_ACTIVE;
    item->closing = item->ref = !item->active;
}

static const struct loop_object_class object_class = {.name = "zcrx", .close = close_object, .describe = describe};

/* Each reason its own answer. */
static int check_ring(const struct loop *loop)
{
    if (!ring_knows(&loop->ring, IORING_OP_RECV_ZC))
        return -ENOSYS;
    if ((loop->ring.setup_flags & (IORING_SETUP_CQE32 | IORING_SETUP_CQE_MIXED)) == 0)
        return -EOPNOTSUPP;
    return (loop->ring.setup_flags & IORING_SETUP_DEFER_TASKRUN) == 0 ? -EBADFD : 0;
}

int loop_zcrx_start(struct loop *loop, struct loop_zcrx *zcrx, const struct loop_zcrx_options *options,
                    loop_zcrx_cb *on_stopped)
{
    struct zcrx_queue *queue = NULL;
    int                r;

    loop_check_owner(loop, __func__);
    if (zcrx == NULL || options == NULL)
        return -EINVAL;
    if (zcrx->priv.state != LOOP_ZCRX_IDLE && zcrx->priv.state != LOOP_ZCRX_STOPPED)
        return -EBUSY;
    if (loop->destroying)
        return -ECANCELED;
    r = check_ring(loop);
    if (r == 0)
        r = zcrx_queue_new(loop, options, &queue);
    if (r < 0)
        return r;
    zcrx->priv = (struct loop_zcrx_private){
        .task.run = tell_stopped, .queue = queue, .on_stopped = on_stopped, .state = LOOP_ZCRX_ACTIVE};
    object_open(loop, &zcrx->priv.object, &object_class, false);
    return 0;
}

enum loop_zcrx_state loop_zcrx_state_get(const struct loop_zcrx *zcrx)
{
    return (enum loop_zcrx_state)zcrx->priv.state;
}

void loop_zcrx_stats_get(const struct loop_zcrx *zcrx, struct loop_zcrx_stats *ret_stats)
{
    *ret_stats = (struct loop_zcrx_stats){0};
    if (zcrx->priv.queue == NULL)
        return;
    *ret_stats = zcrx->priv.queue->stats;
    ret_stats->pieces_out = zcrx->priv.pieces_out;
    ret_stats->pieces_waiting = zcrx->priv.queue->waiting_count;
}

/* ---- pieces */

static void give_back(struct loop *loop, struct loop_zcrx *zcrx, struct zcrx_piece piece)
{
    zcrx_queue_refill(loop, zcrx->priv.queue, piece);
    zcrx->priv.pieces_out--;
    advance(loop, zcrx);
}

int loop_zcrx_keep(struct loop_zcrx *zcrx)
{
    if (zcrx->priv.lending == 0)
        return -EINVAL;
    loop_check_owner(zcrx->priv.object.loop, __func__);
    zcrx->priv.lending = 0;
    return 0;
}

int loop_zcrx_return(struct loop_zcrx *zcrx, const void *data, size_t size)
{
    const struct zcrx_queue *queue = zcrx->priv.queue;
    uint64_t                 offset;

    if (queue == NULL)
        return -EINVAL;
    loop_check_owner(zcrx->priv.object.loop, __func__);
    offset = (uint64_t)((uintptr_t)data - (uintptr_t)queue->area);
    if (zcrx->priv.pieces_out == zcrx->priv.lending || offset >= queue->area_bytes || size == 0 ||
        size > queue->area_bytes - offset || size > INT32_MAX)
        return -EINVAL;
    give_back(zcrx->priv.object.loop, zcrx, (struct zcrx_piece){.offset = offset, .size = (uint32_t)size});
    return 0;
}

/* ---- receives */

static int prepare_receive(struct loop *loop, struct context_extended *extended, struct io_uring_sqe *sqe,
                           const void *source)
{
    (void)loop;
    (void)sqe;
    memcpy(&extended->zcrx, source, sizeof(extended->zcrx));
    return 0;
}

static bool terms_are_bad(const struct loop *loop, const struct loop_terms *terms)
{
    static const uint32_t never = LOOP_ASYNC | LOOP_LEND | LOOP_LINKED_TIMEOUT | LOOP_POLL_FIRST;
    uint32_t              flags = terms == NULL ? 0 : terms->flags;

    return (flags & never) != 0 || (loop->chain_open && (flags & LOOP_UNCHAINED) == 0);
}

loop_id loop_recv_zc(struct loop *loop, struct loop_zcrx *zcrx, int fd, loop_cb *cb, void *arg,
                     const struct loop_terms *terms)
{
    struct op_sqe     model = op_on_fd((struct op_sqe){0}, fd);
    struct op_request request = {
        .sqe = {.opcode = IORING_OP_RECV_ZC, .flags = model.flags, .ioprio = IORING_RECV_MULTISHOT, .fd = model.fd},
        .kind = CONTEXT_RECV_ZC,
        .cb = cb,
        .arg = arg,
        .terms = terms,
        .prepare = prepare_receive,
        .source = &zcrx,
    };
    loop_id id;

    loop_check_owner(loop, __func__);
    if (fd < 0)
        return op_refuse(loop, __func__, terms, -EBADF);
    if (zcrx == NULL || terms_are_bad(loop, terms))
        return op_refuse(loop, __func__, terms, -EINVAL);
    if (zcrx->priv.state != LOOP_ZCRX_ACTIVE)
        return op_refuse(loop, __func__, terms, -ESHUTDOWN);
    request.sqe.file_index = zcrx->priv.queue->id; /* the place of zcrx_ifq_idx, which old headers do not name */
    id = op_start_request(loop, __func__, &request);
    if (id > 0)
        zcrx->priv.receives++;
    return id;
}

void zcrx_finish(struct loop *loop, struct context *context, struct loop_result *result)
{
    struct loop_zcrx *zcrx = zcrx_of(context);

    zcrx->priv.receives--;
    advance(loop, zcrx); /* adds a task at most: zcrx lives on until it is run */
    op_finish(loop, context, result);
}

static void arm_again(struct loop *loop, struct context *context)
{
    struct io_uring_sqe *sqe = submit_sqe(loop, true);

    zcrx_of(context)->priv.queue->stats.rearms++;
    if (sqe == NULL) {
        dispatch_settle(loop, context, -ENOMEM, 0);
        return;
    }
    *sqe = context_extended(context)->sqe;
    context->state = CONTEXT_ACTIVE;
    submit_sqe_done(loop);
}

static void lend(struct loop *loop, struct context *context, struct loop_result *result, struct zcrx_piece piece)
{
    struct loop_zcrx  *zcrx = zcrx_of(context);
    struct zcrx_queue *queue = zcrx->priv.queue;

    queue->stats.pieces++;
    queue->stats.bytes += piece.size;
    zcrx->priv.pieces_out++;
    zcrx->priv.lending = 1;
    result->data = queue->area + piece.offset;
    op_more(loop, context, result);
    if (zcrx->priv.lending != 0) {
        zcrx->priv.lending = 0;
        give_back(loop, zcrx, piece);
    }
}

void zcrx_complete(struct loop *loop, struct context *context, int32_t res, uint32_t cqe_flags, const uint64_t extra[2])
{
    struct loop_zcrx  *zcrx = zcrx_of(context);
    struct loop_result result = {.res = res};
    struct zcrx_piece  piece;
    bool               more = (cqe_flags & IORING_CQE_F_MORE) != 0;

    if (res > 0 && !zcrx_queue_find(zcrx->priv.queue, extra, res, &piece)) {
        zcrx->priv.queue->stats.pieces_refused++;
        result.res = -EPROTO;
        if (more) { /* the kernel has to end it */
            (void)cancel_context(loop, context);
            return;
        }
    }
    if (result.res > 0) {
        if (!more)
            context->state = CONTEXT_RESTING;
        lend(loop, context, &result, piece);
        if (more)
            return;
        if ((context->flags & CONTEXT_CANCELED) != 0)
            dispatch_settle(loop, context, -ECANCELED, 0);
        else
            arm_again(loop, context);
    } else if (result.res == -ENOSPC && (context->flags & CONTEXT_CANCELED) == 0) {
        arm_again(loop, context); /* the CQ was full */
    } else {
        zcrx_finish(loop, context, &result);
    }
}
