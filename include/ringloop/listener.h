/* ringloop/listener.h: listening sockets, tcp and unix. Loop thread only.
 *
 * Life: zeroed > loop_listener_start > (connections) > loop_listener_close > close callback. */
#ifndef RINGLOOP_LISTENER_H
#define RINGLOOP_LISTENER_H

#include <ringloop/address.h>
#include <ringloop/timer.h>
#include <ringloop/types.h>

#include <stdbool.h>

LOOP_BEGIN_DECLS

struct loop_listener;

/* result >= 0: the descriptor of a new connection, yours from now on (SOCK_CLOEXEC; give it to loop_stream_open()).
 * Negative: an errno of accept4(2), reported once per occurrence; listening goes on, but stands still as
 * if paused after one that would only come again (-EBADF, -EINVAL, -ENOTSOCK, -EOPNOTSUPP). With -EMFILE and -ENFILE it
 * rests until a stream or listener of this loop has been closed, or 100 ms have passed; the connections wait in the
 * backlog meanwhile, none is dropped. */
typedef void loop_listener_cb(struct loop_listener *listener, int result);
typedef void loop_listener_close_cb(struct loop_listener *listener);

enum loop_listener_flags {
    LOOP_LISTENER_REUSEPORT = 1u << 0, /* SO_REUSEPORT: several loops share the port */
    LOOP_LISTENER_V6ONLY = 1u << 1,    /* IPV6_V6ONLY; else an IPv6 wildcard takes IPv4 too */
    LOOP_LISTENER_UNREF = 1u << 2,     /* while open, the listener does not keep the loop alive */
};

struct loop_listener_options {
    uint32_t flags                   LOOP_ZERO; /* enum loop_listener_flags; unknown bits give -EINVAL */
    int backlog                      LOOP_ZERO; /* 0: SOMAXCONN; negative: -EINVAL */
    loop_listener_close_cb *on_close LOOP_NONE; /* for loop_destroy(), and closes without a callback of their own */
};

struct loop_listener {
    void *data; /* yours; the library never reads it */
    struct loop_listener_private {
        struct loop_object      object;
        struct loop_task        task;
        struct loop_timer       retry;
        loop_listener_cb       *on_accept;
        loop_listener_close_cb *on_close;
        loop_id                 accept_id; /* in flight; 0: none */
        int                     fd;
        uint32_t                state;
        bool                    ref, starved;
    } priv;
};

/* Makes the socket, binds it (SO_REUSEADDR for tcp), listens, and accepts from then on. Borrows listener until its
 * close callback; copies the rest. Returns 0, -EINVAL, -EBUSY (already open), -ECANCELED (the loop is being destroyed),
 * or what socket(2), bind(2), listen(2) gave, e.g. -EADDRINUSE. */
LOOP_API LOOP_MUST_USE int loop_listener_start(struct loop *loop, struct loop_listener *listener,
                                               const struct loop_address          *address,
                                               const struct loop_listener_options *options,
                                               loop_listener_cb                   *on_accept);

/* Stops accepting; connections wait in the backlog, but one that the kernel has accepted already may still be
 * delivered. Returns 0, also when paused before, or -EINVAL if not open. */
LOOP_API int loop_listener_pause(struct loop_listener *listener);
LOOP_API int loop_listener_resume(struct loop_listener *listener);

/* Ends accepting, closes the socket, then calls on_close (NULL: the one of the options), last and once. Closing a
 * closing listener does nothing. */
LOOP_API void loop_listener_close(struct loop_listener *listener, loop_listener_close_cb *on_close);

/* The bound address, e.g. to learn the port. Returns 0, -EINVAL if not open, or what getsockname(2) gave. */
LOOP_API int loop_listener_address(const struct loop_listener *listener, struct loop_address *ret_address);

LOOP_API struct loop *loop_listener_loop(const struct loop_listener *listener); /* NULL if not in use */
LOOP_API int          loop_listener_fd(const struct loop_listener *listener);   /* -EBADF if not open */

LOOP_END_DECLS

#endif
