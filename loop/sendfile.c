/* loop/sendfile.c: a stretch of a file to a socket: one piece is read while the one before is sent. */
#include "loop/loop_private.h"

#include <errno.h>
#include <ringloop/op_file.h>
#include <ringloop/sendfile.h>
#include <string.h>

enum { PIECE_BYTES = 65536 };

static void pump(struct loop_transfer *transfer);

static void finish(struct loop_transfer *transfer)
{
    struct loop      *loop = transfer->priv.loop;
    loop_sendfile_cb *cb = transfer->priv.cb;
    uint64_t          sent = transfer->priv.sent;
    int               error = transfer->priv.error;

    loop_timer_stop(&transfer->priv.deadline);
    memory_free(loop, transfer->priv.memory);
    transfer->priv = (struct loop_transfer_private){0};
    cb(transfer, sent, error);
}

/* Nothing more is read or sent; what is in flight comes back first. */
static void end_early(struct loop_transfer *transfer, int error)
{
    if (transfer->priv.ended)
        return;
    transfer->priv.ended = true;
    if (transfer->priv.error == 0)
        transfer->priv.error = error;
    if (transfer->priv.read_id != 0)
        (void)loop_cancel(transfer->priv.loop, transfer->priv.read_id);
    if (transfer->priv.send_id != 0)
        (void)loop_cancel(transfer->priv.loop, transfer->priv.send_id);
}

/* The parent goes on with it: both would send. */
static bool is_the_parents(const struct loop_transfer *transfer)
{
    return transfer->priv.forks != transfer->priv.loop->forks;
}

static void read_done(struct loop *loop, const struct loop_result *result, void *arg)
{
    struct loop_transfer         *transfer = arg;
    struct loop_transfer_private *priv = &transfer->priv;

    (void)loop;
    priv->read_id = 0;
    if (is_the_parents(transfer)) {
        end_early(transfer, -EOWNERDEAD);
    } else if (result->res == -ERESTART) { /* a new ring: the same once more */
    } else if (result->res <= 0) {         /* the end, or an error: what has been read before still leaves */
        priv->left = 0;
        if (result->res < 0 && priv->error == 0)
            priv->error = result->res;
    } else {
        priv->filled[priv->reading] = (uint32_t)result->res;
        priv->reading ^= 1;
        if (priv->left != UINT64_MAX)
            priv->left -= (uint32_t)result->res;
        if (priv->offset != LOOP_AT_POSITION)
            priv->offset += result->res;
    }
    pump(transfer);
}

static void send_done(struct loop *loop, const struct loop_result *result, void *arg)
{
    struct loop_transfer         *transfer = arg;
    struct loop_transfer_private *priv = &transfer->priv;

    (void)loop;
    priv->send_id = 0;
    if (is_the_parents(transfer))
        end_early(transfer, -EOWNERDEAD);
    else if (result->res == -ENOTSOCK && !priv->plain_write)
        priv->plain_write = true;
    else if (result->res == -ERESTART) { /* a new ring: the same once more */
    } else if (result->res < 0)
        end_early(transfer, result->res);
    else {
        priv->sent += (uint32_t)result->res;
        priv->sent_of_piece += (uint32_t)result->res;
        if (priv->sent_of_piece == priv->filled[priv->sending]) {
            priv->filled[priv->sending] = 0;
            priv->sending ^= 1;
            priv->sent_of_piece = 0;
        }
    }
    pump(transfer);
}

static loop_id start_read(struct loop_transfer *transfer)
{
    struct loop_transfer_private *priv = &transfer->priv;
    size_t                        size = priv->left < PIECE_BYTES ? priv->left : PIECE_BYTES;
    char                         *piece = priv->memory + (size_t)priv->reading * PIECE_BYTES;

    return op_of_object(priv->loop, loop_read(priv->loop, priv->in_fd, piece, size, priv->offset, read_done, transfer,
                                              LOOP_TERMS(.flags = LOOP_UNCHAINED)));
}

static loop_id start_send(struct loop_transfer *transfer)
{
    struct loop_transfer_private *priv = &transfer->priv;
    const char                   *from = priv->memory + (size_t)priv->sending * PIECE_BYTES + priv->sent_of_piece;
    size_t                        size = priv->filled[priv->sending] - priv->sent_of_piece;
    const struct loop_terms       terms = {.flags = LOOP_UNCHAINED};

    if (priv->plain_write)
        return op_of_object(priv->loop, loop_write(priv->loop, priv->out_fd, from, size, LOOP_AT_POSITION, send_done,
                                                   transfer, &terms));
    return op_of_object(priv->loop, loop_send(priv->loop, priv->out_fd, from, size, 0, send_done, transfer, &terms));
}

/* Starts what can be started; with nothing left it is over. */
static void pump(struct loop_transfer *transfer)
{
    struct loop_transfer_private *priv = &transfer->priv;

    if (!priv->ended && priv->read_id == 0 && priv->left > 0 && priv->filled[priv->reading] == 0)
        priv->read_id = start_read(transfer);
    if (!priv->ended && priv->send_id == 0 && priv->filled[priv->sending] > 0)
        priv->send_id = start_send(transfer);
    if (priv->read_id < 0 || priv->send_id < 0) {
        int error = (int)(priv->read_id < 0 ? priv->read_id : priv->send_id);

        priv->read_id = priv->read_id < 0 ? 0 : priv->read_id;
        priv->send_id = priv->send_id < 0 ? 0 : priv->send_id;
        end_early(transfer, error);
    }
    if (priv->read_id == 0 && priv->send_id == 0)
        finish(transfer);
}

static void deadline_passed(struct loop_timer *timer)
{
    end_early(timer->data, -ETIMEDOUT);
}

static int start(struct loop_transfer *transfer, uint64_t timeout_ns)
{
    struct loop_transfer_private *priv = &transfer->priv;
    loop_id                       id;

    priv->memory = memory_resize(priv->loop, NULL, 2 * PIECE_BYTES);
    if (priv->memory == NULL)
        return -ENOMEM;
    id = start_read(transfer);
    if (id < 0) {
        memory_free(priv->loop, priv->memory);
        return (int)id;
    }
    priv->read_id = id;
    if (timeout_ns != 0) {
        priv->deadline.data = transfer;
        timer_of_object(&priv->deadline);
        (void)loop_timer_start(priv->loop, &priv->deadline, timeout_ns, 0, deadline_passed);
    }
    return 0;
}

int loop_sendfile(struct loop *loop, struct loop_transfer *transfer, int out_fd, int in_fd, int64_t offset,
                  uint64_t count, const struct loop_sendfile_options *options, loop_sendfile_cb *cb)
{
    int r;

    loop_check_owner(loop, __func__);
    if (transfer == NULL || cb == NULL || offset < LOOP_AT_POSITION || count == 0 ||
        (options != NULL && (options->flags != 0 || options->reserved != 0)))
        return -EINVAL;
    if (out_fd < 0 || in_fd < 0)
        return -EBADF;
    if (transfer->priv.loop != NULL)
        return -EBUSY;
    transfer->priv = (struct loop_transfer_private){
        .loop = loop,
        .cb = cb,
        .offset = offset,
        .left = count,
        .in_fd = in_fd,
        .out_fd = out_fd,
        .forks = loop->forks,
    };
    r = start(transfer, options == NULL ? 0 : options->timeout_ns);
    if (r < 0)
        transfer->priv = (struct loop_transfer_private){0};
    return r;
}

void loop_sendfile_cancel(struct loop_transfer *transfer)
{
    if (transfer == NULL || transfer->priv.loop == NULL)
        return;
    loop_check_owner(transfer->priv.loop, __func__);
    end_early(transfer, -ECANCELED);
}
