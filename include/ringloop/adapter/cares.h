/* ringloop/adapter/cares.h: look-ups by c-ares on a loop, for what resolve.h does not ask for: other kinds of records,
 * options of one's own. Needs c-ares 1.18 or later, which the program links itself. Loop thread only.
 *
 * Life: zeroed > loop_cares_open > (ares_query, ares_getaddrinfo ... on .channel) > loop_cares_close.
 *
 * c-ares may call back from inside any of its calls, those that start a look-up included: that is its rule, not the
 * loop's. What it allocates here comes from malloc(3).
 *
 * The end of the loop: look-ups that have a socket end with ARES_ECANCELLED inside loop_destroy(). Close it before or
 * after that. */
#ifndef RINGLOOP_ADAPTER_CARES_H
#define RINGLOOP_ADAPTER_CARES_H

#include <sys/select.h>

#include <ares.h>
#include <errno.h>
#include <poll.h>
#include <ringloop/poll.h>
#include <ringloop/timer.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

LOOP_BEGIN_DECLS

struct loop_cares;

struct loop_cares_socket {
    struct loop_poll          poll;
    struct loop_cares        *cares;
    struct loop_cares_socket *next;
};

struct loop_cares {
    void        *data;    /* yours; the library never reads it */
    ares_channel channel; /* to be asked; not to be destroyed */
    struct loop_cares_private {
        struct loop              *loop; /* NULL: closed */
        struct loop_timer         timer;
        struct loop_cares_socket *sockets;
        unsigned                  inside; /* calls of c-ares from here that are going on */
        bool                      over;   /* the loop is */
    } priv;
};

static inline void loop_cares_timer_fired(struct loop_timer *timer);

/* Looks when c-ares wants to be called next. To be called after look-ups were started on sockets that are open already
 * (ARES_FLAG_STAYOPEN); else it happens by itself. */
static inline void loop_cares_update(struct loop_cares *cares)
{
    struct timeval        time;
    const struct timeval *next = cares->priv.over ? NULL : ares_timeout(cares->channel, NULL, &time);

    if (next == NULL)
        loop_timer_stop(&cares->priv.timer);
    else
        (void)loop_timer_start(cares->priv.loop, &cares->priv.timer,
                               (uint64_t)next->tv_sec * LOOP_SECOND + (uint64_t)next->tv_usec * LOOP_MICROSECOND, 0,
                               loop_cares_timer_fired);
}

static inline void loop_cares_act(struct loop_cares *cares, ares_socket_t to_read, ares_socket_t to_write)
{
    cares->priv.inside++;
    ares_process_fd(cares->channel, to_read, to_write);
    cares->priv.inside--;
    loop_cares_update(cares);
}

static inline void loop_cares_timer_fired(struct loop_timer *timer)
{
    loop_cares_act((struct loop_cares *)timer->data, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
}

static inline void loop_cares_end(struct loop_cares *cares)
{
    if (cares->priv.over)
        return;
    cares->priv.over = true;
    cares->priv.inside++;
    ares_cancel(cares->channel);
    cares->priv.inside--;
}

static inline void loop_cares_socket_told(struct loop_poll *poll, int events)
{
    struct loop_cares *cares = ((struct loop_cares_socket *)poll->data)->cares;
    ares_socket_t      fd = (ares_socket_t)loop_poll_fd(poll);

    if (events == -ECANCELED)
        loop_cares_end(cares);
    else if (events > 0) /* with an errno its query times out */
        loop_cares_act(cares, (events & ~POLLOUT) != 0 ? fd : ARES_SOCKET_BAD,
                       (events & ~POLLIN) != 0 ? fd : ARES_SOCKET_BAD);
}

static inline void loop_cares_socket_free(struct loop_cares_socket **link)
{
    struct loop_cares_socket *socket = *link;

    *link = socket->next;
    loop_poll_stop(&socket->poll);
    free(socket);
}

/* Without memory the query that it is for times out. */
static inline void loop_cares_socket_changed(void *arg, ares_socket_t fd, int readable, int writable)
{
    struct loop_cares         *cares = (struct loop_cares *)arg;
    struct loop_cares_socket **link = &cares->priv.sockets, *socket;
    uint32_t                   events = (readable ? (uint32_t)POLLIN : 0) | (writable ? (uint32_t)POLLOUT : 0);
    int                        r = -EBADF;

    while (*link != NULL && loop_poll_fd(&(*link)->poll) != (int)fd)
        link = &(*link)->next;
    if (events == 0) {
        if (*link != NULL)
            loop_cares_socket_free(link);
        return;
    }
    if (*link == NULL)
        *link = (struct loop_cares_socket *)calloc(1, sizeof(**link));
    socket = *link;
    if (socket == NULL)
        return;
    socket->poll.data = socket;
    socket->cares = cares;
    if (loop_poll_active(&socket->poll))
        r = loop_poll_change(&socket->poll, events);
    if (r == -EBADF) { /* new, or closed without a word */
        loop_poll_stop(&socket->poll);
        r = loop_poll_start(cares->priv.loop, &socket->poll, (int)fd, events, loop_cares_socket_told);
    }
    if (r < 0) {
        loop_cares_socket_free(link);
        return;
    }
    if (!loop_timer_active(&cares->priv.timer)) /* a query begins, of whose time c-ares does not tell yet */
        (void)loop_timer_start(cares->priv.loop, &cares->priv.timer, 0, 0, loop_cares_timer_fired);
}

/* Makes a channel whose sockets and timeouts the loop looks after. options and mask as for ares_init_options(), copied;
 * options may be NULL with mask 0; ARES_OPT_SOCK_STATE_CB is set. ares_library_init() is yours to call. Borrows cares
 * until the close. Look-ups keep the loop alive. Returns 0, -EINVAL, -EBUSY (open already), -ENOMEM, or -EIO for what
 * else c-ares said, which is in *ret_status unless that is NULL. */
LOOP_MUST_USE static inline int loop_cares_open(struct loop *loop, struct loop_cares *cares,
                                                const struct ares_options *options, int mask, int *ret_status)
{
    struct ares_options own;
    int                 status;

    if (loop == NULL || (options == NULL && mask != 0))
        return -EINVAL;
    if (cares->priv.loop != NULL)
        return -EBUSY;
    memset(&own, 0, sizeof(own));
    if (options != NULL)
        own = *options;
    memset(&cares->priv, 0, sizeof(cares->priv));
    cares->priv.timer.data = cares;
    own.sock_state_cb = loop_cares_socket_changed;
    own.sock_state_cb_data = cares;
    status = ares_init_options(&cares->channel, &own, mask | ARES_OPT_SOCK_STATE_CB);
    if (status == ARES_SUCCESS) {
        cares->priv.loop = loop;
        return 0;
    }
    if (ret_status != NULL)
        *ret_status = status;
    return status == ARES_ENOMEM ? -ENOMEM : -EIO;
}

/* Destroys the channel: look-ups that go on end with ARES_EDESTRUCTION, inside this call, as c-ares does it. Then the
 * memory is yours. Returns 0, also when not open, or -EBUSY from inside a callback of c-ares's. */
static inline int loop_cares_close(struct loop_cares *cares)
{
    if (cares->priv.loop == NULL)
        return 0;
    if (cares->priv.inside > 0)
        return -EBUSY;
    cares->priv.inside++;
    ares_destroy(cares->channel);
    cares->priv.inside--;
    while (cares->priv.sockets != NULL)
        loop_cares_socket_free(&cares->priv.sockets);
    loop_timer_stop(&cares->priv.timer);
    cares->channel = NULL;
    cares->priv.loop = NULL;
    return 0;
}

LOOP_END_DECLS

#endif
