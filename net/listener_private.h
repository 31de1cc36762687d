/* net/listener_private.h: the parts of a listener: setting up, accepting, counting.
 *
 *   CLOSED --start, adopt--> OPEN --close--> CLOSING --nothing is in flight any more--> CLOSED
 *   CLOSED --start--> BINDING --bound--> OPEN; BINDING --not in time--> FAILED; BINDING, FAILED --close--> CLOSING
 *
 * An open one accepts if it is not paused, does not rest, has room below its limit and holds nothing back. What a call
 * of the user asks for is done by the listener's task. */
#ifndef RINGLOOP_NET_LISTENER_PRIVATE_H
#define RINGLOOP_NET_LISTENER_PRIVATE_H

#include <ringloop/listener.h>

#include "loop/loop_private.h"

enum listener_state {
    LISTENER_CLOSED,
    LISTENER_STARTING, /* inside the call: hooks may do little */
    LISTENER_BINDING,
    LISTENER_OPEN,
    LISTENER_FAILED,
    LISTENER_CLOSING,
};

/* One of the accepts that take one connection each. */
struct loop_listener_slot {
    struct loop_listener *listener;
    loop_id               id; /* 0: not in flight */
    struct loop_address   address;
};

/* With bind_retry_ns: what each attempt needs, until on_listening has been called. */
struct loop_listener_setup {
    struct loop_address          address;
    struct loop_listener_options options;
    struct loop_tcp_options      tcp;
    uint64_t                     until_ns, delay_ns;
};

/* All tickets of a listener. */
struct loop_listener_ticket {
    struct loop          *loop;
    struct loop_listener *listener; /* NULL: it is closed; freed with the last ticket then */
    uint32_t              taken;
};

static inline bool listener_is_open(const struct loop_listener *listener)
{
    return listener->priv.state >= LISTENER_BINDING && listener->priv.state <= LISTENER_FAILED;
}

static inline void listener_work(struct loop_listener *listener)
{
    loop_task_add(listener->priv.object.loop, &listener->priv.task);
}

/* listener.c */
void listener_ended(struct loop_listener *listener); /* it is closing, and its last accept has ended */

/* listener_setup.c */
/* A socket that listens, or a negative errno. */
int  listener_socket(struct loop_listener *listener, const struct loop_address *address,
                     const struct loop_listener_options *options);
void listener_file_remove(struct loop_listener *listener); /* before its socket is closed */
/* With bind_retry_ns, the first attempt: 0, now or later. */
int  listener_bind(struct loop_listener *listener, const struct loop_address *address,
                   const struct loop_listener_options *options);
void listener_bind_again(struct loop_listener *listener);
void listener_bind_told(struct loop_listener *listener, int error); /* calls on_listening */

/* listener_accept.c */
void listener_go_on(struct loop_listener *listener); /* ends a rest, delivers what is held, accepts if it may */
void listener_stop_waiting(struct loop_listener *listener);
void listener_stop_accepts(struct loop_listener *listener); /* asks those in flight to end */
void listener_drop_held(struct loop_listener *listener);    /* connections not delivered yet */
void listener_drop(struct loop_listener *listener);         /* what is held, when nothing is in flight any more */

static inline bool listener_in_flight(const struct loop_listener *listener)
{
    return listener->priv.accept_id != 0 || listener->priv.slots_armed != 0;
}

/* listener_count.c */
int  listener_count_open(struct loop *loop, struct loop_listener *listener); /* 0, or -ENOMEM */
void listener_count_close(struct loop_listener *listener);

static inline bool listener_is_full(const struct loop_listener *listener)
{
    return listener->priv.connections_max != 0 && listener->priv.connections >= listener->priv.connections_max;
}

#endif
