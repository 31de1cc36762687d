/* ringloop/op_device.h: commands to drivers and protocols, and SQEs of 128 bytes.
 *
 * What op.h says of all operations holds here. A result with LOOP_CQE32 has the 16 bytes behind its CQE at data, on
 * rings with LOOP_MODE_CQE32 or, where the operation made such a CQE, LOOP_MODE_CQE_MIXED. Nothing of 128 bytes can be
 * started in direct mode, nor with LOOP_BARRIER, nor with SQE_MIXED in a chain or with LOOP_LINKED_TIMEOUT (-EINVAL).
 */
#ifndef RINGLOOP_OP_DEVICE_H
#define RINGLOOP_OP_DEVICE_H

#include <ringloop/types.h>

LOOP_BEGIN_DECLS

struct io_uring_sqe;

struct loop_uring_option { /* of a socket */
    uint32_t level;
    uint32_t optname;
};

/* A command, with the members of an SQE under their names. All bytes of the command are copied; what addr and the
 * command point to is borrowed. */
struct loop_uring_command {
    uint32_t cmd_op;
    uint32_t flags; /* IORING_URING_CMD_* */
    union {
        uint64_t                 addr;
        struct loop_uring_option option; /* sockets */
    };
    uint32_t    len;
    uint32_t    optlen; /* sockets; else 0 */
    uint16_t    buf_index;
    uint16_t    reserved;
    uint32_t    command_size;
    const void *command;
};

/* IORING_OP_URING_CMD: command_size is at most 16, with LOOP_MODE_SQE128 80, else -EINVAL. What a command means, and
 * what res is, the file's driver decides; -EOPNOTSUPP as a result if it has no such commands. */
LOOP_API loop_id loop_uring_cmd(struct loop *loop, int fd, const struct loop_uring_command *command, loop_cb *cb,
                                void *arg, const struct loop_terms *terms);

/* The same with up to 80 bytes on a ring with LOOP_MODE_SQE_MIXED or SQE128. Kernel 6.19, else -EOPNOTSUPP. */
LOOP_API loop_id loop_uring_cmd128(struct loop *loop, int fd, const struct loop_uring_command *command, loop_cb *cb,
                                   void *arg, const struct loop_terms *terms);

/* Does nothing with 128 bytes. The same rings and kernel. */
LOOP_API loop_id loop_nop128(struct loop *loop, loop_cb *cb, void *arg, const struct loop_terms *terms);

/* loop_raw() with an SQE of 128 bytes: sqes[0] and sqes[1]. Any opcode with LOOP_MODE_SQE128; with SQE_MIXED only
 * those that are made for it, else -EINVAL; -EOPNOTSUPP on other rings. */
LOOP_API loop_id loop_raw128(struct loop *loop, const struct io_uring_sqe *sqes, loop_cb *cb, void *arg,
                             const struct loop_terms *terms);

LOOP_END_DECLS

#endif
