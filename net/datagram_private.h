/* net/datagram_private.h: the parts of a datagram socket: state, receiving, sending.
 *
 *   CLOSED --open, adopt--> OPEN --close--> CLOSING --nothing is in flight any more--> CLOSED
 *
 * What a call asks for is done by the task, once before the loop waits: so sends of one turn leave together, and no
 * callback comes from inside a call. */
#ifndef RINGLOOP_NET_DATAGRAM_PRIVATE_H
#define RINGLOOP_NET_DATAGRAM_PRIVATE_H

#include <ringloop/datagram.h>

#include "loop/loop_private.h"

enum datagram_state {
    DATAGRAM_CLOSED,
    DATAGRAM_OPEN,
    DATAGRAM_CLOSING,
    DATAGRAM_STATE_MASK = 3,

    DATAGRAM_UNREF = 1 << 4,
    DATAGRAM_ERRORS = 1 << 5,           /* the socket has a queue of errors */
    DATAGRAM_RECEIVING = 1 << 6,        /* the user wants messages */
    DATAGRAM_RECEIVE_CANCELED = 1 << 7, /* the receive in flight has been told to end */
    DATAGRAM_LOOK_FOR_ERRORS = 1 << 8,  /* there may be some in the queue */
    DATAGRAM_HELD = 1 << 9,             /* with UNREF: sends keep the loop alive */
};

static inline enum datagram_state datagram_state(const struct loop_datagram *datagram)
{
    return (enum datagram_state)(datagram->priv.state & DATAGRAM_STATE_MASK);
}

static inline bool datagram_is(const struct loop_datagram *datagram, enum datagram_state flag)
{
    return (datagram->priv.state & (uint32_t)flag) != 0;
}

static inline void datagram_set(struct loop_datagram *datagram, enum datagram_state flag)
{
    datagram->priv.state |= (uint32_t)flag;
}

static inline void datagram_unset(struct loop_datagram *datagram, enum datagram_state flag)
{
    datagram->priv.state &= ~(uint32_t)flag;
}

static inline void datagram_work(struct loop_datagram *datagram)
{
    loop_task_add(datagram->priv.object.loop, &datagram->priv.task);
}

/* An error that the socket's queue may have details of. */
static inline void datagram_look_for_errors(struct loop_datagram *datagram)
{
    if (datagram_is(datagram, DATAGRAM_ERRORS)) {
        datagram_set(datagram, DATAGRAM_LOOK_FOR_ERRORS);
        datagram_work(datagram);
    }
}

/* datagram_receive.c */
void   datagram_receive_init(struct loop_datagram *datagram, uint32_t flags); /* how much room a message needs */
void   datagram_receive_work(struct loop_datagram *datagram);                 /* its part of the task */
void   datagram_receive_drop(struct loop_datagram *datagram);                 /* at close: what was not told */
size_t datagram_receive_room(const struct loop_datagram *datagram);           /* what a buffer needs besides the data */

/* datagram_send.c */
void datagram_send_tell(struct loop_datagram *datagram); /* calls back for those that have ended, in order */
void datagram_send_cancel(struct loop_datagram *datagram, int error); /* all that wait end with it */

/* datagram_push.c: sends what waits, as far as the socket takes it; no callbacks */
void datagram_send_push(struct loop_datagram *datagram);

/* datagram_option.c */
int      datagram_options_check(const struct loop_datagram_options *options, int family);
int      datagram_options_apply(int fd, int family, const struct loop_datagram_options *options);
/* Those of LOOP_DATAGRAM_ERRORS and _GRO that the socket has: without the one what nobody takes would keep the loop
 * busy, without the other nobody would know where datagrams end. */
uint32_t datagram_flags_in_force(int fd, int family);

#endif
