/* loop/wall.c: timers by the wall clock, which may be set, and goes on while the machine sleeps.
 *
 * They stand in a wheel of their own, at wall times, so that a clock that is set moves none of them. The loop's wheel
 * holds one node for them all: when to look at the wall clock next, as far as can be told. It is reckoned anew when the
 * clock is set, of which a descriptor tells; and when it comes and the wall clock shows less than expected. Without the
 * descriptor the clock is looked at once a minute. */
#include "loop/loop_private.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

static const uint64_t unwatched_ns = 60 * LOOP_SECOND;

struct wall {
    struct wheel           wheel;
    struct loop_timer_node node;     /* in the loop's wheel, while anything is in ours */
    uint64_t               next_ns;  /* the wall time it stands for */
    uint64_t               seen_ns;  /* what the wall clock showed last */
    uint64_t               fired_ns; /* what it showed when timers were last found to be due */
    int                    watch_fd; /* < 0: none. Kept to the end: timers may come and go one at a time */
    bool                   watch_armed;
    uint64_t               watch_number; /* of the poll, in its user_data: only its own completion counts */
    struct loop_task       retry;
};

/* ---- watching the clock */

static void watch_arm(struct loop *loop)
{
    struct wall         *wall = loop->wall;
    struct io_uring_sqe *sqe = submit_sqe(loop, true);

    if (sqe == NULL) {
        loop_task_retry(loop, &wall->retry);
        return;
    }
    *sqe = (struct io_uring_sqe){
        .opcode = IORING_OP_POLL_ADD,
        .fd = wall->watch_fd,
        .poll32_events = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? (uint32_t)POLLIN << 16 : POLLIN,
        .user_data = user_data_direct(IORING_OP_POLL_ADD, HANDLER_CLOCK, ++wall->watch_number),
    };
    wall->watch_armed = true;
    submit_sqe_done(loop);
}

static void watch_retry(struct loop *loop, struct loop_task *task)
{
    (void)task;
    if (!loop->wall->watch_armed && loop->wall->watch_fd >= 0 && !loop->destroying)
        watch_arm(loop);
}

static void watch_open(struct loop *loop)
{
    int fd = sys_clock_watch();

    if (fd < 0) {
        observe_error(loop, &(struct loop_error){.event = LOOP_ERROR_CLOCK, .error = fd});
        return;
    }
    loop->wall->watch_fd = fd;
    watch_arm(loop);
}

int wall_prepare(struct loop *loop)
{
    struct wall *wall = loop->wall;

    if (wall == NULL) {
        wall = memory_resize(loop, NULL, sizeof(*wall));
        if (wall == NULL)
            return -ENOMEM;
        memset(wall, 0, sizeof(*wall));
        wall->seen_ns = sys_clock_wall_ns();
        wall->watch_fd = -1;
        wall->retry.run = watch_retry;
        wheel_init(&wall->wheel, wall->seen_ns);
        loop->wall = wall;
    }
    if (wall->watch_fd < 0)
        watch_open(loop);
    return 0;
}

void wall_destroy(struct loop *loop)
{
    if (loop->wall == NULL)
        return;
    if (loop->wall->watch_fd >= 0)
        sys_close(loop->wall->watch_fd);
    memory_free(loop, loop->wall);
}

void wall_rehome(struct loop *loop, bool forked)
{
    struct wall *wall = loop->wall;

    if (wall == NULL || wall->watch_fd < 0)
        return;
    wall->watch_armed = false;
    if (!forked) {
        watch_arm(loop);
        return;
    }
    sys_close(wall->watch_fd); /* of parent and child only one would be told */
    wall->watch_fd = -1;
    watch_open(loop);
}

/* ---- looking at it */

/* The times missed are passed over. One that is more than two periods away has been left behind by a clock that was set
 * back: it goes on from now. */
static uint64_t next_time(uint64_t deadline_ns, uint64_t repeat_ns, uint64_t wall_ns)
{
    uint64_t periods;

    if (deadline_ns <= wall_ns)
        return ns_add(deadline_ns + (wall_ns - deadline_ns) / repeat_ns * repeat_ns, repeat_ns);
    periods = (deadline_ns - wall_ns - 1) / repeat_ns;
    return periods < 2 ? deadline_ns : deadline_ns - periods * repeat_ns;
}

uint64_t wall_next(const struct loop *loop, uint64_t deadline_ns, uint64_t repeat_ns)
{
    /* The same for all that fire together, unless a callback has set the clock back. */
    uint64_t wall_ns = loop->wall->seen_ns < loop->wall->fired_ns ? loop->wall->seen_ns : loop->wall->fired_ns;

    return next_time(ns_add(deadline_ns, repeat_ns), repeat_ns, wall_ns);
}

/* The wheel only ever goes forward: it is filled anew. */
static void set_back(struct wall *wall, uint64_t wall_ns)
{
    struct loop_timer_node nodes;

    node_list_init(&nodes);
    wheel_drain(&wall->wheel, &nodes);
    for (struct loop_timer_node *node = nodes.next; node != &nodes; node = node->next) {
        const struct loop_timer *timer = container_of(node, struct loop_timer, priv.node);

        if ((wheel_kind_of(node) & ~(unsigned)WHEEL_UNREF) == WHEEL_WALL_AGAIN && timer->priv.repeat_ns != 0)
            node->deadline_ns = next_time(node->deadline_ns, timer->priv.repeat_ns, wall_ns);
        if (node->deadline_ns < wall->next_ns)
            wall->next_ns = node->deadline_ns;
    }
    wheel_refill(&wall->wheel, &nodes, wall_ns);
}

static uint64_t look(struct wall *wall)
{
    uint64_t wall_ns = sys_clock_wall_ns();

    if (wall_ns < wall->seen_ns)
        set_back(wall, wall_ns);
    wall->seen_ns = wall_ns;
    return wall_ns;
}

/* To look again when the wall clock shows next_ns; UINT64_MAX: never. */
static void schedule(struct loop *loop, uint64_t next_ns, uint64_t wall_ns)
{
    struct wall *wall = loop->wall;
    uint64_t     rest_ns = next_ns > wall_ns ? next_ns - wall_ns : 0;

    wall->next_ns = next_ns;
    if (node_list_linked(&wall->node))
        wheel_cancel(&loop->wheel, &wall->node);
    if (next_ns == UINT64_MAX)
        return;
    if (wall->watch_fd < 0 && rest_ns > unwatched_ns)
        rest_ns = unwatched_ns;
    /* The monotonic clock is read after the wall clock, so that it is rather late than early. */
    wall->node.deadline_ns = rest_ns == 0 ? loop->now_ns : ns_add(sys_clock_ns(), rest_ns);
    wheel_start(&loop->wheel, &wall->node, WHEEL_CLOCK);
}

static void schedule_first(struct loop *loop)
{
    uint64_t wall_ns = look(loop->wall);

    schedule(loop, wheel_next(&loop->wall->wheel), wall_ns);
}

/* No memory, or cancelled by somebody: it is tried again soon. Where the ring does not take it, the watch is given up
 * until the clock is looked at next. */
static void watch_failed(struct loop *loop, int error)
{
    struct wall *wall = loop->wall;

    if (error == -ECANCELED || error == -ENOMEM || error == -EAGAIN || error == -EINTR) {
        loop_task_retry(loop, &wall->retry);
        return;
    }
    sys_close(wall->watch_fd);
    wall->watch_fd = -1;
    observe_error(loop, &(struct loop_error){.event = LOOP_ERROR_CLOCK, .error = error});
    schedule_first(loop);
}

bool wall_clock_set(struct loop *loop, const struct completion *completion)
{
    struct wall *wall = loop->wall;

    if (wall == NULL || !wall->watch_armed || user_data_value(completion->user_data) != wall->watch_number)
        return false;
    wall->watch_armed = false;
    if (loop->destroying)
        return true;
    if (completion->res < 0) {
        watch_failed(loop, completion->res);
        return true;
    }
    if (sys_clock_watch_read(wall->watch_fd) >= 0)
        loop->stats.clock_sets++;
    schedule_first(loop);
    watch_arm(loop);
    return true;
}

/* ---- timers */

void wall_start(struct loop *loop, struct loop_timer_node *node, enum wheel_kind kind)
{
    struct wall *wall = loop->wall;
    uint64_t     wall_ns, next_ns = node->deadline_ns;

    wheel_start(&wall->wheel, node, kind);
    if (!node_list_linked(&wall->node))
        wall->next_ns = UINT64_MAX;
    if (next_ns >= wall->next_ns)
        return;
    wall_ns = look(wall);
    schedule(loop, wall->next_ns < next_ns ? wall->next_ns : next_ns, wall_ns);
}

void wall_stop(struct loop *loop, struct loop_timer_node *node)
{
    struct wall *wall = loop->wall;

    wheel_cancel(&wall->wheel, node);
    if (wall->wheel.count == 0)
        schedule(loop, UINT64_MAX, 0);
}

/* Both lists are in order. The place of a wall timer is where its time stands on the monotonic clock. */
static void merge_due(struct loop *loop, struct loop_timer_node *due, uint64_t wall_ns, uint64_t now_ns)
{
    struct loop_timer_node *place = loop->due.next, *node;

    while ((node = node_list_pop(due)) != NULL) {
        uint64_t late_ns = wall_ns - node->deadline_ns;
        uint64_t time_ns = late_ns < now_ns ? now_ns - late_ns : 0;

        while (place != &loop->due && place->deadline_ns <= time_ns)
            place = place->next;
        node_list_insert(place, node);
    }
}

void wall_run_due(struct loop *loop)
{
    struct wall           *wall = loop->wall;
    struct loop_timer_node due;
    uint64_t               wall_ns;

    if (wall == NULL || !node_list_linked(&wall->node) || wall->node.deadline_ns > loop->now_ns)
        return;
    wall_ns = look(wall);
    wall->fired_ns = wall_ns;
    if (wall->watch_fd < 0)
        watch_open(loop);
    node_list_init(&due);
    wheel_expire(&wall->wheel, wall_ns, &due);
    schedule(loop, wheel_next(&wall->wheel), wall_ns);
    merge_due(loop, &due, wall_ns, sys_clock_ns());
}

void wall_drain(struct loop *loop, struct loop_timer_node *nodes)
{
    if (loop->wall != NULL)
        wheel_drain(&loop->wall->wheel, nodes);
}

void wall_put_back(struct loop *loop, struct loop_timer_node *node)
{
    wheel_put_back(&loop->wall->wheel, node);
}

/* The clock may have been found set back while some were out. */
void wall_refilled(struct loop *loop)
{
    set_back(loop->wall, loop->wall->seen_ns);
    schedule_first(loop);
}
