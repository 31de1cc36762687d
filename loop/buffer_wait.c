/* loop/buffer_wait.c: receives that wait for a buffer, and in what order they go on.
 *
 * First in, first out; but an operation that holds its share of a group that is nearly empty stands back until others
 * have theirs. Nothing of this is looked at as long as nobody keeps buffers and none waits. */
#include "loop/buffer_group.h"

/* Above how many kept buffers an operation stands back, and how many buffers are left for the others then. Small groups
 * have nothing to leave. */
enum { SHARE_OF = 4, RESERVE_OF = 8 };

/* Of the operation that received it, if it goes on. */
static struct context *holder_of(struct loop *loop, const struct buffer_part *part)
{
    enum user_data_mode mode = user_data_mode(part->holder);
    struct context     *context;

    if (mode != UD_INDIRECT && mode != UD_EXTENDED)
        return NULL;
    context = context_find(&loop->pool, part->holder);
    return context != NULL && context_is_multishot(context) && context->state != CONTEXT_SETTLED ? context : NULL;
}

static bool holds_too_much(const struct buffer_group *group, struct context *context)
{
    return context_is_multishot(context) && group->home <= group->count / RESERVE_OF && group->count >= RESERVE_OF &&
           context_arm(context)->kept >= group->count / SHARE_OF;
}

void buffer_held(struct loop *loop, struct buffer_group *group, const struct buffer_part *part, int change)
{
    struct context     *context;
    struct context_arm *arm;

    if (group->kind != BUFFER_PLAIN || (context = holder_of(loop, part)) == NULL)
        return;
    arm = context_arm(context);
    arm->kept = (uint16_t)(arm->kept + change);
    if (change > 0 && context->state == CONTEXT_ACTIVE && !arm->standing_back && holds_too_much(group, context)) {
        group->stood_back++;
        cancel_rest(loop, context);
    }
}

/* Arms parked receives in the order they stopped, as many as there are buffers. */
static void run_unpark(struct loop *loop, struct loop_task *task)
{
    struct buffer_group *group = container_of(task, struct buffer_group, unpark);
    /* Each takes part of a buffer only, and gives nothing back that would call for the next. */
    uint32_t home = group->kind == BUFFER_INCREMENTAL && group->home > 0 ? group->parked_count : group->home;
    bool     left = false;

    for (uint32_t looks = group->parked_count; looks > 0 && home > 0; looks--) {
        struct context_link *link = context_list_pop(&group->parked);
        struct context      *context = context_of_link(link);

        if (holds_too_much(group, context)) {
            context_list_append(&group->parked, link);
            continue;
        }
        group->parked_count--;
        home--;
        left = home == 0;
        multishot_arm(loop, context, false);
    }
    /* Those just armed may end without having taken a buffer, so that nothing will come back. */
    if (left && group->parked_count > 0 && group->home > 0)
        loop_task_retry(loop, task);
}

void buffer_feed_waiting(struct loop *loop, struct buffer_group *group)
{
    group->unpark.run = run_unpark;
    loop_task_add(loop, &group->unpark);
}

void buffer_park(struct loop *loop, struct context *context)
{
    struct context_arm  *arm = context_arm(context);
    struct buffer_group *group = loop->groups[arm->group];

    context->state = CONTEXT_PARKED;
    context_list_append(&group->parked, &arm->link);
    group->parked_count++;
    group->parked_ever++;
    loop->stats.buffers_parked++;
    if (loop->reclaim.run != NULL)
        loop_task_add(loop, &loop->reclaim);
    buffer_feed(loop, group);
}

void buffer_unpark(struct loop *loop, struct context *context)
{
    struct context_arm *arm = context_arm(context);

    context_list_remove(&arm->link);
    loop->groups[arm->group]->parked_count--;
}

enum buffer_turn buffer_turn(struct loop *loop, struct context *context, bool starved)
{
    const struct context_arm  *arm = context_arm(context);
    const struct buffer_group *group = loop->groups[arm->group];

    if (holds_too_much(group, context))
        return BUFFER_TURN_WATCH;
    if (starved)
        return group->home > 0 && !arm->fed ? BUFFER_TURN_ARM : BUFFER_TURN_PROBE;
    return group->home > 0 && group->parked_count > 0 ? BUFFER_TURN_PROBE : BUFFER_TURN_ARM;
}

bool buffer_is_due(struct loop *loop, struct context *context)
{
    const struct context_arm  *arm = context_arm(context);
    const struct buffer_group *group = loop->groups[arm->group];

    return group->home > 0 && (group->parked_count == 0 || !arm->fed) && !holds_too_much(group, context);
}
