/* net/listener_count.c: the limit of a listener's connections, and how they tell that they have ended. */
#include "net/listener_private.h"

#include <errno.h>

int listener_count_open(struct loop *loop, struct loop_listener *listener)
{
    struct loop_listener_ticket *ticket = memory_resize(loop, NULL, sizeof(*ticket));

    if (ticket == NULL)
        return -ENOMEM;
    *ticket = (struct loop_listener_ticket){.loop = loop, .listener = listener};
    listener->priv.ticket = ticket;
    return 0;
}

void listener_count_close(struct loop_listener *listener)
{
    struct loop_listener_ticket *ticket = listener->priv.ticket;

    ticket->listener = NULL;
    if (ticket->taken == 0)
        memory_free(ticket->loop, ticket);
    listener->priv.ticket = NULL;
}

static void one_has_ended(struct loop_listener *listener)
{
    if (listener_is_full(listener))
        listener_work(listener);
    listener->priv.connections--;
}

int loop_listener_release(struct loop_listener *listener)
{
    if (!listener_is_open(listener))
        return -EINVAL;
    loop_check_owner(listener->priv.object.loop, __func__);
    if (listener->priv.connections == listener->priv.ticket->taken)
        return -EINVAL;
    one_has_ended(listener);
    return 0;
}

struct loop_listener_ticket *loop_listener_ticket_take(struct loop_listener *listener)
{
    if (!listener_is_open(listener))
        return NULL;
    loop_check_owner(listener->priv.object.loop, __func__);
    if (listener->priv.connections == listener->priv.ticket->taken)
        return NULL;
    listener->priv.ticket->taken++;
    return listener->priv.ticket;
}

void loop_listener_ticket_release(struct loop_listener_ticket *ticket)
{
    if (ticket == NULL)
        return;
    loop_check_owner(ticket->loop, __func__);
    CHECK(ticket->taken > 0);
    ticket->taken--;
    if (ticket->listener != NULL)
        one_has_ended(ticket->listener);
    else if (ticket->taken == 0)
        memory_free(ticket->loop, ticket);
}

int loop_listener_limit(struct loop_listener *listener, uint32_t connections_max)
{
    if (!listener_is_open(listener))
        return -EINVAL;
    loop_check_owner(listener->priv.object.loop, __func__);
    listener->priv.connections_max = connections_max;
    listener_stop_accepts(listener); /* as many as there is room for are started when these have ended */
    listener_work(listener);
    return 0;
}

uint32_t loop_listener_connections(const struct loop_listener *listener)
{
    return listener_is_open(listener) ? listener->priv.connections : 0;
}
