/* loop/loop.c: life of a loop: create, run turn by turn, destroy. */
#include "loop/loop_private.h"
#include "loop/seam_process.h"

#include <errno.h>
#include <ringloop/fork.h>
#include <ringloop/version.h>
#include <stdlib.h>
#include <string.h>

enum {
    SQ_ENTRIES_DEFAULT = 256,
    SQ_ENTRIES_LEAST = 8,
    SQ_ENTRIES_MOST = 32768,
    CQ_ENTRIES_MOST = 65536,
    OPS_DEFAULT = 1 << 20,
    OPS_MOST = 1 << 28,
    BUFFER_SIZE_DEFAULT = 16384,
    BUFFER_COUNT_DEFAULT = 256,
    BUFFER_COUNT_MOST = 32768,
};
static const uint64_t retry_ns = 10000000;      /* how long loop_task_retry waits at most */
static const uint64_t drain_wait_ns = 10000000; /* at the end: how long to wait before asking for cancels again */

const char *loop_version(void)
{
    return LOOP_VERSION_STRING;
}

void loop_check_owner_slowly(const struct loop *loop, const char *call)
{
    if (loop == NULL)
        check_misuse(call, "the loop is NULL");
    if (loop->forked)
        check_misuse(call, "this is a child of fork(2), and the loop is the parent's: call loop_fork() first");
    if (loop_owner(loop) == &loop_homeless)
        check_misuse(call, "the loop has no ring, since loop_disown() or loop_rehome() has failed: call loop_rehome()");
    if (loop_owner(loop) != NULL)
        check_misuse(call, "called on a thread that does not own the loop; use loop_post() from other threads");
}

static void *resize_default(void *arg, void *memory, size_t size)
{
    (void)arg;
    if (size == 0) {
        free(memory);
        return NULL;
    }
    return realloc(memory, size);
}

static int options_complete(struct loop_options *options)
{
    if (options->sq_entries == 0)
        options->sq_entries = SQ_ENTRIES_DEFAULT;
    if (options->ops_max == 0)
        options->ops_max = OPS_DEFAULT;
    if (options->posts_max == 0)
        options->posts_max = OPS_DEFAULT;
    if (options->buffer_size == 0)
        options->buffer_size = BUFFER_SIZE_DEFAULT;
    if (options->buffer_count == 0)
        options->buffer_count = BUFFER_COUNT_DEFAULT;
    if (options->sq_entries < SQ_ENTRIES_LEAST)
        options->sq_entries = SQ_ENTRIES_LEAST;
    if (options->sq_entries > SQ_ENTRIES_MOST || options->cq_entries > CQ_ENTRIES_MOST || options->ops_max > OPS_MOST ||
        (options->cq_entries != 0 && options->cq_entries < options->sq_entries) ||
        options->buffer_count > BUFFER_COUNT_MOST || (options->buffer_count & (options->buffer_count - 1)) != 0 ||
        options->buffer_size > INT32_MAX || options->reserved != 0 || options->posts_max > OPS_MOST ||
        buffer_budget_check(options->buffer_budget) < 0)
        return -EINVAL;
    return mode_check(options) < 0 ? -EINVAL : work_options_complete(&options->work);
}

void loop_features_fill(struct loop *loop)
{
    loop->features = (struct loop_features){
        .sq_entries = loop->ring.sq_entries,
        .cq_entries = loop->ring.cq_entries,
        .setup_flags = loop->ring.setup_flags,
        .kernel_features = loop->ring.features,
        .opcode_last = loop->ring.opcode_last,
        .single_issuer = (loop->ring.setup_flags & IORING_SETUP_SINGLE_ISSUER) != 0,
        .defer_taskrun = (loop->ring.setup_flags & IORING_SETUP_DEFER_TASKRUN) != 0,
        .registered_ring = loop->ring.registered,
        .min_wait = (loop->ring.features & IORING_FEAT_MIN_TIMEOUT) != 0,
    };
    mode_features(loop);
}

static int parts_init(struct loop *loop)
{
    struct ring_options options = mode_ring_options(&loop->options);
    int                 r = ring_open(&loop->ring, &options);

    if (r < 0)
        return r;
    r = wake_init(loop);
    if (r < 0)
        goto fail_ring;
    r = mode_init(loop);
    if (r < 0)
        goto fail_wake;
    r = loop_submit_policy_set(loop, &loop->options.submit);
    if (r == 0)
        r = post_queue_init(loop, loop->options.posts_max);
    if (r < 0)
        goto fail_modes;
    r = loop_registry_add(loop);
    if (r < 0)
        goto fail_posts;
    return 0;
fail_posts:
    post_queue_destroy(loop);
fail_modes:
    mode_destroy(loop);
fail_wake:
    sys_close(loop->wake_fd);
fail_ring:
    ring_close(&loop->ring, true);
    return r;
}

int loop_create(struct loop **ret_loop, const struct loop_options *options)
{
    struct loop_options   complete = {0};
    struct loop_allocator allocator = {.resize = resize_default};
    struct loop          *loop;
    int                   r;

    if (ret_loop == NULL)
        return -EINVAL;
    if (options != NULL)
        complete = *options;
    r = options_complete(&complete);
    if (r < 0)
        return r;
    if (complete.allocator.resize != NULL)
        allocator = complete.allocator;
    loop = allocator.resize(allocator.arg, NULL, sizeof(*loop));
    if (loop == NULL)
        return -ENOMEM;
    memset(loop, 0, sizeof(*loop));
    loop->options = complete;
    loop->allocator = allocator;
    loop->now_ns = sys_clock_ns();
    wheel_init(&loop->wheel, loop->now_ns);
    node_list_init(&loop->due);
    task_list_init(&loop->tasks);
    task_list_init(&loop->retries);
    task_list_init(&loop->starved);
    hold_list_init(&loop->holds);
    object_list_init(&loop->objects);
    hooks_init(loop);
    loop->backend_fd = -1;
    r = parts_init(loop);
    if (r < 0) {
        memory_free(loop, loop);
        return r;
    }
    loop_features_fill(loop);
    observe_init(loop);
    *ret_loop = loop;
    return 0;
}

/* The first thread to run it owns it. */
static int become_owner(struct loop *loop)
{
    int r;

    if (loop->owner == NULL) {
        r = ring_enable(&loop->ring);
        if (r < 0)
            return r;
        __atomic_store_n(&loop->owner, loop_this_thread(), __ATOMIC_RELAXED);
        loop->owner_tid = sys_thread_id();
        loop->features.registered_ring = loop->ring.registered;
    }
    return unlikely(loop->mode.to_be_enabled) ? mode_enable(loop) : 0;
}

int loop_own(struct loop *loop)
{
    return become_owner(loop);
}

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

int loop_run(struct loop *loop, enum loop_run_mode mode)
{
    int r;

    loop_check_owner(loop, __func__);
    if (loop_busy(loop))
        return -EBUSY;
    if (mode != LOOP_RUN_DEFAULT && mode != LOOP_RUN_ONCE && mode != LOOP_RUN_NOWAIT)
        return -EINVAL;
    r = become_owner(loop);
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
    r = become_owner(loop);
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

static bool drained(const struct loop *loop)
{
    return loop_ops_in_flight(loop) == 0 && task_list_empty(&loop->tasks) && object_list_empty(&loop->objects) &&
           !shared_waiting(loop);
}

/* Ends everything and calls all last callbacks. Operations in direct mode have no context, hard links go on after a
 * cancel, and a cancel may miss: so where no operation has ended for a while the kernel is asked to cancel whatever it
 * has. */
static void drain(struct loop *loop)
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
    while (!drained(loop)) {
        shared_adopt(loop);
        tasks_run(loop);
        __atomic_store_n(&loop->stopping, 0, __ATOMIC_SEQ_CST);
        wait_for_work(loop, drained(loop) ? 0 : drain_wait_ns);
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

/* On another thread than the owner's it works with nothing in flight, or after that has ended. */
static bool may_drain(struct loop *loop)
{
    if (loop_owner(loop) == NULL || loop_owner(loop) == loop_this_thread())
        return true;
    if (loop_owner(loop) == &loop_homeless)
        return !loop->forked && loop_rehome(loop) == 0;
    if (drained(loop) && !post_waiting(loop) && !hooks_clean(loop))
        return false;
    if (loop_rehome(loop) < 0)
        check_misuse(
            "loop_destroy",
            "operations are in flight, or there are cleanup hooks, and the thread that owns the loop is alive: "
            "only that can end them");
    return true;
}

static void loop_free(struct loop *loop, bool owner)
{
    signal_destroy(loop);
    work_pool_destroy(loop);
    buffer_groups_destroy(loop);
    fixed_files_destroy(loop);
    fixed_buffers_unregister(loop);
    ring_close(&loop->ring, owner);
    fixed_buffers_free(loop);
    zcrx_queues_destroy(loop);
    backend_destroy(loop);
    sys_close(loop->wake_fd);
    wall_destroy(loop);
    polls_destroy(loop);
    observe_destroy(loop);
    post_queue_destroy(loop);
    context_pool_destroy(loop);
    mode_destroy(loop);
    pipes_destroy(loop);
    if (loop->resolver != NULL)
        loop->resolver->free(loop, loop->resolver);
    if (loop->notifier != NULL)
        loop->notifier->free(loop, loop->notifier);
    blocks_destroy(loop);
    memory_free(loop, loop->backlog.sqes);
    memory_free(loop, loop->chain.sqes);
    memory_free(loop, loop);
}

int loop_destroy(struct loop *loop)
{
    bool owner;

    if (loop == NULL)
        return 0;
    if (loop_busy(loop))
        return -EBUSY;
    owner = may_drain(loop);
    if (owner)
        (void)become_owner(loop); /* the ring works, even if a mode can't be had */
    if (owner && loop_owner(loop) == loop_this_thread()) {
        drain(loop);
    } else {
        timers_stop_all(loop);
        hooks_stop_all(loop);
    }
    loop_registry_remove(loop);
    if (loop->forked) {
        objects_let_go(loop);
        ring_abandon(&loop->ring); /* the parent's: nothing is asked of it */
    }
    loop_free(loop, owner);
    return 0;
}

void loop_data_set(struct loop *loop, void *data)
{
    loop_check_owner(loop, __func__);
    loop->data = data;
}

void *loop_data(const struct loop *loop)
{
    return loop->data;
}

uint64_t loop_now(const struct loop *loop)
{
    return loop->now_ns;
}

uint64_t loop_clock(void)
{
    return sys_clock_ns();
}

void loop_update_time(struct loop *loop)
{
    loop_check_owner(loop, __func__);
    loop->now_ns = sys_clock_ns();
}

const struct loop_features *loop_features_get(const struct loop *loop)
{
    return &loop->features;
}

void stats_fill(const struct loop *loop, struct loop_stats *ret_stats)
{
    *ret_stats = loop->stats;
    for (unsigned i = 0; i < OPCODES_MAX; i++)
        ret_stats->ops_started += loop->ops_by_opcode[i];
    ret_stats->ops_in_flight = loop_ops_in_flight(loop);
    ret_stats->ops_finished = ret_stats->ops_started - ret_stats->ops_in_flight;
    ret_stats->buffers_lent = loop->buffers_out;
    ret_stats->buffer_bytes = loop->buffer_bytes;
    post_stats(loop, ret_stats);
    ret_stats->wakes = __atomic_load_n(&loop->wakes, __ATOMIC_RELAXED);
    ret_stats->context_bytes = loop->pool.bytes;
    work_stats(loop, ret_stats);
    observe_stats_add(loop, ret_stats);
}

void loop_stats_get(const struct loop *loop, struct loop_stats *ret_stats)
{
    if (shared_elsewhere(loop)) {
        shared_stats(loop->shared, ret_stats);
        return;
    }
    stats_fill(loop, ret_stats);
    if (loop->shared != NULL)
        ret_stats->context_bytes += shared_bytes(loop->shared);
}
