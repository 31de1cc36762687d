/* loop/fanout.c: one payload to many targets: an operation each, counted down to one callback. */
#include "loop/op_start.h"

#include <limits.h>
#include <ringloop/fanout.h>
#include <ringloop/op_file.h>
#include <ringloop/zero_copy.h>

/* One block for all of a fan-out; the callback of an operation gets the target, and its index leads to the first. */
struct loop_fanout_target {
    loop_id  id;     /* 0: has ended */
    uint64_t offset; /* files */
    int32_t  fd;
    uint32_t index;
    uint32_t done; /* bytes, of earlier writes to a file */
    uint32_t way;  /* enum way */
};

/* In front of the targets. */
struct block {
    struct loop_fanout *fanout;
    uint64_t            unused;
};
_Static_assert(sizeof(struct block) % _Alignof(struct loop_fanout_target) == 0, "targets begin right behind it");

enum way { WRITE, WRITE_FIXED, SEND, SEND_ZC, SEND_ZC_FIXED };

/* state: bits. */
enum {
    AUTO = 1u << 0, /* what zero-copy refuses is copied */
    BACKGROUND = 1u << 1,
    CANCELED = 1u << 2,
    EXPIRED = 1u << 3, /* and so cancelled */
    FLAGS_ALL = LOOP_FANOUT_FIXED | LOOP_FANOUT_BACKGROUND
};

static struct loop_fanout *fanout_of(struct loop_fanout_target *target)
{
    struct loop_fanout_target *first = target - target->index;

    return ((struct block *)(void *)first - 1)->fanout;
}

static bool is_zero_copy(const struct loop_fanout_target *target)
{
    return target->way == SEND_ZC || target->way == SEND_ZC_FIXED;
}

static void target_done(struct loop *loop, const struct loop_result *result, void *arg);

/* Starts what is left of a target; its id, or a negative errno. */
static loop_id start_operation(struct loop_fanout *fanout, struct loop_fanout_target *target)
{
    struct loop             *loop = fanout->priv.loop;
    const char              *payload = (const char *)fanout->priv.payload + target->done;
    uint32_t                 size = fanout->priv.size - target->done;
    bool                     background = (fanout->priv.state & BACKGROUND) != 0;
    const struct loop_terms  own = {.flags = LOOP_UNCHAINED | (background ? LOOP_BACKGROUND : 0)};
    const struct loop_terms *terms = background || loop->chain_open ? &own : NULL;
    struct op_sqe            model = {.opcode = IORING_OP_SEND, .addr = (uint64_t)(uintptr_t)payload, .len = size};

    switch ((enum way)target->way) {
    case SEND_ZC:
        return loop_send_zc(loop, target->fd, payload, size, fanout->priv.msg_flags, target_done, target, terms);
    case SEND_ZC_FIXED:
        return loop_send_zc_fixed(loop, target->fd, payload, size, fanout->priv.msg_flags, fanout->priv.buf_index,
                                  target_done, target, terms);
    case SEND: model.op_flags = (uint32_t)fanout->priv.msg_flags | MSG_WAITALL | MSG_NOSIGNAL; break;
    case WRITE_FIXED:
    case WRITE:
        model.opcode = target->way == WRITE ? IORING_OP_WRITE : IORING_OP_WRITE_FIXED;
        model.buf_group = target->way == WRITE ? 0 : fanout->priv.buf_index; /* the same place */
        model.off = target->offset == UINT64_MAX ? UINT64_MAX : target->offset + target->done;
        break;
    }
    return op_start(loop, __func__, op_on_fd(model, target->fd), target_done, target, terms);
}

/* The fan-out alone cancels them. */
static loop_id target_start(struct loop_fanout *fanout, struct loop_fanout_target *target)
{
    return op_of_object(fanout->priv.loop, start_operation(fanout, target));
}

static void finish(struct loop_fanout *fanout)
{
    struct loop              *loop = fanout->priv.loop;
    struct loop_fanout_result result = fanout->priv.result;
    loop_fanout_cb           *cb = fanout->priv.cb;
    loop_buffer               release = fanout->priv.release;

    loop_timer_stop(&fanout->priv.timer);
    if ((fanout->priv.state & AUTO) != 0 && result.copied > result.zero_copy / 2)
        fanout->priv.copy_rounds = LOOP_FANOUT_COPY_ROUNDS;
    memory_free(loop, (struct block *)(void *)fanout->priv.targets - 1);
    fanout->priv.targets = NULL;
    fanout->priv.loop = NULL;
    if (cb != NULL)
        cb(fanout, &result);
    if (release != 0)
        buffer_release(loop, release);
}

static int32_t first_error(const struct loop_fanout *fanout, int32_t res)
{
    if (res < 0)
        return res;
    if ((fanout->priv.state & EXPIRED) != 0)
        return -ETIMEDOUT;
    return (fanout->priv.state & CANCELED) != 0 || fanout->priv.loop->destroying ? -ECANCELED : -EIO;
}

/* res: what its last operation said; error or bytes. */
static void target_ended(struct loop_fanout *fanout, struct loop_fanout_target *target, int32_t res)
{
    struct loop_fanout_result *result = &fanout->priv.result;
    uint32_t                   bytes = target->done + (res > 0 ? (uint32_t)res : 0);

    target->id = 0;
    result->bytes += bytes;
    if (bytes == fanout->priv.size) {
        result->succeeded++;
    } else {
        result->failed++;
        if (res == -ECANCELED && (fanout->priv.state & EXPIRED) != 0)
            res = -ETIMEDOUT;
        if (result->error == 0)
            result->error = first_error(fanout, res);
    }
    if (fanout->priv.results != NULL)
        fanout->priv.results[target->index] = bytes > 0 ? (int32_t)bytes : res;
    fanout->priv.pending--;
}

/* Whether another operation has taken over: for the rest of a file, or to copy what zero-copy refuses. *res: what is
 * to be told if not. */
static bool target_goes_on(struct loop_fanout *fanout, struct loop_fanout_target *target, int32_t *res)
{
    bool cut = target->way <= WRITE_FIXED || fanout->priv.loop->moving; /* what is sent whole, by the change of rings */
    loop_id id;

    if ((fanout->priv.state & CANCELED) != 0)
        return false;
    if ((fanout->priv.state & AUTO) != 0 && is_zero_copy(target) && (*res == -EOPNOTSUPP || *res == -ENOMEM))
        target->way = SEND;
    else if (cut && *res > 0 && target->done + (uint32_t)*res < fanout->priv.size)
        target->done += (uint32_t)*res;
    else if (*res != -ERESTART) /* a new ring: the same once more */
        return false;
    id = target_start(fanout, target);
    if (id < 0) {
        *res = (int32_t)id;
        return false;
    }
    target->id = id;
    return true;
}

static void target_done(struct loop *loop, const struct loop_result *result, void *arg)
{
    struct loop_fanout_target *target = arg;
    struct loop_fanout        *fanout = fanout_of(target);
    int32_t                    res = result->res;

    (void)loop;
    if ((result->flags & LOOP_MORE) != 0) /* it will be told again, when the payload is free */
        return;
    if (target_goes_on(fanout, target, &res))
        return;
    fanout->priv.result.zero_copy += is_zero_copy(target);
    fanout->priv.result.copied += (result->flags & LOOP_COPIED) != 0;
    target_ended(fanout, target, res);
    if (fanout->priv.pending == 0)
        finish(fanout);
}

static void cancel_targets(struct loop_fanout *fanout)
{
    fanout->priv.state |= CANCELED;
    for (uint32_t i = 0; i < fanout->priv.count; i++)
        if (fanout->priv.targets[i].id != 0)
            (void)loop_cancel(fanout->priv.loop, fanout->priv.targets[i].id);
}

static void deadline_passed(struct loop_timer *timer)
{
    struct loop_fanout *fanout = container_of(timer, struct loop_fanout, priv.timer);

    if ((fanout->priv.state & CANCELED) != 0)
        return;
    fanout->priv.state |= EXPIRED;
    fanout->priv.loop->stats.deadlines_passed++;
    cancel_targets(fanout);
}

/* Everything that can be known beforehand. */
static int check(struct loop *loop, const struct loop_fanout *fanout, const void *targets, uint32_t count,
                 const void *payload, size_t size, const struct loop_fanout_options *options)
{
    int r;

    if (fanout == NULL || targets == NULL || count == 0 || payload == NULL || size == 0 || size > INT_MAX)
        return -EINVAL;
    if ((options->flags & ~(uint32_t)FLAGS_ALL) != 0 || options->mode > LOOP_FANOUT_ZERO_COPY)
        return -EINVAL;
    if ((options->flags & LOOP_FANOUT_FIXED) != 0 && (options->buf_index < 0 || options->buf_index > UINT16_MAX))
        return -EINVAL;
    if (options->release != 0 && (r = buffer_check_giving(loop, options->release)) < 0)
        return r;
    if (fanout->priv.loop != NULL)
        return -EBUSY;
    if (loop->destroying)
        return -ECANCELED;
    if (count > loop->options.ops_max - loop_ops_in_flight(loop)) {
        loop->stats.ops_full++;
        return -ENOBUFS;
    }
    return 0;
}

/* Makes room for all of it, and takes nothing of the caller's yet. */
static int prepare(struct loop *loop, struct loop_fanout *fanout, uint32_t count, const void *payload, size_t size,
                   loop_fanout_cb *cb, const struct loop_fanout_options *options)
{
    struct block *block;
    int           r = context_reserve_plain(loop, count);

    if (r < 0)
        return r;
    block = memory_resize(loop, NULL, sizeof(*block) + (size_t)count * sizeof(struct loop_fanout_target));
    if (block == NULL)
        return -ENOMEM;
    block->fanout = fanout;
    fanout->priv = (struct loop_fanout_private){
        .loop = loop,
        .targets = (struct loop_fanout_target *)(void *)(block + 1),
        .payload = payload,
        .cb = cb,
        .results = options->results,
        .size = (uint32_t)size,
        .count = count,
        .state = (options->flags & LOOP_FANOUT_BACKGROUND) != 0 ? BACKGROUND : 0,
        .msg_flags = options->msg_flags,
        .buf_index = (uint16_t)options->buf_index,
        .copy_rounds = fanout->priv.copy_rounds,
    };
    return 0;
}

static void drop(struct loop_fanout *fanout)
{
    memory_free(fanout->priv.loop, (struct block *)(void *)fanout->priv.targets - 1);
    fanout->priv.targets = NULL;
    fanout->priv.loop = NULL;
}

/* Room for the operations is there; SQEs that wait for their turn may still lack memory. If the very first one does,
 * nothing has happened; later ones count as failed. */
static int start_all(struct loop_fanout *fanout, const struct loop_fanout_options *options)
{
    struct loop *loop = fanout->priv.loop;

    fanout->priv.pending = fanout->priv.count;
    for (uint32_t i = 0; i < fanout->priv.count; i++) {
        struct loop_fanout_target *target = &fanout->priv.targets[i];
        loop_id                    id = target_start(fanout, target);

        if (id > 0) {
            target->id = id;
        } else if (i == 0) {
            drop(fanout);
            return (int)id;
        } else {
            target_ended(fanout, target, (int32_t)id);
        }
    }
    if (options->release != 0) {
        buffer_hand_over(loop, options->release);
        fanout->priv.release = options->release;
    }
    if (options->timeout_ns != 0) {
        timer_of_object(&fanout->priv.timer);
        (void)loop_timer_start(loop, &fanout->priv.timer, options->timeout_ns, 0, deadline_passed);
    }
    return 0;
}

static bool auto_copies(const struct loop *loop, const struct loop_fanout *fanout, uint32_t count, size_t size,
                        bool fixed)
{
    return size < (fixed ? LOOP_FANOUT_FIXED_BYTES : LOOP_FANOUT_ZERO_COPY_BYTES) ||
           count < LOOP_FANOUT_ZERO_COPY_TARGETS || fanout->priv.copy_rounds > 0 ||
           !ring_knows(&loop->ring, IORING_OP_SEND_ZC);
}

static enum way choose(const struct loop *loop, const struct loop_fanout *fanout, uint32_t count, size_t size,
                       const struct loop_fanout_options *options)
{
    bool fixed = (options->flags & LOOP_FANOUT_FIXED) != 0;

    if (options->mode == LOOP_FANOUT_COPY)
        return SEND;
    if (options->mode == LOOP_FANOUT_AUTO && auto_copies(loop, fanout, count, size, fixed))
        return SEND;
    return fixed ? SEND_ZC_FIXED : SEND_ZC;
}

static const struct loop_fanout_options options_default;

int loop_fanout_send(struct loop *loop, struct loop_fanout *fanout, const int *fds, uint32_t count, const void *payload,
                     size_t size, const struct loop_fanout_options *options, loop_fanout_cb *cb)
{
    enum way way;
    int      r;

    loop_check_owner(loop, __func__);
    if (options == NULL)
        options = &options_default;
    r = check(loop, fanout, fds, count, payload, size, options);
    for (uint32_t i = 0; i < count && r == 0; i++)
        r = fds[i] < 0 ? -EBADF : 0;
    if (r < 0)
        return r;
    way = choose(loop, fanout, count, size, options);
    if (way != SEND && !ring_knows(&loop->ring, IORING_OP_SEND_ZC))
        return -EOPNOTSUPP;
    r = prepare(loop, fanout, count, payload, size, cb, options);
    if (r < 0)
        return r;
    if (options->mode == LOOP_FANOUT_AUTO) {
        fanout->priv.state |= AUTO;
        if (fanout->priv.copy_rounds > 0)
            fanout->priv.copy_rounds--;
    }
    for (uint32_t i = 0; i < count; i++)
        fanout->priv.targets[i] = (struct loop_fanout_target){.fd = fds[i], .index = i, .way = way};
    return start_all(fanout, options);
}

int loop_fanout_write(struct loop *loop, struct loop_fanout *fanout, const struct loop_fanout_file *files,
                      uint32_t count, const void *payload, size_t size, const struct loop_fanout_options *options,
                      loop_fanout_cb *cb)
{
    enum way way;
    int      r;

    loop_check_owner(loop, __func__);
    if (options == NULL)
        options = &options_default;
    if (options->mode != 0 || options->msg_flags != 0)
        return -EINVAL;
    r = check(loop, fanout, files, count, payload, size, options);
    for (uint32_t i = 0; i < count && r == 0; i++)
        r = files[i].fd < 0 ? -EBADF : files[i].offset < LOOP_AT_POSITION ? -EINVAL : 0;
    if (r == 0)
        r = prepare(loop, fanout, count, payload, size, cb, options);
    if (r < 0)
        return r;
    way = (options->flags & LOOP_FANOUT_FIXED) != 0 ? WRITE_FIXED : WRITE;
    for (uint32_t i = 0; i < count; i++)
        fanout->priv.targets[i] =
            (struct loop_fanout_target){.fd = files[i].fd, .offset = (uint64_t)files[i].offset, .index = i, .way = way};
    return start_all(fanout, options);
}

int loop_fanout_cancel(struct loop_fanout *fanout)
{
    if (fanout == NULL || fanout->priv.loop == NULL)
        return -ENOENT;
    loop_check_owner(fanout->priv.loop, __func__);
    if ((fanout->priv.state & CANCELED) == 0)
        cancel_targets(fanout);
    return 0;
}

bool loop_fanout_active(const struct loop_fanout *fanout)
{
    return fanout->priv.loop != NULL;
}
