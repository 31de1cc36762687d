/* loop/op_raw.c: SQEs that the user fills in. */
#include "loop/op_start.h"

loop_id loop_raw(struct loop *loop, const struct io_uring_sqe *sqe, loop_cb *cb, void *arg,
                 const struct loop_terms *terms)
{
    struct op_request request = {.kind = CONTEXT_RAW, .cb = cb, .arg = arg, .terms = terms};

    loop_check_owner(loop, __func__);
    if (sqe == NULL)
        return op_refuse(loop, __func__, -EINVAL);
    if (!ring_knows(&loop->ring, sqe->opcode))
        return op_refuse(loop, __func__, -EOPNOTSUPP);
    request.sqe = *sqe;
    if ((sqe->flags & (IOSQE_IO_LINK | IOSQE_IO_HARDLINK)) != 0) /* what comes next may not be theirs */
        return op_refuse(loop, __func__, -EINVAL);
    return op_start_request(loop, &request);
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
    if (sqe == NULL || user_data_mode(sqe->user_data) != UD_FOREIGN ||
        (sqe->flags & (IOSQE_IO_LINK | IOSQE_IO_HARDLINK)) != 0)
        return -EINVAL;
    if (loop->destroying)
        return -ECANCELED;
    place = submit_sqe(loop, true);
    if (place == NULL)
        return -ENOMEM;
    *place = *sqe;
    submit_sqe_done(loop);
    return 0;
}
