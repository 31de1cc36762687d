/* loop/timer.c: timers over the wheel. */
#include "loop/loop_private.h"

#include <errno.h>

static struct loop_timer *timer_of(struct loop_timer_node *node)
{
    return container_of(node, struct loop_timer, priv.node);
}

static bool keeps_alive(const struct loop_timer *timer)
{
    return (wheel_kind_of(&timer->priv.node) & WHEEL_UNREF) == 0;
}

static bool is_wall(enum wheel_kind kind)
{
    return kind >= WHEEL_WALL && kind <= WHEEL_WALL_AGAIN_UNREF;
}

/* The same kind, or another, as the timer keeps the loop alive or not. */
static enum wheel_kind kind_for(const struct loop_timer *timer, enum wheel_kind kind)
{
    return (enum wheel_kind)((unsigned)kind | (timer->priv.node.order & (WHEEL_UNREF | WHEEL_OF_OBJECT)));
}

static void start_node(struct loop_timer *timer, enum wheel_kind kind)
{
    struct loop *loop = timer->priv.loop;

    if (unlikely(is_wall(kind)))
        wall_start(loop, &timer->priv.node, kind);
    else
        wheel_start(&loop->wheel, &timer->priv.node, kind);
    if ((kind & WHEEL_UNREF) == 0)
        loop->timers_ref++;
}

static __attribute__((noinline)) void stop_other(struct loop_timer *timer)
{
    struct loop    *loop = timer->priv.loop;
    enum wheel_kind kind = wheel_kind_of(&timer->priv.node);

    if (is_wall(kind))
        wall_stop(loop, &timer->priv.node);
    else
        wheel_cancel(&loop->wheel, &timer->priv.node);
    if ((kind & WHEEL_UNREF) == 0)
        loop->timers_ref--;
}

static inline void stop_node(struct loop_timer *timer)
{
    if (unlikely(wheel_kind_of(&timer->priv.node) != WHEEL_TIMER)) {
        stop_other(timer);
        return;
    }
    wheel_cancel(&timer->priv.loop->wheel, &timer->priv.node);
    timer->priv.loop->timers_ref--;
}

/* Starts it anew, by the clock that the kind says. */
static void restart(struct loop *loop, struct loop_timer *timer, enum wheel_kind kind, uint64_t deadline_ns,
                    uint64_t repeat_ns, loop_timer_cb *cb)
{
    if (node_list_linked(&timer->priv.node))
        stop_node(timer);
    timer->priv.loop = loop;
    timer->priv.cb = cb;
    timer->priv.repeat_ns = repeat_ns;
    timer->priv.node.deadline_ns = deadline_ns;
    start_node(timer, kind_for(timer, kind));
}

int loop_timer_start_at(struct loop *loop, struct loop_timer *timer, uint64_t deadline_ns, uint64_t repeat_ns,
                        loop_timer_cb *cb)
{
    loop_check_owner(loop, __func__);
    if (cb == NULL)
        return -EINVAL;
    if (unlikely(loop->destroying))
        return -ECANCELED;
    restart(loop, timer, WHEEL_TIMER, deadline_ns, repeat_ns, cb);
    return 0;
}

static int start_wall(struct loop *loop, struct loop_timer *timer, enum wheel_kind kind, uint64_t wall_ns,
                      uint64_t repeat_ns, loop_timer_cb *cb)
{
    int r;

    if (cb == NULL)
        return -EINVAL;
    if (loop->destroying)
        return -ECANCELED;
    r = wall_prepare(loop);
    if (r < 0)
        return r;
    restart(loop, timer, kind, wall_ns, repeat_ns, cb);
    return 0;
}

int loop_timer_start_wall(struct loop *loop, struct loop_timer *timer, uint64_t wall_ns, uint64_t repeat_ns,
                          loop_timer_cb *cb)
{
    loop_check_owner(loop, __func__);
    return start_wall(loop, timer, WHEEL_WALL, wall_ns, repeat_ns, cb);
}

static __attribute__((noinline)) int start_slowly(struct loop *loop, struct loop_timer *timer, uint64_t delay_ns,
                                                  uint64_t repeat_ns, loop_timer_cb *cb)
{
    loop_check_owner(loop, "loop_timer_start");
    return loop_timer_start_at(loop, timer, ns_add(loop_time(loop), delay_ns), repeat_ns, cb);
}

/* In a callback, of a timer that is not started just now: no call but a last one, so that no register is saved. */
int loop_timer_start(struct loop *loop, struct loop_timer *timer, uint64_t delay_ns, uint64_t repeat_ns,
                     loop_timer_cb *cb)
{
    if (unlikely(loop == NULL || loop_owner(loop) != loop_this_thread() || cb == NULL || !loop->running ||
                 loop->destroying || node_list_linked(&timer->priv.node) || !keeps_alive(timer)))
        return start_slowly(loop, timer, delay_ns, repeat_ns, cb);
    timer->priv.loop = loop;
    timer->priv.cb = cb;
    timer->priv.repeat_ns = repeat_ns;
    timer->priv.node.deadline_ns = ns_add(loop->now_ns, delay_ns);
    wheel_start(&loop->wheel, &timer->priv.node, WHEEL_TIMER);
    loop->timers_ref++;
    return 0;
}

int loop_timer_again(struct loop_timer *timer)
{
    struct loop *loop = timer->priv.loop;
    uint64_t     repeat_ns = timer->priv.repeat_ns;

    if (loop == NULL || repeat_ns == 0)
        return -EINVAL;
    loop_check_owner(loop, __func__);
    if (is_wall(wheel_kind_of(&timer->priv.node)))
        return start_wall(loop, timer, WHEEL_WALL_AGAIN, ns_add(sys_clock_wall_ns(), repeat_ns), repeat_ns,
                          timer->priv.cb);
    return loop_timer_start(loop, timer, repeat_ns, repeat_ns, timer->priv.cb);
}

void loop_timer_repeat_set(struct loop_timer *timer, uint64_t repeat_ns)
{
    if (timer->priv.loop != NULL)
        loop_check_owner(timer->priv.loop, __func__);
    timer->priv.repeat_ns = repeat_ns;
}

uint64_t loop_timer_repeat(const struct loop_timer *timer)
{
    return timer->priv.repeat_ns;
}

struct loop *loop_timer_loop(const struct loop_timer *timer)
{
    return timer->priv.loop;
}

static __attribute__((noinline)) void stop_slowly(struct loop_timer *timer)
{
    loop_check_owner(timer->priv.loop, "loop_timer_stop");
    stop_node(timer);
}

void loop_timer_stop(struct loop_timer *timer)
{
    struct loop *loop = timer->priv.loop;

    if (!node_list_linked(&timer->priv.node))
        return;
    if (unlikely(loop == NULL || loop_owner(loop) != loop_this_thread() ||
                 wheel_kind_of(&timer->priv.node) != WHEEL_TIMER)) {
        stop_slowly(timer);
        return;
    }
    wheel_cancel(&loop->wheel, &timer->priv.node);
    loop->timers_ref--;
}

bool loop_timer_active(const struct loop_timer *timer)
{
    return node_list_linked(&timer->priv.node);
}

uint64_t loop_timer_due_in(const struct loop_timer *timer)
{
    uint64_t now_ns;

    if (!node_list_linked(&timer->priv.node))
        return 0;
    now_ns = is_wall(wheel_kind_of(&timer->priv.node)) ? sys_clock_wall_ns() : timer->priv.loop->now_ns;
    return timer->priv.node.deadline_ns <= now_ns ? 0 : timer->priv.node.deadline_ns - now_ns;
}

bool loop_timer_has_ref(const struct loop_timer *timer)
{
    return keeps_alive(timer);
}

/* It stands in the kind, in use or not. */
static void set_ref(struct loop_timer *timer, const char *call, bool ref)
{
    if (loop_timer_has_ref(timer) == ref)
        return;
    if (node_list_linked(&timer->priv.node))
        loop_check_owner(timer->priv.loop, call);
    timer->priv.node.order ^= WHEEL_UNREF;
    if (!node_list_linked(&timer->priv.node))
        return;
    if (ref)
        timer->priv.loop->timers_ref++;
    else
        timer->priv.loop->timers_ref--;
}

void loop_timer_ref(struct loop_timer *timer)
{
    set_ref(timer, __func__, true);
}

void loop_timer_unref(struct loop_timer *timer)
{
    set_ref(timer, __func__, false);
}

void timer_of_object(struct loop_timer *timer)
{
    loop_timer_unref(timer);
    timer->priv.node.order |= WHEEL_OF_OBJECT;
}

/* A repeating timer keeps its rhythm, unless it is a whole period late. */
static void repeat(struct loop *loop, struct loop_timer *timer)
{
    uint64_t next_ns = ns_add(timer->priv.node.deadline_ns, timer->priv.repeat_ns);

    if (next_ns <= loop->now_ns)
        next_ns = ns_add(loop->now_ns, timer->priv.repeat_ns);
    timer->priv.node.deadline_ns = next_ns;
    start_node(timer, kind_for(timer, WHEEL_TIMER));
}

/* By the wall clock the rhythm is kept in any case. */
static void repeat_wall(struct loop *loop, struct loop_timer *timer)
{
    timer->priv.node.deadline_ns = wall_next(loop, timer->priv.node.deadline_ns, timer->priv.repeat_ns);
    start_node(timer, kind_for(timer, WHEEL_WALL_AGAIN));
}

static void fire(struct loop *loop, struct loop_timer *timer)
{
    stop_node(timer);
    if (timer->priv.repeat_ns != 0 && is_wall(wheel_kind_of(&timer->priv.node)))
        repeat_wall(loop, timer);
    else if (timer->priv.repeat_ns != 0)
        repeat(loop, timer);
    loop->stats.timers_fired++;
    loop->stats.callbacks++;
    loop->happened = true;
    timer->priv.cb(timer);
}

static __attribute__((noinline)) void run_due(struct loop *loop)
{
    wheel_expire(&loop->wheel, loop->now_ns, &loop->due);
    if (!node_list_empty(&loop->due))
        wall_run_due(loop);
    while (!node_list_empty(&loop->due)) { /* callbacks may stop any of them, or start new ones elsewhere */
        struct loop_timer_node *node = loop->due.next;

        switch (wheel_kind_of(node)) {
        case WHEEL_TIMER:
        case WHEEL_TIMER_UNREF:
        case WHEEL_WALL:
        case WHEEL_WALL_UNREF:
        case WHEEL_WALL_AGAIN:
        case WHEEL_WALL_AGAIN_UNREF: fire(loop, timer_of(node)); break;
        case WHEEL_OP:
            wheel_cancel(&loop->wheel, node);
            cancel_deadline_passed(loop, node);
            break;
        case WHEEL_CANCEL:
            wheel_cancel(&loop->wheel, node);
            cancel_retry_due(loop);
            break;
        case WHEEL_CLOCK: check_failed("it was taken care of", __FILE__, __LINE__);
        }
    }
}

void timer_run_due(struct loop *loop)
{
    if (loop->wheel.count == 0)
        wheel_skip(&loop->wheel, loop->now_ns);
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
    wall_drain(loop, &nodes);
    while ((node = nodes.next) != &nodes) {
        switch (wheel_kind_of(node)) {
        case WHEEL_TIMER:
        case WHEEL_TIMER_UNREF:
        case WHEEL_WALL:
        case WHEEL_WALL_UNREF:
        case WHEEL_WALL_AGAIN:
        case WHEEL_WALL_AGAIN_UNREF: stop_node(timer_of(node)); break;
        case WHEEL_CANCEL:
        case WHEEL_CLOCK: wheel_cancel(&loop->wheel, node); break;
        case WHEEL_OP:
            wheel_cancel(&loop->wheel, node);
            wheel_start(&loop->wheel, node, WHEEL_OP);
            break;
        }
    }
}
