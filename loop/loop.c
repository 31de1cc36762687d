/* loop/loop.c: life of a loop: create, own, destroy; its time and figures. */
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
int loop_own(struct loop *loop)
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

/* On another thread than the owner's it works with nothing in flight, or after that has ended. */
static bool may_drain(struct loop *loop)
{
    if (loop_owner(loop) == NULL || loop_owner(loop) == loop_this_thread())
        return true;
    if (loop_owner(loop) == &loop_homeless)
        return !loop->forked && loop_rehome(loop) == 0;
    if (run_drained(loop) && !post_waiting(loop) && !hooks_clean(loop))
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
        (void)loop_own(loop); /* the ring works, even if a mode can't be had */
    if (owner && loop_owner(loop) == loop_this_thread()) {
        run_drain(loop);
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
