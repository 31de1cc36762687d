/* loop/wheel.c: the timing wheel. */
#include "loop/wheel.h"

enum { SCAN_MAX = 16 }; /* nodes of a slot that wheel_next looks at to know the earliest exactly */

static uint64_t tick_of(uint64_t ns)
{
    return ns >> WHEEL_TICK_BITS;
}

static bool node_before(const struct loop_timer_node *a, const struct loop_timer_node *b)
{
    if (a->deadline_ns != b->deadline_ns)
        return a->deadline_ns < b->deadline_ns;
    return a->order < b->order;
}

void wheel_init(struct wheel *wheel, uint64_t now_ns)
{
    wheel->position = tick_of(now_ns);
    wheel->order = 0;
    wheel->count = 0;
    node_list_init(&wheel->current);
    node_list_init(&wheel->near);
    node_list_init(&wheel->fresh);
    for (size_t level = 0; level < WHEEL_LEVELS; level++) {
        wheel->occupied[level] = 0;
        for (size_t slot = 0; slot < WHEEL_SLOTS; slot++)
            node_list_init(&wheel->slots[level][slot]);
    }
}

/* The node is linked nowhere, or its links are of no use any more. */
static void place(struct wheel *wheel, struct loop_timer_node *node)
{
    uint64_t tick = tick_of(node->deadline_ns);
    unsigned level, slot;

    if (tick <= wheel->position) {
        node_list_append(&wheel->near, node);
        return;
    }
    level = (63u - (unsigned)__builtin_clzll(tick ^ wheel->position)) / WHEEL_SLOT_BITS;
    slot = (unsigned)(tick >> (level * WHEEL_SLOT_BITS)) & (WHEEL_SLOTS - 1);
    node_list_append(&wheel->slots[level][slot], node);
    wheel->occupied[level] |= UINT64_C(1) << slot;
}

/* Places all nodes of a list, in their order. */
static void place_all(struct wheel *wheel, struct loop_timer_node *head)
{
    struct loop_timer_node *node = head->next, *next;

    node_list_init(head);
    for (; node != head; node = next) {
        next = node->next;
        place(wheel, node);
    }
}

/* Merges two sorted runs (chained by next, ended by NULL). */
static struct loop_timer_node *merge(struct loop_timer_node *a, struct loop_timer_node *b)
{
    struct loop_timer_node  head = {0};
    struct loop_timer_node *last = &head;

    while (a != NULL && b != NULL) {
        struct loop_timer_node **first = node_before(b, a) ? &b : &a;

        last->next = *first;
        last = *first;
        *first = last->next;
    }
    last->next = a != NULL ? a : b;
    return head.next;
}

static bool list_sorted(const struct loop_timer_node *head)
{
    for (const struct loop_timer_node *node = head->next; node->next != head; node = node->next)
        if (node_before(node->next, node))
            return false;
    return true;
}

/* Merge sort from the bottom up: runs[i] holds 2^i nodes or none. */
static void list_sort(struct loop_timer_node *head)
{
    struct loop_timer_node *runs[64] = {NULL};
    struct loop_timer_node *node, *run = NULL;
    size_t                  i;

    if (node_list_empty(head) || list_sorted(head))
        return;
    head->prev->next = NULL;
    for (node = head->next; node != NULL;) {
        struct loop_timer_node *next = node->next;

        run = node;
        run->next = NULL;
        for (i = 0; runs[i] != NULL; i++) {
            run = merge(runs[i], run);
            runs[i] = NULL;
        }
        runs[i] = run;
        node = next;
    }
    run = NULL;
    for (i = 0; i < ARRAY_COUNT(runs); i++)
        if (runs[i] != NULL)
            run = merge(runs[i], run);
    node_list_init(head);
    while (run != NULL) {
        node = run;
        run = run->next;
        node_list_append(head, node);
    }
}

/* The earliest slot with nodes: NULL if there is none. Clears stale bits on the way. */
static struct loop_timer_node *first_slot(struct wheel *wheel, unsigned *ret_level, uint64_t *ret_tick)
{
    for (unsigned level = 0; level < WHEEL_LEVELS; level++) {
        while (wheel->occupied[level] != 0) {
            unsigned                slot = (unsigned)__builtin_ctzll(wheel->occupied[level]);
            struct loop_timer_node *head = &wheel->slots[level][slot];
            unsigned                shift = level * WHEEL_SLOT_BITS;

            if (node_list_empty(head)) {
                wheel->occupied[level] &= ~(UINT64_C(1) << slot);
                continue;
            }
            *ret_level = level;
            *ret_tick = (((wheel->position >> shift) & ~(uint64_t)(WHEEL_SLOTS - 1)) | slot) << shift;
            return head;
        }
    }
    return NULL;
}

/* Merges near into current. */
static void sort_current(struct wheel *wheel)
{
    struct loop_timer_node *near = &wheel->near, *current = &wheel->current;

    if (node_list_empty(near))
        return;
    list_sort(near);
    if (!node_list_empty(current) && node_before(near->next, current->prev)) {
        node_list_move(near, current);
        list_sort(current);
    } else {
        node_list_move(near, current);
    }
}

/* Moves what is due in current. Returns whether all of it was. */
static bool take_current(struct wheel *wheel, uint64_t now_ns, struct loop_timer_node *due)
{
    sort_current(wheel);
    if (!node_list_empty(&wheel->current) && wheel->current.prev->deadline_ns <= now_ns)
        node_list_move(&wheel->current, due);
    while (!node_list_empty(&wheel->current)) {
        struct loop_timer_node *node = wheel->current.next;

        if (node->deadline_ns > now_ns)
            return false;
        node_list_remove(node);
        node_list_append(due, node);
    }
    return true;
}

void wheel_expire(struct wheel *wheel, uint64_t now_ns, struct loop_timer_node *due)
{
    uint64_t                now_tick = tick_of(now_ns), tick;
    struct loop_timer_node *slot;
    unsigned                level;

    place_all(wheel, &wheel->fresh);
    if (!take_current(wheel, now_ns, due))
        return;
    while ((slot = first_slot(wheel, &level, &tick)) != NULL && tick <= now_tick) {
        wheel->position = tick;
        wheel->occupied[level] &= ~(UINT64_C(1) << (tick >> (level * WHEEL_SLOT_BITS) & (WHEEL_SLOTS - 1)));
        if (level == 0)
            node_list_move(slot, &wheel->near);
        else
            place_all(wheel, slot);
        if (!take_current(wheel, now_ns, due))
            return;
    }
    wheel_skip(wheel, now_ns);
}

void wheel_drain(struct wheel *wheel, struct loop_timer_node *nodes)
{
    node_list_move(&wheel->fresh, nodes);
    node_list_move(&wheel->near, nodes);
    node_list_move(&wheel->current, nodes);
    for (size_t level = 0; level < WHEEL_LEVELS; level++) {
        wheel->occupied[level] = 0;
        for (size_t slot = 0; slot < WHEEL_SLOTS; slot++)
            node_list_move(&wheel->slots[level][slot], nodes);
    }
}

void wheel_refill(struct wheel *wheel, struct loop_timer_node *nodes, uint64_t now_ns)
{
    wheel->position = tick_of(now_ns);
    place_all(wheel, nodes);
}

void wheel_put_back(struct wheel *wheel, struct loop_timer_node *node)
{
    place(wheel, node);
}

uint64_t wheel_next(struct wheel *wheel)
{
    struct loop_timer_node *slot;
    uint64_t                tick, earliest = UINT64_MAX;
    unsigned                level, seen = 0;

    if (wheel->count == 0)
        return UINT64_MAX;
    place_all(wheel, &wheel->fresh);
    sort_current(wheel);
    if (!node_list_empty(&wheel->current))
        return wheel->current.next->deadline_ns;
    slot = first_slot(wheel, &level, &tick);
    if (slot == NULL)
        return UINT64_MAX;
    for (struct loop_timer_node *node = slot->next; node != slot; node = node->next) {
        if (++seen > SCAN_MAX)
            return tick << WHEEL_TICK_BITS;
        if (node->deadline_ns < earliest)
            earliest = node->deadline_ns;
    }
    return earliest;
}
