/* loop/run.c: the turns of a loop: tasks, the wait, completions, what else is due; and its last turns. */
#include "loop/loop_private.h"

#include <errno.h>

static const uint64_t retry_ns = 10000000;      /* how long loop_task_retry waits at most */
static const uint64_t drain_wait_ns = 10000000; /* at the end: how long to wait before asking for cancels again */

static void check_no_chain(const struct loop *loop)
{
    if (loop->chain_open)
        check_misuse("loop_chain_begin", "the chain was not ended before returning to the loop");
}

/* Each task once; what they add runs next turn. */
static void tasks_run(struct loop *loop)
{
    struct loop_task tasks, *task;

    check_no_chain(loop);
    task_list_init(&tasks);
    task_list_move(&loop->tasks, &tasks);
    while ((task = task_list_pop(&tasks)) != NULL) {
        task->run(loop, task);
        check_no_chain(loop);
    }
}

/* Whether the kernel has to be entered even if there is no need to wait. */
static inline __attribute__((always_inline)) bool kernel_wanted(const struct loop *loop)
{
    return ring_unsent(&loop->ring) > 0 || loop->backlog.count > 0 ||
           (loop->ring.setup_flags & (IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SQPOLL)) == 0 ||
           (ring_has(&loop->ring, IORING_SETUP_IOPOLL) && loop_ops_in_flight(loop) > 0) ||
           (ring_sq_flags(&loop->ring) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
}

/* Whether a wait may go on although something is there; a kernel without min-wait would never end it. */
static bool gathers(const struct loop *loop)
{
    return loop->policy.min_wait_ns > 0 && loop->policy.min_wait_batch > 1 && loop->features.min_wait;
}

/* Looks for a while before it sleeps. Returns what is left of the time. */
static __attribute__((noinline, cold)) uint64_t spin(struct loop *loop, uint64_t timeout_ns)
{
    uint64_t begin_ns = sys_clock_ns(), spun_ns;

    do {
        if (kernel_wanted(loop))
            (void)submit_and_wait(loop, &(struct ring_wait){.count = 0});
        spun_ns = sys_clock_ns() - begin_ns;
    } while (spun_ns < loop->mode.spin_ns && spun_ns < timeout_ns && !work_at_hand(loop) && !shared_at_hand(loop));
    if (timeout_ns == UINT64_MAX)
        return timeout_ns;
    return spun_ns < timeout_ns ? timeout_ns - spun_ns : 0;
}

static void about_to_wait(struct loop *loop)
{
    if (unlikely(loop_ops_in_flight(loop) > loop->stats.ops_in_flight_max))
        loop->stats.ops_in_flight_max = loop_ops_in_flight(loop);
    if (unlikely(loop->idle_measured))
        observe_wait_begin(loop, sys_clock_ns());
}

/* special: one of loop_modes changes what happens here. */
static inline __attribute__((always_inline)) void wait_in_ring(struct loop *loop, uint64_t timeout_ns, bool special)
{
    struct ring_wait wait = {.min_wait_ns = loop->policy.min_wait_ns};
    uint64_t         before_ns = loop->now_ns;

    if (!loop->wake_armed)
        wake_arm(loop);
    if (special && loop->mode.spin_ns != 0 && timeout_ns > 0)
        timeout_ns = spin(loop, timeout_ns);
    /* Without memory to arm the wake, other threads must not wait longer than that either. */
    if ((!loop->wake_armed || !task_list_empty(&loop->retries)) && timeout_ns > retry_ns)
        timeout_ns = retry_ns;
    wait.timeout_ns = timeout_ns;
    if (timeout_ns > 0 && !work_at_hand(loop)) {
        __atomic_store_n(&loop->sleeping, LOOP_SLEEPS, __ATOMIC_SEQ_CST); /* a busy loop is spared this */
        if (!work_at_hand(loop) && !post_waiting_before_sleep(loop) && !(special && shared_at_hand(loop)))
            wait.count = gathers(loop) ? loop->policy.min_wait_batch : 1;
    }
    if (wait.count > 0)
        about_to_wait(loop);
    if (special && ring_has(&loop->ring, IORING_SETUP_IOPOLL) && wait.count > 0) {
        mode_wait_polled(loop, timeout_ns);
        wait.count = 0;
    }
    if (wait.count > 0 || kernel_wanted(loop))
        (void)submit_and_wait(loop, &wait);
    if (__atomic_load_n(&loop->sleeping, __ATOMIC_RELAXED) != LOOP_AWAKE)
        __atomic_store_n(&loop->sleeping, LOOP_AWAKE, __ATOMIC_RELEASE); /* who sees it late wakes in vain, no more */
    if (__atomic_load_n(&loop->woken, __ATOMIC_SEQ_CST) != 0) {
        __atomic_store_n(&loop->woken, 0, __ATOMIC_SEQ_CST);
        loop->happened = true;
    }
    task_list_move(&loop->retries, &loop->tasks);
    loop->now_ns = sys_clock_ns();
    if (unlikely(loop->idle_measured))
        observe_wait_end(loop, loop->now_ns);
    if (wait.count > 0 && ring_ready(&loop->ring) == 0 && loop->now_ns - before_ns < timeout_ns)
        loop->stats.waits_early++;
}

static __attribute__((noinline, cold)) void wait_specially(struct loop *loop, uint64_t timeout_ns)
{
    wait_in_ring(loop, timeout_ns, true);
}

/* Submits, and waits for at most timeout_ns for something to happen. */
static void wait_for_work(struct loop *loop, uint64_t timeout_ns)
{
    if (unlikely(loop->mode.special))
        wait_specially(loop, timeout_ns);
    else
        wait_in_ring(loop, timeout_ns, false);
}

/* Until the next timer, at most limit_ns. */
static uint64_t timeout_until_timer(struct loop *loop, uint64_t limit_ns)
{
    uint64_t next_ns = limit_ns == 0 ? UINT64_MAX : wheel_next(&loop->wheel);

    if (next_ns == UINT64_MAX)
        return limit_ns;
    loop->now_ns = sys_clock_ns();
    if (next_ns <= loop->now_ns)
        return 0;
    return next_ns - loop->now_ns < limit_ns ? next_ns - loop->now_ns : limit_ns;
}

/* But for what other threads may have asked for just now. */
static inline bool alive(const struct loop *loop)
{
    return loop_ops_in_flight(loop) > loop->background || loop->timers_ref > 0 || loop->objects_ref > 0 ||
           post_waiting(loop);
}

bool loop_alive(const struct loop *loop)
{
    return alive(loop) || shared_waiting(loop);
}

/* once: it is enough that something happens. */
static void turn(struct loop *loop, uint64_t limit_ns, bool once)
{
    bool had_tasks;

    loop->stats.turns++;
    shared_adopt(loop);
    if (unlikely(loop->hooks.started > 0) && hooks_before_wait(loop)) {
        loop->happened = true;
        limit_ns = 0;
    }
    had_tasks = !task_list_empty(&loop->tasks);
    tasks_run(loop);
    if ((once && had_tasks) || !alive(loop)) { /* what the loop would have waited for has just ended */
        loop->happened = true;
        limit_ns = 0;
    }
    wait_for_work(loop, timeout_until_timer(loop, limit_ns));
    dispatch_completions(loop);
    work_run(loop);
    post_run(loop);
    signal_run(loop);
    async_run(loop);
    if (unlikely(loop->hooks.started > 0))
        hooks_after_wait(loop);
    timer_run_due(loop);
}

static bool should_stop(struct loop *loop)
{
    return __atomic_load_n(&loop->stopping, __ATOMIC_SEQ_CST) != 0;
}

/* What the callbacks of the last turn have gathered must not wait for the next call. */
static void leave_nothing_behind(struct loop *loop)
{
    tasks_run(loop);
    if (ring_unsent(&loop->ring) > 0 || loop->backlog.count > 0)
        (void)submit_now(loop, SUBMIT_WAIT);
}

static inline int own(struct loop *loop)
{
    return likely(loop->owner != NULL) && likely(!loop->mode.to_be_enabled) ? 0 : loop_own(loop);
}

int loop_run(struct loop *loop, enum loop_run_mode mode)
{
    int r;

    loop_check_owner(loop, __func__);
    if (loop_busy(loop))
        return -EBUSY;
    if (mode != LOOP_RUN_DEFAULT && mode != LOOP_RUN_ONCE && mode != LOOP_RUN_NOWAIT)
        return -EINVAL;
    r = own(loop);
    if (r < 0)
        return r;
    loop->running = true;
    loop->now_ns = sys_clock_ns();
    if (unlikely(loop->hooks.forked != 0))
        hooks_after_fork(loop);
    if (mode == LOOP_RUN_NOWAIT && !should_stop(loop))
        turn(loop, 0, false);
    if (mode == LOOP_RUN_DEFAULT)
        do {
            while (loop_alive(loop) && !should_stop(loop))
                turn(loop, UINT64_MAX, false);
            leave_nothing_behind(loop);
        } while (loop_alive(loop) && !should_stop(loop)); /* e.g. the rest of a write */
    if (mode == LOOP_RUN_ONCE)
        for (loop->happened = false; !loop->happened && loop_alive(loop) && !should_stop(loop);)
            turn(loop, UINT64_MAX, true);
    leave_nothing_behind(loop);
    __atomic_store_n(&loop->stopping, 0, __ATOMIC_SEQ_CST);
    loop->running = false;
    if (unlikely(loop->backend_fd >= 0))
        backend_rest(loop);
    return loop_alive(loop) ? 1 : 0;
}

int loop_dispatch(struct loop *loop, uint64_t timeout_ns)
{
    unsigned count;
    int      r;

    loop_check_owner(loop, __func__);
    if (loop_busy(loop))
        return -EBUSY;
    r = own(loop);
    if (r < 0)
        return r;
    loop->running = true;
    loop->stats.turns++;
    shared_adopt(loop);
    tasks_run(loop);
    wait_for_work(loop, timeout_ns);
    count = dispatch_completions(loop);
    work_run(loop);
    post_run(loop);
    signal_run(loop);
    async_run(loop);
    leave_nothing_behind(loop);
    __atomic_store_n(&loop->stopping, 0, __ATOMIC_SEQ_CST);
    loop->running = false;
    if (unlikely(loop->backend_fd >= 0))
        backend_rest(loop);
    return (int)count;
}

bool run_drained(const struct loop *loop)
{
    return loop_ops_in_flight(loop) == 0 && task_list_empty(&loop->tasks) && object_list_empty(&loop->objects) &&
           !shared_waiting(loop);
}

/* Operations in direct mode have no context, hard links go on after a cancel, and a cancel may miss: so where no
 * operation has ended for a while the kernel is asked to cancel whatever it has. */
void run_drain(struct loop *loop)
{
    uint64_t look_ns = 0;
    uint32_t left = 0;

    loop->running = true;
    hooks_clean_up(loop);
    timers_stop_all(loop);
    hooks_stop_all(loop);
    post_run(loop); /* posts are never lost */
    post_close(loop);
    post_run(loop);
    shared_close(loop);
    loop->destroying = true;
    submit_room_update(loop);
    timers_stop_all(loop); /* those that the posts have started */
    hooks_stop_all(loop);
    objects_close_all(loop);
    cancel_all_contexts(loop);
    while (!run_drained(loop)) {
        shared_adopt(loop);
        tasks_run(loop);
        __atomic_store_n(&loop->stopping, 0, __ATOMIC_SEQ_CST);
        wait_for_work(loop, run_drained(loop) ? 0 : drain_wait_ns);
        dispatch_completions(loop);
        work_run(loop);
        async_run(loop);
        if (loop->now_ns < look_ns)
            continue;
        if (loop_ops_in_flight(loop) > work_in_flight(loop) && loop_ops_in_flight(loop) == left)
            cancel_any(loop);
        left = loop_ops_in_flight(loop);
        look_ns = loop->now_ns + drain_wait_ns;
    }
    loop->running = false;
}
