/* net/datagram_send.h: the queue of sends, which datagram_send.c fills and tells the ends of, and datagram_push.c
 * empties into the kernel.
 *
 *   send_first ... have ended, and are to be told | send_next ... wait; the kernel has the first of them if send_op !=
 * 0
 */
#ifndef RINGLOOP_NET_DATAGRAM_SEND_H
#define RINGLOOP_NET_DATAGRAM_SEND_H

#include "net/datagram_private.h"

struct loop_datagram_entry {
    struct loop_datagram_entry *next, *prev;
    struct loop_datagram       *datagram;
    loop_datagram_send_cb      *cb;
    void                       *arg;
    struct msghdr              *header; /* in bytes; NULL: name and piece are all there is to it */
    char                       *name;   /* in bytes */
    struct iovec                piece;
    uint32_t                    size;
    int                         result;
    loop_buffer                 release;
    uint16_t                    name_size;
    bool                        big   : 1; /* not a block */
    bool                        timed : 1; /* bytes begin with a timer */
    _Alignas(16) char bytes[];             /* timer, address, struct message, payload: what there is of them */
};

static inline struct loop_timer *entry_timer(struct loop_datagram_entry *entry)
{
    return (struct loop_timer *)(void *)entry->bytes;
}

/* Its result is known; to be told. */
static inline void entry_ends(struct loop_datagram_entry *entry, int result)
{
    entry->result = result;
    if (unlikely(entry->timed)) {
        loop_timer_stop(entry_timer(entry));
        entry->timed = false;
    }
}

#endif
