/* loop/wheel.h: a hierarchical timing wheel: start and cancel in constant time, exact order at the end.
 *
 * A tick is 2^20 ns, about a millisecond; each of the 8 levels has 64 slots and covers 64 times the span of the level
 * below, 64 bits of ns in all. A node stands on the level of the highest digit in which its tick differs from the
 * wheel's position, so the lowest level with anything in it holds the earliest. Nodes of the position's own tick, or
 * earlier, stand in current, sorted by (deadline, order of start); those that have come since it was last looked at
 * wait in near.
 *
 * A start only appends to fresh. Nodes find their places when the loop looks for the next time, once a turn: what was
 * cancelled or started anew by then, as timeouts of busy connections are, has never been placed. */
#ifndef RINGLOOP_LOOP_WHEEL_H
#define RINGLOOP_LOOP_WHEEL_H

#include "loop/base.h"
#include "loop/list.h"

#include <ringloop/timer.h>

#include <stdbool.h>

LIST_DEFINE(node, struct loop_timer_node)

/* What a node belongs to: the low bits of its order. */
enum wheel_kind {
    WHEEL_TIMER,
    WHEEL_TIMER_UNREF,
    WHEEL_WALL, /* by the wall clock, in a wheel of its own */
    WHEEL_WALL_UNREF,
    WHEEL_WALL_AGAIN, /* the same for those that have fired before */
    WHEEL_WALL_AGAIN_UNREF,
    WHEEL_OP,
    WHEEL_CANCEL,
    WHEEL_CLOCK, /* for all that stand in the wall clock's wheel */
};

enum {
    WHEEL_UNREF = 1,          /* the bit of the kinds of timers */
    WHEEL_OF_OBJECT = 1 << 4, /* beside the kind: a timer of the library's own */
    WHEEL_KIND_MASK = WHEEL_OF_OBJECT - 1,
    WHEEL_KIND_BITS = 5,
    WHEEL_TICK_BITS = 20,
    WHEEL_LEVELS = 8,
    WHEEL_SLOT_BITS = 6,
    WHEEL_SLOTS = 1 << WHEEL_SLOT_BITS
};

struct wheel {
    uint64_t               position; /* in ticks: all slots before it are empty */
    uint64_t               order;    /* of the node started last, as in nodes, without a kind */
    uint64_t               count;
    struct loop_timer_node current, near, fresh;
    uint64_t               occupied[WHEEL_LEVELS]; /* a set bit may be stale: the slot was emptied by cancels */
    struct loop_timer_node slots[WHEEL_LEVELS][WHEEL_SLOTS];
};

void wheel_init(struct wheel *wheel, uint64_t now_ns);

/* node->deadline_ns is set by the caller; the order is given here. The node must not be linked. */
static inline void wheel_start(struct wheel *wheel, struct loop_timer_node *node, enum wheel_kind kind)
{
    wheel->order += 1u << WHEEL_KIND_BITS;
    node->order = wheel->order | kind;
    wheel->count++;
    node_list_append(&wheel->fresh, node);
}

/* An empty wheel needs no more than this instead of wheel_expire(). */
static inline void wheel_skip(struct wheel *wheel, uint64_t now_ns)
{
    if (wheel->position < now_ns >> WHEEL_TICK_BITS)
        wheel->position = now_ns >> WHEEL_TICK_BITS;
}

static inline enum wheel_kind wheel_kind_of(const struct loop_timer_node *node)
{
    return (enum wheel_kind)(node->order & WHEEL_KIND_MASK);
}

/* Also for nodes that wheel_expire moved to a list of due ones. */
static inline void wheel_cancel(struct wheel *wheel, struct loop_timer_node *node)
{
    node_list_remove(node);
    wheel->count--;
}

/* Moves all nodes with deadline_ns <= now_ns to the end of due, in order of (deadline, start). They still count until
 * wheel_cancel. */
void wheel_expire(struct wheel *wheel, uint64_t now_ns, struct loop_timer_node *due);

/* Moves all nodes to the end of nodes, in no order; they still count until wheel_cancel. */
void wheel_drain(struct wheel *wheel, struct loop_timer_node *nodes);

/* Puts drained nodes back, their order and perhaps new deadlines as they are; it is now_ns, which may be earlier than
 * before. */
void wheel_refill(struct wheel *wheel, struct loop_timer_node *nodes, uint64_t now_ns);

/* Puts one of the drained nodes back as it was; nothing else has been done with the wheel but to start and cancel. */
void wheel_put_back(struct wheel *wheel, struct loop_timer_node *node);

/* A time at which to look again: the earliest deadline, or a bit earlier where to know it exactly would mean to search
 * a long slot; UINT64_MAX if there is nothing. */
uint64_t wheel_next(struct wheel *wheel);

#endif
