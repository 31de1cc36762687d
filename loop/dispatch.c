/* loop/dispatch.c: from completions to callbacks.
 *
 * Completions are copied out and the CQ's head advanced before any of them is acted on. By the time of its final
 * callback an operation is counted out and its id retired. */
#include "loop/bundle.h"

#include <errno.h>

/* The kernel's own restart codes (ERESTARTSYS ... ERESTART_RESTARTBLOCK) leak out of some cancelled operations. */
enum { ERESTART_FIRST = 512, ERESTART_LAST = 516, DEADLINE_LOOK_EVERY = 8 };

static int32_t plain_errno(int32_t res)
{
    return res <= -ERESTART_FIRST && res >= -ERESTART_LAST ? -EINTR : res;
}

static void call_back(struct loop *loop, loop_cb *cb, const struct loop_result *result, void *arg)
{
    bool probed = probes_attached();

    if (cb != NULL) {
        loop->stats.callbacks++;
        if (probed)
            probe_callback_begin(loop, result->id, result->res);
        cb(loop, result, arg);
        if (probed)
            probe_callback_end(loop, result->id, result->res);
    } else if (result->res < 0) {
        loop->stats.silent_errors++;
    }
    if (result->buffer != 0)
        buffer_callback_done(loop, result->buffer);
}

/* What the user is told where the kernel, a cancel and a deadline have all had their say. */
static void judge(const struct context *context, struct loop_result *result)
{
    result->res = plain_errno(result->res);
    if ((context->flags & (CONTEXT_CANCELED | CONTEXT_EXPIRED)) != 0 &&
        (result->res == -EINTR || result->res == -ENOBUFS))
        result->res = -ECANCELED;
    if ((context->flags & CONTEXT_EXPIRED) != 0) {
        result->flags |= LOOP_TIMED_OUT;
        if (result->res == -ECANCELED)
            result->res = -ETIMEDOUT;
    }
}

/* It was cancelled because the ring goes: an object starts it again. */
static void judge_moving(const struct loop *loop, const struct context *context, struct loop_result *result)
{
    const unsigned asked = CONTEXT_CANCELED | CONTEXT_EXPIRED;

    if (likely(!loop->moving) && (context->flags & CONTEXT_PAUSING) == 0)
        return;
    if ((result->res != -ECANCELED && result->res != -EINTR) || (context->flags & asked) != 0)
        return;
    result->res = (context->flags & CONTEXT_OBJECT) != 0 ? -ERESTART : -ECANCELED;
}

/* What an extended context has to say beyond the CQE. */
static void add_extended(struct loop *loop, struct context_extended *extended, struct loop_result *result)
{
    if (extended->extra_size > 0)
        result->extra = extended->extra;
    if (extended->message)
        result->message = &extended->msg;
    if ((extended->base.flags & CONTEXT_FIXED_RESULT) != 0)
        fixed_file_result(loop, &extended->sqe, result);
}

void op_finish(struct loop *loop, struct context *context, struct loop_result *result)
{
    loop_cb    *cb = context->cb;
    void       *arg = context->arg;
    bool        extended = context_is_extended(context);
    loop_buffer release = extended ? context_extended(context)->release : 0;

    result->id = (loop_id)context->id;
    judge(context, result);
    judge_moving(loop, context, result);
    if (unlikely(result->res < 0 || (result->flags & LOOP_TIMED_OUT) != 0))
        observe_failure(loop, context->opcode, result, cb != NULL);
    if (extended)
        add_extended(loop, context_extended(context), result);
    if ((context->flags & CONTEXT_DEADLINE) != 0)
        wheel_cancel(&loop->wheel, &context->deadline);
    if ((context->flags & CONTEXT_BACKGROUND) != 0)
        loop->background--;
    if ((context->flags & CONTEXT_CHAINED) != 0 && context->chain_next != 0)
        cancel_link_begun(loop, context->chain_next);
    if ((context->flags & CONTEXT_BARRED) != 0)
        barrier_ended(loop, context->id);
    context_retire(context);
    loop->ops_in_flight--;
    if (!extended)
        context_free(loop, context);
    call_back(loop, cb, result, arg);
    if (extended)
        context_free(loop, context); /* lent to the callback until now */
    if (release != 0)
        buffer_release(loop, release);
}

void op_more(struct loop *loop, struct context *context, struct loop_result *result)
{
    result->id = (loop_id)context->id;
    result->res = plain_errno(result->res);
    result->flags |= LOOP_MORE;
    if (context_is_extended(context))
        add_extended(loop, context_extended(context), result);
    call_back(loop, context->cb, result, context->arg);
}

void op_result(struct loop *loop, struct context *context, struct loop_result *result)
{
    judge(context, result);
    op_more(loop, context, result);
}

static void run_settled(struct loop *loop, struct loop_task *task)
{
    struct context    *context = container_of(task, struct context, settled.task);
    struct loop_result result = {.res = context->settled.res, .flags = context->settled.flags};

    loop->happened = true;
    if (context->kind == CONTEXT_ZERO_COPY)
        zero_copy_settled(loop, context);
    else if (context->kind == CONTEXT_RECV_ZC)
        zcrx_finish(loop, context, &result);
    else if (context->kind == CONTEXT_LENDING && context->opcode == IORING_OP_SEND)
        bundle_settled(loop, context);
    else
        op_finish(loop, context, &result);
}

void dispatch_settle(struct loop *loop, struct context *context, int32_t res, uint32_t flags)
{
    if ((context->flags & CONTEXT_DEADLINE) != 0) {
        wheel_cancel(&loop->wheel, &context->deadline);
        context->flags &= (uint16_t)~CONTEXT_DEADLINE;
    }
    if (res == -ENOMEM)
        observe_error(
            loop, &(struct loop_error){
                      .event = LOOP_ERROR_REARM, .error = res, .opcode = context->opcode, .id = (loop_id)context->id});
    context->state = CONTEXT_SETTLED;
    context->settled = (struct context_settled){.task.run = run_settled, .res = res, .flags = flags};
    loop_task_add(loop, &context->settled.task);
}

/* A one-shot operation without anything special: the usual case. */
static inline void finish_simple(struct loop *loop, struct context *context, const struct completion *completion)
{
    struct loop_result result = {.id = (loop_id)context->id, .res = completion->res};
    loop_cb           *cb = context->cb;
    void              *arg = context->arg;

    context_retire(context);
    context->arg = loop->pool.plain.free;
    loop->pool.plain.free = context;
    loop->ops_in_flight--;
    loop->stats.callbacks++;
    cb(loop, &result, arg);
}

/* The same, before its deadline. */
static __attribute__((noinline)) void finish_in_time(struct loop *loop, struct context *context,
                                                     const struct completion *completion)
{
    wheel_cancel(&loop->wheel, &context->deadline);
    finish_simple(loop, context, completion);
}

static void take_flags(const struct completion *completion, struct loop_result *result)
{
    if ((completion->flags & IORING_CQE_F_SOCK_NONEMPTY) != 0)
        result->flags |= LOOP_SOCK_NONEMPTY;
}

static void complete_one_shot(struct loop *loop, struct context *context, const struct completion *completion)
{
    struct loop_result result = {.res = completion->res};

    take_flags(completion, &result);
    if (context->kind == CONTEXT_RAW) {
        result.cqe_flags = completion->flags;
        result.data = mode_extra(loop, completion);
        if (result.data != NULL)
            result.flags |= LOOP_CQE32;
    }
    if ((completion->flags & IORING_CQE_F_MORE) != 0)
        op_more(loop, context, &result);
    else
        op_finish(loop, context, &result);
}

/* Another ring's LOOP_MESSAGE(): no operation of this one. */
static bool message_came(struct loop *loop, const struct completion *completion)
{
    uint64_t              value = user_data_value(completion->user_data);
    const struct handler *handler = &loop->handlers[value & 0xff];

    if (handler->cb == NULL)
        return false;
    call_back(loop, handler->cb, &(struct loop_result){.res = completion->res, .value = value >> UD_MESSAGE_SHIFT},
              handler->arg);
    return true;
}

/* Completions of the library's own direct operations. */
static bool complete_own(struct loop *loop, const struct completion *completion)
{
    switch (user_data_handler(completion->user_data)) {
    case HANDLER_CANCEL: cancel_completed(loop, completion); return true;
    case HANDLER_LINKED_TIMEOUT: linked_timeout_completed(loop, completion); return true;
    case HANDLER_WAKE:
        if (user_data_value(completion->user_data) == 0)
            wake_completed(loop, completion);
        else
            polls_ready(loop, completion);
        return true;
    case HANDLER_MESSAGE: return message_came(loop, completion);
    case HANDLER_CLOCK: return wall_clock_set(loop, completion);
    default: return false;
    }
}

/* With anything but a plain result; or stale. */
static __attribute__((noinline)) void complete_direct_rarely(struct loop *loop, const struct completion *completion,
                                                             const struct handler *handler)
{
    struct loop_result result = {
        .id = (loop_id)completion->user_data,
        .res = plain_errno(completion->res),
        .value = user_data_value(completion->user_data),
        .cqe_flags = completion->flags,
    };

    if (handler->cb == NULL ? !complete_own(loop, completion) : loop->ops_in_flight <= 0) {
        loop->ops_in_flight = loop->ops_in_flight < 0 ? 0 : loop->ops_in_flight;
        observe_stale(loop, completion);
    }
    if (handler->cb == NULL || loop->ops_in_flight == 0)
        return;
    take_flags(completion, &result);
    if ((completion->flags & IORING_CQE_F_NOTIF) != 0) {
        result.flags |= zero_copy_released(completion);
        result.res = 0;
    }
    if ((completion->flags & IORING_CQE_F_BUFFER) != 0)
        buffer_received(loop, handler->group, completion, &result);
    if ((completion->flags & IORING_CQE_F_MORE) != 0)
        result.flags |= LOOP_MORE;
    else
        loop->ops_in_flight--;
    if (result.res < 0 && (result.flags & LOOP_MORE) == 0)
        observe_failure(loop, user_data_opcode(completion->user_data), &result, true);
    call_back(loop, handler->cb, &result, handler->arg);
}

static inline void complete_direct(struct loop *loop, const struct completion *completion)
{
    const struct handler *handler = &loop->handlers[user_data_handler(completion->user_data)];

    if (unlikely(handler->cb == NULL || !completion_is_plain(completion) || --loop->ops_in_flight < 0)) {
        complete_direct_rarely(loop, completion, handler);
        return;
    }
    loop->stats.callbacks++;
    handler->cb(loop,
                &(struct loop_result){
                    .id = (loop_id)completion->user_data,
                    .res = completion->res,
                    .value = user_data_value(completion->user_data),
                },
                handler->arg);
}

static bool waits_for_completion(const struct context *context)
{
    return context->state == CONTEXT_ACTIVE || context->state == CONTEXT_PROBING;
}

static void complete_with_context(struct loop *loop, struct context *context, const struct completion *completion)
{
    if (!loop->features.min_wait && /* an old kernel */
        (context->flags & (CONTEXT_LINKED | CONTEXT_CANCELED | CONTEXT_EXPIRED)) == CONTEXT_LINKED)
        linked_timeout_look(loop, context, completion);
    if (context_is_multishot(context))
        multishot_complete(loop, context, completion);
    else if (context->kind == CONTEXT_LENDING)
        lend_complete(loop, context, completion);
    else if (context->kind == CONTEXT_ZERO_COPY)
        zero_copy_complete(loop, context, completion);
    else if (context->kind == CONTEXT_RECV_ZC)
        zcrx_complete(loop, context, completion->res, completion->flags, mode_extra(loop, completion));
    else
        complete_one_shot(loop, context, completion);
}

static void complete_other(struct loop *loop, const struct completion *completion)
{
    struct context *context;

    switch (user_data_mode(completion->user_data)) {
    case UD_INDIRECT:
    case UD_EXTENDED:
        context = context_find(&loop->pool, completion->user_data);
        if (context == NULL || !waits_for_completion(context))
            observe_stale(loop, completion);
        else
            complete_with_context(loop, context, completion);
        return;
    case UD_DIRECT: return; /* taken care of */
    case UD_FOREIGN:
        if (loop->foreign_cb == NULL) {
            loop->stats.cqes_unclaimed++;
            observe_error(loop, &(struct loop_error){.event = LOOP_ERROR_UNCLAIMED,
                                                     .error = completion->res < 0 ? completion->res : 0,
                                                     .value = completion->user_data});
            return;
        }
        loop->stats.foreign_cqes++;
        loop->happened = true;
        loop->foreign_cb(loop, completion->user_data, completion->res, completion->flags, loop->foreign_arg);
        return;
    }
}

void dispatch_withdrawn(struct loop *loop, uint64_t user_data)
{
    struct completion completion = {.user_data = user_data, .res = -ECANCELED};

    loop->happened = true;
    if (user_data_mode(user_data) == UD_DIRECT)
        complete_direct_rarely(loop, &completion, &loop->handlers[user_data_handler(user_data)]);
    else
        complete_other(loop, &completion);
}

static inline __attribute__((always_inline)) void complete(struct loop *loop, const struct completion *completion)
{
    struct context *context;

    if (user_data_mode(completion->user_data) == UD_DIRECT) {
        complete_direct(loop, completion);
        return;
    }
    context = context_find_indirect(&loop->pool, completion->user_data);
    /* One-shot, nothing special, a success: nearly all of them. */
    if (likely(context != NULL && context_is_simple(context) && completion_is_plain(completion) && context->cb != NULL))
        finish_simple(loop, context, completion);
    else if (context != NULL && context_is_simple_but_deadline(context) && completion_is_plain(completion) &&
             context->cb != NULL)
        finish_in_time(loop, context, completion);
    else
        complete_other(loop, completion);
}

/* The same on the long way, which all completions may take, and where the probes around callbacks are. */
static __attribute__((noinline, cold)) void complete_observed(struct loop *loop, const struct completion *batch,
                                                              unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        const struct completion *completion = &batch[i];

        observe_completion(loop, completion);
        if (user_data_mode(completion->user_data) == UD_DIRECT)
            complete_direct_rarely(loop, completion, &loop->handlers[user_data_handler(completion->user_data)]);
        else
            complete_other(loop, completion);
    }
}

/* Returns how many: all of them, or a few if there is a deadline to look at in between. A time that begins after the
 * last would be forgotten by the enter that follows: it is not taken. */
static inline unsigned complete_some(struct loop *loop, const struct completion *batch, unsigned count, bool last_batch)
{
    unsigned some = loop->policy.deadline_ns != 0 && count > DEADLINE_LOOK_EVERY ? DEADLINE_LOOK_EVERY : count;

    if (loop_observed(loop))
        complete_observed(loop, batch, some);
    else
        for (unsigned i = 0; i < some; i++)
            complete(loop, &batch[i]);
    if (loop->policy.deadline_ns != 0 && (some < count || !last_batch || loop->pending_since != 0))
        submit_deadline_check(loop);
    return some;
}

/* The kernel keeps what found no room in the CQ on a list of its own, until it is asked. */
static bool flush_overflow(struct loop *loop)
{
    if ((ring_sq_flags(&loop->ring) & IORING_SQ_CQ_OVERFLOW) == 0 || !loop->ring.enabled)
        return false;
    (void)submit_and_wait(loop, &(struct ring_wait){.count = 0});
    return true;
}

unsigned dispatch_completions(struct loop *loop)
{
    struct completion *batch = loop->completions;
    unsigned           total = 0, count;

    do {
        count = ring_reap(&loop->ring, batch, DISPATCH_BATCH);
        for (unsigned done = 0; done < count;)
            done += complete_some(loop, batch + done, count - done, count < DISPATCH_BATCH);
        total += count;
    } while (total < loop->ring.cq_entries && (count == DISPATCH_BATCH || flush_overflow(loop)));
    loop->stats.cqes += total;
    loop->happened |= total > 0;
    return total;
}
