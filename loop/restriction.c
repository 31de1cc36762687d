/* loop/restriction.c: restrictions: a ring that takes some operations only.
 *
 * The kernel enforces them from the moment the ring is enabled, and the loop looks at its own copy of the list when an
 * operation starts, so that the caller has the error at once: on such a loop every start takes the long way. */
#include "loop/loop_private.h"

#include <errno.h>
#include <string.h>

/* What the loop does without being asked; RECV to look what a multishot without a buffer would receive. */
static const uint8_t opcodes_own[] = {IORING_OP_RECV,        IORING_OP_NOP,          IORING_OP_POLL_ADD,
                                      IORING_OP_POLL_REMOVE, IORING_OP_ASYNC_CANCEL, IORING_OP_LINK_TIMEOUT,
                                      IORING_OP_FILES_UPDATE};

/* And its calls; not among them what would widen what the loop may do, such as new credentials. */
static const uint8_t registers_own[] = {
    IORING_REGISTER_BUFFERS,
    IORING_UNREGISTER_BUFFERS,
    IORING_REGISTER_FILES,
    IORING_UNREGISTER_FILES,
    IORING_REGISTER_FILES_UPDATE,
    IORING_REGISTER_EVENTFD,
    IORING_UNREGISTER_EVENTFD,
    IORING_REGISTER_PROBE,
    IORING_UNREGISTER_PERSONALITY,
    IORING_REGISTER_ENABLE_RINGS,
    IORING_REGISTER_FILES2,
    IORING_REGISTER_FILES_UPDATE2,
    IORING_REGISTER_BUFFERS2,
    IORING_REGISTER_BUFFERS_UPDATE,
    IORING_REGISTER_IOWQ_AFF,
    IORING_UNREGISTER_IOWQ_AFF,
    IORING_REGISTER_IOWQ_MAX_WORKERS,
    IORING_REGISTER_RING_FDS,
    IORING_UNREGISTER_RING_FDS,
    IORING_REGISTER_PBUF_RING,
    IORING_UNREGISTER_PBUF_RING,
    IORING_REGISTER_SYNC_CANCEL,
    IORING_REGISTER_FILE_ALLOC_RANGE,
    /* From here on those that came after 6.1. */
    IORING_REGISTER_PBUF_STATUS,
    IORING_REGISTER_NAPI,
    IORING_UNREGISTER_NAPI,
    IORING_REGISTER_CLONE_BUFFERS,
    IORING_REGISTER_RESIZE_RINGS,
};

enum { REGISTERS_6_1 = 23, RESTRICTIONS_MAX = 256 + ARRAY_COUNT(registers_own) + 1 };

struct list {
    struct io_uring_restriction restrictions[RESTRICTIONS_MAX];
    unsigned                    count;
    uint64_t                    opcodes[4]; /* those in it */
};

static void add_opcode(struct list *list, const struct ring *ring, uint8_t opcode)
{
    uint64_t bit = UINT64_C(1) << opcode % 64;

    if ((list->opcodes[opcode / 64] & bit) != 0 || !ring_knows(ring, opcode))
        return;
    list->opcodes[opcode / 64] |= bit;
    list->restrictions[list->count++] =
        (struct io_uring_restriction){.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = opcode};
}

static int ask(struct loop *loop, const struct loop_restrictions *restrictions, unsigned registers_count)
{
    struct list list = {0};

    for (uint32_t i = 0; i < restrictions->opcodes_count; i++)
        add_opcode(&list, &loop->ring, restrictions->opcodes[i]);
    memcpy(loop->mode.allowed, list.opcodes, sizeof(list.opcodes)); /* to the user; the loop has more */
    for (size_t i = 0; i < ARRAY_COUNT(opcodes_own); i++)
        add_opcode(&list, &loop->ring, opcodes_own[i]);
    for (unsigned i = 0; i < registers_count; i++)
        list.restrictions[list.count++] =
            (struct io_uring_restriction){.opcode = IORING_RESTRICTION_REGISTER_OP, .register_op = registers_own[i]};
    list.restrictions[list.count++] =
        (struct io_uring_restriction){.opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED, .sqe_flags = UINT8_MAX};
    return seam_ring_register(loop->ring.uring.ring_fd, IORING_REGISTER_RESTRICTIONS, list.restrictions, list.count);
}

static int ask_all(struct loop *loop, const struct loop_restrictions *restrictions)
{
    int r = ask(loop, restrictions, ARRAY_COUNT(registers_own));

    return r == -EINVAL ? ask(loop, restrictions, REGISTERS_6_1) : r; /* it does not know all of them */
}

int restriction_rehome(struct loop *loop)
{
    uint8_t  opcodes[256];
    uint32_t count = 0;

    if (!loop->mode.restricted)
        return 0;
    for (unsigned opcode = 0; opcode < 256; opcode++)
        if (restriction_allows(loop, opcode))
            opcodes[count++] = (uint8_t)opcode;
    return ask_all(loop, &(struct loop_restrictions){.opcodes = opcodes, .opcodes_count = count});
}

int restriction_init(struct loop *loop, const struct loop_restrictions *restrictions)
{
    int r;

    if (restrictions->reserved != 0 || restrictions->opcodes_count > 256 ||
        (restrictions->opcodes == NULL && restrictions->opcodes_count > 0))
        return -EINVAL;
    r = ask_all(loop, restrictions);
    if (r < 0)
        return r;
    loop->mode.restricted = true;
    loop->room_is_special = true;
    return 0;
}
