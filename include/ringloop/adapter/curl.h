/* ringloop/adapter/curl.h: transfers of libcurl's multi interface on a loop. Needs libcurl 7.28 or later, which the
 * program links itself; -lringloop does not. Loop thread only.
 *
 * Life: zeroed > loop_curl_open > (curl_multi_add_handle, done) > loop_curl_close; then it may be opened anew.
 *
 * Transfers are started by curl_multi_add_handle() and taken out by curl_multi_remove_handle(), as ever; the loop does
 * the rest, and tells of each that has ended. libcurl runs inside the loop's callbacks; its own callbacks (for data,
 * headers) must not call loop_curl_close() or loop_destroy(). A multi whose transfers are to be resolved without
 * blocking needs a libcurl with its threaded resolver or c-ares, as Debian's is. What it allocates comes from
 * malloc(3).
 *
 * The end of the loop: close it before loop_destroy(), or after, but before anything else is done with the multi; then
 * take out the transfers that were going on. No done callback comes for them. */
#ifndef RINGLOOP_ADAPTER_CURL_H
#define RINGLOOP_ADAPTER_CURL_H

#include <curl/curl.h>
#include <errno.h>
#include <poll.h>
#include <ringloop/poll.h>
#include <ringloop/timer.h>
#include <stdlib.h>
#include <string.h>

LOOP_BEGIN_DECLS

struct loop_curl;

/* A transfer has ended; it is still in the multi. May do anything: take it out, clean it up, add it or others, close.
 */
typedef void loop_curl_done_cb(struct loop_curl *curl, CURL *easy, CURLcode result);

struct loop_curl_socket {
    struct loop_poll         poll;
    struct loop_curl        *curl;
    struct loop_curl_socket *next, **link; /* of all of them */
};

struct loop_curl {
    void *data; /* yours; the library never reads it */
    struct loop_curl_private {
        struct loop             *loop;
        CURLM                   *multi; /* NULL: closed */
        loop_curl_done_cb       *done;
        struct loop_timer        timer;
        struct loop_curl_socket *sockets;
        bool                    *gone;   /* to be set by a close, while done is called */
        unsigned                 inside; /* calls of libcurl that are going on */
    } priv;
};

static inline void loop_curl_tell(struct loop_curl *curl)
{
    bool     gone = false;
    CURLMsg *message;
    int      left;

    curl->priv.gone = &gone;
    while ((message = curl_multi_info_read(curl->priv.multi, &left)) != NULL) {
        if (message->msg != CURLMSG_DONE)
            continue;
        curl->priv.done(curl, message->easy_handle, message->data.result);
        if (gone)
            return;
    }
    curl->priv.gone = NULL;
}

static inline void loop_curl_act(struct loop_curl *curl, curl_socket_t fd, int what)
{
    int running;

    curl->priv.inside++;
    (void)curl_multi_socket_action(curl->priv.multi, fd, what, &running);
    curl->priv.inside--;
    loop_curl_tell(curl);
}

static inline void loop_curl_timer_fired(struct loop_timer *timer)
{
    loop_curl_act((struct loop_curl *)timer->data, CURL_SOCKET_TIMEOUT, 0);
}

/* With an errno the poll has ended by itself: where the socket was closed libcurl will notice, in vain at the end of
 * the loop. */
static inline void loop_curl_socket_told(struct loop_poll *poll, int events)
{
    struct loop_curl *curl = ((struct loop_curl_socket *)poll->data)->curl;
    int               what = 0;

    if (events == -ECANCELED)
        return;
    if (events < 0 || (events & POLLERR) != 0)
        what |= CURL_CSELECT_ERR;
    if (events > 0 && (events & (POLLIN | POLLHUP)) != 0)
        what |= CURL_CSELECT_IN;
    if (events > 0 && (events & POLLOUT) != 0)
        what |= CURL_CSELECT_OUT;
    loop_curl_act(curl, (curl_socket_t)loop_poll_fd(poll), what);
}

static inline void loop_curl_socket_free(struct loop_curl_socket *socket)
{
    loop_poll_stop(&socket->poll);
    *socket->link = socket->next;
    if (socket->next != NULL)
        socket->next->link = socket->link;
    free(socket);
}

static inline struct loop_curl_socket *loop_curl_socket_new(struct loop_curl *curl)
{
    struct loop_curl_socket *socket = (struct loop_curl_socket *)calloc(1, sizeof(*socket));

    if (socket == NULL)
        return NULL;
    socket->poll.data = socket;
    socket->curl = curl;
    socket->next = curl->priv.sockets;
    socket->link = &curl->priv.sockets;
    if (socket->next != NULL)
        socket->next->link = &socket->next;
    curl->priv.sockets = socket;
    return socket;
}

/* 0, or -1: libcurl ends all transfers of the multi then, with CURLE_ABORTED_BY_CALLBACK. */
static inline int loop_curl_socket_watch(struct loop_curl *curl, struct loop_curl_socket *socket, int fd, int what)
{
    uint32_t events =
        ((what & CURL_POLL_IN) != 0 ? (uint32_t)POLLIN : 0) | ((what & CURL_POLL_OUT) != 0 ? (uint32_t)POLLOUT : 0);
    int r = loop_poll_active(&socket->poll) ? loop_poll_change(&socket->poll, events) : -EBADF;

    if (r == -EBADF) { /* new, or closed without a word */
        loop_poll_stop(&socket->poll);
        r = loop_poll_start(curl->priv.loop, &socket->poll, fd, events, loop_curl_socket_told);
    }
    return r < 0 ? -1 : 0;
}

static inline int loop_curl_socket_changed(CURL *easy, curl_socket_t fd, int what, void *arg, void *place)
{
    struct loop_curl        *curl = (struct loop_curl *)arg;
    struct loop_curl_socket *socket = (struct loop_curl_socket *)place;

    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        if (socket != NULL)
            loop_curl_socket_free(socket);
        return 0;
    }
    if (socket == NULL) {
        socket = loop_curl_socket_new(curl);
        if (socket == NULL)
            return -1;
        (void)curl_multi_assign(curl->priv.multi, fd, socket);
    }
    return loop_curl_socket_watch(curl, socket, (int)fd, what);
}

static inline int loop_curl_timer_changed(CURLM *multi, long timeout_ms, void *arg)
{
    struct loop_curl *curl = (struct loop_curl *)arg;

    (void)multi;
    if (timeout_ms < 0)
        loop_timer_stop(&curl->priv.timer);
    else
        (void)loop_timer_start(curl->priv.loop, &curl->priv.timer, (uint64_t)timeout_ms * LOOP_MILLISECOND, 0,
                               loop_curl_timer_fired);
    return 0;
}

/* Lets loop drive multi, from whose options it takes CURLMOPT_SOCKETFUNCTION, _TIMERFUNCTION and their data. Borrows
 * curl and multi until the close. Transfers that were added before start now, if none of them has begun elsewhere.
 * Transfers keep the loop alive, an idle multi does not. Returns 0, -EINVAL, -EBUSY (open already). */
LOOP_MUST_USE static inline int loop_curl_open(struct loop *loop, struct loop_curl *curl, CURLM *multi,
                                               loop_curl_done_cb *done)
{
    long timeout_ms;

    if (loop == NULL || multi == NULL || done == NULL)
        return -EINVAL;
    if (curl->priv.multi != NULL)
        return -EBUSY;
    memset(&curl->priv, 0, sizeof(curl->priv));
    curl->priv.loop = loop;
    curl->priv.multi = multi;
    curl->priv.done = done;
    curl->priv.timer.data = curl;
    (void)curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, loop_curl_socket_changed);
    (void)curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, curl);
    (void)curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, loop_curl_timer_changed);
    (void)curl_multi_setopt(multi, CURLMOPT_TIMERDATA, curl);
    if (curl_multi_timeout(multi, &timeout_ms) == CURLM_OK) /* libcurl tells of changes alone */
        (void)loop_curl_timer_changed(multi, timeout_ms, curl);
    return 0;
}

/* Nothing of the multi is watched any more, no done callback comes, and the memory is yours. Take the transfers out and
 * clean them and the multi up after it. Returns 0, also when not open, or -EBUSY from inside a callback of libcurl's.
 */
static inline int loop_curl_close(struct loop_curl *curl)
{
    if (curl->priv.multi == NULL)
        return 0;
    if (curl->priv.inside > 0)
        return -EBUSY;
    while (curl->priv.sockets != NULL) {
        (void)curl_multi_assign(curl->priv.multi, (curl_socket_t)loop_poll_fd(&curl->priv.sockets->poll), NULL);
        loop_curl_socket_free(curl->priv.sockets);
    }
    loop_timer_stop(&curl->priv.timer);
    (void)curl_multi_setopt(curl->priv.multi, CURLMOPT_SOCKETFUNCTION, NULL);
    (void)curl_multi_setopt(curl->priv.multi, CURLMOPT_TIMERFUNCTION, NULL);
    curl->priv.multi = NULL;
    if (curl->priv.gone != NULL)
        *curl->priv.gone = true;
    return 0;
}

LOOP_END_DECLS

#endif
