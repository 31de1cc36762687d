/* loop/op_device.c: commands to drivers and protocols, and SQEs of 128 bytes. */
#include "loop/op_start.h"

#include <ringloop/op_device.h>
#include <string.h>

enum { COMMAND_BYTES = 16, COMMAND_BYTES_WIDE = 80 };

_Static_assert(offsetof(struct io_uring_sqe, cmd) + COMMAND_BYTES_WIDE == 2 * sizeof(struct io_uring_sqe),
               "a long command fills the SQE to its end");
_Static_assert(CONTEXT_NAME_BYTES >= sizeof(struct io_uring_sqe), "its second half has a place");

static int prepare_second_half(struct loop *loop, struct context_extended *extended, struct io_uring_sqe *sqe,
                               const void *source)
{
    (void)loop;
    (void)sqe;
    memcpy(extended->storage, source, sizeof(struct io_uring_sqe));
    return 0;
}

/* Where the two halves would have to be kept together by more than their place in the SQ. */
static bool would_be_parted(const struct loop *loop, const struct loop_terms *terms)
{
    uint32_t flags = terms == NULL ? 0 : terms->flags;

    if ((flags & LOOP_BARRIER) != 0)
        return true;
    if (!ring_has(&loop->ring, IORING_SETUP_SQE_MIXED))
        return false;
    return (flags & LOOP_LINKED_TIMEOUT) != 0 ||
           (!shared_elsewhere(loop) && loop->chain_open && (flags & LOOP_UNCHAINED) == 0);
}

/* sqes: the two halves. */
static loop_id start_wide(struct loop *loop, const char *call, const struct io_uring_sqe *sqes, loop_cb *cb, void *arg,
                          const struct loop_terms *terms)
{
    struct op_request request = {
        .sqe = sqes[0],
        .kind = CONTEXT_RAW,
        .cb = cb,
        .arg = arg,
        .terms = terms,
        .prepare = prepare_second_half,
        .source = &sqes[1],
        .wide = true,
    };

    if (would_be_parted(loop, terms))
        return op_refuse(loop, call, terms, -EINVAL);
    return op_start_request(loop, call, &request);
}

static loop_id start_narrow(struct loop *loop, const char *call, const struct io_uring_sqe *sqe, loop_cb *cb, void *arg,
                            const struct loop_terms *terms)
{
    struct op_request request = {.sqe = *sqe, .kind = CONTEXT_RAW, .cb = cb, .arg = arg, .terms = terms};

    return op_start_request(loop, call, &request);
}

static int fill_command(struct io_uring_sqe *sqes, uint8_t opcode, int fd, const struct loop_uring_command *command,
                        uint32_t bytes_max)
{
    if (fd < 0)
        return -EBADF;
    if (command == NULL || command->reserved != 0 || command->command_size > bytes_max ||
        (command->command == NULL && command->command_size > 0))
        return -EINVAL;
    sqes[0].opcode = opcode;
    sqes[0].cmd_op = command->cmd_op;
    sqes[0].addr = command->addr;
    sqes[0].len = command->len;
    sqes[0].uring_cmd_flags = command->flags;
    sqes[0].buf_index = command->buf_index;
    sqes[0].optlen = command->optlen;
    if (command->command_size > 0)
        memcpy((char *)sqes + offsetof(struct io_uring_sqe, cmd), command->command, command->command_size);
    op_sqe_set_fd(&sqes[0], fd);
    return 0;
}

loop_id loop_uring_cmd(struct loop *loop, int fd, const struct loop_uring_command *command, loop_cb *cb, void *arg,
                       const struct loop_terms *terms)
{
    struct io_uring_sqe sqes[2] = {0};
    bool                wide;
    int                 r;

    op_check_thread(loop, __func__);
    wide = ring_has(&loop->ring, IORING_SETUP_SQE128);
    r = fill_command(sqes, IORING_OP_URING_CMD, fd, command, wide ? COMMAND_BYTES_WIDE : COMMAND_BYTES);
    if (r < 0)
        return op_refuse(loop, __func__, terms, r);
    if (command->command_size > COMMAND_BYTES)
        return start_wide(loop, __func__, sqes, cb, arg, terms);
    return start_narrow(loop, __func__, sqes, cb, arg, terms);
}

static bool takes_wide(const struct loop *loop)
{
    return ring_has(&loop->ring, IORING_SETUP_SQE128 | IORING_SETUP_SQE_MIXED);
}

loop_id loop_uring_cmd128(struct loop *loop, int fd, const struct loop_uring_command *command, loop_cb *cb, void *arg,
                          const struct loop_terms *terms)
{
    struct io_uring_sqe sqes[2] = {0};
    int                 r;

    op_check_thread(loop, __func__);
    if (!takes_wide(loop) || !ring_knows(&loop->ring, IORING_OP_URING_CMD128))
        return op_refuse(loop, __func__, terms, -EOPNOTSUPP);
    r = fill_command(sqes, IORING_OP_URING_CMD128, fd, command, COMMAND_BYTES_WIDE);
    if (r < 0)
        return op_refuse(loop, __func__, terms, r);
    return start_wide(loop, __func__, sqes, cb, arg, terms);
}

loop_id loop_nop128(struct loop *loop, loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    const struct io_uring_sqe sqes[2] = {{.opcode = IORING_OP_NOP128, .fd = -1}};

    op_check_thread(loop, __func__);
    if (!takes_wide(loop))
        return op_refuse(loop, __func__, terms, -EOPNOTSUPP);
    return start_wide(loop, __func__, sqes, cb, arg, terms);
}

loop_id loop_raw128(struct loop *loop, const struct io_uring_sqe *sqes, loop_cb *cb, void *arg,
                    const struct loop_terms *terms)
{
    op_check_thread(loop, __func__);
    if (sqes == NULL)
        return op_refuse(loop, __func__, terms, -EINVAL);
    if (!takes_wide(loop) || !ring_knows(&loop->ring, sqes[0].opcode))
        return op_refuse(loop, __func__, terms, -EOPNOTSUPP);
    if (!op_raw_is_fine(&sqes[0]) ||
        (ring_has(&loop->ring, IORING_SETUP_SQE_MIXED) && !op_is_made_wide(sqes[0].opcode)))
        return op_refuse(loop, __func__, terms, -EINVAL);
    return start_wide(loop, __func__, sqes, cb, arg, terms);
}
