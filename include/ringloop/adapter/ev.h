/* ringloop/adapter/ev.h: ringloop inside libev: ev_run() serves both. Inline functions only: the library itself needs
 * no libev, a program that includes this links it. libev 4, with several loops (EV_MULTIPLICITY). See
 * docs/embedding.md.
 *
 * One thread runs both loops. Callbacks of either may use both. libev inside ringloop is not possible: it shows neither
 * its descriptor nor how long it would wait. */
#ifndef RINGLOOP_ADAPTER_EV_H
#define RINGLOOP_ADAPTER_EV_H

#include <ev.h>
#include <ringloop.h>

LOOP_BEGIN_DECLS

struct loop_in_ev {
    void *data; /* yours */
    struct loop_in_ev_private {
        struct loop    *loop;
        struct ev_loop *ev;
        ev_io           io;
        ev_prepare      prepare;
        ev_timer        timer;
        bool            ref; /* the io watcher counts in ev's references; the others never do */
    } priv;
};

/* One that has fired and not been called yet: libev has stopped it, and with it taken a reference that it did not have.
 */
static inline void loop_in_ev_timer_stop(struct loop_in_ev *bridge)
{
    if (ev_clear_pending(bridge->priv.ev, &bridge->priv.timer) != 0)
        ev_ref(bridge->priv.ev);
    if (!ev_is_active(&bridge->priv.timer))
        return;
    ev_ref(bridge->priv.ev);
    ev_timer_stop(bridge->priv.ev, &bridge->priv.timer);
}

static inline void loop_in_ev_ref_set(struct loop_in_ev *bridge, bool ref)
{
    if (ref && !bridge->priv.ref)
        ev_ref(bridge->priv.ev);
    if (!ref && bridge->priv.ref)
        ev_unref(bridge->priv.ev);
    bridge->priv.ref = ref;
}

/* What has been started is sent, and libev's wait is bounded. Happens by itself before each wait of ev_run(); to be
 * called where operations were started while ev_run() was not running, and by prepare watchers of a lower priority that
 * start some. */
static inline void loop_in_ev_update(struct loop_in_ev *bridge)
{
    uint64_t timeout_ns = loop_backend_timeout(bridge->priv.loop);

    loop_in_ev_timer_stop(bridge);
    if (timeout_ns != UINT64_MAX) {
        ev_timer_set(&bridge->priv.timer, (ev_tstamp)timeout_ns / 1e9, 0.);
        ev_timer_start(bridge->priv.ev, &bridge->priv.timer);
        ev_unref(bridge->priv.ev);
    }
    loop_in_ev_ref_set(bridge, loop_alive(bridge->priv.loop));
}

static inline void loop_in_ev_prepared(struct ev_loop *ev, ev_prepare *prepare, int events)
{
    (void)ev;
    (void)events;
    loop_in_ev_update((struct loop_in_ev *)prepare->data);
}

/* The reference is as above. */
static inline void loop_in_ev_fired(struct ev_loop *ev, ev_timer *timer, int events)
{
    (void)events;
    ev_ref(ev);
    (void)loop_run(((struct loop_in_ev *)timer->data)->priv.loop, LOOP_RUN_NOWAIT);
}

static inline void loop_in_ev_readable(struct ev_loop *ev, ev_io *io, int events)
{
    (void)ev;
    (void)events;
    (void)loop_run(((struct loop_in_ev *)io->data)->priv.loop, LOOP_RUN_NOWAIT);
}

/* From now on ev_run(ev) serves loop, too, and goes on as long as loop is alive. Borrows bridge until the stop. Returns
 * 0, or what loop_backend_fd() gave. */
static inline int loop_in_ev_start(struct loop_in_ev *bridge, struct loop *loop, struct ev_loop *ev)
{
    int fd = loop_backend_fd(loop);

    if (fd < 0)
        return fd;
    bridge->priv.loop = loop;
    bridge->priv.ev = ev;
    bridge->priv.ref = true;
    ev_io_init(&bridge->priv.io, loop_in_ev_readable, fd, EV_READ);
    ev_prepare_init(&bridge->priv.prepare, loop_in_ev_prepared);
    ev_timer_init(&bridge->priv.timer, loop_in_ev_fired, 0., 0.);
    ev_set_priority(&bridge->priv.prepare, EV_MINPRI); /* after all others */
    bridge->priv.io.data = bridge->priv.prepare.data = bridge->priv.timer.data = bridge;
    ev_io_start(ev, &bridge->priv.io);
    ev_prepare_start(ev, &bridge->priv.prepare);
    ev_unref(ev);
    return 0;
}

/* Parts them again, at once; to be called before loop_destroy(), also from callbacks of either loop. */
static inline void loop_in_ev_stop(struct loop_in_ev *bridge)
{
    loop_in_ev_timer_stop(bridge);
    loop_in_ev_ref_set(bridge, true);
    ev_ref(bridge->priv.ev);
    ev_prepare_stop(bridge->priv.ev, &bridge->priv.prepare);
    ev_io_stop(bridge->priv.ev, &bridge->priv.io);
}

LOOP_END_DECLS

#endif
