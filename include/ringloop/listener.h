/* ringloop/listener.h: listening sockets, tcp and unix. Loop thread only.
 *
 * Life: zeroed > loop_listener_start or loop_listener_adopt > (connections) > loop_listener_close > close callback. */
#ifndef RINGLOOP_LISTENER_H
#define RINGLOOP_LISTENER_H

#include <ringloop/address.h>
#include <ringloop/tcp.h>
#include <ringloop/timer.h>
#include <ringloop/types.h>

#include <stdbool.h>

LOOP_BEGIN_DECLS

struct loop_listener;
struct loop_listener_ticket;

/* result >= 0: the descriptor of a new connection, yours from now on (SOCK_CLOEXEC; give it to loop_stream_open()).
 * Negative: an errno of accept4(2), reported once per occurrence; listening goes on, but stands still as if paused
 * after one that would only come again (-EBADF, -EINVAL, -ENOTSOCK, -EOPNOTSUPP), and rests as below after 16 in a row.
 * With -EMFILE and -ENFILE it rests until a stream or listener of this loop has been closed, or 100 ms have passed; the
 * connections wait in the backlog meanwhile, none is dropped. -ENOMEM may also say that a connection was closed for
 * want of memory to hold it back. */
typedef void loop_listener_cb(struct loop_listener *listener, int result);
typedef void loop_listener_close_cb(struct loop_listener *listener);

/* With bind_retry_ns: how the start ended, called once; 0, what loop_listener_start() would have returned, or
 * -ECANCELED (closed before). After an error no connection comes, and the listener has to be closed. */
typedef void loop_listener_event_cb(struct loop_listener *listener, int error);

/* What has been done with the new socket. */
enum loop_listener_step {
    LOOP_LISTENER_MADE, /* socket(2): the place for options that have no member here (IP_FREEBIND, SO_MARK) */
    LOOP_LISTENER_SET,  /* the options below are set */
    LOOP_LISTENER_BOUND,
    LOOP_LISTENER_LISTENING,
};

/* A hook, not a callback: called from inside loop_listener_start(), after each step, and again for each attempt of
 * bind_retry_ns. Returns 0, or a negative errno, which undoes the start and is returned by it. Lends fd. */
typedef int loop_listener_step_cb(struct loop_listener *listener, enum loop_listener_step step, int fd);

enum loop_listener_flags {
    LOOP_LISTENER_REUSEPORT = 1u << 0, /* SO_REUSEPORT: several loops share the port; not unix */
    LOOP_LISTENER_V6ONLY = 1u << 1,    /* IPV6_V6ONLY; else an IPv6 wildcard takes IPv4 too */
    LOOP_LISTENER_UNREF = 1u << 2,     /* while open, the listener does not keep the loop alive */
    LOOP_LISTENER_PEER = 1u << 3,      /* peers' addresses come with the connections: see loop_listener_peer() */
    LOOP_LISTENER_UNLINK = 1u << 4,    /* unix: removes the socket file, a stale one before and its own after */
};

struct loop_listener_options {
    uint32_t flags                       LOOP_ZERO; /* enum loop_listener_flags; unknown bits give -EINVAL */
    int backlog                          LOOP_ZERO; /* 0: SOMAXCONN; negative: -EINVAL */
    uint32_t connections_max             LOOP_ZERO; /* 0: no limit; see loop_listener_limit() */
    uint32_t fastopen_queue              LOOP_ZERO; /* TCP_FASTOPEN: connections with data in their SYN; 0: off */
    uint32_t defer_accept_s              LOOP_ZERO; /* TCP_DEFER_ACCEPT: accepts when data is there, or after this */
    uint32_t unix_mode                   LOOP_ZERO; /* permissions of the socket file; 0: as the umask gives */
    uint64_t bind_retry_ns               LOOP_ZERO; /* -EADDRINUSE is tried again so long; needs on_listening */
    const struct loop_tcp_options *tcp   LOOP_NONE; /* copies; set before listening, inherited by connections */
    loop_listener_step_cb *on_step       LOOP_NONE;
    loop_listener_event_cb *on_listening LOOP_NONE; /* called with bind_retry_ns only */
    loop_listener_close_cb *on_close     LOOP_NONE; /* for loop_destroy(), and closes without a callback of their own */
};

struct loop_listener {
    void *data; /* yours; the library never reads it */
    struct loop_listener_private {
        struct loop_object           object;
        struct loop_task             task;
        struct loop_timer            timer; /* ends a rest; tries to bind again */
        loop_listener_cb            *on_accept;
        loop_listener_close_cb      *on_close;
        loop_id                      accept_id; /* the multishot in flight; 0: none */
        struct loop_listener_slot   *slots;     /* accepts one by one; NULL: none were needed yet */
        struct loop_listener_ticket *ticket;
        struct loop_listener_setup  *setup; /* kept while bind is tried again; NULL: no more */
        const struct loop_address   *peer;  /* of the connection being delivered, if it came with it */
        int                         *held;  /* accepted and not yet delivered: held[held_first ... held_end) */
        uint64_t                     file_device, file_inode; /* of the socket file to be removed; 0: none */
        uint32_t                     held_first, held_end, held_room;
        uint32_t                     connections, connections_max, backlog;
        uint32_t                     flags;
        int                          fd, delivered; /* the connection being delivered; -1: none */
        uint8_t                      state, slots_armed, errors_in_row;
        bool                         ref, paused, resting, starved, lost;
    } priv;
};

/* Makes the socket, binds it (SO_REUSEADDR for tcp), listens, and accepts from then on. Borrows listener until its
 * close callback; copies the rest. Returns 0, -EINVAL, -EBUSY (already open), -ECANCELED (the loop is being destroyed),
 * -ENOMEM, or what the system call of a step gave, e.g. -EADDRINUSE.
 *
 * With bind_retry_ns -EADDRINUSE is not returned: bind is tried again, first after 1 ms, then more and more seldom, and
 * on_listening tells the outcome, at the latest after that time. For the port of a process that has just ended, which
 * the kernel may keep for some milliseconds. */
LOOP_API LOOP_MUST_USE int loop_listener_start(struct loop *loop, struct loop_listener *listener,
                                               const struct loop_address          *address,
                                               const struct loop_listener_options *options,
                                               loop_listener_cb                   *on_accept);

/* Takes fd, a socket that listens already, e.g. from systemd or a parent; for several loops each takes a dup(2). Of the
 * options those for making the socket must be zero: the flags may be UNREF and PEER, and tcp is set. Returns 0,
 * -EINVAL (also: not listening), -EBADF, -ENOTSOCK, -EBUSY, -ECANCELED, -ENOMEM. */
LOOP_API LOOP_MUST_USE int loop_listener_adopt(struct loop *loop, struct loop_listener *listener, int fd,
                                               const struct loop_listener_options *options,
                                               loop_listener_cb                   *on_accept);

/* Stops accepting; connections wait in the backlog. No accept callback comes until the resume: connections that the
 * kernel has accepted by now are held, delivered first after it, and closed by a close. Returns 0, also when paused
 * before, or -EINVAL if not open. */
LOOP_API int loop_listener_pause(struct loop_listener *listener);
LOOP_API int loop_listener_resume(struct loop_listener *listener);

/* Ends accepting, closes the socket, then calls on_close (NULL: the one of the options), last and once. Closing a
 * closing listener does nothing. */
LOOP_API void loop_listener_close(struct loop_listener *listener, loop_listener_close_cb *on_close);

/* ---- counting connections
 *
 * Each that is delivered counts until it is given back: by loop_listener_release(), or by a ticket, which is taken for
 * it and may be given back at any time. At the limit the listener stops accepting and goes on when one is given back;
 * the others wait in the backlog. Never more than the limit are delivered. While there is no more room than the backlog
 * may fill, connections are accepted one by one instead of by a multishot, so that no more are taken either. */

/* Changes the limit; 0: none. Below the present count nothing is closed. Returns 0, or -EINVAL if not open. */
LOOP_API int      loop_listener_limit(struct loop_listener *listener, uint32_t connections_max);
LOOP_API uint32_t loop_listener_connections(const struct loop_listener *listener); /* 0 if not open */

/* One that no ticket was taken for has ended. Returns 0, or -EINVAL if there is none, or the listener is not open. */
LOOP_API int loop_listener_release(struct loop_listener *listener);

/* Takes a ticket for one of the connections, e.g. in its callback. NULL if each has one, or the listener is not open.
 * It outlives the listener, but not the loop. Giving NULL back does nothing. */
LOOP_API struct loop_listener_ticket *loop_listener_ticket_take(struct loop_listener *listener);
LOOP_API void                         loop_listener_ticket_release(struct loop_listener_ticket *ticket);

/* ---- looking */

/* Inside the accept callback, before the connection is closed: whom it comes from. Asks getpeername(2), which says
 * -ENOTCONN of a peer that has reset the connection by now. With LOOP_LISTENER_PEER the kernel tells with each accept:
 * no system call, and no such error, but connections are accepted one by one, which is dearer: docs/listeners.md.
 * Returns 0, -EINVAL outside of such a callback, or what getpeername(2) gave. */
LOOP_API int loop_listener_peer(const struct loop_listener *listener, struct loop_address *ret_address);

/* The bound address, e.g. to learn the port. Returns 0, -EINVAL if not open or not bound yet, or what getsockname(2)
 * gave. */
LOOP_API int loop_listener_address(const struct loop_listener *listener, struct loop_address *ret_address);

/* Whether the listener keeps the loop alive while it is open (default: it does, but with LOOP_LISTENER_UNREF); a
 * closing one always does. No effect if not open. */
LOOP_API void loop_listener_ref(struct loop_listener *listener);
LOOP_API void loop_listener_unref(struct loop_listener *listener);
LOOP_API bool loop_listener_has_ref(const struct loop_listener *listener);

LOOP_API bool         loop_listener_closing(const struct loop_listener *listener);
LOOP_API struct loop *loop_listener_loop(const struct loop_listener *listener); /* NULL if not in use */
LOOP_API int          loop_listener_fd(const struct loop_listener *listener);   /* -EBADF if not open or bound */

LOOP_END_DECLS

#endif
