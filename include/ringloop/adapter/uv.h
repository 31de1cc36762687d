/* ringloop/adapter/uv.h: ringloop inside libuv, and libuv inside ringloop. Inline functions only: the library itself
 * needs no libuv, a program that includes this links it. libuv 1.45 or newer. See docs/embedding.md.
 *
 * One thread runs both loops. Callbacks of either may use both. */
#ifndef RINGLOOP_ADAPTER_UV_H
#define RINGLOOP_ADAPTER_UV_H

#include <poll.h>
#include <ringloop.h>
#include <uv.h>

LOOP_BEGIN_DECLS

/* ---- ringloop inside libuv: uv_run() serves both */

struct loop_in_uv;
typedef void loop_in_uv_cb(struct loop_in_uv *bridge);

struct loop_in_uv {
    void *data; /* yours */
    struct loop_in_uv_private {
        struct loop   *loop;
        uv_poll_t      poll;
        uv_prepare_t   prepare;
        uv_timer_t     timer;
        loop_in_uv_cb *on_closed;
        int            open; /* handles */
    } priv;
};

static inline void loop_in_uv_fired(uv_timer_t *timer);

/* What has been started is sent, and libuv's wait is bounded. Happens by itself before each wait of uv_run(); to be
 * called where operations were started while uv_run() was not running, and by prepare handles of yours that start some
 * and are called after the bridge's: libuv calls those last that were started first. */
static inline void loop_in_uv_update(struct loop_in_uv *bridge)
{
    int timeout_ms = loop_backend_timeout_ms(bridge->priv.loop);

    if (timeout_ms < 0)
        uv_timer_stop(&bridge->priv.timer);
    else
        uv_timer_start(&bridge->priv.timer, loop_in_uv_fired, (uint64_t)timeout_ms, 0);
    if (loop_alive(bridge->priv.loop))
        uv_ref((uv_handle_t *)&bridge->priv.poll);
    else
        uv_unref((uv_handle_t *)&bridge->priv.poll);
}

static inline void loop_in_uv_prepared(uv_prepare_t *prepare)
{
    loop_in_uv_update((struct loop_in_uv *)prepare->data);
}

static inline void loop_in_uv_fired(uv_timer_t *timer)
{
    (void)loop_run(((struct loop_in_uv *)timer->data)->priv.loop, LOOP_RUN_NOWAIT);
}

static inline void loop_in_uv_polled(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    (void)loop_run(((struct loop_in_uv *)poll->data)->priv.loop, LOOP_RUN_NOWAIT);
}

/* From now on uv_run(uv) serves loop, too, and goes on as long as loop is alive. Borrows bridge until its close
 * callback. Returns 0, what loop_backend_fd() gave, or an error of libuv's, which are negative errnos as well. */
static inline int loop_in_uv_start(struct loop_in_uv *bridge, struct loop *loop, uv_loop_t *uv)
{
    int fd = loop_backend_fd(loop);
    int r = fd < 0 ? fd : uv_poll_init(uv, &bridge->priv.poll, fd);

    if (r < 0)
        return r;
    (void)uv_prepare_init(uv, &bridge->priv.prepare);
    (void)uv_timer_init(uv, &bridge->priv.timer);
    bridge->priv.loop = loop;
    bridge->priv.open = 3;
    bridge->priv.poll.data = bridge->priv.prepare.data = bridge->priv.timer.data = bridge;
    (void)uv_poll_start(&bridge->priv.poll, UV_READABLE, loop_in_uv_polled);
    (void)uv_prepare_start(&bridge->priv.prepare, loop_in_uv_prepared);
    uv_unref((uv_handle_t *)&bridge->priv.prepare);
    uv_unref((uv_handle_t *)&bridge->priv.timer);
    return 0;
}

static inline void loop_in_uv_closed(uv_handle_t *handle)
{
    struct loop_in_uv *bridge = (struct loop_in_uv *)handle->data;

    if (--bridge->priv.open == 0 && bridge->priv.on_closed != NULL)
        bridge->priv.on_closed(bridge);
}

/* Parts them again; on_closed (may be NULL) is called by uv_run() later, and may free the bridge. To be called before
 * loop_destroy(); also from callbacks of either loop. */
static inline void loop_in_uv_close(struct loop_in_uv *bridge, loop_in_uv_cb *on_closed)
{
    bridge->priv.on_closed = on_closed;
    uv_close((uv_handle_t *)&bridge->priv.poll, loop_in_uv_closed);
    uv_close((uv_handle_t *)&bridge->priv.prepare, loop_in_uv_closed);
    uv_close((uv_handle_t *)&bridge->priv.timer, loop_in_uv_closed);
}

/* ---- libuv inside ringloop: loop_run() serves both */

struct loop_hosts_uv;
typedef void loop_hosts_uv_cb(struct loop_hosts_uv *bridge);

struct loop_hosts_uv {
    void *data; /* yours */
    struct loop_hosts_uv_private {
        struct loop             *loop;
        uv_loop_t               *uv;
        struct loop_subscription poll;
        struct loop_hook         prepare;
        struct loop_timer        timer;
        loop_hosts_uv_cb        *on_stopped;
        int                      error; /* of the poll */
        bool                     ready, stopping;
    } priv;
};

static inline void loop_hosts_uv_fired(struct loop_timer *timer);

/* While nothing keeps libuv alive it runs nothing, and tells no timeout: what has no reference would not be served
 * though the loop goes on, and a descriptor that stays readable would keep it spinning. So its count of handles has one
 * more for the time of a call. */
static inline int loop_hosts_uv_timeout_ms(struct loop_hosts_uv *bridge)
{
    int timeout_ms;

    bridge->priv.uv->active_handles++;
    timeout_ms = uv_backend_timeout(bridge->priv.uv);
    bridge->priv.uv->active_handles--;
    return timeout_ms;
}

static inline void loop_hosts_uv_serve(struct loop_hosts_uv *bridge)
{
    bridge->priv.uv->active_handles++;
    (void)uv_run(bridge->priv.uv, UV_RUN_NOWAIT);
    bridge->priv.uv->active_handles--;
}

/* How long libuv would wait, and whether it keeps the loop alive. Happens by itself in each turn; to be called where
 * handles of libuv's were started while the loop was not running. */
static inline void loop_hosts_uv_update(struct loop_hosts_uv *bridge)
{
    bool    alive = uv_loop_alive(bridge->priv.uv) != 0;
    int     timeout_ms = loop_hosts_uv_timeout_ms(bridge);
    loop_id id = loop_subscription_id(&bridge->priv.poll);

    if (timeout_ms < 0)
        loop_timer_stop(&bridge->priv.timer);
    else
        (void)loop_timer_start(bridge->priv.loop, &bridge->priv.timer, (uint64_t)timeout_ms * LOOP_MILLISECOND, 0,
                               loop_hosts_uv_fired);
    if (alive) {
        loop_hook_ref(&bridge->priv.prepare);
        (void)loop_op_ref(bridge->priv.loop, id);
    } else {
        loop_hook_unref(&bridge->priv.prepare);
        (void)loop_op_unref(bridge->priv.loop, id);
    }
}

/* The one place where libuv runs. Its cached time is as old as its last run: it must not be counted from. */
static inline void loop_hosts_uv_prepared(struct loop_hook *hook)
{
    struct loop_hosts_uv *bridge = (struct loop_hosts_uv *)hook->data;

    uv_update_time(bridge->priv.uv);
    if (bridge->priv.ready || loop_hosts_uv_timeout_ms(bridge) == 0) {
        bridge->priv.ready = false;
        loop_hosts_uv_serve(bridge);
    }
    if (!bridge->priv.stopping)
        loop_hosts_uv_update(bridge);
}

/* It only ends the wait: the next turn begins with the hook. */
static inline void loop_hosts_uv_fired(struct loop_timer *timer)
{
    ((struct loop_hosts_uv *)timer->data)->priv.ready = true;
}

static inline enum loop_step loop_hosts_uv_polled(struct loop *loop, struct loop_subscription *poll,
                                                  const struct loop_result *result)
{
    (void)loop;
    (void)result;
    ((struct loop_hosts_uv *)poll->data)->priv.ready = true;
    return LOOP_CONTINUE;
}

static inline void loop_hosts_uv_ended(struct loop *loop, struct loop_subscription *poll, int error, bool cancelled)
{
    struct loop_hosts_uv *bridge = (struct loop_hosts_uv *)poll->data;

    (void)loop;
    (void)cancelled;
    bridge->priv.error = error;
    bridge->priv.stopping = true;
    loop_hook_stop(&bridge->priv.prepare);
    loop_timer_stop(&bridge->priv.timer);
    if (bridge->priv.on_stopped != NULL)
        bridge->priv.on_stopped(bridge);
}

/* From now on loop_run() serves uv, too, and goes on as long as uv is alive; handles without a reference are served as
 * long as the loop goes on for something else. uv must not be run otherwise. on_stopped
 * (may be NULL) comes once, after the stop, if the poll of libuv's descriptor fails (priv.error), or from
 * loop_destroy(): bridge is borrowed until then. Returns 0, or a negative errno of loop_subscribe_poll(). */
static inline int loop_hosts_uv_start(struct loop_hosts_uv *bridge, struct loop *loop, uv_loop_t *uv,
                                      loop_hosts_uv_cb *on_stopped)
{
    int r;

    bridge->priv.poll.data = bridge->priv.prepare.data = bridge->priv.timer.data = bridge;
    r = loop_subscribe_poll(loop, &bridge->priv.poll, uv_backend_fd(uv), POLLIN, LOOP_POLL_LEVEL, loop_hosts_uv_polled,
                            loop_hosts_uv_ended, LOOP_TERMS(.flags = LOOP_UNCHAINED));
    if (r < 0)
        return r;
    bridge->priv.loop = loop;
    bridge->priv.uv = uv;
    bridge->priv.on_stopped = on_stopped;
    bridge->priv.error = 0;
    bridge->priv.ready = true; /* libuv tells its descriptor of handles only when it runs */
    bridge->priv.stopping = false;
    loop_timer_unref(&bridge->priv.timer);
    return loop_hook_start(loop, &bridge->priv.prepare, LOOP_HOOK_PREPARE, loop_hosts_uv_prepared);
}

/* Parts them again; may be called from callbacks of either loop. libuv's handles stay as they are. */
static inline void loop_hosts_uv_stop(struct loop_hosts_uv *bridge)
{
    bridge->priv.stopping = true;
    loop_hook_stop(&bridge->priv.prepare);
    loop_timer_stop(&bridge->priv.timer);
    (void)loop_op_ref(bridge->priv.loop, loop_subscription_id(&bridge->priv.poll)); /* until the callback */
    (void)loop_subscription_stop(&bridge->priv.poll);
}

LOOP_END_DECLS

#endif
