/* net/listener_accept.c: how a listener accepts: by one multishot, or by several accepts of one connection each; and
 * what it does with errors and with connections that must not be delivered yet. */
#include "net/listener_private.h"

#include <errno.h>
#include <string.h>

enum { SLOTS = 8, ERRORS_IN_ROW_MAX = 16, HELD_ROOM = 16 };

static const uint64_t rest_ns = 100 * LOOP_MILLISECOND;

static loop_cb multishot_done, slot_done;

/* ---- waiting for better times */

void listener_stop_waiting(struct loop_listener *listener)
{
    listener->priv.resting = false;
    loop_timer_stop(&listener->priv.timer);
    if (task_list_linked(&listener->priv.task))
        task_list_remove(&listener->priv.task);
}

static void rest_over(struct loop_timer *timer)
{
    listener_go_on(container_of(timer, struct loop_listener, priv.timer));
}

static void rest(struct loop_listener *listener)
{
    struct loop *loop = listener->priv.object.loop;

    if (listener->priv.resting)
        return;
    listener->priv.resting = true;
    starved_add(loop, &listener->priv.task);
    timer_of_object(&listener->priv.timer);
    (void)loop_timer_start(loop, &listener->priv.timer, rest_ns, 0, rest_over);
}

/* ---- accepting */

static bool holds(const struct loop_listener *listener)
{
    return listener->priv.held_first != listener->priv.held_end;
}

static bool may_accept(const struct loop_listener *listener)
{
    return listener->priv.state == LISTENER_OPEN && !listener->priv.paused && !listener->priv.resting &&
           !listener_is_full(listener) && !holds(listener);
}

/* A multishot takes the whole backlog, whatever the limit, and brings no addresses; one by one is dearer. So near the
 * limit, and until there is clearly more room again. */
static bool one_by_one(const struct loop_listener *listener)
{
    uint64_t near = (uint64_t)listener->priv.backlog * (listener->priv.slots_armed > 0 ? 2 : 1);

    if ((listener->priv.flags & LOOP_LISTENER_PEER) != 0)
        return true;
    return listener->priv.connections_max != 0 && listener->priv.connections_max - listener->priv.connections <= near;
}

static int arm_multishot(struct loop_listener *listener)
{
    struct loop *loop = listener->priv.object.loop;
    loop_id      id;

    if (listener->priv.accept_id != 0)
        return 0;
    id = loop_accept_multishot(loop, listener->priv.fd, 0, multishot_done, listener,
                               LOOP_TERMS(.flags = LOOP_BACKGROUND | LOOP_UNCHAINED));
    if (id < 0)
        return (int)id;
    listener->priv.accept_id = op_of_object(loop, id);
    return 0;
}

static int arm_slot(struct loop_listener *listener, struct loop_listener_slot *slot)
{
    struct loop *loop = listener->priv.object.loop;
    loop_id      id;

    slot->listener = listener;
    slot->address.size = sizeof(slot->address.storage);
    id = loop_accept(loop, listener->priv.fd, (struct sockaddr *)&slot->address.storage, &slot->address.size, 0,
                     slot_done, slot, LOOP_TERMS(.flags = LOOP_BACKGROUND | LOOP_UNCHAINED));
    if (id < 0)
        return (int)id;
    slot->id = op_of_object(loop, id);
    listener->priv.slots_armed++;
    return 0;
}

/* Each slot in flight may bring a connection: no more than there is room for. */
static bool slot_has_room(const struct loop_listener *listener)
{
    return listener->priv.connections_max == 0 ||
           listener->priv.connections + listener->priv.slots_armed < listener->priv.connections_max;
}

static int arm_slots(struct loop_listener *listener)
{
    const size_t size = SLOTS * sizeof(struct loop_listener_slot);
    int          r = 0;

    if (listener->priv.slots == NULL) {
        listener->priv.slots = memory_resize(listener->priv.object.loop, NULL, size);
        if (listener->priv.slots == NULL)
            return -ENOMEM;
        memset(listener->priv.slots, 0, size);
    }
    for (uint32_t i = 0; r == 0 && i < SLOTS && slot_has_room(listener); i++) {
        if (listener->priv.slots[i].id == 0)
            r = arm_slot(listener, &listener->priv.slots[i]);
    }
    return listener->priv.slots_armed > 0 ? 0 : r;
}

void listener_stop_accepts(struct loop_listener *listener)
{
    struct loop *loop = listener->priv.object.loop;

    if (listener->priv.accept_id != 0)
        (void)loop_cancel(loop, listener->priv.accept_id);
    for (uint32_t i = 0; listener->priv.slots_armed > 0 && i < SLOTS; i++) {
        if (listener->priv.slots[i].id != 0)
            (void)loop_cancel(loop, listener->priv.slots[i].id);
    }
}

/* Where the other way has accepts in flight, these end first: each end comes here again. */
static void accept_more(struct loop_listener *listener)
{
    bool slots;
    int  r;

    if (!may_accept(listener))
        return;
    slots = one_by_one(listener);
    if (slots ? listener->priv.accept_id != 0 : listener->priv.slots_armed != 0) {
        listener_stop_accepts(listener);
        return;
    }
    r = slots ? arm_slots(listener) : arm_multishot(listener);
    if (r < 0)
        rest(listener);
}

/* ---- delivering */

static void deliver(struct loop_listener *listener, int fd, const struct loop_address *peer)
{
    listener->priv.delivered = fd;
    listener->priv.peer = peer;
    listener->priv.on_accept(listener, fd);
    listener->priv.delivered = -1;
    listener->priv.peer = NULL;
}

/* Keeps a connection, or an error, to be delivered later. */
static void hold(struct loop_listener *listener, int result)
{
    struct loop_listener_private *priv = &listener->priv;

    if (priv->held_end == priv->held_room) {
        uint32_t room = priv->held_room == 0 ? HELD_ROOM : 2 * priv->held_room;
        int     *held = memory_resize(priv->object.loop, priv->held, room * sizeof(held[0]));

        if (held == NULL) {
            if (result >= 0)
                sys_close(result);
            priv->lost = true;
            return;
        }
        priv->held = held;
        priv->held_room = room;
    }
    priv->held[priv->held_end++] = result;
    if (!priv->paused)
        listener_work(listener);
}

static void deliver_held(struct loop_listener *listener)
{
    struct loop_listener_private *priv = &listener->priv;

    while (priv->state == LISTENER_OPEN && !priv->paused && holds(listener)) {
        int result = priv->held[priv->held_first];

        if (result >= 0 && listener_is_full(listener))
            return;
        priv->held_first++;
        if (!holds(listener))
            priv->held_first = priv->held_end = 0;
        if (result >= 0)
            priv->connections++;
        deliver(listener, result, NULL);
    }
    if (priv->lost && priv->state == LISTENER_OPEN && !priv->paused) {
        priv->lost = false;
        deliver(listener, -ENOMEM, NULL);
    }
}

void listener_drop_held(struct loop_listener *listener)
{
    for (; holds(listener); listener->priv.held_first++) {
        if (listener->priv.held[listener->priv.held_first] >= 0)
            sys_close(listener->priv.held[listener->priv.held_first]);
    }
}

void listener_drop(struct loop_listener *listener)
{
    struct loop *loop = listener->priv.object.loop;

    listener_drop_held(listener);
    memory_free(loop, listener->priv.held);
    memory_free(loop, listener->priv.slots);
    listener->priv.held = NULL;
    listener->priv.slots = NULL;
}

void listener_go_on(struct loop_listener *listener)
{
    listener_stop_waiting(listener);
    deliver_held(listener);
    accept_more(listener);
}

/* ---- what the kernel answers */

static bool is_shortage(int error)
{
    return error == -EMFILE || error == -ENFILE || error == -ENOMEM || error == -ENOBUFS;
}

/* Errors that the next attempt would meet again: the socket is not what it was. */
static bool is_lasting(int error)
{
    return error == -EBADF || error == -EINVAL || error == -ENOTSOCK || error == -EOPNOTSUPP;
}

/* A shortage is reported when it begins, not at each attempt. All others are reported. */
static void failed(struct loop_listener *listener, int error)
{
    bool report = !is_shortage(error) || !listener->priv.starved;

    if (listener->priv.paused) {
        if (!is_shortage(error) && !is_lasting(error)) /* the first attempt after the resume would say it again */
            hold(listener, error);
        return;
    }
    if (is_shortage(error)) {
        listener->priv.starved = true;
        rest(listener);
    } else if (is_lasting(error)) {
        (void)loop_listener_pause(listener);
    } else if (listener->priv.errors_in_row < ERRORS_IN_ROW_MAX) {
        listener->priv.errors_in_row++;
        accept_more(listener);
    } else {
        rest(listener); /* nothing else comes: whatever it is, do not spin */
    }
    if (report)
        deliver(listener, error, NULL);
}

static void came(struct loop_listener *listener, int fd, const struct loop_address *peer)
{
    if (!listener->priv.resting) /* else it came before the shortage: old kernels tell failures first */
        listener->priv.starved = false;
    listener->priv.errors_in_row = 0;
    if (listener->priv.paused || holds(listener) || listener_is_full(listener)) {
        hold(listener, fd);
        return;
    }
    listener->priv.connections++;
    accept_more(listener);
    deliver(listener, fd, peer);
}

static void completed(struct loop_listener *listener, int res, const struct loop_address *peer)
{
    if (listener->priv.state == LISTENER_CLOSING) {
        if (res >= 0)
            sys_close(res);
        if (!listener_in_flight(listener))
            listener_ended(listener);
    } else if (res >= 0) {
        came(listener, res, peer);
    } else if (res == -ECANCELED || res == -ERESTART) {
        accept_more(listener); /* if it may again meanwhile */
    } else {
        failed(listener, res);
    }
}

static void multishot_done(struct loop *loop, const struct loop_result *result, void *arg)
{
    struct loop_listener *listener = arg;

    (void)loop;
    if ((result->flags & LOOP_MORE) == 0)
        listener->priv.accept_id = 0;
    completed(listener, result->res, NULL);
}

static void slot_done(struct loop *loop, const struct loop_result *result, void *arg)
{
    struct loop_listener_slot *slot = arg;
    struct loop_address        peer = slot->address; /* the slot goes on before the connection is delivered */

    (void)loop;
    slot->id = 0;
    slot->listener->priv.slots_armed--;
    completed(slot->listener, result->res, &peer);
}
