/* loop/timer.c: timers over the wheel. */
#include "loop/loop_private.h"

#include <errno.h>

static struct loop_timer *timer_of(struct loop_timer_node *node)
{
    return container_of(node, struct loop_timer, priv.node);
}

static bool keeps_alive(const struct loop_timer *timer)
{
    return wheel_kind_of(&timer->priv.node) == WHEEL_TIMER;
}

static void start_node(struct loop_timer *timer, enum wheel_kind kind)
{
    struct loop *loop = timer->priv.loop;

    wheel_start(&loop->wheel, &timer->priv.node, kind);
    if (kind == WHEEL_TIMER)
        loop->timers_ref++;
}

static void stop_node(struct loop_timer *timer)
{
    struct loop *loop = timer->priv.loop;

    wheel_cancel(&loop->wheel, &timer->priv.node);
    if (keeps_alive(timer))
        loop->timers_ref--;
}

int loop_timer_start_at(struct loop *loop, struct loop_timer *timer, uint64_t deadline_ns, uint64_t repeat_ns,
                        loop_timer_cb *cb)
{
    loop_check_owner(loop, __func__);
    if (cb == NULL)
        return -EINVAL;
    if (unlikely(loop->destroying))
        return -ECANCELED;
    if (node_list_linked(&timer->priv.node))
        stop_node(timer);
    timer->priv.loop = loop;
    timer->priv.cb = cb;
    timer->priv.repeat_ns = repeat_ns;
    timer->priv.node.deadline_ns = deadline_ns;
    start_node(timer, wheel_kind_of(&timer->priv.node));
    return 0;
}

int loop_timer_start(struct loop *loop, struct loop_timer *timer, uint64_t delay_ns, uint64_t repeat_ns,
                     loop_timer_cb *cb)
{
    loop_check_owner(loop, __func__);
    return loop_timer_start_at(loop, timer, ns_add(loop_time(loop), delay_ns), repeat_ns, cb);
}

int loop_timer_again(struct loop_timer *timer)
{
    if (timer->priv.loop == NULL || timer->priv.repeat_ns == 0)
        return -EINVAL;
    return loop_timer_start(timer->priv.loop, timer, timer->priv.repeat_ns, timer->priv.repeat_ns, timer->priv.cb);
}

void loop_timer_stop(struct loop_timer *timer)
{
    if (!node_list_linked(&timer->priv.node))
        return;
    loop_check_owner(timer->priv.loop, __func__);
    stop_node(timer);
}

bool loop_timer_active(const struct loop_timer *timer)
{
    return node_list_linked(&timer->priv.node);
}

uint64_t loop_timer_due_in(const struct loop_timer *timer)
{
    if (!node_list_linked(&timer->priv.node) || timer->priv.node.deadline_ns <= timer->priv.loop->now_ns)
        return 0;
    return timer->priv.node.deadline_ns - timer->priv.loop->now_ns;
}

/* The kind stands in the node's order, in use or not. */
static void set_kind(struct loop_timer *timer, enum wheel_kind kind)
{
    enum wheel_kind before = wheel_kind_of(&timer->priv.node);

    timer->priv.node.order += (uint64_t)kind - (uint64_t)before;
    if (!node_list_linked(&timer->priv.node) || kind == before)
        return;
    if (kind == WHEEL_TIMER)
        timer->priv.loop->timers_ref++;
    else
        timer->priv.loop->timers_ref--;
}

void loop_timer_ref(struct loop_timer *timer)
{
    set_kind(timer, WHEEL_TIMER);
}

void loop_timer_unref(struct loop_timer *timer)
{
    set_kind(timer, WHEEL_TIMER_UNREF);
}

/* A repeating timer keeps its rhythm, unless it is a whole period late. */
static void repeat(struct loop *loop, struct loop_timer *timer)
{
    uint64_t next_ns = ns_add(timer->priv.node.deadline_ns, timer->priv.repeat_ns);

    if (next_ns <= loop->now_ns)
        next_ns = ns_add(loop->now_ns, timer->priv.repeat_ns);
    timer->priv.node.deadline_ns = next_ns;
    start_node(timer, wheel_kind_of(&timer->priv.node));
}

static void fire(struct loop *loop, struct loop_timer *timer)
{
    stop_node(timer);
    if (timer->priv.repeat_ns != 0)
        repeat(loop, timer);
    loop->stats.timers_fired++;
    loop->stats.callbacks++;
    loop->happened = true;
    timer->priv.cb(timer);
}

static __attribute__((noinline)) void run_due(struct loop *loop)
{
    wheel_expire(&loop->wheel, loop->now_ns, &loop->due);
    while (!node_list_empty(&loop->due)) { /* callbacks may stop any of them, or start new ones elsewhere */
        struct loop_timer_node *node = loop->due.next;

        switch (wheel_kind_of(node)) {
        case WHEEL_TIMER:
        case WHEEL_TIMER_UNREF: fire(loop, timer_of(node)); break;
        case WHEEL_OP:
            wheel_cancel(&loop->wheel, node);
            cancel_deadline_passed(loop, node);
            break;
        case WHEEL_CANCEL:
            wheel_cancel(&loop->wheel, node);
            cancel_retry_due(loop);
            break;
        }
    }
}

void timer_run_due(struct loop *loop)
{
    if (loop->wheel.count == 0)
        loop->wheel.now_ns = loop->now_ns; /* all that wheel_expire() would do, without its preparations */
    else
        run_due(loop);
}

/* Deadlines of operations are left alone: those operations end, and take them along. */
void timers_stop_all(struct loop *loop)
{
    struct loop_timer_node nodes, *node;

    node_list_init(&nodes);
    wheel_drain(&loop->wheel, &nodes);
    node_list_move(&loop->due, &nodes);
    while ((node = nodes.next) != &nodes) {
        switch (wheel_kind_of(node)) {
        case WHEEL_TIMER:
        case WHEEL_TIMER_UNREF: stop_node(timer_of(node)); break;
        case WHEEL_CANCEL: wheel_cancel(&loop->wheel, node); break;
        case WHEEL_OP:
            wheel_cancel(&loop->wheel, node);
            wheel_start(&loop->wheel, node, WHEEL_OP);
            break;
        }
    }
}
