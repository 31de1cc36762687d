/* loop/subscription.c: multishots with a step and a stop callback. */
#include "loop/op_start.h"

#include <ringloop/bundle.h>

enum kind { ACCEPTS, RECEIVES, POLLS, TICKS };

/* Whether it is a result for the step callback; else it only says how the multishot has ended. */
static bool is_step(const struct loop_subscription *subscription, const struct loop_result *result)
{
    if (result->res < 0)
        return false;
    switch ((enum kind)subscription->priv.kind) {
    case RECEIVES: return (result->flags & LOOP_BUFFER) != 0;
    case ACCEPTS:
    case POLLS:
    case TICKS: return true;
    }
    return false;
}

/* Nobody wants it any more. Its buffer goes back by itself. */
static void drop(struct loop *loop, const struct loop_subscription *subscription, const struct loop_result *result)
{
    if (subscription->priv.kind != ACCEPTS)
        return;
    sys_close(result->res);
    starved_feed(loop);
}

/* How it has ended. A last result that came with the end of anything but a count is no end of its own: the multishot
 * was cancelled just then. */
static int error_of(const struct loop_subscription *subscription, const struct loop_result *result)
{
    if (subscription->priv.stopping)
        return -ECANCELED;
    if ((result->flags & LOOP_TIMED_OUT) != 0)
        return -ETIMEDOUT;
    if (is_step(subscription, result) && subscription->priv.kind != TICKS)
        return -ECANCELED;
    return result->res < 0 ? result->res : 0;
}

static void came(struct loop *loop, const struct loop_result *result, void *arg)
{
    struct loop_subscription *subscription = arg;
    int                       error;

    if (is_step(subscription, result)) {
        if (subscription->priv.stopping)
            drop(loop, subscription, result);
        else if (subscription->priv.step(loop, subscription, result) == LOOP_STOP)
            (void)loop_subscription_stop(subscription);
    }
    if ((result->flags & LOOP_MORE) != 0)
        return;
    error = error_of(subscription, result);
    subscription->priv.id = 0;
    subscription->priv.stop(loop, subscription, error, error == -ECANCELED);
}

/* 0, or why it cannot be begun. */
static int check(struct loop *loop, const char *call, const struct loop_subscription *subscription, loop_step_cb *step,
                 loop_stop_cb *stop, const struct loop_terms *terms)
{
    if (subscription == NULL || step == NULL || stop == NULL)
        return (int)op_refuse(loop, call, terms, -EINVAL);
    if (subscription->priv.id != 0)
        return (int)op_refuse(loop, call, terms, -EBUSY);
    return 0;
}

/* No callback has come from inside the start. */
static int begun(struct loop *loop, struct loop_subscription *subscription, loop_id id, enum kind kind,
                 loop_step_cb *step, loop_stop_cb *stop)
{
    if (id < 0)
        return (int)id;
    subscription->priv.loop = loop;
    subscription->priv.id = id;
    subscription->priv.step = step;
    subscription->priv.stop = stop;
    subscription->priv.kind = (uint8_t)kind;
    subscription->priv.stopping = false;
    return 0;
}

int loop_subscribe_accept(struct loop *loop, struct loop_subscription *subscription, int fd, int flags,
                          loop_step_cb *step, loop_stop_cb *stop, const struct loop_terms *terms)
{
    int r = check(loop, __func__, subscription, step, stop, terms);

    if (r < 0)
        return r;
    return begun(loop, subscription, loop_accept_multishot(loop, fd, flags, came, subscription, terms), ACCEPTS, step,
                 stop);
}

int loop_subscribe_recv(struct loop *loop, struct loop_subscription *subscription, int fd, uint16_t group, int flags,
                        loop_step_cb *step, loop_stop_cb *stop, const struct loop_terms *terms)
{
    int r = check(loop, __func__, subscription, step, stop, terms);

    if (r < 0)
        return r;
    return begun(loop, subscription, loop_recv_multishot(loop, fd, group, flags, came, subscription, terms), RECEIVES,
                 step, stop);
}

int loop_subscribe_recv_bundle(struct loop *loop, struct loop_subscription *subscription, int fd, uint16_t group,
                               int flags, loop_step_cb *step, loop_stop_cb *stop, const struct loop_terms *terms)
{
    int r = check(loop, __func__, subscription, step, stop, terms);

    if (r < 0)
        return r;
    return begun(loop, subscription, loop_recv_multishot_bundle(loop, fd, group, flags, came, subscription, terms),
                 RECEIVES, step, stop);
}

int loop_subscribe_recvmsg(struct loop *loop, struct loop_subscription *subscription, int fd, const struct msghdr *msg,
                           uint16_t group, int flags, loop_step_cb *step, loop_stop_cb *stop,
                           const struct loop_terms *terms)
{
    int r = check(loop, __func__, subscription, step, stop, terms);

    if (r < 0)
        return r;
    return begun(loop, subscription, loop_recvmsg_multishot(loop, fd, msg, group, flags, came, subscription, terms),
                 RECEIVES, step, stop);
}

int loop_subscribe_read(struct loop *loop, struct loop_subscription *subscription, int fd, uint16_t group,
                        loop_step_cb *step, loop_stop_cb *stop, const struct loop_terms *terms)
{
    int r = check(loop, __func__, subscription, step, stop, terms);

    if (r < 0)
        return r;
    return begun(loop, subscription, loop_read_multishot(loop, fd, group, came, subscription, terms), RECEIVES, step,
                 stop);
}

int loop_subscribe_poll(struct loop *loop, struct loop_subscription *subscription, int fd, uint32_t events,
                        uint32_t flags, loop_step_cb *step, loop_stop_cb *stop, const struct loop_terms *terms)
{
    int r = check(loop, __func__, subscription, step, stop, terms);

    if (r < 0)
        return r;
    return begun(loop, subscription, loop_poll_add_multishot(loop, fd, events, flags, came, subscription, terms), POLLS,
                 step, stop);
}

int loop_subscribe_timeout(struct loop *loop, struct loop_subscription *subscription, uint64_t interval_ns,
                           uint32_t count, uint32_t flags, loop_step_cb *step, loop_stop_cb *stop,
                           const struct loop_terms *terms)
{
    int r = check(loop, __func__, subscription, step, stop, terms);

    if (r < 0)
        return r;
    return begun(loop, subscription, loop_timeout_multishot(loop, interval_ns, count, flags, came, subscription, terms),
                 TICKS, step, stop);
}

int loop_subscription_stop(struct loop_subscription *subscription)
{
    if (subscription->priv.id == 0)
        return -ENOENT;
    subscription->priv.stopping = true;
    (void)loop_cancel(subscription->priv.loop,
                      subscription->priv.id); /* it may just have ended: inside its last step */
    return 0;
}

int loop_subscription_pause(struct loop_subscription *subscription)
{
    if (subscription->priv.id == 0)
        return -ENOENT;
    return loop_pause(subscription->priv.loop, subscription->priv.id);
}

int loop_subscription_resume(struct loop_subscription *subscription)
{
    if (subscription->priv.id == 0)
        return -ENOENT;
    return loop_resume(subscription->priv.loop, subscription->priv.id);
}

loop_id loop_subscription_id(const struct loop_subscription *subscription)
{
    return subscription->priv.id;
}
