/* loop/op_raw.c: SQEs that the user fills in. */
#include "loop/op_start.h"

/* Links would tie to what comes next; a drain waits for all that came before, among it multishots that never end. */
static const uint8_t never = IOSQE_IO_LINK | IOSQE_IO_HARDLINK | IOSQE_IO_DRAIN;

/* The loop must know where its own buffers are. */
static bool takes_our_buffers(const struct io_uring_sqe *sqe)
{
    return (sqe->flags & IOSQE_BUFFER_SELECT) != 0 && sqe->buf_group < LOOP_GROUPS_OWN;
}

/* Without a CQE it would never end. */
bool op_raw_is_fine(const struct io_uring_sqe *sqe)
{
    return (sqe->flags & (never | IOSQE_CQE_SKIP_SUCCESS)) == 0 && !takes_our_buffers(sqe);
}

/* The kernel would take what comes next for its second half. */
static bool is_half(const struct loop *loop, const struct io_uring_sqe *sqe)
{
    return op_is_made_wide(sqe->opcode) && ring_has(&loop->ring, IORING_SETUP_SQE_MIXED);
}

loop_id loop_raw(struct loop *loop, const struct io_uring_sqe *sqe, loop_cb *cb, void *arg,
                 const struct loop_terms *terms)
{
    struct op_request request = {.kind = CONTEXT_RAW, .cb = cb, .arg = arg, .terms = terms};

    op_check_thread(loop, __func__);
    if (sqe == NULL)
        return op_refuse(loop, __func__, terms, -EINVAL);
    if (!ring_knows(&loop->ring, sqe->opcode))
        return op_refuse(loop, __func__, terms, -EOPNOTSUPP);
    request.sqe = *sqe;
    if (!op_raw_is_fine(sqe) || is_half(loop, sqe))
        return op_refuse(loop, __func__, terms, -EINVAL);
    return op_start_request(loop, __func__, &request);
}

void loop_foreign_set(struct loop *loop, loop_foreign_cb *cb, void *arg)
{
    loop_check_owner(loop, __func__);
    loop->foreign_cb = cb;
    loop->foreign_arg = arg;
}

int loop_foreign_submit(struct loop *loop, const struct io_uring_sqe *sqe)
{
    struct io_uring_sqe *place;

    loop_check_owner(loop, __func__);
    if (sqe == NULL || user_data_mode(sqe->user_data) != UD_FOREIGN || (sqe->flags & never) != 0 ||
        takes_our_buffers(sqe) || is_half(loop, sqe))
        return -EINVAL;
    if (!restriction_allows(loop, sqe->opcode))
        return -EACCES;
    if (loop->destroying)
        return -ECANCELED;
    place = submit_sqe(loop, true);
    if (place == NULL)
        return -ENOMEM;
    *place = *sqe;
    loop->foreign_used = true;
    submit_sqe_done(loop);
    return 0;
}
