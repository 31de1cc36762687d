/* loop/op_start.c: the long way to start an operation. */
#include "loop/op_start.h"

#include "loop/fixed.h"

#include <string.h>

enum {
    TERMS_FLAGS_ALL = LOOP_LINKED_TIMEOUT | LOOP_BACKGROUND | LOOP_EXTENDED | LOOP_POLL_FIRST | LOOP_ASYNC |
                      LOOP_UNCHAINED | LOOP_LEND | LOOP_BARRIER
};

static const struct loop_terms terms_default;

static bool is_multishot(const struct op_request *request)
{
    return request->kind >= CONTEXT_ACCEPT;
}

/* Whether the completion has to know things that one union shares with the deadline. */
static bool needs_arm(const struct op_request *request)
{
    return is_multishot(request) || request->kind == CONTEXT_LENDING;
}

static bool is_chained(const struct loop *loop, const struct op_request *request)
{
    return (request->terms->flags & LOOP_UNCHAINED) == 0 && loop->chain_open;
}

static bool is_linked(const struct loop *loop, const struct op_request *request)
{
    return request->terms->timeout_ns != 0 && !is_multishot(request) &&
           ((request->terms->flags & LOOP_LINKED_TIMEOUT) != 0 || is_chained(loop, request));
}

static int apply_poll_first(struct io_uring_sqe *sqe)
{
    switch (sqe->opcode) {
    case IORING_OP_SEND:
    case IORING_OP_RECV:
    case IORING_OP_SENDMSG:
    case IORING_OP_SEND_ZC:
    case IORING_OP_SENDMSG_ZC:
    case IORING_OP_RECVMSG: sqe->ioprio |= IORING_RECVSEND_POLL_FIRST; return 0;
    case IORING_OP_ACCEPT: sqe->ioprio |= IORING_ACCEPT_POLL_FIRST; return 0;
    default: return -EINVAL;
    }
}

static int apply_lend(struct op_request *request)
{
    struct io_uring_sqe *sqe = &request->sqe;

    if ((sqe->opcode != IORING_OP_READ && sqe->opcode != IORING_OP_RECV) || sqe->addr != 0 ||
        request->kind != CONTEXT_ONE_SHOT)
        return -EINVAL;
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = request->terms->group;
    request->kind = CONTEXT_LENDING;
    return 0;
}

static inline __attribute__((always_inline)) int check_terms(struct loop *loop, struct op_request *request)
{
    const struct loop_terms *terms = request->terms;

    if ((terms->flags & ~(uint32_t)TERMS_FLAGS_ALL) != 0 || terms->data_size > LOOP_EXTRA_BYTES_MAX ||
        (terms->data_size > 0 && terms->data == NULL) || (terms->release != 0 && shared_elsewhere(loop)))
        return -EINVAL;
    if (terms->release != 0) {
        int r = buffer_check_giving(loop, terms->release);

        if (r < 0)
            return r;
    }
    if (terms->group != 0 && (terms->flags & LOOP_LEND) == 0)
        return -EINVAL;
    if ((terms->flags & LOOP_POLL_FIRST) != 0 && apply_poll_first(&request->sqe) < 0)
        return -EINVAL;
    if ((terms->flags & LOOP_ASYNC) != 0) {
        if (is_multishot(request))
            return -EINVAL; /* multishots cannot run in workers */
        request->sqe.flags |= IOSQE_ASYNC;
    }
    if ((terms->flags & LOOP_LEND) != 0 && apply_lend(request) < 0)
        return -EINVAL;
    if (terms->personality != 0)
        request->sqe.personality = terms->personality;
    if ((terms->flags & LOOP_BARRIER) != 0 && (is_chained(loop, request) || (terms->flags & LOOP_LINKED_TIMEOUT) != 0))
        return -EINVAL;
    if (is_chained(loop, request)) {
        if (is_multishot(request) || (terms->flags & LOOP_BACKGROUND) != 0)
            return -EINVAL;
        if (loop->chain_ops == loop->chain_max) {
            loop->stats.chains_full++;
            return -E2BIG;
        }
    }
    return 0;
}

/* The slot that it closes; it stands in a field of its own, counted from 1. -1: none. */
static int slot_closed(const struct io_uring_sqe *sqe)
{
    return sqe->opcode == IORING_OP_CLOSE ? (int)sqe->file_index - 1 : -1;
}

/* Direct mode: no context; everything the completion needs is in user_data. */
static loop_id start_direct(struct loop *loop, struct op_request *request)
{
    unsigned             handler = op_handler_number(request->cb);
    uint64_t             value = (uint64_t)(uintptr_t)request->arg;
    struct io_uring_sqe *sqe;

    if (!op_cb_is_handler(loop, request->cb, request->arg) || request->terms != &terms_default ||
        request->prepare != NULL || loop->chain_open || (request->flags & CONTEXT_FIXED_RESULT) != 0 ||
        (request->kind == CONTEXT_RAW && (request->sqe.flags & IOSQE_BUFFER_SELECT) != 0))
        return -EINVAL;
    request->sqe.user_data = user_data_direct(request->sqe.opcode, handler, value);
    if ((request->sqe.flags & IOSQE_BUFFER_SELECT) != 0) {
        int r;

        request->sqe.buf_group = loop->handlers[handler].group;
        r = buffer_group_use(loop, &request->sqe, request->kind);
        if (r < 0)
            return r;
    }
    sqe = submit_sqe(loop, true);
    if (sqe == NULL)
        return -ENOMEM;
    *sqe = request->sqe;
    submit_count_in(loop);
    loop->ops_by_opcode[request->sqe.opcode]++;
    submit_sqe_done(loop);
    fixed_files_note(loop, &request->sqe);
    return (loop_id)request->sqe.user_data;
}

static int fill_extended(struct loop *loop, struct context_extended *extended, struct op_request *request)
{
    const struct loop_terms *terms = request->terms;

    extended->extra_size = (uint16_t)terms->data_size;
    extended->release = terms->release;
    if (terms->data_size > 0)
        memcpy(extended->extra, terms->data, terms->data_size);
    if (request->prepare == NULL)
        return 0;
    return request->prepare(loop, extended, &request->sqe, request->source);
}

static bool needs_extended(const struct op_request *request)
{
    const struct loop_terms *terms = request->terms;

    return request->prepare != NULL || terms->data_size > 0 || terms->release != 0 ||
           (terms->flags & (LOOP_EXTENDED | LOOP_BARRIER)) != 0 || (request->flags & CONTEXT_FIXED_RESULT) != 0 ||
           (needs_arm(request) && (terms->timeout_ns != 0 || terms->personality != 0)) ||
           request->kind == CONTEXT_TIMEOUT || (request->kind == CONTEXT_LENDING && request->sqe.off != 0);
}

/* What the context keeps of the SQE for its completions, and to be armed again. */
static void fill_arm(struct context *context, const struct io_uring_sqe *sqe)
{
    struct context_arm *arm = context_arm(context);

    arm->op_flags = sqe->msg_flags;
    arm->len = sqe->len;
    arm->ioprio = (uint8_t)sqe->ioprio;
    arm->run = 0;
    arm->group = sqe->buf_group;
    arm->sqe_flags = sqe->flags;
    arm->in_extended = context_is_extended(context);
    arm->kept = 0;
    arm->fed = false;
    arm->standing_back = false;
}

/* What its completions will need to know. */
static void fill_context(struct context *context, const struct op_request *request, bool linked)
{
    context->state = CONTEXT_ACTIVE;
    context->kind = request->kind & 15;
    context->flags = request->flags | (linked ? CONTEXT_LINKED : 0);
    context->opcode = request->sqe.opcode;
    context->fd = slot_closed(&request->sqe) < 0 ? op_fd_of(request->sqe.fd, request->sqe.flags)
                                                 : LOOP_FIXED(slot_closed(&request->sqe));
    context->cb = request->cb;
    context->arg = request->arg;
    if ((request->terms->flags & LOOP_BACKGROUND) != 0)
        context->flags |= CONTEXT_BACKGROUND;
    if (needs_arm(request))
        fill_arm(context, &request->sqe);
}

/* Finds a context of the kind that the operation needs and fills it in. */
static int make_context(struct loop *loop, struct op_request *request, struct context **ret_context)
{
    bool            linked = is_linked(loop, request);
    struct context *context;
    int             r;

    if (needs_extended(request) || linked) {
        struct context_extended *extended = context_new_extended(loop);

        if (extended == NULL)
            return -ENOMEM;
        context = &extended->base;
        r = fill_extended(loop, extended, request);
        if (r < 0) {
            context_free(loop, context);
            return r;
        }
        request->sqe.user_data = context->id;
        extended->sqe = request->sqe;
    } else {
        context = context_new(loop);
        if (context == NULL)
            return -ENOMEM;
        request->sqe.user_data = context->id;
    }
    fill_context(context, request, linked);
    *ret_context = context;
    return 0;
}

static struct io_uring_sqe linked_timeout(struct context_extended *extended, uint64_t timeout_ns)
{
    extended->timespec = ring_timespec(timeout_ns);
    return (struct io_uring_sqe){
        .opcode = IORING_OP_LINK_TIMEOUT,
        .fd = -1,
        .addr = (uint64_t)(uintptr_t)&extended->timespec,
        .len = 1,
        .user_data =
            user_data_direct(IORING_OP_LINK_TIMEOUT, HANDLER_LINKED_TIMEOUT, user_data_to_value(extended->base.id)),
    };
}

static uint8_t link_flag(const struct loop *loop)
{
    return (loop->chain_flags & LOOP_CHAIN_HARD) != 0 ? IOSQE_IO_HARDLINK : IOSQE_IO_LINK;
}

/* Into the chain that is open; its memory was reserved when it was begun. */
static void place_chained(struct loop *loop, struct op_request *request, struct context *context)
{
    struct io_uring_sqe *sqe = sqe_queue_next(loop, &loop->chain);

    context->flags |= CONTEXT_CHAINED;
    context->chain_next = 0;
    *sqe = request->sqe;
    if (request->wide)
        memcpy(sqe + 1, context_extended(context)->storage, sizeof(*sqe));
    sqe->flags |= link_flag(loop);
    if ((context->flags & CONTEXT_LINKED) != 0) {
        sqe = sqe_queue_next(loop, &loop->chain);
        *sqe = linked_timeout(context_extended(context), request->terms->timeout_ns);
        sqe->flags |= link_flag(loop);
    }
    loop->chain_ops++;
}

static void start_deadline(struct loop *loop, struct context *context, uint64_t timeout_ns)
{
    if (timeout_ns == 0)
        return;
    context->flags |= CONTEXT_DEADLINE;
    context->deadline.deadline_ns = ns_add(loop_time(loop), timeout_ns);
    wheel_start(&loop->wheel, &context->deadline, WHEEL_OP);
}

/* With its linked timeout behind it, both of the size that SQEs of this ring have. */
static int place_pair(struct loop *loop, struct op_request *request, struct context *context)
{
    struct io_uring_sqe pair[4] = {request->sqe};
    int                 r;

    pair[0].flags |= IOSQE_IO_LINK;
    if (request->wide)
        memcpy(&pair[1], context_extended(context)->storage, sizeof(pair[1]));
    pair[1 << loop->ring.sqe_shift] = linked_timeout(context_extended(context), request->terms->timeout_ns);
    r = submit_block(loop, pair, 2);
    if (r == 0)
        start_deadline(loop, context, request->terms->timeout_ns); /* the kernel's may start too late */
    return r;
}

static int hold(struct loop *loop, const struct op_request *request, struct context *context)
{
    int r;

    start_deadline(loop, context, request->terms->timeout_ns);
    r = barrier_hold(loop, context_extended(context));
    if (r < 0 && (context->flags & CONTEXT_DEADLINE) != 0) {
        wheel_cancel(&loop->wheel, &context->deadline);
        context->flags ^= CONTEXT_DEADLINE;
    }
    return r;
}

static inline __attribute__((always_inline)) int place(struct loop *loop, struct op_request *request,
                                                       struct context *context)
{
    struct io_uring_sqe *sqe;

    if (is_chained(loop, request)) {
        place_chained(loop, request, context);
        return 0;
    }
    if ((context->flags & CONTEXT_LINKED) != 0)
        return place_pair(loop, request, context);
    if ((request->terms->flags & LOOP_BARRIER) != 0)
        return hold(loop, request, context);
    sqe = request->wide ? submit_wide_sqe(loop, true) : submit_sqe(loop, true);
    if (sqe == NULL)
        return -ENOMEM;
    *sqe = request->sqe;
    if (request->wide)
        memcpy(sqe + 1, context_extended(context)->storage, sizeof(*sqe));
    start_deadline(loop, context, request->terms->timeout_ns);
    submit_sqe_done(loop);
    return 0;
}

/* Whether this ring will take it at all. */
static int check_opcode(const struct loop *loop, const struct op_request *request)
{
    if (!ring_knows(&loop->ring, request->sqe.opcode))
        return -EOPNOTSUPP;
    return restriction_allows(loop, request->sqe.opcode) ? 0 : -EACCES;
}

static loop_id start(struct loop *loop, struct op_request *request)
{
    struct context *context = NULL;
    int             r;

    if (loop->destroying)
        return -ECANCELED;
    r = check_opcode(loop, request);
    if (r < 0)
        return r;
    if (request->terms == NULL)
        request->terms = &terms_default;
    if (loop->ops_in_flight == (int32_t)loop->options.ops_max) {
        loop->stats.ops_full++;
        return -ENOBUFS;
    }
    if (request->cb != NULL && !op_cb_is_plain(request->cb))
        return start_direct(loop, request);
    r = check_terms(loop, request);
    if (r == 0 && request->kind != CONTEXT_RAW && (request->sqe.flags & IOSQE_BUFFER_SELECT) != 0)
        r = buffer_group_use(loop, &request->sqe, request->kind);
    if (r == 0)
        r = make_context(loop, request, &context);
    if (r < 0)
        return r;
    submit_count_in(loop);
    r = place(loop, request, context);
    if (r < 0) {
        loop->ops_in_flight--;
        context_retire(context);
        context_free(loop, context);
        return r;
    }
    if (request->terms->release != 0)
        buffer_hand_over(loop, request->terms->release);
    if ((context->flags & CONTEXT_BACKGROUND) != 0)
        loop->background++;
    loop->ops_by_opcode[request->sqe.opcode]++;
    if (!is_chained(loop, request)) /* else at the chain's end, unless that drops it */
        fixed_files_note(loop, &request->sqe);
    return (loop_id)context->id;
}

/* ---- shared loops: other threads fill in everything but what only the owner may touch */

static int check_direct_elsewhere(const struct loop *loop, const struct op_request *request)
{
    bool registered = (uint32_t)(uintptr_t)request->cb - 4 < __atomic_load_n(&loop->handlers_end, __ATOMIC_ACQUIRE);

    if (!registered || (uintptr_t)request->arg > LOOP_VALUE_MAX || request->terms != &terms_default ||
        request->prepare != NULL || (request->flags & CONTEXT_FIXED_RESULT) != 0 ||
        (request->sqe.flags & IOSQE_BUFFER_SELECT) != 0)
        return -EINVAL;
    return 0;
}

/* The context goes through the queue; in direct mode only to carry the SQE. */
static loop_id send_to_owner(struct loop *loop, const struct op_request *request, struct context_extended *extended,
                             bool direct)
{
    uint64_t user_data = direct ? user_data_direct(request->sqe.opcode, op_handler_number(request->cb),
                                                   (uint64_t)(uintptr_t)request->arg)
                                : extended->base.id;
    int      r;

    extended->sqe = request->sqe;
    extended->sqe.user_data = user_data;
    extended->base.cb = request->cb;
    extended->base.arg = request->arg;
    extended->base.start = (struct context_start){
        .timeout_ns = request->terms->timeout_ns,
        .terms_flags = request->terms->flags,
        .flags = request->flags,
        .group = request->terms->group,
        .kind = (uint8_t)request->kind,
        .wide = request->wide,
        .direct = direct,
    };
    r = shared_send(loop, extended);
    return r < 0 ? r : (loop_id)user_data;
}

static __attribute__((noinline, cold)) loop_id start_elsewhere(struct loop *loop, struct op_request *request)
{
    struct loop_terms        terms = request->terms == NULL ? terms_default : *request->terms;
    bool                     direct = request->cb != NULL && !op_cb_is_plain(request->cb);
    struct context_extended *extended = NULL;
    loop_id                  id;
    int                      r = check_opcode(loop, request);

    if (request->terms == NULL)
        request->terms = &terms_default;
    if (r == 0 && direct)
        r = check_direct_elsewhere(loop, request);
    if (r < 0)
        return r;
    terms.flags |= LOOP_UNCHAINED; /* a chain that is open belongs to the owner */
    request->terms = &terms;
    r = check_terms(loop, request);
    if (r == 0)
        r = shared_take(loop, &extended);
    if (r < 0)
        return r;
    r = fill_extended(loop, extended, request);
    id = r < 0 ? r : send_to_owner(loop, request, extended, direct);
    if (id < 0)
        shared_give_back(loop, extended);
    return id;
}

/* There is no context to tell an error by: without memory it is tried again later. */
static bool adopt_direct(struct loop *loop, struct context_extended *extended)
{
    struct io_uring_sqe *sqe = submit_sqe(loop, true);

    if (sqe == NULL)
        return false;
    *sqe = extended->sqe;
    submit_count_in(loop);
    loop->ops_by_opcode[extended->sqe.opcode]++;
    submit_sqe_done(loop);
    fixed_files_note(loop, &extended->sqe);
    context_free(loop, &extended->base); /* has only carried it */
    return true;
}

__attribute__((cold)) bool op_adopt(struct loop *loop, struct context_extended *extended)
{
    struct context            *context = &extended->base;
    const struct context_start start = context->start;
    const struct loop_terms terms = {.timeout_ns = start.timeout_ns, .flags = start.terms_flags, .group = start.group};
    struct op_request       request = {
              .sqe = extended->sqe,
              .kind = (enum context_kind)start.kind,
              .cb = context->cb,
              .arg = context->arg,
              .terms = &terms,
              .flags = start.flags,
              .wide = start.wide,
    };
    int r = loop->destroying ? -ECANCELED : 0;

    if (start.direct)
        return adopt_direct(loop, extended);
    if (r == 0 && request.kind != CONTEXT_RAW && (request.sqe.flags & IOSQE_BUFFER_SELECT) != 0)
        r = buffer_group_use(loop, &request.sqe, request.kind);
    fill_context(context, &request, is_linked(loop, &request));
    submit_count_in(loop);
    loop->ops_by_opcode[context->opcode]++;
    if ((context->flags & CONTEXT_BACKGROUND) != 0)
        loop->background++;
    if (r == 0)
        r = place(loop, &request, context);
    if (r == 0)
        fixed_files_note(loop, &request.sqe);
    else
        dispatch_settle(loop, context, r, 0); /* its caller has an id, and so is told this way */
    return true;
}

loop_id op_refuse(struct loop *loop, const char *call, const struct loop_terms *terms, int error)
{
    bool chained = terms == NULL || (terms->flags & LOOP_UNCHAINED) == 0;

    op_check_thread(loop, call);
    if (shared_elsewhere(loop))
        return error;
    if (loop->chain_open && chained && loop->chain_error == 0)
        loop->chain_error = error;
    return error;
}

/* What is made and has no name but the result, so that without a callback nobody could ever close it: a descriptor, or
 * a slot that the kernel picks. Raw SQEs are their owner's affair. */
static bool result_must_be_told(const struct op_request *request)
{
    const struct io_uring_sqe *sqe = &request->sqe;

    if (request->kind == CONTEXT_RAW)
        return false;
    switch (sqe->opcode) {
    case IORING_OP_OPENAT:
    case IORING_OP_OPENAT2:
    case IORING_OP_SOCKET:
    case IORING_OP_ACCEPT:
    case IORING_OP_PIPE: return sqe->file_index == 0 || sqe->file_index == IORING_FILE_INDEX_ALLOC;
    case IORING_OP_FILES_UPDATE: return sqe->off == IORING_FILE_INDEX_ALLOC;
    case IORING_OP_FIXED_FD_INSTALL: return true;
    default: return false;
    }
}

loop_id op_start_request(struct loop *loop, const char *call, struct op_request *request)
{
    const struct loop_terms *terms = request->terms;
    loop_id                  id;

    if (unlikely(request->cb == NULL && result_must_be_told(request)))
        return op_refuse(loop, call, terms, -EINVAL);
    op_check_thread(loop, call);
    if (shared_elsewhere(loop))
        return start_elsewhere(loop, request);
    id = start(loop, request);
    return id < 0 ? op_refuse(loop, call, terms, (int)id) : id;
}

static bool only_deadline(const struct loop_terms *terms)
{
    return terms->timeout_ns != 0 && (terms->flags | terms->release | terms->data_size) == 0 && terms->data == NULL &&
           (terms->group | terms->personality) == 0;
}

/* A deadline and nothing else: nearly as usual as no terms at all. */
static bool may_start_with_deadline(const struct loop *loop, const struct op_sqe *model, loop_cb *cb,
                                    const struct loop_terms *terms)
{
    return loop_owner(loop) == loop_this_thread() && only_deadline(terms) && op_cb_is_plain(cb) && loop->sqe_room > 0 &&
           loop->pool.plain.free != NULL && (model->flags & IOSQE_BUFFER_SELECT) == 0;
}

static loop_id start_with_deadline(struct loop *loop, const struct op_sqe *model, loop_cb *cb, void *arg,
                                   uint64_t timeout_ns)
{
    struct context *context = loop->pool.plain.free;

    loop->pool.plain.free = context->arg;
    context->brief = context_brief_of(model->opcode, op_fd_of(model->fd, model->flags));
    context->flags = CONTEXT_DEADLINE | model->context_flags;
    context->cb = cb;
    context->arg = arg;
    context->deadline.deadline_ns = ns_add(loop_time(loop), timeout_ns);
    wheel_start(&loop->wheel, &context->deadline, WHEEL_OP);
    loop->sqe_room--;
    loop->ops_in_flight++;
    loop->ops_by_opcode[model->opcode]++;
    op_write_sqe(loop->ring.sqe_next++, *model, context->id);
    return (loop_id)context->id;
}

static __attribute__((noinline)) loop_id start_long(struct loop *loop, const char *call, const struct op_sqe *model,
                                                    loop_cb *cb, void *arg, const struct loop_terms *terms)
{
    struct op_request request = {.kind = CONTEXT_ONE_SHOT, .cb = cb, .arg = arg, .flags = model->context_flags};

    if (terms != NULL && loop != NULL && may_start_with_deadline(loop, model, cb, terms))
        return start_with_deadline(loop, model, cb, arg, terms->timeout_ns);
    request.terms = terms;
    op_write_sqe(&request.sqe, *model, 0);
    return op_start_request(loop, call, &request);
}

loop_id op_start_sqe(struct loop *loop, const char *call, const struct io_uring_sqe *sqe, loop_cb *cb, void *arg,
                     const struct loop_terms *terms)
{
    struct op_request request = {.sqe = *sqe, .kind = CONTEXT_ONE_SHOT, .cb = cb, .arg = arg, .terms = terms};

    return op_start_request(loop, call, &request);
}

/* The caller's code is laid out better if this is declared cold, but it is not. */
loop_id op_start_long(struct loop *loop, const char *call, const struct op_sqe *model, loop_cb *cb, void *arg,
                      const struct loop_terms *terms)
{
    return start_long(loop, call, model, cb, arg, terms);
}

loop_id loop_barrier(struct loop *loop, loop_cb *cb, void *arg)
{
    return loop_nop(loop, cb, arg, LOOP_TERMS(.flags = LOOP_BARRIER));
}

int loop_handler_register(struct loop *loop, loop_cb *cb, void *arg, uint16_t group)
{
    loop_check_owner(loop, __func__);
    if (!op_cb_is_plain(cb) || group >= BUFFER_GROUPS_MAX)
        return -EINVAL;
    if (loop->handlers_end == 4 * LOOP_HANDLERS_MAX) {
        loop->stats.handlers_full++;
        return -ENFILE;
    }
    loop->handlers[loop->handlers_end / 4 + 1] = (struct handler){.cb = cb, .arg = arg, .group = group};
    __atomic_store_n(&loop->handlers_end, loop->handlers_end + 4, __ATOMIC_RELEASE);
    return (int)loop->handlers_end / 4;
}
