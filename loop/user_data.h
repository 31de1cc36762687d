/* loop/user_data.h: the one place that knows the bits of user_data.
 *
 *             63  62 ................ 31  30 ............ 2   1 0
 * indirect     0  generation (32)         slot (29)           1
 * extended     0  generation (32)         slot (29)           2
 *             63  62 .... 17  16 .. 10   9 ....... 2          1 0
 * direct       0  value (46)  opcode      handler             0
 * foreign      whatever its owner likes                       3
 *
 * A loop_id is the user_data of its operation, which is why bit 63 stays 0, and why handlers count from 1. */
#ifndef RINGLOOP_LOOP_USER_DATA_H
#define RINGLOOP_LOOP_USER_DATA_H

#include <ringloop/op.h>

#include <stdbool.h>
#include <stdint.h>

enum user_data_mode {
    UD_DIRECT = 0,
    UD_INDIRECT = 1,
    UD_EXTENDED = 2,
    UD_FOREIGN = 3,
    UD_MODE_MASK = 3,
};

enum {
    UD_SLOT_SHIFT = 2,
    UD_SLOT_BITS = 29,
    UD_GENERATION_SHIFT = 31,
    UD_HANDLER_SHIFT = 2, /* as in LOOP_HANDLER() */
    UD_OPCODE_SHIFT = 10,
    UD_VALUE_SHIFT = 17,
    UD_MESSAGE_SHIFT = 10, /* in the value of a message, above the handler it is for */
};

_Static_assert((int)UD_FOREIGN == (int)LOOP_FOREIGN, "public and private notation of foreign agree");

/* Handlers of the library's own direct operations. */
enum {
    HANDLER_CANCEL = LOOP_HANDLERS_MAX + 1,
    HANDLER_LINKED_TIMEOUT,
    HANDLER_WAKE, /* value 0; others: the poll of poll handles */
    HANDLER_MESSAGE,
    HANDLER_CLOCK,
    HANDLER_LAST = HANDLER_CLOCK
};

static inline enum user_data_mode user_data_mode(uint64_t user_data)
{
    return (enum user_data_mode)(user_data & UD_MODE_MASK);
}

static inline uint32_t user_data_slot(uint64_t user_data)
{
    return (uint32_t)(user_data >> UD_SLOT_SHIFT) & ((1u << UD_SLOT_BITS) - 1);
}

static inline uint64_t user_data_context(enum user_data_mode mode, uint32_t slot)
{
    return (uint64_t)slot << UD_SLOT_SHIFT | mode;
}

static inline uint64_t user_data_next_generation(uint64_t user_data)
{
    return (user_data + (UINT64_C(1) << UD_GENERATION_SHIFT)) & INT64_MAX;
}

static inline uint64_t user_data_direct(uint8_t opcode, unsigned handler, uint64_t value)
{
    return value << UD_VALUE_SHIFT | (uint64_t)handler << UD_HANDLER_SHIFT | (uint64_t)opcode << UD_OPCODE_SHIFT |
           UD_DIRECT;
}

static inline unsigned user_data_handler(uint64_t user_data)
{
    return (unsigned)(user_data >> UD_HANDLER_SHIFT) & 0xff;
}

static inline uint8_t user_data_opcode(uint64_t user_data)
{
    return (uint8_t)(user_data >> UD_OPCODE_SHIFT & 0x7f);
}

static inline uint64_t user_data_value(uint64_t user_data)
{
    return user_data >> UD_VALUE_SHIFT;
}

/* What fits of an operation's user_data into the value of a direct one about it: mode, slot and 13 bits of generation;
 * two bits of the value stay free. */
static inline uint64_t user_data_to_value(uint64_t user_data)
{
    return user_data & (LOOP_VALUE_MAX >> 2);
}

#endif
